//! An opened image of version 2.
//!
//! Owns the order of the checks: headers, footers, directory and small tables when it is opened; a line, a record, a znode's data
//! each time that it is read. It must never give out anything but a copy that was checked (`copied` says why), nor take "it is not there"
//! from anything but checked bytes. It fails with [`Error`]; `tests/base_flips.rs` would catch a mistake.
//!
//! A read error of the disk under a mapped page is a fault ([`crate::fault`] names it); [`Base::bring_in`] finds it without one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::{SessionId, StatPersisted, Zxid};
use rkyv::util::AlignedVec;

use super::copied::aligned;
use super::cursor::{Children, Entries, Nodes};
use super::directory::{self, RunSegments};
use super::file::{FileIdentity, MappedFile};
use super::layout::{Footer, Part, PartPlace, SegmentShape};
use super::place::{Place, Run, path_hash, split};
use super::record::{ArchivedNodeRow, Record, RowRef};
use super::resident;
use super::segment::SegmentView;
use super::tables::{self, BaseAcl, EphemeralOwnerCount};
use super::warm::Warm;
use crate::block::{bytes_at, padded};
use crate::dirs::DataDir;
use crate::image::{ImageTotals, SessionRecord};
use crate::{Damage, Error, ImageRef, Result};

/// An opened image of version 2: its newest file and those it points into, mapped. `Send + Sync`.
#[derive(Debug)]
pub struct Base {
    /// The image's own file first, then those it refers to.
    mapped: Vec<Arc<MappedFile>>,
    files: Vec<BaseFile>,
    runs: [RunSegments; 4],
    acls: Vec<BaseAcl>,
    sessions: Vec<SessionRecord>,
    quotas: Vec<Box<str>>,
    owners: Vec<EphemeralOwnerCount>,
    footer: Footer,
    warm: Warm,
}

/// An image file that a [`Base`] refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFile {
    /// The zxid in its name.
    pub zxid: Zxid,
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes.
    pub file_bytes: u64,
    /// Bytes of its segments that the image uses.
    pub live_bytes: u64,
}

/// A piece of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Which of [`Base::files`].
    pub file: usize,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Which segment of the znodes' run it is, if it is one of that run.
    pub(crate) node_segment: Option<usize>,
}

/// About a MiB.
const SEGMENTS_AHEAD: usize = 16;

impl Base {
    /// Maps an image and every file it refers to; checks headers, footers, directory and small tables. Records are checked
    /// when they are read. Constant time but for directory and tables.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NewerFormat`], [`Error::OlderFormat`] (version 1: [`crate::Image`] reads it), [`Error::Damaged`].
    pub fn open(dir: &Path, image: &ImageRef) -> Result<Base> {
        Base::open_sharing(dir, image, &[])
    }

    /// As [`Base::open`], sharing the mappings of files that `former` has open too.
    ///
    /// # Errors
    /// As [`Base::open`].
    pub fn open_after(dir: &Path, image: &ImageRef, former: &Base) -> Result<Base> {
        Base::open_sharing(dir, image, &former.mapped)
    }

    fn open_sharing(dir: &Path, image: &ImageRef, open: &[Arc<MappedFile>]) -> Result<Base> {
        let own = Arc::new(MappedFile::open(&dir.join(&image.file_name))?);
        let others = referenced(&own)?;
        let data = DataDir::new(dir);
        let mut mapped = vec![Arc::clone(&own)];
        for meant in &others {
            let shared = open.iter().find(|file| file.identity() == meant).map(Arc::clone);
            let file = match shared {
                Some(file) => file,
                None => Arc::new(MappedFile::open(&data.image(meant.zxid))?),
            };
            file.check_identity(meant)?;
            mapped.push(file);
        }
        let runs = open_directory(&own, &mapped)?;
        let files = mapped.iter().enumerate().map(|(number, file)| base_file(file, number, &runs)).collect();
        Ok(Base {
            warm: Warm::new(runs.first().map_or(0, |nodes| nodes.segments().len())),
            files,
            runs,
            acls: table(&own, Part::Acls, tables::decode_acls)?,
            sessions: table(&own, Part::Sessions, tables::decode_sessions)?,
            quotas: table(&own, Part::Quotas, tables::decode_quotas)?,
            owners: table(&own, Part::Owners, tables::decode_owners)?,
            footer: *own.footer(),
            mapped,
        })
    }

    /// What it names itself by.
    #[must_use]
    pub fn image(&self) -> ImageRef {
        ImageRef::at(self.zxid())
    }

    /// What is in it, without counting.
    #[must_use]
    pub fn totals(&self) -> &ImageTotals {
        &self.footer.totals
    }

    /// The id of the ensemble that wrote it; `None` if it was unknown then.
    #[must_use]
    pub fn ensemble_id(&self) -> Option<u128> {
        self.mapped.first().and_then(|file| file.header().ensemble_id)
    }

    /// Its ACLs, by id.
    #[must_use]
    pub fn acls(&self) -> &[BaseAcl] {
        &self.acls
    }

    /// Its sessions, by id.
    #[must_use]
    pub fn sessions(&self) -> &[SessionRecord] {
        &self.sessions
    }

    /// The paths that have a quota, ascending.
    #[must_use]
    pub fn quotas(&self) -> &[Box<str>] {
        &self.quotas
    }

    /// The sessions that own ephemerals, by id.
    #[must_use]
    pub fn ephemeral_owners(&self) -> &[EphemeralOwnerCount] {
        &self.owners
    }

    /// How many TTL znodes there are.
    #[must_use]
    pub fn ttl_count(&self) -> u64 {
        self.count(Run::Ttls)
    }

    /// How many containers there are.
    #[must_use]
    pub fn container_count(&self) -> u64 {
        self.count(Run::Containers)
    }

    /// The image files that it refers to, itself first.
    #[must_use]
    pub fn files(&self) -> &[BaseFile] {
        &self.files
    }

    /// Bytes of all its segments, wherever they lie.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.live_bytes).sum()
    }

    /// The znode at this path, if there is one.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn find(&self, path: &str) -> Result<Option<BaseNode<'_>>> {
        let Some(number) = self.segment_with(&Place::of_node(path)) else { return Ok(None) };
        let found = self.view(Run::Nodes, number)?.find(path, path_hash(path))?;
        Ok(found.map(|record| BaseNode::new(self, number, record)))
    }

    /// The children of a znode, names ascending. Their data is not read.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn children(&self, parent: &str) -> Result<Children<'_>> {
        self.children_from(parent, "")
    }

    /// As [`Base::children`], from this name on.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn children_from(&self, parent: &str, first_name: &str) -> Result<Children<'_>> {
        Children::new(self, parent, first_name)
    }

    /// The paths of a session's ephemerals, ascending. It ends after an error.
    pub fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = Result<Box<str>>> {
        self.ephemerals_from(session, "")
    }

    /// As [`Base::ephemerals_of`], from this path on.
    pub fn ephemerals_from<'b>(
        &'b self,
        session: SessionId,
        first: &str,
    ) -> impl Iterator<Item = Result<Box<str>>> + use<'b> {
        let (entries, error) = match Entries::with_key(self, Run::Ephemerals, session.0, first) {
            Ok(entries) => (Some(entries), None),
            Err(error) => (None, Some(Err(error))),
        };
        error.into_iter().chain(entries.into_iter().flatten().map(|entry| entry.map(|(_, path)| path)))
    }

    /// All ephemerals: session and path, ascending. It ends after an error.
    #[must_use]
    pub fn ephemerals(&self) -> Entries<'_> {
        Entries::new(self, Run::Ephemerals)
    }

    /// The TTL znodes: key (expiry in ms) and path, ascending. It ends after an error.
    #[must_use]
    pub fn ttls(&self) -> Entries<'_> {
        Entries::new(self, Run::Ttls)
    }

    /// The containers: 0 and path, ascending. It ends after an error.
    #[must_use]
    pub fn containers(&self) -> Entries<'_> {
        Entries::new(self, Run::Containers)
    }

    /// All znodes in the run's order. It ends after an error.
    #[must_use]
    pub fn nodes(&self) -> Nodes<'_> {
        Nodes::new(self)
    }

    /// The path in the record that begins at this offset of one of its files: whose data is damaged where [`Error::Damaged`] names this
    /// place. `None`: no record begins there, or its path cannot be read either.
    #[must_use]
    pub fn path_at(&self, file: &Path, offset: u64) -> Option<Box<str>> {
        let number = self.mapped.iter().position(|mapped| mapped.path() == file)?;
        Run::ALL.iter().find_map(|&run| {
            let segments = self.run(run).segments().iter().enumerate();
            let within = |shape: &SegmentShape| (shape.offset..shape.offset + shape.frame_bytes()).contains(&offset);
            let (at, _) = segments.filter(|(_, segment)| segment.file == number).find(|(_, s)| within(&s.shape))?;
            self.view(run, at).ok()?.path_at(offset)
        })
    }

    /// The segment where this path would lie: what must be in memory for [`Base::find`]. `None`: no segment has to be read to
    /// know that it is not there.
    #[must_use]
    pub fn extent(&self, path: &str) -> Option<Extent> {
        self.extent_of(Run::Nodes, self.segment_with(&Place::of_node(path))?)
    }

    /// The segment where the children of this path begin: what must be in memory for the first of [`Base::children`]. `None`: no
    /// segment has to be read to know that there are none.
    #[must_use]
    pub fn children_extent(&self, parent: &str) -> Option<Extent> {
        self.extent_of(Run::Nodes, self.segment_with(&Place::of_children(parent, ""))?)
    }

    /// The segments where the children of this path lie, in their order: what must be in memory for all of [`Base::children`].
    pub fn children_extents(&self, parent: &str) -> impl Iterator<Item = Extent> {
        self.extents_with(Run::Nodes, &Place::of_children(parent, ""))
    }

    /// The segments where the paths of a session's ephemerals lie: what must be in memory for all of [`Base::ephemerals_of`].
    pub fn ephemerals_extents(&self, session: SessionId) -> impl Iterator<Item = Extent> {
        self.extents_with(Run::Ephemerals, &Place::of_entry(session.0, ""))
    }

    /// The segments of a run that may hold records with the key of this place, which is the first with it.
    fn extents_with(&self, run: Run, place: &Place<'_>) -> impl Iterator<Item = Extent> + use<'_> {
        let (key, segments) = (place.key, self.run(run));
        // The one in which they would begin may end before them.
        let first = segments.containing(place).unwrap_or(0);
        let from_first = (first..).zip(segments.segments().get(first..).unwrap_or_default());
        let in_reach = from_first.take_while(move |(_, segment)| segment.shape.first_key <= key);
        let theirs = in_reach.filter(move |(_, segment)| segment.shape.last_key >= key);
        theirs.filter_map(move |(number, _)| self.extent_of(run, number))
    }

    /// Whether all of an extent is in memory, as the kernel says.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_resident(&self, extent: &Extent) -> Result<bool> {
        let Some(file) = self.mapped.get(extent.file) else { return Ok(false) };
        Ok(resident::of_range(file, extent.offset, extent.bytes)?.is_whole())
    }

    /// As [`Base::is_resident`], without asking the kernel again about what was in memory since [`Base::forget_warm`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_warm(&self, extent: &Extent) -> Result<bool> {
        let Some(segment) = extent.node_segment else { return self.is_resident(extent) };
        if self.warm.was_seen(segment) {
            return Ok(true);
        }
        let is_warm = self.is_resident(extent)?;
        if is_warm {
            self.warm.see(segment);
        }
        Ok(is_warm)
    }

    /// Whether all of the files that it refers to is in memory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_all_resident(&self) -> Result<bool> {
        for file in &self.mapped {
            if !resident::of_range(file, 0, file.footer().file_bytes)?.is_whole() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks the disk for an extent, once until [`Base::forget_warm`], and does not wait for it. Best effort.
    pub fn ask_for(&self, extent: &Extent) {
        if let (Some(file), Some(segment)) = (self.mapped.get(extent.file), extent.node_segment)
            && !self.warm.was_seen(segment)
        {
            self.warm.see(segment);
            file.will_need(extent.offset, extent.bytes);
        }
    }

    /// What was in memory may not be any more: to be called once in a while.
    pub fn forget_warm(&self) {
        self.warm.forget();
    }

    /// Reads an extent into the page cache, without touching the mapping; a read error is an error and no fault.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn bring_in(&self, extent: &Extent) -> Result<()> {
        let Some(file) = self.mapped.get(extent.file) else { return Ok(()) };
        resident::read_through(file, extent.offset, extent.bytes, &mut |_| ())
    }

    pub(crate) fn zxid(&self) -> Zxid {
        self.footer.totals.zxid
    }

    pub(crate) fn run(&self, run: Run) -> &RunSegments {
        let [nodes, ephemerals, ttls, containers] = &self.runs;
        match run {
            Run::Nodes => nodes,
            Run::Ephemerals => ephemerals,
            Run::Ttls => ttls,
            Run::Containers => containers,
        }
    }

    pub(crate) fn mapped(&self) -> &[Arc<MappedFile>] {
        &self.mapped
    }

    /// A segment, to be read.
    pub(crate) fn view(&self, run: Run, number: usize) -> Result<SegmentView<'_>> {
        let segment = self.run(run).segments().get(number);
        let file = segment.and_then(|segment| self.mapped.get(segment.file));
        let (Some(segment), Some(file)) = (segment, file) else { panic!("a segment's number is that of a segment") };
        SegmentView::new(file, segment, run, number, self.zxid())
    }

    /// As [`Base::view`], for who goes through all of a run: asks the disk for what comes next.
    pub(crate) fn view_in_turn(&self, run: Run, number: usize) -> Result<SegmentView<'_>> {
        if number.is_multiple_of(SEGMENTS_AHEAD) {
            for segment in self.run(run).segments().iter().skip(number).take(SEGMENTS_AHEAD) {
                if let Some(file) = self.mapped.get(segment.file) {
                    file.will_need(segment.shape.offset, segment.shape.frame_bytes());
                }
            }
        }
        self.view(run, number)
    }

    /// How many records a run has.
    pub(crate) fn count(&self, run: Run) -> u64 {
        self.run(run).segments().iter().map(|segment| u64::from(segment.shape.records)).sum()
    }

    /// The segment of znodes in which this place may be taken.
    fn segment_with(&self, place: &Place<'_>) -> Option<usize> {
        let number = self.run(Run::Nodes).containing(place)?;
        let segment = self.run(Run::Nodes).segments().get(number)?;
        (segment.shape.last_key >= place.key).then_some(number)
    }

    fn extent_of(&self, run: Run, number: usize) -> Option<Extent> {
        let segment = self.run(run).segments().get(number)?;
        let (offset, bytes) = (segment.shape.offset, segment.shape.frame_bytes());
        Some(Extent { file: segment.file, offset, bytes, node_segment: (run == Run::Nodes).then_some(number) })
    }
}

/// A znode in an image: a copy of its record, which has been checked. Its data is copied and checked when it is asked for.
#[derive(Debug, Clone)]
pub struct BaseNode<'b> {
    base: &'b Base,
    segment: usize,
    record: Record<'b>,
}

impl<'b> BaseNode<'b> {
    pub(crate) fn new(base: &'b Base, segment: usize, record: Record<'b>) -> BaseNode<'b> {
        BaseNode { base, segment, record }
    }

    fn row(&self) -> &ArchivedNodeRow {
        let RowRef::Node(row) = self.record.row() else { panic!("the znodes' run holds znodes") };
        row
    }

    /// The records of its segment, their salt, and its place among them.
    #[cfg(test)]
    pub(crate) fn parts(&self) -> (&'b [u8], u32, u16) {
        let (records, salt) = self.base.view(Run::Nodes, self.segment).expect("it was read there").records_and_salt();
        (records, salt, self.record.place())
    }

    /// Its full path, `/` for the root.
    #[must_use]
    pub fn path(&self) -> &str {
        self.row().path.get()
    }

    /// The last part of its path; of the root `/`.
    #[must_use]
    pub fn name(&self) -> &str {
        split(self.path()).1
    }

    /// A copy of its data, checked; null is not the same as empty.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn data(&self) -> Result<Option<Vec<u8>>> {
        self.record.block().data().map_err(|what| self.damaged(what))
    }

    /// As [`BaseNode::data`], to be shared.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn shared_data(&self) -> Result<Option<Arc<[u8]>>> {
        self.record.block().shared_data().map_err(|what| self.damaged(what))
    }

    /// Appends its data, [`BaseNode::data_len`] bytes, to a buffer, and checks what stands there then; nothing for null.
    ///
    /// # Errors
    /// [`Error::Damaged`]; then nothing was appended.
    pub fn append_data(&self, to: &mut Vec<u8>) -> Result<()> {
        self.record.block().append_data(to).map_err(|what| self.damaged(what))
    }

    fn damaged(&self, what: Damage) -> Error {
        match self.base.view(Run::Nodes, self.segment) {
            Ok(view) => view.damaged_record(self.record.place(), what),
            Err(error) => error,
        }
    }

    /// Bytes of its data, 0 for null; reads no data.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.record.block().data_len()
    }

    /// Whether its data is null; reads no data.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.record.block().is_null()
    }

    /// Its stored `Stat`.
    #[must_use]
    pub fn stat(&self) -> StatPersisted {
        self.row().stat()
    }

    /// The [`BaseAcl`] that governs it.
    #[must_use]
    pub fn acl_id(&self) -> u32 {
        self.row().acl_id.to_native()
    }

    /// What the writer was given: the engine's zlib CRC of path and data. Opaque here.
    #[must_use]
    pub fn content_crc(&self) -> u32 {
        self.row().content_crc.to_native()
    }

    /// How many children it has.
    #[must_use]
    pub fn child_count(&self) -> u32 {
        self.row().child_count.to_native()
    }
}

/// The zxids of the other files that the image in this file refers to.
///
/// # Errors
/// As [`Base::open`].
pub fn references(path: &Path) -> Result<Vec<Zxid>> {
    let file = MappedFile::open(path)?;
    Ok(referenced(&file)?.iter().map(|file| file.zxid).collect())
}

fn referenced(own: &MappedFile) -> Result<Vec<FileIdentity>> {
    let others = table(own, Part::Files, tables::decode_files)?;
    if others.iter().any(|other| other.zxid >= own.header().zxid) {
        return Err(damaged_part(own, Part::Files, Damage::Field("that an image refers to older files only")));
    }
    Ok(others)
}

fn open_directory(own: &MappedFile, mapped: &[Arc<MappedFile>]) -> Result<[RunSegments; 4]> {
    let (bytes, ties) = (part(own, Part::Directory)?, part(own, Part::Ties)?);
    let files: Vec<&MappedFile> = mapped.iter().map(AsRef::as_ref).collect();
    let decoded = directory::decode(&bytes, &ties, own.footer(), &files);
    decoded.map_err(|what| damaged_part(own, Part::Directory, what))
}

fn base_file(file: &MappedFile, number: usize, runs: &[RunSegments; 4]) -> BaseFile {
    let segments = runs.iter().flat_map(RunSegments::segments).filter(|segment| segment.file == number);
    BaseFile {
        zxid: file.header().zxid,
        path: file.path().to_path_buf(),
        file_bytes: file.footer().file_bytes,
        live_bytes: segments.map(|segment| segment.shape.frame_bytes()).sum(),
    }
}

/// A copy of a part after the segments, checked.
fn part(file: &MappedFile, part: Part) -> Result<AlignedVec> {
    let place = part_place(file, part);
    file.will_need(place.offset, place.bytes);
    let check = || {
        let mut bytes = aligned(bytes_at(file.map(), place.offset, padded(place.bytes))?);
        let computed = crc32c::crc32c(&bytes);
        if computed != place.crc {
            return Err(Damage::Checksum { found: place.crc, computed });
        }
        let len = usize::try_from(place.bytes).unwrap_or(bytes.len()).min(bytes.len());
        if bytes.get(len..).unwrap_or_default().iter().any(|&byte| byte != 0) {
            return Err(Damage::Field("the padding of a part"));
        }
        bytes.resize(len, 0);
        Ok(bytes)
    };
    check().map_err(|what| damaged_part(file, part, what))
}

fn table<T>(file: &MappedFile, of: Part, decode: impl Fn(&[u8]) -> std::result::Result<T, Damage>) -> Result<T> {
    decode(&part(file, of)?).map_err(|what| damaged_part(file, of, what))
}

fn part_place(file: &MappedFile, part: Part) -> PartPlace {
    let number = Part::ALL.iter().position(|&other| other == part);
    let place = number.and_then(|number| file.footer().parts.get(number));
    place.copied().unwrap_or_default()
}

fn damaged_part(file: &MappedFile, part: Part, what: Damage) -> Error {
    Error::damaged(file.path(), part_place(file, part).offset, Some(file.header().zxid), what)
}

/// The image at a zxid: what a caller may want to say of it in one line.
impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.mapped.first().map_or(Path::new(""), |file| file.path());
        let ImageTotals { zxid, node_count, .. } = self.footer.totals;
        write!(f, "{} at {zxid}: {node_count} znodes in {} files", path.display(), self.mapped.len())
    }
}
