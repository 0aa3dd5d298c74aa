//! Simulated clients: they ask at random, keep their session over lost connections and from server to server, renew their watches, and write
//! all of it into the history.
//!
//! Owns one session at a time, and what a client library owns: xids, the newest zxid seen, the watches. It never looks into a server. Any driver of a
//! cluster can use it: it dials one of the machines that it was told of, and speaks the client protocol over [`Lines`], which are the world's [`Network`]
//! or, in `tests/tests/ensemble`, real connections.

use crate::history::{Answer, ClientId, Code, Event, History, Op, ServerId, SessionId, Told, Xid, Zxid};
use crate::world::chance::Chance;
use crate::world::network::{ConnId, Host, Network, Port, Side};
use crate::world::time::{Micros, Time};
use client::encode_request;
use proto::connect::{ConnectRequest, ConnectResponse, Password};
use proto::reply::{Reply, ReplyHeader};
use proto::request::Request;
use proto::watch::{EventType, NO_ZXID, WatcherEvent};
use proto::{OpCode, Reader, jute};
use std::collections::{BTreeSet, VecDeque};
use wire::{encode, told_by};

mod wire;

pub(crate) use wire::{frames, raise_header, whole_frame, xid_of};

/// The port on which servers listen for clients.
pub(crate) const CLIENT_PORT: Port = Port(2181);
/// Requests that a client sends before it has answers.
const IN_FLIGHT_MAX: usize = 8;
/// The session timeout that it asks for, ms.
const TIMEOUT_MS: i32 = 4_000;

/// See the module.
#[derive(Debug)]
pub struct Client {
    id: ClientId,
    host: Host,
    servers: Vec<(ServerId, Host)>,
    /// The server that it has dialled.
    server: ServerId,
    phase: Phase,
    conn: Option<ConnId>,
    session: Option<(SessionId, Password)>,
    /// The newest zxid in a reply's header.
    seen: Zxid,
    next_xid: i32,
    waiting: VecDeque<(i32, OpCode, Op)>,
    input: Vec<u8>,
    watches: BTreeSet<(Watched, String)>,
    heard_at: Time,
    sent_at: Time,
    /// Replies so far.
    replies: u64,
    written: u64,
    pause_max: Micros,
    moves_percent: u64,
    data_bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Apart,
    Dialling,
    Greeting,
    Ready,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Watched {
    Data,
    Exist,
    Child,
}

/// Connections from clients to servers, as a client uses them: what it hears of them it is told by its driver.
pub trait Lines {
    /// Dials the port for clients of a machine. [`Client::connected`] or [`Client::not_connected`] tells.
    fn dial(&mut self, now: Time, from: Host, to: Host) -> ConnId;
    /// Sends bytes. On a connection that is over they are dropped.
    fn send(&mut self, now: Time, conn: ConnId, bytes: &[u8]);
    /// Closes. Nothing more is heard of the connection.
    fn close(&mut self, now: Time, conn: ConnId);
}

impl Lines for Network {
    fn dial(&mut self, now: Time, from: Host, to: Host) -> ConnId {
        Network::dial(self, now, from, to, CLIENT_PORT)
    }

    fn send(&mut self, now: Time, conn: ConnId, bytes: &[u8]) {
        Network::send(self, now, conn, Side::Dialler, bytes);
    }

    fn close(&mut self, now: Time, conn: ConnId) {
        Network::close(self, now, conn, Side::Dialler);
    }
}

/// What a client may touch.
#[expect(missing_debug_implementations, reason = "borrows of a driver's parts, for one call")]
pub struct Ctx<'w> {
    /// The driver's clock.
    pub now: Time,
    /// What the client draws from.
    pub chance: &'w mut Chance,
    /// Its connections.
    pub lines: &'w mut dyn Lines,
    /// What it writes down.
    pub history: &'w mut History,
    /// What is wrong and no checker of the history would see.
    pub wrong: &'w mut Vec<String>,
}

impl Ctx<'_> {
    fn tell(&mut self, event: Event) {
        self.history.push(self.now.0, event);
    }

    fn wrong(&mut self, what: &str) {
        self.wrong.push(format!("at {}: {what}", self.now));
    }
}

impl Client {
    /// A client on this machine, and the servers that it may connect to.
    #[must_use]
    pub fn new(id: ClientId, host: Host, servers: &[(ServerId, Host)]) -> Client {
        Client {
            id,
            host,
            servers: servers.to_vec(),
            server: ServerId(0),
            phase: Phase::Apart,
            conn: None,
            session: None,
            seen: Zxid(0),
            next_xid: 0,
            waiting: VecDeque::new(),
            input: Vec::new(),
            watches: BTreeSet::new(),
            heard_at: Time(0),
            sent_at: Time(0),
            replies: 0,
            written: 0,
            pause_max: Micros::ms(60),
            moves_percent: 0,
            data_bytes_max: 0,
        }
    }

    /// In so many of 100 looks it takes its session elsewhere, while it asks and is answered.
    pub const fn set_moves_percent(&mut self, percent: u64) {
        self.moves_percent = percent;
    }

    /// While it asks it looks again after so long at the latest.
    pub const fn set_pause_max(&mut self, pause_max: Micros) {
        self.pause_max = pause_max;
    }

    /// Much of what it writes is as long as this.
    pub const fn set_data_bytes_max(&mut self, bytes: usize) {
        self.data_bytes_max = bytes;
    }

    /// The machine it is on.
    #[must_use]
    pub const fn host(&self) -> Host {
        self.host
    }

    /// Replies so far.
    #[must_use]
    pub const fn replies(&self) -> u64 {
        self.replies
    }

    /// Is everything answered that it has asked?
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.phase == Phase::Ready && self.waiting.is_empty()
    }

    // ---- what it does by itself -----------------------------------------------------------------------------------------

    /// Looks at what there is to do; `asks`: may it ask for more? Returns when it wants to look again.
    pub fn look(&mut self, ctx: &mut Ctx<'_>, asks: bool) -> Micros {
        match self.phase {
            Phase::Apart => self.dial(ctx),
            Phase::Dialling | Phase::Greeting => self.gives_up_if_silent(ctx),
            Phase::Ready => {
                self.gives_up_if_silent(ctx);
                if self.phase == Phase::Ready {
                    self.speak(ctx, asks);
                    if asks && self.moves_percent > 0 && ctx.chance.percent(self.moves_percent) {
                        self.moves(ctx);
                    }
                }
            }
        }
        ctx.chance.micros(Micros::ms(1), if asks { self.pause_max } else { Micros::ms(200) })
    }

    fn dial(&mut self, ctx: &mut Ctx<'_>) {
        if let Some((server, host)) = ctx.chance.pick(&self.servers).copied() {
            self.server = server;
            self.conn = Some(ctx.lines.dial(ctx.now, self.host, host));
            self.phase = Phase::Dialling;
            self.heard_at = ctx.now;
        }
    }

    /// Goes elsewhere, or to the same server, at once: what it has just asked may still be on its way there. One whose machine was given another
    /// address does not even close.
    fn moves(&mut self, ctx: &mut Ctx<'_>) {
        if ctx.chance.percent(50) {
            self.conn = None;
        }
        self.lose(ctx);
        self.dial(ctx);
    }

    fn gives_up_if_silent(&mut self, ctx: &mut Ctx<'_>) {
        if ctx.now - self.heard_at > Micros::ms(TIMEOUT_MS.unsigned_abs().into()) {
            self.lose(ctx);
        }
    }

    fn speak(&mut self, ctx: &mut Ctx<'_>, asks: bool) {
        if asks && ctx.chance.percent(70) {
            for _ in 0..ctx.chance.between(1, 3) {
                if self.waiting.len() < IN_FLIGHT_MAX && !matches!(self.waiting.back(), Some((.., Op::Close))) {
                    let op = self.an_op(ctx);
                    self.ask(ctx, op);
                }
            }
        }
        if ctx.now - self.sent_at > Micros::ms(TIMEOUT_MS.unsigned_abs().into()).third() {
            let mut frame = Vec::new();
            encode_request(&mut frame, proto::Xid::PING, &Request::Ping);
            self.send(ctx, &frame);
        }
    }

    fn an_op(&mut self, ctx: &mut Ctx<'_>) -> Op {
        self.written += 1;
        let chance = &mut *ctx.chance;
        let len = if self.data_bytes_max > 0 && chance.percent(50) { chance.below(self.data_bytes_max) } else { 0 };
        let data = format!("{}-{}{}", self.id.0, self.written, ".".repeat(len));
        let top = if chance.percent(50) { "/a" } else { "/b" };
        let child = format!("{top}/{}", if chance.percent(50) { "c" } else { "d" });
        let path = if chance.percent(35) { top.to_owned() } else { child.clone() };
        let watch = chance.percent(30);
        let version = if chance.percent(60) { -1 } else { i32::try_from(chance.between(0, 3)).unwrap_or(0) };
        let ephemeral = path != top && chance.percent(50);
        match chance.between(0, 99) {
            0..20 => Op::Create { path, data, ephemeral, sequential: false },
            20..26 => Op::Create { path: format!("{top}/s-"), data, ephemeral: chance.percent(50), sequential: true },
            26..44 => Op::Set { path, data, version },
            44..53 => Op::Delete { path, version },
            53..60 => {
                let check = Op::Check { path: top.to_owned(), version };
                let set = Op::Set { path: top.to_owned(), data: data.clone(), version: -1 };
                let create = Op::Create { path: child.clone(), data, ephemeral: false, sequential: false };
                let delete = Op::Delete { path: child, version: -1 };
                Op::Multi { ops: vec![check, if chance.percent(50) { create } else { delete }, set] }
            }
            60..74 => Op::Get { path, watch },
            74..84 => Op::Exists { path, watch },
            84..94 => Op::Children { path: top.to_owned(), watch },
            94..98 => Op::Sync { path },
            98 => Op::Close,
            _ => Op::Get { path: "/nowhere".to_owned(), watch },
        }
    }

    fn ask(&mut self, ctx: &mut Ctx<'_>, op: Op) {
        let xid = if matches!(op, Op::SetWatches { .. }) {
            proto::Xid::SET_WATCHES.0
        } else {
            self.next_xid += 1;
            self.next_xid
        };
        ctx.tell(Event::Ask { client: self.id, xid: Xid(xid.into()), op: op.clone() });
        let (code, frame) = encode(xid, &op);
        self.waiting.push_back((xid, code, op));
        self.send(ctx, &frame);
    }

    fn send(&mut self, ctx: &mut Ctx<'_>, frame: &[u8]) {
        self.sent_at = ctx.now;
        if let Some(conn) = self.conn {
            ctx.lines.send(ctx.now, conn, frame);
        }
    }

    /// The connection is over, or is given up.
    fn lose(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(conn) = self.conn.take() {
            ctx.lines.close(ctx.now, conn);
        }
        if self.phase == Phase::Ready {
            ctx.tell(Event::Lost { client: self.id });
        }
        self.phase = Phase::Apart;
        self.waiting.clear();
        self.input.clear();
    }

    /// The session is over.
    fn forget(&mut self) {
        self.session = None;
        self.seen = Zxid(0);
        self.watches.clear();
    }

    // ---- what it hears --------------------------------------------------------------------------------------------------

    /// The connection that it dialled stands.
    pub fn connected(&mut self, ctx: &mut Ctx<'_>, conn: ConnId) {
        if self.conn != Some(conn) || self.phase != Phase::Dialling {
            return ctx.lines.close(ctx.now, conn);
        }
        self.phase = Phase::Greeting;
        self.heard_at = ctx.now;
        let (session_id, password) =
            self.session.map_or_else(Default::default, |(session, password)| (session.0, password));
        let greeting = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: proto::Zxid(self.seen.0),
            timeout_ms: TIMEOUT_MS,
            session_id: proto::SessionId(session_id),
            password: &password,
            read_only: Some(false),
        };
        let mut frame = Vec::new();
        jute::frame(&mut frame, |w| greeting.write(w));
        self.send(ctx, &frame);
    }

    /// It does not stand: refused, or nobody answers.
    pub fn not_connected(&mut self, conn: ConnId) {
        if self.conn == Some(conn) {
            self.conn = None;
            self.phase = Phase::Apart;
        }
    }

    /// The connection is over, from the other side.
    pub fn closed(&mut self, ctx: &mut Ctx<'_>, conn: ConnId) {
        if self.conn == Some(conn) {
            self.lose(ctx);
        }
    }

    /// Bytes have come.
    pub fn arrived(&mut self, ctx: &mut Ctx<'_>, conn: ConnId, bytes: &[u8]) {
        if self.conn != Some(conn) {
            return;
        }
        self.heard_at = ctx.now;
        self.input.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut self.input);
        let mut start = 0;
        while let Some(frame) = whole_frame(input.get(start..).unwrap_or_default()) {
            start += 4 + frame.len();
            match self.phase {
                Phase::Greeting => self.greeted(ctx, frame),
                Phase::Ready => self.frame(ctx, frame),
                Phase::Apart | Phase::Dialling => {}
            }
        }
        input.drain(..start);
        if self.conn.is_some() {
            self.input = input;
        }
    }

    fn greeted(&mut self, ctx: &mut Ctx<'_>, frame: &[u8]) {
        let Ok(answer) = ConnectResponse::decode(frame) else { return ctx.wrong("a handshake's answer that is none") };
        if answer.session_id.0 == 0 {
            ctx.tell(Event::Expired { client: self.id, server: Some(self.server) });
            self.forget();
            return self.lose(ctx);
        }
        let session = SessionId(answer.session_id.0);
        if self.session.is_none() {
            // Xids are used once in a session; kept on, they never meet.
            self.seen = Zxid(0);
        }
        self.session = Some((session, answer.password));
        self.phase = Phase::Ready;
        ctx.tell(Event::Connected { client: self.id, session, server: Some(self.server) });
        if !self.watches.is_empty() {
            let of = |watched: Watched| {
                self.watches.iter().filter(|(of, _)| *of == watched).map(|(_, path)| path.clone()).collect()
            };
            let (data, exist, child) = (of(Watched::Data), of(Watched::Exist), of(Watched::Child));
            let relative = self.seen;
            self.ask(ctx, Op::SetWatches { relative, data, exist, child });
        }
    }

    fn frame(&mut self, ctx: &mut Ctx<'_>, frame: &[u8]) {
        let mut reader = Reader::new(frame);
        let Ok(header) = ReplyHeader::read(&mut reader) else { return ctx.wrong("a reply without a header") };
        match header.xid {
            proto::Xid::PING => {}
            proto::Xid::NOTIFICATION => match WatcherEvent::read(&mut reader) {
                Ok(event) => self.event(ctx, header.zxid, &event),
                Err(_) => ctx.wrong("an event that is none"),
            },
            _ => self.reply(ctx, &header, &mut reader),
        }
    }

    fn event(&mut self, ctx: &mut Ctx<'_>, zxid: proto::Zxid, event: &WatcherEvent<'_>) {
        let told = match EventType::from_wire(event.ty) {
            Some(EventType::NodeCreated) => Told::Created,
            Some(EventType::NodeDeleted) => Told::Deleted,
            Some(EventType::NodeDataChanged) => Told::Changed,
            Some(EventType::NodeChildrenChanged) => Told::Children,
            None => return ctx.wrong("an event of an unknown type"),
        };
        self.watches.retain(|(watched, path)| {
            let is_told = match told {
                Told::Deleted => true,
                Told::Children => *watched == Watched::Child,
                Told::Created | Told::Changed => *watched != Watched::Child,
            };
            !is_told || path != event.path
        });
        let zxid = (zxid != NO_ZXID).then_some(Zxid(zxid.0));
        ctx.tell(Event::Watch { client: self.id, told, path: event.path.to_owned(), zxid });
    }

    fn reply(&mut self, ctx: &mut Ctx<'_>, header: &ReplyHeader, reader: &mut Reader<'_>) {
        let front = self.waiting.front().filter(|(xid, ..)| *xid == header.xid.0).cloned();
        self.waiting.pop_front();
        let Some((_, code, op)) = front else {
            // The checker of orders will say more.
            let (client, xid) = (self.id, Xid(header.xid.0.into()));
            let (zxid, err) = (Zxid(header.zxid.0), Code(header.err));
            return ctx.tell(Event::Reply { client, xid, zxid, err, answer: Answer::default() });
        };
        let mut err = Code(header.err);
        let mut answer = Answer::default();
        if err == Code::OK {
            match Reply::read(code, reader) {
                Ok(reply) => answer = told_by(&reply),
                Err(_) => ctx.wrong("a reply that is none"),
            }
            let failed = answer.results.iter().flatten().map(|part| part.err).find(|err| *err != Code::OK);
            err = failed.unwrap_or(err);
        }
        let zxid = Zxid(header.zxid.0);
        if !err.is_refusal() {
            self.seen = self.seen.max(zxid);
        }
        self.replies += 1;
        ctx.tell(Event::Reply { client: self.id, xid: Xid(header.xid.0.into()), zxid, err, answer });
        match op {
            Op::Get { path, watch: true } if err == Code::OK => drop(self.watches.insert((Watched::Data, path))),
            Op::Children { path, watch: true } if err == Code::OK => drop(self.watches.insert((Watched::Child, path))),
            Op::Exists { path, watch: true } if err == Code::OK => drop(self.watches.insert((Watched::Data, path))),
            Op::Exists { path, watch: true } if err == Code::NO_NODE => {
                self.watches.insert((Watched::Exist, path));
            }
            Op::Close if err == Code::OK => {
                self.forget();
                self.lose(ctx);
            }
            _ => {}
        }
    }
}

impl Micros {
    const fn third(self) -> Micros {
        Micros(self.0 / 3)
    }
}
