//! A connection as a shard sees it: where it stands in the protocol, what it has sent and what is to be sent to it.

use super::asked::ConnCounts;
use super::long::LongWait;
use super::places::Turn;
use crate::auth::AuthId;
use crate::sasl::Exchange;
use crate::stream::ConnId;
use proto::{OpCode, SessionId, Xid, Zxid};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing decoded yet: a handshake or a four-letter word comes first.
    New,
    /// The handshake is with the core.
    Connecting,
    /// It has a session.
    Ready,
    /// The end of its session is with the core: nothing more is read from it, its reply is still due.
    Ending,
    /// It is to be closed; nothing more is read from it or said to it.
    Closing,
}

/// A request that the core has.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) xid: Xid,
    pub(super) op: OpCode,
    /// Its bytes, if it counts as a large request.
    pub(super) large_bytes: usize,
    pub(super) received_us: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) peer: SocketAddr,
    pub(super) phase: Phase,
    pub(super) session: SessionId,
    pub(super) timeout_ms: i32,
    pub(super) ids: Arc<[AuthId]>,
    /// Where it stands in proving who it is with SASL.
    pub(super) sasl: Exchange,
    /// Received and not yet decoded: from `input_start` on.
    pub(super) input: Vec<u8>,
    pub(super) input_start: usize,
    /// Requests that the core has, in order.
    pub(super) in_flight: VecDeque<InFlight>,
    /// To be sent.
    pub(super) out: Vec<u8>,
    /// Bytes that the socket has not taken yet, as the driver last told.
    pub(super) unsent_bytes: usize,
    /// The largest zxid in a reply's header so far (law 6: it never decreases).
    pub(super) header_zxid: Zxid,
    pub(super) accepted_us: u64,
    /// When its handshake came.
    pub(super) connect_us: u64,
    /// Does it renew a session that was there before?
    pub(super) renews: bool,
    /// When something last came from it.
    pub(super) heard_us: u64,
    /// Heard of since the core was last told?
    pub(super) heard: bool,
    /// Since when its next request is held back by a limit of the whole server.
    pub(super) held_since_us: Option<u64>,
    /// Does its next request wait because it has as many with the core as it may?
    pub(super) is_full: bool,
    /// Its place among those whom the throttler holds back, until its request is let in.
    pub(super) ticket: Option<u64>,
    /// Was it woken for a place, and not looked at since?
    pub(super) is_woken: bool,
    /// Does its next request wait for something to be read from the disk?
    pub(super) is_cold: bool,
    /// How often its next request has waited so.
    pub(super) cold_waits: u8,
    /// It waits for a long read: nothing goes out, and no further request is looked at.
    pub(super) long: Option<Box<LongWait>>,
    /// Its next request is a long read and waits for a place.
    pub(super) place_turn: Option<Turn>,
    pub(super) is_paused: bool,
    pub(super) is_queued: bool,
    pub(super) is_dirty: bool,
    pub(super) counts: ConnCounts,
}

impl Conn {
    pub(super) fn new(id: ConnId, peer: SocketAddr, now_us: u64) -> Conn {
        Conn {
            id,
            peer,
            phase: Phase::New,
            session: SessionId(0),
            timeout_ms: 0,
            ids: [AuthId::of_address(peer)].into(),
            sasl: Exchange::default(),
            input: Vec::new(),
            input_start: 0,
            in_flight: VecDeque::new(),
            out: Vec::new(),
            unsent_bytes: 0,
            header_zxid: Zxid::ZERO,
            accepted_us: now_us,
            connect_us: now_us,
            renews: false,
            heard_us: now_us,
            heard: false,
            held_since_us: None,
            is_full: false,
            ticket: None,
            is_woken: false,
            is_cold: false,
            cold_waits: 0,
            long: None,
            place_turn: None,
            is_paused: false,
            is_queued: false,
            is_dirty: false,
            counts: ConnCounts::default(),
        }
    }

    /// Bytes received and not yet decoded.
    pub(super) fn undecoded(&self) -> &[u8] {
        self.input.get(self.input_start..).unwrap_or_default()
    }

    /// Whether a whole frame is among them.
    pub(super) fn has_whole_frame(&self) -> bool {
        let Some((length, rest)) = self.undecoded().split_first_chunk::<4>() else { return false };
        usize::try_from(i32::from_be_bytes(*length)).is_ok_and(|length| rest.len() >= length)
    }

    /// The first `len` of them have been dealt with.
    pub(super) fn consume(&mut self, len: usize) {
        self.input_start += len;
        if self.input_start >= self.input.len() {
            self.input_start = 0;
            self.input.clear();
            // An idle connection does not hold the memory of its largest request.
            if self.input.capacity() > INPUT_IDLE_BYTES_MAX {
                self.input = Vec::new();
            }
        }
    }

    /// Moves what is left to the front, before more is appended.
    pub(super) fn compact(&mut self) {
        if self.input_start > 0 {
            self.input.drain(..self.input_start);
            self.input_start = 0;
        }
    }

    /// A reply's header says `zxid`.
    ///
    /// # Panics
    /// If an earlier one said more: law 6 is broken.
    pub(super) fn write_header_position(&mut self, zxid: Zxid) {
        assert!(zxid >= self.header_zxid, "a header says {zxid} after one that said {}", self.header_zxid);
        self.header_zxid = zxid;
    }

    /// Bytes that wait to leave.
    pub(super) fn output_bytes(&self) -> usize {
        self.out.len() + self.unsent_bytes + self.long.as_ref().map_or(0, |long| long.behind.len())
    }

    /// Where an event is written: behind the reply that is being made elsewhere, if there is one.
    pub(super) fn event_output(&mut self) -> &mut Vec<u8> {
        self.long.as_mut().map_or(&mut self.out, |long| &mut long.behind)
    }
}

/// Bytes of input buffer that an idle connection may keep.
const INPUT_IDLE_BYTES_MAX: usize = 16 << 10;
