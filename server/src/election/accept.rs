//! The listeners of the election port, and connections that have not said yet whose they are.
//!
//! One thread does it all and starts none for anybody who has not greeted. Owns the listeners, and at most [`GREETINGS_MAX`] connections with the bytes of a
//! greeting each; of more the oldest is closed, since a server greets with its first packet. It must never wait for one of them. A connection that is silent for the
//! bound, sends what is no greeting or ends is closed, and that is all. Where no file descriptor is left it accepts again after a pause.
//! `server/tests/election_port/hostile.rs` would catch a mistake.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::Received;
use proto::election::InitialMessage;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use socket2::{Domain, Protocol, Socket, Type};
use zab::ensemble::HostPort;

use super::dial::look_up;
use super::peers::Peers;
use super::{ElectionPortOptions, StartError};
use crate::bind::NotBound;

/// Connections that have not greeted, at one time.
const GREETINGS_MAX: usize = 64;
/// How many are accepted before those that wait are looked at again.
const ACCEPTED_MAX: usize = 16;
/// Bytes that are read of a connection at one time, more than a greeting has.
const CHUNK_BYTES: usize = 4 << 10;
/// Connections that the kernel keeps until they are accepted: an ensemble's worth (Java has 50).
const BACKLOG: i32 = 128;
/// Pause after an accept for which something was missing.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Vec<TcpListener>,
    greetings: VecDeque<Greeting>,
    /// Readable once the port stops.
    stop: Arc<OwnedFd>,
    paused_until: Option<Instant>,
    /// How long a greeting may take to come.
    greeting_timeout: Duration,
}

#[derive(Debug)]
struct Greeting {
    socket: TcpStream,
    from: SocketAddr,
    bytes: Vec<u8>,
    until: Instant,
}

/// Ends the acceptor.
#[derive(Debug)]
pub(super) struct Stop(Arc<OwnedFd>);

impl Stop {
    /// Its thread ends soon.
    pub(super) fn ask(&self) {
        // Would fail only with 2^64 - 2 of them in it.
        let _written = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Acceptor {
    /// Binds every address of `own`, with as many attempts as the options allow.
    ///
    /// # Errors
    /// [`StartError::Bind`] for what the last attempt failed of, [`StartError::AskedToEnd`], [`StartError::Bell`].
    pub(super) fn bind(own: &[HostPort], options: &ElectionPortOptions) -> Result<(Acceptor, Stop), StartError> {
        let listeners = options.bind.run("election", || listen_all(own, options.listen_on_all_ips));
        let listeners = listeners.map_err(|failure| match failure {
            NotBound::Failed { address, attempts, source } => StartError::Bind { address, attempts, source },
            NotBound::AskedToEnd => StartError::AskedToEnd,
        })?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| StartError::Bell(errno.into()))?;
        let stop = Arc::new(bell);
        let acceptor = Acceptor {
            listeners,
            greetings: VecDeque::new(),
            stop: Arc::clone(&stop),
            paused_until: None,
            greeting_timeout: options.greeting_timeout,
        };
        Ok((acceptor, Stop(stop)))
    }

    /// Accepts until it is stopped.
    pub(super) fn run(mut self, peers: &Arc<Peers>) {
        while !peers.is_stopping() {
            self.wait();
            self.accept();
            self.read(peers);
        }
    }

    /// Waits until there is something to do.
    fn wait(&mut self) {
        let now = Instant::now();
        self.paused_until = self.paused_until.filter(|until| *until > now);
        let next = self.greetings.iter().map(|greeting| greeting.until).chain(self.paused_until).min();
        let timeout = next.map(|next| Timespec::try_from(next.saturating_duration_since(now)));
        let mut fds = vec![PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN)];
        if self.paused_until.is_none() {
            fds.extend(self.listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
        }
        fds.extend(self.greetings.iter().map(|greeting| PollFd::new(&greeting.socket, PollFlags::IN)));
        // However it ends, everything is looked at: nothing of it blocks.
        let _ready = poll(&mut fds, timeout.and_then(Result::ok).as_ref());
    }

    fn accept(&mut self) {
        if self.paused_until.is_some() {
            return;
        }
        for listener in &self.listeners {
            for _ in 0..ACCEPTED_MAX {
                let (socket, from) = match listener.accept() {
                    Ok(accepted) => accepted,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // It has ended before it was accepted.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                    Err(error) => {
                        tracing::warn!(%error, "no connection is accepted on the election port for a moment");
                        self.paused_until = Some(Instant::now() + PAUSE);
                        break;
                    }
                };
                if socket.set_nonblocking(true).is_err() {
                    continue;
                }
                if self.greetings.len() >= GREETINGS_MAX {
                    self.greetings.pop_front();
                }
                let until = Instant::now() + self.greeting_timeout;
                self.greetings.push_back(Greeting { socket, from, bytes: Vec::new(), until });
            }
        }
    }

    /// Hands over whoever has greeted, and closes whoever will not.
    fn read(&mut self, peers: &Arc<Peers>) {
        let now = Instant::now();
        for mut greeting in std::mem::take(&mut self.greetings) {
            if !greeting.read() || greeting.until <= now {
                tracing::debug!(from = %greeting.from, "a connection to the election port ended without a greeting");
                continue;
            }
            let Greeting { socket, from, bytes, until } = greeting;
            match InitialMessage::receive(&bytes) {
                Ok(Received::NeedsBytes(_)) => self.greetings.push_back(Greeting { socket, from, bytes, until }),
                Ok(Received::Whole(message, len)) => match socket.set_nonblocking(false) {
                    Ok(()) => peers.greeted(socket, from, &message, bytes.get(len..).unwrap_or_default()),
                    Err(error) => tracing::debug!(%from, %error, "an election connection went away at once"),
                },
                Err(error) => tracing::info!(%from, %error, "what came to the election port is no greeting"),
            }
        }
    }
}

impl Greeting {
    /// Takes what has come. False if the connection has ended.
    fn read(&mut self) -> bool {
        let mut chunk = [0; CHUNK_BYTES];
        match self.socket.read(&mut chunk) {
            Ok(0) => false,
            Ok(read) => {
                self.bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
                true
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }
}

/// A listener for each of the own addresses; with `on_all` for each port, at every address of the machine.
fn listen_all(own: &[HostPort], on_all: bool) -> Result<Vec<TcpListener>, (String, io::Error)> {
    let mut addresses = Vec::new();
    for HostPort { host, port } in own {
        let found = if on_all { Ok(vec![(Ipv4Addr::UNSPECIFIED, *port).into()]) } else { look_up(host, *port) };
        let first = found.map(|found| found.into_iter().next());
        let first = first.and_then(|first| first.ok_or_else(|| io::Error::other("the name has no address")));
        let address = first.map_err(|error| (format!("{host}:{port}"), error))?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.into_iter().map(|address| listen(address).map_err(|error| (address.to_string(), error))).collect()
}

/// Listens on an address; the wildcard of either family is that of both, as in Java, where the machine has both.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let everywhere = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()))),
        _ => None,
    };
    match everywhere.map(open) {
        Some(Err(error)) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => open(address),
        Some(outcome) => outcome,
        None => open(address),
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
