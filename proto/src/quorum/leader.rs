//! What a leader says to its learners (`Leader`, `LearnerHandler`).
//!
//! A Java learner ignores other types with a warning once it is in step; where it waits for a certain one, it ends the link or exits.
//! What it ignores inside a packet is ignored here.

use super::packet::{PacketType, QuorumPacket, write_parts};
use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::{Epoch, LastZxid, ServerId, SessionId, Zxid};

/// A packet from a leader to a learner. A txn is opaque: [`crate::txn::TxnRecord`] reads it. Its header's zxid is what a Java learner goes
/// by; the packet's is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromLeader<'a> {
    /// LEADERINFO: the answer to FOLLOWERINFO and OBSERVERINFO, once a quorum has said so much.
    LeaderInfo {
        /// The epoch that the leader proposes.
        epoch: Epoch,
        /// What it speaks, [`super::PROTOCOL_VERSION`] or more. A Java learner does not look at it.
        protocol_version: i32,
        /// What follows. Java sends nothing and ignores everything.
        extension: &'a [u8],
    },
    /// DIFF: the learner's history is the start of the leader's. Its zxid is the leader's last committed one; the txns come as
    /// [`FromLeader::Proposal`] with [`FromLeader::Commit`], each committed before the next. To a follower those come last that have no
    /// quorum yet, and without a commit.
    Diff(Zxid),
    /// TRUNC: the learner has to cut its log to end with this; then as DIFF.
    Trunc(LastZxid),
    /// SNAP: the whole state as of this zxid at least follows, see [`super::snap`]. It is fuzzy: later txns may show in it.
    Snap(Zxid),
    /// NEWLEADER: the learner has to make durable what came, and acks this zxid.
    NewLeader {
        /// The first position of the epoch, (E, 0).
        zxid: Zxid,
        /// The configuration's text, as it stands in `/zookeeper/config`. A Java learner takes less than two bytes for none.
        config: Option<&'a str>,
    },
    /// UPTODATE: the learner may serve.
    UpToDate,
    /// PROPOSAL: to be logged, and acked when it is durable. Not to observers, except during synchronization.
    Proposal {
        /// The txn's.
        zxid: Zxid,
        /// Header, record and digest.
        txn: &'a [u8],
    },
    /// COMMIT: the oldest proposal that is not committed.
    Commit(Zxid),
    /// COMMITANDACTIVATE: COMMIT of a reconfig.
    CommitAndActivate {
        /// The reconfig's.
        zxid: Zxid,
        /// Who should lead from here on.
        leader: ServerId,
    },
    /// INFORM: a committed txn, to observers.
    Inform {
        /// The txn's.
        zxid: Zxid,
        /// Header, record and digest.
        txn: &'a [u8],
    },
    /// INFORMANDACTIVATE: INFORM of a reconfig.
    InformAndActivate {
        /// The reconfig's.
        zxid: Zxid,
        /// Who should lead from here on.
        leader: ServerId,
        /// Header, record and digest.
        txn: &'a [u8],
    },
    /// PING, with the last zxid that was proposed. It may come from the moment that NEWLEADER is queued; before UPTODATE a learner does
    /// not answer.
    Ping(Zxid),
    /// REVALIDATE: the answer to a learner's.
    Revalidate {
        /// The session.
        session: SessionId,
        /// Is it alive? Then the learner's server owns it now.
        valid: bool,
    },
    /// SYNC: the oldest sync that the learner has asked for. It names none: they are answered in order.
    Sync,
}

impl<'a> FromLeader<'a> {
    /// What `packet` means.
    ///
    /// # Errors
    /// [`DecodeError`]; [`DecodeError::UnknownPacketType`] for what no leader sends.
    pub fn decode(packet: &QuorumPacket<'a>) -> Result<FromLeader<'a>> {
        let zxid = packet.some_zxid();
        let mut data = Reader::new(packet.data.unwrap_or_default());
        let leader = |data: &mut Reader<'a>| data.long().map(ServerId);
        Ok(match PacketType::from_wire(packet.ty) {
            Some(PacketType::LeaderInfo) => {
                FromLeader::LeaderInfo { epoch: zxid.epoch(), protocol_version: data.int()?, extension: data.rest() }
            }
            Some(PacketType::Diff) => FromLeader::Diff(zxid),
            Some(PacketType::Trunc) => FromLeader::Trunc(packet.zxid),
            Some(PacketType::Snap) => FromLeader::Snap(zxid),
            Some(PacketType::NewLeader) => FromLeader::NewLeader { zxid, config: text(packet.data)? },
            Some(PacketType::UpToDate) => FromLeader::UpToDate,
            Some(PacketType::Proposal) => FromLeader::Proposal { zxid, txn: packet.some_data()? },
            Some(PacketType::Commit) => FromLeader::Commit(zxid),
            Some(PacketType::CommitAndActivate) => FromLeader::CommitAndActivate { zxid, leader: leader(&mut data)? },
            Some(PacketType::Inform) => FromLeader::Inform { zxid, txn: packet.some_data()? },
            Some(PacketType::InformAndActivate) => {
                let leader = leader(&mut data)?;
                FromLeader::InformAndActivate { zxid, leader, txn: data.rest() }
            }
            Some(PacketType::Ping) => FromLeader::Ping(zxid),
            Some(PacketType::Revalidate) => {
                FromLeader::Revalidate { session: SessionId(data.long()?), valid: data.bool()? }
            }
            Some(PacketType::Sync) => FromLeader::Sync,
            _ => return Err(DecodeError::UnknownPacketType(packet.ty)),
        })
    }

    /// Writes the packet.
    pub fn write(&self, w: &mut Writer<'_>) {
        let ty = self.packet_type();
        match self {
            FromLeader::LeaderInfo { epoch, protocol_version, extension } => {
                let zxid = Zxid::new(*epoch, 0).into();
                write_parts(w, ty, zxid, &protocol_version.to_be_bytes(), extension);
            }
            FromLeader::Trunc(zxid) => write_bare(w, ty, *zxid),
            FromLeader::Diff(zxid) | FromLeader::Snap(zxid) | FromLeader::Commit(zxid) | FromLeader::Ping(zxid) => {
                write_bare(w, ty, (*zxid).into());
            }
            FromLeader::NewLeader { zxid, config } => {
                let (ty, data) = (ty.to_wire(), config.map(str::as_bytes));
                QuorumPacket { ty, zxid: (*zxid).into(), data, authinfo: None }.write(w);
            }
            FromLeader::UpToDate => write_bare(w, ty, LastZxid::NONE),
            FromLeader::Sync => write_bare(w, ty, Zxid::ZERO.into()),
            FromLeader::Proposal { zxid, txn } | FromLeader::Inform { zxid, txn } => {
                write_parts(w, ty, (*zxid).into(), txn, &[]);
            }
            FromLeader::CommitAndActivate { zxid, leader } => {
                write_parts(w, ty, (*zxid).into(), &leader.0.to_be_bytes(), &[]);
            }
            FromLeader::InformAndActivate { zxid, leader, txn } => {
                write_parts(w, ty, (*zxid).into(), &leader.0.to_be_bytes(), txn);
            }
            FromLeader::Revalidate { session, valid } => {
                write_parts(w, ty, LastZxid::NONE, &session.0.to_be_bytes(), &[u8::from(*valid)]);
            }
        }
    }

    /// Its type.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            FromLeader::LeaderInfo { .. } => PacketType::LeaderInfo,
            FromLeader::Diff(_) => PacketType::Diff,
            FromLeader::Trunc(_) => PacketType::Trunc,
            FromLeader::Snap(_) => PacketType::Snap,
            FromLeader::NewLeader { .. } => PacketType::NewLeader,
            FromLeader::UpToDate => PacketType::UpToDate,
            FromLeader::Proposal { .. } => PacketType::Proposal,
            FromLeader::Commit(_) => PacketType::Commit,
            FromLeader::CommitAndActivate { .. } => PacketType::CommitAndActivate,
            FromLeader::Inform { .. } => PacketType::Inform,
            FromLeader::InformAndActivate { .. } => PacketType::InformAndActivate,
            FromLeader::Ping(_) => PacketType::Ping,
            FromLeader::Revalidate { .. } => PacketType::Revalidate,
            FromLeader::Sync => PacketType::Sync,
        }
    }
}

/// A packet without data.
fn write_bare(w: &mut Writer<'_>, ty: PacketType, zxid: LastZxid) {
    QuorumPacket { ty: ty.to_wire(), zxid, data: None, authinfo: None }.write(w);
}

fn text(data: Option<&[u8]>) -> Result<Option<&str>> {
    data.map(|bytes| std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(data: Option<&[u8]>, ty: PacketType) -> Result<FromLeader<'_>> {
        FromLeader::decode(&QuorumPacket { ty: ty.to_wire(), zxid: LastZxid(9), data, authinfo: None })
    }

    #[test]
    fn a_cut_below_everything_is_not_one_above_everything() {
        let packet = QuorumPacket { ty: 14, zxid: LastZxid::NONE, data: None, authinfo: None };
        let Ok(FromLeader::Trunc(zxid)) = FromLeader::decode(&packet) else { panic!() };
        assert!(zxid < Zxid::ZERO.into());
        assert_eq!(zxid.zxid(), None);
    }

    #[test]
    fn data_that_must_be_there_are() {
        assert_eq!(decoded(None, PacketType::Proposal), Err(DecodeError::UnexpectedNull));
        assert_eq!(decoded(None, PacketType::Inform), Err(DecodeError::UnexpectedNull));
        assert_eq!(decoded(Some(&[0; 7]), PacketType::CommitAndActivate), Err(DecodeError::Truncated));
        assert_eq!(decoded(Some(&[0; 7]), PacketType::InformAndActivate), Err(DecodeError::Truncated));
        assert_eq!(decoded(Some(&[0; 8]), PacketType::Revalidate), Err(DecodeError::Truncated));
        assert_eq!(decoded(Some(&[0; 3]), PacketType::LeaderInfo), Err(DecodeError::Truncated));
        assert_eq!(decoded(Some(&[0xff]), PacketType::NewLeader), Err(DecodeError::NotUtf8));
        let new_leader = FromLeader::NewLeader { zxid: Zxid(9), config: None };
        assert_eq!(decoded(None, PacketType::NewLeader), Ok(new_leader));
    }

    #[test]
    fn what_only_a_learner_says_is_refused() {
        for ty in [PacketType::Request, PacketType::Ack, PacketType::FollowerInfo, PacketType::AckEpoch] {
            assert_eq!(decoded(Some(&[0; 64]), ty), Err(DecodeError::UnknownPacketType(ty.to_wire())));
        }
    }
}
