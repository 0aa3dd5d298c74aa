//! What follows SNAP: the leader's whole state (`SerializeUtils.serializeSnapshot`, and the signature of `LearnerHandler`).
//!
//! ```text
//! count int, then that many:  session id long | timeout int (ms)
//! count int, then that many:  ACL number long | vector of ACL
//! any number of:              path ustring | data buffer | ACL number long | StatPersisted (60 bytes)
//! ustring "/"                 the end of the tree: the root's own path is ""
//! ustring "BenWasHere"        the signature
//! ```
//!
//! It is no packet and has no length, no checksum and no digest, unlike a snapshot's file. Parents come before their children, in no
//! other order. Packets go on right after the signature. It may be of any size: so it is read an item at a time, each bounded.

use crate::extent::{Extent, Received, Step};
use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::{AclVec, SessionId, StatPersisted};

/// The end of the tree.
pub const TREE_END: &str = "/";
/// The end of all.
pub const SIGNATURE: &str = "BenWasHere";

/// A part of the stream. Each is written by itself; their order is the writer's matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapItem<'a> {
    /// So many sessions follow.
    Sessions(i32),
    /// A session that is open.
    Session {
        /// Its id.
        id: SessionId,
        /// Its timeout in ms.
        timeout_ms: i32,
    },
    /// So many ACLs follow.
    Acls(i32),
    /// An ACL.
    Acl {
        /// What znodes name it by.
        number: i64,
        /// Its entries.
        acl: AclVec<'a>,
    },
    /// A znode.
    Node {
        /// Its path; empty for the root.
        path: &'a str,
        /// Its data; null is not the same as empty.
        data: Option<&'a [u8]>,
        /// Its ACL; -1 is the open one, which is in no list. The stream is fuzzy: it may name an ACL that came too late for the list.
        acl: i64,
        /// What is stored of its `Stat`.
        stat: StatPersisted,
    },
    /// The tree ends.
    TreeEnd,
    /// The stream ends: what follows are packets again.
    Signature,
}

/// What the stream is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Sessions,
    Session { left: i32 },
    Acls,
    Acl { left: i32 },
    Nodes,
    Signature,
    Over,
}

/// Reads the stream.
#[derive(Debug)]
pub struct SnapReader {
    stage: Stage,
    bytes_max: usize,
}

impl SnapReader {
    /// A reader at the first byte after the SNAP packet. No path, data or ACL may be longer than `bytes_max`, see
    /// [`super::DATA_BYTES_MAX_DEFAULT`].
    #[must_use]
    pub const fn new(bytes_max: usize) -> SnapReader {
        SnapReader { stage: Stage::Sessions, bytes_max }
    }

    /// Has the signature been read?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Reads the item that begins at the first of `bytes`. Only a whole one moves the reader on.
    ///
    /// # Errors
    /// [`DecodeError`]: the link is of no more use.
    ///
    /// # Panics
    /// After the signature.
    pub fn receive<'a>(&mut self, bytes: &'a [u8]) -> Result<Received<SnapItem<'a>>> {
        let (stage, bytes_max) = (self.stage, self.bytes_max);
        let received = Extent::of(bytes, |extent| stage.walk(extent, bytes_max))?;
        if let Received::Whole(item, _) = received {
            self.stage = stage.after(&item);
        }
        Ok(received)
    }
}

impl Stage {
    /// The item of this stage.
    fn walk<'a>(self, extent: &mut Extent<'a>, bytes_max: usize) -> Step<SnapItem<'a>> {
        Ok(match self {
            Stage::Sessions => SnapItem::Sessions(extent.int()?),
            Stage::Session { .. } => SnapItem::Session { id: SessionId(extent.long()?), timeout_ms: extent.int()? },
            Stage::Acls => SnapItem::Acls(extent.int()?),
            Stage::Acl { .. } => SnapItem::Acl { number: extent.long()?, acl: walk_acl(extent, bytes_max)? },
            Stage::Nodes => match extent.string(bytes_max)? {
                TREE_END => SnapItem::TreeEnd,
                path => SnapItem::Node {
                    path,
                    data: extent.buffer(bytes_max)?,
                    acl: extent.long()?,
                    stat: extent.fixed(StatPersisted::BYTES, StatPersisted::read)?,
                },
            },
            Stage::Signature => match extent.string(SIGNATURE.len())? {
                SIGNATURE => SnapItem::Signature,
                _ => return Err(DecodeError::NoSignature.into()),
            },
            Stage::Over => panic!("the snapshot's stream has been read to its end"),
        })
    }

    /// The stage after `item`. A count below 0 is none, as in Java.
    fn after(self, item: &SnapItem<'_>) -> Stage {
        let session = |left| if left > 0 { Stage::Session { left } } else { Stage::Acls };
        let acl = |left| if left > 0 { Stage::Acl { left } } else { Stage::Nodes };
        match (self, item) {
            (_, SnapItem::Sessions(count)) => session(*count),
            (Stage::Session { left }, _) => session(left - 1),
            (_, SnapItem::Acls(count)) => acl(*count),
            (Stage::Acl { left }, _) => acl(left - 1),
            (_, SnapItem::TreeEnd) => Stage::Signature,
            (_, SnapItem::Signature) => Stage::Over,
            (stage, _) => stage,
        }
    }
}

/// A vector of ACL entries. Java trips over the null one.
fn walk_acl<'a>(extent: &mut Extent<'a>, bytes_max: usize) -> Step<AclVec<'a>> {
    let start = extent.at();
    let entry = |extent: &mut Extent<'a>| {
        extent.int()?;
        extent.buffer(bytes_max)?;
        extent.buffer(bytes_max)?;
        Ok(())
    };
    extent.elements(bytes_max, entry)?.ok_or(DecodeError::NullAcl)?;
    Ok(AclVec::read(&mut Reader::new(extent.since(start)))?)
}

impl SnapItem<'_> {
    /// Writes it.
    pub fn write(&self, w: &mut Writer<'_>) {
        match self {
            SnapItem::Sessions(count) | SnapItem::Acls(count) => w.int(*count),
            SnapItem::Session { id, timeout_ms } => {
                w.long(id.0);
                w.int(*timeout_ms);
            }
            SnapItem::Acl { number, acl } => {
                w.long(*number);
                acl.write(w);
            }
            SnapItem::Node { path, data, acl, stat } => {
                w.string(path);
                w.buffer(*data);
                w.long(*acl);
                stat.write(w);
            }
            SnapItem::TreeEnd => w.string(TREE_END),
            SnapItem::Signature => w.string(SIGNATURE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat::EphemeralOwner;
    use crate::{Acl, Zxid};

    fn stream(acl: AclVec<'_>) -> Vec<SnapItem<'_>> {
        let stat = StatPersisted::created(Zxid(7), 1, EphemeralOwner(0));
        vec![
            SnapItem::Sessions(2),
            SnapItem::Session { id: SessionId(-1), timeout_ms: 4000 },
            SnapItem::Session { id: SessionId(2), timeout_ms: 40_000 },
            SnapItem::Acls(1),
            SnapItem::Acl { number: 1, acl },
            SnapItem::Node { path: "", data: None, acl: -1, stat },
            SnapItem::Node { path: "/a", data: Some(b"data"), acl: 1, stat },
            SnapItem::TreeEnd,
            SnapItem::Signature,
        ]
    }

    #[test]
    fn a_stream_is_read_from_pieces_of_any_size() {
        let mut wire = Vec::new();
        Acl::write_vec(&[Acl::open(), Acl::world_read()], &mut Writer::new(&mut wire));
        let items = stream(AclVec::read(&mut Reader::new(&wire)).expect("an ACL"));
        let mut bytes = Vec::new();
        items.iter().for_each(|item| item.write(&mut Writer::new(&mut bytes)));
        bytes.extend_from_slice(b"packets");
        let (mut reader, mut at, mut have) = (SnapReader::new(100), 0, 0);
        let mut read = Vec::new();
        while !reader.is_over() {
            match reader.receive(&bytes[at..at + have]).expect("a stream") {
                Received::Whole(item, len) => {
                    (at, have) = (at + len, 0);
                    read.push(item);
                }
                Received::NeedsBytes(len) => {
                    assert!(len > have);
                    have += 1;
                }
            }
        }
        assert_eq!(read, items);
        assert_eq!(&bytes[at..], b"packets");
    }

    #[test]
    fn what_is_out_of_bounds_or_not_signed_is_refused() {
        let refused = |stage: Stage, bytes: &[u8]| SnapReader { stage, bytes_max: 10 }.receive(bytes).err();
        assert_eq!(refused(Stage::Nodes, &[0, 0, 0, 11]), Some(DecodeError::LengthOutOfBounds));
        assert_eq!(refused(Stage::Nodes, &[0xff; 4]), Some(DecodeError::UnexpectedNull));
        assert_eq!(refused(Stage::Acl { left: 1 }, &[0xff; 12]), Some(DecodeError::NullAcl));
        assert_eq!(refused(Stage::Signature, b"\0\0\0\x0aBenWasGone"), Some(DecodeError::NoSignature));
        assert_eq!(refused(Stage::Signature, &[0, 0, 0, 11]), Some(DecodeError::LengthOutOfBounds));
    }
}
