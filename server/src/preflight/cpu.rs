//! The processors that this process may use, and how many shards go with them.
//!
//! Owns the default of `ringkeeper.shards` and `ringkeeper.pin=auto`. Follows the cpuset (the scheduler's mask) and
//! the CPU quota of the cgroup, versions 1 and 2, both by way of the standard library.

use std::num::NonZeroU32;

use rustix::thread::{CpuSet, sched_getaffinity};

use crate::config::{CorePlace, Pin};

/// More shards than this bring nothing: the consensus core is one thread.
const SHARDS_AUTO_MAX: usize = 32;
/// Threads beside the shards that need a processor under load: the consensus core and the log thread.
const THREADS_BESIDE_SHARDS: usize = 2;

/// What the process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuBudget {
    /// Processors of the cpuset, by the kernel's numbers, ascending; empty where the kernel does not say.
    pub cpus: Vec<usize>,
    /// How many of them the quota amounts to, rounded down, at least 1.
    pub parallelism: usize,
}

impl CpuBudget {
    /// Asks the kernel.
    pub fn probe() -> Self {
        let set = sched_getaffinity(None).ok();
        let cpus: Vec<usize> =
            set.map_or_else(Vec::new, |set| (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect());
        let parallelism = std::thread::available_parallelism().map_or(cpus.len().max(1), usize::from);
        CpuBudget { cpus, parallelism }
    }

    /// How many shards to run: what the configuration says, else one for each processor beyond those of core and log,
    /// at least one.
    pub fn shards(&self, configured: Option<NonZeroU32>) -> u32 {
        configured.map_or_else(
            || {
                let spare = self.parallelism.saturating_sub(THREADS_BESIDE_SHARDS);
                u32::try_from(spare.clamp(1, SHARDS_AUTO_MAX)).unwrap_or(1)
            },
            NonZeroU32::get,
        )
    }

    /// Whether the first shard hosts the core: with `auto` only where a thread of its own would have no processor to run on meanwhile.
    pub fn shard_hosts_core(&self, place: CorePlace) -> bool {
        match place {
            CorePlace::Auto => self.parallelism == 1,
            CorePlace::Shard => true,
            CorePlace::Thread => false,
        }
    }

    /// Whether threads are pinned: with `auto` only where no quota cuts into the processors and each thread gets one
    /// of its own.
    pub fn pins(&self, pin: Pin, shards: u32) -> bool {
        match pin {
            Pin::On => !self.cpus.is_empty(),
            Pin::Off => false,
            Pin::Auto => {
                let threads = usize::try_from(shards).unwrap_or(usize::MAX).saturating_add(THREADS_BESIDE_SHARDS);
                self.parallelism >= self.cpus.len() && self.cpus.len() >= threads
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(cpus: usize, parallelism: usize) -> CpuBudget {
        CpuBudget { cpus: (0..cpus).collect(), parallelism }
    }

    #[test]
    fn shards_follow_the_quota_and_leave_room() {
        for (parallelism, shards) in [(1, 1), (2, 1), (3, 1), (4, 2), (8, 6), (200, 32)] {
            assert_eq!(budget(200, parallelism).shards(None), shards, "{parallelism}");
        }
        assert_eq!(budget(1, 1).shards(NonZeroU32::new(4)), 4);
    }

    #[test]
    fn pinning_needs_a_core_for_each_thread_and_no_quota() {
        assert!(budget(8, 8).pins(Pin::Auto, 6));
        assert!(!budget(8, 8).pins(Pin::Auto, 7));
        assert!(!budget(8, 4).pins(Pin::Auto, 2));
        assert!(!budget(0, 4).pins(Pin::On, 2));
        assert!(budget(2, 2).pins(Pin::On, 4) && !budget(8, 8).pins(Pin::Off, 1));
    }

    #[test]
    fn the_core_shares_a_thread_only_where_there_is_one_processor() {
        assert!(budget(1, 1).shard_hosts_core(CorePlace::Auto) && budget(8, 1).shard_hosts_core(CorePlace::Auto));
        assert!(!budget(2, 2).shard_hosts_core(CorePlace::Auto));
        assert!(budget(8, 8).shard_hosts_core(CorePlace::Shard) && !budget(1, 1).shard_hosts_core(CorePlace::Thread));
    }

    #[test]
    fn this_machine_has_a_budget() {
        let budget = CpuBudget::probe();
        assert!(!budget.cpus.is_empty() && budget.parallelism >= 1 && budget.shards(None) >= 1);
    }
}
