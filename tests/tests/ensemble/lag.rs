//! Learners that fall far behind while the others write: what their leader keeps for them is bounded, and once they can they come into step.
//!
//! What it may keep for one is 8 MiB that wait to be sent (`LinkLimits::output_bytes_full`; then it gets no more proposals), or 256 MiB at the most where a flush says
//! all of the window at once (`output_bytes_max`; then the link is reset); and for all together the window of 64 MiB (`WINDOW_BYTES`), and 64 MiB that are on their
//! way (`PENDING_BYTES_MAX`). One that lacks what the window has no more is given up (`LinkEnd::Lagging`), and gets it from the log when it comes again.

use super::load::{Load, trees_agree, write_mib};
use super::memory::Watch;
use client::{ConnectOptions, Connection, Operations};
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};
use ringkeeper_tests::until_within;
use std::time::Duration;

/// What is written while they lag: more than all bounds together.
const WRITTEN_MIB: usize = 320;
/// What a leader has beside links: the window, what is on its way, and what it has without any of it.
const MEMORY_MIB_MAX: u64 = 64 + 64 + 96;
/// Where a learner takes nothing at all.
const LINK_FULL_MIB: u64 = 8;
/// Where it takes some of it now and then, and so may get a flush.
const LINK_MIB_MAX: u64 = 256;
/// How long they may take until they have what they missed.
const PATIENCE: Duration = Duration::from_secs(120);

/// The learners are not given up while they lag, in ticks of 500 ms.
fn plan() -> Plan {
    Plan::new(Implementation::RingKeeper, 3).set("syncLimit", "240").set("initLimit", "240")
}

/// Writes, beside a load that goes on. The leader has no more than it may, with so many MiB in its links to those who lag.
fn write_while_they_lag(cluster: &Cluster, load: &Load, lagging: &[u8], links_mib: u64) {
    let leader = cluster.leader();
    let watch = Watch::begin(cluster, &[leader]);
    write_mib(cluster.address(leader), WRITTEN_MIB);
    load.progress(200);
    let most = watch.most_mib()[0];
    println!("the leader of {lagging:?}, who lag: {most} MiB at the most");
    assert_eq!(cluster.leads(), Some(leader), "it leads all the while");
    assert!(most < MEMORY_MIB_MAX + links_mib, "{most} MiB, of which {} are explained", MEMORY_MIB_MAX + links_mib);
}

/// They have what they missed, and have it from then on: while they stood still they did not hear that they were given up.
fn await_step(cluster: &mut Cluster, load: Load, lagging: &[u8]) {
    for id in lagging {
        until_within(PATIENCE, "it is in step", || {
            let sync = Connection::connect(cluster.address(*id), &ConnectOptions::default());
            sync.and_then(|mut reader| reader.sync("/")).is_ok()
        });
    }
    load.finish(cluster);
    trees_agree(cluster);
}

#[test]
fn a_follower_and_an_observer_that_stand_still_cost_their_leader_little_memory() {
    let mut cluster = plan().observers(1).start();
    let lagging = [cluster.follower(), 4];
    let others: Vec<u8> = cluster.ids().into_iter().filter(|id| !lagging.contains(id)).collect();
    let load = Load::begin(&others.iter().map(|id| cluster.address(*id)).collect::<Vec<_>>(), 2);
    load.progress(200);
    lagging.iter().for_each(|id| cluster.pause(*id));
    write_while_they_lag(&cluster, &load, &lagging, 2 * LINK_FULL_MIB);
    lagging.iter().for_each(|id| cluster.go_on(*id));
    await_step(&mut cluster, load, &lagging);
}

#[test]
fn a_follower_behind_a_slow_link_costs_its_leader_little_memory() {
    let mut cluster = plan().apart().start();
    let lagging = cluster.follower();
    let others: Vec<u8> = cluster.ids().into_iter().filter(|id| *id != lagging).collect();
    let load = Load::begin(&others.iter().map(|id| cluster.address(*id)).collect::<Vec<_>>(), 2);
    load.progress(200);
    cluster.slow_to(lagging, "8mbit");
    write_while_they_lag(&cluster, &load, &[lagging], LINK_MIB_MAX);
    cluster.heal();
    await_step(&mut cluster, load, &[lagging]);
}
