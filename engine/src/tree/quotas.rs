//! Which subtrees have a quota, and their totals in `zookeeper_stats`.
//!
//! The set of them follows from the znodes below `/zookeeper/quota` and is rebuilt when a tree is loaded. [`crate::apply`] tells of each change;
//! the totals then stand in the data of the stats znode, which is read by clients like any other. Where there is no quota, this costs one look at an
//! empty set. `tests/quotas.rs` compares the totals with a count of the subtree, and the records with those of the real server.

use super::Tree;
use crate::quota::{self, LIMITS, QUOTA_ROOT, QuotaRecord, STATS, signed};
use std::sync::Arc;

impl Tree {
    /// The longest path on the way to `path`, itself included, whose subtree has a quota.
    #[must_use]
    pub fn quota_over<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.quotas.is_empty() {
            return None;
        }
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        ends.filter_map(|end| path.get(..end)).filter(|prefix| self.quotas.contains(*prefix)).last()
    }

    /// How often a subtree was counted for a quota that began. Each takes time in proportion to the subtree.
    #[must_use]
    pub const fn subtrees_counted(&self) -> u64 {
        self.subtrees_counted
    }

    /// The limits of the quota of `subject`, and its totals; `None` where a znode is missing or holds something else.
    #[must_use]
    pub fn quota_records(&self, subject: &str) -> Option<(QuotaRecord, QuotaRecord)> {
        let (limits, totals) = self.quota_parts(subject);
        Some((limits?, totals?))
    }

    /// The subtrees that have a quota, `count_max` of them at the most, in no order.
    #[must_use]
    pub fn quota_subjects(&self, count_max: usize) -> Vec<Arc<str>> {
        self.quotas.iter().take(count_max).map(Arc::clone).collect()
    }

    /// The limits of the quota of `subject`, and its totals, each as far as it is there.
    #[must_use]
    pub fn quota_parts(&self, subject: &str) -> (Option<QuotaRecord>, Option<QuotaRecord>) {
        let read = |path: String| QuotaRecord::parse(&self.get(&path)?.data().unwrap_or_default());
        (read(quota::limits_path(subject)), read(quota::stats_path(subject)))
    }

    /// The znode `path` was created with so much data.
    pub(crate) fn quota_created(&mut self, path: &str, data_bytes: usize) {
        if let Some(subject) = quota::subject_of(path, LIMITS) {
            self.begin_quota(subject.into());
        } else if let Some(subject) = quota::subject_of(path, STATS) {
            let totals = self.count_subtree(subject);
            self.subtrees_counted += 1;
            self.set_local_data(path, totals.to_string().as_bytes());
        }
        self.quota_changed(path, 1, signed(data_bytes));
    }

    /// The znode `path` was deleted, which had so much data.
    pub(crate) fn quota_deleted(&mut self, path: &str, data_bytes: usize) {
        if let Some(subject) = quota::subject_of(path, LIMITS) {
            self.end_quota(subject);
        }
        self.quota_changed(path, -1, -signed(data_bytes));
    }

    /// The data of `path` was replaced.
    pub(crate) fn quota_set(&mut self, path: &str, before_bytes: usize, after_bytes: usize) {
        self.quota_changed(path, 0, signed(after_bytes) - signed(before_bytes));
    }

    /// Something at `path` changed count and bytes of the subtree that it lies in.
    fn quota_changed(&mut self, path: &str, count: i64, bytes: i64) {
        let Some(subject) = self.quota_over(path) else { return };
        let stats = quota::stats_path(subject);
        // Not there (yet), or something else was written there: there are no totals to keep.
        let record = self.get(&stats).and_then(|node| QuotaRecord::parse(&node.data().unwrap_or_default()));
        if let Some(mut totals) = record {
            totals.add(count, bytes);
            self.set_local_data(&stats, totals.to_string().as_bytes());
        }
    }

    /// Finds the quotas of a tree that was loaded.
    pub(super) fn find_quotas(&mut self) {
        let mut found = Vec::new();
        let mut stack: Vec<String> = vec![QUOTA_ROOT.to_owned()];
        while let Some(path) = stack.pop() {
            let Some(node) = self.get(&path) else { continue };
            stack.extend(node.children().map(|name| format!("{path}/{name}")));
            found.extend(quota::subject_of(&path, LIMITS).map(Arc::from));
        }
        found.into_iter().for_each(|subject| self.begin_quota(subject));
    }

    fn begin_quota(&mut self, subject: Arc<str>) {
        if self.quotas.insert(Arc::clone(&subject)) {
            self.quotas_changed.put(subject, (), false);
        }
    }

    fn end_quota(&mut self, subject: &str) {
        if let Some(subject) = self.quotas.take(subject) {
            self.quotas_changed.remove(subject);
        }
    }

    /// Finds the quotas anew and counts their subtrees, as ZooKeeper does at each start: for [`crate::tolerant`] alone, which does not keep totals.
    pub(crate) fn recount_quotas(&mut self) {
        for subject in self.quota_subjects(usize::MAX) {
            self.end_quota(&subject);
        }
        self.find_quotas();
        for subject in self.quota_subjects(usize::MAX) {
            let totals = self.count_subtree(&subject);
            self.subtrees_counted += 1;
            self.set_local_data(&quota::stats_path(&subject), totals.to_string().as_bytes());
        }
    }

    /// What a quota that begins on a subtree counts: the once that it is counted.
    fn count_subtree(&self, subject: &str) -> QuotaRecord {
        let mut totals = QuotaRecord::totals(0, 0);
        self.subtree(subject).for_each(|node| totals.add(1, signed(node.data_bytes())));
        totals
    }
}
