//! Who is in the ensemble, and which of its servers are a quorum. Data, so that a reconfiguration is another value.
//!
//! Owns [`Ensemble`] and its text, which stands in `/zookeeper/config`, in NEWLEADER, in notifications and in the dynamic configuration file. It must
//! never look up a name, and never know which server is its own. What comes from outside is bounded by named limits; it fails with
//! [`EnsembleError`]. Java's own texts and quorums (`tests/vectors/ensemble-3.9.5.txt`) and the property tests in `tests/ensemble.rs` would
//! catch a mistake. Mirrors `QuorumMaj` and `QuorumHierarchical` of 3.9.5.

mod draft;
mod member;
mod order;
mod quorum;
mod text;

use std::collections::BTreeMap;

use proto::{ConfigVersion, ServerId};

pub use draft::{Draft, EnsembleError, LINE_BYTES_MAX, LineError, TEXT_BYTES_MAX, WEIGHT_MAX};
pub use member::{ADDRESSES_MAX, HOST_BYTES_MAX, HostPort, Member, MemberError, PeerAddress, Role};

use quorum::Quorums;

/// The most servers of an ensemble, observers included: the id of each fits the top byte of a session's id.
pub const SERVERS_MAX: usize = 255;

/// The members of an ensemble and their quorums. See the module. The default one has no members, and no quorum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ensemble {
    version: ConfigVersion,
    members: BTreeMap<ServerId, Member>,
    /// None where the majority decides.
    hierarchy: Option<Hierarchy>,
    /// What follows of it.
    quorums: Quorums,
}

/// The number of a `group.N` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub i64);

/// The groups and weights of a hierarchical ensemble. Both may name servers that do not vote, or are no members: their weight counts for a group's
/// whole, as in Java.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Hierarchy {
    groups: BTreeMap<ServerId, GroupId>,
    /// Of every voter, and of every server that is in a group.
    weights: BTreeMap<ServerId, u64>,
}

impl Hierarchy {
    fn weight(&self, id: ServerId) -> u64 {
        self.weights.get(&id).copied().unwrap_or(0)
    }
}

impl Ensemble {
    /// Reads a text of lines `server.N=`, `group.N=`, `weight.N=` and `version=`, in any order. Empty lines and those that begin with `#` or `!`
    /// mean nothing; of the other forms of a properties file, which only a person writes, none is read.
    ///
    /// # Errors
    /// On a line that is not one of these, and where the lines together are no ensemble, or one beyond the limits.
    pub fn parse(text: &str) -> Result<Ensemble, EnsembleError> {
        text::parse(text)
    }

    /// Byte for byte what Java 3.9.5 makes of this ensemble (`QuorumVerifier.toString`), if it has read the same lines by ascending id. No line end after
    /// the last line. At most [`TEXT_BYTES_MAX`] bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::print(self)
    }

    /// The zxid of the reconfig that made it; 0 where it comes from a file and no leader has taken it over.
    #[must_use]
    pub const fn version(&self) -> ConfigVersion {
        self.version
    }

    /// The same ensemble in another version: what a leader does with one that has version 0.
    ///
    /// # Panics
    /// On a version below 0, which has no text: the caller's bug.
    #[must_use]
    pub fn with_version(self, version: ConfigVersion) -> Ensemble {
        assert!(version.0 >= 0, "an ensemble's version is {}", version.0);
        Ensemble { version, ..self }
    }

    /// All members by ascending id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (ServerId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// A member.
    #[must_use]
    pub fn member(&self, id: ServerId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Whether it is a participant. One with weight 0 is, though it counts for nothing in a quorum, and must not be elected.
    #[must_use]
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.quorums.is_voter(id)
    }

    /// The participants by ascending id.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.quorums.voters()
    }

    /// A server's weight: 1 where the majority decides, 0 for a server that a hierarchical ensemble does not know.
    #[must_use]
    pub fn weight(&self, id: ServerId) -> u64 {
        self.hierarchy.as_ref().map_or(1, |hierarchy| hierarchy.weight(id))
    }

    /// A server's group, where there are groups.
    #[must_use]
    pub fn group(&self, id: ServerId) -> Option<GroupId> {
        self.hierarchy.as_ref()?.groups.get(&id).copied()
    }

    /// Whether these servers are a quorum: a majority of the voters, or in a hierarchical ensemble a majority of the groups that have weight, each with
    /// more than half of its weight. Servers that do not vote do not count, one that comes twice counts once. Allocates nothing.
    pub fn is_quorum(&self, servers: impl Iterator<Item = ServerId>) -> bool {
        self.quorums.is_quorum(servers)
    }

    /// The newest position that a quorum has reached: `positions` is one per voter (absent: none). Allocates nothing for up to eight of them.
    #[must_use]
    pub fn reached<T: Copy + Ord>(&self, positions: &[(ServerId, T)]) -> Option<T> {
        self.quorums.reached(positions)
    }
}
