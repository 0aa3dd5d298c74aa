//! One operation at a time on a raw io_uring ring, with the buffer owned by the operation's slot.
//!
//! Owns the ring and, while an operation is in flight, its buffer. Must never give a buffer back, or free it, while
//! the kernel may still read it: if the ring itself fails with an operation in flight, the buffer is leaked and the
//! ring refuses everything after that. A group is one `io_uring_enter`, whether it is waited for or only started.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    mem::{forget, take},
    os::fd::{AsRawFd, BorrowedFd},
};

use io_uring::{IoUring, opcode, squeue, types};

use crate::{AlignedBuf, Wait};

/// The ring and its only slot.
pub(crate) struct Ring {
    ring: IoUring,
    slot: Slot,
    broken: bool,
}

/// What the kernel may be reading, and what has come of it.
#[derive(Default)]
struct Slot {
    buf: AlignedBuf,
    bytes: usize,
    operations: usize,
    in_flight: usize,
    results: Results,
}

/// What a write promises when it completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Nothing: a sync follows later.
    None,
    /// The written range is durable (RWF_DSYNC).
    Dsync,
    /// The file's data is durable: a linked fdatasync.
    ThenDatasync,
}

impl Ring {
    pub(crate) fn new() -> io::Result<Ring> {
        let ring = IoUring::new(ENTRIES)?;
        Ok(Ring { ring, slot: Slot::default(), broken: false })
    }

    /// Writes this eventfd with every completion.
    pub(crate) fn notify(&self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        // A second notifier replaces the first; where there is none, there is nothing to take away.
        let _none = self.ring.submitter().unregister_eventfd();
        self.ring.submitter().register_eventfd(eventfd.as_raw_fd())
    }

    /// Writes the first `bytes` of `buf` at `offset`: all of them, or an error. `buf` is empty afterwards only if the
    /// ring failed with the write in flight.
    pub(crate) fn write(
        &mut self,
        file: &File,
        offset: u64,
        buf: &mut AlignedBuf,
        bytes: usize,
        durability: Durability,
    ) -> io::Result<()> {
        self.prepare(file, offset, buf, bytes, durability)?;
        // Submits and waits in one.
        self.finish(buf, Wait::UntilDone).expect("waited until it ended")
    }

    /// Begins a write, which takes the buffer until [`Ring::finish`]. If it cannot, the buffer stays, unless the ring
    /// failed with the write in flight.
    pub(crate) fn start(
        &mut self,
        file: &File,
        offset: u64,
        buf: &mut AlignedBuf,
        bytes: usize,
        durability: Durability,
    ) -> io::Result<()> {
        self.prepare(file, offset, buf, bytes, durability)?;
        while !self.ring.submission().is_empty() {
            self.enter(0)?;
        }
        Ok(())
    }

    fn prepare(
        &mut self,
        file: &File,
        offset: u64,
        buf: &mut AlignedBuf,
        bytes: usize,
        durability: Durability,
    ) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the io_uring ring failed before"));
        }
        assert!(self.slot.in_flight == 0, "one operation at a time");
        assert!(bytes <= buf.len(), "a write stays within its buffer");
        let length = u32::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.slot = Slot { buf: take(buf), bytes, ..Slot::default() };
        let fd = types::Fd(file.as_raw_fd());
        let rw_flags = if durability == Durability::Dsync { libc::RWF_DSYNC } else { 0 };
        let mut write = opcode::Write::new(fd, self.slot.buf.as_ptr(), length)
            .offset(offset)
            .rw_flags(rw_flags)
            .build()
            .user_data(WRITE);
        if durability == Durability::ThenDatasync {
            write = write.flags(squeue::Flags::IO_LINK);
        }
        self.push(&write);
        if durability == Durability::ThenDatasync {
            self.push(&opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build().user_data(SYNC));
        }
        Ok(())
    }

    /// The outcome of the operation that was started, and its buffer; `None` while it is under way.
    pub(crate) fn finish(&mut self, buf: &mut AlignedBuf, wait: Wait) -> Option<io::Result<()>> {
        loop {
            for completion in self.ring.completion() {
                self.slot.in_flight -= 1;
                match completion.user_data() {
                    WRITE => self.slot.results.write = Some(completion.result()),
                    _ => self.slot.results.sync = Some(completion.result()),
                }
            }
            if self.slot.in_flight == 0 {
                break;
            }
            if wait == Wait::No {
                return None;
            }
            if let Err(error) = self.enter(self.slot.in_flight) {
                return Some(Err(error));
            }
        }
        let done = take(&mut self.slot);
        *buf = done.buf;
        Some(done.results.check(done.bytes, done.operations))
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the entry's buffer is `self.slot.buf`, which stays where it is (its address is on the heap) until
        // `finish` has seen the completion, and is leaked if it never does. The entry's file is borrowed until it
        // is submitted; from then on the kernel holds a reference of its own.
        let pushed = unsafe { self.ring.submission().push(entry) };
        assert!(pushed.is_ok(), "the ring has room for the one operation in flight");
        self.slot.in_flight += 1;
        self.slot.operations += 1;
    }

    /// Submits what was pushed and waits for so many completions.
    fn enter(&mut self, completions: usize) -> io::Result<()> {
        match self.ring.submit_and_wait(completions) {
            Ok(_) => Ok(()),
            // The wait was interrupted, not the operation: whoever waits does so again, and does not write again.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => {
                self.broken = true;
                Err(e)
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.slot.in_flight > 0 {
            // The kernel may still read it after the ring is closed.
            forget(take(&mut self.slot.buf));
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("in_flight", &self.slot.in_flight).field("broken", &self.broken).finish()
    }
}

/// The completions' results, as the kernel gives them: negative is an error number.
#[derive(Default)]
struct Results {
    write: Option<i32>,
    sync: Option<i32>,
}

impl Results {
    fn check(&self, bytes: usize, operations: usize) -> io::Result<()> {
        let written = system_result(self.write)?;
        if written != bytes {
            let what = format!("a write of {bytes} bytes wrote {written}");
            return Err(io::Error::new(io::ErrorKind::WriteZero, what));
        }
        if operations == 2 {
            system_result(self.sync)?;
        }
        Ok(())
    }
}

fn system_result(result: Option<i32>) -> io::Result<usize> {
    let result = result.ok_or_else(|| io::Error::other("io_uring gave no completion"))?;
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// One write and its linked sync.
const ENTRIES: u32 = 2;
const WRITE: u64 = 1;
const SYNC: u64 = 2;
