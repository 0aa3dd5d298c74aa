//! A server that stood still: time in which it could hear nobody is not held against anybody, and those who had gone before still end.
//!
//! The stalls are of many lengths, shorter and longer than the timeouts, since what is at risk is different: after a short one words of clients
//! lie in the sockets and must be read before anybody expires; after a long one clients have given up and must find the time to come back.

use crate::{DEADLINE, SHORT_MS, TICK_MS, Target, is_whole};
use client::{ConnectOptions, Connection, Operations};
use proto::request::{CreateMode, Request};
use ringkeeper_tests::signal;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Sessions that ping, three times a timeout.
const STAYING: usize = 30;
/// Sessions that say nothing for up to [`LATE`], and then a word while the server stands still.
const LATE_COUNT: usize = 40;
/// Sessions whose connections are cut while it stands still.
const KNOCKING: usize = 10;
/// Sessions whose connections were cut before.
const GONE: usize = 10;
/// Where the ephemerals are.
const PARENT: &str = "/stall";
/// The timeout.
const TIMEOUT: Duration = Duration::from_millis(SHORT_MS.unsigned_abs() as u64);
/// How long the oldest of those who are late have said nothing when the stall begins.
const LATE: Duration = TIMEOUT.saturating_sub(Duration::from_millis(300));
/// How often others ping.
const PERIOD: Duration = Duration::from_millis(SHORT_MS.unsigned_abs() as u64 / 3);

#[test]
fn a_stall_of_any_length_expires_nobody_who_was_there_and_later_those_who_were_not() {
    let target = Target::start(|builder| builder.shards(2));
    let mut witness = target.connect();
    if witness.exists(PARENT, false).unwrap().is_none() {
        witness.create(PARENT, b"", CreateMode::Persistent).unwrap();
    }
    // In tenths of the server's tick: timeouts are two ticks.
    let lengths: &[u32] = if is_whole() {
        &[2, 5, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 25, 35, 60]
    } else {
        &[8, 12, 14, 16, 35]
    };
    for tenths in lengths {
        stall(&target, &mut witness, tenths * TICK_MS.unsigned_abs() / 10);
    }
}

/// A session with an ephemeral of its own.
struct Owner {
    connection: Connection,
    path: String,
    /// When it last said something, or a little before.
    spoke: Instant,
}

impl Owner {
    fn new(target: &Target, kind: &str, number: usize, stall_ms: u32) -> Owner {
        let mut connection = target.connect_for(SHORT_MS);
        let path = format!("{PARENT}/{kind}-{stall_ms}-{number}");
        let spoke = Instant::now();
        connection.create(&path, b"", CreateMode::Ephemeral).expect("its session is new");
        Owner { connection, path, spoke }
    }

    /// Says a word without waiting for the answer; false if that is too late, by the owner's own fault.
    fn speak(&mut self) -> bool {
        let in_time = self.spoke.elapsed() < TIMEOUT - Duration::from_millis(20);
        self.spoke = Instant::now();
        // A server that has closed the connection shows at the next answer.
        let _closed = self.connection.send(&Request::Ping);
        in_time
    }

    /// Its session lives.
    fn must_live(&mut self, what: &str) {
        // Behind the answers to its pings, which nobody has taken.
        let own = self.connection.ephemerals("/").unwrap_or_else(|e| panic!("{} {what}: {e}", self.path));
        assert_eq!(own, [&*self.path], "{what}");
        self.spoke = Instant::now();
    }

    /// Cuts its connection and begins another, which the kernel accepts for the server.
    fn knock(self, target: &Target) -> Knocking {
        let _closed_already = self.connection.stream().shutdown(std::net::Shutdown::Both);
        let options = ConnectOptions {
            timeout_ms: SHORT_MS,
            deadline: DEADLINE,
            ..ConnectOptions::renewing(self.connection.session().expect("it had a session"))
        };
        let connection = Connection::open(target.address, &options).expect("the kernel accepts");
        Knocking { options, connection, path: self.path }
    }
}

/// An owner that comes back.
struct Knocking {
    options: ConnectOptions,
    connection: Connection,
    path: String,
}

impl Knocking {
    fn come_in(self) -> Owner {
        let Knocking { options, mut connection, path } = self;
        let said = connection.handshake(&options).expect("an answer");
        assert_ne!(said.session_id.0, 0, "{path} knocked while the server stood still, and has expired");
        Owner { connection, path, spoke: Instant::now() }
    }
}

fn stall(target: &Target, witness: &mut Connection, stall_ms: u32) {
    let owners = |kind: &str, count: usize| -> Vec<Owner> {
        (0..count).map(|number| Owner::new(target, kind, number, stall_ms)).collect()
    };
    let mut staying = owners("staying", STAYING);
    let gone = owners("gone", GONE);
    gone.into_iter().for_each(|owner| owner.connection.abort());
    // One after the other, so that whatever the server's ticks are, some are due soon.
    let mut late = Vec::new();
    for number in 0..LATE_COUNT {
        ping_until(&mut staying, Instant::now() + LATE / u32::try_from(LATE_COUNT).unwrap());
        late.push(Owner::new(target, "late", number, stall_ms));
    }
    let knocking = owners("knocking", KNOCKING);
    staying.iter_mut().for_each(|owner| {
        owner.speak();
    });
    let begun = Instant::now();
    signal(target.pid, Signal::STOP);
    let knocking: Vec<Knocking> = knocking.into_iter().map(|owner| owner.knock(target)).collect();
    // On a machine that let the test itself stand still some may have been late indeed.
    late.retain_mut(Owner::speak);
    ping_until(&mut staying, begun + Duration::from_millis(stall_ms.into()));
    let back: Vec<_> = std::thread::scope(|scope| {
        let knocking: Vec<_> = knocking.into_iter().map(|owner| scope.spawn(move || owner.come_in())).collect();
        signal(target.pid, Signal::CONT);
        knocking.into_iter().map(|knocking| knocking.join().unwrap()).collect()
    });
    let what = format!("expired in a stall of {stall_ms} ms, though its words were there");
    let there = late.len();
    let mut owners: Vec<Owner> = staying.into_iter().chain(late).chain(back).collect();
    owners.iter_mut().for_each(|owner| owner.must_live(&what));
    let waited = see_off_the_gone(witness, &mut owners, stall_ms);
    owners.iter_mut().for_each(|owner| owner.must_live(&what));
    println!(
        "FIGURE {}: a stall of {stall_ms} ms: {there} of {LATE_COUNT} in time, those who had gone ended in {} ms",
        target.name(),
        waited.as_millis()
    );
    owners.into_iter().for_each(|owner| owner.connection.close().expect("closed"));
}

/// Waits until those who had gone before the stall are gone for good, while the others go on. How long that took.
fn see_off_the_gone(witness: &mut Connection, owners: &mut [Owner], stall_ms: u32) -> Duration {
    let gone = format!("gone-{stall_ms}-");
    let waiting = Instant::now();
    while witness.children(PARENT, false).unwrap().iter().any(|name| name.starts_with(&gone)) {
        assert!(waiting.elapsed() < DEADLINE, "after a stall of {stall_ms} ms they never expire");
        ping_until(owners, Instant::now() + Duration::from_millis(50));
    }
    waiting.elapsed()
}

/// Pings, each owner at its time, until then.
fn ping_until(owners: &mut [Owner], until: Instant) {
    loop {
        for owner in owners.iter_mut().filter(|owner| owner.spoke.elapsed() >= PERIOD) {
            owner.speak();
        }
        let now = Instant::now();
        if now >= until {
            return;
        }
        std::thread::sleep(Duration::from_millis(5).min(until - now));
    }
}
