//! Sessions that only this server knows: they begin, live and end without a txn, and their clients write through them as through any other.
//!
//! Owns when such a session becomes one of the ensemble: before its first ephemeral, where that is wanted; else no ephemeral can be its. It must never let a session
//! be of both kinds, or answer its end before what its client asked earlier. They outlive an election (Java's do not), since the connections alone end with it, but for one that was just becoming the ensemble's; a client that comes
//! back elsewhere finds its session expired, as in Java. `engine/tests/learners/local.rs` would catch a mistake. Mirrors `UpgradeableSessionTracker` and
//! `QuorumZooKeeperServer.checkUpgradeSession` of 3.9.5.

use super::{EXPIRIES_PER_STEP, Now, Part, Replica, Say, Waiter};
use crate::session::{Owner, Sessions, Standing};
use crate::stream::{Attachment, Detach, StreamBatch, StreamItem};
use crate::tree::Tree;
use proto::request::Request;
use proto::{SessionId, Xid};

/// What new sessions are (`localSessionsEnabled`, `localSessionsUpgradingEnabled`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalSessions {
    /// Known to all servers from the first on.
    #[default]
    No,
    /// Known to their server alone; they can have no ephemerals.
    Kept,
    /// Known to their server alone until they create an ephemeral.
    Upgraded,
}

impl Replica {
    /// The sessions that only this server knows.
    #[must_use]
    pub const fn local_sessions(&self) -> &Sessions {
        &self.local
    }

    /// The sessions among which this one would be.
    pub(super) fn sessions_with(&mut self, session: SessionId) -> &mut Sessions {
        if self.local.is_alive(session) { &mut self.local } else { &mut self.sessions }
    }

    /// How a session of an own client stands towards a connection that asks in its name.
    pub(super) fn standing(&self, session: SessionId, from: Attachment) -> Standing {
        match self.local.standing(session, from) {
            Standing::Gone if !self.local.is_closing(session) => self.sessions.standing(session, from),
            known => known,
        }
    }

    /// Has the session to become one of the ensemble before this is done?
    pub(super) fn is_to_upgrade(&self, session: SessionId, request: &Request<'_>) -> bool {
        let may = self.options.local_sessions == LocalSessions::Upgraded && self.local.is_alive(session);
        may && request.creates_ephemeral()
    }

    /// A leader's: the session is the ensemble's from here on.
    pub(super) fn upgrade_here(&mut self, now: Now, session: SessionId) {
        let Some(timeout_ms) = self.local.hand_over(session, &mut self.sessions) else { return };
        self.propose(now, session, Xid(0), &[], Waiter::Nobody, |prep, origin, out| {
            prep.create_session(origin, timeout_ms, out);
        });
    }

    /// A learner's: the leader hears of the session, and then of what it asks.
    pub(super) fn upgrade_at_leader(&mut self, session: SessionId) {
        let Some(timeout_ms) = self.local.hand_over(session, &mut self.sessions) else { return };
        self.following.upgrading().insert(session);
        self.ask_for_session(session, timeout_ms, Waiter::Upgrade);
    }

    /// The leader has begun the session, or had no room for it: then it stays what it was.
    pub(super) fn upgraded(&mut self, session: SessionId, is_done: bool) {
        self.following.upgrading().remove(&session);
        if !is_done {
            self.sessions.hand_over(session, &mut self.local);
        }
    }

    /// A learner's: a session of this server ends, behind all that its client waits for.
    pub(super) fn close_local(&mut self, session: SessionId, to: Attachment, xid: Xid) {
        if self.following.wait_to_close(session, to, xid) {
            self.local.set_closing(session);
        } else {
            self.local.remove(session);
            self.say_behind(Say::Reply { to, xid, err: None, path: None, close: true });
        }
    }

    /// The session's client has an answer: if the end of the session stands next, it ends.
    pub(super) fn close_local_now(&mut self, tree: &Tree, out: &mut StreamBatch, session: SessionId) {
        if matches!(self.part, Part::Following(_))
            && let Some((to, xid)) = self.following.take_close(session)
        {
            self.local.remove(session);
            self.say_now(tree, out, Say::Reply { to, xid, err: None, path: None, close: true });
        }
    }

    /// There is no leader: nothing of what clients wait for has an answer. Those that were to end do. The others wait for their clients to come back: what is asked on their connections of
    /// before would have overtaken what was asked on them and lost.
    pub(super) fn let_go_local(&mut self) {
        for session in self.following.closing() {
            self.local.remove(session);
        }
        self.local.let_go_all();
    }

    /// Those that were not heard of for their timeout end.
    pub(super) fn expire_local(&mut self, now: Now) {
        for session in self.local.due(now.mono_ms, EXPIRIES_PER_STEP) {
            self.expired_count += 1;
            if let Some(from) = self.local.remove(session).and_then(Owner::here) {
                self.say(StreamItem::Detached { from, session, reason: Detach::Expired });
            }
        }
    }
}
