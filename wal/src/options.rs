//! What the caller decides about a log, and the limits with their reasons.

use crate::{
    Error,
    format::{GROUP_HEADER_BYTES, Generation, HEADER_BYTES, RECORD_HEADER_BYTES},
};

/// 64 MiB: as ZooKeeper preallocates; a few seconds of a busy log, and small enough to read at start.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// 1 MiB: a group this large is bound by the device's bandwidth, a larger one would only wait longer.
pub const GROUP_BYTES_DEFAULT: usize = 1 << 20;
/// 8 MiB: well above ZooKeeper's frame limit (1 MiB) and what prep adds to a request.
pub const MAX_RECORD_BYTES_DEFAULT: usize = 8 << 20;

/// How a log is laid out and from where it is read.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes of a new segment file. Existing segments keep theirs.
    pub segment_bytes: u64,
    /// Bytes to which groups are aligned and padded: a multiple of 4096, and of the device's block.
    pub block_bytes: u32,
    /// Largest record that `append` takes, in bytes.
    pub max_record_bytes: usize,
    /// Bytes after which the gathering group is full. Takes part in the buffer's size: `group_bytes + max_record_bytes`.
    pub group_bytes: usize,
    /// The generation that the control file names. Other generations count only where this one's first segment links
    /// to them.
    pub generation: Generation,
    /// This server's ensemble, 0 while unknown. Unknown never refuses.
    pub ensemble_id: u64,
    /// The base image's zxid: recovery yields the records after it, and refuses a log that begins later. An empty log
    /// begins here.
    pub replay_after: u64,
    /// Random bits, fresh at each start: they make a segment's identity unguessable, so that neither a stale block nor
    /// a client's data can pass for a group. The simulator passes its seed.
    pub salt: u64,
}

impl Options {
    /// The defaults: generation 1 from zxid 0, and a salt from the standard library's random hash keys.
    pub fn new() -> Options {
        use std::hash::{BuildHasher, RandomState};
        Options {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            block_bytes: 4096,
            max_record_bytes: MAX_RECORD_BYTES_DEFAULT,
            group_bytes: GROUP_BYTES_DEFAULT,
            generation: Generation(1),
            ensemble_id: 0,
            replay_after: 0,
            salt: RandomState::new().hash_one(std::process::id()),
        }
    }

    /// Refuses sizes that cannot work together.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.block_bytes.is_power_of_two()
            || (self.block_bytes as usize) < HEADER_BYTES
            || self.block_bytes > 1 << 16
        {
            return Err(Error::BadOptions("block_bytes must be a power of two from 4096 to 65536"));
        }
        if !self.segment_bytes.is_multiple_of(u64::from(self.block_bytes)) {
            return Err(Error::BadOptions("segment_bytes must be a multiple of block_bytes"));
        }
        if self.segment_bytes > 1 << 40 || self.group_bytes > 1 << 30 || self.max_record_bytes > 1 << 30 {
            return Err(Error::BadOptions("a segment may have up to 1 TiB, a group and a record up to 1 GiB each"));
        }
        // The header block, the open seal, the largest group and its seal must fit in a fresh segment.
        let needed = self.group_capacity() as u64 + 3 * u64::from(self.block_bytes);
        if self.segment_bytes < needed {
            return Err(Error::BadOptions(
                "segment_bytes must hold group_bytes + max_record_bytes, padded, and three blocks more",
            ));
        }
        if self.group_bytes < GROUP_HEADER_BYTES {
            return Err(Error::BadOptions("group_bytes is too small"));
        }
        Ok(())
    }

    /// Bytes of the gathering buffer: a group that is one byte short of full, plus the largest record, padded.
    pub(crate) fn group_capacity(&self) -> usize {
        (self.group_bytes + RECORD_HEADER_BYTES + self.max_record_bytes)
            .next_multiple_of(usize::try_from(self.block_bytes).unwrap_or(HEADER_BYTES))
    }

    /// Bytes behind the end that the note of a clean stop tells of in which whoever went on there left a group, although his first seal
    /// and his first group be lost: the seal's block, the largest group, and the block with which the next one begins.
    pub(crate) fn bytes_behind_note(&self) -> u64 {
        self.group_capacity() as u64 + 2 * u64::from(self.block_bytes)
    }
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}
