//! Requests with their replies, as the checkers look at a history.
//!
//! Owns the pairing alone: a reply belongs to the oldest request of its connection with its xid that has none. Whether replies come in
//! order is [`super::order`]'s.

use super::Violation;
use crate::history::{Answer, At, ClientId, Code, Event, History, Op, SessionId, TxnKind, Xid, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// A request, with its reply if one came.
#[derive(Clone, Copy, Debug)]
pub struct Call<'h> {
    /// Where it was asked.
    pub asked: At,
    /// By whom.
    pub client: ClientId,
    /// In which session.
    pub session: SessionId,
    /// Its number.
    pub xid: Xid,
    /// What.
    pub op: &'h Op,
    /// The reply. None: the outcome is unknown.
    pub reply: Option<Replied<'h>>,
    /// Is it the end of a session that its server alone knew? That is no txn.
    pub ends_locally: bool,
}

/// A reply.
#[derive(Clone, Copy, Debug)]
pub struct Replied<'h> {
    /// Where it stands.
    pub at: At,
    /// The header's zxid.
    pub zxid: Zxid,
    /// The header's error.
    pub err: Code,
    /// The rest.
    pub answer: &'h Answer,
}

impl Call<'_> {
    /// The zxid of its txn, if it is known to have one: a write that was answered and not refused.
    #[must_use]
    pub fn txn(&self) -> Option<Zxid> {
        let reply = self.reply.filter(|reply| !reply.err.is_refusal())?;
        (self.op.is_write() && !self.ends_locally).then_some(reply.zxid)
    }

    /// Is it a write of which nobody knows whether it took place?
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.op.is_write() && self.reply.is_none()
    }
}

/// All calls of a history, in the order in which they were asked.
#[derive(Clone, Debug, Default)]
pub struct Calls<'h> {
    /// They.
    pub all: Vec<Call<'h>>,
}

impl<'h> Calls<'h> {
    /// Pairs requests and replies.
    ///
    /// # Errors
    /// A request without a connection, or a reply to nothing.
    pub fn of(history: &'h History, checker: &'static str) -> Result<Calls<'h>, Violation> {
        let mut all: Vec<Call<'h>> = Vec::new();
        let mut sessions: BTreeMap<ClientId, SessionId> = BTreeMap::new();
        let mut unanswered: BTreeMap<(ClientId, Xid), Vec<usize>> = BTreeMap::new();
        for (at, event) in history.events() {
            match event {
                Event::Connected { client, session, .. } => {
                    sessions.insert(*client, *session);
                    unanswered.retain(|(of, _), _| of != client);
                }
                Event::Lost { client } | Event::Expired { client, .. } => {
                    sessions.remove(client);
                    unanswered.retain(|(of, _), _| of != client);
                }
                Event::Ask { client, xid, op } => {
                    let Some(session) = sessions.get(client) else {
                        let message = format!("client {} asks without a connection", client.0);
                        return Err(Violation::new(checker, message, &[at]));
                    };
                    unanswered.entry((*client, *xid)).or_default().push(all.len());
                    all.push(Call {
                        asked: at,
                        client: *client,
                        session: *session,
                        xid: *xid,
                        op,
                        reply: None,
                        ends_locally: false,
                    });
                }
                Event::Reply { client, xid, zxid, err, answer } => {
                    let waiting = unanswered.get_mut(&(*client, *xid)).filter(|waiting| !waiting.is_empty());
                    let call = waiting.map(|waiting| waiting.remove(0)).and_then(|call| all.get_mut(call));
                    let Some(call) = call else {
                        let message =
                            format!("a reply to request {} of client {}, which has not asked", xid.0, client.0);
                        return Err(Violation::new(checker, message, &[at]));
                    };
                    call.reply = Some(Replied { at, zxid: *zxid, err: *err, answer });
                }
                _ => {}
            }
        }
        note_local_ends(history, &mut all);
        Ok(Calls { all })
    }

    /// Those that were answered.
    pub fn answered(&self) -> impl Iterator<Item = (&Call<'h>, Replied<'h>)> {
        self.all.iter().filter_map(|call| Some((call, call.reply?)))
    }
}

/// Where there are such sessions, an answered end is a txn if the log says so.
fn note_local_ends(history: &History, all: &mut [Call<'_>]) {
    if local_sessions(history).is_none() {
        return;
    }
    let ends: BTreeSet<(SessionId, Xid)> = history
        .events()
        .filter_map(|(_, event)| match event {
            Event::Applied { session, xid, kind: TxnKind::End, .. } => Some((*session, *xid)),
            _ => None,
        })
        .collect();
    for call in all.iter_mut().filter(|call| matches!(call.op, Op::Close)) {
        call.ends_locally = call.reply.is_some() && !ends.contains(&(call.session, call.xid));
    }
}

/// Are new sessions known to their server alone, and until they create an ephemeral?
pub(super) fn local_sessions(history: &History) -> Option<bool> {
    history.events().find_map(|(_, event)| match event {
        Event::LocalSessions { upgraded } => Some(*upgraded),
        _ => None,
    })
}
