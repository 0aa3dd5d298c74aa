//! A tree out of time: frozen at one zxid for an image or a learner, and loaded from what was frozen.
//!
//! Freezing takes microseconds and later changes do not touch what was frozen. A loader trusts nothing: what does not make a whole tree with
//! the recorded digest is a [`LoadError`].

use super::slab::FrozenSlab;
use super::{AclId, AclList, RESERVED_PATHS, Record, Tree};
use crate::digest::ContentCrc;
use proto::{Acl, SessionId, StatPersisted, Zxid, path};
use std::sync::Arc;

impl Tree {
    /// Everything as it is now, for an image or a learner; later changes do not touch it. Takes microseconds.
    #[must_use]
    pub fn freeze(&self) -> FrozenTree {
        FrozenTree {
            nodes: self.nodes.freeze(),
            acls: self.acls.iter().map(|(id, acl)| (id, Arc::clone(acl))).collect(),
            sessions: self.sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms)).collect(),
            zxid: self.last_zxid,
            digest: self.digest,
            node_count: self.nodes.len(),
            ephemeral_count: self.ephemeral_count,
            data_bytes: self.data_bytes,
        }
    }

    /// A loader for a tree that was frozen once.
    #[must_use]
    pub fn loader() -> TreeLoader {
        TreeLoader { tree: Tree::empty() }
    }

    pub(super) fn load_node(&mut self, path: &str, data: Option<&[u8]>, acl: &[Acl], stat: StatPersisted) {
        let acl = self.acls.acquire(acl);
        let crc = ContentCrc::of(path, data);
        self.insert(Record { path: path.into(), data: data.map(Into::into), acl, crc, stat });
    }

    /// Hangs every loaded znode under its parent. `Err`: the path of one that has none.
    fn try_link_loaded(&mut self) -> Result<(), Arc<str>> {
        let mut ids = Vec::with_capacity(self.nodes.len());
        ids.extend(self.index.iter().map(|entry| entry.id));
        // In slot order, so that the same image always gives the same tree.
        ids.sort_unstable();
        for id in ids {
            let path = Arc::clone(&self.record(id).path);
            let Some((parent_path, _)) = path::split(&path) else { continue };
            let parent = self.find(parent_path).ok_or(path)?;
            self.link(id, parent);
        }
        Ok(())
    }

    pub(super) fn link_loaded(&mut self) {
        self.try_link_loaded().expect("the reserved paths have their parents");
    }
}

/// A tree as it was at one zxid.
#[derive(Debug)]
pub struct FrozenTree {
    nodes: FrozenSlab<Record>,
    acls: Vec<(AclId, AclList)>,
    sessions: Vec<(SessionId, i32)>,
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

/// A znode of a frozen tree.
#[derive(Clone, Copy, Debug)]
pub struct FrozenNode<'f> {
    /// The path.
    pub path: &'f str,
    /// The data.
    pub data: Option<&'f [u8]>,
    /// The number of its ACL.
    pub acl: AclId,
    /// What is stored of it.
    pub stat: &'f StatPersisted,
}

impl FrozenTree {
    /// The znodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = FrozenNode<'_>> {
        self.nodes.iter().map(|record| FrozenNode {
            path: &record.path,
            data: record.data.as_deref(),
            acl: record.acl,
            stat: &record.stat,
        })
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
        if self.tree.find(path).is_some() {
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
    pub fn finish(self, zxid: Zxid, recorded_digest: u64) -> Result<Tree, LoadError> {
        let tree = self.finish_fuzzy(zxid)?;
        if tree.digest != recorded_digest {
            return Err(LoadError::Digest { found: tree.digest, recorded: recorded_digest });
        }
        Ok(tree)
    }

    /// The tree, if it is whole: for [`crate::tolerant`] alone, which compares the digest when it can be right.
    ///
    /// # Errors
    /// [`LoadError`].
    pub(crate) fn finish_fuzzy(mut self, zxid: Zxid) -> Result<Tree, LoadError> {
        for path in RESERVED_PATHS {
            self.tree.find(path).ok_or(LoadError::Missing(path))?;
        }
        self.tree.try_link_loaded().map_err(|path| LoadError::Orphan(path.to_string()))?;
        self.tree.find_quotas();
        self.tree.last_zxid = zxid;
        Ok(self.tree)
    }
}
