//! ZooKeeper's own `version-2`: imported at the first start, never looked into again, and never changed.
//!
//! Owns what is done with what `snapshot::version_2` reads and `engine::tolerant` makes of it: the tree is imported, an image of it published, and
//! then the control file, from which moment on the directory is RingKeeper's own. A crash before that means another import. At later starts
//! `version-2` must not have gone on: then somebody has started ZooKeeper again, and neither of the two is to be lost in silence. What cannot
//! be proved (a [`Doubt`]) ends the start, unless `ringkeeper.importInDoubt` says that it is wanted. `tests/tests/version_2` would catch a mistake.
#![forbid(unsafe_code)]

use crate::config::ResolvedConfig;
use crate::image::write_image;
use crate::recovery::{LOG_DIR, RecoveryError};
use engine::tolerant::{DigestReport, Doubt, RecordedDigest, Replayed, TolerantError, TolerantLoader, TolerantReplay};
use engine::tree::{LoadError, Tree};
use proto::stat::EphemeralOwner;
use proto::txn::TxnRecord;
use proto::{Acl, SessionId, StatPersisted, Zxid};
use snapshot::DataDir;
use snapshot::base::Base;
use snapshot::control::Control;
use snapshot::version_2::{self, ImportError, Imported, Trailer, Version2, Visitor};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a `version-2` does not become a tree.
#[derive(Debug, thiserror::Error)]
pub enum ImportFailure {
    /// The files.
    #[error(transparent)]
    Files(#[from] version_2::Error),
    /// A snapshot is no tree.
    #[error("the snapshot in {dir} does not make a tree: {source}", dir = dir.display())]
    Tree {
        /// Where it lies.
        dir: PathBuf,
        /// Why.
        source: LoadError,
    },
    /// A txn cannot be.
    #[error("the log in {dir} cannot be applied: {source}", dir = dir.display())]
    Txn {
        /// Where it lies.
        dir: PathBuf,
        /// Why.
        source: TolerantError,
    },
    /// The tree may not be ZooKeeper's.
    #[error(
        "what was read from {dir} may not be what the ZooKeeper server had: {doubt}. Start ZooKeeper on it once more, see that its log tells of no \
         mismatch, write something, and stop it; or set ringkeeper.importInDoubt=true to import what was read as it is",
        dir = dir.display()
    )]
    Doubtful {
        /// The directory.
        dir: PathBuf,
        /// Why.
        doubt: Doubt,
    },
    /// Data of both, and no control file.
    #[error(
        "{log} has a log of RingKeeper, {version_2} has data of a ZooKeeper server, and there is no control file that would say which counts. Bring \
         the control file back, or move one of the two away",
        log = log.display(), version_2 = version_2.display()
    )]
    Both {
        /// RingKeeper's log.
        log: PathBuf,
        /// ZooKeeper's directory.
        version_2: PathBuf,
    },
    /// Somebody has gone on with ZooKeeper.
    #[error(
        "{dir} reaches {theirs}, and RingKeeper knows it up to {known}: a ZooKeeper server has written there since. If its data are to be kept, \
         give RingKeeper a new dataDir with that version-2 alone and it imports it; otherwise move {dir} away",
        dir = dir.display()
    )]
    Newer {
        /// ZooKeeper's directory.
        dir: PathBuf,
        /// Its newest txn.
        theirs: Zxid,
        /// Its newest txn when it was imported; if it never was, RingKeeper's own.
        known: Zxid,
    },
}

/// A first start: imports what ZooKeeper has left, if anything, and makes it RingKeeper's own. `control`: what the control file is to say
/// besides.
///
/// # Errors
/// [`ImportFailure`], or that image or control file cannot be written.
pub fn import(config: &ResolvedConfig, control: &Control) -> Result<Option<(Tree, Control)>, RecoveryError> {
    let storage = &config.storage;
    let files = Version2::new(&storage.data_dir, &storage.data_log_dir);
    if !files.has_data().map_err(ImportFailure::from)? {
        return Ok(None);
    }
    let log = storage.data_log_dir.join(LOG_DIR);
    if std::fs::read_dir(&log).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ImportFailure::Both { log, version_2: files.snap_dir().to_owned() }.into());
    }
    let started = Instant::now();
    tracing::info!(dir = %files.snap_dir().display(), "importing the data of a ZooKeeper server; they stay as they are");
    let part = Part::Snapshot(TolerantLoader::new());
    let mut import = Import { part, progress: Progress::new(), has_353_ttls: storage.import_353_ttls };
    let imported = version_2::import(&files, storage.trust_empty, &mut import).map_err(|error| named(error, &files))?;
    let replayed = import.finish().map_err(|source| ImportFailure::Txn { dir: files.log_dir().to_owned(), source })?;
    tell(&files, &imported, &replayed, started.elapsed());
    if let Some(doubt) = replayed.doubt {
        let dir = files.snap_dir().to_owned();
        if !storage.import_in_doubt {
            return Err(ImportFailure::Doubtful { dir, doubt }.into());
        }
        tracing::error!("imported all the same, as ringkeeper.importInDoubt=true wants it: {doubt}");
    }
    let mut tree = replayed.tree;
    // The control file last: it is what makes the directory ours.
    DataDir::new(&storage.data_dir).set_imported(tree.last_zxid())?;
    let published = write_image(&storage.data_dir, &tree.freeze(), None)?;
    drop(tree.rebase(Arc::new(Base::open(&storage.data_dir, &published.image)?)));
    let control = Control {
        accepted_epoch: imported.accepted_epoch,
        current_epoch: imported.current_epoch,
        image: Some(published.image),
        history_zxid: tree.last_zxid(),
        ..control.clone()
    };
    control.replace(&storage.data_dir)?;
    Ok(Some((tree, control)))
}

/// A later start: RingKeeper has data of its own, up to `ours`. What lies in `version-2` must not have gone on since it was imported; what was
/// never imported must not be newer.
///
/// # Errors
/// [`ImportFailure::Newer`], or that the directory cannot be read.
pub fn refuse_newer(config: &ResolvedConfig, ours: Zxid) -> Result<(), RecoveryError> {
    let storage = &config.storage;
    let files = Version2::new(&storage.data_dir, &storage.data_log_dir);
    let Some(theirs) = files.newest_zxid().map_err(ImportFailure::from)? else { return Ok(()) };
    let known = DataDir::new(&storage.data_dir).imported()?.unwrap_or(ours);
    let dir = files.snap_dir();
    if theirs > known {
        return Err(ImportFailure::Newer { dir: dir.to_owned(), theirs, known }.into());
    }
    tracing::info!(dir = %dir.display(), %theirs, %ours, "ZooKeeper's data are not newer than RingKeeper's and are ignored");
    Ok(())
}

/// Tells what was imported, and everything about it that is not as it should be.
fn tell(files: &Version2, imported: &Imported, replayed: &Replayed, took: Duration) {
    for skipped in &imported.skipped {
        tracing::warn!("a snapshot is damaged, an older one was taken: {}", skipped.error);
    }
    for (file, offset) in &imported.torn {
        tracing::warn!(file = %file.display(), offset, "a torn write at the end of a log does not count; it was acknowledged to nobody");
    }
    if let Some(gap) = imported.first_gap {
        let (after, before) = (gap.after, gap.before);
        tracing::warn!(gaps = imported.gaps, %after, %before, "zxids are missing in the log, here for the first time");
    }
    if imported.repeated > 0 {
        tracing::warn!(txns = imported.repeated, "txns stand in the log twice, the same to the byte, and count once");
    }
    let DigestReport { compared, unequal, first_unequal, .. } = replayed.digests;
    if let Some(first) = first_unequal {
        tracing::warn!(
            unequal, compared, first = %first.zxid, recorded = first.recorded, found = first.found,
            "digests in ZooKeeper's files are not those of its tree; the last that could be compared decides"
        );
    }
    if replayed.lost_ephemerals > 0 {
        tracing::warn!(znodes = replayed.lost_ephemerals, "ephemerals whose sessions are not open were removed");
    }
    let tree = &replayed.tree;
    let snapshot = imported.snapshot.as_ref().map_or("none".to_owned(), |file| file.path.display().to_string());
    tracing::info!(
        snapshot,
        logs = imported.logs,
        txns = imported.txns,
        zxid = %tree.last_zxid(),
        znodes = tree.node_count(),
        sessions = tree.sessions().len(),
        digests = compared,
        took_ms = took.as_millis(),
        "imported {}", files.snap_dir().display()
    );
}

fn named(error: ImportError<NotATree>, files: &Version2) -> ImportFailure {
    match error {
        ImportError::Files(error) => error.into(),
        ImportError::Visitor(NotATree::Load(source)) => {
            ImportFailure::Tree { dir: files.snap_dir().to_owned(), source }
        }
        ImportError::Visitor(NotATree::Txn(source)) => ImportFailure::Txn { dir: files.log_dir().to_owned(), source },
    }
}

/// The owner in today's form (`EphemeralTypeEmulate353`). What lives longer than today's TTLs can say lives that long.
fn from_353(owner: EphemeralOwner) -> EphemeralOwner {
    if owner.0 >= 0 || owner == EphemeralOwner::CONTAINER {
        return owner;
    }
    EphemeralOwner::ttl((owner.0 & i64::MAX).min(EphemeralOwner::TTL_MS_MAX)).unwrap_or(owner)
}

/// Makes a tree of what is read.
#[derive(Debug)]
struct Import {
    part: Part,
    progress: Progress,
    /// The owner of a TTL znode is its TTL below a sign bit.
    has_353_ttls: bool,
}

/// What an import is at.
#[derive(Debug)]
enum Part {
    Snapshot(TolerantLoader),
    Txns(TolerantReplay),
}

/// What a visit ends with.
#[derive(Debug)]
enum NotATree {
    Load(LoadError),
    Txn(TolerantError),
}

impl Import {
    fn loader(&mut self) -> &mut TolerantLoader {
        match &mut self.part {
            Part::Snapshot(loader) => loader,
            Part::Txns(_) => unreachable!("a snapshot's parts come before the txns"),
        }
    }

    fn finish(self) -> Result<Replayed, TolerantError> {
        match self.part {
            Part::Snapshot(_) => unreachable!("a snapshot that is not whole ends the import"),
            Part::Txns(replay) => replay.finish(),
        }
    }
}

impl Visitor for Import {
    type Error = NotATree;

    fn begin_snapshot(&mut self) {
        self.part = Part::Snapshot(TolerantLoader::new());
    }

    fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.loader().session(id, timeout_ms);
    }

    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: Option<&[Acl]>,
        stat: StatPersisted,
    ) -> Result<(), NotATree> {
        self.progress.made("znodes");
        let owner = if self.has_353_ttls { from_353(stat.ephemeral_owner) } else { stat.ephemeral_owner };
        let stat = StatPersisted { ephemeral_owner: owner, ..stat };
        self.loader().node(path, data, acl, stat).map_err(NotATree::Load)
    }

    fn end_snapshot(&mut self, zxid: Zxid, trailer: &Trailer) -> Result<(), NotATree> {
        let digest = trailer.digest.map(|of| RecordedDigest { zxid: of.zxid, version: of.version, digest: of.digest });
        let loader = std::mem::take(self.loader());
        let replay = loader.finish(zxid, digest, trailer.last_zxid).map_err(NotATree::Load)?;
        self.part = Part::Txns(replay);
        self.progress = Progress::new();
        Ok(())
    }

    fn no_snapshot(&mut self) {
        self.part = Part::Txns(TolerantReplay::from_nothing());
    }

    fn txn(&mut self, txn: &TxnRecord<'_>) -> Result<(), NotATree> {
        self.progress.made("txns");
        match &mut self.part {
            Part::Snapshot(_) => unreachable!("the txns come after the snapshot"),
            Part::Txns(replay) => replay.apply(txn).map_err(NotATree::Txn),
        }
    }
}

/// Says now and then how far a long import is.
#[derive(Debug)]
struct Progress {
    count: u64,
    said: Instant,
}

impl Progress {
    fn new() -> Progress {
        Progress { count: 0, said: Instant::now() }
    }

    fn made(&mut self, what: &'static str) {
        self.count += 1;
        if self.count.is_multiple_of(COUNT_IN_LOOK) && self.said.elapsed() >= PROGRESS_EVERY {
            self.said = Instant::now();
            tracing::info!(count = self.count, "importing {what}");
        }
    }
}

/// After so many znodes or txns the clock is looked at.
const COUNT_IN_LOOK: u64 = 1 << 14;
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
