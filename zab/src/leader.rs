//! The leader: it finds an epoch that a quorum accepts, brings a quorum into step with its history, and broadcasts.
//!
//! Owns the phases of one term of office and when a txn is a quorum's. What each learner gets is [`sync`]'s, what it said is [`link`]'s. It must
//! never count a server that has not acked NEWLEADER on a link that stands, nor itself before its own epoch is durable. It leaves office rather than
//! wait for what cannot come. The scripts `leader-*` and the random driver would catch a mistake. Mirrors `Leader` of 3.9.5.

mod link;
mod sync;

use crate::election::Vote;
use crate::event::{Action, Cause, Epochs, Input, LinkEnd, LinkId, Message, Ms};
use crate::server::{EPOCH_END, Server};
use link::{Link, Stage};
use proto::election::ServerState;
use proto::quorum::{FromLearner, LearnerInfo, is_ringkeeper};
use proto::{Epoch, LastZxid, ServerId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// A link that was held while it was not known who leads, and what came on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub link: LinkId,
    pub since: Ms,
    pub hello: Option<Hello>,
}

/// Whoever opens a link says this first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hello {
    pub server: ServerId,
    pub is_observer: bool,
    pub is_ours: bool,
    pub accepted: Epoch,
}

impl Hello {
    pub(crate) const fn new(observer: bool, accepted: Epoch, info: &LearnerInfo<'_>) -> Hello {
        let is_ours = is_ringkeeper(info.protocol_version);
        Hello { server: info.server, is_observer: observer, is_ours, accepted }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Leader {
    phase: Phase,
    /// When the phase began.
    since: Ms,
    /// The epoch of this office, once it is known.
    epoch: Epoch,
    learners: BTreeMap<LinkId, Link>,
    /// Who has promised the epoch. A promise holds without the link.
    promised: BTreeSet<ServerId>,
    /// Voters that look again since the office began, and have not come back.
    gone: BTreeSet<ServerId>,
    /// Are the own history and current epoch durable?
    is_own_durable: bool,
    /// The last proposal, or (epoch, 0).
    proposed: Zxid,
    /// When the learners are to be pinged and counted next.
    ping_at: Ms,
}

/// How far the office has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A quorum has to say what it has accepted.
    Discovery,
    /// The epoch that follows on it is being written.
    Accepting,
    /// A quorum has to promise it.
    Promises,
    /// A quorum has to take over the history.
    Synchronization,
    /// Requests are served.
    Broadcast,
}

/// A learner, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerSeen {
    /// Its link.
    pub link: LinkId,
    /// Who it is, as it has said.
    pub server: ServerId,
    /// Does it observe?
    pub is_observer: bool,
    /// Does it take part in the broadcast?
    pub is_in_step: bool,
}

/// Leaving office, and why.
pub(crate) type Leaves = Result<(), Cause>;

impl Leader {
    /// Takes office, with the links that were held for it.
    pub(crate) fn begin(now: Ms, server: &mut Server, held: Vec<Held>, out: &mut Vec<Action>) -> (Leader, Leaves) {
        let mut leader = Leader {
            phase: Phase::Discovery,
            since: now,
            epoch: Epoch::default(),
            learners: BTreeMap::new(),
            promised: BTreeSet::new(),
            gone: BTreeSet::new(),
            is_own_durable: false,
            proposed: server.last(),
            ping_at: now + server.options.ping_ms(),
        };
        for Held { link, hello, .. } in held {
            leader.accept(now, server, link, out);
            if let Some(hello) = hello {
                leader.hello(now, server, link, hello, out);
            }
        }
        let leaves = leader.discover(now, server, out);
        (leader, leaves)
    }

    /// Takes one input.
    ///
    /// # Errors
    /// Why it leaves office.
    pub(crate) fn step(&mut self, now: Ms, server: &mut Server, input: &Input<'_>, out: &mut Vec<Action>) -> Leaves {
        self.take(now, server, input, out)?;
        if self.is_over(server) {
            return Err(Cause::EpochIsOver);
        }
        if self.can_be_done_without(now, server) {
            server.leaves_full(now);
            return Err(Cause::Full);
        }
        Ok(())
    }

    fn take(&mut self, now: Ms, server: &mut Server, input: &Input<'_>, out: &mut Vec<Action>) -> Leaves {
        match *input {
            Input::Accepted(link) => self.accept(now, server, link, out),
            // The answer to a dial from before the office.
            Input::Dialled(link) => out.push(Action::Close(link, LinkEnd::Looking)),
            Input::Lost(link) => {
                self.learners.remove(&link);
            }
            Input::FromLearner(link, ref said) => return self.said(now, server, link, said, out),
            Input::Room { link, has_room } => {
                if let Some(learner) = self.learners.get_mut(&link) {
                    learner.has_room = has_room;
                }
            }
            Input::Synced { link, to } => self.synced(now, server, link, to, out),
            Input::Propose(zxid) => self.propose(server, zxid),
            Input::Durable(_) => self.advance(now, server, out),
            Input::EpochsDurable(_) => return self.epochs_durable(now, server, out),
            Input::Tick => return self.tick(now, server, out),
            _ => {}
        }
        Ok(())
    }

    /// A vote on the election port of a server that looks. Before the office is established it may show that no quorum comes to establish it, so that this server
    /// asks again; Java waits for initLimit. It does so in two ways.
    /// - A voter that looks in a newer round has left, and joins a leader again only where a quorum is in office without it; one without a link that cannot be
    ///   reached does not come either: [`Cause::NotEstablished`] where no quorum is left.
    /// - A voter says a better vote of the round that this server was elected in: [`Cause::Overtaken`]. It has come late, or has heard of one that has, and
    ///   whoever looked still when he heard of that elects another, too. A vote that is not better changes nobody's in this round: who comes with
    ///   one is no reason to leave those who may be about to come.
    ///
    /// # Errors
    /// If so.
    pub(crate) fn voted(&mut self, now: Ms, server: &mut Server, from: ServerId, vote: &Vote) -> Leaves {
        if self.is_serving() || vote.state != ServerState::Looking || self.is_here(server, from) {
            return Ok(());
        }
        if vote.round > server.election.round() {
            self.gone.insert(from);
            let may_come = |id: ServerId| !self.gone.contains(&id) && !server.election.is_down(id);
            let rest = server.ensemble.voters().filter(|&id| self.is_here(server, id) || may_come(id));
            return if server.ensemble.is_quorum(rest) { Ok(()) } else { Err(Cause::NotEstablished) };
        }
        let has_come = server.ensemble.is_quorum(server.ensemble.voters().filter(|&id| self.is_here(server, id)));
        if has_come || now < server.stands_until || !server.election.is_beaten(&server.ensemble, from, vote) {
            return Ok(());
        }
        server.stands_until = now + server.options.init_ms();
        Err(Cause::Overtaken)
    }

    /// Is it this server, or one that has a link to it?
    fn is_here(&self, server: &Server, id: ServerId) -> bool {
        id == server.me() || self.learners.values().any(|link| link.server == Some(id))
    }

    /// Closes the links: the office ends.
    pub(crate) fn end(self, out: &mut Vec<Action>) {
        out.extend(self.learners.into_keys().map(|link| Action::Close(link, LinkEnd::NotLeading)));
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Those that have said who they are.
    pub(crate) fn learners(&self) -> impl Iterator<Item = LearnerSeen> + '_ {
        self.learners.iter().filter_map(|(link, learner)| {
            let is_in_step = learner.stage == Stage::UpToDate;
            Some(LearnerSeen { link: *link, server: learner.server?, is_observer: learner.is_observer, is_in_step })
        })
    }

    /// What a learner that takes part knows to be committed.
    pub(crate) fn told(&self, link: LinkId) -> Option<Zxid> {
        self.learners.get(&link).filter(|learner| learner.stage == Stage::UpToDate).map(|learner| learner.told)
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.phase == Phase::Broadcast
    }

    pub(crate) const fn proposed(&self) -> Zxid {
        self.proposed
    }

    /// The zxid of the next proposal, if there can be one. The last counter of an epoch is not used, as in ZooKeeper.
    pub(crate) fn next_zxid(&self) -> Option<Zxid> {
        (self.is_serving() && self.proposed.counter() < COUNTER_MAX).then(|| self.proposed.next())
    }

    pub(crate) fn deadline(&self, server: &Server) -> Ms {
        if self.is_serving() { self.ping_at } else { self.ping_at.min(self.since + server.options.init_ms()) }
    }

    fn accept(&mut self, now: Ms, server: &Server, link: LinkId, out: &mut Vec<Action>) {
        if self.learners.len() >= server.options.learners_max {
            out.push(Action::Close(link, LinkEnd::TooMany));
            return;
        }
        let before = self.learners.insert(link, Link::new(now));
        assert!(before.is_none(), "{link:?} is used twice");
    }

    fn close(&mut self, link: LinkId, end: LinkEnd, out: &mut Vec<Action>) {
        if self.learners.remove(&link).is_some() {
            out.push(Action::Close(link, end));
        }
    }

    fn said(
        &mut self,
        now: Ms,
        server: &mut Server,
        link: LinkId,
        said: &FromLearner<'_>,
        out: &mut Vec<Action>,
    ) -> Leaves {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.heard = now;
        let result = match *said {
            FromLearner::Info { observer, accepted_epoch, ref info } => {
                self.hello(now, server, link, Hello::new(observer, accepted_epoch, info), out);
                return self.discover(now, server, out);
            }
            FromLearner::AckEpoch { last_zxid, current_epoch } => {
                return self.promise(now, server, link, last_zxid, current_epoch, out);
            }
            FromLearner::Ack(zxid) => self.ack(now, server, link, zxid, out),
            _ if learner.stage.is_in_step() => Ok(()),
            _ => Err("a packet before the ACK of NEWLEADER"),
        };
        if let Err(what) = result {
            self.close(link, LinkEnd::Protocol(what), out);
        }
        Ok(())
    }

    /// FOLLOWERINFO or OBSERVERINFO.
    fn hello(&mut self, now: Ms, server: &mut Server, link: LinkId, hello: Hello, out: &mut Vec<Action>) {
        let is_known = self.learners.get(&link).is_some_and(|learner| learner.stage == Stage::Connected);
        if !is_known || hello.server == server.me() || hello.accepted >= EPOCH_END {
            self.close(link, LinkEnd::Protocol("a FOLLOWERINFO that cannot be"), out);
            return;
        }
        let former =
            self.learners.iter().find(|(_, learner)| learner.server == Some(hello.server)).map(|(link, _)| *link);
        if let Some(former) = former {
            self.close(former, LinkEnd::Replaced, out);
        }
        if !hello.is_observer && server.ensemble.is_voter(hello.server) {
            server.promised_elsewhere = server.promised_elsewhere.max(hello.accepted);
        }
        let epoch_is_known = matches!(self.phase, Phase::Promises | Phase::Synchronization | Phase::Broadcast);
        let Some(learner) = self.learners.get_mut(&link) else { return };
        learner.introduce(now, hello);
        self.gone.remove(&hello.server);
        if epoch_is_known {
            learner.stage = Stage::Asked;
            out.push(Action::Send(link, Message::LeaderInfo(self.epoch)));
        }
    }

    /// Who of the ensemble is at least so far, this server apart.
    fn voters(&self, server: &Server, is_so_far: impl Fn(&Link) -> bool) -> impl Iterator<Item = ServerId> {
        let so_far = self.learners.values().filter(|learner| !learner.is_observer && is_so_far(learner));
        so_far
            .filter_map(|learner| learner.server)
            .filter(|id| server.ensemble.is_voter(*id))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Goes on once a quorum has said what it has accepted.
    fn discover(&mut self, now: Ms, server: &mut Server, out: &mut Vec<Action>) -> Leaves {
        if self.phase != Phase::Discovery {
            // It promised a newer epoch to another, and could follow this leader never again. The next election finds a newer one for all.
            let is_newer = server.promised_elsewhere > self.epoch;
            return if is_newer && self.phase != Phase::Accepting { Err(Cause::NewerPromise) } else { Ok(()) };
        }
        let informed = self.voters(server, |learner| learner.stage != Stage::Connected);
        if server.ensemble.is_quorum(informed.chain([server.me()])) {
            let newest = self.learners.values().map(|learner| learner.accepted).max().unwrap_or_default();
            let newest = newest.max(server.epochs.accepted).max(server.promised_elsewhere);
            self.epoch = Epoch(newest.0 + 1);
            self.enter(Phase::Accepting, now);
            let epochs = Epochs { accepted: self.epoch, ..server.epochs };
            server.write_epochs(epochs, None, out);
        }
        Ok(())
    }

    fn enter(&mut self, phase: Phase, now: Ms) {
        self.phase = phase;
        self.since = now;
    }

    fn epochs_durable(&mut self, now: Ms, server: &mut Server, out: &mut Vec<Action>) -> Leaves {
        match self.phase {
            // Nothing has been said of this epoch yet; who has come meanwhile with a newer promise could never follow.
            Phase::Accepting if server.promised_elsewhere > self.epoch => Err(Cause::NewerPromise),
            Phase::Accepting => {
                self.enter(Phase::Promises, now);
                self.promised.insert(server.me());
                for (link, learner) in &mut self.learners {
                    if learner.stage == Stage::Informed {
                        learner.stage = Stage::Asked;
                        out.push(Action::Send(*link, Message::LeaderInfo(self.epoch)));
                    }
                }
                self.synchronize(now, server, out);
                Ok(())
            }
            _ => {
                self.is_own_durable = true;
                self.establish(now, server, out);
                self.advance(now, server, out);
                Ok(())
            }
        }
    }

    /// ACKEPOCH.
    fn promise(
        &mut self,
        now: Ms,
        server: &mut Server,
        link: LinkId,
        last: LastZxid,
        current: Option<Epoch>,
        out: &mut Vec<Action>,
    ) -> Leaves {
        let Some(learner) = self.learners.get_mut(&link).filter(|learner| learner.stage == Stage::Asked) else {
            self.close(link, LinkEnd::Protocol("an ACKEPOCH that nothing asked for"), out);
            return Ok(());
        };
        learner.stage = Stage::Promised { last };
        // A voter of weight 0 is in no quorum, so that nothing is committed of what it alone has; and it could not lead in this one's place.
        let counts = |id: &ServerId| server.ensemble.is_voter(*id) && server.ensemble.weight(*id) > 0;
        let voter = learner.server.filter(|id| !learner.is_observer && counts(id));
        // Whoever does not know what it had can promise nothing, nor forbid anything (law 10).
        if let (Phase::Promises, Some(voter), Some(current)) = (self.phase, voter, current)
            && last != LastZxid::NONE
        {
            if (current, last) > (server.epochs.current, server.last().into()) {
                self.close(link, LinkEnd::Ahead, out);
                return Err(Cause::Behind);
            }
            self.promised.insert(voter);
        }
        self.synchronize(now, server, out);
        Ok(())
    }

    /// Brings the learners into step, once a quorum has promised the epoch.
    fn synchronize(&mut self, now: Ms, server: &mut Server, out: &mut Vec<Action>) {
        if self.phase == Phase::Promises && server.ensemble.is_quorum(self.promised.iter().copied()) {
            self.enter(Phase::Synchronization, now);
            server.write_epochs(Epochs { accepted: self.epoch, current: self.epoch }, None, out);
        }
        if matches!(self.phase, Phase::Synchronization | Phase::Broadcast) {
            self.bring_into_step(now, server, out);
        }
    }

    /// ACK, of NEWLEADER or of a proposal.
    fn ack(
        &mut self,
        now: Ms,
        server: &mut Server,
        link: LinkId,
        zxid: Zxid,
        out: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        if learner.ack(now, zxid, Zxid::new(self.epoch, 0))? {
            self.establish(now, server, out);
            self.advance(now, server, out);
            self.admit(now, server, out);
        } else {
            self.advance(now, server, out);
        }
        Ok(())
    }

    /// Begins to serve, once a quorum has taken over the history.
    fn establish(&mut self, now: Ms, server: &mut Server, out: &mut Vec<Action>) {
        if self.phase != Phase::Synchronization {
            return;
        }
        let own = self.is_own_durable.then_some(server.me());
        if !server.ensemble.is_quorum(self.voters(server, |learner| learner.stage.is_in_step()).chain(own)) {
            return;
        }
        self.enter(Phase::Broadcast, now);
        self.proposed = self.first(server);
        server.commit(server.last(), out);
        server.release(out);
        server.has_served();
        server.election.in_office(ServerState::Leading, server.me(), self.epoch);
        out.push(Action::Lead(self.epoch));
        self.admit(now, server, out);
        self.bring_into_step(now, server, out);
    }

    /// The epoch's first position, which no txn has.
    const fn first(&self, server: &Server) -> Zxid {
        Zxid::new(self.epoch, server.options.initial_counter)
    }

    fn propose(&mut self, server: &mut Server, zxid: Zxid) {
        assert!(self.next_zxid() == Some(zxid), "{zxid} is proposed, {:?} is next", self.next_zxid());
        self.proposed = zxid;
        server.history.push(zxid);
    }

    /// Commits what a quorum has.
    fn advance(&mut self, now: Ms, server: &mut Server, out: &mut Vec<Action>) {
        if self.phase != Phase::Broadcast || server.committed == self.proposed {
            return;
        }
        let own = self.is_own_durable.then_some((server.me(), server.durable));
        let voters = self.learners.values().filter(|learner| learner.stage.is_in_step() && !learner.is_observer);
        let positions: Vec<_> =
            voters.filter_map(|learner| Some((learner.server?, learner.acked))).chain(own).collect();
        let reached = server.ensemble.reached(&positions);
        // What is older is committed with the office's beginning.
        if let Some(zxid) = reached.filter(|zxid| *zxid > self.first(server)) {
            server.commit(zxid, out);
            self.admit(now, server, out);
        }
    }

    /// Have all zxids of the epoch been used, and committed?
    fn is_over(&self, server: &Server) -> bool {
        self.is_serving() && self.proposed.counter() >= COUNTER_MAX && server.committed >= self.proposed
    }

    /// Is the own log full, and are those in step a quorum without it? Not again soon after it has left for that: all may be full, and then nothing is gained
    /// by going from one to the next.
    fn can_be_done_without(&self, now: Ms, server: &Server) -> bool {
        server.may_leave_for_space(now)
            && self.is_serving()
            && server.ensemble.is_quorum(self.voters(server, |learner| learner.stage == Stage::UpToDate))
    }

    fn tick(&mut self, now: Ms, server: &mut Server, out: &mut Vec<Action>) -> Leaves {
        if !self.is_serving() && now >= self.since + server.options.init_ms() {
            return Err(Cause::NotEstablished);
        }
        if now < self.ping_at {
            return Ok(());
        }
        self.ping_at = now + server.options.ping_ms();
        let silent: Vec<_> =
            self.learners.iter().filter(|(_, l)| l.is_silent(now, &server.options)).map(|(link, _)| *link).collect();
        for link in silent {
            self.close(link, LinkEnd::Silent, out);
        }
        if self.is_serving() {
            let heard_of = self.voters(server, |learner| learner.stage.has_promised());
            if !server.ensemble.is_quorum(heard_of.chain([server.me()])) {
                return Err(Cause::NoQuorum);
            }
        }
        let proposed = self.proposed.max(Zxid::new(self.epoch, 0));
        for (link, learner) in &self.learners {
            // Without room, too: it is one packet for each half of a tick, and an observer would say nothing otherwise and pass for dead.
            if learner.is_pinged() {
                out.push(Action::Send(*link, Message::Ping(proposed)));
            }
        }
        Ok(())
    }
}

/// The last counter of an epoch that is used (`Leader.propose`).
const COUNTER_MAX: u32 = u32::MAX - 1;
