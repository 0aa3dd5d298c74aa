//! Long reads, which are made while the tree goes on: what they show, and what comes before and after them on the connection (laws 4 to 6).

use crate::rig::{Heard, Rig, children, create, get, handshake, request};
use proptest::prelude::*;
use proto::request::{PathVersion, ReadRequest, Request};
use ringkeeper_engine::replica::ReplicaOptions;
use ringkeeper_engine::shard::{Action, CloseReason, ShardOptions};
use ringkeeper_engine::stream::{ConnId, Detach};
use std::collections::{BTreeMap, BTreeSet};

/// From how many children on a listing is long here.
const LONG: usize = 2;

fn rig_with(paths: &[&str]) -> (Rig, ConnId, ConnId) {
    let mut rig = Rig::with(|options| options.listing_long = LONG);
    let (reader, writer) = (rig.connect(0), rig.connect(1));
    let creates: Vec<_> = (1..).zip(paths).map(|(xid, path)| create(xid, path, "")).collect();
    rig.send(writer, &creates);
    rig.settle();
    rig.hear(writer);
    (rig, reader, writer)
}

fn watched(xid: i32, path: &str) -> Vec<u8> {
    request(xid, &Request::GetChildren(ReadRequest { path, watch: true }))
}

fn delete(xid: i32, path: &str) -> Vec<u8> {
    request(xid, &Request::Delete(PathVersion { path, version: -1 }))
}

/// Everything arrives but long replies.
fn settle_all_but_long(rig: &mut Rig) {
    rig.serve();
    rig.answer();
    rig.serve();
}

#[test]
fn a_long_listing_is_of_the_moment_it_was_taken_and_its_event_and_the_next_reply_follow_it() {
    let (mut rig, reader, writer) = rig_with(&["/d", "/d/a", "/d/b"]);
    rig.send(reader, &[watched(1, "/d"), get(2, "/d")]);
    rig.serve();
    let asked_at = rig.tree.last_zxid();
    rig.send(writer, &[create(8, "/d/c", ""), delete(9, "/d/a")]);
    settle_all_but_long(&mut rig);
    assert_eq!(rig.words(writer), ["8 /d/c", "9 ok"], "nobody else waits");
    assert!(rig.hear(reader).is_empty());
    assert!(rig.answer_long());
    rig.settle();
    let heard = rig.hear(reader);
    let words: Vec<&str> = heard.iter().map(|heard| heard.text.as_str()).collect();
    assert_eq!(words, [r#"1 {"a", "b"}"#, "NodeChildrenChanged /d", "2  v0"]);
    assert_eq!(heard[0].zxid, asked_at.to_wire());
    assert_eq!(heard[2].zxid, rig.tree.last_zxid().to_wire());
}

#[test]
fn an_empty_path_is_the_roots_to_a_long_listing_too() {
    let (mut rig, reader, _) = rig_with(&["/d"]);
    rig.send(reader, &[children(1, "")]);
    rig.serve();
    assert!(rig.hear(reader).is_empty(), "two children are many here");
    assert!(rig.answer_long());
    rig.settle();
    assert_eq!(rig.words(reader), [r#"1 {"d", "zookeeper"}"#]);
}

#[test]
fn a_stat_that_was_asked_for_is_of_the_same_moment() {
    let (mut rig, reader, writer) = rig_with(&["/d", "/d/a", "/d/b"]);
    rig.send(reader, &[request(1, &Request::GetChildren2(ReadRequest { path: "/d", watch: false }))]);
    rig.serve();
    rig.send(writer, &[delete(9, "/d/a")]);
    settle_all_but_long(&mut rig);
    rig.settle();
    let text = rig.words(reader).concat();
    assert!(text.contains("num_children: 2") && text.contains("cversion: 2"), "{text}");
}

#[test]
fn nothing_is_made_for_a_connection_that_has_gone() {
    let (mut rig, reader, _) = rig_with(&["/d", "/d/a", "/d/b"]);
    rig.send(reader, &[watched(1, "/d")]);
    rig.serve();
    rig.shard.closed(reader);
    let reads = rig.shard.take_long_reads();
    let made: Vec<_> = reads.into_iter().map(|(_, read)| read.answer().unwrap().is_made()).collect();
    assert_eq!(made, [false]);
}

#[test]
fn a_long_read_under_way_when_its_session_moves_is_answered_to_nobody_and_holds_up_nothing() {
    // Its reply is made once the old connection was told to go, once the new one has gone on, or once the old one has gone.
    for made_at in 0..3 {
        let mut rig = Rig::with(|options| options.listing_long = LONG);
        let old = rig.accept(0);
        rig.receive(old, &handshake(None, Some(false)));
        rig.settle();
        let session = rig.take_connected(old);
        rig.send(old, &[create(1, "/d", ""), create(2, "/d/a", ""), create(3, "/d/b", "")]);
        rig.settle();
        assert_eq!(rig.words(old).len(), 3);
        rig.send(old, &[watched(4, "/d"), get(5, "/d")]);
        rig.serve();
        let make_if = |rig: &mut Rig, now| assert!(now != made_at || rig.answer_long());

        let new = rig.accept(1);
        rig.receive(new, &handshake(Some((session.session_id, session.password)), Some(false)));
        settle_all_but_long(&mut rig);
        assert_eq!(rig.take_connected(new).session_id, session.session_id);
        assert_eq!(rig.actions(), [Action::CloseAfterFlush(old, CloseReason::Detached(Detach::SessionMoved))]);
        make_if(&mut rig, 0);
        rig.send(new, &[create(1, "/d/c", ""), children(2, "/d/a")]);
        settle_all_but_long(&mut rig);
        assert_eq!(rig.words(new), ["1 /d/c", "2 {}"], "{made_at}");
        make_if(&mut rig, 1);
        assert!(rig.hear(old).is_empty(), "{made_at}: neither the reply nor the event behind it");
        rig.shard.closed(old);
        make_if(&mut rig, 2);
        // The watch went with its connection, and the place is free.
        assert_eq!(rig.shard.watch_count(), 0);
        let others: Vec<ConnId> = (2..4).map(|slot| rig.connect(slot)).collect();
        for &conn in others.iter().chain([&new]) {
            rig.send(conn, &[children(6, "/d")]);
        }
        rig.serve();
        assert_eq!(rig.shard.counts().long_waits, 1, "of three, one waits for the other two");
        rig.settle();
        assert_eq!(rig.words(new), [r#"6 {"a", "b", "c"}"#]);
    }
}

#[test]
fn a_long_listing_may_not_be_longer_than_a_reply() {
    let (grown, ..) = rig_with(&["/d", "/d/a", "/d/b"]);
    let options = ShardOptions { listing_long: LONG, reply_bytes_max: 30, ..ShardOptions::default() };
    let mut rig = Rig::over(grown.tree, ReplicaOptions::default(), options);
    let reader = rig.connect(0);
    rig.send(reader, &[children(1, "/d"), children(2, "/d/a")]);
    rig.settle();
    assert_eq!(rig.words(reader), ["1 SystemError", "2 {}"]);
    assert_eq!(rig.shard.counts().reply_limit_errors, 1);
}

#[derive(Clone, Copy, Debug)]
enum Move {
    List { watch: bool },
    Create(u8),
    Delete(u8),
    Serve,
    Core,
    Long,
    Hear,
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => any::<bool>().prop_map(|watch| Move::List { watch }),
        3 => (0..6_u8).prop_map(Move::Create),
        3 => (0..6_u8).prop_map(Move::Delete),
        3 => Just(Move::Serve),
        3 => Just(Move::Core),
        2 => Just(Move::Long),
        1 => Just(Move::Hear),
    ]
}

/// What the reader has heard, and the children of `/d` by the zxids of the writes that changed them.
fn run(moves: &[Move]) -> (Vec<Heard>, BTreeMap<i64, BTreeSet<String>>, BTreeSet<i32>) {
    let (mut rig, reader, writer) = rig_with(&["/d", "/d/x"]);
    let (mut heard, mut asked, mut with_watch) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    for (xid, step) in (1_000..).zip(moves) {
        match *step {
            Move::List { watch } => {
                rig.send(reader, &[if watch { watched(xid, "/d") } else { children(xid, "/d") }]);
                with_watch.extend(watch.then_some(xid));
            }
            Move::Create(child) => {
                asked.insert(xid, (child, true));
                rig.send(writer, &[create(xid, &format!("/d/{child}"), "")]);
            }
            Move::Delete(child) => {
                asked.insert(xid, (child, false));
                rig.send(writer, &[delete(xid, &format!("/d/{child}"))]);
            }
            Move::Serve => drop(rig.serve_once(true)),
            Move::Core => rig.answer(),
            Move::Long => drop(rig.answer_long()),
            Move::Hear => heard.extend(rig.hear(reader)),
        }
    }
    rig.settle();
    heard.extend(rig.hear(reader));
    let mut now = BTreeSet::from(["x".to_owned()]);
    let mut states = BTreeMap::from([(0, now.clone())]);
    for reply in rig.hear(writer).into_iter().filter(|reply| reply.err == 0) {
        let (child, is_there) = asked[&reply.xid];
        if is_there {
            now.insert(child.to_string())
        } else {
            now.remove(&child.to_string())
        };
        states.insert(reply.zxid, now.clone());
    }
    (heard, states, with_watch)
}

proptest! {
    #[test]
    fn any_listings_show_one_state_each_and_events_come_after_those_that_asked_for_them(
        moves in prop::collection::vec(a_move(), 0..80),
    ) {
        let (heard, states, with_watch) = run(&moves);
        // Up to where the reader has been shown `/d` since its watch was left.
        let mut watches_since: Option<i64> = None;
        let changed_in = |from: i64, to: i64| states.keys().any(|zxid| from < *zxid && *zxid <= to);
        for said in heard {
            if said.xid == -1 {
                prop_assert_eq!(said.text, "NodeChildrenChanged /d");
                let since = watches_since.take();
                prop_assert!(since.is_some_and(|since| changed_in(since, i64::MAX)), "an event before its watch");
                continue;
            }
            let names = states.range(..=said.zxid).next_back().expect("the first").1;
            prop_assert_eq!(&said.text, &format!("{} {names:?}", said.xid));
            prop_assert!(!watches_since.is_some_and(|since| changed_in(since, said.zxid)), "shown before its event");
            if with_watch.contains(&said.xid) {
                watches_since.get_or_insert(said.zxid);
            }
        }
        prop_assert!(!watches_since.is_some_and(|since| changed_in(since, i64::MAX)), "an event that never came");
    }
}
