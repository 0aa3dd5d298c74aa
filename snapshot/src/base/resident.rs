//! Which pages of a mapped file are in memory, and how to read them without a fault.
//!
//! Owns the calls around the page cache (`cachestat`, `mincore`, `posix_fadvise`). It must never read through the mapping. It fails with
//! [`Error::Io`]; `tests/base_scrub.rs` would catch a mistake.

#![allow(unsafe_code, reason = "calls of the C library")]

use std::fs::File;
use std::os::fd::AsRawFd as _;

use super::file::MappedFile;
use crate::{Error, Result};

/// Reads beside the mapping bring in what is asked for, and little ahead of it. Best effort; the mapping's own faults do not change.
pub(crate) fn read_little_ahead(file: &File) {
    // SAFETY: no memory is passed; an error means that the kernel reads ahead, which is allowed.
    let _reads_ahead = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
}

/// How much of a range is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resident {
    /// Pages of it that are.
    pub(crate) there: u64,
    /// Pages that it touches.
    pub(crate) pages: u64,
}

impl Resident {
    pub(crate) const fn is_whole(self) -> bool {
        self.there >= self.pages
    }
}

/// How much of a range is in memory. `cachestat` tells without the lock of the process's mappings: a thread of low priority that was
/// stopped while it held that lock would hold up the core. Where the kernel has it not, `mincore` does.
pub(crate) fn of_range(file: &MappedFile, offset: u64, bytes: u64) -> Result<Resident> {
    let outside = || {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the range does not lie within the file");
        Error::io("look into", file.path(), source)
    };
    let start = usize::try_from(offset).map_err(|_| outside())? / PAGE_BYTES * PAGE_BYTES;
    let end = usize::try_from(offset.saturating_add(bytes)).map_err(|_| outside())?;
    let range = file.map().get(start..end).ok_or_else(outside)?;
    let there = match cached_pages(file, start as u64, range.len() as u64) {
        Some(there) => there,
        None => mapped_pages(file, range)?,
    };
    Ok(Resident { there, pages: range.len().div_ceil(PAGE_BYTES) as u64 })
}

/// Pages of the range in the page cache; `None` where the kernel does not tell.
pub(super) fn cached_pages(file: &MappedFile, offset: u64, bytes: u64) -> Option<u64> {
    let range = CachestatRange { offset, bytes };
    let mut counts = Cachestat::default();
    // SAFETY: the kernel reads the one and writes the other, which both have its layout, and keeps neither.
    let done = unsafe {
        let (range, counts) = (std::ptr::from_ref(&range), std::ptr::from_mut(&mut counts));
        libc::syscall(SYS_CACHESTAT, file.file().as_raw_fd(), range, counts, 0)
    };
    (done == 0).then_some(counts.cached)
}

/// The same, as `mincore` says.
pub(super) fn mapped_pages(file: &MappedFile, range: &[u8]) -> Result<u64> {
    let mut states = vec![0_u8; range.len().div_ceil(PAGE_BYTES)];
    // SAFETY: the range lies within a mapping that `file` keeps, begins at a page (mappings do, and its start is a multiple), and
    // there is a byte for each of its pages. The call writes these bytes alone.
    let done = unsafe { libc::mincore(range.as_ptr().cast_mut().cast(), range.len(), states.as_mut_ptr()) };
    if done != 0 {
        return Err(Error::io("look into", file.path(), std::io::Error::last_os_error()));
    }
    Ok(states.iter().map(|state| u64::from(state & 1)).sum())
}

/// `cachestat`, the same number on every architecture; Linux 6.5.
const SYS_CACHESTAT: libc::c_long = 451;

#[repr(C)]
struct CachestatRange {
    offset: u64,
    bytes: u64,
}

/// Counts of pages.
#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cached: u64,
    _dirty: u64,
    _writeback: u64,
    _evicted: u64,
    _recently_evicted: u64,
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

/// Drops a range from the page cache, but for what is mapped. Best effort: the kernel drops no part of the larger pieces that it keeps pages in.
pub(crate) fn drop_range(file: &MappedFile, offset: u64, bytes: u64) {
    let (Ok(offset), Ok(bytes)) = (i64::try_from(offset), i64::try_from(bytes)) else { return };
    // SAFETY: no memory is passed; an error means that the pages stay, which is allowed.
    let _stays = unsafe { libc::posix_fadvise(file.file().as_raw_fd(), offset, bytes, libc::POSIX_FADV_DONTNEED) };
}

const PAGE_BYTES: usize = 4096;
/// Read at a time: large enough for the disk, small against memory.
const PIECE_BYTES: usize = 1 << 20;
