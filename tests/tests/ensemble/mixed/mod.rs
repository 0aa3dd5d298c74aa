//! Servers of Java ZooKeeper and of RingKeeper in one ensemble.
//!
//! - [`cells`]: each kind of synchronization, between each leader and each learner, as the recorded packets prove it.
//! - [`churn`]: writes all over a tree meanwhile.
//! - [`digests`]: what Java's leader predicts wrongly.
//! - [`hostile`]: packets that come twice or not at all, servers that have lost everything or missed epochs.
//! - [`keepers`]: clients that keep their sessions.
//! - [`leaders`]: leaders of each kind are killed in turns.
//! - [`migration`]: from one implementation to the other, one server at a time.
//! - [`million`]: a million znodes in one state, within the usual limits of time.
//! - [`packets`]: what RingKeeper's servers may send to Java's, in all that was recorded.
//! - [`rollover`]: epochs whose zxids are used up.
//! - [`requests`]: what clients of the one are answered under a leader of the other, and the txns that come of it.
//! - [`sessions`]: sessions that go from one to the other, expire under either, or are known to their server alone.
//! - [`special`]: what a state has beside open znodes that stay.
//! - [`views`]: what a client of the one sees of the other's writes: by sync, by watches, in quotas; and the configuration.

mod cells;
mod churn;
mod digests;
mod hostile;
mod keepers;
mod leaders;
mod migration;
mod million;
mod packets;
mod requests;
mod rollover;
mod sessions;
mod special;
mod views;

use crate::load::figure;
use proto::Zxid;
use proto::quorum::PacketType;
use ringkeeper_tests::cluster::{Cluster, Link, zxids};
use ringkeeper_tests::until;

/// Of an ensemble of both kinds that is [`led_by_2`]: of the other kind than its leader.
const OTHER: u8 = 3;
const LEADER: u8 = 2;
/// Of its kind.
const SAME: u8 = 1;
/// From servers of one kind to servers of the other.
const ACROSS: [(u8, u8); 4] = [(OTHER, SAME), (SAME, OTHER), (OTHER, LEADER), (LEADER, OTHER)];

/// How many packets of the first kind a server has sent to its leader, and how many of the second it was sent. None where it leads.
fn said(cluster: &Cluster, id: u8, [asks, answers]: [PacketType; 2]) -> [usize; 2] {
    let Some(link) = cluster.wire().synced(id, 0).pop() else { return [0; 2] };
    [(asks, false), (answers, true)]
        .map(|(kind, from_leader)| link.of(kind).filter(|packet| packet.from_leader == from_leader).count())
}

/// What was proposed between DIFF and NEWLEADER.
fn came_with_diff(link: &Link) -> Vec<Zxid> {
    let mut link = link.clone();
    link.packets.retain(|packet| packet.from_leader);
    let kinds = || link.packets.iter().map(|packet| packet.kind);
    let place = |kind| kinds().position(|known| known == kind).expect("it is brought into step by a DIFF");
    let (from, to) = (place(PacketType::Diff), place(PacketType::NewLeader));
    link.packets = link.packets.drain(from..to).collect();
    zxids(&link, PacketType::Proposal)
}

/// No server has found another digest than its leader has predicted, as its logs tell of all its lives and `mntr` of this one. All must run.
///
/// One of Java's is excused that took a fuzzy state from a Java leader: it finds some in ensembles of its own, too (docs/reports/2026-11-22-mixed.md).
fn assert_no_mismatch(cluster: &Cluster) {
    for id in cluster.ids() {
        let log = cluster.log(id);
        let told = |line: &&str| MISMATCHES.iter().any(|words| line.contains(words));
        let told: Vec<&str> = log.lines().filter(told).collect();
        let mut counted = None;
        until(&format!("server {id} tells its figures"), || {
            counted = figure(cluster, id, "digest_mismatches_count");
            counted.is_some()
        });
        if cluster.implementation_of(id).is_java() && took_a_fuzzy_state_of_java(cluster, id) {
            println!("server {id} took a fuzzy state of Java's: {counted:?} mismatches, {told:?}");
            continue;
        }
        assert!(told.is_empty(), "server {id}: {told:#?}");
        assert_eq!(counted, Some(0), "digest mismatches of server {id}");
    }
}

/// How Java 3.8 and 3.9, and RingKeeper, say that a digest is not the one that the leader has predicted.
const MISMATCHES: [&str; 3] = [
    "First digest mismatch on txn",
    "Digests are not matching",
    "the digest that the Java leader predicts is not the tree's",
];

/// As the record of the ensemble tells, if there is one.
fn took_a_fuzzy_state_of_java(cluster: &Cluster, id: u8) -> bool {
    let links = if cluster.is_recorded() { cluster.wire().links(0) } else { Vec::new() };
    links.iter().filter(|link| link.learner == id && cluster.implementation_of(link.leader).is_java()).any(|link| {
        let state = link.sync().and_then(|sync| sync.state);
        state.is_some_and(|state| state.later > 0)
    })
}

/// Starts servers 1 and 2 before the others, so that the second leads.
fn led_by_2(mut cluster: Cluster) -> Cluster {
    let (first, later): (Vec<u8>, Vec<u8>) = cluster.ids().into_iter().partition(|id| *id <= 2);
    for ids in [first, later] {
        ids.into_iter().for_each(|id| cluster.start(id));
        cluster.await_serving();
    }
    assert_eq!(cluster.leader(), LEADER);
    cluster
}
