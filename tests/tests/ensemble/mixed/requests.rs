//! Writes of a client of the one implementation's server, under a leader of the other: what it is answered, and the txn that the leader makes of them.
//!
//! Servers 1 and 2 are the leader's kind, and 2 leads; 3 is of the other. What the client of 3 is answered is what the client of 1 is, and what pure ensembles answer (1, 2 and 3 of
//! one kind: `*_alone`). A write that is refused uses a zxid all the same: each gets a txn with its error and nothing else, one PROPOSAL and one COMMIT to each follower, in the
//! order of the requests. Refused without one are
//!
//! - what no client may ask for (a check alone, numbers that are no operation): UnimplementedRequest, and the connection is closed. 3.8's follower hands a check on, and it gets one;
//! - a record that cannot be read, where a RingKeeper server is asked: MarshallingError. A Java follower hands it on unread, and it gets one. A multi's is the leader's to read, and gets one;
//! - a frame above `jute.maxbuffer`: the connection is closed.
//!
//! [`super::sessions`] has what is refused for other settings: ephemerals of local sessions, TTL znodes without `extendedTypesEnabled`.

use super::packets::{assert_each_change_is_seen, assert_ours_are_in_order, told};
use super::{LEADER, OTHER, SAME, led_by_2};
use crate::load::{connect, trees_agree};
use client::{AclList, ClientError, Connection, MultiResult, Operations};
use proto::quorum::PacketType;
use proto::reply::Reply;
use proto::request::{
    CreateMode, CreateRequest, MultiOp, MultiRequest, PathVersion, ReconfigRequest, Request, SetAclRequest,
    SetDataRequest,
};
use proto::watch::EventType;
use proto::{Acl, AclVec, ErrorCode, OpCode, Perms, SessionId, Xid, Zxid};
use ringkeeper_tests::cluster::{Cluster, Implementation, Packet, Plan};
use ringkeeper_tests::until;

/// How often containers and TTL znodes are looked for. A removal takes less: one that is not over by the next look is asked for again, in vain.
const CONTAINER_CHECK_MS: i64 = 1_000;
/// Longer than any test.
const LONG_TTL_MS: i64 = 3_600_000;
/// More than `jute.maxbuffer`.
const TOO_LONG: usize = 2 << 20;
/// No operation has this number.
const UNKNOWN_OP: i32 = 99;

#[test]
fn clients_of_ringkeeper_under_java() {
    requests(Implementation::Java, Implementation::RingKeeper);
}

#[test]
fn clients_of_ringkeeper_under_java_3_8() {
    requests(Implementation::Java38, Implementation::RingKeeper);
}

#[test]
fn clients_of_java_under_ringkeeper() {
    requests(Implementation::RingKeeper, Implementation::Java);
}

#[test]
fn clients_of_java_3_8_under_ringkeeper() {
    requests(Implementation::RingKeeper, Implementation::Java38);
}

#[test]
fn clients_of_ringkeeper_alone() {
    requests(Implementation::RingKeeper, Implementation::RingKeeper);
}

#[test]
fn clients_of_java_alone() {
    for java in [Implementation::Java, Implementation::Java38] {
        requests(java, java);
    }
}

fn requests(leader: Implementation, other: Implementation) {
    let interval = CONTAINER_CHECK_MS.to_string();
    let plan = Plan::new(leader, 3).with(OTHER, other).recorded();
    let plan = plan.set("enforceQuota", "true").set("znode.container.checkIntervalMs", &interval);
    let mut cluster = led_by_2(plan.prepare());
    let begun = cluster.wire().now();
    let owner = prepare(&cluster);
    for id in [OTHER, SAME] {
        refused_with_a_txn(&cluster, id);
        refused_without(&cluster, id);
        multis(&cluster, id);
        failed_multis(&cluster, id);
    }
    containers_and_ttls_go(&cluster);
    owner.close().expect("it serves");
    trees_agree(&cluster);
    if [leader, other].contains(&Implementation::RingKeeper) {
        assert_ours_are_in_order(&cluster, begun);
        assert_each_change_is_seen(&cluster, begun);
    }
    cluster.stop_all();
}

/// What the requests meet. The session has the ephemeral.
fn prepare(cluster: &Cluster) -> Connection {
    let mut client = connect(cluster.address(SAME));
    for path in ["/r", "/r/full", "/r/full/child", "/later", "/q", "/zookeeper/quota/q"] {
        client.create(path, b"", CreateMode::Persistent).expect("it is created");
    }
    client.create("/r/ephemeral", b"", CreateMode::Ephemeral).expect("it is created");
    let read_only = AclList::new(&[Acl::world_read()]);
    client.create_with("/r/shut", None, CreateMode::Persistent, &read_only).expect("it is created");
    for (name, data) in [("limits", "count=2,bytes=9=;countHardLimit=2;byteHardLimit=9"), ("stats", "count=1,bytes=0")]
    {
        let path = format!("/zookeeper/quota/q/zookeeper_{name}");
        client.create(&path, data.as_bytes(), CreateMode::Persistent).expect("it is created");
    }
    client.create("/q/one", b"12345", CreateMode::Persistent).expect("the quota allows it");
    client
}

/// ACLs, encoded.
struct Lists {
    open: AclList,
    nobody: AclList,
    bad_scheme: AclList,
    bad_ip: AclList,
    bad_digest: AclList,
    /// For who has no identity.
    auth: AclList,
}

impl Lists {
    fn new() -> Lists {
        let one =
            |scheme: &str, id: &str| AclList::new(&[Acl { perms: Perms::ALL, scheme: scheme.into(), id: id.into() }]);
        Lists {
            open: AclList::open(),
            nobody: AclList::new(&[]),
            bad_scheme: one("no-such", "id"),
            bad_ip: one("ip", "x.y"),
            bad_digest: one("digest", "no-colon"),
            auth: one("auth", ""),
        }
    }

    /// Each with the error that it is refused with.
    fn refused(&self) -> Vec<(Request<'_>, ErrorCode)> {
        let open = self.open.as_vec();
        let create = |path, mode: CreateMode| create_of(OpCode::Create, path, open, mode as i32, None);
        let flagged = |op, flags| create_of(op, "/r/new", open, flags, None);
        let ttl = |ms| create_of(OpCode::CreateTtl, "/r/new", open, CreateMode::PersistentWithTtl as i32, Some(ms));
        let with_acl = |acl| create_of(OpCode::Create, "/r/new", acl, CreateMode::Persistent as i32, None);
        let delete = |path, version| Request::Delete(PathVersion { path, version });
        let set = |path, version| Request::SetData(SetDataRequest { path, data: Some(b"1"), version });
        let set_long = |path| Request::SetData(SetDataRequest { path, data: Some(b"1234567890"), version: -1 });
        let set_acl = |path, acl, version| Request::SetAcl(SetAclRequest { path, acl, version });
        let persistent = CreateMode::Persistent;
        use ErrorCode::{
            BadArguments, BadVersion, InvalidAcl, NoAuth, NoChildrenForEphemerals, NoNode, NodeExists, NotEmpty,
            QuotaExceeded, ReconfigDisabled,
        };
        vec![
            (create("/r/none/new", persistent), NoNode),
            (delete("/r/none", -1), NoNode),
            (set("/r/none", -1), NoNode),
            (set_acl("/r/none", open, -1), NoNode),
            (create("/r", persistent), NodeExists),
            (create("/", persistent), NodeExists),
            (create_of(OpCode::Create2, "/r/full", open, 0, None), NodeExists),
            (create_of(OpCode::CreateContainer, "/r", open, CreateMode::Container as i32, None), NodeExists),
            (create_of(OpCode::CreateTtl, "/r", open, CreateMode::PersistentWithTtl as i32, Some(1_000)), NodeExists),
            (delete("/r/full", -1), NotEmpty),
            (delete("/r/full", 0), NotEmpty),
            (delete("/r/full/child", 7), BadVersion),
            (set("/r/full", 7), BadVersion),
            (set_acl("/r/full", open, 7), BadVersion),
            (create("/r/shut/new", persistent), NoAuth),
            (set("/r/shut", -1), NoAuth),
            (set_acl("/r/shut", open, -1), NoAuth),
            (set("/zookeeper/config", -1), NoAuth),
            (create("/r/ephemeral/new", persistent), NoChildrenForEphemerals),
            (create("/r/ephemeral/new", CreateMode::Ephemeral), NoChildrenForEphemerals),
            (with_acl(self.nobody.as_vec()), InvalidAcl),
            (with_acl(AclVec::NULL), InvalidAcl),
            (with_acl(self.auth.as_vec()), InvalidAcl),
            (with_acl(self.bad_scheme.as_vec()), InvalidAcl),
            (set_acl("/r/full", self.bad_ip.as_vec(), -1), InvalidAcl),
            (set_acl("/r/full", self.bad_digest.as_vec(), -1), InvalidAcl),
            (create("", persistent), BadArguments),
            (create("r", persistent), BadArguments),
            (create("/r/", persistent), BadArguments),
            (create("/r/\0", persistent), BadArguments),
            (delete("/", -1), BadArguments),
            (delete("/zookeeper", -1), BadArguments),
            (set("/r/..", -1), BadArguments),
            (set_acl("/r//x", open, -1), BadArguments),
            (flagged(OpCode::Create, 7), BadArguments),
            (flagged(OpCode::Create2, -1), BadArguments),
            (flagged(OpCode::Create, CreateMode::PersistentWithTtl as i32), BadArguments),
            (ttl(0), BadArguments),
            (ttl(1 << 40), BadArguments),
            (create("/q/two", persistent), QuotaExceeded),
            (create("/q/two-", CreateMode::EphemeralSequential), QuotaExceeded),
            (set_long("/q/one"), QuotaExceeded),
            (
                Request::Reconfig(ReconfigRequest {
                    joining: Some("server.9=127.0.0.1:2888:3888"),
                    leaving: None,
                    new_members: None,
                    current_config: -1,
                }),
                ReconfigDisabled,
            ),
        ]
    }
}

fn create_of<'a>(op: OpCode, path: &'a str, acl: AclVec<'a>, flags: i32, ttl_ms: Option<i64>) -> Request<'a> {
    Request::Create(op, CreateRequest { path, data: Some(b"x"), acl, flags, ttl_ms })
}

/// All of them in one batch, each with a write behind it that is not refused.
fn refused_with_a_txn(cluster: &Cluster, id: u8) {
    let lists = Lists::new();
    let refused = lists.refused();
    let mut client = connect(cluster.address(id));
    let count = format!("/count-{id}");
    client.create(&count, b"", CreateMode::Persistent).expect("it is created");
    let session = client.session_id();
    let mut wanted: Vec<(Xid, OpCode, Vec<i32>)> = Vec::new();
    for (request, code) in &refused {
        wanted.push((client.queue(request), OpCode::Error, vec![code.to_wire()]));
        let set = Request::SetData(SetDataRequest { path: &count, data: None, version: -1 });
        wanted.push((client.queue(&set), OpCode::SetData, Vec::new()));
    }
    client.flush().expect("it serves");
    let mut answered = Vec::new();
    for (number, (request, code)) in refused.iter().enumerate() {
        let reply = client.recv_reply().expect("it is answered");
        assert_eq!(reply.code().expect("a code"), *code, "{id}, {number}: {request:?}");
        answered.push(reply.header.zxid);
        let reply = client.recv_reply().expect("it is answered").ok().expect("it is done");
        answered.push(reply.header.zxid);
    }
    // A multi whose bytes end before it does is refused as a whole, by the leader.
    let xid = raw(&mut client, OpCode::Multi.to_wire(), &[]);
    wanted.push((xid, OpCode::Error, vec![ErrorCode::MarshallingError.to_wire()]));
    let reply = client.recv_reply().expect("it is answered");
    assert_eq!(reply.code().expect("a code"), ErrorCode::MarshallingError);
    answered.push(reply.header.zxid);
    let last = *answered.last().expect("some were asked");
    for learner in [SAME, OTHER] {
        let told = told(cluster, learner, session, last);
        // The session and the znode come first.
        let told = told.get(2..).unwrap_or_default();
        let had: Vec<_> = told.iter().map(|(xid, _, op, errors)| (*xid, *op, errors.clone())).collect();
        assert_eq!(had, wanted, "the client is at {id}, {learner} was told");
        let zxids: Vec<Zxid> = told.iter().map(|(_, zxid, ..)| *zxid).collect();
        assert_eq!(zxids, answered, "the client is at {id}, {learner} was told");
    }
    client.close().expect("it serves");
}

/// A request that is only bytes.
fn raw(client: &mut Connection, op: i32, record: &[u8]) -> Xid {
    const XID: Xid = Xid(1 << 20);
    let mut frame = [XID.0.to_be_bytes(), op.to_be_bytes()].concat();
    frame.extend_from_slice(record);
    client.expect(XID, OpCode::Error);
    client.send_frame(&frame).expect("it is connected");
    XID
}

/// See the module.
fn refused_without(cluster: &Cluster, id: u8) {
    let at = cluster.implementation_of(id);
    let leader = cluster.implementation_of(LEADER);
    let path = [&2_i32.to_be_bytes()[..], b"/r", &0_i32.to_be_bytes()].concat();
    let half_a_create = path.get(..5).expect("it is longer").to_vec();
    let mut asked = vec![(UNKNOWN_OP, Vec::new(), ErrorCode::Unimplemented, None)];
    let is_38 = at == Implementation::Java38;
    // 3.8's leader does it, and then its follower has no answer.
    if !(is_38 && leader.is_java()) {
        let txn = is_38.then_some(ErrorCode::Unimplemented);
        asked.push((OpCode::Check.to_wire(), path, ErrorCode::Unimplemented, txn));
    }
    // Java's leader of 3.9 may hang on what its own follower has not read.
    if !(at.is_java() && leader.is_java()) {
        let txn = at.is_java().then_some(ErrorCode::MarshallingError);
        asked.push((OpCode::Create.to_wire(), half_a_create, ErrorCode::MarshallingError, txn));
    }
    for (op, record, code, txn) in asked {
        let mut client = connect(cluster.address(id));
        let session = client.session_id();
        raw(&mut client, op, &record);
        let reply = client.recv_reply().expect("it is answered");
        assert_eq!(reply.code().expect("a code"), code, "{leader:?} leads, {at:?} is asked: {op}");
        let is_closed = code == ErrorCode::Unimplemented && txn.is_none();
        if is_closed {
            client.wait_closed().expect("it is closed");
        } else {
            client.close().expect("it serves");
        }
        assert_errors(cluster, session, txn);
    }
    let mut client = connect(cluster.address(id));
    let session = client.session_id();
    // It may be closed before all of it is written.
    let _refused = client.send_frame(&vec![0; TOO_LONG]);
    let answer = client.recv();
    assert!(matches!(answer, Err(ClientError::Closed { .. } | ClientError::Io { .. })), "{answer:?}");
    assert_errors(cluster, session, None);
}

/// The errors that the followers were told of this session's, after all that was asked before this.
fn assert_errors(cluster: &Cluster, session: SessionId, wanted: Option<ErrorCode>) {
    let mut client = connect(cluster.address(SAME));
    client.set("/later", b"", -1).expect("it serves");
    for learner in [SAME, OTHER] {
        let told = told(cluster, learner, session, client.last_zxid());
        let errors: Vec<i32> = told.into_iter().flat_map(|(.., errors)| errors).collect();
        assert_eq!(errors, wanted.map(ErrorCode::to_wire).into_iter().collect::<Vec<_>>(), "{learner} was told");
    }
    client.close().expect("it serves");
}

/// What is alike in the results of two servers: everything but zxids and times.
fn kinds(results: &[MultiResult]) -> Vec<String> {
    let kind = |result: &MultiResult| match result {
        MultiResult::CreatedStat(path, stat) => format!("create2 {path} {}", stat.data_length),
        MultiResult::Set(stat) => format!("set {}", stat.version),
        other => format!("{other:?}"),
    };
    results.iter().map(kind).collect()
}

/// Each operation that a multi may have.
fn multis(cluster: &Cluster, id: u8) {
    let (at, leader) = (cluster.implementation_of(id), cluster.implementation_of(LEADER));
    let mut client = connect(cluster.address(id));
    let session = client.session_id();
    let top = format!("/m-{id}");
    client.create(&top, b"", CreateMode::Persistent).expect("it is created");
    let open = AclList::open();
    let paths = ["plain", "again-", "container", "ttl", "ephemeral", "second"].map(|name| format!("{top}/{name}"));
    let [plain, again, container, ttl, ephemeral, second] = &paths;
    let op = |op, path, mode: CreateMode| {
        let ttl_ms = mode.is_ttl().then_some(LONG_TTL_MS);
        let create = CreateRequest { path, data: Some(b"x"), acl: open.as_vec(), flags: mode as i32, ttl_ms };
        MultiOp::Create(op, create)
    };
    let ops = vec![
        MultiOp::Check(PathVersion { path: &top, version: 0 }),
        op(OpCode::Create, plain, CreateMode::Persistent),
        op(OpCode::Create2, second, CreateMode::Persistent),
        op(OpCode::Create, again, CreateMode::PersistentSequential),
        op(OpCode::CreateContainer, container, CreateMode::Container),
        op(OpCode::CreateTtl, ttl, CreateMode::PersistentWithTtl),
        op(OpCode::Create, ephemeral, CreateMode::Ephemeral),
        MultiOp::SetData(SetDataRequest { path: plain, data: Some(b"y"), version: 0 }),
        MultiOp::Check(PathVersion { path: plain, version: 1 }),
        MultiOp::Delete(PathVersion { path: plain, version: 1 }),
    ];
    let results = client.multi(ops).expect("it is done");
    let zxid = client.last_zxid();
    for result in &results {
        if let MultiResult::CreatedStat(_, stat) = result {
            assert_eq!((stat.czxid, stat.mzxid), (zxid, zxid));
        }
    }
    // The txn says create where 3.8 or RingKeeper leads; servers of ours remember what their clients have asked for.
    let says_create2 = at == Implementation::RingKeeper || (leader, at) == (Implementation::Java, Implementation::Java);
    let second = if says_create2 { format!("create2 {second} 1") } else { format!("Created({second:?})") };
    let wanted = [
        "Checked".to_owned(),
        format!("Created({plain:?})"),
        second,
        format!("Created(\"{again}0000000002\")"),
        format!("create2 {container} 1"),
        format!("create2 {ttl} 1"),
        format!("Created({ephemeral:?})"),
        "set 1".to_owned(),
        "Checked".to_owned(),
        "Deleted".to_owned(),
    ];
    assert_eq!(kinds(&results), wanted);
    let told = told(cluster, OTHER, session, zxid);
    let (_, its_zxid, op, errors) = told.last().expect("it was told");
    assert_eq!((*its_zxid, *op, errors.len()), (zxid, OpCode::Multi, 0));
    let mut names = client.children(&top, false).expect("it serves");
    names.sort_unstable();
    assert_eq!(names, ["again-0000000002", "container", "ephemeral", "second", "ttl"]);
    client.close().expect("it serves");
}

/// Each operation's result says what became of it: 0 before the one that failed, RuntimeInconsistency behind it.
fn failed_multis(cluster: &Cluster, id: u8) {
    let lists = Lists::new();
    let (open, nobody) = (lists.open.as_vec(), lists.nobody.as_vec());
    let create = |path, mode: CreateMode, acl| {
        MultiOp::Create(OpCode::Create, CreateRequest { path, data: Some(b"x"), acl, flags: mode as i32, ttl_ms: None })
    };
    let new = |path| create(path, CreateMode::Persistent, open);
    let delete = |path, version| MultiOp::Delete(PathVersion { path, version });
    let set = |path, version| MultiOp::SetData(SetDataRequest { path, data: Some(b"1234567890"), version });
    let check = |path, version| MultiOp::Check(PathVersion { path, version });
    use ErrorCode::{
        BadArguments, BadVersion, InvalidAcl, NoAuth, NoChildrenForEphemerals, NoNode, NodeExists, NotEmpty, Ok,
        QuotaExceeded, RuntimeInconsistency,
    };
    let after = RuntimeInconsistency;
    let refused = vec![
        (vec![check("/r/none", -1), new("/r/new")], vec![NoNode, after]),
        (vec![check("/r/full", 99), new("/r/new"), new("/r/new2")], vec![BadVersion, after, after]),
        (vec![new("/r/new"), set("/r/new", 9), new("/r/new2")], vec![Ok, BadVersion, after]),
        (vec![new("/r/new"), delete("/r/new", -1), delete("/r/new", -1)], vec![Ok, Ok, NoNode]),
        (vec![new("/r/new"), new("/r/new")], vec![Ok, NodeExists]),
        (vec![new("/r/new"), new("/r/new/child"), delete("/r/new", -1)], vec![Ok, Ok, NotEmpty]),
        (vec![create("/r/new", CreateMode::Ephemeral, open), new("/r/new/child")], vec![Ok, NoChildrenForEphemerals]),
        (vec![new("/r/new"), set("/r/shut", -1), check("/r", -1)], vec![Ok, NoAuth, after]),
        (vec![new("/r/new"), create("/r/new2", CreateMode::Persistent, nobody)], vec![Ok, InvalidAcl]),
        (vec![new("/r/new"), new("/r/")], vec![Ok, BadArguments]),
        (vec![new("/r/new"), new("/q/two"), new("/r/new2")], vec![Ok, QuotaExceeded, after]),
        (vec![new("/r/new"), set("/q/one", -1)], vec![Ok, QuotaExceeded]),
    ];
    let mut client = connect(cluster.address(id));
    let session = client.session_id();
    let mut wanted = Vec::new();
    for (ops, codes) in refused {
        let codes: Vec<i32> = codes.into_iter().map(ErrorCode::to_wire).collect();
        let name = format!("{id}: {ops:?}");
        let xid = client.queue(&Request::Multi(MultiRequest { ops }));
        client.flush().expect("it serves");
        let reply = client.recv_reply().expect("it is answered");
        let Reply::Multi(results) = reply.record().expect("each has its own code") else { panic!("{name}: {reply:?}") };
        let had: Vec<MultiResult> = results.into_iter().map(MultiResult::from).collect();
        assert_eq!(had, codes.iter().map(|code| MultiResult::Error(*code)).collect::<Vec<_>>(), "{name}");
        // Java's txn has the operations themselves before the one that failed, ours their 0: nobody applies either.
        let codes = codes.into_iter().filter(|code| *code != 0).collect();
        wanted.push((xid, reply.header.zxid, OpCode::Multi, codes));
    }
    for learner in [SAME, OTHER] {
        let mut told = told(cluster, learner, session, client.last_zxid());
        told.iter_mut().for_each(|(.., errors)| errors.retain(|code| *code != 0));
        assert_eq!(told.get(1..), Some(wanted.as_slice()), "the client is at {id}, {learner} was told");
    }
    assert!(client.exists("/r/new", false).expect("it serves").is_none(), "nothing of them was done");
    client.close().expect("it serves");
}

/// Whoever leads removes them, and each server's clients see it.
fn containers_and_ttls_go(cluster: &Cluster) {
    let since = cluster.wire().now();
    let (mut here, mut there) = (connect(cluster.address(OTHER)), connect(cluster.address(SAME)));
    let create = |client: &mut Connection, path: &str, mode, ttl_ms| {
        client.create2(path, b"", mode, ttl_ms).expect("it is created").0
    };
    let (open, mut gone) = (AclList::open(), Vec::new());
    for (id, client) in [(OTHER, &mut here), (SAME, &mut there)] {
        create(client, &format!("/c-{id}"), CreateMode::Container, 0);
        create(client, &format!("/c-{id}/child"), CreateMode::Persistent, 0);
        create(client, &format!("/unused-{id}"), CreateMode::Container, 0);
        create(client, &format!("/long-{id}"), CreateMode::PersistentWithTtl, LONG_TTL_MS);
        // It has a child from the start, and goes when that has gone.
        let (parent, child) = (format!("/parent-{id}"), format!("/parent-{id}/child"));
        let (acl, mode) = (open.as_vec(), CreateMode::PersistentWithTtl as i32);
        let of_parent = CreateRequest { path: &parent, data: None, acl, flags: mode, ttl_ms: Some(1) };
        let of_child = CreateRequest { path: &child, data: None, acl, flags: 0, ttl_ms: None };
        let both = vec![MultiOp::Create(OpCode::CreateTtl, of_parent), MultiOp::Create(OpCode::Create, of_child)];
        client.multi(both).expect("they are created");
        gone.push(create(client, &format!("/t-{id}"), CreateMode::PersistentWithTtl, 1));
        gone.push(create(client, &format!("/s-{id}-"), CreateMode::PersistentSequentialWithTtl, CONTAINER_CHECK_MS));
    }
    let is_there = |client: &mut Connection, path: &str| client.exists(path, false).expect("it serves").is_some();
    for client in [&mut here, &mut there] {
        until("TTL znodes go", || gone.iter().all(|path| !is_there(client, path)));
        client.sync("/").expect("it serves");
    }
    for (id, client) in [(SAME, &mut here), (OTHER, &mut there)] {
        for parent in [format!("/c-{id}"), format!("/parent-{id}")] {
            // Each is watched at both, and its child goes through the other server than it came.
            assert!(client.exists(&parent, true).expect("it serves").is_some(), "{parent} has a child");
            client.delete(&format!("{parent}/child"), -1).expect("it serves");
            let event = client.next_event().expect("it goes, and its watcher is told");
            assert_eq!((event.path.as_str(), event.kind()), (&*parent, Some(EventType::NodeDeleted)));
            gone.push(parent);
        }
    }
    for client in [&mut here, &mut there] {
        client.sync("/").expect("it serves");
        assert!(gone.iter().all(|path| !is_there(client, path)));
        for id in [SAME, OTHER] {
            assert!(is_there(client, &format!("/unused-{id}")), "it never had a child");
            assert!(is_there(client, &format!("/long-{id}")));
        }
    }
    for learner in [SAME, OTHER] {
        let link = cluster.wire().synced(learner, 0).pop().expect("it is in step");
        let is_new = |packet: &&Packet| packet.number >= since;
        let ops: Vec<OpCode> =
            link.of(PacketType::Proposal).filter(is_new).filter_map(|packet| Some(packet.txn?.op)).collect();
        let count = |wanted| ops.iter().filter(|op| **op == wanted).count();
        assert_eq!((count(OpCode::DeleteContainer), count(OpCode::Error)), (gone.len(), 0), "{learner} was told");
    }
    for client in [here, there] {
        client.close().expect("it serves");
    }
}
