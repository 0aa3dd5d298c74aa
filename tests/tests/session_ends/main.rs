//! Sessions in bad times: renewed with wrong passwords, ended by the hundred thousand, with all their ephemerals, and by a server that stood
//! still. One file per behaviour.
//!
//! What is large here is counted in sessions or znodes: `RK_SESSIONS_COUNT` (20,000 unless set; `cargo xtask long sessions` takes 100,000).
//! Figures (the longest gap of a bystander) are printed and never asserted: they are the machine's. What is asserted are orders and
//! counts. With `RK_SESSIONS_ADDR` (and `RK_SESSIONS_PID`) the same tests ask a server that is there already, such as the real ZooKeeper;
//! what belongs to this server's own configuration and to restarts is left out then. Such a server needs `tickTime=500`,
//! `maxSessionTimeout=600000`, `maxClientCnxns=0` and every four-letter word.

mod bystanders;
mod crowd;
mod ephemerals;
mod expiry;
mod raw;
mod renewal;
mod stall;

use bystanders::Bystanders;
use client::{ConnectOptions, Connection};
use ringkeeper_tests::{Builder, Server, until_within};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a single reply may take on a machine that a build keeps busy.
const DEADLINE: Duration = Duration::from_secs(120);
/// The tick of every server here, in ms.
const TICK_MS: i32 = 500;
/// The shortest timeout that such ticks allow.
const SHORT_MS: i32 = 2 * TICK_MS;

/// The server under test.
struct Target {
    address: SocketAddr,
    pid: u32,
    /// `None`: it was there before, and is not ours.
    own: Option<Server>,
}

impl Target {
    /// A server of our own with these settings, or the one that the environment names.
    fn start(own: impl FnOnce(Builder) -> Builder) -> Target {
        if let Ok(address) = std::env::var("RK_SESSIONS_ADDR") {
            let pid = std::env::var("RK_SESSIONS_PID").ok().and_then(|pid| pid.parse().ok()).unwrap_or(0);
            return Target { address: address.parse().expect("RK_SESSIONS_ADDR is an address"), pid, own: None };
        }
        let builder = Server::builder().in_memory().set("maxSessionTimeout", "600000");
        let server = own(builder.set("tickTime", &TICK_MS.to_string())).start();
        Target { address: server.address(), pid: server.pid(), own: Some(server) }
    }

    /// A connection with a session of its own that outlives the test.
    fn connect(&self) -> Connection {
        self.connect_for(600_000)
    }

    /// A connection with a session of this timeout.
    fn connect_for(&self, timeout_ms: i32) -> Connection {
        let options = ConnectOptions { timeout_ms, deadline: DEADLINE, ..ConnectOptions::default() };
        Connection::connect(self.address, &options).expect("a new session")
    }

    /// A number of `mntr`.
    fn monitor(&self, key: &str) -> u64 {
        let text = client::four_letter_word(self.address, "mntr", DEADLINE).expect("mntr is answered");
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t'));
        let number = line.unwrap_or_else(|| panic!("mntr has no {key}:\n{text}"));
        // Java writes some of them as floating point numbers.
        number.trim().split('.').next().and_then(|whole| whole.parse().ok()).expect("a number")
    }

    /// Waits until `mntr` says so.
    fn wait_for(&self, key: &str, wanted: u64) {
        until_within(2 * DEADLINE, &format!("{key} is {wanted}"), || self.monitor(key) == wanted);
    }

    /// What is said before each figure.
    fn name(&self) -> &'static str {
        match (&self.own, std::env::var("RK_TEST_CORE").as_deref()) {
            (None, _) => "other server",
            (Some(_), Ok("shard")) => "ringkeeper, core in a shard",
            (Some(_), _) => "ringkeeper",
        }
    }
}

/// How many sessions or znodes the large tests take.
fn count() -> usize {
    let given = std::env::var("RK_SESSIONS_COUNT").ok();
    given.map_or(20_000, |text| text.parse().expect("RK_SESSIONS_COUNT is a number"))
}

/// Is this the whole, and not the sample that CI takes?
fn is_whole() -> bool {
    count() >= 100_000
}
