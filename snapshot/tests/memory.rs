//! Writing an image needs the memory of a segment or two, however large the image is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;
#[path = "common/counting.rs"]
mod counting;

use std::io;
use std::path::Path;

use common::node;
use proto::Zxid;
use ringkeeper_snapshot::disk::{Disk, DiskFile};
use ringkeeper_snapshot::image::{ImageOptions, ImageTotals, ImageWriter, NodeRecord, SEGMENT_BYTES_DEFAULT};

/// A disk that forgets.
#[derive(Debug)]
struct Nowhere;

impl Disk for Nowhere {
    fn create(&self, _path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Nowhere))
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Nowhere {
    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes so many znodes with so many bytes each; returns bytes of the file and the most that was allocated meanwhile.
fn peak_of(nodes: u64, data_bytes: usize) -> (u64, usize) {
    let node = node("/a/path/of/some/length", Some(vec![7; data_bytes]));
    let before = counting::start();
    let mut writer =
        ImageWriter::create_on(Box::new(Nowhere), Path::new("/"), Zxid(1), ImageOptions::default()).unwrap();
    for _ in 0..nodes {
        writer.add_node(NodeRecord { ..node.record() }).unwrap();
    }
    let totals = ImageTotals { zxid: Zxid(1), node_count: nodes, ..ImageTotals::default() };
    let file_bytes = writer.finish(totals).unwrap().file_bytes;
    (file_bytes, counting::peak() - before)
}

/// One test, since the counters are the process's.
#[test]
fn the_peak_does_not_grow_with_the_image() {
    let (small_bytes, small_peak) = peak_of(20_000, 100);
    let (large_bytes, large_peak) = peak_of(200_000, 100);
    assert!(small_bytes > 4 << 20 && large_bytes > 9 * small_bytes, "{small_bytes} and {large_bytes} bytes");
    let limit = 6 * SEGMENT_BYTES_DEFAULT;
    assert!(small_peak < limit && large_peak < limit, "{small_peak} and {large_peak} bytes at the peak");
    let (_, empty_peak) = peak_of(100_000, 0);
    assert!(empty_peak < limit, "{empty_peak} bytes at the peak with znodes without data");
    let (_, huge_peak) = peak_of(20, 8 << 20);
    // The row and its archive, which grows by doubling.
    assert!(huge_peak < 5 * (8 << 20), "{huge_peak} bytes at the peak with znodes of 8 MiB");
}
