//! Bells are never lost, and a sleeper costs nothing: for every backend's doorbell and for plain threads.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod rt_support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringkeeper_server::rt::{
    Accept, Backend, CloseReason, ConnId, Handler, Io, Parker, ShardConfig, Woken, spawn_shard,
};
use rt_support::PATIENCE;

for_each_backend!(no_ring_is_lost, rings_beside_traffic_are_not_lost);

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
        let (written, seen) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let mut parker = Parker::new(spin);
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
}

#[test]
fn a_parker_times_out_and_keeps_an_earlier_ring() {
    let mut parker = Parker::new(Duration::ZERO);
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
