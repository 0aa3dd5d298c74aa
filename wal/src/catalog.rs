//! Which segment files there are, and which of them make up the history that counts.
//!
//! The history is found backwards: the newest segment of the generation that the control file names is the head; its
//! header says where the segment before ends, and so on. What no link reaches (a generation that was given up, what a
//! truncation cut, a half-done purge) is dead: reported, never read, removed only when asked for.
//!
//! Must never guess: a segment whose header does not read is damage if it could belong to the history. A segment gets
//! its name only after its header is durable, so no crash leaves one without.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Error, Options, ReadDisk, Reader, TornTail,
    closed::Closed,
    format::{Generation, HEADER_BYTES, HeaderFault, SegmentHeader, SegmentIdentity, SegmentSeq},
    scan::{GroupWalk, Tail, scan_head},
};

/// What the segment files say. Made by [`inspect`], which writes nothing.
#[derive(Debug)]
pub struct History {
    /// Oldest first; empty if there is no segment file at all. The last is the head.
    pub(crate) path: Vec<PathEntry>,
    pub(crate) dead: Vec<Arc<Segment>>,
    pub(crate) spares: Vec<String>,
    pub(crate) torn_tail: Option<TornTail>,
    pub(crate) next_seq: SegmentSeq,
    pub(crate) newest_generation: Generation,
}

/// Reads the directory and finds the history of `options.generation`, without writing anything: for tools, and the
/// first half of [`Log::open`](crate::Log::open). Checks every byte of the newest segment, which a start after a clean stop need not; the
/// others are checked by the reader that passes them.
pub fn inspect<R: ReadDisk>(disk: &R, options: &Options) -> Result<History, Error> {
    find_history(disk, options, u64::MAX)
}

/// As [`inspect`], for the start: of what lies behind the end that the note of a clean stop tells of, only so much is read as shows that
/// nobody went on there.
pub(crate) fn inspect_for_start<R: ReadDisk>(disk: &R, options: &Options) -> Result<History, Error> {
    find_history(disk, options, options.bytes_behind_note())
}

fn find_history<R: ReadDisk>(disk: &R, options: &Options, reads_behind: u64) -> Result<History, Error> {
    let closed = Closed::read(disk);
    let (segments, spares) = read_headers(disk)?;
    let newest_generation = segments.values().flatten().map(|s| s.header.generation).max();
    let next_seq = SegmentSeq(segments.keys().next_back().map_or(1, |seq| seq.0 + 1));
    let mut history = History {
        path: Vec::new(),
        dead: Vec::new(),
        spares,
        torn_tail: None,
        next_seq,
        newest_generation: newest_generation.unwrap_or(options.generation),
    };
    if segments.is_empty() {
        return Ok(history);
    }
    let path = walk_back(&segments, options.generation).map_err(|obstacle| obstacle.explain(disk, &segments))?;
    check_owner(&path, options)?;
    let on_path = |segment: &Arc<Segment>| path.iter().any(|live| Arc::ptr_eq(live, segment));
    history.dead = segments.values().flatten().filter(|s| !on_path(s)).cloned().collect();
    let (path, tail) = find_ends(disk, path, closed, reads_behind)?;
    history.path = path;
    match tail {
        Tail::Clean => {}
        Tail::Torn(torn) => history.torn_tail = Some(torn),
        Tail::Damaged(error) => return Err(error),
    }
    Ok(history)
}

/// Gives each segment its end: by the next one's header, and the last one's by reading it ([`scan_head`]).
pub(crate) fn find_ends<R: ReadDisk>(
    disk: &R,
    path: Vec<Arc<Segment>>,
    closed: Option<Closed>,
    reads_behind: u64,
) -> Result<(Vec<PathEntry>, Tail), Error> {
    let Some(head) = path.last() else { return Ok((Vec::new(), Tail::Clean)) };
    let (head_end, tail) = scan_head(disk, head, closed.and_then(|closed| closed.end_of(head)), reads_behind)?;
    let mut ends: Vec<End> = path.iter().skip(1).filter_map(|next| End::before(&next.header)).collect();
    ends.push(head_end);
    assert!(ends.len() == path.len(), "every segment but the first is linked to the one before");
    Ok((path.into_iter().zip(ends).map(|(segment, end)| PathEntry { segment, end }).collect(), tail))
}

impl History {
    /// The last zxid in the history; 0 (or the base) if it holds no record.
    pub fn last_zxid(&self) -> u64 {
        self.path.last().map_or(0, |head| head.end.zxid)
    }

    /// The torn tail that was found and is ignored.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn_tail.as_ref()
    }

    /// The files that make up the history, oldest first, and those that are dead.
    pub fn files(&self) -> (Vec<&str>, Vec<&str>) {
        (
            self.path.iter().map(|entry| entry.segment.name.as_str()).collect(),
            self.dead.iter().map(|segment| segment.name.as_str()).collect(),
        )
    }

    /// Reads the records after `after`.
    pub fn reader<R: ReadDisk>(&self, disk: R, after: u64) -> Result<Reader<R>, Error> {
        Reader::new(disk, &self.path, after)
    }
}

/// A segment file whose header was read. Readers share it; while they do, the file is not recycled.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) header: SegmentHeader,
    pub(crate) crc: u32,
}

impl Segment {
    pub(crate) fn identity(&self) -> SegmentIdentity {
        SegmentIdentity::of(&self.header, self.crc)
    }

    /// Where the groups begin, and the state before the first of them.
    pub(crate) fn begin(&self) -> End {
        End { offset: self.header.block_bytes.into(), crc: self.crc, zxid: self.header.base_zxid }
    }
}

/// Where the part of a segment that counts ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The offset after the last group that counts.
    pub(crate) offset: u64,
    /// That group's crc32c.
    pub(crate) crc: u32,
    /// The last zxid that counts; a truncation may have cut greater ones of the last group.
    pub(crate) zxid: u64,
}

impl End {
    /// The end that a segment's header gives to the segment before it.
    fn before(next: &SegmentHeader) -> Option<End> {
        next.previous.map(|link| End { offset: link.end.offset, crc: link.crc, zxid: next.base_zxid })
    }
}

/// A segment of the history.
#[derive(Debug, Clone)]
pub(crate) struct PathEntry {
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: End,
}

pub(crate) fn segment_name(seq: SegmentSeq) -> String {
    format!("{SEGMENT_PREFIX}{:016x}{SUFFIX}", seq.0)
}

pub(crate) fn spare_name(number: u64) -> String {
    format!("{SPARE_PREFIX}{number:016x}{SUFFIX}")
}

/// The number of a spare's name.
pub(crate) fn spare_number(name: &str) -> Option<u64> {
    number_in(name, SPARE_PREFIX)
}

const SEGMENT_PREFIX: &str = "segment-";
const SPARE_PREFIX: &str = "spare-";
const SUFFIX: &str = ".log";

fn number_in(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(SUFFIX)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

pub(crate) type Headers = BTreeMap<SegmentSeq, Result<Arc<Segment>, Error>>;

/// Reads every segment's header; one that does not read keeps its error until it is known whether it matters.
pub(crate) fn read_headers<R: ReadDisk>(disk: &R) -> Result<(Headers, Vec<String>), Error> {
    let names = disk.list().map_err(|e| Error::io("list", "the log directory", e))?;
    let (mut segments, mut spares) = (Headers::new(), Vec::new());
    for name in names {
        if let Some(seq) = number_in(&name, SEGMENT_PREFIX) {
            segments.insert(SegmentSeq(seq), read_header(disk, name, Some(SegmentSeq(seq))));
        } else if spare_number(&name).is_some() {
            spares.push(name);
        }
    }
    spares.sort();
    Ok((segments, spares))
}

/// Reads a segment's header; `seq` is the number that its name says, if it is to be held to it.
pub(crate) fn read_header<R: ReadDisk>(disk: &R, name: String, seq: Option<SegmentSeq>) -> Result<Arc<Segment>, Error> {
    let damage = |what, offset| Error::Damage { file: name.clone(), offset, after_zxid: 0, what };
    let file = disk.open_read(&name).map_err(|e| Error::io("open", &name, e))?;
    let mut block = vec![0; HEADER_BYTES];
    let got = disk.read_at(&file, 0, &mut block).map_err(|e| Error::io("read", &name, e))?;
    block.truncate(got);
    let (header, crc) = SegmentHeader::decode(&block).map_err(|fault| match fault {
        HeaderFault::Damaged(what) => damage(what, 0),
        HeaderFault::Newer(found) => {
            Error::NewerFormat { file: name.clone(), found, supported: crate::format::FORMAT_VERSION }
        }
    })?;
    if seq.is_some_and(|seq| header.seq != seq) {
        return Err(damage("the segment header is another segment's", 0));
    }
    let bytes = disk.file_bytes(&file).map_err(|e| Error::io("read the size of", &name, e))?;
    let segment = Arc::new(Segment { name, header, crc });
    if bytes < segment.header.segment_bytes {
        let after_zxid = last_good_zxid(disk, &segment);
        let (file, what) = (segment.name.clone(), "the file has been cut short");
        return Err(Error::Damage { file, offset: bytes, after_zxid, what });
    }
    Ok(segment)
}

/// The last zxid before the first fault of a segment; for errors only.
fn last_good_zxid<R: ReadDisk>(disk: &R, segment: &Arc<Segment>) -> u64 {
    let Ok(mut walk) = GroupWalk::open(disk, segment) else { return segment.header.base_zxid };
    while let Ok(Ok(_)) = walk.step() {}
    walk.at.zxid
}

/// What the walk back along the links met.
#[derive(Debug)]
pub(crate) struct Obstacle {
    /// The segment that is in the way, if it is one.
    pub(crate) at: Option<SegmentSeq>,
    /// What is wrong.
    pub(crate) error: Error,
}

impl Obstacle {
    /// The error, with the last zxid before the segment in the way if its header did not tell: it stands in the segment before.
    pub(crate) fn explain<R: ReadDisk>(self, disk: &R, segments: &Headers) -> Error {
        let Some(at) = self.at else { return self.error };
        let before = segments.range(..at).rev().find_map(|(_, segment)| segment.as_ref().ok());
        match self.error {
            Error::Damage { file, offset, after_zxid: 0, what } => {
                let after_zxid = before.map_or(0, |before| last_good_zxid(disk, before));
                Error::Damage { file, offset, after_zxid, what }
            }
            other => other,
        }
    }
}

/// From the newest segment of the generation back along the links; oldest first.
pub(crate) fn walk_back(segments: &Headers, generation: Generation) -> Result<Vec<Arc<Segment>>, Obstacle> {
    let readable = |(seq, entry): (&SegmentSeq, &Result<Arc<Segment>, Error>)| {
        entry.clone().map_err(|error| Obstacle { at: Some(*seq), error })
    };
    let mut path: Vec<Arc<Segment>> = Vec::new();
    for entry in segments.iter().rev() {
        // A newer segment that does not read could have been the head.
        let segment = readable(entry)?;
        if segment.header.generation == generation {
            path.push(segment);
            break;
        }
    }
    let Some(mut current) = path.last().cloned() else {
        let mut found: Vec<Generation> = segments.values().flatten().map(|s| s.header.generation).collect();
        found.dedup();
        return Err(Obstacle { at: None, error: Error::GenerationMissing { expected: generation, found } });
    };
    while let Some(link) = current.header.previous {
        // A segment that is gone was purged: whether too much is gone, `check_owner` sees.
        let Some(previous) = segments.get_key_value(&link.end.segment) else { break };
        let previous = readable(previous)?;
        let block = u64::from(previous.header.block_bytes);
        let in_file = (block..=previous.header.segment_bytes).contains(&link.end.offset);
        if link.end.segment >= current.header.seq || !in_file || !link.end.offset.is_multiple_of(block) {
            let error = Error::Damage {
                file: current.name.clone(),
                offset: 0,
                after_zxid: current.header.base_zxid,
                what: "the header's link to the segment before is impossible",
            };
            return Err(Obstacle { at: Some(current.header.seq), error });
        }
        path.push(previous.clone());
        current = previous;
    }
    path.reverse();
    Ok(path)
}

/// The history must be this ensemble's, and reach back far enough.
fn check_owner(path: &[Arc<Segment>], options: &Options) -> Result<(), Error> {
    for segment in path {
        let found = segment.header.ensemble_id;
        if found != 0 && options.ensemble_id != 0 && found != options.ensemble_id {
            return Err(Error::ForeignEnsemble { file: segment.name.clone(), found, expected: options.ensemble_id });
        }
    }
    let begins_after = path.first().map_or(0, |oldest| oldest.header.base_zxid);
    if begins_after > options.replay_after {
        return Err(Error::HistoryMissing { needed_after: options.replay_after, begins_after });
    }
    Ok(())
}
