//! The log thread: works the log's queue off. It appends txns and makes them durable. While one group is being made durable the next one gathers in the queue.
//!
//! Owns the [`LogWriter`], or has lent it to a core that hosts it, and then does only what blocks: the next segment, the seal, purging, and every item that is not txns. When
//! there is nothing to do it seals the log, so that a torn tail can be told from damage, zeroes the next segment, and purges what an image
//! holds. A log that fails stops the server (law 8).
#![forbid(unsafe_code)]

use crate::hub::Hub;
use crate::log_writer::{LogWriter, SEAL_AFTER};
use crate::mailbox::Desk;
use crate::rt::{Parker, Woken};
use crate::stats;
use crate::watchdog::WAIT_MAX;
use snapshot::store::StoreError;
use std::sync::Arc;
use wal::Disk;

/// See the module.
#[derive(Debug)]
pub struct LogThread<D: Disk> {
    hub: Arc<Hub>,
    parker: Parker,
    writer: Option<Box<LogWriter<D>>>,
    /// Where a core that hosts the writer waits for it.
    desk: Option<Arc<Desk<Box<LogWriter<D>>>>>,
}

impl<D: Disk> LogThread<D> {
    /// The thread's state. With a desk the writer is lent whenever it has nothing to do that blocks.
    pub fn new(
        hub: Arc<Hub>,
        writer: Box<LogWriter<D>>,
        parker: Parker,
        desk: Option<Arc<Desk<Box<LogWriter<D>>>>>,
    ) -> LogThread<D> {
        LogThread { hub, parker, writer: Some(writer), desk }
    }

    /// Runs until nothing comes any more, or the log fails.
    pub fn run(mut self) {
        if let Err(error) = self.work() {
            self.hub.fail_log(&error);
        }
    }

    fn work(&mut self) -> Result<(), StoreError> {
        loop {
            let is_lender = self.is_lender();
            let Some(writer) = &mut self.writer else {
                if self.take_back() {
                    continue;
                }
                return Ok(());
            };
            stats::add(&self.hub.core_stats.log_beats, 1);
            stats::set(&self.hub.core_stats.log_idle, 0);
            stats::set(&self.hub.core_stats.log_hosted, 0);
            if writer.write()? {
                if !writer.is_short_of_space() {
                    self.lend();
                }
                continue;
            }
            if self.hub.log_queue.is_closed() {
                // What was pushed between the last look and the end.
                while writer.write()? {}
                if writer.waits_for_space() {
                    tracing::warn!(
                        "the disk of the log is full: what waited for space is not written; none of it was acknowledged"
                    );
                }
                return writer.close();
            }
            if writer.tidy()? {
                continue;
            }
            if is_lender {
                if writer.idle_for() > SEAL_AFTER {
                    writer.seal()?;
                }
                self.lend();
                continue;
            }
            let wait = if writer.is_sealed() { WAIT_MAX } else { SEAL_AFTER };
            stats::set(&self.hub.core_stats.log_idle, 1);
            let woken = self.parker.wait(Some(wait));
            if woken == Woken::TimedOut && self.hub.log_queue.is_empty() {
                writer.seal()?;
            }
        }
    }

    fn is_lender(&self) -> bool {
        self.desk.as_ref().is_some_and(|desk| !desk.is_closed())
    }

    fn lend(&mut self) {
        if !self.is_lender() {
            return;
        }
        if let (Some(desk), Some(writer)) = (&self.desk, self.writer.take()) {
            stats::set(&self.hub.core_stats.log_idle, 1);
            desk.give_to_core(writer);
            self.hub.ring_core();
        }
    }

    /// Waits for the writer that was lent. False if it does not come back: the log failed where it was.
    fn take_back(&mut self) -> bool {
        let Some(desk) = &self.desk else { return false };
        loop {
            self.writer = desk.take_for_thread();
            if self.writer.is_some() {
                return true;
            }
            if self.hub.log_queue.is_closed() {
                // What was given between the last look and the end.
                self.writer = desk.take_for_thread();
                return self.writer.is_some();
            }
            self.parker.wait(Some(WAIT_MAX));
        }
    }
}
