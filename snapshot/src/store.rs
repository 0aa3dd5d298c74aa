//! The turns of a server's store: what changes which image and which generation of the log are in force.
//!
//! | turn | what is made durable, in order | in force after a crash in between |
//! |---|---|---|
//! | [`cut`] | the next generation's first segment, the control file | the history before the cut |
//! | [`begin`] | the first segment of a log behind a received image | the former image and log |
//! | [`adopt`] | the control file | the former ones |
//! | [`discard`] | (nothing: no file named what is discarded) | the former ones |
//! | [`release`] | the control file; then segments are recycled | what is in force already |
//!
//! Owns that order, on a [`Log`] and a [`ControlFile`], whatever disks these lie on: the server's log writer and the simulator call the same functions. A
//! turn takes effect by the one replace of the control file; what that no longer names goes after it, and never before. The caller has committed all that it
//! has appended. Each may be called again after a [`StoreError::is_no_space`]; after any other error the server stops (law 8).
//! `tests/store.rs` and `tests/store_crash.rs` (the power fails at every step) would catch a mistake.

use std::error::Error as StdError;

use proto::{Epoch, Zxid};
use wal::{Disk, Generation, Log, Reader};

use crate::control::{Control, ControlFile, Former, Held, ImageRef};

/// Why a turn failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The log. It is poisoned, unless the disk was full.
    #[error(transparent)]
    Log(#[from] wal::Error),
    /// The control file.
    #[error("the control file could not be replaced: {0}")]
    Control(std::sync::Arc<crate::Error>),
}

impl From<crate::Error> for StoreError {
    fn from(error: crate::Error) -> StoreError {
        StoreError::Control(std::sync::Arc::new(error))
    }
}

impl StoreError {
    /// Is it a full disk, and all as it was? The same may be asked for again.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            StoreError::Log(error) => error.is_no_space(),
            StoreError::Control(error) => matches!(**error, crate::Error::NoSpace { .. }),
        }
    }
}

/// What a cut came to.
#[derive(Debug)]
pub enum Cut<T> {
    /// It is done.
    Done {
        /// What the log ends with: less than was asked for if it never had that one.
        last: Zxid,
        /// What was made anew, if that was asked for.
        rebuilt: Option<T>,
    },
    /// Nothing that is here reaches down to it, or what does cannot be read. The log is what it was, and counts as not whole from here on.
    Impossible {
        /// For the operator.
        why: String,
    },
}

/// Makes what is shown anew, of an image (`None`: of an empty tree) and the records that the reader gives, up to the cut and no further.
pub type Rebuild<'a, D, T> =
    dyn FnMut(Option<&ImageRef>, Reader<<D as Disk>::Read>) -> Result<T, Box<dyn StdError>> + 'a;

/// Ends the log with `to`, or with what it has before that. Where the image in force is later, and the one before it is kept still
/// ([`adopt`]), that one and its log come into force again and are cut. With `rebuild` a new era begins ([`ControlFile::era`]).
///
/// # Errors
/// [`StoreError`].
///
/// # Panics
/// If a state is begun and neither adopted nor discarded.
pub fn cut<D: Disk, T>(
    log: &mut Log<D>,
    control: &ControlFile,
    to: Zxid,
    rebuild: Option<&mut Rebuild<'_, D, T>>,
) -> Result<Cut<T>, StoreError> {
    let mut held = control.lock();
    assert!(held.begun.is_none(), "the log of a state that is not in force is discarded, not cut");
    let before = held.control().clone();
    let reaches = |image: Option<&ImageRef>| image.is_none_or(|image| image.zxid <= to);
    let (image, falls_back) = match &before.former {
        _ if reaches(before.image.as_ref()) => (before.image.clone(), None),
        Some(former) if reaches(former.image.as_ref()) => (former.image.clone(), Some(former.log_generation)),
        _ => {
            return impossible(
                &mut held,
                format!("the image at {} is later, and none before it is kept", before.base_zxid()),
            );
        }
    };
    let base = image.as_ref().map_or(0, |image| image.zxid.0);
    if let Some(generation) = falls_back
        && let Err(error) = log.return_to(Generation(generation), base)
    {
        return unless_unreadable(&mut held, error);
    }
    let made = rebuild_and_truncate(log, image.as_ref(), base, to, rebuild);
    let (rebuilt, last) = match made {
        Ok(made) => made,
        Err(failure) => {
            if falls_back.is_some() && !matches!(&failure, Failure::Log(error) if is_fatal(error)) {
                log.return_to(Generation(before.log_generation), before.base_zxid().0)?;
            }
            return match failure {
                Failure::Rebuild(why) => impossible(&mut held, why),
                Failure::Log(error) => unless_unreadable(&mut held, error),
            };
        }
    };
    // A position without a txn, (E, 0), is where the epochs before E end.
    let ends_there = last == to || (to.counter() == 0 && last < to);
    let kept = if falls_back.is_some() { (None, None) } else { (before.former.clone(), before.spans.clone()) };
    held.replace(Control {
        image,
        log_generation: log.generation().0,
        log_cut: None,
        history_zxid: last,
        former: kept.0,
        spans: kept.1,
        is_whole: before.is_whole && ends_there,
        ..before
    })?;
    if rebuilt.is_some() {
        held.begin_era();
    }
    remove_dead(log, &held)?;
    Ok(Cut::Done { last, rebuilt })
}

/// A state was received, and its image is durable: begins a log behind it. The image and log in force stay so.
///
/// # Errors
/// [`StoreError`].
///
/// # Panics
/// If another is begun already.
pub fn begin<D: Disk>(log: &mut Log<D>, control: &ControlFile, image: ImageRef) -> Result<(), StoreError> {
    let mut held = control.lock();
    assert!(held.begun.is_none(), "one state is received at a time");
    log.restart_after(image.zxid.0, log.next_generation())?;
    held.begun = Some(Former { image: Some(image), log_generation: log.generation().0 });
    Ok(())
}

/// The state that was begun, and its log, come into force with these epochs. What was in force is kept, if it was whole; what was kept before that is
/// not. A new era begins ([`ControlFile::era`]).
///
/// # Errors
/// [`StoreError`].
///
/// # Panics
/// If none was begun.
pub fn adopt<D: Disk>(
    log: &mut Log<D>,
    control: &ControlFile,
    accepted: Epoch,
    current: Epoch,
) -> Result<(), StoreError> {
    let mut held = control.lock();
    let begun = held.begun.clone().expect("a state is adopted after it was begun");
    assert!(log.generation().0 == begun.log_generation, "what was appended since went behind it");
    let before = held.control().clone();
    let former = Former { image: before.image.clone(), log_generation: before.log_generation };
    held.replace(Control {
        accepted_epoch: accepted,
        current_epoch: current,
        image: begun.image,
        log_generation: begun.log_generation,
        log_cut: None,
        history_zxid: Zxid(log.durable_zxid()),
        // A history that was not whole is not fallen back on.
        former: before.is_whole.then_some(former),
        spans: None,
        is_whole: true,
        has_voted: true,
        ..before
    })?;
    held.begun = None;
    held.begin_era();
    remove_dead(log, &held)
}

/// The state that was begun, and its log, are nobody's: goes on with the log in force. Does nothing if none was begun.
///
/// # Errors
/// [`StoreError`].
pub fn discard<D: Disk>(log: &mut Log<D>, control: &ControlFile) -> Result<(), StoreError> {
    let mut held = control.lock();
    let Some(begun) = held.begun.clone() else { return Ok(()) };
    log.return_to(Generation(held.control().log_generation), held.control().base_zxid().0)?;
    held.begun = None;
    if let Some(image) = &begun.image {
        held.remove_image(image);
    }
    remove_dead(log, &held)
}

/// What was kept since [`adopt`] may go. Its image goes as older images do ([`crate::purge`]).
///
/// # Errors
/// [`StoreError`].
pub fn release<D: Disk>(log: &mut Log<D>, control: &ControlFile) -> Result<(), StoreError> {
    let mut held = control.lock();
    if held.control().former.is_some() {
        let control = Control { former: None, ..held.control().clone() };
        held.replace(control)?;
    }
    remove_dead(log, &held)
}

/// Recycles the oldest segments of which every record is `<= below` and in the image in force, `count_max` of them at the most; none while a state is begun that is
/// not in force. Returns how many went.
///
/// # Errors
/// [`StoreError`].
pub fn purge<D: Disk>(
    log: &mut Log<D>,
    control: &ControlFile,
    below: Zxid,
    count_max: usize,
) -> Result<usize, StoreError> {
    let held = control.lock();
    // What `below` was said of may be another state's image: a cut has gone back below it, or a state was received that is older.
    let below = below.min(held.control().base_zxid());
    Ok(if held.begun.is_some() { 0 } else { log.purge_some_below(below.0, count_max)? })
}

/// Recycles the segments that the control file cannot go back to: those of a log that a crash has left behind, say.
///
/// # Errors
/// [`StoreError`].
pub fn tidy<D: Disk>(log: &mut Log<D>, control: &ControlFile) -> Result<(), StoreError> {
    remove_dead(log, &control.lock())
}

/// Nothing is recycled while there is something to go back to: that may lie in any segment that is not in use.
fn remove_dead<D: Disk>(log: &mut Log<D>, held: &Held) -> Result<(), StoreError> {
    if held.control().former.is_none() && held.begun.is_none() {
        log.remove_dead()?;
    }
    Ok(())
}

/// What stood in the way of a cut, before the control file was touched.
enum Failure {
    Rebuild(String),
    Log(wal::Error),
}

/// First what can fail and leaves all as it was.
fn rebuild_and_truncate<D: Disk, T>(
    log: &mut Log<D>,
    image: Option<&ImageRef>,
    base: u64,
    to: Zxid,
    rebuild: Option<&mut Rebuild<'_, D, T>>,
) -> Result<(Option<T>, Zxid), Failure> {
    let rebuilt = match rebuild {
        None => None,
        Some(rebuild) => {
            let reader = log.reader(base).map_err(Failure::Log)?;
            Some(rebuild(image, reader).map_err(|error| Failure::Rebuild(error.to_string()))?)
        }
    };
    log.truncate_after(to.0, log.next_generation()).map_err(Failure::Log)?;
    Ok((rebuilt, Zxid(log.durable_zxid())))
}

fn impossible<T>(held: &mut Held, why: String) -> Result<Cut<T>, StoreError> {
    held.set_not_whole()?;
    Ok(Cut::Impossible { why })
}

/// A log that does not reach down to the cut, or does not read there, is a reason to take a whole state; anything else ends the server.
fn unless_unreadable<T>(held: &mut Held, error: wal::Error) -> Result<Cut<T>, StoreError> {
    if is_unreadable(&error) { impossible(held, error.to_string()) } else { Err(error.into()) }
}

fn is_unreadable(error: &wal::Error) -> bool {
    let is_gone = matches!(error, wal::Error::HistoryMissing { .. } | wal::Error::GenerationMissing { .. });
    error.is_damage() || is_gone
}

/// The log can do nothing more.
fn is_fatal(error: &wal::Error) -> bool {
    !is_unreadable(error) && !error.is_no_space()
}
