//! A fixed-size block: little-endian fields, zeros up to the end, a crc32c over all before it in the last four bytes.
//!
//! The control file and the image's header, footer and segment headers are such blocks. Every versioned file begins with one
//! that starts like this, in every version to come, so that a newer file is told from a damaged one:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 4 | format version |
//! | 12 | 4 | bytes of this block |
//! | last 4 | 4 | crc32c of the block's other bytes |
//!
//! It must never allocate by a length that it has not checked. It fails with [`Damage`]; the flip tests would catch a mistake.

use crate::error::Damage;

/// Largest versioned block that any version may use; bounds what is read before the checksum is checked.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 * 1024;

/// Every part of an image begins at a multiple of it: enough for any archived type.
pub(crate) const ALIGNMENT: usize = 64;

/// Preamble and checksum of a versioned block: its bytes beside the fields.
pub(crate) const VERSIONED_OVERHEAD_BYTES: usize = PREAMBLE_BYTES + CRC_BYTES;
/// Where a versioned block says how many bytes it has, in four of them.
pub(crate) const BLOCK_BYTES_AT: usize = 12;

const CRC_BYTES: usize = 4;
const PREAMBLE_BYTES: usize = 16;

/// The length up to the next multiple of [`ALIGNMENT`]; saturates.
pub(crate) const fn padded(bytes: u64) -> u64 {
    match bytes.checked_next_multiple_of(ALIGNMENT as u64) {
        Some(bytes) => bytes,
        None => u64::MAX,
    }
}

/// A part of some bytes.
pub(crate) fn bytes_at(bytes: &[u8], offset: u64, len: u64) -> Result<&[u8], Damage> {
    let range = || {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        bytes.get(start..end)
    };
    let expected = offset.saturating_add(len);
    range().ok_or(Damage::Length { found: bytes.len() as u64, expected })
}

/// Builds a block.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    bytes: Vec<u8>,
    end: usize,
}

impl BlockWriter {
    /// A block of `block_bytes` without a preamble.
    pub(crate) fn new(block_bytes: usize) -> BlockWriter {
        BlockWriter { bytes: Vec::with_capacity(block_bytes), end: block_bytes }
    }

    /// A block of `block_bytes` with the preamble.
    pub(crate) fn versioned(block_bytes: usize, magic: [u8; 8], version: u32) -> BlockWriter {
        let block_bytes_field = u32::try_from(block_bytes).unwrap_or(u32::MAX);
        BlockWriter::new(block_bytes).raw(&magic).u32(version).u32(block_bytes_field)
    }

    /// Appends bytes as they are.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> BlockWriter {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends four bytes.
    pub(crate) fn u32(self, value: u32) -> BlockWriter {
        self.raw(&value.to_le_bytes())
    }

    /// Appends eight bytes.
    pub(crate) fn u64(self, value: u64) -> BlockWriter {
        self.raw(&value.to_le_bytes())
    }

    /// Appends eight bytes.
    pub(crate) fn i64(self, value: i64) -> BlockWriter {
        self.raw(&value.to_le_bytes())
    }

    /// Appends sixteen bytes.
    pub(crate) fn u128(self, value: u128) -> BlockWriter {
        self.raw(&value.to_le_bytes())
    }

    /// The block: padded with zeros and sealed.
    pub(crate) fn seal(mut self) -> Vec<u8> {
        let body = self.end - CRC_BYTES;
        assert!(self.bytes.len() <= body, "the fields of a block fit into it");
        self.bytes.resize(body, 0);
        let crc = crc32c::crc32c(&self.bytes);
        self.raw(&crc.to_le_bytes()).bytes
    }
}

/// Reads the fields of a block whose checksum held.
#[derive(Debug)]
pub(crate) struct BlockReader<'a> {
    rest: &'a [u8],
}

impl<'a> BlockReader<'a> {
    /// Checks the checksum.
    pub(crate) fn open(block: &'a [u8]) -> Result<BlockReader<'a>, Damage> {
        let Some((body, crc)) = block.split_last_chunk::<CRC_BYTES>() else {
            return Err(Damage::Length { found: block.len() as u64, expected: CRC_BYTES as u64 });
        };
        let (found, computed) = (u32::from_le_bytes(*crc), crc32c::crc32c(body));
        if found == computed { Ok(BlockReader { rest: body }) } else { Err(Damage::Checksum { found, computed }) }
    }

    /// Fields whose bytes a checksum elsewhere has covered.
    pub(crate) fn checked_elsewhere(fields: &'a [u8]) -> BlockReader<'a> {
        BlockReader { rest: fields }
    }

    /// Bytes that have not been read yet, without the checksum.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Checks the checksum, then the preamble of the block at the start of `bytes`; returns the version too. What follows
    /// the preamble may only be read when the version is known.
    pub(crate) fn open_versioned(bytes: &'a [u8], magic: [u8; 8]) -> Result<(u32, BlockReader<'a>), Damage> {
        let least = VERSIONED_OVERHEAD_BYTES as u64;
        let too_short = Damage::Length { found: bytes.len() as u64, expected: least };
        let mut preamble = BlockReader { rest: bytes.get(..PREAMBLE_BYTES).ok_or(too_short)? };
        if preamble.array::<8>() != magic {
            return Err(Damage::Magic);
        }
        let version = preamble.u32();
        let block_bytes = preamble.u32() as usize;
        if !(VERSIONED_OVERHEAD_BYTES..=BLOCK_BYTES_MAX).contains(&block_bytes) {
            return Err(Damage::Field("the block's length"));
        }
        let short = Damage::Length { found: bytes.len() as u64, expected: block_bytes as u64 };
        let mut block = BlockReader::open(bytes.get(..block_bytes).ok_or(short)?)?;
        let _preamble: [u8; PREAMBLE_BYTES] = block.array();
        if version == 0 {
            return Err(Damage::Field("the format version"));
        }
        Ok((version, block))
    }

    /// The next bytes. The caller knows the block's length: reading past it is our own mistake.
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else { panic!("a block's fields lie within it") };
        self.rest = rest;
        *head
    }

    /// The next four bytes.
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// The next eight bytes.
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// The next eight bytes.
    pub(crate) fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.array())
    }

    /// The next sixteen bytes.
    pub(crate) fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.array())
    }

    /// Everything that was not read must be zero.
    pub(crate) fn finish(self) -> Result<(), Damage> {
        if self.rest.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(Damage::Field("the zero padding")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_and_the_rest_is_zero() {
        let block = BlockWriter::versioned(64, *b"ABCDEFGH", 3).u64(7).i64(-7).u128(9).seal();
        assert_eq!(block.len(), 64);
        let (version, mut reader) = BlockReader::open_versioned(&block, *b"ABCDEFGH").unwrap();
        assert_eq!((version, reader.u64(), reader.i64(), reader.u128()), (3, 7, -7, 9));
        reader.finish().unwrap();
    }

    #[test]
    fn a_block_that_claims_to_be_huge_is_refused_before_it_is_read() {
        let mut block = BlockWriter::versioned(64, *b"ABCDEFGH", 1).seal();
        block[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(BlockReader::open_versioned(&block, *b"ABCDEFGH").unwrap_err(), Damage::Field("the block's length"));
    }

    #[test]
    fn sealed_padding_that_is_not_zero_is_damage() {
        let block = BlockWriter::new(32).u32(1).u32(5).seal();
        let mut reader = BlockReader::open(&block).unwrap();
        assert_eq!(reader.u32(), 1);
        assert_eq!(reader.finish(), Err(Damage::Field("the zero padding")));
    }
}
