//! Quotas: the records in `zookeeper_limits` and `zookeeper_stats`, and what they allow.
//!
//! A quota for `/a` is the znode `/zookeeper/quota/a/zookeeper_limits`, which clients write; beside it `zookeeper_stats` holds the totals of
//! the subtree, which every server keeps for itself, outside txns and digest (law 3). The totals are kept with each change and never
//! recounted, but for the once when the quota begins. The text is that of ZooKeeper's `StatsTrack`, odd separators included, since `zkCli.sh` of
//! every version reads it. Where Java's server stops for good because a client wrote something else into these znodes, nothing happens here.

use std::collections::BTreeMap;
use std::fmt;

/// Below it lie all quotas.
pub const QUOTA_ROOT: &str = "/zookeeper/quota";
/// Name of the znode with the limits.
pub const LIMITS: &str = "zookeeper_limits";
/// Name of the znode with the totals.
pub const STATS: &str = "zookeeper_stats";

/// Bytes of a record; each write under the quota reads and writes it.
const RECORD_BYTES_MAX: usize = 4 << 10;
/// Entries of a record that are kept; what a client has written beyond is not a record.
const ENTRIES_MAX: usize = 64;

/// The record of limits or totals. -1: not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaRecord {
    /// Znodes in the subtree, the root of it included; as a limit, the soft one.
    pub count: i64,
    /// Bytes of data in the subtree; as a limit, the soft one.
    pub bytes: i64,
    /// All other entries, by name.
    more: BTreeMap<String, i64>,
}

/// The soft and the hard limit of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    soft: i64,
    hard: i64,
}

/// Why a change is over a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverQuota {
    /// The znode whose subtree has the quota.
    pub path: String,
    /// What there is too much of: `count` or `bytes`.
    pub what: &'static str,
    /// How much there would be.
    pub would_be: i64,
    /// The limit.
    pub limit: i64,
    /// The change is refused; otherwise it is only worth a warning.
    pub is_hard: bool,
}

impl QuotaRecord {
    /// A record of totals.
    #[must_use]
    pub const fn totals(count: i64, bytes: i64) -> QuotaRecord {
        QuotaRecord { count, bytes, more: BTreeMap::new() }
    }

    /// Reads `count=4,bytes=5=;countHardLimit=10`. `None`: it is not a record.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<QuotaRecord> {
        if data.len() > RECORD_BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(data).ok()?;
        let mut record = QuotaRecord::totals(-1, -1);
        if text.is_empty() {
            return Some(record);
        }
        // Java's split: several separators are one, those at the end do not count.
        let text = text.trim_end_matches([',', ';']);
        for (number, pair) in
            text.split([',', ';']).enumerate().filter(|(number, pair)| *number == 0 || !pair.is_empty())
        {
            let mut parts = pair.split('=');
            let (name, value) = (parts.next()?, parts.next()?);
            // An empty value is a mistake where nothing follows it, and -1 where something does.
            let value =
                if value.is_empty() { parts.find(|part| !part.is_empty()).map(|_| -1)? } else { value.parse().ok()? };
            match name {
                "count" => record.count = value,
                "bytes" => record.bytes = value,
                _ if record.more.len() >= ENTRIES_MAX || number > ENTRIES_MAX => return None,
                _ => drop(record.more.insert(name.to_owned(), value)),
            }
        }
        Some(record)
    }

    /// Adds a change to totals. Runs over as Java's numbers do.
    pub fn add(&mut self, count: i64, bytes: i64) {
        self.count = self.count.wrapping_add(count);
        self.bytes = self.bytes.wrapping_add(bytes);
    }

    /// Whether these limits let a change to these totals pass. A hard limit hides the soft one of its kind, as in ZooKeeper; a warning about the
    /// count hides nothing about the bytes, so there may be two answers.
    #[must_use]
    pub fn judge(&self, path: &str, totals: &QuotaRecord, count: i64, bytes: i64) -> Vec<OverQuota> {
        let over = |what, limit: Limit, total: i64, change: i64| {
            let (bound, is_hard) = if limit.hard > -1 { (limit.hard, true) } else { (limit.soft, false) };
            let would_be = total.wrapping_add(change);
            let exceeded = change != 0 && bound > -1 && would_be > bound;
            exceeded.then(|| OverQuota { path: path.to_owned(), what, would_be, limit: bound, is_hard })
        };
        let hard = |name| self.more.get(name).copied().unwrap_or(-1);
        let counts = Limit { soft: self.count, hard: hard("countHardLimit") };
        let sizes = Limit { soft: self.bytes, hard: hard("byteHardLimit") };
        [over("count", counts, totals.count, count), over("bytes", sizes, totals.bytes, bytes)]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl QuotaRecord {
    /// As limits: those of count and bytes, hard where there is a hard one; -1 where there is none.
    #[must_use]
    pub fn effective_limits(&self) -> (i64, i64) {
        let or_soft = |name, soft| self.more.get(name).copied().filter(|hard| *hard > -1).unwrap_or(soft);
        (or_soft("countHardLimit", self.count), or_soft("byteHardLimit", self.bytes))
    }
}

impl fmt::Display for QuotaRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.count, self.bytes)?;
        if !self.more.is_empty() {
            // This sign keeps parsers of before 3.5 away from what follows.
            f.write_str("=")?;
        }
        self.more.iter().try_for_each(|(name, value)| write!(f, ";{name}={value}"))
    }
}

/// Bytes as the records count them.
pub(crate) fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The znode with the limits of `path`'s quota.
#[must_use]
pub fn limits_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{LIMITS}")
}

/// The znode with the totals of `path`'s quota.
#[must_use]
pub fn stats_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{STATS}")
}

/// If `path` is the znode of this name in a quota: the path that the quota is for.
#[must_use]
pub fn subject_of<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let subject = path.strip_prefix(QUOTA_ROOT)?.strip_suffix(name)?.strip_suffix('/')?;
    subject.starts_with('/').then_some(subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_java_reads_them() {
        let text = |data: &str| QuotaRecord::parse(data.as_bytes()).map(|record| record.to_string());
        for (data, expected) in [
            ("", "count=-1,bytes=-1"),
            ("count=4,bytes=5", "count=4,bytes=5"),
            ("bytes=5,count=4", "count=4,bytes=5"),
            (
                "count=4,bytes=5=;countHardLimit=10;byteHardLimit=9",
                "count=4,bytes=5=;byteHardLimit=9;countHardLimit=10",
            ),
            ("count=4;;,bytes=5,,", "count=4,bytes=5"),
            ("count=+4,bytes=-7", "count=4,bytes=-7"),
            ("x==1,count=2", "count=2,bytes=-1=;x=-1"),
            ("count=1,count=2", "count=2,bytes=-1"),
        ] {
            assert_eq!(text(data).as_deref(), Some(expected), "{data}");
        }
        for data in
            ["hello", "count=", "count=x", ",count=1", "count=1,bytes", "count=9223372036854775808", " ", "count= 1"]
        {
            assert_eq!(text(data), None, "{data}");
        }
        assert_eq!(QuotaRecord::parse(&[0xff]), None);
        let many: String = (0..1000).map(|n| format!("k{n}=1,")).collect();
        assert_eq!(text(&many), None);
    }

    #[test]
    fn a_hard_limit_hides_the_soft_one_and_no_change_is_never_over() {
        let totals = QuotaRecord::totals(3, 100);
        let judge = |limits: &str, count, bytes| {
            let limits = QuotaRecord::parse(limits.as_bytes()).unwrap();
            limits.judge("/a", &totals, count, bytes).iter().map(|o| (o.what, o.limit, o.is_hard)).collect::<Vec<_>>()
        };
        assert_eq!(judge("count=4,bytes=-1", 1, 50), []);
        assert_eq!(judge("count=3,bytes=-1", 1, 50), [("count", 3, false)]);
        assert_eq!(judge("count=3,bytes=99=;countHardLimit=4", 1, 0), []);
        assert_eq!(judge("count=3,bytes=99=;countHardLimit=3", 1, 1), [("count", 3, true), ("bytes", 99, false)]);
        assert_eq!(judge("count=1,bytes=1", 0, 0), []);
        assert_eq!(judge("count=-1,bytes=-1=;byteHardLimit=0", 0, -5), [("bytes", 0, true)], "as in Java");
    }

    #[test]
    fn the_subject_of_a_quota() {
        assert_eq!(subject_of("/zookeeper/quota/a/b/zookeeper_limits", LIMITS), Some("/a/b"));
        assert_eq!(subject_of(&limits_path("/x"), LIMITS), Some("/x"));
        assert_eq!(subject_of(&stats_path("/x"), STATS), Some("/x"));
        for other in [
            "/zookeeper/quota/zookeeper_limits",
            "/zookeeper/quota/a",
            "/a/zookeeper_limits",
            "/zookeeper/quota/xzookeeper_limits",
        ] {
            assert_eq!(subject_of(other, LIMITS), None, "{other}");
        }
    }
}
