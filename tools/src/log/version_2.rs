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

use super::source::{Found, Go, Visit};
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

    /// The txns after `after`, in their order.
    ///
    /// # Errors
    /// Damage, once what lies before it was visited; the visitor's own errors.
    pub(crate) fn read(&self, after: Zxid, visitor: &mut dyn Visit) -> Result<(), Failure> {
        // The last of those that begin before may reach beyond.
        let older = self.files.iter().filter(|file| file.first_zxid <= after).count().saturating_sub(1);
        let mut files: VecDeque<&LogFile> = self.files.iter().skip(older).collect();
        while let Some(file) = files.pop_front() {
            let mut reader = LogReader::open(&file.path)?;
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
