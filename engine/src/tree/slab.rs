//! A slab that can be frozen in a few microseconds: values in chunks behind reference counts, copied when they are written while
//! somebody holds a frozen view.
//!
//! Owns the values and the free list. A frozen view costs one reference count a page (16,384 values); a write while one exists copies
//! the page's list of chunks and the one chunk it touches, once. The test below would catch a view that changes under its reader.

use std::sync::Arc;

/// Values in a chunk: what one copy-on-write copies.
const CHUNK_LEN: usize = 64;
/// Chunks in a page.
const PAGE_LEN: usize = 256;
/// Values in a page.
const PAGE_VALUES: usize = CHUNK_LEN * PAGE_LEN;

type Chunk<T> = Vec<Option<T>>;
type Page<T> = Vec<Arc<Chunk<T>>>;

/// A slab of values, addressed by number.
#[derive(Debug)]
pub(crate) struct CowSlab<T> {
    pages: Vec<Arc<Page<T>>>,
    free: Vec<u32>,
    /// Slots ever used; those below it are taken or in `free`.
    used: u32,
    len: usize,
}

impl<T: Clone> CowSlab<T> {
    pub(crate) const fn new() -> CowSlab<T> {
        CowSlab { pages: Vec::new(), free: Vec::new(), used: 0, len: 0 }
    }

    /// Count of values.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The value in a slot.
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        get(&self.pages, slot)
    }

    /// The value in a slot, to be changed. A frozen view keeps the old one.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.cell_mut(slot)?.as_mut()
    }

    /// Puts a value into a free slot and tells which.
    ///
    /// # Panics
    /// At 2^32 values, far beyond what memory holds.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.used;
            self.used = slot.checked_add(1).expect("fewer than 2^32 znodes");
            slot
        });
        self.reserve(slot);
        let cell = self.cell_mut(slot).expect("reserved above");
        debug_assert!(cell.is_none());
        *cell = Some(value);
        self.len += 1;
        slot
    }

    /// Takes the value out of a slot and frees it.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.cell_mut(slot)?.take()?;
        self.free.push(slot);
        self.len -= 1;
        Some(value)
    }

    /// A view of all values as they are now, which later changes do not touch.
    pub(crate) fn freeze(&self) -> FrozenSlab<T> {
        FrozenSlab { pages: self.pages.clone() }
    }

    /// Makes room for `slot`, which is at most one past the last.
    fn reserve(&mut self, slot: u32) {
        let slot = slot as usize;
        if slot / PAGE_VALUES == self.pages.len() {
            self.pages.push(Arc::new(Vec::new()));
        }
        let Some(page) = self.pages.get_mut(slot / PAGE_VALUES) else { return };
        if slot % PAGE_VALUES / CHUNK_LEN == page.len() {
            Arc::make_mut(page).push(Arc::new(vec![None; CHUNK_LEN]));
        }
    }

    fn cell_mut(&mut self, slot: u32) -> Option<&mut Option<T>> {
        let slot = slot as usize;
        let page = Arc::make_mut(self.pages.get_mut(slot / PAGE_VALUES)?);
        let chunk = Arc::make_mut(page.get_mut(slot % PAGE_VALUES / CHUNK_LEN)?);
        chunk.get_mut(slot % CHUNK_LEN)
    }
}

fn get<T>(pages: &[Arc<Page<T>>], slot: u32) -> Option<&T> {
    let slot = slot as usize;
    pages.get(slot / PAGE_VALUES)?.get(slot % PAGE_VALUES / CHUNK_LEN)?.get(slot % CHUNK_LEN)?.as_ref()
}

/// All values of a [`CowSlab`] as they were when it was frozen.
#[derive(Clone, Debug)]
pub(crate) struct FrozenSlab<T> {
    pages: Vec<Arc<Page<T>>>,
}

impl<T> FrozenSlab<T> {
    /// The values, in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.iter()).flat_map(|chunk| chunk.iter()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_view_does_not_change_under_its_reader() {
        let mut slab = CowSlab::new();
        let slots: Vec<u32> = (0..40_000_u64).map(|i| slab.insert(i)).collect();
        let frozen = slab.freeze();
        for slot in &slots {
            *slab.get_mut(*slot).unwrap() += 1_000_000;
        }
        for slot in slots.iter().step_by(2) {
            slab.remove(*slot);
        }
        let reused = slab.insert(7);
        assert!(frozen.iter().copied().eq(0..40_000));
        assert_eq!(slab.get(reused), Some(&7));
        assert_eq!(slab.len(), 20_001);
        assert_eq!(slab.get(slots[1]), Some(&1_000_001));
        assert_eq!(slab.get(99_999), None);
    }
}
