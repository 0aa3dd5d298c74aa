//! Fast leader election, from outside: rules as scripts with recorded output, whole clusters over a network that loses and reorders, and the elections
//! that real Java servers were recorded in.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod cluster;
mod faults;
mod recorded;
mod script;
#[path = "../shared/scripts.rs"]
mod scripts;
#[path = "../shared/seeds.rs"]
mod seeds;
#[path = "../shared/text.rs"]
mod text;
