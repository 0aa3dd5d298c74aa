//! The data directories: there, writable, and ours alone.
//!
//! The lock is `flock` on `ringkeeper.lock`: the kernel drops it with the process, however that ends, so a lock file
//! that lies about is no sign of a running server. The file holds the process id, for the message only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use snapshot::dirs::LOCK_FILE;

/// The file that shows whether the directory can be written to; gone again at once.
const PROBE_FILE: &str = "ringkeeper.probe";

/// A data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It is absent, and creating is switched off.
    #[error("{key}: {} does not exist, and datadir.autocreate=false forbids creating it: create it, or mount the \
             volume that should be there", path.display())]
    Absent {
        /// `dataDir` or `dataLogDir`.
        key: &'static str,
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be created.
    #[error("{key}: {} cannot be created: {error}; create it for the user that runs the server, or name another", path.display())]
    NotCreated {
        /// `dataDir` or `dataLogDir`.
        key: &'static str,
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is a file.
    #[error("{key}: {} is not a directory", path.display())]
    NotADirectory {
        /// `dataDir` or `dataLogDir`.
        key: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// It cannot be written to.
    #[error("{key}: cannot write {}: {error}; check owner and mode of the directory, whether the file system is mounted \
             read-only, and whether it is full", path.display())]
    NotWritable {
        /// `dataDir` or `dataLogDir`.
        key: &'static str,
        /// The file that was tried.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another server has it.
    #[error("{key}: {} is already in use by another server{}; stop that one, or give this one a directory of its own",
            path.display(), holder.map_or(String::new(), |pid| format!(" (process {pid})")))]
    InUse {
        /// `dataDir` or `dataLogDir`.
        key: &'static str,
        /// The directory.
        path: PathBuf,
        /// The process that wrote its id into the lock file last.
        holder: Option<u32>,
    },
    /// The file system knows no locks.
    #[error("{key}: cannot lock {}: {error}; the directory must lie on a file system with locks", path.display())]
    NotLockable {
        /// `dataDir` or `dataLogDir`.
        key: &'static str,
        /// The lock file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The lock on a data directory; given up when dropped.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
    path: PathBuf,
}

impl DirLock {
    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether two paths lead to one directory.
pub fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    one == other || identity(one).is_some_and(|found| identity(other) == Some(found))
}

/// Creates the directory where it is missing and may be, sees that it can be written to, and locks it.
pub fn prepare(key: &'static str, dir: &Path, autocreate: bool) -> Result<DirLock, DataDirError> {
    let path = || dir.to_owned();
    if !dir.exists() {
        if !autocreate {
            return Err(DataDirError::Absent { key, path: path() });
        }
        std::fs::create_dir_all(dir).map_err(|error| DataDirError::NotCreated { key, path: path(), error })?;
    }
    if !dir.is_dir() {
        return Err(DataDirError::NotADirectory { key, path: path() });
    }
    let lock = lock(key, dir)?;
    let probe = dir.join(PROBE_FILE);
    let tried = unless_full(std::fs::write(&probe, b"x")).and_then(|()| std::fs::remove_file(&probe));
    tried.map_err(|error| DataDirError::NotWritable { key, path: probe, error })?;
    Ok(lock)
}

fn lock(key: &'static str, dir: &Path) -> Result<DirLock, DataDirError> {
    let path = dir.join(LOCK_FILE);
    // Not truncated: until the lock is ours, the content is the holder's.
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(|error| DataDirError::NotWritable { key, path: path.clone(), error })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DataDirError::InUse { key, path: dir.to_owned(), holder: read_holder(&mut file) });
        }
        Err(TryLockError::Error(error)) => return Err(DataDirError::NotLockable { key, path, error }),
    }
    let noted = write_holder(&mut file);
    unless_full(noted).map_err(|error| DataDirError::NotWritable { key, path: path.clone(), error })?;
    Ok(DirLock { _file: file, path })
}

/// A full disk keeps nobody from starting who needs no more of it: what is there can be read, and the log has room in its last segment.
fn unless_full(tried: io::Result<()>) -> io::Result<()> {
    match tried {
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            tracing::warn!(%error, "the disk of a data directory is full");
            Ok(())
        }
        tried => tried,
    }
}

fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_created_or_named() {
        let top = tempfile::tempdir().expect("a temporary directory");
        let dir = top.path().join("a/b");
        let error = prepare("dataDir", &dir, false).expect_err("absent");
        assert!(error.to_string().contains("datadir.autocreate=false"), "{error}");
        let lock = prepare("dataDir", &dir, true).expect("created");
        assert_eq!(lock.path(), dir.join(LOCK_FILE));
        assert!(!dir.join(PROBE_FILE).exists());
    }

    #[test]
    fn a_second_server_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = prepare("dataDir", dir.path(), true).expect("the first");
        let error = prepare("dataDir", dir.path(), true).expect_err("in use").to_string();
        let pid = std::process::id();
        assert!(error.contains("already in use by another server") && error.contains(&pid.to_string()), "{error}");
        drop(first);
        prepare("dataDir", dir.path(), true).expect("free again");
    }

    #[test]
    fn a_directory_is_the_same_by_whatever_name() {
        let top = tempfile::tempdir().expect("a temporary directory");
        let (dir, link, other) = (top.path().join("d"), top.path().join("l"), top.path().join("o"));
        std::fs::create_dir(&dir).and_then(|()| std::fs::create_dir(&other)).expect("created");
        std::os::unix::fs::symlink(&dir, &link).expect("linked");
        assert!(is_same(&dir, &link) && is_same(&dir, &dir) && !is_same(&dir, &other));
        let absent = (top.path().join("x"), top.path().join("y"));
        assert!(!is_same(&absent.0, &absent.1) && is_same(&absent.0, &absent.0));
    }

    #[test]
    fn a_lock_file_that_lies_about_is_no_lock() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join(LOCK_FILE), "4242424\n").expect("written");
        prepare("dataDir", dir.path(), true).expect("free");
        let holder = std::fs::read_to_string(dir.path().join(LOCK_FILE)).expect("read");
        assert_eq!(holder.trim(), std::process::id().to_string());
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("f");
        std::fs::write(&file, "").expect("written");
        assert!(matches!(prepare("dataDir", &file, true), Err(DataDirError::NotADirectory { .. })));
        let below = prepare("dataLogDir", &file.join("x"), true).expect_err("not creatable").to_string();
        assert!(below.starts_with("dataLogDir: ") && below.contains("cannot be created"), "{below}");
    }
}
