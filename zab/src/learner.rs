//! The learner, a follower or an observer: it finds its leader, takes over its history, and takes part in its broadcast.
//!
//! Owns the order of the leader's packets, and what of them may be shown. What comes before UPTODATE is logged and not shown: a COMMIT among it is not yet
//! a quorum's. It must never let an ACK leave but behind what it acks, nor a promise but behind the epoch on disk: both are said as what waits for a
//! write. Whatever does not fit ends the link, and the election begins anew; nothing is lost by that. The scripts `learner-*` and `java-*`, and
//! the random driver, would catch a mistake. Mirrors `Learner`, `Follower`, `Observer` of 3.9.5; leaders of 3.8 say the same.

use crate::election::Vote;
use crate::event::{Action, Cause, Epochs, Gate, Input, LinkEnd, LinkId, Message, Ms};
use crate::leader::Leaves;
use crate::server::{EPOCH_END, Server};
use proto::election::ServerState;
use proto::quorum::{FromLeader, is_ringkeeper};
use proto::{Epoch, LastZxid, ServerId, Zxid};
use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
pub(crate) struct Learner {
    leader: ServerId,
    is_observer: bool,
    stage: Stage,
    /// The link, once it stands.
    link: Option<LinkId>,
    /// When the leader was first dialled.
    dialled: Ms,
    /// How long the next pause before a dial is.
    pause_ms: Ms,
    /// Has a link stood that ended before the leader had said a word?
    was_turned_away: bool,
    /// When the leader was last heard of.
    heard: Ms,
    /// The leader's epoch, once it has said it.
    epoch: Epoch,
    /// The zxid of the state that it sent, if it did: older txns that follow are in it.
    base: Option<Zxid>,
    /// What the leader has said is committed; before UPTODATE the start of its history, too.
    told: Zxid,
    /// What it has proposed beyond that, oldest first: what waits for a COMMIT. The window keeps the bytes of each of them.
    untold: VecDeque<Zxid>,
    /// Does a server of ours lead? It gives every zxid of its epoch to a txn; Java's leaves some out.
    is_ours: bool,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The leader is being dialled.
    Dialling,
    /// It did not listen, or hung up at once, or the last link came to a bad end: once more at this time.
    Pausing { until: Ms },
    /// FOLLOWERINFO has been sent.
    Informed,
    /// The epoch of LEADERINFO is being written.
    Promising,
    /// ACKEPOCH has been sent.
    Promised,
    /// The log is being cut.
    Cutting,
    /// A state is being taken.
    Taking,
    /// The history is being completed.
    Completing,
    /// NEWLEADER has come; the epoch is being written.
    TakingOver,
    /// NEWLEADER has been acked.
    TakenOver,
    /// UPTODATE has come.
    UpToDate,
}

impl Learner {
    /// Dials the leader, at once unless the last link to it came to a bad end.
    pub(crate) fn begin(now: Ms, server: &Server, leader: ServerId, out: &mut Vec<Action>) -> Learner {
        let dialled = now + server.pause_before(leader);
        let stage = if dialled > now { Stage::Pausing { until: dialled } } else { Stage::Dialling };
        if stage == Stage::Dialling {
            out.push(Action::Dial(leader));
        }
        Learner {
            leader,
            is_observer: !server.ensemble.is_voter(server.me()),
            stage,
            link: None,
            dialled,
            pause_ms: PAUSE_MS_MIN,
            was_turned_away: false,
            heard: now,
            epoch: Epoch::default(),
            base: None,
            told: Zxid::ZERO,
            untold: VecDeque::new(),
            is_ours: false,
        }
    }

    /// Takes one input.
    ///
    /// # Errors
    /// Why it looks for a leader anew.
    pub(crate) fn step(&mut self, now: Ms, server: &mut Server, input: &Input<'_>, out: &mut Vec<Action>) -> Leaves {
        match *input {
            Input::Dialled(link) if self.stage == Stage::Dialling => {
                self.link = Some(link);
                self.heard = now;
                self.stage = Stage::Informed;
                let accepted = server.epochs.accepted;
                out.push(Action::Send(link, Message::Info { observer: self.is_observer, accepted }));
                Ok(())
            }
            Input::Dialled(link) => {
                out.push(Action::Close(link, LinkEnd::Looking));
                Ok(())
            }
            Input::NotDialled if self.stage == Stage::Dialling => self.not_dialled(now, server),
            Input::Accepted(link) => {
                out.push(Action::Close(link, LinkEnd::NotLeading));
                Ok(())
            }
            Input::Lost(link) if self.link == Some(link) => {
                self.link = None;
                self.lost(now, server)
            }
            Input::Reachable { server: other, is_up: false } if other == self.leader && self.was_turned_away => {
                let is_waiting = matches!(self.stage, Stage::Dialling | Stage::Pausing { .. });
                if is_waiting { Err(Cause::LinkLost) } else { Ok(()) }
            }
            Input::FromLeader(link, ref said) if self.link == Some(link) => {
                self.heard = now;
                self.said(server, link, said, out)
            }
            Input::EpochsDurable(_) => {
                self.epochs_durable(now);
                Ok(())
            }
            Input::IsCut { .. } if self.stage == Stage::Cutting => {
                self.heard = now;
                self.complete(server)
            }
            Input::SnapTaken { link, zxid } if self.link == Some(link) && self.stage == Stage::Taking => {
                self.heard = now;
                self.snap_taken(server, zxid);
                Ok(())
            }
            Input::Tick => self.tick(now, server, out),
            _ => Ok(()),
        }
    }

    /// A vote on the election port. A leader that has not said a word yet, and now looks for another, or in a newer round, will not: nothing is left to wait for.
    /// It may want this server's vote. Java waits.
    ///
    /// # Errors
    /// If so.
    pub(crate) fn voted(&self, server: &Server, from: ServerId, vote: &Vote) -> Leaves {
        let is_waiting = matches!(self.stage, Stage::Dialling | Stage::Pausing { .. } | Stage::Informed);
        if from != self.leader || !is_waiting || vote.state != ServerState::Looking {
            return Ok(());
        }
        let round = server.election.round();
        let looks_elsewhere = vote.round > round || (vote.round == round && vote.leader != self.leader);
        if looks_elsewhere { Err(Cause::NotLeading) } else { Ok(()) }
    }

    /// Closes the link, for this reason.
    pub(crate) fn end(self, cause: Cause, out: &mut Vec<Action>) {
        let end = match cause {
            Cause::Silent => LinkEnd::Silent,
            Cause::Protocol(what) => LinkEnd::Protocol(what),
            Cause::OldEpoch => LinkEnd::OldEpoch,
            _ => LinkEnd::Looking,
        };
        if let Some(link) = self.link {
            out.push(Action::Close(link, end));
        }
    }

    pub(crate) const fn leader(&self) -> ServerId {
        self.leader
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) const fn is_ours(&self) -> bool {
        self.is_ours
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.stage == Stage::UpToDate
    }

    pub(crate) const fn state(&self) -> ServerState {
        if self.is_observer { ServerState::Observing } else { ServerState::Following }
    }

    pub(crate) fn deadline(&self, server: &Server) -> Option<Ms> {
        match self.stage {
            Stage::Pausing { until } => Some(until),
            Stage::Dialling => Some(self.dialled + server.options.dial_ms_max),
            _ => Some(self.heard + self.silence_ms(server)?),
        }
    }

    fn not_dialled(&mut self, now: Ms, server: &Server) -> Leaves {
        let until = now + self.pause_ms;
        if until >= self.dialled + server.options.dial_ms_max {
            return Err(Cause::NotDialled);
        }
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MS_MAX);
        self.stage = Stage::Pausing { until };
        Ok(())
    }

    /// The link has ended. Before the leader has said a word that is as if nobody had been there: a Java server takes its office up to 200 ms later than it is
    /// elected, and whatever stands between may take a link for it until then. To ask again in a newer round would leave it alone in its own for initLimit, and
    /// then the same again. It is not waited for if it is gone, which the election port tells, too, sooner or later.
    fn lost(&mut self, now: Ms, server: &Server) -> Leaves {
        if self.stage != Stage::Informed || server.election.is_down(self.leader) {
            return Err(Cause::LinkLost);
        }
        self.was_turned_away = true;
        self.not_dialled(now, server)
    }

    /// How long the leader may be silent; for ever where this server is busy with what it sent.
    fn silence_ms(&self, server: &Server) -> Option<Ms> {
        match self.stage {
            Stage::Cutting | Stage::Taking | Stage::Promising | Stage::TakingOver => None,
            Stage::TakenOver | Stage::UpToDate => Some(server.options.sync_ms()),
            _ => Some(server.options.init_ms()),
        }
    }

    fn tick(&mut self, now: Ms, server: &Server, out: &mut Vec<Action>) -> Leaves {
        match self.stage {
            Stage::Pausing { until } if now >= until => {
                self.stage = Stage::Dialling;
                out.push(Action::Dial(self.leader));
                Ok(())
            }
            Stage::Dialling if now >= self.dialled + server.options.dial_ms_max => Err(Cause::NotDialled),
            Stage::Pausing { .. } | Stage::Dialling => Ok(()),
            _ if self.silence_ms(server).is_some_and(|bound| now >= self.heard + bound) => Err(Cause::Silent),
            _ => Ok(()),
        }
    }

    fn epochs_durable(&mut self, now: Ms) {
        self.heard = now;
        match self.stage {
            Stage::Promising => self.stage = Stage::Promised,
            Stage::TakingOver => self.stage = Stage::TakenOver,
            stage => unreachable!("epochs are durable, and the learner is {stage:?}"),
        }
    }

    fn said(&mut self, server: &mut Server, link: LinkId, said: &FromLeader<'_>, out: &mut Vec<Action>) -> Leaves {
        match (self.stage, *said) {
            (_, FromLeader::Revalidate { .. } | FromLeader::Sync) => Ok(()),
            (Stage::Informed, FromLeader::LeaderInfo { epoch, protocol_version, .. }) => {
                self.is_ours = is_ringkeeper(protocol_version);
                self.leader_info(server, link, epoch, out)
            }
            (Stage::Promised, FromLeader::Diff(_)) => self.complete(server),
            (Stage::Promised, FromLeader::Trunc(to)) => self.trunc(server, to, out),
            (Stage::Promised, FromLeader::Snap(zxid)) => self.snap(server, link, zxid, out),
            (Stage::Cutting | Stage::Taking, _) => panic!("{said:?} was stepped before its turn"),
            (Stage::UpToDate, FromLeader::Ping(zxid)) => {
                out.push(Action::Send(link, Message::Pong(zxid)));
                Ok(())
            }
            (_, FromLeader::Ping(_)) => Ok(()),
            (Stage::Completing, FromLeader::NewLeader { zxid, .. }) => self.new_leader(server, link, zxid, out),
            (Stage::TakenOver, FromLeader::UpToDate) => {
                self.up_to_date(server, link, out);
                Ok(())
            }
            (Stage::Completing | Stage::TakingOver | Stage::TakenOver | Stage::UpToDate, said) => {
                self.txn(server, link, said, out)
            }
            _ => Err(Cause::Protocol("a packet at the wrong place")),
        }
    }

    /// A packet with a txn, or about one.
    fn txn(&mut self, server: &mut Server, link: LinkId, said: FromLeader<'_>, out: &mut Vec<Action>) -> Leaves {
        match said {
            // In the broadcast these are for followers.
            FromLeader::Proposal { .. } | FromLeader::Commit(_) | FromLeader::CommitAndActivate { .. }
                if self.is_observer && self.stage == Stage::UpToDate =>
            {
                Ok(())
            }
            FromLeader::Proposal { zxid, .. } => self.proposal(server, link, zxid, out),
            FromLeader::Commit(zxid) | FromLeader::CommitAndActivate { zxid, .. } => self.commit(server, zxid, out),
            FromLeader::Inform { zxid, .. } | FromLeader::InformAndActivate { zxid, .. } if self.is_observer => {
                self.proposal(server, link, zxid, out)?;
                self.commit(server, zxid, out)
            }
            _ => Err(Cause::Protocol("a packet at the wrong place")),
        }
    }

    fn leader_info(&mut self, server: &mut Server, link: LinkId, epoch: Epoch, out: &mut Vec<Action>) -> Leaves {
        let Epochs { accepted, current } = server.epochs;
        let last = server.last_said();
        // What an observer has promised is in no quorum. A leader that is established asks for no newer epoch on its account, so that it could not come
        // back; it keeps away from who is older than the leader that it was last in step with.
        if epoch < if self.is_observer { current } else { accepted } {
            return Err(Cause::OldEpoch);
        }
        if epoch >= EPOCH_END {
            return Err(Cause::Protocol("an epoch that cannot be"));
        }
        self.epoch = epoch;
        if epoch <= accepted {
            // It was promised before, or a newer one, maybe to another: that counts once.
            out.push(Action::Send(link, Message::AckEpoch { last, current: None }));
            self.stage = Stage::Promised;
        } else {
            let message = Message::AckEpoch { last, current: Some(current) };
            server.write_epochs(Epochs { accepted: epoch, current }, Some(Gate { link, message }), out);
            self.stage = Stage::Promising;
        }
        Ok(())
    }

    /// From here on the history is completed: what there is of it is the start of the leader's.
    fn complete(&mut self, server: &Server) -> Leaves {
        if !server.is_whole && server.former.is_none() {
            return Err(Cause::Protocol("a DIFF for a server that has asked for everything"));
        }
        self.told = server.last();
        self.stage = Stage::Completing;
        Ok(())
    }

    fn trunc(&mut self, server: &mut Server, to: LastZxid, out: &mut Vec<Action>) -> Leaves {
        let Some(to) = to.zxid().filter(|to| *to <= server.last()) else {
            return Err(Cause::Protocol("a TRUNC that is none"));
        };
        if to < server.committed {
            // A quorum had it, and clients have seen it. That a leader lacks it is for a person to look at.
            return Err(Cause::Protocol("a TRUNC of what is committed"));
        }
        if !server.is_whole {
            return Err(Cause::Protocol("a TRUNC for a server that has asked for everything"));
        }
        server.cut(to, out);
        self.stage = Stage::Cutting;
        Ok(())
    }

    fn snap(&mut self, server: &mut Server, link: LinkId, zxid: Zxid, out: &mut Vec<Action>) -> Leaves {
        if zxid.epoch() >= EPOCH_END {
            return Err(Cause::Protocol("a SNAP of an epoch that cannot be"));
        }
        server.keep_former();
        out.push(Action::TakeSnap { link, zxid, epoch: self.epoch, is_ours: self.is_ours });
        self.stage = Stage::Taking;
        Ok(())
    }

    fn snap_taken(&mut self, server: &mut Server, zxid: Zxid) {
        server.begin_with(zxid);
        self.base = Some(zxid);
        self.told = zxid;
        self.stage = Stage::Completing;
    }

    fn proposal(&mut self, server: &mut Server, link: LinkId, zxid: Zxid, out: &mut Vec<Action>) -> Leaves {
        if self.is_in_base(zxid) {
            return Ok(());
        }
        // Older epochs may have been led by Java, whoever leads now.
        let is_whole = self.is_ours && zxid.epoch() == self.epoch;
        let fits = if is_whole { server.history.is_next(zxid) } else { server.history.is_later(zxid) };
        if !fits || zxid.epoch() > self.epoch {
            return Err(Cause::Protocol("a PROPOSAL out of order"));
        }
        // What comes before NEWLEADER is acked by it, or right behind it.
        let is_acked = self.stage != Stage::Completing && !self.is_observer;
        let then = is_acked.then_some(Gate { link, message: Message::Ack(zxid) });
        server.append(zxid, then, out);
        self.untold.push_back(zxid);
        Ok(())
    }

    /// A Java leader's state is of a later zxid than the txns that it goes on with: those are in it. A host may have swallowed them already; ours has.
    fn is_in_base(&self, zxid: Zxid) -> bool {
        self.stage == Stage::Completing && self.base.is_some_and(|base| zxid <= base)
    }

    fn commit(&mut self, server: &mut Server, zxid: Zxid, out: &mut Vec<Action>) -> Leaves {
        if self.is_in_base(zxid) {
            return Ok(());
        }
        if self.untold.pop_front_if(|next| *next == zxid).is_none() {
            let is_within = self.told < zxid && zxid < server.last() && zxid.counter() > 0;
            if !is_within || self.untold.contains(&zxid) {
                return Err(Cause::Protocol("a COMMIT out of order"));
            }
            // The leader gave it to a txn after all, and what stands behind it in the log was acknowledged.
            server.missing = Some(zxid);
            return Err(Cause::Protocol("a COMMIT of what was not proposed"));
        }
        self.told = zxid;
        if self.stage == Stage::UpToDate {
            server.commit(zxid, out);
        }
        Ok(())
    }

    fn new_leader(&mut self, server: &mut Server, link: LinkId, zxid: Zxid, out: &mut Vec<Action>) -> Leaves {
        if zxid != Zxid::new(self.epoch, 0) {
            return Err(Cause::Protocol("a NEWLEADER of another epoch"));
        }
        if self.told < server.committed && server.committed.counter() > 0 {
            // As with TRUNC. A state that is older is none of it yet: a leader that is not established goes on with the txns after it.
            return Err(Cause::Protocol("a history without what is committed"));
        }
        // What is committed with the office's beginning came with a COMMIT. Without one there is only what the leader has proposed itself.
        if self.untold.front().is_some_and(|untold| untold.epoch() != self.epoch) {
            return Err(Cause::Protocol("a PROPOSAL of another epoch without a COMMIT"));
        }
        let after = self.told.max(zxid);
        let to = if self.is_observer { after } else { server.last().max(after) };
        let message = Message::AckNewLeader { epoch: self.epoch, after, to };
        server.take_over(self.epoch, Gate { link, message }, out);
        self.stage = Stage::TakingOver;
        Ok(())
    }

    fn up_to_date(&mut self, server: &mut Server, link: LinkId, out: &mut Vec<Action>) {
        self.stage = Stage::UpToDate;
        out.push(Action::Send(link, Message::Ack(Zxid::new(self.epoch, 0))));
        if self.base.is_none() {
            server.commit(self.told, out);
        } else {
            // The state may be older than what was shown before: the caller goes on from there.
            server.committed = server.committed.max(self.told);
            out.push(Action::Commit(self.told));
        }
        server.release(out);
        server.has_served();
        server.election.in_office(self.state(), self.leader, self.epoch);
        out.push(Action::Follow(link));
    }
}

/// The first pause before the leader is dialled again; the next ones are twice as long each.
const PAUSE_MS_MIN: Ms = 10;
/// The longest one.
const PAUSE_MS_MAX: Ms = 1_000;
