//! Law 6: the zxid in a reply's header. Clients send it back in setWatches: one that is too large loses events for good.

use crate::events::{queue_random, write_until};
use crate::eye::{Eye, Sent, is_set_watches};
use crate::{Random, connect, create_all, patient, renew, seed, server};
use client::{ConnectOptions, Connection, Incoming, PathList};
use proto::Zxid;
use proto::request::{Request, SetWatchesRequest};
use ringkeeper_tests::Server;
use std::sync::atomic::{AtomicBool, Ordering};

const ROUNDS: u64 = 80;

#[test]
fn a_client_that_reconnects_with_its_last_header_zxid_loses_no_event() {
    for shards in [1, 2, 4] {
        let server = server(shards);
        let seed = seed();
        create_all(&mut connect(&server), &["/n", "/n/0", "/n/1", "/n/2"]);
        let done = AtomicBool::new(false);
        let caught_up = std::thread::scope(|scope| {
            for number in 0..2 {
                let (connection, done) = (connect(&server), &done);
                scope.spawn(move || write_until(connection, done, &mut Random::new(seed, number)));
            }
            let clients: Vec<_> = (0..2)
                .map(|number| {
                    let server = &server;
                    scope.spawn(move || come_and_go(server, &mut Random::new(seed, 100 + number)))
                })
                .collect();
            let outcomes: Vec<_> = clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            done.store(true, Ordering::Relaxed);
            outcomes
        });
        for outcome in caught_up {
            let (connection, mut eye) = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // Nobody writes any more: a watch that still stands must show the version at which it was registered.
            let mut connection = reconnect(&server, connection, &mut eye);
            for path in ["/n/0", "/n/1", "/n/2"] {
                let sent = Sent::Get { path: path.to_owned(), watch: false };
                connection.send(&Eye::request(&sent)).unwrap();
                eye.sent.push_back(sent);
            }
            drain(&mut connection, &mut eye, usize::MAX);
            assert!(eye.events > 50, "only {} events: the test did not test anything", eye.events);
        }
    }
}

/// Reads with watches and drops its connection at any moment, with replies and events unread.
fn come_and_go(server: &Server, random: &mut Random) -> (Connection, Eye) {
    let mut connection = connect(server);
    let mut eye = Eye::default();
    for _ in 0..ROUNDS {
        for _ in 0..8 {
            queue_random(&mut connection, &mut eye, random);
        }
        connection.flush().unwrap();
        drain(&mut connection, &mut eye, usize::try_from(random.below(24)).unwrap());
        if random.below(2) == 0 {
            // An idle moment in which the writers go on.
            drain(&mut connection, &mut eye, 3);
        }
        connection = reconnect(server, connection, &mut eye);
    }
    (connection, eye)
}

/// Takes up to `frames` frames, and no more than it takes to answer everything.
fn drain(connection: &mut Connection, eye: &mut Eye, frames: usize) {
    for _ in 0..frames {
        if eye.sent.is_empty() {
            break;
        }
        let incoming = connection.recv().unwrap();
        match &incoming {
            Incoming::Reply(reply) if is_set_watches(reply) => reply.clone().ok().map(|_| ()).unwrap(),
            _ => eye.see(&incoming),
        }
    }
}

/// The session on another connection, its watches restored as of the last header that the client has seen.
fn reconnect(server: &Server, older: Connection, eye: &mut Eye) -> Connection {
    let last_zxid = older.last_zxid();
    let mut connection = renew(server, &older).unwrap();
    eye.reconnected(last_zxid);
    let data = PathList::new(eye.armed.keys().map(String::as_str).collect::<Vec<_>>().into_iter());
    let none = PathList::new(std::iter::empty());
    let request = SetWatchesRequest {
        relative_zxid: last_zxid,
        data: data.as_vec(),
        exist: none.as_vec(),
        child: none.as_vec(),
        persistent: none.as_vec(),
        persistent_recursive: none.as_vec(),
    };
    connection.send(&Request::SetWatches(request)).unwrap();
    connection
}

#[test]
fn a_server_behind_a_clients_zxid_refuses_it() {
    let server = server(2);
    let mut client = connect(&server);
    create_all(&mut client, &["/a"]);
    let seen = ConnectOptions { last_zxid_seen: client.last_zxid(), ..patient() };
    Connection::connect(server.address(), &seen).unwrap();
    let ahead = ConnectOptions { last_zxid_seen: Zxid(client.last_zxid().0 + 1_000), ..patient() };
    let refused = Connection::connect(server.address(), &ahead);
    assert!(matches!(refused, Err(client::ClientError::Closed { .. })), "{refused:?}");
    client.ping().unwrap();
}
