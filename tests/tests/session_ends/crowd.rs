//! A crowd behind one shard, more than it has receive buffers: after a stall all their words lie in the sockets, and no wait brings in all of
//! them at once. Nobody may expire whose word is still to be read.

use crate::{DEADLINE, TICK_MS, Target};
use client::{ConnectOptions, Connection, Operations};
use proto::request::Request;
use ringkeeper_tests::{signal, stand_still};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Far more than the buffers that a shard lends the kernel (256).
const CROWD: usize = 1_000;
/// The timeout: two ticks of [`CROWD_TICK_MS`].
const TIMEOUT: Duration = Duration::from_millis(2 * CROWD_TICK_MS);
/// Twice as long as elsewhere: a thousand words must be sent well within the timeout.
const CROWD_TICK_MS: u64 = 2 * TICK_MS.unsigned_abs() as u64;
/// How long they say nothing before the stall.
const SILENCE: Duration = Duration::from_millis(CROWD_TICK_MS * 17 / 10);
/// After it they are silent for 2.65 ticks. They expire, if nobody reads their words, 2 to 3 ticks after the last one that was read, when a
/// tick of the server's begins. With the tick before it the stall is shorter than the two ticks that the server gives back anyway.
const STALL: Duration = Duration::from_millis(CROWD_TICK_MS * 95 / 100);
/// So of two stalls that begin half a tick apart, one at least goes past the expiry.
const STALLS: u32 = 2;
/// A test that was itself held up for so long that a client had been silent for its timeout says nothing; it tries again.
const ROUNDS_MAX: u32 = 10;

#[test]
fn a_stall_expires_nobody_of_a_crowd_whose_words_lie_in_the_sockets() {
    let begun = Instant::now();
    let target = Target::start(|builder| {
        builder.shards(1).set("tickTime", &CROWD_TICK_MS.to_string()).set("maxClientCnxns", "0")
    });
    let mut told = 0;
    for round in 0..ROUNDS_MAX {
        // Where in the server's tick it begins is not known, but the next one begins half a tick on.
        std::thread::sleep(until_phase(begun, round));
        told += u32::from(stall(&target));
        if told == STALLS {
            return;
        }
    }
    panic!("this machine is too slow for this test: in {ROUNDS_MAX} rounds {told} words came in time");
}

/// How long until as many half ticks as there were rounds lie behind a whole one.
fn until_phase(begun: Instant, round: u32) -> Duration {
    let tick = Duration::from_millis(CROWD_TICK_MS);
    let wanted = tick / 2 * (round % 2);
    let now = Duration::from_millis(u64::try_from(begun.elapsed().as_millis()).expect("seconds") % CROWD_TICK_MS);
    if wanted >= now { wanted - now } else { wanted + tick - now }
}

/// One stall. False if the test was too slow to say anything.
fn stall(target: &Target) -> bool {
    let options = ConnectOptions {
        timeout_ms: i32::try_from(TIMEOUT.as_millis()).expect("two seconds"),
        deadline: DEADLINE,
        ..ConnectOptions::default()
    };
    let mut crowd: Vec<Connection> =
        (0..CROWD).map(|_| Connection::connect(target.address, &options).expect("a new session")).collect();
    let Some(spoke) = all_say_something(&mut crowd) else { return false };
    // Then a word that nobody reads for so long that the timeout is over.
    std::thread::sleep((spoke + SILENCE).saturating_duration_since(Instant::now()));
    stand_still(target.pid);
    let stopped = Instant::now();
    crowd.iter_mut().for_each(|client| {
        client.send(&Request::Ping).expect("the socket takes it");
    });
    let said = Instant::now();
    std::thread::sleep((stopped + STALL).saturating_duration_since(Instant::now()));
    signal(target.pid, Signal::CONT);
    if said > spoke + TIMEOUT * 95 / 100 {
        return false;
    }
    let lives = |client: &mut Connection| client.recv_reply().is_ok() && client.exists("/", false).is_ok();
    let lost = crowd.iter_mut().filter_map(|client| (!lives(client)).then_some(())).count();
    assert_eq!(lost, 0, "of {CROWD} sessions so many ended, though all had said something in time");
    true
}

/// Everybody asks for something and is answered. `None` if that took so long that the first may be gone; else when the first had asked.
fn all_say_something(crowd: &mut [Connection]) -> Option<Instant> {
    let begun = Instant::now();
    for client in &mut *crowd {
        client.exists("/", false).ok()?;
    }
    (begun.elapsed() < TIMEOUT / 2).then_some(begun)
}
