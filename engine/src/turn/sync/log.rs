//! What a learner lacks, from the log: PROPOSAL and COMMIT of each txn.
//!
//! Owns the order of what is sent: no txn is left out, none is sent twice. It must never decode a txn: what the log holds is what a PROPOSAL carries. It fails
//! with [`LogSourceError`]; then the learner's link is to be closed, for what follows would have a gap. Of the leader's own epoch it sees that no zxid is missing
//! (law 2); in an older one a Java leader may have left some out, and that no record is lost there is the log's to know. `tests/sync/log.rs` would catch a mistake.

use super::SourceState;
use crate::turn::wire::committed;
use proto::{Epoch, Zxid};
use std::error::Error;

/// Records of a log, ascending: a log's reader. The engine knows no log.
pub trait Records {
    /// Why one cannot be read.
    type Error: Error;

    /// The next: its zxid, and its bytes as they were appended. `None`: the log ends here.
    ///
    /// # Errors
    /// It cannot be read.
    fn next_record(&mut self) -> Result<Option<(u64, &[u8])>, Self::Error>;
}

/// The txns in `(after, to]` of a log.
#[derive(Debug)]
pub struct LogSource<R> {
    records: R,
    /// The newest that has been given out.
    sent: Zxid,
    to: Zxid,
    /// The leader's.
    epoch: Epoch,
}

/// Why a learner cannot be brought into step from the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogSourceError<E: Error> {
    /// The log cannot be read.
    #[error(transparent)]
    Log(E),
    /// A txn is missing between two.
    #[error("the log goes on with {next} behind {after}: a txn between them is missing")]
    Gap {
        /// The one before.
        after: Zxid,
        /// The one behind.
        next: Zxid,
    },
    /// The log is shorter than was said.
    #[error("the log ends with {last}, and {to} was to be sent")]
    Ends {
        /// Its last.
        last: Zxid,
        /// What should be in it.
        to: Zxid,
    },
}

impl<R: Records> LogSource<R> {
    /// `records`: from `after` on, or from before it. `epoch`: the leader's.
    #[must_use]
    pub const fn new(records: R, after: Zxid, to: Zxid, epoch: Epoch) -> LogSource<R> {
        LogSource { records, sent: after, to, epoch }
    }

    /// Appends whole packets to `out` until these are `bytes_max` bytes or more, by one txn at the most, or all. Call it until it is done.
    ///
    /// # Errors
    /// [`LogSourceError`]. What was appended before is right; nothing may follow it.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> Result<SourceState, LogSourceError<R::Error>> {
        let start = out.len();
        while self.sent < self.to {
            if out.len() - start >= bytes_max.max(1) {
                return Ok(SourceState::More);
            }
            let (after, to) = (self.sent, self.to);
            let record = self.records.next_record().map_err(LogSourceError::Log)?;
            let (zxid, txn) = record.ok_or(LogSourceError::Ends { last: after, to })?;
            let zxid = Zxid(zxid);
            if zxid <= after {
                continue;
            }
            if zxid.epoch() == self.epoch && !after.is_followed_by(zxid) {
                return Err(LogSourceError::Gap { after, next: zxid });
            }
            if zxid > to {
                return Err(LogSourceError::Ends { last: after, to });
            }
            committed(zxid, txn, out);
            self.sent = zxid;
        }
        Ok(SourceState::Done { to: self.to })
    }
}
