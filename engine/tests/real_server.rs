//! What the real server (3.9.5) wrote down, held against the engine: the digest after every txn of a run, and the passwords of its sessions.
//!
//! The vectors are captured, see `proto/vectors/README.md`; `proto`'s own tests compare their fields with an independent decoder.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that trips is a test that fails")]

#[path = "support/vectors.rs"]
mod vectors;

use engine::apply;
use engine::session;
use engine::tree::Tree;
use proto::SessionId;
use proto::connect::ConnectResponse;
use proto::txn::{DIGEST_VERSION, Txn, TxnRecord};
use ringkeeper_engine as engine;
use std::collections::BTreeSet;
use vectors::{Vector, vectors};

#[test]
fn after_each_txn_of_the_real_servers_log_the_digest_is_the_real_servers() {
    let mut tree = Tree::new();
    let (mut compared, mut kinds) = (0, BTreeSet::new());
    for Vector { kind, name, bytes } in vectors("txnlog_digest.txt") {
        assert_eq!(kind, "txn");
        let mut record = TxnRecord::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let recorded = record.digest.take();
        if record.header.zxid == tree.last_zxid() {
            // A request that Java cannot decode gets an error txn with the zxid of the txn before it: nothing to apply.
            assert!(matches!(record.txn, Txn::Error(_)), "{name} repeats a zxid");
            continue;
        }
        // Without its digest apply cannot compare: this test does.
        apply::apply(&mut tree, &record, &mut Vec::new(), None);
        assert_eq!(tree.last_zxid(), record.header.zxid);
        kinds.insert(record.header.op.to_wire());
        if let Some((version, digest)) = recorded {
            assert_eq!(version, DIGEST_VERSION);
            assert_eq!(tree.digest(), digest, "after {name}");
            compared += 1;
        }
    }
    assert!(compared >= 100, "only {compared} digests were compared");
    // create, delete, setData, setACL, multi, create2, container, its removal, TTL, session begin and end.
    for op in [1, 2, 5, 7, 14, 15, 19, 20, 21, -10, -11] {
        assert!(kinds.contains(&op), "the log has no txn of type {op}");
    }
}

#[test]
fn apply_itself_stops_when_the_digest_is_another() {
    let Vector { bytes, .. } = vectors("txnlog_digest.txt").into_iter().next().expect("a record");
    let mut record = TxnRecord::decode(&bytes).expect("a record");
    let apply = |record: &TxnRecord<'_>| {
        let bytes = bytes_of(record);
        std::panic::catch_unwind(move || {
            let record = TxnRecord::decode(&bytes).expect("a record");
            apply::apply(&mut Tree::new(), &record, &mut Vec::new(), None)
        })
    };
    assert!(apply(&record).is_ok());
    record.digest = record.digest.map(|(version, digest)| (version, digest ^ 1));
    assert!(apply(&record).is_err(), "a tree that is not what its history made went on");
}

fn bytes_of(record: &TxnRecord<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

#[test]
fn passwords_are_the_real_servers() {
    let mut seen = BTreeSet::new();
    for file in ["client-3.9.5.txt", "client-3.8.0.txt"] {
        for Vector { kind, name, bytes } in vectors(file) {
            if kind != "accepted" {
                continue;
            }
            let response = ConnectResponse::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            if response.session_id == SessionId(0) {
                assert_eq!(response, ConnectResponse::expired(response.read_only), "{name}");
                continue;
            }
            assert_eq!(response.password, session::password(response.session_id), "{name}");
            seen.insert(response.session_id.0);
        }
    }
    assert!(seen.len() >= 3, "only {} sessions were seen", seen.len());
}
