//! The order of the system calls, by `strace`. A tracer's stop holds a thread at both ends of a call, so the order within a thread is
//! certain, and so is that between a thread and the client's clock. What was submitted, and whether it has ended, `strace` cannot see.
//!
//! - Core in a thread: between the moment a client sends a write and the moment it has the reply, the log's thread went through an
//!   `io_uring_enter` that submitted something and waited for its completion. A reply that does not wait for the log fails here.
//! - Core in a shard: the shard's thread went through an `io_uring_enter` that submitted something to the log's ring, after the client had sent
//!   the write and before the reply's `sendto` began. A reply that leaves first fails here. One that does not wait for the completion does
//!   not: a completion may be there by the time that the submitting call returns, and then the reply rightly leaves in the same turn
//!   (about every other time under `strace`). That one fails in [`crate::held`].

use client::{ConnectOptions, Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::{Core, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

const WRITES: usize = 40;

/// A write as its client saw it, in µs of the system's clock.
#[derive(Clone, Copy, Debug)]
struct Write {
    sent_us: u64,
    replied_us: u64,
}

#[test]
fn each_reply_follows_a_completed_submit_and_wait_of_the_log_thread() {
    let (trace, writes) = traced(Core::Thread);
    let calls = log_calls(&trace);
    for write in writes {
        assert!(
            calls.iter().any(|call| call.is_within(write)),
            "no write of the log began and ended within {write:?}; around it:\n{}",
            around(&calls, write)
        );
    }
}

#[test]
fn each_reply_of_a_shard_with_the_core_follows_its_submit_to_the_logs_ring() {
    let (trace, writes) = traced(Core::Shard);
    let calls = calls_of(&trace, "rk-shard-0");
    let by_log_thread = log_calls(&trace);
    let of_log = calls_of(&trace, "rk-log");
    let rings: BTreeSet<&str> = of_log.iter().filter_map(Call::ring).collect();
    assert_eq!(rings.len(), 1, "the log has one ring: {rings:?}");
    let is_submit = |call: &&Call| {
        call.ring().is_some_and(|ring| rings.contains(ring)) && call.number(1) >= 1 && call.number(2) == 0
    };
    let is_wait = |call: &&Call| call.ring().is_some_and(|ring| !rings.contains(ring)) && call.number(2) >= 1;
    let (mut submitted, mut waited) = (0, 0);
    for write in writes {
        let here: Vec<&Call> = calls.iter().filter(|call| call.touches(write)).collect();
        let reply = here.iter().rposition(|call| call.name == "sendto" && call.is_within(write));
        let reply = reply.unwrap_or_else(|| panic!("nobody answered {write:?}:\n{}", around(&calls, write)));
        let Some(submit) = here[..reply].iter().rposition(|call| is_submit(call) && call.is_within(write)) else {
            // At the start, and when it tidies up, the log's thread has the log.
            assert!(
                by_log_thread.iter().any(|call| call.is_within(write) && call.ended_us <= here[reply].began_us),
                "nobody wrote to the log before the reply within {write:?}:\n{}",
                around(&calls, write)
            );
            continue;
        };
        submitted += 1;
        waited += usize::from(here[submit..reply].iter().any(is_wait));
    }
    println!("of {WRITES} writes the shard submitted {submitted}, and waited for {waited} of them on its own ring");
    assert!(submitted >= WRITES / 4, "only {submitted} of {WRITES} writes were submitted by the shard");
}

// ---- a traced run -----------------------------------------------------------------------------------------------------------

/// Writes one after the other to a traced server; the trace, and when each write began and ended.
fn traced(core: Core) -> (Vec<Call>, Vec<Write>) {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let trace_file = trace.to_str().expect("a temporary path is text");
    let wrapper = ["strace", "-f", "-ttt", "-T", "-e", "trace=io_uring_enter,prctl,sendto", "-o", trace_file];
    // Small segments: the next one is soon ready, and the log's thread has nothing left to do.
    let mut server = Server::builder().core(core).set("preAllocSize", "1024").wrapped(&wrapper).start();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/a", b"", CreateMode::Persistent).unwrap();
    let mut writes = Vec::new();
    for version in 0..WRITES {
        let sent_us = now_us();
        client.set("/a", b"x", i32::try_from(version).unwrap()).unwrap();
        writes.push(Write { sent_us, replied_us: now_us() });
    }
    client.close().unwrap();
    end_the_traced(&mut server);
    (parse(&std::fs::read_to_string(&trace).unwrap()), writes)
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

// ---- the trace --------------------------------------------------------------------------------------------------------------

/// One call of a thread, from the moment it began to the one when it returned.
#[derive(Clone, Debug)]
struct Call {
    thread: String,
    name: String,
    /// As strace writes them.
    arguments: String,
    result: i64,
    began_us: u64,
    ended_us: u64,
}

impl Call {
    /// It began after the request was sent, and ended before the reply was there. Both clocks are the system's; strace rounds to whole
    /// µs, once at each end.
    fn is_within(&self, write: Write) -> bool {
        // A reply may be received before its `sendto` has returned.
        let ended = if self.name == "sendto" { self.began_us } else { self.ended_us };
        self.began_us >= write.sent_us - 1 && ended <= write.replied_us + 2
    }

    /// Some of it falls into the write's time.
    fn touches(&self, write: Write) -> bool {
        self.ended_us >= write.sent_us - 1 && self.began_us <= write.replied_us + 2
    }

    /// The ring of an `io_uring_enter`, by its descriptor.
    fn ring(&self) -> Option<&str> {
        (self.name == "io_uring_enter").then(|| self.arguments.split(", ").next()).flatten()
    }

    /// A numeric argument: of `io_uring_enter` how many are to be submitted (1), and how many completions are waited for (2).
    fn number(&self, nth: usize) -> u32 {
        self.arguments.split(", ").nth(nth).and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}

/// The calls of the one thread of this name, in order.
fn calls_of(trace: &[Call], thread: &str) -> Vec<Call> {
    let name = format!("PR_SET_NAME, \"{thread}\"");
    let named: BTreeSet<&str> =
        trace.iter().filter(|call| call.arguments.starts_with(&name)).map(|call| call.thread.as_str()).collect();
    assert_eq!(named.len(), 1, "one thread is {thread}: {named:?}");
    trace.iter().filter(|call| named.contains(call.thread.as_str())).cloned().collect()
}

/// The log thread's calls that submitted something, waited for it, and ended well.
fn log_calls(trace: &[Call]) -> Vec<Call> {
    let mut calls = calls_of(trace, "rk-log");
    calls.retain(|call| {
        let waits = call.number(2) >= 1 && call.arguments.contains("IORING_ENTER_GETEVENTS");
        call.name == "io_uring_enter" && call.number(1) >= 1 && waits && call.result >= 1
    });
    calls
}

/// The calls in strace's output, by their ends. It shows a call on one line, or begun and resumed on two.
fn parse(trace: &str) -> Vec<Call> {
    let mut begun: BTreeMap<String, (String, String, u64)> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((at, call)) = rest.trim_start().split_once(' ') else { continue };
        let (thread, at_us) = (thread.to_owned(), micros(at));
        if let Some((call, _)) = call.split_once(" <unfinished ...>") {
            let (name, arguments) = call.split_once('(').unwrap_or((call, ""));
            begun.insert(thread, (name.to_owned(), arguments.to_owned(), at_us));
            continue;
        }
        // Signals and ends have no result.
        let Some((call, outcome)) = call.rsplit_once(" = ") else { continue };
        let result = outcome.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(-1);
        if call.starts_with("<... ") {
            let Some((name, arguments, began_us)) = begun.remove(&thread) else { continue };
            calls.push(Call { thread, name, arguments, result, began_us, ended_us: at_us });
        } else if let Some((name, arguments)) = call.split_once('(') {
            let took = outcome.rsplit_once('<').map_or("0.0", |(_, took)| took.trim_end_matches('>'));
            let (name, arguments) = (name.to_owned(), arguments.to_owned());
            calls.push(Call { thread, name, arguments, result, began_us: at_us, ended_us: at_us + micros(took) });
        }
    }
    calls
}

/// `seconds.micros` in µs.
fn micros(text: &str) -> u64 {
    let (seconds, micros) = text.split_once('.').expect("strace writes seconds and micros");
    seconds.parse::<u64>().unwrap() * 1_000_000 + micros.parse::<u64>().unwrap()
}

/// What a thread called around a write, to be read.
fn around(calls: &[Call], write: Write) -> String {
    let near = |call: &&Call| call.ended_us + 10_000 >= write.sent_us && call.began_us <= write.replied_us + 10_000;
    calls.iter().filter(near).map(|call| format!("{call:?}\n")).collect()
}
