//! What a shard counts: for `mntr`, `srvr`, `cons` and the like.
//!
//! Plain numbers of one thread. Nothing here decides anything. Latencies are kept in µs and told in ms, as ZooKeeper tells them.

/// Count, sum, smallest and largest of what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest; `u64::MAX` while there is none.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

impl Default for Summary {
    fn default() -> Summary {
        Summary { count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Summary {
    /// One more value.
    pub fn add(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// All of another's values too.
    pub fn merge(&mut self, other: &Summary) {
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// Values below this have a bucket each.
const EXACT: u64 = 16;
/// Buckets for each further power of two: a value is known to an eighth.
const SUB_BUCKETS: usize = 8;
/// From 2^4 up to 2^36 µs, which is 19 hours; what is longer counts there.
const POWERS: usize = 32;
/// Buckets of a [`Histogram`].
pub const BUCKETS: usize = 16 + POWERS * SUB_BUCKETS;

/// A summary that also tells percentiles, to an eighth of the value.
#[derive(Clone, Debug)]
pub struct Histogram {
    summary: Summary,
    buckets: Box<[u64; BUCKETS]>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { summary: Summary::default(), buckets: Box::new([0; BUCKETS]) }
    }
}

impl Histogram {
    /// From what was counted elsewhere by [`bucket_of`].
    #[must_use]
    pub fn of_parts(summary: Summary, buckets: [u64; BUCKETS]) -> Histogram {
        Histogram { summary, buckets: Box::new(buckets) }
    }

    /// One more value.
    pub fn add(&mut self, value: u64) {
        self.summary.add(value);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(value)) {
            *bucket += 1;
        }
    }

    /// All of another's values too.
    pub fn merge(&mut self, other: &Histogram) {
        self.summary.merge(&other.summary);
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine += theirs;
        }
    }

    /// Count, sum, smallest and largest: exact.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The value below which so many thousandths of the values lie; 0 while there is none.
    #[must_use]
    pub fn permille(&self, permille: u64) -> u64 {
        let rank = (self.summary.count * permille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (number, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_edge(number).min(self.summary.max);
            }
        }
        0
    }
}

/// The bucket of a [`Histogram`] in which a value counts.
#[must_use]
pub fn bucket_of(value: u64) -> usize {
    if value < EXACT {
        return usize::try_from(value).unwrap_or(0);
    }
    let power = value.ilog2();
    let sub = usize::try_from((value >> (power - 3)) & 7).unwrap_or(0);
    let power = usize::try_from(power - 4).unwrap_or(0);
    (16 + power * SUB_BUCKETS + sub).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper_edge(bucket: usize) -> u64 {
    if bucket < 16 {
        return bucket as u64;
    }
    let (power, sub) = ((bucket - 16) / SUB_BUCKETS + 4, (bucket - 16) % SUB_BUCKETS);
    ((8 + sub as u64 + 1) << (power - 3)) - 1
}

/// Counts of a shard since the start or the last `srst`, which leaves [`ShardCounts::auth_failures`] alone.
#[derive(Clone, Copy, Debug)]
pub struct ShardCounts {
    /// Frames received.
    pub packets_received: u64,
    /// Replies and events sent.
    pub packets_sent: u64,
    /// Bytes of the frames received.
    pub bytes_received: u64,
    /// Bytes of replies, without their lengths.
    pub response_bytes: u64,
    /// Requests answered whose time was taken.
    pub latency_count: u64,
    /// Their summed latency in µs.
    pub latency_us_sum: u64,
    /// The largest latency in µs.
    pub latency_us_max: u64,
    /// The smallest latency in µs.
    pub latency_us_min: u64,
    /// Connections closed for the output limit.
    pub output_limit_closes: u64,
    /// Auth requests and SASL exchanges that failed.
    pub auth_failures: u64,
    /// Those of them that were SASL exchanges.
    pub sasl_failures: u64,
    /// Those of them for which the connection had too many identities already.
    pub ids_refused: u64,
    /// Connections closed because they had none of the identities that everybody must have.
    pub auth_required_closes: u64,
    /// Auth requests that named this ensemble.
    pub ensemble_auths: u64,
    /// Auth requests that named none, or one where any will do.
    pub ensemble_auths_skipped: u64,
    /// Auth requests that named another ensemble.
    pub ensemble_auth_failures: u64,
    /// Connections closed for a frame of a length that may not be.
    pub frame_length_closes: u64,
    /// Replies that were larger than they may be, and became errors.
    pub reply_limit_errors: u64,
    /// Times that a request had to wait because its connection had too many with the core.
    pub in_flight_waits: u64,
    /// Watch events sent.
    pub events_sent: u64,
    /// Their bytes, without their lengths.
    pub watch_bytes: u64,
    /// Handshakes that were passed on.
    pub connect_requests: u64,
    /// Those of them that renewed a session.
    pub renewals: u64,
    /// Connections that their client ended.
    pub connections_dropped: u64,
    /// Connections that made no handshake in time.
    pub sessionless_expired: u64,
    /// Connections that had to wait because the whole server had too many requests in work.
    pub outstanding_waits: u64,
    /// Requests that the request throttler held back, counted once for each look at them.
    pub throttle_waits: u64,
    /// Requests that had been held back for too long and got ThrottledOp.
    pub throttled_ops: u64,
    /// How often a request waited for a part of the image to be read from the disk.
    pub cold_waits: u64,
    /// Long reads that waited because their client had others under way.
    pub long_waits: u64,
    /// Requests that had been held back until they were stale, and were dropped with their connection.
    pub stale_requests_dropped: u64,
    /// Large requests whose connection was closed.
    pub large_requests_rejected: u64,
    /// Handshakes for which there were no tokens.
    pub connects_throttled: u64,
    /// The size of the last reply in bytes; -1 before the first.
    pub response_bytes_last: i64,
    /// The smallest reply; -1 before the first.
    pub response_bytes_min: i64,
    /// The largest reply; -1 before the first.
    pub response_bytes_max: i64,
}

impl Default for ShardCounts {
    /// Nothing counted: no latency is the smallest yet.
    fn default() -> ShardCounts {
        ShardCounts {
            packets_received: 0,
            packets_sent: 0,
            bytes_received: 0,
            response_bytes: 0,
            latency_count: 0,
            latency_us_sum: 0,
            latency_us_max: 0,
            latency_us_min: u64::MAX,
            output_limit_closes: 0,
            auth_failures: 0,
            sasl_failures: 0,
            ids_refused: 0,
            auth_required_closes: 0,
            ensemble_auths: 0,
            ensemble_auths_skipped: 0,
            ensemble_auth_failures: 0,
            frame_length_closes: 0,
            reply_limit_errors: 0,
            in_flight_waits: 0,
            events_sent: 0,
            watch_bytes: 0,
            connect_requests: 0,
            renewals: 0,
            connections_dropped: 0,
            sessionless_expired: 0,
            outstanding_waits: 0,
            throttle_waits: 0,
            throttled_ops: 0,
            cold_waits: 0,
            long_waits: 0,
            stale_requests_dropped: 0,
            large_requests_rejected: 0,
            connects_throttled: 0,
            response_bytes_last: -1,
            response_bytes_min: -1,
            response_bytes_max: -1,
        }
    }
}

impl ShardCounts {
    /// A reply in a frame of so many bytes. Its length does not count, as in ZooKeeper.
    pub(super) fn replied(&mut self, frame_bytes: usize) {
        let bytes = frame_bytes - 4;
        self.packets_sent += 1;
        self.response_bytes += bytes as u64;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.response_bytes_last = bytes;
        self.response_bytes_max = self.response_bytes_max.max(bytes);
        if self.response_bytes_min < 0 || bytes < self.response_bytes_min {
            self.response_bytes_min = bytes;
        }
    }
}

/// What is too large to be published each turn, and is asked for.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Latency of what was answered from the tree, in µs.
    pub read_us: Histogram,
    /// Latency of what went through the core, in µs.
    pub update_us: Histogram,
    /// Watchers told of each creation.
    pub created: Summary,
    /// Watchers told of each deletion.
    pub deleted: Summary,
    /// Watchers told of each change of data.
    pub changed: Summary,
    /// Watchers told of each change among children.
    pub children: Summary,
}

impl Measured {
    /// All of another shard's too.
    pub fn merge(&mut self, other: &Measured) {
        self.read_us.merge(&other.read_us);
        self.update_us.merge(&other.update_us);
        self.created.merge(&other.created);
        self.deleted.merge(&other.deleted);
        self.changed.merge(&other.changed);
        self.children.merge(&other.children);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_that_ends_within_an_eighth_of_it() {
        for value in (0..20_000).chain((15..36).map(|power| (1 << power) + 12_345)) {
            let bucket = bucket_of(value);
            assert!(bucket < BUCKETS && upper_edge(bucket) >= value, "{value}");
            assert!(upper_edge(bucket) <= value + value / 8, "{value} counts as {}", upper_edge(bucket));
            assert!(bucket == 0 || upper_edge(bucket - 1) < value, "{value}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_two_shards_are_those_of_all_values() {
        let (mut a, mut b) = (Histogram::default(), Histogram::default());
        assert_eq!(a.permille(500), 0);
        (1..=500).for_each(|value| a.add(value));
        (501..=1_000).for_each(|value| b.add(value));
        a.merge(&b);
        assert_eq!(*a.summary(), Summary { count: 1_000, sum: 500_500, min: 1, max: 1_000 });
        for (permille, exact) in [(500, 500), (950, 950), (999, 999)] {
            let told = a.permille(permille);
            assert!(told >= exact && told <= exact + exact / 8, "{permille}: {told}");
        }
    }
}
