//! A server starts, serves, ends in order, and finds its data again.

use client::{ConnectOptions, Connection};
use ringkeeper_tests::Server;

#[test]
fn sigterm_ends_it_with_code_0_and_the_next_run_finds_the_data() {
    let mut server = Server::builder().start();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    client.create("/kept", Some(b"x")).unwrap();
    assert_eq!(server.sigterm().code(), Some(0), "{}", server.log());
    server.restart();
    let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
    assert_eq!(client.get_data("/kept").unwrap().0.as_deref(), Some(&b"x"[..]));
}
