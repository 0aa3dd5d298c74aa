//! The one order of writes that a history allows, replayed: what every checker that needs to know the state asks.
//!
//! Owns the replay: the writes with their zxids one after the other on a [`Model`], each answer compared with the model's, each read with the state
//! at its header's zxid, each final tree with the model. Which of the writes with an unknown outcome took place, and as which txn, comes from the
//! `applied` lines where there are any; else [`super::search`] looks for it.
//!
//! Reads are compared strictly: law 6 makes a header's zxid exactly the state that the reply shows. (Java's servers may say a later one.)

use super::model::{Change, Model, Origin};
use super::search::{self, Explanation};
use super::{Calls, Replied, Violation};
use crate::history::{
    Answer, At, Code, Event, FinalNode, History, Op, PartAnswer, SessionId, Stat, TxnKind, Xid, Zxid,
};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// All changes to znodes, in order.
    pub changes: Vec<Change>,
}

/// What the replay found wrong.
#[derive(Clone, Debug)]
pub(super) struct Mismatch {
    /// For the report.
    pub(super) message: String,
    /// The lines.
    pub(super) lines: Vec<At>,
    /// At which txn, or state.
    pub(super) zxid: Zxid,
    /// Whether an answer to the write with that zxid is wrong, and not a state after it.
    pub(super) is_write: bool,
    /// The znodes that it is about.
    pub(super) paths: Vec<String>,
    /// Zxids that the answer names: where a write of unknown outcome may have taken place.
    pub(super) hints: Vec<Zxid>,
    /// Is it about a final tree?
    pub(super) is_final: bool,
}

/// A txn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A call, by its number.
    Call(usize),
    /// A session's end that no client asked for.
    End(SessionId, Option<At>),
}

/// What a history says for certain, and what it leaves open.
#[derive(Debug)]
pub(super) struct Facts<'h> {
    pub(super) calls: Calls<'h>,
    /// Txns whose zxids are known.
    pub(super) steps: BTreeMap<Zxid, Step>,
    /// Zxids of other txns.
    pub(super) others: BTreeSet<Zxid>,
    /// Is the whole log known?
    pub(super) has_log: bool,
    /// Can no session have an ephemeral?
    refuses_ephemerals: bool,
    /// By zxid: answered reads.
    reads: Vec<(Zxid, usize)>,
    /// By zxid: final trees.
    finals: Vec<(Zxid, At, &'h [FinalNode])>,
    /// For each call: the newest zxid that anybody had seen when it was asked.
    pub(super) seen: Vec<Zxid>,
}

impl Timeline {
    /// Of a history. None where it cannot be had: [`super::writes::explained`] or [`super::undecided`] tells of that.
    pub(super) fn if_any(facts: &Facts<'_>) -> Option<Timeline> {
        match search::explain(facts) {
            Explanation::Found(timeline) => Some(timeline),
            Explanation::Impossible(_) | Explanation::NotDecided(_) => None,
        }
    }
}

impl Mismatch {
    /// What was placed there does nothing.
    fn useless(zxid: Zxid) -> Mismatch {
        let (lines, paths, hints) = (Vec::new(), Vec::new(), Vec::new());
        Mismatch { message: String::new(), lines, zxid, is_write: true, paths, hints, is_final: false }
    }

    pub(super) fn violation(self, checker: &'static str) -> Violation {
        Violation::new(checker, self.message, &self.lines)
    }
}

impl<'h> Facts<'h> {
    pub(super) fn of(history: &'h History, checker: &'static str) -> Result<Facts<'h>, Violation> {
        let calls = Calls::of(history, checker)?;
        let mut facts = Facts {
            steps: BTreeMap::new(),
            others: BTreeSet::new(),
            has_log: false,
            refuses_ephemerals: super::calls::local_sessions(history) == Some(false),
            reads: Vec::new(),
            finals: Vec::new(),
            seen: seen_when_asked(history, &calls),
            calls,
        };
        facts.answered(checker)?;
        facts.log(history);
        for (at, event) in history.events() {
            if let Event::Final { zxid, nodes, .. } = event {
                facts.finals.push((*zxid, at, nodes));
            }
        }
        facts.reads.sort_unstable();
        facts.finals.sort_unstable_by_key(|(zxid, at, _)| (*zxid, *at));
        Ok(facts)
    }

    fn answered(&mut self, checker: &'static str) -> Result<(), Violation> {
        for (number, call) in self.calls.all.iter().enumerate() {
            let Some(reply) = call.reply else { continue };
            if let Some(zxid) = call.txn() {
                if let Some(Step::Call(other)) = self.steps.insert(zxid, Step::Call(number)) {
                    let first =
                        self.calls.all.get(other).and_then(|call| call.reply).map_or(call.asked, |reply| reply.at);
                    let message = format!("two writes are answered with the same zxid, {zxid}");
                    return Err(Violation::new(checker, message, &[first, reply.at]));
                }
            } else if matches!(call.op, Op::Get { .. } | Op::Exists { .. } | Op::Children { .. })
                && !reply.err.is_refusal()
            {
                self.reads.push((reply.zxid, number));
            }
        }
        Ok(())
    }

    /// What the servers' log says of the calls without an answer, and of ends that nobody asked for.
    fn log(&mut self, history: &'h History) {
        let open: BTreeMap<(SessionId, Xid), usize> = (0..)
            .zip(&self.calls.all)
            .filter(|(_, call)| call.is_open())
            .map(|(number, call)| ((call.session, call.xid), number))
            .collect();
        for (at, event) in history.events() {
            let Event::Applied { zxid, session, xid, kind, .. } = event else { continue };
            self.has_log = true;
            if self.steps.contains_key(zxid) {
                continue;
            }
            match (open.get(&(*session, *xid)), kind) {
                // What has failed has done nothing, whatever would have come of it: its session may have moved meanwhile, and it was refused.
                (_, TxnKind::Begin | TxnKind::Failed) => drop(self.others.insert(*zxid)),
                (Some(call), _) => drop(self.steps.insert(*zxid, Step::Call(*call))),
                (None, TxnKind::End) => drop(self.steps.insert(*zxid, Step::End(*session, Some(at)))),
                (None, _) => drop(self.others.insert(*zxid)),
            }
        }
    }

    /// May a txn of which nobody has told have this zxid?
    pub(super) fn is_free(&self, zxid: Zxid) -> bool {
        zxid.counter() > 0 && !self.steps.contains_key(&zxid) && !self.others.contains(&zxid)
    }

    /// The newest state that anything tells of.
    pub(super) fn last(&self) -> Zxid {
        let steps = self.steps.last_key_value().map(|(zxid, _)| *zxid);
        let reads = self.reads.last().map(|(zxid, _)| *zxid);
        let finals = self.finals.last().map(|(zxid, ..)| *zxid);
        [steps, reads, finals].into_iter().flatten().max().unwrap_or_default()
    }

    /// Replays, with these writes of unknown outcome at these zxids.
    pub(super) fn replay(&self, placed: &BTreeMap<Zxid, Step>) -> Result<Timeline, Mismatch> {
        let mut steps = self.steps.clone();
        steps.extend(placed);
        let mut replay = Replay { facts: self, model: Model::new(), reads: 0, finals: 0 };
        let mut timeline = Timeline { changes: Vec::new() };
        for (zxid, step) in steps {
            replay.states_before(zxid)?;
            match step {
                Step::Call(number) => replay.write(zxid, number)?,
                Step::End(session, at) => {
                    if !self.has_log && replay.model.ephemerals_of(session).is_empty() {
                        return Err(Mismatch::useless(zxid));
                    }
                    replay.model.end_session(Origin { session, zxid, at });
                }
            }
            timeline.changes.append(&mut replay.model.take_changes());
        }
        replay.states_before(Zxid(u64::MAX))?;
        Ok(timeline)
    }
}

struct Replay<'f, 'h> {
    facts: &'f Facts<'h>,
    model: Model,
    /// How many reads, and final trees, have been compared.
    reads: usize,
    finals: usize,
}

impl Replay<'_, '_> {
    fn write(&mut self, zxid: Zxid, number: usize) -> Result<(), Mismatch> {
        let Some(call) = self.facts.calls.all.get(number) else { return Ok(()) };
        let before = self.last_changed(call.op);
        let is_refused = self.facts.refuses_ephemerals && matches!(call.op, Op::Create { ephemeral: true, .. });
        let outcome = match is_refused {
            true => Err(Code::EPHEMERAL_ON_LOCAL_SESSION.into()),
            false => self.model.write(call.op, Origin { session: call.session, zxid, at: Some(call.asked) }),
        };
        let Some(reply) = call.reply else {
            // Of what the search has placed, only what has an effect explains anything.
            return if outcome.is_err() && !self.facts.has_log { Err(Mismatch::useless(zxid)) } else { Ok(()) };
        };
        let wrong = match &outcome {
            Ok(expected) if reply.err.0 == 0 => difference(expected, reply.answer, call.op),
            Ok(_) => Some(format!("{}, and nothing stands against it", reply.err)),
            Err(failure) if failure.code != reply.err => Some(format!("{}, and not {}", reply.err, failure.code)),
            Err(failure) => results_differ(failure.results.as_ref(), reply.answer),
        };
        match wrong {
            None => Ok(()),
            Some(wrong) => Err(self.mismatch(zxid, true, number, reply, &wrong, before)),
        }
    }

    /// Compares the reads and the final trees of states before this txn.
    fn states_before(&mut self, next: Zxid) -> Result<(), Mismatch> {
        while let Some((zxid, number)) = self.facts.reads.get(self.reads).filter(|(zxid, _)| *zxid < next) {
            self.reads += 1;
            self.read(*zxid, *number)?;
        }
        while let Some((zxid, at, nodes)) = self.facts.finals.get(self.finals).filter(|(zxid, ..)| *zxid < next) {
            self.finals += 1;
            self.final_tree(*zxid, *at, nodes)?;
        }
        Ok(())
    }

    fn read(&self, zxid: Zxid, number: usize) -> Result<(), Mismatch> {
        let Some(call) = self.facts.calls.all.get(number) else { return Ok(()) };
        let Some(reply) = call.reply else { return Ok(()) };
        let wrong = match self.model.read(call.op) {
            Ok(expected) if reply.err.0 == 0 => difference(&expected, reply.answer, call.op),
            Ok(_) => Some(format!("{}, and it is there", reply.err)),
            Err(code) if code != reply.err => Some(format!("{}, and not {code}", reply.err)),
            Err(_) => None,
        };
        match wrong {
            None => Ok(()),
            Some(wrong) => Err(self.mismatch(zxid, false, number, reply, &wrong, self.last_changed(call.op))),
        }
    }

    fn final_tree(&self, zxid: Zxid, at: At, nodes: &[FinalNode]) -> Result<(), Mismatch> {
        let found: BTreeMap<&str, &FinalNode> = nodes.iter().map(|node| (node.path.as_str(), node)).collect();
        let expected: BTreeMap<String, FinalNode> =
            self.model.final_nodes().map(|node| (node.path.clone(), node)).collect();
        let wrong = |path: &str, stat: Option<&Stat>, message: String| Mismatch {
            message: format!("in the final tree at {zxid}: {message}"),
            lines: self.model.get(path).and_then(|node| node.changed_at).into_iter().chain([at]).collect(),
            zxid,
            is_write: false,
            paths: vec![path.to_owned()],
            hints: stat.map(hints_of).unwrap_or_default(),
            is_final: true,
        };
        for (path, node) in &expected {
            match found.get(path.as_str()) {
                None => return Err(wrong(path, None, format!("{path} is missing"))),
                Some(other) if *other != node => {
                    let message = format!("{path} is {other:?}, and should be {node:?}");
                    return Err(wrong(path, Some(&other.stat), message));
                }
                Some(_) => {}
            }
        }
        match found.iter().find(|(path, _)| !expected.contains_key(**path)) {
            Some((path, node)) => Err(wrong(path, Some(&node.stat), format!("{path} is there and should not be"))),
            None => Ok(()),
        }
    }

    /// The line that last changed what an operation is about, or else its parent.
    fn last_changed(&self, op: &Op) -> Option<At> {
        let path = op.path()?;
        let parent = super::model::split(path).map(|(parent, _)| parent);
        [Some(path), parent].into_iter().flatten().find_map(|path| self.model.get(path)?.changed_at)
    }

    fn mismatch(
        &self,
        zxid: Zxid,
        is_write: bool,
        number: usize,
        reply: Replied<'_>,
        wrong: &str,
        before: Option<At>,
    ) -> Mismatch {
        let Some(call) = self.facts.calls.all.get(number) else { unreachable!("a number of these calls") };
        let stats =
            reply.answer.stat.iter().chain(reply.answer.results.iter().flatten().filter_map(|p| p.stat.as_ref()));
        Mismatch {
            message: format!("client {} is told at {zxid}, of request {}: {wrong}", call.client.0, call.xid.0),
            lines: [Some(call.asked), Some(reply.at), before].into_iter().flatten().collect(),
            zxid,
            is_write,
            paths: paths_of(call.op),
            hints: stats.flat_map(hints_of).collect(),
            is_final: false,
        }
    }
}

/// The znodes that an operation is about.
pub(super) fn paths_of(op: &Op) -> Vec<String> {
    match op {
        Op::Multi { ops } => ops.iter().flat_map(paths_of).collect(),
        op => op.path().map(str::to_owned).into_iter().collect(),
    }
}

fn hints_of(stat: &Stat) -> Vec<Zxid> {
    vec![stat.mzxid, stat.czxid, stat.pzxid]
}

/// What an answer says otherwise than it should. What it does not say is not compared, nor the root's Stat.
fn difference(expected: &Answer, told: &Answer, op: &Op) -> Option<String> {
    fn differs<T: PartialEq + std::fmt::Debug>(what: &str, expected: Option<&T>, told: Option<&T>) -> Option<String> {
        let (expected, told) = (expected?, told?);
        (expected != told).then(|| format!("{what} {told:?}, and not {expected:?}"))
    }
    let sorted =
        |names: &Option<Vec<String>>| names.as_ref().map(|names| names.iter().cloned().collect::<BTreeSet<_>>());
    let is_root = op.path() == Some("/");
    differs("the path", expected.path.as_ref(), told.path.as_ref())
        .or_else(|| differs("the data", expected.data.as_ref(), told.data.as_ref()))
        .or_else(|| differs("the Stat", expected.stat.as_ref(), told.stat.as_ref()).filter(|_| !is_root))
        .or_else(|| differs("the children", sorted(&expected.names).as_ref(), sorted(&told.names).as_ref()))
        .or_else(|| results_differ(expected.results.as_ref(), told))
}

fn results_differ(expected: Option<&Vec<PartAnswer>>, told: &Answer) -> Option<String> {
    let (expected, told) = (expected?, told.results.as_ref()?);
    if expected.len() != told.len() {
        return Some(format!("{} results, and not {}", told.len(), expected.len()));
    }
    expected.iter().zip(told).enumerate().find_map(|(number, (expected, told))| {
        let same_path = told.path.is_none() || expected.path == told.path;
        let same_stat = told.stat.is_none() || expected.stat == told.stat;
        let same = expected.err == told.err && same_path && same_stat;
        (!same).then(|| format!("as result {number} {told:?}, and not {expected:?}"))
    })
}

/// For each call: the newest zxid in any line before it.
fn seen_when_asked(history: &History, calls: &Calls<'_>) -> Vec<Zxid> {
    let mut newest = Zxid(0);
    let mut lines = history.events().peekable();
    calls
        .all
        .iter()
        .map(|call| {
            while let Some((_, event)) = lines.next_if(|(at, _)| *at < call.asked) {
                newest = newest.max(shown_by(event));
            }
            newest
        })
        .collect()
}

/// A zxid that a client has seen: it was committed before.
pub(super) fn shown_by(event: &Event) -> Zxid {
    match event {
        Event::Reply { zxid, err, .. } if !err.is_refusal() => *zxid,
        Event::Watch { zxid: Some(zxid), .. } | Event::Applied { zxid, .. } => *zxid,
        _ => Zxid(0),
    }
}
