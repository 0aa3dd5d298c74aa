//! The typed operations, over anything that can send a request and wait for its reply.

use proto::reply::{OpResult, Reply};
use proto::request::{
    AuthRequest, CreateMode, CreateRequest, MultiOp, MultiRequest, PathType, PathVersion, ReadRequest, Request,
    SetAclRequest, SetDataRequest,
};
use proto::watch::WatcherType;
use proto::{Acl, ErrorCode, OpCode, Stat};

use crate::connection::Connection;
use crate::error::{ClientError, Result};
use crate::incoming::ReplyFrame;
use crate::lists::AclList;

/// The result of one operation of a multi, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiResult {
    /// create: the path.
    Created(String),
    /// create2 and its kin: the path and the Stat.
    CreatedStat(String, Stat),
    /// delete.
    Deleted,
    /// setData.
    Set(Stat),
    /// check.
    Checked,
    /// getData, in a multiRead.
    Data(Option<Vec<u8>>, Stat),
    /// getChildren, in a multiRead.
    Children(Vec<String>),
    /// It failed with this code, or another one did (0 before the failing one, -2 after it).
    Error(i32),
}

impl From<OpResult<'_>> for MultiResult {
    fn from(result: OpResult<'_>) -> MultiResult {
        match result {
            OpResult::Create(path) => MultiResult::Created(path.to_owned()),
            OpResult::Create2(_, path, stat) => MultiResult::CreatedStat(path.to_owned(), stat),
            OpResult::Delete => MultiResult::Deleted,
            OpResult::SetData(stat) => MultiResult::Set(stat),
            OpResult::Check => MultiResult::Checked,
            OpResult::GetData(data, stat) => MultiResult::Data(data.map(<[u8]>::to_vec), stat),
            OpResult::GetChildren(names) => MultiResult::Children(names.iter().map(str::to_owned).collect()),
            OpResult::Error(code) => MultiResult::Error(code),
        }
    }
}

/// The operations of ZooKeeper, each a request and its reply.
///
/// All fail with [`ClientError::Server`] where the server answers an error, and with whatever [`Operations::call`] fails with.
#[allow(clippy::missing_errors_doc, reason = "said once above for all of them")]
pub trait Operations {
    /// Sends a request and waits for its reply, whatever error that carries.
    fn call(&mut self, request: &Request<'_>) -> Result<ReplyFrame>;

    /// create, open to everybody; the path comes back (with its number for sequential modes).
    fn create(&mut self, path: &str, data: &[u8], mode: CreateMode) -> Result<String> {
        self.create_with(path, Some(data), mode, &AclList::open())
    }

    /// create with an ACL, and data that may be null.
    fn create_with(&mut self, path: &str, data: Option<&[u8]>, mode: CreateMode, acl: &AclList) -> Result<String> {
        let create = CreateRequest { path, data, acl: acl.as_vec(), flags: mode as i32, ttl_ms: None };
        match self.call(&Request::Create(OpCode::Create, create))?.record()? {
            Reply::Path(path) => Ok(path.to_owned()),
            _ => Err(ClientError::WrongRecord("create")),
        }
    }

    /// create2, createContainer or createTTL, as the mode asks; path and Stat come back. `ttl_ms` counts for TTL modes only.
    fn create2(&mut self, path: &str, data: &[u8], mode: CreateMode, ttl_ms: i64) -> Result<(String, Stat)> {
        let acl = AclList::open();
        let (op, ttl_ms) = match mode {
            CreateMode::Container => (OpCode::CreateContainer, None),
            mode if mode.is_ttl() => (OpCode::CreateTtl, Some(ttl_ms)),
            _ => (OpCode::Create2, None),
        };
        let create = CreateRequest { path, data: Some(data), acl: acl.as_vec(), flags: mode as i32, ttl_ms };
        match self.call(&Request::Create(op, create))?.record()? {
            Reply::PathStat(path, stat) => Ok((path.to_owned(), stat)),
            _ => Err(ClientError::WrongRecord("create2")),
        }
    }

    /// delete; version -1 means any.
    fn delete(&mut self, path: &str, version: i32) -> Result<()> {
        self.call(&Request::Delete(PathVersion { path, version }))?.ok().map(|_| ())
    }

    /// exists: the Stat, or `None` where there is no such znode.
    fn exists(&mut self, path: &str, watch: bool) -> Result<Option<Stat>> {
        match self.call(&Request::Exists(ReadRequest { path, watch }))?.record() {
            Ok(Reply::Stat(stat)) => Ok(Some(stat)),
            Ok(_) => Err(ClientError::WrongRecord("exists")),
            Err(ClientError::Server(ErrorCode::NoNode)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// getData; null data come back as empty (see [`Operations::call`] to tell them apart).
    fn get(&mut self, path: &str, watch: bool) -> Result<(Vec<u8>, Stat)> {
        match self.call(&Request::GetData(ReadRequest { path, watch }))?.record()? {
            Reply::DataStat(data, stat) => Ok((data.unwrap_or_default().to_vec(), stat)),
            _ => Err(ClientError::WrongRecord("getData")),
        }
    }

    /// setData; version -1 means any.
    fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat> {
        match self.call(&Request::SetData(SetDataRequest { path, data: Some(data), version }))?.record()? {
            Reply::Stat(stat) => Ok(stat),
            _ => Err(ClientError::WrongRecord("setData")),
        }
    }

    /// getChildren: the names, in the server's order.
    fn children(&mut self, path: &str, watch: bool) -> Result<Vec<String>> {
        match self.call(&Request::GetChildren(ReadRequest { path, watch }))?.record()? {
            Reply::Strings(names) => Ok(names.iter().map(str::to_owned).collect()),
            _ => Err(ClientError::WrongRecord("getChildren")),
        }
    }

    /// getChildren2: the names and the Stat.
    fn children2(&mut self, path: &str, watch: bool) -> Result<(Vec<String>, Stat)> {
        match self.call(&Request::GetChildren2(ReadRequest { path, watch }))?.record()? {
            Reply::StringsStat(names, stat) => Ok((names.iter().map(str::to_owned).collect(), stat)),
            _ => Err(ClientError::WrongRecord("getChildren2")),
        }
    }

    /// getACL: the entries and the Stat.
    fn get_acl(&mut self, path: &str) -> Result<(Vec<Acl>, Stat)> {
        match self.call(&Request::GetAcl(path))?.record()? {
            Reply::AclStat(acl, stat) => Ok((acl.to_vec().map_err(ClientError::decode("ACL"))?, stat)),
            _ => Err(ClientError::WrongRecord("getACL")),
        }
    }

    /// setACL; version (of the ACL) -1 means any.
    fn set_acl(&mut self, path: &str, acl: &AclList, version: i32) -> Result<Stat> {
        match self.call(&Request::SetAcl(SetAclRequest { path, acl: acl.as_vec(), version }))?.record()? {
            Reply::Stat(stat) => Ok(stat),
            _ => Err(ClientError::WrongRecord("setACL")),
        }
    }

    /// sync: the path comes back.
    fn sync(&mut self, path: &str) -> Result<String> {
        match self.call(&Request::Sync(path))?.record()? {
            Reply::Path(path) => Ok(path.to_owned()),
            _ => Err(ClientError::WrongRecord("sync")),
        }
    }

    /// multi: all or nothing. A failed one comes back as results that are all [`MultiResult::Error`].
    fn multi(&mut self, ops: Vec<MultiOp<'_>>) -> Result<Vec<MultiResult>> {
        match self.call(&Request::Multi(MultiRequest { ops }))?.record()? {
            Reply::Multi(results) => Ok(results.into_iter().map(MultiResult::from).collect()),
            _ => Err(ClientError::WrongRecord("multi")),
        }
    }

    /// multiRead: each read has its own result.
    fn multi_read(&mut self, ops: Vec<MultiOp<'_>>) -> Result<Vec<MultiResult>> {
        match self.call(&Request::MultiRead(MultiRequest { ops }))?.record()? {
            Reply::Multi(results) => Ok(results.into_iter().map(MultiResult::from).collect()),
            _ => Err(ClientError::WrongRecord("multiRead")),
        }
    }

    /// auth: adds an identity to the connection.
    fn auth(&mut self, scheme: &str, credentials: &[u8]) -> Result<()> {
        let auth = AuthRequest { ty: 0, scheme: Some(scheme), auth: Some(credentials) };
        self.call(&Request::Auth(auth))?.ok().map(|_| ())
    }

    /// whoAmI: scheme and user of each identity.
    fn who_am_i(&mut self) -> Result<Vec<(String, String)>> {
        match self.call(&Request::WhoAmI)?.record()? {
            Reply::Identities(ids) => Ok(ids.into_iter().map(|(s, u)| (s.to_owned(), u.to_owned())).collect()),
            _ => Err(ClientError::WrongRecord("whoAmI")),
        }
    }

    /// addWatch: persistent, or persistent-recursive.
    fn add_watch(&mut self, path: &str, recursive: bool) -> Result<()> {
        self.call(&Request::AddWatch(PathType { path, ty: i32::from(recursive) }))?.ok().map(|_| ())
    }

    /// removeWatches of a type.
    fn remove_watches(&mut self, path: &str, ty: WatcherType) -> Result<()> {
        self.call(&Request::RemoveWatches(PathType { path, ty: ty as i32 }))?.ok().map(|_| ())
    }

    /// checkWatches: is there a watch of this type?
    fn check_watches(&mut self, path: &str, ty: WatcherType) -> Result<bool> {
        match self.call(&Request::CheckWatches(PathType { path, ty: ty as i32 }))?.ok() {
            Ok(_) => Ok(true),
            Err(ClientError::Server(ErrorCode::NoWatcher)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// getEphemerals: paths of the session's own ephemerals below a prefix.
    fn ephemerals(&mut self, prefix: &str) -> Result<Vec<String>> {
        match self.call(&Request::GetEphemerals(Some(prefix)))?.record()? {
            Reply::Strings(paths) => Ok(paths.iter().map(str::to_owned).collect()),
            _ => Err(ClientError::WrongRecord("getEphemerals")),
        }
    }

    /// getAllChildrenNumber: the count of all descendants.
    fn all_children_number(&mut self, path: &str) -> Result<i32> {
        match self.call(&Request::GetAllChildrenNumber(path))?.record()? {
            Reply::Int(count) => Ok(count),
            _ => Err(ClientError::WrongRecord("getAllChildrenNumber")),
        }
    }
}

impl Operations for Connection {
    fn call(&mut self, request: &Request<'_>) -> Result<ReplyFrame> {
        self.roundtrip(request)
    }
}
