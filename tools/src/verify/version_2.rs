//! `rkctl verify` of a directory of ZooKeeper's: its snapshots, its logs, that the logs go on where the newest snapshot ends, and that the epochs are not older
//! than both.
//!
//! A server of ZooKeeper's may be running: what it purges meanwhile is left out. It fails with the first fault; `tests/tests/inspection/zookeeper.rs`
//! would catch a mistake.

use std::process::ExitCode;

use proto::Zxid;
use serde_json::json;
use snapshot::version_2::Version2;

use crate::failure::Failure;
use crate::log::verify::{Verified as VerifiedLog, verify_zookeepers};
use crate::log::version_2::Logs;
use crate::snapshot::source::Place;
use crate::snapshot::verify::{Verified, verify};

/// Verifies and says what was found.
///
/// # Errors
/// The first fault, unless it is printed as JSON.
pub(super) fn run(files: &Version2, json: bool) -> Result<ExitCode, Failure> {
    match check(files) {
        Ok(found) if json => println!("{}", found.to_json(files)),
        Ok(found) => found.show(files),
        Err(failure) if json => {
            println!("{}", failure.to_json());
            return Ok(ExitCode::from(1));
        }
        Err(failure) => return Err(failure),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a directory that is well holds.
struct Found {
    snapshots: Vec<Verified>,
    log: Option<VerifiedLog>,
    last_zxid: Zxid,
}

fn check(files: &Version2) -> Result<Found, Failure> {
    files.check_places()?;
    let mut snapshots = Vec::new();
    let mut newest = None;
    for file in files.snapshots()? {
        match verify(&Place::ZooKeeper(file.clone())) {
            Err(_) if !file.path.exists() => {}
            other => {
                snapshots.push(other?);
                newest = newest.max(Some(file.zxid));
            }
        }
    }
    let log = Logs::find(files.log_dir())?.map(|logs| verify_zookeepers(&logs)).transpose()?;
    let logged = log.as_ref().and_then(|log| log.zxids);
    if let (Some(newest), Some((first, _))) = (newest, logged)
        && first.epoch() == newest.epoch()
        && first > newest.next()
    {
        let what = format!(
            "the newest snapshot is at zxid {newest}, and the logs begin with {first}: a log is missing. Restore it"
        );
        return Err(Failure::Misfit { dir: files.log_dir().to_owned(), what });
    }
    let last_zxid = newest.max(logged.map(|(_, last)| last)).unwrap_or(Zxid::ZERO);
    files.resolve_epochs(last_zxid)?;
    Ok(Found { snapshots, log, last_zxid })
}

impl Found {
    fn show(&self, files: &Version2) {
        self.snapshots.iter().for_each(|snapshot| println!("{}", snapshot.words()));
        if let Some(log) = &self.log {
            println!("{}: {}", files.log_dir().display(), log.words());
        }
        println!("{}: ok, last zxid {}", files.snap_dir().display(), self.last_zxid);
    }

    fn to_json(&self, files: &Version2) -> serde_json::Value {
        json!({
            "ok": true,
            "snapshots": self.snapshots.iter().map(Verified::to_json).collect::<Vec<_>>(),
            "log": self.log.as_ref().map(|log| log.to_json(&files.log_dir().display().to_string())),
            "last_zxid": self.last_zxid.to_string(),
        })
    }
}
