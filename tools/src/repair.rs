//! `rkctl repair`: makes a directory whose log is damaged start again, at the price of what lies behind the damage.
//!
//! Owns the order: locks, the finding, the copy, and only then the cut and the control file. Must never write before the copy is durable, nor do
//! anything without being asked by name. It fails with [`Failure`] and what is left then is the copy and a directory that can be repaired again;
//! `tests/tests/inspection` would catch a mistake.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use proto::Zxid;
use snapshot::control::Control;
use wal::repair::{Lost, RepairPlan};
use wal::{Generation, UringDisk, UringOptions};

use crate::failure::Failure;
use crate::verify::{Place, control_of, segments_of, verify};

/// What is to be repaired, and how.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    place: Place,
    /// Cut the log before the damage: every txn behind it is lost
    #[arg(long, required = true)]
    cut_damaged_log: bool,
    /// Where the directory is copied to first: one that does not exist or is empty
    #[arg(long, value_name = "DIR", required = true)]
    backup_to: PathBuf,
}

/// Repairs, if there is something to repair.
///
/// # Errors
/// Whatever stands in the way. Unless the words say that the cut was begun, the directory is as it was.
pub(crate) fn run(repair: &Repair) -> Result<ExitCode, Failure> {
    assert!(repair.cut_damaged_log, "the command line asks for it");
    let (place, backup) = (&repair.place, &repair.backup_to);
    let control = control_of(&place.dir)?;
    let _lock = lock(&place.dir)?;
    let _lock_of_log = place.data_log_dir.as_deref().map(lock).transpose()?;
    let fault = match verify(place, &control) {
        Ok(_) => {
            println!("{}: nothing is damaged, nothing was done", place.dir.display());
            return Ok(ExitCode::SUCCESS);
        }
        Err(Failure::Log { source, .. }) if source.is_damage() => source,
        Err(other) => {
            return Err(Failure::Refused(format!(
                "{other}\nrkctl: cutting the log does not help against that: nothing was done"
            )));
        }
    };
    let base = control.image.as_ref().map_or(Zxid::ZERO, |image| image.zxid);
    let view = segments_of(place, &control).view()?;
    let plan = wal::repair::plan(&view, &fault, Generation(control.log_generation), base.0)
        .map_err(|error| Failure::Refused(format!("{fault}\nrkctl: {error}; nothing was done")))?;
    println!("{fault}");
    copy_all(place, backup)?;
    println!("copied to {}", backup.display());
    cut(place, &control, &plan)?;
    tell(place, &control, &plan);
    verify(place, &control_of(&place.dir)?)?;
    println!("{}: ok", place.dir.display());
    Ok(ExitCode::SUCCESS)
}

/// A server's own lock, so that neither starts while the other works.
fn lock(dir: &Path) -> Result<Option<File>, Failure> {
    let path = dir.join(LOCK_FILE);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        // No server ever started here.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::io("open", &path)(error)),
    };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(_) => Err(Failure::Refused(format!("{} is in use by a server: stop it first", dir.display()))),
    }
}

fn copy_all(place: &Place, backup: &Path) -> Result<(), Failure> {
    let is_free = std::fs::read_dir(backup)
        .map_or_else(|e| e.kind() == std::io::ErrorKind::NotFound, |mut dir| dir.next().is_none());
    if !is_free {
        return Err(Failure::Refused(format!("--backup-to {}: it exists and is not empty", backup.display())));
    }
    let inside = |dir: &Path| {
        let real = std::path::absolute(backup).unwrap_or_else(|_| backup.to_owned());
        dir.canonicalize().is_ok_and(|dir| real.starts_with(dir))
    };
    if inside(&place.dir) || place.data_log_dir.as_deref().is_some_and(inside) {
        return Err(Failure::Refused(format!("--backup-to {}: it lies in the directory itself", backup.display())));
    }
    match &place.data_log_dir {
        None => copy_dir(&place.dir, backup),
        Some(log) => {
            copy_dir(&place.dir, &backup.join("data"))?;
            copy_dir(log, &backup.join("data-log"))
        }
    }
}

/// Copies plain files and directories, and makes the copy durable. Sockets and links are no data of ours.
fn copy_dir(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(to).map_err(Failure::io("create", to))?;
    for entry in std::fs::read_dir(from).map_err(Failure::io("list", from))? {
        let entry = entry.map_err(Failure::io("list", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(Failure::io("look at", &source))?;
        if kind.is_dir() {
            copy_dir(&source, &target)?;
        } else if kind.is_file() {
            std::fs::copy(&source, &target).map_err(Failure::io("copy", &source))?;
            sync(&target)?;
        }
    }
    sync(to)
}

fn sync(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Failure::io("sync", path))
}

/// A member of an ensemble that has lost txns must not vote as if it had never had them (law 10): it takes a whole state from its leader.
fn is_whole_after(control: &Control, plan: &RepairPlan) -> bool {
    control.is_whole && (!control.has_voted || matches!(plan.lost, Lost::Nothing))
}

/// The control file first: until the log is cut too its damage refuses every start, and the repair can be asked for again.
fn cut(place: &Place, control: &Control, plan: &RepairPlan) -> Result<(), Failure> {
    let history_zxid = control.history_zxid.min(Zxid(plan.kept_zxid));
    let noted = Control { history_zxid, is_whole: is_whole_after(control, plan), ..control.clone() };
    if noted != *control {
        noted.replace(&place.dir)?;
    }
    let log_dir = place.log_dir();
    let mut disk = UringDisk::open(&log_dir, UringOptions::default()).map_err(Failure::io("open", &log_dir))?;
    plan.carry_out(&mut disk).map_err(Failure::log(&log_dir))
}

fn tell(place: &Place, control: &Control, plan: &RepairPlan) {
    let kept = Zxid(plan.kept_zxid);
    let known = control.history_zxid.0;
    match plan.lost {
        Lost::Nothing => println!("no txn is lost: the base image has what the damaged part held"),
        Lost::UpTo(lost) => println!("LOST: the txns of zxids {} to {} at least", kept.next(), Zxid(lost.max(known))),
        Lost::Unknown if known > kept.0 => {
            println!("LOST: the txns of zxids {} to {} at least", kept.next(), Zxid(known));
        }
        Lost::Unknown => println!("LOST: the txns after zxid {kept}, as many as the damaged part held"),
    }
    if control.is_whole && !is_whole_after(control, plan) {
        println!(
            "this server was a member of an ensemble: it does not vote before it has taken a whole state from its leader"
        );
    }
    for file in &plan.removes {
        println!("removed {}", place.log_dir().join(file).display());
    }
    println!("image and log now reach zxid {kept}");
}

/// As the server's preflight calls it.
const LOCK_FILE: &str = "ringkeeper.lock";
