//! Reads an image bit by bit in the background, so that rot is found before a reader meets it.
//!
//! Owns the walk over the live segments of all files. It reads beside the mapping: a read error is an error there and no fault, and
//! what it brought into the page cache it drops again. It must never pass over a segment that the image uses. It fails with
//! [`crate::Error`]; `tests/base_scrub.rs` would catch a mistake.

use std::sync::Arc;

use super::layout::SEGMENT_HEADER_BYTES;
use super::place::Run;
use super::reader::Base;
use super::resident;
use crate::Result;

/// A walk over an image's segments.
#[derive(Debug)]
pub struct Scrub {
    base: Arc<Base>,
    run: Run,
    /// The next segment of the run.
    next: usize,
    progress: ScrubProgress,
    /// In which file, and since where, nothing was in memory before the walk read it. What readers bring in meanwhile is mapped, and a mapped
    /// page is not dropped.
    brought_in: Option<BroughtIn>,
}

#[derive(Debug, Clone, Copy)]
struct BroughtIn {
    file: usize,
    from: u64,
    until: u64,
}

/// How far a [`Scrub`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubProgress {
    /// Bytes of segments that have been read and are good.
    pub checked_bytes: u64,
    /// Bytes of segments that the image uses.
    pub total_bytes: u64,
}

impl ScrubProgress {
    /// Whether all has been read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.checked_bytes == self.total_bytes
    }
}

impl Scrub {
    /// A walk that begins at the first segment.
    #[must_use]
    pub fn new(base: Arc<Base>) -> Scrub {
        let total_bytes = base.files().iter().map(|file| file.live_bytes).sum();
        let progress = ScrubProgress { checked_bytes: 0, total_bytes };
        Scrub { base, run: Run::Nodes, next: 0, progress, brought_in: None }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> ScrubProgress {
        self.progress
    }

    /// Reads segments until `bytes_max` have been read, at least one. After an error it stands before the same segment again.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`], [`crate::Error::Io`].
    pub fn step(&mut self, bytes_max: u64) -> Result<ScrubProgress> {
        let until = self.progress.checked_bytes.saturating_add(bytes_max.max(1));
        while self.progress.checked_bytes < until {
            if self.next >= self.base.run(self.run).segments().len() {
                let Some(run) = Run::ALL.get(self.run.number() + 1) else { break };
                (self.run, self.next) = (*run, 0);
                continue;
            }
            self.progress.checked_bytes += check_segment(&self.base, self.run, self.next, &mut self.brought_in)?;
            self.next += 1;
        }
        Ok(self.progress)
    }
}

/// Reads one segment; returns its bytes.
fn check_segment(base: &Base, run: Run, number: usize, brought_in: &mut Option<BroughtIn>) -> Result<u64> {
    let view = base.view(run, number)?;
    let segment = base.run(run).segments().get(number);
    let Some((segment, file)) = segment.and_then(|segment| Some((segment, base.mapped().get(segment.file)?))) else {
        panic!("a segment lies in one of the files")
    };
    let (offset, bytes) = (segment.shape.offset, segment.shape.frame_bytes());
    let before = brought_in.filter(|before| before.file == segment.file && before.until == offset);
    // The page that it shares with the segment before may be there by that one.
    let was_absent = resident::of_range(file, offset, bytes)?.there <= u64::from(before.is_some());
    let mut header = Vec::with_capacity(SEGMENT_HEADER_BYTES);
    let mut payload_crc = 0;
    let read = resident::read_through(file, offset, bytes, &mut |piece| {
        let missing = (SEGMENT_HEADER_BYTES - header.len()).min(piece.len());
        let (of_header, of_payload) = piece.split_at(missing);
        header.extend_from_slice(of_header);
        payload_crc = crc32c::crc32c_append(payload_crc, of_payload);
    });
    let from = before.map_or(offset, |before| before.from);
    *brought_in = was_absent.then_some(BroughtIn { file: segment.file, from, until: offset + bytes });
    if let Some(BroughtIn { from, until, .. }) = *brought_in {
        // From a little before: a larger piece goes once all of it may.
        let from = from.max(offset.saturating_sub(BEFORE_BYTES));
        resident::drop_range(file, from, until - from);
    }
    read?;
    view.check_header(&header)?;
    view.check_payload_crc(payload_crc)?;
    Ok(bytes)
}

/// Two of the largest pieces in which the kernel keeps pages.
const BEFORE_BYTES: u64 = 4 << 20;
