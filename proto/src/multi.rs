//! The requests of multi and multiRead (`MultiOperationRecord`): operations, each behind a header, up to one that is done.
//!
//! The only records that are not read in place. How much more than its frame one takes is bounded by `proto/tests/allocation.rs`.

use crate::OpCode;
use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::request::{CreateMode, CreateRequest, PathVersion, ReadRequest, SetDataRequest};

/// One operation of a multi or multiRead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiOp<'a> {
    /// create, create2, createContainer or createTTL: the code that the flags call for, which need not be the one sent.
    Create(OpCode, CreateRequest<'a>),
    /// delete.
    Delete(PathVersion<'a>),
    /// setData.
    SetData(SetDataRequest<'a>),
    /// check.
    Check(PathVersion<'a>),
    /// getData, in a multiRead.
    GetData(ReadRequest<'a>),
    /// getChildren, in a multiRead.
    GetChildren(ReadRequest<'a>),
}

impl<'a> MultiOp<'a> {
    /// The operation's code.
    #[must_use]
    pub const fn op(&self) -> OpCode {
        match self {
            MultiOp::Create(op, _) => *op,
            MultiOp::Delete(_) => OpCode::Delete,
            MultiOp::SetData(_) => OpCode::SetData,
            MultiOp::Check(_) => OpCode::Check,
            MultiOp::GetData(_) => OpCode::GetData,
            MultiOp::GetChildren(_) => OpCode::GetChildren,
        }
    }

    const fn is_read(&self) -> bool {
        matches!(self, MultiOp::GetData(_) | MultiOp::GetChildren(_))
    }

    fn read(op: OpCode, r: &mut Reader<'a>) -> Result<MultiOp<'a>> {
        let parsed = match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => Self::read_create(op, r)?,
            OpCode::Delete => MultiOp::Delete(PathVersion::read(r)?),
            OpCode::SetData => MultiOp::SetData(SetDataRequest::read(r)?),
            OpCode::Check => MultiOp::Check(PathVersion::read(r)?),
            OpCode::GetData => MultiOp::GetData(ReadRequest::read(r)?),
            OpCode::GetChildren => MultiOp::GetChildren(ReadRequest::read(r)?),
            _ => return Err(DecodeError::InvalidMultiOp),
        };
        Ok(parsed)
    }

    /// Inside a multi the flags rule over the code (`Op.Create.getOpcode`): clients that know only `create` may ask for a container
    /// with it, and get a container's result. A createTTL with an unknown flag is left for prep to refuse in its place. One corner is refused
    /// here that Java refuses a step later, with InvalidACL: a createTTL with neither a TTL mode nor an ACL.
    fn read_create(code: OpCode, r: &mut Reader<'a>) -> Result<MultiOp<'a>> {
        let create = CreateRequest::read(r, code == OpCode::CreateTtl)?;
        let mode = match CreateMode::from_wire(create.flags) {
            Some(mode) => mode,
            None if code == OpCode::CreateTtl => return Ok(MultiOp::Create(code, create)),
            None => return Err(DecodeError::InvalidCreateMode),
        };
        if code == OpCode::CreateTtl && mode.is_ttl() {
            return Ok(MultiOp::Create(code, create));
        }
        if create.acl.is_null() {
            // Java trips over it (`CreateOptions`) and refuses the whole multi; outside of one it answers InvalidACL.
            return Err(DecodeError::NullAcl);
        }
        let op = match code {
            // There is no field to take the TTL from.
            _ if mode.is_ttl() => return Err(DecodeError::InvalidCreateMode),
            _ if mode == CreateMode::Container => OpCode::CreateContainer,
            OpCode::CreateTtl => OpCode::Create,
            _ => code,
        };
        Ok(MultiOp::Create(op, CreateRequest { ttl_ms: None, ..create }))
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            MultiOp::Create(_, create) => create.write(w),
            MultiOp::Delete(op) | MultiOp::Check(op) => op.write(w),
            MultiOp::SetData(op) => op.write(w),
            MultiOp::GetData(op) | MultiOp::GetChildren(op) => op.write(w),
        }
    }
}

/// The record of multi and multiRead: operations, each behind a header (type, done, err), ended by a header that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiRequest<'a> {
    /// The operations; all reads or all writes.
    pub ops: Vec<MultiOp<'a>>,
}

impl<'a> MultiRequest<'a> {
    pub(crate) fn read(r: &mut Reader<'a>) -> Result<MultiRequest<'a>> {
        let mut ops: Vec<MultiOp<'a>> = Vec::new();
        loop {
            let ty = r.int()?;
            let done = r.bool()?;
            let _err = r.int()?;
            if done {
                return Ok(MultiRequest { ops });
            }
            let op = MultiOp::read(OpCode::from_wire(ty).ok_or(DecodeError::InvalidMultiOp)?, r)?;
            if ops.first().is_some_and(|first| first.is_read() != op.is_read()) {
                return Err(DecodeError::InvalidMultiOp);
            }
            ops.push(op);
        }
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        for op in &self.ops {
            w.int(op.op().to_wire());
            w.bool(false);
            w.int(-1);
            op.write(w);
        }
        w.int(-1);
        w.bool(true);
        w.int(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AclVec;

    fn create_in_multi(code: OpCode, flags: i32, ttl_ms: Option<i64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut w = Writer::new(&mut bytes);
        w.int(code.to_wire());
        w.bool(false);
        w.int(-1);
        CreateRequest { path: "/a", data: None, acl: AclVec::EMPTY, flags, ttl_ms }.write(&mut w);
        w.int(-1);
        w.bool(true);
        w.int(-1);
        bytes
    }

    #[test]
    fn inside_a_multi_the_flags_rule_over_the_code() {
        use OpCode::{Create, Create2, CreateContainer, CreateTtl};
        for (code, flags, ttl_ms, expected) in [
            (Create, 0, None, Ok((Create, None))),
            (Create2, 3, None, Ok((Create2, None))),
            (Create, 4, None, Ok((CreateContainer, None))),
            (CreateTtl, 5, Some(7), Ok((CreateTtl, Some(7)))),
            (CreateTtl, 0, Some(7), Ok((Create, None))),
            (CreateTtl, 4, Some(7), Ok((CreateContainer, None))),
            (CreateTtl, 99, Some(7), Ok((CreateTtl, Some(7)))),
            (Create, 5, None, Err(DecodeError::InvalidCreateMode)),
            (Create2, 7, None, Err(DecodeError::InvalidCreateMode)),
        ] {
            let bytes = create_in_multi(code, flags, ttl_ms);
            let read = MultiRequest::read(&mut Reader::new(&bytes)).map(|multi| match multi.ops.as_slice() {
                [MultiOp::Create(op, create)] => (*op, create.ttl_ms),
                other => panic!("{other:?}"),
            });
            assert_eq!(read, expected, "{code:?} with flags {flags}");
        }
    }

    #[test]
    fn a_null_acl_spoils_a_multi_as_in_java() {
        let refused = Err(DecodeError::NullAcl);
        for (code, flags, expected) in
            [(OpCode::Create, 0, refused), (OpCode::CreateTtl, 0, refused), (OpCode::CreateTtl, 5, Ok(1))]
        {
            let ttl_ms = (code == OpCode::CreateTtl).then_some(5);
            let create = CreateRequest { path: "/a", data: None, acl: AclVec::NULL, flags, ttl_ms };
            let mut bytes = Vec::new();
            MultiRequest { ops: vec![MultiOp::Create(code, create)] }.write(&mut Writer::new(&mut bytes));
            assert_eq!(MultiRequest::read(&mut Reader::new(&bytes)).map(|multi| multi.ops.len()), expected, "{code:?}");
        }
    }

    #[test]
    fn reads_and_writes_do_not_mix_in_a_multi() {
        let write = MultiOp::Delete(PathVersion { path: "/a", version: -1 });
        let read = MultiOp::GetData(ReadRequest { path: "/a", watch: false });
        let mut bytes = Vec::new();
        MultiRequest { ops: vec![write, read] }.write(&mut Writer::new(&mut bytes));
        assert_eq!(MultiRequest::read(&mut Reader::new(&bytes)), Err(DecodeError::InvalidMultiOp));
    }
}
