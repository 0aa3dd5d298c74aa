//! A history of a real ensemble is right, and wrong as soon as one thing in it is otherwise: so the checkers saw what they were shown.

use super::trial::{Trial, assert_right};
use ringkeeper_sim::check;
use ringkeeper_sim::history::{Answer, Code, Event, History, Op, Zxid};
use ringkeeper_tests::cluster::{Implementation, Plan};

/// What is changed, the checker that must see it, and how.
type Change = (&'static str, &'static str, fn(&mut History));

const CHANGES: &[Change] = &[
    ("an acknowledged write is in no log", "writes::none_lost", |history| {
        let lost = a_write(history);
        history.lines_mut().retain(|line| !matches!(line.event, Event::Applied { zxid, .. } if zxid == lost));
    }),
    ("one server lacks a txn", "servers::same_txns", |history| {
        let lost = a_write(history);
        let at = |event: &Event| matches!(event, Event::Applied { zxid, .. } if *zxid == lost);
        let line = history.lines().iter().position(|line| at(&line.event)).expect("it is in the log");
        history.lines_mut().remove(line);
    }),
    ("a read shows other data", "writes::explained", |history| {
        let read = history.lines_mut().iter_mut().rev().find_map(|line| match &mut line.event {
            Event::Reply { err: Code(0), answer: Answer { data: Some(data), .. }, .. } => Some(data),
            _ => None,
        });
        read.expect("a read").push('?');
    }),
    ("a header's zxid goes back", "zxids::headers_never_decrease", |history| {
        let last = history.lines_mut().iter_mut().rev().find_map(|line| match &mut line.event {
            Event::Reply { zxid, .. } => Some(zxid),
            _ => None,
        });
        *last.expect("a reply") = Zxid(1);
    }),
    ("a watch event is missing", "watches::events", |history| {
        let lines = history.lines();
        let event = lines.iter().position(|line| matches!(line.event, Event::Watch { .. })).expect("an event");
        history.lines_mut().remove(event);
    }),
    ("a znode is missing from one tree", "writes::none_lost", |history| {
        let tree = history.lines_mut().iter_mut().find_map(|line| match &mut line.event {
            Event::Final { nodes, .. } if !nodes.is_empty() => Some(nodes),
            _ => None,
        });
        tree.expect("a tree with something in it").pop();
    }),
];

/// The zxid of a create or set that was acknowledged, from the middle of the history.
fn a_write(history: &History) -> Zxid {
    let calls = check::Calls::of(history, "bite").expect("a history");
    let writes: Vec<Zxid> = calls
        .all
        .iter()
        .filter(|call| matches!(call.op, Op::Set { .. } | Op::Create { .. }))
        .filter(|call| call.reply.is_some_and(|reply| reply.err == Code::OK))
        .filter_map(check::Call::txn)
        .collect();
    writes[writes.len() / 2]
}

#[test]
fn one_changed_thing_makes_a_right_history_wrong() {
    for implementation in Implementation::wanted() {
        let history = Trial::begin(Plan::new(implementation, 3), 2).finish();
        for (what, checker, change) in CHANGES {
            let mut changed = history.clone();
            change(&mut changed);
            let found: Vec<&str> = check::check(&changed).iter().map(|violation| violation.checker).collect();
            assert!(found.contains(checker), "{what}: {checker} is wanted, {found:?} have found something");
        }
        // As text, as `sim check` reads it.
        assert_right(&History::parse(&history.to_text()).expect("it reads back"));
    }
}
