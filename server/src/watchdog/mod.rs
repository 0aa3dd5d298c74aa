//! The watchdog: ends the process when the core, the log thread or a shard makes no progress, or a stop does not come to its end. A hung server keeps its port and its clients; a dead
//! one is replaced.
//!
//! - **Owns**: the threads `rk-watchdog`, which looks at the beats that core, log and shards give each time they go round, and `rk-stacks`, which
//!   stands by to write where every thread is ([`report`]). A thread may wait for work, but for [`WAIT_MAX`] at the most: one that never
//!   comes back from its wait (a lost wake-up, a stopped thread) is stuck as well.
//! - **Must never**: end a server that is idle or slow, or one that has itself stood still as a whole (Ctrl-Z, a frozen cgroup, a paused
//!   virtual machine): time in which the watchdog did not run either is not held against anybody. And never hang with the rest: the log may go
//!   to a pipe that nobody reads, and be the very cause; so the end comes after [`REPORT_MAX`] whether the report is out or not.
//! - **Fails**: a thread that cannot answer is reported with what the kernel says of it alone. Of a stop it sees only how long it takes:
//!   [`STOP_LIMITS`] times the limit are allowed.
//! - **Tests**: `tests.rs` beside this file; `tests/tests/watchdog.rs` stops single threads of the built server.
#![forbid(unsafe_code)]

mod report;
#[cfg(test)]
mod tests;

use crate::hub::Hub;
use crate::rt::{self, spawn_pinned, stacks};
use crate::stats::get;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

/// Core, log and shards wait for work at most this long before they go round again: that is how the watchdog sees that they live.
pub const WAIT_MAX: Duration = Duration::from_millis(500);
/// What a thread shows while it waits for work.
pub const IDLE: u64 = 1;
/// What it shows once it has ended in order.
pub const ENDED: u64 = 2;
/// How many times the limit a stop may take without going on with an image: it hands the last txns to the disk.
const STOP_LIMITS: u32 = 4;
/// How long the report may take before the process ends without it.
const REPORT_MAX: Duration = Duration::from_secs(10);
/// How often the watchdog looks, as a part of the limit, and between which bounds.
const LOOKS_IN_LIMIT: u32 = 10;
const LOOK_EVERY_MIN: Duration = Duration::from_millis(10);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

/// Starts the watchdog. It watches until the server has ended; where core, log or a shard make no progress for `limit`, or the stop takes
/// longer than it may, it ends the process by SIGABRT.
///
/// # Errors
/// [`rt::Error::Thread`] if the kernel gives no thread.
pub fn start(hub: &Arc<Hub>, limit: Duration) -> Result<(), rt::Error> {
    stacks::listen();
    let (reporter, orders) = mpsc::sync_channel(1);
    let (done, reported) = mpsc::sync_channel(1);
    spawn_pinned("rk-stacks", None, move || report_on_order(&orders, &done))?;
    let hub = Arc::clone(hub);
    spawn_pinned("rk-watchdog", None, move || {
        let stats = &hub.core_stats;
        let mut watched = vec![
            Watched::new(Role::Core, &stats.core_beats, &stats.core_idle),
            Watched::new(Role::Log, &stats.log_beats, &stats.log_idle),
        ];
        watched.extend(
            hub.shards
                .iter()
                .enumerate()
                .map(|(number, link)| Watched::new(Role::Shard(number), &link.stats.turns, &link.stats.idle)),
        );
        let stuck = watch(&mut watched, limit, || !hub.is_stopping());
        if let Some(mut stuck) = stuck {
            if stuck.role == Role::Log && get(&stats.log_hosted) == 1 {
                stuck.role = Role::HostedGroup;
            }
            end(stuck, &reporter, &reported);
        }
        // A stop is one thing that has to come to its end; only an image that is being written shows how it goes on.
        let idle = AtomicU64::new(0);
        let mut stop = [Watched::new(Role::Stop, &stats.image_beats, &idle)];
        if let Some(stuck) = watch(&mut stop, limit * STOP_LIMITS, || !hub.has_ended()) {
            end(stuck, &reporter, &reported);
        }
    })?;
    Ok(())
}

/// Whose progress is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Core,
    Log,
    /// A group of the log that a shard's thread has started, for the core that it hosts.
    HostedGroup,
    Shard(usize),
    Stop,
}

/// A thread that has made no progress for longer than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stuck {
    role: Role,
    /// How long, of the time in which the watchdog ran.
    stuck: Duration,
    limit: Duration,
}

/// What is known of a thread's progress.
#[derive(Debug)]
struct Watched<'a> {
    role: Role,
    beats: &'a AtomicU64,
    idle: &'a AtomicU64,
    /// Beats and idleness when they last changed.
    seen: (u64, u64),
    /// Time since then.
    stuck: Duration,
}

impl<'a> Watched<'a> {
    fn new(role: Role, beats: &'a AtomicU64, idle: &'a AtomicU64) -> Watched<'a> {
        Watched { role, beats, idle, seen: (get(beats), get(idle)), stuck: Duration::ZERO }
    }

    /// Looks, `passed` after the last look. Is it stuck?
    fn look(&mut self, passed: Duration, limit: Duration) -> Option<Stuck> {
        let now = (get(self.beats), get(self.idle));
        if now != self.seen || now.1 == ENDED {
            self.seen = now;
            self.stuck = Duration::ZERO;
            return None;
        }
        self.stuck += passed;
        let allowed = if now.1 == IDLE { limit + WAIT_MAX } else { limit };
        (self.stuck > allowed).then_some(Stuck { role: self.role, stuck: self.stuck, limit })
    }
}

/// Watches while `goes_on` says so, or until one is stuck.
fn watch(watched: &mut [Watched<'_>], limit: Duration, goes_on: impl Fn() -> bool) -> Option<Stuck> {
    let every = (limit / LOOKS_IN_LIMIT).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
    let mut last = Instant::now();
    while goes_on() {
        std::thread::sleep(every);
        let now = Instant::now();
        let passed = counted(now - last, every);
        last = now;
        let stuck = watched.iter_mut().filter_map(|thread| thread.look(passed, limit)).next();
        if stuck.is_some() {
            return stuck;
        }
    }
    None
}

/// What of the time between two looks is held against the others. A watchdog that comes much too late did not run itself, and so perhaps
/// nobody did.
fn counted(passed: Duration, every: Duration) -> Duration {
    passed.min(every * 2)
}

/// Has the stacks reported, and ends the process.
fn end(stuck: Stuck, reporter: &SyncSender<Stuck>, reported: &Receiver<()>) -> ! {
    if reporter.try_send(stuck).is_ok() {
        // Nobody is left to be told that the report did not get out.
        let _out_or_not = reported.recv_timeout(REPORT_MAX);
    }
    std::process::abort()
}

/// The life of `rk-stacks`: one report, or none if the watchdog ends before.
fn report_on_order(orders: &Receiver<Stuck>, done: &SyncSender<()>) {
    if let Ok(stuck) = orders.recv() {
        // What happened first: to gather the stacks takes a moment, and may fail.
        tracing::error!("{}", report::message(&stuck));
        tracing::error!("where the threads are:\n{}", report::threads(stuck.role));
        // The watchdog does not listen any more if this took too long.
        let _late = done.try_send(());
    }
}
