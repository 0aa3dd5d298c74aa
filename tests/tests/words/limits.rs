//! Each limit is provoked: who is over it is refused or waits, the others are served, a figure of `mntr` counts it, and the log names the
//! client.

use crate::{ask, connect, figure, until};
use client::{ConnectOptions, Connection, Operations};
use proto::Xid;
use proto::request::{CreateMode, Request, SetDataRequest};
use ringkeeper_tests::Server;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The log names a limit and a client, whose port is not known here.
fn log_tells(server: &Server, key: &str) -> bool {
    server.log().lines().any(|line| line.contains(key) && line.contains("127.0.0.1:"))
}

fn try_connect(server: &Server) -> Result<Connection, client::ClientError> {
    Connection::connect(server.address(), &ConnectOptions::default())
}

#[test]
fn connections_from_one_address_and_in_all_are_limited_across_shards() {
    for (key, shards) in [("maxClientCnxns", 1), ("maxClientCnxns", 3), ("maxCnxns", 3)] {
        let server = Server::builder().in_memory().shards(shards).set(key, "5").start();
        let mut kept: Vec<Connection> = (0..5).map(|_| connect(&server, 20_000)).collect();
        for _ in 0..3 {
            try_connect(&server).unwrap_err();
        }
        assert!(log_tells(&server, key), "{}", server.log());
        // A word needs a connection too, so one has to go. Its place is free as soon as its shard has seen that.
        kept.pop().unwrap().abort();
        until("room", || {
            client::four_letter_word(server.address(), "ruok", Duration::from_secs(5))
                .is_ok_and(|answer| answer == "imok")
        });
        let rejected = figure(&server, "connection_rejected");
        assert!(rejected >= 3.0, "{rejected}");
        until("the place of the word", || try_connect(&server).map(|conn| kept.push(conn)).is_ok());
        try_connect(&server).unwrap_err();
    }
}

#[test]
fn a_connection_that_says_nothing_is_closed_and_counted() {
    let server = Server::builder().in_memory().set("nio.sessionlessCnxnTimeout", "300").start();
    let silent = TcpStream::connect(server.address()).unwrap();
    let mut conn = connect(&server, 20_000);
    until("its end", || figure(&server, "sessionless_connections_expired") == 1.0);
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(std::io::Read::read(&mut &silent, &mut [0; 8]).unwrap_or(0), 0);
    conn.ping().unwrap();
}

#[test]
fn new_sessions_cost_tokens() {
    let server = Server::builder()
        .in_memory()
        .shards(2)
        .set("connection_throttle_tokens", "3")
        .set("connection_throttle_fill_time", "100000000")
        .start();
    let kept: Vec<Connection> = (0..3).map(|_| connect(&server, 20_000)).collect();
    for _ in 0..4 {
        try_connect(&server).unwrap_err();
    }
    assert_eq!(figure(&server, "connection_rejected"), 4.0);
    assert_eq!(figure(&server, "connection_request_count"), 3.0);
    assert_eq!(figure(&server, "max_connection_token_deficit"), 3.0);
    assert!(log_tells(&server, "connection_throttle_tokens"), "{}", server.log());
    drop(kept);
}

#[test]
fn tokens_come_back_with_time_and_sessions_have_weights() {
    let server = Server::builder()
        .in_memory()
        .set("connection_throttle_tokens", "2")
        .set("connection_throttle_fill_time", "300")
        .set("connection_throttle_weight_enabled", "true")
        .set("connection_throttle_renew_session_weight", "2")
        .start();
    // Two global sessions of weight 3 empty a bucket of 2 × 3; the fills bring 3 at a time.
    let kept: Vec<Connection> = (0..2).map(|_| connect(&server, 20_000)).collect();
    assert_eq!(figure(&server, "max_connection_token_deficit"), 6.0);
    until("tokens", || try_connect(&server).is_ok());
    drop(kept);
}

#[test]
fn too_many_bytes_of_large_requests_close_their_connection() {
    let server =
        Server::builder().in_memory().set("largeRequestThreshold", "1000").set("largeRequestMaxBytes", "10000").start();
    let mut conn = connect(&server, 20_000);
    conn.create("/n", &[0; 5_000], CreateMode::Persistent).unwrap();
    for _ in 0..5 {
        conn.set("/n", &[1; 9_000], -1).unwrap();
    }
    let mut other = connect(&server, 20_000);
    other.set("/n", &[1; 10_001], -1).unwrap_err();
    assert_eq!(figure(&server, "large_requests_rejected"), 1.0);
    assert!(log_tells(&server, "largeRequestMaxBytes"), "{}", server.log());
    conn.set("/n", &[1; 900], -1).unwrap();
}

const SET: Request<'_> = Request::SetData(SetDataRequest { path: "/n", data: Some(b"x"), version: -1 });

/// Sends `count` writes at once and waits for all their replies, which come in order.
fn pipeline(conn: &mut Connection, count: usize) {
    let requests: Vec<Xid> = (0..count).map(|_| conn.queue(&SET)).collect();
    conn.flush().unwrap();
    for xid in requests {
        let reply = conn.recv_reply().unwrap();
        assert_eq!(reply.header.xid, xid);
        reply.ok().unwrap();
    }
}

#[test]
fn past_the_outstanding_limit_connections_wait_and_everything_is_answered() {
    for shards in [1, 3] {
        let server = Server::builder().in_memory().shards(shards).set("globalOutstandingLimit", "4").start();
        connect(&server, 20_000).create("/n", b"", CreateMode::Persistent).unwrap();
        let address = server.address();
        let clients: Vec<_> = (0..6)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut conn = Connection::connect(address, &ConnectOptions::default()).unwrap();
                    pipeline(&mut conn, 500);
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        assert_eq!(connect(&server, 20_000).exists("/n", false).unwrap().unwrap().version, 3_000);
        assert!(figure(&server, "ringkeeper_outstanding_limit_wait_count") > 0.0);
        assert!(log_tells(&server, "globalOutstandingLimit"), "{}", server.log());
        assert_eq!(figure(&server, "outstanding_requests"), 0.0);
    }
}

#[test]
fn the_default_outstanding_limit_stops_nobody_who_asks_one_by_one() {
    let server = Server::builder().in_memory().start();
    let mut conn = connect(&server, 20_000);
    conn.create("/n", b"", CreateMode::Persistent).unwrap();
    pipeline(&mut conn, 900);
    assert_eq!(figure(&server, "ringkeeper_outstanding_limit_wait_count"), 0.0);
}

#[test]
fn the_request_throttler_lets_so_many_requests_in_and_no_more() {
    for shards in [1, 3] {
        let server = Server::builder()
            .in_memory()
            .shards(shards)
            .set("request_throttle_max_requests", "1")
            .set("request_throttle_stall_time", "5")
            .start();
        connect(&server, 20_000).create("/n", b"", CreateMode::Persistent).unwrap();
        let mut clients: Vec<Connection> = (0..6).map(|_| connect(&server, 20_000)).collect();
        let begun = Instant::now();
        for conn in &mut clients {
            for _ in 0..20 {
                conn.queue(&SET);
            }
            conn.flush().unwrap();
        }
        for conn in &mut clients {
            (0..20).for_each(|_| drop(conn.recv_reply().unwrap().ok().unwrap()));
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "whoever waits is looked at again in time");
        assert!(figure(&server, "request_throttle_wait_count") > 0.0);
        assert!(log_tells(&server, "request_throttle_max_requests"), "{}", server.log());
    }
}

#[test]
fn srst_forgets_what_was_counted_and_crst_what_connections_did() {
    let server = Server::builder().in_memory().shards(3).set("maxClientCnxns", "4").start();
    let mut conn = connect(&server, 20_000);
    conn.create("/n", b"", CreateMode::Persistent).unwrap();
    // One too many, so that there is a refusal to forget.
    let others: Vec<_> = (0..4).map(|_| try_connect(&server)).collect();
    assert!(others.iter().any(Result::is_err));
    others.into_iter().flatten().for_each(Connection::abort);
    until("room for a word", || {
        client::four_letter_word(server.address(), "mntr", Duration::from_secs(5))
            .is_ok_and(|text| text.contains("zk_connection_rejected\t"))
    });
    assert!(figure(&server, "connection_rejected") >= 1.0);
    (0..50).for_each(|_| drop(conn.get("/n", false).unwrap()));
    assert!(figure(&server, "cnt_readlatency") >= 50.0 && figure(&server, "packets_received") >= 52.0);
    assert_eq!(ask(&server, "srst"), "Server stats reset.\n");
    for key in [
        "cnt_readlatency",
        "cnt_updatelatency",
        "cnt_fsynctime",
        "max_fsynctime",
        "response_bytes",
        "max_latency",
        "connection_rejected",
    ] {
        assert_eq!(figure(&server, key), 0.0, "{key}");
    }
    assert!(figure(&server, "packets_received") < 20.0, "only words since");
    assert!(ask(&server, "cons").contains("recved=52,"));
    assert_eq!(ask(&server, "crst"), "Connection stats reset.\n");
    assert!(ask(&server, "cons").contains("(queued=0,recved=0,sent=0,sid="));
}
