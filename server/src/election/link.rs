//! The two threads of one connection: one reads notifications, the other writes votes.
//!
//! Owns a buffer for at most one notification and a little more. It must never keep a connection alive on which something came that is no frame.
//! A failure ends this connection alone, and is told to [`Peers::ended`]; closing the socket ends both threads. `server/tests/election_port` would catch a mistake.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar};

use proto::election::receive_frame;
use proto::{Received, ServerId};

use super::peers::{LinkNumber, Peers};
use super::wire;

/// Bytes that are read at one time.
const CHUNK_BYTES: usize = 16 << 10;

/// How many threads of a connection have begun, and why not both.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) started: usize,
    pub(super) error: Option<io::Error>,
}

/// Starts the threads of a connection that stands. `rest` has come on it already.
pub(super) fn start(
    peers: &Arc<Peers>,
    server: ServerId,
    number: LinkNumber,
    socket: &Arc<TcpStream>,
    wake: &Arc<Condvar>,
    rest: Vec<u8>,
) -> Started {
    let (for_reader, its_socket) = (Arc::clone(peers), Arc::clone(socket));
    let reader = spawn(format!("rk-elect-r{}", server.0), move || {
        let why = read(&for_reader, server, number, &its_socket, rest);
        for_reader.ended(server, number, &why);
    });
    if let Err(error) = reader {
        return Started { started: 0, error: Some(error) };
    }
    let (for_writer, its_socket, its_wake) = (Arc::clone(peers), Arc::clone(socket), Arc::clone(wake));
    let writer = spawn(format!("rk-elect-w{}", server.0), move || {
        let why = match write(&for_writer, server, number, &its_socket, &its_wake) {
            Ok(()) => "it was closed".into(),
            Err(error) => error.to_string(),
        };
        for_writer.ended(server, number, &why);
    });
    match writer {
        Ok(()) => Started { started: 2, error: None },
        Err(error) => Started { started: 1, error: Some(error) },
    }
}

/// A thread that nobody joins: the port counts it.
pub(super) fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name).spawn(run).map(drop)
}

/// Reads until the connection ends; says why it did.
fn read(peers: &Peers, server: ServerId, number: LinkNumber, mut socket: &TcpStream, mut bytes: Vec<u8>) -> String {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let mut taken = 0;
        loop {
            match receive_frame(bytes.get(taken..).unwrap_or_default()) {
                Ok(Received::Whole(frame, len)) => {
                    peers.heard(server, number, frame);
                    taken += len;
                }
                Ok(Received::NeedsBytes(_)) => break,
                Err(error) => return format!("what came is no notification: {error}"),
            }
        }
        bytes.drain(..taken);
        if bytes.is_empty() {
            bytes.shrink_to(CHUNK_BYTES);
        }
        match socket.read(&mut chunk) {
            Ok(0) => return "the other side has closed it".into(),
            Ok(read) => bytes.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.to_string(),
        }
    }
}

/// Writes each vote that is left for this server, the newest only.
fn write(
    peers: &Peers,
    server: ServerId,
    number: LinkNumber,
    mut socket: &TcpStream,
    wake: &Condvar,
) -> io::Result<()> {
    while let Some(vote) = peers.next_vote(server, number, wake) {
        socket.write_all(&wire::notification(&vote, &peers.config()))?;
    }
    Ok(())
}
