//! What a server does beside its peer: its disk, states on their way, images.

use super::World;
use crate::disk::{Done, Generation};
use crate::wire::Packet;
use proto::{ServerId, Zxid};
use ringkeeper_zab::{Input, Sync};

impl World {
    /// Makes the oldest op of a disk durable.
    pub(crate) fn write(&mut self, id: ServerId) -> bool {
        let Some(done) = self.node_mut(id).disk.complete() else { return false };
        match done {
            Done::Durable(zxid, then) => {
                self.step(id, Input::Durable(zxid));
                self.open(id, then);
            }
            Done::Epochs(epochs, then) => {
                self.say(|| format!("{}: epochs {}/{} are durable", id.0, epochs.accepted.0, epochs.current.0));
                self.step(id, Input::EpochsDurable(epochs));
                self.open(id, then);
            }
            Done::Cut { last } => {
                let node = self.node_mut(id);
                node.txns = node.disk.current.txns().copied().collect();
                node.forgot = node.forgot.min(last);
                assert!(
                    node.applied_to <= last || node.applied.last().is_none_or(|txn| txn.zxid <= last),
                    "a cut of what is shown"
                );
                self.step(id, Input::IsCut { last });
            }
            Done::Lost => self.step(id, Input::HistoryLost),
        }
        true
    }

    /// The state that a server takes is all there.
    pub(crate) fn take(&mut self, id: ServerId) -> bool {
        let node = self.node_mut(id);
        let Some((link, base, state)) = node.taking.take() else { return false };
        node.txns.clone_from(&state);
        node.forgot = base;
        node.disk.taken = Some(Generation { base, state, log: Vec::new() });
        self.step(id, Input::SnapTaken { link, zxid: base });
        true
    }

    /// Something that is to be sent beside the core has been.
    pub(crate) fn sync(&mut self, id: ServerId) -> bool {
        let node = self.node_mut(id);
        let Some((link, sync)) = node.syncing.pop() else { return false };
        let to = match sync {
            Sync::Snap { zxid } => {
                let base = &node.disk.current;
                let (state, to) = if node.applied_to < zxid {
                    (base.state.clone(), base.base)
                } else {
                    (node.applied.clone(), node.applied_to)
                };
                assert!(to >= zxid, "the state is of {to}, {zxid} was asked for");
                self.post(id, link, Packet::Snap(to, state));
                to
            }
            Sync::Log { after, to, .. } => {
                assert!(after >= node.disk.current.base, "the log does not reach back to {after}");
                self.post_pairs(id, link, after, to);
                to
            }
        };
        self.step(id, Input::Synced { link, to });
        true
    }

    /// The leader's memory ends here from now on.
    pub(crate) fn forget(&mut self, id: ServerId, to: Zxid) {
        let node = self.node_mut(id);
        node.forgot = node.forgot.max(to);
        self.step(id, Input::Forgot(to));
    }

    /// An image of what is shown takes the place of the log before it.
    pub(crate) fn publish(&mut self, id: ServerId) -> bool {
        let node = self.node_mut(id);
        let to = node.applied_to;
        let generation = &mut node.disk.current;
        let is_quiet = node.disk.former.is_none() && node.syncing.is_empty();
        if !is_quiet || to <= generation.base || to > generation.last() {
            return false;
        }
        generation.base = to;
        generation.state.clone_from(&node.applied);
        generation.log.retain(|txn| txn.zxid > to);
        self.step(id, Input::Purged(to));
        true
    }
}
