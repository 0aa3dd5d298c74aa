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
        what: "createTTL with a mode that has no TTL and ttl -1",
        why: "ZooKeeper logs a txn that it cannot apply and stops for good; RingKeeper answers BadArguments",
        is: |op| op.code() == Some(OpCode::CreateTtl) && has_no_ttl(&op.body),
    },
    Deliberate {
        what: "a string that is not UTF-8",
        why: "ZooKeeper reads replacement characters; RingKeeper refuses the request: the path would change on its way",
        // Not by name: the paths of a sequence are strings.
        is: |_| false,
    },
];

fn has_no_ttl(body: &[Field]) -> bool {
    match body {
        [.., Field::Int(flags), Field::Long(-1)] => !matches!(flags, 5 | 6),
        _ => false,
    }
}

/// Why the operation is not sent, if it is one of those.
#[must_use]
pub fn refused(op: &Op) -> Option<&'static Deliberate> {
    DELIBERATE.iter().find(|deliberate| (deliberate.is)(op))
}
