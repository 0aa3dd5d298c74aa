//! What the threads share: the tree behind its lock, the bounded queues between them, and their bells.
//!
//! Owns no thread. Every queue is bounded, and none can deadlock: the core makes sure that there is room in every shard's stream before it
//! takes the tree's lock, shards drain their streams without the lock, and the log reports by a number that cannot overflow. Who is rung
//! when is decided in [`crate::mailbox`], which `server/tests/hub_model.rs` tries in every interleaving.
//!
//! | from → to | queue | when it is full |
//! |---|---|---|
//! | shard → core | [`ShardLink::inbox`] | the shard stops decoding requests, then reading sockets |
//! | core → shard | [`ShardLink::stream`] | the core stops applying, and with it taking requests |
//! | core → log | [`Hub::log_queue`] | the core stops taking requests |
//! | log → core | [`LogQueue::durable`], [`LogQueue::room`] | (one number each) |
//! | log → core | [`Hub::log_done`] | (the core asks for no more answers than there is room for) |
#![forbid(unsafe_code)]

use crate::ask::{QUESTIONS_MAX, Question};
use crate::cli::{EXIT_FAILURE, EXIT_UNREADABLE};
use crate::mailbox::{AnswerQueue, LogQueue, Mailbox, ShardStream};
use crate::measured::Measured;
use crate::memory::Memory;
use crate::rt::{Doorbell, ThreadBell};
use crate::stats::{CoreStats, ShardStats, add, set};
use crossbeam::queue::{ArrayQueue, SegQueue};
use crossbeam::sync::ShardedLock;
use crossbeam::utils::CachePadded;
use engine::replica::{ForwardBatch, Replica};
use engine::shard::{LongReply, ShardState};
use engine::stream::{ConnId, StreamBatch};
use engine::tree::Tree;
use engine::turn::{LogDone, LogItem};
use snapshot::store::StoreError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Batches that may wait in each of the queues: a turn's work each, so this is turns that one thread may be ahead of another.
pub const QUEUE_BATCHES: usize = 64;

/// Answers of the log that may be due: of each kind the core waits for one before it asks for the next.
const LOG_ANSWERS_MAX: usize = 8;

/// The trace mask with which ZooKeeper starts.
const TRACE_MASK: u64 = 306;

/// Why the server cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In words for the operator: what failed and what to do.
    pub why: String,
    /// With which code the process ends.
    pub exit_code: u8,
}

/// A shard's side of the hub.
#[derive(Debug)]
pub struct ShardLink {
    /// Requests for the core.
    pub inbox: Mailbox<ForwardBatch>,
    /// What the core has done.
    pub stream: ShardStream<Arc<StreamBatch>>,
    /// Questions of the control plane.
    pub questions: ArrayQueue<Question<ShardState>>,
    /// Its counters.
    pub stats: CachePadded<ShardStats>,
    bell: OnceLock<Doorbell>,
    /// The core wants to know whom the shard has heard up to this time, in µs.
    hear_asked_us: AtomicU64,
    /// Connections for whose next request something was read in. Each is here once at the most.
    brought_in: SegQueue<ConnId>,
    /// Long replies that were made, or given up. No more than were asked for.
    answered: SegQueue<(ConnId, LongReply)>,
}

impl ShardLink {
    fn new() -> ShardLink {
        ShardLink {
            inbox: Mailbox::new(QUEUE_BATCHES),
            stream: ShardStream::new(QUEUE_BATCHES),
            questions: ArrayQueue::new(QUESTIONS_MAX),
            stats: CachePadded::default(),
            bell: OnceLock::new(),
            hear_asked_us: AtomicU64::new(0),
            brought_in: SegQueue::new(),
            answered: SegQueue::new(),
        }
    }

    /// For the core: the shard is to tell whom it has heard up to this time. True if it is to be rung for that: it was not asked yet. It tells
    /// by itself a few times a tick, so nothing hangs on this but the time until then.
    #[must_use]
    pub fn ask_heard_until(&self, until_us: u64) -> bool {
        self.hear_asked_us.swap(until_us, Ordering::AcqRel) < until_us
    }

    /// For the shard: up to when the core wants to know whom it has heard.
    #[must_use]
    pub fn heard_until_asked(&self) -> u64 {
        self.hear_asked_us.load(Ordering::Acquire)
    }

    /// What the connection's next request needs is in memory. The shard is to be rung.
    pub fn put_brought_in(&self, conn: ConnId) {
        self.brought_in.push(conn);
    }

    /// A connection for whose next request something was read in.
    #[must_use]
    pub fn take_brought_in(&self) -> Option<ConnId> {
        self.brought_in.pop()
    }

    /// A long reply of the connection was made, or given up. The shard is to be rung.
    pub fn put_answered(&self, conn: ConnId, reply: LongReply) {
        self.answered.push((conn, reply));
    }

    /// A connection for which a long reply was made or given up, and the reply.
    #[must_use]
    pub fn take_answered(&self) -> Option<(ConnId, LongReply)> {
        self.answered.pop()
    }

    /// Wakes the shard, if it has started.
    pub fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }

    /// The shard has started and hears this bell.
    pub fn set_bell(&self, bell: Doorbell) {
        let first = self.bell.set(bell).is_ok();
        assert!(first, "a shard starts once");
    }
}

/// How the core is woken.
#[derive(Debug)]
pub enum CoreBell {
    /// It has a thread of its own.
    Thread(ThreadBell),
    /// It takes its turns within those of this shard.
    Shard(usize),
}

/// Something on its way to the log.
#[derive(Debug)]
pub struct Queued {
    /// What the log has to do.
    pub item: LogItem,
    /// When it left the core.
    pub since: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Hub {
    /// All replicated state. The core alone writes it; a shard reads it, once a turn.
    pub tree: ShardedLock<Tree>,
    /// The shards, by number.
    pub shards: Vec<ShardLink>,
    /// What the log has to do.
    pub log_queue: LogQueue<Queued>,
    /// What it has done of that beside writing txns, in order.
    pub log_done: AnswerQueue<LogDone>,
    /// Questions of the control plane to the core.
    pub core_questions: ArrayQueue<Question<Replica>>,
    /// The core's counters.
    pub core_stats: CachePadded<CoreStats>,
    /// What core, log and image thread measure.
    pub measured: CachePadded<Measured>,
    /// Whether memory is short.
    pub memory: CachePadded<Memory>,
    /// What can be read in the log follows on this: the log tells.
    pub log_begins_after: AtomicU64,
    /// Txns up to here may be purged from the log: an image holds them.
    pub purge_below: AtomicU64,
    core_bell: CoreBell,
    log_bell: ThreadBell,
    stopping: AtomicBool,
    ended: AtomicBool,
    fatal: Mutex<Option<Failure>>,
    started: Instant,
}

impl Hub {
    /// A hub over a recovered tree, whose log is durable up to where the tree is.
    #[must_use]
    pub fn new(tree: Tree, shards: usize, core_bell: CoreBell, log_bell: ThreadBell) -> Hub {
        let durable = tree.last_zxid().0;
        let core_stats: CachePadded<CoreStats> = CachePadded::default();
        set(&core_stats.trace_mask, TRACE_MASK);
        Hub {
            tree: ShardedLock::new(tree),
            shards: (0..shards).map(|_| ShardLink::new()).collect(),
            log_queue: LogQueue::new(QUEUE_BATCHES, durable),
            log_done: AnswerQueue::new(LOG_ANSWERS_MAX),
            core_questions: ArrayQueue::new(QUESTIONS_MAX),
            core_stats,
            measured: CachePadded::default(),
            memory: CachePadded::default(),
            log_begins_after: AtomicU64::new(0),
            purge_below: AtomicU64::new(0),
            core_bell,
            log_bell,
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            fatal: Mutex::new(None),
            started: Instant::now(),
        }
    }

    /// For the core: hands something to the log. Ring it then.
    ///
    /// # Panics
    /// If the queue has no room, or more answers are due than there is room for: the core waits for one before it goes on.
    pub fn hand_to_log(&self, item: LogItem, since: Instant) {
        if let LogItem::Txns(txns) = &item {
            let count = txns.len() as u64;
            add(&self.measured.txns, count);
            add(&self.measured.txns_waiting, count);
        }
        if item.is_answered() {
            self.log_done.expect_one();
        }
        self.log_queue.push(Queued { item, since });
    }

    /// For the log: what it was to do is done. Ring the core then.
    pub fn answer_core(&self, done: LogDone) {
        self.log_done.push(done);
    }

    /// The tree, to be read.
    ///
    /// # Panics
    /// If a thread panicked while it changed the tree. The process aborts on panics, so nobody sees that.
    pub fn read_tree(&self) -> crossbeam::sync::ShardedLockReadGuard<'_, Tree> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the core.
    pub fn ring_core(&self) {
        match &self.core_bell {
            CoreBell::Thread(bell) => bell.ring(),
            CoreBell::Shard(number) => {
                if let Some(link) = self.shards.get(*number) {
                    link.ring();
                }
            }
        }
    }

    /// Wakes the log thread.
    pub fn ring_log(&self) {
        self.log_bell.ring();
    }

    /// Time since the hub was made, which all threads count from, in µs.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Asks the core to finish what it has and end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.ring_core();
    }

    /// The core has ended: the log writes what waits, and ends.
    pub fn close_log(&self) {
        self.log_queue.close();
        self.log_bell.ring();
    }

    /// Has the end been asked for?
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// All that had to end in order has.
    pub fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Has the server ended in order?
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The server cannot go on (law 8). The first reason is kept; the main thread sees it and ends the process.
    pub fn fail(&self, why: String) {
        self.fail_with(Failure { why, exit_code: EXIT_FAILURE });
    }

    /// The image in use is damaged or cannot be read: the server cannot go on, and the process ends as at a fault on a mapped page.
    pub fn fail_image(&self, error: &snapshot::Error) {
        let what = if matches!(error, snapshot::Error::Damaged { .. }) { "is damaged" } else { "cannot be read" };
        let why =
            format!("the image in use {what}: {error}. The server stops; look at the disk before you start it again");
        self.fail_with(Failure { why, exit_code: EXIT_UNREADABLE });
    }

    fn fail_with(&self, failure: Failure) {
        tracing::error!("{}", failure.why);
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
    }

    /// The log, or the control file that it changes, failed: the server cannot go on.
    pub fn fail_log(&self, error: &StoreError) {
        self.fail(match error {
            StoreError::Log(error) => format!(
                "the log failed, and what it has not confirmed may be lost: {error}. The server stops without acknowledging it; \
                 look at the disk before you start it again"
            ),
            // Whether the old or the new one stands is not known: going on could contradict either.
            StoreError::Control(_) => {
                format!("{error}. The server stops; look at the disk before you start it again")
            }
        });
    }

    /// Why the server cannot go on, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
