//! Where the parts of an image file lie, by the format as it is documented (`src/base/layout.rs`), without the reader's code.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ops::Range;

/// Bytes of a header, and of a footer.
pub(crate) const HEADER_BYTES: usize = 128;
pub(crate) const FOOTER_BYTES: usize = 384;

/// The number at a place.
pub(crate) fn long(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
}

/// Where the footer begins, and the parts that it names.
pub(crate) fn footer(bytes: &[u8]) -> (usize, Vec<Range<usize>>) {
    let footer = bytes.len() - FOOTER_BYTES;
    let part = |number: usize| {
        let at = footer + 16 + 11 * 8 + number * 24;
        long(bytes, at)..long(bytes, at) + long(bytes, at + 8)
    };
    (footer, (0..7).map(part).collect())
}

/// The segments that an image consists of: the number of their file (0: its own), and their bytes there.
pub(crate) fn segments(own: &[u8]) -> Vec<(usize, Range<usize>)> {
    let (_, parts) = footer(own);
    let segment = |entry: &[u8]| {
        let (offset, payload) = (long(entry, 16), long(entry, 24));
        let file = u32::from_le_bytes(entry[44..48].try_into().unwrap());
        (usize::try_from(file).unwrap(), offset..offset + 64 + payload)
    };
    own[parts[1].clone()].chunks(64).map(segment).collect()
}
