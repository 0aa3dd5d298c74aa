//! What a shard knows: its connections, the order of their requests and replies, and their watches.
//!
//! Pure: bytes come in with [`ShardState::receive`], the core's stream with [`ShardState::on_stream`], the tree with
//! [`ShardState::serve`]; bytes to send, connections to close and requests for the core come out. It keeps laws 4 to 6:
//!
//! - A connection's requests are dealt with in order. A read with no unanswered write before it is answered here; behind one it waits, and
//!   everything after it waits too (the simple form of a session's program order; pipelined mixes pay for it).
//! - Changes fire watches when the stream brings them, before the reply that stands behind them in the stream, and before any read: the
//!   driver calls [`ShardState::on_stream`] for everything that the tree shows before it calls [`ShardState::serve`].
//! - A read's header carries the stream's position, a write's its own zxid; a connection's headers never decrease (asserted).
//!
//! It must never block, and every buffer in it has a limit: see [`ShardOptions`]. Its tests are in `engine/tests/shard.rs`.

mod asked;
mod conn;
mod counts;
mod deliver;
mod held;
mod identity;
mod long;
mod places;
mod reads;
mod serve;
mod slots;
mod throttle;
pub mod watches;

use crate::auth::AuthRules;
use crate::replica::{Forward, ForwardBatch};
use crate::stream::{Attachment, ConnId, Detach, Refusal, ShardId};
use crate::tree::{Cold, LISTING_LONG};
pub use asked::{ConnCounts, ConnInfo, ConnWatches, Piece, WatchCursor};
use conn::{Conn, Phase};
pub use counts::{BUCKETS, Histogram, Measured, ShardCounts, Summary, bucket_of};
pub use long::{LongRead, LongReply};
use places::Places;
use proto::Zxid;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
pub use throttle::{ConnectOptions, Throttle, ThrottleOptions};
use watches::Watches;

/// Settings of a shard.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// The shard's number.
    pub shard: ShardId,
    /// `jute.maxbuffer`: the largest frame that a client may send.
    pub frame_bytes_max: usize,
    /// Requests of one connection that may be with the core at the same time.
    pub in_flight_max: usize,
    /// Unsent bytes of one connection above which its further requests wait.
    pub output_bytes_soft: usize,
    /// Unsent bytes of one connection above which it is closed; the session lives on.
    pub output_bytes_max: usize,
    /// The largest reply.
    pub reply_bytes_max: usize,
    /// Children from which on a listing is made elsewhere ([`LongRead`]).
    pub listing_long: usize,
    /// How long a connection may take for its handshake, in µs.
    pub handshake_us_max: u64,
    /// Who may do what, and who must prove who they are.
    pub auth: Arc<AuthRules>,
    /// Are clients served from the start? A member of an ensemble waits for [`crate::stream::StreamItem::Serving`].
    pub is_serving: bool,
    /// What the nonces of SASL are made from: random, of this shard and this start alone, and known to nobody else.
    pub nonce_secret: [u8; 32],
    /// The limits that it shares with the other shards.
    pub throttle: Arc<Throttle>,
}

impl Default for ShardOptions {
    fn default() -> ShardOptions {
        ShardOptions {
            shard: ShardId(0),
            frame_bytes_max: 0xf_ffff,
            in_flight_max: 1_024,
            output_bytes_soft: 256 << 10,
            output_bytes_max: 16 << 20,
            reply_bytes_max: 64 << 20,
            listing_long: LISTING_LONG,
            handshake_us_max: 10_000_000,
            auth: Arc::new(AuthRules::default()),
            is_serving: true,
            nonce_secret: [0; 32],
            throttle: Arc::new(Throttle::new(ThrottleOptions::default(), 1)),
        }
    }
}

/// Why a connection is closed by the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// A frame longer than `jute.maxbuffer`, or of negative length.
    FrameLength,
    /// A header or handshake that cannot be decoded.
    Malformed,
    /// No handshake in time.
    HandshakeTimeout,
    /// The client has seen a newer zxid, or the session cannot be made now.
    Refused(Refusal),
    /// The session is not there: the client has been told.
    NoSession,
    /// The client closed its session.
    SessionClosed,
    /// There is no leader any more: the client may find one elsewhere.
    NotServing,
    /// The session went elsewhere or ended.
    Detached(Detach),
    /// Authentication failed.
    AuthFailed,
    /// A SASL exchange failed.
    SaslFailed,
    /// It has proved more identities than one connection may have.
    TooManyIds,
    /// It has none of the identities that everybody must have.
    AuthRequired,
    /// It means another ensemble.
    WrongEnsemble,
    /// An operation that no client may send.
    UnknownOperation,
    /// The client does not read what it gets.
    OutputLimit,
    /// `connection_throttle_tokens`: too many clients connect.
    NoTokens,
    /// `largeRequestMaxBytes`: too many bytes of large requests are in work.
    LargeRequest,
    /// Its request was held back for longer than its session's timeout.
    StaleRequest,
}

/// A limit that makes requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// `globalOutstandingLimit`.
    Outstanding,
    /// `request_throttle_max_requests`.
    Throttler,
    /// `ringkeeper.connectionRequestsMax`: its own.
    InFlight,
}

impl Hold {
    const COUNT: usize = Hold::InFlight as usize + 1;
}

/// What is worth a word to the operator though the connection lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A reply would have been larger than `ringkeeper.replyBytesMax`: it is an error.
    ReplyLimit,
    /// A request was held back for longer than `throttled_op_wait_time`: it got ThrottledOp.
    ThrottledOp,
    /// A SASL exchange failed, and `allowSaslFailedClients` lets the client stay.
    SaslFailed,
}

/// What the driver is to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// There is output: [`ShardState::take_output`].
    Send(ConnId),
    /// Close it once everything is sent.
    CloseAfterFlush(ConnId, CloseReason),
    /// Close it now.
    Abort(ConnId, CloseReason),
    /// It is no ZooKeeper client: hand it over, with these four bytes.
    FourLetterWord(ConnId, [u8; 4]),
    /// Stop reading from it.
    Pause(ConnId),
    /// Read from it again.
    Resume(ConnId),
    /// A limit makes its requests wait: to be told to the operator, now and then.
    Held(ConnId, Hold),
    /// To be told to the operator, now and then.
    Noted(ConnId, Note),
}

/// What [`ShardState::serve`] left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Nothing: all that can be done is done.
    All,
    /// More requests are ready; call again after letting go of the lock.
    More,
    /// The core had no room for more; call again when it has.
    NoRoom,
}

/// See the module.
#[derive(Debug)]
pub struct ShardState {
    options: ShardOptions,
    conns: Vec<Option<Box<Conn>>>,
    conn_count: usize,
    watches: Watches,
    /// The stream's position: everything up to here has fired its watches.
    position: Zxid,
    is_serving: bool,
    ready: VecDeque<ConnId>,
    forwards: ForwardBatch,
    actions: Vec<Action>,
    cold: Vec<(ConnId, Cold)>,
    long_reads: Vec<(ConnId, LongRead)>,
    places: Places,
    counts: ShardCounts,
    measured: Measured,
    /// Requests of all its connections that the core has.
    in_flight: usize,
    /// Requests that the other shards had in work when this one last looked.
    in_flight_elsewhere: usize,
    /// Connections that the request throttler holds back, by the ticket that each drew.
    held: BTreeMap<u64, ConnId>,
    next_ticket: u64,
    /// Connections that were woken because there is a place, and have not been looked at since.
    woken: usize,
    /// When the operator was last told of each kind of hold.
    told_of_hold_us: [u64; Hold::COUNT],
    told: Vec<ConnId>,
    /// SASL challenges made so far.
    challenges: u64,
}

impl ShardState {
    /// A shard without connections, over a tree at `position`.
    #[must_use]
    pub fn new(options: ShardOptions, position: Zxid) -> ShardState {
        ShardState {
            is_serving: options.is_serving,
            options,
            conns: Vec::new(),
            conn_count: 0,
            watches: Watches::default(),
            position,
            ready: VecDeque::new(),
            forwards: ForwardBatch::default(),
            actions: Vec::new(),
            cold: Vec::new(),
            long_reads: Vec::new(),
            places: Places::default(),
            counts: ShardCounts::default(),
            measured: Measured::default(),
            in_flight: 0,
            in_flight_elsewhere: 0,
            held: BTreeMap::new(),
            next_ticket: 0,
            woken: 0,
            told_of_hold_us: [0; Hold::COUNT],
            told: Vec::new(),
            challenges: 0,
        }
    }

    // ---- what comes in from the sockets ---------------------------------------------------------------------------------

    /// A connection was accepted.
    ///
    /// # Panics
    /// If its slot is taken: the driver's bug.
    pub fn accept(&mut self, id: ConnId, peer: SocketAddr, now_us: u64) {
        let slot = id.slot as usize;
        if self.conns.len() <= slot {
            self.conns.resize_with(slot + 1, || None);
        }
        let place = self.conns.get_mut(slot).expect("made above");
        assert!(place.is_none(), "slot {slot} is taken");
        *place = Some(Box::new(Conn::new(id, peer, now_us)));
        self.conn_count += 1;
    }

    /// Bytes came in.
    pub fn receive(&mut self, id: ConnId, bytes: &[u8], now_us: u64) {
        // Room for one whole frame and what may come with it: more than that waits in the socket.
        let input_bytes_max = self.options.frame_bytes_max + INPUT_SLACK_BYTES;
        let Some(conn) = self.conn_mut(id) else { return };
        conn.heard_us = now_us;
        conn.heard = true;
        if conn.phase == Phase::Closing {
            return;
        }
        conn.compact();
        conn.input.extend_from_slice(bytes);
        let pause = conn.input.len() > input_bytes_max && !conn.is_paused;
        conn.is_paused |= pause;
        if pause {
            self.actions.push(Action::Pause(id));
        }
        self.make_ready(id);
    }

    /// The socket has taken output; `unsent_bytes` are left.
    pub fn sent(&mut self, id: ConnId, unsent_bytes: usize) {
        let soft = self.options.output_bytes_soft;
        let Some(conn) = self.conn_mut(id) else { return };
        conn.unsent_bytes = unsent_bytes;
        // Whatever was known before: a large reply may have been taken whole since, and what waited behind it is not woken by anything else.
        if conn.output_bytes() <= soft {
            self.make_ready(id);
        }
    }

    /// A connection is gone, whoever closed it.
    pub fn closed(&mut self, id: ConnId) {
        if self.conn_mut(id).is_none() {
            return;
        }
        let Some(mut conn) = self.conns.get_mut(id.slot as usize).and_then(Option::take) else { return };
        self.conn_count -= 1;
        self.came(&mut conn);
        // As in ZooKeeper: those whose client went away.
        self.counts.connections_dropped += u64::from(conn.phase != Phase::Closing);
        self.in_flight -= conn.in_flight.len();
        for request in conn.in_flight.iter().filter(|request| request.large_bytes > 0) {
            self.options.throttle.give_back_large(request.large_bytes);
        }
        self.options.throttle.set_in_flight(usize::from(self.options.shard.0), self.in_flight);
        let drops_stale = self.options.throttle.options().drop_stale;
        let is_held = conn.ticket.is_some_and(|ticket| self.held.remove(&ticket).is_some());
        self.counts.stale_requests_dropped += u64::from(is_held && drops_stale);
        self.watches.remove_conn(id);
        self.leave_place(&mut conn);
        self.wake_for_place(conn.peer.ip());
        if conn.session.0 != 0 {
            // Nobody else will tell of its last words, and from them on the session has its whole timeout to come back.
            if conn.heard || conn.is_paused {
                self.forwards.items.push(Forward::Heard(vec![(conn.session, (conn.heard_us / 1_000).cast_signed())]));
            }
            let from = self.attachment(id);
            self.forwards.items.push(Forward::Closed { from, session: conn.session });
        }
    }

    /// Looks at the clock: who has not made its handshake in time, and which sessions the core is to be told were heard of. Call it a few
    /// times a tick. Both read the same monotonic clock, the shard in µs, the core in ms.
    pub fn tick(&mut self, now_us: u64) {
        let mut heard = Vec::new();
        let mut late = Vec::new();
        for conn in self.conns.iter_mut().flatten() {
            match conn.phase {
                Phase::New if now_us.saturating_sub(conn.accepted_us) > self.options.handshake_us_max => {
                    late.push(conn.id)
                }
                // Nobody can be heard whom the shard does not read from.
                Phase::Ready if conn.heard || conn.is_paused => {
                    let heard_us = if conn.is_paused { now_us } else { conn.heard_us };
                    heard.push((conn.session, (heard_us / 1_000).cast_signed()));
                    conn.heard = false;
                }
                _ => {}
            }
        }
        if !heard.is_empty() {
            self.forwards.items.push(Forward::Heard(heard));
        }
        for id in late {
            self.counts.sessionless_expired += 1;
            self.abort(id, CloseReason::HandshakeTimeout);
        }
    }

    /// Looks for words that have come and were not received, or not understood yet: whoever has something `unread` in its socket counts as heard
    /// of now. False if a connection that was there by `until_us` has a handshake that is still to be read: it may renew a session.
    pub fn look_for_unread(&mut self, until_us: u64, now_us: u64, mut unread: impl FnMut(ConnId) -> bool) -> bool {
        let mut is_complete = true;
        for conn in self.conns.iter_mut().flatten() {
            match conn.phase {
                Phase::Ready if !conn.heard && unread(conn.id) => {
                    conn.heard = true;
                    conn.heard_us = now_us;
                }
                Phase::New if conn.accepted_us <= until_us => {
                    is_complete &= !conn.has_whole_frame() && !unread(conn.id)
                }
                _ => {}
            }
        }
        is_complete
    }

    /// Tells the core that everybody who had said something before this time of the monotonic clock has been told of, after
    /// [`ShardState::look_for_unread`] and [`ShardState::tick`].
    pub fn tell_heard_until(&mut self, until_us: u64) {
        let until_ms = (until_us / 1_000).cast_signed();
        self.forwards.items.push(Forward::HeardUntil(self.options.shard, until_ms));
    }

    // ---- what goes out --------------------------------------------------------------------------------------------------

    /// What is to be done with connections, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The connection's output, to be taken whole. After it the driver tells with [`ShardState::sent`] what the socket has not taken.
    pub fn take_output(&mut self, id: ConnId) -> Option<&mut Vec<u8>> {
        let conn = self.conn_mut(id)?;
        conn.is_dirty = false;
        Some(&mut conn.out)
    }

    /// Do requests of the connection wait until its output, as it is now, has left? Then the driver is to call [`ShardState::sent`] as soon as the
    /// socket has taken it, be it at once.
    #[must_use]
    pub fn waits_for_output(&self, id: ConnId) -> bool {
        let conn = self.conns.get(id.slot as usize).and_then(Option::as_deref).filter(|conn| conn.id == id);
        conn.is_some_and(|conn| !conn.undecoded().is_empty() && conn.output_bytes() > self.options.output_bytes_soft)
    }

    /// What is to be handed to the core. `None`: nothing.
    pub fn take_forwards(&mut self) -> Option<ForwardBatch> {
        if self.forwards.items.is_empty() { None } else { Some(std::mem::take(&mut self.forwards)) }
    }

    /// Is there a request that [`ShardState::serve`] could go on with?
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Has it sent something, but neither a handshake nor a four-letter word been dealt with?
    #[must_use]
    pub fn awaits_first_frame(&self, id: ConnId) -> bool {
        let conn = self.conns.get(id.slot as usize).and_then(Option::as_deref).filter(|conn| conn.id == id);
        conn.is_some_and(|conn| conn.phase == Phase::New && !conn.undecoded().is_empty())
    }

    /// What came behind a four-letter word: `stmk` has an argument.
    #[must_use]
    pub fn word_argument(&self, id: ConnId) -> Vec<u8> {
        let conn = self.conns.get(id.slot as usize).and_then(Option::as_deref).filter(|conn| conn.id == id);
        let input = conn.map(Conn::undecoded).unwrap_or_default();
        input.iter().skip(4).take(WORD_ARGUMENT_BYTES).copied().collect()
    }

    /// Counts since the start.
    #[must_use]
    pub const fn counts(&self) -> &ShardCounts {
        &self.counts
    }

    /// Count of connections.
    #[must_use]
    pub const fn conn_count(&self) -> usize {
        self.conn_count
    }

    /// Count of watches.
    #[must_use]
    pub const fn watch_count(&self) -> usize {
        self.watches.len()
    }

    /// The stream's position.
    #[must_use]
    pub const fn position(&self) -> Zxid {
        self.position
    }

    // ---- inside ---------------------------------------------------------------------------------------------------------

    fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.conns.get_mut(id.slot as usize)?.as_deref_mut()?;
        (conn.id == id).then_some(conn)
    }

    fn take(&mut self, id: ConnId) -> Option<Box<Conn>> {
        self.conn_mut(id)?;
        self.conns.get_mut(id.slot as usize)?.take()
    }

    fn put_back(&mut self, conn: Box<Conn>) {
        if let Some(place) = self.conns.get_mut(conn.id.slot as usize) {
            *place = Some(conn);
        }
    }

    const fn attachment(&self, conn: ConnId) -> Attachment {
        Attachment { shard: self.options.shard, conn }
    }

    fn is_mine(&self, to: Attachment) -> bool {
        to.shard == self.options.shard
    }

    /// Connections whose next request needs something of the disk: to be read in elsewhere, and then [`ShardState::brought_in`].
    pub fn take_cold(&mut self) -> Vec<(ConnId, Cold)> {
        std::mem::take(&mut self.cold)
    }

    /// What the connection's next request needs was read in.
    pub fn brought_in(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id) {
            conn.is_cold = false;
            self.make_ready(id);
        }
    }

    fn make_ready(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if !conn.is_queued && !conn.is_cold && conn.long.is_none() && !conn.undecoded().is_empty() {
            conn.is_queued = true;
            self.ready.push_back(id);
        }
    }

    fn dirty(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if !conn.is_dirty {
            conn.is_dirty = true;
            self.actions.push(Action::Send(id));
        }
    }

    fn set_closing(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conn_mut(id) else { return false };
        std::mem::replace(&mut conn.phase, Phase::Closing) != Phase::Closing
    }

    fn close_after_flush(&mut self, id: ConnId, reason: CloseReason) {
        if self.set_closing(id) {
            self.actions.push(Action::CloseAfterFlush(id, reason));
        }
    }

    fn abort(&mut self, id: ConnId, reason: CloseReason) {
        if self.set_closing(id) {
            self.actions.push(Action::Abort(id, reason));
        }
    }

    fn took(&mut self, way: Way, latency_us: u64) {
        match way {
            Way::Shard => self.measured.read_us.add(latency_us),
            Way::Core => self.measured.update_us.add(latency_us),
        }
        self.counts.latency_count += 1;
        self.counts.latency_us_sum += latency_us;
        self.counts.latency_us_max = self.counts.latency_us_max.max(latency_us);
        self.counts.latency_us_min = self.counts.latency_us_min.min(latency_us);
    }
}

/// Where a request was answered.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// From the tree.
    Shard,
    /// By the core.
    Core,
}

/// What a visit to a connection ended with.
#[derive(Clone, Copy, Debug)]
enum Visit {
    /// It has to wait for something that will make it ready again.
    Waits,
    /// It has more, and others are due.
    More,
    /// The core has no room.
    NoRoom,
    /// There is no place for its long read.
    NoPlace,
    /// A limit holds it back.
    Held(Hold),
    Close(CloseReason),
    Abort(CloseReason),
    FourLetterWord([u8; 4]),
}

/// What became of one frame.
#[derive(Clone, Copy, Debug)]
enum Step {
    Done,
    /// It stays where it is.
    Stop(Visit),
}

/// Bytes of the longest argument of a four-letter word.
pub const WORD_ARGUMENT_BYTES: usize = 8;

/// Bytes that may be received beyond one whole frame before the socket is left alone.
const INPUT_SLACK_BYTES: usize = 64 << 10;
