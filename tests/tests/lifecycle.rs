//! A server starts, serves, ends in order, and finds its data again; one that cannot write its log ends by itself and says why.

use client::{ConnectOptions, Connection, Operations};
use proto::request::{CreateMode, CreateRequest, Request};
use proto::{ErrorCode, OpCode};
use ringkeeper_tests::{Core, Server, until};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn sigterm_ends_it_with_code_0_and_the_next_run_finds_the_data() {
    let mut server = Server::builder().start();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/kept", b"x", CreateMode::Persistent).unwrap();
    let before = client.exists("/kept", false).unwrap();
    assert_eq!(server.sigterm().code(), Some(0), "{}", server.log());
    server.restart();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    assert_eq!(client.get("/kept", false).unwrap().0, b"x");
    assert_eq!(client.exists("/kept", false).unwrap(), before, "the Stat is the one of before");
}

#[test]
fn a_session_id_begins_with_1_as_of_a_zookeeper_that_stands_alone() {
    let builder = Server::builder();
    std::fs::create_dir_all(builder.data_dir()).unwrap();
    std::fs::write(builder.data_dir().join("myid"), "7\n").unwrap();
    let server = builder.start();
    let client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    assert_eq!(client.session_id().0 >> 56, 1, "{:x}", client.session_id().0);
}

#[test]
fn a_session_outlives_a_restart_and_its_ephemerals_with_it() {
    let mut server = Server::builder().shards(2).start();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/mine", b"", CreateMode::Ephemeral).unwrap();
    let session = *client.session().unwrap();
    assert_eq!(server.sigterm().code(), Some(0), "{}", server.log());
    server.restart();
    let mut client = Connection::connect(server.address(), &ConnectOptions::renewing(&session)).unwrap();
    assert_eq!(client.session_id(), session.session_id);
    assert_eq!(client.exists("/mine", false).unwrap().unwrap().ephemeral_owner, session.session_id);
    client.close().unwrap();
    let mut other = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    assert_eq!(other.exists("/mine", false).unwrap(), None, "a closed session takes its ephemerals along");
}

// ---- the end under load ---------------------------------------------------------------------------------------------------

/// Requests that each writer keeps in flight.
const DEPTH: usize = 64;
const WRITERS: usize = 3;
/// After so many replies the end is asked for, in the middle of it all.
const REPLIES: u64 = 2_000;

#[test]
fn sigterm_under_load_seals_the_log_and_keeps_what_was_acknowledged() {
    for shards in [1, 2] {
        let mut server = Server::builder().shards(shards).start();
        Connection::connect(server.address(), &options()).unwrap().create("/l", b"", CreateMode::Persistent).unwrap();
        let replies = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..WRITERS).map(|writer| keep_writing(&server, writer, &replies)).collect();
        let started = Instant::now();
        while replies.load(Ordering::Relaxed) < REPLIES {
            assert!(started.elapsed() < PATIENCE, "{replies:?} replies came");
            std::thread::yield_now();
        }
        assert_eq!(server.sigterm().code(), Some(0), "{}", server.log());
        let acknowledged: Vec<usize> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        assert_ends_with_a_seal(&server);
        server.restart();
        assert!(!server.log().contains("torn tail"), "{}", server.log());
        let mut client = Connection::connect(server.address(), &options()).unwrap();
        let mut found = client.children("/l", false).unwrap();
        found.sort();
        for (writer, acknowledged) in acknowledged.into_iter().enumerate() {
            let prefix = format!("{writer}-");
            let numbers: Vec<usize> =
                found.iter().filter_map(|name| name.strip_prefix(&prefix)?.parse().ok()).collect();
            assert!(numbers.iter().copied().eq(0..numbers.len()), "writer {writer} has gaps: {numbers:?}");
            assert!(numbers.len() >= acknowledged, "{acknowledged} were acknowledged, {} are there", numbers.len());
        }
    }
}

fn options() -> ConnectOptions {
    ConnectOptions { deadline: PATIENCE, ..ConnectOptions::default() }
}

/// Creates one znode after the other until the connection ends, and returns how many were acknowledged.
fn keep_writing(server: &Server, writer: usize, replies: &Arc<AtomicU64>) -> JoinHandle<usize> {
    let mut client = Connection::connect(server.address(), &options()).unwrap();
    let replies = Arc::clone(replies);
    std::thread::spawn(move || {
        let acl = client::AclList::open();
        let (mut sent, mut acknowledged) = (0_usize, 0);
        loop {
            while sent - acknowledged < DEPTH {
                let path = format!("/l/{writer}-{sent:08}");
                let create = CreateRequest { path: &path, data: Some(b"x"), acl: acl.as_vec(), flags: 0, ttl_ms: None };
                client.queue(&Request::Create(OpCode::Create, create));
                sent += 1;
            }
            // A server that has ended takes nothing; what it still answered is there to be read.
            let _ended = client.flush();
            let Ok(reply) = client.recv_reply() else { return acknowledged };
            assert_eq!(reply.code().unwrap(), ErrorCode::Ok);
            acknowledged += 1;
            replies.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// A change in the last txn is damage if a seal follows it: that is refused. Without one it would be a torn tail, and cut.
fn assert_ends_with_a_seal(server: &Server) {
    // The note of a clean stop would tell, too.
    std::fs::remove_file(server.data_dir().join("log/closed")).expect("a clean stop notes where the log ends");
    let (segment, bytes) = last_segment(server);
    let at = bytes.windows(3).rposition(|window| window == b"/l/").expect("the last txns are creates");
    let mut changed = bytes.clone();
    changed[at] ^= 1;
    std::fs::write(&segment, changed).unwrap();
    let refusal = server.own_builder().clone().try_start().expect_err("the log does not end with a seal");
    assert!(refusal.contains("damage"), "{refusal}");
    std::fs::write(&segment, bytes).unwrap();
}

fn last_segment(server: &Server) -> (PathBuf, Vec<u8>) {
    let files = std::fs::read_dir(server.data_dir().join("log")).unwrap().map(|file| file.unwrap().path());
    let is_segment =
        |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-"));
    let last = files.filter(is_segment).max().expect("a log has a segment");
    let bytes = std::fs::read(&last).unwrap();
    (last, bytes)
}

// ---- a log that cannot be written -----------------------------------------------------------------------------------------

/// Bytes that a file may have: the server's words fit, the log's next group does not.
const FILE_BYTES_MAX: u64 = 4096;

#[test]
fn a_log_that_cannot_be_written_ends_the_server_which_says_why_and_acknowledges_nothing_more() {
    for core in Core::BOTH {
        // A write beyond the limit is to fail, not to kill.
        let mut server = Server::builder().core(core).wrapped(&["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"]).start();
        let mut client = Connection::connect(server.address(), &options()).unwrap();
        client.create("/a", b"", CreateMode::Persistent).unwrap();
        client.set("/a", b"kept", 0).unwrap();
        let limit = Rlimit { current: Some(FILE_BYTES_MAX), maximum: Some(FILE_BYTES_MAX) };
        let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
        prlimit(pid, Resource::Fsize, limit).unwrap();
        let refused = client.set("/a", b"lost", 1).expect_err("the log cannot be written");
        assert!(!matches!(refused, client::ClientError::Deadline { .. }), "{core:?}: {refused}");
        until("the server's end", || server.ended().is_some());
        let status = server.ended().expect("it has ended");
        let log = server.log();
        assert_eq!(status.code(), Some(1), "{core:?}: {log}");
        assert!(log.contains("ringkeeper: the log failed") && log.contains("File too large"), "{core:?}: {log}");
        server.restart();
        let mut client = Connection::connect(server.address(), &options()).unwrap();
        let (data, stat) = client.get("/a", false).unwrap();
        assert_eq!((data.as_slice(), stat.version), (&b"kept"[..], 1), "{core:?}");
    }
}
