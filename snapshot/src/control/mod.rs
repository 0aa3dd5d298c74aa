//! The control file: the few facts by which a server knows, at start, what its image and log are worth.
//!
//! Owns `<dataDir>/control`, which is replaced atomically (temporary file, fsync, rename, fsync of the directory): a SNAP or
//! TRUNC takes effect by that one replace. It must never be changed in place. Its bytes are in `format.rs`; of a running server
//! [`ControlFile`] is the one owner. It fails with [`Error::Damaged`] and
//! [`Error::NewerFormat`]; `tests/control.rs` (every flip) and `tests/base_crash.rs` would catch a mistake. An absent file is a
//! first start.

mod file;
mod format;

use std::path::Path;

use proto::{Epoch, ServerId, Zxid};

use crate::dirs::{DataDir, image_name, parse_image_name};
use crate::disk::{Disk, RealDisk};
use crate::{Result, small};

pub(crate) use file::Held;
pub use file::{ControlFile, Publication};
pub use format::CONTROL_BYTES;

/// What the control file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// This server's id within the ensemble.
    pub server_id: ServerId,
    /// The ensemble's id; `None` until a RingKeeper leader has minted it. Unknown never refuses.
    pub ensemble_id: Option<u128>,
    /// The epoch promised to a prospective leader (`acceptedEpoch`). Durable before ACKEPOCH leaves.
    pub accepted_epoch: Epoch,
    /// The epoch of the leader last followed (`currentEpoch`). Durable before the ACK of NEWLEADER leaves.
    pub current_epoch: Epoch,
    /// The image that recovery starts from; `None` means an empty tree.
    pub image: Option<ImageRef>,
    /// The generation of the log's segments that count; recovery ignores all others.
    pub log_generation: u64,
    /// Where this generation was cut: recovery ignores records past it. `None` if nothing was cut.
    pub log_cut: Option<Zxid>,
    /// The highest zxid known durable when this was written. Image and log that reach less far have lost history.
    pub history_zxid: Zxid,
    /// What was in force before a state was adopted, and is kept until a quorum has the new one.
    pub former: Option<Former>,
    /// The history up to exactly the image's zxid; `None`: nothing is known below that. See [`Control::spans`].
    pub spans: Option<Spans>,
    /// Are image and log all that this server ever had (law 10)? If not, it counts for nobody until it has adopted a whole state.
    pub is_whole: bool,
    /// Has it taken part in an ensemble? Then a directory without its history is not that of a first start.
    pub has_voted: bool,
}

impl Default for Control {
    /// That of a server that never had anything: its history is whole.
    fn default() -> Control {
        Control {
            server_id: ServerId::default(),
            ensemble_id: None,
            accepted_epoch: Epoch::default(),
            current_epoch: Epoch::default(),
            image: None,
            log_generation: 0,
            log_cut: None,
            history_zxid: Zxid::ZERO,
            former: None,
            spans: None,
            is_whole: true,
            has_voted: false,
        }
    }
}

/// Names a published image of the same directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRef {
    /// The file's name, without a directory.
    pub file_name: String,
    /// The zxid it stands at.
    pub zxid: Zxid,
}

impl ImageRef {
    /// Names the image at this zxid.
    #[must_use]
    pub fn at(zxid: Zxid) -> ImageRef {
        ImageRef { file_name: image_name(zxid), zxid }
    }

    fn is_consistent(&self) -> bool {
        parse_image_name(&self.file_name) == Some(self.zxid)
    }
}

/// An image, and the generation of the log that follows on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// The image; `None`: an empty tree.
    pub image: Option<ImageRef>,
    /// The log's generation.
    pub log_generation: u64,
}

/// Which txns came before a position: the newest counter of each epoch, so that a server that starts from an image knows which zxids lie
/// behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spans {
    /// Below it nothing is known. It lies in the first span, or is the position before it.
    floor: Zxid,
    /// Epoch and newest counter, oldest epoch first. The last is the position itself.
    ends: Vec<(Epoch, u32)>,
}

impl Spans {
    /// How many are kept: that many elections ago no learner's log is.
    pub const COUNT_MAX: usize = 64;

    /// Nothing is known but the position.
    #[must_use]
    pub fn at(zxid: Zxid) -> Spans {
        Spans { floor: zxid, ends: vec![(zxid.epoch(), zxid.counter())] }
    }

    /// These, of which the newest [`Spans::COUNT_MAX`] are kept: with the others the floor rises. `None` if they are not in order, or the floor
    /// does not lie in the first.
    #[must_use]
    pub fn new(floor: Zxid, ends: impl IntoIterator<Item = (Epoch, u32)>) -> Option<Spans> {
        let mut spans = Spans { floor, ends: ends.into_iter().collect() };
        if !spans.is_consistent() {
            return None;
        }
        let surplus = spans.ends.len().saturating_sub(Self::COUNT_MAX);
        if surplus > 0 {
            spans.ends.drain(..surplus);
            spans.floor = Zxid::new(spans.ends.first()?.0, 0);
        }
        Some(spans)
    }

    /// Below it nothing is known.
    #[must_use]
    pub const fn floor(&self) -> Zxid {
        self.floor
    }

    /// Epoch and newest counter of each, oldest epoch first.
    #[must_use]
    pub fn ends(&self) -> &[(Epoch, u32)] {
        &self.ends
    }

    /// The position that they reach.
    #[must_use]
    pub fn last(&self) -> Zxid {
        self.ends.last().map_or(self.floor, |&(epoch, counter)| Zxid::new(epoch, counter))
    }

    fn is_consistent(&self) -> bool {
        let has_floor =
            |&(epoch, counter): &(Epoch, u32)| self.floor.epoch() == epoch && self.floor.counter() <= counter;
        self.ends.first().is_some_and(has_floor) && self.ends.is_sorted_by(|older, newer| older.0 < newer.0)
    }
}

impl Control {
    /// The newest format version that this program reads, and the one it writes.
    pub const FORMAT_VERSION: u32 = 2;

    /// Where the log in force begins: the image's zxid.
    #[must_use]
    pub fn base_zxid(&self) -> Zxid {
        self.image.as_ref().map_or(Zxid::ZERO, |image| image.zxid)
    }

    /// What is known of the history up to the image's zxid.
    #[must_use]
    pub fn spans(&self) -> Spans {
        self.spans.clone().unwrap_or_else(|| Spans::at(self.base_zxid()))
    }

    /// Reads the control file of a data directory; `None` if there is none: a first start.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::NewerFormat`], or [`Error::Io`].
    pub fn load(dir: &Path) -> Result<Option<Control>> {
        let path = DataDir::new(dir).control();
        small::read(&path)?.map(|bytes| Control::decode(&bytes, &path)).transpose()
    }

    /// Replaces the control file of a data directory. When it returns, the new one is durable.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: the old one stands. [`Error::Io`]: the old or the new one stands; the server stops.
    pub fn replace(&self, dir: &Path) -> Result<()> {
        self.replace_on(&RealDisk, dir)
    }

    /// As [`Control::replace`], on a given disk.
    ///
    /// # Errors
    /// As [`Control::replace`].
    pub fn replace_on(&self, disk: &dyn Disk, dir: &Path) -> Result<()> {
        let data = DataDir::new(dir);
        small::replace(disk, dir, &data.control_temp(), &data.control(), &self.encode())
    }
}
