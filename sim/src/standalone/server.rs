//! A server's process: the production types, and a turn loop around them that does what `server` does.
//!
//! Owns what dies with a process: the `Replica`, the `Tree`, the `ShardState`s, the open `Log`, and the queues between them. Each [`Turn`] is what one
//! of the server's threads does between two sleeps (`server/src/{consensus,shard,log_writer}.rs`), and ends at an effect; between two turns anything may
//! be crashed. It must never decide anything about the protocol. It fails where the log fails, and then the process ends (law 8).

use super::effects::{Applied, Effect, TxnNote};
use crate::world::chance::Chance;
use crate::world::network::ConnId as NetConn;
use engine::apply;
use engine::log_room::{LogRoom, RESERVE_BYTES};
use engine::replica::{ForwardBatch, Now, Replica, ReplicaOptions, TxnBatch};
use engine::shard::{Action, Served, ShardOptions, ShardState};
use engine::stream::{ConnId, ShardId, StreamBatch};
use engine::tree::Tree;
use proto::Zxid;
use proto::txn::TxnRecord;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use wal::sim_disk::SimDisk;
use wal::{Gathered, Log, Options, Prepared, Started};

/// What one of the server's threads does between two sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Turn {
    /// A shard.
    Shard(usize),
    /// The consensus core.
    Core,
    /// The log's thread: gathers and starts a group, or tidies.
    Log,
    /// The group in flight has come to its end.
    LogDone,
}

/// Shards of a server.
pub(super) const SHARDS: usize = 2;
/// Forwarded batches that a shard's way to the core takes.
const INBOX_MAX: usize = 4;
/// ZooKeeper's tick, ms.
const TICK_MS: i64 = 500;
/// Small, so that a run fills several: a group and a record must fit.
const SEGMENT_BYTES: u64 = 192 << 10;
const GROUP_BYTES: usize = 16 << 10;
const RECORD_BYTES_MAX: usize = 32 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Process {
    replica: Replica,
    tree: Tree,
    shards: Vec<Shard>,
    log: Log<SimDisk>,
    queue: VecDeque<Arc<TxnBatch>>,
    /// How many txns of the queue's first batch are in the log already.
    taken: usize,
    is_group_full: bool,
    disk_is_full: bool,
    durable: Zxid,
    /// Txns that are not applied yet, as the history will tell of them.
    on_their_way: VecDeque<TxnNote>,
    /// Up to when the shards were asked whom they heard, ms.
    asked_until_ms: i64,
    next_tick_ms: i64,
}

#[derive(Debug)]
struct Shard {
    number: usize,
    state: ShardState,
    inbox: VecDeque<ForwardBatch>,
    stream: VecDeque<Arc<StreamBatch>>,
    sockets: BTreeMap<u32, Socket>,
    next_generation: u32,
    told_until_ms: i64,
    next_tick_ms: i64,
}

#[derive(Debug)]
struct Socket {
    net: NetConn,
    id: ConnId,
    /// What has come and was not read yet.
    unread: Vec<u8>,
    is_over: bool,
    is_paused: bool,
}

/// A recovered process, and what recovery applied, for the history.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) process: Process,
    pub(super) replayed: Vec<Applied>,
}

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoveryError {
    /// The log.
    #[error(transparent)]
    Log(#[from] wal::Error),
    /// What the log has is no txn.
    #[error("a record that is no txn: {0}")]
    Record(#[from] proto::DecodeError),
}

impl Process {
    /// Recovers from the disk, as `server/src/recovery.rs` does without an image.
    pub(super) fn recover(disk: SimDisk, salt: u64, now: Now) -> Result<Recovered, RecoveryError> {
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            group_bytes: GROUP_BYTES,
            max_record_bytes: RECORD_BYTES_MAX,
            salt,
            ..Options::new()
        };
        let (log, mut records) = Log::open(disk, options)?;
        let (mut tree, mut replayed, mut changes) = (Tree::new(), Vec::new(), Vec::new());
        while let Some((_, bytes)) = records.next_record()? {
            let record = TxnRecord::decode(bytes)?;
            apply::apply(&mut tree, &record, &mut changes, None);
            changes.clear();
            replayed.push(Applied { txn: TxnNote::of(&record, bytes), digest: tree.digest() });
        }
        let options = ReplicaOptions {
            tick_ms: TICK_MS,
            session_timeout_ms_min: 1_000,
            session_timeout_ms_max: 20_000,
            ..ReplicaOptions::default()
        };
        let replica = Replica::new(options, &tree, now);
        let shards = (0..SHARDS).map(|number| Shard::new(number, &tree)).collect();
        let durable = tree.last_zxid();
        let process = Process {
            replica,
            tree,
            shards,
            log,
            queue: VecDeque::new(),
            taken: 0,
            is_group_full: false,
            disk_is_full: false,
            durable,
            on_their_way: VecDeque::new(),
            asked_until_ms: 0,
            next_tick_ms: 0,
        };
        Ok(Recovered { process, replayed })
    }

    /// The state.
    pub(super) const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// A planted bug: what was started counts as durable.
    pub(super) fn believe_durable(&mut self) {
        self.durable = Zxid(self.log.last_appended_zxid());
    }

    /// Is nothing on its way?
    pub(super) fn is_idle(&self) -> bool {
        self.replica.pending_len() == 0 && self.queue.is_empty()
    }

    /// A clean stop, with everything written.
    pub(super) fn close(mut self) -> Result<(), wal::Error> {
        self.log.settle()?;
        if self.log.needs_segment() {
            return Ok(());
        }
        match self.log.close() {
            Err(error) if error.is_no_space() => Ok(()),
            closed => closed,
        }
    }

    // ---- the network's side ---------------------------------------------------------------------------------------------

    /// Somebody has connected. Returns the shard whose it is.
    pub(super) fn accepted(&mut self, net: NetConn, now: Now) -> usize {
        let number = usize::try_from(net.0).unwrap_or(0) % SHARDS;
        let Some(shard) = self.shards.get_mut(number) else { return 0 };
        let slot = (0..).find(|slot| !shard.sockets.contains_key(slot)).unwrap_or(0);
        shard.next_generation += 1;
        let id = ConnId { slot, generation: shard.next_generation };
        shard.state.accept(id, SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000)), us(now));
        shard.sockets.insert(slot, Socket { net, id, unread: Vec::new(), is_over: false, is_paused: false });
        number
    }

    /// Bytes lie in a socket. Returns the shard whose it is.
    pub(super) fn arrived(&mut self, net: NetConn, bytes: &[u8]) -> Option<usize> {
        let (number, socket) = self.socket(net)?;
        socket.unread.extend_from_slice(bytes);
        Some(number)
    }

    /// A socket is over.
    pub(super) fn closed(&mut self, net: NetConn) -> Option<usize> {
        let (number, socket) = self.socket(net)?;
        socket.is_over = true;
        Some(number)
    }

    fn socket(&mut self, net: NetConn) -> Option<(usize, &mut Socket)> {
        let mut all = self.shards.iter_mut().enumerate();
        all.find_map(|(number, shard)| Some((number, shard.sockets.values_mut().find(|socket| socket.net == net)?)))
    }

    // ---- turns ----------------------------------------------------------------------------------------------------------

    /// One thread does what it has to.
    pub(super) fn turn(&mut self, turn: Turn, now: Now, chance: &mut Chance) -> Result<Vec<Effect>, wal::Error> {
        let mut effects = Vec::new();
        match turn {
            Turn::Shard(number) => {
                if let Some(shard) = self.shards.get_mut(number) {
                    shard.turn(&self.tree, now, self.asked_until_ms, chance, &mut effects);
                }
            }
            Turn::Core => self.core(now, chance, &mut effects),
            Turn::Log => self.start_group(chance, &mut effects)?,
            Turn::LogDone => {
                if let Some(durable) = self.log.poll_commit()? {
                    self.durable = self.durable.max(Zxid(durable));
                    effects.extend([Effect::Wake(Turn::Core), Effect::Wake(Turn::Log)]);
                }
            }
        }
        Ok(effects)
    }

    /// As `Core::turn`.
    fn core(&mut self, now: Now, chance: &mut Chance, effects: &mut Vec<Effect>) {
        for (number, shard) in self.shards.iter_mut().enumerate() {
            while !self.replica.is_full() {
                let Some(batch) = shard.inbox.pop_front() else { break };
                self.replica.receive(now, &self.tree, &batch);
                effects.push(Effect::Wake(Turn::Shard(number)));
            }
        }
        if now.mono_ms >= self.next_tick_ms {
            self.replica.tick(now, &self.tree);
            self.next_tick_ms = self.replica.next_tick_ms(now);
            if let Some(until_ms) = self.replica.sessions().waits_to_hear(now.mono_ms) {
                self.asked_until_ms = self.asked_until_ms.max(until_ms);
                effects.extend((0..SHARDS).map(|number| Effect::Wake(Turn::Shard(number))));
            }
        }
        if let Some(batch) = self.replica.take_appends() {
            for (_, bytes) in batch.iter() {
                let record = TxnRecord::decode(bytes).expect("prep wrote it");
                self.on_their_way.push_back(TxnNote::of(&record, bytes));
            }
            self.queue.push_back(batch);
            effects.push(Effect::Wake(Turn::Log));
        }
        self.replica.durable(self.durable);
        // The reserve is sized for a real disk: it is there beside what this small one has.
        let bytes = self.log.room_bytes() + RESERVE_BYTES;
        self.replica.log_room(LogRoom { bytes, is_full: self.disk_is_full });
        self.apply(chance, effects);
    }

    fn apply(&mut self, chance: &mut Chance, effects: &mut Vec<Effect>) {
        if !self.replica.can_apply() {
            return;
        }
        let mut batch = StreamBatch::default();
        // One by one, to tell of each; the stream's batch is as large as chance will have it.
        for _ in 0..chance.between(1, 20) {
            if !self.replica.can_apply() {
                break;
            }
            let before = self.tree.last_zxid();
            self.replica.apply(&mut self.tree, &mut batch, 1);
            if self.tree.last_zxid() > before {
                let txn = self.on_their_way.pop_front().expect("what is applied was proposed");
                assert_eq!(
                    txn.zxid,
                    self.tree.last_zxid(),
                    "txns are applied in the order in which they were proposed"
                );
                effects.push(Effect::Applied(Applied { txn, digest: self.tree.digest() }));
            }
        }
        let batch = Arc::new(batch);
        for (number, shard) in self.shards.iter_mut().enumerate() {
            shard.stream.push_back(Arc::clone(&batch));
            effects.push(Effect::Wake(Turn::Shard(number)));
        }
        if self.replica.can_apply() {
            effects.push(Effect::Wake(Turn::Core));
        }
    }

    /// As `LogWriter::write`, but that the group is started and looked after later.
    fn start_group(&mut self, chance: &mut Chance, effects: &mut Vec<Effect>) -> Result<(), wal::Error> {
        self.gather()?;
        if self.log.is_in_flight() {
            return Ok(());
        }
        if self.log.needs_segment() && !self.make_room()? {
            effects.push(Effect::WakeLater(Turn::Log));
            return Ok(());
        }
        match self.log.start_commit()? {
            Started::InFlight => {
                self.is_group_full = false;
                effects.push(Effect::WriteStarted);
            }
            Started::NeedsSegment => effects.push(Effect::Wake(Turn::Log)),
            Started::Nothing => self.tidy(chance)?,
        }
        Ok(())
    }

    fn gather(&mut self) -> Result<(), wal::Error> {
        while !self.is_group_full
            && let Some(batch) = self.queue.front().cloned()
        {
            for (zxid, bytes) in batch.iter().skip(self.taken) {
                self.taken += 1;
                self.is_group_full = self.log.append(zxid.0, bytes)? == Gathered::Full;
                if self.is_group_full {
                    break;
                }
            }
            if self.taken >= batch.len() {
                self.queue.pop_front();
                self.taken = 0;
            }
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<bool, wal::Error> {
        match self.log.make_room() {
            Err(error) if error.is_no_space() => {
                self.disk_is_full = true;
                Ok(false)
            }
            made => {
                made?;
                self.disk_is_full = false;
                Ok(true)
            }
        }
    }

    /// What the log's thread does when it has nothing else to do.
    fn tidy(&mut self, chance: &mut Chance) -> Result<(), wal::Error> {
        if chance.percent(30) {
            self.log.seal()?;
        }
        if self.log.has_spare() {
            self.disk_is_full = false;
        } else {
            match self.log.prepare_step(64 << 10) {
                Err(error) if error.is_no_space() => self.disk_is_full = true,
                step => self.disk_is_full &= step? != Prepared::Ready,
            }
        }
        Ok(())
    }
}

impl Shard {
    fn new(number: usize, tree: &Tree) -> Shard {
        let shard = ShardId(u16::try_from(number).unwrap_or(0));
        // Small, so that the limits are met.
        let options = ShardOptions { shard, in_flight_max: 4, output_bytes_soft: 4 << 10, ..ShardOptions::default() };
        Shard {
            number,
            state: ShardState::new(options, tree.last_zxid()),
            inbox: VecDeque::new(),
            stream: VecDeque::new(),
            sockets: BTreeMap::new(),
            next_generation: 0,
            told_until_ms: 0,
            next_tick_ms: 0,
        }
    }

    /// As `ShardHandler::on_turn`.
    fn turn(&mut self, tree: &Tree, now: Now, asked_until_ms: i64, chance: &mut Chance, effects: &mut Vec<Effect>) {
        self.read_sockets(now, effects);
        while let Some(batch) = self.stream.pop_front() {
            self.state.on_stream(&batch, us(now));
        }
        self.tell_whom_it_heard(now, asked_until_ms);
        let number = self.number;
        for _ in 0..8 {
            if !self.state.has_ready() {
                break;
            }
            let served = self.state.serve(tree, self.inbox.len() < INBOX_MAX, us(now));
            self.hand_over(effects);
            if served != Served::More {
                break;
            }
        }
        self.hand_over(effects);
        self.perform(effects);
        if self.state.has_ready() && self.inbox.len() < INBOX_MAX || self.sockets.values().any(Socket::has_more) {
            effects.push(Effect::WakeLater(Turn::Shard(number)));
        }
        // A thread may be woken for nothing.
        if chance.one_in(50) {
            effects.push(Effect::Wake(Turn::Core));
        }
    }

    fn read_sockets(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for socket in self.sockets.values_mut().filter(|socket| !socket.is_paused) {
            if !socket.unread.is_empty() {
                self.state.receive(socket.id, &std::mem::take(&mut socket.unread), us(now));
            }
            if socket.is_over {
                self.state.closed(socket.id);
                effects.push(Effect::Close(socket.net));
            }
        }
        self.sockets.retain(|_, socket| !socket.is_over || socket.is_paused);
    }

    fn tell_whom_it_heard(&mut self, now: Now, asked_until_ms: i64) {
        if now.mono_ms >= self.next_tick_ms {
            self.next_tick_ms = now.mono_ms + TICK_MS / 4;
            self.state.tick(us(now));
            self.state.tell_heard_until(0);
        }
        if asked_until_ms <= self.told_until_ms {
            return;
        }
        let sockets = &self.sockets;
        let unread = |id: ConnId| sockets.values().any(|socket| socket.id == id && !socket.unread.is_empty());
        let asked_us = u64::try_from(asked_until_ms).unwrap_or(0) * 1_000;
        if self.state.look_for_unread(asked_us, us(now), unread) {
            self.told_until_ms = now.mono_ms;
            self.state.tick(us(now));
            self.state.tell_heard_until(us(now));
        }
    }

    fn hand_over(&mut self, effects: &mut Vec<Effect>) {
        if self.inbox.len() < INBOX_MAX
            && let Some(batch) = self.state.take_forwards()
        {
            self.inbox.push_back(batch);
            effects.push(Effect::Wake(Turn::Core));
        }
    }

    fn perform(&mut self, effects: &mut Vec<Effect>) {
        for action in self.state.take_actions() {
            match action {
                Action::Send(id) => self.send(id, effects),
                Action::CloseAfterFlush(id, _) => {
                    self.send(id, effects);
                    self.drop_conn(id, effects);
                }
                Action::Abort(id, _) | Action::FourLetterWord(id, _) => self.drop_conn(id, effects),
                Action::Pause(id) => self.set_paused(id, true),
                Action::Resume(id) => self.set_paused(id, false),
                Action::Held(..) | Action::Noted(..) => {}
            }
        }
    }

    fn send(&mut self, id: ConnId, effects: &mut Vec<Effect>) {
        let Some(socket) = self.sockets.get(&id.slot).filter(|socket| socket.id == id) else { return };
        let Some(out) = self.state.take_output(id).map(std::mem::take) else { return };
        if !out.is_empty() {
            effects.push(Effect::Send(socket.net, out));
        }
        self.state.sent(id, 0);
    }

    fn drop_conn(&mut self, id: ConnId, effects: &mut Vec<Effect>) {
        if self.sockets.get(&id.slot).is_some_and(|socket| socket.id == id)
            && let Some(socket) = self.sockets.remove(&id.slot)
        {
            effects.push(Effect::Close(socket.net));
        }
        self.state.closed(id);
    }

    fn set_paused(&mut self, id: ConnId, is_paused: bool) {
        if let Some(socket) = self.sockets.get_mut(&id.slot).filter(|socket| socket.id == id) {
            socket.is_paused = is_paused;
        }
    }
}

impl Socket {
    const fn has_more(&self) -> bool {
        (!self.unread.is_empty() || self.is_over) && !self.is_paused
    }
}

fn us(now: Now) -> u64 {
    u64::try_from(now.mono_ms).unwrap_or(0) * 1_000
}
