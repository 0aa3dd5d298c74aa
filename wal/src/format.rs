//! The bytes of a segment file, format version 1. The only place that knows them.
//!
//! All integers are little-endian. A segment is one header block, then groups, each beginning on a block boundary.
//!
//! ```text
//! segment header, 4096 bytes at offset 0 (the rest of a larger block is unused)
//!    0  8  magic "RKWALSEG"
//!    8  4  format version            } these three stay where they are in every version, and the crc32c
//!   12  4  crc32c of the 4096 bytes  } always covers the 4096 bytes without its own field
//!   16  8  ensemble id, 0 unknown
//!   24  8  generation
//!   32  8  segment sequence number
//!   40  8  salt
//!   48  8  base zxid: every record of this and later segments is greater
//!   56  8  previous segment's sequence number, 0 none
//!   64  8  offset at which the previous segment's valid groups end: all before it is durable
//!   72  4  crc32c of the previous segment's last valid group (of its header, if it has none)
//!   76  4  block bytes
//!   80  8  segment bytes
//!   88     zeroes
//!
//! group, padded with zeroes to a multiple of the block
//!    0  4  magic "RKGR"
//!    4  2  format version
//!    6  2  kind: 1 records, 2 seal
//!    8  4  crc32c of the padded group without this field, begun with the segment header's crc32c
//!   12  4  chain: crc32c of the group before (of the segment header, for the first)
//!   16  8  salt of the segment
//!   24  8  segment sequence number
//!   32  8  generation
//!   40  8  offset of this group
//!   48  8  known durable: all before this offset was durable when this group was issued
//!   56  8  first zxid (a seal: the last zxid before it)
//!   64  8  last zxid
//!   72  4  payload bytes
//!   76  4  record count
//!   80     payload: records
//!
//! record
//!    0  4  data bytes
//!    4  8  zxid
//!   12     data
//! ```
//!
//! Two checks keep a stale block of a recycled segment out: it carries another salt, and its checksum began with
//! another header's. The chain adds that a group follows the one before it. Decoding takes any bytes and never panics;
//! `tests/format_version_1_is_still_read.rs` holds the golden bytes.

use crc32c::{crc32c, crc32c_append};

/// The format version that this program writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of the segment header.
pub const HEADER_BYTES: usize = 4096;
/// Bytes before a group's payload.
pub const GROUP_HEADER_BYTES: usize = 80;
/// Bytes before a record's data.
pub const RECORD_HEADER_BYTES: usize = 12;

const SEGMENT_MAGIC: [u8; 8] = *b"RKWALSEG";
const SEGMENT_VERSION: usize = SEGMENT_MAGIC.len();
const SEGMENT_CRC: usize = SEGMENT_VERSION + 4;
const SEGMENT_ENSEMBLE: usize = SEGMENT_CRC + 4;
const SEGMENT_GENERATION: usize = SEGMENT_ENSEMBLE + 8;
const SEGMENT_SEQ: usize = SEGMENT_GENERATION + 8;
const SEGMENT_SALT: usize = SEGMENT_SEQ + 8;
const SEGMENT_BASE_ZXID: usize = SEGMENT_SALT + 8;
const SEGMENT_PREVIOUS: usize = SEGMENT_BASE_ZXID + 8;
const SEGMENT_PREVIOUS_END: usize = SEGMENT_PREVIOUS + 8;
const SEGMENT_PREVIOUS_CRC: usize = SEGMENT_PREVIOUS_END + 8;
const SEGMENT_BLOCK_BYTES: usize = SEGMENT_PREVIOUS_CRC + 4;
const SEGMENT_SEGMENT_BYTES: usize = SEGMENT_BLOCK_BYTES + 4;
const _: () = assert!(SEGMENT_SEGMENT_BYTES + 8 == 88);

const GROUP_MAGIC: [u8; 4] = *b"RKGR";
const GROUP_VERSION: usize = GROUP_MAGIC.len();
const GROUP_KIND: usize = GROUP_VERSION + 2;
const GROUP_CRC: usize = GROUP_KIND + 2;
const GROUP_CHAIN: usize = GROUP_CRC + 4;
const GROUP_SALT: usize = GROUP_CHAIN + 4;
const GROUP_SEQ: usize = GROUP_SALT + 8;
const GROUP_GENERATION: usize = GROUP_SEQ + 8;
const GROUP_OFFSET: usize = GROUP_GENERATION + 8;
const GROUP_KNOWN_DURABLE: usize = GROUP_OFFSET + 8;
const GROUP_FIRST_ZXID: usize = GROUP_KNOWN_DURABLE + 8;
const GROUP_LAST_ZXID: usize = GROUP_FIRST_ZXID + 8;
const GROUP_PAYLOAD_BYTES: usize = GROUP_LAST_ZXID + 8;
const GROUP_RECORD_COUNT: usize = GROUP_PAYLOAD_BYTES + 4;
const _: () = assert!(GROUP_RECORD_COUNT + 4 == GROUP_HEADER_BYTES);

/// A history of the log. A truncation or a new base begins a new one; the control file names the one that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A segment's sequence number: 1 for the first, and never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSeq(pub u64);

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The segment.
    pub segment: SegmentSeq,
    /// Byte offset in it.
    pub offset: u64,
}

/// Where the segment before ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The place after the last group that counts.
    pub end: LogPosition,
    /// That group's crc32c (the segment header's, if there is no group).
    pub crc: u32,
}

/// A decoded segment header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Ensemble id, 0 unknown.
    pub ensemble_id: u64,
    /// The generation that the segment belongs to.
    pub generation: Generation,
    /// Its sequence number.
    pub seq: SegmentSeq,
    /// Random bits that no other segment has.
    pub salt: u64,
    /// Every record of this and later segments has a greater zxid; records of the previous segment beyond it are cut.
    pub base_zxid: u64,
    /// Where the history before this segment ends, if there is one.
    pub previous: Option<Link>,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// Bytes of the file.
    pub segment_bytes: u64,
}

/// Why a segment header does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFault {
    /// Not the bytes that were written.
    Damaged(&'static str),
    /// Intact, of a newer format version.
    Newer(u32),
}

impl SegmentHeader {
    /// Writes the header into the first [`HEADER_BYTES`] of `block` and returns its crc32c. Panics if `block` is
    /// shorter, which is our own bug.
    pub fn encode(&self, block: &mut [u8]) -> u32 {
        assert!(block.len() >= HEADER_BYTES, "a header needs a whole block");
        block.fill(0);
        put(block, 0, &SEGMENT_MAGIC);
        put(block, SEGMENT_VERSION, &FORMAT_VERSION.to_le_bytes());
        put(block, SEGMENT_ENSEMBLE, &self.ensemble_id.to_le_bytes());
        put(block, SEGMENT_GENERATION, &self.generation.0.to_le_bytes());
        put(block, SEGMENT_SEQ, &self.seq.0.to_le_bytes());
        put(block, SEGMENT_SALT, &self.salt.to_le_bytes());
        put(block, SEGMENT_BASE_ZXID, &self.base_zxid.to_le_bytes());
        if let Some(link) = self.previous {
            put(block, SEGMENT_PREVIOUS, &link.end.segment.0.to_le_bytes());
            put(block, SEGMENT_PREVIOUS_END, &link.end.offset.to_le_bytes());
            put(block, SEGMENT_PREVIOUS_CRC, &link.crc.to_le_bytes());
        }
        put(block, SEGMENT_BLOCK_BYTES, &self.block_bytes.to_le_bytes());
        put(block, SEGMENT_SEGMENT_BYTES, &self.segment_bytes.to_le_bytes());
        let (header, _) = block.split_at(HEADER_BYTES);
        let crc = crc_without_field(0, header, SEGMENT_CRC);
        put(block, SEGMENT_CRC, &crc.to_le_bytes());
        crc
    }

    /// Reads a header and its crc32c.
    pub fn decode(block: &[u8]) -> Result<(SegmentHeader, u32), HeaderFault> {
        let header = block.get(..HEADER_BYTES).ok_or(HeaderFault::Damaged("the segment header is cut short"))?;
        if !header.starts_with(&SEGMENT_MAGIC) {
            return Err(HeaderFault::Damaged("there is no segment header"));
        }
        let crc = u32_at(header, SEGMENT_CRC);
        if crc != crc_without_field(0, header, SEGMENT_CRC) {
            return Err(HeaderFault::Damaged("the segment header's checksum does not match"));
        }
        match u32_at(header, SEGMENT_VERSION) {
            FORMAT_VERSION => {}
            newer if newer > FORMAT_VERSION => return Err(HeaderFault::Newer(newer)),
            _ => return Err(HeaderFault::Damaged("the segment header names a format version that never was")),
        }
        let block_bytes = u32_at(header, SEGMENT_BLOCK_BYTES);
        let segment_bytes = u64_at(header, SEGMENT_SEGMENT_BYTES);
        if !block_bytes.is_power_of_two() || block_bytes < 4096 || !segment_bytes.is_multiple_of(block_bytes.into()) {
            return Err(HeaderFault::Damaged("the segment header's sizes are impossible"));
        }
        let previous = (u64_at(header, SEGMENT_PREVIOUS) != 0).then(|| Link {
            end: LogPosition {
                segment: SegmentSeq(u64_at(header, SEGMENT_PREVIOUS)),
                offset: u64_at(header, SEGMENT_PREVIOUS_END),
            },
            crc: u32_at(header, SEGMENT_PREVIOUS_CRC),
        });
        let header = SegmentHeader {
            ensemble_id: u64_at(header, SEGMENT_ENSEMBLE),
            generation: Generation(u64_at(header, SEGMENT_GENERATION)),
            seq: SegmentSeq(u64_at(header, SEGMENT_SEQ)),
            salt: u64_at(header, SEGMENT_SALT),
            base_zxid: u64_at(header, SEGMENT_BASE_ZXID),
            previous,
            block_bytes,
            segment_bytes,
        };
        Ok((header, crc))
    }
}

/// What every group of a segment carries; a group that does not is another segment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentIdentity {
    /// The segment header's salt.
    pub salt: u64,
    /// The segment's sequence number.
    pub seq: SegmentSeq,
    /// The segment's generation.
    pub generation: Generation,
    /// The segment header's crc32c, with which every group's begins.
    pub crc: u32,
    /// Bytes of a block.
    pub block_bytes: u32,
}

impl SegmentIdentity {
    /// The identity that a header and its crc32c give.
    pub fn of(header: &SegmentHeader, crc: u32) -> SegmentIdentity {
        SegmentIdentity {
            salt: header.salt,
            seq: header.seq,
            generation: header.generation,
            crc,
            block_bytes: header.block_bytes,
        }
    }
}

/// What a group holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKind {
    /// At least one record.
    Records,
    /// No record: says that all before it is durable.
    Seal,
}

/// A group's header without what the segment's identity says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeader {
    /// Records or seal.
    pub kind: GroupKind,
    /// crc32c of the group (or header) before.
    pub chain: u32,
    /// Where the group lies in its segment.
    pub offset: u64,
    /// All before this offset was durable when the group was issued.
    pub known_durable: u64,
    /// First record's zxid; a seal: the last zxid before it.
    pub first_zxid: u64,
    /// Last record's zxid.
    pub last_zxid: u64,
    /// Bytes of the records.
    pub payload_bytes: u32,
    /// Number of records.
    pub record_count: u32,
}

/// Why bytes are not a group of this segment at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupFault {
    /// No group at all, or one of another segment or place: an unused or stale block.
    Foreign,
    /// A group of this segment whose bytes are not those that were written.
    Broken(&'static str),
}

impl GroupFault {
    /// What a person reads.
    pub fn what(self) -> &'static str {
        match self {
            GroupFault::Foreign => "there is no group where one was written",
            GroupFault::Broken(what) => what,
        }
    }
}

impl GroupHeader {
    /// Writes the header in front of the payload that `group` already holds, and the crc32c, which it returns. `group`
    /// is the whole padded group; the padding must be zero.
    pub fn encode(&self, identity: &SegmentIdentity, group: &mut [u8]) -> u32 {
        assert!(group.len() == self.padded_bytes(identity), "a group is written with its padding");
        let kind: u16 = match self.kind {
            GroupKind::Records => 1,
            GroupKind::Seal => 2,
        };
        put(group, 0, &GROUP_MAGIC);
        put(group, GROUP_VERSION, &1u16.to_le_bytes());
        put(group, GROUP_KIND, &kind.to_le_bytes());
        put(group, GROUP_CHAIN, &self.chain.to_le_bytes());
        put(group, GROUP_SALT, &identity.salt.to_le_bytes());
        put(group, GROUP_SEQ, &identity.seq.0.to_le_bytes());
        put(group, GROUP_GENERATION, &identity.generation.0.to_le_bytes());
        put(group, GROUP_OFFSET, &self.offset.to_le_bytes());
        put(group, GROUP_KNOWN_DURABLE, &self.known_durable.to_le_bytes());
        put(group, GROUP_FIRST_ZXID, &self.first_zxid.to_le_bytes());
        put(group, GROUP_LAST_ZXID, &self.last_zxid.to_le_bytes());
        put(group, GROUP_PAYLOAD_BYTES, &self.payload_bytes.to_le_bytes());
        put(group, GROUP_RECORD_COUNT, &self.record_count.to_le_bytes());
        let crc = crc_without_field(identity.crc, group, GROUP_CRC);
        put(group, GROUP_CRC, &crc.to_le_bytes());
        crc
    }

    /// Reads a header from the first bytes of a group, checking everything but the crc32c (which needs the whole group).
    pub fn parse(bytes: &[u8], identity: &SegmentIdentity, offset: u64) -> Result<GroupHeader, GroupFault> {
        let bytes = bytes.get(..GROUP_HEADER_BYTES).ok_or(GroupFault::Foreign)?;
        let ours = bytes.starts_with(&GROUP_MAGIC)
            && u64_at(bytes, GROUP_SALT) == identity.salt
            && u64_at(bytes, GROUP_SEQ) == identity.seq.0
            && u64_at(bytes, GROUP_GENERATION) == identity.generation.0
            && u64_at(bytes, GROUP_OFFSET) == offset;
        if !ours {
            return Err(GroupFault::Foreign);
        }
        let kind = match (u16_at(bytes, GROUP_VERSION), u16_at(bytes, GROUP_KIND)) {
            (1, 1) => GroupKind::Records,
            (1, 2) => GroupKind::Seal,
            _ => return Err(GroupFault::Broken("the group's kind is unknown")),
        };
        let header = GroupHeader {
            kind,
            chain: u32_at(bytes, GROUP_CHAIN),
            offset,
            known_durable: u64_at(bytes, GROUP_KNOWN_DURABLE),
            first_zxid: u64_at(bytes, GROUP_FIRST_ZXID),
            last_zxid: u64_at(bytes, GROUP_LAST_ZXID),
            payload_bytes: u32_at(bytes, GROUP_PAYLOAD_BYTES),
            record_count: u32_at(bytes, GROUP_RECORD_COUNT),
        };
        if header.known_durable > offset || header.first_zxid > header.last_zxid {
            return Err(GroupFault::Broken("the group's header contradicts itself"));
        }
        Ok(header)
    }

    /// Bytes of the group with its padding.
    pub fn padded_bytes(&self, identity: &SegmentIdentity) -> usize {
        (GROUP_HEADER_BYTES + to_usize(self.payload_bytes.into()))
            .next_multiple_of(to_usize(identity.block_bytes.into()))
    }
}

/// A whole group that has been checked: header, records and crc32c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Its header.
    pub header: GroupHeader,
    /// Its crc32c, which the next group's chain repeats.
    pub crc: u32,
    /// Its bytes with padding.
    pub padded_bytes: usize,
}

/// Checks the group at the front of `bytes` (which may be longer). Any bytes are fine; never panics.
pub fn decode_group(bytes: &[u8], identity: &SegmentIdentity, offset: u64) -> Result<Group, GroupFault> {
    let header = GroupHeader::parse(bytes, identity, offset)?;
    let padded_bytes = header.padded_bytes(identity);
    let group = bytes.get(..padded_bytes).ok_or(GroupFault::Broken("the group reaches beyond the segment"))?;
    let crc = u32_at(group, GROUP_CRC);
    if crc != crc_without_field(identity.crc, group, GROUP_CRC) {
        return Err(GroupFault::Broken("the group's checksum does not match"));
    }
    let end = GROUP_HEADER_BYTES + to_usize(header.payload_bytes.into());
    let payload = group.get(GROUP_HEADER_BYTES..end).unwrap_or_default();
    check_records(&header, payload).map_err(GroupFault::Broken)?;
    Ok(Group { header, crc, padded_bytes })
}

/// Writes a record at the front of `into`, which must have room, and returns its bytes.
pub fn encode_record(zxid: u64, data: &[u8], into: &mut [u8]) -> usize {
    let bytes = u32::try_from(data.len()).expect("a record is at most 1 GiB");
    put(into, 0, &bytes.to_le_bytes());
    put(into, 4, &zxid.to_le_bytes());
    put(into, RECORD_HEADER_BYTES, data);
    RECORD_HEADER_BYTES + data.len()
}

/// Reads the record at the front of `bytes`: zxid and data. `None` if it does not fit.
pub fn decode_record(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (header, rest) = bytes.split_at_checked(RECORD_HEADER_BYTES)?;
    let data = rest.get(..to_usize(u32_at(header, 0).into()))?;
    Some((u64_at(header, 4), data))
}

/// The count, the order and the ends of the records must be what the header says.
fn check_records(header: &GroupHeader, payload: &[u8]) -> Result<(), &'static str> {
    if header.kind == GroupKind::Seal {
        let empty = payload.is_empty() && header.record_count == 0;
        return if empty { Ok(()) } else { Err("a seal holds records") };
    }
    let (mut rest, mut count, mut last) = (payload, 0u32, None);
    while !rest.is_empty() {
        let (zxid, data) = decode_record(rest).ok_or("a record reaches beyond its group")?;
        let first = last.is_none();
        if (first && zxid != header.first_zxid) || last.is_some_and(|last| zxid <= last) {
            return Err("the records are out of order");
        }
        last = Some(zxid);
        count = count.saturating_add(1);
        rest = rest.get(RECORD_HEADER_BYTES + data.len()..).unwrap_or_default();
    }
    if count == 0 || count != header.record_count || last != Some(header.last_zxid) {
        return Err("the records are not those that the header counts");
    }
    Ok(())
}

/// crc32c of `bytes` without the 4 bytes at `field`, begun with `seed`.
pub(crate) fn crc_without_field(seed: u32, bytes: &[u8], field: usize) -> u32 {
    let (before, rest) = bytes.split_at(field);
    let (_, after) = rest.split_at(4);
    let begun = if seed == 0 { crc32c(before) } else { crc32c_append(seed, before) };
    crc32c_append(begun, after)
}

/// Copies `value` to `at`; a place outside is our own bug.
pub(crate) fn put(into: &mut [u8], at: usize, value: &[u8]) {
    into.get_mut(at..at + value.len()).expect("the encoder was given too small a buffer").copy_from_slice(value);
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// The callers have checked that the fixed part is there.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes.get(at..).and_then(<[u8]>::first_chunk).expect("the fixed part of a header was checked to be there")
}

/// RingKeeper runs on 64-bit Linux only.
pub(crate) fn to_usize(n: u64) -> usize {
    usize::try_from(n).expect("usize has 64 bits")
}
