//! Merging needs the memory of a few segments, however large base and changes are.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "common/counting.rs"]
mod counting;
#[path = "common/sanitizer.rs"]
mod sanitizer;

use std::path::Path;

use proto::{StatPersisted, Zxid};
use ringkeeper_snapshot::base::{
    Base, BaseOptions, BaseTables, BaseWriter, CarryPlan, NodeChange, NodeEntry, Place, SEGMENT_BYTES_DEFAULT,
};
use ringkeeper_snapshot::image::ImageTotals;
use ringkeeper_snapshot::{DataDir, ImageRef};

/// Publishes so many znodes, each with so much data, over a base that has them already. Bytes of the file, and the most that was
/// allocated meanwhile.
fn peak_of(nodes: u32, data_bytes: usize) -> (u64, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut paths: Vec<String> = (0..nodes).map(|number| format!("/some/directory/{number:08}")).collect();
    paths.sort_by(|a, b| Place::of_node(a).cmp(&Place::of_node(b)));
    write(dir.path(), Zxid(1), &paths, data_bytes, None);
    let base = Base::open(dir.path(), &ImageRef::at(Zxid(1))).unwrap();
    let before = counting::start();
    // Every tenth changes: all segments are merged.
    let changed: Vec<String> = paths.iter().step_by(10).cloned().collect();
    let of_changes = counting::now() - before;
    write(dir.path(), Zxid(2), &changed, data_bytes, Some(&base));
    let file_bytes = std::fs::metadata(DataDir::new(dir.path()).image(Zxid(2))).unwrap().len();
    (file_bytes, counting::peak() - before - of_changes)
}

fn write(dir: &Path, zxid: Zxid, paths: &[String], data_bytes: usize, base: Option<&Base>) {
    let data = vec![u8::try_from(zxid.0).unwrap(); data_bytes];
    let mut plan = CarryPlan::new(base);
    paths.iter().for_each(|path| plan.touch_node(path));
    let mut writer = BaseWriter::create(dir, zxid, BaseOptions::default(), plan).unwrap();
    for path in paths {
        let stat = StatPersisted::default();
        let node = NodeEntry { path, data: Some(&data), stat, acl_id: 0, content_crc: 1, child_count: 0 };
        writer.node(NodeChange::Put(node)).unwrap();
    }
    let node_count = base.map_or(paths.len() as u64, |base| base.totals().node_count);
    let tables = BaseTables { acls: vec![(0, &[])], ..BaseTables::default() };
    writer.finish(&tables, ImageTotals { zxid, node_count, ..ImageTotals::default() }).unwrap();
}

/// One test, since the counters are the process's.
#[test]
fn the_peak_does_not_grow_with_the_image() {
    if sanitizer::is_on() {
        // It counts no other memory than what is asked for.
        return;
    }
    let (small_bytes, small_peak) = peak_of(20_000, 100);
    let (large_bytes, large_peak) = peak_of(200_000, 100);
    assert!(small_bytes > 4 << 20 && large_bytes > 9 * small_bytes, "{small_bytes} and {large_bytes} bytes");
    // Beside them the directory: two times 64 bytes a segment, and as much to grow.
    let limit = |bytes: u64| 16 * SEGMENT_BYTES_DEFAULT + usize::try_from(bytes).unwrap() / 256;
    assert!(small_peak < limit(small_bytes), "{small_peak} bytes at the peak of {small_bytes}");
    assert!(large_peak < limit(large_bytes), "{large_peak} bytes at the peak of {large_bytes}");
    let (_, empty_peak) = peak_of(100_000, 0);
    assert!(empty_peak < limit(100_000 * 150), "{empty_peak} bytes at the peak with znodes without data");
    let (_, huge_peak) = peak_of(20, 8 << 20);
    // The record and its segment, each of which grows by doubling.
    assert!(huge_peak < 7 * (8 << 20), "{huge_peak} bytes at the peak with znodes of 8 MiB");
}
