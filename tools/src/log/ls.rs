//! `rkctl log ls`: the segments.

use std::io::Write;
use std::process::ExitCode;

use proto::Zxid;
use serde::Serialize;
use wal::format::GroupKind;
use wal::{DirReadDisk, LogView, SegmentView, Standing};

use super::source::{Segments, Source};
use super::version_2::{self, Logs};
use crate::failure::Failure;
use crate::table;
use crate::units::show_bytes;

/// Lists the segments of each source. Exit code 1 if one is damaged.
///
/// # Errors
/// What cannot be read at all.
pub(crate) fn run(sources: &[Source], json: bool) -> Result<ExitCode, Failure> {
    let mut out = std::io::stdout().lock();
    let mut is_damaged = false;
    for source in sources {
        let segments = match source {
            Source::Segments(segments) => segments,
            Source::ZooKeeper(logs) => {
                is_damaged |= list_zookeepers(&mut out, logs, json)?;
                continue;
            }
        };
        let view = segments.view()?;
        let rows: Vec<Row> = view.segments().iter().map(|segment| Row::of(segments, &view, segment)).collect();
        is_damaged |= rows.iter().any(|row| row.damage.is_some());
        if json {
            write_json(&mut out, &rows)?;
        } else {
            show(&mut out, source, &view, &rows)?;
        }
    }
    Ok(ExitCode::from(u8::from(is_damaged)))
}

/// Lists logs of ZooKeeper's; whether one is damaged.
fn list_zookeepers(out: &mut dyn Write, logs: &Logs, json: bool) -> Result<bool, Failure> {
    let rows = logs.rows()?;
    if json {
        write_json(out, &rows)?;
    } else {
        version_2::show(out, logs, &rows)?;
    }
    Ok(rows.iter().any(|row| row.damage.is_some()))
}

/// An object a line.
fn write_json(out: &mut dyn Write, rows: &[impl Serialize]) -> Result<(), Failure> {
    for row in rows {
        writeln!(out, "{}", serde_json::to_string(row).map_err(std::io::Error::from)?)?;
    }
    Ok(())
}

/// A segment.
#[derive(Debug, Serialize)]
struct Row {
    file: String,
    number: u64,
    generation: Option<u64>,
    /// `history`, `outside` or `unreadable`.
    standing: &'static str,
    /// The zxid before its first record.
    after_zxid: Option<String>,
    first_zxid: Option<String>,
    last_zxid: Option<String>,
    records: u64,
    groups: u64,
    /// Bytes up to the end of the last group that counts.
    bytes_used: u64,
    file_bytes: Option<u64>,
    /// Whether it is known that nothing more belongs into it: it ends with a seal, or another one follows.
    sealed: bool,
    damage: Option<String>,
}

impl Row {
    fn of(segments: &Segments, view: &LogView<DirReadDisk>, segment: &SegmentView) -> Row {
        let header = segment.header.as_ref();
        let (standing, damage) = match &segment.standing {
            Standing::InHistory => ("history", None),
            Standing::Outside => ("outside", None),
            Standing::Unreadable(error) => ("unreadable", Some(error.to_string())),
        };
        let is_followed = view.segments().iter().any(|other| {
            let previous = other.header.as_ref().and_then(|header| header.previous);
            previous.is_some_and(|link| link.end.segment == segment.seq)
        });
        let mut row = Row {
            file: segments.dir.join(&segment.file).display().to_string(),
            number: segment.seq.0,
            generation: header.map(|header| header.generation.0),
            standing,
            after_zxid: header.map(|header| Zxid(header.base_zxid).to_string()),
            first_zxid: None,
            last_zxid: None,
            records: 0,
            groups: 0,
            bytes_used: segment.end_offset.unwrap_or(0),
            file_bytes: header.map(|header| header.segment_bytes),
            sealed: is_followed,
            damage,
        };
        row.count(view, segment);
        row
    }

    fn count(&mut self, view: &LogView<DirReadDisk>, segment: &SegmentView) {
        let Some(mut reader) = view.segment_reader(segment.seq) else { return };
        let mut ends_with_seal = false;
        loop {
            match reader.next_group() {
                Ok(None) => break,
                Ok(Some(group)) => {
                    self.groups += 1;
                    ends_with_seal = group.header.kind == GroupKind::Seal;
                    for (zxid, _) in group.records() {
                        self.records += 1;
                        self.first_zxid.get_or_insert_with(|| Zxid(zxid).to_string());
                        self.last_zxid = Some(Zxid(zxid).to_string());
                    }
                }
                Err(error) => {
                    self.damage = (!view.is_outdated(&error)).then(|| error.to_string());
                    break;
                }
            }
        }
        self.sealed |= ends_with_seal;
    }
}

fn show(out: &mut dyn Write, source: &Source, view: &LogView<DirReadDisk>, rows: &[Row]) -> Result<(), Failure> {
    let heads =
        [">NUMBER", ">GEN", "STANDING", "FIRST ZXID", "LAST ZXID", ">RECORDS", ">GROUPS", ">USED", ">SIZE", "SEALED"];
    let mut table = table::with_heads(&heads);
    for row in rows {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.add_row([
            row.number.to_string(),
            or_dash(row.generation.map(|generation| generation.to_string())),
            if row.damage.is_some() { "DAMAGED".to_owned() } else { row.standing.to_owned() },
            or_dash(row.first_zxid.clone()),
            or_dash(row.last_zxid.clone()),
            row.records.to_string(),
            row.groups.to_string(),
            show_bytes(row.bytes_used),
            or_dash(row.file_bytes.map(show_bytes)),
            if row.sealed { "yes" } else { "no" }.to_owned(),
        ]);
    }
    writeln!(out, "{}: zxids after {} up to {}", source.name(), Zxid(view.begins_after()), Zxid(view.last_zxid()))?;
    table::print(out, "", &table)?;
    if !view.spares().is_empty() {
        writeln!(out, "{} segments are ready for use", view.spares().len())?;
    }
    if let Some(torn) = view.torn_tail() {
        let offset = torn.position.offset;
        writeln!(
            out,
            "{} ends at offset {offset} with a group that is being written, or was when the server ended: it was never acknowledged",
            torn.file
        )?;
    }
    for damage in rows.iter().filter_map(|row| row.damage.as_ref()) {
        writeln!(out, "{damage}")?;
    }
    Ok(())
}
