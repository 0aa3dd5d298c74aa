//! The quorum port: Zab 1.0 between a leader and its learners, as ZooKeeper 3.4 to 3.9 speak it.
//!
//! Owns what each packet carries. It must never know in which order packets may come or what they make a server do: that is `zab`'s. Every
//! length is bounded by [`DATA_BYTES_MAX_DEFAULT`] or what an operator has set; it fails with [`crate::DecodeError`]. The
//! vectors `quorum-*.txt`, captured from real ensembles, the property tests and the fuzz targets `quorum_packet` and `snap_stream`
//! would catch a mistake here. Mirrors `Leader`, `LearnerHandler` and `Learner` of 3.9.5.
//!
//! Every packet is a [`QuorumPacket`]. Leader to learner, in the order of a link's life:
//!
//! | packet | type | zxid | data |
//! |---|---|---|---|
//! | LEADERINFO | 17 | (proposed epoch, 0) | protocol version int, [`PROTOCOL_VERSION`] or [`RINGKEEPER_PROTOCOL_VERSION`] |
//! | DIFF | 13 | the last committed | null |
//! | TRUNC | 14 | what the log has to end with | null |
//! | SNAP | 15 | the state's | null; [`snap`] follows |
//! | PROPOSAL | 2 | the txn's | TxnHeader, record, and a digest where they are on |
//! | COMMIT | 4 | the txn's | null |
//! | NEWLEADER | 10 | (epoch, 0) | the configuration's text, without a length |
//! | UPTODATE | 12 | -1 | null |
//! | PING | 5 | the last proposed | null |
//! | REVALIDATE | 6 | -1, from the question | session long, valid boolean |
//! | SYNC | 7 | 0 | null |
//! | COMMITANDACTIVATE | 9 | the reconfig's | designated leader long |
//! | INFORM | 8 | the txn's | as PROPOSAL |
//! | INFORMANDACTIVATE | 19 | the reconfig's | designated leader long, then as PROPOSAL |
//!
//! Learner to leader:
//!
//! | packet | type | zxid | data |
//! |---|---|---|---|
//! | FOLLOWERINFO, OBSERVERINFO | 11, 16 | (accepted epoch, 0) | server long, protocol version int, configuration's version long (not from 3.4) |
//! | ACKEPOCH | 18 | the last in the log | current epoch int, or -1 if the epoch was accepted before |
//! | ACK | 3 | NEWLEADER's; the same once more after UPTODATE; then each proposal's | null |
//! | PING | 5 | of the leader's | touched sessions: id long, timeout int (ms) each; empty but not null |
//! | REVALIDATE | 6 | -1 | session long, timeout int (ms) |
//! | REQUEST | 1 | -1 | session long, xid int, op int, the request's record; authinfo has the client's identities |
//!
//! In all others authinfo is null. Where servers authenticate themselves, [`QuorumAuthPacket`]s come first.

mod auth;
mod leader;
mod learner;
mod packet;
pub mod snap;

pub use auth::{AUTH_TOKEN_BYTES_MAX, AuthStatus, QuorumAuthPacket};
pub use leader::FromLeader;
pub use learner::{ForwardedRequest, FromLearner, LearnerInfo, Touch, TouchVec};
pub use packet::{AUTHINFO_BYTES_MAX, DATA_BYTES_MAX_DEFAULT, IdVec, PacketType, QuorumPacket};

/// Zab 1.0. Below it is the protocol of 3.3, which we do not speak.
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// Zab 1.0, and the server is RingKeeper's. Java tells no versions from [`PROTOCOL_VERSION`] on apart.
pub const RINGKEEPER_PROTOCOL_VERSION: i32 = 0x10001;

/// Whether a server that says this protocol version is RingKeeper's.
#[must_use]
pub const fn is_ringkeeper(protocol_version: i32) -> bool {
    protocol_version >= RINGKEEPER_PROTOCOL_VERSION
}
