//! Law 7: a multi is atomic for every reader, and a session's close removes its ephemerals in one txn.

use crate::{connect, create_all, server};
use client::{Connection, Event, Incoming, MultiResult, Operations};
use proto::reply::Reply;
use proto::request::{CreateMode, MultiOp, MultiRequest, ReadRequest, Request, SetDataRequest};
use proto::watch::EventType;
use ringkeeper_tests::Server;
use std::sync::atomic::{AtomicBool, Ordering};

const READERS: usize = 4;
const EPHEMERALS: usize = 20;

#[test]
fn a_multi_is_seen_whole_or_not_at_all() {
    for shards in [1, 2, 4] {
        let server = server(shards);
        let mut writer = connect(&server);
        create_all(&mut writer, &["/a", "/b"]);
        // The two were created one after the other: only from the first multi on are they of one txn.
        let set = |path| MultiOp::SetData(SetDataRequest { path, data: Some(b"x"), version: -1 });
        let both = Request::Multi(MultiRequest { ops: vec![set("/a"), set("/b")] });
        writer.roundtrip(&both).unwrap().ok().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (server, done, both) = (&server, &done, &both);
            scope.spawn(move || {
                let _stops_readers = Raised(done);
                while !done.load(Ordering::Relaxed) {
                    for _ in 0..4 {
                        writer.queue(both);
                    }
                    writer.flush().unwrap();
                    for _ in 0..4 {
                        writer.recv_reply().unwrap().ok().unwrap();
                    }
                }
            });
            let readers: Vec<_> =
                (0..READERS).map(|_| scope.spawn(move || read_both(&mut connect(server), done))).collect();
            let outcomes: Vec<_> = readers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            done.store(true, Ordering::Relaxed);
            for outcome in outcomes {
                outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        });
    }
}

/// Raises its flag at the end, also in a panic.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads both znodes, with multiRead and one after the other, until many of the writer's changes have been seen.
fn read_both(reader: &mut Connection, done: &AtomicBool) {
    let mut changes = 0;
    let mut last = -1;
    while changes < 200 && !done.load(Ordering::Relaxed) {
        let read = |path| ReadRequest { path, watch: false };
        let both = reader.multi_read(vec![MultiOp::GetData(read("/a")), MultiOp::GetData(read("/b"))]).unwrap();
        let [MultiResult::Data(_, a), MultiResult::Data(_, b)] = both.as_slice() else { panic!("{both:?}") };
        assert_eq!((a.version, a.mzxid), (b.version, b.mzxid), "half of a multi");
        for path in ["/a", "/b", "/a"] {
            reader.queue(&Request::GetData(read(path)));
        }
        reader.flush().unwrap();
        let mut before = a.version;
        for _ in 0..3 {
            let reply = reader.recv_reply().unwrap();
            let Reply::DataStat(_, stat) = reply.record().unwrap() else { panic!("{reply:?}") };
            assert!(
                stat.version >= before,
                "{} after {before}: the other half of a multi was shown before",
                stat.version
            );
            before = stat.version;
        }
        changes += i32::from(before != last);
        last = before;
    }
}

#[test]
fn the_end_of_a_session_removes_its_ephemerals_in_one_txn() {
    for shards in [1, 4] {
        let server = server(shards);
        create_all(&mut connect(&server), &["/e"]);
        let mut watcher = connect(&server);
        watcher.add_watch("/e", true).unwrap();
        for _ in 0..10 {
            let mut owner = connect(&server);
            // Created in one txn too, so that a reader sees all of them or none at any time.
            create_ephemerals(&mut owner);
            let created = events(&mut watcher);
            assert!(created.iter().all(|event| event.kind() == Some(EventType::NodeCreated)), "{created:?}");
            close_under_readers(&server, owner);
            let deleted = events(&mut watcher);
            assert!(deleted.iter().all(|event| event.kind() == Some(EventType::NodeDeleted)), "{deleted:?}");
            assert!(deleted.iter().all(|event| event.zxid == deleted[0].zxid), "{deleted:?}");
        }
    }
}

fn create_ephemerals(owner: &mut Connection) {
    let paths: Vec<String> = (0..EPHEMERALS).map(|i| format!("/e/{i:02}")).collect();
    let acl = client::AclList::open();
    let create = |path| proto::request::CreateRequest {
        path,
        data: None,
        acl: acl.as_vec(),
        flags: CreateMode::Ephemeral as i32,
        ttl_ms: None,
    };
    let ops = paths.iter().map(|path| MultiOp::Create(proto::OpCode::Create, create(path))).collect();
    owner.multi(ops).unwrap();
}

/// One event per ephemeral.
fn events(watcher: &mut Connection) -> Vec<Event> {
    (0..EPHEMERALS)
        .map(|_| match watcher.recv().unwrap() {
            Incoming::Event(event) => event,
            Incoming::Reply(reply) => panic!("{reply:?}"),
        })
        .collect()
}

fn close_under_readers(server: &Server, owner: Connection) {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                let mut reader = connect(server);
                loop {
                    match reader.children("/e", false).unwrap().len() {
                        0 => break,
                        EPHEMERALS => {}
                        some => panic!("{some} of {EPHEMERALS} ephemerals: a close is not one txn"),
                    }
                }
            });
        }
        owner.close().unwrap();
    });
}
