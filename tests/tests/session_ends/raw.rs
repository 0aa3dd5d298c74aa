//! Sessions by the thousand: handshakes in bundles from many source addresses, and connections that are torn down without a word.

use client::FrameBuffer;
use proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_BYTES};
use proto::request::{CreateMode, CreateRequest, Request};
use proto::{Acl, AclVec, OpCode, SessionId, Writer, Xid, Zxid, jute};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connections that are open at a time.
const BUNDLE: usize = 32;
/// Each so many sessions leave an ephemeral behind.
pub const OWNER_EVERY: usize = 50;

/// Makes `count` sessions from the address 127.0.0.`host`, all of which end at `until` as near as timeouts can say, and drops their
/// connections. Every [`OWNER_EVERY`]th creates an ephemeral below `parent`.
pub fn leave_sessions(server: SocketAddr, host: u8, count: usize, until: Instant, parent: &str) {
    let mut done = 0;
    while done < count {
        let numbers = done..count.min(done + BUNDLE);
        done = numbers.end;
        let mut streams: Vec<(usize, TcpStream)> = numbers
            .map(|number| {
                let mut stream = connect_from(Ipv4Addr::new(127, 0, 0, host), server);
                stream.write_all(&hello(until, number, host, parent)).expect("a handshake can be sent");
                (number, stream)
            })
            .collect();
        for (number, stream) in &mut streams {
            let replies = if number.is_multiple_of(OWNER_EVERY) { 2 } else { 1 };
            take(stream, replies);
        }
        for (_, stream) in streams {
            // Without a FIN, and so without TIME_WAIT on either side.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger can be set");
        }
    }
}

/// A connection from this address.
fn connect_from(source: Ipv4Addr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("the address may be used again");
    socket.bind(&SockAddr::from(SocketAddr::from((source, 0)))).expect("127.0.0.x is ours");
    socket.connect(&SockAddr::from(server)).expect("the server accepts");
    socket.set_tcp_nodelay(true).expect("TCP_NODELAY");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(crate::DEADLINE)).expect("a deadline");
    stream
}

/// The handshake, and for some the creation of an ephemeral behind it.
fn hello(until: Instant, number: usize, host: u8, parent: &str) -> Vec<u8> {
    let left = until.saturating_duration_since(Instant::now());
    let mut bytes = Vec::new();
    let connect = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: i32::try_from(left.as_millis()).unwrap_or(i32::MAX),
        session_id: SessionId(0),
        password: &[0; PASSWORD_BYTES],
        read_only: Some(false),
    };
    jute::frame(&mut bytes, |w| connect.write(w));
    if number.is_multiple_of(OWNER_EVERY) {
        encode_ephemeral(&mut bytes, Xid(1), &format!("{parent}/{host}-{number}"));
    }
    bytes
}

/// Appends the request that creates an open, empty ephemeral.
pub fn encode_ephemeral(out: &mut Vec<u8>, xid: Xid, path: &str) {
    let mut acl = Vec::new();
    let mut writer = Writer::new(&mut acl);
    writer.length(1);
    Acl::open().write(&mut writer);
    let acl = AclVec::read(&mut jute::Reader::new(&acl)).expect("written just above");
    let create = CreateRequest { path, data: Some(b""), acl, flags: CreateMode::Ephemeral as i32, ttl_ms: None };
    client::encode_request(out, xid, &Request::Create(OpCode::Create, create));
}

/// Takes so many frames; the first is the answer to a handshake that must have been granted.
fn take(stream: &mut TcpStream, count: usize) {
    let mut input = FrameBuffer::new(1 << 20);
    let mut frames = Vec::new();
    while frames.len() < count {
        while let Some(frame) = input.next_frame().expect("a frame") {
            frames.push(frame.to_vec());
        }
        if frames.len() < count {
            let read = stream.read(input.room(512)).expect("the server answers");
            assert!(read > 0, "the server has closed the connection of a new session");
            input.filled(read);
        }
    }
    let granted = ConnectResponse::decode(&frames[0]).expect("an answer to a handshake");
    assert_ne!(granted.session_id, SessionId(0), "a new session is granted");
}
