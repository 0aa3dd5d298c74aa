//! Laws 5 and 6: what the zxid in a reply's header may be.

use super::{Checked, Violation};
use crate::history::{Answer, At, ClientId, Event, History, SessionId, Stat, Zxid};
use std::collections::BTreeMap;

/// The name of [`headers_never_decrease`].
pub const DECREASE: &str = "zxids::headers_never_decrease";
/// The name of [`headers_cover_what_they_show`].
pub const COVER: &str = "zxids::headers_cover_what_they_show";
/// The name of [`headers_wait_for_events`].
pub const WAIT: &str = "zxids::headers_wait_for_events";

/// The zxid in the headers of a session's replies never decreases, over all of its connections; and within a connection it is never smaller
/// than that of an event before. (Java's client does not count events when it comes back, so that another server may be behind them.)
///
/// Since a write's header carries its own zxid and a read's the state that it shows, a read that misses the session's earlier write, or goes back
/// behind an earlier read, shows here.
///
/// # Errors
/// The two lines.
pub fn headers_never_decrease(history: &History) -> Checked {
    let mut sessions: BTreeMap<ClientId, SessionId> = BTreeMap::new();
    let mut replies: BTreeMap<SessionId, (Zxid, At)> = BTreeMap::new();
    let mut events: BTreeMap<ClientId, (Zxid, At)> = BTreeMap::new();
    for (at, event) in history.events() {
        match event {
            Event::Connected { client, session, .. } => {
                sessions.insert(*client, *session);
                events.remove(client);
            }
            Event::Watch { client, zxid: Some(zxid), .. } => {
                let newest = events.entry(*client).or_insert((*zxid, at));
                *newest = (*newest).max((*zxid, at));
            }
            // A refusal carries what its server pleases.
            Event::Reply { client, zxid, err, .. } if !err.is_refusal() => {
                let Some(session) = sessions.get(client) else { continue };
                let seen = replies.insert(*session, (*zxid, at)).max(events.get(client).copied());
                if let Some((seen, line)) = seen.filter(|(seen, _)| seen > zxid) {
                    let message = format!("session {session} is shown {zxid} after it has seen {seen}");
                    return Err(Violation::new(DECREASE, message, &[line, at]));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// No Stat in a reply has a zxid that is larger than the header's.
///
/// # Errors
/// The reply.
pub fn headers_cover_what_they_show(history: &History) -> Checked {
    for (at, event) in history.events() {
        let Event::Reply { zxid, answer, .. } = event else { continue };
        for stat in stats(answer) {
            let newest = stat.czxid.max(stat.mzxid).max(stat.pzxid);
            if newest > *zxid {
                let message = format!("a reply shows the txn {newest}, and its header says {zxid}");
                return Err(Violation::new(COVER, message, &[at]));
            }
        }
    }
    Ok(())
}

fn stats(answer: &Answer) -> impl Iterator<Item = &Stat> {
    let parts = answer.results.iter().flatten().filter_map(|part| part.stat.as_ref());
    answer.stat.iter().chain(parts)
}

/// On one connection no event comes after a reply whose header has reached it, and events come in zxid order: a client that comes
/// back with the header's zxid would never hear of the event.
///
/// # Errors
/// The reply, or the later event, and the event.
pub fn headers_wait_for_events(history: &History) -> Checked {
    let mut headers: BTreeMap<ClientId, (Zxid, At)> = BTreeMap::new();
    let mut events: BTreeMap<ClientId, (Zxid, At)> = BTreeMap::new();
    for (at, event) in history.events() {
        match event {
            Event::Connected { client, .. } | Event::Lost { client } | Event::Expired { client, .. } => {
                headers.remove(client);
                events.remove(client);
            }
            Event::Reply { client, zxid, err, .. } if !err.is_refusal() => {
                let newest = headers.entry(*client).or_insert((*zxid, at));
                *newest = (*newest).max((*zxid, at));
            }
            Event::Watch { client, zxid: Some(zxid), .. } => {
                if let Some((header, reply)) = headers.get(client).filter(|(header, _)| header >= zxid) {
                    let message =
                        format!("client {} hears of {zxid} after a reply whose header says {header}", client.0);
                    return Err(Violation::new(WAIT, message, &[*reply, at]));
                }
                let newest = events.entry(*client).or_insert((*zxid, at));
                if newest.0 > *zxid {
                    let message = format!("client {} hears of {zxid} after {}", client.0, newest.0);
                    return Err(Violation::new(WAIT, message, &[newest.1, at]));
                }
                *newest = (*zxid, at);
            }
            _ => {}
        }
    }
    Ok(())
}
