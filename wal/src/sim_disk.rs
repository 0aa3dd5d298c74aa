//! A disk in memory that loses what a real one may lose, for tests and the simulator.
//!
//! Promises exactly what POSIX and the hardware promise, and nothing more: a sector (512 bytes) is written whole or
//! not at all; of the sectors written since the last sync each is, after a crash, old or new on its own (so writes
//! tear and reorder); a size change without a sync, and a creation, rename or removal without a directory sync, may
//! each be lost. The seed of [`SimDisk::crash`] decides. Durable sectors stay as they are.
//!
//! Every write, zero-fill, sync and change of a name counts as one or two **steps**; [`SimDisk::freeze_at`] lets the
//! power fail at one of them: from there on every call fails until [`SimDisk::crash`]. [`SimDisk::fail_at`] fails one
//! step with an error number; [`SimDisk::set_capacity`] makes a full disk.

use std::{
    collections::BTreeMap,
    io,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{AlignedBuf, Disk, ReadDisk, Wait, format::to_usize};

/// A simulated disk with one directory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`SimDisk`].
#[derive(Debug, Clone, Copy)]
pub struct SimFile {
    inode: u64,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<NameChange>,
    next_inode: u64,
    steps: u64,
    freeze_at: Option<u64>,
    frozen: bool,
    fail_at: Option<(u64, i32)>,
    capacity_bytes: Option<usize>,
    started: Option<Started>,
}

/// A write whose sectors are with the disk, and not durable yet.
#[derive(Debug)]
struct Started {
    file: SimFile,
    begin: usize,
    end: usize,
    buf: AlignedBuf,
}

#[derive(Debug, Default)]
struct Inode {
    /// What a read sees.
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Every version that a sector has had since its last sync, by sector number.
    unsynced: BTreeMap<usize, Vec<[u8; SECTOR_BYTES]>>,
}

#[derive(Debug)]
enum NameChange {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Lets the power fail at the step with this number (the first is 1): the step's effect may or may not last.
    pub fn freeze_at(&self, step: u64) {
        self.lock().freeze_at = Some(step);
    }

    /// The power fails now.
    pub fn cut_power(&self) {
        self.lock().frozen = true;
    }

    /// Whether the power has failed.
    pub fn is_frozen(&self) -> bool {
        self.lock().frozen
    }

    /// Fails the step with this number with an error number (EIO, say); its effect may or may not last.
    pub fn fail_at(&self, step: u64, errno: i32) {
        self.lock().fail_at = Some((step, errno));
    }

    /// Limits the bytes in all files; beyond it extending a file fails with ENOSPC. `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.lock().capacity_bytes = bytes;
    }

    /// A power failure and restart: `seed` decides what of the unsynced survives.
    pub fn crash(&self, seed: u64) {
        let mut random = Random(seed);
        let state = &mut *self.lock();
        state.crash_names(&mut random);
        for inode in state.inodes.values_mut() {
            inode.crash(&mut random);
        }
        state.frozen = false;
        state.freeze_at = None;
        state.fail_at = None;
        state.started = None;
    }

    /// The process dies, the machine does not: everything written is still there, though not durable. A freeze still to
    /// come stays set.
    pub fn kill_process(&self) {
        let state = &mut *self.lock();
        state.frozen = false;
        state.started = None;
    }

    /// All files with their bytes.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        let bytes = |inode| state.inodes.get(inode).map(|i| i.current.clone()).unwrap_or_default();
        state.names.iter().map(|(name, inode)| (name.clone(), bytes(inode))).collect()
    }

    /// Puts a file there, durably: damage, or an old image. Does not count as a step.
    pub fn put_file(&self, name: &str, bytes: &[u8]) {
        let state = &mut *self.lock();
        let inode = state.names.get(name).copied().unwrap_or_else(|| state.new_inode());
        let content = Inode { current: bytes.to_vec(), durable: bytes.to_vec(), unsynced: BTreeMap::new() };
        state.inodes.insert(inode, content);
        state.names.insert(name.to_owned(), inode);
        state.durable_names.insert(name.to_owned(), inode);
    }

    /// Nothing is there any more, durably.
    pub fn remove_all(&self) {
        let state = &mut *self.lock();
        state.names.clear();
        state.durable_names.clear();
        state.unsynced_names.clear();
    }

    /// An independent disk with the same files, all durable.
    pub fn deep_clone(&self) -> SimDisk {
        let copy = SimDisk::new();
        for (name, bytes) in self.files() {
            copy.put_file(&name, &bytes);
        }
        copy
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a step; fails if the power has failed or fails now.
    fn step(&mut self) -> io::Result<()> {
        self.check_power()?;
        self.steps += 1;
        if self.freeze_at == Some(self.steps) {
            self.frozen = true;
        }
        if let Some((_, errno)) = self.fail_at.take_if(|(step, _)| *step == self.steps) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.check_power()
    }

    fn check_power(&self) -> io::Result<()> {
        if self.frozen { Err(io::Error::other("the simulated power has failed")) } else { Ok(()) }
    }

    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    fn inode(&mut self, file: SimFile) -> &mut Inode {
        self.inodes.get_mut(&file.inode).expect("an open file's inode exists")
    }

    fn find(&self, name: &str) -> io::Result<SimFile> {
        self.check_power()?;
        let inode = *self.names.get(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(SimFile { inode })
    }

    fn check_capacity(&mut self, file: SimFile, end: usize) -> io::Result<()> {
        let others: usize = self
            .names
            .values()
            .filter(|i| **i != file.inode)
            .filter_map(|i| self.inodes.get(i))
            .map(|i| i.current.len())
            .sum();
        let grows = end > self.inode(file).current.len();
        match self.capacity_bytes {
            Some(capacity) if grows && others + end > capacity => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            _ => Ok(()),
        }
    }

    fn write(&mut self, file: SimFile, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_power()?;
        let begin = to_usize(offset);
        assert!(begin.is_multiple_of(SECTOR_BYTES) && data.len().is_multiple_of(SECTOR_BYTES), "writes are aligned");
        self.check_capacity(file, begin + data.len())?;
        self.inode(file).write(begin, data);
        self.step()
    }

    /// Every unsynced change of a name happens or does not, in order where it is still possible.
    fn crash_names(&mut self, random: &mut Random) {
        let mut names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.unsynced_names) {
            if random.coin() {
                apply(&mut names, &change);
            }
        }
        self.names = names.clone();
        self.durable_names = names;
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Create(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
    }
}

impl Inode {
    fn write(&mut self, begin: usize, data: &[u8]) {
        let end = begin + data.len();
        if self.current.len() < end {
            self.current.resize(end, 0);
        }
        if let Some(place) = self.current.get_mut(begin..end) {
            place.copy_from_slice(data);
        }
        for (sector, bytes) in (begin / SECTOR_BYTES..).zip(data.chunks_exact(SECTOR_BYTES)) {
            let mut version = [0; SECTOR_BYTES];
            version.copy_from_slice(bytes);
            self.unsynced.entry(sector).or_default().push(version);
        }
    }

    /// Makes the sectors in this range, and a size that they need, durable.
    fn sync(&mut self, begin: usize, end: usize) {
        let sectors = begin / SECTOR_BYTES..end / SECTOR_BYTES;
        let mut later = self.unsynced.split_off(&sectors.start);
        self.unsynced.append(&mut later.split_off(&sectors.end));
        for (sector, versions) in later {
            if let Some(last) = versions.last() {
                set_sector(&mut self.durable, sector, last);
            }
        }
    }

    fn crash(&mut self, random: &mut Random) {
        if self.current.len() > self.durable.len() && random.coin() {
            self.durable.resize(self.current.len(), 0);
        }
        let bytes = self.durable.len();
        for (sector, versions) in std::mem::take(&mut self.unsynced) {
            let choice = random.below(versions.len() + 1);
            if let Some(version) = versions.get(choice).filter(|_| (sector + 1) * SECTOR_BYTES <= bytes) {
                set_sector(&mut self.durable, sector, version);
            }
        }
        self.current = self.durable.clone();
    }
}

fn set_sector(bytes: &mut Vec<u8>, sector: usize, version: &[u8; SECTOR_BYTES]) {
    let (begin, end) = (sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(begin..end) {
        place.copy_from_slice(version);
    }
}

impl Disk for SimDisk {
    type Read = SimDisk;
    type File = SimFile;

    fn read_side(&self) -> SimDisk {
        self.clone()
    }

    fn create(&mut self, name: &str) -> io::Result<SimFile> {
        let state = &mut *self.lock();
        state.check_power()?;
        if state.names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let inode = state.new_inode();
        state.inodes.insert(inode, Inode::default());
        state.names.insert(name.to_owned(), inode);
        state.unsynced_names.push(NameChange::Create(name.to_owned(), inode));
        state.step()?;
        Ok(SimFile { inode })
    }

    fn open_write(&mut self, name: &str) -> io::Result<SimFile> {
        self.lock().find(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let state = &mut *self.lock();
        state.find(from)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        apply(&mut state.names, &change);
        state.unsynced_names.push(change);
        state.step()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let state = &mut *self.lock();
        state.find(name)?;
        let change = NameChange::Remove(name.to_owned());
        apply(&mut state.names, &change);
        state.unsynced_names.push(change);
        state.step()
    }

    fn start_durable(&mut self, file: &mut SimFile, offset: u64, buf: &mut AlignedBuf, bytes: usize) -> io::Result<()> {
        let state = &mut *self.lock();
        let data = buf.get(..bytes).expect("a write stays within its buffer");
        state.write(*file, offset, data)?;
        let begin = to_usize(offset);
        let started = Started { file: *file, begin, end: begin + bytes, buf: std::mem::take(buf) };
        assert!(state.started.replace(started).is_none(), "one started write at a time");
        Ok(())
    }

    fn finish_durable(&mut self, buf: &mut AlignedBuf, _wait: Wait) -> Option<io::Result<()>> {
        let state = &mut *self.lock();
        let started = state.started.take().expect("a write was started");
        *buf = started.buf;
        let synced = state.check_power().map(|()| state.inode(started.file).sync(started.begin, started.end));
        Some(synced.and_then(|()| state.step()))
    }

    fn notify(&mut self, _eventfd: BorrowedFd<'_>) -> io::Result<()> {
        // Whoever looks finds it done.
        Ok(())
    }

    fn write_zeroes(&mut self, file: &mut SimFile, offset: u64, bytes: u64) -> io::Result<()> {
        self.lock().write(*file, offset, &vec![0; to_usize(bytes)])
    }

    fn sync_file(&mut self, file: &mut SimFile) -> io::Result<()> {
        let state = &mut *self.lock();
        state.step()?;
        let inode = state.inode(*file);
        inode.sync(0, inode.current.len());
        state.step()
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let state = &mut *self.lock();
        state.step()?;
        state.durable_names = state.names.clone();
        state.unsynced_names.clear();
        state.step()
    }
}

impl ReadDisk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.check_power()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn open_read(&self, name: &str) -> io::Result<SimFile> {
        self.lock().find(name)
    }

    fn file_bytes(&self, file: &SimFile) -> io::Result<u64> {
        let state = &mut *self.lock();
        state.check_power()?;
        Ok(state.inode(*file).current.len() as u64)
    }

    fn read_at(&self, file: &SimFile, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let state = &mut *self.lock();
        state.check_power()?;
        let rest = state.inode(*file).current.get(to_usize(offset)..).unwrap_or_default();
        let bytes = rest.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..bytes), rest.get(..bytes)) {
            to.copy_from_slice(from);
        }
        Ok(bytes)
    }
}

/// splitmix64: small, fixed, seeded.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    fn below(&mut self, n: usize) -> usize {
        to_usize(self.next() % n as u64)
    }
}

const SECTOR_BYTES: usize = 512;
