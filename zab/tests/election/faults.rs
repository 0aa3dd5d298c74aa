//! Whole clusters of elections with and without faults, many seeds of each.
//!
//! `RINGKEEPER_SEEDS=1000..2000 cargo test -p ringkeeper-zab --test election -- --nocapture` runs other ones, `=7` the one that failed.

use crate::cluster::Cluster;
use crate::seeds::seeds;
use ringkeeper_zab::Ms;

/// How soon after the last fault there is a leader.
const AGREED_WITHIN_MS: Ms = 30_000;

#[test]
fn a_start_without_faults_elects_the_best_at_once() {
    for seed in seeds(0..1000) {
        let mut cluster = Cluster::new(seed);
        let group = cluster.a_quorum();
        for server in group.clone() {
            // All others are away, as they are after a crash: nothing is left to wait for.
            let others: Vec<_> = cluster.ids().filter(|id| !group.contains(id)).collect();
            for other in others {
                cluster.loses(server, other);
            }
            cluster.start_at(0, server);
        }
        // In order, all is said within some ms; otherwise an old vote may stand until it is said again.
        let in_order = seed % 2 == 0;
        if !in_order {
            (cluster.delay_ms, cluster.double_percent) = (10, 10);
        }
        let eligible = group.iter().filter(|&&id| cluster.ensemble.is_voter(id) && cluster.ensemble.weight(id) > 0);
        let best = eligible.max_by_key(|&&id| cluster.rank(id)).copied();
        cluster.run(if in_order { 150 } else { 900 });
        for server in &group {
            let server = &cluster.servers[server];
            assert_eq!(server.office.map(|office| office.leader), best, "{server:?}");
            assert_eq!(server.looks, 1, "{server:?}");
        }
    }
}

#[test]
fn after_any_faults_a_connected_quorum_elects_one_leader() {
    let (mut slowest, mut longest, mut count, mut sum) = ((0, 0), (0, 0), 0, 0);
    for seed in seeds(0..2000) {
        let mut cluster = Cluster::new(seed);
        let all: Vec<_> = cluster.ids().collect();
        for &server in &all {
            let at = cluster.random.below(1000);
            cluster.start_at(at, server);
        }
        cluster.delay_ms = 1 + cluster.random.below(120);
        cluster.lose_percent = cluster.random.below(30);
        cluster.double_percent = cluster.random.below(30);
        for _ in 0..cluster.random.below(60) {
            let until = cluster.now + cluster.random.below(1500);
            cluster.run(until);
            cluster.fault();
        }
        let group = cluster.settle();
        let begun = cluster.now;
        while !cluster.agrees(&group) {
            assert!(cluster.now < begun + AGREED_WITHIN_MS, "no leader of {group:?}");
            cluster.run(cluster.now + 50);
        }
        let took_ms = cluster.now - begun;
        // And it stays.
        let office = cluster.office(group[0]);
        cluster.run(cluster.now + 5000);
        assert!(cluster.agrees(&group) && cluster.office(group[0]) == office, "{office:?} did not stay");
        slowest = slowest.max((took_ms, seed));
        longest = longest.max((cluster.happened, seed));
        (count, sum) = (count + 1, sum + took_ms);
    }
    println!("{count} seeds: agreed {} ms after the last fault on average", sum / count);
    println!("at most {} ms (seed {}), {} events (seed {})", slowest.0, slowest.1, longest.0, longest.1);
}

#[test]
fn one_seed_is_one_run() {
    let trace = |seed| {
        let mut cluster = Cluster::new(seed);
        let all: Vec<_> = cluster.ids().collect();
        for server in all {
            cluster.start_at(0, server);
        }
        (cluster.delay_ms, cluster.lose_percent) = (50, 20);
        for _ in 0..20 {
            cluster.run(cluster.now + 500);
            cluster.fault();
        }
        format!("{cluster:?}")
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
