//! What goes into an image comes out of it: every path, every kind of data, every number.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use common::{Contents, SMALL_SEGMENTS, node, read, write};
use proptest::prelude::*;
use proto::acl::{Acl, Perms};
use proto::stat::EphemeralOwner;
use proto::{SessionId, StatPersisted, Zxid};
use ringkeeper_snapshot::image::{AclRecord, ImageOptions, SessionRecord};
use ringkeeper_snapshot::verify;

#[test]
fn an_empty_image_is_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let published = write(dir.path(), Zxid(0), ImageOptions::default(), &Contents::default());
    assert_eq!(published.segments, 0);
    assert_eq!(read(&published.path).unwrap(), Contents::default());
}

#[test]
fn null_empty_and_large_data_and_the_extremes_of_a_stat_come_back() {
    let smallest = StatPersisted {
        czxid: Zxid(0),
        mzxid: Zxid(0),
        ctime: i64::MIN,
        mtime: i64::MIN,
        version: i32::MIN,
        cversion: i32::MIN,
        aversion: i32::MIN,
        ephemeral_owner: EphemeralOwner(i64::MIN),
        pzxid: Zxid(0),
    };
    let largest = StatPersisted {
        czxid: Zxid(u64::MAX),
        mzxid: Zxid(u64::MAX - 1),
        ctime: i64::MAX,
        mtime: i64::MAX - 1,
        version: i32::MAX,
        cversion: i32::MAX - 1,
        aversion: i32::MAX - 2,
        ephemeral_owner: EphemeralOwner(i64::MAX),
        pzxid: Zxid(u64::MAX - 2),
    };
    let contents = Contents {
        nodes: vec![
            node("/", None),
            node("/empty", Some(Vec::new())),
            node("/large", Some((0..1 << 20).map(|i: u32| i.to_le_bytes()[1]).collect())),
            node("/größe/日本語/🦀", Some(vec![0, 0xff])),
            common::Node { stat: smallest, acl_id: 0, ..node("/smallest", None) },
            common::Node { stat: largest, acl_id: u32::MAX, ..node("/largest", None) },
        ],
        ..Contents::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let published = write(dir.path(), Zxid(u64::MAX), ImageOptions::default(), &contents);
    assert_eq!(read(&published.path).unwrap(), contents);
    assert_eq!(published.image.file_name, "image.ffffffffffffffff");
    assert_eq!(std::fs::metadata(&published.path).unwrap().len(), published.file_bytes);
}

#[test]
fn many_segments_keep_the_order_and_the_counts() {
    let contents = Contents::sample(5_000);
    let dir = tempfile::tempdir().unwrap();
    let published = write(dir.path(), Zxid(7), SMALL_SEGMENTS, &contents);
    assert!(published.segments > 100, "{published:?}");
    assert_eq!(published.counts.nodes, 5_000);
    assert_eq!(read(&published.path).unwrap(), contents);
    assert_eq!(verify(&published.path).unwrap().node_count, 5_000);
}

#[test]
fn the_same_contents_make_the_same_bytes() {
    let contents = Contents::sample(300);
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = write(one.path(), Zxid(7), SMALL_SEGMENTS, &contents).path;
    let two = write(two.path(), Zxid(7), SMALL_SEGMENTS, &contents).path;
    assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
}

#[test]
fn the_ensemble_id_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let options = ImageOptions { ensemble_id: Some(0x1234_5678_9abc), ..ImageOptions::default() };
    let published = write(dir.path(), Zxid(1), options, &Contents::default());
    assert_eq!(ringkeeper_snapshot::Image::open(&published.path).unwrap().ensemble_id(), Some(0x1234_5678_9abc));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn anything_comes_back(contents in any_contents(), segment_bytes in 1_usize..4096) {
        let dir = tempfile::tempdir().unwrap();
        let options = ImageOptions { segment_bytes, ..ImageOptions::default() };
        let published = write(dir.path(), Zxid(9), options, &contents);
        prop_assert_eq!(read(&published.path).unwrap(), contents);
    }
}

fn any_contents() -> impl Strategy<Value = Contents> {
    (
        prop::collection::vec(any_node(), 0..40),
        prop::collection::vec(any_acl(), 0..10),
        prop::collection::vec((any::<i64>(), any::<i32>()), 0..20),
    )
        .prop_map(|(nodes, acls, sessions)| {
            let session = |(id, timeout_ms)| SessionRecord { id: SessionId(id), timeout_ms };
            Contents { nodes, acls, sessions: sessions.into_iter().map(session).collect() }
        })
}

fn any_node() -> impl Strategy<Value = common::Node> {
    let path = "(/\\PC{1,12}){1,4}";
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..300));
    (path, data, any::<u32>(), any_stat()).prop_map(|(path, data, acl_id, stat)| common::Node {
        path,
        data,
        acl_id,
        stat,
    })
}

fn any_stat() -> impl Strategy<Value = StatPersisted> {
    (any::<[u64; 3]>(), any::<[i64; 3]>(), any::<[i32; 3]>()).prop_map(|(zxids, longs, ints)| StatPersisted {
        czxid: Zxid(zxids[0]),
        mzxid: Zxid(zxids[1]),
        pzxid: Zxid(zxids[2]),
        ctime: longs[0],
        mtime: longs[1],
        ephemeral_owner: EphemeralOwner(longs[2]),
        version: ints[0],
        cversion: ints[1],
        aversion: ints[2],
    })
}

fn any_acl() -> impl Strategy<Value = AclRecord> {
    let entry = (any::<i32>(), "\\PC{0,9}", "\\PC{0,20}").prop_map(|(perms, scheme, id)| Acl {
        perms: Perms(perms),
        scheme: scheme.into(),
        id: id.into(),
    });
    (any::<u32>(), prop::collection::vec(entry, 0..5)).prop_map(|(id, acls)| AclRecord { id, acls })
}
