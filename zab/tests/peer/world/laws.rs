//! What must be true after every step.
//!
//! One leader for each epoch, who has all that was committed; what is committed is on a quorum's disks and never changes; what is said is durable.

use super::World;
use proto::{Epoch, ServerId, Zxid};
use ringkeeper_zab::Message;

impl World {
    pub(super) fn lead(&mut self, id: ServerId, epoch: Epoch) {
        let before = self.leaders.insert(epoch, id);
        assert!(before.is_none(), "{before:?} and {id:?} lead epoch {}", epoch.0);
        let node = self.node(id);
        assert!(node.txns.starts_with(&self.truth), "the leader {id:?} lacks what is committed");
        self.across.led_on += u32::from(!self.java.contains(&id) && self.has_gaps(id, None));
    }

    /// A server shows everything up to here. Who has a txn has all before it, so that the last one tells whether two agree.
    pub(super) fn commit(&mut self, id: ServerId, zxid: Zxid) {
        let node = self.node_mut(id);
        let count = node.txns.partition_point(|txn| txn.zxid <= zxid);
        let before = node.applied.len();
        assert!(
            before <= count && node.txns[..before].last() == node.applied.last(),
            "{id:?} takes back what it has shown"
        );
        node.applied.extend_from_slice(&node.txns[before..count]);
        node.applied_to = zxid;
        let shown = &self.nodes[&id].applied;
        let common = self.truth.len().min(count);
        assert!(shown[..common].last() == self.truth[..common].last(), "{id:?} commits what differs from what was");
        if count > common {
            let last = shown.last();
            let have = self
                .nodes
                .iter()
                .filter(|(_, node)| node.disk.nth(count - 1) == last || node.disk.lost.get(count - 1) == last);
            let have: Vec<ServerId> = have.map(|(id, _)| *id).collect();
            // What a script plays has it if it says so.
            let have_it = have.iter().chain(self.fakes.keys()).copied();
            assert!(self.ensemble.is_quorum(have_it), "{id:?} commits {zxid}, which {have:?} have");
            self.truth.extend_from_slice(&shown[common..]);
        }
    }
    /// Nothing is said that is not so: what a message claims of its sender's disk and memory.
    pub(super) fn check_claims(&self, id: ServerId, message: &Message) {
        let node = self.node(id);
        let (disk, epochs) = (&node.disk, node.disk.epochs);
        match *message {
            Message::LeaderInfo(epoch) => {
                assert!(epochs.accepted >= epoch, "{id:?} says LEADERINFO of an epoch that it has not accepted");
            }
            Message::AckEpoch { last, current } => {
                let is_promise = current.is_none_or(|current| epochs.accepted > current);
                assert!(is_promise, "an ACKEPOCH before the epoch is durable");
                let all = disk.current.last();
                let is_all = disk.is_damaged || last == all.into();
                assert!(is_all, "{id:?} says that it ends with {last:?}, the log with {all}");
            }
            Message::Committed { after, .. } => assert!(after >= node.forgot, "{after} is not in memory any more"),
            Message::AckNewLeader { epoch, to, .. } => {
                assert!(epochs.current == epoch, "NEWLEADER is acked before its epoch is durable");
                assert!(disk.taken.is_none(), "NEWLEADER is acked, and the state is not in force");
                let history = node.txns.iter().rfind(|txn| txn.zxid <= to);
                let is_durable = history.is_none_or(|txn| disk.has(txn.zxid));
                assert!(is_durable, "NEWLEADER is acked before {history:?} is durable");
            }
            Message::Ack(zxid) => {
                assert!(zxid.counter() == 0 || disk.has(zxid), "an ACK of {zxid} before it is durable");
            }
            _ => {}
        }
    }
}
