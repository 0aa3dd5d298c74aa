//! A tree out of time: frozen at one zxid for an image or a learner, and put on the image when that is there.
//!
//! Freezing puts the top layer aside, and what changed in the tables of ACLs, sessions and quotas: it copies nothing, and takes no longer with more of
//! any of them. What changed between base and frozen layer is told in the order in which an image takes it. `tests/freeze.rs` counts what freezing
//! and rebasing allocate.

use super::changed::Changed;
use super::layer::{Entry, Layer, Record, Traits};
use super::{AclId, AclList, Tree, unbroken};
use proto::{SessionId, Zxid};
use snapshot::base::{Base, NodeChange, NodeEntry, Place, Presence, Run};
use std::sync::{Arc, OnceLock};

impl Tree {
    /// Everything as it is now, for an image or a learner; later changes do not touch it. Takes the same time for any tree.
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
            changed: ChangedTables {
                acls: self.acls.take_changed(),
                sessions: self.sessions_changed.take(),
                quotas: self.quotas_changed.take(),
            },
            tables: OnceLock::new(),
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
    changed: ChangedTables,
    /// Put together when they are asked for.
    tables: OnceLock<Tables>,
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
        // Sixteen bytes a change: there may be millions, beside the tree.
        let keyed = |entry| (Place::of_node(Entry::path(entry)).key(), entry);
        let mut nodes: Vec<(u64, &Entry)> = self.layer.entries().map(keyed).collect();
        nodes.sort_unstable_by(|(key, a), (other, b)| {
            key.cmp(other).then_with(|| Place::order_within_key(a.path(), b.path()))
        });
        let mut entries = Vec::new();
        for (_, entry) in &nodes {
            let path = entry.path();
            let after = entry.there().map(|record| Traits::new(&record.stat, record.child_count)).unwrap_or_default();
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

    /// Visits the znodes, in no order.
    pub fn for_each_node(&self, mut visit: impl FnMut(NodeEntry<'_>)) {
        self.layer.entries().filter_map(Entry::there).map(entry_of).for_each(&mut visit);
        let base = self.base.iter().flat_map(|base| base.nodes()).map(unbroken);
        for node in base.filter(|node| self.layer.find(node.path()).is_none()) {
            visit(NodeEntry {
                path: node.path(),
                data: unbroken(node.data()).as_deref(),
                stat: node.stat(),
                acl_id: node.acl_id(),
                content_crc: node.content_crc(),
                child_count: node.child_count(),
            });
        }
    }

    /// The ACLs with their numbers, ascending. This and the next two take time in proportion to the tables when one of them is first asked for.
    #[must_use]
    pub fn acls(&self) -> &[(AclId, AclList)] {
        &self.tables().acls
    }

    /// The sessions with their timeouts in ms, by id.
    #[must_use]
    pub fn sessions(&self) -> &[(SessionId, i32)] {
        &self.tables().sessions
    }

    /// The paths that have a quota, ascending.
    #[must_use]
    pub fn quotas(&self) -> &[Arc<str>] {
        &self.tables().quotas
    }

    fn tables(&self) -> &Tables {
        self.tables.get_or_init(|| {
            let base = self.base.iter();
            let acls =
                base.clone().flat_map(|base| base.acls()).map(|acl| (AclId(acl.id), AclList::from(&*acl.entries)));
            let sessions =
                base.clone().flat_map(|base| base.sessions()).map(|session| (session.id, session.timeout_ms));
            let quotas = base.flat_map(|base| base.quotas()).map(|path| (Arc::from(&**path), ()));
            Tables {
                acls: self.changed.acls.over(acls),
                sessions: self.changed.sessions.over(sessions),
                quotas: self.changed.quotas.over(quotas).into_iter().map(|(path, ())| path).collect(),
            }
        })
    }
}

/// What changed in the tables since the base.
#[derive(Debug)]
struct ChangedTables {
    acls: Changed<AclId, AclList>,
    sessions: Changed<SessionId, i32>,
    quotas: Changed<Arc<str>, ()>,
}

/// The tables whole.
#[derive(Debug)]
struct Tables {
    acls: Vec<(AclId, AclList)>,
    sessions: Vec<(SessionId, i32)>,
    quotas: Vec<Arc<str>>,
}

/// What changed between a base and a frozen tree.
#[derive(Debug)]
pub struct Changes<'f> {
    /// By the keys of their places.
    nodes: Vec<(u64, &'f Entry)>,
    /// Entries of the other runs.
    pub entries: Vec<EntryChange<'f>>,
}

impl<'f> Changes<'f> {
    /// Znodes.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeChange<'f>> {
        self.nodes.iter().map(|(_, entry)| match entry {
            Entry::There(record) => NodeChange::Put(entry_of(record)),
            Entry::Gone(path) => NodeChange::Gone(path),
        })
    }
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
