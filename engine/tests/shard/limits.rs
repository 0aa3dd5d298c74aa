//! What a client may have on its way at most, and what happens beyond.

use crate::rig::{Rig, add_watch, create, get, handshake, ping, request, set};
use proto::request::{MultiOp, MultiRequest, ReadRequest, Request};
use ringkeeper_engine::shard::{Action, CloseReason, Note, Served};

#[test]
fn output_above_the_soft_limit_stops_serving_until_it_is_sent() {
    let mut rig = Rig::with(|options| options.output_bytes_soft = 600);
    let c = rig.connect(0);
    rig.send(c, &[create(1, "/a", &"x".repeat(400))]);
    rig.settle();
    rig.hear(c);
    let gets: Vec<_> = (2..8).map(|xid| get(xid, "/a")).collect();
    rig.send(c, &gets);
    rig.serve();
    // Two replies of some 490 bytes each are above 600.
    assert!(rig.shard.waits_for_output(c));
    assert_eq!(rig.take(c).len(), 2);
    // The socket took some of it, and not enough: another visit finds the connection where it was.
    rig.shard.sent(c, 601);
    rig.send(c, &[ping()]);
    rig.serve();
    assert!(rig.take(c).is_empty() && rig.shard.waits_for_output(c));
    rig.shard.sent(c, 600);
    rig.serve();
    assert_eq!(rig.take(c).len(), 1);
    rig.shard.sent(c, 0);
    rig.settle();
    assert_eq!(rig.words(c).len(), 2);
    rig.settle();
    let last = rig.words(c);
    assert!(last.len() == 2 && last[1] == "-2 ok", "{last:?}");
    assert!(!rig.shard.waits_for_output(c));
    assert!(rig.actions().is_empty(), "nobody is closed for it");
}

#[test]
fn events_that_pile_up_over_the_hard_limit_abort_the_connection() {
    let mut rig = Rig::with(|options| (options.output_bytes_soft, options.output_bytes_max) = (100, 200));
    let (writer, deaf) = (rig.connect(0), rig.connect(1));
    rig.send(writer, &[create(1, "/a", "")]);
    rig.send(deaf, &[add_watch(1, "/a")]);
    rig.settle();
    rig.hear(deaf);
    for xid in 2..20 {
        rig.send(writer, &[set(xid, "/a", "")]);
        rig.settle();
        rig.hear(writer);
    }
    assert_eq!(rig.actions(), [Action::Abort(deaf, CloseReason::OutputLimit)]);
    assert_eq!(rig.shard.counts().output_limit_closes, 1);
    // An event has 34 bytes: the first that finds more than 200 before it is not written any more.
    assert_eq!(rig.take(deaf).len(), 6);
    rig.shard.closed(deaf);
    assert_eq!((rig.shard.watch_count(), rig.shard.conn_count()), (0, 1));
}

#[test]
fn no_more_writes_than_allowed_are_with_the_core_at_once() {
    let mut rig = Rig::with(|options| options.in_flight_max = 2);
    let c = rig.connect(0);
    let creates: Vec<_> = (1..=5).map(|xid| create(xid, &format!("/n{xid}"), "")).collect();
    rig.send(c, &creates);
    rig.serve();
    rig.forward();
    assert_eq!(rig.replica.pending_len(), 2);
    rig.commit();
    rig.apply(1);
    rig.serve();
    rig.forward();
    assert_eq!(rig.replica.pending_len(), 2, "one reply makes room for one");
    rig.settle();
    assert_eq!(rig.words(c), ["1 /n1", "2 /n2", "3 /n3", "4 /n4", "5 /n5"]);
}

#[test]
fn without_room_in_the_core_requests_stay_and_none_is_lost() {
    let mut rig = Rig::new();
    let (a, b) = (rig.connect(0), rig.connect(1));
    let new = rig.accept(2);
    rig.receive(new, &handshake(None, None));
    rig.send(a, &[get(1, "/a"), create(2, "/a", "x"), get(3, "/a")]);
    rig.send(b, &[ping(), create(1, "/b", "y"), create(2, "/c", "z")]);
    for _ in 0..3 {
        assert_eq!(rig.serve_once(false), Served::NoRoom);
        assert!(rig.shard.has_ready() && rig.shard.take_forwards().is_none());
    }
    assert_eq!(rig.words(a), ["1 NoNode"], "what needs no room is served");
    assert_eq!(rig.words(b), ["-2 ok"]);
    rig.settle();
    assert_eq!(rig.words(a), ["2 /a", "3 x v0"]);
    assert_eq!(rig.words(b), ["1 /b", "2 /c"]);
    assert_ne!(rig.take_connected(new).session_id.0, 0);
}

#[test]
fn a_connection_that_sends_more_than_can_be_kept_is_paused_and_resumed_and_counts_as_heard() {
    let mut rig = Rig::with(|options| options.frame_bytes_max = 100);
    let c = rig.connect(0);
    let gets: Vec<_> = (2..4_000).map(|xid| get(xid, "/none")).collect();
    rig.send(c, &[create(1, "/a", "")]);
    rig.send(c, &gets);
    rig.serve();
    rig.forward();
    assert_eq!(rig.actions(), [Action::Pause(c)]);
    assert_eq!(rig.heard_on_tick(2_000_000).len(), 1);
    let heard = rig.heard_on_tick(3_000_000);
    assert!(matches!(heard[..], [(_, 3_000)]), "nobody reads from it, so it is heard of at every tick: {heard:?}");
    rig.settle();
    assert_eq!(rig.actions(), [Action::Resume(c)]);
    assert_eq!(rig.words(c).len(), 3_999);
    assert!(rig.heard_on_tick(4_000_000).is_empty(), "what it sent was heard of before");
}

#[test]
fn a_busy_connection_does_not_keep_another_waiting() {
    let mut rig = Rig::new();
    let (busy, other) = (rig.connect(0), rig.connect(1));
    let gets: Vec<_> = (1..=5_000).map(|xid| get(xid, "/none")).collect();
    rig.send(busy, &gets);
    rig.send(other, &[get(1, "/none")]);
    assert_eq!(rig.serve_once(true), Served::More, "it lets go of the lock before all is done");
    assert_eq!(rig.words(other), ["1 NoNode"]);
    let first = rig.words(busy).len();
    assert!(first < 5_000);
    rig.settle();
    assert_eq!(first + rig.words(busy).len(), 5_000);
}

/// getData of one path, many times over in one request.
fn get_many(xid: i32, path: &str, count: usize) -> Vec<u8> {
    let op = MultiOp::GetData(ReadRequest { path, watch: false });
    request(xid, &Request::MultiRead(MultiRequest { ops: vec![op; count] }))
}

#[test]
fn a_large_znode_many_times_over_is_one_error_and_is_not_even_put_together() {
    const REPLY_BYTES_MAX: usize = 10_000;
    let mut rig = Rig::with(|options| options.reply_bytes_max = REPLY_BYTES_MAX);
    let c = rig.connect(0);
    rig.send(c, &[create(1, "/a", &"x".repeat(1_000)), get_many(2, "/a", 9), get_many(3, "/a", 10_000), get(4, "/a")]);
    rig.settle();
    let output = rig.shard.take_output(c).map(std::mem::take).unwrap();
    assert!(output.capacity() < 5 * REPLY_BYTES_MAX, "{} bytes were put together", output.capacity());
    rig.shard.sent(c, 0);
    assert_eq!(rig.actions(), [Action::Noted(c, Note::ReplyLimit)], "nobody is closed for it");
    rig.send(c, &[get_many(5, "/a", 9), get_many(6, "/a", 10), get(7, "/a")]);
    rig.settle();
    let heard = rig.hear(c);
    let errors: Vec<(i32, i32)> = heard.iter().map(|heard| (heard.xid, heard.err)).collect();
    assert_eq!(errors, [(5, 0), (6, -1), (7, 0)], "nine fit, ten do not; what comes after is answered");
    assert!(heard[1].text.ends_with("SystemError and 0 bytes"), "{}", heard[1].text);
}
