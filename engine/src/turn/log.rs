//! What the core hands to the log, and what the log tells it: txns, epochs, cuts, and states that take another's place.
//!
//! Owns the vocabulary alone. Items are made durable in the order in which they were handed over. How far the txns are durable is one number that the
//! log tells beside; every other item is answered by a [`LogDone`], in order. Between an item that begins another log ([`LogItem::turns`]) and its answer
//! that number means nothing. `server` works the items off on the log thread, `sim` on its world's disk.

use crate::replica::TxnBatch;
use crate::tree::Tree;
use proto::Zxid;
use snapshot::control::ImageRef;
use std::sync::Arc;
use zab::Epochs;

/// One thing that the log has to do.
#[derive(Debug)]
pub enum LogItem {
    /// Append these.
    Txns(Arc<TxnBatch>),
    /// Put these epochs into the control file.
    Epochs(Epochs),
    /// Cut the log to end with this zxid.
    Cut {
        /// The last zxid that stays.
        to: Zxid,
        /// The core's tree shows more than that: make one that ends here, of the image and of what is left of the log.
        rebuild: bool,
    },
    /// A state was received, and its image is durable: begin a log that follows on it. What is handed over from here on goes there. The former image and
    /// log are in force still, and stay until [`LogItem::Release`].
    Begin(ImageRef),
    /// That image and its log come into force, by the same replace of the control file as these epochs.
    Adopt(Epochs),
    /// That image and its log are nobody's: go on with the former ones.
    Discard,
    /// The former ones may go.
    Release,
}

impl LogItem {
    /// Does it begin another log, so that the zxids that are durable may go back?
    #[must_use]
    pub const fn turns(&self) -> bool {
        matches!(self, LogItem::Cut { .. } | LogItem::Begin(_) | LogItem::Discard)
    }

    /// Is it answered by a [`LogDone`]?
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        !matches!(self, LogItem::Txns(_) | LogItem::Release)
    }
}

/// The answer to every [`LogItem`] but [`LogItem::Txns`] and [`LogItem::Release`]: it is durable, and all before it is.
#[derive(Debug)]
pub enum LogDone {
    /// [`LogItem::Epochs`], or [`LogItem::Adopt`].
    Epochs(Epochs),
    /// [`LogItem::Cut`].
    Cut {
        /// What the log ends with: less than was asked for if it never had that one.
        last: Zxid,
        /// The tree that was asked for.
        tree: Option<Box<Tree>>,
    },
    /// [`LogItem::Cut`] cannot be done: nothing that is here reaches down to it. The log is what it was.
    CutImpossible,
    /// [`LogItem::Begin`].
    Begun,
    /// [`LogItem::Discard`].
    Discarded,
}
