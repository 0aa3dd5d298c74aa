//! Random pipelines over several connections, with every step of core and shard at a random time: each connection's replies come in order, and
//! together they are those of one request after the other, in the order that the headers' zxids tell.

use crate::rig::{Heard, Rig, create, get, ping, request, set};
use proptest::prelude::*;
use proto::request::{PathVersion, Request};
use ringkeeper_engine::shard::{Action, Hold};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
enum Ask {
    Get(u8),
    Set(u8),
    Create(u8),
    Delete(u8),
    Ping,
}

#[derive(Clone, Copy, Debug)]
enum Move {
    /// So many of a connection's requests come in.
    Send(usize, usize),
    Serve(bool),
    Forward,
    Commit,
    Apply(usize),
    Hear(usize),
}

const CONNS: usize = 3;

fn ask() -> impl Strategy<Value = Ask> {
    let path = 0..3_u8;
    prop_oneof![
        3 => path.clone().prop_map(Ask::Get),
        2 => path.clone().prop_map(Ask::Set),
        2 => path.clone().prop_map(Ask::Create),
        1 => path.prop_map(Ask::Delete),
        1 => Just(Ask::Ping),
    ]
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => (0..CONNS, 1..5_usize).prop_map(|(conn, count)| Move::Send(conn, count)),
        3 => prop::bool::weighted(0.8).prop_map(Move::Serve),
        2 => Just(Move::Forward),
        2 => Just(Move::Commit),
        3 => (1..4_usize).prop_map(Move::Apply),
        1 => (0..CONNS).prop_map(Move::Hear),
    ]
}

fn frame(xid: i32, ask: Ask) -> Vec<u8> {
    match ask {
        Ask::Get(path) => get(xid, &format!("/p{path}")),
        // Every value is written once, so that no old one passes for a new one.
        Ask::Set(path) => set(xid, &format!("/p{path}"), &format!("set{xid}")),
        Ask::Create(path) => create(xid, &format!("/p{path}"), &format!("new{xid}")),
        Ask::Delete(path) => request(xid, &Request::Delete(PathVersion { path: &format!("/p{path}"), version: -1 })),
        Ask::Ping => ping(),
    }
}

/// The znodes' data and versions.
type Model = BTreeMap<u8, (String, i32)>;

/// What a server that does one thing at a time would say.
fn execute(model: &mut Model, xid: i32, ask: Ask) -> String {
    let said = match ask {
        Ask::Get(path) => model.get(&path).map(|(data, version)| format!("{data} v{version}")).ok_or("NoNode"),
        Ask::Set(path) => match model.get_mut(&path) {
            Some((data, version)) => {
                *data = format!("set{xid}");
                *version += 1;
                Ok(format!("v{version}"))
            }
            None => Err("NoNode"),
        },
        Ask::Create(path) if model.contains_key(&path) => Err("NodeExists"),
        Ask::Create(path) => {
            model.insert(path, (format!("new{xid}"), 0));
            Ok(format!("/p{path}"))
        }
        Ask::Delete(path) => model.remove(&path).map(|_| "ok".to_owned()).ok_or("NoNode"),
        Ask::Ping => unreachable!("pings are looked at apart"),
    };
    format!("{xid} {}", said.unwrap_or_else(str::to_owned))
}

/// Runs the moves, then all that is left; what each connection heard.
fn run(asks: &[Vec<(i32, Ask)>], moves: &[Move]) -> Vec<Vec<Heard>> {
    let mut rig = Rig::with(|options| (options.in_flight_max, options.output_bytes_soft) = (3, 200));
    let conns: Vec<_> = (0..).take(CONNS).map(|slot| rig.connect(slot)).collect();
    let mut unsent: Vec<_> = asks.iter().map(|asks| asks.iter()).collect();
    let mut heard = vec![Vec::new(); CONNS];
    let mut send = |rig: &mut Rig, conn: usize, count: usize| {
        let frames: Vec<_> = unsent[conn].by_ref().take(count).map(|(xid, ask)| frame(*xid, *ask)).collect();
        rig.send(conns[conn], &frames);
    };
    for step in moves {
        match *step {
            Move::Send(conn, count) => send(&mut rig, conn, count),
            Move::Serve(has_room) => drop(rig.serve_once(has_room)),
            Move::Forward => rig.forward(),
            Move::Commit => rig.commit(),
            Move::Apply(count_max) => rig.apply(count_max),
            Move::Hear(conn) => heard[conn].extend(rig.hear(conns[conn])),
        }
    }
    (0..CONNS).for_each(|conn| send(&mut rig, conn, usize::MAX));
    loop {
        rig.settle();
        let before = heard.iter().map(Vec::len).sum::<usize>();
        (0..CONNS).for_each(|conn| heard[conn].extend(rig.hear(conns[conn])));
        if before == heard.iter().map(Vec::len).sum::<usize>() {
            break;
        }
    }
    let is_hold = |action: &Action| matches!(action, Action::Held(_, Hold::InFlight));
    assert!(rig.actions().iter().all(is_hold), "nobody is closed");
    heard
}

proptest! {
    #[test]
    fn any_pipelines_are_answered_as_one_request_after_the_other_would_be(
        asks in prop::collection::vec(prop::collection::vec(ask(), 0..20), CONNS),
        moves in prop::collection::vec(a_move(), 0..80),
    ) {
        // Each request of the whole run has its own xid.
        let mut xids = 1..;
        let asks: Vec<Vec<(i32, Ask)>> = asks.into_iter().map(|asks| xids.by_ref().zip(asks).collect()).collect();
        let heard = run(&asks, &moves);
        let mut history = Vec::new();
        for (conn, (asks, heard)) in asks.iter().zip(heard).enumerate() {
            let (pings, asks): (Vec<_>, Vec<_>) = asks.iter().partition(|(_, ask)| matches!(ask, Ask::Ping));
            let (pongs, replies): (Vec<_>, Vec<_>) = heard.into_iter().partition(|heard| heard.xid == -2);
            prop_assert_eq!(pings.len(), pongs.len());
            let (asked, answered): (Vec<i32>, Vec<i32>) =
                (asks.iter().map(|(xid, _)| *xid).collect(), replies.iter().map(|reply| reply.xid).collect());
            prop_assert_eq!(asked, answered, "one reply to each request, in order");
            for ((xid, ask), reply) in asks.into_iter().zip(replies) {
                let changes = !matches!(ask, Ask::Get(_)) && reply.err == 0;
                history.push((reply.zxid, !changes, conn, xid, ask, reply.text));
            }
        }
        // At each zxid the change comes first, then whatever saw it.
        history.sort_by_key(|(zxid, sees, conn, xid, ..)| (*zxid, *sees, *conn, *xid));
        let mut model = Model::new();
        let mut changed_at = 0;
        for (zxid, sees, _, xid, ask, text) in &history {
            prop_assert!(*sees || *zxid > changed_at, "two changes at {:#x}", zxid);
            changed_at = if *sees { changed_at } else { *zxid };
            prop_assert_eq!(&execute(&mut model, *xid, *ask), text, "{:?} at {:#x} of {:?}", ask, zxid, history);
        }
    }
}
