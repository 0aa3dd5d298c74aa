//! The network between the servers: connections on the quorum port, votes, and what of both is on its way.

use super::{Connection, Event, Fake, World};
use crate::disk::Op;
use crate::wire::Packet;
use proto::ServerId;
use proto::election::{PeerEpoch, ServerState};
use ringkeeper_zab::election::Vote;
use ringkeeper_zab::{Input, LinkId};
use std::collections::VecDeque;

impl World {
    /// One side closes a link.
    pub(super) fn close(&mut self, link: LinkId, by: ServerId, is_noticed: bool) {
        let Some(connection) = self.links.get_mut(&link) else { return };
        let other = connection.other(by);
        *connection.has_it(by) = false;
        connection.queue(by).clear();
        if is_noticed && *connection.has_it(other) {
            connection.queue(other).push_back(Event::Closed);
        }
        self.forget_link(link);
        self.drop_work(by, link);
    }

    /// The network ends a link: what is on its way is lost.
    pub(crate) fn cut_link(&mut self, link: LinkId) {
        let Some(connection) = self.links.get_mut(&link) else { return };
        for to in [connection.dialer, connection.acceptor] {
            let was_opened = !matches!(connection.queue(to).front(), Some(Event::Open));
            connection.queue(to).clear();
            if was_opened && *connection.has_it(to) {
                connection.queue(to).push_back(Event::Closed);
            } else {
                *connection.has_it(to) = false;
            }
        }
        self.forget_link(link);
    }

    pub(super) fn forget_link(&mut self, link: LinkId) {
        self.links.retain(|id, c| *id != link || c.dialer_has_it || c.acceptor_has_it);
    }

    /// What a server was doing on a link that has ended.
    pub(super) fn drop_work(&mut self, id: ServerId, link: LinkId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.syncing.retain(|(syncing, _)| *syncing != link);
            if node.taking.as_ref().is_some_and(|(taking, ..)| *taking == link) {
                node.taking = None;
            }
        }
    }

    /// Delivers the oldest event of a link to this side. Says whether there was one that could be.
    pub(crate) fn deliver(&mut self, link: LinkId, to: ServerId) -> bool {
        let is_blocked = self.nodes.get(&to).is_some_and(|node| {
            node.taking.as_ref().is_some_and(|(taking, ..)| *taking == link)
                || node.disk.queue.iter().any(|op| matches!(op, Op::Cut(_)))
        });
        let Some(connection) = self.links.get_mut(&link) else { return false };
        let is_dialer = connection.dialer == to;
        // That the link has ended shows while a state is awaited on it, if nothing more is.
        if is_blocked && !matches!(connection.queue(to).front(), Some(Event::Closed)) {
            return false;
        }
        let Some(event) = connection.queue(to).pop_front() else { return false };
        if !*connection.has_it(to) {
            return true;
        }
        match event {
            Event::Open => self.step(to, Input::Accepted(link)),
            Event::Closed => {
                *connection.has_it(to) = false;
                self.forget_link(link);
                self.drop_work(to, link);
                self.step(to, Input::Lost(link));
            }
            Event::Packet(packet) if is_dialer => {
                let Some(said) = packet.as_from_leader() else { return true };
                let Some(node) = self.nodes.get_mut(&to) else { return true };
                if let Packet::Proposal(txn) | Packet::Inform(txn) = &packet {
                    node.packet = Some(*txn);
                }
                self.step(to, Input::FromLeader(link, said));
                if let (Packet::Snap(zxid, state), Some(taking)) = (packet, &mut self.node_mut(to).taking)
                    && taking.0 == link
                {
                    *taking = (link, zxid, state);
                }
            }
            Event::Packet(packet) => {
                if let Some(said) = packet.as_from_learner() {
                    self.step(to, Input::FromLearner(link, said));
                }
            }
        }
        true
    }

    pub(crate) fn deliver_vote(&mut self, from: ServerId, to: ServerId) {
        if let Some(vote) = self.votes.remove(&(from, to)) {
            if let Some(fake) = self.fakes.get(&to).filter(|_| vote.state == ServerState::Looking) {
                let answer = match *fake {
                    Fake::Agrees => vote,
                    Fake::Votes(leader, epoch, last, state) => {
                        let peer_epoch = PeerEpoch(i64::from(epoch.0));
                        Vote { leader, zxid: last.into(), peer_epoch, state, ..vote }
                    }
                };
                self.step(from, Input::Voted { from: to, vote: answer });
            } else if self.can_reach(from, to) {
                self.step(to, Input::Voted { from, vote });
            }
        }
    }

    /// The dial that is under way comes to its end.
    pub(crate) fn dial(&mut self, id: ServerId, listens: bool) {
        let Some(leader) = self.node_mut(id).dialling.take() else { return };
        if listens && self.can_reach(id, leader) {
            let link = self.connect(id, leader);
            self.step(id, Input::Dialled(link));
        } else {
            self.step(id, Input::NotDialled);
        }
    }

    pub(crate) fn connect(&mut self, dialer: ServerId, acceptor: ServerId) -> LinkId {
        self.links_made += 1;
        let link = LinkId(self.links_made);
        let connection = Connection {
            dialer,
            acceptor,
            to_acceptor: VecDeque::from([Event::Open]),
            to_dialer: VecDeque::new(),
            dialer_has_it: true,
            acceptor_has_it: true,
        };
        self.links.insert(link, connection);
        link
    }

    /// Both ways of all links on which something is under way.
    pub(crate) fn ways(&self) -> Vec<(LinkId, ServerId)> {
        let links = self.links.iter();
        let ways = links.flat_map(|(link, c)| {
            let is_parted = !self.can_reach(c.dialer, c.acceptor);
            let to_acceptor = (!c.to_acceptor.is_empty()).then_some((c.dialer, c.acceptor));
            let to_dialer = (!c.to_dialer.is_empty()).then_some((c.acceptor, c.dialer));
            let ways =
                to_acceptor.into_iter().chain(to_dialer).filter(move |way| !is_parted && !self.held_ways.contains(way));
            ways.map(|(_, to)| (*link, to))
        });
        ways.collect()
    }

    pub(crate) fn post(&mut self, id: ServerId, link: LinkId, packet: Packet) {
        if let Some(connection) = self.links.get_mut(&link) {
            let other = connection.other(id);
            if *connection.has_it(id) && *connection.has_it(other) {
                connection.queue(other).push_back(Event::Packet(packet));
            }
        }
    }
}
