//! The RingKeeper server as a library, so that its parts can be tested without a running process.
//!
//! Each module's documentation says what it owns. The binary in `main.rs` parses the command line and calls in here.
// `forbid` stands in each module instead: the runtime seam is the one that may need unsafe code.
#![deny(unsafe_code)]

pub mod answers;
pub mod ask;
pub mod bind;
pub mod boot;
pub mod cli;
pub mod cold;
pub mod config;
pub mod consensus;
pub mod control;
pub mod docker;
pub mod election;
pub mod excess_log;
pub mod four_letter;
pub mod hub;
pub mod image;
pub mod import;
pub mod jaas;
pub mod limits;
pub mod links;
pub mod log;
pub mod log_writer;
pub mod logging;
pub mod long;
pub mod mailbox;
pub mod measured;
pub mod member;
pub mod memory;
pub mod peers;
pub mod preflight;
pub mod recovery;
pub mod rt;
pub mod scrub;
pub mod shard;
pub mod standing;
pub mod stats;
pub mod unservable;
pub mod watchdog;

/// What [`mailbox`] is made of; its model test puts loom's in this place.
mod atomics {
    pub(crate) use crossbeam::queue::ArrayQueue;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
}
