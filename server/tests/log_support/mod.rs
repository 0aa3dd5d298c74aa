//! A log on a simulated disk whose started writes end when the test says so, and txns to write to it.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::apply;
use engine::replica::{Forward, ForwardBatch, Now, Replica, ReplicaOptions, TxnBatch};
use engine::stream::{Attachment, ConnId, ShardId};
use engine::tree::Tree;
use engine::turn::LogItem;
use proto::txn::{Txn, TxnHeader, TxnRecord};
use proto::{OpCode, SessionId, Xid, Zxid};
use ringkeeper_server::hub::{CoreBell, Hub};
use ringkeeper_server::log_writer::LogWriter;
use ringkeeper_server::rt::Parker;
use snapshot::control::{Control, ControlFile};
use tempfile::TempDir;
use wal::sim_disk::{SimDisk, SimFile};
use wal::{AlignedBuf, Disk, Generation, Log, Options, Wait};

/// A warning of a slow disk that never comes.
const NO_WARNING: Duration = Duration::MAX;

/// A simulated disk on which a started write stays under way while it is held. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldDisk {
    pub(crate) sim: SimDisk,
    held: Arc<AtomicBool>,
}

impl HeldDisk {
    /// From now on started writes stay under way, unless somebody waits for them.
    pub(crate) fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// They come to their end again.
    pub(crate) fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
    }
}

impl Disk for HeldDisk {
    type Read = SimDisk;
    type File = SimFile;

    fn finish_durable(&mut self, buf: &mut AlignedBuf, wait: Wait) -> Option<io::Result<()>> {
        if wait == Wait::No && self.held.load(Ordering::SeqCst) {
            return None;
        }
        self.sim.finish_durable(buf, wait)
    }

    fn read_side(&self) -> SimDisk {
        self.sim.read_side()
    }
    fn create(&mut self, name: &str) -> io::Result<SimFile> {
        self.sim.create(name)
    }
    fn open_write(&mut self, name: &str) -> io::Result<SimFile> {
        self.sim.open_write(name)
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.sim.rename(from, to)
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.sim.remove(name)
    }
    fn start_durable(&mut self, file: &mut SimFile, at: u64, buf: &mut AlignedBuf, bytes: usize) -> io::Result<()> {
        self.sim.start_durable(file, at, buf, bytes)
    }
    fn notify(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        self.sim.notify(eventfd)
    }
    fn write_zeroes(&mut self, file: &mut SimFile, offset: u64, bytes: u64) -> io::Result<()> {
        self.sim.write_zeroes(file, offset, bytes)
    }
    fn sync_file(&mut self, file: &mut SimFile) -> io::Result<()> {
        self.sim.sync_file(file)
    }
    fn sync_dir(&mut self) -> io::Result<()> {
        self.sim.sync_dir()
    }
}

/// A hub with one shard, a log on a held disk, and whoever makes txns.
pub(crate) struct Rig {
    pub(crate) disk: HeldDisk,
    pub(crate) hub: Arc<Hub>,
    pub(crate) core_parker: Parker,
    pub(crate) log_parker: Parker,
    /// The control file, and where it lies.
    pub(crate) control: ControlFile,
    pub(crate) dir: TempDir,
    tree: Tree,
    replica: Replica,
    connections: u32,
    /// What was pushed to the log, in order.
    pub(crate) pushed: Vec<(u64, Vec<u8>)>,
}

impl Rig {
    /// An empty tree and an empty log, of which nothing is held.
    pub(crate) fn new() -> Rig {
        let (core_parker, log_parker) = (Parker::new(Duration::ZERO), Parker::new(Duration::ZERO));
        let hub = Arc::new(Hub::new(Tree::new(), 1, CoreBell::Thread(core_parker.bell()), log_parker.bell()));
        let tree = Tree::new();
        let replica = Replica::new(ReplicaOptions::default(), &tree, NOW);
        let disk = HeldDisk::default();
        let dir = tempfile::tempdir().unwrap();
        let control = Control { log_generation: options().generation.0, ..Control::default() };
        control.replace(dir.path()).unwrap();
        let control = ControlFile::new(dir.path(), control);
        Rig { disk, hub, core_parker, log_parker, control, dir, tree, replica, connections: 0, pushed: Vec::new() }
    }

    /// A writer over the log.
    pub(crate) fn writer(&self) -> LogWriter<HeldDisk> {
        let (log, _nothing) = Log::open(self.disk.clone(), options()).unwrap();
        LogWriter::new(Arc::clone(&self.hub), log, self.control.clone(), NO_WARNING)
    }

    /// Pushes a batch of so many txns to the log's queue, and returns the last zxid.
    pub(crate) fn push(&mut self, count: usize) -> u64 {
        self.connections += u32::try_from(count).unwrap();
        let batch = connects(self.connections, count);
        self.replica.receive(NOW, &self.tree, &batch);
        let txns: Arc<TxnBatch> = self.replica.take_appends().expect("a new session is a txn");
        assert_eq!(txns.len(), count);
        self.pushed.extend(txns.iter().map(|(zxid, bytes)| (zxid.0, bytes.to_vec())));
        self.hub.hand_to_log(LogItem::Txns(txns), Instant::now());
        self.last()
    }

    /// What was pushed up to a zxid.
    pub(crate) fn records(&self, up_to: Zxid) -> Vec<(Zxid, Vec<u8>)> {
        let records = self.pushed.iter().map(|(zxid, bytes)| (Zxid(*zxid), bytes.clone()));
        records.filter(|(zxid, _)| *zxid <= up_to).collect()
    }

    /// The log ends with this now, and what is pushed from here on follows it.
    pub(crate) fn take_back(&mut self, to: Zxid) {
        self.pushed.retain(|(zxid, _)| *zxid <= to.0);
        self.follow(to);
    }

    /// What is pushed from here on follows a state of this zxid. Returns what was pushed before.
    pub(crate) fn go_on_after(&mut self, base: Zxid) -> Vec<(u64, Vec<u8>)> {
        self.follow(base);
        std::mem::take(&mut self.pushed)
    }

    /// What was pushed before is in force again.
    pub(crate) fn go_back_to(&mut self, former: Vec<(u64, Vec<u8>)>) {
        self.pushed = former;
        self.follow(Zxid(self.last()));
    }

    fn follow(&mut self, last: Zxid) {
        let mut tree = Tree::new();
        if last > Zxid::ZERO {
            let header = TxnHeader { session: SessionId(0), xid: Xid(0), zxid: last, time_ms: 0, op: OpCode::Error };
            let record = TxnRecord { header, txn: Txn::Error(0), digest: None };
            apply::apply(&mut tree, &record, &mut Vec::new(), None);
        }
        self.replica = Replica::new(ReplicaOptions::default(), &tree, NOW);
        self.tree = tree;
    }

    /// The last zxid that was pushed.
    pub(crate) fn last(&self) -> u64 {
        self.pushed.last().map_or(0, |(zxid, _)| *zxid)
    }

    /// What the log is said to be durable up to.
    pub(crate) fn durable(&self) -> u64 {
        self.hub.log_queue.durable()
    }

    /// Groups that were said to be durable.
    pub(crate) fn groups(&self) -> u64 {
        self.hub.core_stats.log_syncs.load(Ordering::Relaxed)
    }

    /// Holds what lies on the disk to being what was pushed, in order, at least up to this zxid.
    pub(crate) fn assert_holds_up_to(&self, zxid: u64) {
        let control = Control::load(self.dir.path()).unwrap().unwrap();
        let generation = Generation(control.log_generation);
        let options = Options { generation, replay_after: control.base_zxid().0, ..options() };
        let (log, mut reader) = Log::open(self.disk.sim.deep_clone(), options).unwrap();
        assert!(log.torn_tail().is_none(), "{:?}", log.torn_tail());
        // What the image holds is not asked of the log.
        let mut found = self.pushed.iter().filter(|(pushed, _)| *pushed <= control.base_zxid().0).count();
        while let Some((at, data)) = reader.next_record().unwrap() {
            assert_eq!((at, data), (self.pushed[found].0, &self.pushed[found].1[..]));
            found += 1;
        }
        let expected = self.pushed.iter().filter(|(pushed, _)| *pushed <= zxid).count();
        assert!(found >= expected, "{found} of {expected} txns lie on the disk");
    }

    /// Does a seal follow the last txn that was pushed? Then its group is known to have been durable, and is damage where it does not
    /// read; else it is a torn tail.
    pub(crate) fn is_sealed(&self) -> bool {
        let disk = self.disk.sim.deep_clone();
        // The note of a clean stop would tell, too.
        disk.put_file("closed", &[]);
        let (_, last) = self.pushed.last().expect("something was pushed");
        let found = disk.files().into_iter().find_map(|(name, bytes)| {
            let at = bytes.windows(last.len()).position(|window| window == last)?;
            name.starts_with("segment-").then_some((name, bytes, at))
        });
        let (name, mut bytes, at) = found.expect("what was pushed lies in a segment");
        bytes[at] ^= 1;
        disk.put_file(&name, &bytes);
        match Log::open(disk, options()) {
            Err(error) => error.is_damage(),
            Ok((log, _)) => {
                assert!(log.torn_tail().is_some(), "a changed byte was not noticed");
                false
            }
        }
    }
}

/// A batch of handshakes for new sessions: each is a txn.
pub(crate) fn connects(first: u32, count: usize) -> ForwardBatch {
    let connect = |slot| Forward::Connect {
        from: Attachment { shard: ShardId(0), conn: ConnId { slot, generation: 0 } },
        last_zxid_seen: Zxid(0),
        timeout_ms: 30_000,
        session: SessionId(0),
        password: None,
        read_only: None,
    };
    ForwardBatch { items: (first..).take(count).map(connect).collect(), bytes: Vec::new() }
}

/// A group is full after a block, and a segment after sixteen.
pub(crate) fn options() -> Options {
    Options { segment_bytes: 16 * BLOCK as u64, max_record_bytes: BLOCK, group_bytes: BLOCK, salt: 7, ..Options::new() }
}

pub(crate) const BLOCK: usize = 4096;

const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_000 };
