//! Law 4's second half and the life of sessions: who has a session, and when it ends.

use crate::{Random, connect, create_all, patient, renew, seed, server};
use client::{ClientError, ConnectOptions, Connection, Operations};
use proto::ErrorCode;
use proto::request::{CreateMode, Request, SetDataRequest};
use ringkeeper_tests::{Server, signal, stand_still};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// The shortest timeout that ticks of 500 ms allow.
const SHORT_MS: i32 = 1_000;
/// Far above the timeout and the ticks that it is rounded up to.
const PATIENCE: Duration = Duration::from_secs(20);

fn connect_short(server: &Server) -> Connection {
    let options = ConnectOptions { timeout_ms: SHORT_MS, ..patient() };
    let connection = Connection::connect(server.address(), &options).unwrap();
    assert_eq!(connection.session().unwrap().timeout_ms, SHORT_MS);
    connection
}

fn renew_short(server: &Server, older: &Connection) -> client::Result<Connection> {
    let options = ConnectOptions {
        timeout_ms: SHORT_MS,
        deadline: crate::DEADLINE,
        ..ConnectOptions::renewing(older.session().unwrap())
    };
    Connection::connect(server.address(), &options)
}

#[test]
fn a_renewed_session_keeps_its_ephemerals_and_reads_its_own_writes() {
    for shards in [1, 2, 4] {
        let server = server(shards);
        let mut owner = connect(&server);
        create_all(&mut owner, &["/s"]);
        owner.create("/s/mine", b"", CreateMode::Ephemeral).unwrap();
        let id = owner.session_id();
        for round in 1..40 {
            assert_eq!(owner.set("/s", b"", -1).unwrap().version, round);
            let mut newer = renew(&server, &owner).unwrap();
            assert_eq!(newer.session_id(), id);
            assert_eq!(
                newer.get("/s", false).unwrap().1.version,
                round,
                "an acknowledged write of one's own is not shown"
            );
            assert_eq!(newer.ephemerals("/").unwrap(), ["/s/mine"]);
            owner.wait_closed().unwrap();
            owner = newer;
        }
        owner.close().unwrap();
        assert_eq!(connect(&server).exists("/s/mine", false).unwrap(), None);
    }
}

#[test]
fn a_session_that_has_moved_takes_no_write_from_its_older_connection() {
    for shards in [1, 2, 4] {
        let server = server(shards);
        let mut random = Random::new(seed(), 0);
        let mut first = connect(&server);
        create_all(&mut first, &["/moved"]);
        for _ in 0..30 {
            let older = &mut first;
            let before = random.below(300);
            queue_sets(older, before);
            older.flush().unwrap();
            let mut newer = renew(&server, older).unwrap();
            // What is sent from here on comes too late for certain.
            queue_sets(older, 200);
            let _closed_already = older.flush();
            let version = newer.get("/moved", false).unwrap().1.version;
            let acknowledged = acknowledged(older);
            newer.call(&Request::Sync("/")).unwrap();
            let later = newer.get("/moved", false).unwrap().1.version;
            assert_eq!(later, version, "the older connection wrote after the newer one had its session");
            assert!(
                acknowledged.is_none_or(|newest| newest <= version),
                "{acknowledged:?} was acknowledged, {version} is there"
            );
            first = newer;
        }
    }
}

fn queue_sets(connection: &mut Connection, count: u64) {
    for _ in 0..count {
        connection.queue(&Request::SetData(SetDataRequest { path: "/moved", data: Some(b"x"), version: -1 }));
    }
}

/// Takes replies until the server closes: acknowledgements first, then perhaps a refusal. The newest version acknowledged.
fn acknowledged(older: &mut Connection) -> Option<i32> {
    let mut newest = None;
    let mut refused = false;
    loop {
        match older.recv_reply() {
            Ok(reply) => match reply.record() {
                Ok(proto::reply::Reply::Stat(stat)) => {
                    assert!(!refused, "a write was acknowledged after one was refused");
                    newest = Some(stat.version);
                }
                Err(ClientError::Server(ErrorCode::SessionMoved)) => refused = true,
                other => panic!("{other:?}"),
            },
            Err(ClientError::Closed { .. }) => return newest,
            Err(other) => panic!("the older connection is not closed: {other}"),
        }
    }
}

#[test]
fn a_wrong_password_is_refused_and_throws_out_the_older_connection() {
    for shards in [1, 4] {
        let server = server(shards);
        let mut owner = connect(&server);
        owner.create("/mine", b"", CreateMode::Ephemeral).unwrap();
        let session = *owner.session().unwrap();
        let mut password = session.password;
        password[3] ^= 1;
        let wrong = ConnectOptions { renew: Some((session.session_id, password)), ..patient() };
        let refused = Connection::connect(server.address(), &wrong);
        assert!(matches!(refused, Err(ClientError::SessionExpired)), "{refused:?}");
        // As in ZooKeeper: the attempt alone costs the owner its connection, not its session.
        owner.wait_closed().unwrap();
        let mut owner = renew(&server, &owner).unwrap();
        assert_eq!(owner.session_id(), session.session_id);
        assert_eq!(owner.ephemerals("/").unwrap(), ["/mine"]);
        let unknown = ConnectOptions { renew: Some((proto::SessionId(77), session.password)), ..patient() };
        let refused = Connection::connect(server.address(), &unknown);
        assert!(matches!(refused, Err(ClientError::SessionExpired)), "{refused:?}");
        owner.ping().unwrap();
    }
}

#[test]
fn a_session_that_is_silent_expires_and_one_that_pings_does_not() {
    for shards in [1, 4] {
        let server = server(shards);
        let mut watcher = connect(&server);
        create_all(&mut watcher, &["/e"]);
        let mut pinging = connect_short(&server);
        pinging.create("/e/pinging", b"", CreateMode::Ephemeral).unwrap();
        let mut cut = connect_short(&server);
        cut.create("/e/cut", b"", CreateMode::Ephemeral).unwrap();
        // Connected, but without a word: a half-open connection must not keep a session alive.
        let mut mute = connect_short(&server);
        mute.create("/e/mute", b"", CreateMode::Ephemeral).unwrap();
        let (cut_session, begun) = (*cut.session().unwrap(), Instant::now());
        cut.abort();
        let names = loop {
            pinging.ping().unwrap();
            let names = watcher.children("/e", false).unwrap();
            if names.len() == 1 || begun.elapsed() > PATIENCE {
                break names;
            }
            if begun.elapsed() < Duration::from_millis(u64::try_from(SHORT_MS).unwrap() / 2) {
                assert_eq!(names.len(), 3, "expired before its timeout: {names:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        assert_eq!(names, ["pinging"]);
        mute.wait_closed().unwrap();
        let late = Connection::connect(server.address(), &ConnectOptions::renewing(&cut_session));
        assert!(matches!(late, Err(ClientError::SessionExpired)), "{late:?}");
        pinging.ping().unwrap();
    }
}

#[test]
fn a_server_that_stood_still_expires_nobody_who_comes_back() {
    let server = server(2);
    let mut owners: Vec<Connection> = (0..8).map(|_| connect_short(&server)).collect();
    for (number, owner) in owners.iter_mut().enumerate() {
        owner.create(&format!("/e{number}"), b"", CreateMode::Ephemeral).unwrap();
    }
    // Half of them lose their connection while the server stands still, and knock again; the others go on pinging.
    stand_still(server.pid());
    let (staying, knocking) = owners.split_at_mut(4);
    let knocks: Vec<(ConnectOptions, Connection)> = knocking
        .iter()
        .map(|owner| {
            let _closed = owner.stream().shutdown(std::net::Shutdown::Both);
            let options = ConnectOptions {
                timeout_ms: SHORT_MS,
                deadline: crate::DEADLINE,
                ..ConnectOptions::renewing(owner.session().unwrap())
            };
            // The kernel accepts for the server.
            (options, Connection::open(server.address(), &options).unwrap())
        })
        .collect();
    // Three times the timeout: the thing itself is that time passes.
    let until = Instant::now() + Duration::from_millis(3 * u64::try_from(SHORT_MS).unwrap());
    while Instant::now() < until {
        for owner in &mut *staying {
            owner.send(&Request::Ping).unwrap();
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    let back: Vec<_> = std::thread::scope(|scope| {
        let knocks: Vec<_> = knocks
            .into_iter()
            .map(|(options, mut connection)| {
                scope.spawn(move || connection.handshake(&options).map(|said| (said, connection)))
            })
            .collect();
        signal(server.pid(), Signal::CONT);
        knocks.into_iter().map(|knock| knock.join().unwrap()).collect()
    });
    for (number, owner) in staying.iter_mut().enumerate() {
        while owner.recv_within(Duration::from_millis(10)).expect("its connection stands").is_some() {}
        assert_eq!(owner.ephemerals("/").unwrap(), [format!("/e{number}")]);
    }
    for (number, (answer, owner)) in back.into_iter().zip(knocking.iter()).enumerate() {
        let (said, mut connection) = answer.unwrap();
        assert_eq!(said.session_id, owner.session_id(), "session {} has expired", number + 4);
        assert_eq!(connection.ephemerals("/").unwrap(), [format!("/e{}", number + 4)]);
    }
    let mut pinged = renew_short(&server, &staying[0]).unwrap();
    pinged.ping().unwrap();
}
