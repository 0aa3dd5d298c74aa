//! What a server has and knows, whoever leads.
//!
//! Owns the epochs on disk, the history, the positions durable and committed, and what of its disk is under way. It must never know of links.
//! The roles ([`crate::leader`], [`crate::learner`]) change it; what is asserted here is the caller's order of inputs.

use crate::election::{Election, ElectionOptions};
use crate::ensemble::Ensemble;
use crate::event::{Action, Epochs, Gate, Ms};
use crate::history::History;
use proto::{Epoch, LastZxid, ServerId, Zxid};

/// Settings of a peer.
#[derive(Clone, Debug)]
pub struct PeerOptions {
    /// This server.
    pub me: ServerId,
    /// ZooKeeper's tick, in ms.
    pub tick_ms: Ms,
    /// Ticks until a learner has to be in step, and a leader established.
    pub init_limit: i64,
    /// Ticks of silence, or without an ACK that is due, after which the other is given up.
    pub sync_limit: i64,
    /// For how long a leader that does not answer, or hangs up at once, is dialled, in ms: it may not have taken its office yet.
    pub dial_ms_max: Ms,
    /// Does every learner that joins get the whole state, whatever it lacks (`forceSnapshotSync`)?
    pub always_snap: bool,
    /// The position at which the epochs of its offices begin: 0. A test lets an epoch come to its end sooner, as with ZooKeeper's
    /// `zookeeper.testingonly.initialZxid`. A learner of ours takes no such epoch of a leader of ours: zxids are left out in it (law 2).
    pub initial_counter: u32,
    /// Learners that a leader serves at the most; further ones are turned away.
    pub learners_max: usize,
    /// Links that are kept while it is not known who leads; of more the oldest is closed.
    pub held_max: usize,
    /// For how long, in ms. More than an election waits with a quorum in hand: whoever comes has ended its wait, and this server's may have begun with that
    /// one's last vote.
    pub held_ms_max: Ms,
    /// Of the election.
    pub election: ElectionOptions,
}

impl PeerOptions {
    /// ZooKeeper's defaults, for this server.
    #[must_use]
    pub fn new(me: ServerId) -> PeerOptions {
        PeerOptions {
            me,
            tick_ms: 2_000,
            init_limit: 10,
            sync_limit: 5,
            dial_ms_max: 5_000,
            always_snap: false,
            initial_counter: 0,
            learners_max: 1_000,
            held_max: 64,
            held_ms_max: 2_000,
            election: ElectionOptions::default(),
        }
    }

    /// Time to get in step, in ms.
    pub(crate) const fn init_ms(&self) -> Ms {
        self.init_limit * self.tick_ms
    }

    /// From one PING to the next, in ms.
    pub(crate) fn ping_ms(&self) -> Ms {
        (self.tick_ms / 2).max(1)
    }

    /// Silence that is borne, in ms.
    pub(crate) const fn sync_ms(&self) -> Ms {
        self.sync_limit * self.tick_ms
    }
}

/// What recovery has found.
#[derive(Clone, Debug)]
pub struct Start {
    /// The epochs of the control file.
    pub epochs: Epochs,
    /// What log and base hold, all of it durable.
    pub history: History,
    /// Up to here it is known to be committed: what the base holds, unless it came from elsewhere.
    pub committed: Zxid,
    /// Is that all that this server ever had (law 10)? If not, it counts for nobody until it has taken a whole state.
    pub is_whole: bool,
}

/// How far a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// The last txn in the log, or a leader's (epoch, 0) before its first.
    pub proposed: Zxid,
    /// The log is durable up to here.
    pub durable: Zxid,
    /// A quorum has everything up to here.
    pub committed: Zxid,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Server {
    pub options: PeerOptions,
    pub ensemble: Ensemble,
    pub election: Election,
    /// Those on disk.
    pub epochs: Epochs,
    /// Those that are on their way there.
    pub writing: Option<Writing>,
    /// What the log is being cut to.
    pub cutting: Option<Zxid>,
    /// A txn within the history that it turns out not to have.
    pub missing: Option<Zxid>,
    pub history: History,
    /// Later txns are in memory.
    pub forgot: Zxid,
    pub durable: Zxid,
    /// The last txn that is known to be committed.
    pub committed: Zxid,
    pub is_whole: bool,
    /// What is in force while a state is taken, and until it is adopted.
    pub former: Option<Former>,
    /// What an adopted state took the place of may be on disk still. Of what was before this process nothing is known.
    keeps: bool,
    /// The newest epoch that any server has said to have promised.
    pub promised_elsewhere: Epoch,
    /// The log takes no more writes for want of space.
    pub is_full: bool,
    /// When it last left office for that.
    left_full: Option<Ms>,
    /// Until when it has no part in an election, having left for that.
    pub abstains_until: Option<Ms>,
    /// Until then it is not [overtaken](crate::Cause::Overtaken) again: a voter whom nobody else reaches must not keep the others from a leader.
    pub stands_until: Ms,
    /// The leader whose last link came to a bad end, and how long the pause before the next dial is.
    shunned: Option<(ServerId, Ms)>,
}

/// Epochs on their way to the disk.
#[derive(Debug)]
pub(crate) struct Writing {
    epochs: Epochs,
    /// The end of the log before them.
    after: Zxid,
    /// Does a state come into force with them?
    adopts: bool,
}

/// A history that a state is about to take the place of.
#[derive(Debug)]
pub(crate) struct Former {
    history: History,
    durable: Zxid,
}

/// The first pause before a leader is dialled again whose link came to a bad end.
const BAD_LINK_PAUSE_MS_MIN: Ms = 10;
/// The longest one: what a server that cannot follow costs the leader's log.
const BAD_LINK_PAUSE_MS_MAX: Ms = 5_000;

/// A leader with a full log leaves office once in this many initLimits.
const FULL_AGAIN_INITS: Ms = 10;

impl Server {
    pub(crate) fn new(options: PeerOptions, ensemble: Ensemble, start: Start) -> Server {
        let Start { epochs, history, committed, is_whole } = start;
        let last = history.last();
        assert!(committed <= last, "{committed} is committed, and the history ends with {last}");
        let (held_ms, wait_ms) = (options.held_ms_max, options.election.finalize_wait_ms);
        assert!(held_ms > wait_ms, "links are held for {held_ms} ms, and an election may wait for {wait_ms} ms");
        let accepted = epochs.accepted.max(epochs.current);
        Server {
            election: Election::new(options.me, options.election),
            options,
            ensemble,
            epochs: Epochs { accepted, ..epochs },
            writing: None,
            cutting: None,
            missing: None,
            history,
            forgot: last,
            durable: last,
            committed,
            is_whole,
            former: None,
            keeps: true,
            promised_elsewhere: Epoch::default(),
            is_full: false,
            left_full: None,
            abstains_until: None,
            stands_until: 0,
            shunned: None,
        }
    }

    pub(crate) const fn me(&self) -> ServerId {
        self.options.me
    }

    pub(crate) fn last(&self) -> Zxid {
        self.history.last()
    }

    /// The end of the history, as others are told (law 10).
    pub(crate) fn last_said(&self) -> LastZxid {
        if self.is_whole { self.last().into() } else { LastZxid::NONE }
    }

    /// Is everything on disk that was said to be written?
    pub(crate) fn is_drained(&self) -> bool {
        self.writing.is_none() && self.cutting.is_none() && self.durable >= self.last()
    }

    /// The log is full, or is not any more.
    pub(crate) fn full(&mut self, is_full: bool) {
        self.is_full = is_full;
        if !is_full {
            self.left_full = None;
            self.abstains_until = None;
        }
    }

    /// It leaves office because its log is full. For a time it has no part in an election, so that another is elected. For a time only: if the others come to be
    /// no quorum, readers are better served by an ensemble that it leads than by none.
    pub(crate) fn leaves_full(&mut self, now: Ms) {
        self.left_full = Some(now);
        self.abstains_until = Some(now + self.options.init_ms());
    }

    /// May it leave office because its log is full?
    pub(crate) fn may_leave_for_space(&self, now: Ms) -> bool {
        self.is_full && self.left_full.is_none_or(|left| now - left >= FULL_AGAIN_INITS * self.options.init_ms())
    }

    /// The link to this leader has ended because of what was said on it, or before anything came of it. The same would be said again, as often as there is a new link: the
    /// next one is put off, each time for twice as long. Not the first time that a link was just `lost`: leaders come and go.
    pub(crate) fn ended_badly(&mut self, leader: ServerId, lost: bool) {
        // The leader waits for this server for initLimit.
        let longest = BAD_LINK_PAUSE_MS_MAX.min(self.options.init_ms() / 4).max(BAD_LINK_PAUSE_MS_MIN);
        let pause_ms = match self.shunned {
            Some((shunned, before)) if shunned == leader => (before * 2).clamp(BAD_LINK_PAUSE_MS_MIN, longest),
            _ if lost => 0,
            _ => BAD_LINK_PAUSE_MS_MIN,
        };
        self.shunned = Some((leader, pause_ms));
    }

    /// How long it is to wait before it dials this leader, in ms.
    pub(crate) fn pause_before(&self, leader: ServerId) -> Ms {
        self.shunned.filter(|(shunned, _)| *shunned == leader).map_or(0, |(_, pause_ms)| pause_ms)
    }

    /// It serves: what came of earlier links does not count any more.
    pub(crate) const fn has_served(&mut self) {
        self.shunned = None;
    }

    pub(crate) fn write_epochs(&mut self, epochs: Epochs, then: Option<Gate>, out: &mut Vec<Action>) {
        assert!(self.writing.is_none(), "{:?} are being written", self.writing);
        assert!(epochs.accepted >= epochs.current, "{epochs:?}");
        self.writing = Some(Writing { epochs, after: self.last(), adopts: false });
        out.push(Action::WriteEpochs { epochs, then });
    }

    /// Writes the epochs of a leader whose history has been taken over, and with them its state, if it has sent one.
    pub(crate) fn take_over(&mut self, current: Epoch, then: Gate, out: &mut Vec<Action>) {
        let adopts = self.former.is_some();
        if adopts {
            out.push(Action::Adopt);
        }
        self.write_epochs(Epochs { current, ..self.epochs }, Some(then), out);
        if let Some(writing) = &mut self.writing {
            writing.adopts = adopts;
        }
    }

    /// Appends a txn that came from a leader.
    pub(crate) fn append(&mut self, zxid: Zxid, then: Option<Gate>, out: &mut Vec<Action>) {
        self.history.push(zxid);
        out.push(Action::Append { zxid, then });
    }

    pub(crate) fn commit(&mut self, zxid: Zxid, out: &mut Vec<Action>) {
        if zxid > self.committed {
            self.committed = zxid;
            out.push(Action::Commit(zxid));
        }
    }

    pub(crate) fn durable(&mut self, zxid: Zxid) {
        assert!(zxid <= self.last(), "{zxid} is durable, only {} is proposed", self.last());
        self.durable = self.durable.max(zxid);
    }

    pub(crate) fn epochs_durable(&mut self, epochs: Epochs) {
        let written = self.writing.take().filter(|written| written.epochs == epochs);
        let Writing { after, adopts, .. } = written.expect("the epochs that are durable are those that were written");
        self.epochs = epochs;
        // The log makes its queue durable in order.
        self.durable = self.durable.max(after);
        if adopts {
            self.former = None;
            self.keeps = true;
            self.is_whole = true;
        }
    }

    /// A quorum has this server's history.
    pub(crate) fn release(&mut self, out: &mut Vec<Action>) {
        if std::mem::take(&mut self.keeps) {
            out.push(Action::Release);
        }
    }

    /// A txn is missing, so that what stands behind it is worth nothing: the log is cut to where it should be. That it does not end there then says that the history is
    /// not whole, on the disk, too (law 10). True if there is nothing to be done.
    pub(crate) fn has_all(&mut self, out: &mut Vec<Action>) -> bool {
        // In a state that was not adopted it will be discarded with that.
        match self.missing.take().filter(|_| self.is_whole && self.former.is_none()) {
            Some(missing) => self.cut(missing, out),
            None => return true,
        }
        false
    }

    pub(crate) fn cut(&mut self, to: Zxid, out: &mut Vec<Action>) {
        assert!(self.is_drained(), "a cut while the log is written");
        self.cutting = Some(to);
        out.push(Action::Cut(to));
    }

    /// The cut is done, and the log ends with `last`. Says whether that is what was asked for: a position without a txn has no record.
    pub(crate) fn is_cut(&mut self, last: Zxid) -> bool {
        let to = self.cutting.take().expect("it is cut because it was to be");
        if to < self.history.floor() {
            // An older state has been fallen back on. What came before it is not known here.
            self.history = History::new(to);
        } else {
            self.history.cut(to);
        }
        self.durable = self.last();
        self.forgot = self.forgot.min(self.last());
        last == to || (to.counter() == 0 && last < to)
    }

    /// The log was purged up to here: that of the history in force, while a state that is to take its place is on its way.
    pub(crate) fn purged(&mut self, floor: Zxid) {
        self.former.as_mut().map_or(&mut self.history, |former| &mut former.history).raise_floor(floor);
    }

    /// A state is about to be taken.
    pub(crate) fn keep_former(&mut self) {
        let former = Former { history: self.history.clone(), durable: self.durable };
        assert!(self.former.replace(former).is_none(), "two states at once");
    }

    /// The state is here.
    pub(crate) fn begin_with(&mut self, base: Zxid) {
        self.history = History::new(base);
        self.durable = base;
        self.forgot = base;
    }

    /// The state, and what was appended after it, have come to nothing.
    pub(crate) fn restore_former(&mut self, out: &mut Vec<Action>) {
        if let Some(Former { history, durable }) = self.former.take() {
            out.push(Action::Discard);
            self.history = history;
            self.durable = durable;
            self.forgot = self.last();
        }
    }
}

/// Epochs from here on are no epochs: as the high half of a zxid they make a Java server's negative.
pub(crate) const EPOCH_END: Epoch = Epoch(i32::MAX.cast_unsigned());
