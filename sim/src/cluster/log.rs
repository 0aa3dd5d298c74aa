//! The log of a simulated server: the production `wal::Log` and the production turns of the store, worked off as the log's thread does.
//!
//! Owns the queue from the core, and what is answered. A group is started, and has come to its end when the world says so; everything else
//! ([`LogItem`]) is done at once, when all before it is durable. It must never say that something is durable which is not.

use super::bugs::Bug;
use super::effects::Effect;
use super::laws::Kept;
use super::process::Turn;
use crate::world::chance::Chance;
use engine::replay::Replay;
use engine::tree::Tree;
use engine::turn::{LogDone, LogItem};
use proto::Zxid;
use snapshot::AnyImage;
use snapshot::control::{ControlFile, ImageRef};
use snapshot::store::{self, Cut, StoreError};
use std::collections::VecDeque;
use std::error::Error as StdError;
use std::path::Path;
use wal::sim_disk::SimDisk;
use wal::{Disk, Gathered, Log, Prepared, Reader, Started};
use zab::Epochs;

/// Items that the queue takes.
const QUEUE_MAX: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct LogSide {
    pub(super) log: Log<SimDisk>,
    pub(super) control: ControlFile,
    queue: VecDeque<LogItem>,
    /// How many txns of the queue's first batch are in the log already.
    taken: usize,
    is_group_full: bool,
    pub(super) disk_is_full: bool,
    pub(super) durable: Zxid,
    pub(super) done: VecDeque<LogDone>,
    /// Txns up to here may be purged.
    pub(super) purge_below: Zxid,
    pub(super) bug: Option<Bug>,
    release_is_due: bool,
    /// What was made durable, for the laws alone.
    pub(super) kept: Vec<Kept>,
    appended: VecDeque<Zxid>,
    /// For [`Bug::EpochAfterAck`].
    unwritten: Option<Epochs>,
    /// For [`Bug::TruncUndone`].
    uncut: Option<Zxid>,
    /// For [`Bug::DiscardSkipped`].
    former_durable: Zxid,
}

impl LogSide {
    pub(super) fn new(log: Log<SimDisk>, control: ControlFile, bug: Option<Bug>) -> LogSide {
        let durable = Zxid(log.durable_zxid());
        LogSide {
            log,
            control,
            queue: VecDeque::new(),
            taken: 0,
            is_group_full: false,
            disk_is_full: false,
            durable,
            done: VecDeque::new(),
            purge_below: Zxid::ZERO,
            bug,
            release_is_due: false,
            kept: Vec::new(),
            appended: VecDeque::new(),
            unwritten: None,
            uncut: None,
            former_durable: Zxid::ZERO,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_MAX
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn push(&mut self, item: LogItem) {
        assert!(self.has_room(), "the core asks for room first");
        self.queue.push_back(item);
    }

    /// The group in flight has come to its end.
    pub(super) fn group_ends(&mut self, effects: &mut Vec<Effect>) -> Result<(), StoreError> {
        if let Some(durable) = self.log.poll_commit()? {
            self.durable = Zxid(durable);
            let generation = self.log.generation().0;
            while let Some(zxid) = self.appended.pop_front_if(|zxid| zxid.0 <= durable) {
                self.kept.push(Kept::Txn(generation, zxid));
            }
            effects.extend([Effect::Wake(Turn::Core), Effect::Wake(Turn::Log)]);
        }
        Ok(())
    }

    /// As `LogWriter`, but that the group is started and looked after later.
    pub(super) fn turn(&mut self, chance: &mut Chance, effects: &mut Vec<Effect>) -> Result<(), StoreError> {
        if self.bug.is_some() && !self.log.is_in_flight() {
            self.catch_up(chance)?;
        }
        self.gather()?;
        if self.log.is_in_flight() {
            return Ok(());
        }
        if self.log.gathered_bytes() == 0 && self.queue.front().is_some_and(|item| !matches!(item, LogItem::Txns(_))) {
            if let Some(item) = self.queue.pop_front() {
                match self.work_off(&item) {
                    // Nothing has changed: it is asked for again.
                    Err(error) if error.is_no_space() => {
                        self.wait_for_space(item);
                        effects.push(Effect::WakeLater(Turn::Log));
                        return Ok(());
                    }
                    done => done?,
                }
                let are_epochs = matches!(item, LogItem::Epochs(_));
                effects.push(if are_epochs { Effect::EpochsWritten } else { Effect::LogTurned });
            }
            effects.extend([Effect::Wake(Turn::Core), Effect::Wake(Turn::Log)]);
            return Ok(());
        }
        if self.log.needs_segment() && !self.make_room()? {
            effects.push(Effect::WakeLater(Turn::Log));
            return Ok(());
        }
        match self.log.start_commit()? {
            Started::InFlight => {
                self.is_group_full = false;
                effects.push(Effect::WriteStarted);
                if self.bug == Some(Bug::AckBeforeDurable) {
                    self.durable = Zxid(self.log.last_appended_zxid());
                    effects.push(Effect::Wake(Turn::Core));
                }
            }
            Started::NeedsSegment => effects.push(Effect::Wake(Turn::Log)),
            Started::Nothing => self.tidy(chance)?,
        }
        Ok(())
    }

    fn wait_for_space(&mut self, item: LogItem) {
        self.disk_is_full = true;
        if item.turns() {
            // Of the log as it is now nobody shall take it for the history in force.
            self.durable = Zxid::ZERO;
        }
        self.queue.push_front(item);
    }

    fn work_off(&mut self, item: &LogItem) -> Result<(), StoreError> {
        let (log, control) = (&mut self.log, &self.control);
        let done = match item {
            LogItem::Txns(_) => unreachable!("they are gathered"),
            LogItem::Epochs(epochs) if self.bug == Some(Bug::EpochAfterAck) => {
                self.unwritten = Some(*epochs);
                Some(LogDone::Epochs(*epochs))
            }
            LogItem::Epochs(epochs) => {
                control.write_epochs(epochs.accepted, epochs.current, Zxid(log.durable_zxid()))?;
                Some(LogDone::Epochs(*epochs))
            }
            LogItem::Cut { to, rebuild } if matches!(self.bug, Some(Bug::TruncSkipped | Bug::TruncUndone)) => {
                return self.pretend_cut(*to, *rebuild);
            }
            LogItem::Cut { to, rebuild } => {
                let (dir, to) = (control.dir().to_owned(), *to);
                let mut make = |image: Option<&ImageRef>, records: Reader<<SimDisk as Disk>::Read>| {
                    tree_of(&dir, image, records, to).map(|(tree, _)| Box::new(tree))
                };
                let cut = cut(log, control, to, if *rebuild { Some(&mut make) } else { None }, &mut self.kept)?;
                Some(match cut {
                    Cut::Done { last, rebuilt } => LogDone::Cut { last, tree: rebuilt },
                    Cut::Impossible { .. } => LogDone::CutImpossible,
                })
            }
            LogItem::Begin(image) => {
                self.former_durable = self.durable;
                store::begin(log, control, image.clone())?;
                self.kept.push(Kept::Begun(log.generation().0, image.zxid));
                Some(LogDone::Begun)
            }
            LogItem::Adopt(epochs) => {
                self.unwritten = None;
                store::adopt(log, control, epochs.accepted, epochs.current)?;
                self.kept.push(Kept::Adopted(log.generation().0));
                Some(LogDone::Epochs(*epochs))
            }
            LogItem::Discard if self.bug == Some(Bug::DiscardSkipped) => {
                self.durable = self.former_durable;
                self.done.push_back(LogDone::Discarded);
                return Ok(());
            }
            LogItem::Discard => {
                store::discard(log, control)?;
                Some(LogDone::Discarded)
            }
            LogItem::Release => {
                self.release()?;
                None
            }
        };
        // It may go back.
        self.durable = Zxid(self.log.durable_zxid());
        self.done.extend(done);
        Ok(())
    }

    /// Nobody waits for it: what a full disk holds up is done later.
    fn release(&mut self) -> Result<(), StoreError> {
        let released = store::release(&mut self.log, &self.control);
        self.release_is_due = matches!(&released, Err(error) if error.is_no_space());
        if self.release_is_due { Ok(()) } else { released }
    }

    /// [`Bug::TruncSkipped`], [`Bug::TruncUndone`]: the tree is made, and the log stays.
    fn pretend_cut(&mut self, to: Zxid, rebuild: bool) -> Result<(), StoreError> {
        let image = self.control.get().image;
        let after = image.as_ref().map_or(Zxid::ZERO, |image| image.zxid);
        let found = match self.log.reader(after.0) {
            Ok(records) if after <= to => tree_of(self.control.dir(), image.as_ref(), records, to).ok(),
            _ => None,
        };
        self.done.push_back(match found {
            Some((tree, zxids)) => {
                let last = zxids.last().copied().unwrap_or(after);
                self.durable = last;
                self.uncut = Some(last).filter(|_| self.bug == Some(Bug::TruncUndone));
                LogDone::Cut { last, tree: rebuild.then(|| Box::new(tree)) }
            }
            None => LogDone::CutImpossible,
        });
        Ok(())
    }

    /// What planted bugs have put off.
    fn catch_up(&mut self, chance: &mut Chance) -> Result<(), StoreError> {
        if let Some(epochs) = self.unwritten.take_if(|_| chance.percent(2)) {
            self.control.write_epochs(epochs.accepted, epochs.current, Zxid(self.log.durable_zxid()))?;
        }
        let appends = matches!(self.queue.front(), Some(LogItem::Txns(_)));
        if let Some(to) = self.uncut.take_if(|_| appends) {
            let _: Cut<()> = cut(&mut self.log, &self.control, to, None, &mut self.kept)?;
        }
        Ok(())
    }

    fn gather(&mut self) -> Result<(), StoreError> {
        while !self.is_group_full
            && let Some(LogItem::Txns(batch)) = self.queue.front()
        {
            for (zxid, bytes) in batch.iter().skip(self.taken) {
                self.taken += 1;
                self.is_group_full = self.log.append(zxid.0, bytes)? == Gathered::Full;
                self.appended.push_back(zxid);
                if self.is_group_full {
                    break;
                }
            }
            if self.taken >= batch.len() {
                self.queue.pop_front();
                self.taken = 0;
            }
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<bool, StoreError> {
        match self.log.make_room() {
            Err(error) if error.is_no_space() => {
                self.disk_is_full = true;
                Ok(false)
            }
            made => {
                made?;
                self.disk_is_full = false;
                Ok(true)
            }
        }
    }

    /// What the log's thread does when it has nothing else to do.
    fn tidy(&mut self, chance: &mut Chance) -> Result<(), StoreError> {
        if self.release_is_due {
            self.release()?;
        }
        if self.purge_below > Zxid::ZERO {
            store::purge(&mut self.log, &self.control, self.purge_below, usize::MAX)?;
            self.purge_below = Zxid::ZERO;
            store::tidy(&mut self.log, &self.control)?;
        }
        if chance.percent(30) {
            self.log.seal()?;
        }
        if self.log.has_spare() {
            self.disk_is_full = false;
        } else {
            match self.log.prepare_step(64 << 10) {
                Err(error) if error.is_no_space() => self.disk_is_full = true,
                step => self.disk_is_full &= step? != Prepared::Ready,
            }
        }
        Ok(())
    }

    /// A clean stop, with everything written. False: it could not be closed, for want of space.
    pub(super) fn close(mut self) -> Result<bool, StoreError> {
        self.log.settle()?;
        if self.log.needs_segment() {
            return Ok(false);
        }
        match self.log.close() {
            Err(error) if error.is_no_space() => Ok(false),
            closed => Ok(closed.map(|()| true)?),
        }
    }
}

/// As [`store::cut`], and notes what it has cut.
fn cut<T>(
    log: &mut Log<SimDisk>,
    control: &ControlFile,
    to: Zxid,
    rebuild: Option<&mut store::Rebuild<'_, SimDisk, T>>,
    kept: &mut Vec<Kept>,
) -> Result<Cut<T>, StoreError> {
    let before = control.get();
    let cut = store::cut(log, control, to, rebuild)?;
    if let Cut::Done { last, .. } = &cut {
        let former = before.former.as_ref().filter(|_| before.base_zxid() > to);
        let of = former.map_or(before.log_generation, |former| former.log_generation);
        kept.push(Kept::Cut { of, to: log.generation().0, last: *last });
    }
    Ok(cut)
}

/// The tree of an image and the records after it, up to `to`; and those zxids.
pub(super) fn tree_of<R: wal::ReadDisk>(
    dir: &Path,
    image: Option<&ImageRef>,
    mut records: Reader<R>,
    to: Zxid,
) -> Result<(Tree, Vec<Zxid>), Box<dyn StdError>> {
    let tree = match image {
        Some(image) => Tree::of_image(AnyImage::open(dir, image)?)?,
        None => Tree::new(),
    };
    let (mut replay, mut zxids) = (Replay::new(tree), Vec::new());
    while let Some((zxid, bytes)) = records.next_record()? {
        let zxid = Zxid(zxid);
        if zxid > to {
            break;
        }
        replay.take(zxid, bytes)?;
        zxids.push(zxid);
    }
    Ok((replay.finish()?.0, zxids))
}
