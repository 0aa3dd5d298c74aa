//! Bells are never lost, and a sleeper costs nothing: for every backend's doorbell and for plain threads.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod rt_support;

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringkeeper_server::rt::{
    Accept, Backend, CloseReason, ConnId, Handler, Io, Parker, ShardConfig, Woken, spawn_shard,
};
use rt_support::PATIENCE;
use rustix::event::{EventfdFlags, eventfd};

for_each_backend!(
    no_ring_is_lost,
    rings_beside_traffic_are_not_lost,
    a_watched_descriptor_brings_turns_and_none_for_nothing,
);

const RINGS: u64 = 100_000;

/// Copies what the ringer wrote, once per turn.
struct Copier {
    written: Arc<AtomicU64>,
    seen: Arc<AtomicU64>,
}

impl Handler for Copier {
    fn on_accept(&mut self, _: ConnId, _: SocketAddr) -> Accept {
        Accept::Refuse
    }
    fn on_recv(&mut self, _: ConnId, _: &[u8]) {}
    fn on_close(&mut self, _: ConnId, _: CloseReason) {}
    fn on_turn(&mut self, _: &mut Io<'_>) {
        self.seen.store(self.written.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn await_seen(seen: &AtomicU64, at_least: u64) {
    let deadline = Instant::now() + PATIENCE;
    while seen.load(Ordering::Relaxed) < at_least {
        assert!(Instant::now() < deadline, "ring {at_least} was lost");
        std::thread::yield_now();
    }
}

fn no_ring_is_lost(backend: Backend) {
    let (written, seen) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let copier = Copier { written: written.clone(), seen: seen.clone() };
    let handle = spawn_shard(ShardConfig::new("copier"), backend, move |_| copier).unwrap();
    let bell = handle.doorbell();
    for ring in 1..=RINGS {
        written.store(ring, Ordering::Relaxed);
        bell.ring();
        // Waiting for some meets the shard asleep, in the middle of falling asleep, and awake.
        if ring % 7 == 0 || ring == RINGS {
            await_seen(&seen, ring);
        }
    }
    handle.ask_stop();
    handle.join().unwrap();
}

fn rings_beside_traffic_are_not_lost(backend: Backend) {
    let shard = rt_support::TestShard::start(backend, rt_support::ECHO);
    let mut client = shard.connect();
    let traffic = std::thread::spawn(move || {
        for _ in 0..5_000 {
            rt_support::check_echo(&mut client, b"meanwhile");
        }
    });
    for n in 0..5_000 {
        assert_eq!(shard.run(move |_| n), n);
    }
    traffic.join().unwrap();
}

#[test]
fn no_ring_of_a_thread_is_lost() {
    for spin in [Duration::ZERO, Duration::from_micros(20)] {
        no_ring_is_lost_to(Parker::new(spin));
        no_ring_is_lost_to(Parker::with_eventfd(spin).unwrap());
    }
}

fn no_ring_is_lost_to(mut parker: Parker) {
    let (written, seen) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let bell = parker.bell();
    let (thread_written, thread_seen) = (written.clone(), seen.clone());
    let thread = std::thread::spawn(move || {
        while thread_seen.load(Ordering::Relaxed) < RINGS {
            assert_eq!(parker.wait(Some(PATIENCE)), Woken::Rung);
            thread_seen.store(thread_written.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    });
    for ring in 1..=RINGS {
        written.store(ring, Ordering::Relaxed);
        bell.ring();
        if ring % 7 == 0 || ring == RINGS {
            await_seen(&seen, ring);
        }
    }
    thread.join().unwrap();
}

#[test]
fn a_parker_times_out_and_keeps_an_earlier_ring() {
    times_out_and_keeps_an_earlier_ring(Parker::new(Duration::ZERO));
    times_out_and_keeps_an_earlier_ring(Parker::with_eventfd(Duration::ZERO).unwrap());
}

fn times_out_and_keeps_an_earlier_ring(mut parker: Parker) {
    let started = Instant::now();
    assert_eq!(parker.wait(Some(Duration::from_millis(20))), Woken::TimedOut);
    assert!(started.elapsed() >= Duration::from_millis(20));
    parker.bell().ring();
    parker.bell().ring();
    assert_eq!(parker.wait(None), Woken::Rung);
    assert_eq!(parker.wait(Some(Duration::ZERO)), Woken::TimedOut, "two rings before a wait are one");
    assert!(!parker.take());
    parker.bell().ring();
    assert!(parker.take());
}

/// An eventfd that somebody may write.
fn watched() -> Arc<OwnedFd> {
    Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap())
}

fn write(fd: &OwnedFd) {
    rustix::io::write(fd, &1u64.to_ne_bytes()).unwrap();
}

#[test]
fn a_parker_waits_for_a_descriptor_and_for_rings_at_once() {
    let mut parker = Parker::with_eventfd(Duration::ZERO).unwrap();
    let fd = watched();
    assert_eq!(parker.wait_or_readable(fd.as_fd(), Some(Duration::from_millis(5))), Woken::TimedOut);
    write(&fd);
    assert_eq!(parker.wait_or_readable(fd.as_fd(), None), Woken::Readable);
    assert_eq!(parker.wait_or_readable(fd.as_fd(), Some(Duration::ZERO)), Woken::Readable);
    parker.bell().ring();
    assert_eq!(parker.wait_or_readable(fd.as_fd(), None), Woken::Rung, "a ring is not lost beside it");
    rustix::io::read(&*fd, &mut [0; 8]).unwrap();
    let (bell, other) = (parker.bell(), Arc::clone(&fd));
    let thread = std::thread::spawn(move || {
        for _ in 0..RINGS {
            bell.ring();
            write(&other);
        }
    });
    // Whichever comes: the last write is seen.
    let mut written = 0;
    while written < RINGS {
        assert_ne!(parker.wait_or_readable(fd.as_fd(), Some(PATIENCE)), Woken::TimedOut);
        let mut count = [0; 8];
        if rustix::io::read(&*fd, &mut count).is_ok() {
            written += u64::from_ne_bytes(count);
        }
    }
    thread.join().unwrap();
}

/// Counts what was written to the descriptor that it watches.
struct Watching {
    fd: Arc<OwnedFd>,
    seen: Arc<AtomicU64>,
    turns: Arc<AtomicU64>,
}

impl Handler for Watching {
    fn on_accept(&mut self, _: ConnId, _: SocketAddr) -> Accept {
        Accept::Refuse
    }
    fn on_recv(&mut self, _: ConnId, _: &[u8]) {}
    fn on_close(&mut self, _: ConnId, _: CloseReason) {}
    fn on_turn(&mut self, io: &mut Io<'_>) {
        let mut count = [0; 8];
        if rustix::io::read(&*self.fd, &mut count).is_ok() {
            self.seen.fetch_add(u64::from_ne_bytes(count), Ordering::Relaxed);
        }
        self.turns.fetch_add(1, Ordering::Relaxed);
        io.watch(&self.fd);
    }
}

fn a_watched_descriptor_brings_turns_and_none_for_nothing(backend: Backend) {
    const WRITES: u64 = 20_000;
    let (fd, seen, turns) = (watched(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let handler = Watching { fd: fd.clone(), seen: seen.clone(), turns: turns.clone() };
    let handle = spawn_shard(ShardConfig::new("watching"), backend, move |_| handler).unwrap();
    for count in 1..=WRITES {
        write(&fd);
        if count % 7 == 0 || count == WRITES {
            await_seen(&seen, count);
        }
    }
    let turns = turns.load(Ordering::Relaxed);
    // One a write at most, the first turn, and one after each wake-up that found what an earlier turn had taken.
    assert!(turns <= 2 * WRITES + 2, "{turns} turns for {WRITES} writes");
    handle.ask_stop();
    handle.join().unwrap();
}
