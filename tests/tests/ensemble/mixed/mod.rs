//! Servers of Java ZooKeeper and of RingKeeper in one ensemble.
//!
//! - [`cells`]: each kind of synchronization, between each leader and each learner, as the recorded packets prove it.
//! - [`churn`]: writes all over a tree meanwhile.
//! - [`digests`]: what Java's leader predicts wrongly.
//! - [`hostile`]: packets that come twice or not at all, servers that have lost everything or missed epochs.
//! - [`keepers`]: clients that keep their sessions.
//! - [`migration`]: from one implementation to the other, one server at a time.
//! - [`million`]: a million znodes in one state, within the usual limits of time.
//! - [`packets`]: what RingKeeper's servers may send to Java's, in all that was recorded.
//! - [`rollover`]: epochs whose zxids are used up.
//! - [`requests`]: what clients of the one are answered under a leader of the other, and the txns that come of it.
//! - [`sessions`]: sessions that go from one to the other, expire under either, or are known to their server alone.
//! - [`views`]: what a client of the one sees of the other's writes: by sync, by watches, in quotas; and the configuration.

mod cells;
mod churn;
mod digests;
mod hostile;
mod keepers;
mod migration;
mod million;
mod packets;
mod requests;
mod rollover;
mod sessions;
mod views;

use crate::load::figure;
use proto::quorum::PacketType;
use ringkeeper_tests::cluster::Cluster;

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
