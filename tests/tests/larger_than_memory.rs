//! A tree of twice the memory that the server may have, page cache included: made, imaged, opened again, and every answer is right.
//!
//! The server is in a memory cgroup, so that the kernel takes the pages of the image away from it again and again. What hot reads take
//! beside cold ones is printed, and is no limit. `RK_MEMORY_MIB` sets the group's limit, `RK_HOT_SECONDS` how long it is measured, each time:
//! small here, more by `cargo xtask long larger-than-memory`.

use client::{ConnectOptions, Connection, Operations, ReplyFrame, four_letter_word};
use proto::reply::Reply;
use proto::request::{CreateMode, CreateRequest, PathVersion, ReadRequest, Request, SetDataRequest};
use proto::{ErrorCode, OpCode};
use ringkeeper_tests::{Cgroup, Server, until};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Of a znode.
const DATA_BYTES: usize = 2_000;
/// Of one directory: some ten segments.
const CHILDREN: usize = 256;
/// Requests that are on their way together.
const DEPTH: usize = 64;
/// What is made between two images, as a part of the limit: so it fits into memory beside the server itself.
const LIMIT_TO_IMAGE: usize = 10;
/// Hot reads in a second, and of how many znodes.
const HOT_PER_S: u32 = 2_000;
const HOT_ZNODES: usize = 50;
/// For so many of them there is one read anywhere, most of which wait for the disk.
const HOT_TO_COLD: u32 = 14;
const COLD_CLIENTS: usize = 8;
/// One of so many znodes is changed at last, and one of so many is deleted.
const CHANGED: usize = 97;
const DELETED: usize = 193;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn connect(server: &Server) -> Connection {
    let options = ConnectOptions { deadline: Duration::from_secs(60), ..ConnectOptions::default() };
    Connection::connect(server.address(), &options).expect("it serves")
}

/// A figure of `mntr`, without its prefix.
fn figure(server: &Server, key: &str) -> f64 {
    let text = four_letter_word(server.address(), "mntr", Duration::from_secs(60)).expect("an answer");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("zk_ringkeeper_{key}\t")));
    line.unwrap_or_else(|| panic!("mntr has no {key}:\n{text}")).parse().expect("a number")
}

/// What the tree has to be.
#[derive(Clone, Copy)]
struct Expected {
    dirs: usize,
    is_changed: bool,
}

impl Expected {
    fn znodes(self) -> usize {
        self.dirs * CHILDREN
    }

    fn path(number: usize) -> String {
        format!("/d{:04}/{number:07}", number / CHILDREN)
    }

    fn data_at(number: usize, version: usize) -> Vec<u8> {
        let mut data = format!("{number}/{version}/").into_bytes();
        // Nothing that repeats over a page.
        data.extend((data.len()..DATA_BYTES).map(|at| u8::try_from((at * 31 + number * 7) % 251).expect("a byte")));
        data
    }

    /// `None`: it is deleted.
    fn data(self, number: usize) -> Option<Vec<u8>> {
        match self.is_changed {
            true if number.is_multiple_of(DELETED) => None,
            true if number.is_multiple_of(CHANGED) => Some(Self::data_at(number, 1)),
            _ => Some(Self::data_at(number, 0)),
        }
    }

    fn assert(self, number: usize, answer: &ReplyFrame) {
        match (self.data(number), answer.code().expect("a code")) {
            (Some(expected), ErrorCode::Ok) => {
                let Reply::DataStat(found, _) = answer.record().expect("decoded") else { panic!("{number}") };
                assert!(found == Some(&expected[..]), "{number}: other data");
            }
            (None, ErrorCode::NoNode) => {}
            (expected, code) => panic!("{number}: {code:?}, and is it there? {}", expected.is_some()),
        }
    }

    /// Reads these, and compares.
    fn check(self, conn: &mut Connection, numbers: impl Iterator<Item = usize>) {
        let numbers: Vec<usize> = numbers.collect();
        for batch in numbers.chunks(DEPTH) {
            for &number in batch {
                let path = Self::path(number);
                conn.queue(&Request::GetData(ReadRequest { path: &path, watch: false }));
            }
            conn.flush().expect("sent");
            batch.iter().for_each(|&number| self.assert(number, &conn.recv_reply().expect("a reply")));
        }
    }

    /// Makes it of a tree that has not been changed.
    fn make(self, conn: &mut Connection) {
        let is_other = |number: &usize| number.is_multiple_of(DELETED) || number.is_multiple_of(CHANGED);
        let numbers: Vec<usize> = (0..self.znodes()).filter(is_other).collect();
        for batch in numbers.chunks(DEPTH) {
            for &number in batch {
                let path = Self::path(number);
                let data = self.data(number);
                conn.queue(&match &data {
                    None => Request::Delete(PathVersion { path: &path, version: 0 }),
                    Some(data) => Request::SetData(SetDataRequest { path: &path, data: Some(data), version: 0 }),
                });
            }
            conn.flush().expect("sent");
            batch.iter().for_each(|_| drop(conn.recv_reply().expect("a reply").ok().expect("done")));
        }
    }

    /// All of it, in the order of the names, each directory listed.
    fn check_all(self, server: &Server, case: &str) {
        let (begun, mut conn) = (Instant::now(), connect(server));
        let waits = figure(server, "cold_wait_count");
        for dir in 0..self.dirs {
            let numbers = dir * CHILDREN..(dir + 1) * CHILDREN;
            let mut names = conn.children(&format!("/d{dir:04}"), false).expect("listed");
            names.sort();
            let there = numbers.clone().filter(|&number| self.data(number).is_some());
            assert!(names.into_iter().eq(there.map(|number| format!("{number:07}"))), "the names in {dir}");
            assert_eq!(conn.exists(&format!("/d{dir:04}/none"), false).expect("answered"), None);
            self.check(&mut conn, numbers);
        }
        let waits = figure(server, "cold_wait_count") - waits;
        println!("{case}: {} znodes are right in {:?}, {waits} waits for the disk", self.znodes(), begun.elapsed());
        assert!(waits > 0.0, "all of it was in memory");
    }
}

/// Creates the children of a directory; what is refused, for memory is short, is created after an image.
fn fill(server: &Server, conn: &mut Connection, dir: usize) {
    conn.create(&format!("/d{dir:04}"), b"", CreateMode::Persistent).expect("created");
    let acl = client::AclList::open();
    let mut numbers: Vec<usize> = (dir * CHILDREN..(dir + 1) * CHILDREN).collect();
    while !numbers.is_empty() {
        let mut refused = Vec::new();
        for batch in numbers.chunks(DEPTH) {
            for &number in batch {
                let (path, data) = (Expected::path(number), Expected::data_at(number, 0));
                let create =
                    CreateRequest { path: &path, data: Some(&data), acl: acl.as_vec(), flags: 0, ttl_ms: None };
                conn.queue(&Request::Create(OpCode::Create, create));
            }
            conn.flush().expect("sent");
            for &number in batch {
                match conn.recv_reply().expect("a reply").code().expect("a code") {
                    ErrorCode::Ok => {}
                    ErrorCode::SystemError => refused.push(number),
                    code => panic!("{number}: {code:?}"),
                }
            }
        }
        if !refused.is_empty() {
            server.take_image();
            until("memory suffices again", || figure(server, "memory_short") == 0.0);
        }
        numbers = refused;
    }
}

/// Reads a few znodes again and again, [`HOT_PER_S`] a second; with `is_beside`, others read anywhere, so often that about 5 % of all reads wait
/// for the disk. A time counts from when a read was due.
fn hot_reads(server: &Server, expected: Expected, round: u32, is_beside: bool) {
    let (tokens, taken) = mpsc::sync_channel::<u64>(COLD_CLIENTS);
    let taken = Mutex::new(taken);
    let waits = figure(server, "cold_wait_count");
    let mut times = Vec::new();
    let cold = thread::scope(|scope| {
        let read_anywhere = || {
            let (mut conn, mut done) = (connect(server), 0);
            loop {
                let next = taken.lock().expect("nobody panics with it").recv();
                let Ok(seed) = next else { return done };
                expected.check(&mut conn, std::iter::once(Random(seed).below(expected.znodes())));
                done += 1;
            }
        };
        let cold: Vec<_> = (0..COLD_CLIENTS).map(|_| scope.spawn(read_anywhere)).collect();
        let (mut conn, begun) = (connect(server), Instant::now());
        let seconds = setting("RK_HOT_SECONDS", 1);
        for read in 0..u32::try_from(seconds).expect("hours") * HOT_PER_S {
            let due = begun + Duration::from_secs(1) / HOT_PER_S * read;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if is_beside && read % HOT_TO_COLD == 0 {
                // Where all of them are still busy, it is one less.
                let _busy = tokens.try_send(u64::from(round) << 32 | u64::from(read));
            }
            expected.check(&mut conn, std::iter::once(read as usize % HOT_ZNODES));
            times.push(u64::try_from(due.elapsed().as_micros()).expect("not so long"));
        }
        drop(tokens);
        cold.into_iter().map(|cold| cold.join().expect("all was right")).sum::<usize>()
    });
    times.sort_unstable();
    let waited = 100.0 * (figure(server, "cold_wait_count") - waits) / (times.len() + cold) as f64;
    let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1_000];
    println!(
        "{} hot reads beside {cold} anywhere, {waited:.1} % of all waited for the disk: p50 {} µs, p99 {} µs, p99.9 {} µs, at most {} µs",
        times.len(),
        at(500),
        at(990),
        at(999),
        at(1_000)
    );
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((n ^ (n >> 31)) % limit as u64).expect("it is below the limit")
    }
}

#[test]
fn a_tree_of_twice_the_memory_is_made_opened_again_and_read_with_every_answer_right() {
    let limit = setting("RK_MEMORY_MIB", 64) << 20;
    let Some(group) = Cgroup::new(limit) else { return };
    let expected = Expected { dirs: (2 * limit).div_ceil(CHILDREN * DATA_BYTES), is_changed: false };
    let builder = Server::builder().set("autopurge.purgeInterval", "1").wrapped(&["sh", "-c", &group.enter(), "sh"]);
    let mut server = builder.start();
    let (begun, mut conn) = (Instant::now(), connect(&server));
    let dirs_in_image = (limit / LIMIT_TO_IMAGE).div_ceil(CHILDREN * DATA_BYTES);
    for dir in 0..expected.dirs {
        fill(&server, &mut conn, dir);
        if dir % dirs_in_image == 0 {
            server.take_image();
        }
    }
    println!(
        "{} MiB in {} znodes, limit {} MiB: made in {:?}",
        2 * (limit >> 20),
        expected.znodes(),
        limit >> 20,
        begun.elapsed()
    );
    expected.check_all(&server, "where it was made");
    // So that there is something to be written.
    connect(&server).create("/made", b"", CreateMode::Persistent).expect("created");
    server.take_image();
    server.kill9();
    let begun = Instant::now();
    server.restart();
    println!("serves {:?} after kill -9", begun.elapsed());
    expected.check_all(&server, "opened again");
    for (round, is_beside) in [(1, false), (2, true), (3, false), (4, true)] {
        hot_reads(&server, expected, round, is_beside);
    }
    let changed = Expected { is_changed: true, ..expected };
    changed.make(&mut connect(&server));
    // Changes beside the image, which was read again and again.
    changed.check(&mut connect(&server), (0..expected.znodes()).step_by(CHANGED));
    changed.check(&mut connect(&server), (0..expected.znodes()).step_by(DELETED));
    server.take_image();
    assert_eq!(server.sigterm().code(), Some(0), "{}", server.log());
    server.restart();
    changed.check_all(&server, "opened once more");
    println!(
        "the group has had {} MiB at the most, and {} times to take pages back",
        group.number("memory.max_usage_in_bytes") >> 20,
        group.number("memory.failcnt")
    );
    assert!(group.number("memory.failcnt") > 0, "the limit was never felt");
    drop(server);
}
