//! The txns of a log become a tree again: after a start, and after a cut for which the tree is made anew.
//!
//! Owns the order: where the tree's image is not in memory, the disk is asked for what the txns ahead will touch, many at a time. It applies what it is
//! given and skips nothing; what is no txn is a [`ReplayError`] with its zxid. The crash tests of the server would catch a mistake.

use crate::apply;
use crate::stream::StreamItem;
use crate::tree::Tree;
use proto::Zxid;
use proto::txn::TxnRecord;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
pub struct Replay {
    tree: Tree,
    changes: Vec<StreamItem>,
    replayed: Replayed,
    looks_ahead: bool,
    ahead: VecDeque<(Zxid, Box<[u8]>)>,
    ahead_bytes: usize,
}

/// What was replayed of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Its txns.
    pub txns: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A record that this version cannot read.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the log has a record at {zxid} that is not a txn ({source}); it was written by another version, or by another program"
)]
pub struct ReplayError {
    /// Its zxid.
    pub zxid: Zxid,
    /// Why.
    pub source: proto::DecodeError,
}

impl Replay {
    /// Over the tree of the image that the log follows.
    #[must_use]
    pub fn new(tree: Tree) -> Replay {
        // Who cannot say what is in memory is not asked again; the replay is right without it.
        let looks_ahead = tree.base().is_some_and(|base| !base.is_all_resident().unwrap_or(true));
        Replay {
            tree,
            changes: Vec::new(),
            replayed: Replayed::default(),
            looks_ahead,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
        }
    }

    /// The next record.
    ///
    /// # Errors
    /// It, or one before it, is no txn.
    pub fn take(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), ReplayError> {
        let record = TxnRecord::decode(bytes).map_err(|source| ReplayError { zxid, source })?;
        if !self.looks_ahead {
            self.apply(&record, bytes.len());
            return Ok(());
        }
        self.tree.ask_ahead(&record.txn);
        self.ahead.push_back((zxid, bytes.into()));
        self.ahead_bytes += bytes.len();
        while self.ahead.len() > TXNS_AHEAD || self.ahead_bytes > BYTES_AHEAD {
            self.apply_next()?;
        }
        Ok(())
    }

    /// How far it is.
    #[must_use]
    pub const fn replayed(&self) -> Replayed {
        self.replayed
    }

    /// The tree after the last record.
    ///
    /// # Errors
    /// As [`Replay::take`].
    pub fn finish(mut self) -> Result<(Tree, Replayed), ReplayError> {
        while !self.ahead.is_empty() {
            self.apply_next()?;
        }
        Ok((self.tree, self.replayed))
    }

    fn apply_next(&mut self) -> Result<(), ReplayError> {
        let Some((zxid, bytes)) = self.ahead.pop_front() else { return Ok(()) };
        self.ahead_bytes -= bytes.len();
        let record = TxnRecord::decode(&bytes).map_err(|source| ReplayError { zxid, source })?;
        self.apply(&record, bytes.len());
        Ok(())
    }

    fn apply(&mut self, record: &TxnRecord<'_>, bytes: usize) {
        apply::apply(&mut self.tree, record, &mut self.changes, None);
        self.changes.clear();
        self.replayed.txns += 1;
        self.replayed.bytes += bytes as u64;
    }
}

/// Txns that a replay looks ahead, and their bytes: enough to keep a disk busy with parts of the image.
const TXNS_AHEAD: usize = 1_024;
const BYTES_AHEAD: usize = 16 << 20;
