//! The receive buffers that a ring shard lends to the kernel: one provided-buffer ring, shared by all its connections.
//!
//! The kernel picks a buffer when bytes are there, so an idle connection holds none. Owns the entries' page(s) and the buffers; both must outlive
//! the ring (the owner drops the ring first). Must never hand out a buffer that it has given to the kernel. When all are taken a
//! receive ends with `ENOBUFS` and is started again by its owner; `two_thousand_connections_are_served` runs into that.
#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// A group of equal buffers.
pub(super) struct RingBuffers {
    entries: Area,
    bytes: Area,
    /// A power of two.
    count: u16,
    buffer_bytes: u32,
    /// Entries ever filled, wrapping; the kernel sees it when it is published.
    tail: u16,
}

impl RingBuffers {
    /// Buffers of `buffer_bytes` each, as many as make about [`TOTAL_BYTES`], all for the kernel to fill.
    pub(super) fn new(buffer_bytes: usize) -> Self {
        let buffer_bytes = buffer_bytes.clamp(BUFFER_BYTES_MIN, TOTAL_BYTES / usize::from(COUNT_MIN));
        let fitting = u16::try_from(TOTAL_BYTES / buffer_bytes).unwrap_or(COUNT_MAX).min(COUNT_MAX);
        // The largest power of two that fits.
        let count = 1 << fitting.ilog2();
        let mut buffers = Self {
            entries: Area::new(usize::from(count) * size_of::<BufRingEntry>()),
            bytes: Area::new(usize::from(count) * buffer_bytes),
            count,
            buffer_bytes: u32::try_from(buffer_bytes).expect("clamped to less than TOTAL_BYTES"),
            tail: 0,
        };
        for id in 0..count {
            buffers.give_back(id);
        }
        buffers.publish();
        buffers
    }

    /// Tells the kernel of them.
    pub(super) fn register(&self, submitter: &Submitter<'_>, group: u16) -> io::Result<()> {
        let address = u64::try_from(self.entries.start.as_ptr().addr()).expect("addresses have 64 bits");
        // SAFETY: the entries are page-aligned, initialised, as many as said, and outlive the ring (the owner drops the ring first).
        unsafe { submitter.register_buf_ring_with_flags(address, self.count, group, 0) }
    }

    /// What a completion brought in a buffer. The buffer stays with the caller until it gives it back.
    pub(super) fn filled(&self, id: u16, bytes: usize) -> &[u8] {
        assert!(
            id < self.count && bytes <= self.buffer_bytes_usize(),
            "the kernel names buffer {id} with {bytes} bytes"
        );
        // SAFETY: in bounds (asserted), initialised (zeroed at first), and not written by the kernel until it is given back, which
        // takes `&mut self`.
        unsafe {
            let start = self.bytes.start.as_ptr().add(usize::from(id) * self.buffer_bytes_usize());
            std::slice::from_raw_parts(start, bytes)
        }
    }

    /// Lets the kernel fill it again, once published.
    pub(super) fn give_back(&mut self, id: u16) {
        assert!(id < self.count, "buffer {id} is not ours");
        let place = usize::from(self.tail & (self.count - 1));
        // SAFETY: both places are in bounds. The kernel reads an entry only after the tail that covers it is published, and there are as many entries as
        // buffers, so this one is not with the kernel. Only addr, len and bid are written: the first entry's rest is the tail.
        unsafe {
            let buffer = self.bytes.start.as_ptr().add(usize::from(id) * self.buffer_bytes_usize());
            let entry = &mut *self.entries.start.as_ptr().cast::<BufRingEntry>().add(place);
            entry.set_addr(u64::try_from(buffer.addr()).expect("addresses have 64 bits"));
            entry.set_len(self.buffer_bytes);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given back.
    pub(super) fn publish(&self) {
        // SAFETY: the tail lies within the first entry, is aligned, and is accessed by us only here; the kernel reads it with acquire.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.start.as_ptr().cast::<BufRingEntry>()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn buffer_bytes_usize(&self) -> usize {
        usize::try_from(self.buffer_bytes).expect("clamped to less than TOTAL_BYTES")
    }
}

/// Zeroed, page-aligned memory.
struct Area {
    start: NonNull<u8>,
    layout: Layout,
}

impl Area {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("a few MiB at most");
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, layout }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and dropped once. The kernel does not use it any more: the ring is gone.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

const PAGE_BYTES: usize = 4096;
/// A shard's receive memory: enough for what comes within one turn, whatever the number of connections.
const TOTAL_BYTES: usize = 4 << 20;
const BUFFER_BYTES_MIN: usize = 1024;
const COUNT_MIN: u16 = 16;
const COUNT_MAX: u16 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_buffers_as_the_memory_allows() {
        for (asked, bytes, count) in
            [(16 << 10, 16 << 10, 256), (1, 1024, 4096), (usize::MAX, 256 << 10, 16), (5000, 5000, 512)]
        {
            let buffers = RingBuffers::new(asked);
            assert_eq!((buffers.buffer_bytes, buffers.count), (bytes, count), "asked for {asked}");
        }
    }

    #[test]
    #[should_panic(expected = "the kernel names buffer")]
    fn a_buffer_that_is_too_long_is_our_bug() {
        let buffers = RingBuffers::new(1024);
        buffers.filled(0, 1025);
    }
}
