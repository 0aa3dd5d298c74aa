//! Each cell of the matrix: who leads, who learns, as what, and how it is brought into step.
//!
//! Servers 1 and 2 are the leader's kind, server 3 the learner's. Each kind of synchronization is brought about on purpose, and the packets must show that it was this one:
//!
//! - TRUNC: 3 leads, and is cut off; what its client writes then, it alone has. It is killed, 2 leads 1 into another epoch, 3 comes back.
//! - DIFF: 3 is away while there are writes.
//! - SNAP: `forceSnapshotSync`, while there are writes: Java's states are fuzzy then.
//!
//! First as a participant, then as an observer, on the same ensemble.

use super::churn::Churn;
use super::packets::assert_ours_are_in_order;
use super::special::Special;
use super::{assert_no_mismatch, came_with_diff, figure};
use crate::load::{Load, ask, connect, digests_agree, trees_agree, zxid_of};
use crate::logs;
use client::{AclList, ConnectOptions, Connection, Operations};
use proto::OpCode;
use proto::Zxid;
use proto::quorum::PacketType;
use proto::request::{CreateMode, CreateRequest, Request};
use ringkeeper_sim::history::{Event, ServerId, SessionId, TxnKind};
use ringkeeper_tests::cluster::{Cluster, Implementation, Mode, Packet, Plan};
use ringkeeper_tests::until;

const LEARNER: u8 = 3;
/// Who leads it.
const LEADER: u8 = 2;
/// Txns of a tail that a former leader alone has.
const TAIL: usize = 5;
/// Znodes of a state, so that sending it takes a while.
const ZNODES: usize = 5_000;
/// How often a state is sent until one was changed meanwhile.
const FUZZY_TRIES: usize = 10;

#[test]
fn ringkeeper_learns_from_java() {
    cells(Implementation::Java, Implementation::RingKeeper);
}

#[test]
fn ringkeeper_learns_from_java_3_8() {
    cells(Implementation::Java38, Implementation::RingKeeper);
}

#[test]
fn java_learns_from_ringkeeper() {
    cells(Implementation::RingKeeper, Implementation::Java);
}

#[test]
fn java_3_8_learns_from_ringkeeper() {
    cells(Implementation::RingKeeper, Implementation::Java38);
}

#[test]
fn ringkeeper_learns_from_ringkeeper() {
    cells(Implementation::RingKeeper, Implementation::RingKeeper);
}

#[test]
fn javas_learn_from_each_other() {
    for leader in [Implementation::Java, Implementation::Java38] {
        for learner in [Implementation::Java, Implementation::Java38] {
            cells(leader, learner);
        }
    }
}

fn cells(leader: Implementation, learner: Implementation) {
    let plan = Plan::new(leader, 3).with(LEARNER, learner).recorded();
    let mut cluster = plan.set("snapCount", "1000").set("autopurge.purgeInterval", "0").prepare();
    // It leads from the start.
    cluster.start(LEARNER);
    cluster.start(1);
    cluster.await_serving();
    assert_eq!(cluster.leader(), LEARNER);
    cluster.start(LEADER);
    cluster.await_serving();
    fill(&cluster);
    let special = Special::make(&cluster, LEARNER);
    let begun = cluster.wire().now();

    leave_a_tail(&mut cluster);
    truncated(&mut cluster, &special, Mode::Follower);
    diff(&mut cluster, &special, Mode::Follower);
    snap(&mut cluster, &special, Mode::Follower);

    // Its turn to lead.
    cluster.stop(LEADER);
    until("it leads again", || cluster.mode(LEARNER) == Some(Mode::Leader));
    cluster.start(LEADER);
    cluster.await_serving();
    leave_a_tail(&mut cluster);
    // A Java leader that is started anew has its log in a snapshot, and cuts nobody's.
    cluster.make_observer(LEARNER);
    truncated(&mut cluster, &special, Mode::Observer);
    diff(&mut cluster, &special, Mode::Observer);
    snap(&mut cluster, &special, Mode::Observer);

    if [leader, learner].contains(&Implementation::RingKeeper) {
        assert_ours_are_in_order(&cluster, begun);
    }
    assert_no_mismatch(&cluster);
    special.end(&cluster);
    cluster.stop_all();
}

/// Znodes for states.
fn fill(cluster: &Cluster) {
    let mut connection = connect(cluster.address(LEARNER));
    connection.create("/many", b"", CreateMode::Persistent).expect("it serves");
    let acl = AclList::open();
    for at in 0..ZNODES {
        let path = format!("/many/{at}");
        let (data, acl, flags) = (Some(&[b'x'; 100][..]), acl.as_vec(), CreateMode::Persistent as i32);
        let create = CreateRequest { path: &path, data, acl, flags, ttl_ms: None };
        connection.queue(&Request::Create(OpCode::Create, create));
        if at % 500 == 499 {
            connection.flush().expect("it serves");
            for _ in 0..500 {
                connection.recv_reply().expect("it serves").ok().expect("it is created");
            }
        }
    }
    connection.close().expect("it serves");
}

/// The learner leads, and has txns of its own when it is killed; another leads then.
fn leave_a_tail(cluster: &mut Cluster) {
    assert_eq!(cluster.leader(), LEARNER);
    // The end of a session would be a txn of the next epoch: Java does not cut across epochs. One lives on.
    until("former sessions have ended", || figure(cluster, LEARNER, "global_sessions") == Some(1));
    let options = ConnectOptions { timeout_ms: 20_000, ..ConnectOptions::default() };
    let mut connection = Connection::connect(cluster.address(LEARNER), &options).expect("it serves");
    // Nobody leads but who has all that the other has: what is on its way now would be lost to one of them.
    until("all have its session", || {
        let zxids = [LEARNER, 1, LEADER].map(|id| zxid_of(cluster, id));
        zxids[0].is_some() && zxids.iter().all(|zxid| *zxid == zxids[0])
    });
    cluster.wire().hold(LEARNER, 1);
    cluster.wire().hold(LEARNER, LEADER);
    let acl = AclList::open();
    for _ in 0..TAIL {
        let (data, acl, flags) = (Some(&b"tail"[..]), acl.as_vec(), CreateMode::PersistentSequential as i32);
        let create = CreateRequest { path: "/tail-", data, acl, flags, ttl_ms: None };
        connection.queue(&Request::Create(OpCode::Create, create));
    }
    connection.flush().expect("it serves");
    let session = SessionId(connection.session_id().0);
    until("the tail is in its log", || changes_in_log(cluster, session) == TAIL);
    cluster.kill9(LEARNER);
    assert_eq!(changes_in_log(cluster, session), TAIL, "txns of the tail that are left");
    cluster.wire().let_go();
    until("the others go on", || cluster.mode(LEADER) == Some(Mode::Leader));
}

/// Of a session, in the learner's log.
fn changes_in_log(cluster: &Cluster, whose: SessionId) -> usize {
    let txns = logs::txns_of(&cluster.data_dir(LEARNER), ServerId(LEARNER.into()));
    let is_one =
        |txn: &&Event| matches!(txn, Event::Applied { session, kind: TxnKind::Change, .. } if *session == whose);
    txns.iter().filter(is_one).count()
}

fn truncated(cluster: &mut Cluster, special: &Special, role: Mode) {
    until("somebody leads", || cluster.mode(LEADER) == Some(Mode::Leader));
    // Java sends the whole state where there are txns of another epoch.
    if !cluster.implementation_of(LEADER).is_java() {
        write(cluster, LEADER, "/before");
    }
    let since = cluster.wire().now();
    cluster.start(LEARNER);
    cluster.await_serving();
    let sync = brought_into_step(cluster, role, since, PacketType::Trunc);
    let to = sync.zxid.zxid().expect("a TRUNC has one");
    assert!(to.counter() > 0, "a TRUNC to {to}");
    agree(cluster, special);
    let names = ask(cluster, LEARNER, |connection| connection.children("/", false));
    assert!(!names.iter().any(|name| name.starts_with("tail-")), "what nobody else had is gone: {names:?}");
}

fn diff(cluster: &mut Cluster, special: &Special, role: Mode) {
    cluster.kill9(LEARNER);
    let away = write(cluster, LEADER, "/away");
    let since = cluster.wire().now();
    cluster.start(LEARNER);
    cluster.await_serving();
    brought_into_step(cluster, role, since, PacketType::Diff);
    let links = cluster.wire().synced(LEARNER, since);
    let link = links.last().expect("it is in step");
    let came = came_with_diff(link);
    assert!(away.iter().all(|zxid| came.contains(zxid)), "with the DIFF came {came:?}, written meanwhile was {away:?}");
    agree(cluster, special);
}

fn snap(cluster: &mut Cluster, special: &Special, role: Mode) {
    cluster.stop_all();
    cluster.set_all("forceSnapshotSync", "true");
    cluster.start(1);
    cluster.start(LEADER);
    until("somebody leads", || cluster.mode(LEADER) == Some(Mode::Leader));
    let load = Load::begin(&[cluster.address(LEADER), cluster.address(1)], 4);
    load.progress(200);
    let churn = Churn::begin(cluster.address(1), ZNODES);
    let is_java = cluster.implementation_of(LEADER).is_java();
    let mut tries = 0;
    loop {
        let since = cluster.wire().now();
        cluster.start(LEARNER);
        cluster.await_serving();
        let sync = brought_into_step(cluster, role, since, PacketType::Snap);
        let state = sync.state.expect("the state came whole");
        assert_eq!(state.orphans, 0, "parents come first");
        tries += 1;
        if !is_java || state.later > 0 {
            break;
        }
        assert!(tries < FUZZY_TRIES, "no state was changed while it was sent, {tries} times");
        cluster.kill9(LEARNER);
    }
    load.progress(200);
    drop(churn);
    load.finish(cluster);
    trees_agree(cluster);
    special.is_the_same_everywhere(cluster);
    cluster.stop_all();
    cluster.set_all("forceSnapshotSync", "false");
    [1, LEADER].into_iter().for_each(|id| cluster.start(id));
    until("somebody leads", || cluster.mode(LEADER) == Some(Mode::Leader));
    cluster.start(LEARNER);
    cluster.await_serving();
}

/// The last synchronization of the learner since was of this kind.
fn brought_into_step(cluster: &Cluster, role: Mode, since: u64, wanted: PacketType) -> Packet {
    let mut found = None;
    until("it is brought into step", || {
        found = cluster.wire().synced(LEARNER, since).pop();
        found.is_some()
    });
    let link = found.expect("just seen");
    let sync = link.sync().expect("one of the three comes before UPTODATE").clone();
    let [leader, learner] = [link.leader, LEARNER].map(|id| cluster.implementation_of(id).name());
    let (txns, state) = (link.of(PacketType::Commit).count() + link.of(PacketType::Inform).count(), sync.state);
    println!(
        "{leader} leads, {learner} learns as {role:?}: {:?} {}, {txns} committed, {state:?}",
        sync.kind, sync.zxid.0
    );
    assert_eq!((link.leader, sync.kind), (LEADER, wanted));
    let said = [PacketType::FollowerInfo, PacketType::ObserverInfo].map(|kind| link.of(kind).count());
    assert_eq!(said, if role == Mode::Observer { [0, 1] } else { [1, 0] }, "FOLLOWERINFO and OBSERVERINFO of {role:?}");
    assert_eq!(cluster.mode(LEARNER), Some(role));
    sync
}

/// Ten znodes. Gives the zxids of their txns.
fn write(cluster: &Cluster, at: u8, path: &str) -> Vec<Zxid> {
    ask(cluster, at, |connection| {
        let mut create =
            || connection.create(path, b"1", CreateMode::PersistentSequential).map(|_| connection.last_zxid());
        (0..10).map(|_| create()).collect()
    })
}

/// A write at each server is seen at each, and all have the same tree.
fn agree(cluster: &Cluster, special: &Special) {
    for id in cluster.ids() {
        write(cluster, id, &format!("/of-{id}-"));
    }
    digests_agree(cluster);
    trees_agree(cluster);
    special.is_the_same_everywhere(cluster);
}
