//! Opens an image, checks it and reads its records, segment by segment.
//!
//! Owns the order of the checks: header, footer and directory when it is opened; a segment's header, checksum and rkyv
//! structure before the first record of it is given out. What it checks is in memory of its own, and it is that which it gives out: the
//! file may be read from a rotten disk with other bytes the second time, so nothing of it is read twice. It must never give out a record
//! of a segment that has not been checked, nor end early without an error. It fails with [`Error`]; `tests/flips.rs` would catch a mistake.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::slice;

use proto::Zxid;
use rkyv::util::AlignedVec;

use super::layout::{
    DIRECTORY_ENTRY_BYTES, FOOTER_BYTES, FORMAT_VERSION, Footer, SEGMENT_HEADER_BYTES, Segment, SegmentKind,
};
use super::record::{AclRecord, AclRow, CheckedRows, NodeRecord, NodeRow, Row, SessionRecord, SessionRow};
use crate::block::{BLOCK_BYTES_MAX, BlockReader, padded};
use crate::dirs::parse_image_name;
use crate::header::{HEADER_BYTES, Header, ImageTotals};
use crate::{Damage, Error, Result};

/// A published image, open for reading.
#[derive(Debug)]
pub struct Image {
    file: ImageFile,
    ensemble_id: Option<u128>,
    footer: Footer,
    segments: Vec<Segment>,
}

impl Image {
    /// Opens an image and checks its header, footer and directory. What the directory lists is checked when it is read.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NewerFormat`], [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<Image> {
        let file = ImageFile::open(path)?;
        let header = decode_header(&file)?;
        let (footer, footer_offset) = decode_footer(&file, &header)?;
        let segments = decode_directory(&file, &footer, footer_offset)?;
        Ok(Image { file, ensemble_id: header.ensemble_id, footer, segments })
    }

    /// What is in it, without counting.
    #[must_use]
    pub fn totals(&self) -> &ImageTotals {
        &self.footer.totals
    }

    /// The id of the ensemble that wrote it; `None` if it was unknown then.
    #[must_use]
    pub fn ensemble_id(&self) -> Option<u128> {
        self.ensemble_id
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.footer.file_bytes
    }

    /// Its ACLs. After an error it ends.
    pub fn acls(&self) -> impl Iterator<Item = Result<AclRecord>> + '_ {
        Rows::<AclRow>::new(self, self.footer.acl_count).into_iter()
    }

    /// Its sessions. After an error it ends.
    pub fn sessions(&self) -> impl Iterator<Item = Result<SessionRecord>> + '_ {
        Rows::<SessionRow>::new(self, self.footer.session_count).into_iter()
    }

    /// Its znodes, in the order in which they were written.
    #[must_use]
    pub fn nodes(&self) -> Nodes<'_> {
        Nodes { rows: Rows::new(self, self.footer.totals.node_count) }
    }

    /// Reads a segment, checks its every byte and gives its rows.
    fn rows<R: Row>(&self, number: usize, segment: &Segment) -> Result<CheckedRows<R>> {
        let header = self.file.read(segment.offset, SEGMENT_HEADER_BYTES as u64)?;
        let payload = self.file.read(segment.offset + header.len() as u64, padded(segment.payload_bytes))?;
        self.check(number, segment, &header, payload).map_err(|what| Error::Damaged {
            file: self.file.path.clone(),
            offset: segment.offset,
            zxid: Some(self.footer.totals.zxid),
            segment: u32::try_from(number).ok(),
            what,
        })
    }

    fn check<R: Row>(
        &self,
        number: usize,
        segment: &Segment,
        header: &[u8],
        mut payload: AlignedVec,
    ) -> std::result::Result<CheckedRows<R>, Damage> {
        // The directory has told everything that the header says, so the header can only be equal to what was written or damaged.
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        if header != segment.encode_header(self.footer.totals.zxid, number) {
            BlockReader::open(header)?;
            return Err(Damage::Field("the segment's header as the directory has it"));
        }
        let computed = crc32c::crc32c(&payload);
        if computed != segment.payload_crc {
            return Err(Damage::Checksum { found: segment.payload_crc, computed });
        }
        let bytes = usize::try_from(segment.payload_bytes).unwrap_or(payload.len()).min(payload.len());
        let is_padded = payload.get(bytes..).unwrap_or_default().iter().all(|&byte| byte == 0);
        payload.resize(bytes, 0);
        let rows = CheckedRows::open(payload).ok_or(Damage::Records)?;
        if rows.get().len() as u64 != u64::from(segment.records) || !is_padded {
            return Err(Damage::Records);
        }
        Ok(rows)
    }
}

/// Checks every byte of an image, and that it has as many records as it says; returns what is in it.
///
/// # Errors
/// As [`Image::open`].
pub fn verify(path: &Path) -> Result<ImageTotals> {
    let image = Image::open(path)?;
    image.acls().try_for_each(|acl| acl.map(drop))?;
    image.sessions().try_for_each(|session| session.map(drop))?;
    let mut nodes = image.nodes();
    while nodes.next_node()?.is_some() {}
    Ok(*image.totals())
}

/// The znodes of an image.
#[derive(Debug)]
pub struct Nodes<'a> {
    rows: Rows<'a, NodeRow>,
}

impl Nodes<'_> {
    /// The next znode; `None` after the last one. It stays where it is after an error.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the next segment is damaged, or if the image ends with another count of znodes than it names.
    pub fn next_node(&mut self) -> Result<Option<NodeRecord<'_>>> {
        self.rows.next_record()
    }
}

/// The rows of one kind.
#[derive(Debug)]
struct Rows<'a, R: Row> {
    image: &'a Image,
    /// The segments that have not been opened yet.
    segments: std::iter::Enumerate<slice::Iter<'a, Segment>>,
    /// Those of the opened segment.
    rows: CheckedRows<R>,
    /// How many of these were given out.
    given: usize,
    /// Records that have not been given out yet, by the footer.
    remaining: u64,
}

impl<'a, R: Row> Rows<'a, R> {
    fn new(image: &'a Image, count: u64) -> Rows<'a, R> {
        let segments = image.segments.iter().enumerate();
        Rows { image, segments, rows: CheckedRows::none(), given: 0, remaining: count }
    }

    fn next_record(&mut self) -> Result<Option<R::Record<'_>>> {
        if !self.open_next()? {
            return Ok(None);
        }
        self.remaining = self.remaining.checked_sub(1).ok_or_else(|| self.miscounted())?;
        self.given += 1;
        Ok(self.rows.get().get(self.given - 1).map(R::record))
    }

    /// Opens segments until there is a row to be given out; false after the last one.
    fn open_next(&mut self) -> Result<bool> {
        while self.given == self.rows.get().len() {
            // A damaged segment is not skipped: it is met again at the next call.
            let mut segments = self.segments.clone();
            let Some((number, segment)) = segments.find(|(_, segment)| segment.kind == R::KIND) else {
                return if self.remaining == 0 { Ok(false) } else { Err(self.miscounted()) };
            };
            // Two of them need not be in memory.
            (self.rows, self.given) = (CheckedRows::none(), 0);
            self.rows = self.image.rows(number, segment)?;
            self.segments = segments;
        }
        Ok(true)
    }

    /// All of them up to the first error.
    fn into_iter<T>(mut self) -> impl Iterator<Item = Result<T>>
    where
        R: for<'r> Row<Record<'r> = T>,
    {
        let mut failed = false;
        std::iter::from_fn(move || {
            if failed {
                return None;
            }
            let record = self.next_record().transpose();
            failed = matches!(record, Some(Err(_)));
            record
        })
    }

    fn miscounted(&self) -> Error {
        let footer = self.image.footer;
        let what = match R::KIND {
            SegmentKind::Acls => "the count of ACLs",
            SegmentKind::Sessions => "the count of sessions",
            SegmentKind::Nodes => "the count of znodes",
        };
        let offset = footer.file_bytes - FOOTER_BYTES as u64;
        Error::damaged(&self.image.file.path, offset, Some(footer.totals.zxid), Damage::Field(what))
    }
}

/// The file of an image.
#[derive(Debug)]
struct ImageFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl ImageFile {
    fn open(path: &Path) -> Result<ImageFile> {
        let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
        let bytes = file.metadata().map_err(|source| Error::io("read", path, source))?.len();
        Ok(ImageFile { path: path.to_path_buf(), file, bytes })
    }

    /// Reads a part into memory of its own, at an address that any archive may have. The caller knows that it lies within the file.
    fn read(&self, offset: u64, bytes: u64) -> Result<AlignedVec> {
        let mut part = AlignedVec::new();
        part.resize(usize::try_from(bytes).unwrap_or(usize::MAX), 0);
        self.file.read_exact_at(&mut part, offset).map_err(|source| Error::io("read", &self.path, source))?;
        Ok(part)
    }
}

fn decode_header(file: &ImageFile) -> Result<Header> {
    let path = &file.path;
    let damaged = |what| Error::damaged(path, 0, None, what);
    // A newer version's may be as long as this.
    let block = file.read(0, file.bytes.min(BLOCK_BYTES_MAX as u64))?;
    let (version, header) = Header::decode(&block, FORMAT_VERSION).map_err(damaged)?;
    let newer = Error::NewerFormat { file: path.clone(), found: version, supported: FORMAT_VERSION };
    let header = header.ok_or(newer)?;
    let named = path.file_name().and_then(|name| name.to_str()).and_then(parse_image_name);
    if named.is_some_and(|zxid| zxid != header.zxid) {
        return Err(Error::damaged(path, 0, Some(header.zxid), Damage::Field("the zxid in the file's name")));
    }
    Ok(header)
}

/// The footer and where it begins.
fn decode_footer(file: &ImageFile, header: &Header) -> Result<(Footer, u64)> {
    let damaged = |offset, what| Error::damaged(&file.path, offset, Some(header.zxid), what);
    let found = file.bytes;
    let Some(offset) = found.checked_sub(FOOTER_BYTES as u64).filter(|&offset| offset >= HEADER_BYTES as u64) else {
        return Err(damaged(0, Damage::Length { found, expected: (HEADER_BYTES + FOOTER_BYTES) as u64 }));
    };
    let footer = Footer::decode(&file.read(offset, FOOTER_BYTES as u64)?).map_err(|what| damaged(offset, what))?;
    if footer.file_bytes != found {
        return Err(damaged(offset, Damage::Length { found, expected: footer.file_bytes }));
    }
    if footer.totals.zxid != header.zxid {
        return Err(damaged(offset, Damage::Field("the footer's zxid")));
    }
    Ok((footer, offset))
}

/// The segments; with header, directory and footer they fill the file without a gap.
fn decode_directory(file: &ImageFile, footer: &Footer, footer_offset: u64) -> Result<Vec<Segment>> {
    let offset = footer.directory_offset;
    let damaged = |what| Error::damaged(&file.path, offset, Some(footer.totals.zxid), what);
    let entries_bytes = u64::from(footer.segments) * DIRECTORY_ENTRY_BYTES as u64;
    let reaches_footer = offset.checked_add(footer.directory_bytes) == Some(footer_offset);
    if !reaches_footer || footer.directory_bytes != padded(entries_bytes) {
        return Err(damaged(Damage::Field("the directory's place and length")));
    }
    let directory = file.read(offset, footer.directory_bytes)?;
    let computed = crc32c::crc32c(&directory);
    if computed != footer.directory_crc {
        return Err(damaged(Damage::Checksum { found: footer.directory_crc, computed }));
    }
    let (entries, padding) = directory.split_at(usize::try_from(entries_bytes).unwrap_or(directory.len()));
    if padding.iter().any(|&byte| byte != 0) {
        return Err(damaged(Damage::Field("the directory's padding")));
    }
    let (entries, _no_rest) = entries.as_chunks::<DIRECTORY_ENTRY_BYTES>();
    let segments = entries.iter().map(Segment::decode_entry).collect::<std::result::Result<Vec<_>, _>>();
    let segments = segments.map_err(damaged)?;
    let contiguous = segments.iter().try_fold(HEADER_BYTES as u64, |end, segment| {
        if segment.offset == end { end.checked_add(segment.frame_bytes()) } else { None }
    });
    if contiguous != Some(offset) {
        return Err(damaged(Damage::Field("the order of the segments")));
    }
    Ok(segments)
}

/// The image at a zxid: what a caller may want to say of it in one line.
impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Footer { totals, file_bytes, .. } = &self.footer;
        let Zxid(zxid) = totals.zxid;
        write!(f, "{} at 0x{zxid:x}: {} znodes, {file_bytes} bytes", self.file.path.display(), totals.node_count)
    }
}
