//! What can go wrong with ZooKeeper's own files: which file, where in it, what to do.

use std::io;
use std::path::{Path, PathBuf};

use proto::{DecodeError, Epoch, Zxid};

/// The result of reading or writing ZooKeeper's own files.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of ZooKeeper's own files. None of them was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused or failed an operation.
    #[error("version-2: cannot {action} {}: {source}", file.display())]
    Io {
        /// What was being done, as an infinitive.
        action: &'static str,
        /// The file or directory.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The bytes are not what a server wrote. Never skipped, never served.
    #[error("version-2: {} is damaged at offset {offset}{}: {what}", file.display(), if *packed { " of what is packed in it" } else { "" })]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Offset in bytes of the part that does not read.
        offset: u64,
        /// The file is compressed, and the offset is that of the unpacked bytes.
        packed: bool,
        /// What was wrong.
        what: Fault,
    },
    /// There are logs and no snapshot.
    #[error(
        "version-2: {} has a log and {} no snapshot: the log is only a part of the history. Bring the snapshot back, or set \
         snapshot.trust.empty=true if these are the files of a server before 3.5.3 that never wrote one",
        log_dir.display(), snap_dir.display()
    )]
    NoSnapshot {
        /// Where snapshots are looked for.
        snap_dir: PathBuf,
        /// Where the logs lie.
        log_dir: PathBuf,
    },
    /// None of the snapshots reads.
    #[error("{newest}; of {tried} snapshots none could be read. Bring one back, with the logs that follow it")]
    NoWholeSnapshot {
        /// How many there are.
        tried: usize,
        /// What is wrong with the newest.
        newest: Box<Error>,
    },
    /// A file lies where no server of this configuration looks for it.
    #[error(
        "version-2: {} lies in the directory of the {other}: dataDir and dataLogDir are not those that ZooKeeper used; set them as they were",
        file.display()
    )]
    Misplaced {
        /// The file.
        file: PathBuf,
        /// What belongs there.
        other: &'static str,
    },
    /// The files of the epochs contradict the data.
    #[error(
        "version-2: {} says that {which} is {}, which is less than {} of {of}: a file is older than the rest. Restore them from one moment",
        dir.display(), found.0, least.0
    )]
    EpochTooOld {
        /// The directory.
        dir: PathBuf,
        /// `currentEpoch` or `acceptedEpoch`.
        which: &'static str,
        /// What it says.
        found: Epoch,
        /// What it should be at the least.
        least: Epoch,
        /// Where that comes from.
        of: &'static str,
    },
}

/// What exactly is wrong with a damaged file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not begin as such a file does.
    #[error("it does not begin like a {0}")]
    Magic(&'static str),
    /// It ends too early.
    #[error("it ends in the middle of a record")]
    Truncated,
    /// The checksum does not match.
    #[error("the checksum is {found:#x} and the bytes have {computed:#x}")]
    Checksum {
        /// As stored.
        found: i64,
        /// Of the bytes.
        computed: u32,
    },
    /// A record of the log does not read, and a later one does: it is not the write that was under way when the server stopped.
    #[error("a record does not read, and one at {later} does that was written after it")]
    BeforeRecord {
        /// Offset in bytes of the later one.
        later: u64,
    },
    /// A field has a value that no server gives it.
    #[error("{0} does not hold")]
    Field(&'static str),
    /// A string is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// What follows the first seal is none of the forms that servers write.
    #[error("what follows the first seal has none of the known forms with its checksum")]
    Trailer,
    /// The compression is broken.
    #[error("it does not unpack: {0}")]
    Packed(String),
    /// A log's record is no txn.
    #[error("the txn of {0} does not read: {1}")]
    Txn(Zxid, DecodeError),
    /// A log's txn has a smaller zxid than one before it.
    #[error("the txn of {found} comes after that of {last}")]
    Order {
        /// Its zxid.
        found: Zxid,
        /// The one before.
        last: Zxid,
    },
}

impl Error {
    /// The error for a failed operation on a file.
    pub(super) fn io(action: &'static str, file: &Path, source: io::Error) -> Error {
        Error::Io { action, file: file.to_path_buf(), source }
    }

    /// Damage of a file that is not packed.
    pub(super) fn damaged(file: &Path, offset: u64, what: Fault) -> Error {
        Error::Damaged { file: file.to_path_buf(), offset, packed: false, what }
    }

    /// Is it the file's bytes that are wrong, so that another file may serve?
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Error::Damaged { .. })
    }
}
