//! Fast leader election, on the election port: who is to be followed, found by votes that everybody says to everybody.
//!
//! Owns rounds, votes and who has won. It must never know of links, of the quorum port, of a configuration's text or of time but for what it is told.
//! It says [`Action::Vote`] and nothing else. It fails never: a vote that means nothing is dropped, and one that is lost is said again. A newer configuration in
//! a notification is the caller's: it gives another [`Ensemble`] and calls [`Election::look`] anew. Mirrors `FastLeaderElection` of 3.9.5 (3.8 speaks and votes
//! alike). The scripts under `tests/scripts/election`, the clusters of `tests/election/cluster.rs` and Java's recorded elections in
//! `tests/election/recorded.rs` would catch a mistake.
//!
//! # The rules
//! - **Round** (`logicalclock`): a look begins a new one with the vote for itself. A vote of a newer round ends the own one; a vote of an older round is answered with the
//!   own vote, and counts for nothing.
//! - **The better vote wins**: by peer epoch, zxid, id. Whoever hears a better one in its round makes it its own and says so to all voters. A server of weight 0 is nobody's
//!   choice.
//! - **A worse vote of the same round is answered** with the own one, once. Who lost the leader a moment later than this server had no use for its vote yet, and would hear it again
//!   only when it is repeated (Java's waits for that, 200 ms).
//! - **Elected** is the own proposal once a quorum has voted for exactly it in this round, or is in office under it (below).
//! - **Who is in office answers** a server that looks, with the vote that elected its leader, in the round of that election, and with the leader's epoch once it is known. A
//!   quorum of such answers for one leader is joined, if the leader itself is among those who answered: in the same round together with the votes of those that still look, and without a
//!   regard for rounds by what servers in office say alone. The joiner takes over the round.
//! - **Voters alone** count, and votes for voters. A server without a vote (an observer, one that is not in the ensemble) says `i64::MIN` for everything, learns like
//!   others, and is answered when it asks, but answers nobody.
//! - **No history** (law 10): a voter with zxid -1 ([`LastZxid::NONE`]) takes no part in a round, its votes are put aside by all, and it joins a leader
//!   in office. So does Java. It is never elected, not even by those who still follow it from before.
//!
//! # The wait before the end, and when there is none
//! Java waits 200 ms with a quorum in hand. That wait is never what makes an outcome safe: an election is a guess, and two servers may well be sent off
//! to two leaders. A leader begins only once a quorum has promised it an epoch, and none of them has a better history; quorums meet. What the wait buys is
//! that the guess is the best one and is everybody's, since a better vote on its way would otherwise undo it. So it is left out where no better vote can
//! come: each other voter has voted for the same in this round (a voter's vote only rises within a round, and what it rises to is a vote that another voter began with), or
//! has no history to vote for, or is known to be away. A server of which nothing is known yet, as after the start, is waited for; and so is one that this server
//! has never reached since its own start: at a first start all of them begin at about the same time, and who refuses a connection may be there a moment later,
//! with a better vote that another hears in time. A server was there, and is away, if it has been reached before, or if this server has been in an office that
//! was established without it. So who fails is not waited for: neither the leader, nor who was away before.
//!
//! Whoever wins earlier than a Java server must have patience: that one takes its office up to 200 ms later. A learner dials again, and a leader stays
//! ([`Cause::Overtaken`](crate::Cause::Overtaken) says when it does not).
//!
//! # In office in the same round
//! Java looks at the votes of a round in two ways. Whenever a server that looks says something it counts those that are exactly its own proposal, in office or
//! not, and asks nobody whether the leader lives. Whenever a server in office says something it counts those in office that name the same leader, and those that still look if
//! they have voted for exactly what it said; and the leader must have said LEADING. The epoch falls between the two: a leader that has come to a new one says so, and
//! the vote that elected it, which the server that looks still has for its own, is the same no more. Java's server then waits for a quorum in office without itself.
//!
//! Here a server in office of the same round counts for the own proposal with whatever epoch, **if the leader itself says in this round that it leads**. So a server that
//! reaches the leader and not the other followers joins it, and a leader that has just lost a follower keeps its quorum.
//! - It is safe: an election is a guess (see below), and this one sends a server to somebody who said in this round that it leads, and whom a quorum of this
//!   round has voted for, the joiner included. Nothing that a Java server hears from the joiner is different: it follows, in the round and with
//!   the vote of its election, and with the epoch once it has it.
//! - It is live: the leader's word alone makes the difference. Without it, followers that have not noticed yet that their leader is gone would send a server to where nobody
//!   is, while they look already and need its vote. They leave the old round with their next word, and the server that waited goes with them.
//!
//! Votes that are exactly the proposal count without the leader's word, as in Java: a leader that has been elected and says nothing yet must find its followers there.
//!
//! # Where it differs from Java
//! None of it is seen by a peer that could count on it.
//! - An observer that asks a server that looks gets its proposal. Java's says whom it followed before, which sends observers to the dead leader.
//! - A server without a vote answers nobody, and one that looks in an older round than such a server does not answer it. In Java they do, and since a voter answers
//!   whatever a server without a vote says, the two of them go on as fast as the network carries it until there is a leader.
//! - A server that looks again, or cannot be reached, is not in office any more: Java keeps what it has said until the look ends.
//! - The interval between repetitions begins anew with each change of the own vote and with each connection.

mod candidate;
mod looking;

use crate::ensemble::Ensemble;
use crate::event::{Action, Ms};
use candidate::Candidate;
use looking::{Heard, Looking, Standing};
use proto::election::{ElectionEpoch, PeerEpoch, ServerState};
use proto::{Epoch, LastZxid, ServerId};
use std::collections::BTreeMap;

/// The election of one server, from its start to its end.
#[derive(Clone, Debug)]
pub struct Election {
    me: ServerId,
    options: ElectionOptions,
    round: ElectionEpoch,
    phase: Phase,
    /// Voters whose connection stands or does not. Of the others nothing is known yet.
    reach: BTreeMap<ServerId, Reach>,
}

impl Election {
    /// Of a server that has just started: it says nothing before [`Election::look`].
    ///
    /// # Panics
    /// On intervals below 1 ms, or a shortest that is longer than the longest: the configuration has refused them.
    #[must_use]
    pub fn new(me: ServerId, options: ElectionOptions) -> Election {
        let ElectionOptions { notification_ms_min: min, notification_ms_max: max, finalize_wait_ms: wait } = options;
        assert!(0 < min && min <= max && 0 <= wait, "an election cannot be timed with {options:?}");
        Election { me, options, round: ElectionEpoch(0), phase: Phase::Idle, reach: BTreeMap::new() }
    }

    /// LOOKING begins: a new round with the vote for itself, or, without a vote of its own, for nobody. `last` is the end of its durable history and
    /// `current` its current epoch. A quorum of one is [`Election::elected`] at once.
    pub fn look(&mut self, now: Ms, ensemble: &Ensemble, last: LastZxid, current: Epoch, out: &mut Vec<Action>) {
        // Saturating: a peer may say any round, and everybody goes with it.
        self.round = ElectionEpoch(self.round.0.saturating_add(1));
        let is_voter = ensemble.is_voter(self.me);
        let own = if is_voter { Candidate::itself(self.me, last, current) } else { Candidate::NOBODY };
        self.reach.retain(|&server, _| ensemble.is_voter(server));
        self.phase = Phase::Looking(Looking::new(self.me, own, now, self.options.notification_ms_min));
        self.broadcast(now, ensemble, out);
        self.count(now, ensemble);
    }

    /// The outcome has been acted on: in office under this leader, in this ZAB epoch, so that servers that look are answered. To be said again when the
    /// epoch changes; before it is said, they are answered with the epoch of the vote. Said again, the office is established: whoever could not be reached
    /// meanwhile is not about to start with the others, but away.
    ///
    /// # Panics
    /// If the state is LOOKING, which is no office.
    pub fn in_office(&mut self, state: ServerState, leader: ServerId, epoch: Epoch) {
        assert!(state != ServerState::Looking, "a server that looks is not in office");
        let zxid = match &self.phase {
            Phase::Looking(looking) => looking.proposal.zxid,
            Phase::Elected(vote) | Phase::InOffice(vote) => vote.zxid,
            Phase::Idle => LastZxid(0),
        };
        if matches!(self.phase, Phase::InOffice(_)) {
            let not_yet = self.reach.values_mut().filter(|reach| **reach == Reach::NotYet);
            not_yet.for_each(|reach| *reach = Reach::Down);
        }
        let peer_epoch = PeerEpoch(i64::from(epoch.0));
        self.phase = Phase::InOffice(Vote { state, leader, zxid, round: self.round, peer_epoch });
    }

    /// A server says whom it votes for.
    pub fn voted(&mut self, now: Ms, ensemble: &Ensemble, from: ServerId, vote: Vote, out: &mut Vec<Action>) {
        if from == self.me {
            return;
        }
        let asks = vote.state == ServerState::Looking;
        if !ensemble.is_voter(from) {
            // Of an older round it learns nothing, and Java's would answer that with the same again.
            let teaches = |answer: &Vote| answer.state != ServerState::Looking || vote.round <= answer.round;
            let answer = self.answer(ensemble).filter(|answer| asks && teaches(answer));
            out.extend(answer.map(|vote| Action::Vote { to: from, vote }));
            return;
        }
        let is_looking = matches!(self.phase, Phase::Looking(_));
        if asks && (!is_looking || vote.round < self.round) {
            out.extend(self.answer(ensemble).map(|vote| Action::Vote { to: from, vote }));
        }
        if is_looking && ensemble.is_voter(vote.leader) {
            self.hear(now, ensemble, from, vote, out);
        }
    }

    /// A connection to a server on the election port stands, or does not: it has ended, or an attempt has failed.
    pub fn reachable(&mut self, now: Ms, ensemble: &Ensemble, server: ServerId, is_up: bool, out: &mut Vec<Action>) {
        if server == self.me || !ensemble.is_voter(server) {
            return;
        }
        let reach = match (is_up, self.reach.get(&server)) {
            (true, _) => Reach::Up,
            (false, None | Some(Reach::NotYet)) => Reach::NotYet,
            (false, Some(Reach::Up | Reach::Down)) => Reach::Down,
        };
        self.reach.insert(server, reach);
        let Phase::Looking(looking) = &mut self.phase else { return };
        if is_up {
            out.push(Action::Vote { to: server, vote: looking.vote(self.round) });
            looking.hurry(now, &self.options);
        } else {
            looking.lost(server);
            self.count(now, ensemble);
        }
    }

    /// Time has passed: says the vote again, or ends the wait.
    pub fn tick(&mut self, now: Ms, ensemble: &Ensemble, out: &mut Vec<Action>) {
        let Phase::Looking(looking) = &self.phase else { return };
        if looking.finalize_at.is_some_and(|finalize_at| finalize_at <= now) {
            let vote = looking.vote(self.round);
            self.elect(ensemble, vote);
        } else if looking.resend_at <= now {
            let interval_ms = looking.interval_ms.saturating_mul(2).min(self.options.notification_ms_max);
            self.broadcast(now, ensemble, out);
            if let Phase::Looking(looking) = &mut self.phase {
                looking.interval_ms = interval_ms;
                looking.resend_at = now.saturating_add(interval_ms);
            }
        }
    }

    /// Who has won, from then on until [`Election::in_office`] or [`Election::look`] is called.
    #[must_use]
    pub fn elected(&self) -> Option<ServerId> {
        match &self.phase {
            Phase::Elected(vote) => Some(vote.leader),
            Phase::Idle | Phase::Looking(_) | Phase::InOffice(_) => None,
        }
    }

    /// The round that it is in, or that its office is of.
    pub(crate) const fn round(&self) -> ElectionEpoch {
        self.round
    }

    /// Is it known that this voter cannot be reached?
    pub(crate) fn is_down(&self, server: ServerId) -> bool {
        matches!(self.reach.get(&server), Some(Reach::Down | Reach::NotYet))
    }

    /// It is in office: is this a voter's vote of the same round, and better than the one that elected the leader?
    pub(crate) fn is_beaten(&self, ensemble: &Ensemble, from: ServerId, vote: &Vote) -> bool {
        let (Phase::Elected(own) | Phase::InOffice(own)) = &self.phase else { return false };
        let counts = ensemble.is_voter(from) && ensemble.is_voter(vote.leader) && vote.zxid != LastZxid::NONE;
        counts && vote.round == own.round && vote.candidate().beats(&own.candidate(), ensemble)
    }

    /// When [`Election::tick`] is to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Ms> {
        match &self.phase {
            Phase::Looking(looking) => Some(looking.deadline()),
            Phase::Idle | Phase::Elected(_) | Phase::InOffice(_) => None,
        }
    }

    /// What this server says when it is asked. Nothing before its first look, and nothing without a vote: it would be no news to anybody, and Java's
    /// voters answer whatever such a server says.
    fn answer(&self, ensemble: &Ensemble) -> Option<Vote> {
        let vote = match &self.phase {
            Phase::Idle => None,
            Phase::Looking(looking) => Some(looking.vote(self.round)),
            Phase::Elected(vote) | Phase::InOffice(vote) => Some(*vote),
        };
        vote.filter(|_| ensemble.is_voter(self.me))
    }

    /// Works off a voter's vote for a voter, while this server looks.
    fn hear(&mut self, now: Ms, ensemble: &Ensemble, from: ServerId, vote: Vote, out: &mut Vec<Action>) {
        let Phase::Looking(looking) = &mut self.phase else { return };
        match vote.state {
            ServerState::Observing => {}
            ServerState::Following | ServerState::Leading => {
                if looking.hear_in_office(ensemble, self.round, from, vote) {
                    self.elect(ensemble, vote);
                } else {
                    self.count(now, ensemble);
                }
            }
            ServerState::Looking => match looking.hear_looking(ensemble, &mut self.round, from, vote) {
                Heard::Old | Heard::Aside { news: false } => {}
                // An election is under way in which this server has no part: it will soon want to know how that ended.
                Heard::Aside { news: true } => looking.hurry(now, &self.options),
                Heard::Counted => self.count(now, ensemble),
                Heard::Worse => {
                    out.push(Action::Vote { to: from, vote: looking.vote(self.round) });
                    self.count(now, ensemble);
                }
                Heard::Changed => {
                    self.broadcast(now, ensemble, out);
                    self.count(now, ensemble);
                }
            },
        }
    }

    /// Elects the proposal if that is final, or begins, goes on with or gives up the wait for it.
    fn count(&mut self, now: Ms, ensemble: &Ensemble) {
        let Phase::Looking(looking) = &mut self.phase else { return };
        match looking.standing(ensemble, &self.reach) {
            Standing::Open => looking.finalize_at = None,
            Standing::Quorum => {
                looking.finalize_at.get_or_insert(now.saturating_add(self.options.finalize_wait_ms));
            }
            Standing::Final => {
                let vote = looking.vote(self.round);
                self.elect(ensemble, vote);
            }
        }
    }

    /// The look has ended with this vote: from here on servers that look are told so.
    fn elect(&mut self, ensemble: &Ensemble, vote: Vote) {
        let state = if vote.leader == self.me {
            ServerState::Leading
        } else if ensemble.is_voter(self.me) {
            ServerState::Following
        } else {
            ServerState::Observing
        };
        self.round = vote.round;
        self.phase = Phase::Elected(Vote { state, ..vote });
    }

    /// Says the vote to all other voters, those that cannot be reached too: the caller connects to them for it.
    fn broadcast(&mut self, now: Ms, ensemble: &Ensemble, out: &mut Vec<Action>) {
        let Phase::Looking(looking) = &mut self.phase else { return };
        looking.interval_ms = self.options.notification_ms_min;
        looking.resend_at = now.saturating_add(looking.interval_ms);
        let vote = looking.vote(self.round);
        out.extend(ensemble.voters().filter(|&to| to != self.me).map(|to| Action::Vote { to, vote }));
    }
}

/// A server's vote, and what it is doing: a notification without its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// What the sender is doing.
    pub state: ServerState,
    /// Whom it votes for, or follows.
    pub leader: ServerId,
    /// The last zxid of that server.
    pub zxid: LastZxid,
    /// The sender's round.
    pub round: ElectionEpoch,
    /// The current epoch of that server.
    pub peer_epoch: PeerEpoch,
}

impl Vote {
    fn candidate(&self) -> Candidate {
        Candidate { peer_epoch: self.peer_epoch, zxid: self.zxid, leader: self.leader }
    }
}

/// The times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionOptions {
    /// How long after a vote it is said again, if nothing changes; then twice as long each time
    /// (`zookeeper.fastleader.minNotificationInterval`).
    pub notification_ms_min: Ms,
    /// The longest that becomes (`zookeeper.fastleader.maxNotificationInterval`).
    pub notification_ms_max: Ms,
    /// How long a better vote is waited for where one may come.
    pub finalize_wait_ms: Ms,
}

impl Default for ElectionOptions {
    fn default() -> ElectionOptions {
        ElectionOptions { notification_ms_min: 200, notification_ms_max: 60_000, finalize_wait_ms: 200 }
    }
}

/// What the election is at.
#[derive(Clone, Debug)]
enum Phase {
    /// The server has not looked yet.
    Idle,
    /// It looks.
    Looking(Looking),
    /// It knows who has won, and answers so, but nobody has acted on it.
    Elected(Vote),
    /// It is in office.
    InOffice(Vote),
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// It stands.
    Up,
    /// It does not, and did, or this server has been in office without it.
    Down,
    /// It does not, and has not since the start: the other may be about to start, too.
    NotYet,
}
