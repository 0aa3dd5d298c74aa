//! The memory watch: above a limit new data is refused, before the kernel kills the process.
//!
//! Owns the thread `rk-memory`, which reads how much memory the process has (anonymous pages, those that were swapped out included) and says
//! whether it is short ([`Memory::is_short`]). The core asks that once a turn; what counts as new data is prep's affair
//! ([`engine::replica::Replica::set_memory_short`]). Reads, deletes, ends of sessions go on. Short memory is over only well below the limit
//! ([`Gauge`]), so that it does not flutter; the word to the operator comes once at each end.
//!
//! It must never be on a request's way, nor end anything. It looks the more often the nearer the limit is. What it does not see is growth
//! within one look, which the share that the limit leaves free has to bear. Where `/proc` cannot be read it says so once and refuses nothing.
//! What was freed still counts for about a second, until the allocator has given it back ([`crate::rt::heap`]).
//! Tests: below, and `tests/tests/memory_limit.rs` with a limit in bytes and in a cgroup.
#![forbid(unsafe_code)]

use crate::hub::Hub;
use crate::preflight::memory::MemoryLimit;
use crate::rt::{self, spawn_pinned};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What the memory watch has found; all threads may look.
#[derive(Debug, Default)]
pub struct Memory {
    limit_bytes: AtomicU64,
    used_bytes: AtomicU64,
    is_short: AtomicBool,
}

impl Memory {
    /// Whether new data is refused.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    /// Whether an image is worth its while for the memory that it gives back: half of the limit is reached, and a good part of it may have been
    /// taken by so many bytes of log, the last image's since.
    #[must_use]
    pub fn wants_image(&self, log_bytes: u64) -> bool {
        self.is_half_taken() && log_bytes >= self.limit_bytes() / IMAGE_WORTH
    }

    /// Whether half of the limit is reached: from there on what gives memory back is in a hurry.
    #[must_use]
    pub fn is_half_taken(&self) -> bool {
        let limit = self.limit_bytes();
        limit > 0 && self.used_bytes() > limit / 2
    }

    /// As if a look had found this.
    #[cfg(test)]
    pub(crate) fn found(limit_bytes: u64, used_bytes: u64) -> Memory {
        Memory { limit_bytes: limit_bytes.into(), used_bytes: used_bytes.into(), is_short: false.into() }
    }

    /// Above this it is; 0: there is no limit.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// What the process had at the last look; 0 without a limit.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

/// Starts the watch. It goes on until the server ends.
///
/// # Errors
/// [`rt::Error::Thread`] if the kernel gives no thread.
pub fn start(hub: &Arc<Hub>, limit: MemoryLimit) -> Result<(), rt::Error> {
    hub.memory.limit_bytes.store(limit.bytes, Ordering::Relaxed);
    tracing::info!("new data is refused while the server has more than {limit} of memory (ringkeeper.memoryMax)");
    let hub = Arc::clone(hub);
    spawn_pinned("rk-memory", None, move || watch(&hub, limit.bytes)).map(drop)
}

fn watch(hub: &Hub, limit_bytes: u64) {
    let mut gauge = Gauge::new(limit_bytes);
    while !hub.has_ended() {
        let Some(used) = used_bytes() else {
            tracing::warn!("/proc/self/status tells no RssAnon: ringkeeper.memoryMax is without effect");
            return;
        };
        hub.memory.used_bytes.store(used, Ordering::Relaxed);
        if gauge.look(used) {
            hub.memory.is_short.store(gauge.is_short, Ordering::Relaxed);
            tell(&gauge, used);
        }
        std::thread::sleep(gauge.next_look(used));
    }
}

fn tell(gauge: &Gauge, used: u64) {
    let (used_mib, limit_mib) = (used >> 20, gauge.limit_bytes >> 20);
    if gauge.is_short {
        tracing::error!(
            used_mib,
            limit_mib,
            "memory is short: new data (create, setData and setACL that grow a znode, a multi with one of them) is refused with SystemError. \
             Reads, deletes and ends of sessions go on. Delete data, or raise ringkeeper.memoryMax and what it is a share of"
        );
    } else {
        tracing::info!(used_mib, limit_mib, "memory suffices again: new data is taken");
    }
}

/// Anonymous memory of this process, what is swapped out included.
fn used_bytes() -> Option<u64> {
    anonymous_bytes(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn anonymous_bytes(status: &str) -> Option<u64> {
    let kib = |key: &str| -> Option<u64> {
        let value = status.lines().find_map(|line| line.strip_prefix(key))?;
        value.split_whitespace().next()?.parse().ok()
    };
    // A kernel without swap has no such line.
    Some((kib("RssAnon:")? + kib("VmSwap:").unwrap_or(0)) << 10)
}

/// Decides when memory is short, and when that is over.
#[derive(Debug)]
struct Gauge {
    limit_bytes: u64,
    is_short: bool,
}

impl Gauge {
    const fn new(limit_bytes: u64) -> Gauge {
        Gauge { limit_bytes, is_short: false }
    }

    /// True if that has changed.
    fn look(&mut self, used: u64) -> bool {
        let enough = self.limit_bytes - self.limit_bytes / HYSTERESIS;
        let is_short = if self.is_short { used > enough } else { used > self.limit_bytes };
        std::mem::replace(&mut self.is_short, is_short) != is_short
    }

    /// When to look again: before the limit can be reached at the fastest growth that is reckoned with.
    fn next_look(&self, used: u64) -> Duration {
        if self.is_short {
            return LOOK_WHEN_SHORT;
        }
        let left = self.limit_bytes.saturating_sub(used);
        Duration::from_millis(left / GROWTH_BYTES_PER_MS_MAX).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX)
    }
}

/// What changed since an image takes memory, a few times the log's bytes: an image for a sixteenth of the limit gives back a quarter or more of it.
const IMAGE_WORTH: u64 = 16;
/// Short memory is over a sixteenth below the limit.
const HYSTERESIS: u64 = 16;
/// 1 GiB a second: more than the log can be written at.
const GROWTH_BYTES_PER_MS_MAX: u64 = (1 << 30) / 1_000;
const LOOK_EVERY_MIN: Duration = Duration::from_millis(10);
const LOOK_EVERY_MAX: Duration = Duration::from_millis(500);
const LOOK_WHEN_SHORT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_memory_begins_above_the_limit_and_ends_well_below_it() {
        let mut gauge = Gauge::new(1_600);
        assert!(!gauge.look(1_600) && !gauge.is_short);
        assert!(gauge.look(1_601) && gauge.is_short);
        assert!(!gauge.look(1_501) && gauge.is_short);
        assert!(gauge.look(1_500) && !gauge.is_short);
        assert!(!gauge.look(1_600));
    }

    #[test]
    fn it_looks_the_more_often_the_nearer_the_limit_is() {
        let mut gauge = Gauge::new(4 << 30);
        let looks = [0, 3 << 30, (4 << 30) - (100 << 20), 4 << 30].map(|used| gauge.next_look(used).as_millis());
        assert_eq!(looks, [500, 500, 97, 10]);
        gauge.look(u64::MAX);
        assert_eq!(gauge.next_look(u64::MAX), LOOK_WHEN_SHORT);
    }

    #[test]
    fn an_image_is_wanted_where_half_of_the_memory_is_taken_and_it_can_give_some_back() {
        assert!(!Memory::found(0, u64::MAX).wants_image(u64::MAX), "without a limit");
        let memory = Memory::found(1_600, u64::MAX);
        assert!(memory.wants_image(100) && !memory.wants_image(99));
        assert!(Memory::found(1_600, 801).wants_image(100) && !Memory::found(1_600, 800).wants_image(100));
    }

    #[test]
    fn swapped_out_memory_counts_and_files_do_not() {
        let status = "Name:\tx\nVmRSS:\t  900 kB\nRssAnon:\t     300 kB\nRssFile:\t 600 kB\nVmSwap:\t      50 kB\n";
        assert_eq!(anonymous_bytes(status), Some(350 << 10));
        assert_eq!(anonymous_bytes("RssAnon:\t 3 kB\n"), Some(3 << 10));
        assert_eq!(anonymous_bytes("VmSwap:\t 3 kB\n"), None);
        assert!(used_bytes().is_some_and(|bytes| bytes > 0));
    }
}
