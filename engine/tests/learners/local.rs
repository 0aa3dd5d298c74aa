//! Sessions that only their server knows: what they may do, where they live and end, and how one becomes the ensemble's.

use crate::world::{Client, TIMEOUT_MS, World};
use crate::{EPHEMERAL, notes};

use proto::request::Request;
use proto::{SessionId, Zxid};
use ringkeeper_engine::replica::LocalSessions;

const EPHEMERAL_ON_LOCAL: i32 = -120;
const SESSION_EXPIRED: i32 = -112;

fn kept() -> World {
    World::with_local_sessions([LocalSessions::Kept; 3])
}

fn upgraded() -> World {
    World::with_local_sessions([LocalSessions::Upgraded; 3])
}

fn last_zxid(world: &World) -> Zxid {
    world.servers[world.leader()].tree.0.read().unwrap().last_zxid()
}

/// How many sessions a server has of its own, and of the ensemble's.
fn count(world: &World, at: usize) -> (usize, usize) {
    let replica = world.servers[at].core.replica();
    (replica.local_sessions().len(), world.servers[at].tree.0.read().unwrap().sessions().count())
}

fn close(world: &mut World, client: Client, xid: i32) {
    world.ask(client, xid, &Request::CloseSession);
    world.settle();
}

#[test]
fn one_begins_and_ends_without_a_txn_and_writes_as_any_other() {
    let mut world = kept();
    let first = world.connect(0, 9);
    world.create(first, 1, "/first");
    close(&mut world, first, 2);
    for at in [world.leader(), world.followers()[0]] {
        let before = last_zxid(&world);
        let client = world.connect(at, 1);
        assert_eq!((last_zxid(&world), count(&world, at)), (before, (1, 0)));
        world.create(client, 1, &format!("/{at}"));
        world.sync(client, 2);
        world.create(client, 3, &format!("/{at}"));
        close(&mut world, client, 4);
        assert_eq!(
            world.replies(client),
            [(1, 0), (2, 0), (3, -110), (4, 0)],
            "the end behind what was asked before it"
        );
        assert_eq!((last_zxid(&world).0, count(&world, at)), (before.0 + 2, (0, 0)));
        let gone = world.renew(client, at, 2);
        world.settle();
        assert_eq!(world.session_of(at, gone.conn), Some(SessionId(0)));
    }
    world.until_same();
}

#[test]
fn no_ephemeral_is_its_where_it_is_not_upgraded_and_each_answer_has_its_place() {
    let mut world = kept();
    for at in [world.leader(), world.followers()[0]] {
        let client = world.connect(at, 1);
        world.create(client, 1, &format!("/{at}"));
        world.create_with(client, 2, &format!("/e-{at}"), &[], EPHEMERAL);
        world.create(client, 3, &format!("/after-{at}"));
        world.settle();
        assert_eq!(world.replies(client), [(1, 0), (2, EPHEMERAL_ON_LOCAL), (3, 0)]);
        assert!(world.has(at, &format!("/after-{at}")) && !world.has(at, &format!("/e-{at}")));
    }
    world.until_same();
}

#[test]
fn a_leader_without_such_sessions_refuses_their_writes() {
    let leader = 2;
    let mut kinds = [LocalSessions::Kept; 3];
    kinds[leader] = LocalSessions::No;
    let mut world = World::with_local_sessions(kinds);
    assert_eq!(world.leader(), leader);
    let client = world.connect(0, 1);
    world.create(client, 1, "/a");
    world.create_with(client, 2, "/e", &[], EPHEMERAL);
    world.settle();
    assert_eq!(world.replies(client), [(1, SESSION_EXPIRED), (2, EPHEMERAL_ON_LOCAL)]);
    world.until_same();
}

#[test]
fn elsewhere_it_has_expired_and_at_its_server_it_lives_on() {
    let mut world = kept();
    let (leader, [one, other]) = (world.leader(), world.followers());
    for (slot, home, away) in [(0, one, leader), (10, leader, one), (20, one, other)] {
        let client = world.connect(home, slot + 1);
        let moved = world.renew(client, away, slot + 2);
        world.settle();
        assert_eq!(world.session_of(away, moved.conn), Some(SessionId(0)));
        assert!(!world.is_detached(client));
        let thief = world.ask_connect(home, slot + 3, client.session, Some([7; 16]));
        world.settle();
        assert_eq!(world.session_of(home, thief), Some(SessionId(0)));
        assert!(world.is_detached(client), "a wrong password throws out whoever has it");
        let back = world.renew(client, home, slot + 4);
        world.settle();
        assert_eq!(world.session_of(home, back.conn), Some(client.session));
        let again = world.renew(back, home, slot + 5);
        world.settle();
        assert!(world.is_detached(back), "another connection of its own server takes it over");
        world.create(again, 1, &format!("/{home}-{away}"));
        close(&mut world, again, 2);
        assert_eq!(world.replies(again), [(1, 0), (2, 0)]);
    }
    world.until_same();
}

#[test]
fn it_expires_for_its_silence_alone() {
    let mut world = kept();
    for at in [world.leader(), world.followers()[0]] {
        let (spoken, silent) = (world.connect(at, 1), world.connect(at, 2));
        for _ in 0..10 {
            world.pass(i64::from(TIMEOUT_MS) / 4);
            world.heard(spoken);
            for _ in 0..10 {
                world.pass(100);
            }
        }
        assert!(world.is_detached(silent) && !world.is_detached(spoken));
        assert_eq!(count(&world, at), (1, 0));
        let late = world.renew(silent, at, 3);
        world.settle();
        assert_eq!(world.session_of(at, late.conn), Some(SessionId(0)));
        close(&mut world, spoken, 1);
    }
}

#[test]
fn nobody_expires_whose_shard_may_have_heard_of_him() {
    for (kind, at) in [(LocalSessions::No, 2), (LocalSessions::Kept, 2), (LocalSessions::Kept, 0)] {
        let mut world = World::with_local_sessions([kind; 3]);
        assert_eq!(world.leader(), 2);
        let client = world.connect(at, 1);
        world.heard_all(at);
        for _ in 0..TIMEOUT_MS / 100 * 3 {
            world.pass(100);
        }
        assert!(!world.is_detached(client), "{kind:?} at {at}: the shard is behind");
        world.heard_all(at);
        world.pass(100);
        assert!(world.is_detached(client), "{kind:?} at {at}");
    }
}

#[test]
fn it_outlives_an_election_and_the_stall_is_not_held_against_it() {
    let mut world = kept();
    let one = world.followers()[0];
    let client = world.connect(one, 1);
    world.create(client, 1, "/a");
    world.settle();
    world.cut_off(one);
    for _ in 0..30 {
        world.pass(i64::from(TIMEOUT_MS) / 10);
    }
    world.heal();
    world.until(|world| world.serves(one));
    let back = world.renew(client, one, 2);
    world.settle();
    assert_eq!(world.session_of(one, back.conn), Some(client.session));
    world.create(back, 1, "/b");
    world.settle();
    assert_eq!(world.replies(back), [(1, 0)]);
}

#[test]
fn what_is_asked_behind_something_lost_is_refused_on_a_connection_from_before_the_election() {
    let mut world = kept();
    let (leader, [one, other]) = (world.leader(), world.followers());
    let client = world.connect(one, 1);
    world.cut_off(leader);
    // Its shard has not heard of any of it.
    world.create(client, 1, "/lost");
    world.until_anew(&[one, other]);
    world.create(client, 2, "/behind-it");
    world.settle();
    assert!(world.replies(client).is_empty() && !world.has(one, "/lost") && !world.has(one, "/behind-it"));
    assert!(world.is_detached(client));
    let back = world.renew(client, one, 2);
    world.settle();
    assert_eq!(world.session_of(one, back.conn), Some(client.session));
}

#[test]
fn before_its_first_ephemeral_it_becomes_the_ensembles() {
    let mut world = upgraded();
    let (leader, [one, other]) = (world.leader(), world.followers());
    for (slot, home, away) in [(0, one, other), (10, leader, other)] {
        let before = notes(&world);
        let client = world.connect(home, slot + 1);
        let (e, f) = (format!("/e-{home}"), format!("/f-{home}"));
        world.create(client, 1, &format!("/{home}"));
        world.create_with(client, 2, &e, &[], EPHEMERAL);
        world.create(client, 3, &format!("/{home}-2"));
        world.create_with(client, 4, &f, &[], EPHEMERAL);
        world.settle();
        assert_eq!(world.replies(client), [(1, 0), (2, 0), (3, 0), (4, 0)]);
        assert_eq!(count(&world, home), (0, 1));
        let moved = world.renew(client, away, slot + 2);
        world.settle();
        assert_eq!(world.session_of(away, moved.conn), Some(client.session), "others know it");
        world.create(client, 5, "/too-late");
        world.create(moved, 1, &format!("/{home}-3"));
        world.settle();
        assert_eq!(world.replies(moved), [(1, 0)]);
        assert!(world.is_detached(client) && !world.has(home, "/too-late"));
        world.until(|world| !world.has(leader, &e) && !world.has(leader, &f));
        assert!(world.is_detached(moved), "the leader has ended it");
        assert_eq!(count(&world, home), (0, 0));
        assert_eq!(notes(&world), before);
    }
    world.until_same();
}

#[test]
fn while_it_becomes_the_ensembles_it_goes_to_another_connection_of_its_server() {
    let mut world = upgraded();
    let (leader, [one, _]) = (world.leader(), world.followers());
    let client = world.connect(one, 1);
    world.stopped.insert(leader);
    world.create_with(client, 1, "/e", &[], EPHEMERAL);
    let second = world.renew(client, one, 2);
    world.settle();
    assert_eq!(world.session_of(one, second.conn), Some(client.session));
    assert!(world.is_detached(client));
    world.create_with(second, 1, "/f", &[], EPHEMERAL);
    world.settle();
    world.stopped.remove(&leader);
    world.settle();
    assert_eq!(world.replies(second), [(1, 0)]);
    assert!(world.has(leader, "/e") && world.has(leader, "/f"));
    close(&mut world, second, 2);
    assert!(!world.has(leader, "/e") && !world.has(leader, "/f"));
    world.until_same();
}

#[test]
fn whoever_had_a_session_of_the_ensemble_writes_no_more_after_its_end() {
    let mut world = upgraded();
    let (leader, [one, _]) = (world.leader(), world.followers());
    let client = world.connect(one, 1);
    world.create_with(client, 1, "/e", &[], EPHEMERAL);
    world.settle();
    // Its server has not applied the end of the session when it hands on what the client still asks.
    world.servers[one].host.stream_is_full = true;
    world.until(|world| !world.has(leader, "/e"));
    world.create(client, 2, "/after-its-end");
    world.settle();
    world.servers[one].host.stream_is_full = false;
    world.settle();
    assert!(!world.has(leader, "/after-its-end"));
    world.until_same();
}

#[test]
fn one_that_was_to_end_when_the_leader_went_has_ended() {
    let mut world = kept();
    let (leader, [one, other]) = (world.leader(), world.followers());
    let client = world.connect(one, 1);
    world.stopped.insert(leader);
    world.create(client, 1, "/a");
    world.ask(client, 2, &Request::CloseSession);
    world.create(client, 3, "/behind-its-end");
    world.settle();
    assert_eq!((world.replies(client), count(&world, one).0), (vec![], 1));
    world.cut_off(leader);
    world.until_anew(&[one, other]);
    assert_eq!(count(&world, one).0, 0);
    assert!(!world.has(one, "/behind-its-end"));
}
