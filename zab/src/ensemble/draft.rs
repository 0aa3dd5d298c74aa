//! An ensemble that is being put together line by line, and what can be wrong with it.
//!
//! Owns the meaning of the keys `server.N`, `group.N`, `weight.N` and `version`, and the rules about all of them together. It must never know where the
//! lines stand: that is the caller's, a file's or a packet's. Mirrors the constructors of `QuorumMaj` and `QuorumHierarchical` of 3.9.5; what Java
//! refuses, with a `NullPointerException` too, is refused.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proto::{ConfigVersion, ServerId};

use super::member::{Member, MemberError, Role};
use super::quorum::Quorums;
use super::{Ensemble, GroupId, Hierarchy, SERVERS_MAX};

/// The most bytes of a text. Java refuses a notification beyond 512 KiB, with the 52 bytes before its text.
pub const TEXT_BYTES_MAX: usize = 512 * 1024 - 64;
/// The most bytes of a line's value: eight addresses of the longest hosts, or a group of all servers that may be.
pub const LINE_BYTES_MAX: usize = 8 * 1024;
/// The greatest weight: the sum of all fits.
pub const WEIGHT_MAX: u64 = u32::MAX as u64;

/// What is wrong with a line. The messages of all but the first three say what is allowed, as noun phrases.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// No key of an ensemble.
    #[error("`{0}` is not a key of an ensemble; they are server.ID, group.NUMBER, weight.ID and version")]
    Key(String),
    /// `server.` or `weight.` and no server's id.
    #[error("`{0}` does not end with a server's id; these are whole numbers from 0 to {max}", max = ServerId::OBSERVER.0 - 1)]
    ServerId(String),
    /// `group.` and no group's number.
    #[error("`{0}` does not end with a group's number; these are whole numbers from {min} to {max}", min = i64::MIN, max = i64::MAX)]
    GroupId(String),
    /// It has been said before.
    #[error("one line of each key, and `{0}` has two")]
    Twice(String),
    /// Longer than any line has to be.
    #[error("at most {LINE_BYTES_MAX} bytes, not {0}")]
    Long(usize),
    /// Of a `server.N` line.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// Of a `group.N` line.
    #[error("server ids separated by `:`, at most {SERVERS_MAX}")]
    Group,
    /// Of a `weight.N` line.
    #[error("a whole number from 0 to {WEIGHT_MAX}")]
    Weight,
    /// Of the `version` line.
    #[error("a hexadecimal number from 0 to 7fffffffffffffff")]
    Version,
}

/// What is wrong with an ensemble or its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnsembleError {
    /// More bytes than any ensemble needs.
    #[error("the text of an ensemble has at most {TEXT_BYTES_MAX} bytes, not {0}")]
    Long(usize),
    /// A line has no `=`, or is wrong.
    #[error("line {number} of the ensemble's text: {error}")]
    Line {
        /// From 1.
        number: usize,
        /// What is wrong with it.
        error: LineError,
    },
    /// Too many members, or servers with a group or a weight.
    #[error("an ensemble has at most {SERVERS_MAX} servers, groups and weights of servers, not {0}")]
    TooMany(usize),
    /// None that votes.
    #[error("an ensemble needs a `server.` line with a voting server")]
    NoVoter,
    /// A voter without a group in a hierarchical ensemble.
    #[error("with groups or weights every voting server needs a group; add {} to a `group.` line", .0.0)]
    NoGroup(ServerId),
    /// A server in two groups, or twice in one.
    #[error("a server is in one group, and server {} stands in several", .server.0)]
    TwoGroups {
        /// The server.
        server: ServerId,
        /// The group that names it again; its line is the later one by the groups' numbers.
        group: GroupId,
    },
    /// A server in a group that is not a voter, which has no weight by itself.
    #[error("server {} is in a group and does not vote; add a line weight.{}=0, or take it out of the group", .0.0, .0.0)]
    NoWeight(ServerId),
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    multi_address: bool,
    version: Option<ConfigVersion>,
    members: BTreeMap<ServerId, Member>,
    groups: BTreeMap<GroupId, Vec<ServerId>>,
    weights: BTreeMap<ServerId, u64>,
    is_hierarchical: bool,
}

impl Draft {
    /// An empty one. Without `multi_address` a member has one address.
    #[must_use]
    pub fn new(multi_address: bool) -> Draft {
        Draft { multi_address, ..Draft::default() }
    }

    /// Takes a line.
    ///
    /// # Errors
    /// On a key that is none of an ensemble or has been taken before, and on a wrong value. The draft is then as before, except that a group or a weight of
    /// whatever form makes it hierarchical.
    pub fn line(&mut self, key: &str, value: &str) -> Result<(), LineError> {
        if value.len() > LINE_BYTES_MAX || key.len() > LINE_BYTES_MAX {
            return Err(LineError::Long(value.len().max(key.len())));
        }
        if key == "version" {
            if self.version.is_some() {
                return Err(LineError::Twice(key.to_owned()));
            }
            self.version = Some(parse_version(value)?);
            return Ok(());
        }
        let unknown = || LineError::Key(key.to_owned());
        let (stem, id) = key.split_once('.').ok_or_else(unknown)?;
        self.is_hierarchical |= matches!(stem, "group" | "weight");
        let server = || parse_server(id).ok_or_else(|| LineError::ServerId(key.to_owned()));
        match stem {
            "server" => insert(&mut self.members, server()?, Member::parse(value, self.multi_address)?, key),
            "weight" => insert(&mut self.weights, server()?, parse_weight(value)?, key),
            "group" => {
                let group = id.parse().map(GroupId).map_err(|_| LineError::GroupId(key.to_owned()))?;
                insert(&mut self.groups, group, parse_group(value)?, key)
            }
            _ => Err(unknown()),
        }
    }

    /// The members so far.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<ServerId, Member> {
        &self.members
    }

    /// The ensemble of these lines; one without any member, too.
    ///
    /// # Errors
    /// With everything that is wrong with it, at least one error.
    pub fn finish(mut self) -> Result<Ensemble, Vec<EnsembleError>> {
        let mut errors = Vec::new();
        let grouped: usize = self.groups.values().map(Vec::len).sum();
        let most = self.members.len().max(grouped).max(self.weights.len());
        if most > SERVERS_MAX {
            return Err(vec![EnsembleError::TooMany(most)]);
        }
        let hierarchy = self.is_hierarchical.then(|| self.hierarchy(&mut errors));
        if !errors.is_empty() {
            return Err(errors);
        }
        let voters = self.members.iter().filter(|(_, member)| member.role == Role::Participant);
        let quorums = Quorums::new(voters.map(|(id, _)| *id).collect(), hierarchy.as_ref());
        let version = self.version.unwrap_or_default();
        let ensemble = Ensemble { version, members: self.members, hierarchy, quorums };
        match ensemble.to_text().len() {
            ..=TEXT_BYTES_MAX => Ok(ensemble),
            bytes => Err(vec![EnsembleError::Long(bytes)]),
        }
    }

    fn hierarchy(&mut self, errors: &mut Vec<EnsembleError>) -> Hierarchy {
        let mut groups = BTreeMap::new();
        for (group, servers) in &self.groups {
            for server in servers {
                if groups.insert(*server, *group).is_some() {
                    errors.push(EnsembleError::TwoGroups { server: *server, group: *group });
                }
            }
        }
        let mut weights = std::mem::take(&mut self.weights);
        for (id, member) in &self.members {
            if member.role == Role::Participant {
                weights.entry(*id).or_insert(1);
                if !groups.contains_key(id) {
                    errors.push(EnsembleError::NoGroup(*id));
                }
            }
        }
        errors.extend(groups.keys().filter(|id| !weights.contains_key(id)).map(|id| EnsembleError::NoWeight(*id)));
        if weights.len() > SERVERS_MAX {
            errors.push(EnsembleError::TooMany(weights.len()));
        }
        Hierarchy { groups, weights }
    }
}

fn insert<K: Ord, V>(map: &mut BTreeMap<K, V>, id: K, value: V, key: &str) -> Result<(), LineError> {
    match map.entry(id) {
        Entry::Vacant(entry) => drop(entry.insert(value)),
        Entry::Occupied(_) => return Err(LineError::Twice(key.to_owned())),
    }
    Ok(())
}

fn parse_server(text: &str) -> Option<ServerId> {
    // The greatest number is what an observer without an id calls itself.
    text.trim().parse().ok().filter(|id| (0..ServerId::OBSERVER.0).contains(id)).map(ServerId)
}

fn parse_group(text: &str) -> Result<Vec<ServerId>, LineError> {
    let servers: Option<Vec<ServerId>> = text.splitn(SERVERS_MAX + 1, ':').map(parse_server).collect();
    servers.filter(|servers| servers.len() <= SERVERS_MAX).ok_or(LineError::Group)
}

fn parse_weight(text: &str) -> Result<u64, LineError> {
    text.trim().parse().ok().filter(|weight| *weight <= WEIGHT_MAX).ok_or(LineError::Weight)
}

fn parse_version(text: &str) -> Result<ConfigVersion, LineError> {
    let version = i64::from_str_radix(text.trim(), 16).ok().filter(|version| *version >= 0);
    version.map(ConfigVersion).ok_or(LineError::Version)
}
