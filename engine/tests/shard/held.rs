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
    assert_eq!(rig.shard.counts().throttle_waits, 4);
    rig.settle();
    assert_eq!(rig.words(a), ["1 /a"]);
    assert_eq!(rig.words(b), ["1 /b", "2  v0"]);
    assert!(!rig.shard.has_held());
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
