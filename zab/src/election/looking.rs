//! What a server has heard while it looks for a leader, and whom that elects.

use super::candidate::Candidate;
use super::{ElectionOptions, Reach, Vote};
use crate::ensemble::Ensemble;
use crate::event::Ms;
use proto::election::{ElectionEpoch, ServerState};
use proto::{LastZxid, ServerId};
use std::collections::BTreeMap;

/// One look: from the loss of a leader, or the start, to the next one. Its maps hold a vote of each voter at most.
#[derive(Clone, Debug)]
pub(super) struct Looking {
    me: ServerId,
    /// What this server says of itself at the beginning of a round.
    own: Candidate,
    /// Whom it votes for.
    pub(super) proposal: Candidate,
    /// The newest votes of this round, of servers that look and of those in office (Java's `recvset`).
    votes: BTreeMap<ServerId, Vote>,
    /// The newest votes of servers in office, of any round (`outofelection`).
    in_office: BTreeMap<ServerId, Vote>,
    /// Votes that count for nothing because somebody's history does not count (law 10).
    aside: BTreeMap<ServerId, Vote>,
    /// When the vote is said again, if it does not change before.
    pub(super) resend_at: Ms,
    /// How long after that once more.
    pub(super) interval_ms: Ms,
    /// When the proposal is elected, if nothing better comes before. It has a quorum.
    pub(super) finalize_at: Option<Ms>,
}

/// How the votes stand for the own proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has no quorum.
    Open,
    /// It has one, but a better vote may still come.
    Quorum,
    /// It has one, and nobody is left who could say a better one.
    Final,
}

/// What came of a vote of a server that looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing: it is of an older round.
    Old,
    /// Nothing but that its sender is alive: this server's history does not count, or the candidate's does not. Said for the first time?
    Aside {
        /// Whether it is news.
        news: bool,
    },
    /// It counts, and the proposal stands.
    Counted,
    /// It counts, the proposal is better, and its sender may not have heard of that.
    Worse,
    /// It is better, or of a newer round: the proposal is to be said anew.
    Changed,
}

impl Looking {
    pub(super) fn new(me: ServerId, own: Candidate, now: Ms, interval_ms: Ms) -> Looking {
        Looking {
            me,
            own,
            proposal: own,
            votes: BTreeMap::new(),
            in_office: BTreeMap::new(),
            aside: BTreeMap::new(),
            resend_at: now + interval_ms,
            interval_ms,
            finalize_at: None,
        }
    }

    /// What this server says while it looks.
    pub(super) fn vote(&self, round: ElectionEpoch) -> Vote {
        let Candidate { peer_epoch, zxid, leader } = self.proposal;
        Vote { state: ServerState::Looking, leader, zxid, round, peer_epoch }
    }

    /// Takes the vote of a voter that looks, for a voter. `round` moves on to a newer one.
    pub(super) fn hear_looking(
        &mut self,
        ensemble: &Ensemble,
        round: &mut ElectionEpoch,
        from: ServerId,
        vote: Vote,
    ) -> Heard {
        self.in_office.remove(&from);
        if self.own.zxid == LastZxid::NONE || vote.zxid == LastZxid::NONE {
            return Heard::Aside { news: self.aside.insert(from, vote) != Some(vote) };
        }
        self.aside.remove(&from);
        if vote.round < *round {
            return Heard::Old;
        }
        let theirs = vote.candidate();
        let mut heard = Heard::Counted;
        if vote.round > *round {
            *round = vote.round;
            self.votes.clear();
            self.proposal = self.own;
            heard = Heard::Changed;
        }
        if theirs.beats(&self.proposal, ensemble) {
            self.proposal = theirs;
            heard = Heard::Changed;
        }
        if heard == Heard::Changed {
            self.finalize_at = None;
        }
        let is_news = self.votes.insert(from, vote) != Some(vote);
        // Only of what is news: two servers of whom each takes its own proposal for the better one would go on for ever.
        if heard == Heard::Counted && is_news && self.proposal.beats(&theirs, ensemble) {
            heard = Heard::Worse;
        }
        heard
    }

    /// Takes the vote of a voter in office. If it shows an established leader that this server can join, true.
    pub(super) fn hear_in_office(
        &mut self,
        ensemble: &Ensemble,
        round: ElectionEpoch,
        from: ServerId,
        vote: Vote,
    ) -> bool {
        self.aside.remove(&from);
        let mut joins = false;
        if vote.round == round {
            self.votes.insert(from, vote);
            // Of the same round it is enough that servers in office name the same leader: its epoch begins while they answer. A server
            // that still looks must have voted for exactly this.
            let agrees = |other: &Vote| match other.state {
                ServerState::Looking => other.candidate() == vote.candidate(),
                _ => other.leader == vote.leader,
            };
            let others = self.votes.iter().filter(|(_, other)| agrees(other)).map(|(&id, _)| id);
            let own = (self.counts() && self.proposal == vote.candidate()).then_some(self.me);
            joins = ensemble.is_quorum(others.chain(own)) && self.leads(&self.votes, round, vote);
        }
        self.in_office.insert(from, vote);
        // Of other rounds it is the leader and its epoch, and not the zxid and the round: these are what each server knew when it joined
        // (ZOOKEEPER-1732, 1805).
        let agrees = |other: &Vote| (other.leader, other.peer_epoch) == (vote.leader, vote.peer_epoch);
        let others = self.in_office.iter().filter(|(_, other)| agrees(other)).map(|(&id, _)| id);
        joins || (ensemble.is_quorum(others) && self.leads(&self.in_office, round, vote))
    }

    /// A server cannot be reached: what it has said of its office is not to be relied on. Its votes of the round stand.
    pub(super) fn lost(&mut self, server: ServerId) {
        self.in_office.remove(&server);
        if self.votes.get(&server).is_some_and(|vote| vote.state != ServerState::Looking) {
            self.votes.remove(&server);
        }
    }

    /// Something new is under way: the vote is said again soon, and the intervals grow from the shortest.
    pub(super) fn hurry(&mut self, now: Ms, options: &ElectionOptions) {
        self.interval_ms = options.notification_ms_min;
        self.resend_at = self.resend_at.min(now.saturating_add(self.interval_ms));
    }

    /// How the votes stand for the proposal.
    pub(super) fn standing(&self, ensemble: &Ensemble, reach: &BTreeMap<ServerId, Reach>) -> Standing {
        if self.own.zxid == LastZxid::NONE {
            return Standing::Open;
        }
        // Votes of this round are for this leader if they are the same, and those of servers in office also with another epoch, if the leader
        // itself has come to one: see "In office in the same round".
        let leader = self.proposal.leader;
        let in_office = |vote: &Vote| vote.state != ServerState::Looking && vote.leader == leader;
        let leads = self.votes.get(&leader).is_some_and(|vote| vote.state == ServerState::Leading && in_office(vote));
        let is_same = |vote: &Vote| vote.candidate() == self.proposal || (leads && in_office(vote));
        let same = |id: ServerId| self.votes.get(&id).is_some_and(is_same);
        let own = self.counts().then_some(self.me);
        if !ensemble.is_quorum(ensemble.voters().filter(|&id| id != self.me && same(id)).chain(own)) {
            return Standing::Open;
        }
        let says_none = |id: ServerId| self.aside.get(&id).is_some_and(|vote| vote.zxid == LastZxid::NONE);
        let is_down = |id: ServerId| reach.get(&id) == Some(&Reach::Down);
        let all = ensemble.voters().all(|id| id == self.me || same(id) || says_none(id) || is_down(id));
        if all { Standing::Final } else { Standing::Quorum }
    }

    /// The first of what it waits for.
    pub(super) fn deadline(&self) -> Ms {
        self.finalize_at.map_or(self.resend_at, |finalize_at| finalize_at.min(self.resend_at))
    }

    /// Has the vote of this server a weight in what it sees? One whose history does not count votes for nobody; one without a vote is in no quorum.
    fn counts(&self) -> bool {
        self.own.zxid != LastZxid::NONE
    }

    /// Does the leader of an established vote say itself that it leads (`checkLeader`)? Otherwise a quorum that has not noticed yet would
    /// send everybody to a leader that is gone. If it is this server: only in the round that it is in, and never with a history that does
    /// not count (law 10; Java leaves that out).
    fn leads(&self, votes: &BTreeMap<ServerId, Vote>, round: ElectionEpoch, vote: Vote) -> bool {
        if vote.leader == self.me {
            return self.counts() && vote.round == round;
        }
        votes.get(&vote.leader).is_some_and(|leaders| leaders.state == ServerState::Leading)
    }
}
