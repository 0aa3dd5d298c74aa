//! Virtual time, and the clocks of machines, which show something else.

use std::fmt;
use std::ops::{Add, Sub};

/// A point in virtual time, in µs since the run began. Nothing in the world can see it: machines have [`Clock`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

/// A length of time in µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// From ms.
    #[must_use]
    pub const fn ms(ms: u64) -> Micros {
        Micros(ms * 1_000)
    }

    /// From s.
    #[must_use]
    pub const fn s(s: u64) -> Micros {
        Micros(s * 1_000_000)
    }
}

impl Add<Micros> for Time {
    type Output = Time;

    fn add(self, after: Micros) -> Time {
        Time(self.0 + after.0)
    }
}

impl Sub<Time> for Time {
    type Output = Micros;

    fn sub(self, before: Time) -> Micros {
        Micros(self.0.saturating_sub(before.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The two clocks of a machine. The monotonic one begins anywhere and runs too fast or too slow; the wall clock runs with it and jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What the monotonic one showed when the run began, µs.
    begin_us: u64,
    /// So many µs too many in a second; negative: too few.
    skew_ppm: i64,
    /// The wall clock less the monotonic one, µs.
    wall_us: i64,
}

/// What a wall clock shows when a run begins: 2026-01-01.
const WALL_BEGIN_US: i64 = 1_767_225_600_000_000;

impl Clock {
    /// A clock that began at `begin_us` and gains `skew_ppm` µs a second.
    #[must_use]
    pub const fn new(begin_us: u64, skew_ppm: i64) -> Clock {
        Clock { begin_us, skew_ppm, wall_us: WALL_BEGIN_US }
    }

    /// The monotonic clock, µs. It never goes back.
    #[must_use]
    pub fn mono_us(&self, now: Time) -> u64 {
        let gained = i128::from(now.0) * i128::from(self.skew_ppm) / 1_000_000;
        let passed = u64::try_from(i128::from(now.0) + gained).unwrap_or(0);
        self.begin_us + passed
    }

    /// The wall clock, ms since 1970.
    #[must_use]
    pub fn wall_ms(&self, now: Time) -> i64 {
        (self.mono_us(now).cast_signed() + self.wall_us) / 1_000
    }

    /// The wall clock jumps by so much, forward or back.
    pub const fn jump_wall_ms(&mut self, by_ms: i64) {
        self.wall_us += by_ms * 1_000;
    }

    /// The machine begins anew: its monotonic clock starts somewhere else, the wall clock stays.
    pub fn reboot(&mut self, now: Time, begin_us: u64) {
        let wall_us = self.mono_us(now).cast_signed() + self.wall_us;
        let passed = self.mono_us(now) - self.begin_us;
        // It shows `begin_us` now; what it would have shown at the beginning may lie before 0 and is never asked for.
        self.begin_us = begin_us.max(passed) - passed;
        self.wall_us = wall_us - self.mono_us(now).cast_signed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_gains_or_loses_and_jumps_only_on_the_wall() {
        let mut clock = Clock::new(5_000_000, 100_000);
        assert_eq!(clock.mono_us(Time(10_000_000)), 5_000_000 + 11_000_000);
        let before = clock.wall_ms(Time(10_000_000));
        clock.jump_wall_ms(-3_600_000);
        assert_eq!(clock.wall_ms(Time(10_000_000)), before - 3_600_000);
        assert_eq!(clock.mono_us(Time(10_000_000)), 16_000_000);
        clock.reboot(Time(10_000_000), 40_000_000);
        assert_eq!(
            (clock.mono_us(Time(10_000_000)), clock.wall_ms(Time(10_000_000))),
            (40_000_000, before - 3_600_000)
        );
    }
}
