//! The watchdog: ends the process when core or log make no progress although they are not waiting for work.
//!
//! A hung server keeps its port and its clients; a dead one is replaced. It looks at two counters that the threads raise each time they go
//! round, and at the flag that says that they wait. Before the end it writes where every thread stands, from `/proc`, and leaves a
//! core file with the full stacks where the system keeps those.
#![forbid(unsafe_code)]

use crate::hub::Hub;
use crate::stats::get;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

struct Watched<'a> {
    name: &'static str,
    beats: &'a AtomicU64,
    idle: &'a AtomicU64,
    last: u64,
    since: Instant,
}

impl Watched<'_> {
    /// How long it has been stuck.
    fn stuck_for(&mut self) -> Duration {
        let beats = get(self.beats);
        if beats != self.last || get(self.idle) == 1 {
            self.last = beats;
            self.since = Instant::now();
        }
        self.since.elapsed()
    }
}

/// Watches until the hub stops. Does not return if a thread is stuck for `limit`.
pub fn watch(hub: &Arc<Hub>, limit: Duration) {
    let stats = &hub.core_stats;
    let now = Instant::now();
    let mut watched = [
        Watched { name: "core", beats: &stats.core_beats, idle: &stats.core_idle, last: 0, since: now },
        Watched { name: "log", beats: &stats.log_beats, idle: &stats.log_idle, last: 0, since: now },
    ];
    while !hub.is_stopping() {
        std::thread::sleep((limit / 10).clamp(Duration::from_millis(10), Duration::from_secs(1)));
        for thread in &mut watched {
            let stuck = thread.stuck_for();
            if stuck > limit {
                let (name, stuck_ms) = (thread.name, stuck.as_millis());
                tracing::error!(
                    thread = name,
                    stuck_ms,
                    "the thread makes no progress: the process ends, so that another server can take over. Threads:\n{}",
                    threads()
                );
                std::process::abort();
            }
        }
    }
}

/// Where every thread of this process stands, as the kernel tells it.
fn threads() -> String {
    let mut text = String::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let stack = read("stack");
        let _infallible = writeln!(
            text,
            "  {} {}: waits in {}, system call {}{}{}",
            task.file_name().display(),
            read("comm").trim(),
            read("wchan").trim(),
            read("syscall").trim(),
            if stack.is_empty() { "" } else { "\n" },
            stack.trim_end(),
        );
    }
    text
}
