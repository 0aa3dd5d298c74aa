//! What a peer says is to be done, and what it sends.

use super::{World, java};
use crate::disk::Op;
use crate::wire::{self, Packet, Txn};
use proto::{ServerId, Zxid};
use ringkeeper_zab::{Action, Gate, LinkId, Message};

impl World {
    /// What waited for the disk leaves.
    pub(super) fn open(&mut self, id: ServerId, gate: Option<Gate>) {
        if let Some(Gate { link, message }) = gate {
            self.say(|| format!("{}: {} on {}", id.0, wire::message(&message), link.0));
            self.send(id, link, message);
        }
    }

    pub(super) fn act(&mut self, id: ServerId, actions: Vec<Action>) {
        for action in actions {
            self.say_action(id, &action);
            match action {
                Action::Vote { to, vote } => {
                    self.votes.insert((id, to), vote);
                }
                Action::Dial(leader) => self.node_mut(id).dialling = Some(leader),
                Action::Send(link, message) => self.send(id, link, message),
                Action::Close(link, _) => self.close(link, id, true),
                Action::Append { zxid, then } => {
                    let node = self.node_mut(id);
                    let txn = node.packet.expect("the packet has a txn");
                    assert!(txn.zxid == zxid, "{zxid} is to be appended, {txn:?} has come");
                    node.txns.push(txn);
                    node.disk.queue.push_back(Op::Append(txn, then));
                }
                Action::WriteEpochs { epochs, then } => {
                    let node = self.node_mut(id);
                    let adopt = std::mem::take(&mut node.adopts);
                    node.disk.queue.push_back(Op::Epochs { epochs, adopt, then });
                }
                Action::Cut(to) => self.node_mut(id).disk.queue.push_back(Op::Cut(to)),
                Action::TakeSnap { link, .. } => self.node_mut(id).taking = Some((link, Zxid::ZERO, Vec::new())),
                Action::Adopt => self.node_mut(id).adopts = true,
                Action::Discard => {
                    let node = self.node_mut(id);
                    assert!(node.disk.queue.is_empty(), "something is under way");
                    (node.taking, node.disk.taken) = (None, None);
                    node.txns = node.disk.current.txns().copied().collect();
                    node.forgot = node.disk.current.last();
                }
                Action::Release => self.node_mut(id).disk.former = None,
                Action::Sync(link, sync) => self.node_mut(id).syncing.push((link, sync)),
                Action::Commit(zxid) => self.commit(id, zxid),
                Action::Lead(epoch) => self.lead(id, epoch),
                Action::Follow(_) => {}
                Action::Look(_) => {
                    // What is asked for from now on is asked for anew.
                    let node = self.node_mut(id);
                    node.dialling = None;
                    node.syncing.clear();
                }
            }
        }
    }

    /// Puts the packets of a message on the link.
    pub(super) fn send(&mut self, id: ServerId, link: LinkId, message: Message) {
        self.check_claims(id, &message);
        let zxids = |after, to| self.node(id).between(after, to).into_iter().map(|txn| txn.zxid);
        let packets: Vec<Packet> = match message {
            Message::Info { observer, accepted } => {
                vec![Packet::Info { server: id, observer, is_ours: !self.java.contains(&id), accepted }]
            }
            Message::LeaderInfo(epoch) => vec![Packet::LeaderInfo { epoch, is_ours: !self.java.contains(&id) }],
            Message::AckEpoch { last, current } => vec![Packet::AckEpoch { last, current }],
            Message::Diff(zxid) => vec![Packet::Diff(zxid)],
            Message::Trunc(zxid) => {
                self.across.truncs += u32::from(self.has_gaps(id, Some(zxid.epoch())));
                vec![Packet::Trunc(zxid)]
            }
            Message::Committed { after, to } => return self.post_pairs(id, link, after, to),
            Message::Proposals { after, to } => self.range(id, after, to).into_iter().map(Packet::Proposal).collect(),
            Message::Informs { after, to } => self.range(id, after, to).into_iter().map(Packet::Inform).collect(),
            Message::Commits { after, to } => zxids(after, to).map(Packet::Commit).collect(),
            Message::NewLeader(epoch) => vec![Packet::NewLeader(epoch)],
            Message::UpToDate => vec![Packet::UpToDate],
            Message::AckNewLeader { epoch, after, to } => {
                [Zxid::new(epoch, 0)].into_iter().chain(zxids(after, to)).map(Packet::Ack).collect()
            }
            Message::Ack(zxid) => vec![Packet::Ack(zxid)],
            Message::Ping(zxid) => vec![Packet::Ping(zxid)],
            Message::Pong(zxid) => vec![Packet::Pong(zxid)],
        };
        for packet in packets {
            self.post(id, link, packet);
        }
    }

    /// The txns of the broadcast that a range means: all counters of one epoch, where a server of ours leads, in memory.
    pub(super) fn range(&self, id: ServerId, after: Zxid, to: Zxid) -> Vec<Txn> {
        assert!(after.epoch() == to.epoch() && after < to, "({after}, {to}] of a broadcast");
        let node = self.node(id);
        assert!(after >= node.forgot, "{after} is not in memory any more");
        let txns = node.between(after, to);
        let is_whole = txns.len() as u64 == to.0 - after.0 || node.gives == Some(to.epoch());
        assert!(is_whole && txns.last().is_some_and(|txn| txn.zxid == to), "({after}, {to}] has gaps");
        txns
    }

    pub(super) fn post_pairs(&mut self, id: ServerId, link: LinkId, after: Zxid, to: Zxid) {
        let txns = self.node(id).between(after, to);
        let befores = [after].into_iter().chain(txns.iter().map(|txn| txn.zxid));
        if befores.zip(&txns).any(|(before, txn)| java::is_gap(before, txn.zxid)) {
            self.across.diffs += 1;
            self.across.diffs_of_ours += u32::from(!self.java.contains(&id));
        }
        for txn in txns {
            self.post(id, link, Packet::Proposal(txn));
            self.post(id, link, Packet::Commit(txn.zxid));
        }
    }
}
