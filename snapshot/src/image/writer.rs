//! Builds an image and publishes it.
//!
//! Owns what goes into the file ([`GrowingFile`] has the file itself). It must never hold more than about one segment of each kind
//! in memory. It fails with [`Error`], after which nothing of it is left; `tests/crash.rs` (frozen and full disks) and `tests/memory.rs` would catch a mistake.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use proto::Zxid;
use rkyv::api::high::HighSerializer;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;

use super::layout::{FOOTER_BYTES, Footer, Header, ImageTotals, Segment};
use super::record::{ARCHIVE_LAYOUT, AclRecord, AclRow, NodeRecord, NodeRow, Row, SessionRecord, SessionRow, archive};
use crate::block::{ALIGNMENT, padded};
use crate::control::ImageRef;
use crate::disk::{Disk, RealDisk};
use crate::growing::GrowingFile;
use crate::{Error, Result};

/// How an image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageOptions {
    /// A segment is written once its records have about so many bytes in memory; at most [`SEGMENT_BYTES_MAX`]. A larger
    /// record is a segment of its own.
    pub segment_bytes: usize,
    /// Bytes a second that the writing keeps below, on average since its start, by sleeping; `None`: as fast as it goes.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The ensemble's id; `None` while it is unknown.
    pub ensemble_id: Option<u128>,
}

impl Default for ImageOptions {
    fn default() -> ImageOptions {
        ImageOptions { segment_bytes: SEGMENT_BYTES_DEFAULT, bytes_per_second: None, ensemble_id: None }
    }
}

/// What was put into an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageCounts {
    /// Znodes.
    pub nodes: u64,
    /// ACLs.
    pub acls: u64,
    /// Sessions.
    pub sessions: u64,
}

/// An image that is durable under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedImage {
    /// What the control file calls it.
    pub image: ImageRef,
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Segments in it.
    pub segments: u32,
    /// Records in it.
    pub counts: ImageCounts,
}

/// Writes one image. Records of all kinds may come in any order; dropped before [`ImageWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct ImageWriter {
    file: GrowingFile,
    zxid: Zxid,
    options: ImageOptions,
    segments: Vec<Segment>,
    counts: ImageCounts,
    nodes: Gathered<NodeRow>,
    acls: Gathered<AclRow>,
    sessions: Gathered<SessionRow>,
    /// Kept from segment to segment for its memory.
    archive: AlignedVec,
}

impl ImageWriter {
    /// Begins the image at this zxid in a data directory; one that was begun and not finished is written over.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Io`]; nothing is left then.
    pub fn create(dir: &Path, zxid: Zxid, options: ImageOptions) -> Result<ImageWriter> {
        ImageWriter::create_on(Box::new(RealDisk), dir, zxid, options)
    }

    /// As [`ImageWriter::create`], on a given disk.
    ///
    /// # Errors
    /// As [`ImageWriter::create`].
    pub fn create_on(disk: Box<dyn Disk>, dir: &Path, zxid: Zxid, options: ImageOptions) -> Result<ImageWriter> {
        let file = GrowingFile::create(disk, dir, zxid, options.bytes_per_second)?;
        let segment_bytes = options.segment_bytes.min(SEGMENT_BYTES_MAX);
        let mut writer = ImageWriter {
            file,
            zxid,
            options: ImageOptions { segment_bytes, ..options },
            segments: Vec::new(),
            counts: ImageCounts::default(),
            nodes: Gathered::new(),
            acls: Gathered::new(),
            sessions: Gathered::new(),
            archive: AlignedVec::new(),
        };
        let header = Header { zxid, ensemble_id: options.ensemble_id, archive_layout: ARCHIVE_LAYOUT };
        writer.append(&header.encode())?;
        Ok(writer)
    }

    /// Adds an ACL.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Io`]: the image is given up. [`Error::RecordTooLarge`], [`Error::GivenUp`].
    pub fn add_acl(&mut self, acl: AclRecord) -> Result<()> {
        self.counts.acls += 1;
        self.add(AclRow::new(acl.id, &acl.acls))
    }

    /// Adds a session.
    ///
    /// # Errors
    /// As [`ImageWriter::add_acl`].
    pub fn add_session(&mut self, session: SessionRecord) -> Result<()> {
        self.counts.sessions += 1;
        self.add(SessionRow::new(session))
    }

    /// Adds a znode.
    ///
    /// # Errors
    /// As [`ImageWriter::add_acl`].
    pub fn add_node(&mut self, node: NodeRecord<'_>) -> Result<()> {
        self.counts.nodes += 1;
        self.add(NodeRow::new(&node))
    }

    /// Writes what remains, makes the image durable and gives it its name.
    ///
    /// # Errors
    /// As [`ImageWriter::add_acl`]. If only the directory's fsync failed, the image is there but may be gone after a power loss.
    ///
    /// # Panics
    /// If the totals name another zxid or count of znodes than what was written: such an image could not be opened.
    pub fn finish(mut self, totals: ImageTotals) -> Result<PublishedImage> {
        assert_eq!(totals.zxid, self.zxid, "the totals of an image are taken at its zxid");
        assert_eq!(totals.node_count, self.counts.nodes, "the totals of an image count its znodes");
        self.flush::<AclRow>()?;
        self.flush::<SessionRow>()?;
        self.flush::<NodeRow>()?;
        let segments = self.append_directory(totals)?;
        let file_bytes = self.file.offset();
        let path = self.file.publish()?;
        Ok(PublishedImage { image: ImageRef::at(self.zxid), path, file_bytes, segments, counts: self.counts })
    }

    fn add<R: Gathers>(&mut self, row: R) -> Result<()>
    where
        Vec<R>: for<'b> rkyv::Serialize<HighSerializer<AlignedVec, ArenaHandle<'b>, Failure>>,
    {
        self.file.check_open()?;
        let bytes = size_of::<R>() + row.heap_bytes();
        if bytes > RECORD_BYTES_MAX {
            self.file.give_up();
            return Err(Error::RecordTooLarge { file: self.file.temp().to_path_buf(), bytes, limit: RECORD_BYTES_MAX });
        }
        // What is there goes first where the row would not fit with it, so that a segment has its size and a large row its own.
        let segment_bytes = self.options.segment_bytes;
        let gathered = R::gathered(self);
        if !gathered.rows.is_empty() && gathered.bytes + bytes > segment_bytes {
            self.flush::<R>()?;
        }
        let gathered = R::gathered(self);
        gathered.rows.push(row);
        gathered.bytes += bytes;
        Ok(())
    }

    /// Writes the gathered rows of a kind as a segment, if there are any.
    fn flush<R: Gathers>(&mut self) -> Result<()>
    where
        Vec<R>: for<'b> rkyv::Serialize<HighSerializer<AlignedVec, ArenaHandle<'b>, Failure>>,
    {
        let mut rows = std::mem::take(&mut R::gathered(self).rows);
        if rows.is_empty() {
            return Ok(());
        }
        let mut payload = std::mem::take(&mut self.archive);
        payload.clear();
        let Some(mut payload) = archive(&rows, payload) else {
            panic!("a segment below its limit is within the reach of relative pointers")
        };
        let payload_bytes = payload.len() as u64;
        payload.resize(payload.len().next_multiple_of(ALIGNMENT), 0);
        let Ok(records) = u32::try_from(rows.len()) else { panic!("a segment's limit bounds its records") };
        let payload_crc = crc32c::crc32c(&payload);
        let segment = Segment { offset: self.file.offset(), payload_bytes, payload_crc, kind: R::KIND, records };
        let Ok(number) = u32::try_from(self.segments.len()) else { panic!("an image has fewer than 2^32 segments") };
        self.append(&segment.encode_header(self.zxid, number))?;
        self.append(&payload)?;
        self.segments.push(segment);
        rows.clear();
        *R::gathered(self) = Gathered { rows, bytes: 0 };
        // The memory of one huge record is given back.
        if payload.capacity() <= 2 * SEGMENT_BYTES_MAX {
            self.archive = payload;
        }
        self.file.smooth()
    }

    /// Directory and footer; returns the count of segments.
    fn append_directory(&mut self, totals: ImageTotals) -> Result<u32> {
        let mut directory = Vec::new();
        self.segments.iter().for_each(|segment| segment.encode_entry(&mut directory));
        directory.resize(directory.len().next_multiple_of(ALIGNMENT), 0);
        let Ok(segments) = u32::try_from(self.segments.len()) else { panic!("an image has fewer than 2^32 segments") };
        let directory_bytes = directory.len() as u64;
        let footer = Footer {
            totals,
            file_bytes: self.file.offset() + directory_bytes + FOOTER_BYTES as u64,
            directory_offset: self.file.offset(),
            directory_bytes,
            directory_crc: crc32c::crc32c(&directory),
            segments,
            acl_count: self.counts.acls,
            session_count: self.counts.sessions,
        };
        self.append(&directory)?;
        self.append(&footer.encode())?;
        assert_eq!(self.file.offset(), footer.file_bytes, "the footer ends the file");
        Ok(segments)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.append(bytes)?;
        assert_eq!(padded(self.file.offset()), self.file.offset(), "every part of an image ends aligned");
        Ok(())
    }
}

/// Rows on their way into a segment.
#[derive(Debug)]
struct Gathered<R> {
    rows: Vec<R>,
    /// Their bytes in memory.
    bytes: usize,
}

impl<R> Gathered<R> {
    const fn new() -> Gathered<R> {
        Gathered { rows: Vec::new(), bytes: 0 }
    }
}

/// Where the writer gathers the rows of a kind.
trait Gathers: Row {
    fn gathered(writer: &mut ImageWriter) -> &mut Gathered<Self>;
}

impl Gathers for NodeRow {
    fn gathered(writer: &mut ImageWriter) -> &mut Gathered<NodeRow> {
        &mut writer.nodes
    }
}

impl Gathers for AclRow {
    fn gathered(writer: &mut ImageWriter) -> &mut Gathered<AclRow> {
        &mut writer.acls
    }
}

impl Gathers for SessionRow {
    fn gathered(writer: &mut ImageWriter) -> &mut Gathered<SessionRow> {
        &mut writer.sessions
    }
}

/// The usual size of a segment's records in memory: large against its header, small against memory.
pub const SEGMENT_BYTES_DEFAULT: usize = 1 << 20;
/// The largest segment that can be asked for.
pub const SEGMENT_BYTES_MAX: usize = 64 << 20;
/// The largest record. With it every pointer within a segment fits into 31 bits.
pub const RECORD_BYTES_MAX: usize = 1 << 30;
