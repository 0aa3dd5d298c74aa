//! Which segments the kernel was found to have in memory a short while ago: so that it is not asked at every look-up.

use std::sync::atomic::{AtomicU8, Ordering};

/// A mark for each segment, valid for one round.
#[derive(Debug)]
pub(crate) struct Warm {
    round: AtomicU8,
    /// The round in which each was last seen.
    seen: Box<[AtomicU8]>,
}

impl Warm {
    pub(crate) fn new(segments: usize) -> Warm {
        Warm { round: AtomicU8::new(1), seen: (0..segments).map(|_| AtomicU8::new(0)).collect() }
    }

    pub(crate) fn was_seen(&self, segment: usize) -> bool {
        let round = self.round.load(Ordering::Relaxed);
        self.seen.get(segment).is_some_and(|seen| seen.load(Ordering::Relaxed) == round)
    }

    pub(crate) fn see(&self, segment: usize) {
        if let Some(seen) = self.seen.get(segment) {
            seen.store(self.round.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Begins a round in which nothing has been seen. After 255 of them a mark that was never renewed would count again: all go then.
    pub(crate) fn forget(&self) {
        if self.round.fetch_add(1, Ordering::Relaxed) == u8::MAX {
            self.seen.iter().for_each(|seen| seen.store(0, Ordering::Relaxed));
            self.round.store(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_forgotten_and_never_comes_back() {
        let warm = Warm::new(2);
        for _ in 0..1_000 {
            assert!(!warm.was_seen(0) && !warm.was_seen(1) && !warm.was_seen(2));
            warm.see(0);
            warm.see(2);
            assert!(warm.was_seen(0) && !warm.was_seen(1) && !warm.was_seen(2));
            warm.forget();
        }
    }
}
