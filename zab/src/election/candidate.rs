//! Which of two votes is the better one.

use crate::ensemble::Ensemble;
use proto::election::PeerEpoch;
use proto::{Epoch, LastZxid, ServerId};

/// Whom one can vote for, and what that server's history is. The order is that of the votes: by peer epoch, zxid, id, each signed as Java
/// compares it (`totalOrderPredicate`), so that the numbers of a server without a vote lose against all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) peer_epoch: PeerEpoch,
    pub(super) zxid: LastZxid,
    pub(super) leader: ServerId,
}

impl Candidate {
    /// What a server that has no vote says until it has heard one.
    pub(super) const NOBODY: Candidate =
        Candidate { peer_epoch: PeerEpoch(i64::MIN), zxid: LastZxid::NO_VOTE, leader: ServerId(i64::MIN) };

    /// What a server says of itself.
    pub(super) fn itself(me: ServerId, last: LastZxid, current: Epoch) -> Candidate {
        Candidate { peer_epoch: PeerEpoch(i64::from(current.0)), zxid: last, leader: me }
    }

    /// Does it take the place of `other`? A server of weight 0 takes nobody's, and everybody with a weight takes its.
    ///
    /// Java leaves out the second half: there a server of weight 0 that has the longest history votes for itself to the end, and joins only once
    /// the others are in office. Its own vote counts for nothing in either case.
    pub(super) fn beats(&self, other: &Candidate, ensemble: &Ensemble) -> bool {
        let has_weight = |candidate: &Candidate| ensemble.weight(candidate.leader) > 0;
        has_weight(self) && (self > other || (ensemble.is_voter(other.leader) && !has_weight(other)))
    }
}
