//! Finds the end of the newest segment, and tells a torn tail from damage.
//!
//! Groups are issued one at a time, each only after the one before is durable. So a group that reads well behind one
//! that does not proves that the broken one had been durable: that is damage. With no such witness the broken group
//! was the one in flight: a torn tail, never acknowledged, and the log ends before it. (A seal is such a witness; that
//! is why a clean shutdown and an idle log write one.) After a clean stop a note ([`crate::closed`]) says where the log ends: then a witness is
//! looked for just behind that alone, and records that are missing before it were durable.
//!
//! `tests/damage_is_named_and_a_torn_tail_is_cut.rs` flips every byte and cuts the last group at every sector.

use std::sync::Arc;

use crate::{
    Error, ReadDisk,
    catalog::{End, Segment},
    format::{Group, GroupFault, GroupHeader, GroupKind, LogPosition, decode_group, to_usize},
};

/// A group that was in flight when the log ended, and does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file.
    pub file: String,
    /// Where the torn group begins.
    pub position: LogPosition,
    /// The last zxid before it.
    pub after_zxid: u64,
}

/// What stands behind the last group that reads well.
#[derive(Debug)]
pub(crate) enum Tail {
    /// Nothing.
    Clean,
    /// The group that was in flight.
    Torn(TornTail),
    /// What had been durable and does not read.
    Damaged(Error),
}

/// Walks all groups of the newest segment: where the last good one ends, and what comes then. The error is the disk's.
///
/// The segment may be written meanwhile: a group that did not read a moment ago, and reads now that a later one is there, was in flight.
/// Where it is known that the segment was `closed`, it is damage if it ends before that; and where it ends just there, later groups are
/// looked for in so many bytes behind that alone (`reads_behind`).
pub(crate) fn scan_head<R: ReadDisk>(
    disk: &R,
    segment: &Arc<Segment>,
    closed: Option<End>,
    reads_behind: u64,
) -> Result<(End, Tail), Error> {
    let mut walk = GroupWalk::open(disk, segment)?;
    loop {
        let fault = match walk.step() {
            Ok(Ok(_)) => continue,
            Ok(Err(fault)) => fault,
            Err(error) if error.is_damage() => return Ok((walk.at, Tail::Damaged(error))),
            Err(error) => return Err(error),
        };
        let is_as_closed = fault == GroupFault::Foreign && closed == Some(walk.at);
        let reach = if is_as_closed { walk.at.offset.saturating_add(reads_behind) } else { u64::MAX };
        let Some(witness) = find_witness(&walk, reach)? else {
            if closed.is_some_and(|closed| closed.zxid > walk.at.zxid) {
                return Ok((walk.at, Tail::Damaged(walk.damage(fault.what()))));
            }
            return Ok((walk.at, tail_of(&walk, fault)));
        };
        if let Ok(Err(fault)) = walk.step() {
            tracing::error!(file = segment.name, offset = walk.at.offset, witness, "log: damage below a later group");
            return Ok((walk.at, Tail::Damaged(walk.damage(fault.what()))));
        }
    }
}

fn tail_of<R: ReadDisk>(walk: &GroupWalk<R>, fault: GroupFault) -> Tail {
    if fault == GroupFault::Foreign {
        return Tail::Clean;
    }
    Tail::Torn(TornTail {
        file: walk.segment.name.clone(),
        position: LogPosition { segment: walk.segment.header.seq, offset: walk.at.offset },
        after_zxid: walk.at.zxid,
    })
}

/// Walks the groups of one segment. Each is checked, and must continue the one before it.
#[derive(Debug)]
pub(crate) struct GroupWalk<R: ReadDisk> {
    disk: R,
    file: R::File,
    pub(crate) segment: Arc<Segment>,
    /// After the last group that was read.
    pub(crate) at: End,
    /// The last group that was read.
    pub(crate) buf: Vec<u8>,
}

impl<R: ReadDisk> GroupWalk<R> {
    /// Before the first group.
    pub(crate) fn open(disk: &R, segment: &Arc<Segment>) -> Result<GroupWalk<R>, Error> {
        let file = disk.open_read(&segment.name).map_err(|e| Error::io("open", &segment.name, e))?;
        let (disk, segment) = (disk.clone(), segment.clone());
        Ok(GroupWalk { disk, file, at: segment.begin(), segment, buf: Vec::new() })
    }

    /// Reads the next group into `buf`. A fault leaves the walk where it is. The outer error is the disk's, or damage that is none of the
    /// group's own: it does not continue the one before, or the file ends.
    pub(crate) fn step(&mut self) -> Result<Result<Group, GroupFault>, Error> {
        if self.at.offset >= self.segment.header.segment_bytes {
            return Ok(Err(GroupFault::Foreign));
        }
        let mut buf = std::mem::take(&mut self.buf);
        let read = self.read_group(self.at.offset, &mut buf);
        self.buf = buf;
        let group = match read? {
            Ok(group) => group,
            Err(fault) => return Ok(Err(fault)),
        };
        self.at = self.follow(&group)?;
        Ok(Ok(group))
    }

    /// The greatest zxid of all groups of the segment that read well by themselves, whatever lies between them.
    pub(crate) fn greatest_zxid(&self) -> u64 {
        let block = to_usize(self.segment.header.block_bytes.into());
        let mut buf = Vec::new();
        let places = (self.segment.begin().offset..self.segment.header.segment_bytes).step_by(block);
        let groups = places.filter_map(|offset| self.read_group(offset, &mut buf).ok()?.ok());
        groups.map(|group| group.header.last_zxid).max().unwrap_or(0)
    }

    /// Damage where the walk stands.
    pub(crate) fn damage(&self, what: &'static str) -> Error {
        self.damage_at(self.at.offset, what)
    }

    fn damage_at(&self, offset: u64, what: &'static str) -> Error {
        Error::Damage { file: self.segment.name.clone(), offset, after_zxid: self.at.zxid, what }
    }

    /// The state after `group`, which must continue the one before.
    fn follow(&self, group: &Group) -> Result<End, Error> {
        if group.header.chain != self.at.crc {
            return Err(self.damage("the group does not continue the one before it"));
        }
        let zxid = match group.header.kind {
            GroupKind::Seal if group.header.last_zxid == self.at.zxid => self.at.zxid,
            GroupKind::Records if group.header.first_zxid > self.at.zxid => group.header.last_zxid,
            _ => return Err(self.damage("the group's zxids do not continue those before it")),
        };
        Ok(End { offset: self.at.offset + group.padded_bytes as u64, crc: group.crc, zxid })
    }

    /// Reads and checks the group at `offset` into `buf`. The outer error is the disk's.
    fn read_group(&self, offset: u64, buf: &mut Vec<u8>) -> Result<Result<Group, GroupFault>, Error> {
        let identity = self.segment.identity();
        let block = to_usize(self.segment.header.block_bytes.into());
        buf.resize(block, 0);
        self.fill(offset, buf)?;
        let header = match GroupHeader::parse(buf, &identity, offset) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        let bytes = header.padded_bytes(&identity);
        if bytes as u64 > self.segment.header.segment_bytes - offset {
            return Ok(Err(GroupFault::Broken("the group reaches beyond the segment")));
        }
        if bytes > block {
            buf.resize(bytes, 0);
            let (_, rest) = buf.split_at_mut(block);
            self.fill(offset + block as u64, rest)?;
        }
        Ok(decode_group(buf, &identity, offset))
    }

    /// Fills `into`; a file that ends before is damage, since a segment has its full size from the start.
    fn fill(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        let got = self.disk.read_at(&self.file, offset, into).map_err(|e| Error::io("read", &self.segment.name, e))?;
        if got < into.len() {
            return Err(self.damage_at(offset + got as u64, "the file has been cut short"));
        }
        Ok(())
    }
}

/// Looks for a good group behind the one where the walk stands, issued when that one was known to be durable. It begins before `reach`.
fn find_witness<R: ReadDisk>(walk: &GroupWalk<R>, reach: u64) -> Result<Option<u64>, Error> {
    let (segment, broken) = (walk.segment.clone(), walk.at.offset);
    let identity = segment.identity();
    let block = to_usize(segment.header.block_bytes.into());
    let reach = reach.checked_next_multiple_of(block as u64).unwrap_or(u64::MAX).min(segment.header.segment_bytes);
    let mut window = vec![0; SCAN_WINDOW_BYTES.next_multiple_of(block)];
    let mut group = Vec::new();
    let mut at = broken + block as u64;
    while at < reach {
        let bytes = window.len().min(to_usize(reach - at));
        window.truncate(bytes);
        walk.fill(at, &mut window)?;
        for (offset, candidate) in (at..).step_by(block).zip(window.chunks_exact(block)) {
            let looks_good = GroupHeader::parse(candidate, &identity, offset).is_ok_and(|h| h.known_durable > broken);
            if looks_good && walk.read_group(offset, &mut group)?.is_ok() {
                return Ok(Some(offset));
            }
        }
        at += bytes as u64;
    }
    Ok(None)
}

/// Bytes read at once when looking for a witness.
const SCAN_WINDOW_BYTES: usize = 1 << 20;
