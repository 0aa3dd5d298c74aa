//! ZooKeeper's own files, the directory `version-2`: read, written and looked into (`FileSnap`, `FileTxnLog`, `SnapStream` of 3.9.5).
//!
//! Owns the formats below, which files of a directory count and in which order ([`Version2`]), and how a torn tail is told from damage
//! ([`LogReader`]). It must never change anything in a `version-2` that it reads, know the tree's rules, or hold more of a file in memory
//! than a record of it. It fails with [`Error`], which names file and offset. A mistake in it would be caught by `tests/version_2.rs` (files of
//! real servers, every byte flipped) and by the suite `version_2` in `tests/tests`, which has real servers read and write such directories.
//!
//! All numbers are Jute's: big-endian, signed. A ustring and a buffer are an int length (-1: null) and the bytes.
//!
//! **Snapshot**, `<dataDir>/version-2/snapshot.<zxid, hex>`, as it is or packed whole: `.gz` (gzip), `.snappy` (see [`Compression`])
//!
//! | part | bytes |
//! |---|---|
//! | header | `ZKSN`, int 2, long -1 |
//! | sessions | int count, then each: long id, int timeout in ms |
//! | ACLs | int count, then each: long number, int count of entries, then each: int permissions, ustring scheme, ustring id |
//! | znodes, parents first | each: ustring path (empty for the root), buffer data, long ACL's number (-1: open), 60 bytes `StatPersisted` |
//! | end of the znodes | ustring `/` |
//! | seal | long Adler-32 of everything before it, ustring `/` |
//! | digest, since 3.6 | long zxid (0: none), int version, then long digest (a version below 2: ustring, hex), and another seal |
//! | last zxid, since 3.9 | long, and another seal; a server with `digest.enabled=false` writes it behind the first seal |
//!
//! **Log**, `<dataLogDir>/version-2/log.<first zxid, hex>`
//!
//! | part | bytes |
//! |---|---|
//! | header | `ZKLG`, int 2, long 0 |
//! | records | each: long Adler-32 of the payload, buffer payload (`proto::txn::TxnRecord`), byte `B` |
//! | end | zeros up to what was preallocated, or nothing |
//!
//! **Epochs**, `<dataDir>/version-2/acceptedEpoch` and `currentEpoch`: a decimal number. A server that is alone has none.

mod compression;
mod dir;
mod error;
mod import;
mod log_reader;
mod log_writer;
mod snappy;
mod snapshot_reader;
mod snapshot_writer;
mod stream;
mod torn;
mod txns;

pub use compression::Compression;
pub use dir::{Epochs, LogFile, SnapshotFile, Version2};
pub use error::{Error, Fault, Result};
pub use import::{ImportError, Imported, Skipped, Visitor, import};
pub use log_reader::{LogEnd, LogReader, LogRecord};
pub use log_writer::LogWriter;
pub use snapshot_reader::{Entry, Node, SnapshotDigest, SnapshotReader, Trailer};
pub use snapshot_writer::SnapshotWriter;
pub use txns::{Gap, Txns};

/// The number by which a znode of a snapshot names its ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AclNumber(pub i64);

impl AclNumber {
    /// Everybody may do everything; it needs no entry.
    pub const OPEN: AclNumber = AclNumber(-1);
}

/// Bytes of a znode's data, a path, or a txn at the most: more than any server can have taken. A damaged length costs no memory before that
/// many bytes were really there.
pub const FIELD_BYTES_MAX: usize = 512 << 20;

/// The version that both kinds of file carry; ZooKeeper has never had another.
const FORMAT_VERSION: i32 = 2;
/// Magic of a snapshot, as an int.
const SNAPSHOT_MAGIC: i32 = i32::from_be_bytes(*b"ZKSN");
/// Magic of a log, as an int.
const LOG_MAGIC: i32 = i32::from_be_bytes(*b"ZKLG");
/// What ends a log's record.
const RECORD_END: u8 = b'B';
/// What ends the znodes, and every seal.
const END_PATH: &str = "/";
