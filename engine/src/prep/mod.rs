//! Prep: a request becomes a txn that cannot fail, checked against the tree and what is still on its way into it.
//!
//! Owns the operations, each with its checks, beside the outstanding changes (`pending`) and multi (`multi`). It never changes the
//! tree. A request that breaks a rule becomes an error txn, as in ZooKeeper, so that its zxid is used up everywhere. The checks
//! stand in the order of `PrepRequestProcessor` (3.9). The model test compares every outcome; the digest that prep
//! predicts is asserted against the tree's after every apply.

mod multi;
mod pending;

use crate::auth::{self, AclRefused, AuthId, AuthRules, FixedAcl};
use crate::digest::ContentCrc;
use crate::excess::{Excess, Excesses};
use crate::quota::signed;
use crate::tree::{AclList, NewNode, RESERVED_PATHS, Tree};
use ahash::{AHashMap, AHashSet};
use pending::{Outstanding, Pending, Undo, parent_path};
use proto::jute::{Reader, StrVec, Writer};
use proto::request::{CreateMode, CreateRequest, PathVersion, Request, SetAclRequest, SetDataRequest};
use proto::stat::{EphemeralKind, EphemeralOwner};
use proto::txn::{CreateTxn, DIGEST_VERSION, Txn, TxnHeader, TxnRecord};
use proto::{Acl, AclVec, ErrorCode, OpCode, Perms, SessionId, Xid, Zxid, path};
use std::collections::VecDeque;
use std::sync::Arc;

/// Settings that decide what prep accepts.
#[derive(Clone, Debug, Default)]
pub struct PrepOptions {
    /// `extendedTypesEnabled`: may clients create TTL znodes?
    pub extended_types: bool,
    /// `reconfigEnabled`: may clients change the membership? A single server has none to change.
    pub reconfig_enabled: bool,
    /// `enforceQuota`: is a write over a hard quota refused, and one over a soft quota noted?
    pub enforce_quota: bool,
    /// Who may do what: the same rules as the shards'.
    pub auth: Arc<AuthRules>,
}

/// What every txn's header needs, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The session, or 0 for the server itself.
    pub session: SessionId,
    /// The client's number for the request.
    pub xid: Xid,
    /// The zxid that the txn will have.
    pub zxid: Zxid,
    /// When, ms since 1970.
    pub time_ms: i64,
    /// Who the caller has proved to be.
    pub ids: &'a [AuthId],
    /// The session is one that only a single server knows: no ephemeral can be its.
    pub is_local: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Prep {
    options: PrepOptions,
    pending: AHashMap<Arc<str>, Pending>,
    order: VecDeque<Outstanding>,
    /// The paths in `pending` whose znode will be an ephemeral, by session.
    ephemerals: AHashMap<SessionId, AHashSet<Arc<str>>>,
    undo: Vec<Undo>,
    /// The tree's digest once all proposed txns are applied.
    digest: u64,
    open_acl: AclList,
    excesses: Excesses,
    memory_is_short: bool,
}

/// Bytes of the paths that the end of a session lists: well within what the log takes as one record.
const CLOSE_LIST_BYTES_MAX: usize = 4 << 20;

impl Prep {
    /// For a tree that has nothing on its way.
    #[must_use]
    pub fn new(options: PrepOptions, tree: &Tree) -> Prep {
        Prep {
            options,
            pending: AHashMap::new(),
            order: VecDeque::new(),
            ephemerals: AHashMap::new(),
            undo: Vec::new(),
            digest: tree.digest(),
            open_acl: [Acl::open()].into(),
            excesses: Excesses::default(),
            memory_is_short: false,
        }
    }

    /// Nothing is on its way any more: goes on over this tree.
    pub fn begin_anew(&mut self, tree: &Tree) {
        self.pending.clear();
        self.order.clear();
        self.ephemerals.clear();
        self.undo.clear();
        self.digest = tree.digest();
    }

    /// Appends the txn for a client's write to `out`. `Err`: it is an error txn, with this code.
    ///
    /// # Errors
    /// Every rule of ZooKeeper's that the request breaks.
    pub fn write(
        &mut self,
        tree: &Tree,
        origin: &Origin<'_>,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let mut scratch = Vec::new();
        let txn = match request {
            Request::Create(op, create) => self.create(tree, origin, *op, create, &mut scratch),
            Request::Delete(delete) => self.delete(tree, origin, delete),
            Request::SetData(set) => self.set_data(tree, origin, set),
            Request::SetAcl(set) => self.set_acl(tree, origin, set, &mut scratch),
            Request::Multi(multi) => return self.multi(tree, origin, multi, out),
            Request::Reconfig(_) if self.options.reconfig_enabled => Err(ErrorCode::Unimplemented),
            Request::Reconfig(_) => Err(ErrorCode::ReconfigDisabled),
            _ => Err(ErrorCode::Unimplemented),
        };
        self.finish(origin, txn, out)
    }

    /// Appends an error txn: the request was refused for a reason outside the tree.
    pub fn refuse(&mut self, origin: &Origin<'_>, code: ErrorCode, out: &mut Vec<u8>) {
        let refused = self.finish(origin, Err(code), out);
        debug_assert_eq!(refused, Err(code));
    }

    /// Appends the txn that begins a session.
    pub fn create_session(&mut self, origin: &Origin<'_>, timeout_ms: i32, out: &mut Vec<u8>) {
        self.emit(origin, Txn::CreateSession { timeout_ms }, out);
    }

    /// Appends the txn that ends a session and deletes its ephemerals, those included that are still on their way.
    pub fn close_session(&mut self, tree: &Tree, origin: &Origin<'_>, out: &mut Vec<u8>) {
        let owner = EphemeralOwner::session_of(origin.session);
        let pending = self.ephemerals.get(&origin.session).into_iter().flatten();
        let is_owned = |path: &str| match self.pending.get(path) {
            Some(pending) => pending.stat.is_some_and(|stat| stat.ephemeral_owner == owner),
            None => true,
        };
        let owned = tree.ephemerals_of(origin.session).filter(|path| is_owned(path)).map(Arc::from);
        let mut paths: Vec<Arc<str>> = owned.chain(pending.filter(|path| is_owned(path)).cloned()).collect();
        // The two sources overlap, and the txn's bytes must not depend on a table's order.
        paths.sort_unstable();
        paths.dedup();
        // Those of one parent mostly lie together: it then changes once for all of them.
        for siblings in paths.chunk_by(|one, next| parent_path(one) == parent_path(next)) {
            self.remove_siblings(tree, origin.zxid, siblings);
        }
        let mut bytes = Vec::new();
        if paths.iter().map(|path| path.len() + 4).sum::<usize>() <= CLOSE_LIST_BYTES_MAX {
            Writer::new(&mut bytes).strings(paths.iter().map(|path| &**path));
        } else {
            // Too long for a record of the log. As with servers of before 3.6 the list is null, and apply takes all that the session has.
            Writer::new(&mut bytes).int(-1);
        }
        let list = StrVec::read_or_null(&mut Reader::new(&bytes)).expect("written just above");
        self.emit(origin, Txn::CloseSession(list), out);
    }

    /// Appends the txn that removes an empty container or TTL znode, or says why it cannot go (then nothing is appended and no
    /// zxid is used).
    ///
    /// # Errors
    /// [`ErrorCode::NoNode`], [`ErrorCode::NotEmpty`], [`ErrorCode::BadVersion`] for a znode of another kind.
    pub fn delete_container(
        &mut self,
        tree: &Tree,
        origin: &Origin<'_>,
        path: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let node = self.node(tree, path)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        let owner = node.stat.map_or(EphemeralOwner::NONE, |stat| stat.ephemeral_owner);
        if !matches!(owner.kind(), EphemeralKind::Container | EphemeralKind::Ttl(_)) {
            return Err(ErrorCode::BadVersion);
        }
        self.remove_node(tree, origin.zxid, path);
        self.emit(origin, Txn::Delete { op: OpCode::DeleteContainer, path }, out);
        Ok(())
    }

    /// The txns up to `zxid` have been applied: the tree itself now tells what they did.
    pub fn applied(&mut self, zxid: Zxid) {
        while self.order.front().is_some_and(|first| first.zxid <= zxid) {
            let Some(Outstanding { zxid, path }) = self.order.pop_front() else { return };
            // A later txn has changed the znode again.
            if self.pending.get(&path).is_some_and(|pending| pending.zxid == zxid) {
                self.set_pending(&path, None);
            }
        }
    }

    /// The digest that the tree will have once all proposed txns are applied.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// Count of changes that are still on their way.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.order.len()
    }

    // ---- the operations, each in ZooKeeper's order of checks ----------------------------------------------------------

    fn create<'a>(
        &mut self,
        tree: &Tree,
        origin: &Origin<'_>,
        op: OpCode,
        create: &CreateRequest<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Txn<'a>, ErrorCode> {
        let mode = CreateMode::from_wire(create.flags).ok_or(ErrorCode::BadArguments)?;
        if mode.is_ttl() && !self.options.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        let ttl_ms = create.ttl_ms.unwrap_or(-1);
        let owner = owner_of(op, mode, ttl_ms, origin.session)?;
        if origin.is_local && matches!(owner.kind(), EphemeralKind::Ephemeral(_)) {
            return Err(ErrorCode::EphemeralOnLocalSession);
        }
        let parent_path = parent_of(create.path)?;
        let fixed = self.fix_acl(origin, &create.acl)?;
        let parent = self.node(tree, parent_path)?;
        self.options.auth.check_acl(&parent.acl, Perms::CREATE, origin.ids)?;
        let parent_stat = parent.stat.ok_or(ErrorCode::NoNode)?;
        let number = parent.number_within(origin.zxid);
        let mut full_path = create.path.to_owned();
        if mode.is_sequential() {
            // Java's %010d: a negative number keeps its sign within the ten places.
            full_path.push_str(&format!("{number:010}"));
        }
        path::validate(&full_path).map_err(|_| ErrorCode::BadArguments)?;
        if self.node(tree, &full_path).is_ok() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent_stat.ephemeral_owner.kind(), EphemeralKind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        self.check_memory(true)?;
        self.check_quota(tree, origin, &full_path, 1, signed(create.data.map_or(0, <[u8]>::len)))?;
        let parent_cversion = number.wrapping_add(1);
        let new = NewNode { path: &full_path, data: create.data, acl: &fixed.acl, owner };
        self.add_node(tree, origin, &new, parent_cversion);
        // The bytes that the txn borrows: the whole path, then the ACL where it was rewritten.
        let path_len = full_path.len();
        scratch.extend_from_slice(full_path.as_bytes());
        let rewritten = fixed.rewritten.is_some();
        scratch.extend_from_slice(fixed.rewritten.as_deref().unwrap_or_default());
        let (path_bytes, acl_bytes) = scratch.split_at(path_len);
        let path = std::str::from_utf8(path_bytes).expect("copied from a string just above");
        let acl =
            if rewritten { AclVec::read(&mut Reader::new(acl_bytes)).expect("written just above") } else { create.acl };
        let ephemeral = matches!(op, OpCode::Create | OpCode::Create2) && mode.is_ephemeral();
        let ttl_ms = if op == OpCode::CreateTtl { ttl_ms } else { 0 };
        Ok(Txn::Create(CreateTxn { op, path, data: create.data, acl, ephemeral, parent_cversion, ttl_ms }))
    }

    fn delete<'a>(&mut self, tree: &Tree, origin: &Origin<'_>, delete: &PathVersion<'a>) -> Result<Txn<'a>, ErrorCode> {
        let parent_path = parent_of(delete.path)?;
        if RESERVED_PATHS.contains(&delete.path) {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.node(tree, parent_path)?;
        self.options.auth.check_acl(&parent.acl, Perms::DELETE, origin.ids)?;
        let node = self.node(tree, delete.path)?;
        next_version(node.version(), delete.version)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove_node(tree, origin.zxid, delete.path);
        Ok(Txn::Delete { op: OpCode::Delete, path: delete.path })
    }

    fn set_data<'a>(
        &mut self,
        tree: &Tree,
        origin: &Origin<'_>,
        set: &SetDataRequest<'a>,
    ) -> Result<Txn<'a>, ErrorCode> {
        path::validate(set.path).map_err(|_| ErrorCode::BadArguments)?;
        let mut node = self.node(tree, set.path)?;
        self.options.auth.check_acl(&node.acl, Perms::WRITE, origin.ids)?;
        let growth = signed(set.data.map_or(0, <[u8]>::len)) - signed(node.data_bytes);
        self.check_memory(growth > 0)?;
        self.check_quota(tree, origin, set.path, 0, growth)?;
        let version = next_version(node.version(), set.version)?;
        let crc = ContentCrc::of(set.path, set.data);
        let path = self.shared(set.path);
        self.change(origin.zxid, &path, &mut node, |node| {
            node.crc = crc;
            node.data_bytes = set.data.map_or(0, <[u8]>::len);
            if let Some(stat) = &mut node.stat {
                stat.version = version;
                stat.mtime = origin.time_ms;
                stat.mzxid = origin.zxid;
            }
        });
        Ok(Txn::SetData { op: OpCode::SetData, path: set.path, data: set.data, version })
    }

    fn set_acl<'a>(
        &mut self,
        tree: &Tree,
        origin: &Origin<'_>,
        set: &SetAclRequest<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Txn<'a>, ErrorCode> {
        path::validate(set.path).map_err(|_| ErrorCode::BadArguments)?;
        let fixed = self.fix_acl(origin, &set.acl)?;
        let mut node = self.node(tree, set.path)?;
        self.options.auth.check_acl(&node.acl, Perms::ADMIN, origin.ids)?;
        self.check_memory(acl_bytes(&fixed.acl) > acl_bytes(&node.acl))?;
        let version = next_version(node.stat.map_or(0, |stat| stat.aversion), set.version)?;
        let list = self.acl_list(&fixed.acl);
        let path = self.shared(set.path);
        self.change(origin.zxid, &path, &mut node, |node| {
            node.acl = list;
            if let Some(stat) = &mut node.stat {
                stat.aversion = version;
            }
        });
        let acl = match fixed.rewritten {
            None => set.acl,
            Some(bytes) => {
                *scratch = bytes;
                AclVec::read(&mut Reader::new(scratch)).expect("written by fix_acl")
            }
        };
        Ok(Txn::SetAcl { path: set.path, acl, version })
    }

    /// [`auth::fix_acl`]; what is too large is noted.
    fn fix_acl(&mut self, origin: &Origin<'_>, acl: &AclVec<'_>) -> Result<FixedAcl, ErrorCode> {
        auth::fix_acl(&self.options.auth, acl, origin.ids).map_err(|refused| match refused {
            AclRefused::Code(code) => code,
            AclRefused::TooLarge => {
                self.excesses.note(Excess::Acl, origin.session, origin.ids);
                ErrorCode::InvalidAcl
            }
        })
    }

    fn check<'a>(&self, tree: &Tree, origin: &Origin<'_>, check: &PathVersion<'a>) -> Result<Txn<'a>, ErrorCode> {
        path::validate(check.path).map_err(|_| ErrorCode::BadArguments)?;
        let node = self.node(tree, check.path)?;
        self.options.auth.check_acl(&node.acl, Perms::READ, origin.ids)?;
        let version = next_version(node.version(), check.version)?;
        Ok(Txn::Check { path: check.path, version })
    }

    /// Judges a change by the quota over its path. As in ZooKeeper the totals are those of the tree: what is on its way does not count yet.
    fn check_quota(
        &mut self,
        tree: &Tree,
        origin: &Origin<'_>,
        path: &str,
        count: i64,
        bytes: i64,
    ) -> Result<(), ErrorCode> {
        if !self.options.enforce_quota {
            return Ok(());
        }
        let Some(subject) = tree.quota_over(path) else { return Ok(()) };
        let Some((limits, totals)) = tree.quota_records(subject) else { return Ok(()) };
        let over = limits.judge(subject, &totals, count, bytes);
        // As in ZooKeeper, the first hard limit ends it.
        let mut refused = false;
        for over in over {
            refused = over.is_hard;
            self.excesses.note(Excess::Quota(over), origin.session, origin.ids);
            if refused {
                break;
            }
        }
        if refused { Err(ErrorCode::QuotaExceeded) } else { Ok(()) }
    }

    /// Memory is short, or suffices again.
    pub const fn set_memory_short(&mut self, is_short: bool) {
        self.memory_is_short = is_short;
    }

    /// New data is refused while memory is short, so that deletes still find some.
    fn check_memory(&mut self, grows: bool) -> Result<(), ErrorCode> {
        if grows && self.memory_is_short {
            self.excesses.count_no_memory();
            return Err(ErrorCode::SystemError);
        }
        Ok(())
    }

    /// What met a bound of the core's.
    #[must_use]
    pub const fn excesses(&self) -> &Excesses {
        &self.excesses
    }

    /// The same, to be taken or forgotten.
    pub const fn excesses_mut(&mut self) -> &mut Excesses {
        &mut self.excesses
    }

    fn finish(
        &mut self,
        origin: &Origin<'_>,
        txn: Result<Txn<'_>, ErrorCode>,
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let outcome = txn.as_ref().map(|_| ()).map_err(|code| *code);
        self.emit(origin, txn.unwrap_or_else(|code| Txn::Error(code.to_wire())), out);
        outcome
    }

    fn emit(&mut self, origin: &Origin<'_>, txn: Txn<'_>, out: &mut Vec<u8>) {
        self.undo.clear();
        let header = TxnHeader {
            session: origin.session,
            xid: origin.xid,
            zxid: origin.zxid,
            time_ms: origin.time_ms,
            op: txn.op(),
        };
        TxnRecord { header, txn, digest: Some((DIGEST_VERSION, self.digest)) }.encode(out);
    }
}

/// The kind of znode that a create makes: the operation decides, and for create and create2 the mode.
fn owner_of(op: OpCode, mode: CreateMode, ttl_ms: i64, session: SessionId) -> Result<EphemeralOwner, ErrorCode> {
    // A TTL only with a mode that has one, and the other way round. Java lets createTTL with ttl -1 and another mode pass and stops when
    // it applies the txn: refused here before it is logged.
    if mode.is_ttl() != (op == OpCode::CreateTtl) {
        return Err(ErrorCode::BadArguments);
    }
    match op {
        OpCode::CreateTtl => EphemeralOwner::ttl(ttl_ms).ok_or(ErrorCode::BadArguments),
        OpCode::CreateContainer => Ok(EphemeralOwner::CONTAINER),
        _ if mode.is_ephemeral() => Ok(EphemeralOwner::session_of(session)),
        _ => Ok(EphemeralOwner::NONE),
    }
}

/// Everything before the last slash. Only that much is checked here; the path as a whole is checked later or not at all, as in Java.
fn parent_of(path: &str) -> Result<&str, ErrorCode> {
    let (parent, _) = path.rsplit_once('/').ok_or(ErrorCode::BadArguments)?;
    if path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    Ok(if parent.is_empty() { "/" } else { parent })
}

/// The version after a change, if the expected one holds.
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current { Err(ErrorCode::BadVersion) } else { Ok(current.wrapping_add(1)) }
}

/// About what an ACL takes in memory.
fn acl_bytes(acl: &[Acl]) -> usize {
    acl.iter().map(|entry| size_of::<Acl>() + entry.scheme.len() + entry.id.len()).sum()
}
