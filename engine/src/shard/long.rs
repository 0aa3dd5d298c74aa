//! Reads that take long: listings of large directories.
//!
//! They are not done by the shard, whose other clients would wait, nor under the tree's lock, for which the core would. The shard takes a
//! [`Listing`] under its lock, registers the watch, and hands a [`LongRead`] to the driver; somebody makes the reply, and
//! [`ShardState::answered`] puts it into the connection's output. Until then nothing else goes to the connection: its further requests wait,
//! and events for it stay behind the reply, so that law 5 holds. The header says the position at which the listing was taken (law 6). A
//! read whose connection has gone is not made any more. Tests: `engine/tests/shard/long.rs`.

use super::conn::{Conn, Phase};
use super::{ShardState, Way, asked};
use crate::stream::ConnId;
use crate::tree::{Listing, Node};
use proto::reply::ReplyHeader;
use proto::{ErrorCode, OpCode, Stat, Xid, Zxid, jute};
use std::sync::{Arc, Weak};

/// A read to be made elsewhere.
#[derive(Debug)]
pub struct LongRead {
    xid: Xid,
    zxid: Zxid,
    reply_bytes_max: usize,
    listing: Box<Listing>,
    /// Where it was asked for.
    stat: Option<Stat>,
    /// Gone with the connection.
    wanted: Weak<()>,
}

/// A reply that was made elsewhere.
#[derive(Debug)]
pub struct LongReply {
    frame: Vec<u8>,
    /// It would have been larger than it may be, and is an error.
    is_too_large: bool,
}

impl LongRead {
    /// Makes the reply; `None`: nobody waits for it any more. Waits for the disk.
    ///
    /// # Errors
    /// The disk cannot read: [`snapshot::Error::Io`].
    pub fn answer(self) -> Result<Option<LongReply>, snapshot::Error> {
        let is_wanted = || self.wanted.strong_count() > 0;
        if !self.listing.bring_in(is_wanted)? {
            return Ok(None);
        }
        let mut frame = Vec::new();
        jute::frame(&mut frame, |w| {
            ReplyHeader::ok(self.xid, self.zxid).write(w);
            w.length(self.listing.len());
            // Of what is too long there is no need for the rest.
            self.listing.for_each_name(|name| {
                if w.position() <= self.reply_bytes_max {
                    w.string(name);
                }
            });
            if let Some(stat) = &self.stat {
                stat.write(w);
            }
        });
        if frame.len() <= self.reply_bytes_max {
            return Ok(Some(LongReply { frame, is_too_large: false }));
        }
        let mut frame = Vec::new();
        let error = ReplyHeader::error(self.xid, self.zxid, ErrorCode::SystemError);
        jute::frame(&mut frame, |w| error.write(w));
        Ok(Some(LongReply { frame, is_too_large: true }))
    }
}

/// What a connection waits with for a long read.
#[derive(Debug)]
pub(super) struct LongWait {
    xid: Xid,
    op: OpCode,
    since_us: u64,
    /// Events, which are to follow the reply.
    pub(super) behind: Vec<u8>,
    _wants: Arc<()>,
}

impl ShardState {
    /// Reads to be made elsewhere: [`LongRead::answer`], and then [`ShardState::answered`].
    pub fn take_long_reads(&mut self) -> Vec<(ConnId, LongRead)> {
        std::mem::take(&mut self.long_reads)
    }

    /// A long read of this connection was made.
    pub fn answered(&mut self, id: ConnId, reply: LongReply, now_us: u64) {
        let Some(conn) = self.conn_mut(id) else { return };
        let Some(wait) = conn.long.take() else { return };
        if conn.phase == Phase::Closing {
            return;
        }
        let bytes = reply.frame.len();
        if conn.out.is_empty() {
            conn.out = reply.frame;
        } else {
            conn.out.extend_from_slice(&reply.frame);
        }
        conn.out.extend_from_slice(&wait.behind);
        let latency_us = now_us.saturating_sub(wait.since_us);
        conn.counts.packets_sent += 1;
        let zxid = conn.header_zxid.0.cast_signed();
        conn.counts.answered(asked::short_name(wait.op), wait.xid.0, zxid, now_us, latency_us);
        self.counts.replied(bytes);
        self.took(Way::Shard, latency_us);
        if reply.is_too_large {
            self.reply_was_too_large(id);
        }
        self.dirty(id);
        self.make_ready(id);
    }

    /// Begins the long listing of this znode, whose watch is left: from here on the connection waits.
    pub(super) fn begin_long(&mut self, conn: &mut Conn, xid: Xid, op: OpCode, dir: &Node<'_>, now_us: u64) {
        let wants = Arc::new(());
        let read = LongRead {
            xid,
            zxid: self.position,
            reply_bytes_max: self.options.reply_bytes_max,
            listing: Box::new(dir.listing()),
            stat: (op == OpCode::GetChildren2).then(|| dir.stat()),
            wanted: Arc::downgrade(&wants),
        };
        self.long_reads.push((conn.id, read));
        conn.long = Some(Box::new(LongWait { xid, op, since_us: now_us, behind: Vec::new(), _wants: wants }));
    }
}
