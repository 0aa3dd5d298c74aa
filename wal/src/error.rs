//! What can go wrong in the log, each with what a person needs to act: which file, where, after which zxid.

use std::{io, sync::Arc};

use crate::format::Generation;

/// An error of the log. `Clone`, because a poisoned log returns the same error again and again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The operating system refused or failed an operation. On a write or sync of the log this poisons it.
    #[error("log: cannot {action} {file}: {source}")]
    Io {
        /// What was being done, as an infinitive ("write", "make durable").
        action: &'static str,
        /// The file or directory.
        file: String,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// No space is left. Nothing acknowledged is lost. If only the next segment could not be prepared the log is not
    /// poisoned: what was gathered stays gathered and `commit` may be called again once space has returned.
    #[error("log: no space left to {action} {file}: free space on this file system; nothing acknowledged is lost")]
    NoSpace {
        /// What was being done, as an infinitive.
        action: &'static str,
        /// The file that did not fit.
        file: String,
    },
    /// Bytes that are known to have been durable are not what was written. Never skipped, never served.
    #[error(
        "log: {file} is damaged at offset {offset}, after zxid {after_zxid:#x}: {what}; \
         restore it from a backup, or let this server be repaired from its ensemble"
    )]
    Damage {
        /// The segment file.
        file: String,
        /// Byte offset of the group (or header) that does not read.
        offset: u64,
        /// The last zxid before the damage; what is lost begins after it.
        after_zxid: u64,
        /// What was wrong.
        what: &'static str,
    },
    /// A tool was reading a segment that the server, which runs, has recycled or cut since: no damage. Open the log again.
    #[error("log: {file} was recycled by the server while it was read (up to zxid {after_zxid:#x}): begin again")]
    Recycled {
        /// The segment file.
        file: String,
        /// The last zxid that was read.
        after_zxid: u64,
    },
    /// A segment was written by a newer version.
    #[error(
        "log: {file} has format version {found}, this program reads up to {supported}: start the newer version again, \
         or export with its rkctl"
    )]
    NewerFormat {
        /// The segment file.
        file: String,
        /// The version in the file.
        found: u32,
        /// The newest version this program reads.
        supported: u32,
    },
    /// The segment belongs to another ensemble.
    #[error("log: {file} belongs to ensemble {found:#x}, this server to {expected:#x}: is dataLogDir the right one?")]
    ForeignEnsemble {
        /// The segment file.
        file: String,
        /// The id in the file.
        found: u64,
        /// This server's.
        expected: u64,
    },
    /// The control file names a generation of which there is no segment, although there are others: the history may
    /// be incomplete (law 10).
    #[error(
        "log: no segment of generation {expected}, but of {found:?}: the log or the control file was lost or replaced"
    )]
    GenerationMissing {
        /// The generation asked for.
        expected: Generation,
        /// The generations that are there.
        found: Vec<Generation>,
    },
    /// The log does not reach back far enough.
    #[error("log: records after zxid {needed_after:#x} are needed, but the log begins after {begins_after:#x}")]
    HistoryMissing {
        /// The position from which records were asked for.
        needed_after: u64,
        /// The log holds only records after this zxid.
        begins_after: u64,
    },
    /// A record larger than `Options::max_record_bytes`; nothing was appended.
    #[error("log: the record of zxid {zxid:#x} has {bytes} bytes, the limit is {max}")]
    RecordTooLarge {
        /// The record's zxid.
        zxid: u64,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The log was closed: a clean stop has noted where it ends.
    #[error("log: it is closed, nothing is written any more")]
    Closed,
    /// The options contradict each other.
    #[error("log: {0}")]
    BadOptions(&'static str),
}

impl Error {
    /// Whether this is a full disk.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::NoSpace { .. })
    }

    /// Whether this is damage.
    pub fn is_damage(&self) -> bool {
        matches!(self, Error::Damage { .. })
    }

    /// Wraps a system error, telling a full disk (ENOSPC, EDQUOT) from the rest.
    pub(crate) fn io(action: &'static str, file: impl Into<String>, source: io::Error) -> Error {
        let file = file.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace { action, file },
            _ => Error::Io { action, file, source: Arc::new(source) },
        }
    }
}
