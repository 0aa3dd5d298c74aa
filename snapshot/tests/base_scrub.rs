//! The scrub reads every live segment of every file, finds what is damaged, and leaves the page cache as it was.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "common/base_model.rs"]
mod base_model;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use base_model::{Model, Random, SMALL, open};
use proto::Zxid;
use ringkeeper_snapshot::base::{Base, BaseOptions, Extent, Scrub, verify};
use ringkeeper_snapshot::{DataDir, Error, ImageRef};

/// An image that points into an older file.
fn two_files(dir: &std::path::Path) -> Base {
    let mut model = Model::new();
    model.change_at_random(&mut Random(11), 900);
    model.publish(dir, Zxid(1), SMALL, None);
    let first = open(dir, Zxid(1));
    model.change_at_random(&mut Random(12), 4);
    model.publish(dir, Zxid(2), SMALL, Some(&first));
    let base = open(dir, Zxid(2));
    assert_eq!(base.files().len(), 2);
    base
}

#[test]
fn a_scrub_reads_all_live_segments_piece_by_piece() {
    let dir = tempfile::tempdir().unwrap();
    let base = Arc::new(two_files(dir.path()));
    let mut scrub = Scrub::new(Arc::clone(&base));
    let total = base.files().iter().map(|file| file.live_bytes).sum::<u64>();
    let mut steps = 0;
    while !scrub.progress().is_done() {
        let before = scrub.progress().checked_bytes;
        let progress = scrub.step(4_000).unwrap();
        assert!(progress.checked_bytes > before && progress.total_bytes == total);
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps for {total} bytes");
    assert_eq!(scrub.step(u64::MAX).unwrap(), scrub.progress());
}

#[test]
fn a_scrub_finds_damage_in_any_file_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let base = Arc::new(two_files(dir.path()));
    for file in base.files() {
        // Some byte of a segment that is used: the first one that changes what `verify` says.
        let disk = File::options().read(true).write(true).open(&file.path).unwrap();
        let mut found = 0;
        for offset in (128..file.file_bytes).step_by(997) {
            let mut byte = [0];
            disk.read_exact_at(&mut byte, offset).unwrap();
            disk.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
            let scrubbed = Scrub::new(Arc::clone(&base)).step(u64::MAX);
            if let Err(Error::Damaged { file: named, offset: at, zxid, .. }) = &scrubbed {
                assert_eq!((named, *zxid), (&file.path, Some(Zxid(2))));
                assert!(*at <= offset);
                assert!(verify(dir.path(), &ImageRef::at(Zxid(2))).is_err(), "verify finds what the scrub finds");
                found += 1;
            }
            disk.write_all_at(&byte, offset).unwrap();
        }
        assert!(found > 2, "{found} of the flips in {} were in live segments", file.path.display());
    }
    assert!(Scrub::new(base).step(u64::MAX).is_ok());
    verify(dir.path(), &ImageRef::at(Zxid(2))).unwrap();
}

#[test]
fn a_scrub_drops_what_it_read_from_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    for number in 0..400 {
        model.put(&format!("/n{number}"), Some(vec![1; 60_000]), None);
    }
    model.publish(dir.path(), Zxid(1), BaseOptions::default(), None);
    let path = DataDir::new(dir.path()).image(Zxid(1));
    // SAFETY: no memory is passed.
    let dropped =
        unsafe { libc::posix_fadvise(File::open(path).unwrap().as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(dropped, 0);
    let base = Arc::new(open(dir.path(), Zxid(1)));
    let extents: Vec<_> = base.children_extents("/").collect();
    // The kernel may have read a little around header and footer. Where it keeps all, as on tmpfs, there is nothing to see.
    let absent = |extent: &&Extent| !base.is_resident(extent).unwrap();
    base.bring_in(&extents[extents.len() / 2]).unwrap();
    // Only now: the kernel reads ahead of that as well.
    let before = extents.iter().filter(absent).count();
    assert!(Scrub::new(Arc::clone(&base)).step(u64::MAX).unwrap().is_done());
    assert!(base.is_resident(&extents[extents.len() / 2]).unwrap(), "what was there stays");
    let after = extents.iter().filter(absent).count();
    // Not all: what is still on its way from the disk is not dropped.
    assert!(2 * after >= before, "{before} of {} segments were not in memory, {after} after the scrub", extents.len());
}

#[test]
fn an_extent_that_is_brought_in_is_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let base = two_files(dir.path());
    let extent = base.extent("/").unwrap();
    base.bring_in(&extent).unwrap();
    assert!(base.is_resident(&extent).unwrap());
    let children = base.children_extent("/").unwrap();
    let all: Vec<_> = base.children_extents("/").collect();
    assert!(all.len() > 1 && all[0] == children, "the root's children lie in several segments");
    // Each child lies in one of them.
    for child in base.children("/").unwrap() {
        assert!(all.contains(&base.extent(child.unwrap().path()).unwrap()));
    }
    assert_eq!(base.children_extents("/none").count(), base.children_extent("/none").into_iter().count());
}
