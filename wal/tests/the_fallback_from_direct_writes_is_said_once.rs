//! Where the disk refuses O_DIRECT, the log says so once. Alone in its program: whether an event is of interest is remembered for the whole
//! process, so another test that meets the same warning without a subscriber could silence it here.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{commit_one, open, small};
use ringkeeper_wal::{RefuseDirect, UringDisk, UringOptions};

#[test]
fn the_fallback_is_said_once() {
    for refuse in [RefuseDirect::AtOpen, RefuseDirect::AtFirstWrite] {
        let warnings = CountWarnings::default();
        let dir = tempfile::tempdir().unwrap();
        tracing::subscriber::with_default(warnings.clone(), || {
            let disk = UringDisk::open(dir.path(), UringOptions { refuse_direct: Some(refuse) }).unwrap();
            let (mut log, _) = open(disk, small(1, 1)).unwrap();
            for zxid in 1..=40 {
                commit_one(&mut log, zxid, 3000);
            }
            assert!(log.segment_count() > 1);
        });
        assert_eq!(warnings.count.load(Ordering::Relaxed), 1, "{refuse:?}");
    }
}

/// Counts warnings.
#[derive(Debug, Clone, Default)]
struct CountWarnings {
    count: Arc<AtomicUsize>,
}

impl tracing::Subscriber for CountWarnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
