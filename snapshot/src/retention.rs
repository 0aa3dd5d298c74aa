//! Which images are kept, of either format.
//!
//! Owns the removal of published images. It must never remove the one that the control file names, nor a newer one (it may be on
//! its way into the control file), nor a file that one of those that are kept points into. It fails with [`Error`]; the tests below and
//! those of `tests/base_carry.rs` would catch a mistake.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use proto::Zxid;

use crate::base;
use crate::control::ImageRef;
use crate::dirs::{DataDir, ImageFile};
use crate::disk::Disk;
use crate::{Error, Result};

/// See [`ControlFile::purge_images`](crate::control::ControlFile::purge_images). `also`: where those are that stay in any case, with the files that they point into.
///
/// # Errors
/// As there.
pub(crate) fn purge(
    disk: &dyn Disk,
    dir: &Path,
    keep: usize,
    referenced: &ImageRef,
    also: &BTreeSet<Zxid>,
) -> Result<Zxid> {
    let images = DataDir::new(dir).images()?;
    // Newest first: the referenced one leads those that it may outlive.
    let at = images.iter().position(|image| image.zxid == referenced.zxid).ok_or_else(|| {
        let missing = io::Error::new(io::ErrorKind::NotFound, "the control file names it, but it is not there");
        Error::io("keep", &dir.join(&referenced.file_name), missing)
    })?;
    let kept = at.saturating_add(keep.max(1)).min(images.len());
    let (left, surplus) = images.split_at(kept);
    let mut needed = also.clone();
    for image in surplus.iter().filter(|image| also.contains(&image.zxid)) {
        needed.extend(references(image)?);
    }
    let mut oldest_whole = referenced.zxid;
    for image in left {
        let references = references(image)?;
        let is_there = |zxid: &Zxid| images.iter().any(|image| image.zxid == *zxid);
        // One whose files went when fewer were kept is of use only for what points into it.
        if references.iter().all(is_there) {
            oldest_whole = oldest_whole.min(image.zxid);
        }
        needed.extend(references);
    }
    let mut removed = false;
    // Oldest first: what a failure leaves has no gap.
    for image in surplus.iter().rev().filter(|image| !needed.contains(&image.zxid)) {
        disk.remove(&image.path).map_err(|source| Error::io("remove", &image.path, source))?;
        removed = true;
    }
    if removed {
        // The log is purged next: it must not be gone while an image that needs it can come back.
        disk.sync_dir(dir).map_err(|source| Error::io("make durable", dir, source))?;
    }
    Ok(oldest_whole)
}

/// Does another image of the directory point into the file of the one at this zxid? Whoever replaces that file, or removes it, takes the other one with it.
///
/// # Errors
/// [`Error::Io`]; [`Error::Damaged`], [`Error::NewerFormat`]: an image does not say what it points into.
pub fn is_pointed_into(dir: &Path, zxid: Zxid) -> Result<bool> {
    let images = DataDir::new(dir).images()?;
    // An image points into older files only.
    for image in images.iter().filter(|image| image.zxid > zxid) {
        if references(image)?.contains(&zxid) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The zxids of the files that an image points into.
fn references(image: &ImageFile) -> Result<Vec<Zxid>> {
    match base::format_version(&image.path)? {
        // Version 1 points into no other file.
        1 => Ok(Vec::new()),
        _ => base::references(&image.path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{BaseOptions, BaseTables, BaseWriter, CarryPlan};
    use crate::control::{Control, ControlFile};
    use crate::image::ImageTotals;

    /// Where the control file names none.
    fn purge(dir: &Path, keep: usize, referenced: &ImageRef) -> Result<Zxid> {
        ControlFile::new(dir, Control::default()).purge_images(keep, referenced)
    }

    /// A directory with an empty image at each zxid; the first is of version 1 (of the bytes, only the header is looked at).
    fn images(zxids: &[u64]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for &zxid in zxids {
            let zxid = Zxid(zxid);
            let writer = BaseWriter::create(dir.path(), zxid, BaseOptions::default(), CarryPlan::new(None)).unwrap();
            writer.finish(&BaseTables::default(), ImageTotals { zxid, ..ImageTotals::default() }).unwrap();
        }
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/image-v1.bin");
        std::fs::copy(fixture, DataDir::new(dir.path()).image(Zxid(zxids[0]))).unwrap();
        dir
    }

    fn left(dir: &tempfile::TempDir) -> Vec<u64> {
        DataDir::new(dir.path()).images().unwrap().iter().map(|image| image.zxid.0).collect()
    }

    #[test]
    fn the_oldest_go_and_the_oldest_left_is_told() {
        let dir = images(&[1, 2, 3, 4, 5]);
        assert_eq!(purge(dir.path(), 3, &ImageRef::at(Zxid(5))).unwrap(), Zxid(3));
        assert_eq!(left(&dir), [5, 4, 3]);
        assert_eq!(purge(dir.path(), 9, &ImageRef::at(Zxid(5))).unwrap(), Zxid(3));
        assert_eq!(left(&dir), [5, 4, 3]);
    }

    #[test]
    fn the_referenced_one_and_newer_ones_stay_whatever_is_asked() {
        let dir = images(&[1, 2, 3, 4, 5]);
        assert_eq!(purge(dir.path(), 2, &ImageRef::at(Zxid(3))).unwrap(), Zxid(2));
        assert_eq!(left(&dir), [5, 4, 3, 2]);
        assert_eq!(purge(dir.path(), 0, &ImageRef::at(Zxid(3))).unwrap(), Zxid(3));
        assert_eq!(left(&dir), [5, 4, 3]);
    }

    #[test]
    fn what_the_control_file_names_or_is_about_to_stays_though_it_is_older_than_what_came_into_force() {
        for case in ["expected", "begun", "adopted"] {
            let dir = images(&[1, 2, 3, 4, 5]);
            let control = ControlFile::new(dir.path(), Control { log_generation: 1, ..Control::default() });
            let options = wal::Options { generation: wal::Generation(1), ..wal::Options::new() };
            let (mut log, _) = wal::Log::open(wal::sim_disk::SimDisk::new(), options).unwrap();
            if case == "expected" {
                control.expect_image(Zxid(2));
            } else {
                crate::store::begin(&mut log, &control, ImageRef::at(Zxid(2))).unwrap();
            }
            if case == "adopted" {
                crate::store::adopt(&mut log, &control, proto::Epoch(1), proto::Epoch(1)).unwrap();
            }
            assert_eq!(control.purge_images(1, &ImageRef::at(Zxid(5))).unwrap(), Zxid(5), "{case}");
            assert_eq!(left(&dir), [5, 2], "{case}");
        }
    }

    #[test]
    fn nothing_is_removed_when_the_referenced_one_is_missing() {
        let dir = images(&[1, 2, 4]);
        let error = purge(dir.path(), 1, &ImageRef::at(Zxid(3))).unwrap_err();
        assert!(error.to_string().contains("image.0000000000000003"), "{error}");
        assert_eq!(left(&dir), [4, 2, 1]);
    }

    #[test]
    fn other_files_are_not_counted_and_not_touched() {
        let dir = images(&[1, 2, 3]);
        for name in ["image.0000000000000000.tmp", "image.old", "control", "image.0000000000000001.bak"] {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        assert_eq!(purge(dir.path(), 1, &ImageRef::at(Zxid(3))).unwrap(), Zxid(3));
        assert_eq!(left(&dir), [3]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5);
    }
}
