//! When an image is due, and the thread that writes it.
//!
//! Owns the rule (ZooKeeper's `snapCount` and `snapSizeLimitInKb`), the frozen tree on its way, and what follows a published image: the
//! control file, retention, and the point below which the log may be purged. Freezing takes microseconds under the lock; the rest
//! happens on a thread of low priority. An image that fails (a full disk, say) is reported, given up and tried again by itself, at growing
//! intervals: the log has everything. `tests/tests/durability/image.rs` fills the disk.
#![forbid(unsafe_code)]

use crate::hub::Hub;
use crate::measured::millis;
use crate::stats;
use engine::replica::TxnBatch;
use engine::tree::{FrozenTree, Tree};
use proto::Zxid;
use snapshot::control::{Control, ImageRef};
use snapshot::image::{AclRecord, ImageOptions, ImageTotals, ImageWriter, NodeRecord, SessionRecord};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, SystemTime};

/// When an image is due.
#[derive(Clone, Copy, Debug)]
pub struct ImageRule {
    /// After so many txns.
    pub txns_max: u64,
    /// After so many bytes of them.
    pub bytes_max: u64,
}

/// The core's side: counts txns, freezes the tree when it is time.
#[derive(Debug)]
pub struct ImageStarter {
    rule: ImageRule,
    txns: u64,
    bytes: u64,
    busy: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
    frozen: SyncSender<FrozenTree>,
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
    /// A starter, the receiving end for the image thread, and the flag that it lowers after each image. `replayed`: txns that the last
    /// start had to replay; they count, or a server that keeps falling down would replay more each time.
    #[must_use]
    pub fn new(rule: ImageRule, replayed: u64) -> (ImageStarter, Receiver<FrozenTree>, Arc<AtomicBool>) {
        let (frozen, receiver) = mpsc::sync_channel(1);
        let busy = Arc::new(AtomicBool::new(false));
        let starter =
            ImageStarter { rule, txns: replayed, bytes: 0, busy: Arc::clone(&busy), asked: Arc::default(), frozen };
        (starter, receiver, busy)
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

    /// Has somebody asked for an image now?
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Freezes the tree if an image is due and none is under way.
    pub fn consider(&mut self, tree: &Tree) {
        let due = self.txns >= self.rule.txns_max || self.bytes >= self.rule.bytes_max || self.is_asked();
        if !due || self.busy.load(Ordering::Acquire) {
            return;
        }
        self.asked.store(false, Ordering::Release);
        self.busy.store(true, Ordering::Release);
        (self.txns, self.bytes) = (0, 0);
        let sent = self.frozen.try_send(tree.freeze()).is_ok();
        assert!(sent, "the image thread is idle and has room for one");
    }
}

/// The image thread.
#[derive(Debug)]
pub struct ImageThread {
    hub: Arc<Hub>,
    data_dir: PathBuf,
    control: Control,
    retain: Option<usize>,
    frozen: Receiver<FrozenTree>,
    busy: Arc<AtomicBool>,
    request: ImageRequest,
    /// How long to wait until an image that was given up is tried again; `None`: there is none.
    retry_after: Option<Duration>,
}

impl ImageThread {
    /// `retain`: how many images are kept; `None`: all. `request`: how an image that was given up is asked for again.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        data_dir: PathBuf,
        control: Control,
        retain: Option<usize>,
        frozen: Receiver<FrozenTree>,
        busy: Arc<AtomicBool>,
        request: ImageRequest,
    ) -> ImageThread {
        ImageThread { hub, data_dir, control, retain, frozen, busy, request, retry_after: None }
    }

    /// Runs until the core has gone.
    pub fn run(mut self) {
        // Below everything else; where that is not allowed it runs like everybody.
        let _best_effort = rustix::process::nice(IMAGE_NICE);
        while let Some(frozen) = self.next_frozen() {
            let zxid = frozen.zxid;
            let started = std::time::Instant::now();
            match self.write(&frozen) {
                Ok(()) => {
                    self.retry_after = None;
                    stats::add(&self.hub.core_stats.images_written, 1);
                    self.hub.measured.image_ms.add(millis(started.elapsed()), 1);
                }
                // Whether the old or the new control file stands is not known: going on could contradict either.
                Err(WriteError::Control(error @ snapshot::Error::Io { .. })) => self.hub.fail(format!(
                    "the control file could not be replaced: {error}. The server stops; look at the disk before you start it again"
                )),
                Err(WriteError::Control(error) | WriteError::Image(error)) => {
                    stats::add(&self.hub.core_stats.images_failed, 1);
                    let pause = self.retry_after.map_or(RETRY_AFTER_MIN, |pause| (pause * 2).min(RETRY_AFTER_MAX));
                    self.retry_after = Some(pause);
                    tracing::error!(
                        "the image at {zxid} was not written: {error}. Nothing is lost, the log has everything; it is tried again in {} s",
                        pause.as_secs()
                    );
                }
            }
            drop(frozen);
            self.busy.store(false, Ordering::Release);
            self.hub.ring_core();
        }
    }

    /// The next tree to write. One that was given up is asked for again after its time, as the tree is then. `None`: the core has gone.
    fn next_frozen(&self) -> Option<FrozenTree> {
        let Some(pause) = self.retry_after else { return self.frozen.recv().ok() };
        match self.frozen.recv_timeout(pause) {
            Ok(frozen) => Some(frozen),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                self.request.ask();
                self.frozen.recv().ok()
            }
        }
    }

    fn write(&mut self, frozen: &FrozenTree) -> Result<(), WriteError> {
        let started = std::time::Instant::now();
        write_image(&self.data_dir, frozen, &self.hub.core_stats.image_beats).map_err(WriteError::Image)?;
        let control = Control {
            image: Some(ImageRef::at(frozen.zxid)),
            history_zxid: self.control.history_zxid.max(Zxid(self.hub.log_queue.durable())),
            ..self.control.clone()
        };
        control.replace(&self.data_dir).map_err(WriteError::Control)?;
        self.control = control;
        tracing::info!(
            zxid = %frozen.zxid,
            znodes = frozen.node_count,
            took_ms = started.elapsed().as_millis(),
            "image written"
        );
        if let Some(retain) = self.retain {
            let oldest = snapshot::image::purge(&self.data_dir, retain, &ImageRef::at(frozen.zxid))
                .map_err(WriteError::Image)?;
            self.hub.purge_below.store(oldest.0, Ordering::Release);
            self.hub.ring_log();
        }
        Ok(())
    }
}

/// Which part of an image's way failed.
#[derive(Debug)]
enum WriteError {
    /// The image itself: the former one stands.
    Image(snapshot::Error),
    /// The control file that was to name it.
    Control(snapshot::Error),
}

const IMAGE_NICE: i32 = 10;

/// When an image that was given up is tried again, first and at last: each try on a full disk fills what is left of it for a while.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(5);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Znodes after which the watchdog sees that an image goes on.
const NODES_IN_BEAT: usize = 1_024;

/// Writes the image and publishes it, beating as it goes. The control file is the caller's.
pub(crate) fn write_image(
    dir: &std::path::Path,
    frozen: &FrozenTree,
    beats: &AtomicU64,
) -> Result<(), snapshot::Error> {
    let mut writer = ImageWriter::create(dir, frozen.zxid, ImageOptions::default())?;
    for (id, acl) in frozen.acls() {
        writer.add_acl(AclRecord { id: id.0, acls: acl.to_vec() })?;
    }
    for (id, timeout_ms) in frozen.sessions() {
        writer.add_session(SessionRecord { id: *id, timeout_ms: *timeout_ms })?;
    }
    for (number, node) in frozen.nodes().enumerate() {
        if number % NODES_IN_BEAT == 0 {
            stats::add(beats, 1);
        }
        writer.add_node(NodeRecord { path: node.path, data: node.data, acl_id: node.acl.0, stat: *node.stat })?;
    }
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    writer.finish(ImageTotals {
        zxid: frozen.zxid,
        time_ms: i64::try_from(time.as_millis()).unwrap_or(i64::MAX),
        node_count: frozen.node_count as u64,
        data_bytes: frozen.data_bytes,
        ephemeral_count: frozen.ephemeral_count as u64,
        tree_digest: frozen.digest,
    })?;
    Ok(())
}
