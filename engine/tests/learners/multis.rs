//! create2 in a multi, at each member: no txn has one (ZooKeeper 3.8.0 could not apply it), and every client gets its Stat from the server that it asked.

use crate::world::World;
use proto::reply::{OpResult, Reply};
use proto::request::{CreateRequest, MultiOp, MultiRequest, Request};
use proto::txn::{Txn, TxnRecord};
use proto::{Acl, AclVec, OpCode, Reader, Writer};

/// Asks with the codes, one below the other.
fn request<'a>(paths: &'a [String], codes: &[OpCode], acl: AclVec<'a>) -> Request<'a> {
    let op = |(code, path): (&OpCode, &'a String)| {
        let flags = if *code == OpCode::CreateContainer { 4 } else { 0 };
        MultiOp::Create(*code, CreateRequest { path, data: None, acl, flags, ttl_ms: None })
    };
    Request::Multi(MultiRequest { ops: codes.iter().zip(paths).map(op).collect() })
}

#[test]
fn the_leader_and_each_follower_answer_a_create2_in_a_multi_with_its_stat() {
    use OpCode::{Create, Create2, CreateContainer};
    let mut world = World::serving();
    let (leader, [one, other]) = (world.leader(), world.followers());
    let mut acl = Vec::new();
    Acl::write_vec(&[Acl::open()], &mut Writer::new(&mut acl));
    let acl = AclVec::read(&mut Reader::new(&acl)).unwrap();
    let codes = [&[Create, Create2, Create][..], &[Create, Create], &[CreateContainer, Create2]];
    let clients = [leader, one, other].map(|at| world.connect(at, 1));
    // All on their way at once, those of a follower's client behind each other.
    for client in clients {
        for (nth, codes) in codes.iter().enumerate() {
            let paths: Vec<String> = (0..codes.len()).map(|op| format!("/{}-{nth}-{op}", client.at)).collect();
            world.ask(client, i32::try_from(nth).unwrap() + 1, &request(&paths, codes, acl));
        }
    }
    world.settle();
    for client in clients {
        let bodies = world.bodies(client);
        let told: Vec<Vec<(OpCode, Option<i64>)>> = bodies.iter().map(|body| results(body)).collect();
        let with_stats = |(nth, codes): (usize, &&[OpCode])| -> Vec<(OpCode, Option<i64>)> {
            let tree = world.servers[client.at].tree.0.read().unwrap();
            let czxid = |op| tree.get(&format!("/{}-{nth}-{op}", client.at)).unwrap().stat().czxid.to_wire();
            let result = |(op, code): (usize, &OpCode)| match code {
                Create => (Create, None),
                _ => (Create2, Some(czxid(op))),
            };
            codes.iter().enumerate().map(result).collect()
        };
        assert_eq!(told, codes.iter().enumerate().map(with_stats).collect::<Vec<_>>(), "of server {}", client.at);
    }
    world.until_same();
    for server in &world.servers {
        let types = server.host.txns.iter().filter_map(|(_, bytes)| types(bytes));
        let mut counts = [0, 0];
        for code in types.flatten() {
            counts[usize::from(code == CreateContainer)] += 1;
            assert!(matches!(code, Create | CreateContainer), "{code:?} in a multi's txn");
        }
        assert_eq!(counts, [3 * 6, 3], "every multi is in every log");
    }
}

/// The types and zxids of a reply's results.
fn results(body: &[u8]) -> Vec<(OpCode, Option<i64>)> {
    let Reply::Multi(results) = Reply::read(OpCode::Multi, &mut Reader::new(body)).unwrap() else { unreachable!() };
    let told = |result: &OpResult<'_>| match result {
        OpResult::Create(_) => (OpCode::Create, None),
        OpResult::Create2(code, _, stat) => (*code, Some(stat.czxid.to_wire())),
        other => panic!("{other:?}"),
    };
    results.iter().map(told).collect()
}

/// The types of the operations of a multi.
fn types(bytes: &[u8]) -> Option<Vec<OpCode>> {
    match TxnRecord::decode(bytes).unwrap().txn {
        Txn::Multi(txns) => Some(txns.iter().map(Txn::op).collect()),
        _ => None,
    }
}
