//! Txn records: what is logged, proposed and applied. A header, the record, and the digest of the tree after it.
//!
//! ```text
//! TxnHeader   clientId long | cxid int | zxid long | time long | type int        32 bytes
//! record      by type, see [`Txn`]
//! TxnDigest   version int | treeDigest long                                      12 bytes, optional
//! ```

use crate::jute::{DecodeError, Reader, Result, StrVec, Writer};
use crate::{AclVec, OpCode, SessionId, Xid, Zxid};

/// The version of the digest's arithmetic (`DigestCalculator.DIGEST_VERSION`).
pub const DIGEST_VERSION: i32 = 2;

/// [`DIGEST_VERSION`] of a digest that nobody answers for: a Java leader predicts some wrongly, and is right again with the next. A server of ours writes it into the
/// txns of such a leader before it logs them; Java compares no digest of a version that is not its own.
pub const PREDICTED_DIGEST_VERSION: i32 = DIGEST_VERSION | 0x1_0000;

/// The parent's cversion of a create txn that was written before txns recorded it.
pub const NO_PARENT_CVERSION: i32 = -1;

/// Least bytes of an operation in a multi: its type, the length of its record, and an error's code.
const MULTI_OP_BYTES_MIN: usize = 12;

/// Bytes of a `TxnDigest`.
const TXN_DIGEST_BYTES: usize = 12;

/// Who made a txn, when, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnHeader {
    /// The session.
    pub session: SessionId,
    /// The client's number for the request.
    pub xid: Xid,
    /// The txn's own zxid.
    pub zxid: Zxid,
    /// When it was made, ms since 1970.
    pub time_ms: i64,
    /// What it is.
    pub op: OpCode,
}

impl TxnHeader {
    /// Bytes on the wire.
    pub const BYTES: usize = 32;

    /// Reads one.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`], [`DecodeError::UnknownTxnType`].
    pub fn read(r: &mut Reader<'_>) -> Result<TxnHeader> {
        Ok(TxnHeader {
            session: SessionId(r.long()?),
            xid: Xid(r.int()?),
            zxid: Zxid::from_wire(r.long()?),
            time_ms: r.long()?,
            op: read_op(r)?,
        })
    }

    /// Writes it.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.long(self.session.0);
        w.int(self.xid.0);
        w.long(self.zxid.to_wire());
        w.long(self.time_ms);
        w.int(self.op.to_wire());
    }
}

fn read_op(r: &mut Reader<'_>) -> Result<OpCode> {
    let ty = r.int()?;
    OpCode::from_wire(ty).ok_or(DecodeError::UnknownTxnType(ty))
}

/// A znode comes into being: create, create2, createContainer, createTTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateTxn<'a> {
    /// Which of the four; the replies differ.
    pub op: OpCode,
    /// The path, with its number if it is sequential.
    pub path: &'a str,
    /// The data.
    pub data: Option<&'a [u8]>,
    /// The ACL, with `auth` expanded.
    pub acl: AclVec<'a>,
    /// Owned by the header's session? (create and create2)
    pub ephemeral: bool,
    /// The parent's stored cversion after it, or [`NO_PARENT_CVERSION`].
    pub parent_cversion: i32,
    /// Time to live in ms (createTTL), else 0.
    pub ttl_ms: i64,
}

impl<'a> CreateTxn<'a> {
    fn read(op: OpCode, r: &mut Reader<'a>) -> Result<CreateTxn<'a>> {
        let (path, data, acl) = (r.string()?, r.buffer()?, AclVec::read(r)?);
        let ephemeral = if matches!(op, OpCode::Create | OpCode::Create2) { r.bool()? } else { false };
        let parent_cversion = r.int()?;
        let ttl_ms = if op == OpCode::CreateTtl { r.long()? } else { 0 };
        Ok(CreateTxn { op, path, data, acl, ephemeral, parent_cversion, ttl_ms })
    }

    /// Reads a create txn, or one from before 3.3.3, which ends with `ephemeral` (`CreateTxnV0`): then the parent's cversion is
    /// [`NO_PARENT_CVERSION`], and apply works it out.
    fn read_new_or_v0(r: &mut Reader<'a>) -> Result<CreateTxn<'a>> {
        let mut v0 = *r;
        CreateTxn::read(OpCode::Create, r).or_else(|error| {
            let (path, data, acl, ephemeral) = (v0.string()?, v0.buffer()?, AclVec::read(&mut v0)?, v0.bool()?);
            if !v0.is_empty() {
                return Err(error);
            }
            *r = v0;
            let parent_cversion = NO_PARENT_CVERSION;
            Ok(CreateTxn { op: OpCode::Create, path, data, acl, ephemeral, parent_cversion, ttl_ms: 0 })
        })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.string(self.path);
        w.buffer(self.data);
        self.acl.write(w);
        if matches!(self.op, OpCode::Create | OpCode::Create2) {
            w.bool(self.ephemeral);
        }
        w.int(self.parent_cversion);
        if self.op == OpCode::CreateTtl {
            w.long(self.ttl_ms);
        }
    }
}

/// A txn's record, or one of a multi's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Txn<'a> {
    /// A znode comes into being.
    Create(CreateTxn<'a>),
    /// A znode goes: delete and deleteContainer.
    Delete {
        /// Delete or DeleteContainer.
        op: OpCode,
        /// The path.
        path: &'a str,
    },
    /// New data. Reconfig is the same on `/zookeeper/config`.
    SetData {
        /// SetData or Reconfig.
        op: OpCode,
        /// The path.
        path: &'a str,
        /// The data.
        data: Option<&'a [u8]>,
        /// The version after it.
        version: i32,
    },
    /// A new ACL.
    SetAcl {
        /// The path.
        path: &'a str,
        /// The ACL, with `auth` expanded.
        acl: AclVec<'a>,
        /// The aversion after it.
        version: i32,
    },
    /// A check inside a multi that held.
    Check {
        /// The path.
        path: &'a str,
        /// The version plus one, as Java records it.
        version: i32,
    },
    /// A session begins.
    CreateSession {
        /// Its timeout in ms.
        timeout_ms: i32,
    },
    /// A session ends and its ephemerals with it. `None`: written without the list, by old servers.
    CloseSession(Option<StrVec<'a>>),
    /// A write that failed; it changes nothing.
    Error(i32),
    /// Several at once.
    Multi(Vec<Txn<'a>>),
}

impl<'a> Txn<'a> {
    /// Reads the record of a txn whose header says `op`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read(op: OpCode, r: &mut Reader<'a>) -> Result<Txn<'a>> {
        match op {
            OpCode::Multi => Txn::read_multi(r),
            OpCode::Create => CreateTxn::read_new_or_v0(r).map(Txn::Create),
            // A check is only ever logged inside a multi.
            OpCode::Check => Err(DecodeError::UnknownTxnType(op.to_wire())),
            _ => Txn::read_single(op, r),
        }
    }

    /// A count, then each operation's type and its record as a buffer. Types as `DataTree.processTxn` takes them.
    fn read_multi(r: &mut Reader<'a>) -> Result<Txn<'a>> {
        let count = r.count(MULTI_OP_BYTES_MIN)?.ok_or(DecodeError::UnexpectedNull)?;
        let mut txns = Vec::with_capacity(count);
        for _ in 0..count {
            let op = read_op(r)?;
            let bytes = r.buffer()?.ok_or(DecodeError::UnexpectedNull)?;
            let allowed = matches!(
                op,
                OpCode::Create
                    | OpCode::Create2
                    | OpCode::CreateContainer
                    | OpCode::CreateTtl
                    | OpCode::Delete
                    | OpCode::DeleteContainer
                    | OpCode::SetData
                    | OpCode::Check
                    | OpCode::Error
            );
            if !allowed {
                return Err(DecodeError::InvalidMultiOp);
            }
            txns.push(Txn::read_single(op, &mut Reader::new(bytes))?);
        }
        Ok(Txn::Multi(txns))
    }

    fn read_single(op: OpCode, r: &mut Reader<'a>) -> Result<Txn<'a>> {
        Ok(match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Txn::Create(CreateTxn::read(op, r)?)
            }
            OpCode::Delete | OpCode::DeleteContainer => Txn::Delete { op, path: r.string()? },
            OpCode::SetData | OpCode::Reconfig => {
                Txn::SetData { op, path: r.string()?, data: r.buffer()?, version: r.int()? }
            }
            OpCode::SetAcl => Txn::SetAcl { path: r.string()?, acl: AclVec::read(r)?, version: r.int()? },
            OpCode::Check => Txn::Check { path: r.string()?, version: r.int()? },
            OpCode::CreateSession => Txn::CreateSession { timeout_ms: r.int()? },
            OpCode::CloseSession if has_no_path_list(r.rest()) => Txn::CloseSession(None),
            OpCode::CloseSession => Txn::CloseSession(Some(StrVec::read_or_null(r)?.unwrap_or(StrVec::EMPTY))),
            OpCode::Error => Txn::Error(r.int()?),
            other => return Err(DecodeError::UnknownTxnType(other.to_wire())),
        })
    }

    /// The type that its header carries.
    #[must_use]
    pub const fn op(&self) -> OpCode {
        match self {
            Txn::Create(create) => create.op,
            Txn::Delete { op, .. } | Txn::SetData { op, .. } => *op,
            Txn::SetAcl { .. } => OpCode::SetAcl,
            Txn::Check { .. } => OpCode::Check,
            Txn::CreateSession { .. } => OpCode::CreateSession,
            Txn::CloseSession(_) => OpCode::CloseSession,
            Txn::Error(_) => OpCode::Error,
            Txn::Multi(_) => OpCode::Multi,
        }
    }

    /// Writes the record.
    pub fn write(&self, w: &mut Writer<'_>) {
        match self {
            Txn::Create(create) => create.write(w),
            Txn::Delete { path, .. } => w.string(path),
            Txn::SetData { path, data, version, .. } => {
                w.string(path);
                w.buffer(*data);
                w.int(*version);
            }
            Txn::SetAcl { path, acl, version } => {
                w.string(path);
                acl.write(w);
                w.int(*version);
            }
            Txn::Check { path, version } => {
                w.string(path);
                w.int(*version);
            }
            Txn::CreateSession { timeout_ms } => w.int(*timeout_ms),
            Txn::CloseSession(None) => {}
            Txn::CloseSession(paths) => w.str_vec(*paths),
            Txn::Error(err) => w.int(*err),
            Txn::Multi(txns) => {
                w.length(txns.len());
                let mut record = Vec::new();
                for txn in txns {
                    record.clear();
                    txn.write(&mut Writer::new(&mut record));
                    w.int(txn.op().to_wire());
                    w.buffer(Some(&record));
                }
            }
        }
    }
}

/// Does a closeSession end with its header, or with a digest right after it? So write servers with
/// `zookeeper.closeSessionTxn.enabled=false`. As a list those twelve bytes would be two paths within eight bytes, lengths included:
/// two empty ones, which no znode has.
fn has_no_path_list(rest: &[u8]) -> bool {
    let is_digest = |version: i32| rest.len() == TXN_DIGEST_BYTES && rest.starts_with(&version.to_be_bytes());
    rest.is_empty() || is_digest(DIGEST_VERSION) || is_digest(PREDICTED_DIGEST_VERSION)
}

/// A whole txn: header, record and the digest of the tree after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnRecord<'a> {
    /// The header.
    pub header: TxnHeader,
    /// The record.
    pub txn: Txn<'a>,
    /// The digest after it, with the version of its arithmetic; absent where digests are off.
    pub digest: Option<(i32, u64)>,
}

impl<'a> TxnRecord<'a> {
    /// Reads all of `bytes`; what follows a digest is ignored, as in Java. Part of a digest is an error (Java reads it as none):
    /// a record comes out of a checked log entry or packet, so it would be damage that nobody noticed.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<TxnRecord<'a>> {
        let mut r = Reader::new(bytes);
        let header = TxnHeader::read(&mut r)?;
        let txn = Txn::read(header.op, &mut r)?;
        let digest = if r.is_empty() { None } else { Some((r.int()?, r.long()?.cast_unsigned())) };
        Ok(TxnRecord { header, txn, digest })
    }

    /// Gives the digest of the record in `bytes`, if it has one, the version [`PREDICTED_DIGEST_VERSION`].
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn mark_as_predicted(bytes: &mut [u8]) -> Result<()> {
        let at = {
            let mut r = Reader::new(bytes);
            let header = TxnHeader::read(&mut r)?;
            Txn::read(header.op, &mut r)?;
            bytes.len() - r.rest().len()
        };
        if let Some(version) = bytes.get_mut(at..at + DIGEST_VERSION.to_be_bytes().len())
            && *version == DIGEST_VERSION.to_be_bytes()
        {
            version.copy_from_slice(&PREDICTED_DIGEST_VERSION.to_be_bytes());
        }
        Ok(())
    }

    /// Appends it to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut w = Writer::new(out);
        self.header.write(&mut w);
        self.txn.write(&mut w);
        if let Some((version, digest)) = self.digest {
            w.int(version);
            w.long(digest.cast_signed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(op: OpCode, txn: Txn<'_>, digest: Option<(i32, u64)>) -> Vec<u8> {
        let header = TxnHeader { session: SessionId(7), xid: Xid(3), zxid: Zxid(9), time_ms: 1, op };
        let mut bytes = Vec::new();
        TxnRecord { header, txn, digest }.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_create_without_the_parents_cversion_is_an_old_one() {
        let create = CreateTxn {
            op: OpCode::Create,
            path: "/a",
            data: None,
            acl: AclVec::EMPTY,
            ephemeral: true,
            parent_cversion: 5,
            ttl_ms: 0,
        };
        let bytes = record(OpCode::Create, Txn::Create(create), None);
        let old = bytes.get(..bytes.len() - 4).expect("longer than the field");
        let read = TxnRecord::decode(old).map(|record| record.txn);
        assert_eq!(read, Ok(Txn::Create(CreateTxn { parent_cversion: NO_PARENT_CVERSION, ..create })));
        // Only `create` is that old.
        let create2 = CreateTxn { op: OpCode::Create2, ..create };
        let bytes = record(OpCode::Create2, Txn::Create(create2), None);
        assert_eq!(TxnRecord::decode(bytes.get(..bytes.len() - 4).expect("longer")), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_digest_is_marked_as_predicted_and_nothing_else_is_changed() {
        for (op, txn) in [(OpCode::CloseSession, Txn::CloseSession(None)), (OpCode::SetData, set_data())] {
            // Of another version nothing is known, and a close may have no list.
            let other = if op == OpCode::SetData { 7 } else { PREDICTED_DIGEST_VERSION };
            for version in [DIGEST_VERSION, other] {
                let mut bytes = record(op, txn.clone(), Some((version, 5)));
                TxnRecord::mark_as_predicted(&mut bytes).expect("a record");
                let marked = if version == DIGEST_VERSION { PREDICTED_DIGEST_VERSION } else { version };
                assert_eq!(bytes, record(op, txn.clone(), Some((marked, 5))));
                assert_eq!(TxnRecord::decode(&bytes).expect("a record").digest, Some((marked, 5)));
            }
            let mut bytes = record(op, txn.clone(), None);
            TxnRecord::mark_as_predicted(&mut bytes).expect("a record");
            assert_eq!(bytes, record(op, txn, None));
        }
        TxnRecord::mark_as_predicted(&mut [0; 10]).expect_err("that is no record");
    }

    fn set_data() -> Txn<'static> {
        Txn::SetData { op: OpCode::SetData, path: "/a", data: Some(b"x"), version: 1 }
    }

    #[test]
    fn a_close_without_its_paths_keeps_its_digest() {
        let versions = [DIGEST_VERSION, PREDICTED_DIGEST_VERSION];
        let digests = versions.into_iter().flat_map(|version| [0, 0x1234_5678_9abc_def0].map(|of| Some((version, of))));
        for digest in digests.chain([None]) {
            let bytes = record(OpCode::CloseSession, Txn::CloseSession(None), digest);
            let read = TxnRecord::decode(&bytes).expect("a record");
            assert_eq!((read.txn, read.digest), (Txn::CloseSession(None), digest));
        }
        let mut list = Vec::new();
        Writer::new(&mut list).strings(["/abc"].into_iter());
        let paths = StrVec::read_or_null(&mut Reader::new(&list)).expect("a list");
        let bytes = record(OpCode::CloseSession, Txn::CloseSession(paths), None);
        assert_eq!(TxnRecord::decode(&bytes).map(|record| record.txn), Ok(Txn::CloseSession(paths)));
    }

    #[test]
    fn only_what_a_multi_can_hold_is_read_in_one() {
        let inner = [Txn::Check { path: "/a", version: 1 }, Txn::Error(-101)];
        let bytes = record(OpCode::Multi, Txn::Multi(inner.to_vec()), None);
        assert_eq!(TxnRecord::decode(&bytes).map(|record| record.txn), Ok(Txn::Multi(inner.to_vec())));
        let paths = Some(StrVec::EMPTY);
        for inner in [Txn::CreateSession { timeout_ms: 1 }, Txn::CloseSession(paths), Txn::Multi(Vec::new())] {
            let bytes = record(OpCode::Multi, Txn::Multi(vec![inner, Txn::Error(0)]), None);
            assert_eq!(TxnRecord::decode(&bytes), Err(DecodeError::InvalidMultiOp));
        }
        let bytes = record(OpCode::Check, Txn::Check { path: "/a", version: 1 }, None);
        assert_eq!(TxnRecord::decode(&bytes), Err(DecodeError::UnknownTxnType(13)));
    }
}
