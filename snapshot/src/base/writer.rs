//! Merges a base with what changed since into a new image.
//!
//! Three steps: a [`CarryPlan`] is told every place that changes (in any order), the [`BaseWriter`] gets the changes run by run
//! in the run's order, and [`BaseWriter::finish`] gets the small tables and the totals.
//!
//! Owns the order of the parts in the file, and the counts that follow from the changes (uses of ACLs, owners of ephemerals). It
//! must never hold more than a few segments in memory, whatever the size of base and changes. It fails with [`Error`], after which
//! nothing of the new file is left; `tests/base_round_trip.rs`, `tests/base_crash.rs` and `tests/base_memory.rs` would catch a mistake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::acl::Acl;
use proto::{SessionId, StatPersisted, Zxid};
use rkyv::Serialize;
use rkyv::api::high::HighSerializer;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;

use super::builder::{NewSegment, SegmentSink};
use super::layout::{DirectoryEntry, FOOTER_BYTES, FORMAT_VERSION, Footer, PARTS, PartPlace};
use super::merge::RunMerge;
use super::place::{Place, Run};
use super::plan::{Carried, CarryPlan};
use super::reader::Base;
use super::record::{EntryRow, NodeRow, Record, RowRef, archive};
use super::tables::{
    BaseAcl, EphemeralOwnerCount, encode_acls, encode_files, encode_owners, encode_quotas, encode_sessions,
};
use crate::block::ALIGNMENT;
use crate::disk::{Disk, RealDisk};
use crate::growing::{GrowingFile, Pace};
use crate::header::Header;
use crate::image::{ImageTotals, SessionRecord};
use crate::{Error, ImageRef, Result};

/// How an image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseOptions {
    /// About how many bytes a segment gets; at most [`SEGMENT_BYTES_MAX`]. A larger record is a segment of its own.
    pub segment_bytes: usize,
    /// The ensemble's id; `None` while it is unknown.
    pub ensemble_id: Option<u128>,
}

impl Default for BaseOptions {
    fn default() -> BaseOptions {
        BaseOptions { segment_bytes: SEGMENT_BYTES_DEFAULT, ensemble_id: None }
    }
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

impl<'a> NodeChange<'a> {
    /// Of which znode.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        match self {
            NodeChange::Put(node) => node.path,
            NodeChange::Gone(path) => path,
        }
    }
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
    sink: SegmentSink,
    carried: Carried<'b>,
    segment_bytes: usize,
    /// The runs that are done.
    segments: Vec<Vec<NewSegment>>,
    run: Run,
    merge: RunMerge<'b>,
    /// The last change's key and path.
    last: Option<(u64, String)>,
    counts: Counts,
    /// Kept for its memory.
    archive: AlignedVec,
}

/// How the counts in the small tables change.
#[derive(Debug, Default)]
struct Counts {
    acl_uses: BTreeMap<u32, i64>,
    owners: BTreeMap<i64, i64>,
}

impl<'b> BaseWriter<'b> {
    /// Begins the image at this zxid in a data directory; one that was begun and not finished is written over.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Io`]; nothing is left then.
    ///
    /// # Panics
    /// If the zxid is not above the base's: the new file would take the place of one that it points into.
    pub fn create(dir: &Path, zxid: Zxid, options: BaseOptions, plan: CarryPlan<'b>) -> Result<BaseWriter<'b>> {
        BaseWriter::create_on(Box::new(RealDisk), dir, zxid, options, plan)
    }

    /// As [`BaseWriter::create`], on a given disk.
    ///
    /// # Errors
    /// As [`BaseWriter::create`].
    ///
    /// # Panics
    /// As [`BaseWriter::create`].
    pub fn create_on(
        disk: Box<dyn Disk>,
        dir: &Path,
        zxid: Zxid,
        options: BaseOptions,
        plan: CarryPlan<'b>,
    ) -> Result<BaseWriter<'b>> {
        let carried = plan.decide();
        assert!(carried.base.is_none_or(|base| base.zxid() < zxid), "an image is newer than its base");
        let mut file = GrowingFile::create(disk, dir, zxid)?;
        let header = Header { zxid, ensemble_id: options.ensemble_id }.encode(FORMAT_VERSION);
        file.append(&header)?;
        let header_crc = header.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
        let segment_bytes = options.segment_bytes.clamp(1, SEGMENT_BYTES_MAX);
        Ok(BaseWriter {
            sink: SegmentSink::new(file, zxid, header_crc),
            carried,
            segment_bytes,
            segments: Vec::new(),
            run: Run::Nodes,
            merge: RunMerge::new(Run::Nodes, segment_bytes),
            last: None,
            counts: Counts::default(),
            archive: AlignedVec::new(),
        })
    }

    /// From now on the writing goes on as this says.
    pub fn keep_to(&mut self, pace: Arc<dyn Pace>) {
        self.sink.file.keep_to(pace);
    }

    /// A change of a znode. All of these come first, strictly ascending by [`Place::of_node`].
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`], [`Error::Damaged`] (of the base), [`Error::RecordTooLarge`]: the image is given up.
    /// [`Error::GivenUp`].
    ///
    /// # Panics
    /// If the order is not kept, or the plan was not told of this change.
    pub fn node(&mut self, change: NodeChange<'_>) -> Result<()> {
        let path = match &change {
            NodeChange::Put(node) => node.path,
            NodeChange::Gone(path) => path,
        };
        let place = Place::of_node(path);
        let done = self.begin(Run::Nodes, &place, path).and_then(|()| self.merge_node(&place, &change));
        self.keep_or_give_up(done)
    }

    /// A change in another run: ephemerals (key: the session's id), then TTL znodes (key: expiry in ms), then containers (key:
    /// 0), each strictly ascending by [`Place::of_entry`].
    ///
    /// # Errors
    /// As [`BaseWriter::node`].
    ///
    /// # Panics
    /// As [`BaseWriter::node`], and for [`Run::Nodes`].
    pub fn entry(&mut self, run: Run, key: i64, path: &str, presence: Presence) -> Result<()> {
        assert!(run != Run::Nodes, "znodes have a method of their own");
        let place = Place::of_entry(key, path);
        let done = self.begin(run, &place, path).and_then(|()| self.merge_entry(&place, key, path, presence));
        self.keep_or_give_up(done)
    }

    /// Bytes written so far: progress, for a watchdog.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.sink.file.offset()
    }

    /// Merges what remains, writes the small tables, makes the image durable and gives it its name.
    ///
    /// # Errors
    /// As [`BaseWriter::node`]. If only the directory's fsync failed, the image is there but may be gone after a power loss.
    ///
    /// # Panics
    /// If the totals name another zxid or other counts than what was written, a znode names an ACL that is not in the tables, or
    /// an id or path is in a table twice.
    pub fn finish(mut self, tables: &BaseTables<'_>, totals: ImageTotals) -> Result<PublishedBase> {
        assert_eq!(totals.zxid, self.sink.zxid, "the totals of an image are taken at its zxid");
        self.sink.file.check_open()?;
        while self.segments.len() < Run::ALL.len() {
            self.finish_run()?;
        }
        let count = |run: Run| {
            let segments = self.segments.get(run.number()).map(Vec::as_slice).unwrap_or_default();
            segments.iter().map(|segment| u64::from(segment.shape.records)).sum::<u64>()
        };
        assert_eq!(totals.node_count, count(Run::Nodes), "the totals of an image count its znodes");
        assert_eq!(totals.ephemeral_count, count(Run::Ephemerals), "the totals of an image count its ephemerals");
        self.append_parts(tables, totals)?;
        let all = || self.segments.iter().flatten();
        let carried = || all().filter(|segment| segment.file != 0);
        let published = PublishedBase {
            image: ImageRef::at(totals.zxid),
            path: PathBuf::new(),
            file_bytes: self.sink.file.offset(),
            carried_bytes: carried().map(|segment| segment.shape.frame_bytes()).sum(),
            segments_written: (all().count() - carried().count()) as u64,
            segments_carried: carried().count() as u64,
            files: 1 + self.carried.files().len(),
        };
        Ok(PublishedBase { path: self.sink.file.publish()?, ..published })
    }

    /// Checks that a change comes in its order, and goes on to its run.
    fn begin(&mut self, run: Run, place: &Place<'_>, path: &str) -> Result<()> {
        self.sink.file.check_open()?;
        assert!(run >= self.run, "the runs are written in their order");
        while self.run < run {
            self.finish_run()?;
        }
        if let Some((key, path)) = &self.last {
            assert!(run.place(*key, path) < *place, "the changes of a run come in its order");
        }
        let (key, last) = self.last.get_or_insert_with(|| (0, String::new()));
        *key = place.key;
        last.clear();
        last.push_str(path);
        Ok(())
    }

    fn finish_run(&mut self) -> Result<()> {
        let next = Run::ALL.get(self.run.number() + 1).copied();
        let merge = std::mem::replace(&mut self.merge, RunMerge::new(next.unwrap_or(self.run), self.segment_bytes));
        self.segments.push(merge.finish(&mut self.sink, &self.carried)?);
        self.run = next.unwrap_or(self.run);
        self.last = None;
        Ok(())
    }

    fn merge_node(&mut self, place: &Place<'_>, change: &NodeChange<'_>) -> Result<()> {
        let former = self.merge.take(&mut self.sink, &self.carried, place)?;
        if let Some(RowRef::Node(row)) = former.as_ref().map(Record::row) {
            *self.counts.acl_uses.entry(row.acl_id.to_native()).or_default() -= 1;
        }
        let NodeChange::Put(NodeEntry { path, data, stat, acl_id, content_crc, child_count }) = change else {
            return Ok(());
        };
        self.check_size(path.len() + data.map_or(0, <[u8]>::len))?;
        self.archive_row(&NodeRow::new(path, *acl_id, *content_crc, *child_count, stat));
        *self.counts.acl_uses.entry(*acl_id).or_default() += 1;
        self.merge.put(&mut self.sink, place, path, &self.archive, *data)
    }

    fn merge_entry(&mut self, place: &Place<'_>, key: i64, path: &str, presence: Presence) -> Result<()> {
        let was_there = self.merge.take(&mut self.sink, &self.carried, place)?.is_some();
        let is_there = presence == Presence::There;
        if self.run == Run::Ephemerals {
            *self.counts.owners.entry(key).or_default() += i64::from(is_there) - i64::from(was_there);
        }
        if !is_there {
            return Ok(());
        }
        self.check_size(path.len())?;
        self.archive_row(&EntryRow { path: path.into(), key });
        self.merge.put(&mut self.sink, place, path, &self.archive, None)
    }

    fn check_size(&self, bytes: usize) -> Result<()> {
        if bytes <= RECORD_BYTES_MAX {
            return Ok(());
        }
        Err(Error::RecordTooLarge { file: self.sink.file.temp().to_path_buf(), bytes, limit: RECORD_BYTES_MAX })
    }

    fn archive_row<R>(&mut self, row: &R)
    where
        R: for<'s> Serialize<HighSerializer<AlignedVec, ArenaHandle<'s>, Failure>>,
    {
        let Some(archive) = archive(row, std::mem::take(&mut self.archive)) else {
            panic!("a record below its limit is within the reach of relative pointers")
        };
        self.archive = archive;
    }

    fn keep_or_give_up(&mut self, done: Result<()>) -> Result<()> {
        if done.is_err() {
            self.sink.file.give_up();
        }
        done
    }

    /// Everything after the segments.
    fn append_parts(&mut self, tables: &BaseTables<'_>, totals: ImageTotals) -> Result<()> {
        let (directory, ties) = encode_directory(&self.segments);
        let mut sessions = tables.sessions.clone();
        sessions.sort_by_key(|session| session.id.0);
        let mut quotas = tables.quotas.clone();
        quotas.sort_unstable();
        assert!(sessions.is_sorted_by(|a, b| a.id.0 < b.id.0), "a session is open once");
        assert!(quotas.is_sorted_by(|a, b| a < b), "a path has one quota");
        let acls = self.counts.acls(self.carried.base, &tables.acls);
        let owners = self.counts.owners(self.carried.base);
        let archives = [
            encode_files(self.carried.files()),
            encode_acls(&acls),
            encode_sessions(&sessions),
            encode_quotas(&quotas),
            encode_owners(&owners),
        ];
        let [Some(files), Some(acls), Some(sessions), Some(quotas), Some(owners)] = &archives else {
            let (file, limit) = (self.sink.file.temp().to_path_buf(), i32::MAX.unsigned_abs() as usize);
            return Err(Error::RecordTooLarge { file, bytes: limit, limit });
        };
        let bytes: [&[u8]; PARTS] = [files, &directory, &ties, acls, sessions, quotas, owners];
        let mut parts = [PartPlace::default(); PARTS];
        for (place, bytes) in parts.iter_mut().zip(bytes) {
            *place = self.append_part(bytes)?;
        }
        let mut segments = [0; 4];
        for (count, run) in segments.iter_mut().zip(&self.segments) {
            *count = run.len() as u64;
        }
        let file_bytes = self.sink.file.offset() + FOOTER_BYTES as u64;
        self.sink.file.append(&Footer { totals, file_bytes, segments, parts }.encode())
    }

    fn append_part(&mut self, bytes: &[u8]) -> Result<PartPlace> {
        let padding = [0; ALIGNMENT];
        let padding = padding.get(..bytes.len().next_multiple_of(ALIGNMENT) - bytes.len()).unwrap_or_default();
        let crc = crc32c::crc32c_append(crc32c::crc32c(bytes), padding);
        let place = PartPlace { offset: self.sink.file.offset(), bytes: bytes.len() as u64, crc };
        self.sink.file.append(bytes)?;
        self.sink.file.append(padding)?;
        Ok(place)
    }
}

impl Counts {
    /// The ACLs with their uses, by id.
    fn acls(&self, base: Option<&Base>, acls: &[(u32, &[Acl])]) -> Vec<BaseAcl> {
        let mut uses = self.acl_uses.clone();
        for acl in base.map(Base::acls).unwrap_or_default() {
            *uses.entry(acl.id).or_default() += acl.uses.cast_signed();
        }
        let counted = |&(id, entries): &(u32, &[Acl])| {
            let Ok(uses) = u64::try_from(uses.remove(&id).unwrap_or(0)) else {
                panic!("an ACL is used by znodes only")
            };
            BaseAcl { id, uses, entries: entries.to_vec() }
        };
        let mut acls: Vec<_> = acls.iter().map(counted).collect();
        acls.sort_by_key(|acl| acl.id);
        assert!(acls.is_sorted_by(|a, b| a.id < b.id), "an ACL is in the table once");
        assert!(uses.values().all(|&uses| uses == 0), "every znode's ACL is in the table");
        acls
    }

    /// The owners of ephemerals, by session.
    fn owners(&self, base: Option<&Base>) -> Vec<EphemeralOwnerCount> {
        let mut counts = self.owners.clone();
        for owner in base.map(Base::ephemeral_owners).unwrap_or_default() {
            *counts.entry(owner.session.0).or_default() += owner.count.cast_signed();
        }
        let owner = |(session, count)| {
            let Ok(count) = u64::try_from(count) else { panic!("an entry that is gone was there") };
            EphemeralOwnerCount { session: SessionId(session), count }
        };
        counts.into_iter().filter(|&(_, count)| count != 0).map(owner).collect()
    }
}

/// The directory and the ties that it refers to.
fn encode_directory(segments: &[Vec<NewSegment>]) -> (Vec<u8>, Vec<u8>) {
    let (mut directory, mut ties) = (Vec::new(), Vec::new());
    for segment in segments.iter().flatten() {
        let tie = segment.tie.as_deref().unwrap_or_default();
        let offset = if tie.is_empty() { 0 } else { ties.len() };
        let (Ok(tie_offset), Ok(tie_bytes)) = (u32::try_from(offset), u32::try_from(tie.len())) else {
            panic!("a path for each segment of an image is within 4 GiB")
        };
        ties.extend_from_slice(tie.as_bytes());
        DirectoryEntry { shape: segment.shape, file: segment.file, tie_offset, tie_bytes }.encode(&mut directory);
    }
    (directory, ties)
}

/// The usual size of a segment: large against its header and directory entry, small against what one change makes be written again.
pub const SEGMENT_BYTES_DEFAULT: usize = 64 << 10;
/// The largest segment that can be asked for: its records' places are within 512 KiB.
pub const SEGMENT_BYTES_MAX: usize = 256 << 10;
/// The largest path with its data. With it every pointer within a record fits into 31 bits.
pub const RECORD_BYTES_MAX: usize = 1 << 30;
