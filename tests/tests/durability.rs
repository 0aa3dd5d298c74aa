//! A reply follows the completion of a durable write that covers it. `kill -9` cannot show this: the page cache outlives the process.
//!
//! Two parts, each with what it shows and what it does not:
//! - The system calls, by `strace`: between the moment a client sends a write and the moment it has the reply, the log's thread went through an
//!   `io_uring_enter` that submitted something and waited for its completion. A tracer's stop holds the thread at both ends of the call, so
//!   the order is certain. A reply that does not wait for the log fails here. What was submitted `strace` cannot see.
//! - The entries in the log's ring themselves, read out of the running server's memory (`/proc/<pid>/mem`): each write to a log segment was
//!   submitted with `RWF_DSYNC`, or is linked to an `fdatasync`. A build without the flag fails here.
//!
//! That a device keeps its promise behind such a write is the kernel's affair and not tested.

use client::{ConnectOptions, Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

const WRITES: usize = 40;

// ---- the order of the system calls ----------------------------------------------------------------------------------------

#[test]
fn each_reply_follows_a_completed_submit_and_wait_of_the_log_thread() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let wrapper = [
        "strace",
        "-f",
        "-ttt",
        "-T",
        "-e",
        "trace=io_uring_enter,prctl",
        "-o",
        trace.to_str().expect("a temporary path is text"),
    ];
    let mut server = Server::builder().wrapped(&wrapper).start();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/a", b"", CreateMode::Persistent).unwrap();
    let mut writes = Vec::new();
    for version in 0..WRITES {
        let sent_us = now_us();
        client.set("/a", b"x", i32::try_from(version).unwrap()).unwrap();
        writes.push((sent_us, now_us()));
    }
    client.close().unwrap();
    end_the_traced(&mut server);
    let text = std::fs::read_to_string(&trace).unwrap();
    let calls = log_calls(&text);
    for (sent_us, replied_us) in writes {
        // Both clocks are the system's; strace rounds to whole µs, once at each end.
        let covers = |call: &&Call| call.began_us >= sent_us - 1 && call.ended_us <= replied_us + 2;
        assert!(
            calls.iter().any(|call| covers(&call)),
            "a write sent at {sent_us} was answered at {replied_us} µs, and no write of the log began and ended between; around it:\n{}",
            calls
                .iter()
                .filter(|call| call.ended_us.abs_diff(replied_us) < 1_000_000)
                .map(|call| format!("{call:?}\n"))
                .collect::<String>()
        );
    }
}

/// A call that submitted something, waited, and ended well.
#[derive(Clone, Copy, Debug)]
struct Call {
    began_us: u64,
    ended_us: u64,
}

fn now_us() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// The server is strace's child: strace itself ends with it.
fn end_the_traced(server: &mut Server) {
    let strace = server.pid();
    let children = std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
    let pid = children.split_whitespace().next().expect("strace has its child").parse().unwrap();
    ringkeeper_tests::signal(pid, rustix::process::Signal::TERM);
    while server.ended().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The log thread's calls of `io_uring_enter` in strace's output, which shows a call on one line, or begun and resumed on two.
fn log_calls(trace: &str) -> Vec<Call> {
    let named: BTreeSet<&str> = trace
        .lines()
        .filter(|line| line.contains("PR_SET_NAME, \"rk-log\""))
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert_eq!(named.len(), 1, "one thread is the log's: {named:?}");
    let mut begun: BTreeMap<&str, u64> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(at)) = (words.next(), words.next()) else { continue };
        if !named.contains(thread) || !line.contains("io_uring_enter") {
            continue;
        }
        let at_us = micros(at);
        if line.contains("<unfinished ...>") {
            if submits_and_waits(line) {
                begun.insert(thread, at_us);
            }
            continue;
        }
        let ended_well =
            line.rsplit_once(" = ").is_some_and(|(_, result)| result.starts_with(|c| ('1'..='9').contains(&c)));
        if line.contains("<... io_uring_enter resumed>") {
            if let Some(began_us) = begun.remove(thread).filter(|_| ended_well) {
                calls.push(Call { began_us, ended_us: at_us });
            }
        } else if submits_and_waits(line) && ended_well {
            let took = line.rsplit_once('<').map_or("0.0", |(_, took)| took.trim_end_matches('>'));
            calls.push(Call { began_us: at_us, ended_us: at_us + micros(took) });
        }
    }
    calls
}

/// `io_uring_enter(fd, to_submit, min_complete, …`, both at least 1.
fn submits_and_waits(line: &str) -> bool {
    let arguments: Vec<&str> =
        line.split_once("io_uring_enter(").map_or_else(Vec::new, |(_, rest)| rest.split(", ").collect());
    let at_least_1 =
        |n: usize| arguments.get(n).and_then(|word| word.parse::<u32>().ok()).is_some_and(|count| count >= 1);
    at_least_1(1) && at_least_1(2) && line.contains("IORING_ENTER_GETEVENTS")
}

/// `seconds.micros` in µs.
fn micros(text: &str) -> u64 {
    let (seconds, micros) = text.split_once('.').expect("strace writes seconds and micros");
    seconds.parse::<u64>().unwrap() * 1_000_000 + micros.parse::<u64>().unwrap()
}

// ---- what was submitted ---------------------------------------------------------------------------------------------------

/// Of `io_uring_sqe`: 64 bytes, with these fields.
const ENTRY_BYTES: usize = 64;
const OP_FSYNC: u8 = 3;
const OP_WRITE: u8 = 23;
const FLAG_LINK: u8 = 1 << 2;
const FSYNC_DATASYNC: u32 = 1;
const RWF_DSYNC: u32 = 2;
/// Where a ring's entries are mapped from (`IORING_OFF_SQES`).
const ENTRIES_OFFSET: &str = "10000000";

#[test]
fn every_write_to_a_log_segment_is_submitted_as_a_durable_one() {
    let server = Server::builder().start();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/a", b"", CreateMode::Persistent).unwrap();
    let mut seen = 0;
    for _ in 0..WRITES {
        client.set("/a", b"x", -1).unwrap();
        // The ring of two keeps its last entries until the next ones are written over them.
        for entries in rings(server.pid()) {
            for (at, entry) in entries.iter().enumerate() {
                if entry.op != OP_WRITE || !is_segment(server.pid(), entry.fd) {
                    continue;
                }
                seen += 1;
                let next = entries.get((at + 1) % entries.len());
                let is_synced = entry.flags & FLAG_LINK != 0
                    && next.is_some_and(|next| next.op == OP_FSYNC && next.rw_flags & FSYNC_DATASYNC != 0);
                assert!(
                    entry.rw_flags & RWF_DSYNC != 0 || is_synced,
                    "a write to the log that nothing makes durable: {entry:?}"
                );
            }
        }
    }
    // Zeroing a spare segment may write over some.
    assert!(seen >= WRITES / 2, "only {seen} log writes were found in the server's rings");
}

/// What matters of a submitted entry.
#[derive(Clone, Copy, Debug)]
struct Entry {
    op: u8,
    flags: u8,
    fd: u32,
    /// For a sync: its flags.
    rw_flags: u32,
}

/// The entries of each io_uring of a process.
fn rings(pid: u32) -> Vec<Vec<Entry>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut rings = Vec::new();
    for line in maps.lines().filter(|line| line.contains("io_uring")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(range), Some(offset)) = (words.first(), words.get(2)) else { continue };
        if !offset.ends_with(ENTRIES_OFFSET) {
            continue;
        }
        let start = u64::from_str_radix(range.split('-').next().unwrap(), 16).unwrap();
        // The log's ring has two entries; of a larger one the first two are looked at in vain.
        let mut bytes = [0; 2 * ENTRY_BYTES];
        memory.read_exact_at(&mut bytes, start).expect("a parent may read its child's memory");
        rings.push(bytes.chunks(ENTRY_BYTES).map(entry).collect());
    }
    assert!(!rings.is_empty(), "the server has no io_uring mapped:\n{maps}");
    rings
}

fn entry(bytes: &[u8]) -> Entry {
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    Entry { op: bytes[0], flags: bytes[1], fd: word(4), rw_flags: word(28) }
}

fn is_segment(pid: u32, fd: u32) -> bool {
    let file = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-"))
}
