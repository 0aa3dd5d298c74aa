//! A connection names every way in which a server can break the protocol, and never waits for ever.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code: a panic is the finding")]

mod fake;

use std::time::Duration;

use fake::{PASSWORD, SESSION, serve_one};
use proto::reply::Reply;
use proto::request::{ReadRequest, Request};
use proto::watch::EventType;
use proto::{ErrorCode, Stat, Xid, Zxid};
use ringkeeper_client::{ClientError, ConnectOptions, Connection, FrameError, Incoming, Operations};

const TIMEOUT_MS: i32 = 10_000;

fn connect(addr: std::net::SocketAddr) -> Connection {
    Connection::connect(addr, &ConnectOptions::default()).unwrap()
}

fn get(path: &str) -> Request<'_> {
    Request::GetData(ReadRequest { path, watch: false })
}

#[test]
fn a_close_within_a_frame_is_told_from_a_close_between_frames() {
    let (addr, server) = serve_one(|peer| {
        peer.shake_hands(TIMEOUT_MS);
        peer.raw(&[0, 0, 0, 16, 1, 2, 3]);
    });
    let error = connect(addr).recv().unwrap_err();
    assert!(matches!(error, ClientError::Closed { context: "within a frame" }), "{error}");
    server.join().unwrap();

    let (addr, server) = serve_one(|peer| _ = peer.shake_hands(TIMEOUT_MS));
    let error = connect(addr).recv().unwrap_err();
    assert!(matches!(error, ClientError::Closed { context: "reading from the server" }), "{error}");
    server.join().unwrap();
}

#[test]
fn an_oversized_a_negative_and_a_too_short_frame_are_refused() {
    let (addr, server) = serve_one(|peer| {
        peer.shake_hands(TIMEOUT_MS);
        peer.raw(&1_000_001i32.to_be_bytes());
        peer.wait_closed();
    });
    let options = ConnectOptions { frame_bytes_max: 1_000_000, ..ConnectOptions::default() };
    let mut connection = Connection::connect(addr, &options).unwrap();
    let error = connection.recv().unwrap_err();
    assert!(matches!(error, ClientError::Frame(FrameError::TooLarge { len: 1_000_001, max: 1_000_000 })), "{error}");
    drop(connection);
    server.join().unwrap();

    let (addr, server) = serve_one(|peer| {
        peer.shake_hands(TIMEOUT_MS);
        peer.raw(&(-1i32).to_be_bytes());
    });
    let error = connect(addr).recv().unwrap_err();
    assert!(matches!(error, ClientError::Frame(FrameError::Negative(-1))), "{error}");
    server.join().unwrap();

    let (addr, server) = serve_one(|peer| {
        peer.shake_hands(TIMEOUT_MS);
        peer.raw(&[0, 0, 0, 3, 1, 2, 3]);
    });
    let error = connect(addr).recv().unwrap_err();
    assert!(matches!(error, ClientError::Decode { what: "reply header", .. }), "{error}");
    server.join().unwrap();
}

#[test]
fn a_reply_out_of_order_or_to_nothing_is_refused_and_a_ping_may_overtake() {
    let (addr, server) = serve_one(|peer| {
        peer.shake_hands(TIMEOUT_MS);
        let first = peer.read_request();
        let second = peer.read_request();
        peer.reply(Xid::PING, Zxid(1), 0, &Reply::Empty);
        peer.reply(second.xid, Zxid(1), 0, &Reply::DataStat(None, Stat::default()));
        peer.reply(first.xid, Zxid(1), 0, &Reply::DataStat(None, Stat::default()));
        peer.wait_closed();
    });
    let mut connection = connect(addr);
    let first = connection.queue(&get("/a"));
    let second = connection.send(&get("/b")).unwrap();
    assert_eq!(connection.recv_reply().unwrap().header.xid, Xid::PING);
    let error = connection.recv_reply().unwrap_err();
    let expected = ClientError::ReplyOrder { got: second, expected: Some(first) };
    assert_eq!(error.to_string(), expected.to_string());
    drop(connection);
    server.join().unwrap();

    let (addr, server) = serve_one(|peer| {
        peer.shake_hands(TIMEOUT_MS);
        peer.reply(Xid(9), Zxid(1), 0, &Reply::Empty);
    });
    let error = connect(addr).recv().unwrap_err();
    assert!(matches!(error, ClientError::ReplyOrder { got: Xid(9), expected: None }), "{error}");
    server.join().unwrap();
}

#[test]
fn a_record_with_bytes_after_it_or_too_few_is_no_reply() {
    let (addr, server) = serve_one(|peer| {
        peer.shake_hands(TIMEOUT_MS);
        let asked = peer.read_request();
        peer.reply(asked.xid, Zxid(1), 0, &Reply::PathStat("/a", Stat::default()));
        let asked = peer.read_request();
        peer.reply(asked.xid, Zxid(1), 0, &Reply::Int(3));
    });
    let mut connection = connect(addr);
    assert!(matches!(connection.sync("/a").unwrap_err(), ClientError::WrongRecord(_)));
    assert!(matches!(connection.get("/a", false).unwrap_err(), ClientError::Decode { what: "reply", .. }));
    server.join().unwrap();
}

#[test]
fn a_silent_server_costs_the_deadline_and_no_bytes() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (addr, server) = serve_one(move |peer| {
        peer.shake_hands(TIMEOUT_MS);
        let asked = peer.read_request();
        let mut whole = Vec::new();
        proto::jute::frame(&mut whole, |w| {
            proto::reply::ReplyHeader::ok(asked.xid, Zxid(5)).write(w);
            Reply::Path("/a").write(w);
        });
        peer.raw(&whole[..10]);
        wait.recv().unwrap();
        peer.raw(&whole[10..]);
    });
    let mut connection = connect(addr);
    connection.send(&Request::Sync("/a")).unwrap();
    connection.set_deadline(Duration::from_millis(50));
    assert!(matches!(connection.recv_reply().unwrap_err(), ClientError::Deadline { .. }));
    release.send(()).unwrap();
    connection.set_deadline(Duration::from_secs(10));
    let reply = connection.recv_reply().unwrap();
    assert_eq!(reply.record().unwrap(), Reply::Path("/a"));
    assert_eq!(connection.last_zxid(), Zxid(5));
    server.join().unwrap();
}

#[test]
fn who_waits_for_a_reply_pings_if_he_is_to_and_does_not_see_the_answers() {
    let (addr, server) = serve_one(|peer| {
        peer.shake_hands(TIMEOUT_MS);
        let asked = peer.read_request();
        // Nothing is answered before two pings have come.
        for _ in 0..2 {
            assert_eq!(peer.read_frame()[..4], Xid::PING.0.to_be_bytes());
        }
        peer.reply(Xid::PING, Zxid(1), 0, &Reply::Empty);
        peer.reply(asked.xid, Zxid(1), 0, &Reply::Path("/a"));
        peer.reply(Xid::PING, Zxid(1), 0, &Reply::Empty);
        while peer.stream.peek(&mut [0]).unwrap_or(0) > 0 {
            assert_eq!(peer.read_frame()[..4], Xid::PING.0.to_be_bytes());
            peer.reply(Xid::PING, Zxid(2), 0, &Reply::Empty);
        }
    });
    let options = ConnectOptions { ping_every: Some(Duration::from_millis(20)), ..ConnectOptions::default() };
    let mut connection = Connection::connect(addr, &options).unwrap();
    assert_eq!(connection.sync("/a").unwrap(), "/a");
    connection.ping().unwrap();
    assert_eq!(connection.last_zxid(), Zxid(2), "its own are not seen, its caller's is");
    // Nobody pings where nothing is waited for.
    assert!(connection.recv_within(Duration::from_millis(100)).unwrap().is_none());
    drop(connection);
    server.join().unwrap();
}

#[test]
fn events_between_replies_are_kept_in_order() {
    let (addr, server) = serve_one(|peer| {
        peer.shake_hands(TIMEOUT_MS);
        let asked = peer.read_request();
        peer.event(EventType::NodeCreated, Zxid(2), "/a");
        peer.event(EventType::NodeDeleted, Zxid(3), "/a");
        peer.reply(asked.xid, Zxid(3), ErrorCode::NoNode.to_wire(), &Reply::Empty);
        peer.event(EventType::NodeCreated, Zxid(4), "/a");
    });
    let mut connection = connect(addr);
    assert_eq!(connection.get("/a", true).unwrap_err().code(), Some(ErrorCode::NoNode));
    for zxid in 2..=4 {
        let Incoming::Event(event) = connection.recv().unwrap() else { panic!("a reply") };
        assert_eq!(event.zxid, Zxid(zxid));
    }
    // What the events say is no reply's zxid: setWatches from it would lose events.
    assert_eq!(connection.last_zxid(), Zxid(3));
    server.join().unwrap();
}

#[test]
fn the_handshake_renews_says_what_it_was_told_and_knows_an_expired_session() {
    let (addr, server) = serve_one(|peer| {
        assert_eq!(peer.shake_hands(TIMEOUT_MS), (SESSION, Zxid(77), None));
    });
    let options = ConnectOptions {
        renew: Some((SESSION, PASSWORD)),
        last_zxid_seen: Zxid(77),
        read_only: None,
        ..ConnectOptions::default()
    };
    let connection = Connection::connect(addr, &options).unwrap();
    assert_eq!((connection.session_id(), connection.session().unwrap().read_only), (SESSION, None));
    server.join().unwrap();

    let (addr, server) = serve_one(|peer| {
        peer.read_frame();
        peer.frame(|w| proto::connect::ConnectResponse::expired(Some(false)).write(w));
    });
    assert!(matches!(Connection::connect(addr, &options).unwrap_err(), ClientError::SessionExpired));
    server.join().unwrap();
}

#[test]
fn a_four_letter_word_is_read_to_the_close_and_a_hanging_server_to_the_deadline() {
    use std::io::Read;
    let (addr, server) = serve_one(|peer| {
        let mut word = [0; 4];
        peer.stream.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"ruok");
        peer.raw(b"im");
        peer.raw(b"ok");
    });
    assert_eq!(ringkeeper_client::four_letter_word(addr, "ruok", Duration::from_secs(10)).unwrap(), "imok");
    server.join().unwrap();

    let (addr, server) = serve_one(|peer| peer.wait_closed());
    let error = ringkeeper_client::four_letter_word(addr, "ruok", Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, ClientError::Deadline { .. }), "{error}");
    server.join().unwrap();
}
