//! Hierarchical quorums: a majority of the groups, each with more than half of its weight, whatever the count of servers says (`QuorumHierarchical` of 3.9.5).

use super::load::{connect, trees_agree};
use client::Operations;
use proto::request::CreateMode;
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};
use ringkeeper_tests::{until, until_within};
use std::time::{Duration, Instant};

/// How long nobody may serve where nobody should: longer than an election with a quorum takes.
const NOBODY: Duration = Duration::from_secs(3);
/// How long the loss of a peer may go unnoticed, and an election after it take.
const NOTICED: Duration = Duration::from_secs(60);

/// 1 is most of its group, 3 and 4 are only together, 5 is most of its group.
fn plan(implementation: Implementation) -> Plan {
    let lines = [
        ("group.1", "1:2"),
        ("group.2", "3:4"),
        ("group.3", "5:6"),
        ("weight.1", "3"),
        ("weight.2", "1"),
        ("weight.3", "1"),
        ("weight.4", "1"),
        ("weight.5", "2"),
        ("weight.6", "1"),
    ];
    lines.into_iter().fold(Plan::new(implementation, 6), |plan, (key, value)| plan.set(key, value))
}

/// These serve, and what one writes the others have.
fn assert_commits(cluster: &Cluster, path: &str, alive: &[u8]) {
    until_within(NOTICED, path, || alive.iter().all(|id| cluster.mode(*id).is_some()));
    for writer in alive {
        let path = format!("{path}-{writer}");
        connect(cluster.address(*writer)).create(&path, b"", CreateMode::Persistent).expect("a quorum is there");
        for reader in alive {
            let mut reader = connect(cluster.address(*reader));
            reader.sync("/").expect("a quorum is there");
            assert!(reader.exists(&path, false).expect("it serves").is_some(), "{path}");
        }
    }
}

/// These serve no more, and do not begin again.
fn assert_nobody_serves(cluster: &Cluster, alive: &[u8]) {
    until_within(NOTICED, "nobody serves", || alive.iter().all(|id| cluster.mode(*id).is_none()));
    let begun = Instant::now();
    until("the time in which somebody might", || {
        let serves: Vec<u8> = alive.iter().copied().filter(|id| cluster.mode(*id).is_some()).collect();
        assert!(serves.is_empty(), "{serves:?} serve without a quorum");
        begun.elapsed() >= NOBODY
    });
}

#[test]
fn two_servers_of_six_that_weigh_enough_go_on_and_four_that_do_not_stop() {
    for implementation in Implementation::wanted() {
        let mut cluster = plan(implementation).start();
        assert_commits(&cluster, "/all", &cluster.ids());

        // Most of the first group's weight, and of the third's.
        [2, 3, 4, 6].into_iter().for_each(|id| cluster.kill9(id));
        assert_commits(&cluster, "/heavy", &[1, 5]);
        [2, 3, 4, 6].into_iter().for_each(|id| cluster.start(id));
        cluster.await_serving();

        // Of the first group a quarter and of the second half: only the third has most of its weight.
        [1, 3].into_iter().for_each(|id| cluster.kill9(id));
        assert_nobody_serves(&cluster, &[2, 4, 5, 6]);
        // With all of the second group there are two.
        cluster.start(3);
        assert_commits(&cluster, "/two-groups", &[2, 3, 4, 5, 6]);

        cluster.start(1);
        cluster.await_serving();
        trees_agree(&cluster);
    }
}
