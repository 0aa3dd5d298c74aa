//! Servers in the simulated world: right under all faults, the same for the same seed, and wrong where a bug is planted.

use ringkeeper_sim::cluster::{Bug, RunOptions, run};
use ringkeeper_sim::world::time::Micros;

const ALONE: RunOptions =
    RunOptions { servers: 1, observers: 0, clients: 4, faults_for: Micros::s(10), with_trace: false, bug: None };
const THREE: RunOptions = RunOptions { servers: 3, ..ALONE };

fn are_right(seeds: impl Iterator<Item = u64>, options: RunOptions) -> (u64, u64, u64) {
    let (mut replies, mut starts, mut leaders) = (0, 0, 0);
    for seed in seeds {
        let report = run(seed, options);
        if let Some(violation) = report.violations.first() {
            panic!("seed {seed}: {}\nreplay it: {}", violation.in_full(&report.history), options.replay(seed));
        }
        replies += report.replies;
        starts += report.starts;
        leaders += report.leaders;
    }
    (replies, starts, leaders)
}

// What is counted, since runs could be right for want of anything that could be wrong.

#[test]
fn one_server_alone_is_right() {
    let (replies, starts, _) = are_right(0..60, ALONE);
    assert!(replies > 60 * 100 && starts > 60 * 2, "{replies} replies, {starts} starts");
}

#[test]
fn three_servers_are_right() {
    let (replies, starts, leaders) = are_right(0..100, THREE);
    assert!(replies > 100 * 100 && starts > 100 * 5 && leaders > 100 * 2, "{replies} {starts} {leaders}");
}

#[test]
fn five_servers_with_an_observer_are_right() {
    let (replies, _, leaders) = are_right(1_000..1_030, RunOptions { servers: 5, observers: 1, ..THREE });
    assert!(replies > 30 * 100 && leaders > 30 * 2, "{replies} {leaders}");
}

// Some of these have hierarchical quorums.

#[test]
fn five_voters_are_right() {
    let (replies, starts, leaders) = are_right(0..10, RunOptions { servers: 5, ..THREE });
    assert!(replies > 10 * 100 && starts > 10 * 5 && leaders > 10 * 2, "{replies} {starts} {leaders}");
}

#[test]
fn seven_voters_are_right() {
    let (replies, starts, leaders) = are_right(0..10, RunOptions { servers: 7, ..THREE });
    assert!(replies > 10 * 100 && starts > 10 * 7 && leaders > 10 * 2, "{replies} {starts} {leaders}");
}

/// Seeds that have found something once: a line each, `servers observers clients seconds seed what`.
#[test]
fn what_was_found_once_stays_mended() {
    for line in include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let mut words = line.split_whitespace().map_while(|word| word.parse::<u32>().ok());
        let mut next = || words.next().unwrap_or_else(|| panic!("not a seed: {line}"));
        let (servers, observers, clients, seconds) = (next(), next(), next(), next());
        let options = RunOptions { servers, observers, clients, faults_for: Micros::s(seconds.into()), ..ALONE };
        let seed = u64::from(next());
        are_right(seed..=seed, options);
    }
}

#[test]
fn a_seed_run_twice_gives_the_same_trace_and_history_and_another_seed_another_one() {
    for (seed, options) in (100..105).map(|seed| (seed, ALONE)).chain((100..110).map(|seed| (seed, THREE))) {
        let (one, other) = (run(seed, options), run(seed, options));
        assert_eq!(one.trace_hash, other.trace_hash, "seed {seed}");
        assert_eq!(one.history, other.history, "seed {seed}");
        assert_ne!(one.trace_hash, run(seed + 1_000, options).trace_hash);
    }
}

/// By which checkers a bug is found.
fn found(bug: Bug, options: RunOptions) -> Vec<&'static str> {
    for seed in 0..200 {
        let report = run(seed, RunOptions { bug: Some(bug), ..options });
        if !report.violations.is_empty() {
            return report.violations.iter().map(|violation| violation.checker).collect();
        }
    }
    panic!("{bug:?} is not found in 200 seeds");
}

#[test]
fn what_is_acknowledged_before_it_is_durable_is_found() {
    let by = found(Bug::AckBeforeDurable, ALONE);
    assert!(by.contains(&"cluster"), "{by:?}");
}

#[test]
fn replies_that_overtake_others_are_found() {
    found(Bug::RepliesOvertake, THREE);
}

#[test]
fn lost_events_are_found() {
    let by = found(Bug::EventsLost, THREE);
    assert!(by.contains(&"watches::events"), "{by:?}");
}

#[test]
fn a_cut_that_was_not_done_is_found() {
    found(Bug::TruncSkipped, THREE);
}

#[test]
fn an_own_ack_before_the_own_log_is_durable_is_found() {
    found(Bug::LoopOwnAckEarly, THREE);
}

#[test]
fn the_vote_of_a_server_that_has_lost_its_log_is_found() {
    found(Bug::VoteWithLostLog, THREE);
}

#[test]
fn a_tree_that_was_not_cut_with_its_log_is_found() {
    found(Bug::LoopTreeNotCut, THREE);
}

#[test]
fn a_promise_that_was_forgotten_is_found() {
    found(Bug::PromiseForgotten, THREE);
}

#[test]
fn a_failing_seed_names_the_command_that_replays_it() {
    let options = RunOptions { bug: Some(Bug::HeaderAhead), ..THREE };
    let told = "cargo run --profile ci -p ringkeeper-sim -- run --servers 3 --observers 0 --seed 7 --clients 4 --seconds 10 --bug header-ahead";
    assert_eq!(options.replay(7), told);
}

#[test]
fn headers_that_say_too_much_are_found() {
    found(Bug::HeaderAhead, THREE);
}
