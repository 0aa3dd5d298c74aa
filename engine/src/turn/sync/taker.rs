//! A whole state from the leader becomes a tree: what follows SNAP on a learner's link.
//!
//! Owns the stream up to its signature, and its bounds. It must never give out a tree before the signature has come, nor keep more of the stream than the item
//! that is not whole yet. It fails with [`TakeError`], by which the state is nobody's: the link is to be closed, and what the server had is its own
//! still. `tests/sync/taker.rs` would catch a mistake: streams of real leaders, of ours, cut anywhere, flipped anywhere, in pieces of any size.
//!
//! How it fits into a server: the link is held, its unread bytes go to a `StateTaker` on a thread beside the core, and when that says
//! [`Taking::Over`] what was not its own goes back to the front of the link. [`StateTaker::finish`] makes the tree, which is in memory whole; the host
//! freezes it ([`Tree::freeze`]), writes and publishes an image of it (`server/src/image.rs`: `write_image`), puts it onto that (`Base::open`,
//! [`Tree::rebase`]), and says [`super::super::LogItem::Begin`]; when that is done, [`zab::Input::SnapTaken`] with [`Taken::zxid`].
//!
//! A leader of ours sends the state of one zxid. Java's goes on while it sends: parts of later txns are in it, so that these have to be applied by the
//! rules of [`crate::tolerant`]. [`Taken::exact`] is for the former, and refuses what can be seen to be the latter.

use crate::tolerant::{TolerantError, TolerantLoader, TolerantReplay};
use crate::tree::{LoadError, Tree};
use proto::quorum::DATA_BYTES_MAX_DEFAULT;
use proto::quorum::snap::{SnapItem, SnapReader};
use proto::{Acl, AclVec, DecodeError, LastZxid, Received, StatPersisted, Zxid};
use std::collections::HashMap;

/// Bounds of a state: more than that is no state but damage, or an attack.
#[derive(Clone, Copy, Debug)]
pub struct TakeLimits {
    /// Bytes of a path, of a znode's data, or of an ACL.
    pub field_bytes_max: usize,
    /// Bytes of the whole stream. What is kept of it is in proportion.
    pub stream_bytes_max: u64,
}

impl Default for TakeLimits {
    fn default() -> TakeLimits {
        TakeLimits { field_bytes_max: DATA_BYTES_MAX_DEFAULT, stream_bytes_max: STREAM_BYTES_MAX_DEFAULT }
    }
}

/// A TiB: beyond any tree that fits into a machine's memory.
const STREAM_BYTES_MAX_DEFAULT: u64 = 1 << 40;

/// Takes a state in.
#[derive(Debug)]
pub struct StateTaker {
    zxid: Zxid,
    limits: TakeLimits,
    reader: SnapReader,
    /// The start of an item that is not whole yet, and how many bytes it takes at least.
    part: Vec<u8>,
    part_needs: usize,
    content: Content,
    bytes_taken: u64,
}

/// What came so far.
#[derive(Debug)]
struct Content {
    zxid: Zxid,
    loader: TolerantLoader,
    acls: HashMap<i64, Vec<Acl>>,
    nodes: u64,
    later: u64,
}

/// How far a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// All bytes were the state's, and it goes on.
    More,
    /// It is over.
    Over {
        /// So many of the bytes, the last of them, are not its own: packets.
        rest: usize,
    },
}

/// Why a state cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The stream is not one.
    #[error("the leader's state cannot be read, {at} bytes from its start: {source}")]
    Decode {
        /// Bytes before the item.
        at: u64,
        /// What is wrong.
        source: DecodeError,
    },
    /// It is larger than it may be.
    #[error("the leader's state is larger than {0} bytes")]
    TooLarge(u64),
    /// A path that no znode has.
    #[error("the leader's state has a znode {0:?}, which is no path")]
    Path(String),
    /// An ACL's number for two.
    #[error("the leader's state has two ACLs with the number {0}")]
    AclTwice(i64),
    /// It does not make a tree.
    #[error("the leader's state does not make a tree: {0}")]
    Tree(#[from] LoadError),
    /// The link has ended before it.
    #[error("the leader's state broke off after {0} bytes")]
    BrokeOff(u64),
    /// A state of many zxids where one was asked for.
    #[error("{later} znodes of the leader's state at {zxid} are of later txns: it was changed while it was sent")]
    Fuzzy {
        /// What the packet said.
        zxid: Zxid,
        /// How many.
        later: u64,
    },
    /// An ACL is missing.
    #[error("the leader's state is not whole: {0}")]
    NotWhole(#[from] TolerantError),
    /// An ephemeral with children.
    #[error("the leader's state has a znode {0} that is an ephemeral and has children")]
    EphemeralParent(String),
    /// Ephemerals without their sessions.
    #[error("the leader's state has {0} ephemerals of sessions that it does not have")]
    LostEphemerals(usize),
}

/// A whole state.
#[derive(Debug)]
pub struct Taken {
    /// That of the SNAP packet.
    pub zxid: Zxid,
    /// Znodes that came.
    pub nodes: u64,
    /// Znodes that were changed by later txns than the state's.
    pub later: u64,
    /// The tree, for the txns after it: of a leader whose state is not of one zxid. Otherwise see [`Taken::exact`].
    pub replay: TolerantReplay,
}

impl StateTaker {
    /// For the state at `zxid`, as the SNAP packet says. The first byte behind that packet comes first.
    #[must_use]
    pub fn new(zxid: Zxid, limits: TakeLimits) -> StateTaker {
        let content = Content { zxid, loader: TolerantLoader::new(), acls: HashMap::new(), nodes: 0, later: 0 };
        let reader = SnapReader::new(limits.field_bytes_max);
        StateTaker { zxid, limits, reader, part: Vec::new(), part_needs: 0, content, bytes_taken: 0 }
    }

    /// Bytes of the state so far.
    #[must_use]
    pub const fn bytes_taken(&self) -> u64 {
        self.bytes_taken
    }

    /// Znodes so far.
    #[must_use]
    pub const fn nodes_taken(&self) -> u64 {
        self.content.nodes
    }

    /// Takes what has come next. Once it is over, nothing is its own any more.
    ///
    /// # Errors
    /// [`TakeError`]: the taker and the link are of no more use.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Taking, TakeError> {
        let mut rest = self.complete_part(bytes)?;
        while !self.reader.is_over() {
            match self.receive(rest)? {
                Some(len) => rest = rest.get(len..).unwrap_or_default(),
                None => {
                    self.part.extend_from_slice(rest);
                    return Ok(Taking::More);
                }
            }
        }
        Ok(Taking::Over { rest: rest.len() })
    }

    /// Completes with `bytes` the item that has begun, if one has, and gives what of them is left.
    fn complete_part<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], TakeError> {
        let mut part = std::mem::take(&mut self.part);
        while !part.is_empty() {
            let before = part.len();
            // More than it is known to need, or a long list would be walked anew for each of its elements.
            let wanted = self.part_needs.max(before * 2).max(PART_BYTES_MIN) - before;
            let (come, left) = bytes.split_at(wanted.min(bytes.len()));
            part.extend_from_slice(come);
            if part.len() < self.part_needs {
                self.part = part;
                return Ok(&[]);
            }
            match self.receive(&part)? {
                // It ends in what has just come: before that it was not whole.
                Some(len) => {
                    let own = len.saturating_sub(before);
                    part.clear();
                    bytes = bytes.get(own..).unwrap_or_default();
                }
                None if left.is_empty() => {
                    self.part = part;
                    return Ok(&[]);
                }
                None => bytes = left,
            }
        }
        self.part = part;
        Ok(bytes)
    }

    /// Takes the item that `bytes` begin with, and says how many they are; `None` if it is not whole.
    fn receive(&mut self, bytes: &[u8]) -> Result<Option<usize>, TakeError> {
        let at = self.bytes_taken;
        let decode = |source| TakeError::Decode { at, source };
        let (item, len) = match self.reader.receive(bytes).map_err(decode)? {
            Received::Whole(item, len) => (item, len),
            Received::NeedsBytes(len) => {
                self.part_needs = len;
                return Ok(None);
            }
        };
        self.bytes_taken = at.saturating_add(len as u64);
        if self.bytes_taken > self.limits.stream_bytes_max {
            return Err(TakeError::TooLarge(self.limits.stream_bytes_max));
        }
        match item {
            SnapItem::Session { id, timeout_ms } => self.content.loader.session(id, timeout_ms),
            SnapItem::Acl { number, acl } => self.content.acl(number, acl).map_err(|error| error.at(at))?,
            SnapItem::Node { path, data, acl, stat } => self.content.node(path, data, acl, stat)?,
            SnapItem::Sessions(_) | SnapItem::Acls(_) | SnapItem::TreeEnd | SnapItem::Signature => {}
        }
        Ok(Some(len))
    }

    /// The state, which is over.
    ///
    /// # Errors
    /// [`TakeError`]; [`TakeError::BrokeOff`] if it is not over.
    pub fn finish(self) -> Result<Taken, TakeError> {
        if !self.reader.is_over() {
            return Err(TakeError::BrokeOff(self.bytes_taken.saturating_add(self.part.len() as u64)));
        }
        let Content { loader, nodes, later, .. } = self.content;
        Ok(Taken { zxid: self.zxid, nodes, later, replay: loader.finish(self.zxid, None, None)? })
    }
}

impl Content {
    fn acl(&mut self, number: i64, acl: AclVec<'_>) -> Result<(), AclError> {
        let entries = acl.to_vec().map_err(AclError::Decode)?;
        match self.acls.insert(number, entries) {
            Some(_) => Err(AclError::Twice(number)),
            None => Ok(()),
        }
    }

    fn node(&mut self, path: &str, data: Option<&[u8]>, acl: i64, stat: StatPersisted) -> Result<(), TakeError> {
        let path = if path.is_empty() { "/" } else { path };
        // Whatever else may be wrong with it, its parent would not be there.
        if !path.starts_with('/') || path.ends_with('/') && path.len() > 1 {
            return Err(TakeError::Path(path.to_owned()));
        }
        let open = [Acl::open()];
        let acl = if acl == ACL_OPEN { Some(open.as_slice()) } else { self.acls.get(&acl).map(Vec::as_slice) };
        self.loader.node(path, data, acl, stat)?;
        self.nodes += 1;
        // As Java compares them: what a very old server has left as -1 is not late.
        let newest = [stat.czxid, stat.mzxid, stat.pzxid].map(LastZxid::from).into_iter().max();
        self.later += u64::from(newest > Some(self.zxid.into()));
        Ok(())
    }
}

impl Taken {
    /// The tree of a state that is of one zxid: that of the leader, to the byte.
    ///
    /// # Errors
    /// [`TakeError::Fuzzy`], [`TakeError::NotWhole`], [`TakeError::LostEphemerals`], [`TakeError::EphemeralParent`].
    pub fn exact(self) -> Result<Tree, TakeError> {
        let Taken { zxid, later, replay, .. } = self;
        if later > 0 {
            return Err(TakeError::Fuzzy { zxid, later });
        }
        let replayed = replay.finish()?;
        if replayed.lost_ephemerals > 0 {
            return Err(TakeError::LostEphemerals(replayed.lost_ephemerals));
        }
        let tree = replayed.tree;
        for (session, _) in tree.sessions() {
            let has_children = |path: &str| tree.get(path).is_some_and(|node| node.child_count() > 0);
            if let Some(path) = tree.ephemerals_of(session).find(|path| has_children(path)) {
                return Err(TakeError::EphemeralParent(path.into_owned()));
            }
        }
        Ok(tree)
    }
}

/// What is wrong with an ACL.
#[derive(Clone, Copy, Debug)]
enum AclError {
    Decode(DecodeError),
    Twice(i64),
}

impl AclError {
    const fn at(self, at: u64) -> TakeError {
        match self {
            AclError::Decode(source) => TakeError::Decode { at, source },
            AclError::Twice(number) => TakeError::AclTwice(number),
        }
    }
}

/// The number of the open ACL, which is in no list.
const ACL_OPEN: i64 = -1;

/// A part grows to this many bytes at once where they are there.
const PART_BYTES_MIN: usize = 256;
