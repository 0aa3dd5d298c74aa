//! A replica with a few sessions that ask one after the other: for tests that say what they expect by hand.

use crate::support::harness::{Harness, Item, connection};
use crate::support::naive_ops::{Body, CreateOp, Op, RawAcl};
use crate::support::steps::{identities, options, session_id};
use engine::replica::ReplicaOptions;
use engine::stream::Attachment;
use engine::tree::Tree;
use proto::{ErrorCode, OpCode};
use ringkeeper_engine as engine;

pub(crate) struct World {
    pub(crate) h: Harness,
    pub(crate) sessions: Vec<(i64, Attachment)>,
    next_xid: i32,
}

impl World {
    /// With this many sessions, over a new tree.
    pub(crate) fn new(sessions: u32) -> World {
        World::over(Tree::new(), sessions)
    }

    pub(crate) fn over(tree: Tree, sessions: u32) -> World {
        World::under(options(true), tree, sessions)
    }

    pub(crate) fn under(options: ReplicaOptions, tree: Tree, sessions: u32) -> World {
        let mut h = Harness::over(options, tree);
        let sessions = (0..sessions).map(|nth| (session_id(nth as usize), connection(nth))).collect::<Vec<_>>();
        for (_, from) in &sessions {
            h.connect(*from, 1_000);
        }
        h.settle();
        World { h, sessions, next_xid: 1 }
    }

    /// Forwards a request of a session. Nothing is applied.
    pub(crate) fn ask(&mut self, who: usize, op: &Op) {
        let (session, from) = self.sessions[who];
        self.h.request(from, session, self.next_xid, op, &identities(session));
        self.next_xid += 1;
    }

    /// Forwards a request, waits for its reply and tells it.
    pub(crate) fn done(&mut self, who: usize, op: &Op) -> (i32, Body) {
        self.ask(who, op);
        self.answers().pop().expect("a reply")
    }

    /// Everything arrives: the replies, in order.
    pub(crate) fn answers(&mut self) -> Vec<(i32, Body)> {
        replies(&self.h.settle())
    }

    /// The zxid of the newest txn that is applied.
    pub(crate) fn zxid(&self) -> u64 {
        self.h.tree.last_zxid().0
    }
}

pub(crate) fn replies(items: &[Item]) -> Vec<(i32, Body)> {
    let reply = |item: &Item| match item {
        Item::Reply { err, body, .. } => Some((*err, body.clone())),
        _ => None,
    };
    items.iter().filter_map(reply).collect()
}

pub(crate) const OPEN: RawAcl = RawAcl { perms: 31, scheme: Some("world"), id: Some("anyone") };
pub(crate) const PERSISTENT: i32 = 0;
pub(crate) const EPHEMERAL: i32 = 1;
pub(crate) const SEQUENTIAL: i32 = 2;
pub(crate) const EPHEMERAL_SEQUENTIAL: i32 = 3;

pub(crate) fn create(path: &str, flags: i32) -> Op {
    let (path, acl) = (path.to_owned(), Some(vec![OPEN]));
    Op::Create(CreateOp { code: OpCode::Create, flags, path, data: None, acl, ttl_ms: 0 })
}

pub(crate) fn container(path: &str) -> Op {
    let (path, acl) = (path.to_owned(), Some(vec![OPEN]));
    Op::Create(CreateOp { code: OpCode::CreateContainer, flags: 4, path, data: None, acl, ttl_ms: 0 })
}

pub(crate) fn with_ttl(path: &str, ttl_ms: i64) -> Op {
    let (path, acl) = (path.to_owned(), Some(vec![OPEN]));
    Op::Create(CreateOp { code: OpCode::CreateTtl, flags: 5, path, data: None, acl, ttl_ms })
}

pub(crate) fn delete(path: &str) -> Op {
    Op::Delete { path: path.to_owned(), version: -1 }
}

pub(crate) fn set(path: &str, version: i32) -> Op {
    Op::SetData { path: path.to_owned(), data: Some(b"new".to_vec()), version }
}

pub(crate) fn check(path: &str, version: i32) -> Op {
    Op::Check { path: path.to_owned(), version }
}

pub(crate) fn made(path: &str) -> (i32, Body) {
    (0, Body::Path(path.to_owned()))
}

pub(crate) fn refused(code: ErrorCode) -> (i32, Body) {
    (code.to_wire(), Body::Nothing)
}

/// A multi's results when the operation at `failed` of `count` fails.
pub(crate) fn failed_multi(failed: usize, count: usize, code: ErrorCode) -> (i32, Body) {
    let mut results = vec![Body::Error(0); failed];
    results.push(Body::Error(code.to_wire()));
    results.resize(count, Body::Error(-2));
    (0, Body::Multi(results))
}
