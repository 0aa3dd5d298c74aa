//! Latency in the moments in which the machine's host took nothing from it.
//!
//! A virtual machine on a busy host stands still for tens of milliseconds at a time ("steal"), and whatever runs on it then has a p99 that is the
//! host's. The run is cut into slots; one counts if nothing was taken in it nor in the [`BEFORE`] slots before it, in which what had
//! piled up was worked off. The kernel counts what is taken in ticks, hence more than one. The rule looks at the host alone, never at a latency.

use hdrhistogram::Histogram;

/// Length of a slot: a tenth of a second.
const SLOT_NS: u64 = 100_000_000;

/// Slots before one in which nothing may have been taken either.
const BEFORE: u32 = 2;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Undisturbed {
    kept: Histogram<u64>,
    slot: Histogram<u64>,
    ends_ns: u64,
    /// What had been taken when the slot began.
    stolen_ms: u64,
    /// Slots without a loss, up to the one that has just ended.
    quiet: u32,
    slots: u32,
    slots_kept: u32,
}

impl Undisturbed {
    /// Begins with the first slot. `like` has the bounds and digits.
    pub(crate) fn new(like: &Histogram<u64>, stolen_ms: u64) -> Undisturbed {
        let empty = Histogram::new_from(like);
        let kept = empty.clone();
        Undisturbed { kept, slot: empty, ends_ns: SLOT_NS, stolen_ms, quiet: 0, slots: 0, slots_kept: 0 }
    }

    /// A reply came now.
    pub(crate) fn record(&mut self, latency_ns: u64) {
        self.slot.saturating_record(latency_ns);
    }

    /// Ends the slot, if its time has come. `stolen_ms` is asked for only then.
    pub(crate) fn turn(&mut self, now_ns: u64, stolen_ms: impl FnOnce() -> u64) {
        if now_ns < self.ends_ns {
            return;
        }
        let stolen_ms = stolen_ms();
        self.quiet = if stolen_ms == self.stolen_ms { self.quiet + 1 } else { 0 };
        self.stolen_ms = stolen_ms;
        if !self.slot.is_empty() {
            self.slots += 1;
            if self.quiet > BEFORE {
                self.slots_kept += 1;
                self.kept.add(&self.slot).expect("both have the same bounds");
            }
            self.slot.reset();
        }
        self.ends_ns = now_ns + SLOT_NS;
    }

    /// The latencies that count.
    pub(crate) const fn latency_ns(&self) -> &Histogram<u64> {
        &self.kept
    }

    /// The share of the slots that count.
    pub(crate) fn share(&self) -> f64 {
        f64::from(self.slots_kept) / f64::from(self.slots.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_counts_if_nothing_was_taken_in_it_nor_in_the_two_before() {
        let mut seen = Undisturbed::new(&Histogram::new_with_bounds(1, 1_000, 3).unwrap(), 70);
        // What had been taken at the end of each slot: something in the fourth.
        for (slot, stolen_ms) in (1..).zip([70, 70, 70, 80, 80, 80, 80]) {
            seen.record(slot);
            seen.turn(slot * 100_000_000 - 1, || panic!("too early"));
            seen.turn(slot * 100_000_000, || stolen_ms);
        }
        let kept: Vec<u64> = seen.latency_ns().iter_recorded().map(|value| value.value_iterated_to()).collect();
        assert_eq!(kept, [3, 7]);
        assert!((seen.share() - 2.0 / 7.0).abs() < 1e-9);
    }
}
