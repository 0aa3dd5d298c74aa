//! The election port over loopback: votes between ports whichever connects first, what real servers have sent, and what nobody should send.
//!
//! Every test has addresses of its own in 127/8, so that no other test takes its ports.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod exchange;
mod hostile;
mod raw;
mod strangers;

use proto::election::{ElectionEpoch, PeerEpoch, ServerState};
use proto::{LastZxid, ServerId};
use ringkeeper_server::election::{ElectionEvent, ElectionPort, ElectionPortOptions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use zab::election::Vote;
use zab::ensemble::Ensemble;

/// How long anything may take that has to come about.
const PATIENCE: Duration = Duration::from_secs(30);

/// A port, and a bell that the test hears.
#[derive(Debug)]
struct Port {
    port: ElectionPort,
    rung: mpsc::Receiver<()>,
}

impl Port {
    fn start(options: ElectionPortOptions, ensemble: &Ensemble) -> Port {
        let (ring, rung) = mpsc::channel();
        let rings = move || {
            // A test that has ended listens no more.
            let _heard = ring.send(());
        };
        let port = ElectionPort::start(options, ensemble, rings).unwrap();
        Port { port, rung }
    }

    fn of(me: i64, ensemble: &Ensemble) -> Port {
        Port::start(ElectionPortOptions::new(ServerId(me)), ensemble)
    }

    fn send(&self, to: i64, vote: Vote) {
        self.port.send(ServerId(to), vote);
    }

    fn set_ensemble(&self, ensemble: &Ensemble) {
        self.port.set_ensemble(ensemble);
    }

    /// The next event, once it has come.
    fn next(&self) -> ElectionEvent {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.port.take_event() {
                return event;
            }
            self.rung.recv_timeout(until.saturating_duration_since(Instant::now())).expect("an event");
        }
    }

    /// The next vote, whatever comes before it.
    fn next_vote(&self) -> (i64, Vote) {
        loop {
            if let ElectionEvent::Voted { from, vote, .. } = self.next() {
                return (from.0, vote);
            }
        }
    }

    /// Waits for one vote, whatever comes before it.
    fn hear(&self, from: i64, vote: Vote) {
        while self.next_vote() != (from, vote) {}
    }

    fn is_silent(&self) -> bool {
        self.port.take_event().is_none()
    }

    fn stop(self) {
        self.port.stop();
    }
}

fn reachable(server: i64, is_up: bool) -> ElectionEvent {
    ElectionEvent::Reachable { server: ServerId(server), is_up }
}

/// A vote that can be told from others.
fn vote(leader: i64, round: i64) -> Vote {
    Vote {
        state: ServerState::Looking,
        leader: ServerId(leader),
        zxid: LastZxid(7),
        round: ElectionEpoch(round),
        peer_epoch: PeerEpoch(0),
    }
}

/// An address that no other test of this process has.
fn own_ip() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (pid[2] & 63), pid[3], NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// A port that is free on this address.
fn free(ip: IpAddr) -> SocketAddr {
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// Servers 1 to `addresses.len()` with these election addresses.
fn ensemble(addresses: &[SocketAddr]) -> Ensemble {
    let line = |(place, at): (usize, &SocketAddr)| {
        let ip = if at.is_ipv6() { format!("[{}]", at.ip()) } else { at.ip().to_string() };
        // Nobody listens on a quorum port here.
        format!("server.{}={ip}:1:{}:participant\n", place + 1, at.port())
    };
    let lines: String = addresses.iter().enumerate().map(line).collect();
    Ensemble::parse(&format!("{lines}version=5")).unwrap()
}

/// So many servers on an address of their own, and where they vote.
fn servers(count: usize) -> (Ensemble, Vec<SocketAddr>) {
    let ip = own_ip();
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind((ip, 0)).unwrap()).collect();
    let addresses: Vec<SocketAddr> = held.iter().map(|held| held.local_addr().unwrap()).collect();
    (ensemble(&addresses), addresses)
}
