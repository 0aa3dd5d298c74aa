//! Merges one run of the base with its changes.
//!
//! Owns the way through the base's segments: what is carried over is passed by, what is not is read record by record. It must never
//! lose a record of the base that did not change, nor write one that did, nor sum up anew what was not just checked, which would put a right
//! sum over wrong bytes: what is pushed are checked copies. It fails with [`crate::Error::Damaged`] of the base and
//! errors of the new file; `tests/base_round_trip.rs` and `tests/base_changes.rs` would catch a mistake.

use rkyv::util::AlignedVec;

use super::builder::{NewSegment, RunBuilder, SegmentSink};
use super::place::{Place, Run};
use super::plan::Carried;
use super::record::Record;
use super::segment::{SegmentView, SegmentWalk};
use crate::Result;

/// A run on its way into the next image.
#[derive(Debug)]
pub(crate) struct RunMerge<'b> {
    run: Run,
    builder: RunBuilder,
    /// The segment that is being read.
    open: Option<Open<'b>>,
    /// The next segment of the base that was neither carried over nor opened.
    next: usize,
    /// A copy of a record's data. Kept for its memory.
    data: Vec<u8>,
}

#[derive(Debug)]
struct Open<'b> {
    view: SegmentView<'b>,
    walk: SegmentWalk<'b>,
    /// The next record.
    record: Option<Record<'b>>,
}

impl<'b> Open<'b> {
    fn new(view: SegmentView<'b>) -> Result<Open<'b>> {
        let mut open = Open { view, walk: view.walk(), record: None };
        open.step()?;
        Ok(open)
    }

    fn step(&mut self) -> Result<()> {
        let mut memory = self.record.take().map_or_else(AlignedVec::new, Record::into_memory);
        self.record = self.walk.next(&mut memory)?;
        Ok(())
    }
}

impl<'b> RunMerge<'b> {
    pub(crate) fn new(run: Run, segment_bytes: usize) -> RunMerge<'b> {
        RunMerge { run, builder: RunBuilder::new(run, segment_bytes), open: None, next: 0, data: Vec::new() }
    }

    /// Brings over what the base has before `place`, and takes out what it has there, which is returned.
    pub(crate) fn take(
        &mut self,
        sink: &mut SegmentSink,
        carried: &Carried<'b>,
        place: &Place<'_>,
    ) -> Result<Option<Record<'b>>> {
        self.advance(sink, carried, Some(place))?;
        assert!(self.open.is_some() || self.next == 0, "the plan was told of every change");
        let Some(open) = &mut self.open else { return Ok(None) };
        if open.record.as_ref().is_none_or(|record| record.position() != *place) {
            return Ok(None);
        }
        let found = open.record.take();
        open.step()?;
        Ok(found)
    }

    /// Adds a record at the place that was taken last.
    pub(crate) fn put(
        &mut self,
        sink: &mut SegmentSink,
        position: &Place<'_>,
        path: &str,
        archive: &[u8],
        data: Option<&[u8]>,
    ) -> Result<()> {
        self.builder.push(sink, position, path, archive, data)
    }

    /// Brings over all that remains.
    pub(crate) fn finish(mut self, sink: &mut SegmentSink, carried: &Carried<'b>) -> Result<Vec<NewSegment>> {
        self.advance(sink, carried, None)?;
        self.builder.write_all(sink)?;
        Ok(self.builder.into_segments())
    }

    /// Up to the place, or to the end.
    fn advance(&mut self, sink: &mut SegmentSink, carried: &Carried<'b>, to: Option<&Place<'_>>) -> Result<()> {
        loop {
            if self.copy_records(sink, to)? {
                return Ok(());
            }
            let segment = carried.base.and_then(|base| Some((base, base.run(self.run).segments().get(self.next)?)));
            let Some((base, segment)) = segment else { return Ok(()) };
            // What lies before the first segment goes into it.
            if self.next > 0 && to.is_some_and(|place| segment.start(self.run) > *place) {
                return Ok(());
            }
            match carried.file_of(self.run, self.next) {
                Some(file) if !self.builder.has_little() => {
                    self.builder.carry(sink, segment.shape, file, segment.tie.as_deref())?;
                    self.open = None;
                }
                _ => self.open = Some(Open::new(base.view_in_turn(self.run, self.next)?)?),
            }
            self.next += 1;
        }
    }

    /// Copies the records of the opened segment that lie before the place; whether one remains.
    fn copy_records(&mut self, sink: &mut SegmentSink, to: Option<&Place<'_>>) -> Result<bool> {
        let Some(open) = &mut self.open else { return Ok(false) };
        while let Some(record) = &open.record {
            let position = record.position();
            if to.is_some_and(|place| position >= *place) {
                return Ok(true);
            }
            let block = record.block();
            self.data.clear();
            block.append_data(&mut self.data).map_err(|what| open.view.damaged_record(record.place(), what))?;
            let data = if block.is_null() { None } else { Some(self.data.as_slice()) };
            self.builder.push(sink, &position, record.path(), block.archive(), data)?;
            open.step()?;
        }
        Ok(false)
    }
}
