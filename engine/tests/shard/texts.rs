//! Ids of ACLs and of clients that are not UTF-8: what the real server (3.9.5) keeps and tells of them, the engine keeps and tells too.
//!
//! The vectors are one run of a real server (`tests/reference/text_script.py`); see `counters.rs` for how they are replayed.

use crate::counters::replay;
use crate::vectors::{Vector, vectors};
use proto::reply::{Reply, ReplyHeader};
use proto::txn::TxnRecord;
use proto::{Acl, OpCode, Perms, Reader};
use ringkeeper_engine::apply::apply;
use ringkeeper_engine::tree::Tree;

const FILE: &str = "acl-texts-3.9.5.txt";

#[test]
fn ids_that_are_not_utf8_are_kept_as_the_real_server_keeps_them() {
    let mut script = vectors(FILE);
    script.retain(|vector| !vector.name.starts_with("apart."));
    let (asked, _) = replay(&script);
    assert_eq!(asked, 33);
}

/// The real server keeps the character until its next start, and tells it and writes it down in a form that nobody reads, not even itself.
#[test]
fn a_character_above_ffff_in_a_real_servers_txn_is_what_all_its_other_servers_read() {
    let script = vectors(FILE);
    let bytes = |kind: &str, name: &str| {
        let of_name = |vector: &&Vector| vector.kind == kind && vector.name == name;
        script.iter().find(of_name).unwrap_or_else(|| panic!("no {kind} {name}")).bytes.clone()
    };
    let read = [Acl::open(), Acl { perms: Perms::READ, scheme: "digest".into(), id: "\u{fffd}\u{fffd}:x".into() }];
    let logged = bytes("txn", "apart.create");
    assert!(logged.windows(6).any(|part| part == b"\xed\xa0\xbd\xed\xb8\x80"), "as Java writes it");
    let record = TxnRecord { digest: None, ..TxnRecord::decode(&logged).unwrap() };
    let mut tree = Tree::new();
    apply(&mut tree, &record, &mut Vec::new(), None);
    assert_eq!(**tree.get("/above").unwrap().acl(), read);
    let reply = bytes("reply", "apart.acl");
    let mut r = Reader::new(&reply);
    ReplyHeader::read(&mut r).unwrap();
    let Reply::AclStat(acl, _) = Reply::read(OpCode::GetAcl, &mut r).unwrap() else { panic!("no ACL") };
    assert_eq!(acl.to_vec().unwrap(), read);
}
