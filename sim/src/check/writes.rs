//! Linearizable writes, none lost, and what a sync promises.

use super::search::{self, Explanation};
use super::timeline::{Facts, shown_by};
use super::{Calls, Checked, Violation};
use crate::history::{At, Event, History, Op, ServerId, SessionId, Xid, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// The name of [`real_time`].
pub const REAL_TIME: &str = "writes::real_time";
/// The name of [`explained`].
pub const EXPLAINED: &str = "writes::explained";
/// The name of [`none_lost`].
pub const NONE_LOST: &str = "writes::none_lost";
/// The name of [`syncs`].
pub const SYNCS: &str = "writes::syncs";

/// A write takes place after it was asked: its zxid is above all that any client had seen by then. And a session's writes take place in the order in
/// which it asked.
///
/// # Errors
/// The write's two lines, and the line that had shown more.
pub fn real_time(history: &History) -> Checked {
    let calls = Calls::of(history, REAL_TIME)?;
    let mut newest: Option<(Zxid, At)> = None;
    let mut own: BTreeMap<SessionId, (Zxid, At)> = BTreeMap::new();
    let mut lines = history.events().peekable();
    for call in &calls.all {
        while let Some((at, event)) = lines.next_if(|(at, _)| *at < call.asked) {
            newest = newest.max(Some((shown_by(event), at)));
        }
        let (Some(zxid), Some(reply)) = (call.txn(), call.reply) else { continue };
        if let Some((seen, at)) = newest.filter(|(seen, _)| *seen >= zxid) {
            let message = format!("a write takes place at {zxid}, and was asked when {seen} had been seen");
            return Err(Violation::new(REAL_TIME, message, &[at, call.asked, reply.at]));
        }
        if let Some((before, at)) = own.insert(call.session, (zxid, reply.at)).filter(|(before, _)| *before >= zxid) {
            let message = format!("session {} has a write at {zxid} after the one at {before}", call.session);
            return Err(Violation::new(REAL_TIME, message, &[at, call.asked, reply.at]));
        }
    }
    Ok(())
}

/// All writes, one after the other in the order of their zxids, give the answers that were given, and each read shows the state at its header's
/// zxid. Requests of unknown outcome may have taken place or not, whichever explains the rest; where
/// only the log could tell, [`super::undecided`] says so.
///
/// # Errors
/// The request and the reply that do not fit, and what last changed the znode.
pub fn explained(history: &History) -> Checked {
    let facts = Facts::of(history, EXPLAINED)?;
    match search::explain(&facts) {
        Explanation::Impossible(wrong) if !wrong.is_final => Err(wrong.violation(EXPLAINED)),
        _ => Ok(()),
    }
}

/// Every acknowledged write is in the servers' log, as far as that is told; every final tree has the effects of all of them, and nothing else;
/// and where there is one server alone, each of its starts finds all that was acknowledged before.
///
/// # Errors
/// The write's reply, and the line that lacks it.
pub fn none_lost(history: &History) -> Checked {
    let facts = Facts::of(history, NONE_LOST)?;
    in_the_log(history, &facts.calls)?;
    in_what_starts_and_ends(history)?;
    match search::explain(&facts) {
        Explanation::Impossible(wrong) if wrong.is_final => Err(wrong.violation(NONE_LOST)),
        _ => Ok(()),
    }
}

fn in_the_log(history: &History, calls: &Calls<'_>) -> Checked {
    let mut log: BTreeMap<Zxid, (SessionId, Xid, At)> = BTreeMap::new();
    for (at, event) in history.events() {
        if let Event::Applied { zxid, session, xid, .. } = event {
            log.entry(*zxid).or_insert((*session, *xid, at));
        }
    }
    if log.is_empty() {
        return Ok(());
    }
    for (call, reply) in calls.answered() {
        let Some(zxid) = call.txn() else { continue };
        match log.get(&zxid) {
            Some((session, xid, _)) if (*session, *xid) == (call.session, call.xid) => {}
            Some((session, xid, at)) => {
                let message = format!(
                    "a write was acknowledged at {zxid}; the log has request {} of session {session} there",
                    xid.0
                );
                return Err(Violation::new(NONE_LOST, message, &[call.asked, reply.at, *at]));
            }
            None => {
                let message = format!("a write was acknowledged at {zxid}, which no server has applied");
                return Err(Violation::new(NONE_LOST, message, &[call.asked, reply.at]));
            }
        }
    }
    Ok(())
}

fn in_what_starts_and_ends(history: &History) -> Checked {
    let servers: BTreeSet<ServerId> = history.events().filter_map(|(_, event)| event.server()).collect();
    let mut acknowledged: Option<(Zxid, At)> = None;
    for (at, event) in history.events() {
        match event {
            Event::Reply { zxid, err, .. } if !err.is_refusal() => acknowledged = acknowledged.max(Some((*zxid, at))),
            Event::Started { zxid, .. } if servers.len() == 1 => {
                if let Some((newest, reply)) = acknowledged.filter(|(newest, _)| newest > zxid) {
                    let message = format!("a client was shown {newest}, and the server starts with {zxid}");
                    return Err(Violation::new(NONE_LOST, message, &[reply, at]));
                }
            }
            _ => {}
        }
    }
    for (at, event) in history.events() {
        let Event::Final { zxid, server, .. } = event else { continue };
        if let Some((newest, reply)) = acknowledged.filter(|(newest, _)| newest > zxid) {
            let message = format!("a client was shown {newest}, and server {} ends with {zxid}", server.0);
            return Err(Violation::new(NONE_LOST, message, &[reply, at]));
        }
    }
    Ok(())
}

/// A sync's reply is not older than any write that was acknowledged before the sync was asked. (ZooKeeper promises it only while the leader
/// knows that it leads: a leader that was deposed and has not noticed may break it.)
///
/// # Errors
/// The write's reply, and the sync's two lines.
pub fn syncs(history: &History) -> Checked {
    let calls = Calls::of(history, SYNCS)?;
    let mut writes: Vec<(At, Zxid)> =
        calls.answered().filter_map(|(call, reply)| Some((reply.at, call.txn()?))).collect();
    writes.sort_unstable();
    let mut writes = writes.into_iter().peekable();
    let mut newest: Option<(Zxid, At)> = None;
    for call in &calls.all {
        while let Some((at, zxid)) = writes.next_if(|(at, _)| *at < call.asked) {
            newest = newest.max(Some((zxid, at)));
        }
        let Some(reply) = call.reply.filter(|reply| matches!(call.op, Op::Sync { .. }) && reply.err.0 == 0) else {
            continue;
        };
        if let Some((zxid, at)) = newest.filter(|(zxid, _)| *zxid > reply.zxid) {
            let message = format!("a sync ends at {}, and {zxid} was acknowledged before it was asked", reply.zxid);
            return Err(Violation::new(SYNCS, message, &[at, call.asked, reply.at]));
        }
    }
    Ok(())
}
