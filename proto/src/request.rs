//! Requests: a header, then the record of the operation. Everything borrows from the frame.

use crate::jute::{DecodeError, Reader, Result, StrVec, Writer};
pub use crate::multi::{MultiOp, MultiRequest};
use crate::{AclVec, OpCode, Xid, Zxid};

/// The 8 bytes in front of every request but the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The client's number for it.
    pub xid: Xid,
    /// The operation, as sent: it may be none that ZooKeeper knows.
    pub op: i32,
}

impl RequestHeader {
    /// Bytes on the wire.
    pub const BYTES: usize = 8;

    /// Reads one.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn read(r: &mut Reader<'_>) -> Result<RequestHeader> {
        Ok(RequestHeader { xid: Xid(r.int()?), op: r.int()? })
    }

    /// Writes it.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.int(self.xid.0);
        w.int(self.op);
    }
}

/// How a znode is created: the `flags` of create requests (`CreateMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum CreateMode {
    /// Stays until it is deleted.
    Persistent = 0,
    /// Goes with its session.
    Ephemeral = 1,
    /// Stays; the server appends a number to its name.
    PersistentSequential = 2,
    /// Goes with its session; the server appends a number to its name.
    EphemeralSequential = 3,
    /// Goes once its last child has gone.
    Container = 4,
    /// Goes once it is empty and older than its TTL.
    PersistentWithTtl = 5,
    /// The same with a number appended.
    PersistentSequentialWithTtl = 6,
}

impl CreateMode {
    /// Every mode.
    pub const ALL: [CreateMode; 7] = [
        CreateMode::Persistent,
        CreateMode::Ephemeral,
        CreateMode::PersistentSequential,
        CreateMode::EphemeralSequential,
        CreateMode::Container,
        CreateMode::PersistentWithTtl,
        CreateMode::PersistentSequentialWithTtl,
    ];

    /// The mode with this flag.
    #[must_use]
    pub fn from_wire(flags: i32) -> Option<CreateMode> {
        Self::ALL.into_iter().find(|mode| *mode as i32 == flags)
    }

    /// Does the server append a number?
    #[must_use]
    pub const fn is_sequential(self) -> bool {
        matches!(
            self,
            CreateMode::PersistentSequential
                | CreateMode::EphemeralSequential
                | CreateMode::PersistentSequentialWithTtl
        )
    }

    /// Does it go with its session?
    #[must_use]
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, CreateMode::Ephemeral | CreateMode::EphemeralSequential)
    }

    /// Has it a time to live?
    #[must_use]
    pub const fn is_ttl(self) -> bool {
        matches!(self, CreateMode::PersistentWithTtl | CreateMode::PersistentSequentialWithTtl)
    }
}

/// The record of create, create2, createContainer and createTTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateRequest<'a> {
    /// The path; for sequential modes without its number.
    pub path: &'a str,
    /// The data; null stays null.
    pub data: Option<&'a [u8]>,
    /// The ACL; no server accepts an empty or null one.
    pub acl: AclVec<'a>,
    /// The flags as sent, see [`CreateMode`].
    pub flags: i32,
    /// The time to live in ms; only createTTL has it.
    pub ttl_ms: Option<i64>,
}

impl<'a> CreateRequest<'a> {
    pub(crate) fn read(r: &mut Reader<'a>, with_ttl: bool) -> Result<CreateRequest<'a>> {
        let (path, data, acl, flags) = (r.string_or_null()?, r.buffer()?, AclVec::read(r)?, r.int()?);
        let ttl_ms = if with_ttl { Some(r.long()?) } else { None };
        // Only a whole record is refused for its null path: Java finds out once it has a zxid.
        Ok(CreateRequest { path: path.ok_or(DecodeError::UnexpectedNull)?, data, acl, flags, ttl_ms })
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.string(self.path);
        w.buffer(self.data);
        self.acl.write(w);
        w.int(self.flags);
        if let Some(ttl_ms) = self.ttl_ms {
            w.long(ttl_ms);
        }
    }
}

/// A path and the version that the znode must have (-1: any): delete and check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathVersion<'a> {
    /// The path.
    pub path: &'a str,
    /// The version expected, or -1.
    pub version: i32,
}

impl<'a> PathVersion<'a> {
    pub(crate) fn read(r: &mut Reader<'a>) -> Result<PathVersion<'a>> {
        let (path, version) = (r.string_or_null()?, r.int()?);
        Ok(PathVersion { path: path.ok_or(DecodeError::UnexpectedNull)?, version })
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.string(self.path);
        w.int(self.version);
    }
}

/// The record of setData.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetDataRequest<'a> {
    /// The path.
    pub path: &'a str,
    /// The data; null stays null.
    pub data: Option<&'a [u8]>,
    /// The version expected, or -1.
    pub version: i32,
}

impl<'a> SetDataRequest<'a> {
    pub(crate) fn read(r: &mut Reader<'a>) -> Result<SetDataRequest<'a>> {
        // A null path is BadArguments, as an empty one is.
        Ok(SetDataRequest { path: r.string_or_null()?.unwrap_or_default(), data: r.buffer()?, version: r.int()? })
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.string(self.path);
        w.buffer(self.data);
        w.int(self.version);
    }
}

/// The record of setACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAclRequest<'a> {
    /// The path.
    pub path: &'a str,
    /// The new ACL.
    pub acl: AclVec<'a>,
    /// The `aversion` expected, or -1.
    pub version: i32,
}

/// A path and whether to set a watch: exists, getData, getChildren, getChildren2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest<'a> {
    /// The path.
    pub path: &'a str,
    /// Leave a one-shot watch.
    pub watch: bool,
}

impl<'a> ReadRequest<'a> {
    pub(crate) fn read(r: &mut Reader<'a>) -> Result<ReadRequest<'a>> {
        Ok(ReadRequest { path: r.string()?, watch: r.bool()? })
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        w.string(self.path);
        w.bool(self.watch);
    }
}

/// A path and a number whose meaning depends on the operation: a watcher type or a watch mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathType<'a> {
    /// The path.
    pub path: &'a str,
    /// The watcher type or watch mode as sent.
    pub ty: i32,
}

impl<'a> PathType<'a> {
    fn read(r: &mut Reader<'a>) -> Result<PathType<'a>> {
        Ok(PathType { path: r.string()?, ty: r.int()? })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.string(self.path);
        w.int(self.ty);
    }
}

/// The record of auth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthRequest<'a> {
    /// Always 0.
    pub ty: i32,
    /// The scheme; null is refused by every server.
    pub scheme: Option<&'a str>,
    /// What the scheme wants to know.
    pub auth: Option<&'a [u8]>,
}

/// The record of setWatches and setWatches2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetWatchesRequest<'a> {
    /// Watches are as of this zxid: what has changed since fires at once.
    pub relative_zxid: Zxid,
    /// Watches left by getData, and by exists on a znode that existed.
    pub data: StrVec<'a>,
    /// Watches left by exists on a znode that did not exist.
    pub exist: StrVec<'a>,
    /// Watches left by getChildren.
    pub child: StrVec<'a>,
    /// Persistent watches (setWatches2).
    pub persistent: StrVec<'a>,
    /// Persistent-recursive watches (setWatches2).
    pub persistent_recursive: StrVec<'a>,
}

impl<'a> SetWatchesRequest<'a> {
    fn read(r: &mut Reader<'a>, second: bool) -> Result<SetWatchesRequest<'a>> {
        fn list<'a>(r: &mut Reader<'a>) -> Result<StrVec<'a>> {
            StrVec::read_or_null(r)?.ok_or(DecodeError::UnexpectedNull)
        }
        Ok(SetWatchesRequest {
            relative_zxid: Zxid::from_wire(r.long()?),
            data: list(r)?,
            exist: list(r)?,
            child: list(r)?,
            persistent: if second { list(r)? } else { StrVec::EMPTY },
            persistent_recursive: if second { list(r)? } else { StrVec::EMPTY },
        })
    }

    fn write(&self, w: &mut Writer<'_>, second: bool) {
        w.long(self.relative_zxid.to_wire());
        w.str_vec(Some(self.data));
        w.str_vec(Some(self.exist));
        w.str_vec(Some(self.child));
        if second {
            w.str_vec(Some(self.persistent));
            w.str_vec(Some(self.persistent_recursive));
        }
    }
}

/// The record of reconfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconfigRequest<'a> {
    /// `server.N=…` lines to add, separated by commas.
    pub joining: Option<&'a str>,
    /// Server ids to remove, separated by commas.
    pub leaving: Option<&'a str>,
    /// The whole new membership, instead of the two above.
    pub new_members: Option<&'a str>,
    /// The configuration's version that must be current, or -1.
    pub current_config: i64,
}

/// A request's record, without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// create, create2, createContainer or createTTL: the code tells which.
    Create(OpCode, CreateRequest<'a>),
    /// delete.
    Delete(PathVersion<'a>),
    /// exists.
    Exists(ReadRequest<'a>),
    /// getData.
    GetData(ReadRequest<'a>),
    /// setData.
    SetData(SetDataRequest<'a>),
    /// getACL: the path.
    GetAcl(&'a str),
    /// setACL.
    SetAcl(SetAclRequest<'a>),
    /// getChildren.
    GetChildren(ReadRequest<'a>),
    /// sync: the path, which is only handed back.
    Sync(&'a str),
    /// ping.
    Ping,
    /// getChildren2.
    GetChildren2(ReadRequest<'a>),
    /// check outside a multi: refused.
    Check(PathVersion<'a>),
    /// multi.
    Multi(MultiRequest<'a>),
    /// reconfig.
    Reconfig(ReconfigRequest<'a>),
    /// checkWatches: path and watcher type.
    CheckWatches(PathType<'a>),
    /// removeWatches: path and watcher type.
    RemoveWatches(PathType<'a>),
    /// deleteContainer: internal, refused from clients.
    DeleteContainer(&'a str),
    /// multiRead.
    MultiRead(MultiRequest<'a>),
    /// auth.
    Auth(AuthRequest<'a>),
    /// setWatches.
    SetWatches(SetWatchesRequest<'a>),
    /// sasl: the client's token.
    Sasl(Option<&'a [u8]>),
    /// getEphemerals: the prefix; null or blank means all.
    GetEphemerals(Option<&'a str>),
    /// getAllChildrenNumber: the path.
    GetAllChildrenNumber(&'a str),
    /// setWatches2.
    SetWatches2(SetWatchesRequest<'a>),
    /// addWatch: path and mode.
    AddWatch(PathType<'a>),
    /// whoAmI.
    WhoAmI,
    /// closeSession.
    CloseSession,
}

impl<'a> Request<'a> {
    /// Reads the record of `op`. `Ok(None)`: no client may send this operation. Bytes after the record are ignored, as in Java.
    ///
    /// # Errors
    /// [`DecodeError`], which a server answers with MarshallingError.
    pub fn read(op: OpCode, r: &mut Reader<'a>) -> Result<Option<Request<'a>>> {
        let request = match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                Request::Create(op, CreateRequest::read(r, false)?)
            }
            OpCode::CreateTtl => Request::Create(op, CreateRequest::read(r, true)?),
            OpCode::Delete => Request::Delete(PathVersion::read(r)?),
            OpCode::Exists => Request::Exists(ReadRequest::read(r)?),
            OpCode::GetData => Request::GetData(ReadRequest::read(r)?),
            OpCode::SetData => Request::SetData(SetDataRequest::read(r)?),
            OpCode::GetAcl => Request::GetAcl(r.string()?),
            OpCode::SetAcl => {
                // A null path is BadArguments, as an empty one is.
                let path = r.string_or_null()?.unwrap_or_default();
                Request::SetAcl(SetAclRequest { path, acl: AclVec::read(r)?, version: r.int()? })
            }
            OpCode::GetChildren => Request::GetChildren(ReadRequest::read(r)?),
            OpCode::Sync => Request::Sync(r.string()?),
            OpCode::Ping => Request::Ping,
            OpCode::GetChildren2 => Request::GetChildren2(ReadRequest::read(r)?),
            OpCode::Check => Request::Check(PathVersion::read(r)?),
            OpCode::Multi => Request::Multi(MultiRequest::read(r)?),
            OpCode::Reconfig => Request::Reconfig(ReconfigRequest {
                joining: r.string_or_null()?,
                leaving: r.string_or_null()?,
                new_members: r.string_or_null()?,
                current_config: r.long()?,
            }),
            OpCode::CheckWatches => Request::CheckWatches(PathType::read(r)?),
            OpCode::RemoveWatches => Request::RemoveWatches(PathType::read(r)?),
            OpCode::DeleteContainer => Request::DeleteContainer(r.string()?),
            OpCode::MultiRead => Request::MultiRead(MultiRequest::read(r)?),
            OpCode::Auth => Request::Auth(AuthRequest { ty: r.int()?, scheme: r.string_or_null()?, auth: r.buffer()? }),
            OpCode::SetWatches => Request::SetWatches(SetWatchesRequest::read(r, false)?),
            OpCode::Sasl => Request::Sasl(r.buffer()?),
            OpCode::GetEphemerals => Request::GetEphemerals(r.string_or_null()?),
            OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber(r.string()?),
            OpCode::SetWatches2 => Request::SetWatches2(SetWatchesRequest::read(r, true)?),
            OpCode::AddWatch => Request::AddWatch(PathType::read(r)?),
            OpCode::WhoAmI => Request::WhoAmI,
            OpCode::CloseSession => Request::CloseSession,
            OpCode::Notification | OpCode::CreateSession | OpCode::Error => return Ok(None),
        };
        Ok(Some(request))
    }

    /// Does it make a znode that goes with its session? Such a session has to be one that all servers know.
    #[must_use]
    pub fn creates_ephemeral(&self) -> bool {
        let is_ephemeral = |op: OpCode, create: &CreateRequest<'_>| {
            let may_be = matches!(op, OpCode::Create | OpCode::Create2);
            may_be && CreateMode::from_wire(create.flags).is_some_and(CreateMode::is_ephemeral)
        };
        match self {
            Request::Create(op, create) => is_ephemeral(*op, create),
            Request::Multi(multi) => {
                multi.ops.iter().any(|op| matches!(op, MultiOp::Create(op, create) if is_ephemeral(*op, create)))
            }
            _ => false,
        }
    }

    /// The operation's code.
    #[must_use]
    pub const fn op(&self) -> OpCode {
        match self {
            Request::Create(op, _) => *op,
            Request::Delete(_) => OpCode::Delete,
            Request::Exists(_) => OpCode::Exists,
            Request::GetData(_) => OpCode::GetData,
            Request::SetData(_) => OpCode::SetData,
            Request::GetAcl(_) => OpCode::GetAcl,
            Request::SetAcl(_) => OpCode::SetAcl,
            Request::GetChildren(_) => OpCode::GetChildren,
            Request::Sync(_) => OpCode::Sync,
            Request::Ping => OpCode::Ping,
            Request::GetChildren2(_) => OpCode::GetChildren2,
            Request::Check(_) => OpCode::Check,
            Request::Multi(_) => OpCode::Multi,
            Request::Reconfig(_) => OpCode::Reconfig,
            Request::CheckWatches(_) => OpCode::CheckWatches,
            Request::RemoveWatches(_) => OpCode::RemoveWatches,
            Request::DeleteContainer(_) => OpCode::DeleteContainer,
            Request::MultiRead(_) => OpCode::MultiRead,
            Request::Auth(_) => OpCode::Auth,
            Request::SetWatches(_) => OpCode::SetWatches,
            Request::Sasl(_) => OpCode::Sasl,
            Request::GetEphemerals(_) => OpCode::GetEphemerals,
            Request::GetAllChildrenNumber(_) => OpCode::GetAllChildrenNumber,
            Request::SetWatches2(_) => OpCode::SetWatches2,
            Request::AddWatch(_) => OpCode::AddWatch,
            Request::WhoAmI => OpCode::WhoAmI,
            Request::CloseSession => OpCode::CloseSession,
        }
    }

    /// Writes the record.
    pub fn write(&self, w: &mut Writer<'_>) {
        match self {
            Request::Create(_, create) => create.write(w),
            Request::Delete(op) | Request::Check(op) => op.write(w),
            Request::Exists(op) | Request::GetData(op) | Request::GetChildren(op) | Request::GetChildren2(op) => {
                op.write(w);
            }
            Request::SetData(op) => op.write(w),
            Request::GetAcl(path)
            | Request::Sync(path)
            | Request::DeleteContainer(path)
            | Request::GetAllChildrenNumber(path) => w.string(path),
            Request::SetAcl(op) => {
                w.string(op.path);
                op.acl.write(w);
                w.int(op.version);
            }
            Request::Multi(multi) | Request::MultiRead(multi) => multi.write(w),
            Request::Reconfig(op) => {
                w.string_or_null(op.joining);
                w.string_or_null(op.leaving);
                w.string_or_null(op.new_members);
                w.long(op.current_config);
            }
            Request::CheckWatches(op) | Request::RemoveWatches(op) | Request::AddWatch(op) => op.write(w),
            Request::Auth(op) => {
                w.int(op.ty);
                w.string_or_null(op.scheme);
                w.buffer(op.auth);
            }
            Request::SetWatches(op) => op.write(w, false),
            Request::SetWatches2(op) => op.write(w, true),
            Request::Sasl(token) => w.buffer(*token),
            Request::GetEphemerals(prefix) => w.string_or_null(*prefix),
            Request::Ping | Request::WhoAmI | Request::CloseSession => {}
        }
    }
}
