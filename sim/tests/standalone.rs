//! A standalone server in the simulated world: right under all faults, the same for the same seed, and wrong where a bug is planted.

use ringkeeper_sim::standalone::{Bug, RunOptions, run};
use ringkeeper_sim::world::time::Micros;

const SHORT: RunOptions = RunOptions { clients: 4, faults_for: Micros::s(10), with_trace: false, bug: None };

#[test]
fn runs_of_many_seeds_are_right() {
    let (mut replies, mut starts) = (0, 0);
    for seed in 0..60 {
        let report = run(seed, SHORT);
        if let Some(violation) = report.violations.first() {
            panic!("seed {seed}: {}", violation.in_full(&report.history));
        }
        replies += report.replies;
        starts += report.starts;
    }
    // Else they would be right for want of anything that could be wrong.
    assert!(replies > 60 * 100 && starts > 60 * 2, "{replies} replies, {starts} starts");
}

#[test]
fn a_seed_run_twice_gives_the_same_trace_and_history_and_another_seed_another_one() {
    for seed in 100..105 {
        let (one, other) = (run(seed, SHORT), run(seed, SHORT));
        assert_eq!(one.trace_hash, other.trace_hash, "seed {seed}");
        assert_eq!(one.history, other.history, "seed {seed}");
        assert_ne!(one.trace_hash, run(seed + 1_000, SHORT).trace_hash);
    }
}

/// In how many seeds, from the first on, the bug is found; and by which checkers.
fn found(bug: Bug) -> (u64, Vec<&'static str>) {
    for seed in 0..200 {
        let report = run(seed, RunOptions { bug: Some(bug), ..SHORT });
        if !report.violations.is_empty() {
            return (seed + 1, report.violations.iter().map(|violation| violation.checker).collect());
        }
    }
    panic!("{bug:?} is not found in 200 seeds");
}

#[test]
fn what_is_acknowledged_before_it_is_durable_is_found() {
    let (_, by) = found(Bug::AckBeforeDurable);
    assert!(by.contains(&"writes::none_lost"), "{by:?}");
}

#[test]
fn replies_that_overtake_others_are_found() {
    found(Bug::RepliesOvertake);
}

#[test]
fn lost_events_are_found() {
    let (_, by) = found(Bug::EventsLost);
    assert!(by.contains(&"watches::events"), "{by:?}");
}

#[test]
fn headers_that_say_too_much_are_found() {
    found(Bug::HeaderAhead);
}
