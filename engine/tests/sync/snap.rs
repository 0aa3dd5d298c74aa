//! An image becomes a stream, whose znodes come behind their parents, and that becomes the same tree.

use crate::state::{JAVA, Made, after_packet, everything, new_leader, on_image, rich, streamed, taken};
use engine::tree::{Tree, put_on_image};
use engine::turn::sync::{SnapSource, SourceState};
use proto::quorum::snap::{SnapItem, SnapReader};
use proto::quorum::{DATA_BYTES_MAX_DEFAULT, PacketType};
use proto::{OpCode, Received, SessionId, Zxid};
use ringkeeper_engine as engine;
use snapshot::ImageRef;
use snapshot::base::Base;
use std::collections::HashSet;
use std::sync::Arc;

fn source(tree: &Tree) -> SnapSource {
    SnapSource::of_image(Arc::clone(tree.base().unwrap()))
}

#[test]
fn a_state_goes_from_source_to_taker_in_pieces_of_any_size() {
    let (mut tree, dir) = (rich(), tempfile::tempdir().unwrap());
    let all = everything(&tree);
    on_image(&mut tree, dir.path());
    let bytes = streamed(&mut source(&tree), usize::MAX);
    for chunk_bytes in [1, 2, 100, 701, 4_096, 100_000] {
        assert!(streamed(&mut source(&tree), chunk_bytes) == bytes, "in chunks of {chunk_bytes}");
    }
    let (zxid, stream) = after_packet(&bytes);
    assert_eq!(zxid, tree.last_zxid());
    for piece_bytes in [1, 3, 17, 512, 65_536, stream.len(), stream.len() + 5, usize::MAX] {
        let taken = taken(zxid, stream, piece_bytes).finish().unwrap();
        assert_eq!((taken.begun, taken.nodes, taken.later), (zxid, tree.node_count() as u64, 0));
        assert_eq!((taken.txns, taken.unused), (0, new_leader()));
        assert_eq!(everything(&taken.tree), all, "in pieces of {piece_bytes}");
    }
}

#[test]
fn what_was_taken_can_be_frozen_and_sent_on() {
    let (mut tree, dir) = (rich(), tempfile::tempdir().unwrap());
    on_image(&mut tree, dir.path());
    let bytes = streamed(&mut source(&tree), 1_000);
    let (zxid, stream) = after_packet(&bytes);
    let mut again = taken(zxid, stream, 1_000).finish().unwrap().tree;
    let other = tempfile::tempdir().unwrap();
    on_image(&mut again, other.path());
    assert_eq!(everything(&again), everything(&tree));
    let bytes = streamed(&mut source(&again), 1_000);
    let (_, stream) = after_packet(&bytes);
    let third = taken(zxid, stream, 1_000).finish().unwrap().tree;
    assert_eq!(everything(&third), everything(&tree));
}

#[test]
fn the_state_is_that_of_the_image_whatever_came_after_it_and_of_an_image_on_an_image() {
    let (mut tree, dir) = (rich(), tempfile::tempdir().unwrap());
    on_image(&mut tree, dir.path());
    Made::at("/later").make(&mut tree);
    Made { op: OpCode::CreateContainer, ..Made::at("/a/b/later") }.make(&mut tree);
    on_image(&mut tree, dir.path());
    let all = everything(&tree);
    let mut source = source(&tree);
    Made::at("/after").make(&mut tree);
    let bytes = streamed(&mut source, 333);
    let (zxid, stream) = after_packet(&bytes);
    let taken = taken(zxid, stream, 333).finish().unwrap().tree;
    assert_eq!(everything(&taken), all);
}

/// The paths of a stream, in its order.
fn paths(mut stream: &[u8]) -> Vec<String> {
    let mut reader = SnapReader::new(DATA_BYTES_MAX_DEFAULT);
    let mut paths = Vec::new();
    while !reader.is_over() {
        let Received::Whole(item, len) = reader.receive(stream).unwrap() else { panic!("it is whole") };
        if let SnapItem::Node { path, .. } = item {
            paths.push(path.to_owned());
        }
        stream = &stream[len..];
    }
    assert!(stream.is_empty(), "the signature is the end");
    paths
}

#[test]
fn parents_come_before_their_children() {
    let (mut tree, dir) = (rich(), tempfile::tempdir().unwrap());
    // A comb: many levels, each with leaves on both sides of the one that goes on.
    let mut path = String::new();
    for level in 0..60 {
        for name in ["a", "m", "z"] {
            Made::at(&format!("{path}/{level}{name}")).make(&mut tree);
        }
        path = format!("{path}/{level}m");
    }
    on_image(&mut tree, dir.path());
    let bytes = streamed(&mut source(&tree), 50);
    assert!(bytes == streamed(&mut source(&tree), 5_000));
    let (_, stream) = after_packet(&bytes);
    let mut seen: HashSet<String> = HashSet::new();
    for path in paths(stream) {
        let parent = path.rfind('/').map(|end| path[..end].to_owned());
        assert!(parent.is_none_or(|parent| seen.contains(&parent)), "{path} before its parent");
        assert!(seen.insert(path), "each once");
    }
    assert_eq!(seen.len(), tree.node_count());
}

#[test]
fn a_new_server_has_a_state_too() {
    let mut source = SnapSource::of_nothing();
    let mut bytes = Vec::new();
    assert_eq!(source.next_chunk(&mut bytes, 1).unwrap(), SourceState::Done { to: Zxid::ZERO });
    let len = bytes.len();
    assert!(matches!(source.next_chunk(&mut bytes, 1), Ok(SourceState::Done { .. })) && bytes.len() == len);
    assert_eq!(bytes[3], PacketType::Snap as u8);
    let (zxid, stream) = after_packet(&bytes);
    let taken = taken(zxid, stream, 10).finish().unwrap().tree;
    assert_eq!(everything(&taken), everything(&Tree::new()));
}

#[test]
fn a_state_that_was_taken_leaves_whole_what_a_newer_image_points_into() {
    let (mut tree, dir) = (rich(), tempfile::tempdir().unwrap());
    on_image(&mut tree, dir.path());
    let (older, all) = (tree.last_zxid(), everything(&tree));
    let bytes = streamed(&mut source(&tree), 1_000);
    Made::at("/later").make(&mut tree);
    on_image(&mut tree, dir.path());
    let newer = ImageRef::at(tree.last_zxid());
    assert!(
        snapshot::is_pointed_into(dir.path(), older).unwrap()
            && !snapshot::is_pointed_into(dir.path(), newer.zxid).unwrap()
    );
    // A leader's state at the older one's zxid; until it is in force the newer image is.
    let (zxid, stream) = after_packet(&bytes);
    assert_eq!(zxid, older);
    let mut state = taken(zxid, stream, 1_000).finish().unwrap().tree;
    assert_eq!(put_on_image(dir.path(), &mut state, 7).unwrap(), ImageRef::at(older));
    assert!(state.is_on_image() && everything(&state) == all);
    assert_eq!(Base::open(dir.path(), &newer).unwrap().totals().zxid, newer.zxid);
    // One that no other points into is written anew.
    let at_ms = |image: &ImageRef| Base::open(dir.path(), image).unwrap().totals().time_ms;
    std::fs::remove_file(dir.path().join(&newer.file_name)).unwrap();
    let mut state = taken(zxid, stream, 1_000).finish().unwrap().tree;
    let image = put_on_image(dir.path(), &mut state, 7).unwrap();
    assert_eq!((image.zxid, at_ms(&image)), (older, 7));
    assert!(everything(&state) == all);
}

#[test]
fn the_state_at_0_needs_no_image_and_a_later_one_needs_one_that_is_new_enough() {
    let (mut tree, dir) = (rich(), tempfile::tempdir().unwrap());
    let last = tree.last_zxid();
    let zxid = |source: Option<SnapSource>| source.map(|source| source.zxid());
    // Its tree shows txns, of which no quorum is known to have them: it never has an image before somebody has learnt from it.
    assert_eq!(zxid(SnapSource::at_least(Zxid::ZERO, tree.base())), Some(Zxid::ZERO));
    assert_eq!(zxid(SnapSource::at_least(last, tree.base())), None);
    on_image(&mut tree, dir.path());
    assert_eq!(zxid(SnapSource::at_least(Zxid::ZERO, tree.base())), Some(last));
    assert_eq!(zxid(SnapSource::at_least(last, tree.base())), Some(last));
    assert_eq!(zxid(SnapSource::at_least(last.next(), tree.base())), None);
}

#[test]
fn a_damaged_image_is_an_error_and_never_signed() {
    let (mut tree, dir) = (rich(), tempfile::tempdir().unwrap());
    on_image(&mut tree, dir.path());
    let file = tree.base().unwrap().files()[0].path.clone();
    let whole = std::fs::read(&file).unwrap();
    let at = whole.windows(9).position(|bytes| bytes == b"xxxxxxxxx").expect("a large znode's data") + 5;
    let image = tree.base().unwrap().image();
    drop(tree);
    let mut flipped = whole;
    flipped[at] ^= 1;
    std::fs::write(&file, flipped).unwrap();
    let base = snapshot::base::Base::open(dir.path(), &image).unwrap();
    let mut source = SnapSource::of_image(Arc::new(base));
    let mut bytes = Vec::new();
    let error = loop {
        match source.next_chunk(&mut bytes, 100) {
            Ok(SourceState::More) => {}
            Ok(SourceState::Done { .. }) => panic!("it is damaged"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains(file.file_name().unwrap().to_str().unwrap()), "{error}");
    assert!(!bytes.ends_with(b"BenWasHere"));
}

/// By hand: `cargo test --profile ci -p ringkeeper-engine --test sync -- --ignored --nocapture million`.
#[test]
#[ignore = "a million znodes: for a look at time and memory"]
fn a_million_znodes() {
    let kib = |field: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find(|line| line.starts_with(field)).unwrap().to_owned()
    };
    let dir = tempfile::tempdir().unwrap();
    let mut tree = Tree::new();
    let data = [7; 100];
    for parent in 0..1_000 {
        Made::at(&format!("/p{parent}")).make(&mut tree);
        for child in 0..1_000 {
            Made { data: Some(&data), ..Made::at(&format!("/p{parent}/child-{child:06}")) }.make(&mut tree);
        }
    }
    let frozen = tree.freeze();
    drop(tree.rebase(crate::image::publish_with(&frozen, dir.path(), snapshot::base::BaseOptions::default())));
    let (base, digest) = (Arc::clone(tree.base().unwrap()), tree.digest());
    drop((frozen, tree));
    println!("image: {} bytes; before: {}, {}", base.live_bytes(), kib("VmRSS"), kib("RssAnon"));
    let started = std::time::Instant::now();
    let (mut source, mut chunk, mut sent) = (SnapSource::of_image(Arc::clone(&base)), Vec::new(), 0);
    while source.next_chunk(&mut chunk, 1 << 20).unwrap() == SourceState::More {
        sent += chunk.len();
        chunk.clear();
    }
    println!("sent {sent} bytes in {:?}: {}, {}", started.elapsed(), kib("VmRSS"), kib("RssAnon"));
    let started = std::time::Instant::now();
    let mut source = SnapSource::of_image(base);
    let mut taker = None;
    loop {
        chunk.clear();
        let state = source.next_chunk(&mut chunk, 1 << 20).unwrap();
        match &mut taker {
            None => {
                let (zxid, rest) = after_packet(&chunk);
                let mut new = engine::turn::sync::StateTaker::new(zxid, JAVA, Default::default());
                new.take(rest).unwrap();
                taker = Some(new);
            }
            Some(taker) => drop(taker.take(&chunk).unwrap()),
        }
        if state != SourceState::More {
            break;
        }
    }
    let mut taker = taker.unwrap();
    taker.take(&new_leader()).unwrap();
    let taken = taker.finish().unwrap();
    println!("taken in {:?}: {}, {}", started.elapsed(), kib("VmRSS"), kib("RssAnon"));
    let tree = taken.tree;
    println!("a tree in {:?}: {}, {}", started.elapsed(), kib("VmRSS"), kib("RssAnon"));
    assert_eq!((tree.digest(), tree.node_count()), (digest, 1_001_004));
    assert_eq!(tree.session_timeout_ms(SessionId(1)), None);
}
