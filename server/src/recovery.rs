//! Recovery: the control file names the base image, the log has what came after it. Together they give the tree that was acknowledged.
//!
//! Owns the order of reading and the checks between the parts (law 9 and what of law 10 a standalone server needs): an image that
//! the control file names must be there and whole, the log must reach as far as was known durable. It never repairs or skips anything: what does
//! not fit stops the start with a name. A first start beside ZooKeeper's own data imports them ([`crate::import`]). `tests/tests/crash.rs` and the log's and image's own tests would catch a mistake.
#![forbid(unsafe_code)]

use crate::config::ResolvedConfig;
use crate::import::{self, ImportFailure};
use engine::apply;
use engine::stream::StreamItem;
use engine::tree::{LoadError, Tree};
use proto::txn::TxnRecord;
use proto::{Epoch, Zxid};
use snapshot::AnyImage;
use snapshot::control::{Control, ImageRef};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wal::{Generation, Log, Options, UringDisk, UringOptions};

/// What recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// The tree, with every txn that was durable.
    pub tree: Tree,
    /// The log, open for appending.
    pub log: Log<UringDisk>,
    /// The control file.
    pub control: Control,
    /// What was replayed of the log.
    pub replayed: Replayed,
    /// How long it took.
    pub took: Took,
}

/// The log's tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Its txns.
    pub txns: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How long the parts of a recovery took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Loading the image, if there was one.
    pub image: Option<Duration>,
    /// Replaying the log.
    pub log: Duration,
    /// All of it.
    pub all: Duration,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// Control file or image.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The log.
    #[error("the log in {dir}: {source}", dir = dir.display())]
    Log {
        /// Its directory.
        dir: PathBuf,
        /// What is wrong with it.
        source: wal::Error,
    },
    /// The log's directory.
    #[error("cannot open the log directory {dir}: {source}", dir = dir.display())]
    LogDir {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The image does not make a tree.
    #[error("the image {file} does not make a tree: {source}; restore it from a backup, or start from another image", file = file.display())]
    Tree {
        /// The image.
        file: PathBuf,
        /// Why.
        source: LoadError,
    },
    /// A record that this version cannot read.
    #[error(
        "the log has a record at {zxid} that is not a txn ({source}); it was written by another version, or by another program"
    )]
    Record {
        /// Its zxid.
        zxid: Zxid,
        /// Why.
        source: proto::DecodeError,
    },
    /// Less is there than was acknowledged.
    #[error(
        "{dir} has lost history: image and log reach {found}, but {known} was durable once. The newest part of the log is missing; \
         restore it, or remove the directory if you can do without its data",
        dir = dir.display()
    )]
    LostHistory {
        /// The data directory.
        dir: PathBuf,
        /// How far it reaches.
        found: Zxid,
        /// How far it once reached.
        known: Zxid,
    },
    /// ZooKeeper's own data beside ours, or in their place.
    #[error(transparent)]
    Import(#[from] ImportFailure),
}

/// The subdirectory of `dataLogDir` that has the log.
pub(crate) const LOG_DIR: &str = "log";
/// While a long replay runs, it says how far it is this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Recovers everything.
///
/// # Errors
/// Everything that does not fit: see [`RecoveryError`].
pub fn recover(config: &ResolvedConfig) -> Result<Recovered, RecoveryError> {
    let started = Instant::now();
    let storage = &config.storage;
    let found = Control::load(&storage.data_dir)?;
    let first_start = found.is_none();
    let control = found.unwrap_or_else(|| Control {
        server_id: config.server_id(),
        log_generation: 1,
        accepted_epoch: Epoch(0),
        current_epoch: Epoch(0),
        ..Control::default()
    });
    let imported = if first_start { import::import(config, &control)? } else { None };
    let was_imported = imported.is_some();
    let (tree, control) = match (imported, &control.image) {
        (Some(imported), _) => imported,
        (None, Some(image)) => (open_image(&storage.data_dir, image)?, control),
        (None, None) => (Tree::new(), control),
    };
    let image_took = control.image.is_some().then(|| started.elapsed());
    let dir = storage.data_log_dir.join(LOG_DIR);
    let replay_started = Instant::now();
    let (tree, log, replayed) = replay(config, &control, tree, &dir)?;
    let took = Took { image: image_took, log: replay_started.elapsed(), all: started.elapsed() };
    if tree.last_zxid() < control.history_zxid {
        let (found, known) = (tree.last_zxid(), control.history_zxid);
        return Err(RecoveryError::LostHistory { dir: storage.data_dir.clone(), found, known });
    }
    if !first_start {
        import::refuse_newer(config, tree.last_zxid())?;
    } else if !was_imported {
        control.replace(&storage.data_dir)?;
    }
    tracing::info!(
        zxid = %tree.last_zxid(),
        znodes = tree.node_count(),
        sessions = tree.sessions().len(),
        took_ms = took.all.as_millis(),
        "recovered"
    );
    Ok(Recovered { tree, log, control, replayed, took })
}

fn open_image(dir: &Path, image: &ImageRef) -> Result<Tree, RecoveryError> {
    let file = dir.join(&image.file_name);
    let opened = AnyImage::open(dir, image)?;
    let tree = Tree::of_image(opened).map_err(|source| RecoveryError::Tree { file: file.clone(), source })?;
    tracing::info!(zxid = %tree.last_zxid(), znodes = tree.node_count(), file = %file.display(), "image opened");
    Ok(tree)
}

fn replay(
    config: &ResolvedConfig,
    control: &Control,
    tree: Tree,
    dir: &Path,
) -> Result<(Tree, Log<UringDisk>, Replayed), RecoveryError> {
    let log_error = |source| RecoveryError::Log { dir: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(|source| RecoveryError::LogDir { dir: dir.to_owned(), source })?;
    let disk = UringDisk::open(dir, UringOptions::default())
        .map_err(|source| RecoveryError::LogDir { dir: dir.to_owned(), source })?;
    let options = Options {
        segment_bytes: config.storage.log_segment_bytes,
        max_record_bytes: config.storage.log_record_bytes_max,
        generation: Generation(control.log_generation),
        replay_after: tree.last_zxid().0,
        ..Options::new()
    };
    let (log, mut records) = Log::open(disk, options).map_err(log_error)?;
    let mut replay = Replay::new(tree);
    while let Some((zxid, bytes)) = records.next_record().map_err(log_error)? {
        replay.take(Zxid(zxid), bytes)?;
    }
    let (tree, replayed) = replay.finish()?;
    tracing::debug!(txns = replayed.txns, bytes = replayed.bytes, "replayed the log");
    Ok((tree, log, replayed))
}

/// Applies the log's tail. Where the image is not in memory, the disk is asked for what the txns ahead will touch, many at a time.
struct Replay {
    tree: Tree,
    changes: Vec<StreamItem>,
    replayed: Replayed,
    said: Instant,
    looks_ahead: bool,
    ahead: VecDeque<(Zxid, Box<[u8]>)>,
    ahead_bytes: usize,
}

impl Replay {
    fn new(tree: Tree) -> Replay {
        // Who cannot say what is in memory is not asked again; the replay is right without it.
        let looks_ahead = tree.base().is_some_and(|base| !base.is_all_resident().unwrap_or(true));
        Replay {
            tree,
            changes: Vec::new(),
            replayed: Replayed::default(),
            said: Instant::now(),
            looks_ahead,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
        }
    }

    fn take(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), RecoveryError> {
        let record = TxnRecord::decode(bytes).map_err(|source| RecoveryError::Record { zxid, source })?;
        if !self.looks_ahead {
            self.apply(zxid, &record, bytes.len());
            return Ok(());
        }
        self.tree.ask_ahead(&record.txn);
        self.ahead.push_back((zxid, bytes.into()));
        self.ahead_bytes += bytes.len();
        while self.ahead.len() > TXNS_AHEAD || self.ahead_bytes > BYTES_AHEAD {
            self.apply_next()?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Tree, Replayed), RecoveryError> {
        while !self.ahead.is_empty() {
            self.apply_next()?;
        }
        Ok((self.tree, self.replayed))
    }

    fn apply_next(&mut self) -> Result<(), RecoveryError> {
        let Some((zxid, bytes)) = self.ahead.pop_front() else { return Ok(()) };
        self.ahead_bytes -= bytes.len();
        let record = TxnRecord::decode(&bytes).map_err(|source| RecoveryError::Record { zxid, source })?;
        self.apply(zxid, &record, bytes.len());
        Ok(())
    }

    fn apply(&mut self, zxid: Zxid, record: &TxnRecord<'_>, bytes: usize) {
        apply::apply(&mut self.tree, record, &mut self.changes, None);
        self.changes.clear();
        self.replayed.txns += 1;
        self.replayed.bytes += bytes as u64;
        if self.said.elapsed() >= PROGRESS_EVERY {
            self.said = Instant::now();
            tracing::info!(txns = self.replayed.txns, %zxid, "replaying the log");
        }
    }
}

/// Txns that a replay looks ahead, and their bytes: enough to keep a disk busy with parts of the image.
const TXNS_AHEAD: usize = 1_024;
const BYTES_AHEAD: usize = 16 << 20;
