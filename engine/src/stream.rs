//! The stream from the core to the shards: one sequence in zxid order, changes first, then the reply that the txn completes.
//!
//! Replies never travel another way (law 5), so that a connection's events and replies leave in the order in which they happened. One batch
//! serves all shards: each picks what is its own.

use crate::tree::AclList;
use proto::connect::ConnectResponse;
use proto::{ErrorCode, SessionId, Xid, Zxid};
use std::ops::Range;
use std::sync::Arc;

/// A shard's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// A connection of a shard. The generation tells it from an earlier one in the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// The slot.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

/// A connection, and the shard that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attachment {
    /// The shard.
    pub shard: ShardId,
    /// The connection.
    pub conn: ConnId,
}

/// Who may be told of a change: `None` for everybody, else those to whom the ACL allows READ (CVE-2024-23944).
pub type Guard = Option<AclList>;

/// What a txn did to a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was created.
    Created,
    /// It was deleted.
    Deleted,
    /// Its data was set.
    DataChanged,
}

/// A change that may fire watches.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its txn.
    pub zxid: Zxid,
    /// What happened.
    pub kind: ChangeKind,
    /// The znode.
    pub path: Arc<str>,
    /// Who may be told of it at the znode itself.
    pub guard: Guard,
    /// Who may be told at the parent.
    pub parent_guard: Guard,
}

/// Why the core has a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detach {
    /// The session was attached to another connection.
    SessionMoved,
    /// The session expired.
    Expired,
    /// The session was closed on another connection.
    Closed,
    /// Somebody tried to take the session over with a wrong password.
    WrongPassword,
}

/// One item of the stream.
#[derive(Clone, Debug)]
pub enum StreamItem {
    /// A change.
    Change(Change),
    /// The answer to a forwarded request.
    Reply {
        /// Whose.
        to: Attachment,
        /// The request's number.
        xid: Xid,
        /// What the header says: the txn's own, or the position of the tree.
        zxid: Zxid,
        /// 0, or an error code.
        err: i32,
        /// The record, in the batch's bytes.
        body: Range<usize>,
        /// Close the connection once it is sent (closeSession).
        close: bool,
    },
    /// The answer to a handshake.
    Connected {
        /// Whose.
        to: Attachment,
        /// The position of the tree.
        zxid: Zxid,
        /// What the client gets; a session id of 0 means no session, and the connection is closed.
        response: ConnectResponse,
    },
    /// A handshake that is answered by closing the connection.
    Refused {
        /// Whose.
        to: Attachment,
        /// Why, for the log and the counters.
        reason: Refusal,
    },
    /// Whether clients are served from here on. When they are not any more, all connections are closed, and the tree may go back; until they are,
    /// handshakes are refused.
    Serving(bool),
    /// A connection whose session has gone elsewhere: it is closed.
    Detached {
        /// Which.
        from: Attachment,
        /// Its session.
        session: SessionId,
        /// Why.
        reason: Detach,
    },
}

/// Why a handshake is refused without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The client has seen a newer zxid than this server has.
    ZxidAhead,
    /// The server cannot log the new session now (its disk is full, or it is shutting down).
    Unavailable,
    /// The server has no leader, and leads nobody.
    NotServing,
}

/// What one turn of the core has to tell the shards.
#[derive(Debug, Default)]
pub struct StreamBatch {
    /// In order.
    pub items: Vec<StreamItem>,
    /// The replies' records.
    pub bytes: Vec<u8>,
    /// The tree's zxid after the batch.
    pub zxid: Zxid,
}

impl StreamBatch {
    /// Adds a reply that is only an error.
    pub fn push_error(&mut self, to: Attachment, xid: Xid, zxid: Zxid, code: ErrorCode) {
        let at = self.bytes.len();
        self.items.push(StreamItem::Reply { to, xid, zxid, err: code.to_wire(), body: at..at, close: false });
    }
}
