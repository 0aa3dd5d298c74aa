//! Peers over a network and disks in memory, and what must be true of them after every step.
//!
//! Owns links, votes on their way, disks, and the check of the laws: one leader for each epoch, what is committed is on a quorum's disks and never
//! changes, a leader has all of it, and nothing is said that is not durable. Who does what next is for [`crate::script`] and [`crate::random`] to say.

use crate::disk::{Disk, Done, Generation, Op};
use crate::wire::{self, Packet, Txn, at};
use proto::election::{PeerEpoch, ServerState};
use proto::{Epoch, ServerId, Zxid};
use ringkeeper_zab::election::Vote;
use ringkeeper_zab::ensemble::Ensemble;
use ringkeeper_zab::{Action, Gate, Input, LinkId, Message, Ms, Peer, PeerOptions, Start, Sync};
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
    /// For itself, with this epoch and last zxid.
    Leads(Epoch, Zxid),
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
    /// Disks and ways that [`World::settle`] leaves alone.
    pub held_disks: BTreeSet<ServerId>,
    pub held_ways: BTreeSet<(ServerId, ServerId)>,
    pub trace: Vec<String>,
    pub traces: bool,
}

impl World {
    pub(crate) fn new(text: &str, ids: &[i64]) -> World {
        World {
            now: 0,
            ensemble: if text.is_empty() { Ensemble::default() } else { Ensemble::parse(text).expect("the ensemble") },
            ids: ids.iter().copied().map(ServerId).collect(),
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
            held_disks: BTreeSet::new(),
            held_ways: BTreeSet::new(),
            trace: Vec::new(),
            traces: false,
        }
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        if self.traces {
            self.trace.push(line());
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
        node.applied.clone_from(&shown.state);
        node.applied_to = shown.base;
        node.forgot = node.disk.current.last();
        node.peer = Some(Peer::new(options, ensemble, start));
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

    /// One side closes a link.
    fn close(&mut self, link: LinkId, by: ServerId, is_noticed: bool) {
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

    fn forget_link(&mut self, link: LinkId) {
        self.links.retain(|id, c| *id != link || c.dialer_has_it || c.acceptor_has_it);
    }

    /// What a server was doing on a link that has ended.
    fn drop_work(&mut self, id: ServerId, link: LinkId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.syncing.retain(|(syncing, _)| *syncing != link);
            if node.taking.as_ref().is_some_and(|(taking, ..)| *taking == link) {
                node.taking = None;
            }
        }
    }

    /// Steps a peer, and does what it says.
    pub(crate) fn step(&mut self, id: ServerId, input: Input<'_>) {
        let now = self.now;
        let node = self.node_mut(id);
        let Some(peer) = node.peer.as_mut() else { return };
        let mut out = Vec::new();
        peer.step(now, input, &mut out);
        node.is_dirty = true;
        self.act(id, out);
        self.node_mut(id).packet = None;
    }

    pub(crate) fn flush(&mut self, id: ServerId) {
        let now = self.now;
        let node = self.node_mut(id);
        node.is_dirty = false;
        let Some(peer) = node.peer.as_mut() else { return };
        let mut out = Vec::new();
        peer.flush(now, &mut out);
        self.act(id, out);
    }

    /// Delivers the oldest event of a link to this side. Says whether there was one that could be.
    pub(crate) fn deliver(&mut self, link: LinkId, to: ServerId) -> bool {
        let is_blocked = self.nodes.get(&to).is_some_and(|node| {
            node.taking.as_ref().is_some_and(|(taking, ..)| *taking == link)
                || node.disk.queue.iter().any(|op| matches!(op, Op::Cut(_)))
        });
        let Some(connection) = self.links.get_mut(&link).filter(|_| !is_blocked) else { return false };
        let is_dialer = connection.dialer == to;
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
                    Fake::Leads(epoch, last) => {
                        let peer_epoch = PeerEpoch(i64::from(epoch.0));
                        Vote { leader: to, zxid: last.into(), peer_epoch, ..vote }
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

    /// What waited for the disk leaves.
    fn open(&mut self, id: ServerId, gate: Option<Gate>) {
        if let Some(Gate { link, message }) = gate {
            self.say(|| format!("{}: {} on {}", id.0, wire::message(&message), link.0));
            self.send(id, link, message);
        }
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
            Sync::Log { after, to } => {
                assert!(after >= node.disk.current.base, "the log does not reach back to {after}");
                self.post_pairs(id, link, after, to);
                to
            }
        };
        self.step(id, Input::Synced { link, to });
        true
    }

    pub(crate) fn propose(&mut self, id: ServerId) -> bool {
        let Some(zxid) = self.peer(id).and_then(Peer::next_zxid) else { return false };
        self.values += 1;
        let txn = Txn { zxid, value: self.values };
        let node = self.node_mut(id);
        node.txns.push(txn);
        node.disk.queue.push_back(Op::Append(txn, None));
        self.say(|| format!("{}: proposes {}", id.0, at(zxid)));
        self.step(id, Input::Propose(zxid));
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
        let is_quiet = node.disk.taken.is_none() && node.disk.former.is_none() && node.syncing.is_empty();
        if !is_quiet || to <= generation.base || to > generation.last() {
            return false;
        }
        generation.base = to;
        generation.state.clone_from(&node.applied);
        generation.log.retain(|txn| txn.zxid > to);
        self.step(id, Input::Purged(to));
        true
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

    fn act(&mut self, id: ServerId, actions: Vec<Action>) {
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
                Action::TakeSnap(link) => self.node_mut(id).taking = Some((link, Zxid::ZERO, Vec::new())),
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

    fn lead(&mut self, id: ServerId, epoch: Epoch) {
        let before = self.leaders.insert(epoch, id);
        assert!(before.is_none(), "{before:?} and {id:?} lead epoch {}", epoch.0);
        let node = self.node(id);
        assert!(node.txns.starts_with(&self.truth), "the leader {id:?} lacks what is committed");
    }

    /// A server shows everything up to here. Who has a txn has all before it, so that the last one tells whether two agree.
    fn commit(&mut self, id: ServerId, zxid: Zxid) {
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

    /// Puts the packets of a message on the link, and checks what it claims.
    fn send(&mut self, id: ServerId, link: LinkId, message: Message) {
        let disk = &self.node(id).disk;
        match message {
            Message::Info { observer, accepted } => {
                self.post(id, link, Packet::Info { server: id, observer, accepted });
            }
            Message::LeaderInfo(epoch) => {
                assert!(disk.epochs.accepted >= epoch, "{id:?} says LEADERINFO of an epoch that it has not accepted");
                self.post(id, link, Packet::LeaderInfo(epoch));
            }
            Message::AckEpoch { last, current } => {
                assert!(
                    current.is_none_or(|current| disk.epochs.accepted > current),
                    "an ACKEPOCH before the epoch is durable"
                );
                let all = disk.current.last();
                assert!(
                    disk.is_damaged || last == all.into(),
                    "{id:?} says that it ends with {last:?}, the log with {all}"
                );
                self.post(id, link, Packet::AckEpoch { last, current });
            }
            Message::Diff(zxid) => self.post(id, link, Packet::Diff(zxid)),
            Message::Trunc(zxid) => self.post(id, link, Packet::Trunc(zxid)),
            Message::Committed { after, to } => {
                assert!(after >= self.node(id).forgot, "{after} is not in memory any more");
                self.post_pairs(id, link, after, to);
            }
            Message::Proposals { after, to } => {
                for txn in self.range(id, after, to) {
                    self.post(id, link, Packet::Proposal(txn));
                }
            }
            Message::Informs { after, to } => {
                for txn in self.range(id, after, to) {
                    self.post(id, link, Packet::Inform(txn));
                }
            }
            Message::Commits { after, to } => {
                // No bytes are needed, only the counters.
                for counter in after.counter() + 1..=to.counter() {
                    self.post(id, link, Packet::Commit(Zxid::new(to.epoch(), counter)));
                }
            }
            Message::NewLeader(epoch) => self.post(id, link, Packet::NewLeader(epoch)),
            Message::UpToDate => self.post(id, link, Packet::UpToDate),
            Message::AckNewLeader { epoch, after, to } => {
                assert!(
                    disk.epochs.current == epoch && disk.current.last() >= to.min(disk.current.last()),
                    "an ACK too early"
                );
                assert!(disk.taken.is_none(), "NEWLEADER is acked, and the state is not in force");
                self.post(id, link, Packet::Ack(Zxid::new(epoch, 0)));
                for counter in after.counter() + 1..=to.counter() {
                    assert!(self.node(id).disk.has(Zxid::new(epoch, counter)), "an ACK before it is durable");
                    self.post(id, link, Packet::Ack(Zxid::new(epoch, counter)));
                }
            }
            Message::Ack(zxid) => {
                assert!(zxid.counter() == 0 || disk.has(zxid), "an ACK of {zxid} before it is durable");
                self.post(id, link, Packet::Ack(zxid));
            }
            Message::Ping(zxid) => self.post(id, link, Packet::Ping(zxid)),
            Message::Pong(zxid) => self.post(id, link, Packet::Pong(zxid)),
        }
    }

    /// The txns of the broadcast that a range means: all counters of one epoch, in memory.
    fn range(&self, id: ServerId, after: Zxid, to: Zxid) -> Vec<Txn> {
        assert!(after.epoch() == to.epoch() && after < to, "({after}, {to}] of a broadcast");
        let node = self.node(id);
        assert!(after >= node.forgot, "{after} is not in memory any more");
        let txns = node.between(after, to);
        assert_eq!(txns.len() as u64, to.0 - after.0, "({after}, {to}] has gaps");
        txns
    }

    fn post_pairs(&mut self, id: ServerId, link: LinkId, after: Zxid, to: Zxid) {
        let txns = self.node(id).between(after, to);
        for txn in txns {
            self.post(id, link, Packet::Proposal(txn));
            self.post(id, link, Packet::Commit(txn.zxid));
        }
    }

    pub(crate) fn post(&mut self, id: ServerId, link: LinkId, packet: Packet) {
        if let Some(connection) = self.links.get_mut(&link) {
            let other = connection.other(id);
            if *connection.has_it(id) && *connection.has_it(other) {
                connection.queue(other).push_back(Event::Packet(packet));
            }
        }
    }

    fn say_action(&mut self, id: ServerId, action: &Action) {
        if !self.traces {
            return;
        }
        let text = match action {
            Action::Vote { .. } | Action::Send(_, Message::Ping(_) | Message::Pong(_)) => return,
            Action::Dial(leader) => format!("dials {}", leader.0),
            Action::Send(link, message) => format!("{} on {}", wire::message(message), link.0),
            Action::Close(link, end) => format!("closes {}: {end:?}", link.0),
            Action::Append { zxid, then: None } => format!("appends {}", at(*zxid)),
            Action::Append { zxid, then: Some(gate) } => {
                format!("appends {}, then {} on {}", at(*zxid), wire::message(&gate.message), gate.link.0)
            }
            Action::WriteEpochs { epochs, then } => {
                let then = then.map_or(String::new(), |gate| {
                    format!(", then {} on {}", wire::message(&gate.message), gate.link.0)
                });
                format!("writes epochs {}/{}{then}", epochs.accepted.0, epochs.current.0)
            }
            Action::Cut(to) => format!("cuts the log to {}", at(*to)),
            Action::TakeSnap(link) => format!("takes the state on {}", link.0),
            Action::Adopt => "adopts the state".to_owned(),
            Action::Discard => "discards the state".to_owned(),
            Action::Release => "releases what was before".to_owned(),
            Action::Sync(link, sync) => format!("sends beside the core {} on {}", wire::sync(sync), link.0),
            Action::Commit(zxid) => format!("commits {}", at(*zxid)),
            Action::Lead(epoch) => format!("leads epoch {}", epoch.0),
            Action::Follow(link) => format!("follows on {}", link.0),
            Action::Look(cause) => format!("looks: {cause:?}"),
        };
        self.trace.push(format!("{}: {text}", id.0));
    }
}

/// Rounds in which everything may happen that can without time passing.
const ROUNDS_MAX: u32 = 20_000;
