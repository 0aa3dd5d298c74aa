//! Clients that keep their sessions: each has an ephemeral, and takes its session to the next server whenever its connection ends.

use crate::load::connect;
use client::{ConnectOptions, Connection, Operations};
use proto::connect::ConnectResponse;
use proto::request::CreateMode;
use ringkeeper_tests::cluster::{Implementation, Plan};
use ringkeeper_tests::until;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long their sessions last without a word.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a client says something, and how long it waits until it tries again to connect.
const PACE: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub struct Keepers {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ends: AtomicBool,
    lost: AtomicU64,
    moved: AtomicU64,
}

/// What came of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Sessions that their clients found expired, or without their ephemeral.
    pub lost: u64,
    /// How often one went to another server.
    pub moved: u64,
}

impl Keepers {
    /// So many clients, spread over these servers.
    pub fn begin(servers: &[SocketAddr], clients: usize) -> Keepers {
        let shared = Arc::<Shared>::default();
        let start = |number: usize| {
            let (mut servers, shared) = (servers.to_vec(), Arc::clone(&shared));
            let turns = number % servers.len();
            servers.rotate_left(turns);
            std::thread::spawn(move || keep(number, &servers, &shared))
        };
        let clients = (0..clients).map(start).collect();
        Keepers { shared, clients }
    }

    /// How often one has gone to another server so far.
    pub fn moved(&self) -> u64 {
        self.shared.moved.load(Ordering::Relaxed)
    }

    /// Ends them, with their sessions.
    pub fn finish(self) -> Kept {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("a client does not panic"));
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Kept { lost: count(&self.shared.lost), moved: count(&self.shared.moved) }
    }
}

/// Until it is told to end: a session that was lost is counted, and another begins.
fn keep(number: usize, servers: &[SocketAddr], shared: &Shared) {
    let path = format!("/keeper-{number}");
    let mut session: Option<ConnectResponse> = None;
    for server in servers.iter().cycle() {
        if shared.ends.load(Ordering::Relaxed) {
            return;
        }
        let timeout_ms = i32::try_from(TIMEOUT.as_millis()).expect("short");
        let fresh = || ConnectOptions { timeout_ms, ..ConnectOptions::default() };
        let options = session.as_ref().map_or_else(fresh, ConnectOptions::renewing);
        let answer = Connection::open(*server, &options).and_then(|mut connection| {
            let response = connection.handshake(&options)?;
            Ok((connection, response))
        });
        let Ok((mut connection, response)) = answer else {
            std::thread::sleep(PACE);
            continue;
        };
        if response.session_id.0 == 0 {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            session = None;
            continue;
        }
        let is_new = session.is_none();
        session = Some(response);
        if is_new {
            // A former one's may not be gone yet.
            let _there = connection.create(&path, b"", CreateMode::Ephemeral);
        } else {
            shared.moved.fetch_add(1, Ordering::Relaxed);
        }
        loop {
            if shared.ends.load(Ordering::Relaxed) {
                // It may be closed just now.
                let _ended = connection.close();
                return;
            }
            match connection.exists(&path, false) {
                Ok(Some(_)) => std::thread::sleep(PACE),
                Ok(None) => {
                    shared.lost.fetch_add(1, Ordering::Relaxed);
                    let _there = connection.create(&path, b"", CreateMode::Ephemeral);
                }
                Err(_) => break,
            }
        }
    }
}

/// What a session has lost is counted: here its ephemeral, by another's hand.
#[test]
fn an_ephemeral_that_goes_while_its_session_lives_is_counted() {
    let mut cluster = Plan::new(Implementation::RingKeeper, 1).start();
    let keepers = Keepers::begin(&cluster.addresses(), 2);
    let mut other = connect(cluster.address(1));
    until("one has its ephemeral", || other.exists("/keeper-1", false).expect("it serves").is_some());
    other.delete("/keeper-1", -1).expect("anybody may");
    until("it has seen that, and made another", || other.exists("/keeper-1", false).expect("it serves").is_some());
    assert_eq!(keepers.finish(), Kept { lost: 1, moved: 0 });
    other.close().expect("it serves");
    cluster.stop_all();
}
