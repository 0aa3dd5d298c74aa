//! A log opened for looking, by tools: nothing is created, zeroed, cut or locked.
//!
//! Owns nothing: it reads the files of a directory, or one file, and says what is there, damage and torn tail included; unlike
//! [`inspect`](crate::inspect) it then still reads what lies before the damage. A server may be writing the log and recycling its segments meanwhile:
//! what changes under the view's hands is looked at again, and never taken for damage.
//!
//! Must never write, and never end without a word where something does not read: [`LogView::reader`] ends with the fault. It fails as
//! [`Error`] says; `tests/a_log_is_looked_at_without_touching_it.rs` would catch a mistake.

use std::sync::Arc;

use crate::{
    Error, Follower, ReadDisk, Reader, TornTail,
    catalog::{Headers, Obstacle, PathEntry, Segment, find_ends, read_header, read_headers, walk_back},
    closed::Closed,
    format::{Generation, SegmentHeader, SegmentSeq},
    repair::greatest_zxid,
    scan::Tail,
};

/// A log, as it was when it was opened.
#[derive(Debug)]
pub struct LogView<R: ReadDisk> {
    disk: R,
    path: Vec<PathEntry>,
    /// What is not part of the history that can be read: dead segments and those behind a fault.
    others: Vec<(SegmentSeq, Result<Arc<Segment>, Error>)>,
    spares: Vec<String>,
    torn_tail: Option<TornTail>,
    fault: Option<Error>,
}

/// What a segment file is to the history.
#[derive(Debug, Clone)]
pub enum Standing {
    /// A part of it.
    InHistory,
    /// None: its generation was given up, a truncation cut it off, or it lies behind a fault.
    Outside,
    /// Its header does not read.
    Unreadable(Error),
}

/// A segment file.
#[derive(Debug, Clone)]
pub struct SegmentView {
    /// Its name.
    pub file: String,
    /// Its number.
    pub seq: SegmentSeq,
    /// What it is to the history.
    pub standing: Standing,
    /// Its header, if it reads.
    pub header: Option<SegmentHeader>,
    /// The offset after its last group that counts; `None` outside the history.
    pub end_offset: Option<u64>,
}

impl<R: ReadDisk> LogView<R> {
    /// Looks at the log of a directory: at the history of this generation, which the control file names; without one, of the newest.
    ///
    /// # Errors
    /// If the directory cannot be read, or holds no segment of the generation ([`Error::GenerationMissing`]). Damage is no error here: see [`LogView::fault`].
    pub fn open(disk: R, generation: Option<Generation>) -> Result<LogView<R>, Error> {
        let mut tries = 0;
        loop {
            let before = names(&disk)?;
            let outcome = LogView::open_once(&disk, generation);
            tries += 1;
            // A fault counts only if no segment came or went while it was found.
            let is_settled = matches!(&outcome, Ok(view) if view.fault.is_none());
            if is_settled || tries == TRIES_MAX || names(&disk)? == before {
                return outcome;
            }
        }
    }

    /// Looks at one segment file, whatever its name and wherever it belongs.
    ///
    /// # Errors
    /// If it cannot be read, or its header is damaged.
    pub fn open_segment(disk: R, name: &str) -> Result<LogView<R>, Error> {
        let segment = read_header(&disk, name.to_owned(), None)?;
        LogView::along(&disk, vec![segment], None)
    }

    fn open_once(disk: &R, generation: Option<Generation>) -> Result<LogView<R>, Error> {
        let (all, spares) = read_headers(disk)?;
        let newest = || all.values().flatten().map(|segment| segment.header.generation).max();
        let Some(generation) = generation.or_else(newest) else {
            let fault = all.into_values().find_map(Result::err);
            let view = LogView::along(disk, Vec::new(), fault)?;
            return Ok(LogView { spares, ..view });
        };
        let (path, fault) = readable_path(disk, &all, generation)?;
        let view = LogView::along(disk, path, fault)?;
        let on_path = |seq: &SegmentSeq| view.path.iter().any(|entry| entry.segment.header.seq == *seq);
        let others = all.iter().filter(|(seq, _)| !on_path(seq)).map(|(seq, entry)| (*seq, entry.clone())).collect();
        Ok(LogView { others, spares, ..view })
    }

    fn along(disk: &R, path: Vec<Arc<Segment>>, fault: Option<Error>) -> Result<LogView<R>, Error> {
        let (path, tail) = find_ends(disk, path, Closed::read(disk), u64::MAX)?;
        let (torn_tail, fault) = match tail {
            Tail::Clean => (None, fault),
            Tail::Damaged(error) => (None, Some(error)),
            Tail::Torn(torn) if fault.is_none() => (Some(torn), None),
            // There is a segment behind it, so it was no tail.
            Tail::Torn(torn) => {
                let what = "a group that later segments follow does not read";
                let (offset, after_zxid) = (torn.position.offset, torn.after_zxid);
                (None, Some(Error::Damage { file: torn.file, offset, after_zxid, what }))
            }
        };
        let (disk, others, spares) = (disk.clone(), Vec::new(), Vec::new());
        Ok(LogView { disk, path, others, spares, torn_tail, fault })
    }

    /// The segments of the history, oldest first, then the others.
    pub fn segments(&self) -> Vec<SegmentView> {
        let in_history = self.path.iter().map(|entry| SegmentView {
            end_offset: Some(entry.end.offset),
            ..SegmentView::of(&entry.segment, Standing::InHistory)
        });
        let others = self.others.iter().map(|(seq, entry)| match entry {
            Ok(segment) => SegmentView::of(segment, Standing::Outside),
            Err(error) => SegmentView {
                file: crate::catalog::segment_name(*seq),
                seq: *seq,
                standing: Standing::Unreadable(error.clone()),
                header: None,
                end_offset: None,
            },
        });
        in_history.chain(others).collect()
    }

    /// The files that are zeroed ahead of use, or recycled.
    pub fn spares(&self) -> &[String] {
        &self.spares
    }

    /// The history holds the records after this zxid.
    pub fn begins_after(&self) -> u64 {
        self.path.first().map_or(0, |oldest| oldest.segment.header.base_zxid)
    }

    /// The last zxid that can be read, up to the first fault that was found at opening.
    pub fn last_zxid(&self) -> u64 {
        self.path.last().map_or(0, |head| head.end.zxid)
    }

    /// Bytes of the groups that a reader of everything passes.
    pub fn used_bytes(&self) -> u64 {
        self.path.iter().map(|entry| entry.end.offset - entry.segment.begin().offset).sum()
    }

    /// A group at the end that does not read and has no later one behind it: torn by a crash, or in flight if a server is writing.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn_tail.as_ref()
    }

    /// Damage that was found at opening: in the newest segment, or in a header. Of the other segments only the headers were read.
    pub fn fault(&self) -> Option<&Error> {
        self.fault.as_ref()
    }

    /// Reads what comes after `after`; where the view has a fault the reader ends with that error.
    ///
    /// # Errors
    /// [`Error::HistoryMissing`] if the log begins later.
    pub fn reader(&self, after: u64) -> Result<Reader<R>, Error> {
        Ok(Reader::new(self.disk.clone(), &self.path, after)?.until_fault(self.fault.clone()))
    }

    /// Reads one segment of the history, seals and all; `None` for the others.
    pub fn segment_reader(&self, seq: SegmentSeq) -> Option<Reader<R>> {
        let at = self.path.iter().position(|entry| entry.segment.header.seq == seq)?;
        let entry = self.path.get(at)?;
        let fault = self.fault.clone().filter(|_| at + 1 == self.path.len());
        Some(Reader::whole(self.disk.clone(), entry.clone()).until_fault(fault))
    }

    /// Goes on where the view ends, with what a server writes from now on.
    ///
    /// # Errors
    /// The view's fault, if it has one.
    pub fn follow(&self) -> Result<Follower<R>, Error> {
        match (&self.fault, self.path.last()) {
            (Some(fault), _) => Err(fault.clone()),
            (None, head) => Follower::new(self.disk.clone(), head),
        }
    }

    /// The greatest zxid in this segment and those after it, of whatever group reads well by itself: to say what a cut would lose.
    pub(crate) fn greatest_zxid_behind(&self, seq: SegmentSeq) -> u64 {
        let on_path = self.path.iter().map(|entry| &entry.segment);
        let others = self.others.iter().filter_map(|(_, entry)| entry.as_ref().ok());
        let behind = on_path.chain(others).filter(|segment| segment.header.seq >= seq);
        behind.map(|segment| greatest_zxid(&self.disk, segment)).max().unwrap_or(0)
    }

    /// Whether this error came of a segment that the server recycled while it was read: then the view is to be opened again.
    pub fn is_outdated(&self, error: &Error) -> bool {
        let (Error::Damage { file, .. } | Error::Io { file, .. }) = error else { return false };
        self.disk.open_read(file).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
    }
}

impl SegmentView {
    fn of(segment: &Segment, standing: Standing) -> SegmentView {
        let (file, header) = (segment.name.clone(), segment.header.clone());
        SegmentView { file, seq: header.seq, standing, header: Some(header), end_offset: None }
    }
}

/// The history of a generation, or of its oldest part where a header does not read, with that fault.
fn readable_path<R: ReadDisk>(
    disk: &R,
    all: &Headers,
    generation: Generation,
) -> Result<(Vec<Arc<Segment>>, Option<Error>), Error> {
    let mut headers = all.clone();
    let mut fault = None;
    loop {
        match walk_back(&headers, generation) {
            Ok(path) => return Ok((path, fault)),
            Err(Obstacle { at: Some(at), error }) => {
                fault = Some(Obstacle { at: Some(at), error }.explain(disk, all));
                headers.retain(|seq, _| *seq < at);
            }
            Err(Obstacle { at: None, error }) => {
                return fault.map_or(Err(error), |fault| Ok((Vec::new(), Some(fault))));
            }
        }
    }
}

fn names<R: ReadDisk>(disk: &R) -> Result<Vec<String>, Error> {
    let mut names = disk.list().map_err(|e| Error::io("list", "the log directory", e))?;
    names.sort();
    Ok(names)
}

/// How often a directory that keeps changing is read again: a segment comes or goes every few seconds at most.
const TRIES_MAX: u32 = 10;
