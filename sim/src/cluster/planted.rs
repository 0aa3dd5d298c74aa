//! The disk of images and control file as a process sees it: the machine's, or one under which some of what should be durable is not.
//!
//! Owns what the planted bugs of durability leave out ([`Bug::ImageBytesNotSynced`] and its like): a sync that the code does not ask for. Everything else is the
//! machine's disk. It must never be between them where none of these is planted.

use super::bugs::Bug;
use snapshot::disk::{Disk, DiskFile};
use snapshot::sim_disk::SimDisk;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The disk for this bug.
pub(super) fn disk(disk: SimDisk, bug: Option<Bug>) -> Arc<dyn Disk> {
    match bug {
        Some(bug @ (Bug::ImageBytesNotSynced | Bug::ControlBytesNotSynced | Bug::ControlNameNotSynced)) => {
            Arc::new(Careless { disk, bug, is_control: AtomicBool::new(false) })
        }
        _ => Arc::new(disk),
    }
}

/// See the module.
#[derive(Debug)]
struct Careless {
    disk: SimDisk,
    bug: Bug,
    /// Was the last rename the control file's?
    is_control: AtomicBool,
}

#[derive(Debug)]
struct Unsynced(Box<dyn DiskFile>);

fn is_named(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}

impl Disk for Careless {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.create(path)?;
        let is_careless = match self.bug {
            Bug::ImageBytesNotSynced => is_named(path, "image."),
            Bug::ControlBytesNotSynced => is_named(path, "control"),
            _ => false,
        };
        Ok(if is_careless { Box::new(Unsynced(file)) } else { file })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.is_control.store(is_named(to, "control"), Ordering::Relaxed);
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let is_careless = self.bug == Bug::ControlNameNotSynced && self.is_control.load(Ordering::Relaxed);
        if is_careless { Ok(()) } else { self.disk.sync_dir(dir) }
    }
}

impl DiskFile for Unsynced {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
