//! What a server keeps on its machine besides the log: the control file and the images, in a directory of the real file system.
//!
//! Owns the directory, which goes with the run. Publishing is a rename that is durable when the call returns, so that a crash of the simulated machine leaves
//! what was before a call or after it; a machine whose power has failed in the midst of a step of its log's disk can write nothing more. It must never
//! show anything of the real disk's pace.

use snapshot::disk::{Disk, DiskFile, RealDisk};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use wal::sim_disk::SimDisk;

/// See the module.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
}

static PLACES: AtomicU64 = AtomicU64::new(0);

impl Place {
    /// A new, empty directory.
    ///
    /// # Panics
    /// If the system does not make one: then nothing can be simulated.
    pub(super) fn new() -> Place {
        let shm = Path::new("/dev/shm");
        let root = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let dir = root.join(format!("ringkeeper-sim-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory for the simulation");
        Place { dir }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// All is lost.
    pub(super) fn wipe(&self) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return };
        entries.flatten().for_each(|entry| drop(std::fs::remove_file(entry.path())));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays lies in memory and has a name that tells whose it was.
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// The disk of the control file: it ends with the log's.
#[derive(Debug)]
pub(super) struct PoweredDisk(pub(super) SimDisk);

impl PoweredDisk {
    fn power(&self) -> io::Result<()> {
        if self.0.is_frozen() { Err(io::Error::other("the power has failed")) } else { Ok(()) }
    }
}

impl Disk for PoweredDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.power()?;
        RealDisk.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.power()?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.power()?;
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.power()?;
        RealDisk.sync_dir(dir)
    }
}
