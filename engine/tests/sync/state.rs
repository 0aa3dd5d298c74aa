//! Trees with one of everything, made by txns, and all that is in a tree.

use crate::image::publish;
use engine::apply;
use engine::tree::Tree;
use engine::turn::sync::{SentBy, SnapSource, SourceState, StateTaker, TakeLimits, Taking};
use proto::quorum::{DATA_BYTES_MAX_DEFAULT, FromLeader, QuorumPacket};
use proto::txn::{CreateTxn, Txn, TxnHeader, TxnRecord};
use proto::{Acl, AclVec, Epoch, OpCode, Perms, Reader, Received, SessionId, StatPersisted, Writer, Xid, Zxid, jute};
use ringkeeper_engine as engine;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// All that a tree holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Everything {
    znodes: BTreeMap<String, Znode>,
    sessions: Vec<(SessionId, i32)>,
    ephemerals: Vec<Vec<String>>,
    empty_containers: Vec<String>,
    ttls: Vec<String>,
    quotas: Vec<String>,
    digest: u64,
    zxid: Zxid,
    counts: (usize, usize, u64),
}

impl Everything {
    /// As if it were of this zxid.
    pub(crate) fn at(self, zxid: Zxid) -> Everything {
        Everything { zxid, ..self }
    }
}

/// Its data, ACL, stat, and count of children.
type Znode = (Option<Vec<u8>>, Vec<Acl>, StatPersisted, usize);

pub(crate) fn everything(tree: &Tree) -> Everything {
    let sorted = |mut paths: Vec<String>| {
        paths.sort_unstable();
        paths
    };
    let sessions: Vec<_> = tree.sessions().collect();
    let of = |session: &(SessionId, i32)| tree.ephemerals_of(session.0).map(Cow::into_owned).collect();
    let znodes: BTreeMap<_, _> = tree
        .subtree("/")
        .map(|node| {
            let data = node.data().map(Cow::into_owned);
            (node.path().to_owned(), (data, node.acl().to_vec(), node.persisted(), node.child_count()))
        })
        .collect();
    assert_eq!(znodes.len(), tree.node_count(), "every znode hangs below the root");
    Everything {
        znodes,
        ephemerals: sessions.iter().map(|session| sorted(of(session))).collect(),
        sessions,
        empty_containers: sorted(tree.empty_containers().map(|node| node.path().to_owned()).collect()),
        ttls: sorted(tree.ttls_due(i64::MAX).map(|node| node.path().to_owned()).collect()),
        quotas: sorted(tree.quota_subjects(usize::MAX).iter().map(|path| path.to_string()).collect()),
        digest: tree.digest(),
        zxid: tree.last_zxid(),
        counts: (tree.node_count(), tree.ephemeral_count(), tree.data_bytes()),
    }
}

pub(crate) fn acl_bytes(acl: &[Acl]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Acl::write_vec(acl, &mut Writer::new(&mut bytes));
    bytes
}

/// Applies a txn, the next.
pub(crate) fn txn(tree: &mut Tree, session: i64, txn: Txn<'_>) {
    let (zxid, op) = (tree.last_zxid().next(), txn.op());
    let header = TxnHeader { session: SessionId(session), xid: Xid(0), zxid, time_ms: 1_000 + zxid.0 as i64, op };
    apply::apply(tree, &TxnRecord { header, txn, digest: None }, &mut Vec::new(), None);
}

/// A znode, with the open ACL unless `acl` says another.
pub(crate) struct Made<'a> {
    pub(crate) path: &'a str,
    pub(crate) op: OpCode,
    pub(crate) data: Option<&'a [u8]>,
    pub(crate) acl: Acl,
    pub(crate) session: i64,
}

impl<'a> Made<'a> {
    pub(crate) fn at(path: &'a str) -> Made<'a> {
        Made { path, op: OpCode::Create, data: Some(b"data"), acl: Acl::open(), session: 0 }
    }

    pub(crate) fn make(&self, tree: &mut Tree) {
        let (parent, _) = proto::path::split(self.path).unwrap();
        let parent_cversion = tree.get(parent).unwrap().persisted().cversion + 1;
        let acl = acl_bytes(std::slice::from_ref(&self.acl));
        let create = CreateTxn {
            op: self.op,
            path: self.path,
            data: self.data,
            acl: AclVec::read(&mut Reader::new(&acl)).unwrap(),
            ephemeral: self.session != 0,
            parent_cversion,
            ttl_ms: if self.op == OpCode::CreateTtl { 5_000 } else { 0 },
        };
        txn(tree, self.session, Txn::Create(create));
    }
}

fn delete(tree: &mut Tree, path: &str) {
    txn(tree, 0, Txn::Delete { op: OpCode::Delete, path });
}

/// A tree with one of everything: sessions, ephemerals, containers with and without children, TTLs, null and empty data, ACLs, quotas, parents whose
/// children came and went, siblings below and above the names of others, and levels.
pub(crate) fn rich() -> Tree {
    let mut tree = Tree::new();
    for (session, timeout_ms) in [(7, 4_000), (-9, 40_000), (8, 1)] {
        txn(&mut tree, session, Txn::CreateSession { timeout_ms });
    }
    txn(&mut tree, 8, Txn::CloseSession(Some(jute::StrVec::EMPTY)));
    let make = |tree: &mut Tree, path: &str| Made::at(path).make(tree);
    for path in ["/a", "/a/b", "/a/b/c", "/a0", "/a/b-", "/z", "/a/b/c/d", "/é", "/é/ü", "/a-", "/a-/x", "/a0/x"] {
        make(&mut tree, path);
    }
    Made { data: None, ..Made::at("/null") }.make(&mut tree);
    Made { data: Some(b""), ..Made::at("/empty") }.make(&mut tree);
    let large = vec![b'x'; 70_000];
    Made { data: Some(&large), ..Made::at("/z/large") }.make(&mut tree);
    Made { session: 7, ..Made::at("/a/mine") }.make(&mut tree);
    Made { session: 7, op: OpCode::Create2, ..Made::at("/mine") }.make(&mut tree);
    Made { session: -9, data: None, ..Made::at("/z/yours") }.make(&mut tree);
    Made { op: OpCode::CreateContainer, ..Made::at("/container") }.make(&mut tree);
    Made { op: OpCode::CreateContainer, ..Made::at("/container/empty") }.make(&mut tree);
    Made { op: OpCode::CreateTtl, ..Made::at("/ttl") }.make(&mut tree);
    make(&mut tree, "/ttl/child");
    for (at, perms) in [Perms::READ, Perms::WRITE, Perms::ADMIN].into_iter().enumerate() {
        let acl = Acl { perms, scheme: "digest".into(), id: format!("user{at}:hash").into() };
        Made { acl, ..Made::at(&format!("/a/acl{at}")) }.make(&mut tree);
    }
    delete(&mut tree, "/a/acl1");
    // Sequence numbers come from the parent's cversion, which deletes do not bring back.
    make(&mut tree, "/queue");
    for at in 0..40 {
        let path = format!("/queue/n{at:010}");
        make(&mut tree, &path);
        if at % 3 == 0 {
            delete(&mut tree, &path);
        }
    }
    txn(&mut tree, 0, Txn::SetData { op: OpCode::SetData, path: "/a/b", data: Some(b"other"), version: 1 });
    let acl = acl_bytes(&[Acl::world_read(), Acl { scheme: "ip".into(), id: "127.0.0.1".into(), ..Acl::open() }]);
    let acl = AclVec::read(&mut Reader::new(&acl)).unwrap();
    txn(&mut tree, 0, Txn::SetAcl { path: "/a/b/c", acl, version: 1 });
    make(&mut tree, "/zookeeper/quota/a");
    Made { data: Some(b"count=100,bytes=1000"), ..Made::at("/zookeeper/quota/a/zookeeper_limits") }.make(&mut tree);
    make(&mut tree, "/zookeeper/quota/a/zookeeper_stats");
    make(&mut tree, "/a/under-quota");
    tree.set_local_data("/zookeeper/config", b"server.1=zk1:2888:3888:participant\nversion=0");
    tree
}

/// The tree on an image of small segments.
pub(crate) fn on_image(tree: &mut Tree, dir: &Path) {
    let frozen = tree.freeze();
    drop(tree.rebase(publish(&frozen, dir)));
}

/// All that a source gives, in chunks of this many bytes.
pub(crate) fn streamed(source: &mut SnapSource, chunk_bytes: usize) -> Vec<u8> {
    let (mut all, mut chunk) = (Vec::new(), Vec::new());
    loop {
        chunk.clear();
        let state = source.next_chunk(&mut chunk, chunk_bytes).unwrap();
        all.extend_from_slice(&chunk);
        match state {
            SourceState::More => assert!(chunk.len() >= chunk_bytes),
            SourceState::Done { to } => {
                assert_eq!(to, source.zxid());
                return all;
            }
        }
    }
}

/// The zxid of the SNAP packet, and what follows it.
pub(crate) fn after_packet(bytes: &[u8]) -> (Zxid, &[u8]) {
    let Ok(Received::Whole(packet, len)) = QuorumPacket::receive(bytes, DATA_BYTES_MAX_DEFAULT) else { panic!() };
    let Ok(FromLeader::Snap(zxid)) = FromLeader::decode(&packet) else { panic!("{packet:?}") };
    (zxid, &bytes[len..])
}

/// The leader's, whose states these are.
pub(crate) const EPOCH: Epoch = Epoch(9);

/// Whose states most are taken for.
pub(crate) const JAVA: SentBy = SentBy::Java(EPOCH);

/// NEWLEADER, as a packet.
pub(crate) fn new_leader() -> Vec<u8> {
    let mut bytes = Vec::new();
    let said = FromLeader::NewLeader { zxid: Zxid::new(EPOCH, 0), config: Some("server.1=zk1:2888:3888:participant") };
    said.write(&mut Writer::new(&mut bytes));
    bytes
}

/// Takes a stream with NEWLEADER and something more behind it, in pieces of this many bytes.
pub(crate) fn taken(zxid: Zxid, stream: &[u8], piece_bytes: usize) -> StateTaker {
    let mut taker = StateTaker::new(zxid, JAVA, TakeLimits::default());
    let own_bytes = stream.len() + new_leader().len();
    let bytes = [stream, &new_leader(), b"and packets"].concat();
    let mut own = 0;
    for piece in bytes.chunks(piece_bytes) {
        own += piece.len();
        match taker.take(piece).unwrap() {
            Taking::More => assert!(own < own_bytes),
            Taking::Over { rest } => own -= rest,
        }
    }
    assert_eq!((own, taker.bytes_taken()), (own_bytes, stream.len() as u64), "no byte of what is behind it");
    taker
}
