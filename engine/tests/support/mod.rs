//! What the engine's tests share: a naive model of ZooKeeper, and a harness that drives a `Replica` beside it.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod harness;
pub(crate) mod image;
pub(crate) mod naive;
pub(crate) mod naive_ops;
pub(crate) mod steps;
pub(crate) mod world;
