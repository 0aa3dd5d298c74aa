//! A tree from what was written down: an image, or its parts one by one.
//!
//! A loader trusts nothing: what does not make a whole tree with the recorded digest is a [`LoadError`]. An image of version 2 is served from
//! where it lies, and each record of it is checked when it is read.

use super::acl_table::AclTable;
use super::layer::Record;
use super::{AclId, RESERVED_PATHS, Tree};
use crate::digest::ContentCrc;
use proto::stat::EphemeralOwner;
use proto::{Acl, SessionId, StatPersisted, Zxid, path};
use snapshot::base::Base;
use snapshot::{AnyImage, Image};
use std::collections::HashMap;
use std::sync::Arc;

impl Tree {
    /// The tree of an image of any format.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn of_image(image: AnyImage) -> Result<Tree, LoadError> {
        match image {
            AnyImage::Mapped(base) => Tree::on_base(base),
            AnyImage::Whole(image) => Tree::of_version_1(&image),
        }
    }

    /// The tree of an image of format version 1, which has no tables to be served from: it is read whole.
    fn of_version_1(image: &Image) -> Result<Tree, LoadError> {
        let mut acls: HashMap<u32, Vec<Acl>> = HashMap::new();
        for record in image.acls() {
            let record = record?;
            acls.insert(record.id, record.acls);
        }
        let mut loader = Tree::loader();
        for session in image.sessions() {
            let session = session?;
            loader.session(session.id, session.timeout_ms);
        }
        let mut nodes = image.nodes();
        while let Some(node) = nodes.next_node()? {
            let acl = acls.get(&node.acl_id).ok_or_else(|| LoadError::NoAcl(node.path.to_owned()))?;
            loader.node(node.path, node.data, acl, node.stat)?;
        }
        loader.finish(image.totals().zxid, image.totals().tree_digest)
    }

    /// The tree of an image, which is read where it lies. Takes time in proportion to its tables of ACLs, sessions and quotas.
    ///
    /// # Errors
    /// [`LoadError`]; [`LoadError::Image`] where a reserved znode cannot be read.
    pub fn on_base(base: Arc<Base>) -> Result<Tree, LoadError> {
        let mut tree = Tree::empty();
        let acls = base.acls().iter().map(|acl| (AclId(acl.id), acl.uses, &*acl.entries));
        tree.acls = AclTable::load(acls).ok_or(LoadError::AclTable)?;
        for path in RESERVED_PATHS {
            base.find(path)?.ok_or(LoadError::Missing(path))?;
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

/// Builds a tree from what a [`FrozenTree`] held.
#[derive(Debug)]
pub struct TreeLoader {
    tree: Tree,
}

/// Why what was loaded is not a tree.
#[derive(Debug, thiserror::Error)]
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
    /// An image that cannot be read.
    #[error(transparent)]
    Image(#[from] snapshot::Error),
    /// More than this machine's addresses count.
    #[error("more znodes than this machine can count")]
    TooLarge,
    /// A znode whose ACL is not there.
    #[error("the znode {0} names an ACL that is not there")]
    NoAcl(String),
    /// A reserved znode is missing.
    #[error("the znode {0} is missing, which every tree has")]
    Missing(&'static str),
    /// A reserved znode that somebody owns, or that would expire.
    #[error("the znode {0}, which every tree has for ever, is an ephemeral, a container, or has a time to live")]
    Owned(&'static str),
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
            let node = self.tree.get(path).ok_or(LoadError::Missing(path))?;
            if node.persisted().ephemeral_owner != EphemeralOwner::NONE {
                return Err(LoadError::Owned(path));
            }
        }
        self.tree.try_link_loaded().map_err(|path| LoadError::Orphan(path.to_string()))?;
        self.tree.find_quotas();
        self.tree.last_zxid = zxid;
        Ok(self.tree)
    }
}
