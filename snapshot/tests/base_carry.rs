//! What did not change is not written again, files of which little is used are left, and purging keeps what is pointed into.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "common/base_model.rs"]
mod base_model;

use std::path::Path;

use base_model::{Model, Random, open};
use proto::Zxid;
use ringkeeper_snapshot::base::{Base, BaseOptions, CarryPlan, PublishedBase, verify};
use ringkeeper_snapshot::control::ControlFile;
use ringkeeper_snapshot::{Control, DataDir, ImageRef, Result};

const OPTIONS: BaseOptions = BaseOptions { segment_bytes: 4096, ensemble_id: None };

/// Directories of 40 children, so that each fills about two segments.
fn directories(count: usize) -> Model {
    let mut model = Model::new();
    for directory in 0..count {
        model.put(&format!("/d{directory}"), None, None);
        for child in 0..40 {
            model.put(&format!("/d{directory}/c{child}"), Some(vec![1; 20]), None);
        }
    }
    model
}

/// Publishes and opens the next generation.
fn next(dir: &Path, model: &mut Model, base: &Base) -> (PublishedBase, Base) {
    let zxid = Zxid(base.totals().zxid.0 + 1);
    let published = model.publish(dir, zxid, OPTIONS, Some(base));
    let opened = Base::open_after(dir, &ImageRef::at(zxid), base).unwrap();
    (published, opened)
}

fn live(base: &Base) -> Vec<(u64, u64)> {
    base.files().iter().map(|file| (file.zxid.0, file.live_bytes)).collect()
}

/// Where the control file names no image.
fn purge(dir: &Path, keep: usize, referenced: &ImageRef) -> Result<Zxid> {
    ControlFile::new(dir, Control::default()).purge_images(keep, referenced)
}

#[test]
fn one_change_writes_one_segment_or_two() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = directories(100);
    let all = model.publish(dir.path(), Zxid(1), OPTIONS, None);
    assert!(all.segments_written > 100 && all.segments_carried == 0, "{all:?}");
    let base = open(dir.path(), Zxid(1));
    model.put("/d50/c7", Some(b"other".to_vec()), None);
    let (published, opened) = next(dir.path(), &mut model, &base);
    assert!(published.segments_written <= 2, "{published:?}");
    assert_eq!(published.segments_carried + 1, all.segments_written);
    let carried = opened.files()[1].live_bytes;
    assert_eq!(published.carried_bytes, carried);
    model.check(&opened);
}

#[test]
fn children_that_are_appended_touch_the_last_segment_of_their_directory_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    model.put("/queue", None, None);
    for number in 0..5_000 {
        model.put(&format!("/queue/item-{number:010}"), Some(vec![1; 20]), None);
    }
    model.publish(dir.path(), Zxid(1), OPTIONS, None);
    let mut base = open(dir.path(), Zxid(1));
    for generation in 0..6 {
        for number in 0..5 {
            model.put(&format!("/queue/item-{:010}", 5_000 + generation * 5 + number), Some(vec![1; 20]), None);
        }
        let (published, opened) = next(dir.path(), &mut model, &base);
        // The last of the queue, and that of the queue itself, whose count of children changed.
        assert!(published.segments_written <= 4, "{published:?}");
        base = opened;
    }
    model.check(&base);
}

#[test]
fn nothing_changed_writes_no_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = directories(10);
    model.publish(dir.path(), Zxid(1), OPTIONS, None);
    let (published, opened) = next(dir.path(), &mut model, &open(dir.path(), Zxid(1)));
    assert_eq!((published.segments_written, published.files), (0, 2));
    model.check(&opened);
    verify(dir.path(), &opened.image()).unwrap();
}

#[test]
fn a_file_of_which_less_than_half_is_used_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = directories(60);
    model.publish(dir.path(), Zxid(1), OPTIONS, None);
    let mut base = open(dir.path(), Zxid(1));
    let (whole, mut smallest) = (base.files()[0].live_bytes, u64::MAX);
    for directory in 0..60 {
        for child in 0..40 {
            model.put(&format!("/d{directory}/c{child}"), Some(vec![2; 20]), None);
        }
        (_, base) = next(dir.path(), &mut model, &base);
        let Some((_, live)) = live(&base).into_iter().find(|(zxid, _)| *zxid == 1) else { break };
        assert!(2 * live + 2 * 8192 >= whole, "{live} of {whole} bytes are used");
        smallest = smallest.min(live);
    }
    assert!(live(&base).iter().all(|(zxid, _)| *zxid != 1), "it was left");
    assert!(2 * smallest < whole + whole / 4, "{smallest} of {whole} bytes: and not before");
    model.check(&base);
}

#[test]
fn an_image_points_into_eight_files_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = directories(100);
    model.publish(dir.path(), Zxid(1), OPTIONS, None);
    let mut base = open(dir.path(), Zxid(1));
    let mut most = 0;
    for generation in 0..30 {
        // Each generation writes another part, of which much stays.
        for directory in [generation * 3 % 100, generation * 7 % 100, 99 - generation] {
            for child in 0..40 {
                model.put(&format!("/d{directory}/c{child}"), Some(vec![3; 20]), None);
            }
        }
        let (published, opened) = next(dir.path(), &mut model, &base);
        assert_eq!(published.files, opened.files().len());
        most = most.max(published.files);
        base = opened;
    }
    assert_eq!(most, 8);
    model.check(&base);
    verify(dir.path(), &base.image()).unwrap();
}

#[test]
fn small_segments_are_joined_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = directories(50);
    let all = model.publish(dir.path(), Zxid(1), OPTIONS, None);
    let mut base = open(dir.path(), Zxid(1));
    let mut random = Random(4);
    let mut paths: Vec<_> = model.nodes.keys().filter(|path| path.contains("/c")).cloned().collect();
    while paths.len() > 100 {
        for _ in 0..100 {
            model.delete(&paths.swap_remove(random.below(paths.len())));
        }
        (_, base) = next(dir.path(), &mut model, &base);
    }
    model.check(&base);
    // About a twentieth of the znodes is left.
    let last = model.publish(dir.path(), Zxid(100), OPTIONS, Some(&base));
    let segments = last.segments_written + last.segments_carried;
    assert!(segments < all.segments_written / 5, "{segments} of {}", all.segments_written);
}

/// Little that is left of a segment is written with the next one, although nothing in that one changed.
#[test]
fn what_is_left_of_a_segment_between_others_that_stay_is_joined_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    model.put("/queue", None, None);
    for number in 0..3_000 {
        model.put(&format!("/queue/item-{number:010}"), Some(vec![1; 20]), None);
    }
    let all = model.publish(dir.path(), Zxid(1), OPTIONS, None);
    let base = open(dir.path(), Zxid(1));
    // One segment in four loses all but its first child.
    let children: Vec<_> = base.children("/queue").unwrap().map(|child| child.unwrap().path().to_owned()).collect();
    let segments: Vec<&[String]> = children.chunk_by(|a, b| base.extent(a) == base.extent(b)).collect();
    let emptied = segments.iter().skip(1).step_by(4);
    emptied.clone().flat_map(|segment| &segment[1..]).for_each(|path| assert!(model.delete(path)));
    let (published, opened) = next(dir.path(), &mut model, &base);
    assert!(published.segments_carried > all.segments_written / 3, "{published:?}");
    let left = published.segments_written + published.segments_carried;
    let joined = all.segments_written - left;
    assert_eq!(joined, emptied.count() as u64, "{left} of {}", all.segments_written);
    model.check(&opened);
}

#[test]
fn everything_is_written_when_a_copy_that_stands_alone_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = directories(10);
    model.publish(dir.path(), Zxid(1), OPTIONS, None);
    let (_, second) = next(dir.path(), &mut model, &open(dir.path(), Zxid(1)));
    let mut plan = CarryPlan::new(Some(&second));
    plan.touch_all();
    let published = model.publish_plan(dir.path(), Zxid(3), OPTIONS, plan);
    assert_eq!((published.files, published.segments_carried), (1, 0));
    std::fs::remove_file(DataDir::new(dir.path()).image(Zxid(1))).unwrap();
    model.check(&open(dir.path(), Zxid(3)));
}

#[test]
fn purging_keeps_the_files_that_a_kept_image_points_into() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = directories(30);
    model.publish(dir.path(), Zxid(1), OPTIONS, None);
    let mut base = open(dir.path(), Zxid(1));
    for generation in 0..4 {
        model.put(&format!("/d{generation}"), Some(b"other".to_vec()), None);
        (_, base) = next(dir.path(), &mut model, &base);
    }
    let names = || DataDir::new(dir.path()).images().unwrap().iter().map(|image| image.zxid.0).collect::<Vec<_>>();
    assert_eq!(names(), [5, 4, 3, 2, 1]);
    let pointed_into: Vec<_> = base.files().iter().map(|file| file.zxid.0).collect();
    assert!(pointed_into.contains(&1) && pointed_into.len() < 5, "{pointed_into:?}");
    let oldest = purge(dir.path(), 1, &ImageRef::at(Zxid(5))).unwrap();
    assert_eq!(oldest, Zxid(5), "the log has to reach back to the one image that is kept");
    let mut left = pointed_into.clone();
    left.sort_by_key(|zxid| std::cmp::Reverse(*zxid));
    assert_eq!(names(), left);
    model.check(&open(dir.path(), Zxid(5)));
    // Kept as a file, the others are no images to start from any more, even if more are to be kept now.
    let oldest = purge(dir.path(), 4, &ImageRef::at(Zxid(5))).unwrap();
    assert!(Base::open(dir.path(), &ImageRef::at(oldest)).is_ok(), "{oldest} is whole");
    assert_eq!(names(), left);
}

#[test]
fn purging_removes_nothing_when_a_kept_image_does_not_say_what_it_points_into() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = directories(5);
    model.publish(dir.path(), Zxid(1), OPTIONS, None);
    model.publish(dir.path(), Zxid(2), OPTIONS, Some(&open(dir.path(), Zxid(1))));
    let path = DataDir::new(dir.path()).image(Zxid(2));
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = purge(dir.path(), 1, &ImageRef::at(Zxid(2))).unwrap_err();
    assert!(error.to_string().contains("image.0000000000000002"), "{error}");
    assert!(DataDir::new(dir.path()).image(Zxid(1)).exists());
}
