//! The replica: the ZAB peer with prep and sessions around it. It orders what the shards forward, or hands it to the leader; it hands txns to the
//! log, and once they are committed applies them and fills the stream.
//!
//! Owns the order of everything that is not a read: pending txns, replies that wait for them, session ownership and expiry. What it does depends on the
//! peer's role ([`Part`]): `requests` is a leader's (and a standalone server's) work for its own clients, `learners` for those of its learners, `follow` a
//! learner's; `handshake` and `local` are both's. Applying goes on in every role. The consensus core drives it ([`crate::turn`]) and it alone changes the tree. It must never do I/O or read a
//! clock: each call brings the time. Every queue in it is bounded by [`Replica::is_full`], which the core asks before it takes more from a shard.

mod applying;
mod containers;
mod figures;
mod follow;
mod forward;
mod handshake;
mod learners;
mod local;
mod predicted;
mod requests;
mod window;

pub use figures::EnsembleFigures;
pub use forward::{Forward, ForwardBatch};
pub use local::LocalSessions;
pub use predicted::Mismatch;
pub use window::{TxnBatch, Window};

use crate::apply::{Answer, Create2s};
use crate::auth::AuthId;
use crate::excess::{ExcessCounts, Noted};
use crate::log_room::{self, LogBudget, LogRoom};
use crate::prep::{Origin, Prep, PrepOptions};
use crate::session::Sessions;
use crate::stream::{Attachment, StreamItem};
use crate::tree::Tree;
use follow::Following;
use handshake::Handshake;
use learners::Learners;
use predicted::Predictions;
use proto::{ErrorCode, ServerId, SessionId, Xid, Zxid};
use requests::ClientRequest;
use std::collections::VecDeque;
use std::sync::Arc;
use zab::{Action, Input, LinkId, Office, Peer};

/// `hash` shows the digest at each zxid that this divides, as ZooKeeper does, so that servers can be compared.
const DIGEST_EVERY: u64 = 128;
/// Digests that are kept for it.
const DIGESTS_MAX: usize = 1_024;
/// Txns on their way, at the most. With more the core stops taking requests, the shards' queues fill, and the sockets are not read.
pub const PENDING_MAX: usize = 20_000;
/// Bytes of txns and of syncs' paths on their way, at the most.
pub const PENDING_BYTES_MAX: usize = 64 << 20;
/// Sessions that one tick of the core closes at the most, so that a wave of expiries does not hold up requests.
pub const EXPIRIES_PER_STEP: usize = 256;
/// Expiries on their way, at the most: a request waits behind no more of them, however many sessions are due.
pub const EXPIRIES_PENDING_MAX: usize = 1_024;

/// Settings of a replica.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// This server's id.
    pub server: ServerId,
    /// ZooKeeper's tick in ms: the granularity of expiry.
    pub tick_ms: i64,
    /// The shortest session timeout that is granted, in ms.
    pub session_timeout_ms_min: i32,
    /// The longest one.
    pub session_timeout_ms_max: i32,
    /// Whether sessions begin as those of this server alone.
    pub local_sessions: LocalSessions,
    /// What prep accepts.
    pub prep: PrepOptions,
    /// How often empty containers and expired TTL znodes are looked for, in ms.
    pub container_check_ms: i64,
    /// How many of them may go in a minute.
    pub containers_per_minute_max: i64,
    /// How long a container that never had a child stays, in ms; 0: for ever.
    pub container_never_used_ms_max: i64,
}

impl Default for ReplicaOptions {
    fn default() -> ReplicaOptions {
        ReplicaOptions {
            server: ServerId(0),
            tick_ms: 3_000,
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 60_000,
            local_sessions: LocalSessions::No,
            prep: PrepOptions::default(),
            container_check_ms: 60_000,
            containers_per_minute_max: 10_000,
            container_never_used_ms_max: 0,
        }
    }
}

/// The time, from two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic, in ms: for expiry.
    pub mono_ms: i64,
    /// Wall clock, in ms since 1970: for txns.
    pub wall_ms: i64,
}

/// Who waits for a txn.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Waiter {
    /// Nobody: a container, a learner's request.
    Nobody,
    /// Nobody; it ends a session whose time was over.
    Expiry,
    /// A client, for the reply to its request. It asked for create2s, where that was a multi with some.
    Client { to: Attachment, xid: Xid, create2s: Create2s },
    /// A client, for the refusal of an ephemeral: its session is one of this server alone. The leader, which does not know it, may call it expired.
    Refusal { to: Attachment, xid: Xid },
    /// A client, for its new session.
    Connect(Handshake),
    /// Nobody; a session of this server becomes one of the ensemble.
    Upgrade,
}

impl Waiter {
    /// The client that gets a reply.
    const fn client(&self) -> Option<Attachment> {
        match self {
            Waiter::Client { to, .. } | Waiter::Refusal { to, .. } => Some(*to),
            Waiter::Nobody | Waiter::Expiry | Waiter::Connect(_) | Waiter::Upgrade => None,
        }
    }

    /// Its reply, which `out` takes.
    fn answer<'a>(&'a self, out: &'a mut Vec<u8>) -> Option<Answer<'a>> {
        match self {
            Waiter::Client { create2s, .. } => Some(Answer { out, create2s }),
            Waiter::Refusal { .. } => Some(Answer { out, create2s: Create2s::NONE }),
            Waiter::Nobody | Waiter::Expiry | Waiter::Connect(_) | Waiter::Upgrade => None,
        }
    }

    /// What it is told where the txn says this.
    fn told(&self, err: i32) -> i32 {
        let is_unknown = matches!(self, Waiter::Refusal { .. }) && err == ErrorCode::SessionExpired.to_wire();
        if is_unknown { ErrorCode::EphemeralOnLocalSession.to_wire() } else { err }
    }
}

/// Something to say once the tree is at a zxid.
#[derive(Debug)]
enum Say {
    /// As it is.
    Item(Box<StreamItem>),
    /// A reply without a txn of its own; its header carries the position at which it leaves. `close`: the connection ends with it.
    Reply { to: Attachment, xid: Xid, err: Option<ErrorCode>, path: Option<Box<str>>, close: bool },
    /// This sync of this session, which the leader has answered, if no later txn of the session did.
    Synced(SessionId, Xid),
}

/// What the replica does for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Nothing: there is no leader.
    Looking,
    /// It will lead, or follow on this link, once the tree shows all that is committed.
    Begins(Option<LinkId>, Zxid),
    /// Orders requests.
    Leading,
    /// Hands them to the leader.
    Following(LinkId),
}

/// See the module.
#[derive(Debug)]
pub struct Replica {
    options: ReplicaOptions,
    peer: Peer,
    /// A standalone server: nobody takes the peer's actions.
    is_alone: bool,
    /// What the peer says is to be done beside what is done here.
    actions: Vec<Action>,
    part: Part,
    prep: Prep,
    sessions: Sessions,
    /// Those that only this server knows.
    local: Sessions,
    /// Txns that were handed to the log.
    window: Window,
    /// Those that were not yet.
    current: TxnBatch,
    /// What is to be applied: up to here.
    committed: Zxid,
    /// Who waits for which txn that was proposed here, oldest first.
    waiters: VecDeque<(Zxid, Waiter)>,
    /// What is to be said when, oldest first.
    says: VecDeque<(Zxid, Say)>,
    /// Bytes of the paths in it.
    says_bytes: usize,
    following: Following,
    learners: Learners,
    figures: EnsembleFigures,
    predictions: Predictions,
    log_budget: LogBudget,
    containers: VecDeque<Arc<str>>,
    expired_count: u64,
    /// Expiries that are not applied yet.
    expiring: usize,
    digests: VecDeque<(Zxid, u64)>,
    next_container_check_ms: i64,
    next_container_ms: i64,
    /// The window as it was before a state was taken that is not in force yet.
    former_window: Option<Window>,
}

impl Replica {
    /// A standalone replica over a recovered tree. Every session of the tree gets its full timeout from now.
    #[must_use]
    pub fn new(options: ReplicaOptions, tree: &Tree, now: Now) -> Replica {
        let mut replica = Replica::with_peer(options, Peer::standalone(tree.last_zxid()), tree, now);
        replica.is_alone = true;
        replica.committed = tree.last_zxid();
        replica.begin_leading(tree, now);
        replica.begin_to_watch(now);
        replica
    }

    /// A member of an ensemble over a recovered tree, which may show more than is committed. Clients are served from the first [`StreamItem::Serving`] on.
    #[must_use]
    pub fn in_ensemble(options: ReplicaOptions, peer: Peer, tree: &Tree, now: Now) -> Replica {
        let figures = EnsembleFigures::of_a_start(now.mono_ms);
        Replica { log_budget: LogBudget::of_member(), figures, ..Replica::with_peer(options, peer, tree, now) }
    }

    fn with_peer(options: ReplicaOptions, peer: Peer, tree: &Tree, now: Now) -> Replica {
        Replica {
            committed: peer.positions().committed,
            peer,
            is_alone: false,
            actions: Vec::new(),
            part: Part::Looking,
            prep: Prep::new(options.prep.clone(), tree),
            sessions: Sessions::new(options.tick_ms, options.server, now.wall_ms),
            local: Sessions::new(options.tick_ms, options.server, now.wall_ms),
            window: Window::new(tree.last_zxid()),
            current: TxnBatch::default(),
            waiters: VecDeque::new(),
            says: VecDeque::new(),
            says_bytes: 0,
            following: Following::default(),
            learners: Learners::default(),
            figures: EnsembleFigures::default(),
            predictions: Predictions::default(),
            log_budget: LogBudget::default(),
            containers: VecDeque::new(),
            expired_count: 0,
            expiring: 0,
            digests: VecDeque::new(),
            next_container_check_ms: now.mono_ms + options.container_check_ms,
            next_container_ms: now.mono_ms,
            former_window: None,
            options,
        }
    }

    // ---- the peer -------------------------------------------------------------------------------------------------------

    /// Gives the peer an input. What it says about requests and commits is done here; all it says is for [`Replica::take_actions`] besides.
    pub fn step(&mut self, now: Now, input: Input<'_>) {
        let before = self.actions.len();
        self.peer.step(now.mono_ms, input, &mut self.actions);
        self.heed(now, before);
    }

    /// Says what the learners get of the turn's proposals and commits: once a turn, after [`Replica::take_appends`].
    pub fn flush(&mut self, now: Now) {
        let before = self.actions.len();
        self.peer.flush(now.mono_ms, &mut self.actions);
        self.heed(now, before);
    }

    /// What the peer says is to be done, in order.
    pub fn take_actions(&mut self, into: &mut Vec<Action>) {
        into.append(&mut self.actions);
    }

    /// The peer.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Does it stand alone, in no ensemble?
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// What this server does in the ensemble. It serves once its tree shows all that is committed, and its clients can be told.
    #[must_use]
    pub fn office(&self) -> Office {
        let office = self.peer.role();
        Office { is_serving: office.is_serving && self.serves(), ..office }
    }

    fn heed(&mut self, now: Now, before: usize) {
        if self.actions.len() == before {
            return;
        }
        let state = self.peer.role().state;
        for at in before..self.actions.len() {
            if let Some(action) = self.actions.get(at) {
                self.figures.heed(action, now.mono_ms, state);
            }
            match self.actions.get(at) {
                Some(Action::Commit(zxid)) => self.committed = *zxid,
                Some(Action::Lead(_)) => self.part = Part::Begins(None, self.appended()),
                Some(Action::Follow(link)) => self.part = Part::Begins(Some(*link), self.committed),
                Some(Action::Look(_)) => self.look(),
                _ => {}
            }
        }
        if self.is_alone {
            self.actions.clear();
        }
    }

    /// There is no leader: nothing that waits has an answer from here.
    fn look(&mut self) {
        self.part = Part::Looking;
        self.waiters.clear();
        self.says.clear();
        self.says_bytes = 0;
        self.expiring = 0;
        self.containers.clear();
        self.sessions.clear();
        self.let_go_local();
        self.following = Following::default();
        self.learners = Learners::default();
        self.says.push_back((Zxid::ZERO, Say::Item(Box::new(StreamItem::Serving(false)))));
    }

    /// Begins what the peer has said, as soon as the tree shows all that is committed. True if it did.
    pub fn begin_part(&mut self, now: Now, tree: &Tree) -> bool {
        let Part::Begins(link, from) = self.part else { return false };
        if tree.last_zxid() < from {
            return false;
        }
        match link {
            None => self.begin_leading(tree, now),
            Some(link) => self.part = Part::Following(link),
        }
        self.begin_to_watch(now);
        self.figures.serves(now.mono_ms, link.is_none());
        self.say(StreamItem::Serving(true));
        true
    }

    /// A stall of this server counts from here on, before the first tick, too. Whose connections have ended with the last leader has the time to come back.
    fn begin_to_watch(&mut self, now: Now) {
        self.sessions.look(now.mono_ms);
        self.local.begin_anew(now.mono_ms);
    }

    /// Every session of the tree gets its full timeout from now.
    fn begin_leading(&mut self, tree: &Tree, now: Now) {
        self.part = Part::Leading;
        self.prep.begin_anew(tree);
        for (id, timeout_ms) in tree.sessions() {
            self.sessions.track(id, timeout_ms, now.mono_ms);
        }
    }

    // ---- what comes in --------------------------------------------------------------------------------------------------

    /// Should the core stop taking requests until some have been applied?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pending_len() >= PENDING_MAX
            || self.pending_bytes() >= PENDING_BYTES_MAX
            || self.log_budget.is_tight(self.gathering_bytes())
            // The zxids of the epoch are used up: the next one begins in a moment.
            || self.part == Part::Leading && self.peer.next_zxid().is_none()
    }

    /// Should the core leave unread what a leader sends? Only for what comes to its end without the leader: what is committed and not applied, and what
    /// the log may have no room for. Everything else that waits here waits for just that: its COMMIT may stand behind the next PROPOSAL. The leader bounds it.
    #[must_use]
    pub fn lags_behind_leader(&self) -> bool {
        let is_much = self.window.waiting() >= PENDING_MAX || self.window.waiting_bytes() >= PENDING_BYTES_MAX;
        is_much && self.can_apply() || self.log_budget.is_tight(self.gathering_bytes())
    }

    /// Takes what a shard forwards.
    pub fn receive(&mut self, now: Now, tree: &Tree, batch: &ForwardBatch) {
        for item in &batch.items {
            // They may be used up within a batch. The office ends as soon as all is committed, and with it the connections: what is asked now has no answer.
            let is_over = self.part == Part::Leading && self.peer.next_zxid().is_none();
            if is_over && matches!(item, Forward::Connect { .. } | Forward::Request { .. }) {
                continue;
            }
            match item {
                Forward::Connect { .. } => match self.part {
                    Part::Leading | Part::Following(_) => self.connect(now, tree, item),
                    // Their connections are closed, or will be.
                    Part::Looking | Part::Begins(..) => {}
                },
                Forward::Request { from, session, xid, op, body, ids } => {
                    let body = batch.bytes.get(body.clone()).unwrap_or_default();
                    let request = ClientRequest { from: *from, session: *session, xid: *xid, op: *op, body, ids };
                    match self.part {
                        Part::Leading => self.request(now, tree, &request),
                        Part::Following(_) => self.hand_to_leader(&request),
                        Part::Looking | Part::Begins(..) => {}
                    }
                }
                Forward::Heard(heard) => {
                    for (session, heard_ms) in heard {
                        self.local.touch(*session, *heard_ms);
                        self.sessions.touch(*session, *heard_ms);
                        self.note_touched(*session);
                    }
                }
                Forward::HeardUntil(shard, until_ms) => {
                    self.local.heard_until(*shard, *until_ms);
                    self.sessions.heard_until(*shard, *until_ms);
                }
                Forward::Closed { from, session } => {
                    self.local.detach(*session, *from);
                    self.sessions.detach(*session, *from);
                }
            }
        }
    }

    /// Looks at the clocks: expires sessions, removes containers. At least once a tick.
    pub fn tick(&mut self, now: Now, tree: &Tree) {
        if self.serves() {
            self.expire_local(now);
        }
        if self.part != Part::Leading {
            return;
        }
        if self.is_full() || self.log_budget.refuses_writes() {
            // Nobody expires, and no container goes, without room for the txns: those whose time has come are still due at the next look. That one counts: this is no
            // stall of the server's.
            self.sessions.look(now.mono_ms);
            return;
        }
        let room = EXPIRIES_PENDING_MAX.saturating_sub(self.expiring);
        for session in self.sessions.due(now.mono_ms, EXPIRIES_PER_STEP.min(room)) {
            if self.peer.next_zxid().is_none() {
                return;
            }
            self.expired_count += 1;
            self.expiring += 1;
            self.close_session(now, tree, session, Xid(0), Waiter::Expiry);
        }
        self.look_for_containers(now, tree);
    }

    /// Sessions that may expire soon, each once: what their ends will touch can be brought in ahead ([`Tree::cold_for`]).
    pub fn soon_to_expire(&mut self, now: Now) -> Vec<SessionId> {
        if self.part != Part::Leading {
            return Vec::new();
        }
        self.sessions.soon_due(now.mono_ms, EXPIRIES_PENDING_MAX)
    }

    /// When [`Replica::tick`] has something to do next, in ms of the monotonic clock.
    #[must_use]
    pub fn next_tick_ms(&self, now: Now) -> i64 {
        let mut at_the_latest = now.mono_ms + self.options.tick_ms;
        if self.serves() {
            at_the_latest = self.local.next_expiry_ms().unwrap_or(i64::MAX).min(at_the_latest);
        }
        if self.part != Part::Leading {
            return at_the_latest;
        }
        let expiry = self.sessions.next_expiry_ms().unwrap_or(i64::MAX);
        let container = if self.containers.is_empty() { self.next_container_check_ms } else { self.next_container_ms };
        expiry.min(container).min(at_the_latest)
    }

    /// Up to when the shards are to tell whom they heard, before those whose time has come can expire.
    #[must_use]
    pub fn waits_to_hear(&self, now: Now) -> Option<i64> {
        let global = if self.part == Part::Leading { self.sessions.waits_to_hear(now.mono_ms) } else { None };
        let local = if self.serves() { self.local.waits_to_hear(now.mono_ms) } else { None };
        global.into_iter().chain(local).min()
    }

    /// Does it do anything for clients?
    const fn serves(&self) -> bool {
        matches!(self.part, Part::Leading | Part::Following(_))
    }

    // ---- the log --------------------------------------------------------------------------------------------------------

    /// The txns since the last call, for the log. `None`: nothing new.
    pub fn take_appends(&mut self) -> Option<Arc<TxnBatch>> {
        let last = self.current.last()?;
        self.log_budget.handed_over(last, self.gathering_bytes());
        let batch = Arc::new(std::mem::take(&mut self.current));
        self.window.push(Arc::clone(&batch));
        Some(batch)
    }

    /// Takes a leader's txn, for the log.
    pub fn append(&mut self, zxid: Zxid, txn: &[u8]) {
        self.current.bytes_mut().extend_from_slice(txn);
        self.current.end(zxid);
    }

    /// The own log is durable up to here.
    pub fn durable(&mut self, now: Now, zxid: Zxid) {
        self.step(now, Input::Durable(zxid));
        self.log_budget.durable(zxid);
    }

    /// The own log has this much room. Asked for after [`Replica::durable`] was, or later: what is durable may count twice, never not at all.
    pub fn log_room(&mut self, room: LogRoom) {
        self.log_budget.told(room);
    }

    /// Memory is short, or suffices again: while it is short, new data is refused with SystemError.
    pub fn set_memory_short(&mut self, is_short: bool) {
        self.prep.set_memory_short(is_short);
    }

    /// What the log still takes.
    #[must_use]
    pub const fn log_budget(&self) -> &LogBudget {
        &self.log_budget
    }

    /// The txns that were handed to the log lately.
    #[must_use]
    pub const fn window(&self) -> &Window {
        &self.window
    }

    /// Forgets the oldest txns of the window beyond `bytes_max`, and tells the peer.
    pub fn forget(&mut self, now: Now, bytes_max: usize) {
        if self.window.forget(bytes_max) {
            self.step(now, Input::Forgot(self.window.forgot()));
        }
    }

    /// The log ends with `last` now; the tree will be at `applied`.
    pub fn log_was_cut(&mut self, last: Zxid, applied: Zxid) {
        self.window.cut(last, applied);
    }

    /// A state was taken, at `zxid`: what is appended from here on follows it. That it is committed is not known.
    pub fn state_begins(&mut self, zxid: Zxid) {
        self.former_window = Some(std::mem::replace(&mut self.window, Window::new(zxid)));
    }

    /// The state came to nothing: what was before it is here still.
    pub fn state_discarded(&mut self) {
        if let Some(window) = self.former_window.take() {
            self.window = window;
            self.current = TxnBatch::default();
        }
    }

    /// The state is in force.
    pub fn state_adopted(&mut self) {
        self.former_window = None;
    }

    // ---- figures --------------------------------------------------------------------------------------------------------

    /// Who met a bound of the core's since the last call: worth a word to the operator.
    pub fn take_excesses(&mut self) -> Vec<Noted> {
        self.prep.excesses_mut().take()
    }

    /// How often that happened.
    #[must_use]
    pub const fn excess_counts(&self) -> &ExcessCounts {
        self.prep.excesses().counts()
    }

    /// A digest that the leader has predicted wrongly, to be told to the operator.
    pub const fn take_mismatch(&mut self) -> Option<Mismatch> {
        self.predictions.take()
    }

    /// Forgets it (`srst`).
    pub fn reset_counts(&mut self) {
        self.prep.excesses_mut().reset_counts();
        let EnsembleFigures { looks_since_ms, serves_since_ms, .. } = self.figures;
        self.figures = EnsembleFigures { looks_since_ms, serves_since_ms, ..EnsembleFigures::default() };
    }

    /// The sessions that the ensemble knows: all of them where this server leads, else those of its own clients.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Count of txns and replies on their way.
    #[must_use]
    pub fn pending_len(&self) -> usize {
        self.window.waiting() + self.current.len() + self.says.len() + self.following.len() + self.learners.len()
    }

    fn pending_bytes(&self) -> usize {
        self.window.waiting_bytes() + self.current.byte_len() + self.says_bytes + self.following.bytes()
    }

    /// Sessions that have expired since the start.
    #[must_use]
    pub const fn expired_count(&self) -> u64 {
        self.expired_count
    }

    /// The tree's digests at every 128th zxid since the start, the newest 1,024 of them: what `hash` shows.
    pub fn digests(&self) -> impl Iterator<Item = (Zxid, u64)> + '_ {
        self.digests.iter().copied()
    }

    /// The newest proposal.
    #[must_use]
    pub fn proposed(&self) -> Zxid {
        self.peer.positions().proposed
    }

    /// All up to here is a quorum's, as far as this server knows.
    #[must_use]
    pub const fn committed(&self) -> Zxid {
        self.committed
    }

    // ---- inside ---------------------------------------------------------------------------------------------------------

    /// The last txn of the own history.
    fn appended(&self) -> Zxid {
        self.current.last().unwrap_or_else(|| self.window.last())
    }

    /// What the txns that are not handed over yet may take in the log.
    fn gathering_bytes(&self) -> u64 {
        if self.current.is_empty() {
            return 0;
        }
        log_room::bytes_max(self.current.len() as u64, self.current.byte_len() as u64)
    }

    /// Gives the next zxid to the txn that `write` encodes.
    fn propose(
        &mut self,
        now: Now,
        session: SessionId,
        xid: Xid,
        ids: &[AuthId],
        waiter: Waiter,
        write: impl FnOnce(&mut Prep, &Origin<'_>, &mut Vec<u8>),
    ) {
        let zxid = self.next_zxid();
        let origin = Origin { session, xid, zxid, time_ms: now.wall_ms, ids, is_local: false };
        write(&mut self.prep, &origin, self.current.bytes_mut());
        self.enter(now, zxid, waiter);
    }

    /// The zxid of the next txn.
    fn next_zxid(&self) -> Zxid {
        self.peer.next_zxid().expect("whoever leads has a next zxid, or has been asked")
    }

    /// What was written to the current batch is the txn `zxid`.
    fn enter(&mut self, now: Now, zxid: Zxid, waiter: Waiter) {
        self.step(now, Input::Propose(zxid));
        let bytes = self.current.end(zxid);
        self.figures.proposed(bytes);
        if waiter != Waiter::Nobody {
            self.waiters.push_back((zxid, waiter));
        }
    }

    /// Says something behind all that was ordered so far: where this server leads that is what it has proposed, else what it knows to be committed.
    fn say_behind(&mut self, say: Say) {
        let behind = if self.part == Part::Leading { self.appended() } else { self.committed };
        self.says.push_back((behind, say));
    }

    fn say(&mut self, item: StreamItem) {
        self.say_behind(Say::Item(Box::new(item)));
    }
}
