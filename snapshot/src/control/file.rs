//! The control file of a running server: its one owner, which the log's writer and the image thread share.
//!
//! Owns what it says now, and what is under way beside it: a log that was begun behind a received state and is not in force. Every change replaces the
//! file, durably, before it shows here. It must never let an image of a tree come into force that another one has taken the place of: an image
//! is published for the era in which its tree was frozen. Nor may an image go that it names, or is about to. It fails with [`Error`](crate::Error); `tests/store.rs` and `tests/store_crash.rs` would catch a mistake.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::{Epoch, Zxid};

use super::{Control, Former, ImageRef, Spans};
use crate::Result;
use crate::disk::{Disk, RealDisk};
use crate::retention;

/// See the module. Clones share it.
#[derive(Debug, Clone)]
pub struct ControlFile {
    dir: Arc<PathBuf>,
    held: Arc<Mutex<Held>>,
}

/// What became of an image that was to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Publication {
    /// The control file names it.
    InForce,
    /// Its tree is nobody's any more: it is not named, and nobody needs it.
    Outdated,
}

/// What is behind the lock.
#[derive(Debug)]
pub(crate) struct Held {
    disk: Arc<dyn Disk>,
    dir: Arc<PathBuf>,
    control: Control,
    /// How often another tree has taken the place of the one that was shown.
    era: u64,
    /// A received state, and the generation of the log behind it, of which the file knows nothing yet.
    pub(crate) begun: Option<Former>,
    /// Where the image of a state that is being received stands, or of the last one.
    expected: Option<Zxid>,
}

impl ControlFile {
    /// The owner of the control file in `dir`, which says `control`.
    #[must_use]
    pub fn new(dir: &Path, control: Control) -> ControlFile {
        ControlFile::on(Arc::new(RealDisk), dir, control)
    }

    /// As [`ControlFile::new`], on a given disk.
    #[must_use]
    pub fn on(disk: Arc<dyn Disk>, dir: &Path, control: Control) -> ControlFile {
        let dir = Arc::new(dir.to_path_buf());
        let held = Held { disk, dir: Arc::clone(&dir), control, era: 0, begun: None, expected: None };
        ControlFile { dir, held: Arc::new(Mutex::new(held)) }
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The disk that it lies on, and the images with it.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.lock().disk)
    }

    /// What it says now. While the log is being cut this waits.
    #[must_use]
    pub fn get(&self) -> Control {
        self.lock().control.clone()
    }

    /// How often another tree has taken the place of the one that was shown: by an adoption, or by a cut for which the tree was made anew. A tree
    /// belongs to the era in which it came to be shown.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.lock().era
    }

    /// Puts these epochs into it. `durable`: what of the log is.
    ///
    /// # Errors
    /// As [`Control::replace`].
    pub fn write_epochs(&self, accepted: Epoch, current: Epoch, durable: Zxid) -> Result<()> {
        let mut held = self.lock();
        let history_zxid = held.known_durable(durable);
        let control = Control {
            accepted_epoch: accepted,
            current_epoch: current,
            history_zxid,
            has_voted: true,
            ..held.control().clone()
        };
        held.replace(control)
    }

    /// The server takes part in an ensemble from here on. Does nothing where it says so already.
    ///
    /// # Errors
    /// As [`Control::replace`].
    pub fn set_has_voted(&self) -> Result<()> {
        let mut held = self.lock();
        if held.control.has_voted {
            return Ok(());
        }
        let control = Control { has_voted: true, ..held.control.clone() };
        held.replace(control)
    }

    /// The history has turned out not to be whole (law 10): so it is until a state is adopted.
    ///
    /// # Errors
    /// As [`Control::replace`].
    pub fn set_not_whole(&self) -> Result<()> {
        self.lock().set_not_whole()
    }

    /// Lets an image, which is durable, come into force; the tree was frozen in this era. `spans`: the history up to exactly the image's zxid, if it is
    /// known. `durable` is asked while nothing can turn the log.
    ///
    /// An image is made of what is committed: with it the state before the last adoption is needed no more.
    ///
    /// # Errors
    /// As [`Control::replace`].
    ///
    /// # Panics
    /// If the spans end elsewhere.
    pub fn publish_image(
        &self,
        era: u64,
        image: ImageRef,
        spans: Option<Spans>,
        durable: impl FnOnce() -> Zxid,
    ) -> Result<Publication> {
        let mut held = self.lock();
        if era != held.era || image.zxid < held.control.base_zxid() {
            held.remove_image(&image);
            return Ok(Publication::Outdated);
        }
        let history_zxid = held.known_durable(durable().max(image.zxid)).max(image.zxid);
        let control = Control { image: Some(image), spans, history_zxid, former: None, ..held.control.clone() };
        held.replace(control)?;
        Ok(Publication::InForce)
    }

    /// From now on the image at this zxid stays, whoever purges: it is that of a state that is being received, which may be older than the one in force. Until the next such
    /// call. To be called before one looks whether it is there.
    pub fn expect_image(&self, zxid: Zxid) {
        self.lock().expected = Some(zxid);
    }

    /// Removes the oldest images, so that `keep` of those up to the referenced one, which has come into force, are left (at least that one), and of older ones the files that these
    /// point into. Those stay, too, that are in force by now, kept since an adoption, begun or expected ([`ControlFile::expect_image`]), be they older. Returns the zxid of the oldest
    /// image that is left and whole: what the log has up to there may go.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io): if the referenced image is not there, before anything was removed; if the directory or a file refuses.
    /// [`Error::Damaged`](crate::Error::Damaged), [`Error::NewerFormat`](crate::Error::NewerFormat): one that is kept does not say what it points into; nothing was removed.
    pub fn purge_images(&self, keep: usize, referenced: &ImageRef) -> Result<Zxid> {
        let held = self.lock();
        let others = [held.control.former.as_ref(), held.begun.as_ref()].into_iter().flatten();
        let named = held.control.image.iter().chain(others.filter_map(|other| other.image.as_ref()));
        let also: BTreeSet<Zxid> = named.map(|image| image.zxid).chain(held.expected).collect();
        retention::purge(&*held.disk, &self.dir, keep, referenced, &also)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    pub(crate) const fn control(&self) -> &Control {
        &self.control
    }

    /// Replaces it, durably.
    pub(crate) fn replace(&mut self, control: Control) -> Result<()> {
        control.replace_on(&*self.disk, &self.dir)?;
        self.control = control;
        Ok(())
    }

    pub(crate) fn set_not_whole(&mut self) -> Result<()> {
        if !self.control.is_whole {
            return Ok(());
        }
        let control = Control { is_whole: false, ..self.control.clone() };
        self.replace(control)
    }

    /// What was frozen before must not come into force.
    pub(crate) const fn begin_era(&mut self) {
        self.era += 1;
    }

    /// Removes an image that was never in force, unless another one points into its file. If it stays, it is an older image one day, and goes as they do.
    pub(crate) fn remove_image(&self, image: &ImageRef) {
        let others = [self.control.former.as_ref(), self.begun.as_ref()].into_iter().flatten();
        let mut named = self.control.image.iter().chain(others.filter_map(|other| other.image.as_ref()));
        let is_needed = || crate::is_pointed_into(&self.dir, image.zxid).unwrap_or(true);
        if !named.any(|named| named == image) && !is_needed() {
            let _stays = self.disk.remove(&self.dir.join(&image.file_name));
        }
    }

    /// The end of the history in force: `durable` is another log's while one is begun that is not in force.
    fn known_durable(&self, durable: Zxid) -> Zxid {
        let known = self.control.history_zxid;
        if self.begun.is_some() { known } else { known.max(durable) }
    }
}
