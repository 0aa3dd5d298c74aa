//! The log: `(zxid, bytes)` records in checksummed, pre-zeroed, recycled segments.
//!
//! **Owns** the segment files of one directory, their format ([`format`]), group commit ([`Log`]), recovery and
//! reading ([`Reader`]), truncation by generation, purge and recycling, and the one place where bytes are made
//! durable ([`Disk::write_durable`]).
//!
//! **Must never** know what a record means, own a thread or a queue (the server's log thread drives [`Log`]), report a
//! zxid as durable before the disk said so, write a block again that holds a durable record, retry a failed write or
//! sync (law 8), or take damage for a torn tail (law 9).
//!
//! **Fails** with [`Error`]: the first failed write or sync poisons the log and every later call returns that same
//! error; damage names file, offset and zxid; a full disk is [`Error::NoSpace`] and does not poison as long as only the
//! *next* segment could not be made.
//!
//! **Tests that catch a mistake here**: `tests/crash_at_every_step_keeps_what_was_acknowledged.rs` (freeze at every
//! write and sync, torn and reordered sectors), `tests/damage_is_named_and_a_torn_tail_is_cut.rs` (every byte flipped),
//! `tests/random_flips_are_named.rs` (in a large log), `tests/a_log_is_looked_at_without_touching_it.rs` (tools, beside a writer),
//! `tests/a_closed_log_is_not_read_behind_its_end.rs`, `tests/segments_are_recycled_and_purged.rs`, `tests/any_script_reads_back.rs` (property test),
//! `tests/real_disks.rs` (io_uring, O_DIRECT and its fallback) and `tests/format_version_1_is_still_read.rs`.
//!
//! ```
//! use ringkeeper_wal::{Log, Options, UringDisk, UringOptions};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let options = Options { segment_bytes: 1 << 20, max_record_bytes: 64 << 10, group_bytes: 64 << 10, ..Options::new() };
//! let disk = UringDisk::open(dir.path(), UringOptions::default())?;
//! let (mut log, mut recovered) = Log::open(disk, options)?;
//! assert!(recovered.next_record()?.is_none());
//! log.append(1, b"first")?;
//! assert_eq!(log.commit()?, 1); // durable from here on
//! log.seal()?;
//! # Ok(()) }
//! ```

#![deny(unsafe_code)]

mod aligned;
mod catalog;
mod closed;
mod disk;
mod error;
mod faults;
mod follow;
pub mod format;
mod group;
mod log;
mod options;
mod reader;
pub mod repair;
mod ring;
mod scan;
pub mod sim_disk;
mod spares;
mod uring_disk;
mod view;

pub use aligned::AlignedBuf;
pub use catalog::{History, inspect};
pub use disk::{Disk, ReadDisk, Wait};
pub use error::Error;
pub use follow::Follower;
pub use format::{Generation, LogPosition, SegmentSeq};
pub use log::{Gathered, Log, Started};
pub use options::{GROUP_BYTES_DEFAULT, MAX_RECORD_BYTES_DEFAULT, Options, SEGMENT_BYTES_DEFAULT};
pub use reader::{GroupView, Reader};
pub use scan::TornTail;
pub use spares::Prepared;
pub use uring_disk::{DirReadDisk, RefuseDirect, UringDisk, UringFile, UringOptions};
pub use view::{LogView, SegmentView, Standing};
