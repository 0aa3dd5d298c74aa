//! A `ShardState` with the real `Replica` and `Tree` behind it, moved step by step: every point between two steps is a test's to choose.

use proto::connect::{ConnectRequest, ConnectResponse, Password};
use proto::reply::{Reply, ReplyHeader};
use proto::request::{CreateRequest, PathType, ReadRequest, Request, RequestHeader, SetAclRequest, SetDataRequest};
use proto::watch::{EventType, WatcherEvent};
use proto::{Acl, AclVec, ErrorCode, OpCode, Reader, SessionId, Writer, Xid, Zxid, jute};
use ringkeeper_engine::replica::{Forward, Now, Replica, ReplicaOptions};
use ringkeeper_engine::shard::{Action, Served, ShardOptions, ShardState};
use ringkeeper_engine::stream::{ConnId, StreamBatch};
use ringkeeper_engine::tree::Tree;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

/// One frame that a client got.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heard {
    /// The header's xid; -1 for an event.
    pub(crate) xid: i32,
    /// The header's zxid, as it stands on the wire.
    pub(crate) zxid: i64,
    /// 0, or an error code.
    pub(crate) err: i32,
    /// The rest, in words.
    pub(crate) text: String,
}

pub(crate) struct Rig {
    pub(crate) tree: Tree,
    pub(crate) replica: Replica,
    pub(crate) shard: ShardState,
    pub(crate) now_us: u64,
    /// What the wall clock said when `now_us` was 0, ms since 1970.
    pub(crate) epoch_ms: i64,
    /// Every txn that became durable.
    pub(crate) log: Vec<(Zxid, Vec<u8>)>,
    /// What the shard asked for, but for `Send`.
    actions: Vec<Action>,
    /// Connections that have something to send.
    sends: BTreeSet<ConnId>,
    /// The operations of requests whose replies are due, to decode those.
    asked: BTreeMap<(ConnId, i32), VecDeque<OpCode>>,
    /// The largest zxid in a header so far.
    positions: BTreeMap<ConnId, i64>,
    /// Connections so far.
    generation: u32,
    /// Where the next connections come from.
    pub(crate) client: Ipv4Addr,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        Rig::with(|_| {})
    }

    /// With other settings.
    pub(crate) fn with(set: impl FnOnce(&mut ShardOptions)) -> Rig {
        let mut options = ShardOptions::default();
        set(&mut options);
        Rig::over(Tree::new(), ReplicaOptions::default(), options)
    }

    /// Over a tree that has grown elsewhere.
    pub(crate) fn over(tree: Tree, options: ReplicaOptions, shard: ShardOptions) -> Rig {
        let (now_us, epoch_ms) = (1_000_000, 1_700_000_000_000);
        let replica = Replica::new(options, &tree, now(now_us, epoch_ms));
        let shard = ShardState::new(shard, tree.last_zxid());
        Rig {
            tree,
            replica,
            shard,
            now_us,
            epoch_ms,
            log: Vec::new(),
            actions: Vec::new(),
            sends: BTreeSet::new(),
            asked: BTreeMap::new(),
            positions: BTreeMap::new(),
            generation: 0,
            client: Ipv4Addr::LOCALHOST,
        }
    }

    // ---- the core's side ------------------------------------------------------------------------------------------------

    /// Hands what the shard forwards to the replica.
    pub(crate) fn forward(&mut self) {
        while let Some(batch) = self.shard.take_forwards() {
            self.replica.receive(now(self.now_us, self.epoch_ms), &self.tree, &batch);
        }
    }

    /// What was proposed becomes durable.
    pub(crate) fn commit(&mut self) {
        let Some(batch) = self.replica.take_appends() else { return };
        self.log.extend(batch.iter().map(|(zxid, bytes)| (zxid, bytes.to_vec())));
        if let Some((last, _)) = batch.iter().last() {
            self.replica.durable(now(self.now_us, self.epoch_ms), last);
        }
    }

    /// Applies at most `count_max` items and brings them to the shard.
    pub(crate) fn apply(&mut self, count_max: usize) {
        let mut batch = StreamBatch::default();
        self.replica.apply(&mut self.tree, &mut batch, count_max);
        self.shard.on_stream(&batch, self.now_us);
    }

    /// One call of serve.
    pub(crate) fn serve_once(&mut self, has_room: bool) -> Served {
        self.shard.serve(&self.tree, has_room, self.now_us)
    }

    /// Serves all that can be served now.
    pub(crate) fn serve(&mut self) {
        while self.serve_once(true) == Served::More {}
    }

    /// Everything that the core has is answered; nothing is served.
    pub(crate) fn answer(&mut self) {
        self.forward();
        self.commit();
        self.apply(usize::MAX);
    }

    /// Makes the replies to the long reads that were begun. True if there were any.
    pub(crate) fn answer_long(&mut self) -> bool {
        let reads = self.shard.take_long_reads();
        let any = !reads.is_empty();
        for (id, read) in reads {
            let reply = read.answer().expect("there is no disk");
            self.shard.answered(id, reply, self.now_us);
        }
        any
    }

    /// Goes on until nothing moves.
    pub(crate) fn settle(&mut self) {
        loop {
            self.serve();
            while self.answer_long() {
                self.serve();
            }
            self.forward();
            self.commit();
            if !self.replica.can_apply() {
                break;
            }
            self.apply(usize::MAX);
        }
        assert!(!self.shard.has_ready() && self.replica.pending_len() == 0);
    }

    /// The sessions that a look at the clock reports, with the ms at which they were heard.
    pub(crate) fn heard_on_tick(&mut self, now_us: u64) -> Vec<(SessionId, i64)> {
        self.now_us = now_us;
        self.shard.tick(now_us);
        let items = self.take_forwards();
        let heard = items.into_iter().flat_map(|item| match item {
            Forward::Heard(heard) => heard,
            other => panic!("only Heard is expected, not {other:?}"),
        });
        heard.collect()
    }

    /// What the shard would hand to the core now.
    pub(crate) fn take_forwards(&mut self) -> Vec<Forward> {
        self.shard.take_forwards().map(|batch| batch.items).unwrap_or_default()
    }

    // ---- the clients' side ----------------------------------------------------------------------------------------------

    pub(crate) fn accept(&mut self, slot: u32) -> ConnId {
        self.generation += 1;
        let id = ConnId { slot, generation: self.generation };
        self.shard.accept(id, SocketAddr::from((self.client, 20_000)), self.now_us);
        id
    }

    /// A connection with a new session.
    pub(crate) fn connect(&mut self, slot: u32) -> ConnId {
        let id = self.accept(slot);
        self.receive(id, &handshake(None, Some(false)));
        self.settle();
        assert_ne!(self.take_connected(id).session_id, SessionId(0));
        id
    }

    /// Bytes come in as they are.
    pub(crate) fn receive(&mut self, id: ConnId, bytes: &[u8]) {
        self.shard.receive(id, bytes, self.now_us);
    }

    /// Notes which replies are to come.
    pub(crate) fn expect(&mut self, id: ConnId, frames: &[Vec<u8>]) {
        for frame in frames {
            let header = RequestHeader::read(&mut Reader::new(&frame[4..])).expect("a test's header");
            if let Some(op) = OpCode::from_wire(header.op) {
                self.asked.entry((id, header.xid.0)).or_default().push_back(op);
            }
        }
    }

    /// Whole requests come in, all in one piece.
    pub(crate) fn send(&mut self, id: ConnId, frames: &[Vec<u8>]) {
        self.expect(id, frames);
        self.receive(id, &frames.concat());
    }

    /// Takes the output as the driver does: only when it has been told that there is some.
    fn take_bytes(&mut self, id: ConnId) -> Vec<u8> {
        self.drain_actions();
        let bytes = self.shard.take_output(id).map(std::mem::take).unwrap_or_default();
        let told = self.sends.remove(&id);
        assert!(bytes.is_empty() || told, "{id:?} has output that the driver has not been told of");
        bytes
    }

    /// The answer to the handshake.
    pub(crate) fn take_connected(&mut self, id: ConnId) -> ConnectResponse {
        let bytes = self.take_bytes(id);
        let [frame] = frames(&bytes)[..] else { panic!("one frame, not {bytes:?}") };
        ConnectResponse::decode(frame).expect("a handshake's answer")
    }

    /// Takes the frames that have been written for a client, and leaves them on their way: the socket has not told that it took them.
    pub(crate) fn take(&mut self, id: ConnId) -> Vec<Heard> {
        let bytes = self.take_bytes(id);
        frames(&bytes).into_iter().map(|frame| self.decode(id, frame)).collect()
    }

    /// The frames that a client gets, byte for byte: the socket takes everything.
    pub(crate) fn hear_raw(&mut self, id: ConnId) -> Vec<Vec<u8>> {
        let bytes = self.take_bytes(id);
        self.shard.sent(id, 0);
        frames(&bytes).into_iter().map(<[u8]>::to_vec).collect()
    }

    /// What a client hears: the socket takes everything.
    pub(crate) fn hear(&mut self, id: ConnId) -> Vec<Heard> {
        let heard = self.take(id);
        self.shard.sent(id, 0);
        heard
    }

    /// The same in words.
    pub(crate) fn words(&mut self, id: ConnId) -> Vec<String> {
        self.hear(id).into_iter().map(|heard| heard.text).collect()
    }

    /// The actions since the last call, but for `Send`.
    pub(crate) fn actions(&mut self) -> Vec<Action> {
        self.drain_actions();
        std::mem::take(&mut self.actions)
    }

    fn drain_actions(&mut self) {
        for action in self.shard.take_actions() {
            match action {
                Action::Send(id) => drop(self.sends.insert(id)),
                other => self.actions.push(other),
            }
        }
    }

    /// Decodes a frame; law 6 is looked at in every test.
    fn decode(&mut self, id: ConnId, frame: &[u8]) -> Heard {
        let mut r = Reader::new(frame);
        let ReplyHeader { xid, zxid, err } = ReplyHeader::read(&mut r).expect("a header");
        let zxid = zxid.to_wire();
        if xid == Xid::NOTIFICATION {
            let event = WatcherEvent::read(&mut r).expect("an event");
            let ty = EventType::from_wire(event.ty).expect("a known type");
            return Heard { xid: xid.0, zxid, err, text: format!("{ty:?} {}", event.path) };
        }
        if zxid > 0 {
            let position = self.positions.entry(id).or_insert(zxid);
            assert!(*position <= zxid, "a header says {zxid:#x} after one that said {position:#x}");
            *position = zxid;
        }
        let op = self.asked.get_mut(&(id, xid.0)).and_then(VecDeque::pop_front);
        let text = match (ErrorCode::from_wire(err), op) {
            (Some(code), Some(OpCode::MultiRead)) if err != 0 => {
                let rest = r.take(r.rest().len()).expect("they are there");
                format!("{} and {} bytes", code.name(), rest.len())
            }
            (Some(code), _) if err != 0 => code.name().to_owned(),
            (_, Some(op)) => words(&Reply::read(op, &mut r).expect("a record")),
            _ => panic!("a reply that nobody asked for: {xid:?} {err}"),
        };
        assert!(r.is_empty(), "bytes after the record of {op:?}");
        Heard { xid: xid.0, zxid, err, text: format!("{} {text}", xid.0) }
    }
}

fn now(now_us: u64, epoch_ms: i64) -> Now {
    let mono_ms = i64::try_from(now_us / 1_000).expect("a test's clock");
    Now { mono_ms, wall_ms: epoch_ms + mono_ms }
}

/// The frames, without their lengths.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first_chunk::<4>() {
        let len = usize::try_from(i32::from_be_bytes(*prefix)).expect("a length");
        let (frame, rest) = rest.split_at_checked(len).expect("whole frames");
        all.push(frame);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    all
}

fn words(reply: &Reply<'_>) -> String {
    let text = |data: &Option<&[u8]>| String::from_utf8_lossy(data.unwrap_or_default()).into_owned();
    match reply {
        Reply::Empty => "ok".to_owned(),
        Reply::Path(path) => (*path).to_owned(),
        Reply::Stat(stat) => format!("v{}", stat.version),
        Reply::DataStat(data, stat) => format!("{} v{}", text(data), stat.version),
        Reply::Strings(names) => format!("{:?}", names.iter().collect::<BTreeSet<_>>()),
        Reply::Int(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}

// ---- requests ---------------------------------------------------------------------------------------------------------

pub(crate) fn request(xid: i32, request: &Request<'_>) -> Vec<u8> {
    raw_request(xid, request.op().to_wire(), |w| request.write(w))
}

pub(crate) fn raw_request(xid: i32, op: i32, record: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    jute::frame(&mut bytes, |w| {
        RequestHeader { xid: Xid(xid), op }.write(w);
        record(w);
    });
    bytes
}

/// The client's first frame. `session`: one to renew.
pub(crate) fn handshake(session: Option<(SessionId, Password)>, read_only: Option<bool>) -> Vec<u8> {
    handshake_of(Zxid::ZERO, session, read_only)
}

pub(crate) fn handshake_of(
    last_zxid_seen: Zxid,
    session: Option<(SessionId, Password)>,
    read_only: Option<bool>,
) -> Vec<u8> {
    let (session_id, password) = session.unwrap_or_default();
    let password = &password;
    let mut bytes = Vec::new();
    jute::frame(&mut bytes, |w| {
        ConnectRequest { protocol_version: 0, last_zxid_seen, timeout_ms: 10_000, session_id, password, read_only }
            .write(w);
    });
    bytes
}

pub(crate) fn get(xid: i32, path: &str) -> Vec<u8> {
    request(xid, &Request::GetData(ReadRequest { path, watch: false }))
}

/// getData that leaves a watch.
pub(crate) fn watch(xid: i32, path: &str) -> Vec<u8> {
    request(xid, &Request::GetData(ReadRequest { path, watch: true }))
}

/// exists that leaves a watch.
pub(crate) fn exists_watch(xid: i32, path: &str) -> Vec<u8> {
    request(xid, &Request::Exists(ReadRequest { path, watch: true }))
}

pub(crate) fn children(xid: i32, path: &str) -> Vec<u8> {
    request(xid, &Request::GetChildren(ReadRequest { path, watch: false }))
}

pub(crate) fn set(xid: i32, path: &str, data: &str) -> Vec<u8> {
    request(xid, &Request::SetData(SetDataRequest { path, data: Some(data.as_bytes()), version: -1 }))
}

pub(crate) fn create(xid: i32, path: &str, data: &str) -> Vec<u8> {
    let acl = acl_bytes(&[Acl::open()]);
    let acl = AclVec::read(&mut Reader::new(&acl)).expect("written just above");
    let create = CreateRequest { path, data: Some(data.as_bytes()), acl, flags: 0, ttl_ms: None };
    request(xid, &Request::Create(OpCode::Create, create))
}

pub(crate) fn set_acl(xid: i32, path: &str, acl: &[Acl]) -> Vec<u8> {
    let acl = acl_bytes(acl);
    let acl = AclVec::read(&mut Reader::new(&acl)).expect("written just above");
    request(xid, &Request::SetAcl(SetAclRequest { path, acl, version: -1 }))
}

/// A persistent watch.
pub(crate) fn add_watch(xid: i32, path: &str) -> Vec<u8> {
    request(xid, &Request::AddWatch(PathType { path, ty: 0 }))
}

pub(crate) fn set_watches(since: Zxid, data: &[&str], exist: &[&str], child: &[&str]) -> Vec<u8> {
    raw_request(Xid::SET_WATCHES.0, OpCode::SetWatches.to_wire(), |w| {
        w.long(since.to_wire());
        for list in [data, exist, child] {
            w.strings(list.iter().copied());
        }
    })
}

pub(crate) fn ping() -> Vec<u8> {
    request(Xid::PING.0, &Request::Ping)
}

pub(crate) fn close_session(xid: i32) -> Vec<u8> {
    request(xid, &Request::CloseSession)
}

fn acl_bytes(acl: &[Acl]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Acl::write_vec(acl, &mut Writer::new(&mut bytes));
    bytes
}
