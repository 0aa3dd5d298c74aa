//! Sends a sequence to one server and writes down what comes back.
//!
//! A run owns its root (created and removed by a super user), its sessions (each is closed at the end: one that expired later would take a
//! zxid in the middle of another sequence) and its connections. After each step a `sync` on every open connection has been answered, so
//! that all its events have arrived. It fails only where the server cannot be reached; everything else that a server does is an answer.

use crate::observe::{self, Item, Source};
use crate::overseer::Overseer;
use crate::sequence::{Op, Sequence, Step, ZXID_AHEAD, ZxidRef};
use crate::wire::{Incoming, Wire, connect_frame};
use proto::connect::ConnectResponse;
use proto::jute::frame;
use proto::request::RequestHeader;
use proto::{OpCode, SessionId, Xid};
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// What a server answered: by step and connection, in the order in which it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// One for each step, then one for the closing of the sessions, then one for the look at the tree.
    pub steps: Vec<Vec<Vec<Item>>>,
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            for (conn, items) in step.iter().enumerate() {
                items.iter().try_for_each(|item| writeln!(f, "  {number} connection {conn}: {item}"))?;
            }
        }
        Ok(())
    }
}

/// Runs `sequence` against the server at `address`, below `root`, which must not exist.
///
/// # Errors
/// The server cannot be reached, or does not let the super user in.
pub fn run(address: SocketAddr, root: &str, sequence: &Sequence) -> io::Result<Transcript> {
    let mut overseer = Overseer::enter(address, root)?;
    let slots = (0..sequence.connections()).map(|_| Slot::default()).collect();
    let mut run = Run { address, root, slots, sessions: Vec::new(), barriers: 0 };
    let mut steps = Vec::with_capacity(sequence.steps.len() + 2);
    for step in &sequence.steps {
        run.step(step)?;
        run.barrier();
        steps.push(run.take_items());
    }
    run.close_sessions()?;
    steps.push(run.take_items());
    steps.push(vec![overseer.audit_and_leave()]);
    Ok(Transcript { steps })
}

struct Run<'a> {
    address: SocketAddr,
    root: &'a str,
    slots: Vec<Slot>,
    sessions: Vec<Session>,
    barriers: i32,
}

/// A connection of the sequence, through all its sockets.
#[derive(Default)]
struct Slot {
    wire: Option<Wire>,
    session: Option<usize>,
    /// The zxids in the headers of its replies.
    zxids: Vec<i64>,
    last_xid: i32,
    items: Vec<Item>,
    /// Answers to pings, which may come before their turn.
    pings: usize,
}

/// A session that was opened, whatever became of it.
#[derive(Clone)]
struct Session {
    id: SessionId,
    password: Vec<u8>,
    is_closed: bool,
}

/// The xid of the `sync` behind a step is above all of a sequence's.
const BARRIER_XID: i32 = 0x6000_0000;

impl Run<'_> {
    fn step(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::Open { conn, timeout_ms, read_only } => {
                let mut wire = Wire::connect(self.address)?;
                wire.send(&connect_frame(*timeout_ms, SessionId(0), &[0; 16], 0, *read_only));
                let slot = &mut self.slots[*conn];
                *slot = Slot { items: std::mem::take(&mut slot.items), ..Slot::default() };
                if let Some(session) = slot.shake_hands(wire) {
                    slot.session = Some(self.sessions.len());
                    self.sessions.push(session);
                }
            }
            Step::Reopen { conn, last_zxid } => {
                let slot = &mut self.slots[*conn];
                let Some(session) = slot.session.and_then(|number| self.sessions.get(number)) else { return Ok(()) };
                let mut wire = Wire::connect(self.address)?;
                let last_zxid = slot.zxid(*last_zxid);
                wire.send(&connect_frame(30_000, session.id, &session.password, last_zxid, Some(false)));
                let former = slot.wire.take();
                let was_answered = slot.shake_hands(wire).is_some();
                match former {
                    // Refused for its zxid alone, before the session was looked for.
                    Some(former) if !was_answered => slot.wire = Some(former),
                    Some(mut former) => slot.drain(&mut former),
                    None => {}
                }
            }
            Step::WrongPassword { conn } => {
                let slot = &mut self.slots[*conn];
                let Some(session) = slot.session.and_then(|number| self.sessions.get(number)) else { return Ok(()) };
                let mut wire = Wire::connect(self.address)?;
                wire.send(&connect_frame(30_000, session.id, &[7; 16], 0, Some(false)));
                let former = slot.wire.take();
                slot.shake_hands(wire);
                if let Some(mut former) = former {
                    slot.drain(&mut former);
                }
            }
            Step::Probe { bytes } => {
                let mut wire = Wire::connect(self.address)?;
                wire.send(bytes);
                if let Some(slot) = self.slots.first_mut() {
                    let session = slot.probe(&mut wire);
                    self.sessions.extend(session);
                }
            }
            Step::Bytes { conn, bytes } => {
                let slot = &mut self.slots[*conn];
                if let Some(mut wire) = slot.wire.take() {
                    wire.send(bytes);
                    slot.drain(&mut wire);
                }
            }
            Step::Drop { conn } => self.slots[*conn].wire = None,
            Step::Burst { conn, ops } => self.burst(*conn, ops),
        }
        Ok(())
    }

    fn burst(&mut self, conn: usize, ops: &[Op]) {
        let slot = &mut self.slots[conn];
        let Some(mut wire) = slot.wire.take() else { return };
        let mut bytes = Vec::new();
        for op in ops {
            let xid = op.xid.unwrap_or_else(|| slot.next_xid(op.code()));
            frame(&mut bytes, |w| {
                RequestHeader { xid: Xid(xid), op: op.op }.write(w);
                let mut body = Vec::new();
                op.write_body(self.root, &|which| slot.zxid(which), &mut body);
                w.raw(&body);
            });
        }
        wire.send(&bytes);
        let mut is_open = true;
        for (number, op) in ops.iter().enumerate().filter(|(_, op)| op.code() != Some(OpCode::Ping)) {
            is_open = slot.receive(&mut wire, op.op, Source::Reply(number));
            if !is_open {
                break;
            }
            if op.code() == Some(OpCode::CloseSession) {
                if let Some(session) = slot.session.and_then(|number| self.sessions.get_mut(number)) {
                    session.is_closed = true;
                }
                // What stands behind it may be answered with errors, or not at all.
                let answered = slot.items.len();
                slot.drain(&mut wire);
                slot.items.drain(answered..slot.items.len() - 1);
                is_open = false;
                break;
            }
        }
        let pings = ops.iter().filter(|op| op.code() == Some(OpCode::Ping)).count();
        if is_open && slot.receive_pings(&mut wire, pings) {
            slot.wire = Some(wire);
        }
    }

    /// Waits until every connection has everything that the step has caused.
    fn barrier(&mut self) {
        self.barriers += 1;
        let xid = BARRIER_XID + self.barriers;
        let mut bytes = Vec::new();
        frame(&mut bytes, |w| {
            RequestHeader { xid: Xid(xid), op: OpCode::Sync.to_wire() }.write(w);
            w.string(self.root);
        });
        for slot in &mut self.slots {
            if let Some(wire) = &mut slot.wire {
                wire.send(&bytes);
            }
        }
        for slot in &mut self.slots {
            if let Some(mut wire) = slot.wire.take()
                && slot.receive(&mut wire, OpCode::Sync.to_wire(), Source::Barrier)
            {
                slot.wire = Some(wire);
            }
        }
    }

    fn take_items(&mut self) -> Vec<Vec<Item>> {
        self.slots.iter_mut().map(|slot| std::mem::take(&mut slot.items)).collect()
    }

    /// Closes every session that may still live. Its last events are part of the transcript.
    fn close_sessions(&mut self) -> io::Result<()> {
        let close = [Op::new(OpCode::CloseSession, Vec::new())];
        for conn in 0..self.slots.len() {
            self.burst(conn, &close);
        }
        for number in 0..self.sessions.len() {
            let session = self.sessions[number].clone();
            if session.is_closed {
                continue;
            }
            let mut wire = Wire::connect(self.address)?;
            wire.send(&connect_frame(30_000, session.id, &session.password, 0, Some(false)));
            let mut slot = Slot { session: Some(number), ..Slot::default() };
            slot.shake_hands(wire);
            self.slots.push(slot);
            self.burst(self.slots.len() - 1, &close);
        }
        Ok(())
    }
}

impl Slot {
    fn zxid(&self, which: ZxidRef) -> i64 {
        match which {
            ZxidRef::Zero => 0,
            ZxidRef::Back(by) => self.zxids.iter().rev().nth(by).copied().unwrap_or(0),
            ZxidRef::Ahead => ZXID_AHEAD,
            ZxidRef::Minus => -1,
        }
    }

    fn next_xid(&mut self, code: Option<OpCode>) -> i32 {
        match code {
            Some(OpCode::Ping) => Xid::PING.0,
            Some(OpCode::Auth) => Xid::AUTH.0,
            Some(OpCode::SetWatches | OpCode::SetWatches2) => Xid::SET_WATCHES.0,
            _ => {
                self.last_xid += 1;
                self.last_xid
            }
        }
    }

    /// Reads up to the next reply, events before it included. False: there will be no more.
    fn receive(&mut self, wire: &mut Wire, op: i32, source: Source) -> bool {
        loop {
            let bytes = match wire.receive() {
                Incoming::Frame(bytes) => bytes,
                Incoming::Closed => {
                    self.items.push(Item::bare(Source::Closed));
                    return false;
                }
                Incoming::Silence => {
                    self.items.push(Item::bare(Source::Silence));
                    return false;
                }
            };
            match observe::header(&bytes) {
                Some((xid, _)) if xid == Xid::NOTIFICATION.0 => self.items.push(observe::event(&bytes)),
                Some((xid, _)) if xid == Xid::PING.0 => {
                    self.pings += 1;
                    if op == OpCode::Ping.to_wire() {
                        return true;
                    }
                }
                header => {
                    self.zxids.extend(header.map(|(_, zxid)| zxid).filter(|zxid| *zxid > 0));
                    self.items.push(observe::reply(op, source, &bytes));
                    return true;
                }
            }
        }
    }

    /// Reads what is missing of that many answers to pings. False: there will be no more.
    fn receive_pings(&mut self, wire: &mut Wire, count: usize) -> bool {
        while self.pings < count {
            if !self.receive(wire, OpCode::Ping.to_wire(), Source::Unasked) {
                return false;
            }
        }
        self.pings = 0;
        true
    }

    /// Reads the handshake's answer; the wire is kept if the server took the session. Gives the session of the answer, if it has one.
    fn shake_hands(&mut self, mut wire: Wire) -> Option<Session> {
        let session = self.read_handshake(&mut wire);
        match session {
            Some(_) => self.wire = Some(wire),
            None => self.drain(&mut wire),
        }
        session
    }

    fn read_handshake(&mut self, wire: &mut Wire) -> Option<Session> {
        let Incoming::Frame(bytes) = wire.receive() else { return None };
        self.items.push(observe::handshake(&bytes));
        let answer = ConnectResponse::decode(&bytes).ok().filter(|answer| answer.session_id != SessionId(0))?;
        Some(Session { id: answer.session_id, password: answer.password.to_vec(), is_closed: false })
    }

    /// What comes back on a socket of its own.
    fn probe(&mut self, wire: &mut Wire) -> Option<Session> {
        let session = self.read_handshake(wire);
        if session.is_none() {
            self.drain(wire);
        }
        session
    }

    /// Reads a connection to its end, which the server is expected to make.
    fn drain(&mut self, wire: &mut Wire) {
        loop {
            match wire.receive() {
                Incoming::Frame(bytes)
                    if observe::header(&bytes).is_some_and(|(xid, _)| xid == Xid::NOTIFICATION.0) =>
                {
                    self.items.push(observe::event(&bytes));
                }
                Incoming::Frame(bytes) => self.items.push(observe::reply(0, Source::Unasked, &bytes)),
                Incoming::Closed => return self.items.push(Item::bare(Source::Closed)),
                Incoming::Silence => return self.items.push(Item::bare(Source::Silence)),
            }
        }
    }
}
