//! The tree of znodes with the sessions that own ephemerals: all of a server's replicated state.
//!
//! Owns znodes, their children, ACLs, the sets that expiry and closing sessions need, and the running digest. It is changed only through
//! the methods below, by [`crate::apply`]; it never validates, reads a clock, or fires a watch. A mutation that cannot be done (a missing
//! parent, say) is our own bug and panics: prep has checked it. The model test (`tests/model.rs`) compares every field of it.
//!
//! It is base + delta: the newest image, mapped and read in place ([`snapshot::Base`]), and above it what changed since, in memory: a
//! [`layer::Layer`], and below that, while an image is written, the one that was put aside for it. A look-up asks them from the top.
//! Damage that is found in the base ends the process with its place ([`unbroken`]): there is nothing right to go on with.

mod acl_table;
mod changed;
mod cold;
#[cfg(test)]
mod figures;
mod frozen;
mod image;
mod layer;
mod listing;
mod load;
mod names;
mod node;
mod paths;
mod quotas;
mod slab;

pub use acl_table::{AclId, AclList};
pub use cold::Cold;
pub use frozen::{Changes, EntryChange, FrozenTree, Replaced};
pub use image::{
    ImageFailure, ImageOrder, bring_into_force, put_on_image, put_on_image_on, write_image, write_image_on,
};
pub use listing::{LISTING_LONG, Listing};
pub use load::{LoadError, TreeLoader};
pub use node::{ChildName, Children, Node};

use crate::digest::{self, ContentCrc};
use acl_table::AclTable;
use ahash::{AHashMap, RandomState};
use changed::Changed;
use layer::{Below, DigestChange, Entry, Layer, NodeId, Record};
use proto::stat::{EphemeralKind, EphemeralOwner};
use proto::{Acl, ConfigVersion, SessionId, Stat, StatPersisted, Zxid, path};
use snapshot::base::Base;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

/// The znodes that exist from the start and cannot be deleted.
pub const RESERVED_PATHS: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", CONFIG];
/// Shows who is in the ensemble.
const CONFIG: &str = "/zookeeper/config";

/// The path that a read means: an empty one is the root's, as in Java.
pub(crate) const fn read_path(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// See the module.
#[derive(Debug)]
pub struct Tree {
    /// What changed since the layer below was put aside, or since the base.
    top: Layer,
    /// What an image is being written of, above the base.
    frozen: Option<Arc<Layer>>,
    base: Option<Arc<Base>>,
    acls: AclTable,
    node_count: usize,
    ephemeral_count: usize,
    /// Sessions that have ephemerals, with their count.
    ephemeral_owners: AHashMap<SessionId, usize>,
    /// The paths whose subtrees have a quota.
    quotas: HashSet<Arc<str>, RandomState>,
    /// Which of them came and went since the top layer began.
    quotas_changed: Changed<Arc<str>, ()>,
    subtrees_counted: u64,
    sessions: BTreeMap<SessionId, i32>,
    /// What changed among them since the top layer began.
    sessions_changed: Changed<SessionId, i32>,
    last_zxid: Zxid,
    digest: u64,
    data_bytes: u64,
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
            let acl = if path == CONFIG { Acl::world_read() } else { Acl::open() };
            // The stat of the four is all zeros; ZooKeeper sets the ACL of config with aversion -1.
            let aversion = if path == CONFIG { -1 } else { 0 };
            let stat = StatPersisted { aversion, ..StatPersisted::default() };
            tree.load_node(path, Some(&[]), &[acl], stat);
        }
        tree.link_loaded();
        tree
    }

    fn empty() -> Tree {
        Tree {
            top: Layer::new(),
            frozen: None,
            base: None,
            acls: AclTable::new(),
            node_count: 0,
            ephemeral_count: 0,
            ephemeral_owners: AHashMap::new(),
            quotas: HashSet::default(),
            quotas_changed: Changed::new(),
            subtrees_counted: 0,
            sessions: BTreeMap::new(),
            sessions_changed: Changed::new(),
            last_zxid: Zxid::ZERO,
            digest: 0,
            data_bytes: 0,
        }
    }

    /// The znode at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Node<'_>> {
        match self.top.look(path) {
            Some(Entry::There(record)) => Some(Node::of_layer(self, record)),
            Some(Entry::Gone(_)) => None,
            None => self.get_below(path),
        }
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
        self.node_count
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

    /// Up to `count_max` sessions with their timeouts in ms, by id, behind `after`.
    #[must_use]
    pub fn sessions_after(&self, after: Option<SessionId>, count_max: usize) -> Vec<(SessionId, i32)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let sessions = self.sessions.range((from, Bound::Unbounded)).take(count_max);
        sessions.map(|(id, timeout_ms)| (*id, *timeout_ms)).collect()
    }

    /// A session's timeout in ms.
    #[must_use]
    pub fn session_timeout_ms(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).copied()
    }

    /// The paths of a session's ephemerals, in no order.
    pub fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = Cow<'_, str>> + '_ {
        self.ephemerals_behind(session, None)
    }

    /// Sessions that own ephemerals and are not open: there are none but in what was imported.
    pub(crate) fn lost_owners(&self) -> Vec<SessionId> {
        self.ephemeral_owners.keys().filter(|session| !self.sessions.contains_key(session)).copied().collect()
    }

    /// Count of sessions that own ephemerals.
    #[must_use]
    pub fn ephemeral_owner_count(&self) -> usize {
        self.ephemeral_owners.len()
    }

    /// The first `count_max` of a session's ephemerals behind the path `after`, in the order of paths: a session may own so many that nobody
    /// should hold the tree while he looks at all of them. Fewer than `count_max` are the last.
    #[must_use]
    pub fn ephemerals_after(&self, session: SessionId, after: Option<&str>, count_max: usize) -> Vec<Arc<str>> {
        // Each source is in order: of none more than `count_max` can be among the first.
        let layers = self.layers().flat_map(|(depth, layer)| {
            let paths = layer.ephemerals_after(session, after).map(|path| Cow::Borrowed(&**path));
            paths.filter(move |path| !self.is_covered(path, depth)).take(count_max)
        });
        let base = self.base_ephemerals(session, after).take(count_max);
        let mut paths: Vec<Cow<'_, str>> = layers.chain(base).collect();
        paths.sort_unstable();
        paths.truncate(count_max);
        paths.into_iter().map(Arc::from).collect()
    }

    /// The containers without children, in no order.
    pub fn empty_containers(&self) -> impl Iterator<Item = Node<'_>> + '_ {
        let layers = self.layers().flat_map(move |(depth, layer)| {
            let records = layer.empty_containers().filter(move |record| !self.is_covered(&record.path, depth));
            records.map(|record| Node::of_layer(self, record))
        });
        let base = self.base.iter().flat_map(|base| base.containers()).map(unbroken).map(|(_, path)| path);
        layers.chain(self.still_of_base(base))
    }

    /// The TTL znodes that are older than their time to live at `now_ms`, with children or without, in no order.
    pub fn ttls_due(&self, now_ms: i64) -> impl Iterator<Item = Node<'_>> + '_ {
        let layers = self.layers().flat_map(move |(depth, layer)| {
            let records = layer.ttls_due(now_ms).filter(move |record| !self.is_covered(&record.path, depth));
            records.map(|record| Node::of_layer(self, record))
        });
        let base = self.base.iter().flat_map(|base| base.ttls()).map(unbroken);
        let due = base.take_while(move |(expiry_ms, _)| *expiry_ms < now_ms).map(|(_, path)| path);
        layers.chain(self.still_of_base(due))
    }

    /// Count of all znodes below `path`, which exists.
    #[must_use]
    pub fn descendant_count(&self, path: &str) -> usize {
        if path == "/" {
            return self.node_count() - 1;
        }
        self.subtree(path).count().saturating_sub(1)
    }

    /// The znode at `path` and all below it, parents before children.
    pub fn subtree(&self, path: &str) -> impl Iterator<Item = Node<'_>> + '_ {
        let mut stack: Vec<Node<'_>> = self.get(path).into_iter().collect();
        std::iter::from_fn(move || {
            let node = stack.pop()?;
            if node.child_count() > 0 {
                stack.extend(node.child_nodes());
            }
            Some(node)
        })
    }

    // ---- changes: only crate::apply calls these --------------------------------------------------------------------

    /// Puts a znode into the tree and changes its parent's stat. `parent_cversion` is the parent's stored cversion after it.
    pub(crate) fn create(&mut self, new: &NewNode<'_>, parent_cversion: i32, zxid: Zxid, time_ms: i64) {
        let (parent_path, _) = path::split(new.path).expect("prep refuses to create the root");
        let parent = self.bring_up(parent_path);
        assert!(self.get(new.path).is_none(), "prep has found that {} does not exist", new.path);
        self.change(parent, |record| {
            record.child_count += 1;
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
            child_count: 0,
            stat: StatPersisted::created(zxid, time_ms, new.owner),
        };
        self.put_new(record, parent);
    }

    /// Takes a znode without children out of the tree and changes its parent's stat.
    pub(crate) fn delete(&mut self, path: &str, zxid: Zxid) -> Deleted {
        let (parent_path, _) = path::split(path).expect("prep refuses to delete the root");
        let parent = self.bring_up(parent_path);
        self.change(parent, |record| {
            record.child_count -= 1;
            // A session's end deletes many of one parent: after the first of them its stat does not change.
            record.stat.pzxid = record.stat.pzxid.max(zxid);
        });
        let id = self.bring_up(path);
        assert_eq!(self.top.record(id).child_count, 0, "prep has found {path} without children");
        let record = self.top.remove(id, parent);
        self.digest = self.digest.wrapping_sub(record.digest());
        self.data_bytes -= (record.path.len() + record.data_len()) as u64;
        self.node_count -= 1;
        if let EphemeralKind::Ephemeral(session) = record.stat.ephemeral_owner.kind() {
            self.ephemeral_count -= 1;
            let count = self.ephemeral_owners.get_mut(&session).expect("who has ephemerals is counted");
            *count -= 1;
            if *count == 0 {
                self.ephemeral_owners.remove(&session);
            }
        }
        let acl = Arc::clone(self.acls.get(record.acl));
        self.acls.release(record.acl);
        Deleted { data_bytes: record.data_len(), path: record.path, acl }
    }

    /// A child of `parent` that is not here was deleted: for [`crate::tolerant`] alone.
    pub(crate) fn child_went(&mut self, parent: &str, zxid: Zxid) {
        if self.get(parent).is_some_and(|node| node.persisted().pzxid < zxid) {
            let id = self.bring_up(parent);
            self.change(id, |record| record.stat.pzxid = zxid);
        }
    }

    /// Replaces a znode's data.
    pub(crate) fn set_data(&mut self, path: &str, data: Option<&[u8]>, version: i32, zxid: Zxid, time_ms: i64) -> Stat {
        let id = self.bring_up(path);
        self.replace_data(id, data, |record| {
            record.crc = ContentCrc::of(path, data);
            record.stat.mtime = time_ms;
            record.stat.mzxid = zxid;
            record.stat.version = version;
        });
        Node::of_layer(self, self.top.record(id)).stat()
    }

    /// Replaces a znode's ACL.
    pub(crate) fn set_acl(&mut self, path: &str, acl: &[Acl], aversion: i32) -> Stat {
        let id = self.bring_up(path);
        let new = self.acls.acquire(acl);
        let old = self.top.record(id).acl;
        self.change(id, |record| {
            record.acl = new;
            record.stat.aversion = aversion;
        });
        self.acls.release(old);
        Node::of_layer(self, self.top.record(id)).stat()
    }

    /// A session begins, or its timeout changes.
    pub(crate) fn put_session(&mut self, session: SessionId, timeout_ms: i32) {
        let was_there = self.sessions.insert(session, timeout_ms).is_some();
        self.sessions_changed.put(session, timeout_ms, was_there);
    }

    /// A session ends. Its ephemerals are deleted by the caller.
    pub(crate) fn remove_session(&mut self, session: SessionId) {
        if self.sessions.remove(&session).is_some() {
            self.sessions_changed.remove(session);
        }
    }

    /// The txn `zxid` is in the tree now.
    pub(crate) fn set_last_zxid(&mut self, zxid: Zxid) {
        assert!(zxid > self.last_zxid, "txns are applied in the order of their zxids: {zxid} after {}", self.last_zxid);
        self.last_zxid = zxid;
    }

    /// Data of `/zookeeper/config` and of quota statistics: the only writes outside txns (law 3), outside the digest.
    pub fn set_local_data(&mut self, path: &str, data: &[u8]) {
        assert!(!digest::counts(path), "{path} is replicated state");
        if self.get(path).is_some() {
            let id = self.bring_up(path);
            self.replace_data(id, Some(data), |_| {});
        }
    }

    /// What `/zookeeper/config` shows of the ensemble: its text, and its version in the place of the txn that set it. The version of the data is -1, as
    /// ZooKeeper gives it, and the time is this server's own. For the start of a member, and whenever its ensemble becomes another one: the znode is outside txns and
    /// digest (law 3), and a server that stands alone leaves it as it is.
    pub fn show_ensemble(&mut self, text: &str, version: ConfigVersion, now_ms: i64) {
        if self.get(CONFIG).is_none() {
            return;
        }
        let id = self.bring_up(CONFIG);
        self.replace_data(id, Some(text.as_bytes()), |record| {
            record.stat.version = -1;
            record.stat.mzxid = Zxid(version.0.cast_unsigned());
            record.stat.mtime = now_ms;
        });
    }

    // ---- inside -----------------------------------------------------------------------------------------------------

    /// The znode at `path`, as it was before the top layer.
    fn get_below(&self, path: &str) -> Option<Node<'_>> {
        match self.frozen.as_ref().and_then(|frozen| frozen.look(path)) {
            Some(Entry::There(record)) => Some(Node::of_layer(self, record)),
            Some(Entry::Gone(_)) => None,
            None => self.get_base(path),
        }
    }

    /// The znode at `path`, as it is in the base.
    fn get_base(&self, path: &str) -> Option<Node<'_>> {
        let base = self.base.as_ref()?;
        unbroken(base.find(path)).map(|node| Node::of_base(self, node))
    }

    /// A znode that is there and was found in the lowest place that has it.
    fn as_it_is_now<'t>(&'t self, found: Node<'t>) -> Node<'t> {
        match self.layers().find_map(|(_, layer)| layer.look(found.path())) {
            Some(Entry::There(record)) => Node::of_layer(self, record),
            Some(Entry::Gone(path)) => panic!("{path} is gone and is listed"),
            None => found,
        }
    }

    /// The layers in memory from the top, each with its depth.
    fn layers(&self) -> impl Iterator<Item = (usize, &Layer)> {
        [&self.top].into_iter().chain(self.frozen.as_deref()).enumerate()
    }

    /// Does a layer above this depth say something else of the path?
    fn is_covered(&self, path: &str, depth: usize) -> bool {
        self.layers().take(depth).any(|(_, layer)| layer.find(path).is_some())
    }

    fn ephemerals_behind<'t>(
        &'t self,
        session: SessionId,
        after: Option<&'t str>,
    ) -> impl Iterator<Item = Cow<'t, str>> {
        let layers = self.layers().flat_map(move |(depth, layer)| {
            let paths = layer.ephemerals_after(session, after).map(|path| Cow::Borrowed(&**path));
            paths.filter(move |path| !self.is_covered(path, depth))
        });
        layers.chain(self.base_ephemerals(session, after))
    }

    /// Those of a session's ephemerals that are as they were in the base.
    fn base_ephemerals<'t>(&'t self, session: SessionId, after: Option<&'t str>) -> impl Iterator<Item = Cow<'t, str>> {
        // Damage goes on to be found.
        let is_behind = move |path: &Result<Box<str>, _>| {
            !path.as_ref().is_ok_and(|path| after.is_some_and(|after| **path <= *after))
        };
        let first = after.unwrap_or_default();
        let base = self.base.iter().flat_map(move |base| base.ephemerals_from(session, first)).filter(is_behind);
        base.map(unbroken).filter(|path| !self.is_covered(path, usize::MAX)).map(|path| Cow::Owned(path.into()))
    }

    /// Those of the base's znodes that no layer covers.
    fn still_of_base<'t>(&'t self, paths: impl Iterator<Item = Box<str>>) -> impl Iterator<Item = Node<'t>> {
        paths.filter(|path| !self.is_covered(path, usize::MAX)).filter_map(|path| self.get_base(&path))
    }

    /// The number of the znode in the top layer, where it is put if it is not there yet.
    fn bring_up(&mut self, path: &str) -> NodeId {
        if let Some(id) = self.top.find(path) {
            return id;
        }
        let node = self.get_below(path).unwrap_or_else(|| panic!("prep has found {path}"));
        let record = node.to_record();
        self.top.put(record, Below::Has)
    }

    /// Changes a record and keeps the digest in step.
    fn change(&mut self, id: NodeId, change: impl FnOnce(&mut Record)) {
        let DigestChange { before, after } = self.top.change(id, change);
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
    }

    fn replace_data(&mut self, id: NodeId, data: Option<&[u8]>, change: impl FnOnce(&mut Record)) {
        let before = self.top.record(id).data_len();
        self.data_bytes = self.data_bytes + data.map_or(0, <[u8]>::len) as u64 - before as u64;
        self.change(id, |record| {
            record.data = data.map(Into::into);
            change(record);
        });
    }

    /// Puts a znode under its parent, whose record counts it already.
    fn put_new(&mut self, record: Record, parent: NodeId) {
        self.count_new(&record);
        // A path that is gone here lies below: its parent has one tombstone less.
        let gone = self.top.find(&record.path);
        if let Some(gone) = gone {
            self.top.comes_back(gone, parent);
        }
        self.top.put(record, if gone.is_some() { Below::Has } else { Below::HasNot { parent } });
    }

    fn count_new(&mut self, record: &Record) {
        self.digest = self.digest.wrapping_add(record.digest());
        self.data_bytes += (record.path.len() + record.data_len()) as u64;
        self.node_count += 1;
        if let EphemeralKind::Ephemeral(session) = record.stat.ephemeral_owner.kind() {
            self.ephemeral_count += 1;
            *self.ephemeral_owners.entry(session).or_default() += 1;
        }
    }
}

/// How the panic begins that ends the process where the base cannot be served; what is damaged, and where, follows. By it the process can
/// tell a bad disk from a bug.
pub const UNSERVABLE: &str = "the base image cannot be served";

/// What was read from the base. Damage ends the process here, with its place.
fn unbroken<T>(read: Result<T, snapshot::Error>) -> T {
    read.unwrap_or_else(|error| panic!("{UNSERVABLE}: {error}"))
}

impl Default for Tree {
    fn default() -> Tree {
        Tree::new()
    }
}
