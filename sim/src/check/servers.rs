//! What servers are seen to do: leaders, txns, digests.

use super::{Checked, Violation};
use crate::history::{At, Event, History, ServerId, SessionId, TxnKind, Xid, Zxid};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

/// The name of [`one_leader`].
pub const ONE_LEADER: &str = "servers::one_leader";
/// The name of [`same_txns`].
pub const SAME_TXNS: &str = "servers::same_txns";
/// The name of [`same_digests`].
pub const SAME_DIGESTS: &str = "servers::same_digests";
/// The name of [`no_gaps`].
pub const NO_GAPS: &str = "servers::no_gaps";

/// No epoch has two leaders.
///
/// # Errors
/// Both.
pub fn one_leader(history: &History) -> Checked {
    let mut leaders: BTreeMap<u64, (ServerId, At)> = BTreeMap::new();
    for (at, event) in history.events() {
        let Event::Leads { server, epoch } = event else { continue };
        let (first, before) = *leaders.entry(*epoch).or_insert((*server, at));
        if first != *server {
            let message = format!("servers {} and {} both lead epoch {epoch}", first.0, server.0);
            return Err(Violation::new(ONE_LEADER, message, &[before, at]));
        }
    }
    Ok(())
}

/// Every server applies the same txn at the same zxid, and one that any server has applied is not left out by another (which skips it: see
/// also [`no_gaps`]).
///
/// # Errors
/// The two lines.
pub fn same_txns(history: &History) -> Checked {
    type Txn = (SessionId, Xid, TxnKind, Option<u64>);
    let mut txns: BTreeMap<Zxid, (Txn, At)> = BTreeMap::new();
    let mut positions: BTreeMap<ServerId, (Zxid, At)> = BTreeMap::new();
    let mut steps = Vec::new();
    for (at, event) in history.events() {
        let (server, zxid) = match event {
            Event::Started { server, zxid, .. } | Event::Took { server, zxid, .. } => {
                positions.insert(*server, (*zxid, at));
                continue;
            }
            Event::Applied { server, zxid, session, xid, kind, hash, .. } => {
                let txn = (*session, *xid, *kind, *hash);
                let (first, before) = *txns.entry(*zxid).or_insert((txn, at));
                if first != txn {
                    let message = format!("two txns at {zxid}: servers do not agree on what was committed");
                    return Err(Violation::new(SAME_TXNS, message, &[before, at]));
                }
                (*server, *zxid)
            }
            _ => continue,
        };
        if let Some((before, line)) = positions.insert(server, (zxid, at)).filter(|(before, _)| *before < zxid) {
            steps.push((server, (before, line), (zxid, at)));
        }
    }
    // At the end, since another server may have applied what is left out later.
    for (server, (before, line), (zxid, at)) in steps {
        let between = (Bound::Excluded(before), Bound::Excluded(zxid));
        if let Some((left_out, (_, applied))) = txns.range(between).next() {
            let message = format!("server {} goes from {before} to {zxid} and leaves out {left_out}", server.0);
            return Err(Violation::new(SAME_TXNS, message, &[line, *applied, at]));
        }
    }
    Ok(())
}

/// Equal zxid, equal digest, on all servers and after every restart.
///
/// # Errors
/// The two lines.
pub fn same_digests(history: &History) -> Checked {
    let mut digests: BTreeMap<Zxid, (u64, At)> = BTreeMap::new();
    for (at, event) in history.events() {
        let (Event::Started { zxid, digest: Some(digest), .. }
        | Event::Took { zxid, digest: Some(digest), .. }
        | Event::Applied { zxid, digest: Some(digest), .. }) = event
        else {
            continue;
        };
        let (first, before) = *digests.entry(*zxid).or_insert((*digest, at));
        if first != *digest {
            let message = format!("at {zxid} one state has the digest {first:#x}, another {digest:#x}");
            return Err(Violation::new(SAME_DIGESTS, message, &[before, at]));
        }
    }
    Ok(())
}

/// Each server applies txns in zxid order, one counter after the other; an epoch's first has the counter 1.
///
/// # Errors
/// The two lines.
pub fn no_gaps(history: &History) -> Checked {
    let mut positions: BTreeMap<ServerId, (Zxid, At)> = BTreeMap::new();
    for (at, event) in history.events() {
        match event {
            Event::Started { server, zxid, .. } | Event::Took { server, zxid, .. } => {
                positions.insert(*server, (*zxid, at));
            }
            Event::Applied { server, zxid, .. } => {
                let mut lines = vec![at];
                let is_next = match positions.entry(*server) {
                    Entry::Vacant(place) => {
                        place.insert((*zxid, at));
                        continue;
                    }
                    Entry::Occupied(mut place) => {
                        let (before, line) = place.insert((*zxid, at));
                        lines.push(line);
                        if before.epoch() == zxid.epoch() {
                            zxid.counter() == before.counter() + 1
                        } else {
                            zxid.epoch() > before.epoch() && zxid.counter() == 1
                        }
                    }
                };
                if !is_next {
                    let message = format!("server {} applies {zxid}, which does not follow what it had", server.0);
                    return Err(Violation::new(NO_GAPS, message, &lines));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
