//! Servers of Java ZooKeeper and of RingKeeper in one ensemble.
//!
//! - [`cells`]: each kind of synchronization, between each leader and each learner, as the recorded packets prove it.
//! - [`churn`]: writes all over a tree meanwhile.
//! - [`keepers`]: clients that keep their sessions.
//! - [`migration`]: from one implementation to the other, one server at a time.
//! - [`packets`]: what RingKeeper's servers may send to Java's, in all that was recorded.

mod cells;
mod churn;
mod keepers;
mod migration;
mod packets;
