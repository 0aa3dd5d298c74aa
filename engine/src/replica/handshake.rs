//! Handshakes: a client begins a session, or comes back with one.
//!
//! Owns who gets a session and who is refused. A new one is the ensemble's, or this server's alone where that is asked for ([`super::LocalSessions`]). A session
//! that this server alone knows comes back here; any other the leader knows. `engine/tests/sessions.rs`, `engine/tests/learners.rs` and
//! `engine/tests/learners/local.rs` would catch a mistake.

use super::{Forward, LocalSessions, Now, Part, Replica, Waiter};
use crate::log_room::Spend;
use crate::session::{Owner, granted, password};
use crate::stream::{Attachment, Detach, Refusal, StreamItem};
use crate::tree::Tree;
use proto::connect::ConnectResponse;
use proto::{SessionId, Xid, Zxid};

/// What the answer to a handshake needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    /// The connection.
    pub(super) to: Attachment,
    /// The timeout that is granted.
    pub(super) timeout_ms: i32,
    /// What the client said about read-only servers.
    pub(super) read_only: Option<bool>,
}

impl Handshake {
    pub(super) fn granted(&self, session: SessionId) -> ConnectResponse {
        granted(session, self.timeout_ms, self.read_only)
    }

    pub(super) fn expired(&self) -> ConnectResponse {
        ConnectResponse::expired(self.read_only.map(|_| false))
    }
}

impl Replica {
    pub(super) fn connect(&mut self, now: Now, tree: &Tree, connect: &Forward) {
        let Forward::Connect { from, last_zxid_seen, timeout_ms, session, password: given, read_only } = connect else {
            return;
        };
        let (to, session) = (*from, *session);
        // Signed, as in Java: clients that have seen nothing may say -1.
        if last_zxid_seen.to_wire() > tree.last_zxid().to_wire() {
            return self.say(StreamItem::Refused { to, reason: Refusal::ZxidAhead });
        }
        let (min, max) = (self.options.session_timeout_ms_min, self.options.session_timeout_ms_max);
        let shake = Handshake { to, timeout_ms: (*timeout_ms).clamp(min, max), read_only: *read_only };
        // Where the stream is by the answer: that is the tree's position at a leader, and what is known to be committed at a learner.
        let shown = if self.part == Part::Leading { tree.last_zxid() } else { self.committed };
        if session.0 == 0 {
            return self.begin_session(now, shown, shake);
        }
        if *given != Some(password(session)) {
            self.throw_out_connection(session);
            return self.say_connected(to, shown, shake.expired());
        }
        let is_known_here = self.local.is_alive(session) || self.following.upgrading().contains(&session);
        match self.part {
            Part::Following(_) if !is_known_here => self.ask_for_renewal(session, shake),
            _ if is_known_here || self.sessions.is_alive(session) => {
                let sessions = self.sessions_with(session);
                sessions.set_timeout(session, shake.timeout_ms);
                sessions.touch(session, now.mono_ms);
                self.take_over_connection(session, to);
                self.say_connected(to, shown, shake.granted(session));
            }
            _ => self.say_connected(to, shown, shake.expired()),
        }
    }

    /// A new session.
    fn begin_session(&mut self, now: Now, shown: Zxid, shake: Handshake) {
        let Handshake { to, timeout_ms, .. } = shake;
        let is_local = self.options.local_sessions != LocalSessions::No;
        if !is_local && self.part == Part::Leading && !self.log_allows(Spend::NewSession, 0) {
            return self.say(StreamItem::Refused { to, reason: Refusal::Unavailable });
        }
        let session = self.sessions.allocate_id();
        let sessions = if is_local { &mut self.local } else { &mut self.sessions };
        sessions.track(session, timeout_ms, now.mono_ms);
        sessions.attach(session, to);
        if is_local {
            self.say_connected(to, shown, shake.granted(session));
        } else if self.part == Part::Leading {
            self.propose(now, session, Xid(0), &[], Waiter::Connect(shake), |prep, origin, out| {
                prep.create_session(origin, timeout_ms, out);
            });
        } else {
            self.ask_for_session(session, timeout_ms, Waiter::Connect(shake));
        }
    }

    /// The session is this connection's or this learner's from here on.
    pub(super) fn take_over_connection(&mut self, session: SessionId, to: impl Into<Owner>) {
        if let Some(before) = self.sessions_with(session).attach(session, to).and_then(Owner::here) {
            self.say(StreamItem::Detached { from: before, session, reason: Detach::SessionMoved });
        }
    }

    /// A client came with a wrong password. As in ZooKeeper, the attempt alone throws out the connection that has the session.
    fn throw_out_connection(&mut self, session: SessionId) {
        let sessions = self.sessions_with(session);
        if let Some(before) = sessions.owner(session).and_then(Owner::here) {
            sessions.detach(session, before);
            self.say(StreamItem::Detached { from: before, session, reason: Detach::WrongPassword });
        }
    }

    /// Answers a handshake. `zxid`: where the stream is then.
    pub(super) fn say_connected(&mut self, to: Attachment, zxid: Zxid, response: ConnectResponse) {
        self.say(StreamItem::Connected { to, zxid, response });
    }
}
