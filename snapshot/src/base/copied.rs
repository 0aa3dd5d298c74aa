//! Bytes of a mapping, copied before they are checked.
//!
//! A page may be evicted between its check and its use, and the disk may then return other bytes than it did before. So what is served
//! is a copy, and it is the copy that is checked: nothing of a mapping is looked at twice. Owns the copying, and that the compiler
//! does not undo it: it may take mapped bytes for unchanging, and read them again in place of the copy. It must never give out a part
//! of the mapping. It cannot fail; `tests/base_changes.rs`, under which a file changes, would catch a reader that goes around it.

use std::hint::black_box;

use rkyv::util::AlignedVec;

/// A copy of a piece of fixed length.
pub(crate) fn copied<const N: usize>(from: &[u8; N]) -> [u8; N] {
    let mut copy = *from;
    black_box(&mut copy);
    copy
}

/// Appends a copy; returns it, where it is.
pub(crate) fn append<'t>(to: &'t mut Vec<u8>, from: &[u8]) -> &'t [u8] {
    let start = to.len();
    to.extend_from_slice(from);
    black_box(&mut *to).get(start..).unwrap_or_default()
}

/// A copy at an address that any archive may have.
pub(crate) fn aligned(from: &[u8]) -> AlignedVec {
    let mut copy = AlignedVec::with_capacity(from.len());
    copy.extend_from_slice(from);
    black_box(&mut copy);
    copy
}
