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
    /// The parent's stored cversion after it.
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
        if op != OpCode::Multi {
            return Txn::read_single(op, r);
        }
        // Each operation of a multi: type int, then its record as a buffer.
        let count = r.count(8)?.ok_or(DecodeError::UnexpectedNull)?;
        let mut txns = Vec::with_capacity(count);
        for _ in 0..count {
            let op = read_op(r)?;
            let bytes = r.buffer()?.ok_or(DecodeError::UnexpectedNull)?;
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
            OpCode::CloseSession if r.is_empty() => Txn::CloseSession(None),
            OpCode::CloseSession => Txn::CloseSession(StrVec::read_or_null(r)?),
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
    /// Reads all of `bytes`.
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
