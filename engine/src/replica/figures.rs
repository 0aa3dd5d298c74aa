//! What a member of an ensemble counts of its part in it, for `mntr` and `srvr`.
//!
//! Owns counts alone; nothing is decided by them.

use super::Replica;
use crate::shard::Summary;
use proto::election::ServerState;
use zab::{Action, Cause, Message, Sync};

/// Since the start, or the last `srst`.
#[derive(Clone, Debug, Default)]
pub struct EnsembleFigures {
    /// Times that it looked for a leader.
    pub looked: u64,
    /// Txns that it proposed.
    pub proposals: u64,
    /// Txns that came to be committed while it led.
    pub commits: u64,
    /// Txns from a leader.
    pub proposals_received: u64,
    /// Txns that a leader told to be committed.
    pub commits_received: u64,
    /// Digests that a leader of Java's has predicted, and that were not the tree's.
    pub digest_mismatches: u64,
    /// Learners that were sent a part of the log, TRUNC included.
    pub diffs: u64,
    /// Learners that were sent a whole state.
    pub snaps: u64,
    /// Sessions that learners asked about.
    pub revalidations: u64,
    /// Times that it ceased to lead because of a voter that could not follow.
    pub disloyal_voters: u64,
    /// Bytes of a txn that it proposed: the last, the smallest, the largest.
    pub proposal_bytes: Option<(u64, u64, u64)>,
    /// From looking for a leader until it serves, ms.
    pub unavailable_ms: Summary,
    /// The same where it came to lead.
    pub leader_unavailable_ms: Summary,
    /// When it began to look, ms of the monotonic clock.
    pub(super) looks_since_ms: Option<i64>,
    /// Since when it serves as it does.
    pub(super) serves_since_ms: i64,
}

impl EnsembleFigures {
    /// Of a member that has started: it looks.
    pub(super) fn of_a_start(now_ms: i64) -> EnsembleFigures {
        EnsembleFigures { looked: 1, looks_since_ms: Some(now_ms), ..EnsembleFigures::default() }
    }

    /// The peer has said this, in this state.
    pub(super) fn heed(&mut self, action: &Action, now_ms: i64, state: ServerState) {
        match action {
            Action::Look(cause) => {
                self.looked += 1;
                if self.looks_since_ms.is_none() {
                    self.looks_since_ms = Some(now_ms);
                }
                if matches!(cause, Cause::NewerPromise) {
                    self.disloyal_voters += 1;
                }
            }
            // An observer is told of commits alone: what it gets while it is brought into step counts as those.
            Action::Append { .. } if state != ServerState::Observing => self.proposals_received += 1,
            Action::Send(_, Message::Diff(_) | Message::Trunc(_)) => self.diffs += 1,
            Action::Sync(_, Sync::Snap { .. }) => self.snaps += 1,
            _ => {}
        }
    }

    /// It serves from here on.
    pub(super) fn serves(&mut self, now_ms: i64, leads: bool) {
        self.serves_since_ms = now_ms;
        let Some(since) = self.looks_since_ms.take() else { return };
        let took_ms = u64::try_from(now_ms - since).unwrap_or(0);
        self.unavailable_ms.add(took_ms);
        if leads {
            self.leader_unavailable_ms.add(took_ms);
        }
    }

    /// It has proposed a txn of so many bytes.
    pub(super) fn proposed(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.proposals += 1;
        let (_, min, max) = self.proposal_bytes.unwrap_or((bytes, bytes, bytes));
        self.proposal_bytes = Some((bytes, min.min(bytes), max.max(bytes)));
    }
}

impl Replica {
    /// What it has counted of its part in the ensemble.
    #[must_use]
    pub const fn ensemble_figures(&self) -> &EnsembleFigures {
        &self.figures
    }

    /// For how long it has served in its office, ms.
    #[must_use]
    pub fn serves_for_ms(&self, now_ms: i64) -> u64 {
        u64::try_from(now_ms - self.figures.serves_since_ms).unwrap_or(0)
    }

    /// Syncs of learners that wait for a commit.
    #[must_use]
    pub fn pending_syncs(&self) -> usize {
        self.learners.len()
    }
}
