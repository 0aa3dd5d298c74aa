//! A server that stood still: time in which it could hear nobody is not held against anybody, and those who had gone before still end.
//!
//! The stalls are of many lengths, shorter and longer than the timeouts, since what is at risk is different: after a short one words of clients
//! lie in the sockets and must be read before anybody expires; after a long one clients have given up and must find the time to come back.
//!
//! A machine with other things to do may hold up the test itself for as long as a timeout. Every owner remembers whether it was ever silent
//! for so long by its own fault ([`Owner::excused`]); nothing is asserted of it then, and a stall that too few have gone through is made again.

use crate::{DEADLINE, SHORT_MS, TICK_MS, Target, is_whole};
use client::{ConnectOptions, Connection, Operations};
use proto::SessionId;
use proto::request::{CreateMode, Request};
use ringkeeper_tests::{signal, stand_still};
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
/// Who was silent for so long by its own fault may expire: the timeout, less what clocks and the way to the server take.
const SILENCE_MAX: Duration = TIMEOUT.saturating_sub(Duration::from_millis(20));
/// How long the oldest of those who are late have said nothing when the stall begins.
const LATE: Duration = TIMEOUT.saturating_sub(Duration::from_millis(300));
/// How often others ping.
const PERIOD: Duration = Duration::from_millis(SHORT_MS.unsigned_abs() as u64 / 3);
/// How often a stall is made again because the test itself was held up. A part of each kind of owners must have been in time.
const ATTEMPTS: u32 = 10;
const PART: usize = 4;

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
        let ms = tenths * TICK_MS.unsigned_abs() / 10;
        let shown = (0..ATTEMPTS).any(|attempt| stall(&target, &mut witness, &Round { ms, attempt }));
        assert!(shown, "{ATTEMPTS} times this test was itself held up for longer than a timeout");
    }
}

/// Which stall this is.
struct Round {
    ms: u32,
    attempt: u32,
}

impl Round {
    /// What the names of one kind of owners begin with.
    fn prefix(&self, kind: &str) -> String {
        format!("{kind}-{}-{}-", self.ms, self.attempt)
    }

    fn length(&self) -> Duration {
        Duration::from_millis(self.ms.into())
    }

    /// Is it promised to who says nothing in it, and comes back at once, that it lives? A stall that is about as long as the timeout
    /// leaves it no time: it lives by the ticks' rounding, or not.
    fn is_survived_in_silence(&self) -> bool {
        self.length() + Duration::from_millis(200) <= TIMEOUT || self.length() > GIVEN_BACK_MIN
    }
}

/// Time without a look at the sessions is given back to all from two ticks on (`engine/src/session.rs`); with what signals take.
const GIVEN_BACK_MIN: Duration = Duration::from_millis(2 * TICK_MS.unsigned_abs() as u64 + 20);

/// When the server surely stood still.
struct Stood {
    from: Instant,
    until: Instant,
}

impl Stood {
    /// From when on the server may count the silence of who spoke last at that time.
    fn counted_from(&self, spoke: Instant) -> Instant {
        if spoke >= self.from {
            // It lay in the socket.
            spoke.max(self.until)
        } else if self.until - self.from > GIVEN_BACK_MIN {
            spoke + (self.until - self.from)
        } else {
            spoke
        }
    }
}

/// A session with an ephemeral of its own.
struct Owner {
    connection: Connection,
    path: String,
    /// When it last said something that the server could hear, or a little before.
    spoke: Instant,
    /// It was once silent for [`SILENCE_MAX`] by the test's own fault: it may have expired.
    excused: bool,
}

impl Owner {
    fn new(target: &Target, kind: &str, number: usize, round: &Round) -> Owner {
        let path = format!("{PARENT}/{}{number}", round.prefix(kind));
        let begun = Instant::now();
        loop {
            let connecting = Instant::now();
            let mut connection = target.connect_for(SHORT_MS);
            let spoke = Instant::now();
            match connection.create(&path, b"", CreateMode::Ephemeral) {
                Ok(_) => return Owner { connection, path, spoke, excused: false },
                // Its session is as old as the connection.
                Err(e) => assert!(connecting.elapsed() >= SILENCE_MAX && begun.elapsed() < DEADLINE, "{path}: {e}"),
            }
        }
    }

    /// Everything that it began to say at `began` has been said by now.
    fn said(&mut self, began: Instant) {
        self.excused |= self.spoke.elapsed() >= SILENCE_MAX;
        self.spoke = began;
    }

    /// Says a word without waiting for the answer.
    fn speak(&mut self) {
        let began = Instant::now();
        // A server that has closed the connection shows at the next answer.
        let _closed = self.connection.send(&Request::Ping);
        self.said(began);
    }

    /// Its session lives.
    fn must_live(&mut self, what: &str) {
        // Of one that may have expired an earlier question may still be open.
        if self.excused {
            return;
        }
        let began = Instant::now();
        // Behind the answers to its pings, which nobody has taken.
        let own = self.connection.ephemerals("/");
        self.said(began);
        if !self.excused {
            let own = own.unwrap_or_else(|e| panic!("{} {what}: {e}", self.path));
            assert_eq!(own, [&*self.path], "{what}");
        }
    }

    /// Cuts its connection and begins another, which the kernel accepts for the server.
    fn knock(mut self, target: &Target) -> Knocking {
        let _closed_already = self.connection.stream().shutdown(std::net::Shutdown::Both);
        let options = ConnectOptions {
            timeout_ms: SHORT_MS,
            deadline: DEADLINE,
            ..ConnectOptions::renewing(self.connection.session().expect("it had a session"))
        };
        self.connection = Connection::open(target.address, &options).expect("the kernel accepts");
        Knocking { options, owner: self }
    }
}

/// An owner that comes back.
struct Knocking {
    options: ConnectOptions,
    owner: Owner,
}

impl Knocking {
    fn come_in(mut self) -> Back {
        let asked = Instant::now();
        let session = self.owner.connection.handshake(&self.options).expect("an answer").session_id;
        Back { owner: self.owner, session, asked, answered: Instant::now() }
    }
}

/// An owner that was told whether its session lives.
struct Back {
    owner: Owner,
    session: SessionId,
    asked: Instant,
    answered: Instant,
}

impl Back {
    /// It was let in, or too late by its own fault.
    fn must_be_in(self, stood: &Stood) -> Owner {
        let mut owner = self.owner;
        owner.excused |= self.answered.duration_since(stood.counted_from(owner.spoke)) >= SILENCE_MAX;
        owner.spoke = self.asked;
        let is_in = self.session != SessionId(0);
        assert!(is_in || owner.excused, "{} knocked while the server stood still, and has expired", owner.path);
        owner
    }
}

/// Lets the server stand still. True if enough owners of each kind were not held up by the test.
fn stall(target: &Target, witness: &mut Connection, round: &Round) -> bool {
    let owners = |kind: &str, count: usize| -> Vec<Owner> {
        (0..count).map(|number| Owner::new(target, kind, number, round)).collect()
    };
    let mut staying = owners("staying", STAYING);
    let gone = owners("gone", GONE);
    gone.into_iter().for_each(|owner| owner.connection.abort());
    // One after the other, so that whatever the server's ticks are, some are due soon.
    let mut late = Vec::new();
    for number in 0..LATE_COUNT {
        ping_until(&mut staying, Instant::now() + LATE / u32::try_from(LATE_COUNT).unwrap());
        late.push(Owner::new(target, "late", number, round));
    }
    let knocking = owners("knocking", KNOCKING);
    staying.iter_mut().for_each(Owner::speak);
    let begun = Instant::now();
    stand_still(target.pid);
    let from = Instant::now();
    let knocking: Vec<Knocking> = knocking.into_iter().map(|owner| owner.knock(target)).collect();
    late.iter_mut().for_each(Owner::speak);
    ping_until(&mut staying, begun + round.length());
    let (stood, back) = std::thread::scope(|scope| {
        let knocking: Vec<_> = knocking.into_iter().map(|owner| scope.spawn(move || owner.come_in())).collect();
        let stood = Stood { from, until: Instant::now() };
        signal(target.pid, Signal::CONT);
        (stood, knocking.into_iter().map(|knocking| knocking.join().unwrap()).collect::<Vec<_>>())
    });
    for owner in staying.iter_mut().chain(&mut late) {
        owner.spoke = stood.counted_from(owner.spoke);
    }
    let mut back: Vec<Owner> = back.into_iter().map(|back| back.must_be_in(&stood)).collect();
    let what = format!("expired in a stall of {} ms, though its words were there", round.ms);
    staying.iter_mut().chain(&mut late).chain(&mut back).for_each(|owner| owner.must_live(&what));
    let there = [&staying, &late, &back].map(|kind| kind.iter().filter(|owner| !owner.excused).count());
    let mut owners: Vec<Owner> = staying.into_iter().chain(late).chain(back).collect();
    let waited = see_off_the_gone(witness, &mut owners, round);
    owners.iter_mut().for_each(|owner| owner.must_live(&what));
    println!(
        "FIGURE {}: a stall of {} ms: {there:?} of {:?} in time, those who had gone ended in {} ms",
        target.name(),
        round.ms,
        [STAYING, LATE_COUNT, KNOCKING],
        waited.as_millis()
    );
    for owner in owners {
        // Of one that may have expired, answers may never come.
        if owner.excused {
            owner.connection.abort();
            continue;
        }
        let closed = owner.connection.close();
        assert!(closed.is_ok() || owner.spoke.elapsed() >= SILENCE_MAX, "{what}: {closed:?}");
    }
    let knocking_min = if round.is_survived_in_silence() { KNOCKING / PART } else { 0 };
    let wanted = [STAYING / PART, LATE_COUNT / PART, knocking_min];
    there.iter().zip(wanted).all(|(there, wanted)| *there >= wanted)
}

/// Waits until those who had gone before the stall are gone for good, while the others go on. How long that took.
fn see_off_the_gone(witness: &mut Connection, owners: &mut [Owner], round: &Round) -> Duration {
    let gone = round.prefix("gone");
    let waiting = Instant::now();
    while witness.children(PARENT, false).unwrap().iter().any(|name| name.starts_with(&gone)) {
        assert!(waiting.elapsed() < DEADLINE, "after a stall of {} ms they never expire", round.ms);
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
