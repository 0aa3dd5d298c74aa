//! Law 5: a watch event reaches the client before any reply that shows the change or a later state, and after the reply that
//! registered it; the events of one connection leave in zxid order. With them law 6 for the headers of those replies.

use crate::eye::{Eye, Sent};
use crate::{Random, connect, create_all, seed, server};
use client::{Connection, Incoming, Operations};
use proto::request::Request;
use proto::watch::EventType;
use std::sync::atomic::{AtomicBool, Ordering};

const NODES: [&str; 3] = ["/n/0", "/n/1", "/n/2"];
const WATCHERS: u64 = 4;
const WRITERS: u64 = 2;
const BATCHES: usize = 150;
const DEPTH: usize = 16;

#[test]
fn an_event_comes_before_what_shows_its_change_and_after_its_registration_1_shard() {
    watchers_and_writers(1);
}

#[test]
fn an_event_comes_before_what_shows_its_change_and_after_its_registration_2_shards() {
    watchers_and_writers(2);
}

#[test]
fn an_event_comes_before_what_shows_its_change_and_after_its_registration_4_shards() {
    watchers_and_writers(4);
}

/// Watchers read with watches, write now and then, and check every frame, while others write.
fn watchers_and_writers(shards: usize) {
    let server = server(shards);
    let seed = seed();
    create_all(&mut connect(&server), &["/n", "/n/0", "/n/1", "/n/2"]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (connection, done) = (connect(&server), &done);
                scope.spawn(move || write_until(connection, done, &mut Random::new(seed, number)))
            })
            .collect();
        let watchers: Vec<_> = (0..WATCHERS)
            .map(|number| {
                let connection = connect(&server);
                scope.spawn(move || watch(connection, &mut Random::new(seed, 100 + number)))
            })
            .collect();
        let outcomes: Vec<_> = watchers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            let events = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            assert!(events > BATCHES, "only {events} events: the test did not test anything");
        }
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

/// Writes, four requests at a time, until told to stop.
pub(crate) fn write_until(mut connection: Connection, done: &AtomicBool, random: &mut Random) {
    while !done.load(Ordering::Relaxed) {
        for _ in 0..4 {
            connection.queue(&Eye::request(&Sent::Set { path: random.pick(&NODES).to_owned() }));
        }
        connection.flush().unwrap();
        for _ in 0..4 {
            connection.recv_reply().unwrap().ok().unwrap();
        }
    }
}

fn watch(mut connection: Connection, random: &mut Random) -> usize {
    let mut eye = Eye::default();
    for _ in 0..BATCHES {
        for _ in 0..DEPTH {
            queue_random(&mut connection, &mut eye, random);
        }
        connection.flush().unwrap();
        while !eye.sent.is_empty() {
            eye.see(&connection.recv().unwrap());
        }
    }
    eye.events
}

/// Queues one request: mostly getData with a watch.
pub(crate) fn queue_random(connection: &mut Connection, eye: &mut Eye, random: &mut Random) {
    let path = random.pick(&NODES).to_owned();
    let sent = match random.below(10) {
        0..=5 => Sent::Get { path, watch: true },
        6 | 7 => Sent::Get { path, watch: false },
        8 => Sent::Set { path },
        _ => Sent::Other,
    };
    if random.below(8) == 0 {
        connection.queue(&Request::Ping);
    }
    connection.queue(&Eye::request(&sent));
    eye.sent.push_back(sent);
}

#[test]
fn what_another_session_has_been_told_is_news_to_no_watcher() {
    // The watcher's own read is sent only after the writer has its reply: it must show the change, with the event before it.
    for shards in [2, 4] {
        let server = server(shards);
        let mut writers: Vec<_> = (0..4).map(|_| connect(&server)).collect();
        let mut watchers: Vec<_> = (0..4).map(|_| connect(&server)).collect();
        create_all(&mut writers[0], &["/news"]);
        for watcher in &mut watchers {
            // A standalone server's reads are linearizable only after sync, as in ZooKeeper.
            watcher.call(&Request::Sync("/")).unwrap();
        }
        for round in 0..100 {
            let versions: Vec<i32> =
                watchers.iter_mut().map(|watcher| watcher.get("/news", true).unwrap().1.version).collect();
            let stat = writers[round % 4].set("/news", b"", -1).unwrap();
            for (watcher, version) in watchers.iter_mut().zip(versions) {
                watcher.send(&Request::Sync("/")).unwrap();
                watcher.send(&Eye::request(&Sent::Get { path: "/news".to_owned(), watch: false })).unwrap();
                let first = watcher.recv().unwrap();
                let Incoming::Event(event) = &first else { panic!("{first:?} came before the event of {version}") };
                assert_eq!((event.path.as_str(), event.kind()), ("/news", Some(EventType::NodeDataChanged)));
                assert_eq!(event.zxid, stat.mzxid);
                watcher.recv_reply().unwrap();
                let shown = watcher.recv_reply().unwrap();
                let proto::reply::Reply::DataStat(_, seen) = shown.record().unwrap() else { panic!("{shown:?}") };
                assert_eq!(seen.version, version + 1);
                assert!(watcher.take_events().is_empty());
            }
        }
    }
}

#[test]
fn a_persistent_recursive_watch_tells_every_change_before_a_reply_shows_it() {
    for shards in [1, 4] {
        let server = server(shards);
        let seed = seed();
        let mut watcher = connect(&server);
        create_all(&mut watcher, &["/n", "/n/0", "/n/1", "/n/2"]);
        watcher.add_watch("/n", true).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for number in 0..3 {
                let (connection, done) = (connect(&server), &done);
                scope.spawn(move || write_until(connection, done, &mut Random::new(seed, number)));
            }
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| count_events(&mut watcher)));
            done.store(true, Ordering::Relaxed);
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }
}

/// Reads in batches: a znode's version must be the number of its events so far, exactly.
fn count_events(watcher: &mut Connection) {
    let mut events = [0_i32; NODES.len()];
    let mut last = proto::Zxid::ZERO;
    while events.iter().sum::<i32>() < 1_000 {
        let asked: Vec<usize> = (0..DEPTH).map(|i| i % NODES.len()).collect();
        for node in &asked {
            watcher.queue(&Eye::request(&Sent::Get { path: NODES[*node].to_owned(), watch: false }));
        }
        watcher.flush().unwrap();
        let mut answered = 0;
        while answered < asked.len() {
            match watcher.recv().unwrap() {
                Incoming::Event(event) => {
                    events[NODES.iter().position(|path| *path == event.path).unwrap()] += 1;
                    assert!(event.zxid > last, "{event:?} after {last:?}");
                    last = event.zxid;
                }
                Incoming::Reply(reply) => {
                    let proto::reply::Reply::DataStat(_, stat) = reply.record().unwrap() else { panic!("{reply:?}") };
                    assert!(stat.version <= events[asked[answered]], "law 5: {stat:?} before its event, {events:?}");
                    assert!(reply.header.zxid >= last, "law 6: {:?} after an event of {last:?}", reply.header);
                    answered += 1;
                }
            }
        }
    }
}
