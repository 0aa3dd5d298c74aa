//! A small file system of its own in a file, which can be frozen: then every write to it waits. And it can lose what lies behind a place: then every
//! read of that fails. What it is to be merely slow for is a process in a [`Cgroup`](crate::Cgroup) of disks.
//!
//! Owns the mount, and takes it away at its end. It needs root's rights: where they are missing it says so, and with them every failure is one.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A mounted ext4 in a temporary file.
#[derive(Debug)]
pub struct LoopDisk {
    dir: TempDir,
}

impl LoopDisk {
    /// A fresh one. `None`, and a word on stderr, where it cannot be had because this is not root.
    ///
    /// # Panics
    /// If there is no room for it; and as root if it cannot be mounted: a test that shows nothing must not pass where it could show something.
    #[must_use]
    pub fn mount(mib: u64) -> Option<LoopDisk> {
        LoopDisk::mount_below(&std::env::temp_dir(), mib)
    }

    /// The same in memory: a disk that is as fast as can be, whatever else uses this machine's.
    ///
    /// # Panics
    /// As [`LoopDisk::mount`].
    #[must_use]
    pub fn in_memory(mib: u64) -> Option<LoopDisk> {
        LoopDisk::mount_below(Path::new("/dev/shm"), mib)
    }

    fn mount_below(parent: &Path, mib: u64) -> Option<LoopDisk> {
        match LoopDisk::try_mount(parent, mib) {
            Ok(disk) => Some(disk),
            Err(why) if rustix::process::geteuid().is_root() => panic!("this is root, and yet: {why}"),
            Err(why) => {
                eprintln!("left out, since this is not root: {why}");
                None
            }
        }
    }

    /// What is missing is said in the error: the right to mount, or a program.
    fn try_mount(parent: &Path, mib: u64) -> Result<LoopDisk, String> {
        let dir = tempfile::Builder::new().prefix("rk-disk-").tempdir_in(parent).expect("a temporary directory");
        let disk = LoopDisk { dir };
        let image = disk.dir.path().join("image");
        let file = std::fs::File::create(&image).expect("the image can be created");
        file.set_len(mib << 20).expect("there is room for the image");
        std::fs::create_dir(disk.path()).expect("a directory can be created");
        run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        run(Command::new("mount").arg("-o").arg("loop").arg(&image).arg(disk.path()))?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// Its device, as the kernel's files name it.
    ///
    /// # Panics
    /// If it is not mounted.
    #[must_use]
    pub fn device(&self) -> String {
        let device = rustix::fs::stat(self.path()).expect("it is mounted").st_dev;
        format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
    }

    /// Lets every write to it wait until what this returns is dropped. Whoever waits in a write cannot even be killed, so drop it before
    /// the server.
    ///
    /// # Panics
    /// If it cannot be frozen.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        let frozen = Frozen { path: self.path() };
        run(Command::new("fsfreeze").arg("--freeze").arg(&frozen.path)).expect("a mounted file system can be frozen");
        frozen
    }

    /// From now on the disk cannot read this file from this offset on; what is in the page cache stays there. The device has an end before it.
    ///
    /// # Panics
    /// If the file has no such offset, or the device cannot be cut short.
    pub fn lose(&self, file: &Path, offset: u64) {
        let image = self.dir.path().join("image");
        let extents = run(Command::new("filefrag").args(["-v", "-b1"]).arg(file)).expect("its extents are told");
        let end = extents
            .lines()
            .filter_map(extent)
            .find_map(|(logical, physical)| logical.contains(&offset).then(|| physical + offset - logical.start));
        let end = end.unwrap_or_else(|| panic!("offset {offset} lies in no extent:\n{extents}"));
        let device =
            run(Command::new("losetup").args(["--noheadings", "--output", "NAME", "--associated"]).arg(&image));
        std::fs::File::options().write(true).open(&image).and_then(|file| file.set_len(end)).expect("it can be cut");
        run(Command::new("losetup").arg("--set-capacity").arg(device.expect("it is mounted").trim()))
            .expect("it is told");
    }
}

/// A line of `filefrag -v`: where an extent lies in the file, and where it begins on the disk.
fn extent(line: &str) -> Option<(Range<u64>, u64)> {
    let mut columns = line.split(':');
    let (_number, logical, physical) = (columns.next()?, columns.next()?, columns.next()?);
    let (first, last) = logical.split_once("..")?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    Some((number(first)?..number(last)? + 1, number(physical.split_once("..")?.0)?))
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Where it was not mounted there is nothing to take away.
        let _unmounted = run(Command::new("umount").arg("--lazy").arg(self.path()));
    }
}

/// A frozen file system; it goes on when this is dropped.
#[derive(Debug)]
pub struct Frozen {
    path: PathBuf,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(why) = run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.path)) {
            eprintln!("{} stays frozen: {why}", self.path.display());
        }
    }
}

/// Runs it; returns what it prints.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
