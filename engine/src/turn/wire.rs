//! What a peer says on the quorum port, as bytes: the one place where packets are written.
//!
//! Owns which packets a [`Message`] is. It must never choose what is said or when (that is `zab`'s), nor copy a txn more than once: its bytes go from
//! where they are kept right behind the packet's head, for what the log holds is what a PROPOSAL carries: header, record and, where there is one,
//! digest. Nothing here fails: a range that its source does not have whole is our own bug. `tests/wire.rs` would catch a mistake: it makes every packet
//! that a real ensemble was seen to send once more, byte for byte. Mirrors `Leader`, `LearnerHandler`, `Learner` of 3.9.5.
//!
//! Packets have no frames: they follow each other, and what ends one is its own parts ([`proto::quorum::QuorumPacket::receive`]).
//!
//! COMMITANDACTIVATE and INFORMANDACTIVATE are not said: nobody reconfigures yet.

use crate::auth::AuthId;
use proto::quorum::{
    ForwardedRequest, FromLeader, FromLearner, IdVec, LearnerInfo, RINGKEEPER_PROTOCOL_VERSION, Touch, TouchVec,
};
use proto::{ConfigVersion, OpCode, ServerId, SessionId, Writer, Xid, Zxid};
use std::sync::Arc;
use zab::Message;

/// Where the bytes of txns are.
pub trait TxnSource {
    /// The txns in `(after, to]`, ascending, as they are in the log. The range was named by the peer: all of it is there.
    fn range(&self, after: Zxid, to: Zxid) -> impl Iterator<Item = (Zxid, &[u8])>;
}

/// Writes packets for a server.
#[derive(Debug)]
pub struct Wire {
    me: ServerId,
    config_version: ConfigVersion,
    /// As in `/zookeeper/config`.
    config: Arc<str>,
    /// Touches on their way into a packet.
    scratch: Vec<u8>,
}

/// A client's request that goes to the leader.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded<'a> {
    /// The session, or the one to be made.
    pub session: SessionId,
    /// The client's number for it; 0 for createSession.
    pub xid: Xid,
    /// What it is.
    pub op: OpCode,
    /// Its record; for createSession the timeout in ms, an int.
    pub body: &'a [u8],
    /// Who asks. `None` where nobody does: a session that is made, or closed by its server.
    pub ids: Option<&'a [AuthId]>,
}

impl Wire {
    /// For the server `me`, whose configuration has this version and text.
    #[must_use]
    pub const fn new(me: ServerId, config_version: ConfigVersion, config: Arc<str>) -> Wire {
        Wire { me, config_version, config, scratch: Vec::new() }
    }

    /// The configuration, as `/zookeeper/config` shows it, and its version.
    #[must_use]
    pub fn config(&self) -> (&str, ConfigVersion) {
        (&self.config, self.config_version)
    }

    /// Appends the packets that `message` is. `touches` go with a [`Message::Pong`] alone: the sessions that were heard of since the last one.
    ///
    /// # Panics
    /// If `txns` does not have what the message names.
    pub fn message(&mut self, message: Message, txns: &impl TxnSource, touches: &[Touch], out: &mut Vec<u8>) {
        match message {
            Message::Info { observer, accepted } => self.info(observer, accepted, out),
            Message::LeaderInfo(epoch) => {
                to_learner(
                    FromLeader::LeaderInfo { epoch, protocol_version: RINGKEEPER_PROTOCOL_VERSION, extension: &[] },
                    out,
                );
            }
            Message::AckEpoch { last, current } => {
                to_leader(FromLearner::AckEpoch { last_zxid: last, current_epoch: current }, out);
            }
            Message::Diff(zxid) => to_learner(FromLeader::Diff(zxid), out),
            Message::Trunc(zxid) => to_learner(FromLeader::Trunc(zxid.into()), out),
            Message::Committed { after, to } => each_txn(txns, after, to, |zxid, txn| committed(zxid, txn, out)),
            Message::Proposals { after, to } => {
                each_txn(txns, after, to, |zxid, txn| to_learner(FromLeader::Proposal { zxid, txn }, out));
            }
            Message::Commits { after, to } => {
                counters(after, to).for_each(|zxid| to_learner(FromLeader::Commit(zxid), out));
            }
            Message::Informs { after, to } => {
                each_txn(txns, after, to, |zxid, txn| to_learner(FromLeader::Inform { zxid, txn }, out));
            }
            Message::NewLeader(epoch) => {
                to_learner(FromLeader::NewLeader { zxid: Zxid::new(epoch, 0), config: Some(&self.config) }, out);
            }
            Message::UpToDate => to_learner(FromLeader::UpToDate, out),
            Message::AckNewLeader { epoch, after, to } => {
                to_leader(FromLearner::Ack(Zxid::new(epoch, 0)), out);
                each_txn(txns, after, to, |zxid, _| to_leader(FromLearner::Ack(zxid), out));
            }
            Message::Ack(zxid) => to_leader(FromLearner::Ack(zxid), out),
            Message::Ping(zxid) => to_learner(FromLeader::Ping(zxid), out),
            Message::Pong(zxid) => {
                let touches = TouchVec::collect(touches.iter().copied(), &mut self.scratch);
                to_leader(FromLearner::Ping { zxid: zxid.into(), touches }, out);
            }
        }
    }

    /// FOLLOWERINFO or OBSERVERINFO.
    fn info(&self, observer: bool, accepted_epoch: proto::Epoch, out: &mut Vec<u8>) {
        let info = LearnerInfo {
            server: self.me,
            protocol_version: RINGKEEPER_PROTOCOL_VERSION,
            config_version: Some(self.config_version),
            extension: &[],
        };
        to_leader(FromLearner::Info { observer, accepted_epoch, info }, out);
    }
}

/// Appends a REQUEST.
pub fn request(request: &Forwarded<'_>, out: &mut Vec<u8>) {
    let Forwarded { session, xid, op, body, ids } = *request;
    let mut scratch = Vec::new();
    let authinfo = ids.map(|ids| IdVec::collect(ids.iter().map(|id| (&*id.scheme, &*id.id)), &mut scratch));
    to_leader(FromLearner::Request(ForwardedRequest { session, xid, op: op.to_wire(), body, authinfo }), out);
}

/// Appends the question whether a session is alive, which its client has taken to this learner.
pub fn revalidate_ask(touch: Touch, out: &mut Vec<u8>) {
    to_leader(FromLearner::Revalidate { session: touch.session, timeout_ms: touch.timeout_ms }, out);
}

/// Appends the answer to it. `valid`: then the learner owns the session.
pub fn revalidate_answer(session: SessionId, valid: bool, out: &mut Vec<u8>) {
    to_learner(FromLeader::Revalidate { session, valid }, out);
}

/// Appends the answer to the oldest sync that the learner has asked for: all that was committed before has been written before it.
pub fn sync_answer(out: &mut Vec<u8>) {
    to_learner(FromLeader::Sync, out);
}

/// Appends a txn that is committed, as a learner gets it that catches up, an observer too.
pub(super) fn committed(zxid: Zxid, txn: &[u8], out: &mut Vec<u8>) {
    to_learner(FromLeader::Proposal { zxid, txn }, out);
    to_learner(FromLeader::Commit(zxid), out);
}

fn each_txn(txns: &impl TxnSource, after: Zxid, to: Zxid, mut each: impl FnMut(Zxid, &[u8])) {
    if to == after {
        return;
    }
    let mut last = after;
    for (zxid, bytes) in txns.range(after, to) {
        assert!(last < zxid && zxid <= to, "{zxid} is not next in ({after}, {to}], behind {last}");
        each(zxid, bytes);
        last = zxid;
    }
    assert!(last == to, "the txns in ({after}, {to}] end with {last}");
}

/// The zxids in `(after, to]` in the epoch of `to`, this leader's own: it begins with counter 1 and has no gaps (law 2).
fn counters(after: Zxid, to: Zxid) -> impl Iterator<Item = Zxid> {
    let first = if after.epoch() < to.epoch() { 1 } else { after.counter().saturating_add(1) };
    let is_empty = to <= after;
    (first..=to.counter()).filter(move |_| !is_empty).map(move |counter| Zxid::new(to.epoch(), counter))
}

pub(super) fn to_learner(packet: FromLeader<'_>, out: &mut Vec<u8>) {
    packet.write(&mut Writer::new(out));
}

fn to_leader(packet: FromLearner<'_>, out: &mut Vec<u8>) {
    packet.write(&mut Writer::new(out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Epoch;

    #[test]
    fn a_range_of_counters_begins_anew_with_an_epoch() {
        let zxid = |epoch, counter| Zxid::new(Epoch(epoch), counter);
        let all = |after, to| counters(after, to).collect::<Vec<_>>();
        assert_eq!(all(zxid(3, 7), zxid(3, 9)), [zxid(3, 8), zxid(3, 9)]);
        assert_eq!(all(zxid(2, 700), zxid(3, 2)), [zxid(3, 1), zxid(3, 2)]);
        assert_eq!(all(zxid(3, 0), zxid(3, 0)), []);
        assert_eq!(all(zxid(3, u32::MAX), zxid(3, u32::MAX)), []);
        assert_eq!(all(zxid(3, u32::MAX - 1), zxid(3, u32::MAX)), [zxid(3, u32::MAX)]);
    }
}
