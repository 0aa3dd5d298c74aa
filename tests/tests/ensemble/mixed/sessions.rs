//! Sessions in both directions: created at a server of the one kind and renewed at one of the other, expired by a leader of either, and such as only their server knows.
//!
//! Servers 1 and 2 are the leader's kind, and 2 leads; 3 is of the other. `crate::local` and `crate::sessions` run on mixes, too (`RK_ENSEMBLE`), but who leads there, and whom the
//! client is at, is by chance.

use super::packets::{assert_ours_are_in_order, told};
use super::{ACROSS, LEADER, OTHER, SAME, led_by_2};
use crate::load::{PING_EVERY, connect, trees_agree};
use crate::local;
use client::{ClientError, ConnectOptions, Connection, Operations};
use proto::quorum::PacketType;
use proto::request::{CreateMode, Request, SetDataRequest};
use proto::watch::EventType;
use proto::{ErrorCode, OpCode, SessionId, Xid};
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};
use ringkeeper_tests::until;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Of the other kind, and observes; it does not make local sessions the ensemble's.
const OBSERVER: u8 = 4;

/// Of sessions that are to expire.
const TIMEOUT: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(500);
/// Of sessions that must not, on a busy machine either.
const LONG_TIMEOUT: Duration = Duration::from_secs(3);
/// What a busy machine adds to a bound.
const SLACK: Duration = Duration::from_secs(3);
/// Clients number a session's requests on from connection to connection: by session and number servers know whose txn it is.
const OLD_XID: Xid = Xid(1_000);
/// How often a client says that it lives.
const PACE: Duration = Duration::from_millis(50);

#[test]
fn between_ringkeeper_and_a_java_leader() {
    sessions(Implementation::Java, Implementation::RingKeeper);
}

#[test]
fn between_ringkeeper_and_a_java_3_8_leader() {
    sessions(Implementation::Java38, Implementation::RingKeeper);
}

#[test]
fn between_java_and_a_ringkeeper_leader() {
    sessions(Implementation::RingKeeper, Implementation::Java);
}

#[test]
fn between_java_3_8_and_a_ringkeeper_leader() {
    sessions(Implementation::RingKeeper, Implementation::Java38);
}

#[test]
fn local_ones_of_ringkeeper_under_java() {
    local_sessions(Implementation::Java, Implementation::RingKeeper);
}

#[test]
fn local_ones_of_ringkeeper_under_java_3_8() {
    local_sessions(Implementation::Java38, Implementation::RingKeeper);
}

#[test]
fn local_ones_of_java_under_ringkeeper() {
    local_sessions(Implementation::RingKeeper, Implementation::Java);
}

#[test]
fn local_ones_of_java_3_8_under_ringkeeper() {
    local_sessions(Implementation::RingKeeper, Implementation::Java38);
}

fn sessions(leader: Implementation, other: Implementation) {
    let mut cluster = led_by_2(Plan::new(leader, 3).with(OTHER, other).recorded().prepare());
    let begun = cluster.wire().now();
    for (from, to) in ACROSS {
        a_session_moves(&cluster, from, to);
        a_wrong_password_is_of_no_use(&cluster, from, to);
    }
    silent_ones_expire(&cluster);
    the_next_leader_has_them(&mut cluster);
    trees_agree(&cluster);
    assert_ours_are_in_order(&cluster, begun);
    cluster.stop_all();
}

/// A session with an ephemeral.
fn owner(server: SocketAddr, path: &str, timeout: Duration) -> Connection {
    let timeout_ms = i32::try_from(timeout.as_millis()).expect("short");
    let options = ConnectOptions { timeout_ms, ping_every: PING_EVERY, ..ConnectOptions::default() };
    let mut connection = Connection::connect(server, &options).expect("it serves");
    connection.create(path, b"", CreateMode::Ephemeral).expect("it serves");
    connection
}

/// The session of this connection at a server, once that has seen as much as its client.
fn renewed(connection: &Connection, server: SocketAddr) -> Connection {
    let session = connection.session().expect("it is connected");
    let (timeout_ms, last_zxid_seen) = (session.timeout_ms, connection.last_zxid());
    let options =
        ConnectOptions { timeout_ms, last_zxid_seen, ping_every: PING_EVERY, ..ConnectOptions::renewing(session) };
    let mut renewed = None;
    until("a server that has seen as much", || {
        renewed = Connection::connect(server, &options).ok();
        renewed.is_some()
    });
    let renewed = renewed.expect("just seen");
    assert_eq!(renewed.session_id(), connection.session_id());
    renewed
}

/// Is a session with this password known there?
fn is_known(server: SocketAddr, session: SessionId, password: [u8; 16]) -> bool {
    let options = ConnectOptions { renew: Some((session, password)), ..ConnectOptions::default() };
    let mut connection = Connection::open(server, &options).expect("it listens");
    connection.handshake(&options).expect("it is answered").session_id != SessionId(0)
}

fn is_there(connection: &mut Connection, path: &str) -> bool {
    connection.sync(path).expect("a quorum is there");
    connection.exists(path, false).expect("it serves").is_some()
}

/// How often this server has asked its leader for a session, and was answered.
fn revalidations(cluster: &Cluster, id: u8) -> [usize; 2] {
    let Some(link) = cluster.wire().synced(id, 0).pop() else { return [0; 2] };
    [false, true].map(|answers| link.of(PacketType::Revalidate).filter(|packet| packet.from_leader == answers).count())
}

fn a_session_moves(cluster: &Cluster, from: u8, to: u8) {
    let path = format!("/from-{from}-to-{to}");
    let mut old = owner(cluster.address(from), &path, LONG_TIMEOUT);
    let session = *old.session().expect("it is connected");
    let before = revalidations(cluster, to);
    let mut new = renewed(&old, cluster.address(to));
    // Its leader is asked once, unless it leads itself.
    let asked = usize::from(to != LEADER);
    assert_eq!(revalidations(cluster, to), before.map(|count| count + asked), "{path}");
    assert_eq!(new.session().expect("it is connected").timeout_ms, session.timeout_ms);
    let stat = new.set(&path, b"new", -1).expect("it writes");
    assert_eq!((stat.ephemeral_owner, stat.version), (session.session_id, 1), "{path}");
    // The session has another connection now: what comes on this one is not answered, and not done.
    old.queue_as(OLD_XID, &Request::SetData(SetDataRequest { path: &path, data: Some(b"old"), version: -1 }));
    // It may be closed already.
    let _refused = old.flush();
    let answer = old.recv();
    assert!(matches!(answer, Err(ClientError::Closed { .. } | ClientError::Io { .. })), "{path}: {answer:?}");
    assert!(is_there(&mut new, &path));
    let (data, stat) = new.get(&path, false).expect("it serves");
    assert_eq!((&*data, stat.version), (&b"new"[..], 1), "{path}");
    new.close().expect("it ends");
    for id in cluster.ids() {
        assert!(!is_there(&mut connect(cluster.address(id)), &path), "{path} goes with its session, at {id} too");
        assert!(!is_known(cluster.address(id), session.session_id, session.password), "{path}, at {id}");
    }
}

fn a_wrong_password_is_of_no_use(cluster: &Cluster, home: u8, away: u8) {
    let path = format!("/at-{home}-not-{away}");
    let (home_at, away_at) = (cluster.address(home), cluster.address(away));
    let mut owner = owner(home_at, &path, LONG_TIMEOUT);
    let session = *owner.session().expect("it is connected");
    let mut wrong = session.password;
    wrong[0] ^= 1;
    let before = revalidations(cluster, away);
    assert!(!is_known(away_at, session.session_id, wrong), "{path}");
    assert!(!is_known(away_at, SessionId(session.session_id.0 + 1), session.password), "{path}: there is none such");
    assert_eq!(revalidations(cluster, away), before, "{path}: nobody is asked for a wrong password");
    owner.ping().expect("its connection is none of theirs");
    assert!(is_there(&mut owner, &path));
    // Where it is connected that costs its client the connection, and not the session.
    assert!(!is_known(home_at, session.session_id, wrong), "{path}");
    owner.wait_closed().expect("it is closed");
    let mut back = renewed(&owner, away_at);
    assert!(is_there(&mut back, &path));
    back.close().expect("it ends");
}

fn silent_ones_expire(cluster: &Cluster) {
    let mut silent = Vec::new();
    let mut keepers = Vec::new();
    for id in cluster.ids() {
        for name in ["silent", "gone"] {
            let path = format!("/{name}-{id}");
            let connection = owner(cluster.address(id), &path, TIMEOUT);
            silent.push((path, *connection.session().expect("it is connected"), Some(connection)));
        }
        let path = format!("/keeper-{id}");
        keepers.push((owner(cluster.address(id), &path, LONG_TIMEOUT), path));
    }
    let since = Instant::now();
    let mut watchers: Vec<Connection> = cluster.ids().iter().map(|id| connect(cluster.address(*id))).collect();
    for watcher in &mut watchers {
        watcher.sync("/").expect("a quorum is there");
        for (path, ..) in &silent {
            assert!(watcher.exists(path, true).expect("it serves").is_some(), "{path}");
        }
    }
    // One connection of each server ends, the other is only silent.
    silent.iter_mut().filter(|(path, ..)| path.starts_with("/gone")).for_each(|(.., connection)| *connection = None);
    let mut seen = vec![Vec::new(); watchers.len()];
    until("all are gone, and the keepers would be", || {
        keepers.iter_mut().for_each(|(keeper, _)| keeper.ping().expect("it lives"));
        for (watcher, seen) in watchers.iter_mut().zip(&mut seen) {
            watcher.ping().expect("it lives");
            for event in watcher.take_events() {
                assert_eq!(event.kind(), Some(EventType::NodeDeleted), "{event:?}");
                let after = since.elapsed();
                assert!(after >= TIMEOUT - TICK, "{} after {after:?}", event.path);
                assert!(after <= TIMEOUT + 2 * TICK + SLACK, "{} after {after:?}", event.path);
                seen.push(event.path);
            }
        }
        std::thread::sleep(PACE);
        seen.iter().all(|seen| seen.len() >= silent.len()) && since.elapsed() > LONG_TIMEOUT + 2 * TICK
    });
    let wanted: BTreeSet<&str> = silent.iter().map(|(path, ..)| path.as_str()).collect();
    for (watcher, seen) in watchers.iter_mut().zip(&seen) {
        assert_eq!(seen.iter().map(String::as_str).collect::<BTreeSet<_>>(), wanted);
        assert_eq!(seen.len(), wanted.len(), "each once: {seen:?}");
        assert!(keepers.iter().all(|(_, path)| is_there(watcher, path)), "who says that he lives does");
    }
    let last = watchers.iter_mut().map(|watcher| watcher.set("/", b"", -1).expect("it serves").mzxid).max();
    for (path, session, connection) in silent {
        for learner in [SAME, OTHER] {
            let told = told(cluster, learner, session.session_id, last.expect("there are some"));
            let ends = told.iter().filter(|(_, _, op, _)| *op == OpCode::CloseSession).count();
            assert_eq!(ends, 1, "{path}: {learner} was told {told:?}");
            assert!(!is_known(cluster.address(learner), session.session_id, session.password), "{path}");
        }
        if let Some(mut connection) = connection {
            connection.wait_closed().expect("its server closes it");
        }
    }
    for connection in watchers.into_iter().chain(keepers.into_iter().map(|(keeper, _)| keeper)) {
        connection.close().expect("it ends");
    }
}

/// The other kind leads: sessions of either kind of server, which the former leader knew, go on or expire.
fn the_next_leader_has_them(cluster: &mut Cluster) {
    let (mut silent, mut kept) = (Vec::new(), Vec::new());
    for id in cluster.ids() {
        kept.push((owner(cluster.address(id), &format!("/kept-{id}"), 2 * LONG_TIMEOUT), format!("/kept-{id}")));
        let path = format!("/late-{id}");
        silent.push((owner(cluster.address(id), &path, TIMEOUT).session_id(), path));
    }
    cluster.kill9(LEADER);
    until("the other kind leads", || cluster.leads() == Some(OTHER));
    cluster.await_serving();
    // Each goes to a server of the other kind than it was at; that of the follower may have its connection still.
    let mut readers = Vec::new();
    for ((former, path), to) in kept.iter().zip([OTHER, OTHER, SAME]) {
        let mut moved = renewed(former, cluster.address(to));
        moved.set(path, b"kept", -1).expect("its session goes on");
        readers.push(moved);
    }
    for (_, path) in &silent {
        until("it expires", || readers.iter_mut().all(|reader| !is_there(reader, path)));
    }
    let last = readers.iter().map(Connection::last_zxid).max().expect("there are some");
    let link = cluster.wire().synced(SAME, 0).pop().expect("it is in step");
    assert_eq!(link.leader, OTHER);
    for (session, path) in &silent {
        let told = told(cluster, SAME, *session, last);
        let ops: Vec<OpCode> = told.iter().map(|(_, _, op, _)| *op).collect();
        assert_eq!(ops, [OpCode::CloseSession], "{path} was ended by the new leader");
    }
    cluster.start(LEADER);
    cluster.await_serving();
    let mut reader = connect(cluster.address(LEADER));
    for ((_, path), mut moved) in kept.iter().zip(readers) {
        moved.ping().expect("it lives");
        assert!(is_there(&mut reader, path));
        moved.close().expect("it ends");
        assert!(!is_there(&mut reader, path));
    }
    reader.close().expect("it ends");
}

fn local_sessions(leader: Implementation, other: Implementation) {
    let plan = Plan::new(leader, 3).with(OTHER, other).observers(1).with(OBSERVER, other).recorded();
    let plan = plan.set("localSessionsEnabled", "true").set("localSessionsUpgradingEnabled", "true");
    let mut cluster = plan.set("extendedTypesEnabled", "false").prepare();
    cluster.set_own(OBSERVER, "localSessionsUpgradingEnabled", "false");
    let mut cluster = led_by_2(cluster);
    let begun = cluster.wire().now();
    for (home, away) in ACROSS {
        local::becomes_the_ensembles(&cluster, home, away);
    }
    for away in [LEADER, OTHER] {
        local::ends_where_it_began(&cluster, OBSERVER, away);
    }
    an_ephemeral_is_refused(&cluster);
    for id in cluster.ids() {
        a_ttl_is_refused(&cluster, id);
    }
    trees_agree(&cluster);
    assert_ours_are_in_order(&cluster, begun);
    cluster.stop_all();
}

/// By its server: Java's leader has another error for it, which only its own clients see.
fn an_ephemeral_is_refused(cluster: &Cluster) {
    let mut client = connect(cluster.address(OBSERVER));
    let answer = client.create("/e", b"", CreateMode::Ephemeral);
    assert!(matches!(answer, Err(ClientError::Server(ErrorCode::EphemeralOnLocalSession))), "{answer:?}");
    let is_java = cluster.implementation_of(LEADER).is_java();
    let in_txn = if is_java { ErrorCode::SessionExpired } else { ErrorCode::EphemeralOnLocalSession };
    assert_error(cluster, client, in_txn);
}

/// The one txn of this client's session is an error.
fn assert_error(cluster: &Cluster, client: Connection, code: ErrorCode) {
    let told = told(cluster, SAME, client.session_id(), client.last_zxid());
    let told: Vec<_> = told.into_iter().map(|(_, _, op, errors)| (op, errors)).collect();
    assert_eq!(told, [(OpCode::Error, vec![code.to_wire()])]);
    client.close().expect("it ends");
}

fn a_ttl_is_refused(cluster: &Cluster, id: u8) {
    let mut client = connect(cluster.address(id));
    let answer = client.create2("/ttl", b"", CreateMode::PersistentWithTtl, 1_000);
    assert!(matches!(answer, Err(ClientError::Server(ErrorCode::Unimplemented))), "{id}: {answer:?}");
    assert_error(cluster, client, ErrorCode::Unimplemented);
}
