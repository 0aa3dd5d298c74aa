//! A slab: values addressed by number, in chunks that never move.
//!
//! Owns the values and the free list. Growing adds a chunk and copies nothing, so that no insert takes long however many values there are.

/// Values in a chunk.
const CHUNK_LEN: usize = 1_024;

/// A slab of values, addressed by number.
#[derive(Debug)]
pub(super) struct Slab<T> {
    /// Every chunk but the last is full.
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Slab<T> {
        Slab { chunks: Vec::new(), free: Vec::new() }
    }

    /// The value in a slot.
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        let slot = slot as usize;
        self.chunks.get(slot / CHUNK_LEN)?.get(slot % CHUNK_LEN)?.as_ref()
    }

    /// The value in a slot, to be changed.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let slot = slot as usize;
        self.chunks.get_mut(slot / CHUNK_LEN)?.get_mut(slot % CHUNK_LEN)?.as_mut()
    }

    /// Puts a value into a free slot and tells which.
    ///
    /// # Panics
    /// At 2^32 values, far beyond what memory holds.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            let at = slot as usize;
            let cell = self.chunks.get_mut(at / CHUNK_LEN).and_then(|chunk| chunk.get_mut(at % CHUNK_LEN));
            *cell.expect("a free slot was used once") = Some(value);
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_LEN) {
            self.chunks.push(Vec::with_capacity(CHUNK_LEN));
        }
        let before = (self.chunks.len() - 1) * CHUNK_LEN;
        let chunk = self.chunks.last_mut().expect("pushed where there was none with room");
        let slot = before + chunk.len();
        chunk.push(Some(value));
        u32::try_from(slot).expect("fewer than 2^32 znodes in a layer")
    }

    /// Takes the value out of a slot and frees it.
    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let at = slot as usize;
        let value = self.chunks.get_mut(at / CHUNK_LEN)?.get_mut(at % CHUNK_LEN)?.take()?;
        self.free.push(slot);
        Some(value)
    }

    /// The values, in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_slots_and_freed_ones_are_used_again() {
        let mut slab = Slab::new();
        let slots: Vec<u32> = (0..3_000_u32).map(|value| slab.insert(value)).collect();
        assert_eq!(slots, (0..3_000).collect::<Vec<_>>());
        assert_eq!((slab.remove(1_500), slab.remove(1_500), slab.remove(9_999)), (Some(1_500), None, None));
        *slab.get_mut(1_499).unwrap() = 7;
        assert_eq!((slab.get(1_499), slab.get(1_500), slab.get(3_000)), (Some(&7), None, None));
        assert_eq!(slab.insert(8), 1_500);
        assert_eq!(slab.insert(9), 3_000);
        assert_eq!(slab.iter().count(), 3_001);
    }
}
