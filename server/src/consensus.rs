//! The consensus core's thread: it alone orders requests and changes the tree.
//!
//! Owns the [`Replica`]. A turn: hear how far the log is durable; take requests from the shards in turn and prepare their txns; hand those
//! to the log; apply what is committed and push it to the shards, under the tree's lock; look at the clocks; start an image if it is time.
//! It never waits for the disk, and never takes the tree's lock without room in every shard's stream.
#![forbid(unsafe_code)]

use crate::hub::Hub;
use crate::image::ImageStarter;
use crate::rt::Parker;
use crate::stats;
use crate::watchdog::WAIT_MAX;
use engine::replica::{Now, Replica};
use engine::stream::{StreamBatch, StreamItem};
use proto::Zxid;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

/// Txns and replies that one hold of the tree's lock applies at the most.
const APPLY_MAX: usize = 1_024;
/// While stopping: how long the core waits for the log to make the last txns durable.
const STOP_ROUNDS_MAX: u32 = 100;

/// See the module.
#[derive(Debug)]
pub struct Core {
    hub: Arc<Hub>,
    replica: Replica,
    parker: Parker,
    images: ImageStarter,
    first_shard: usize,
    next_tick_ms: i64,
}

impl Core {
    /// The core over a recovered replica.
    #[must_use]
    pub fn new(hub: Arc<Hub>, replica: Replica, parker: Parker, images: ImageStarter) -> Core {
        Core { hub, replica, parker, images, first_shard: 0, next_tick_ms: 0 }
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

    /// Runs until the hub stops.
    pub fn run(mut self) {
        let mut stop_rounds = 0;
        loop {
            stats::add(&self.hub.core_stats.core_beats, 1);
            let now = Core::now(&self.hub);
            let mut progress = self.hear_from_log();
            progress |= self.take_requests(now);
            progress |= self.hand_to_log();
            progress |= self.apply();
            if self.images.is_asked() {
                self.images.consider(&self.hub.read_tree());
            }
            self.publish();
            if progress {
                continue;
            }
            if self.hub.is_stopping() {
                stop_rounds += 1;
                // What was proposed may become durable still, and its replies leave; then it is over.
                if self.replica.pending_len() == 0 || stop_rounds > STOP_ROUNDS_MAX {
                    return;
                }
                self.parker.wait(Some(Duration::from_millis(10)));
                continue;
            }
            let wait = u64::try_from(self.next_tick_ms - now.mono_ms).map_or(Duration::ZERO, Duration::from_millis);
            stats::set(&self.hub.core_stats.core_idle, 1);
            self.parker.wait(Some(wait.clamp(Duration::from_millis(1), WAIT_MAX)));
            stats::set(&self.hub.core_stats.core_idle, 0);
        }
    }

    fn hear_from_log(&mut self) -> bool {
        let durable = Zxid(self.hub.durable());
        let before = self.replica.can_apply();
        self.replica.durable(durable);
        self.replica.can_apply() && !before
    }

    /// Takes at most one queue's worth from each shard, starting with another one each time.
    fn take_requests(&mut self, now: Now) -> bool {
        let hub = Arc::clone(&self.hub);
        let mut progress = false;
        let tree = hub.read_tree();
        let count = hub.shards.len();
        self.first_shard = (self.first_shard + 1) % count.max(1);
        for offset in 0..count {
            let Some(link) = hub.shards.get((self.first_shard + offset) % count) else { continue };
            for _ in 0..link.inbox.capacity() {
                if self.replica.is_full() || hub.log_queue.is_full() {
                    break;
                }
                let Some(batch) = link.inbox.pop() else { break };
                self.replica.receive(now, &tree, &batch);
                progress = true;
            }
            if link.waits_for_room.load(Ordering::SeqCst) && !link.inbox.is_full() {
                link.waits_for_room.store(false, Ordering::SeqCst);
                link.ring();
            }
        }
        if now.mono_ms >= self.next_tick_ms && !hub.is_stopping() {
            self.replica.tick(now, &tree);
            self.next_tick_ms = self.replica.next_tick_ms(now);
        }
        progress
    }

    fn hand_to_log(&mut self) -> bool {
        if self.hub.log_queue.is_full() {
            return false;
        }
        let Some(batch) = self.replica.take_appends() else { return false };
        self.images.appended(&batch);
        let pushed = self.hub.log_queue.push(batch).is_ok();
        assert!(pushed, "there was room, and the core alone pushes");
        self.hub.ring_log();
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
        stats::add(&hub.core_stats.txns_applied, tree.last_zxid().0 - before.0);
        let has_changes = batch.items.iter().any(|item| matches!(item, StreamItem::Change(_)));
        let mut concerned: Vec<bool> =
            hub.shards.iter().map(|link| has_changes && link.has_watches.load(Ordering::Acquire)).collect();
        for item in &batch.items {
            if let Some(flag) = shard_of(item).and_then(|shard| concerned.get_mut(shard)) {
                *flag = true;
            }
        }
        let batch = Arc::new(batch);
        for link in &hub.shards {
            let pushed = link.stream.push(Arc::clone(&batch)).is_ok();
            assert!(pushed, "there was room, and the core alone pushes");
        }
        self.images.consider(&tree);
        drop(tree);
        // Others see the batch when they next take the lock; they are woken in time not to let it pile up.
        for (link, concerned) in hub.shards.iter().zip(concerned) {
            if concerned || link.stream.len() > link.stream.capacity() / 2 {
                link.ring();
            }
        }
        true
    }

    fn has_room_everywhere(&self) -> bool {
        let full = || self.hub.shards.iter().any(|link| link.stream.is_full());
        if !full() {
            return true;
        }
        self.hub.core_waits_for_room.store(true, Ordering::SeqCst);
        for link in self.hub.shards.iter().filter(|link| link.stream.is_full()) {
            link.ring();
        }
        // Looked at again after the flag is up: a shard that drained in between did not ring.
        !full()
    }

    fn publish(&self) {
        let stats = &self.hub.core_stats;
        stats::set(&stats.outstanding, self.replica.pending_len() as u64);
        stats::set(&stats.sessions, self.replica.sessions().len() as u64);
        stats::set(&stats.sessions_expired, self.replica.expired_count());
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
