//! Cuts a damaged log before the damage, for an operator who has asked for it and has a copy.
//!
//! Owns the decision what must go so that a server starts again, made by [`plan`] without writing, and [`RepairPlan::carry_out`]. Must never be called by
//! the server, nor give up a record that could be kept in order: what follows damage is lost, since the log is one sequence. It fails with
//! [`RepairError::Beyond`] where cutting does not help; `tests/a_damaged_log_is_cut_before_the_damage.rs` would catch a mistake.

use std::sync::Arc;

use crate::{
    Disk, Error, LogView, ReadDisk, Standing,
    catalog::Segment,
    closed::Closed,
    format::{Generation, SegmentSeq},
    scan::GroupWalk,
};

/// Why a log cannot be repaired.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RepairError {
    /// Cutting does not help, or would take too much.
    #[error("log: cannot be repaired by a cut: {0}; restore it from a backup")]
    Beyond(&'static str),
    /// The log.
    #[error(transparent)]
    Log(#[from] Error),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairPlan {
    /// The segment that becomes the newest is zeroed from this offset up to its size.
    zero: Option<(String, u64, u64)>,
    /// Segment files that go.
    pub removes: Vec<String>,
    /// The last zxid that the base image and the log will reach.
    pub kept_zxid: u64,
    /// What is lost by it.
    pub lost: Lost,
}

/// What a cut loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Nothing: the base image has all of it.
    Nothing,
    /// What comes after the kept zxid up to this one at least.
    UpTo(u64),
    /// Whatever the damaged part held: nothing behind it reads.
    Unknown,
}

/// Plans the repair of the log of `generation` where a reader of `view` ended with `fault`. `base_zxid` is the base image's: what comes up to it need
/// not be in the log.
///
/// # Errors
/// [`RepairError::Beyond`] if the fault is none of a segment's bytes, or another generation would be left.
pub fn plan<R: ReadDisk>(
    view: &LogView<R>,
    fault: &Error,
    generation: Generation,
    base_zxid: u64,
) -> Result<RepairPlan, RepairError> {
    let Error::Damage { file, offset, after_zxid, .. } = fault else {
        return Err(RepairError::Beyond("this is no damage of a segment"));
    };
    let all = view.segments();
    let damaged = all.iter().find(|segment| segment.file == *file);
    let damaged = damaged.ok_or(RepairError::Beyond("the damaged segment is not there"))?;
    let is_readable = !matches!(damaged.standing, Standing::Unreadable(_));
    if !is_readable && *offset > 0 {
        return Err(RepairError::Beyond("a segment file is shorter than it was"));
    }
    let names = |is_wanted: &dyn Fn(SegmentSeq) -> bool| -> Vec<String> {
        all.iter().filter(|segment| is_wanted(segment.seq)).map(|segment| segment.file.clone()).collect()
    };
    let next = all.iter().find_map(|segment| {
        let header = segment.header.as_ref()?;
        header.previous.is_some_and(|link| link.end.segment == damaged.seq).then_some(header)
    });
    if next.is_some_and(|next| next.base_zxid <= base_zxid) {
        let removes = names(&|seq| seq <= damaged.seq);
        return Ok(RepairPlan { zero: None, removes, kept_zxid: view.last_zxid().max(base_zxid), lost: Lost::Nothing });
    }
    let kept_zxid = base_zxid.max(*after_zxid);
    let greatest = view.greatest_zxid_behind(damaged.seq);
    let lost = if greatest > kept_zxid { Lost::UpTo(greatest) } else { Lost::Unknown };
    if *after_zxid < base_zxid {
        // What comes after the base cannot be reached, so nothing in the log is of use.
        return Ok(RepairPlan { zero: None, removes: names(&|_| true), kept_zxid, lost });
    }
    let zero = damaged.header.as_ref().map(|header| (file.clone(), *offset, header.segment_bytes));
    let removes = names(&|seq| seq > damaged.seq || (seq == damaged.seq && !is_readable));
    let newest = all.iter().filter(|segment| !removes.contains(&segment.file)).max_by_key(|segment| segment.seq);
    let left = newest.and_then(|segment| segment.header.as_ref()).map(|header| header.generation);
    if left.is_some_and(|left| left != generation) {
        return Err(RepairError::Beyond("the damage lies in an older generation of the log"));
    }
    Ok(RepairPlan { zero, removes, kept_zxid, lost })
}

impl RepairPlan {
    /// Does it. The newest segments go first, so that whatever is left by a crash in between can be repaired again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn carry_out<D: Disk>(&self, disk: &mut D) -> Result<(), Error> {
        let mut removes = self.removes.clone();
        removes.sort();
        for name in removes.iter().rev() {
            disk.remove(name).map_err(|e| Error::io("remove", name, e))?;
        }
        // It tells of an end that will not be there.
        Closed::remove(disk)?;
        disk.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))?;
        if let Some((name, from, to)) = &self.zero {
            let mut file = disk.open_write(name).map_err(|e| Error::io("open", name, e))?;
            disk.write_zeroes(&mut file, *from, to - from).map_err(|e| Error::io("zero", name, e))?;
            disk.sync_file(&mut file).map_err(|e| Error::io("sync", name, e))?;
        }
        Ok(())
    }
}

/// The greatest zxid of the groups of a segment that read well by themselves.
pub(crate) fn greatest_zxid<R: ReadDisk>(disk: &R, segment: &Arc<Segment>) -> u64 {
    let greatest = GroupWalk::open(disk, segment).map(|walk| walk.greatest_zxid());
    greatest.unwrap_or(0).max(segment.header.base_zxid)
}
