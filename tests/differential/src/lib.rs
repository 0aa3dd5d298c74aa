//! The differential harness: the same seeded random sequences for a real ZooKeeper and for RingKeeper, every answer compared.
//!
//! The way of a sequence: [`generate`] makes it from a seed; [`drive`] sends it to each server over the raw protocol and writes down what
//! comes back ([`observe`] takes frames apart); [`compare`] holds the two transcripts against each other; [`minimise`] drops what a
//! divergence does not need; [`campaign`] repeats that. [`servers`] starts the two, [`coverage`] counts what was met, [`deliberate`] names what is never sent and why, [`older`] what 3.8.0 does otherwise,
//! [`proxy`] plants differences, which `tests/bites.rs` expects to be found.
//!
//! It must never compare what ZooKeeper does not promise: after each step of one connection a `sync` on every connection makes sure that all
//! events of the step have arrived, so no order between connections is looked at. It fails with a printed sequence, which
//! `rkdiff replay` takes, or with an [`std::io::Error`] where a server cannot be started or reached.
#![forbid(unsafe_code)]

pub mod campaign;
pub mod compare;
pub mod coverage;
pub mod deliberate;
pub mod drive;
pub mod generate;
pub mod minimise;
pub mod observe;
pub mod older;
mod overseer;
pub mod proxy;
pub mod random;
pub mod sequence;
pub mod servers;
pub mod wire;
