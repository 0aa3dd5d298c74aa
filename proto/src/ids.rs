//! The identifiers of the protocol, each its own type so that two bare integers cannot be swapped.

use std::fmt;

/// A ZooKeeper transaction id: the epoch in the high 32 bits, a counter in the low 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub u64);

impl Zxid {
    /// Before every txn: the zxid of an empty server.
    pub const ZERO: Zxid = Zxid(0);

    /// The zxid with this epoch and counter.
    #[must_use]
    pub const fn new(epoch: Epoch, counter: u32) -> Zxid {
        Zxid(((epoch.0 as u64) << 32) | counter as u64)
    }

    /// The epoch: the high 32 bits.
    #[must_use]
    pub const fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// The counter within the epoch: the low 32 bits.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next zxid. After the last counter of an epoch it is the first of the next one.
    #[must_use]
    pub const fn next(self) -> Zxid {
        Zxid(self.0 + 1)
    }

    /// Can a txn with the zxid `next` come behind this one where none is missing? Its counter is the next one, or the first of a newer epoch (law 2).
    #[must_use]
    pub const fn is_followed_by(self, next: Zxid) -> bool {
        if next.epoch().0 == self.epoch().0 {
            next.0.wrapping_sub(self.0) == 1
        } else {
            next.0 > self.0 && next.counter() == 1
        }
    }

    /// As Java's signed long, as it stands on the wire.
    #[must_use]
    pub const fn to_wire(self) -> i64 {
        self.0.cast_signed()
    }

    /// From Java's signed long. A negative number becomes a zxid far above every real one.
    #[must_use]
    pub const fn from_wire(value: i64) -> Zxid {
        Zxid(value.cast_unsigned())
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A ZAB epoch: one leader's term of office.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// A session's id. The top byte is the id of the server that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A client's request number; replies carry it back. Negative ones are reserved, see the constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Xid(pub i32);

impl Xid {
    /// A watch event.
    pub const NOTIFICATION: Xid = Xid(-1);
    /// A ping and its reply.
    pub const PING: Xid = Xid(-2);
    /// An auth packet and its reply.
    pub const AUTH: Xid = Xid(-4);
    /// setWatches, as the Java client sends it.
    pub const SET_WATCHES: Xid = Xid(-8);
}

/// A server's id within the ensemble (`myid`). 0 for a standalone server without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub i64);

impl ServerId {
    /// What an observer without an id of its own calls itself on an election connection (`QuorumPeer.OBSERVER_ID`).
    pub const OBSERVER: ServerId = ServerId(i64::MAX);
}

/// How far a server says that its history reaches, in an election and when it joins a leader. Unlike a [`Zxid`] it is signed, as Java
/// compares it: a server that has no vote must never win with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LastZxid(pub i64);

impl LastZxid {
    /// Nothing that counts: whoever says so wants everything (law 10).
    pub const NONE: LastZxid = LastZxid(-1);
    /// The vote of a server that has none: an observer's.
    pub const NO_VOTE: LastZxid = LastZxid(i64::MIN);

    /// The zxid, unless it is one of the numbers below 0 that stand for none.
    #[must_use]
    pub const fn zxid(self) -> Option<Zxid> {
        if self.0 < 0 { None } else { Some(Zxid::from_wire(self.0)) }
    }
}

impl From<Zxid> for LastZxid {
    fn from(zxid: Zxid) -> LastZxid {
        LastZxid(zxid.to_wire())
    }
}

/// The version of an ensemble's configuration: the zxid of the reconfig that made it, 0 for one that came from a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigVersion(pub i64);
