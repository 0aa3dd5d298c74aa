//! What goes into an image of version 2 comes out again, over generations of merges.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "common/base_model.rs"]
mod base_model;
#[path = "common/sanitizer.rs"]
mod sanitizer;

use base_model::{Model, Random, SMALL, open};
use proto::Zxid;
use ringkeeper_snapshot::base::{Base, BaseOptions, Run};
use ringkeeper_snapshot::{ImageRef, base};

#[test]
fn an_image_of_a_root_alone_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    model.publish(dir.path(), Zxid(1), BaseOptions::default(), None);
    let base = open(dir.path(), Zxid(1));
    model.check(&base);
    assert_eq!(base.files().len(), 1);
    assert_eq!(base::format_version(&base.files()[0].path).unwrap(), 2);
}

#[test]
fn random_trees_come_back_over_generations_of_merges() {
    for seed in 1..=if sanitizer::is_on() { 2 } else { 12_u64 } {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut model = Model::new();
        let mut base: Option<Base> = None;
        for generation in 1..=12 {
            // Everything from a quiet spell to a tree that is mostly new.
            let changes = [1, 5, 40, 400][random.below(4)];
            model.change_at_random(&mut random, changes);
            let zxid = Zxid(generation);
            let options = BaseOptions { segment_bytes: [1, 500, 2048, 64 << 10][random.below(4)], ..SMALL };
            model.publish(dir.path(), zxid, options, base.as_ref());
            let opened = match &base {
                Some(former) => Base::open_after(dir.path(), &ImageRef::at(zxid), former).unwrap(),
                None => open(dir.path(), zxid),
            };
            model.check(&opened);
            base = Some(opened);
        }
    }
}

#[test]
fn directories_of_1_and_1000_and_100000_children_are_listed_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let many = if sanitizer::is_on() { 10_000 } else { 100_000 };
    let mut model = Model::new();
    for (parent, children) in [("/one", 1), ("/some", 1_000), ("/many", many)] {
        model.put(parent, None, None);
        for child in 0..children {
            model.put(&format!("{parent}/child-{child}"), Some(b"data".to_vec()), None);
        }
    }
    model.publish(dir.path(), Zxid(1), BaseOptions::default(), None);
    let first = open(dir.path(), Zxid(1));
    model.check(&first);
    for number in 0..50 {
        model.put(&format!("/many/child-5000-{number}"), None, Some((Run::Ephemerals, 1)));
        model.delete(&format!("/some/child-5{number}"));
    }
    let published = model.publish(dir.path(), Zxid(2), BaseOptions::default(), Some(&first));
    assert!(published.segments_carried > many / 5_000 * published.segments_written, "{published:?}");
    model.check(&open(dir.path(), Zxid(2)));
}

#[test]
fn everything_can_be_deleted_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut model, mut random) = (Model::new(), Random(5));
    model.change_at_random(&mut random, 500);
    model.publish(dir.path(), Zxid(1), SMALL, None);
    let full = open(dir.path(), Zxid(1));
    let mut paths: Vec<_> = model.nodes.keys().cloned().collect();
    paths.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
    for path in paths {
        model.delete(&path);
    }
    assert_eq!(model.nodes.len(), 1);
    model.publish(dir.path(), Zxid(2), SMALL, Some(&full));
    model.check(&open(dir.path(), Zxid(2)));
}

#[test]
fn the_same_changes_make_the_same_bytes() {
    let bytes = || {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::new();
        model.change_at_random(&mut Random(3), 300);
        model.publish(dir.path(), Zxid(1), SMALL, None);
        let first = open(dir.path(), Zxid(1));
        model.change_at_random(&mut Random(4), 3);
        let published = model.publish(dir.path(), Zxid(2), SMALL, Some(&first));
        (std::fs::read(&first.files()[0].path).unwrap(), std::fs::read(published.path).unwrap())
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn the_ensemble_id_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let options = BaseOptions { ensemble_id: Some(0x1234_5678_9abc), ..SMALL };
    Model::new().publish(dir.path(), Zxid(1), options, None);
    assert_eq!(open(dir.path(), Zxid(1)).ensemble_id(), Some(0x1234_5678_9abc));
}

#[test]
#[should_panic(expected = "the plan was told of every change")]
fn a_change_that_the_plan_was_not_told_of_is_our_own_mistake() {
    use ringkeeper_snapshot::base::{BaseWriter, CarryPlan, NodeChange};
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    model.change_at_random(&mut Random(9), 300);
    model.publish(dir.path(), Zxid(1), SMALL, None);
    let base = open(dir.path(), Zxid(1));
    let plan = CarryPlan::new(Some(&base));
    let mut writer = BaseWriter::create(dir.path(), Zxid(2), SMALL, plan).unwrap();
    let _ = writer.node(NodeChange::Gone("/"));
}
