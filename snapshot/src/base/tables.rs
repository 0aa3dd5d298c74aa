//! The small tables of an image: ACLs, sessions, quotas, owners of ephemerals, and the files it refers to.
//!
//! Owns their archives, which are read whole when an image is opened. It must never be asked for what its checksum has not covered
//! (`reader` sees to that), and never let an inconsistent table pass: ids and paths ascend, each is there once. It fails with
//! [`Damage`]; `tests/base_flips.rs` and the committed `tests/fixtures/image-v2.bin` would catch a mistake. rkyv's derives write
//! unsafe code, which is why this file may hold it; it has none of its own.

#![allow(unsafe_code, reason = "rkyv's derives implement unsafe traits")]

use proto::acl::{Acl, Perms};
use proto::{SessionId, Zxid};
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};

use super::file::FileIdentity;
use super::layout::FILES_MAX;
use super::record::{access, archive};
use crate::Damage;
use crate::image::SessionRecord;

/// An ACL, stored once for all znodes that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseAcl {
    /// What znodes name it by.
    pub id: u32,
    /// How many znodes of the image name it.
    pub uses: u64,
    /// Its entries, in order.
    pub entries: Vec<Acl>,
}

/// A session that owns ephemerals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EphemeralOwnerCount {
    /// The session.
    pub session: SessionId,
    /// How many znodes go with it.
    pub count: u64,
}

/// Reads the ACLs.
pub(crate) fn decode_acls(bytes: &[u8]) -> Result<Vec<BaseAcl>, Damage> {
    let rows = access::<Vec<AclRow>>(bytes)?;
    let entry = |entry: &ArchivedAclEntryRow| Acl {
        perms: Perms(entry.perms.to_native()),
        scheme: entry.scheme.get().into(),
        id: entry.id.get().into(),
    };
    let acl = |row: &ArchivedAclRow| BaseAcl {
        id: row.id.to_native(),
        uses: row.uses.to_native(),
        entries: row.entries.iter().map(entry).collect(),
    };
    ascending(rows.iter().map(acl).collect(), |acl| acl.id, "the order of the ACLs")
}

/// Writes the ACLs.
pub(crate) fn encode_acls(acls: &[BaseAcl]) -> Option<AlignedVec> {
    let entry = |acl: &Acl| AclEntryRow { perms: acl.perms.0, scheme: acl.scheme.clone(), id: acl.id.clone() };
    let row = |acl: &BaseAcl| AclRow { id: acl.id, uses: acl.uses, entries: acl.entries.iter().map(entry).collect() };
    encode(acls.iter().map(row).collect())
}

/// Reads the sessions.
pub(crate) fn decode_sessions(bytes: &[u8]) -> Result<Vec<SessionRecord>, Damage> {
    let rows = access::<Vec<SessionRow>>(bytes)?;
    let session = |row: &ArchivedSessionRow| SessionRecord {
        id: SessionId(row.id.to_native()),
        timeout_ms: row.timeout_ms.to_native(),
    };
    ascending(rows.iter().map(session).collect(), |session| session.id.0, "the order of the sessions")
}

/// Writes the sessions.
pub(crate) fn encode_sessions(sessions: &[SessionRecord]) -> Option<AlignedVec> {
    encode(sessions.iter().map(|session| SessionRow { id: session.id.0, timeout_ms: session.timeout_ms }).collect())
}

/// Reads the paths that have a quota.
pub(crate) fn decode_quotas(bytes: &[u8]) -> Result<Vec<Box<str>>, Damage> {
    let rows = access::<Vec<Box<str>>>(bytes)?;
    let quotas: Vec<Box<str>> = rows.iter().map(|path| path.get().into()).collect();
    if quotas.is_sorted_by(|a, b| a < b) { Ok(quotas) } else { Err(Damage::Field("the order of the quotas")) }
}

/// Writes the paths that have a quota.
pub(crate) fn encode_quotas(quotas: &[&str]) -> Option<AlignedVec> {
    encode(quotas.iter().map(|&path| Box::<str>::from(path)).collect())
}

/// Reads the owners of ephemerals.
pub(crate) fn decode_owners(bytes: &[u8]) -> Result<Vec<EphemeralOwnerCount>, Damage> {
    let rows = access::<Vec<OwnerRow>>(bytes)?;
    let owner = |row: &ArchivedOwnerRow| EphemeralOwnerCount {
        session: SessionId(row.session.to_native()),
        count: row.count.to_native(),
    };
    ascending(rows.iter().map(owner).collect(), |owner| owner.session.0, "the order of the owners")
}

/// Writes the owners of ephemerals.
pub(crate) fn encode_owners(owners: &[EphemeralOwnerCount]) -> Option<AlignedVec> {
    encode(owners.iter().map(|owner| OwnerRow { session: owner.session.0, count: owner.count }).collect())
}

/// Reads which other files the image refers to.
pub(crate) fn decode_files(bytes: &[u8]) -> Result<Vec<FileIdentity>, Damage> {
    let rows = access::<Vec<FileRow>>(bytes)?;
    if rows.len() >= FILES_MAX {
        return Err(Damage::Field("the count of files"));
    }
    let file = |row: &ArchivedFileRow| FileIdentity {
        zxid: Zxid(row.zxid.to_native()),
        file_bytes: row.file_bytes.to_native(),
        header_crc: row.header_crc.to_native(),
        footer_crc: row.footer_crc.to_native(),
    };
    ascending(rows.iter().map(file).collect(), |file| file.zxid, "the order of the files")
}

/// Writes which other files the image refers to.
pub(crate) fn encode_files(files: &[FileIdentity]) -> Option<AlignedVec> {
    let row = |file: &FileIdentity| FileRow {
        zxid: file.zxid.0,
        file_bytes: file.file_bytes,
        header_crc: file.header_crc,
        footer_crc: file.footer_crc,
    };
    encode(files.iter().map(row).collect())
}

fn encode<R>(rows: Vec<R>) -> Option<AlignedVec>
where
    Vec<R>: for<'b> Serialize<
        rkyv::api::high::HighSerializer<AlignedVec, rkyv::ser::allocator::ArenaHandle<'b>, rkyv::rancor::Failure>,
    >,
{
    archive(&rows, AlignedVec::new())
}

/// The rows, if their keys strictly ascend.
fn ascending<T, K: Ord>(rows: Vec<T>, key: impl Fn(&T) -> K, what: &'static str) -> Result<Vec<T>, Damage> {
    if rows.is_sorted_by(|a, b| key(a) < key(b)) { Ok(rows) } else { Err(Damage::Field(what)) }
}

#[derive(Debug, Archive, Serialize)]
#[rkyv(derive(Debug))]
struct AclRow {
    id: u32,
    uses: u64,
    entries: Vec<AclEntryRow>,
}

#[derive(Debug, Archive, Serialize)]
#[rkyv(derive(Debug))]
struct AclEntryRow {
    perms: i32,
    scheme: Box<str>,
    id: Box<str>,
}

#[derive(Debug, Archive, Serialize)]
#[rkyv(derive(Debug))]
struct SessionRow {
    id: i64,
    timeout_ms: i32,
}

#[derive(Debug, Archive, Serialize)]
#[rkyv(derive(Debug))]
struct OwnerRow {
    session: i64,
    count: u64,
}

#[derive(Debug, Archive, Serialize)]
#[rkyv(derive(Debug))]
struct FileRow {
    zxid: u64,
    file_bytes: u64,
    header_crc: u32,
    footer_crc: u32,
}

// What the bytes depend on beside rkyv's features.
const _: () = {
    assert!(size_of::<ArchivedAclRow>() == 24 && size_of::<ArchivedAclEntryRow>() == 20);
    assert!(size_of::<ArchivedSessionRow>() == 16 && size_of::<ArchivedOwnerRow>() == 16);
    assert!(size_of::<ArchivedFileRow>() == 24);
};
