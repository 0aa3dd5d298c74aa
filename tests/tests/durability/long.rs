//! A long listing is being made when the server is stopped, when its log fails, and when its session goes to another connection: nothing waits
//! for it, nobody hears half of it, and it costs nobody anything.
//!
//! The server is `ringkeeper-faults`, which holds up long replies at a gate (`server/src/long.rs`). So each of these comes while one is under way,
//! however fast the machine is.

use client::{AclList, ClientError, ConnectOptions, Connection, Operations};
use proto::OpCode;
use proto::reply::Reply;
use proto::request::{CreateMode, CreateRequest, MultiOp, ReadRequest, Request};
use ringkeeper_tests::{Core, Server, until};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use tempfile::TempDir;

/// More than from which on a listing is made beside the shard (`engine::tree::LISTING_LONG`).
const CHILDREN: usize = 10_500;
/// Creates in one multi, which takes more than a block of the log.
const IN_MULTI: usize = 500;
/// Which write of the log fails: one behind those of the children.
const FAILS: usize = CHILDREN / IN_MULTI + 20;

/// Where the server holds up long replies.
struct Gate {
    _dir: TempDir,
    path: PathBuf,
}

impl Gate {
    fn new() -> Gate {
        let dir = tempfile::Builder::new().prefix("rk-gate-").tempdir().expect("a directory");
        let path = dir.path().join("gate");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
        Gate { _dir: dir, path }
    }

    /// Waits until a long reply is to be made. It is not, before what this gives is dropped.
    fn hold(&self) -> OwnedFd {
        let mut held = None;
        until("a long reply at the gate", || {
            // Nobody is there: an error.
            held = rustix::fs::open(&self.path, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
            held.is_some()
        });
        held.expect("just opened")
    }

    /// Lets everybody through who comes from now on.
    fn take_away(&self) {
        std::fs::remove_file(&self.path).expect("it was there");
    }

    fn server(&self, core: Core, fault: &str) -> Server {
        let gate = format!("RINGKEEPER_LONG_GATE={}", self.path.to_str().expect("text"));
        let fault = format!("RINGKEEPER_FAULT={fault}");
        Server::builder().core(core).program("ringkeeper-faults").wrapped(&["env", &gate, &fault]).start()
    }
}

fn connect(server: &Server) -> Connection {
    Connection::connect(server.address(), &ConnectOptions::default()).expect("it serves")
}

/// The same directory without gate and fault.
fn start_again(server: &Server) -> Server {
    server.own_builder().clone().program("ringkeeper").wrapped(&[]).start()
}

/// Makes `/a` and the children of `/d`.
fn fill(writer: &mut Connection) {
    for path in ["/a", "/d"] {
        writer.create(path, b"", CreateMode::Persistent).expect("created");
    }
    let (acl, flags) = (AclList::open(), CreateMode::Persistent as i32);
    for first in (0..CHILDREN).step_by(IN_MULTI) {
        let paths: Vec<String> = (first..first + IN_MULTI).map(|number| format!("/d/{number:05}")).collect();
        let create = |path| CreateRequest { path, data: None, acl: acl.as_vec(), flags, ttl_ms: None };
        let creates = paths.iter().map(|path| MultiOp::Create(OpCode::Create, create(path)));
        writer.multi(creates.collect()).expect("created");
    }
}

/// Asks for the children of `/d`, and for more behind that.
fn ask(lister: &mut Connection) {
    lister.queue(&Request::GetChildren(ReadRequest { path: "/d", watch: true }));
    lister.queue(&Request::GetData(ReadRequest { path: "/a", watch: false }));
    lister.flush().expect("sent");
}

/// Is the next thing that it hears the whole listing? Else it is the end.
fn hears_listing(lister: &mut Connection) -> bool {
    let reply = match lister.recv_reply() {
        Ok(reply) => reply,
        Err(error @ ClientError::Deadline { .. }) => panic!("neither a reply nor an end: {error}"),
        Err(_) => return false,
    };
    let Reply::Strings(names) = reply.record().expect("decoded") else { panic!("another reply: {reply:?}") };
    assert_eq!(names.iter().count(), CHILDREN);
    true
}

#[test]
fn a_long_listing_under_way_holds_up_no_stop() {
    for core in Core::BOTH {
        // It never gets on, or only when the end has been asked for.
        for is_let_go in [false, true] {
            let gate = Gate::new();
            let mut server = gate.server(core, "");
            let mut writer = connect(&server);
            fill(&mut writer);
            let mut lister = connect(&server);
            ask(&mut lister);
            let mut held = Some(gate.hold());
            writer.set("/a", b"meanwhile", 0).expect("nobody else waits");
            let status = std::thread::scope(|scope| {
                let stop = scope.spawn(|| server.sigterm());
                held.take_if(|_| is_let_go);
                stop.join().expect("joined")
            });
            assert_eq!(status.code(), Some(0), "{core:?} {is_let_go}: {}", server.log());
            assert!(!hears_listing(&mut lister) || is_let_go, "{core:?}: a reply out of nothing");
            drop(held);
            let server = start_again(&server);
            let mut reader = connect(&server);
            assert_eq!(reader.get("/a", false).expect("there").0, b"meanwhile");
            assert_eq!(reader.children("/d", false).expect("listed").len(), CHILDREN);
        }
    }
}

#[test]
fn a_log_that_fails_ends_the_server_with_a_long_listing_under_way_and_the_listing_is_never_heard() {
    for core in Core::BOTH {
        let gate = Gate::new();
        let mut server = gate.server(core, &format!("lost-write:{FAILS}"));
        let mut writer = connect(&server);
        fill(&mut writer);
        let mut lister = connect(&server);
        ask(&mut lister);
        let held = gate.hold();
        let data = [b'x'; 6_000];
        let acknowledged = (0..).find(|&version| writer.set("/a", &data, version).is_err()).expect("it fails");
        until("the server's end", || server.ended().is_some());
        let (status, log) = (server.ended().expect("it has ended"), server.log());
        assert_eq!(status.code(), Some(1), "{core:?}: {log}");
        assert!(log.contains("ringkeeper: the log failed") && acknowledged > 0, "{core:?}: {acknowledged}, {log}");
        assert!(!hears_listing(&mut lister), "{core:?}: a reply out of nothing");
        drop(held);
        let server = start_again(&server);
        let mut reader = connect(&server);
        assert_eq!(reader.get("/a", false).expect("there").1.version, acknowledged, "{core:?}");
        assert_eq!(reader.children("/d", false).expect("listed").len(), CHILDREN);
    }
}

#[test]
fn a_session_goes_to_another_connection_with_a_long_listing_under_way_and_goes_on_there_at_once() {
    for core in Core::BOTH {
        let gate = Gate::new();
        let server = gate.server(core, "");
        let mut old = connect(&server);
        fill(&mut old);
        ask(&mut old);
        let held = gate.hold();
        let options = ConnectOptions {
            last_zxid_seen: old.last_zxid(),
            ..ConnectOptions::renewing(old.session().expect("it has one"))
        };
        let mut new = Connection::connect(server.address(), &options).expect("the session lives");
        new.set("/a", b"there", 0).expect("it goes on");
        assert!(!hears_listing(&mut old), "{core:?}: a reply on a connection that is no more the session's");
        gate.take_away();
        drop(held);
        assert_eq!(new.children("/d", true).expect("listed").len(), CHILDREN);
        new.create("/d/new", b"", CreateMode::Persistent).expect("created");
        assert_eq!(new.next_event().expect("the watch of the new connection").path, "/d");
        assert_eq!(new.get("/a", false).expect("there").0, b"there");
    }
}
