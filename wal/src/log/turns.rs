//! What makes another history the one that is written: a truncation, a new base, and the way back.
//!
//! Each takes effect on disk when the control file names its generation, and until then a crash leaves the former history; what no longer
//! belongs to the one that is written is dead, and stays until [`Log::remove_dead`]. Must never write to a segment of another history than
//! the one it goes on with. `tests/crash_at_every_step_keeps_what_was_acknowledged.rs` and `tests/a_given_up_history_can_be_returned_to.rs` would catch a mistake.

use std::{collections::BTreeMap, sync::Arc};

use super::{Beginning, Log, link_to, open_head};
use crate::{
    Disk, Error, Options,
    catalog::{Segment, inspect},
    format::{Generation, SegmentSeq},
    reader::find_cut,
};

impl<D: Disk> Log<D> {
    /// Recycles or removes the segments that no longer belong to the history: those of given-up generations and those
    /// that a truncation cut off. Call it once the control file cannot go back to them.
    pub fn remove_dead(&mut self) -> Result<usize, Error> {
        self.settle()?;
        let (pinned, free) = std::mem::take(&mut self.dead).into_iter().partition(|dead| Arc::strong_count(dead) > 1);
        self.dead = pinned;
        let free: Vec<Arc<Segment>> = free;
        self.recycle(&free)?;
        Ok(free.len())
    }

    /// For TRUNC: begins `generation` with the history up to `zxid`, of which nothing may be gathered.
    ///
    /// Crash-safe by the control file alone: this makes a new segment durable that continues the history at the cut;
    /// it counts, and what lies past the cut stops counting, in the moment the control file names `generation`. So:
    /// call this, replace the control file, then append. A crash before the replacement leaves the former history.
    /// `generation` is [`Log::next_generation`] or greater. If the log begins after `zxid`, it is
    /// [`Error::HistoryMissing`] and nothing has changed.
    pub fn truncate_after(&mut self, zxid: u64, generation: Generation) -> Result<(), Error> {
        self.settle()?;
        assert!(self.group.is_empty(), "commit before a truncation");
        let begins_after = self.history_begins_after();
        let kept = self.path.iter().take_while(|entry| entry.segment.header.base_zxid <= zxid).count();
        let Some(entry) = kept.checked_sub(1).and_then(|last| self.path.get(last)) else {
            return Err(Error::HistoryMissing { needed_after: zxid, begins_after });
        };
        let end = find_cut(&self.disk.read_side(), entry, zxid)?;
        let link = link_to(entry, &end);
        self.begin(&Beginning { generation, previous: Some(link), base_zxid: end.zxid })?;
        let head = self.path.pop();
        self.dead.extend(self.path.drain(kept..).map(|entry| entry.segment));
        if let Some(cut) = self.path.last_mut() {
            cut.end = end;
        }
        self.path.extend(head);
        Ok(())
    }

    /// For SNAP: begins `generation` with an empty history after `zxid`, the new base. Takes effect as
    /// [`Log::truncate_after`] does, when the control file names `generation`; until [`Log::remove_dead`] the former
    /// history can be returned to.
    pub fn restart_after(&mut self, zxid: u64, generation: Generation) -> Result<(), Error> {
        self.settle()?;
        assert!(self.group.is_empty(), "commit before a new base");
        self.begin(&Beginning { generation, previous: None, base_zxid: zxid })?;
        let head = self.path.pop();
        self.dead.extend(self.path.drain(..).map(|entry| entry.segment));
        self.path.extend(head);
        Ok(())
    }

    /// Goes back to a generation that was given up by [`Log::restart_after`] or [`Log::truncate_after`] and not removed since: the log
    /// is what it would be if it were opened with that generation, and `after` for `replay_after`. What was written since is dead.
    ///
    /// To the disk it adds a seal; which history counts there the control file says, as ever. If nothing whole of that generation is left it is
    /// [`Error::GenerationMissing`], [`Error::HistoryMissing`] or [`Error::Damage`], and nothing has changed.
    pub fn return_to(&mut self, generation: Generation, after: u64) -> Result<(), Error> {
        self.settle()?;
        assert!(self.group.is_empty(), "commit before a return");
        let options = Options { generation, replay_after: after, ..self.options };
        let found = inspect(&self.disk.read_side(), &options)?;
        let Some(head) = found.path.last() else {
            return Err(Error::GenerationMissing { expected: generation, found: Vec::new() });
        };
        let head_file = open_head(&mut self.disk, &head.segment.name).map_err(|error| self.poison(error))?;
        // Whoever reads a segment holds it, and so keeps it from being recycled: the same ones go on.
        let known = self.path.drain(..).map(|entry| entry.segment).chain(self.dead.drain(..));
        let known: BTreeMap<SegmentSeq, Arc<Segment>> = known.map(|segment| (segment.header.seq, segment)).collect();
        let same = |segment: Arc<Segment>| known.get(&segment.header.seq).cloned().unwrap_or(segment);
        self.path = found.path;
        self.path.iter_mut().for_each(|entry| entry.segment = same(Arc::clone(&entry.segment)));
        self.dead = found.dead.into_iter().map(same).collect();
        self.head_file = head_file;
        self.last_appended = self.durable_zxid();
        self.sealed = false;
        self.seal_at_open()
    }

    /// Begins the first segment of a new generation.
    fn begin(&mut self, beginning: &Beginning) -> Result<(), Error> {
        let fresh = beginning.generation > self.newest_generation;
        assert!(fresh, "generation {} is not new: see next_generation", beginning.generation);
        self.begin_unchecked(beginning)?;
        self.newest_generation = beginning.generation;
        self.last_appended = beginning.base_zxid;
        Ok(())
    }
}
