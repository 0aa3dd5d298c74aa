//! `Stat`, what a client sees of a znode beside its data, and `StatPersisted`, what is stored of it.

use crate::jute::{Reader, Result, Writer};
use crate::{SessionId, Zxid};

/// What clients see of a znode. 68 bytes on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Txn that created the znode.
    pub czxid: Zxid,
    /// Txn that last set its data.
    pub mzxid: Zxid,
    /// When it was created, ms since 1970.
    pub ctime: i64,
    /// When its data was last set, ms since 1970.
    pub mtime: i64,
    /// Count of changes to its data.
    pub version: i32,
    /// Count of creates and deletes of children.
    pub cversion: i32,
    /// Count of changes to its ACL.
    pub aversion: i32,
    /// The owning session of an ephemeral znode, else 0 (also for containers and TTL znodes).
    pub ephemeral_owner: SessionId,
    /// Bytes of data.
    pub data_length: i32,
    /// Count of children.
    pub num_children: i32,
    /// Txn that last created or deleted a child.
    pub pzxid: Zxid,
}

impl Stat {
    /// Bytes on the wire.
    pub const BYTES: usize = 68;

    /// Reads one.
    ///
    /// # Errors
    /// [`crate::DecodeError::Truncated`].
    pub fn read(r: &mut Reader<'_>) -> Result<Stat> {
        Ok(Stat {
            czxid: Zxid::from_wire(r.long()?),
            mzxid: Zxid::from_wire(r.long()?),
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: SessionId(r.long()?),
            data_length: r.int()?,
            num_children: r.int()?,
            pzxid: Zxid::from_wire(r.long()?),
        })
    }

    /// Writes it.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.long(self.czxid.to_wire());
        w.long(self.mzxid.to_wire());
        w.long(self.ctime);
        w.long(self.mtime);
        w.int(self.version);
        w.int(self.cversion);
        w.int(self.aversion);
        w.long(self.ephemeral_owner.0);
        w.int(self.data_length);
        w.int(self.num_children);
        w.long(self.pzxid.to_wire());
    }
}

/// What is stored of a znode. Differs from [`Stat`] in two fields: `cversion` counts creates only, and `ephemeral_owner` has the
/// special values of containers and TTL znodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatPersisted {
    /// Txn that created the znode.
    pub czxid: Zxid,
    /// Txn that last set its data.
    pub mzxid: Zxid,
    /// When it was created, ms since 1970.
    pub ctime: i64,
    /// When its data was last set, ms since 1970.
    pub mtime: i64,
    /// Count of changes to its data.
    pub version: i32,
    /// Count of creates of children: the next sequential number.
    pub cversion: i32,
    /// Count of changes to its ACL.
    pub aversion: i32,
    /// Session of an ephemeral znode, or a container's or TTL znode's special value, or 0.
    pub ephemeral_owner: EphemeralOwner,
    /// Txn that last created or deleted a child.
    pub pzxid: Zxid,
}

impl StatPersisted {
    /// Bytes on the wire and in the digest.
    pub const BYTES: usize = 60;

    /// Stat of a znode made by `zxid` at `time_ms`.
    #[must_use]
    pub const fn created(zxid: Zxid, time_ms: i64, ephemeral_owner: EphemeralOwner) -> StatPersisted {
        StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            ctime: time_ms,
            mtime: time_ms,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner,
            pzxid: zxid,
        }
    }

    /// What a client sees of it (`DataNode.copyStat`). The client's `cversion` counts deletes as well: twice the creates less the
    /// children that are left.
    #[must_use]
    pub fn to_stat(&self, data_length: usize, num_children: usize) -> Stat {
        let num_children = i32::try_from(num_children).unwrap_or(i32::MAX);
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            ephemeral_owner: self.ephemeral_owner.session().unwrap_or_default(),
            data_length: i32::try_from(data_length).unwrap_or(i32::MAX),
            num_children,
            pzxid: self.pzxid,
        }
    }

    /// Reads one, in the order of Jute's record.
    ///
    /// # Errors
    /// [`crate::DecodeError::Truncated`].
    pub fn read(r: &mut Reader<'_>) -> Result<StatPersisted> {
        Ok(StatPersisted {
            czxid: Zxid::from_wire(r.long()?),
            mzxid: Zxid::from_wire(r.long()?),
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: EphemeralOwner(r.long()?),
            pzxid: Zxid::from_wire(r.long()?),
        })
    }

    /// Writes it, in the order of Jute's record.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.long(self.czxid.to_wire());
        w.long(self.mzxid.to_wire());
        w.long(self.ctime);
        w.long(self.mtime);
        w.int(self.version);
        w.int(self.cversion);
        w.int(self.aversion);
        w.long(self.ephemeral_owner.0);
        w.long(self.pzxid.to_wire());
    }
}

/// The stored `ephemeralOwner`: what kind of znode it is (`EphemeralType`, with extended types on).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EphemeralOwner(pub i64);

/// What an [`EphemeralOwner`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EphemeralKind {
    /// A plain znode.
    Persistent,
    /// Goes with its session.
    Ephemeral(SessionId),
    /// Goes once it is empty after having had children.
    Container,
    /// Goes once it is empty and older than this many milliseconds.
    Ttl(i64),
}

impl EphemeralOwner {
    /// A plain znode.
    pub const NONE: EphemeralOwner = EphemeralOwner(0);
    /// A container.
    pub const CONTAINER: EphemeralOwner = EphemeralOwner(i64::MIN);
    /// The largest time to live: 40 bits of milliseconds, about 34 years.
    pub const TTL_MS_MAX: i64 = (1 << 40) - 1;

    const EXTENDED_MASK: i64 = 0xff00_0000_0000_0000_u64.cast_signed();

    /// An ephemeral of this session.
    #[must_use]
    pub const fn session_of(session: SessionId) -> EphemeralOwner {
        EphemeralOwner(session.0)
    }

    /// A TTL znode; `None` unless `0 < ttl_ms <= TTL_MS_MAX`.
    #[must_use]
    pub const fn ttl(ttl_ms: i64) -> Option<EphemeralOwner> {
        if ttl_ms > 0 && ttl_ms <= Self::TTL_MS_MAX { Some(EphemeralOwner(Self::EXTENDED_MASK | ttl_ms)) } else { None }
    }

    /// What it says. `0xff` in the top byte is a TTL: sessions cannot have it, server ids end at 254.
    #[must_use]
    pub const fn kind(self) -> EphemeralKind {
        if self.0 == 0 {
            EphemeralKind::Persistent
        } else if self.0 == i64::MIN {
            EphemeralKind::Container
        } else if self.0 & Self::EXTENDED_MASK == Self::EXTENDED_MASK {
            EphemeralKind::Ttl(self.0 & Self::TTL_MS_MAX)
        } else {
            EphemeralKind::Ephemeral(SessionId(self.0))
        }
    }

    /// The owning session of an ephemeral.
    #[must_use]
    pub const fn session(self) -> Option<SessionId> {
        match self.kind() {
            EphemeralKind::Ephemeral(session) => Some(session),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_cversion_counts_creates_and_deletes() {
        // Three creates, one delete: two children are left, four changes happened.
        let stat = StatPersisted { cversion: 3, ..StatPersisted::default() }.to_stat(0, 2);
        assert_eq!(stat.cversion, 4);
    }

    #[test]
    fn kinds_of_owner() {
        assert_eq!(EphemeralOwner(0).kind(), EphemeralKind::Persistent);
        assert_eq!(EphemeralOwner::CONTAINER.kind(), EphemeralKind::Container);
        assert_eq!(EphemeralOwner::ttl(5).map(EphemeralOwner::kind), Some(EphemeralKind::Ttl(5)));
        assert_eq!(EphemeralOwner::ttl(0), None);
        assert_eq!(EphemeralOwner::ttl(1 << 40), None);
        assert_eq!(EphemeralOwner(7).kind(), EphemeralKind::Ephemeral(SessionId(7)));
        assert_eq!(EphemeralOwner::CONTAINER.session(), None);
    }
}
