//! A wave of sessions whose clients are gone, all due within a tick: each ends in one txn, and everybody else is served meanwhile.

use crate::{Bystanders, Target, count, raw};
use client::Operations;
use proto::request::CreateMode;
use std::time::{Duration, Instant};

/// Sources: 127.0.0.2 and on.
const SOURCES: u8 = 8;
/// Sessions that are surely made in a second, on a machine that has other things to do.
const MADE_PER_SECOND: usize = 10_000;
/// Where the ephemerals are.
const PARENT: &str = "/wave";

#[test]
fn a_wave_of_expiries_ends_every_session_once_and_others_are_served_meanwhile() {
    for shards in [1, 2] {
        let target = Target::start(|builder| builder.shards(shards));
        wave(&target, count());
        if target.own.is_none() {
            return;
        }
    }
}

/// Makes the sessions, longer-lived each time until all are there before the first is due.
fn make(target: &Target, each: usize) -> usize {
    let before = target.monitor("zk_global_sessions");
    let total = each * usize::from(SOURCES);
    for patience in [1, 2, 4, 8, 16] {
        let begun = Instant::now();
        let until = begun + patience * Duration::from_secs((2 + total / MADE_PER_SECOND) as u64);
        std::thread::scope(|scope| {
            for host in 2..2 + SOURCES {
                scope.spawn(move || raw::leave_sessions(target.address, host, each, until, PARENT));
            }
        });
        println!("FIGURE {}: {total} sessions made in {} ms", target.name(), begun.elapsed().as_millis());
        if until.saturating_duration_since(Instant::now()) > Duration::from_secs(1) {
            return total;
        }
        target.wait_for("zk_global_sessions", before);
    }
    panic!("the server does not make {total} sessions in time");
}

fn wave(target: &Target, count: usize) {
    let mut own = target.connect();
    if own.exists(PARENT, false).unwrap().is_none() {
        own.create(PARENT, b"", CreateMode::Persistent).unwrap();
    }
    let before = target.monitor("zk_global_sessions");
    let total = make(target, count / usize::from(SOURCES));
    let owners = own.all_children_number(PARENT).unwrap();
    assert_eq!(
        usize::try_from(owners).unwrap(),
        usize::from(SOURCES) * (total / usize::from(SOURCES)).div_ceil(raw::OWNER_EVERY)
    );
    let bystanders = Bystanders::start(target);
    target.wait_for("zk_global_sessions", before + Bystanders::COUNT);
    let seen = bystanders.stop();
    assert_eq!(own.all_children_number(PARENT).unwrap(), 0, "ephemerals of {owners} are left");
    assert_eq!(target.monitor("zk_ephemerals_count"), 0);
    target.wait_for("zk_global_sessions", before);
    let others = seen.others();
    seen.tell(target.name(), &format!("the end of {total} sessions"), others.from, others.until);
    let longest = others.runs.iter().max().unwrap();
    println!("FIGURE {}: {} runs of expiries, the longest of {longest}", target.name(), others.runs.len());
    // The bystanders' own sessions begin and end before or after the writer's answers, or are counted with them.
    let (ended, exact) = (others.runs.iter().sum::<u64>(), u64::try_from(total).unwrap());
    assert!((exact..exact + 2 * Bystanders::COUNT).contains(&ended), "{ended} txns for {exact} sessions");
    for (name, answers) in seen.answered(others.from, others.until) {
        assert!(answers > 0, "no {name} were answered while the sessions ended");
    }
    assert!(others.runs.len() > 1, "no write was answered while the sessions ended");
}
