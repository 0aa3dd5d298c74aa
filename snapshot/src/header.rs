//! What every format version of an image file has in common: its first block, and the totals in its last one.
//!
//! Owns the bytes of the header. It must never be changed: it tells a file's version to programs older and newer than this one. It fails
//! with [`Damage`]; the committed images in `tests/fixtures` and the flip tests would catch a mistake.
//!
//! Header, 128 bytes: magic `RKIMAGE\n`, version u32, 128 u32, zxid u64, ensemble id u128 (0 unknown), archive layout u32,
//! alignment u32 (64), zeros, crc32c.

use proto::Zxid;

use crate::Damage;
use crate::block::{ALIGNMENT, BlockReader, BlockWriter, VERSIONED_OVERHEAD_BYTES};

/// The first block of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) zxid: Zxid,
    pub(crate) ensemble_id: Option<u128>,
}

/// What an image holds, for a start that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageTotals {
    /// The last txn that the image contains.
    pub zxid: Zxid,
    /// When it was taken, ms since 1970.
    pub time_ms: i64,
    /// Count of znodes.
    pub node_count: u64,
    /// Bytes of the znodes as the tree counts them (ZooKeeper's approximate data size: paths and data).
    pub data_bytes: u64,
    /// Count of znodes that go with a session.
    pub ephemeral_count: u64,
    /// The tree's digest at `zxid`.
    pub tree_digest: u64,
}

impl Header {
    /// The block, of a file of this format version.
    pub(crate) fn encode(&self, version: u32) -> Vec<u8> {
        BlockWriter::versioned(HEADER_BYTES, HEADER_MAGIC, version)
            .u64(self.zxid.0)
            .u128(self.ensemble_id.unwrap_or(0))
            .u32(ARCHIVE_LAYOUT)
            .u32(ALIGNMENT_FIELD)
            .seal()
    }

    /// Reads the version of the file at `bytes` and, if it is the one that is meant, its header.
    pub(crate) fn decode(bytes: &[u8], meant: u32) -> Result<(u32, Option<Header>), Damage> {
        let (version, mut block) = BlockReader::open_versioned(bytes, HEADER_MAGIC)?;
        if version != meant {
            return Ok((version, None));
        }
        if block.len() != HEADER_BYTES - VERSIONED_OVERHEAD_BYTES {
            return Err(Damage::Field("the header's length"));
        }
        let zxid = Zxid(block.u64());
        let ensemble_id = Some(block.u128()).filter(|&id| id != 0);
        if block.u32() != ARCHIVE_LAYOUT {
            return Err(Damage::Field("the archive layout"));
        }
        if block.u32() != ALIGNMENT_FIELD {
            return Err(Damage::Field("the alignment"));
        }
        block.finish()?;
        Ok((version, Some(Header { zxid, ensemble_id })))
    }
}

impl ImageTotals {
    /// Reads all but the zxid, which stands apart in each footer.
    pub(crate) fn decode(zxid: Zxid, footer: &mut BlockReader<'_>) -> ImageTotals {
        ImageTotals {
            zxid,
            node_count: footer.u64(),
            data_bytes: footer.u64(),
            ephemeral_count: footer.u64(),
            tree_digest: footer.u64(),
            time_ms: footer.i64(),
        }
    }
}

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 128;
/// With it the footer begins.
pub(crate) const FOOTER_MAGIC: [u8; 8] = *b"RKIMGEND";

const HEADER_MAGIC: [u8; 8] = *b"RKIMAGE\n";
/// Little-endian, aligned, relative pointers of 32 bits. Another choice gets another number.
const ARCHIVE_LAYOUT: u32 = 1;
const ALIGNMENT_FIELD: u32 = 64;

const _: () = assert!(HEADER_BYTES.is_multiple_of(ALIGNMENT) && ALIGNMENT == ALIGNMENT_FIELD as usize);

// The features that the archives' bytes depend on. `unaligned` or `big_endian` would make other types of these, another pointer
// width another `ArchivedUsize`.
const _: fn(rkyv::rend::u64_le) -> rkyv::primitive::ArchivedU64 = |value| value;
const _: fn(rkyv::rend::i32_le) -> rkyv::primitive::ArchivedI32 = |value| value;
const _: fn(rkyv::rend::u32_le) -> rkyv::primitive::ArchivedUsize = |value| value;
