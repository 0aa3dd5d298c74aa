//! Maps an image, checks it and reads its records in place.
//!
//! Owns the order of the checks: header, footer and directory when it is opened; a segment's header, checksum and rkyv
//! structure before the first record of it is given out. It must never give out a record of a segment that has not been
//! checked, nor end early without an error. It fails with [`Error`]; `tests/flips.rs` would catch a mistake.
//!
//! A read error of the disk under a mapped page ends the process with SIGBUS, which is better than wrong data.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::slice;

use memmap2::Mmap;
use proto::Zxid;

use super::layout::{
    DIRECTORY_ENTRY_BYTES, FOOTER_BYTES, FORMAT_VERSION, Footer, SEGMENT_HEADER_BYTES, Segment, SegmentKind,
};
use super::record::{AclRecord, AclRow, NodeRecord, NodeRow, Row, SessionRecord, SessionRow, access};
use crate::block::{BlockReader, bytes_at, padded};
use crate::dirs::parse_image_name;
use crate::header::{HEADER_BYTES, Header, ImageTotals};
use crate::{Damage, Error, Result};

/// A published image, mapped read-only.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    map: Mmap,
    ensemble_id: Option<u128>,
    footer: Footer,
    segments: Vec<Segment>,
}

impl Image {
    /// Maps an image and checks its header, footer and directory. What the directory lists is checked when it is read.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NewerFormat`], [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<Image> {
        let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
        let map = map(&file).map_err(|source| Error::io("map", path, source))?;
        let header = decode_header(path, &map)?;
        let (footer, footer_offset) = decode_footer(path, &map, &header)?;
        let segments = decode_directory(path, &map, &footer, footer_offset)?;
        Ok(Image { path: path.to_path_buf(), map, ensemble_id: header.ensemble_id, footer, segments })
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

    /// Checks a segment's every byte and gives its rows.
    fn rows<R: Row>(&self, number: usize, segment: &Segment) -> Result<&[R::Archived]> {
        self.check::<R>(number, segment).map_err(|what| Error::Damaged {
            file: self.path.clone(),
            offset: segment.offset,
            zxid: Some(self.footer.totals.zxid),
            segment: u32::try_from(number).ok(),
            what,
        })
    }

    fn check<R: Row>(&self, number: usize, segment: &Segment) -> std::result::Result<&[R::Archived], Damage> {
        let frame = bytes_at(&self.map, segment.offset, segment.frame_bytes())?;
        let (header, padded_payload) =
            frame.split_at_checked(SEGMENT_HEADER_BYTES).ok_or(Damage::Field("the segment's length"))?;
        // The directory has told everything that the header says, so the header can only be equal to what was written or damaged.
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        if header != segment.encode_header(self.footer.totals.zxid, number) {
            BlockReader::open(header)?;
            return Err(Damage::Field("the segment's header as the directory has it"));
        }
        let computed = crc32c::crc32c(padded_payload);
        if computed != segment.payload_crc {
            return Err(Damage::Checksum { found: segment.payload_crc, computed });
        }
        let payload = bytes_at(padded_payload, 0, segment.payload_bytes)?;
        let padding = padded_payload.get(payload.len()..).unwrap_or_default();
        let rows = access::<R>(payload).ok_or(Damage::Records)?;
        if rows.len() as u64 != u64::from(segment.records) || padding.iter().any(|&byte| byte != 0) {
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

impl<'a> Nodes<'a> {
    /// The next znode, in place; `None` after the last one. It stays where it is after an error.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the next segment is damaged, or if the image ends with another count of znodes than it names.
    pub fn next_node(&mut self) -> Result<Option<NodeRecord<'a>>> {
        self.rows.next_record()
    }
}

/// The rows of one kind.
#[derive(Debug)]
struct Rows<'a, R: Row> {
    image: &'a Image,
    /// The segments that have not been opened yet.
    segments: std::iter::Enumerate<slice::Iter<'a, Segment>>,
    rows: slice::Iter<'a, R::Archived>,
    /// Records that have not been given out yet, by the footer.
    remaining: u64,
}

impl<'a, R: Row> Rows<'a, R> {
    fn new(image: &'a Image, count: u64) -> Rows<'a, R> {
        Rows { image, segments: image.segments.iter().enumerate(), rows: [].iter(), remaining: count }
    }

    fn next_record(&mut self) -> Result<Option<R::Record<'a>>> {
        loop {
            if let Some((row, rows)) = self.rows.as_slice().split_first() {
                self.remaining = self.remaining.checked_sub(1).ok_or_else(|| self.miscounted())?;
                self.rows = rows.iter();
                return Ok(Some(R::record(row)));
            }
            // A damaged segment is not skipped: it is met again at the next call.
            let mut segments = self.segments.clone();
            let Some((number, segment)) = segments.find(|(_, segment)| segment.kind == R::KIND) else {
                return if self.remaining == 0 { Ok(None) } else { Err(self.miscounted()) };
            };
            self.rows = self.image.rows::<R>(number, segment)?.iter();
            self.segments = segments;
        }
    }

    /// All of them up to the first error.
    fn into_iter(mut self) -> impl Iterator<Item = Result<R::Record<'a>>> {
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
        Error::damaged(&self.image.path, offset, Some(footer.totals.zxid), Damage::Field(what))
    }
}

#[expect(unsafe_code, reason = "mapping a file is unsafe, and this is where it is done")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the bytes must not change while they are mapped. A published image is never written again, by the rule of this
    // crate: the writer works on a temporary file and renames it, purging unlinks a file, which keeps its mapped pages. The data
    // directory belongs to this server alone (it holds a lock there); who writes into it otherwise breaks this contract.
    unsafe { Mmap::map(file) }
}

fn decode_header(path: &Path, map: &[u8]) -> Result<Header> {
    let damaged = |what| Error::damaged(path, 0, None, what);
    let (version, header) = Header::decode(map, FORMAT_VERSION).map_err(damaged)?;
    let newer = Error::NewerFormat { file: path.to_path_buf(), found: version, supported: FORMAT_VERSION };
    let header = header.ok_or(newer)?;
    let named = path.file_name().and_then(|name| name.to_str()).and_then(parse_image_name);
    if named.is_some_and(|zxid| zxid != header.zxid) {
        return Err(Error::damaged(path, 0, Some(header.zxid), Damage::Field("the zxid in the file's name")));
    }
    Ok(header)
}

/// The footer and where it begins.
fn decode_footer(path: &Path, map: &[u8], header: &Header) -> Result<(Footer, u64)> {
    let damaged = |offset, what| Error::damaged(path, offset, Some(header.zxid), what);
    let found = map.len() as u64;
    let Some(offset) = map.len().checked_sub(FOOTER_BYTES).filter(|&offset| offset >= HEADER_BYTES) else {
        return Err(damaged(0, Damage::Length { found, expected: (HEADER_BYTES + FOOTER_BYTES) as u64 }));
    };
    let (bytes, offset) = (map.get(offset..).unwrap_or_default(), offset as u64);
    let footer = Footer::decode(bytes).map_err(|what| damaged(offset, what))?;
    if footer.file_bytes != found {
        return Err(damaged(offset, Damage::Length { found, expected: footer.file_bytes }));
    }
    if footer.totals.zxid != header.zxid {
        return Err(damaged(offset, Damage::Field("the footer's zxid")));
    }
    Ok((footer, offset))
}

/// The segments; with header, directory and footer they fill the file without a gap.
fn decode_directory(path: &Path, map: &[u8], footer: &Footer, footer_offset: u64) -> Result<Vec<Segment>> {
    let offset = footer.directory_offset;
    let damaged = |what| Error::damaged(path, offset, Some(footer.totals.zxid), what);
    let entries_bytes = u64::from(footer.segments) * DIRECTORY_ENTRY_BYTES as u64;
    let reaches_footer = offset.checked_add(footer.directory_bytes) == Some(footer_offset);
    if !reaches_footer || footer.directory_bytes != padded(entries_bytes) {
        return Err(damaged(Damage::Field("the directory's place and length")));
    }
    let directory = bytes_at(map, offset, footer.directory_bytes).map_err(damaged)?;
    let computed = crc32c::crc32c(directory);
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
        write!(f, "{} at 0x{zxid:x}: {} znodes, {file_bytes} bytes", self.path.display(), totals.node_count)
    }
}
