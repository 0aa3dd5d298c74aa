//! One server's part in the ensemble: it looks for a leader, and then leads or learns.
//!
//! Owns the change of roles: a server that looks has first made durable whatever was under way, so that its vote says what it has. It must never
//! vote for less than it has acked, or lead without a whole history. The scripts `look-*` would catch a mistake. Mirrors `QuorumPeer`.

use crate::election::Vote;
use crate::ensemble::Ensemble;
use crate::event::{Action, Cause, Epochs, Input, LinkEnd, LinkId, Ms};
use crate::history::History;
use crate::leader::{Held, Hello, Leader, LearnerSeen, Leaves};
use crate::learner::Learner;
use crate::server::{PeerOptions, Positions, Server, Start};
use proto::election::ServerState;
use proto::quorum::FromLearner;
use proto::{Epoch, ServerId, Zxid};
use std::collections::{BTreeMap, VecDeque};

/// See the crate.
#[derive(Debug)]
pub struct Peer {
    server: Server,
    role: Role,
    /// Links that came while it was not known who leads, oldest first.
    held: VecDeque<Held>,
    /// Votes that came before the own one could be given, the newest of each server.
    votes: BTreeMap<ServerId, Vote>,
}

#[derive(Debug)]
enum Role {
    /// An ensemble of one without epochs: the own log is its quorum.
    Alone,
    /// To look for a leader as soon as the disk is done, and not before another could be elected if its log is full.
    Draining,
    Looking,
    Leading(Leader),
    Learning(Learner),
}

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Office {
    /// What it does, as it says itself in an election. A standalone server leads.
    pub state: ServerState,
    /// Who leads, as far as it is known.
    pub leader: Option<ServerId>,
    /// The epoch of that leader, once it is known.
    pub epoch: Option<Epoch>,
    /// Are clients served?
    pub is_serving: bool,
}

impl Peer {
    /// An ensemble of one whose log and image end at `last`: all of it is committed, since it is its own quorum. It leads, at once and for ever.
    #[must_use]
    pub fn standalone(last: Zxid) -> Peer {
        let start = Start { epochs: Epochs::default(), history: History::new(last), committed: last, is_whole: true };
        let server = Server::new(PeerOptions::new(ServerId(0)), Ensemble::default(), start);
        Peer { server, role: Role::Alone, held: VecDeque::new(), votes: BTreeMap::new() }
    }

    /// A server of an ensemble. It begins to look for a leader with the first [`Peer::step`].
    ///
    /// # Panics
    /// If more is committed than there is, or if links are held for no longer than an election waits.
    #[must_use]
    pub fn new(options: PeerOptions, ensemble: Ensemble, start: Start) -> Peer {
        let server = Server::new(options, ensemble, start);
        Peer { server, role: Role::Draining, held: VecDeque::new(), votes: BTreeMap::new() }
    }

    /// Takes one input, and says what is to be done.
    ///
    /// # Panics
    /// On inputs out of order: the caller's bug.
    pub fn step(&mut self, now: Ms, input: Input<'_>, out: &mut Vec<Action>) {
        match input {
            Input::Durable(zxid) => self.server.durable(zxid),
            Input::EpochsDurable(epochs) => self.server.epochs_durable(epochs),
            Input::IsCut { last } if !self.server.is_cut(last) => {
                return self.history_lost(now, out);
            }
            Input::HistoryLost => return self.history_lost(now, out),
            Input::Full(is_full) => self.server.full(is_full),
            Input::Forgot(zxid) => self.server.forgot = self.server.forgot.max(zxid),
            Input::Purged(zxid) => self.server.purged(zxid),
            Input::Voted { from, vote } => return self.voted(now, from, vote, out),
            Input::Reachable { server, is_up } => {
                let Server { election, ensemble, .. } = &mut self.server;
                election.reachable(now, ensemble, server, is_up, out);
            }
            _ => {}
        }
        let leaves = match &mut self.role {
            Role::Leading(leader) => leader.step(now, &mut self.server, &input, out),
            Role::Learning(learner) => learner.step(now, &mut self.server, &input, out),
            Role::Alone => {
                self.alone(&input, out);
                return;
            }
            Role::Draining | Role::Looking => {
                self.hold(now, &input, out);
                Ok(())
            }
        };
        self.go_on(now, leaves, matches!(input, Input::Tick), out);
    }

    /// Says what the learners get of the turn's proposals and commits. Once a turn, after its last step.
    pub fn flush(&mut self, now: Ms, out: &mut Vec<Action>) {
        if let Role::Leading(leader) = &mut self.role {
            leader.flush(now, &self.server, out);
        }
    }

    /// When [`Input::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Ms> {
        let role = match &self.role {
            Role::Alone => None,
            Role::Draining => self.server.abstains_until,
            Role::Looking => self.server.election.deadline(),
            Role::Leading(leader) => Some(leader.deadline(&self.server)),
            Role::Learning(learner) => learner.deadline(&self.server),
        };
        let held = self.held.front().map(|held| held.since + self.server.options.held_ms_max);
        role.into_iter().chain(held).min()
    }

    /// The zxid of the next proposal; none if the server does not lead, or the epoch's zxids are used up. An ensemble of one goes on in the next epoch
    /// then, as a standalone ZooKeeper does.
    #[must_use]
    pub fn next_zxid(&self) -> Option<Zxid> {
        match &self.role {
            Role::Leading(leader) => leader.next_zxid(),
            Role::Alone => {
                let next = self.server.last().next();
                // (E, 0) is an epoch's position without a txn.
                Some(if next.counter() == 0 { next.next() } else { next })
            }
            _ => None,
        }
    }

    /// How far it is.
    #[must_use]
    pub fn positions(&self) -> Positions {
        let proposed = match &self.role {
            Role::Leading(leader) => leader.proposed(),
            _ => self.server.last(),
        };
        Positions { proposed, durable: self.server.durable, committed: self.server.committed }
    }

    /// Up to where a learner that takes part in this leader's broadcast has been told what is committed.
    #[must_use]
    pub fn told(&self, link: LinkId) -> Option<Zxid> {
        match &self.role {
            Role::Leading(leader) => leader.told(link),
            _ => None,
        }
    }

    /// What it does.
    #[must_use]
    pub fn role(&self) -> Office {
        let me = self.server.me();
        let some = |epoch: Epoch| (epoch > Epoch::default()).then_some(epoch);
        match &self.role {
            Role::Alone => Office {
                state: ServerState::Leading,
                leader: Some(me),
                epoch: Some(self.server.last().epoch()),
                is_serving: true,
            },
            Role::Draining | Role::Looking => {
                Office { state: ServerState::Looking, leader: None, epoch: None, is_serving: false }
            }
            Role::Leading(leader) => Office {
                state: ServerState::Leading,
                leader: Some(me),
                epoch: some(leader.epoch()),
                is_serving: leader.is_serving(),
            },
            Role::Learning(learner) => Office {
                state: learner.state(),
                leader: Some(learner.leader()),
                epoch: some(learner.epoch()),
                is_serving: learner.is_serving(),
            },
        }
    }

    /// Does it learn from a server that has said it is RingKeeper's?
    #[must_use]
    pub const fn leader_is_ours(&self) -> bool {
        matches!(&self.role, Role::Learning(learner) if learner.is_ours())
    }

    /// The time that a learner has to get in step, in ms: of what is not timed here the caller sees to it that something moves in it.
    #[must_use]
    pub fn init_ms(&self) -> Ms {
        self.server.options.init_ms()
    }

    /// The learners of this leader that have said who they are.
    pub fn learners(&self) -> impl Iterator<Item = LearnerSeen> + '_ {
        let leader = match &self.role {
            Role::Leading(leader) => Some(leader),
            _ => None,
        };
        leader.into_iter().flat_map(Leader::learners)
    }

    /// Was it told that the log is full?
    #[must_use]
    pub const fn is_log_full(&self) -> bool {
        self.server.is_full
    }

    /// The epochs on disk.
    #[must_use]
    pub const fn epochs(&self) -> Epochs {
        self.server.epochs
    }

    /// Which txns there are.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.server.history
    }

    /// Changes roles as far as it can at once.
    fn go_on(&mut self, now: Ms, leaves: Leaves, is_tick: bool, out: &mut Vec<Action>) {
        if let Err(cause) = leaves {
            self.look(cause, out);
        }
        if is_tick {
            self.let_go(now, out);
            if matches!(self.role, Role::Looking) {
                let Server { election, ensemble, .. } = &mut self.server;
                election.tick(now, ensemble, out);
            }
        }
        self.server.abstains_until.take_if(|until| *until <= now);
        let is_draining = matches!(self.role, Role::Draining) && self.server.abstains_until.is_none();
        if is_draining && self.server.is_drained() && self.server.has_all(out) {
            self.begin_election(now, out);
        }
        self.take_office(now, out);
    }

    /// There is no leader any more.
    fn look(&mut self, cause: Cause, out: &mut Vec<Action>) {
        match std::mem::replace(&mut self.role, Role::Draining) {
            Role::Leading(leader) => leader.end(out),
            Role::Learning(learner) => {
                match cause {
                    Cause::Protocol(_) => self.server.ended_badly(learner.leader(), false),
                    // With a lost link, too, something may be wrong with what was said: the leader knows, or the caller, who could not read it. One that ends before a word is
                    // dialled again by the learner itself, which has its own pauses.
                    Cause::LinkLost if learner.epoch() > Epoch::default() && !learner.is_serving() => {
                        self.server.ended_badly(learner.leader(), true);
                    }
                    Cause::OldEpoch => self.server.ended_badly(learner.leader(), true),
                    _ => {}
                }
                learner.end(cause, out);
            }
            Role::Draining | Role::Looking => {}
            Role::Alone => unreachable!("an ensemble of one has no leader to lose"),
        }
        out.push(Action::Look(cause));
    }

    fn history_lost(&mut self, now: Ms, out: &mut Vec<Action>) {
        self.server.is_whole = false;
        self.server.cutting = None;
        self.go_on(now, Err(Cause::HistoryLost), false, out);
    }

    /// Everything appended is durable: now it can be said how far this server is.
    fn begin_election(&mut self, now: Ms, out: &mut Vec<Action>) {
        self.server.restore_former(out);
        self.role = Role::Looking;
        let last = self.server.last_said();
        let Server { election, ensemble, epochs, .. } = &mut self.server;
        election.look(now, ensemble, last, epochs.current, out);
        for (from, vote) in std::mem::take(&mut self.votes) {
            election.voted(now, ensemble, from, vote, out);
        }
    }

    fn voted(&mut self, now: Ms, from: ServerId, vote: Vote, out: &mut Vec<Action>) {
        let mut leaves = Ok(());
        match &mut self.role {
            Role::Alone => return,
            // What is said now must not be lost, and cannot be answered yet.
            Role::Draining if self.server.ensemble.member(from).is_some() => {
                self.votes.insert(from, vote);
            }
            Role::Draining => {}
            role => {
                let Server { election, ensemble, .. } = &mut self.server;
                election.voted(now, ensemble, from, vote, out);
                match role {
                    Role::Leading(leader) => leaves = leader.voted(now, &mut self.server, from, &vote),
                    Role::Learning(learner) => leaves = learner.voted(&self.server, from, &vote),
                    _ => {}
                }
            }
        }
        self.go_on(now, leaves, false, out);
    }

    /// Acts on the outcome of the election, if there is one.
    fn take_office(&mut self, now: Ms, out: &mut Vec<Action>) {
        if !matches!(self.role, Role::Looking) {
            return;
        }
        let Some(leader) = self.server.election.elected() else { return };
        let current = self.server.epochs.current;
        if leader == self.server.me() && !self.server.is_whole {
            // Nobody counts the vote for a server whose history is not whole. Whoever sent these votes lies.
            return self.begin_election(now, out);
        }
        let held = std::mem::take(&mut self.held);
        if leader != self.server.me() {
            out.extend(held.into_iter().map(|held| Action::Close(held.link, LinkEnd::NotLeading)));
            let learner = Learner::begin(now, &self.server, leader, out);
            self.server.election.in_office(learner.state(), leader, current);
            self.role = Role::Learning(learner);
            return;
        }
        self.server.election.in_office(ServerState::Leading, leader, current);
        let (leader, leaves) = Leader::begin(now, &mut self.server, held.into(), out);
        self.role = Role::Leading(leader);
        if let Err(cause) = leaves {
            self.look(cause, out);
        }
    }

    /// Keeps the links that learners open, for the case that this server becomes their leader in a moment.
    fn hold(&mut self, now: Ms, input: &Input<'_>, out: &mut Vec<Action>) {
        match *input {
            Input::Accepted(link) => {
                if self.held.len() >= self.server.options.held_max
                    && let Some(oldest) = self.held.pop_front()
                {
                    out.push(Action::Close(oldest.link, LinkEnd::TooMany));
                }
                self.held.push_back(Held { link, since: now, hello: None });
            }
            Input::Lost(link) => self.held.retain(|held| held.link != link),
            Input::FromLearner(link, said) => {
                let Some(at) = self.held.iter().position(|held| held.link == link) else { return };
                match (said, self.held.get_mut(at)) {
                    (FromLearner::Info { observer, accepted_epoch, info }, Some(held)) if held.hello.is_none() => {
                        held.hello = Some(Hello::new(observer, accepted_epoch, &info));
                    }
                    _ => {
                        self.held.remove(at);
                        out.push(Action::Close(link, LinkEnd::Protocol("a packet before LEADERINFO")));
                    }
                }
            }
            Input::Dialled(link) => out.push(Action::Close(link, LinkEnd::Looking)),
            _ => {}
        }
    }

    /// Closes links that were held for too long.
    fn let_go(&mut self, now: Ms, out: &mut Vec<Action>) {
        let bound = self.server.options.held_ms_max;
        while let Some(oldest) = self.held.pop_front_if(|held| now - held.since >= bound) {
            out.push(Action::Close(oldest.link, LinkEnd::Looking));
        }
    }

    fn alone(&mut self, input: &Input<'_>, out: &mut Vec<Action>) {
        match *input {
            Input::Propose(zxid) => {
                let next = self.next_zxid();
                assert!(Some(zxid) == next, "{zxid} is proposed, {next:?} is next");
                self.server.history.push(zxid);
            }
            // A quorum of one: durable here is durable on a quorum (law 1).
            Input::Durable(_) => self.server.commit(self.server.durable, out),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(peer: &mut Peer, input: Input<'_>) -> Vec<Action> {
        let mut out = Vec::new();
        peer.step(0, input, &mut out);
        out
    }

    #[test]
    fn alone_nothing_is_committed_before_it_is_durable() {
        let mut peer = Peer::standalone(Zxid(7));
        assert_eq!(said(&mut peer, Input::Propose(Zxid(8))), []);
        assert_eq!(said(&mut peer, Input::Propose(Zxid(9))), []);
        assert_eq!(peer.positions(), Positions { proposed: Zxid(9), durable: Zxid(7), committed: Zxid(7) });
        assert_eq!(said(&mut peer, Input::Durable(Zxid(8))), [Action::Commit(Zxid(8))]);
        assert_eq!(said(&mut peer, Input::Durable(Zxid(8))), []);
        assert_eq!(said(&mut peer, Input::Durable(Zxid(9))), [Action::Commit(Zxid(9))]);
        assert!(peer.role().is_serving && peer.deadline().is_none());
    }

    #[test]
    fn alone_the_counter_runs_over_into_the_next_epoch() {
        let mut peer = Peer::standalone(Zxid::new(Epoch(3), u32::MAX));
        let next = peer.next_zxid();
        assert_eq!(next, Some(Zxid::new(Epoch(4), 1)));
        said(&mut peer, Input::Propose(Zxid::new(Epoch(4), 1)));
        assert_eq!(peer.role().epoch, Some(Epoch(4)));
    }

    #[test]
    #[should_panic(expected = "is next")]
    fn alone_a_gap_is_a_bug() {
        said(&mut Peer::standalone(Zxid(7)), Input::Propose(Zxid(9)));
    }

    /// A voter of an ensemble of one, once it serves, its disk being quick.
    fn voter_of_one(initial_counter: u32) -> Peer {
        let ensemble = Ensemble::parse("server.1=127.0.0.1:2888:3888:participant").unwrap();
        let last = Zxid::ZERO;
        let start = Start { epochs: Epochs::default(), history: History::new(last), committed: last, is_whole: true };
        let options = PeerOptions { initial_counter, ..PeerOptions::new(ServerId(1)) };
        let mut peer = Peer::new(options, ensemble, start);
        let mut out = said(&mut peer, Input::Tick);
        while let Some(Action::WriteEpochs { epochs, .. }) = out.pop() {
            out = said(&mut peer, Input::EpochsDurable(epochs));
        }
        peer
    }

    #[test]
    #[should_panic(expected = "links are held for 200 ms")]
    fn links_are_held_for_longer_than_an_election_waits() {
        let start = Start {
            epochs: Epochs::default(),
            history: History::new(Zxid::ZERO),
            committed: Zxid::ZERO,
            is_whole: true,
        };
        let options = PeerOptions { held_ms_max: 200, ..PeerOptions::new(ServerId(1)) };
        drop(Peer::new(options, Ensemble::default(), start));
    }

    #[test]
    fn when_the_zxids_of_an_epoch_are_used_up_and_committed_the_leader_leaves_off() {
        let last = Zxid::new(Epoch(1), u32::MAX - 1);
        // The way there is long; what counts is where it ends.
        let mut peer = voter_of_one(last.counter() - 1);
        assert!(peer.role().is_serving, "{peer:?}");
        assert_eq!(peer.next_zxid(), Some(last));
        said(&mut peer, Input::Propose(last));
        assert_eq!(peer.next_zxid(), None);
        let out = said(&mut peer, Input::Durable(last));
        assert_eq!(out.get(..2), Some(&[Action::Commit(last), Action::Look(Cause::EpochIsOver)][..]));
        assert!(
            matches!(out.last(), Some(Action::WriteEpochs { epochs, .. }) if epochs.accepted == Epoch(2)),
            "{out:?}"
        );
    }
}
