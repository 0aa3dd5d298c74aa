//! Fuzzy snapshots, taken of a living tree as Java takes them (`DataTree.serializeNode`), must become that tree again by the txns after them.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

#[path = "support/vectors.rs"]
mod vectors;

use engine::apply;
use engine::tolerant::{Doubt, RecordedDigest, Replayed, TolerantError, TolerantLoader, TolerantReplay};
use engine::tree::{LoadError, Tree};
use proto::stat::EphemeralOwner;
use proto::txn::{CreateTxn, DIGEST_VERSION, NO_PARENT_CVERSION, Txn, TxnHeader, TxnRecord};
use proto::{Acl, AclVec, OpCode, Perms, Reader, SessionId, StatPersisted, Writer, Xid, Zxid, jute};
use ringkeeper_engine as engine;
use std::borrow::Cow;
use std::collections::BTreeMap;
use vectors::vectors;

/// Znodes with all that is stored of them, and the sessions.
type Everything = (BTreeMap<String, (Option<Vec<u8>>, Vec<Acl>, StatPersisted)>, Vec<(SessionId, i32)>);

fn everything(tree: &Tree) -> Everything {
    let (mut znodes, mut ahead) = (BTreeMap::new(), vec!["/".to_owned()]);
    while let Some(path) = ahead.pop() {
        let node = tree.get(&path).unwrap();
        let prefix = if path == "/" { "" } else { &path };
        ahead.extend(node.children().map(|name| format!("{prefix}/{name}")));
        znodes.insert(path.clone(), (node.data().map(Cow::into_owned), node.acl().to_vec(), node.persisted()));
    }
    assert_eq!(znodes.len(), tree.node_count(), "every znode hangs below the root");
    (znodes, tree.sessions().collect())
}

fn acl_bytes(acl: &[Acl]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Acl::write_vec(acl, &mut Writer::new(&mut bytes));
    bytes
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A server's tree with the log of its txns, which are right and random.
struct Living {
    tree: Tree,
    log: Vec<Vec<u8>>,
    /// After each txn.
    digests: Vec<RecordedDigest>,
    random: Random,
    sessions: Vec<i64>,
    next_session: i64,
}

impl Living {
    fn new(seed: u64) -> Living {
        Living {
            tree: Tree::new(),
            log: Vec::new(),
            digests: Vec::new(),
            random: Random(seed),
            sessions: Vec::new(),
            next_session: 1,
        }
    }

    /// Makes a txn, applies it, and writes it down with the digest after it.
    fn txn(&mut self) {
        let zxid = self.tree.last_zxid().next();
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
        let (choice, kind) = (self.random.below(20), self.random.below(4));
        let op = [OpCode::Create, OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl]
            [usize::try_from(kind).unwrap()];
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
            _ => Some(Txn::Error(-101)),
        };
        let txn = txn.unwrap_or(Txn::Error(-110));
        let header = TxnHeader { session: SessionId(owner), xid: Xid(0), zxid, time_ms: 7, op: txn.op() };
        let mut record = TxnRecord { header, txn, digest: None };
        apply::apply(&mut self.tree, &record, &mut Vec::new(), None);
        record.digest = Some((DIGEST_VERSION, self.tree.digest()));
        self.digests.push(self.digest());
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        self.log.push(bytes);
    }

    fn path(&mut self) -> String {
        let mut path = format!("/n{}", self.random.below(3));
        while path.len() < 9 && self.random.below(3) > 0 {
            path.push_str(&format!("/{}", self.random.below(2)));
        }
        path
    }

    /// A snapshot while up to `speed` txns go on before each of its znodes.
    fn fuzzy_snapshot(&mut self, speed: u64) -> (TolerantLoader, Zxid) {
        let mut loader = TolerantLoader::new();
        let begun = self.tree.last_zxid();
        self.tree.sessions().for_each(|(id, timeout_ms)| loader.session(id, timeout_ms));
        let known: Vec<Vec<Acl>> = everything(&self.tree).0.into_values().map(|(_, acl, _)| acl).collect();
        let mut ahead = vec!["/".to_owned()];
        while let Some(path) = ahead.pop() {
            (0..self.random.below(speed + 1)).for_each(|_| self.txn());
            let Some(node) = self.tree.get(&path) else { continue };
            let acl = Some(&node.acl()[..]).filter(|acl| known.iter().any(|known| known == acl));
            loader.node(&path, node.data().as_deref(), acl, node.persisted()).unwrap();
            let prefix = if path == "/" { "" } else { &path };
            ahead.extend(node.children().map(|name| format!("{prefix}/{name}")));
        }
        (loader, begun)
    }

    fn digest(&self) -> RecordedDigest {
        RecordedDigest { zxid: self.tree.last_zxid(), version: DIGEST_VERSION, digest: self.tree.digest() }
    }

    /// What comes out of a replay of the txns after `begun`, up to `end`.
    fn replay(&self, mut replay: TolerantReplay, begun: Zxid, end: Zxid) -> Result<Replayed, TolerantError> {
        for bytes in &self.log {
            let record = TxnRecord::decode(bytes).unwrap();
            if record.header.zxid > begun && record.header.zxid <= end {
                replay.apply(&record)?;
            }
        }
        replay.finish()
    }
}

fn strings<S: AsRef<str>>(paths: impl Iterator<Item = S>) -> Vec<u8> {
    let (mut bytes, paths) = (Vec::new(), paths.collect::<Vec<_>>());
    Writer::new(&mut bytes).strings(paths.into_iter());
    bytes
}

#[test]
fn a_fuzzy_snapshot_of_any_moment_becomes_the_tree_again() {
    let (mut without_acl, mut fuzzy, mut znodes) = (0, 0, 0);
    for seed in 0..600 {
        let mut living = Living::new(seed);
        (0..seed % 90).for_each(|_| living.txn());
        let (loader, begun) = living.fuzzy_snapshot(1 + seed % 5);
        without_acl += usize::from(format!("{loader:?}").contains("without_acl: {\""));
        let last = living.tree.last_zxid();
        fuzzy += usize::from(last > begun);
        let last_zxid = (seed % 2 == 0).then_some(last);
        // The last txn may have changed znodes and not yet be done.
        let before = living.digests.iter().rev().nth(1).filter(|digest| seed % 7 == 0 && digest.zxid >= begun);
        let digest = before.copied().unwrap_or(living.digest());
        (0..seed % 40).for_each(|_| living.txn());
        // Servers without digests write none.
        let replay = loader.finish(begun, (seed % 3 > 0).then_some(digest), last_zxid).unwrap();
        let replayed =
            living.replay(replay, begun, living.tree.last_zxid()).unwrap_or_else(|error| panic!("{seed}: {error}"));
        assert_eq!(everything(&replayed.tree), everything(&living.tree), "seed {seed}");
        assert_eq!((replayed.doubt, replayed.lost_ephemerals), (None, 0), "seed {seed}");
        if seed % 3 > 0 {
            assert_eq!(replayed.digests.unequal, 0, "seed {seed}");
        }
        znodes += replayed.tree.node_count();
    }
    assert!(fuzzy > 500 && without_acl > 50 && znodes > 600 * 8, "{fuzzy} {without_acl} {znodes}");
}

#[test]
fn txns_that_end_before_the_snapshot_was_complete_are_a_doubt() {
    let mut living = Living::new(5);
    (0..50).for_each(|_| living.txn());
    let (loader, begun) = living.fuzzy_snapshot(3);
    let complete_at = living.tree.last_zxid();
    let reached = Zxid(complete_at.0 - 1);
    let replay = loader.finish(begun, None, Some(complete_at)).unwrap();
    match living.replay(replay, begun, reached) {
        Ok(replayed) => assert_eq!(replayed.doubt, Some(Doubt::Incomplete { complete_at, reached })),
        Err(error) => assert!(matches!(error, TolerantError::NoAcl(_)), "{error}"),
    }
}

/// The reserved znodes and one besides, with the digest that they have.
fn small(digest: impl Fn(u64) -> u64) -> TolerantReplay {
    let mut loader = TolerantLoader::new();
    for (path, (data, acl, stat)) in everything(&Tree::new()).0 {
        loader.node(&path, data.as_deref(), Some(&acl), stat).unwrap();
    }
    let right = RecordedDigest { zxid: Zxid(3), version: DIGEST_VERSION, digest: digest(Tree::new().digest()) };
    loader.finish(Zxid(3), Some(right), None).unwrap()
}

fn create<'a>(zxid: u64, path: &'a str, digest: Option<u64>) -> TxnRecord<'a> {
    let create = CreateTxn {
        op: OpCode::Create,
        path,
        data: None,
        acl: AclVec::NULL,
        ephemeral: false,
        parent_cversion: NO_PARENT_CVERSION,
        ttl_ms: 0,
    };
    let header = TxnHeader { session: SessionId(9), xid: Xid(1), zxid: Zxid(zxid), time_ms: 5, op: OpCode::Create };
    TxnRecord { header, txn: Txn::Create(create), digest: digest.map(|digest| (DIGEST_VERSION, digest)) }
}

#[test]
fn the_last_digest_decides() {
    assert_eq!(small(|digest| digest).finish().unwrap().doubt, None);
    let wrong = small(|digest| digest ^ 1).finish().unwrap();
    assert!(matches!(wrong.doubt, Some(Doubt::Unequal(unequal)) if unequal.zxid == Zxid(3)), "{:?}", wrong.doubt);
    // What Java predicts wrongly it says right with the next txn.
    let mut replay = small(|digest| digest);
    replay.apply(&create(4, "/a", Some(77))).unwrap();
    let right = {
        let mut replay = small(|digest| digest);
        replay.apply(&create(4, "/a", None)).unwrap();
        replay.apply(&create(5, "/b", None)).unwrap();
        replay.finish().unwrap().tree.digest()
    };
    replay.apply(&create(5, "/b", Some(right))).unwrap();
    let replayed = replay.finish().unwrap();
    assert_eq!((replayed.doubt, replayed.digests.compared, replayed.digests.unequal), (None, 3, 1));
    assert_eq!(replayed.digests.first_unequal.unwrap().zxid, Zxid(4));
    // A create without the parent's cversion, as servers before 3.4 wrote it, and without an ACL, which is open to everybody.
    let root = replayed.tree.get("/").unwrap().persisted();
    assert_eq!((root.cversion, root.pzxid), (2, Zxid(5)));
    assert_eq!(**replayed.tree.get("/b").unwrap().acl(), [Acl::open()]);
}

#[test]
fn a_snapshot_that_is_ahead_of_its_digest_is_proved_by_the_next_txn() {
    let set = |digest| {
        let txn = Txn::SetData { op: OpCode::SetData, path: "/a", data: Some(b"new"), version: 1 };
        let digest = Some((DIGEST_VERSION, digest));
        TxnRecord { header: TxnHeader { op: OpCode::SetData, ..create(5, "/a", None).header }, txn, digest }
    };
    let mut replay = small(|digest| digest);
    replay.apply(&create(4, "/a", None)).unwrap();
    let before = replay.finish().unwrap().tree.digest();
    let mut replay = small(|digest| digest);
    replay.apply(&create(4, "/a", None)).unwrap();
    replay.apply(&set(0)).unwrap();
    let after = replay.finish().unwrap().tree;
    // The znode is that of the fifth txn, the digest that of the fourth.
    let snapshot = || {
        let mut loader = TolerantLoader::new();
        for (path, (data, acl, stat)) in everything(&after).0 {
            loader.node(&path, data.as_deref(), Some(&acl), stat).unwrap();
        }
        let digest = RecordedDigest { zxid: Zxid(4), version: DIGEST_VERSION, digest: before };
        loader.finish(Zxid(4), Some(digest), None).unwrap()
    };
    let mut replay = snapshot();
    replay.apply(&set(after.digest())).unwrap();
    let replayed = replay.finish().unwrap();
    assert_eq!((replayed.doubt, replayed.digests.compared, replayed.digests.unequal), (None, 1, 0));
    let replayed = snapshot().finish().unwrap();
    assert!(matches!(replayed.doubt, Some(Doubt::Unequal(unequal)) if unequal.zxid == Zxid(4)));
    let mut replay = snapshot();
    replay.apply(&set(1)).unwrap();
    assert_eq!(replay.finish().unwrap().digests.unequal, 2);
}

#[test]
fn what_an_older_server_does_not_have_is_made() {
    let mut loader = TolerantLoader::new();
    for (path, (data, acl, stat)) in everything(&Tree::new()).0 {
        if path != "/zookeeper/config" {
            loader.node(&path, data.as_deref(), Some(&acl), stat).unwrap();
        }
    }
    let replayed = loader.finish(Zxid(1), None, None).unwrap().finish().unwrap();
    assert_eq!(everything(&replayed.tree), everything(&Tree::new()));
    assert!(matches!(TolerantLoader::new().finish(Zxid(1), None, None), Err(LoadError::Missing("/"))));
}

#[test]
fn an_acl_that_never_comes_and_ephemerals_of_nobody_are_noticed() {
    let with = |acl: Option<&[Acl]>, owner| {
        let mut loader = TolerantLoader::new();
        for (path, (data, acl, stat)) in everything(&Tree::new()).0 {
            loader.node(&path, data.as_deref(), Some(&acl), stat).unwrap();
        }
        loader.node("/x", None, acl, StatPersisted::created(Zxid(2), 5, owner)).unwrap();
        loader.finish(Zxid(2), None, None).unwrap().finish()
    };
    assert_eq!(with(None, EphemeralOwner::NONE).unwrap_err(), TolerantError::NoAcl("/x".to_owned()));
    let replayed = with(Some(&[Acl::open()]), EphemeralOwner::session_of(SessionId(8))).unwrap();
    assert_eq!((replayed.lost_ephemerals, replayed.tree.get("/x").is_none()), (1, true));
}

#[test]
fn totals_of_quotas_are_counted_anew() {
    let mut replay = small(|digest| digest);
    let paths = [
        "/q",
        "/q/a",
        "/q/b",
        "/zookeeper/quota/q",
        "/zookeeper/quota/q/zookeeper_limits",
        "/zookeeper/quota/q/zookeeper_stats",
    ];
    for (zxid, path) in (4..).zip(paths) {
        replay.apply(&create(zxid, path, None)).unwrap();
    }
    let tree = replay.finish().unwrap().tree;
    assert_eq!(tree.quota_over("/q/a"), Some("/q"));
    assert_eq!(tree.quota_parts("/q").1.unwrap().count, 3);
}

#[test]
fn the_real_servers_log_without_a_snapshot_gives_its_digests() {
    let mut replay = TolerantReplay::from_nothing();
    let mut strict = Tree::new();
    for vectors::Vector { kind, name, bytes } in vectors("txnlog_digest.txt") {
        let record = TxnRecord::decode(&bytes).unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
        replay.apply(&record).unwrap();
        if record.header.zxid > strict.last_zxid() {
            apply::apply(&mut strict, &record, &mut Vec::new(), None);
        }
    }
    let replayed = replay.finish().unwrap();
    assert_eq!(everything(&replayed.tree), everything(&strict));
    assert!(replayed.digests.compared > 100 && replayed.digests.unequal == 0, "{:?}", replayed.digests);
}
