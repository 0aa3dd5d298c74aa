//! An opened image of version 2.
//!
//! Owns the order of the checks: headers, footers, directory and small tables when it is opened; a line, a record, a znode's data
//! each time that it is read. It must never give out anything but a copy that was checked (`copied` says why), nor take "it is not there"
//! from anything but checked bytes. It fails with [`crate::Error`]; `tests/base_flips.rs` would catch a mistake.
//!
//! A read error of the disk under a mapped page is a fault ([`crate::fault`] names it); [`Base::bring_in`] finds it without one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::{SessionId, Zxid};

use super::cursor::{Children, Entries, Nodes};
use super::directory::RunSegments;
use super::file::MappedFile;
use super::layout::{Footer, Part, SegmentShape};
use super::node::BaseNode;
use super::part::{open_directory, referenced, table};
use super::place::{Place, Run, path_hash};
use super::segment::SegmentView;
use super::tables::{self, BaseAcl, EphemeralOwnerCount};
use super::warm::Warm;
use crate::dirs::DataDir;
use crate::image::{ImageTotals, SessionRecord};
use crate::{ImageRef, Result};

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

impl Base {
    /// Maps an image and every file it refers to; checks headers, footers, directory and small tables. Records are checked
    /// when they are read. Constant time but for directory and tables.
    ///
    /// # Errors
    /// [`crate::Error::Io`], [`crate::Error::NewerFormat`], [`crate::Error::OlderFormat`] (version 1: [`crate::Image`] reads it), [`crate::Error::Damaged`].
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
    /// [`crate::Error::Damaged`].
    pub fn find(&self, path: &str) -> Result<Option<BaseNode<'_>>> {
        let Some(number) = self.segment_with(&Place::of_node(path)) else { return Ok(None) };
        let found = self.view(Run::Nodes, number)?.find(path, path_hash(path))?;
        Ok(found.map(|record| BaseNode::new(self, number, record)))
    }

    /// The children of a znode, names ascending. Their data is not read.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`].
    pub fn children(&self, parent: &str) -> Result<Children<'_>> {
        self.children_from(parent, "")
    }

    /// As [`Base::children`], from this name on.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`].
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

    /// The path in the record that begins at this offset of one of its files: whose data is damaged where [`crate::Error::Damaged`] names this
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

    pub(crate) fn warm(&self) -> &Warm {
        &self.warm
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
    pub(crate) fn segment_with(&self, place: &Place<'_>) -> Option<usize> {
        let number = self.run(Run::Nodes).containing(place)?;
        let segment = self.run(Run::Nodes).segments().get(number)?;
        (segment.shape.last_key >= place.key).then_some(number)
    }
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

/// The image at a zxid: what a caller may want to say of it in one line.
impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.mapped.first().map_or(Path::new(""), |file| file.path());
        let ImageTotals { zxid, node_count, .. } = self.footer.totals;
        write!(f, "{} at {zxid}: {node_count} znodes in {} files", path.display(), self.mapped.len())
    }
}

/// About a MiB.
const SEGMENTS_AHEAD: usize = 16;
