//! `rkctl verify`: a whole data directory without a server: the control file, the images, the log, and that they fit together. Of a directory that has never
//! been RingKeeper's, ZooKeeper's snapshots and logs.
//!
//! Owns what "fit together" means for a tool: what recovery asks for before it starts (`server/src/recovery.rs`), without building the tree. Must never write.
//! A server may be running: what it replaces meanwhile is looked at again. It fails with the first fault; `tests/tests/inspection` would catch a
//! mistake.

mod version_2;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use proto::Zxid;
use serde_json::json;
use snapshot::ImageRef;
use snapshot::control::Control;
use snapshot::dirs::DataDir;
use snapshot::version_2::Version2;
use wal::Generation;

use crate::failure::Failure;
use crate::log::source::{LOG_DIR, Segments};
use crate::log::verify::{Verified, verify as verify_log};
use crate::snapshot::source::Place as Image;
use crate::snapshot::verify::{Verified as VerifiedImage, verify as verify_image, verify_whole};

/// Where the directory is.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The data directory
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The directory of the log, if the configuration has a dataLogDir
    #[arg(long, value_name = "DIR")]
    pub(crate) data_log_dir: Option<PathBuf>,
}

impl Place {
    /// The directory that the segments lie in.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.data_log_dir.as_ref().unwrap_or(&self.dir).join(LOG_DIR)
    }
}

/// Verifies and says what was found.
///
/// # Errors
/// The first fault, unless it is printed as JSON.
pub(crate) fn run(place: &Place, json: bool) -> Result<ExitCode, Failure> {
    let zookeepers = Version2::new(&place.dir, place.data_log_dir.as_deref().unwrap_or(&place.dir));
    if matches!(Control::load(&place.dir), Ok(None)) && zookeepers.has_data()? {
        return version_2::run(&zookeepers, json);
    }
    let found = settled(place);
    match found {
        Ok(found) if json => println!("{}", found.to_json(place)),
        Ok(found) => found.show(place),
        Err(failure) if json => {
            println!("{}", failure.to_json());
            return Ok(ExitCode::from(1));
        }
        Err(failure) => return Err(failure),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a directory that is well holds.
#[derive(Debug)]
pub(crate) struct Found {
    control: Control,
    images: Vec<VerifiedImage>,
    log: Verified,
    last_zxid: Zxid,
}

impl Found {
    fn show(&self, place: &Place) {
        let control = &self.control;
        let base = control.image.as_ref().map_or("no image".to_owned(), |image| image.file_name.clone());
        println!(
            "control: ok, {base}, log generation {}, history up to {}",
            control.log_generation, control.history_zxid
        );
        for image in &self.images {
            println!("{}", image.words());
        }
        println!("{}: {}", place.log_dir().display(), self.log.words());
        println!("{}: ok, all of it fits together, last zxid {}", place.dir.display(), self.last_zxid);
    }

    fn to_json(&self, place: &Place) -> serde_json::Value {
        let images = self.images.iter().map(VerifiedImage::to_json);
        json!({
            "ok": true,
            "control": {
                "image": self.control.image.as_ref().map(|image| &image.file_name),
                "log_generation": self.control.log_generation,
                "history_zxid": self.control.history_zxid.to_string(),
            },
            "images": images.collect::<Vec<_>>(),
            "log": self.log.to_json(&place.log_dir().display().to_string()),
            "last_zxid": self.last_zxid.to_string(),
        })
    }
}

/// Verifies; a fault counts only if the control file is still the same, since a running server publishes images and purges.
fn settled(place: &Place) -> Result<Found, Failure> {
    let mut tries = 0;
    loop {
        let control = control_of(&place.dir)?;
        let outcome = verify(place, &control);
        tries += 1;
        if outcome.is_ok() || tries == TRIES_MAX || control_of(&place.dir)? == control {
            return outcome;
        }
    }
}

/// The control file, which must be there.
pub(crate) fn control_of(dir: &Path) -> Result<Control, Failure> {
    dir.metadata().map_err(Failure::io("open", dir))?;
    Control::load(dir)?.ok_or_else(|| Failure::NoControl(dir.to_owned()))
}

/// Verifies by this control file.
///
/// # Errors
/// The first fault: images first, then the log, then what does not fit.
pub(crate) fn verify(place: &Place, control: &Control) -> Result<Found, Failure> {
    let images = verify_images(&place.dir, control)?;
    let log = verify_log(&segments_of(place, control), Zxid::ZERO)?;
    let last_zxid = check_fit(place, control, &log)?;
    Ok(Found { control: control.clone(), images, log, last_zxid })
}

/// The log that this control file names.
pub(crate) fn segments_of(place: &Place, control: &Control) -> Segments {
    Segments::of_generation(&place.log_dir(), Generation(control.log_generation))
}

/// Every published image, newest first; the one that the control file names must be there and be whole.
fn verify_images(dir: &Path, control: &Control) -> Result<Vec<VerifiedImage>, Failure> {
    let place = |image: ImageRef| Image::Image { dir: dir.to_owned(), image };
    let mut verified = Vec::new();
    if let Some(base) = &control.image {
        // Opened as a server does: files that it points into must be there too.
        verified.push((base.zxid, verify_whole(&place(base.clone()))?));
    }
    let base = control.image.as_ref().map(|image| image.zxid);
    for image in DataDir::new(dir).images()?.into_iter().filter(|image| Some(image.zxid) != base) {
        match verify_image(&place(ImageRef::at(image.zxid))) {
            // A running server has purged it.
            Err(_) if !image.path.exists() => {}
            other => verified.push((image.zxid, other?)),
        }
    }
    verified.sort_by_key(|(zxid, _)| std::cmp::Reverse(*zxid));
    Ok(verified.into_iter().map(|(_, image)| image).collect())
}

/// Image and log together must have all that was durable once; gives the last zxid.
fn check_fit(place: &Place, control: &Control, log: &Verified) -> Result<Zxid, Failure> {
    let misfit = |what| Err(Failure::Misfit { dir: place.dir.clone(), what });
    let base = control.image.as_ref().map_or(Zxid::ZERO, |image| image.zxid);
    if log.begins_after > base {
        let begins = log.begins_after;
        return misfit(format!(
            "the base image is at zxid {base}, and the log begins after {begins}: the txns between are missing. Restore the log's older segments"
        ));
    }
    let last_zxid = log.zxids.map_or(base, |(_, last)| last.max(base));
    let known = control.history_zxid;
    if last_zxid < known {
        return misfit(format!(
            "image and log reach zxid {last_zxid}, but {known} was durable once: the newest part of the log is missing. Restore it"
        ));
    }
    Ok(last_zxid)
}

/// How often a directory that keeps changing is verified.
const TRIES_MAX: u32 = 5;
