//! Sessions in both directions: created at a server of the one kind and renewed at one of the other, expired by a leader of either, and such as only their server knows.
//!
//! Servers 1 and 2 are the leader's kind, and 2 leads; 3 is of the other, but in the pure ensembles that all of it is compared with (`*_alone`). `crate::local` and `crate::sessions` run on mixes, too (`RK_ENSEMBLE`), but who leads there, and whom the
//! client is at, is by chance.

use super::packets::{assert_ours_are_in_order, told};
use super::{ACROSS, LEADER, OTHER, SAME, assert_no_mismatch, led_by_2, said};
use crate::load::{catch_up, connect, is_there, owner, renewed, trees_agree};
use crate::local;
use client::{ClientError, ConnectOptions, Connection, Event, Operations};
use proto::connect::ConnectResponse;
use proto::quorum::PacketType;
use proto::request::{CreateMode, Request, SetDataRequest};
use proto::watch::EventType;
use proto::{ErrorCode, OpCode, SessionId, Xid};
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};
use ringkeeper_tests::until;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Of the other kind, and observes; it does not make local sessions the ensemble's.
const OBSERVER: u8 = 4;

/// Of sessions that are to expire.
const TIMEOUT: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(500);
/// Of sessions that must not, on a busy machine either.
const LONG_TIMEOUT: Duration = Duration::from_secs(3);
/// What a busy machine adds to a bound.
const SLACK: Duration = Duration::from_secs(3);
/// Clients number a session's requests on from connection to connection: by session and number servers know whose txn it is.
const OLD_XID: Xid = Xid(1_000);
/// Where the znodes of those that are to expire are.
const TOP: &str = "/expiry";
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

#[test]
fn between_ringkeepers_alone() {
    sessions(Implementation::RingKeeper, Implementation::RingKeeper);
}

#[test]
fn between_javas_alone() {
    for java in [Implementation::Java, Implementation::Java38] {
        sessions(java, java);
    }
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
    if [leader, other].contains(&Implementation::RingKeeper) {
        assert_ours_are_in_order(&cluster, begun);
        assert_no_mismatch(&cluster);
    }
    cluster.stop_all();
}

/// Is a session with this password known there?
fn is_known(server: SocketAddr, session: SessionId, password: [u8; 16]) -> bool {
    let options = ConnectOptions { renew: Some((session, password)), ..ConnectOptions::default() };
    let mut connection = Connection::open(server, &options).expect("it listens");
    connection.handshake(&options).expect("it is answered").session_id != SessionId(0)
}

fn a_session_moves(cluster: &Cluster, from: u8, to: u8) {
    let path = format!("/from-{from}-to-{to}");
    let is_closed_at_once = from == LEADER && !cluster.implementation_of(LEADER).is_java();
    let mut old = owner(cluster.address(from), &path, LONG_TIMEOUT);
    let session = *old.session().expect("it is connected");
    let before = said(cluster, to, [PacketType::Revalidate; 2]);
    let mut new = renewed(&old, cluster.address(to));
    // Its leader is asked once, unless it leads itself.
    let asked = usize::from(to != LEADER);
    assert_eq!(said(cluster, to, [PacketType::Revalidate; 2]), before.map(|count| count + asked), "{path}");
    assert_eq!(new.session().expect("it is connected").timeout_ms, session.timeout_ms);
    let stat = new.set(&path, b"new", -1).expect("it writes");
    assert_eq!((stat.ephemeral_owner, stat.version), (session.session_id, 1), "{path}");
    // The session has another connection now: what comes on this one is not answered, and not done.
    old.queue_as(OLD_XID, &Request::SetData(SetDataRequest { path: &path, data: Some(b"old"), version: -1 }));
    let sent = old.flush();
    assert!(sent.is_ok() || is_closed_at_once, "{path}: {sent:?}");
    let answer = old.recv();
    assert!(matches!(answer, Err(ClientError::Closed { .. } | ClientError::Io { .. })), "{path}: {answer:?}");
    assert!(is_there(cluster, &mut new, &path));
    let (data, stat) = new.get(&path, false).expect("it serves");
    assert_eq!((&*data, stat.version), (&b"new"[..], 1), "{path}");
    // The leader refuses it in a txn, but for one of ours that was asked itself: it has closed the old connection when the session went.
    let mut refused = told(cluster, SAME, session.session_id, new.last_zxid());
    refused.retain(|(xid, ..)| *xid == OLD_XID);
    let refused: Vec<_> = refused.into_iter().map(|(_, _, op, errors)| (op, errors)).collect();
    let moved = (OpCode::Error, vec![ErrorCode::SessionMoved.to_wire()]);
    assert_eq!(refused, if is_closed_at_once { vec![] } else { vec![moved] }, "{path}");
    new.close().expect("it ends");
    for id in cluster.ids() {
        assert!(
            !is_there(cluster, &mut connect(cluster.address(id)), &path),
            "{path} goes with its session, at {id} too"
        );
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
    let before = said(cluster, away, [PacketType::Revalidate; 2]);
    assert!(!is_known(away_at, session.session_id, wrong), "{path}");
    assert!(!is_known(away_at, SessionId(session.session_id.0 + 1), session.password), "{path}: there is none such");
    assert_eq!(
        said(cluster, away, [PacketType::Revalidate; 2]),
        before,
        "{path}: nobody is asked for a wrong password"
    );
    owner.ping().expect("its connection is none of theirs");
    assert!(is_there(cluster, &mut owner, &path));
    // Where it is connected that costs its client the connection, and not the session.
    assert!(!is_known(home_at, session.session_id, wrong), "{path}");
    owner.wait_closed().expect("it is closed");
    let mut back = renewed(&owner, away_at);
    assert!(is_there(cluster, &mut back, &path));
    back.close().expect("it ends");
}

/// Of sessions that are to expire.
struct Silent {
    path: String,
    /// Before its first word.
    begun: Instant,
    session: ConnectResponse,
    connection: Option<Connection>,
}

/// What a watcher saw, in order.
#[derive(Default)]
struct Seen {
    created: Vec<String>,
    deleted: Vec<String>,
}

impl Seen {
    /// Nobody goes before his timeout is over, who may have begun at his first word, nor much later than if it began when the last of them had said his last.
    fn note(&mut self, event: Event, silent: &[Silent], all_are_silent: Instant) {
        match event.kind() {
            Some(EventType::NodeCreated) => self.created.push(event.path),
            Some(EventType::NodeDeleted) => {
                let one = silent.iter().find(|one| one.path == event.path).expect("who says that he lives does");
                let (of_it, of_all) = (one.begun.elapsed(), all_are_silent.elapsed());
                assert!(of_it >= TIMEOUT, "{} after {of_it:?}", event.path);
                assert!(of_all <= TIMEOUT + 2 * TICK + SLACK, "{} after {of_all:?}", event.path);
                self.deleted.push(event.path);
            }
            _ => panic!("{event:?}"),
        }
    }
}

fn silent_ones_expire(cluster: &Cluster) {
    let mut watchers: Vec<Connection> = cluster.ids().iter().map(|id| connect(cluster.address(*id))).collect();
    watchers[0].create(TOP, b"", CreateMode::Persistent).expect("it serves");
    for watcher in &mut watchers {
        catch_up(cluster, watcher);
        watcher.add_watch(TOP, true).expect("it serves");
    }
    let (mut silent, mut keepers, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    for id in cluster.ids() {
        for name in ["silent", "gone"] {
            let (path, begun) = (format!("{TOP}/{name}-{id}"), Instant::now());
            let connection = owner(cluster.address(id), &path, TIMEOUT);
            let session = *connection.session().expect("it is connected");
            paths.push(path.clone());
            silent.push(Silent { path, begun, session, connection: Some(connection) });
        }
    }
    for id in cluster.ids() {
        let path = format!("{TOP}/keeper-{id}");
        paths.push(path.clone());
        keepers.push((owner(cluster.address(id), &path, LONG_TIMEOUT), path));
    }
    // One connection of each server ends, the other is only silent.
    silent.iter_mut().filter(|one| one.path.contains("/gone-")).for_each(|one| one.connection = None);
    let since = Instant::now();
    let mut seen: Vec<Seen> = watchers.iter().map(|_| Seen::default()).collect();
    until("all are gone, and the keepers would be", || {
        keepers.iter_mut().for_each(|(keeper, _)| keeper.ping().expect("it lives"));
        for (watcher, seen) in watchers.iter_mut().zip(&mut seen) {
            watcher.ping().expect("it lives");
            for event in watcher.take_events() {
                seen.note(event, &silent, since);
            }
        }
        std::thread::sleep(PACE);
        seen.iter().all(|seen| seen.deleted.len() >= silent.len()) && since.elapsed() > LONG_TIMEOUT + 2 * TICK
    });
    let mut wanted: Vec<&str> = silent.iter().map(|one| one.path.as_str()).collect();
    wanted.sort_unstable();
    for (watcher, seen) in watchers.iter_mut().zip(&mut seen) {
        assert_eq!(seen.created, paths);
        seen.deleted.sort_unstable();
        assert_eq!(seen.deleted, wanted, "each once");
        assert!(keepers.iter().all(|(_, path)| is_there(cluster, watcher, path)), "who says that he lives does");
    }
    let last = watchers.iter_mut().map(|watcher| watcher.set(TOP, b"", -1).expect("it serves").mzxid).max();
    for Silent { path, session, connection, .. } in silent {
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
    let owners = |name: &str, timeout| -> Vec<(Connection, String)> {
        let owner = |id: u8| {
            let path = format!("/{name}-{id}");
            (owner(cluster.address(id), &path, timeout), path)
        };
        cluster.ids().into_iter().map(owner).collect()
    };
    let mut kept = owners("kept", 2 * LONG_TIMEOUT);
    let late = owners("late", LONG_TIMEOUT);
    // Both have all that the former leader said: it is not said once more.
    for (client, _) in &mut kept {
        client.sync("/").expect("a quorum is there");
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
    for (_, path) in &late {
        // All are asked each time: who is not is silent meanwhile.
        until("it expires", || readers.iter_mut().map(|reader| is_there(cluster, reader, path)).max() == Some(false));
    }
    let last = readers.iter().map(Connection::last_zxid).max().expect("there are some");
    let link = cluster.wire().synced(SAME, 0).pop().expect("it is in step");
    assert_eq!(link.leader, OTHER);
    for (former, path) in &late {
        let told = told(cluster, SAME, former.session_id(), last);
        let ends = told.iter().filter(|(_, _, op, _)| *op == OpCode::CloseSession).count();
        let is_last = told.last().is_some_and(|(_, _, op, _)| *op == OpCode::CloseSession);
        assert!(ends == 1 && is_last, "{path} was ended by the new leader: {told:?}");
    }
    cluster.start(LEADER);
    until("the former leader serves", || {
        readers.iter_mut().for_each(|kept| kept.ping().expect("it lives"));
        cluster.mode(LEADER).is_some()
    });
    let mut reader = connect(cluster.address(LEADER));
    for ((_, path), moved) in kept.iter().zip(readers) {
        assert!(is_there(cluster, &mut reader, path));
        moved.close().expect("it ends");
        assert!(!is_there(cluster, &mut reader, path));
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
    assert_no_mismatch(&cluster);
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
