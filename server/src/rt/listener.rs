//! Makes the listening sockets of a shard, so that several shards (and only this user's) can listen on one port.
//!
//! Errors come back typed, before any thread starts. `TCP_NODELAY` and `SO_KEEPALIVE` are set here because accepted
//! sockets inherit them on Linux.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::Error;

/// Sees that nobody listens on `addr`. `SO_REUSEPORT` is there for the shards of one server, and would let another server of the same
/// user take a share of this one's clients without a word; a socket without it is refused by whoever listens. Of two servers that
/// start within the same moment both may still come up. A server that was killed may have listened there a moment ago: the kernel
/// takes its ring apart beside whatever comes next, so this waits up to a second for the address.
///
/// # Errors
/// [`Error::AddressInUse`], [`Error::Listen`].
pub fn ensure_unused(addr: SocketAddr) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        let socket = open(addr)?;
        // The socket is closed again at once: it has never listened, so nobody has connected to it.
        match socket.bind(&addr.into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < RELEASE_TIME => {
                std::thread::sleep(RELEASE_LOOK);
            }
            done => return done.map_err(failure(addr, "bind")),
        }
    }
}

/// How long an address may still be another process's.
pub(super) const RELEASE_TIME: Duration = Duration::from_secs(1);
/// How often it is looked whether it is.
const RELEASE_LOOK: Duration = Duration::from_millis(20);

/// Binds and listens; returns the socket and the address with the port that it got.
pub(super) fn bind(addr: SocketAddr, backlog: i32, keep_alive: bool) -> Result<(TcpListener, SocketAddr), Error> {
    let socket = open(addr)?;
    let failed = |step| failure(addr, step);
    socket.set_reuse_port(true).map_err(failed("SO_REUSEPORT"))?;
    socket.set_tcp_nodelay(true).map_err(failed("TCP_NODELAY"))?;
    socket.set_keepalive(keep_alive).map_err(failed("SO_KEEPALIVE"))?;
    socket.bind(&addr.into()).map_err(failed("bind"))?;
    socket.listen(backlog).map_err(failed("listen"))?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr().map_err(failed("getsockname"))?;
    Ok((listener, bound))
}

/// A socket for this address, with the options that every one of ours has.
fn open(addr: SocketAddr) -> Result<Socket, Error> {
    let failed = |step| failure(addr, step);
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)).map_err(failed("socket"))?;
    if addr.is_ipv6() {
        // `::` means both families to ZooKeeper's users, whatever the host's default is.
        socket.set_only_v6(false).map_err(failed("IPV6_V6ONLY"))?;
    }
    socket.set_reuse_address(true).map_err(failed("SO_REUSEADDR"))?;
    Ok(socket)
}

/// The error of a step that failed.
fn failure(addr: SocketAddr, step: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::AddressInUse { addr },
        _ => Error::Listen { addr, step, source },
    }
}

/// Whether an accept failed for want of something that may come back, so that trying at once again would only spin.
pub(super) fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_becomes_free_soon_is_waited_for_and_one_that_does_not_is_an_error() {
        let before = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = before.local_addr().unwrap();
        assert!(matches!(ensure_unused(addr), Err(Error::AddressInUse { addr: named }) if named == addr));
        let begun = Instant::now();
        let ends = std::thread::spawn(move || {
            std::thread::sleep(5 * RELEASE_LOOK);
            drop(before);
        });
        ensure_unused(addr).unwrap();
        assert!(begun.elapsed() >= 5 * RELEASE_LOOK);
        ends.join().unwrap();
    }
}
