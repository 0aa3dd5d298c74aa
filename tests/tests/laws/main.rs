//! The laws of docs/architecture.md that a client can see, one module each, against the built server with 1, 2 and 4 shards.
//!
//! Connections land on shards by the kernel's choice (`SO_REUSEPORT`), so each test opens several and many rounds mix them.
//! `RK_LAWS_SEED` repeats a run's choices.

mod atomic;
mod events;
mod eye;
mod long;
mod order;
mod sessions;
mod zxids;

use client::{ConnectOptions, Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::Server;
use std::time::Duration;

/// A server with that many shards.
fn server(shards: usize) -> Server {
    Server::builder().in_memory().shards(shards).set("maxSessionTimeout", "60000").start()
}

/// How long a reply may take where other tests and a build keep the machine busy; sessions live as long.
const DEADLINE: Duration = Duration::from_secs(60);

/// Options of a patient client.
fn patient() -> ConnectOptions {
    ConnectOptions { timeout_ms: 60_000, deadline: DEADLINE, ..ConnectOptions::default() }
}

/// A connection with a session of its own, long-lived.
fn connect(server: &Server) -> Connection {
    Connection::connect(server.address(), &patient()).unwrap()
}

/// The same session on another connection. `ConnectOptions::last_zxid_seen` is what the older connection saw.
fn renew(server: &Server, older: &Connection) -> client::Result<Connection> {
    let options = ConnectOptions {
        last_zxid_seen: older.last_zxid(),
        deadline: DEADLINE,
        ..ConnectOptions::renewing(older.session().unwrap())
    };
    Connection::connect(server.address(), &options)
}

/// Creates empty persistent znodes.
fn create_all(connection: &mut Connection, paths: &[&str]) {
    for path in paths {
        connection.create(path, b"", CreateMode::Persistent).unwrap();
    }
}

/// Where random choices start, printed so that a failure can be repeated.
fn seed() -> u64 {
    let given = std::env::var("RK_LAWS_SEED").ok();
    let seed =
        given.map_or_else(|| u64::from(std::process::id()), |text| text.parse().expect("RK_LAWS_SEED is a number"));
    println!("RK_LAWS_SEED={seed}");
    seed
}

/// Random enough choices (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64, stream: u64) -> Random {
        Random((seed ^ (stream + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}
