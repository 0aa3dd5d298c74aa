//! What clients ask of the core: writes, syncs, the ends of sessions. Each becomes a proposal, or an answer that waits for those before it.
//!
//! Owns whose connection may still ask in a session, and what is refused before it is proposed. It must never answer past what is pending:
//! replies leave in the order of the requests. `engine/tests/sessions.rs` and `engine/tests/shortage.rs` would catch a mistake.

use super::{Now, Replica, Say, Waiter};
use crate::apply::Create2s;
use crate::auth::AuthId;
use crate::log_room::{self, Spend};
use crate::prep::Origin;
use crate::session::Standing;
use crate::stream::{Attachment, Detach, StreamItem};
use crate::tree::Tree;
use proto::jute::Reader;
use proto::request::Request;
use proto::{ErrorCode, OpCode, SessionId, Xid};

impl Replica {
    pub(super) fn request(&mut self, now: Now, tree: &Tree, request: &ClientRequest<'_>) {
        let ClientRequest { from, session, xid, op, body, ids } = *request;
        match self.standing(session, from) {
            Standing::Owned => {}
            Standing::Moved | Standing::Free => {
                return self.say(StreamItem::Detached { from, session, reason: Detach::SessionMoved });
            }
            Standing::Gone => {
                let err = Some(ErrorCode::SessionExpired);
                return self.say_behind(Say::Reply { to: from, xid, err, path: None, close: false });
            }
        }
        let decoded = Request::read(op, &mut Reader::new(body));
        let create2s = decoded.as_ref().ok().and_then(Option::as_ref).map(Create2s::of).unwrap_or_default();
        let waiter = Waiter::Client { to: from, xid, create2s };
        match decoded {
            Ok(Some(Request::Sync(path))) => {
                // Handed back only later: it counts like a txn's bytes.
                self.says_bytes += path.len();
                self.say_behind(Say::Reply { to: from, xid, err: None, path: Some(path.into()), close: false });
            }
            Ok(Some(Request::CloseSession)) if self.local.is_alive(session) => {
                self.local.remove(session);
                self.say_behind(Say::Reply { to: from, xid, err: None, path: None, close: true });
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
            Ok(Some(decoded)) => {
                if self.is_to_upgrade(session, &decoded) {
                    if !self.log_allows(Spend::NewSession, body.len()) {
                        return self.refuse_for_log_space(from, xid);
                    }
                    self.upgrade_here(now, session);
                    if self.peer.next_zxid().is_none() {
                        // The office ends with that zxid, and the connection with it.
                        return;
                    }
                }
                let is_local = self.local.is_alive(session);
                self.propose(now, session, xid, ids, waiter, |prep, origin, out| {
                    // The outcome travels in the txn; the client learns it when it is applied.
                    let _outcome = prep.write(tree, &Origin { is_local, ..*origin }, &decoded, out);
                });
            }
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
        self.say_behind(Say::Reply { to, xid, err: Some(ErrorCode::SystemError), path: None, close: false });
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
