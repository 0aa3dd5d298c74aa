//! Clusters of elections over a network that loses, doubles, delays and reorders what they say, from a seed each.
//!
//! A server in office stands for what ZAB does: a leader needs a quorum of followers that it and they reach, none with a better history than its own,
//! or it looks again after [`PATIENCE_MS`]; so does a follower that is not one of a leader's. One seed is one run, and none is without an end:
//! past [`EVENTS_MAX`] it fails. A run that fails prints its seed and the end of its trace.

use crate::seeds::Random;
use crate::{scripts, text};
use proto::election::ServerState;
use proto::{Epoch, LastZxid, ServerId, Zxid};
use ringkeeper_zab::election::{Election, ElectionOptions, Vote};
use ringkeeper_zab::ensemble::Ensemble;
use ringkeeper_zab::{Action, Ms};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

/// How long a server in office goes without what its office needs.
const PATIENCE_MS: Ms = 1000;

/// How often the offices are looked after.
const HOLD_MS: Ms = 50;

/// More than a run needs: the longest of 100,000 seeds takes a tenth of it.
const EVENTS_MAX: usize = 200_000;

/// So many of the last events are printed for a run that fails.
const TRACE_MAX: usize = 500;

#[derive(Debug)]
pub(crate) struct Cluster {
    seed: u64,
    pub(crate) ensemble: Ensemble,
    pub(crate) servers: BTreeMap<ServerId, Server>,
    /// Ways that do not carry anything: from, to.
    cut: BTreeSet<(ServerId, ServerId)>,
    events: Events,
    pub(crate) now: Ms,
    pub(crate) happened: usize,
    pub(crate) random: Random,
    pub(crate) delay_ms: Ms,
    pub(crate) lose_percent: Ms,
    pub(crate) double_percent: Ms,
    trace: VecDeque<(Ms, Traced)>,
}

/// What a trace tells.
#[derive(Clone, Copy, Debug)]
enum Traced {
    Event(Event),
    Voted(ServerId, ServerId, Vote),
    Look(ServerId),
    Elected(ServerId, ServerId),
    Office(ServerId, ServerId, Epoch),
    Fault(&'static str, ServerId, ServerId),
}

#[derive(Debug)]
pub(crate) struct Server {
    election: Election,
    is_up: bool,
    last: LastZxid,
    current: Epoch,
    pub(crate) office: Option<Office>,
    /// How often it has looked.
    pub(crate) looks: u32,
    /// Who has told it in this look that it votes for whom, or follows whom; its own newest vote too.
    heard: BTreeSet<(ServerId, ServerId)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Office {
    pub(crate) leader: ServerId,
    /// The epoch that it is in, once its leader has a quorum.
    epoch: Option<Epoch>,
    /// When it last had what it needs.
    good_at: Ms,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Start(ServerId),
    /// Number in [`Events::votes`].
    Deliver(usize),
    /// A server learns whether it reaches another.
    Tell(ServerId, ServerId),
    /// The offices are looked after.
    Hold,
}

/// What is to come, in order of time and, within it, as it was said.
#[derive(Debug, Default)]
struct Events {
    queue: BinaryHeap<Reverse<(Ms, usize, Event)>>,
    pushed: usize,
    votes: Vec<(ServerId, ServerId, Vote)>,
}

impl Events {
    fn push(&mut self, at: Ms, event: Event) {
        self.queue.push(Reverse((at, self.pushed, event)));
        self.pushed += 1;
    }
}

impl Cluster {
    /// 3, 5 or 7 voters, in groups and with weights in a third of the seeds, and up to two observers, with histories of some epochs, and the times of Java.
    pub(crate) fn new(seed: u64) -> Cluster {
        let mut random = Random(seed);
        let voters = 3 + 2 * random.below(3);
        let observers = random.below(3);
        let ids = (1..=voters).map(|id| id.to_string());
        let ids = ids.chain((1..=observers).map(|id| format!("o{}", voters + id)));
        let mut words: Vec<_> = ids.collect();
        if random.below(3) == 0 {
            words.extend(hierarchy(voters, &mut random));
        }
        let ensemble = scripts::ensemble(&words.join(" "));
        let mut servers = BTreeMap::new();
        for id in (1..=voters + observers).map(ServerId) {
            let epoch = Epoch(u32::try_from(random.below(3)).unwrap());
            let last = Zxid::new(epoch, u32::try_from(random.below(4)).unwrap()).into();
            let current = Epoch(epoch.0 + u32::try_from(random.below(2)).unwrap());
            let election = Election::new(id, ElectionOptions::default());
            let heard = BTreeSet::new();
            servers.insert(id, Server { election, is_up: false, last, current, office: None, looks: 0, heard });
        }
        let mut events = Events::default();
        events.push(HOLD_MS, Event::Hold);
        Cluster {
            seed,
            ensemble,
            servers,
            cut: BTreeSet::new(),
            events,
            now: 0,
            happened: 0,
            random,
            delay_ms: 1,
            lose_percent: 0,
            double_percent: 0,
            trace: VecDeque::new(),
        }
    }

    fn note(&mut self, what: Traced) {
        if self.trace.len() == TRACE_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back((self.now, what));
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        self.servers.keys().copied().collect::<Vec<_>>().into_iter()
    }

    pub(crate) fn rank(&self, id: ServerId) -> (Epoch, LastZxid, ServerId) {
        let server = &self.servers[&id];
        (server.current, server.last, id)
    }

    /// Servers among which is a quorum of voters with a history.
    pub(crate) fn a_quorum(&mut self) -> Vec<ServerId> {
        loop {
            let group: Vec<_> = self.ids().filter(|_| self.random.below(4) > 0).collect();
            let sound = group.iter().copied().filter(|id| self.servers[id].last != LastZxid::NONE);
            if self.ensemble.is_quorum(sound) {
                return group;
            }
        }
    }

    fn carries(&self, from: ServerId, to: ServerId) -> bool {
        self.servers[&from].is_up && self.servers[&to].is_up && !self.cut.contains(&(from, to))
    }

    fn reaches(&self, a: ServerId, b: ServerId) -> bool {
        a == b || (self.carries(a, b) && self.carries(b, a))
    }

    /// Lets everything happen that is due up to then.
    pub(crate) fn run(&mut self, until: Ms) {
        loop {
            let event_at = self.events.queue.peek().map_or(Ms::MAX, |Reverse((at, ..))| *at);
            let up = self.servers.values().filter(|server| server.is_up);
            let deadline = up.filter_map(|server| server.election.deadline()).min().unwrap_or(Ms::MAX);
            let next = event_at.min(deadline);
            if next > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(next);
            self.happened += 1;
            assert!(self.happened < EVENTS_MAX, "the election goes on and on: {EVENTS_MAX} events");
            if event_at == next {
                let Some(Reverse((_, _, event))) = self.events.queue.pop() else { unreachable!() };
                self.happen(event);
            } else {
                for id in self.ids().filter(|id| self.servers[id].is_up).collect::<Vec<_>>() {
                    self.step(id, |election, now, ensemble, out| election.tick(now, ensemble, out));
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        if !matches!(event, Event::Hold | Event::Deliver(_)) {
            self.note(Traced::Event(event));
        }
        match event {
            Event::Start(id) => {
                let server = self.servers.get_mut(&id).unwrap();
                assert!(!server.is_up, "it is started once");
                server.is_up = true;
                for other in self.ids() {
                    self.tell_soon(id, other);
                }
                self.look(id);
            }
            Event::Deliver(number) => {
                let (from, to, vote) = self.events.votes[number];
                self.note(Traced::Voted(from, to, vote));
                if self.servers[&to].is_up && !self.cut.contains(&(from, to)) {
                    if self.ensemble.is_voter(from) {
                        self.servers.get_mut(&to).unwrap().heard.insert((from, vote.leader));
                    }
                    self.step(to, |election, now, ensemble, out| election.voted(now, ensemble, from, vote, out));
                }
            }
            Event::Tell(id, other) => self.tell(id, other),
            Event::Hold => {
                self.events.push(self.now + HOLD_MS, Event::Hold);
                for id in self.ids() {
                    self.hold_office(id);
                }
            }
        }
    }

    /// Both sides learn sooner or later whether they reach each other.
    fn tell_soon(&mut self, a: ServerId, b: ServerId) {
        for (a, b) in [(a, b), (b, a)] {
            let at = self.now + self.random.below(50);
            self.events.push(at, Event::Tell(a, b));
        }
    }

    /// The server has reached the other since its start, and does not any more.
    pub(crate) fn loses(&mut self, id: ServerId, other: ServerId) {
        for is_up in [true, false] {
            self.step(id, |election, now, ensemble, out| election.reachable(now, ensemble, other, is_up, out));
        }
    }

    pub(crate) fn tell(&mut self, id: ServerId, other: ServerId) {
        let is_up = self.reaches(id, other);
        self.step(id, |election, now, ensemble, out| election.reachable(now, ensemble, other, is_up, out));
    }

    fn look(&mut self, id: ServerId) {
        self.note(Traced::Look(id));
        let server = self.servers.get_mut(&id).unwrap();
        (server.office, server.looks) = (None, server.looks + 1);
        server.heard.clear();
        let (last, current) = (server.last, server.current);
        self.step(id, |election, now, ensemble, out| election.look(now, ensemble, last, current, out));
    }

    fn step(&mut self, id: ServerId, what: impl FnOnce(&mut Election, Ms, &Ensemble, &mut Vec<Action>)) {
        let server = self.servers.get_mut(&id).unwrap();
        let mut out = Vec::new();
        what(&mut server.election, self.now, &self.ensemble, &mut out);
        for action in out {
            let Action::Vote { to, vote } = action else { panic!("an election says {action:?}") };
            assert!(to != id, "nobody tells itself");
            if vote.state == ServerState::Looking && self.ensemble.is_voter(id) && vote.zxid != LastZxid::NONE {
                server.heard.retain(|&(from, _)| from != id);
                server.heard.insert((id, vote.leader));
            }
            let mut copies = 1 + i32::from(self.random.below(100) < self.double_percent);
            copies -= i32::from(self.random.below(100) < self.lose_percent);
            for _ in 0..copies {
                let at = self.now + 1 + self.random.below(self.delay_ms);
                self.events.push(at, Event::Deliver(self.events.votes.len()));
            }
            self.events.votes.push((id, to, vote));
        }
        // Until there is an epoch it answers by itself.
        if let Some(leader) = server.election.elected().filter(|_| server.office.is_none()) {
            let voters = server.heard.iter().filter(|(_, voted)| *voted == leader).map(|(from, _)| *from);
            assert!(self.ensemble.is_quorum(voters), "{id:?} has elected {leader:?} without a quorum: {server:?}");
            assert!(leader != id || server.last != LastZxid::NONE, "{id:?} has elected itself without a history");
            server.office = Some(Office { leader, epoch: None, good_at: self.now });
            self.note(Traced::Elected(id, leader));
        }
    }

    /// What ZAB makes of an election: see the module.
    fn hold_office(&mut self, id: ServerId) {
        let server = &self.servers[&id];
        let Some(office) = server.office.filter(|_| server.is_up) else { return };
        let is_good = if office.leader == id { self.leads(id, office) } else { self.follows(id, office) };
        let office = self.servers.get_mut(&id).unwrap().office.as_mut().unwrap();
        if is_good {
            office.good_at = self.now;
        } else if office.good_at + PATIENCE_MS < self.now {
            self.look(id);
        }
    }

    fn leads(&mut self, id: ServerId, office: Office) -> bool {
        let follows = |other: &ServerId| {
            let their = self.servers[other].office;
            let in_epoch = |their: Office| office.epoch.is_none() || their.epoch == office.epoch;
            let better = (self.servers[other].current, self.servers[other].last)
                > (self.servers[&id].current, self.servers[&id].last);
            let joins = |their: Office| their.leader == id && in_epoch(their) && (office.epoch.is_some() || !better);
            self.reaches(*other, id) && their.is_some_and(joins)
        };
        let followers: Vec<_> = self.ids().filter(follows).collect();
        if !self.ensemble.is_quorum(followers.iter().copied()) {
            return false;
        }
        if office.epoch.is_none() {
            let newest = followers.iter().map(|other| self.servers[other].current).max().unwrap();
            let epoch = Epoch(newest.0 + 1);
            for follower in followers {
                self.take_office(follower, id, epoch);
            }
        } else if self.random.below(4) == 0 {
            // A txn that a quorum has, and perhaps not everybody.
            let last = LastZxid(self.servers[&id].last.0 + 1);
            for follower in followers {
                self.servers.get_mut(&follower).unwrap().last = last;
            }
        }
        true
    }

    fn follows(&mut self, id: ServerId, office: Office) -> bool {
        let Some(leaders) = self.servers[&office.leader].office.filter(|_| self.reaches(id, office.leader)) else {
            return false;
        };
        let Some(epoch) = leaders.epoch.filter(|_| leaders.leader == office.leader) else { return false };
        if office.epoch.is_none() {
            self.take_office(id, office.leader, epoch);
        }
        self.servers[&id].office.is_some_and(|office| office.epoch == Some(epoch))
    }

    /// The server has its leader's history from here on.
    fn take_office(&mut self, id: ServerId, leader: ServerId, epoch: Epoch) {
        self.note(Traced::Office(id, leader, epoch));
        let last = self.servers[&leader].last;
        let last = last.max(Zxid::new(epoch, 0).into());
        let server = self.servers.get_mut(&id).unwrap();
        (server.last, server.current) = (last, epoch);
        server.office = Some(Office { leader, epoch: Some(epoch), good_at: self.now });
        let state = match leader == id {
            true => ServerState::Leading,
            false if self.ensemble.is_voter(id) => ServerState::Following,
            false => ServerState::Observing,
        };
        server.election.in_office(state, leader, epoch);
    }

    /// A crash, a start, a way that breaks or heals, or history lost.
    pub(crate) fn fault(&mut self) {
        let ids: Vec<_> = self.ids().collect();
        let mut any = || ids[usize::try_from(self.random.below(Ms::try_from(ids.len()).unwrap())).unwrap()];
        let (a, b) = (any(), any());
        match self.random.below(10) {
            0..=2 => self.crash(a),
            3..=5 => self.start(a),
            6 | 7 if a != b => {
                self.note(Traced::Fault("cut", a, b));
                self.cut.insert((a, b));
            }
            8 => {
                self.note(Traced::Fault("heal", a, b));
                self.cut.remove(&(a, b));
            }
            _ => {
                let sound = self.ids().filter(|&id| id != a && self.servers[&id].last != LastZxid::NONE);
                if self.ensemble.is_voter(a) && self.ensemble.is_quorum(sound) {
                    self.crash(a);
                    self.note(Traced::Fault("history lost", a, a));
                    self.servers.get_mut(&a).unwrap().last = LastZxid::NONE;
                    self.start(a);
                }
            }
        }
        self.tell_soon(a, b);
    }

    fn crash(&mut self, id: ServerId) {
        self.note(Traced::Fault("crash", id, id));
        let server = self.servers.get_mut(&id).unwrap();
        (server.is_up, server.office) = (false, None);
        server.election = Election::new(id, ElectionOptions::default());
        self.events.queue.retain(|Reverse((_, _, event))| *event != Event::Start(id));
        for other in self.ids() {
            self.tell_soon(other, id);
        }
    }

    pub(crate) fn start_at(&mut self, at: Ms, id: ServerId) {
        self.events.push(at, Event::Start(id));
    }

    fn start(&mut self, id: ServerId) {
        self.events.queue.retain(|Reverse((_, _, event))| *event != Event::Start(id));
        if !self.servers[&id].is_up {
            self.happen(Event::Start(id));
        }
    }

    /// The faults end: a quorum is up and connected. The others are down, cut off, or heard without hearing.
    pub(crate) fn settle(&mut self) -> Vec<ServerId> {
        let group = self.a_quorum();
        for member in &group {
            self.note(Traced::Fault("is of the group", *member, *member));
        }
        (self.lose_percent, self.delay_ms) = (0, 40);
        self.cut.clear();
        for other in self.ids() {
            if group.contains(&other) {
                self.start(other);
                continue;
            }
            match self.random.below(3) {
                0 => self.crash(other),
                way => {
                    for member in &group {
                        self.cut.insert((*member, other));
                        if way == 1 {
                            self.cut.insert((other, *member));
                        }
                    }
                }
            }
        }
        for a in self.ids() {
            for b in self.ids() {
                self.tell_soon(a, b);
            }
        }
        group
    }

    /// Are all of them in office in one epoch of one of them? What was before may last a while if its leader has been cut off.
    pub(crate) fn agrees(&self, group: &[ServerId]) -> bool {
        let office = self.office(group[0]);
        office.is_some_and(|(leader, _)| group.contains(&leader)) && group.iter().all(|id| self.office(*id) == office)
    }

    pub(crate) fn office(&self, id: ServerId) -> Option<(ServerId, Epoch)> {
        let office = self.servers[&id].office?;
        Some((office.leader, office.epoch?))
    }
}

/// One group or three, and some servers without weight; 1 has one, so that there is a quorum.
fn hierarchy(voters: Ms, random: &mut Random) -> Vec<String> {
    let groups = 1 + 2 * random.below(2);
    let group = |group| {
        let members: Vec<_> = (1..=voters).filter(|id| id % groups == group).map(|id| id.to_string()).collect();
        format!("group.{}={}", group + 1, members.join(":"))
    };
    let mut lines: Vec<_> = (0..groups).map(group).collect();
    lines.extend((2..=voters).map(|id| format!("weight.{id}={}", random.below(3))));
    lines
}

impl Drop for Cluster {
    /// Tells of a run that has failed.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        println!("seed {}: {}", self.seed, self.ensemble.to_text());
        for (at, what) in &self.trace {
            match what {
                Traced::Voted(from, to, vote) => println!("{at:>6} {} -> {}: {}", from.0, to.0, text::of_vote(vote)),
                Traced::Look(id) => println!("{at:>6} {} looks", id.0),
                Traced::Elected(id, leader) => println!("{at:>6} {} has elected {}", id.0, leader.0),
                Traced::Office(id, leader, epoch) => {
                    println!("{at:>6} {} is in epoch {} of {}", id.0, epoch.0, leader.0);
                }
                Traced::Fault(what, a, b) => println!("{at:>6} {what} {} {}", a.0, b.0),
                Traced::Event(event) => println!("{at:>6} {event:?}"),
            }
        }
        for server in self.servers.values() {
            println!("{server:?}");
        }
        println!("seed {} at {} ms, after {} events", self.seed, self.now, self.happened);
    }
}
