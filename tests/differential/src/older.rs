//! What ZooKeeper 3.8.0 (Debian's package) does otherwise than 3.9.5, by name: RingKeeper does as 3.9.5 does.
//!
//! One table, with the numbers of ZooKeeper's own issues. `rkdiff --java 3.8` leaves these differences out, and reports every other one;
//! `docs/zookeeper-3.8.md` lists them for people, and a test holds page and table the same. What leaves another state behind is not sent
//! ([`How::NotSent`]); the rest is sent, and the two answers may differ exactly so. It counts what it has left out, so that an entry that
//! nothing needs any more shows.

mod rules;
mod state;

use crate::observe::Item;
use crate::sequence::{Field, Op, Sequence, Step};
use proto::OpCode;
use rules::{MARSHALLING, NO_AUTH, NO_WATCHER, errors};
pub use state::{Unreadable, Watches};
use std::collections::BTreeMap;
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
    Alike(fn(&Unreadable, &Op, &Item, &Item) -> bool),
    /// 3.8.0 has this event more.
    More(fn(&Unreadable, &Item) -> bool),
}

/// All of them.
pub const OLDER: &[Older] = &[
    Older {
        issue: "ZOOKEEPER-4655 (3.9.0)",
        what: "the zxid in the header of a watch event",
        why: "always -1; in 3.9 the zxid of the txn that fired the watch",
        how: How::Rewritten(rules::event_without_zxid),
    },
    Older {
        issue: "ZOOKEEPER-4026 (3.8.2, 3.9.0)",
        what: "create2 in a multi",
        why: "its result is a create's, without a Stat; since then it is a create2's",
        how: How::Rewritten(rules::create2_in_a_multi_as_create),
    },
    Older {
        issue: "ZOOKEEPER-4472 (3.9.0)",
        what: "removeWatches and checkWatches of the types 4 and 5 (persistent, persistent recursive)",
        why: "MarshallingError, and the watch stays; 3.9 knows them",
        how: How::NotSent(|_, _, op| matches!(rules::watch_type(op), Some(4 | 5))),
    },
    Older {
        issue: "ZOOKEEPER-4471 (3.9.0)",
        what: "removeWatches and checkWatches of the types 1 and 2 (children, data) where the watch is a persistent one",
        why: "half of the persistent watch is taken for one and removed; in 3.9 only standard watches are meant",
        how: How::NotSent(|watches, conn, op| {
            matches!(rules::watch_type(op), Some(1 | 2)) && watches.has_persistent(conn, op.path())
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
        how: How::Alike(|unreadable, op, ours, theirs| match op.code() {
            Some(OpCode::Exists) => unreadable.has(op.path()) && errors(ours, theirs) == (Some(0), NO_AUTH),
            // The watch that exists has left.
            Some(OpCode::RemoveWatches | OpCode::CheckWatches) => {
                unreadable.has(op.path()) && errors(ours, theirs) == (Some(0), NO_WATCHER)
            }
            _ => false,
        }),
    },
    Older {
        issue: "ZOOKEEPER-4799 (3.8.4, 3.9.2; CVE-2024-23944)",
        what: "events of znodes that the watcher may not read",
        why: "delivered; in 3.9 not",
        how: How::More(Unreadable::is_event_of_one),
    },
    Older {
        issue: "ZOOKEEPER-4240 (3.9.4)",
        what: "an IPv6 address in an ACL",
        why: "InvalidACL; 3.9.5 takes it",
        how: How::NotSent(|_, _, op| op.body.iter().any(rules::has_ipv6)),
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
        how: How::Alike(|_, op, ours, theirs| {
            let is_single = op.code().is_some_and(|code| code.is_write() && code != OpCode::Multi);
            is_single && errors(ours, theirs) == (MARSHALLING, MARSHALLING)
        }),
    },
    Older {
        issue: "ZOOKEEPER-4026 (3.8.2, 3.9.0)",
        what: "a create in a multi with a mode that there is not, a TTL without one, or a null ACL",
        why: "that operation fails with BadArguments or InvalidACL, as it would alone; since then the whole multi with MarshallingError, as one that cannot be read",
        how: How::Alike(|_, op, ours, theirs| {
            let fits = op.code() == Some(OpCode::Multi) && op.body.iter().any(rules::is_create_of_no_kind);
            match errors(ours, theirs) {
                (Some(0), MARSHALLING) => fits && rules::has_failed_operation(ours),
                (MARSHALLING, MARSHALLING) => fits,
                _ => false,
            }
        }),
    },
    Older {
        issue: "ZOOKEEPER-4026 (3.8.2, 3.9.0)",
        what: "such a create behind other operations of a multi",
        why: "where it is trouble while the multi is prepared (a TTL's mode without a TTL), requests behind it can meet what the operations before it would have done",
        how: How::NotSent(|_, _, op| {
            op.code() == Some(OpCode::Multi) && op.body.iter().skip(1).any(rules::is_create_of_no_kind)
        }),
    },
    Older {
        issue: "ZOOKEEPER-4026 (3.8.2, 3.9.0)",
        what: "createContainer in a multi with a mode that is not a container's",
        why: "makes what the mode says; since then a container",
        how: How::NotSent(|_, _, op| {
            op.code() == Some(OpCode::Multi) && op.body.iter().any(rules::is_container_of_another_mode)
        }),
    },
    Older {
        issue: "ZOOKEEPER-4466 (3.9.0)",
        what: "checkWatches where another connection has a watch on the path",
        why: "finds that one; in 3.9 only the connection's own",
        how: How::Alike(|_, op, ours, theirs| {
            op.code() == Some(OpCode::CheckWatches) && errors(ours, theirs) == (Some(0), NO_WATCHER)
        }),
    },
    Older {
        issue: "ZOOKEEPER-4466 (3.9.0)",
        what: "checkWatches of a path that does not begin with a slash",
        why: "MarshallingError, for the empty path NoWatcher; in 3.9 as for other paths",
        how: How::Alike(|_, op, ours, theirs| {
            let is_odd = op.path().is_some_and(|path| !path.starts_with(['/', '~']));
            let fits = matches!(errors(ours, theirs), (MARSHALLING | NO_WATCHER, NO_WATCHER | Some(0)));
            op.code() == Some(OpCode::CheckWatches) && is_odd && fits
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
        let Some(op) = op.filter(|_| ours.source == theirs.source) else { return false };
        self.any(|older, unreadable| matches!(older.how, How::Alike(is) if is(unreadable, op, ours, theirs)))
    }

    /// Is the reference's item one that the candidate has not?
    pub(crate) fn is_more(&mut self, ours: &Item) -> bool {
        self.any(|older, unreadable| matches!(older.how, How::More(is) if is(unreadable, ours)))
    }

    fn any(&mut self, is: impl Fn(&Older, &Unreadable) -> bool) -> bool {
        let Some((seen, unreadable)) = &mut self.older else { return false };
        let found = OLDER.iter().find(|older| is(older, unreadable));
        found.inspect(|older| seen.count(older)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Source, Token, Value};
    use crate::sequence::AclEntry;

    #[test]
    fn the_page_on_3_8_has_each_and_no_other() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/zookeeper-3.8.md");
        let page = std::fs::read_to_string(file).unwrap();
        let rows: Vec<&str> =
            page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what | 3.8.0")).collect();
        let row = |older: &Older| format!("| {} | {} | {} |", older.what, older.why, older.issue);
        assert_eq!(rows, OLDER.iter().map(row).collect::<Vec<_>>());
    }

    #[test]
    fn each_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = OLDER.iter().map(|older| older.what).collect();
        assert_eq!(names.len(), OLDER.len());
    }

    fn path(path: &str) -> Field {
        Field::Path(Some(path.to_owned()))
    }

    fn reply(err: i64) -> Item {
        let tokens = vec![Token { name: "err", value: Value::Int(err) }];
        Item { source: Source::Reply(0), tokens }
    }

    fn event(path: &str) -> Item {
        let tokens = vec![
            Token { name: "header-zxid", value: Value::Zxid(7) },
            Token { name: "path", value: Value::Text(Some(path.into())) },
        ];
        Item { source: Source::Event, tokens }
    }

    fn sequence(ops: &[Op]) -> Sequence {
        Sequence { steps: vec![Step::Burst { conn: 0, ops: ops.to_vec() }] }
    }

    /// A znode at `at` that only user `ann` may read.
    fn closed(at: &str) -> Op {
        let acl = vec![AclEntry(1, Some("digest".to_owned()), Some("ann:x".to_owned()))];
        Op::new(OpCode::Create, vec![path(at), Field::Data(None), Field::Acl(Some(acl)), Field::Int(0)])
    }

    #[test]
    fn exists_may_differ_only_where_not_everybody_may_read() {
        let exists = |at: &str| Op::new(OpCode::Exists, vec![path(at), Field::Bool(true)]);
        let mut seen = Seen::default();
        let mut tolerance = Tolerance::of_older(&sequence(&[closed("~/a")]), &mut seen);
        assert!(tolerance.is_alike(Some(&exists("~/a")), &reply(0), &reply(-102)));
        assert!(!tolerance.is_alike(Some(&exists("~/b")), &reply(0), &reply(-102)));
        assert!(!tolerance.is_alike(Some(&exists("~/a")), &reply(-102), &reply(0)), "the other way round");
        assert!(!tolerance.is_alike(Some(&exists("~/a")), &reply(0), &reply(-101)));
        assert!(tolerance.is_more(&event("/r00000001/a")));
        assert!(tolerance.is_more(&event("/r00000001/a/b")), "by the parent's ACL");
        assert!(!tolerance.is_more(&event("/r00000001/b")));
        assert!(seen.to_string().contains("ZOOKEEPER-2590"), "{seen}");
        let mut none = Tolerance::none();
        assert!(!none.is_alike(Some(&exists("~/a")), &reply(0), &reply(-102)) && !none.is_more(&event("/r00000001/a")));
    }

    #[test]
    fn a_wrong_answer_has_no_name() {
        let mut seen = Seen::default();
        let mut tolerance = Tolerance::of_older(&sequence(&[closed("~/a")]), &mut seen);
        for code in OpCode::ALL {
            let op = Op::new(*code, vec![path("~/a"), Field::Int(1)]);
            for (ours, theirs) in [(0, -101), (-101, 0), (-103, 0), (-110, 0), (0, -5)] {
                assert!(!tolerance.is_alike(Some(&op), &reply(ours), &reply(theirs)), "{code:?} {ours} {theirs}");
            }
        }
    }

    #[test]
    fn an_event_is_shown_without_its_zxid() {
        let mut seen = Seen::default();
        let mut item = event("/r00000001/a");
        Tolerance::of_older(&Sequence::default(), &mut seen).rewrite(None, &mut item);
        assert_eq!(item.value("header-zxid"), Some(&Value::Zxid(-1)));
        Tolerance::none().rewrite(None, &mut event("/a"));
    }

    #[test]
    fn what_leaves_another_state_behind_is_not_sent() {
        let get = |at: &str| Op::new(OpCode::GetData, vec![path(at), Field::Bool(true)]);
        let add = |at: &str, mode| Op::new(OpCode::AddWatch, vec![path(at), Field::Int(mode)]);
        let remove = |at: &str, ty| Op::new(OpCode::RemoveWatches, vec![path(at), Field::Int(ty)]);
        let check = Op::new(OpCode::Check, vec![path("~/a"), Field::Int(-1)]);
        let ops = [
            get("~/a"),
            add("~/a", 0),
            add("~/b", 1),
            get("~/b"),
            remove("~/b", 1),
            remove("~/a", 1),
            remove("~/b", 5),
        ];
        let mut seen = Seen::default();
        let all = [&ops[..], &[remove("~/b", 3), check]].concat();
        let kept = without_not_sent(&sequence(&all), &mut seen);
        assert_eq!(kept, sequence(&[get("~/a"), add("~/b", 1), remove("~/a", 1), remove("~/b", 3)]));
    }
}
