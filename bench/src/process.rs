//! CPU time and memory of a server's process, from `/proc`, and of the generator itself.
//!
//! The CPU time of a process is taken from `task/*/schedstat`, in nanoseconds, thread by thread. Threads that end take theirs with
//! them, so `stat` (in ticks, but with ended threads) is read too, and wins where it shows more than two ticks more.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{BenchError, Result};

/// Nanoseconds of a tick where the kernel does not say otherwise.
const TICK_NS_DEFAULT: u64 = 10_000_000;

/// The CPU time a process had used at some moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuReading {
    thread_ns: HashMap<u32, u64>,
    stat_ns: u64,
    tick_ns: u64,
}

/// Memory of a process, in KiB, as `/proc/<pid>/status` has it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// All that is resident.
    pub(crate) rss_kib: u64,
    /// Of it, heap and stacks.
    pub(crate) rss_anon_kib: u64,
    /// Of it, mapped files.
    pub(crate) rss_file_kib: u64,
}

impl CpuReading {
    /// Reads the time of a process.
    ///
    /// # Errors
    /// [`BenchError::Proc`] if there is no such process.
    pub(crate) fn take(pid: u32) -> Result<CpuReading> {
        let hz = rustix::param::clock_ticks_per_second();
        let tick_ns = 1_000_000_000u64.checked_div(hz).unwrap_or(TICK_NS_DEFAULT);
        let stat = read(&proc_file(pid, "stat"))?;
        let ticks = stat_ticks(&stat).unwrap_or(0);
        let mut thread_ns = HashMap::new();
        // Without schedstat the map stays empty and `stat` decides alone.
        if let Ok(tasks) = fs::read_dir(proc_file(pid, "task")) {
            for task in tasks.flatten() {
                let tid = task.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
                let spent = fs::read_to_string(task.path().join("schedstat")).ok();
                let spent = spent.as_deref().and_then(|s| s.split_whitespace().next()).and_then(|s| s.parse().ok());
                if let (Some(tid), Some(ns)) = (tid, spent) {
                    thread_ns.insert(tid, ns);
                }
            }
        }
        Ok(CpuReading { thread_ns, stat_ns: ticks * tick_ns, tick_ns })
    }

    /// Nanoseconds used since an earlier reading of the same process.
    pub(crate) fn since(&self, earlier: &CpuReading) -> u64 {
        let before = |tid| earlier.thread_ns.get(tid).copied().unwrap_or(0);
        let precise: u64 = self.thread_ns.iter().map(|(tid, ns)| ns.saturating_sub(before(tid))).sum();
        let coarse = self.stat_ns.saturating_sub(earlier.stat_ns);
        if coarse > precise + 2 * self.tick_ns { coarse } else { precise }
    }
}

impl Memory {
    /// Reads the memory of a process.
    ///
    /// # Errors
    /// [`BenchError::Proc`] if there is no such process.
    pub(crate) fn take(pid: u32) -> Result<Memory> {
        Ok(Memory::parse(&read(&proc_file(pid, "status"))?))
    }

    /// Of several processes. What they share counts for each of them.
    ///
    /// # Errors
    /// [`BenchError::Proc`] if there is no such process.
    pub(crate) fn sum(pids: &[u32]) -> Result<Memory> {
        pids.iter().try_fold(Memory::default(), |sum, pid| {
            let own = Memory::take(*pid)?;
            Ok(Memory {
                rss_kib: sum.rss_kib + own.rss_kib,
                rss_anon_kib: sum.rss_anon_kib + own.rss_anon_kib,
                rss_file_kib: sum.rss_file_kib + own.rss_file_kib,
            })
        })
    }

    fn parse(status: &str) -> Memory {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Memory { rss_kib: field("VmRSS"), rss_anon_kib: field("RssAnon"), rss_file_kib: field("RssFile") }
    }
}

/// Bytes that a process has had read from the disk so far: what lay in the page cache does not count.
///
/// # Errors
/// [`BenchError::Proc`] if there is no such process.
pub(crate) fn disk_read_bytes(pid: u32) -> Result<u64> {
    let io = read(&proc_file(pid, "io"))?;
    Ok(io.lines().find_map(|line| line.strip_prefix("read_bytes: ")?.parse().ok()).unwrap_or(0))
}

/// Milliseconds that the machine's host has kept its processors from it, summed over them: a virtual machine's "steal". What it takes
/// shows as latency of everything that runs here. 0 where the kernel does not say.
pub(crate) fn stolen_ms() -> u64 {
    let ticks = fs::read_to_string("/proc/stat").ok().and_then(|stat| stolen_ticks(&stat)).unwrap_or(0);
    ticks * 1_000 / rustix::param::clock_ticks_per_second().max(1)
}

/// The eighth figure of the first line.
fn stolen_ticks(stat: &str) -> Option<u64> {
    stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().nth(7)?.parse().ok()
}

/// CPU nanoseconds that the calling thread has used: the generator is one thread.
pub(crate) fn own_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// utime + stime, fields 14 and 15, counted behind the parenthesised name, which may hold anything.
fn stat_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn proc_file(pid: u32, name: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(name)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|source| BenchError::Proc { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_name_with_blanks_and_parentheses() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 700 35 0 0 20 0 9 0 100 1000 200";
        assert_eq!(stat_ticks(stat), Some(735));
        assert_eq!(stat_ticks("42 no name"), None);
    }

    #[test]
    fn what_the_host_took_is_the_eighth_figure_of_all_processors() {
        let stat = "cpu  4057883 2916122 1740426 3704806 1878266 0 214018 13954 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(stolen_ticks(stat), Some(13_954));
        assert_eq!(stolen_ticks("cpu  1 2 3"), None);
        assert_eq!(stolen_ticks("intr 1 2 3 4 5 6 7 8 9"), None);
    }

    #[test]
    fn the_cpu_time_of_this_process_grows_with_work_and_a_vanished_pid_is_named() {
        let pid = std::process::id();
        let before = CpuReading::take(pid).unwrap();
        let spent = own_cpu_ns();
        while own_cpu_ns() - spent < 30_000_000 {
            std::hint::black_box((0..1000u64).sum::<u64>());
        }
        let used = CpuReading::take(pid).unwrap().since(&before);
        assert!(used >= 20_000_000, "30 ms of work show as {used} ns");
        assert!(CpuReading::take(u32::MAX).unwrap_err().to_string().contains("is it alive"));
    }

    #[test]
    fn a_thread_that_ended_is_found_in_stat() {
        let earlier = CpuReading { thread_ns: [(1, 5), (2, 100)].into(), stat_ns: 0, tick_ns: 10 };
        let later = CpuReading { thread_ns: [(1, 15), (3, 7)].into(), stat_ns: 20, tick_ns: 10 };
        assert_eq!(later.since(&earlier), 17);
        let much_later = CpuReading { stat_ns: 100, ..later };
        assert_eq!(much_later.since(&earlier), 100);
    }

    #[test]
    fn memory_is_read_by_name() {
        let memory = Memory::parse("Name:\tx\nVmRSS:\t  300 kB\nRssAnon:\t 200 kB\nRssFile:\t 100 kB\n");
        assert_eq!((memory.rss_kib, memory.rss_anon_kib, memory.rss_file_kib), (300, 200, 100));
    }
}
