//! What the znodes of a snapshot add up to, and whether that is what it says.
//!
//! Owns the comparison. It must never take a total for granted that can be counted. It fails with words for [`Failure::Contradiction`];
//! `tests/tests/inspection/snapshots.rs` and the tests of `verify` would catch a mistake.

use engine::digest::{self, ContentCrc};
use engine::quota::{LIMITS, subject_of};
use proto::stat::EphemeralKind;
use snapshot::base::{Base, BaseNode};
use snapshot::image::ImageTotals;

use super::znode::Facts;

/// Counts of znodes.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// All of them.
    pub(crate) znodes: u64,
    /// Bytes of data.
    pub(crate) data_bytes: u64,
    /// Bytes of paths.
    pub(crate) path_bytes: u64,
    /// Those that go with a session.
    pub(crate) ephemerals: u64,
    /// Those that expire.
    pub(crate) ttls: u64,
    /// Those that go with their last child.
    pub(crate) containers: u64,
    /// The digest of all of them.
    pub(crate) digest: u64,
    /// The paths that have a quota.
    quotas: Vec<Box<str>>,
    /// The first znode that contradicts itself.
    fault: Option<String>,
}

impl Tally {
    /// Adds a znode with its data.
    pub(crate) fn add(&mut self, facts: &Facts<'_>, data: Option<&[u8]>) {
        self.count(facts);
        self.sum(facts, ContentCrc::of(facts.path, data));
    }

    /// Adds a znode of a base, whose data were found to be what was written.
    pub(crate) fn add_mapped(&mut self, facts: &Facts<'_>, node: &BaseNode<'_>, data: Option<&[u8]>) {
        self.count(facts);
        let crc = ContentCrc::of(facts.path, data);
        if crc.stored() != node.content_crc() {
            let what = || format!("the znode {}: the CRC of path and data is not the recorded one", facts.path);
            self.fault.get_or_insert_with(what);
        }
        self.sum(facts, crc);
        self.quotas.extend(subject_of(facts.path, LIMITS).map(Box::from));
    }

    /// Adds a znode without looking at its data: the digest stays as it is.
    pub(crate) fn count(&mut self, facts: &Facts<'_>) {
        self.znodes += 1;
        self.data_bytes += facts.data_len as u64;
        self.path_bytes += facts.path.len() as u64;
        match facts.stat.ephemeral_owner.kind() {
            EphemeralKind::Persistent => {}
            EphemeralKind::Container => self.containers += 1,
            EphemeralKind::Ttl(_) => self.ttls += 1,
            EphemeralKind::Ephemeral(_) => self.ephemerals += 1,
        }
    }

    fn sum(&mut self, facts: &Facts<'_>, crc: ContentCrc) {
        if digest::counts(facts.path) {
            self.digest = self.digest.wrapping_add(crc.digest(&facts.stat));
        }
    }

    /// The first thing that is not as the image says, in words.
    pub(crate) fn contradiction(&self, totals: &ImageTotals) -> Option<String> {
        let counts = [
            ("znodes", self.znodes, totals.node_count),
            ("bytes of paths and data", self.data_bytes + self.path_bytes, totals.data_bytes),
            ("ephemerals", self.ephemerals, totals.ephemeral_count),
        ];
        self.fault.clone().or_else(|| first_difference(&counts)).or_else(|| {
            let (found, recorded) = (self.digest, totals.tree_digest);
            (found != recorded)
                .then(|| format!("the digest of its znodes is {found:#x}, the recorded one {recorded:#x}"))
        })
    }

    /// As [`Tally::contradiction`], of the runs and tables of a base.
    pub(crate) fn contradiction_of_tables(&mut self, base: &Base) -> Option<String> {
        let counts =
            [("TTL znodes", self.ttls, base.ttl_count()), ("containers", self.containers, base.container_count())];
        self.quotas.sort_unstable();
        let quotas = (self.quotas != base.quotas()).then(|| "the paths that have a quota are others".to_owned());
        first_difference(&counts).or(quotas)
    }
}

/// Of counts with what was found and what was recorded.
fn first_difference(counts: &[(&str, u64, u64)]) -> Option<String> {
    let different = counts.iter().find(|(_, found, recorded)| found != recorded);
    different.map(|(what, found, recorded)| format!("it has {found} {what}, and {recorded} are recorded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_total_is_compared() {
        let words = |totals| Tally::default().contradiction(&totals).unwrap_or_default();
        assert_eq!(words(ImageTotals::default()), "");
        assert_eq!(
            words(ImageTotals { node_count: 2, ..ImageTotals::default() }),
            "it has 0 znodes, and 2 are recorded"
        );
        assert_eq!(
            words(ImageTotals { ephemeral_count: 1, ..ImageTotals::default() }),
            "it has 0 ephemerals, and 1 are recorded"
        );
    }
}
