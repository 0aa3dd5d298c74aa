//! A session reconnects with its id, password and zxid, restores auths and watches, and fails what was in flight.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code: a panic is the finding")]

mod fake;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use fake::{Peer, SESSION, serve, serve_one};
use proto::reply::Reply;
use proto::request::Request;
use proto::watch::EventType;
use proto::{ErrorCode, OpCode, Reader, SessionId, Stat, Xid, Zxid};
use ringkeeper_client::{ClientError, Operations, Session, SessionEvent, SessionOptions};

const PATIENCE: Duration = Duration::from_secs(20);
const TIMEOUT_MS: i32 = 10_000;

fn next(events: &Receiver<SessionEvent>) -> SessionEvent {
    events.recv_timeout(PATIENCE).unwrap()
}

fn answer(peer: &mut Peer, op: OpCode, zxid: Zxid, err: i32, reply: &Reply<'_>) {
    let asked = peer.read_request();
    assert_eq!(asked.op, op);
    peer.reply(asked.xid, zxid, err, reply);
}

#[test]
fn auths_and_watches_are_restored_on_the_next_connection() {
    let no_node = ErrorCode::NoNode.to_wire();
    let (addr, server) = serve(vec![
        Box::new(move |peer| {
            assert_eq!(peer.shake_hands(TIMEOUT_MS).0, SessionId(0));
            answer(peer, OpCode::Auth, Zxid(0), 0, &Reply::Empty);
            answer(peer, OpCode::GetData, Zxid(5), 0, &Reply::DataStat(Some(b"x"), Stat::default()));
            answer(peer, OpCode::Exists, Zxid(6), no_node, &Reply::Empty);
            answer(peer, OpCode::GetData, Zxid(6), 0, &Reply::DataStat(None, Stat::default()));
            peer.event(EventType::NodeDataChanged, Zxid(7), "/fired");
            // In flight when the connection ends.
            assert_eq!(peer.read_request().op, OpCode::Sync);
        }),
        Box::new(|peer| {
            assert_eq!(peer.shake_hands(TIMEOUT_MS), (SESSION, Zxid(6), Some(false)));
            let auth = peer.read_request();
            assert_eq!((auth.xid, auth.op), (Xid::AUTH, OpCode::Auth));
            let asked = peer.read_request();
            assert_eq!((asked.xid, asked.op), (Xid::SET_WATCHES, OpCode::SetWatches));
            let mut r = Reader::new(&asked.frame[8..]);
            let Some(Request::SetWatches(lists)) = Request::read(asked.op, &mut r).unwrap() else { panic!() };
            assert_eq!(lists.relative_zxid, Zxid(6));
            assert_eq!(lists.data.iter().collect::<Vec<_>>(), ["/a"]);
            assert_eq!(lists.exist.iter().collect::<Vec<_>>(), ["/later"]);
            peer.reply(Xid::AUTH, Zxid(0), 0, &Reply::Empty);
            peer.reply(Xid::SET_WATCHES, Zxid(8), 0, &Reply::Empty);
            peer.event(EventType::NodeCreated, Zxid(8), "/later");
            answer(peer, OpCode::CloseSession, Zxid(9), 0, &Reply::Empty);
        }),
    ]);
    let (mut session, events) = Session::connect(&SessionOptions::new(vec![addr])).unwrap();
    assert_eq!(next(&events), SessionEvent::Connected(addr));
    session.auth("digest", b"a:b").unwrap();
    assert_eq!(session.get("/a", true).unwrap().0, b"x");
    assert_eq!(session.exists("/later", true).unwrap(), None);
    session.get("/fired", true).unwrap();
    let SessionEvent::Watch(event) = next(&events) else { panic!() };
    assert_eq!((event.path.as_str(), event.zxid), ("/fired", Zxid(7)));
    assert!(matches!(session.sync("/a").unwrap_err(), ClientError::Closed { .. }));
    assert_eq!(next(&events), SessionEvent::Disconnected);
    assert_eq!(next(&events), SessionEvent::Connected(addr));
    assert!(matches!(next(&events), SessionEvent::Watch(event) if event.path == "/later"));
    session.close().unwrap();
    assert!(matches!(session.sync("/a").unwrap_err(), ClientError::SessionClosed));
    server.join().unwrap();
}

#[test]
fn a_dead_server_is_passed_over_and_an_expired_session_is_told_to_every_caller() {
    let (done, wait) = channel::<()>();
    let (addr, server) = serve(vec![
        Box::new(move |peer| {
            peer.shake_hands(TIMEOUT_MS);
            peer.read_request();
            wait.recv().unwrap();
        }),
        Box::new(|peer| {
            peer.read_frame();
            peer.frame(|w| proto::connect::ConnectResponse::expired(Some(false)).write(w));
        }),
    ]);
    // Nobody listens there, and nobody is given it who asks for any port.
    let dead = "127.0.0.1:1".parse().unwrap();
    let (session, events) = Session::connect(&SessionOptions::new(vec![dead, addr])).unwrap();
    assert_eq!(next(&events), SessionEvent::Connected(addr));
    let pending = session.submit(&Request::Sync("/")).unwrap();
    session.cut_connection();
    done.send(()).unwrap();
    assert!(matches!(pending.wait().unwrap_err(), ClientError::Closed { .. }));
    assert_eq!(next(&events), SessionEvent::Disconnected);
    assert_eq!(next(&events), SessionEvent::Expired);
    assert!(matches!(session.submit(&Request::Sync("/")).unwrap_err(), ClientError::SessionExpired));
    server.join().unwrap();
}

#[test]
fn an_idle_session_pings_and_leaves_a_server_that_does_not_answer() {
    let (addr, server) = serve(vec![
        Box::new(|peer| {
            peer.shake_hands(3000);
            // The first ping is answered, the later ones are not: the client must go.
            let ping = peer.read_frame();
            assert_eq!(Reader::new(&ping).int(), Ok(Xid::PING.0));
            peer.reply(Xid::PING, Zxid(0), 0, &Reply::Empty);
            peer.wait_closed();
        }),
        Box::new(|peer| {
            assert_eq!(peer.shake_hands(TIMEOUT_MS).0, SESSION);
            answer(peer, OpCode::CloseSession, Zxid(9), 0, &Reply::Empty);
        }),
    ]);
    let (session, events) = Session::connect(&SessionOptions::new(vec![addr])).unwrap();
    assert_eq!(next(&events), SessionEvent::Connected(addr));
    assert_eq!(next(&events), SessionEvent::Disconnected);
    assert_eq!(next(&events), SessionEvent::Connected(addr));
    session.close().unwrap();
    server.join().unwrap();
}

#[test]
fn a_reply_out_of_order_costs_the_connection() {
    let (addr, server) = serve(vec![
        Box::new(|peer| {
            peer.shake_hands(TIMEOUT_MS);
            let asked = peer.read_request();
            peer.reply(Xid(asked.xid.0 + 1), Zxid(1), 0, &Reply::Path("/"));
            peer.wait_closed();
        }),
        Box::new(|peer| {
            peer.shake_hands(TIMEOUT_MS);
            answer(peer, OpCode::CloseSession, Zxid(9), 0, &Reply::Empty);
        }),
    ]);
    let (mut session, events) = Session::connect(&SessionOptions::new(vec![addr])).unwrap();
    assert!(matches!(session.sync("/").unwrap_err(), ClientError::Closed { .. }));
    assert_eq!(next(&events), SessionEvent::Connected(addr));
    assert_eq!(next(&events), SessionEvent::Disconnected);
    session.wait_connected(PATIENCE).unwrap();
    session.close().unwrap();
    server.join().unwrap();
}

#[test]
fn dropping_the_last_clone_ends_the_connection_but_not_the_session() {
    let (addr, server) = serve_one(|peer| {
        peer.shake_hands(TIMEOUT_MS);
        peer.wait_closed();
    });
    let (session, events) = Session::connect(&SessionOptions::new(vec![addr])).unwrap();
    let clone = session.clone();
    drop(session);
    assert_eq!(clone.id(), SESSION);
    drop(clone);
    server.join().unwrap();
    assert_eq!(next(&events), SessionEvent::Connected(addr));
}
