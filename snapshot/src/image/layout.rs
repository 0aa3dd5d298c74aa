//! The bytes of an image around its records.
//!
//! Owns the places of everything in the file; must never look into a segment's payload. It fails with [`Damage`] at an
//! offset; `tests/flips.rs` and the committed `tests/fixtures/image-v1.bin` would catch a mistake.
//!
//! Format version 1. Numbers are little-endian; every part begins at a multiple of 64 bytes; the parts follow each other
//! without gaps, and each byte is covered by a crc32c.
//!
//! | part | bytes | covered by |
//! |---|---|---|
//! | header | 128 | its own checksum |
//! | segments, each: segment header | 64 | its own checksum |
//! | … and payload, padded with zeros to 64 | | the payload checksum in segment header and directory |
//! | directory, padded with zeros to 64 | 32 a segment | the directory checksum in the footer |
//! | footer | 192 | its own checksum |
//!
//! Header: as in every version, see `header`.
//!
//! Segment header: magic u32, kind u32, number u32, records u32, zxid u64, payload bytes u64, crc32c of the padded payload
//! u32, zeros, crc32c.
//!
//! Directory entry: offset u64 (of the segment header), payload bytes u64, payload crc32c u32, kind u32, records u32, 0 u32.
//!
//! Footer: magic `RKIMGEND`, version u32, 192 u32, zxid u64, file bytes u64, directory offset u64, directory bytes u64
//! (padded), directory crc32c u32, segments u32, nodes u64, data bytes u64, ephemerals u64, tree digest u64, time i64,
//! ACLs u64, sessions u64, zeros, crc32c.

use proto::Zxid;

use crate::Damage;
use crate::block::{ALIGNMENT, BlockReader, BlockWriter, VERSIONED_OVERHEAD_BYTES, padded};
use crate::header::{FOOTER_MAGIC, ImageTotals};

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    /// ACL lists by id.
    Acls,
    /// Sessions.
    Sessions,
    /// Znodes.
    Nodes,
}

impl SegmentKind {
    const fn to_disk(self) -> u32 {
        match self {
            SegmentKind::Acls => 1,
            SegmentKind::Sessions => 2,
            SegmentKind::Nodes => 3,
        }
    }

    fn from_disk(value: u32) -> Result<SegmentKind, Damage> {
        match value {
            1 => Ok(SegmentKind::Acls),
            2 => Ok(SegmentKind::Sessions),
            3 => Ok(SegmentKind::Nodes),
            _ => Err(Damage::Field("the segment's kind")),
        }
    }
}

/// A segment, as the directory and its own header describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where its header begins.
    pub(crate) offset: u64,
    /// Bytes of the archive, without padding.
    pub(crate) payload_bytes: u64,
    /// Checksum of the archive and its padding.
    pub(crate) payload_crc: u32,
    pub(crate) kind: SegmentKind,
    pub(crate) records: u32,
}

impl Segment {
    /// Bytes with header and padding. Saturates, so that a damaged length is found when it is compared with the file's.
    pub(crate) fn frame_bytes(&self) -> u64 {
        padded(self.payload_bytes).saturating_add(SEGMENT_HEADER_BYTES as u64)
    }

    /// The segment header, as it must stand in the file.
    pub(crate) fn encode_header(&self, zxid: Zxid, number: u32) -> Vec<u8> {
        BlockWriter::new(SEGMENT_HEADER_BYTES)
            .raw(&SEGMENT_MAGIC)
            .u32(self.kind.to_disk())
            .u32(number)
            .u32(self.records)
            .u64(zxid.0)
            .u64(self.payload_bytes)
            .u32(self.payload_crc)
            .seal()
    }

    /// Reads a directory entry; the directory's checksum has held.
    pub(crate) fn decode_entry(entry: &[u8; DIRECTORY_ENTRY_BYTES]) -> Result<Segment, Damage> {
        let mut entry = BlockReader::checked_elsewhere(entry);
        let (offset, payload_bytes, payload_crc) = (entry.u64(), entry.u64(), entry.u32());
        let kind = SegmentKind::from_disk(entry.u32())?;
        let records = entry.u32();
        entry.finish()?;
        Ok(Segment { offset, payload_bytes, payload_crc, kind, records })
    }
}

/// The last block of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) totals: ImageTotals,
    pub(crate) file_bytes: u64,
    pub(crate) directory_offset: u64,
    /// With padding.
    pub(crate) directory_bytes: u64,
    pub(crate) directory_crc: u32,
    pub(crate) segments: u32,
    pub(crate) acl_count: u64,
    pub(crate) session_count: u64,
}

impl Footer {
    /// Reads the last [`FOOTER_BYTES`] of a file whose header is of our version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Footer, Damage> {
        let (version, mut block) = BlockReader::open_versioned(bytes, FOOTER_MAGIC)?;
        if version != FORMAT_VERSION || block.len() != FOOTER_BYTES - VERSIONED_OVERHEAD_BYTES {
            return Err(Damage::Field("the footer's version and length"));
        }
        let zxid = Zxid(block.u64());
        let (file_bytes, directory_offset, directory_bytes) = (block.u64(), block.u64(), block.u64());
        let (directory_crc, segments) = (block.u32(), block.u32());
        let totals = ImageTotals::decode(zxid, &mut block);
        let (acl_count, session_count) = (block.u64(), block.u64());
        block.finish()?;
        Ok(Footer {
            totals,
            file_bytes,
            directory_offset,
            directory_bytes,
            directory_crc,
            segments,
            acl_count,
            session_count,
        })
    }
}

/// The version of this format.
pub(crate) const FORMAT_VERSION: u32 = 1;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
pub(crate) const DIRECTORY_ENTRY_BYTES: usize = 32;
pub(crate) const FOOTER_BYTES: usize = 192;

const SEGMENT_MAGIC: [u8; 4] = *b"RKSG";

const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(ALIGNMENT) && FOOTER_BYTES.is_multiple_of(ALIGNMENT));
