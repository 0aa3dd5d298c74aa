//! A tree out of time: frozen at one zxid for an image or a learner, put on the image when that is there, and loaded from parts.
//!
//! Freezing puts the top layer aside: it copies nothing but the tables of ACLs and sessions. A loader trusts nothing: what does not make a
//! whole tree with the recorded digest is a [`LoadError`].

use super::acl_table::AclTable;
use super::layer::{Entry, Layer, Record, Traits};
use super::{AclId, AclList, RESERVED_PATHS, Tree, unbroken};
use crate::digest::ContentCrc;
use proto::{Acl, SessionId, StatPersisted, Zxid, path};
use snapshot::base::{Base, NodeChange, NodeEntry, Place, Presence, Run};
use std::sync::Arc;

impl Tree {
    /// Everything as it is now, for an image or a learner; later changes do not touch it.
    ///
    /// # Panics
    /// If what was frozen before has not become an image yet ([`Tree::rebase`]).
    pub fn freeze(&mut self) -> FrozenTree {
        assert!(self.frozen.is_none(), "one layer is put aside at a time");
        let layer = Arc::new(std::mem::replace(&mut self.top, Layer::new()));
        self.frozen = Some(Arc::clone(&layer));
        FrozenTree {
            layer,
            base: self.base.clone(),
            acls: self.acls.iter().map(|(id, acl)| (id, Arc::clone(acl))).collect(),
            sessions: self.sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms)).collect(),
            quotas: self.quotas.iter().map(Arc::clone).collect(),
            zxid: self.last_zxid,
            digest: self.digest,
            node_count: self.node_count,
            ephemeral_count: self.ephemeral_count,
            data_bytes: self.data_bytes,
        }
    }

    /// What was frozen has become an image: it takes the place of base and frozen layer. What it replaces is to be dropped where that may
    /// take time.
    ///
    /// # Panics
    /// If nothing was frozen.
    pub fn rebase(&mut self, base: Arc<Base>) -> Replaced {
        let layer = self.frozen.take().expect("what was frozen has become an image");
        Replaced { _layer: layer, _base: self.base.replace(base) }
    }

    /// The base that it stands on.
    #[must_use]
    pub const fn base(&self) -> Option<&Arc<Base>> {
        self.base.as_ref()
    }

    /// Has no txn been applied since its base?
    #[must_use]
    pub fn is_on_image(&self) -> bool {
        self.base.as_ref().is_some_and(|base| base.totals().zxid == self.last_zxid)
    }

    /// The tree of an image, which is read where it lies. Takes time in proportion to its tables of ACLs, sessions and quotas.
    ///
    /// # Errors
    /// [`LoadError`]; [`LoadError::Base`] where a reserved znode cannot be read.
    pub fn on_base(base: Arc<Base>) -> Result<Tree, LoadError> {
        let mut tree = Tree::empty();
        let acls = base.acls().iter().map(|acl| (AclId(acl.id), acl.uses, &*acl.entries));
        tree.acls = AclTable::load(acls).ok_or(LoadError::AclTable)?;
        for path in RESERVED_PATHS {
            let found = base.find(path).map_err(|error| LoadError::Base(error.to_string()))?;
            found.ok_or(LoadError::Missing(path))?;
        }
        let totals = *base.totals();
        let count = |count: u64| usize::try_from(count).map_err(|_| LoadError::TooLarge);
        tree.node_count = count(totals.node_count)?;
        tree.ephemeral_count = count(totals.ephemeral_count)?;
        for owner in base.ephemeral_owners() {
            tree.ephemeral_owners.insert(owner.session, count(owner.count)?);
        }
        tree.quotas.extend(base.quotas().iter().map(|path| Arc::from(&**path)));
        tree.sessions.extend(base.sessions().iter().map(|session| (session.id, session.timeout_ms)));
        (tree.last_zxid, tree.digest, tree.data_bytes) = (totals.zxid, totals.tree_digest, totals.data_bytes);
        tree.base = Some(base);
        Ok(tree)
    }

    /// A loader for a tree from its parts.
    #[must_use]
    pub fn loader() -> TreeLoader {
        TreeLoader { tree: Tree::empty() }
    }

    pub(super) fn load_node(&mut self, path: &str, data: Option<&[u8]>, acl: &[Acl], stat: StatPersisted) {
        let acl = self.acls.acquire(acl);
        let crc = ContentCrc::of(path, data);
        let record = Record { path: path.into(), data: data.map(Into::into), acl, crc, child_count: 0, stat };
        self.count_new(&record);
        self.top.load(record);
    }

    /// Hangs every loaded znode under its parent. `Err`: the path of one that has none.
    fn try_link_loaded(&mut self) -> Result<(), Arc<str>> {
        self.top.link_loaded(|path| path::split(path).map(|(parent, _)| parent))
    }

    pub(super) fn link_loaded(&mut self) {
        self.try_link_loaded().expect("the reserved paths have their parents");
    }
}

/// What an image has taken the place of. Dropping it takes time in proportion to the layer.
#[derive(Debug)]
pub struct Replaced {
    _layer: Arc<Layer>,
    _base: Option<Arc<Base>>,
}

/// A tree as it was at one zxid.
#[derive(Debug)]
pub struct FrozenTree {
    layer: Arc<Layer>,
    base: Option<Arc<Base>>,
    acls: Vec<(AclId, AclList)>,
    sessions: Vec<(SessionId, i32)>,
    quotas: Vec<Arc<str>>,
    /// The newest txn in it.
    pub zxid: Zxid,
    /// Its digest.
    pub digest: u64,
    /// Count of its znodes.
    pub node_count: usize,
    /// Count of its ephemerals.
    pub ephemeral_count: usize,
    /// Bytes of its paths and data.
    pub data_bytes: u64,
}

impl FrozenTree {
    /// What it stands on.
    #[must_use]
    pub const fn base(&self) -> Option<&Arc<Base>> {
        self.base.as_ref()
    }

    /// What changed since its base, each run in the order in which an image takes it. Sorts, and looks into the base for each change: takes
    /// time.
    ///
    /// # Errors
    /// The base is damaged.
    pub fn changes(&self) -> Result<Changes<'_>, snapshot::Error> {
        let mut nodes: Vec<(Place<'_>, NodeChange<'_>)> = self.layer.entries().map(change_of).collect();
        nodes.sort_unstable_by_key(|(place, _)| *place);
        let nodes: Vec<NodeChange<'_>> = nodes.into_iter().map(|(_, change)| change).collect();
        let mut entries = Vec::new();
        for change in &nodes {
            let (path, after) = match change {
                NodeChange::Put(node) => (node.path, Traits::new(&node.stat, node.child_count)),
                NodeChange::Gone(path) => (*path, Traits::default()),
            };
            let before = match &self.base {
                Some(base) => base.find(path)?.map(|node| Traits::new(&node.stat(), node.child_count())),
                None => None,
            };
            let before = before.unwrap_or_default();
            // A znode has one entry at most: it is of one kind.
            if before != after {
                let of = |traits, presence| {
                    entry_of_traits(traits).map(|(run, key)| EntryChange { run, key, path, presence })
                };
                entries.extend(of(before, Presence::Gone));
                entries.extend(of(after, Presence::There));
            }
        }
        entries.sort_unstable_by_key(|entry| (run_order(entry.run), Place::of_entry(entry.key, entry.path)));
        Ok(Changes { nodes, entries })
    }

    /// The znodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeEntry<'_>> {
        let layer = self.layer.entries().filter_map(Entry::there).map(entry_of);
        let base = self.base.iter().flat_map(|base| base.nodes()).map(unbroken);
        layer.chain(base.filter(|node| self.layer.find(node.path()).is_none()).map(|node| NodeEntry {
            path: node.path(),
            data: unbroken(node.data()),
            stat: node.stat(),
            acl_id: node.acl_id(),
            content_crc: node.content_crc(),
            child_count: node.child_count(),
        }))
    }

    /// The ACLs with their numbers, ascending.
    #[must_use]
    pub fn acls(&self) -> &[(AclId, AclList)] {
        &self.acls
    }

    /// The sessions with their timeouts in ms, by id.
    #[must_use]
    pub fn sessions(&self) -> &[(SessionId, i32)] {
        &self.sessions
    }

    /// The paths that have a quota, in no order.
    #[must_use]
    pub fn quotas(&self) -> &[Arc<str>] {
        &self.quotas
    }
}

/// What changed between a base and a frozen tree.
#[derive(Debug)]
pub struct Changes<'f> {
    /// Znodes.
    pub nodes: Vec<NodeChange<'f>>,
    /// Entries of the other runs.
    pub entries: Vec<EntryChange<'f>>,
}

/// A change in a run other than the znodes'.
#[derive(Clone, Copy, Debug)]
pub struct EntryChange<'f> {
    /// Which.
    pub run: Run,
    /// The entry's key.
    pub key: i64,
    /// Its path.
    pub path: &'f str,
    /// Whether it is there now.
    pub presence: Presence,
}

/// The entry that a znode has in a run beside the znodes'.
fn entry_of_traits(traits: Traits) -> Option<(Run, i64)> {
    let ephemeral = traits.session.map(|session| (Run::Ephemerals, session.0));
    let ttl = traits.expiry_ms.map(|expiry_ms| (Run::Ttls, expiry_ms));
    ephemeral.or(ttl).or_else(|| traits.is_empty_container.then_some((Run::Containers, 0)))
}

/// The order in which an image takes the runs.
const fn run_order(run: Run) -> u8 {
    match run {
        Run::Nodes => 0,
        Run::Ephemerals => 1,
        Run::Ttls => 2,
        Run::Containers => 3,
    }
}

fn change_of(entry: &Entry) -> (Place<'_>, NodeChange<'_>) {
    let change = match entry {
        Entry::There(record) => NodeChange::Put(entry_of(record)),
        Entry::Gone(path) => NodeChange::Gone(path),
    };
    (Place::of_node(entry.path()), change)
}

fn entry_of(record: &Record) -> NodeEntry<'_> {
    NodeEntry {
        path: &record.path,
        data: record.data.as_deref(),
        stat: record.stat,
        acl_id: record.acl.0,
        content_crc: record.crc.stored(),
        child_count: record.child_count,
    }
}

/// Builds a tree from what a [`FrozenTree`] held.
#[derive(Debug)]
pub struct TreeLoader {
    tree: Tree,
}

/// Why what was loaded is not a tree.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoadError {
    /// A znode without its parent.
    #[error("the znode {0} has no parent")]
    Orphan(String),
    /// The same path twice.
    #[error("the znode {0} is there twice")]
    Twice(String),
    /// A base whose ACLs are not a table.
    #[error("the ACLs are not a table: a number or an ACL is there twice, or number 0 is not the open one")]
    AclTable,
    /// A base that cannot be read.
    #[error("{0}")]
    Base(String),
    /// More than this machine's addresses count.
    #[error("more znodes than this machine can count")]
    TooLarge,
    /// A znode whose ACL is not there.
    #[error("the znode {0} names an ACL that is not there")]
    NoAcl(String),
    /// A reserved znode is missing.
    #[error("the znode {0} is missing, which every tree has")]
    Missing(&'static str),
    /// The sum over all znodes is not what was recorded.
    #[error("the digest of the znodes is {found:#x}, the recorded one {recorded:#x}")]
    Digest {
        /// Over what was loaded.
        found: u64,
        /// What was recorded.
        recorded: u64,
    },
}

impl TreeLoader {
    /// A znode. In any order.
    ///
    /// # Errors
    /// [`LoadError::Twice`].
    pub fn node(&mut self, path: &str, data: Option<&[u8]>, acl: &[Acl], stat: StatPersisted) -> Result<(), LoadError> {
        if self.tree.get(path).is_some() {
            return Err(LoadError::Twice(path.to_owned()));
        }
        self.tree.load_node(path, data, acl, stat);
        Ok(())
    }

    /// A session with its timeout in ms.
    pub fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.tree.put_session(session, timeout_ms);
    }

    /// The tree, if it is whole and has this digest.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn finish(mut self, zxid: Zxid, recorded_digest: u64) -> Result<Tree, LoadError> {
        for path in RESERVED_PATHS {
            self.tree.get(path).ok_or(LoadError::Missing(path))?;
        }
        self.tree.try_link_loaded().map_err(|path| LoadError::Orphan(path.to_string()))?;
        if self.tree.digest != recorded_digest {
            return Err(LoadError::Digest { found: self.tree.digest, recorded: recorded_digest });
        }
        self.tree.find_quotas();
        self.tree.last_zxid = zxid;
        Ok(self.tree)
    }
}
