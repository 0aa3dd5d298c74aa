//! Replies: a header, then, unless it carries an error, the record of the operation.
//!
//! The server writes records straight into a connection's output with the `write_*` functions; clients read them with [`Reply`].

use crate::jute::{DecodeError, Reader, Result, StrVec, Writer};
use crate::{AclVec, ErrorCode, OpCode, Stat, Xid, Zxid};

/// The 16 bytes in front of every reply and watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The request's number, or a reserved one.
    pub xid: Xid,
    /// The position of the server's state. A watch event carries its txn's (-1: none).
    pub zxid: Zxid,
    /// 0, or an error code.
    pub err: i32,
}

impl ReplyHeader {
    /// Bytes on the wire.
    pub const BYTES: usize = 16;

    /// A reply without an error.
    #[must_use]
    pub const fn ok(xid: Xid, zxid: Zxid) -> ReplyHeader {
        ReplyHeader { xid, zxid, err: 0 }
    }

    /// A reply that is only an error.
    #[must_use]
    pub const fn error(xid: Xid, zxid: Zxid, err: ErrorCode) -> ReplyHeader {
        ReplyHeader { xid, zxid, err: err.to_wire() }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn read(r: &mut Reader<'_>) -> Result<ReplyHeader> {
        Ok(ReplyHeader { xid: Xid(r.int()?), zxid: Zxid::from_wire(r.long()?), err: r.int()? })
    }

    /// Writes it.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.int(self.xid.0);
        w.long(self.zxid.to_wire());
        w.int(self.err);
    }
}

/// The result of one operation of a multi or multiRead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpResult<'a> {
    /// create: the path.
    Create(&'a str),
    /// create2, createContainer or createTTL: the path and the Stat. On the wire all three are create2; so reads give that code.
    Create2(OpCode, &'a str, Stat),
    /// delete.
    Delete,
    /// setData: the Stat.
    SetData(Stat),
    /// check.
    Check,
    /// getData: data and Stat.
    GetData(Option<&'a [u8]>, Stat),
    /// getChildren: the names.
    GetChildren(StrVec<'a>),
    /// It failed, or another one did (0 before the failing one, -2 after it).
    Error(i32),
}

impl<'a> OpResult<'a> {
    /// Writes the result with its header (`MultiResponse`).
    pub fn write(&self, w: &mut Writer<'_>) {
        let (ty, err) = match self {
            OpResult::Create(_) => (OpCode::Create, 0),
            OpResult::Create2(..) => (OpCode::Create2, 0),
            OpResult::Delete => (OpCode::Delete, 0),
            OpResult::SetData(_) => (OpCode::SetData, 0),
            OpResult::Check => (OpCode::Check, 0),
            OpResult::GetData(..) => (OpCode::GetData, 0),
            OpResult::GetChildren(_) => (OpCode::GetChildren, 0),
            OpResult::Error(err) => (OpCode::Error, *err),
        };
        w.int(ty.to_wire());
        w.bool(false);
        w.int(err);
        match self {
            OpResult::Create(path) => w.string(path),
            OpResult::Create2(_, path, stat) => {
                w.string(path);
                stat.write(w);
            }
            OpResult::SetData(stat) => stat.write(w),
            OpResult::GetData(data, stat) => {
                w.buffer(*data);
                stat.write(w);
            }
            OpResult::GetChildren(names) => w.str_vec(Some(*names)),
            OpResult::Error(err) => w.int(*err),
            OpResult::Delete | OpResult::Check => {}
        }
    }

    /// Ends a multi's results.
    pub fn write_end(w: &mut Writer<'_>) {
        w.int(-1);
        w.bool(true);
        w.int(-1);
    }

    /// Reads all results of a multi, up to their end.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read_all(r: &mut Reader<'a>) -> Result<Vec<OpResult<'a>>> {
        let mut results = Vec::new();
        loop {
            let ty = r.int()?;
            let done = r.bool()?;
            let _err = r.int()?;
            if done {
                return Ok(results);
            }
            let op = OpCode::from_wire(ty).ok_or(DecodeError::InvalidMultiOp)?;
            results.push(match op {
                OpCode::Create => OpResult::Create(r.string()?),
                OpCode::Create2 => OpResult::Create2(op, r.string()?, Stat::read(r)?),
                OpCode::Delete => OpResult::Delete,
                OpCode::SetData => OpResult::SetData(Stat::read(r)?),
                OpCode::Check => OpResult::Check,
                OpCode::GetData => OpResult::GetData(r.buffer()?, Stat::read(r)?),
                OpCode::GetChildren => {
                    OpResult::GetChildren(StrVec::read_or_null(r)?.ok_or(DecodeError::UnexpectedNull)?)
                }
                OpCode::Error => OpResult::Error(r.int()?),
                _ => return Err(DecodeError::InvalidMultiOp),
            });
        }
    }
}

/// The record of a reply, as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Nothing follows the header: ping, delete, auth, setWatches, checkWatches, removeWatches, closeSession.
    Empty,
    /// create, sync: a path.
    Path(&'a str),
    /// create2, createContainer, createTTL.
    PathStat(&'a str, Stat),
    /// exists, setData, setACL.
    Stat(Stat),
    /// getData, reconfig.
    DataStat(Option<&'a [u8]>, Stat),
    /// getACL.
    AclStat(AclVec<'a>, Stat),
    /// getChildren, getEphemerals.
    Strings(StrVec<'a>),
    /// getChildren2.
    StringsStat(StrVec<'a>, Stat),
    /// getAllChildrenNumber, addWatch.
    Int(i32),
    /// multi, multiRead.
    Multi(Vec<OpResult<'a>>),
    /// whoAmI: scheme and user, of each identity.
    Identities(Vec<(&'a str, &'a str)>),
    /// sasl: the server's token.
    Token(Option<&'a [u8]>),
}

impl<'a> Reply<'a> {
    /// Reads the record that answers `op`.
    ///
    /// # Errors
    /// [`DecodeError`]; also for operations that have no reply.
    pub fn read(op: OpCode, r: &mut Reader<'a>) -> Result<Reply<'a>> {
        fn strings<'a>(r: &mut Reader<'a>) -> Result<StrVec<'a>> {
            Ok(StrVec::read_or_null(r)?.unwrap_or(StrVec::EMPTY))
        }
        Ok(match op {
            OpCode::Create | OpCode::Sync => Reply::Path(r.string()?),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Reply::PathStat(r.string()?, Stat::read(r)?)
            }
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl | OpCode::Check => Reply::Stat(Stat::read(r)?),
            OpCode::GetData | OpCode::Reconfig => Reply::DataStat(r.buffer()?, Stat::read(r)?),
            OpCode::GetAcl => Reply::AclStat(AclVec::read(r)?, Stat::read(r)?),
            OpCode::GetChildren | OpCode::GetEphemerals => Reply::Strings(strings(r)?),
            OpCode::GetChildren2 => Reply::StringsStat(strings(r)?, Stat::read(r)?),
            OpCode::GetAllChildrenNumber | OpCode::AddWatch => Reply::Int(r.int()?),
            OpCode::Multi | OpCode::MultiRead => Reply::Multi(OpResult::read_all(r)?),
            OpCode::WhoAmI => {
                let count = r.count(8)?.unwrap_or(0);
                let ids = (0..count).map(|_| Ok((r.string()?, r.string()?))).collect::<Result<_>>()?;
                Reply::Identities(ids)
            }
            OpCode::Sasl => Reply::Token(r.buffer()?),
            OpCode::Ping
            | OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::CloseSession => Reply::Empty,
            OpCode::Notification | OpCode::CreateSession | OpCode::Error => return Err(DecodeError::InvalidMultiOp),
        })
    }

    /// Writes the record.
    pub fn write(&self, w: &mut Writer<'_>) {
        match self {
            Reply::Empty => {}
            Reply::Path(path) => w.string(path),
            Reply::PathStat(path, stat) => {
                w.string(path);
                stat.write(w);
            }
            Reply::Stat(stat) => stat.write(w),
            Reply::DataStat(data, stat) => {
                w.buffer(*data);
                stat.write(w);
            }
            Reply::AclStat(acl, stat) => {
                acl.write(w);
                stat.write(w);
            }
            Reply::Strings(strings) => w.str_vec(Some(*strings)),
            Reply::StringsStat(strings, stat) => {
                w.str_vec(Some(*strings));
                stat.write(w);
            }
            Reply::Int(value) => w.int(*value),
            Reply::Multi(results) => {
                for result in results {
                    result.write(w);
                }
                OpResult::write_end(w);
            }
            Reply::Identities(ids) => {
                w.length(ids.len());
                for (scheme, user) in ids {
                    w.string(scheme);
                    w.string(user);
                }
            }
            Reply::Token(token) => w.buffer(*token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_and_ttl_znodes_of_a_multi_are_answered_as_create2() {
        for op in [OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl] {
            let mut bytes = Vec::new();
            OpResult::Create2(op, "/a", Stat::default()).write(&mut Writer::new(&mut bytes));
            assert_eq!(bytes.get(..9), Some([0, 0, 0, 15, 0, 0, 0, 0, 0].as_slice()));
        }
        let mut w_bytes = vec![0, 0, 0, 19, 0, 0, 0, 0, 0];
        OpResult::write_end(&mut Writer::new(&mut w_bytes));
        assert_eq!(OpResult::read_all(&mut Reader::new(&w_bytes)), Err(DecodeError::InvalidMultiOp));
    }

    /// `MultiResponse`: an error stands twice, in the result's header and in its record; the end is -1, true, -1.
    #[test]
    fn a_failed_multi_carries_each_error_twice() {
        let errors = [OpResult::Error(0), OpResult::Error(-101), OpResult::Error(-2)];
        let mut bytes = Vec::new();
        Reply::Multi(errors.to_vec()).write(&mut Writer::new(&mut bytes));
        let mut expected = Vec::new();
        for err in [0i32, -101, -2] {
            expected.extend_from_slice(&(-1i32).to_be_bytes());
            expected.push(0);
            expected.extend_from_slice(&err.to_be_bytes());
            expected.extend_from_slice(&err.to_be_bytes());
        }
        expected.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(bytes, expected);
        assert_eq!(OpResult::read_all(&mut Reader::new(&bytes)), Ok(errors.to_vec()));
    }
}
