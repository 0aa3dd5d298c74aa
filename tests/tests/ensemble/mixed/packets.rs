//! What RingKeeper's servers owe the Java servers that they speak with: one PROPOSAL, one ACK and one COMMIT for each zxid, in order, without gaps;
//! and what was said of one session.

use proto::quorum::PacketType;
use proto::{OpCode, SessionId, Xid, Zxid};
use ringkeeper_tests::cluster::{Cluster, Implementation, Link, Packet, zxids};
use ringkeeper_tests::until;

/// Looks at every link since, each with a server of ours at one end at least.
///
/// # Panics
/// If one of ours has broken the rules, or nothing of ours was recorded.
pub fn assert_ours_are_in_order(cluster: &Cluster, since: u64) {
    assert_ours_are_in_order_behind(cluster, since, 0);
}

/// Looks at every link since, once on each that is up the last PROPOSAL has what ours owe it, of an ensemble some of whose servers lead epochs that begin behind this counter ([`Cluster::begin_epochs_behind`]); each with a server of ours at one end at least.
///
/// # Panics
/// If one of ours has broken the rules, or nothing of ours was recorded.
pub fn assert_ours_are_in_order_behind(cluster: &Cluster, since: u64, initial_counter: u32) {
    let mut looked_at = 0;
    for link in settled_links(cluster, since) {
        let ours = ours(cluster, &link);
        is_in_order(&link, ours, initial_counter).unwrap_or_else(|wrong| panic!("{wrong}"));
        looked_at += usize::from(ours.leader) + usize::from(ours.learner);
    }
    assert!(looked_at > 0, "none of ours has said anything");
}

/// What [`assert_ours_are_in_order`] has found right is wrong as soon as a packet that ours owe is left out or doubled: the first, one in the middle, or the last of its kind.
///
/// # Panics
/// If such a change is not seen, or there is no link on which one could be made.
pub fn assert_each_change_is_seen(cluster: &Cluster, since: u64) {
    let is_right = |link: &Link, ours| is_in_order(link, ours, 0).and_then(|()| is_answered(link, ours));
    let mut changes = 0;
    for link in settled_links(cluster, since).into_iter().filter(|link| !link.is_over) {
        let ours = ours(cluster, &link);
        is_right(&link, ours).unwrap_or_else(|wrong| panic!("{wrong}"));
        for kind in ours.leader.then_some(PacketType::Proposal).into_iter().chain(ours.answers()) {
            let of_a_txn =
                |packet: &Packet| packet.kind == kind && packet.zxid.zxid().is_some_and(|zxid| zxid.counter() > 0);
            let places: Vec<usize> = (0..link.packets.len()).filter(|at| of_a_txn(&link.packets[*at])).collect();
            let (Some(first), Some(last)) = (places.first(), places.last()) else { continue };
            for place in [*first, places[places.len() / 2], *last] {
                let (mut without, mut twice) = (link.clone(), link.clone());
                without.packets.remove(place);
                twice.packets.insert(place, link.packets[place].clone());
                for (changed, what) in [(without, "left out"), (twice, "doubled")] {
                    let zxid = link.packets[place].zxid.0;
                    assert!(is_right(&changed, ours).is_err(), "{kind:?} of {zxid:x} is {what}, and nobody sees it");
                    changes += 1;
                }
            }
        }
    }
    assert!(changes > 0, "no link goes on on which one of ours owes anything");
}

/// Which ends of a link are RingKeeper's.
#[derive(Clone, Copy)]
struct Ours {
    leader: bool,
    learner: bool,
}

impl Ours {
    /// What a PROPOSAL is answered with, as far as it is ours to send.
    fn answers(self) -> impl Iterator<Item = PacketType> {
        [self.leader.then_some(PacketType::Commit), self.learner.then_some(PacketType::Ack)].into_iter().flatten()
    }
}

/// Every link since, at one moment at which the last PROPOSAL of each that is up has what ours owe it.
fn settled_links(cluster: &Cluster, since: u64) -> Vec<Link> {
    let mut links = Vec::new();
    let is_owed = |link: &Link| !link.is_over && is_answered(link, ours(cluster, link)).is_err();
    until("each PROPOSAL has its ACK and its COMMIT", || {
        links = cluster.wire().links(since);
        !links.iter().any(is_owed)
    });
    links
}

fn ours(cluster: &Cluster, link: &Link) -> Ours {
    let is_ours = |id| cluster.implementation_of(id) == Implementation::RingKeeper;
    Ours { leader: is_ours(link.leader), learner: is_ours(link.learner) }
}

/// What a follower was told of a session's requests.
pub type Told = Vec<(Xid, Zxid, OpCode, Vec<i32>)>;

/// All PROPOSALs of this session to a follower, in order, once it was told to commit this one. Each has one COMMIT.
///
/// # Panics
/// If it has none, or more.
pub fn told(cluster: &Cluster, learner: u8, session: SessionId, last: Zxid) -> Told {
    let link = || {
        let links = cluster.wire().synced(learner, 0);
        links.into_iter().next_back().expect("it is in step")
    };
    until("it is committed", || link().of(PacketType::Commit).any(|packet| packet.zxid.zxid() == Some(last)));
    let link = link();
    let of_session = |packet: &&Packet| packet.txn.is_some_and(|txn| txn.session == session);
    let told: Told = link
        .of(PacketType::Proposal)
        .filter(of_session)
        .filter_map(|packet| packet.txn.map(|txn| (txn.xid, txn.zxid, txn.op, packet.errors.clone())))
        .collect();
    let committed: Vec<Zxid> = link.of(PacketType::Commit).filter_map(|packet| packet.zxid.zxid()).collect();
    for (xid, zxid, ..) in &told {
        assert_eq!(committed.iter().filter(|known| *known == zxid).count(), 1, "{learner}: COMMITs of {xid:?} {zxid}");
    }
    told
}

/// The PROPOSALs behind NEWLEADER. Those before it are a part of the history that the learner takes over.
fn proposed_in_office(link: &Link) -> Vec<Zxid> {
    let office = link.of(PacketType::NewLeader).next().map_or(u64::MAX, |packet| packet.number);
    let behind = link.of(PacketType::Proposal).filter(|packet| packet.number > office);
    behind.filter_map(|packet| packet.zxid.zxid()).collect()
}

/// The last PROPOSAL of an office, if there is one, has the COMMIT or the ACK that ours owe it.
fn is_answered(link: &Link, ours: Ours) -> Result<(), String> {
    let Some(last) = proposed_in_office(link).pop() else { return Ok(()) };
    for kind in ours.answers() {
        want(zxids(link, kind).last() == Some(&last), || {
            format!("{} to {}: no {kind:?} of {last}", link.learner, link.leader)
        })?;
    }
    Ok(())
}

fn is_in_order(link: &Link, ours: Ours, initial_counter: u32) -> Result<(), String> {
    if ours.leader {
        leader_is_in_order(link, initial_counter)?;
    }
    if ours.learner {
        learner_is_in_order(link, initial_counter)?;
    }
    Ok(())
}

fn want(is_so: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(wrong()) }
}

fn leader_is_in_order(link: &Link, initial_counter: u32) -> Result<(), String> {
    let name = format!("leader {} to {}", link.leader, link.learner);
    let proposed = zxids(link, PacketType::Proposal);
    let committed = zxids(link, PacketType::Commit);
    follow_each_other(&format!("{name}: PROPOSAL"), &proposed, initial_counter)?;
    follow_each_other(&format!("{name}: COMMIT"), &committed, initial_counter)?;
    follow_each_other(&format!("{name}: INFORM"), &zxids(link, PacketType::Inform), initial_counter)?;
    let told = proposed.get(..committed.len()).unwrap_or_default();
    want(told == committed, || {
        format!("{name}: what was proposed first is committed first, not {committed:?} of {proposed:?}")
    })
}

fn learner_is_in_order(link: &Link, initial_counter: u32) -> Result<(), String> {
    let name = format!("learner {} to {}", link.learner, link.leader);
    // NEWLEADER's zxid is acked when its history is durable, and once more at UPTODATE.
    let (offices, acked): (Vec<Zxid>, Vec<Zxid>) =
        zxids(link, PacketType::Ack).into_iter().partition(|zxid| zxid.counter() == 0);
    want(offices.len() <= 2, || format!("{name}: NEWLEADER was acked {} times", offices.len()))?;
    follow_each_other(&format!("{name}: ACK"), &acked, initial_counter)?;
    let proposed = zxids(link, PacketType::Proposal);
    for zxid in &acked {
        want(proposed.contains(zxid), || format!("{name}: ACK of {zxid}, which was not proposed"))?;
    }
    // What was proposed before NEWLEADER, and is not committed there, may have an ACK of its own.
    let in_office = proposed_in_office(link);
    let first = in_office.first().copied().unwrap_or(Zxid(u64::MAX));
    let acked: Vec<Zxid> = acked.into_iter().filter(|zxid| *zxid >= first).collect();
    want(in_office.get(..acked.len()) == Some(&acked[..]), || {
        format!("{name}: each PROPOSAL has its ACK, {in_office:?} have {acked:?}")
    })
}

/// Each is the next after the one before, or the first of a later epoch.
fn follow_each_other(what: &str, zxids: &[Zxid], initial_counter: u32) -> Result<(), String> {
    for pair in zxids.windows(2) {
        let [before, after] = pair else { continue };
        let is_next = before.epoch() == after.epoch() && before.counter() + 1 == after.counter();
        let is_later = before.epoch() < after.epoch() && after.counter() == 1;
        // A Java leader that jumps there may have served already.
        let is_initial = before < after && after.counter() == initial_counter + 1;
        want(is_next || is_later || is_initial, || format!("{what}: {after} behind {before}"))?;
    }
    Ok(())
}
