//! Connecting to another server's quorum port, which may block, on threads of its own.
//!
//! A dial is one short thread: it looks the names up, tries the addresses in order, and leaves the first connection, or that there is none, where the core
//! finds it. At most one dial is wanted at a time; the answer of an older one, or of one that was given up, is dropped with its connection wherever it
//! is then. A resolver may hold a thread for as long as it likes, so that a few may live at a time, and no more: a dial beyond them is answered at once.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use zab::ensemble::HostPort;

use crate::rt::spawn_pinned;

/// The core's end.
#[derive(Debug)]
pub(super) struct Dialler {
    time_max: Duration,
    desk: Arc<Desk>,
}

/// What came of a dial: a connection, or nothing.
type Answer = Option<(OwnedFd, SocketAddr)>;

/// Where a dial's thread leaves its answer.
#[derive(Debug)]
struct Desk {
    state: Mutex<State>,
    /// Written when there is an answer.
    answered: OwnedFd,
    /// Threads that have not ended.
    threads: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the newest dial.
    newest: u64,
    /// The newest dial has no answer yet and was not given up.
    is_wanted: bool,
    answer: Option<Answer>,
}

impl Dialler {
    pub(super) fn new(time_max: Duration) -> rustix::io::Result<Dialler> {
        let answered = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let desk = Desk { state: Mutex::default(), answered, threads: AtomicUsize::new(0) };
        Ok(Dialler { time_max, desk: Arc::new(desk) })
    }

    /// Readable when there is an answer to take.
    pub(super) fn answered(&self) -> BorrowedFd<'_> {
        self.desk.answered.as_fd()
    }

    /// Dials; what was dialled before is given up.
    pub(super) fn dial(&mut self, to: Vec<HostPort>) {
        let number = self.desk.next();
        if self.desk.threads.fetch_add(1, Ordering::Relaxed) >= THREADS_MAX {
            tracing::warn!(
                "earlier attempts to connect to a leader still wait for their names to be looked up; is the name service well?"
            );
            self.desk.threads.fetch_sub(1, Ordering::Relaxed);
            return self.desk.leave(number, None);
        }
        let (desk, time_max) = (Arc::clone(&self.desk), self.time_max);
        let thread = spawn_pinned("rk-dial", None, move || {
            let answer = connect(&to, time_max, || desk.wants(number));
            desk.leave(number, answer);
            desk.threads.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = thread {
            tracing::warn!(%error, "cannot connect to the leader");
            self.desk.threads.fetch_sub(1, Ordering::Relaxed);
            self.desk.leave(number, None);
        }
    }

    /// There is to be no answer.
    pub(super) fn give_up(&mut self) {
        let mut state = self.desk.lock();
        state.is_wanted = false;
        state.answer = None;
    }

    /// The answer, once.
    pub(super) fn take_answer(&mut self) -> Option<Answer> {
        // Only its edge matters, which the next answer makes anew.
        let _count = rustix::io::read(&self.desk.answered, &mut [0; 8]);
        self.desk.lock().answer.take()
    }
}

impl Desk {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a new dial.
    fn next(&self) -> u64 {
        let mut state = self.lock();
        *state = State { newest: state.newest + 1, is_wanted: true, answer: None };
        state.newest
    }

    fn wants(&self, number: u64) -> bool {
        let state = self.lock();
        state.is_wanted && state.newest == number
    }

    fn leave(&self, number: u64, answer: Answer) {
        let mut state = self.lock();
        if state.is_wanted && state.newest == number {
            state.is_wanted = false;
            state.answer = Some(answer);
            // Would wait only with 2^64 - 2 answers in it.
            let _ = rustix::io::write(&self.answered, &1u64.to_ne_bytes());
        }
    }
}

/// The first connection that can be had in this time, for as long as it `is_wanted`. Each address gets an equal share of what time is left, so that one that
/// does not answer leaves some for the next.
fn connect(to: &[HostPort], time_max: Duration, is_wanted: impl Fn() -> bool) -> Answer {
    let addresses = look_up(to);
    let deadline = Instant::now() + time_max;
    for (tried, address) in addresses.iter().enumerate() {
        let untried = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / untried;
        if share.is_zero() || !is_wanted() {
            return None;
        }
        match TcpStream::connect_timeout(address, share).and_then(nonblocking) {
            Ok(socket) => return Some((socket, *address)),
            Err(error) => tracing::debug!(%address, %error, "cannot connect to the leader's quorum port"),
        }
    }
    None
}

fn nonblocking(stream: TcpStream) -> io::Result<OwnedFd> {
    stream.set_nonblocking(true)?;
    Ok(stream.into())
}

fn look_up(to: &[HostPort]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for HostPort { host, port } in to {
        match (host.as_str(), *port).to_socket_addrs() {
            Ok(found) => addresses.extend(found.take(ADDRESSES_PER_NAME_MAX)),
            Err(error) => tracing::warn!(host, %error, "cannot look up the leader's address"),
        }
    }
    addresses
}

/// Dials that may be under way, all but the newest given up.
const THREADS_MAX: usize = 4;
/// A name that has more is not tried through to its end.
const ADDRESSES_PER_NAME_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: SocketAddr) -> HostPort {
        HostPort { host: address.ip().to_string(), port: address.port() }
    }

    /// A port at which nobody listens, and that nobody is given who asks for any.
    fn closed_port() -> SocketAddr {
        "127.0.0.1:1".parse().unwrap()
    }

    #[test]
    fn addresses_are_tried_in_order_until_one_answers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let second = Duration::from_secs(60);
        let (_, to) = connect(&[at(closed_port()), at(there)], second, || true).expect("the second answers");
        assert_eq!(to, there);
        assert!(connect(&[at(there)], second, || false).is_none(), "nobody wants it");
        assert!(connect(&[at(closed_port())], second, || true).is_none());
        assert!(connect(&[], second, || true).is_none());
    }

    #[test]
    fn an_answer_that_comes_too_late_is_dropped() {
        let mut dialler = Dialler::new(Duration::from_secs(60)).unwrap();
        let first = dialler.desk.next();
        let second = dialler.desk.next();
        dialler.desk.leave(first, None);
        assert!(dialler.take_answer().is_none());
        dialler.desk.leave(second, None);
        assert!(matches!(dialler.take_answer(), Some(None)));
        dialler.desk.leave(second, None);
        assert!(dialler.take_answer().is_none(), "one dial has one answer");
        let third = dialler.desk.next();
        dialler.desk.leave(third, None);
        dialler.give_up();
        assert!(dialler.take_answer().is_none());
    }
}
