//! A whole state for a learner: SNAP, and the stream that follows it ([`proto::quorum::snap`]).
//!
//! Owns the walk over an image that puts parents before their children, which a Java learner asks for. It must never send a state as whole that is not: the
//! znodes are counted against what the image says of itself, and only then comes the signature. In memory is the path of one znode, however many
//! siblings and levels there are. It fails with [`SnapSourceError`]; then the link is to be closed. `tests/sync` would catch a mistake: what was sent
//! becomes the same tree, and what a real leader has sent is sent on with the same items.
//!
//! The children of a znode lie together in an image. So each znode is gone through twice: first all of its children are sent, one behind the other, then those of
//! them that have children are gone through themselves. A chunk ends anywhere; the next looks up the place by its name.

use super::SourceState;
use crate::tree::Tree;
use crate::turn::wire::to_learner;
use proto::quorum::FromLeader;
use proto::quorum::snap::SnapItem;
use proto::{Acl, AclVec, DecodeError, Reader, StatPersisted, Writer, Zxid, path};
use snapshot::base::{Base, BaseAcl, BaseNode};
use std::sync::Arc;

/// A state as packets and stream. The state is that of the image, whatever the tree does meanwhile.
#[derive(Debug)]
pub struct SnapSource {
    /// `None`: that before the first txn.
    base: Option<Arc<Base>>,
    zxid: Zxid,
    stage: Stage,
    walk: Walk,
    /// ACLs or data on their way into an item.
    scratch: Vec<u8>,
    nodes_sent: u64,
}

/// Why a state cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SnapSourceError {
    /// The image is damaged, or the disk cannot read it.
    #[error(transparent)]
    Image(#[from] snapshot::Error),
    /// Znodes of the image do not hang below the root.
    #[error("{found} znodes hang below the root in the image at {zxid}, which has {recorded}")]
    Count {
        /// Which.
        zxid: Zxid,
        /// That were found.
        found: u64,
        /// That it should have.
        recorded: u64,
    },
    /// An ACL of the image cannot be written down.
    #[error("the ACL {id} of the image at {zxid} cannot be written down: {source}")]
    Acl {
        /// Which image.
        zxid: Zxid,
        /// The ACL's number.
        id: u32,
        /// Why.
        source: DecodeError,
    },
    /// More than a count in the stream can say.
    #[error("the image at {0} has more sessions or ACLs than a learner can be told of")]
    TooMany(Zxid),
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The packet, and the count of sessions.
    Head,
    /// The session with this place in the table.
    Sessions(usize),
    /// The ACL with this place in the table.
    Acls(usize),
    Root,
    Nodes,
    Over,
}

/// Where the walk is.
#[derive(Debug)]
struct Walk {
    /// The znode whose children are gone through.
    parent: String,
    /// Bytes of the paths of the znodes above it, on the way to the root.
    above: Vec<usize>,
    pass: Pass,
    /// The last child that was gone through. Behind it the pass goes on.
    last_name: Option<String>,
    /// Has one of the children that were sent children of its own?
    has_inner: bool,
}

/// What is done with the children of a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// They are sent.
    Send,
    /// Those that have children are gone into.
    GoInto,
}

impl SnapSource {
    /// What is sent where a state of at least this zxid is asked for: that of the image, if there is one and it is new enough; else none yet.
    ///
    /// The state at 0 is known without an image. Whoever has none may not be able to make one: after a restart no quorum is known to have what its tree shows, and there
    /// will be none before a learner has been sent a state and what follows it.
    #[must_use]
    pub fn at_least(zxid: Zxid, base: Option<&Arc<Base>>) -> Option<SnapSource> {
        match base {
            Some(base) => (base.totals().zxid >= zxid).then(|| SnapSource::of_image(Arc::clone(base))),
            None => (zxid == Zxid::ZERO).then(SnapSource::of_nothing),
        }
    }

    /// The state of an image.
    #[must_use]
    pub fn of_image(base: Arc<Base>) -> SnapSource {
        SnapSource::new(base.totals().zxid, Some(base))
    }

    /// The state before the first txn.
    #[must_use]
    pub fn of_nothing() -> SnapSource {
        SnapSource::new(Zxid::ZERO, None)
    }

    fn new(zxid: Zxid, base: Option<Arc<Base>>) -> SnapSource {
        let parent = "/".to_owned();
        let walk = Walk { parent, above: Vec::new(), pass: Pass::Send, last_name: None, has_inner: false };
        SnapSource { base, zxid, stage: Stage::Head, walk, scratch: Vec::new(), nodes_sent: 0 }
    }

    /// The state's zxid: that of the SNAP packet.
    #[must_use]
    pub const fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Znodes that have been given out.
    #[must_use]
    pub const fn nodes_sent(&self) -> u64 {
        self.nodes_sent
    }

    /// Appends to `out` until this is `bytes_max` bytes or more, by one item at the most, or all. Call it until it is done. Its end is that of the
    /// stream: packets follow.
    ///
    /// # Errors
    /// [`SnapSourceError`]. Nothing may follow what was appended before.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> Result<SourceState, SnapSourceError> {
        let Some(base) = self.base.clone() else {
            return Ok(self.all_of_nothing(out));
        };
        let full = out.len().saturating_add(bytes_max.max(1));
        while out.len() < full {
            self.stage = match self.stage {
                Stage::Head => {
                    let sessions = count(base.sessions().len(), self.zxid)?;
                    to_learner(FromLeader::Snap(self.zxid), out);
                    put(&SnapItem::Sessions(sessions), out);
                    Stage::Sessions(0)
                }
                Stage::Sessions(at) => match base.sessions().get(at) {
                    Some(session) => {
                        put(&SnapItem::Session { id: session.id, timeout_ms: session.timeout_ms }, out);
                        Stage::Sessions(at + 1)
                    }
                    None => {
                        let acls = base.acls().iter().filter(|acl| is_listed(acl)).count();
                        put(&SnapItem::Acls(count(acls, self.zxid)?), out);
                        Stage::Acls(0)
                    }
                },
                Stage::Acls(at) => match base.acls().get(at) {
                    Some(acl) => {
                        self.acl(acl, out)?;
                        Stage::Acls(at + 1)
                    }
                    None => Stage::Root,
                },
                Stage::Root => {
                    if let Some(root) = base.find("/")? {
                        self.node(&root, out)?;
                    }
                    Stage::Nodes
                }
                Stage::Nodes => {
                    if self.walk_on(&base, out, full)? {
                        self.end(&base, out)?;
                        Stage::Over
                    } else {
                        Stage::Nodes
                    }
                }
                Stage::Over => return Ok(SourceState::Done { to: self.zxid }),
            };
        }
        Ok(if self.stage == Stage::Over { SourceState::Done { to: self.zxid } } else { SourceState::More })
    }

    /// A new server's state is a handful of bytes: it goes at once.
    fn all_of_nothing(&mut self, out: &mut Vec<u8>) -> SourceState {
        let to = self.zxid;
        if self.stage == Stage::Over {
            return SourceState::Done { to };
        }
        let tree = Tree::new();
        to_learner(FromLeader::Snap(to), out);
        put(&SnapItem::Sessions(0), out);
        let listed: Vec<_> = tree.subtree("/").filter(|node| node.acl_id().0 != OPEN).collect();
        put(&SnapItem::Acls(i32::try_from(listed.len()).unwrap_or_default()), out);
        for node in listed {
            self.scratch.clear();
            Acl::write_vec(node.acl(), &mut Writer::new(&mut self.scratch));
            if let Ok(acl) = AclVec::read(&mut Reader::new(&self.scratch)) {
                put(&SnapItem::Acl { number: number_of(node.acl_id().0), acl }, out);
            }
        }
        for node in tree.subtree("/") {
            let acl = number_of(node.acl_id().0);
            put_node(node.path(), node.data().as_deref(), acl, node.persisted(), out);
            self.nodes_sent += 1;
        }
        put(&SnapItem::TreeEnd, out);
        put(&SnapItem::Signature, out);
        self.stage = Stage::Over;
        SourceState::Done { to }
    }

    fn acl(&mut self, acl: &BaseAcl, out: &mut Vec<u8>) -> Result<(), SnapSourceError> {
        if !is_listed(acl) {
            return Ok(());
        }
        self.scratch.clear();
        Acl::write_vec(&acl.entries, &mut Writer::new(&mut self.scratch));
        let entries = AclVec::read(&mut Reader::new(&self.scratch));
        let entries = entries.map_err(|source| SnapSourceError::Acl { zxid: self.zxid, id: acl.id, source })?;
        put(&SnapItem::Acl { number: number_of(acl.id), acl: entries }, out);
        Ok(())
    }

    fn node(&mut self, node: &BaseNode<'_>, out: &mut Vec<u8>) -> Result<(), SnapSourceError> {
        self.scratch.clear();
        node.append_data(&mut self.scratch)?;
        let data = (!node.is_null()).then_some(self.scratch.as_slice());
        put_node(node.path(), data, number_of(node.acl_id()), node.stat(), out);
        self.nodes_sent += 1;
        Ok(())
    }

    /// Goes on with the znodes below the root, until `out` has `full` bytes. True: there are no more.
    fn walk_on(&mut self, base: &Base, out: &mut Vec<u8>, full: usize) -> Result<bool, SnapSourceError> {
        while out.len() < full {
            match self.walk.pass {
                Pass::Send => {
                    if self.send_children(base, out, full)? {
                        (self.walk.pass, self.walk.last_name) = (Pass::GoInto, None);
                    }
                }
                Pass::GoInto => match self.walk.next_inner(base)? {
                    Some(inner) => self.walk.go_into(inner),
                    None if self.walk.above.is_empty() => return Ok(true),
                    None => self.walk.come_out(),
                },
            }
        }
        Ok(false)
    }

    /// Sends children of the parent, until `out` has `full` bytes. True: there are no more.
    fn send_children(&mut self, base: &Base, out: &mut Vec<u8>, full: usize) -> Result<bool, SnapSourceError> {
        for node in base.children_from(&self.walk.parent, &self.walk.next_name())? {
            let node = node?;
            self.node(&node, out)?;
            self.walk.has_inner |= node.child_count() > 0;
            if out.len() >= full {
                self.walk.last_name = Some(node.name().to_owned());
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn end(&self, base: &Base, out: &mut Vec<u8>) -> Result<(), SnapSourceError> {
        let (found, recorded) = (self.nodes_sent, base.totals().node_count);
        if found != recorded {
            return Err(SnapSourceError::Count { zxid: self.zxid, found, recorded });
        }
        put(&SnapItem::TreeEnd, out);
        put(&SnapItem::Signature, out);
        Ok(())
    }
}

impl Walk {
    /// The least name behind the last one.
    fn next_name(&self) -> String {
        self.last_name.as_ref().map_or_else(String::new, |name| format!("{name}\0"))
    }

    /// The path of the next child that has children.
    fn next_inner(&self, base: &Base) -> Result<Option<String>, SnapSourceError> {
        if !self.has_inner {
            return Ok(None);
        }
        for node in base.children_from(&self.parent, &self.next_name())? {
            let node = node?;
            if node.child_count() > 0 {
                return Ok(Some(node.path().to_owned()));
            }
        }
        Ok(None)
    }

    fn go_into(&mut self, path: String) {
        self.above.push(self.parent.len());
        self.parent = path;
        (self.pass, self.last_name, self.has_inner) = (Pass::Send, None, false);
    }

    /// Back to the znode above, behind this one.
    fn come_out(&mut self) {
        self.last_name = path::split(&self.parent).map(|(_, name)| name.to_owned());
        self.parent.truncate(self.above.pop().unwrap_or_default());
        // It has the one that this was.
        self.has_inner = true;
    }
}

/// The open ACL is in no list; what no znode names needs not be.
const fn is_listed(acl: &BaseAcl) -> bool {
    acl.id != OPEN && acl.uses > 0
}

/// ZooKeeper's numbers begin with 1, as ours do behind the open one's.
fn number_of(id: u32) -> i64 {
    if id == OPEN { -1 } else { i64::from(id) }
}

/// [`crate::tree::AclId::OPEN`], as an image has it.
const OPEN: u32 = crate::tree::AclId::OPEN.0;

fn count(of: usize, zxid: Zxid) -> Result<i32, SnapSourceError> {
    i32::try_from(of).map_err(|_| SnapSourceError::TooMany(zxid))
}

fn put(item: &SnapItem<'_>, out: &mut Vec<u8>) {
    item.write(&mut Writer::new(out));
}

/// The root's path is empty there: `/` is the end.
fn put_node(path: &str, data: Option<&[u8]>, acl: i64, stat: StatPersisted, out: &mut Vec<u8>) {
    let path = if path == "/" { "" } else { path };
    put(&SnapItem::Node { path, data, acl, stat }, out);
}
