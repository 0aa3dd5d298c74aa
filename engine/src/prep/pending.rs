//! The outstanding changes: what proposed txns will have done to the znodes that they touch.
//!
//! Owns the znodes as they will be, the order in which they are forgotten, the digest that follows from them, and how a failed multi is
//! undone. It must never check a rule. `engine/tests/model.rs` would catch a mistake, as would the digest, which is asserted after every apply.

use super::{Origin, Prep};
use crate::digest::{self, ContentCrc};
use crate::tree::{AclList, NewNode, Tree};
use proto::{Acl, ErrorCode, StatPersisted, Zxid, path};
use std::sync::Arc;

/// What a znode will be once all proposed txns are applied.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) zxid: Zxid,
    /// `None`: it will be gone.
    pub(super) stat: Option<StatPersisted>,
    /// The number of the next sequential child within the txn `zxid`. Past 2^31-1 it goes on from -2^31, while the stored cversion, which numbers
    /// the children of later txns, stands still.
    pub(super) next_number: i32,
    pub(super) child_count: usize,
    pub(super) acl: AclList,
    pub(super) crc: ContentCrc,
    pub(super) data_bytes: usize,
}

/// A pending change in the order of its txn, to be forgotten when that is applied.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) zxid: Zxid,
    pub(super) path: Arc<str>,
}

/// A step to undo if a later operation of the same multi fails.
#[derive(Debug)]
pub(super) struct Undo {
    path: Arc<str>,
    before: Option<Pending>,
}

impl Prep {
    /// The znode as it will be once all proposed txns are applied.
    pub(super) fn node(&self, tree: &Tree, path: &str) -> Result<Pending, ErrorCode> {
        if let Some(pending) = self.pending.get(path) {
            return if pending.stat.is_some() { Ok(pending.clone()) } else { Err(ErrorCode::NoNode) };
        }
        let node = tree.get(path).ok_or(ErrorCode::NoNode)?;
        Ok(Pending {
            zxid: Zxid::ZERO,
            stat: Some(node.persisted()),
            next_number: node.persisted().cversion,
            child_count: node.child_count(),
            acl: Arc::clone(node.acl()),
            crc: node.content_crc(),
            data_bytes: node.data_bytes(),
        })
    }

    pub(super) fn add_node(&mut self, tree: &Tree, origin: &Origin<'_>, new: &NewNode<'_>, parent_cversion: i32) {
        let path = new.path;
        let parent_path = self.shared(parent_path(path));
        let mut parent = self.node(tree, &parent_path).expect("found by the caller");
        self.change(origin.zxid, &parent_path, &mut parent, |parent| {
            parent.child_count += 1;
            parent.next_number = parent_cversion;
            if let Some(stat) = &mut parent.stat
                && parent_cversion > stat.cversion
            {
                stat.cversion = parent_cversion;
                stat.pzxid = origin.zxid;
            }
        });
        let stat = StatPersisted::created(origin.zxid, origin.time_ms, new.owner);
        let crc = ContentCrc::of(path, new.data);
        let data_bytes = new.data.map_or(0, <[u8]>::len);
        if digest::counts(path) {
            self.digest = self.digest.wrapping_add(crc.digest(&stat));
        }
        let acl = self.acl_list(new.acl);
        let path = self.shared(path);
        let (zxid, next_number) = (origin.zxid, stat.cversion);
        self.enter(&path, Pending { zxid, stat: Some(stat), next_number, child_count: 0, acl, crc, data_bytes });
    }

    pub(super) fn remove_node(&mut self, tree: &Tree, zxid: Zxid, path: &str) {
        let path = self.shared(path);
        self.remove_siblings(tree, zxid, &[path]);
    }

    /// Removes znodes of one parent.
    pub(super) fn remove_siblings(&mut self, tree: &Tree, zxid: Zxid, paths: &[Arc<str>]) {
        let Some(first) = paths.first() else { return };
        let parent_path = self.shared(parent_path(first));
        let mut parent = self.node(tree, &parent_path).expect("a znode that exists has a parent");
        self.change(zxid, &parent_path, &mut parent, |parent| {
            parent.child_count -= paths.len();
            if let Some(stat) = &mut parent.stat {
                stat.pzxid = stat.pzxid.max(zxid);
            }
        });
        for path in paths {
            let mut node = self.node(tree, path).expect("found by the caller");
            self.change(zxid, path, &mut node, |node| node.stat = None);
        }
    }

    /// The path as it stands in `pending`, or a copy.
    pub(super) fn shared(&self, path: &str) -> Arc<str> {
        match self.pending.get_key_value(path) {
            Some((path, _)) => Arc::clone(path),
            None => path.into(),
        }
    }

    /// Changes a znode's pending state and the digest with it.
    pub(super) fn change(
        &mut self,
        zxid: Zxid,
        path: &Arc<str>,
        node: &mut Pending,
        change: impl FnOnce(&mut Pending),
    ) {
        let share = |node: &Pending| match &node.stat {
            Some(stat) if digest::counts(path) => node.crc.digest(stat),
            _ => 0,
        };
        let before = share(node);
        node.next_number = node.number_within(zxid);
        change(node);
        node.zxid = zxid;
        self.digest = self.digest.wrapping_sub(before).wrapping_add(share(node));
        self.enter(path, node.clone());
    }

    fn enter(&mut self, path: &Arc<str>, node: Pending) {
        let zxid = node.zxid;
        let before = self.set_pending(path, Some(node));
        self.undo.push(Undo { path: Arc::clone(path), before });
        self.order.push_back(Outstanding { zxid, path: Arc::clone(path) });
    }

    /// The one place where `pending` changes, so that `ephemerals` always says the same.
    pub(super) fn set_pending(&mut self, path: &Arc<str>, node: Option<Pending>) -> Option<Pending> {
        let owner = |node: &Pending| node.stat.and_then(|stat| stat.ephemeral_owner.session());
        let owner_after = node.as_ref().and_then(owner);
        let before = match node {
            Some(node) => self.pending.insert(Arc::clone(path), node),
            None => self.pending.remove(path),
        };
        let owner_before = before.as_ref().and_then(owner);
        if owner_before == owner_after {
            return before;
        }
        if let Some(session) = owner_before
            && let Some(paths) = self.ephemerals.get_mut(&session)
        {
            paths.remove(path);
            if paths.is_empty() {
                self.ephemerals.remove(&session);
            }
        }
        if let Some(session) = owner_after {
            self.ephemerals.entry(session).or_default().insert(Arc::clone(path));
        }
        before
    }

    pub(super) fn roll_back(&mut self, digest: u64, order_len: usize) {
        while let Some(Undo { path, before }) = self.undo.pop() {
            self.set_pending(&path, before);
        }
        self.order.truncate(order_len);
        self.digest = digest;
    }

    pub(super) fn acl_list(&self, acl: &[Acl]) -> AclList {
        if *acl == *self.open_acl { Arc::clone(&self.open_acl) } else { acl.into() }
    }
}

impl Pending {
    /// The number of the next sequential child that this txn makes.
    pub(super) fn number_within(&self, zxid: Zxid) -> i32 {
        if self.zxid == zxid { self.next_number } else { self.stat.map_or(0, |stat| stat.cversion) }
    }

    pub(super) fn version(&self) -> i32 {
        self.stat.map_or(0, |stat| stat.version)
    }
}

/// The path of the parent of a znode that is there.
pub(super) fn parent_path(path: &str) -> &str {
    path::split(path).map_or("/", |(parent, _)| parent)
}
