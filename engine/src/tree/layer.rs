//! A layer of the tree in memory: the znodes that changed since what lies below it, whole, and tombstones for those that went.
//!
//! Owns records by path and, for each directory in it, which children it adds to those below and how many it takes away. The children of a
//! directory are those below that have no tombstone here, and those added. It knows nothing of what lies below: [`super::Tree`] looks there and
//! tells it. `tests/model.rs` compares the trees that layers make with a naive one.

use super::acl_table::AclId;
use super::names::{Child, Names};
use super::paths::Paths;
use super::slab::Slab;
use crate::digest::{self, ContentCrc};
use ahash::{AHashMap, RandomState};
use proto::stat::EphemeralKind;
use proto::{SessionId, StatPersisted};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// What is stored of a znode.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) path: Arc<str>,
    pub(super) data: Option<Arc<[u8]>>,
    pub(super) acl: AclId,
    pub(super) crc: ContentCrc,
    /// Of all its children, wherever they are.
    pub(super) child_count: u32,
    pub(super) stat: StatPersisted,
}

impl Record {
    pub(super) fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    /// What it adds to the tree's digest.
    pub(super) fn digest(&self) -> u64 {
        if digest::counts(&self.path) { self.crc.digest(&self.stat) } else { 0 }
    }
}

/// What a layer says of a path.
#[derive(Debug)]
pub(super) enum Entry {
    /// The znode is as this says, whatever lies below.
    There(Record),
    /// What lies below is gone.
    Gone(Arc<str>),
}

impl Entry {
    pub(super) fn path(&self) -> &Arc<str> {
        match self {
            Entry::There(record) => &record.path,
            Entry::Gone(path) => path,
        }
    }

    pub(super) fn there(&self) -> Option<&Record> {
        match self {
            Entry::There(record) => Some(record),
            Entry::Gone(_) => None,
        }
    }
}

/// An entry's number within its layer, for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) u32);

/// See the module.
#[derive(Debug)]
pub(super) struct Layer {
    entries: Slab<Slot>,
    paths: Paths,
    hasher: RandomState,
    sets: Sets,
}

/// An entry, and where it hangs.
#[derive(Debug)]
struct Slot {
    entry: Entry,
    links: Links,
}

/// Where an entry hangs.
#[derive(Debug, Default)]
struct Links {
    /// Its position among the children that its parent adds, or a tombstone's among those that it takes; `None` of a znode that its parent has
    /// below.
    position: Option<u32>,
    /// `None` until a child is added or taken away.
    dir: Option<Box<Dir>>,
}

/// How a directory's children differ from those below.
#[derive(Debug, Default)]
struct Dir {
    added: Names,
    /// Tombstones of its children; most have none.
    gone: Option<Box<Names>>,
}

/// Whether the layers below have a path too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Below {
    /// They have it: what is here stands for it.
    Has,
    /// They have not: its parent, which is here, has it as an added child.
    HasNot { parent: NodeId },
}

impl Layer {
    pub(super) fn new() -> Layer {
        Layer { entries: Slab::new(), paths: Paths::new(), hasher: RandomState::new(), sets: Sets::default() }
    }

    /// The number of the entry at `path`.
    pub(super) fn find(&self, path: &str) -> Option<NodeId> {
        // Most often there is nothing in a frozen layer, and nothing frozen.
        if self.paths.is_empty() {
            return None;
        }
        self.paths.find(self.hash(path), |id| **self.entry(id).path() == *path)
    }

    /// What this layer says of `path`.
    pub(super) fn look(&self, path: &str) -> Option<&Entry> {
        self.find(path).map(|id| self.entry(id))
    }

    pub(super) fn entry(&self, id: NodeId) -> &Entry {
        &self.slot(id).entry
    }

    /// The record of a znode that is known to be here.
    pub(super) fn record(&self, id: NodeId) -> &Record {
        self.entry(id).there().expect("the znode is here, not its tombstone")
    }

    /// All entries, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|slot| &slot.entry)
    }

    /// The child at this position among those that the directory has beside those below.
    pub(super) fn added(&self, id: NodeId, position: usize) -> Option<&Record> {
        self.dir(id)?.added.get(position).map(|child| self.record(child.id))
    }

    /// Has it tombstones of children of the directory?
    pub(super) fn has_gone(&self, id: NodeId) -> bool {
        self.dir(id).and_then(|dir| dir.gone.as_ref()).is_some_and(|gone| gone.len() > 0)
    }

    /// The children that the directory has beside those below.
    pub(super) fn all_added(&self, id: NodeId) -> impl Iterator<Item = &Child> {
        self.dir(id).into_iter().flat_map(|dir| dir.added.iter())
    }

    /// The children that the directory has beside those below, and its children below that have tombstones: to be kept.
    pub(super) fn share_children(&self, id: NodeId) -> (Names, Names) {
        let Some(dir) = self.dir(id) else { return (Names::default(), Names::default()) };
        (dir.added.share(), dir.gone.as_deref().map(Names::share).unwrap_or_default())
    }

    /// A session's ephemerals, behind `after`.
    pub(super) fn ephemerals_after<'l>(
        &'l self,
        session: SessionId,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'l Arc<str>> + use<'l> {
        let from = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.sets.ephemerals.get(&session).map(|paths| paths.range::<str, _>(from)).into_iter().flatten()
    }

    /// The containers without children, in no order.
    pub(super) fn empty_containers(&self) -> impl Iterator<Item = &Record> {
        self.sets.empty_containers.iter().map(|id| self.record(*id))
    }

    /// The TTL znodes that may go at `now_ms`, those first that could go first.
    pub(super) fn ttls_due(&self, now_ms: i64) -> impl Iterator<Item = &Record> {
        self.sets.ttls.iter().take_while(move |(expiry_ms, _)| *expiry_ms < now_ms).map(|(_, id)| self.record(*id))
    }

    // ---- changes ----------------------------------------------------------------------------------------------------

    /// Puts a record here for a path that this layer says nothing of, or has a tombstone for.
    pub(super) fn put(&mut self, record: Record, below: Below) -> NodeId {
        let traits = Traits::of(&record);
        let path = Arc::clone(&record.path);
        let id = match self.find(&path) {
            Some(id) => {
                let entry = self.entry_mut(id);
                assert!(entry.there().is_none() && below == Below::Has, "a tombstone stands for what is below");
                *entry = Entry::There(record);
                id
            }
            None => self.add(Entry::There(record), below),
        };
        self.sets.update(id, &path, Traits::default(), traits);
        id
    }

    /// Takes out the znode, which has no children. If it lies below too, its tombstone stays, and its parent knows of it.
    pub(super) fn remove(&mut self, id: NodeId, parent: NodeId) -> Record {
        let path = Arc::clone(&self.record(id).path);
        let entry = match self.links_of(id).position {
            None => {
                let gone = self.dir_mut(parent).gone.get_or_insert_default().push(id, Arc::clone(&path));
                self.links_mut(id).position = Some(gone);
                Some(std::mem::replace(self.entry_mut(id), Entry::Gone(Arc::clone(&path))))
            }
            Some(position) => {
                self.paths.remove(self.hash(&path), id);
                self.take_added(parent, position);
                self.entries.remove(id.0).map(|slot| slot.entry)
            }
        };
        let Some(Entry::There(record)) = entry else { panic!("the znode is here, not its tombstone") };
        self.sets.update(id, &path, Traits::of(&record), Traits::default());
        record
    }

    /// A child of `parent`, which has this tombstone, comes back: [`Layer::put`] follows.
    pub(super) fn comes_back(&mut self, id: NodeId, parent: NodeId) {
        let position = self.links_mut(id).position.take().expect("a tombstone has its position");
        let gone = self.dir_mut(parent).gone.as_mut().expect("its parent knows of it");
        if let Some(moved) = gone.swap_remove(position).map(|child| child.id) {
            self.links_mut(moved).position = Some(position);
        }
    }

    /// Changes a record and keeps the sets in step. What it gives back is the change of the tree's digest.
    pub(super) fn change(&mut self, id: NodeId, change: impl FnOnce(&mut Record)) -> DigestChange {
        let Some(Slot { entry: Entry::There(record), .. }) = self.entries.get_mut(id.0) else {
            panic!("the znode is here")
        };
        let (traits, before) = (Traits::of(record), record.digest());
        change(record);
        self.sets.update(id, &record.path, traits, Traits::of(record));
        DigestChange { before, after: record.digest() }
    }

    /// Puts a record here before it is known where its parent is. To be followed by [`Layer::link_loaded`].
    pub(super) fn load(&mut self, record: Record) {
        self.put(record, Below::Has);
    }

    /// Hangs every loaded record under its parent, whose path `parent_of` tells; the root has none. `Err`: one whose parent is not here.
    pub(super) fn link_loaded(&mut self, parent_of: impl Fn(&str) -> Option<&str>) -> Result<(), Arc<str>> {
        let mut ids: Vec<NodeId> = self.paths.ids().collect();
        // In the order of loading, so that the same parts always give the same tree.
        ids.sort_unstable();
        for id in ids {
            let path = Arc::clone(self.entry(id).path());
            let Some(parent_path) = parent_of(&path) else { continue };
            let parent = self.find(parent_path).ok_or_else(|| Arc::clone(&path))?;
            self.links_mut(id).position = Some(self.dir_mut(parent).added.push(id, path));
            let _share_of_stat_is_the_same = self.change(parent, |record| record.child_count += 1);
        }
        Ok(())
    }

    // ---- inside -----------------------------------------------------------------------------------------------------

    fn add(&mut self, entry: Entry, below: Below) -> NodeId {
        let hash = self.hash(entry.path());
        let id = NodeId(self.entries.insert(Slot { entry, links: Links::default() }));
        self.paths.insert(hash, id);
        if let Below::HasNot { parent } = below {
            let path = Arc::clone(self.entry(id).path());
            self.links_mut(id).position = Some(self.dir_mut(parent).added.push(id, path));
        }
        id
    }

    /// Takes a child out of those that its parent adds.
    fn take_added(&mut self, parent: NodeId, position: u32) {
        if let Some(moved) = self.dir_mut(parent).added.swap_remove(position).map(|child| child.id) {
            self.links_mut(moved).position = Some(position);
        }
    }

    fn entry_mut(&mut self, id: NodeId) -> &mut Entry {
        &mut self.slot_mut(id).entry
    }

    fn links_of(&self, id: NodeId) -> &Links {
        &self.slot(id).links
    }

    fn links_mut(&mut self, id: NodeId) -> &mut Links {
        &mut self.slot_mut(id).links
    }

    fn slot(&self, id: NodeId) -> &Slot {
        self.entries.get(id.0).expect("an entry's number is valid while it exists")
    }

    fn slot_mut(&mut self, id: NodeId) -> &mut Slot {
        self.entries.get_mut(id.0).expect("an entry's number is valid while it exists")
    }

    fn dir(&self, id: NodeId) -> Option<&Dir> {
        self.links_of(id).dir.as_deref()
    }

    fn dir_mut(&mut self, id: NodeId) -> &mut Dir {
        self.links_mut(id).dir.get_or_insert_default()
    }

    #[expect(clippy::cast_possible_truncation, reason = "32 bits of the hash are enough for the table")]
    fn hash(&self, path: &str) -> u32 {
        self.hasher.hash_one(path) as u32
    }
}

/// The sets that expiry and closing sessions need.
#[derive(Debug, Default)]
struct Sets {
    ephemerals: AHashMap<SessionId, BTreeSet<Arc<str>>>,
    /// Those without children.
    empty_containers: BTreeSet<NodeId>,
    /// With the time from which each may go.
    ttls: BTreeSet<(i64, NodeId)>,
}

impl Sets {
    fn update(&mut self, id: NodeId, path: &Arc<str>, before: Traits, after: Traits) {
        if before == after {
            return;
        }
        if let Some(session) = before.session
            && let Some(paths) = self.ephemerals.get_mut(&session)
        {
            paths.remove(path);
            if paths.is_empty() {
                self.ephemerals.remove(&session);
            }
        }
        if let Some(session) = after.session {
            self.ephemerals.entry(session).or_default().insert(Arc::clone(path));
        }
        if after.is_empty_container {
            self.empty_containers.insert(id);
        } else if before.is_empty_container {
            self.empty_containers.remove(&id);
        }
        before.expiry_ms.map(|expiry_ms| self.ttls.remove(&(expiry_ms, id)));
        after.expiry_ms.map(|expiry_ms| self.ttls.insert((expiry_ms, id)));
    }
}

/// Which sets a record is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traits {
    pub(super) session: Option<SessionId>,
    pub(super) is_empty_container: bool,
    /// From when on a TTL znode may go, in ms since 1970.
    pub(super) expiry_ms: Option<i64>,
}

impl Traits {
    fn of(record: &Record) -> Traits {
        Traits::new(&record.stat, record.child_count)
    }

    pub(super) fn new(stat: &StatPersisted, child_count: u32) -> Traits {
        let nothing = Traits::default();
        match stat.ephemeral_owner.kind() {
            EphemeralKind::Ephemeral(session) => Traits { session: Some(session), ..nothing },
            EphemeralKind::Container => Traits { is_empty_container: child_count == 0, ..nothing },
            EphemeralKind::Ttl(ttl_ms) if ttl_ms > 0 => {
                Traits { expiry_ms: Some(stat.mtime.saturating_add(ttl_ms)), ..nothing }
            }
            EphemeralKind::Ttl(_) | EphemeralKind::Persistent => nothing,
        }
    }
}

/// What a record added to the tree's digest, and what it adds now.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct DigestChange {
    pub(super) before: u64,
    pub(super) after: u64,
}
