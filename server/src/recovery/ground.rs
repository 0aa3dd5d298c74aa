//! What a start finds before it reads image and log, and what it notes of it.
//!
//! Owns the identity files and their order: the log directory's first. A loss is durable in the control file before anything else is moved or written, so that no crash makes
//! an incomplete history look whole; what cannot be imported leaves no trace; and a server has voted, in both directories, before it says anything to another. It decides nothing:
//! that is [`crate::standing`]'s. `server/tests/members_start.rs` would catch a mistake.

use super::{LOG_DIR, RecoveryError};
use crate::config::ResolvedConfig;
use crate::preflight::data_dir::is_same;
use crate::standing::{self, Evidence, INITIALIZE, Loss, Standing};
use proto::Epoch;
use snapshot::control::Control;
use snapshot::version_2::Version2;
use snapshot::{DataDir, Identity};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What was found, and what is made of it.
pub(super) struct Ground {
    /// As it was found.
    pub evidence: Evidence,
    /// The control file, or that of a first start. It says already whether the history is whole, durably unless it is a whole first start's.
    pub control: Control,
    /// May the server vote with it?
    pub standing: Standing,
}

/// What of the data did not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The images: the log that follows on them is of no use then either.
    Images,
    /// The log.
    Log,
}

/// Removes what a crash has left half written, from directories that are this server's: of an image that may be as much as the data.
pub(super) fn clean(config: &ResolvedConfig) -> Result<(), RecoveryError> {
    let storage = &config.storage;
    let both = [&storage.data_dir, &storage.data_log_dir];
    let count = if is_same(&storage.data_dir, &storage.data_log_dir) { 1 } else { 2 };
    for dir in both.into_iter().take(count) {
        for file in DataDir::new(dir).clean_temporaries()? {
            tracing::info!(file = %file.display(), "removed what a crash had left half written");
        }
    }
    Ok(())
}

/// Looks at both directories, decides, and notes what is lost.
pub(super) fn survey(config: &ResolvedConfig) -> Result<Ground, RecoveryError> {
    let storage = &config.storage;
    let is_member = config.ensemble().is_some();
    let (found, damage) = match Control::load(&storage.data_dir) {
        Err(error @ snapshot::Error::Damaged { .. }) if is_member => (None, Some(error)),
        found => (found?, None),
    };
    let evidence = evidence(config, found.clone())?;
    let mut standing = evidence.judge()?;
    if let Some(error) = damage {
        let control = DataDir::new(&storage.data_dir).control();
        let set_aside = set_aside_files(&storage.data_dir, &[control])?;
        standing = Standing::Incomplete(Loss::Damage { error: error.to_string(), set_aside });
    }
    let mut control = found.unwrap_or_else(|| Control {
        log_generation: 1,
        accepted_epoch: Epoch(0),
        current_epoch: Epoch(0),
        ..Control::default()
    });
    control.server_id = config.server_id();
    match &standing {
        // A member's log is not begun before there is a control file: else a first start that is cut short would look like the loss of one.
        Standing::Whole if !control.is_whole || (is_member && evidence.control.is_none() && !evidence.has_import) => {
            control.is_whole = true;
            control.replace(&storage.data_dir)?;
        }
        Standing::Whole => {}
        Standing::Incomplete(loss) => control = note(config, control, loss)?,
    }
    Ok(Ground { evidence, control, standing })
}

/// Notes a loss, durably, and tells it.
pub(super) fn note(config: &ResolvedConfig, control: Control, loss: &Loss) -> Result<Control, RecoveryError> {
    tracing::warn!("{loss}: {}", Loss::REMEDY);
    let control = Control { is_whole: false, ..control };
    control.replace(&config.storage.data_dir)?;
    Ok(control)
}

/// Moves away what did not read, once it is noted that the history is incomplete. Returns the control file without it.
pub(super) fn set_aside(
    config: &ResolvedConfig,
    control: Control,
    part: Part,
    error: &RecoveryError,
) -> Result<Control, RecoveryError> {
    let storage = &config.storage;
    let control = match part {
        Part::Images => Control { image: None, former: None, log_cut: None, spans: None, is_whole: false, ..control },
        Part::Log => Control { former: None, log_cut: None, is_whole: false, ..control },
    };
    control.replace(&storage.data_dir)?;
    let log = set_aside_files(&storage.data_log_dir, &[storage.data_log_dir.join(LOG_DIR)])?;
    let set_aside = match part {
        Part::Log => log,
        Part::Images => {
            let images = DataDir::new(&storage.data_dir).images()?;
            set_aside_files(&storage.data_dir, &images.into_iter().map(|image| image.path).collect::<Vec<_>>())?
        }
    };
    let loss = Loss::Damage { error: error.to_string(), set_aside };
    tracing::warn!("{loss}: {}", Loss::REMEDY);
    Ok(control)
}

/// The last that a start writes. All that the server has is there now, and from here on others may count on it.
pub(super) fn keep(config: &ResolvedConfig, evidence: &Evidence, control: Control) -> Result<Control, RecoveryError> {
    let storage = &config.storage;
    let mut control = control;
    if evidence.is_member && !control.has_voted {
        control.has_voted = true;
        control.replace(&storage.data_dir)?;
    }
    if evidence.is_member && !evidence.identity().has_voted {
        write_identity(config, Identity { has_voted: true, ..evidence.identity() })?;
    }
    if evidence.has_marker {
        let marker = storage.data_log_dir.join(INITIALIZE);
        match fs::remove_file(&marker) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(RecoveryError::Marker { marker, source });
            }
            _ => {
                tracing::info!(marker = %marker.display(), "an empty server may vote, as this file said; it is removed")
            }
        }
    }
    Ok(control)
}

fn evidence(config: &ResolvedConfig, control: Option<Control>) -> Result<Evidence, RecoveryError> {
    let storage = &config.storage;
    let log = storage.data_log_dir.join(LOG_DIR);
    let is_segment = |name: &OsStr| name.to_string_lossy().starts_with("segment-");
    let import = Version2::new(&storage.data_dir, &storage.data_log_dir);
    Ok(Evidence {
        me: config.quorum.my_id,
        is_member: config.ensemble().is_some(),
        data_dir: standing::place(&storage.data_dir)?,
        log_dir: standing::place(&storage.data_log_dir)?,
        has_log: fs::read_dir(&log).is_ok_and(|entries| entries.flatten().any(|entry| is_segment(&entry.file_name()))),
        // At a first start alone it is asked, and then errors come from where it is read.
        has_import: control.is_none() && import.has_data().unwrap_or(true),
        control,
        has_marker: storage.data_log_dir.join(INITIALIZE).exists(),
        autocreate: config.settings.bool("db.autocreate"),
    })
}

/// Writes the identity where it is not what it should be, the log directory's first.
pub(super) fn write_identity(config: &ResolvedConfig, identity: Identity) -> Result<(), RecoveryError> {
    let storage = &config.storage;
    let both = [&storage.data_log_dir, &storage.data_dir];
    let count = if is_same(&storage.data_log_dir, &storage.data_dir) { 1 } else { 2 };
    for dir in both.into_iter().take(count) {
        if standing::place(dir)?.identity == Some(identity) {
            continue;
        }
        match identity.replace(dir) {
            // Nobody counts on who stands alone, and a full disk keeps nobody from starting who needs no more of it. The next start tries again.
            Err(error @ snapshot::Error::NoSpace { .. }) if !identity.has_voted && config.ensemble().is_none() => {
                tracing::warn!("{error}");
                return Ok(());
            }
            written => written?,
        }
    }
    Ok(())
}

/// Moves files or directories of `dir` into a new directory of it, `set-aside.N`, and returns that one.
fn set_aside_files(dir: &Path, files: &[PathBuf]) -> Result<PathBuf, RecoveryError> {
    let failed = |what: &Path, to: &Path, source| RecoveryError::NotSetAside {
        what: what.to_owned(),
        to: to.to_owned(),
        source,
    };
    let mut number = 1_u64;
    let to = loop {
        let to = dir.join(format!("set-aside.{number}"));
        match fs::create_dir(&to) {
            Ok(()) => break to,
            Err(source) if source.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(source) => return Err(failed(dir, &to, source)),
        }
    };
    for file in files {
        let Some(name) = file.file_name() else { continue };
        match fs::rename(file, to.join(name)) {
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(failed(file, &to, source)),
            _ => {}
        }
    }
    for dir in [&to, dir] {
        sync_dir(dir).map_err(|source| failed(dir, &to, source))?;
    }
    Ok(to)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
