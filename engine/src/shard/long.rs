//! Reads that take long: listings of large directories.
//!
//! They are not done by the shard, whose other clients would wait, nor under the tree's lock, for which the core would. The shard takes a
//! [`Listing`] under its lock, registers the watch, and hands a [`LongRead`] to the driver; somebody makes the reply, and
//! [`ShardState::answered`] puts it into the connection's output. Until then nothing else goes to the connection: its further requests wait,
//! and events for it stay behind the reply, so that law 5 holds. The header says the position at which the listing was taken (law 6). A
//! read whose connection has gone is not made any more. A client has a bounded number of them under way ([`super::places`]); with those beyond it
//! nothing is done until there is a place: their requests wait undecoded. Tests: `engine/tests/shard/long.rs`.

use super::conn::{Conn, Phase};
use super::{ShardState, Visit, Way, asked};
use crate::stream::ConnId;
use crate::tree::{Listing, Node};
use proto::reply::ReplyHeader;
use proto::{ErrorCode, OpCode, Stat, Xid, Zxid, jute};
use std::net::IpAddr;
use std::sync::{Arc, Weak};

/// A read to be made elsewhere.
#[derive(Debug)]
pub struct LongRead {
    client: IpAddr,
    xid: Xid,
    zxid: Zxid,
    reply_bytes_max: usize,
    listing: Box<Listing>,
    /// Where it was asked for.
    stat: Option<Stat>,
    /// Gone with the connection.
    wanted: Weak<()>,
}

/// A reply that was made elsewhere, or given up.
#[derive(Debug)]
pub struct LongReply {
    /// Whose place it had.
    client: IpAddr,
    /// `None`: its connection has gone.
    frame: Option<Vec<u8>>,
    /// It would have been larger than it may be, and is an error.
    is_too_large: bool,
}

impl LongReply {
    /// Was it made? Else nobody waits for it any more.
    #[must_use]
    pub const fn is_made(&self) -> bool {
        self.frame.is_some()
    }
}

impl LongRead {
    /// Makes the reply, or gives it up if nobody waits for it any more. Either is to go to [`ShardState::answered`]. Waits for the disk.
    ///
    /// # Errors
    /// The disk cannot read: [`snapshot::Error::Io`].
    pub fn answer(self) -> Result<LongReply, snapshot::Error> {
        let client = self.client;
        let is_wanted = || self.wanted.strong_count() > 0;
        if !self.listing.bring_in(is_wanted)? {
            return Ok(LongReply { client, frame: None, is_too_large: false });
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
            return Ok(LongReply { client, frame: Some(frame), is_too_large: false });
        }
        let mut frame = Vec::new();
        let error = ReplyHeader::error(self.xid, self.zxid, ErrorCode::SystemError);
        jute::frame(&mut frame, |w| error.write(w));
        Ok(LongReply { client, frame: Some(frame), is_too_large: true })
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

    /// A long read of this connection was made or given up.
    pub fn answered(&mut self, id: ConnId, reply: LongReply, now_us: u64) {
        self.places.give_back(reply.client);
        self.wake_for_place(reply.client);
        let Some(frame) = reply.frame else { return };
        let Some(conn) = self.conn_mut(id) else { return };
        let Some(wait) = conn.long.take() else { return };
        if conn.phase == Phase::Closing {
            return;
        }
        let bytes = frame.len();
        if conn.out.is_empty() {
            conn.out = frame;
        } else {
            conn.out.extend_from_slice(&frame);
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
        let client = conn.peer.ip();
        self.leave_place(conn);
        self.places.take(client);
        let wants = Arc::new(());
        let read = LongRead {
            client,
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

    /// The connection's next request would be a long read, and its client has as many of them as it may.
    pub(super) fn wait_for_place(&mut self, conn: &mut Conn) {
        if conn.place_turn.is_none() {
            self.counts.long_waits += 1;
            conn.place_turn = Some(self.places.wait(conn.peer.ip(), conn.id));
        }
    }

    /// It does not wait for a place any more.
    pub(super) fn leave_place(&mut self, conn: &mut Conn) {
        if let Some(turn) = conn.place_turn.take() {
            self.places.leave(turn);
        }
    }

    /// After a visit. Who does not wait for a place now, whatever he waits for, does not stand in the way of those who do.
    pub(super) fn pass_on_place(&mut self, conn: &mut Conn, visit: Visit) {
        if !matches!(visit, Visit::NoPlace) {
            self.leave_place(conn);
        }
        self.wake_for_place(conn.peer.ip());
    }

    /// Makes ready the next of those who wait, if there is a place.
    pub(super) fn wake_for_place(&mut self, client: IpAddr) {
        if let Some(next) = self.places.next(client) {
            self.make_ready(next);
        }
    }
}
