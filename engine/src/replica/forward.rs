//! What shards hand to the core.
//!
//! Owns the shape of it alone: a batch is gathered by [`crate::shard::ShardState`] and worked off by [`super::Replica::receive`].

use crate::auth::AuthId;
use crate::stream::{Attachment, ShardId};
use proto::connect::Password;
use proto::{OpCode, SessionId, Xid, Zxid};
use std::ops::Range;
use std::sync::Arc;

/// What a shard hands to the core in one turn.
#[derive(Debug, Default)]
pub struct ForwardBatch {
    /// In order.
    pub items: Vec<Forward>,
    /// The requests' records.
    pub bytes: Vec<u8>,
}

impl ForwardBatch {
    /// How many requests and handshakes of clients are in it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let is_one = |item: &&Forward| matches!(item, Forward::Connect { .. } | Forward::Request { .. });
        self.items.iter().filter(is_one).count() as u64
    }
}

/// One thing that a shard hands to the core.
#[derive(Debug)]
pub enum Forward {
    /// A handshake.
    Connect {
        /// The connection.
        from: Attachment,
        /// The newest zxid that the client has seen.
        last_zxid_seen: Zxid,
        /// The timeout that it asks for, in ms.
        timeout_ms: i32,
        /// The session that it wants to renew, or 0.
        session: SessionId,
        /// Its password, if it has the right length.
        password: Option<Password>,
        /// What the client said about read-only servers; decides the form of the answer.
        read_only: Option<bool>,
    },
    /// A write, a sync, or the end of a session.
    Request {
        /// The connection.
        from: Attachment,
        /// Its session.
        session: SessionId,
        /// The request's number.
        xid: Xid,
        /// The operation.
        op: OpCode,
        /// Its record, in the batch's bytes.
        body: Range<usize>,
        /// Who the connection has proved to be.
        ids: Arc<[AuthId]>,
    },
    /// Sessions that were heard of, and when.
    Heard(Vec<(SessionId, i64)>),
    /// All that clients of the shard had sent by this time, in ms of the monotonic clock, stands in what it has handed over so far.
    HeardUntil(ShardId, i64),
    /// A connection is gone.
    Closed {
        /// Which.
        from: Attachment,
        /// The session that it had.
        session: SessionId,
    },
}
