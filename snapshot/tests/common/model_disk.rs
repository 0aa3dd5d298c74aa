//! A disk in memory that can freeze before any call and fill up, and knows every state that a power loss may leave.
//!
//! What it promises is what a Unix file system promises: a file's bytes are there for certain up to its last fsync, and after that
//! whatever came may be missing, torn or zeros; names are certain up to the directory's last fsync, and after that each change may or
//! may not be there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use ringkeeper_snapshot::disk::{Disk, DiskFile};

/// A handle; clones share the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelDisk {
    state: Arc<Mutex<State>>,
}

/// One state after a power loss: names and bytes.
pub(crate) type Survivors = BTreeMap<PathBuf, Vec<u8>>;

#[derive(Debug, Default)]
struct State {
    calls: u64,
    /// From this call on everything fails.
    freeze_at: Option<u64>,
    /// It fails for want of space.
    is_full: bool,
    /// Bytes that still fit.
    room: Option<usize>,
    files: Vec<Inode>,
    durable_names: BTreeMap<PathBuf, usize>,
    names: BTreeMap<PathBuf, usize>,
    pending: Vec<NameChange>,
}

#[derive(Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable_bytes: usize,
}

#[derive(Debug, Clone)]
enum NameChange {
    Put(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

#[derive(Debug)]
struct ModelFile {
    disk: ModelDisk,
    inode: usize,
}

impl ModelDisk {
    /// Everything that is done now is durable; counting starts anew.
    pub(crate) fn settle(&self) {
        let mut state = self.state();
        state.files.iter_mut().for_each(|file| file.durable_bytes = file.bytes.len());
        state.durable_names = state.names.clone();
        state.pending.clear();
        state.calls = 0;
    }

    pub(crate) fn freeze_at(&self, call: u64) {
        self.state().freeze_at = Some(call);
    }

    pub(crate) fn full_at(&self, call: u64) {
        self.freeze_at(call);
        self.state().is_full = true;
    }

    pub(crate) fn fill_up_after(&self, room: usize) {
        self.state().room = Some(room);
    }

    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The names as a running process sees them.
    pub(crate) fn names(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// What a running process reads.
    pub(crate) fn contents(&self) -> Survivors {
        let state = self.state();
        state.names.iter().map(|(path, &inode)| (path.clone(), state.files[inode].bytes.clone())).collect()
    }

    /// Every state that a power loss now may leave: each subset of the pending changes of names, with each fate of what was not
    /// synced.
    pub(crate) fn after_power_loss(&self) -> Vec<Survivors> {
        let state = self.state();
        let count = u32::try_from(state.pending.len()).unwrap();
        assert!(count <= 8, "{count} pending changes of names make too many states");
        let mut states = Vec::new();
        for subset in 0..1_u32 << count {
            let mut names = state.durable_names.clone();
            for (_, change) in state.pending.iter().enumerate().filter(|(at, _)| subset & (1 << at) != 0) {
                change.apply(&mut names);
            }
            for fate in [Fate::Lost, Fate::Torn, Fate::Zeros, Fate::Kept] {
                let bytes = |inode: usize| fate.of(&state.files[inode]);
                states.push(names.iter().map(|(path, &inode)| (path.clone(), bytes(inode))).collect());
            }
        }
        states.sort();
        states.dedup();
        states
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Counts a call; a frozen disk does none.
    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.freeze_at.is_some_and(|at| state.calls >= at) {
            let full = io::Error::from_raw_os_error(ENOSPC);
            return Err(if state.is_full { full } else { io::Error::other("frozen") });
        }
        state.calls += 1;
        Ok(state)
    }
}

/// What becomes of bytes that were not synced.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Torn,
    Zeros,
    Kept,
}

impl Fate {
    fn of(self, file: &Inode) -> Vec<u8> {
        let (durable, unsynced) = file.bytes.split_at(file.durable_bytes);
        let rest = match self {
            Fate::Lost => Vec::new(),
            Fate::Torn => unsynced[..unsynced.len() / 2].to_vec(),
            Fate::Zeros => vec![0; unsynced.len()],
            Fate::Kept => unsynced.to_vec(),
        };
        [durable, &rest].concat()
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
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
}

impl State {
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }
}

impl Disk for ModelDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.call()?;
        let inode = state.files.len();
        state.files.push(Inode::default());
        state.change(NameChange::Put(path.to_owned(), inode));
        Ok(Box::new(ModelFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call()?.change(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        state.durable_names = state.names.clone();
        state.pending.clear();
        Ok(())
    }
}

impl DiskFile for ModelFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.call()?;
        let fits = state.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        state.room = state.room.map(|room| room - fits);
        state.files[self.inode].bytes.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.call()?;
        let file = &mut state.files[self.inode];
        file.durable_bytes = file.bytes.len();
        Ok(())
    }
}

/// `ENOSPC` of Linux.
const ENOSPC: i32 = 28;
