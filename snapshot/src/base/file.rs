//! A mapped image file, and the checks by which one file knows another.
//!
//! Owns the mapping, its registration with [`crate::fault`], and header and footer. It must never give out bytes of a file that
//! is another one than was meant. It fails with [`Error`]; `tests/base_flips.rs` would catch a mistake.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap, UncheckedAdvice};
use proto::Zxid;

use super::copied::append;
use super::layout::{FOOTER_BYTES, FORMAT_VERSION, Footer};
use super::resident;
use crate::block::{BLOCK_BYTES_AT, BLOCK_BYTES_MAX, bytes_at, padded};
use crate::dirs::parse_image_name;
use crate::header::{HEADER_BYTES, Header};
use crate::{Damage, Error, Result, fault};

/// An image file of version 2, mapped read-only; its header and footer hold.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    file: File,
    /// Before the mapping, so that it is dropped first: the range is taken out of the table while it is still ours.
    _range: fault::MappedRange,
    map: Mmap,
    header: Header,
    footer: Footer,
    identity: FileIdentity,
}

/// What tells a file from every other: the sum in its footer covers the directory's sum, and that one those of all segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    pub(crate) zxid: Zxid,
    pub(crate) file_bytes: u64,
    pub(crate) header_crc: u32,
    pub(crate) footer_crc: u32,
}

impl MappedFile {
    /// Maps a file and checks its header and footer.
    pub(crate) fn open(path: &Path) -> Result<MappedFile> {
        let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
        resident::read_little_ahead(&file);
        let map = map(&file).map_err(|source| Error::io("map", path, source))?;
        let range = fault::MappedRange::register(&map, path);
        let (header, header_crc) = decode_header(path, &map)?;
        let (footer, footer_crc) = decode_footer(path, &map, &header)?;
        let identity = FileIdentity { zxid: header.zxid, file_bytes: footer.file_bytes, header_crc, footer_crc };
        Ok(MappedFile { path: path.to_path_buf(), file, map, header, footer, identity, _range: range })
    }

    /// That this is the file that another one refers to.
    pub(crate) fn check_identity(&self, meant: &FileIdentity) -> Result<()> {
        if self.identity == *meant {
            Ok(())
        } else {
            let what = Damage::Field("that it is the file that a newer image refers to");
            Err(Error::damaged(&self.path, self.footer_offset(), Some(self.header.zxid), what))
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn map(&self) -> &[u8] {
        &self.map
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    pub(crate) fn identity(&self) -> &FileIdentity {
        &self.identity
    }

    pub(crate) fn footer_offset(&self) -> u64 {
        self.footer.file_bytes - FOOTER_BYTES as u64
    }

    /// A range will be read soon, all of it: the disk is asked for it at once, and not page by page. Best effort.
    pub(crate) fn will_need(&self, offset: u64, bytes: u64) {
        if let (Ok(offset), Ok(bytes)) = (usize::try_from(offset), usize::try_from(bytes)) {
            let _page_by_page = self.map.advise_range(Advice::WillNeed, offset, bytes);
        }
    }

    /// The file itself, for what must not fault.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Reads beside the mapping: a read error is an error, and not a fault.
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(|source| Error::io("read", &self.path, source))
    }
}

impl Drop for MappedFile {
    #[expect(unsafe_code, reason = "advice that takes pages away")]
    fn drop(&mut self) {
        // Piece by piece: who unmaps a large file at once holds up everybody who needs the lock of the process's mappings.
        for offset in (0..self.map.len()).step_by(UNMAP_BYTES) {
            let bytes = UNMAP_BYTES.min(self.map.len() - offset);
            // SAFETY: the pages of a shared mapping of a file come back as they are when they are touched, which nobody does any more.
            let _stays = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, bytes) };
        }
    }
}

/// Unmapped at a time.
const UNMAP_BYTES: usize = 4 << 20;

/// The format version of an image file: 1 is read by [`crate::Image`], 2 by [`super::Base`].
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`], [`Error::NewerFormat`].
pub fn format_version(path: &Path) -> Result<u32> {
    let mut bytes = [0; HEADER_BYTES];
    let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
    let found = file.metadata().map_err(|source| Error::io("read", path, source))?.len();
    if found < HEADER_BYTES as u64 {
        return Err(Error::damaged(path, 0, None, Damage::Length { found, expected: HEADER_BYTES as u64 }));
    }
    file.read_exact_at(&mut bytes, 0).map_err(|source| Error::io("read", path, source))?;
    let (version, _header) =
        Header::decode(&bytes, FORMAT_VERSION).map_err(|what| Error::damaged(path, 0, None, what))?;
    if version > FORMAT_VERSION { Err(newer(path, version)) } else { Ok(version) }
}

#[expect(unsafe_code, reason = "mapping a file is unsafe, and this is where it is done")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the bytes must not change while they are mapped. A published image is never written again, by the rule of this
    // crate: the writer works on a temporary file and renames it, purging unlinks a file, which keeps its mapped pages. The data
    // directory belongs to this server alone (it holds a lock there); who writes into it otherwise breaks this contract.
    let map = unsafe { Mmap::map(file) }?;
    // Or each fault would read megabytes around it, which push out what others need. Where that is refused, it does.
    let _reads_around = map.advise(Advice::Random);
    Ok(map)
}

/// The header and its checksum.
fn decode_header(path: &Path, map: &[u8]) -> Result<(Header, u32)> {
    let damaged = |zxid, what| Error::damaged(path, 0, zxid, what);
    let block = first_block(map);
    // Where the header cannot tell, the name does.
    let named = path.file_name().and_then(|name| name.to_str()).and_then(parse_image_name);
    let (version, header) = Header::decode(&block, FORMAT_VERSION).map_err(|what| damaged(named, what))?;
    let header = match header {
        Some(header) => header,
        None if version < FORMAT_VERSION => {
            return Err(Error::OlderFormat { file: path.to_path_buf(), found: version });
        }
        None => return Err(newer(path, version)),
    };
    if named.is_some_and(|zxid| zxid != header.zxid) {
        return Err(damaged(Some(header.zxid), Damage::Field("the zxid in the file's name")));
    }
    Ok((header, last_word(&block)))
}

/// A copy of the block at the start, as long as it says that it is.
fn first_block(map: &[u8]) -> Vec<u8> {
    let says = map.get(BLOCK_BYTES_AT..).and_then(<[u8]>::first_chunk).map_or(0, |len| u32::from_le_bytes(*len));
    let len = (says as usize).clamp(HEADER_BYTES, BLOCK_BYTES_MAX).min(map.len());
    let mut block = Vec::with_capacity(len);
    append(&mut block, map.get(..len).unwrap_or_default());
    block
}

fn newer(path: &Path, found: u32) -> Error {
    Error::NewerFormat { file: path.to_path_buf(), found, supported: FORMAT_VERSION }
}

/// The footer and its checksum.
fn decode_footer(path: &Path, map: &[u8], header: &Header) -> Result<(Footer, u32)> {
    let damaged = |offset, what| Error::damaged(path, offset, Some(header.zxid), what);
    let found = map.len() as u64;
    let Some(offset) = found.checked_sub(FOOTER_BYTES as u64).filter(|&offset| offset >= HEADER_BYTES as u64) else {
        return Err(damaged(0, Damage::Length { found, expected: (HEADER_BYTES + FOOTER_BYTES) as u64 }));
    };
    let bytes = bytes_at(map, offset, FOOTER_BYTES as u64).map_err(|what| damaged(offset, what))?;
    let mut block = Vec::with_capacity(FOOTER_BYTES);
    append(&mut block, bytes);
    let footer = Footer::decode(&block).map_err(|what| damaged(offset, what))?;
    if footer.file_bytes != found {
        return Err(damaged(offset, Damage::Length { found, expected: footer.file_bytes }));
    }
    if footer.totals.zxid != header.zxid {
        return Err(damaged(offset, Damage::Field("the footer's zxid")));
    }
    // The parts follow each other up to the footer.
    let [first, ..] = &footer.parts;
    let contiguous = footer.parts.iter().try_fold(first.offset, |end, part| {
        if part.offset == end { end.checked_add(padded(part.bytes)) } else { None }
    });
    if contiguous != Some(offset) || first.offset < HEADER_BYTES as u64 {
        return Err(damaged(offset, Damage::Field("the places of the parts")));
    }
    Ok((footer, last_word(&block)))
}

fn last_word(bytes: &[u8]) -> u32 {
    bytes.last_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}
