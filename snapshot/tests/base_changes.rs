//! A disk that returns other bytes the second time: the file of an open image is changed while it is read. Every answer is what was
//! written, or damage; and an image that is merged from such a base is right, or is not made.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "common/base_model.rs"]
mod base_model;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use base_model::{Model, Node, SMALL, open};
use proto::Zxid;
use ringkeeper_snapshot::base::{Base, BaseOptions};
use ringkeeper_snapshot::disk::RealDisk;
use ringkeeper_snapshot::{Error, Result};

const OLD: Zxid = Zxid(7);
const OPTIONS: BaseOptions = BaseOptions { segment_bytes: 64 << 10, ..SMALL };
const LARGE: &str = "/dir/large";

/// A znode with much data among others, in one segment.
fn image(dir: &Path) -> (Model, Base) {
    let mut model = Model::new();
    model.put("/dir", None, None);
    for number in 0..12_u8 {
        model.put(&format!("/dir/child-{number:02}"), Some(vec![number; 20]), None);
    }
    model.put(LARGE, Some(vec![b'l'; 40_000]), None);
    model.publish(dir, OLD, OPTIONS, None);
    (model, open(dir, OLD))
}

/// Where these bytes begin in the image's own file, for the last time.
fn last_place(base: &Base, bytes: &[u8]) -> u64 {
    let file = std::fs::read(&base.files()[0].path).unwrap();
    file.windows(bytes.len()).rposition(|window| window == bytes).unwrap() as u64
}

/// Runs `read` while a byte of the image's file changes to and fro, until what it has met, damage or not, has changed so often: on one
/// processor, too, the byte has then changed in the middle of many a reading.
fn while_it_changes(base: &Base, at: u64, changes: usize, mut read: impl FnMut() -> bool) {
    let file = File::options().read(true).write(true).open(&base.files()[0].path).unwrap();
    let mut good = [0];
    file.read_exact_at(&mut good, at).unwrap();
    let is_over = AtomicBool::new(false);
    let (mut met, mut changed) = (false, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                file.write_all_at(&[good[0] ^ 0x20], at).unwrap();
                file.write_all_at(&good, at).unwrap();
            }
        });
        // Also where `read` panics.
        let _over = Over(&is_over);
        while changed < changes {
            let is_damaged = read();
            changed += usize::from(is_damaged != met);
            met = is_damaged;
        }
    });
}

/// Tells the thread that changes the file to end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What was asked for, or `None` if it was damaged.
fn right<T>(asked: Result<T>) -> Option<T> {
    match asked {
        Ok(answer) => Some(answer),
        Err(Error::Damaged { .. }) => None,
        Err(error) => panic!("{error}: that is no damage"),
    }
}

/// What a reader has is its own: it stays as it was, whatever becomes of the mapping.
#[test]
fn a_znode_that_was_found_stays_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (model, base) = image(dir.path());
    let found = base.find(LARGE).unwrap().unwrap();
    let children: Vec<_> = base.children("/dir").unwrap().map(Result::unwrap).collect();
    let extent = base.extent(LARGE).unwrap();
    let file = File::options().write(true).open(&base.files()[0].path).unwrap();
    file.write_all_at(&vec![0x55; usize::try_from(extent.bytes).unwrap()], extent.offset).unwrap();
    let Node { stat, acl_id, content_crc, .. } = &model.nodes[LARGE];
    assert_eq!((found.path(), found.stat(), found.acl_id()), (LARGE, *stat, *acl_id));
    assert_eq!((found.content_crc(), found.child_count()), (*content_crc, 0));
    assert_eq!(
        children.iter().map(|child| child.path()).collect::<Vec<_>>(),
        model.nodes.keys().filter(|path| path.starts_with("/dir/")).collect::<Vec<_>>()
    );
    // Its data was not asked for in time.
    let mut reply = b"before".to_vec();
    assert!(right(found.data()).is_none() && right(found.shared_data()).is_none());
    assert!(right(found.append_data(&mut reply)).is_none() && reply == b"before");
}

#[test]
fn data_that_changes_while_it_is_read_is_right_or_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (model, base) = image(dir.path());
    let expected = model.nodes[LARGE].data.as_deref();
    let found = base.find(LARGE).unwrap().unwrap();
    let at = last_place(&base, &[b'l'; 40_000]);
    let mut reply = Vec::new();
    // The last byte: between its check and a copy of what was checked lies all the time that there is.
    while_it_changes(&base, at + 39_999, 200, || {
        reply.truncate(3);
        let appended = right(found.append_data(&mut reply));
        assert!(
            appended.is_none_or(|()| Some(&reply[reply.len() - 40_000..]) == expected),
            "other data than were written"
        );
        appended.is_none()
    });
    while_it_changes(&base, at + 39_999, 200, || {
        let data = right(found.shared_data());
        assert!(data.as_ref().is_none_or(|data| data.as_deref() == expected), "other data than were written");
        data.is_none()
    });
}

/// Its path is long: so all the time that there is lies between a check of what stands behind it and a copy of that.
#[test]
fn a_record_that_changes_while_it_is_read_is_right_or_damage() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("/dir/{:p<30000}", "long-");
    let mut model = Model::new();
    model.put("/dir", None, None);
    for path in ["/dir/before", &long, "/dir/zz-behind"] {
        model.put(path, Some(vec![b'd'; 20]), None);
    }
    model.publish(dir.path(), OLD, OPTIONS, None);
    let base = open(dir.path(), OLD);
    let expected: Vec<_> = model.nodes.keys().filter(|path| path.starts_with("/dir/")).collect();
    // Its mzxid: behind the path stand 8 bytes that point to it, six fields of 4, and the czxid.
    let at = last_place(&base, long.as_bytes()) + (long.len().next_multiple_of(8) + 8 + 6 * 4 + 8) as u64;
    while_it_changes(&base, at, 100, || {
        let found = right(base.find(&long));
        let stat = found.as_ref().map(|found| found.as_ref().expect("it is there").stat());
        assert!(stat.is_none_or(|stat| stat == model.nodes[&long].stat), "another stat than was written");
        let (mut paths, mut are_right) = (Vec::new(), true);
        let listed = right(base.children("/dir").and_then(|children| {
            children.visit(|child| {
                are_right &= model.nodes.get(child.path()).is_some_and(|node| node.stat == child.stat());
                paths.push(child.path().to_owned());
            })
        }));
        assert!(are_right && (listed.is_none() || paths.iter().eq(expected.iter().copied())), "other children");
        found.is_none() || listed.is_none()
    });
}

/// The new image gets new checksums: they must not be those of other bytes than the old ones covered.
#[test]
fn an_image_is_not_merged_from_what_changes_underneath() {
    let dir = tempfile::tempdir().unwrap();
    let (mut model, base) = image(dir.path());
    let at = last_place(&base, &[b'l'; 40_000]) + 39_999;
    let mut zxid = OLD.0;
    // The segment is dirty: what did not change in it is copied.
    model.put("/dir/child-03", Some(vec![b'n'; 30]), None);
    while_it_changes(&base, at, 30, || {
        zxid += 1;
        let mut model = model.clone();
        let merged = right(model.publish_on(Box::new(RealDisk), dir.path(), Zxid(zxid), OPTIONS, Some(&base)));
        if merged.is_some() {
            let new = open(dir.path(), Zxid(zxid));
            assert_eq!(new.files().len(), 1, "nothing was carried over");
            model.check(&new);
            std::fs::remove_file(&new.files()[0].path).unwrap();
        }
        merged.is_none()
    });
}
