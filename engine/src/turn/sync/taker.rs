//! A whole state from the leader becomes a tree: what follows SNAP on a learner's link.
//!
//! Owns the stream up to its signature, and its bounds; the packets behind a Java leader's, up to NEWLEADER, are [`super::behind`]'s. It must never give out a tree before both have
//! come, nor keep more of them than the item that is not whole yet and what the limits say. It fails with [`TakeError`], by which the state is nobody's: the link is to be
//! closed, and what the server had is its own still. `tests/sync/taker.rs` and `tests/sync/fuzzy.rs` would catch a mistake: streams of real leaders, of ours, and
//! of trees that change while they are walked, cut anywhere, flipped anywhere, in pieces of any size.
//!
//! How it fits into a server: the link is held, its unread bytes go to a `StateTaker` on a thread beside the core. When that says [`Taking::Over`],
//! [`StateTaker::finish`] makes the tree, which is in memory whole, and [`Taken::unused`] goes back to the front of the link, with what was not its own behind it; the host
//! freezes the tree ([`Tree::freeze`]), writes and publishes an image of it (`server/src/image.rs`: `write_image`), puts it onto that (`Base::open`,
//! [`Tree::rebase`]), and says [`super::super::LogItem::Begin`]; when that is done, [`zab::Input::SnapTaken`] with the tree's zxid, which may be later than that of
//! the SNAP packet. The peer then sees a state with its next txns behind it, as if nothing had been committed meanwhile.
//!
//! **What is refused although a Java learner takes it.** Ephemerals whose sessions are not there, which an error of former servers may have left behind, and ephemerals that have
//! children: to take them away without a txn would make another tree than the leader's, and they would be nobody's to remove once a server of ours leads. A client
//! can delete them; the error names them. And a tree whose digest is not the one that the last txn says. Java foretells some digests wrongly, for requests that no usual
//! client makes (`tests/reference/behaviour.md`), and is right again with the next txn: so is the next attempt.

use super::behind::Behind;
use crate::tolerant::{Doubt, TolerantError, TolerantLoader, Unequal};
use crate::tree::{LoadError, Tree};
use proto::quorum::snap::{SnapItem, SnapReader};
use proto::quorum::{DATA_BYTES_MAX_DEFAULT, QuorumPacket};
use proto::{Acl, AclVec, DecodeError, Epoch, LastZxid, Received, StatPersisted, Zxid};
use std::collections::HashMap;

/// Bounds of a state: more than that is no state but damage, or an attack.
#[derive(Clone, Copy, Debug)]
pub struct TakeLimits {
    /// Bytes of a path, of a znode's data, of an ACL, or of a packet's data.
    pub field_bytes_max: usize,
    /// Bytes of the whole stream. What is kept of it is in proportion.
    pub stream_bytes_max: u64,
    /// PROPOSALs behind it that wait for their COMMIT, and their bytes.
    pub proposals_max: usize,
    /// See there.
    pub proposal_bytes_max: usize,
}

impl Default for TakeLimits {
    fn default() -> TakeLimits {
        TakeLimits {
            field_bytes_max: DATA_BYTES_MAX_DEFAULT,
            stream_bytes_max: STREAM_BYTES_MAX_DEFAULT,
            proposals_max: PROPOSALS_MAX_DEFAULT,
            proposal_bytes_max: PROPOSAL_BYTES_MAX_DEFAULT,
        }
    }
}

/// A TiB: beyond any tree that fits into a machine's memory.
const STREAM_BYTES_MAX_DEFAULT: u64 = 1 << 40;
/// Java proposes about `globalOutstandingLimit`, 1,000, at one time.
const PROPOSALS_MAX_DEFAULT: usize = 100_000;
/// As many as a leader of ours keeps for a link that takes nothing; of a Java leader's 1,000 a quarter may be as large as `jute.maxbuffer`.
const PROPOSAL_BYTES_MAX_DEFAULT: usize = 256 << 20;

/// Whose state it is, as the protocol version in LEADERINFO says, and the epoch in which he leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentBy {
    /// A server of ours: it is of one zxid.
    Ours(Epoch),
    /// A Java server: it is fuzzy.
    Java(Epoch),
}

/// Takes a state in.
#[derive(Debug)]
pub struct StateTaker {
    zxid: Zxid,
    sent_by: SentBy,
    limits: TakeLimits,
    /// Until its signature has come.
    state: Option<Box<State>>,
    /// From then on.
    behind: Option<Box<Behind>>,
    is_over: bool,
    /// The start of an item or packet that is not whole yet, and how many bytes it takes at least.
    part: Vec<u8>,
    part_needs: usize,
    seen: Seen,
    bytes_taken: u64,
    /// Those of the packets behind the state.
    packet_bytes_taken: u64,
}

/// What came of the state so far.
#[derive(Debug)]
struct State {
    reader: SnapReader,
    loader: TolerantLoader,
    acls: HashMap<i64, Vec<Acl>>,
}

/// What its znodes say.
#[derive(Clone, Copy, Debug)]
struct Seen {
    zxid: LastZxid,
    nodes: u64,
    later: u64,
    newest: LastZxid,
}

/// How far a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// All bytes were the state's, or of the packets behind it, and it goes on.
    More,
    /// It is over, and exact.
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
    /// Parts of txns that never came.
    #[error(
        "the leader's state has a znode that {newest} has changed, and the txns behind it end with {zxid}: it was changed while it was sent, and is not whole"
    )]
    Fuzzy {
        /// The last of the txns, or what the SNAP packet said.
        zxid: Zxid,
        /// The newest that a znode names.
        newest: Zxid,
    },
    /// A packet behind the state is none, or its txn is none.
    #[error("a packet behind the leader's state cannot be read: {0}")]
    Packet(DecodeError),
    /// Packets as no leader sends them.
    #[error("behind the leader's state came {0}")]
    OutOfOrder(&'static str),
    /// A txn that says another zxid than its packet, or that no server allows.
    #[error("the txn {0} behind the leader's state is not one that can be applied")]
    BadTxn(Zxid),
    /// More than is kept.
    #[error("{count} PROPOSALs of {bytes} bytes behind the leader's state wait for their COMMIT: too many")]
    TooManyProposals {
        /// How many.
        count: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The txns make another tree of it than the leader's.
    #[error("the leader's state, with the txns behind it, is not the leader's tree: {}", Doubt::Unequal(*.0))]
    Digest(Unequal),
    /// An ACL is missing.
    #[error("the leader's state is not whole: {0}")]
    NotWhole(#[from] TolerantError),
    /// An ephemeral with children.
    #[error(
        "the leader's state has a znode {0} that is an ephemeral and has children, which no server of ours can hold: a client has to delete them"
    )]
    EphemeralParent(String),
    /// Ephemerals without their sessions.
    #[error(
        "the leader's state has {count} ephemerals of sessions that are not there, left behind by an error of the servers: a client has to delete {}{}, then this server can join",
        first.join(", "),
        if first.len() < *count { " and others" } else { "" }
    )]
    LostEphemerals {
        /// How many.
        count: usize,
        /// The first of them.
        first: Vec<String>,
    },
}

/// A whole state, and the txns that were committed while it was sent.
#[derive(Debug)]
pub struct Taken {
    /// The tree: the leader's at [`Tree::last_zxid`], to the byte.
    pub tree: Tree,
    /// The zxid of the SNAP packet.
    pub begun: Zxid,
    /// Znodes that came.
    pub nodes: u64,
    /// Those of them that were changed by later txns than the SNAP packet says.
    pub later: u64,
    /// Txns that were applied to it.
    pub txns: u64,
    /// Packets that it has taken and not used: the PROPOSALs that are not committed, and NEWLEADER. They go back to the front of the link.
    pub unused: Vec<u8>,
}

impl StateTaker {
    /// For the state at `zxid`, as the SNAP packet says. The first byte behind that packet comes first.
    #[must_use]
    pub fn new(zxid: Zxid, sent_by: SentBy, limits: TakeLimits) -> StateTaker {
        let reader = SnapReader::new(limits.field_bytes_max);
        let state = State { reader, loader: TolerantLoader::new(), acls: HashMap::new() };
        let seen = Seen { zxid: zxid.into(), nodes: 0, later: 0, newest: LastZxid::NONE };
        StateTaker {
            zxid,
            sent_by,
            limits,
            state: Some(Box::new(state)),
            behind: None,
            is_over: false,
            part: Vec::new(),
            part_needs: 0,
            seen,
            bytes_taken: 0,
            packet_bytes_taken: 0,
        }
    }

    /// Bytes of the state so far.
    #[must_use]
    pub const fn bytes_taken(&self) -> u64 {
        self.bytes_taken
    }

    /// Znodes so far.
    #[must_use]
    pub const fn nodes_taken(&self) -> u64 {
        self.seen.nodes
    }

    /// Takes what has come next. Once it is over, nothing is its own any more. The end of the state itself takes its time: it is made a tree.
    ///
    /// # Errors
    /// [`TakeError`]: the taker and the link are of no more use.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Taking, TakeError> {
        let mut rest = self.complete_part(bytes)?;
        while !self.is_over {
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

    /// Takes the item or packet that `bytes` begin with, and says how many they are; `None` if it is not whole.
    fn receive(&mut self, bytes: &[u8]) -> Result<Option<usize>, TakeError> {
        let Some(behind) = &mut self.behind else { return self.receive_item(bytes) };
        match QuorumPacket::receive(bytes, self.limits.field_bytes_max).map_err(TakeError::Packet)? {
            Received::NeedsBytes(len) => {
                self.part_needs = len;
                Ok(None)
            }
            Received::Whole(packet, len) => {
                self.is_over = behind.take(&packet, bytes.get(..len).unwrap_or_default())?;
                self.packet_bytes_taken = self.packet_bytes_taken.saturating_add(len as u64);
                Ok(Some(len))
            }
        }
    }

    fn receive_item(&mut self, bytes: &[u8]) -> Result<Option<usize>, TakeError> {
        let Some(state) = &mut self.state else { return Ok(None) };
        let at = self.bytes_taken;
        let decode = |source| TakeError::Decode { at, source };
        let (item, len) = match state.reader.receive(bytes).map_err(decode)? {
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
            SnapItem::Session { id, timeout_ms } => state.loader.session(id, timeout_ms),
            SnapItem::Acl { number, acl } => state.acl(number, acl).map_err(|error| error.at(at))?,
            SnapItem::Node { path, data, acl, stat } => {
                state.node(path, data, acl, stat)?;
                self.seen.count(stat);
            }
            SnapItem::Sessions(_) | SnapItem::Acls(_) | SnapItem::TreeEnd | SnapItem::Signature => {}
        }
        if let Some(state) = self.state.take_if(|state| state.reader.is_over()) {
            let replay = state.loader.finish(self.zxid, None, None)?;
            let (epoch, is_exact) = match self.sent_by {
                SentBy::Ours(epoch) => (epoch, true),
                SentBy::Java(epoch) => (epoch, false),
            };
            self.behind = Some(Box::new(Behind::new(replay, self.zxid, epoch, self.limits)));
            self.is_over = is_exact;
        }
        Ok(Some(len))
    }

    /// The state, which is over: a Java leader's as of the last txn that it has committed before NEWLEADER.
    ///
    /// # Errors
    /// [`TakeError`]; [`TakeError::BrokeOff`] if it is not over.
    pub fn finish(self) -> Result<Taken, TakeError> {
        let bytes = self.bytes_taken.saturating_add(self.packet_bytes_taken).saturating_add(self.part.len() as u64);
        let mut behind = self.behind.filter(|_| self.is_over).ok_or(TakeError::BrokeOff(bytes))?;
        let (unused, txns, digest_of) = (behind.take_unused(), behind.txns, behind.digest_of());
        let replayed = behind.replay.finish()?;
        let tree = replayed.tree;
        let zxid = tree.last_zxid();
        if let Some(newest) = self.seen.newest.zxid().filter(|newest| *newest > zxid) {
            return Err(TakeError::Fuzzy { zxid, newest });
        }
        if replayed.lost_ephemerals > 0 {
            let first = replayed.lost_first.iter().map(|path| path.to_string()).collect();
            return Err(TakeError::LostEphemerals { count: replayed.lost_ephemerals, first });
        }
        match replayed.doubt {
            // Before that the tree was nobody's.
            Some(Doubt::Unequal(unequal)) if digest_of == Some(unequal.zxid) => return Err(TakeError::Digest(unequal)),
            _ => {}
        }
        for (session, _) in tree.sessions() {
            let has_children = |path: &str| tree.get(path).is_some_and(|node| node.child_count() > 0);
            if let Some(path) = tree.ephemerals_of(session).find(|path| has_children(path)) {
                return Err(TakeError::EphemeralParent(path.into_owned()));
            }
        }
        let Seen { nodes, later, .. } = self.seen;
        Ok(Taken { tree, begun: self.zxid, nodes, later, txns, unused })
    }
}

impl State {
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
        // One that was not there when the list was written: a later txn has made it, and says it again.
        let acl = if acl == ACL_OPEN { Some(open.as_slice()) } else { self.acls.get(&acl).map(Vec::as_slice) };
        self.loader.node(path, data, acl, stat)?;
        Ok(())
    }
}

impl Seen {
    fn count(&mut self, stat: StatPersisted) {
        // As Java compares them: what a very old server has left as -1 is not late.
        let newest = [stat.czxid, stat.mzxid, stat.pzxid].map(LastZxid::from).into_iter().max();
        let newest = newest.unwrap_or(LastZxid::NONE);
        self.nodes += 1;
        self.later += u64::from(newest > self.zxid);
        self.newest = self.newest.max(newest);
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
