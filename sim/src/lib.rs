//! The deterministic cluster simulator, and the checkers of what clients and servers were seen to do.
//!
//! - [`history`]: what happened, as text that a program in any language can write.
//! - [`check`]: what must be true of it.
//! - [`world`]: time, chance, network and disks, all drawn from one seed.
//! - [`standalone`]: one server in that world.
#![forbid(unsafe_code)]

pub mod check;
mod clients;
pub mod history;
pub mod standalone;
pub mod world;
