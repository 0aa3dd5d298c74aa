//! One connection under load: nonblocking, pipelined, its replies checked in order.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use client::{FrameBuffer, encode_request};
use proto::reply::ReplyHeader;
use proto::request::Request;
use proto::{Reader, Xid};

use crate::workload::{Asked, Workbench};

/// Room that is offered to each read: a full window of pipelined 1 KiB replies.
const READ_BYTES: usize = 64 << 10;

/// A connection and what is in flight on it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    index: usize,
    input: FrameBuffer,
    output: Vec<u8>,
    written: usize,
    in_flight: VecDeque<InFlight>,
    /// Open loop: intended starts that wait for room in the window.
    pub(crate) backlog: VecDeque<u64>,
    next_xid: i32,
    next_child: u64,
    /// Is the socket full, and its writability waited for?
    pub(crate) blocked: bool,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    xid: Xid,
    asked: Asked,
    started_ns: u64,
}

/// A reply that has come: when its operation was (meant to be) started, and what is wrong with it, if anything.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) started_ns: u64,
    pub(crate) wrong: Option<String>,
}

impl Link {
    /// A connection after its handshake.
    pub(crate) fn new(index: usize, stream: TcpStream, input: FrameBuffer) -> Link {
        Link {
            stream,
            index,
            input,
            output: Vec::new(),
            written: 0,
            in_flight: VecDeque::new(),
            backlog: VecDeque::new(),
            next_xid: 1,
            next_child: 0,
            blocked: false,
        }
    }

    /// Requests without a reply.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Creates that have been asked for.
    pub(crate) const fn created(&self) -> u64 {
        self.next_child
    }

    /// Queues the bench's next request. It is written by [`Link::flush`].
    pub(crate) fn ask(&mut self, bench: &mut Workbench, started_ns: u64) {
        let xid = Xid(self.next_xid);
        self.next_xid = if self.next_xid == i32::MAX { 1 } else { self.next_xid + 1 };
        let asked = bench.ask(&mut self.output, xid, self.index, &mut self.next_child);
        self.in_flight.push_back(InFlight { xid, asked, started_ns });
    }

    /// Queues a ping.
    pub(crate) fn ping(&mut self) {
        encode_request(&mut self.output, Xid::PING, &Request::Ping);
    }

    /// Ends the session, without waiting for the answer, so that the server need not expire it during a later run.
    pub(crate) fn hang_up(mut self) {
        encode_request(&mut self.output, Xid(self.next_xid), &Request::CloseSession);
        // A connection that takes no more is closed all the same, and its session left to expire.
        let _ = self.flush();
    }

    /// Writes as much as the socket takes. `self.blocked` says whether something is left.
    ///
    /// # Errors
    /// What broke the connection, in words.
    pub(crate) fn flush(&mut self) -> Result<(), String> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.written += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("writing: {e}")),
            }
        }
        self.blocked = false;
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads once and hands every reply to `done`. The poll is level-triggered: what is left comes again.
    ///
    /// # Errors
    /// What broke the connection, in words; a reply out of order does.
    pub(crate) fn receive(&mut self, bench: &mut Workbench, mut done: impl FnMut(Done)) -> Result<(), String> {
        match self.stream.read(self.input.room(READ_BYTES)) {
            Ok(0) => return Err(format!("closed by the server with {} requests in flight", self.in_flight.len())),
            Ok(count) => self.input.filled(count),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(e) => return Err(format!("reading: {e}")),
        }
        while let Some(frame) = self.input.next_frame().map_err(|e| e.to_string())? {
            let mut r = Reader::new(frame);
            let header = ReplyHeader::read(&mut r).map_err(|e| format!("reply header: {e}"))?;
            if header.xid == Xid::PING {
                continue;
            }
            let expected = self.in_flight.pop_front();
            let Some(asked) = expected.filter(|asked| asked.xid == header.xid) else {
                let due = expected.map(|asked| asked.xid);
                return Err(format!("reply to {:?} where {due:?} was due", header.xid));
            };
            let wrong = bench.check(asked.asked, header, r.rest());
            done(Done { started_ns: asked.started_ns, wrong });
        }
        Ok(())
    }
}
