//! The consensus core: it alone orders requests and changes the tree.
//!
//! Owns the turn loop's state ([`engine::turn::Core`], where what a turn does is told) and is its host: here its effects meet the hub's queues, the tree's lock, the
//! image thread, and the network of an ensemble's member ([`Peers`]). It never waits for the disk, and never takes the tree's lock without room in every
//! shard's stream.
//!
//! It has a thread of its own ([`Core::run`]), or, where there is one processor, it takes its turns within those of the first shard, and
//! starts the log's groups itself ([`LogPort::Hosted`], `docs/decisions/002`): then a write is handed over between threads nowhere.
#![forbid(unsafe_code)]

use crate::cold::ColdReads;
use crate::excess_log::ExcessLog;
use crate::hub::Hub;
use crate::image::ImageStarter;
use crate::log_writer::{LogWriter, Pumped};
use crate::mailbox::Desk;
use crate::measured::micros;
use crate::peers::Peers;
use crate::rt::{Doorbell, Parker};
use crate::stats;
use crate::watchdog::WAIT_MAX;
use engine::log_room::LogRoom;
use engine::replica::{ForwardBatch, Now, Replica};
use engine::stream::{StreamBatch, StreamItem};
use engine::tree::Tree;
use engine::turn::sync::SentBy;
use engine::turn::{
    self, ElectionEvent, Host, LinkTable, LogDone, LogItem, Note, Shown, SyncProgress, Taken, TreeLock,
};
use proto::{ServerId, Zxid};
use snapshot::control::Spans;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use wal::Disk;
use zab::election::Vote;
use zab::{History, LinkId, Sync};

/// While stopping: how long the core waits for the log to make the last txns durable.
const STOP_ROUNDS_MAX: u32 = 100;

/// The core's way to the log.
#[derive(Debug)]
pub enum LogPort<D: Disk> {
    /// The log thread takes from the queue.
    Thread,
    /// The core does itself what does not block, whenever the writer is here; else it is with the log thread.
    Hosted {
        /// Where the writer changes hands.
        desk: Arc<Desk<Box<LogWriter<D>>>>,
        /// The writer, while it is here.
        writer: Option<Box<LogWriter<D>>>,
        /// What the kernel rings when a group has come to its end; set once the host runs.
        bell: Option<Doorbell>,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Core<D: Disk> {
    turn: turn::Core,
    host: HubHost<D>,
}

/// What a turn of the core came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Something moved: there may be more to do.
    Progress,
    /// Nothing did; look again after this time, if nobody rings before.
    Idle(Duration),
}

impl<D: Disk> Core<D> {
    /// The core over a recovered server. `host`: the shard that will call [`Core::turn`] in its own turns, if one does. `peers`: the network of a member of an
    /// ensemble.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        turn: turn::Core,
        log: LogPort<D>,
        images: ImageStarter,
        cold_reads: ColdReads,
        host: Option<usize>,
        peers: Option<Box<Peers>>,
    ) -> Core<D> {
        let on_their_way = VecDeque::new();
        Core {
            turn,
            host: HubHost {
                hub,
                log,
                images,
                cold_reads,
                host,
                excess_log: ExcessLog::default(),
                on_their_way,
                to_ring: Vec::new(),
                peers,
            },
        }
    }

    /// The host runs and has this bell. Where the kernel cannot ring it, the log stays with its thread.
    pub fn use_bell(&mut self, bell: Doorbell) {
        match &mut self.host.log {
            LogPort::Hosted { bell: place, .. } if bell.notify_fd().is_some() => *place = Some(bell),
            LogPort::Hosted { .. } => self.host.release_log(),
            LogPort::Thread => {}
        }
    }

    /// Runs until the hub stops, and until what was proposed by then is applied or the log does not come after.
    pub fn run(mut self, mut parker: Parker) {
        let (mut stop_rounds, fd) = (0, self.network_fd());
        loop {
            let Turn::Idle(wait) = self.turn() else { continue };
            if !self.host.hub.is_stopping() {
                match &fd {
                    Some(fd) => parker.wait_or_readable(fd.as_fd(), Some(wait)),
                    None => parker.wait(Some(wait)),
                };
                continue;
            }
            self.release_log();
            stop_rounds += 1;
            // What was proposed may become durable still, and its replies leave; then it is over.
            if self.turn.is_idle() || stop_rounds > STOP_ROUNDS_MAX {
                return;
            }
            parker.wait(Some(Duration::from_millis(10)));
        }
    }

    /// Gives the log back to its thread, for good: the core that hosted it is about to end or to move to another thread.
    pub fn release_log(&mut self) {
        self.host.release_log();
    }

    /// What becomes readable when something comes from another member of the ensemble: then a turn is due.
    #[must_use]
    pub fn network_fd(&self) -> Option<Arc<OwnedFd>> {
        self.host.peers.as_ref().map(|peers| peers.fd())
    }

    /// Does all that is at hand, once. Never waits.
    pub fn turn(&mut self) -> Turn {
        let hub = Arc::clone(&self.host.hub);
        let stats = &hub.core_stats;
        stats::add(&stats.core_beats, 1);
        stats::set(&stats.core_idle, 0);
        let replica = self.turn.replica_mut();
        replica.set_memory_short(hub.memory.is_short());
        let mut progress = self.turn.turn(&mut self.host, &*hub);
        for noted in self.turn.replica_mut().take_excesses() {
            self.host.excess_log.note(&noted, Instant::now());
        }
        self.host.tell_of_log_space(self.turn.replica());
        // As many as wait now: quick askers must not keep the core from its work.
        for _ in 0..hub.core_questions.len() {
            let Some(question) = hub.core_questions.pop() else { break };
            question.put(self.turn.replica_mut());
            progress = true;
        }
        if self.host.images.wants_tree() {
            let mut tree = hub.tree.write().unwrap_or_else(PoisonError::into_inner);
            if self.turn.may_freeze(&self.host, tree.last_zxid()) {
                self.host.consider_image(&mut tree, self.turn.replica());
            }
        }
        self.publish();
        if progress {
            return Turn::Progress;
        }
        stats::set(&stats.core_idle, 1);
        let until_next = u64::try_from(self.turn.next_turn_ms() - now(&hub).mono_ms);
        let until_next = until_next.map_or(Duration::ZERO, Duration::from_millis);
        let wait = match &self.host.log {
            LogPort::Hosted { writer: Some(writer), .. } => until_next.min(writer.next_look().unwrap_or(WAIT_MAX)),
            LogPort::Hosted { writer: None, .. } | LogPort::Thread => until_next,
        };
        let of_network = self.host.peers.as_ref().and_then(|peers| peers.next_look(self.turn.links()));
        let wait = of_network.map_or(wait, |of_network| wait.min(of_network));
        Turn::Idle(wait.clamp(Duration::from_millis(1), WAIT_MAX))
    }

    fn publish(&self) {
        let stats = &self.host.hub.core_stats;
        let replica = self.turn.replica();
        stats::set(&stats.outstanding, replica.pending_len() as u64);
        stats::set(&stats.local_sessions, replica.local_sessions().len() as u64);
        stats::set(&stats.sessions_expired, replica.expired_count());
    }
}

/// What the turn loop needs, over the hub.
#[derive(Debug)]
struct HubHost<D: Disk> {
    hub: Arc<Hub>,
    log: LogPort<D>,
    images: ImageStarter,
    /// Reads in what the ends of sessions will touch.
    cold_reads: ColdReads,
    /// The shard within whose turns the core takes its own: that one needs no ring.
    host: Option<usize>,
    excess_log: ExcessLog,
    /// Txns that the tree does not show yet: the last of a batch, how many they are, and when they went to the log.
    on_their_way: VecDeque<(Zxid, u64, Instant)>,
    /// Shards that are to be rung for what was pushed to them.
    to_ring: Vec<bool>,
    peers: Option<Box<Peers>>,
}

impl TreeLock for Hub {
    fn read(&self) -> impl Deref<Target = Tree> {
        self.read_tree()
    }

    fn write(&self) -> impl DerefMut<Target = Tree> {
        self.tree.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Disk> Host for HubHost<D> {
    fn now(&self) -> Now {
        now(&self.hub)
    }

    fn is_stopping(&self) -> bool {
        self.hub.is_stopping()
    }

    fn shards(&self) -> usize {
        self.hub.shards.len()
    }

    fn next_forwards(&mut self, shard: usize) -> Option<ForwardBatch> {
        self.hub.shards.get(shard)?.inbox.pop()
    }

    fn took_forwards(&mut self, shard: usize) {
        if let Some(link) = self.hub.shards.get(shard)
            && link.inbox.made_room()
            && self.host != Some(shard)
        {
            link.ring();
        }
    }

    fn took_requests(&mut self, requests: u64) {
        self.hub.measured.core_waiting.add(requests, 1);
        stats::add(&self.hub.measured.requests, requests);
    }

    fn has_room_everywhere(&mut self) -> bool {
        // The first full one rings when it has room, and then the next is asked: each was rung when it was half full.
        self.hub.shards.iter().all(|link| link.stream.has_room_or_asks())
    }

    fn show(&mut self, tree: &mut Tree, shown: &Shown<'_>) {
        let Shown { applied, batch, replica, may_freeze } = *shown;
        let hub = Arc::clone(&self.hub);
        stats::add(&hub.core_stats.txns_applied, applied);
        while let Some((_, txns, since)) = self.on_their_way.pop_front_if(|(last, ..)| *last <= batch.zxid) {
            hub.measured.propagation_us.add(micros(since.elapsed()), txns);
        }
        let has_changes = batch.items.iter().any(|item| matches!(item, StreamItem::Change(_)));
        self.to_ring = hub.shards.iter().map(|link| link.stream.push(Arc::clone(batch), has_changes)).collect();
        if may_freeze {
            self.consider_image(tree, replica);
        }
    }

    fn shown(&mut self, batch: &StreamBatch) {
        for item in &batch.items {
            match shard_of(item) {
                To::Nobody => {}
                To::Shard(shard) => {
                    if let Some(ring) = self.to_ring.get_mut(shard) {
                        *ring = true;
                    }
                }
                To::All => self.to_ring.fill(true),
            }
        }
        for (number, (link, ring)) in self.hub.shards.iter().zip(&self.to_ring).enumerate() {
            if *ring && self.host != Some(number) {
                link.ring();
            }
        }
    }

    fn ask_whom_they_heard(&mut self, until_ms: i64) {
        let until_us = u64::try_from(until_ms).unwrap_or(0) * 1_000;
        for (number, link) in self.hub.shards.iter().enumerate() {
            if link.ask_heard_until(until_us) && self.host != Some(number) {
                link.ring();
            }
        }
    }

    /// The ends of sessions touch their ephemerals, which may lie in the image and not be in memory.
    fn ticked(&mut self, tree: &Tree, replica: &mut Replica, now: Now) {
        if tree.base().is_some() {
            self.cold_reads.ask_for_ends(|| replica.soon_to_expire(now));
        }
    }

    fn log_has_room(&self) -> bool {
        self.hub.log_queue.has_room()
    }

    fn push_log(&mut self, item: LogItem) {
        let since = Instant::now();
        if let LogItem::Txns(batch) = &item {
            self.images.appended(batch);
            if let Some(last) = batch.last() {
                self.on_their_way.push_back((last, batch.len() as u64, since));
            }
        }
        self.hub.hand_to_log(item, since);
        if !matches!(self.log, LogPort::Hosted { writer: Some(_), .. }) {
            self.hub.ring_log();
        }
    }

    /// What of the log's work does not block, if the core has it.
    fn pump_log(&mut self) -> bool {
        let LogPort::Hosted { desk, writer: place, bell } = &mut self.log else { return false };
        let bell = bell.as_ref().and_then(Doorbell::notify_fd);
        let Some(mut writer) = place.take().or_else(|| desk.take_for_core()) else { return false };
        match writer.pump(bell) {
            Ok(Pumped::Blocks) => {
                desk.give_to_thread(writer);
                self.hub.ring_log();
                false
            }
            Ok(pumped) => {
                *place = Some(writer);
                pumped == Pumped::Progress
            }
            Err(error) => {
                self.hub.fail_log(&error);
                self.log = LogPort::Thread;
                false
            }
        }
    }

    fn next_log_done(&mut self) -> Option<LogDone> {
        self.hub.log_done.pop()
    }

    fn log_durable(&self) -> Zxid {
        Zxid(self.hub.log_queue.durable())
    }

    fn log_begins_after(&self) -> Zxid {
        Zxid(self.hub.log_begins_after.load(Ordering::Acquire))
    }

    fn log_room(&self) -> LogRoom {
        self.hub.log_queue.room()
    }

    fn read_links(&mut self, links: &mut LinkTable) -> bool {
        self.peers().read_links(links)
    }

    fn write_links(&mut self, links: &mut LinkTable) {
        self.peers().write_links(links);
    }

    fn dial(&mut self, server: ServerId) {
        self.peers().dial(server);
    }

    fn give_up_dial(&mut self) {
        self.peers().give_up_dial();
    }

    fn next_election_event(&mut self) -> Option<ElectionEvent> {
        self.peers().next_election_event()
    }

    fn vote(&mut self, to: ServerId, vote: Vote) {
        self.peers().vote(to, vote);
    }

    fn start_sync(&mut self, link: LinkId, sync: Sync) {
        self.peers().start_sync(link, sync);
    }

    fn next_sync(&mut self, link: LinkId, out: &mut Vec<u8>) -> SyncProgress {
        self.peers().next_sync(link, out)
    }

    fn end_sync(&mut self, link: LinkId) {
        self.peers().end_sync(link);
    }

    fn start_taking(&mut self, zxid: Zxid, sent_by: SentBy) {
        self.peers().start_taking(zxid, sent_by);
    }

    fn feed(&mut self, input: &mut Vec<u8>) {
        self.peers().feed(input);
    }

    fn wants_more(&self) -> bool {
        self.peers.as_ref().is_some_and(|peers| peers.wants_more())
    }

    fn taken(&mut self) -> Option<Result<Taken, ()>> {
        self.peers().taken()
    }

    fn stop_taking(&mut self) {
        self.peers().stop_taking();
    }

    fn begin_era(&mut self) {
        self.images.forget();
    }

    fn drop_tree(&mut self, former: Tree) {
        self.on_their_way.clear();
        self.peers().drop_tree(former);
    }

    fn note(&mut self, note: Note) {
        if let Some(peers) = &mut self.peers {
            peers.note(&note);
        }
    }
}

impl<D: Disk> HubHost<D> {
    /// The network. The loop of a server that stands alone asks nothing of it: its peer leads at once and for ever, and has no links.
    fn peers(&mut self) -> &mut Peers {
        self.peers.as_deref_mut().expect("only a member of an ensemble has to do with other servers")
    }

    fn release_log(&mut self) {
        if let LogPort::Hosted { desk, writer, .. } = std::mem::replace(&mut self.log, LogPort::Thread) {
            if let Some(mut writer) = writer {
                // A failure shows again at the thread's first call.
                let _failed = writer.settle();
                desk.give_to_thread(writer);
            }
            desk.close();
            self.hub.ring_log();
        }
    }

    fn consider_image(&mut self, tree: &mut Tree, replica: &Replica) {
        self.images.consider(tree, &self.hub.memory, |zxid| spans_up_to(replica.peer().history(), zxid));
    }

    /// A word to the operator when the log's space begins to matter, and one when that ends.
    fn tell_of_log_space(&self, replica: &Replica) {
        let refuses = replica.log_budget().refuses_writes();
        let was = &self.hub.core_stats.log_refuses_writes;
        if (stats::get(was) == 1) == refuses {
            return;
        }
        stats::set(was, u64::from(refuses));
        if refuses && replica.follows().is_some() {
            tracing::error!(
                left_bytes = replica.log_budget().room().bytes,
                "the disk of the log is full: this server acknowledges nothing to its leader, which goes on without it once it has waited for syncLimit. Make \
                 room in dataLogDir; it comes back by itself"
            );
        } else if refuses {
            tracing::error!(
                left_bytes = replica.log_budget().room().bytes,
                "the disk of the log is full: writes are refused with SystemError and no session expires, until there is space for the \
                 next segment. Reads go on, nothing acknowledged is lost. Make room in dataLogDir; no restart is needed"
            );
        } else {
            let refused = replica.excess_counts().no_log_space;
            tracing::info!(refused, "the log has its next segment: writes are taken again, and sessions expire");
        }
    }
}

/// What is known of a history up to exactly `zxid`.
fn spans_up_to(history: &History, zxid: Zxid) -> Option<Spans> {
    let history = history.without_gaps(zxid)?;
    Spans::new(history.floor(), history.spans())
}

/// The time that the replica gets.
#[must_use]
pub fn now(hub: &Hub) -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now {
        mono_ms: i64::try_from(hub.now_us() / 1_000).unwrap_or(i64::MAX),
        wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
    }
}

/// Whom an item of the stream is for.
enum To {
    /// Whoever comes by: changes are for the watches of all shards, and those that have one were rung for it.
    Nobody,
    Shard(usize),
    All,
}

fn shard_of(item: &StreamItem) -> To {
    let to = match item {
        StreamItem::Change(_) => return To::Nobody,
        StreamItem::Serving(_) => return To::All,
        StreamItem::Reply { to, .. } | StreamItem::Connected { to, .. } | StreamItem::Refused { to, .. } => to,
        StreamItem::Detached { from, .. } => from,
    };
    To::Shard(usize::from(to.shard.0))
}
