//! The bytes of an image of version 2 around its records.
//!
//! Owns the places of everything in the file; must never look into a segment's payload (`segment`, `lines` and `record` do). It
//! fails with [`Damage`]; `tests/base_flips.rs` and the committed `tests/fixtures/image-v2.bin` would catch a mistake.
//!
//! Format version 2. Numbers are little-endian; every part begins at a multiple of 64 bytes, is padded with zeros up to the next one,
//! and follows the one before without a gap; each byte is covered by a crc32c.
//!
//! | part | bytes | covered by |
//! |---|---|---|
//! | header | 128 | its own checksum |
//! | segments, run by run, each: segment header | 64 | its own checksum, and the directory tells what is in it |
//! | … and payload | by the directory | the payload checksum in segment header and directory, and sums of each line and record |
//! | files (archive) | by the footer | the part's checksum in the footer |
//! | directory | 64 a segment | 〃 |
//! | ties (text) | by the footer | 〃 |
//! | ACLs, sessions, quotas, owners (archives) | by the footer | 〃 |
//! | footer | 384 | its own checksum |
//!
//! Header: as in every version, see `header`.
//!
//! Segment header: magic u32, run u32 (1 znodes, 2 ephemerals, 3 TTL znodes, 4 containers), offset u64 (its own), zxid u64 (of the
//! file), first key u64, last key u64, payload bytes u64 (padded), payload crc32c u32, records u32, look-up lines u32, crc32c.
//!
//! Directory entry: first key u64, last key u64, offset u64, payload bytes u64, payload crc32c u32, records u32, look-up lines u32,
//! file u32 (0 this one, n the n-th of the files), tie offset u32, tie bytes u32, zeros. The **tie** is the path of the first
//! record, in the ties, where the segment before ends with the key with which this one begins; otherwise it is empty.
//!
//! A segment's **salt**, with which the sums of its lines, records and data begin, is the crc32c of its offset (u64), begun with the
//! checksum of its file's header: what belongs to another place or file does not pass.
//!
//! Footer: magic `RKIMGEND`, version u32, 384 u32, zxid u64, file bytes u64, nodes u64, data bytes u64, ephemerals u64, tree digest
//! u64, time i64, segments of the four runs 4 × u64, then of the seven parts after the segments, in their order: offset u64, bytes
//! u64 (without padding), crc32c of the padded part u32, 0 u32; zeros, crc32c.

use proto::Zxid;

use super::place::Run;
use crate::Damage;
use crate::block::{ALIGNMENT, BlockReader, BlockWriter, VERSIONED_OVERHEAD_BYTES};
use crate::header::{FOOTER_MAGIC, ImageTotals};

/// Where a segment lies and what is in it: what header and directory have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentShape {
    /// Where its header begins.
    pub(crate) offset: u64,
    pub(crate) first_key: u64,
    pub(crate) last_key: u64,
    /// With padding.
    pub(crate) payload_bytes: u64,
    pub(crate) payload_crc: u32,
    pub(crate) records: u32,
    pub(crate) lookup_lines: u32,
}

impl SegmentShape {
    /// Bytes with the header. Saturates, so that a damaged length is found when it is compared with the file's.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.payload_bytes.saturating_add(SEGMENT_HEADER_BYTES as u64)
    }

    /// The segment header. There is one for given contents and place, so that a reader who has the directory compares.
    pub(crate) fn encode_header(&self, run: Run, zxid: Zxid) -> Vec<u8> {
        BlockWriter::new(SEGMENT_HEADER_BYTES)
            .raw(&SEGMENT_MAGIC)
            .u32(run.to_disk())
            .u64(self.offset)
            .u64(zxid.0)
            .u64(self.first_key)
            .u64(self.last_key)
            .u64(self.payload_bytes)
            .u32(self.payload_crc)
            .u32(self.records)
            .u32(self.lookup_lines)
            .seal()
    }
}

/// The salt of the segment at `offset` of the file whose header has this checksum.
pub(crate) fn salt(header_crc: u32, offset: u64) -> u32 {
    crc32c::crc32c_append(header_crc, &offset.to_le_bytes())
}

/// A segment in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirectoryEntry {
    pub(crate) shape: SegmentShape,
    /// 0: the file that the directory lies in; n: the n-th of its files.
    pub(crate) file: u32,
    pub(crate) tie_offset: u32,
    pub(crate) tie_bytes: u32,
}

impl DirectoryEntry {
    pub(crate) fn encode(&self, directory: &mut Vec<u8>) {
        let start = directory.len();
        let SegmentShape { offset, first_key, last_key, payload_bytes, payload_crc, records, lookup_lines } =
            self.shape;
        for long in [first_key, last_key, offset, payload_bytes] {
            directory.extend_from_slice(&long.to_le_bytes());
        }
        for word in [payload_crc, records, lookup_lines, self.file, self.tie_offset, self.tie_bytes] {
            directory.extend_from_slice(&word.to_le_bytes());
        }
        directory.resize(start + DIRECTORY_ENTRY_BYTES, 0);
    }

    /// Reads an entry; the directory's checksum has held.
    pub(crate) fn decode(entry: &[u8; DIRECTORY_ENTRY_BYTES]) -> Result<DirectoryEntry, Damage> {
        let mut entry = BlockReader::checked_elsewhere(entry);
        let (first_key, last_key, offset, payload_bytes) = (entry.u64(), entry.u64(), entry.u64(), entry.u64());
        let (payload_crc, records, lookup_lines) = (entry.u32(), entry.u32(), entry.u32());
        let (file, tie_offset, tie_bytes) = (entry.u32(), entry.u32(), entry.u32());
        entry.finish()?;
        let shape = SegmentShape { offset, first_key, last_key, payload_bytes, payload_crc, records, lookup_lines };
        Ok(DirectoryEntry { shape, file, tie_offset, tie_bytes })
    }
}

/// What follows the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The other files that the directory points into.
    Files,
    /// The segments of all runs.
    Directory,
    /// Paths that the directory refers to.
    Ties,
    /// ACLs with their uses.
    Acls,
    /// Sessions.
    Sessions,
    /// Paths with a quota.
    Quotas,
    /// Sessions with the count of their ephemerals.
    Owners,
}

impl Part {
    pub(crate) const ALL: [Part; PARTS] =
        [Part::Files, Part::Directory, Part::Ties, Part::Acls, Part::Sessions, Part::Quotas, Part::Owners];
}

/// Where a part lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PartPlace {
    pub(crate) offset: u64,
    /// Without padding.
    pub(crate) bytes: u64,
    /// Of the padded part.
    pub(crate) crc: u32,
}

/// The last block of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) totals: ImageTotals,
    pub(crate) file_bytes: u64,
    /// By [`Run::number`].
    pub(crate) segments: [u64; 4],
    /// In the order of [`Part::ALL`].
    pub(crate) parts: [PartPlace; PARTS],
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let block = BlockWriter::versioned(FOOTER_BYTES, FOOTER_MAGIC, FORMAT_VERSION)
            .u64(self.totals.zxid.0)
            .u64(self.file_bytes)
            .u64(self.totals.node_count)
            .u64(self.totals.data_bytes)
            .u64(self.totals.ephemeral_count)
            .u64(self.totals.tree_digest)
            .i64(self.totals.time_ms);
        let block = self.segments.iter().fold(block, |block, &count| block.u64(count));
        let part = |block: BlockWriter, part: &PartPlace| block.u64(part.offset).u64(part.bytes).u32(part.crc).u32(0);
        self.parts.iter().fold(block, part).seal()
    }

    /// Reads the last [`FOOTER_BYTES`] of a file whose header is of this version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Footer, Damage> {
        let (version, mut block) = BlockReader::open_versioned(bytes, FOOTER_MAGIC)?;
        if version != FORMAT_VERSION || block.len() != FOOTER_BYTES - VERSIONED_OVERHEAD_BYTES {
            return Err(Damage::Field("the footer's version and length"));
        }
        let zxid = Zxid(block.u64());
        let file_bytes = block.u64();
        let totals = ImageTotals::decode(zxid, &mut block);
        let segments = std::array::from_fn(|_| block.u64());
        let mut parts = [PartPlace::default(); PARTS];
        for part in &mut parts {
            *part = PartPlace { offset: block.u64(), bytes: block.u64(), crc: block.u32() };
            if block.u32() != 0 {
                return Err(Damage::Field("the zeros behind a part"));
            }
        }
        block.finish()?;
        Ok(Footer { totals, file_bytes, segments, parts })
    }
}

/// This format version.
pub(crate) const FORMAT_VERSION: u32 = 2;
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
pub(crate) const DIRECTORY_ENTRY_BYTES: usize = 64;
pub(crate) const FOOTER_BYTES: usize = 384;
pub(crate) const PARTS: usize = 7;
/// Files that an image may refer to, itself included: bounds what is mapped and how far its parts lie apart.
pub(crate) const FILES_MAX: usize = 8;

const SEGMENT_MAGIC: [u8; 4] = *b"RKS2";

const _: () = assert!(
    SEGMENT_HEADER_BYTES.is_multiple_of(ALIGNMENT)
        && DIRECTORY_ENTRY_BYTES.is_multiple_of(ALIGNMENT)
        && FOOTER_BYTES.is_multiple_of(ALIGNMENT)
        && 16 + 11 * 8 + PARTS * 24 + 4 <= FOOTER_BYTES
);
