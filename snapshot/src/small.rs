//! The small files of a data directory (control file, identity, what was imported): each read whole, and replaced whole.
//!
//! Owns how that is done. It must never change a file in place, nor read more of one than any version of it may have: whoever decodes the bytes finds that
//! they are too many. It fails with [`Error`]; the tests of the three files and `tests/base_crash.rs` would catch a mistake.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::block::BLOCK_BYTES_MAX;
use crate::disk::{Disk, publish};
use crate::{Error, Result};

/// All bytes of a file, or [`BLOCK_BYTES_MAX`] and one more of a longer one; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io("open", path, source)),
    };
    let mut bytes = Vec::new();
    let limit = BLOCK_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|source| Error::io("read", path, source))?;
    Ok(Some(bytes))
}

/// Puts a file with these bytes in the place of `name` in `dir`, by way of `temp` there. When it returns, the new one is durable.
///
/// # Errors
/// [`Error::NoSpace`]: the old one stands. [`Error::Io`]: the old or the new one stands.
pub(crate) fn replace(disk: &dyn Disk, dir: &Path, temp: &Path, name: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = disk.create(temp).map_err(|source| Error::io("create", temp, source))?;
    if let Err(source) = file.append(bytes) {
        drop(file);
        // The first error is what counts; a temporary file that stays is removed at the next start.
        let _ = disk.remove(temp);
        return Err(Error::io("write", temp, source));
    }
    publish(disk, file, temp, name, dir)
}
