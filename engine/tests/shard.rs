//! A shard, with the real replica and tree behind it and no socket: laws 4 to 6, its limits, and how connections end.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

#[path = "shard/counters.rs"]
mod counters;
#[path = "shard/differential.rs"]
mod differential;
#[path = "shard/held.rs"]
mod held;
#[path = "shard/limits.rs"]
mod limits;
#[path = "shard/long.rs"]
mod long;
#[path = "shard/order.rs"]
mod order;
#[path = "shard/pipelines.rs"]
mod pipelines;
#[path = "shard/places.rs"]
mod places;
#[path = "shard/protocol.rs"]
mod protocol;
#[path = "shard/rig.rs"]
mod rig;
#[path = "shard/texts.rs"]
mod texts;
#[path = "support/vectors.rs"]
mod vectors;
#[path = "shard/walks.rs"]
mod walks;
