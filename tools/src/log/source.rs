//! Where txns come from: a log directory, or segment files one by one, of RingKeeper or of ZooKeeper. Everything that reads a log reads it
//! through [`Source`].
//!
//! Owns how a path on the command line is understood, and that a log which a server is writing is read to the end all the same: what the
//! server recycles meanwhile is left out, said, and no damage. Must never write, nor give out a txn that was not asked for. It fails with [`Failure`];
//! the tests below and `tests/tests/inspection` would catch a mistake.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::Zxid;
use proto::txn::TxnRecord;
use snapshot::control::Control;
use snapshot::version_2::LogFile;
use wal::{DirReadDisk, Generation, GroupView, LogView};

use super::version_2::Logs;
use crate::failure::{Failure, RecordFault};

/// What txns are read from.
#[derive(Debug)]
pub(crate) enum Source {
    /// RingKeeper's segments.
    Segments(Segments),
    /// ZooKeeper's own logs.
    ZooKeeper(Logs),
}

/// RingKeeper's segments.
#[derive(Debug)]
pub(crate) struct Segments {
    /// The directory that they lie in.
    pub(crate) dir: PathBuf,
    disk: DirReadDisk,
    scope: Scope,
}

#[derive(Debug)]
enum Scope {
    /// The history of the directory, of this generation if the control file says which.
    History(Option<Generation>),
    /// This one file.
    File(String),
}

/// Whether to go on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    /// Go on.
    On,
    /// Enough.
    Stop,
}

/// Whether to wait for more at the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// No.
    Stop,
    /// Yes, until the process is ended.
    Wait,
}

/// A txn where it was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    /// The file.
    pub(crate) file: &'a str,
    /// Offset of its group in the file; of a log of ZooKeeper's, its own.
    pub(crate) offset: u64,
    /// Its zxid.
    pub(crate) zxid: Zxid,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Found<'a> {
    /// The txn in it.
    ///
    /// # Errors
    /// [`Failure::Record`] if it is none, or another one's.
    pub(crate) fn decode(&self) -> Result<TxnRecord<'a>, Failure> {
        let fail = |what| Failure::Record { file: self.file.to_owned(), offset: self.offset, zxid: self.zxid, what };
        let record = TxnRecord::decode(self.bytes).map_err(|source| fail(source.into()))?;
        if record.header.zxid != self.zxid {
            return Err(fail(RecordFault::OtherZxid(record.header.zxid)));
        }
        Ok(record)
    }
}

/// Who looks at what is read.
pub(crate) trait Visit {
    /// A group, before its txns. ZooKeeper's logs have none.
    fn group(&mut self, _group: &GroupView<'_>) {}
    /// A txn.
    fn txn(&mut self, found: &Found<'_>) -> Result<Go, Failure>;
    /// A log of ZooKeeper's ends at this offset with a part of a record: what was being written when the server stopped.
    fn torn(&mut self, _file: &Path, _offset: u64) {}
    /// The server has recycled what came after the first zxid and up to the second before it could be read.
    fn purged(&mut self, after: Zxid, until: Zxid) {
        eprintln!("rkctl: the server has purged the txns after {after} and up to {until} meanwhile");
    }
    /// All that was there has been visited; more may come.
    fn caught_up(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Source {
    /// Understands the paths: each a segment file, a directory with segments, or one with `log` in it (a data directory); or a `log.*` of
    /// ZooKeeper's, a directory with such, or one with `version-2` in it. RingKeeper's go before ZooKeeper's, which may have been imported.
    ///
    /// # Errors
    /// [`Failure::NoLog`], or an unreadable path.
    pub(crate) fn find(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
        paths.iter().map(|path| Source::at(path)).collect()
    }

    fn at(path: &Path) -> Result<Source, Failure> {
        let metadata = path.metadata().map_err(Failure::io("open", path))?;
        if !metadata.is_dir() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if let Some(file) = LogFile::at(path) {
                return Ok(Source::ZooKeeper(Logs::file(file)));
            }
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return Ok(Source::Segments(Segments::new(dir, Scope::File(name))));
        }
        if let Some(dir) = [path.to_owned(), path.join(LOG_DIR)].into_iter().find(|dir| holds(dir, is_segment)) {
            return Ok(Source::Segments(Segments::of_directory(&dir)?));
        }
        Logs::find(path)?.map(Source::ZooKeeper).ok_or_else(|| Failure::NoLog(path.to_owned()))
    }

    /// What to call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Source::ZooKeeper(logs) => logs.name(),
            Source::Segments(Segments { dir, scope: Scope::History(_), .. }) => dir.display().to_string(),
            Source::Segments(Segments { dir, scope: Scope::File(name), .. }) => dir.join(name).display().to_string(),
        }
    }

    /// Reads the txns after `after`, or from where the log begins, in order.
    ///
    /// # Errors
    /// Damage, once what lies before it was visited; the visitor's own errors.
    pub(crate) fn read(&self, after: Zxid, at_end: AtEnd, visitor: &mut dyn Visit) -> Result<(), Failure> {
        match self {
            Source::Segments(segments) => segments.read(after.0, at_end, visitor),
            Source::ZooKeeper(logs) => logs.read(after, at_end, visitor),
        }
    }
}

impl Segments {
    fn new(dir: &Path, scope: Scope) -> Segments {
        Segments { dir: dir.to_owned(), disk: DirReadDisk::new(dir), scope }
    }

    /// The log in this directory; its control file lies in it, or beside it, if at all.
    fn of_directory(dir: &Path) -> Result<Segments, Failure> {
        let generation = match Control::load(dir)? {
            Some(control) => Some(control),
            None => Control::load(&dir.join(".."))?,
        };
        let generation = generation.map(|control| Generation(control.log_generation));
        Ok(Segments::new(dir, Scope::History(generation)))
    }

    /// The log of this generation in this directory.
    pub(crate) fn of_generation(dir: &Path, generation: Generation) -> Segments {
        Segments::new(dir, Scope::History(Some(generation)))
    }

    /// Looks at what is there now.
    ///
    /// # Errors
    /// An unreadable directory, or one without the generation. Damage is in the view.
    pub(crate) fn view(&self) -> Result<LogView<DirReadDisk>, Failure> {
        match &self.scope {
            Scope::History(generation) => LogView::open(self.disk.clone(), *generation),
            Scope::File(name) => LogView::open_segment(self.disk.clone(), name),
        }
        .map_err(Failure::log(&self.dir))
    }

    /// As [`Source::read`].
    pub(crate) fn read(&self, after: u64, at_end: AtEnd, visitor: &mut dyn Visit) -> Result<(), Failure> {
        let mut reading = Reading { last: after, visitor, go: Go::On };
        let mut is_first = true;
        loop {
            let view = self.view()?;
            let begins_after = view.begins_after();
            if !is_first && begins_after > reading.last {
                reading.visitor.purged(Zxid(reading.last), Zxid(begins_after));
            }
            is_first = false;
            reading.last = reading.last.max(begins_after);
            match self.read_view(&view, at_end, &mut reading) {
                // The server recycled what was being read: it is looked for anew.
                Err(Failure::Log { source, .. })
                    if matches!(source, wal::Error::Recycled { .. }) || view.is_outdated(&source) => {}
                other => return other,
            }
        }
    }

    fn read_view(&self, view: &LogView<DirReadDisk>, at_end: AtEnd, reading: &mut Reading<'_>) -> Result<(), Failure> {
        let error = Failure::log(&self.dir);
        let mut reader = view.reader(reading.last).map_err(&error)?;
        while let Some(group) = reader.next_group().map_err(&error)? {
            reading.visit(&group)?;
            if reading.go == Go::Stop {
                return Ok(());
            }
        }
        reading.visitor.caught_up()?;
        if at_end == AtEnd::Stop {
            return Ok(());
        }
        let mut follower = view.follow().map_err(&error)?;
        while reading.go == Go::On {
            match follower.next_group().map_err(&error)? {
                Some(group) => reading.visit(&group)?,
                None => {
                    reading.visitor.caught_up()?;
                    std::thread::sleep(LOOK_EVERY);
                }
            }
        }
        Ok(())
    }
}

/// How far a reading is.
struct Reading<'v> {
    last: u64,
    visitor: &'v mut dyn Visit,
    go: Go,
}

impl Reading<'_> {
    fn visit(&mut self, group: &GroupView<'_>) -> Result<(), Failure> {
        self.visitor.group(group);
        for (zxid, bytes) in group.records().filter(|(zxid, _)| *zxid > self.last) {
            let found = Found { file: group.file, offset: group.position.offset, zxid: Zxid(zxid), bytes };
            self.go = self.visitor.txn(&found)?;
            if self.go == Go::Stop {
                return Ok(());
            }
        }
        self.last = self.last.max(group.header.last_zxid);
        Ok(())
    }
}

fn holds(dir: &Path, is_wanted: fn(&str) -> bool) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_wanted))
}

fn is_segment(name: &str) -> bool {
    name.starts_with("segment-") && name.ends_with(".log")
}

/// The subdirectory of `dataLogDir` that has the log.
pub(crate) const LOG_DIR: &str = "log";
/// How often it is looked for more at the end of a log.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use wal::{Log, Options, UringDisk, UringOptions};

    /// Notes the zxids that it is given, and stops at the last one wanted. It writes `later` as one group once it has seen what was there.
    struct Writing {
        log: Log<UringDisk>,
        later: Vec<u64>,
        until: u64,
        visited: Vec<u64>,
    }

    impl Visit for Writing {
        fn txn(&mut self, found: &Found<'_>) -> Result<Go, Failure> {
            self.visited.push(found.zxid.0);
            Ok(if found.zxid.0 == self.until { Go::Stop } else { Go::On })
        }

        fn caught_up(&mut self) -> Result<(), Failure> {
            append(&mut self.log, &std::mem::take(&mut self.later));
            Ok(())
        }
    }

    /// Writes these as one group, whose records hold nothing.
    fn append(log: &mut Log<UringDisk>, zxids: &[u64]) {
        for zxid in zxids {
            log.append(*zxid, b"").unwrap();
        }
        if !zxids.is_empty() {
            log.commit().unwrap();
        }
    }

    /// The zxids after `after` of a log with 1 to 4 in one group, then 5 to 8 in another that is written once the first was read.
    fn read(after: u64, at_end: AtEnd, until: u64) -> Vec<u64> {
        let dir = tempfile::tempdir().unwrap();
        let sizes = Options { segment_bytes: 1 << 20, max_record_bytes: 4096, group_bytes: 4096, ..Options::new() };
        let disk = UringDisk::open(dir.path(), UringOptions::default()).unwrap();
        let (mut log, _) = Log::open(disk, sizes).unwrap();
        append(&mut log, &[1, 2, 3, 4]);
        let mut writing = Writing { log, later: vec![5, 6, 7, 8], until, visited: Vec::new() };
        let source = Source::find(&[dir.path().to_owned()]).unwrap().remove(0);
        source.read(Zxid(after), at_end, &mut writing).unwrap();
        writing.visited
    }

    #[test]
    fn only_what_comes_after_the_zxid_is_given_out_from_within_a_group_too() {
        assert_eq!(read(0, AtEnd::Stop, 4), [1, 2, 3, 4]);
        assert_eq!(read(2, AtEnd::Stop, 4), [3, 4]);
        assert_eq!(read(4, AtEnd::Stop, 4), [0; 0]);
        assert_eq!(read(2, AtEnd::Wait, 8), [3, 4, 5, 6, 7, 8]);
        assert_eq!(read(6, AtEnd::Wait, 8), [7, 8], "it is not written yet where the reading begins");
    }
}
