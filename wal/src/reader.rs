//! Reads records in order, from the base or from any zxid, up to where the log was durable when the reader was made.
//!
//! Holds one group in memory. Checks everything that it passes: checksum, chain, order, and that each segment ends
//! exactly where the next one's header says; anything else is [`Error::Damage`], since all that a reader is given was
//! durable. May run on another thread than the log: while it lives, its segments are not recycled.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use crate::{
    Error, ReadDisk,
    catalog::{End, PathEntry, Segment},
    format::{GROUP_HEADER_BYTES, GroupKind, RECORD_HEADER_BYTES, decode_record, to_usize},
    scan::{damage, follow, read_group},
};

/// A stream of records in zxid order.
#[derive(Debug)]
pub struct Reader<R: ReadDisk> {
    disk: R,
    /// Segments still to be read; the front one is open.
    path: VecDeque<PathEntry>,
    file: Option<R::File>,
    /// After the group in `buf`.
    at: End,
    buf: Vec<u8>,
    /// Records of the group in `buf` that were not yet given out.
    records: Range<usize>,
    after: u64,
    last_zxid: u64,
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
        let at = End { offset: 0, crc: 0, zxid: 0 };
        Ok(Reader { disk, path, file: None, at, buf: Vec::new(), records: 0..0, after, last_zxid })
    }

    /// The last zxid that this reader will give out (if it is beyond the position from which it reads).
    pub fn last_zxid(&self) -> u64 {
        self.last_zxid
    }

    /// The next record, `None` at the end. After an error the reader must not be used further.
    pub fn next_record(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        while let Some(entry) = self.path.front().cloned() {
            if let Some((zxid, data)) = self.next_in_group() {
                if zxid > self.after && zxid <= entry.end.zxid {
                    return Ok(self.buf.get(data).map(|data| (zxid, data)));
                }
            } else if self.file.is_none() {
                self.open(&entry.segment)?;
            } else if self.at.offset >= entry.end.offset {
                self.finish(&entry)?;
            } else {
                self.read_next_group(&entry)?;
            }
        }
        Ok(None)
    }

    fn open(&mut self, segment: &Arc<Segment>) -> Result<(), Error> {
        self.file = Some(self.disk.open_read(&segment.name).map_err(|e| Error::io("open", &segment.name, e))?);
        self.at = segment.begin();
        Ok(())
    }

    /// The segment is read: it must have ended where it was known to end.
    fn finish(&mut self, entry: &PathEntry) -> Result<(), Error> {
        if self.at.offset != entry.end.offset || self.at.crc != entry.end.crc || self.at.zxid < entry.end.zxid {
            return Err(damage(&entry.segment, &self.at, "the segment does not end where the next one continues it"));
        }
        self.path.pop_front();
        self.file = None;
        Ok(())
    }

    fn read_next_group(&mut self, entry: &PathEntry) -> Result<(), Error> {
        let file = self.file.as_ref().expect("the segment was opened before");
        let group = read_group(&self.disk, file, &entry.segment, self.at.offset, &mut self.buf)?
            .map_err(|fault| damage(&entry.segment, &self.at, fault.what()))?;
        self.at = follow(&entry.segment, &self.at, &group)?;
        if group.header.kind == GroupKind::Records {
            self.records = GROUP_HEADER_BYTES..GROUP_HEADER_BYTES + to_usize(group.header.payload_bytes.into());
        }
        Ok(())
    }

    /// The next record of the group in the buffer, whose records were checked when it was read.
    fn next_in_group(&mut self) -> Option<(u64, Range<usize>)> {
        let (zxid, data) = decode_record(self.buf.get(self.records.clone())?)?;
        let begin = self.records.start + RECORD_HEADER_BYTES;
        let end = begin + data.len();
        self.records.start = end;
        Some((zxid, begin..end))
    }
}

/// Where the history must end so that `zxid` is the last that counts: after the group that holds the greatest zxid up
/// to it. `entry` is the last segment whose base is not beyond `zxid`.
pub(crate) fn find_cut<R: ReadDisk>(disk: &R, entry: &PathEntry, zxid: u64) -> Result<End, Error> {
    let segment = &entry.segment;
    let file = disk.open_read(&segment.name).map_err(|e| Error::io("open", &segment.name, e))?;
    let mut at = segment.begin();
    let mut buf = Vec::new();
    while at.offset < entry.end.offset {
        let group = read_group(disk, &file, segment, at.offset, &mut buf)?
            .map_err(|fault| damage(segment, &at, fault.what()))?;
        if group.header.kind == GroupKind::Records && group.header.first_zxid > zxid {
            break;
        }
        at = follow(segment, &at, &group)?;
        if at.zxid > zxid {
            let payload = buf.get(GROUP_HEADER_BYTES..).unwrap_or_default();
            return Ok(End { zxid: greatest_up_to(payload, zxid), ..at });
        }
    }
    Ok(End { zxid: at.zxid.min(entry.end.zxid), ..at })
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
