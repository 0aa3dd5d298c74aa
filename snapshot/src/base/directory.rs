//! The opened directory: which segment holds a place.
//!
//! Owns the segments of all runs in memory. It must never let one pass that does not lie within its file, overlaps another, or breaks
//! the order: look-ups rely on it. It fails with [`Damage`]; `tests/base_flips.rs` would catch a mistake.

use super::file::MappedFile;
use super::layout::{DIRECTORY_ENTRY_BYTES, DirectoryEntry, Footer, PARTS, PartPlace, salt};
use super::place::{Place, Run, parent_key};
use super::segment::Segment;
use crate::Damage;
use crate::block::{ALIGNMENT, padded};
use crate::header::HEADER_BYTES;

/// The segments of one run, in its order.
#[derive(Debug)]
pub(crate) struct RunSegments {
    run: Run,
    segments: Vec<Segment>,
    /// For the high bits of a key, how many segments begin below keys with these: so a search begins where it nearly ends.
    below: Vec<u32>,
    shift: u32,
}

impl RunSegments {
    /// All of them.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment where a record at this place is, if it is there at all; `None` if it would lie before the first.
    pub(crate) fn containing(&self, place: &Place<'_>) -> Option<usize> {
        let bucket = usize::try_from(place.key.checked_shr(self.shift).unwrap_or(0)).unwrap_or(usize::MAX);
        let below = |bucket: usize| self.below.get(bucket).map_or(self.segments.len(), |&below| below as usize);
        let (low, high) = (below(bucket), below(bucket.saturating_add(1)));
        let near = self.segments.get(low..high).unwrap_or_default();
        let starts = low + near.partition_point(|segment| segment.start(self.run) <= *place);
        starts.checked_sub(1)
    }

    fn new(run: Run, segments: Vec<Segment>) -> RunSegments {
        // About a bucket a segment; a single one for runs whose keys are not spread.
        let bits = match run {
            Run::Nodes => segments.len().next_power_of_two().ilog2(),
            Run::Ephemerals | Run::Ttls | Run::Containers => 0,
        };
        let shift = u64::BITS - bits;
        let start_of = |bucket: u64| bucket.checked_shl(shift).unwrap_or(0);
        let below = |bucket| segments.partition_point(|segment| segment.shape.first_key < start_of(bucket));
        let below = (0..1_u64 << bits).map(|bucket| u32::try_from(below(bucket)).unwrap_or(u32::MAX)).collect();
        RunSegments { run, segments, below, shift }
    }
}

/// Reads the directory of `files[0]`; its checksum and that of the ties have held.
pub(crate) fn decode(
    directory: &[u8],
    ties: &[u8],
    footer: &Footer,
    files: &[&MappedFile],
) -> Result<[RunSegments; 4], Damage> {
    let (entries, rest) = directory.as_chunks::<DIRECTORY_ENTRY_BYTES>();
    let counted = footer.segments.iter().try_fold(0_u64, |sum, &count| sum.checked_add(count));
    if counted != Some(entries.len() as u64) || !rest.is_empty() {
        return Err(Damage::Field("the count of segments"));
    }
    let mut decoder = Decoder { files, ends: vec![HEADER_BYTES as u64; files.len()], ties, ties_used: 0 };
    let mut entries = entries.iter();
    let mut runs = Vec::with_capacity(Run::ALL.len());
    for run in Run::ALL {
        let count = footer.segments.get(run.number()).copied().unwrap_or(0);
        let mut segments: Vec<Segment> = Vec::with_capacity(usize::try_from(count).unwrap_or(0).min(entries.len()));
        for entry in entries.by_ref().take(usize::try_from(count).unwrap_or(usize::MAX)) {
            let segment = decoder.segment(run, entry, segments.last())?;
            segments.push(segment);
        }
        check_count(run, &segments, footer)?;
        runs.push(RunSegments::new(run, segments));
    }
    let segments_end = |file: &&MappedFile| segments_end(file.footer());
    if decoder.ends.first().copied() != files.first().map(segments_end) {
        return Err(Damage::Field("that the file's segments fill it"));
    }
    if decoder.ties_used != ties.len() {
        return Err(Damage::Field("the length of the ties"));
    }
    runs.try_into().map_err(|_| Damage::Field("the count of runs"))
}

/// The count of records in a run, where the footer has it.
fn check_count(run: Run, segments: &[Segment], footer: &Footer) -> Result<(), Damage> {
    let counted = segments.iter().map(|segment| u64::from(segment.shape.records)).sum::<u64>();
    let expected = match run {
        Run::Nodes => footer.totals.node_count,
        Run::Ephemerals => footer.totals.ephemeral_count,
        Run::Ttls | Run::Containers => counted,
    };
    if counted == expected { Ok(()) } else { Err(run.miscounted()) }
}

/// What was decoded so far.
#[derive(Debug)]
struct Decoder<'f> {
    files: &'f [&'f MappedFile],
    /// Of each file, where the last segment that was met ends.
    ends: Vec<u64>,
    ties: &'f [u8],
    ties_used: usize,
}

impl Decoder<'_> {
    fn segment(
        &mut self,
        run: Run,
        entry: &[u8; DIRECTORY_ENTRY_BYTES],
        before: Option<&Segment>,
    ) -> Result<Segment, Damage> {
        let entry = DirectoryEntry::decode(entry)?;
        let shape = entry.shape;
        let file = entry.file as usize;
        let (Some(mapped), Some(end)) = (self.files.get(file), self.ends.get_mut(file)) else {
            return Err(Damage::Field("the file of a segment"));
        };
        let segment_end = shape.offset.checked_add(shape.frame_bytes());
        let follows = if file == 0 { shape.offset == *end } else { shape.offset >= *end };
        let fits = segment_end.is_some_and(|end| end <= segments_end(mapped.footer()));
        let aligned = padded(shape.offset) == shape.offset && shape.payload_bytes.is_multiple_of(ALIGNMENT as u64);
        let (true, true, true, Some(segment_end)) = (follows, fits, aligned, segment_end) else {
            return Err(Damage::Field("the place of a segment"));
        };
        *end = segment_end;
        if shape.records == 0 || (shape.lookup_lines == 0) == (run == Run::Nodes) {
            return Err(Damage::Field("the count of records or look-up lines of a segment"));
        }
        let is_tied = before.is_some_and(|before| before.shape.last_key == shape.first_key);
        let keys_before = before.map_or(0, |before| before.shape.last_key);
        if shape.first_key > shape.last_key || keys_before > shape.first_key || is_tied != (entry.tie_bytes != 0) {
            return Err(Damage::Field("the keys of a segment"));
        }
        let tie = if is_tied { Some(self.tie(run, &entry)?) } else { None };
        let salt = salt(mapped.identity().header_crc, shape.offset);
        let segment = Segment { shape, salt, file, tie };
        if before.is_some_and(|before| before.start(run) >= segment.start(run)) {
            return Err(Damage::Field("the order of the segments"));
        }
        Ok(segment)
    }

    fn tie(&mut self, run: Run, entry: &DirectoryEntry) -> Result<Box<str>, Damage> {
        let bad = Damage::Field("the ties");
        let end = self.ties_used.checked_add(entry.tie_bytes as usize).ok_or(bad)?;
        let tie = self.ties.get(self.ties_used..end).filter(|_| self.ties_used == entry.tie_offset as usize);
        let tie = tie.and_then(|tie| std::str::from_utf8(tie).ok()).ok_or(bad)?;
        self.ties_used = end;
        // Elsewhere the key does not follow from the path.
        if run == Run::Nodes && parent_key(super::place::split(tie).0) != entry.shape.first_key {
            return Err(bad);
        }
        Ok(tie.into())
    }
}

/// Where the last segment of a file ends.
fn segments_end(footer: &Footer) -> u64 {
    let parts: &[PartPlace; PARTS] = &footer.parts;
    let [first, ..] = parts;
    first.offset
}
