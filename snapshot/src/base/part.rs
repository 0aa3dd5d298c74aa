//! The parts of an image file after its segments: the directory, and the small tables that are read whole.
//!
//! Owns the check of a part. It must never give out one but as a copy whose checksum has held. It fails with [`Error::Damaged`] at the part's place;
//! `tests/base_flips.rs` would catch a mistake.

use std::path::Path;
use std::sync::Arc;

use proto::Zxid;
use rkyv::util::AlignedVec;

use super::copied::aligned;
use super::directory::{self, RunSegments};
use super::file::{FileIdentity, MappedFile};
use super::layout::{Part, PartPlace};
use super::tables;
use crate::block::{bytes_at, padded};
use crate::{Damage, Error, Result};

/// The zxids of the other files that the image in this file refers to.
///
/// # Errors
/// As [`super::Base::open`].
pub fn references(path: &Path) -> Result<Vec<Zxid>> {
    let file = MappedFile::open(path)?;
    Ok(referenced(&file)?.iter().map(|file| file.zxid).collect())
}

/// Which other files the image in this one refers to.
pub(crate) fn referenced(own: &MappedFile) -> Result<Vec<FileIdentity>> {
    let others = table(own, Part::Files, tables::decode_files)?;
    if others.iter().any(|other| other.zxid >= own.header().zxid) {
        return Err(damaged_part(own, Part::Files, Damage::Field("that an image refers to older files only")));
    }
    Ok(others)
}

/// The segments of all runs; `mapped` has this file and those that it refers to.
pub(crate) fn open_directory(own: &MappedFile, mapped: &[Arc<MappedFile>]) -> Result<[RunSegments; 4]> {
    let (bytes, ties) = (part(own, Part::Directory)?, part(own, Part::Ties)?);
    let files: Vec<&MappedFile> = mapped.iter().map(AsRef::as_ref).collect();
    let decoded = directory::decode(&bytes, &ties, own.footer(), &files);
    decoded.map_err(|what| damaged_part(own, Part::Directory, what))
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

/// A part, decoded.
pub(crate) fn table<T>(
    file: &MappedFile,
    of: Part,
    decode: impl Fn(&[u8]) -> std::result::Result<T, Damage>,
) -> Result<T> {
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
