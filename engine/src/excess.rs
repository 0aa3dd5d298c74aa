//! What meets a bound of the core's, for the operator: writes over a quota, ACLs that are too large, multis that begin too many quotas.
//!
//! Owns counts and, until somebody takes them, a bounded list of who it was. It decides nothing: whoever finds an excess refuses it. The
//! client is named by its session and by the address that is among its identities, since the core knows no sockets.
//! `tests/tests/words/limits.rs` sees each in `mntr` and in the log.

use crate::auth::AuthId;
use crate::quota::OverQuota;
use proto::SessionId;
use std::collections::BTreeMap;

/// Which bound was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excess {
    /// A quota's; if that is a soft one, the write was let pass.
    Quota(OverQuota),
    /// An ACL's or a multi's ACLs': [`crate::auth::ACL_ENTRIES_MAX`], [`crate::auth::ACL_BYTES_MAX`].
    Acl,
    /// That of the quotas that begin in one multi.
    QuotasBegun,
}

/// Somebody met a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Which one.
    pub excess: Excess,
    /// Whose request it was.
    pub session: SessionId,
    /// Where it came from, without the port; empty if that is not known.
    pub address: Box<str>,
}

/// How often that happened since the start, or since they were forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExcessCounts {
    /// ACLs refused for their size.
    pub acls: u64,
    /// Multis refused because too many quotas begin in them.
    pub quotas_begun: u64,
    /// Writes and ends of sessions refused because the log's disk is full.
    pub no_log_space: u64,
    /// Writes of new data refused for want of memory.
    pub no_memory: u64,
    /// Writes that a hard limit refused, by the top-level znode under which they were.
    pub quota_errors: BTreeMap<Box<str>, u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Excesses {
    noted: Vec<Noted>,
    counts: ExcessCounts,
}

impl Excesses {
    /// One more.
    pub(crate) fn note(&mut self, excess: Excess, session: SessionId, ids: &[AuthId]) {
        match &excess {
            Excess::Quota(over) if over.is_hard => {
                self.count_quota_error(top_namespace(&over.path).unwrap_or_default())
            }
            Excess::Quota(_) => {}
            Excess::Acl => self.counts.acls += 1,
            Excess::QuotasBegun => self.counts.quotas_begun += 1,
        }
        if self.noted.len() < NOTED_MAX {
            let address = ids.iter().find(|id| &*id.scheme == "ip").map(|id| id.id.clone()).unwrap_or_default();
            self.noted.push(Noted { excess, session, address });
        }
    }

    /// A write was refused because the log's disk is full. That is told of once, when it begins, and not of each client.
    pub(crate) fn count_no_log_space(&mut self) {
        self.counts.no_log_space += 1;
    }

    /// A write of new data was refused for want of memory. The same.
    pub(crate) fn count_no_memory(&mut self) {
        self.counts.no_memory += 1;
    }

    fn count_quota_error(&mut self, namespace: &str) {
        if let Some(count) = self.counts.quota_errors.get_mut(namespace) {
            *count += 1;
        } else if self.counts.quota_errors.len() < NAMESPACES_MAX {
            self.counts.quota_errors.insert(namespace.into(), 1);
        }
    }

    /// Who met a bound since the last call.
    pub(crate) fn take(&mut self) -> Vec<Noted> {
        std::mem::take(&mut self.noted)
    }

    /// The counts.
    pub(crate) const fn counts(&self) -> &ExcessCounts {
        &self.counts
    }

    /// Forgets them.
    pub(crate) fn reset_counts(&mut self) {
        self.counts = ExcessCounts::default();
    }
}

/// The name of the top-level znode above `path`, or its own. `None` for the root.
#[must_use]
pub fn top_namespace(path: &str) -> Option<&str> {
    path.split('/').nth(1).filter(|name| !name.is_empty())
}

/// Excesses kept until somebody takes them; more are only counted.
const NOTED_MAX: usize = 64;
/// Top-level znodes whose refused writes are counted apart; those of more are not.
const NAMESPACES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_and_no_list_grows_without_end() {
        let mut excesses = Excesses::default();
        let over =
            |path: String, is_hard| Excess::Quota(OverQuota { path, what: "count", would_be: 2, limit: 1, is_hard });
        let ids = [AuthId { scheme: "ip".into(), id: "10.0.0.1".into() }];
        for number in 0..2 * NAMESPACES_MAX {
            excesses.note(over(format!("/{number}/below"), true), SessionId(7), &ids);
            excesses.note(over("/0".into(), true), SessionId(7), &ids);
            excesses.note(over("/soft".into(), false), SessionId(7), &ids);
            excesses.note(Excess::Acl, SessionId(7), &[]);
        }
        let counts = excesses.counts();
        assert_eq!((counts.quota_errors.len(), counts.acls), (NAMESPACES_MAX, 2 * NAMESPACES_MAX as u64));
        assert_eq!(counts.quota_errors["0"], 2 * NAMESPACES_MAX as u64 + 1);
        assert!(!counts.quota_errors.contains_key("soft"));
        let noted = excesses.take();
        assert_eq!(noted.len(), NOTED_MAX);
        assert_eq!((&*noted[0].address, noted[0].session, &*noted[3].address), ("10.0.0.1", SessionId(7), ""));
        assert!(excesses.take().is_empty());
    }

    #[test]
    fn the_top_level_znode_of_a_path() {
        for (path, name) in [("/a", Some("a")), ("/a/b/c", Some("a")), ("/", None), ("", None)] {
            assert_eq!(top_namespace(path), name, "{path}");
        }
    }
}
