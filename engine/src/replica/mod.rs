//! The replica: the ZAB peer with prep and sessions around it. It orders what the shards forward, hands txns to the log, and
//! once they are committed applies them and fills the stream.
//!
//! Owns the order of everything that is not a read: pending txns, replies that wait for them, session ownership and expiry. The
//! consensus core drives it and it alone changes the tree. It must never do I/O or read a clock: each call brings the time. Every
//! queue in it is bounded by [`Replica::is_full`], which the core asks before it takes more from a shard.

mod containers;
mod forward;
mod requests;

pub use forward::{Forward, ForwardBatch};

use crate::apply;
use crate::auth::AuthId;
use crate::excess::{ExcessCounts, Noted};
use crate::log_room::{self, LogBudget, LogRoom};
use crate::prep::{Origin, Prep, PrepOptions};
use crate::session::{Sessions, password};
use crate::stream::{Attachment, Detach, StreamBatch, StreamItem};
use crate::tree::Tree;
use proto::connect::ConnectResponse;
use proto::txn::{Txn, TxnRecord};
use proto::{ErrorCode, ServerId, SessionId, Xid, Zxid};
use requests::ClientRequest;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use zab::{Action, Input, Peer};

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

/// Txns in the bytes of log and wire, several at once, in order.
#[derive(Debug, Default)]
pub struct TxnBatch {
    bytes: Vec<u8>,
    ends: Vec<(Zxid, usize)>,
}

impl TxnBatch {
    /// The txns: zxid and bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Zxid, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(zxid, end)| {
            let bytes = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            (*zxid, bytes)
        })
    }

    /// Count of txns.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Who waits for a txn.
#[derive(Clone, Copy, Debug)]
enum Waiter {
    /// Nobody: an expiry, a container.
    Nobody,
    /// A client, for the reply to its request.
    Client { to: Attachment, xid: Xid },
    /// A client, for its new session.
    Connect { to: Attachment, timeout_ms: i32, read_only: Option<bool> },
}

#[derive(Debug)]
enum Pending {
    Txn {
        zxid: Zxid,
        bytes: Range<usize>,
        waiter: Waiter,
    },
    /// Something to say once everything before it is applied.
    Say(Box<StreamItem>),
    /// A reply without a txn of its own; its header carries the position at which it leaves.
    Reply {
        to: Attachment,
        xid: Xid,
        err: Option<ErrorCode>,
        path: Option<Box<str>>,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Replica {
    options: ReplicaOptions,
    peer: Peer,
    /// What the peer says is to be done, worked off at once.
    actions: Vec<Action>,
    prep: Prep,
    sessions: Sessions,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// The batch that grows now, and those that the log has, oldest first.
    current: TxnBatch,
    batches: VecDeque<Arc<TxnBatch>>,
    log_budget: LogBudget,
    containers: VecDeque<Arc<str>>,
    expired_count: u64,
    /// Expiries that are not applied yet.
    expiring: usize,
    digests: VecDeque<(Zxid, u64)>,
    next_container_check_ms: i64,
    next_container_ms: i64,
}

impl Replica {
    /// A replica over a recovered tree. Every session of the tree gets its full timeout from now.
    #[must_use]
    pub fn new(options: ReplicaOptions, tree: &Tree, now: Now) -> Replica {
        let mut sessions = Sessions::new(options.tick_ms, options.server, now.wall_ms);
        for (id, timeout_ms) in tree.sessions() {
            sessions.track(id, timeout_ms, now.mono_ms);
        }
        Replica {
            peer: Peer::standalone(tree.last_zxid()),
            actions: Vec::new(),
            prep: Prep::new(options.prep.clone(), tree),
            sessions,
            pending: VecDeque::new(),
            pending_bytes: 0,
            current: TxnBatch::default(),
            batches: VecDeque::new(),
            log_budget: LogBudget::default(),
            containers: VecDeque::new(),
            expired_count: 0,
            expiring: 0,
            digests: VecDeque::new(),
            next_container_check_ms: now.mono_ms + options.container_check_ms,
            next_container_ms: now.mono_ms,
            options,
        }
    }

    /// Should the core stop taking requests until some have been applied?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pending.len() >= PENDING_MAX
            || self.pending_bytes >= PENDING_BYTES_MAX
            || self.log_budget.is_tight(self.gathering_bytes())
    }

    /// Takes what a shard forwards.
    pub fn receive(&mut self, now: Now, tree: &Tree, batch: &ForwardBatch) {
        for item in &batch.items {
            match item {
                Forward::Connect { .. } => self.connect(now, tree, item),
                Forward::Request { from, session, xid, op, body, ids } => {
                    let body = batch.bytes.get(body.clone()).unwrap_or_default();
                    self.request(
                        now,
                        tree,
                        &ClientRequest { from: *from, session: *session, xid: *xid, op: *op, body, ids },
                    );
                }
                Forward::Heard(heard) => {
                    for (session, heard_ms) in heard {
                        self.sessions.touch(*session, *heard_ms);
                    }
                }
                Forward::HeardUntil(shard, until_ms) => self.sessions.heard_until(*shard, *until_ms),
                Forward::Closed { from, session } => self.sessions.detach(*session, *from),
            }
        }
    }

    /// Who met a bound of the core's since the last call: worth a word to the operator.
    pub fn take_excesses(&mut self) -> Vec<Noted> {
        self.prep.excesses_mut().take()
    }

    /// How often that happened.
    #[must_use]
    pub const fn excess_counts(&self) -> &ExcessCounts {
        self.prep.excesses().counts()
    }

    /// Forgets it (`srst`).
    pub fn reset_counts(&mut self) {
        self.prep.excesses_mut().reset_counts();
    }

    /// The txns proposed since the last call, for the log. `None`: nothing new.
    pub fn take_appends(&mut self) -> Option<Arc<TxnBatch>> {
        if self.current.is_empty() {
            return None;
        }
        if let Some((last, _)) = self.current.ends.last() {
            self.log_budget.handed_over(*last, self.gathering_bytes());
        }
        let batch = Arc::new(std::mem::take(&mut self.current));
        self.batches.push_back(Arc::clone(&batch));
        Some(batch)
    }

    /// The own log is durable up to here.
    pub fn durable(&mut self, zxid: Zxid) {
        self.step_peer(Input::Durable(zxid));
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

    /// Has [`Replica::apply`] anything to do?
    #[must_use]
    pub fn can_apply(&self) -> bool {
        match self.pending.front() {
            None => false,
            Some(Pending::Txn { zxid, .. }) => *zxid <= self.peer.positions().committed,
            Some(_) => true,
        }
    }

    /// Applies committed txns, at most `count_max` items, and fills the stream. The caller holds the tree's lock.
    ///
    /// # Panics
    /// If a txn does not fit the tree, see [`apply::apply`].
    pub fn apply(&mut self, tree: &mut Tree, out: &mut StreamBatch, count_max: usize) {
        let counted = tree.subtrees_counted();
        for _ in 0..count_max {
            // A quota that begins counts its subtree: once under one hold of the lock.
            if !self.can_apply() || tree.subtrees_counted() != counted {
                break;
            }
            match self.pending.pop_front() {
                None => break,
                Some(Pending::Say(item)) => out.items.push(*item),
                Some(Pending::Reply { to, xid, err, path }) => {
                    let start = out.bytes.len();
                    if let Some(path) = &path {
                        self.pending_bytes -= path.len();
                        proto::Writer::new(&mut out.bytes).string(path);
                    }
                    let err = err.map_or(0, ErrorCode::to_wire);
                    let body = start..out.bytes.len();
                    out.items.push(StreamItem::Reply { to, xid, zxid: tree.last_zxid(), err, body, close: false });
                }
                Some(Pending::Txn { zxid, bytes, waiter }) => self.apply_txn(tree, out, zxid, bytes, waiter),
            }
        }
        out.zxid = tree.last_zxid();
        self.prep.applied(tree.last_zxid());
    }

    /// Looks at the clocks: expires sessions, removes containers. At least once a tick.
    pub fn tick(&mut self, now: Now, tree: &Tree) {
        if self.is_full() {
            // No room for the txns; those whose time has come are still due at the next look.
            return;
        }
        if self.log_budget.refuses_writes() {
            // Nobody expires, and no container goes, for want of space in the log. The look alone counts: this is no stall of the server's.
            let nobody = self.sessions.due(now.mono_ms, 0);
            assert!(nobody.is_empty(), "none were asked for");
            return;
        }
        let room = EXPIRIES_PENDING_MAX - self.expiring;
        for session in self.sessions.due(now.mono_ms, EXPIRIES_PER_STEP.min(room)) {
            self.expired_count += 1;
            self.expiring += 1;
            self.close_session(now, tree, session, Xid(0), Waiter::Nobody);
        }
        self.look_for_containers(now, tree);
    }

    /// Sessions that may expire soon, each once: what their ends will touch can be brought in ahead ([`Tree::cold_for`]).
    pub fn soon_to_expire(&mut self, now: Now) -> Vec<SessionId> {
        self.sessions.soon_due(now.mono_ms, EXPIRIES_PENDING_MAX)
    }

    /// When [`Replica::tick`] has something to do next, in ms of the monotonic clock.
    #[must_use]
    pub fn next_tick_ms(&self, now: Now) -> i64 {
        let expiry = self.sessions.next_expiry_ms().unwrap_or(i64::MAX);
        let container = if self.containers.is_empty() { self.next_container_check_ms } else { self.next_container_ms };
        expiry.min(container).min(now.mono_ms + self.options.tick_ms)
    }

    /// The sessions.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Count of txns and replies on their way.
    #[must_use]
    pub fn pending_len(&self) -> usize {
        self.pending.len()
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

    /// What the txns that are not handed over yet may take in the log.
    fn gathering_bytes(&self) -> u64 {
        if self.current.is_empty() {
            return 0;
        }
        log_room::bytes_max(self.current.len() as u64, self.current.bytes.len() as u64)
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
        let start = self.current.bytes.len();
        write(&mut self.prep, &Origin { session, xid, zxid, time_ms: now.wall_ms, ids }, &mut self.current.bytes);
        self.enter(zxid, start, waiter);
    }

    /// The zxid of the next txn.
    fn next_zxid(&self) -> Zxid {
        self.peer.next_zxid().expect("an ensemble of one leads for ever")
    }

    /// An ensemble of one knows no time, and says nothing but what is committed, which is a position that is asked for.
    fn step_peer(&mut self, input: Input<'_>) {
        self.peer.step(0, input, &mut self.actions);
        self.actions.clear();
    }

    fn enter(&mut self, zxid: Zxid, start: usize, waiter: Waiter) {
        self.step_peer(Input::Propose(zxid));
        let end = self.current.bytes.len();
        self.current.ends.push((zxid, end));
        self.pending_bytes += end - start;
        self.pending.push_back(Pending::Txn { zxid, bytes: start..end, waiter });
    }

    fn say(&mut self, item: StreamItem) {
        self.pending.push_back(Pending::Say(Box::new(item)));
    }

    fn apply_txn(&mut self, tree: &mut Tree, out: &mut StreamBatch, zxid: Zxid, range: Range<usize>, waiter: Waiter) {
        self.pending_bytes -= range.len();
        let batch = Arc::clone(self.batches.front().expect("a committed txn was handed to the log"));
        let bytes = batch.bytes.get(range).expect("a pending txn lies in its batch");
        let record = TxnRecord::decode(bytes).expect("prep wrote it");
        assert!(record.header.zxid == zxid, "txn {} stands where {zxid} was put", record.header.zxid);
        let start = out.bytes.len();
        let reply = matches!(waiter, Waiter::Client { .. }).then_some(&mut out.bytes);
        let err = apply::apply(tree, &record, &mut out.items, reply);
        if zxid.0.is_multiple_of(DIGEST_EVERY) {
            if self.digests.len() == DIGESTS_MAX {
                self.digests.pop_front();
            }
            self.digests.push_back((zxid, tree.digest()));
        }
        if batch.ends.last().is_some_and(|(last, _)| *last == zxid) {
            self.batches.pop_front();
        }
        let closes = matches!(record.txn, Txn::CloseSession(_));
        let had_it = if closes { self.sessions.remove(record.header.session) } else { None };
        match waiter {
            Waiter::Client { to, xid } => {
                let body = start..out.bytes.len();
                out.items.push(StreamItem::Reply { to, xid, zxid, err, body, close: closes });
            }
            Waiter::Connect { to, timeout_ms, read_only } => {
                let session_id = record.header.session;
                let password = password(session_id);
                let read_only = read_only.map(|_| false);
                let response = ConnectResponse { protocol_version: 0, timeout_ms, session_id, password, read_only };
                out.items.push(StreamItem::Connected { to, zxid, response });
            }
            Waiter::Nobody => self.expiring -= usize::from(closes),
        }
        let asked = match waiter {
            Waiter::Client { to, .. } => Some(to),
            _ => None,
        };
        if let Some(from) = had_it.filter(|from| asked != Some(*from)) {
            let reason = if asked.is_some() { Detach::Closed } else { Detach::Expired };
            out.items.push(StreamItem::Detached { from, session: record.header.session, reason });
        }
    }
}
