//! What happens at the limits that all shards share: which request goes to the core, which waits, which is dropped.
//!
//! A connection that `globalOutstandingLimit` makes wait has a request with the core, whose reply makes it ready again. One that the request
//! throttler holds back may have none: it stands in a queue, with the ticket that it drew when it was first held back. When requests were
//! answered, and by the driver's clock, as many are woken as there are places, the oldest tickets first; one that then finds its place taken
//! keeps its ticket, so that nobody is passed over for good by those with more to ask. Tests: `engine/tests/shard/held.rs`.

use super::conn::Conn;
use super::{Action, CloseReason, Hold, Note, ShardState, Step, Visit};
use crate::stream::ConnId;
use proto::reply::ReplyHeader;
use proto::request::RequestHeader;
use proto::{ErrorCode, OpCode};

/// The operator hears of each kind of hold at most this often from one shard.
const TELL_EVERY_US: u64 = 1_000_000;

impl ShardState {
    /// May a request go to the core? Gives the bytes that it counts for among large requests.
    pub(super) fn admit(
        &mut self,
        conn: &mut Conn,
        header: &RequestHeader,
        op: OpCode,
        bytes: usize,
        now_us: u64,
    ) -> Result<usize, Step> {
        let throttle = std::sync::Arc::clone(&self.options.throttle);
        let options = throttle.options();
        let in_work = self.in_flight + self.in_flight_elsewhere;
        let is_over = in_work > options.outstanding_max && !conn.in_flight.is_empty();
        // Nobody passes those who wait already, nor his own turn among them.
        let waits = conn.ticket.is_none_or(|ticket| self.held.contains_key(&ticket));
        let is_behind = waits && !self.held.is_empty();
        let is_throttled = options.requests_max > 0 && (in_work >= options.requests_max || is_behind);
        if !is_over && !is_throttled {
            self.answer_if_throttled(conn, header, op, now_us)?;
            if !throttle.is_large(bytes) {
                return Ok(0);
            }
            let fits = throttle.take_large(bytes);
            return if fits { Ok(bytes) } else { Err(Step::Stop(Visit::Abort(CloseReason::LargeRequest))) };
        }
        let is_first_look = conn.held_since_us.is_none();
        let since_us = *conn.held_since_us.get_or_insert(now_us);
        if is_over {
            self.counts.outstanding_waits += u64::from(is_first_look);
            return Err(Step::Stop(Visit::Held(Hold::Outstanding)));
        }
        self.counts.throttle_waits += 1;
        let timeout_us = u64::try_from(conn.timeout_ms).unwrap_or(0) * 1_000;
        let is_stale = options.stale_latency_check && now_us.saturating_sub(since_us) > timeout_us;
        if is_stale && options.drop_stale && op != OpCode::CloseSession {
            self.counts.stale_requests_dropped += 1;
            return Err(Step::Stop(Visit::Abort(CloseReason::StaleRequest)));
        }
        Err(Step::Stop(Visit::Held(Hold::Throttler)))
    }

    /// A request that was held back for too long gets an error instead of being done, in its place among the replies.
    fn answer_if_throttled(
        &mut self,
        conn: &mut Conn,
        header: &RequestHeader,
        op: OpCode,
        now_us: u64,
    ) -> Result<(), Step> {
        let Some(since_us) = conn.held_since_us else { return Ok(()) };
        let wait_us_max = self.options.throttle.options().op_wait_us_max;
        let is_late = wait_us_max > 0 && now_us.saturating_sub(since_us) > wait_us_max;
        if !is_late || op == OpCode::CloseSession {
            (conn.held_since_us, conn.ticket) = (None, None);
            return Ok(());
        }
        if !conn.in_flight.is_empty() {
            return Err(Step::Stop(Visit::Waits));
        }
        (conn.held_since_us, conn.ticket) = (None, None);
        self.counts.throttled_ops += 1;
        self.actions.push(Action::Noted(conn.id, Note::ThrottledOp));
        conn.write_header_position(self.position);
        self.answer_header(conn, ReplyHeader::error(header.xid, self.position, ErrorCode::ThrottledOp));
        Err(Step::Done)
    }

    /// A connection's next request waits for a limit.
    pub(super) fn hold(&mut self, id: ConnId, hold: Hold, now_us: u64) {
        if hold == Hold::Throttler {
            let next_ticket = self.next_ticket;
            if let Some(conn) = self.conn_mut(id) {
                let ticket = *conn.ticket.get_or_insert(next_ticket);
                self.next_ticket += u64::from(ticket == next_ticket);
                self.held.insert(ticket, id);
            }
        }
        let Some(told_us) = self.told_of_hold_us.get_mut(hold as usize) else { return };
        if *told_us == 0 || now_us.saturating_sub(*told_us) >= TELL_EVERY_US {
            *told_us = now_us.max(1);
            self.actions.push(Action::Held(id, hold));
        }
    }

    /// Requests have been answered: for each place that is free, the one who has been held back longest is ready again.
    pub(super) fn release_held_if_room(&mut self) {
        let taken = self.in_flight + self.in_flight_elsewhere + self.woken;
        self.release(self.options.throttle.options().requests_max.saturating_sub(taken));
    }

    /// Looks again at the requests that the throttler holds back. The driver calls it every `request_throttle_stall_time` while
    /// [`ShardState::has_held`]: what other shards answer is not heard of here, and a request becomes stale with time.
    pub fn release_held(&mut self) {
        let shard = usize::from(self.options.shard.0);
        self.in_flight_elsewhere = self.options.throttle.in_flight_elsewhere(shard);
        if self.options.throttle.options().stale_latency_check {
            self.release(usize::MAX);
        } else {
            self.release_held_if_room();
        }
    }

    /// A connection is looked at, or gone: the place that it may have been woken for is told of by the requests in work from now on.
    pub(super) fn came(&mut self, conn: &mut Conn) {
        self.woken -= usize::from(std::mem::take(&mut conn.is_woken));
    }

    /// The `count` oldest of those who are held back are ready again. Each keeps its ticket until a request of it is let in.
    fn release(&mut self, mut count: usize) {
        while count > 0
            && let Some((_, id)) = self.held.pop_first()
        {
            // Some may be gone.
            let Some(conn) = self.conn_mut(id) else { continue };
            conn.is_woken = true;
            self.woken += 1;
            count -= 1;
            self.make_ready(id);
        }
    }

    /// Does the throttler hold anything back?
    #[must_use]
    pub fn has_held(&self) -> bool {
        !self.held.is_empty()
    }
}
