//! Where znodes come from: an image of RingKeeper's of either format, or a snapshot of ZooKeeper's. Everything that reads a snapshot reads
//! it through [`Source`].
//!
//! Owns how a path on the command line is understood, and that damage is told with the znode that it is in or after. Must never write, nor hold more of
//! the tree in memory than a caller asks for. It fails with [`Failure`]; `tests/tests/inspection` would catch a mistake.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::{Acl, SessionId, Zxid, path};
use snapshot::base::{Base, BaseFile, references};
use snapshot::control::Control;
use snapshot::dirs::DataDir;
use snapshot::version_2::{AclNumber, Compression, Entry, SnapshotFile, SnapshotReader, Trailer, Version2};
use snapshot::{AnyImage, Image, ImageRef};

use super::znode::Znode;
use crate::failure::{Failure, Near};
use crate::log::source::Go;

/// A snapshot, opened.
#[derive(Debug)]
pub(crate) struct Source {
    /// Where it lies.
    pub(crate) file: PathBuf,
    pub(crate) kind: Kind,
}

/// By its format.
#[derive(Debug)]
pub(crate) enum Kind {
    /// An image of format version 2: found, listed and compared in place.
    Mapped(Arc<Base>),
    /// An image of format version 1.
    Whole(Image),
    /// ZooKeeper's own: a stream.
    ZooKeeper(SnapshotFile),
}

/// A snapshot that was found, and not opened yet.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// RingKeeper's.
    Image {
        /// The directory.
        dir: PathBuf,
        /// Its name and zxid.
        image: ImageRef,
    },
    /// ZooKeeper's.
    ZooKeeper(SnapshotFile),
}

/// The ACLs of a snapshot, by what its znodes name them by.
#[derive(Debug, Default)]
pub(crate) struct Acls(HashMap<i64, Vec<Acl>>);

/// What a snapshot holds beside znodes: small enough to be held.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Its ACLs.
    pub(crate) acls: Acls,
    /// Sessions with their timeouts in ms, by id.
    pub(crate) sessions: Vec<(SessionId, i32)>,
}

impl Acls {
    /// The entries; `None` of one that is not there, as it happens in ZooKeeper's snapshots.
    pub(crate) fn get(&self, key: i64) -> Option<&[Acl]> {
        self.0.get(&key).map(Vec::as_slice)
    }
}

impl Place {
    /// What a path names: a file, or of a directory its base: the image that the control file names, else the newest image, else the newest
    /// snapshot of ZooKeeper's in it or in its `version-2`.
    pub(crate) fn base_of(path: &Path) -> Result<Place, Failure> {
        let named = if path.is_dir() { Control::load(path)?.and_then(|control| control.image) } else { None };
        if let Some(image) = named {
            return Ok(Place::Image { dir: path.to_owned(), image });
        }
        Place::all_in(path)?.into_iter().next().ok_or_else(|| Failure::NoSnapshot(path.to_owned()))
    }

    /// All that a path names: a file, or everything in a directory: images, and snapshots of ZooKeeper's in it or in its `version-2`; each
    /// kind newest first.
    pub(crate) fn all_in(path: &Path) -> Result<Vec<Place>, Failure> {
        let metadata = path.metadata().map_err(Failure::io("open", path))?;
        if !metadata.is_dir() {
            return Ok(vec![Place::of_file(path)?]);
        }
        let images = DataDir::new(path).images()?.into_iter();
        let mut places: Vec<Place> =
            images.map(|image| Place::Image { dir: path.to_owned(), image: ImageRef::at(image.zxid) }).collect();
        for files in [Version2::directory(path), Version2::new(path, path)] {
            places.extend(files.snapshots()?.into_iter().map(Place::ZooKeeper));
        }
        Ok(places)
    }

    fn of_file(path: &Path) -> Result<Place, Failure> {
        if let Some(file) = SnapshotFile::at(path) {
            return Ok(Place::ZooKeeper(file));
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default();
        let images = DataDir::new(dir).images()?;
        let found = images.into_iter().find(|image| image.path.file_name() == Some(name));
        let image = found.ok_or_else(|| Failure::NoSnapshot(path.to_owned()))?;
        Ok(Place::Image { dir: dir.to_owned(), image: ImageRef::at(image.zxid) })
    }

    /// Where it lies.
    pub(crate) fn file(&self) -> PathBuf {
        match self {
            Place::Image { dir, image } => dir.join(&image.file_name),
            Place::ZooKeeper(file) => file.path.clone(),
        }
    }

    /// The zxid in its name.
    pub(crate) fn zxid(&self) -> Zxid {
        match self {
            Place::Image { image, .. } => image.zxid,
            Place::ZooKeeper(file) => file.zxid,
        }
    }

    /// The files that it points into and that are not there: it is of use only for what points into it.
    pub(crate) fn missing_files(&self) -> Result<Vec<PathBuf>, Failure> {
        let Place::Image { dir, image } = self else { return Ok(Vec::new()) };
        let others = match references(&dir.join(&image.file_name)) {
            Err(snapshot::Error::OlderFormat { .. }) => Vec::new(),
            others => others?,
        };
        let files = others.into_iter().map(|zxid| DataDir::new(dir).image(zxid));
        Ok(files.filter(|file| !file.exists()).collect())
    }

    /// Opens it: headers, footers and tables are checked.
    pub(crate) fn open(&self) -> Result<Source, Failure> {
        let kind = match self {
            Place::Image { dir, image } => match AnyImage::open(dir, image)? {
                AnyImage::Mapped(base) => Kind::Mapped(base),
                AnyImage::Whole(image) => Kind::Whole(image),
            },
            Place::ZooKeeper(file) => {
                SnapshotReader::open(&file.path, file.compression)?;
                Kind::ZooKeeper(file.clone())
            }
        };
        Ok(Source { file: self.file(), kind })
    }
}

impl Source {
    /// Opens what a path names, see [`Place::base_of`].
    ///
    /// # Errors
    /// [`Failure::NoSnapshot`], or it cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Source, Failure> {
        let mut tries = 1;
        loop {
            let place = Place::base_of(path)?;
            match place.open() {
                // A running server has replaced it, and the former one was purged.
                Err(_) if path.is_dir() && tries < TRIES_MAX && !place.file().exists() => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// The format, with its version or how it is packed.
    pub(crate) fn format(&self) -> &'static str {
        match &self.kind {
            Kind::Mapped(_) => "image 2",
            Kind::Whole(_) => "image 1",
            Kind::ZooKeeper(file) => match file.compression {
                Compression::None => "version-2",
                Compression::Gzip => "version-2 gz",
                Compression::Snappy => "version-2 snappy",
            },
        }
    }

    /// The zxid that it stands at.
    pub(crate) fn zxid(&self) -> Zxid {
        match &self.kind {
            Kind::Mapped(base) => base.totals().zxid,
            Kind::Whole(image) => image.totals().zxid,
            Kind::ZooKeeper(file) => file.zxid,
        }
    }

    /// What an image says of itself; ZooKeeper's snapshots say nothing.
    pub(crate) fn totals(&self) -> Option<&snapshot::image::ImageTotals> {
        match &self.kind {
            Kind::Mapped(base) => Some(base.totals()),
            Kind::Whole(image) => Some(image.totals()),
            Kind::ZooKeeper(_) => None,
        }
    }

    /// The older files that it uses parts of.
    pub(crate) fn carried(&self) -> &[BaseFile] {
        match &self.kind {
            Kind::Mapped(base) => base.files().get(1..).unwrap_or_default(),
            Kind::Whole(_) | Kind::ZooKeeper(_) => &[],
        }
    }

    /// ACLs and sessions.
    ///
    /// # Errors
    /// Damage.
    pub(crate) fn tables(&self) -> Result<Tables, Failure> {
        let mut tables = Tables::default();
        let Tables { acls: Acls(acls), sessions } = &mut tables;
        match &self.kind {
            Kind::Mapped(base) => {
                acls.extend(base.acls().iter().map(|acl| (acl.id.into(), acl.entries.clone())));
                sessions.extend(base.sessions().iter().map(|session| (session.id, session.timeout_ms)));
            }
            Kind::Whole(image) => {
                for acl in image.acls() {
                    let acl = acl?;
                    acls.insert(acl.id.into(), acl.acls);
                }
                for session in image.sessions() {
                    let session = session?;
                    sessions.push((session.id, session.timeout_ms));
                }
            }
            Kind::ZooKeeper(file) => {
                acls.insert(AclNumber::OPEN.0, vec![Acl::open()]);
                let mut reader = SnapshotReader::open(&file.path, file.compression)?;
                // Both come before the znodes.
                loop {
                    match reader.next_entry()? {
                        Some(Entry::Session { id, timeout_ms }) => sessions.push((id, timeout_ms)),
                        Some(Entry::Acl { number, acl }) => drop(acls.insert(number.0, acl)),
                        Some(Entry::Node(_)) | None => break,
                    }
                }
            }
        }
        sessions.sort_unstable();
        Ok(tables)
    }

    /// Every znode, in the file's order; one after the other is in memory. Gives what followed them in a snapshot of ZooKeeper's.
    ///
    /// # Errors
    /// Damage, with the znode that it is in or after, once those before it were visited; the visitor's own errors.
    pub(crate) fn scan(&self, visit: &mut dyn FnMut(&Znode<'_>) -> Result<Go, Failure>) -> Result<Trailer, Failure> {
        let mut last = String::new();
        let mut visit = |znode: &Znode<'_>| {
            last.clear();
            last.push_str(znode.facts.path);
            visit(znode).map_err(Stop::Visitor)
        };
        let outcome = match &self.kind {
            Kind::Mapped(base) => scan_mapped(base, &mut visit),
            Kind::Whole(image) => scan_whole(image, &mut visit),
            Kind::ZooKeeper(file) => scan_zookeepers(file, &mut visit),
        };
        outcome.map_err(|stop| match stop {
            Stop::Visitor(failure) => failure,
            Stop::Reading(failure) => self.locate(failure, Some(last)),
        })
    }

    /// Adds the znode to damage: the one that it is in, where that can be told, or the one that was read last.
    pub(crate) fn locate(&self, failure: Failure, last: Option<String>) -> Failure {
        let of = match (&failure, &self.kind) {
            (Failure::Snapshot(snapshot::Error::Damaged { file, offset, .. }), Kind::Mapped(base)) => {
                base.path_at(file, *offset)
            }
            _ => None,
        };
        let after = || last.filter(|last| !last.is_empty()).map(Near::After);
        let near = of.map(|path| Near::Of(path.into())).or_else(after);
        failure.near(near)
    }

    /// How many children each znode has that has some. Reads all of it where the format does not tell; then the paths of the parents
    /// are in memory.
    ///
    /// # Errors
    /// As [`Source::scan`].
    pub(crate) fn child_counts(&self) -> Result<HashMap<Box<str>, u32>, Failure> {
        let mut counts: HashMap<Box<str>, u32> = HashMap::new();
        if matches!(self.kind, Kind::Mapped(_)) {
            return Ok(counts);
        }
        self.scan(&mut |znode| {
            if let Some((parent, _)) = path::split(znode.facts.path) {
                match counts.get_mut(parent) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(parent.into(), 1)),
                }
            }
            Ok(Go::On)
        })?;
        Ok(counts)
    }
}

/// Why a scan ended early.
enum Stop {
    Reading(Failure),
    Visitor(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::Reading(error.into())
    }
}

type Visit<'v> = dyn FnMut(&Znode<'_>) -> Result<Go, Stop> + 'v;

fn scan_mapped(base: &Base, visit: &mut Visit<'_>) -> Result<Trailer, Stop> {
    for node in base.nodes() {
        if visit(&Znode::mapped(&node?))? == Go::Stop {
            break;
        }
    }
    Ok(Trailer::default())
}

fn scan_whole(image: &Image, visit: &mut Visit<'_>) -> Result<Trailer, Stop> {
    let mut nodes = image.nodes();
    while let Some(node) = nodes.next_node()? {
        if visit(&Znode::read(node.path, node.data, node.stat, node.acl_id.into()))? == Go::Stop {
            break;
        }
    }
    Ok(Trailer::default())
}

fn scan_zookeepers(file: &SnapshotFile, visit: &mut Visit<'_>) -> Result<Trailer, Stop> {
    let mut reader = SnapshotReader::open(&file.path, file.compression)?;
    while let Some(entry) = reader.next_entry()? {
        let Entry::Node(node) = entry else { continue };
        if visit(&Znode::read(node.path, node.data, node.stat, node.acl.0))? == Go::Stop {
            break;
        }
    }
    Ok(reader.trailer().unwrap_or_default())
}

/// How often the base of a directory that keeps changing is looked for.
const TRIES_MAX: u32 = 5;
