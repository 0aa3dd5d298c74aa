//! What changed in a small table since the tree's layer began.
//!
//! Sessions, ACLs and quotas stand whole in memory beside the tree and whole in its base. An image needs them as they were when the tree was frozen; so
//! that freezing copies none of them, each change is remembered here, and the image's thread puts base and changes together ([`Changed::over`]). What
//! came and went meanwhile leaves nothing. `tests/model.rs` compares each frozen tree with a naive one; `tests/freeze.rs` counts what freezing allocates.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The changes of a table, by key. In order, so that it never grows by moving all that it has.
#[derive(Debug)]
pub(super) struct Changed<K, V>(BTreeMap<K, Change<V>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change<V> {
    /// The table below has not the key.
    Added(V),
    /// The table below has another value.
    Replaced(V),
    /// The table below has it, and it is gone.
    Gone,
}

impl<K: Ord, V> Changed<K, V> {
    pub(super) const fn new() -> Changed<K, V> {
        Changed(BTreeMap::new())
    }

    /// The key has this value now. `was_there`: it had one just before.
    pub(super) fn put(&mut self, key: K, value: V, was_there: bool) {
        match self.0.entry(key) {
            Entry::Occupied(mut entry) => {
                let is_added = matches!(entry.get(), Change::Added(_));
                entry.insert(if is_added { Change::Added(value) } else { Change::Replaced(value) });
            }
            Entry::Vacant(entry) => {
                entry.insert(if was_there { Change::Replaced(value) } else { Change::Added(value) });
            }
        }
    }

    /// The key, which was there, is gone.
    pub(super) fn remove(&mut self, key: K) {
        match self.0.entry(key) {
            Entry::Occupied(entry) if matches!(entry.get(), Change::Added(_)) => drop(entry.remove()),
            Entry::Occupied(mut entry) => drop(entry.insert(Change::Gone)),
            Entry::Vacant(entry) => drop(entry.insert(Change::Gone)),
        }
    }

    /// What changed up to now; from here on nothing has.
    pub(super) fn take(&mut self) -> Changed<K, V> {
        Changed(std::mem::take(&mut self.0))
    }

    /// The table as it is with these changes, ascending by key. `below`: as it was without.
    pub(super) fn over(&self, below: impl Iterator<Item = (K, V)>) -> Vec<(K, V)>
    where
        K: Clone,
        V: Clone,
    {
        let mut all: Vec<(K, V)> = below.filter(|(key, _)| !self.0.contains_key(key)).collect();
        all.extend(self.0.iter().filter_map(|(key, change)| match change {
            Change::Added(value) | Change::Replaced(value) => Some((key.clone(), value.clone())),
            Change::Gone => None,
        }));
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_over_what_was_there_make_what_is_there_and_what_came_and_went_leaves_nothing() {
        let below = [(1, 'a'), (2, 'b'), (3, 'c')];
        let mut changed = Changed::new();
        changed.put(2, 'B', true);
        changed.put(4, 'd', false);
        changed.put(4, 'D', true);
        changed.remove(3);
        changed.put(5, 'e', false);
        changed.remove(5);
        assert_eq!(changed.over(below.into_iter()), [(1, 'a'), (2, 'B'), (4, 'D')]);
        assert_eq!(changed.0.len(), 3, "5 came and went");
        changed.put(3, 'x', false);
        changed.remove(2);
        assert_eq!(changed.over(below.into_iter()), [(1, 'a'), (3, 'x'), (4, 'D')]);
        changed.remove(3);
        changed.remove(4);
        assert_eq!(changed.over(below.into_iter()), [(1, 'a')], "what lies below is gone again");
    }
}
