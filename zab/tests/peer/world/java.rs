//! Servers that leave zxids out where they lead, as Java's do.
//!
//! Such a server is one of our peers, which gives every zxid of its epoch to a txn, with its numbers changed on their way in and out: the others, the links and
//! the disks see the zxids of a Java leader. Once its office ends it starts anew from its disk, and so with the history that all others see. An ACK of a zxid that no
//! txn has is refused here.

use super::World;
use proto::quorum::FromLearner;
use proto::{Epoch, ServerId, Zxid};
use ringkeeper_zab::{Action, Input, Message, Sync};

/// What zxids without a txn were good for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Across {
    /// Pieces of a history that were sent with some within.
    pub diffs: u32,
    /// The same, by a server of ours.
    pub diffs_of_ours: u32,
    /// Cuts within an epoch that has some.
    pub truncs: u32,
    /// Epochs of ours that were led on from one that has some.
    pub led_on: u32,
    /// Starts from a log with some.
    pub starts: u32,
}

/// The counter of the n-th txn of an epoch: one or two are left out behind every third, and before the first in some epochs.
const fn counter(epoch: Epoch, nth: u32) -> u32 {
    nth + (nth + epoch.0 % 3) / 3 * (1 + epoch.0 % 2)
}

/// Does any zxid in between belong to no txn?
pub(super) fn is_gap(before: Zxid, next: Zxid) -> bool {
    if before.epoch() == next.epoch() { next.counter() > before.counter() + 1 } else { next.counter() > 1 }
}

impl World {
    /// The zxid that everybody sees for one of this server's peer.
    pub(super) fn outward(&self, id: ServerId, zxid: Zxid) -> Zxid {
        let is_given = self.node(id).gives == Some(zxid.epoch());
        if is_given { Zxid::new(zxid.epoch(), counter(zxid.epoch(), zxid.counter())) } else { zxid }
    }

    /// The zxid of this server's peer for one that everybody sees.
    fn inward(&self, id: ServerId, zxid: Zxid) -> Zxid {
        if self.node(id).gives != Some(zxid.epoch()) {
            return zxid;
        }
        let (epoch, seen) = (zxid.epoch(), zxid.counter());
        let nth = (0..=seen).rev().find(|nth| counter(epoch, *nth) == seen);
        Zxid::new(epoch, nth.unwrap_or_else(|| panic!("{id:?} is told of {zxid}, which it gave to no txn")))
    }

    pub(super) fn input_of<'a>(&self, id: ServerId, input: Input<'a>) -> Input<'a> {
        let inward = |zxid| self.inward(id, zxid);
        match input {
            Input::FromLearner(link, FromLearner::Ack(zxid)) => {
                Input::FromLearner(link, FromLearner::Ack(inward(zxid)))
            }
            Input::FromLearner(link, FromLearner::AckEpoch { last_zxid, current_epoch }) => {
                let last_zxid = last_zxid.zxid().map_or(last_zxid, |last| inward(last).into());
                Input::FromLearner(link, FromLearner::AckEpoch { last_zxid, current_epoch })
            }
            Input::Synced { link, to } => Input::Synced { link, to: inward(to) },
            Input::Durable(zxid) => Input::Durable(inward(zxid)),
            Input::Propose(zxid) => Input::Propose(inward(zxid)),
            Input::Forgot(zxid) => Input::Forgot(inward(zxid)),
            Input::Purged(zxid) => Input::Purged(inward(zxid)),
            input => input,
        }
    }

    /// What a peer says, with the zxids that everybody sees. An office that has ended is followed by nothing: the server is to start anew.
    pub(super) fn actions_of(&mut self, id: ServerId, mut actions: Vec<Action>) -> (Vec<Action>, bool) {
        for action in &actions {
            if let Action::Lead(epoch) = *action
                && self.java.contains(&id)
            {
                self.node_mut(id).gives = Some(epoch);
            }
        }
        if self.node(id).gives.is_none() {
            return (actions, false);
        }
        let ends = actions.iter().position(|action| matches!(action, Action::Look(_)));
        if let Some(at) = ends {
            actions.truncate(at + 1);
        }
        for action in &mut actions {
            match action {
                Action::Commit(zxid) | Action::Append { zxid, .. } => *zxid = self.outward(id, *zxid),
                Action::Send(_, message) => *message = self.message_of(id, *message),
                Action::Sync(_, Sync::Snap { zxid }) => *zxid = self.outward(id, *zxid),
                Action::Sync(_, Sync::Log { after, to, .. }) => {
                    (*after, *to) = (self.outward(id, *after), self.outward(id, *to));
                }
                _ => {}
            }
        }
        (actions, ends.is_some())
    }

    fn message_of(&self, id: ServerId, message: Message) -> Message {
        let outward = |zxid| self.outward(id, zxid);
        match message {
            Message::Diff(zxid) => Message::Diff(outward(zxid)),
            Message::Trunc(zxid) => Message::Trunc(outward(zxid)),
            Message::Committed { after, to } => Message::Committed { after: outward(after), to: outward(to) },
            Message::Proposals { after, to } => Message::Proposals { after: outward(after), to: outward(to) },
            Message::Commits { after, to } => Message::Commits { after: outward(after), to: outward(to) },
            Message::Informs { after, to } => Message::Informs { after: outward(after), to: outward(to) },
            Message::Ping(zxid) => Message::Ping(outward(zxid)),
            message => message,
        }
    }

    /// Does this server's history have zxids that no txn has, in this epoch if one is given?
    pub(super) fn has_gaps(&self, id: ServerId, epoch: Option<Epoch>) -> bool {
        let txns = &self.node(id).txns;
        txns.windows(2)
            .any(|pair| is_gap(pair[0].zxid, pair[1].zxid) && epoch.is_none_or(|epoch| epoch == pair[1].zxid.epoch()))
    }
}
