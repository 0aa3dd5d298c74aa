//! A shard whose handler does what a test asks, and plain blocking clients for it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(dead_code, unreachable_pub, reason = "every test binary uses a part of it")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringkeeper_server::rt::{
    Accept, AfterEof, Backend, CloseReason, ConnId, Doorbell, Handler, Io, ShardConfig, ShardHandle, spawn_shard,
};

/// Long enough for the busiest machine; a test that runs into it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a test of each function for each backend.
#[macro_export]
macro_rules! for_each_backend {
    ($($name:ident),+ $(,)?) => {
        mod on_glommio {
            $(#[test] fn $name() { super::$name(ringkeeper_server::rt::Backend::Glommio) })+
        }
        mod on_ring {
            $(#[test] fn $name() { super::$name(ringkeeper_server::rt::Backend::Ring) })+
        }
    };
}

#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Accepted(ConnId, SocketAddr),
    Recv(ConnId, Vec<u8>),
    Eof(ConnId),
    Closed(ConnId, CloseReason),
}

type Job = Box<dyn FnOnce(&mut Io<'_>) + Send>;

/// What the handler does by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    pub echo: bool,
    pub refuse: bool,
    pub keep_after_eof: bool,
}

pub const ECHO: Manners = Manners { echo: true, refuse: false, keep_after_eof: false };
pub const QUIET: Manners = Manners { echo: false, refuse: false, keep_after_eof: false };

struct Probe {
    manners: Manners,
    events: Sender<Event>,
    jobs: Arc<Mutex<Vec<Job>>>,
    replies: Vec<(ConnId, Vec<u8>)>,
    turns: Arc<Mutex<Vec<Instant>>>,
}

impl Probe {
    fn tell(&self, event: Event) {
        // A test that ended does not listen any more.
        let _ = self.events.send(event);
    }
}

impl Handler for Probe {
    fn on_accept(&mut self, conn: ConnId, peer: SocketAddr) -> Accept {
        self.tell(Event::Accepted(conn, peer));
        if self.manners.refuse { Accept::Refuse } else { Accept::Yes }
    }

    fn on_recv(&mut self, conn: ConnId, bytes: &[u8]) {
        if self.manners.echo {
            self.replies.push((conn, bytes.to_vec()));
        } else {
            self.tell(Event::Recv(conn, bytes.to_vec()));
        }
    }

    fn on_eof(&mut self, conn: ConnId) -> AfterEof {
        self.tell(Event::Eof(conn));
        if self.manners.keep_after_eof { AfterEof::Keep } else { AfterEof::Close }
    }

    fn on_close(&mut self, conn: ConnId, reason: CloseReason) {
        self.tell(Event::Closed(conn, reason));
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        self.turns.lock().unwrap().push(io.now());
        for (conn, mut bytes) in self.replies.drain(..) {
            io.send(conn, &mut bytes);
            assert!(bytes.is_empty(), "a taken buffer comes back empty");
        }
        // What is asked for during a turn gets its own, so that it sees this one carried out.
        let jobs = std::mem::take(&mut *self.jobs.lock().unwrap());
        for job in jobs {
            job(io);
        }
    }
}

/// A running shard under test.
pub struct TestShard {
    handle: Option<ShardHandle>,
    pub events: Receiver<Event>,
    jobs: Arc<Mutex<Vec<Job>>>,
    turns: Arc<Mutex<Vec<Instant>>>,
    pub doorbell: Doorbell,
}

pub fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub fn config() -> ShardConfig {
    ShardConfig { listen: vec![local()], ..ShardConfig::new("test-shard") }
}

impl TestShard {
    pub fn start(backend: Backend, manners: Manners) -> Self {
        Self::start_with(backend, manners, config())
    }

    pub fn start_with(backend: Backend, manners: Manners, config: ShardConfig) -> Self {
        let (sender, events) = channel();
        let jobs = Arc::<Mutex<Vec<Job>>>::default();
        let turns = Arc::<Mutex<Vec<Instant>>>::default();
        let (probe_jobs, probe_turns) = (jobs.clone(), turns.clone());
        let make =
            move |_| Probe { manners, events: sender, jobs: probe_jobs, replies: Vec::new(), turns: probe_turns };
        let handle = spawn_shard(config, backend, make).unwrap();
        let doorbell = handle.doorbell();
        Self { handle: Some(handle), events, jobs, turns, doorbell }
    }

    pub fn addr(&self) -> SocketAddr {
        self.handle.as_ref().unwrap().addrs()[0]
    }

    /// When each turn began. There is one at the start; after [`TestShard::run`] there may be one more, where a turn that had another reason ran `f` before the ring was heard.
    pub fn turns(&self) -> Vec<Instant> {
        self.turns.lock().unwrap().clone()
    }

    /// Waits for a turn that begins at this time or later, without doing anything for it.
    pub fn turn_from(&self, time: Instant) {
        let deadline = Instant::now() + PATIENCE;
        while self.turns().last().is_none_or(|last| *last < time) {
            assert!(Instant::now() < deadline, "a turn comes by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Runs `f` in a turn of the shard and returns what it says.
    pub fn run<T: Send + 'static>(&self, f: impl FnOnce(&mut Io<'_>) -> T + Send + 'static) -> T {
        let (sender, receiver) = channel();
        let job: Job = Box::new(move |io| sender.send(f(io)).unwrap());
        self.jobs.lock().unwrap().push(job);
        self.doorbell.ring();
        receiver.recv_timeout(PATIENCE).expect("the shard takes a turn after a ring")
    }

    pub fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("something happens")
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Connects and waits until the shard has it.
    pub fn connect_known(&self) -> (TcpStream, ConnId) {
        let stream = self.connect();
        match self.next() {
            Event::Accepted(conn, peer) => {
                assert_eq!(peer, stream.local_addr().unwrap());
                (stream, conn)
            }
            other => panic!("expected a new connection, not {other:?}"),
        }
    }

    pub fn closed(&self) -> (ConnId, CloseReason) {
        loop {
            match self.next() {
                Event::Closed(conn, reason) => return (conn, reason),
                Event::Accepted(..) | Event::Recv(..) | Event::Eof(..) => {}
            }
        }
    }

    /// Receives exactly this many bytes from any connection.
    pub fn collect(&self, bytes: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < bytes {
            if let Event::Recv(_, piece) = self.next() {
                got.extend(piece);
            }
        }
        assert_eq!(got.len(), bytes);
        got
    }

    pub fn stop(mut self) -> Receiver<Event> {
        let handle = self.handle.take().unwrap();
        handle.ask_stop();
        handle.join().unwrap();
        std::mem::replace(&mut self.events, channel().1)
    }
}

impl Drop for TestShard {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.ask_stop();
            if !std::thread::panicking() {
                handle.join().unwrap();
            }
        }
    }
}

/// Sends, and checks that the same comes back.
pub fn check_echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == bytes, "the echo differs");
}

/// Everything until the peer's end.
pub fn read_to_end(mut stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    Ok(all)
}

pub fn end_writing(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Bytes in which every place differs from its neighbours.
pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| u8::try_from((i ^ (i >> 8) ^ (i >> 16)) & 0xff).unwrap()).collect()
}
