//! One member: the value of a `server.N` line, under which addresses and in which role a server is found.
//!
//! Owns both forms of the line, the classic `host:quorumPort:electionPort[:role]` and the one with `;[clientAddress:]clientPort`, with several
//! addresses separated by `|` and IPv6 addresses in brackets, and how Java prints it. Host names are not looked up. Every part is bounded by a
//! named limit; it fails with [`MemberError`]. Mirrors `QuorumPeer.QuorumServer` of 3.9.5; its own answers, in
//! `tests/vectors/ensemble-3.9.5.txt`, would catch a mistake.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The most bytes of a host. DNS has 253, an IPv6 address with its zone needs less.
pub const HOST_BYTES_MAX: usize = 255;
/// The most addresses of one member: networks that it is found under.
pub const ADDRESSES_MAX: usize = 8;

/// One member of the ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// One or more, ordered by host and without repetition, as Java prints them; more than one only with `multiAddress.enabled`.
    pub addresses: Vec<PeerAddress>,
    /// Whether it votes.
    pub role: Role,
    /// Where it serves clients, if the line says so.
    pub client: Option<HostPort>,
}

/// One network address of a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    /// Name or address, without brackets. A name is as written, an address as Java prints it (`0:0:0:0:0:0:0:1`).
    pub host: String,
    /// Port for the leader's and the followers' traffic.
    pub quorum_port: u16,
    /// Port for elections.
    pub election_port: u16,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, as in [`PeerAddress`]; `0.0.0.0` where the line names only the port.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Whether a member votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It votes.
    #[default]
    Participant,
    /// It follows without a vote.
    Observer,
}

/// What is wrong with the value of a `server.N` line. The message says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// It does not have the form.
    #[error("{FORM}")]
    Form,
    /// Neither a name nor an address.
    #[error(
        "a host of letters, digits, `-`, `_` and `.`, or an IPv6 address in brackets, of at most {HOST_BYTES_MAX} bytes, not `{0}`"
    )]
    Host(String),
    /// A port is not a port.
    #[error("ports from 1 to 65535, not `{0}`; {FORM}")]
    Port(String),
    /// Quorum and election port are one.
    #[error("two different ports for quorum and election, not {0} for both")]
    SamePort(u16),
    /// A role that does not exist.
    #[error("the role participant or observer, not `{0}`")]
    Role(String),
    /// Two roles in one line.
    #[error("one role for all of a server's addresses")]
    MixedRoles,
    /// `|` without the feature.
    #[error("one address, unless multiAddress.enabled=true is set")]
    MultiAddressOff,
    /// Too many of them.
    #[error("at most {ADDRESSES_MAX} addresses of a server")]
    Addresses,
}

const FORM: &str = "the form host:quorumPort:electionPort[:participant|observer][;[clientAddress:]clientPort]";

impl Member {
    /// Reads what stands behind `server.N=`.
    ///
    /// # Errors
    /// On anything that does not have the form, and on several addresses without `multi_address`.
    pub fn parse(text: &str, multi_address: bool) -> Result<Member, MemberError> {
        let mut halves = text.split(';').map(str::trim);
        let servers = halves.next().unwrap_or_default();
        let client = halves.next().filter(|half| !half.is_empty());
        if halves.any(|half| !half.is_empty()) {
            return Err(MemberError::Form);
        }
        if servers.split('|').nth(ADDRESSES_MAX).is_some() {
            return Err(MemberError::Addresses);
        }
        let parsed: Result<Vec<_>, _> = servers.split('|').map(|address| parse_address(address.trim())).collect();
        let parsed = parsed?;
        if parsed.len() > 1 && !multi_address {
            return Err(MemberError::MultiAddressOff);
        }
        let mut roles = parsed.iter().filter_map(|(_, role)| *role);
        let role = roles.next();
        if roles.any(|other| Some(other) != role) {
            return Err(MemberError::MixedRoles);
        }
        let mut addresses: Vec<_> = parsed.into_iter().map(|(address, _)| address).collect();
        // By host as in Java; where one stands twice, Java's order is that of a hash of what was looked up.
        addresses.sort();
        addresses.dedup();
        Ok(Member { addresses, role: role.unwrap_or_default(), client: client.map(parse_client).transpose()? })
    }
}

/// What `QuorumServer.toString` prints.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, PeerAddress { host, quorum_port, election_port }) in self.addresses.iter().enumerate() {
            let separator = if place == 0 { "" } else { "|" };
            write!(f, "{separator}{}:{quorum_port}:{election_port}", Bracketed(host))?;
        }
        write!(f, ":{}", self.role)?;
        match &self.client {
            Some(HostPort { host, port }) => write!(f, ";{}:{port}", Bracketed(host)),
            None => Ok(()),
        }
    }
}

/// A host as it stands before a `:`.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

/// `host:quorumPort:electionPort[:role]`.
fn parse_address(text: &str) -> Result<(PeerAddress, Option<Role>), MemberError> {
    let (host, rest) = split_host(text).ok_or(MemberError::Form)?;
    let parts: Vec<&str> = rest.splitn(4, ':').collect();
    let (quorum, election, role) = match parts.as_slice() {
        [quorum, election] => (quorum, election, None),
        [quorum, election, role] => (quorum, election, Some(parse_role(role)?)),
        _ => return Err(MemberError::Form),
    };
    let host = parse_host(host)?;
    let (quorum_port, election_port) = (parse_port(quorum)?, parse_port(election)?);
    if quorum_port == election_port {
        return Err(MemberError::SamePort(quorum_port));
    }
    Ok((PeerAddress { host, quorum_port, election_port }, role))
}

/// `port` or `host:port`.
fn parse_client(text: &str) -> Result<HostPort, MemberError> {
    let Some((host, port)) = split_host(text) else {
        return Ok(HostPort { host: "0.0.0.0".into(), port: parse_port(text)? });
    };
    Ok(HostPort { host: parse_host(host)?, port: parse_port(port)? })
}

/// Splits off the host, which may stand in brackets; `None` where no `:` follows it or it is empty.
fn split_host(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, rest.strip_prefix(':')?)
        }
        None => text.split_once(':')?,
    };
    (!host.is_empty()).then_some((host, rest))
}

/// A name as it is, an IPv6 address in the one form that Java prints.
fn parse_host(text: &str) -> Result<String, MemberError> {
    let canonical = match text.split_once('%') {
        _ if text.len() > HOST_BYTES_MAX => None,
        Some((address, zone)) => parse_ipv6(address).zip(parse_zone(zone)).and_then(|(address, zone)| match address {
            Ipv6Form::V6(address) => Some(format!("{address}%{zone}")),
            Ipv6Form::Mapped(_) => None,
        }),
        None if text.bytes().all(is_name_byte) => Some(text.to_owned()),
        None => parse_ipv6(text).map(|address| match address {
            Ipv6Form::V6(address) => address,
            Ipv6Form::Mapped(address) => address.to_string(),
        }),
    };
    let bounded = canonical.filter(|host| host.len() <= HOST_BYTES_MAX);
    bounded.ok_or_else(|| MemberError::Host(text.to_owned()))
}

/// What Java makes of an IPv6 address.
enum Ipv6Form {
    /// All eight groups.
    V6(String),
    /// `::ffff:1.2.3.4` is an IPv4 address.
    Mapped(Ipv4Addr),
}

fn parse_ipv6(text: &str) -> Option<Ipv6Form> {
    let address: Ipv6Addr = text.parse().ok()?;
    Some(match address.to_ipv4_mapped() {
        Some(mapped) => Ipv6Form::Mapped(mapped),
        None => Ipv6Form::V6(address.segments().map(|group| format!("{group:x}")).join(":")),
    })
}

/// The number or the name of an interface.
fn parse_zone(text: &str) -> Option<String> {
    match text.parse::<u32>() {
        Ok(number) => Some(number.to_string()),
        Err(_) => {
            let is_name = !text.is_empty() && text.bytes().all(is_name_byte);
            is_name.then(|| text.to_owned())
        }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

fn parse_port(text: &str) -> Result<u16, MemberError> {
    let port = text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    port.ok_or_else(|| MemberError::Port(text.to_owned()))
}

fn parse_role(text: &str) -> Result<Role, MemberError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "participant" => Ok(Role::Participant),
        "observer" => Ok(Role::Observer),
        _ => Err(MemberError::Role(text.to_owned())),
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Participant => "participant",
            Role::Observer => "observer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, quorum_port: u16, election_port: u16) -> PeerAddress {
        PeerAddress { host: host.into(), quorum_port, election_port }
    }

    fn client(host: &str, port: u16) -> Option<HostPort> {
        Some(HostPort { host: host.into(), port })
    }

    #[test]
    fn every_form_of_the_line_is_read() {
        use Role::{Observer, Participant};
        let table = [
            ("zoo1:2888:3888", vec![address("zoo1", 2888, 3888)], Participant, None),
            ("zoo1:2888:3888:observer", vec![address("zoo1", 2888, 3888)], Observer, None),
            (
                "zoo1:2888:3888:PARTICIPANT;2181",
                vec![address("zoo1", 2888, 3888)],
                Participant,
                client("0.0.0.0", 2181),
            ),
            ("zoo1:2888:3888;10.0.0.1:2181", vec![address("zoo1", 2888, 3888)], Participant, client("10.0.0.1", 2181)),
            ("zoo1:2888:3888;", vec![address("zoo1", 2888, 3888)], Participant, None),
            (
                "[::1]:2888:3888;[fe80::1]:2181",
                vec![address("0:0:0:0:0:0:0:1", 2888, 3888)],
                Participant,
                client("fe80:0:0:0:0:0:0:1", 2181),
            ),
            (
                "a:1:2:observer|[::2]:3:4:observer;5",
                vec![address("0:0:0:0:0:0:0:2", 3, 4), address("a", 1, 2)],
                Observer,
                client("0.0.0.0", 5),
            ),
        ];
        for (text, addresses, role, client) in table {
            assert_eq!(Member::parse(text, true), Ok(Member { addresses, role, client }), "{text}");
        }
    }

    #[test]
    fn wrong_lines_say_what_is_allowed() {
        let table = [
            ("", MemberError::Form),
            ("zoo1", MemberError::Form),
            ("zoo1:2888", MemberError::Form),
            (":2888:3888", MemberError::Form),
            ("[::1:2888:3888", MemberError::Form),
            ("[::1]2888:3888", MemberError::Form),
            ("zoo1:1:2:observer:x", MemberError::Form),
            ("zoo1:1:2;3;4", MemberError::Form),
            ("zoo1:0:3888", MemberError::Port("0".into())),
            ("zoo1:2888:65536", MemberError::Port("65536".into())),
            ("zoo1:2888:3888;http", MemberError::Port("http".into())),
            ("zoo1:2888:2888", MemberError::SamePort(2888)),
            ("zoo1:2888:3888:witness", MemberError::Role("witness".into())),
            ("a:1:2:observer|b:1:2:participant", MemberError::MixedRoles),
            ("[a:b]:1:2", MemberError::Host("a:b".into())),
            ("[::1%]:1:2", MemberError::Host("::1%".into())),
            ("[::ffff:1.2.3.4%1]:1:2", MemberError::Host("::ffff:1.2.3.4%1".into())),
            ("zo o:1:2", MemberError::Host("zo o".into())),
            ("a:1:2;${HOST}:2181", MemberError::Host("${HOST}".into())),
        ];
        for (text, error) in table {
            assert_eq!(Member::parse(text, true), Err(error), "{text}");
        }
        assert_eq!(Member::parse("a:1:2|b:1:2", false), Err(MemberError::MultiAddressOff));
        let hosts = |count: usize| vec!["a:1:2"; count].join("|");
        assert!(Member::parse(&hosts(ADDRESSES_MAX), true).is_ok());
        assert_eq!(Member::parse(&hosts(ADDRESSES_MAX + 1), true), Err(MemberError::Addresses));
        let long = "a".repeat(HOST_BYTES_MAX);
        assert!(Member::parse(&format!("{long}:1:2"), true).is_ok());
        assert_eq!(Member::parse(&format!("{long}a:1:2"), true), Err(MemberError::Host(format!("{long}a"))));
    }
}
