//! What follows a whole state on a learner's link, up to NEWLEADER: the txns that make a fuzzy state exact.
//!
//! Owns the order of these packets, and the PROPOSALs that no COMMIT has come for, which are bounded by [`TakeLimits`]. It must never apply what is not committed,
//! nor swallow a packet that the peer has to see: what it does not use goes back to the link, in order and byte for byte. It fails with [`TakeError`], as a
//! state does that cannot be read. `tests/sync/fuzzy.rs` would catch a mistake: states of living trees, walked as Java walks them, must become these trees.
//! Mirrors `LearnerHandler.syncFollower`, `Leader.startForwarding` and `Learner.syncWithLeader` of 3.9.5; leaders of 3.8 say the same.
//!
//! **What a Java leader sends.** Before SNAP it begins to queue for the learner: first what is committed and not applied yet, as PROPOSAL and COMMIT, then for a follower
//! what is proposed, then all that comes, for an observer as INFORM. SNAP has the zxid S of the last txn that is applied when it is written. The tree is walked while
//! it changes; then comes the queue, which may begin at or below S, and NEWLEADER, which is queued when the walk is over. A COMMIT is queued before its txn
//! is applied. So whatever the walk has met of txns behind S is committed before NEWLEADER: with all of these applied once more, by the rules of
//! [`crate::tolerant`], the tree is that of the last of them, C, to the byte (law 3's one exception, and its end).
//!
//! **Which state is fuzzy cannot be seen in it**: a znode that was deleted, an ACL that was set, a session that went leave no later zxid behind. The leader's protocol version
//! tells ([`SentBy`]). One of ours sends an image of one zxid and the log from there on: its state is over with its signature, and its txns are logged and applied as ever
//! (law 3). What is done for Java's is right for ours as well, and the simulator does it with every other state, for the sake of the faults that it brings. For that there is one rule
//! that no Java leader needs: with a PROPOSAL of an epoch before the leader's own the state is over too. The office may not be established then, and a COMMIT not be a
//! quorum's: such txns belong into the log, to be cut off again if need be, and not into an image. Java's state has all of the former epochs, and it proposes nothing before it
//! is established; so what is committed of the leader's own epoch a quorum has, whoever leads.

#[cfg(doc)]
use super::SentBy;
use super::taker::{TakeError, TakeLimits};
use crate::apply;
use crate::tolerant::TolerantReplay;
use proto::quorum::{FromLeader, QuorumPacket};
use proto::txn::{Txn, TxnRecord};
use proto::{Epoch, Received, Zxid};
use std::collections::VecDeque;

/// A state that is over, and what has come behind it.
#[derive(Debug)]
pub(super) struct Behind {
    /// The state, with the txns that were committed since.
    pub replay: TolerantReplay,
    /// The zxid of the state.
    base: Zxid,
    /// That of the last txn which is committed, C.
    told: Zxid,
    /// The leader's.
    epoch: Epoch,
    /// The last txn that was proposed.
    proposed: Zxid,
    /// Those that are not committed, as packets, oldest first.
    proposals: VecDeque<(Zxid, Vec<u8>)>,
    proposal_bytes: usize,
    /// The end of what goes back to the link: what has ended it.
    last: Vec<u8>,
    /// Txns that were applied.
    pub txns: u64,
    /// The txn whose digest is that of the tree, if its txn has one.
    digest_of: Option<Zxid>,
    limits: TakeLimits,
}

impl Behind {
    /// Behind the state at `base`, from the leader of `epoch`.
    pub(super) fn new(replay: TolerantReplay, base: Zxid, epoch: Epoch, limits: TakeLimits) -> Behind {
        Behind {
            replay,
            base,
            told: base,
            epoch,
            proposed: base,
            proposals: VecDeque::new(),
            proposal_bytes: 0,
            last: Vec::new(),
            txns: 0,
            digest_of: None,
            limits,
        }
    }

    /// Takes a packet, which is `bytes`. True: it was the last.
    ///
    /// # Errors
    /// [`TakeError::Packet`], [`TakeError::OutOfOrder`], [`TakeError::TooManyProposals`], [`TakeError::NotWhole`].
    pub(super) fn take(&mut self, packet: &QuorumPacket<'_>, bytes: &[u8]) -> Result<bool, TakeError> {
        let said = FromLeader::decode(packet).map_err(TakeError::Packet)?;
        match said {
            // Nobody waits for an answer before UPTODATE.
            FromLeader::Ping(_) | FromLeader::Revalidate { .. } | FromLeader::Sync => {}
            FromLeader::Proposal { zxid, .. }
            | FromLeader::Commit(zxid)
            | FromLeader::CommitAndActivate { zxid, .. }
                if zxid <= self.base => {}
            FromLeader::Inform { zxid, .. } | FromLeader::InformAndActivate { zxid, .. } if zxid <= self.base => {}
            FromLeader::Proposal { zxid, .. } if zxid.epoch() < self.epoch && self.has_none() => {
                self.last.extend_from_slice(bytes);
                return Ok(true);
            }
            FromLeader::Proposal { zxid, .. } => {
                self.propose(zxid)?;
                self.keep(zxid, bytes)?;
            }
            FromLeader::Commit(zxid) | FromLeader::CommitAndActivate { zxid, .. } => self.commit(zxid)?,
            FromLeader::Inform { zxid, txn } | FromLeader::InformAndActivate { zxid, txn, .. } => {
                self.propose(zxid)?;
                if !self.proposals.is_empty() {
                    return Err(TakeError::OutOfOrder("an INFORM before the COMMIT of a PROPOSAL"));
                }
                self.apply(zxid, txn)?;
            }
            FromLeader::NewLeader { .. } => {
                self.last.extend_from_slice(bytes);
                return Ok(true);
            }
            FromLeader::LeaderInfo { .. }
            | FromLeader::Diff(_)
            | FromLeader::Trunc(_)
            | FromLeader::Snap(_)
            | FromLeader::UpToDate => return Err(TakeError::OutOfOrder("a packet at the wrong place")),
        }
        Ok(false)
    }

    /// What goes back to the link: the PROPOSALs that are not committed, and the packet that was the last.
    pub(super) fn take_unused(&mut self) -> Vec<u8> {
        let mut unused = Vec::with_capacity(self.proposal_bytes + self.last.len());
        self.proposals.drain(..).for_each(|(_, packet)| unused.extend_from_slice(&packet));
        unused.append(&mut self.last);
        self.proposal_bytes = 0;
        unused
    }

    /// The txn at which the tree's digest is known: none where the last one that has changed something has none.
    pub(super) const fn digest_of(&self) -> Option<Zxid> {
        self.digest_of
    }

    /// Has no txn come yet?
    fn has_none(&self) -> bool {
        self.told == self.base && self.proposals.is_empty()
    }

    /// In order, as a learner asks for it; a Java leader gives some zxids to no txn.
    fn propose(&mut self, zxid: Zxid) -> Result<(), TakeError> {
        if zxid.epoch() != self.epoch || zxid <= self.proposed || zxid.counter() == 0 {
            return Err(TakeError::OutOfOrder("a PROPOSAL out of order"));
        }
        self.proposed = zxid;
        Ok(())
    }

    fn keep(&mut self, zxid: Zxid, packet: &[u8]) -> Result<(), TakeError> {
        let bytes = self.proposal_bytes.saturating_add(packet.len());
        if self.proposals.len() >= self.limits.proposals_max || bytes > self.limits.proposal_bytes_max {
            return Err(TakeError::TooManyProposals { count: self.proposals.len() + 1, bytes });
        }
        self.proposal_bytes = bytes;
        self.proposals.push_back((zxid, packet.to_vec()));
        Ok(())
    }

    fn commit(&mut self, zxid: Zxid) -> Result<(), TakeError> {
        let Some((_, packet)) = self.proposals.pop_front_if(|(oldest, _)| *oldest == zxid) else {
            return Err(TakeError::OutOfOrder("a COMMIT out of order"));
        };
        self.proposal_bytes -= packet.len();
        match QuorumPacket::receive(&packet, self.limits.field_bytes_max).map(|received| match received {
            Received::Whole(packet, _) => FromLeader::decode(&packet),
            Received::NeedsBytes(_) => unreachable!("it was whole when it was kept"),
        }) {
            Ok(Ok(FromLeader::Proposal { txn, .. })) => self.apply(zxid, txn),
            _ => unreachable!("it was a PROPOSAL when it was kept"),
        }
    }

    fn apply(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), TakeError> {
        let record = TxnRecord::decode(txn).map_err(TakeError::Packet)?;
        if record.header.zxid != zxid || !apply::is_sound(&record.txn) {
            return Err(TakeError::BadTxn(zxid));
        }
        self.replay.apply(&record)?;
        self.told = zxid;
        self.txns += 1;
        match (record.digest, &record.txn) {
            (Some(_), _) => self.digest_of = Some(zxid),
            // It has changed nothing, and Java gives it no digest.
            (None, Txn::Error(_)) => {}
            (None, _) => self.digest_of = None,
        }
        Ok(())
    }
}
