//! Random sequences of everything that a client or the clock can ask, taken by the engine and by a naive model that executes each at once.
//!
//! Compared: every item of the stream (replies with code, Stat and a multi's results; changes with their guards; handshakes; closed
//! connections) in order; after every apply every field of the whole tree; then the tree that the log's bytes give from nothing, and those
//! that frozen trees give when they are loaded. Txns are applied in random portions, so that most requests meet others that are still on
//! their way. Cases by `RK_MODEL_CASES`; a failure prints the shortest sequence that still fails.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

mod support;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use proto::{ErrorCode, OpCode};
use std::cell::RefCell;
use std::collections::BTreeMap;
use support::naive_ops::RawAcl;
use support::steps::{AclPick, Ask, PathPick, Step, Twin, VersionPick};

/// Sequences of each kind that are tried without `RK_MODEL_CASES`: two seconds optimised, half a minute in a debug build.
const CASES: u32 = 2_000;
const STEPS_MAX: usize = 60;

const fn entry(perms: i32, scheme: &'static str, id: &'static str) -> RawAcl {
    RawAcl { perms, scheme: Some(scheme), id: Some(id) }
}

const OPEN: &[RawAcl] = &[entry(31, "world", "anyone")];

/// ACLs that are accepted, at least from some.
const GOOD_ACLS: &[AclPick] = &[
    Some(&[entry(1, "world", "anyone")]),
    Some(&[entry(31, "auth", "")]),
    Some(&[RawAcl { perms: 13, scheme: Some("auth"), id: None }, entry(1, "world", "anyone")]),
    Some(&[entry(31, "digest", "bob:x")]),
    Some(&[entry(3, "digest", "eve:y"), entry(29, "digest", "bob:x")]),
    Some(&[entry(31, "ip", "10.0.0.0/8")]),
    Some(&[entry(30, "ip", "10.0.0.1"), entry(1, "world", "anyone")]),
    Some(&[entry(31, "world", "anyone"), entry(31, "world", "anyone")]),
    Some(&[entry(0, "world", "anyone")]),
];

const BAD_ACLS: &[AclPick] = &[
    None,
    Some(&[]),
    Some(&[entry(31, "world", "somebody")]),
    Some(&[entry(31, "digest", "nocolon")]),
    Some(&[entry(31, "digest", "a:")]),
    Some(&[entry(31, "ip", "10.0.0.0/40")]),
    Some(&[entry(31, "nobody", "x")]),
    Some(&[entry(31, "world", "anyone"), RawAcl { perms: 31, scheme: None, id: Some("x") }]),
    Some(&[RawAcl { perms: 31, scheme: Some("world"), id: None }]),
    Some(&[RawAcl { perms: 31, scheme: Some("digest"), id: None }]),
    Some(&[RawAcl { perms: 31, scheme: Some("nobody"), id: None }]),
];

const NAMES: &[&str] = &["/a", "/b", "/c", "/a/x", "/a/y", "/b/x", "/a/x/q"];

const ODD_PATHS: &[&str] = &[
    "",
    "a",
    "/",
    "//",
    "//a",
    "/a/",
    "/a//x",
    "/a/./x",
    "/..",
    "/a\0b",
    "/a/\u{1}",
    "/zookeeper",
    "/zookeeper/quota",
    "/zookeeper/config",
    "/zookeeper/quota/a",
    "/nowhere/x",
];

fn path() -> impl Strategy<Value = PathPick> {
    prop_oneof![
        6 => prop::sample::select(NAMES).prop_map(PathPick::Fixed),
        6 => any::<u8>().prop_map(PathPick::Known),
        1 => prop::sample::select(ODD_PATHS).prop_map(PathPick::Fixed),
    ]
}

fn version() -> impl Strategy<Value = VersionPick> {
    prop_oneof![
        4 => Just(VersionPick::Any),
        3 => Just(VersionPick::Current(0)),
        1 => prop::sample::select(&[1, -2, 7, i32::MAX][..]).prop_map(VersionPick::Current),
    ]
}

fn acl() -> impl Strategy<Value = AclPick> {
    prop_oneof![
        12 => Just(Some(OPEN)),
        3 => prop::sample::select(GOOD_ACLS),
        1 => prop::sample::select(BAD_ACLS),
    ]
}

/// Code and flags that go together, mostly.
fn create_kind() -> impl Strategy<Value = (OpCode, i32, i64)> {
    let ttl_ms = prop::sample::select(&[1, 300, 300, 600, (1 << 40) - 1, 1 << 40, 0, -1, -7, i64::MAX][..]);
    let any_code =
        prop::sample::select(&[OpCode::Create, OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl][..]);
    prop_oneof![
        8 => (prop::sample::select(&[OpCode::Create, OpCode::Create2][..]), 0..4_i32, Just(0)),
        2 => Just((OpCode::CreateContainer, 4, 0)),
        2 => (Just(OpCode::CreateTtl), 5..7_i32, ttl_ms.clone()),
        1 => (any_code, -1..9_i32, ttl_ms),
    ]
}

fn create() -> impl Strategy<Value = Ask> {
    let below = prop::sample::select(&["", "", "/x", "/y", "/s-", "/"][..]);
    (create_kind(), path(), below, 0..4_usize, acl()).prop_map(|((code, flags, ttl_ms), path, below, data, acl)| {
        Ask::Create { code, flags, path, below, data, acl, ttl_ms }
    })
}

/// What may stand in a multi.
fn in_multi() -> impl Strategy<Value = Ask> {
    prop_oneof![
        6 => create(),
        4 => (path(), version()).prop_map(|(path, version)| Ask::Delete(path, version)),
        3 => (path(), version(), 0..4_usize).prop_map(|(path, version, data)| Ask::SetData(path, version, data)),
        2 => (path(), version()).prop_map(|(path, version)| Ask::Check(path, version)),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let code = prop::sample::select(&[OpCode::Create, OpCode::Delete, OpCode::Multi, OpCode::SetAcl, OpCode::Sync][..]);
    prop_oneof![
        30 => in_multi(),
        5 => (path(), version(), acl()).prop_map(|(path, version, acl)| Ask::SetAcl(path, version, acl)),
        12 => prop::collection::vec(in_multi(), 0..6).prop_map(Ask::Multi),
        2 => path().prop_map(Ask::Sync),
        2 => Just(Ask::Close),
        1 => Just(Ask::Reconfig),
        1 => path().prop_map(Ask::DeleteContainer),
        1 => code.prop_map(Ask::Garbled),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let timeout_ms = || prop::sample::select(&[0, 250, 600, 9_999][..]);
    prop_oneof![
        3 => timeout_ms().prop_map(|timeout_ms| Step::Connect { timeout_ms }),
        1 => (0..64_usize, prop::bool::weighted(0.8), timeout_ms())
            .prop_map(|(session, right, timeout_ms)| Step::Reconnect { session, right, timeout_ms }),
        36 => (0..64_usize, prop::bool::weighted(0.02), ask())
            .prop_map(|(session, from_old, ask)| Step::Request { session, from_old, ask }),
        4 => (0..64_usize).prop_map(|session| Step::Heard { session }),
        1 => (0..64_usize).prop_map(|session| Step::Gone { session }),
        4 => (50..=200_i64).prop_map(|ms| Step::Tick { ms }),
        5 => Just(Step::Append),
        4 => (1..9_usize).prop_map(|count| Step::Durable { count }),
        4 => (1..9_usize).prop_map(|count| Step::Apply { count }),
        3 => Just(Step::Freeze),
    ]
}

/// Three names, all in one place, mostly ephemerals: so that a txn on its way is met by the next on the same znode, of another session.
fn churn() -> impl Strategy<Value = Step> {
    let path = || prop::sample::select(&["/a", "/b", "/a/x"][..]).prop_map(PathPick::Fixed);
    let session = || 0..64_usize;
    let create = (path(), prop::sample::select(&[0, 1, 1, 1, 3][..])).prop_map(|(path, flags)| Ask::Create {
        code: OpCode::Create,
        flags,
        path,
        below: "",
        data: 0,
        acl: Some(OPEN),
        ttl_ms: 0,
    });
    let delete = || path().prop_map(|path| Ask::Delete(path, VersionPick::Any));
    let set_data = path().prop_map(|path| Ask::SetData(path, VersionPick::Any, 1));
    let create = create.boxed();
    let in_multi = prop_oneof![create.clone(), delete()];
    let multi = prop::collection::vec(in_multi, 1..4).prop_map(Ask::Multi);
    let ask = prop_oneof![6 => create, 6 => delete(), 2 => set_data, 2 => multi, 2 => Just(Ask::Close)];
    prop_oneof![
        2 => Just(Step::Connect { timeout_ms: 250 }),
        24 => (session(), ask).prop_map(|(session, ask)| Step::Request { session, from_old: false, ask }),
        1 => Just(Step::Tick { ms: 150 }),
        3 => Just(Step::Append),
        2 => (1..4_usize).prop_map(|count| Step::Durable { count }),
        2 => (1..4_usize).prop_map(|count| Step::Apply { count }),
        2 => Just(Step::Settle),
        1 => Just(Step::Freeze),
    ]
}

/// Containers and TTL znodes, with and without children, touched and left alone while time goes by.
fn lifetimes() -> impl Strategy<Value = Step> {
    let kinds = prop::sample::select(
        &[(OpCode::CreateContainer, 4, 0), (OpCode::CreateTtl, 5, 300), (OpCode::Create, 0, 0)][..],
    );
    let create = (kinds, prop::sample::select(NAMES)).prop_map(|((code, flags, ttl_ms), path)| Ask::Create {
        code,
        flags,
        path: PathPick::Fixed(path),
        below: "",
        data: 0,
        acl: Some(OPEN),
        ttl_ms,
    });
    let known = || any::<u8>().prop_map(PathPick::Known);
    let ask = prop_oneof![
        6 => create,
        4 => known().prop_map(|path| Ask::Delete(path, VersionPick::Any)),
        2 => known().prop_map(|path| Ask::SetData(path, VersionPick::Any, 1)),
    ];
    prop_oneof![
        12 => ask.prop_map(|ask| Step::Request { session: 1, from_old: false, ask }),
        8 => (50..=200_i64).prop_map(|ms| Step::Tick { ms }),
        8 => (1..3_usize).prop_map(|session| Step::Heard { session }),
        1 => Just(Step::Connect { timeout_ms: 9_999 }),
        3 => Just(Step::Append),
        3 => (1..9_usize).prop_map(|count| Step::Durable { count }),
        4 => (1..9_usize).prop_map(|count| Step::Apply { count }),
        2 => Just(Step::Settle),
        1 => Just(Step::Freeze),
    ]
}

#[test]
fn containers_and_ttl_znodes_go_when_their_time_has_come() {
    check(lifetimes().boxed());
}

#[test]
fn the_engine_does_what_the_naive_model_does() {
    let codes = check(step().boxed());
    // A model that never gets to an answer does not test it.
    println!("{codes:?}");
    let seldom = [
        ErrorCode::Ok,
        ErrorCode::RuntimeInconsistency,
        ErrorCode::MarshallingError,
        ErrorCode::Unimplemented,
        ErrorCode::BadArguments,
        ErrorCode::NoNode,
        ErrorCode::NoAuth,
        ErrorCode::BadVersion,
        ErrorCode::NoChildrenForEphemerals,
        ErrorCode::NodeExists,
        ErrorCode::NotEmpty,
        ErrorCode::SessionExpired,
        ErrorCode::InvalidAcl,
        ErrorCode::ReconfigDisabled,
    ]
    .into_iter()
    .filter(|code| codes.get(&code.to_wire()).is_none_or(|count| *count < 20))
    .collect::<Vec<_>>();
    assert!(seldom.is_empty(), "hardly ever answered: {seldom:?}");
}

#[test]
fn ephemerals_that_change_hands_while_they_are_on_their_way_go_with_the_right_session() {
    check(churn().boxed());
}

/// Runs the property; tells how often each error code was answered.
fn check(step: BoxedStrategy<Step>) -> BTreeMap<i32, u64> {
    let cases = std::env::var("RK_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let sequence = (prop::bool::weighted(0.8), prop::collection::vec(step, 1..STEPS_MAX));
    let codes = RefCell::new(BTreeMap::new());
    let outcome = TestRunner::new(config).run(&sequence, |(extended_types, steps)| {
        let mut twin = Twin::new(extended_types);
        twin.take(&Step::Connect { timeout_ms: 600 });
        twin.take(&Step::Connect { timeout_ms: 600 });
        for (path, flags) in [("/a", 0), ("/a/x", 0), ("/c", 1)] {
            let ask = Ask::Create {
                code: OpCode::Create,
                flags,
                path: PathPick::Fixed(path),
                below: "",
                data: 1,
                acl: Some(OPEN),
                ttl_ms: 0,
            };
            twin.take(&Step::Request { session: 0, from_old: false, ask });
        }
        for step in &steps {
            twin.take(step);
        }
        twin.finish();
        let mut codes = codes.borrow_mut();
        for (code, count) in twin.codes {
            *codes.entry(code).or_default() += count;
        }
        Ok(())
    });
    match outcome {
        Ok(()) => codes.into_inner(),
        Err(TestError::Fail(reason, (extended_types, steps))) => {
            let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
            panic!(
                "{reason}\nextended types: {extended_types}, two sessions, /a, /a/x, an ephemeral /c, then\n{}",
                steps.join("\n")
            );
        }
        Err(other) => panic!("{other}"),
    }
}
