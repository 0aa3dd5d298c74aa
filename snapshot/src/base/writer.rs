//! Merges a base with what changed since into a new image.
//!
//! Three steps: a [`CarryPlan`] is told every place that changes (in any order), the [`BaseWriter`] gets the changes run by run
//! in the run's order, and [`BaseWriter::finish`] gets the small tables and the totals.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use proto::acl::Acl;
use proto::{StatPersisted, Zxid};

use super::place::Run;
use super::reader::Base;
use crate::disk::Disk;
use crate::image::{ImageTotals, SessionRecord};
use crate::{ImageRef, Result};

/// How an image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseOptions {
    /// About how many bytes a segment gets.
    pub segment_bytes: usize,
    /// Bytes a second that the writing keeps below, on average since its start, by sleeping; `None`: as fast as it goes.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The ensemble's id; `None` while it is unknown.
    pub ensemble_id: Option<u128>,
}

/// A znode to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeEntry<'a> {
    /// Its full path, `/` for the root.
    pub path: &'a str,
    /// Its data; null is not the same as empty.
    pub data: Option<&'a [u8]>,
    /// Its stored `Stat`.
    pub stat: StatPersisted,
    /// Which of [`BaseTables::acls`] governs it.
    pub acl_id: u32,
    /// The engine's zlib CRC of path and data. Opaque here.
    pub content_crc: u32,
    /// How many children it has.
    pub child_count: u32,
}

/// What became of a znode since the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeChange<'a> {
    /// It is there, and like this, whether the base has it or not.
    Put(NodeEntry<'a>),
    /// The znode at this path is gone, whether the base has it or not.
    Gone(&'a str),
}

/// What became of an entry of a run other than the znodes'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is there, whether the base has it or not.
    There,
    /// It is gone, whether the base has it or not.
    Gone,
}

/// What an image holds beside its runs. Whole every time: nothing of it comes from the base.
#[derive(Debug, Clone, Default)]
pub struct BaseTables<'t> {
    /// ACLs by the ids that znodes name. The writer counts their uses.
    pub acls: Vec<(u32, &'t [Acl])>,
    /// The open sessions.
    pub sessions: Vec<SessionRecord>,
    /// The paths that have a quota.
    pub quotas: Vec<&'t str>,
}

/// Decides which segments of the base are carried over: told of every change, in any order, before the writing begins.
#[derive(Debug)]
pub struct CarryPlan<'b> {
    base: Option<&'b Base>,
}

impl<'b> CarryPlan<'b> {
    /// Nothing has changed. Without a base everything is written.
    #[must_use]
    pub fn new(base: Option<&'b Base>) -> CarryPlan<'b> {
        CarryPlan { base }
    }

    /// The znode at this path changes: a [`NodeChange`] of it will be given.
    pub fn touch_node(&mut self, _path: &str) {
        let _ = self.base;
        todo!()
    }

    /// An entry of a run other than the znodes' changes.
    pub fn touch_entry(&mut self, _run: Run, _key: i64, _path: &str) {
        todo!()
    }
}

/// An image that is durable under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedBase {
    /// What the control file calls it.
    pub image: ImageRef,
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes of the new file: all that was written.
    pub file_bytes: u64,
    /// Bytes of the segments that it uses of older files.
    pub carried_bytes: u64,
    /// Segments written.
    pub segments_written: u64,
    /// Segments carried over.
    pub segments_carried: u64,
    /// Image files it refers to, itself included.
    pub files: usize,
}

/// Writes one image in bounded memory. Dropped before [`BaseWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct BaseWriter<'b> {
    plan: CarryPlan<'b>,
}

impl<'b> BaseWriter<'b> {
    /// Begins the image at this zxid in a data directory; one that was begun and not finished is written over.
    ///
    /// # Errors
    /// [`crate::Error::NoSpace`] and [`crate::Error::Io`]; nothing is left then.
    pub fn create(_dir: &Path, _zxid: Zxid, _options: BaseOptions, _plan: CarryPlan<'b>) -> Result<BaseWriter<'b>> {
        todo!()
    }

    /// As [`BaseWriter::create`], on a given disk.
    ///
    /// # Errors
    /// As [`BaseWriter::create`].
    pub fn create_on(
        _disk: Box<dyn Disk>,
        _dir: &Path,
        _zxid: Zxid,
        _options: BaseOptions,
        _plan: CarryPlan<'b>,
    ) -> Result<BaseWriter<'b>> {
        todo!()
    }

    /// A change of a znode. All of these come first, strictly ascending by [`super::Place::of_node`].
    ///
    /// # Errors
    /// [`crate::Error::NoSpace`], [`crate::Error::Io`], [`crate::Error::Damaged`] (of the base): the image is given up.
    /// [`crate::Error::RecordTooLarge`], [`crate::Error::GivenUp`].
    ///
    /// # Panics
    /// If the order is not kept, or the plan was not told of this change.
    pub fn node(&mut self, _change: NodeChange<'_>) -> Result<()> {
        let _ = &self.plan;
        todo!()
    }

    /// A change in another run: ephemerals (key: the session's id), then TTL znodes (key: expiry in ms), then containers (key:
    /// 0), each strictly ascending by [`super::Place::of_entry`].
    ///
    /// # Errors
    /// As [`BaseWriter::node`].
    ///
    /// # Panics
    /// As [`BaseWriter::node`].
    pub fn entry(&mut self, _run: Run, _key: i64, _path: &str, _presence: Presence) -> Result<()> {
        todo!()
    }

    /// Bytes written so far: progress, for a watchdog.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        todo!()
    }

    /// Merges what remains, writes the small tables, makes the image durable and gives it its name.
    ///
    /// # Errors
    /// As [`BaseWriter::node`]. If only the directory's fsync failed, the image is there but may be gone after a power loss.
    ///
    /// # Panics
    /// If the totals name another zxid or other counts than what was written, or a znode names an ACL that is not in the tables.
    pub fn finish(self, _tables: &BaseTables<'_>, _totals: ImageTotals) -> Result<PublishedBase> {
        todo!()
    }
}
