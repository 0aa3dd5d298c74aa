//! The records of an image, and the one place that knows rkyv.
//!
//! Owns the archived types and pins what their bytes depend on: rkyv's features are chosen in the workspace's `Cargo.toml`
//! (`little_endian`, `pointer_width_32`, `aligned`) and asserted in `header` at compile time. It must never be changed: nothing writes
//! such records any more. rkyv's derives write unsafe code, which is why this file may hold it; its own is in [`CheckedRows::get`].
//! `tests/fixtures/image-v1.bin`, which must be read, would catch a mistake.

#![allow(unsafe_code, reason = "rkyv's derives implement unsafe traits")]

use std::marker::PhantomData;

use proto::acl::{Acl, Perms};
use proto::stat::EphemeralOwner;
use proto::{SessionId, StatPersisted, Zxid};
use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::util::AlignedVec;
use rkyv::vec::ArchivedVec;
use rkyv::{Archive, Portable};

use super::layout::SegmentKind;

/// A znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeRecord<'a> {
    /// Its full path, `/` for the root.
    pub path: &'a str,
    /// Its data; null is not the same as empty.
    pub data: Option<&'a [u8]>,
    /// The [`AclRecord`] that governs it. What an id without such a record means is the engine's business.
    pub acl_id: u32,
    /// Its stored `Stat`.
    pub stat: StatPersisted,
}

/// An ACL, stored once for all znodes that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclRecord {
    /// What znodes name it by.
    pub id: u32,
    /// Its entries, in order.
    pub acls: Vec<Acl>,
}

/// A session that was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Its negotiated timeout in ms.
    pub timeout_ms: i32,
}

/// A record in the form in which it was archived.
pub(crate) trait Row:
    Archive<Archived: Portable + for<'b> CheckBytes<HighValidator<'b, Failure>>> + Sized
{
    /// What a segment of these is called.
    const KIND: SegmentKind;
    /// What a reader gets.
    type Record<'a>;

    /// Reads it where it lies.
    fn record(archived: &Self::Archived) -> Self::Record<'_>;
}

/// The rows of a segment, in memory of their own and checked there.
#[derive(Debug)]
pub(crate) struct CheckedRows<R> {
    /// `None`: there are none.
    archive: Option<AlignedVec>,
    rows: PhantomData<R>,
}

impl<R: Row> CheckedRows<R> {
    /// No rows.
    pub(crate) const fn none() -> CheckedRows<R> {
        CheckedRows { archive: None, rows: PhantomData }
    }

    /// Checks the structure of an archive of rows; `None` if it is not one.
    pub(crate) fn open(archive: AlignedVec) -> Option<CheckedRows<R>> {
        rkyv::access::<ArchivedVec<R::Archived>, Failure>(&archive).ok()?;
        Some(CheckedRows { archive: Some(archive), rows: PhantomData })
    }

    pub(crate) fn get(&self) -> &[R::Archived] {
        self.archive.as_ref().map_or(&[], |archive| {
            // SAFETY: `open` has found the structure of an archived `Vec` of these rows in these bytes, which are our own and which
            // nothing changes; they lie at a multiple of 16 wherever this is moved to, and an archive's pointers are relative.
            unsafe { rkyv::access_unchecked::<ArchivedVec<R::Archived>>(archive) }.as_slice()
        })
    }
}

/// A znode.
#[derive(Debug, Archive)]
#[rkyv(derive(Debug))]
pub(crate) struct NodeRow {
    path: Box<str>,
    data: Option<Box<[u8]>>,
    acl_id: u32,
    version: i32,
    cversion: i32,
    aversion: i32,
    czxid: u64,
    mzxid: u64,
    pzxid: u64,
    ctime: i64,
    mtime: i64,
    ephemeral_owner: i64,
}

impl Row for NodeRow {
    const KIND: SegmentKind = SegmentKind::Nodes;
    type Record<'a> = NodeRecord<'a>;

    fn record(archived: &ArchivedNodeRow) -> NodeRecord<'_> {
        let stat = StatPersisted {
            czxid: Zxid(archived.czxid.to_native()),
            mzxid: Zxid(archived.mzxid.to_native()),
            ctime: archived.ctime.to_native(),
            mtime: archived.mtime.to_native(),
            version: archived.version.to_native(),
            cversion: archived.cversion.to_native(),
            aversion: archived.aversion.to_native(),
            ephemeral_owner: EphemeralOwner(archived.ephemeral_owner.to_native()),
            pzxid: Zxid(archived.pzxid.to_native()),
        };
        let data = archived.data.as_ref().map(|data| data.get());
        NodeRecord { path: archived.path.get(), data, acl_id: archived.acl_id.to_native(), stat }
    }
}

/// An ACL.
#[derive(Debug, Archive)]
#[rkyv(derive(Debug))]
pub(crate) struct AclRow {
    id: u32,
    entries: Vec<AclEntryRow>,
}

/// An entry of an ACL.
#[derive(Debug, Archive)]
#[rkyv(derive(Debug))]
pub(crate) struct AclEntryRow {
    perms: i32,
    scheme: Box<str>,
    id: Box<str>,
}

impl Row for AclRow {
    const KIND: SegmentKind = SegmentKind::Acls;
    type Record<'a> = AclRecord;

    fn record(archived: &ArchivedAclRow) -> AclRecord {
        let entry = |entry: &ArchivedAclEntryRow| Acl {
            perms: Perms(entry.perms.to_native()),
            scheme: entry.scheme.get().into(),
            id: entry.id.get().into(),
        };
        AclRecord { id: archived.id.to_native(), acls: archived.entries.iter().map(entry).collect() }
    }
}

/// A session.
#[derive(Debug, Archive)]
#[rkyv(derive(Debug))]
pub(crate) struct SessionRow {
    id: i64,
    timeout_ms: i32,
}

impl Row for SessionRow {
    const KIND: SegmentKind = SegmentKind::Sessions;
    type Record<'a> = SessionRecord;

    fn record(archived: &ArchivedSessionRow) -> SessionRecord {
        SessionRecord { id: SessionId(archived.id.to_native()), timeout_ms: archived.timeout_ms.to_native() }
    }
}

const _: () = {
    assert!(size_of::<ArchivedNodeRow>() == 88 && align_of::<ArchivedNodeRow>() == 8);
    assert!(size_of::<ArchivedAclRow>() == 12 && align_of::<ArchivedAclRow>() == 4);
    assert!(size_of::<ArchivedAclEntryRow>() == 20 && align_of::<ArchivedAclEntryRow>() == 4);
    assert!(size_of::<ArchivedSessionRow>() == 16 && align_of::<ArchivedSessionRow>() == 8);
};
