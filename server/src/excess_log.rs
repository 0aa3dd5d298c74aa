//! What meets a bound of the core's, told to the operator with the client's session and address: a write over a quota once in fifteen minutes
//! for each quota and limit, as ZooKeeper does; anything else at most once a second for each kind.
#![forbid(unsafe_code)]

use engine::excess::{Excess, Noted};
use engine::quota::OverQuota;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a quota's further excesses are only counted.
const QUOTA_QUIET: Duration = Duration::from_secs(15 * 60);
/// The same for what is no quota's.
const QUIET: Duration = Duration::from_secs(1);
/// Quotas whose last message is remembered. Excesses of more are not told of until the oldest is forgotten.
const REMEMBERED_MAX: usize = 1_000;

/// What is told of apart from others.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Quota(String, &'static str, bool),
    Acl,
    QuotasBegun,
}

/// See the module.
#[derive(Debug, Default)]
pub struct ExcessLog {
    /// When each was told of, and how often it was not since.
    told: HashMap<Key, (Instant, u64)>,
    /// When it was last looked through for those that can be forgotten.
    cleaned: Option<Instant>,
}

impl ExcessLog {
    /// Tells of an excess, or counts it. True if it was told.
    pub fn note(&mut self, noted: &Noted, now: Instant) -> bool {
        let (key, quiet) = match &noted.excess {
            Excess::Quota(over) => (Key::Quota(over.path.clone(), over.what, over.is_hard), QUOTA_QUIET),
            Excess::Acl => (Key::Acl, QUIET),
            Excess::QuotasBegun => (Key::QuotasBegun, QUIET),
        };
        let not_told = match self.told.get_mut(&key) {
            Some((told_at, not_told)) if now.duration_since(*told_at) < quiet => {
                *not_told += 1;
                return false;
            }
            Some((_, not_told)) => *not_told,
            None => 0,
        };
        let is_new_quota = matches!(key, Key::Quota(..)) && !self.told.contains_key(&key);
        if is_new_quota && self.told.len() >= REMEMBERED_MAX && !self.forget_old(now) {
            return false;
        }
        tell(noted, not_told);
        self.told.insert(key, (now, 0));
        true
    }

    /// Makes room for another quota, at most once in [`QUIET`]. True if there is some.
    fn forget_old(&mut self, now: Instant) -> bool {
        if self.cleaned.is_none_or(|cleaned| now.duration_since(cleaned) >= QUIET) {
            self.cleaned = Some(now);
            self.told.retain(|_, (told_at, _)| now.duration_since(*told_at) < QUOTA_QUIET);
        }
        self.told.len() < REMEMBERED_MAX
    }
}

fn tell(noted: &Noted, not_told: u64) {
    let (session, client) = (format!("0x{:x}", noted.session.0), &noted.address);
    match &noted.excess {
        Excess::Quota(OverQuota { path, what, would_be, limit, is_hard }) => {
            let outcome = if *is_hard { "refused (a hard limit)" } else { "let pass (a soft limit)" };
            tracing::warn!(
                path,
                what,
                would_be,
                limit,
                %client,
                session,
                not_told,
                "quota exceeded: the write was {outcome}"
            );
        }
        Excess::Acl => tracing::warn!(
            %client,
            session,
            not_told,
            "over a limit: an ACL has too many entries or bytes, and is refused with InvalidACL"
        ),
        Excess::QuotasBegun => tracing::warn!(
            %client,
            session,
            not_told,
            "over a limit: too many quotas begin in one multi, which is refused with BadArguments"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::SessionId;

    fn noted(excess: Excess) -> Noted {
        Noted { excess, session: SessionId(1), address: "127.0.0.1".into() }
    }

    fn over(path: &str, what: &'static str) -> Noted {
        noted(Excess::Quota(OverQuota { path: path.into(), what, would_be: 2, limit: 1, is_hard: true }))
    }

    #[test]
    fn each_quota_and_limit_is_told_of_once_in_fifteen_minutes() {
        let mut log = ExcessLog::default();
        let start = Instant::now();
        assert!(log.note(&over("/a", "count"), start));
        assert!(!log.note(&over("/a", "count"), start + Duration::from_secs(800)));
        assert!(log.note(&over("/a", "bytes"), start) && log.note(&over("/b", "count"), start));
        assert!(log.note(&over("/a", "count"), start + QUOTA_QUIET));
        for number in 0..2 * REMEMBERED_MAX {
            log.note(&over(&format!("/{number}"), "count"), start);
            assert!(log.told.len() <= REMEMBERED_MAX);
        }
        assert!(!log.note(&over("/more", "count"), start + QUIET), "a thousand are remembered, and none is old");
        assert!(log.note(&noted(Excess::Acl), start), "what is no quota's is told of all the same");
        assert!(log.note(&over("/more", "count"), start + 2 * QUOTA_QUIET));
    }

    #[test]
    fn what_is_no_quotas_is_told_of_once_a_second() {
        let mut log = ExcessLog::default();
        let start = Instant::now();
        assert!(log.note(&noted(Excess::Acl), start) && log.note(&noted(Excess::QuotasBegun), start));
        assert!(!log.note(&noted(Excess::Acl), start + QUIET / 2));
        assert!(log.note(&noted(Excess::Acl), start + QUIET));
    }
}
