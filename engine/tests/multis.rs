//! create2 in a multi: the txn says create, as ZooKeeper 3.8.0 writes it and can apply it, and the client's result has its Stat all the same. At the members of an ensemble:
//! `learners/multis.rs`.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

mod support;
#[path = "support/vectors.rs"]
mod vectors;

use proto::reply::{OpResult, Reply};
use proto::request::Request;
use proto::txn::{Txn, TxnRecord};
use proto::{ErrorCode, OpCode, Reader, Writer};
use ringkeeper_engine::apply::{Answer, Create2s, apply};
use ringkeeper_engine::tree::Tree;
use support::naive_ops::{Body, CreateOp, Op};
use support::world::{
    EPHEMERAL, PERSISTENT, SEQUENTIAL, World, check, container, create, delete, failed_multi, with_ttl,
};

fn create2(path: &str, flags: i32) -> Op {
    let Op::Create(create) = create(path, flags) else { unreachable!() };
    Op::Create(CreateOp { code: OpCode::Create2, ..create })
}

/// The types of a multi's operations in its txn.
fn types(txn: &Txn<'_>) -> Vec<OpCode> {
    let Txn::Multi(txns) = txn else { panic!("{txn:?}") };
    txns.iter().map(Txn::op).collect()
}

#[test]
fn a_create2_in_a_multi_is_a_create_in_the_txn_and_has_its_stat_in_the_reply() {
    use OpCode::{Create, CreateContainer, CreateTtl, Delete};
    let mut world = World::new(1);
    let multi = Op::Multi(vec![
        create("/a", PERSISTENT),
        create2("/a/b", EPHEMERAL),
        create("/c", PERSISTENT),
        create2("/a/s-", SEQUENTIAL),
        container("/d"),
        with_ttl("/t", 5),
        delete("/c"),
        // The flags rule over the code.
        create2("/e", 4),
    ]);
    let (err, Body::Multi(results)) = world.done(0, &multi) else { panic!("no results") };
    let stat = |path: &str| world.h.tree.get(path).unwrap().stat();
    let made = |path: &str| Body::PathStat(path.to_owned(), stat(path));
    let path = |path: &str| Body::Path(path.to_owned());
    let expected = vec![
        path("/a"),
        made("/a/b"),
        path("/c"),
        made("/a/s-0000000001"),
        made("/d"),
        made("/t"),
        Body::Nothing,
        made("/e"),
    ];
    assert_eq!((err, results), (0, expected));
    assert_eq!(stat("/a/b").ephemeral_owner.0, world.sessions[0].0);
    let (_, logged) = world.h.log.last().unwrap();
    let logged = TxnRecord::decode(logged).unwrap();
    let as_logged = [Create, Create, Create, Create, CreateContainer, CreateTtl, Delete, CreateContainer];
    assert_eq!(types(&logged.txn), as_logged);

    // Alone it stays what it is, and with a failure there are no results but errors.
    assert!(matches!(world.done(0, &create2("/alone", PERSISTENT)), (0, Body::PathStat(..))));
    let (_, logged) = world.h.log.last().unwrap();
    assert_eq!(TxnRecord::decode(logged).unwrap().header.op, OpCode::Create2);
    let failing = Op::Multi(vec![create2("/f", PERSISTENT), check("/a", 7)]);
    assert_eq!(world.done(0, &failing), failed_multi(1, 2, ErrorCode::BadVersion));
}

#[test]
fn multis_on_their_way_together_are_each_answered_as_they_were_asked() {
    let mut world = World::new(2);
    world.ask(0, &Op::Multi(vec![create("/a", PERSISTENT), create2("/b", PERSISTENT)]));
    world.ask(1, &Op::Multi(vec![create2("/c", PERSISTENT), create("/d", PERSISTENT)]));
    world.ask(0, &create("/e", PERSISTENT));
    world.ask(0, &Op::Multi(vec![create("/f", PERSISTENT), create("/g", PERSISTENT)]));
    let has_stat = |(_, body): &(i32, Body)| match body {
        Body::Multi(results) => results.iter().map(|result| matches!(result, Body::PathStat(..))).collect(),
        body => vec![matches!(body, Body::PathStat(..))],
    };
    let told: Vec<Vec<bool>> = world.answers().iter().map(has_stat).collect();
    assert_eq!(told, [vec![false, true], vec![true, false], vec![false], vec![false, false]]);
}

/// The real server's record (3.9.5) of create, create2, createContainer, createTTL, setData, check and delete, and the same as 3.8.0 and RingKeeper write it.
#[test]
fn both_forms_of_a_create2_make_the_same_tree_and_the_same_reply() {
    const NAME: &str = "multi_create_create2_createContainer_createTTL_setData_check_delete";
    let vector = vectors::vectors("txn-3.9.5.txt")
        .into_iter()
        .find(|vector| (&*vector.kind, &*vector.name) == ("txn", NAME))
        .unwrap();
    let theirs = TxnRecord { digest: None, ..TxnRecord::decode(&vector.bytes).unwrap() };
    assert_eq!(types(&theirs.txn)[..3], [OpCode::Create, OpCode::Create2, OpCode::CreateContainer]);
    let mut ours = theirs.clone();
    let Txn::Multi(txns) = &mut ours.txn else { unreachable!() };
    let Txn::Create(second) = &mut txns[1] else { panic!("{txns:?}") };
    second.op = OpCode::Create;

    let asked = Op::Multi(vec![create("/m", PERSISTENT), create2("/m/a", PERSISTENT), container("/m/c")]);
    let mut request = Vec::new();
    asked.write(&mut Writer::new(&mut request));
    let request = Request::read(OpCode::Multi, &mut Reader::new(&request)).unwrap().unwrap();
    let applied = |record: &TxnRecord<'_>, create2s: &Create2s| {
        let (mut tree, mut out) = (Tree::new(), Vec::new());
        let err = apply(&mut tree, record, &mut Vec::new(), Some(Answer { out: &mut out, create2s }));
        assert_eq!(err, 0);
        (tree.digest(), out)
    };
    let (digest, reply) = applied(&theirs, Create2s::NONE);
    assert_eq!(applied(&theirs, &Create2s::of(&request)), (digest, reply.clone()));
    assert_eq!(applied(&ours, &Create2s::of(&request)), (digest, reply.clone()));
    let second = |reply: &[u8]| match Reply::read(OpCode::Multi, &mut Reader::new(reply)).unwrap() {
        Reply::Multi(results) => matches!(results[1], OpResult::Create2(_, "/m/a", _)),
        other => panic!("{other:?}"),
    };
    assert!(second(&reply));
    // Whoever does not know the request cannot tell.
    let (same_digest, reply) = applied(&ours, Create2s::NONE);
    assert!(same_digest == digest && !second(&reply));
}
