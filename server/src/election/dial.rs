//! Connecting to another server's election port.
//!
//! Owns one attempt: every address of the server is looked up anew and tried in turn, and the first connection that stands gets the greeting, in one write as Java
//! needs it. It must never take longer than the bound for each address; looking up a name is bounded by the system's resolver alone, which is why each attempt has a
//! thread of its own. A failure says what every address said. `server/tests/election_port` would catch a mistake.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use proto::ServerId;
use socket2::SockRef;
use zab::ensemble::HostPort;

use super::peers::Peers;
use super::{ElectionPortOptions, link, wire};

/// Where no bound is set (`cnxTimeout=0`). Java leaves it to the system, which gives up after about as long.
const CONNECT_MAX: Duration = Duration::from_secs(120);
/// Where a server has several addresses they share the bound, but each has this long if the bound is longer.
const SHARE_MIN: Duration = Duration::from_secs(1);
/// Addresses that are tried at the most: a name may have any number of them.
const ADDRESSES_TRIED_MAX: usize = 16;

/// Starts an attempt; [`Peers::dialled`] hears how it ends.
pub(super) fn start(peers: &Arc<Peers>, server: ServerId, addresses: Vec<HostPort>) -> io::Result<()> {
    let peers = Arc::clone(peers);
    link::spawn(format!("rk-elect-d{}", server.0), move || {
        let outcome = dial(&peers, &addresses);
        peers.dialled(server, outcome);
    })
}

fn dial(peers: &Peers, addresses: &[HostPort]) -> io::Result<TcpStream> {
    let options = peers.options();
    let (candidates, mut failures) = look_up_all(addresses);
    let share = share(options.connect_timeout, candidates.len());
    let own = peers.config().addresses(options.me).unwrap_or_default().to_vec();
    let greeting = wire::greeting(options.me, options.initial_version, &own);
    for address in candidates {
        let connected = TcpStream::connect_timeout(&address, share).and_then(|mut socket| {
            set_options(&socket, options)?;
            socket.write_all(&greeting)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => return Ok(socket),
            Err(error) => failures.push(format!("{address}: {error}")),
        }
    }
    Err(io::Error::other(failures.join("; ")))
}

/// The addresses of all names, IPv4 first as Java's default is, and what those said that have none.
fn look_up_all(addresses: &[HostPort]) -> (Vec<SocketAddr>, Vec<String>) {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for HostPort { host, port } in addresses {
        match look_up(host, *port) {
            Ok(more) => found.extend(more),
            Err(error) => failures.push(format!("{host}: {error}")),
        }
    }
    found.truncate(ADDRESSES_TRIED_MAX);
    if found.is_empty() && failures.is_empty() {
        failures.push("it has no address".into());
    }
    (found, failures)
}

/// The addresses of one name, IPv4 first.
pub(super) fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.dedup();
    Ok(found)
}

/// How long one of `count` addresses may take.
fn share(bound: Duration, count: usize) -> Duration {
    let bound = if bound.is_zero() { CONNECT_MAX } else { bound };
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    (bound / count).max(SHARE_MIN.min(bound))
}

/// What every election connection has: no delay, a bound for writes and for what the other does not acknowledge, and the kernel's probes where asked.
pub(super) fn set_options(socket: &TcpStream, options: &ElectionPortOptions) -> io::Result<()> {
    let bound = if options.connect_timeout.is_zero() { CONNECT_MAX } else { options.connect_timeout };
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(bound))?;
    let socket = SockRef::from(socket);
    socket.set_keepalive(options.tcp_keep_alive)?;
    socket.set_tcp_user_timeout(Some(bound * 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_share_the_bound() {
        let s = Duration::from_secs;
        assert_eq!(share(s(5), 1), s(5));
        assert_eq!(share(s(5), 2), Duration::from_millis(2_500));
        assert_eq!(share(s(5), 16), s(1));
        assert_eq!(share(Duration::from_millis(300), 2), Duration::from_millis(300));
        assert_eq!(share(Duration::ZERO, 0), CONNECT_MAX);
    }

    #[test]
    fn what_has_no_address_says_so() {
        let at = |host: &str| HostPort { host: host.into(), port: 5 };
        let (found, failures) = look_up_all(&[at("127.0.0.1"), at("0:0:0:0:0:0:0:1"), at(&"x".repeat(64))]);
        let expected: [SocketAddr; 2] = ["127.0.0.1:5", "[::1]:5"].map(|text| text.parse().unwrap());
        assert_eq!(found, expected);
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert_eq!(look_up_all(&[]).1, ["it has no address"]);
    }
}
