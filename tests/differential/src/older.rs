//! What ZooKeeper 3.8.0 (Debian's package) does otherwise than 3.9.5, by name: RingKeeper does as 3.9.5 does.
//!
//! One table, with the numbers of ZooKeeper's own issues. `rkdiff --java 3.8` leaves these differences out, and reports every other one;
//! `docs/zookeeper-3.8.md` lists them for people, and a test holds page and table the same. What leaves another state behind is not sent
//! ([`How::NotSent`]); the rest is sent, and the two answers may differ exactly so. It counts what it has left out, so that an entry that
//! nothing needs any more shows.

use crate::observe::{Item, Source, Value};
use crate::sequence::{Field, Op, Sequence, Step};
use proto::OpCode;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// A difference between 3.8.0 and 3.9.5.
#[derive(Clone, Copy, Debug)]
pub struct Older {
    /// ZooKeeper's issue, with the release from which on it is as in 3.9.5.
    pub issue: &'static str,
    /// What it is about.
    pub what: &'static str,
    /// What 3.8.0 does, and what 3.9.5 and RingKeeper do.
    pub why: &'static str,
    /// How a comparison with 3.8.0 deals with it.
    pub how: How,
}

/// How a comparison with 3.8.0 deals with a difference.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// Such an operation is not sent: what it leaves behind, or whether the connection lives on, differs.
    NotSent(fn(&Watches, usize, &Op) -> bool),
    /// RingKeeper's item, for the operation that it answers, is changed into what 3.8.0 would show. True: it was.
    Rewritten(fn(Option<&Op>, &mut Item) -> bool),
    /// The two replies to the operation are alike, 3.8.0's first; and it is no matter if only there the request has used up a zxid.
    Alike(fn(&Op, &Item, &Item) -> bool),
    /// 3.8.0 has this event more, and may have watches more, on what not everybody may read.
    MoreOnUnreadable(fn(&Unreadable, Option<&Op>, &Item, Option<&Item>) -> bool),
}

/// All of them.
pub const OLDER: &[Older] = &[
    Older {
        issue: "ZOOKEEPER-4655 (3.9.0)",
        what: "the zxid in the header of a watch event",
        why: "always -1; in 3.9 the zxid of the txn that fired the watch",
        how: How::Rewritten(event_without_zxid),
    },
    Older {
        issue: "ZOOKEEPER-4026 (3.8.2, 3.9.0)",
        what: "create2 in a multi",
        why: "its result is a create's, without a Stat; since then it is a create2's",
        how: How::Rewritten(create2_in_a_multi_as_create),
    },
    Older {
        issue: "ZOOKEEPER-4472 (3.9.0)",
        what: "removeWatches and checkWatches of the types 4 and 5 (persistent, persistent recursive)",
        why: "MarshallingError, and the watch stays; 3.9 knows them",
        how: How::NotSent(|_, _, op| matches!(watch_type(op), Some(4 | 5))),
    },
    Older {
        issue: "ZOOKEEPER-4471 (3.9.0)",
        what: "removeWatches and checkWatches of the types 1 and 2 (children, data) where the watch is a persistent one",
        why: "half of the persistent watch is taken for one and removed; in 3.9 only standard watches are meant",
        how: How::NotSent(|watches, conn, op| {
            matches!(watch_type(op), Some(1 | 2)) && watches.has_persistent(conn, op.path())
        }),
    },
    Older {
        issue: "ZOOKEEPER-4466 (3.9.0)",
        what: "watches of different modes of one connection on one path",
        why: "the later mode replaces the earlier one; in 3.9 each stands for itself",
        how: How::NotSent(Watches::would_mix),
    },
    Older {
        issue: "ZOOKEEPER-2590 (3.8.4, 3.9.2)",
        what: "exists of a znode that the caller may not read",
        why: "its Stat, and the watch is kept; in 3.9 NoAuth and no watch",
        how: How::MoreOnUnreadable(exists_of_unreadable),
    },
    Older {
        issue: "ZOOKEEPER-4799 (3.8.4, 3.9.2; CVE-2024-23944)",
        what: "events of znodes that the watcher may not read",
        why: "delivered; in 3.9 not",
        how: How::MoreOnUnreadable(|unreadable, _, ours, _| unreadable.is_event_of_one(ours)),
    },
    Older {
        issue: "ZOOKEEPER-4240 (3.9.4)",
        what: "an IPv6 address in an ACL",
        why: "InvalidACL; 3.9.5 takes it",
        how: How::NotSent(|_, _, op| op.body.iter().any(has_ipv6)),
    },
    Older {
        issue: "ZOOKEEPER-2623 (3.8.5, 3.9.3)",
        what: "`check` outside a multi",
        why: "served like a write; 3.9.5 answers Unimplemented and closes the connection",
        how: How::NotSent(|_, _, op| op.code() == Some(OpCode::Check)),
    },
    Older {
        issue: "ZOOKEEPER-4575 (3.9.0)",
        what: "a write whose record cannot be read",
        why: "uses up a zxid, which the header of the MarshallingError shows; in 3.9 none",
        how: How::Alike(|op, ours, theirs| {
            let is_single = op.code().is_some_and(|code| code.is_write() && code != OpCode::Multi);
            is_single && errors(ours, theirs) == (MARSHALLING, MARSHALLING)
        }),
    },
    Older {
        issue: "ZOOKEEPER-4026 (3.8.2, 3.9.0)",
        what: "a create in a multi with a mode that there is not, a TTL without one, or a null ACL",
        why: "that operation fails with BadArguments or InvalidACL, as it would alone; since then the whole multi with MarshallingError, as one that cannot be read",
        how: How::Alike(|op, ours, theirs| {
            let fits = op.code() == Some(OpCode::Multi) && op.body.iter().any(is_create_of_no_kind);
            match errors(ours, theirs) {
                (Some(0), MARSHALLING) => fits && has_failed_operation(ours),
                (MARSHALLING, MARSHALLING) => fits,
                _ => false,
            }
        }),
    },
    Older {
        issue: "ZOOKEEPER-4026 (3.8.2, 3.9.0)",
        what: "such a create behind other operations of a multi",
        why: "where it is trouble while the multi is prepared (a TTL's mode without a TTL), requests behind it can meet what the operations before it would have done",
        how: How::NotSent(|_, _, op| op.code() == Some(OpCode::Multi) && op.body.iter().skip(1).any(is_create_of_no_kind)),
    },
    Older {
        issue: "ZOOKEEPER-4026 (3.8.2, 3.9.0)",
        what: "createContainer in a multi with a mode that is not a container's",
        why: "makes what the mode says; since then a container",
        how: How::NotSent(|_, _, op| op.code() == Some(OpCode::Multi) && op.body.iter().any(is_container_of_another_mode)),
    },
    Older {
        issue: "ZOOKEEPER-4466 (3.9.0)",
        what: "checkWatches where another connection has a watch on the path",
        why: "finds that one; in 3.9 only the connection's own",
        how: How::Alike(|op, ours, theirs| {
            op.code() == Some(OpCode::CheckWatches) && errors(ours, theirs) == (Some(0), NO_WATCHER)
        }),
    },
    Older {
        issue: "ZOOKEEPER-4466 (3.9.0)",
        what: "checkWatches of a path that does not begin with a slash",
        why: "MarshallingError; in 3.9 NoWatcher",
        how: How::Alike(|op, ours, theirs| {
            let is_odd = op.path().is_some_and(|path| !path.starts_with(['/', '~']));
            op.code() == Some(OpCode::CheckWatches) && is_odd && errors(ours, theirs) == (MARSHALLING, NO_WATCHER)
        }),
    },
    Older {
        issue: "number not found",
        what: "a null path in a multi",
        why: "MarshallingError with the end of no results behind it, and a zxid that no txn has; in 3.9.5 that zxid has an error txn",
        how: How::NotSent(|_, _, op| {
            op.code() == Some(OpCode::Multi)
                && op.body.iter().any(|sub| matches!(sub, Field::Sub(_, body) if body.contains(&Field::Path(None))))
        }),
    },
];

// ---- the differences, one by one --------------------------------------------------------------------------------------

fn event_without_zxid(_: Option<&Op>, item: &mut Item) -> bool {
    if item.source != Source::Event {
        return false;
    }
    let zxid = item.tokens.iter_mut().find(|token| token.name == "header-zxid" && token.value != Value::Zxid(-1));
    zxid.map(|token| token.value = Value::Zxid(-1)).is_some()
}

/// Fields of a Stat.
const STAT_FIELDS: usize = 11;

fn create2_in_a_multi_as_create(op: Option<&Op>, item: &mut Item) -> bool {
    let Some(op) = op.filter(|op| op.code() == Some(OpCode::Multi)) else { return false };
    // The mode decides what a create in a multi is: here neither a container nor a TTL, which keep their Stat.
    let is_create2 = |number: usize| {
        let Some(Field::Sub(15, body)) = op.body.get(number) else { return false };
        matches!(body.as_slice(), [_, _, _, Field::Int(0..=3), ..])
    };
    let (mut kept, mut number, mut is_changed) = (Vec::new(), 0, false);
    let mut tokens = std::mem::take(&mut item.tokens).into_iter();
    while let Some(mut token) = tokens.next() {
        let is_result = token.name == "result-type";
        let is_one = is_result && is_create2(number) && token.value == Value::Int(15);
        number += usize::from(is_result);
        if !is_one {
            kept.push(token);
            continue;
        }
        is_changed = true;
        token.value = Value::Int(1);
        kept.push(token);
        // Its error and its path; the Stat behind them is left out.
        kept.extend(tokens.by_ref().take(2));
        tokens.by_ref().take(STAT_FIELDS).for_each(drop);
    }
    item.tokens = kept;
    is_changed
}

/// The type that removeWatches or checkWatches names.
fn watch_type(op: &Op) -> Option<i32> {
    match (op.code(), op.body.get(1)) {
        (Some(OpCode::RemoveWatches | OpCode::CheckWatches), Some(Field::Int(ty))) => Some(*ty),
        _ => None,
    }
}

fn has_ipv6(field: &Field) -> bool {
    match field {
        Field::Acl(Some(entries)) => entries.iter().any(|entry| {
            entry.1.as_deref() == Some("ip") && entry.2.as_deref().is_some_and(|address| address.contains(':'))
        }),
        Field::Sub(_, body) => body.iter().any(has_ipv6),
        _ => false,
    }
}

const MARSHALLING: Option<i64> = Some(-5);
const NO_AUTH: Option<i64> = Some(-102);
const NO_WATCHER: Option<i64> = Some(-121);

/// The errors in the headers of two replies.
fn errors(ours: &Item, theirs: &Item) -> (Option<i64>, Option<i64>) {
    let error = |item: &Item| match item.value("err") {
        Some(Value::Int(err)) => Some(*err),
        _ => None,
    };
    (error(ours), error(theirs))
}

/// Has the multi failed, so that nothing was done?
fn has_failed_operation(item: &Item) -> bool {
    item.tokens.iter().any(|token| token.name == "result-error" && token.value != Value::Int(0))
}

fn is_container_of_another_mode(field: &Field) -> bool {
    let Field::Sub(op, body) = field else { return false };
    let is_container = OpCode::from_wire(*op) == Some(OpCode::CreateContainer);
    is_container && matches!(body.as_slice(), [_, _, _, Field::Int(0..=3), ..])
}

/// A create in a multi that is of no kind: a mode that there is not or that does not go with the opcode, or no ACL.
fn is_create_of_no_kind(field: &Field) -> bool {
    let Field::Sub(op, body) = field else { return false };
    let Some(code @ (OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl)) = OpCode::from_wire(*op)
    else {
        return false;
    };
    match body.as_slice() {
        [_, _, Field::Acl(None), ..] => true,
        [_, _, _, Field::Int(flags), ..] if code == OpCode::CreateTtl => !matches!(flags, 5 | 6),
        [_, _, _, Field::Int(flags), ..] => !matches!(flags, 0..=4),
        _ => false,
    }
}

fn exists_of_unreadable(unreadable: &Unreadable, op: Option<&Op>, ours: &Item, theirs: Option<&Item>) -> bool {
    if unreadable.is_event_of_one(ours) {
        return true;
    }
    let Some((op, theirs)) = op.zip(theirs).filter(|(op, _)| unreadable.has(op.path())) else { return false };
    match op.code() {
        Some(OpCode::Exists) => errors(ours, theirs) == (Some(0), NO_AUTH),
        // The watch that exists has left.
        Some(OpCode::RemoveWatches | OpCode::CheckWatches) => errors(ours, theirs) == (Some(0), NO_WATCHER),
        _ => false,
    }
}

// ---- what the rules look at ---------------------------------------------------------------------------------------------

/// Which modes of watches the connections of a sequence have asked for, by path.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    modes: HashMap<(usize, String), Mode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Standard,
    Persistent,
    Recursive,
}

impl Watches {
    fn has_persistent(&self, conn: usize, path: Option<&str>) -> bool {
        let mode = path.and_then(|path| self.modes.get(&(conn, path.to_owned())));
        mode.is_some_and(|mode| *mode != Mode::Standard)
    }

    fn would_mix(&self, conn: usize, op: &Op) -> bool {
        let mut also = self.clone();
        modes_of(op).into_iter().any(|(path, mode)| *also.modes.entry((conn, path)).or_insert(mode) != mode)
    }

    fn add(&mut self, conn: usize, op: &Op) {
        for (path, mode) in modes_of(op) {
            self.modes.entry((conn, path)).or_insert(mode);
        }
    }
}

/// The watches that an operation asks for.
fn modes_of(op: &Op) -> Vec<(String, Mode)> {
    let mut modes = Vec::new();
    match (op.code(), op.body.as_slice()) {
        (
            Some(OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2),
            [Field::Path(Some(path)), watch, ..],
        ) if *watch != Field::Bool(false) => modes.push((path.clone(), Mode::Standard)),
        (Some(OpCode::AddWatch), [Field::Path(Some(path)), Field::Int(mode), ..]) => match mode {
            0 => modes.push((path.clone(), Mode::Persistent)),
            1 => modes.push((path.clone(), Mode::Recursive)),
            _ => {}
        },
        (Some(OpCode::SetWatches | OpCode::SetWatches2), [_, lists @ ..]) => {
            for (number, list) in lists.iter().enumerate() {
                let mode = [Mode::Standard, Mode::Standard, Mode::Standard, Mode::Persistent, Mode::Recursive];
                if let (Field::Paths(Some(paths)), Some(mode)) = (list, mode.get(number)) {
                    modes.extend(paths.iter().flatten().map(|path| (path.clone(), *mode)));
                }
            }
        }
        _ => {}
    }
    modes
}

/// The paths of a sequence that not everybody may read, at some time.
#[derive(Clone, Debug, Default)]
pub struct Unreadable {
    paths: HashSet<String>,
}

impl Unreadable {
    fn of(sequence: &Sequence) -> Unreadable {
        let mut all = Unreadable::default();
        for op in operations(sequence) {
            all.add(&op.body);
        }
        all
    }

    fn add(&mut self, body: &[Field]) {
        let path = body.iter().find_map(|field| if let Field::Path(Some(path)) = field { Some(path) } else { None });
        for field in body {
            match (field, path) {
                (Field::Acl(Some(entries)), Some(path)) => {
                    let is_open = entries.iter().any(|entry| entry.0 & 1 != 0 && entry.1.as_deref() == Some("world"));
                    if !is_open {
                        self.paths.insert(path.clone());
                    }
                }
                (Field::Sub(_, body), _) => self.add(body),
                _ => {}
            }
        }
    }

    /// Is the path one of them, or a sequential child's that was made so?
    fn has(&self, path: Option<&str>) -> bool {
        let Some(path) = path else { return false };
        let digits = path.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
        self.paths.contains(path) || (digits.len() < path.len() && self.paths.contains(digits))
    }

    /// An event that is told by such a znode's ACL: its own, or for children its parent's.
    fn is_event_of_one(&self, item: &Item) -> bool {
        let Some(Value::Text(Some(path))) = item.value("path").filter(|_| item.source == Source::Event) else { return false };
        // `/r<number>` is what a run puts in the place of `~`.
        let path = String::from_utf8_lossy(path);
        let Some((_, below)) = path.strip_prefix('/').map(|path| path.split_once('/').unwrap_or((path, ""))) else {
            return false;
        };
        let own = if below.is_empty() { "~".to_owned() } else { format!("~/{below}") };
        let parent = own.rsplit_once('/').map(|(parent, _)| parent);
        self.has(Some(&own)) || self.has(parent)
    }
}

fn operations(sequence: &Sequence) -> impl Iterator<Item = &Op> {
    sequence.steps.iter().filter_map(|step| if let Step::Burst { ops, .. } = step { Some(ops) } else { None }).flatten()
}

// ---- for those who send and compare --------------------------------------------------------------------------------------

/// The sequence without what is not sent to 3.8.0.
#[must_use]
pub fn without_not_sent(sequence: &Sequence, seen: &mut Seen) -> Sequence {
    let mut watches = Watches::default();
    let mut keep = |conn: usize, op: &Op| {
        let not_sent = |older: &&Older| matches!(older.how, How::NotSent(is) if is(&watches, conn, op));
        match OLDER.iter().find(not_sent) {
            Some(older) => {
                seen.count(older);
                false
            }
            None => {
                watches.add(conn, op);
                true
            }
        }
    };
    let mut steps = Vec::with_capacity(sequence.steps.len());
    for step in &sequence.steps {
        match step {
            Step::Burst { conn, ops } => {
                let ops: Vec<Op> = ops.iter().filter(|op| keep(*conn, op)).cloned().collect();
                if !ops.is_empty() {
                    steps.push(Step::Burst { conn: *conn, ops });
                }
            }
            step => steps.push(step.clone()),
        }
    }
    Sequence { steps }
}

/// How often each difference has been left out.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    counts: BTreeMap<&'static str, (&'static str, usize)>,
}

impl Seen {
    fn count(&mut self, older: &Older) {
        self.counts.entry(older.what).or_insert((older.issue, 0)).1 += 1;
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, (issue, count)) in &self.counts {
            writeln!(f, "3.8.0 otherwise ×{count}: {what}, {issue}")?;
        }
        Ok(())
    }
}

/// What a comparison of one sequence may leave out.
#[derive(Debug)]
pub struct Tolerance<'s> {
    /// The reference is 3.8.0: without that there is nothing to leave out.
    older: Option<(&'s mut Seen, Unreadable)>,
}

impl<'s> Tolerance<'s> {
    /// The reference is 3.9.5: nothing.
    #[must_use]
    pub const fn none() -> Tolerance<'s> {
        Tolerance { older: None }
    }

    /// The reference is 3.8.0.
    #[must_use]
    pub fn of_older(sequence: &Sequence, seen: &'s mut Seen) -> Tolerance<'s> {
        Tolerance { older: Some((seen, Unreadable::of(sequence))) }
    }

    /// Changes the candidate's item into what 3.8.0 would show.
    pub(crate) fn rewrite(&mut self, op: Option<&Op>, item: &mut Item) {
        let Some((seen, _)) = &mut self.older else { return };
        for older in OLDER {
            if matches!(older.how, How::Rewritten(rewrite) if rewrite(op, item)) {
                seen.count(older);
            }
        }
    }

    /// Are the two replies alike though they differ?
    pub(crate) fn is_alike(&mut self, op: Option<&Op>, ours: &Item, theirs: &Item) -> bool {
        self.any(|older, unreadable| match older.how {
            How::Alike(is) => op.is_some_and(|op| is(op, ours, theirs)),
            How::MoreOnUnreadable(is) => ours.source != Source::Event && is(unreadable, op, ours, Some(theirs)),
            _ => false,
        })
    }

    /// Is the reference's item one that the candidate has not?
    pub(crate) fn is_more(&mut self, ours: &Item) -> bool {
        self.any(|older, unreadable| {
            ours.source == Source::Event
                && matches!(older.how, How::MoreOnUnreadable(is) if is(unreadable, None, ours, None))
        })
    }

    fn any(&mut self, is: impl Fn(&Older, &Unreadable) -> bool) -> bool {
        let Some((seen, unreadable)) = &mut self.older else { return false };
        let found = OLDER.iter().find(|older| is(older, unreadable));
        found.inspect(|older| seen.count(older)).is_some()
    }
}
