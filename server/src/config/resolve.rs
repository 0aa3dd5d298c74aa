//! From settings to the resolved configuration: fields filled, rules between settings checked.
//!
//! Owns ZooKeeper's rules of a single server (`QuorumPeerConfig.parseProperties` of 3.9): what depends on the tick,
//! which address goes with which port, what is raised to a minimum. Membership is in [`super::membership`]. Looks up
//! host names of listening addresses; touches nothing else. Never stops at the first problem.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnostics::{ConfigError, ConfigWarning, Origin};
use super::keys;
use super::resolved::{
    Autopurge, ClientConfig, ContainerConfig, CorePlace, FourLetterWords, JvmPauseConfig, Listen, MetricsConfig, Pin,
    RingConfig, SessionConfig, SnapLogBytes, StorageConfig, TreeConfig,
};
use super::settings::Settings;
use super::value::{MemoryMax, Value};
use engine::replica::LocalSessions;

/// The four-letter words of ZooKeeper 3.9.
pub(super) const FOUR_LETTER_WORDS: [&str; 18] = [
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst", "srvr", "stat",
    "stmk", "wchc", "wchp", "wchs",
];

/// The least number of images that autopurge leaves, as in ZooKeeper.
const SNAP_RETAIN_MIN: u32 = 3;
/// The least `snapCount`, as in ZooKeeper.
const SNAP_COUNT_MIN: u64 = 2;

/// A smaller segment would be full at once.
const LOG_SEGMENT_BYTES_MIN: u64 = 32 << 20;
/// A larger one would make the start wait while it is zeroed.
const LOG_SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// What a segment holds beside its largest record: headers, seals and a group that is nearly full.
const LOG_SEGMENT_BYTES_BESIDE: u64 = 2 << 20;

/// Collects what there is to say while the fields are filled.
pub(super) struct Resolver<'a> {
    pub(super) settings: &'a Settings,
    pub(super) errors: &'a mut Vec<ConfigError>,
    pub(super) warnings: &'a mut Vec<ConfigWarning>,
}

impl Resolver<'_> {
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.settings.origin(key).cloned().unwrap_or(Origin::BuiltIn)
    }

    /// Whether a key was set to a value that it does not allow, so that nothing more need be said about it.
    fn was_refused(&self, name: &str) -> bool {
        let refused = |key: &str| keys::find(key).is_some_and(|(spec, _)| spec.name == name);
        self.errors.iter().any(|error| matches!(error, ConfigError::BadValue { key, .. } if refused(key)))
    }

    pub(super) fn conflict(&mut self, key: &str, reason: impl Into<String>) {
        let origin = self.origin(key);
        self.errors.push(ConfigError::Conflict { origin, key: key.into(), reason: reason.into() });
    }

    pub(super) fn advise(&mut self, key: &str, text: impl Into<String>) {
        let origin = self.origin(key);
        self.warnings.push(ConfigWarning::Advice { origin, key: key.into(), text: text.into() });
    }

    pub(super) fn storage(&mut self) -> StorageConfig {
        let data_dir = self.directory("dataDir");
        if data_dir.is_none() && !self.was_refused("dataDir") {
            let remedy = "add a line dataDir=/var/lib/ringkeeper, or give --data-dir".into();
            self.errors.push(ConfigError::Missing { what: "dataDir".into(), remedy });
        }
        let data_dir = data_dir.unwrap_or_default();
        if !self.settings.bool("forceSync") {
            self.advise("forceSync", "IGNORED: RingKeeper makes every write durable before it answers, always");
        }
        let (log_segment_bytes, log_record_bytes_max) = self.log_sizes();
        StorageConfig {
            data_log_dir: self.directory("dataLogDir").unwrap_or_else(|| data_dir.clone()),
            data_dir,
            autocreate: self.settings.bool("datadir.autocreate"),
            snap_count: self.settings.int_if_any::<u64>("snapCount").map(|count| count.max(SNAP_COUNT_MIN)),
            snap_log_bytes: self.snap_log_bytes(),
            log_segment_bytes,
            log_record_bytes_max,
            fsync_warning: self.millis("fsync.warningthresholdms"),
            autopurge: self.autopurge(),
            trust_empty: self.settings.bool("snapshot.trust.empty"),
            import_353_ttls: self.settings.bool("emulate353TTLNodes"),
            import_in_doubt: self.settings.bool("ringkeeper.importInDoubt"),
        }
    }

    /// Bytes of a segment and of its largest record. A txn is its request with a header, an expanded ACL and a digest, and closing a session
    /// can list many paths: so a record may have twice the bytes of a request, and never has less room than the log's own default.
    fn log_sizes(&self) -> (u64, usize) {
        let frame = u64::from(self.frame_bytes_max());
        let extra = self.settings.int_if_any::<u64>("jute.maxbuffer.extrasize").unwrap_or(frame).max(frame);
        let least = u64::try_from(wal::MAX_RECORD_BYTES_DEFAULT).unwrap_or(u64::MAX);
        let record = (frame + extra).clamp(least, 2 * u64::from(ClientConfig::FRAME_BYTES_MAX));
        let kib = |key: &str| u64::try_from(self.settings.int::<i64>(key)).ok().filter(|kib| *kib > 0);
        let asked = [kib("preAllocSize"), kib("txnLogSizeLimitInKb")].into_iter().flatten().min().unwrap_or(0);
        let segment = asked
            .saturating_mul(1024)
            .clamp(LOG_SEGMENT_BYTES_MIN, LOG_SEGMENT_BYTES_MAX)
            .max(record.next_multiple_of(1 << 20) + LOG_SEGMENT_BYTES_BESIDE);
        (segment, usize::try_from(record).unwrap_or(usize::MAX))
    }

    fn frame_bytes_max(&self) -> u32 {
        self.settings.int::<u32>("jute.maxbuffer").min(ClientConfig::FRAME_BYTES_MAX)
    }

    fn directory(&mut self, key: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.settings.text(key)?);
        if path.is_relative() && !path.starts_with(".") && !matches!(self.origin(key), Origin::Option(_)) {
            let text = format!("{} is relative to the working directory; write ./{0} if that is meant", path.display());
            self.advise(key, text);
        }
        Some(path)
    }

    fn autopurge(&mut self) -> Option<Autopurge> {
        let mut retain: u32 = self.settings.int("autopurge.snapRetainCount");
        if retain < SNAP_RETAIN_MIN {
            self.advise("autopurge.snapRetainCount", format!("raised from {retain} to {SNAP_RETAIN_MIN}, the least"));
            retain = SNAP_RETAIN_MIN;
        }
        match self.settings.value("autopurge.purgeInterval") {
            Some(Value::Interval(Some(interval))) => Some(Autopurge { retain, interval }),
            _ => None,
        }
    }

    fn snap_log_bytes(&self) -> SnapLogBytes {
        match self.settings.int_if_any::<i64>("snapSizeLimitInKb") {
            None => SnapLogBytes::ByImage,
            Some(kib) => {
                let bytes = u64::try_from(kib).ok().and_then(|kib| NonZeroU64::new(kib.saturating_mul(1024)));
                bytes.map_or(SnapLogBytes::Off, SnapLogBytes::After)
            }
        }
    }

    pub(super) fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(self.settings.int(key))
    }

    /// A limit where 0 and less mean none.
    fn limit(&self, key: &str) -> Option<NonZeroU32> {
        u32::try_from(self.settings.int::<i64>(key)).ok().and_then(NonZeroU32::new)
    }

    pub(super) fn clients(&mut self) -> ClientConfig {
        let backlog: i32 = self.settings.int("clientPortListenBacklog");
        let (asked, largest) = (self.settings.int::<u32>("jute.maxbuffer"), self.frame_bytes_max());
        if asked > largest {
            self.advise("jute.maxbuffer", format!("{asked} counts as {largest}, the largest that RingKeeper takes"));
        }
        ClientConfig {
            listen: self.listen("clientPort", "clientPortAddress"),
            secure_listen: self.listen("secureClientPort", "secureClientPortAddress"),
            tcp_keep_alive: self.settings.bool("clientTcpKeepAlive"),
            backlog: u32::try_from(backlog).ok().filter(|backlog| *backlog > 0),
            per_address_max: self.limit("maxClientCnxns"),
            connections_max: self.limit("maxCnxns"),
            frame_bytes_max: largest,
            outstanding_max: self.settings.int("globalOutstandingLimit"),
            sessionless_timeout: self.millis("nio.sessionlessCnxnTimeout"),
        }
    }

    fn listen(&mut self, port_key: &str, address_key: &str) -> Option<Listen> {
        let address = self.settings.text(address_key);
        let Some(port) = self.settings.int_if_any(port_key) else {
            if address.is_some() && !self.was_refused(port_key) {
                self.conflict(address_key, format!("needs {port_key}, which is not set"));
            }
            return None;
        };
        let any = self.any_address(port);
        let Some(host) = address else { return Some(any) };
        match look_up(&host, port, self.preferred_family()) {
            // The wildcard of either family takes both, as in Java.
            Ok(addr) if addr.ip().is_unspecified() => Some(any),
            Ok(addr) => Some(Listen::At(addr)),
            Err(error) => {
                self.conflict(
                    address_key,
                    format!("`{host}` is no address, and looking it up as a name failed: {error}"),
                );
                None
            }
        }
    }

    /// Every address: of both families, unless Java was told to know IPv4 only.
    pub(super) fn any_address(&self, port: u16) -> Listen {
        match self.settings.bool("java.net.preferIPv4Stack") {
            true => Listen::At((Ipv4Addr::UNSPECIFIED, port).into()),
            false => Listen::Any { port },
        }
    }

    /// Which address of a name with several Java would take.
    pub(super) fn preferred_family(&self) -> Family {
        match self.settings.text("java.net.preferIPv6Addresses").as_deref() {
            _ if self.settings.bool("java.net.preferIPv4Stack") => Family::V4,
            Some("true") => Family::V6,
            Some("system") => Family::AsFound,
            _ => Family::V4,
        }
    }

    pub(super) fn sessions(&mut self) -> SessionConfig {
        let tick_ms: u32 = self.settings.int("tickTime");
        let (min_key, max_key) = ("minSessionTimeout", "maxSessionTimeout");
        let or_ticks = |value: i64, ticks: u32| u32::try_from(value).unwrap_or_else(|_| tick_ms.saturating_mul(ticks));
        let timeout_ms_min = or_ticks(self.settings.int(min_key), 2);
        let timeout_ms_max = or_ticks(self.settings.int(max_key), 20);
        if timeout_ms_min > timeout_ms_max {
            let key = if self.settings.is_set(max_key) { max_key } else { min_key };
            let reason = format!(
                "the shortest session timeout ({timeout_ms_min} ms) is above the longest ({timeout_ms_max} ms); \
                 unset, they are 2 and 20 ticks of {tick_ms} ms"
            );
            self.conflict(key, reason);
        }
        SessionConfig {
            tick_ms,
            timeout_ms_min,
            timeout_ms_max,
            local: match (
                self.settings.bool("localSessionsEnabled"),
                self.settings.bool("localSessionsUpgradingEnabled"),
            ) {
                (false, _) => LocalSessions::No,
                (true, false) => LocalSessions::Kept,
                (true, true) => LocalSessions::Upgraded,
            },
        }
    }

    pub(super) fn tree(&mut self) -> TreeConfig {
        let never_used = self.millis("znode.container.maxNeverUsedIntervalMs");
        TreeConfig {
            extended_types: self.settings.bool("extendedTypesEnabled"),
            enforce_quota: self.settings.bool("enforceQuota"),
            reconfig_enabled: self.settings.bool("reconfigEnabled"),
            containers: ContainerConfig {
                check_interval: self.millis("znode.container.checkIntervalMs"),
                per_minute_max: self.settings.int("znode.container.maxPerMinute"),
                never_used_max: (!never_used.is_zero()).then_some(never_used),
            },
        }
    }

    pub(super) fn four_letter_words(&mut self) -> FourLetterWords {
        const KEY: &str = "4lw.commands.whitelist";
        let mut allowed: BTreeSet<String> = BTreeSet::from(["srvr".to_owned()]);
        for word in self.settings.list(KEY) {
            if word == "*" {
                allowed.extend(FOUR_LETTER_WORDS.map(str::to_owned));
            } else if FOUR_LETTER_WORDS.contains(&word.as_str()) {
                allowed.insert(word);
            } else {
                self.advise(KEY, format!("`{word}` is not a command; there are {}", FOUR_LETTER_WORDS.join(", ")));
            }
        }
        if self.settings.bool("readonlymode.enabled") {
            allowed.insert("isro".to_owned());
        }
        FourLetterWords(allowed)
    }

    pub(super) fn ring(&self) -> RingConfig {
        let watchdog = self.millis("ringkeeper.watchdogTimeoutMs");
        RingConfig {
            shards: self.settings.int_if_any("ringkeeper.shards").and_then(NonZeroU32::new),
            pin: match self.settings.text("ringkeeper.pin").as_deref() {
                Some("on") => Pin::On,
                Some("off") => Pin::Off,
                _ => Pin::Auto,
            },
            core: match self.settings.text("ringkeeper.core").as_deref() {
                Some("shard") => CorePlace::Shard,
                Some("thread") => CorePlace::Thread,
                _ => CorePlace::Auto,
            },
            connection_output_bytes_max: self.settings.int("ringkeeper.connectionOutputBytesMax"),
            connection_requests_max: self.settings.int("ringkeeper.connectionRequestsMax"),
            reply_bytes_max: self.settings.int("ringkeeper.replyBytesMax"),
            image_bytes_per_second_max: NonZeroU64::new(self.settings.int("ringkeeper.imageBytesPerSecondMax")),
            memory_max: match self.settings.value("ringkeeper.memoryMax") {
                Some(Value::Memory(max)) => max,
                _ => MemoryMax::Off,
            },
            watchdog: (!watchdog.is_zero()).then_some(watchdog),
        }
    }

    pub(super) fn metrics(&self) -> MetricsConfig {
        let written = |name: &str| match self.settings.value(name) {
            Some(Value::Int(number)) => number.to_string(),
            Some(Value::Bool(flag)) => flag.to_string(),
            _ => self.settings.text(name).unwrap_or_default(),
        };
        let named = ["httpHost", "httpPort", "exportJvmInfo"]
            .map(|key| (key, format!("metricsProvider.{key}")))
            .into_iter()
            .filter(|(_, name)| self.settings.is_set(name))
            .map(|(key, name)| (key.to_owned(), written(&name)));
        let others = self.settings.family("metricsProvider").map(|(key, value, _)| (key.to_owned(), value.to_owned()));
        MetricsConfig {
            class_name: self.settings.text("metricsProvider.className").unwrap_or_default(),
            settings: named.chain(others).collect(),
        }
    }

    pub(super) fn jvm_pause(&self) -> JvmPauseConfig {
        JvmPauseConfig {
            enabled: self.settings.bool("jvm.pause.monitor"),
            warn_ms: self.settings.int("jvm.pause.warn-threshold.ms"),
            info_ms: self.settings.int("jvm.pause.info-threshold.ms"),
            sleep_ms: self.settings.int("jvm.pause.sleep.time.ms"),
        }
    }
}

/// Which of a name's addresses comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// An IPv4 one, if there is any: what Java does unless it is told otherwise.
    V4,
    /// An IPv6 one, if there is any.
    V6,
    /// The first that the system names.
    AsFound,
}

impl Family {
    fn choose(self, found: impl Iterator<Item = SocketAddr>) -> Option<SocketAddr> {
        let found: Vec<SocketAddr> = found.collect();
        let preferred = found.iter().find(|addr| match self {
            Family::V4 => addr.is_ipv4(),
            Family::V6 => addr.is_ipv6(),
            Family::AsFound => true,
        });
        preferred.or(found.first()).copied()
    }
}

/// An address as it stands, in brackets or not, with a zone or not, or the one of a name's addresses that `family` asks for.
pub(super) fn look_up(host: &str, port: u16, family: Family) -> std::io::Result<SocketAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found = family.choose((bare, port).to_socket_addrs()?);
    found.ok_or_else(|| std::io::Error::other("the name has no address"))
}

/// The first line of a small file that holds one word; `Ok(None)` where the file is absent.
pub(super) fn first_line(path: &Path, bytes_max: u64) -> std::io::Result<Option<String>> {
    use std::io::Read;
    if !path.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.lines().next().unwrap_or_default().trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_names_addresses_the_one_that_java_would_take_comes_first() {
        let of = |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().expect("one")).collect() };
        let both = of(&["[::1]:5", "[::2]:5", "127.0.0.1:5", "127.0.0.2:5"]);
        for (family, first) in [(Family::V4, "127.0.0.1:5"), (Family::V6, "[::1]:5"), (Family::AsFound, "[::1]:5")] {
            assert_eq!(family.choose(both.iter().copied()), first.parse().ok(), "{family:?}");
        }
        assert_eq!(Family::V4.choose(of(&["[::1]:5"]).into_iter()), "[::1]:5".parse().ok());
        assert_eq!(Family::V6.choose(of(&["127.0.0.1:5"]).into_iter()), "127.0.0.1:5".parse().ok());
        assert_eq!(Family::V4.choose(std::iter::empty()), None);
    }

    #[test]
    fn an_address_may_stand_in_brackets_and_have_a_zone() {
        for (host, expected) in [("::1", "[::1]:5"), ("[::1]", "[::1]:5"), ("10.0.0.1", "10.0.0.1:5")] {
            assert_eq!(look_up(host, 5, Family::V4).ok(), expected.parse().ok(), "{host}");
        }
        // Every Linux has the interface lo, with the number 1.
        let zoned = look_up("fe80::1%lo", 5, Family::V4).expect("an address");
        assert_eq!(zoned.to_string(), "[fe80::1%1]:5");
        // A label of 64 letters is refused before anybody is asked.
        assert!(look_up(&"x".repeat(64), 5, Family::V4).is_err());
    }
}
