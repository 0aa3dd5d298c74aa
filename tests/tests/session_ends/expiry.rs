//! A wave of sessions whose clients are gone, all due within a tick: each ends in one txn, and everybody else is served meanwhile.

use crate::{Bystanders, Target, count, raw};
use client::{Connection, Operations};
use proto::request::CreateMode;
use std::time::{Duration, Instant};

/// Sources: 127.0.0.2 and on.
const SOURCES: u8 = 8;
/// Sessions that are surely made in a second, on a machine that has other things to do.
const MADE_PER_SECOND: usize = 10_000;
/// Where the ephemerals are.
const PARENT: &str = "/wave";

/// How often it is tried to see others served while a wave goes by, each time with more patience: a machine that has other things to do may
/// let the test itself stand still for so long. That a step is bounded at all is `engine/tests/sessions.rs`'s to say.
const ATTEMPTS: u32 = 5;

#[test]
fn a_wave_of_expiries_ends_every_session_once_and_others_are_served_meanwhile() {
    for shards in [1, 2] {
        let target = Target::start(|builder| builder.shards(shards));
        let mut own = target.connect();
        if own.exists(PARENT, false).unwrap().is_none() {
            own.create(PARENT, b"", CreateMode::Persistent).unwrap();
        }
        let served = (0..ATTEMPTS).any(|attempt| wave(&target, &mut own, count(), 1 << attempt));
        assert!(served, "nobody else was served while the sessions ended, {ATTEMPTS} times");
        if target.own.is_none() {
            return;
        }
    }
}

/// Lets `count` sessions end at one time. True if pings, reads and writes of others were seen to be answered in the middle of it.
fn wave(target: &Target, own: &mut Connection, count: usize, patience: u32) -> bool {
    let before = target.monitor("zk_global_sessions");
    let each = count / usize::from(SOURCES);
    let total = each * usize::from(SOURCES);
    let begun = Instant::now();
    let until = begun + patience * Duration::from_secs((2 + total / MADE_PER_SECOND) as u64);
    std::thread::scope(|scope| {
        for host in 2..2 + SOURCES {
            scope.spawn(move || raw::leave_sessions(target.address, host, each, until, PARENT));
        }
    });
    println!("FIGURE {}: {total} sessions made in {} ms", target.name(), begun.elapsed().as_millis());
    let owners = usize::try_from(own.all_children_number(PARENT).unwrap()).unwrap();
    let all_owners = usize::from(SOURCES) * each.div_ceil(raw::OWNER_EVERY);
    let bystanders = Bystanders::start(target);
    target.wait_for("zk_global_sessions", before + Bystanders::COUNT);
    let seen = bystanders.stop();
    assert_eq!(own.all_children_number(PARENT).unwrap(), 0, "ephemerals of {owners} are left");
    assert_eq!(target.monitor("zk_ephemerals_count"), 0);
    target.wait_for("zk_global_sessions", before);
    if seen.began().is_none_or(|began| began >= until) {
        // The first had ended before anybody looked on.
        return false;
    }
    assert_eq!(owners, all_owners, "an ephemeral went before its session's time");
    let others = seen.others();
    seen.tell(target.name(), &format!("the end of {total} sessions"), others.from, others.until);
    let longest = others.runs.iter().max().unwrap();
    println!("FIGURE {}: {} runs of expiries, the longest of {longest}", target.name(), others.runs.len());
    // The bystanders' own sessions begin and end before or after the writer's answers, or are counted with them.
    let (ended, exact) = (others.runs.iter().sum::<u64>(), u64::try_from(total).unwrap());
    assert!((exact..exact + 2 * Bystanders::COUNT).contains(&ended), "{ended} txns for {exact} sessions");
    others.runs.len() > 1 && seen.answered(others.from, others.until).iter().all(|(_, answers)| *answers > 0)
}
