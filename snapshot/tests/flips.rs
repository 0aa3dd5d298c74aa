//! No damaged image of format version 1 passes: every byte, every length, forged checksums, newer formats.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use common::{Contents, ZXID, fixture, read};
use ringkeeper_snapshot::image::Image;
use ringkeeper_snapshot::{Damage, DataDir, Error, verify};

const FOOTER_BYTES: usize = 192;
/// A segment's kind.
const NODES: u8 = 3;

/// The committed image under its name in this directory, its bytes, and what is in it.
fn image(dir: &Path) -> (PathBuf, Vec<u8>, Contents) {
    let path = DataDir::new(dir).image(ZXID);
    let bytes = fs::read(fixture("image-v1.bin")).unwrap();
    fs::write(&path, &bytes).unwrap();
    (path, bytes, Contents::committed())
}

/// Reads until the first error and insists that what came before it is right. `None`: no error.
fn first_error(path: &Path, contents: &Contents) -> Option<Error> {
    let image = match Image::open(path) {
        Ok(image) => image,
        Err(error) => return Some(error),
    };
    for (acl, expected) in image.acls().zip(contents.acls.iter().map(Some).chain([None])) {
        match acl {
            Ok(acl) => assert_eq!(Some(&acl), expected),
            Err(error) => return Some(error),
        }
    }
    for (session, expected) in image.sessions().zip(contents.sessions.iter().map(Some).chain([None])) {
        match session {
            Ok(session) => assert_eq!(Some(&session), expected),
            Err(error) => return Some(error),
        }
    }
    let (mut nodes, mut expected) = (image.nodes(), contents.nodes.iter());
    loop {
        match nodes.next_node() {
            Ok(None) => return None,
            Ok(Some(node)) => assert_eq!(Some(node), expected.next().map(common::Node::record)),
            Err(error) => {
                assert!(nodes.next_node().is_err(), "damage is not skipped");
                return Some(error);
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_found_and_no_wrong_record_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, contents) = image(dir.path());
    assert!(first_error(&path, &contents).is_none());
    const THREADS: usize = 2;
    thread::scope(|scope| {
        for first in 0..THREADS {
            let path = dir.path().join(format!("copy-{first}"));
            fs::write(&path, &bytes).unwrap();
            let (bytes, contents) = (&bytes, &contents);
            scope.spawn(move || {
                let file = File::options().write(true).open(&path).unwrap();
                for (offset, byte) in bytes.iter().enumerate().skip(first).step_by(THREADS) {
                    let flipped = byte ^ (1 << (offset / THREADS % 8));
                    file.write_all_at(&[flipped], offset as u64).unwrap();
                    assert!(first_error(&path, contents).is_some(), "reading passed the flip at {offset}");
                    // It walks the same way as the reading above: a part of the flips is enough to see that.
                    assert!(offset % 8 != 0 || verify(&path).is_err(), "verify passed the flip at {offset}");
                    file.write_all_at(&[*byte], offset as u64).unwrap();
                }
                assert!(verify(&path).is_ok());
            });
        }
    });
}

/// A disk that returns other bytes the second time: each segment changes as soon as its first record was read.
#[test]
fn records_are_those_that_were_checked_whatever_becomes_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, contents) = image(dir.path());
    let mut other = bytes.clone();
    // Words alone: pointers into nowhere would tell on themselves.
    for at in 0..bytes.len() {
        if bytes[at..].starts_with(b"sample") || bytes[at..].starts_with(b"data of") {
            other[at] = b'?';
        }
    }
    assert!(other != bytes);
    let mut firsts = vec![0];
    for segment in segments(&bytes).into_iter().filter(|segment| bytes[segment.header + 4] == NODES) {
        let records = u32::from_le_bytes(bytes[segment.header + 12..segment.header + 16].try_into().unwrap());
        firsts.push(firsts.last().unwrap() + records as usize);
    }
    assert!(firsts.len() > 3 && firsts.last() == Some(&contents.nodes.len()), "{firsts:?}");
    let file = File::options().write(true).open(&path).unwrap();
    let image = Image::open(&path).unwrap();
    let mut nodes = image.nodes();
    for (number, expected) in contents.nodes.iter().enumerate() {
        let is_first = firsts.contains(&number);
        file.write_all_at(if is_first { &bytes } else { &other }, 0).unwrap();
        assert_eq!(nodes.next_node().unwrap(), Some(expected.record()), "znode {number}");
    }
}

#[test]
fn the_error_names_file_offset_zxid_and_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut bytes, _) = image(dir.path());
    let segment = segments(&bytes).into_iter().nth(3).unwrap();
    bytes[segment.payload.start + 5] ^= 0x40;
    fs::write(&path, &bytes).unwrap();
    let error = verify(&path).unwrap_err();
    let Error::Damaged { offset, zxid, segment: number, .. } = &error else { panic!("{error}") };
    assert_eq!((*offset, *zxid, *number), (segment.header as u64, Some(ZXID), Some(3)));
    let text = error.to_string();
    for part in [path.to_str().unwrap(), "0x200000003", "segment 3", "restore it"] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn every_shorter_or_longer_file_is_refused_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, _) = image(dir.path());
    let file = File::options().write(true).open(&path).unwrap();
    for len in (0..bytes.len()).rev() {
        file.set_len(len as u64).unwrap();
        assert!(matches!(Image::open(&path), Err(Error::Damaged { .. })), "{len} of {} bytes passed", bytes.len());
    }
    for extra in [1, 63, 64, 192, 4096] {
        fs::write(&path, [&bytes[..], &vec![0; extra]].concat()).unwrap();
        assert!(matches!(Image::open(&path), Err(Error::Damaged { .. })), "{extra} extra bytes passed");
    }
}

#[test]
fn a_newer_format_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut bytes, _) = image(dir.path());
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    seal(&mut bytes, 0..128);
    fs::write(&path, &bytes).unwrap();
    let error = Image::open(&path).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, supported: 1, .. }), "{error}");
    assert!(error.to_string().contains("start the newer version"), "{error}");
}

#[test]
fn an_image_under_the_name_of_another_zxid_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, ..) = image(dir.path());
    let other = dir.path().join("image.0000000200000004");
    fs::rename(path, &other).unwrap();
    assert!(matches!(
        Image::open(&other),
        Err(Error::Damaged { what: Damage::Field("the zxid in the file's name"), .. })
    ));
}

#[test]
fn a_segment_that_belongs_elsewhere_is_found_although_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, contents) = image(dir.path());
    for part in segments(&bytes) {
        // Kind, number and zxid, as a segment from another place or another image has them.
        for field in [4, 8, 16] {
            let mut other = bytes.clone();
            other[part.header + field] ^= 1;
            seal(&mut other, part.header..part.header + 64);
            fs::write(&path, &other).unwrap();
            let error = first_error(&path, &contents).expect("it is another segment");
            let Error::Damaged { what: Damage::Field(what), .. } = error else { panic!("{error}") };
            assert_eq!(what, "the segment's header as the directory has it");
        }
    }
}

/// The checksums hold: only rkyv's check of the structure stands between such bytes and the process. Whatever it lets through
/// is read to the end.
#[test]
fn forged_payloads_are_refused_or_read_but_never_break_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, _) = image(dir.path());
    let parts = segments(&bytes);
    let (mut refused, mut seed) = (0, 0x2545_f491_4f6c_dd1d_u64);
    for round in 0..3_000 {
        // xorshift: the same bytes in every run.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let part = &parts[round % parts.len()];
        // The fixed parts of the rows, with their pointers and lengths, stand at the end of an archive.
        let tail = part.payload.len().min(600);
        let at = part.payload.end - 1 - usize::try_from(seed >> 8).unwrap() % tail;
        let mut forged = bytes.clone();
        forged[at] = seed.to_le_bytes()[0];
        reseal(&mut forged, round % parts.len(), part);
        fs::write(&path, &forged).unwrap();
        match read(&path) {
            Ok(_) => {}
            Err(Error::Damaged { what: Damage::Records, .. }) => refused += 1,
            Err(error) => panic!("the checksums hold, so only the records can be wrong: {error}"),
        }
    }
    assert!(refused > 300, "{refused} forgeries were refused: the forging does not bite");
}

#[test]
fn a_count_that_the_segments_do_not_have_is_an_error_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes, contents) = image(dir.path());
    let footer = bytes.len() - FOOTER_BYTES;
    for (field, what) in [(56, "the count of znodes"), (96, "the count of ACLs"), (104, "the count of sessions")] {
        for change in [-1, 1] {
            let mut forged = bytes.clone();
            let field = footer + field..footer + field + 8;
            let count = u64::from_le_bytes(forged[field.clone()].try_into().unwrap());
            forged[field].copy_from_slice(&count.checked_add_signed(change).unwrap().to_le_bytes());
            seal(&mut forged, footer..bytes.len());
            fs::write(&path, &forged).unwrap();
            let error = first_error(&path, &contents).expect("a wrong count");
            assert!(matches!(error, Error::Damaged { what: Damage::Field(found), .. } if found == what), "{error}");
            assert!(verify(&path).is_err());
        }
    }
}

/// Where a segment lies.
#[derive(Debug, Clone)]
struct Part {
    header: usize,
    payload: std::ops::Range<usize>,
}

/// The segments, by the format as it is documented.
fn segments(bytes: &[u8]) -> Vec<Part> {
    let long = |at: usize| usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let mut parts = Vec::new();
    let mut header = 128;
    while &bytes[header..header + 4] == b"RKSG" {
        let start = header + 64;
        let payload = start..start + long(header + 24);
        let end = payload.end.next_multiple_of(64);
        parts.push(Part { header, payload });
        header = end;
    }
    parts
}

/// Writes the checksum of a block into its last four bytes.
fn seal(bytes: &mut [u8], block: std::ops::Range<usize>) {
    let body = block.start..block.end - 4;
    let crc = crc32c::crc32c(&bytes[body.clone()]);
    bytes[body.end..block.end].copy_from_slice(&crc.to_le_bytes());
}

/// Makes every checksum above a changed payload hold again.
fn reseal(bytes: &mut [u8], number: usize, part: &Part) {
    let crc = crc32c::crc32c(&bytes[part.payload.start..part.payload.end.next_multiple_of(64)]).to_le_bytes();
    bytes[part.header + 32..part.header + 36].copy_from_slice(&crc);
    seal(bytes, part.header..part.header + 64);
    let footer = bytes.len() - FOOTER_BYTES;
    let field = |at: usize| usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let (directory, directory_bytes) = (field(footer + 32), field(footer + 40));
    let entry = directory + number * 32;
    bytes[entry + 16..entry + 20].copy_from_slice(&crc);
    let directory_crc = crc32c::crc32c(&bytes[directory..directory + directory_bytes]).to_le_bytes();
    bytes[footer + 48..footer + 52].copy_from_slice(&directory_crc);
    seal(bytes, footer..footer + FOOTER_BYTES);
}
