//! `rkctl log verify`: every byte of the log that counts, every link between its groups and segments, and every record.
//!
//! Owns the checks of what the records say: that each is a txn with its own zxid, and that each is later than the one before. The bytes, and that no record is
//! lost between two, are checked by the log itself. It fails with the first fault; `tests/tests/inspection` would catch a mistake.

use std::path::Path;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use proto::Zxid;
use serde_json::{Value, json};
use wal::GroupView;

use super::source::{AtEnd, Found, Go, Segments, Source, Visit};
use super::version_2::Logs;
use crate::failure::Failure;
use crate::units::show_bytes;

/// Verifies each source and says what was found. Exit code 1 at the first fault, with its place.
///
/// # Errors
/// The fault, unless it is printed as JSON.
pub(crate) fn run(sources: &[Source], json: bool) -> Result<ExitCode, Failure> {
    for source in sources {
        let outcome = match source {
            Source::Segments(segments) => verify(segments, Zxid(0)),
            Source::ZooKeeper(logs) => verify_zookeepers(logs),
        };
        match outcome {
            Ok(verified) if json => println!("{}", verified.to_json(&source.name())),
            Ok(verified) => println!("{}: {}", source.name(), verified.words()),
            Err(failure) if json => {
                println!("{}", failure.to_json());
                return Ok(ExitCode::from(1));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a log that is well holds.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    /// Number of txns.
    pub(crate) txns: u64,
    /// Number of groups, seals too.
    pub(crate) groups: u64,
    /// Bytes of the groups.
    pub(crate) bytes: u64,
    /// The first and the last zxid.
    pub(crate) zxids: Option<(Zxid, Zxid)>,
    /// The log holds the txns after this zxid.
    pub(crate) begins_after: Zxid,
    /// Where a torn tail begins, or a group that is being written.
    pub(crate) torn_tail: Option<(String, u64)>,
    /// How often zxids are missing within an epoch, and the zxids around the first place. A Java leader gives some zxids to no txn; of ZooKeeper's own logs a file may
    /// be lost, too.
    pub(crate) gaps: u64,
    pub(crate) first_gap: Option<(Zxid, Zxid)>,
    /// Is it a log of ZooKeeper's?
    pub(crate) zookeepers: bool,
}

impl Verified {
    /// For people.
    pub(crate) fn words(&self) -> String {
        let zxids = match self.zxids {
            Some((first, last)) => format!("zxids {first} to {last}"),
            None => format!("begins after zxid {}", self.begins_after),
        };
        let torn = match &self.torn_tail {
            Some((file, offset)) => format!(
                "; {file} ends at offset {offset} with a write that is under way, or was when the server ended: it was never acknowledged"
            ),
            None => String::new(),
        };
        let groups = if self.groups == 0 { String::new() } else { format!(" in {} groups", self.groups) };
        let gaps = match self.first_gap {
            Some((before, after)) => format!(
                "; zxids are missing in {} places, first between {before} and {after}: {}",
                self.gaps,
                if self.zookeepers {
                    "requests that ZooKeeper did not log, or a lost file"
                } else {
                    "a ZooKeeper server that led then gave them to no txn"
                }
            ),
            None => String::new(),
        };
        format!("ok, {} txns{groups}, {}, {zxids}{torn}{gaps}", self.txns, show_bytes(self.bytes))
    }

    /// For programs.
    pub(crate) fn to_json(&self, name: &str) -> Value {
        json!({
            "ok": true,
            "log": name,
            "txns": self.txns,
            "groups": self.groups,
            "bytes": self.bytes,
            "after_zxid": self.begins_after.to_string(),
            "first_zxid": self.zxids.map(|(first, _)| first.to_string()),
            "last_zxid": self.zxids.map(|(_, last)| last.to_string()),
            "torn_tail": self.torn_tail.as_ref().map(|(file, offset)| json!({ "file": file, "offset": offset })),
            "gaps": self.gaps,
        })
    }
}

/// Verifies what comes after `after`.
///
/// # Errors
/// The first fault.
pub(crate) fn verify(segments: &Segments, after: Zxid) -> Result<Verified, Failure> {
    let view = segments.view()?;
    let progress = progress_bar(view.used_bytes());
    let begins_after = Zxid(view.begins_after());
    let torn_tail = view.torn_tail().map(|torn| (torn.file.clone(), torn.position.offset));
    let verified = Verified { begins_after, torn_tail, ..Verified::default() };
    let mut check = Check { verified, progress: &progress };
    let outcome = segments.read(after.0, AtEnd::Stop, &mut check);
    progress.finish_and_clear();
    outcome.map(|()| check.verified)
}

/// Verifies logs of ZooKeeper's: each checksum, that each record is a txn, and that none comes before an older one.
///
/// # Errors
/// The first fault.
pub(crate) fn verify_zookeepers(logs: &Logs) -> Result<Verified, Failure> {
    let progress = progress_bar(logs.file_bytes()?);
    let verified = Verified { zookeepers: true, ..Verified::default() };
    let mut check = Check { verified, progress: &progress };
    let outcome = logs.read(Zxid::ZERO, AtEnd::Stop, &mut check);
    progress.finish_and_clear();
    outcome.map(|()| check.verified)
}

struct Check<'p> {
    verified: Verified,
    progress: &'p ProgressBar,
}

impl Visit for Check<'_> {
    fn group(&mut self, group: &GroupView<'_>) {
        self.verified.groups += 1;
        self.verified.bytes += group.padded_bytes as u64;
        self.progress.inc(group.padded_bytes as u64);
    }

    fn txn(&mut self, found: &Found<'_>) -> Result<Go, Failure> {
        found.decode()?;
        let (first, before) = self.verified.zxids.unwrap_or((found.zxid, self.verified.begins_after));
        let is_first = self.verified.zxids.is_none();
        let zookeepers = self.verified.zookeepers;
        // In its own files ZooKeeper gives some failed requests the zxid of the txn before them.
        let is_same = zookeepers && found.zxid == before;
        if found.zxid <= before && !is_first && !is_same {
            let (file, offset, zxid) = (found.file.to_owned(), found.offset, found.zxid);
            return Err(Failure::Order { file, offset, zxid, before });
        }
        // What an older epoch ended with cannot be told from the next one's first.
        if found.zxid > before.next() && found.zxid.epoch() == before.epoch() && !is_first {
            self.verified.gaps += 1;
            self.verified.first_gap.get_or_insert((before, found.zxid));
        }
        if zookeepers {
            self.verified.bytes += found.bytes.len() as u64;
            self.progress.inc(found.bytes.len() as u64);
        }
        self.verified.zxids = Some((first, found.zxid));
        self.verified.txns += 1;
        Ok(Go::On)
    }

    fn torn(&mut self, file: &Path, offset: u64) {
        self.verified.torn_tail = Some((file.display().to_string(), offset));
    }

    fn purged(&mut self, _: Zxid, until: Zxid) {
        self.verified.zxids = self.verified.zxids.map(|(first, _)| (first, until));
    }
}

/// A bar on stderr, where that is a terminal.
pub(crate) fn progress_bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(bytes);
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::txn::{Txn, TxnHeader, TxnRecord};
    use proto::{OpCode, SessionId, Xid};
    use wal::{Generation, Log, Options, UringDisk, UringOptions};

    fn txn(zxid: u64) -> Vec<u8> {
        let (session, xid, op) = (SessionId(1), Xid(1), OpCode::Error);
        let header = TxnHeader { session, xid, zxid: Zxid(zxid), time_ms: 0, op };
        let mut bytes = Vec::new();
        TxnRecord { header, txn: Txn::Error(-110), digest: None }.encode(&mut bytes);
        bytes
    }

    /// Writes each record as a group of its own.
    fn write(dir: &Path, records: &[(u64, Vec<u8>)]) {
        let sizes = Options { segment_bytes: 1 << 20, max_record_bytes: 4096, group_bytes: 4096, ..Options::new() };
        let disk = UringDisk::open(dir, UringOptions::default()).unwrap();
        let (mut log, _) = Log::open(disk, sizes).unwrap();
        for (zxid, bytes) in records {
            log.append(*zxid, bytes).unwrap();
            log.commit().unwrap();
        }
    }

    fn verified(records: &[(u64, Vec<u8>)]) -> Result<Verified, Failure> {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), records);
        verify(&Segments::of_generation(dir.path(), Generation(1)), Zxid(0))
    }

    #[test]
    fn zxids_that_no_txn_has_are_told_and_no_fault() {
        let epoch = 1 << 32;
        let zxids = [1, 2, 3, epoch + 1, epoch + 2];
        let found = verified(&zxids.map(|zxid| (zxid, txn(zxid)))).unwrap();
        assert_eq!((found.txns, found.zxids), (5, Some((Zxid(1), Zxid(epoch + 2)))));
        assert_eq!((found.gaps, found.first_gap), (0, None), "a new epoch begins anew");
        let found = verified(&[1, 2, 4, 5, 7].map(|zxid| (zxid, txn(zxid)))).unwrap();
        assert_eq!((found.txns, found.gaps, found.first_gap), (5, 2, Some((Zxid(2), Zxid(4)))));
        assert!(
            found.words().contains("missing in 2 places, first between 0x2 and 0x4: a ZooKeeper"),
            "{}",
            found.words()
        );
    }

    #[test]
    fn a_record_that_is_no_txn_or_anothers_is_named() {
        let noise = verified(&[(1, txn(1)), (2, b"noise".to_vec())]).unwrap_err();
        assert!(matches!(noise, Failure::Record { zxid: Zxid(2), .. }), "{noise}");
        let other = verified(&[(1, txn(1)), (2, txn(3))]).unwrap_err();
        assert!(other.to_string().contains("its header says 0x3"), "{other}");
    }

    #[test]
    fn a_torn_tail_is_told_and_no_fault() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[1, 2].map(|zxid| (zxid, txn(zxid))));
        let segments = Segments::of_generation(dir.path(), Generation(1));
        let file = dir.path().join("segment-0000000000000001.log");
        // The header, the seal of the open, a group for each txn.
        let torn_at = 3 * 4096;
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.get_mut(torn_at + 100).unwrap() ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let found = verify(&segments, Zxid(0)).unwrap();
        assert_eq!((found.txns, found.torn_tail.as_ref().map(|(_, offset)| *offset)), (1, Some(torn_at as u64)));
        assert!(found.words().contains("it was never acknowledged"));
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "nothing was cut");
    }
}
