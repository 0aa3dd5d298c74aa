//! What can go wrong with an image or the control file, each with what a person needs to act: which file, where, what to do.

use std::io;
use std::path::{Path, PathBuf};

use proto::Zxid;

/// The result of anything here.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the image or the control file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused or failed an operation. If it was the control file's fsync, rename or directory fsync,
    /// the old one or the new one may stand: the server stops rather than tries again.
    #[error("snapshot: cannot {action} {}: {source}", file.display())]
    Io {
        /// What was being done, as an infinitive.
        action: &'static str,
        /// The file or directory.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No space is left. What was published before stands; the temporary file has been removed.
    #[error(
        "snapshot: no space left to {action} {}: free space on this file system; the former state stands and nothing is lost",
        file.display()
    )]
    NoSpace {
        /// What was being done, as an infinitive.
        action: &'static str,
        /// The file that did not fit.
        file: PathBuf,
    },
    /// The bytes on disk are not what was written. Never skipped, never served.
    #[error(
        "snapshot: {} is damaged at offset {offset}{}{}: {what}; restore it from a backup, or \
         let this server be repaired from its ensemble",
        file.display(), OfZxid(*zxid), OfSegment(*segment)
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Offset in bytes of the part that does not read.
        offset: u64,
        /// The image's zxid, where it is known.
        zxid: Option<Zxid>,
        /// Which segment, counted from 0, where it is one.
        segment: Option<u32>,
        /// What was wrong.
        what: Damage,
    },
    /// A newer version wrote the file.
    #[error(
        "snapshot: {} has format version {found}, this program reads up to {supported}: start the newer version of ringkeeper \
         again, or export its data with that version's rkctl and import it here",
        file.display()
    )]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// The version in the file.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// An older version wrote the image, and another reader reads it.
    #[error("snapshot: {} has format version {found}, which is read as an older image and not served in place", file.display())]
    OlderFormat {
        /// The file.
        file: PathBuf,
        /// The version in the file.
        found: u32,
    },
    /// A record does not fit into a segment. Far above what a request can carry.
    #[error("snapshot: a record of {bytes} bytes does not fit into {}, the limit is {limit} bytes", file.display())]
    RecordTooLarge {
        /// The image.
        file: PathBuf,
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The writing was to stop, or the writer was used again after it had failed, and the first error said why. The image is gone.
    #[error("snapshot: {} was given up", file.display())]
    GivenUp {
        /// The image.
        file: PathBuf,
    },
}

/// What exactly is wrong with a damaged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file does not begin (or a part of it does not begin) as it must.
    #[error("the magic bytes are wrong, or this is a different kind of file")]
    Magic,
    /// The checksum does not match.
    #[error("the checksum is {found:#010x} and the bytes have {computed:#010x}")]
    Checksum {
        /// As stored.
        found: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// The file has another length than it should.
    #[error("the file has {found} bytes and should have {expected}")]
    Length {
        /// Bytes found.
        found: u64,
        /// Bytes expected; of a file that is too short to tell, the least.
        expected: u64,
    },
    /// A field has a value that no writer gives it, or two parts of the file contradict each other.
    #[error("{0} does not hold")]
    Field(&'static str),
    /// The checksum is right, but the bytes are no archive of these records.
    #[error("the records' layout is not valid")]
    Records,
}

impl Error {
    /// The error for a failed operation on a file.
    pub(crate) fn io(action: &'static str, file: &Path, source: io::Error) -> Error {
        let file = file.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace { action, file },
            _ => Error::Io { action, file, source },
        }
    }

    /// Damage of a file outside any segment.
    pub(crate) fn damaged(file: &Path, offset: u64, zxid: Option<Zxid>, what: Damage) -> Error {
        Error::Damaged { file: file.to_path_buf(), offset, zxid, segment: None, what }
    }
}

/// Prints ", zxid 0x5" or nothing.
struct OfZxid(Option<Zxid>);

impl std::fmt::Display for OfZxid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |zxid| write!(f, ", zxid {zxid}"))
    }
}

/// Prints ", segment 5" or nothing.
struct OfSegment(Option<u32>);

impl std::fmt::Display for OfSegment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |segment| write!(f, ", segment {segment}"))
    }
}
