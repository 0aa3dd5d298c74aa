//! The note of a clean stop: where the log ends, so that the next start need not look behind that.
//!
//! Without it a start reads all of the newest segment: a good group anywhere behind the last one that reads would be the witness that
//! what lies between was durable ([`crate::scan`]). Nothing of the log can tell that none was written, since what is behind its end may be
//! damaged too. So [`Log::close`](crate::Log::close) notes it in a file of its own, and [`Log::open`](crate::Log::open) removes that file,
//! durably, before it writes anything: while the file is there, nothing was written since.
//!
//! But by a RingKeeper that is older than this file, which leaves it where it is. What that one wrote is found by reading on from group to
//! group, as long as the first block behind the noted end reads: the seal with which it began. If that block is lost, its groups would be
//! missed. So a start looks a little further ([`Options::bytes_behind_note`](crate::Options)), and where it finds a group, that block is damage, as
//! without the note.
//!
//! Owns that file. It must never be there beside a log that was written behind the end it tells of, and never be needed: one that
//! is not whole, or tells of another segment, is as good as none. It fails with the disk's errors;
//! `tests/a_closed_log_is_not_read_behind_its_end.rs` would catch a mistake.
//!
//! ```text
//! one block of 4096 bytes, little-endian
//!    0  8  magic "RKWALEND"
//!    8  4  format version
//!   12  4  crc32c of the 4096 bytes without this field
//!   16  8  salt of the newest segment
//!   24  8  its sequence number
//!   32  8  offset after its last group
//!   40  8  last zxid
//!   48  4  crc32c of the last group
//!   52     zeroes
//! ```

use std::io;

use crate::{
    AlignedBuf, Disk, Error, ReadDisk,
    catalog::{End, Segment},
    format::{SegmentIdentity, crc_without_field, put, u32_at, u64_at},
};

/// Where a log ended that was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    salt: u64,
    seq: u64,
    end: End,
}

impl Closed {
    /// The log ends so in this segment, with a seal.
    pub(crate) fn new(head: &Segment, end: End) -> Closed {
        let SegmentIdentity { salt, seq, .. } = head.identity();
        Closed { salt, seq: seq.0, end }
    }

    /// Where this segment ended, if it is the one that the note tells of.
    pub(crate) fn end_of(&self, segment: &Segment) -> Option<End> {
        let SegmentIdentity { salt, seq, .. } = segment.identity();
        (salt == self.salt && seq.0 == self.seq).then_some(self.end)
    }

    /// Reads the note; `None` if there is none, or none that is whole or can be read: the log tells all that counts.
    pub(crate) fn read<R: ReadDisk>(disk: &R) -> Option<Closed> {
        let file = disk.open_read(NAME).ok()?;
        let mut block = [0; BYTES];
        let got = disk.read_at(&file, 0, &mut block).ok()?;
        if got == BYTES { Closed::decode(&block) } else { None }
    }

    /// Removes the note, if there is one. Durable after the next sync of the directory, before which nothing may be written into the log.
    pub(crate) fn remove<D: Disk>(disk: &mut D) -> Result<(), Error> {
        match disk.remove(NAME) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", NAME, e)),
            _ => Ok(()),
        }
    }

    /// Makes the note durable, beside a log of which all is. One that somebody has put there meanwhile goes.
    pub(crate) fn write<D: Disk>(&self, disk: &mut D) -> Result<(), Error> {
        Closed::remove(disk)?;
        let mut block = AlignedBuf::zeroed(BYTES);
        self.encode(&mut block);
        let mut file = disk.create(NAME).map_err(|e| Error::io("create", NAME, e))?;
        disk.write_durable(&mut file, 0, &mut block, BYTES).map_err(|e| Error::io("make durable", NAME, e))?;
        disk.sync_dir().map_err(|e| Error::io("sync", "the log directory", e))
    }

    fn encode(&self, block: &mut [u8]) {
        put(block, 0, &MAGIC);
        put(block, VERSION, &FORMAT_VERSION.to_le_bytes());
        for (place, value) in [(SALT, self.salt), (SEQ, self.seq), (OFFSET, self.end.offset), (ZXID, self.end.zxid)] {
            put(block, place, &value.to_le_bytes());
        }
        put(block, GROUP_CRC, &self.end.crc.to_le_bytes());
        let crc = crc_without_field(0, block, CRC);
        put(block, CRC, &crc.to_le_bytes());
    }

    fn decode(block: &[u8; BYTES]) -> Option<Closed> {
        let is_whole = block.starts_with(&MAGIC) && u32_at(block, CRC) == crc_without_field(0, block, CRC);
        // Of a newer version nobody knows what it means: the log is read as if it were not there.
        (is_whole && u32_at(block, VERSION) == FORMAT_VERSION).then(|| Closed {
            salt: u64_at(block, SALT),
            seq: u64_at(block, SEQ),
            end: End { offset: u64_at(block, OFFSET), crc: u32_at(block, GROUP_CRC), zxid: u64_at(block, ZXID) },
        })
    }
}

/// The file's name.
const NAME: &str = "closed";
const FORMAT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"RKWALEND";
const BYTES: usize = 4096;
const VERSION: usize = MAGIC.len();
const CRC: usize = VERSION + 4;
const SALT: usize = CRC + 4;
const SEQ: usize = SALT + 8;
const OFFSET: usize = SEQ + 8;
const ZXID: usize = OFFSET + 8;
const GROUP_CRC: usize = ZXID + 8;
