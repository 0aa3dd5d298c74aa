//! Fast leader election, on the election port.
//!
//! Owns rounds, votes and who has won. It must never know of links or of the quorum port.

use proto::election::{ElectionEpoch, PeerEpoch, ServerState};
use proto::{LastZxid, ServerId};

/// A server's vote, and what it is doing: a notification without its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// What the sender is doing.
    pub state: ServerState,
    /// Whom it votes for, or follows.
    pub leader: ServerId,
    /// The last zxid of that server.
    pub zxid: LastZxid,
    /// The sender's round.
    pub round: ElectionEpoch,
    /// The current epoch of that server.
    pub peer_epoch: PeerEpoch,
}
