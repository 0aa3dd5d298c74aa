//! Which files a `version-2` has, and what their names say (`Util`, `FileTxnSnapLog`, `QuorumPeer`).
//!
//! Java takes more names for its own than it ever writes (`snapshot.5.bak`). Here only those count that a server writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proto::{Epoch, Zxid};

use super::{Compression, Error, Fault, Result, Txns, txns};

/// A directory `version-2`, or the two of them where the logs lie elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version2 {
    snap_dir: PathBuf,
    log_dir: PathBuf,
}

/// A snapshot, by its name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// The newest txn when it was begun: everything up to it is in the snapshot, and parts of what came later may be.
    pub zxid: Zxid,
    /// How it is packed.
    pub compression: Compression,
    /// Where it lies.
    pub path: PathBuf,
}

/// A log, by its name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its first txn.
    pub first_zxid: Zxid,
    /// Where it lies.
    pub path: PathBuf,
}

impl SnapshotFile {
    /// The snapshot at this path, if its name is one that a server gives.
    #[must_use]
    pub fn at(path: &Path) -> Option<SnapshotFile> {
        let (zxid, compression) = parse_snapshot_name(path.file_name()?.to_str()?)?;
        Some(SnapshotFile { zxid, compression, path: path.to_path_buf() })
    }
}

impl LogFile {
    /// The log at this path, if its name is one that a server gives.
    #[must_use]
    pub fn at(path: &Path) -> Option<LogFile> {
        let first_zxid = parse_log_name(path.file_name()?.to_str()?)?;
        Some(LogFile { first_zxid, path: path.to_path_buf() })
    }
}

/// What an ensemble's server remembers of epochs; `None` where there is no file, as on a server that is alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The epoch promised to a prospective leader.
    pub accepted: Option<Epoch>,
    /// The epoch of the leader last followed.
    pub current: Option<Epoch>,
    /// One that was being written when the server stopped: it counts if the data reach into it.
    pub current_begun: Option<Epoch>,
}

impl Version2 {
    /// That of a server with this `dataDir` and `dataLogDir`. Nothing is touched.
    #[must_use]
    pub fn new(data_dir: &Path, data_log_dir: &Path) -> Version2 {
        Version2 { snap_dir: data_dir.join(NAME), log_dir: data_log_dir.join(NAME) }
    }

    /// This directory itself, with snapshots and logs side by side. Nothing is touched.
    #[must_use]
    pub fn directory(dir: &Path) -> Version2 {
        Version2 { snap_dir: dir.to_path_buf(), log_dir: dir.to_path_buf() }
    }

    /// Where the snapshots and epochs lie.
    #[must_use]
    pub fn snap_dir(&self) -> &Path {
        &self.snap_dir
    }

    /// Where the logs lie.
    #[must_use]
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// Where the snapshot at this zxid has its place.
    #[must_use]
    pub fn snapshot(&self, zxid: Zxid, compression: Compression) -> SnapshotFile {
        let path = self.snap_dir.join(format!("{SNAPSHOT_PREFIX}{:x}{}", zxid.0, compression.suffix()));
        SnapshotFile { zxid, compression, path }
    }

    /// Where the log that begins with this txn has its place.
    #[must_use]
    pub fn log(&self, first_zxid: Zxid) -> LogFile {
        LogFile { first_zxid, path: self.log_dir.join(format!("{LOG_PREFIX}{:x}", first_zxid.0)) }
    }

    /// The snapshots, newest first.
    ///
    /// # Errors
    /// [`Error::Io`]; a directory that does not exist has none.
    pub fn snapshots(&self) -> Result<Vec<SnapshotFile>> {
        let mut snapshots = Vec::new();
        for name in names(&self.snap_dir)? {
            if let Some((zxid, compression)) = parse_snapshot_name(&name) {
                snapshots.push(SnapshotFile { zxid, compression, path: self.snap_dir.join(name) });
            }
        }
        snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.zxid));
        Ok(snapshots)
    }

    /// The logs, oldest first.
    ///
    /// # Errors
    /// [`Error::Io`]; a directory that does not exist has none.
    pub fn logs(&self) -> Result<Vec<LogFile>> {
        let mut logs = Vec::new();
        for name in names(&self.log_dir)? {
            if let Some(first_zxid) = parse_log_name(&name) {
                logs.push(LogFile { first_zxid, path: self.log_dir.join(name) });
            }
        }
        logs.sort_by_key(|log| log.first_zxid);
        Ok(logs)
    }

    /// Is there any snapshot or log?
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn has_data(&self) -> Result<bool> {
        Ok(!self.snapshots()?.is_empty() || !self.logs()?.is_empty())
    }

    /// Refuses logs among the snapshots and snapshots among the logs, which nobody would read.
    ///
    /// # Errors
    /// [`Error::Misplaced`], [`Error::Io`].
    pub fn check_places(&self) -> Result<()> {
        if self.snap_dir == self.log_dir {
            return Ok(());
        }
        for (dir, other) in [(&self.snap_dir, "snapshots"), (&self.log_dir, "logs")] {
            for name in names(dir)? {
                let wrong = if other == "logs" {
                    parse_snapshot_name(&name).is_some()
                } else {
                    parse_log_name(&name).is_some()
                };
                if wrong {
                    return Err(Error::Misplaced { file: dir.join(name), other });
                }
            }
        }
        Ok(())
    }

    /// The txns after `after`, of all logs.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn txns_after(&self, after: Zxid) -> Result<Txns> {
        Ok(Txns::new(self.logs()?, after))
    }

    /// The newest txn that any file knows of; `None` if there is no file. Reads little: checks no checksums, and what does not read counts as
    /// the end.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn newest_zxid(&self) -> Result<Option<Zxid>> {
        let snapshot = self.snapshots()?.first().map(|snapshot| snapshot.zxid);
        let logged = match self.logs()?.last() {
            Some(log) => Some(txns::skim_to_last(log)?),
            None => None,
        };
        Ok(snapshot.max(logged))
    }

    /// The epochs.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Damaged`] if a file is no number.
    pub fn epochs(&self) -> Result<Epochs> {
        Ok(Epochs {
            accepted: self.read_epoch(ACCEPTED_EPOCH)?,
            current: self.read_epoch(CURRENT_EPOCH)?,
            current_begun: self.read_epoch(CURRENT_EPOCH_BEGUN)?,
        })
    }

    /// Writes both epochs.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_epochs(&self, accepted: Epoch, current: Epoch) -> Result<()> {
        for (name, epoch) in [(ACCEPTED_EPOCH, accepted), (CURRENT_EPOCH, current)] {
            let path = self.snap_dir.join(name);
            let temp = path.with_extension("new");
            let written = fs::write(&temp, epoch.0.to_string())
                .and_then(|()| fs::File::open(&temp)?.sync_all())
                .and_then(|()| fs::rename(&temp, &path));
            written.map_err(|source| Error::io("write", &path, source))?;
        }
        super::snapshot_writer::sync_parent(&self.snap_dir.join(CURRENT_EPOCH))
    }

    fn read_epoch(&self, name: &str) -> Result<Option<Epoch>> {
        let path = self.snap_dir.join(name);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("read", &path, source)),
        };
        // Java reads the first line; -1 says that there is none yet.
        let number = text.lines().next().unwrap_or_default();
        if number == "-1" {
            return Ok(None);
        }
        let epoch = number.parse().map_err(|_| Error::damaged(&path, 0, Fault::Field("the epoch")))?;
        Ok(Some(Epoch(epoch)))
    }

    /// Accepted and current epoch of a server whose newest txn is `newest`, by Java's rules.
    ///
    /// # Errors
    /// [`Error::EpochTooOld`], or as [`Version2::epochs`].
    pub fn resolve_epochs(&self, newest: Zxid) -> Result<(Epoch, Epoch)> {
        let Epochs { accepted, current, current_begun } = self.epochs()?;
        let too_old =
            |which, found, least, of| Error::EpochTooOld { dir: self.snap_dir.clone(), which, found, least, of };
        let mut now = current.unwrap_or(newest.epoch());
        if now < newest.epoch() {
            let begun = current_begun.filter(|begun| *begun >= newest.epoch());
            now = begun.ok_or_else(|| too_old(CURRENT_EPOCH, now, newest.epoch(), "the newest txn"))?;
        }
        let accepted = accepted.unwrap_or(now);
        if accepted < now {
            return Err(too_old(ACCEPTED_EPOCH, accepted, now, CURRENT_EPOCH));
        }
        Ok((accepted, now))
    }
}

/// Zxid and compression in a snapshot's name; `None` if no server writes such a name.
fn parse_snapshot_name(name: &str) -> Option<(Zxid, Compression)> {
    let rest = name.strip_prefix(SNAPSHOT_PREFIX)?;
    Compression::ALL
        .iter()
        .find_map(|&compression| Some((parse_zxid(rest.strip_suffix(compression.suffix())?)?, compression)))
}

fn parse_log_name(name: &str) -> Option<Zxid> {
    parse_zxid(name.strip_prefix(LOG_PREFIX)?)
}

fn parse_zxid(digits: &str) -> Option<Zxid> {
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| is_hex).map(Zxid)
}

/// The names of the plain files in a directory, sorted; none if it does not exist.
fn names(dir: &Path) -> Result<Vec<String>> {
    let fail = |source| Error::io("list", dir, source);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(fail(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        // A link to a file counts, as it does for Java.
        let is_file = fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
        if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

const NAME: &str = "version-2";
const SNAPSHOT_PREFIX: &str = "snapshot.";
const LOG_PREFIX: &str = "log.";
const ACCEPTED_EPOCH: &str = "acceptedEpoch";
const CURRENT_EPOCH: &str = "currentEpoch";
const CURRENT_EPOCH_BEGUN: &str = "currentEpoch.tmp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_server_writes_count() {
        assert_eq!(parse_snapshot_name("snapshot.1000000ff"), Some((Zxid(0x1_0000_00ff), Compression::None)));
        assert_eq!(parse_snapshot_name("snapshot.0.gz"), Some((Zxid(0), Compression::Gzip)));
        assert_eq!(parse_snapshot_name("snapshot.a.snappy"), Some((Zxid(10), Compression::Snappy)));
        for foreign in [
            "snapshot.5.bak",
            "snapshot.",
            "snapshot..gz",
            "snapshot.+5",
            "tmp-snapshot.5",
            "snapshot.5.gz.gz",
            "log.5",
        ] {
            assert_eq!(parse_snapshot_name(foreign), None, "{foreign}");
        }
        assert_eq!(parse_log_name("log.1f"), Some(Zxid(0x1f)));
        assert_eq!(parse_log_name("log.1f.gz"), None);
    }

    #[test]
    fn epochs_are_taken_as_java_takes_them() {
        let top = tempfile::tempdir().unwrap();
        let files = Version2::new(top.path(), top.path());
        fs::create_dir(files.snap_dir()).unwrap();
        let newest = Zxid::new(Epoch(3), 7);
        assert_eq!(files.resolve_epochs(newest).unwrap(), (Epoch(3), Epoch(3)));
        files.write_epochs(Epoch(5), Epoch(4)).unwrap();
        assert_eq!(files.resolve_epochs(newest).unwrap(), (Epoch(5), Epoch(4)));
        files.write_epochs(Epoch(5), Epoch(2)).unwrap();
        let error = files.resolve_epochs(newest).unwrap_err().to_string();
        assert!(error.contains("currentEpoch is 2, which is less than 3"), "{error}");
        fs::write(files.snap_dir().join(CURRENT_EPOCH_BEGUN), "3").unwrap();
        assert_eq!(files.resolve_epochs(newest).unwrap(), (Epoch(5), Epoch(3)));
        files.write_epochs(Epoch(3), Epoch(4)).unwrap();
        assert!(matches!(files.resolve_epochs(newest), Err(Error::EpochTooOld { which: ACCEPTED_EPOCH, .. })));
        fs::write(files.snap_dir().join(CURRENT_EPOCH), "four").unwrap();
        assert!(files.resolve_epochs(newest).unwrap_err().is_damage());
    }

    #[test]
    fn a_file_in_the_others_directory_is_named() {
        let top = tempfile::tempdir().unwrap();
        let (data, logs) = (top.path().join("data"), top.path().join("logs"));
        let files = Version2::new(&data, &logs);
        fs::create_dir_all(files.snap_dir()).unwrap();
        fs::create_dir_all(files.log_dir()).unwrap();
        assert!(!files.has_data().unwrap());
        files.check_places().unwrap();
        fs::write(files.snap_dir().join("log.1"), "").unwrap();
        assert!(matches!(files.check_places(), Err(Error::Misplaced { other: "snapshots", .. })));
        assert!(Version2::new(&data, &data).check_places().is_ok());
    }
}
