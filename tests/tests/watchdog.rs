//! The watchdog of the built server: a core or a log thread that stands still ends the process, with the stacks; nothing else does.
//!
//! A single thread of a running server is stopped as a debugger stops it; the others go on.

use client::{ConnectOptions, Connection, Operations};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use proto::request::CreateMode;
use ringkeeper_tests::{Builder, Server, signal, stand_still};
use rustix::process::Signal;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// What the servers here allow. Long enough for a thread that shares two processors with a build.
const LIMIT: Duration = Duration::from_secs(2);
/// How long an end may take that must come.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A server with a short limit. It leaves no core file behind, and its disk does not stall.
fn server() -> Builder {
    Server::builder().in_memory().set("ringkeeper.watchdogTimeoutMs", &LIMIT.as_millis().to_string()).wrapped(&[
        "sh",
        "-c",
        "ulimit -c 0; exec \"$@\"",
        "sh",
    ])
}

/// A thread that stands still.
struct Stopped {
    thread: Pid,
}

impl Stopped {
    /// Stops the first of these threads that the server has.
    fn new(server: &Server, names: &[&str]) -> Stopped {
        let tasks = format!("/proc/{}/task", server.pid());
        let threads: Vec<(String, Pid)> = std::fs::read_dir(tasks)
            .unwrap()
            .map(|task| {
                let task = task.unwrap();
                let name = std::fs::read_to_string(task.path().join("comm")).unwrap().trim().to_owned();
                (name, Pid::from_raw(task.file_name().to_str().unwrap().parse().unwrap()))
            })
            .collect();
        let found = names.iter().find_map(|name| threads.iter().find(|(there, _)| there == name));
        let (_, thread) = found.unwrap_or_else(|| panic!("none of {names:?} is in {threads:?}"));
        ptrace::seize(*thread, ptrace::Options::empty()).expect("a child's thread can be traced");
        ptrace::interrupt(*thread).expect("a traced thread can be stopped");
        waitpid(*thread, Some(WaitPidFlag::__WALL)).expect("a traced thread tells that it has stopped");
        Stopped { thread: *thread }
    }

    /// Waits until the server has ended by itself.
    fn wait_for_end(&self, server: &mut Server) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = server.ended() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the server still runs, with a thread that stands still");
            // Who traces a thread also has to see its end, before the process is through; until then this finds nothing.
            let _seen = waitpid(self.thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Without its tracer a server that has not ended can be. One that has is not there any more.
        let _ended = ptrace::detach(self.thread, None);
    }
}

/// What the log says of the thread of this name.
fn report_of<'a>(log: &'a str, name: &str) -> &'a str {
    let head = format!("\n  {name}, thread ");
    let (_, rest) = log.split_once(&head).unwrap_or_else(|| panic!("{name} is not reported:\n{log}"));
    let next = rest.match_indices("\n  ").find(|(at, _)| !rest[at + 3..].starts_with(' '));
    next.map_or(rest, |(at, _)| &rest[..at])
}

/// Stops a thread and returns the log of the server, which has ended.
fn log_after_stopping(names: &[&str]) -> String {
    let mut server = server().start();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/here", b"x", CreateMode::Persistent).unwrap();
    let stopped = Stopped::new(&server, names);
    let status = stopped.wait_for_end(&mut server);
    let log = server.log();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}\n{log}");
    assert!(log.contains("ringkeeper.watchdogTimeoutMs allows 2000"), "{log}");
    // Each of the others tells where it is, down to function and line.
    for (name, file) in [("rk-image", "server/src/image.rs:"), ("rk-shard-0", "server/src/rt/")] {
        assert!(names.contains(&name) || report_of(&log, name).contains(file), "{name}:\n{log}");
    }
    log
}

#[test]
fn a_core_that_stands_still_ends_the_process_with_the_stacks() {
    let log = log_after_stopping(&["rk-core", "rk-shard-0"]);
    assert!(log.contains("the consensus core (rk-"), "{log}");
    assert!(report_of(&log, "rk-log").contains("server/src/log.rs:"), "{log}");
    let stuck = log.split_once("where the threads are:\n").expect("the stacks are there").1;
    assert!(stuck.starts_with("  rk-core") || stuck.starts_with("  rk-shard-0"), "the stuck one comes first: {log}");
    let own = stuck.lines().take(2).collect::<String>();
    assert!(own.contains("tracing stop") && own.contains("does not answer"), "{own}");
}

#[test]
fn a_log_thread_that_stands_still_ends_the_process_with_the_stacks() {
    let log = log_after_stopping(&["rk-log"]);
    assert!(log.contains("the log thread (rk-log, thread "), "{log}");
    assert!(log.contains("where the threads are:\n  rk-log"), "the stuck one comes first: {log}");
    assert!(report_of(&log, "rk-log").contains("does not answer"), "{log}");
}

#[test]
fn a_shard_that_stands_still_ends_the_process_with_the_stacks() {
    // The second one: neither the core nor the log is in it.
    let mut server = server().shards(2).core(ringkeeper_tests::Core::Thread).start();
    let status = Stopped::new(&server, &["rk-shard-1"]).wait_for_end(&mut server);
    let log = server.log();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}\n{log}");
    assert!(
        log.contains("the shard (rk-shard-1, thread ") && log.contains("where the threads are:\n  rk-shard-1"),
        "{log}"
    );
}

#[test]
fn a_shard_with_ticks_longer_than_the_limit_is_left_alone() {
    let mut server = server().shards(2).set("tickTime", "100000").start();
    assert_stays(&mut server);
}

#[test]
fn a_stop_that_hangs_ends_the_process_with_the_stacks() {
    let mut server = server().start();
    // The image thread is watched by nobody while the server runs, and the stop waits for it.
    let stopped = Stopped::new(&server, &["rk-image"]);
    signal(server.pid(), Signal::TERM);
    let status = stopped.wait_for_end(&mut server);
    let log = server.log();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}\n{log}");
    assert!(log.contains("the stop of the server (") && log.contains("server/src/boot.rs:"), "{log}");
}

#[test]
fn a_log_that_nobody_reads_does_not_keep_a_stuck_process_alive() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("stderr");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    // Open for both ways, so that the server finds a reader.
    let mut ours = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&pipe)
        .expect("a pipe can be opened");
    let command = format!("ulimit -c 0; exec \"$@\" 2>'{}'", pipe.display());
    let mut server = server().wrapped(&["sh", "-c", &command, "sh"]).start();
    let full = loop {
        if let Err(error) = ours.write(b"x") {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock, "the pipe is full");
    let status = Stopped::new(&server, &["rk-core", "rk-shard-0"]).wait_for_end(&mut server);
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
}

/// Holds the server to being there, and to serving afterwards.
fn assert_serves(server: &mut Server) {
    assert_eq!(server.ended(), None, "{}", server.log());
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/afterwards", b"", CreateMode::Persistent).unwrap();
    assert!(!server.log().contains("no progress"), "{}", server.log());
}

/// Looks that the server is there, for several limits.
fn assert_stays(server: &mut Server) {
    let until = Instant::now() + LIMIT * 4;
    while Instant::now() < until {
        assert_eq!(server.ended(), None, "{}", server.log());
        std::thread::sleep(LOOK_EVERY);
    }
}

#[test]
fn an_idle_server_stays_up() {
    let mut server = server().start();
    assert_stays(&mut server);
    assert_serves(&mut server);
}

#[test]
fn a_server_under_steady_writes_stays_up() {
    let mut server = server().start();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/steady", b"", CreateMode::Persistent).unwrap();
    let until = Instant::now() + LIMIT * 4;
    while Instant::now() < until {
        client.set("/steady", &[b'x'; 1024], -1).unwrap();
    }
    assert_serves(&mut server);
}

#[test]
fn a_server_that_was_stopped_as_a_whole_goes_on() {
    let mut server = server().start();
    stand_still(server.pid());
    // The time itself is what is tested: the clock runs on while nobody else does.
    std::thread::sleep(LIMIT * 2);
    signal(server.pid(), Signal::CONT);
    assert_stays(&mut server);
    assert_serves(&mut server);
}
