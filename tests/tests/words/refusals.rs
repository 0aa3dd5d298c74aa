//! Every limit and every refusal, one row each: a figure of `mntr` counts it, and the log names it with the client's address. What waits or is
//! refused, and who is served all the same, is tested beside this in `limits.rs`, `bad_input.rs`, `quotas.rs` and `sasl.rs`.

use crate::{connect, figure, until};
use client::{AclList, Connection, Operations};
use proto::request::{
    AuthRequest, CreateMode, CreateRequest, MultiOp, MultiRequest, PathType, ReadRequest, Request, SetDataRequest,
};
use proto::{Acl, OpCode, Perms, Xid};
use ringkeeper_tests::{Server, top};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// A limit, how a client meets it, and where the operator sees that.
struct Row {
    /// Lines of the configuration.
    keys: &'static [(&'static str, &'static str)],
    /// Meets it.
    meet: fn(&Server),
    /// The figure that counts it.
    figure: &'static str,
    /// What a line of the log says, beside the address.
    log: &'static str,
}

const ENSEMBLE: &str = "org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";

const ROWS: &[Row] = &[
    Row { keys: &[], meet: long_frame, figure: "ringkeeper_frame_length_close_count", log: "jute.maxbuffer" },
    Row {
        keys: &[("nio.sessionlessCnxnTimeout", "200")],
        meet: silent,
        figure: "sessionless_connections_expired",
        log: "nio.sessionlessCnxnTimeout",
    },
    Row {
        keys: &[("maxClientCnxns", "2")],
        meet: three_connections,
        figure: "connection_rejected",
        log: "maxClientCnxns",
    },
    Row { keys: &[("maxCnxns", "2")], meet: three_connections, figure: "connection_rejected", log: "maxCnxns" },
    Row {
        keys: &[("connection_throttle_tokens", "1"), ("connection_throttle_fill_time", "100000000")],
        meet: three_connections,
        figure: "connection_rejected",
        log: "connection_throttle_tokens",
    },
    Row {
        keys: &[("ringkeeper.connectionRequestsMax", "2")],
        meet: pipelines,
        figure: "ringkeeper_connection_requests_wait_count",
        log: "ringkeeper.connectionRequestsMax",
    },
    Row {
        keys: &[("globalOutstandingLimit", "2")],
        meet: pipelines,
        figure: "ringkeeper_outstanding_limit_wait_count",
        log: "globalOutstandingLimit",
    },
    Row {
        keys: &[("request_throttle_max_requests", "1"), ("request_throttle_stall_time", "5")],
        meet: pipelines,
        figure: "request_throttle_wait_count",
        log: "request_throttle_max_requests",
    },
    Row {
        keys: &[
            ("request_throttle_max_requests", "1"),
            ("request_throttle_stall_time", "5"),
            ("throttled_op_wait_time", "1"),
        ],
        meet: crowd,
        figure: "throttled_ops",
        log: "throttled_op_wait_time",
    },
    Row {
        keys: &[("largeRequestThreshold", "100"), ("largeRequestMaxBytes", "1000")],
        meet: large_request,
        figure: "large_requests_rejected",
        log: "largeRequestMaxBytes",
    },
    Row {
        keys: &[("ringkeeper.connectionOutputBytesMax", "1048576")],
        meet: deaf_watcher,
        figure: "ringkeeper_output_limit_close_count",
        log: "ringkeeper.connectionOutputBytesMax",
    },
    Row {
        keys: &[("ringkeeper.replyBytesMax", "1048576"), ("jute.maxbuffer", "4194304")],
        meet: large_reply,
        figure: "ringkeeper_reply_limit_error_count",
        log: "ringkeeper.replyBytesMax",
    },
    Row {
        keys: &[],
        meet: many_identities,
        figure: "ringkeeper_identities_refused_count",
        log: "identities of a connection",
    },
    Row { keys: &[], meet: long_acl, figure: "ringkeeper_acl_limit_error_count", log: "an ACL has too many" },
    Row { keys: &[], meet: acls_of_a_multi, figure: "ringkeeper_acl_limit_error_count", log: "an ACL has too many" },
    Row {
        keys: &[],
        meet: many_quotas,
        figure: "ringkeeper_quotas_begun_limit_error_count",
        log: "too many quotas begin",
    },
    Row {
        keys: &[("enforceQuota", "true")],
        meet: over_quota,
        figure: "app_quota_exceeded_error_per_namespace",
        log: "quota exceeded: the write was refused",
    },
    Row { keys: &[], meet: unknown_scheme, figure: "auth_failed_count", log: "\"authentication\"" },
    Row { keys: &[("LOGIN", "")], meet: wrong_token, figure: "auth_failed_count", log: "SASL authentication" },
    Row {
        keys: &[("LOGIN", "")],
        meet: wrong_token,
        figure: "ringkeeper_sasl_failed_count",
        log: "SASL authentication",
    },
    Row {
        keys: &[("LOGIN", ""), ("allowSaslFailedClients", "true")],
        meet: wrong_token,
        figure: "ringkeeper_sasl_failed_count",
        log: "the client may stay",
    },
    Row {
        keys: &[("enforce.auth.enabled", "true"), ("enforce.auth.schemes", "digest")],
        meet: nobody,
        figure: "ringkeeper_auth_required_close_count",
        log: "enforce.auth",
    },
    Row {
        keys: &[("authProvider.1", ENSEMBLE), ("ensembleAuthName", "ours")],
        meet: other_ensemble,
        figure: "ensemble_auth_fail",
        log: "ensemble name",
    },
];

#[test]
fn every_limit_and_refusal_is_counted_and_logged_with_the_clients_address() {
    for row in ROWS {
        for shards in [1, 2] {
            let jaas = top().join("tests/reference/auth.jaas").display().to_string();
            let server =
                row.keys.iter().fold(
                    Server::builder().in_memory().shards(shards),
                    |builder, (key, value)| match *key {
                        "LOGIN" => builder.set("java.security.auth.login.config", &jaas),
                        key => builder.set(key, value),
                    },
                );
            let server = server.start();
            let met = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (row.meet)(&server)));
            assert!(met.is_ok(), "{} with {shards} shards:\n{}", row.figure, server.log());
            until(row.figure, || {
                client::four_letter_word(server.address(), "ruok", crate::PATIENCE).is_ok_and(|answer| answer == "imok")
            });
            until(row.figure, || mntr_has(&server, row.figure));
            let told =
                |server: &Server| server.log().lines().any(|line| line.contains(row.log) && line.contains("127.0.0.1"));
            assert!(told(&server), "nothing tells of {}:\n{}", row.log, server.log());
            assert!(!server.log().contains("bobsecret"), "no secret stands in the log");
        }
    }
}

/// Is the figure there, and above 0?
fn mntr_has(server: &Server, key: &str) -> bool {
    crate::ask(server, "mntr").contains(&format!("\nzk_{key}\t")) && figure(server, key) >= 1.0
}

/// The socket is closed by the server.
fn is_closed(mut socket: TcpStream) {
    socket.set_read_timeout(Some(crate::PATIENCE)).unwrap();
    assert_eq!(socket.read(&mut [0; 64]).unwrap_or(0), 0);
}

fn long_frame(server: &Server) {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(&i32::MAX.to_be_bytes()).unwrap();
    is_closed(socket);
}

fn silent(server: &Server) {
    is_closed(TcpStream::connect(server.address()).unwrap());
}

fn three_connections(server: &Server) {
    let options = client::ConnectOptions::default();
    let kept: Vec<_> = (0..3).map(|_| Connection::connect(server.address(), &options)).collect();
    assert!(kept.iter().any(Result::is_err));
}

/// Several connections send many writes at once.
fn pipelines(server: &Server) {
    write_at_once(server, 4, 200);
}

/// So many connections write that who comes last, let in one by one, waits for more than a millisecond.
fn crowd(server: &Server) {
    write_at_once(server, 200, 20);
}

fn write_at_once(server: &Server, connections: usize, writes_of_each: usize) {
    connect(server, 20_000).create("/n", b"", CreateMode::Persistent).unwrap();
    let mut conns: Vec<Connection> = (0..connections).map(|_| connect(server, 20_000)).collect();
    let set = Request::SetData(SetDataRequest { path: "/n", data: Some(b"x"), version: -1 });
    for conn in &mut conns {
        for _ in 0..writes_of_each {
            let _xid = conn.queue(&set);
        }
        conn.flush().unwrap();
    }
    for conn in &mut conns {
        (0..writes_of_each).for_each(|_| drop(conn.recv_reply().unwrap()));
    }
}

fn large_request(server: &Server) {
    connect(server, 20_000).create("/n", &[0; 2_000], CreateMode::Persistent).unwrap_err();
}

/// A client that hears of many changes and reads none of them.
fn deaf_watcher(server: &Server) {
    let mut deaf = connect(server, 20_000);
    deaf.send(&Request::AddWatch(PathType { path: "/", ty: 1 })).unwrap();
    let mut busy = connect(server, 20_000);
    let path = format!("/{}", "x".repeat(60_000));
    busy.create(&path, b"", CreateMode::Persistent).unwrap();
    until("the end of who does not read", || {
        for _ in 0..50 {
            busy.set(&path, b"", -1).unwrap();
        }
        figure(server, "ringkeeper_output_limit_close_count") > 0.0
    });
}

fn large_reply(server: &Server) {
    let mut conn = connect(server, 20_000);
    conn.create("/n", &[0; 1_100_000], CreateMode::Persistent).unwrap();
    conn.get("/n", false).unwrap_err();
    conn.exists("/n", false).unwrap();
}

fn many_identities(server: &Server) {
    let mut conn = connect(server, 20_000);
    // One it has by its address.
    for number in 1..=64 {
        let user = format!("user{number}:secret");
        let request = Request::Auth(AuthRequest { ty: 0, scheme: Some("digest"), auth: Some(user.as_bytes()) });
        conn.send_as(Xid(-4), &request).unwrap();
        let reply = conn.recv_reply().unwrap();
        assert_eq!(reply.ok().is_ok(), number < 64, "identity {number}");
    }
}

fn entries(count: usize) -> AclList {
    AclList::new(&(0..count).map(|number| entry(&format!("user{number}:x"))).collect::<Vec<_>>())
}

fn entry(id: &str) -> Acl {
    Acl { perms: Perms::READ, scheme: "digest".into(), id: id.into() }
}

fn create<'a>(path: &'a str, acl: &'a AclList) -> CreateRequest<'a> {
    CreateRequest { path, data: None, acl: acl.as_vec(), flags: 0, ttl_ms: None }
}

fn long_acl(server: &Server) {
    let mut conn = connect(server, 20_000);
    let (allowed, long) = (entries(1_024), entries(1_025));
    conn.roundtrip(&Request::Create(OpCode::Create, create("/allowed", &allowed))).unwrap().ok().unwrap();
    let refused = conn.roundtrip(&Request::Create(OpCode::Create, create("/long", &long))).unwrap();
    assert_eq!(refused.code().unwrap(), proto::ErrorCode::InvalidAcl);
}

fn acls_of_a_multi(server: &Server) {
    let mut conn = connect(server, 20_000);
    let acl = AclList::new(&[entry(&format!("{}:x", "u".repeat(9_000)))]);
    let paths: Vec<String> = (0..120).map(|number| format!("/{number}")).collect();
    let ops = |count: usize| {
        paths.iter().take(count).map(|path| MultiOp::Create(OpCode::Create, create(path, &acl))).collect()
    };
    let multi = |ops| Request::Multi(MultiRequest { ops });
    assert!(conn.roundtrip(&multi(ops(100))).unwrap().ok().is_ok());
    // What one request may hold is below the bound: only the caller's identities, put in for `auth`, make it larger.
    let user = format!("{}:secret", "v".repeat(9_000));
    conn.send_as(Xid(-4), &Request::Auth(AuthRequest { ty: 0, scheme: Some("digest"), auth: Some(user.as_bytes()) }))
        .unwrap();
    conn.recv_reply().unwrap().ok().unwrap();
    let mine = AclList::new(&[Acl { perms: Perms::ALL, scheme: "auth".into(), id: "".into() }]);
    let paths: Vec<String> = (0..120).map(|number| format!("/mine{number}")).collect();
    let ops = paths.iter().map(|path| MultiOp::Create(OpCode::Create, create(path, &mine))).collect();
    conn.roundtrip(&multi(ops)).unwrap();
    assert_eq!(conn.exists("/mine0", false).unwrap(), None);
}

fn many_quotas(server: &Server) {
    let mut conn = connect(server, 20_000);
    let open = AclList::open();
    let mut paths = Vec::new();
    for number in 0..5 {
        conn.create(&format!("/zookeeper/quota/q{number}"), b"", CreateMode::Persistent).unwrap();
        conn.create(&format!("/q{number}"), b"", CreateMode::Persistent).unwrap();
        paths.push(format!("/zookeeper/quota/q{number}/zookeeper_limits"));
        paths.push(format!("/zookeeper/quota/q{number}/zookeeper_stats"));
    }
    let ops = paths.iter().map(|path| MultiOp::Create(OpCode::Create, create(path, &open))).collect();
    conn.roundtrip(&Request::Multi(MultiRequest { ops })).unwrap();
    assert_eq!(conn.exists("/zookeeper/quota/q0/zookeeper_limits", false).unwrap(), None);
}

fn over_quota(server: &Server) {
    let mut conn = connect(server, 20_000);
    conn.create("/app", b"", CreateMode::Persistent).unwrap();
    conn.create("/zookeeper/quota/app", b"", CreateMode::Persistent).unwrap();
    let limits = b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2";
    conn.create("/zookeeper/quota/app/zookeeper_limits", limits, CreateMode::Persistent).unwrap();
    conn.create("/zookeeper/quota/app/zookeeper_stats", b"count=0,bytes=0", CreateMode::Persistent).unwrap();
    conn.create("/app/a", b"", CreateMode::Persistent).unwrap();
    conn.create("/app/b", b"", CreateMode::Persistent).unwrap_err();
}

fn unknown_scheme(server: &Server) {
    let mut conn = connect(server, 20_000);
    conn.send_as(Xid(-4), &Request::Auth(AuthRequest { ty: 0, scheme: Some("nope"), auth: Some(b"x") })).unwrap();
    conn.wait_closed().unwrap();
}

fn wrong_token(server: &Server) {
    let mut conn = connect(server, 20_000);
    conn.roundtrip(&Request::Sasl(Some(b""))).unwrap();
    drop(conn.roundtrip(&Request::Sasl(Some(b"username=\"bob\""))));
}

fn nobody(server: &Server) {
    let mut conn = connect(server, 20_000);
    conn.send(&Request::Exists(ReadRequest { path: "/", watch: false })).unwrap();
    conn.wait_closed().unwrap();
}

fn other_ensemble(server: &Server) {
    for (name, is_ours) in [("", true), ("ours", true), ("theirs", false)] {
        let mut conn = connect(server, 20_000);
        conn.send_as(
            Xid(-4),
            &Request::Auth(AuthRequest { ty: 0, scheme: Some("ensemble"), auth: Some(name.as_bytes()) }),
        )
        .unwrap();
        assert_eq!(conn.recv_reply().is_ok(), is_ours, "{name}");
    }
    until("all three", || {
        ["success", "skip", "fail"].iter().all(|key| figure(server, &format!("ensemble_auth_{key}")) == 1.0)
    });
}
