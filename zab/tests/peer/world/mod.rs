//! Peers over a network and disks in memory, and what must be true of them after every step.
//!
//! Owns the servers and the time; [`network`] what is on its way, [`disks`] and [`actions`] what a peer asks for, [`java`] whose zxids have gaps, [`laws`] the checks. Who does what next
//! is for [`crate::script`] and [`crate::random`] to say.

mod actions;
mod disks;
mod java;
mod laws;
mod network;
mod trace;

use crate::disk::{Disk, Op};
use crate::wire::{Packet, Txn, at};
pub(crate) use java::Across;
use proto::election::ServerState;
use proto::{Epoch, ServerId, Zxid};
use ringkeeper_zab::election::Vote;
use ringkeeper_zab::ensemble::Ensemble;
use ringkeeper_zab::{Input, LinkId, Ms, Peer, PeerOptions, Start, Sync};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One way of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Open,
    Packet(Packet),
    Closed,
}

/// A connection on the quorum port.
#[derive(Debug)]
pub(crate) struct Connection {
    pub dialer: ServerId,
    pub acceptor: ServerId,
    pub to_acceptor: VecDeque<Event>,
    pub to_dialer: VecDeque<Event>,
    /// Does it stand, as each side sees it?
    pub dialer_has_it: bool,
    pub acceptor_has_it: bool,
}

impl Connection {
    fn queue(&mut self, to: ServerId) -> &mut VecDeque<Event> {
        if to == self.acceptor { &mut self.to_acceptor } else { &mut self.to_dialer }
    }

    pub(crate) const fn other(&self, server: ServerId) -> ServerId {
        if server.0 == self.acceptor.0 { self.dialer } else { self.acceptor }
    }

    fn has_it(&mut self, server: ServerId) -> &mut bool {
        if server == self.acceptor { &mut self.acceptor_has_it } else { &mut self.dialer_has_it }
    }
}

/// A server. Its peer is there while it runs.
#[derive(Debug)]
pub(crate) struct Node {
    pub peer: Option<Peer>,
    pub disk: Disk,
    /// The whole history, as far as it is in the log or on its way there.
    pub txns: Vec<Txn>,
    /// What is shown to clients.
    pub applied: Vec<Txn>,
    pub applied_to: Zxid,
    pub dialling: Option<ServerId>,
    /// A state on its way.
    pub taking: Option<(LinkId, Zxid, Vec<Txn>)>,
    pub syncing: Vec<(LinkId, Sync)>,
    /// The epoch that it leads, and in which it leaves zxids out.
    gives: Option<Epoch>,
    /// To be adopted with the next epochs.
    adopts: bool,
    packet: Option<Txn>,
    forgot: Zxid,
    /// It has been stepped and not flushed.
    pub is_dirty: bool,
}

/// How a server votes that no peer plays.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fake {
    /// As whoever asks it.
    Agrees,
    /// For this server, with its epoch and last zxid; what it does itself.
    Votes(ServerId, Epoch, Zxid, ServerState),
}

impl Node {
    /// The txns in (after, to].
    fn between(&self, after: Zxid, to: Zxid) -> Vec<Txn> {
        let place = |at: Zxid| self.txns.partition_point(|txn| txn.zxid <= at);
        self.txns[place(after)..place(to)].to_vec()
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub now: Ms,
    pub ensemble: Ensemble,
    pub ids: Vec<ServerId>,
    pub nodes: BTreeMap<ServerId, Node>,
    pub links: BTreeMap<LinkId, Connection>,
    pub votes: BTreeMap<(ServerId, ServerId), Vote>,
    /// Pairs that cannot reach each other.
    pub parted: BTreeSet<(ServerId, ServerId)>,
    pub options: PeerOptions,
    links_made: u64,
    values: u64,
    /// Everything that was ever committed anywhere, in order.
    pub truth: Vec<Txn>,
    leaders: BTreeMap<Epoch, ServerId>,
    /// Servers that no peer plays: what they say comes from a script.
    pub fakes: BTreeMap<ServerId, Fake>,
    /// Servers that leave zxids out where they lead.
    pub java: BTreeSet<ServerId>,
    pub across: Across,
    /// Disks and ways that [`World::settle`] leaves alone.
    pub held_disks: BTreeSet<ServerId>,
    pub held_ways: BTreeSet<(ServerId, ServerId)>,
    pub trace: Vec<String>,
    pub traces: bool,
}

impl World {
    pub(crate) fn new(ensemble: Ensemble) -> World {
        World {
            now: 0,
            ids: ensemble.members().map(|(id, _)| id).collect(),
            ensemble,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            votes: BTreeMap::new(),
            parted: BTreeSet::new(),
            options: PeerOptions::new(ServerId(0)),
            links_made: 0,
            values: 0,
            truth: Vec::new(),
            leaders: BTreeMap::new(),
            fakes: BTreeMap::new(),
            java: BTreeSet::new(),
            across: Across::default(),
            held_disks: BTreeSet::new(),
            held_ways: BTreeSet::new(),
            trace: Vec::new(),
            traces: false,
        }
    }

    /// Puts a server with this disk into the world; it does not run.
    pub(crate) fn add(&mut self, id: ServerId, disk: Disk) {
        let node = Node {
            peer: None,
            disk,
            txns: Vec::new(),
            applied: Vec::new(),
            applied_to: Zxid::ZERO,
            dialling: None,
            taking: None,
            syncing: Vec::new(),
            gives: None,
            adopts: false,
            packet: None,
            forgot: Zxid::ZERO,
            is_dirty: false,
        };
        self.nodes.insert(id, node);
    }

    pub(crate) fn node(&self, id: ServerId) -> &Node {
        &self.nodes[&id]
    }

    fn node_mut(&mut self, id: ServerId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a server of the ensemble")
    }

    pub(crate) fn is_up(&self, id: ServerId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.peer.is_some())
    }

    pub(crate) fn peer(&self, id: ServerId) -> Option<&Peer> {
        self.nodes.get(&id)?.peer.as_ref()
    }

    pub(crate) fn can_reach(&self, a: ServerId, b: ServerId) -> bool {
        !self.parted.contains(&(a.min(b), a.max(b)))
    }

    /// Starts a server from its disk.
    pub(crate) fn start(&mut self, id: ServerId) {
        let options = PeerOptions { me: id, ..self.options.clone() };
        let ensemble = self.ensemble.clone();
        let node = self.node_mut(id);
        assert!(node.peer.is_none(), "{id:?} runs");
        let shown = node.disk.former.as_ref().unwrap_or(&node.disk.current);
        let start = Start {
            epochs: node.disk.epochs,
            history: node.disk.history(),
            committed: shown.base.min(node.disk.current.last()),
            is_whole: !node.disk.is_damaged,
        };
        node.txns = node.disk.current.txns().copied().collect();
        node.gives = None;
        node.applied.clone_from(&shown.state);
        node.applied_to = shown.base;
        node.forgot = node.disk.current.last();
        node.peer = Some(Peer::new(options, ensemble, start));
        let log = &self.node(id).disk.current.log;
        let has_gap = log.windows(2).any(|pair| java::is_gap(pair[0].zxid, pair[1].zxid));
        self.across.starts += u32::from(has_gap);
        self.say(|| format!("{}: starts", id.0));
        self.step(id, Input::Tick);
        for other in self.ids.clone() {
            if other != id && self.can_reach(id, other) {
                let is_up = self.is_up(other) || self.fakes.contains_key(&other);
                self.step(id, Input::Reachable { server: other, is_up });
                if is_up {
                    self.step(other, Input::Reachable { server: id, is_up: true });
                }
            }
        }
    }

    /// Ends a server's process. Of what was on its way to the disk the oldest `kept` ops have become durable.
    pub(crate) fn crash(&mut self, id: ServerId, kept: usize, is_noticed: bool) {
        let node = self.node_mut(id);
        node.peer = None;
        node.disk.crash(kept);
        node.dialling = None;
        node.taking = None;
        node.syncing.clear();
        node.adopts = false;
        node.is_dirty = false;
        self.say(|| format!("{}: crashes", id.0));
        self.votes.retain(|(from, to), _| *from != id && *to != id);
        let links: Vec<_> =
            self.links.iter().filter(|(_, c)| c.dialer == id || c.acceptor == id).map(|(l, _)| *l).collect();
        for link in links {
            self.close(link, id, is_noticed);
        }
        if is_noticed {
            for other in self.ids.clone() {
                if other != id && self.is_up(other) {
                    self.step(other, Input::Reachable { server: id, is_up: false });
                }
            }
        }
    }

    /// Steps a peer, and does what it says.
    pub(crate) fn step(&mut self, id: ServerId, input: Input<'_>) {
        let now = self.now;
        let input = self.input_of(id, input);
        let node = self.node_mut(id);
        let Some(peer) = node.peer.as_mut() else { return };
        let mut out = Vec::new();
        peer.step(now, input, &mut out);
        node.is_dirty = true;
        let (out, starts_anew) = self.actions_of(id, out);
        self.act(id, out);
        self.node_mut(id).packet = None;
        if starts_anew {
            let under_way = self.node(id).disk.queue.len();
            self.crash(id, under_way, true);
            self.start(id);
        }
    }

    pub(crate) fn flush(&mut self, id: ServerId) {
        let now = self.now;
        let node = self.node_mut(id);
        node.is_dirty = false;
        let Some(peer) = node.peer.as_mut() else { return };
        let mut out = Vec::new();
        peer.flush(now, &mut out);
        let (out, _) = self.actions_of(id, out);
        self.act(id, out);
    }

    pub(crate) fn propose(&mut self, id: ServerId) -> bool {
        let Some(zxid) = self.peer(id).and_then(Peer::next_zxid) else { return false };
        let zxid = self.outward(id, zxid);
        self.values += 1;
        let txn = Txn { zxid, value: self.values };
        let node = self.node_mut(id);
        node.txns.push(txn);
        node.disk.queue.push_back(Op::Append(txn, None));
        self.say(|| format!("{}: proposes {}", id.0, at(zxid)));
        self.step(id, Input::Propose(zxid));
        true
    }

    pub(crate) fn pass(&mut self, ms: Ms) {
        self.now += ms;
        for id in self.ids.clone() {
            if self.peer(id).and_then(Peer::deadline).is_some_and(|deadline| deadline <= self.now) {
                self.step(id, Input::Tick);
            }
        }
    }

    /// Everything that can happen without time does.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut is_busy = false;
            for (link, to) in self.ways() {
                is_busy |= self.deliver(link, to);
            }
            for (from, to) in self.votes.keys().copied().collect::<Vec<_>>() {
                self.deliver_vote(from, to);
                is_busy = true;
            }
            for id in self.ids.clone() {
                if let Some(leader) = self.node(id).dialling {
                    let listens = self.is_up(leader) || self.fakes.contains_key(&leader);
                    self.dial(id, listens);
                    is_busy = true;
                }
                is_busy |= (!self.held_disks.contains(&id) && self.write(id)) | self.sync(id) | self.take(id);
                self.flush(id);
            }
            if !is_busy {
                return;
            }
        }
        panic!("it goes on for ever, and no time passes: {:?}", self.votes);
    }
}

/// Rounds in which everything may happen that can without time passing.
const ROUNDS_MAX: u32 = 20_000;
