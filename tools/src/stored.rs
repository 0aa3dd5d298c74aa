//! A data directory's tree, read without a server: the image that the control file names, and the log after it. Writes nothing but the
//! process id into the lock file.

use engine::apply;
use engine::tree::{LoadError, Tree};
use proto::txn::TxnRecord;
use proto::{DecodeError, Zxid};
use snapshot::AnyImage;
use snapshot::control::{Control, ImageRef};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use wal::{DirReadDisk, Generation, Options};

/// What a data directory holds.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The tree, with every txn of the log.
    pub(crate) tree: Tree,
    /// The control file.
    pub(crate) control: Control,
    /// Held as long as the data are used: no server starts meanwhile.
    _lock: File,
}

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoredError {
    #[error("{} holds no data of RingKeeper: it has no control file", .0.display())]
    NoData(PathBuf),
    #[error("a server uses {}; stop it first", .0.display())]
    InUse(PathBuf),
    #[error("cannot lock {}: {source}", file.display())]
    Lock { file: PathBuf, source: io::Error },
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    #[error("the image {} does not make a tree: {source}", file.display())]
    Tree { file: PathBuf, source: LoadError },
    #[error("the log in {}: {source}", dir.display())]
    Log { dir: PathBuf, source: wal::Error },
    #[error("the log has a record at {zxid} that is not a txn: {source}")]
    Record { zxid: Zxid, source: DecodeError },
    #[error("{} has lost history: image and log reach {found}, and {known} was durable once", dir.display())]
    LostHistory { dir: PathBuf, found: Zxid, known: Zxid },
}

/// Reads everything.
pub(crate) fn read(data_dir: &Path, data_log_dir: &Path) -> Result<Stored, StoredError> {
    let control = Control::load(data_dir)?.ok_or_else(|| StoredError::NoData(data_dir.to_owned()))?;
    let lock = lock(data_dir)?;
    // Once more, now that nobody can write to it.
    let control = Control::load(data_dir)?.unwrap_or(control);
    let tree = match &control.image {
        Some(image) => open_image(data_dir, image)?,
        None => Tree::new(),
    };
    let tree = replay(&control, tree, &data_log_dir.join(LOG_DIR))?;
    if tree.last_zxid() < control.history_zxid {
        let (found, known) = (tree.last_zxid(), control.history_zxid);
        return Err(StoredError::LostHistory { dir: data_dir.to_owned(), found, known });
    }
    Ok(Stored { tree, control, _lock: lock })
}

fn lock(data_dir: &Path) -> Result<File, StoredError> {
    let path = data_dir.join(snapshot::dirs::LOCK_FILE);
    let failed = |source| StoredError::Lock { file: path.clone(), source };
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoredError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn open_image(dir: &Path, image: &ImageRef) -> Result<Tree, StoredError> {
    let not_a_tree = |source| StoredError::Tree { file: dir.join(&image.file_name), source };
    Tree::of_image(AnyImage::open(dir, image)?).map_err(not_a_tree)
}

fn replay(control: &Control, mut tree: Tree, dir: &Path) -> Result<Tree, StoredError> {
    let failed = |source| StoredError::Log { dir: dir.to_owned(), source };
    if !dir.exists() {
        return Ok(tree);
    }
    let disk = DirReadDisk::new(dir);
    let options =
        Options { generation: Generation(control.log_generation), replay_after: tree.last_zxid().0, ..Options::new() };
    let history = wal::inspect(&disk, &options).map_err(failed)?;
    let mut records = history.reader(disk, tree.last_zxid().0).map_err(failed)?;
    let mut changes = Vec::new();
    while let Some((zxid, bytes)) = records.next_record().map_err(failed)? {
        let zxid = Zxid(zxid);
        let record = TxnRecord::decode(bytes).map_err(|source| StoredError::Record { zxid, source })?;
        apply::apply(&mut tree, &record, &mut changes, None);
        changes.clear();
    }
    Ok(tree)
}

/// The subdirectory of `dataLogDir` that has the log.
const LOG_DIR: &str = "log";
