//! What is never sent, and why: the deliberate divergences from ZooKeeper that a random sequence would run into.
//!
//! One table. `docs/compatibility.md` lists it (a test compares the two); the generator and `rkdiff replay` refuse what is in it.

use crate::sequence::{Field, Op};
use proto::OpCode;

/// A deliberate divergence.
#[derive(Clone, Copy, Debug)]
pub struct Deliberate {
    /// What is sent, as in `docs/compatibility.md`.
    pub what: &'static str,
    /// What the real server does, what RingKeeper does, and why.
    pub why: &'static str,
    /// Is it this operation?
    pub is: fn(&Op) -> bool,
}

/// All of them.
pub const DELIBERATE: &[Deliberate] = &[
    Deliberate {
        what: "`deleteContainer` from a client",
        why: "ZooKeeper removes any empty node, without a look at its ACL; the server's own in RingKeeper, which closes the connection",
        is: |op| op.code() == Some(OpCode::DeleteContainer),
    },
    Deliberate {
        what: "`createSession` from a client",
        why: "ZooKeeper makes a session and sends a second handshake answer; RingKeeper answers Unimplemented and closes",
        is: |op| op.code() == Some(OpCode::CreateSession),
    },
    Deliberate {
        what: "createTTL with a mode that has no TTL and a negative ttl",
        why: "ZooKeeper logs a txn that it cannot apply and stops for good; RingKeeper answers BadArguments",
        is: |op| op.code() == Some(OpCode::CreateTtl) && has_no_ttl(&op.body),
    },
    Deliberate {
        what: "a null path in a list, in `sync` or of a watch, or beside another fault",
        why: "in `setWatches` (a null list behind others too), a multi or a multiRead ZooKeeper does what stands before the null and then trips over it, and in a create it \
              depends on which fault it finds first; RingKeeper refuses the whole request as one that cannot be read. In `sync` and for watches ZooKeeper \
              takes null for a path like others; RingKeeper refuses it",
        is: |op| op.body.iter().any(has_null),
    },
    Deliberate {
        what: "a write sent behind a `setACL` that is not yet answered",
        why: "ZooKeeper checks it against the old ACL or the new one, by chance; RingKeeper always against the new one",
        // The generator ends its bursts with one.
        is: |_| false,
    },
    Deliberate {
        what: "createContainer with an ephemeral's mode right before the end of its session",
        why: "ZooKeeper may remove the container with the session, by chance; RingKeeper keeps it: it is no ephemeral",
        // The generator does not close behind one.
        is: |_| false,
    },
    Deliberate {
        what: "a multi that a null in an ACL spoils behind other operations",
        why: "ZooKeeper refuses it, yet requests close behind it may build on its earlier operations; RingKeeper takes all of it back",
        // The generator puts it first in a multi.
        is: |_| false,
    },
    Deliberate {
        what: "a ping behind other requests",
        why: "ZooKeeper answers it in its turn, RingKeeper at once: so a long write is no silence; clients tell it by its xid -2. \
              Behind a listing of 10,000 children and more it waits, as there",
        // It is sent; its place and its header's zxid are not compared.
        is: |_| false,
    },
    Deliberate {
        what: "a string that is not UTF-8, or has a character above U+FFFF that is sent back",
        why: "ZooKeeper reads replacement characters and writes such a character as two surrogates; RingKeeper reads them so in the ids of \
              ACLs and of clients, elsewhere refuses what is not UTF-8, and writes UTF-8: a path must not change on its way",
        // What is not UTF-8 cannot be said: the paths of a sequence are strings.
        is: |op| !op.code().is_some_and(OpCode::is_write) && op.body.iter().any(is_above_ffff),
    },
];

fn has_no_ttl(body: &[Field]) -> bool {
    match body {
        [.., Field::Int(flags), Field::Long(ttl)] => *ttl < 0 && !matches!(flags, 5 | 6),
        _ => false,
    }
}

fn has_null(field: &Field) -> bool {
    match field {
        Field::Paths(Some(paths)) => paths.contains(&None),
        _ => false,
    }
}

fn is_above_ffff(field: &Field) -> bool {
    let is_above = |path: &Option<String>| path.as_ref().is_some_and(|path| path.chars().any(|c| c > '\u{ffff}'));
    match field {
        Field::Path(path) => is_above(path),
        Field::Paths(Some(paths)) => paths.iter().any(is_above),
        _ => false,
    }
}

/// Why the operation is not sent, if it is one of those.
#[must_use]
pub fn refused(op: &Op) -> Option<&'static Deliberate> {
    DELIBERATE.iter().find(|deliberate| (deliberate.is)(op))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_on_compatibility_has_each() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");
        let page = std::fs::read_to_string(file).unwrap();
        for Deliberate { what, why, .. } in DELIBERATE {
            let row = format!("| {what} | {why} |");
            assert!(page.lines().any(|line| line == row), "docs/compatibility.md lacks this row:\n{row}");
        }
    }

    #[test]
    fn what_stops_java_for_good_is_never_sent() {
        let create = |flags, ttl| Op::new(OpCode::CreateTtl, vec![Field::Int(flags), Field::Long(ttl)]);
        assert!(refused(&create(0, -1)).is_some());
        assert!(refused(&create(1, i64::MIN)).is_some());
        assert!(refused(&create(5, -1)).is_none(), "BadArguments");
        assert!(refused(&create(0, 5)).is_none(), "BadArguments");
    }
}
