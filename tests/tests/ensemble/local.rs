//! Sessions that only their server knows (`localSessionsEnabled`): what clients, `dump` and `mntr` see of them.

use super::load::{PING_EVERY, figure, is_there};
use client::{ConnectOptions, Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::cluster::{Cluster, Implementation, Mode, Plan, four_letters};
use ringkeeper_tests::until;
use std::net::SocketAddr;

fn on_each(is_upgrading: bool, test: fn(&mut Cluster)) {
    for implementation in Implementation::wanted() {
        let plan = Plan::new(implementation, 3).set("localSessionsEnabled", "true");
        let mut cluster = plan.set("localSessionsUpgradingEnabled", &is_upgrading.to_string()).start();
        test(&mut cluster);
        cluster.stop_all();
    }
}

fn session(server: SocketAddr) -> Connection {
    let options = ConnectOptions { ping_every: PING_EVERY, ..ConnectOptions::default() };
    Connection::connect(server, &options).expect("it serves")
}

/// The session of this connection at another server: is it known there?
fn renewed(connection: &Connection, server: SocketAddr) -> Option<Connection> {
    let mut open = Connection::open(server, &ConnectOptions::default()).expect("it listens");
    let options = ConnectOptions::renewing(connection.session().expect("it has a session"));
    let response = open.handshake(&options).expect("it is answered");
    (response.session_id.0 != 0).then_some(open)
}

/// `mntr` shows so many sessions of its own, and of the ensemble's: a moment after the client has its answer.
fn until_counted(cluster: &Cluster, id: u8, local: u64, global: u64) {
    until(&format!("{local} local and {global} global sessions"), || {
        let counted = ["local_sessions", "global_sessions"].map(|key| figure(cluster, id, key));
        counted == [Some(local), Some(global)]
    });
}

/// The lines of `dump` that say how many sessions of which kind there are, without at how many times they expire: Java counts those that have passed, too.
fn kinds(server: SocketAddr) -> Vec<String> {
    let text = four_letters(server, "dump").expect("it answers");
    let heads = text.lines().filter(|line| line.contains("Session Sets") || line.starts_with("Global Sessions"));
    let count = |line: &str| {
        line.split_once(" Sets (").map(|(kind, rest)| format!("{kind} {}", rest.split_once("/").unwrap_or_default().1))
    };
    heads.map(|line| count(line).unwrap_or_else(|| line.to_owned())).collect()
}

#[test]
fn they_write_but_have_no_ephemerals_and_end_where_they_began() {
    on_each(false, |cluster| {
        let (leader, follower) = (cluster.leader(), cluster.follower());
        for (home, away) in [(follower, leader), (leader, follower)] {
            ends_where_it_began(cluster, home, away);
        }
    });
}

#[test]
fn they_become_the_ensembles_before_their_first_ephemeral() {
    on_each(true, |cluster| {
        let (leader, follower) = (cluster.leader(), cluster.follower());
        for (home, away) in [(follower, leader), (leader, follower)] {
            becomes_the_ensembles(cluster, home, away);
        }
    });
}

/// A session at `home`, which does not make it the ensemble's.
///
/// # Panics
/// If it has an ephemeral, or is known at `away`.
pub fn ends_where_it_began(cluster: &Cluster, home: u8, away: u8) {
    let (home_at, away_at) = (cluster.address(home), cluster.address(away));
    let mut client = session(home_at);
    until_counted(cluster, home, 1, 0);
    let path = format!("/{home}-without-{away}");
    client.create(&path, b"", CreateMode::Persistent).expect("it writes");
    let refused = client.create("/e", b"", CreateMode::Ephemeral).expect_err("no ephemeral is its");
    assert!(refused.to_string().contains("EphemeralOnLocalSession"), "{refused}");
    client.set(&path, b"x", -1).expect("it writes on");
    let leads = cluster.mode(home) == Some(Mode::Leader);
    let global = if leads { "Global Session (0):" } else { "Global Sessions(0):" };
    assert_eq!(kinds(home_at), ["Local Session (1):", global]);
    assert!(renewed(&client, away_at).is_none(), "elsewhere it has expired");
    client.ping().expect("here it has not");
    let back = renewed(&client, home_at).expect("its server knows it");
    client.wait_closed().expect("the former connection is closed");
    back.close().expect("it ends");
    until_counted(cluster, home, 0, 0);
}

/// A session at `home`, which makes it the ensemble's before its first ephemeral.
///
/// # Panics
/// If it does not, or `away` does not know it then.
pub fn becomes_the_ensembles(cluster: &Cluster, home: u8, away: u8) {
    let (home_at, away_at) = (cluster.address(home), cluster.address(away));
    let mut client = session(home_at);
    until_counted(cluster, home, 1, 0);
    let path = format!("/e-{home}");
    client.create(&path, b"", CreateMode::Ephemeral).expect("it becomes the ensemble's");
    until_counted(cluster, home, 0, 1);
    let mut moved = renewed(&client, away_at).expect("all servers know it");
    assert!(moved.exists(&path, false).expect("it serves").is_some());
    moved.close().expect("it ends");
    let mut reader = session(home_at);
    assert!(!is_there(cluster, &mut reader, &path), "its ephemeral goes with it");
    reader.close().expect("it ends");
}
