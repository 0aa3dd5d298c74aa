//! For how long nobody is answered when the leader is killed.
//!
//! Clients write one after the other on all servers, reconnect wherever somebody answers, and keep their sessions, as every client library does. Every
//! acknowledged write is noted with its time; the figure is the longest time between two of them around the kill.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use client::{ClientError, ConnectOptions, Connection, Operations};
use proto::ErrorCode;
use proto::connect::ConnectResponse;
use proto::request::CreateMode;
use serde::Serialize;

use super::servers::Ensemble;
use crate::error::{BenchError, Result};
use crate::keyspace;

/// Writes before the kill, and after it, that show that the ensemble works.
const WRITES: usize = 500;
/// What is acknowledged later than this after the kill was not on its way when it came.
const ON_ITS_WAY: Duration = Duration::from_millis(50);
/// A server that neither answers nor closes is left after this.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Between two attempts to connect.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(5);
const DATA_BYTES: usize = 1024;
const SESSION_TIMEOUT_MS: i32 = 30_000;

/// One kill.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Failover {
    /// The longest time between two acknowledged writes, from the last one before the kill on.
    pub(crate) gap_ms: f64,
    /// Acknowledged writes a second before it.
    pub(crate) writes_per_s_before: f64,
}

/// What the writers share.
struct Shared {
    root: String,
    servers: Vec<SocketAddr>,
    /// When the znodes had been made: a server that is behind this has them not yet, and refuses the writers.
    made: proto::Zxid,
    /// When each write was acknowledged.
    acks: Mutex<Vec<Instant>>,
    over: AtomicBool,
}

/// Loads the ensemble, kills its leader, waits until writes are acknowledged again, and starts the killed one again.
///
/// # Errors
/// [`BenchError`]: nobody leads or answers any more, or answers wrongly.
pub(crate) fn measure(ensemble: &mut Ensemble<'_>, writers: usize) -> Result<Failover> {
    let servers = ensemble.addresses();
    let root = keyspace::fresh_root();
    let first = *servers.first().ok_or(BenchError::NoOperations)?;
    let mut made = proto::Zxid::ZERO;
    keyspace::with_connection(first, |connection| {
        let mut make = |path: &str| connection.create(path, b"", CreateMode::Persistent).map(drop);
        make(&root)
            .and_then(|()| (0..writers).try_for_each(|writer| make(&format!("{root}/{writer}"))))
            .map_err(BenchError::client("making the znodes"))?;
        made = connection.last_zxid();
        Ok(())
    })?;
    let shared = Shared { root, servers, made, acks: Mutex::new(Vec::new()), over: AtomicBool::new(false) };
    let write = |writer| Writer::new(&shared, writer).write();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || write(writer))).collect();
        let killed = kill_under_load(ensemble, &shared);
        shared.over.store(true, Ordering::Relaxed);
        let written: Result<()> =
            threads.into_iter().try_for_each(|thread| thread.join().expect("a writer does not panic"));
        let killed = killed?;
        written?;
        figures(&lock(&shared.acks), killed)
    })
}

/// Gives when the leader was killed.
fn kill_under_load(ensemble: &mut Ensemble<'_>, shared: &Shared) -> Result<Instant> {
    let begun = Instant::now();
    while lock(&shared.acks).len() < WRITES {
        ensemble.give_up_after(begun, "acknowledges no writes")?;
    }
    let killed = ensemble.kill_leader()?;
    let is_later = |ack: &&Instant| **ack > killed + ON_ITS_WAY;
    while lock(&shared.acks).iter().rev().take_while(is_later).count() < WRITES {
        ensemble.give_up_after(killed, "acknowledges no writes any more")?;
    }
    ensemble.revive()?;
    Ok(killed)
}

fn figures(acks: &[Instant], killed: Instant) -> Result<Failover> {
    let mut acks = acks.to_vec();
    acks.sort_unstable();
    let before = acks.partition_point(|ack| *ack <= killed);
    let after = acks.partition_point(|ack| *ack <= killed + ON_ITS_WAY);
    // What comes with the killed server's return is another question.
    let around = acks.get(before.saturating_sub(1)..(after + WRITES).min(acks.len())).unwrap_or_default();
    let gap = around.windows(2).filter_map(|pair| Some(pair.get(1)?.duration_since(*pair.first()?))).max();
    let first = *acks.first().ok_or(BenchError::NoOperations)?;
    let seconds = killed.duration_since(first).as_secs_f64();
    let gap_ms = gap.ok_or(BenchError::NoOperations)?.as_secs_f64() * 1e3;
    Ok(Failover { gap_ms, writes_per_s_before: before as f64 / seconds.max(f64::EPSILON) })
}

/// A client that writes its own znode.
struct Writer<'s> {
    shared: &'s Shared,
    path: String,
    /// Whose turn it is among the servers.
    turn: usize,
    session: Option<ConnectResponse>,
    last_zxid: proto::Zxid,
}

impl<'s> Writer<'s> {
    fn new(shared: &'s Shared, number: usize) -> Writer<'s> {
        let path = format!("{}/{number}", shared.root);
        Writer { shared, path, turn: number, session: None, last_zxid: shared.made }
    }

    fn write(mut self) -> Result<()> {
        let data = vec![b'x'; DATA_BYTES];
        let mut connection: Option<Connection> = None;
        while !self.shared.over.load(Ordering::Relaxed) {
            let Some(open) = &mut connection else {
                connection = self.connect();
                continue;
            };
            match open.set(&self.path, &data, -1) {
                Ok(_) => lock(&self.shared.acks).push(Instant::now()),
                // A new follower may not know the session yet, or the znode: a wrong answer it is only where it stands.
                Err(ClientError::Server(ErrorCode::SessionMoved | ErrorCode::SessionExpired)) => self.session = None,
                Err(error @ (ClientError::Server(_) | ClientError::WrongRecord(_))) => {
                    return Err(BenchError::client("a set under load")(error));
                }
                Err(_) => {
                    self.last_zxid = self.last_zxid.max(open.last_zxid());
                    connection = None;
                    continue;
                }
            }
            if self.session.is_none() {
                connection = None;
            }
        }
        match connection {
            Some(connection) => connection.close().map_err(BenchError::client("closing a session")),
            None => Ok(()),
        }
    }

    /// One attempt, at the next server.
    fn connect(&mut self) -> Option<Connection> {
        let server = *self.shared.servers.get(self.turn % self.shared.servers.len())?;
        self.turn += 1;
        let renewed = self.session.as_ref().map_or_else(ConnectOptions::default, ConnectOptions::renewing);
        let options = ConnectOptions {
            timeout_ms: SESSION_TIMEOUT_MS,
            deadline: ATTEMPT,
            last_zxid_seen: self.last_zxid,
            ..renewed
        };
        match Connection::connect(server, &options) {
            Ok(connection) => {
                self.session = connection.session().copied();
                return Some(connection);
            }
            Err(ClientError::SessionExpired) => self.session = None,
            Err(_) => {}
        }
        thread::sleep(BETWEEN_ATTEMPTS);
        None
    }
}

/// A writer that panicked has ended the run anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_longest_around_the_kill_and_not_before_or_long_after_it() {
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        // A gap of 900 ms long before; the kill at 2000; one ack still comes; then nothing until 2400.
        let mut acks: Vec<Instant> = [0, 900, 1_000, 1_990, 2_010].map(at).into();
        acks.extend((0..WRITES as u64).map(|ms| at(2_400 + ms)));
        acks.push(at(9_000));
        let found = figures(&acks, at(2_000)).unwrap();
        assert!((found.gap_ms - 390.0).abs() < 1e-6, "{found:?}");
        assert!((found.writes_per_s_before - 2.0).abs() < 1e-6, "{found:?}");
        assert!(figures(&[], at(0)).is_err());
    }
}
