//! Three servers' turn loops in memory: what clients of a follower get, whose a session is, what a learner is brought into step with. The shards' rule, that a
//! connection's replies come in the order of its requests, is held by [`host::MemHost`].
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]
#![allow(clippy::cast_possible_wrap, reason = "three servers")]

#[path = "learners/gaps.rs"]
mod gaps;
#[path = "learners/host.rs"]
mod host;
#[path = "learners/java.rs"]
mod java;
#[path = "learners/local.rs"]
mod local;
#[path = "learners/multis.rs"]
mod multis;
#[path = "learners/world.rs"]
mod world;

use proto::quorum::{DATA_BYTES_MAX_DEFAULT, PacketType, QuorumPacket};
use proto::request::Request;
use proto::{Received, SessionId};
use ringkeeper_engine::replica::PENDING_MAX;
use world::{Client, TIMEOUT_MS, World};

const EPHEMERAL: i32 = 1;
const NODE_EXISTS: i32 = -110;
const MB: usize = 1_000_000;

/// Nobody has lost a link or its office since.
fn assert_calm(world: &World, notes_before: &[usize]) {
    for (server, before) in world.servers.iter().zip(notes_before) {
        assert!(server.host.notes.len() == *before, "{:?}", &server.host.notes[*before..]);
    }
}

fn notes(world: &World) -> Vec<usize> {
    world.servers.iter().map(|server| server.host.notes.len()).collect()
}

#[test]
fn writes_of_two_followers_clients_are_ordered_once_and_each_is_answered_in_its_order() {
    let mut world = World::serving();
    let [one, other] = world.followers();
    let (a, b) = (world.connect(one, 1), world.connect(other, 1));
    for xid in 1..=20 {
        world.create(a, xid, &format!("/{}", xid / 2));
        world.create(b, xid, &format!("/{xid}"));
    }
    world.settle();
    for client in [a, b] {
        assert_eq!(world.replies(client).iter().map(|(xid, _)| *xid).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    }
    let won = |client| world.replies(client).iter().filter(|(_, err)| *err == 0).count();
    assert_eq!(won(a) + won(b), 21, "/0 to /20, each once");
    assert!(world.replies(a).iter().all(|(_, err)| [0, NODE_EXISTS].contains(err)));
    world.until_same();
}

#[test]
fn nothing_is_answered_or_acked_before_it_is_durable_on_a_quorum() {
    let mut world = World::serving();
    let [one, other] = world.followers();
    let client = world.connect(one, 1);
    for at in [one, other] {
        world.servers[at].host.log_is_held = true;
    }
    world.create(client, 1, "/a");
    world.settle();
    assert!(world.replies(client).is_empty(), "the leader's log alone is no quorum");
    world.servers[other].host.log_is_held = false;
    world.settle();
    assert_eq!(world.replies(client), [(1, 0)], "it is committed, and shown where it is not durable yet");
    world.servers[one].host.log_is_held = false;
    world.settle();
    world.until_same();
}

#[test]
fn a_sync_through_a_follower_waits_for_the_write_before_it() {
    let mut world = World::serving();
    let [one, other] = world.followers();
    let (a, b) = (world.connect(one, 1), world.connect(other, 1));
    for at in [one, other] {
        world.servers[at].host.log_is_held = true;
    }
    world.create(a, 1, "/a");
    world.sync(a, 2);
    world.settle();
    world.sync(b, 1);
    world.sync(a, 3);
    world.settle();
    assert!(world.replies(a).is_empty() && world.replies(b).is_empty());
    for at in [one, other] {
        world.servers[at].host.log_is_held = false;
    }
    world.settle();
    assert_eq!(world.replies(a), [(1, 0), (2, 0), (3, 0)]);
    assert_eq!(world.replies(b), [(1, 0)]);
    assert!(world.has(other, "/a"), "b's sync shows what was proposed before it");
}

/// A Java follower answers its clients in the order in which it has asked the leader, whatever the session: what comes out of order finds nobody.
#[test]
fn a_follower_gets_the_answers_to_its_syncs_in_their_places_among_the_commits() {
    for behind_the_first in [false, true] {
        let mut world = World::serving();
        let (leader, [one, other]) = (world.leader(), world.followers());
        let (a, b) = (world.connect(one, 1), world.connect(one, 2));
        world.sent.clear();
        for at in [one, other] {
            world.servers[at].host.log_is_held = true;
        }
        world.create(a, 1, "/a");
        if behind_the_first {
            world.settle();
        }
        world.sync(b, 1);
        world.sync(a, 2);
        world.create(b, 2, "/b");
        world.sync(a, 3);
        world.settle();
        for at in [one, other] {
            world.servers[at].host.log_is_held = false;
        }
        world.settle();
        let mut said = Vec::new();
        let mut bytes = world.sent[&(leader, one)].as_slice();
        while let Ok(Received::Whole(packet, len)) = QuorumPacket::receive(bytes, DATA_BYTES_MAX_DEFAULT) {
            said.extend(PacketType::from_wire(packet.ty));
            bytes = &bytes[len..];
        }
        said.retain(|kind| matches!(kind, PacketType::Commit | PacketType::Sync));
        use PacketType::{Commit, Sync};
        assert_eq!(said, [Commit, Sync, Sync, Commit, Sync], "{behind_the_first}");
        assert_eq!(world.replies(a), [(1, 0), (2, 0), (3, 0)]);
        assert_eq!(world.replies(b), [(1, 0), (2, 0)]);
    }
}

#[test]
fn a_session_goes_from_server_to_server_and_its_older_connections_are_refused() {
    let mut world = World::serving();
    let (leader, [one, other]) = (world.leader(), world.followers());
    let first = world.connect(one, 1);
    world.create_with(first, 1, "/e", &[], EPHEMERAL);
    world.settle();
    let second = world.renew(first, other, 1);
    world.settle();
    assert_eq!(world.session_of(other, second.conn), Some(first.session));
    // The first one's server hears of it only from the leader.
    world.create(first, 2, "/too-late");
    world.create(second, 1, "/b");
    world.settle();
    assert!(world.is_detached(first) && world.replies(first) == [(1, 0)]);
    assert_eq!(world.replies(second), [(1, 0)]);
    let third = world.renew(second, leader, 1);
    world.settle();
    world.create(second, 2, "/too-late");
    world.ask(first, 3, &Request::CloseSession);
    world.settle();
    assert!(world.is_detached(second));
    world.create(third, 1, "/c");
    world.settle();
    let fourth = world.renew(third, one, 2);
    world.settle();
    assert!(world.is_detached(third), "the leader's own connection is closed at once");
    world.ask(fourth, 9, &Request::CloseSession);
    world.settle();
    assert_eq!((world.replies(third), world.replies(fourth)), (vec![(1, 0)], vec![(9, 0)]));
    assert!((0..3).all(|at| !world.has(at, "/e") && !world.has(at, "/too-late") && world.has(at, "/c")));
    world.until_same();
}

#[test]
fn a_session_that_has_expired_or_a_wrong_password_gets_none() {
    let mut world = World::serving();
    let [one, other] = world.followers();
    let client = world.connect(one, 1);
    world.create_with(client, 1, "/e", &[], EPHEMERAL);
    world.settle();
    let thief = world.ask_connect(other, 5, client.session, Some([7; 16]));
    world.settle();
    assert_eq!(world.session_of(other, thief), Some(SessionId(0)));
    world.until(|world| !world.has(one, "/e"));
    assert!(world.is_detached(client));
    let late = world.renew(client, other, 1);
    world.settle();
    assert_eq!(world.session_of(other, late.conn), Some(SessionId(0)));
    world.until_same();
}

#[test]
fn a_wrong_password_throws_out_the_connection_of_the_same_server_and_the_session_lives_on() {
    let mut world = World::serving();
    let [one, other] = world.followers();
    let client = world.connect(one, 1);
    world.ask_connect(other, 5, client.session, Some([7; 16]));
    world.settle();
    assert!(!world.is_detached(client), "elsewhere nobody is thrown out for it");
    let thief = world.ask_connect(one, 6, client.session, Some([7; 16]));
    world.settle();
    assert_eq!(world.session_of(one, thief), Some(SessionId(0)));
    assert!(world.is_detached(client));
    let again = world.renew(client, one, 7);
    world.settle();
    assert_eq!(world.session_of(one, again.conn), Some(client.session));
}

#[test]
fn what_a_follower_hears_of_a_session_keeps_it_alive() {
    let mut world = World::serving();
    let client = world.connect(world.followers()[0], 1);
    world.create_with(client, 1, "/e", &[], EPHEMERAL);
    for _ in 0..10 {
        world.pass(i64::from(TIMEOUT_MS) / 4);
        world.heard(client);
        for _ in 0..10 {
            world.pass(100);
        }
    }
    assert!(world.has(client.at, "/e") && !world.is_detached(client));
    world.until(|world| !world.has(client.at, "/e"));
}

#[test]
fn requests_behind_the_end_of_their_session_overtake_none() {
    let mut world = World::serving();
    let (leader, [one, _]) = (world.leader(), world.followers());
    let client = world.connect(one, 1);
    let elsewhere = world.renew(client, leader, 1);
    world.settle();
    world.ask(elsewhere, 1, &Request::CloseSession);
    world.settle_all_but(one);
    // Its server takes this one before it hears of the end, which has the same xid, and the next one after it: when the first waits for the leader still.
    world.create(client, 1, "/first");
    world.turn(one);
    assert!(world.is_detached(client), "it has heard of the end in the same turn");
    world.create(client, 2, "/second");
    world.settle();
    assert!(world.replies(client).iter().all(|(xid, _)| *xid == 1));
    assert!(!world.has(one, "/first") && !world.has(one, "/second"));
    world.until_same();
}

#[test]
fn a_session_is_not_said_to_be_dead_by_a_leader_that_does_not_serve_yet() {
    let mut world = World::serving();
    let (leader, [one, other]) = (world.leader(), world.followers());
    let (new, follower) = (one.max(other), one.min(other));
    let client = world.connect(follower, 1);
    // Whoever comes to lead has to show all that is committed first. This one cannot yet.
    world.servers[new].host.stream_is_full = true;
    world.create(client, 1, "/a");
    world.settle();
    world.cut_off(leader);
    world.until_anew(&[follower]);
    assert!(world.servers[follower].core.replica().follows().is_some());
    let renewed = world.renew(client, follower, 2);
    world.settle();
    assert_eq!(world.session_of(follower, renewed.conn), None, "nobody knows yet");
    world.servers[new].host.stream_is_full = false;
    world.settle();
    assert_eq!(world.session_of(follower, renewed.conn), Some(client.session));
}

#[test]
fn with_a_leader_gone_nothing_that_waits_is_answered_and_what_comes_late_is_nobodys() {
    let mut world = World::serving();
    let (leader, [one, other]) = (world.leader(), world.followers());
    let client = world.connect(one, 1);
    for at in [one, other] {
        world.servers[at].host.log_is_held = true;
    }
    world.create(client, 1, "/w1");
    world.sync(client, 2);
    world.settle();
    world.cut_off(leader);
    for at in [one, other] {
        world.servers[at].host.log_is_held = false;
    }
    world.until_anew(&[one, other]);
    // The shard had forwarded this one before it heard of any of it.
    world.create(client, 3, "/w3");
    world.settle();
    assert!(world.replies(client).is_empty() && !world.has(one, "/w3"));
    assert!(world.has(one, "/w1"), "what a quorum has logged is not lost");
    let back = world.renew(client, other, 2);
    world.settle();
    assert_eq!(world.session_of(other, back.conn), Some(client.session));
    world.heal();
    world.until_same();
}

#[test]
fn what_the_former_leader_alone_had_is_cut() {
    let mut world = World::serving();
    let (leader, [one, other]) = (world.leader(), world.followers());
    let (own, client) = (world.connect(leader, 1), world.connect(one, 1));
    world.create(client, 1, "/kept");
    world.settle();
    world.cut_off(leader);
    for xid in 1..=3 {
        world.create(own, xid, &format!("/lost-{xid}"));
    }
    world.turn(leader);
    world.until_anew(&[one, other]);
    assert!(world.replies(own).is_empty());
    let client = world.connect(other, 2);
    world.create(client, 1, "/after");
    world.settle();
    world.heal();
    world.until_same();
    assert!((0..3).all(|at| world.has(at, "/kept") && world.has(at, "/after") && !world.has(at, "/lost-1")));
    assert!(world.replies(own).is_empty());
}

#[test]
fn a_server_that_has_lost_its_history_takes_a_whole_state_and_goes_on_from_it() {
    let mut world = World::new(Some(0));
    world.cut_off(0);
    world.until(|world| world.serves(1) && world.serves(2));
    let client = world.connect(1, 1);
    for xid in 1..=50 {
        world.create_with(client, xid, &format!("/{xid}"), &[7; 200], 0);
    }
    world.settle();
    world.heal();
    world.until(|world| world.serves(0));
    world.until_same();
    let client = world.connect(0, 1);
    world.create(client, 1, "/here");
    world.settle();
    assert_eq!(world.replies(client), [(1, 0)]);
    world.until_same();
}

#[test]
fn more_than_fits_a_full_link_costs_none_and_stops_nobody() {
    let mut world = World::serving();
    let (leader, [one, other]) = (world.leader(), world.followers());
    let clients: Vec<Client> = [leader, one, other].map(|at| world.connect(at, 1)).into();
    let before = notes(&world);
    let data = vec![1; MB];
    // More than may be on its way at once, from each of them.
    for xid in 1..=70 {
        for client in &clients {
            world.create_with(*client, xid, &format!("/{}-{xid}", client.at), &data, 0);
        }
    }
    world.settle();
    for client in &clients {
        assert_eq!(world.replies(*client).len(), 70);
    }
    assert_calm(&world, &before);
    world.until_same();
}

#[test]
fn a_follower_that_waits_for_as_much_as_it_may_still_hears_its_leader() {
    let mut world = World::serving();
    let (leader, [one, _]) = (world.leader(), world.followers());
    let client = world.connect(one, 1);
    let before = notes(&world);
    world.stopped.insert(leader);
    let asked = PENDING_MAX + 500;
    for xid in 1..=i32::try_from(asked).unwrap() {
        world.create(client, xid, "/same");
    }
    world.settle();
    assert!(world.replies(client).is_empty());
    world.stopped.remove(&leader);
    world.settle();
    assert_eq!(world.replies(client).len(), asked);
    assert_calm(&world, &before);
}

#[test]
fn proposals_that_no_quorum_has_yet_do_not_keep_a_follower_from_their_commit() {
    let mut world = World::serving();
    let (leader, [one, other]) = (world.leader(), world.followers());
    let (client, own) = (world.connect(leader, 1), world.connect(one, 1));
    let before = notes(&world);
    for at in [one, other] {
        world.servers[at].host.log_is_held = true;
    }
    let data = vec![1; MB];
    for xid in 1..=2 {
        world.create_with(own, xid, &format!("/own-{xid}"), &data, 0);
    }
    for xid in 1..=67 {
        world.create_with(client, xid, &format!("/{xid}"), &data, 0);
    }
    world.settle();
    assert!(world.replies(client).is_empty());
    for at in [one, other] {
        world.servers[at].host.log_is_held = false;
    }
    world.settle();
    assert_eq!((world.replies(client).len(), world.replies(own).len()), (67, 2));
    assert_calm(&world, &before);
    world.until_same();
}

#[test]
fn a_follower_that_takes_nothing_for_a_while_is_given_what_it_lacks() {
    let mut world = World::serving();
    let (leader, [one, _]) = (world.leader(), world.followers());
    let client = world.connect(leader, 1);
    let before = notes(&world);
    world.servers[leader].host.is_jammed = true;
    let data = vec![1; MB];
    for xid in 1..=40 {
        world.create_with(client, xid, &format!("/{xid}"), &data, 0);
        world.turn(leader);
    }
    world.servers[leader].host.is_jammed = false;
    world.settle();
    assert_eq!(world.replies(client).len(), 40);
    assert_calm(&world, &before);
    assert!(world.has(one, "/40"));
    world.until_same();
}
