//! Limits that all shards share: new sessions a while, requests in work, bytes of large requests (`BlueThrottle`, `RequestThrottler`, 3.9).
//!
//! Owns the token bucket and the shared counts, not what happens past a limit: the shard decides that where it meets it. It reads no clock.
//! Defaults are ZooKeeper's: of all these only `outstanding_max` holds without being asked for.

use super::counts::Summary;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What may be set.
#[derive(Clone, Debug)]
pub struct ThrottleOptions {
    /// `globalOutstandingLimit`: requests in work past which a connection that has one of them is not read from.
    pub outstanding_max: usize,
    /// `request_throttle_max_requests`: requests in work past which further ones wait; 0 is off.
    pub requests_max: usize,
    /// `request_throttle_drop_stale`: drop waiting requests that became stale, and their connection.
    pub drop_stale: bool,
    /// `request_stale_latency_check`: who waited longer than its session's timeout is stale.
    pub stale_latency_check: bool,
    /// `throttled_op_wait_time` in µs: who waited longer gets ThrottledOp; 0 is off.
    pub op_wait_us_max: u64,
    /// `largeRequestThreshold`: a request of more bytes is large.
    pub large_threshold: usize,
    /// `largeRequestMaxBytes`: bytes of large requests in work.
    pub large_bytes_max: usize,
    /// `connection_throttle_*`.
    pub connects: ConnectOptions,
}

impl Default for ThrottleOptions {
    fn default() -> ThrottleOptions {
        ThrottleOptions {
            outstanding_max: usize::MAX,
            requests_max: 0,
            drop_stale: true,
            stale_latency_check: false,
            op_wait_us_max: 0,
            large_threshold: usize::MAX,
            large_bytes_max: 100 << 20,
            connects: ConnectOptions::default(),
        }
    }
}

/// The token bucket of new sessions.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Tokens that there may be; 0 is off.
    pub tokens_max: u64,
    /// Tokens that come back with each fill.
    pub fill_count: u64,
    /// Time between fills in ms.
    pub fill_ms: u64,
    /// Time between changes of the drop probability in ms; `None` is off.
    pub freeze_ms: Option<u64>,
    /// Step by which the drop probability rises when there are no tokens.
    pub drop_increase: f64,
    /// Step by which it falls when there are enough.
    pub drop_decrease: f64,
    /// Share of the tokens that may be missing for it to fall.
    pub decrease_ratio: f64,
    /// Tokens for a new session and for one that is renewed.
    pub weights: (u64, u64),
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            tokens_max: 0,
            fill_count: 1,
            fill_ms: 1,
            freeze_ms: None,
            drop_increase: 0.02,
            drop_decrease: 0.002,
            decrease_ratio: 0.0,
            weights: (1, 1),
        }
    }
}

#[derive(Debug)]
struct Bucket {
    tokens: u64,
    filled_ms: u64,
    frozen_ms: u64,
    drop: f64,
    /// State of a xorshift generator: who is dropped is a matter of chance, not of secrets.
    random: u64,
    deficits: Summary,
}

/// A shard's count, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct OfShard(AtomicUsize);

/// See the module.
#[derive(Debug)]
pub struct Throttle {
    options: ThrottleOptions,
    bucket: Mutex<Bucket>,
    in_flight: Box<[OfShard]>,
    large_bytes: AtomicUsize,
}

impl Throttle {
    /// Limits that `shards` shards share.
    #[must_use]
    pub fn new(options: ThrottleOptions, shards: usize) -> Throttle {
        let bucket = Bucket {
            tokens: options.connects.tokens_max,
            filled_ms: 0,
            frozen_ms: 0,
            drop: 0.0,
            random: 0x9e37_79b9_7f4a_7c15,
            deficits: Summary::default(),
        };
        Throttle {
            options,
            bucket: Mutex::new(bucket),
            in_flight: (0..shards).map(|_| OfShard::default()).collect(),
            large_bytes: AtomicUsize::new(0),
        }
    }

    /// The settings.
    #[must_use]
    pub const fn options(&self) -> &ThrottleOptions {
        &self.options
    }

    /// May a client connect now? Takes the tokens that its session costs.
    pub fn try_connect(&self, renews: bool, now_us: u64) -> bool {
        let options = &self.options.connects;
        let (fresh, renewed) = options.weights;
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let may = options.tokens_max == 0 || bucket.take(options, if renews { renewed } else { fresh }, now_us / 1_000);
        if may {
            let deficit = options.tokens_max - bucket.tokens;
            bucket.deficits.add(deficit);
        }
        may
    }

    /// Tokens that were missing, at each connect.
    #[must_use]
    pub fn deficits(&self) -> Summary {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).deficits
    }

    /// Forgets them (`srst`).
    pub fn reset_counts(&self) {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).deficits = Summary::default();
    }

    /// The share of clients that are turned away by chance.
    #[must_use]
    pub fn drop_probability(&self) -> f64 {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).drop
    }

    /// A shard has so many requests in work.
    pub(super) fn set_in_flight(&self, shard: usize, count: usize) {
        if let Some(OfShard(cell)) = self.in_flight.get(shard) {
            cell.store(count, Ordering::Relaxed);
        }
    }

    /// Requests that the other shards have in work, as they last told.
    pub(super) fn in_flight_elsewhere(&self, shard: usize) -> usize {
        let others = self.in_flight.iter().enumerate().filter(|(number, _)| *number != shard);
        others.map(|(_, OfShard(cell))| cell.load(Ordering::Relaxed)).sum()
    }

    /// Is a request of so many bytes a large one?
    pub(super) const fn is_large(&self, bytes: usize) -> bool {
        bytes > self.options.large_threshold
    }

    /// May a large request still come? It has not been received yet, so nothing is taken.
    pub(super) fn has_room_for_large(&self, bytes: usize) -> bool {
        self.large_bytes.load(Ordering::Relaxed).saturating_add(bytes) <= self.options.large_bytes_max
    }

    /// A large request is in work from now on, unless there are too many bytes of them. True if it may be.
    pub(super) fn take_large(&self, bytes: usize) -> bool {
        let before = self.large_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.options.large_bytes_max;
        if !fits {
            self.give_back_large(bytes);
        }
        fits
    }

    /// It is answered, or its connection is gone.
    pub(super) fn give_back_large(&self, bytes: usize) {
        self.large_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Bucket {
    fn take(&mut self, options: &ConnectOptions, need: u64, now_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.filled_ms);
        if passed_ms > options.fill_ms {
            let refill = passed_ms.saturating_mul(options.fill_count) / options.fill_ms.max(1);
            self.tokens = self.tokens.saturating_add(refill).min(options.tokens_max);
            self.filled_ms = now_ms;
        }
        if options.freeze_ms.is_some_and(|freeze_ms| self.is_unlucky(options, freeze_ms, now_ms)) {
            return false;
        }
        let may = self.tokens >= need;
        if may {
            self.tokens -= need;
        }
        may
    }

    /// Moves the drop probability, if it is time, and throws the dice.
    fn is_unlucky(&mut self, options: &ConnectOptions, freeze_ms: u64, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.frozen_ms) > freeze_ms {
            let missing = options.tokens_max - self.tokens;
            #[expect(clippy::cast_precision_loss, reason = "a share of a small number")]
            let (missing_share, tokens_max) = (missing as f64, options.tokens_max as f64);
            if self.tokens == 0 && self.drop < 1.0 {
                self.drop = (self.drop + options.drop_increase).min(1.0);
            } else if missing_share <= (tokens_max * options.decrease_ratio).round() && self.drop > 0.0 {
                self.drop = (self.drop - options.drop_decrease).max(0.0);
            }
            self.frozen_ms = now_ms;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let chance = (self.random >> 11) as f64 / (1_u64 << 53) as f64;
        chance < self.drop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(connects: ConnectOptions) -> Throttle {
        Throttle::new(
            ThrottleOptions { connects, large_threshold: 50, large_bytes_max: 100, ..ThrottleOptions::default() },
            2,
        )
    }

    #[test]
    fn tokens_run_out_and_come_back_with_time() {
        let throttle =
            throttle(ConnectOptions { tokens_max: 3, fill_ms: 10, weights: (1, 2), ..ConnectOptions::default() });
        assert!(throttle.try_connect(false, 0) && throttle.try_connect(true, 0));
        assert!(!throttle.try_connect(false, 0), "three tokens are spent");
        assert!(!throttle.try_connect(false, 10_000), "a fill is due when more than its time has passed");
        assert!(throttle.try_connect(false, 11_000), "one has come back");
        assert!(!throttle.try_connect(false, 11_000));
        assert!(
            throttle.try_connect(true, 1_000_000) && throttle.try_connect(false, 1_000_000),
            "never more than the most"
        );
        assert!(!throttle.try_connect(false, 1_000_000));
        assert_eq!((throttle.deficits().count, throttle.deficits().max), (5, 3));
    }

    #[test]
    fn the_drop_probability_rises_without_tokens_and_falls_with_them() {
        let options = ConnectOptions {
            tokens_max: 1,
            fill_ms: 1_000,
            freeze_ms: Some(0),
            drop_increase: 0.5,
            drop_decrease: 0.25,
            ..ConnectOptions::default()
        };
        let throttle = throttle(options);
        assert!(throttle.try_connect(false, 0));
        assert!(!throttle.try_connect(false, 2_000) && !throttle.try_connect(false, 4_000));
        assert!((throttle.drop_probability() - 1.0).abs() < f64::EPSILON, "{}", throttle.drop_probability());
        let _by_chance = throttle.try_connect(false, 10_000_000);
        assert!((throttle.drop_probability() - 0.75).abs() < f64::EPSILON, "{}", throttle.drop_probability());
    }

    #[test]
    fn bytes_of_large_requests_are_taken_and_given_back() {
        let throttle = throttle(ConnectOptions::default());
        assert!(!throttle.is_large(50) && throttle.is_large(51));
        assert!(throttle.take_large(60) && !throttle.has_room_for_large(41) && !throttle.take_large(41));
        throttle.give_back_large(60);
        assert!(throttle.has_room_for_large(100) && throttle.take_large(100) && !throttle.take_large(1));
    }

    #[test]
    fn a_shard_sees_what_the_others_have_in_work() {
        let throttle = throttle(ConnectOptions::default());
        throttle.set_in_flight(0, 5);
        throttle.set_in_flight(1, 7);
        assert_eq!((throttle.in_flight_elsewhere(0), throttle.in_flight_elsewhere(1)), (7, 5));
    }
}
