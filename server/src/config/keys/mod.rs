//! The one table of configuration keys: name, kind, default, whether it takes effect, and a line of documentation.
//!
//! Everything else is read from here: parsing, the resolved configuration's defaults, the warnings, the suggestions
//! for misspelt keys, and `docs/configuration.md` (a test compares). A key has one name, written without the prefix
//! `zookeeper.`; both forms are understood in the file and after `-D`. The tests at the end hold the table together:
//! unique names, and defaults that their own kind accepts.

mod own;
mod quorum;
mod security;
mod server;

use super::value::{Kind, Value};

/// One key, or one family of keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeySpec {
    /// The name without `zookeeper.`; a family ends in `.*`.
    pub name: &'static str,
    /// What it allows.
    pub kind: Kind,
    /// RingKeeper's default as it would be written; empty where there is none.
    pub default: &'static str,
    /// Whether it does something.
    pub effect: Effect,
    /// One or two sentences for the operator.
    pub doc: &'static str,
}

/// Whether a key does something in this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It takes effect.
    Now,
    /// It is read and checked; its function comes later. Warned about where it differs from the default.
    Later,
    /// As [`Effect::Later`], and whoever relies on it must know what follows.
    LaterMind(&'static str),
    /// It takes effect in ensembles; a server that stands alone may carry it without a warning.
    Ensemble,
    /// It concerns ensembles and comes later. A member warns where it differs from the default, and says what holds until then.
    EnsembleLater(&'static str),
    /// It asks a member for what must not be missing in silence: until it comes, it ends a member's start ([`crate::member`]).
    EnsembleRefused,
    /// It tunes something that exists in the Java server only.
    Never(&'static str),
}

/// One part of the table, a chapter of the reference page.
#[derive(Debug, Clone, Copy)]
pub struct Chapter {
    /// Its heading.
    pub title: &'static str,
    /// Its keys.
    pub keys: &'static [KeySpec],
}

/// All keys.
pub const CHAPTERS: &[Chapter] = &[
    Chapter { title: "Storage", keys: server::STORAGE },
    Chapter { title: "Clients and sessions", keys: server::CLIENTS },
    Chapter { title: "Limits and throttles", keys: server::LIMITS },
    Chapter { title: "Data tree", keys: server::TREE },
    Chapter { title: "Commands, admin server and metrics", keys: server::OPERATIONS },
    Chapter { title: "RingKeeper's own keys", keys: own::OWN },
    Chapter { title: "Ensemble", keys: quorum::MEMBERS },
    Chapter { title: "Ensemble: tuning", keys: quorum::TUNING },
    Chapter { title: "Authentication", keys: security::AUTH },
    Chapter { title: "TLS", keys: security::TLS },
    Chapter { title: "Settings of the Java server only", keys: server::JAVA_ONLY },
];

/// Other spellings: what some documents and older versions use, and the name in the table.
pub const ALIASES: &[(&str, &str)] = &[
    ("sessionlessCnxnTimeout", "nio.sessionlessCnxnTimeout"),
    ("observer.syncEnabled", "syncEnabled"),
    ("container.checkIntervalMs", "znode.container.checkIntervalMs"),
    ("container.maxPerMinute", "znode.container.maxPerMinute"),
    ("superDigest", "DigestAuthenticationProvider.superDigest"),
];

/// The prefix of Java system properties.
const PROPERTY_PREFIX: &str = "zookeeper.";

/// Every key, in the order of the reference page.
pub fn all() -> impl Iterator<Item = &'static KeySpec> {
    CHAPTERS.iter().flat_map(|chapter| chapter.keys)
}

/// Finds a key as written: with or without `zookeeper.`, by alias, or as a member of a family. The second value is
/// what follows the family's dot, and empty for a plain key.
pub fn find(written: &str) -> Option<(&'static KeySpec, &str)> {
    let name = written.strip_prefix(PROPERTY_PREFIX).unwrap_or(written);
    let canonical = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
    if let Some(spec) = all().find(|spec| !spec.is_family() && spec.name == canonical) {
        return Some((spec, ""));
    }
    all().filter(|spec| spec.is_family()).find_map(|spec| {
        let stem = spec.name.strip_suffix('*')?;
        let member = name.strip_prefix(stem)?;
        (!member.is_empty()).then_some((spec, member))
    })
}

/// The known key that `written` most resembles, if one is near enough to be a slip of the pen.
pub fn suggest(written: &str) -> Option<String> {
    let name = written.strip_prefix(PROPERTY_PREFIX).unwrap_or(written);
    nearest(name, all().filter(|spec| !spec.is_family()).map(|spec| spec.name))
}

/// The one of `candidates` that `written` most resembles, in any case of letters, if one is near enough to be a slip of the pen.
pub fn nearest(written: &str, candidates: impl Iterator<Item = &'static str>) -> Option<String> {
    let name = written.to_ascii_lowercase();
    // More than a third of the letters wrong is another word, not a typing error.
    let distance_max = (name.chars().count() / 3).clamp(1, 4);
    candidates
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= distance_max)
        .map(|candidate| (edit_distance(&name, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}

impl KeySpec {
    /// Whether the name stands for many keys, `server.*` for instance.
    pub fn is_family(&self) -> bool {
        self.name.ends_with(".*")
    }

    /// Whether this value, of the key's kind, is the default.
    pub fn is_default(&self, value: &Value) -> bool {
        !self.default.is_empty() && self.kind.read(self.default).as_ref() == Some(value)
    }
}

/// Levenshtein's distance with transposed neighbours counted as one edit. The caller compares only names of about
/// one length, so the cost is bounded by the longest key.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (row, ca) in a.chars().enumerate() {
        let mut current = Vec::with_capacity(above.len());
        current.push(row + 1);
        for (column, cb) in b.iter().enumerate() {
            let at = |line: &[usize], i: usize| line.get(i).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&above, column) + usize::from(ca != *cb))
                .min(at(&above, column + 1) + 1)
                .min(at(&current, column) + 1);
            let transposed = column > 0 && previous_a == Some(*cb) && b.get(column - 1) == Some(&ca);
            if transposed {
                best = best.min(at(&before, column - 1) + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
        previous_a = Some(ca);
    }
    above.last().copied().unwrap_or(0)
}

/// Largest value of a Java `int`.
const INT_MAX: i64 = i32::MAX as i64;
/// Largest number of milliseconds or KiB that still fits 64 bits after conversion to nanoseconds or bytes.
const LONG_MAX: i64 = i64::MAX / 1_000_000;

/// A whole number in a closed range.
const fn int(min: i64, max: i64) -> Kind {
    Kind::Int { min, max }
}

/// Writes a table with one key to two lines; rustfmt would give each field a line of its own.
macro_rules! keys {
    ($($name:expr => $kind:expr, $default:expr, $effect:expr, $doc:expr;)*) => {
        &[$(KeySpec { name: $name, kind: $kind, default: $default, effect: $effect, doc: $doc }),*]
    };
}
use keys;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_aliases_point_at_keys() {
        let mut seen = HashSet::new();
        for spec in all() {
            assert!(seen.insert(spec.name), "{} stands twice in the table", spec.name);
            assert!(!spec.name.starts_with(PROPERTY_PREFIX), "{} carries the prefix", spec.name);
            assert!(spec.doc.ends_with('.') && spec.doc.len() > 10, "{} is not documented", spec.name);
        }
        for (alias, name) in ALIASES {
            assert!(seen.contains(name) && !seen.contains(alias), "{alias}");
        }
    }

    #[test]
    fn every_default_is_allowed_by_its_own_kind() {
        for spec in all().filter(|spec| !spec.default.is_empty()) {
            assert!(spec.kind.read(spec.default).is_some(), "{}={}", spec.name, spec.default);
        }
    }

    /// Every key that `QuorumPeerConfig` of 3.9.5 names, with the default in its fields or in the code that reads them (empty: none).
    const QUORUM_PEER_CONFIG: &str = "dataDir dataLogDir clientPort clientPortAddress secureClientPort secureClientPortAddress \
        observerMasterPort=0 clientPortListenBacklog=-1 tickTime=3000 maxClientCnxns=60 minSessionTimeout=-1 maxSessionTimeout=-1 \
        initLimit=0 syncLimit=0 connectToLearnerMasterLimit=0 electionAlg=3 quorumListenOnAllIPs=false peerType=participant \
        syncEnabled=true dynamicConfigFile autopurge.snapRetainCount=3 autopurge.purgeInterval=0 standaloneEnabled=true \
        reconfigEnabled=false localSessionsEnabled=false localSessionsUpgradingEnabled=false sslQuorum=false portUnification=false \
        sslQuorumReloadCertFiles=false server.1 group.1 weight.1 version quorum.auth.enableSasl=false \
        quorum.auth.serverRequireSasl=false quorum.auth.learnerRequireSasl=false quorum.auth.learner.saslLoginContext=QuorumLearner \
        quorum.auth.server.saslLoginContext=QuorumServer quorum.auth.kerberos.servicePrincipal=zkquorum/localhost \
        quorum.cnxn.threads.size=20 jvm.pause.monitor=false jvm.pause.info-threshold.ms=1000 jvm.pause.warn-threshold.ms=10000 \
        jvm.pause.sleep.time.ms=500 metricsProvider.className=org.apache.zookeeper.metrics.impl.DefaultMetricsProvider \
        metricsProvider.anything multiAddress.enabled=false multiAddress.reachabilityCheckEnabled=true \
        multiAddress.reachabilityCheckTimeoutMs=1000 oraclePath";
    /// Further properties that `zoo.cfg` passes on to the server, and its families of them.
    const PROPERTIES: &str = "authProvider.sasl superUser.2 ssl.keyStore.location ssl.quorum.trustStore.type admin.serverPort=8080 \
        4lw.commands.whitelist=srvr jute.maxbuffer=1048575 jute.maxbuffer.extrasize globalOutstandingLimit=1000 maxCnxns=0 snapCount=100000 \
        preAllocSize=65536 fsync.warningthresholdms=1000 txnLogSizeLimitInKb=-1 extendedTypesEnabled=false emulate353TTLNodes=false \
        znode.container.checkIntervalMs=60000 znode.container.maxPerMinute=10000 znode.container.maxNeverUsedIntervalMs=0 \
        skipACL=no enableEagerACLCheck=false enforceQuota=false closeSessionTxn.enabled=true digest.enabled=true \
        clientTcpKeepAlive=false nio.sessionlessCnxnTimeout=10000 leaderServes=yes cnxTimeout=5000 forceSync=yes \
        request_throttle_max_requests=0 request_throttle_stall_time=100 throttled_op_wait_time=0 largeRequestThreshold=-1 \
        largeRequestMaxBytes=104857600 connection_throttle_tokens=0 DigestAuthenticationProvider.digestAlg=SHA1 \
        sessionRequireClientSASLAuth=false audit.enable=false readonlymode.enabled=false snapshot.trust.empty=false";
    /// Where our default is another on purpose; each stands in docs/compatibility.md.
    const OTHER_DEFAULTS: [&str; 3] = ["autopurge.purgeInterval", "snapCount", "snapSizeLimitInKb"];

    #[test]
    fn every_key_of_zookeeper_is_known_and_has_its_default() {
        for word in QUORUM_PEER_CONFIG.split_whitespace().chain(PROPERTIES.split_whitespace()) {
            let (key, default) = word.split_once('=').unwrap_or((word, ""));
            for written in [key.to_owned(), format!("zookeeper.{key}")] {
                let (spec, _) = find(&written).unwrap_or_else(|| panic!("{written} is unknown"));
                let is_same = spec.default == default;
                assert_eq!(is_same, !OTHER_DEFAULTS.contains(&key), "{written}: {} and not {default}", spec.default);
            }
        }
    }

    #[test]
    fn keys_are_found_in_every_spelling() {
        for (written, name, member) in [
            ("tickTime", "tickTime", ""),
            ("zookeeper.snapCount", "snapCount", ""),
            ("jute.maxbuffer", "jute.maxbuffer", ""),
            ("zookeeper.jute.maxbuffer", "jute.maxbuffer", ""),
            ("sessionlessCnxnTimeout", "nio.sessionlessCnxnTimeout", ""),
            ("server.12", "server.*", "12"),
            ("metricsProvider.className", "metricsProvider.className", ""),
            ("metricsProvider.x.y", "metricsProvider.*", "x.y"),
            ("zookeeper.ssl.quorum.keyStore.location", "ssl.quorum.keyStore.location", ""),
        ] {
            let found = find(written).map(|(spec, member)| (spec.name, member));
            assert_eq!(found, Some((name, member)), "{written}");
        }
        for unknown in ["", "server.", "ticktime", "zookeeper.", "zookeeper.zookeeper.snapCount"] {
            assert!(find(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn a_misspelt_key_gets_a_suggestion_and_another_word_gets_none() {
        for (written, expected) in [
            ("ticktime", Some("tickTime")),
            ("dataDri", Some("dataDir")),
            ("maxClientCnxn", Some("maxClientCnxns")),
            ("zookeeper.snapCuont", Some("snapCount")),
            ("autopurge.snapRetainCnt", Some("autopurge.snapRetainCount")),
            ("frobnicate", None),
            ("", None),
        ] {
            assert_eq!(suggest(written).as_deref(), expected, "{written}");
        }
    }
}
