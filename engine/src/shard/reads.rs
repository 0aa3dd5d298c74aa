//! Reads: requests that a shard answers itself, from the tree under its side of the lock (`FinalRequestProcessor`, 3.9).

use super::places::Places;
use super::watches::Watches;
use crate::auth::{self, AuthId, AuthRules};
use crate::stream::ConnId;
use crate::tree::{Node, Tree, read_path};
use proto::jute::Writer;
use proto::reply::{OpResult, ReplyHeader};
use proto::request::{MultiOp, PathType, ReadRequest, Request, SetWatchesRequest};
use proto::watch::{self, EventType, NO_ZXID, WatchMode, WatcherType};
use proto::{Acl, ErrorCode, OpCode, Perms, SessionId, Xid, Zxid, jute};
use std::net::IpAddr;

/// Who reads, and through what.
#[derive(Debug)]
pub(super) struct Reader<'t, 'a> {
    pub(super) tree: &'t Tree,
    pub(super) watches: &'a mut Watches,
    pub(super) conn: ConnId,
    pub(super) session: SessionId,
    pub(super) rules: &'a AuthRules,
    pub(super) ids: &'a [AuthId],
    /// What the reply's header says.
    pub(super) zxid: Zxid,
    /// The largest reply, in bytes.
    pub(super) reply_bytes_max: usize,
    /// Children from which on a listing is made elsewhere.
    pub(super) listing_long: usize,
    /// Has the client of this address a place for it?
    pub(super) places: &'a Places,
    pub(super) client: IpAddr,
}

/// What became of a reply.
#[derive(Debug)]
pub(super) enum Answered<'t> {
    /// It is what the client asked for, or the error that it earned.
    Whole,
    /// It would have been larger than it may be, and is an error.
    TooLarge,
    /// Nothing was written: the children of this znode are so many that they are to be listed elsewhere. They may be read, and the watch is left.
    Long(Node<'t>),
    /// Nothing was done: it would be such a listing, and its client has too many of them under way.
    NoPlace,
}

type Result<T> = std::result::Result<T, ErrorCode>;

impl<'t> Reader<'t, '_> {
    /// Appends the whole reply to `out`: a header with the record, or with an error alone. A long listing is not written.
    pub(super) fn answer(&mut self, xid: Xid, request: &Request<'_>, out: &mut Vec<u8>) -> Answered<'t> {
        let (start, zxid) = (out.len(), self.zxid);
        let mut listed = None;
        match request {
            Request::GetChildren(read) | Request::GetChildren2(read) => match self.listed(read) {
                Ok(Listed::Here(node)) => listed = Some(Ok(node)),
                Ok(Listed::Elsewhere(node)) => return Answered::Long(node),
                Ok(Listed::NotNow) => return Answered::NoPlace,
                Err(code) => listed = Some(Err(code)),
            },
            // It says first what has happened since: those events go before the reply.
            Request::SetWatches(set) | Request::SetWatches2(set) => self.set_watches(set, out),
            _ => {}
        }
        let mut outcome = Ok(());
        jute::frame(out, |w| {
            ReplyHeader::ok(xid, zxid).write(w);
            outcome = match listed {
                Some(node) => node.map(|node| write_children(&node, matches!(request, Request::GetChildren2(_)), w)),
                None => self.record(request, w),
            };
        });
        if out.len() - start > self.reply_bytes_max && outcome.is_ok() {
            outcome = Err(ErrorCode::SystemError);
        }
        // Nothing else makes a read fail this way.
        let is_too_large = outcome == Err(ErrorCode::SystemError);
        if let Err(code) = outcome {
            out.truncate(start);
            jute::frame(out, |w| {
                ReplyHeader::error(xid, zxid, code).write(w);
                // As in Java: what had been built so far follows, which is the end of no results.
                if matches!(request, Request::MultiRead(_)) && code == ErrorCode::MarshallingError {
                    OpResult::write_end(w);
                }
            });
        }
        if is_too_large { Answered::TooLarge } else { Answered::Whole }
    }

    /// Writes the record of the reply, but of those that list children.
    fn record(&mut self, request: &Request<'_>, w: &mut Writer<'_>) -> Result<()> {
        match request {
            Request::Exists(read) => self.exists(read, w),
            Request::GetData(read) => self.get_data(read, w),
            Request::GetAcl(path) => self.get_acl(path, w),
            Request::MultiRead(multi) => {
                let start = w.position();
                for op in &multi.ops {
                    self.multi_read(op, w)?;
                    // Here and not only at the end: the same large znode many times over would be gigabytes by then.
                    if w.position() - start > self.reply_bytes_max {
                        return Err(ErrorCode::SystemError);
                    }
                }
                OpResult::write_end(w);
                Ok(())
            }
            Request::CheckWatches(check) => {
                self.watcher(check, |watches, path, conn, ty| watches.contains(path, conn, ty))
            }
            Request::RemoveWatches(remove) => self.watcher(remove, Watches::remove),
            Request::AddWatch(add) => {
                // Java fails to decode an unknown mode.
                let mode = WatchMode::from_wire(add.ty).ok_or(ErrorCode::MarshallingError)?;
                self.watches.add(add.path, self.conn, mode);
                w.int(0);
                Ok(())
            }
            Request::SetWatches(_) | Request::SetWatches2(_) => Ok(()),
            Request::GetEphemerals(prefix) => {
                self.get_ephemerals(*prefix, w);
                Ok(())
            }
            Request::GetAllChildrenNumber(path) => {
                self.readable(path)?;
                // Java counts by names that begin with the path and a slash: the root's own too, if the path is empty.
                let count = if path.is_empty() {
                    self.tree.descendant_count("/") + 1
                } else {
                    self.tree.descendant_count(path)
                };
                w.int(i32::try_from(count).unwrap_or(i32::MAX));
                Ok(())
            }
            Request::WhoAmI => {
                w.length(self.ids.len());
                for id in self.ids {
                    w.string(&id.scheme);
                    w.string(id.user());
                }
                Ok(())
            }
            _ => Err(ErrorCode::Unimplemented),
        }
    }

    /// The znode, if it is there. An empty path is the root's, as in Java.
    fn node(&self, path: &str) -> Option<Node<'t>> {
        self.tree.get(read_path(path))
    }

    /// The znode, if it is there and may be read.
    fn readable(&self, path: &str) -> Result<Node<'t>> {
        let node = self.node(path).ok_or(ErrorCode::NoNode)?;
        self.rules.check(&node, Perms::READ, self.ids)?;
        Ok(node)
    }

    /// Finds the znode whose children are asked for, if they may be read, and leaves the watch.
    fn listed(&mut self, read: &ReadRequest<'_>) -> Result<Listed<'t>> {
        let node = self.readable(read.path)?;
        let is_long = node.child_count() >= self.listing_long;
        if is_long && !self.places.has_one(self.client) {
            return Ok(Listed::NotNow);
        }
        if read.watch {
            self.watches.add_child(read.path, self.conn);
        }
        Ok(if is_long { Listed::Elsewhere(node) } else { Listed::Here(node) })
    }

    fn exists(&mut self, read: &ReadRequest<'_>, w: &mut Writer<'_>) -> Result<()> {
        if read.path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let node = self.node(read.path);
        if let Some(node) = &node {
            self.rules.check(node, Perms::READ, self.ids)?;
        }
        // The watch is left even where there is no znode: it tells of its creation.
        if read.watch {
            self.watches.add_data(read.path, self.conn);
        }
        node.ok_or(ErrorCode::NoNode)?.stat().write(w);
        Ok(())
    }

    fn get_data(&mut self, read: &ReadRequest<'_>, w: &mut Writer<'_>) -> Result<()> {
        let node = self.readable(read.path)?;
        if read.watch {
            self.watches.add_data(read.path, self.conn);
        }
        node.write_data(w);
        node.stat().write(w);
        Ok(())
    }

    fn get_acl(&self, path: &str, w: &mut Writer<'_>) -> Result<()> {
        let node = self.node(path).ok_or(ErrorCode::NoNode)?;
        self.rules.check(&node, Perms::READ.union(Perms::ADMIN), self.ids)?;
        if self.rules.check(&node, Perms::ADMIN, self.ids).is_ok() {
            Acl::write_vec(node.acl(), w);
        } else {
            let masked: Vec<Acl> = node.acl().iter().map(auth::masked).collect();
            Acl::write_vec(&masked, w);
        }
        node.stat().write(w);
        Ok(())
    }

    fn multi_read(&mut self, op: &MultiOp<'_>, w: &mut Writer<'_>) -> Result<()> {
        let mut record = Vec::new();
        let mut inner = Writer::new(&mut record);
        let (op, outcome) = match op {
            // Java drops the wish for a watch.
            MultiOp::GetData(ReadRequest { path, .. }) => {
                (OpCode::GetData, self.get_data(&ReadRequest { path, watch: false }, &mut inner))
            }
            MultiOp::GetChildren(ReadRequest { path, .. }) => {
                (OpCode::GetChildren, self.readable(path).map(|node| write_children(&node, false, &mut inner)))
            }
            _ => return Err(ErrorCode::MarshallingError),
        };
        match outcome {
            Ok(()) => {
                w.int(op.to_wire());
                w.bool(false);
                w.int(0);
                w.raw(&record);
            }
            Err(code) => OpResult::Error(code.to_wire()).write(w),
        }
        Ok(())
    }

    fn get_ephemerals(&self, prefix: Option<&str>, w: &mut Writer<'_>) {
        let prefix = prefix.filter(|prefix| !matches!(prefix.trim(), "" | "/")).unwrap_or_default();
        let paths: Vec<_> = self.tree.ephemerals_of(self.session).filter(|path| path.starts_with(prefix)).collect();
        w.strings(paths.into_iter());
    }

    fn watcher(
        &mut self,
        what: &PathType<'_>,
        f: impl FnOnce(&mut Watches, &str, ConnId, WatcherType) -> bool,
    ) -> Result<()> {
        let ty = WatcherType::from_wire(what.ty).ok_or(ErrorCode::MarshallingError)?;
        if f(self.watches, what.path, self.conn, ty) { Ok(()) } else { Err(ErrorCode::NoWatcher) }
    }

    /// Restores watches: what has changed since `relative_zxid` fires at once, the rest is watched again.
    fn set_watches(&mut self, set: &SetWatchesRequest<'_>, out: &mut Vec<u8>) {
        let since = set.relative_zxid;
        let mut tell = |ty, path: &str| watch::write_event_frame(out, ty, NO_ZXID, path);
        for path in set.data.iter() {
            match self.node(path) {
                None => tell(EventType::NodeDeleted, path),
                Some(node) if node.persisted().mzxid.to_wire() > since.to_wire() => {
                    tell(EventType::NodeDataChanged, path)
                }
                Some(_) => self.watches.add_data(path, self.conn),
            }
        }
        for path in set.exist.iter() {
            if self.node(path).is_some() {
                tell(EventType::NodeCreated, path);
            } else {
                self.watches.add_data(path, self.conn);
            }
        }
        for path in set.child.iter() {
            match self.node(path) {
                None => tell(EventType::NodeDeleted, path),
                Some(node) if node.persisted().pzxid.to_wire() > since.to_wire() => {
                    tell(EventType::NodeChildrenChanged, path);
                }
                Some(_) => self.watches.add_child(path, self.conn),
            }
        }
        for path in set.persistent.iter() {
            self.watches.add(path, self.conn, WatchMode::Persistent);
        }
        for path in set.persistent_recursive.iter() {
            self.watches.add(path, self.conn, WatchMode::PersistentRecursive);
        }
    }
}

/// Where the children of a znode are listed.
enum Listed<'t> {
    Here(Node<'t>),
    Elsewhere(Node<'t>),
    /// Elsewhere, once there is a place.
    NotNow,
}

fn write_children(node: &Node<'_>, with_stat: bool, w: &mut Writer<'_>) {
    node.write_children(w);
    if with_stat {
        node.stat().write(w);
    }
}
