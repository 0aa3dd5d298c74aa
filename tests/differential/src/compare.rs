//! Holds two transcripts of one sequence against each other.
//!
//! Session ids must correspond one to one; zxids one to one and in order; a time must be one and the same wherever the candidate shows it for
//! a zxid. All else must be equal, in the same order on each connection; only what one session's end removes may come in any order.

use crate::drive::Transcript;
use crate::observe::{Item, Source, Token, Value};
use crate::older::Tolerance;
use crate::sequence::{Op, Sequence, Step};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// The first place where two transcripts differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The step's number; past the last one are the end of the sessions and the look at the tree.
    pub step: usize,
    /// The connection.
    pub conn: usize,
    /// What differs, short: the operation or kind of item, and the field.
    pub field: String,
    /// What the reference showed.
    pub reference: String,
    /// What the candidate showed.
    pub candidate: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { step, conn, field, reference, candidate } = self;
        write!(f, "step {step}, connection {conn}: {field}\n  reference: {reference}\n  candidate: {candidate}")
    }
}

/// The first difference, if there is one that the tolerance does not cover.
#[must_use]
pub fn compare(
    sequence: &Sequence,
    reference: &Transcript,
    candidate: &Transcript,
    mut tolerance: Tolerance<'_>,
) -> Option<Difference> {
    let mut pairs = Pairs { more: zxids_more(sequence, reference, candidate, &mut tolerance), ..Pairs::default() };
    for (number, (ours, theirs)) in reference.steps.iter().zip(&candidate.steps).enumerate() {
        let step = sequence.steps.get(number);
        let unordered = step.is_none_or(Step::closes_session);
        for conn in 0..ours.len().max(theirs.len()) {
            let items = |of: &[Vec<Item>]| of.get(conn).cloned().unwrap_or_default();
            let (mut ours, mut theirs) = (items(ours), items(theirs));
            theirs.iter_mut().for_each(|item| tolerance.rewrite(op_of(step, item), item));
            for items in [&mut ours, &mut theirs] {
                make_comparable(items, unordered);
            }
            let found = differs_on_a_connection(step, &ours, &theirs, &mut pairs, &mut tolerance);
            let Some((field, left, right)) = found else { continue };
            let show = |item: Option<&Item>| item.map_or_else(|| "nothing".to_owned(), Item::to_string);
            let field = format!("{} {field}", name_of(sequence, number, left.or(right)));
            return Some(Difference { step: number, conn, field, reference: show(left), candidate: show(right) });
        }
    }
    None
}

type Place<'i> = (String, Option<&'i Item>, Option<&'i Item>);

/// The first field that differs, with the two items.
fn differs_on_a_connection<'i>(
    step: Option<&Step>,
    ours: &'i [Item],
    theirs: &'i [Item],
    pairs: &mut Pairs,
    tolerance: &mut Tolerance<'_>,
) -> Option<Place<'i>> {
    let (mut at, mut there) = (0, 0);
    while at < ours.len() || there < theirs.len() {
        let (left, right) = (ours.get(at), theirs.get(there));
        if is_late_close(left, right) {
            return None;
        }
        let is_alike = |tolerance: &mut Tolerance<'_>| {
            left.zip(right).is_some_and(|(ours, theirs)| tolerance.is_alike(op_of(step, ours), ours, theirs))
        };
        match differs(pairs, left, right) {
            None => {}
            Some(_) if is_alike(tolerance) => {}
            Some(_) if left.is_some_and(|item| tolerance.is_more(item)) => {
                at += 1;
                continue;
            }
            Some(field) => return Some((field, left, right)),
        }
        at += 1;
        there += 1;
    }
    None
}

/// The operation that an item answers.
fn op_of<'s>(step: Option<&'s Step>, item: &Item) -> Option<&'s Op> {
    match (step, &item.source) {
        (Some(Step::Burst { ops, .. }), Source::Reply(number)) => ops.get(*number),
        _ => None,
    }
}

/// Zxids that only the reference has used up, for requests that are alike all the same, each with the one that the candidate shows there.
fn zxids_more(
    sequence: &Sequence,
    reference: &Transcript,
    candidate: &Transcript,
    tolerance: &mut Tolerance<'_>,
) -> HashMap<i64, i64> {
    let mut more = HashMap::new();
    let mut last = (0, 0);
    for (number, steps) in reference.steps.iter().zip(&candidate.steps).enumerate() {
        let items = || steps.0.iter().zip(steps.1).flat_map(|(ours, theirs)| ours.iter().zip(theirs));
        // What the other connections show is as new as the last reply of the step.
        for (left, right) in items().filter(|(left, right)| left.source == right.source) {
            let Some(op) = op_of(sequence.steps.get(number), left) else { continue };
            let (a, b) = (zxid_of(left), zxid_of(right));
            if a > last.0 && b == last.1 && tolerance.is_alike(Some(op), left, right) {
                more.insert(a, b);
            }
            last = (last.0.max(a), last.1.max(b));
        }
        last = items().fold(last, |last, (left, right)| (last.0.max(zxid_of(left)), last.1.max(zxid_of(right))));
    }
    more
}

/// The zxid in an item's header, 0 for none.
fn zxid_of(item: &Item) -> i64 {
    match item.value("header-zxid") {
        Some(Value::Zxid(zxid)) => (*zxid).max(0),
        _ => 0,
    }
}

/// A server closes a connection some time after it has refused a request: the sync that ends the step is answered before that, or not any
/// more. A close without a reason shows at the next step, which finds the connection gone on one side only.
fn is_late_close(left: Option<&Item>, right: Option<&Item>) -> bool {
    let sources = (left.map(|item| &item.source), right.map(|item| &item.source));
    matches!(sources, (Some(Source::Barrier), Some(Source::Closed)) | (Some(Source::Closed), Some(Source::Barrier)))
}

/// What an item is called in a report; the same for every sequence that shows the same fault.
fn name_of(sequence: &Sequence, step: usize, item: Option<&Item>) -> String {
    match (item.map(|item| &item.source), sequence.steps.get(step)) {
        (Some(Source::Reply(number)), Some(Step::Burst { ops, .. })) => {
            match ops.get(*number).map(|op| (op.op, op.code())) {
                Some((_, Some(code))) => format!("{code:?}"),
                Some((op, None)) => format!("opcode {op}"),
                None => "Reply".to_owned(),
            }
        }
        (Some(Source::Audit(what)), _) => format!("audit {}", what.split(' ').next().unwrap_or_default()),
        (Some(source), _) => format!("{source:?}"),
        (None, _) => String::new(),
    }
}

/// Events of one zxid in the order of their paths, where the order is open.
fn make_comparable(items: &mut [Item], unordered: bool) {
    if !unordered {
        return;
    }
    let key = |item: &Item| (item.source == Source::Event).then(|| item.value("header-zxid").cloned());
    for same in items.chunk_by_mut(|a, b| key(a).is_some() && key(a) == key(b)) {
        same.sort_by_key(|item| (item.value("path").cloned(), item.value("type").cloned()));
    }
}

/// The field in which two items differ.
fn differs(pairs: &mut Pairs, left: Option<&Item>, right: Option<&Item>) -> Option<String> {
    let (Some(left), Some(right)) = (left, right) else { return Some("is missing on one side".to_owned()) };
    if left.source == Source::Silence {
        return Some("on both sides".to_owned());
    }
    if left.source != right.source {
        return Some(format!("beside {:?}", right.source));
    }
    for (a, b) in left.tokens.iter().zip(&right.tokens) {
        if a.name != b.name || !pairs.agree(a, b) {
            return Some(a.name.to_owned());
        }
    }
    (left.tokens.len() != right.tokens.len()).then(|| "number of fields".to_owned())
}

/// What has corresponded so far.
#[derive(Default)]
struct Pairs {
    zxids: BTreeMap<i64, i64>,
    /// Zxids of the reference without a counterpart, and what stands in their place.
    more: HashMap<i64, i64>,
    sessions: HashMap<i64, i64>,
    sessions_back: HashMap<i64, i64>,
    times: HashMap<i64, i64>,
}

impl Pairs {
    fn agree(&mut self, a: &Token, b: &Token) -> bool {
        match (&a.value, &b.value) {
            (Value::Zxid(a), Value::Zxid(b)) => self.zxids_agree(*a, *b),
            (Value::Session(a), Value::Session(b)) => self.sessions_agree(*a, *b),
            (Value::Time { ms: a, .. }, Value::Time { zxid, ms: b }) => self.times_agree(*zxid, *a, *b),
            (a, b) => a == b,
        }
    }

    fn zxids_agree(&mut self, a: i64, b: i64) -> bool {
        if a <= 0 || b <= 0 {
            return a == b;
        }
        if let Some(instead) = self.more.get(&a) {
            return *instead == b;
        }
        if let Some(known) = self.zxids.get(&a) {
            return *known == b;
        }
        let fits = self.zxids.range(..a).next_back().is_none_or(|(_, before)| *before < b)
            && self.zxids.range(a..).next().is_none_or(|(_, after)| b < *after);
        if fits {
            self.zxids.insert(a, b);
        }
        fits
    }

    fn sessions_agree(&mut self, a: i64, b: i64) -> bool {
        if a == 0 || b == 0 {
            return a == b;
        }
        *self.sessions.entry(a).or_insert(b) == b && *self.sessions_back.entry(b).or_insert(a) == a
    }

    fn times_agree(&mut self, zxid: i64, a: i64, b: i64) -> bool {
        if a == 0 || b == 0 || zxid == 0 {
            return (a == 0) == (b == 0);
        }
        *self.times.entry(zxid).or_insert(b) == b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(value: Value) -> Token {
        Token { name: "x", value }
    }

    fn zxids(pairs: &mut Pairs, a: i64, b: i64) -> bool {
        pairs.agree(&token(Value::Zxid(a)), &token(Value::Zxid(b)))
    }

    #[test]
    fn zxids_correspond_one_to_one_and_in_order() {
        let mut pairs = Pairs::default();
        assert!(zxids(&mut pairs, 10, 20));
        assert!(zxids(&mut pairs, 12, 25));
        assert!(zxids(&mut pairs, 11, 22), "one between two");
        assert!(zxids(&mut pairs, 10, 20));
        assert!(!zxids(&mut pairs, 10, 21), "another for the same");
        assert!(!zxids(&mut pairs, 13, 25), "the same for another");
        assert!(!zxids(&mut pairs, 14, 24), "out of order");
        assert!(!zxids(&mut pairs, 15, -1), "none is no zxid");
    }

    #[test]
    fn a_session_is_one_session() {
        let mut pairs = Pairs::default();
        assert!(pairs.sessions_agree(1, 5));
        assert!(!pairs.sessions_agree(2, 5));
        assert!(!pairs.sessions_agree(1, 6));
        assert!(!pairs.sessions_agree(0, 5));
    }

    fn event(zxid: i64, path: &str) -> Item {
        let tokens = vec![
            Token { name: "header-zxid", value: Value::Zxid(zxid) },
            Token { name: "path", value: Value::Text(Some(path.into())) },
        ];
        Item { source: Source::Event, tokens }
    }

    #[test]
    fn only_events_of_one_zxid_may_change_places() {
        let transcript = |items: &[Item]| Transcript { steps: vec![vec![items.to_vec()]] };
        let end = Sequence::default();
        let (a, b, later) = (event(1, "/a"), event(1, "/b"), event(2, "/0"));
        let reference = transcript(&[a.clone(), b.clone(), later.clone()]);
        let compare = |sequence: &Sequence, candidate: &[Item]| {
            compare(sequence, &reference, &transcript(candidate), Tolerance::none())
        };
        assert_eq!(compare(&end, &[b.clone(), a.clone(), later.clone()]), None);
        assert!(compare(&end, &[a.clone(), later.clone(), b.clone()]).is_some());
        assert!(compare(&end, &[a.clone(), later.clone()]).is_some());
        let ordered = Sequence { steps: vec![Step::Drop { conn: 0 }] };
        assert!(compare(&ordered, &[b, a, later]).is_some());
    }
}
