//! The few calls that publishing needs of a disk, behind a trait, so that tests and the simulator can fail or freeze them.
//!
//! Owns the order in which a file becomes visible and durable ([`publish`]). It must never make a name durable before the
//! bytes behind it. It fails with [`Error`]; `tests/crash.rs`, which freezes a model disk at every call, would catch a mistake.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::{Error, Result};

/// A disk on which files are made and renamed.
pub trait Disk: Debug + Send {
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

    /// Makes everything written so far durable, the length included.
    ///
    /// # Errors
    /// The system's; never to be tried again on this file.
    fn sync(&mut self) -> io::Result<()>;
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

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
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
