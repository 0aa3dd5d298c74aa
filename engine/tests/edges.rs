//! Named edges of prep and apply, each with what ZooKeeper 3.9.5 answers. Most are asked without waiting, so that they meet on their way.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

mod support;

use proto::stat::EphemeralOwner;
use proto::{Acl, ErrorCode, SessionId, Stat, StatPersisted, Zxid};
use ringkeeper_engine::tree::{LoadError, RESERVED_PATHS, Tree};
use support::naive_ops::{Body, CreateOp, Op, RawAcl};
use support::steps::options;
use support::world::{
    EPHEMERAL, EPHEMERAL_SEQUENTIAL, PERSISTENT, SEQUENTIAL, World, check, create, delete, failed_multi, made, refused,
    set,
};

fn stat(world: &World, path: &str) -> Stat {
    world.h.tree.get(path).unwrap_or_else(|| panic!("{path} is there")).stat()
}

fn exists(world: &World, path: &str) -> bool {
    world.h.tree.get(path).is_some()
}

/// A tree in which `/p` has had this many creates.
fn tree_with_creates(creates: i32) -> Tree {
    // A wrong digest is told together with the right one.
    match load(creates, 0) {
        Err(LoadError::Digest { found, .. }) => load(creates, found).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn load(creates: i32, digest: u64) -> Result<Tree, LoadError> {
    let fresh = Tree::new();
    let mut loader = Tree::loader();
    for path in RESERVED_PATHS {
        let node = fresh.get(path).expect("reserved");
        loader.node(path, node.data().as_deref(), node.acl(), node.persisted())?;
    }
    let stat = StatPersisted { cversion: creates, ..StatPersisted::created(Zxid(1), 1, EphemeralOwner::NONE) };
    loader.node("/p", None, &[Acl::open()], stat)?;
    loader.finish(Zxid(1), digest)
}

#[test]
fn sequential_numbers_count_every_create_and_never_go_back() {
    let mut world = World::new(1);
    world.ask(0, &create("/p", PERSISTENT));
    world.ask(0, &create("/p/s-", SEQUENTIAL));
    world.ask(0, &create("/p/plain", PERSISTENT));
    world.ask(0, &delete("/p/s-0000000000"));
    world.ask(0, &create("/p/s-", EPHEMERAL_SEQUENTIAL));
    world.ask(0, &create("/p/", SEQUENTIAL));
    let answers = world.answers();
    let gone = (0, Body::Nothing);
    let expected =
        [made("/p"), made("/p/s-0000000000"), made("/p/plain"), gone, made("/p/s-0000000002"), made("/p/0000000003")];
    assert_eq!(answers, expected);
    assert_eq!(world.done(0, &create("/p/t", SEQUENTIAL)), made("/p/t0000000004"));
    assert_eq!(world.done(0, &create("/nowhere/t", SEQUENTIAL)), refused(ErrorCode::NoNode));
}

#[test]
fn reconfig_of_a_single_server_is_disabled_and_else_unimplemented() {
    assert_eq!(World::new(1).done(0, &Op::Reconfig), refused(ErrorCode::ReconfigDisabled));
    let mut options = options(true);
    options.prep.reconfig_enabled = true;
    let mut world = World::under(options, Tree::new(), 1);
    assert_eq!(world.done(0, &Op::Reconfig), refused(ErrorCode::Unimplemented));
    // It is an error like others: the session goes on.
    assert_eq!(world.done(0, &create("/p", PERSISTENT)), made("/p"));
}

#[test]
fn the_sequential_number_stops_at_two_to_the_31_less_one() {
    // 3.9.5 computes -2147483648 next, but its apply takes only a larger counter: number and pzxid stand still.
    let mut world = World::over(tree_with_creates(i32::MAX - 1), 1);
    assert_eq!(world.done(0, &create("/p/s", SEQUENTIAL)), made("/p/s2147483646"));
    assert_eq!(world.done(0, &create("/p/s", SEQUENTIAL)), made("/p/s2147483647"));
    let before = stat(&world, "/p");
    assert_eq!(before.pzxid, Zxid(world.zxid() - 1), "the last create did not count");
    world.ask(0, &create("/p/s", SEQUENTIAL));
    world.ask(0, &create("/p/t", SEQUENTIAL));
    assert_eq!(world.answers(), [refused(ErrorCode::NodeExists), made("/p/t2147483647")]);
    let after = stat(&world, "/p");
    assert_eq!((after.pzxid, after.num_children), (before.pzxid, 3));
    assert_eq!(world.h.tree.get("/p").unwrap().persisted().cversion, i32::MAX);
}

#[test]
fn a_negative_counter_keeps_its_sign_within_ten_places() {
    // No server of 3.9.5 gets there, older ones did. `shard/counters.rs` has the real server's answers.
    let mut world = World::over(tree_with_creates(-5), 1);
    assert_eq!(world.done(0, &create("/p/s", SEQUENTIAL)), made("/p/s-000000005"));
    let mut world = World::over(tree_with_creates(i32::MIN), 1);
    assert_eq!(world.done(0, &create("/p/s", SEQUENTIAL)), made("/p/s-2147483648"));
}

#[test]
fn a_version_is_any_or_the_current_one() {
    let mut world = World::new(1);
    world.ask(0, &create("/a", PERSISTENT));
    for version in [0, -1, 0, 1, 3, -2, i32::MIN] {
        world.ask(0, &set("/a", version));
    }
    world.ask(0, &set("/a", 2));
    let answers = world.answers();
    assert!(answers[1..3].iter().all(|(err, _)| *err == 0), "{answers:?}");
    assert!(answers[3..8].iter().all(|answer| *answer == refused(ErrorCode::BadVersion)), "{answers:?}");
    let Body::Stat(last) = &answers[8].1 else { panic!("{answers:?}") };
    assert_eq!((last.version, last.aversion, last.mzxid), (3, 0, Zxid(world.zxid())));
    // setACL has a version of its own, and leaves the data's alone.
    let set_acl = |version| Op::SetAcl { path: "/a".into(), acl: Some(vec![support::world::OPEN]), version };
    assert_eq!(world.done(0, &set_acl(3)), refused(ErrorCode::BadVersion));
    let (_, Body::Stat(stat)) = world.done(0, &set_acl(0)) else { panic!("a Stat") };
    assert_eq!((stat.version, stat.aversion, stat.mzxid), (3, 1, last.mzxid));
    let wrong = Op::Delete { path: "/a".into(), version: 2 };
    assert_eq!(world.done(0, &wrong), refused(ErrorCode::BadVersion));
    // The version is looked at before the children.
    world.done(0, &create("/a/x", PERSISTENT));
    assert_eq!(world.done(0, &wrong), refused(ErrorCode::BadVersion));
    assert_eq!(world.done(0, &delete("/a")), refused(ErrorCode::NotEmpty));
}

#[test]
fn only_creates_and_deletes_of_children_show_in_the_parent() {
    let mut world = World::new(1);
    world.done(0, &create("/p", PERSISTENT));
    let made_at = world.zxid();
    world.done(0, &create("/p/x", PERSISTENT));
    let parent = stat(&world, "/p");
    assert_eq!((parent.pzxid, parent.cversion, parent.num_children), (Zxid(made_at + 1), 1, 1));
    assert_eq!((parent.mzxid, parent.version), (Zxid(made_at), 0));
    world.done(0, &set("/p/x", -1));
    world.done(0, &create("/p/x/deep", PERSISTENT));
    assert_eq!(stat(&world, "/p"), parent);
    world.done(0, &delete("/p/x/deep"));
    world.done(0, &delete("/p/x"));
    let after = stat(&world, "/p");
    assert_eq!((after.pzxid, after.cversion, after.num_children), (Zxid(made_at + 5), 2, 0));
    assert_eq!(world.done(0, &delete("/p/x")), refused(ErrorCode::NoNode));
    assert_eq!(stat(&world, "/p"), after, "a failed delete changes nothing");
}

#[test]
fn a_session_takes_its_ephemerals_along_with_what_is_still_on_its_way() {
    let mut world = World::new(2);
    world.ask(0, &create("/old", EPHEMERAL));
    world.ask(0, &create("/back", EPHEMERAL));
    world.answers();
    world.ask(0, &create("/new", EPHEMERAL));
    world.ask(0, &delete("/old"));
    world.ask(1, &delete("/back"));
    world.ask(0, &create("/back", EPHEMERAL));
    world.ask(0, &create("/short", EPHEMERAL));
    world.ask(0, &delete("/short"));
    world.ask(0, &set("/new", -1));
    world.ask(1, &create("/stays", EPHEMERAL));
    world.ask(0, &create("/persistent", PERSISTENT));
    world.ask(0, &Op::Close);
    // What comes after sees them gone already.
    world.ask(1, &create("/new", PERSISTENT));
    let answers = world.answers();
    assert!(answers.iter().all(|(err, _)| *err == 0), "{answers:?}");
    for (path, there) in
        [("/old", false), ("/back", false), ("/short", false), ("/stays", true), ("/persistent", true), ("/new", true)]
    {
        assert_eq!(exists(&world, path), there, "{path}");
    }
    assert_eq!(stat(&world, "/new").ephemeral_owner, SessionId(0));
    assert_eq!(world.h.tree.ephemeral_count(), 1);
}

#[test]
fn a_session_does_not_take_along_what_another_has_made_in_the_same_place() {
    for settle_before_close in [false, true] {
        let mut world = World::new(3);
        world.ask(0, &create("/lock", EPHEMERAL));
        world.ask(1, &delete("/lock"));
        world.ask(1, &create("/lock", EPHEMERAL));
        if settle_before_close {
            world.answers();
        }
        world.ask(0, &Op::Close);
        let answers = world.answers();
        assert!(answers.iter().all(|(err, _)| *err == 0), "{answers:?}");
        assert_eq!(stat(&world, "/lock").ephemeral_owner.0, world.sessions[1].0);
        // And once it is gone the end of a session must not look for it.
        world.ask(2, &delete("/lock"));
        world.ask(1, &Op::Close);
        assert!(world.answers().iter().all(|(err, _)| *err == 0));
        assert!(!exists(&world, "/lock"));
    }
}

#[test]
fn a_failed_multi_leaves_no_trace() {
    let mut world = World::new(2);
    world.ask(0, &create("/p", PERSISTENT));
    world.ask(0, &create("/p/s", SEQUENTIAL));
    let multi = Op::Multi(vec![
        create("/p/s", EPHEMERAL_SEQUENTIAL),
        create("/p/s", SEQUENTIAL),
        set("/p", 0),
        delete("/p/s0000000000"),
        check("/p", 7),
        create("/p/other", PERSISTENT),
    ]);
    world.ask(0, &multi);
    world.ask(0, &create("/p/s", SEQUENTIAL));
    world.ask(0, &Op::Close);
    let answers = world.answers();
    assert_eq!(answers[2], failed_multi(4, 6, ErrorCode::BadVersion));
    assert_eq!(answers[3], made("/p/s0000000001"), "the failed multi used up no number");
    let parent = stat(&world, "/p");
    assert_eq!((parent.version, parent.num_children), (0, 2));
    assert_eq!(parent.pzxid, Zxid(world.zxid() - 1));
    // Over a tree with nothing on its way as well.
    assert_eq!(world.done(1, &multi), failed_multi(4, 6, ErrorCode::BadVersion));
    assert_eq!(stat(&world, "/p"), parent);
}

#[test]
fn a_multi_sees_its_own_changes() {
    let mut world = World::new(1);
    let multi = Op::Multi(vec![
        create("/p", PERSISTENT),
        create("/p/x", PERSISTENT),
        create("/p/s", SEQUENTIAL),
        set("/p", 0),
        set("/p", 1),
        check("/p", 2),
        delete("/p/x"),
        delete("/p/s0000000001"),
        delete("/p"),
        create("/p", EPHEMERAL),
    ]);
    let (err, Body::Multi(results)) = world.done(0, &multi) else { panic!("results") };
    assert_eq!((err, results.len()), (0, 10));
    assert_eq!(results[2], Body::Path("/p/s0000000001".into()));
    let Body::Stat(second) = &results[4] else { panic!("{results:?}") };
    assert_eq!((second.version, second.num_children, second.cversion), (2, 2, 2));
    assert_eq!(results[5], Body::Checked);
    let made_again = stat(&world, "/p");
    assert_eq!((made_again.czxid, made_again.cversion), (Zxid(world.zxid()), 0));
    let failing = Op::Multi(vec![create("/p/child", PERSISTENT)]);
    assert_eq!(world.done(0, &failing), failed_multi(0, 1, ErrorCode::NoChildrenForEphemerals));
    assert_eq!(world.done(0, &Op::Multi(vec![])), (0, Body::Multi(vec![])));
}

#[test]
fn a_multi_that_makes_and_takes_a_znode_changes_only_its_parent() {
    let mut world = World::new(1);
    world.done(0, &create("/p", PERSISTENT));
    world.done(0, &Op::Multi(vec![create("/p/x", EPHEMERAL), delete("/p/x")]));
    let parent = stat(&world, "/p");
    assert_eq!((parent.pzxid, parent.cversion, parent.num_children), (Zxid(world.zxid()), 2, 0));
    assert_eq!(world.h.tree.ephemeral_count(), 0);
    assert_eq!(world.done(0, &Op::Close), (0, Body::Nothing));
}

#[test]
fn a_check_alone_in_a_multi_is_answered() {
    // It once stopped the server: prep decoded the check's txn as if it stood alone.
    let mut world = World::new(1);
    assert_eq!(world.done(0, &Op::Multi(vec![check("/", -1)])), (0, Body::Multi(vec![Body::Checked])));
    assert_eq!(world.done(0, &Op::Multi(vec![check("/a", -1)])), failed_multi(0, 1, ErrorCode::NoNode));
}

#[test]
fn a_null_id_spoils_a_multi_as_a_whole() {
    let mut world = World::new(1);
    let with = |scheme| {
        let acl = Some(vec![RawAcl { perms: 31, scheme: Some(scheme), id: None }]);
        let (path, code) = ("/a".to_owned(), proto::OpCode::Create);
        Op::Create(CreateOp { code, flags: 0, path, data: None, acl, ttl_ms: 0 })
    };
    for scheme in ["world", "digest", "ip"] {
        assert_eq!(world.done(0, &with(scheme)), refused(ErrorCode::MarshallingError));
        let multi = Op::Multi(vec![create("/b", PERSISTENT), with(scheme)]);
        assert_eq!(world.done(0, &multi), refused(ErrorCode::MarshallingError));
        assert!(!exists(&world, "/b"));
    }
    assert_eq!(world.done(0, &with("nobody")), refused(ErrorCode::InvalidAcl));
}

#[test]
fn reserved_znodes_stay_but_take_data_and_children() {
    let mut world = World::new(1);
    for path in RESERVED_PATHS {
        assert_eq!(world.done(0, &delete(path)), refused(ErrorCode::BadArguments), "{path}");
    }
    assert_eq!(world.done(0, &create("/", PERSISTENT)), refused(ErrorCode::NodeExists));
    assert_eq!(world.done(0, &create("/zookeeper/quota/a", PERSISTENT)), made("/zookeeper/quota/a"));
    assert_eq!(world.done(0, &set("/", 0)).0, 0);
    // The ACL of the configuration lets everybody read and nobody write but the super user.
    let code = |world: &mut World, who| world.done(who, &set("/zookeeper/config", -1)).0;
    let mut world = World::new(4);
    let codes: Vec<i32> = (0..4).map(|who| code(&mut world, who)).collect();
    let is_super = |who: usize| world.sessions[who].0.rem_euclid(4) == 3;
    for (who, err) in codes.into_iter().enumerate() {
        assert_eq!(err, if is_super(who) { 0 } else { ErrorCode::NoAuth.to_wire() }, "{who}");
    }
}

#[test]
fn the_end_of_a_session_with_more_paths_than_a_record_takes_lists_none_and_removes_all() {
    let mut world = World::new(2);
    let parent = format!("/{}", "p".repeat(200));
    world.done(1, &create(&parent, PERSISTENT));
    // 25,000 paths of 220 bytes: more than 4 MiB of list.
    for n in 0..25_000 {
        world.ask(0, &create(&format!("{parent}/ephemeral-{n:07}"), EPHEMERAL));
        if n % 1_000 == 0 {
            world.answers();
        }
    }
    world.answers();
    assert_eq!(world.h.tree.ephemeral_count(), 25_000);
    // Some are still on their way when the session ends.
    world.ask(0, &create(&format!("{parent}/late"), EPHEMERAL));
    world.ask(0, &Op::Close);
    world.answers();
    assert_eq!(world.h.tree.ephemeral_count(), 0);
    assert_eq!(stat(&world, &parent).num_children, 0);
    let largest = world.h.log.iter().map(|(_, bytes)| bytes.len()).max();
    assert!(largest.is_some_and(|bytes| bytes < 4 << 20), "no record is as long as the list: {largest:?}");
    assert!(world.h.replay().digest() == world.h.tree.digest(), "the log alone gives the same tree");
}

#[test]
fn the_config_znode_shows_the_ensemble_as_zookeeper_does_outside_the_digest() {
    let mut tree = Tree::new();
    let digest = tree.digest();
    let text = "server.1=127.0.77.1:2888:3888:participant\nversion=10000000a";
    tree.show_ensemble(text, proto::ConfigVersion(0x1_0000_000a), 1_795_319_004_889);
    let node = tree.get("/zookeeper/config").unwrap();
    assert_eq!(node.data().as_deref(), Some(text.as_bytes()));
    // What a real 3.9.5 shows: tests/reference/words-ensemble-3.9.5/leader/config_node.txt.
    let Stat { czxid, mzxid, ctime, mtime, version, cversion, aversion, data_length, .. } = node.stat();
    assert_eq!((czxid, mzxid), (Zxid(0), Zxid(0x1_0000_000a)));
    assert_eq!((ctime, mtime), (0, 1_795_319_004_889));
    assert_eq!((version, cversion, aversion), (-1, 0, -1));
    assert_eq!(data_length, i32::try_from(text.len()).unwrap());
    assert_eq!(**node.acl(), [Acl::world_read()]);
    assert_eq!(tree.digest(), digest);
}
