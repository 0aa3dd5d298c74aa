//! A server's side of an election connection by hand, and what real servers have sent.

use super::PATIENCE;
use proto::election::{AddressList, InitialMessage, InitialVersion, Notification, receive_frame};
use proto::{Received, ServerId, Writer};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

const RECORDED: &str = include_str!("../../../proto/vectors/quorum-3.9.5.txt");

/// The bytes of the recorded `kind`, in order.
pub(super) fn recorded(kind: &str) -> Vec<(&'static str, Vec<u8>)> {
    let words = RECORDED.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    words.filter(|words| words[0] == kind).map(|words| (words[1], bytes(words[3]))).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Connects, and waits for nothing.
pub(super) fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// What server `me` says first.
pub(super) fn greeting(me: ServerId, addresses: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let addresses = AddressList::new(addresses).unwrap();
    InitialMessage::Addressed { version: InitialVersion::V1, server: me, addresses }
        .write(&mut Writer::new(&mut bytes));
    bytes
}

/// Connects as server `me`, which says that it is called back at `addresses`.
pub(super) fn connect_as(to: SocketAddr, me: i64, addresses: &str) -> TcpStream {
    let mut socket = connect(to);
    socket.write_all(&greeting(ServerId(me), addresses)).unwrap();
    socket
}

/// Waits until the other side has ended the connection, whatever it sends before.
pub(super) fn ends(mut socket: &TcpStream) {
    let mut chunk = [0; 4096];
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the connection stands still: {error}"),
        }
    }
}

/// The next whole thing, as `receive` finds it.
fn take<T>(mut socket: &TcpStream, receive: impl Fn(&[u8]) -> Option<T>) -> T {
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        if let Some(whole) = receive(&bytes) {
            return whole;
        }
        socket.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
}

/// Accepts a connection and takes its greeting: whose it is.
pub(super) fn called_by(listener: &TcpListener) -> (TcpStream, ServerId) {
    let (socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let id = take(&socket, |bytes| match InitialMessage::receive(bytes).unwrap() {
        Received::Whole(InitialMessage::Bare(id) | InitialMessage::Addressed { server: id, .. }, _) => Some(id),
        Received::NeedsBytes(_) => None,
    });
    (socket, id)
}

/// The next notification's frame, without its length.
pub(super) fn frame(socket: &TcpStream) -> Vec<u8> {
    take(socket, |bytes| match receive_frame(bytes).unwrap() {
        Received::Whole(frame, _) => Some(frame.to_vec()),
        Received::NeedsBytes(_) => None,
    })
}

/// The round of the next notification.
pub(super) fn round(socket: &TcpStream) -> i64 {
    Notification::decode(&frame(socket)).unwrap().election_epoch.0
}

/// With its length in front.
pub(super) fn framed(frame: &[u8]) -> Vec<u8> {
    let len = i32::try_from(frame.len()).unwrap();
    [&len.to_be_bytes(), frame].concat()
}
