//! Reads a snapshot as a stream, whichever way it is packed and whichever version wrote it (`FileSnap`, `DataTree.deserialize`).

use std::fs::File;
use std::path::Path;

use proto::jute::Reader;
use proto::{Acl, Perms, SessionId, StatPersisted, Zxid, java_text};

use super::stream::Stream;
use super::{AclNumber, Compression, END_PATH, Error, FORMAT_VERSION, Fault, Result, SNAPSHOT_MAGIC};

/// A snapshot that is being read. Holds one entry in memory.
#[derive(Debug)]
pub struct SnapshotReader {
    stream: Stream,
    stage: Stage,
    path: Vec<u8>,
    data: Vec<u8>,
    trailer: Option<Trailer>,
}

/// What a snapshot consists of, in this order: sessions, ACLs, znodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A session that was open.
    Session {
        /// Its id.
        id: SessionId,
        /// Its negotiated timeout in ms.
        timeout_ms: i32,
    },
    /// An ACL.
    Acl {
        /// What znodes name it by.
        number: AclNumber,
        /// Its entries.
        acl: Vec<Acl>,
    },
    /// A znode; parents come before their children.
    Node(Node<'a>),
}

/// A znode of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node<'a> {
    /// Its path, `/` for the root.
    pub path: &'a str,
    /// Its data; null is not the same as empty.
    pub data: Option<&'a [u8]>,
    /// Its ACL. While a snapshot is taken the server goes on: a znode may name an ACL that came too late for the list.
    pub acl: AclNumber,
    /// What is stored of its `Stat`.
    pub stat: StatPersisted,
}

/// What follows the znodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trailer {
    /// The tree's digest; servers before 3.6, or with digests off, write none.
    pub digest: Option<SnapshotDigest>,
    /// The newest txn when the znodes had been written; servers before 3.9 write none.
    pub last_zxid: Option<Zxid>,
}

/// The digest of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotDigest {
    /// The txn after which the tree has it: not before that of the file's name, unless it says nothing.
    pub zxid: Zxid,
    /// The version of its arithmetic, see [`proto::txn::DIGEST_VERSION`].
    pub version: i32,
    /// The digest.
    pub digest: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sessions { left: i32 },
    Acls { left: i32 },
    Nodes,
    End,
}

impl SnapshotReader {
    /// Opens a snapshot and checks how it begins.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Damaged`].
    pub fn open(path: &Path, compression: Compression) -> Result<SnapshotReader> {
        let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
        let mut stream = Stream::new(compression.unpack(file), path, compression != Compression::None);
        if stream.int()? != SNAPSHOT_MAGIC {
            return Err(stream.damaged_at(0, Fault::Magic("snapshot")));
        }
        if stream.int()? != FORMAT_VERSION {
            return Err(stream.damaged_at(4, Fault::Field("the version")));
        }
        // The database's id, which no server looks at.
        stream.long()?;
        let left = stream.int()?;
        let stage = Stage::Sessions { left };
        Ok(SnapshotReader { stream, stage, path: Vec::new(), data: Vec::new(), trailer: None })
    }

    /// The next entry; `None` at the end, when every checksum has been found right. Nothing that was read before counts until then.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Damaged`]; the reader must not be used further.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>> {
        loop {
            match self.stage {
                Stage::Sessions { left } if left > 0 => {
                    self.stage = Stage::Sessions { left: left - 1 };
                    let (id, timeout_ms) = (SessionId(self.stream.long()?), self.stream.int()?);
                    return Ok(Some(Entry::Session { id, timeout_ms }));
                }
                Stage::Sessions { .. } => self.stage = Stage::Acls { left: self.stream.int()? },
                Stage::Acls { left } if left > 0 => {
                    self.stage = Stage::Acls { left: left - 1 };
                    let number = AclNumber(self.stream.long()?);
                    return Ok(Some(Entry::Acl { number, acl: self.read_acl()? }));
                }
                Stage::Acls { .. } => self.stage = Stage::Nodes,
                Stage::Nodes => {
                    self.stream.string(&mut self.path, "a path")?;
                    if self.path != END_PATH.as_bytes() {
                        return self.read_node().map(|node| Some(Entry::Node(node)));
                    }
                    self.trailer = Some(self.read_trailer()?);
                    self.stage = Stage::End;
                }
                Stage::End => return Ok(None),
            }
        }
    }

    /// What followed the znodes; `None` until [`SnapshotReader::next_entry`] has come to the end.
    #[must_use]
    pub const fn trailer(&self) -> Option<Trailer> {
        self.trailer
    }

    /// Offset in the unpacked bytes of what is read next.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.stream.offset()
    }

    fn read_acl(&mut self) -> Result<Vec<Acl>> {
        let at = self.stream.offset();
        let count = self.stream.int()?;
        if count < 0 {
            return Err(self.stream.damaged_at(at, Fault::Field("the count of an ACL's entries")));
        }
        let mut acl = Vec::new();
        for _ in 0..count {
            let perms = Perms(self.stream.int()?);
            let scheme = self.read_text("the scheme of an ACL")?;
            let id = self.read_text("the id of an ACL")?;
            acl.push(Acl { perms, scheme, id });
        }
        Ok(acl)
    }

    /// As Java reads it: a server writes characters above U+FFFF in a way that it does not read back.
    fn read_text(&mut self, what: &'static str) -> Result<Box<str>> {
        let at = self.stream.offset();
        if !self.stream.buffer(&mut self.data)? {
            return Err(self.stream.damaged_at(at, Fault::Field(what)));
        }
        Ok(java_text(&self.data).into())
    }

    fn read_node(&mut self) -> Result<Node<'_>> {
        let has_data = self.stream.buffer(&mut self.data)?;
        let acl = AclNumber(self.stream.long()?);
        let stat: [u8; StatPersisted::BYTES] = self.stream.array()?;
        let stat = StatPersisted::read(&mut Reader::new(&stat));
        let stat = stat.unwrap_or_else(|_| unreachable!("an array of just its length"));
        let path = text(&self.path);
        let path = if path.is_empty() { "/" } else { path };
        if !path.starts_with('/') {
            return Err(self.stream.damaged(Fault::Field("the path before here")));
        }
        Ok(Node { path, data: has_data.then_some(self.data.as_slice()), acl, stat })
    }

    /// The first seal and what follows it up to the end of the file.
    fn read_trailer(&mut self) -> Result<Trailer> {
        let at = self.stream.offset();
        let computed = self.stream.sum().checksum();
        let found = self.stream.long()?;
        if found != i64::from(computed) {
            return Err(self.stream.damaged_at(at, Fault::Checksum { found, computed }));
        }
        self.stream.string(&mut self.path, "the end of the seal")?;
        if self.path != END_PATH.as_bytes() {
            return Err(self.stream.damaged_at(at + 8, Fault::Field("the end of the seal")));
        }
        let sum = self.stream.sum();
        let rest = self.stream.rest(TRAILER_BYTES_MAX)?;
        let part = Part { rest: Reader::new(&rest), all: &rest, sum };
        part.read().ok_or_else(|| self.stream.damaged(Fault::Trailer))
    }
}

/// What follows the first seal, with the sum of everything before `rest`.
#[derive(Clone, Copy)]
struct Part<'a> {
    rest: Reader<'a>,
    all: &'a [u8],
    sum: adler2::Adler32,
}

impl Part<'_> {
    /// The forms differ by which parts are there; the checksums tell which form it is.
    fn read(self) -> Option<Trailer> {
        if self.rest.is_empty() {
            return Some(Trailer::default());
        }
        let (mut with_digest, mut without) = (self, self);
        match with_digest.digest() {
            Some(digest) if with_digest.rest.is_empty() => Some(Trailer { digest, last_zxid: None }),
            Some(digest) => with_digest.last_zxid().map(|zxid| Trailer { digest, last_zxid: Some(zxid) }),
            None => without.last_zxid().map(|zxid| Trailer { digest: None, last_zxid: Some(zxid) }),
        }
    }

    /// The digest with its seal. A zxid of 0 or below says that there is none.
    fn digest(&mut self) -> Option<Option<SnapshotDigest>> {
        let (zxid, version) = (Zxid::from_wire(self.rest.long().ok()?), self.rest.int().ok()?);
        let digest = if version < FIRST_BINARY_DIGEST {
            let hex = self.rest.string_or_null().ok()?.unwrap_or("0");
            i64::from_str_radix(hex, 16).ok()?.cast_unsigned()
        } else {
            self.rest.long().ok()?.cast_unsigned()
        };
        self.seal()?;
        Some((zxid.to_wire() > 0).then_some(SnapshotDigest { zxid, version, digest }))
    }

    /// The last zxid with its seal, and then nothing.
    fn last_zxid(&mut self) -> Option<Zxid> {
        let zxid = Zxid::from_wire(self.rest.long().ok()?);
        self.seal()?;
        self.rest.is_empty().then_some(zxid)
    }

    fn seal(&mut self) -> Option<()> {
        let covered = self.all.get(..self.all.len() - self.rest.rest().len())?;
        let mut sum = self.sum;
        sum.write_slice(covered);
        let found = self.rest.long().ok()?;
        let end = self.rest.string().ok()?;
        (found == i64::from(sum.checksum()) && end == END_PATH).then_some(())
    }
}

/// What [`Stream::string`] has read.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_else(|_| unreachable!("the stream gives UTF-8 only"))
}

/// Before this version the digest was a string of hex digits.
const FIRST_BINARY_DIGEST: i32 = 2;
/// Digest, last zxid and two seals take 54 bytes.
const TRAILER_BYTES_MAX: usize = 1 << 10;
