//! ZooKeeper's own logs, `version-2/log.*`: the txns in them, one file after the other, and how each file ends.
//!
//! Owns which files a path on the command line means. The bytes are [`snapshot::version_2`]'s. Must never write. It fails with [`Failure`], which names file
//! and offset; `tests/tests/inspection/zookeeper.rs` would catch a mistake.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};

use proto::Zxid;
use serde::Serialize;
use snapshot::version_2::{LogEnd, LogFile, LogReader, Version2};

use super::source::{AtEnd, Found, Go, LOOK_EVERY, Visit};
use crate::failure::Failure;
use crate::table;
use crate::units::show_bytes;

/// Logs of ZooKeeper's, oldest first.
#[derive(Debug)]
pub(crate) struct Logs {
    /// What was asked for: a file, or the directory.
    place: PathBuf,
    files: Vec<LogFile>,
}

/// A log file, as `rkctl log ls` lists it.
#[derive(Debug, Serialize)]
pub(crate) struct LogRow {
    file: String,
    format: &'static str,
    first_zxid: Option<String>,
    last_zxid: Option<String>,
    records: u64,
    /// Bytes up to the end of the last record.
    bytes_used: u64,
    file_bytes: u64,
    /// `clean`, `torn` or `empty`; `None` where it is damaged.
    end: Option<&'static str>,
    pub(crate) damage: Option<String>,
}

impl Logs {
    /// This file alone.
    pub(crate) fn file(file: LogFile) -> Logs {
        Logs { place: file.path.clone(), files: vec![file] }
    }

    /// Those in a directory, or in the `version-2` in it; `None` if there are none.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub(crate) fn find(path: &Path) -> Result<Option<Logs>, Failure> {
        for files in [Version2::directory(path), Version2::new(path, path)] {
            let (place, files) = (files.log_dir().to_owned(), files.logs()?);
            if !files.is_empty() {
                return Ok(Some(Logs { place, files }));
            }
        }
        Ok(None)
    }

    /// What to call it.
    pub(crate) fn name(&self) -> String {
        self.place.display().to_string()
    }

    /// Bytes of all files, with what is preallocated.
    ///
    /// # Errors
    /// One that is not there any more.
    pub(crate) fn file_bytes(&self) -> Result<u64, Failure> {
        self.files.iter().map(|file| bytes_of(&file.path)).sum()
    }

    /// The txns after `after`, in their order; at the end, if that is wanted, those that a server writes there.
    ///
    /// # Errors
    /// Damage, once what lies before it was visited; the visitor's own errors.
    pub(crate) fn read(&self, after: Zxid, at_end: AtEnd, visitor: &mut dyn Visit) -> Result<(), Failure> {
        // The last of those that begin before may reach beyond.
        let older = self.files.iter().filter(|file| file.first_zxid <= after).count().saturating_sub(1);
        let mut files: VecDeque<&LogFile> = self.files.iter().skip(older).collect();
        while let Some(file) = files.pop_front() {
            let mut reader = LogReader::open(&file.path)?;
            if files.is_empty() && at_end == AtEnd::Wait {
                return self.follow(file.clone(), reader, after, visitor);
            }
            if read_file(file, &mut reader, after, visitor)? == Go::Stop {
                return Ok(());
            }
            match reader.end() {
                Some(LogEnd::Torn { offset }) => visitor.torn(&file.path, offset),
                // It was made and the server stopped; but then no other can have been made after it.
                Some(LogEnd::Empty) if !files.is_empty() => return Err(Failure::EmptyLog(file.path.clone())),
                Some(LogEnd::Empty | LogEnd::Clean { .. }) | None => {}
            }
        }
        visitor.caught_up()
    }

    /// Reads the newest file as far as it is written, waits for more, and goes on with the next file once there is one.
    fn follow(
        &self,
        mut file: LogFile,
        mut reader: LogReader,
        after: Zxid,
        visitor: &mut dyn Visit,
    ) -> Result<(), Failure> {
        let mut is_new = true;
        loop {
            // Before the file is read to its end: once there is a newer one, nothing more is written into this one.
            let newer = self.next_after(&file)?;
            if poll_file(&file, &mut reader, after, visitor)? == Go::Stop {
                return Ok(());
            }
            visitor.caught_up()?;
            // What does not read is looked at once; later that would mean to read all that is preallocated each time.
            if is_new || newer.is_some() {
                let Some(end) = end_of(&file, &mut reader, after, visitor)? else { return Ok(()) };
                if let (Some(_), LogEnd::Torn { offset }) = (&newer, end) {
                    visitor.torn(&file.path, offset);
                }
            }
            is_new = newer.is_some();
            if let Some(newer) = newer {
                (reader, file) = (LogReader::open(&newer.path)?, newer);
                continue;
            }
            std::thread::sleep(LOOK_EVERY);
            if reader.end() == Some(LogEnd::Empty) {
                reader = LogReader::open(&file.path)?;
            }
        }
    }

    /// The file that a server has begun after this one.
    fn next_after(&self, file: &LogFile) -> Result<Option<LogFile>, Failure> {
        if self.place == file.path {
            return Ok(None);
        }
        let files = Version2::directory(&self.place).logs()?;
        Ok(files.into_iter().find(|other| other.first_zxid > file.first_zxid))
    }

    /// Each file, read to its end.
    ///
    /// # Errors
    /// One that is not there any more. Damage is in the row.
    pub(crate) fn rows(&self) -> Result<Vec<LogRow>, Failure> {
        self.files.iter().map(LogRow::of).collect()
    }
}

fn read_file(file: &LogFile, reader: &mut LogReader, after: Zxid, visitor: &mut dyn Visit) -> Result<Go, Failure> {
    let name = file.path.display().to_string();
    while let Some(record) = reader.next_record()? {
        let found = Found { file: &name, offset: record.offset, zxid: record.zxid(), bytes: record.payload };
        if found.zxid > after && visitor.txn(&found)? == Go::Stop {
            return Ok(Go::Stop);
        }
    }
    Ok(Go::On)
}

/// As [`read_file`], as far as the file is written.
fn poll_file(file: &LogFile, reader: &mut LogReader, after: Zxid, visitor: &mut dyn Visit) -> Result<Go, Failure> {
    let name = file.path.display().to_string();
    while let Some(record) = reader.poll_record()? {
        let found = Found { file: &name, offset: record.offset, zxid: record.zxid(), bytes: record.payload };
        if found.zxid > after && visitor.txn(&found)? == Go::Stop {
            return Ok(Go::Stop);
        }
    }
    Ok(Go::On)
}

/// How a file ends for now; `None`: enough. What did not read, and reads now that a record stands behind it, was being written: that is no damage.
fn end_of(
    file: &LogFile,
    reader: &mut LogReader,
    after: Zxid,
    visitor: &mut dyn Visit,
) -> Result<Option<LogEnd>, Failure> {
    loop {
        let (offset, end) = (reader.offset(), reader.end_here());
        match end {
            Ok(end) => return Ok(Some(end)),
            Err(error) => {
                if poll_file(file, reader, after, visitor)? == Go::Stop {
                    return Ok(None);
                }
                if reader.offset() == offset {
                    return Err(error.into());
                }
            }
        }
    }
}

fn bytes_of(path: &Path) -> Result<u64, Failure> {
    Ok(path.metadata().map_err(Failure::io("look at", path))?.len())
}

impl LogRow {
    fn of(file: &LogFile) -> Result<LogRow, Failure> {
        let mut row = LogRow {
            file: file.path.display().to_string(),
            format: "version-2",
            first_zxid: None,
            last_zxid: None,
            records: 0,
            bytes_used: 0,
            file_bytes: bytes_of(&file.path)?,
            end: None,
            damage: None,
        };
        row.damage = row.count(&file.path).err().map(|error| error.to_string());
        Ok(row)
    }

    fn count(&mut self, path: &Path) -> Result<(), Failure> {
        let mut reader = LogReader::open(path)?;
        while let Some(record) = reader.next_record()? {
            self.records += 1;
            self.first_zxid.get_or_insert_with(|| record.zxid().to_string());
            self.last_zxid = Some(record.zxid().to_string());
        }
        (self.end, self.bytes_used) = match reader.end() {
            Some(LogEnd::Torn { offset }) => (Some("torn"), offset),
            Some(LogEnd::Empty) => (Some("empty"), 0),
            Some(LogEnd::Clean { offset }) => (Some("clean"), offset),
            None => (None, 0),
        };
        Ok(())
    }
}

/// Lists the files for people.
///
/// # Errors
/// The output cannot be written.
pub(crate) fn show(out: &mut dyn Write, logs: &Logs, rows: &[LogRow]) -> Result<(), Failure> {
    let mut table = table::with_heads(&["FILE", "FIRST ZXID", "LAST ZXID", ">RECORDS", ">USED", ">SIZE", "END"]);
    for row in rows {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let name = Path::new(&row.file).file_name().map(|name| name.to_string_lossy().into_owned());
        table.add_row([
            name.unwrap_or_default(),
            or_dash(&row.first_zxid),
            or_dash(&row.last_zxid),
            row.records.to_string(),
            show_bytes(row.bytes_used),
            show_bytes(row.file_bytes),
            row.end.unwrap_or("DAMAGED").to_owned(),
        ]);
    }
    let files = if rows.len() == 1 { "file" } else { "files" };
    writeln!(out, "{}: ZooKeeper's, {} {files}", logs.name(), rows.len())?;
    table::print(out, "", &table)?;
    for damage in rows.iter().filter_map(|row| row.damage.as_ref()) {
        writeln!(out, "{damage}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::jute::Writer;
    use snapshot::version_2::LogWriter;
    use std::fs::OpenOptions;

    /// Writes a step further each time that all is read, and stops after the last txn.
    struct Steps<'s> {
        seen: Vec<u64>,
        last: u64,
        steps: std::vec::IntoIter<Box<dyn FnMut() + 's>>,
        torn: Vec<u64>,
    }

    impl Visit for Steps<'_> {
        fn txn(&mut self, found: &Found<'_>) -> Result<Go, Failure> {
            self.seen.push(found.zxid.0);
            Ok(if found.zxid.0 == self.last { Go::Stop } else { Go::On })
        }

        fn torn(&mut self, _file: &Path, offset: u64) {
            self.torn.push(offset);
        }

        fn caught_up(&mut self) -> Result<(), Failure> {
            self.steps.next().expect("the last step writes the last txn")();
            Ok(())
        }
    }

    /// The bytes of a log with these txns, each a header and an error's code, and where each begins.
    fn log(zxids: std::ops::RangeInclusive<u64>) -> (Vec<u8>, Vec<usize>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.1");
        let mut writer = LogWriter::create(&path).unwrap();
        for zxid in zxids {
            let mut record = Vec::new();
            let mut w = Writer::new(&mut record);
            w.long(7);
            w.int(1);
            w.long(zxid.cast_signed());
            w.long(1_700_000_000_000);
            w.int(-1);
            w.int(-101);
            writer.append(&record).unwrap();
        }
        writer.finish(0).unwrap();
        let bytes = std::fs::read(path).unwrap();
        let record_bytes = 12 + 36 + 1;
        let begins = (16..=bytes.len()).step_by(record_bytes).collect();
        (bytes, begins)
    }

    /// Puts this into the file from `from` up to `to`, which lies in zeros that were there before.
    fn write(path: &Path, bytes: &[u8], from: usize, to: usize) {
        use std::os::unix::fs::FileExt as _;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
        file.set_len(4096).unwrap();
        file.write_all_at(&bytes[from..to], from as u64).unwrap();
    }

    fn follow(dir: &Path, after: u64, last: u64, steps: Vec<Box<dyn FnMut() + '_>>) -> (Vec<u64>, Vec<u64>) {
        let mut steps = Steps { seen: Vec::new(), last, steps: steps.into_iter(), torn: Vec::new() };
        Logs::find(dir).unwrap().unwrap().read(Zxid(after), AtEnd::Wait, &mut steps).unwrap();
        assert!(steps.steps.next().is_none(), "every step was taken");
        (steps.seen, steps.torn)
    }

    #[test]
    fn a_follower_waits_for_records_that_are_not_whole_and_for_the_next_file() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("log.1"), dir.path().join("log.6"));
        let ((old, begins), (new, _)) = (log(1..=5), log(6..=7));
        write(&first, &old, 0, begins[2]);
        let steps: Vec<Box<dyn FnMut()>> = vec![
            Box::new(|| write(&first, &old, begins[2], begins[2] + 20)),
            Box::new(|| write(&first, &old, begins[2] + 20, begins[4] + 3)),
            Box::new(|| write(&first, &old, begins[4] + 3, begins[5])),
            Box::new(|| drop(std::fs::File::create(&second).unwrap())),
            Box::new(|| ()),
            Box::new(|| write(&second, &new, 0, new.len())),
        ];
        assert_eq!(follow(dir.path(), 1, 7, steps), (vec![2, 3, 4, 5, 6, 7], vec![]));
    }

    #[test]
    fn a_write_that_was_under_way_when_the_next_file_was_begun_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("log.1"), dir.path().join("log.3"));
        let ((old, begins), (new, _)) = (log(1..=3), log(3..=3));
        write(&first, &old, 0, begins[2] + 20);
        let steps: Vec<Box<dyn FnMut()>> = vec![Box::new(|| write(&second, &new, 0, new.len())), Box::new(|| ())];
        assert_eq!(follow(dir.path(), 0, 3, steps), (vec![1, 2, 3], vec![begins[2] as u64]));
    }

    #[test]
    fn damage_ends_the_following() {
        let dir = tempfile::tempdir().unwrap();
        let (mut bytes, begins) = log(1..=5);
        bytes[begins[2] + 20] ^= 1;
        write(&dir.path().join("log.1"), &bytes, 0, bytes.len());
        let mut steps = Steps {
            seen: Vec::new(),
            last: 5,
            steps: vec![Box::new(|| ()) as Box<dyn FnMut()>].into_iter(),
            torn: Vec::new(),
        };
        Logs::find(dir.path()).unwrap().unwrap().read(Zxid(0), AtEnd::Wait, &mut steps).unwrap_err();
        assert_eq!(steps.seen, [1, 2]);
    }
}
