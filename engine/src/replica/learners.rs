//! A leader's side of its learners' clients: their requests, their sessions, their syncs.
//!
//! Owns the queue in which forwarded requests wait for their turn, beside those of the own clients, and the syncs that wait for commits. Every request becomes
//! a txn, an error txn if need be: a committed txn is the only way back. `engine/tests/learners.rs` would catch a mistake. Mirrors `LearnerHandler` and
//! `Leader.processSync` of 3.9.5.

use super::{LocalSessions, Now, PENDING_BYTES_MAX, Part, Replica, Waiter, Window};
use crate::auth::AuthId;
use crate::log_room::Spend;
use crate::prep::Origin;
use crate::session::{Standing, server_of};
use crate::tree::Tree;
use ahash::{AHashMap, AHashSet};
use proto::jute::Reader;
use proto::quorum::{ForwardedRequest, TouchVec};
use proto::request::Request;
use proto::{ErrorCode, OpCode, SessionId, Xid, Zxid};
use std::collections::VecDeque;
use zab::LinkId;

/// What learners wait for.
#[derive(Debug, Default)]
pub(super) struct Learners {
    /// Requests that are not worked off, oldest first.
    requests: VecDeque<Forwarded>,
    /// Bytes of what waits, by link.
    bytes: AHashMap<LinkId, usize>,
    /// Sessions that learners ask about, oldest first.
    revalidations: VecDeque<Revalidation>,
    /// Syncs, each behind the proposal that was the last then.
    syncs: VecDeque<(Zxid, LinkId)>,
    /// Sessions of the ensemble that have ended, the newest [`ENDED_MAX`], where there are others.
    ended: Ended,
}

/// Sessions that have ended.
#[derive(Debug, Default)]
struct Ended {
    sessions: AHashSet<SessionId>,
    oldest: VecDeque<SessionId>,
}

#[derive(Debug)]
struct Forwarded {
    link: LinkId,
    session: SessionId,
    xid: Xid,
    op: i32,
    body: Box<[u8]>,
    ids: Box<[AuthId]>,
}

#[derive(Clone, Copy, Debug)]
struct Revalidation {
    link: LinkId,
    session: SessionId,
    timeout_ms: i32,
}

impl Forwarded {
    fn bytes(&self) -> usize {
        let ids = self.ids.iter().map(|id| id.scheme.len() + id.id.len()).sum::<usize>();
        size_of::<Forwarded>() + self.body.len() + ids
    }
}

impl Learners {
    pub(super) fn len(&self) -> usize {
        self.syncs.len()
    }

    /// So many bytes more of this link wait. False: too many.
    fn wait(&mut self, link: LinkId, bytes: usize) -> bool {
        let waiting = self.bytes.entry(link).or_default();
        *waiting += bytes;
        *waiting <= FORWARDED_BYTES_MAX
    }

    fn waits_no_more(&mut self, link: LinkId, bytes: usize) {
        if let Some(waiting) = self.bytes.get_mut(&link) {
            *waiting -= bytes;
            if *waiting == 0 {
                self.bytes.remove(&link);
            }
        }
    }
}

impl Replica {
    /// Takes a learner's request. False: too many wait, and its link is to be closed; what it waits for, it asks anew.
    #[must_use]
    pub fn take_forwarded(&mut self, link: LinkId, request: &ForwardedRequest<'_>) -> bool {
        let ids = request.authinfo.into_iter().flat_map(|ids| ids.iter());
        let forwarded = Forwarded {
            link,
            session: request.session,
            xid: request.xid,
            op: request.op,
            body: request.body.into(),
            ids: ids.map(|(scheme, id)| AuthId { scheme: scheme.into(), id: id.into() }).collect(),
        };
        let bytes = forwarded.bytes();
        self.learners.requests.push_back(forwarded);
        self.learners.wait(link, bytes)
    }

    /// Takes a learner's question whether a session lives. False: as [`Replica::take_forwarded`].
    #[must_use]
    pub fn take_revalidation(&mut self, link: LinkId, session: SessionId, timeout_ms: i32) -> bool {
        self.learners.revalidations.push_back(Revalidation { link, session, timeout_ms });
        self.learners.wait(link, size_of::<Revalidation>())
    }

    /// The answer to the oldest question, for its link. Before this server leads it does not know who lives, and a quicker learner may ask by then.
    pub fn next_revalidation(&mut self, now: Now) -> Option<(LinkId, SessionId, bool)> {
        if !self.leads_now() {
            return None;
        }
        let Revalidation { link, session, timeout_ms } = self.learners.revalidations.pop_front()?;
        self.learners.waits_no_more(link, size_of::<Revalidation>());
        Some((link, session, self.revalidate(now, link, session, timeout_ms)))
    }

    /// Works off what learners forwarded, as far as there is room. True if it did something.
    pub fn work_off_forwarded(&mut self, now: Now, tree: &Tree) -> bool {
        let mut progress = false;
        while !self.is_full()
            && !self.log_budget.refuses_writes()
            && self.peer.next_zxid().is_some()
            && self.leads_now()
            && let Some(request) = self.learners.requests.pop_front()
        {
            self.learners.waits_no_more(request.link, request.bytes());
            self.forwarded(now, tree, &request);
            progress = true;
        }
        progress
    }

    fn leads_now(&self) -> bool {
        self.part == Part::Leading
    }

    /// Does a learner's session live? Then it is the learner's from here on, and was heard of.
    fn revalidate(&mut self, now: Now, link: LinkId, session: SessionId, timeout_ms: i32) -> bool {
        self.figures.revalidations += 1;
        if !self.sessions.is_alive(session) {
            return false;
        }
        self.sessions.set_timeout(session, timeout_ms);
        self.sessions.touch(session, now.mono_ms);
        self.take_over_connection(session, link);
        true
    }

    /// Sessions that a learner has heard of.
    pub fn touch_all(&mut self, now: Now, touches: &TouchVec<'_>) {
        for touch in touches.iter() {
            self.sessions.touch(touch.session, now.mono_ms);
        }
    }

    /// A learner whose oldest sync can be answered: it has been told that all before it is committed, or has gone. What is told just now is not asked for: those stand
    /// between its COMMITs ([`Replica::between_syncs`]).
    pub fn next_sync(&mut self) -> Option<LinkId> {
        let peer = &self.peer;
        let is_told = |(behind, link): &(Zxid, LinkId)| peer.told(*link).is_none_or(|told| told >= *behind);
        let at = self.learners.syncs.iter().position(is_told)?;
        self.learners.syncs.remove(at).map(|(_, link)| link)
    }

    /// What a link is told of `(after, to]`, in parts, with `None` where a sync of that learner is answered. A Java learner hands on what it has asked for in the order in
    /// which it asked, its clients' syncs among their writes: a COMMIT of a write behind a sync that is not answered yet finds nobody, and that learner's clients have no more
    /// answers.
    pub fn between_syncs(
        &mut self,
        link: LinkId,
        after: Zxid,
        to: Zxid,
        mut tell: impl FnMut(&Window, Option<(Zxid, Zxid)>),
    ) {
        let mut told = after;
        while let Some(at) = self.learners.syncs.iter().position(|(behind, of)| *of == link && *behind <= to)
            && let Some((behind, _)) = self.learners.syncs.remove(at)
        {
            if told < behind {
                tell(&self.window, Some((told, behind)));
                told = behind;
            }
            tell(&self.window, None);
        }
        if told < to {
            tell(&self.window, Some((told, to)));
        }
    }

    fn forwarded(&mut self, now: Now, tree: &Tree, request: &Forwarded) {
        let Forwarded { link, session, xid, op, ref body, ref ids } = *request;
        let op = OpCode::from_wire(op);
        if op == Some(OpCode::CreateSession) {
            return self.learners_session(now, request);
        }
        if op == Some(OpCode::Sync) {
            let behind = self.appended();
            return self.learners.syncs.push_back((behind, link));
        }
        match self.sessions.standing(session, link) {
            Standing::Owned => {}
            Standing::Free => drop(self.sessions.attach(session, link)),
            Standing::Moved => return self.refuse(now, request, ErrorCode::SessionMoved),
            Standing::Gone if self.may_be_local(session) => {}
            Standing::Gone => return self.refuse(now, request, ErrorCode::SessionExpired),
        }
        let is_local = !self.sessions.is_alive(session);
        if op == Some(OpCode::CloseSession) {
            return if is_local {
                self.refuse(now, request, ErrorCode::SessionExpired);
            } else {
                self.close_session(now, tree, session, xid, Waiter::Nobody);
            };
        }
        let may = op.filter(|op| op.is_write() && !matches!(op, OpCode::DeleteContainer | OpCode::Check));
        match may.map(|op| Request::read(op, &mut Reader::new(body))) {
            Some(Ok(Some(decoded))) => {
                self.propose(now, session, xid, ids, Waiter::Nobody, |prep, origin, out| {
                    // The outcome travels in the txn; the client learns it when it is applied.
                    let _outcome = prep.write(tree, &Origin { is_local, ..*origin }, &decoded, out);
                });
            }
            Some(_) => self.refuse(now, request, ErrorCode::MarshallingError),
            None => self.refuse(now, request, ErrorCode::Unimplemented),
        }
    }

    /// A learner's client may have a session that only the learner knows, and writes in it. Who has had one of the ensemble has none of those: what he still sends
    /// after its end is refused.
    fn may_be_local(&self, session: SessionId) -> bool {
        let is_unknown = !self.sessions.is_closing(session) && !self.learners.ended.sessions.contains(&session);
        self.options.local_sessions != LocalSessions::No && is_unknown && server_of(session) != self.options.server.0
    }

    /// A session of the ensemble has ended.
    pub(super) fn note_end(&mut self, session: SessionId) {
        if !self.leads_now() || self.options.local_sessions == LocalSessions::No {
            return;
        }
        let Ended { sessions, oldest } = &mut self.learners.ended;
        if sessions.insert(session) {
            oldest.push_back(session);
        }
        if oldest.len() > ENDED_MAX
            && let Some(oldest) = oldest.pop_front()
        {
            sessions.remove(&oldest);
        }
    }

    /// A new session of a learner's client. The learner has made its id.
    fn learners_session(&mut self, now: Now, request: &Forwarded) {
        let Ok(timeout_ms) = Reader::new(&request.body).int() else {
            return self.refuse(now, request, ErrorCode::MarshallingError);
        };
        if !self.log_allows(Spend::NewSession, 0) {
            return self.refuse(now, request, ErrorCode::SystemError);
        }
        self.sessions.track(request.session, timeout_ms, now.mono_ms);
        self.sessions.attach(request.session, request.link);
        self.propose(now, request.session, request.xid, &[], Waiter::Nobody, |prep, origin, out| {
            prep.create_session(origin, timeout_ms, out);
        });
    }

    fn refuse(&mut self, now: Now, request: &Forwarded, code: ErrorCode) {
        self.propose(now, request.session, request.xid, &request.ids, Waiter::Nobody, |prep, origin, out| {
            prep.refuse(origin, code, out);
        });
    }
}

/// Sessions that have ended and are remembered: a learner that has heard of the end sends nothing more of them.
const ENDED_MAX: usize = 65_536;

/// Bytes of a learner that wait, at the most: more than one of our own hands over without an answer, which is [`PENDING_BYTES_MAX`] and a batch.
const FORWARDED_BYTES_MAX: usize = 2 * PENDING_BYTES_MAX;
