//! An ensemble of one: the leader of itself, whose quorum is its own log.
//!
//! Owns the positions proposed, durable and committed of such a server. It goes as soon as [`crate::Peer`] does the same.

use proto::{Epoch, Zxid};

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The state machine above proposes a txn, encoded with the zxid that [`Peer::next_zxid`] told.
    Propose {
        /// That zxid.
        zxid: Zxid,
    },
    /// The own log is durable up to this zxid.
    Durable(Zxid),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Everything up to here is a quorum's: apply it.
    pub commit: Option<Zxid>,
}

/// See the module.
#[derive(Debug)]
pub struct Peer {
    proposed: Zxid,
    durable: Zxid,
    committed: Zxid,
}

impl Peer {
    /// An ensemble of one whose log and image end at `last`: all of it is committed, since it is its own quorum.
    #[must_use]
    pub const fn standalone(last: Zxid) -> Peer {
        Peer { proposed: last, durable: last, committed: last }
    }

    /// The zxid of the next proposal. After the last counter of an epoch it is the first of the next, as in a standalone ZooKeeper.
    #[must_use]
    pub const fn next_zxid(&self) -> Zxid {
        let next = self.proposed.next();
        // (E, 0) is an epoch's position without a txn.
        if next.counter() == 0 { next.next() } else { next }
    }

    /// Takes one input.
    ///
    /// # Panics
    /// On inputs out of order: the caller's bug.
    pub fn step(&mut self, input: &Input) -> Effects {
        match input {
            Input::Propose { zxid } => {
                assert!(*zxid == self.next_zxid(), "{zxid} is proposed, {} is next", self.next_zxid());
                self.proposed = *zxid;
                Effects::default()
            }
            Input::Durable(zxid) => {
                assert!(*zxid <= self.proposed, "{zxid} is durable, only {} is proposed", self.proposed);
                self.durable = self.durable.max(*zxid);
                // A quorum of one: durable here is durable on a quorum (law 1).
                let commit = (self.durable > self.committed).then_some(self.durable);
                self.committed = self.durable;
                Effects { commit }
            }
        }
    }

    /// The newest proposal.
    #[must_use]
    pub const fn proposed(&self) -> Zxid {
        self.proposed
    }

    /// Everything up to here may be applied.
    #[must_use]
    pub const fn committed(&self) -> Zxid {
        self.committed
    }

    /// The epoch in office.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.proposed.epoch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_committed_before_it_is_durable() {
        let mut peer = Peer::standalone(Zxid(7));
        assert_eq!(peer.step(&Input::Propose { zxid: Zxid(8) }), Effects::default());
        assert_eq!(peer.step(&Input::Propose { zxid: Zxid(9) }), Effects::default());
        assert_eq!(peer.committed(), Zxid(7));
        assert_eq!(peer.step(&Input::Durable(Zxid(8))), Effects { commit: Some(Zxid(8)) });
        assert_eq!(peer.step(&Input::Durable(Zxid(8))), Effects { commit: None });
        assert_eq!(peer.step(&Input::Durable(Zxid(9))), Effects { commit: Some(Zxid(9)) });
    }

    #[test]
    fn the_counter_runs_over_into_the_next_epoch() {
        let mut peer = Peer::standalone(Zxid::new(Epoch(3), u32::MAX));
        let next = peer.next_zxid();
        assert_eq!(next, Zxid::new(Epoch(4), 1));
        peer.step(&Input::Propose { zxid: next });
        assert_eq!(peer.epoch(), Epoch(4));
    }

    #[test]
    #[should_panic(expected = "is next")]
    fn a_gap_is_a_bug() {
        Peer::standalone(Zxid(7)).step(&Input::Propose { zxid: Zxid(9) });
    }
}
