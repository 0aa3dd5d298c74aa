//! A snapshot's bytes as a stream of Jute's fields, with the offset and the running Adler-32.

use std::fmt;
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

use adler2::Adler32;

use super::{Error, FIELD_BYTES_MAX, Fault, Result};

/// See the module.
pub(super) struct Stream {
    from: Box<dyn BufRead + Send>,
    file: PathBuf,
    packed: bool,
    offset: u64,
    sum: Adler32,
}

impl Stream {
    pub(super) fn new(from: Box<dyn BufRead + Send>, file: &Path, packed: bool) -> Stream {
        Stream { from, file: file.to_path_buf(), packed, offset: 0, sum: Adler32::new() }
    }

    /// Offset in the unpacked bytes of what is read next.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The sum of everything read so far.
    pub(super) fn sum(&self) -> Adler32 {
        self.sum
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|error| self.error(error))?;
        self.sum.write_slice(&bytes);
        self.offset += N as u64;
        Ok(bytes)
    }

    pub(super) fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A buffer, into `into`; false for null.
    pub(super) fn buffer(&mut self, into: &mut Vec<u8>) -> Result<bool> {
        let at = self.offset;
        let length = self.int()?;
        into.clear();
        if length == -1 {
            return Ok(false);
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= FIELD_BYTES_MAX);
        let length = length.ok_or_else(|| self.damaged_at(at, Fault::Field("a length")))?;
        // It grows with what is there, not with what the length promises.
        let read = (&mut self.from).take(length as u64).read_to_end(into).map_err(|error| self.error(error))?;
        if read < length {
            return Err(self.damaged(Fault::Truncated));
        }
        self.sum.write_slice(into);
        self.offset += length as u64;
        Ok(true)
    }

    /// A string, into `into`, which holds UTF-8 then. Null is refused. `what` it is, for the error.
    pub(super) fn string(&mut self, into: &mut Vec<u8>, what: &'static str) -> Result<()> {
        let at = self.offset;
        if !self.buffer(into)? {
            return Err(self.damaged_at(at, Fault::Field(what)));
        }
        std::str::from_utf8(into).map(drop).map_err(|_| self.damaged_at(at, Fault::NotUtf8(what)))
    }

    /// Everything that is left, which must not be more than `bytes_max`. Not in the sum.
    pub(super) fn rest(&mut self, bytes_max: usize) -> Result<Vec<u8>> {
        let mut rest = Vec::new();
        let limit = bytes_max as u64 + 1;
        (&mut self.from).take(limit).read_to_end(&mut rest).map_err(|error| self.error(error))?;
        if rest.len() > bytes_max { Err(self.damaged(Fault::Trailer)) } else { Ok(rest) }
    }

    /// Damage here.
    pub(super) fn damaged(&self, what: Fault) -> Error {
        self.damaged_at(self.offset, what)
    }

    pub(super) fn damaged_at(&self, offset: u64, what: Fault) -> Error {
        Error::Damaged { file: self.file.clone(), offset, packed: self.packed, what }
    }

    fn error(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(Fault::Truncated),
            // What the unpackers say of bytes that they do not understand.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if self.packed => {
                self.damaged(Fault::Packed(error.to_string()))
            }
            _ => Error::io("read", &self.file, error),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("file", &self.file).field("offset", &self.offset).finish_non_exhaustive()
    }
}
