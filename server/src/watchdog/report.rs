//! What the watchdog says before the end: what happened and what to do, and where every thread of the process is.
//!
//! Each thread with its name and what the kernel says of it (`/proc/self/task`), and the functions on its stack, which it tells itself when
//! it is asked ([`stacks`]). Names and lines come from the binary's own debug information (`line-tables-only` in the profiles `release` and
//! `ci`); they are looked up here, not where the signal is handled. A frame without them is shown as its address.
#![forbid(unsafe_code)]

use super::{Role, Stuck};
use crate::rt::stacks;
use rustix::thread::{Pid, gettid};
use std::fmt::Write as _;
use std::time::Duration;

/// How long the threads together have for their answers. Who runs at all needs less than a millisecond.
const ANSWER_MAX: Duration = Duration::from_secs(1);

impl Role {
    /// What people call it.
    const fn name(self) -> &'static str {
        match self {
            Role::Core => "consensus core",
            Role::Log => "log thread",
            Role::HostedGroup => "log's group that a shard has started",
            Role::Shard(_) => "shard",
            Role::Stop => "stop of the server",
        }
    }

    /// How usual a thread of this name is for this role; `None` if it is another's.
    fn rank(self, thread: &Thread) -> Option<usize> {
        let name = &*thread.name;
        match self {
            Role::Core if name == "rk-core" => Some(0),
            // Where there is but one processor the core may live in the first shard.
            Role::Core => (name == "rk-shard-0").then_some(1),
            Role::Log => (name == "rk-log").then_some(0),
            Role::HostedGroup => (name == "rk-shard-0").then_some(0),
            Role::Shard(number) => (name == format!("rk-shard-{number}")).then_some(0),
            // The main thread, which waits for the others.
            Role::Stop => (name == "ringkeeper").then_some(0),
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Role::Core | Role::Shard(_) | Role::Stop => {
                "This is a fault of RingKeeper, or of a machine that does not let the thread run: please report it with the stacks"
            }
            Role::HostedGroup => {
                "The disk of the log does not answer: look at it (dmesg, iostat), or allow more with ringkeeper.watchdogTimeoutMs. Else please \
                 report it with the stacks"
            }
            Role::Log => {
                "If its stack ends in the kernel's io_uring or in a write, the disk of the log does not answer: look at the disk (dmesg, \
                 iostat), or allow more with ringkeeper.watchdogTimeoutMs. Else please report it with the stacks"
            }
        }
    }
}

/// What happened, what follows, and what to do.
pub(super) fn message(stuck: &Stuck) -> String {
    format!(
        "the {} ({}) has made no progress for {} ms, and ringkeeper.watchdogTimeoutMs allows {}: the process ends now (SIGABRT), so \
         that its clients go to another server and this one can be started again. What was acknowledged is on disk. {} that follow in \
         this log, and the core file if your system keeps one.",
        stuck.role.name(),
        thread_of(stuck.role),
        stuck.stuck.as_millis(),
        stuck.limit.as_millis(),
        stuck.role.advice(),
    )
}

/// Name and id of the thread that has this role.
fn thread_of(role: Role) -> String {
    let found = tasks().into_iter().filter_map(|thread| Some((role.rank(&thread)?, thread.title()))).min();
    found.map_or_else(|| "its thread has ended".to_owned(), |(_, title)| title)
}

/// Every thread of this process.
fn tasks() -> Vec<Thread> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| Thread::read(&task)).collect()
}

/// A thread as the kernel shows it.
struct Thread {
    tid: Pid,
    name: String,
    /// As in `S (sleeping)`.
    state: String,
    /// The function of the kernel in which it waits, and the number and arguments of its system call, where the kernel tells.
    waits_in: String,
    system_call: String,
}

/// Where every thread is but the one that asks, those of `role` first.
pub(super) fn threads(role: Role) -> String {
    let me = gettid();
    let mut threads = tasks();
    threads.retain(|thread| thread.tid != me);
    threads.sort_by_key(|thread| (role.rank(thread).unwrap_or(usize::MAX), thread.tid.as_raw_nonzero()));
    let asked: Vec<Pid> = threads.iter().filter(|thread| !thread.is_kernels()).map(|thread| thread.tid).collect();
    let mut answers = stacks::of_threads(&asked, ANSWER_MAX).into_iter();
    let mut text = String::new();
    for thread in &threads {
        let Thread { state, waits_in, system_call, .. } = thread;
        let title = thread.title();
        let _infallible = writeln!(text, "  {title}, {state}, waits in {waits_in}, system call {system_call}:");
        if thread.is_kernels() {
            text.push_str("      a worker of the kernel's io_uring: it runs nothing of ours\n");
            continue;
        }
        match answers.next().flatten() {
            Some(frames) => write_frames(&mut text, &frames, state.starts_with('R')),
            None => text.push_str("      does not answer: the kernel does not let it run\n"),
        }
    }
    text
}

impl Thread {
    /// `None` if it has just ended.
    fn read(task: &std::fs::DirEntry) -> Option<Thread> {
        let tid = task.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        let read = |name: &str| std::fs::read_to_string(task.path().join(name));
        let name = read("comm").ok()?.trim().to_owned();
        let status = read("status").ok()?;
        let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or("unknown").trim().to_owned();
        // Not every kernel tells these to everybody.
        let told =
            |name| read(name).ok().map(|text| text.trim().to_owned()).filter(|text| !matches!(&**text, "" | "0"));
        let unknown = || "unknown".to_owned();
        let waits_in = told("wchan").unwrap_or_else(unknown);
        let system_call = told("syscall").unwrap_or_else(unknown);
        Some(Thread { tid, name, state, waits_in, system_call })
    }

    fn title(&self) -> String {
        format!("{}, thread {}", self.name, self.tid.as_raw_nonzero())
    }

    /// Is it one of the kernel's own, which take no signal?
    fn is_kernels(&self) -> bool {
        self.name.starts_with("iou-")
    }
}

/// What std calls a thread's own function from: what lies further out is the same for every thread.
const OUTERMOST: &str = "__rust_begin_short_backtrace";

/// A line a function; a frame has several where functions were inlined. A thread that `ran` had not yet done what its first address points
/// to; one that waited is one instruction past its system call.
fn write_frames(text: &mut String, frames: &[usize], ran: bool) {
    let mut is_over = false;
    for (number, &frame) in frames.iter().enumerate() {
        // The look-up goes one back, since addresses are those after a call.
        let address = if number == 0 && ran { frame.saturating_add(1) } else { frame };
        let mut named = false;
        backtrace::resolve(std::ptr::with_exposed_provenance_mut(address), |symbol| {
            let Some(function) = symbol.name() else { return };
            named = true;
            is_over |= function.as_str().is_some_and(|name| name.contains(OUTERMOST));
            if is_over {
                return;
            }
            let _infallible = write!(text, "      {number:>3} {function:#}");
            if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
                let _infallible = write!(text, " at {}:{line}", file.display());
            }
            text.push('\n');
        });
        if is_over {
            return;
        }
        if !named {
            let _infallible = writeln!(text, "      {number:>3} {frame:#x}");
        }
    }
}
