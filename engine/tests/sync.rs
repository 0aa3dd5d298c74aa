//! What brings a learner into step, from source to taker, and without a socket.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

#[path = "sync/fuzzy.rs"]
mod fuzzy;
#[path = "support/image.rs"]
mod image;
#[path = "support/living.rs"]
mod living;
#[path = "sync/log.rs"]
mod log;
#[path = "sync/snap.rs"]
mod snap;
#[path = "sync/state.rs"]
mod state;
#[path = "sync/taker.rs"]
mod taker;
#[path = "support/vectors.rs"]
mod vectors;
