//! A client: it asks at random, keeps its session over lost connections, renews its watches, and writes all of it into the history.
//!
//! Owns one session at a time, and what a client library owns: xids, the newest zxid seen, the watches. It never looks at the server.

use super::{CLIENT_PORT, Ctx, SERVER};
use crate::history::{Answer, ClientId, Code, Event, Op, PartAnswer, SessionId, Stat, Told, Xid, Zxid};
use crate::world::network::{ConnId, Host, Side};
use crate::world::time::{Micros, Time};
use client::{AclList, PathList, encode_request};
use proto::connect::{ConnectRequest, ConnectResponse, Password};
use proto::reply::{OpResult, Reply, ReplyHeader};
use proto::request::{
    CreateMode, CreateRequest, MultiOp, MultiRequest, PathVersion, ReadRequest, Request, SetDataRequest,
    SetWatchesRequest,
};
use proto::watch::{EventType, NO_ZXID, WatcherEvent};
use proto::{OpCode, Reader, jute};
use std::collections::{BTreeSet, VecDeque};

/// Requests that a client sends before it has answers.
const IN_FLIGHT_MAX: usize = 8;
/// The session timeout that it asks for, ms.
const TIMEOUT_MS: i32 = 4_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    id: ClientId,
    host: Host,
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

impl Client {
    pub(super) const fn new(id: ClientId, host: Host) -> Client {
        Client {
            id,
            host,
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
        }
    }

    /// The machine it is on.
    pub(super) const fn host(&self) -> Host {
        self.host
    }

    /// Replies so far.
    pub(super) const fn replies(&self) -> u64 {
        self.replies
    }

    /// Is everything answered that it has asked?
    pub(super) fn is_content(&self) -> bool {
        self.phase == Phase::Ready && self.waiting.is_empty()
    }

    // ---- what it does by itself -----------------------------------------------------------------------------------------

    /// Looks at what there is to do; `asks`: may it ask for more? Returns when it wants to look again.
    pub(super) fn look(&mut self, ctx: &mut Ctx<'_>, asks: bool) -> Micros {
        match self.phase {
            Phase::Apart => {
                self.conn = Some(ctx.network.dial(ctx.now, self.host, SERVER, CLIENT_PORT));
                self.phase = Phase::Dialling;
                self.heard_at = ctx.now;
            }
            Phase::Dialling | Phase::Greeting => self.gives_up_if_silent(ctx),
            Phase::Ready => {
                self.gives_up_if_silent(ctx);
                if self.phase == Phase::Ready {
                    self.speak(ctx, asks);
                }
            }
        }
        ctx.chance.micros(Micros::ms(1), Micros::ms(if asks { 60 } else { 200 }))
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
        let data = format!("{}-{}", self.id.0, self.written);
        let chance = &mut *ctx.chance;
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
            ctx.network.send(ctx.now, conn, Side::Dialler, frame);
        }
    }

    /// The connection is over, or is given up.
    fn lose(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(conn) = self.conn.take() {
            ctx.network.close(ctx.now, conn, Side::Dialler);
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

    pub(super) fn connected(&mut self, ctx: &mut Ctx<'_>, conn: ConnId) {
        if self.conn != Some(conn) || self.phase != Phase::Dialling {
            return ctx.network.close(ctx.now, conn, Side::Dialler);
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

    pub(super) fn not_connected(&mut self, conn: ConnId) {
        if self.conn == Some(conn) {
            self.conn = None;
            self.phase = Phase::Apart;
        }
    }

    pub(super) fn closed(&mut self, ctx: &mut Ctx<'_>, conn: ConnId) {
        if self.conn == Some(conn) {
            self.lose(ctx);
        }
    }

    pub(super) fn arrived(&mut self, ctx: &mut Ctx<'_>, conn: ConnId, bytes: &[u8]) {
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
            ctx.tell(Event::Expired { client: self.id });
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
        ctx.tell(Event::Connected {
            client: self.id,
            session,
            server: Some(crate::history::ServerId(u64::from(SERVER.0))),
        });
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

/// The first whole frame, without its length.
fn whole_frame(input: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = input.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(i32::from_be_bytes(*prefix)).ok()?)
}

/// All whole frames, each with its length.
pub(super) fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(frame) = whole_frame(bytes) {
        let (whole, rest) = bytes.split_at(4 + frame.len());
        all.push(whole.to_vec());
        bytes = rest;
    }
    all
}

/// The xid of a reply, given with its length. A handshake's answer has none.
pub(super) fn xid_of(frame: &[u8]) -> Option<proto::Xid> {
    let header = ReplyHeader::read(&mut Reader::new(frame.get(4..)?)).ok()?;
    Some(header.xid).filter(|_| !is_greeting(frame))
}

/// Raises the zxid in a reply's header by one: a planted bug.
pub(super) fn raise_header(frame: &mut [u8]) {
    let is_reply = xid_of(frame).is_some_and(|xid| xid.0 > 0);
    if let Some(last) = frame.get_mut(15).filter(|_| is_reply) {
        *last = last.wrapping_add(1);
    }
}

/// A handshake's answer: protocol version 0, and 37 bytes.
fn is_greeting(frame: &[u8]) -> bool {
    frame.len() == 41 && frame.get(4..8) == Some(&[0; 4])
}

fn told_by(reply: &Reply<'_>) -> Answer {
    let text = |data: &Option<&[u8]>| String::from_utf8_lossy(data.unwrap_or_default()).into_owned();
    let names = |names: &jute::StrVec<'_>| Some(names.iter().map(str::to_owned).collect());
    let mut answer = Answer::default();
    match reply {
        Reply::Path(path) => answer.path = Some((*path).to_owned()),
        Reply::PathStat(path, stat) => (answer.path, answer.stat) = (Some((*path).to_owned()), Some(stat_of(stat))),
        Reply::Stat(stat) => answer.stat = Some(stat_of(stat)),
        Reply::DataStat(data, stat) => (answer.data, answer.stat) = (Some(text(data)), Some(stat_of(stat))),
        Reply::Strings(all) => answer.names = names(all),
        Reply::StringsStat(all, stat) => (answer.names, answer.stat) = (names(all), Some(stat_of(stat))),
        Reply::Multi(results) => answer.results = Some(results.iter().map(part_of).collect()),
        _ => {}
    }
    answer
}

fn part_of(result: &OpResult<'_>) -> PartAnswer {
    match result {
        OpResult::Create(path) => PartAnswer { path: Some((*path).to_owned()), ..PartAnswer::default() },
        OpResult::Create2(_, path, stat) => {
            PartAnswer { path: Some((*path).to_owned()), stat: Some(stat_of(stat)), ..PartAnswer::default() }
        }
        OpResult::SetData(stat) => PartAnswer { stat: Some(stat_of(stat)), ..PartAnswer::default() },
        OpResult::Error(err) => PartAnswer { err: Code(*err), ..PartAnswer::default() },
        _ => PartAnswer::default(),
    }
}

/// A Stat in a history's words.
pub(super) const fn stat_of(stat: &proto::Stat) -> Stat {
    Stat {
        czxid: Zxid(stat.czxid.0),
        mzxid: Zxid(stat.mzxid.0),
        pzxid: Zxid(stat.pzxid.0),
        version: stat.version,
        cversion: stat.cversion,
        owner: SessionId(stat.ephemeral_owner.0),
        children: stat.num_children,
    }
}

/// The request as a frame, and the code by which its reply is read.
fn encode(xid: i32, op: &Op) -> (OpCode, Vec<u8>) {
    let acl = AclList::open();
    let [data, exist, child] = match op {
        Op::SetWatches { data, exist, child, .. } => {
            [data, exist, child].map(|paths| PathList::new(paths.iter().map(String::as_str)))
        }
        _ => [const { Vec::new() }; 3].map(|none: Vec<&str>| PathList::new(none.into_iter())),
    };
    let request = match op {
        Op::Create { .. } => {
            let (code, create) = create_of(xid, op, &acl);
            Request::Create(code, create)
        }
        Op::Set { path, data, version } => {
            Request::SetData(SetDataRequest { path, data: Some(data.as_bytes()), version: *version })
        }
        Op::Delete { path, version } => Request::Delete(PathVersion { path, version: *version }),
        Op::Check { path, version } => Request::Check(PathVersion { path, version: *version }),
        Op::Multi { ops } => {
            Request::Multi(MultiRequest { ops: ops.iter().filter_map(|op| part(xid, op, &acl)).collect() })
        }
        Op::Get { path, watch } => Request::GetData(ReadRequest { path, watch: *watch }),
        Op::Exists { path, watch } => Request::Exists(ReadRequest { path, watch: *watch }),
        Op::Children { path, watch } => Request::GetChildren2(ReadRequest { path, watch: *watch }),
        Op::Sync { path } => Request::Sync(path),
        Op::SetWatches { relative, .. } => Request::SetWatches(SetWatchesRequest {
            relative_zxid: proto::Zxid(relative.0),
            data: data.as_vec(),
            exist: exist.as_vec(),
            child: child.as_vec(),
            persistent: jute::StrVec::EMPTY,
            persistent_recursive: jute::StrVec::EMPTY,
        }),
        Op::Close => Request::CloseSession,
    };
    let mut frame = Vec::new();
    encode_request(&mut frame, proto::Xid(xid), &request);
    (request.op(), frame)
}

fn create_of<'a>(xid: i32, op: &'a Op, acl: &'a AclList) -> (OpCode, CreateRequest<'a>) {
    let Op::Create { path, data, ephemeral, sequential } = op else { unreachable!("only creates are asked for") };
    let mode = match (ephemeral, sequential) {
        (false, false) => CreateMode::Persistent,
        (true, false) => CreateMode::Ephemeral,
        (false, true) => CreateMode::PersistentSequential,
        (true, true) => CreateMode::EphemeralSequential,
    };
    let code = if xid % 3 == 0 { OpCode::Create } else { OpCode::Create2 };
    (code, CreateRequest { path, data: Some(data.as_bytes()), acl: acl.as_vec(), flags: mode as i32, ttl_ms: None })
}

fn part<'a>(xid: i32, op: &'a Op, acl: &'a AclList) -> Option<MultiOp<'a>> {
    Some(match op {
        Op::Create { .. } => {
            let (code, create) = create_of(xid, op, acl);
            MultiOp::Create(code, create)
        }
        Op::Set { path, data, version } => {
            MultiOp::SetData(SetDataRequest { path, data: Some(data.as_bytes()), version: *version })
        }
        Op::Delete { path, version } => MultiOp::Delete(PathVersion { path, version: *version }),
        Op::Check { path, version } => MultiOp::Check(PathVersion { path, version: *version }),
        _ => return None,
    })
}
