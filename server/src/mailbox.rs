//! The hand-overs between the threads: bounded queues, and who is rung when.
//!
//! | from → to | type | who is rung |
//! |---|---|---|
//! | shard → core | [`Mailbox`] | the core at each push; the shard when room is made that it asked for |
//! | core → shard | [`ShardStream`] | the shard when a batch concerns it or they pile up; the core when room is made that it asked for |
//! | core → log | [`LogQueue`] | the log at each push and at the end; the core at each new durable zxid |
//! | log → core | [`AnswerQueue`] | the core at each push |
//! | core ↔ log | [`Desk`] | whoever is given the log's writer |
//!
//! Owns the queues and the words beside them, not the bells: where it says so, the caller rings. One thread pushes and one takes; whoever was
//! rung looks at all its queues before it sleeps. Must never ask for room by a plain store, nor answer by a plain load: both are
//! read-modify-writes of one word, so that one side sees the other whatever the queue beside it promises. Must never block. It fails
//! only by our own bugs, which are asserted. `server/tests/hub_model.rs` compiles this file against loom.
#![forbid(unsafe_code)]

use super::atomics::{ArrayQueue, AtomicBool, AtomicU64, Ordering};
use engine::log_room::LogRoom;

/// A bounded queue from one thread to one other.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: ArrayQueue<T>,
    /// The sender has found no room and wants to be rung.
    room_asked: AtomicBool,
}

impl<T> Mailbox<T> {
    /// An empty queue for so many batches.
    #[must_use]
    pub fn new(capacity: usize) -> Mailbox<T> {
        Mailbox { queue: ArrayQueue::new(capacity), room_asked: AtomicBool::new(false) }
    }

    /// For the sender: is there room? It alone pushes, so room stays room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.queue.is_full()
    }

    /// For the sender: is there room? If not, the receiver rings it when there is.
    #[must_use]
    pub fn has_room_or_asks(&self) -> bool {
        if self.has_room() {
            return true;
        }
        self.room_asked.swap(true, Ordering::AcqRel);
        // A receiver that looked at the flag before this does not ring; but then what it took shows here.
        self.has_room()
    }

    /// Puts a batch where the receiver finds it. Ring it then.
    ///
    /// # Panics
    /// If there is no room: see [`Mailbox::has_room`].
    pub fn push(&self, batch: T) {
        let pushed = self.queue.push(batch).is_ok();
        assert!(pushed, "there was room, and one thread alone pushes");
    }

    /// For the receiver: the oldest batch.
    #[must_use]
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// For the receiver, after it has taken something: is the sender to be rung?
    #[must_use]
    pub fn made_room(&self) -> bool {
        self.room_asked.swap(false, Ordering::AcqRel)
    }
}

/// What the core has done, on its way to one shard.
///
/// Laws 4 to 6 rest on it: the core pushes before it lets go of the tree's lock, the shard takes its side of the lock and then works off
/// the stream. So no read shows a change whose events are not queued before its reply.
#[derive(Debug)]
pub struct ShardStream<T> {
    mailbox: Mailbox<T>,
    /// Has the shard watches, so that every change concerns it?
    has_watches: AtomicBool,
}

impl<T> ShardStream<T> {
    /// An empty stream for so many batches.
    #[must_use]
    pub fn new(capacity: usize) -> ShardStream<T> {
        ShardStream { mailbox: Mailbox::new(capacity), has_watches: AtomicBool::new(false) }
    }

    /// For the core, before it takes the tree's lock: see [`Mailbox::has_room_or_asks`].
    #[must_use]
    pub fn has_room_or_asks(&self) -> bool {
        self.mailbox.has_room_or_asks()
    }

    /// For the core, **under the tree's write lock**: puts a batch there. Is the shard to be rung once the lock is free?
    ///
    /// A shard without watches that the batch does not address sees it when it next takes the lock, and is woken in time not to let
    /// batches pile up. Whom a batch addresses the core knows, and rings as well.
    ///
    /// # Panics
    /// If there is no room.
    #[must_use]
    pub fn push(&self, batch: T, has_changes: bool) -> bool {
        self.mailbox.push(batch);
        let piles_up = self.mailbox.queue.len() > self.mailbox.queue.capacity() / 2;
        piles_up || (has_changes && self.has_watches.load(Ordering::Acquire))
    }

    /// For the shard: the oldest batch. All that the tree shows is in the stream once the shard has its side of the lock.
    #[must_use]
    pub fn pop(&self) -> Option<T> {
        self.mailbox.pop()
    }

    /// For the shard, after it has taken something: is the core to be rung?
    #[must_use]
    pub fn made_room(&self) -> bool {
        self.mailbox.made_room()
    }

    /// For the shard, **under its side of the tree's lock**: has it watches? From the next batch on it is rung for every change.
    pub fn set_has_watches(&self, has_watches: bool) {
        self.has_watches.store(has_watches, Ordering::Release);
    }
}

/// What is on its way to the log, and how far that has come with the txns.
#[derive(Debug)]
pub struct LogQueue<T> {
    queue: ArrayQueue<T>,
    durable: AtomicU64,
    room: AtomicU64,
    is_closed: AtomicBool,
}

impl<T> LogQueue<T> {
    /// An empty queue for so many batches, to a log that is durable up to a zxid.
    #[must_use]
    pub fn new(capacity: usize, durable: u64) -> LogQueue<T> {
        LogQueue {
            queue: ArrayQueue::new(capacity),
            durable: AtomicU64::new(durable),
            room: AtomicU64::new(ROOM_MAX << 2),
            is_closed: AtomicBool::new(false),
        }
    }

    /// For the core: is there room? If not, there is when the durable zxid rises.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.queue.is_full()
    }

    /// Puts something where the log finds it. Ring it then.
    ///
    /// # Panics
    /// If there is no room, or it was said that nothing comes any more.
    pub fn push(&self, batch: T) {
        assert!(!self.is_closed.load(Ordering::Relaxed), "a txn after the end would be lost");
        let pushed = self.queue.push(batch).is_ok();
        assert!(pushed, "there was room, and the core alone pushes");
    }

    /// For the log: what was handed over first.
    #[must_use]
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// For the log: does nothing wait?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// For the log, after all that it has taken was written: durable up to here. Ring the core then. It goes back only within an item that
    /// begins another log.
    pub fn set_durable(&self, zxid: u64) {
        self.durable.store(zxid, Ordering::Release);
    }

    /// The log is durable up to here.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// For the log, before it tells how far it is durable, and whenever it has more: bytes that certainly fit, and whether there was no
    /// space for more. Ring the core if it may wait for that.
    pub fn set_room(&self, room: LogRoom) {
        let flags = u64::from(room.is_making) << 1 | u64::from(room.is_full);
        self.room.store((room.bytes.min(ROOM_MAX) << 2) | flags, Ordering::Release);
    }

    /// For the core, after it has looked how far the log is durable: then whatever is not in the one is in the other.
    #[must_use]
    pub fn room(&self) -> LogRoom {
        let room = self.room.load(Ordering::Acquire);
        LogRoom { bytes: room >> 2, is_full: room & 1 == 1, is_making: room & 2 == 2 }
    }

    /// The core has gone, and nothing comes any more. Ring the log then.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// For the log: once this says true, what waits is the last.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }
}

/// What the log answers, in order. The core says beforehand that it expects an answer, and never expects more than there is room for: so the log
/// can always answer.
#[derive(Debug)]
pub struct AnswerQueue<T> {
    queue: ArrayQueue<T>,
    /// Answers that the core expects and has not taken.
    due: AtomicU64,
}

impl<T> AnswerQueue<T> {
    /// An empty queue for so many answers.
    #[must_use]
    pub fn new(capacity: usize) -> AnswerQueue<T> {
        AnswerQueue { queue: ArrayQueue::new(capacity), due: AtomicU64::new(0) }
    }

    /// For the core: it will hand over something that is answered.
    ///
    /// # Panics
    /// If as many answers are due already as there is room for.
    pub fn expect_one(&self) {
        // The core alone changes it.
        let due = self.due.load(Ordering::Relaxed);
        assert!(due < self.queue.capacity() as u64, "{due} answers are due already");
        self.due.store(due + 1, Ordering::Relaxed);
    }

    /// For the log: an answer. Ring the core then.
    ///
    /// # Panics
    /// If it was not expected.
    pub fn push(&self, answer: T) {
        assert!(self.queue.push(answer).is_ok(), "an answer was expected, and has its room");
    }

    /// For the core: the oldest answer. What the log has said to be durable before it shows with it.
    #[must_use]
    pub fn pop(&self) -> Option<T> {
        let answer = self.queue.pop()?;
        self.due.store(self.due.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
        Some(answer)
    }
}

/// A quarter of what a word takes: the lowest bits tell of a full disk, and of a segment that is being made.
const ROOM_MAX: u64 = u64::MAX >> 2;

/// Where the one writer of the log changes hands between the log thread and a core that hosts it. One side has it, or it lies here.
#[derive(Debug)]
pub struct Desk<T> {
    for_thread: ArrayQueue<T>,
    for_core: ArrayQueue<T>,
    /// The core hosts it no more.
    is_closed: AtomicBool,
}

impl<T> Default for Desk<T> {
    fn default() -> Desk<T> {
        Desk { for_thread: ArrayQueue::new(1), for_core: ArrayQueue::new(1), is_closed: AtomicBool::new(false) }
    }
}

impl<T> Desk<T> {
    /// For the core: gives it to the log thread. Ring that one then.
    ///
    /// # Panics
    /// If there are two.
    pub fn give_to_thread(&self, writer: T) {
        assert!(self.for_thread.push(writer).is_ok(), "there is one writer");
    }

    /// For the log thread: gives it to the core. Ring that one then.
    ///
    /// # Panics
    /// If there are two.
    pub fn give_to_core(&self, writer: T) {
        assert!(self.for_core.push(writer).is_ok(), "there is one writer");
    }

    /// For the core: what was given to it.
    #[must_use]
    pub fn take_for_core(&self) -> Option<T> {
        self.for_core.pop()
    }

    /// For the log thread: what was given to it, and, once the desk is closed, also what the core did not take.
    #[must_use]
    pub fn take_for_thread(&self) -> Option<T> {
        self.for_thread.pop().or_else(|| if self.is_closed() { self.for_core.pop() } else { None })
    }

    /// For the core: it takes the writer no more. Ring the log thread then.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Whether the core takes it no more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }
}
