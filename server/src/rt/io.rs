//! The commands of a turn. They only change the shard's table; the backend carries them out when the turn is over.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use super::conns::Conns;
use super::{CloseReason, ConnId};

/// What a handler can do in its turn. Commands for a connection that is gone are ignored.
#[derive(Debug)]
pub struct Io<'a> {
    pub(super) conns: &'a mut Conns,
    pub(super) control: &'a mut Control,
    pub(super) now: Instant,
}

impl Io<'_> {
    /// When this turn began.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Takes the bytes and leaves an empty buffer. They are queued behind what is unsent; what one turn sends to a connection leaves as one send.
    pub fn send(&mut self, conn: ConnId, bytes: &mut Vec<u8>) {
        self.conns.send(conn, bytes);
    }

    /// Bytes that the kernel has not taken yet, this turn's included.
    #[must_use]
    pub fn unsent_bytes(&mut self, conn: ConnId) -> usize {
        self.conns.live(conn).map_or(0, |conn| conn.out.unsent())
    }

    /// Whether something of the peer's lies in the socket that was not received yet.
    #[must_use]
    pub fn has_unread(&mut self, conn: ConnId) -> bool {
        self.conns.has_unread(conn)
    }

    /// Receives no more from it, so that the peer's TCP window fills up. What was received already may still be delivered.
    pub fn pause_recv(&mut self, conn: ConnId) {
        self.conns.set_paused(conn, true);
    }

    /// Receives again.
    pub fn resume_recv(&mut self, conn: ConnId) {
        self.conns.set_paused(conn, false);
    }

    /// Sends what is queued, then ends the stream in order. From now on the handler hears only [`super::Handler::on_close`].
    pub fn close_after_flush(&mut self, conn: ConnId) {
        self.conns.close_after_flush(conn, self.now);
    }

    /// Closes at once with a reset; unsent bytes are dropped.
    pub fn abort(&mut self, conn: ConnId) {
        if self.conns.live(conn).is_some() {
            self.conns.kill(conn.slot, CloseReason::ByHandler);
        }
    }

    /// Hands the socket over, in blocking mode, and forgets the connection without [`super::Handler::on_close`]. `None` if it is gone, still
    /// has unsent bytes, or no descriptor was to be had. What the peer sends between its last [`super::Handler::on_recv`] and the end
    /// of this turn may be lost.
    #[must_use]
    pub fn detach(&mut self, conn: ConnId) -> Option<OwnedFd> {
        self.conns.detach(conn)
    }

    /// Asks for a turn at this time. One wake-up is pending at most: the earliest asked for; it is used up when it comes.
    pub fn wake_at(&mut self, time: Instant) {
        let earliest = self.control.wake_at.map_or(time, |pending| pending.min(time));
        self.control.wake_at = Some(earliest);
    }

    /// Asks for a turn when `fd` becomes readable, or at once if it is. One such turn for each call; a call while an earlier one waits changes nothing, so
    /// that a shard has one descriptor that it watches.
    pub fn watch(&mut self, fd: &Arc<OwnedFd>) {
        if self.control.watch.is_none() {
            self.control.watch = Some(Arc::clone(fd));
        }
    }

    /// Ends the shard's loop after this turn's sends; connections that are left are closed.
    pub fn stop(&mut self) {
        self.control.stop = true;
    }
}

/// What a turn asked of the loop itself.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) wake_at: Option<Instant>,
    pub(super) stop: bool,
    /// A descriptor to watch.
    pub(super) watch: Option<Arc<OwnedFd>>,
}
