//! The txns of all logs in their order, from a zxid on (`FileTxnLog.FileTxnIterator`).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use proto::Zxid;
use proto::txn::{TxnHeader, TxnRecord};

use super::log_reader::{HEADER_BYTES, RECORD_HEAD_BYTES, RecordHead};
use super::{Error, Fault, LogEnd, LogFile, LogReader, Result};

/// See the module.
#[derive(Debug)]
pub struct Txns {
    all: Vec<LogFile>,
    files: VecDeque<LogFile>,
    reader: Option<LogReader>,
    last: Zxid,
    /// The record of that txn.
    last_payload: Vec<u8>,
    /// While records come that stand there once before.
    again: Option<Again>,
    repeated: u64,
    begun: bool,
    files_read: usize,
    torn: Vec<(PathBuf, u64)>,
    gaps: u64,
    first_gap: Option<Gap>,
}

/// Zxids that no record has: within an epoch there should be none such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The txn before it (or the snapshot).
    pub after: Zxid,
    /// The txn behind it.
    pub before: Zxid,
}

impl Txns {
    /// `files`: oldest first.
    pub(super) fn new(files: Vec<LogFile>, after: Zxid) -> Txns {
        // The last of those that begin before may reach beyond.
        let older = files.iter().filter(|file| file.first_zxid <= after).count().saturating_sub(1);
        let all: Vec<LogFile> = files.into_iter().skip(older).collect();
        Txns {
            files: all.iter().cloned().collect(),
            all,
            reader: None,
            last: after,
            last_payload: Vec::new(),
            again: None,
            repeated: 0,
            begun: false,
            files_read: 0,
            torn: Vec::new(),
            gaps: 0,
            first_gap: None,
        }
    }

    /// The next txn; `None` at the end. Java 3.9 gives some failed requests the zxid of the txn before them, so the same zxid may come twice. A server of 3.8.0 that is brought
    /// into step with txns that it has may log them once more: what stands there before, the same to the byte, is left out.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Damaged`]; nothing further must be read.
    pub fn next_txn(&mut self) -> Result<Option<TxnRecord<'_>>> {
        while self.open_next()? {
            let Some(reader) = &mut self.reader else { break };
            if !reader.advance()? {
                self.close()?;
                continue;
            }
            let (zxid, offset) = (zxid_of(reader.record().payload), reader.record().offset);
            if !self.begun && zxid <= self.last {
                continue;
            }
            if zxid <= self.last {
                if is_repeated(&self.all, &mut self.again, &self.last_payload, reader, self.last)? {
                    self.repeated += 1;
                    continue;
                }
                if zxid < self.last {
                    let what = Fault::Order { found: zxid, last: self.last };
                    return Err(Error::damaged(reader.file(), offset, what));
                }
            }
            self.begun = true;
            self.again = self.again.take().filter(|_| zxid == self.last);
            self.last_payload.clear();
            self.last_payload.extend_from_slice(reader.record().payload);
            if is_gap(self.last, zxid) {
                self.gaps += 1;
                self.first_gap.get_or_insert(Gap { after: self.last, before: zxid });
            }
            self.last = zxid;
            break;
        }
        let Some(reader) = &self.reader else { return Ok(None) };
        let record = reader.record();
        let txn = TxnRecord::decode(record.payload);
        txn.map(Some).map_err(|error| Error::damaged(reader.file(), record.offset, Fault::Txn(self.last, error)))
    }

    /// The newest txn read, or where the reading began.
    #[must_use]
    pub const fn last_zxid(&self) -> Zxid {
        self.last
    }

    /// How many files have been read to their end.
    #[must_use]
    pub const fn files_read(&self) -> usize {
        self.files_read
    }

    /// The files that end with a torn write, and its offset: what was cut.
    #[must_use]
    pub fn torn(&self) -> &[(PathBuf, u64)] {
        &self.torn
    }

    /// How many records stood there before, and were left out.
    #[must_use]
    pub const fn repeated(&self) -> u64 {
        self.repeated
    }

    /// How often zxids are missing, and the first place.
    #[must_use]
    pub const fn gaps(&self) -> (u64, Option<Gap>) {
        (self.gaps, self.first_gap)
    }

    /// Is a file open, or could the next one be opened?
    fn open_next(&mut self) -> Result<bool> {
        if self.reader.is_none() {
            let Some(file) = self.files.pop_front() else { return Ok(false) };
            self.reader = Some(LogReader::open(&file.path)?);
        }
        Ok(true)
    }

    /// The file is read.
    fn close(&mut self) -> Result<()> {
        let Some(reader) = self.reader.take() else { return Ok(()) };
        match reader.end() {
            Some(LogEnd::Torn { offset }) => self.torn.push((reader.file().to_path_buf(), offset)),
            // It was made and the server stopped; but then no other can have been made after it.
            Some(LogEnd::Empty) if !self.files.is_empty() => {
                return Err(Error::damaged(reader.file(), 0, Fault::Truncated));
            }
            Some(LogEnd::Empty | LogEnd::Clean { .. }) | None => {}
        }
        self.files_read += 1;
        Ok(())
    }
}

/// Does the record at which `reader` is stand there before, the same to the byte?
fn is_repeated(
    all: &[LogFile],
    again: &mut Option<Again>,
    last_payload: &[u8],
    reader: &LogReader,
    last: Zxid,
) -> Result<bool> {
    let is_last = reader.record().zxid() == last;
    if is_last && (again.is_none() || reader.record().payload == last_payload) {
        return Ok(reader.record().payload == last_payload);
    }
    let has = match again {
        Some(again) => again.has(reader)?,
        None => false,
    };
    if has || is_last {
        return Ok(has);
    }
    // It goes back: for the first time, or further than the last time.
    again.insert(Again { files: all.iter().cloned().collect(), reader: None, is_new: false }).has(reader)
}

/// Reads the files from their beginning, beside the one who has come further and meets the same again.
#[derive(Debug)]
struct Again {
    files: VecDeque<LogFile>,
    reader: Option<LogReader>,
    /// Was its record compared with nothing yet that it equals?
    is_new: bool,
}

impl Again {
    /// Goes on to the record that is the same as the one at which `other` is, if there is one before that.
    fn has(&mut self, other: &LogReader) -> Result<bool> {
        let wanted = other.record();
        loop {
            let Some(reader) = &mut self.reader else {
                let Some(file) = self.files.pop_front() else { return Ok(false) };
                self.reader = Some(LogReader::open(&file.path)?);
                self.is_new = false;
                continue;
            };
            if !self.is_new && !reader.advance()? {
                self.reader = None;
                continue;
            }
            let record = reader.record();
            self.is_new = true;
            let is_there = reader.file() == other.file() && record.offset >= wanted.offset;
            if is_there || record.zxid() > wanted.zxid() {
                return Ok(false);
            }
            self.is_new = false;
            if record.payload == wanted.payload {
                return Ok(true);
            }
        }
    }
}

/// Are zxids missing between two that follow each other? What an older epoch ended with cannot be told from the next one's first.
fn is_gap(last: Zxid, next: Zxid) -> bool {
    if next.epoch() == last.epoch() { next.counter() > last.counter().saturating_add(1) } else { next.counter() > 1 }
}

/// The zxid in a payload, which has at least a header.
pub(super) fn zxid_of(payload: &[u8]) -> Zxid {
    let bytes = payload.get(ZXID_OFFSET..).and_then(|rest| rest.first_chunk());
    Zxid(u64::from_be_bytes(*bytes.unwrap_or(&[0; 8])))
}

/// The last txn of a log, by its lengths alone: what does not look like a record counts as the end.
pub(super) fn skim_to_last(log: &LogFile) -> Result<Zxid> {
    let skim = |path: &Path| {
        let mut last = log.first_zxid;
        let mut file = BufReader::new(File::open(path)?);
        file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
        let mut begin = [0; RECORD_HEAD_BYTES + TxnHeader::BYTES];
        while file.read_exact(&mut begin).is_ok() {
            let (head, header) = begin.split_at(RECORD_HEAD_BYTES);
            let Some(RecordHead { bytes, .. }) = head.first_chunk().and_then(RecordHead::parse) else { break };
            last = last.max(zxid_of(header));
            let rest = i64::try_from(bytes - TxnHeader::BYTES + 1).unwrap_or(i64::MAX);
            file.seek_relative(rest)?;
        }
        Ok(last)
    };
    skim(&log.path).map_err(|source| Error::io("read", &log.path, source))
}

/// Where a header has the zxid: behind the session and the client's number.
const ZXID_OFFSET: usize = 12;
