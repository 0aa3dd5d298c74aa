//! The log thread: appends txns and makes them durable. While one group is being made durable the next one gathers in the queue.
//!
//! Owns the [`wal::Log`]. It never retries a failed write (law 8): it says why and the server stops. When there is nothing to do it seals the
//! log, so that a torn tail can be told from damage, zeroes the next segment, and purges what an image holds.
#![forbid(unsafe_code)]

use crate::hub::Hub;
use crate::rt::Parker;
use crate::stats;
use crate::watchdog::WAIT_MAX;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use wal::{Disk, Gathered, Log, Prepared};

/// Bytes of the next segment that are zeroed at a time, between two looks at the queue.
const PREPARE_BYTES: u64 = 1 << 20;
/// The log is sealed when nothing has come for so long.
const SEAL_AFTER: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub struct LogThread<D: Disk> {
    hub: Arc<Hub>,
    log: Log<D>,
    parker: Parker,
    warn_after: Duration,
    sealed: bool,
    prepared: bool,
    purged_below: u64,
}

impl<D: Disk> LogThread<D> {
    /// The thread's state over an opened and replayed log. `warn_after`: a group that takes longer is warned of.
    pub fn new(hub: Arc<Hub>, log: Log<D>, parker: Parker, warn_after: Duration) -> LogThread<D> {
        LogThread { hub, log, parker, warn_after, sealed: false, prepared: false, purged_below: 0 }
    }

    /// Runs until the hub stops, or the log fails.
    pub fn run(mut self) {
        if let Err(error) = self.work() {
            self.hub.fail(format!(
                "the log failed, and what it has not confirmed may be lost: {error}. The server stops without acknowledging it; \
                 look at the disk before you start it again"
            ));
        }
    }

    fn work(&mut self) -> Result<(), wal::Error> {
        loop {
            stats::add(&self.hub.core_stats.log_beats, 1);
            if self.write_queue()? {
                continue;
            }
            if self.hub.is_stopping() {
                // The core may push once more after it has seen the flag; its last txns are worth a look.
                self.parker.wait(Some(Duration::from_millis(20)));
                while self.write_queue()? {}
                return self.log.seal();
            }
            if self.use_idle_time()? {
                continue;
            }
            let wait = if self.sealed { WAIT_MAX } else { SEAL_AFTER };
            stats::set(&self.hub.core_stats.log_idle, 1);
            let woken = self.parker.wait(Some(wait));
            stats::set(&self.hub.core_stats.log_idle, 0);
            if woken == crate::rt::Woken::TimedOut && !self.sealed && self.hub.log_queue.is_empty() {
                self.log.seal()?;
                self.sealed = true;
            }
        }
    }

    /// Appends everything that waits and makes it durable. False if nothing waited.
    fn write_queue(&mut self) -> Result<bool, wal::Error> {
        let mut any = false;
        while let Some(batch) = self.hub.log_queue.pop() {
            any = true;
            for (zxid, bytes) in batch.iter() {
                if self.log.append(zxid.0, bytes)? == Gathered::Full {
                    self.commit()?;
                }
            }
        }
        if any {
            self.commit()?;
            self.sealed = false;
            self.prepared = false;
        }
        Ok(any)
    }

    fn commit(&mut self) -> Result<(), wal::Error> {
        let started = Instant::now();
        let durable = self.log.commit()?;
        let took = started.elapsed();
        self.hub.set_durable(durable);
        // Under load the queue may never be found empty: every group is progress, not only every round.
        stats::add(&self.hub.core_stats.log_beats, 1);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        stats::add(&self.hub.core_stats.log_syncs, 1);
        stats::add(&self.hub.core_stats.log_sync_us_sum, took_us);
        stats::max(&self.hub.core_stats.log_sync_us_max, took_us);
        if took > self.warn_after {
            tracing::warn!(took_ms = took.as_millis(), "making the log durable took long: the disk is slow or busy");
        }
        Ok(())
    }

    /// One step of what can wait. False if there is nothing.
    fn use_idle_time(&mut self) -> Result<bool, wal::Error> {
        let purge_below = self.hub.purge_below.load(Ordering::Acquire);
        if purge_below > self.purged_below {
            self.purged_below = purge_below;
            let segments = self.log.purge_below(purge_below)?;
            tracing::debug!(segments, below = %proto::Zxid(purge_below), "purged the log");
        }
        if self.prepared {
            return Ok(false);
        }
        self.prepared = self.log.prepare_step(PREPARE_BYTES)? != Prepared::More;
        Ok(true)
    }
}
