//! Images of format version 2 are read by every later version, and this one writes them to the byte.
//!
//! The committed fixtures, an image and the older one it points into, were written by
//! `cargo test -p ringkeeper-snapshot --test format_version_2 -- --ignored`. They are never written again: another format is another
//! version with fixtures of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "common/base_model.rs"]
mod base_model;

use std::fs;
use std::path::{Path, PathBuf};

use base_model::{Model, open};
use proto::Zxid;
use ringkeeper_snapshot::base::{BaseOptions, Run, verify};
use ringkeeper_snapshot::{DataDir, ImageRef};

const OLD: Zxid = Zxid(0x2_0000_0003);
const NEW: Zxid = Zxid(0x2_0000_0008);
const OPTIONS: BaseOptions = BaseOptions { segment_bytes: 1024, ensemble_id: Some(0xfeed_0000_0000_0000_0000_beef) };

fn fixture(zxid: Zxid) -> PathBuf {
    let name = if zxid == OLD { "image-v2-old.bin" } else { "image-v2.bin" };
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Writes both images; each has records of all runs, and the newer one segments of its own and older ones.
fn write(dir: &Path) -> Model {
    let mut model = Model::new();
    model.put("/größe", Some(b"data".to_vec()), None);
    for number in 0..30 {
        let entry = [Some((Run::Ephemerals, 7)), Some((Run::Ttls, 90 - number)), Some((Run::Containers, 0)), None];
        let entry = entry[usize::try_from(number % 4).unwrap()];
        let data = (number % 3 > 0).then(|| vec![1; usize::try_from(number).unwrap() * (usize::from(number % 3 == 1))]);
        model.put(&format!("/größe/child-{number}"), data, entry);
    }
    model.publish(dir, OLD, OPTIONS, None);
    model.delete("/größe/child-3");
    model.put("/größe/child-30", None, Some((Run::Ephemerals, -7)));
    let published = model.publish(dir, NEW, OPTIONS, Some(&open(dir, OLD)));
    assert!(published.segments_carried > 1 && published.segments_written > 1, "{published:?}");
    model
}

#[test]
fn the_image_and_what_it_points_into_are_read() {
    let (dir, expected) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for zxid in [OLD, NEW] {
        fs::copy(fixture(zxid), DataDir::new(dir.path()).image(zxid)).unwrap();
    }
    let model = write(expected.path());
    model.check(&open(dir.path(), NEW));
    assert_eq!(verify(dir.path(), &ImageRef::at(NEW)).unwrap(), model.totals(NEW));
    assert_eq!(open(dir.path(), NEW).ensemble_id(), OPTIONS.ensemble_id);
}

#[test]
fn the_images_are_written_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    for zxid in [OLD, NEW] {
        let same = fs::read(DataDir::new(dir.path()).image(zxid)).unwrap() == fs::read(fixture(zxid)).unwrap();
        assert!(same, "the bytes of an image have changed: that is a new format version");
    }
}

#[test]
#[ignore = "writes the fixtures; only for a new format version"]
fn write_fixtures() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    for zxid in [OLD, NEW] {
        fs::copy(DataDir::new(dir.path()).image(zxid), fixture(zxid)).unwrap();
    }
}
