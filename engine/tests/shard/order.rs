//! Laws 4 to 6: the order of a connection's replies and events, and the zxids in their headers.

use crate::rig::{Heard, Rig, add_watch, children, create, exists_watch, get, ping, set, set_acl, set_watches, watch};
use proto::{Acl, Perms, Zxid};
use ringkeeper_engine::stream::ConnId;

fn zxids(heard: &[Heard]) -> Vec<i64> {
    heard.iter().map(|heard| heard.zxid).collect()
}

/// A rig with one connection and the znode `/a`.
fn with_a() -> (Rig, ConnId) {
    let mut rig = Rig::new();
    let c = rig.connect(0);
    rig.send(c, &[create(1, "/a", "old")]);
    rig.settle();
    assert_eq!(rig.words(c), ["1 /a"]);
    (rig, c)
}

#[test]
fn reads_are_answered_at_once() {
    let (mut rig, c) = with_a();
    rig.send(c, &[get(2, "/a"), get(3, "/none"), children(4, "/")]);
    rig.serve();
    assert_eq!(rig.words(c), ["2 old v0", "3 NoNode", r#"4 {"a", "zookeeper"}"#]);
    assert!(rig.shard.take_forwards().is_none(), "the core has nothing to do with reads");
}

#[test]
fn a_read_behind_an_unanswered_write_waits_and_shows_it_and_holds_the_write_behind_it() {
    let (mut rig, c) = with_a();
    rig.send(c, &[set(2, "/a", "one"), get(3, "/a"), set(4, "/a", "two"), get(5, "/a")]);
    rig.serve();
    rig.forward();
    assert_eq!(rig.replica.pending_len(), 1, "the second write waits behind the read");
    rig.serve();
    assert!(rig.hear(c).is_empty());
    rig.answer();
    rig.serve();
    assert_eq!(rig.words(c), ["2 v1", "3 one v1"]);
    rig.settle();
    assert_eq!(rig.words(c), ["4 v2", "5 two v2"]);
}

#[test]
fn writes_without_reads_between_them_are_with_the_core_together() {
    let (mut rig, c) = with_a();
    rig.send(c, &[set(2, "/a", "one"), set(3, "/a", "two"), set(4, "/none", "")]);
    rig.serve();
    rig.forward();
    assert_eq!(rig.replica.pending_len(), 3);
    rig.settle();
    assert_eq!(rig.words(c), ["2 v1", "3 v2", "4 NoNode"]);
}

#[test]
fn a_watch_left_by_a_read_is_fired_by_the_write_behind_it_and_told_before_the_writes_reply() {
    let (mut rig, c) = with_a();
    rig.send(c, &[watch(2, "/a"), set(3, "/a", "new")]);
    rig.settle();
    let heard = rig.hear(c);
    let words: Vec<&str> = heard.iter().map(|heard| heard.text.as_str()).collect();
    assert_eq!(words, ["2 old v0", "NodeDataChanged /a", "3 v1"]);
    assert_eq!(heard[1].zxid, heard[2].zxid, "the event carries its txn's zxid");
    assert_eq!(rig.shard.watch_count(), 0);
}

#[test]
fn an_event_comes_before_the_reply_that_shows_the_change_on_another_connection() {
    let (mut rig, writer) = with_a();
    let reader = rig.connect(1);
    rig.send(reader, &[watch(1, "/a")]);
    rig.settle();
    assert_eq!(rig.words(reader), ["1 old v0"]);
    rig.send(writer, &[set(2, "/a", "new")]);
    rig.serve();
    rig.forward();
    rig.commit();
    // Committed, but not applied: the reader still sees what was.
    rig.send(reader, &[get(2, "/a")]);
    rig.serve();
    assert_eq!(rig.words(reader), ["2 old v0"]);
    // This one is there before the change, and is served after it.
    rig.send(reader, &[get(3, "/a")]);
    rig.apply(usize::MAX);
    rig.serve();
    assert_eq!(rig.words(reader), ["NodeDataChanged /a", "3 new v1"]);
    rig.send(writer, &[set(3, "/a", "newer")]);
    rig.settle();
    assert!(rig.hear(reader).is_empty(), "the watch fires once");
}

#[test]
fn headers_carry_the_streams_position_for_reads_and_a_writes_own_zxid() {
    let (mut rig, c) = with_a();
    let other = rig.connect(1);
    let before = rig.shard.position();
    // Three writes meet in one batch of the stream; the first reply still says its own zxid, not the batch's.
    rig.send(c, &[set(2, "/a", "one")]);
    rig.serve();
    rig.send(other, &[set(1, "/a", "two"), set(2, "/a", "three")]);
    rig.serve();
    rig.answer();
    let position = rig.shard.position();
    assert_eq!(position, before.next().next().next());
    rig.send(c, &[get(3, "/a"), get(4, "/none"), ping()]);
    rig.serve();
    let (first, last) = (before.next().to_wire(), position.to_wire());
    assert_eq!(zxids(&rig.hear(c)), [first, last, last, last]);
    assert_eq!(zxids(&rig.hear(other)), [last - 1, last]);
}

#[test]
fn a_ping_is_answered_while_a_write_is_not() {
    let (mut rig, c) = with_a();
    rig.send(c, &[set(2, "/a", "new"), ping()]);
    rig.serve();
    rig.forward();
    assert_eq!(rig.words(c), ["-2 ok"]);
    rig.settle();
    assert_eq!(rig.words(c), ["2 v1"]);
}

#[test]
fn a_watch_that_the_acl_forbids_to_tell_is_used_up_and_not_told() {
    let (mut rig, writer) = with_a();
    let watcher = rig.connect(1);
    rig.send(watcher, &[watch(1, "/a")]);
    rig.settle();
    assert_eq!(rig.words(watcher), ["1 old v0"]);
    let write_only = Acl { perms: Perms(Perms::WRITE.0 | Perms::ADMIN.0), ..Acl::open() };
    let elsewhere = Acl { perms: Perms::ALL, scheme: "ip".into(), id: "10.9.8.7".into() };
    rig.send(writer, &[set_acl(2, "/a", &[write_only, elsewhere])]);
    rig.settle();
    assert_eq!((rig.words(watcher).len(), rig.shard.watch_count()), (0, 1), "an ACL is no change of the data");
    rig.send(writer, &[set(3, "/a", "secret")]);
    rig.settle();
    assert_eq!(rig.words(writer), ["2 v0", "3 v1"]);
    assert_eq!((rig.words(watcher).len(), rig.shard.watch_count()), (0, 0));
}

#[test]
fn what_set_watches_finds_changed_is_told_before_its_reply_with_zxid_minus_one() {
    let (mut rig, c) = with_a();
    rig.send(c, &[create(2, "/b", "")]);
    rig.settle();
    rig.hear(c);
    let position = rig.shard.position();
    rig.send(c, &[set_watches(Zxid::ZERO, &["/a", "/gone"], &["/b", "/later"], &["/a", "/lost"])]);
    rig.serve();
    let heard = rig.hear(c);
    let words: Vec<&str> = heard.iter().map(|heard| heard.text.as_str()).collect();
    let events =
        ["NodeDataChanged /a", "NodeDeleted /gone", "NodeCreated /b", "NodeChildrenChanged /a", "NodeDeleted /lost"];
    assert_eq!(words[..5], events);
    assert_eq!(words[5..], ["-8 ok"]);
    assert_eq!(zxids(&heard), [-1, -1, -1, -1, -1, position.to_wire()]);
    assert_eq!(rig.shard.watch_count(), 1, "/later alone is watched again");
}

#[test]
fn what_set_watches_finds_unchanged_is_watched_again() {
    let (mut rig, c) = with_a();
    let position = rig.shard.position();
    rig.send(c, &[set_watches(position, &["/a"], &["/later"], &["/"])]);
    rig.serve();
    assert_eq!(rig.words(c), ["-8 ok"]);
    assert_eq!(rig.shard.watch_count(), 3);
    rig.send(c, &[create(2, "/later", ""), set(3, "/a", "new")]);
    rig.settle();
    let expected = ["NodeCreated /later", "NodeChildrenChanged /", "2 /later", "NodeDataChanged /a", "3 v1"];
    assert_eq!(rig.words(c), expected);
}

#[test]
fn a_failed_exists_leaves_a_watch_and_a_failed_get_data_does_not() {
    let (mut rig, c) = with_a();
    rig.send(c, &[watch(2, "/x"), exists_watch(3, "/y")]);
    rig.serve();
    assert_eq!(rig.words(c), ["2 NoNode", "3 NoNode"]);
    rig.send(c, &[create(4, "/x", ""), create(5, "/y", "")]);
    rig.settle();
    assert_eq!(rig.words(c), ["4 /x", "NodeCreated /y", "5 /y"]);
}

#[test]
fn a_closed_connections_watches_vanish() {
    let (mut rig, c) = with_a();
    let gone = rig.connect(1);
    rig.send(gone, &[watch(1, "/a"), exists_watch(2, "/b"), add_watch(3, "/c")]);
    rig.send(c, &[watch(2, "/a")]);
    rig.settle();
    rig.hear(c);
    // The persistent watch stands in both tables.
    assert_eq!(rig.shard.watch_count(), 5);
    rig.shard.closed(gone);
    assert_eq!((rig.shard.watch_count(), rig.shard.conn_count()), (1, 1));
    rig.send(c, &[set(3, "/a", "new")]);
    rig.settle();
    assert_eq!(rig.words(c), ["NodeDataChanged /a", "3 v1"]);
    assert_eq!(rig.shard.watch_count(), 0);
}
