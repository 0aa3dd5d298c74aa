//! Which writes of unknown outcome took place, where no log tells.
//!
//! Owns the search: replay; where an answer does not fit, one of the open writes that touch the same znodes may have taken place before it, at
//! a zxid that nothing else has. Each is tried, in the order in which they would have happened (so that each has an effect by itself), and the replay goes on
//! from there. It is quick and may miss an explanation. So where it finds none it proves nothing: something is wrong only if no open write can
//! have taken place at all, or if every combination of them has been replayed ([`Search::is_refuted`]). Else it is not decided without the log.

use super::timeline::{Facts, Mismatch, Step, Timeline, paths_of};
use crate::history::{At, Op, SessionId, Zxid};
use std::collections::{BTreeMap, BTreeSet};

/// Replays that a search may take: a history of thousands of lines is replayed in milliseconds. Where connections are lost all the time and no log is
/// recorded, that is not always enough.
const REPLAYS_MAX: u32 = 10_000;
/// Free zxids of one gap that are tried for a write, beside those that the answer itself names.
const GAP_MAX: u64 = 16;
/// Combinations of open writes that are replayed, all of them, before something is called wrong.
const REFUTED_MAX: u64 = 2_000;

/// A write of unknown outcome.
struct Open {
    step: Step,
    /// Its zxid is above this one,
    above: Zxid,
    /// and below this one.
    below: Zxid,
    paths: Vec<String>,
}

struct Search<'f, 'h> {
    facts: &'f Facts<'h>,
    open: Vec<Open>,
    replays: u32,
}

/// What the search comes to.
pub(super) enum Explanation {
    /// This explains everything.
    Found(Timeline),
    /// Nothing can explain this.
    Impossible(Mismatch),
    /// Writes of unknown outcome may explain what does not fit without them, and may not: it would take the log to tell.
    NotDecided(String),
}

/// Looks for a timeline that explains everything.
pub(super) fn explain(facts: &Facts<'_>) -> Explanation {
    let first = match facts.replay(&BTreeMap::new()) {
        Ok(timeline) => return Explanation::Found(timeline),
        Err(mismatch) => mismatch,
    };
    let open = open_writes(facts);
    if open.is_empty() {
        return Explanation::Impossible(first);
    }
    let mut search = Search { facts, open, replays: 0 };
    if let Some(timeline) = search.repair(&first, &mut BTreeMap::new(), &mut BTreeSet::new()) {
        return Explanation::Found(timeline);
    }
    let tries = format!("{} tries with {} writes of unknown outcome", search.replays, search.open.len());
    if search.is_refuted(first.zxid) || search.is_refuted(facts.last()) {
        let message = format!("{}; nothing explains it in {tries}", first.message);
        return Explanation::Impossible(Mismatch { message, ..first });
    }
    Explanation::NotDecided(format!("{}; no explanation was found in {tries}", first.message))
}

/// The znodes that writes of unknown outcome may have changed, where no log tells, and after which zxid.
pub(super) fn in_doubt(facts: &Facts<'_>) -> BTreeMap<String, Zxid> {
    let mut paths: BTreeMap<String, Zxid> = BTreeMap::new();
    for open in open_writes(facts) {
        for path in open.paths {
            let after = paths.entry(path).or_insert(open.above);
            *after = open.above.min(*after);
        }
    }
    paths
}

impl Search<'_, '_> {
    /// Places one more open write so that this fits, and what follows too.
    fn repair(
        &mut self,
        wrong: &Mismatch,
        placed: &mut BTreeMap<Zxid, Step>,
        used: &mut BTreeSet<usize>,
    ) -> Option<Timeline> {
        for (number, zxid) in self.candidates(wrong, placed, used) {
            if self.replays >= REPLAYS_MAX {
                return None;
            }
            self.replays += 1;
            placed.insert(zxid, self.open.get(number)?.step);
            used.insert(number);
            match self.facts.replay(placed) {
                Ok(timeline) => return Some(timeline),
                // What makes something earlier wrong, or does nothing, does not help.
                Err(next) if (next.zxid, !next.is_write) < (wrong.zxid, !wrong.is_write) => {}
                Err(next) => {
                    if let Some(timeline) = self.repair(&next, placed, used) {
                        return Some(timeline);
                    }
                }
            }
            placed.remove(&zxid);
            used.remove(&number);
        }
        None
    }

    /// Does everything fail that the open writes can have come to, up to this zxid, none of them left out? False if there are too many ways. (What
    /// does nothing where it is placed fails, and the same without it is tried too.)
    fn is_refuted(&self, until: Zxid) -> bool {
        let mut choices: Vec<(Step, Vec<Zxid>)> = Vec::new();
        let mut ways = 1_u64;
        for open in &self.open {
            let (begin, last) = (open.above.0 + 1, until.0.min(open.below.0 - 1));
            if begin > last {
                continue;
            }
            if last - begin >= REFUTED_MAX {
                return false;
            }
            let free: Vec<Zxid> = (begin..=last).map(Zxid).filter(|zxid| self.facts.is_free(*zxid)).collect();
            ways = ways.saturating_mul(free.len() as u64 + 1);
            choices.push((open.step, free));
        }
        ways <= REFUTED_MAX && !self.is_explained(until, &choices, &mut BTreeMap::new())
    }

    /// Does any combination fit everything up to there?
    fn is_explained(&self, until: Zxid, choices: &[(Step, Vec<Zxid>)], placed: &mut BTreeMap<Zxid, Step>) -> bool {
        let Some(((step, free), rest)) = choices.split_first() else {
            return match self.facts.replay(placed) {
                Ok(_) => true,
                Err(next) => next.zxid > until,
            };
        };
        if self.is_explained(until, rest, placed) {
            return true;
        }
        for zxid in free {
            if placed.contains_key(zxid) {
                continue;
            }
            placed.insert(*zxid, *step);
            if self.is_explained(until, rest, placed) {
                return true;
            }
            placed.remove(zxid);
        }
        false
    }

    /// The open writes that concern the same znodes, with the zxids that they may have had. Those that the answer itself names come first.
    fn candidates(
        &self,
        wrong: &Mismatch,
        placed: &BTreeMap<Zxid, Step>,
        used: &BTreeSet<usize>,
    ) -> Vec<(usize, Zxid)> {
        let concerns = |open: &Open| open.paths.iter().any(|path| wrong.paths.iter().any(|other| related(path, other)));
        let mut all: Vec<(usize, Zxid)> = (0..self.open.len())
            .filter(|number| !used.contains(number) && self.open.get(*number).is_some_and(concerns))
            .flat_map(|number| self.free_for(number, wrong, placed).into_iter().map(move |zxid| (number, zxid)))
            .collect();
        all.sort_by_key(|(_, zxid)| !wrong.hints.contains(zxid));
        all
    }

    /// Zxids that nothing else has, at which the open write may have taken place before what is wrong. The likely ones first.
    fn free_for(&self, number: usize, wrong: &Mismatch, placed: &BTreeMap<Zxid, Step>) -> Vec<Zxid> {
        let Some(open) = self.open.get(number) else { return Vec::new() };
        let last = if wrong.is_write { Zxid(wrong.zxid.0 - 1) } else { wrong.zxid };
        let last = last.min(Zxid(open.below.0 - 1));
        let is_free = |zxid: &Zxid| {
            *zxid > open.above && *zxid <= last && self.facts.is_free(*zxid) && !placed.contains_key(zxid)
        };
        let mut free: Vec<Zxid> = wrong.hints.iter().copied().filter(is_free).collect();
        // After the bound, before the first txn of each epoch that is known, and after each.
        let mut begins = vec![open.above];
        let mut epoch = None;
        for zxid in self.facts.steps.range(open.above..).map(|(zxid, _)| *zxid) {
            if epoch.replace(zxid.epoch()) != Some(zxid.epoch()) {
                begins.push(Zxid(zxid.0 - zxid.counter().min(GAP_MAX + 1)));
            }
            if zxid > last {
                break;
            }
            begins.push(zxid);
        }
        for begin in begins {
            free.extend(
                (1..=GAP_MAX).map(|step| Zxid(begin.0 + step)).take_while(|zxid| *zxid <= last).filter(is_free),
            );
        }
        let mut seen = BTreeSet::new();
        free.retain(|zxid| seen.insert(*zxid));
        free
    }
}

/// May what happens at one of the paths show at the other? Where one of them is above the other, or is its beginning (the name of a sequential one).
pub(super) fn related(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Those that can have changed anything. None where a log tells.
fn open_writes(facts: &Facts<'_>) -> Vec<Open> {
    if facts.has_log {
        return Vec::new();
    }
    let calls = &facts.calls.all;
    let mut open = Vec::new();
    let mut ended: BTreeSet<SessionId> = BTreeSet::new();
    for (number, (call, seen)) in calls.iter().zip(&facts.seen).enumerate() {
        if matches!(call.op, Op::Close) && call.txn().is_some() {
            ended.insert(call.session);
        }
        if !call.is_open() {
            continue;
        }
        let own = |call_asked: At, is_later: bool| {
            let same = calls
                .iter()
                .filter(move |other| other.session == call.session && (other.asked > call_asked) == is_later);
            same.filter_map(super::Call::txn)
        };
        let mut above = own(call.asked, false).max().unwrap_or_default().max(*seen);
        if matches!(call.op, Op::Close) {
            // Nothing of the session is answered after its end.
            above = above.max(heard_of(facts, call.session));
        }
        let below = own(call.asked, true).min().unwrap_or(Zxid(u64::MAX));
        let paths = match call.op {
            Op::Close => ephemerals_of(facts, call.session),
            op => paths_of(op),
        };
        open.push(Open { step: Step::Call(number), above, below, paths });
    }
    // Any session may have expired after the last that was heard of it.
    let sessions: BTreeSet<SessionId> = calls.iter().map(|call| call.session).collect();
    for session in sessions.difference(&ended) {
        let paths = ephemerals_of(facts, *session);
        let above = heard_of(facts, *session);
        open.push(Open { step: Step::End(*session, None), above, below: Zxid(u64::MAX), paths });
    }
    open.retain(|open| !open.paths.is_empty());
    open
}

/// The newest zxid in a session's replies.
fn heard_of(facts: &Facts<'_>, session: SessionId) -> Zxid {
    let replies = facts.calls.answered().filter(|(call, _)| call.session == session);
    replies.map(|(_, reply)| reply.zxid).max().unwrap_or_default()
}

fn ephemerals_of(facts: &Facts<'_>, session: SessionId) -> Vec<String> {
    fn created(op: &Op, paths: &mut Vec<String>) {
        match op {
            Op::Create { path, ephemeral: true, .. } => paths.push(path.clone()),
            Op::Multi { ops } => ops.iter().for_each(|op| created(op, paths)),
            _ => {}
        }
    }
    let mut paths = Vec::new();
    facts.calls.all.iter().filter(|call| call.session == session).for_each(|call| created(call.op, &mut paths));
    paths
}
