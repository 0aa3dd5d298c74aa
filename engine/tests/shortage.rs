//! What a replica refuses when the log's disk is full or memory is short, and what goes on.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

mod support;

use proto::ErrorCode;
use ringkeeper_engine::log_room::{LogRoom, RESERVE_BYTES};
use ringkeeper_engine::stream::Refusal;
use support::harness::{Item, connection};
use support::naive_ops::{Body, Op};
use support::steps::TICK_MS;
use support::world::{
    EPHEMERAL, PERSISTENT, World, check, container, create, delete, failed_multi, made, refused, set,
};

/// The timeout of a [`World`]'s sessions, and more.
const TIMEOUTS_MS: i64 = 3_000;

const ROOM: LogRoom = LogRoom::ENDLESS;

/// A log that has no next segment, and so much left in the one in use.
fn full(bytes: u64) -> LogRoom {
    LogRoom { bytes, is_full: true, is_making: false }
}

fn sync() -> Op {
    Op::Sync { path: "/any".into() }
}

#[test]
fn a_full_log_refuses_writes_without_a_zxid_in_their_turn() {
    let mut world = World::new(2);
    assert_eq!(world.done(0, &create("/a", PERSISTENT)), made("/a"));
    let zxid = world.zxid();
    world.ask(0, &create("/b", PERSISTENT));
    world.h.replica.log_room(full(RESERVE_BYTES - 1));
    let writes = [create("/c", PERSISTENT), delete("/a"), set("/a", 0), Op::Multi(vec![check("/a", 0)]), Op::Reconfig];
    for op in &writes {
        world.ask(0, op);
    }
    world.ask(0, &sync());
    world.ask(1, &set("/none", 0));
    let mut expected = vec![made("/b")];
    expected.extend(writes.iter().map(|_| refused(ErrorCode::SystemError)));
    expected.push((0, Body::Path("/any".into())));
    expected.push(refused(ErrorCode::SystemError));
    assert_eq!(world.answers(), expected, "what was proposed before is written, and nobody overtakes it");
    assert_eq!(world.zxid(), zxid + 1, "the refused ones are no txns");
    assert_eq!(world.h.replica.excess_counts().no_log_space, 6);
    world.h.replica.log_room(ROOM);
    assert_eq!(world.done(0, &create("/c", PERSISTENT)), made("/c"));
    assert_eq!(world.h.replay().digest(), world.h.tree.digest());
}

#[test]
fn on_a_full_log_sessions_end_in_the_reserve_and_begin_in_half_of_it() {
    let mut world = World::new(3);
    world.done(0, &create("/mine", EPHEMERAL));
    world.h.replica.log_room(full(RESERVE_BYTES));
    world.h.connect(connection(7), 1_000);
    assert!(matches!(world.h.settle()[..], [Item::Connected { .. }]));
    world.h.replica.log_room(full(RESERVE_BYTES / 2));
    world.h.connect(connection(8), 1_000);
    assert_eq!(world.h.settle(), [Item::Refused { to: connection(8), reason: Refusal::Unavailable }]);
    assert_eq!(world.done(0, &Op::Close), (0, Body::Nothing));
    assert!(world.h.tree.get("/mine").is_none());
    // Nothing is left at all.
    world.h.replica.log_room(full(0));
    assert_eq!(world.done(1, &Op::Close), refused(ErrorCode::SystemError));
    assert_eq!(world.done(1, &sync()), (0, Body::Path("/any".into())), "it lives on");
    world.h.replica.log_room(ROOM);
    assert_eq!(world.done(1, &Op::Close), (0, Body::Nothing));
}

#[test]
fn on_a_full_log_nobody_expires_and_no_container_goes_until_there_is_room() {
    let mut world = World::new(2);
    world.done(0, &create("/mine", EPHEMERAL));
    world.done(0, &container("/c"));
    world.done(0, &create("/c/child", PERSISTENT));
    world.done(0, &delete("/c/child"));
    world.h.replica.log_room(full(0));
    for _ in 0..100 * TIMEOUTS_MS / TICK_MS {
        world.h.tick(TICK_MS);
        assert_eq!(world.h.replica.pending_len(), 0);
    }
    assert_eq!(world.h.replica.sessions().len(), 2);
    world.h.replica.log_room(ROOM);
    // Their time has come long since: the pause is no stall that gives it back.
    world.h.tick(TICK_MS);
    world.h.settle();
    assert!(world.h.replica.sessions().is_empty());
    assert!(world.h.tree.get("/mine").is_none() && world.h.tree.get("/c").is_none());
}

#[test]
fn a_log_short_of_room_takes_what_it_has_before_more_is_proposed() {
    let mut world = World::new(1);
    world.h.replica.log_room(LogRoom { bytes: RESERVE_BYTES, ..LogRoom::ENDLESS });
    assert!(!world.h.replica.is_full(), "nothing is on its way");
    world.ask(0, &create("/a", PERSISTENT));
    assert!(world.h.replica.is_full(), "gathered");
    world.h.append();
    assert!(world.h.replica.is_full(), "with the log");
    world.h.durable(1);
    assert!(!world.h.replica.is_full());
    assert_eq!(world.answers(), [made("/a")]);
}

#[test]
fn short_memory_refuses_what_grows_and_nothing_else() {
    let mut world = World::new(2);
    world.done(0, &create("/a", PERSISTENT));
    world.done(0, &create("/old", PERSISTENT));
    assert_eq!(world.done(0, &set("/a", 0)).0, 0);
    world.h.replica.set_memory_short(true);
    let no = refused(ErrorCode::SystemError);
    assert_eq!(world.done(0, &create("/b", PERSISTENT)), no);
    assert_eq!(world.done(0, &create("/b", EPHEMERAL)), no);
    assert_eq!(world.done(0, &container("/b")), no);
    assert_eq!(world.done(0, &set("/old", 0)), no, "from no data to three bytes");
    // A rule that the request breaks is told first, as where memory suffices.
    assert_eq!(world.done(0, &create("/a", PERSISTENT)), refused(ErrorCode::NodeExists));
    assert_eq!(world.done(0, &create("/none/b", PERSISTENT)), refused(ErrorCode::NoNode));
    let multi = Op::Multi(vec![delete("/old"), create("/b", PERSISTENT), check("/a", 1)]);
    assert_eq!(world.done(0, &multi), failed_multi(1, 3, ErrorCode::SystemError));
    assert!(world.h.tree.get("/old").is_some(), "refused whole");
    assert_eq!(world.h.replica.excess_counts().no_memory, 5);
    // The same bytes again, deletes, ends and beginnings of sessions.
    assert_eq!(world.done(0, &set("/a", 1)).0, 0);
    assert_eq!(world.done(0, &delete("/old")), (0, Body::Nothing));
    assert_eq!(world.done(0, &Op::Multi(vec![check("/a", 2), delete("/a")])).0, 0);
    world.h.connect(connection(7), 1_000);
    assert!(matches!(world.h.settle()[..], [Item::Connected { .. }]));
    assert_eq!(world.done(1, &Op::Close), (0, Body::Nothing));
    world.h.replica.set_memory_short(false);
    assert_eq!(world.done(0, &create("/b", PERSISTENT)), made("/b"));
    assert_eq!(world.h.replay().digest(), world.h.tree.digest(), "refused or not, each is one txn everywhere");
}
