//! The tree of znodes with the sessions that own ephemerals: all of a server's replicated state.
//!
//! Owns znodes, their children, ACLs, the sets that expiry and closing sessions need, and the running digest. It is changed only through
//! the methods below, by [`crate::apply`]; it never validates, reads a clock, or fires a watch. A mutation that cannot be done (a missing
//! parent, say) is our own bug and panics: prep has checked it. The API is the one that base + delta will have: look up, read,
//! iterate children, mutate, freeze. The model test (`tests/model.rs`) compares every field of it.

mod acl_table;
mod frozen;
mod quotas;
mod slab;

pub use acl_table::{AclId, AclList};
pub use frozen::{FrozenNode, FrozenTree, LoadError, TreeLoader};

use crate::digest::{self, ContentCrc};
use acl_table::AclTable;
use ahash::{AHashMap, RandomState};
use hashbrown::HashTable;
use proto::stat::{EphemeralKind, EphemeralOwner};
use proto::{Acl, SessionId, Stat, StatPersisted, Zxid, path};
use slab::CowSlab;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

/// The znodes that exist from the start and cannot be deleted.
pub const RESERVED_PATHS: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

/// A znode's number within this tree, for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct NodeId(u32);

/// Where a walk over a session's ephemerals goes on.
#[derive(Clone, Copy, Debug)]
pub struct EphemeralCursor(NodeId);

/// What is stored of a znode: what images hold.
#[derive(Clone, Debug)]
struct Record {
    path: Arc<str>,
    data: Option<Arc<[u8]>>,
    acl: AclId,
    crc: ContentCrc,
    stat: StatPersisted,
}

/// Where a znode hangs: rebuilt when a tree is loaded, so not in images.
#[derive(Debug)]
struct Links {
    parent: NodeId,
    /// Position among the parent's children.
    position: u32,
    children: Vec<NodeId>,
}

/// A path's hash and its znode.
#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    hash: u32,
    id: NodeId,
}

/// See the module.
#[derive(Debug)]
pub struct Tree {
    nodes: CowSlab<Record>,
    links: Vec<Links>,
    index: HashTable<IndexEntry>,
    hasher: RandomState,
    acls: AclTable,
    ephemerals: AHashMap<SessionId, BTreeSet<NodeId>>,
    ephemeral_count: usize,
    containers: BTreeSet<NodeId>,
    ttls: BTreeSet<NodeId>,
    /// The paths whose subtrees have a quota.
    quotas: HashSet<Arc<str>, RandomState>,
    subtrees_counted: u64,
    sessions: BTreeMap<SessionId, i32>,
    last_zxid: Zxid,
    digest: u64,
    data_bytes: u64,
}

/// A znode, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Node<'t> {
    tree: &'t Tree,
    record: &'t Record,
    id: NodeId,
}

impl<'t> Node<'t> {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &'t Arc<str> {
        &self.record.path
    }

    /// Its data; null stays null.
    #[must_use]
    pub fn data(&self) -> Option<&'t [u8]> {
        self.record.data.as_deref()
    }

    /// What clients see of it.
    #[must_use]
    pub fn stat(&self) -> Stat {
        self.record.stat.to_stat(self.data().map_or(0, <[u8]>::len), self.child_count())
    }

    /// What is stored of it.
    #[must_use]
    pub fn persisted(&self) -> &'t StatPersisted {
        &self.record.stat
    }

    /// Its ACL.
    #[must_use]
    pub fn acl(&self) -> &'t AclList {
        self.tree.acls.get(self.record.acl)
    }

    /// The number of its ACL: [`AclId::OPEN`] needs no look.
    #[must_use]
    pub fn acl_id(&self) -> AclId {
        self.record.acl
    }

    /// CRC of its path and data.
    #[must_use]
    pub fn content_crc(&self) -> ContentCrc {
        self.record.crc
    }

    /// Count of its children.
    #[must_use]
    pub fn child_count(&self) -> usize {
        self.tree.links_of(self.id).children.len()
    }

    /// The names of its children, in no order.
    pub fn children(&self) -> impl ExactSizeIterator<Item = &'t str> + use<'t> {
        let tree = self.tree;
        let prefix = if &*self.record.path == "/" { 1 } else { self.record.path.len() + 1 };
        let children = &self.tree.links_of(self.id).children;
        children.iter().map(move |id| tree.record(*id).path.get(prefix..).unwrap_or_default())
    }
}

/// What a create puts into the tree.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// The full path.
    pub path: &'a str,
    /// The data.
    pub data: Option<&'a [u8]>,
    /// The ACL, with `auth` expanded.
    pub acl: &'a [Acl],
    /// Kind and owner.
    pub owner: EphemeralOwner,
}

/// What a delete took out: what delivery of its events needs.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// The path.
    pub path: Arc<str>,
    /// The znode's own ACL.
    pub acl: AclList,
    /// Bytes of its data.
    pub data_bytes: usize,
}

impl Tree {
    /// The tree of a new server: the reserved znodes and nothing else.
    #[must_use]
    pub fn new() -> Tree {
        let mut tree = Tree::empty();
        for path in RESERVED_PATHS {
            let acl = if path == "/zookeeper/config" { Acl::world_read() } else { Acl::open() };
            // The stat of the four is all zeros; ZooKeeper sets the ACL of config with aversion -1.
            let aversion = if path == "/zookeeper/config" { -1 } else { 0 };
            let stat = StatPersisted { aversion, ..StatPersisted::default() };
            tree.load_node(path, Some(&[]), &[acl], stat);
        }
        tree.link_loaded();
        tree
    }

    fn empty() -> Tree {
        Tree {
            nodes: CowSlab::new(),
            links: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
            acls: AclTable::new(),
            ephemerals: AHashMap::new(),
            ephemeral_count: 0,
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            quotas: HashSet::default(),
            subtrees_counted: 0,
            sessions: BTreeMap::new(),
            last_zxid: Zxid::ZERO,
            digest: 0,
            data_bytes: 0,
        }
    }

    /// The znode at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Node<'_>> {
        let id = self.find(path)?;
        Some(Node { tree: self, record: self.record(id), id })
    }

    /// The zxid of the newest txn in it.
    #[must_use]
    pub const fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// The digest of all znodes outside `/zookeeper/`.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// Count of znodes, the root and the reserved ones included.
    #[must_use]
    pub const fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of all paths and data.
    #[must_use]
    pub const fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Count of ephemerals.
    #[must_use]
    pub const fn ephemeral_count(&self) -> usize {
        self.ephemeral_count
    }

    /// Every session with its timeout in ms, by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (SessionId, i32)> + '_ {
        self.sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms))
    }

    /// A session's timeout in ms.
    #[must_use]
    pub fn session_timeout_ms(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).copied()
    }

    /// The paths of a session's ephemerals.
    pub fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = &Arc<str>> + '_ {
        self.ephemerals.get(&session).into_iter().flatten().map(|id| &self.record(*id).path)
    }

    /// Sessions that own ephemerals and are not open: there are none but in what was imported.
    pub(crate) fn lost_owners(&self) -> Vec<SessionId> {
        self.ephemerals.keys().filter(|session| !self.sessions.contains_key(session)).copied().collect()
    }

    /// Count of sessions that own ephemerals.
    #[must_use]
    pub fn ephemeral_owner_count(&self) -> usize {
        self.ephemerals.len()
    }

    /// At most `count_max` of a session's ephemerals, behind `after`, and where to go on if there may be more: a session may own so many that
    /// nobody should hold the tree while he looks at all of them.
    #[must_use]
    pub fn ephemerals_after(
        &self,
        session: SessionId,
        after: Option<EphemeralCursor>,
        count_max: usize,
    ) -> (Vec<Arc<str>>, Option<EphemeralCursor>) {
        let behind = after.map_or(Bound::Unbounded, |EphemeralCursor(id)| Bound::Excluded(id));
        let ids = self.ephemerals.get(&session).into_iter().flat_map(|ids| ids.range((behind, Bound::Unbounded)));
        let ids: Vec<NodeId> = ids.take(count_max).copied().collect();
        let next = ids.last().filter(|_| ids.len() == count_max).map(|id| EphemeralCursor(*id));
        (ids.into_iter().map(|id| Arc::clone(&self.record(id).path)).collect(), next)
    }

    /// The containers, in no order.
    pub fn containers(&self) -> impl Iterator<Item = Node<'_>> + '_ {
        self.containers.iter().map(|id| self.node(*id))
    }

    /// The TTL znodes, in no order.
    pub fn ttl_nodes(&self) -> impl Iterator<Item = Node<'_>> + '_ {
        self.ttls.iter().map(|id| self.node(*id))
    }

    /// Count of all znodes below `path`, which exists.
    #[must_use]
    pub fn descendant_count(&self, path: &str) -> usize {
        if path == "/" {
            return self.node_count() - 1;
        }
        let Some(id) = self.find(path) else { return 0 };
        let mut stack = vec![id];
        let mut count = 0;
        while let Some(id) = stack.pop() {
            let children = &self.links_of(id).children;
            count += children.len();
            stack.extend_from_slice(children);
        }
        count
    }

    // ---- changes: only crate::apply calls these --------------------------------------------------------------------

    /// Puts a znode into the tree and changes its parent's stat. `parent_cversion` is the parent's stored cversion after it.
    pub(crate) fn create(&mut self, new: &NewNode<'_>, parent_cversion: i32, zxid: Zxid, time_ms: i64) {
        let (parent_path, _) = path::split(new.path).expect("prep refuses to create the root");
        let parent = self.find(parent_path).expect("prep has found the parent");
        assert!(self.find(new.path).is_none(), "prep has found that {} does not exist", new.path);
        self.change(parent, |record| {
            // ZooKeeper's rule for replays, which also decides what happens when the counter runs over.
            if parent_cversion > record.stat.cversion {
                record.stat.cversion = parent_cversion;
                record.stat.pzxid = zxid;
            }
        });
        let acl = self.acls.acquire(new.acl);
        let record = Record {
            path: new.path.into(),
            data: new.data.map(Into::into),
            acl,
            crc: ContentCrc::of(new.path, new.data),
            stat: StatPersisted::created(zxid, time_ms, new.owner),
        };
        let id = self.insert(record);
        self.link(id, parent);
    }

    /// Takes a znode without children out of the tree and changes its parent's stat.
    pub(crate) fn delete(&mut self, path: &str, zxid: Zxid) -> Deleted {
        let id = self.find(path).expect("prep has found the znode");
        assert!(self.links_of(id).children.is_empty(), "prep has found {path} without children");
        let parent = self.links_of(id).parent;
        // A session's end deletes many of one parent: after the first of them nothing of it changes.
        if self.record(parent).stat.pzxid < zxid {
            self.change(parent, |record| record.stat.pzxid = zxid);
        }
        self.unlink(id);
        self.remove(id)
    }

    /// A child of `parent` that is not here was deleted: for [`crate::tolerant`] alone.
    pub(crate) fn child_went(&mut self, parent: &str, zxid: Zxid) {
        let Some(id) = self.find(parent) else { return };
        if self.record(id).stat.pzxid < zxid {
            self.change(id, |record| record.stat.pzxid = zxid);
        }
    }

    /// Replaces a znode's data.
    pub(crate) fn set_data(&mut self, path: &str, data: Option<&[u8]>, version: i32, zxid: Zxid, time_ms: i64) -> Stat {
        let id = self.find(path).expect("prep has found the znode");
        let before = self.record(id).data.as_ref().map_or(0, |data| data.len());
        self.data_bytes = self.data_bytes + data.map_or(0, <[u8]>::len) as u64 - before as u64;
        self.change(id, |record| {
            record.crc = ContentCrc::of(path, data);
            record.data = data.map(Into::into);
            record.stat.mtime = time_ms;
            record.stat.mzxid = zxid;
            record.stat.version = version;
        });
        self.node(id).stat()
    }

    /// Replaces a znode's ACL.
    pub(crate) fn set_acl(&mut self, path: &str, acl: &[Acl], aversion: i32) -> Stat {
        let id = self.find(path).expect("prep has found the znode");
        let new = self.acls.acquire(acl);
        let old = self.record(id).acl;
        self.change(id, |record| {
            record.acl = new;
            record.stat.aversion = aversion;
        });
        self.acls.release(old);
        self.node(id).stat()
    }

    /// A session begins, or its timeout changes.
    pub(crate) fn put_session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.insert(session, timeout_ms);
    }

    /// A session ends. Its ephemerals are deleted by the caller.
    pub(crate) fn remove_session(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// The txn `zxid` is in the tree now.
    pub(crate) fn set_last_zxid(&mut self, zxid: Zxid) {
        assert!(zxid > self.last_zxid, "txns are applied in the order of their zxids: {zxid} after {}", self.last_zxid);
        self.last_zxid = zxid;
    }

    /// Data of `/zookeeper/config` and of quota statistics: the only writes outside txns (law 3), outside the digest.
    pub fn set_local_data(&mut self, path: &str, data: &[u8]) {
        assert!(!digest::counts(path), "{path} is replicated state");
        if let Some(id) = self.find(path) {
            let before = self.record(id).data.as_ref().map_or(0, |data| data.len());
            self.data_bytes = self.data_bytes + data.len() as u64 - before as u64;
            self.change(id, |record| record.data = Some(data.into()));
        }
    }

    // ---- inside -----------------------------------------------------------------------------------------------------

    #[expect(clippy::cast_possible_truncation, reason = "32 bits of the hash are enough for the index")]
    fn hash(&self, path: &str) -> u32 {
        self.hasher.hash_one(path) as u32
    }

    fn find(&self, path: &str) -> Option<NodeId> {
        let hash = self.hash(path);
        let found = self.index.find(spread(hash), |entry| entry.hash == hash && &*self.record(entry.id).path == path);
        found.map(|entry| entry.id)
    }

    fn record(&self, id: NodeId) -> &Record {
        self.nodes.get(id.0).expect("a node id in the tree has a record")
    }

    fn node(&self, id: NodeId) -> Node<'_> {
        Node { tree: self, record: self.record(id), id }
    }

    fn links_of(&self, id: NodeId) -> &Links {
        self.links.get(id.0 as usize).expect("a node id in the tree has links")
    }

    fn links_mut(&mut self, id: NodeId) -> &mut Links {
        self.links.get_mut(id.0 as usize).expect("a node id in the tree has links")
    }

    /// Changes a record and keeps the digest in step.
    fn change(&mut self, id: NodeId, change: impl FnOnce(&mut Record)) {
        let record = self.nodes.get_mut(id.0).expect("a node id in the tree has a record");
        let counts = digest::counts(&record.path);
        let before = if counts { record.crc.digest(&record.stat) } else { 0 };
        change(record);
        let after = if counts { record.crc.digest(&record.stat) } else { 0 };
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
    }

    fn insert(&mut self, record: Record) -> NodeId {
        let hash = self.hash(&record.path);
        if digest::counts(&record.path) {
            self.digest = self.digest.wrapping_add(record.crc.digest(&record.stat));
        }
        self.data_bytes += (record.path.len() + record.data.as_ref().map_or(0, |data| data.len())) as u64;
        let kind = record.stat.ephemeral_owner.kind();
        let id = NodeId(self.nodes.insert(record));
        self.index.insert_unique(spread(hash), IndexEntry { hash, id }, |entry| spread(entry.hash));
        let links = Links { parent: id, position: 0, children: Vec::new() };
        match self.links.get_mut(id.0 as usize) {
            Some(slot) => *slot = links,
            None => self.links.push(links),
        }
        match kind {
            EphemeralKind::Persistent => {}
            EphemeralKind::Container => drop(self.containers.insert(id)),
            EphemeralKind::Ttl(_) => drop(self.ttls.insert(id)),
            EphemeralKind::Ephemeral(session) => {
                self.ephemerals.entry(session).or_default().insert(id);
                self.ephemeral_count += 1;
            }
        }
        id
    }

    fn remove(&mut self, id: NodeId) -> Deleted {
        let record = self.nodes.remove(id.0).expect("a node id in the tree has a record");
        let hash = self.hash(&record.path);
        let entry = self.index.find_entry(spread(hash), |entry| entry.id == id).expect("every znode is indexed");
        entry.remove();
        if digest::counts(&record.path) {
            self.digest = self.digest.wrapping_sub(record.crc.digest(&record.stat));
        }
        let data_bytes = record.data.as_ref().map_or(0, |data| data.len());
        self.data_bytes -= (record.path.len() + data_bytes) as u64;
        match record.stat.ephemeral_owner.kind() {
            EphemeralKind::Persistent => {}
            EphemeralKind::Container => drop(self.containers.remove(&id)),
            EphemeralKind::Ttl(_) => drop(self.ttls.remove(&id)),
            EphemeralKind::Ephemeral(session) => {
                self.ephemeral_count -= 1;
                if let Some(set) = self.ephemerals.get_mut(&session) {
                    set.remove(&id);
                    if set.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
        }
        let acl = Arc::clone(self.acls.get(record.acl));
        self.acls.release(record.acl);
        Deleted { path: record.path, acl, data_bytes }
    }

    fn link(&mut self, id: NodeId, parent: NodeId) {
        let children = &mut self.links_mut(parent).children;
        let position = u32::try_from(children.len()).expect("fewer than 2^32 children");
        children.push(id);
        let links = self.links_mut(id);
        links.parent = parent;
        links.position = position;
    }

    /// Takes a znode out of its parent's children; the last one takes its place.
    fn unlink(&mut self, id: NodeId) {
        let Links { parent, position, .. } = *self.links_of(id);
        let children = &mut self.links_mut(parent).children;
        children.swap_remove(position as usize);
        if let Some(moved) = children.get(position as usize).copied() {
            self.links_mut(moved).position = position;
        }
        // A directory that was large once does not hold its memory for ever.
        let children = &mut self.links_mut(parent).children;
        if children.capacity() > 64 && children.len() < children.capacity() / 4 {
            children.shrink_to(children.len() * 2);
        }
    }
}

impl Default for Tree {
    fn default() -> Tree {
        Tree::new()
    }
}

/// The table takes its buckets from the low bits and its tags from the high ones: the 32 bits serve as both.
const fn spread(hash: u32) -> u64 {
    ((hash as u64) << 32) | hash as u64
}
