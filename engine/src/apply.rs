//! Apply: a committed txn changes the tree. It does not validate, fail, read a clock or draw a random number (law 3).
//!
//! Owns nothing. It tells what changed, for watches, and writes the record of the reply for the server whose client asked. After every txn
//! the tree's digest must be the one that prep predicted: asserted in release builds too.

use crate::stream::{Change, ChangeKind, Guard, StreamItem};
use crate::tree::{AclId, NewNode, Node, Tree};
use proto::jute::Writer;
use proto::reply::OpResult;
use proto::request::{MultiOp, Request};
use proto::stat::EphemeralOwner;
use proto::txn::{CreateTxn, DIGEST_VERSION, Txn, TxnHeader, TxnRecord};
use proto::{Acl, AclVec, OpCode, Stat};
use std::borrow::Cow;
use std::sync::Arc;

/// Which operations of a multi were create2's: their results have a Stat. The txn does not tell, see `prep/multi.rs`; whoever knows the request does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Create2s {
    /// By place; nothing where there are none, as is usual.
    are: Option<Box<[bool]>>,
}

impl Create2s {
    /// None.
    pub const NONE: &Create2s = &Create2s { are: None };

    /// Those of a request.
    #[must_use]
    pub fn of(request: &Request<'_>) -> Create2s {
        let is_one = |op: &MultiOp<'_>| op.op() == OpCode::Create2;
        match request {
            Request::Multi(multi) if multi.ops.iter().any(is_one) => {
                Create2s { are: Some(multi.ops.iter().map(is_one).collect()) }
            }
            _ => Create2s::default(),
        }
    }

    fn has(&self, place: usize) -> bool {
        self.are.as_ref().and_then(|are| are.get(place)).is_some_and(|is_one| *is_one)
    }
}

/// The reply for a client that waits for a txn.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The reply's record is appended here.
    pub out: &'a mut Vec<u8>,
    /// What the client asked for that the txn does not tell.
    pub create2s: &'a Create2s,
}

/// Can a txn that was made elsewhere be applied as it stands? What prep refuses here, another server's may have let pass; what does not fit the tree shows
/// only there.
#[must_use]
pub fn is_sound(txn: &Txn<'_>) -> bool {
    match txn {
        Txn::Create(create) => {
            let has_ttl = create.op == OpCode::CreateTtl;
            create.acl.to_vec().is_ok() && (!has_ttl || EphemeralOwner::ttl(create.ttl_ms).is_some())
        }
        Txn::SetAcl { acl, .. } => acl.to_vec().is_ok(),
        Txn::Multi(txns) => txns.iter().all(is_sound),
        _ => true,
    }
}

/// Applies one txn. Changes are appended to `items`; the reply's record, if somebody waits for it, to `answer`. Returns the error
/// code of the reply's header.
///
/// # Panics
/// If the txn does not fit the tree, or the digest after it is not the recorded one: the history is broken, and going on would spread it.
pub fn apply(tree: &mut Tree, record: &TxnRecord<'_>, items: &mut Vec<StreamItem>, answer: Option<Answer<'_>>) -> i32 {
    let mut nothing = Vec::new();
    let Answer { out, create2s } = answer.unwrap_or(Answer { out: &mut nothing, create2s: Create2s::NONE });
    let mut writer = Writer::new(out);
    let header = &record.header;
    let err = match &record.txn {
        Txn::Error(err) => *err,
        Txn::Multi(txns) => {
            apply_multi(tree, header, txns, create2s, items, &mut writer);
            0
        }
        txn => {
            match apply_single(tree, header, txn, items) {
                Outcome::Nothing => {}
                Outcome::Created(path, stat) => {
                    writer.string(&path);
                    if txn.op() != OpCode::Create {
                        stat.write(&mut writer);
                    }
                }
                Outcome::Stat(stat) => stat.write(&mut writer),
            }
            0
        }
    };
    tree.set_last_zxid(header.zxid);
    // One that is predicted is compared by whoever follows that leader.
    if let Some((_, digest)) = record.digest.filter(|(version, _)| *version == DIGEST_VERSION) {
        assert!(
            tree.digest() == digest,
            "the digest after {} is {:#x}, the txn says {digest:#x}: the tree is not what its history made",
            header.zxid,
            tree.digest(),
        );
    }
    err
}

enum Outcome {
    Nothing,
    Created(Arc<str>, Stat),
    Stat(Stat),
}

fn apply_multi(
    tree: &mut Tree,
    header: &TxnHeader,
    txns: &[Txn<'_>],
    create2s: &Create2s,
    items: &mut Vec<StreamItem>,
    writer: &mut Writer<'_>,
) {
    let failed = txns.iter().any(|txn| matches!(txn, Txn::Error(_)));
    let mut after_failure = false;
    for (place, txn) in txns.iter().enumerate() {
        if failed {
            // Operations of a failed multi change nothing, whatever a foreign server has recorded of them.
            let err = match txn {
                Txn::Error(err) => *err,
                _ if after_failure => proto::ErrorCode::RuntimeInconsistency.to_wire(),
                _ => 0,
            };
            after_failure |= err != 0;
            OpResult::Error(err).write(writer);
            continue;
        }
        match apply_single(tree, header, txn, items) {
            Outcome::Created(path, _) if txn.op() == OpCode::Create && !create2s.has(place) => {
                OpResult::Create(&path).write(writer);
            }
            Outcome::Created(path, stat) => OpResult::Create2(OpCode::Create2, &path, stat).write(writer),
            Outcome::Stat(stat) => OpResult::SetData(stat).write(writer),
            Outcome::Nothing if txn.op() == OpCode::Check => OpResult::Check.write(writer),
            Outcome::Nothing => OpResult::Delete.write(writer),
        }
    }
    OpResult::write_end(writer);
}

fn apply_single(tree: &mut Tree, header: &TxnHeader, txn: &Txn<'_>, items: &mut Vec<StreamItem>) -> Outcome {
    match txn {
        Txn::Create(create) => apply_create(tree, header, create, items),
        Txn::Delete { path, .. } => {
            delete(tree, header, path, items);
            Outcome::Nothing
        }
        Txn::SetData { path, data, version, .. } => {
            let before = tree.quota_over(path).and_then(|_| tree.get(path)).map(|node| node.data_bytes());
            let stat = tree.set_data(path, *data, *version, header.zxid, header.time_ms);
            if let Some(before) = before {
                tree.quota_set(path, before, data.map_or(0, <[u8]>::len));
            }
            let node = tree.get(path).expect("its data was set just now");
            let (path, guard) = (node.shared_path(), guard_of(&node));
            items.push(StreamItem::Change(Change {
                zxid: header.zxid,
                kind: ChangeKind::DataChanged,
                path,
                guard,
                parent_guard: None,
            }));
            Outcome::Stat(stat)
        }
        Txn::SetAcl { path, acl, version } => Outcome::Stat(tree.set_acl(path, &entries(acl), *version)),
        Txn::Check { .. } | Txn::Error(_) => Outcome::Nothing,
        Txn::CreateSession { timeout_ms } => {
            tree.put_session(header.session, *timeout_ms);
            Outcome::Nothing
        }
        Txn::CloseSession(listed) => {
            for path in listed.iter().flat_map(|paths| paths.iter()) {
                delete(tree, header, path, items);
            }
            // Old servers do not list them, and whatever is left goes too.
            let mut left: Vec<Arc<str>> = tree.ephemerals_of(header.session).map(Arc::from).collect();
            // The same order on every server.
            left.sort_unstable();
            for path in left {
                delete(tree, header, &path, items);
            }
            tree.remove_session(header.session);
            Outcome::Nothing
        }
        Txn::Multi(_) => unreachable!("the decoder refuses a multi inside a multi"),
    }
}

fn apply_create(tree: &mut Tree, header: &TxnHeader, create: &CreateTxn<'_>, items: &mut Vec<StreamItem>) -> Outcome {
    let owner = match create.op {
        OpCode::CreateContainer => EphemeralOwner::CONTAINER,
        OpCode::CreateTtl => EphemeralOwner::ttl(create.ttl_ms).expect("prep has checked the TTL"),
        _ if create.ephemeral => EphemeralOwner::session_of(header.session),
        _ => EphemeralOwner::NONE,
    };
    let acl = entries(&create.acl);
    let new = NewNode { path: create.path, data: create.data, acl: &acl, owner };
    tree.create(&new, create.parent_cversion, header.zxid, header.time_ms);
    let node = tree.get(create.path).expect("created just now");
    let (path, guard, stat) = (node.shared_path(), guard_of(&node), node.stat());
    // After the reply's stat was taken: the totals of a quota are not what the client wrote.
    tree.quota_created(create.path, create.data.map_or(0, <[u8]>::len));
    let parent_guard = guard_of_parent(tree, create.path);
    let kind = ChangeKind::Created;
    items.push(StreamItem::Change(Change { zxid: header.zxid, kind, path: Arc::clone(&path), guard, parent_guard }));
    Outcome::Created(path, stat)
}

fn delete(tree: &mut Tree, header: &TxnHeader, path: &str, items: &mut Vec<StreamItem>) {
    let deleted = tree.delete(path, header.zxid);
    tree.quota_deleted(path, deleted.data_bytes);
    let guard = if *deleted.acl == [Acl::open()] { None } else { Some(deleted.acl) };
    let parent_guard = guard_of_parent(tree, path);
    let kind = ChangeKind::Deleted;
    items.push(StreamItem::Change(Change { zxid: header.zxid, kind, path: deleted.path, guard, parent_guard }));
}

fn guard_of(node: &Node<'_>) -> Guard {
    if node.acl_id() == AclId::OPEN { None } else { Some(Arc::clone(node.acl())) }
}

fn guard_of_parent(tree: &Tree, path: &str) -> Guard {
    let (parent, _) = proto::path::split(path)?;
    tree.get(parent).as_ref().and_then(guard_of)
}

/// The ACL of a txn, owned; the open one, by far the most common, without a decode.
fn entries(acl: &AclVec<'_>) -> Cow<'static, [Acl]> {
    thread_local! {
        static OPEN: (Vec<u8>, &'static [Acl]) = {
            let open: &'static [Acl] = Box::leak(Box::new([Acl::open()]));
            let mut bytes = Vec::new();
            open.iter().for_each(|acl| acl.write(&mut Writer::new(&mut bytes)));
            (bytes, open)
        };
    }
    OPEN.with(|(bytes, open)| {
        if acl.raw() == bytes.as_slice() {
            Cow::Borrowed(*open)
        } else {
            Cow::Owned(acl.to_vec().expect("prep has refused ACLs with nulls"))
        }
    })
}
