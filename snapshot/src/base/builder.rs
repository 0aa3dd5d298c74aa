//! Gathers records into segments and writes these.
//!
//! Owns where a run is cut, and the bytes of a segment. It must never hold more than a few segments and one record in memory. It fails
//! with [`crate::Error`] of the file; `tests/base_round_trip.rs` and `tests/base_memory.rs` would catch a mistake.
//!
//! A stretch of records that is written without a break is cut into segments of nearly the size that was asked for, and what remains
//! at its end into equal parts: so a segment into which little is added grows by up to a quarter before it is cut, and is then cut
//! in halves.

use std::ops::Range;

use proto::Zxid;

use super::layout::{SegmentShape, salt};
use super::lines::{encode_lookup, encode_order};
use super::place::{Place, Run, path_hash};
use super::record::{append_block, block_bytes};
use crate::Result;
use crate::block::ALIGNMENT;
use crate::growing::GrowingFile;

/// A segment of the image that is being written.
#[derive(Debug)]
pub(crate) struct NewSegment {
    pub(crate) shape: SegmentShape,
    /// See `layout`: 0 is the file that is being written.
    pub(crate) file: u32,
    pub(crate) tie: Option<Box<str>>,
}

/// Writes segments into the file.
#[derive(Debug)]
pub(crate) struct SegmentSink {
    pub(crate) file: GrowingFile,
    pub(crate) zxid: Zxid,
    /// The checksum in the file's header.
    pub(crate) header_crc: u32,
    /// Kept for its memory.
    records: Vec<u8>,
}

impl SegmentSink {
    pub(crate) fn new(file: GrowingFile, zxid: Zxid, header_crc: u32) -> SegmentSink {
        SegmentSink { file, zxid, header_crc, records: Vec::new() }
    }

    fn write(&mut self, run: Run, gathered: &[Gathered], arena: &[u8]) -> Result<SegmentShape> {
        let offset = self.file.offset();
        let salt = salt(self.header_crc, offset);
        self.records.clear();
        let part = |range: &Range<usize>| arena.get(range.clone()).unwrap_or_default();
        let mut places = Vec::with_capacity(gathered.len());
        for record in gathered {
            let data = record.data.as_ref().map(part);
            places.push(append_block(&mut self.records, salt, part(&record.archive), data));
        }
        let lookup = match run {
            Run::Nodes => {
                let hashes = gathered.iter().map(|record| record.hash).zip(places.iter().copied());
                encode_lookup(&hashes.collect::<Vec<_>>(), salt)
            }
            Run::Ephemerals | Run::Ttls | Run::Containers => Vec::new(),
        };
        let Ok(lookup_lines) = u32::try_from(lookup.len() / ALIGNMENT) else { panic!("a segment has few lines") };
        let order = encode_order(&places, salt, lookup_lines);
        self.records.resize(self.records.len().next_multiple_of(ALIGNMENT), 0);
        let payload_crc =
            [&order, &self.records].iter().fold(crc32c::crc32c(&lookup), |crc, part| crc32c::crc32c_append(crc, part));
        let (Some(first), Some(last)) = (gathered.first(), gathered.last()) else { panic!("a segment has records") };
        let Ok(records) = u32::try_from(gathered.len()) else { panic!("a segment has at most 2^16 records") };
        let shape = SegmentShape {
            offset,
            first_key: first.key,
            last_key: last.key,
            payload_bytes: (lookup.len() + order.len() + self.records.len()) as u64,
            payload_crc,
            records,
            lookup_lines,
        };
        self.file.append(&shape.encode_header(run, self.zxid))?;
        for part in [&lookup, &order, &self.records] {
            self.file.append(part)?;
        }
        if self.records.capacity() > KEPT_BYTES_MAX {
            // The memory of one huge record is given back.
            self.records = Vec::new();
        }
        self.file.smooth()?;
        Ok(shape)
    }
}

/// Records on their way into the segments of one run.
#[derive(Debug)]
pub(crate) struct RunBuilder {
    run: Run,
    segment_bytes: usize,
    gathered: Vec<Gathered>,
    /// Their bytes in the file.
    gathered_bytes: usize,
    /// Paths, archives and data of what is gathered.
    arena: Vec<u8>,
    segments: Vec<NewSegment>,
}

#[derive(Debug)]
struct Gathered {
    key: u64,
    hash: u64,
    path: Range<usize>,
    archive: Range<usize>,
    data: Option<Range<usize>>,
    bytes: usize,
}

impl RunBuilder {
    pub(crate) fn new(run: Run, segment_bytes: usize) -> RunBuilder {
        let (gathered, arena, segments) = (Vec::new(), Vec::new(), Vec::new());
        RunBuilder { run, segment_bytes, gathered, gathered_bytes: 0, arena, segments }
    }

    /// The segments, when all is written.
    pub(crate) fn into_segments(self) -> Vec<NewSegment> {
        assert!(self.gathered.is_empty(), "a run's records are written when its segments are asked for");
        self.segments
    }

    /// Whether there is something gathered, and so little that it had better be written with the next segment.
    pub(crate) fn has_little(&self) -> bool {
        !self.gathered.is_empty() && self.gathered_bytes < self.segment_bytes / 4
    }

    /// Adds the next record.
    pub(crate) fn push(
        &mut self,
        sink: &mut SegmentSink,
        position: &Place<'_>,
        path: &str,
        archive: &[u8],
        data: Option<&[u8]>,
    ) -> Result<()> {
        let bytes = block_bytes(archive.len(), data.map_or(0, <[u8]>::len));
        if !self.gathered.is_empty() && self.gathered_bytes + bytes > 2 * self.segment_bytes {
            self.write_segment(sink, self.segment_bytes)?;
            // One large record may still stand behind small ones.
            if !self.gathered.is_empty() && self.gathered_bytes + bytes > 2 * self.segment_bytes {
                self.write_all(sink)?;
            }
        }
        let hash = if self.run == Run::Nodes { path_hash(path) } else { 0 };
        let (path, archive) = (self.keep(path.as_bytes()), self.keep(archive));
        let data = data.map(|data| self.keep(data));
        self.gathered.push(Gathered { key: position.key, hash, path, archive, data, bytes });
        self.gathered_bytes += bytes;
        Ok(())
    }

    /// Writes what is gathered, in equal parts.
    pub(crate) fn write_all(&mut self, sink: &mut SegmentSink) -> Result<()> {
        while !self.gathered.is_empty() {
            let fits = self.gathered_bytes <= self.segment_bytes + self.segment_bytes / 4;
            let parts = if fits { 1 } else { self.gathered_bytes.div_ceil(self.segment_bytes) };
            self.write_segment(sink, self.gathered_bytes.div_ceil(parts))?;
        }
        Ok(())
    }

    /// Adds a segment that stays where it is, after what is gathered.
    pub(crate) fn carry(
        &mut self,
        sink: &mut SegmentSink,
        shape: SegmentShape,
        file: u32,
        tie: Option<&str>,
    ) -> Result<()> {
        self.write_all(sink)?;
        let is_tied = self.segments.last().is_some_and(|before| before.shape.last_key == shape.first_key);
        assert!(!is_tied || tie.is_some(), "a segment without a tie holds everything from its first key on");
        let tie = if is_tied { tie.map(Into::into) } else { None };
        self.segments.push(NewSegment { shape, file, tie });
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        start..self.arena.len()
    }

    /// Writes a segment of the first of what is gathered: up to `bytes`, at least one record.
    fn write_segment(&mut self, sink: &mut SegmentSink, bytes: usize) -> Result<()> {
        let mut taken = 0;
        let fits = |record: &&Gathered| {
            let fits = taken == 0 || taken + record.bytes <= bytes;
            taken += record.bytes;
            fits
        };
        let count = self.gathered.iter().take_while(fits).count();
        let (first, rest) = self.gathered.split_at(count);
        let shape = sink.write(self.run, first, &self.arena)?;
        let is_tied = self.segments.last().is_some_and(|before| before.shape.last_key == shape.first_key);
        let path = first.first().and_then(|record| self.arena.get(record.path.clone()));
        let tie = path.filter(|_| is_tied).and_then(|path| std::str::from_utf8(path).ok()).map(Into::into);
        self.segments.push(NewSegment { shape, file: 0, tie });
        // What remains moves to the front, so that the memory does not grow with the run.
        let start = rest.first().map_or(self.arena.len(), |record| record.path.start);
        self.gathered.drain(..count);
        self.arena.drain(..start);
        for Gathered { path, archive, data, .. } in &mut self.gathered {
            for range in [Some(path), Some(archive), data.as_mut()].into_iter().flatten() {
                *range = range.start - start..range.end - start;
            }
        }
        self.gathered_bytes = self.gathered.iter().map(|record| record.bytes).sum();
        if self.gathered.is_empty() && self.arena.capacity() > KEPT_BYTES_MAX {
            self.arena = Vec::new();
        }
        Ok(())
    }
}

/// Memory that is kept from segment to segment.
const KEPT_BYTES_MAX: usize = 4 << 20;
