//! Reads records in order, from the base or from any zxid, up to where the log was durable when the reader was made.
//!
//! Holds one group in memory. Checks everything that it passes: checksum, chain, order, and that each segment ends
//! exactly where the next one's header says; anything else is [`Error::Damage`], since all that a reader is given was
//! durable. May run on another thread than the log: while it lives, its segments are not recycled.

use std::{collections::VecDeque, ops::Range};

use crate::{
    Error, ReadDisk,
    catalog::{End, PathEntry},
    format::{
        GROUP_HEADER_BYTES, Group, GroupHeader, GroupKind, LogPosition, RECORD_HEADER_BYTES, decode_record, to_usize,
    },
    scan::GroupWalk,
};

/// A stream of records in zxid order.
#[derive(Debug)]
pub struct Reader<R: ReadDisk> {
    disk: R,
    /// Segments still to be read; the front one is open.
    path: VecDeque<PathEntry>,
    walk: Option<GroupWalk<R>>,
    /// Records of the walk's group that were not yet given out.
    records: Range<usize>,
    after: u64,
    last_zxid: u64,
    /// What follows the last segment of the path, if that is not the end.
    fault: Option<Error>,
}

impl<R: ReadDisk> Reader<R> {
    pub(crate) fn new(disk: R, path: &[PathEntry], after: u64) -> Result<Reader<R>, Error> {
        let begins_after = path.first().map_or(0, |oldest| oldest.segment.header.base_zxid);
        if begins_after > after {
            return Err(Error::HistoryMissing { needed_after: after, begins_after });
        }
        let skipped = path.iter().take_while(|entry| entry.end.zxid <= after).count();
        let path: VecDeque<PathEntry> = path.iter().skip(skipped).cloned().collect();
        let last_zxid = path.back().map_or(after, |head| head.end.zxid);
        Ok(Reader { disk, path, walk: None, records: 0..0, after, last_zxid, fault: None })
    }

    /// Reads a whole segment, also one without records.
    pub(crate) fn whole(disk: R, entry: PathEntry) -> Reader<R> {
        let (after, last_zxid) = (entry.segment.header.base_zxid, entry.end.zxid);
        Reader { disk, path: [entry].into(), walk: None, records: 0..0, after, last_zxid, fault: None }
    }

    /// The same, with this error in place of the end.
    pub(crate) fn until_fault(self, fault: Option<Error>) -> Reader<R> {
        Reader { fault, ..self }
    }

    /// The last zxid that this reader will give out (if it is beyond the position from which it reads).
    pub fn last_zxid(&self) -> u64 {
        self.last_zxid
    }

    /// The next record, `None` at the end. After an error the reader must not be used further.
    pub fn next_record(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        loop {
            if let Some((zxid, data)) = self.next_in_group() {
                let until = self.path.front().map_or(0, |entry| entry.end.zxid);
                if zxid > self.after && zxid <= until {
                    return Ok(self.walk.as_ref().and_then(|walk| walk.buf.get(data)).map(|data| (zxid, data)));
                }
                continue;
            }
            let Some(group) = self.advance()? else { return Ok(None) };
            if group.header.kind == GroupKind::Records {
                self.records = GROUP_HEADER_BYTES..GROUP_HEADER_BYTES + to_usize(group.header.payload_bytes.into());
            }
        }
    }

    /// The next group, seals too; `None` at the end. For tools; a reader is asked either for records or for groups.
    pub fn next_group(&mut self) -> Result<Option<GroupView<'_>>, Error> {
        let Some(group) = self.advance()? else { return Ok(None) };
        let until = self.path.front().map_or(0, |entry| entry.end.zxid);
        Ok(self.walk.as_ref().map(|walk| GroupView::new(walk, &group, self.after, until)))
    }

    /// Reads the next group, in the next segment if it is there.
    fn advance(&mut self) -> Result<Option<Group>, Error> {
        while let Some(entry) = self.path.front().cloned() {
            match &mut self.walk {
                None => self.walk = Some(GroupWalk::open(&self.disk, &entry.segment)?),
                Some(walk) if walk.at.offset >= entry.end.offset => self.finish(&entry)?,
                Some(walk) => return walk.step()?.map(Some).map_err(|fault| walk.damage(fault.what())),
            }
        }
        self.fault.clone().map_or(Ok(None), Err)
    }

    /// The segment is read: it must have ended where it was known to end.
    fn finish(&mut self, entry: &PathEntry) -> Result<(), Error> {
        if let Some(walk) = self.walk.take()
            && (walk.at.offset != entry.end.offset || walk.at.crc != entry.end.crc || walk.at.zxid < entry.end.zxid)
        {
            return Err(walk.damage("the segment does not end where the next one continues it"));
        }
        self.path.pop_front();
        Ok(())
    }

    /// The next record of the group in the buffer, whose records were checked when it was read.
    fn next_in_group(&mut self) -> Option<(u64, Range<usize>)> {
        let (zxid, data) = decode_record(self.walk.as_ref()?.buf.get(self.records.clone())?)?;
        let begin = self.records.start + RECORD_HEADER_BYTES;
        let end = begin + data.len();
        self.records.start = end;
        Some((zxid, begin..end))
    }
}

/// A group that was read and checked, with the records in it that were asked for.
#[derive(Debug, Clone, Copy)]
pub struct GroupView<'a> {
    /// The segment file.
    pub file: &'a str,
    /// Where the group begins.
    pub position: LogPosition,
    /// Its header.
    pub header: GroupHeader,
    /// Its bytes with padding.
    pub padded_bytes: usize,
    records: &'a [u8],
    after: u64,
    until: u64,
}

impl<'a> GroupView<'a> {
    /// The group that `walk` has just read, with its records after `after` and up to `until`.
    pub(crate) fn new<R: ReadDisk>(walk: &'a GroupWalk<R>, group: &Group, after: u64, until: u64) -> GroupView<'a> {
        let end = GROUP_HEADER_BYTES + to_usize(group.header.payload_bytes.into());
        GroupView {
            file: &walk.segment.name,
            position: LogPosition { segment: walk.segment.header.seq, offset: group.header.offset },
            header: group.header,
            padded_bytes: group.padded_bytes,
            records: walk.buf.get(GROUP_HEADER_BYTES..end).unwrap_or_default(),
            after,
            until,
        }
    }

    /// Its records, zxid and data, in order. Without those that a truncation has cut, and those that the reader was not asked for.
    pub fn records(&self) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
        let (mut rest, after, until) = (self.records, self.after, self.until);
        let all = std::iter::from_fn(move || {
            let (zxid, data) = decode_record(rest)?;
            rest = rest.get(RECORD_HEADER_BYTES + data.len()..).unwrap_or_default();
            Some((zxid, data))
        });
        all.filter(move |(zxid, _)| *zxid > after && *zxid <= until)
    }
}

/// Where the history must end so that `zxid` is the last that counts: after the group that holds the greatest zxid up
/// to it. `entry` is the last segment whose base is not beyond `zxid`.
pub(crate) fn find_cut<R: ReadDisk>(disk: &R, entry: &PathEntry, zxid: u64) -> Result<End, Error> {
    let mut walk = GroupWalk::open(disk, &entry.segment)?;
    while walk.at.offset < entry.end.offset {
        let before = walk.at;
        let group = walk.step()?.map_err(|fault| walk.damage(fault.what()))?;
        if group.header.kind == GroupKind::Records && group.header.first_zxid > zxid {
            return Ok(End { zxid: before.zxid.min(entry.end.zxid), ..before });
        }
        if walk.at.zxid > zxid {
            let payload = walk.buf.get(GROUP_HEADER_BYTES..).unwrap_or_default();
            return Ok(End { zxid: greatest_up_to(payload, zxid), ..walk.at });
        }
    }
    Ok(End { zxid: walk.at.zxid.min(entry.end.zxid), ..walk.at })
}

/// The greatest zxid up to `zxid` among a group's records, of which the first is not beyond it.
fn greatest_up_to(mut records: &[u8], zxid: u64) -> u64 {
    let mut greatest = 0;
    while let Some((next, data)) = decode_record(records).filter(|(next, _)| *next <= zxid && *next > greatest) {
        greatest = next;
        records = records.get(RECORD_HEADER_BYTES + data.len()..).unwrap_or_default();
    }
    greatest
}
