//! The log's writer lent to a core that hosts it, and taken back: the log thread, a core's turns, and the desk between them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod log_support;
mod rt_support;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::replica::{Replica, ReplicaOptions};
use engine::stream::StreamItem;
use engine::turn;
use log_support::{HeldDisk, Rig, connects};
use ringkeeper_server::cold::ColdReads;
use ringkeeper_server::config::SnapLogBytes;
use ringkeeper_server::consensus::{self, Core, LogPort, Turn};
use ringkeeper_server::image::{ImageRule, ImageStarter};
use ringkeeper_server::log::LogThread;
use ringkeeper_server::log_writer::{LogWriter, Pumped};
use ringkeeper_server::mailbox::Desk;
use ringkeeper_server::recovery::Replayed;
use ringkeeper_server::rt::Parker;
use rt_support::PATIENCE;

type Writer = Box<LogWriter<HeldDisk>>;

/// A log thread that lends its writer.
struct Lender {
    rig: Rig,
    desk: Arc<Desk<Writer>>,
    thread: JoinHandle<()>,
}

impl Lender {
    fn start() -> Lender {
        let mut rig = Rig::new();
        let desk: Arc<Desk<Writer>> = Arc::default();
        let parker = std::mem::replace(&mut rig.log_parker, Parker::new(Duration::ZERO));
        let thread = LogThread::new(Arc::clone(&rig.hub), Box::new(rig.writer()), parker, Some(Arc::clone(&desk)));
        Lender { rig, desk, thread: std::thread::spawn(move || thread.run()) }
    }

    /// Waits for the writer, as a core does.
    fn take(&mut self) -> Writer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(writer) = self.desk.take_for_core() {
                return writer;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the writer is not lent; {:?}", self.rig.hub.failure());
            // Whoever lends it rings.
            self.rig.core_parker.wait(Some(left));
        }
    }

    fn give_back(&self, writer: Writer) {
        self.desk.give_to_thread(writer);
        self.rig.hub.ring_log();
    }

    /// The end, in the order in which the server does it; then everything pushed has to be there, and a seal.
    fn stop(self) {
        self.desk.close();
        self.rig.hub.ring_log();
        self.rig.hub.close_log();
        self.thread.join().unwrap();
        assert_eq!(self.rig.hub.failure(), None);
        assert_eq!(self.rig.durable(), self.rig.last());
        self.rig.assert_holds_up_to(self.rig.last());
        assert!(self.rig.is_sealed(), "the log does not end with a seal");
        assert!(self.rig.disk.sim.files().contains_key("closed"), "the next start reads behind the end");
    }
}

#[test]
fn a_writer_that_has_nothing_to_do_is_lent_and_comes_back_when_it_blocks() {
    let mut lender = Lender::start();
    for _ in 0..20 {
        let mut writer = lender.take();
        // From an empty log to one that is short of space.
        loop {
            lender.rig.push(1);
            let pumped = loop {
                let pumped = writer.pump(None).unwrap();
                if pumped != Pumped::Progress {
                    break pumped;
                }
            };
            if pumped == Pumped::Blocks {
                break;
            }
        }
        lender.rig.push(1);
        lender.give_back(writer);
    }
    let writer = lender.take();
    assert_eq!(lender.rig.durable(), lender.rig.last(), "what blocked was written before it was lent again");
    lender.give_back(writer);
    lender.stop();
}

#[test]
fn what_is_pushed_while_the_writer_is_with_its_thread_is_written_there() {
    let mut lender = Lender::start();
    let writer = lender.take();
    lender.rig.push(3);
    lender.give_back(writer);
    let writer = lender.take();
    assert_eq!(lender.rig.durable(), lender.rig.last());
    lender.give_back(writer);
    lender.stop();
}

#[test]
fn at_the_end_the_thread_writes_what_a_core_that_gave_back_left_behind() {
    let mut lender = Lender::start();
    let mut writer = lender.take();
    lender.rig.disk.hold();
    lender.rig.push(1);
    assert_eq!(writer.pump(None).unwrap(), Pumped::Progress);
    lender.rig.push(200);
    assert_eq!(writer.pump(None).unwrap(), Pumped::Nothing, "the rest of the batch is gathered and waits");
    writer.settle().unwrap();
    lender.rig.push(1);
    lender.give_back(writer);
    lender.stop();
}

#[test]
fn at_the_end_the_thread_takes_a_writer_that_nobody_has_fetched() {
    let mut lender = Lender::start();
    let writer = lender.take();
    lender.rig.push(1);
    // It lies where the core would have found it.
    lender.desk.give_to_core(writer);
    lender.stop();
}

#[test]
fn a_log_that_fails_in_the_threads_hands_is_named_and_the_writer_does_not_come_back() {
    let mut lender = Lender::start();
    let writer = lender.take();
    lender.rig.push(1);
    lender.rig.disk.sim.freeze_at(lender.rig.disk.sim.steps() + 1);
    lender.give_back(writer);
    lender.thread.join().unwrap();
    let why = lender.rig.hub.failure().expect("a failed log stops the server").why;
    assert!(why.contains("the log failed") && why.contains("power has failed"), "{why}");
    assert_eq!(lender.rig.durable(), 0);
    assert!(lender.desk.take_for_core().is_none());
}

// ---- a core's turns -------------------------------------------------------------------------------------------------------

/// A core that hosts the log, in turns that the test takes.
struct Host {
    rig: Rig,
    desk: Arc<Desk<Writer>>,
    core: Core<HeldDisk>,
}

impl Host {
    fn new() -> Host {
        let rig = Rig::new();
        let desk: Arc<Desk<Writer>> = Arc::default();
        desk.give_to_core(Box::new(rig.writer()));
        let replica = Replica::new(ReplicaOptions::default(), &rig.hub.read_tree(), consensus::now(&rig.hub));
        let (images, _frozen, _busy) =
            ImageStarter::new(ImageRule { txns_max: u64::MAX, log_bytes: SnapLogBytes::Off }, Replayed::default());
        let port = LogPort::Hosted { desk: Arc::clone(&desk), writer: None, bell: None };
        let (cold_reads, _nothing_is_cold) = ColdReads::new(&rig.hub);
        let turn = turn::Core::alone(replica);
        let core = Core::new(Arc::clone(&rig.hub), turn, port, images, cold_reads, Some(0), None);
        Host { rig, desk, core }
    }

    /// Takes turns until there is nothing more to do at once, and returns how many sessions were answered.
    fn turns(&mut self) -> usize {
        while self.core.turn() == Turn::Progress {}
        let mut answered = 0;
        while let Some(batch) = self.rig.hub.shards[0].stream.pop() {
            answered += batch.items.iter().filter(|item| matches!(item, StreamItem::Connected { .. })).count();
        }
        answered
    }
}

#[test]
fn no_reply_leaves_a_core_before_the_write_that_covers_it_has_ended() {
    let mut host = Host::new();
    host.rig.disk.hold();
    host.rig.hub.shards[0].inbox.push(connects(0, 3));
    assert_eq!(host.turns(), 0, "the write has only been started");
    assert_eq!(host.rig.hub.read_tree().last_zxid().0, 0, "and nothing is applied");
    host.rig.hub.shards[0].inbox.push(connects(3, 2));
    assert_eq!(host.turns(), 0, "nor is what gathers behind it");
    host.rig.disk.release();
    assert_eq!(host.turns(), 5);
}

#[test]
fn a_core_answers_nothing_after_its_log_has_failed() {
    let mut host = Host::new();
    host.rig.hub.shards[0].inbox.push(connects(0, 1));
    assert_eq!(host.turns(), 1);
    host.rig.disk.sim.freeze_at(host.rig.disk.sim.steps() + 1);
    host.rig.hub.shards[0].inbox.push(connects(1, 1));
    assert_eq!(host.turns(), 0);
    let why = host.rig.hub.failure().expect("a failed log stops the server").why;
    assert!(why.contains("the log failed"), "{why}");
}

#[test]
fn a_core_that_ends_waits_for_the_write_on_its_way_and_gives_the_writer_back() {
    let mut host = Host::new();
    host.rig.disk.hold();
    host.rig.hub.shards[0].inbox.push(connects(0, 1));
    assert_eq!(host.turns(), 0);
    host.core.release_log();
    let writer = host.desk.take_for_thread().expect("the writer is back");
    assert!(!writer.is_in_flight() && host.desk.is_closed());
    assert_eq!(host.turns(), 1, "what it had started is answered still");
}
