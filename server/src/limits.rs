//! Limits across shards: connections from one address (`maxClientCnxns`) and in all (`maxCnxns`) here, requests and new sessions in
//! [`engine::shard::Throttle`]; and how the operator hears of them.
//!
//! Every refusal counts in a figure of `mntr`; the log names the client's address, at most once a second for each kind of limit.
#![forbid(unsafe_code)]

use crate::config::ResolvedConfig;
use ahash::AHashMap;
use engine::replica::LocalSessions;
use engine::shard::{ConnectOptions, Throttle, ThrottleOptions};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// All limits that shards share.
#[derive(Debug)]
pub struct Limits {
    /// Connections.
    pub connections: ConnectionLimits,
    /// Requests and new sessions.
    pub throttle: Arc<Throttle>,
    told: [Told; LimitKind::COUNT],
}

/// What a limit is about: for each kind the log is told at most once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// `maxClientCnxns`.
    PerAddress,
    /// `maxCnxns`.
    Total,
    /// `connection_throttle_tokens`.
    NoTokens,
    /// `globalOutstandingLimit`.
    Outstanding,
    /// `request_throttle_max_requests`.
    Throttler,
    /// `request_stale_latency_check`.
    Stale,
    /// `largeRequestMaxBytes`.
    LargeRequest,
    /// `throttled_op_wait_time`.
    ThrottledOp,
    /// `jute.maxbuffer`.
    Frame,
    /// `nio.sessionlessCnxnTimeout`.
    Sessionless,
    /// `ringkeeper.connectionRequestsMax`.
    InFlight,
    /// `ringkeeper.replyBytesMax`.
    Reply,
    /// Identities of one connection: [`engine::auth::AUTH_IDS_MAX`].
    Identities,
    /// An auth request that failed.
    Auth,
    /// A SASL exchange that failed.
    Sasl,
    /// `enforce.auth.*` and `sessionRequireClientSASLAuth`.
    AuthRequired,
    /// Another ensemble's name.
    Ensemble,
    /// Four-letter words on their way.
    Words,
    /// How slowly the answer to one may be read.
    SlowReader,
    /// `ringkeeper.connectionOutputBytesMax`.
    Output,
}

impl LimitKind {
    const COUNT: usize = LimitKind::Output as usize + 1;

    /// The key that sets it, or what it is.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            LimitKind::PerAddress => "maxClientCnxns",
            LimitKind::Total => "maxCnxns",
            LimitKind::NoTokens => "connection_throttle_tokens",
            LimitKind::Outstanding => "globalOutstandingLimit",
            LimitKind::Throttler => "request_throttle_max_requests",
            LimitKind::Stale => "request_stale_latency_check",
            LimitKind::LargeRequest => "largeRequestMaxBytes",
            LimitKind::ThrottledOp => "throttled_op_wait_time",
            LimitKind::Frame => "jute.maxbuffer",
            LimitKind::Sessionless => "nio.sessionlessCnxnTimeout",
            LimitKind::InFlight => "ringkeeper.connectionRequestsMax",
            LimitKind::Reply => "ringkeeper.replyBytesMax",
            LimitKind::Identities => "identities of a connection",
            LimitKind::Auth => "authentication",
            LimitKind::Sasl => "SASL authentication",
            LimitKind::AuthRequired => "enforce.auth",
            LimitKind::Ensemble => "ensemble name",
            LimitKind::Words => "four-letter words",
            LimitKind::SlowReader => "readers of four-letter words",
            LimitKind::Output => "ringkeeper.connectionOutputBytesMax",
        }
    }

    /// How the log's line begins.
    const fn title(self) -> &'static str {
        match self {
            LimitKind::Auth | LimitKind::Sasl | LimitKind::AuthRequired | LimitKind::Ensemble => "refused",
            _ => "over a limit",
        }
    }
}

/// Something that the log is told of now and then, whoever makes it happen how often.
#[derive(Debug, Default)]
pub struct Told {
    /// When the log was last told, in µs, plus one.
    at_us: AtomicU64,
    /// Times since then.
    times: AtomicU64,
}

/// The log is told of each kind of limit at most this often.
const TELL_EVERY_US: u64 = 1_000_000;

impl Told {
    /// It happened once more: how often since the log was last told, this time included; `None` if it is too early to tell.
    pub fn times(&self, now_us: u64) -> Option<u64> {
        self.times.fetch_add(1, Ordering::Relaxed);
        let last = self.at_us.load(Ordering::Relaxed);
        let is_due = last == 0 || now_us + 1 >= last + TELL_EVERY_US;
        let mine =
            is_due && self.at_us.compare_exchange(last, now_us + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        mine.then(|| self.times.swap(0, Ordering::Relaxed))
    }
}

impl Limits {
    /// The limits that the configuration sets.
    #[must_use]
    pub fn new(config: &ResolvedConfig, shards: usize) -> Limits {
        let clients = &config.clients;
        let connections = ConnectionLimits::new(
            clients.per_address_max.map(NonZeroU32::get),
            clients.connections_max.map(NonZeroU32::get),
        );
        let throttle = Arc::new(Throttle::new(throttle_options(config), shards));
        Limits { connections, throttle, told: Default::default() }
    }

    /// A client met a limit. `what`: what becomes of him.
    pub fn tell(&self, kind: LimitKind, peer: SocketAddr, now_us: u64, what: impl fmt::Display) {
        let Some(times) = self.times_to_tell(kind, now_us) else { return };
        let peer = plain(peer);
        tracing::warn!(%peer, limit = kind.key(), times, "{}: {what}", kind.title());
    }

    fn times_to_tell(&self, kind: LimitKind, now_us: u64) -> Option<u64> {
        self.told.get(kind as usize)?.times(now_us)
    }

    /// Forgets what was counted (`srst`).
    pub fn reset_counts(&self) {
        self.throttle.reset_counts();
    }
}

/// The address as its client knows it: an IPv4 client of an IPv6 socket goes by its IPv4 address everywhere, in the log as well.
#[must_use]
pub fn plain(peer: SocketAddr) -> SocketAddr {
    if peer.is_ipv6() && peer.ip().to_canonical().is_ipv4() {
        return SocketAddr::new(peer.ip().to_canonical(), peer.port());
    }
    peer
}

fn throttle_options(config: &ResolvedConfig) -> ThrottleOptions {
    let settings = &config.settings;
    let size = |key: &str| usize::try_from(settings.int::<i64>(key)).ok();
    let count = |key: &str| u64::try_from(settings.int::<i64>(key)).unwrap_or(0);
    let weighs = settings.bool("connection_throttle_weight_enabled");
    // A weight below that of local sessions counts as theirs, as in ZooKeeper.
    let local = count("connection_throttle_local_session_weight");
    let global = count("connection_throttle_global_session_weight").max(local);
    let renewed = count("connection_throttle_renew_session_weight").max(local);
    let fresh = if config.local_sessions() == LocalSessions::No { global } else { local };
    let scale = if weighs { global } else { 1 };
    ThrottleOptions {
        outstanding_max: usize::try_from(config.clients.outstanding_max).unwrap_or(usize::MAX),
        requests_max: size("request_throttle_max_requests").unwrap_or(0),
        drop_stale: settings.bool("request_throttle_drop_stale"),
        stale_latency_check: settings.bool("request_stale_latency_check"),
        op_wait_us_max: count("throttled_op_wait_time").saturating_mul(1_000),
        large_threshold: size("largeRequestThreshold").unwrap_or(usize::MAX),
        large_bytes_max: size("largeRequestMaxBytes").unwrap_or(usize::MAX),
        connects: ConnectOptions {
            tokens_max: count("connection_throttle_tokens").saturating_mul(scale),
            fill_count: count("connection_throttle_fill_count").saturating_mul(scale),
            fill_ms: count("connection_throttle_fill_time").max(1),
            freeze_ms: u64::try_from(settings.int::<i64>("connection_throttle_freeze_time")).ok(),
            drop_increase: settings.float("connection_throttle_drop_increase"),
            drop_decrease: settings.float("connection_throttle_drop_decrease"),
            decrease_ratio: settings.float("connection_throttle_decrease_ratio"),
            weights: if weighs { (fresh, renewed) } else { (1, 1) },
        },
    }
}

/// Counts the connections of all shards. Asked once per connection, so a lock is cheap enough.
#[derive(Debug)]
pub struct ConnectionLimits {
    per_address_max: u32,
    total_max: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    by_address: AHashMap<IpAddr, u32>,
}

/// Which limit a connection would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverLimit {
    /// `maxClientCnxns`.
    PerAddress(u32),
    /// `maxCnxns`.
    Total(u32),
}

impl ConnectionLimits {
    /// Limits; `None` is without.
    #[must_use]
    pub fn new(per_address_max: Option<u32>, total_max: Option<u32>) -> ConnectionLimits {
        ConnectionLimits {
            per_address_max: per_address_max.unwrap_or(u32::MAX),
            total_max: total_max.unwrap_or(u32::MAX),
            counts: Mutex::default(),
        }
    }

    /// Counts a new connection, unless it is one too many.
    ///
    /// # Errors
    /// The limit that it would break; then it is not counted.
    pub fn enter(&self, address: IpAddr) -> Result<(), OverLimit> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= self.total_max {
            return Err(OverLimit::Total(self.total_max));
        }
        let here = counts.by_address.entry(address.to_canonical()).or_default();
        if *here >= self.per_address_max {
            return Err(OverLimit::PerAddress(self.per_address_max));
        }
        *here += 1;
        counts.total += 1;
        Ok(())
    }

    /// A counted connection is gone.
    pub fn leave(&self, address: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let address = address.to_canonical();
        if let Some(here) = counts.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                counts.by_address.remove(&address);
            }
            counts.total -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_once_a_second_for_each_limit() {
        let limits = Limits {
            connections: ConnectionLimits::new(None, None),
            throttle: Arc::new(Throttle::new(ThrottleOptions::default(), 1)),
            told: Default::default(),
        };
        assert_eq!(limits.times_to_tell(LimitKind::Total, 0), Some(1));
        assert_eq!(limits.times_to_tell(LimitKind::Total, 10), None);
        assert_eq!(limits.times_to_tell(LimitKind::PerAddress, 10), Some(1));
        assert_eq!(limits.times_to_tell(LimitKind::Total, TELL_EVERY_US), Some(2));
    }

    #[test]
    fn both_limits_hold_and_room_comes_back() {
        let limits = ConnectionLimits::new(Some(2), Some(3));
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        assert_eq!(limits.enter(a), Ok(()));
        assert_eq!(limits.enter(mapped), Ok(()));
        assert_eq!(limits.enter(a), Err(OverLimit::PerAddress(2)));
        assert_eq!(limits.enter(b), Ok(()));
        assert_eq!(limits.enter(b), Err(OverLimit::Total(3)));
        limits.leave(a);
        assert_eq!(limits.enter(a), Ok(()));
        assert!(limits.counts.lock().unwrap().by_address.len() == 2);
    }
}
