//! A tree that goes on: txns of every kind, right for the tree and random, with the log of them.
#![allow(dead_code, reason = "each test binary uses its own part")]

use engine::apply;
use engine::tolerant::RecordedDigest;
use engine::tree::Tree;
use proto::txn::{CreateTxn, DIGEST_VERSION, Txn, TxnHeader, TxnRecord};
use proto::{Acl, AclVec, Epoch, OpCode, Perms, Reader, SessionId, Writer, Xid, Zxid, jute};
use ringkeeper_engine as engine;

pub(crate) fn acl_bytes(acl: &[Acl]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Acl::write_vec(acl, &mut Writer::new(&mut bytes));
    bytes
}

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A server's tree with the log of its txns.
pub(crate) struct Living {
    pub(crate) tree: Tree,
    pub(crate) log: Vec<Vec<u8>>,
    /// After each txn.
    pub(crate) digests: Vec<RecordedDigest>,
    pub(crate) random: Random,
    sessions: Vec<i64>,
    next_session: i64,
    /// The next txn's: a Java leader leaves some out.
    pub(crate) next: Zxid,
}

impl Living {
    pub(crate) fn new(seed: u64) -> Living {
        Living {
            tree: Tree::new(),
            log: Vec::new(),
            digests: Vec::new(),
            random: Random(seed),
            sessions: Vec::new(),
            next_session: 1,
            next: Zxid(1),
        }
    }

    /// Another leader: zxids begin anew.
    pub(crate) fn begin_epoch(&mut self, epoch: Epoch) {
        self.next = Zxid::new(epoch, 1);
    }

    /// Makes a txn, applies it, and writes it down with the digest after it.
    pub(crate) fn txn(&mut self) {
        let zxid = self.next;
        let open = acl_bytes(&[Acl::open()]);
        let perms = Perms(1 + i32::try_from(self.random.below(31)).unwrap());
        let acl = acl_bytes(&[Acl { perms, ..Acl::open() }]);
        let data = vec![b'x'; usize::try_from(self.random.below(9)).unwrap()];
        let (path, other) = (self.path(), self.path());
        let session = self.sessions.get(usize::try_from(self.random.below(3)).unwrap()).copied();
        let mut owner = session.unwrap_or_default();
        let owned = strings(self.tree.ephemerals_of(SessionId(owner)));
        let version =
            |path: &str| self.tree.get(path).map(|node| (node.persisted().version, node.persisted().aversion));
        let set =
            |path| Some(Txn::SetData { op: OpCode::SetData, path, data: Some(&data), version: version(path)?.0 + 1 });
        let acl_of = |bytes| AclVec::read(&mut Reader::new(bytes)).unwrap();
        let create = |path, op, ephemeral, acl| {
            let (parent, _) = proto::path::split(path)?;
            let parent = self.tree.get(parent).filter(|_| self.tree.get(path).is_none())?.persisted();
            let may_have = parent.ephemeral_owner.session().is_none();
            let parent_cversion = parent.cversion + 1;
            let ttl_ms = if op == OpCode::CreateTtl { 1_000 } else { 0 };
            let create =
                CreateTxn { op, path, data: Some(&data), acl: acl_of(acl), ephemeral, parent_cversion, ttl_ms };
            may_have.then_some(Txn::Create(create))
        };
        let (choice, kind) = (self.random.below(23), self.random.below(4));
        let op = [OpCode::Create, OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl]
            [usize::try_from(kind).unwrap()];
        let sequential = self.tree.get(&path).map(|node| format!("{path}/q{:010}", node.persisted().cversion));
        let quota = format!("/zookeeper/quota/n{kind}");
        let (limits, stats) = (format!("{quota}/zookeeper_limits"), format!("{quota}/zookeeper_stats"));
        let txn = match choice {
            0..=6 => create(&path, op, false, if choice == 0 { &acl } else { &open }),
            7 | 8 => session
                .and_then(|_| create(&path, if kind < 2 { OpCode::Create } else { OpCode::Create2 }, true, &open)),
            9..=12 => {
                let node = self.tree.get(&path).filter(|node| node.child_count() == 0 && path.starts_with("/n"));
                node.map(|_| Txn::Delete { op: OpCode::Delete, path: &path })
            }
            13 => set(&path),
            14 => version(&path).map(|(_, aversion)| Txn::SetAcl {
                path: &path,
                acl: acl_of(&acl),
                version: aversion + 1,
            }),
            15 | 16 => {
                let made = create(&path, OpCode::Create, false, &open).zip(set(&other));
                made.map(|(made, set)| {
                    let again = Txn::SetData { op: OpCode::SetData, path: &path, data: None, version: 1 };
                    Txn::Multi(vec![made, set, again, Txn::Check { path: &other, version: 1 }])
                })
            }
            17 if self.sessions.len() < 3 => {
                owner = self.next_session;
                self.sessions.push(owner);
                self.next_session += 1;
                Some(Txn::CreateSession { timeout_ms: 4_000 })
            }
            18 => session.map(|id| {
                self.sessions.retain(|other| *other != id);
                Txn::CloseSession(jute::StrVec::read_or_null(&mut Reader::new(&owned)).unwrap())
            }),
            19 => sequential
                .as_deref()
                .filter(|_| path.starts_with("/n"))
                .and_then(|sequential| create(sequential, OpCode::Create2, session.is_some() && kind < 2, &open)),
            20 if self.tree.get(&quota).is_none() => {
                let made = |path, parent_cversion, data| {
                    let acl = acl_of(&open);
                    let op = OpCode::Create;
                    Txn::Create(CreateTxn { op, path, data, acl, ephemeral: false, parent_cversion, ttl_ms: 0 })
                };
                let root = self.tree.get("/zookeeper/quota").unwrap().persisted().cversion + 1;
                let limit = Some(&b"count=9,bytes=99"[..]);
                Some(Txn::Multi(vec![made(&quota, root, None), made(&limits, 1, limit), made(&stats, 2, limit)]))
            }
            20 => {
                let gone = |path| Txn::Delete { op: OpCode::Delete, path };
                Some(Txn::Multi(vec![gone(&stats), gone(&limits), gone(&quota)]))
            }
            21 => Some(Txn::Multi(vec![Txn::Error(0), Txn::Error(-110), Txn::Error(-2)])),
            _ => Some(Txn::Error(-101)),
        };
        let txn = txn.unwrap_or(Txn::Error(-110));
        let time_ms = 7 + zxid.0.cast_signed() % 90;
        let header = TxnHeader { session: SessionId(owner), xid: Xid(0), zxid, time_ms, op: txn.op() };
        let mut record = TxnRecord { header, txn, digest: None };
        apply::apply(&mut self.tree, &record, &mut Vec::new(), None);
        record.digest = Some((DIGEST_VERSION, self.tree.digest()));
        self.digests.push(self.digest());
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        self.log.push(bytes);
        self.next = zxid.next();
    }

    /// That of a znode that is there, or of one of a few that may be.
    fn path(&mut self) -> String {
        let is_there = self.random.below(4) == 0;
        let mut path = format!("/n{}", self.random.below(4));
        while path.len() < 9 && self.random.below(3) > 0 {
            if is_there {
                let Some(node) = self.tree.get(&path).filter(|node| node.child_count() > 0) else { break };
                let at = self.random.below(node.child_count() as u64);
                let name = node.children().nth(usize::try_from(at).unwrap()).unwrap();
                path.push_str(&format!("/{name}"));
            } else {
                path.push_str(&format!("/{}", self.random.below(2)));
            }
        }
        path
    }

    pub(crate) fn digest(&self) -> RecordedDigest {
        RecordedDigest { zxid: self.tree.last_zxid(), version: DIGEST_VERSION, digest: self.tree.digest() }
    }
}

pub(crate) fn strings<S: AsRef<str>>(paths: impl Iterator<Item = S>) -> Vec<u8> {
    let (mut bytes, paths) = (Vec::new(), paths.collect::<Vec<_>>());
    Writer::new(&mut bytes).strings(paths.into_iter());
    bytes
}
