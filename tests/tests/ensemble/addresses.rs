//! Where servers are to each other: names that come late, names whose addresses change, and IPv6.
//!
//! Those with names run on RingKeeper alone: Java remembers for a while what it has looked up.

use super::load::{Load, connect, trees_agree};
use client::Operations;
use proto::request::CreateMode;
use ringkeeper_tests::cluster::{Cluster, Hosts, Implementation, Mode, Plan};
use ringkeeper_tests::until;
use std::net::{Ipv6Addr, TcpListener};

/// What a server says at each attempt but the last.
const WAITS: &str = "the quorum port cannot be bound; trying again";

fn with_names() -> Plan {
    Plan::new(Implementation::RingKeeper, 3).hosts(Hosts::Names).set("electionPortBindRetry", "0")
}

/// A write at the one server is there at the other.
fn crosses(cluster: &Cluster, path: &str, from: u8, to: u8) {
    connect(cluster.address(from)).create(path, b"", CreateMode::Persistent).expect("it serves");
    let mut reader = connect(cluster.address(to));
    reader.sync("/").expect("it serves");
    assert!(reader.exists(path, false).expect("it serves").is_some(), "{path} of {from} is not at {to}");
}

#[test]
fn a_server_whose_name_leads_nowhere_yet_waits_for_it_and_can_be_ended_meanwhile() {
    let mut cluster = with_names().prepare();
    cluster.forget_name(1);
    for id in cluster.ids() {
        cluster.start(id);
    }
    until("it waits", || cluster.log(1).contains(WAITS));
    until("the others serve", || [2, 3].into_iter().all(|id| cluster.mode(id).is_some()));
    let ended = cluster.stop(1);
    assert!(ended.success(), "{ended}");
    let waited = cluster.log(1).len();
    cluster.start(1);
    until("it waits again", || cluster.log(1).get(waited..).is_some_and(|log| log.contains(WAITS)));
    cluster.tell_name(1);
    cluster.await_serving();
    crosses(&cluster, "/late", 1, 3);
}

/// Who has been running all the time finds the others at their new addresses: at the election port the greater id calls back who moved, and at the quorum port who
/// follows finds a leader that moved.
#[test]
fn servers_whose_names_lead_elsewhere_are_found_there() {
    let mut cluster = with_names().start();
    crosses(&cluster, "/before", 1, 3);
    cluster.kill9(1);
    cluster.move_away(1);
    cluster.start(1);
    cluster.await_serving();
    crosses(&cluster, "/moved", 1, 2);
    cluster.kill9(3);
    cluster.move_away(3);
    // Not before the others have a leader: it would be elected for its id.
    let former = cluster.leader();
    cluster.start(3);
    cluster.await_serving();
    assert_eq!(cluster.leads(), Some(former));
    let other = 3 - former;
    // Both have all, and 3 has the greater id.
    cluster.kill9(former);
    until("3 leads", || cluster.mode(3) == Some(Mode::Leader));
    until("the other follows it", || cluster.mode(other) == Some(Mode::Follower));
    crosses(&cluster, "/both", other, 3);
    cluster.start(former);
    cluster.await_serving();
    crosses(&cluster, "/all", former, 3);
    trees_agree(&cluster);
}

#[test]
fn an_ensemble_on_ipv6_elects_serves_loses_its_leader_and_goes_on() {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("a machine with ::1, which this test is about");
    for implementation in Implementation::wanted() {
        let mut cluster = Plan::new(implementation, 3).hosts(Hosts::V6).start();
        assert!(cluster.addresses().iter().all(std::net::SocketAddr::is_ipv6));
        let load = Load::begin(&cluster.addresses(), 3);
        load.progress(100);
        let leader = cluster.leader();
        cluster.kill9(leader);
        until("another leads", || cluster.leads().is_some());
        load.progress(100);
        cluster.start(leader);
        load.finish(&mut cluster);
        trees_agree(&cluster);
    }
}
