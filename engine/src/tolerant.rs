//! ZooKeeper's snapshots are fuzzy: the server goes on while one is written, so parts of later txns are in it. Its txns are therefore
//! applied once more from the snapshot's zxid on, by rules that bear a znode which exists already or no more (`DataTree.processTxn`, 3.9.5).
//!
//! Owns these rules, the one exception to law 3 ([`crate::apply`] knows nothing of them), and the comparison of digests: the tree's is that of
//! the server again from the txn on at which the snapshot was complete. It must never be used once a tree is a server's own. It fails with
//! [`TolerantError`]; what it could not prove is a [`Doubt`], about which the caller decides. `tests/tolerant.rs` would catch a mistake: it takes
//! fuzzy snapshots of a living tree at every moment, and each must become that tree again.
//!
//! In two places the rules are stricter than Java's, so that the tree of the txns comes out, which is what both want:
//! - A delete takes what lies below the znode along, and a create replaces a znode that is there. What is in the snapshot under a znode that is
//!   deleted or made in the log was made after that, and the log makes it again. Java leaves it in its table and out of its parent's list.
//! - A create of any kind brings the parent's cversion forward; in Java only `create` does where the znode exists.

use crate::tree::{LoadError, NewNode, Tree, TreeLoader};
use proto::stat::EphemeralOwner;
use proto::txn::{CreateTxn, DIGEST_VERSION, NO_PARENT_CVERSION, PREDICTED_DIGEST_VERSION, Txn, TxnHeader, TxnRecord};
use proto::{Acl, AclVec, OpCode, SessionId, StatPersisted, Zxid, path};
use std::collections::HashSet;
use std::sync::Arc;

/// A digest that a server has written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedDigest {
    /// The tree has it after this txn.
    pub zxid: Zxid,
    /// The version of its arithmetic.
    pub version: i32,
    /// The digest.
    pub digest: u64,
}

/// Takes in a snapshot.
#[derive(Debug)]
pub struct TolerantLoader {
    loader: TreeLoader,
    without_acl: HashSet<Box<str>>,
    has_config: bool,
}

impl TolerantLoader {
    /// With nothing in it.
    #[must_use]
    pub fn new() -> TolerantLoader {
        TolerantLoader { loader: Tree::loader(), without_acl: HashSet::new(), has_config: false }
    }

    /// A session with its timeout in ms.
    pub fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.loader.session(session, timeout_ms);
    }

    /// A znode, in any order. Without an ACL where the snapshot names one that is not in it: a txn must set it then.
    ///
    /// # Errors
    /// [`LoadError::Twice`].
    pub fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: Option<&[Acl]>,
        stat: StatPersisted,
    ) -> Result<(), LoadError> {
        if acl.is_none() {
            self.without_acl.insert(path.into());
        }
        self.has_config |= path == CONFIG;
        self.loader.node(path, data, acl.unwrap_or_default(), stat)
    }

    /// The snapshot is whole. It was begun at `zxid`; `digest` and `last_zxid` are what it says about its end, each where it does.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn finish(
        mut self,
        zxid: Zxid,
        digest: Option<RecordedDigest>,
        last_zxid: Option<Zxid>,
    ) -> Result<TolerantReplay, LoadError> {
        if !self.has_config {
            // Servers before 3.5 do not have it; later ones make it like this.
            let stat = StatPersisted { aversion: -1, ..StatPersisted::default() };
            self.loader.node(CONFIG, Some(&[]), &[Acl::world_read()], stat)?;
        }
        let tree = self.loader.finish_fuzzy(zxid)?;
        // A leader's first snapshot of an epoch is of a later zxid than any txn in it: then its digest is of the epoch before.
        let digest = digest.filter(|digest| digest.zxid >= zxid);
        let complete_at = digest.map(|digest| digest.zxid).max(last_zxid).unwrap_or(zxid).max(zxid);
        let mut replay = TolerantReplay::of(tree, self.without_acl);
        (replay.awaited, replay.complete_at) = (digest, complete_at);
        replay.meet_awaited();
        Ok(replay)
    }
}

impl Default for TolerantLoader {
    fn default() -> TolerantLoader {
        TolerantLoader::new()
    }
}

/// Applies the txns after a snapshot.
#[derive(Debug)]
pub struct TolerantReplay {
    tree: Tree,
    /// Znodes whose ACL was not in the snapshot, and which no txn has given one yet.
    without_acl: HashSet<Box<str>>,
    /// The snapshot's digest, until its txn has come.
    awaited: Option<RecordedDigest>,
    /// The snapshot's digest was not the tree's, and no other has been compared since. Java writes the digest after the znodes, and it is that
    /// of the last txn which is done: a znode may have been changed already by the next. That one's digest tells.
    ahead: Option<Unequal>,
    /// The snapshot may hold parts of txns up to here.
    complete_at: Zxid,
    report: DigestReport,
}

/// What the comparison of digests has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DigestReport {
    /// Digests that were compared.
    pub compared: u64,
    /// Those that were not the tree's.
    pub unequal: u64,
    /// The first of them.
    pub first_unequal: Option<Unequal>,
    /// The last that was compared, if it was not the tree's.
    pub last_unequal: Option<Unequal>,
}

impl DigestReport {
    /// One more was compared.
    fn count(&mut self, unequal: Option<Unequal>) {
        self.compared += 1;
        self.unequal += u64::from(unequal.is_some());
        self.first_unequal = self.first_unequal.or(unequal);
        self.last_unequal = unequal;
    }
}

/// A digest that is not the tree's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unequal {
    /// After this txn.
    pub zxid: Zxid,
    /// As recorded.
    pub recorded: u64,
    /// The tree's.
    pub found: u64,
}

/// What comes out.
#[derive(Debug)]
pub struct Replayed {
    /// The tree.
    pub tree: Tree,
    /// How the digests compared.
    pub digests: DigestReport,
    /// Ephemerals that were removed because their sessions are not open, as ZooKeeper does when it starts.
    pub lost_ephemerals: usize,
    /// The first [`LOST_NAMED_MAX`] of them, for an operator.
    pub lost_first: Vec<Arc<str>>,
    /// Why the tree may not be the server's.
    pub doubt: Option<Doubt>,
}

/// Why a tree may not be that of the server that wrote the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The last digest that could be compared is not the tree's. (Earlier ones alone are no cause: Java predicts some digests wrongly and is right
    /// again with the next, which proves the tree.)
    #[error(
        "the digest of its znodes is {:#x} after {}, and the server has written down {:#x}",
        .0.found, .0.zxid, .0.recorded
    )]
    Unequal(Unequal),
    /// The txns end before the snapshot was complete.
    #[error("the snapshot holds parts of txns up to {complete_at}, and the log ends with {reached}")]
    Incomplete {
        /// Up to which txn there may be parts.
        complete_at: Zxid,
        /// The newest txn there is.
        reached: Zxid,
    },
}

/// Why txns cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TolerantError {
    /// A znode's ACL is neither in the snapshot nor in a txn.
    #[error("the znode {0} names an ACL that is not there")]
    NoAcl(String),
    /// An ACL with a null in it, or a TTL that is none.
    #[error("the txn {zxid} makes {path} with {what} that no server allows")]
    BadCreate {
        /// The txn.
        zxid: Zxid,
        /// The znode.
        path: String,
        /// With what.
        what: &'static str,
    },
}

impl TolerantReplay {
    /// On the tree of a new server, for a log that has no snapshot.
    #[must_use]
    pub fn from_nothing() -> TolerantReplay {
        TolerantReplay::of(Tree::new(), HashSet::new())
    }

    fn of(tree: Tree, without_acl: HashSet<Box<str>>) -> TolerantReplay {
        let complete_at = tree.last_zxid();
        TolerantReplay { tree, without_acl, awaited: None, ahead: None, complete_at, report: DigestReport::default() }
    }

    /// Applies the next txn. The same zxid may come twice: Java gives some failed requests that of the txn before them.
    ///
    /// # Errors
    /// [`TolerantError::BadCreate`].
    pub fn apply(&mut self, record: &TxnRecord<'_>) -> Result<(), TolerantError> {
        let header = &record.header;
        match &record.txn {
            // A multi that failed has changed nothing.
            Txn::Multi(txns) if txns.iter().any(|txn| matches!(txn, Txn::Error(_))) => {}
            Txn::Multi(txns) => txns.iter().try_for_each(|txn| self.apply_single(header, txn))?,
            txn => self.apply_single(header, txn)?,
        }
        if header.zxid > self.tree.last_zxid() {
            self.tree.set_last_zxid(header.zxid);
        }
        // While the snapshot is not complete the tree is nobody's.
        let is_whole = !self.meet_awaited() && header.zxid >= self.complete_at;
        if let Some((version, digest)) = record.digest.filter(|_| is_whole) {
            self.compare(RecordedDigest { zxid: header.zxid, version, digest });
        }
        Ok(())
    }

    /// The tree, once all txns have been applied.
    ///
    /// # Errors
    /// [`TolerantError::NoAcl`].
    pub fn finish(mut self) -> Result<Replayed, TolerantError> {
        if let Some(path) = self.without_acl.iter().min() {
            return Err(TolerantError::NoAcl(path.clone().into()));
        }
        if let Some(unequal) = self.ahead {
            self.report.count(Some(unequal));
        }
        let reached = self.tree.last_zxid();
        let incomplete = Doubt::Incomplete { complete_at: self.complete_at, reached };
        let incomplete = (reached < self.complete_at).then_some(incomplete);
        let doubt = incomplete.or(self.report.last_unequal.map(Doubt::Unequal));
        let (mut lost_ephemerals, mut lost_first) = (0, Vec::new());
        for session in self.tree.lost_owners() {
            let paths: Vec<Arc<str>> = self.tree.ephemerals_of(session).map(Arc::from).collect();
            lost_ephemerals += paths.len();
            lost_first.extend(paths.iter().take(LOST_NAMED_MAX - lost_first.len()).cloned());
            // With what lies below them, which no server allows and no checksum has to have covered.
            paths.iter().for_each(|path| self.remove(path, reached));
        }
        self.tree.recount_quotas();
        Ok(Replayed { tree: self.tree, digests: self.report, lost_ephemerals, lost_first, doubt })
    }

    /// Compares the snapshot's digest if the tree has come to its txn. False: nothing is awaited any more, and the txns' own count.
    fn meet_awaited(&mut self) -> bool {
        let Some(awaited) = self.awaited else { return false };
        let reached = self.tree.last_zxid();
        if reached >= awaited.zxid {
            self.awaited = None;
        }
        if reached == awaited.zxid && awaited.version == DIGEST_VERSION {
            self.ahead = self.unequal(awaited);
            if self.ahead.is_none() {
                self.report.count(None);
            }
        }
        reached <= awaited.zxid
    }

    fn compare(&mut self, recorded: RecordedDigest) {
        if ![DIGEST_VERSION, PREDICTED_DIGEST_VERSION].contains(&recorded.version) {
            return;
        }
        let unequal = self.unequal(recorded);
        if let Some(ahead) = self.ahead.take().filter(|_| unequal.is_some()) {
            self.report.count(Some(ahead));
        }
        self.report.count(unequal);
    }

    /// The digest, if it is not the tree's.
    fn unequal(&self, recorded: RecordedDigest) -> Option<Unequal> {
        let found = self.tree.digest();
        (recorded.digest != found).then_some(Unequal { zxid: recorded.zxid, recorded: recorded.digest, found })
    }

    fn apply_single(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<(), TolerantError> {
        match txn {
            Txn::Create(create) => self.create(header, create)?,
            Txn::Delete { path, .. } => self.delete(path, header.zxid),
            Txn::SetData { path, data, version, .. } => {
                if self.tree.get(path).is_some() {
                    self.tree.set_data(path, *data, *version, header.zxid, header.time_ms);
                }
            }
            Txn::SetAcl { path, acl, version } => {
                if self.tree.get(path).is_some() {
                    let acl = entries(acl, header, path)?;
                    self.tree.set_acl(path, &acl, *version);
                    self.without_acl.remove(*path);
                }
            }
            Txn::CreateSession { timeout_ms } => self.tree.put_session(header.session, *timeout_ms),
            Txn::CloseSession(listed) => {
                for path in listed.iter().flat_map(|paths| paths.iter()) {
                    self.delete(path, header.zxid);
                }
                let left: Vec<Arc<str>> = self.tree.ephemerals_of(header.session).map(Arc::from).collect();
                left.iter().for_each(|path| self.delete(path, header.zxid));
                self.tree.remove_session(header.session);
            }
            Txn::Check { .. } | Txn::Error(_) => {}
            Txn::Multi(_) => unreachable!("the decoder refuses a multi inside a multi"),
        }
        Ok(())
    }

    fn create(&mut self, header: &TxnHeader, create: &CreateTxn<'_>) -> Result<(), TolerantError> {
        let zxid = header.zxid;
        let owner = match create.op {
            OpCode::CreateContainer => EphemeralOwner::CONTAINER,
            OpCode::CreateTtl => EphemeralOwner::ttl(create.ttl_ms).ok_or_else(|| TolerantError::BadCreate {
                zxid,
                path: create.path.to_owned(),
                what: "a TTL",
            })?,
            _ if create.ephemeral => EphemeralOwner::session_of(header.session),
            _ => EphemeralOwner::NONE,
        };
        let acl = entries(&create.acl, header, create.path)?;
        let Some((parent, _)) = path::split(create.path) else { return Ok(()) };
        // Its parent is not there: a later txn, part of the snapshot already, deletes it.
        let Some(parent) = self.tree.get(parent).map(|parent| parent.persisted()) else { return Ok(()) };
        self.remove(create.path, zxid);
        let parent_cversion = match create.parent_cversion {
            NO_PARENT_CVERSION => parent.cversion.wrapping_add(1),
            recorded => recorded,
        };
        let new = NewNode { path: create.path, data: create.data, acl: &acl, owner };
        self.tree.create(&new, parent_cversion, zxid, header.time_ms);
        Ok(())
    }

    fn delete(&mut self, path: &str, zxid: Zxid) {
        let Some((parent, _)) = path::split(path) else { return };
        self.tree.child_went(parent, zxid);
        self.remove(path, zxid);
    }

    /// Takes a znode and all below it out of the tree, if it is there.
    fn remove(&mut self, path: &str, zxid: Zxid) {
        let mut doomed: Vec<Arc<str>> = self.tree.get(path).map(|node| node.shared_path()).into_iter().collect();
        let mut seen = 0;
        while let Some(parent) = doomed.get(seen).cloned() {
            let children = self.tree.get(&parent).into_iter().flat_map(|node| node.children());
            doomed.extend(children.map(|name| Arc::from(format!("{parent}/{name}"))));
            seen += 1;
        }
        // Children first: they were found behind their parents.
        for path in doomed.iter().rev() {
            self.tree.delete(path, zxid);
            self.without_acl.remove(&**path);
        }
    }
}

/// The entries of an ACL. None at all is open to everybody, as in Java.
fn entries(acl: &AclVec<'_>, header: &TxnHeader, path: &str) -> Result<Vec<Acl>, TolerantError> {
    if acl.is_null() {
        return Ok(vec![Acl::open()]);
    }
    acl.to_vec().map_err(|_| TolerantError::BadCreate { zxid: header.zxid, path: path.to_owned(), what: "an ACL" })
}

const CONFIG: &str = "/zookeeper/config";

/// As many as a line of the log bears.
pub const LOST_NAMED_MAX: usize = 10;
