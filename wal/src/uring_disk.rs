//! The real disk: a directory, written with O_DIRECT and RWF_DSYNC through io_uring.
//!
//! Where O_DIRECT is refused (EINVAL when a file is opened, or at the first write) it goes on with buffered writes and
//! a linked fdatasync, and says so once. EINVAL after a direct write has succeeded is a failed write like any other.
//! `tests/real_disks.rs` forces both refusals through [`UringOptions::refuse_direct`].

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::BorrowedFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FlockOperation, OFlags};

use crate::{
    AlignedBuf, Disk, ReadDisk, Wait,
    faults::Faults,
    format::to_usize,
    ring::{Durability, Ring},
};

/// A directory on a real file system.
#[derive(Debug)]
pub struct UringDisk {
    read: DirReadDisk,
    /// Kept open, to sync names and to hold the lock.
    dir: File,
    ring: Ring,
    mode: Mode,
    refuse_direct: Option<RefuseDirect>,
    zeroes: AlignedBuf,
    started: Started,
    faults: Faults,
}

/// A write that was started.
#[derive(Debug)]
enum Started {
    None,
    OnRing,
    /// It was carried out at once.
    Done(AlignedBuf),
}

/// Choices for a real disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct UringOptions {
    /// Behave as a file system that refuses O_DIRECT.
    pub refuse_direct: Option<RefuseDirect>,
}

/// Where O_DIRECT is refused with EINVAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefuseDirect {
    /// When a file is opened.
    AtOpen,
    /// At the first write.
    AtFirstWrite,
}

/// A file open for writing.
#[derive(Debug)]
pub struct UringFile {
    file: File,
    direct: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// O_DIRECT; `proven` once a write has succeeded.
    Direct { proven: bool },
    /// The page cache and fdatasync.
    Buffered,
}

impl UringDisk {
    /// Opens a directory, creating it if it is missing, and locks it while the disk lives. Fails with `WouldBlock` if
    /// another process (or disk) writes there, and with the system's error if io_uring cannot be used.
    pub fn open(dir: impl AsRef<Path>, options: UringOptions) -> io::Result<UringDisk> {
        let path = dir.as_ref();
        fs::create_dir_all(path)?;
        let dir = File::open(path)?;
        lock(&dir)?;
        Ok(UringDisk {
            read: DirReadDisk { dir: Arc::from(path) },
            dir,
            ring: Ring::new()?,
            mode: Mode::Direct { proven: false },
            refuse_direct: options.refuse_direct,
            zeroes: AlignedBuf::zeroed(ZEROES_BYTES),
            started: Started::None,
            faults: Faults::of_environment()?,
        })
    }

    /// Whether writes bypass the page cache; false once O_DIRECT was refused.
    pub fn is_direct(&self) -> bool {
        matches!(self.mode, Mode::Direct { .. })
    }

    fn open_file(&mut self, name: &str, create: bool) -> io::Result<UringFile> {
        let path = self.read.path(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(create);
        if self.is_direct() {
            match self.open_direct(&path, &options) {
                Err(e) if is_einval(&e) => self.fall_back(name, "open"),
                opened => return opened.map(|file| UringFile { file, direct: true }),
            }
            // The refused open may have created the file.
            options.create_new(false).create(create);
        }
        Ok(UringFile { file: options.open(path)?, direct: false })
    }

    fn open_direct(&self, path: &Path, options: &OpenOptions) -> io::Result<File> {
        if self.refuse_direct == Some(RefuseDirect::AtOpen) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        options.clone().custom_flags(libc::O_DIRECT).open(path)
    }

    fn fall_back(&mut self, file: &str, at: &'static str) {
        self.mode = Mode::Buffered;
        tracing::warn!(
            directory = %self.read.dir.display(),
            file,
            at,
            "log: this file system refuses O_DIRECT; writing through the page cache with fdatasync, which is slower"
        );
    }

    /// A file opened before O_DIRECT was refused goes on without it.
    fn clear_direct(file: &mut UringFile) -> io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&file.file)?;
        rustix::fs::fcntl_setfl(&file.file, flags - OFlags::DIRECT)?;
        file.direct = false;
        Ok(())
    }

    fn write(&mut self, file: &mut UringFile, offset: u64, mut write: Write<'_>) -> io::Result<()> {
        if let Mode::Direct { proven } = self.mode
            && file.direct
        {
            match self.write_direct(file, offset, &mut write) {
                Err(e) if is_einval(&e) && !proven => self.fall_back("a segment", "first write"),
                result => return result,
            }
        }
        if file.direct {
            UringDisk::clear_direct(file)?;
        }
        self.issue(file, offset, &mut write, Durability::ThenDatasync)
    }

    fn write_direct(&mut self, file: &UringFile, offset: u64, write: &mut Write<'_>) -> io::Result<()> {
        if self.refuse_direct == Some(RefuseDirect::AtFirstWrite) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.issue(file, offset, write, Durability::Dsync)?;
        self.mode = Mode::Direct { proven: true };
        Ok(())
    }

    fn issue(&mut self, file: &UringFile, at: u64, write: &mut Write<'_>, durability: Durability) -> io::Result<()> {
        match write {
            Write::Durable(buf, bytes) => self.ring.write(&file.file, at, buf, *bytes, durability),
            Write::Zeroes(bytes) => self.ring.write(&file.file, at, &mut self.zeroes, *bytes, Durability::None),
        }
    }
}

/// What is written.
enum Write<'a> {
    Durable(&'a mut AlignedBuf, usize),
    Zeroes(usize),
}

impl Disk for UringDisk {
    type Read = DirReadDisk;
    type File = UringFile;

    fn read_side(&self) -> DirReadDisk {
        self.read.clone()
    }

    fn create(&mut self, name: &str) -> io::Result<UringFile> {
        self.open_file(name, true)
    }

    fn open_write(&mut self, name: &str) -> io::Result<UringFile> {
        self.open_file(name, false)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.read.path(from), self.read.path(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.read.path(name))
    }

    fn write_durable(
        &mut self,
        file: &mut UringFile,
        offset: u64,
        buf: &mut AlignedBuf,
        bytes: usize,
    ) -> io::Result<()> {
        self.faults.write_begins(bytes)?;
        self.write(file, offset, Write::Durable(buf, bytes))?;
        self.faults.write_ended()
    }

    fn start_durable(
        &mut self,
        file: &mut UringFile,
        offset: u64,
        buf: &mut AlignedBuf,
        bytes: usize,
    ) -> io::Result<()> {
        assert!(matches!(self.started, Started::None), "one started write at a time");
        self.faults.write_begins(bytes)?;
        if self.mode == (Mode::Direct { proven: false }) {
            // Whether O_DIRECT is taken shows in the outcome: the first write is waited for.
            self.write(file, offset, Write::Durable(buf, bytes))?;
            self.started = Started::Done(std::mem::take(buf));
            return Ok(());
        }
        if file.direct && self.mode == Mode::Buffered {
            UringDisk::clear_direct(file)?;
        }
        let durability = if file.direct { Durability::Dsync } else { Durability::ThenDatasync };
        self.ring.start(&file.file, offset, buf, bytes, durability)?;
        self.started = Started::OnRing;
        Ok(())
    }

    fn finish_durable(&mut self, buf: &mut AlignedBuf, wait: Wait) -> Option<io::Result<()>> {
        match std::mem::replace(&mut self.started, Started::None) {
            Started::None => panic!("no write was started"),
            Started::Done(done) => {
                *buf = done;
                Some(self.faults.write_ended())
            }
            Started::OnRing => {
                let outcome = self.ring.finish(buf, wait);
                if outcome.is_none() {
                    self.started = Started::OnRing;
                }
                outcome.map(|outcome| outcome.and_then(|()| self.faults.write_ended()))
            }
        }
    }

    fn notify(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        self.ring.notify(eventfd)
    }

    fn free_bytes(&self) -> Option<u64> {
        let space = rustix::fs::fstatvfs(&self.dir).ok()?;
        // File systems that keep no count show none.
        (space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn write_zeroes(&mut self, file: &mut UringFile, offset: u64, bytes: u64) -> io::Result<()> {
        let mut at = offset;
        while at < offset + bytes {
            let chunk = to_usize(offset + bytes - at).min(ZEROES_BYTES);
            self.write(file, at, Write::Zeroes(chunk))?;
            at += chunk as u64;
        }
        Ok(())
    }

    fn sync_file(&mut self, file: &mut UringFile) -> io::Result<()> {
        file.file.sync_all()?;
        self.faults.sync_ended()
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        self.dir.sync_all()?;
        self.faults.sync_ended()
    }
}

/// The reading side: positioned reads through the page cache, no ring.
#[derive(Debug, Clone)]
pub struct DirReadDisk {
    dir: Arc<Path>,
}

impl DirReadDisk {
    /// The reading side of a directory alone, for tools that write nothing.
    pub fn new(dir: impl AsRef<Path>) -> DirReadDisk {
        DirReadDisk { dir: Arc::from(dir.as_ref()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl ReadDisk for DirReadDisk {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn open_read(&self, name: &str) -> io::Result<File> {
        File::open(self.path(name))
    }

    fn file_bytes(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn read_at(&self, file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while let Some(rest) = into.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + got as u64) {
                Ok(0) => break,
                Ok(bytes) => got += bytes,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(got)
    }
}

/// Two writers in one directory would destroy the log. File systems without locks are taken as they are.
fn lock(dir: &File) -> io::Result<()> {
    match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
        Err(e) if e == rustix::io::Errno::WOULDBLOCK => {
            let what = "another process has this log directory open: is a server running on it already?";
            Err(io::Error::new(io::ErrorKind::WouldBlock, what))
        }
        _ => Ok(()),
    }
}

fn is_einval(e: &io::Error) -> bool {
    e.raw_os_error() == Some(libc::EINVAL)
}

/// Zeroes written at once: large enough for the device's bandwidth, small enough not to hold up a group for long.
const ZEROES_BYTES: usize = 256 << 10;
