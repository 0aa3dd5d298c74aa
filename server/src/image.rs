//! When an image is due, and the thread that writes it.
//!
//! Owns the rule, the frozen tree on its way, and what follows a published image: the control file, retention, and the point below which the log may
//! be purged. Freezing puts the tree's top layer aside under the lock; the rest happens on a thread of low priority, which opens the new image and
//! hands it to the core. That puts it below the tree in place of what was frozen, and gives back what it replaced, to be dropped where that
//! holds up nobody. An image that fails (a full disk, say) is given up and tried again with what was frozen, at growing
//! intervals: the log has everything. `tests/tests/durability/image.rs` fills the disk.
#![forbid(unsafe_code)]

use crate::config::{SnapLogBytes, StorageConfig};
use crate::hub::Hub;
use crate::measured::millis;
use crate::memory::Memory;
use crate::recovery::Replayed;
use crate::rt::step_back;
use crate::stats;
use engine::replica::TxnBatch;
use engine::tree::{FrozenTree, ImageFailure, ImageOrder, Replaced, Tree, bring_into_force};
use proto::Zxid;
use snapshot::base::{Base, Pace, PublishedBase};
use snapshot::control::{ControlFile, Spans};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// When an image is due.
#[derive(Clone, Copy, Debug)]
pub struct ImageRule {
    /// After so many txns.
    pub txns_max: u64,
    /// After so many bytes of them.
    pub log_bytes: SnapLogBytes,
}

/// Txns after which an image is due where the configuration does not say: a start replays some 500,000 in a second.
const TXNS_MAX: u64 = 2_000_000;

/// What an image has given back is seen by then: a second in the allocator, and half a second until somebody looks.
const GIVES_BACK_AFTER: Duration = Duration::from_secs(2);

/// Bytes of log that are worth an image of any size.
const LOG_BYTES_MIN: u64 = 64 << 20;

impl ImageRule {
    /// The configuration's.
    #[must_use]
    pub fn new(storage: &StorageConfig) -> ImageRule {
        ImageRule { txns_max: storage.snap_count.unwrap_or(TXNS_MAX), log_bytes: storage.snap_log_bytes }
    }

    /// Is an image due after so much log? `image_bytes`: what the last one refers to. Random writes touch most of it, and what is touched is
    /// written anew: so the log may grow with it.
    #[must_use]
    pub fn is_due(&self, txns: u64, log_bytes: u64, image_bytes: u64) -> bool {
        let log_bytes_max = match self.log_bytes {
            SnapLogBytes::ByImage => LOG_BYTES_MIN.max(image_bytes / 2),
            SnapLogBytes::After(bytes) => bytes.get(),
            SnapLogBytes::Off => u64::MAX,
        };
        txns >= self.txns_max || log_bytes >= log_bytes_max
    }
}

/// The core's side: counts txns, freezes the tree when it is time, and puts it onto the image when that is there.
#[derive(Debug)]
pub struct ImageStarter {
    rule: ImageRule,
    txns: u64,
    bytes: u64,
    /// Of what era something is frozen that is no image yet.
    under_way: Option<u64>,
    /// The thread has dropped that: another tree is on its way to the core.
    is_dropped: bool,
    /// The tree's: see [`ControlFile::era`].
    era: u64,
    /// When the tree was put onto the last image.
    last_built: Option<Instant>,
    asked: Arc<AtomicBool>,
    built: Arc<Built>,
    work: SyncSender<ImageWork>,
}

/// Where the image thread puts a finished image for the core.
#[derive(Debug, Default)]
pub struct Built {
    is_there: AtomicBool,
    outcome: Mutex<Option<Outcome>>,
}

/// What became of a frozen tree.
#[derive(Debug)]
enum Outcome {
    /// An image, which is in force.
    Image(Arc<Base>),
    /// Another tree has taken its place meanwhile.
    Outdated,
}

impl Built {
    fn put(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.is_there.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<Outcome> {
        if !self.is_there.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What the core hands to the image thread.
#[derive(Debug)]
pub enum ImageWork {
    /// To be written.
    Write(Box<ImageOrder>),
    /// To be dropped.
    Drop(Replaced),
}

/// Where others ask for an image at once.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    asked: Arc<AtomicBool>,
    hub: Arc<Hub>,
}

impl ImageRequest {
    /// Asks for an image of the tree as it is now; it is written as soon as the one under way, if any, is done.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.hub.ring_core();
    }
}

impl ImageStarter {
    /// A starter, and what the image thread gets: the receiving end, and where it puts an image. `replayed`: what the last start had to
    /// replay; it counts, or a server that keeps falling down would replay more each time.
    #[must_use]
    pub fn new(rule: ImageRule, replayed: Replayed) -> (ImageStarter, Receiver<ImageWork>, Arc<Built>) {
        // One tree to write, and one that was replaced.
        let (work, receiver) = mpsc::sync_channel(2);
        let built = Arc::<Built>::default();
        let starter = ImageStarter {
            rule,
            txns: replayed.txns,
            bytes: replayed.bytes,
            under_way: None,
            is_dropped: false,
            era: 0,
            last_built: None,
            asked: Arc::default(),
            built: Arc::clone(&built),
            work,
        };
        (starter, receiver, built)
    }

    /// A handle by which others ask for an image.
    #[must_use]
    pub fn request(&self, hub: Arc<Hub>) -> ImageRequest {
        ImageRequest { asked: Arc::clone(&self.asked), hub }
    }

    /// Txns go to the log.
    pub fn appended(&mut self, batch: &TxnBatch) {
        self.txns += batch.len() as u64;
        self.bytes += batch.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
    }

    /// Another tree has taken the place of the one that was shown: a new era. What is under way is dropped when it comes. To be said once for each
    /// adoption, when the log has answered it, and once for each cut that has brought a tree; before the new tree is considered.
    pub fn forget(&mut self) {
        self.era += 1;
        (self.txns, self.bytes) = (0, 0);
        if std::mem::take(&mut self.is_dropped) {
            self.under_way = None;
        }
    }

    /// Is there something to do for which the tree must be held: has somebody asked for an image, or is one finished?
    #[must_use]
    pub fn wants_tree(&self) -> bool {
        self.asked.load(Ordering::Acquire) && self.under_way.is_none() || self.built.is_there.load(Ordering::Acquire)
    }

    /// Puts the tree onto an image that is finished; freezes it if one is due and none is under way. One is due by the rule, where somebody has
    /// asked, and where memory runs short: what changed since the last image is what takes it. `spans`: the history up to exactly a zxid, if it is
    /// known.
    pub fn consider(&mut self, tree: &mut Tree, memory: &Memory, spans: impl FnOnce(Zxid) -> Option<Spans>) {
        match (self.built.take(), self.under_way) {
            (None, _) => {}
            (Some(Outcome::Outdated), Some(era)) if era == self.era => self.is_dropped = true,
            (Some(Outcome::Image(base)), Some(era)) if era == self.era => {
                self.under_way = None;
                self.last_built = Some(Instant::now());
                // The thread has room for it: what it was given before, it has taken.
                let _unless_it_ended = self.work.try_send(ImageWork::Drop(tree.rebase(base)));
            }
            // Of a tree before this one, whether it came into force or not.
            (Some(_), _) => self.under_way = None,
        }
        let asked = self.asked.load(Ordering::Acquire);
        let image_bytes = tree.base().map_or(0, |base| base.live_bytes());
        let for_memory = || {
            let has_given_back = self.last_built.is_none_or(|at| at.elapsed() >= GIVES_BACK_AFTER);
            has_given_back && memory.wants_image(self.bytes)
        };
        if self.under_way.is_some() || !(asked || self.rule.is_due(self.txns, self.bytes, image_bytes) || for_memory())
        {
            return;
        }
        self.asked.store(false, Ordering::Release);
        if tree.is_on_image() {
            return;
        }
        self.under_way = Some(self.era);
        (self.txns, self.bytes) = (0, 0);
        let spans = spans(tree.last_zxid());
        let frozen = Box::new(ImageOrder { tree: tree.freeze(), era: self.era, spans });
        let sent = self.work.try_send(ImageWork::Write(frozen)).is_ok();
        assert!(sent, "the image thread waits for its next work");
    }
}

/// The image thread.
#[derive(Debug)]
pub struct ImageThread {
    hub: Arc<Hub>,
    control: ControlFile,
    retain: Option<usize>,
    work: Receiver<ImageWork>,
    built: Arc<Built>,
    bytes_per_second: Option<NonZeroU64>,
}

impl ImageThread {
    /// `retain`: how many images are kept; `None`: all.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        control: ControlFile,
        retain: Option<usize>,
        work: Receiver<ImageWork>,
        built: Arc<Built>,
    ) -> ImageThread {
        ImageThread { hub, control, retain, work, built, bytes_per_second: None }
    }

    /// It writes no more bytes a second than this, or four times as many where memory runs short.
    #[must_use]
    pub fn keeping_below(self, bytes_per_second: Option<NonZeroU64>) -> ImageThread {
        ImageThread { bytes_per_second, ..self }
    }

    /// Runs until the core has gone.
    pub fn run(self) {
        step_back(IMAGE_NICE);
        // What was given up, and how long to wait until it is tried again.
        let mut given_up: Option<(Box<ImageOrder>, Duration)> = None;
        loop {
            let work = match &given_up {
                None => self.work.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some((_, pause)) => self.work.recv_timeout(*pause),
            };
            let (frozen, paused) = match (work, given_up.take()) {
                (Err(RecvTimeoutError::Disconnected), _) => return,
                (Ok(ImageWork::Drop(replaced)), still) => {
                    drop(replaced);
                    given_up = still;
                    continue;
                }
                (Ok(ImageWork::Write(frozen)), _) => (frozen, None),
                (Err(RecvTimeoutError::Timeout), Some((frozen, paused))) => (frozen, Some(paused)),
                (Err(RecvTimeoutError::Timeout), None) => continue,
            };
            let pause = paused.map_or(RETRY_AFTER_MIN, |paused| (paused * 2).min(RETRY_AFTER_MAX));
            if !self.make(&frozen, pause) {
                given_up = Some((frozen, pause));
            }
        }
    }

    /// Makes an image of it and tells the core. False: it failed, and is to be tried again after `pause`, or the server stops.
    fn make(&self, frozen: &ImageOrder, pause: Duration) -> bool {
        let started = Instant::now();
        match self.write(frozen) {
            Ok(outcome) => {
                if matches!(outcome, Outcome::Image(_)) {
                    stats::add(&self.hub.core_stats.images_written, 1);
                    self.hub.measured.image_ms.add(millis(started.elapsed()), 1);
                }
                self.built.put(outcome);
                self.hub.ring_core();
                return true;
            }
            Err(WriteError::Stopping) => {}
            // Whether the old or the new control file stands is not known: going on could contradict either.
            Err(WriteError::Control(error @ snapshot::Error::Io { .. })) => self.hub.fail(format!(
                "the control file could not be replaced: {error}. The server stops; look at the disk before you start it again"
            )),
            // What is below the tree is not what was written there: nothing read from it can be trusted.
            Err(WriteError::Image(error @ snapshot::Error::Damaged { .. })) => self.hub.fail_image(&error),
            Err(WriteError::Control(error) | WriteError::Image(error)) => {
                stats::add(&self.hub.core_stats.images_failed, 1);
                tracing::error!(
                    "the image at {} was not written: {error}. Nothing is lost, the log has everything; it is tried again in {} s",
                    frozen.tree.zxid,
                    pause.as_secs(),
                );
            }
        }
        false
    }

    fn write(&self, frozen: &ImageOrder) -> Result<Outcome, WriteError> {
        let (tree, started) = (&frozen.tree, Instant::now());
        let pace = Arc::new(ImagePace { hub: Arc::clone(&self.hub), bytes_per_second: self.bytes_per_second });
        let durable = || Zxid(self.hub.log_queue.durable());
        let in_force =
            bring_into_force(&self.control, frozen, now_ms(), Some(pace), durable).map_err(
                |failure| match failure {
                    ImageFailure::Image(snapshot::Error::GivenUp { .. }) if self.hub.is_stopping() => {
                        WriteError::Stopping
                    }
                    ImageFailure::Image(error) => WriteError::Image(error),
                    ImageFailure::Control(error) => WriteError::Control(error),
                },
            )?;
        let Some((base, published)) = in_force else {
            tracing::info!(zxid = %tree.zxid, "an image is not needed: another tree has taken the place of the one it was made of");
            return Ok(Outcome::Outdated);
        };
        tracing::info!(
            zxid = %tree.zxid,
            znodes = tree.node_count,
            bytes = published.file_bytes,
            carried_over_bytes = published.carried_bytes,
            took_ms = started.elapsed().as_millis(),
            "image written"
        );
        if let Some(retain) = self.retain {
            let oldest = self.control.purge_images(retain, &published.image).map_err(WriteError::Image)?;
            self.hub.purge_below.store(oldest.0, Ordering::Release);
            self.hub.ring_log();
        }
        Ok(Outcome::Image(base))
    }
}

/// How fast an image is written, and until when.
#[derive(Debug)]
struct ImagePace {
    hub: Arc<Hub>,
    bytes_per_second: Option<NonZeroU64>,
}

impl Pace for ImagePace {
    fn goes_on(&self) -> bool {
        stats::add(&self.hub.core_stats.image_beats, 1);
        !self.hub.is_stopping()
    }

    fn bytes_per_second(&self) -> Option<NonZeroU64> {
        // Who waits for memory waits for the image.
        let times = if self.hub.memory.is_half_taken() { HURRY } else { NonZeroU64::MIN };
        self.bytes_per_second.map(|rate| rate.saturating_mul(times))
    }
}

/// So many times faster is an image written where half of the memory is taken.
const HURRY: NonZeroU64 = NonZeroU64::new(4).unwrap();

/// Which part of an image's way failed.
#[derive(Debug)]
enum WriteError {
    /// The image itself: the former one stands.
    Image(snapshot::Error),
    /// The control file that was to name it.
    Control(snapshot::Error),
    /// The server stops: the log has everything.
    Stopping,
}

const IMAGE_NICE: i32 = 10;

/// When an image that was given up is tried again, first and at last: each try on a full disk fills what is left of it for a while.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(5);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Merges what was frozen into its base and publishes that; the control file is the caller's.
///
/// # Errors
/// As those of [`engine::tree::write_image`].
pub fn write_image(
    dir: &Path,
    frozen: &FrozenTree,
    pace: Option<Arc<dyn Pace>>,
) -> Result<PublishedBase, snapshot::Error> {
    engine::tree::write_image(dir, frozen, now_ms(), pace)
}

/// The wall clock, in ms since 1970.
pub(crate) fn now_ms() -> i64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Epoch;
    use snapshot::control::{Control, ImageRef};
    use snapshot::store;

    #[test]
    fn an_image_is_due_by_txns_or_by_what_its_log_is_worth_beside_it() {
        let rule = ImageRule { txns_max: 1_000, log_bytes: SnapLogBytes::ByImage };
        let mib = |count: u64| count << 20;
        assert!(!rule.is_due(999, 0, 0) && rule.is_due(1_000, 0, mib(9_999)));
        assert!(!rule.is_due(1, mib(64) - 1, 0) && rule.is_due(1, mib(64), mib(128)), "64 MiB for a small one");
        assert!(
            !rule.is_due(1, mib(500) - 1, mib(1_000)) && rule.is_due(1, mib(500), mib(1_000)),
            "half of a large one"
        );
        let after = ImageRule { log_bytes: SnapLogBytes::After(NonZeroU64::MIN), ..rule };
        assert!(!after.is_due(1, 0, 0) && after.is_due(1, 1, mib(1_000)));
        assert!(!ImageRule { log_bytes: SnapLogBytes::Off, ..rule }.is_due(1, u64::MAX - 1, 0));
    }

    #[test]
    fn an_image_is_written_where_memory_wants_one_and_the_last_has_given_back_what_it_can() {
        let never = ImageRule { txns_max: u64::MAX, log_bytes: SnapLogBytes::Off };
        let starts = |memory: &Memory, last_built: Option<Instant>| {
            let (mut starter, work, _built) = ImageStarter::new(never, Replayed { txns: 1, bytes: 100 });
            starter.last_built = last_built;
            starter.consider(&mut Tree::new(), memory, |_| None);
            matches!(work.try_recv(), Ok(ImageWork::Write(_)))
        };
        assert!(starts(&Memory::found(1_600, 801), None));
        assert!(!starts(&Memory::found(1_600, 800), None));
        // Long enough ago, and not so however long this takes.
        assert!(starts(&Memory::found(1_600, 801), Instant::now().checked_sub(GIVES_BACK_AFTER)));
        assert!(!starts(&Memory::found(1_600, 801), Instant::now().checked_add(Duration::from_secs(3_600))));
    }

    /// Images all the time.
    const ALWAYS: ImageRule = ImageRule { txns_max: 0, log_bytes: SnapLogBytes::Off };

    /// The era of the tree that was handed to the image thread.
    fn considered(starter: &mut ImageStarter, tree: &mut Tree, work: &Receiver<ImageWork>) -> Option<u64> {
        starter.consider(tree, &Memory::default(), |_| None);
        match work.try_recv() {
            Ok(ImageWork::Write(frozen)) => Some(frozen.era),
            _ => None,
        }
    }

    #[test]
    fn what_is_under_way_when_another_tree_comes_is_dropped_when_it_comes() {
        let (mut starter, work, built) = ImageStarter::new(ALWAYS, Replayed::default());
        let (mut former, mut tree) = (Tree::new(), Tree::new());
        assert_eq!(considered(&mut starter, &mut former, &work), Some(0));
        starter.forget();
        assert_eq!(considered(&mut starter, &mut tree, &work), None, "the image thread is at the former one still");
        built.put(Outcome::Outdated);
        assert_eq!(considered(&mut starter, &mut tree, &work), Some(1));
    }

    #[test]
    fn a_tree_whose_image_was_dropped_is_not_frozen_again_before_another_takes_its_place() {
        let (mut starter, work, built) = ImageStarter::new(ALWAYS, Replayed::default());
        let (mut former, mut tree) = (Tree::new(), Tree::new());
        assert_eq!(considered(&mut starter, &mut former, &work), Some(0));
        built.put(Outcome::Outdated);
        assert_eq!(considered(&mut starter, &mut former, &work), None);
        assert_eq!(considered(&mut starter, &mut former, &work), None);
        starter.forget();
        assert_eq!(considered(&mut starter, &mut tree, &work), Some(1));
    }

    #[test]
    fn the_image_thread_names_no_image_of_a_tree_whose_place_was_taken() {
        let dir = tempfile::tempdir().unwrap();
        let parker = crate::rt::Parker::new(Duration::ZERO);
        let bell = crate::hub::CoreBell::Thread(parker.bell());
        let hub = Arc::new(Hub::new(Tree::new(), 1, bell, parker.bell()));
        let control = Control { log_generation: 1, ..Control::default() };
        control.replace(dir.path()).unwrap();
        let control = ControlFile::new(dir.path(), control);
        let (_starter, work, built) = ImageStarter::new(ALWAYS, Replayed::default());
        let thread = ImageThread::new(hub, control.clone(), None, work, Arc::clone(&built));
        let frozen = || ImageOrder { tree: Tree::new().freeze(), era: 0, spans: None };
        assert!(thread.make(&frozen(), Duration::ZERO));
        assert!(matches!(built.take(), Some(Outcome::Image(_))));
        assert_eq!(Control::load(dir.path()).unwrap().unwrap().image, Some(ImageRef::at(Zxid::ZERO)));

        let options = wal::Options { generation: wal::Generation(1), ..wal::Options::new() };
        let (mut log, _) = wal::Log::open(wal::sim_disk::SimDisk::new(), options).unwrap();
        store::begin(&mut log, &control, ImageRef::at(Zxid(5))).unwrap();
        store::adopt(&mut log, &control, Epoch(1), Epoch(1)).unwrap();
        assert!(thread.make(&frozen(), Duration::ZERO), "there is nothing to be tried again");
        assert!(matches!(built.take(), Some(Outcome::Outdated)));
        assert_eq!(Control::load(dir.path()).unwrap().unwrap().image, Some(ImageRef::at(Zxid(5))));
    }
}
