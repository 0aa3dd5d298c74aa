//! Reads one log file (`FileTxnLog.FileTxnIterator`), and says how it ends.
//!
//! Java takes whatever does not read for the end of the file, unless only the checksum is wrong. The format has neither a chain nor a mark of what
//! was durable, so what can be told is this: if a whole record follows anywhere behind one that does not read, that one was not the last
//! write, and it is damage. With nothing behind it, it is the write that was under way when the server stopped.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use proto::Zxid;
use proto::jute::Reader;

use super::txns::zxid_of;
use super::{Error, FIELD_BYTES_MAX, FORMAT_VERSION, Fault, LOG_MAGIC, RECORD_END, Result, torn};

/// A log file that is being read. Holds one record in memory.
#[derive(Debug)]
pub struct LogReader {
    from: BufReader<File>,
    file: PathBuf,
    /// Where the record in `payload` begins.
    begin: u64,
    /// Where the next record begins.
    offset: u64,
    payload: Vec<u8>,
    end: Option<LogEnd>,
}

/// A record whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// Offset in bytes of its checksum in the file.
    pub offset: u64,
    /// The txn, see [`proto::txn::TxnRecord::decode`].
    pub payload: &'a [u8],
}

impl LogRecord<'_> {
    /// The zxid in its header; whether the rest is a txn is not looked at.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        zxid_of(self.payload)
    }
}

/// How a log file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEnd {
    /// With its last record, and zeros behind it.
    Clean {
        /// Offset in bytes behind the last record.
        offset: u64,
    },
    /// With a part of a record: the write that was under way when the server stopped. It was acknowledged to nobody.
    Torn {
        /// Offset in bytes where that part begins, behind the last record.
        offset: u64,
    },
    /// Before its header: the file was made and not yet written to.
    Empty,
}

impl LogReader {
    /// Opens a log file and checks how it begins.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<LogReader> {
        let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
        let bytes = file.metadata().map_err(|source| Error::io("look at", path, source))?.len();
        let from = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut reader =
            LogReader { from, file: path.to_path_buf(), begin: 0, offset: 0, payload: Vec::new(), end: None };
        if bytes == 0 {
            reader.end = Some(LogEnd::Empty);
            return Ok(reader);
        }
        let mut header = [0; HEADER_BYTES];
        let whole = reader.fill(&mut header)?;
        let mut fields = Reader::new(&header);
        if fields.int() != Ok(LOG_MAGIC) {
            return Err(Error::damaged(path, 0, Fault::Magic("log")));
        }
        if !whole {
            return Err(Error::damaged(path, bytes, Fault::Truncated));
        }
        if fields.int() != Ok(FORMAT_VERSION) {
            return Err(Error::damaged(path, 4, Fault::Field("the version")));
        }
        reader.offset = HEADER_BYTES as u64;
        Ok(reader)
    }

    /// The next record; `None` at the end, which [`LogReader::end`] then tells of.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Damaged`]; the reader must not be used further.
    pub fn next_record(&mut self) -> Result<Option<LogRecord<'_>>> {
        Ok(if self.advance()? { Some(self.record()) } else { None })
    }

    /// The next record of a log that may be written just now; `None` if none is whole yet: to be asked again later. What it means that none
    /// is, [`LogReader::end_here`] tells.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn poll_record(&mut self) -> Result<Option<LogRecord<'_>>> {
        self.begin = self.offset;
        // What is in the buffer may be older than what is in the file.
        for _ in ["buffer", "file"] {
            if self.read_record()? {
                return Ok(Some(self.record()));
            }
            self.offset = self.begin;
            self.from.seek(SeekFrom::Start(self.begin)).map_err(|source| Error::io("read", &self.file, source))?;
        }
        Ok(None)
    }

    /// How the file ends, if no record is whole behind those that were read.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] where one stands behind what does not read, unless that has been written since.
    pub fn end_here(&self) -> Result<LogEnd> {
        if self.offset == 0 { Ok(LogEnd::Empty) } else { torn::end_of(self.from.get_ref(), &self.file, self.offset) }
    }

    /// Offset in bytes behind the last record that was read.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next record for [`LogReader::record`]; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool> {
        if self.end.is_some() {
            return Ok(false);
        }
        self.begin = self.offset;
        let whole = self.read_record()?;
        if !whole {
            self.end = Some(torn::end_of(self.from.get_ref(), &self.file, self.begin)?);
        }
        Ok(whole)
    }

    /// The record that was read last.
    pub(super) fn record(&self) -> LogRecord<'_> {
        LogRecord { offset: self.begin, payload: &self.payload }
    }

    /// The file's path.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// How the file ends; `None` until [`LogReader::next_record`] has come to the end.
    #[must_use]
    pub const fn end(&self) -> Option<LogEnd> {
        self.end
    }

    /// Reads the record at `offset` into `payload`; false if there is none that is whole.
    fn read_record(&mut self) -> Result<bool> {
        let mut head = [0; RECORD_HEAD_BYTES];
        if !self.fill(&mut head)? {
            return Ok(false);
        }
        let Some(RecordHead { sum, bytes }) = RecordHead::parse(&head) else { return Ok(false) };
        self.payload.clear();
        let read = (&mut self.from).take(bytes as u64).read_to_end(&mut self.payload);
        let mut end = [0];
        let whole = read.map_err(|source| Error::io("read", &self.file, source))? == bytes && self.fill(&mut end)?;
        self.offset += (RECORD_HEAD_BYTES + bytes + end.len()) as u64;
        Ok(whole && end == [RECORD_END] && adler2::adler32_slice(&self.payload) == sum)
    }

    /// False if the file ends before `into` is full.
    fn fill(&mut self, into: &mut [u8]) -> Result<bool> {
        match self.from.read_exact(into) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(source) => Err(Error::io("read", &self.file, source)),
        }
    }
}

/// What stands before a record's payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHead {
    pub(super) sum: u32,
    pub(super) bytes: usize,
}

impl RecordHead {
    /// `None` if no record begins so.
    pub(super) fn parse(head: &[u8; RECORD_HEAD_BYTES]) -> Option<RecordHead> {
        let mut fields = Reader::new(head);
        let (sum, bytes) = (fields.long().ok()?, fields.int().ok()?);
        let sum = u32::try_from(sum).ok()?;
        let bytes =
            usize::try_from(bytes).ok().filter(|bytes| (PAYLOAD_BYTES_MIN..=FIELD_BYTES_MAX).contains(bytes))?;
        Some(RecordHead { sum, bytes })
    }
}

/// Bytes of a log's header.
pub(super) const HEADER_BYTES: usize = 16;
/// Bytes of a record before its payload: checksum and length.
pub(super) const RECORD_HEAD_BYTES: usize = 12;
/// A txn has at least its header.
const PAYLOAD_BYTES_MIN: usize = proto::txn::TxnHeader::BYTES;
const BUFFER_BYTES: usize = 64 << 10;
