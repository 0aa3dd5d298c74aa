//! Reads that take long: listings of large directories, counts of large subtrees.
//!
//! They are not done by the shard, whose other clients would wait, nor under the tree's lock, for which the core would. The shard takes a
//! [`Listing`] under its lock, registers the watch, and hands a [`LongRead`] to the driver; somebody makes the reply, and
//! [`ShardState::answered`] puts it into the connection's output. Until then nothing else goes to the connection: its further requests wait,
//! and events for it stay behind the reply, so that law 5 holds. The header says the position at which the listing was taken (law 6). A
//! read whose connection has gone is not made any more. Tests: `engine/tests/shard/long.rs`.

use super::conn::{Conn, Phase};
use super::reads::Answered;
use super::{Action, Note, ShardState, Way, asked};
use crate::stream::ConnId;
use crate::tree::{Listing, Tree, count_below};
use proto::reply::ReplyHeader;
use proto::request::Request;
use proto::{ErrorCode, OpCode, Perms, Stat, Xid, Zxid, jute};
use std::sync::{Arc, Weak};

/// Znodes of a subtree that the shard counts itself.
const COUNT_SHORT: usize = 256;

/// A read to be made elsewhere.
#[derive(Debug)]
pub struct LongRead {
    xid: Xid,
    zxid: Zxid,
    reply_bytes_max: usize,
    what: What,
    /// Gone with the connection.
    wanted: Weak<()>,
}

#[derive(Debug)]
enum What {
    /// With the Stat, where it was asked for.
    Listing(Box<Listing>, Option<Stat>),
    /// Of what lies below this path.
    Count(Box<str>),
}

/// A reply that was made elsewhere.
#[derive(Debug)]
pub struct LongReply {
    frame: Vec<u8>,
    answered: Answered,
}

impl LongRead {
    /// Makes the reply; `None`: nobody waits for it any more. `look` lets look at the tree as it is then, for a bounded time each.
    ///
    /// # Errors
    /// The disk cannot read: [`snapshot::Error::Io`].
    pub fn answer(self, look: impl FnMut(&mut dyn FnMut(&Tree))) -> Result<Option<LongReply>, snapshot::Error> {
        let is_wanted = || self.wanted.strong_count() > 0;
        if !is_wanted() {
            return Ok(None);
        }
        let mut frame = Vec::new();
        let header = ReplyHeader::ok(self.xid, self.zxid);
        match &self.what {
            What::Listing(listing, stat) => {
                listing.bring_in()?;
                jute::frame(&mut frame, |w| {
                    header.write(w);
                    w.length(listing.len());
                    // Of what is too long there is no need for the rest.
                    listing.for_each_name(|name| {
                        if w.position() <= self.reply_bytes_max {
                            w.string(name);
                        }
                    });
                    if let Some(stat) = stat {
                        stat.write(w);
                    }
                });
            }
            What::Count(path) => {
                let Some(count) = count_below(path, look, is_wanted)? else { return Ok(None) };
                jute::frame(&mut frame, |w| {
                    header.write(w);
                    w.int(i32::try_from(count).unwrap_or(i32::MAX));
                });
            }
        }
        if frame.len() <= self.reply_bytes_max {
            return Ok(Some(LongReply { frame, answered: Answered::Whole }));
        }
        let mut frame = Vec::new();
        let error = ReplyHeader::error(self.xid, self.zxid, ErrorCode::SystemError);
        jute::frame(&mut frame, |w| error.write(w));
        Ok(Some(LongReply { frame, answered: Answered::TooLarge }))
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
        if reply.answered == Answered::TooLarge {
            self.counts.reply_limit_errors += 1;
            self.actions.push(Action::Noted(id, Note::ReplyLimit));
        }
        self.dirty(id);
        self.make_ready(id);
    }

    /// Begins the read if it is a long one. False: it is not, or it is to be refused.
    pub(super) fn begin_long(
        &mut self,
        conn: &mut Conn,
        xid: Xid,
        request: &Request<'_>,
        tree: &Tree,
        now_us: u64,
    ) -> bool {
        let Some(what) = self.long_part(conn, request, tree) else { return false };
        if let Request::GetChildren(read) | Request::GetChildren2(read) = request
            && read.watch
        {
            self.watches.add_child(read.path, conn.id);
        }
        conn.write_header_position(self.position);
        let wants = Arc::new(());
        let wanted = Arc::downgrade(&wants);
        let reply_bytes_max = self.options.reply_bytes_max;
        self.long_reads.push((conn.id, LongRead { xid, zxid: self.position, reply_bytes_max, what, wanted }));
        let wait = LongWait { xid, op: request.op(), since_us: now_us, behind: Vec::new(), _wants: wants };
        conn.long = Some(Box::new(wait));
        true
    }

    /// What of the request takes long, if it does and may be answered.
    fn long_part(&self, conn: &Conn, request: &Request<'_>, tree: &Tree) -> Option<What> {
        let (path, is_listing) = match request {
            Request::GetChildren(read) | Request::GetChildren2(read) => (read.path, true),
            // The empty path counts the root itself; both of them are known.
            Request::GetAllChildrenNumber(path) if !matches!(*path, "" | "/") => (*path, false),
            _ => return None,
        };
        let node = tree.get(if path.is_empty() { "/" } else { path })?;
        self.options.auth.check(&node, Perms::READ, &conn.ids).ok()?;
        if !is_listing {
            return tree.has_more_below(path, COUNT_SHORT).then(|| What::Count(path.into()));
        }
        if node.child_count() < self.options.listing_long {
            return None;
        }
        let stat = matches!(request, Request::GetChildren2(_)).then(|| node.stat());
        Some(What::Listing(Box::new(tree.listing(node.path())?), stat))
    }
}
