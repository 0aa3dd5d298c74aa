//! Reads a whole `version-2` in the order in which a tree is made of it: the newest snapshot that is whole, and the txns after it
//! (`FileTxnSnapLog.restore`). What the parts mean is the [`Visitor`]'s business.

use std::collections::HashMap;
use std::path::PathBuf;

use proto::txn::TxnRecord;
use proto::{Acl, Epoch, SessionId, StatPersisted, Zxid};

use super::{AclNumber, Entry, Error, Gap, SnapshotFile, SnapshotReader, Trailer, Version2};

/// Makes something of a `version-2`: told of the snapshot's parts first, then of the txns.
pub trait Visitor {
    /// Why it cannot go on.
    type Error;

    /// A snapshot begins. Whatever came before was one that turned out to be damaged, and does not count.
    fn begin_snapshot(&mut self);

    /// A session that was open.
    fn session(&mut self, id: SessionId, timeout_ms: i32);

    /// A znode. `acl` is `None` if it names one that is not there: then a txn must follow that sets it.
    ///
    /// # Errors
    /// If it cannot be.
    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: Option<&[Acl]>,
        stat: StatPersisted,
    ) -> Result<(), Self::Error>;

    /// The snapshot is whole. All txns up to `zxid` are in it, and perhaps parts of later ones, which follow.
    ///
    /// # Errors
    /// If it is not a tree.
    fn end_snapshot(&mut self, zxid: Zxid, trailer: &Trailer) -> Result<(), Self::Error>;

    /// There is no snapshot: the txns begin with an empty server.
    fn no_snapshot(&mut self);

    /// A txn.
    ///
    /// # Errors
    /// If it cannot be applied.
    fn txn(&mut self, txn: &TxnRecord<'_>) -> Result<(), Self::Error>;
}

/// Why an import ended early.
#[derive(Debug)]
pub enum ImportError<E> {
    /// The files.
    Files(Error),
    /// The visitor.
    Visitor(E),
}

impl<E> From<Error> for ImportError<E> {
    fn from(error: Error) -> ImportError<E> {
        ImportError::Files(error)
    }
}

/// What was read.
#[derive(Debug)]
pub struct Imported {
    /// The snapshot that it began with.
    pub snapshot: Option<SnapshotFile>,
    /// Newer ones that do not read.
    pub skipped: Vec<Skipped>,
    /// Log files that were read.
    pub logs: usize,
    /// Txns that were read from them.
    pub txns: u64,
    /// The newest txn.
    pub last_zxid: Zxid,
    /// Log files that end with a torn write, and its offset in bytes.
    pub torn: Vec<(PathBuf, u64)>,
    /// How often zxids are missing among the txns.
    pub gaps: u64,
    /// The first such place.
    pub first_gap: Option<Gap>,
    /// Records that stood there before, the same to the byte, and were left out.
    pub repeated: u64,
    /// `acceptedEpoch`, or what follows from the txns.
    pub accepted_epoch: Epoch,
    /// `currentEpoch`, or what follows from the txns.
    pub current_epoch: Epoch,
}

/// A snapshot that does not read, so that an older one was taken, as ZooKeeper does.
#[derive(Debug)]
pub struct Skipped {
    /// The snapshot.
    pub file: SnapshotFile,
    /// What is wrong with it.
    pub error: Error,
}

/// Reads the directory. `trust_empty`: logs without any snapshot are taken for the whole history (`snapshot.trust.empty`).
///
/// # Errors
/// What is wrong with the files, or what the visitor says.
pub fn import<V: Visitor>(
    files: &Version2,
    trust_empty: bool,
    visitor: &mut V,
) -> Result<Imported, ImportError<V::Error>> {
    files.check_places()?;
    let mut skipped = Vec::new();
    let mut snapshot = None;
    for file in files.snapshots()? {
        visitor.begin_snapshot();
        match read_snapshot(&file, visitor) {
            Ok(()) => {
                snapshot = Some(file);
                break;
            }
            Err(ImportError::Files(error)) if error.is_damage() => skipped.push(Skipped { file, error }),
            Err(error) => return Err(error),
        }
    }
    if snapshot.is_none() {
        let tried = skipped.len();
        if let Some(Skipped { error, .. }) = skipped.into_iter().next() {
            return Err(Error::NoWholeSnapshot { tried, newest: Box::new(error) }.into());
        }
        if !trust_empty {
            let (snap_dir, log_dir) = (files.snap_dir().to_path_buf(), files.log_dir().to_path_buf());
            return Err(Error::NoSnapshot { snap_dir, log_dir }.into());
        }
        visitor.no_snapshot();
        skipped = Vec::new();
    }
    let mut txns = files.txns_after(snapshot.as_ref().map_or(Zxid::ZERO, |snapshot| snapshot.zxid))?;
    let mut count = 0;
    while let Some(txn) = txns.next_txn()? {
        visitor.txn(&txn).map_err(ImportError::Visitor)?;
        count += 1;
    }
    let last_zxid = txns.last_zxid();
    let (accepted_epoch, current_epoch) = files.resolve_epochs(last_zxid)?;
    let (gaps, first_gap) = txns.gaps();
    let repeated = txns.repeated();
    Ok(Imported {
        snapshot,
        skipped,
        logs: txns.files_read(),
        txns: count,
        last_zxid,
        torn: txns.torn().to_vec(),
        gaps,
        first_gap,
        repeated,
        accepted_epoch,
        current_epoch,
    })
}

fn read_snapshot<V: Visitor>(file: &SnapshotFile, visitor: &mut V) -> Result<(), ImportError<V::Error>> {
    let mut reader = SnapshotReader::open(&file.path, file.compression)?;
    let mut acls = HashMap::from([(AclNumber::OPEN, vec![Acl::open()])]);
    while let Some(entry) = reader.next_entry()? {
        match entry {
            Entry::Session { id, timeout_ms } => visitor.session(id, timeout_ms),
            Entry::Acl { number, acl } => drop(acls.insert(number, acl)),
            Entry::Node(node) => {
                let acl = acls.get(&node.acl).map(Vec::as_slice);
                visitor.node(node.path, node.data, acl, node.stat).map_err(ImportError::Visitor)?;
            }
        }
    }
    let trailer = reader.trailer().unwrap_or_default();
    visitor.end_snapshot(file.zxid, &trailer).map_err(ImportError::Visitor)
}
