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
    pace: Option<Pace>,
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
        let pace = bytes_per_second.map(|rate| Pace { rate, due: Instant::now() });
        Ok(GrowingFile { disk, file, data, zxid, temp, pace, offset: 0, behind: 0 })
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
            if let Some(pace) = &mut self.pace {
                std::thread::sleep(pace.wrote(BEHIND_BYTES, Instant::now()));
            }
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

/// So many bytes a second, and no faster afterwards because it was slower before: a burst is what others would wait for.
#[derive(Debug)]
struct Pace {
    rate: NonZeroU64,
    /// When the next bytes may come.
    due: Instant,
}

impl Pace {
    /// So much was written, up to now: how long to wait before there is more.
    fn wrote(&mut self, bytes: u64, now: Instant) -> Duration {
        let takes_us = u128::from(bytes) * 1_000_000 / u128::from(self.rate.get());
        let takes = Duration::from_micros(u64::try_from(takes_us).unwrap_or(u64::MAX)).min(PAUSE_MAX);
        let wait = (self.due + takes).saturating_duration_since(now);
        self.due = now + wait;
        wait
    }
}

/// The longest that a rate makes the writer wait for one piece: the slowest that it takes at its word.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What the disk is given at a time. A sync each so often instead was measured: the log waited behind its burst for hundreds of ms.
const BEHIND_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_makes_up_for_what_was_too_fast_and_not_for_what_was_too_slow() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut pace = Pace { rate: NonZeroU64::new(1 << 20).unwrap(), due: begun };
        assert_eq!(pace.wrote(1 << 20, at(0)), Duration::from_secs(1));
        assert_eq!(pace.wrote(1 << 20, at(1_600)), Duration::from_millis(400));
        assert_eq!(pace.wrote(1 << 20, at(5_000)), Duration::ZERO, "it took three seconds");
        assert_eq!(pace.wrote(1 << 19, at(5_100)), Duration::from_millis(400), "and saved nothing by it");
        let mut slowest = Pace { rate: NonZeroU64::MIN, due: begun };
        assert_eq!(slowest.wrote(u64::MAX, at(0)), PAUSE_MAX);
    }
}
