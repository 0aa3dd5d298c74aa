//! Images of frozen trees, written and opened as the server does it.
#![allow(dead_code, reason = "not every test binary uses all of it")]

use ringkeeper_engine::tree::FrozenTree;
use snapshot::base::{Base, BaseOptions, BaseTables, BaseWriter, CarryPlan};
use snapshot::image::{ImageTotals, SessionRecord};
use std::path::Path;
use std::sync::Arc;

/// Segments so small that a handful of znodes fills several.
const SMALL: usize = 600;

/// Writes what was frozen as an image of small segments, and opens that.
pub(crate) fn publish(frozen: &FrozenTree, dir: &Path) -> Arc<Base> {
    publish_with(frozen, dir, BaseOptions { segment_bytes: SMALL, ..BaseOptions::default() })
}

/// As [`publish`], with these options.
pub(crate) fn publish_with(frozen: &FrozenTree, dir: &Path, options: BaseOptions) -> Arc<Base> {
    let former = frozen.base().map(|base| &**base);
    let changes = frozen.changes().expect("the base is whole");
    let mut plan = CarryPlan::new(former);
    changes.nodes().for_each(|change| plan.touch_node(change.path()));
    changes.entries.iter().for_each(|entry| plan.touch_entry(entry.run, entry.key, entry.path));
    let mut writer = BaseWriter::create(dir, frozen.zxid, options, plan).expect("there is room");
    changes.nodes().for_each(|change| writer.node(change).expect("there is room"));
    for entry in &changes.entries {
        writer.entry(entry.run, entry.key, entry.path, entry.presence).expect("there is room");
    }
    let tables = BaseTables {
        acls: frozen.acls().iter().map(|(id, acl)| (id.0, &**acl)).collect(),
        sessions: frozen.sessions().iter().map(|(id, ms)| SessionRecord { id: *id, timeout_ms: *ms }).collect(),
        quotas: frozen.quotas().iter().map(|path| &**path).collect(),
    };
    let totals = ImageTotals {
        zxid: frozen.zxid,
        time_ms: 0,
        node_count: frozen.node_count as u64,
        data_bytes: frozen.data_bytes,
        ephemeral_count: frozen.ephemeral_count as u64,
        tree_digest: frozen.digest,
    };
    let published = writer.finish(&tables, totals).expect("there is room");
    Arc::new(match former {
        Some(former) => Base::open_after(dir, &published.image, former).expect("it was just written"),
        None => Base::open(dir, &published.image).expect("it was just written"),
    })
}
