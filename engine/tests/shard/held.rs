//! The limits that shards share: who waits, who is told off, and that nobody is forgotten.

use crate::rig::{Rig, create, get, set};
use ringkeeper_engine::shard::{Action, CloseReason, Hold, Throttle, ThrottleOptions};
use ringkeeper_engine::stream::ShardId;
use std::sync::Arc;

fn throttle(shards: usize, set: impl FnOnce(&mut ThrottleOptions)) -> Arc<Throttle> {
    let mut options = ThrottleOptions::default();
    set(&mut options);
    Arc::new(Throttle::new(options, shards))
}

fn rig(throttle: &Arc<Throttle>, shard: u16) -> Rig {
    Rig::with(|options| {
        options.shard = ShardId(shard);
        options.throttle = Arc::clone(throttle);
    })
}

/// Three writes of one connection, as frames.
fn writes() -> [Vec<u8>; 3] {
    [create(1, "/a", ""), set(2, "/a", "x"), set(3, "/a", "y")]
}

#[test]
fn past_the_outstanding_limit_of_all_shards_a_connection_has_one_request_in_work() {
    let throttle = throttle(2, |options| options.outstanding_max = 2);
    let (mut here, mut there) = (rig(&throttle, 0), rig(&throttle, 1));
    let (mine, other) = (here.connect(0), there.connect(0));
    there.send(other, &writes());
    there.serve();
    assert_eq!(there.shard.counts().outstanding_waits, 0, "three are not past two until the third is in work");
    here.send(mine, &writes());
    here.serve();
    assert_eq!(here.actions(), [Action::Held(mine, Hold::Outstanding)]);
    here.forward();
    assert_eq!((here.replica.pending_len(), here.shard.counts().outstanding_waits), (1, 1));
    here.answer();
    here.serve();
    here.forward();
    assert_eq!(here.replica.pending_len(), 1, "its own reply lets the next one go");
    there.settle();
    here.settle();
    assert_eq!((here.words(mine).len(), there.words(other).len()), (3, 3));
}

#[test]
fn the_throttler_holds_back_whole_connections_and_lets_them_go_in_time() {
    let throttle = throttle(1, |options| options.requests_max = 1);
    let mut rig = rig(&throttle, 0);
    let (a, b) = (rig.connect(0), rig.connect(1));
    rig.send(a, &[create(1, "/a", "")]);
    rig.send(b, &[create(1, "/b", ""), get(2, "/b")]);
    rig.serve();
    assert!(rig.shard.has_held());
    for _ in 0..3 {
        rig.shard.release_held();
        rig.serve();
    }
    assert!(rig.shard.has_held() && rig.take(b).is_empty(), "there is no room still");
    assert_eq!(rig.shard.counts().throttle_waits, 1, "without a place nobody is looked at again");
    rig.settle();
    assert_eq!(rig.words(a), ["1 /a"]);
    assert_eq!(rig.words(b), ["1 /b", "2  v0"]);
    assert!(!rig.shard.has_held());
}

#[test]
fn as_many_are_woken_as_places_came_free_and_the_oldest_first() {
    let throttle = throttle(1, |options| options.requests_max = 3);
    let mut rig = rig(&throttle, 0);
    let conns: Vec<_> = (0..12).map(|slot| rig.connect(slot)).collect();
    for (number, conn) in conns.iter().enumerate() {
        rig.send(*conn, &[create(1, &format!("/{number}"), "")]);
    }
    rig.serve();
    assert_eq!(rig.shard.counts().throttle_waits, 9, "three are in work, the others wait");
    let mut served = Vec::new();
    for round in 1..=4 {
        rig.forward();
        // Each reply by itself: several places come free before anybody is looked at.
        while rig.replica.pending_len() > 0 {
            rig.commit();
            rig.apply(1);
        }
        let replied = conns.iter().enumerate().filter(|(_, conn)| !rig.take(**conn).is_empty());
        served.extend(replied.map(|(number, _)| number));
        assert_eq!(served, (0..3 * round).collect::<Vec<_>>());
        rig.serve();
        assert_eq!(rig.shard.counts().throttle_waits, 9, "nobody is woken without a place");
    }
    assert!(!rig.shard.has_held());
}

#[test]
fn who_asks_for_much_does_not_keep_the_place_from_who_waits() {
    let throttle = throttle(1, |options| options.requests_max = 2);
    let mut rig = rig(&throttle, 0);
    let greedy: Vec<_> = (0..2).map(|slot| rig.connect(slot)).collect();
    let modest: Vec<_> = (2..6).map(|slot| rig.connect(slot)).collect();
    for conn in &greedy {
        let path = format!("/g{}", conn.slot);
        let frames: Vec<_> =
            (1..=40).map(|xid| if xid == 1 { create(1, &path, "") } else { set(xid, &path, "") }).collect();
        rig.send(*conn, &frames);
    }
    rig.serve();
    for conn in &modest {
        rig.send(*conn, &[create(1, &format!("/m{}", conn.slot), "")]);
    }
    rig.serve();
    for round in 1..=4 {
        rig.forward();
        rig.answer();
        // What the clock wakes is no more than there are places either.
        rig.shard.release_held();
        rig.serve();
        assert!(
            round < 4 || modest.iter().all(|conn| rig.words(*conn).len() == 1),
            "four places after two of the others'"
        );
    }
    rig.settle();
    assert_eq!(greedy.iter().map(|conn| rig.words(*conn).len()).sum::<usize>(), 80);
}

#[test]
fn who_was_held_back_for_too_long_gets_throttled_op_and_nothing_is_done() {
    let throttle = throttle(1, |options| (options.requests_max, options.op_wait_us_max) = (1, 10_000));
    let mut rig = rig(&throttle, 0);
    let (a, b) = (rig.connect(0), rig.connect(1));
    rig.send(a, &[create(1, "/a", "")]);
    rig.send(b, &[create(1, "/b", ""), create(2, "/c", "")]);
    rig.serve();
    rig.now_us += 10_001;
    rig.settle();
    assert_eq!(rig.words(b), ["1 ThrottledOp", "2 /c"]);
    assert_eq!(rig.shard.counts().throttled_ops, 1);
    assert!(rig.tree.get("/b").is_none() && rig.tree.get("/c").is_some());
}

#[test]
fn a_place_that_the_one_woken_for_it_does_not_take_is_the_next_ones_at_once() {
    let throttle = throttle(1, |options| (options.requests_max, options.op_wait_us_max) = (1, 10_000));
    let mut rig = rig(&throttle, 0);
    let conns: Vec<_> = (0..5).map(|slot| rig.connect(slot)).collect();
    for conn in &conns {
        rig.send(*conn, &[create(1, &format!("/{}", conn.slot), "")]);
    }
    rig.serve();
    rig.now_us += 10_001;
    // No clock looks at them: the one reply is enough for all four, who get an error each and take no place.
    rig.answer();
    rig.serve();
    assert!(!rig.shard.has_held());
    assert!(conns.iter().skip(1).all(|conn| rig.words(*conn) == ["1 ThrottledOp"]));
}

#[test]
fn a_request_that_waits_longer_than_its_session_lives_is_dropped_with_its_connection() {
    let throttle = throttle(1, |options| (options.requests_max, options.stale_latency_check) = (1, true));
    let mut rig = rig(&throttle, 0);
    let (a, b) = (rig.connect(0), rig.connect(1));
    rig.send(a, &[create(1, "/a", "")]);
    rig.send(b, &[create(1, "/b", "")]);
    rig.serve();
    rig.actions();
    rig.now_us += 3_600_000_000;
    rig.shard.release_held();
    rig.serve();
    assert_eq!(rig.actions(), [Action::Abort(b, CloseReason::StaleRequest)]);
    assert_eq!(rig.shard.counts().stale_requests_dropped, 1);
}

#[test]
fn a_held_request_of_a_connection_that_goes_away_is_dropped_and_counted() {
    let throttle = throttle(1, |options| options.requests_max = 1);
    let mut rig = rig(&throttle, 0);
    let (a, b) = (rig.connect(0), rig.connect(1));
    rig.send(a, &[create(1, "/a", "")]);
    rig.send(b, &[create(1, "/b", "")]);
    rig.serve();
    rig.shard.closed(b);
    assert_eq!(rig.shard.counts().stale_requests_dropped, 1);
    rig.settle();
    assert!(rig.tree.get("/b").is_none() && !rig.shard.has_held());
}

#[test]
fn a_closed_connection_gives_back_its_requests_and_their_bytes() {
    let throttle = throttle(1, |options| {
        (options.outstanding_max, options.large_threshold, options.large_bytes_max) = (0, 100, 300);
    });
    let mut rig = rig(&throttle, 0);
    let (a, b) = (rig.connect(0), rig.connect(1));
    rig.send(a, &[create(1, "/a", &"x".repeat(200))]);
    rig.serve();
    rig.send(b, &[create(1, "/b", &"x".repeat(200))]);
    rig.serve();
    assert_eq!(rig.actions(), [Action::Abort(b, CloseReason::LargeRequest)]);
    assert_eq!(rig.shard.counts().large_requests_rejected, 1);
    rig.shard.closed(a);
    rig.shard.closed(b);
    let c = rig.connect(2);
    rig.send(c, &[create(1, "/c", &"x".repeat(200)), set(2, "/c", "")]);
    rig.settle();
    assert_eq!(rig.words(c), ["1 /c", "2 v1"]);
}
