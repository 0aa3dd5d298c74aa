//! A learner's side of requests: what clients ask is handed to the leader, and answered when it comes back as a txn.
//!
//! Owns who waits for what: a session's requests wait in their order, and the txn that names session and xid answers the oldest, after the syncs before it; SYNC and
//! REVALIDATE name little, and are answered in the order in which they were asked. What the leader never answers is dropped with the link, and with it the
//! connections. A leader that answers what nobody asked is not heeded. `engine/tests/learners.rs` would catch a mistake. Mirrors
//! `FollowerRequestProcessor`, `CommitProcessor` and `Learner` of 3.9.5.

use super::{ClientRequest, Handshake, Now, Part, Replica, Say, Waiter};
use crate::apply::Create2s;
use crate::session::Standing;
use crate::stream::{Attachment, Detach, StreamItem};
use crate::turn::wire::{self, Forwarded};
use ahash::{AHashMap, AHashSet};
use proto::jute::Reader;
use proto::quorum::Touch;
use proto::request::Request;
use proto::txn::{Txn, TxnHeader, TxnRecord};
use proto::{OpCode, SessionId, Xid};
use std::collections::VecDeque;
use zab::LinkId;

/// What waits for the leader.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// By session, oldest first.
    awaited: AHashMap<SessionId, VecDeque<Awaited>>,
    awaited_len: usize,
    /// Bytes of the requests, and of the syncs' paths.
    awaited_bytes: usize,
    /// The syncs that wait for a SYNC, in the order in which they were asked.
    syncs: VecDeque<(SessionId, Xid)>,
    /// Clients that come with a session, by session.
    renewals: AHashMap<SessionId, VecDeque<Handshake>>,
    renewals_len: usize,
    /// Sessions that only this server knew, and that the leader has been asked to begin.
    upgrading: AHashSet<SessionId>,
    /// Sessions that were heard of since the leader last asked.
    touched: AHashMap<SessionId, i32>,
    /// Packets for the leader.
    to_leader: Vec<u8>,
}

#[derive(Debug)]
enum Awaited {
    Txn {
        xid: Xid,
        op: OpCode,
        waiter: Waiter,
        bytes: usize,
    },
    Sync {
        to: Attachment,
        xid: Xid,
        path: Box<str>,
    },
    /// The end of a session of this server alone: it needs no leader, but its turn.
    Close {
        to: Attachment,
        xid: Xid,
    },
}

impl Following {
    pub(super) const fn len(&self) -> usize {
        self.awaited_len + self.renewals_len
    }

    /// Bytes of what waits for the leader, be it handed over or not.
    pub(super) const fn bytes(&self) -> usize {
        self.awaited_bytes + self.to_leader.len()
    }

    fn wait(&mut self, session: SessionId, awaited: Awaited) {
        self.awaited.entry(session).or_default().push_back(awaited);
        self.awaited_len += 1;
    }

    fn take_front(&mut self, session: SessionId, is_it: impl FnOnce(&mut Awaited) -> bool) -> Option<Awaited> {
        let queue = self.awaited.get_mut(&session)?;
        let front = queue.pop_front_if(is_it)?;
        self.awaited_len -= 1;
        if queue.is_empty() {
            self.awaited.remove(&session);
        }
        Some(front)
    }

    /// Who waits for this txn. Its session and xid name the request, and yet it may be another's: of a connection elsewhere that the session has moved to and
    /// that counts anew, or the leader's own end of the session, which has the xid 0. Beginnings and ends at least are not taken for anything else.
    pub(super) fn take_waiter(&mut self, record: &TxnRecord<'_>) -> Waiter {
        let fits = |op: OpCode| match record.txn {
            Txn::Error(_) => true,
            Txn::CreateSession { .. } => op == OpCode::CreateSession,
            Txn::CloseSession(_) => op == OpCode::CloseSession,
            _ => !matches!(op, OpCode::CreateSession | OpCode::CloseSession),
        };
        let TxnHeader { session, xid: of, .. } = record.header;
        let is_it = |front: &mut Awaited| matches!(front, Awaited::Txn { xid, op, .. } if *xid == of && fits(*op));
        let Some(Awaited::Txn { waiter, bytes, .. }) = self.take_front(session, is_it) else { return Waiter::Nobody };
        self.awaited_bytes -= bytes;
        waiter
    }

    /// The end of a session of this server alone, if it is this session's turn.
    pub(super) fn take_close(&mut self, session: SessionId) -> Option<(Attachment, Xid)> {
        match self.take_front(session, |front| matches!(front, Awaited::Close { .. }))? {
            Awaited::Close { to, xid } => Some((to, xid)),
            Awaited::Txn { .. } | Awaited::Sync { .. } => None,
        }
    }

    /// Does the session end here, behind all that its client waits for. False: it waits for nothing.
    pub(super) fn wait_to_close(&mut self, session: SessionId, to: Attachment, xid: Xid) -> bool {
        let waits = self.awaited.contains_key(&session);
        if waits {
            self.wait(session, Awaited::Close { to, xid });
        }
        waits
    }

    /// The sessions that wait for their turn to end here.
    pub(super) fn closing(&self) -> impl Iterator<Item = SessionId> {
        let ends = |queue: &VecDeque<Awaited>| queue.iter().any(|awaited| matches!(awaited, Awaited::Close { .. }));
        self.awaited.iter().filter(move |(_, queue)| ends(queue)).map(|(session, _)| *session)
    }

    pub(super) const fn upgrading(&mut self) -> &mut AHashSet<SessionId> {
        &mut self.upgrading
    }

    /// A sync that stands right before this session's request, whose txn has come. The leader had it before that request, so that whatever was to be shown before
    /// its answer was proposed before the txn; the SYNC may come only later.
    pub(super) fn take_sync_before(&mut self, session: SessionId, xid: Xid) -> Option<(Attachment, Xid, Box<str>)> {
        let queue = self.awaited.get(&session)?;
        let first = queue.iter().find_map(|awaited| match awaited {
            Awaited::Txn { xid: of, .. } => Some(*of),
            Awaited::Sync { .. } | Awaited::Close { .. } => None,
        });
        let &Awaited::Sync { xid: sync, .. } = queue.front()? else { return None };
        if first == Some(xid) { self.take_sync(session, sync) } else { None }
    }

    /// A session's sync, if it is still to be answered.
    pub(super) fn take_sync(&mut self, session: SessionId, sync: Xid) -> Option<(Attachment, Xid, Box<str>)> {
        let front = self.take_front(session, |front| matches!(front, Awaited::Sync { xid, .. } if *xid == sync))?;
        let Awaited::Sync { to, xid, path } = front else { return None };
        self.awaited_bytes -= path.len();
        Some((to, xid, path))
    }
}

impl Replica {
    /// What is to be sent to the leader; the caller empties it, once the link has room. `None` where this server does not follow.
    pub fn to_leader(&mut self) -> Option<(LinkId, &mut Vec<u8>)> {
        let Part::Following(link) = self.part else { return None };
        Some((link, &mut self.following.to_leader))
    }

    /// The link on which this server follows.
    #[must_use]
    pub const fn follows(&self) -> Option<LinkId> {
        match self.part {
            Part::Following(link) => Some(link),
            _ => None,
        }
    }

    /// The sessions that were touched since the last call, for the answer to a PING.
    pub fn take_touched(&mut self, out: &mut Vec<Touch>) {
        out.extend(self.following.touched.drain().map(|(session, timeout_ms)| Touch { session, timeout_ms }));
        // The order of a table is nobody's, and a simulated run is to be the same twice.
        out.sort_unstable_by_key(|touch| touch.session.0);
    }

    /// The leader's word about a session that a client came with.
    pub fn revalidated(&mut self, now: Now, session: SessionId, is_valid: bool) {
        let Some(queue) = self.following.renewals.get_mut(&session) else { return };
        let Some(shake) = queue.pop_front() else { return };
        if queue.is_empty() {
            self.following.renewals.remove(&session);
        }
        self.following.renewals_len -= 1;
        if !is_valid {
            return self.say_connected(shake.to, self.committed, shake.expired());
        }
        if self.sessions.is_alive(session) {
            self.sessions.set_timeout(session, shake.timeout_ms);
        } else {
            self.sessions.track(session, shake.timeout_ms, now.mono_ms);
        }
        self.following.touched.insert(session, shake.timeout_ms);
        self.take_over_connection(session, shake.to);
        self.say_connected(shake.to, self.committed, shake.granted(session));
    }

    /// Asks the leader whether a session lives that a client comes back with.
    pub(super) fn ask_for_renewal(&mut self, session: SessionId, shake: Handshake) {
        self.following.renewals.entry(session).or_default().push_back(shake);
        self.following.renewals_len += 1;
        wire::revalidate_ask(Touch { session, timeout_ms: shake.timeout_ms }, &mut self.following.to_leader);
    }

    /// Asks the leader to begin a session.
    pub(super) fn ask_for_session(&mut self, session: SessionId, timeout_ms: i32, waiter: Waiter) {
        self.following.wait(session, Awaited::Txn { xid: Xid(0), op: OpCode::CreateSession, waiter, bytes: 0 });
        let body = &timeout_ms.to_be_bytes();
        let request = Forwarded { session, xid: Xid(0), op: OpCode::CreateSession, body, ids: None };
        wire::request(&request, &mut self.following.to_leader);
    }

    /// The leader has answered the oldest sync: whatever it has told to be committed by now is shown before.
    pub fn synced(&mut self) {
        if let Some((session, xid)) = self.following.syncs.pop_front() {
            self.say_behind(Say::Synced(session, xid));
        }
    }

    pub(super) fn note_touched(&mut self, session: SessionId) {
        if matches!(self.part, Part::Following(_))
            && let Some(timeout_ms) = self.sessions.timeout_ms(session)
        {
            self.following.touched.insert(session, timeout_ms);
        }
    }

    /// A write, a sync, or the end of a session.
    pub(super) fn hand_to_leader(&mut self, request: &ClientRequest<'_>) {
        let ClientRequest { from, session, xid, op, body, ids } = *request;
        match self.standing(session, from) {
            Standing::Owned => {}
            Standing::Moved | Standing::Free => {
                return self.say(StreamItem::Detached { from, session, reason: Detach::SessionMoved });
            }
            // It is answered yet, and its connection closed with that.
            Standing::Gone if self.local.is_closing(session) => return,
            // Its connection has been told so already. An answer would overtake those that the leader still owes it.
            Standing::Gone => {
                return self.say(StreamItem::Detached { from, session, reason: Detach::Expired });
            }
        }
        let decoded = Request::read(op, &mut Reader::new(body)).ok().flatten();
        let create2s = decoded.as_ref().map(Create2s::of).unwrap_or_default();
        let mut waiter = Waiter::Client { to: from, xid, create2s };
        if let Some(decoded) = decoded.as_ref().filter(|_| self.local.is_alive(session)) {
            if matches!(decoded, Request::CloseSession) {
                return self.close_local(session, from, xid);
            } else if self.is_to_upgrade(session, decoded) {
                self.upgrade_at_leader(session);
            } else if decoded.creates_ephemeral() {
                waiter = Waiter::Refusal { to: from, xid };
            }
        }
        if let Some(Request::Sync(path)) = decoded {
            self.following.awaited_bytes += path.len();
            self.following.wait(session, Awaited::Sync { to: from, xid, path: path.into() });
            self.following.syncs.push_back((session, xid));
        } else {
            self.following.awaited_bytes += body.len();
            self.following.wait(session, Awaited::Txn { xid, op, waiter, bytes: body.len() });
        }
        let request = Forwarded { session, xid, op, body, ids: Some(ids) };
        wire::request(&request, &mut self.following.to_leader);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::stream::{ConnId, ShardId};
    use proto::Zxid;

    /// The txn of a request that failed.
    fn failed(session: SessionId, xid: i32) -> TxnRecord<'static> {
        let header = TxnHeader { session, xid: Xid(xid), zxid: Zxid(1), time_ms: 0, op: OpCode::Error };
        TxnRecord { header, txn: Txn::Error(-110), digest: None }
    }

    /// Found by the simulation: the later write had no answer, and no write of its session after it.
    #[test]
    fn a_txn_answers_the_syncs_of_its_session_that_stand_before_it() {
        let session = SessionId(7);
        let to = Attachment { shard: ShardId(0), conn: ConnId { slot: 0, generation: 1 } };
        let client = |xid| Waiter::Client { to, xid: Xid(xid), create2s: Create2s::default() };
        let mut following = Following::default();
        for xid in [1, 2, 4] {
            let waiter = client(xid);
            let op = OpCode::SetData;
            following.wait(session, Awaited::Txn { xid: Xid(xid), op, waiter, bytes: 0 });
            if xid == 2 {
                following.awaited_bytes += 2;
                following.wait(session, Awaited::Sync { to, xid: Xid(3), path: "/a".into() });
            }
        }
        assert_eq!(following.take_sync_before(session, Xid(1)), None);
        assert_eq!(following.take_waiter(&failed(session, 1)), client(1));
        assert_eq!(following.take_sync_before(session, Xid(4)), None, "the sync is behind another request");
        assert_eq!(following.take_waiter(&failed(session, 2)), client(2));
        let (_, sync, path) = following.take_sync_before(session, Xid(4)).unwrap();
        assert_eq!((sync, &*path), (Xid(3), "/a"));
        assert_eq!(following.take_waiter(&failed(session, 4)), client(4));
        assert_eq!(following.take_sync(session, Xid(3)), None, "its SYNC comes when it has been answered");
        assert_eq!((following.len(), following.bytes()), (0, 0));
    }
}
