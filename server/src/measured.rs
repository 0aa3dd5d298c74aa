//! What the core, the log and the image thread measure, for `mntr`: how long, and how much at once.
//!
//! Plain numbers, relaxed, as in [`crate::stats`]: each is written by one thread at a time (the log's belong to whoever has the
//! [`crate::log_writer::LogWriter`]; `txns_waiting` alone is counted up by the core and down by the log) and read by the control plane, which may see a value counted and not yet summed. Nothing here decides anything.
//! Times are in µs unless a name says otherwise. `tests/tests/words` compares what is shown with a real server's.
#![forbid(unsafe_code)]

use crate::recovery::Took;
use crate::stats::{add, get, max, min_plus_1, set};
use engine::shard::{BUCKETS, Histogram, Summary, bucket_of};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A [`Summary`] that one thread writes while others may read it.
#[derive(Debug, Default)]
pub struct SharedSummary {
    count: AtomicU64,
    sum: AtomicU64,
    min_plus_1: AtomicU64,
    max: AtomicU64,
}

impl SharedSummary {
    /// A value that was met so many times.
    pub fn add(&self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        add(&self.sum, value.saturating_mul(times));
        min_plus_1(&self.min_plus_1, value);
        max(&self.max, value);
        add(&self.count, times);
    }

    /// Count, sum, smallest and largest.
    #[must_use]
    pub fn read(&self) -> Summary {
        let min = get(&self.min_plus_1).checked_sub(1).unwrap_or(u64::MAX);
        Summary { count: get(&self.count), sum: get(&self.sum), min, max: get(&self.max) }
    }

    /// Forgets everything.
    pub fn reset(&self) {
        for cell in [&self.count, &self.sum, &self.min_plus_1, &self.max] {
            set(cell, 0);
        }
    }
}

/// A [`Histogram`] that one thread writes while others may read it.
#[derive(Debug)]
pub struct SharedHistogram {
    summary: SharedSummary,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for SharedHistogram {
    fn default() -> SharedHistogram {
        SharedHistogram { summary: SharedSummary::default(), buckets: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl SharedHistogram {
    /// A value that was met so many times.
    pub fn add(&self, value: u64, times: u64) {
        self.summary.add(value, times);
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            add(bucket, times);
        }
    }

    /// Its values now.
    #[must_use]
    pub fn read(&self) -> Histogram {
        Histogram::of_parts(self.summary.read(), std::array::from_fn(|at| self.buckets.get(at).map_or(0, get)))
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.summary.reset();
        self.buckets.iter().for_each(|bucket| set(bucket, 0));
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Measured {
    /// Requests that waited for the core when it came to look, each time that some did.
    pub core_waiting: SharedSummary,
    /// Txns that waited for the log when it came to look, each time that some did.
    pub log_waiting: SharedSummary,
    /// How long a txn waited for the log.
    pub log_queue_us: SharedHistogram,
    /// How long it took to make a group durable.
    pub log_sync_us: SharedHistogram,
    /// From a txn's way to the log until it was durable.
    pub log_queue_and_sync_us: SharedHistogram,
    /// Txns of a group.
    pub log_group_txns: SharedSummary,
    /// From a txn's way to the log until the tree shows it.
    pub propagation_us: SharedHistogram,
    /// How long an image took, in ms.
    pub image_ms: SharedSummary,
    /// How long it took at the start to load the image, in ms.
    pub start_image_ms: SharedSummary,
    /// How long it took at the start to replay the log, in ms.
    pub start_log_ms: SharedSummary,
    /// Txns that were replayed.
    pub start_txns: SharedSummary,
    /// How long it took at the start until the tree was there, in ms.
    pub start_ms: SharedSummary,
    /// Requests that the core was handed.
    pub requests: AtomicU64,
    /// Txns that the log was handed.
    pub txns: AtomicU64,
    /// Txns that the log was handed and has not taken yet; never reset.
    pub txns_waiting: AtomicU64,
}

impl Measured {
    /// What the start took.
    pub fn recovered(&self, took: &Took, txns: u64) {
        if let Some(image) = took.image {
            self.start_image_ms.add(millis(image), 1);
        }
        if txns > 0 {
            self.start_log_ms.add(millis(took.log), 1);
            self.start_txns.add(txns, 1);
        }
        self.start_ms.add(millis(took.all), 1);
    }

    /// Forgets what `srst` forgets.
    pub fn reset(&self) {
        let summaries = [
            &self.core_waiting,
            &self.log_waiting,
            &self.log_group_txns,
            &self.image_ms,
            &self.start_image_ms,
            &self.start_log_ms,
            &self.start_txns,
            &self.start_ms,
        ];
        summaries.into_iter().for_each(SharedSummary::reset);
        let histograms = [&self.log_queue_us, &self.log_sync_us, &self.log_queue_and_sync_us, &self.propagation_us];
        histograms.into_iter().for_each(SharedHistogram::reset);
        set(&self.requests, 0);
        set(&self.txns, 0);
    }
}

/// Whole µs of a time.
#[must_use]
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whole ms of a time.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_histogram_says_what_a_plain_one_says() {
        let (shared, mut plain) = (SharedHistogram::default(), Histogram::default());
        for (value, times) in [(3, 2), (17, 1), (900, 5), (1 << 40, 1), (4, 0)] {
            shared.add(value, times);
            (0..times).for_each(|_| plain.add(value));
        }
        let read = shared.read();
        assert_eq!(read.summary(), plain.summary());
        for permille in [1, 250, 500, 950, 999] {
            assert_eq!(read.permille(permille), plain.permille(permille), "{permille}");
        }
        shared.reset();
        assert_eq!(*shared.read().summary(), Summary::default());
        assert_eq!(shared.read().permille(500), 0);
    }
}
