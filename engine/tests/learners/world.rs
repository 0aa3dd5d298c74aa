//! An ensemble of three servers in memory. Nothing goes wrong but what a test does; time passes only where nothing else can happen.

use crate::host::{Comes, Goes, MemHost, Said, SharedTree, Txns, Wire as Connection, replayed};
use engine::replica::{Forward, ForwardBatch, LocalSessions, Replica, ReplicaOptions};
use engine::session::password;
use engine::stream::{Attachment, ConnId, ShardId};
use engine::turn::wire::Wire;
use engine::turn::{Core, ElectionEvent, LinkLimits, LinkTable};
use proto::connect::Password;
use proto::request::{CreateRequest, Request};
use proto::{Acl, AclVec, ConfigVersion, OpCode, Reader, ServerId, SessionId, Writer, Xid, Zxid};
use ringkeeper_engine as engine;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};
use zab::ensemble::Ensemble;
use zab::{Epochs, History, Peer, PeerOptions, Start};

pub(crate) struct Server {
    pub(crate) core: Core,
    pub(crate) host: MemHost,
    pub(crate) tree: SharedTree,
}

pub(crate) struct World {
    pub(crate) servers: Vec<Server>,
    /// Between whom.
    wires: BTreeMap<Connection, (usize, usize)>,
    next_wire: Connection,
    /// What one has sent to another, since a test has emptied it.
    pub(crate) sent: BTreeMap<(usize, usize), Vec<u8>>,
    /// Pairs that do not reach each other.
    cut: BTreeSet<(usize, usize)>,
    /// Servers that stand still.
    pub(crate) stopped: BTreeSet<usize>,
}

/// A client's connection and session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) at: usize,
    pub(crate) conn: Attachment,
    pub(crate) session: SessionId,
}

const TEXT: &str =
    "server.1=127.0.0.1:1:2:participant\nserver.2=127.0.0.1:3:4:participant\nserver.3=127.0.0.1:5:6:participant";
/// A test that takes longer than this waits for what never comes.
const MS_MAX: i64 = 120_000;
pub(crate) const TIMEOUT_MS: i32 = 10_000;

impl World {
    /// Three servers that have nothing; `lost`: one that has had something and does not know what.
    pub(crate) fn new(lost: Option<usize>) -> World {
        World::of((0..3).map(|at| server(at, lost != Some(at), LocalSessions::No)).collect())
    }

    /// Servers whose logs hold these txns.
    pub(crate) fn with_logs(logs: [Txns; 3]) -> World {
        World::of(
            logs.into_iter().enumerate().map(|(at, txns)| server_with(at, txns, true, LocalSessions::No)).collect(),
        )
    }

    fn of(servers: Vec<Server>) -> World {
        let (wires, cut, stopped) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut world = World { servers, wires, next_wire: 1, sent: BTreeMap::new(), cut, stopped };
        for at in 0..3 {
            for other in (0..3).filter(|other| *other != at) {
                world.reach(at, other, true);
            }
        }
        world
    }

    /// With a leader, and all the others behind it.
    pub(crate) fn serving() -> World {
        World::with_local_sessions([LocalSessions::No; 3])
    }

    /// The same; what new sessions are at each of them.
    pub(crate) fn with_local_sessions(kinds: [LocalSessions; 3]) -> World {
        let servers = kinds.into_iter().enumerate().map(|(at, kind)| server(at, true, kind));
        let mut world = World::of(servers.collect());
        world.until(|world| (0..3).all(|at| world.serves(at)));
        world
    }

    fn reach(&mut self, at: usize, other: usize, is_up: bool) {
        self.servers[at].host.heard.push_back(ElectionEvent::Reachable { server: id(other), is_up });
    }

    pub(crate) fn serves(&self, at: usize) -> bool {
        let serving = |said: &&Said| matches!(said, Said::Serving(_));
        self.servers[at].host.said.iter().rfind(serving) == Some(&Said::Serving(true))
    }

    pub(crate) fn leader(&self) -> usize {
        let leads = |at: &usize| self.serves(*at) && self.servers[*at].core.replica().follows().is_none();
        (0..3).rev().find(leads).expect("there is a leader")
    }

    pub(crate) fn followers(&self) -> [usize; 2] {
        let leader = self.leader();
        [(leader + 1) % 3, (leader + 2) % 3]
    }

    /// One turn of a server, and what comes of it. True if something moved.
    pub(crate) fn turn(&mut self, at: usize) -> bool {
        if self.stopped.contains(&at) {
            return false;
        }
        let Server { core, host, tree } = &mut self.servers[at];
        let moved = core.turn(host, tree) || !host.goes.is_empty();
        for goes in std::mem::take(&mut self.servers[at].host.goes) {
            self.carry(at, goes);
        }
        moved
    }

    fn carry(&mut self, at: usize, goes: Goes) {
        match goes {
            Goes::Vote(to, vote) if self.reaches(at, number(to)) => {
                self.servers[number(to)].host.heard.push_back(ElectionEvent::Voted { from: id(at), vote });
            }
            Goes::Vote(..) => {}
            Goes::Dial(to) if self.reaches(at, number(to)) => {
                let wire = self.next_wire;
                self.next_wire += 1;
                self.wires.insert(wire, (at, number(to)));
                self.servers[at].host.comes.push_back(Comes::Dialled(wire));
                self.servers[number(to)].host.comes.push_back(Comes::Accepted(wire));
            }
            Goes::Dial(_) => self.servers[at].host.comes.push_back(Comes::NotDialled),
            Goes::Bytes(wire, bytes) => {
                if let Some((one, other)) = self.wires.get(&wire).copied() {
                    let to = if one == at { other } else { one };
                    self.sent.entry((at, to)).or_default().extend_from_slice(&bytes);
                    self.servers[to].host.comes.push_back(Comes::Bytes(wire, bytes));
                }
            }
            Goes::Closed(wire) => {
                if let Some((one, other)) = self.wires.remove(&wire) {
                    let to = if one == at { other } else { one };
                    self.servers[to].host.comes.push_back(Comes::Ended(wire));
                }
            }
        }
    }

    fn reaches(&self, at: usize, other: usize) -> bool {
        !self.cut.contains(&(at.min(other), at.max(other)))
    }

    /// Nobody reaches this server any more.
    pub(crate) fn cut_off(&mut self, at: usize) {
        for other in (0..3).filter(|other| *other != at) {
            self.cut.insert((at.min(other), at.max(other)));
            self.reach(at, other, false);
            self.reach(other, at, false);
        }
        let ended: Vec<_> =
            self.wires.iter().filter(|(_, (a, b))| *a == at || *b == at).map(|(wire, _)| *wire).collect();
        for wire in ended {
            let (one, other) = self.wires.remove(&wire).unwrap();
            for end in [one, other] {
                self.servers[end].host.comes.push_back(Comes::Ended(wire));
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        for (one, other) in std::mem::take(&mut self.cut) {
            self.reach(one, other, true);
            self.reach(other, one, true);
        }
    }

    /// Goes on until nothing moves at this time.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            let moved = (0..3).fold(false, |moved, at| self.turn(at) | moved);
            let is_waiting = |server: &Server| !server.host.comes.is_empty() || !server.host.heard.is_empty();
            let waits = (0..3).any(|at| !self.stopped.contains(&at) && is_waiting(&self.servers[at]));
            if !moved && !waits {
                return;
            }
        }
        panic!("something moves for ever");
    }

    /// As [`World::settle`], without this server.
    pub(crate) fn settle_all_but(&mut self, at: usize) {
        self.stopped.insert(at);
        self.settle();
        self.stopped.remove(&at);
    }

    pub(crate) fn pass(&mut self, ms: i64) {
        for server in &mut self.servers {
            server.host.now.mono_ms += ms;
            server.host.now.wall_ms += ms;
        }
        self.settle();
    }

    /// Lets time pass until something is so.
    pub(crate) fn until(&mut self, is_so: impl Fn(&World) -> bool) {
        self.settle();
        let start = self.servers[0].host.now.mono_ms;
        while !is_so(self) {
            self.pass(20);
            assert!(
                self.servers[0].host.now.mono_ms - start < MS_MAX,
                "it never comes: {:?}",
                self.servers[0].host.notes
            );
        }
    }

    /// Until they have lost their leader and serve again.
    pub(crate) fn until_anew(&mut self, servers: &[usize]) {
        let ends = |world: &World, at: usize| {
            world.servers[at].host.said.iter().filter(|said| **said == Said::Serving(false)).count()
        };
        let before: Vec<usize> = servers.iter().map(|at| ends(self, *at)).collect();
        self.until(|world| {
            servers.iter().zip(&before).all(|(at, before)| ends(world, *at) > *before && world.serves(*at))
        });
    }

    // ---- clients --------------------------------------------------------------------------------------------------------

    fn forward(&mut self, at: usize, item: Forward, bytes: Vec<u8>) {
        self.servers[at].host.forwards.push_back(ForwardBatch { items: vec![item], bytes });
    }

    pub(crate) fn ask_connect(
        &mut self,
        at: usize,
        slot: u32,
        session: SessionId,
        password: Option<Password>,
    ) -> Attachment {
        let from = Attachment { shard: ShardId(0), conn: ConnId { slot, generation: 0 } };
        self.servers[at].host.asked.entry(from).or_default();
        let (last_zxid_seen, timeout_ms, read_only) = (Zxid::ZERO, TIMEOUT_MS, None);
        self.forward(
            at,
            Forward::Connect { from, last_zxid_seen, timeout_ms, session, password, read_only },
            Vec::new(),
        );
        from
    }

    /// A client with a new session.
    pub(crate) fn connect(&mut self, at: usize, slot: u32) -> Client {
        let conn = self.ask_connect(at, slot, SessionId(0), None);
        self.settle();
        let session = self.session_of(at, conn).expect("it is answered");
        assert!(session.0 != 0);
        Client { at, conn, session }
    }

    /// The session comes to another connection, with its password.
    pub(crate) fn renew(&mut self, client: Client, at: usize, slot: u32) -> Client {
        let conn = self.ask_connect(at, slot, client.session, Some(password(client.session)));
        Client { at, conn, session: client.session }
    }

    /// What the handshake was answered with: 0 where there is no such session.
    pub(crate) fn session_of(&self, at: usize, conn: Attachment) -> Option<SessionId> {
        self.servers[at].host.said.iter().find_map(|said| match said {
            Said::Connected { to, session } if *to == conn => Some(SessionId(*session)),
            _ => None,
        })
    }

    pub(crate) fn ask(&mut self, client: Client, xid: i32, request: &Request<'_>) {
        let mut bytes = Vec::new();
        request.write(&mut Writer::new(&mut bytes));
        let (from, session, op) = (client.conn, client.session, request.op());
        self.servers[client.at].host.asked.entry(from).or_default().push_back(Xid(xid));
        let body = 0..bytes.len();
        self.forward(client.at, Forward::Request { from, session, xid: Xid(xid), op, body, ids: [].into() }, bytes);
    }

    pub(crate) fn create(&mut self, client: Client, xid: i32, path: &str) {
        self.create_with(client, xid, path, &[], 0);
    }

    pub(crate) fn create_with(&mut self, client: Client, xid: i32, path: &str, data: &[u8], flags: i32) {
        let mut acl = Vec::new();
        Acl::write_vec(&[Acl::open()], &mut Writer::new(&mut acl));
        let acl = AclVec::read(&mut Reader::new(&acl)).expect("written just above");
        let create = CreateRequest { path, data: Some(data), acl, flags, ttl_ms: None };
        self.ask(client, xid, &Request::Create(OpCode::Create, create));
    }

    pub(crate) fn sync(&mut self, client: Client, xid: i32) {
        self.ask(client, xid, &Request::Sync("/"));
    }

    /// The xids that were answered to a connection, with their errors.
    pub(crate) fn replies(&self, client: Client) -> Vec<(i32, i32)> {
        let reply = |said: &Said| match said {
            Said::Reply { to, xid, err, .. } if *to == client.conn => Some((*xid, *err)),
            _ => None,
        };
        self.servers[client.at].host.said.iter().filter_map(reply).collect()
    }

    /// The records of the replies to a connection.
    pub(crate) fn bodies(&self, client: Client) -> Vec<Vec<u8>> {
        let body = |said: &Said| match said {
            Said::Reply { to, body, .. } if *to == client.conn => Some(body.clone()),
            _ => None,
        };
        self.servers[client.at].host.said.iter().filter_map(body).collect()
    }

    /// Its shard has heard of it just now.
    pub(crate) fn heard(&mut self, client: Client) {
        let now_ms = self.servers[client.at].host.now.mono_ms;
        self.forward(client.at, Forward::Heard(vec![(client.session, now_ms)]), Vec::new());
    }

    /// The clients' shard of this server has told of all that it has heard up to now.
    pub(crate) fn heard_all(&mut self, at: usize) {
        let now_ms = self.servers[at].host.now.mono_ms;
        self.forward(at, Forward::HeardUntil(ShardId(0), now_ms), Vec::new());
        self.settle();
    }

    pub(crate) fn is_detached(&self, client: Client) -> bool {
        self.servers[client.at].host.said.contains(&Said::Detached { from: client.conn })
    }

    pub(crate) fn has(&self, at: usize, path: &str) -> bool {
        self.servers[at].tree.0.read().unwrap().get(path).is_some()
    }

    /// Until all show the same zxid. Law 3: then they show the same tree, and it is what their logs make, where these begin with the first txn.
    pub(crate) fn until_same(&mut self) {
        let zxid = |server: &Server| server.tree.0.read().unwrap().last_zxid();
        self.until(|world| world.servers.iter().all(|server| zxid(server) == zxid(&world.servers[0])));
        let digest = |server: &Server| server.tree.0.read().unwrap().digest();
        let first = digest(&self.servers[0]);
        for server in &self.servers {
            assert_eq!(digest(server), first);
            if server.host.txns.first().is_some_and(|(zxid, _)| zxid.counter() == 1) {
                assert_eq!(replayed(&server.host.txns).digest(), first);
            }
        }
    }
}

fn server(at: usize, is_whole: bool, local_sessions: LocalSessions) -> Server {
    server_with(at, Vec::new(), is_whole, local_sessions)
}

fn server_with(at: usize, txns: Txns, is_whole: bool, local_sessions: LocalSessions) -> Server {
    let ensemble = Ensemble::parse(TEXT).unwrap();
    let tree = SharedTree(Arc::new(RwLock::new(replayed(&txns))));
    let mut history = History::new(Zxid::ZERO);
    txns.iter().for_each(|(zxid, _)| history.push(*zxid));
    let current = history.last().epoch();
    let host = MemHost::new(tree.clone()).with_log(txns);
    let epochs = Epochs { accepted: current, current };
    let start = Start { epochs, history, committed: Zxid::ZERO, is_whole };
    let peer = Peer::new(PeerOptions::new(id(at)), ensemble, start);
    let options = ReplicaOptions { server: id(at), tick_ms: 2_000, local_sessions, ..ReplicaOptions::default() };
    let replica = Replica::in_ensemble(options, peer, &tree.0.read().unwrap(), host.now);
    let wire = Wire::new(id(at), ConfigVersion(0), Arc::from(TEXT));
    Server { core: Core::member(replica, LinkTable::new(LinkLimits::default()), wire), host, tree }
}

pub(crate) const fn id(at: usize) -> ServerId {
    ServerId(at as i64 + 1)
}

fn number(id: ServerId) -> usize {
    usize::try_from(id.0 - 1).unwrap()
}
