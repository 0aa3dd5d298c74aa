//! Walks over watches in small pieces, while watches come and go: whatever stays is shown once, and no piece is large.

use crate::rig::{Rig, exists_watch};
use ringkeeper_engine::shard::WatchCursor;
use ringkeeper_engine::stream::ConnId;
use std::collections::BTreeMap;

/// Places that one question of these tests looks at.
const PIECE: usize = 7;

fn watch(rig: &mut Rig, conn: ConnId, path: &str) {
    rig.send(conn, &[exists_watch(1, path)]);
    rig.serve();
    rig.take(conn);
}

/// Four connections with 100 watches each that stay, and one for the comings and goings.
fn scene() -> (Rig, Vec<ConnId>) {
    let mut rig = Rig::new();
    let conns: Vec<_> = (0..5).map(|slot| rig.connect(slot)).collect();
    for number in 0..100 {
        for conn in &conns[..4] {
            watch(&mut rig, *conn, &format!("/stays/{number}/{}", conn.slot % 2));
        }
        watch(&mut rig, conns[4], &format!("/goes/{number}"));
    }
    (rig, conns)
}

/// Between two pieces: watches come, as many go, and the table grows.
fn change(rig: &mut Rig, conns: &[ConnId], round: usize) {
    for number in 0..10 {
        watch(rig, conns[4], &format!("/new/{round}/{number}"));
        watch(rig, conns[0], &format!("/new/{round}/{number}"));
    }
    if round == 3 {
        rig.shard.closed(conns[4]);
        let again = rig.connect(4);
        watch(rig, again, "/again");
    }
}

#[test]
fn every_path_that_stays_is_shown_once() {
    let (mut rig, conns) = scene();
    let mut shown: BTreeMap<String, usize> = BTreeMap::new();
    let (mut from, mut round) = (Some(0), 0);
    while let Some(at) = from {
        let piece = rig.shard.watched_paths(at, PIECE);
        assert!(piece.items.len() <= PIECE);
        piece.items.iter().for_each(|path| *shown.entry(path.to_string()).or_default() += 1);
        from = piece.next;
        round += 1;
        if round < 10 {
            change(&mut rig, &conns, round);
        }
    }
    assert!(
        shown.values().all(|count| *count == 1)
            || shown.iter().all(|(path, count)| *count == 1 || !path.contains("stays"))
    );
    assert_eq!(shown.keys().filter(|path| path.contains("/stays/")).count(), 200, "{shown:?}");
}

#[test]
fn every_watch_that_stays_is_shown_once_under_its_own_session() {
    let (mut rig, conns) = scene();
    let sessions: BTreeMap<i64, usize> = {
        let infos = rig.shard.connections_from(0, 10).items;
        infos.iter().enumerate().map(|(number, info)| (info.session.0, number)).collect()
    };
    let mut shown: BTreeMap<(i64, String), usize> = BTreeMap::new();
    let mut headings: BTreeMap<i64, usize> = BTreeMap::new();
    let (mut from, mut round) = (Some(WatchCursor::default()), 0);
    while let Some(at) = from {
        let piece = rig.shard.watches_by_connection(at, PIECE);
        assert!(piece.items.iter().map(|conn| conn.paths.len()).sum::<usize>() <= PIECE);
        for conn in &piece.items {
            *headings.entry(conn.session.0).or_default() += usize::from(!conn.goes_on);
            for path in &conn.paths {
                *shown.entry((conn.session.0, path.to_string())).or_default() += 1;
            }
        }
        from = piece.next;
        round += 1;
        if round < 10 {
            change(&mut rig, &conns, round);
        }
    }
    let staying: Vec<_> = shown.iter().filter(|((_, path), _)| path.contains("/stays/")).collect();
    assert_eq!(staying.len(), 400);
    assert!(staying.iter().all(|(_, count)| **count == 1));
    assert!(staying.iter().all(|((session, path), _)| path.ends_with(&format!("/{}", sessions[session] % 2))));
    assert!(headings.values().all(|count| *count == 1), "{headings:?}");
}

#[test]
fn a_slot_that_changes_hands_within_a_walk_gives_its_watches_to_the_right_session() {
    let mut rig = Rig::new();
    let old = rig.connect(0);
    (0..20).for_each(|number| watch(&mut rig, old, &format!("/old/{number}")));
    let first = rig.shard.watches_by_connection(WatchCursor::default(), PIECE);
    let old_session = first.items[0].session;
    rig.shard.closed(old);
    let new = rig.connect(0);
    (0..20).for_each(|number| watch(&mut rig, new, &format!("/new/{number}")));
    let (mut from, mut count) = (first.next, 0);
    while let Some(at) = from {
        let piece = rig.shard.watches_by_connection(at, PIECE);
        for conn in piece.items {
            assert!(conn.session != old_session && conn.paths.iter().all(|path| path.starts_with("/new/")));
            assert_eq!(conn.goes_on, count > 0);
            count += conn.paths.len();
        }
        from = piece.next;
    }
    assert_eq!(count, 20);
}

#[test]
fn watchers_of_many_paths_are_told_in_pieces_of_bounded_size() {
    let mut rig = Rig::new();
    let conns: Vec<_> = (0..20).map(|slot| rig.connect(slot)).collect();
    let paths: Vec<std::sync::Arc<str>> = (0..4).map(|number| format!("/{number}").into()).collect();
    for (number, path) in paths.iter().enumerate() {
        // 20, 3, 3 and 3 watchers.
        conns.iter().take(if number == 0 { 20 } else { 3 }).for_each(|conn| watch(&mut rig, *conn, path));
    }
    let lens =
        |from: usize| -> Vec<usize> { rig.shard.watchers_of(&paths[from..], PIECE).iter().map(Vec::len).collect() };
    assert_eq!((lens(0), lens(1), lens(3)), (vec![20], vec![3, 3], vec![3]));
    assert_eq!(rig.shard.watchers_of(&["/nobody".into()], PIECE), [[]]);
}
