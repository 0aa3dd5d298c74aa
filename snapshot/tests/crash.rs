//! A power loss before any call of publishing an image and replacing the control file leaves the old state or the new one, and a
//! full disk leaves the old one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;
#[path = "common/model_disk.rs"]
mod model_disk;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Contents, SMALL_SEGMENTS, read};
use model_disk::{ModelDisk, Survivors};
use proto::Zxid;
use ringkeeper_snapshot::image::{ImageOptions, ImageWriter, PublishedImage};
use ringkeeper_snapshot::{Control, DataDir, Error, ImageRef, Result};

const DIR: &str = "/data";
const OLD: Zxid = Zxid(0x1_0000_0005);
const NEW: Zxid = Zxid(0x1_0000_0009);

fn control(zxid: Zxid) -> Control {
    Control { image: Some(ImageRef::at(zxid)), log_generation: 1, history_zxid: zxid, ..Control::default() }
}

fn contents(zxid: Zxid) -> Contents {
    Contents::sample(u32::try_from(zxid.0 & 0xff).unwrap() * 20)
}

fn publish(disk: &ModelDisk, zxid: Zxid) -> Result<PublishedImage> {
    let mut writer = ImageWriter::create_on(Box::new(disk.clone()), Path::new(DIR), zxid, SMALL_SEGMENTS)?;
    contents(zxid).add_to(&mut writer)?;
    writer.finish(contents(zxid).totals(zxid))
}

/// A disk on which the old image and its control file are durable.
fn disk_with_the_old_state() -> ModelDisk {
    let disk = ModelDisk::default();
    publish(&disk, OLD).unwrap();
    control(OLD).replace_on(&disk, Path::new(DIR)).unwrap();
    disk.settle();
    disk
}

/// What the process was told before the disk froze.
#[derive(Debug, Default)]
struct Told {
    published: bool,
    replaced: bool,
}

fn run(disk: &ModelDisk) -> Told {
    let published = publish(disk, NEW).is_ok();
    let replaced = published && control(NEW).replace_on(disk, Path::new(DIR)).is_ok();
    Told { published, replaced }
}

/// Starts on what is left, as a server does, and checks that it is a state that was promised.
fn check(survivors: &Survivors, told: &Told, opened: &mut Opened) {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in survivors {
        fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    let data = DataDir::new(dir.path());
    data.clean_temporaries().unwrap();
    let found = Control::load(dir.path()).unwrap().expect("the control file never vanishes");
    assert!(found == control(OLD) || found == control(NEW), "{found:?}");
    assert!(!told.replaced || found == control(NEW), "a replaced control file is durable");
    let images = data.images().unwrap();
    let zxids: Vec<_> = images.iter().map(|image| image.zxid).collect();
    assert!(zxids.contains(&OLD), "the old image is not touched");
    assert!(!told.published || zxids.contains(&NEW), "a published image is durable");
    assert!(zxids.contains(&found.image.unwrap().zxid), "the control file names an image that is there");
    for image in images {
        opened.check(image.zxid, &image.path);
    }
    let names = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, zxids.len() + 1, "nothing half written stays");
}

/// Images that were read and found right, by their bytes: most states share them.
#[derive(Debug, Default)]
struct Opened(Vec<(Zxid, Vec<u8>)>);

impl Opened {
    fn check(&mut self, zxid: Zxid, path: &PathBuf) {
        let bytes = fs::read(path).unwrap();
        if !self.0.iter().any(|(known, right)| *known == zxid && *right == bytes) {
            assert_eq!(read(path).unwrap(), contents(zxid));
            self.0.push((zxid, bytes));
        }
    }
}

#[test]
fn a_power_loss_before_any_call_leaves_the_old_or_the_new_state() {
    let disk = disk_with_the_old_state();
    let told = run(&disk);
    assert!(told.published && told.replaced);
    let calls = disk.calls();
    assert!(calls > 20, "{calls} calls");
    let mut opened = Opened::default();
    let (mut states, mut old, mut new) = (0, 0, 0);
    for call in 0..=calls {
        let disk = disk_with_the_old_state();
        disk.freeze_at(call);
        let told = run(&disk);
        assert_eq!(told.replaced, call == calls, "only the whole sequence is a success");
        for survivors in disk.after_power_loss() {
            check(&survivors, &told, &mut opened);
            let is_new = survivors[&PathBuf::from("/data/control")] == control(NEW).encode();
            (states, old, new) = (states + 1, old + u32::from(!is_new), new + u32::from(is_new));
        }
    }
    assert!(states > 100 && old > 0 && new > 0, "{states} states, {old} old and {new} new");
    assert_eq!(opened.0.len(), 2, "one old and one new image, always of the same bytes");
}

/// The test above can fail: a disk that ignores fsync loses a published image.
#[test]
fn without_the_fsync_a_published_image_would_be_torn() {
    let disk = ModelDisk::default();
    let mut file = ringkeeper_snapshot::disk::Disk::create(&disk, Path::new("/data/control.tmp")).unwrap();
    file.append(&control(NEW).encode()).unwrap();
    ringkeeper_snapshot::disk::Disk::rename(&disk, Path::new("/data/control.tmp"), Path::new("/data/control")).unwrap();
    ringkeeper_snapshot::disk::Disk::sync_dir(&disk, Path::new(DIR)).unwrap();
    let torn = |survivors: &Survivors| {
        survivors.iter().any(|(path, bytes)| path.ends_with("control") && Control::decode(bytes, path).is_err())
    };
    assert!(disk.after_power_loss().iter().any(torn));
}

#[test]
fn a_full_disk_leaves_the_old_state_and_nothing_else() {
    let before = disk_with_the_old_state().contents();
    let image_bytes = usize::try_from(publish(&disk_with_the_old_state(), NEW).unwrap().file_bytes).unwrap();
    // Every part of the file meets the end of the disk: 61 is no multiple of any part's length.
    for room in (0..image_bytes).step_by(61).chain([image_bytes - 1]) {
        let disk = disk_with_the_old_state();
        disk.fill_up_after(room);
        let error = publish(&disk, NEW).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{room} bytes of room: {error}");
        assert!(error.to_string().contains("free space"), "{error}");
        assert_eq!(disk.contents(), before, "{room} bytes of room");
    }
    for room in 0..256 {
        let disk = disk_with_the_old_state();
        disk.fill_up_after(room);
        let error = control(NEW).replace_on(&disk, Path::new(DIR)).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        assert_eq!(disk.contents(), before, "{room} bytes of room");
    }
}

/// Once the new file has its name, a full disk no longer means that the old one stands, and nobody may be told so.
#[test]
fn a_disk_that_is_full_after_the_rename_is_not_said_to_keep_the_old_state() {
    let disk = disk_with_the_old_state();
    control(NEW).replace_on(&disk, Path::new(DIR)).unwrap();
    let calls = disk.calls();
    for call in 0..calls {
        let disk = disk_with_the_old_state();
        disk.full_at(call);
        let error = control(NEW).replace_on(&disk, Path::new(DIR)).unwrap_err();
        let stands = disk.contents()[&PathBuf::from("/data/control")] == control(OLD).encode();
        assert_eq!(matches!(error, Error::NoSpace { .. }), stands, "call {call} of {calls}: {error}");
        assert_eq!(stands, call + 1 < calls);
    }
}

#[test]
fn a_failed_writer_stays_failed() {
    let disk = ModelDisk::default();
    disk.fill_up_after(10_000);
    let mut writer = ImageWriter::create_on(Box::new(disk.clone()), Path::new(DIR), NEW, SMALL_SEGMENTS).unwrap();
    let contents = Contents::sample(1_000);
    assert!(matches!(contents.add_to(&mut writer), Err(Error::NoSpace { .. })));
    assert!(matches!(writer.add_node(contents.nodes[0].record()), Err(Error::GivenUp { .. })));
    assert!(disk.names().is_empty());
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ImageWriter::create(dir.path(), NEW, SMALL_SEGMENTS).unwrap();
    Contents::sample(500).add_to(&mut writer).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn an_image_in_a_directory_that_is_not_there_is_an_error_that_names_it() {
    let error = ImageWriter::create(Path::new("/nonexistent/data"), NEW, ImageOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("/nonexistent/data/image."), "{error}");
}

#[test]
#[should_panic(expected = "count its znodes")]
fn totals_that_do_not_count_what_was_written_are_our_own_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ImageWriter::create(dir.path(), NEW, SMALL_SEGMENTS).unwrap();
    Contents::sample(5).add_to(&mut writer).unwrap();
    let _ = writer.finish(Contents::sample(6).totals(NEW));
}
