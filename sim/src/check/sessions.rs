//! Law 7 and the ends of sessions: ephemerals go with their session, exactly then.

use super::calls::local_sessions;
use super::timeline::{Facts, shown_by};
use super::{Calls, Checked, Violation};
use crate::history::{Answer, At, ClientId, Code, Event, History, Op, ServerId, SessionId, Stat, TxnKind, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// The name of [`ephemerals`].
pub const EPHEMERALS: &str = "sessions::ephemerals";
/// The name of [`ends`].
pub const ENDS: &str = "sessions::ends";
/// The name of [`locals`].
pub const LOCALS: &str = "sessions::locals";

/// No reply and no final tree shows an ephemeral at or after the zxid at which its session ended; one whose session lives, and which nobody
/// asked to delete, is not missed by any read; and a final state has no session that has ended.
///
/// # Errors
/// The end and what shows the ephemeral, or what made it and what misses it.
pub fn ephemerals(history: &History) -> Checked {
    let facts = Facts::of(history, EPHEMERALS)?;
    let ends = ends_of(history, &facts.calls);
    for (at, event) in history.events() {
        match event {
            Event::Reply { zxid, answer, .. } => {
                let own =
                    answer.stat.iter().chain(answer.results.iter().flatten().filter_map(|part| part.stat.as_ref()));
                own.into_iter().try_for_each(|stat| is_alive(&ends, stat, *zxid, at))?;
            }
            Event::Final { zxid, nodes, sessions, .. } => {
                nodes.iter().try_for_each(|node| is_alive(&ends, &node.stat, *zxid, at))?;
                let Some(sessions) = sessions else { continue };
                if let Some((session, (end, line))) =
                    ends.iter().find(|(s, (end, _))| end <= zxid && sessions.contains(s))
                {
                    let message = format!("session {session} ended at {end} and is still there at {zxid}");
                    return Err(Violation::new(EPHEMERALS, message, &[*line, at]));
                }
                let is_orphan = |stat: &Stat| stat.owner.0 != 0 && !sessions.contains(&stat.owner);
                if let Some(node) = nodes.iter().find(|node| is_orphan(&node.stat)) {
                    let message = format!("{} is of session {}, which is not there", node.path, node.stat.owner);
                    return Err(Violation::new(EPHEMERALS, message, &[at]));
                }
            }
            _ => {}
        }
    }
    if facts.has_log { none_is_missed(&facts, &ends) } else { Ok(()) }
}

type Ends = BTreeMap<SessionId, (Zxid, At)>;

/// The ends that are known: closes that were acknowledged, and what the log tells.
fn ends_of(history: &History, calls: &Calls<'_>) -> Ends {
    let mut ends = Ends::new();
    for (call, reply) in calls.answered().filter(|(call, _)| matches!(call.op, Op::Close)) {
        if let Some(zxid) = call.txn() {
            ends.insert(call.session, (zxid, reply.at));
        }
    }
    for (at, event) in history.events() {
        if let Event::Applied { zxid, session, kind: TxnKind::End, .. } = event {
            ends.entry(*session).or_insert((*zxid, at));
        }
    }
    ends
}

fn is_alive(ends: &Ends, stat: &Stat, zxid: Zxid, at: At) -> Checked {
    match ends.get(&stat.owner).filter(|(end, _)| *end <= zxid) {
        Some((end, line)) => {
            let message = format!("an ephemeral of session {} is shown at {zxid}; that ended at {end}", stat.owner);
            Err(Violation::new(EPHEMERALS, message, &[*line, at]))
        }
        None => Ok(()),
    }
}

fn none_is_missed(facts: &Facts<'_>, ends: &Ends) -> Checked {
    let calls = &facts.calls;
    let mut made: BTreeMap<&str, (Zxid, SessionId, At)> = BTreeMap::new();
    let mut deletable: BTreeSet<&str> = BTreeSet::new();
    for call in &calls.all {
        deletes(call.op, &mut deletable);
        let (Op::Create { ephemeral: true, .. }, Some(zxid), Some(reply)) = (call.op, call.txn(), call.reply) else {
            continue;
        };
        if let (Code::OK, Answer { path: Some(path), .. }) = (reply.err, reply.answer) {
            made.insert(path, (zxid, call.session, reply.at));
        }
    }
    for (call, reply) in calls.answered() {
        let (Op::Get { path, .. } | Op::Exists { path, .. }) = call.op else { continue };
        let Some((zxid, session, line)) = made.get(path.as_str()).filter(|_| !deletable.contains(path.as_str())) else {
            continue;
        };
        let has_ended = ends.get(session).is_some_and(|(end, _)| *end <= reply.zxid);
        if reply.err == Code::NO_NODE && reply.zxid >= *zxid && !has_ended {
            let message = format!(
                "{path} of session {session} is gone at {}; nobody has deleted it, and the session lives",
                reply.zxid
            );
            return Err(Violation::new(EPHEMERALS, message, &[*line, call.asked, reply.at]));
        }
    }
    Ok(())
}

/// Where sessions are known to their server alone: one is renewed nowhere else before it has asked for an ephemeral; without upgrades no session is ever the ensemble's; an ephemeral comes
/// after the upgrade, and a session that has one ends by a txn.
///
/// # Errors
/// What made the session one of its server, and what does not fit.
pub fn locals(history: &History) -> Checked {
    let Some(upgraded) = local_sessions(history) else { return Ok(()) };
    let mut homes: BTreeMap<SessionId, (ServerId, At)> = BTreeMap::new();
    let mut begun: BTreeMap<SessionId, (Zxid, At)> = BTreeMap::new();
    let calls = Calls::of(history, LOCALS)?;
    // From then on it may be the ensemble's: its leader knows it before a quorum does, as in ZooKeeper.
    let mut asked: BTreeMap<SessionId, At> = BTreeMap::new();
    for call in calls.all.iter().filter(|call| upgraded && matches!(call.op, Op::Create { ephemeral: true, .. })) {
        asked.entry(call.session).or_insert(call.asked);
    }
    for (at, event) in history.events() {
        match event {
            Event::Connected { session, server: Some(server), .. } => {
                let (home, first) = *homes.entry(*session).or_insert((*server, at));
                if home != *server && asked.get(session).is_none_or(|asked| *asked > at) {
                    let message = format!("session {session} of server {} is renewed at server {}", home.0, server.0);
                    return Err(Violation::new(LOCALS, message, &[first, at]));
                }
            }
            Event::Applied { zxid, session, kind: TxnKind::Begin, .. } => {
                begun.entry(*session).or_insert((*zxid, at));
                if !upgraded {
                    let message = format!("session {session} is the ensemble's, and none is to be");
                    return Err(Violation::new(LOCALS, message, &[at]));
                }
            }
            _ => {}
        }
    }
    let mut owners: BTreeMap<SessionId, At> = BTreeMap::new();
    for (call, reply) in calls.answered().filter(|(_, reply)| reply.err == Code::OK) {
        if matches!(call.op, Op::Create { ephemeral: true, .. }) {
            owners.insert(call.session, reply.at);
            if begun.get(&call.session).is_none_or(|(zxid, _)| *zxid >= reply.zxid) {
                let message = format!("session {} has an ephemeral, and is not the ensemble's", call.session);
                return Err(Violation::new(LOCALS, message, &[call.asked, reply.at]));
            }
        }
        if let Some(made) = owners.get(&call.session).filter(|_| call.ends_locally) {
            let message = format!("session {} has an ephemeral, and ends without a txn", call.session);
            return Err(Violation::new(LOCALS, message, &[*made, call.asked, reply.at]));
        }
    }
    Ok(())
}

fn deletes<'h>(op: &'h Op, paths: &mut BTreeSet<&'h str>) {
    match op {
        Op::Delete { path, .. } => drop(paths.insert(path)),
        Op::Multi { ops } => ops.iter().for_each(|op| deletes(op, paths)),
        _ => {}
    }
}

/// Nothing of a session is answered from a state after its end, and a client that is told of its session's end finds that end in the log, if the
/// log is known. One that has asked for the end itself may be told on another connection by a leader that has ordered it and is gone before a quorum has it,
/// as in ZooKeeper (`setSessionClosing`): then the session's timeout ends it later. (Where it is not, [`super::search`] never lets a session end before its last reply.)
///
/// # Errors
/// The end and what comes after it; or the word of an end that never was.
pub fn ends(history: &History) -> Checked {
    let calls = Calls::of(history, ENDS)?;
    let has_log = history.events().any(|(_, event)| matches!(event, Event::Applied { .. }));
    let known = ends_of(history, &calls);
    let closes = calls.all.iter().filter(|call| matches!(call.op, Op::Close));
    let asked: BTreeSet<SessionId> = closes.map(|call| call.session).collect();
    let has_locals = local_sessions(history).is_some();
    let mut sessions: BTreeMap<ClientId, SessionId> = BTreeMap::new();
    let mut begun: BTreeSet<SessionId> = BTreeSet::new();
    let mut sure: BTreeSet<SessionId> = BTreeSet::new();
    for (at, event) in history.events() {
        match event {
            Event::Applied { session, kind: TxnKind::Begin, .. } => drop(begun.insert(*session)),
            Event::Connected { client, session, .. } => {
                sessions.insert(*client, *session);
                sure.extend(begun.get(session));
            }
            Event::Expired { client, .. } => {
                let Some(session) = sessions.remove(client) else { continue };
                // One that its server alone knew ends unheard, and one that was about to be the ensemble's may.
                let may_end = has_locals && !sure.contains(&session);
                if has_log && !may_end && !known.contains_key(&session) && !asked.contains(&session) {
                    let message =
                        format!("client {} is told that session {session} is over; no txn ended it", client.0);
                    return Err(Violation::new(ENDS, message, &[at]));
                }
            }
            Event::Reply { client, .. } | Event::Watch { client, .. } => {
                let Some((end, line)) = sessions.get(client).and_then(|session| known.get(session)) else { continue };
                let zxid = shown_by(event);
                if zxid > *end {
                    let message = format!("client {} is shown {zxid} in a session that ended at {end}", client.0);
                    return Err(Violation::new(ENDS, message, &[*line, at]));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
