//! The harness bites: with one answer of RingKeeper altered on its way, each planted difference is found, and without one none is.
//! Compares RingKeeper with itself, so that no Java is needed.

use ringkeeper_differential::campaign::Pair;
use ringkeeper_differential::generate::{self, Options};
use ringkeeper_differential::proxy::{Plant, Proxy};
use ringkeeper_differential::random::Random;
use ringkeeper_differential::servers::Kind;
use std::path::PathBuf;

/// Sequences within which a difference must have been planted.
const SEQUENCES_MAX: usize = 60;

/// The binary beside this test: target/<profile>/deps/<test> → target/<profile>/ringkeeper.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RINGKEEPER_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("ringkeeper");
    assert!(path.exists(), "{} is not built: cargo build --profile ci -p ringkeeper", path.display());
    path
}

fn pair() -> Pair {
    let ringkeeper = Kind::RingKeeper(binary(), 1);
    Pair::start(ringkeeper.clone(), ringkeeper).unwrap()
}

#[test]
fn each_planted_difference_is_found() {
    let mut pair = pair();
    let mut random = Random::new(2026);
    for plant in Plant::ALL {
        let proxy = Proxy::start(pair.candidate(), plant).unwrap();
        pair.through(proxy.address());
        for number in 0.. {
            assert!(number < SEQUENCES_MAX, "{plant:?} was never planted");
            let found = pair.run(&generate::sequence(random.next(), Options::default())).unwrap();
            assert_eq!(found.is_some(), proxy.has_altered(), "{plant:?}: {found:?}");
            if let Some(difference) = found {
                println!("{plant:?}: {} in sequence {number}", difference.field);
                break;
            }
        }
    }
}

#[test]
fn a_server_does_not_differ_from_itself() {
    let mut pair = pair();
    let proxy = Proxy::start(pair.candidate(), Plant::Nothing).unwrap();
    pair.through(proxy.address());
    let mut random = Random::new(7);
    for _ in 0..10 {
        assert_eq!(pair.run(&generate::sequence(random.next(), Options::default())).unwrap(), None);
    }
    // What is compared are not only refusals.
    let created = [("Create", "0"), ("Create2", "0"), ("CreateTtl", "0"), ("CreateContainer", "0")];
    let done = [
        ("Delete", "0"),
        ("SetData", "0"),
        ("SetAcl", "0"),
        ("Multi", "0"),
        ("MultiRead", "0"),
        ("RemoveWatches", "0"),
    ];
    let events = [("event", "type 1"), ("event", "type 2"), ("event", "type 3"), ("event", "type 4")];
    let refused = [("GetData", "-102"), ("GetData", "-101"), ("SetData", "-103"), ("Multi", "in it -101")];
    // Nor do all multis fail with their first operation, nor all removals for want of a watch.
    let multis = ["fails at 1 of 1", "fails at 2 of 2", "fails at 3 of 3", "fails at 4 of 5", "fails at 5 of 5"];
    let multis = multis.map(|outcome| ("Multi", outcome));
    let removed = ["of type 1 0", "of type 2 0", "of type 3 0", "of type 4 0", "of type 5 0"];
    let removed = removed.map(|outcome| ("RemoveWatches", outcome));
    let others = [
        ("WhoAmI", "3 identities"),
        ("CloseSession", "behind none"),
        ("CloseSession", "behind others"),
        ("event", "told by setWatches"),
        ("handshake", "with a session"),
    ];
    let all = created.into_iter().chain(done).chain(events).chain(refused).chain(multis).chain(removed).chain(others);
    for (kind, outcome) in all {
        assert!(pair.coverage.count(kind, outcome) > 0, "no {kind} with {outcome}:\n{}", pair.coverage);
    }
}
