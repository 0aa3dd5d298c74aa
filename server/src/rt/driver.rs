//! What both backends share: the handler, its table of connections, and the rules by which completions become calls.
//!
//! A backend reports what happened (`accepted`, `received`, `peer_ended`, `failed`), calls `turn` when `is_turn_due`, and then works off
//! `pop_dirty` with `flush` and its own means. Must never wait. The end-to-end tests of `server/tests/rt_*.rs` run all of it.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown};

use super::conns::{Conns, Phase};
use super::io::{Control, Io};
use super::{Accept, AfterEof, CloseReason, ConnId, Doorbell, Handler, ShardConfig};

/// A shard without its backend.
pub(super) struct Driver<H> {
    handler: H,
    pub(super) conns: Conns,
    control: Control,
    /// Something was delivered since the last turn.
    turn_due: bool,
    doorbell: Doorbell,
}

impl<H: Handler> Driver<H> {
    pub(super) fn new(handler: H, config: &ShardConfig, doorbell: Doorbell) -> Self {
        // The first turn comes at once: what was queued before the shard ran is seen.
        let conns = Conns::new(config.close_wait);
        Self { handler, conns, control: Control::default(), turn_due: true, doorbell }
    }

    /// A new socket, which the backend owns. `None`: the handler refused it.
    pub(super) fn accepted(&mut self, fd: RawFd, peer: SocketAddr) -> Option<ConnId> {
        self.turn_due = true;
        let id = self.conns.open(fd);
        match self.handler.on_accept(id, peer) {
            Accept::Yes => Some(id),
            Accept::Refuse => {
                self.conns.slot_mut(id.slot).phase = Phase::Dead;
                self.conns.release(id.slot);
                None
            }
        }
    }

    pub(super) fn received(&mut self, slot: u32, bytes: &[u8]) {
        if self.conns.slot(slot).phase == Phase::Open {
            self.handler.on_recv(self.conns.id(slot), bytes);
            self.turn_due = true;
        }
    }

    pub(super) fn peer_ended(&mut self, slot: u32) {
        let id = self.conns.id(slot);
        let conn = self.conns.slot_mut(slot);
        conn.eof = true;
        match conn.phase {
            Phase::Open => {
                if self.handler.on_eof(id) == AfterEof::Close {
                    self.kill(slot, CloseReason::Eof);
                }
                self.turn_due = true;
            }
            Phase::Lingering => self.kill(slot, CloseReason::Eof),
            Phase::Free | Phase::Flushing | Phase::Dead => {}
        }
    }

    pub(super) fn failed(&mut self, slot: u32, kind: std::io::ErrorKind) {
        self.kill(slot, CloseReason::Io(kind));
    }

    /// Sends until everything is gone, the socket is full, or it fails.
    pub(super) fn flush(&mut self, slot: u32, socket: BorrowedFd<'_>) -> Flush {
        loop {
            let next = self.conns.slot(slot).out.next();
            if next.is_empty() {
                self.flushed(slot, socket);
                return Flush::Done;
            }
            match rustix::net::send(socket, next, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(bytes) => self.sent(slot, bytes),
                Err(Errno::AGAIN) => return Flush::Blocked,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    self.failed(slot, std::io::Error::from(errno).kind());
                    return Flush::Done;
                }
            }
        }
    }

    /// The kernel took bytes. A handler that paused over its unsent bytes gets a turn to think again.
    pub(super) fn sent(&mut self, slot: u32, bytes: usize) {
        self.conns.sent(slot, bytes);
        self.turn_due |= self.conns.slot(slot).is_paused();
    }

    /// Bytes that had been held back were sent, or the kernel rang.
    pub(super) fn progressed(&mut self) {
        self.turn_due = true;
    }

    /// Nothing is left to send; ends our side of the stream if the handler is done with it.
    pub(super) fn flushed(&mut self, slot: u32, socket: BorrowedFd<'_>) {
        if self.conns.flushed(slot) {
            // Fails only if the peer has reset the connection, which then needs no end.
            let _ = rustix::net::shutdown(socket, Shutdown::Write);
            self.tell_closes();
        }
    }

    /// Whether a turn has a reason, the doorbell aside.
    pub(super) fn is_turn_due(&self, now: Instant) -> bool {
        self.turn_due || self.next_deadline().is_some_and(|deadline| deadline <= now)
    }

    /// When a turn has a reason at the latest, if nothing happens before.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match (self.control.wake_at, self.conns.first_deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub(super) fn has_turn_due(&self) -> bool {
        self.turn_due
    }

    /// The handler's turn.
    pub(super) fn turn(&mut self, now: Instant) {
        self.conns.end_overdue(now);
        self.tell_closes();
        self.turn_due = false;
        if self.control.wake_at.is_some_and(|at| at <= now) {
            self.control.wake_at = None;
        }
        let mut io = Io { conns: &mut self.conns, control: &mut self.control, now };
        if self.doorbell.take_stop_asked() {
            self.handler.on_stop_asked(&mut io);
        }
        self.handler.on_turn(&mut io);
        self.tell_closes();
    }

    pub(super) fn stop_asked_by_handler(&self) -> bool {
        self.control.stop
    }

    /// What the handler has asked to be watched since the last call.
    pub(super) fn take_watch(&mut self) -> Option<Arc<OwnedFd>> {
        self.control.watch.take()
    }

    /// Ends every connection because the shard stops.
    pub(super) fn kill_all(&mut self) {
        for slot in self.conns.taken() {
            self.conns.kill(slot, CloseReason::ShardStopped);
        }
        self.tell_closes();
    }

    /// Closes a dead socket's last door: with a reset if bytes are missing.
    pub(super) fn prepare_close(&self, slot: u32, socket: BorrowedFd<'_>) {
        if self.conns.slot(slot).reset {
            // A socket that refuses the option is closed in order instead.
            let _ = rustix::net::sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO));
        }
    }

    fn kill(&mut self, slot: u32, reason: CloseReason) {
        self.conns.kill(slot, reason);
        self.tell_closes();
        // The turn's end also releases what the handler has heard of before.
        self.turn_due = true;
    }

    fn tell_closes(&mut self) {
        while let Some((id, reason)) = self.conns.next_to_tell() {
            self.handler.on_close(id, reason);
            self.turn_due = true;
        }
    }
}

/// What became of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// Everything is sent, or the connection is dead.
    Done,
    /// The socket takes no more now.
    Blocked,
}
