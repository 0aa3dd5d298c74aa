//! What a machine keeps: the disk of its log, and that of its images, its control file and its identity, with latency and faults.
//!
//! Owns when a write is done and what goes wrong with it; what of the unsynced survives is that of the fake disks which the crash tests of the log and of the images
//! use too: [`SimDisk`] and [`DataDisk`]. They have one power. A group is started, and looked after once its time has come: until then a crash may tear or lose it.
//! Blocking calls (a new segment, a seal, an image, a replaced control file) take no virtual time; a crash in the midst of one is a freeze at one of its steps.
//!
//! Images are mapped: so the data disk is mirrored in a directory of the real file system, in memory, which goes with the machine. It must never show anything of the
//! real disk's pace.

use super::chance::Chance;
use super::time::Micros;
use snapshot::sim_disk::SimDisk as DataDisk;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use wal::sim_disk::SimDisk;

/// See the module.
#[derive(Debug)]
pub struct MachineDisk {
    log: SimDisk,
    data: DataDisk,
    dirs: Dirs,
    chance: Chance,
    /// When nothing is wrong with it.
    usual: DiskPace,
    pace: DiskPace,
}

/// How fast a disk is.
#[derive(Clone, Copy, Debug)]
pub struct DiskPace {
    /// The shortest time that a group takes.
    pub write_min: Micros,
    /// The longest; most are near the shortest.
    pub write_max: Micros,
}

impl Default for DiskPace {
    fn default() -> DiskPace {
        DiskPace { write_min: Micros(70), write_max: Micros::ms(30) }
    }
}

/// A bit that went bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rot {
    /// Of which disk.
    pub part: Part,
    /// In which file.
    pub file: String,
    /// At which offset.
    pub offset: usize,
    /// Which bit of the byte.
    pub bit: u8,
}

/// EIO of Linux.
const EIO: i32 = 5;

impl MachineDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(pace: DiskPace, chance: Chance) -> MachineDisk {
        MachineDisk::with_log(SimDisk::new(), pace, chance)
    }

    /// Another disk with the same files, all of them durable.
    #[must_use]
    pub fn copy_of(other: &MachineDisk, chance: Chance) -> MachineDisk {
        let copy = MachineDisk::with_log(other.log.deep_clone(), other.usual, chance);
        for (path, bytes) in other.data.contents() {
            let within = path.strip_prefix(&other.dirs.root).expect("all lies below the root");
            copy.data.put_file(&copy.dirs.root.join(within), &bytes);
        }
        copy
    }

    fn with_log(log: SimDisk, pace: DiskPace, chance: Chance) -> MachineDisk {
        let data = DataDisk::mirrored(log.clone());
        MachineDisk { log, data, dirs: Dirs::new(), chance, usual: pace, pace }
    }

    /// The disk as the log sees it.
    #[must_use]
    pub fn log(&self) -> SimDisk {
        self.log.clone()
    }

    /// The disk of all else.
    #[must_use]
    pub fn data(&self) -> DataDisk {
        self.data.clone()
    }

    /// Where images, the control file and an identity lie.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.dirs.data
    }

    /// Where the other identity lies, as if the log were beside it.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        &self.dirs.log
    }

    /// Without what differs from run to run.
    #[must_use]
    pub fn told(&self, text: &str) -> String {
        text.replace(&*self.dirs.root.to_string_lossy(), "DIR")
    }

    /// How fast it is from now on.
    pub const fn set_pace(&mut self, pace: DiskPace) {
        self.pace = pace;
    }

    /// It is as fast as usual.
    pub const fn be_usual(&mut self) {
        self.pace = self.usual;
    }

    /// How long the group that was just started takes.
    pub fn write_takes(&mut self) -> Micros {
        self.chance.latency(self.pace.write_min, self.pace.write_max)
    }

    /// The power will fail within the next so many steps of what the log's disk does, or the other.
    pub fn freeze_within(&mut self, steps: u64, of: Part) {
        let within = self.chance.between(1, steps);
        match of {
            Part::Log => self.log.freeze_at(self.log.steps() + within),
            Part::Data => self.data.freeze_at(self.data.calls() + within - 1),
        }
    }

    /// One of the next so many steps fails with EIO.
    pub fn fail_within(&mut self, steps: u64, of: Part) {
        let within = self.chance.between(1, steps);
        match of {
            Part::Log => self.log.fail_at(self.log.steps() + within, EIO),
            Part::Data => self.data.fail_at(self.data.calls() + within - 1, EIO, self.chance.percent(50)),
        }
    }

    /// No step will fail that was to.
    pub fn disarm(&mut self) {
        self.log.freeze_at(u64::MAX);
        self.log.fail_at(u64::MAX, EIO);
        self.data.disarm();
    }

    /// Has the power failed at a step?
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.log.is_frozen()
    }

    /// Only so many bytes more fit; `None`: as many as come.
    pub fn set_room(&mut self, bytes: Option<usize>, of: Part) {
        match of {
            Part::Log => {
                let used: usize = self.log.files().values().map(Vec::len).sum();
                self.log.set_capacity(bytes.map(|bytes| used + bytes));
            }
            Part::Data => self.data.set_room(bytes),
        }
    }

    /// The process has died: all that it has written is there.
    pub fn process_died(&mut self) {
        self.log.kill_process();
    }

    /// The power was gone: what was not durable is there, torn, or lost. Only while no process uses the disk.
    pub fn power_was_off(&mut self) {
        let seed = self.chance.bits();
        self.log.crash(seed);
        let chance = &mut self.chance;
        self.data.crash(|bound| chance.below(bound));
    }

    /// A bit of some file goes bad, of those that `is_meant` says. Only while no process uses the disk, and after [`MachineDisk::power_was_off`] or a clean stop: all that is
    /// there then is durable.
    pub fn rot(&mut self, of: Part, is_meant: impl Fn(&str) -> bool) -> Option<Rot> {
        let files: Vec<(String, usize)> = match of {
            Part::Log => self.log.files().into_iter().map(|(name, bytes)| (name, bytes.len())).collect(),
            Part::Data => {
                let within = |path: &Path| path.strip_prefix(&self.dirs.root).ok()?.to_str().map(str::to_owned);
                let contents = self.data.contents().into_iter();
                contents.filter_map(|(path, bytes)| Some((within(&path)?, bytes.len()))).collect()
            }
        };
        let files: Vec<_> = files.into_iter().filter(|(name, bytes)| *bytes > 0 && is_meant(name)).collect();
        let (file, bytes) = self.chance.pick(&files)?.clone();
        let bit = u8::try_from(self.chance.below(8)).unwrap_or(0);
        let rot = Rot { part: of, file, offset: self.chance.below(bytes), bit };
        self.flip(&rot);
        Some(rot)
    }

    /// Flips the bit: a second time, it is as it was.
    pub fn flip(&mut self, rot: &Rot) {
        let path = self.dirs.root.join(&rot.file);
        let found = match rot.part {
            Part::Log => self.log.files().remove(&rot.file),
            Part::Data => self.data.contents().remove(&path),
        };
        let Some(mut bytes) = found else { return };
        if let Some(byte) = bytes.get_mut(rot.offset) {
            *byte ^= 1 << rot.bit;
        }
        match rot.part {
            Part::Log => self.log.put_file(&rot.file, &bytes),
            Part::Data => self.data.put_file(&path, &bytes),
        }
    }

    /// The log is moved away, as far as anybody can see.
    pub fn remove_log(&self) {
        self.log.remove_all();
    }
}

/// Which of a machine's disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The log's.
    Log,
    /// That of images, control file and identity.
    Data,
}

/// Directories of the real file system.
#[derive(Debug)]
struct Dirs {
    root: PathBuf,
    data: PathBuf,
    log: PathBuf,
}

static DIRS: AtomicU64 = AtomicU64::new(0);

impl Dirs {
    /// New and empty ones, in memory where the system has a place for that.
    fn new() -> Dirs {
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let number = DIRS.fetch_add(1, Ordering::Relaxed);
        let root = parent.join(format!("ringkeeper-sim-{}-{number}", std::process::id()));
        let dirs = Dirs { data: root.join("data"), log: root.join("log"), root };
        for dir in [&dirs.data, &dirs.log] {
            std::fs::create_dir_all(dir).expect("a directory for the simulation");
        }
        dirs
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        // What stays lies in memory and has a name that tells whose it was.
        drop(std::fs::remove_dir_all(&self.root));
    }
}
