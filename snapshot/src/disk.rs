//! The few calls that publishing needs of a disk, behind a trait, so that tests and the simulator can fail or freeze them.
//!
//! Owns the order in which a file becomes visible and durable ([`publish`]). It must never make a name durable before the
//! bytes behind it. It fails with [`Error`]; `tests/base_crash.rs`, which freezes a model disk at every call, would catch a mistake.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Arc;

use crate::{Error, Result};

/// A disk on which files are made and renamed.
pub trait Disk: Debug + Send + Sync {
    /// Makes a file, empty; an old one of that name is emptied.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Renames within a directory, replacing what had the new name. Visible at once, durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that grows at its end.
pub trait DiskFile: Debug + Send {
    /// Writes at the end.
    ///
    /// # Errors
    /// The system's; how much was written is then unknown.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Lets the disk begin with `bytes` from `from` on, and waits until it has as many before them: so that not everything is left to
    /// [`DiskFile::sync`]. Nothing is durable by it. A disk without such a call does nothing.
    ///
    /// # Errors
    /// The system's; never to be tried again on this file.
    fn write_behind(&mut self, _from: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    /// Makes everything written so far durable, the length included.
    ///
    /// # Errors
    /// The system's; never to be tried again on this file.
    fn sync(&mut self) -> io::Result<()>;
}

impl Disk for Arc<dyn Disk> {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        (**self).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (**self).rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (**self).remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (**self).sync_dir(dir)
    }
}

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn write_behind(&mut self, from: u64, bytes: u64) -> io::Result<()> {
        const WAIT: libc::c_uint =
            libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        sync_file_range(self, from, bytes, libc::SYNC_FILE_RANGE_WRITE)?;
        match from.checked_sub(bytes) {
            Some(before) => sync_file_range(self, before, bytes, WAIT),
            None => Ok(()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

#[expect(unsafe_code, reason = "a call of the C library")]
fn sync_file_range(file: &File, from: u64, bytes: u64, flags: libc::c_uint) -> io::Result<()> {
    let (Ok(from), Ok(bytes)) = (i64::try_from(from), i64::try_from(bytes)) else { return Ok(()) };
    // SAFETY: no memory is passed.
    if unsafe { libc::sync_file_range(file.as_raw_fd(), from, bytes, flags) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // A file system that has no such call leaves all to the sync at the end.
    let is_unknown =
        matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE | libc::EOPNOTSUPP));
    if is_unknown { Ok(()) } else { Err(error) }
}

/// Gives a finished temporary file its name: fsync, rename, fsync of the directory. On an error before the rename the
/// temporary file is removed and the former state stands.
pub(crate) fn publish(
    disk: &dyn Disk,
    mut file: Box<dyn DiskFile>,
    temp: &Path,
    name: &Path,
    dir: &Path,
) -> Result<()> {
    let made = file.sync().map_err(|source| Error::io("make durable", temp, source));
    drop(file);
    let renamed = made.and_then(|()| disk.rename(temp, name).map_err(|source| Error::io("rename", temp, source)));
    if renamed.is_err() {
        // The first error is what counts; a temporary file that stays is removed at the next start.
        let _ = disk.remove(temp);
    }
    renamed?;
    // The new state has its name by now, durable or not: not even a full disk means that the former one stands.
    disk.sync_dir(dir).map_err(|source| Error::Io { action: "make durable", file: dir.to_path_buf(), source })
}
