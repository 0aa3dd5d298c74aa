//! The ZAB peer as a pure state machine: election, discovery, synchronization and broadcast, as ZooKeeper speaks them.
//!
//! [`Peer`] is one server's. It takes an [`Input`] with the time of it, and says what is to be done as [`Action`]s, which the caller
//! executes in order; once a turn [`Peer::flush`] says what the learners get of the turn's proposals and commits. It knows positions and
//! never a txn's bytes (`docs/decisions/004`). It must never read a clock, draw a random number, do I/O, or look into a payload.
//!
//! Laws of `design.md` that it keeps: 1 (an ACK leaves only as what waits for an append), 2 (zxids without gaps, assigned in one place), 10
//! (a server whose history may be incomplete counts for nobody). It fails by an assertion where its caller breaks the order of inputs, never on
//! what came from the network: that ends a link, or is dropped.
//!
//! What would catch a mistake: scripts with recorded output, of one election (`tests/scripts/election`) and of whole ensembles (`tests/scripts/peer`; `java-*` and
//! `bug-*` are what Java servers say and have done wrong); clusters by seeds, of elections alone (`tests/election/faults.rs`) and of peers with their disks
//! (`tests/peer/random.rs`, laws in `tests/peer/world/laws.rs`); and Java's own elections, texts and quorums as recorded (`tests/election/recorded.rs`, `tests/ensemble.rs`).
#![forbid(unsafe_code)]

pub mod election;
pub mod ensemble;
mod event;
mod history;
mod leader;
mod learner;
mod peer;
mod server;

pub use event::{Action, Cause, Epochs, Gate, Input, LinkEnd, LinkId, Message, Ms, Sync};
pub use history::History;
pub use leader::LearnerSeen;
pub use peer::{Office, Peer};
pub use server::{PeerOptions, Positions, Start};
