//! A disk in memory that loses what a real one may lose, for tests and the simulator: the log's is [`wal::sim_disk`].
//!
//! What it promises is what a Unix file system promises: a file's bytes are there for certain up to its last fsync, and after that
//! whatever came may be missing, torn or zeros; names are certain up to the directory's last fsync, and after that each change may or
//! may not be there. A failed fsync takes what was not durable with it: no later one of that file brings it back.
//!
//! Each call for the disk counts. [`SimDisk::freeze_at`] lets the power fail before one, [`SimDisk::fail_at`] lets one fail, [`SimDisk::set_room`] makes
//! a disk on which little fits. Images are read by mapping them, so a disk may be mirrored ([`SimDisk::mirrored`]): what a running process sees of it lies at the same
//! paths of the real file system, and a crash puts there what it has left.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, RealDisk};

/// A handle; clones share the disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    /// Of the same machine: its power is this one's. With it the disk is mirrored.
    log: Option<wal::sim_disk::SimDisk>,
}

/// One state after a power loss: names and bytes.
pub type Survivors = BTreeMap<PathBuf, Vec<u8>>;

#[derive(Debug, Default)]
struct State {
    calls: u64,
    /// From this call on everything fails.
    freeze_at: Option<u64>,
    /// It fails for want of space.
    is_full: bool,
    fails: Option<Failure>,
    /// Bytes that fit into all files that have a name.
    capacity: Option<usize>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    durable_names: BTreeMap<PathBuf, u64>,
    names: BTreeMap<PathBuf, u64>,
    pending: Vec<NameChange>,
}

/// A call that fails alone.
#[derive(Debug, Clone, Copy)]
struct Failure {
    call: u64,
    errno: i32,
    is_done: bool,
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable_bytes: usize,
    /// An fsync has failed: what was not durable then never is.
    has_failed: bool,
}

#[derive(Debug, Clone)]
enum NameChange {
    Put(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    real: Option<Box<dyn DiskFile>>,
}

impl SimDisk {
    /// An empty disk whose files lie on the real file system as well, in directories that are there and empty. Its power fails with that of the log's disk, and that one's
    /// with this one.
    #[must_use]
    pub fn mirrored(log: wal::sim_disk::SimDisk) -> SimDisk {
        SimDisk { state: Arc::default(), log: Some(log) }
    }

    /// Everything that is done now is durable; counting starts anew.
    pub fn settle(&self) {
        let mut state = self.lock();
        state.inodes.values_mut().for_each(|file| file.durable_bytes = file.bytes.len());
        state.durable_names = state.names.clone();
        state.pending.clear();
        state.calls = 0;
    }

    /// Lets the power fail before the call with this number; the first is 0.
    pub fn freeze_at(&self, call: u64) {
        self.lock().freeze_at = Some(call);
    }

    /// From this call on all fail for want of space.
    pub fn full_at(&self, call: u64) {
        self.freeze_at(call);
        self.lock().is_full = true;
    }

    /// The call with this number fails with an error number (EIO, say), and the next ones do not. `is_done`: its effect is there all the same.
    pub fn fail_at(&self, call: u64, errno: i32, is_done: bool) {
        self.lock().fails = Some(Failure { call, errno, is_done });
    }

    /// Nothing that was to fail does.
    pub fn disarm(&self) {
        let mut state = self.lock();
        (state.freeze_at, state.is_full, state.fails) = (None, false, None);
    }

    /// So many bytes more fit, and what is removed or replaced makes room; `None`: as many as come.
    pub fn set_room(&self, bytes: Option<usize>) {
        let state = &mut *self.lock();
        state.capacity = bytes.map(|bytes| state.used() + bytes);
    }

    /// Calls that were done.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// The names as a running process sees them.
    #[must_use]
    pub fn names(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    /// What a running process reads.
    #[must_use]
    pub fn contents(&self) -> Survivors {
        let state = self.lock();
        state.view(&state.names, |file| file.bytes.clone())
    }

    /// What of a file is there after whatever power loss: its bytes up to the last fsync, under the name that it had at the directory's last one.
    #[must_use]
    pub fn durable_file(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        let file = state.inodes.get(state.durable_names.get(path)?)?;
        file.bytes.get(..file.durable_bytes).map(<[u8]>::to_vec)
    }

    /// Puts a file there, durably, in place of what has its name: damage, or a copy. Does not count as a call.
    ///
    /// # Panics
    /// If the real file cannot be written.
    pub fn put_file(&self, path: &Path, bytes: &[u8]) {
        let state = &mut *self.lock();
        let inode = state.new_inode();
        let durable_bytes = bytes.len();
        state.inodes.insert(inode, Inode { bytes: bytes.to_vec(), durable_bytes, has_failed: false });
        for names in [&mut state.names, &mut state.durable_names] {
            names.insert(path.to_owned(), inode);
        }
        if self.log.is_some() {
            replace_real(path, bytes);
        }
    }

    /// Every state that a power loss now may leave: each subset of the pending changes of names, with each fate of what was not
    /// synced.
    ///
    /// # Panics
    /// If they are too many.
    #[must_use]
    pub fn after_power_loss(&self) -> Vec<Survivors> {
        let state = self.lock();
        let count = state.pending.len();
        assert!(count <= 8, "{count} pending changes of names make too many states");
        let mut states = Vec::new();
        for subset in 0..1_u32 << count {
            let mut names = state.durable_names.clone();
            for (_, change) in state.pending.iter().enumerate().filter(|(at, _)| subset & (1 << at) != 0) {
                change.apply(&mut names);
            }
            for fate in [Fate::Lost, Fate::Torn(2), Fate::Zeros, Fate::Kept] {
                states.push(state.view(&names, |file| fate.of(file)));
            }
        }
        states.sort();
        states.dedup();
        states
    }

    /// A power failure and restart, while nobody has a file open. `below` gives a number below the one it is given, and decides by it what of the unsynced
    /// survives: changes of names up to some point, or any of them; of each file's bytes nothing, all, a beginning, zeros, or some sectors.
    ///
    /// # Panics
    /// If a real file cannot be replaced.
    pub fn crash(&self, mut below: impl FnMut(usize) -> usize) {
        let state = &mut *self.lock();
        let pending = std::mem::take(&mut state.pending);
        let mut names = state.durable_names.clone();
        let in_order = (below(2) == 0).then(|| below(pending.len() + 1));
        for (at, change) in pending.iter().enumerate() {
            if in_order.map_or_else(|| below(2) == 0, |count| at < count) {
                change.apply(&mut names);
            }
        }
        let before = std::mem::replace(&mut state.names, names.clone());
        state.durable_names = names;
        let changed = state.lose_unsynced(&mut below);
        (state.freeze_at, state.is_full, state.fails) = (None, false, None);
        if self.log.is_some() {
            state.restore_real(&before, &changed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a call and counts it; a frozen disk does none.
    fn call<T>(&self, does: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.lock();
        if state.freeze_at.is_some_and(|at| state.calls >= at) {
            if state.is_full {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            self.log.iter().for_each(wal::sim_disk::SimDisk::cut_power);
            return Err(frozen());
        }
        if self.log.as_ref().is_some_and(wal::sim_disk::SimDisk::is_frozen) {
            return Err(frozen());
        }
        let call = state.calls;
        state.calls += 1;
        match state.fails.take_if(|failure| failure.call <= call) {
            None => does(&mut state),
            Some(Failure { errno, is_done, .. }) => {
                if is_done {
                    does(&mut state)?;
                }
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    fn is_mirrored(&self) -> bool {
        self.log.is_some()
    }
}

fn frozen() -> io::Error {
    io::Error::other("the simulated power has failed")
}

/// Whoever has the former one mapped keeps it.
fn replace_real(path: &Path, bytes: &[u8]) {
    let _was_absent = std::fs::remove_file(path);
    std::fs::write(path, bytes).expect("the mirror can be written");
}

impl State {
    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    fn used(&self) -> usize {
        self.names.values().filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.bytes.len()).sum()
    }

    fn room(&self) -> Option<usize> {
        self.capacity.map(|capacity| capacity.saturating_sub(self.used()))
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    fn view(&self, names: &BTreeMap<PathBuf, u64>, bytes: impl Fn(&Inode) -> Vec<u8>) -> Survivors {
        names.iter().filter_map(|(path, inode)| Some((path.clone(), bytes(self.inodes.get(inode)?)))).collect()
    }

    /// What was not durable goes, or stays, and is durable then. Returns the files that are not what they were.
    fn lose_unsynced(&mut self, below: &mut impl FnMut(usize) -> usize) -> BTreeSet<u64> {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| named.contains(inode));
        let mut changed = BTreeSet::new();
        for (number, inode) in &mut self.inodes {
            if inode.durable_bytes < inode.bytes.len() {
                let left = Fate::any(inode, below).of(inode);
                if left != inode.bytes {
                    changed.insert(*number);
                }
                inode.bytes = left;
            }
            inode.durable_bytes = inode.bytes.len();
            inode.has_failed = false;
        }
        changed
    }

    /// Has the real files be those that are left.
    fn restore_real(&self, before: &BTreeMap<PathBuf, u64>, changed: &BTreeSet<u64>) {
        for (path, inode) in before {
            if self.names.get(path) != Some(inode) {
                let _was_absent = std::fs::remove_file(path);
            }
        }
        for (path, number) in &self.names {
            let is_as_it_was = before.get(path) == Some(number) && !changed.contains(number);
            if let Some(inode) = self.inodes.get(number).filter(|_| !is_as_it_was) {
                replace_real(path, &inode.bytes);
            }
        }
    }
}

/// What becomes of bytes that were not synced.
#[derive(Debug, Clone)]
enum Fate {
    Lost,
    /// This part of them is there.
    Torn(usize),
    Zeros,
    Kept,
    /// Of each sector whether it is there; zeros where it is not.
    Sectors(Vec<bool>),
}

impl Fate {
    fn any(file: &Inode, below: &mut impl FnMut(usize) -> usize) -> Fate {
        match below(5) {
            0 => Fate::Lost,
            1 => Fate::Torn(1 + below(16)),
            2 => Fate::Zeros,
            3 => Fate::Kept,
            _ => Fate::Sectors((0..file.bytes.len().div_ceil(SECTOR_BYTES)).map(|_| below(2) == 0).collect()),
        }
    }

    fn of(&self, file: &Inode) -> Vec<u8> {
        let (durable, unsynced) = file.bytes.split_at(file.durable_bytes);
        let rest = match self {
            Fate::Lost => Vec::new(),
            Fate::Torn(part) => unsynced.iter().copied().take(unsynced.len() / part).collect(),
            Fate::Zeros => vec![0; unsynced.len()],
            Fate::Kept => unsynced.to_vec(),
            Fate::Sectors(there) => {
                let is_there = |at: usize| there.get((durable.len() + at) / SECTOR_BYTES).copied().unwrap_or(true);
                unsynced.iter().enumerate().map(|(at, byte)| if is_there(at) { *byte } else { 0 }).collect()
            }
        };
        [durable, &rest].concat()
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Put(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        let (NameChange::Put(path, _) | NameChange::Rename(path, ..) | NameChange::Remove(path)) = self;
        path.parent() == Some(dir)
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (inode, real) = self.call(|state| {
            let real = if self.is_mirrored() { Some(RealDisk.create(path)?) } else { None };
            let inode = state.new_inode();
            state.inodes.insert(inode, Inode::default());
            state.change(NameChange::Put(path.to_owned(), inode));
            Ok((inode, real))
        })?;
        Ok(Box::new(SimFile { disk: self.clone(), inode, real }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|state| {
            let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
            if self.is_mirrored() {
                RealDisk.rename(from, to)?;
            }
            state.change(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|state| {
            if self.is_mirrored() {
                RealDisk.remove(path)?;
            }
            state.change(NameChange::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(|state| {
            let (synced, others) = std::mem::take(&mut state.pending).into_iter().partition(|change| change.is_in(dir));
            let synced: Vec<NameChange> = synced;
            synced.iter().for_each(|change| change.apply(&mut state.durable_names));
            state.pending = others;
            Ok(())
        })
    }
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let SimFile { disk, inode, real } = self;
        disk.call(|state| {
            let fits = state.room().map_or(bytes.len(), |room| room.min(bytes.len()));
            let written = bytes.get(..fits).unwrap_or_default();
            if let Some(real) = real {
                real.append(written)?;
            }
            state.inodes.entry(*inode).or_default().bytes.extend_from_slice(written);
            if fits < bytes.len() { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) }
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let synced = self.disk.call(|state| {
            let file = state.inodes.entry(self.inode).or_default();
            if !file.has_failed {
                file.durable_bytes = file.bytes.len();
            }
            Ok(())
        });
        if synced.is_err() {
            self.disk.lock().inodes.entry(self.inode).or_default().has_failed = true;
        }
        synced
    }
}

const SECTOR_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const EIO: i32 = 5;

    fn disk() -> (SimDisk, wal::sim_disk::SimDisk, tempfile::TempDir) {
        let (log, dir) = (wal::sim_disk::SimDisk::new(), tempfile::tempdir().unwrap());
        (SimDisk::mirrored(log.clone()), log, dir)
    }

    fn real(dir: &Path) -> Survivors {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    /// The same numbers in every run.
    fn random(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move |bound| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % bound
        }
    }

    /// An old file that is durable, and a new one that is on its way to its name.
    fn replace(disk: &SimDisk, dir: &Path, syncs: bool, syncs_dir: bool) {
        let (temp, name) = (dir.join("a.tmp"), dir.join("a"));
        disk.put_file(&name, b"old");
        let mut file = disk.create(&temp).unwrap();
        file.append(&[7; 2_000]).unwrap();
        if syncs {
            file.sync().unwrap();
        }
        drop(file);
        disk.rename(&temp, &name).unwrap();
        if syncs_dir {
            disk.sync_dir(dir).unwrap();
        }
    }

    fn after_crashes(syncs: bool, syncs_dir: bool) -> BTreeSet<Option<Vec<u8>>> {
        let one = |seed| {
            let (disk, _log, dir) = disk();
            replace(&disk, dir.path(), syncs, syncs_dir);
            assert_eq!(disk.contents(), real(dir.path()), "a running process sees what it has done");
            disk.crash(random(seed));
            let left = disk.contents();
            assert_eq!(left, real(dir.path()), "seed {seed}");
            disk.crash(random(seed + 1));
            assert_eq!(left, disk.contents(), "what a crash has left is durable");
            left.get(&dir.path().join("a")).cloned()
        };
        (1..100).map(one).collect()
    }

    #[test]
    fn what_is_synced_with_its_directory_survives_every_crash() {
        assert_eq!(after_crashes(true, true), BTreeSet::from([Some(vec![7; 2_000])]));
    }

    #[test]
    fn without_the_directorys_sync_it_is_the_old_file_or_the_new_one() {
        assert_eq!(after_crashes(true, false), BTreeSet::from([Some(b"old".to_vec()), Some(vec![7; 2_000])]));
    }

    #[test]
    fn without_the_files_sync_it_may_be_torn_or_zeros() {
        let left = after_crashes(false, true);
        assert!(!left.contains(&None) && !left.contains(&Some(b"old".to_vec())), "its name is durable");
        for expected in [Vec::new(), vec![0; 2_000], vec![7; 2_000], vec![7; 1_000]] {
            assert!(left.contains(&Some(expected.clone())), "{} bytes", expected.len());
        }
        let is_mixed = |bytes: &Vec<u8>| bytes.len() == 2_000 && bytes.contains(&0) && bytes.contains(&7);
        assert!(left.iter().flatten().any(is_mixed), "sectors have fates of their own");
    }

    #[test]
    fn another_directorys_sync_makes_no_name_durable() {
        let mut left = BTreeSet::new();
        for seed in 1..50 {
            let (disk, _log, dir) = disk();
            replace(&disk, dir.path(), true, false);
            disk.sync_dir(Path::new("/elsewhere")).unwrap();
            disk.crash(random(seed));
            left.insert(disk.contents().get(&dir.path().join("a")).map(Vec::len));
        }
        assert_eq!(left, BTreeSet::from([Some(3), Some(2_000)]));
    }

    #[test]
    fn the_power_is_the_logs_disks_too() {
        let (one, log, dir) = disk();
        one.freeze_at(one.calls());
        assert!(one.create(&dir.path().join("a")).is_err() && log.is_frozen());
        log.crash(1);
        one.crash(random(1));
        one.create(&dir.path().join("a")).unwrap();
        log.cut_power();
        assert!(one.create(&dir.path().join("b")).is_err());
    }

    #[test]
    fn what_a_failed_sync_has_not_made_durable_no_later_one_does() {
        let (disk, _log, dir) = disk();
        let name = dir.path().join("a");
        let mut file = disk.create(&name).unwrap();
        disk.sync_dir(dir.path()).unwrap();
        file.append(&[7; 9]).unwrap();
        disk.fail_at(disk.calls(), EIO, false);
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(EIO));
        file.sync().unwrap();
        assert!(disk.after_power_loss().contains(&Survivors::from([(name, Vec::new())])));
    }

    #[test]
    fn a_call_that_fails_has_done_what_it_should_or_nothing() {
        for is_done in [false, true] {
            let (disk, _log, dir) = disk();
            let name = dir.path().join("a");
            disk.put_file(&name, b"old");
            disk.fail_at(disk.calls(), EIO, is_done);
            assert!(disk.remove(&name).is_err());
            assert_eq!(name.exists(), !is_done);
            assert_eq!(disk.contents(), real(dir.path()));
        }
    }
}
