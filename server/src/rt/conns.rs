//! The table of a shard's connections: phases, unsent bytes, and what a backend still has to carry out. Pure: no system call but `dup`.
//!
//! The handler's commands and the socket's completions change a connection here and mark it dirty; the backend then makes the socket match
//! (sends, starts or stops receiving, releases). A slot is released only by its backend, once nothing in the kernel refers to it.
//! Must never reuse a slot that is not released, nor report a close twice. Unit tests are at the end.

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::{CloseReason, ConnId};

/// All connections of one shard.
#[derive(Debug)]
pub(super) struct Conns {
    slots: Vec<Conn>,
    free: Vec<u32>,
    /// Slots whose socket may not match their state; each at most once.
    dirty: Vec<u32>,
    /// Connections whose end the handler has not heard of yet.
    to_tell: Vec<(ConnId, CloseReason)>,
    /// Closing connections, each with the time when its patience ends: in order, since the patience is one constant.
    closing: VecDeque<(Instant, ConnId)>,
    close_wait: Duration,
    spare: SpareBuffers,
}

impl Conns {
    pub(super) fn new(close_wait: Duration) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            to_tell: Vec::new(),
            closing: VecDeque::new(),
            close_wait,
            spare: SpareBuffers::default(),
        }
    }

    /// Takes a slot for a socket that the backend owns and keeps open until it calls [`Conns::release`].
    pub(super) fn open(&mut self, fd: RawFd) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.slots.len()).expect("fewer connections than 2^32: descriptors are 31 bits");
            self.slots.push(Conn::default());
            slot
        });
        let conn = self.slot_mut(slot);
        assert!(conn.phase == Phase::Free, "slot {slot} was free and is {:?}", conn.phase);
        conn.phase = Phase::Open;
        conn.fd = fd;
        ConnId { slot, generation: conn.generation }
    }

    /// Gives a dead connection's slot back; only when the kernel uses neither its socket nor its bytes any more.
    pub(super) fn release(&mut self, slot: u32) {
        let conn = self.slot_mut(slot);
        assert!(conn.phase == Phase::Dead, "slot {slot} is released while {:?}", conn.phase);
        assert!(!conn.out.lent, "slot {slot} is released while the kernel sends from it");
        let generation = conn.generation.wrapping_add(1);
        let dirty = conn.dirty;
        *conn = Conn { generation, dirty, ..Conn::default() };
        self.free.push(slot);
    }

    /// The connection, if it is the one that this id means and the handler may still command it.
    pub(super) fn live(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.slots.get_mut(usize::try_from(id.slot).ok()?)?;
        (conn.generation == id.generation && conn.phase == Phase::Open).then_some(conn)
    }

    /// The connection in a slot that a backend knows to be taken.
    pub(super) fn slot(&self, slot: u32) -> &Conn {
        self.slots.get(index(slot)).expect("backends only name slots that were opened")
    }

    pub(super) fn slot_mut(&mut self, slot: u32) -> &mut Conn {
        self.slots.get_mut(index(slot)).expect("backends only name slots that were opened")
    }

    pub(super) fn id(&self, slot: u32) -> ConnId {
        ConnId { slot, generation: self.slot(slot).generation }
    }

    /// Every slot that is taken.
    pub(super) fn taken(&self) -> Vec<u32> {
        (0u32..).zip(&self.slots).filter(|(_, conn)| conn.phase != Phase::Free).map(|(slot, _)| slot).collect()
    }

    pub(super) fn mark_dirty(&mut self, slot: u32) {
        let conn = self.slot_mut(slot);
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Takes the next slot whose socket may not match its state.
    pub(super) fn pop_dirty(&mut self) -> Option<u32> {
        let slot = self.dirty.pop()?;
        self.slot_mut(slot).dirty = false;
        Some(slot)
    }

    /// Queues bytes behind the unsent ones; `bytes` comes back empty.
    pub(super) fn send(&mut self, id: ConnId, bytes: &mut Vec<u8>) {
        let Some(conn) = self.slots.get_mut(index(id.slot)) else { return bytes.clear() };
        if conn.generation != id.generation || conn.phase != Phase::Open || bytes.is_empty() {
            return bytes.clear();
        }
        conn.out.push(bytes, &mut self.spare);
        self.mark_dirty(id.slot);
    }

    /// The kernel took this many bytes.
    pub(super) fn sent(&mut self, slot: u32, bytes: usize) {
        let conn = self.slots.get_mut(index(slot)).expect("backends only name slots that were opened");
        conn.out.advance(bytes, &mut self.spare);
    }

    pub(super) fn set_paused(&mut self, id: ConnId, paused: bool) {
        if let Some(conn) = self.live(id)
            && conn.paused != paused
        {
            conn.paused = paused;
            self.mark_dirty(id.slot);
        }
    }

    /// No more commands; closes once everything is sent and the peer has ended too, or `close_wait` is over.
    pub(super) fn close_after_flush(&mut self, id: ConnId, now: Instant) {
        let Some(conn) = self.live(id) else { return };
        conn.phase = Phase::Flushing;
        self.closing.push_back((now + self.close_wait, id));
        self.mark_dirty(id.slot);
    }

    /// A flushing connection has nothing left to send: tells the handler, and waits only for the peer's end. True if the
    /// backend must end its side of the stream now.
    pub(super) fn flushed(&mut self, slot: u32) -> bool {
        let id = self.id(slot);
        let conn = self.slot_mut(slot);
        if conn.phase != Phase::Flushing || conn.out.unsent() > 0 {
            return false;
        }
        conn.phase = if conn.eof { Phase::Dead } else { Phase::Lingering };
        self.to_tell.push((id, CloseReason::ByHandler));
        self.mark_dirty(slot);
        true
    }

    /// The connection is over; the handler is told unless it knows already.
    pub(super) fn kill(&mut self, slot: u32, reason: CloseReason) {
        let id = self.id(slot);
        let conn = self.slot_mut(slot);
        match conn.phase {
            Phase::Free | Phase::Dead => return,
            Phase::Open | Phase::Flushing => self.to_tell.push((id, reason)),
            Phase::Lingering => {}
        }
        let conn = self.slot_mut(slot);
        conn.phase = Phase::Dead;
        // The peer learns at once that bytes are missing, and the kernel keeps none of them.
        conn.reset = conn.out.unsent() > 0 || reason == CloseReason::ByHandler;
        self.mark_dirty(slot);
    }

    /// Whether bytes lie in the socket that nobody has received.
    pub(super) fn has_unread(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.live(id) else { return false };
        // SAFETY: as in `detach`.
        #[expect(unsafe_code, reason = "the table names descriptors that the backends own")]
        let borrowed = unsafe { BorrowedFd::borrow_raw(conn.fd) };
        rustix::io::ioctl_fionread(borrowed).is_ok_and(|bytes| bytes > 0)
    }

    /// A copy of the socket's descriptor, blocking, for somebody outside the shard; the connection ends here unheard.
    pub(super) fn detach(&mut self, id: ConnId) -> Option<OwnedFd> {
        let conn = self.live(id)?;
        if conn.out.unsent() > 0 {
            return None;
        }
        // SAFETY: a live connection's descriptor is open: the backend owns it and closes it only when it releases a dead one.
        #[expect(unsafe_code, reason = "the table names descriptors that the backends own")]
        let borrowed = unsafe { BorrowedFd::borrow_raw(conn.fd) };
        let copy = borrowed.try_clone_to_owned().ok()?;
        rustix::io::ioctl_fionbio(&copy, false).ok()?;
        conn.phase = Phase::Dead;
        self.mark_dirty(id.slot);
        Some(copy)
    }

    /// Ends what has been closing for too long.
    pub(super) fn end_overdue(&mut self, now: Instant) {
        while let Some(&(deadline, id)) = self.closing.front() {
            let conn = self.slot(id.slot);
            let waits = conn.generation == id.generation && matches!(conn.phase, Phase::Flushing | Phase::Lingering);
            if waits && deadline > now {
                return;
            }
            self.closing.pop_front();
            if waits {
                self.kill(id.slot, CloseReason::FlushTimedOut);
            }
        }
    }

    /// When the first closing connection's time is over.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.closing.front().map(|&(deadline, _)| deadline)
    }

    pub(super) fn next_to_tell(&mut self) -> Option<(ConnId, CloseReason)> {
        self.to_tell.pop()
    }
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Conn {
    generation: u32,
    pub(super) phase: Phase,
    fd: RawFd,
    pub(super) out: OutBuf,
    paused: bool,
    /// The peer has ended its side.
    pub(super) eof: bool,
    /// Close with a reset instead of an orderly end.
    pub(super) reset: bool,
    dirty: bool,
}

impl Conn {
    /// Whether the backend shall receive. A lingering connection's bytes are received to be dropped: unread ones would turn the
    /// close into a reset, which may overtake what was sent last.
    pub(super) fn wants_recv(&self) -> bool {
        match self.phase {
            Phase::Open => !self.paused && !self.eof,
            Phase::Lingering => !self.eof,
            Phase::Free | Phase::Flushing | Phase::Dead => false,
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// The slot is not taken.
    #[default]
    Free,
    /// The handler owns it.
    Open,
    /// The handler closed it; bytes are still to be sent.
    Flushing,
    /// Everything was sent and the handler told; the peer has not ended yet.
    Lingering,
    /// Over; the backend releases it as soon as the kernel is done with it.
    Dead,
}

/// The bytes that a connection still has to send. The head may be lent to the kernel, so only the tail ever grows then.
#[derive(Debug, Default)]
pub(super) struct OutBuf {
    head: Vec<u8>,
    /// Bytes of the head that the kernel took.
    sent: usize,
    tail: Vec<u8>,
    /// An operation in flight reads the head.
    pub(super) lent: bool,
}

impl OutBuf {
    pub(super) fn unsent(&self) -> usize {
        self.head.len() - self.sent + self.tail.len()
    }

    /// What to send next.
    pub(super) fn next(&self) -> &[u8] {
        self.head.get(self.sent..).expect("sent stays within the head")
    }

    fn push(&mut self, bytes: &mut Vec<u8>, spare: &mut SpareBuffers) {
        if self.head.is_empty() {
            self.head = std::mem::replace(bytes, spare.take());
        } else if self.sent == 0 && !self.lent {
            self.head.append(bytes);
        } else if self.tail.is_empty() {
            self.tail = std::mem::replace(bytes, spare.take());
        } else {
            self.tail.append(bytes);
        }
    }

    fn advance(&mut self, bytes: usize, spare: &mut SpareBuffers) {
        self.sent += bytes;
        assert!(self.sent <= self.head.len(), "the kernel took more than it was given");
        if self.sent == self.head.len() {
            self.sent = 0;
            spare.give(std::mem::replace(&mut self.head, std::mem::take(&mut self.tail)));
        }
    }
}

/// Emptied buffers, kept for the whole shard instead of per connection: ten thousand idle connections hold none.
#[derive(Debug, Default)]
struct SpareBuffers(Vec<Vec<u8>>);

impl SpareBuffers {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < SPARE_BUFFERS_MAX && buffer.capacity() <= SPARE_BUFFER_BYTES_MAX {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).expect("slots fit the address space")
}

/// Together at most 8 MiB a shard.
const SPARE_BUFFERS_MAX: usize = 128;
const SPARE_BUFFER_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Conns {
        Conns::new(Duration::from_secs(1))
    }

    #[test]
    fn a_reused_slot_is_not_its_predecessor() {
        let mut conns = table();
        let first = conns.open(-1);
        conns.kill(first.slot, CloseReason::Eof);
        conns.release(first.slot);
        let second = conns.open(-1);
        assert_eq!(first.slot, second.slot);
        assert_ne!(first, second);
        conns.send(first, &mut b"for the dead".to_vec());
        assert_eq!(conns.slot(second.slot).out.unsent(), 0);
    }

    #[test]
    fn sends_of_one_turn_are_one_piece_and_later_ones_wait_behind_a_lent_head() {
        let mut conns = table();
        let id = conns.open(-1);
        conns.send(id, &mut b"ab".to_vec());
        conns.send(id, &mut b"cd".to_vec());
        assert_eq!(conns.slot(id.slot).out.next(), b"abcd");
        conns.slot_mut(id.slot).out.lent = true;
        conns.send(id, &mut b"ef".to_vec());
        conns.send(id, &mut b"gh".to_vec());
        assert_eq!(conns.slot(id.slot).out.next(), b"abcd");
        assert_eq!(conns.slot(id.slot).out.unsent(), 8);
        conns.slot_mut(id.slot).out.lent = false;
        conns.sent(id.slot, 3);
        assert_eq!(conns.slot(id.slot).out.next(), b"d");
        conns.sent(id.slot, 1);
        assert_eq!(conns.slot(id.slot).out.next(), b"efgh");
    }

    #[test]
    fn a_close_is_told_once_whoever_else_closes() {
        let mut conns = table();
        let id = conns.open(-1);
        conns.close_after_flush(id, Instant::now());
        assert!(conns.flushed(id.slot));
        conns.kill(id.slot, CloseReason::Eof);
        conns.kill(id.slot, CloseReason::ShardStopped);
        assert_eq!(conns.next_to_tell(), Some((id, CloseReason::ByHandler)));
        assert_eq!(conns.next_to_tell(), None);
    }

    #[test]
    fn a_peer_that_does_not_take_its_bytes_is_cut_off_in_time() {
        let mut conns = table();
        let (id, start) = (conns.open(-1), Instant::now());
        conns.send(id, &mut b"unwanted".to_vec());
        conns.close_after_flush(id, start);
        assert_eq!(conns.first_deadline(), Some(start + Duration::from_secs(1)));
        conns.end_overdue(start + Duration::from_millis(999));
        assert_eq!(conns.next_to_tell(), None);
        conns.end_overdue(start + Duration::from_secs(1));
        assert_eq!(conns.next_to_tell(), Some((id, CloseReason::FlushTimedOut)));
        assert!(conns.slot(id.slot).reset);
    }

    #[test]
    fn an_idle_connection_holds_no_buffer() {
        let mut conns = table();
        let id = conns.open(-1);
        let mut bytes = vec![7; 4096];
        conns.send(id, &mut bytes);
        conns.sent(id.slot, 4096);
        assert_eq!(conns.slot(id.slot).out.head.capacity(), 0);
        assert_eq!(conns.spare.0.len(), 1);
    }
}
