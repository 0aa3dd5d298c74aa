//! What a machine keeps: the log's disk, with latency and faults.
//!
//! Owns when a write is done and what goes wrong with it; what of the unsynced survives is [`SimDisk`]'s, the one fake disk of the log, which the
//! log's own crash tests use too. A group is started, and looked after once its time has come: until then a crash may tear or lose it.
//! Blocking calls of the log (a new segment, a seal) take no virtual time; a crash in the midst of one is a freeze at one of its steps.
//!
//! Images and the control file are real files, which are mapped: they are not here yet. The cheapest honest way: `snapshot`'s `Disk` trait is the
//! seam for all writing; an implementation of it does each call on a directory in a tmpfs and keeps beside it, as `snapshot/tests/common/model_disk.rs`
//! does, what is durable of names and bytes; a crash writes one of the states that may survive into a fresh directory, which the next start maps.

use super::chance::Chance;
use super::time::Micros;
use wal::sim_disk::SimDisk;

/// See the module.
#[derive(Debug)]
pub struct MachineDisk {
    log: SimDisk,
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
        MachineDisk { log: SimDisk::new(), chance, usual: pace, pace }
    }

    /// Another disk with the same files, all of them durable.
    #[must_use]
    pub fn copy_of(other: &MachineDisk, chance: Chance) -> MachineDisk {
        MachineDisk { log: other.log.deep_clone(), chance, usual: other.usual, pace: other.pace }
    }

    /// The disk as the log sees it.
    #[must_use]
    pub fn log(&self) -> SimDisk {
        self.log.clone()
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

    /// The power will fail within the next so many steps of the disk.
    pub fn freeze_within(&mut self, steps: u64) {
        self.log.freeze_at(self.log.steps() + self.chance.between(1, steps));
    }

    /// One of the next so many steps fails with EIO.
    pub fn fail_within(&mut self, steps: u64) {
        self.log.fail_at(self.log.steps() + self.chance.between(1, steps), EIO);
    }

    /// No step will fail that was to.
    pub fn disarm(&mut self) {
        self.log.freeze_at(u64::MAX);
        self.log.fail_at(u64::MAX, EIO);
    }

    /// Has the power failed at a step?
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.log.is_frozen()
    }

    /// Only so many bytes more fit; `None`: as many as come.
    pub fn set_room(&mut self, bytes: Option<usize>) {
        let used: usize = self.log.files().values().map(Vec::len).sum();
        self.log.set_capacity(bytes.map(|bytes| used + bytes));
    }

    /// The process has died: all that it has written is there.
    pub fn process_died(&mut self) {
        self.log.kill_process();
    }

    /// The power was gone: what was not durable is there, torn, or lost.
    pub fn power_was_off(&mut self) {
        let seed = self.chance.bits();
        self.log.crash(seed);
    }

    /// A bit of some file goes bad. Only while no process uses the disk, and after [`MachineDisk::power_was_off`] or a clean stop: all that is there then
    /// is durable.
    pub fn rot(&mut self) -> Option<Rot> {
        let files: Vec<(String, usize)> = self
            .log
            .files()
            .into_iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(name, bytes)| (name, bytes.len()))
            .collect();
        let (file, bytes) = self.chance.pick(&files)?.clone();
        let rot = Rot { file, offset: self.chance.below(bytes), bit: u8::try_from(self.chance.below(8)).unwrap_or(0) };
        self.flip(&rot);
        Some(rot)
    }

    /// Flips the bit: a second time, it is as it was.
    pub fn flip(&mut self, rot: &Rot) {
        let Some(mut bytes) = self.log.files().remove(&rot.file) else { return };
        if let Some(byte) = bytes.get_mut(rot.offset) {
            *byte ^= 1 << rot.bit;
        }
        self.log.put_file(&rot.file, &bytes);
    }
}
