//! The election port: how servers find each other and vote (`QuorumCnxManager`, `FastLeaderElection`).
//!
//! Owns the two things that travel there: one [`InitialMessage`] from whoever opened the connection, then [`Notification`]s both ways,
//! each in a frame. It must never know who wins, nor resolve a name. It fails with [`crate::DecodeError`]: from the initial message or a
//! frame it means the end of the connection, from a notification only that this one is dropped, as in Java. The vectors `quorum-*.txt`,
//! captured from real ensembles, and `quorum-forms-3.9.5.txt`, read by Java's own classes, the property tests and the fuzz target `election` would catch a mistake here. Mirrors 3.9.5.

mod initial;
mod notification;

pub use initial::{AddressList, ElectionAddress, InitialMessage, InitialVersion};
pub use notification::{ElectionEpoch, Notification, NotificationForm, PeerEpoch, ServerState, receive_frame};
