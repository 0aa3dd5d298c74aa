//! The seam to the disk: what the log asks of a file system, and nothing more. The real one is
//! [`UringDisk`](crate::UringDisk), the simulator's and the tests' is [`SimDisk`](crate::sim_disk::SimDisk). Faults are
//! injected here.
//!
//! Names are plain file names in one directory. Every method reports the system's error as it is; the log adds file
//! and purpose, and never repeats a failed write or sync.

use std::{fmt::Debug, io, os::fd::BorrowedFd};

use crate::AlignedBuf;

/// The reading side, cheap to clone, for recovery and for readers on other threads.
pub trait ReadDisk: Clone + Send + Debug {
    /// An open file. It stays readable when the name is changed or removed.
    type File: Send + Debug;

    /// All file names in the directory, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file for reading.
    fn open_read(&self, name: &str) -> io::Result<Self::File>;
    /// The file's size in bytes.
    fn file_bytes(&self, file: &Self::File) -> io::Result<u64>;
    /// Fills `into` from `offset` on; the number of bytes is smaller only at the end of the file.
    fn read_at(&self, file: &Self::File, offset: u64, into: &mut [u8]) -> io::Result<usize>;
}

/// Whether to sleep until an operation has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Only look.
    No,
    /// Sleep until it has.
    UntilDone,
}

/// The writing side, owned by one log.
pub trait Disk: Send + Debug {
    /// The reading side.
    type Read: ReadDisk;
    /// A file open for writing.
    type File: Send + Debug;

    /// The reading side of the same directory.
    fn read_side(&self) -> Self::Read;
    /// Creates an empty file; fails if there is one.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;
    /// Opens an existing file for writing.
    fn open_write(&mut self, name: &str) -> io::Result<Self::File>;
    /// Renames, replacing `to`. Durable only after [`Disk::sync_dir`].
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name. Durable only after [`Disk::sync_dir`].
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Writes the first `bytes` of `buf` at `offset` and returns once they are durable. `bytes` and `offset` are
    /// multiples of the block. All or an error: after an error nobody knows what the disk holds there. If the kernel
    /// may still read the buffer after an error, `buf` is left empty. No started write may be under way.
    fn write_durable(
        &mut self,
        file: &mut Self::File,
        offset: u64,
        buf: &mut AlignedBuf,
        bytes: usize,
    ) -> io::Result<()> {
        self.start_durable(file, offset, buf, bytes)?;
        self.finish_durable(buf, Wait::UntilDone).unwrap_or_else(|| Err(io::Error::other("the write did not end")))
    }
    /// Starts what [`Disk::write_durable`] does, and keeps `buf` until [`Disk::finish_durable`] gives it back. One at a
    /// time, and nothing else is asked of this disk meanwhile. An error here gives the buffer back at once.
    fn start_durable(
        &mut self,
        file: &mut Self::File,
        offset: u64,
        buf: &mut AlignedBuf,
        bytes: usize,
    ) -> io::Result<()>;
    /// The outcome of the started write, with its buffer; `None` while it is under way, which [`Wait::UntilDone`] never
    /// returns.
    fn finish_durable(&mut self, buf: &mut AlignedBuf, wait: Wait) -> Option<io::Result<()>>;
    /// From now on this eventfd is written whenever a started write has come to its end, besides other times.
    fn notify(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()>;
    /// Bytes that new files may take, where that is known: asked before a segment is made, so that a disk that is nearly full is not
    /// filled to the brim for nothing. A quota may still allow less.
    fn free_bytes(&self) -> Option<u64> {
        None
    }
    /// Writes `bytes` zeroes at `offset`, extending the file. Durable only after [`Disk::sync_file`].
    fn write_zeroes(&mut self, file: &mut Self::File, offset: u64, bytes: u64) -> io::Result<()>;
    /// Makes the file's data and size durable.
    fn sync_file(&mut self, file: &mut Self::File) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync_dir(&mut self) -> io::Result<()>;
}
