//! A server that stood still: time in which it could hear nobody is not held against anybody, and those who had gone before still end.
//!
//! The stalls are of many lengths, shorter and longer than the timeouts, since what is at risk is different: after a short one the clients'
//! pings lie in the sockets and must be read before anybody expires; after a long one clients have given up and must find the time to
//! come back.

use crate::{DEADLINE, SHORT_MS, TICK_MS, Target};
use client::{ConnectOptions, Connection, Operations};
use proto::request::{CreateMode, Request};
use ringkeeper_tests::{Core, signal};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Sessions that are connected.
const STAYING: usize = 60;
/// Sessions whose connections are cut while it stands still.
const KNOCKING: usize = 10;
/// Sessions whose connections were cut before.
const GONE: usize = 10;
/// Where the ephemerals are.
const PARENT: &str = "/stall";

#[test]
fn a_stall_of_any_length_expires_nobody_who_was_there_and_later_those_who_were_not() {
    for core in Core::BOTH {
        let target = Target::start(|builder| builder.core(core).shards(2));
        let mut witness = target.connect();
        if witness.exists(PARENT, false).unwrap().is_none() {
            witness.create(PARENT, b"", CreateMode::Persistent).unwrap();
        }
        // In ticks of the server, tenths of them: timeouts are two ticks.
        for tenths in [4, 8, 11, 14, 17, 20, 24, 35, 60] {
            stall(&target, &mut witness, tenths * TICK_MS.unsigned_abs() / 10);
        }
        if target.own.is_none() {
            return;
        }
    }
}

/// A session that pings, and when it does next.
struct Staying {
    connection: Connection,
    next_ping: Instant,
}

fn stall(target: &Target, witness: &mut Connection, stall_ms: u32) {
    let session = |kind: &str, number: usize| {
        let mut connection = target.connect_for(SHORT_MS);
        let path = format!("{PARENT}/{kind}-{stall_ms}-{number}");
        connection.create(&path, b"", CreateMode::Ephemeral).unwrap();
        connection
    };
    let period = Duration::from_millis(u64::from(SHORT_MS.unsigned_abs()) / 3);
    // Spread over a period, so that each stall finds some just before their next ping.
    let now = Instant::now();
    let mut staying: Vec<Staying> = (0..STAYING)
        .map(|number| Staying {
            connection: session("staying", number),
            next_ping: now + period * u32::try_from(number).unwrap() / u32::try_from(STAYING).unwrap(),
        })
        .collect();
    let knocking: Vec<Connection> = (0..KNOCKING).map(|number| session("knocking", number)).collect();
    ping_until(&mut staying, period, Instant::now() + period);
    let gone: Vec<Connection> = (0..GONE).map(|number| session("gone", number)).collect();
    gone.into_iter().for_each(Connection::abort);
    // Those who knock are heard of at the last moment: they have their whole timeout to come back.
    let mut knocking = knocking;
    knocking.iter_mut().for_each(|owner| owner.ping().unwrap());
    let begun = Instant::now();
    signal(target.pid, Signal::STOP);
    let knocks: Vec<(ConnectOptions, Connection)> = knocking.iter().map(|owner| knock(target, owner)).collect();
    ping_until(&mut staying, period, begun + Duration::from_millis(stall_ms.into()));
    signal(target.pid, Signal::CONT);
    let back: Vec<Connection> = std::thread::scope(|scope| {
        let knocks = knocks.into_iter().map(|(options, mut connection)| {
            scope.spawn(move || {
                let said = connection.handshake(&options).unwrap();
                assert_ne!(said.session_id.0, 0, "a session that knocked during {stall_ms} ms has expired");
                connection
            })
        });
        knocks.collect::<Vec<_>>().into_iter().map(|knock| knock.join().unwrap()).collect()
    });
    for (number, Staying { connection, .. }) in staying.iter_mut().enumerate() {
        // Behind the answers to its pings, which nobody has taken.
        let own = connection.ephemerals("/");
        let own = own.unwrap_or_else(|e| panic!("session {number} expired in {stall_ms} ms though its pings were there: {e}"));
        assert_eq!(own, [format!("{PARENT}/staying-{stall_ms}-{number}")]);
    }
    // Who was gone before goes; who is there stays.
    let mut back: Vec<Staying> =
        back.into_iter().map(|connection| Staying { connection, next_ping: Instant::now() }).collect();
    let waiting = Instant::now();
    loop {
        let names = witness.children(PARENT, false).unwrap();
        let of = |kind: &str| names.iter().filter(|name| name.starts_with(&format!("{kind}-{stall_ms}-"))).count();
        assert_eq!(of("staying"), STAYING, "after {stall_ms} ms");
        assert_eq!(of("knocking"), KNOCKING, "after {stall_ms} ms");
        if of("gone") == 0 {
            break;
        }
        assert!(waiting.elapsed() < DEADLINE, "after a stall of {stall_ms} ms they never expire: {names:?}");
        ping_until(&mut staying, period, Instant::now() + Duration::from_millis(50));
        ping_until(&mut back, period, Instant::now());
    }
    println!("FIGURE {}: after a stall of {stall_ms} ms those who had gone ended in {} ms", target.name(), waiting.elapsed().as_millis());
    for Staying { connection, .. } in staying.into_iter().chain(back) {
        connection.close().unwrap();
    }
}

/// Cuts an owner's connection and begins another, which the kernel accepts for the server.
fn knock(target: &Target, owner: &Connection) -> (ConnectOptions, Connection) {
    let _closed_already = owner.stream().shutdown(std::net::Shutdown::Both);
    let options = ConnectOptions {
        timeout_ms: SHORT_MS,
        deadline: DEADLINE,
        ..ConnectOptions::renewing(owner.session().unwrap())
    };
    (options, Connection::open(target.address, &options).unwrap())
}

/// Pings, each at its time, without waiting for the answers; until then.
fn ping_until(clients: &mut [Staying], period: Duration, until: Instant) {
    loop {
        let now = Instant::now();
        for client in clients.iter_mut().filter(|client| client.next_ping <= now) {
            client.connection.send(&Request::Ping).expect("its connection stands");
            client.next_ping = now + period;
        }
        if now >= until {
            return;
        }
        std::thread::sleep(Duration::from_millis(5).min(until - now));
    }
}
