//! Files of format version 1 are read by every later version, and this one writes them to the byte.
//!
//! The committed fixtures were written by `cargo test -p ringkeeper-snapshot --test format_version_1 -- --ignored`. They are never
//! written again: another format is another version with fixtures of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{Contents, SMALL_SEGMENTS, read, write};
use proto::{Epoch, ServerId, Zxid};
use ringkeeper_snapshot::image::ImageOptions;
use ringkeeper_snapshot::{Control, Image, ImageRef, verify};

const ZXID: Zxid = Zxid(0x2_0000_0003);
const OPTIONS: ImageOptions = ImageOptions { ensemble_id: Some(0xfeed_0000_0000_0000_0000_beef), ..SMALL_SEGMENTS };

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn contents() -> Contents {
    Contents::sample(60)
}

fn control() -> Control {
    Control {
        server_id: ServerId(2),
        ensemble_id: Some(0xfeed_0000_0000_0000_0000_beef),
        accepted_epoch: Epoch(3),
        current_epoch: Epoch(2),
        image: Some(ImageRef::at(ZXID)),
        log_generation: 4,
        log_cut: Some(Zxid(0x2_0000_0009)),
        history_zxid: Zxid(0x2_0000_0008),
    }
}

#[test]
fn the_image_is_read() {
    let path = fixture("image-v1.bin");
    assert_eq!(verify(&path).unwrap(), contents().totals(ZXID));
    assert_eq!(Image::open(&path).unwrap().ensemble_id(), OPTIONS.ensemble_id);
    assert_eq!(read(&path).unwrap(), contents());
}

#[test]
fn the_image_is_written_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let published = write(dir.path(), ZXID, OPTIONS, &contents());
    assert!(published.segments >= 4, "several segments, each kind among them");
    let same = fs::read(&published.path).unwrap() == fs::read(fixture("image-v1.bin")).unwrap();
    assert!(same, "the bytes of an image have changed: that is a new format version");
}

#[test]
fn the_control_file_is_read_and_written_to_the_byte() {
    let path = fixture("control-v1.bin");
    let bytes = fs::read(&path).unwrap();
    assert_eq!(Control::decode(&bytes, &path).unwrap(), control());
    assert_eq!(control().encode(), bytes);
}

#[test]
#[ignore = "writes the fixtures; only for a new format version"]
fn write_fixtures() {
    let dir = tempfile::tempdir().unwrap();
    let published = write(dir.path(), ZXID, OPTIONS, &contents());
    fs::create_dir_all(fixture("")).unwrap();
    fs::copy(published.path, fixture("image-v1.bin")).unwrap();
    fs::write(fixture("control-v1.bin"), control().encode()).unwrap();
}
