//! What a request will touch of the base and is not in memory: it is read in before the tree's lock is held for long.
//!
//! A mapped page that is not in memory stops who touches it until the disk has answered: a shard with all of its clients, or the core with everybody's
//! writes. So before a request is served or handed on, the segments that it will look into are compared with what the kernel has in memory; if
//! one is missing, the request waits, somebody else reads it in ([`Cold::bring_in`]), and then the request is looked at again. Between that
//! look and the use a page may be evicted again: then the fault is taken, and is short of nothing but time.

use super::{LISTING_LONG, Tree, read_path, unbroken};
use proto::request::{CreateMode, CreateRequest, MultiOp, Request};
use proto::txn::Txn;
use proto::{SessionId, path};
use snapshot::base::{Base, Extent};
use std::sync::Arc;

/// Pieces of the base that are to be read in.
#[derive(Debug)]
pub struct Cold {
    base: Arc<Base>,
    extents: Vec<Extent>,
}

impl Cold {
    /// Reads them into the page cache. Waits for the disk.
    ///
    /// # Errors
    /// The disk cannot read: [`snapshot::Error::Io`].
    pub fn bring_in(&self) -> Result<(), snapshot::Error> {
        self.extents.iter().try_for_each(|extent| self.base.bring_in(extent))
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.extents.iter().map(|extent| extent.bytes).sum()
    }
}

impl Tree {
    /// What the request of this session will touch of the base and is not in memory; `None` if nothing has to be waited for.
    #[must_use]
    pub fn cold_for(&self, session: SessionId, request: &Request<'_>) -> Option<Cold> {
        let base = self.base.as_ref()?;
        let mut look = Look { tree: self, base, extents: Vec::new() };
        look.request(session, request);
        (!look.extents.is_empty()).then(|| Cold { base: Arc::clone(base), extents: look.extents })
    }
}

/// Ephemerals of a session that ends of which it is looked where they are.
const EPHEMERALS_MAX: usize = 256;

impl Tree {
    /// Asks the disk for what applying the txn will touch of the base, and does not wait: for a replay, which knows what comes.
    pub fn ask_ahead(&self, txn: &Txn<'_>) {
        let Some(base) = &self.base else { return };
        let ask = |path: &str| {
            if !self.is_covered(path, usize::MAX)
                && let Some(extent) = base.extent(path)
            {
                base.ask_for(&extent);
            }
        };
        let ask_with_parent = |path: &str| {
            ask(path);
            if let Some((parent, _)) = path::split(path) {
                ask(parent);
            }
        };
        match txn {
            Txn::Create(create) => ask_with_parent(create.path),
            Txn::Delete { path, .. } => ask_with_parent(path),
            Txn::SetData { path, .. } | Txn::SetAcl { path, .. } => ask(path),
            Txn::CloseSession(Some(paths)) => paths.iter().for_each(ask_with_parent),
            Txn::Multi(txns) => txns.iter().for_each(|txn| self.ask_ahead(txn)),
            Txn::Check { .. } | Txn::CreateSession { .. } | Txn::CloseSession(None) | Txn::Error(_) => {}
        }
    }
}

struct Look<'t> {
    tree: &'t Tree,
    base: &'t Base,
    extents: Vec<Extent>,
}

impl Look<'_> {
    fn request(&mut self, session: SessionId, request: &Request<'_>) {
        match request {
            Request::Exists(read) | Request::GetData(read) => self.node(read.path),
            Request::GetAcl(path) => self.node(path),
            Request::GetChildren(read) | Request::GetChildren2(read) => {
                // A long listing is read in by somebody who may wait for the disk.
                self.node_and_children(read.path, LISTING_LONG);
            }
            Request::GetAllChildrenNumber(path) => self.node(path),
            Request::MultiRead(multi) | Request::Multi(multi) => multi.ops.iter().for_each(|op| self.op(op)),
            Request::SetWatches(set) | Request::SetWatches2(set) => {
                let paths = set.data.iter().chain(set.exist.iter()).chain(set.child.iter());
                paths.for_each(|path| self.node(path));
            }
            Request::Create(_, create) => self.new_node(create),
            Request::GetEphemerals(_) => self.ephemerals(session),
            Request::CloseSession => {
                self.ephemerals(session);
                self.nodes_of_ephemerals(session);
            }
            Request::Delete(delete) => self.node_and_parent(delete.path),
            Request::SetData(set) => self.node(set.path),
            Request::SetAcl(set) => self.node(set.path),
            // Their results come from what is in memory, or nobody can say beforehand what they touch.
            _ => {}
        }
    }

    fn op(&mut self, op: &MultiOp<'_>) {
        match op {
            MultiOp::Create(_, create) => self.new_node(create),
            MultiOp::Delete(delete) => self.node_and_parent(delete.path),
            MultiOp::SetData(set) => self.node(set.path),
            MultiOp::Check(check) => self.node(check.path),
            MultiOp::GetData(read) => self.node(read.path),
            MultiOp::GetChildren(read) => self.node_and_children(read.path, usize::MAX),
        }
    }

    fn new_node(&mut self, create: &CreateRequest<'_>) {
        self.node_and_parent(create.path);
        let is_sequential = CreateMode::from_wire(create.flags).is_some_and(CreateMode::is_sequential);
        // Where its number puts it: the parent's record says that, once it is warm.
        if is_sequential
            && self.extents.is_empty()
            && let Some((parent, _)) = path::split(create.path)
            && let Some(parent) = self.tree.get(parent)
        {
            self.node(&format!("{}{:010}", create.path, parent.persisted().cversion));
        }
    }

    fn ephemerals(&mut self, session: SessionId) {
        let cold: Vec<Extent> = self.base.ephemerals_extents(session).filter(|extent| !self.is_warm(extent)).collect();
        self.extents.extend(cold);
    }

    /// The first of a session's ephemerals, which its end deletes.
    fn nodes_of_ephemerals(&mut self, session: SessionId) {
        if self.extents.is_empty() {
            self.tree.ephemerals_of(session).take(EPHEMERALS_MAX).for_each(|path| self.node_and_parent(&path));
        }
    }

    fn node_and_parent(&mut self, path: &str) {
        self.node(path);
        if let Some((parent, _)) = path::split(path) {
            self.node(parent);
        }
    }

    /// The znode, and its children if there are fewer than `count_end`.
    fn node_and_children(&mut self, path: &str, count_end: usize) {
        let path = read_path(path);
        self.node(path);
        // Its own record says how many children there are; while that is cold this is asked again.
        if !self.extents.is_empty() {
            return;
        }
        let count = self.tree.get(path).map_or(0, |node| node.child_count());
        if (1..count_end).contains(&count) {
            let cold = self.base.children_extents(path).filter(|extent| !self.is_warm(extent));
            let cold: Vec<Extent> = cold.collect();
            self.extents.extend(cold);
        }
    }

    fn node(&mut self, path: &str) {
        let path = read_path(path);
        if !self.tree.is_covered(path, usize::MAX)
            && let Some(extent) = self.base.extent(path)
            && !self.extents.contains(&extent)
            && !self.is_warm(&extent)
        {
            self.extents.push(extent);
        }
    }

    fn is_warm(&self, extent: &Extent) -> bool {
        unbroken(self.base.is_warm(extent))
    }
}
