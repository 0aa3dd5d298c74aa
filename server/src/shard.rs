//! A shard's thread: turns the completions of [`crate::rt`] into calls of [`ShardState`], and what comes out of it into commands.
//!
//! Owns the order of a turn: work off the stream; then, under the shard's side of the tree's lock, work off what the tree shows and serve
//! requests; let go; hand requests to the core; send. The lock is held for a bounded number of requests and bytes (see
//! [`ShardState::serve`]), several times a turn if there is more. It decides nothing about the protocol.
#![forbid(unsafe_code)]

use crate::cold::ColdReads;
use crate::consensus::{Core, Turn};
use crate::hub::{Hub, ShardLink};
use crate::limits::{LimitKind, Limits, OverLimit, plain};
use crate::long::LongReads;
use crate::rt::{Accept, AfterEof, CloseReason, ConnId, Doorbell, Handler, Io};
use crate::stats;
use crate::watchdog::{ENDED, IDLE, WAIT_MAX};
use engine::shard::{Action, CloseReason as Reason, Hold, Note, Served, ShardState};
use engine::stream;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
use wal::UringDisk;

/// Times that a turn takes the lock before it lets its connections' replies go.
const ROUNDS_PER_TURN: usize = 8;

/// A socket that sent a four-letter word: the control plane answers and closes it.
#[derive(Debug)]
pub struct FourLetterCall {
    /// The socket, blocking.
    pub socket: OwnedFd,
    /// The word.
    pub word: [u8; 4],
    /// What came behind it.
    pub argument: Vec<u8>,
}

/// How soon a shard that was asked whom it heard looks again, where handshakes are still to be read.
const LOOK_AGAIN_AFTER: Duration = Duration::from_micros(100);

/// See the module.
#[derive(Debug)]
pub struct ShardHandler {
    state: ShardState,
    hub: Arc<Hub>,
    number: usize,
    limits: Arc<Limits>,
    aides: Aides,
    /// Where each connection comes from, by slot: for the limits.
    peers: Vec<Option<SocketAddr>>,
    /// Connections whose socket had not taken everything when they were last looked at.
    lagging: Vec<ConnId>,
    tick: Duration,
    next_tick: Instant,
    /// When the turn before the last one and the last one ended, in µs. Whoever had knocked by the former has been accepted by the last turn's wait.
    turns_ended_us: [u64; 2],
    /// Up to when the core was told that it knows of all who were heard; 0 before it ever asked.
    told_heard_us: u64,
    hosted: Option<HostedCore>,
    /// It takes its last turn.
    has_ended: bool,
    /// How often requests that the throttler holds back are looked at, and when next.
    stall: Duration,
    next_look: Instant,
}

/// The threads to which a shard hands what may wait for a disk or would take long.
#[derive(Clone, Debug)]
pub struct Aides {
    /// Takes the four-letter words.
    pub words: SyncSender<FourLetterCall>,
    /// Bring parts of the image into memory.
    pub cold_reads: ColdReads,
    /// Make replies that take long.
    pub long_reads: LongReads,
}

/// The consensus core, where it has no thread of its own.
#[derive(Debug)]
pub struct HostedCore {
    /// Takes its turns within the shard's.
    pub core: Core<UringDisk>,
    /// Where it goes when the shard stops: it has work to finish.
    pub back: SyncSender<Core<UringDisk>>,
}

impl ShardHandler {
    /// A shard's handler. `tick`: how often sessions that were heard of are reported; `stall`: how often requests that the throttler holds back
    /// are looked at.
    #[must_use]
    pub fn new(
        state: ShardState,
        hub: Arc<Hub>,
        number: usize,
        limits: Arc<Limits>,
        aides: Aides,
        tick: Duration,
        stall: Duration,
    ) -> ShardHandler {
        let next_tick = Instant::now() + tick;
        ShardHandler {
            state,
            hub,
            number,
            limits,
            aides,
            peers: Vec::new(),
            lagging: Vec::new(),
            tick,
            next_tick,
            turns_ended_us: [0; 2],
            has_ended: false,
            told_heard_us: 0,
            hosted: None,
            stall,
            next_look: next_tick,
        }
    }

    /// The shard with the consensus core in it; `bell` is the shard's.
    #[must_use]
    pub fn hosting(self, mut hosted: HostedCore, bell: Doorbell) -> ShardHandler {
        hosted.core.use_bell(bell);
        ShardHandler { hosted: Some(hosted), ..self }
    }

    fn ring_core(&self) {
        // A core that this shard hosts takes its turn in this one's.
        if self.hosted.is_none() {
            self.hub.ring_core();
        }
    }

    fn link(&self) -> &ShardLink {
        self.hub.shards.get(self.number).expect("a shard's number is below the count of shards")
    }

    /// Works off everything that the core has pushed. Never needs the lock.
    fn drain_stream(&mut self, now_us: u64) {
        let mut any = false;
        while let Some(batch) = self.link().stream.pop() {
            self.state.on_stream(&batch, now_us);
            any = true;
        }
        if any && self.link().stream.made_room() {
            self.ring_core();
        }
    }

    fn serve(&mut self, now_us: u64) -> Served {
        let hub = Arc::clone(&self.hub);
        let tree = hub.read_tree();
        let held_from_us = hub.now_us();
        self.drain_stream(now_us);
        let has_room = self.link().inbox.has_room();
        let served = self.state.serve(&tree, has_room, now_us);
        // Before the lock goes: the core looks at it under its own.
        self.link().stream.set_has_watches(self.state.watch_count() > 0);
        drop(tree);
        stats::max(&self.link().stats.lock_us_max, hub.now_us() - held_from_us);
        served
    }

    /// Serves what is ready and hands over what is for the core. True if there is more to do at once.
    fn serve_ready(&mut self, now_us: u64) -> bool {
        let served = if self.state.has_ready() { self.serve(now_us) } else { Served::All };
        let handed_over = self.hand_over();
        match served {
            Served::All => false,
            Served::More => true,
            // Else the core rings when it has room.
            Served::NoRoom => handed_over,
        }
    }

    /// Lets the core that this shard hosts, if any, take a turn. True if there may be more to do at once.
    fn take_core_turn(&mut self, io: &mut Io<'_>, now_us: u64) -> bool {
        let Some(hosted) = &mut self.hosted else { return false };
        match hosted.core.turn() {
            Turn::Progress => {
                self.drain_stream(now_us);
                true
            }
            Turn::Idle(wait) => {
                io.wake_at(io.now() + wait);
                false
            }
        }
    }

    /// Hands over what has gathered. True if it could.
    fn hand_over(&mut self) -> bool {
        if !self.link().inbox.has_room_or_asks() {
            return false;
        }
        if let Some(batch) = self.state.take_forwards() {
            self.link().inbox.push(batch);
            self.ring_core();
        }
        true
    }

    fn perform(&mut self, io: &mut Io<'_>, now_us: u64) {
        for (id, cold) in self.state.take_cold() {
            self.aides.cold_reads.ask(self.number, id, cold);
        }
        for (id, read) in self.state.take_long_reads() {
            self.aides.long_reads.ask(self.number, id, read);
        }
        for action in self.state.take_actions() {
            match action {
                Action::Send(id) => self.send(io, id),
                Action::CloseAfterFlush(id, reason) => {
                    self.send(io, id);
                    self.tell_of_limit(rt_id(id), reason);
                    tracing::debug!(conn = ?id, ?reason, "closing");
                    io.close_after_flush(rt_id(id));
                }
                Action::Abort(id, reason) => {
                    self.tell_of_limit(rt_id(id), reason);
                    tracing::debug!(conn = ?id, ?reason, "closing at once");
                    io.abort(rt_id(id));
                }
                Action::Held(id, hold) => {
                    let kind = match hold {
                        Hold::Outstanding => LimitKind::Outstanding,
                        Hold::Throttler => LimitKind::Throttler,
                        Hold::InFlight => LimitKind::InFlight,
                    };
                    self.tell(rt_id(id), kind, "requests wait");
                }
                Action::Noted(id, note) => {
                    let (kind, what) = match note {
                        Note::ReplyLimit => (LimitKind::Reply, "a reply is too large, and the client gets SystemError"),
                        Note::ThrottledOp => {
                            (LimitKind::ThrottledOp, "a request waited too long, and gets ThrottledOp")
                        }
                        Note::SaslFailed => (LimitKind::Sasl, "the proof failed, and the client may stay without it"),
                    };
                    self.tell(rt_id(id), kind, what);
                }
                Action::Pause(id) => io.pause_recv(rt_id(id)),
                Action::Resume(id) => io.resume_recv(rt_id(id)),
                Action::FourLetterWord(id, word) => {
                    let argument = self.state.word_argument(id);
                    let peer = self.peers.get(rt_id(id).slot as usize).copied().flatten();
                    let socket = io.detach(rt_id(id));
                    self.gone(rt_id(id));
                    // Whoever answers is to see neither the connection nor counts from before it.
                    self.publish_counts();
                    if let Some(socket) = socket {
                        // A control plane that is not keeping up sheds load: the socket closes unanswered.
                        let shed = self.aides.words.try_send(FourLetterCall { socket, word, argument }).is_err();
                        if let Some(peer) = peer.filter(|_| shed) {
                            stats::add(&self.hub.core_stats.words_refused, 1);
                            self.limits.tell(LimitKind::Words, peer, now_us, "too many wait: closed unanswered");
                        }
                    }
                }
            }
        }
    }

    fn tell(&self, conn: ConnId, kind: LimitKind, what: &str) {
        if let Some(peer) = self.peers.get(conn.slot as usize).copied().flatten() {
            self.limits.tell(kind, peer, self.hub.now_us(), what);
        }
    }

    fn tell_of_limit(&self, conn: ConnId, reason: Reason) {
        let (kind, what) = match reason {
            Reason::NoTokens => (LimitKind::NoTokens, "too many clients connect, and the connection is closed"),
            Reason::LargeRequest => {
                (LimitKind::LargeRequest, "a large request is refused, and the connection is closed")
            }
            Reason::StaleRequest => (LimitKind::Stale, "a request waited too long, and the connection is closed"),
            Reason::OutputLimit => (LimitKind::Output, "the client does not read, and the connection is closed"),
            Reason::FrameLength => (LimitKind::Frame, "a frame is too long, and the connection is closed"),
            Reason::HandshakeTimeout => (LimitKind::Sessionless, "no handshake in time, and the connection is closed"),
            Reason::TooManyIds => (LimitKind::Identities, "there are too many, and the connection is closed"),
            Reason::AuthFailed => (LimitKind::Auth, "the proof failed, and the connection is closed"),
            Reason::SaslFailed => (LimitKind::Sasl, "the proof failed, and the connection is closed"),
            Reason::AuthRequired => {
                (LimitKind::AuthRequired, "the client has not proved who it is, and the connection is closed")
            }
            Reason::WrongEnsemble => {
                (LimitKind::Ensemble, "the client means another ensemble, and the connection is closed")
            }
            _ => return,
        };
        self.tell(conn, kind, what);
    }

    fn send(&mut self, io: &mut Io<'_>, id: stream::ConnId) {
        if self.state.waits_for_output(id) {
            // A socket that takes everything at once gives no other reason for a turn.
            io.wake_at(io.now());
        }
        let Some(out) = self.state.take_output(id) else { return };
        if out.is_empty() {
            return;
        }
        io.send(rt_id(id), out);
        self.lagging.push(rt_id(id));
    }

    /// Tells the state what the sockets have taken since the last turn.
    fn look_at_lagging(&mut self, io: &mut Io<'_>) {
        let mut lagging = std::mem::take(&mut self.lagging);
        lagging.retain(|conn| {
            let unsent_bytes = io.unsent_bytes(*conn);
            self.state.sent(engine_id(*conn), unsent_bytes);
            unsent_bytes > 0
        });
        self.lagging = lagging;
    }

    /// Tells the core whom it has heard, a few times a tick; and when the core asks, because sessions are due, that these are all.
    fn tell_whom_it_heard(&mut self, io: &mut Io<'_>, now_us: u64) {
        if io.now() >= self.next_tick {
            self.next_tick = io.now() + self.tick;
            self.state.tick(now_us);
            if self.told_heard_us == 0 {
                // From now on this shard is asked.
                self.state.tell_heard_until(0);
            }
        }
        let asked_us = self.link().heard_until_asked();
        if asked_us <= self.told_heard_us {
            return;
        }
        // Whoever had knocked by the turn before the last one has been accepted since. What they and the others have sent may lie there still: a
        // wait receives no more than it has buffers for.
        let [heard_until_us, _] = self.turns_ended_us;
        let has_looked = heard_until_us >= asked_us
            && self.state.look_for_unread(asked_us, now_us, |conn| io.has_unread(rt_id(conn)));
        if !has_looked {
            io.wake_at(io.now() + LOOK_AGAIN_AFTER);
            return;
        }
        self.told_heard_us = heard_until_us;
        self.state.tick(now_us);
        self.state.tell_heard_until(heard_until_us);
    }

    fn gone(&mut self, conn: ConnId) {
        self.state.closed(engine_id(conn));
        if let Some(peer) = self.peers.get_mut(conn.slot as usize).and_then(Option::take) {
            self.limits.connections.leave(peer.ip());
        }
    }

    fn publish_counts(&self) {
        self.link().stats.publish(self.state.counts(), self.state.conn_count(), self.state.watch_count());
    }

    /// Answers the control plane. Never in a request's way: it is the end of a turn.
    fn answer_questions(&mut self) {
        // As many as wait now: quick askers must not keep the shard from its clients. A later one rings.
        for _ in 0..self.link().questions.len() {
            let Some(question) = self.link().questions.pop() else { break };
            question.put(&mut self.state);
            // Before the next question: who has had an answer to one sees what the one before it changed.
            self.publish_counts();
        }
    }
}

impl Handler for ShardHandler {
    fn on_accept(&mut self, conn: ConnId, peer: SocketAddr) -> Accept {
        let peer = plain(peer);
        if let Err(limit) = self.limits.connections.enter(peer.ip()) {
            stats::add(&self.link().stats.connections_refused, 1);
            let kind = match limit {
                OverLimit::PerAddress(_) => LimitKind::PerAddress,
                OverLimit::Total(_) => LimitKind::Total,
            };
            self.limits.tell(kind, peer, self.hub.now_us(), "the connection is refused");
            return Accept::Refuse;
        }
        let slot = conn.slot as usize;
        if self.peers.len() <= slot {
            self.peers.resize(slot + 1, None);
        }
        if let Some(place) = self.peers.get_mut(slot) {
            *place = Some(peer);
        }
        self.state.accept(engine_id(conn), peer, self.hub.now_us());
        Accept::Yes
    }

    fn on_recv(&mut self, conn: ConnId, bytes: &[u8]) {
        self.state.receive(engine_id(conn), bytes, self.hub.now_us());
    }

    fn on_eof(&mut self, conn: ConnId) -> AfterEof {
        // `echo ruok | nc` ends its side at once and still wants its answer.
        if self.state.awaits_first_frame(engine_id(conn)) { AfterEof::Keep } else { AfterEof::Close }
    }

    fn on_close(&mut self, conn: ConnId, reason: CloseReason) {
        tracing::debug!(?conn, ?reason, "closed");
        self.gone(conn);
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        stats::set(&self.link().stats.idle, 0);
        stats::add(&self.link().stats.turns, 1);
        let now_us = self.hub.now_us();
        self.look_at_lagging(io);
        while let Some(conn) = self.link().take_brought_in() {
            self.state.brought_in(conn);
        }
        while let Some((conn, reply)) = self.link().take_answered() {
            self.state.answered(conn, reply, now_us);
        }
        self.drain_stream(now_us);
        self.tell_whom_it_heard(io, now_us);
        if self.state.has_held() && io.now() >= self.next_look {
            self.next_look = io.now() + self.stall;
            self.state.release_held();
        }
        for round in 1.. {
            let more = self.serve_ready(now_us);
            let progress = self.take_core_turn(io, now_us);
            if !more && !progress {
                break;
            }
            if round == ROUNDS_PER_TURN {
                io.wake_at(io.now());
                break;
            }
        }
        if let Some(fd) = self.hosted.as_ref().and_then(|hosted| hosted.core.network_fd()) {
            io.watch(&fd);
        }
        self.perform(io, now_us);
        self.publish_counts();
        self.answer_questions();
        self.turns_ended_us = [self.turns_ended_us[1], self.hub.now_us()];
        if self.state.has_held() {
            io.wake_at(self.next_look);
        }
        // However long a tick is, the watchdog sees that the shard lives.
        io.wake_at(self.next_tick.min(io.now() + WAIT_MAX));
        stats::add(&self.link().stats.turns, 1);
        stats::set(&self.link().stats.idle, if self.has_ended { ENDED } else { IDLE });
    }

    fn on_stop_asked(&mut self, io: &mut Io<'_>) {
        if let Some(HostedCore { mut core, back }) = self.hosted.take() {
            core.release_log();
            // Whoever stops the server waits for it.
            let _nobody = back.try_send(core);
        }
        io.stop();
        self.has_ended = true;
    }
}

fn rt_id(id: stream::ConnId) -> ConnId {
    ConnId { slot: id.slot, generation: id.generation }
}

fn engine_id(id: ConnId) -> stream::ConnId {
    stream::ConnId { slot: id.slot, generation: id.generation }
}
