//! Writes over a quota, told to the operator: once in fifteen minutes for each quota and limit, as ZooKeeper does.
#![forbid(unsafe_code)]

use engine::quota::OverQuota;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a quota's further excesses are only counted.
const QUIET: Duration = Duration::from_secs(15 * 60);
/// Quotas whose last message is remembered. With more, all are forgotten and may be told of again early.
const REMEMBERED_MAX: usize = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub struct QuotaLog {
    told: HashMap<(String, &'static str, bool), (Instant, u64)>,
}

impl QuotaLog {
    /// Tells of a write, or counts it. True if it was told.
    pub fn note(&mut self, over: &OverQuota, now: Instant) -> bool {
        let key = (over.path.clone(), over.what, over.is_hard);
        let quiet = match self.told.get_mut(&key) {
            Some((told_at, quiet)) if now.duration_since(*told_at) < QUIET => {
                *quiet += 1;
                return false;
            }
            Some((_, quiet)) => *quiet,
            None => 0,
        };
        let OverQuota { path, what, would_be, limit, is_hard } = over;
        let outcome = if *is_hard { "refused (a hard limit)" } else { "let pass (a soft limit)" };
        tracing::warn!(path, what, would_be, limit, not_told = quiet, "quota exceeded: the write was {outcome}");
        if self.told.len() >= REMEMBERED_MAX {
            self.told.clear();
        }
        self.told.insert(key, (now, 0));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_quota_and_limit_is_told_of_once_in_fifteen_minutes() {
        let mut log = QuotaLog::default();
        let over = |path: &str, what| OverQuota { path: path.into(), what, would_be: 2, limit: 1, is_hard: true };
        let start = Instant::now();
        assert!(log.note(&over("/a", "count"), start));
        assert!(!log.note(&over("/a", "count"), start + Duration::from_secs(800)));
        assert!(log.note(&over("/a", "bytes"), start) && log.note(&over("/b", "count"), start));
        assert!(log.note(&over("/a", "count"), start + QUIET));
        for number in 0..2 * REMEMBERED_MAX {
            log.note(&over(&format!("/{number}"), "count"), start);
            assert!(log.told.len() <= REMEMBERED_MAX);
        }
    }
}
