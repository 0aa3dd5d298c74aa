//! Why a command could not do what it was asked, with what a person needs to act.

use std::io;
use std::path::{Path, PathBuf};

use proto::{DecodeError, Zxid};
use serde_json::{Value, json};

/// An error of a command; the exit code is 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The log.
    #[error("{}: {source}", dir.display())]
    Log {
        /// Its directory.
        dir: PathBuf,
        /// What is wrong with it.
        source: wal::Error,
    },
    /// An export.
    #[error(transparent)]
    Export(#[from] crate::export::ExportError),
    /// The control file or an image.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The operating system.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as an infinitive.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Nobody reads the output any more, or it cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// A record that is no txn, or not the one that its zxid says.
    #[error("{file}: the record of zxid {zxid}, in the group at offset {offset}, is not a txn: {what}")]
    Record {
        /// The file.
        file: String,
        /// Offset of its group (or of itself).
        offset: u64,
        /// Its zxid.
        zxid: Zxid,
        /// Why.
        what: RecordFault,
    },
    /// Two records that do not follow each other.
    #[error(
        "{file}: zxid {zxid}, in the group at offset {offset}, does not follow {before}: txns are missing between them"
    )]
    Gap {
        /// The file of the later one.
        file: String,
        /// Offset of its group.
        offset: u64,
        /// The later one.
        zxid: Zxid,
        /// The one before it.
        before: Zxid,
    },
    /// There is no log.
    #[error("there is no log in {}: neither segment-*.log nor log/segment-*.log", .0.display())]
    NoLog(PathBuf),
    /// ZooKeeper's own log.
    #[error("{} is a log of ZooKeeper's own (version-2), which this rkctl does not read yet", .0.display())]
    ZooKeeperLog(PathBuf),
    /// The directory has no control file.
    #[error("{} has no control file: it is not the data directory of a RingKeeper server, or was never served", .0.display())]
    NoControl(PathBuf),
    /// The parts do not fit together.
    #[error("{dir}: {what}", dir = dir.display())]
    Misfit {
        /// The data directory.
        dir: PathBuf,
        /// What does not fit, and what to do.
        what: String,
    },
    /// What was asked for is not done.
    #[error("{0}")]
    Refused(String),
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordFault {
    /// It does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is another zxid's.
    #[error("its header says {0}")]
    OtherZxid(Zxid),
}

impl Failure {
    /// An error of the log in this directory.
    pub(crate) fn log(dir: &Path) -> impl Fn(wal::Error) -> Failure + '_ {
        |source| Failure::Log { dir: dir.to_owned(), source }
    }

    /// A failed operation on a file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
        let path = path.to_owned();
        move |source| Failure::Io { action, path, source }
    }

    /// Whether the reader of our output has gone: no error, `| head` does that.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Failure::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }

    /// As JSON: the words, and file, offset and the last zxid before the fault where they are known.
    pub(crate) fn to_json(&self) -> Value {
        let place = |file: &str, offset: u64, after_zxid: Zxid| json!({ "ok": false, "error": self.to_string(), "file": file, "offset": offset, "after_zxid": after_zxid.to_string() });
        match self {
            Failure::Log { source: wal::Error::Damage { file, offset, after_zxid, .. }, .. } => {
                place(file, *offset, Zxid(*after_zxid))
            }
            Failure::Record { file, offset, zxid, .. } => place(file, *offset, Zxid(zxid.0.saturating_sub(1))),
            Failure::Gap { file, offset, before, .. } => place(file, *offset, *before),
            Failure::Snapshot(snapshot::Error::Damaged { file, offset, zxid, .. }) => {
                json!({ "ok": false, "error": self.to_string(), "file": file, "offset": offset, "zxid": zxid.map(|zxid| zxid.to_string()) })
            }
            _ => json!({ "ok": false, "error": self.to_string() }),
        }
    }
}
