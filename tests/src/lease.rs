//! Loopback addresses that no other test has, for servers whose ports must be known before they listen, and stay theirs while they do not run.
//!
//! A port that was free when it was looked at is taken by another test before the server binds it: two tests took one such port. So it is an
//! address that is taken here, a whole range of 127.0.0.0/8, by a lock on a file that lasts as long as the [`Lease`], whatever process ends how; the
//! ports on it are fixed. They lie below those that the system gives out. Owns the lock files and nothing else. It fails with a panic if all ranges
//! are taken. `tests/tests/ensemble/place.rs` would catch a mistake.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// Where each server of a lease listens for clients.
pub const CLIENT_PORT: u16 = 21810;
/// Where it listens for learners.
pub const QUORUM_PORT: u16 = 28880;
/// Where it listens for votes.
pub const ELECTION_PORT: u16 = 28881;

/// Servers of a lease, at the most, of which it is looked whether somebody has their ports.
const HOSTS: u8 = 9;
/// The first octets of the ranges: away from those that people use, and from those of `tests/reference/ensemble.py`.
const SECONDS: std::ops::Range<u8> = 64..128;
/// The third octets.
const THIRDS: std::ops::Range<u8> = 1..251;

/// Ports on `::1`: below those that the system gives out.
const V6_PORTS: std::ops::Range<usize> = 10_000..28_000;
const V6_LEASES: usize = (V6_PORTS.end - V6_PORTS.start) / (3 * HOSTS as usize);

/// A range of loopback addresses, ours until it is dropped.
#[derive(Debug)]
pub struct Lease {
    second: u8,
    third: u8,
    /// Its lock goes with it.
    _file: File,
}

impl Lease {
    /// Takes one.
    ///
    /// # Panics
    /// If the files of the locks cannot be made, or all are taken.
    #[must_use]
    pub fn take() -> Lease {
        let user = rustix::process::getuid().as_raw();
        let dir = std::env::temp_dir().join(format!("rk-leases-{user}"));
        std::fs::create_dir_all(&dir).expect("a directory for the locks");
        for second in SECONDS {
            for third in THIRDS {
                let file = File::options().create(true).append(true).open(dir.join(format!("{second}.{third}")));
                let file = file.expect("a file for the lock");
                match file.try_lock() {
                    Ok(()) => {
                        let lease = Lease { second, third, _file: file };
                        if lease.is_free() {
                            return lease;
                        }
                    }
                    Err(std::fs::TryLockError::WouldBlock) => {}
                    Err(std::fs::TryLockError::Error(error)) => panic!("{}: {error}", dir.display()),
                }
            }
        }
        panic!("all loopback ranges are taken: {}", dir.display());
    }

    /// Does nobody listen there? A test that was killed may have left a server behind.
    fn is_free(&self) -> bool {
        let all = (1..=HOSTS).flat_map(|number| {
            [CLIENT_PORT, QUORUM_PORT, ELECTION_PORT].map(|port| SocketAddr::new(self.host(number), port))
        });
        all.into_iter().all(|address| TcpListener::bind(address).is_ok())
    }

    /// What no other lease has, for names.
    #[must_use]
    pub const fn numbers(&self) -> (u8, u8) {
        (self.second, self.third)
    }

    /// The address of a server, by its number.
    #[must_use]
    pub fn host(&self, number: u8) -> IpAddr {
        Ipv4Addr::new(127, self.second, self.third, number).into()
    }

    /// Where a server of an ensemble on `::1` listens: for clients, learners and votes. That address has no range, so ports stand in for it.
    #[must_use]
    pub fn ports_on_v6(&self, number: u8) -> [u16; 3] {
        let place = usize::from(self.second - SECONDS.start) * THIRDS.len() + usize::from(self.third - THIRDS.start);
        // As many leases at a time have ports of their own.
        let first = V6_PORTS.start + (place % V6_LEASES * usize::from(HOSTS) + usize::from(number - 1)) * 3;
        [first, first + 1, first + 2].map(|port| u16::try_from(port).expect("the ranges lie below the last port"))
    }

    /// Where a server listens for clients.
    #[must_use]
    pub fn client(&self, number: u8) -> SocketAddr {
        SocketAddr::new(self.host(number), CLIENT_PORT)
    }
}
