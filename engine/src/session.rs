//! Sessions: who owns one, when it expires, its password and its id (`SessionTrackerImpl`, `ExpiryQueue`).
//!
//! Owns who has each session (law 4) and the expiry buckets. It reads no clock: the core hands it the time in
//! milliseconds of a monotonic clock. Expiry times are rounded up to the next tick, so that a bucket expires at once.
//!
//! Nobody expires for the server's own stall. A bucket is due only once every shard has told whom it heard up to that time
//! ([`Sessions::heard_until`]): what lay unread in a socket counts, however short or long the stall. And if time jumps (the whole process was
//! stopped), every session gets the lost time back, since clients may have given up meanwhile and must find the time to return.
//! `tests/tests/session_ends/stall.rs` stops the built server for many lengths of time.

use crate::stream::{Attachment, ShardId};
use ahash::AHashMap;
use proto::connect::{ConnectResponse, PASSWORD_BYTES, Password};
use proto::{ServerId, SessionId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use zab::LinkId;

/// ZooKeeper's constant in the seed of passwords: with it any server of the ensemble can tell a session's password.
const PASSWORD_SEED: i64 = 0xB341_5C00;

/// Who has a session: only its requests are taken (law 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A connection of this server.
    Here(Attachment),
    /// A learner, for a connection of its own.
    Learner(LinkId),
}

impl Owner {
    /// The connection, if it is one of this server.
    #[must_use]
    pub const fn here(self) -> Option<Attachment> {
        match self {
            Owner::Here(attachment) => Some(attachment),
            Owner::Learner(_) => None,
        }
    }
}

impl From<Attachment> for Owner {
    fn from(attachment: Attachment) -> Owner {
        Owner::Here(attachment)
    }
}

impl From<LinkId> for Owner {
    fn from(link: LinkId) -> Owner {
        Owner::Learner(link)
    }
}

#[derive(Debug)]
struct Session {
    timeout_ms: i64,
    /// The last word of it.
    heard_ms: i64,
    /// The timeout after that, rounded up.
    expires_at_ms: i64,
    owner: Option<Owner>,
    closing: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Sessions {
    tick_ms: i64,
    sessions: AHashMap<SessionId, Session>,
    buckets: BTreeMap<i64, BTreeSet<SessionId>>,
    next_id: i64,
    last_now_ms: Option<i64>,
    /// Up to when each shard has told whom it heard. One that has not told anything yet is not waited for.
    heard_until_ms: AHashMap<ShardId, i64>,
    /// Up to where in the order of expiry [`Sessions::soon_due`] has told.
    told_soon: Option<(i64, SessionId)>,
}

/// A session in the order of expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// The session.
    pub session: SessionId,
    /// When it expires, in ms of the monotonic clock.
    pub at_ms: i64,
    /// How many expire at that time.
    pub together: usize,
}

/// How a session stands when something is asked in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It lives, and whoever asks has it.
    Owned,
    /// It lives, and nobody has it.
    Free,
    /// It lives, but another has it now.
    Moved,
    /// It is closed or closing, or was never there.
    Gone,
}

impl Sessions {
    /// No sessions yet. `elapsed_ms` is a clock reading that makes new ids differ from those of the server's earlier lives.
    ///
    /// # Panics
    /// If `tick_ms` is not positive.
    #[must_use]
    pub fn new(tick_ms: i64, server: ServerId, elapsed_ms: i64) -> Sessions {
        assert!(tick_ms > 0, "a tick takes time");
        let next_id = first_session_id(server, elapsed_ms);
        Sessions {
            tick_ms,
            sessions: AHashMap::new(),
            buckets: BTreeMap::new(),
            next_id,
            last_now_ms: None,
            heard_until_ms: AHashMap::new(),
            told_soon: None,
        }
    }

    /// A new session's id.
    pub fn allocate_id(&mut self) -> SessionId {
        loop {
            let id = self.next_id;
            self.next_id = id.wrapping_add(1);
            // 0 means no session; the other is a container's mark.
            if id != 0 && id != i64::MIN && !self.sessions.contains_key(&SessionId(id)) {
                return SessionId(id);
            }
        }
    }

    /// Watches over a session from now on, with its full timeout.
    pub fn track(&mut self, id: SessionId, timeout_ms: i32, now_ms: i64) {
        let timeout_ms = i64::from(timeout_ms);
        let expires_at_ms = self.round_up(now_ms + timeout_ms);
        let fresh = Session { timeout_ms, heard_ms: now_ms, expires_at_ms, owner: None, closing: false };
        if let Some(old) = self.sessions.insert(id, fresh) {
            self.leave_bucket(id, old.expires_at_ms);
        }
        self.buckets.entry(expires_at_ms).or_default().insert(id);
    }

    /// The session was heard of at `heard_ms`, which may be earlier than what has been told. Its expiry moves, to an earlier time too if its
    /// timeout is a shorter one now (`ExpiryQueue.update`).
    pub fn touch(&mut self, id: SessionId, heard_ms: i64) {
        let tick_ms = self.tick_ms;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.heard_ms = heard_ms.max(session.heard_ms);
        let expires_at_ms = round_up(session.heard_ms + session.timeout_ms, tick_ms);
        if session.closing || expires_at_ms == session.expires_at_ms {
            return;
        }
        let before = std::mem::replace(&mut session.expires_at_ms, expires_at_ms);
        self.leave_bucket(id, before);
        self.buckets.entry(expires_at_ms).or_default().insert(id);
    }

    /// Whatever a client of this shard had sent by `until_ms` has been told by [`Sessions::touch`].
    pub fn heard_until(&mut self, shard: ShardId, until_ms: i64) {
        let told = self.heard_until_ms.entry(shard).or_insert(until_ms);
        *told = until_ms.max(*told);
    }

    /// The time up to which the shards are to tell whom they heard, before those whose time has come by `now_ms` can expire.
    #[must_use]
    pub fn waits_to_hear(&self, now_ms: i64) -> Option<i64> {
        let next_ms = self.next_expiry_ms()?;
        (next_ms <= now_ms && next_ms > self.all_heard_ms()).then_some(next_ms)
    }

    /// A connection that renews the session may ask for another timeout, which counts from its next word on.
    pub fn set_timeout(&mut self, id: SessionId, timeout_ms: i32) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.timeout_ms = i64::from(timeout_ms);
        }
    }

    /// Gives a session to a connection or a learner. Returns who had it.
    pub fn attach(&mut self, id: SessionId, to: impl Into<Owner>) -> Option<Owner> {
        let to = to.into();
        self.sessions.get_mut(&id)?.owner.replace(to).filter(|before| *before != to)
    }

    /// The connection is gone; the session lives on until it expires.
    pub fn detach(&mut self, id: SessionId, from: impl Into<Owner>) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.owner == Some(from.into())
        {
            session.owner = None;
        }
    }

    /// Who has the session.
    #[must_use]
    pub fn owner(&self, id: SessionId) -> Option<Owner> {
        self.sessions.get(&id)?.owner
    }

    /// How a session stands towards somebody who asks in its name.
    #[must_use]
    pub fn standing(&self, id: SessionId, from: impl Into<Owner>) -> Standing {
        match self.sessions.get(&id) {
            None => Standing::Gone,
            Some(session) if session.closing => Standing::Gone,
            Some(Session { owner: None, .. }) => Standing::Free,
            Some(session) if session.owner == Some(from.into()) => Standing::Owned,
            Some(_) => Standing::Moved,
        }
    }

    /// Does it live? Closing ones do not.
    #[must_use]
    pub fn is_alive(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| !session.closing)
    }

    /// Is it there, and its end ordered?
    #[must_use]
    pub fn is_closing(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.closing)
    }

    /// Its timeout in ms.
    #[must_use]
    pub fn timeout_ms(&self, id: SessionId) -> Option<i32> {
        i32::try_from(self.sessions.get(&id)?.timeout_ms).ok()
    }

    /// Its end has been proposed: it is not touched, attached or expired any more. False if it was so already or never lived.
    pub fn set_closing(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if std::mem::replace(&mut session.closing, true) {
            return false;
        }
        let bucket = session.expires_at_ms;
        self.leave_bucket(id, bucket);
        true
    }

    /// Its end has been applied. Returns who had it.
    pub fn remove(&mut self, id: SessionId) -> Option<Owner> {
        let session = self.sessions.remove(&id)?;
        self.leave_bucket(id, session.expires_at_ms);
        session.owner
    }

    /// Gives a session to those that are watched over elsewhere, as it is: with who has it and when it expires. Returns its timeout in ms.
    pub fn hand_over(&mut self, id: SessionId, to: &mut Sessions) -> Option<i32> {
        let session = self.sessions.remove(&id)?;
        if !session.closing {
            self.leave_bucket(id, session.expires_at_ms);
            to.buckets.entry(session.expires_at_ms).or_default().insert(id);
        }
        let timeout_ms = i32::try_from(session.timeout_ms).ok();
        to.sessions.insert(id, session);
        timeout_ms
    }

    /// Nobody has any of them from here on.
    pub fn let_go_all(&mut self) {
        for session in self.sessions.values_mut() {
            session.owner = None;
        }
    }

    /// All of them have their full timeout from here on.
    pub fn begin_anew(&mut self, now_ms: i64) {
        self.look(now_ms);
        let all: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in all {
            self.touch(session, now_ms);
        }
    }

    /// Forgets all of them: another server watches over them now. The ids of new ones go on.
    pub fn clear(&mut self) {
        self.sessions.clear();
        self.buckets.clear();
        self.last_now_ms = None;
        self.told_soon = None;
    }

    /// The server does not stand still, but nobody is to expire now. Whoever is due stays so.
    pub fn look(&mut self, now_ms: i64) {
        self.give_back_lost_time(now_ms);
    }

    /// Those whose time has come by `now_ms` and of whom no shard can have heard since, at most `count_max`. They stay until
    /// [`Sessions::set_closing`].
    pub fn due(&mut self, now_ms: i64, count_max: usize) -> Vec<SessionId> {
        self.give_back_lost_time(now_ms);
        let due = self.buckets.range(..=now_ms.min(self.all_heard_ms())).flat_map(|(_, ids)| ids.iter().copied());
        due.take(count_max).collect()
    }

    /// Those that will be due within a tick and a half, `count_max` at the most, each once: whoever may be heard of meanwhile is told of again before
    /// the time that it then has. To be asked once a tick.
    pub fn soon_due(&mut self, now_ms: i64, count_max: usize) -> Vec<SessionId> {
        let until_ms = now_ms + self.tick_ms + self.tick_ms / 2;
        let next = self.expiring_after(self.told_soon, count_max);
        let soon: Vec<Expiring> = next.into_iter().take_while(|expiring| expiring.at_ms <= until_ms).collect();
        if let Some(last) = soon.last() {
            self.told_soon = Some((last.at_ms, last.session));
        }
        soon.into_iter().map(|expiring| expiring.session).collect()
    }

    /// When the next bucket expires.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.buckets.keys().next().copied()
    }

    /// Count of expiry times, and of the sessions that stand at one: what `dump` begins with.
    #[must_use]
    pub fn expiry_summary(&self) -> (usize, usize) {
        (self.buckets.len(), self.buckets.values().map(BTreeSet::len).sum())
    }

    /// The next `count_max` living sessions in the order of their expiry, behind `after`, each with the time when it expires and the count of those
    /// that expire together with it. For `dump`, which asks again until nothing comes.
    #[must_use]
    pub fn expiring_after(&self, after: Option<(i64, SessionId)>, count_max: usize) -> Vec<Expiring> {
        let first_bucket = after.map_or(i64::MIN, |(at_ms, _)| at_ms);
        let buckets = self.buckets.range(first_bucket..);
        let sessions = buckets.flat_map(|(&at_ms, ids)| {
            let together = ids.len();
            let behind =
                after.filter(|(bucket, _)| *bucket == at_ms).map_or(Bound::Unbounded, |(_, id)| Bound::Excluded(id));
            ids.range((behind, Bound::Unbounded)).map(move |&session| Expiring { session, at_ms, together })
        });
        sessions.take(count_max).collect()
    }

    /// Count of sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Time that passed without a look at the sessions is not held against them: the core asks at least once a tick, so a longer gap
    /// means that it was stopped, and with it nobody could be heard.
    fn give_back_lost_time(&mut self, now_ms: i64) {
        let last = self.last_now_ms.replace(now_ms).unwrap_or(now_ms);
        let lost_ms = now_ms - last - 2 * self.tick_ms;
        if lost_ms <= 0 {
            return;
        }
        let shift_ms = round_up(lost_ms + 2 * self.tick_ms, self.tick_ms);
        let buckets = std::mem::take(&mut self.buckets);
        self.buckets = buckets.into_iter().map(|(at_ms, ids)| (at_ms + shift_ms, ids)).collect();
        for session in self.sessions.values_mut() {
            session.heard_ms += shift_ms;
            session.expires_at_ms += shift_ms;
        }
    }

    /// Up to when all shards have told whom they heard.
    fn all_heard_ms(&self) -> i64 {
        self.heard_until_ms.values().copied().min().unwrap_or(i64::MAX)
    }

    const fn round_up(&self, at_ms: i64) -> i64 {
        round_up(at_ms, self.tick_ms)
    }

    fn leave_bucket(&mut self, id: SessionId, expires_at_ms: i64) {
        if let Some(bucket) = self.buckets.get_mut(&expires_at_ms) {
            bucket.remove(&id);
            if bucket.is_empty() {
                self.buckets.remove(&expires_at_ms);
            }
        }
    }
}

/// ZooKeeper's rounding: always up, a whole tick if it is one already.
const fn round_up(at_ms: i64, tick_ms: i64) -> i64 {
    (at_ms / tick_ms + 1) * tick_ms
}

/// The first id of a server's life: its own id in the top byte, then a reading of the clock.
const fn first_session_id(server: ServerId, elapsed_ms: i64) -> i64 {
    let clock = ((elapsed_ms << 24).cast_unsigned() >> 8).cast_signed();
    let id = clock | (server.0 << 56);
    if id == i64::MIN { id + 1 } else { id }
}

/// The server whose clients got the session's id: its top byte.
#[must_use]
pub const fn server_of(session: SessionId) -> i64 {
    session.0 >> 56
}

/// The answer to a handshake that a session has come of. Whoever asked about read-only servers hears that this is none.
#[must_use]
pub fn granted(session: SessionId, timeout_ms: i32, read_only: Option<bool>) -> ConnectResponse {
    ConnectResponse {
        protocol_version: 0,
        timeout_ms,
        session_id: session,
        password: password(session),
        read_only: read_only.map(|_| false),
    }
}

/// A session's password: the first 16 bytes of Java's `java.util.Random` seeded from the session's id, so that every server of a mixed
/// ensemble tells the same.
#[must_use]
pub fn password(session: SessionId) -> Password {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut seed = ((session.0 ^ PASSWORD_SEED).cast_unsigned() ^ MULTIPLIER) & MASK;
    let mut password = [0; PASSWORD_BYTES];
    for word in password.chunks_exact_mut(4) {
        seed = seed.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        let [_, _, high @ .., _, _] = seed.to_be_bytes();
        // `nextBytes` takes each int from its low byte upwards.
        for (byte, value) in word.iter_mut().zip(high.iter().rev()) {
            *byte = *value;
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{ConnId, ShardId};

    fn sessions() -> Sessions {
        Sessions::new(100, ServerId(1), 1_000)
    }

    fn connection(slot: u32) -> Attachment {
        Attachment { shard: ShardId(0), conn: ConnId { slot, generation: 0 } }
    }

    #[test]
    fn the_server_id_is_in_the_top_byte() {
        let id = first_session_id(ServerId(0x7f), 0x12345);
        assert_eq!(id, 0x7f00_0001_2345_0000);
        assert_eq!(first_session_id(ServerId(-128), 0), i64::MIN + 1);
    }

    #[test]
    fn expiry_is_rounded_up_to_the_next_tick() {
        let mut sessions = sessions();
        sessions.track(SessionId(1), 250, 1_000);
        assert_eq!(sessions.next_expiry_ms(), Some(1_300));
        assert!(sessions.due(1_299, 10).is_empty());
        assert_eq!(sessions.due(1_300, 10), [SessionId(1)]);
        sessions.touch(SessionId(1), 1_100);
        assert_eq!(sessions.next_expiry_ms(), Some(1_400));
        assert!(sessions.due(1_301, 10).is_empty());
    }

    #[test]
    fn a_session_that_is_renewed_with_a_shorter_timeout_expires_earlier() {
        let mut sessions = sessions();
        sessions.track(SessionId(1), 3_000, 1_000);
        sessions.touch(SessionId(1), 1_250);
        sessions.set_timeout(SessionId(1), 400);
        sessions.touch(SessionId(1), 1_310);
        assert_eq!(sessions.expiry_summary(), (1, 1));
        assert_eq!(sessions.next_expiry_ms(), Some(1_800));
        // What another shard had heard before, and tells only now, takes nothing back.
        sessions.touch(SessionId(1), 1_200);
        assert_eq!(sessions.next_expiry_ms(), Some(1_800));
        assert!(sessions.due(1_799, 10).is_empty());
        assert_eq!(sessions.due(1_800, 10), [SessionId(1)]);
    }

    #[test]
    fn who_will_expire_soon_is_told_once_and_again_after_a_word() {
        let mut sessions = sessions();
        for id in [1, 2, 3] {
            sessions.track(SessionId(id), 250, 1_000);
        }
        sessions.track(SessionId(4), 950, 1_000);
        assert!(sessions.soon_due(1_100, 10).is_empty());
        assert_eq!(sessions.soon_due(1_150, 2), [SessionId(1), SessionId(2)]);
        assert_eq!(sessions.soon_due(1_150, 2), [SessionId(3)]);
        assert!(sessions.soon_due(1_150, 2).is_empty());
        sessions.touch(SessionId(2), 1_200);
        assert_eq!(sessions.due(1_300, 10), [SessionId(1), SessionId(3)]);
        assert_eq!(sessions.soon_due(1_400, 10), [SessionId(2)]);
    }

    #[test]
    fn nobody_expires_for_a_stall_of_the_server() {
        let mut sessions = sessions();
        sessions.track(SessionId(1), 250, 1_000);
        assert!(sessions.due(1_050, 10).is_empty());
        // Stopped for a minute: the session was there when it began and gets its time back.
        assert!(sessions.due(61_000, 10).is_empty());
        let next = sessions.next_expiry_ms().unwrap();
        assert!(next > 61_000 && next <= 61_600, "{next}");
        // A word from before the stall that is told only now takes nothing of it back.
        sessions.touch(SessionId(1), 1_010);
        assert_eq!(sessions.next_expiry_ms(), Some(next));
        let mut now = 61_000;
        while now < next {
            assert!(sessions.due(now, 10).is_empty());
            now += 100;
        }
        assert_eq!(sessions.due(now, 10), [SessionId(1)]);
    }

    #[test]
    fn nobody_expires_before_every_shard_has_told_whom_it_heard_by_then() {
        let mut sessions = sessions();
        sessions.track(SessionId(1), 250, 1_000);
        sessions.track(SessionId(2), 250, 1_000);
        sessions.heard_until(ShardId(0), 1_290);
        sessions.heard_until(ShardId(1), 1_299);
        // Its time has come, but a word of it may lie in a socket still.
        assert!(sessions.due(1_350, 10).is_empty());
        assert_eq!(sessions.waits_to_hear(1_350), Some(1_300));
        sessions.heard_until(ShardId(0), 1_340);
        assert!(sessions.due(1_350, 10).is_empty());
        sessions.touch(SessionId(2), 1_299);
        sessions.heard_until(ShardId(1), 1_300);
        assert_eq!(sessions.waits_to_hear(1_350), None);
        assert_eq!(sessions.due(1_350, 10), [SessionId(1)]);
        // An older word does not take a newer one back.
        sessions.heard_until(ShardId(1), 1_200);
        assert_eq!(sessions.due(1_350, 10), [SessionId(1)]);
    }

    #[test]
    fn a_closing_session_is_gone_for_everybody() {
        let mut sessions = sessions();
        sessions.track(SessionId(1), 250, 1_000);
        assert_eq!(sessions.attach(SessionId(1), connection(1)), None);
        assert_eq!(sessions.standing(SessionId(1), connection(1)), Standing::Owned);
        assert_eq!(sessions.attach(SessionId(1), connection(2)), Some(connection(1).into()));
        assert_eq!(sessions.standing(SessionId(1), connection(1)), Standing::Moved);
        sessions.detach(SessionId(1), connection(1));
        assert_eq!(sessions.owner(SessionId(1)), Some(connection(2).into()));
        assert_eq!(sessions.standing(SessionId(1), LinkId(2)), Standing::Moved);
        assert!(sessions.set_closing(SessionId(1)));
        assert!(!sessions.set_closing(SessionId(1)));
        assert_eq!(sessions.standing(SessionId(1), connection(2)), Standing::Gone);
        assert!(sessions.due(99_999, 10).is_empty());
        assert_eq!(sessions.remove(SessionId(1)), Some(connection(2).into()));
        assert!(sessions.is_empty());
    }
}
