//! A scripted server in this process: each connection is handed to a closure that reads requests and writes whatever it likes.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code: a panic is the finding")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use proto::connect::{ConnectRequest, ConnectResponse};
use proto::reply::{Reply, ReplyHeader};
use proto::request::RequestHeader;
use proto::watch::{EventType, write_event_frame};
use proto::{OpCode, Reader, SessionId, Writer, Xid, Zxid, jute};

/// What a server does with one connection.
pub type Script = Box<dyn FnOnce(&mut Peer) + Send>;

/// One connection, seen from the server.
pub struct Peer {
    pub stream: TcpStream,
}

/// A request as it came.
#[derive(Debug)]
pub struct Asked {
    pub xid: Xid,
    pub op: OpCode,
    pub frame: Vec<u8>,
}

pub const SESSION: SessionId = SessionId(0x1234);
pub const PASSWORD: [u8; 16] = [7; 16];

/// Serves one connection after the other, each with its script, and returns when the last has ended.
pub fn serve(scripts: Vec<Script>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        for script in scripts {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            script(&mut Peer { stream });
        }
    });
    (addr, thread)
}

/// Serves one connection.
pub fn serve_one(script: impl FnOnce(&mut Peer) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    serve(vec![Box::new(script)])
}

impl Peer {
    pub fn read_frame(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut frame).unwrap();
        frame
    }

    /// Takes the handshake and grants the session; what was asked comes back as (session, lastZxidSeen, readOnly).
    pub fn shake_hands(&mut self, timeout_ms: i32) -> (SessionId, Zxid, Option<bool>) {
        let frame = self.read_frame();
        let asked = ConnectRequest::decode(&frame).unwrap();
        let read_only = asked.read_only.map(|_| false);
        let response =
            ConnectResponse { protocol_version: 0, timeout_ms, session_id: SESSION, password: PASSWORD, read_only };
        self.frame(|w| response.write(w));
        (asked.session_id, asked.last_zxid_seen, asked.read_only)
    }

    /// The next request that is no ping; pings are answered.
    pub fn read_request(&mut self) -> Asked {
        loop {
            let frame = self.read_frame();
            let header = RequestHeader::read(&mut Reader::new(&frame)).unwrap();
            if header.xid == Xid::PING {
                self.reply(Xid::PING, Zxid(0), 0, &Reply::Empty);
                continue;
            }
            return Asked { xid: header.xid, op: OpCode::from_wire(header.op).unwrap(), frame };
        }
    }

    pub fn reply(&mut self, xid: Xid, zxid: Zxid, err: i32, reply: &Reply<'_>) {
        self.frame(|w| {
            ReplyHeader { xid, zxid, err }.write(w);
            reply.write(w);
        });
    }

    pub fn event(&mut self, ty: EventType, zxid: Zxid, path: &str) {
        let mut out = Vec::new();
        write_event_frame(&mut out, ty, zxid, path);
        self.raw(&out);
    }

    pub fn frame(&mut self, body: impl FnOnce(&mut Writer<'_>)) {
        let mut out = Vec::new();
        jute::frame(&mut out, body);
        self.raw(&out);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Waits until the client has closed.
    pub fn wait_closed(&mut self) {
        let mut rest = [0; 1024];
        while let Ok(count) = self.stream.read(&mut rest) {
            if count == 0 {
                return;
            }
        }
    }
}
