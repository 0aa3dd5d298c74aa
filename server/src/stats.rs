//! Counters that one thread writes and the control plane reads: plain numbers, relaxed, never on anybody's way.
#![forbid(unsafe_code)]

use engine::shard::ShardCounts;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$doc])* pub $field: AtomicU64,)* }
    };
}

counters! {
    /// A shard's, published at the end of its turns.
    ShardStats {
        /// Frames received.
        packets_received,
        /// Replies and events sent.
        packets_sent,
        /// Requests whose latency was taken.
        latency_count,
        /// Their summed latency in µs.
        latency_us_sum,
        /// The largest in µs.
        latency_us_max,
        /// The smallest in µs.
        latency_us_min,
        /// Connections now.
        connections,
        /// Watches now.
        watches,
        /// Connections closed because they did not read.
        output_limit_closes,
        /// Connections refused for a limit.
        connections_refused,
        /// Auth requests that failed.
        auth_failures,
        /// Turns begun and ended.
        turns,
        /// 1 while it waits for work, 2 once it has ended.
        idle,
        /// Longest hold of the tree's lock in µs.
        lock_us_max,
    }
}

counters! {
    /// The core's and the log's.
    CoreStats {
        /// Txns and replies on their way.
        outstanding,
        /// Sessions that only this server knows.
        local_sessions,
        /// Sessions that expired.
        sessions_expired,
        /// Txns applied.
        txns_applied,
        /// Times the log was made durable.
        log_syncs,
        /// 1 while writes are refused because the log's disk is full.
        log_refuses_writes,
        /// Images written.
        images_written,
        /// Images given up.
        images_failed,
        /// Images that the scrub has read whole.
        images_scrubbed,
        /// Pieces of an image that were written, while one is.
        image_beats,
        /// Four-letter words answered.
        words_answered,
        /// Four-letter words closed unanswered because too many are on their way.
        words_refused,
        /// Answers to them cut off because they were not read.
        words_cut,
        /// The trace mask that `stmk` sets and `gtmk` shows; it has no effect.
        trace_mask,
        /// How often the core went round.
        core_beats,
        /// 1 while the core waits for work.
        core_idle,
        /// How often the log thread went round.
        log_beats,
        /// 1 while the log thread waits for work.
        log_idle,
        /// 1 if the group on its way was started by a core that a shard hosts.
        log_hosted,
    }
}

/// Sets a number.
pub fn set(cell: &AtomicU64, value: u64) {
    cell.store(value, Ordering::Relaxed);
}

/// Adds to a number.
pub fn add(cell: &AtomicU64, value: u64) {
    cell.fetch_add(value, Ordering::Relaxed);
}

/// Takes from a number.
pub fn sub(cell: &AtomicU64, value: u64) {
    cell.fetch_sub(value, Ordering::Relaxed);
}

/// Keeps the larger.
pub fn max(cell: &AtomicU64, value: u64) {
    cell.fetch_max(value, Ordering::Relaxed);
}

/// Keeps the smaller, stored plus one so that 0 means none yet.
pub fn min_plus_1(cell: &AtomicU64, value: u64) {
    let value = value.saturating_add(1);
    // One thread writes, so nothing comes between.
    if !(1..=value).contains(&get(cell)) {
        set(cell, value);
    }
}

/// Reads a number.
pub fn get(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}

impl ShardStats {
    /// Publishes what the shard has counted.
    pub fn publish(&self, counts: &ShardCounts, connections: usize, watches: usize) {
        set(&self.packets_received, counts.packets_received);
        set(&self.packets_sent, counts.packets_sent);
        set(&self.latency_count, counts.latency_count);
        set(&self.latency_us_sum, counts.latency_us_sum);
        set(&self.latency_us_max, counts.latency_us_max);
        set(&self.latency_us_min, counts.latency_us_min);
        set(&self.connections, connections as u64);
        set(&self.watches, watches as u64);
        set(&self.output_limit_closes, counts.output_limit_closes);
        set(&self.auth_failures, counts.auth_failures);
    }
}
