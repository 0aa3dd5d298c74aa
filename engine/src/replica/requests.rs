//! What clients ask of the core: sessions, writes, syncs. Each becomes a proposal, or an answer that waits for those before it.
//!
//! Owns whose connection may still ask in a session, and what is refused before it is proposed. It must never answer past what is pending:
//! replies leave in the order of the requests. `engine/tests/sessions.rs` and `engine/tests/shortage.rs` would catch a mistake.

use super::{Forward, Now, Replica, Say, Waiter};
use crate::auth::AuthId;
use crate::log_room::{self, Spend};
use crate::session::{Standing, granted, password};
use crate::stream::{Attachment, Detach, Refusal, StreamItem};
use crate::tree::Tree;
use proto::connect::ConnectResponse;
use proto::jute::Reader;
use proto::request::Request;
use proto::{ErrorCode, OpCode, SessionId, Xid};

impl Replica {
    pub(super) fn connect(&mut self, now: Now, tree: &Tree, connect: &Forward) {
        let Forward::Connect { from, last_zxid_seen, timeout_ms, session, password: given, read_only } = connect else {
            return;
        };
        let to = *from;
        // Signed, as in Java: clients that have seen nothing may say -1.
        if last_zxid_seen.to_wire() > tree.last_zxid().to_wire() {
            return self.say(StreamItem::Refused { to, reason: Refusal::ZxidAhead });
        }
        let timeout_ms = self.granted_timeout(*timeout_ms);
        if session.0 == 0 {
            if !self.log_allows(Spend::NewSession, 0) {
                return self.say(StreamItem::Refused { to, reason: Refusal::Unavailable });
            }
            let session = self.begin_session(now, to, timeout_ms);
            let waiter = Waiter::Connect { to, timeout_ms, read_only: *read_only };
            self.propose(now, session, Xid(0), &[], waiter, |prep, origin, out| {
                prep.create_session(origin, timeout_ms, out);
            });
            return;
        }
        let session = *session;
        let right = *given == Some(password(session));
        let response = if right && self.sessions.is_alive(session) {
            self.sessions.set_timeout(session, timeout_ms);
            self.sessions.touch(session, now.mono_ms);
            self.take_over_connection(session, to);
            granted(session, timeout_ms, *read_only)
        } else {
            if !right {
                self.throw_out_connection(session);
            }
            ConnectResponse::expired(read_only.map(|_| false))
        };
        self.say_connected(to, tree.last_zxid(), response);
    }

    pub(super) fn request(&mut self, now: Now, tree: &Tree, request: &ClientRequest<'_>) {
        let ClientRequest { from, session, xid, op, body, ids } = *request;
        match self.sessions.standing(session, from) {
            Standing::Owned => {}
            Standing::Moved | Standing::Free => {
                return self.say(StreamItem::Detached { from, session, reason: Detach::SessionMoved });
            }
            Standing::Gone => {
                let err = Some(ErrorCode::SessionExpired);
                return self.say_behind(Say::Reply { to: from, xid, err, path: None });
            }
        }
        let waiter = Waiter::Client { to: from, xid };
        let decoded = Request::read(op, &mut Reader::new(body));
        match decoded {
            Ok(Some(Request::Sync(path))) => {
                // Handed back only later: it counts like a txn's bytes.
                self.says_bytes += path.len();
                self.say_behind(Say::Reply { to: from, xid, err: None, path: Some(path.into()) });
            }
            Ok(Some(Request::CloseSession)) => {
                let listed = tree.ephemerals_of(session).map(|path| path.len() + 4).sum();
                if self.log_allows(Spend::EndOfSession, listed) {
                    self.close_session(now, tree, session, xid, waiter);
                } else {
                    self.refuse_for_log_space(from, xid);
                }
            }
            _ if !self.log_allows(Spend::Write, body.len()) => self.refuse_for_log_space(from, xid),
            Ok(Some(decoded)) => self.propose(now, session, xid, ids, waiter, |prep, origin, out| {
                // The outcome travels in the txn; the client learns it when it is applied.
                let _outcome = prep.write(tree, origin, &decoded, out);
            }),
            Ok(None) | Err(_) => self.propose(now, session, xid, ids, waiter, |prep, origin, out| {
                prep.refuse(origin, ErrorCode::MarshallingError, out);
            }),
        }
    }

    pub(super) fn close_session(&mut self, now: Now, tree: &Tree, session: SessionId, xid: Xid, waiter: Waiter) {
        if self.sessions.set_closing(session) {
            self.propose(now, session, xid, &[], waiter, |prep, origin, out| prep.close_session(tree, origin, out));
        }
    }

    /// Whether a txn of about so many bytes may go to the log.
    pub(super) fn log_allows(&mut self, spend: Spend, bytes: usize) -> bool {
        let estimate = log_room::bytes_max(1, bytes as u64 + TXN_BYTES_BESIDE);
        self.log_budget.allows(spend, self.gathering_bytes(), estimate)
    }

    /// No txn and no zxid: the log could not take it.
    fn refuse_for_log_space(&mut self, to: Attachment, xid: Xid) {
        self.prep.excesses_mut().count_no_log_space();
        self.say_behind(Say::Reply { to, xid, err: Some(ErrorCode::SystemError), path: None });
    }
}

/// A request of a client, as it was forwarded.
#[derive(Clone, Copy)]
pub(super) struct ClientRequest<'a> {
    pub(super) from: Attachment,
    pub(super) session: SessionId,
    pub(super) xid: Xid,
    pub(super) op: OpCode,
    pub(super) body: &'a [u8],
    pub(super) ids: &'a [AuthId],
}

/// What a txn has beside its request: header, digest, an ACL with the caller's identities put in. More is possible, and comes out of the reserve.
const TXN_BYTES_BESIDE: u64 = 4 << 10;
