//! Makes the listening sockets of a shard, so that several shards (and only this user's) can listen on one port.
//!
//! Errors come back typed, before any thread starts. `TCP_NODELAY` is set here because accepted sockets inherit it on Linux.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::Error;

/// Binds and listens; returns the socket and the address with the port that it got.
pub(super) fn bind(addr: SocketAddr, backlog: i32) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |step: &'static str| {
        move |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => Error::AddressInUse { addr },
            _ => Error::Listen { addr, step, source },
        }
    };
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)).map_err(failed("socket"))?;
    if addr.is_ipv6() {
        // `::` means both families to ZooKeeper's users, whatever the host's default is.
        socket.set_only_v6(false).map_err(failed("IPV6_V6ONLY"))?;
    }
    socket.set_reuse_address(true).map_err(failed("SO_REUSEADDR"))?;
    socket.set_reuse_port(true).map_err(failed("SO_REUSEPORT"))?;
    socket.set_tcp_nodelay(true).map_err(failed("TCP_NODELAY"))?;
    socket.bind(&addr.into()).map_err(failed("bind"))?;
    socket.listen(backlog).map_err(failed("listen"))?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr().map_err(failed("getsockname"))?;
    Ok((listener, bound))
}

/// Whether an accept failed for want of something that may come back, so that trying at once again would only spin.
pub(super) fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
