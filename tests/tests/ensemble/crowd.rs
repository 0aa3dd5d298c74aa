//! Clients that ask an ensemble at random, keep their sessions from server to server, and write down what they hear.
//!
//! They are the simulator's own ([`ringkeeper_sim::clients`]), over real connections: a thread and a socket each. All write into one history under one lock,
//! a request before its bytes leave and a reply after they have come, so the order of its lines is the order in which things happened.

use ringkeeper_sim::clients::{Client, Ctx, Lines};
use ringkeeper_sim::history::{ClientId, Event, History, ServerId};
use ringkeeper_sim::world::chance::Chance;
use ringkeeper_sim::world::network::{ConnId, Host};
use ringkeeper_sim::world::time::{Micros, Time};
use ringkeeper_tests::until_within;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a dial may take: a server that stands still accepts and says nothing, one behind a blackhole does not even accept.
const DIAL_MAX: Duration = Duration::from_secs(1);
/// How long clients may take, after the last fault, until they have their answers.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// How long so many replies may take to come, a leader's loss included.
const PROGRESS_MAX: Duration = Duration::from_secs(120);
const READ_BYTES: usize = 64 << 10;

/// The clients of one ensemble.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    history: Mutex<History>,
    /// What is wrong and no checker would see.
    wrong: Mutex<Vec<String>>,
    /// May they ask for more?
    asks: AtomicBool,
    ends: AtomicBool,
    /// Of each client: its replies, and whether it has all its answers.
    seen: Vec<(AtomicU64, AtomicBool)>,
}

impl Crowd {
    /// Clients begin to ask these servers, whose ids go from 1.
    pub fn begin(servers: &[SocketAddr], clients: u32, seed: u64) -> Crowd {
        let shared = Arc::new(Shared {
            history: Mutex::new(History::new()),
            wrong: Mutex::new(Vec::new()),
            asks: AtomicBool::new(true),
            ends: AtomicBool::new(false),
            seen: (0..clients).map(|_| Default::default()).collect(),
        });
        let start = |number: u32| {
            let servers = servers.to_vec();
            let shared = Arc::clone(&shared);
            let chance = Chance::stream(seed, &format!("client {number}"));
            std::thread::spawn(move || Life::new(number, servers, shared, chance).live())
        };
        let threads = (1..=clients).map(start).collect();
        Crowd { shared, threads }
    }

    /// Replies so far.
    pub fn replies(&self) -> u64 {
        self.shared.seen.iter().map(|(replies, _)| replies.load(Ordering::Relaxed)).sum()
    }

    /// Waits for so many more replies.
    pub fn progress(&self, replies: u64) {
        let until = self.replies() + replies;
        until_within(PROGRESS_MAX, &format!("{replies} more replies"), || self.replies() >= until);
    }

    /// Writes into the history what is done to the servers.
    pub fn note(&self, what: &str) {
        eprintln!("{what}");
        self.shared.history.lock().unwrap().push(monotonic_us(), Event::Note { text: what.to_owned() });
    }

    /// Lets nobody ask for more, and waits until all have their answers and a session that lives.
    pub fn settle(&self) {
        self.shared.asks.store(false, Ordering::Relaxed);
        // Until each of them has looked once more, it may have asked.
        self.shared.seen.iter().for_each(|(_, content)| content.store(false, Ordering::Relaxed));
        until_within(SETTLE_MAX, "all clients have their answers", || {
            self.shared.seen.iter().all(|(_, content)| content.load(Ordering::Relaxed))
        });
    }

    /// Ends the clients as they are, and gives what they have written down.
    pub fn end(mut self) -> History {
        self.join();
        let wrong = self.shared.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "clients were told what is none: {wrong:#?}");
        std::mem::take(&mut self.shared.history.lock().unwrap())
    }

    /// What they have written down so far.
    pub fn so_far(&self) -> History {
        self.shared.history.lock().map(|history| history.clone()).unwrap_or_default()
    }

    fn join(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client does not panic");
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
    }
}

/// A client's thread.
struct Life {
    number: usize,
    client: Client,
    shared: Arc<Shared>,
    chance: Chance,
    wires: Wires,
}

impl Life {
    fn new(number: u32, servers: Vec<SocketAddr>, shared: Arc<Shared>, chance: Chance) -> Life {
        let known: Vec<(ServerId, Host)> = (0..).zip(&servers).map(|(at, _)| (ServerId(at + 1), host(at))).collect();
        Life {
            number: usize::try_from(number - 1).expect("small"),
            client: Client::new(ClientId(number), Host(number), &known),
            shared,
            chance,
            wires: Wires { servers, dialled: None, conn: None, output: Vec::new(), next: 0 },
        }
    }

    fn live(mut self) {
        let mut input = vec![0; READ_BYTES];
        let mut look_at = Instant::now();
        while !self.shared.ends.load(Ordering::Relaxed) {
            if Instant::now() >= look_at {
                let asks = self.shared.asks.load(Ordering::Relaxed);
                let wait = self.with(|client, ctx| client.look(ctx, asks));
                let (replies, content) = &self.shared.seen[self.number];
                replies.store(self.client.replies(), Ordering::Relaxed);
                // Were it allowed to ask, what it is now would tell nothing.
                content.store(!asks && self.client.is_content(), Ordering::Relaxed);
                look_at = Instant::now() + Duration::from_micros(wait.0);
            }
            self.dial();
            self.flush();
            self.receive(&mut input, look_at);
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Client, &mut Ctx<'_>) -> T) -> T {
        let mut history = self.shared.history.lock().unwrap();
        let mut wrong = self.shared.wrong.lock().unwrap();
        let mut ctx = Ctx {
            now: Time(monotonic_us()),
            chance: &mut self.chance,
            lines: &mut self.wires,
            history: &mut history,
            wrong: &mut wrong,
        };
        act(&mut self.client, &mut ctx)
    }

    fn dial(&mut self) {
        let Some((conn, server)) = self.wires.dialled.take() else { return };
        match TcpStream::connect_timeout(&server, DIAL_MAX) {
            Ok(stream) => {
                stream.set_nodelay(true).expect("an option that TCP has");
                self.wires.conn = Some((conn, stream));
                self.with(|client, ctx| client.connected(ctx, conn));
            }
            Err(_) => self.with(|client, _| client.not_connected(conn)),
        }
    }

    fn flush(&mut self) {
        let output = std::mem::take(&mut self.wires.output);
        let Some((conn, stream)) = &mut self.wires.conn else { return };
        let conn = *conn;
        stream.set_write_timeout(Some(DIAL_MAX)).expect("an option that TCP has");
        if !output.is_empty() && stream.write_all(&output).is_err() {
            self.lost(conn);
        }
    }

    /// Waits for bytes until it is time to look again.
    fn receive(&mut self, input: &mut [u8], look_at: Instant) {
        let patience = look_at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let Some((conn, stream)) = &mut self.wires.conn else {
            // Nothing can come; it is the client's own pace that is waited for.
            return std::thread::sleep(patience);
        };
        let conn = *conn;
        stream.set_read_timeout(Some(patience)).expect("an option that TCP has");
        match stream.read(input) {
            Ok(0) => self.lost(conn),
            Ok(count) => self.with(|client, ctx| client.arrived(ctx, conn, &input[..count])),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => self.lost(conn),
        }
    }

    fn lost(&mut self, conn: ConnId) {
        self.wires.conn = None;
        self.with(|client, ctx| client.closed(ctx, conn));
    }
}

/// A client's connection: one at a time. Bytes are written when the client has said all that it had to.
struct Wires {
    servers: Vec<SocketAddr>,
    dialled: Option<(ConnId, SocketAddr)>,
    conn: Option<(ConnId, TcpStream)>,
    output: Vec<u8>,
    next: u64,
}

impl Lines for Wires {
    fn dial(&mut self, _now: Time, _from: Host, to: Host) -> ConnId {
        self.next += 1;
        let conn = ConnId(self.next);
        let server = (0..).zip(&self.servers).find(|(at, _)| host(*at) == to).expect("a server that it was told of");
        self.dialled = Some((conn, *server.1));
        self.output.clear();
        conn
    }

    fn send(&mut self, _now: Time, _conn: ConnId, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    fn close(&mut self, _now: Time, _conn: ConnId) {
        self.conn = None;
        self.dialled = None;
        self.output.clear();
    }
}

/// A server's place among machines: by its place in the list.
fn host(at: u64) -> Host {
    Host(1_000 + u32::try_from(at).expect("few servers"))
}

/// The machine's monotonic clock, which all recorders of a history share.
pub fn monotonic_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let us = Micros(u64::try_from(time.tv_nsec).expect("not before the boot") / 1_000);
    u64::try_from(time.tv_sec).expect("not before the boot") * 1_000_000 + us.0
}
