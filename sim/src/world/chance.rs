//! Random numbers from one seed: a stream for each part of the world.

use super::time::Micros;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Chance(fastrand::Rng);

impl Chance {
    /// The streams of a run begin here.
    #[must_use]
    pub fn of_seed(seed: u64) -> Chance {
        Chance(fastrand::Rng::with_seed(seed))
    }

    /// A stream of its own, for a part with this name: it is the same whatever else is drawn.
    #[must_use]
    pub fn stream(seed: u64, name: &str) -> Chance {
        // FNV-1a: fixed, and enough to tell names apart.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Chance(fastrand::Rng::with_seed(seed ^ hash))
    }

    /// Of 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// From `from` up to `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        self.0.u64(from..=to.max(from))
    }

    /// From `from` up to `to`, signed.
    pub fn between_signed(&mut self, from: i64, to: i64) -> i64 {
        self.0.i64(from..=to.max(from))
    }

    /// A length of time, evenly.
    pub fn micros(&mut self, from: Micros, to: Micros) -> Micros {
        Micros(self.between(from.0, to.0))
    }

    /// A length of time, mostly near `from`, now and then near `to`: as latencies are.
    pub fn latency(&mut self, from: Micros, to: Micros) -> Micros {
        let cubed = self.0.f64().powi(6);
        let spread = to.0.saturating_sub(from.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of the spread"
        )]
        let part = (spread as f64 * cubed) as u64;
        Micros(from.0 + part)
    }

    /// True once in so many times; 0: never.
    pub fn one_in(&mut self, times: u64) -> bool {
        times > 0 && self.0.u64(0..times) == 0
    }

    /// True in so many of 100 times.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.0.u64(0..100) < percent
    }

    /// One of them. None of none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.0.usize(0..of.len())) }
    }

    /// A number below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        self.0.usize(0..count)
    }
}
