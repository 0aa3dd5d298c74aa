//! What leader, follower and observer say of themselves and of the ensemble, beside what real ones said to the same steps (`tests/reference/words-ensemble-3.9.5`, recorded by
//! `tests/reference/ensemble_words.py`).

use super::load::connect;
use super::sync::{Since, TOOK};
use client::{Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan, four_letters};
use ringkeeper_tests::lease::{ELECTION_PORT, QUORUM_PORT};
use ringkeeper_tests::words::{LeftOut, figures};
use ringkeeper_tests::{top, until};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long figures may take to show what has happened.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether they do.
const LOOK: Duration = Duration::from_millis(20);

/// What the steps make certain, in `mntr`. How often it was looked for a leader is not: a server may come too late for the first election.
const CERTAIN: &[&str] = &[
    "server_state",
    "peer_state",
    "quorum_size",
    "ephemerals_count",
    "znode_count",
    "global_sessions",
    "watch_count",
    "outstanding_requests",
    "synced_followers",
    "synced_non_voting_followers",
    "synced_observers",
    "learners",
    "pending_syncs",
    "last_proposal_size",
    "min_proposal_size",
    "max_proposal_size",
    "proposal_count",
    "commit_count",
    "learner_proposal_received_count",
    "learner_commit_received_count",
    "revalidate_count",
    "sum_sync_processor_batch_size",
    "connection_rejected",
    "quit_leading_due_to_disloyal_voter",
];

fn recorded(role: &str, word: &str) -> String {
    let file = top().join(format!("tests/reference/words-ensemble-3.9.5/{role}/{word}.txt"));
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn ask(cluster: &Cluster, id: u8, word: &str) -> String {
    let mut answer = None;
    until("an answer", || {
        answer = four_letters(cluster.address(id), word);
        answer.is_some()
    });
    answer.expect("just seen")
}

/// What stands before the first `:` of each line, or the line.
fn labels(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split(':').next().unwrap_or(line)).collect()
}

/// The lines from this one on.
fn tail<'a>(text: &'a str, label: &str) -> &'a str {
    text.find(label).and_then(|at| text.get(at..)).unwrap_or_else(|| panic!("there is no {label} in:\n{text}"))
}

/// What the recorded ensemble was asked: a znode, an ephemeral and two watches at each.
fn live(cluster: &Cluster, role: &str, id: u8) -> Connection {
    let mut client = connect(cluster.address(id));
    let path = format!("/{role}");
    client.create(&path, b"xxxxxxxxxx", CreateMode::Persistent).expect("it serves");
    client.create(&format!("{path}/e"), b"1", CreateMode::Ephemeral).expect("it serves");
    client.get(&path, true).expect("it serves");
    assert!(client.exists("/none", true).expect("it serves").is_none());
    client
}

fn assert_as_recorded(cluster: &Cluster, role: &str, id: u8, leader: u8) {
    let real = figures(&recorded(role, "mntr"));
    let is_ours = cluster.implementation() == Implementation::RingKeeper;
    let wanted: BTreeSet<&str> = CERTAIN.iter().copied().filter(|key| real.contains_key(*key)).collect();
    let begun = Instant::now();
    // A reply may be here before the figures; and an observer does not wait for its log.
    let ours = loop {
        let ours = figures(&ask(cluster, id, "mntr"));
        let differ = wanted.iter().filter(|key| ours.get(**key) != real.get(**key));
        let differ: Vec<String> =
            differ.map(|key| format!("{key} is {:?}, recorded {:?}", ours.get(*key), real.get(*key))).collect();
        if differ.is_empty() {
            break ours;
        }
        assert!(begun.elapsed() < PATIENCE, "{role}: {differ:#?}");
        std::thread::sleep(LOOK);
    };
    let left_out = LeftOut::of_the_page();
    for key in real.keys().filter(|key| !(is_ours && left_out.has(key))) {
        assert!(ours.contains_key(key), "{role}: there is no {key}");
    }
    for key in ["synced_followers", "synced_observers", "learners", "leader_uptime", "last_proposal_size"] {
        assert_eq!(ours.contains_key(key), role == "leader", "{role}: {key}");
    }
    let number = |key: &str| ours.get(key).map(|value| value.parse::<i64>().expect("a number"));
    assert!(number("leader_uptime").is_none_or(|ms| ms > 0), "{role}: {ours:?}");
    // How a learner is brought into step is the leader's choice; that each is, once, is not.
    let synced = |figures: &BTreeMap<String, String>| {
        ["diff_count", "snap_count"].map(|key| figures[key].parse::<u64>().expect("a number")).iter().sum::<u64>()
    };
    assert_eq!(synced(&ours), synced(&real), "{role}");
    // The members' lines are data, too, and longer by the ports' digits.
    let data_bytes = |figure: &str, members: &str| figure.parse::<usize>().expect("a number") - members.len();
    let recorded_members = recorded(role, "config_node");
    let (recorded_members, _) = recorded_members.split_once("\nZnodeStat").expect("its Stat stands behind");
    let real_bytes = data_bytes(&real["approximate_data_size"], recorded_members);
    assert_eq!(data_bytes(&ours["approximate_data_size"], &members(cluster)), real_bytes, "{role}");
    assert_eq!(number("observer_master_id"), (role == "observer").then_some(i64::from(leader)), "{role}");

    let (srvr, stat) = (ask(cluster, id, "srvr"), ask(cluster, id, "stat"));
    assert_eq!(labels(&srvr), labels(&recorded(role, "srvr")), "{role}");
    // From here on everything is certain; the sizes of proposals, too.
    for (word, text) in [("srvr", &srvr), ("stat", &stat)] {
        assert_eq!(tail(text, "Mode: "), tail(&recorded(role, word), "Mode: "), "{role} {word}");
        let zxid = text.lines().find_map(|line| line.strip_prefix("Zxid: 0x")).expect("a zxid");
        assert!(zxid.ends_with("00000009"), "{role} {word}: nine txns in this epoch, {zxid}");
    }
    assert_eq!(labels(tail(&stat, "Latency")), labels(tail(&recorded(role, "stat"), "Latency")), "{role}");
}

/// The servers, as `zoo.cfg` has them.
fn members(cluster: &Cluster) -> String {
    let line = |id: u8| {
        let role = if id == 4 { "observer" } else { "participant" };
        format!("server.{id}={}:{QUORUM_PORT}:{ELECTION_PORT}:{role}\n", cluster.address(id).ip())
    };
    cluster.ids().into_iter().map(line).chain(["version=0".to_owned()]).collect()
}

fn assert_config(cluster: &Cluster, id: u8) {
    let expected = members(cluster);
    let (data, stat) = connect(cluster.address(id)).get("/zookeeper/config", false).expect("it serves");
    let data = String::from_utf8(data).expect("text");
    assert_eq!(data, expected, "at {id}");
    let figures = (stat.version, stat.data_length, stat.czxid.0, stat.mzxid.0);
    assert_eq!(figures, (-1, i32::try_from(expected.len()).expect("short"), 0, 0), "at {id}");
}

#[test]
fn leader_follower_and_observer_say_what_real_ones_say_and_each_shows_the_members() {
    for implementation in Implementation::wanted() {
        let mut cluster = Plan::new(implementation, 3).observers(1).start();
        let (leader, follower) = (cluster.leader(), cluster.follower());
        let roles = [("leader", leader), ("follower", follower), ("observer", 4)];
        let mut clients = roles.map(|(role, id)| live(&cluster, role, id));
        for ((role, id), client) in roles.into_iter().zip(&mut clients) {
            client.sync("/").expect("it serves");
            assert_as_recorded(&cluster, role, id, leader);
        }
        drop(clients);
        cluster.ids().into_iter().for_each(|id| assert_config(&cluster, id));
        if implementation == Implementation::Java {
            continue;
        }
        // What the members are is no part of a state that is taken from the leader: each shows it by its own configuration.
        for (id, lost) in [(follower, "log"), (4, "log"), (follower, "")] {
            cluster.kill9(id);
            std::fs::remove_dir_all(cluster.data_dir(id).join(lost)).expect("it can be lost");
            let since = Since::now(&cluster);
            cluster.start(id);
            until("it serves", || cluster.mode(id).is_some());
            assert_config(&cluster, id);
            let took = since.lines(&cluster, id, TOOK).len();
            assert!(took == 1 || lost.is_empty(), "{id} has not taken the whole state");
        }
    }
}
