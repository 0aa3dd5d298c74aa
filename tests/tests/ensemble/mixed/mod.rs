//! Servers of Java ZooKeeper and of RingKeeper in one ensemble.
//!
//! - [`cells`]: each kind of synchronization, between each leader and each learner, as the recorded packets prove it.
//! - [`packets`]: what RingKeeper's servers may send to Java's, in all that was recorded.

mod cells;
mod churn;
mod packets;
