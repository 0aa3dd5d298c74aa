//! A file on its way to being an image: a temporary file that grows at its end, steadily and not too fast, and gets its name last.
//!
//! Owns the temporary file until it is published or removed, and the pace of the writing. It must never give a file its
//! published name before every byte of it is durable, and never leave a temporary file behind that it could remove. It fails with
//! [`Error`], after which nothing of the file is left; `tests/base_crash.rs` would catch a mistake.

use std::fmt::Debug;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::Zxid;

use crate::dirs::DataDir;
use crate::disk::{Disk, DiskFile, publish};
use crate::{Error, Result};

/// How an image goes on while it is written. It is asked after each segment.
pub trait Pace: Debug + Send + Sync {
    /// Whether it is written on. Once not, it is given up with [`Error::GivenUp`], within a tenth of a second.
    fn goes_on(&self) -> bool;

    /// Bytes a second that the writing keeps below, by sleeping; `None`: as fast as it goes.
    fn bytes_per_second(&self) -> Option<NonZeroU64>;
}

/// An image's file while it is written. Dropped before [`GrowingFile::publish`], it leaves nothing.
#[derive(Debug)]
pub(crate) struct GrowingFile {
    disk: Box<dyn Disk>,
    /// `None` once it was given up or published.
    file: Option<Box<dyn DiskFile>>,
    data: DataDir,
    zxid: Zxid,
    temp: PathBuf,
    pace: Option<Arc<dyn Pace>>,
    due: Due,
    /// Bytes written.
    offset: u64,
    /// Bytes that the pace has been kept for.
    paced: u64,
    /// Bytes that the disk was told to begin with.
    behind: u64,
}

impl GrowingFile {
    /// Begins the file of the image at this zxid.
    pub(crate) fn create(disk: Box<dyn Disk>, dir: &Path, zxid: Zxid) -> Result<GrowingFile> {
        let data = DataDir::new(dir);
        let temp = data.image_temp(zxid);
        let file = Some(disk.create(&temp).map_err(|source| Error::io("create", &temp, source))?);
        Ok(GrowingFile {
            disk,
            file,
            data,
            zxid,
            temp,
            pace: None,
            due: Due(Instant::now()),
            offset: 0,
            paced: 0,
            behind: 0,
        })
    }

    /// From now on it goes on as this says.
    pub(crate) fn keep_to(&mut self, pace: Arc<dyn Pace>) {
        self.pace = Some(pace);
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

    /// Spreads the work: dirty pages go to the disk bit by bit, not in one burst at the end, and no faster than asked for. To be called after each
    /// segment: the pauses are as short as that, since on a processor that the image shares with the requests each piece of work between two
    /// of them is what a request waits for.
    pub(crate) fn smooth(&mut self) -> Result<()> {
        self.check_pace()?;
        while self.offset - self.behind >= BEHIND_BYTES {
            let Some(file) = &mut self.file else { return Err(self.given_up()) };
            if let Err(source) = file.write_behind(self.behind, BEHIND_BYTES) {
                self.give_up();
                return Err(Error::io("write", &self.temp, source));
            }
            self.behind += BEHIND_BYTES;
        }
        self.wait()
    }

    fn check_pace(&mut self) -> Result<()> {
        if self.pace.as_ref().is_none_or(|pace| pace.goes_on()) {
            return Ok(());
        }
        self.give_up();
        Err(self.given_up())
    }

    /// Waits until there may be more.
    fn wait(&mut self) -> Result<()> {
        let rate = self.pace.as_ref().and_then(|pace| pace.bytes_per_second());
        let mut left = self.due.pause(rate, self.offset - self.paced, Instant::now());
        self.paced = self.offset;
        while !left.is_zero() {
            let nap = left.min(NAP_MAX);
            std::thread::sleep(nap);
            left -= nap;
            self.check_pace()?;
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

/// When the next bytes may come.
#[derive(Debug)]
struct Due(Instant);

impl Due {
    /// How long to wait after so many bytes, which were written by `now`. What was too slow is not made up for: a burst is what others would wait
    /// for.
    fn pause(&mut self, rate: Option<NonZeroU64>, bytes: u64, now: Instant) -> Duration {
        let takes_us = rate.map_or(0, |rate| u128::from(bytes) * 1_000_000 / u128::from(rate.get()));
        let takes = Duration::from_micros(u64::try_from(takes_us).unwrap_or(u64::MAX)).min(PAUSE_MAX);
        let left = (self.0 + takes).saturating_duration_since(now);
        self.0 = now + left;
        left
    }
}

/// The longest that a rate makes the writer wait for one piece: the slowest that it takes at its word.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Slept at a time.
const NAP_MAX: Duration = Duration::from_millis(100);

/// What the disk is given at a time. A sync each so often instead was measured: the log waited behind its burst for hundreds of ms.
const BEHIND_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_pause_makes_up_for_what_was_too_fast_and_not_for_what_was_too_slow() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let rate = NonZeroU64::new(1 << 20);
        let mut due = Due(begun);
        assert_eq!(due.pause(rate, 1 << 20, at(0)), Duration::from_secs(1));
        assert_eq!(due.pause(rate, 1 << 20, at(1_600)), Duration::from_millis(400));
        assert_eq!(due.pause(rate, 1 << 20, at(5_000)), Duration::ZERO, "it took three seconds");
        assert_eq!(due.pause(rate, 1 << 19, at(5_100)), Duration::from_millis(400), "and saved nothing by it");
        assert_eq!(due.pause(None, 1 << 20, at(6_000)), Duration::ZERO, "as fast as it goes");
        assert_eq!(due.pause(rate, 1 << 20, at(6_100)), Duration::from_millis(900), "nor by that");
        assert_eq!(due.pause(Some(NonZeroU64::MIN), u64::MAX, at(7_000)), PAUSE_MAX);
    }

    /// Goes on for so many looks, at a byte a second.
    #[derive(Debug)]
    struct Stops(AtomicUsize);

    impl Pace for Stops {
        fn goes_on(&self) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        }

        fn bytes_per_second(&self) -> Option<NonZeroU64> {
            Some(NonZeroU64::MIN)
        }
    }

    #[test]
    fn what_is_to_stop_stops_in_the_middle_of_a_pause_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = GrowingFile::create(Box::new(RealDisk), dir.path(), Zxid(1)).unwrap();
        file.keep_to(Arc::new(Stops(AtomicUsize::new(3))));
        file.append(&vec![7; 1 << 20]).unwrap();
        let begun = Instant::now();
        assert!(matches!(file.smooth(), Err(Error::GivenUp { .. })));
        assert!(begun.elapsed() >= 2 * NAP_MAX, "two looks within the pause let it go on");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_piece_that_is_much_less_than_the_disk_is_given_at_a_time_has_its_pause_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = GrowingFile::create(Box::new(RealDisk), dir.path(), Zxid(1)).unwrap();
        file.keep_to(Arc::new(Stops(AtomicUsize::new(1))));
        file.append(&[7; 1 << 10]).unwrap();
        // The one look is that before the pause, which ends it at once.
        assert!(matches!(file.smooth(), Err(Error::GivenUp { .. })));
    }
}
