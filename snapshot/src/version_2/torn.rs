//! Looks behind the last record of a log that reads: are there only zeros, a write that was under way, or records that prove damage?

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::log_reader::{RECORD_HEAD_BYTES, RecordHead};
use super::{Error, Fault, LogEnd, RECORD_END, Result};

/// How the file ends, if the last record that reads ends at `offset`.
///
/// # Errors
/// [`Fault::BeforeRecord`] if a whole record follows somewhere behind.
pub(super) fn end_of(file: &File, name: &Path, offset: u64) -> Result<LogEnd> {
    let io_error = |source| Error::io("read", name, source);
    let Some(first) = first_nonzero(file, offset).map_err(io_error)? else { return Ok(LogEnd::Clean { offset }) };
    // A record's checksum begins with four zeros, so one that begins before `first` begins at most this much before it.
    let from = first.saturating_sub(RECORD_HEAD_BYTES as u64).max(offset + 1);
    match later_record(file, from).map_err(io_error)? {
        Some(later) => Err(Error::damaged(name, offset, Fault::BeforeRecord { later })),
        None => Ok(LogEnd::Torn { offset }),
    }
}

/// Offset of the first byte from `offset` on that is not zero.
fn first_nonzero(file: &File, mut offset: u64) -> io::Result<Option<u64>> {
    let mut window = vec![0; WINDOW_BYTES];
    loop {
        let read = read_at(file, offset, &mut window)?;
        let bytes = window.get(..read).unwrap_or_default();
        if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
            return Ok(Some(offset + at as u64));
        }
        if read < WINDOW_BYTES {
            return Ok(None);
        }
        offset += read as u64;
    }
}

/// Offset of the first whole record that begins at `offset` or behind it, at whatever byte.
fn later_record(file: &File, mut offset: u64) -> io::Result<Option<u64>> {
    let file_bytes = file.metadata()?.len();
    let mut window = vec![0; WINDOW_BYTES];
    let mut payload = Vec::new();
    loop {
        let read = read_at(file, offset, &mut window)?;
        let bytes = window.get(..read).unwrap_or_default();
        for (at, head) in (offset..).zip(bytes.windows(RECORD_HEAD_BYTES)) {
            let Some(head) = head.first_chunk() else { continue };
            if is_record(file, at, head, file_bytes, &mut payload)? {
                return Ok(Some(at));
            }
        }
        if read < WINDOW_BYTES {
            return Ok(None);
        }
        // The last bytes of the window may be a head's first.
        offset += (read - (RECORD_HEAD_BYTES - 1)) as u64;
    }
}

fn is_record(
    file: &File,
    at: u64,
    head: &[u8; RECORD_HEAD_BYTES],
    file_bytes: u64,
    payload: &mut Vec<u8>,
) -> io::Result<bool> {
    let Some(RecordHead { sum, bytes }) = RecordHead::parse(head).filter(|head| head.sum != 0) else {
        return Ok(false);
    };
    let begin = at + RECORD_HEAD_BYTES as u64;
    if begin + bytes as u64 >= file_bytes {
        return Ok(false);
    }
    // The end first: it is one byte, and the payload may be many.
    let mut end = [0];
    if read_at(file, begin + bytes as u64, &mut end)? < 1 || end != [RECORD_END] {
        return Ok(false);
    }
    payload.resize(bytes, 0);
    let read = read_at(file, begin, payload)?;
    Ok(read == bytes && adler2::adler32_slice(payload) == sum)
}

/// Fills `into`; less only at the end of the file.
fn read_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = into.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + have as u64) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

/// Bytes that are looked at in one go.
const WINDOW_BYTES: usize = 64 << 10;
