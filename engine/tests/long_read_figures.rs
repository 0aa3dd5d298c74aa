//! What a listing of a million children and a count of them take, and how much of that under the lock: figures, no tests.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a test that trips is a test that fails"
)]

mod support;

use proto::stat::EphemeralOwner;
use proto::{Acl, StatPersisted, Writer, Zxid};
use ringkeeper_engine::tree::{LoadError, RESERVED_PATHS, Tree};
use snapshot::base::BaseOptions;
use std::time::Instant;
use support::image::publish_with;

/// A tree with so many children of `/d`, all in its top layer.
fn wide(children: usize) -> Tree {
    let load = |digest| {
        let (fresh, mut loader) = (Tree::new(), Tree::loader());
        for path in RESERVED_PATHS {
            let node = fresh.get(path).expect("reserved");
            loader.node(path, node.data().as_deref(), node.acl(), node.persisted())?;
        }
        let stat = StatPersisted::created(Zxid(1), 1, EphemeralOwner::NONE);
        loader.node("/d", None, &[Acl::open()], stat)?;
        for child in 0..children {
            loader.node(&format!("/d/n{child:010}"), Some(&[7; 100]), &[Acl::open()], stat)?;
        }
        loader.finish(Zxid(1), digest)
    };
    // A wrong digest is told together with the right one.
    match load(0) {
        Err(LoadError::Digest { found, .. }) => load(found).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Beside what a shard did under the lock before, what is done under it now, and what beside it.
fn measure(tree: &Tree, what: &str) {
    for round in 0..3 {
        let started = Instant::now();
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).strings(tree.get("/d").unwrap().children());
        let direct = started.elapsed();
        let started = Instant::now();
        let mut at_once = Vec::new();
        tree.get("/d").unwrap().write_children(&mut Writer::new(&mut at_once));
        let written = started.elapsed();
        assert_eq!(bytes.len(), at_once.len());
        let started = Instant::now();
        let listing = tree.get("/d").unwrap().listing();
        let taken = started.elapsed();
        let started = Instant::now();
        let mut told = 0;
        listing.for_each_name(|name| told += name.len());
        let told_in = started.elapsed();
        println!(
            "{what}, round {round}: listing {direct:?}, at once {written:?} ({} bytes); taken in {taken:?}, told in {told_in:?}",
            bytes.len()
        );
        let started = Instant::now();
        let count = tree.descendant_count("/d");
        println!("    a count of {count}, under the lock: {:?}", started.elapsed());
    }
}

/// Prints what a listing and a count take. Run it alone:
/// `cargo test --profile ci -p ringkeeper-engine --test long_read_figures -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn what_a_listing_of_a_million_takes() {
    let mut tree = wide(1_000_000);
    measure(&tree, "top layer");
    let frozen = tree.freeze();
    measure(&tree, "frozen layer");
    let dir = tempfile::tempdir().unwrap();
    let base = publish_with(&frozen, dir.path(), BaseOptions::default());
    drop((tree.rebase(base), frozen));
    measure(&tree, "base");
}
