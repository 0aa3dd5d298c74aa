//! A server starts, serves, ends in order, and finds its data again.

use client::{ConnectOptions, Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::Server;

#[test]
fn sigterm_ends_it_with_code_0_and_the_next_run_finds_the_data() {
    let mut server = Server::builder().start();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/kept", b"x", CreateMode::Persistent).unwrap();
    let before = client.exists("/kept", false).unwrap();
    assert_eq!(server.sigterm().code(), Some(0), "{}", server.log());
    server.restart();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    assert_eq!(client.get("/kept", false).unwrap().0, b"x");
    assert_eq!(client.exists("/kept", false).unwrap(), before, "the Stat is the one of before");
}

#[test]
fn a_session_outlives_a_restart_and_its_ephemerals_with_it() {
    let mut server = Server::builder().shards(2).start();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/mine", b"", CreateMode::Ephemeral).unwrap();
    let session = *client.session().unwrap();
    assert_eq!(server.sigterm().code(), Some(0), "{}", server.log());
    server.restart();
    let mut client = Connection::connect(server.address(), &ConnectOptions::renewing(&session)).unwrap();
    assert_eq!(client.session_id(), session.session_id);
    assert_eq!(client.exists("/mine", false).unwrap().unwrap().ephemeral_owner, session.session_id);
    client.close().unwrap();
    let mut other = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    assert_eq!(other.exists("/mine", false).unwrap(), None, "a closed session takes its ephemerals along");
}
