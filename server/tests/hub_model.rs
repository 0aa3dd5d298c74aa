//! The hand-overs of `mailbox.rs` under loom, with the sleeping flag of `rt/flag.rs`: nobody sleeps while there is work for it, nothing is
//! lost or out of order, and no read shows a change before its batch was drained.
//!
//! A thread that is not rung in time sleeps for good here, which loom reports as a deadlock; in life its next tick would hide the mistake as
//! latency. The turns are those of `shard.rs`, `consensus.rs` and `log.rs` with everything but the hand-over left out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the files under test are compiled a second time, and only a part is used"
)]

/// What the files under test are made of here.
mod atomics {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
    use std::sync::Mutex;

    /// A queue that promises less than `crossbeam`'s: who sees that a place was taken or freed sees what was done before, and nothing
    /// more. A queue behind a lock would hide from loom that a flag beside it is too weak.
    #[derive(Debug)]
    pub(super) struct ArrayQueue<T> {
        slots: Vec<Mutex<Option<T>>>,
        head: AtomicUsize,
        tail: AtomicUsize,
    }

    impl<T> ArrayQueue<T> {
        pub(super) fn new(capacity: usize) -> Self {
            let slots = (0..capacity).map(|_| Mutex::new(None)).collect();
            Self { slots, head: AtomicUsize::new(0), tail: AtomicUsize::new(0) }
        }

        pub(super) fn push(&self, value: T) -> Result<(), T> {
            let tail = self.tail.load(Ordering::Relaxed);
            if tail - self.head.load(Ordering::Acquire) == self.capacity() {
                return Err(value);
            }
            let before = self.slots[tail % self.capacity()].lock().unwrap().replace(value);
            assert!(before.is_none(), "the place was free");
            self.tail.store(tail + 1, Ordering::Release);
            Ok(())
        }

        pub(super) fn pop(&self) -> Option<T> {
            let head = self.head.load(Ordering::Relaxed);
            if self.tail.load(Ordering::Acquire) == head {
                return None;
            }
            let value = self.slots[head % self.capacity()].lock().unwrap().take();
            self.head.store(head + 1, Ordering::Release);
            value
        }

        pub(super) fn len(&self) -> usize {
            self.tail.load(Ordering::Acquire) - self.head.load(Ordering::Acquire)
        }

        pub(super) fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub(super) fn is_full(&self) -> bool {
            self.len() == self.capacity()
        }

        pub(super) fn capacity(&self) -> usize {
            self.slots.len()
        }
    }
}

#[path = "../src/rt/flag.rs"]
mod flag;
#[path = "../src/mailbox.rs"]
mod mailbox;
mod model_support;

use flag::WakeFlag;
use loom::sync::{Arc, RwLock};
use loom::thread;
use mailbox::{AnswerQueue, Desk, LogQueue, Mailbox, ShardStream};
use model_support::Bed;

/// A thread that sleeps until it is rung, with no tick to help it.
struct Sleeper {
    flag: WakeFlag,
    bed: Bed,
}

impl Sleeper {
    fn new() -> Self {
        Self { flag: WakeFlag::new(), bed: Bed::new() }
    }

    fn ring(&self) {
        if self.flag.ring() {
            self.bed.wake();
        }
    }

    fn sleep(&self) {
        if self.flag.try_sleep() {
            self.bed.sleep();
        }
        self.flag.take();
    }
}

/// Every interleaving in which at most so many threads are interrupted where they could have gone on.
fn check(preemptions_max: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions_max);
    builder.check(model);
}

/// One shard and the core, each with its bell and the queues between them.
struct Pair {
    shard: Sleeper,
    core: Sleeper,
    inbox: Mailbox<u64>,
    stream: ShardStream<u64>,
    tree: RwLock<u64>,
}

impl Pair {
    fn new(capacity: usize) -> Arc<Pair> {
        Arc::new(Pair {
            shard: Sleeper::new(),
            core: Sleeper::new(),
            inbox: Mailbox::new(capacity),
            stream: ShardStream::new(capacity),
            tree: RwLock::new(0),
        })
    }

    /// `ShardHandler::drain_stream`. False if there was nothing.
    fn drain(&self, position: &mut u64) -> bool {
        let mut any = false;
        while let Some(batch) = self.stream.pop() {
            *position += 1;
            assert_eq!(batch, *position, "a batch is lost or out of order");
            any = true;
        }
        if any && self.stream.made_room() {
            self.core.ring();
        }
        any
    }

    /// `ShardHandler::hand_over`. False if there was no room.
    fn hand_over(&self, batch: u64) -> bool {
        let has_room = self.inbox.has_room_or_asks();
        if has_room {
            self.inbox.push(batch);
            self.core.ring();
        }
        has_room
    }

    /// `Core::take_requests`, of one.
    fn take_request(&self) -> Option<u64> {
        let request = self.inbox.pop();
        if request.is_some() && self.inbox.made_room() {
            self.shard.ring();
        }
        request
    }

    /// `Core::apply`. False if there was no room.
    fn apply(&self, zxid: u64, is_addressed: bool) -> bool {
        if !self.stream.has_room_or_asks() {
            return false;
        }
        let mut tree = self.tree.write().unwrap();
        *tree = zxid;
        let to_ring = self.stream.push(zxid, true);
        drop(tree);
        if to_ring || is_addressed {
            self.shard.ring();
        }
        true
    }
}

fn requests_arrive(capacity: usize, requests: u64) {
    check(3, move || {
        let pair = Pair::new(capacity);
        let shard = thread::spawn({
            let pair = Arc::clone(&pair);
            move || {
                for request in 1..=requests {
                    while !pair.hand_over(request) {
                        pair.shard.sleep();
                    }
                }
            }
        });
        for request in 1..=requests {
            let next = loop {
                match pair.take_request() {
                    Some(next) => break next,
                    None => pair.core.sleep(),
                }
            };
            assert_eq!(next, request);
        }
        shard.join().unwrap();
    });
}

#[test]
fn no_request_is_lost_in_an_inbox_of_one() {
    requests_arrive(1, 3);
}

#[test]
fn no_request_is_lost_in_an_inbox_of_two() {
    requests_arrive(2, 4);
}

/// The shard has no watches and is addressed by the last batch alone.
fn batches_arrive(capacity: usize, batches: u64) {
    check(3, move || {
        let pair = Pair::new(capacity);
        let shard = thread::spawn({
            let pair = Arc::clone(&pair);
            move || {
                let mut position = 0;
                while position < batches {
                    if !pair.drain(&mut position) {
                        pair.shard.sleep();
                    }
                }
            }
        });
        for zxid in 1..=batches {
            while !pair.apply(zxid, zxid == batches) {
                pair.core.sleep();
            }
        }
        shard.join().unwrap();
    });
}

#[test]
fn no_batch_is_lost_while_the_core_waits_for_a_stream_of_one() {
    batches_arrive(1, 3);
}

#[test]
fn a_shard_that_nothing_concerns_is_woken_before_its_stream_holds_up_the_core() {
    batches_arrive(2, 4);
}

#[test]
fn the_core_waits_for_one_full_stream_after_the_other() {
    check(2, || {
        let core = Arc::new(Sleeper::new());
        let streams = [Arc::new(ShardStream::new(1)), Arc::new(ShardStream::new(1))];
        let bells = [Arc::new(Sleeper::new()), Arc::new(Sleeper::new())];
        let shards: Vec<_> = (0..2)
            .map(|shard: usize| {
                let (core, stream, bell) = (Arc::clone(&core), Arc::clone(&streams[shard]), Arc::clone(&bells[shard]));
                thread::spawn(move || {
                    let mut left = 2;
                    while left > 0 {
                        match stream.pop() {
                            Some(()) => {
                                left -= 1;
                                if stream.made_room() {
                                    core.ring();
                                }
                            }
                            None => bell.sleep(),
                        }
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            while !streams.iter().all(|stream| stream.has_room_or_asks()) {
                core.sleep();
            }
            for (stream, bell) in streams.iter().zip(&bells) {
                if stream.push((), true) {
                    bell.ring();
                }
            }
        }
        for shard in shards {
            shard.join().unwrap();
        }
    });
}

/// The core may hold one request at a time, as when its pending places are taken, and answers it with two batches. With queues of one,
/// each side is soon held up by the other.
#[test]
fn full_queues_in_both_directions_hold_up_nobody_for_good() {
    const REQUESTS: u64 = 3;
    check(2, || {
        let pair = Pair::new(1);
        let shard = thread::spawn({
            let pair = Arc::clone(&pair);
            move || {
                let (mut sent, mut position) = (0, 0);
                while position < 2 * REQUESTS {
                    let drained = pair.drain(&mut position);
                    let handed_over = sent < REQUESTS && pair.hand_over(sent + 1);
                    sent += u64::from(handed_over);
                    if !drained && !handed_over {
                        pair.shard.sleep();
                    }
                }
            }
        });
        let (mut taken, mut applied) = (0, 0);
        while applied < 2 * REQUESTS {
            let has_taken = applied == 2 * taken && pair.take_request().is_some();
            taken += u64::from(has_taken);
            let has_applied = applied < 2 * taken && pair.apply(applied + 1, true);
            applied += u64::from(has_applied);
            if !has_taken && !has_applied {
                pair.core.sleep();
            }
        }
        shard.join().unwrap();
    });
}

/// Laws 4 to 6: what the tree shows a shard was drained before. With watches it then sleeps, and must hear of every change; without,
/// it is left alone as long as there is room.
fn reads_show_what_was_drained(has_watches: bool) {
    const CHANGES: u64 = 3;
    check(3, move || {
        let pair = Pair::new(if has_watches { 2 } else { 6 });
        let shard = thread::spawn({
            let pair = Arc::clone(&pair);
            move || {
                let mut position = 0;
                for _ in 0..=CHANGES {
                    pair.drain(&mut position);
                    let tree = pair.tree.read().unwrap();
                    pair.drain(&mut position);
                    assert_eq!(*tree, position, "the tree shows a change whose batch was not drained");
                    pair.stream.set_has_watches(has_watches);
                    drop(tree);
                    if position == CHANGES {
                        return;
                    }
                    if has_watches {
                        pair.shard.sleep();
                    }
                }
                assert!(!has_watches, "rung more often than there were changes");
            }
        });
        for zxid in 1..=CHANGES {
            while !pair.apply(zxid, false) {
                pair.core.sleep();
            }
        }
        shard.join().unwrap();
        if !has_watches {
            assert!(!pair.shard.flag.take(), "a shard that nothing concerns was rung");
        }
    });
}

#[test]
fn a_shard_with_watches_hears_of_every_change() {
    reads_show_what_was_drained(true);
}

#[test]
fn a_read_shows_no_change_whose_batch_was_not_drained() {
    reads_show_what_was_drained(false);
}

/// The core pushes to a log with room for one batch, waits for the durable zxid (or does not), and ends; then the log is closed.
fn txns_are_written(core_waits: bool) {
    const TXNS: u64 = 3;
    check(3, move || {
        let shared = Arc::new((Sleeper::new(), Sleeper::new(), LogQueue::new(1, 0)));
        let log = thread::spawn({
            let shared = Arc::clone(&shared);
            move || write_log(&shared.0, &shared.1, &shared.2)
        });
        let (core, log_bell, queue) = &*shared;
        for zxid in 1..=TXNS {
            while !queue.has_room() {
                core.sleep();
            }
            queue.push(zxid);
            log_bell.ring();
        }
        while core_waits && queue.durable() < TXNS {
            core.sleep();
        }
        queue.close();
        log_bell.ring();
        assert_eq!(log.join().unwrap(), TXNS, "what was pushed before the end was written");
        assert_eq!(queue.durable(), TXNS);
    });
}

/// `LogThread::work`. The last zxid that it wrote.
fn write_log(core: &Sleeper, bell: &Sleeper, queue: &LogQueue<u64>) -> u64 {
    let mut written = 0;
    let mut write_queue = || {
        let before = written;
        while let Some(zxid) = queue.pop() {
            assert_eq!(zxid, written + 1, "a txn is lost or out of order");
            written = zxid;
        }
        if written > before {
            queue.set_durable(written);
            core.ring();
        }
        written > before
    };
    loop {
        if write_queue() {
            continue;
        }
        if queue.is_closed() {
            write_queue();
            return written;
        }
        bell.sleep();
    }
}

#[test]
fn with_an_answer_shows_what_the_log_is_durable_up_to_then() {
    check(3, || {
        let shared = Arc::new((Sleeper::new(), Sleeper::new(), LogQueue::new(1, 7), AnswerQueue::new(1)));
        let log = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let (core, bell, queue, answers) = &*shared;
                for _ in 0..2 {
                    let to = loop {
                        match queue.pop() {
                            Some(to) => break to,
                            None => bell.sleep(),
                        }
                    };
                    // `LogWriter::work_off`.
                    queue.set_durable(0);
                    queue.set_durable(to);
                    answers.push(to);
                    core.ring();
                }
            }
        });
        let (core, log_bell, queue, answers) = &*shared;
        for to in [5, 3] {
            answers.expect_one();
            queue.push(to);
            log_bell.ring();
            let answer = loop {
                match answers.pop() {
                    Some(answer) => break answer,
                    None => core.sleep(),
                }
            };
            assert_eq!((answer, queue.durable()), (to, to));
        }
        log.join().unwrap();
    });
}

#[test]
fn the_core_hears_when_its_txns_are_durable() {
    txns_are_written(true);
}

#[test]
fn what_was_pushed_before_the_end_is_written() {
    txns_are_written(false);
}

/// A core that hosts the log's writer, and the thread that it lends it to for what blocks.
struct Lending {
    core: Sleeper,
    log: Sleeper,
    queue: LogQueue<u64>,
    /// What has the writer: the last zxid that was written.
    desk: Desk<u64>,
}

impl Lending {
    fn write(&self, written: &mut u64) -> bool {
        let before = *written;
        while let Some(zxid) = self.queue.pop() {
            assert_eq!(zxid, *written + 1, "a txn is lost or out of order");
            *written = zxid;
        }
        if *written > before {
            self.queue.set_durable(*written);
        }
        *written > before
    }

    /// `LogThread::work`, for a thread that starts with the writer and lends it whenever it has nothing to write.
    fn run_log(&self) -> u64 {
        let mut place = Some(0);
        loop {
            let Some(mut written) = place.take() else {
                place = self.desk.take_for_thread();
                if place.is_none() {
                    if self.queue.is_closed() {
                        place = self.desk.take_for_thread();
                        assert!(place.is_some(), "the writer is lost");
                        continue;
                    }
                    self.log.sleep();
                }
                continue;
            };
            if self.write(&mut written) {
                self.core.ring();
            } else if self.queue.is_closed() {
                self.write(&mut written);
                return written;
            } else if !self.desk.is_closed() {
                self.desk.give_to_core(written);
                self.core.ring();
                continue;
            } else {
                self.log.sleep();
            }
            place = Some(written);
        }
    }
}

/// The core writes itself while it has the writer; every so many txns something blocks, and the thread has to. Then it ends: as
/// `Core::release_log`, before all is written or after.
fn the_writer_changes_hands(waits: bool) {
    const TXNS: u64 = 3;
    check(2, move || {
        let shared = Arc::new(Lending {
            core: Sleeper::new(),
            log: Sleeper::new(),
            queue: LogQueue::new(2, 0),
            desk: Desk::default(),
        });
        let log = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.run_log()
        });
        let mut place: Option<u64> = None;
        let mut pushed = 0;
        while pushed < TXNS || (waits && shared.queue.durable() < TXNS) {
            let mut progress = false;
            if pushed < TXNS && shared.queue.has_room() {
                pushed += 1;
                shared.queue.push(pushed);
                progress = true;
                if place.is_none() {
                    shared.log.ring();
                }
            }
            if let Some(mut written) = place.take().or_else(|| shared.desk.take_for_core()) {
                if written == 1 {
                    // The next segment, say.
                    shared.desk.give_to_thread(written);
                    shared.log.ring();
                } else {
                    progress |= shared.write(&mut written);
                    place = Some(written);
                }
            }
            if !progress && (pushed < TXNS || shared.queue.durable() < TXNS) {
                shared.core.sleep();
            }
        }
        if let Some(written) = place {
            shared.desk.give_to_thread(written);
        }
        shared.desk.close();
        shared.log.ring();
        shared.queue.close();
        shared.log.ring();
        assert_eq!(log.join().unwrap(), TXNS, "what was pushed before the end was written");
    });
}

#[test]
fn a_writer_that_changes_hands_loses_no_txn() {
    the_writer_changes_hands(true);
}

#[test]
fn a_writer_that_is_lent_when_the_core_ends_writes_the_rest() {
    the_writer_changes_hands(false);
}
