//! A file on its way to being an image: a temporary file that grows at its end, steadily and not too fast, and gets its name last.
//!
//! Owns the temporary file until it is published or removed, and the pace of the writing. It must never give a file its
//! published name before every byte of it is durable, and never leave a temporary file behind that it could remove. It fails with
//! [`Error`], after which nothing of the file is left; `tests/base_crash.rs` would catch a mistake.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proto::Zxid;

use crate::dirs::DataDir;
use crate::disk::{Disk, DiskFile, publish};
use crate::{Error, Result};

/// An image's file while it is written. Dropped before [`GrowingFile::publish`], it leaves nothing.
#[derive(Debug)]
pub(crate) struct GrowingFile {
    disk: Box<dyn Disk>,
    /// `None` once it was given up or published.
    file: Option<Box<dyn DiskFile>>,
    data: DataDir,
    zxid: Zxid,
    temp: PathBuf,
    bytes_per_second: Option<NonZeroU64>,
    started: Instant,
    /// Bytes written.
    offset: u64,
    /// Bytes that the disk was told to begin with.
    behind: u64,
}

impl GrowingFile {
    /// Begins the file of the image at this zxid.
    pub(crate) fn create(
        disk: Box<dyn Disk>,
        dir: &Path,
        zxid: Zxid,
        bytes_per_second: Option<NonZeroU64>,
    ) -> Result<GrowingFile> {
        let data = DataDir::new(dir);
        let temp = data.image_temp(zxid);
        let file = Some(disk.create(&temp).map_err(|source| Error::io("create", &temp, source))?);
        let started = Instant::now();
        Ok(GrowingFile { disk, file, data, zxid, temp, bytes_per_second, started, offset: 0, behind: 0 })
    }

    /// Bytes written so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The temporary file, for an error.
    pub(crate) fn temp(&self) -> &Path {
        &self.temp
    }

    /// That it was not given up.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.file.is_some() { Ok(()) } else { Err(self.given_up()) }
    }

    /// Writes at the end. After an error the file is given up.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else { return Err(self.given_up()) };
        if let Err(source) = file.append(bytes) {
            self.give_up();
            return Err(Error::io("write", &self.temp, source));
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Spreads the work: dirty pages go to the disk bit by bit, not in one burst at the end, and no faster than asked for.
    pub(crate) fn smooth(&mut self) -> Result<()> {
        while self.offset - self.behind >= BEHIND_BYTES {
            let Some(file) = &mut self.file else { return Err(self.given_up()) };
            if let Err(source) = file.write_behind(self.behind, BEHIND_BYTES) {
                self.give_up();
                return Err(Error::io("write", &self.temp, source));
            }
            self.behind += BEHIND_BYTES;
        }
        if let Some(rate) = self.bytes_per_second {
            std::thread::sleep(pause(rate, self.offset, self.started.elapsed()));
        }
        Ok(())
    }

    /// Makes it durable and gives it its name, which is returned.
    pub(crate) fn publish(mut self) -> Result<PathBuf> {
        let Some(file) = self.file.take() else { return Err(self.given_up()) };
        let path = self.data.image(self.zxid);
        publish(&*self.disk, file, &self.temp, &path, self.data.path())?;
        Ok(path)
    }

    /// Closes and removes the temporary file.
    pub(crate) fn give_up(&mut self) {
        if self.file.take().is_some() {
            // The first error is what counts; a temporary file that stays is removed at the next start.
            let _ = self.disk.remove(&self.temp);
        }
    }

    fn given_up(&self) -> Error {
        Error::GivenUp { file: self.temp.clone() }
    }
}

impl Drop for GrowingFile {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// How long to wait so that `written` bytes have taken as long as the rate allows.
fn pause(rate: NonZeroU64, written: u64, elapsed: Duration) -> Duration {
    let due_us = u128::from(written) * 1_000_000 / u128::from(rate.get());
    Duration::from_micros(u64::try_from(due_us).unwrap_or(u64::MAX)).saturating_sub(elapsed)
}

/// What the disk is given at a time. A sync each so often instead was measured: the log waited behind its burst for hundreds of ms.
const BEHIND_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_makes_up_for_what_was_written_too_fast() {
        let rate = NonZeroU64::new(1 << 20).unwrap();
        assert_eq!(pause(rate, 1 << 20, Duration::ZERO), Duration::from_secs(1));
        assert_eq!(pause(rate, 1 << 20, Duration::from_millis(600)), Duration::from_millis(400));
        assert_eq!(pause(rate, 1 << 20, Duration::from_secs(2)), Duration::ZERO);
        assert_eq!(pause(NonZeroU64::MIN, u64::MAX, Duration::ZERO), Duration::from_micros(u64::MAX));
    }
}
