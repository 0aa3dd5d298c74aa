//! What a learner, a follower or an observer, says to its leader (`Learner`, `LearnerHandler.run`).
//!
//! A Java leader ignores other types with a warning once the learner is in step, and ends the link where it waits for a certain one.
//! What it ignores inside a packet is ignored here.

use super::packet::{IdVec, PacketType, QuorumPacket, write_parts, write_parts_of};
use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::{ConfigVersion, Epoch, LastZxid, ServerId, SessionId, Xid, Zxid};

/// A packet from a learner to its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromLearner<'a> {
    /// FOLLOWERINFO or OBSERVERINFO: the first packet of the link.
    Info {
        /// An observer?
        observer: bool,
        /// The newest epoch that the learner has accepted.
        accepted_epoch: Epoch,
        /// Who it is.
        info: LearnerInfo<'a>,
    },
    /// ACKEPOCH: the answer to LEADERINFO.
    AckEpoch {
        /// The end of its log, what is not committed included. [`LastZxid::NONE`] asks for everything.
        last_zxid: LastZxid,
        /// Its current epoch. `None`: it had accepted this epoch before, so that this counts for no quorum.
        current_epoch: Option<Epoch>,
    },
    /// ACK. The first after NEWLEADER, with its zxid, says that the learner is durable up to there; one more with the same zxid comes
    /// after UPTODATE and means nothing. From then on one for each proposal, in order. 3.8 acks the committed proposals of its
    /// synchronization too, some before UPTODATE and some after; 3.9.5 does not.
    Ack(Zxid),
    /// PING: the answer to the leader's, with the sessions that were touched at the learner since the last one. To a Java learner a new
    /// session is one, even if its client is elsewhere.
    Ping {
        /// The zxid of the leader's PING.
        zxid: LastZxid,
        /// The sessions.
        touches: TouchVec<'a>,
    },
    /// REVALIDATE: a client of the learner comes with a session of another server. The answer is the leader's REVALIDATE.
    Revalidate {
        /// The session.
        session: SessionId,
        /// Its timeout in ms.
        timeout_ms: i32,
    },
    /// REQUEST: a client's write or sync. The answer is a txn with the same session and xid (an error txn if it fails), for a sync SYNC.
    Request(ForwardedRequest<'a>),
}

/// Who a learner is. Servers before 3.4 send less, and are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerInfo<'a> {
    /// Its id. A Java leader takes anybody's.
    pub server: ServerId,
    /// What it speaks, [`super::PROTOCOL_VERSION`] or more. A Java leader does not tell the numbers from there on apart.
    pub protocol_version: i32,
    /// The version of its configuration; 3.4 says none. A Java leader with an older one ends the link.
    pub config_version: Option<ConfigVersion>,
    /// What follows. Java sends nothing and ignores everything. Meaningless, and not written, without a configuration's version.
    pub extension: &'a [u8],
}

/// A client's request on its way to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedRequest<'a> {
    /// The client's session, or the one to be made.
    pub session: SessionId,
    /// The client's number for the request; 0 for createSession.
    pub xid: Xid,
    /// What it is, [`crate::OpCode`]'s number.
    pub op: i32,
    /// The request's record, without its header. For createSession the timeout in ms, an int.
    pub body: &'a [u8],
    /// Whom the client has proved to be: what ACLs are checked with, and what `auth` in them becomes.
    pub authinfo: Option<IdVec<'a>>,
}

impl<'a> FromLearner<'a> {
    /// What `packet` means.
    ///
    /// # Errors
    /// [`DecodeError`]; [`DecodeError::UnknownPacketType`] for what no learner sends.
    pub fn decode(packet: &QuorumPacket<'a>) -> Result<FromLearner<'a>> {
        match PacketType::from_wire(packet.ty) {
            Some(ty @ (PacketType::FollowerInfo | PacketType::ObserverInfo)) => Ok(FromLearner::Info {
                observer: ty == PacketType::ObserverInfo,
                accepted_epoch: packet.some_zxid().epoch(),
                info: LearnerInfo::decode(packet.some_data()?)?,
            }),
            Some(PacketType::AckEpoch) => {
                let epoch = Reader::new(packet.some_data()?).int()?;
                let current_epoch = (epoch != EPOCH_ACKED_BEFORE).then(|| Epoch(epoch.cast_unsigned()));
                Ok(FromLearner::AckEpoch { last_zxid: packet.zxid, current_epoch })
            }
            Some(PacketType::Ack) => Ok(FromLearner::Ack(packet.some_zxid())),
            Some(PacketType::Ping) => {
                Ok(FromLearner::Ping { zxid: packet.zxid, touches: TouchVec::decode(packet.some_data()?)? })
            }
            Some(PacketType::Revalidate) => {
                let mut r = Reader::new(packet.some_data()?);
                Ok(FromLearner::Revalidate { session: SessionId(r.long()?), timeout_ms: r.int()? })
            }
            Some(PacketType::Request) => {
                let mut r = Reader::new(packet.some_data()?);
                Ok(FromLearner::Request(ForwardedRequest {
                    session: SessionId(r.long()?),
                    xid: Xid(r.int()?),
                    op: r.int()?,
                    body: r.rest(),
                    authinfo: packet.authinfo,
                }))
            }
            _ => Err(DecodeError::UnknownPacketType(packet.ty)),
        }
    }

    /// Writes the packet.
    pub fn write(&self, w: &mut Writer<'_>) {
        match self {
            FromLearner::Info { observer, accepted_epoch, info } => {
                let ty = if *observer { PacketType::ObserverInfo } else { PacketType::FollowerInfo };
                let (start, len) = info.start();
                let (start, rest) = (start.get(..len).unwrap_or_default(), info.extension_written());
                write_parts(w, ty, Zxid::new(*accepted_epoch, 0).into(), start, rest);
            }
            FromLearner::AckEpoch { last_zxid, current_epoch } => {
                let epoch = current_epoch.map_or(EPOCH_ACKED_BEFORE, |epoch| epoch.0.cast_signed());
                write_parts(w, PacketType::AckEpoch, *last_zxid, &epoch.to_be_bytes(), &[]);
            }
            FromLearner::Ack(zxid) => {
                let (ty, zxid) = (PacketType::Ack.to_wire(), LastZxid::from(*zxid));
                QuorumPacket { ty, zxid, data: None, authinfo: None }.write(w);
            }
            FromLearner::Ping { zxid, touches } => write_parts(w, PacketType::Ping, *zxid, &[], touches.raw),
            FromLearner::Revalidate { session, timeout_ms } => {
                let touch = Touch { session: *session, timeout_ms: *timeout_ms };
                write_parts(w, PacketType::Revalidate, LastZxid::NONE, &touch.to_bytes(), &[]);
            }
            FromLearner::Request(request) => {
                let mut start = [0; ForwardedRequest::HEADER_BYTES];
                let (ids, op) = start.split_at_mut(12);
                ids.copy_from_slice(&Touch { session: request.session, timeout_ms: request.xid.0 }.to_bytes());
                op.copy_from_slice(&request.op.to_be_bytes());
                write_parts_of(w, PacketType::Request, LastZxid::NONE, &start, request.body, request.authinfo);
            }
        }
    }
}

impl ForwardedRequest<'_> {
    /// Bytes of session, xid and operation, before the request's record.
    pub const HEADER_BYTES: usize = 16;
}

impl<'a> LearnerInfo<'a> {
    fn decode(data: &'a [u8]) -> Result<LearnerInfo<'a>> {
        let mut r = Reader::new(data);
        let (server, protocol_version) = (ServerId(r.long()?), r.int()?);
        let config_version = r.long().ok().map(ConfigVersion);
        let extension = if config_version.is_some() { r.rest() } else { &[] };
        Ok(LearnerInfo { server, protocol_version, config_version, extension })
    }

    /// The record, and how much of it counts.
    fn start(&self) -> ([u8; LEARNER_INFO_BYTES], usize) {
        let mut start = [0; LEARNER_INFO_BYTES];
        let (server, rest) = start.split_at_mut(8);
        let (protocol, config) = rest.split_at_mut(4);
        server.copy_from_slice(&self.server.0.to_be_bytes());
        protocol.copy_from_slice(&self.protocol_version.to_be_bytes());
        config.copy_from_slice(&self.config_version.unwrap_or_default().0.to_be_bytes());
        (start, if self.config_version.is_some() { LEARNER_INFO_BYTES } else { LEARNER_INFO_3_4_BYTES })
    }

    fn extension_written(&self) -> &'a [u8] {
        if self.config_version.is_some() { self.extension } else { &[] }
    }
}

/// A session that is alive, as its server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The session.
    pub session: SessionId,
    /// Its timeout in ms.
    pub timeout_ms: i32,
}

impl Touch {
    /// Bytes on the wire.
    pub const BYTES: usize = 12;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (session, timeout) = bytes.split_at_mut(8);
        session.copy_from_slice(&self.session.0.to_be_bytes());
        timeout.copy_from_slice(&self.timeout_ms.to_be_bytes());
        bytes
    }
}

/// Touched sessions, walked in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TouchVec<'a> {
    raw: &'a [u8],
}

impl<'a> TouchVec<'a> {
    /// None.
    pub const EMPTY: TouchVec<'static> = TouchVec { raw: &[] };

    /// Takes all of `data`, which a Java leader reads to their end: a rest breaks the link.
    fn decode(data: &'a [u8]) -> Result<TouchVec<'a>> {
        if !data.len().is_multiple_of(Touch::BYTES) {
            return Err(DecodeError::Truncated);
        }
        Ok(TouchVec { raw: data })
    }

    /// Writes `touches` to `out`, and gives the list of them.
    pub fn collect(touches: impl Iterator<Item = Touch>, out: &'a mut Vec<u8>) -> TouchVec<'a> {
        out.clear();
        for touch in touches {
            out.extend_from_slice(&touch.to_bytes());
        }
        TouchVec { raw: out }
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.raw.len() / Touch::BYTES
    }

    /// Are there none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The sessions, in order.
    pub fn iter(&self) -> impl Iterator<Item = Touch> + use<'a> {
        let mut r = Reader::new(self.raw);
        std::iter::from_fn(move || Some(Touch { session: SessionId(r.long().ok()?), timeout_ms: r.int().ok()? }))
    }
}

/// Bytes of a LearnerInfo without an extension.
const LEARNER_INFO_BYTES: usize = 20;
/// Bytes of one from 3.4, which ends before the configuration's version.
const LEARNER_INFO_3_4_BYTES: usize = 12;

/// What stands for the current epoch in an ACKEPOCH of a learner that had accepted the epoch before.
const EPOCH_ACKED_BEFORE: i32 = -1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Received;
    use crate::quorum::{DATA_BYTES_MAX_DEFAULT, PROTOCOL_VERSION};

    fn decoded(data: Option<&[u8]>, ty: PacketType) -> Result<FromLearner<'_>> {
        FromLearner::decode(&QuorumPacket { ty: ty.to_wire(), zxid: LastZxid(5 << 32), data, authinfo: None })
    }

    #[test]
    fn a_learner_of_3_4_says_no_configuration_and_an_older_one_is_refused() {
        let info = LearnerInfo {
            server: ServerId(3),
            protocol_version: PROTOCOL_VERSION,
            config_version: None,
            extension: &[],
        };
        let bytes = [0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 0];
        let first = FromLearner::Info { observer: false, accepted_epoch: Epoch(5), info };
        assert_eq!(decoded(Some(&bytes), PacketType::FollowerInfo), Ok(first));
        let mut out = Vec::new();
        first.write(&mut Writer::new(&mut out));
        let packet = QuorumPacket::receive(&out, DATA_BYTES_MAX_DEFAULT);
        assert!(matches!(packet, Ok(Received::Whole(packet, _)) if packet.data == Some(&bytes)), "{packet:?}");
        assert_eq!(decoded(Some(&bytes[..8]), PacketType::FollowerInfo), Err(DecodeError::Truncated));
        assert_eq!(decoded(None, PacketType::ObserverInfo), Err(DecodeError::UnexpectedNull));
    }

    #[test]
    fn an_extension_is_what_follows_the_configuration() {
        let mut bytes = [0; 22];
        bytes[20..].copy_from_slice(b"rk");
        let Ok(FromLearner::Info { info, .. }) = decoded(Some(&bytes), PacketType::ObserverInfo) else { panic!() };
        assert_eq!((info.config_version, info.extension), (Some(ConfigVersion(0)), &b"rk"[..]));
    }

    #[test]
    fn an_epoch_that_was_acked_before_is_none() {
        let acked = |epoch: i32| decoded(Some(&epoch.to_be_bytes()), PacketType::AckEpoch).map(|_| ());
        assert_eq!(acked(0), Ok(()));
        let read = decoded(Some(&[0xff; 4]), PacketType::AckEpoch);
        assert_eq!(read, Ok(FromLearner::AckEpoch { last_zxid: LastZxid(5 << 32), current_epoch: None }));
        assert_eq!(decoded(Some(&[0; 3]), PacketType::AckEpoch), Err(DecodeError::Truncated));
    }

    #[test]
    fn part_of_a_touch_is_refused() {
        assert_eq!(decoded(Some(&[0; 11]), PacketType::Ping), Err(DecodeError::Truncated));
        assert_eq!(decoded(None, PacketType::Ping), Err(DecodeError::UnexpectedNull));
        let mut out = Vec::new();
        let all = [Touch { session: SessionId(-7), timeout_ms: 4000 }, Touch { session: SessionId(8), timeout_ms: 1 }];
        let touches = TouchVec::collect(all.into_iter(), &mut out);
        assert_eq!((touches.len(), touches.iter().collect::<Vec<_>>()), (2, all.to_vec()));
    }

    #[test]
    fn what_only_a_leader_says_is_refused() {
        for ty in [PacketType::Commit, PacketType::Sync, PacketType::Proposal, PacketType::LeaderInfo] {
            assert_eq!(decoded(Some(&[0; 64]), ty), Err(DecodeError::UnknownPacketType(ty.to_wire())));
        }
    }
}
