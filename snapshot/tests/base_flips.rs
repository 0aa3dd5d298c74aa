//! No damaged image of version 2 gives a wrong answer: every byte of it and of the older file it points into, every length, forged
//! checksums, another file under the right name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "common/base_bytes.rs"]
mod base_bytes;
#[path = "common/base_model.rs"]
mod base_model;
#[path = "common/sanitizer.rs"]
mod sanitizer;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use base_bytes::{footer, segments};
use base_model::{Model, Random, SMALL, open};
use proto::{SessionId, Zxid};
use ringkeeper_snapshot::base::{Base, BaseOptions, Checked, Run, verify, verify_watched};
use ringkeeper_snapshot::{Damage, DataDir, Error, ImageRef, Result};

const OLD: Zxid = Zxid(0x5_0000_0007);
const NEW: Zxid = Zxid(0x5_0000_0009);
const OPTIONS: BaseOptions = BaseOptions { segment_bytes: 4096, ..SMALL };

/// An image in two files of at least 64 KiB, each with live segments of several runs, and what is in it. Most of it is data, so that
/// asking for all of it as often as it has bytes takes seconds without optimisation too.
fn image(dir: &Path) -> Model {
    let mut model = Model::new();
    model.put("/many", None, None);
    for number in 0..12_u8 {
        model.put(&format!("/dir{number}"), Some(vec![number; 10]), None);
        model.put(&format!("/dir{number}/large"), Some(vec![number; 6_000]), None);
        let entry = [(Run::Ephemerals, 1), (Run::Ttls, 5), (Run::Containers, 0)][usize::from(number) % 3];
        model.put(&format!("/many/small-{number}"), Some(vec![number]), Some(entry));
    }
    model.publish(dir, OLD, OPTIONS, None);
    let old = open(dir, OLD);
    for number in 20..34_u8 {
        model.put(&format!("/many/large-{number}"), Some(vec![number; 5_000]), Some((Run::Ephemerals, 2)));
    }
    let published = model.publish(dir, NEW, OPTIONS, Some(&old));
    let new = open(dir, NEW);
    model.check(&new);
    let (live, other) = (new.files()[1].live_bytes, published.file_bytes);
    assert!(live > 56 << 10 && other >= 64 << 10 && old.files()[0].file_bytes >= 64 << 10, "{live} and {other} bytes");
    model
}

/// Everything that can be asked of the tree, and the right answers.
struct Questions {
    model: Model,
    children: BTreeMap<String, Vec<String>>,
    entries: BTreeMap<Run, Vec<(i64, String)>>,
}

impl Questions {
    fn of(model: Model) -> Questions {
        let mut children = BTreeMap::<String, Vec<String>>::new();
        for path in model.nodes.keys() {
            children.entry(path.clone()).or_default();
            if let Some((parent, _)) = proto::path::split(path) {
                children.get_mut(parent).unwrap().push(path.clone());
            }
        }
        let of_run = |run| {
            let mut entries: Vec<_> = model.entries(run).collect();
            entries.sort();
            (run, entries)
        };
        let entries = [Run::Ephemerals, Run::Ttls, Run::Containers].map(of_run).into_iter().collect();
        Questions { children, entries, model }
    }

    /// Opens the image and asks all.
    fn open_and_find_damage(&self, dir: &Path) -> bool {
        right(Base::open(dir, &ImageRef::at(NEW))).is_none_or(|base| self.find_damage(&base))
    }

    /// Asks all; each answer is damage or right. Whether there was any damage.
    fn find_damage(&self, base: &Base) -> bool {
        let mut damaged = false;
        for (path, node) in &self.model.nodes {
            match right(base.find(path)) {
                Some(found) => {
                    let found = found.unwrap_or_else(|| panic!("{path} is not found"));
                    assert_eq!((found.path(), found.stat(), found.acl_id()), (path.as_str(), node.stat, node.acl_id));
                    assert_eq!(found.data_len(), node.data.as_ref().map_or(0, Vec::len));
                    assert_eq!(
                        (found.content_crc(), found.child_count()),
                        (node.content_crc, self.model.child_count(path))
                    );
                    let data = right(found.data());
                    assert!(data.as_ref().is_none_or(|data| *data == node.data), "the data of {path}");
                    damaged |= data.is_none();
                }
                None => damaged = true,
            }
        }
        damaged |= right(base.find("/none")).is_none_or(|found| {
            assert!(found.is_none());
            false
        });
        for (path, children) in &self.children {
            let listed = base.children(path).and_then(|children| {
                children.map(|child| child.map(|child| child.path().to_owned())).collect::<Result<Vec<_>>>()
            });
            damaged |= is_damaged(listed, children);
        }
        for (run, expected) in &self.entries {
            let entries = match run {
                Run::Ephemerals => base.ephemerals(),
                Run::Ttls => base.ttls(),
                _ => base.containers(),
            };
            let entries = entries.map(|entry| entry.map(|(key, path)| (key, path.into()))).collect::<Result<Vec<_>>>();
            damaged |= is_damaged(entries, expected);
        }
        let of_two: Vec<_> = self.entries[&Run::Ephemerals].iter().filter(|(session, _)| *session == 2).collect();
        let found = base.ephemerals_of(SessionId(2)).collect::<Result<Vec<_>>>();
        damaged |= right(found).is_none_or(|found| {
            assert!(found.iter().map(|path| &**path).eq(of_two.iter().map(|(_, path)| path.as_str())));
            false
        });
        assert_eq!(base.totals(), &self.model.totals(NEW));
        damaged
    }
}

fn is_damaged<T: PartialEq + std::fmt::Debug>(found: Result<Vec<T>>, expected: &[T]) -> bool {
    right(found).is_none_or(|found| {
        assert_eq!(found, expected);
        false
    })
}

/// The answer; `None` for damage. No other error is right.
fn right<T>(answer: Result<T>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(Error::Damaged { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for zxid in [OLD, NEW] {
        fs::copy(DataDir::new(from).image(zxid), DataDir::new(to).image(zxid)).unwrap();
    }
}

#[test]
fn every_flipped_byte_of_both_files_gives_damage_or_the_right_answers() {
    let dir = tempfile::tempdir().unwrap();
    let questions = Questions::of(image(dir.path()));
    assert!(!questions.open_and_find_damage(dir.path()));
    let live = Live::of(dir.path());
    thread::scope(|scope| {
        for zxid in [OLD, NEW] {
            let copied = dir.path().join(format!("copy-{zxid}"));
            copy(dir.path(), &copied);
            let path = DataDir::new(&copied).image(zxid);
            let (questions, live) = (&questions, &live);
            scope.spawn(move || {
                let bytes = fs::read(&path).unwrap();
                let file = File::options().write(true).open(&path).unwrap();
                let opened = open(&copied, NEW);
                let step = if sanitizer::is_on() { 61 } else { 1 };
                for (offset, byte) in bytes.iter().enumerate().step_by(step) {
                    file.write_all_at(&[byte ^ (1 << (offset % 8))], offset as u64).unwrap();
                    // What lies in a segment shows through the mapping; the rest is read when an image is opened.
                    let damaged = if live.in_segment(zxid, offset) {
                        questions.find_damage(&opened)
                    } else {
                        questions.open_and_find_damage(&copied)
                    };
                    let is_live = live.has(zxid, offset);
                    assert!(is_live || !damaged, "the flip at {offset} of {zxid} is in bytes that are not used");
                    // Padding is not read to answer, and `verify` reads it too: a part of the flips is enough to see that.
                    if is_live && (offset % 16 == 0 || !damaged) {
                        let verified = verify(&copied, &ImageRef::at(NEW));
                        assert!(verified.is_err(), "verify passed the flip at {offset} of {zxid}");
                    }
                    file.write_all_at(&[*byte], offset as u64).unwrap();
                }
                verify(&copied, &ImageRef::at(NEW)).unwrap();
            });
        }
    });
}

/// Which bytes of the two files count.
struct Live {
    segments: Vec<(Zxid, std::ops::Range<usize>)>,
    /// In the old file, the parts that only the image of that name uses.
    old_parts: std::ops::Range<usize>,
}

impl Live {
    fn of(dir: &Path) -> Live {
        let segments = segments(&fs::read(DataDir::new(dir).image(NEW)).unwrap()).into_iter();
        let segments = segments.map(|(file, range)| (if file == 0 { NEW } else { OLD }, range)).collect();
        let (old_footer, old_parts) = footer(&fs::read(DataDir::new(dir).image(OLD)).unwrap());
        Live { segments, old_parts: old_parts[0].start..old_footer }
    }

    fn in_segment(&self, zxid: Zxid, offset: usize) -> bool {
        self.segments.iter().any(|(of, range)| *of == zxid && range.contains(&offset))
    }

    fn has(&self, zxid: Zxid, offset: usize) -> bool {
        let in_blocks = zxid == NEW && offset < 128 || zxid == OLD && (offset < 128 || offset >= self.old_parts.end);
        let first_part = self.segments.iter().filter(|(of, _)| *of == NEW).map(|(_, range)| range.end).max().unwrap();
        self.in_segment(zxid, offset) || in_blocks || zxid == NEW && offset >= first_part
    }
}

#[test]
fn every_shorter_or_longer_file_is_refused_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    image(dir.path());
    for zxid in [OLD, NEW] {
        let path = DataDir::new(dir.path()).image(zxid);
        let bytes = fs::read(&path).unwrap();
        let opened = || Base::open(dir.path(), &ImageRef::at(NEW));
        for len in (0..bytes.len()).step_by(61).chain(bytes.len() - 400..bytes.len()) {
            fs::write(&path, &bytes[..len]).unwrap();
            assert!(matches!(opened(), Err(Error::Damaged { .. })), "{len} of {} bytes passed", bytes.len());
        }
        for extra in [1, 63, 64, 384, 4096] {
            fs::write(&path, [&bytes[..], &vec![0; extra]].concat()).unwrap();
            assert!(matches!(opened(), Err(Error::Damaged { .. })), "{extra} extra bytes passed");
        }
        fs::write(&path, &bytes).unwrap();
        opened().unwrap();
    }
}

#[test]
fn another_whole_file_under_the_name_that_is_meant_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = image(dir.path());
    let other = tempfile::tempdir().unwrap();
    // The same zxid, nearly the same tree, and nothing in it is damaged.
    model.put("/dir3", Some(vec![9; 10]), None);
    model.publish(other.path(), OLD, OPTIONS, None);
    fs::copy(DataDir::new(other.path()).image(OLD), DataDir::new(dir.path()).image(OLD)).unwrap();
    let error = Base::open(dir.path(), &ImageRef::at(NEW)).unwrap_err();
    assert!(error.to_string().contains("a newer image refers to"), "{error}");
    fs::remove_file(DataDir::new(dir.path()).image(OLD)).unwrap();
    let error = Base::open(dir.path(), &ImageRef::at(NEW)).unwrap_err();
    assert!(error.to_string().contains("image.0000000500000007"), "{error}");
}

#[test]
fn the_error_names_file_offset_zxid_and_segment() {
    let dir = tempfile::tempdir().unwrap();
    image(dir.path());
    let base = open(dir.path(), NEW);
    let extent = base.extent("/dir3/large").unwrap();
    let path: PathBuf = base.files()[extent.file].path.clone();
    let file = File::options().write(true).open(&path).unwrap();
    // Within the data.
    file.write_all_at(&[0xff], extent.offset + extent.bytes - 200).unwrap();
    let error = base.find("/dir3/large").unwrap().unwrap().data().unwrap_err();
    let Error::Damaged { offset, zxid, segment, .. } = &error else { panic!("{error}") };
    assert!((extent.offset..extent.offset + extent.bytes).contains(offset) && *zxid == Some(NEW) && segment.is_some());
    let text = error.to_string();
    for part in [path.to_str().unwrap(), "0x500000009", "segment", "restore it"] {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
    // Whose data that are, and that a check of the whole names the same place.
    assert_eq!(base.path_at(&path, *offset).as_deref(), Some("/dir3/large"));
    assert_eq!([base.path_at(&path, *offset + 8), base.path_at(Path::new("/other"), *offset)], [None, None]);
    assert_eq!(verify(dir.path(), &ImageRef::at(NEW)).unwrap_err().to_string(), text);
}

#[test]
fn a_check_tells_of_every_znode_and_every_byte_that_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let model = image(dir.path());
    let base = open(dir.path(), NEW);
    let (mut paths, mut bytes) = (Vec::new(), 0);
    let told = verify_watched(&base, |checked| match checked {
        Checked::Node(node) => paths.push(node.path().to_owned()),
        Checked::Segment { bytes: more } => bytes += more,
    });
    told.unwrap();
    paths.sort();
    assert!(paths.iter().eq(model.nodes.keys()));
    assert_eq!(bytes, base.live_bytes());
}

/// The mapping shows what is on the disk now: a byte that was good and is read again is not trusted.
#[test]
fn a_byte_that_goes_bad_under_an_open_image_is_found_when_it_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    image(dir.path());
    let base = open(dir.path(), NEW);
    let extent = base.extent("/dir3").unwrap();
    assert_eq!(base.find("/dir3").unwrap().unwrap().data().unwrap(), Some(vec![3; 10]));
    let file = File::options().write(true).open(&base.files()[extent.file].path).unwrap();
    file.write_all_at(&vec![0x55; usize::try_from(extent.bytes).unwrap()], extent.offset).unwrap();
    assert!(matches!(base.find("/dir3"), Err(Error::Damaged { .. })));
}

#[test]
fn versions_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    image(dir.path());
    let path = DataDir::new(dir.path()).image(OLD);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&3_u32.to_le_bytes());
    seal(&mut bytes, 0..128);
    fs::write(&path, &bytes).unwrap();
    let error = Base::open(dir.path(), &ImageRef::at(OLD)).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 3, supported: 2, .. }), "{error}");
    assert!(error.to_string().contains("start the newer version"), "{error}");
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::copy(fixtures.join("image-v1.bin"), DataDir::new(dir.path()).image(Zxid(0x2_0000_0003))).unwrap();
    let error = Base::open(dir.path(), &ImageRef::at(Zxid(0x2_0000_0003))).unwrap_err();
    assert!(matches!(error, Error::OlderFormat { found: 1, .. }), "{error}");
}

/// The checksums of the directory, the tables and the footer hold: only the checks of what they say stand between such bytes and
/// the process. Whatever is let through is asked everything, and may answer anything but a panic.
#[test]
fn forged_tables_are_refused_or_read_but_never_break_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let model = image(dir.path());
    let path = DataDir::new(dir.path()).image(NEW);
    let bytes = fs::read(&path).unwrap();
    let (at, parts) = footer(&bytes);
    let (mut random, mut refused) = (Random(0x2545_f491_4f6c_dd1d), 0);
    for round in 0..4_000 {
        let mut forged = bytes.clone();
        let part = &parts[round % parts.len()];
        for _ in 0..1 + random.below(2) {
            let target = if round % 8 == 7 { at..at + 380 } else { part.clone() };
            if !target.is_empty() {
                forged[target.start + random.below(target.len())] = random.next().to_le_bytes()[0];
            }
        }
        for (number, part) in parts.iter().enumerate() {
            let crc = crc32c::crc32c(&bytes_padded(&forged, part)).to_le_bytes();
            let field = at + 16 + 11 * 8 + number * 24 + 16;
            forged[field..field + 4].copy_from_slice(&crc);
        }
        seal(&mut forged, at..bytes.len());
        fs::write(&path, &forged).unwrap();
        match Base::open(dir.path(), &ImageRef::at(NEW)) {
            Ok(base) => {
                for path in model.nodes.keys() {
                    let _ = base.find(path).map(|found| found.map(|node| node.data().is_ok()));
                    let _ = base.children(path).map(Iterator::count);
                }
                let _ = (base.nodes().count(), base.ephemerals().count(), base.ttls().count());
                let _ = verify(dir.path(), &ImageRef::at(NEW));
            }
            Err(Error::Damaged { .. } | Error::Io { .. } | Error::NewerFormat { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 1_000, "{refused} forgeries were refused: the forging does not bite");
}

/// The lines, records and archives of one segment, whose checksums are made to hold again one by one.
#[test]
fn forged_archives_are_refused_or_read_but_never_break_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    for number in 0..20 {
        model.put(&format!("/n{number}"), Some(vec![1; 9]), None);
    }
    model.publish(dir.path(), NEW, BaseOptions::default(), None);
    let path = DataDir::new(dir.path()).image(NEW);
    let bytes = fs::read(&path).unwrap();
    let salt = {
        let header_crc = u32::from_le_bytes(bytes[124..128].try_into().unwrap());
        crc32c::crc32c_append(header_crc, &128_u64.to_le_bytes())
    };
    let records = 128 + 64 + 3 * 64 + 64;
    let (mut random, mut refused, mut place) = (Random(7), 0, 0);
    for _ in 0..6_000 {
        let start = records + place * 8;
        let archive = usize::try_from(u32::from_le_bytes(bytes[start + 4..start + 8].try_into().unwrap())).unwrap();
        let mut forged = bytes.clone();
        forged[start + 16 + random.below(archive)] = random.next().to_le_bytes()[0];
        let seed = salt.wrapping_add(u32::try_from(place).unwrap());
        let crc = crc32c::crc32c_append(seed, &forged[start + 4..start + 16 + archive]).to_le_bytes();
        forged[start..start + 4].copy_from_slice(&crc);
        fs::write(&path, &forged).unwrap();
        let base = open(dir.path(), NEW);
        for path in model.nodes.keys() {
            refused += u32::from(matches!(base.find(path), Err(Error::Damaged { what: Damage::Records, .. })));
        }
        let _ = (base.nodes().count(), base.children("/").map(Iterator::count));
        // On to the next record: 9 bytes of data, padded; the root has none.
        let data = if u32::from_le_bytes(bytes[start + 8..start + 12].try_into().unwrap()) == u32::MAX { 0 } else { 9 };
        place += (16 + archive + data).div_ceil(8);
        if records + place * 8 + 16 > bytes.len() - 384 || bytes[records + place * 8..][..16] == [0; 16] {
            place = 0;
        }
    }
    assert!(refused > 300, "{refused} forgeries were refused: the forging does not bite");
}

fn bytes_padded(bytes: &[u8], part: &std::ops::Range<usize>) -> Vec<u8> {
    bytes[part.start..part.end.next_multiple_of(64)].to_vec()
}

/// Writes the checksum of a block into its last four bytes.
fn seal(bytes: &mut [u8], block: std::ops::Range<usize>) {
    let body = block.start..block.end - 4;
    let crc = crc32c::crc32c(&bytes[body.clone()]);
    bytes[body.end..block.end].copy_from_slice(&crc.to_le_bytes());
}
