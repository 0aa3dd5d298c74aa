//! Why a command could not do what it was asked, with what a person needs to act.

use std::io;
use std::path::{Path, PathBuf};

use proto::{DecodeError, Zxid};
use serde_json::{Value, json};
use snapshot::version_2;

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
    /// A record behind a later one.
    #[error("{file}: zxid {zxid}, in the group at offset {offset}, stands behind {before}")]
    Order {
        /// Its file.
        file: String,
        /// Offset of its group.
        offset: u64,
        /// Its zxid.
        zxid: Zxid,
        /// The one before it.
        before: Zxid,
    },
    /// There is no log.
    #[error("there is no log in {}: neither segment-*.log nor log/segment-*.log, nor ZooKeeper's log.* or version-2/log.*", .0.display())]
    NoLog(PathBuf),
    /// There is no snapshot.
    #[error("{} is neither an image (image.<zxid>) nor a snapshot of ZooKeeper's (snapshot.<zxid>), nor a directory with one", .0.display())]
    NoSnapshot(PathBuf),
    /// There is no such znode.
    #[error("there is no znode {0}")]
    NoZnode(String),
    /// ZooKeeper's own files.
    #[error(transparent)]
    ZooKeeper(#[from] version_2::Error),
    /// A log of ZooKeeper's without a header, and others after it.
    #[error("{} is empty, and it is not the newest log: txns are missing", .0.display())]
    EmptyLog(PathBuf),
    /// A snapshot whose checksums hold, but whose parts do not agree.
    #[error("{}, zxid {zxid}: {what}", file.display())]
    Contradiction {
        /// The snapshot.
        file: PathBuf,
        /// What it stands at.
        zxid: Zxid,
        /// What does not agree.
        what: String,
    },
    /// Damage in a snapshot, and the znode that it concerns.
    #[error("{source}; {near}")]
    Znode {
        /// The damage.
        source: Box<Failure>,
        /// Where among the znodes.
        near: Near,
    },
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

/// Where among the znodes of a snapshot damage lies.
#[derive(Debug)]
pub(crate) enum Near {
    /// In this one.
    Of(String),
    /// After this one, in the file's order.
    After(String),
}

impl std::fmt::Display for Near {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Near::Of(path) => write!(f, "it is in the znode {path}"),
            Near::After(path) => write!(f, "the last znode read before it is {path}"),
        }
    }
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

    /// The same with the znode that it concerns, unless it names one already.
    pub(crate) fn near(self, near: Option<Near>) -> Failure {
        match (self, near) {
            (source @ (Failure::Snapshot(_) | Failure::ZooKeeper(_)), Some(near)) => {
                Failure::Znode { source: Box::new(source), near }
            }
            (other, _) => other,
        }
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
            Failure::Order { file, offset, before, .. } => place(file, *offset, *before),
            Failure::Snapshot(snapshot::Error::Damaged { file, offset, zxid, .. }) => {
                json!({ "ok": false, "error": self.to_string(), "file": file, "offset": offset, "zxid": zxid.map(|zxid| zxid.to_string()) })
            }
            Failure::ZooKeeper(version_2::Error::Damaged { file, offset, packed, .. }) => {
                json!({ "ok": false, "error": self.to_string(), "file": file, "offset": offset, "offset_in_unpacked": packed })
            }
            Failure::Contradiction { file, zxid, .. } => {
                json!({ "ok": false, "error": self.to_string(), "file": file, "zxid": zxid.to_string() })
            }
            Failure::Znode { source, near } => {
                let mut object = source.to_json();
                let (key, path) = match near {
                    Near::Of(path) => ("path", path),
                    Near::After(path) => ("after_path", path),
                };
                if let Value::Object(object) = &mut object {
                    object.insert("error".to_owned(), self.to_string().into());
                    object.insert(key.to_owned(), path.as_str().into());
                }
                object
            }
            _ => json!({ "ok": false, "error": self.to_string() }),
        }
    }
}
