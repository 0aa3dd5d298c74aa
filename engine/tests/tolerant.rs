//! Fuzzy snapshots, taken of a living tree as Java takes them (`DataTree.serializeNode`), must become that tree again by the txns after them.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

#[path = "support/living.rs"]
mod living;
#[path = "support/vectors.rs"]
mod vectors;

use engine::apply;
use engine::tolerant::{Doubt, RecordedDigest, Replayed, TolerantError, TolerantLoader, TolerantReplay};
use engine::tree::{LoadError, Tree};
use living::Living;
use proto::stat::EphemeralOwner;
use proto::txn::{CreateTxn, DIGEST_VERSION, NO_PARENT_CVERSION, Txn, TxnHeader, TxnRecord};
use proto::{Acl, AclVec, OpCode, SessionId, StatPersisted, Xid, Zxid};
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

/// A snapshot while up to `speed` txns go on before each of its znodes.
fn fuzzy_snapshot(living: &mut Living, speed: u64) -> (TolerantLoader, Zxid) {
    let mut loader = TolerantLoader::new();
    let begun = living.tree.last_zxid();
    living.tree.sessions().for_each(|(id, timeout_ms)| loader.session(id, timeout_ms));
    let known: Vec<Vec<Acl>> = everything(&living.tree).0.into_values().map(|(_, acl, _)| acl).collect();
    let mut ahead = vec!["/".to_owned()];
    while let Some(path) = ahead.pop() {
        (0..living.random.below(speed + 1)).for_each(|_| living.txn());
        let Some(node) = living.tree.get(&path) else { continue };
        let acl = Some(&node.acl()[..]).filter(|acl| known.iter().any(|known| known == acl));
        loader.node(&path, node.data().as_deref(), acl, node.persisted()).unwrap();
        let prefix = if path == "/" { "" } else { &path };
        ahead.extend(node.children().map(|name| format!("{prefix}/{name}")));
    }
    (loader, begun)
}

/// What comes out of a replay of the txns after `begun`, up to `end`.
fn replay_of(living: &Living, mut replay: TolerantReplay, begun: Zxid, end: Zxid) -> Result<Replayed, TolerantError> {
    for bytes in &living.log {
        let record = TxnRecord::decode(bytes).unwrap();
        if record.header.zxid > begun && record.header.zxid <= end {
            replay.apply(&record)?;
        }
    }
    replay.finish()
}

#[test]
fn a_fuzzy_snapshot_of_any_moment_becomes_the_tree_again() {
    let (mut without_acl, mut fuzzy, mut znodes) = (0, 0, 0);
    for seed in 0..600 {
        let mut living = Living::new(seed);
        (0..seed % 90).for_each(|_| living.txn());
        let (loader, begun) = fuzzy_snapshot(&mut living, 1 + seed % 5);
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
        let replayed = replay_of(&living, replay, begun, living.tree.last_zxid())
            .unwrap_or_else(|error| panic!("{seed}: {error}"));
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
    let (loader, begun) = fuzzy_snapshot(&mut living, 3);
    let complete_at = living.tree.last_zxid();
    let reached = Zxid(complete_at.0 - 1);
    let replay = loader.finish(begun, None, Some(complete_at)).unwrap();
    match replay_of(&living, replay, begun, reached) {
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
