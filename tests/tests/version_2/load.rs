//! A small random load that leaves something of everything: many requests in flight, so that snapshots fall between them.

use crate::whole::bobs;
use client::{AclList, ConnectOptions, Connection, Operations};
use proto::OpCode;
use proto::connect::ConnectResponse;
use proto::request::{
    CreateMode, CreateRequest, MultiOp, MultiRequest, PathVersion, Request, SetAclRequest, SetDataRequest,
};
use std::net::SocketAddr;

/// No session expires while a test runs.
pub const TIMEOUT_MS: i32 = 300_000;
const DEPTH: usize = 48;
const DIRECTORIES: u64 = 8;
const NAMES: u64 = 10;

/// Runs the load, and returns a session that stays open with ephemerals of its own.
pub fn run(address: SocketAddr, seed: u64, requests: usize) -> ConnectResponse {
    let options = ConnectOptions { timeout_ms: TIMEOUT_MS, ..ConnectOptions::default() };
    let connect = || Connection::connect(address, &options).unwrap();
    let mut random = Random(seed);
    let mut kept = connect();
    lasting(&mut kept);
    let mut passing = connect();
    for number in 0..requests {
        let client = if random.below(3) == 0 { &mut passing } else { &mut kept };
        one(client, &mut random);
        while client.pending() >= DEPTH {
            client.recv_reply().unwrap();
        }
        client.flush().unwrap();
        if number % 200 == 199 {
            drain(&mut passing);
            // Every other session is left without a word, and stays.
            if number % 400 == 199 {
                passing.close().unwrap()
            } else {
                passing.abort()
            }
            passing = connect();
        }
    }
    drain(&mut kept);
    drain(&mut passing);
    kept.create("/kept", b"ephemeral", CreateMode::Ephemeral).unwrap();
    kept.create("/load/d0/kept", b"", CreateMode::Ephemeral).unwrap();
    let session = *kept.session().unwrap();
    kept.abort();
    session
}

/// What is of each kind, and stays.
fn lasting(client: &mut Connection) {
    client.create("/load", b"", CreateMode::Persistent).unwrap();
    for number in 0..DIRECTORIES {
        client.create(&format!("/load/d{number}"), b"directory", CreateMode::Persistent).unwrap();
    }
    client.create_with("/null", None, CreateMode::Persistent, &AclList::open()).unwrap();
    client.create("/empty", b"", CreateMode::Persistent).unwrap();
    client.create("/ünï-中", "ünï".as_bytes(), CreateMode::Persistent).unwrap();
    client.create_with("/bobs", Some(b"secret"), CreateMode::Persistent, &bobs()).unwrap();
    client.create("/large", &vec![7; 300_000], CreateMode::Persistent).unwrap();
    client.create2("/container", b"", CreateMode::Container, 0).unwrap();
    client.create("/container/child", b"", CreateMode::Persistent).unwrap();
    client.create2("/ttl", b"", CreateMode::PersistentWithTtl, (1 << 40) - 1).unwrap();
    client.set("/", b"the root has data", -1).unwrap();
    for (path, data) in [
        ("/zookeeper/quota/load", &b""[..]),
        ("/zookeeper/quota/load/zookeeper_limits", b"count=100000,bytes=-1"),
        ("/zookeeper/quota/load/zookeeper_stats", b"count=0,bytes=0"),
    ] {
        client.create(path, data, CreateMode::Persistent).unwrap();
    }
}

/// Queues a request, which may well fail.
fn one(client: &mut Connection, random: &mut Random) {
    let directory = format!("/load/d{}", random.below(DIRECTORIES));
    let path = format!("{directory}/n{}", random.below(NAMES));
    let below = format!("{path}/{}", random.below(3));
    let data = vec![b'x'; usize::try_from(random.below(200)).unwrap()];
    let open = AclList::open();
    let create = |path, mode: CreateMode| CreateRequest {
        path,
        data: Some(&data[..]),
        acl: open.as_vec(),
        flags: mode as i32,
        ttl_ms: None,
    };
    let set = |path| SetDataRequest { path, data: Some(&data[..]), version: -1 };
    let any = |path| PathVersion { path, version: -1 };
    let request = match random.below(14) {
        0 | 1 => Request::Create(OpCode::Create, create(&path, CreateMode::Persistent)),
        2 => Request::Create(OpCode::Create2, create(&path, CreateMode::Persistent)),
        3 => Request::Create(OpCode::Create, create(&below, CreateMode::Persistent)),
        4 => Request::Create(OpCode::Create, create(&path, CreateMode::Ephemeral)),
        5 => Request::Create(OpCode::Create2, create(&directory, CreateMode::PersistentSequential)),
        6 => Request::Delete(any(&below)),
        7 | 8 => Request::Delete(any(&path)),
        9 | 10 => Request::SetData(set(&path)),
        11 => {
            let acl = bobs();
            client.queue(&Request::SetAcl(SetAclRequest { path: &path, acl: acl.as_vec(), version: -1 }));
            return;
        }
        12 => Request::Multi(MultiRequest {
            ops: vec![
                MultiOp::Create(OpCode::Create2, create(&below, CreateMode::Persistent)),
                MultiOp::SetData(set(&directory)),
                MultiOp::Delete(any(&below)),
            ],
        }),
        _ => Request::Multi(MultiRequest {
            ops: vec![MultiOp::SetData(set(&directory)), MultiOp::Check(any("/load/nothing-here"))],
        }),
    };
    client.queue(&request);
}

/// Takes every answer, whatever it says.
fn drain(client: &mut Connection) {
    client.flush().unwrap();
    while client.pending() > 0 {
        client.recv_reply().unwrap();
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
