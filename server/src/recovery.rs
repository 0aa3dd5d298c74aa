//! Recovery: the control file names the base image, the log has what came after it. Together they give the tree that was acknowledged.
//!
//! Owns the order of reading, the checks between the parts (laws 9 and 10), and what a member of an ensemble starts with ([`zab::Start`]). An image that
//! the control file names must be there and whole, the log must reach as far as was known durable. It never repairs or skips anything. What does not fit ends the start of
//! a server that stands alone, with a name. A member of an ensemble sets it aside, notes durably that its history is incomplete
//! ([`crate::standing`]), and starts without a vote: its leader repairs it. Nothing of what is readable before the damage is used, because
//! the server takes a whole state anyhow. A first start beside ZooKeeper's own data imports them ([`crate::import`]). `tests/tests/crash.rs`, `server/tests/members_start.rs` and the
//! log's and image's own tests would catch a mistake.
#![forbid(unsafe_code)]

mod ground;
mod start;

use crate::config::ResolvedConfig;
use crate::import::{self, ImportFailure};
use crate::standing::{self, Loss, Standing};
use engine::replay::{Replay, ReplayError};
use engine::tree::{LoadError, Tree};
use ground::{Ground, Part};
use proto::Zxid;
use snapshot::AnyImage;
use snapshot::control::{Control, ImageRef};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wal::{Generation, Log, Options, ReadDisk, Reader, UringDisk, UringOptions};
use zab::{History, Start};

pub use engine::replay::Replayed;

/// What recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// The tree, with every txn that was durable.
    pub tree: Tree,
    /// The log, open for appending.
    pub log: Log<UringDisk>,
    /// The control file.
    pub control: Control,
    /// What a member of an ensemble starts with.
    pub start: Start,
    /// What was replayed of the log.
    pub replayed: Replayed,
    /// How long it took.
    pub took: Took,
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
    #[error(transparent)]
    Record(#[from] ReplayError),
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
    /// The directories are not this server's, or not all that they were.
    #[error(transparent)]
    Standing(#[from] standing::Refusal),
    /// What did not read cannot be moved away.
    #[error("cannot move {what} to {to}: {source}; until it is there, this server does not start", what = what.display(), to = to.display())]
    NotSetAside {
        /// What.
        what: PathBuf,
        /// Where to.
        to: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The `initialize` marker stays.
    #[error("cannot remove {marker}, which holds for one start: {source}", marker = marker.display())]
    Marker {
        /// The file.
        marker: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// ZooKeeper's own data beside ours, or in their place.
    #[error(transparent)]
    Import(#[from] ImportFailure),
}

/// The subdirectory of `dataLogDir` that has the log.
pub(crate) const LOG_DIR: &str = "log";

impl RecoveryError {
    /// The part of the data that did not read, where it is damaged or missing: what the others of an ensemble can make up for.
    fn lost_part(&self) -> Option<Part> {
        match self {
            RecoveryError::Snapshot(snapshot::Error::Damaged { .. }) | RecoveryError::Tree { .. } => Some(Part::Images),
            RecoveryError::Snapshot(snapshot::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Some(Part::Images)
            }
            RecoveryError::Log {
                source:
                    wal::Error::Damage { .. } | wal::Error::GenerationMissing { .. } | wal::Error::HistoryMissing { .. },
                ..
            } => Some(Part::Log),
            _ => None,
        }
    }
}

/// While a long replay runs, it says how far it is this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Recovers everything.
///
/// # Errors
/// Everything that does not fit: see [`RecoveryError`].
pub fn recover(config: &ResolvedConfig) -> Result<Recovered, RecoveryError> {
    let started = Instant::now();
    let storage = &config.storage;
    let Ground { evidence, mut control, standing } = ground::survey(config)?;
    if evidence.is_known() {
        ground::clean(config)?;
    }
    let is_first_start = evidence.control.is_none();
    let mut took_image = None;
    let imported = match standing {
        Standing::Whole if is_first_start && !evidence.has_voted() => import::import(config, &control)?,
        _ => None,
    };
    let was_imported = imported.is_some();
    let tree = imported.map(|(tree, noted)| {
        control = noted;
        tree
    });
    ground::write_identity(config, evidence.identity())?;
    let replay_started = Instant::now();
    let state = match State::read(config, &control, tree, &mut took_image) {
        Err(error) if evidence.is_member => match error.lost_part() {
            None => return Err(error),
            Some(part) => {
                control = ground::set_aside(config, control, part, &error)?;
                State::read(config, &control, None, &mut took_image)?
            }
        },
        state => state?,
    };
    let State { tree, log, history, replayed } = state;
    let took = Took {
        image: took_image,
        log: replay_started.elapsed().saturating_sub(took_image.unwrap_or_default()),
        all: started.elapsed(),
    };
    if control.is_whole && tree.last_zxid() < control.history_zxid {
        let (found, known) = (tree.last_zxid(), control.history_zxid);
        if !evidence.is_member {
            return Err(RecoveryError::LostHistory { dir: storage.data_dir.clone(), found, known });
        }
        control = ground::note(config, control, &Loss::End { found, known })?;
    }
    if !is_first_start {
        import::refuse_newer(config, tree.last_zxid())?;
    } else if !was_imported {
        control.replace(&storage.data_dir)?;
    }
    let control = ground::keep(config, &evidence, control)?;
    tracing::info!(
        zxid = %tree.last_zxid(),
        znodes = tree.node_count(),
        sessions = tree.sessions().len(),
        took_ms = took.all.as_millis(),
        "recovered"
    );
    let start = start::of(&control, history);
    Ok(Recovered { tree, log, control, start, replayed, took })
}

/// Image and log, read.
struct State {
    tree: Tree,
    log: Log<UringDisk>,
    history: History,
    replayed: Replayed,
}

impl State {
    /// Reads what the control file names. `tree`: what was just imported in the image's place.
    fn read(
        config: &ResolvedConfig,
        control: &Control,
        tree: Option<Tree>,
        took_image: &mut Option<Duration>,
    ) -> Result<State, RecoveryError> {
        let started = Instant::now();
        let tree = match (tree, &control.image) {
            (Some(imported), _) => imported,
            (None, Some(image)) => open_image(&config.storage.data_dir, image)?,
            (None, None) => Tree::new(),
        };
        *took_image = control.image.is_some().then(|| started.elapsed());
        let dir = config.storage.data_log_dir.join(LOG_DIR);
        replay(config, control, tree, &dir)
    }
}

fn open_image(dir: &Path, image: &ImageRef) -> Result<Tree, RecoveryError> {
    let file = dir.join(&image.file_name);
    let opened = AnyImage::open(dir, image)?;
    let tree = Tree::of_image(opened).map_err(|source| RecoveryError::Tree { file: file.clone(), source })?;
    tracing::info!(zxid = %tree.last_zxid(), znodes = tree.node_count(), file = %file.display(), "image opened");
    Ok(tree)
}

fn replay(config: &ResolvedConfig, control: &Control, tree: Tree, dir: &Path) -> Result<State, RecoveryError> {
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
    let (log, records) = Log::open(disk, options).map_err(log_error)?;
    let mut history = start::history_before(control, tree.last_zxid());
    let found = |zxid| history.push(zxid);
    let (tree, replayed) = replay_records(tree, records, Zxid(u64::MAX), found, log_error)?;
    // What the log does not have cannot be sent from it.
    history.raise_floor(Zxid(log.history_begins_after()));
    Ok(State { tree, log, history, replayed })
}

/// Makes the tree that ends with `to`, of an image and of the records after it: for a cut.
///
/// # Errors
/// Image or log do not read.
pub fn rebuild<R: ReadDisk>(
    data_dir: &Path,
    image: Option<&ImageRef>,
    records: Reader<R>,
    to: Zxid,
) -> Result<Tree, RecoveryError> {
    let tree = image.map_or_else(|| Ok(Tree::new()), |image| open_image(data_dir, image))?;
    let log_error = |source| RecoveryError::Log { dir: data_dir.to_owned(), source };
    let (tree, _) = replay_records(tree, records, to, |_| {}, log_error)?;
    tracing::info!(zxid = %tree.last_zxid(), znodes = tree.node_count(), "made the tree anew, for a cut of the log");
    Ok(tree)
}

/// Applies the log's records up to `to`, tells the zxid of each, and says from time to time how far it is.
fn replay_records<R: ReadDisk>(
    tree: Tree,
    mut records: Reader<R>,
    to: Zxid,
    mut found: impl FnMut(Zxid),
    log_error: impl Fn(wal::Error) -> RecoveryError,
) -> Result<(Tree, Replayed), RecoveryError> {
    let mut replay = Replay::new(tree);
    let mut said = Instant::now();
    while let Some((zxid, bytes)) = records.next_record().map_err(&log_error)? {
        let zxid = Zxid(zxid);
        if zxid > to {
            break;
        }
        found(zxid);
        replay.take(zxid, bytes)?;
        if said.elapsed() >= PROGRESS_EVERY {
            said = Instant::now();
            tracing::info!(txns = replay.replayed().txns, %zxid, "replaying the log");
        }
    }
    let (tree, replayed) = replay.finish()?;
    tracing::debug!(txns = replayed.txns, bytes = replayed.bytes, "replayed the log");
    Ok((tree, replayed))
}
