//! The world around the servers and clients: time, chance, the network, disks. All of it is drawn from one seed.
//!
//! Owns what a machine room does to a cluster. It knows nothing of ZooKeeper. Whatever drives a cluster takes the next thing that happens from
//! here, lets it happen, and says what follows; between two such things anything may be crashed.
//!
//! - [`time`]: virtual time in µs, and each machine's two clocks, which run askew and jump.
//! - [`chance`]: the random numbers, a stream for each part, so that a part that draws one more changes no other.
//! - [`schedule`]: what is to happen when.
//! - [`network`]: connections, one-way partitions, slow links, half-open connections, ends that overtake the last bytes.
//! - [`disk`]: what a machine keeps over crashes: its log, and images, control file and identities.
//! - [`trace`]: what happened, as a hash and as lines: one seed run twice gives the same.

pub mod chance;
pub mod disk;
pub mod network;
pub mod schedule;
pub mod time;
pub mod trace;
