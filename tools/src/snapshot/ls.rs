//! `rkctl snapshot ls`: what a directory has.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use serde::Serialize;
use snapshot::control::Control;

use super::source::Place;
use crate::failure::Failure;
use crate::table;
use crate::units::{show_bytes, show_time};

/// Lists the images and snapshots of each path. Exit code 1 if one does not open.
///
/// # Errors
/// What cannot be read at all.
pub(crate) fn run(paths: &[PathBuf], json: bool) -> Result<ExitCode, Failure> {
    let mut rows = Vec::new();
    for path in paths {
        let places = Place::all_in(path)?;
        if places.is_empty() {
            return Err(Failure::NoSnapshot(path.clone()));
        }
        for place in places {
            match Row::of(&place) {
                // A running server has purged it.
                Err(_) if !place.file().exists() => {}
                row => rows.push(row?),
            }
        }
    }
    let mut out = std::io::stdout().lock();
    if json {
        for row in &rows {
            writeln!(out, "{}", serde_json::to_string(row).map_err(std::io::Error::from)?)?;
        }
    } else {
        show(&mut out, &rows)?;
    }
    Ok(ExitCode::from(u8::from(rows.iter().any(|row| row.damage.is_some()))))
}

/// An image or a snapshot.
#[derive(Debug, Serialize)]
struct Row {
    file: String,
    format: Option<&'static str>,
    /// `base`: the control file names it. `kept`: an older one. `new`: a newer one, on its way into the control file. `parts`: files that it points
    /// into are gone, it serves newer images. `zookeeper`: ZooKeeper's.
    standing: &'static str,
    zxid: String,
    /// When it was taken; of ZooKeeper's, when the file was written.
    time_ms: Option<i64>,
    /// ZooKeeper's snapshots do not say it.
    znodes: Option<u64>,
    file_bytes: u64,
    /// The older files that parts of it lie in.
    carried: Vec<Carried>,
    damage: Option<String>,
}

/// An older file, and how much of it is used.
#[derive(Debug, Serialize)]
struct Carried {
    file: String,
    bytes: u64,
}

impl Row {
    fn of(place: &Place) -> Result<Row, Failure> {
        let file = place.file();
        let metadata = file.metadata().map_err(Failure::io("look at", &file))?;
        let mut row = Row {
            file: file.display().to_string(),
            format: None,
            standing: standing(place)?,
            zxid: place.zxid().to_string(),
            time_ms: None,
            znodes: None,
            file_bytes: metadata.len(),
            carried: Vec::new(),
            damage: None,
        };
        if row.standing == "parts" {
            row.format = Some("image 2");
            return Ok(row);
        }
        match place.open() {
            Err(failure) => row.damage = Some(failure.to_string()),
            Ok(source) => {
                row.format = Some(source.format());
                let carried = source.carried().iter();
                row.carried = carried
                    .map(|file| Carried { file: file.path.display().to_string(), bytes: file.live_bytes })
                    .collect();
                row.znodes = source.totals().map(|totals| totals.node_count);
                let written = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                let written_ms = written.and_then(|since| i64::try_from(since.as_millis()).ok());
                row.time_ms = source.totals().map(|totals| totals.time_ms).or(written_ms);
            }
        }
        Ok(row)
    }
}

fn standing(place: &Place) -> Result<&'static str, Failure> {
    let Place::Image { dir, image } = place else { return Ok("zookeeper") };
    let named = Control::load(dir).ok().flatten().and_then(|control| control.image);
    // What does not say what it points into is opened, and its damage told then.
    if place.missing_files().is_ok_and(|missing| !missing.is_empty()) {
        return Ok("parts");
    }
    Ok(match named {
        Some(named) if named.zxid == image.zxid => "base",
        Some(named) if named.zxid < image.zxid => "new",
        _ => "kept",
    })
}

fn show(out: &mut dyn Write, rows: &[Row]) -> Result<(), Failure> {
    let heads = ["FILE", "FORMAT", "STANDING", "ZXID", "TIME", ">ZNODES", ">SIZE", ">CARRIED"];
    let mut table = table::with_heads(&heads);
    for row in rows {
        let name = Path::new(&row.file).file_name().map(|name| name.to_string_lossy().into_owned());
        let carried: u64 = row.carried.iter().map(|file| file.bytes).sum();
        let in_files = match row.carried.len() {
            0 => "-".to_owned(),
            1 => format!("{} in 1 file", show_bytes(carried)),
            files => format!("{} in {files} files", show_bytes(carried)),
        };
        table.add_row([
            name.unwrap_or_default(),
            row.format.unwrap_or("-").to_owned(),
            if row.damage.is_some() { "DAMAGED".to_owned() } else { row.standing.to_owned() },
            row.zxid.clone(),
            row.time_ms.map_or_else(|| "-".to_owned(), show_time),
            row.znodes.map_or_else(|| "-".to_owned(), |znodes| znodes.to_string()),
            show_bytes(row.file_bytes),
            in_files,
        ]);
    }
    table::print(out, "", &table)?;
    for damage in rows.iter().filter_map(|row| row.damage.as_ref()) {
        writeln!(out, "{damage}")?;
    }
    Ok(())
}
