//! The consensus core: it alone orders requests and changes the tree.
//!
//! Owns the [`Replica`]. A turn: take requests from the shards in turn and prepare their txns; hand those to the log; hear how far that is
//! durable; apply what is committed and push it to the shards, under the tree's lock; look at the clocks; start an image if it is time.
//! It never waits for the disk, and never takes the tree's lock without room in every shard's stream.
//!
//! It has a thread of its own ([`Core::run`]), or, where there is one processor, it takes its turns within those of the first shard, and
//! starts the log's groups itself ([`LogPort::Hosted`], `docs/decisions/002`): then a write is handed over between threads nowhere.
#![forbid(unsafe_code)]

use crate::cold::ColdReads;
use crate::excess_log::ExcessLog;
use crate::hub::{Hub, QUEUE_BATCHES};
use crate::image::ImageStarter;
use crate::log_writer::{LogWriter, Pumped};
use crate::mailbox::Desk;
use crate::measured::micros;
use crate::rt::{Doorbell, Parker};
use crate::stats;
use crate::watchdog::WAIT_MAX;
use engine::log_room::LogRoom;
use engine::replica::{Now, Replica};
use engine::stream::{StreamBatch, StreamItem};
use engine::tree::Tree;
use proto::Zxid;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use wal::Disk;

/// Txns and replies that one hold of the tree's lock applies at the most.
const APPLY_MAX: usize = 1_024;
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
    hub: Arc<Hub>,
    replica: Replica,
    log: LogPort<D>,
    images: ImageStarter,
    /// Reads in what the ends of sessions will touch.
    cold_reads: ColdReads,
    /// The shard within whose turns it takes its own: that one needs no ring.
    host: Option<usize>,
    excess_log: ExcessLog,
    /// Txns that the tree does not show yet: the last of a batch, how many they are, and when they went to the log.
    on_their_way: VecDeque<(Zxid, u64, Instant)>,
    first_shard: usize,
    next_tick_ms: i64,
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
    /// The core over a recovered replica. `host`: the shard that will call [`Core::turn`] in its own turns, if one does.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        replica: Replica,
        log: LogPort<D>,
        images: ImageStarter,
        cold_reads: ColdReads,
        host: Option<usize>,
    ) -> Core<D> {
        Core {
            hub,
            replica,
            log,
            images,
            cold_reads,
            host,
            excess_log: ExcessLog::default(),
            on_their_way: VecDeque::new(),
            first_shard: 0,
            next_tick_ms: 0,
        }
    }

    /// The host runs and has this bell. Where the kernel cannot ring it, the log stays with its thread.
    pub fn use_bell(&mut self, bell: Doorbell) {
        match &mut self.log {
            LogPort::Hosted { bell: place, .. } if bell.notify_fd().is_some() => *place = Some(bell),
            LogPort::Hosted { .. } => self.release_log(),
            LogPort::Thread => {}
        }
    }

    /// Runs until the hub stops, and until what was proposed by then is applied or the log does not come after.
    pub fn run(mut self, mut parker: Parker) {
        let mut stop_rounds = 0;
        loop {
            let Turn::Idle(wait) = self.turn() else { continue };
            if !self.hub.is_stopping() {
                parker.wait(Some(wait));
                continue;
            }
            self.release_log();
            stop_rounds += 1;
            // What was proposed may become durable still, and its replies leave; then it is over.
            if self.replica.pending_len() == 0 || stop_rounds > STOP_ROUNDS_MAX {
                return;
            }
            parker.wait(Some(Duration::from_millis(10)));
        }
    }

    /// Does all that is at hand, once. Never waits.
    pub fn turn(&mut self) -> Turn {
        let stats = &self.hub.core_stats;
        stats::add(&stats.core_beats, 1);
        stats::set(&stats.core_idle, 0);
        let now = now(&self.hub);
        self.replica.set_memory_short(self.hub.memory.is_short());
        let mut progress = self.take_requests(now);
        for noted in self.replica.take_excesses() {
            self.excess_log.note(&noted, Instant::now());
        }
        progress |= self.hand_to_log();
        progress |= self.pump_log();
        progress |= self.hear_from_log();
        progress |= self.apply();
        // As many as wait now: quick askers must not keep the core from its work.
        for _ in 0..self.hub.core_questions.len() {
            let Some(question) = self.hub.core_questions.pop() else { break };
            question.put(&mut self.replica);
            progress = true;
        }
        if self.images.wants_tree() {
            self.images.consider(&mut self.hub.tree.write().unwrap_or_else(PoisonError::into_inner), &self.hub.memory);
        }
        self.publish();
        if progress {
            return Turn::Progress;
        }
        stats::set(&self.hub.core_stats.core_idle, 1);
        let until_tick = u64::try_from(self.next_tick_ms - now.mono_ms).map_or(Duration::ZERO, Duration::from_millis);
        let wait = match &self.log {
            LogPort::Hosted { writer: Some(writer), .. } => until_tick.min(writer.next_look().unwrap_or(WAIT_MAX)),
            LogPort::Hosted { writer: None, .. } | LogPort::Thread => until_tick,
        };
        Turn::Idle(wait.clamp(Duration::from_millis(1), WAIT_MAX))
    }

    /// Gives the log back to its thread, for good: the core that hosted it is about to end or to move to another thread.
    pub fn release_log(&mut self) {
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

    fn hear_from_log(&mut self) -> bool {
        let durable = Zxid(self.hub.log_queue.durable());
        let (bytes, is_full) = self.hub.log_queue.room();
        let before = self.replica.can_apply();
        self.replica.durable(durable);
        self.replica.log_room(LogRoom { bytes, is_full });
        self.tell_of_log_space();
        self.replica.can_apply() && !before
    }

    /// A word to the operator when the log's space begins to matter, and one when that ends.
    fn tell_of_log_space(&self) {
        let refuses = self.replica.log_budget().refuses_writes();
        let was = &self.hub.core_stats.log_refuses_writes;
        if (stats::get(was) == 1) == refuses {
            return;
        }
        stats::set(was, u64::from(refuses));
        if refuses {
            tracing::error!(
                left_bytes = self.replica.log_budget().room().bytes,
                "the disk of the log is full: writes are refused with SystemError and no session expires, until there is space for the \
                 next segment. Reads go on, nothing acknowledged is lost. Make room in dataLogDir; no restart is needed"
            );
        } else {
            let refused = self.replica.excess_counts().no_log_space;
            tracing::info!(refused, "the log has its next segment: writes are taken again, and sessions expire");
        }
    }

    /// Takes at most one queue's worth from each shard, starting with another one each time.
    fn take_requests(&mut self, now: Now) -> bool {
        let hub = Arc::clone(&self.hub);
        let (mut progress, mut requests) = (false, 0);
        let tree = hub.read_tree();
        let count = hub.shards.len();
        self.first_shard = (self.first_shard + 1) % count.max(1);
        for offset in 0..count {
            let number = (self.first_shard + offset) % count;
            let Some(link) = hub.shards.get(number) else { continue };
            let mut any = false;
            for _ in 0..QUEUE_BATCHES {
                if self.replica.is_full() || !hub.log_queue.has_room() {
                    break;
                }
                let Some(batch) = link.inbox.pop() else { break };
                self.replica.receive(now, &tree, &batch);
                requests += batch.requests();
                any = true;
            }
            if any && link.inbox.made_room() && self.host != Some(number) {
                link.ring();
            }
            progress |= any;
        }
        if requests > 0 {
            hub.measured.core_waiting.add(requests, 1);
            stats::add(&hub.measured.requests, requests);
        }
        if now.mono_ms >= self.next_tick_ms && !hub.is_stopping() {
            self.replica.tick(now, &tree);
            self.bring_in_what_ends_soon(now, &tree);
            self.next_tick_ms = self.replica.next_tick_ms(now);
            self.ask_whom_they_heard(now);
        }
        progress
    }

    /// The ends of sessions touch their ephemerals, which may lie in the image and not be in memory.
    fn bring_in_what_ends_soon(&mut self, now: Now, tree: &Tree) {
        if tree.base().is_some() {
            self.cold_reads.ask_for_ends(|| self.replica.soon_to_expire(now));
        }
    }

    /// Sessions are due, but a shard may have heard of them and not told yet.
    fn ask_whom_they_heard(&self, now: Now) {
        let Some(until_ms) = self.replica.sessions().waits_to_hear(now.mono_ms) else { return };
        let until_us = u64::try_from(until_ms).unwrap_or(0) * 1_000;
        for (number, link) in self.hub.shards.iter().enumerate() {
            if link.ask_heard_until(until_us) && self.host != Some(number) {
                link.ring();
            }
        }
    }

    fn hand_to_log(&mut self) -> bool {
        if !self.hub.log_queue.has_room() {
            return false;
        }
        let Some(batch) = self.replica.take_appends() else { return false };
        self.images.appended(&batch);
        let since = Instant::now();
        if let Some((last, _)) = batch.iter().last() {
            self.on_their_way.push_back((last, batch.len() as u64, since));
        }
        self.hub.hand_to_log(batch, since);
        if !matches!(self.log, LogPort::Hosted { writer: Some(_), .. }) {
            self.hub.ring_log();
        }
        true
    }

    fn apply(&mut self) -> bool {
        if !self.replica.can_apply() || !self.has_room_everywhere() {
            return false;
        }
        let hub = Arc::clone(&self.hub);
        let mut batch = StreamBatch::default();
        let mut tree = hub.tree.write().unwrap_or_else(PoisonError::into_inner);
        let before = tree.last_zxid();
        self.replica.apply(&mut tree, &mut batch, APPLY_MAX);
        let applied = tree.last_zxid();
        stats::add(&hub.core_stats.txns_applied, applied.0 - before.0);
        while let Some((_, txns, since)) = self.on_their_way.pop_front_if(|(last, ..)| *last <= applied) {
            hub.measured.propagation_us.add(micros(since.elapsed()), txns);
        }
        let has_changes = batch.items.iter().any(|item| matches!(item, StreamItem::Change(_)));
        let batch = Arc::new(batch);
        let mut to_ring: Vec<bool> =
            hub.shards.iter().map(|link| link.stream.push(Arc::clone(&batch), has_changes)).collect();
        self.images.consider(&mut tree, &self.hub.memory);
        drop(tree);
        for item in &batch.items {
            if let Some(ring) = shard_of(item).and_then(|shard| to_ring.get_mut(shard)) {
                *ring = true;
            }
        }
        for (number, (link, ring)) in hub.shards.iter().zip(to_ring).enumerate() {
            if ring && self.host != Some(number) {
                link.ring();
            }
        }
        true
    }

    fn has_room_everywhere(&self) -> bool {
        // The first full one rings when it has room, and then the next is asked: each was rung when it was half full.
        self.hub.shards.iter().all(|link| link.stream.has_room_or_asks())
    }

    fn publish(&self) {
        let stats = &self.hub.core_stats;
        stats::set(&stats.outstanding, self.replica.pending_len() as u64);
        stats::set(&stats.sessions, self.replica.sessions().len() as u64);
        stats::set(&stats.sessions_expired, self.replica.expired_count());
    }
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

/// The shard that an item is for; changes are for all.
fn shard_of(item: &StreamItem) -> Option<usize> {
    let to = match item {
        StreamItem::Change(_) => return None,
        StreamItem::Reply { to, .. } | StreamItem::Connected { to, .. } | StreamItem::Refused { to, .. } => to,
        StreamItem::Detached { from, .. } => from,
    };
    Some(usize::from(to.shard.0))
}
