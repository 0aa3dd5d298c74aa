//! What was frozen becomes an image.
//!
//! Owns what of a frozen tree goes into it, and nothing of how it is written: that is `snapshot`'s. It must never write what is not frozen. The images' round
//! trips in `engine/tests` would catch a mistake.

use super::FrozenTree;
use snapshot::base::{BaseOptions, BaseTables, BaseWriter, CarryPlan, Pace, PublishedBase};
use snapshot::image::{ImageTotals, SessionRecord};
use std::path::Path;
use std::sync::Arc;

/// Merges what was frozen into its base and publishes that; the control file is the caller's. `time_ms`: when, since 1970.
///
/// # Errors
/// As those of [`BaseWriter`]; [`snapshot::Error::GivenUp`]: the pace said no.
pub fn write_image(
    dir: &Path,
    frozen: &FrozenTree,
    time_ms: i64,
    pace: Option<Arc<dyn Pace>>,
) -> Result<PublishedBase, snapshot::Error> {
    let changes = frozen.changes()?;
    let mut plan = CarryPlan::new(frozen.base().map(|base| &**base));
    changes.nodes().for_each(|change| plan.touch_node(change.path()));
    changes.entries.iter().for_each(|entry| plan.touch_entry(entry.run, entry.key, entry.path));
    let mut writer = BaseWriter::create(dir, frozen.zxid, BaseOptions::default(), plan)?;
    if let Some(pace) = pace {
        writer.keep_to(pace);
    }
    for change in changes.nodes() {
        writer.node(change)?;
    }
    for entry in &changes.entries {
        writer.entry(entry.run, entry.key, entry.path, entry.presence)?;
    }
    let totals = ImageTotals {
        zxid: frozen.zxid,
        time_ms,
        node_count: frozen.node_count as u64,
        data_bytes: frozen.data_bytes,
        ephemeral_count: frozen.ephemeral_count as u64,
        tree_digest: frozen.digest,
    };
    let session = |(id, timeout_ms): &(_, _)| SessionRecord { id: *id, timeout_ms: *timeout_ms };
    let tables = BaseTables {
        acls: frozen.acls().iter().map(|(id, acl)| (id.0, &**acl)).collect(),
        sessions: frozen.sessions().iter().map(session).collect(),
        quotas: frozen.quotas().iter().map(|path| &**path).collect(),
    };
    writer.finish(&tables, totals)
}
