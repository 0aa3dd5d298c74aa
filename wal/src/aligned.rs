//! A heap buffer whose address is aligned for O_DIRECT. Owns its memory; the contents are always initialised.
#![allow(unsafe_code)]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

/// Alignment of every buffer: the page size, which satisfies every device's logical block size.
const ALIGNMENT: usize = 4096;

/// Zeroed, 4096-byte-aligned memory of a fixed size; untouched pages cost nothing. `Default` is empty.
pub struct AlignedBuf {
    start: NonNull<u8>,
    bytes: usize,
}

impl AlignedBuf {
    /// Allocates `bytes` zeroes.
    pub fn zeroed(bytes: usize) -> AlignedBuf {
        if bytes == 0 {
            return AlignedBuf { start: NonNull::dangling(), bytes: 0 };
        }
        let layout = layout_of(bytes);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        AlignedBuf { start, bytes }
    }
}

impl Default for AlignedBuf {
    fn default() -> AlignedBuf {
        AlignedBuf::zeroed(0)
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: `start` came from `alloc_zeroed` with this same layout and is released once, here.
            unsafe { dealloc(self.start.as_ptr(), layout_of(self.bytes)) }
        }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is valid for `bytes` initialised bytes (or dangling and 0), owned by self, borrowed with it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the borrow exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

// SAFETY: the buffer is plain owned memory without interior mutability or thread affinity.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above; `&AlignedBuf` only reads.
unsafe impl Sync for AlignedBuf {}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.bytes)
    }
}

fn layout_of(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, ALIGNMENT).expect("a buffer's size fits in isize")
}

#[cfg(test)]
mod tests {
    use super::AlignedBuf;

    #[test]
    fn is_zeroed_aligned_and_writable() {
        let mut buf = AlignedBuf::zeroed(8192);
        assert_eq!(buf.as_ptr().addr() % 4096, 0);
        assert!(buf.iter().all(|&b| b == 0));
        buf[8191] = 7;
        assert_eq!(buf[8191], 7);
        assert!(AlignedBuf::default().is_empty());
    }
}
