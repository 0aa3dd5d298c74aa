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

mod cells;
mod churn;
mod digests;
mod hostile;
mod keepers;
mod migration;
mod million;
mod packets;
mod rollover;

use ringkeeper_tests::cluster::{Cluster, four_letters};

/// A figure of `mntr`.
fn figure(cluster: &Cluster, id: u8, key: &str) -> Option<u64> {
    let text = four_letters(cluster.address(id), "mntr")?;
    text.lines().find_map(|line| line.strip_prefix(&format!("zk_{key}\t")))?.parse().ok()
}
