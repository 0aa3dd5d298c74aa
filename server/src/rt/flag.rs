//! The sleeping flag: one word that tells a ringer whether the one waiter sleeps, so that waking costs a system call only then.
//!
//! Every step is a read-modify-write of one word, so all of them stand in one order. A ring before the waiter's [`WakeFlag::take`] is seen by
//! it (and with it everything the ringer wrote before); a ring after it makes [`WakeFlag::try_sleep`] fail, or finds the waiter asleep
//! and is told to wake it. So no ring is lost. Must never grow a second word. `server/tests/rt_flag_model.rs` compiles this file against loom.

use super::atomics::{AtomicU32, Ordering};

/// The flag of one waiter and any number of ringers.
#[derive(Debug)]
pub(crate) struct WakeFlag(AtomicU32);

impl WakeFlag {
    /// A waiter that is awake and was not rung.
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(AWAKE))
    }

    /// Marks it as rung; true if the waiter slept and the caller must wake it.
    #[must_use]
    pub(crate) fn ring(&self) -> bool {
        self.0.swap(RUNG, Ordering::AcqRel) == ASLEEP
    }

    /// The waiter is awake from here on; true if it was rung since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(AWAKE, Ordering::AcqRel) == RUNG
    }

    /// The waiter announces that it goes to sleep; false if it was rung and must not.
    #[must_use]
    pub(crate) fn try_sleep(&self) -> bool {
        self.0.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether the waiter has announced its sleep and was not rung since.
    pub(crate) fn is_asleep(&self) -> bool {
        self.0.load(Ordering::Acquire) == ASLEEP
    }

    /// The word itself, for a futex wait while it reads [`ASLEEP`].
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.0
    }
}

const AWAKE: u32 = 0;
const RUNG: u32 = 1;
/// The word's value while the waiter sleeps.
pub(crate) const ASLEEP: u32 = 2;
