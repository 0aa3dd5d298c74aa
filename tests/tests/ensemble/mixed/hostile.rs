//! Moments at which one side must not believe the other: zxids that come twice or not at all, servers that come back with nothing or from an older epoch.

use crate::load::{Load, trees_agree};
use proto::quorum::PacketType;
use ringkeeper_tests::cluster::{Cluster, Implementation, Mode, Plan, Trick};
use ringkeeper_tests::{until, until_within};
use std::fs;
use std::time::Duration;

/// How long a server may take to notice, look for a leader and be brought into step.
const COMES_BACK: Duration = Duration::from_secs(60);

/// Servers 1 and 2 are of one kind, the second leads; 3 is of the other.
fn led_by_2(two: Implementation, third: Implementation) -> Cluster {
    let mut cluster = Plan::new(two, 3).with(3, third).recorded().prepare();
    cluster.start(1);
    cluster.start(2);
    cluster.await_serving();
    cluster.start(3);
    cluster.await_serving();
    assert_eq!(cluster.leader(), 2);
    cluster
}

#[test]
fn a_packet_of_a_java_leader_that_comes_twice_or_not_at_all_costs_no_txn() {
    let mut cluster = led_by_2(Implementation::Java, Implementation::RingKeeper);
    let load = Load::begin(&cluster.addresses(), 4);
    for trick in [
        Trick::Twice(PacketType::Proposal),
        Trick::Twice(PacketType::Commit),
        Trick::LeftOut(PacketType::Commit),
        Trick::LeftOut(PacketType::Proposal),
    ] {
        load.progress(100);
        let since = cluster.wire().now();
        cluster.wire().play(2, 3, trick);
        until("the trick is played", || cluster.wire().is_played(2, 3));
        // It notices by what comes next, and joins anew.
        until_within(COMES_BACK, &format!("{trick:?} is noticed, and server 3 brought into step"), || {
            cluster
                .wire()
                .synced(3, since)
                .last()
                .is_some_and(|link| link.packets.first().is_some_and(|first| first.number >= since))
        });
        cluster.await_serving();
        assert_eq!(cluster.mode(3), Some(Mode::Follower), "{trick:?}");
        load.progress(100);
    }
    load.finish(&mut cluster);
    trees_agree(&cluster);
    cluster.stop_all();
}

#[test]
fn a_server_that_was_wiped_gets_everything_from_a_leader_of_the_other_kind() {
    for (two, third) in
        [(Implementation::Java, Implementation::RingKeeper), (Implementation::RingKeeper, Implementation::Java)]
    {
        let mut cluster = led_by_2(two, third);
        let load = Load::begin(&cluster.addresses(), 4);
        load.progress(200);
        cluster.kill9(3);
        fs::remove_dir_all(cluster.data_dir(3)).expect("its data");
        load.progress(200);
        cluster.start(3);
        cluster.await_serving();
        load.progress(200);
        load.finish(&mut cluster);
        trees_agree(&cluster);
        cluster.stop_all();
    }
}

#[test]
fn a_server_that_has_missed_two_epochs_comes_back() {
    for (two, third) in
        [(Implementation::Java, Implementation::RingKeeper), (Implementation::RingKeeper, Implementation::Java)]
    {
        let mut cluster = led_by_2(two, third);
        let load = Load::begin(&cluster.addresses(), 4);
        load.progress(100);
        cluster.stop(3);
        for _ in 0..2 {
            load.progress(100);
            cluster.stop_all_but(3);
            [1, 2].into_iter().for_each(|id| cluster.start(id));
            cluster.await_serving();
        }
        load.progress(100);
        cluster.start(3);
        cluster.await_serving();
        load.progress(100);
        load.finish(&mut cluster);
        trees_agree(&cluster);
        cluster.stop_all();
    }
}
