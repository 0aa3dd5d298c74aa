//! Everything deterministic about a ZooKeeper server, as pure types: the server and the simulator drive the same ones.
//!
//! | type | what it is | driven by |
//! |---|---|---|
//! | [`tree::Tree`] | znodes and sessions: the replicated state | apply, under the tree's lock |
//! | [`prep`], [`apply`] | a request becomes a validated txn; a txn becomes a change | the consensus core |
//! | [`tolerant`] | ZooKeeper's own snapshots, which are fuzzy, and the txns after them become a tree | an import |
//! | [`replay::Replay`] | a log becomes a tree again | a start, and a cut of the log |
//! | [`replica::Replica`] | the ZAB peer with prep and sessions: ordering | the consensus core |
//! | [`shard::ShardState`] | connections, session queues, watches, reply order | each shard |
//!
//! Nothing here does I/O, starts a thread, or reads a clock: time comes in with the inputs.
#![forbid(unsafe_code)]

pub mod apply;
pub mod auth;
pub mod digest;
pub mod excess;
pub mod log_room;
pub mod prep;
pub mod quota;
pub mod replay;
pub mod replica;
pub mod sasl;
pub mod session;
pub mod shard;
pub mod stream;
pub mod tolerant;
pub mod tree;
pub mod turn;
