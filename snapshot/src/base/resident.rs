//! Which pages of a mapped file are in memory, and how to read them without a fault.
//!
//! Owns the calls around the page cache (`mincore`, `posix_fadvise`). It must never read through the mapping. It fails with
//! [`Error::Io`]; `tests/base_scrub.rs` would catch a mistake.

#![allow(unsafe_code, reason = "mincore and posix_fadvise are calls of the C library")]

use std::fs::File;
use std::os::fd::AsRawFd as _;

use super::file::MappedFile;
use crate::{Error, Result};

/// Reads beside the mapping bring in what is asked for, and little ahead of it. Best effort; the mapping's own faults do not change.
pub(crate) fn read_little_ahead(file: &File) {
    // SAFETY: no memory is passed; an error means that the kernel reads ahead, which is allowed.
    let _reads_ahead = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
}

/// Of each page that the range touches, whether it is in memory.
pub(crate) fn pages(file: &MappedFile, offset: u64, bytes: u64) -> Result<Vec<bool>> {
    let outside = || {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the range does not lie within the file");
        Error::io("look into", file.path(), source)
    };
    let start = usize::try_from(offset).map_err(|_| outside())? / PAGE_BYTES * PAGE_BYTES;
    let end = usize::try_from(offset.saturating_add(bytes)).map_err(|_| outside())?;
    let range = file.map().get(start..end).ok_or_else(outside)?;
    let mut states = vec![0_u8; range.len().div_ceil(PAGE_BYTES)];
    // SAFETY: the range lies within a mapping that `file` keeps, begins at a page (mappings do, and `start` is a multiple), and
    // there is a byte for each of its pages. The call writes these bytes alone.
    let done = unsafe { libc::mincore(range.as_ptr().cast_mut().cast(), range.len(), states.as_mut_ptr()) };
    if done != 0 {
        return Err(Error::io("look into", file.path(), std::io::Error::last_os_error()));
    }
    Ok(states.iter().map(|state| state & 1 != 0).collect())
}

/// Reads a range beside the mapping, piece by piece.
pub(crate) fn read_through(file: &MappedFile, offset: u64, bytes: u64, each: &mut dyn FnMut(&[u8])) -> Result<()> {
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX).min(PIECE_BYTES)];
    let (mut at, end) = (offset, offset.saturating_add(bytes));
    while at < end {
        let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let Some(piece) = buffer.get_mut(..len) else { break };
        file.read_at(piece, at)?;
        each(piece);
        at += len as u64;
    }
    Ok(())
}

/// Drops the pages of a range from the page cache that were not there before: so that reading all of a file does not push out what
/// others need. `were_there` is what [`pages`] said of the whole file. Best effort.
pub(crate) fn drop_again(file: &MappedFile, offset: u64, bytes: u64, were_there: &[bool]) {
    let page = |at: u64| usize::try_from(at / PAGE_BYTES as u64).unwrap_or(usize::MAX);
    // From a little before: the kernel keeps pages in larger pieces, and drops none of which a part has to stay.
    let mut at = page(offset).saturating_sub(BEFORE_PAGES);
    let end = page(offset.saturating_add(bytes).saturating_sub(1)).saturating_add(1);
    for run in were_there.get(at..end).unwrap_or_default().chunk_by(|a, b| a == b) {
        let start = at * PAGE_BYTES;
        at += run.len();
        let (Ok(start), Ok(len)) = (i64::try_from(start), i64::try_from(run.len() * PAGE_BYTES)) else { return };
        if run.first() == Some(&false) {
            // SAFETY: no memory is passed; an error means that the pages stay, which is allowed.
            let _stays = unsafe { libc::posix_fadvise(file.file().as_raw_fd(), start, len, libc::POSIX_FADV_DONTNEED) };
        }
    }
}

const PAGE_BYTES: usize = 4096;
/// Two of the largest pieces.
const BEFORE_PAGES: usize = 1024;
/// Read at a time: large enough for the disk, small against memory.
const PIECE_BYTES: usize = 1 << 20;
