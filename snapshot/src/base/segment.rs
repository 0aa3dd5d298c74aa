//! A segment, read in place: look-up by path, and records by their number.
//!
//! Owns what is between a segment's bytes and its records. It must never give out a record that it has not checked just then. It
//! fails with [`Error::Damaged`], which names the segment and the place within it; `tests/base_flips.rs` would catch a mistake.

use proto::Zxid;
use rkyv::util::AlignedVec;

use super::file::MappedFile;
use super::layout::{SEGMENT_HEADER_BYTES, SegmentShape};
use super::lines::{LINE_BYTES, LookupLine, ORDER_ENTRIES, OrderLine, line_and_tag, order_lines};
use super::place::{Place, Run, path_hash};
use super::record::{PLACE_BYTES, Record};
use crate::block::{ALIGNMENT, BlockReader, bytes_at};
use crate::{Damage, Error, Result};

/// A segment in the opened directory.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) shape: SegmentShape,
    pub(crate) salt: u32,
    /// Which of the base's files.
    pub(crate) file: usize,
    /// See `layout`.
    pub(crate) tie: Option<Box<str>>,
}

impl Segment {
    /// Where its first record lies, or before: everything from there on, up to the next segment's start, is in it.
    pub(crate) fn start(&self, run: Run) -> Place<'_> {
        match &self.tie {
            Some(path) => run.place(self.shape.first_key, path),
            None => Place { key: self.shape.first_key, head: "", tail: "" },
        }
    }
}

/// A segment of a mapped file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentView<'b> {
    file: &'b MappedFile,
    segment: &'b Segment,
    run: Run,
    /// Its number in the run, for errors.
    number: usize,
    /// The zxid of the image that is read.
    zxid: Zxid,
    lookup: &'b [[u8; LINE_BYTES]],
    order: &'b [[u8; LINE_BYTES]],
    records: &'b [u8],
}

impl<'b> SegmentView<'b> {
    /// The segment's parts; none of its bytes is read.
    pub(crate) fn new(
        file: &'b MappedFile,
        segment: &'b Segment,
        run: Run,
        number: usize,
        zxid: Zxid,
    ) -> Result<SegmentView<'b>> {
        let view = SegmentView { file, segment, run, number, zxid, lookup: &[], order: &[], records: &[] };
        let shape = &segment.shape;
        let parts = || {
            let start = shape.offset.checked_add(SEGMENT_HEADER_BYTES as u64)?;
            let payload = bytes_at(file.map(), start, shape.payload_bytes).ok()?;
            let (lookup, rest) = payload.split_at_checked((shape.lookup_lines as usize).checked_mul(LINE_BYTES)?)?;
            let (order, records) = rest.split_at_checked(order_lines(shape.records as usize) * LINE_BYTES)?;
            Some(SegmentView { lookup: lookup.as_chunks().0, order: order.as_chunks().0, records, ..view })
        };
        parts().ok_or_else(|| view.damaged(0, Damage::Field("the segment's length")))
    }

    #[cfg(test)]
    pub(crate) fn records_and_salt(&self) -> (&'b [u8], u32) {
        (self.records, self.segment.salt)
    }

    /// How many records it has.
    pub(crate) fn len(&self) -> usize {
        self.segment.shape.records as usize
    }

    /// The record at this path, which hashes to `hash`.
    pub(crate) fn find(&self, path: &str, hash: u64) -> Result<Option<Record<'b>>> {
        let count = self.segment.shape.lookup_lines;
        let (mut number, tag) = line_and_tag(hash, count);
        for _ in 0..count {
            let line = self.lookup_line(number)?;
            for place in line.places(tag) {
                let record = self.record(place, AlignedVec::new())?;
                if record.path() == path {
                    return Ok(Some(record));
                }
            }
            if !line.overflows() {
                return Ok(None);
            }
            number = if number + 1 == count { 0 } else { number + 1 };
        }
        Ok(None)
    }

    /// Its records in the run's order.
    pub(crate) fn walk(self) -> SegmentWalk<'b> {
        SegmentWalk { view: self, next: 0, line: None }
    }

    /// As [`SegmentView::walk`], from the first record on that does not lie before `place`.
    pub(crate) fn walk_from(self, place: &Place<'_>) -> Result<SegmentWalk<'b>> {
        let mut memory = AlignedVec::new();
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let line = self.order_line(middle / ORDER_ENTRIES)?;
            let record = self.record(line.place(middle % ORDER_ENTRIES), memory)?;
            if record.position() < *place {
                low = middle + 1
            } else {
                high = middle
            }
            memory = record.into_memory();
        }
        Ok(SegmentWalk { view: self, next: low, line: None })
    }

    /// The error for damage at an offset within the payload.
    pub(crate) fn damaged(&self, offset: usize, what: Damage) -> Error {
        let segment_offset = self.segment.shape.offset;
        Error::Damaged {
            file: self.file.path().to_path_buf(),
            offset: segment_offset.saturating_add((SEGMENT_HEADER_BYTES + offset) as u64),
            zxid: Some(self.zxid),
            segment: u32::try_from(self.number).ok(),
            what,
        }
    }

    /// The error for damage of a record, or of its data.
    pub(crate) fn damaged_record(&self, place: u16, what: Damage) -> Error {
        self.damaged(self.records_offset() + usize::from(place) * PLACE_BYTES, what)
    }

    /// The path in the record that begins at this offset of the file; `None` where none does, or where it does not read.
    pub(crate) fn path_at(&self, offset: u64) -> Option<Box<str>> {
        let before = self.segment.shape.offset + (SEGMENT_HEADER_BYTES + self.records_offset()) as u64;
        let place = offset.checked_sub(before).filter(|at| at.is_multiple_of(PLACE_BYTES as u64))? / PLACE_BYTES as u64;
        self.record(u16::try_from(place).ok()?, AlignedVec::new()).ok().map(|record| record.path().into())
    }

    /// Checks every byte of the segment with the sum over all of it, and its header.
    pub(crate) fn check_whole(&self) -> Result<()> {
        let (shape, map) = (&self.segment.shape, self.file.map());
        let header = bytes_at(map, shape.offset, SEGMENT_HEADER_BYTES as u64);
        let header = header.map_err(|what| self.damaged(0, what))?;
        self.check_header(header)?;
        let payload = bytes_at(map, shape.offset + SEGMENT_HEADER_BYTES as u64, shape.payload_bytes);
        let computed = crc32c::crc32c(payload.map_err(|what| self.damaged(0, what))?);
        self.check_payload_crc(computed)
    }

    /// That this is the header of the segment as the directory has it.
    pub(crate) fn check_header(&self, header: &[u8]) -> Result<()> {
        let shape = &self.segment.shape;
        if header == shape.encode_header(self.run, self.file.header().zxid) {
            return Ok(());
        }
        let what = BlockReader::open(header).err();
        let what = what.unwrap_or(Damage::Field("the segment's header as the directory has it"));
        let file = self.file.path().to_path_buf();
        let segment = u32::try_from(self.number).ok();
        Err(Error::Damaged { file, offset: shape.offset, zxid: Some(self.zxid), segment, what })
    }

    /// That the payload has this sum.
    pub(crate) fn check_payload_crc(&self, computed: u32) -> Result<()> {
        let found = self.segment.shape.payload_crc;
        if found == computed { Ok(()) } else { Err(self.damaged(0, Damage::Checksum { found, computed })) }
    }

    /// Checks that the lines list the records that are there, in their order, one behind the other: all that the sums cannot tell.
    /// Gives each record to `each`.
    pub(crate) fn check_records(&self, mut each: impl FnMut(&Record<'b>) -> Result<()>) -> Result<()> {
        let mut end = 0;
        let mut last: Option<Record<'b>> = None;
        let mut data = Vec::new();
        let mut walk = self.walk();
        while let Some(record) = walk.next(&mut AlignedVec::new())? {
            let (place, block, position) = (record.place(), record.block(), record.position());
            let damaged = |what| self.damaged_record(place, Damage::Field(what));
            data.clear();
            block.append_data(&mut data).map_err(|what| self.damaged_record(place, what))?;
            if usize::from(place) * PLACE_BYTES != end || !block.padding_is_zero(self.records, place) {
                return Err(damaged("that the records lie one behind the other"));
            }
            end += block.bytes();
            let follows = last.as_ref().is_none_or(|last| last.position() < position);
            if !follows || position < self.segment.start(self.run) {
                return Err(damaged("the order of the records"));
            }
            if self.run == Run::Nodes {
                let path = record.path();
                let found = self.find(path, path_hash(path))?;
                if found.is_none_or(|found| found.place() != place) {
                    return Err(damaged("that the look-up lines find the record"));
                }
            }
            if last.is_none() && position.key != self.segment.shape.first_key {
                return Err(damaged("the segment's first key"));
            }
            each(&record)?;
            last = Some(record);
        }
        if last.map(|last| last.position().key) != Some(self.segment.shape.last_key) {
            return Err(self.damaged(0, Damage::Field("the segment's last key")));
        }
        let padding = self.records.get(end..).unwrap_or_default();
        if padding.len() >= ALIGNMENT || padding.iter().any(|&byte| byte != 0) {
            return Err(self.damaged(self.records_offset() + end, Damage::Field("the padding of the segment")));
        }
        Ok(())
    }

    #[inline]
    fn record(&self, place: u16, memory: AlignedVec) -> Result<Record<'b>> {
        let record = Record::open(self.records, self.segment.salt, place, self.run, memory);
        record.map_err(|what| self.damaged_record(place, what))
    }

    fn order_line(&self, number: usize) -> Result<OrderLine> {
        let among_all = self.lookup.len() + number;
        let line = self.order.get(number).ok_or(Damage::Field("the count of order lines"));
        let numbered = u32::try_from(among_all).unwrap_or(u32::MAX);
        line.and_then(|line| OrderLine::open(line, self.segment.salt, numbered))
            .map_err(|what| self.damaged(among_all * LINE_BYTES, what))
    }

    fn lookup_line(&self, number: u32) -> Result<LookupLine> {
        let line = self.lookup.get(number as usize).ok_or(Damage::Field("the count of look-up lines"));
        line.and_then(|line| LookupLine::open(line, self.segment.salt, number))
            .map_err(|what| self.damaged(number as usize * LINE_BYTES, what))
    }

    fn records_offset(&self) -> usize {
        (self.lookup.len() + self.order.len()) * LINE_BYTES
    }
}

/// The records of a segment, one after the other.
#[derive(Debug)]
pub(crate) struct SegmentWalk<'b> {
    view: SegmentView<'b>,
    /// The number of the next record, counted from 0 in the run's order.
    next: usize,
    /// The order line in which the last one stood, and its number.
    line: Option<(usize, OrderLine)>,
}

impl<'b> SegmentWalk<'b> {
    /// The next record, for which it takes this memory; `None` after the last one.
    pub(crate) fn next(&mut self, memory: &mut AlignedVec) -> Result<Option<Record<'b>>> {
        if self.next >= self.view.len() {
            return Ok(None);
        }
        let number = self.next / ORDER_ENTRIES;
        let line = match &self.line {
            Some((opened, line)) if *opened == number => line,
            _ => &self.line.insert((number, self.view.order_line(number)?)).1,
        };
        let record = self.view.record(line.place(self.next % ORDER_ENTRIES), std::mem::take(memory))?;
        self.next += 1;
        Ok(Some(record))
    }
}
