//! Peers together: scripts with recorded output, and a seeded driver that breaks what it can.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that goes wrong is to stop"
)]

mod disk;
mod random;
mod script;
#[path = "../shared/scripts.rs"]
mod scripts;
#[path = "../shared/seeds.rs"]
mod seeds;
#[path = "../shared/text.rs"]
mod text;
mod wire;
mod world;
