//! What stands in for the kernel under loom.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use loom::sync::{Condvar, Mutex};

/// A waiter's bed: what the eventfd or the futex is in life. A wake-up that comes first is remembered, as an eventfd does.
pub(crate) struct Bed {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self { woken: Mutex::new(false), wake: Condvar::new() }
    }

    pub(crate) fn sleep(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.wake.wait(woken).unwrap();
        }
        *woken = false;
    }

    pub(crate) fn wake(&self) {
        *self.woken.lock().unwrap() = true;
        self.wake.notify_one();
    }
}
