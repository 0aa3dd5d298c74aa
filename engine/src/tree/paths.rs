//! The entries of a layer by the hashes of their paths.
//!
//! Many tables, chosen by the hash, in place of one: a table that grows moves all that it has, under the tree's lock, and that takes 66 ms for two million
//! entries. Divided by [`PARTS`] it takes less than a millisecond, and the parts grow at different times.

use super::layer::NodeId;
use hashbrown::HashTable;

/// Tables. Their heads take 8 KiB.
const PARTS: usize = 1 << PARTS_BITS;
const PARTS_BITS: u32 = 8;

/// A path's hash and its entry.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u32,
    id: NodeId,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Paths {
    parts: Vec<HashTable<Place>>,
    len: usize,
}

impl Paths {
    pub(super) fn new() -> Paths {
        Paths { parts: (0..PARTS).map(|_| HashTable::new()).collect(), len: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry with this hash that `is_it`.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let part = self.parts.get(part_of(hash))?;
        part.find(spread(hash), |place| place.hash == hash && is_it(place.id)).map(|place| place.id)
    }

    /// Puts in an entry that is not there.
    pub(super) fn insert(&mut self, hash: u32, id: NodeId) {
        let part = self.parts.get_mut(part_of(hash)).expect("there is one for each hash");
        part.insert_unique(spread(hash), Place { hash, id }, |place| spread(place.hash));
        self.len += 1;
    }

    /// Takes out an entry that is there.
    pub(super) fn remove(&mut self, hash: u32, id: NodeId) {
        let part = self.parts.get_mut(part_of(hash)).expect("there is one for each hash");
        part.find_entry(spread(hash), |place| place.id == id).expect("every entry has its place").remove();
        self.len -= 1;
    }

    /// All entries, in no order.
    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.parts.iter().flatten().map(|place| place.id)
    }
}

/// The highest bits choose the part: a table takes its buckets from the lowest ones.
const fn part_of(hash: u32) -> usize {
    (hash >> (u32::BITS - PARTS_BITS)) as usize
}

/// A table takes its tags from the highest bits, which are to depend on those that differ within a part, too.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_their_hashes_also_where_those_are_the_same() {
        let mut paths = Paths::new();
        assert!(paths.is_empty());
        let hash = |id: u32| (id / 2).wrapping_mul(0x0101_0135);
        (0..10_000).for_each(|id| paths.insert(hash(id), NodeId(id)));
        (0..10_000).filter(|id| id % 3 == 0).for_each(|id| paths.remove(hash(id), NodeId(id)));
        for id in 0..10_000 {
            let found = paths.find(hash(id), |found| found == NodeId(id));
            assert_eq!(found, (id % 3 != 0).then_some(NodeId(id)));
        }
        assert_eq!((paths.ids().count(), paths.len), (6_666, 6_666));
        assert!(paths.parts.iter().filter(|part| !part.is_empty()).count() > 1, "in many parts");
    }
}
