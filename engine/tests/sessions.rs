//! The replica's order and its sessions: who is answered when, with which zxid, and whose connection a session is.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

mod support;

use proto::connect::ConnectResponse;
use proto::{ErrorCode, SessionId, Zxid};
use ringkeeper_engine::replica::{
    EXPIRIES_PENDING_MAX, EXPIRIES_PER_STEP, Forward, PENDING_BYTES_MAX, PENDING_MAX, ReplicaOptions,
};
use ringkeeper_engine::session;
use ringkeeper_engine::stream::{Detach, Refusal};
use support::harness::{Harness, Item, connection};
use support::naive_ops::{Body, Op};
use support::steps::{TICK_MS, options, session_id};
use support::world::{EPHEMERAL, PERSISTENT, World, container, create, delete, made, refused, replies, set, with_ttl};

fn zxids(items: &[Item]) -> Vec<u64> {
    let zxid = |item: &Item| match item {
        Item::Reply { zxid, .. } | Item::Connected { zxid, .. } => Some(*zxid),
        _ => None,
    };
    items.iter().filter_map(zxid).collect()
}

fn sync() -> Op {
    Op::Sync { path: "/any".into() }
}

#[test]
fn nothing_is_answered_before_it_is_durable_and_then_only_that() {
    let mut world = World::new(1);
    for path in ["/a", "/b", "/c"] {
        world.ask(0, &create(path, PERSISTENT));
    }
    assert!(world.h.apply(usize::MAX).is_empty(), "not even handed to the log");
    world.h.append();
    assert!(!world.h.replica.can_apply());
    assert!(world.h.apply(usize::MAX).is_empty(), "not durable");
    world.h.durable(2);
    assert_eq!(replies(&world.h.apply(usize::MAX)), [made("/a"), made("/b")]);
    assert_eq!(world.answers(), [made("/c")]);
}

#[test]
fn a_sync_keeps_its_place_between_writes_and_takes_no_zxid() {
    let mut world = World::new(2);
    let start = world.zxid();
    world.ask(0, &create("/a", PERSISTENT));
    world.ask(0, &sync());
    world.ask(0, &create("/b", PERSISTENT));
    world.ask(1, &sync());
    world.h.append();
    assert!(world.h.apply(usize::MAX).is_empty());
    world.h.durable(1);
    let items = world.h.apply(usize::MAX);
    assert_eq!(replies(&items), [made("/a"), (0, Body::Path("/any".into()))]);
    assert_eq!(zxids(&items), [start + 1, start + 1]);
    let items = world.h.settle();
    assert_eq!(replies(&items), [made("/b"), (0, Body::Path("/any".into()))]);
    assert_eq!(zxids(&items), [start + 2, start + 2]);
    world.ask(0, &sync());
    assert!(world.h.replica.can_apply(), "with nothing before it a sync waits for nothing");
    assert_eq!(zxids(&world.h.settle()), [start + 2]);
}

#[test]
fn each_write_is_answered_with_its_own_zxid_and_failed_ones_leave_no_gap() {
    let mut world = World::new(2);
    let start = world.zxid();
    world.ask(0, &create("/a", PERSISTENT));
    world.ask(1, &create("/a", PERSISTENT));
    world.ask(0, &Op::Garbled(proto::OpCode::Create));
    world.ask(0, &Op::Multi(vec![delete("/nowhere")]));
    world.ask(1, &Op::DeleteContainer { path: "/a".into() });
    world.ask(1, &set("/a", 0));
    let items = world.h.settle();
    assert_eq!(zxids(&items), (start + 1..=start + 6).collect::<Vec<_>>());
    // The log has each of them: the harness refuses a gap.
    assert_eq!(world.h.log.last().map(|(zxid, _)| zxid.0), Some(start + 6));
    assert_eq!(world.h.log.len() as u64, start + 6);
}

#[test]
fn a_session_moves_with_the_right_password_and_its_older_connection_is_refused() {
    let mut world = World::new(1);
    let (session, old) = world.sessions[0];
    let new = connection(7);
    world.ask(0, &create("/before", EPHEMERAL));
    world.h.reconnect(new, session, session::password(SessionId(session)), 700);
    world.ask(0, &create("/too-late", PERSISTENT));
    world.sessions[0].1 = new;
    world.ask(0, &create("/after", PERSISTENT));
    let items = world.h.settle();
    let told: Vec<&Item> = items.iter().filter(|item| !matches!(item, Item::Changed(_))).collect();
    let moved = Item::Detached { from: old, session, reason: Detach::SessionMoved };
    let [Item::Reply { to, err: 0, .. }, first, Item::Connected { to: connected, response, .. }, second, last] = *told
    else {
        panic!("{told:#?}")
    };
    assert_eq!((*to, *connected), (old, new), "what was asked before the move is answered where it was asked");
    assert_eq!((first, second), (&moved, &moved));
    assert_eq!((response.session_id, response.timeout_ms), (SessionId(session), 700));
    assert!(matches!(last, Item::Reply { to, err: 0, .. } if *to == new));
    assert!(world.h.tree.get("/too-late").is_none() && world.h.tree.get("/before").is_some());
    // The old connection's end is not the session's.
    world.h.forward(Forward::Closed { from: old, session: SessionId(session) }, Vec::new());
    assert_eq!(world.done(0, &set("/after", 0)).0, 0);
}

#[test]
fn a_wrong_password_gets_no_session_and_throws_out_who_has_it() {
    let mut world = World::new(1);
    let (session, old) = world.sessions[0];
    let expired = |to| {
        let response = ConnectResponse::expired(None);
        move |item: &Item| matches!(item, Item::Connected { to: at, response: said, .. } if *at == to && *said == response)
    };
    world.h.reconnect(connection(8), session, [0; 16], 700);
    let items = world.h.settle();
    assert_eq!(items[0], Item::Detached { from: old, session, reason: Detach::WrongPassword });
    assert!(expired(connection(8))(&items[1]) && items.len() == 2);
    // The session lives on, without a connection.
    world.ask(0, &create("/a", PERSISTENT));
    let items = world.h.settle();
    assert_eq!(items, [Item::Detached { from: old, session, reason: Detach::SessionMoved }]);
    world.h.reconnect(connection(9), session, session::password(SessionId(session)), 700);
    world.sessions[0].1 = connection(9);
    world.ask(0, &create("/a", PERSISTENT));
    assert_eq!(world.answers(), [made("/a")]);
    // A session that never was is expired, with whatever password.
    world.h.reconnect(connection(10), 0x77, session::password(SessionId(0x77)), 700);
    assert!(expired(connection(10))(&world.h.settle()[0]));
}

#[test]
fn after_its_end_a_session_is_expired_for_every_request_and_uses_no_zxid() {
    let mut world = World::new(1);
    let (session, from) = world.sessions[0];
    world.ask(0, &create("/e", EPHEMERAL));
    world.ask(0, &Op::Close);
    world.ask(0, &create("/late", PERSISTENT));
    world.ask(0, &Op::Close);
    world.ask(0, &sync());
    world.h.reconnect(connection(5), session, session::password(SessionId(session)), 700);
    let end = world.zxid() + 2;
    let items = world.h.settle();
    let late = refused(ErrorCode::SessionExpired);
    assert_eq!(replies(&items), [made("/e"), (0, Body::Nothing), late.clone(), late.clone(), late.clone()]);
    let closes = |item: &&Item| matches!(item, Item::Reply { close: true, .. });
    assert_eq!(items.iter().filter(closes).count(), 1, "closeSession's reply closes the connection");
    assert!(!items.iter().any(|item| matches!(item, Item::Detached { .. })), "{from:?} asked for it");
    assert_eq!(world.zxid(), end);
    let closing =
        items.iter().any(|item| matches!(item, Item::Connected { response, .. } if response.session_id.0 == 0));
    assert!(closing, "a closing session cannot be renewed");
    assert_eq!(world.done(0, &sync()), late);
}

#[test]
fn a_silent_session_expires_with_its_ephemerals_in_one_txn_and_one_that_is_heard_does_not() {
    let mut world = World::new(2);
    let ((silent, from), (heard, _)) = (world.sessions[0], world.sessions[1]);
    for path in ["/x", "/y"] {
        world.ask(0, &create(path, EPHEMERAL));
    }
    world.answers();
    let before = world.zxid();
    // Not applied yet when the session ends.
    world.ask(0, &create("/z", EPHEMERAL));
    for _ in 0..11 {
        let now = world.h.now.mono_ms;
        world.h.forward(Forward::Heard(vec![(SessionId(heard), now)]), Vec::new());
        world.h.tick(TICK_MS);
    }
    let items = world.h.settle();
    assert_eq!(world.zxid(), before + 2);
    let deleted = items.iter().filter(|item| matches!(item, Item::Changed(change) if change.zxid == before + 2));
    assert_eq!(deleted.count(), 3);
    assert_eq!(items.last(), Some(&Item::Detached { from, session: silent, reason: Detach::Expired }));
    assert_eq!(world.h.tree.ephemeral_count(), 0);
    assert_eq!(world.done(1, &sync()).0, 0);
    assert_eq!(world.h.replica.sessions().len(), 1);
}

#[test]
fn a_client_that_has_seen_more_than_this_server_is_refused() {
    let mut world = World::new(1);
    world.ask(0, &create("/a", PERSISTENT));
    // The tree's zxid counts, not what is on its way.
    let ahead = Zxid(world.zxid() + 1);
    let from = connection(4);
    let connect = |last_zxid_seen| Forward::Connect {
        from,
        last_zxid_seen,
        timeout_ms: 500,
        session: SessionId(0),
        password: None,
        read_only: None,
    };
    world.h.forward(connect(ahead), Vec::new());
    let items = world.h.settle();
    assert_eq!(items.last(), Some(&Item::Refused { to: from, reason: Refusal::ZxidAhead }));
    world.h.forward(connect(ahead), Vec::new());
    let connected = |item: &Item| matches!(item, Item::Connected { response, .. } if response.read_only.is_none());
    assert!(world.h.settle().last().is_some_and(connected));
}

#[test]
fn the_timeout_is_brought_within_the_servers_bounds() {
    let mut h = Harness::new(options(false));
    for (slot, (asked, granted)) in (0_u32..).zip([(0, 200), (-5, 200), (500, 500), (i32::MAX, 1_000)]) {
        h.connect(connection(slot), asked);
        let [Item::Connected { response, .. }] = h.settle()[..] else { panic!("an answer") };
        assert_eq!((response.session_id.0, response.timeout_ms), (session_id(slot as usize), granted));
        assert_eq!(h.tree.session_timeout_ms(response.session_id), Some(granted));
    }
}

#[test]
fn a_replica_over_a_recovered_tree_goes_on_where_it_ended() {
    let mut world = World::new(1);
    world.done(0, &create("/e", EPHEMERAL));
    let session = world.sessions[0].0;
    let tree = world.h.replay();
    let mut h = Harness::over(options(false), tree);
    h.reconnect(connection(1), session, session::password(SessionId(session)), 500);
    h.request(connection(1), session, 1, &delete("/e"), &[]);
    let items = h.settle();
    assert_eq!(replies(&items), [(0, Body::Nothing)]);
    assert_eq!(h.tree.last_zxid(), Zxid(3));
    // It has its full timeout from the start on, and no longer.
    for _ in 0..15 {
        h.tick(TICK_MS);
    }
    h.settle();
    assert!(h.replica.sessions().is_empty() && h.tree.sessions().len() == 0);
}

#[test]
fn a_container_stays_if_it_got_a_child_since_it_was_found() {
    for with_child in [false, true] {
        let mut world = World::new(1);
        for op in [container("/c"), create("/c/x", PERSISTENT), delete("/c/x")] {
            assert_eq!(world.done(0, &op).0, 0);
        }
        if with_child {
            world.ask(0, &create("/c/new", PERSISTENT));
        }
        for _ in 0..5 {
            world.h.tick(TICK_MS);
        }
        world.h.settle();
        assert_eq!(world.h.tree.get("/c").is_some(), with_child);
    }
}

#[test]
fn a_container_without_a_child_ever_stays_and_a_ttl_counts_from_the_last_write() {
    let mut world = World::new(1);
    for op in [container("/c"), with_ttl("/quiet", 550), with_ttl("/written", 550), with_ttl("/parent", 550)] {
        assert_eq!(world.done(0, &op).0, 0);
    }
    assert_eq!(world.done(0, &create("/parent/child", PERSISTENT)).0, 0);
    for tick in 0..10 {
        world.h.tick(TICK_MS);
        world.h.settle();
        // Looked for every 400 ms: at 400 too early for each of them, at 800 not for what was last written at 0.
        assert_eq!(world.h.tree.get("/quiet").is_some(), tick < 7, "after {} ms", (tick + 1) * TICK_MS);
        if tick == 4 {
            assert_eq!(world.done(0, &set("/written", 0)).0, 0);
        }
    }
    for path in ["/c", "/written", "/parent"] {
        assert!(world.h.tree.get(path).is_some(), "{path}");
    }
}

#[test]
fn the_replica_is_full_at_its_bound_of_items_and_takes_more_once_they_are_applied() {
    let mut world = World::new(1);
    for _ in 0..PENDING_MAX - 1 {
        world.ask(0, &sync());
    }
    assert!(!world.h.replica.is_full());
    world.ask(0, &delete("/nowhere"));
    assert!(world.h.replica.is_full());
    // A tick adds nothing then: the session is still due afterwards.
    for _ in 0..12 {
        world.h.tick(TICK_MS);
    }
    assert_eq!(world.h.replica.pending_len(), PENDING_MAX);
    assert_eq!(world.answers().len(), PENDING_MAX);
    assert!(!world.h.replica.is_full() && world.h.replica.sessions().len() == 1);
    world.h.tick(TICK_MS);
    world.h.settle();
    assert!(world.h.replica.sessions().is_empty());
}

#[test]
fn the_replica_is_full_at_its_bound_of_bytes() {
    let mut world = World::new(1);
    let piece = 1 << 20;
    let big = Op::SetData { path: "/".into(), data: Some(vec![7; piece]), version: -1 };
    for _ in 0..PENDING_BYTES_MAX / piece - 1 {
        world.ask(0, &big);
    }
    assert!(!world.h.replica.is_full());
    world.ask(0, &big);
    assert!(world.h.replica.is_full(), "64 MiB of data with their headers");
    world.answers();
    assert!(!world.h.replica.is_full());
    assert_eq!(world.h.replica.pending_len(), 0);
    // A sync waits with its path, which may be as long as a frame.
    let sync = Op::Sync { path: "/".repeat(piece) };
    for _ in 0..PENDING_BYTES_MAX / piece {
        assert!(!world.h.replica.is_full());
        world.ask(0, &sync);
    }
    assert!(world.h.replica.is_full());
    world.answers();
    assert!(!world.h.replica.is_full());
}

#[test]
fn a_wave_of_expiries_is_spread_over_steps() {
    let options = ReplicaOptions { container_check_ms: i64::MAX / 4, ..options(false) };
    let mut h = Harness::new(options);
    let count = EXPIRIES_PER_STEP + 10;
    for slot in (0_u32..).take(count) {
        h.connect(connection(slot), 200);
    }
    h.settle();
    for _ in 0..3 {
        h.tick(TICK_MS);
    }
    assert_eq!(h.replica.pending_len(), EXPIRIES_PER_STEP);
    h.tick(1);
    assert_eq!(h.replica.pending_len(), count);
    h.settle();
    assert!(h.replica.sessions().is_empty());
}

#[test]
fn a_request_waits_behind_a_bounded_count_of_expiries_however_many_are_due() {
    let options = ReplicaOptions { container_check_ms: i64::MAX / 4, ..options(false) };
    let mut h = Harness::new(options);
    for slot in (0_u32..).take(2 * EXPIRIES_PENDING_MAX) {
        h.connect(connection(slot), 200);
        h.settle();
    }
    // The log stands still: nothing is applied, and only so many are on their way.
    for _ in 0..3 {
        h.tick(TICK_MS);
    }
    for _ in 0..100 {
        h.tick(1);
    }
    assert_eq!(h.replica.pending_len(), EXPIRIES_PENDING_MAX);
    // Each that is applied makes room for another.
    h.append();
    h.durable(1);
    h.apply(1);
    h.tick(1);
    h.tick(1);
    assert_eq!(h.replica.pending_len(), EXPIRIES_PENDING_MAX);
    while !h.replica.sessions().is_empty() {
        h.settle();
        h.tick(1);
    }
}

#[test]
fn a_stall_before_the_first_tick_expires_nobody_either() {
    let mut h = Harness::new(options(false));
    h.connect(connection(0), 500);
    h.settle();
    h.tick(20 * TICK_MS);
    assert_eq!((h.replica.sessions().len(), h.replica.pending_len()), (1, 0));
    for _ in 0..12 {
        h.tick(TICK_MS);
    }
    h.settle();
    assert!(h.replica.sessions().is_empty(), "its time has come now");
}

#[test]
fn a_wall_clock_that_jumps_expires_nobody_and_keeps_nobody() {
    let options = ReplicaOptions { container_check_ms: i64::MAX / 4, ..options(false) };
    let mut h = Harness::new(options);
    h.connect(connection(0), 200);
    h.settle();
    for jump_ms in [86_400_000, -2 * 86_400_000, i64::from(i32::MAX)] {
        h.now.wall_ms += jump_ms;
        h.tick(1);
        assert_eq!((h.replica.sessions().len(), h.replica.pending_len()), (1, 0));
    }
    for _ in 0..3 {
        h.tick(TICK_MS);
    }
    h.settle();
    assert!(h.replica.sessions().is_empty());
}
