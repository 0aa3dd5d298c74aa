//! Counters that run over, as the real server (3.9.5) does it: sequential numbers at 2^31-1 and beyond, versions, and what clients see of them.
//!
//! The vectors are one run of a real server that was started on a crafted snapshot (`tests/reference/sequence_script.py`). Here the engine gets
//! the same tree, the same requests and the same clock: what it answers and what it logs must be the same bytes.

use crate::rig::Rig;
use crate::vectors::{Vector, vectors};
use proto::connect::ConnectResponse;
use proto::reply::{OpResult, Reply, ReplyHeader};
use proto::request::RequestHeader;
use proto::txn::{DIGEST_VERSION, Txn, TxnRecord};
use proto::{Acl, OpCode, Reader, SessionId, StatPersisted, Zxid};
use ringkeeper_engine::prep::PrepOptions;
use ringkeeper_engine::replica::ReplicaOptions;
use ringkeeper_engine::shard::ShardOptions;
use ringkeeper_engine::stream::ConnId;
use ringkeeper_engine::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};

/// The tree of the snapshot, from its parts as they stood in the file.
fn tree(vectors: &[Vector]) -> Tree {
    let mut loader = Tree::loader();
    let (mut zxid, mut digest) = (Zxid::ZERO, 0);
    for Vector { kind, name, bytes } in vectors {
        let mut r = Reader::new(bytes);
        match kind.as_str() {
            "digest" => {
                zxid = Zxid(u64::try_from(r.long().unwrap()).unwrap());
                assert_eq!(r.int().unwrap(), DIGEST_VERSION);
                digest = r.long().unwrap().cast_unsigned();
            }
            "session" => loader.session(SessionId(r.long().unwrap()), r.int().unwrap()),
            "node" => {
                let path = r.string().unwrap();
                let data = r.buffer().unwrap();
                assert_eq!(r.long().unwrap(), -1, "{name}: open to everybody");
                let stat = StatPersisted::read(&mut r).unwrap();
                let path = if path.is_empty() { "/" } else { path };
                loader.node(path, data, &[Acl::open()], stat).unwrap();
            }
            _ => continue,
        }
        assert!(r.is_empty(), "{name}");
    }
    loader.finish(zxid, digest).expect("the tree that the real server took")
}

/// What a real server made of a request.
#[derive(Default)]
struct Answer {
    frames: Vec<Vec<u8>>,
    txn: Option<Vec<u8>>,
}

/// The frame, but the names of children apart: they come in no order.
fn sorted(op: Option<OpCode>, frame: &[u8]) -> (Vec<u8>, Vec<String>) {
    if op != Some(OpCode::GetChildren2) {
        return (frame.to_vec(), Vec::new());
    }
    let mut r = Reader::new(frame);
    let header = ReplyHeader::read(&mut r).unwrap();
    assert_eq!(header.err, 0);
    let Reply::StringsStat(names, stat) = Reply::read(OpCode::GetChildren2, &mut r).unwrap() else { unreachable!() };
    let mut names: Vec<String> = names.iter().map(str::to_owned).collect();
    names.sort();
    (format!("{header:?} {stat:?}").into_bytes(), names)
}

/// Does a create in it bring its parent's counter past the end of the numbers? Java predicts a digest with a counter that its tree then does not take.
fn runs_over(tree: &Tree, txn: &Txn<'_>) -> bool {
    match txn {
        Txn::Create(create) => {
            let parent = proto::path::split(create.path).map_or("/", |(parent, _)| parent);
            tree.get(parent).is_some_and(|node| create.parent_cversion <= node.persisted().cversion)
        }
        Txn::Multi(txns) if failed(txns) => false,
        Txn::Multi(txns) => txns.iter().any(|txn| runs_over(tree, txn)),
        _ => false,
    }
}

fn failed(txns: &[Txn<'_>]) -> bool {
    txns.iter().any(|txn| matches!(txn, Txn::Error(_)))
}

/// Runs the script over its tree. Returns the count of requests, and of txns that bring a counter past the end of the numbers.
pub(crate) fn replay(script: &[Vector]) -> (usize, usize) {
    let mut answers: BTreeMap<&str, Answer> = BTreeMap::new();
    for Vector { kind, name, bytes } in script {
        match kind.as_str() {
            // Events come before the reply of the request whose name they bear, and stand there in the file.
            "event" => answers.entry(name.rsplit_once('.').unwrap().0).or_default().frames.push(bytes.clone()),
            "accepted" | "reply" => answers.entry(name).or_default().frames.push(bytes.clone()),
            "txn" => answers.entry(name).or_default().txn = Some(bytes.clone()),
            _ => {}
        }
    }
    let prep = PrepOptions { extended_types: true, ..PrepOptions::default() };
    let options = ReplicaOptions { tick_ms: 2_000, session_timeout_ms_max: 40_000, prep, ..ReplicaOptions::default() };
    let mut rig = Rig::over(tree(script), options, ShardOptions::default());
    let mut connections: Vec<(ConnId, &str)> = Vec::new();
    let (mut asked, mut ran_over) = (0, 0);
    for Vector { kind, name, bytes } in script {
        let Answer { frames, txn } = match kind.as_str() {
            "connect" | "request" => answers.remove(name.as_str()).unwrap(),
            _ => continue,
        };
        asked += 1;
        if kind == "connect" {
            let id = rig.accept(u32::try_from(connections.len()).unwrap());
            connections.push((id, name));
        }
        // A request's name begins with its session's, where that is not the first.
        let of_this = connections.iter().find(|(_, session)| name.split('.').next() == Some(session));
        let (id, _) = *of_this.unwrap_or(&connections[0]);
        let txn =
            txn.as_deref().map(|bytes| TxnRecord::decode(bytes).unwrap_or_else(|error| panic!("{name}: {error}")));
        if let Some(txn) = &txn {
            rig.epoch_ms = txn.header.time_ms - i64::try_from(rig.now_us / 1_000).unwrap();
        }
        let is_past_the_end = txn.as_ref().is_some_and(|record| runs_over(&rig.tree, &record.txn));
        ran_over += usize::from(is_past_the_end);
        let log_len = rig.log.len();
        let length = i32::try_from(bytes.len()).unwrap().to_be_bytes();
        rig.receive(id, &[&length, bytes.as_slice()].concat());
        rig.settle();
        let heard = rig.hear_raw(id);
        if kind == "connect" {
            let decode = |frame: &Vec<u8>| ConnectResponse::decode(frame).unwrap();
            assert_eq!(heard.iter().map(decode).collect::<Vec<_>>(), frames.iter().map(decode).collect::<Vec<_>>());
        } else {
            let op = OpCode::from_wire(RequestHeader::read(&mut Reader::new(bytes)).unwrap().op);
            let plain = |frames: &[Vec<u8>]| frames.iter().map(|frame| sorted(op, frame)).collect::<Vec<_>>();
            assert_eq!(plain(&heard), plain(&frames), "{name}: {}", told(op, &heard, &frames));
        }
        compare_txn(name, &rig.log[log_len..], txn, is_past_the_end);
    }
    (asked, ran_over)
}

/// The engine's txn is the real server's, but that errors have a digest too, that a digest is always the tree's, that a failed multi
/// does not keep what would have been, and that a create2 in a multi is written as a create, as 3.8.0 does.
fn compare_txn(name: &str, logged: &[(Zxid, Vec<u8>)], expected: Option<TxnRecord<'_>>, is_past_the_end: bool) {
    let logged: Vec<TxnRecord<'_>> = logged.iter().map(|(_, bytes)| TxnRecord::decode(bytes).unwrap()).collect();
    let (mut record, mut expected) = match (<[_; 1]>::try_from(logged), expected) {
        (Ok([record]), Some(expected)) => (record, expected),
        (Err(logged), None) => return assert!(logged.is_empty(), "{name}: a txn that the real server did not make"),
        (logged, expected) => panic!("{name}: {logged:#?}, but the real server {expected:#?}"),
    };
    assert!(record.digest.is_some(), "{name}");
    if expected.digest.is_none() || is_past_the_end {
        assert_ne!(record.digest, expected.digest, "{name}");
        record.digest = expected.digest;
    }
    if let Txn::Multi(txns) = &mut expected.txn {
        if failed(txns) {
            txns.iter_mut().take_while(|txn| !matches!(txn, Txn::Error(_))).for_each(|txn| *txn = Txn::Error(0));
        }
        for txn in txns {
            if let Txn::Create(create) = txn
                && create.op == OpCode::Create2
            {
                create.op = OpCode::Create;
            }
        }
    }
    if let (Txn::CloseSession(Some(ours)), Txn::CloseSession(Some(theirs))) = (&record.txn, &expected.txn) {
        // Java lists a session's ephemerals in no order.
        assert_eq!(ours.iter().collect::<BTreeSet<_>>(), theirs.iter().collect::<BTreeSet<_>>(), "{name}");
        record.txn = expected.txn.clone();
    }
    assert_eq!(record, expected, "{name}");
}

/// The frames in words, for whoever looks at a difference.
fn told(op: Option<OpCode>, heard: &[Vec<u8>], expected: &[Vec<u8>]) -> String {
    let words = |frames: &[Vec<u8>]| {
        let (Some(op), Some(frame)) = (op, frames.last()) else { return "nothing".to_owned() };
        let mut r = Reader::new(frame);
        let header = ReplyHeader::read(&mut r);
        let body = Reply::read(op, &mut r);
        format!("{header:?} {body:?}")
    };
    format!("{}\n  the real server: {}", words(heard), words(expected))
}

#[test]
fn counters_run_over_as_the_real_servers_do() {
    let (asked, ran_over) = replay(&vectors("sequence-3.9.5.txt"));
    assert!(asked > 500, "only {asked} requests");
    assert_eq!(ran_over, 31, "txns that bring a counter past the end");
}

#[test]
fn no_counter_runs_over_otherwise_in_3_8_0() {
    for Vector { kind, name, bytes } in vectors("sequence-3.8.0.txt") {
        let mut r = Reader::new(&bytes);
        let header = ReplyHeader::read(&mut r).unwrap();
        match kind.as_str() {
            "event" => assert_eq!(header.zxid.to_wire(), -1, "{name}: events have no zxid before 3.9"),
            "reply" => {
                let Reply::Multi(results) = Reply::read(OpCode::Multi, &mut r).unwrap() else { panic!("{name}") };
                assert!(matches!(results[1], OpResult::Create(_)), "{name}: create2 in a multi is answered as create");
            }
            _ => panic!("{name}: a difference of another kind"),
        }
    }
}
