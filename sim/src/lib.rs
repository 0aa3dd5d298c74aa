//! The deterministic cluster simulator, and the checkers of what clients and servers were seen to do.
//!
//! - [`history`]: what happened, as text that a program in any language can write.
//! - [`check`]: what must be true of it.
//! - [`world`]: time, chance, network and disks, all drawn from one seed.
//! - [`clients`]: clients that ask at random and write down what they hear, for that world and for real ensembles.
//! - [`cluster`]: servers in that world: one alone, or an ensemble.
#![forbid(unsafe_code)]

pub mod check;
pub mod clients;
pub mod cluster;
pub mod history;
pub mod world;
