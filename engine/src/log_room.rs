//! How much the log still takes, and who may use it once its disk is full.
//!
//! Owns the sum of what is on its way to the log, beside what the log has told of itself: so a request is refused before it is proposed,
//! never after. A full disk is not a failed write (law 8): while it lasts, writes get SystemError and no zxid, nobody expires, and the
//! [`RESERVE_BYTES`] that are left serve those who close their session, and half of them those who begin one. All ends by itself when the log
//! has its next segment. It must never let through what does not fit: that would wait for space, with everything behind it.
//!
//! A member of an ensemble reckons more boldly what waits for a disk that stands still ([`LogBudget::of_member`]).
//! What it cannot see is a disk that fills up while requests are on their way. They wait then, unanswered, until there is room; the core takes
//! few beyond what certainly fits ([`LogBudget::is_tight`]), so that this is rare. `tests/tests/durability/full.rs` fills a disk; `engine/tests/shortage.rs` and the tests
//! below hold the arithmetic, and `server/tests/log_writer.rs` holds [`bytes_max`] against the log itself.

use crate::replica::PENDING_BYTES_MAX;
use proto::Zxid;
use std::collections::VecDeque;

/// Kept for the ends and beginnings of sessions when the disk is full: more than the longest end of a session takes, or some 600 short ones that
/// come one by one.
pub const RESERVE_BYTES: u64 = 8 << 20;

/// What a member takes beyond its log's segment while the next one is being made: as much as may wait for the log in all.
const AHEAD_BYTES: u64 = PENDING_BYTES_MAX as u64;

/// More than the log's header of a record.
const RECORD_BYTES: u64 = 64;
/// More than a group's header and padding, and the seal behind it.
const GROUP_BYTES: u64 = 3 * 4096;
/// A log that is behind gathers at least so many batches into a group, if they are small.
const GATHERED_BATCHES: u64 = 32;
/// A batch is cut into groups of at least this size, but for the last of them.
const GROUP_PAYLOAD_BYTES_MIN: u64 = 512 << 10;

/// The most that the log takes for a batch of txns.
#[must_use]
pub const fn bytes_max(txns: u64, payload_bytes: u64) -> u64 {
    payload_bytes + txns * RECORD_BYTES + (1 + payload_bytes / GROUP_PAYLOAD_BYTES_MIN) * GROUP_BYTES
}

/// What the log tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRoom {
    /// Bytes that certainly fit into what it has, as of the last txn that it has told to be durable, or later.
    pub bytes: u64,
    /// It has no next segment, and there was no space for one when it last tried.
    pub is_full: bool,
    /// It is making the next segment, for which there was space when it began.
    pub is_making: bool,
}

impl LogRoom {
    /// A log that always has room: nobody has told of it yet.
    pub const ENDLESS: LogRoom = LogRoom { bytes: u64::MAX, is_full: false, is_making: false };
}

/// What is to be written when the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    /// The end of a session.
    EndOfSession,
    /// A new session.
    NewSession,
    /// Anything else.
    Write,
}

impl Spend {
    /// What must be left behind it.
    const fn leaves_bytes(self) -> u64 {
        match self {
            Spend::EndOfSession => 0,
            Spend::NewSession => RESERVE_BYTES / 2,
            Spend::Write => RESERVE_BYTES,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct LogBudget {
    room: LogRoom,
    /// Batches that the log has and has not told to be durable: the last zxid, and what the batch may take.
    on_their_way: VecDeque<(Zxid, u64)>,
    /// Their sum.
    bytes: u64,
    refuses_writes: bool,
    /// See [`LogBudget::of_member`].
    is_member: bool,
}

impl Default for LogBudget {
    fn default() -> LogBudget {
        LogBudget {
            room: LogRoom::ENDLESS,
            on_their_way: VecDeque::new(),
            bytes: 0,
            refuses_writes: false,
            is_member: false,
        }
    }
}

impl LogBudget {
    /// That of an ensemble's member: a quorum goes on while its own disk stands still, or is slow to make the next segment, and so should it. While the next one is being made, it goes on by
    /// [`AHEAD_BYTES`] beyond the segment that it has: there was space for it. What waits is gathered into few groups; each batch
    /// reckoned as a group of its own, a segment would seem to be used up in the first second.
    pub(crate) fn of_member() -> LogBudget {
        LogBudget { is_member: true, ..LogBudget::default() }
    }

    /// A batch goes to the log.
    pub(crate) fn handed_over(&mut self, last: Zxid, bytes: u64) {
        self.on_their_way.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// The log is durable up to here.
    pub(crate) fn durable(&mut self, zxid: Zxid) {
        while let Some((_, bytes)) = self.on_their_way.pop_front_if(|(last, _)| *last <= zxid) {
            self.bytes -= bytes;
        }
    }

    /// The log tells of itself; to be heard after [`LogBudget::durable`], so that nothing is missing in both.
    pub(crate) fn told(&mut self, room: LogRoom) {
        self.room = room;
        // Until the log has its next segment, and not just until a group took less than it might have: nobody gains by a flutter.
        self.refuses_writes = room.is_full && (self.refuses_writes || self.left(0) < RESERVE_BYTES);
    }

    /// Whether `estimate` bytes more may be written, with `gathering` bytes that are not handed over yet.
    pub(crate) fn allows(&mut self, spend: Spend, gathering: u64, estimate: u64) -> bool {
        if !self.room.is_full {
            return true;
        }
        let allowed = self.left(gathering) >= spend.leaves_bytes().saturating_add(estimate);
        if spend == Spend::Write {
            self.refuses_writes |= !allowed;
            return !self.refuses_writes;
        }
        allowed
    }

    /// Whether what is on its way may not fit with more, while nobody knows yet that the disk is full: wait until the log has made room or told
    /// that it cannot. Never so when nothing is on its way. A member goes further ([`LogBudget::of_member`]).
    pub(crate) fn is_tight(&self, gathering: u64) -> bool {
        let ahead = if self.is_member && self.room.is_making { AHEAD_BYTES } else { 0 };
        let groups = if self.is_member { self.on_their_way.len() as u64 } else { 0 };
        let on_its_way = self.bytes - (groups - groups.div_ceil(GATHERED_BATCHES)) * GROUP_BYTES + gathering;
        !self.room.is_full
            && on_its_way > 0
            && on_its_way.saturating_add(RESERVE_BYTES) > self.room.bytes.saturating_add(ahead)
    }

    /// Writes are refused for want of space.
    #[must_use]
    pub const fn refuses_writes(&self) -> bool {
        self.refuses_writes
    }

    /// What the log last told.
    #[must_use]
    pub const fn room(&self) -> LogRoom {
        self.room
    }

    const fn left(&self, gathering: u64) -> u64 {
        self.room.bytes.saturating_sub(self.bytes.saturating_add(gathering))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: bool = true;

    fn room(bytes: u64, is_full: bool) -> LogRoom {
        LogRoom { bytes, is_full, is_making: false }
    }

    #[test]
    fn a_disk_that_is_not_full_refuses_nobody_but_lets_no_heap_gather_before_it_is_known() {
        let mut budget = LogBudget::default();
        assert!(!budget.is_tight(1 << 40) && budget.allows(Spend::Write, 0, u64::MAX));
        budget.told(room(RESERVE_BYTES + 100, !FULL));
        assert!(!budget.is_tight(100) && budget.is_tight(101));
        budget.handed_over(Zxid(3), 60);
        assert!(!budget.is_tight(40) && budget.is_tight(41));
        budget.told(room(0, !FULL));
        assert!(budget.is_tight(0));
        budget.durable(Zxid(3));
        assert!(!budget.is_tight(0), "one at a time goes on, or nobody would ever hear of a full disk");
        assert!(budget.allows(Spend::Write, 0, 1 << 30) && !budget.refuses_writes());
    }

    #[test]
    fn a_member_takes_what_its_stalled_disk_will_gather() {
        let batches = || (1..=320).map(Zxid);
        let (mut alone, mut member) = (LogBudget::default(), LogBudget::of_member());
        let each = bytes_max(1, 1_000);
        for budget in [&mut alone, &mut member] {
            budget.told(room(RESERVE_BYTES + 320 * (each - GROUP_BYTES) + 10 * GROUP_BYTES, !FULL));
            batches().for_each(|zxid| budget.handed_over(zxid, each));
        }
        assert!(alone.is_tight(0) && !member.is_tight(0) && member.is_tight(1));
        // The next segment comes, if slowly.
        for budget in [&mut alone, &mut member] {
            budget.told(LogRoom { is_making: true, ..budget.room });
        }
        assert!(alone.is_tight(0) && !member.is_tight(AHEAD_BYTES) && member.is_tight(AHEAD_BYTES + 1));
        // What is refused once the disk is known to be full is reckoned as ever.
        member.told(room(RESERVE_BYTES + 320 * each, FULL));
        assert!(member.allows(Spend::Write, 0, 0) && !member.allows(Spend::Write, 0, 1));
        member.durable(Zxid(320));
        member.told(room(0, !FULL));
        assert!(!member.is_tight(0));
    }

    #[test]
    fn a_full_disk_leaves_a_reserve_for_ends_of_sessions_and_half_of_it_for_beginnings() {
        let mut budget = LogBudget::default();
        budget.told(room(RESERVE_BYTES + 1_000, FULL));
        assert!(!budget.refuses_writes() && budget.allows(Spend::Write, 0, 1_000));
        budget.handed_over(Zxid(7), 900);
        assert!(!budget.allows(Spend::Write, 0, 101));
        assert!(budget.refuses_writes());
        assert!(!budget.allows(Spend::Write, 0, 1), "refused until there is a segment again, however small it is");
        let half = RESERVE_BYTES / 2;
        assert!(budget.allows(Spend::NewSession, 0, half + 100) && !budget.allows(Spend::NewSession, 1, half + 100));
        assert!(budget.allows(Spend::EndOfSession, 0, RESERVE_BYTES + 100));
        assert!(!budget.allows(Spend::EndOfSession, 1, RESERVE_BYTES + 100));
        budget.durable(Zxid(7));
        budget.told(room(RESERVE_BYTES + 900, FULL));
        assert!(budget.refuses_writes(), "a group took less than it might have");
        budget.told(room(RESERVE_BYTES * 4, !FULL));
        assert!(!budget.refuses_writes() && budget.allows(Spend::Write, 0, 1));
    }

    #[test]
    fn what_the_log_has_is_counted_until_it_is_durable_and_never_twice_too_little() {
        let mut budget = LogBudget::default();
        budget.handed_over(Zxid(1), RESERVE_BYTES);
        budget.handed_over(Zxid(2), 10);
        budget.told(room(2 * RESERVE_BYTES + 10, FULL));
        assert!(!budget.refuses_writes());
        budget.told(room(2 * RESERVE_BYTES + 9, FULL));
        assert!(budget.refuses_writes(), "the pause is known before anybody asks");
        budget.durable(Zxid(1));
        assert_eq!((budget.bytes, budget.on_their_way.len()), (10, 1));
    }
}
