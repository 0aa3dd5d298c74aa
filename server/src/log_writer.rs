//! What stands between the log's queue and the disk: the open log, the group that is on its way, and what has to wait for that.
//!
//! Owns the [`wal::Log`], and works the queue off in its order: txns are gathered into groups; anything else ([`LogItem`]) waits until all before it is
//! durable, is then done by a turn of the store ([`snapshot::store`]), and is answered. It belongs to one thread at a time: to the log thread, which may block, or, where there is one processor, to the
//! core, which starts groups and looks after them without ever waiting (`docs/decisions/002`). [`crate::mailbox::Desk`] is where it changes hands. It never
//! retries a failed write (law 8), and reports as durable only what the log says is. `server/tests/log_writer.rs` and
//! `server/tests/log_items.rs` would catch a mistake.
#![forbid(unsafe_code)]

use crate::hub::{Hub, Queued};
use crate::measured::micros;
use crate::recovery;
use crate::stats;
use engine::log_room::LogRoom;
use engine::replica::TxnBatch;
use engine::turn::{LogDone, LogItem};
use proto::Zxid;
use snapshot::control::{ControlFile, ImageRef};
use snapshot::store::{self, Cut, StoreError};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use wal::{Disk, Gathered, Log, Prepared, Reader, Started};

/// Bytes of the next segment that are zeroed at a time, between two looks at the queue.
const PREPARE_BYTES: u64 = 1 << 20;
/// How long a disk that was full is left alone.
const PREPARE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The log is sealed when nothing has come for so long.
pub const SEAL_AFTER: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub struct LogWriter<D: Disk> {
    hub: Arc<Hub>,
    log: Log<D>,
    control: ControlFile,
    /// A batch that did not fit into the group whole, and how many of its txns did.
    rest: Option<Batch>,
    /// What is to be done once all that was gathered is durable. Nothing is gathered meanwhile.
    waiting: Option<LogItem>,
    /// What was kept for a way back may go, but the disk was full.
    release_is_due: bool,
    /// What is in the gathered group: so many txns that left the core then.
    gathered: Vec<(Instant, u64)>,
    /// The same of the group on its way.
    in_flight: Vec<(Instant, u64)>,
    /// No further txn fits into the gathered group.
    full: bool,
    /// When the group on its way left, or the last one did.
    started: Instant,
    warn_after: Duration,
    sealed: bool,
    purged_below: u64,
    /// When the next segment could not be made for lack of space.
    disk_full_since: Option<Instant>,
    /// The kernel knows whom to ring.
    notifies: bool,
}

/// Txns of which some are gathered.
#[derive(Debug)]
struct Batch {
    txns: Arc<TxnBatch>,
    since: Instant,
    taken: usize,
}

/// What [`LogWriter::pump`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// Something moved.
    Progress,
    /// Nothing could.
    Nothing,
    /// What comes next blocks: it is the log thread's.
    Blocks,
}

impl<D: Disk> LogWriter<D> {
    /// A writer over an opened and replayed log, and the control file that names it. `warn_after`: a group that takes longer is warned of.
    pub fn new(hub: Arc<Hub>, log: Log<D>, control: ControlFile, warn_after: Duration) -> LogWriter<D> {
        let started = Instant::now();
        let writer = LogWriter {
            hub,
            log,
            control,
            rest: None,
            waiting: None,
            release_is_due: false,
            gathered: Vec::new(),
            in_flight: Vec::new(),
            full: false,
            started,
            warn_after,
            sealed: false,
            purged_below: 0,
            disk_full_since: None,
            notifies: false,
        };
        writer.tell_room();
        writer
    }

    /// Gathers what waits, up to a full group, and makes it durable, blocking; then does what waited for that. False if nothing waited, or if
    /// what did has to wait on for space on the disk.
    ///
    /// # Errors
    /// The log failed, or the control file.
    pub fn write(&mut self) -> Result<bool, StoreError> {
        self.settle()?;
        if !self.gather()? {
            return self.work_off();
        }
        if !self.make_room()? {
            return Ok(false);
        }
        self.depart();
        let durable = self.log.commit()?;
        self.landed(durable);
        self.hub.ring_core();
        // With no idle time ahead of the end of the segment, the next one is prepared between groups.
        if self.is_short_of_space() {
            self.prepare()?;
        }
        self.work_off()?;
        Ok(true)
    }

    /// Goes on as far as it can without waiting for the disk: sees whether the group on its way is durable, gathers what waits, starts the
    /// next group. The caller is not rung: it looks at the durable zxid itself. `bell` is written by the kernel when a group has come
    /// to its end.
    ///
    /// # Errors
    /// The log failed.
    pub fn pump(&mut self, bell: Option<BorrowedFd<'_>>) -> Result<Pumped, StoreError> {
        if !self.notifies
            && let Some(bell) = bell
        {
            self.log.notify(bell)?;
            self.notifies = true;
        }
        let mut progress = false;
        if let Some(durable) = self.log.poll_commit()? {
            self.landed(durable);
            stats::set(&self.hub.core_stats.log_idle, 1);
            stats::set(&self.hub.core_stats.log_hosted, 0);
            progress = true;
        }
        self.gather()?;
        if self.log.is_in_flight() {
            // No beat: a disk that does not answer is for the watchdog.
            return Ok(if progress { Pumped::Progress } else { Pumped::Nothing });
        }
        stats::add(&self.hub.core_stats.log_beats, 1);
        let is_item_next = self.waiting.is_some() && self.log.gathered_bytes() == 0;
        if self.is_short_of_space() || (is_item_next && self.may_prepare()) {
            return Ok(Pumped::Blocks);
        }
        if (self.log.needs_segment() || is_item_next) && !self.may_prepare() {
            // It waits for space on the disk, and every reader goes on meanwhile.
            return Ok(if progress { Pumped::Progress } else { Pumped::Nothing });
        }
        match self.log.start_commit()? {
            Started::InFlight => {
                self.depart();
                stats::set(&self.hub.core_stats.log_idle, 0);
                stats::set(&self.hub.core_stats.log_hosted, 1);
                Ok(Pumped::Progress)
            }
            Started::NeedsSegment => Ok(Pumped::Blocks),
            Started::Nothing if progress => Ok(Pumped::Progress),
            Started::Nothing if self.is_untidy() && self.started.elapsed() > SEAL_AFTER => Ok(Pumped::Blocks),
            Started::Nothing => Ok(Pumped::Nothing),
        }
    }

    /// When [`LogWriter::pump`] wants to be called again although nothing has come. `None`: whenever.
    #[must_use]
    pub fn next_look(&self) -> Option<Duration> {
        if self.waits_for_space() {
            let since = self.disk_full_since.map_or(Duration::ZERO, |since| since.elapsed());
            return Some((PREPARE_AGAIN_AFTER + Duration::from_millis(1)).saturating_sub(since));
        }
        let idle = !self.log.is_in_flight() && self.is_untidy();
        idle.then(|| (SEAL_AFTER + Duration::from_millis(1)).saturating_sub(self.started.elapsed()))
    }

    /// Waits for the group on its way, if there is one.
    ///
    /// # Errors
    /// The log failed.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if self.log.is_in_flight() {
            let durable = self.log.settle()?;
            self.landed(durable);
        }
        Ok(())
    }

    /// Whether a group is on its way, so that the writer must not change hands.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.log.is_in_flight()
    }

    /// How long nothing has been written.
    #[must_use]
    pub fn idle_for(&self) -> Duration {
        self.started.elapsed()
    }

    /// One step of what can wait, blocking. False if there is nothing.
    ///
    /// # Errors
    /// The log failed.
    pub fn tidy(&mut self) -> Result<bool, StoreError> {
        if self.release_is_due && self.may_prepare() {
            self.release()?;
        }
        let purge_below = self.hub.purge_below.load(Ordering::Acquire);
        if purge_below > self.purged_below {
            let purged = store::purge(&mut self.log, &self.control, Zxid(purge_below), 1)?;
            if self.log.has_spare() {
                self.found_space();
            }
            if purged > 0 {
                self.tell_room();
                return Ok(true);
            }
            self.purged_below = purge_below;
            // With an image of its own a server needs no way back any more.
            store::tidy(&mut self.log, &self.control)?;
            tracing::debug!(below = %proto::Zxid(purge_below), "purged the log");
        }
        if self.log.has_spare() || !self.may_prepare() {
            return Ok(false);
        }
        self.prepare()?;
        Ok(true)
    }

    /// Writes a seal unless the log ends with one, blocking. Not while something waits for space on the disk.
    ///
    /// # Errors
    /// The log failed.
    pub fn seal(&mut self) -> Result<(), StoreError> {
        if !self.sealed && !self.waits_for_space() {
            self.log.seal()?;
            self.sealed = true;
            self.tell_room();
        }
        Ok(())
    }

    /// The end of a clean stop: seals the log and notes where it ends, blocking. While something waits for space on the disk the next start
    /// looks for the end itself.
    ///
    /// # Errors
    /// The log failed.
    pub fn close(&mut self) -> Result<(), StoreError> {
        if self.waits_for_space() {
            return Ok(());
        }
        match self.log.close() {
            // It is sealed, or the next start finds what was acknowledged all the same.
            Err(error) if error.is_no_space() => Ok(()),
            closed => Ok(closed?),
        }
    }

    /// Whether something waits for space on the disk.
    #[must_use]
    pub fn waits_for_space(&self) -> bool {
        self.log.needs_segment() || self.waiting.is_some()
    }

    /// Whether the log ends with a seal.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Whether the end of the segment comes near and the next one is not ready.
    #[must_use]
    pub fn is_short_of_space(&self) -> bool {
        self.log.reserved_bytes() < self.log.segment_bytes() / 2 && self.may_prepare()
    }

    /// A full disk is left alone for a while.
    fn may_prepare(&self) -> bool {
        self.disk_full_since.is_none_or(|since| since.elapsed() > PREPARE_AGAIN_AFTER)
    }

    fn prepare(&mut self) -> Result<(), StoreError> {
        match self.log.prepare_step(PREPARE_BYTES) {
            Err(error) if error.is_no_space() => self.met_full_disk(&error),
            step => match step? {
                Prepared::Ready => self.found_space(),
                _ => self.tell_room(),
            },
        }
        Ok(())
    }

    /// Sees to it that the gathered group has a place. False if it waits for space on the disk: what is in it was not written, so no write
    /// has failed, and nobody hears of it.
    fn make_room(&mut self) -> Result<bool, StoreError> {
        if !self.log.needs_segment() {
            return Ok(true);
        }
        if !self.log.has_spare() && !self.may_prepare() {
            return Ok(false);
        }
        match self.log.make_room() {
            Err(error) if error.is_no_space() => {
                self.met_full_disk(&error);
                Ok(false)
            }
            made => {
                made?;
                self.found_space();
                Ok(true)
            }
        }
    }

    /// Said once, until there was space again.
    fn met_full_disk(&mut self, error: &dyn std::error::Error) {
        if self.disk_full_since.is_none() {
            tracing::warn!(
                %error,
                left_bytes = self.log.room_bytes(),
                "no space for the next log segment; make room in dataLogDir before the one in use is full, or writes are refused"
            );
        }
        self.disk_full_since = Some(Instant::now());
        self.tell_room();
        self.hub.ring_core();
    }

    /// The next segment is there, or was just begun.
    fn found_space(&mut self) {
        if self.disk_full_since.take().is_some() {
            tracing::info!("there is space for the next log segment again");
        }
        self.tell_room();
        // It may wait for more room than there was.
        self.hub.ring_core();
    }

    fn tell_room(&self) {
        self.hub.log_begins_after.store(self.log.history_begins_after(), Ordering::Release);
        self.hub.log_queue.set_room(LogRoom {
            bytes: self.log.room_bytes(),
            is_full: self.disk_full_since.is_some(),
            is_making: self.log.is_making_segment(),
        });
    }

    /// Moves txns from the queue into the group until that is full, or something else comes. True if the group holds something.
    fn gather(&mut self) -> Result<bool, StoreError> {
        while !self.full && self.waiting.is_none() {
            let Some(mut batch) = self.rest.take().or_else(|| self.take_item()) else { break };
            self.sealed = false;
            let begin = batch.taken;
            for (zxid, bytes) in batch.txns.iter().skip(begin) {
                batch.taken += 1;
                self.full = self.log.append(zxid.0, bytes)? == Gathered::Full;
                if self.full {
                    break;
                }
            }
            self.gathered.push((batch.since, (batch.taken - begin) as u64));
            self.rest = (batch.taken < batch.txns.len()).then_some(batch);
        }
        Ok(self.log.gathered_bytes() > 0)
    }

    /// The queue's next item, if it is txns; anything else waits for its turn.
    fn take_item(&mut self) -> Option<Batch> {
        let Queued { item, since } = self.hub.log_queue.pop()?;
        match item {
            LogItem::Txns(txns) => {
                let (measured, count) = (&self.hub.measured, txns.len() as u64);
                measured.log_waiting.add(stats::get(&measured.txns_waiting), 1);
                stats::sub(&measured.txns_waiting, count);
                measured.log_queue_us.add(micros(since.elapsed()), count);
                Some(Batch { txns, since, taken: 0 })
            }
            item => {
                self.waiting = Some(item);
                None
            }
        }
    }

    /// Does what waited until all before it is durable, blocking. False if there is nothing of the kind, or if it has to wait on for space on the
    /// disk.
    fn work_off(&mut self) -> Result<bool, StoreError> {
        if self.log.gathered_bytes() > 0 || (self.disk_full_since.is_some() && !self.may_prepare()) {
            return Ok(false);
        }
        let Some(item) = self.waiting.take() else { return Ok(false) };
        if item.turns() {
            // The number means nothing until this is answered; nobody who asks meanwhile shall take it for the history in force.
            self.hub.log_queue.set_durable(0);
        }
        let done = match self.turn(&item) {
            Err(error) if error.is_no_space() => {
                self.waiting = Some(item);
                self.met_full_disk(&error);
                return Ok(false);
            }
            done => done?,
        };
        self.started = Instant::now();
        self.sealed = false;
        if item.turns() {
            self.hub.log_queue.set_durable(self.log.durable_zxid());
            self.tell_room();
        }
        if self.disk_full_since.is_some() {
            self.found_space();
        }
        if let Some(done) = done {
            self.hub.answer_core(done);
            self.hub.ring_core();
        }
        Ok(true)
    }

    /// One item that is not txns, and its answer.
    fn turn(&mut self, item: &LogItem) -> Result<Option<LogDone>, StoreError> {
        let (log, control) = (&mut self.log, &self.control);
        Ok(match item {
            LogItem::Txns(_) => unreachable!("txns are gathered"),
            LogItem::Epochs(epochs) => {
                control.write_epochs(epochs.accepted, epochs.current, Zxid(log.durable_zxid()))?;
                Some(LogDone::Epochs(*epochs))
            }
            LogItem::Cut { to, rebuild } => Some(self.cut(*to, *rebuild)?),
            LogItem::Begin(image) => {
                store::begin(log, control, image.clone())?;
                Some(LogDone::Begun)
            }
            LogItem::Adopt(epochs) => {
                store::adopt(log, control, epochs.accepted, epochs.current)?;
                Some(LogDone::Epochs(*epochs))
            }
            LogItem::Discard => {
                store::discard(log, control)?;
                Some(LogDone::Discarded)
            }
            LogItem::Release => {
                self.release()?;
                None
            }
        })
    }

    fn cut(&mut self, to: Zxid, rebuild: bool) -> Result<LogDone, StoreError> {
        let data_dir = self.control.dir();
        let mut make = |image: Option<&ImageRef>, records: Reader<D::Read>| -> Result<_, Box<dyn std::error::Error>> {
            Ok(Box::new(recovery::rebuild(data_dir, image, records, to)?))
        };
        let make: Option<&mut store::Rebuild<'_, D, _>> = if rebuild { Some(&mut make) } else { None };
        Ok(match store::cut(&mut self.log, &self.control, to, make)? {
            Cut::Done { last, rebuilt } => {
                tracing::info!(%to, %last, "cut the log");
                LogDone::Cut { last, tree: rebuilt }
            }
            Cut::Impossible { why } => {
                tracing::error!(%to, why, "the log cannot be cut; this server takes a whole state from its leader");
                LogDone::CutImpossible
            }
        })
    }

    /// Nobody waits for it: what a full disk holds up is done later.
    fn release(&mut self) -> Result<(), StoreError> {
        let released = store::release(&mut self.log, &self.control);
        self.release_is_due = matches!(&released, Err(error) if error.is_no_space());
        if self.release_is_due { Ok(()) } else { released }
    }

    /// The gathered group leaves.
    fn depart(&mut self) {
        self.started = Instant::now();
        self.full = false;
        std::mem::swap(&mut self.gathered, &mut self.in_flight);
        assert!(self.gathered.is_empty(), "one group is on its way at a time");
    }

    fn landed(&mut self, durable: u64) {
        let took = self.started.elapsed();
        let txns = self.in_flight.iter().map(|(_, txns)| txns).sum();
        stats::add(&self.hub.core_stats.log_syncs, 1);
        let measured = &self.hub.measured;
        measured.log_sync_us.add(micros(took), 1);
        measured.log_group_txns.add(txns, 1);
        for (since, txns) in self.in_flight.drain(..) {
            measured.log_queue_and_sync_us.add(micros(since.elapsed()), txns);
        }
        self.tell_room();
        // Last: what is answered from here on has been measured.
        self.hub.log_queue.set_durable(durable);
        if took > self.warn_after {
            tracing::warn!(took_ms = took.as_millis(), "making the log durable took long: the disk is slow or busy");
        }
    }

    fn is_untidy(&self) -> bool {
        !self.sealed
            || (!self.log.has_spare() && self.may_prepare())
            || self.hub.purge_below.load(Ordering::Relaxed) > self.purged_below
    }
}
