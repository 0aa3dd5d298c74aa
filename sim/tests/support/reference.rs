//! A tiny correct ensemble, driven at random: it makes right histories of every shape.
//!
//! One log; several servers that apply it, each at its own pace; clients with pipelines, watches, lost connections, setWatches, expiries. A server
//! answers a connection's requests in order, a read from what it has applied.

use ringkeeper_sim::check::model::{Model, Origin};
use ringkeeper_sim::history::{
    Answer, At, ClientId, Code, Event, History, Op, ServerId, SessionId, Told, TxnKind, Xid, Zxid,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the run may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) servers: usize,
    pub(crate) clients: u32,
    pub(crate) steps: usize,
    /// Are `applied` and `final` lines recorded?
    pub(crate) with_log: bool,
    /// Do sessions expire?
    pub(crate) with_expiry: bool,
}

/// A right history.
pub(crate) fn run(seed: u64, shape: Shape) -> History {
    let mut world = Reference::new(seed, shape);
    for _ in 0..shape.steps {
        world.step();
    }
    world.finish();
    world.history
}

#[derive(Clone)]
enum Txn {
    Begin,
    End,
    Op { op: Op, xid: Xid },
}

#[derive(Default)]
struct Server {
    model: Model,
    applied: usize,
}

#[derive(Default)]
struct Client {
    session: Option<SessionId>,
    next_xid: i64,
    seen: Zxid,
    /// Table and path.
    watches: BTreeSet<(Table, String)>,
    conn: Option<Conn>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Data,
    Exist,
    Child,
}

struct Conn {
    server: usize,
    to_server: VecDeque<(Xid, Op)>,
    /// The write or sync that is not answered: so much of the log has to be applied for it.
    waits: Option<(usize, Xid, Op)>,
    to_client: VecDeque<(Event, Option<Op>)>,
    /// Is it about the children?
    watches: BTreeSet<(bool, String)>,
}

struct Reference {
    random: fastrand::Rng,
    shape: Shape,
    history: History,
    log: Vec<(Txn, SessionId)>,
    ended: BTreeSet<SessionId>,
    servers: Vec<Server>,
    clients: BTreeMap<ClientId, Client>,
    sessions: i64,
    written: u64,
}

fn zxid_of(index: usize) -> Zxid {
    Zxid((1 << 32) + index as u64 + 1)
}

impl Reference {
    fn new(seed: u64, shape: Shape) -> Reference {
        Reference {
            random: fastrand::Rng::with_seed(seed),
            shape,
            history: History::new(),
            log: Vec::new(),
            ended: BTreeSet::new(),
            servers: (0..shape.servers).map(|_| Server::default()).collect(),
            clients: (1..=shape.clients).map(|id| (ClientId(id), Client::default())).collect(),
            sessions: 0,
            written: 0,
        }
    }

    fn tell(&mut self, event: Event) {
        let at = self.history.len() as u64;
        self.history.push(at, event);
    }

    fn step(&mut self) {
        let client = ClientId(self.random.u32(1..=self.shape.clients));
        match self.random.u32(0..100) {
            0..30 => self.ask(client),
            30..55 => self.serve(client),
            55..75 => {
                let server = self.random.usize(0..self.servers.len());
                self.apply(server);
            }
            75..96 => self.deliver(client),
            96..98 => self.cut(client),
            _ if self.shape.with_expiry => self.expire(client),
            _ => {}
        }
    }

    fn finish(&mut self) {
        let ids: Vec<ClientId> = self.clients.keys().copied().collect();
        for _ in 0..1_000 {
            (0..self.servers.len()).for_each(|server| while self.apply(server) {});
            ids.iter().for_each(|client| self.serve(*client));
            ids.iter().for_each(|client| self.deliver(*client));
        }
        if !self.shape.with_log {
            return;
        }
        for server in 0..self.servers.len() {
            let nodes = self.servers[server].model.final_nodes().collect();
            let begun = self.log.iter().filter(|(txn, _)| matches!(txn, Txn::Begin)).map(|(_, session)| *session);
            let sessions = Some(begun.filter(|session| !self.ended.contains(session)).collect());
            let zxid = zxid_of(self.log.len() - 1);
            self.tell(Event::Final { server: ServerId(server as u64), zxid, nodes, sessions });
        }
    }

    fn ask(&mut self, id: ClientId) {
        if self.clients[&id].conn.is_none() {
            return self.connect(id);
        }
        let op = self.an_op(id);
        self.send(id, op);
    }

    fn send(&mut self, id: ClientId, op: Op) {
        let client = self.clients.get_mut(&id).unwrap();
        client.next_xid += 1;
        let xid = Xid(client.next_xid);
        client.conn.as_mut().unwrap().to_server.push_back((xid, op.clone()));
        self.tell(Event::Ask { client: id, xid, op });
    }

    fn connect(&mut self, id: ClientId) {
        let server = self.random.usize(0..self.servers.len());
        if let Some(session) = self.clients[&id].session.filter(|session| self.ended.contains(session)) {
            assert!(self.ended.contains(&session));
            *self.clients.get_mut(&id).unwrap() = Client { next_xid: self.clients[&id].next_xid, ..Client::default() };
            return self.tell(Event::Expired { client: id, server: None });
        }
        let is_new = self.clients[&id].session.is_none();
        if is_new {
            self.sessions += 1;
            self.log.push((Txn::Begin, SessionId(self.sessions)));
            while self.servers[server].applied < self.log.len() {
                self.apply(server);
            }
            self.clients.get_mut(&id).unwrap().session = Some(SessionId(self.sessions));
        }
        let client = self.clients.get_mut(&id).unwrap();
        let behind = self.servers[server].applied == 0 || zxid_of(self.servers[server].applied - 1) < client.seen;
        if behind {
            return;
        }
        client.conn = Some(Conn {
            server,
            to_server: VecDeque::new(),
            waits: None,
            to_client: VecDeque::new(),
            watches: BTreeSet::new(),
        });
        let session = client.session.unwrap();
        self.tell(Event::Connected { client: id, session, server: Some(ServerId(server as u64)) });
        let client = &self.clients[&id];
        let of =
            |table: Table| client.watches.iter().filter(|(of, _)| *of == table).map(|(_, path)| path.clone()).collect();
        let set = Op::SetWatches {
            relative: client.seen,
            data: of(Table::Data),
            exist: of(Table::Exist),
            child: of(Table::Child),
        };
        if !client.watches.is_empty() {
            self.send(id, set);
        }
    }

    fn an_op(&mut self, id: ClientId) -> Op {
        self.written += 1;
        let data = format!("d{}", self.written);
        let top = format!("/{}", self.random.choice(["a", "b"]).unwrap());
        let path =
            if self.random.bool() { top.clone() } else { format!("{top}/{}", self.random.choice(["c", "d"]).unwrap()) };
        let watch = self.random.u32(0..3) == 0;
        let version = if self.random.bool() { -1 } else { self.random.i32(0..3) };
        match self.random.u32(0..24) {
            0..4 => Op::Create { path, data, ephemeral: self.random.bool() && id.0 > 1, sequential: false },
            4 => Op::Create { path: format!("{top}/s-"), data, ephemeral: self.random.bool(), sequential: true },
            5..9 => Op::Set { path, data, version },
            9..12 => Op::Delete { path, version },
            12..14 => Op::Multi {
                ops: vec![
                    Op::Check { path: top.clone(), version },
                    Op::Set { path, data: data.clone(), version: -1 },
                    Op::Create { path: format!("{top}/c"), data, ephemeral: false, sequential: false },
                ],
            },
            14..17 => Op::Get { path, watch },
            17..20 => Op::Exists { path, watch },
            20..22 => Op::Children { path: top, watch },
            22 => Op::Sync { path: top },
            _ if self.random.u32(0..10) == 0 => Op::Close,
            _ => Op::Get { path: top, watch: true },
        }
    }

    /// The server deals with the connection's next request.
    fn serve(&mut self, id: ClientId) {
        let client = self.clients.get_mut(&id).unwrap();
        let session = client.session;
        let Some(conn) = client.conn.as_mut().filter(|conn| conn.waits.is_none()) else { return };
        if session.is_some_and(|session| self.ended.contains(&session)) {
            return;
        }
        let Some((xid, op)) = conn.to_server.pop_front() else { return };
        let server = &self.servers[conn.server];
        let zxid = zxid_of(server.applied - 1);
        if op.is_write() {
            if op == Op::Close {
                self.ended.extend(session);
            }
            self.log.push((Txn::Op { op: op.clone(), xid }, session.unwrap()));
            conn.waits = Some((self.log.len(), xid, op));
            return;
        }
        if matches!(op, Op::Sync { .. }) {
            conn.waits = Some((self.log.len(), xid, op));
            return;
        }
        match &op {
            Op::Get { path, watch: true } if server.model.get(path).is_some() => {
                conn.watches.insert((false, path.clone()));
            }
            Op::Exists { path, watch: true } => {
                conn.watches.insert((false, path.clone()));
            }
            Op::Children { path, watch: true } if server.model.get(path).is_some() => {
                conn.watches.insert((true, path.clone()));
            }
            Op::SetWatches { relative, data, exist, child } => {
                let stat = |path: &String| server.model.get(path).map(|node| node.stat());
                let mut renew = |is_child: bool, path: &String, told: Option<Told>| match told {
                    Some(told) => conn
                        .to_client
                        .push_back((Event::Watch { client: id, told, path: path.clone(), zxid: None }, None)),
                    None => {
                        conn.watches.insert((is_child, path.clone()));
                    }
                };
                for path in data {
                    let told = stat(path)
                        .map_or(Some(Told::Deleted), |stat| (stat.mzxid > *relative).then_some(Told::Changed));
                    renew(false, path, told);
                }
                exist.iter().for_each(|path| renew(false, path, stat(path).map(|_| Told::Created)));
                for path in child {
                    let told = stat(path)
                        .map_or(Some(Told::Deleted), |stat| (stat.pzxid > *relative).then_some(Told::Children));
                    renew(true, path, told);
                }
            }
            _ => {}
        }
        let (err, answer) =
            server.model.read(&op).map_or_else(|code| (code, Answer::default()), |answer| (Code::OK, answer));
        conn.to_client.push_back((Event::Reply { client: id, xid, zxid, err, answer }, Some(op)));
    }

    /// A server applies its next txn. False if there is none.
    fn apply(&mut self, number: usize) -> bool {
        let server = &mut self.servers[number];
        let Some((txn, session)) = self.log.get(server.applied).cloned() else { return self.answer_syncs(number) };
        let index = server.applied;
        server.applied += 1;
        let zxid = zxid_of(index);
        let origin = Origin { session, zxid, at: Some(At(0)) };
        let (mut outcome, mut asked, mut kind) = (Ok(Answer::default()), Xid(0), TxnKind::Change);
        match &txn {
            Txn::Begin => kind = TxnKind::Begin,
            Txn::End => {
                server.model.end_session(origin);
                kind = TxnKind::End;
            }
            Txn::Op { op, xid } => {
                outcome = server.model.write(op, origin);
                asked = *xid;
                kind = if *op == Op::Close { TxnKind::End } else { kind };
                kind = if outcome.is_err() { TxnKind::Failed } else { kind };
            }
        }
        let changes = server.model.take_changes();
        if self.shape.with_log {
            let server = ServerId(number as u64);
            self.tell(Event::Applied { server, zxid, session, xid: asked, kind, hash: None, digest: None });
        }
        for (id, client) in &mut self.clients {
            let Some(conn) = client.conn.as_mut().filter(|conn| conn.server == number) else { continue };
            let mut hear = |told: Told, path: &str, tables: &[bool]| {
                let had = tables.iter().filter(|is_child| conn.watches.remove(&(**is_child, path.to_owned()))).count();
                if had > 0 {
                    let event = Event::Watch { client: *id, told, path: path.to_owned(), zxid: Some(zxid) };
                    conn.to_client.push_back((event, None));
                }
            };
            for change in &changes {
                hear(change.told, &change.path, if change.told == Told::Deleted { &[false, true] } else { &[false] });
                if change.told != Told::Changed {
                    let parent = change.path.rsplit_once('/').map_or("/", |(parent, _)| parent);
                    hear(Told::Children, if parent.is_empty() { "/" } else { parent }, &[true]);
                }
            }
            if let Some((_, xid, op)) = conn.waits.take_if(|(until, _, op)| *until == index + 1 && op.is_write()) {
                let (err, answer) = match outcome.clone() {
                    Ok(answer) => (Code::OK, answer),
                    Err(failure) => (failure.code, Answer { results: failure.results, ..Answer::default() }),
                };
                conn.to_client.push_back((Event::Reply { client: *id, xid, zxid, err, answer }, Some(op)));
            } else if kind == TxnKind::End && client.session == Some(session) {
                conn.to_server.clear();
                conn.to_client.push_back((Event::Expired { client: *id, server: None }, None));
            }
        }
        self.answer_syncs(number);
        true
    }

    fn answer_syncs(&mut self, number: usize) -> bool {
        let applied = self.servers[number].applied;
        for (id, client) in &mut self.clients {
            let Some(conn) = client.conn.as_mut().filter(|conn| conn.server == number) else { continue };
            if let Some((_, xid, op)) = conn.waits.take_if(|(until, _, op)| *until <= applied && !op.is_write()) {
                let event = Event::Reply {
                    client: *id,
                    xid,
                    zxid: zxid_of(applied - 1),
                    err: Code::OK,
                    answer: Answer::default(),
                };
                conn.to_client.push_back((event, Some(op)));
            }
        }
        false
    }

    /// The client gets what its server has sent next.
    fn deliver(&mut self, id: ClientId) {
        let client = self.clients.get_mut(&id).unwrap();
        let Some((event, op)) = client.conn.as_mut().and_then(|conn| conn.to_client.pop_front()) else { return };
        match &event {
            Event::Reply { zxid, err, .. } => {
                client.seen = client.seen.max(*zxid);
                match op.unwrap() {
                    Op::Get { path, watch: true } if *err == Code::OK => {
                        client.watches.insert((Table::Data, path));
                    }
                    Op::Children { path, watch: true } if *err == Code::OK => {
                        client.watches.insert((Table::Child, path));
                    }
                    Op::Exists { path, watch: true } => {
                        let table = if *err == Code::OK { Table::Data } else { Table::Exist };
                        client.watches.insert((table, path));
                    }
                    Op::Close => {
                        *client = Client { next_xid: client.next_xid, ..Client::default() };
                        self.tell(event);
                        return self.tell(Event::Lost { client: id });
                    }
                    _ => {}
                }
            }
            Event::Watch { told, path, .. } => client.watches.retain(|(table, other)| {
                let is_told = match told {
                    Told::Deleted => true,
                    Told::Children => *table == Table::Child,
                    Told::Created | Told::Changed => *table != Table::Child,
                };
                !is_told || other != path
            }),
            Event::Expired { .. } => *client = Client { next_xid: client.next_xid, ..Client::default() },
            _ => {}
        }
        self.tell(event);
    }

    fn cut(&mut self, id: ClientId) {
        if self.clients.get_mut(&id).unwrap().conn.take().is_some() {
            self.tell(Event::Lost { client: id });
        }
    }

    fn expire(&mut self, id: ClientId) {
        let Some(session) = self.clients[&id].session.filter(|_| self.clients[&id].conn.is_none()) else { return };
        if self.ended.insert(session) {
            self.log.push((Txn::End, session));
        }
    }
}
