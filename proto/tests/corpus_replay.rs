//! Runs the committed fuzz corpus through the fuzz targets' own code, so that what a fuzzer once found stays found.

mod golden;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use golden::Vector;
use ringkeeper_proto::OpCode;
use ringkeeper_proto::fuzz_targets::TARGETS;
use ringkeeper_proto::reply::ReplyHeader;
use ringkeeper_proto::request::RequestHeader;
use ringkeeper_proto::txn::TxnHeader;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn names_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_target_survives_its_corpus() {
    for (target, run) in TARGETS {
        let inputs = names_in(&corpus().join(target));
        assert!(!inputs.is_empty(), "{target} has no corpus");
        assert!(inputs.len() < 60, "{target}: the corpus is a seed, not a dump");
        for input in inputs {
            let data = fs::read(&input).unwrap_or_else(|error| panic!("{}: {error}", input.display()));
            assert!(data.len() <= SEED_BYTES_MAX, "{} is not small", input.display());
            run(&data);
        }
    }
}

#[test]
fn every_corpus_and_every_fuzz_binary_belongs_to_a_target() {
    let known = |path: &Path| {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        TARGETS.iter().any(|(target, _)| stem.as_deref() == Some(*target))
    };
    for dir in names_in(&corpus()) {
        assert!(known(&dir), "{} has no target", dir.display());
    }
    let binaries = names_in(&corpus().join("../fuzz_targets"));
    assert_eq!(binaries.len(), TARGETS.len());
    for binary in binaries {
        assert!(known(&binary), "{} has no target", binary.display());
    }
}

/// Not a test but the way the seeds were made: `cargo test -p ringkeeper-proto --test corpus_replay -- --ignored`. Adds to the corpus
/// from the golden vectors and overwrites nothing but its own files.
#[test]
#[ignore = "writes fuzz/corpus from proto/vectors"]
fn write_the_seeds() {
    let mut written: BTreeMap<(&str, i32), usize> = BTreeMap::new();
    for vector in golden::load() {
        for (target, seed) in seeds(&vector) {
            // The first of each operation; more where there are few operations.
            let most = match target {
                "request" | "reply" => 1,
                "txn_record" | "quorum_packet" => 3,
                _ => 25,
            };
            let count = written.entry((target, vector.op)).or_default();
            if *count < most && seed.len() <= SEED_BYTES_MAX {
                *count += 1;
                let dir = corpus().join(target);
                fs::create_dir_all(&dir).expect("the corpus directory");
                fs::write(dir.join(&vector.name), seed).expect("a seed");
            }
        }
    }
    let dir = corpus().join("path_validate");
    fs::create_dir_all(&dir).expect("the corpus directory");
    for (name, path) in PATH_SEEDS {
        fs::write(dir.join(name), path).expect("a seed");
    }
}

/// The inputs that a vector gives, by target.
fn seeds(vector: &Vector) -> Vec<(&'static str, Vec<u8>)> {
    let data = vector.data.as_slice();
    let after = |header: usize| data.get(header..).unwrap_or_default().to_vec();
    let is_multi = vector.op == OpCode::Multi.to_wire();
    match vector.kind.as_str() {
        "connect" => vec![("connect_request", data.to_vec())],
        "accepted" => vec![("connect_response", data.to_vec())],
        "request" if is_multi => vec![("request", data.to_vec()), ("multi", after(RequestHeader::BYTES))],
        "request" => vec![("request", data.to_vec())],
        "reply" => {
            let with_op = [vector.op.to_be_bytes().as_slice(), data].concat();
            let body = after(ReplyHeader::BYTES);
            match (body.is_empty(), is_multi) {
                (true, _) => Vec::new(),
                (false, true) => vec![("reply", with_op), ("multi", body)],
                (false, false) => vec![("reply", with_op)],
            }
        }
        "event" => vec![("watcher_event", after(ReplyHeader::BYTES))],
        "txn" if is_multi => vec![("txn_record", data.to_vec()), ("multi", after(TxnHeader::BYTES))],
        "txn" => vec![("txn_record", data.to_vec())],
        "to_leader" | "to_learner" => vec![("quorum_packet", data.to_vec())],
        "snapshot_stream" => vec![("snap_stream", data.to_vec())],
        "initial_message" | "notification" => vec![("election", data.to_vec())],
        _ => Vec::new(),
    }
}

const SEED_BYTES_MAX: usize = 4096;

const PATH_SEEDS: &[(&str, &str)] = &[
    ("root", "/"),
    ("plain", "/a/b/c"),
    ("dots_in_names", "/.../..a/a../.a"),
    ("relative", "/a/../b/."),
    ("empty_name", "/a//b"),
    ("trailing_slash", "/a/"),
    ("unicode", "/\u{e9}\u{4e2d}\u{ffef}\u{d7ff}"),
    ("beyond_the_basic_plane", "/\u{1f600}"),
    ("control", "/a\u{1}\u{7f}\u{9f}"),
    ("nul", "/a\0"),
    ("private_use", "/\u{e000}\u{f8ff}"),
    ("no_slash", "a"),
];
