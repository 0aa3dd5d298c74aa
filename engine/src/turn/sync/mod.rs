//! How a learner gets what it lacks, beside the core: the bytes, chunk by chunk.
//!
//! | type | what it is | driven by |
//! |---|---|---|
//! | [`LogSource`] | PROPOSAL and COMMIT of each txn of a piece of the log | a leader's [`zab::Sync::Log`] |
//! | [`SnapSource`] | SNAP and a whole state, from an image | a leader's [`zab::Sync::Snap`] |
//! | [`StateTaker`] | such a state, from a leader of any make, and the txns that were committed while it was sent | a learner's [`zab::Action::TakeSnap`] |
//!
//! None of them reads a clock, a socket or a log: whoever drives them hands bytes in and takes bytes out, on a thread beside the core, since each call
//! takes time (a source may wait for the disk under a mapped page, a taker builds a tree). No source holds more than one record beside the chunk.

mod behind;
mod log;
mod snap;
mod taker;

pub use log::{LogSource, LogSourceError, Records};
pub use snap::{SnapSource, SnapSourceError};
pub use taker::{SentBy, StateTaker, TakeError, TakeLimits, Taken, Taking};

use proto::Zxid;

/// How far a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// There is more.
    More,
    /// All has been given out.
    Done {
        /// What the learner has then: for [`zab::Input::Synced`].
        to: Zxid,
    },
}
