//! ACLs, each stored once: znodes hold a number (`ReferenceCountedACLCache`).

use super::changed::Changed;
use ahash::AHashMap;
use proto::Acl;
use std::sync::Arc;

/// An ACL, shared.
pub type AclList = Arc<[Acl]>;

/// The number of an ACL in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AclId(pub u32);

impl AclId {
    /// Everybody may do everything: by far the most common, and always in the table.
    pub const OPEN: AclId = AclId(0);
}

/// Numbers that a base may have: far more than a server ever has different ACLs.
const LOADED_MAX: usize = 1 << 24;

#[derive(Debug)]
struct Entry {
    acl: AclList,
    uses: u64,
}

/// The table. Entries that nobody uses any more are dropped and their numbers reused.
#[derive(Debug)]
pub(crate) struct AclTable {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    ids: AHashMap<AclList, AclId>,
    /// Which ACLs came and went since the tree's layer began; how often each is used is not asked there.
    changed: Changed<AclId, AclList>,
}

impl AclTable {
    pub(crate) fn new() -> AclTable {
        let mut table =
            AclTable { entries: Vec::new(), free: Vec::new(), ids: AHashMap::new(), changed: Changed::new() };
        let open = table.acquire(&[Acl::open()]);
        assert_eq!(open, AclId::OPEN, "the first entry has number 0");
        table
    }

    /// The number of `acl`, with one more use of it.
    pub(crate) fn acquire(&mut self, acl: &[Acl]) -> AclId {
        if let Some(id) = self.ids.get(acl).copied() {
            if let Some(entry) = self.entry_mut(id) {
                entry.uses += 1;
            }
            return id;
        }
        let acl: AclList = acl.into();
        let entry = Some(Entry { acl: Arc::clone(&acl), uses: 1 });
        let id = match self.free.pop().and_then(|id| Some((id, self.entries.get_mut(id as usize)?))) {
            Some((id, slot)) => {
                *slot = entry;
                AclId(id)
            }
            None => {
                self.entries.push(entry);
                AclId(u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 different ACLs"))
            }
        };
        self.changed.put(id, Arc::clone(&acl), false);
        self.ids.insert(acl, id);
        id
    }

    /// One use less.
    pub(crate) fn release(&mut self, id: AclId) {
        if id == AclId::OPEN {
            return;
        }
        let Some(slot) = self.entries.get_mut(id.0 as usize) else { return };
        if let Some(entry) = slot {
            entry.uses -= 1;
            if entry.uses == 0 {
                self.ids.remove(&entry.acl);
                *slot = None;
                self.free.push(id.0);
                self.changed.remove(id);
            }
        }
    }

    /// The ACL with this number.
    ///
    /// # Panics
    /// If there is none: a znode outlived its ACL, which is our bug.
    pub(crate) fn get(&self, id: AclId) -> &AclList {
        let entry = self.entries.get(id.0 as usize).and_then(Option::as_ref);
        &entry.expect("a znode's ACL is in the table").acl
    }

    /// The table of a base. `None` if two entries have a number, an ACL stands there twice, number 0 is not the open one, or one is
    /// [`LOADED_MAX`] or more.
    pub(crate) fn load<'a>(entries: impl Iterator<Item = (AclId, u64, &'a [Acl])>) -> Option<AclTable> {
        let mut table = AclTable::new();
        for (id, uses, acl) in entries {
            if id == AclId::OPEN {
                (*acl == **table.get(id)).then_some(())?;
                // The base has it.
                table.changed = Changed::new();
                continue;
            }
            let at = Some(id.0 as usize).filter(|at| *at < LOADED_MAX)?;
            // Numbers are given out from 0 on, and used again.
            while table.entries.len() <= at {
                table.entries.push(None);
            }
            let (slot, acl) = (table.entries.get_mut(at)?, AclList::from(acl));
            let is_new = slot.is_none() && table.ids.insert(Arc::clone(&acl), id).is_none();
            is_new.then_some(())?;
            *slot = Some(Entry { acl, uses });
        }
        let free = (0_u32..).zip(&table.entries).filter(|(_, entry)| entry.is_none()).map(|(id, _)| id);
        table.free = free.collect();
        Some(table)
    }

    /// What changed since this was asked last, or since it was loaded.
    pub(super) fn take_changed(&mut self) -> Changed<AclId, AclList> {
        self.changed.take()
    }

    fn entry_mut(&mut self, id: AclId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0 as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Perms;

    #[test]
    fn an_acl_is_stored_once_and_goes_with_its_last_use() {
        let mut table = AclTable::new();
        let read = [Acl::world_read()];
        let id = table.acquire(&read);
        assert_eq!(table.acquire(&read), id);
        assert_eq!(table.acquire(&[Acl::open()]), AclId::OPEN);
        table.release(id);
        assert_eq!(**table.get(id), read);
        table.release(id);
        assert_eq!(table.ids.len(), 1);
        let other = [Acl { perms: Perms::WRITE, ..Acl::open() }];
        assert_eq!(table.acquire(&other), id, "the number is used again");
    }
}
