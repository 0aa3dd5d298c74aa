//! The data directory: which files have which names.
//!
//! | name | what |
//! |---|---|
//! | `control` | the control file |
//! | `control.tmp` | one being written |
//! | `identity` | whose directory it is; in the log's directory, too |
//! | `identity.tmp` | one being written |
//! | `image.<zxid, 16 hex digits>` | a published image |
//! | `image.<zxid, 16 hex digits>.tmp` | one being written |
//! | `ringkeeper.lock` | locked by who uses the directory |
//! | `version-2.imported` | up to which zxid ZooKeeper's `version-2` is known: 16 hex digits, a blank, their crc32c as 8 hex digits |
//!
//! Owns these names. It must never touch a file with any other name: a data directory also holds `myid`, ZooKeeper's own
//! `version-2`, and what an operator put there. It fails with [`Error::Io`]; the tests below would catch a mistake.

use std::fs;
use std::path::{Path, PathBuf};

use proto::Zxid;

use crate::disk::{Disk, RealDisk};
use crate::{Damage, Error, Result, small};

/// A data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir {
    path: PathBuf,
}

/// A published image, by its name alone: nothing of it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// The zxid in its name.
    pub zxid: Zxid,
    /// Where it lies.
    pub path: PathBuf,
}

impl DataDir {
    /// The directory at this path; it is not touched.
    pub fn new(path: impl Into<PathBuf>) -> DataDir {
        DataDir { path: path.into() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The control file.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.path.join(CONTROL)
    }

    /// The control file while it is being written.
    #[must_use]
    pub fn control_temp(&self) -> PathBuf {
        self.path.join(CONTROL_TEMP)
    }

    /// The identity.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.path.join(IDENTITY)
    }

    /// The identity while it is being written.
    #[must_use]
    pub fn identity_temp(&self) -> PathBuf {
        self.path.join(IDENTITY_TEMP)
    }

    /// The published image at this zxid.
    #[must_use]
    pub fn image(&self, zxid: Zxid) -> PathBuf {
        self.path.join(image_name(zxid))
    }

    /// The image at this zxid while it is being written.
    #[must_use]
    pub fn image_temp(&self, zxid: Zxid) -> PathBuf {
        self.path.join(format!("{}{TEMP_SUFFIX}", image_name(zxid)))
    }

    /// The published images, newest first.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be read.
    pub fn images(&self) -> Result<Vec<ImageFile>> {
        let mut images = Vec::new();
        for name in self.names()? {
            if let Some(zxid) = parse_image_name(&name) {
                images.push(ImageFile { zxid, path: self.path.join(&name) });
            }
        }
        images.sort_by_key(|image| std::cmp::Reverse(image.zxid));
        Ok(images)
    }

    /// Removes what a crash left half written, and makes the names durable that are there: a process that died, or a disk that failed, between a rename and the directory's sync
    /// has left a control file that reads and that the next power loss takes back. To be called at start, before anybody counts on what is here. Returns what it removed.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be read or synced, or a file cannot be removed.
    pub fn clean_temporaries(&self) -> Result<Vec<PathBuf>> {
        self.clean_temporaries_on(&RealDisk)
    }

    /// As [`DataDir::clean_temporaries`], on a given disk.
    ///
    /// # Errors
    /// As [`DataDir::clean_temporaries`].
    pub fn clean_temporaries_on(&self, disk: &dyn Disk) -> Result<Vec<PathBuf>> {
        let mut removed = Vec::new();
        for name in self.names()? {
            let is_ours = [CONTROL_TEMP, IDENTITY_TEMP, IMPORTED_TEMP].contains(&name.as_str())
                || name.strip_suffix(TEMP_SUFFIX).is_some_and(|name| parse_image_name(name).is_some());
            if is_ours {
                let path = self.path.join(&name);
                disk.remove(&path).map_err(|source| Error::io("remove", &path, source))?;
                removed.push(path);
            }
        }
        disk.sync_dir(&self.path).map_err(|source| Error::io("sync", &self.path, source))?;
        Ok(removed)
    }

    /// Up to which txn ZooKeeper's data in this directory are known: what was imported from them or exported to them. `None`: never.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn imported(&self) -> Result<Option<Zxid>> {
        let path = self.path.join(IMPORTED);
        let Some(bytes) = small::read(&path)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let zxid = text.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(Zxid);
        let whole = zxid.filter(|zxid| imported_line(*zxid) == text);
        whole.map(Some).ok_or_else(|| Error::damaged(&path, 0, None, Damage::Field("the line")))
    }

    /// Says up to which txn ZooKeeper's data are known. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoSpace`].
    pub fn set_imported(&self, zxid: Zxid) -> Result<()> {
        let (path, temp) = (self.path.join(IMPORTED), self.path.join(IMPORTED_TEMP));
        small::replace(&RealDisk, &self.path, &temp, &path, imported_line(zxid).as_bytes())
    }

    /// The names of the plain files in it, sorted. A name that is not UTF-8 is none of ours.
    fn names(&self) -> Result<Vec<String>> {
        let fail = |source| Error::io("list", &self.path, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let is_file = entry.file_type().map_err(fail)?.is_file();
            if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// The name of the image at this zxid.
#[must_use]
pub fn image_name(zxid: Zxid) -> String {
    format!("{IMAGE_PREFIX}{:016x}", zxid.0)
}

/// The zxid in an image's name; `None` if it is not exactly such a name.
#[must_use]
pub fn parse_image_name(name: &str) -> Option<Zxid> {
    let digits = name.strip_prefix(IMAGE_PREFIX)?;
    let zxid = Zxid(u64::from_str_radix(digits, 16).ok()?);
    // Only the one spelling that we write: no sign, no capitals, no other length.
    (image_name(zxid) == name).then_some(zxid)
}

/// The file that is locked while a server or a tool uses the directory.
pub const LOCK_FILE: &str = "ringkeeper.lock";

fn imported_line(zxid: Zxid) -> String {
    let digits = format!("{:016x}", zxid.0);
    let sum = crc32c::crc32c(digits.as_bytes());
    format!("{digits} {sum:08x}\n")
}

const IMPORTED: &str = "version-2.imported";
const IMPORTED_TEMP: &str = "version-2.imported.tmp";
const CONTROL: &str = "control";
const CONTROL_TEMP: &str = "control.tmp";
const IDENTITY: &str = "identity";
const IDENTITY_TEMP: &str = "identity.tmp";
const IMAGE_PREFIX: &str = "image.";
const TEMP_SUFFIX: &str = ".tmp";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Control;
    use crate::sim_disk::SimDisk;

    #[test]
    fn only_the_names_that_we_write_are_ours() {
        assert_eq!(parse_image_name("image.00000001000000ff"), Some(Zxid(0x1_0000_00ff)));
        assert_eq!(parse_image_name("image.ffffffffffffffff"), Some(Zxid(u64::MAX)));
        for foreign in [
            "image.00000001000000FF",
            "image.ff",
            "image.+0000001000000ff",
            "image.00000001000000ff.tmp",
            "image.00000001000000ff.bak",
            "image.",
            "snapshot.ff",
            "",
        ] {
            assert_eq!(parse_image_name(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn what_is_known_of_zookeepers_data_is_kept_and_every_flipped_bit_found() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        assert_eq!(data.imported().unwrap(), None);
        data.set_imported(Zxid(0x1_0000_00ff)).unwrap();
        assert_eq!(data.imported().unwrap(), Some(Zxid(0x1_0000_00ff)));
        let path = dir.path().join(IMPORTED);
        let good = fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            if let Some(byte) = bad.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            fs::write(&path, bad).unwrap();
            assert!(data.imported().is_err(), "bit {bit}");
        }
        data.set_imported(Zxid(7)).unwrap();
        assert_eq!(data.imported().unwrap(), Some(Zxid(7)));
    }

    #[test]
    fn images_are_listed_newest_first_and_only_our_temporaries_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path());
        let kept = [
            "image.0000000000000003",
            "image.000000010000000a",
            "control",
            "identity",
            "myid",
            "other.tmp",
            "image.ff.tmp",
        ];
        let temps = ["control.tmp", "identity.tmp", "image.0000000000000007.tmp"];
        for name in kept.iter().chain(&temps) {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        fs::create_dir(dir.path().join("image.0000000000000009")).unwrap();
        let images: Vec<_> = data.images().unwrap().iter().map(|image| image.zxid).collect();
        assert_eq!(images, [Zxid(0x1_0000_000a), Zxid(3)]);
        let removed: Vec<_> = temps.iter().map(|name| dir.path().join(name)).collect();
        assert_eq!(data.clean_temporaries().unwrap(), removed);
        assert!(kept.iter().all(|name| dir.path().join(name).exists()));
        assert!(data.clean_temporaries().unwrap().is_empty());
    }

    #[test]
    fn a_control_file_that_a_start_reads_is_there_after_a_power_loss() {
        let dir = tempfile::tempdir().unwrap();
        let (data, disk) = (DataDir::new(dir.path()), SimDisk::mirrored(wal::sim_disk::SimDisk::new()));
        let control = |epoch| Control { accepted_epoch: proto::Epoch(epoch), ..Control::default() };
        let durable = || Control::decode(&disk.durable_file(&data.control()).unwrap(), &data.control()).unwrap();
        control(1).replace_on(&disk, dir.path()).unwrap();
        // Create, write, sync, rename, and what makes the name durable.
        disk.fail_at(disk.calls() + 4, 5, false);
        assert!(control(2).replace_on(&disk, dir.path()).is_err());
        assert_eq!(Control::load(dir.path()).unwrap(), Some(control(2)), "a start reads the new one");
        assert_eq!(durable(), control(1), "and a power loss may bring back the old one");
        data.clean_temporaries_on(&disk).unwrap();
        assert_eq!(durable(), control(2));
    }
}
