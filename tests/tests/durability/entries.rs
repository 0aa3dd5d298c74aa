//! What was submitted: the entries in the log's ring, out of the server's memory (`/proc/<pid>/mem`). Each write to a log segment bears
//! `RWF_DSYNC`, or is linked to an `fdatasync`. A build without the flag fails here.

use client::{ConnectOptions, Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::{Core, Server};
use std::fs::File;
use std::os::unix::fs::FileExt;

const WRITES: usize = 40;

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
fn the_log_thread_submits_every_write_to_a_segment_as_a_durable_one() {
    assert_writes_are_durable(Core::Thread);
}

#[test]
fn a_shard_with_the_core_submits_every_write_to_a_segment_as_a_durable_one() {
    assert_writes_are_durable(Core::Shard);
}

fn assert_writes_are_durable(core: Core) {
    let server = Server::builder().core(core).start();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/a", b"", CreateMode::Persistent).unwrap();
    let mut seen = 0;
    for _ in 0..WRITES {
        client.set("/a", b"x", -1).unwrap();
        // The ring of two keeps its last entries until the next ones are written over them.
        for (entry, next) in log_writes(server.pid()) {
            seen += 1;
            let is_synced = entry.flags & FLAG_LINK != 0 && next.op == OP_FSYNC && next.rw_flags & FSYNC_DATASYNC != 0;
            assert!(
                entry.rw_flags & RWF_DSYNC != 0 || is_synced,
                "a write to the log that nothing makes durable: {entry:?}"
            );
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

/// The writes to log segments among the entries of a process's rings, each with the entry behind it.
fn log_writes(pid: u32) -> Vec<(Entry, Entry)> {
    let rings = rings(pid);
    let pairs = rings.iter().flat_map(|[first, second]| [(*first, *second), (*second, *first)]);
    pairs.filter(|(entry, _)| entry.op == OP_WRITE && is_segment(pid, entry.fd)).collect()
}

/// The first two entries of each io_uring of a process: the log's has no more, and the others are told by what is in them.
fn rings(pid: u32) -> Vec<[Entry; 2]> {
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
        let mut bytes = [0; 2 * ENTRY_BYTES];
        memory.read_exact_at(&mut bytes, start).expect("a parent may read its child's memory");
        rings.push([entry(&bytes[..ENTRY_BYTES]), entry(&bytes[ENTRY_BYTES..])]);
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
