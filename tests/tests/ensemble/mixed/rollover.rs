//! Epochs whose zxids are used up: a leader of ZooKeeper's gives the counter 0xffffffff to no txn, but leaves office, and the next epoch begins.
//!
//! The epochs that server 2 leads begin shortly before their end. With server 1, of the other kind, it is a quorum, and is elected again: it has everything, and the greater id.
//! Then server 3 comes, of the other kind, too, and with the greatest id: it leads once an epoch has ended of which it has everything, and its own epoch is a usual one.
//! Clients ask all the time, and what they were told is held against the logs of all servers.

use super::packets::assert_ours_are_in_order_behind;
use crate::trial::Trial;
use proto::quorum::PacketType;
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan, zxids};
use ringkeeper_tests::until_within;
use std::collections::BTreeMap;
use std::time::Duration;

/// The last counter that a txn has.
const LAST: u32 = u32::MAX - 1;
/// Server 2 leads epochs of 200 txns: a second's.
const INITIAL: u32 = LAST - 200;
/// How long a few epochs may take, with their elections.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_java_leader_gives_up_at_the_end_of_its_epoch_and_ringkeeper_goes_on() {
    rolls_over(Implementation::Java, Implementation::RingKeeper);
}

#[test]
fn a_java_3_8_leader_gives_up_at_the_end_of_its_epoch_and_ringkeeper_goes_on() {
    rolls_over(Implementation::Java38, Implementation::RingKeeper);
}

#[test]
fn a_ringkeeper_leader_gives_up_at_the_end_of_its_epoch_and_java_goes_on() {
    rolls_over(Implementation::RingKeeper, Implementation::Java);
}

#[test]
fn a_ringkeeper_leader_gives_up_at_the_end_of_its_epoch_and_java_3_8_goes_on() {
    rolls_over(Implementation::RingKeeper, Implementation::Java38);
}

fn rolls_over(leader: Implementation, others: Implementation) {
    let mut cluster = Plan::new(others, 3).with(2, leader).recorded().prepare();
    cluster.begin_epochs_behind(2, INITIAL);
    cluster.start(1);
    cluster.start(2);
    cluster.await_serving();
    assert_eq!(cluster.leader(), 2);

    let mut trial = Trial::on(cluster, 1);
    until_within(PATIENCE, "an epoch has ended, and the next one begun", || proposed(&trial.cluster).len() > 1);
    trial.act("start 3", |cluster| cluster.start(3));
    until_within(PATIENCE, "server 3 leads", || trial.cluster.leads() == Some(3));
    trial.cluster.await_serving();
    trial.progress();

    let epochs = proposed(&trial.cluster);
    println!("{} has led, {} goes on: {epochs:x?}", leader.name(), others.name());
    assert_ours_are_in_order_behind(&trial.cluster, 0, INITIAL);
    let (own, theirs) = (epochs.values().next_back().expect("it leads"), epochs.values().rev().skip(1));
    assert!(own.0 == 1 && own.1 < INITIAL, "server 3 leads a usual epoch");
    let ends: Vec<u32> = theirs.map(|(_, last)| *last).collect();
    assert!(ends.len() > 1 && ends.iter().all(|last| *last == LAST), "each ends with its last zxid: {ends:x?}");
    let why = if leader.is_java() { "zxid lower 32 bits have rolled over" } else { "EpochIsOver" };
    assert!(trial.cluster.log(2).contains(why), "server 2 says why it has left office");
    trial.finish_behind(INITIAL);
}

/// The first and the last counter that was proposed in each epoch.
fn proposed(cluster: &Cluster) -> BTreeMap<u32, (u32, u32)> {
    let mut epochs: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    for link in cluster.wire().links(0) {
        for zxid in zxids(&link, PacketType::Proposal) {
            let (first, last) = epochs.entry(zxid.epoch().0).or_insert((u32::MAX, 0));
            *first = zxid.counter().min(*first);
            *last = zxid.counter().max(*last);
        }
    }
    epochs
}
