//! The sleeping flag of `rt/flag.rs` under loom: in every interleaving that the memory model allows, no ring is lost and a woken
//! waiter sees what the ringer wrote before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(dead_code, unreachable_pub, reason = "the file under test is compiled a second time, and only a part is used")]

mod atomics {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};
}

#[path = "../src/rt/flag.rs"]
mod flag;
mod model_support;

use flag::WakeFlag;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use model_support::Bed;

/// Ringers write relaxed, then ring; the waiter sleeps until it has seen every write. A lost ring is a deadlock, which loom reports.
fn run_model(ringers: u32, preemptions_max: Option<usize>) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions_max;
    model.check(move || {
        let shared = Arc::new((WakeFlag::new(), Bed::new(), AtomicU32::new(0)));
        let threads: Vec<_> = (0..ringers)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (flag, bed, work) = &*shared;
                    work.fetch_add(1, Ordering::Relaxed);
                    if flag.ring() {
                        bed.wake();
                    }
                })
            })
            .collect();
        let (flag, bed, work) = &*shared;
        loop {
            flag.take();
            if work.load(Ordering::Relaxed) == ringers {
                break;
            }
            if flag.try_sleep() {
                bed.sleep();
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn one_ringer_is_never_lost() {
    run_model(1, None);
}

#[test]
fn two_ringers_are_never_lost() {
    // Without the bound this takes minutes (it passed, 2026-11-21).
    run_model(2, Some(3));
}
