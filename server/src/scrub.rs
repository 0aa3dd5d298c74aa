//! The scrub: reads the whole of the image in use in the background, so that damage shows before somebody needs what it lies in.
//!
//! Owns the thread `rk-scrub`. Whoever reads a record checks that record ([`snapshot::base`]); the scrub covers the rest, from the start of the
//! server on and again every [`AGAIN_AFTER`], slowly and at low priority, and leaves the page cache as it was. Damage ends the server, with file,
//! offset and zxid: what was damaged once is not trusted to be served a little longer. An image that is replaced meanwhile is read to its
//! end all the same, or frequent images would never be read at all. Beside that it makes the image forget what was in memory a second ago. `tests/tests/base.rs` would
//! catch a mistake.
#![forbid(unsafe_code)]

use crate::hub::Hub;
use crate::rt::{self, spawn_pinned, step_back};
use crate::stats;
use proto::Zxid;
use snapshot::base::{Base, Scrub};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Read at a time, with a pause after it.
const STEP_BYTES: u64 = 1 << 20;
/// With [`STEP_BYTES`] about 50 MB/s at the most: a tenth of what a disk of today gives.
const STEP_PAUSE: Duration = Duration::from_millis(20);
/// Steps in about [`LOOK_EVERY`].
const STEPS_IN_LOOK: u32 = 50;
/// How often it looks for a new image, or for the end.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An image that stays in use is read again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(24 * 3600);
const SCRUB_NICE: i32 = 19;

/// Starts the thread. It goes on until the server ends.
///
/// # Errors
/// [`rt::Error::Thread`] if the kernel gives no thread.
pub fn start(hub: &Arc<Hub>) -> Result<(), rt::Error> {
    let hub = Arc::clone(hub);
    spawn_pinned("rk-scrub", None, move || run(&hub)).map(drop)
}

fn run(hub: &Hub) {
    step_back(SCRUB_NICE);
    let mut last: Option<(Zxid, Instant)> = None;
    while !hub.is_stopping() {
        let base = hub.read_tree().base().cloned();
        base.iter().for_each(|base| base.forget_warm());
        let due =
            |base: &Arc<Base>| last.is_none_or(|(zxid, at)| zxid != base.totals().zxid || at.elapsed() >= AGAIN_AFTER);
        match base.filter(due) {
            None => std::thread::sleep(LOOK_EVERY),
            Some(base) => {
                let zxid = base.totals().zxid;
                if let Err(error) = scrub(hub, base) {
                    hub.fail_image(&error);
                    return;
                }
                last = Some((zxid, Instant::now()));
            }
        }
    }
}

fn scrub(hub: &Hub, base: Arc<Base>) -> Result<(), snapshot::Error> {
    let mut scrub = Scrub::new(Arc::clone(&base));
    for step in 1.. {
        if hub.is_stopping() {
            break;
        }
        if step % STEPS_IN_LOOK == 0 {
            base.forget_warm();
        }
        if scrub.step(STEP_BYTES)?.is_done() {
            stats::add(&hub.core_stats.images_scrubbed, 1);
            return Ok(());
        }
        std::thread::sleep(STEP_PAUSE);
    }
    Ok(())
}
