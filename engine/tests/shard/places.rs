//! Long reads of many connections: a client has two of them under way, everybody else's come before its third, and nobody is forgotten.

use crate::rig::{Rig, children, create, request};
use proptest::prelude::*;
use proto::request::{PathVersion, ReadRequest, Request};
use ringkeeper_engine::shard::LongRead;
use ringkeeper_engine::stream::ConnId;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// Long reads that a client may have under way.
const PLACES: usize = 2;

/// `/d` has so many children that listing it is long; with one less it is not.
fn rig() -> (Rig, ConnId) {
    let mut rig = Rig::with(|options| options.listing_long = 2);
    let writer = rig.connect(0);
    rig.send(writer, &[create(1, "/d", ""), create(2, "/d/a", ""), create(3, "/d/b", "")]);
    rig.settle();
    rig.hear(writer);
    (rig, writer)
}

fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

/// A connection of this client.
fn connect(rig: &mut Rig, slot: u32, number: u8) -> ConnId {
    rig.client = client(number);
    rig.connect(slot)
}

fn answer(rig: &mut Rig, (conn, read): (ConnId, LongRead)) {
    let reply = read.answer().unwrap();
    rig.shard.answered(conn, reply, rig.now_us);
}

fn watched(xid: i32) -> Vec<u8> {
    request(xid, &Request::GetChildren(ReadRequest { path: "/d", watch: true }))
}

#[test]
fn a_client_with_many_connections_waits_for_itself_and_nobody_else_does() {
    let (mut rig, _) = rig();
    let crowd: Vec<ConnId> = (1..6).map(|slot| connect(&mut rig, slot, 1)).collect();
    let other = connect(&mut rig, 6, 2);
    for &conn in crowd.iter().chain([&other]) {
        rig.send(conn, &[watched(1)]);
    }
    rig.serve();
    let mut under_way: VecDeque<_> = rig.shard.take_long_reads().into();
    assert_eq!(rig.shard.watch_count(), 3, "of who waits nothing is done");
    assert_eq!(rig.shard.counts().long_waits, 3);
    let mut order = Vec::new();
    // First come, first served, as in the server.
    while let Some(read) = under_way.pop_front() {
        order.push(read.0);
        answer(&mut rig, read);
        rig.serve();
        under_way.extend(rig.shard.take_long_reads());
    }
    assert_eq!(order, [crowd[0], crowd[1], other, crowd[2], crowd[3], crowd[4]]);
    assert_eq!(rig.shard.watch_count(), 6);
    assert!(order.into_iter().all(|conn| rig.words(conn) == [r#"1 {"a", "b"}"#]));
}

#[test]
fn who_waited_is_shown_the_state_of_his_turn_and_needs_no_place_if_the_listing_is_short_by_then() {
    let (mut rig, writer) = rig();
    let crowd: Vec<ConnId> = (1..5).map(|slot| connect(&mut rig, slot, 1)).collect();
    for &conn in &crowd {
        rig.send(conn, &[watched(1), children(2, "/d/a")]);
    }
    rig.serve();
    let mut under_way = rig.shard.take_long_reads();
    rig.send(writer, &[delete(4)]);
    rig.serve();
    rig.answer();
    rig.serve();
    assert!(rig.words(crowd[2]).is_empty() && rig.words(crowd[3]).is_empty(), "nobody has made them ready");
    let read = under_way.remove(0);
    answer(&mut rig, read);
    rig.settle();
    for &conn in &crowd[2..] {
        assert_eq!(rig.words(conn), [r#"1 {"a"}"#, "2 {}"]);
    }
    assert_eq!(rig.words(crowd[0]), [r#"1 {"a", "b"}"#, "NodeChildrenChanged /d", "2 {}"]);
    assert!(rig.words(crowd[1]).is_empty());
    answer(&mut rig, under_way.remove(0));
    rig.settle();
    assert_eq!(rig.words(crowd[1]), [r#"1 {"a", "b"}"#, "NodeChildrenChanged /d", "2 {}"]);
}

fn delete(xid: i32) -> Vec<u8> {
    request(xid, &Request::Delete(PathVersion { path: "/d/b", version: -1 }))
}

#[derive(Clone, Copy, Debug)]
enum Move {
    List(usize),
    Close(usize),
    /// The listing becomes short, or long again.
    Change,
    Serve,
    Core,
    /// One of those under way is made.
    Make(prop::sample::Index),
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => (0..CLIENTS.len()).prop_map(Move::List),
        1 => (0..CLIENTS.len()).prop_map(Move::Close),
        1 => Just(Move::Change),
        5 => Just(Move::Serve),
        2 => Just(Move::Core),
        5 => any::<prop::sample::Index>().prop_map(Move::Make),
    ]
}

/// Which client each of the connections is of.
const CLIENTS: [u8; 8] = [1, 1, 1, 1, 1, 1, 2, 2];

proptest! {
    #[test]
    fn whoever_comes_and_goes_a_client_has_two_under_way_and_everybody_is_answered(
        moves in prop::collection::vec(a_move(), 0..120),
    ) {
        let (mut rig, writer) = rig();
        let conns: Vec<ConnId> = (1..).zip(CLIENTS).map(|(slot, number)| connect(&mut rig, slot, number)).collect();
        let clients: BTreeMap<ConnId, u8> = conns.iter().copied().zip(CLIENTS).collect();
        let mut asked: BTreeMap<ConnId, usize> = conns.iter().map(|conn| (*conn, 0)).collect();
        let (mut under_way, mut is_long) = (Vec::new(), true);
        for (xid, step) in (100..).zip(moves) {
            match step {
                Move::List(at) => {
                    // Of those that are still there.
                    if let Some(count) = asked.get_mut(&conns[at]) {
                        *count += 1;
                        rig.send(conns[at], &[children(xid, "/d")]);
                    }
                }
                Move::Close(at) => {
                    rig.shard.closed(conns[at]);
                    asked.remove(&conns[at]);
                }
                Move::Change => {
                    rig.send(writer, &[if is_long { delete(xid) } else { create(xid, "/d/b", "") }]);
                    is_long = !is_long;
                }
                Move::Serve => drop(rig.serve_once(true)),
                Move::Core => rig.answer(),
                Move::Make(_) if under_way.is_empty() => {}
                Move::Make(which) => {
                    let read = under_way.swap_remove(which.index(under_way.len()));
                    answer(&mut rig, read);
                }
            }
            under_way.extend(rig.shard.take_long_reads());
            for number in [1, 2] {
                let theirs = under_way.iter().filter(|(conn, _)| clients[conn] == number).count();
                prop_assert!(theirs <= PLACES, "{theirs} of client {number}");
            }
        }
        under_way.into_iter().for_each(|read| answer(&mut rig, read));
        rig.settle();
        for (conn, count) in asked {
            prop_assert_eq!(rig.words(conn).len(), count, "{:?}", conn);
        }
    }
}
