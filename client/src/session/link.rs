//! What callers and the session's thread share: the writing side of the connection, and the requests in flight.

use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::connect::ConnectResponse;
use proto::request::{AuthRequest, Request};
use proto::{OpCode, Xid, Zxid};

use super::shut_down;
use crate::codec::encode_request;
use crate::error::{ClientError, Result};
use crate::incoming::{Event, ReplyFrame, Split};
use crate::watches::{WatchChange, Watches};

/// Where a reply goes; `None`: nobody asked for it (setWatches after a reconnect).
type ReplySink = Option<Sender<Result<ReplyFrame>>>;

#[derive(Debug)]
pub(super) struct Shared {
    writer: Mutex<Writer>,
    state: Mutex<State>,
    changed: Condvar,
}

/// The writing side. Its lock is held while bytes are written, so that requests leave in the order of their registration.
#[derive(Debug)]
struct Writer {
    stream: Option<TcpStream>,
    bytes: Vec<u8>,
    next_xid: i32,
    written_at: Instant,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) session: Option<ConnectResponse>,
    pub(super) last_zxid: Zxid,
    /// Another handle of the socket, to shut it down while a writer blocks in it.
    stream: Option<TcpStream>,
    pending: VecDeque<Pending>,
    pending_auths: VecDeque<ReplySink>,
    auths: Vec<(String, Vec<u8>)>,
    watches: Watches,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Connected,
    Expired,
    Closed,
}

#[derive(Debug)]
struct Pending {
    xid: Xid,
    op: OpCode,
    watch: Option<WatchChange>,
    sink: ReplySink,
}

const NOT_CONNECTED: ClientError = ClientError::Closed { context: "no connection" };

impl Shared {
    pub(super) fn new() -> Shared {
        Shared {
            writer: Mutex::new(Writer { stream: None, bytes: Vec::new(), next_xid: 1, written_at: Instant::now() }),
            state: Mutex::new(State {
                phase: Phase::Connecting,
                session: None,
                last_zxid: Zxid::ZERO,
                stream: None,
                pending: VecDeque::new(),
                pending_auths: VecDeque::new(),
                auths: Vec::new(),
                watches: Watches::default(),
            }),
            changed: Condvar::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn submit(&self, request: &Request<'_>, sink: ReplySink) -> Result<()> {
        let mut writer = self.writer();
        {
            let mut state = self.state();
            state.phase.usable()?;
            if let Request::Auth(AuthRequest { scheme: Some(scheme), auth, .. }) = request {
                state.auths.push(((*scheme).to_owned(), auth.unwrap_or_default().to_vec()));
            }
            writer.queue(&mut state, request, sink);
        }
        if let Err(e) = writer.flush() {
            // The thread sees the end of the socket and fails what is pending.
            self.cut();
            return Err(e);
        }
        Ok(())
    }

    pub(super) fn wait_connected(&self, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut state = self.state();
        loop {
            match state.phase {
                Phase::Connecting => {}
                phase => return phase.usable(),
            }
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(ClientError::NoServer(patience));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits before the next attempt to connect. False: the session has been closed meanwhile.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let state = self.state();
        let closed = |state: &mut State| state.phase != Phase::Closed;
        let state = self.changed.wait_timeout_while(state, pause, closed).unwrap_or_else(PoisonError::into_inner).0;
        state.phase != Phase::Closed
    }

    /// A connection stands: auths and watches go out first, then callers may use it. False: the session has been closed.
    pub(super) fn attach(&self, stream: &TcpStream, session: ConnectResponse) -> Result<bool> {
        let mut writer = self.writer();
        {
            let mut state = self.state();
            if state.phase == Phase::Closed {
                return Ok(false);
            }
            let again = "sharing the socket";
            state.stream = Some(stream.try_clone().map_err(ClientError::io(again))?);
            writer.stream = Some(stream.try_clone().map_err(ClientError::io(again))?);
            writer.bytes.clear();
            state.session = Some(session);
            state.phase = Phase::Connected;
            for (scheme, auth) in state.auths.clone() {
                let auth = AuthRequest { ty: 0, scheme: Some(&scheme), auth: Some(&auth) };
                writer.queue(&mut state, &Request::Auth(auth), None);
            }
            let watches = std::mem::take(&mut state.watches);
            watches.restore(state.last_zxid, |request| writer.queue(&mut state, request, None));
            state.watches = watches;
        }
        writer.flush()?;
        self.changed.notify_all();
        Ok(true)
    }

    /// The connection is lost: everything in flight fails. True if the session goes on.
    pub(super) fn detach(&self) -> bool {
        self.cut();
        let mut writer = self.writer();
        let mut state = self.state();
        writer.stream = None;
        state.fail_pending();
        if state.phase == Phase::Connected {
            state.phase = Phase::Connecting;
        }
        self.changed.notify_all();
        state.phase == Phase::Connecting
    }

    /// The session is over, one way or the other.
    pub(super) fn finish(&self, phase: Phase) {
        let mut state = self.state();
        if state.phase != Phase::Expired {
            state.phase = phase;
        }
        if let Some(stream) = &state.stream {
            shut_down(stream);
        }
        state.fail_pending();
        self.changed.notify_all();
    }

    pub(super) fn cut(&self) {
        if let Some(stream) = &self.state().stream {
            shut_down(stream);
        }
    }

    /// Pings if nothing has been written for `idle_max`.
    pub(super) fn ping_if_idle(&self, idle_max: Duration) -> Result<()> {
        // Whoever holds the lock is writing: then no ping is needed.
        let Ok(mut writer) = self.writer.try_lock() else { return Ok(()) };
        if writer.written_at.elapsed() < idle_max {
            return Ok(());
        }
        encode_request(&mut writer.bytes, Xid::PING, &Request::Ping);
        writer.flush()
    }

    /// Hands a frame to whom it belongs; an event comes back.
    pub(super) fn dispatch(&self, frame: &[u8]) -> Result<Option<Event>> {
        let split = Split::read(frame)?;
        let mut state = self.state();
        if split.is_event() {
            let event = split.event()?;
            state.watches.fired(&event);
            return Ok(Some(event));
        }
        if split.header.zxid.to_wire() > state.last_zxid.to_wire() {
            state.last_zxid = split.header.zxid;
        }
        let got = split.header.xid;
        let (op, sink) = match got {
            Xid::PING => return Ok(None),
            Xid::AUTH => (OpCode::Auth, state.pending_auths.pop_front().flatten()),
            _ => {
                let expected = state.pending.front().map(|pending| pending.xid);
                // One that does not match stays pending: it fails with the others once the connection is given up.
                let pending = if expected == Some(got) { state.pending.pop_front() } else { None };
                let Some(pending) = pending else { return Err(ClientError::ReplyOrder { got, expected }) };
                if let Some(change) = pending.watch {
                    state.watches.answered(change, split.header.err);
                }
                (pending.op, pending.sink)
            }
        };
        if let Some(sink) = sink {
            // A caller that has given up waiting does not want it.
            let _ = sink.send(Ok(split.reply(op)));
        }
        Ok(None)
    }
}

impl Writer {
    /// Encodes a request and registers it as pending.
    fn queue(&mut self, state: &mut State, request: &Request<'_>, sink: ReplySink) {
        let xid = match request {
            Request::Auth(_) => Xid::AUTH,
            Request::SetWatches(_) | Request::SetWatches2(_) => Xid::SET_WATCHES,
            _ => {
                let xid = self.next_xid;
                self.next_xid = if xid == i32::MAX { 1 } else { xid + 1 };
                Xid(xid)
            }
        };
        encode_request(&mut self.bytes, xid, request);
        if xid == Xid::AUTH {
            state.pending_auths.push_back(sink);
        } else {
            let watch = WatchChange::of(request);
            state.pending.push_back(Pending { xid, op: request.op(), watch, sink });
        }
    }

    fn flush(&mut self) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Err(NOT_CONNECTED) };
        let written = stream.write_all(&self.bytes).map_err(ClientError::io("writing to the server"));
        self.bytes.clear();
        self.written_at = Instant::now();
        written
    }
}

impl State {
    fn fail_pending(&mut self) {
        let sinks = self.pending.drain(..).map(|pending| pending.sink).chain(self.pending_auths.drain(..));
        for sink in sinks.flatten() {
            // A caller that has given up waiting does not want it.
            let _ = sink.send(Err(ClientError::Closed { context: "before the reply came" }));
        }
    }
}

impl Phase {
    const fn usable(self) -> Result<()> {
        match self {
            Phase::Connected => Ok(()),
            Phase::Connecting => Err(NOT_CONNECTED),
            Phase::Expired => Err(ClientError::SessionExpired),
            Phase::Closed => Err(ClientError::SessionClosed),
        }
    }
}
