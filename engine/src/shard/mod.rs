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
mod held;
mod identity;
mod reads;
mod throttle;
pub mod watches;

use crate::auth::AuthRules;
use crate::replica::{Forward, ForwardBatch};
use crate::stream::{Attachment, Change, ChangeKind, ConnId, Detach, Guard, Refusal, ShardId, StreamBatch, StreamItem};
use crate::tree::Tree;
pub use asked::{ConnCounts, ConnInfo, ConnWatches, Piece, WatchCursor};
use conn::{Conn, InFlight, Phase};
pub use counts::{Histogram, Measured, ShardCounts, Summary};
use proto::connect::{ConnectRequest, ConnectResponse};
use proto::reply::ReplyHeader;
use proto::request::{Request, RequestHeader};
use proto::watch::{self, EventType};
use proto::{ErrorCode, OpCode, Perms, Xid, Zxid, jute, path};
use std::collections::VecDeque;
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
    /// How long a connection may take for its handshake, in µs.
    pub handshake_us_max: u64,
    /// Who may do what, and who must prove who they are.
    pub auth: Arc<AuthRules>,
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
            handshake_us_max: 10_000_000,
            auth: Arc::new(AuthRules::default()),
            nonce_secret: [0; 32],
            throttle: Arc::new(Throttle::new(ThrottleOptions::default(), 1)),
        }
    }
}

/// Requests of one connection that one visit serves, so that a busy one does not keep the others waiting.
const REQUESTS_PER_VISIT: usize = 64;
/// Bytes of replies that one call of [`ShardState::serve`] produces before it lets go of the lock.
const SERVE_BYTES_MAX: usize = 1 << 20;
/// Requests that one call of [`ShardState::serve`] deals with before it lets go of the lock.
const SERVE_REQUESTS_MAX: usize = 1_024;

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
    /// The session went elsewhere or ended.
    Detached(Detach),
    /// Authentication failed.
    AuthFailed,
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

/// A limit of the whole server that makes requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// `globalOutstandingLimit`.
    Outstanding,
    /// `request_throttle_max_requests`.
    Throttler,
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
    ready: VecDeque<ConnId>,
    forwards: ForwardBatch,
    actions: Vec<Action>,
    counts: ShardCounts,
    measured: Measured,
    /// Requests of all its connections that the core has.
    in_flight: usize,
    /// Requests that the other shards had in work when this one last looked.
    in_flight_elsewhere: usize,
    /// Connections that the request throttler holds back.
    held: Vec<ConnId>,
    told_of_hold_us: u64,
    told: Vec<ConnId>,
    /// SASL challenges made so far.
    challenges: u64,
}

impl ShardState {
    /// A shard without connections, over a tree at `position`.
    #[must_use]
    pub fn new(options: ShardOptions, position: Zxid) -> ShardState {
        ShardState {
            options,
            conns: Vec::new(),
            conn_count: 0,
            watches: Watches::default(),
            position,
            ready: VecDeque::new(),
            forwards: ForwardBatch::default(),
            actions: Vec::new(),
            counts: ShardCounts::default(),
            measured: Measured::default(),
            in_flight: 0,
            in_flight_elsewhere: 0,
            held: Vec::new(),
            told_of_hold_us: 0,
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
        let Some(conn) = self.conns.get_mut(id.slot as usize).and_then(Option::take) else { return };
        self.conn_count -= 1;
        // As in ZooKeeper: those whose client went away.
        self.counts.connections_dropped += u64::from(conn.phase != Phase::Closing);
        self.in_flight -= conn.in_flight.len();
        for request in conn.in_flight.iter().filter(|request| request.large_bytes > 0) {
            self.options.throttle.give_back_large(request.large_bytes);
        }
        let drops_stale = self.options.throttle.options().drop_stale;
        self.counts.stale_requests_dropped += u64::from(conn.is_held && drops_stale);
        self.watches.remove_conn(id);
        if conn.session.0 != 0 {
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

    // ---- what comes in from the core ------------------------------------------------------------------------------------

    /// Works off a batch of the stream: fires watches, writes replies.
    pub fn on_stream(&mut self, batch: &StreamBatch, now_us: u64) {
        for item in &batch.items {
            match item {
                StreamItem::Change(change) => self.fire(change),
                StreamItem::Reply { to, xid, zxid, err, body, close } if self.is_mine(*to) => {
                    let record = batch.bytes.get(body.clone()).unwrap_or_default();
                    let header = ReplyHeader { xid: *xid, zxid: *zxid, err: *err };
                    self.reply(to.conn, header, record, *close, now_us);
                }
                StreamItem::Connected { to, response, .. } if self.is_mine(*to) => {
                    self.connected(to.conn, response, batch.zxid, now_us);
                }
                StreamItem::Refused { to, reason } if self.is_mine(*to) => {
                    self.abort(to.conn, CloseReason::Refused(*reason));
                }
                StreamItem::Detached { from, reason, .. } if self.is_mine(*from) => {
                    self.close_after_flush(from.conn, CloseReason::Detached(*reason));
                }
                _ => {}
            }
        }
        self.position = self.position.max(batch.zxid);
        self.options.throttle.set_in_flight(usize::from(self.options.shard.0), self.in_flight);
        self.release_held_if_room();
    }

    fn connected(&mut self, id: ConnId, response: &ConnectResponse, zxid: Zxid, now_us: u64) {
        let Some(conn) = self.conn_mut(id) else { return };
        if conn.phase != Phase::Connecting {
            return;
        }
        jute::frame(&mut conn.out, |w| response.write(w));
        let latency_us = now_us.saturating_sub(conn.connect_us);
        conn.counts.packets_sent += 1;
        if response.session_id.0 == 0 {
            self.close_after_flush(id, CloseReason::NoSession);
        } else {
            conn.phase = Phase::Ready;
            conn.session = response.session_id;
            conn.timeout_ms = response.timeout_ms;
            if !conn.renews {
                conn.counts.answered(
                    asked::short_name(OpCode::CreateSession),
                    0,
                    zxid.0.cast_signed(),
                    now_us,
                    latency_us,
                );
            }
            self.make_ready(id);
        }
        self.counts.packets_sent += 1;
        self.took(Way::Core, latency_us);
        self.dirty(id);
    }

    fn reply(&mut self, id: ConnId, header: ReplyHeader, record: &[u8], close: bool, now_us: u64) {
        let Some(conn) = self.conn_mut(id) else { return };
        if conn.phase == Phase::Closing {
            return;
        }
        let request = conn.in_flight.pop_front().expect("a reply has its request");
        assert!(request.xid == header.xid, "replies come in the order of their requests");
        let large_bytes = request.large_bytes;
        conn.write_header_position(header.zxid);
        let record = if header.err == 0 { record } else { &[] };
        let out_before = conn.out.len();
        jute::frame(&mut conn.out, |w| {
            header.write(w);
            w.raw(record);
        });
        let bytes = conn.out.len() - out_before;
        let latency_us = now_us.saturating_sub(request.received_us);
        conn.counts.packets_sent += 1;
        let (op, xid, zxid) = (asked::short_name(request.op), header.xid.0, header.zxid.0.cast_signed());
        conn.counts.answered(op, xid, zxid, now_us, latency_us);
        // What waited behind this write may go on; what waited for room among the requests in flight too.
        self.make_ready(id);
        self.in_flight -= 1;
        if large_bytes > 0 {
            self.options.throttle.give_back_large(large_bytes);
        }
        self.counts.replied(bytes);
        self.took(Way::Core, latency_us);
        self.dirty(id);
        if close {
            self.close_after_flush(id, CloseReason::SessionClosed);
        }
    }

    fn fire(&mut self, change: &Change) {
        if self.watches.is_empty() {
            return;
        }
        let parent = path::split(&change.path).map_or("/", |(parent, _)| parent);
        let mut told = std::mem::take(&mut self.told);
        match change.kind {
            ChangeKind::DataChanged => {
                self.watches.trigger_data(&change.path, &mut told);
                self.tell(&mut told, EventType::NodeDataChanged, change.zxid, &change.path, &change.guard);
            }
            ChangeKind::Created => {
                self.watches.trigger_data(&change.path, &mut told);
                self.tell(&mut told, EventType::NodeCreated, change.zxid, &change.path, &change.guard);
            }
            ChangeKind::Deleted => {
                self.watches.trigger_deleted(&change.path, &mut told);
                self.tell(&mut told, EventType::NodeDeleted, change.zxid, &change.path, &change.guard);
            }
        }
        if change.kind != ChangeKind::DataChanged {
            self.watches.trigger_child(parent, &mut told);
            self.tell(&mut told, EventType::NodeChildrenChanged, change.zxid, parent, &change.parent_guard);
        }
        self.told = told;
    }

    /// Sends an event to each connection that may read the znode. The watches have been used up in any case.
    fn tell(&mut self, told: &mut Vec<ConnId>, ty: EventType, zxid: Zxid, path: &str, guard: &Guard) {
        let rules = Arc::clone(&self.options.auth);
        if !told.is_empty() {
            let summary = match ty {
                EventType::NodeCreated => &mut self.measured.created,
                EventType::NodeDeleted => &mut self.measured.deleted,
                EventType::NodeChildrenChanged => &mut self.measured.children,
                _ => &mut self.measured.changed,
            };
            summary.add(told.len() as u64);
        }
        for id in told.drain(..) {
            let output_bytes_max = self.options.output_bytes_max;
            let Some(conn) = self.conn_mut(id) else { continue };
            let may = guard.as_ref().is_none_or(|acl| rules.check_acl(acl, Perms::READ, &conn.ids).is_ok());
            // Who ends its session still hears of its own ephemerals, before the reply.
            if !matches!(conn.phase, Phase::Ready | Phase::Ending) || !may {
                continue;
            }
            if conn.output_bytes() > output_bytes_max {
                self.counts.output_limit_closes += 1;
                self.abort(id, CloseReason::OutputLimit);
                continue;
            }
            let out_before = conn.out.len();
            watch::write_event_frame(&mut conn.out, ty, zxid, path);
            let bytes = (conn.out.len() - out_before - 4) as u64;
            conn.counts.packets_sent += 1;
            self.counts.packets_sent += 1;
            self.counts.watch_bytes += bytes;
            self.counts.events_sent += 1;
            self.dirty(id);
        }
    }

    // ---- requests -------------------------------------------------------------------------------------------------------

    /// Serves what is ready, from a tree that shows exactly what the stream has brought. `has_room`: may requests be forwarded?
    ///
    /// # Panics
    /// If the tree is at another position than the stream.
    pub fn serve(&mut self, tree: &Tree, has_room: bool, now_us: u64) -> Served {
        assert!(
            tree.last_zxid() == self.position,
            "the tree is at {}, the stream at {}",
            tree.last_zxid(),
            self.position
        );
        self.in_flight_elsewhere = self.options.throttle.in_flight_elsewhere(usize::from(self.options.shard.0));
        let mut bytes_left = SERVE_BYTES_MAX;
        let mut requests_left = SERVE_REQUESTS_MAX;
        let mut no_room = false;
        let mut visits = self.ready.len();
        while visits > 0 && bytes_left > 0 && requests_left > 0 {
            visits -= 1;
            let Some(id) = self.ready.pop_front() else { break };
            let Some(mut conn) = self.take(id) else { continue };
            conn.is_queued = false;
            let output_before = conn.out.len();
            let received_before = conn.counts.packets_received;
            let visit = self.visit(&mut conn, tree, has_room, now_us);
            bytes_left = bytes_left.saturating_sub(conn.out.len().saturating_sub(output_before));
            let requests = conn.counts.packets_received - received_before;
            requests_left = requests_left.saturating_sub(usize::try_from(requests).unwrap_or(usize::MAX));
            self.counts.packets_received += requests;
            let has_output = !conn.out.is_empty();
            let resume = conn.is_paused && conn.undecoded().len() <= self.options.frame_bytes_max;
            conn.is_paused &= !resume;
            self.put_back(conn);
            if resume {
                self.actions.push(Action::Resume(id));
            }
            if has_output {
                self.dirty(id);
            }
            match visit {
                Visit::Waits => {}
                Visit::More => {
                    self.make_ready(id);
                    visits += 1;
                }
                Visit::Held(hold) => self.hold(id, hold, now_us),
                Visit::NoRoom => {
                    self.make_ready(id);
                    no_room = true;
                }
                Visit::Close(reason) => self.close_after_flush(id, reason),
                Visit::Abort(reason) => {
                    self.counts.large_requests_rejected += u64::from(reason == CloseReason::LargeRequest);
                    self.abort(id, reason);
                }
                Visit::FourLetterWord(word) => {
                    self.counts.packets_received += 1;
                    self.counts.bytes_received += 4;
                    self.set_closing(id);
                    self.actions.push(Action::FourLetterWord(id, word));
                }
            }
        }
        self.options.throttle.set_in_flight(usize::from(self.options.shard.0), self.in_flight);
        match (self.ready.is_empty(), no_room) {
            (true, _) => Served::All,
            (false, true) => Served::NoRoom,
            (false, false) => Served::More,
        }
    }

    /// Deals with a connection's requests until it has to wait.
    fn visit(&mut self, conn: &mut Conn, tree: &Tree, has_room: bool, now_us: u64) -> Visit {
        // The frames are borrowed from the input while the connection changes: so it is taken out for the visit.
        let input = std::mem::take(&mut conn.input);
        let mut start = conn.input_start;
        let mut visit = Visit::More;
        for _ in 0..REQUESTS_PER_VISIT {
            let rest = input.get(start..).unwrap_or_default();
            match self.next_frame(conn, rest) {
                Err(stop) => {
                    visit = stop;
                    break;
                }
                Ok(frame) => match self.deal_with(conn, frame, tree, has_room, now_us) {
                    Step::Done => {
                        conn.counts.packets_received += 1;
                        self.counts.bytes_received += 4 + frame.len() as u64;
                        start += 4 + frame.len();
                    }
                    Step::Stop(stop) => {
                        visit = stop;
                        break;
                    }
                },
            }
        }
        conn.input = input;
        conn.input_start = start;
        conn.consume(0);
        visit
    }

    /// The next whole frame, without its length.
    fn next_frame<'i>(&self, conn: &Conn, input: &'i [u8]) -> Result<&'i [u8], Visit> {
        let blocked = conn.output_bytes() > self.options.output_bytes_soft;
        if blocked || !matches!(conn.phase, Phase::New | Phase::Ready) {
            return Err(Visit::Waits);
        }
        let (prefix, rest) = input.split_first_chunk::<4>().ok_or(Visit::Waits)?;
        if conn.phase == Phase::New && is_four_letter_word(*prefix) {
            return Err(Visit::FourLetterWord(*prefix));
        }
        match usize::try_from(i32::from_be_bytes(*prefix)) {
            Ok(len) if len <= self.options.frame_bytes_max => {
                let throttle = &self.options.throttle;
                if throttle.is_large(len) && conn.phase == Phase::Ready && !throttle.has_room_for_large(len) {
                    return Err(Visit::Abort(CloseReason::LargeRequest));
                }
                rest.get(..len).ok_or(Visit::Waits)
            }
            _ => Err(Visit::Abort(CloseReason::FrameLength)),
        }
    }

    fn deal_with(&mut self, conn: &mut Conn, frame: &[u8], tree: &Tree, has_room: bool, now_us: u64) -> Step {
        if conn.phase == Phase::New {
            return if has_room { self.handshake(conn, frame, now_us) } else { Step::Stop(Visit::NoRoom) };
        }
        let mut reader = jute::Reader::new(frame);
        let Ok(header) = RequestHeader::read(&mut reader) else {
            return Step::Stop(Visit::Abort(CloseReason::Malformed));
        };
        let body = reader.rest();
        let op = OpCode::from_wire(header.op);
        match op {
            Some(OpCode::Auth) => return self.authenticate(conn, header.xid, body),
            Some(OpCode::Sasl) => return self.sasl(conn, header.xid, body),
            _ if !self.options.auth.admits(&conn.ids) => return self.turn_away(conn, header.xid),
            Some(OpCode::Ping) => {
                self.answer_header(conn, ReplyHeader::ok(Xid::PING, self.position));
                conn.counts.answered("PING", header.xid.0, self.position.0.cast_signed(), now_us, 0);
                self.took(Way::Shard, 0);
                return Step::Done;
            }
            _ => {}
        }
        // deleteContainer is the server's own; ZooKeeper serves it from anybody, which we refuse on purpose.
        let refused = matches!(op, None | Some(OpCode::Check | OpCode::DeleteContainer));
        let mut unreadable_takes_zxid = false;
        let request = match op.filter(|_| !refused).map(|op| Request::read(op, &mut reader)) {
            Some(Ok(Some(request))) => Some(Ok(request)),
            Some(Err(error)) => {
                unreadable_takes_zxid = takes_zxid_unread(op, error);
                Some(Err(ErrorCode::MarshallingError))
            }
            Some(Ok(None)) | None => None,
        };
        let to_core = match &request {
            Some(Ok(request)) => request.op().is_write() || request.op() == OpCode::Sync,
            Some(Err(_)) => unreadable_takes_zxid,
            None => false,
        };
        if let Some(op) = op.filter(|_| to_core) {
            return match self.admit(conn, &header, op, frame.len(), now_us) {
                Ok(large_bytes) => {
                    let request = InFlight { xid: header.xid, op, large_bytes, received_us: now_us };
                    let step = self.forward(conn, request, body, has_room);
                    if large_bytes > 0 && !matches!(step, Step::Done) {
                        self.options.throttle.give_back_large(large_bytes);
                    }
                    step
                }
                Err(step) => step,
            };
        }
        // What is answered here waits until every write before it has been.
        if !conn.in_flight.is_empty() {
            return Step::Stop(Visit::Waits);
        }
        match request {
            Some(Ok(request)) => self.read(conn, header.xid, &request, tree),
            Some(Err(code)) => self.answer_header(conn, ReplyHeader::error(header.xid, self.position, code)),
            None => {
                self.answer_header(conn, ReplyHeader::error(header.xid, watch::NO_ZXID, ErrorCode::Unimplemented));
                return Step::Stop(Visit::Close(CloseReason::UnknownOperation));
            }
        }
        let short = op.map_or("NA", asked::short_name);
        conn.counts.answered(short, header.xid.0, self.position.0.cast_signed(), now_us, 0);
        self.took(Way::Shard, 0);
        Step::Done
    }

    fn handshake(&mut self, conn: &mut Conn, frame: &[u8], now_us: u64) -> Step {
        let Ok(request) = ConnectRequest::decode(frame) else {
            return Step::Stop(Visit::Abort(CloseReason::Malformed));
        };
        if !self.options.throttle.try_connect(request.session_id.0 != 0, now_us) {
            self.counts.connects_throttled += 1;
            return Step::Stop(Visit::Abort(CloseReason::NoTokens));
        }
        self.forwards.items.push(Forward::Connect {
            from: self.attachment(conn.id),
            last_zxid_seen: request.last_zxid_seen,
            timeout_ms: request.timeout_ms,
            session: request.session_id,
            password: request.password.try_into().ok(),
            read_only: request.read_only,
        });
        conn.connect_us = now_us;
        conn.renews = request.session_id.0 != 0;
        self.counts.connect_requests += 1;
        self.counts.renewals += u64::from(conn.renews);
        conn.phase = Phase::Connecting;
        Step::Done
    }

    fn forward(&mut self, conn: &mut Conn, request: InFlight, body: &[u8], has_room: bool) -> Step {
        let InFlight { xid, op, .. } = request;
        if conn.in_flight.len() >= self.options.in_flight_max {
            return Step::Stop(Visit::Waits);
        }
        if !has_room {
            return Step::Stop(Visit::NoRoom);
        }
        let start = self.forwards.bytes.len();
        self.forwards.bytes.extend_from_slice(body);
        let body = start..self.forwards.bytes.len();
        let (from, session, ids) = (self.attachment(conn.id), conn.session, Arc::clone(&conn.ids));
        self.forwards.items.push(Forward::Request { from, session, xid, op, body, ids });
        conn.in_flight.push_back(request);
        self.in_flight += 1;
        if op == OpCode::CloseSession {
            conn.phase = Phase::Ending;
        }
        Step::Done
    }

    fn read(&mut self, conn: &mut Conn, xid: Xid, request: &Request<'_>, tree: &Tree) {
        conn.write_header_position(self.position);
        let mut reader = reads::Reader {
            tree,
            watches: &mut self.watches,
            conn: conn.id,
            session: conn.session,
            rules: &self.options.auth,
            ids: &conn.ids,
            zxid: self.position,
            reply_bytes_max: self.options.reply_bytes_max,
        };
        let out_before = conn.out.len();
        reader.answer(xid, request, &mut conn.out);
        conn.counts.packets_sent += 1;
        self.counts.replied(conn.out.len() - out_before);
    }

    fn answer_header(&mut self, conn: &mut Conn, header: ReplyHeader) {
        let out_before = conn.out.len();
        jute::frame(&mut conn.out, |w| header.write(w));
        conn.counts.packets_sent += 1;
        self.counts.replied(conn.out.len() - out_before);
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

    fn make_ready(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if !conn.is_queued && !conn.undecoded().is_empty() {
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
    /// A limit of the whole server holds it back.
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

/// Does a request that cannot be read become an error txn? In ZooKeeper (`PrepRequestProcessor`, 3.9) a multi does, but not for a null ACL,
/// and so does a create or delete that is whole and has no path.
fn takes_zxid_unread(op: Option<OpCode>, error: jute::DecodeError) -> bool {
    match op {
        Some(OpCode::Multi) => error != jute::DecodeError::NullAcl,
        Some(op) => op.is_write() && error == jute::DecodeError::UnexpectedNull,
        None => false,
    }
}

/// ZooKeeper's four-letter words, and what telnet sends for Ctrl-C.
fn is_four_letter_word(bytes: [u8; 4]) -> bool {
    const WORDS: [&[u8; 4]; 18] = [
        b"conf", b"cons", b"crst", b"dirs", b"dump", b"envi", b"gtmk", b"hash", b"isro", b"mntr", b"ruok", b"srst",
        b"srvr", b"stat", b"stmk", b"wchc", b"wchp", b"wchs",
    ];
    WORDS.contains(&&bytes) || bytes == [0xff, 0xf4, 0xff, 0xfd]
}
