//! One TCP connection to a server, blocking, with a deadline on every read and write.
//!
//! Requests may be pipelined: [`Connection::send`] does not wait, [`Connection::recv`] takes the next frame. Replies must come
//! in the order of their requests; pings and auths have numbers of their own and may overtake, as in every ZooKeeper client.
//! After an error other than [`ClientError::Server`] and [`ClientError::Deadline`] the connection is of no more use.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_BYTES, Password};
use proto::request::Request;
use proto::{OpCode, SessionId, Xid, Zxid, jute};

use crate::admin::is_timeout;
use crate::codec::{FRAME_BYTES_MAX_DEFAULT, FrameBuffer, encode_request};
use crate::error::{ClientError, Result};
use crate::incoming::{Event, Incoming, ReplyFrame, Split};

/// What a handshake says, and how patient the connection is.
#[derive(Clone, Copy, Debug)]
pub struct ConnectOptions {
    /// The session timeout asked for, in ms.
    pub timeout_ms: i32,
    /// The session to renew; `None`: a new one.
    pub renew: Option<(SessionId, Password)>,
    /// The newest zxid seen.
    pub last_zxid_seen: Zxid,
    /// May the server be read-only? `None`: like an old client, do not send the byte.
    pub read_only: Option<bool>,
    /// How long a single read or write may take.
    pub deadline: Duration,
    /// How often it pings while it waits for a reply, as clients do that keep a session; `None`: never. The answers are not seen.
    pub ping_every: Option<Duration>,
    /// Longest frame that is accepted.
    pub frame_bytes_max: usize,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            timeout_ms: 30_000,
            renew: None,
            last_zxid_seen: Zxid::ZERO,
            read_only: Some(false),
            deadline: Duration::from_secs(10),
            ping_every: None,
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
        }
    }
}

impl ConnectOptions {
    /// Options that renew a session.
    #[must_use]
    pub fn renewing(session: &ConnectResponse) -> ConnectOptions {
        ConnectOptions { renew: Some((session.session_id, session.password)), ..ConnectOptions::default() }
    }

    /// The handshake's first frame.
    pub(crate) fn write_frame(&self, out: &mut Vec<u8>) {
        let no_password = [0; PASSWORD_BYTES];
        let (session_id, password) = self.renew.unwrap_or((SessionId(0), no_password));
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid_seen,
            timeout_ms: self.timeout_ms,
            session_id,
            password: &password,
            read_only: self.read_only,
        };
        jute::frame(out, |w| request.write(w));
    }
}

/// A connection. See the module's documentation.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    input: FrameBuffer,
    /// Requests that are queued and not yet written.
    output: Vec<u8>,
    /// Requests without a reply, in order; pings and auths apart.
    pending: VecDeque<(Xid, OpCode)>,
    /// Events that came while a reply was waited for.
    events: VecDeque<Event>,
    next_xid: i32,
    deadline: Duration,
    ping_every: Option<Duration>,
    /// Pings of its own that are not answered yet.
    own_pings: usize,
    session: Option<ConnectResponse>,
    last_zxid: Zxid,
}

impl Connection {
    /// A TCP connection without a handshake: for tests of what servers do with other bytes.
    ///
    /// # Errors
    /// [`ClientError::Io`] if the server does not accept.
    pub fn open(addr: SocketAddr, options: &ConnectOptions) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&addr, options.deadline).map_err(ClientError::io("connecting"))?;
        stream.set_nodelay(true).map_err(ClientError::io("setting TCP_NODELAY"))?;
        Ok(Connection {
            stream,
            input: FrameBuffer::new(options.frame_bytes_max),
            output: Vec::new(),
            pending: VecDeque::new(),
            events: VecDeque::new(),
            next_xid: 1,
            deadline: options.deadline,
            ping_every: options.ping_every,
            own_pings: 0,
            session: None,
            last_zxid: options.last_zxid_seen,
        })
    }

    /// Connects and shakes hands.
    ///
    /// # Errors
    /// [`ClientError::SessionExpired`] if the session to renew is not there; [`ClientError::Closed`] if the server refuses (it
    /// is behind `last_zxid_seen`, or read-only); those of [`Connection::open`] and [`Connection::recv_frame`].
    pub fn connect(addr: SocketAddr, options: &ConnectOptions) -> Result<Connection> {
        let mut connection = Connection::open(addr, options)?;
        let response = connection.handshake(options)?;
        if response.session_id == SessionId(0) {
            return Err(ClientError::SessionExpired);
        }
        Ok(connection)
    }

    /// The handshake alone, after [`Connection::open`]. An expired session comes back as session 0.
    ///
    /// # Errors
    /// As [`Connection::recv_frame`], and [`ClientError::Decode`].
    pub fn handshake(&mut self, options: &ConnectOptions) -> Result<ConnectResponse> {
        let mut out = Vec::new();
        options.write_frame(&mut out);
        self.send_raw(&out)?;
        let frame = self.recv_frame()?;
        let response = ConnectResponse::decode(&frame).map_err(ClientError::decode("handshake"))?;
        self.session = Some(response);
        Ok(response)
    }

    /// The server's answer to the handshake; `None` before it.
    #[must_use]
    pub const fn session(&self) -> Option<&ConnectResponse> {
        self.session.as_ref()
    }

    /// The session's id; 0 before the handshake.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.session.map_or(SessionId(0), |session| session.session_id)
    }

    /// The largest zxid of a reply's header so far: what `last_zxid_seen` and setWatches want.
    #[must_use]
    pub const fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// How long each read and write may take from now on.
    pub const fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Requests that have been sent or queued and not answered, pings and auths not counted.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The socket, to shut down, set options or hand over.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Gives the socket and what has been read of it away, for callers that drive it themselves.
    ///
    /// # Panics
    /// If requests are pending or queued.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, FrameBuffer) {
        assert!(
            self.pending.is_empty() && self.output.is_empty(),
            "a connection is handed over only when it is at rest"
        );
        (self.stream, self.input)
    }

    /// Queues a request under the next xid (pings, auths and setWatches under theirs), to be written by the next
    /// [`Connection::flush`] or send.
    pub fn queue(&mut self, request: &Request<'_>) -> Xid {
        let xid = match request {
            Request::Ping => Xid::PING,
            Request::Auth(_) => Xid::AUTH,
            Request::SetWatches(_) | Request::SetWatches2(_) => Xid::SET_WATCHES,
            _ => self.take_xid(),
        };
        self.queue_as(xid, request);
        xid
    }

    /// Queues a request under any xid.
    pub fn queue_as(&mut self, xid: Xid, request: &Request<'_>) {
        encode_request(&mut self.output, xid, request);
        self.expect(xid, request.op());
    }

    /// Announces that a reply to `xid` is due, for requests that were sent raw.
    pub fn expect(&mut self, xid: Xid, op: OpCode) {
        if xid != Xid::PING && xid != Xid::AUTH {
            self.pending.push_back((xid, op));
        }
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// [`ClientError::Closed`], [`ClientError::Deadline`], [`ClientError::Io`].
    pub fn flush(&mut self) -> Result<()> {
        let output = std::mem::take(&mut self.output);
        self.write_all(&output)?;
        // Keep the allocation for the next batch.
        self.output = output;
        self.output.clear();
        Ok(())
    }

    /// Sends a request without waiting for the reply.
    ///
    /// # Errors
    /// As [`Connection::flush`].
    pub fn send(&mut self, request: &Request<'_>) -> Result<Xid> {
        let xid = self.queue(request);
        self.flush()?;
        Ok(xid)
    }

    /// Sends a request under any xid.
    ///
    /// # Errors
    /// As [`Connection::flush`].
    pub fn send_as(&mut self, xid: Xid, request: &Request<'_>) -> Result<()> {
        self.queue_as(xid, request);
        self.flush()
    }

    /// Sends bytes as they are: no length in front, no reply expected (see [`Connection::expect`]).
    ///
    /// # Errors
    /// As [`Connection::flush`].
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.flush()?;
        self.write_all(bytes)
    }

    /// Sends bytes with a frame's length in front.
    ///
    /// # Errors
    /// As [`Connection::flush`].
    pub fn send_frame(&mut self, payload: &[u8]) -> Result<()> {
        let mut framed = Vec::with_capacity(payload.len() + 4);
        jute::frame(&mut framed, |w| w.raw(payload));
        self.send_raw(&framed)
    }

    /// The next frame, whatever it is, without its length. Takes nothing off the pending requests.
    ///
    /// # Errors
    /// [`ClientError::Closed`], [`ClientError::Deadline`] (what has come is kept), [`ClientError::Frame`], [`ClientError::Io`].
    pub fn recv_frame(&mut self) -> Result<Vec<u8>> {
        self.recv_frame_within(self.deadline)?
            .ok_or(ClientError::Deadline { waited: self.deadline, context: "reading a frame" })
    }

    /// The next frame, or `None` if none is whole after `patience`.
    ///
    /// # Errors
    /// As [`Connection::recv_frame`], without the deadline.
    pub fn recv_frame_within(&mut self, patience: Duration) -> Result<Option<Vec<u8>>> {
        let begun = Instant::now();
        loop {
            if let Some(frame) = self.input.next_frame()? {
                return Ok(Some(frame.to_vec()));
            }
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() || !self.fill(left)? {
                return Ok(None);
            }
        }
    }

    /// The next reply or event, its order checked. Events that came while replies were waited for come first.
    ///
    /// # Errors
    /// As [`Connection::recv_frame`]; [`ClientError::ReplyOrder`]; [`ClientError::Decode`].
    pub fn recv(&mut self) -> Result<Incoming> {
        let waited = self.deadline;
        self.recv_within(waited)?.ok_or(ClientError::Deadline { waited, context: "waiting for a reply or event" })
    }

    /// As [`Connection::recv`], or `None` if nothing has come after `patience`.
    ///
    /// # Errors
    /// As [`Connection::recv`], without the deadline.
    pub fn recv_within(&mut self, patience: Duration) -> Result<Option<Incoming>> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(Incoming::Event(event)));
        }
        self.recv_new(patience)
    }

    /// The next reply; events that come before it are kept for [`Connection::recv`] and [`Connection::next_event`].
    ///
    /// # Errors
    /// As [`Connection::recv`].
    pub fn recv_reply(&mut self) -> Result<ReplyFrame> {
        let begun = Instant::now();
        loop {
            match self.recv_new(self.deadline.saturating_sub(begun.elapsed()))? {
                Some(Incoming::Reply(reply)) => return Ok(reply),
                Some(Incoming::Event(event)) => self.events.push_back(event),
                None => return Err(ClientError::Deadline { waited: self.deadline, context: "waiting for a reply" }),
            }
        }
    }

    /// The next watch event. A reply that comes before it is an error: take replies first.
    ///
    /// # Errors
    /// As [`Connection::recv`]; [`ClientError::WrongRecord`] if a reply comes.
    pub fn next_event(&mut self) -> Result<Event> {
        match self.recv()? {
            Incoming::Event(event) => Ok(event),
            Incoming::Reply(_) => Err(ClientError::WrongRecord("an event: a reply came first")),
        }
    }

    /// The events that have been kept, without reading more.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// Sends a request and waits for its reply, whatever error it carries. Replies to earlier requests must have been taken.
    ///
    /// # Errors
    /// As [`Connection::send`] and [`Connection::recv_reply`].
    ///
    /// # Panics
    /// If earlier requests are still pending.
    pub fn roundtrip(&mut self, request: &Request<'_>) -> Result<ReplyFrame> {
        assert!(self.pending.is_empty(), "earlier replies must be taken before a call waits for its own");
        let xid = self.send(request)?;
        loop {
            let reply = self.recv_reply()?;
            if reply.header.xid == xid {
                return Ok(reply);
            }
        }
    }

    /// Sends a ping and waits for its reply. Earlier requests must have been answered.
    ///
    /// # Errors
    /// As [`Connection::roundtrip`].
    pub fn ping(&mut self) -> Result<()> {
        self.roundtrip(&Request::Ping)?.ok().map(|_| ())
    }

    /// Ends the session and waits until the server has closed the connection.
    ///
    /// # Errors
    /// As [`Connection::roundtrip`].
    pub fn close(mut self) -> Result<()> {
        self.roundtrip(&Request::CloseSession)?.ok()?;
        self.wait_closed()
    }

    /// Drops the connection at once; the session lives on until it expires.
    pub fn abort(self) {
        // A socket that is already closed has nothing to shut down.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Waits until the server has closed the connection; frames that come before are dropped.
    ///
    /// # Errors
    /// [`ClientError::Deadline`] if it stays open.
    pub fn wait_closed(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.recv_frame_within(self.deadline.saturating_sub(begun.elapsed())) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Err(ClientError::Deadline { waited: self.deadline, context: "waiting for a close" });
                }
                Err(ClientError::Closed { .. }) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    const fn take_xid(&mut self) -> Xid {
        let xid = Xid(self.next_xid);
        self.next_xid = if self.next_xid == i32::MAX { 1 } else { self.next_xid + 1 };
        xid
    }

    fn recv_new(&mut self, patience: Duration) -> Result<Option<Incoming>> {
        let begun = Instant::now();
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            let pings = self.ping_every.filter(|every| *every < left && !self.pending.is_empty());
            let Some(frame) = self.recv_frame_within(pings.unwrap_or(left))? else {
                if pings.is_none() {
                    return Ok(None);
                }
                self.ping_meanwhile();
                continue;
            };
            let split = Split::read(&frame)?;
            if split.is_event() {
                return Ok(Some(Incoming::Event(split.event()?)));
            }
            if split.header.xid == Xid::PING && self.own_pings > 0 {
                self.own_pings -= 1;
                continue;
            }
            let op = self.check_order(split.header.xid)?;
            // An auth's reply carries zxid 0, and an error of an old server may carry -1.
            if split.header.zxid.to_wire() > self.last_zxid.to_wire() {
                self.last_zxid = split.header.zxid;
            }
            return Ok(Some(Incoming::Reply(split.reply(op))));
        }
    }

    /// What is queued stays so. Where the server has closed the connection, reading tells.
    fn ping_meanwhile(&mut self) {
        let mut out = Vec::new();
        encode_request(&mut out, Xid::PING, &Request::Ping);
        if self.write_all(&out).is_ok() {
            self.own_pings += 1;
        }
    }

    /// Which operation does the reply with this xid answer?
    fn check_order(&mut self, got: Xid) -> Result<OpCode> {
        match got {
            Xid::PING => Ok(OpCode::Ping),
            Xid::AUTH => Ok(OpCode::Auth),
            _ => match self.pending.front() {
                Some(&(expected, op)) if expected == got => {
                    self.pending.pop_front();
                    Ok(op)
                }
                other => Err(ClientError::ReplyOrder { got, expected: other.map(|(xid, _)| *xid) }),
            },
        }
    }

    /// One read. False: nothing came in time.
    fn fill(&mut self, patience: Duration) -> Result<bool> {
        const CONTEXT: &str = "reading from the server";
        self.stream.set_read_timeout(Some(patience)).map_err(ClientError::io(CONTEXT))?;
        match self.stream.read(self.input.room(READ_BYTES)) {
            Ok(0) if self.input.unread().is_empty() => Err(ClientError::Closed { context: CONTEXT }),
            Ok(0) => Err(ClientError::Closed { context: "within a frame" }),
            Ok(count) => {
                self.input.filled(count);
                Ok(true)
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Ok(true),
            Err(e) if is_timeout(&e) => Ok(false),
            Err(e) => Err(ClientError::io(CONTEXT)(e)),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        const CONTEXT: &str = "writing to the server";
        if bytes.is_empty() {
            return Ok(());
        }
        self.stream.set_write_timeout(Some(self.deadline)).map_err(ClientError::io(CONTEXT))?;
        self.stream.write_all(bytes).map_err(|e| {
            if is_timeout(&e) {
                ClientError::Deadline { waited: self.deadline, context: CONTEXT }
            } else {
                ClientError::io(CONTEXT)(e)
            }
        })
    }
}

/// Room that is offered to each read.
const READ_BYTES: usize = 16 << 10;
