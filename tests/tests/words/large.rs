//! Answers that are gathered in many pieces: nothing is missing, nothing stands twice, and nobody waits for who does not read.

use crate::{ask, connect, groups, until};
use client::{Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::Server;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;

/// More than one piece (`server/src/ask.rs`) of each kind.
const WATCHES_OF_ONE: usize = 3_000;
const SHARED: usize = 700;
const EPHEMERALS: usize = 1_500;
const CONNECTIONS: usize = 1_200;
/// Large answers that are on their way at the same time (`server/src/answers.rs`), and callers that do not read: more.
const ANSWERED_TOGETHER: u32 = 8;
const DEAF: u32 = ANSWERED_TOGETHER + 4;

/// Watches whose paths are together, at 11 MB, far more than the kernel takes for who does not read.
const WATCHES_OF_LONG_PATHS: usize = 12_000;
const PATH_BYTES: usize = 900;
/// What the kernel keeps for who does not read, at his end. At the server's end a socket begins with less than 5 MB on the loopback
/// interface, and grows towards the maximum of `net.ipv4.tcp_wmem`, which may be more than the answer, as its peer takes what was sent.
const DEAF_BUFFER_BYTES: usize = 4 << 10;

fn watch_long_paths(conn: &mut Connection) {
    let long = "x".repeat(PATH_BYTES);
    (0..WATCHES_OF_LONG_PATHS).for_each(|number| watch(conn, format!("/{long}{number}")));
}

/// Asks and does not read.
fn deaf(server: &Server, word: &[u8]) -> TcpStream {
    let socket = Socket::new(Domain::for_address(server.address()), Type::STREAM, None).unwrap();
    // Before it connects: then the server is never told of more room.
    socket.set_recv_buffer_size(DEAF_BUFFER_BYTES).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let mut socket = TcpStream::from(socket);
    socket.write_all(word).unwrap();
    socket
}

fn watch(conn: &mut Connection, path: String) {
    assert_eq!(conn.exists(&path, true).unwrap(), None);
}

#[test]
fn thousands_of_watches_of_three_shards_are_each_shown_once() {
    let server = Server::builder().in_memory().shards(3).start();
    // One with many watches of its own, and some who share theirs with it and with each other, on whichever shards the kernel puts them.
    let mut many = connect(&server, 20_000);
    (0..WATCHES_OF_ONE).for_each(|number| watch(&mut many, format!("/w{number}")));
    let mut others: Vec<Connection> = (0..6).map(|_| connect(&server, 20_000)).collect();
    for other in &mut others {
        (0..SHARED).for_each(|number| watch(other, format!("/w{number}")));
    }
    let by_session = groups(&ask(&server, "wchc"));
    assert_eq!(by_session.len(), 7);
    assert_eq!(by_session[&format!("0x{:x}", many.session_id().0)].len(), WATCHES_OF_ONE);
    assert!(others.iter().all(|other| by_session[&format!("0x{:x}", other.session_id().0)].len() == SHARED));
    let by_path = groups(&ask(&server, "wchp"));
    assert_eq!(by_path.len(), WATCHES_OF_ONE);
    for number in 0..WATCHES_OF_ONE {
        assert_eq!(by_path[&format!("/w{number}")].len(), if number < SHARED { 7 } else { 1 }, "/w{number}");
    }
    let total = WATCHES_OF_ONE + 6 * SHARED;
    assert_eq!(ask(&server, "wchs"), format!("7 connections watching {WATCHES_OF_ONE} paths\nTotal watches:{total}\n"));
}

#[test]
fn a_session_with_many_ephemerals_and_many_connections_are_dumped_whole() {
    let server = Server::builder().in_memory().shards(3).start();
    let mut owner = connect(&server, 20_000);
    for number in 0..EPHEMERALS {
        owner.create(&format!("/e{number}"), b"", CreateMode::Ephemeral).unwrap();
    }
    let sockets: Vec<TcpStream> = (0..CONNECTIONS).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    until("all connections", || ask(&server, "cons").lines().count() == CONNECTIONS + 3);
    let cons = ask(&server, "cons");
    let peers: BTreeSet<&str> = cons.lines().filter_map(|line| line.split('[').next()).collect();
    // The silent ones, the owner, who asks, and the empty line at the end.
    assert_eq!(peers.len(), sockets.len() + 3);
    let dump = ask(&server, "dump");
    let ephemerals: BTreeSet<&str> = dump.lines().filter_map(|line| line.strip_prefix("\t/e")).collect();
    assert_eq!(ephemerals.len(), EPHEMERALS);
    assert_eq!(dump.matches("\tip: /").count(), sockets.len() + 2);
}

#[test]
fn sessions_by_the_hundred_are_dumped_whole() {
    let server = Server::builder().in_memory().shards(3).set("maxSessionTimeout", "60000").start();
    let sessions: Vec<Connection> = (0..1_100).map(|number| connect(&server, 20_000 + 10 * number)).collect();
    let dump = ask(&server, "dump");
    let of_tracker = dump.split("ephemeral nodes dump:").next().unwrap();
    for session in &sessions {
        let line = format!("\t0x{:x}\n", session.session_id().0);
        assert_eq!(of_tracker.matches(&line).count(), 1, "{line}");
    }
    // Each expiry time stands once, in order, and says how many sessions follow.
    let mut left = 0_usize;
    for line in of_tracker.lines().skip(2) {
        match line.split_once(" expire at ") {
            Some((count, _)) => {
                assert_eq!(left, 0, "{line}");
                left = count.parse().unwrap();
            }
            None => left -= 1,
        }
    }
    assert_eq!(left, 0);
}

#[test]
fn who_does_not_read_a_large_answer_keeps_nobody_waiting() {
    let server = Server::builder().in_memory().shards(2).start();
    let mut many = connect(&server, 20_000);
    watch_long_paths(&mut many);
    let deaf: Vec<TcpStream> = (0..DEAF).map(|_| deaf(&server, b"wchp")).collect();
    // More callers than large answers may be on their way: short words are answered all the same.
    for _ in 0..20 {
        assert_eq!(ask(&server, "ruok"), "imok");
        assert!(ask(&server, "mntr").contains(&format!("zk_watch_count\t{WATCHES_OF_LONG_PATHS}\n")));
    }
    many.create("/still-served", b"", CreateMode::Persistent).unwrap();
    // And a large one as soon as who does not read is cut off: nobody of them goes away by himself.
    assert_eq!(groups(&ask(&server, "wchp")).len(), WATCHES_OF_LONG_PATHS);
    // (To those that come last the kernel may give more memory, once it has seen others read.)
    until("the end of who does not read", || {
        crate::figure(&server, "ringkeeper_words_cut_count") >= f64::from(ANSWERED_TOGETHER)
    });
    let cut = |line: &str| line.contains("readers of four-letter words") && line.contains("127.0.0.1:");
    assert!(server.log().lines().any(cut), "{}", server.log());
    drop(deaf);
}

#[test]
fn too_many_large_answers_are_refused_and_told_of_without_flooding_the_log() {
    let server = Server::builder().in_memory().shards(1).set("4lw.commands.whitelist", "ruok,mntr,wchp").start();
    let mut many = connect(&server, 20_000);
    watch_long_paths(&mut many);
    // More than are on their way and wait together.
    let deaf: Vec<TcpStream> = (0..200).map(|_| deaf(&server, b"wchp")).collect();
    until("refusals", || crate::figure(&server, "ringkeeper_words_refused_count") >= 100.0);
    let lines =
        |what: &str| server.log().lines().filter(|line| line.contains(what) && line.contains("127.0.0.1:")).count();
    let told = lines("\"four-letter words\"");
    assert!((1..30).contains(&told), "{told} lines for some hundred refusals");
    // Who may not ask is told so at once, takes nobody's place and writes nothing to the log.
    let before = server.log().lines().count();
    (0..50).for_each(|_| assert!(ask(&server, "wchc").starts_with("wchc is not executed")));
    assert!(server.log().lines().count() < before + 20);
    drop(deaf);
}
