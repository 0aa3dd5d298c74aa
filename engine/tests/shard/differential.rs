//! What the differential harness (`tests/differential`) has found, one test each: how the real server (3.9.5) answers.

use crate::rig::{Rig, close_session, create, exists_watch, get, handshake_of, raw_request, request, set};
use proto::request::{MultiOp, MultiRequest, PathVersion, ReadRequest, Request};
use proto::{Acl, OpCode, Writer, Zxid};

/// The zxids in the headers of the replies to these requests, each of which is answered before the next one is sent.
fn zxids(requests: &[Vec<u8>]) -> Vec<i64> {
    let mut rig = Rig::new();
    let c = rig.connect(0);
    let answer = |request: &Vec<u8>| {
        rig.send(c, std::slice::from_ref(request));
        rig.settle();
        rig.hear(c)[0].zxid
    };
    requests.iter().map(answer).collect()
}

fn multi_of_one(op: i32, record: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    raw_request(1, OpCode::Multi.to_wire(), |w| {
        w.int(op);
        w.bool(false);
        w.int(-1);
        record(w);
        w.int(-1);
        w.bool(true);
        w.int(-1);
    })
}

#[test]
fn minus_one_is_not_a_zxid_of_the_future() {
    let mut rig = Rig::new();
    let c = rig.accept(0);
    rig.receive(c, &handshake_of(Zxid::from_wire(-1), None, Some(false)));
    rig.settle();
    assert_ne!(rig.take_connected(c).session_id.0, 0);
}

#[test]
fn a_multi_that_cannot_be_read_takes_a_zxid_unless_it_is_for_a_null_acl() {
    let start = zxids(&[get(1, "/")])[0];
    let cut = raw_request(1, OpCode::Multi.to_wire(), |w| w.int(1));
    let unknown = multi_of_one(77, |w| w.int(0));
    let null_acl = multi_of_one(OpCode::Create.to_wire(), |w| {
        w.string("/a");
        w.buffer(None);
        w.int(-1);
        w.int(0);
    });
    assert_eq!(zxids(&[cut, unknown, null_acl]), [start + 1, start + 2, start + 2]);
}

#[test]
fn a_write_without_a_path_takes_a_zxid_and_one_cut_short_does_not() {
    let start = zxids(&[get(1, "/")])[0];
    let create = |cut: bool| {
        raw_request(1, OpCode::Create.to_wire(), |w| {
            w.string_or_null(None);
            w.buffer(None);
            Acl::write_vec(&[Acl::open()], w);
            if !cut {
                w.int(0);
            }
        })
    };
    let delete = raw_request(1, OpCode::Delete.to_wire(), |w| {
        w.string_or_null(None);
        w.int(-1);
    });
    let set = raw_request(1, OpCode::SetData.to_wire(), |w| {
        w.string_or_null(None);
        w.buffer(None);
        w.int(-1);
    });
    let requests = [create(false), create(true), delete, set];
    assert_eq!(zxids(&requests), [start + 1, start + 1, start + 2, start + 3]);
    let mut rig = Rig::new();
    let c = rig.connect(0);
    rig.send(c, &requests);
    rig.settle();
    assert_eq!(rig.words(c), ["1 MarshallingError", "1 MarshallingError", "1 MarshallingError", "1 BadArguments"]);
}

#[test]
fn a_multi_read_of_writes_ends_its_error_with_the_end_of_no_results() {
    let mut rig = Rig::new();
    let c = rig.connect(0);
    let ops = vec![MultiOp::Delete(PathVersion { path: "/a", version: -1 })];
    rig.send(c, &[request(1, &Request::MultiRead(MultiRequest { ops }))]);
    rig.settle();
    assert_eq!(rig.words(c), ["1 MarshallingError and 9 bytes"]);
}

#[test]
fn a_multi_read_leaves_no_watches() {
    let mut rig = Rig::new();
    let c = rig.connect(0);
    let read = ReadRequest { path: "/", watch: true };
    let ops = vec![MultiOp::GetData(read), MultiOp::GetChildren(read)];
    rig.send(c, &[request(1, &Request::MultiRead(MultiRequest { ops })), set(2, "/", "x"), create(3, "/a", "")]);
    rig.settle();
    assert_eq!(rig.hear(c).iter().map(|heard| heard.xid).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(rig.shard.watch_count(), 0);
}

#[test]
fn the_empty_path_is_the_roots_to_a_read() {
    let mut rig = Rig::new();
    let c = rig.connect(0);
    let count = |path| request(3, &Request::GetAllChildrenNumber(path));
    rig.send(c, &[get(1, ""), exists_watch(2, ""), count("/"), count("")]);
    rig.settle();
    // The last one counts the root itself: its name begins with the empty path and a slash.
    assert_eq!(rig.words(c), ["1  v0", "2 v0", "3 3", "3 4"]);
}

#[test]
fn who_ends_its_session_hears_of_its_own_ephemerals_before_the_reply() {
    let mut rig = Rig::new();
    let c = rig.connect(0);
    let ephemeral = raw_request(1, OpCode::Create.to_wire(), |w| {
        w.string("/e");
        w.buffer(None);
        Acl::write_vec(&[Acl::open()], w);
        w.int(1);
    });
    rig.send(c, &[ephemeral, exists_watch(2, "/e"), close_session(3)]);
    rig.settle();
    assert_eq!(rig.words(c), ["1 /e", "2 v0", "NodeDeleted /e", "3 ok"]);
}
