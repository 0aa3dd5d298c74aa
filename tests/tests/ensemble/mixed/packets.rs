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
    let ours = |id| cluster.implementation_of(id) == Implementation::RingKeeper;
    let owed = || {
        let links = cluster.wire().links(since);
        let owed = |link: &Link| {
            ours(link.leader) && !is_answered(link, PacketType::Commit)
                || ours(link.learner) && !is_answered(link, PacketType::Ack)
        };
        links.into_iter().filter(|link| !link.is_over && owed(link)).count()
    };
    until("each PROPOSAL has its ACK and its COMMIT", || owed() == 0);
    let mut looked_at = 0;
    for link in cluster.wire().links(since) {
        if ours(link.leader) {
            leader_is_in_order(&link, initial_counter);
            looked_at += 1;
        }
        if ours(link.learner) {
            learner_is_in_order(&link, initial_counter);
            looked_at += 1;
        }
    }
    assert!(looked_at > 0, "none of ours has said anything");
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

/// Has the last PROPOSAL of an office, if there is one, its packet of this kind?
fn is_answered(link: &Link, kind: PacketType) -> bool {
    proposed_in_office(link).last().is_none_or(|last| zxids(link, kind).last() == Some(last))
}

fn leader_is_in_order(link: &Link, initial_counter: u32) {
    let name = format!("leader {} to {}", link.leader, link.learner);
    let proposed = zxids(link, PacketType::Proposal);
    let committed = zxids(link, PacketType::Commit);
    follow_each_other(&format!("{name}: PROPOSAL"), &proposed, initial_counter);
    follow_each_other(&format!("{name}: COMMIT"), &committed, initial_counter);
    follow_each_other(&format!("{name}: INFORM"), &zxids(link, PacketType::Inform), initial_counter);
    let told = proposed.get(..committed.len()).unwrap_or_default();
    assert_eq!(told, committed, "{name}: what was proposed first is committed first");
}

fn learner_is_in_order(link: &Link, initial_counter: u32) {
    let name = format!("learner {} to {}", link.learner, link.leader);
    // NEWLEADER's zxid is acked when its history is durable, and once more at UPTODATE.
    let (offices, acked): (Vec<Zxid>, Vec<Zxid>) =
        zxids(link, PacketType::Ack).into_iter().partition(|zxid| zxid.counter() == 0);
    assert!(offices.len() <= 2, "{name}: NEWLEADER was acked {} times", offices.len());
    follow_each_other(&format!("{name}: ACK"), &acked, initial_counter);
    let proposed = zxids(link, PacketType::Proposal);
    for zxid in &acked {
        assert!(proposed.contains(zxid), "{name}: ACK of {zxid}, which was not proposed");
    }
    // What was proposed before NEWLEADER, and is not committed there, may have an ACK of its own.
    let in_office = proposed_in_office(link);
    let first = in_office.first().copied().unwrap_or(Zxid(u64::MAX));
    let acked: Vec<Zxid> = acked.into_iter().filter(|zxid| *zxid >= first).collect();
    assert_eq!(in_office.get(..acked.len()), Some(&acked[..]), "{name}: each PROPOSAL has its ACK");
}

/// Each is the next after the one before, or the first of a later epoch.
fn follow_each_other(what: &str, zxids: &[Zxid], initial_counter: u32) {
    for pair in zxids.windows(2) {
        let [before, after] = pair else { continue };
        let is_next = before.epoch() == after.epoch() && before.counter() + 1 == after.counter();
        let is_later = before.epoch() < after.epoch() && after.counter() == 1;
        // A Java leader that jumps there may have served already.
        let is_initial = before < after && after.counter() == initial_counter + 1;
        assert!(is_next || is_later || is_initial, "{what}: {after} behind {before}");
    }
}
