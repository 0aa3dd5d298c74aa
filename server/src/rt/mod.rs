//! The shards' I/O seam: pinned threads, sockets and wake-ups, offered as completions so that no runtime's type leaves this module.
//!
//! A shard is one thread that owns a [`Handler`] and its connections. The seam delivers completions ([`Handler::on_accept`],
//! [`Handler::on_recv`], [`Handler::on_eof`], [`Handler::on_close`]), and after all that were at hand calls [`Handler::on_turn`] once, with an
//! [`Io`] that takes the shard's commands. What the handler sends in a turn leaves at its end, one send per connection. Other threads
//! reach a shard by putting work where its handler looks and ringing its [`Doorbell`].
//!
//! - **Owns**: listeners, connections, unsent bytes, the sleeping flags ([`Doorbell`], [`Parker`]), pinning. Two backends drive the same
//!   table of connections (`conns`, `driver`): glommio (`on_glommio`) and a raw ring (`on_ring`).
//! - **Must never**: know a protocol, block, spin while idle, name glommio outside this folder, or let a buffer that the kernel may still
//!   use be dropped (it belongs to the connection's slot, never to a future).
//! - **Fails**: what the environment refuses at start is a typed [`Error`] from [`spawn_shard`]; a connection's failure is its
//!   [`CloseReason`]; lack of file descriptors pauses accepting, nothing else.
//! - **Tests**: `server/tests/rt_*.rs`, each for both backends; the sleeping flag is model-checked in `server/tests/rt_flag_model.rs`.

mod bell;
mod conns;
mod driver;
mod flag;
pub mod heap;
mod io;
mod listener;
mod on_glommio;
mod on_ring;
mod ring_buffers;
pub mod stacks;
mod thread;
mod watcher;

/// Where [`flag`] takes its atomics from; its model test puts loom's in this place.
mod atomics {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use bell::{Doorbell, Parker, ThreadBell, Woken};
pub use io::Io;
pub use listener::ensure_unused;
pub use thread::{spawn_pinned, step_back};

/// A connection of one shard. The generation keeps a reused slot from being mistaken for its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Index of the connection's slot; small, dense, reused.
    pub slot: u32,
    /// How often the slot was reused, wrapping.
    pub generation: u32,
}

/// Which machinery drives a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A glommio `LocalExecutor` with a task per connection.
    Glommio,
    /// A raw io_uring with multishot accept and receive (Linux 6.1 or newer).
    Ring,
}

/// What a shard is made of.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// The thread's name (the kernel shows its first 15 bytes).
    pub name: String,
    /// Addresses to listen on, each with `SO_REUSEADDR` and `SO_REUSEPORT`; port 0 lets the kernel choose. May be empty.
    pub listen: Vec<SocketAddr>,
    /// Connections that the kernel keeps until they are accepted, per listener (the kernel clamps it to `net.core.somaxconn`).
    pub backlog: i32,
    /// Whether the kernel probes connections on which nothing happens (`SO_KEEPALIVE`).
    pub keep_alive: bool,
    /// The CPU to pin the thread to; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// Most bytes that one [`Handler::on_recv`] brings.
    pub recv_bytes: usize,
    /// How long a closing connection may take to flush its bytes and see the peer's end before it is cut off.
    pub close_wait: Duration,
}

impl ShardConfig {
    /// A shard of this name that listens nowhere and is not pinned, with the default sizes.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            listen: Vec::new(),
            backlog: BACKLOG_DEFAULT,
            keep_alive: false,
            cpu: None,
            recv_bytes: RECV_BYTES_DEFAULT,
            close_wait: CLOSE_WAIT_DEFAULT,
        }
    }
}

/// A handler's answer to a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Serve it.
    Yes,
    /// Close it at once; nothing more is heard of it.
    Refuse,
}

/// A handler's answer when the peer has ended its side of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterEof {
    /// Close now; unsent bytes are dropped.
    Close,
    /// Keep it for sending or detaching; the handler closes it later.
    Keep,
}

/// Why a connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer ended its side and the handler did not ask to keep it.
    Eof,
    /// Receiving or sending failed (`ConnectionReset`, `BrokenPipe`, `TimedOut`, …).
    Io(std::io::ErrorKind),
    /// The handler asked for it ([`Io::abort`], or [`Io::close_after_flush`] once every byte was given to the kernel).
    ByHandler,
    /// The handler asked to close after a flush, and the peer did not take the bytes in `close_wait`.
    FlushTimedOut,
    /// The shard stopped.
    ShardStopped,
}

/// What a shard does with its completions. All calls come from the shard's own thread, never nested.
pub trait Handler: 'static {
    /// A new connection.
    fn on_accept(&mut self, conn: ConnId, peer: SocketAddr) -> Accept;
    /// Bytes came; they are valid only during the call.
    fn on_recv(&mut self, conn: ConnId, bytes: &[u8]);
    /// The peer sends no more. It may still read.
    fn on_eof(&mut self, _conn: ConnId) -> AfterEof {
        AfterEof::Close
    }
    /// The connection is gone: exactly once for each accepted one, whoever closed it; never for a detached one.
    fn on_close(&mut self, conn: ConnId, reason: CloseReason);
    /// Once per turn: after the completions at hand were delivered, the doorbell rang, the wake-up time came, or bytes that had been
    /// held back could be sent.
    fn on_turn(&mut self, io: &mut Io<'_>);
    /// [`ShardHandle::ask_stop`] was called, once. The default stops at once; a gentler handler closes its connections first
    /// and calls [`Io::stop`] when they are gone.
    fn on_stop_asked(&mut self, io: &mut Io<'_>) {
        io.stop();
    }
}

/// A running shard.
#[derive(Debug)]
pub struct ShardHandle {
    name: String,
    addrs: Vec<SocketAddr>,
    doorbell: Doorbell,
    thread: JoinHandle<()>,
}

impl ShardHandle {
    /// The addresses it listens on, in the order of [`ShardConfig::listen`], with the ports that the kernel chose.
    #[must_use]
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The shard's doorbell.
    #[must_use]
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// Asks the shard to stop; see [`Handler::on_stop_asked`].
    pub fn ask_stop(&self) {
        self.doorbell.ask_stop();
    }

    /// Waits until the shard's loop has ended.
    ///
    /// # Errors
    /// [`Error::Panicked`] if its thread panicked.
    pub fn join(self) -> Result<(), Error> {
        self.thread.join().map_err(|_| Error::Panicked { name: self.name })
    }
}

/// Why a shard or a thread could not start, or how it ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process, or a shard of another user, listens there.
    #[error(
        "address already in use: {addr}; stop the process that listens there, or set another clientPort or clientPortAddress"
    )]
    AddressInUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The listener could not be made for another reason.
    #[error("cannot listen on {addr} ({step}): {source}{}", hint(source))]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// The call that failed.
        step: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The kernel gave no thread.
    #[error(
        "cannot start thread {name}: {source}; raise the limit of processes (ulimit -u, or pids.max of the cgroup)"
    )]
    Thread {
        /// The thread's name.
        name: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The backend could not start.
    #[error("shard {name}: cannot start {backend:?}: {why}")]
    Backend {
        /// The shard's name.
        name: String,
        /// The backend asked for.
        backend: Backend,
        /// What is missing and what to do about it.
        why: String,
    },
    /// The thread panicked; its message is in the log.
    #[error("thread {name} panicked")]
    Panicked {
        /// The thread's name.
        name: String,
    },
}

impl Error {
    /// Whether the machine has no address of this kind, IPv6 above all, so that one of another kind may serve instead.
    #[must_use]
    pub fn is_missing_address_family(&self) -> bool {
        let missing = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL];
        matches!(self, Error::Listen { source, .. } if source.raw_os_error().is_some_and(|code| missing.contains(&code)))
    }
}

/// What to do about the causes of a failed listener that operators meet.
fn hint(source: &std::io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => "; clientPortAddress must be an address of this machine (`ip address` lists them)",
        Some(libc::EACCES) => "; ports below 1024 need the capability CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

/// Starts a shard: binds its listeners, starts its thread and waits until it serves. `make` runs on the shard's thread.
///
/// # Errors
/// Everything that stands in the way of serving: addresses, threads, what the backend needs from the kernel.
pub fn spawn_shard<H: Handler>(
    config: ShardConfig,
    backend: Backend,
    make: impl FnOnce(Doorbell) -> H + Send + 'static,
) -> Result<ShardHandle, Error> {
    let mut listeners = Vec::with_capacity(config.listen.len());
    let mut addrs = Vec::with_capacity(config.listen.len());
    for &addr in &config.listen {
        let (socket, bound) = listener::bind(addr, config.backlog, config.keep_alive)?;
        listeners.push(socket);
        addrs.push(bound);
    }
    let name = config.name.clone();
    let cpu = config.cpu;
    let doorbell = Doorbell::new(backend).map_err(|why| Error::Backend { name: name.clone(), backend, why })?;
    let start = Start { config, listeners, doorbell: doorbell.clone() };
    let (ready, started) = mpsc::sync_channel::<Result<(), String>>(1);
    let thread = spawn_pinned(&name, cpu, move || match backend {
        Backend::Glommio => on_glommio::run(start, make, &Ready(ready)),
        Backend::Ring => on_ring::run(start, make, &Ready(ready)),
    })?;
    match started.recv() {
        Ok(Ok(())) => Ok(ShardHandle { name, addrs, doorbell, thread }),
        Ok(Err(why)) => {
            // The thread has nothing left to do but return.
            let _ = thread.join();
            Err(Error::Backend { name, backend, why })
        }
        Err(mpsc::RecvError) => {
            let _ = thread.join();
            Err(Error::Panicked { name })
        }
    }
}

/// What a backend starts from.
struct Start {
    config: ShardConfig,
    listeners: Vec<std::net::TcpListener>,
    doorbell: Doorbell,
}

/// The one message by which a backend says that it serves, or why it cannot.
struct Ready(mpsc::SyncSender<Result<(), String>>);

impl Ready {
    fn tell(&self, outcome: Result<(), String>) {
        // Nobody listens only if the caller of spawn_shard died; the shard then has no owner either.
        let _ = self.0.try_send(outcome);
    }
}

const BACKLOG_DEFAULT: i32 = 4096;
/// Large enough for a batch of 1 KiB writes, small enough that 512 of them are 8 MiB.
const RECV_BYTES_DEFAULT: usize = 16 * 1024;
const CLOSE_WAIT_DEFAULT: Duration = Duration::from_secs(2);
/// How long accepting pauses when file descriptors or memory ran out: the waiting connections stay in the backlog meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
