//! A `Replica` with its tree, a log in memory and a clock that stands still until it is moved.

use crate::support::naive_ops::{Body, Changed, Op};
use proto::connect::{ConnectResponse, Password};
use proto::reply::{OpResult, Reply};
use proto::txn::TxnRecord;
use proto::{OpCode, Reader, SessionId, Writer, Xid, Zxid};
use ringkeeper_engine::apply;
use ringkeeper_engine::auth::AuthId;
use ringkeeper_engine::replica::{Forward, ForwardBatch, Now, Replica, ReplicaOptions};
use ringkeeper_engine::stream::{Attachment, ConnId, Detach, Refusal, ShardId, StreamBatch, StreamItem};
use ringkeeper_engine::tree::Tree;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// An item of the stream, owned and decoded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Changed(Changed),
    Reply { to: Attachment, xid: i32, zxid: u64, err: i32, body: Body, close: bool },
    Connected { to: Attachment, zxid: u64, response: ConnectResponse },
    Refused { to: Attachment, reason: Refusal },
    Detached { from: Attachment, session: i64, reason: Detach },
}

pub(crate) struct Harness {
    pub(crate) tree: Tree,
    pub(crate) replica: Replica,
    pub(crate) now: Now,
    /// Every txn that was handed to the log.
    pub(crate) log: Vec<(Zxid, Vec<u8>)>,
    /// Those that are not durable yet.
    volatile: VecDeque<Zxid>,
    asked: HashMap<(Attachment, i32), OpCode>,
}

/// Wall clock at the start of every test, ms since 1970.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

pub(crate) fn connection(slot: u32) -> Attachment {
    // Two shards, so that sessions move between them as well.
    let shard = ShardId(u16::from(slot % 2 == 1));
    Attachment { shard, conn: ConnId { slot, generation: 0 } }
}

impl Harness {
    pub(crate) fn new(options: ReplicaOptions) -> Harness {
        Harness::over(options, Tree::new())
    }

    pub(crate) fn over(options: ReplicaOptions, tree: Tree) -> Harness {
        let now = Now { mono_ms: 1_000, wall_ms: START_MS };
        let replica = Replica::new(options, &tree, now);
        Harness { tree, replica, now, log: Vec::new(), volatile: VecDeque::new(), asked: HashMap::new() }
    }

    pub(crate) fn forward(&mut self, item: Forward, bytes: Vec<u8>) {
        self.replica.receive(self.now, &self.tree, &ForwardBatch { items: vec![item], bytes });
    }

    pub(crate) fn connect(&mut self, from: Attachment, timeout_ms: i32) {
        let (last_zxid_seen, session, read_only) = (Zxid::ZERO, SessionId(0), Some(false));
        self.forward(
            Forward::Connect { from, last_zxid_seen, timeout_ms, session, password: None, read_only },
            Vec::new(),
        );
    }

    pub(crate) fn reconnect(&mut self, from: Attachment, session: i64, password: Password, timeout_ms: i32) {
        let (last_zxid_seen, session, password) = (Zxid::ZERO, SessionId(session), Some(password));
        let read_only = None;
        self.forward(Forward::Connect { from, last_zxid_seen, timeout_ms, session, password, read_only }, Vec::new());
    }

    pub(crate) fn request(&mut self, from: Attachment, session: i64, xid: i32, op: &Op, ids: &[AuthId]) {
        let mut bytes = Vec::new();
        op.write(&mut Writer::new(&mut bytes));
        self.asked.insert((from, xid), op.code());
        let (session, xid, op, body) = (SessionId(session), Xid(xid), op.code(), 0..bytes.len());
        self.forward(Forward::Request { from, session, xid, op, body, ids: ids.into() }, bytes);
    }

    pub(crate) fn tick(&mut self, step_ms: i64) {
        self.now.mono_ms += step_ms;
        self.now.wall_ms += step_ms;
        self.replica.tick(self.now, &self.tree);
    }

    /// Hands what was proposed to the log.
    pub(crate) fn append(&mut self) {
        let Some(batch) = self.replica.take_appends() else { return };
        for (zxid, bytes) in batch.iter() {
            let last = self.log.last().map_or(Zxid::ZERO, |(last, _)| *last);
            assert!(self.log.is_empty() || zxid == last.next(), "{zxid} follows {last}: a gap");
            self.log.push((zxid, bytes.to_vec()));
            self.volatile.push_back(zxid);
        }
    }

    /// The oldest `count` txns in the log become durable.
    pub(crate) fn durable(&mut self, count: usize) {
        if let Some(last) = self.volatile.drain(..count.min(self.volatile.len())).next_back() {
            self.replica.durable(self.now, last);
        }
    }

    pub(crate) fn apply(&mut self, count_max: usize) -> Vec<Item> {
        let mut out = StreamBatch::default();
        self.replica.apply(&mut self.tree, &mut out, count_max);
        assert_eq!(out.zxid, self.tree.last_zxid());
        out.items.iter().map(|item| self.owned(item, &out)).collect()
    }

    /// Everything that is on its way arrives.
    pub(crate) fn settle(&mut self) -> Vec<Item> {
        self.append();
        self.durable(usize::MAX);
        let items = self.apply(usize::MAX);
        assert!(!self.replica.can_apply() && self.replica.pending_len() == 0);
        items
    }

    /// A tree made of the log alone.
    pub(crate) fn replay(&self) -> Tree {
        let mut tree = Tree::new();
        for (zxid, bytes) in &self.log {
            let record = TxnRecord::decode(bytes).expect("the log's own bytes");
            assert_eq!(record.header.zxid, *zxid);
            assert!(record.digest.is_some(), "{zxid} has no digest");
            apply::apply(&mut tree, &record, &mut Vec::new(), None);
        }
        tree
    }

    fn owned(&mut self, item: &StreamItem, batch: &StreamBatch) -> Item {
        match item {
            StreamItem::Change(change) => Item::Changed(Changed {
                zxid: change.zxid.0,
                kind: change.kind,
                path: change.path.to_string(),
                guard: change.guard.as_ref().map(|acl| acl.to_vec()),
                parent_guard: change.parent_guard.as_ref().map(|acl| acl.to_vec()),
            }),
            StreamItem::Reply { to, xid, zxid, err, body, close } => {
                let op = self.asked.remove(&(*to, xid.0)).expect("one reply to each request");
                let body = decoded(op, *err, &batch.bytes[body.clone()]);
                Item::Reply { to: *to, xid: xid.0, zxid: zxid.0, err: *err, body, close: *close }
            }
            StreamItem::Connected { to, zxid, response } => {
                Item::Connected { to: *to, zxid: zxid.0, response: *response }
            }
            StreamItem::Serving(_) => unreachable!("a standalone server serves from the start"),
            StreamItem::Refused { to, reason } => Item::Refused { to: *to, reason: *reason },
            StreamItem::Detached { from, session, reason } => {
                Item::Detached { from: *from, session: session.0, reason: *reason }
            }
        }
    }
}

fn decoded(op: OpCode, err: i32, bytes: &[u8]) -> Body {
    if err != 0 {
        assert!(bytes.is_empty(), "an error has no record");
        return Body::Nothing;
    }
    let mut reader = Reader::new(bytes);
    let body = match Reply::read(op, &mut reader).expect("a reply's record") {
        Reply::Empty => Body::Nothing,
        Reply::Path(path) => Body::Path(path.to_owned()),
        Reply::PathStat(path, stat) => Body::PathStat(path.to_owned(), stat),
        Reply::Stat(stat) => Body::Stat(stat),
        Reply::Multi(results) => Body::Multi(results.iter().map(result).collect()),
        other => panic!("{op:?} is answered with {other:?}"),
    };
    assert!(reader.is_empty(), "bytes after the record of {op:?}");
    body
}

fn result(result: &OpResult<'_>) -> Body {
    match result {
        OpResult::Create(path) => Body::Path((*path).to_owned()),
        OpResult::Create2(_, path, stat) => Body::PathStat((*path).to_owned(), *stat),
        OpResult::Delete => Body::Nothing,
        OpResult::SetData(stat) => Body::Stat(*stat),
        OpResult::Check => Body::Checked,
        OpResult::Error(err) => Body::Error(*err),
        other => panic!("no write is answered with {other:?}"),
    }
}

/// Identities: everybody has an address.
pub(crate) fn ids(list: &[(&str, &str)]) -> Arc<[AuthId]> {
    let of = |(scheme, id): &(&str, &str)| AuthId { scheme: (*scheme).into(), id: (*id).into() };
    list.iter().map(of).collect()
}
