//! The `server.N` line: who is in the ensemble, under which addresses, in which role.
//!
//! Pure text to types; host names are not looked up here. Both forms are read, the classic
//! `host:quorumPort:electionPort[:role]` and the one with `;[clientAddress:]clientPort`, with several addresses
//! separated by `|` and IPv6 addresses in brackets. Mirrors `QuorumPeer.QuorumServer` of 3.9.

use std::fmt;

/// One member of the ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// One or more; more than one only with `multiAddress.enabled`.
    pub addresses: Vec<PeerAddress>,
    /// Whether it votes.
    pub role: Role,
    /// Where it serves clients, if the line says so.
    pub client: Option<HostPort>,
}

/// One network address of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Name or address, without brackets.
    pub host: String,
    /// Port for the leader's and the followers' traffic.
    pub quorum_port: u16,
    /// Port for elections.
    pub election_port: u16,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without brackets; `0.0.0.0` where the line names only the port.
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

/// What is wrong with a `server.N` line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// It does not have the form.
    #[error("{FORM}")]
    Form,
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
}

const FORM: &str = "the form host:quorumPort:electionPort[:participant|observer][;[clientAddress:]clientPort]";

/// Reads what stands behind `server.N=`.
pub fn parse(text: &str, multi_address: bool) -> Result<Member, MemberError> {
    let mut halves = text.split(';').map(str::trim);
    let servers = halves.next().unwrap_or_default();
    let client = halves.next().filter(|half| !half.is_empty());
    if halves.any(|half| !half.is_empty()) {
        return Err(MemberError::Form);
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
    Ok(Member {
        addresses: parsed.into_iter().map(|(address, _)| address).collect(),
        role: role.unwrap_or_default(),
        client: client.map(parse_client).transpose()?,
    })
}

/// `host:quorumPort:electionPort[:role]`.
fn parse_address(text: &str) -> Result<(PeerAddress, Option<Role>), MemberError> {
    let (host, rest) = split_host(text).ok_or(MemberError::Form)?;
    let parts: Vec<&str> = rest.split(':').collect();
    let (quorum, election, role) = match parts.as_slice() {
        [quorum, election] => (quorum, election, None),
        [quorum, election, role] => (quorum, election, Some(parse_role(role)?)),
        _ => return Err(MemberError::Form),
    };
    let (quorum_port, election_port) = (parse_port(quorum)?, parse_port(election)?);
    if quorum_port == election_port {
        return Err(MemberError::SamePort(quorum_port));
    }
    Ok((PeerAddress { host: host.to_owned(), quorum_port, election_port }, role))
}

/// `port` or `host:port`.
fn parse_client(text: &str) -> Result<HostPort, MemberError> {
    let Some((host, port)) = split_host(text) else {
        return Ok(HostPort { host: "0.0.0.0".into(), port: parse_port(text)? });
    };
    Ok(HostPort { host: host.to_owned(), port: parse_port(port)? })
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
            ("[::1]:2888:3888;[fe80::1]:2181", vec![address("::1", 2888, 3888)], Participant, client("fe80::1", 2181)),
            (
                "a:1:2:observer|[::2]:3:4:observer;5",
                vec![address("a", 1, 2), address("::2", 3, 4)],
                Observer,
                client("0.0.0.0", 5),
            ),
        ];
        for (text, addresses, role, client) in table {
            assert_eq!(parse(text, true), Ok(Member { addresses, role, client }), "{text}");
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
        ];
        for (text, error) in table {
            assert_eq!(parse(text, true), Err(error), "{text}");
        }
        assert_eq!(parse("a:1:2|b:1:2", false), Err(MemberError::MultiAddressOff));
    }
}
