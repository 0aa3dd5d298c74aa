//! Who expires, and who does not: the leader decides it, for sessions that it does not see itself, by what the followers say.

use super::load::{connect, is_there, owner, renewed};
use client::{ClientError, Connection, Operations};
use proto::Xid;
use proto::request::{CreateMode, Request, SetDataRequest};
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};
use ringkeeper_tests::until;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The shortest with ticks of 500 ms.
const TIMEOUT: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(500);
/// A timeout for sessions that must not expire, on a busy machine either.
const LONG_TIMEOUT: Duration = Duration::from_secs(4);
/// What a busy machine adds to a bound.
const SLACK: Duration = Duration::from_secs(3);

fn on_each(test: fn(&mut Cluster)) {
    for implementation in Implementation::wanted() {
        let mut cluster = Plan::new(implementation, 3).start();
        test(&mut cluster);
        cluster.stop_all();
    }
}

#[test]
fn nobody_expires_while_the_leader_stands_still_for_less_than_it_may() {
    // Java's leader expires all of them as soon as it goes on.
    let mut cluster = Plan::new(Implementation::RingKeeper, 3).start();
    let leader = cluster.leader();
    let mut owners: Vec<(String, Connection)> = Vec::new();
    for id in cluster.ids() {
        let path = format!("/of-{id}");
        let connection = owner(cluster.address(id), &path, TIMEOUT);
        owners.push((path, connection));
    }
    // Twice their timeout, and less than the three seconds of syncLimit.
    let since = Instant::now();
    cluster.pause(leader);
    until("a stall", || {
        ping_all(&mut owners);
        since.elapsed() > 2 * TIMEOUT
    });
    cluster.go_on(leader);
    let mut reader = connect(cluster.address(leader));
    let since = Instant::now();
    until("two ticks and more", || {
        ping_all(&mut owners);
        since.elapsed() > 2 * TIMEOUT
    });
    assert_eq!(cluster.leads(), Some(leader), "nobody has been elected meanwhile");
    for (path, _) in &owners {
        assert!(is_there(&cluster, &mut reader, path), "{path} has expired for its leader's stall");
    }
    cluster.stop_all();
}

/// Says that they live, and does not wait for an answer: not every server gives one now.
fn ping_all(owners: &mut [(String, Connection)]) {
    for (_, owner) in owners {
        owner.queue(&Request::Ping);
        owner.flush().expect("it is connected");
    }
    std::thread::sleep(TIMEOUT / 10);
}

#[test]
fn sessions_that_only_ping_a_follower_live() {
    on_each(|cluster| {
        let (leader, follower) = (cluster.leader(), cluster.follower());
        let mut owners: Vec<(String, Connection)> = (0..20)
            .map(|number| {
                let path = format!("/idle-{number}");
                let connection = owner(cluster.address(follower), &path, LONG_TIMEOUT);
                (path, connection)
            })
            .collect();
        let since = Instant::now();
        until("three times their timeout", || {
            owners.iter_mut().for_each(|(_, owner)| owner.ping().expect("it lives"));
            std::thread::sleep(LONG_TIMEOUT / 8);
            since.elapsed() > 3 * LONG_TIMEOUT
        });
        let mut reader = connect(cluster.address(leader));
        for (path, _) in &owners {
            assert!(is_there(cluster, &mut reader, path), "{path} has expired");
        }
    });
}

#[test]
fn an_ephemeral_of_a_killed_client_of_a_follower_goes_within_its_timeout_and_two_ticks() {
    on_each(|cluster| {
        let (leader, follower) = (cluster.leader(), cluster.follower());
        let mut reader = connect(cluster.address(leader));
        let mut owner = owner(cluster.address(follower), "/killed", TIMEOUT);
        owner.ping().expect("it lives");
        let heard = Instant::now();
        drop(owner);
        until("it goes", || !is_there(cluster, &mut reader, "/killed"));
        let after = heard.elapsed();
        println!("gone {after:?} after its last word, with a timeout of {TIMEOUT:?}");
        assert!(after >= TIMEOUT - TICK, "{after:?}");
        assert!(after <= TIMEOUT + 2 * TICK + SLACK, "{after:?}");
    });
}

#[test]
fn a_session_moves_from_server_to_server_while_it_writes() {
    on_each(|cluster| {
        let servers = cluster.addresses();
        let mut connection = connect(servers[0]);
        let session = connection.session_id();
        connection.create("/moves", b"", CreateMode::Ephemeral).expect("it serves");
        let mut sets = 0;
        // What it has asked for at the last server, without waiting for an answer, may have taken place or not.
        let mut open = 0;
        for turn in 1..=20 {
            let before = sets;
            for _ in 0..5 {
                let stat = connection.set("/moves", b"", -1).expect("it serves");
                sets += 1;
                assert!((sets..=sets + open).contains(&stat.version), "{} after {sets} sets", stat.version);
                open -= (stat.version - sets).min(open);
                sets = stat.version;
            }
            assert!(sets >= before + 5);
            let set = SetDataRequest { path: "/moves", data: None, version: -1 };
            connection.queue(&Request::SetData(set));
            connection.flush().expect("it is connected");
            open = 1;
            // The old connection stays open beside the new one: it is the session that moves.
            let next = (turn % servers.len() + turn / servers.len()) % servers.len();
            connection = renewed(&connection, servers[next]);
        }
        let stat = connection.exists("/moves", false).expect("it serves").expect("its session lives");
        assert_eq!(stat.ephemeral_owner, session);
        assert!((sets..=sets + 1).contains(&stat.version), "{stat:?} after {sets} sets");
        super::load::trees_agree(cluster);
    });
}

/// A session of a client at one server, and the same renewed at another: `(old, new)`, both connections open.
fn moved(from: SocketAddr, to: SocketAddr, path: &str) -> (Connection, Connection) {
    let mut old = connect(from);
    old.create(path, b"", CreateMode::Persistent).expect("it serves");
    let new = renewed(&old, to);
    (old, new)
}

/// What is sent on the old connection gets no answer but the end of the connection.
fn assert_closed(mut old: Connection, requests: &[Request<'_>]) {
    // Clients number a session's requests on: by session and number servers know whose txn it is.
    for (xid, request) in (1_000..).map(Xid).zip(requests) {
        old.queue_as(xid, request);
    }
    // It may be closed already.
    let _refused = old.flush();
    let answer = old.recv();
    assert!(matches!(answer, Err(ClientError::Closed { .. } | ClientError::Io { .. })), "{answer:?}");
}

/// Of every server to every other.
fn for_each_move(cluster: &Cluster, test: impl Fn(Connection, Connection, &str)) {
    for from in cluster.ids() {
        for to in cluster.ids().into_iter().filter(|to| *to != from) {
            let path = format!("/from-{from}-to-{to}");
            println!("from {:?} {from} to {:?} {to}", cluster.mode(from), cluster.mode(to));
            let (old, new) = moved(cluster.address(from), cluster.address(to), &path);
            test(old, new, &path);
        }
    }
}

#[test]
fn what_a_session_that_has_moved_writes_on_its_old_connection_is_never_applied() {
    on_each(|cluster| {
        for_each_move(cluster, |old, mut new, path| {
            let set = SetDataRequest { path, data: Some(b"old"), version: -1 };
            assert_closed(old, &[Request::SetData(set), Request::SetData(set)]);
            // What the old one sent has gone before this, wherever it went.
            let stat = new.set(path, b"new", -1).expect("it is the session's connection");
            assert_eq!(stat.version, 1, "{path}: only that of the new connection");
            assert!(is_there(cluster, &mut new, path));
            let (data, stat) = new.get(path, false).expect("it serves");
            assert_eq!((&*data, stat.version), (&b"new"[..], 1), "{path}");
            new.close().expect("it is the session's connection");
        });
        super::load::trees_agree(cluster);
    });
}

#[test]
fn a_session_that_has_moved_is_not_ended_on_its_old_connection() {
    // ZooKeeper's leader does not ask who it is that closes a session.
    let cluster = Plan::new(Implementation::RingKeeper, 3).start();
    for_each_move(&cluster, |old, mut new, path| {
        let mine = format!("{path}/mine");
        new.create(&mine, b"", CreateMode::Ephemeral).expect("it is the session's connection");
        assert_closed(old, &[Request::CloseSession]);
        assert!(is_there(&cluster, &mut new, &mine), "{mine} has gone with its session");
        new.close().expect("it is the session's connection");
    });
}
