//! What a leader knows of one learner: how far its link has come, and its cursors.
//!
//! Owns the order of a learner's packets, and what its silence means. It must never count more as acked than was sent.

use super::Hello;
use crate::event::Ms;
use crate::server::PeerOptions;
use proto::{Epoch, LastZxid, ServerId, Zxid};

/// How far a learner's link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has said nothing.
    Connected,
    /// It has said who it is; there is no epoch yet to tell it.
    Informed,
    /// LEADERINFO has been sent.
    Asked,
    /// ACKEPOCH has come, with the end of its history.
    Promised { last: LastZxid },
    /// What it lacks is being sent beside the core.
    Syncing,
    /// NEWLEADER has been sent, and with it `acked` will be what it has.
    NewLeader,
    /// NEWLEADER has been acked: it counts, if it votes.
    Synced,
    /// UPTODATE has been sent: it takes part in the broadcast.
    UpToDate,
}

impl Stage {
    /// Has it taken over the leader's history?
    pub(super) const fn is_in_step(self) -> bool {
        matches!(self, Stage::Synced | Stage::UpToDate)
    }

    /// Is it known that it follows?
    pub(super) const fn has_promised(self) -> bool {
        !matches!(self, Stage::Connected | Stage::Informed | Stage::Asked)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub stage: Stage,
    /// Who it is, once it has said so.
    pub server: Option<ServerId>,
    pub is_observer: bool,
    /// Is it one of our servers? A Java learner may bear no zxids that no txn has.
    pub is_ours: bool,
    /// The epoch that it had promised when it came.
    pub accepted: Epoch,
    pub has_room: bool,
    /// When it was last heard of, or was last sent something that takes its time.
    pub heard: Ms,
    /// The end of its history as it was sent so far.
    pub sent: Zxid,
    /// What it knows to be committed, once it takes part.
    pub told: Zxid,
    /// It is durable there up to here, if it is in step.
    pub acked: Zxid,
    /// Since when an ACK is due.
    pub due_since: Option<Ms>,
}

impl Link {
    pub(super) const fn new(now: Ms) -> Link {
        Link {
            stage: Stage::Connected,
            server: None,
            is_observer: false,
            is_ours: false,
            accepted: Epoch(0),
            has_room: true,
            heard: now,
            sent: Zxid::ZERO,
            told: Zxid::ZERO,
            acked: Zxid::ZERO,
            due_since: None,
        }
    }

    pub(super) const fn introduce(&mut self, now: Ms, hello: Hello) {
        self.stage = Stage::Informed;
        self.server = Some(hello.server);
        self.is_observer = hello.is_observer;
        self.is_ours = hello.is_ours;
        self.accepted = hello.accepted;
        self.heard = now;
    }

    /// An ACK. Says whether it was NEWLEADER's, after which the learner is in step.
    ///
    /// # Errors
    /// What is wrong with it. It comes once for each proposal and in order. A learner of 3.8 acks what it was sent as committed as well, and from a
    /// thread of its own, so that such an ACK may overtake NEWLEADER's: it says nothing.
    pub(super) fn ack(&mut self, now: Ms, zxid: Zxid, new_leader: Zxid) -> Result<bool, &'static str> {
        match self.stage {
            Stage::NewLeader if zxid == new_leader => {
                self.stage = Stage::Synced;
                self.acked = self.sent;
                Ok(true)
            }
            Stage::NewLeader if zxid <= self.sent => Ok(false),
            Stage::Synced | Stage::UpToDate if zxid <= self.acked.max(new_leader) || self.is_observer => Ok(false),
            Stage::UpToDate if zxid == self.acked.next() && zxid <= self.sent => {
                self.acked = zxid;
                self.due_since = (zxid < self.sent).then_some(now);
                Ok(false)
            }
            Stage::Synced | Stage::UpToDate => Err("an ACK out of order"),
            _ => Err("an ACK before NEWLEADER's"),
        }
    }

    /// Is it time to give it up?
    pub(super) fn is_silent(&self, now: Ms, options: &PeerOptions) -> bool {
        let sync_ms = options.sync_ms();
        match self.stage {
            // Whoever sends it beside the core sees whether it is taken.
            Stage::Syncing => false,
            Stage::UpToDate => {
                now - self.heard >= sync_ms || self.due_since.is_some_and(|since| now - since >= sync_ms)
            }
            // It answers no PING before UPTODATE.
            _ => now - self.heard >= options.init_ms(),
        }
    }

    /// May it get a PING? From NEWLEADER on it bears no more than syncLimit of silence.
    pub(super) const fn is_pinged(&self) -> bool {
        matches!(self.stage, Stage::NewLeader | Stage::Synced | Stage::UpToDate)
    }
}
