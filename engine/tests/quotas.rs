//! The totals of quotas against a count of their subtrees, after random writes, multis and closing sessions, and in a tree that is loaded.
//!
//! What the real server answers to a script about quotas is compared end to end, by `tests/tests/quotas.rs`.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

mod support;

use proptest::prelude::*;
use proto::{ErrorCode, OpCode};
use ringkeeper_engine::quota::{LIMITS, QuotaRecord, stats_path};
use ringkeeper_engine::tree::Tree;
use support::naive_ops::{Body, CreateOp, Op};
use support::world::{EPHEMERAL, OPEN, PERSISTENT, SEQUENTIAL, World, create, delete, replies};

/// Names that begin alike, so that a prefix of the text is not yet a prefix of the path.
const PATHS: [&str; 9] = ["/a", "/a/b", "/a/b/c", "/a/bb", "/aa", "/aa/b", "/d", "/d/e", "/d/e/f"];
const QUOTAS: [&str; 4] = ["/a", "/a/b", "/aa", "/d/e"];

fn with_data(path: &str, flags: i32, bytes: usize) -> Op {
    let acl = Some(vec![OPEN]);
    let data = Some(vec![7; bytes]);
    Op::Create(CreateOp { code: OpCode::Create, flags, path: path.to_owned(), data, acl, ttl_ms: 0 })
}

/// Everything from the subject downwards that no deeper quota takes, the long way.
fn count(tree: &Tree, subject: &str, quotas: &[&str]) -> (i64, i64) {
    let within =
        |path: &str, root: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    let nodes = tree.subtree("/").filter(|node| within(node.path(), subject));
    let nodes = nodes
        .filter(|node| !quotas.iter().any(|q| q.len() > subject.len() && within(q, subject) && within(node.path(), q)));
    nodes.fold((0, 0), |(count, bytes), node| (count + 1, bytes + node.data_bytes() as i64))
}

fn totals(tree: &Tree, subject: &str) -> (i64, i64) {
    let node = tree.get(&stats_path(subject)).unwrap();
    let record = QuotaRecord::parse(&node.data().unwrap()).unwrap();
    (record.count, record.bytes)
}

fn any_op() -> impl Strategy<Value = Op> {
    let path = || prop::sample::select(PATHS.to_vec());
    let write = move || {
        prop_oneof![
            4 => (path(), 0usize..50).prop_map(|(path, bytes)| with_data(path, PERSISTENT, bytes)),
            2 => (path(), 0usize..50).prop_map(|(path, bytes)| with_data(&format!("{path}/eph"), EPHEMERAL, bytes)),
            1 => (path(), 0usize..50).prop_map(|(path, bytes)| with_data(&format!("{path}/s-"), SEQUENTIAL, bytes)),
            3 => path().prop_map(delete),
            3 => (path(), prop::option::of(0usize..50)).prop_map(|(path, bytes)| {
                Op::SetData { path: path.to_owned(), data: bytes.map(|bytes| vec![1; bytes]), version: -1 }
            }),
        ]
    };
    prop_oneof![6 => write(), 1 => prop::collection::vec(write(), 1..5).prop_map(Op::Multi), 1 => Just(Op::Close)]
}

/// The tree that is loaded from the parts of this one.
fn reloaded(tree: &Tree) -> Tree {
    let mut loader = Tree::loader();
    for node in tree.subtree("/") {
        loader.node(node.path(), node.data().as_deref(), node.acl(), node.persisted()).unwrap();
    }
    for (session, timeout_ms) in tree.sessions() {
        loader.session(session, timeout_ms);
    }
    loader.finish(tree.last_zxid(), tree.digest()).unwrap()
}

/// Creates of the stats znode of as many quotas, which each count a subtree.
fn begin_quotas(count: usize) -> Vec<Op> {
    (0..count).map(|number| create(&stats_path(&format!("/q{number}")), PERSISTENT)).collect()
}

fn world_with_limits(count: usize) -> World {
    let mut world = World::new(1);
    for number in 0..count {
        let quota = format!("/zookeeper/quota/q{number}");
        assert_eq!(world.done(0, &create(&quota, PERSISTENT)).0, 0);
        assert_eq!(world.done(0, &create(&format!("{quota}/{LIMITS}"), PERSISTENT)).0, 0);
    }
    world
}

#[test]
fn four_quotas_begin_in_a_multi_and_a_fifth_spoils_it() {
    let mut world = world_with_limits(9);
    let bad_arguments = Body::Error(ErrorCode::BadArguments.to_wire());
    let mut expected = vec![Body::Error(0); 4];
    expected.push(bad_arguments);
    expected.extend(vec![Body::Error(ErrorCode::RuntimeInconsistency.to_wire()); 2]);
    assert_eq!(world.done(0, &Op::Multi(begin_quotas(7))), (0, Body::Multi(expected)));
    assert_eq!(world.h.tree.subtrees_counted(), 0);
    assert!(world.h.tree.get(&stats_path("/q0")).is_none(), "nothing of it is there");
    let (err, Body::Multi(results)) = world.done(0, &Op::Multi(begin_quotas(4))) else { panic!("a multi's results") };
    assert!(err == 0 && results.iter().all(|result| matches!(result, Body::Path(_))), "{results:?}");
    assert_eq!(world.h.tree.subtrees_counted(), 4);
    // Deletes and other znodes beside them are not counted.
    let mut ops: Vec<Op> = (0..4).map(|number| delete(&stats_path(&format!("/q{number}")))).collect();
    ops.extend(begin_quotas(4));
    ops.push(create("/other", PERSISTENT));
    let (_, Body::Multi(results)) = world.done(0, &Op::Multi(ops)) else { panic!("a multi's results") };
    assert!(!results.iter().any(|result| matches!(result, Body::Error(_))), "{results:?}");
}

#[test]
fn one_quota_begins_under_one_hold_of_the_lock() {
    let mut world = world_with_limits(3);
    for op in begin_quotas(3) {
        world.ask(0, &op);
    }
    world.ask(0, &create("/behind", PERSISTENT));
    world.h.append();
    world.h.durable(usize::MAX);
    for counted in 1..=3 {
        assert_eq!(replies(&world.h.apply(usize::MAX)).len(), 1);
        assert_eq!(world.h.tree.subtrees_counted(), counted);
        assert!(world.h.replica.can_apply());
    }
    assert_eq!(replies(&world.h.apply(usize::MAX)).len(), 1, "what is behind them");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn totals_are_the_count_of_the_subtree(
        before in prop::collection::vec(any_op(), 0..25),
        quotas in prop::sample::subsequence(QUOTAS.to_vec(), 1..=4),
        after in prop::collection::vec((0usize..2, any_op()), 1..60),
    ) {
        // The second session stays, so that the first may close.
        let mut world = World::new(2);
        for op in before.iter().filter(|op| !matches!(op, Op::Close)) {
            world.done(1, op);
        }
        world.done(1, &create("/zookeeper/quota/a", PERSISTENT));
        world.done(1, &create("/zookeeper/quota/d", PERSISTENT));
        // Deeper ones first: a quota that begins above another counts what lies below that, as in ZooKeeper, and only then parts from it.
        let mut deepest_first = quotas.clone();
        deepest_first.sort_by_key(|quota| quota.len());
        for quota in &deepest_first {
            world.done(1, &create(&format!("/zookeeper/quota{quota}"), PERSISTENT));
            world.done(1, &create(&format!("/zookeeper/quota{quota}/{LIMITS}"), PERSISTENT));
        }
        for quota in &deepest_first {
            world.done(1, &create(&stats_path(quota), PERSISTENT));
        }
        // What the outer one has counted of the inner one stays with it.
        let surplus: Vec<_> = quotas.iter().map(|quota| {
            let (all, own) = (totals(&world.h.tree, quota), count(&world.h.tree, quota, &quotas));
            prop_assert_eq!(all, count(&world.h.tree, quota, &[]), "a new quota counts all that is there");
            Ok((all.0 - own.0, all.1 - own.1))
        }).collect::<Result<_, TestCaseError>>()?;
        let check = |tree: &Tree, when: &str| -> Result<(), TestCaseError> {
            for (quota, (count_surplus, bytes_surplus)) in quotas.iter().zip(&surplus) {
                let (nodes, bytes) = count(tree, quota, &quotas);
                prop_assert_eq!(totals(tree, quota), (nodes + count_surplus, bytes + bytes_surplus), "{} {}", quota, when);
            }
            Ok(())
        };
        for (who, op) in &after {
            if *who == 1 && matches!(op, Op::Close) {
                continue;
            }
            world.ask(*who, op);
            world.answers();
            check(&world.h.tree, "after a write")?;
        }
        let loaded = reloaded(&world.h.tree);
        check(&loaded, "loaded")?;
        for path in PATHS {
            prop_assert_eq!(loaded.quota_over(path), world.h.tree.quota_over(path), "{} in the loaded tree", path);
        }
    }
}
