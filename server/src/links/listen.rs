//! The listening sockets of the quorum port.
//!
//! Owns them, and when to accept again after descriptors ran out. Unlike a client port it is nobody else's: there is no `SO_REUSEPORT`.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, Socket, Type};
use zab::ensemble::HostPort;

use crate::bind::{BindAttempts, NotBound};

/// Why the quorum port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// None of the addresses of the own `server.` line can be listened on.
    #[error(
        "cannot listen on the quorum port {address} after {attempts} attempts: {source}; the own `server.` line must name an address of this machine and a port that \
         nobody uses, or quorumListenOnAllIPs=true take all addresses"
    )]
    Address {
        /// The last one that was tried.
        address: String,
        /// How often it was tried.
        attempts: u32,
        /// What was said.
        source: io::Error,
    },
    /// It was asked to end before.
    #[error("asked to end before there was an address to listen on for the quorum port")]
    AskedToEnd,
    /// The line names none.
    #[error("the own `server.` line names no address for the quorum port")]
    None,
    /// The kernel gives no descriptor or memory.
    #[error("cannot watch the quorum port: {0}; raise the limit of open files (ulimit -n)")]
    Resources(io::Error),
}

impl ListenError {
    pub(super) fn resources(errno: Errno) -> ListenError {
        ListenError::Resources(errno.into())
    }
}

/// One listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: OwnedFd,
    pub(super) address: SocketAddr,
    /// Connections may wait.
    pub(super) has_waiting: bool,
    /// Out of descriptors or memory: not before this time.
    not_before: Option<Instant>,
}

impl Listener {
    /// The next connection, if one waits.
    pub(super) fn accept(&mut self, now: Instant) -> Option<(OwnedFd, SocketAddr)> {
        if !self.has_waiting || self.not_before.is_some_and(|time| time > now) {
            return None;
        }
        self.not_before = None;
        match acceptfrom_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok((socket, from)) => {
                // A peer that is gone already may have no address; the socket is closed by being dropped.
                let from = SocketAddr::try_from(from?).ok()?;
                return Some((socket, SocketAddr::new(from.ip().to_canonical(), from.port())));
            }
            // Gone already; another may wait.
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => self.has_waiting = false,
            Err(error) => {
                tracing::warn!(%error, address = %self.address, "cannot accept on the quorum port; trying again shortly. Is the limit of open files (ulimit -n) too low?");
                self.not_before = Some(now + ACCEPT_PAUSE);
            }
        }
        None
    }

    /// When to accept again, if something waits.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        self.has_waiting.then(|| self.not_before.unwrap_or(now))
    }
}

/// Listens on all of these that this machine has, once it has one of them.
pub(super) fn open(addresses: &[HostPort], attempts: &BindAttempts) -> Result<Vec<Listener>, ListenError> {
    if addresses.is_empty() {
        return Err(ListenError::None);
    }
    attempts.run("quorum", || listen_all(addresses)).map_err(|failure| match failure {
        NotBound::Failed { address, attempts, source } => ListenError::Address { address, attempts, source },
        NotBound::AskedToEnd => ListenError::AskedToEnd,
    })
}

/// Those that can be listened on, or what the last of them said if none can.
fn listen_all(addresses: &[HostPort]) -> Result<Vec<Listener>, (String, io::Error)> {
    let (mut listeners, mut failures) = (Vec::new(), Vec::new());
    for (address, found) in candidates(addresses) {
        match found.and_then(listen) {
            Ok(listener) => listeners.push(listener),
            Err(source) => failures.push((address, source)),
        }
    }
    if listeners.is_empty() {
        return Err(failures.pop().unwrap_or_else(|| (String::new(), io::Error::other("the names have no address"))));
    }
    for (address, error) in failures {
        tracing::warn!(%address, %error, "cannot listen on this address for the quorum port");
    }
    Ok(listeners)
}

/// The addresses of these names, each once, or why a name has none.
fn candidates(addresses: &[HostPort]) -> Vec<(String, io::Result<SocketAddr>)> {
    let mut candidates: Vec<(String, io::Result<SocketAddr>)> = Vec::new();
    for HostPort { host, port } in addresses {
        match (host.as_str(), *port).to_socket_addrs() {
            Err(error) => candidates.push((format!("{host}:{port}"), Err(error))),
            Ok(found) => {
                for address in found {
                    // A port that the kernel chooses is another one each time.
                    if *port == 0 || !candidates.iter().any(|(_, known)| known.as_ref().is_ok_and(|k| *k == address)) {
                        candidates.push((address.to_string(), Ok(address)));
                    }
                }
            }
        }
    }
    candidates
}

fn listen(address: SocketAddr) -> io::Result<Listener> {
    let is_any_v6 = address.is_ipv6() && address.ip().is_unspecified();
    match bind(address) {
        // A machine without IPv6 has all its addresses in the other family.
        Err(error) if is_any_v6 && is_missing_family(&error) => bind(SocketAddr::from(([0; 4], address.port()))),
        bound => bound,
    }
}

fn bind(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `::` means both families to ZooKeeper's users, whatever the host's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok(Listener { socket: listener.into(), address, has_waiting: false, not_before: None })
}

fn is_missing_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;
/// How long accepting pauses when descriptors or memory ran out: the waiting connections stay in the backlog meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
