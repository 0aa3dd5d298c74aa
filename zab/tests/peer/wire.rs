//! Packets between peers, as values: what the quorum port would carry.

use proto::quorum::{FromLeader, FromLearner, LearnerInfo, PROTOCOL_VERSION, RINGKEEPER_PROTOCOL_VERSION, TouchVec};
use proto::{Epoch, LastZxid, ServerId, Zxid};
use ringkeeper_zab::{Message, Sync};
use std::fmt;

/// A txn; the value tells those apart that got the same zxid, which must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Txn {
    pub zxid: Zxid,
    pub value: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    LeaderInfo {
        epoch: Epoch,
        is_ours: bool,
    },
    Diff(Zxid),
    Trunc(Zxid),
    /// The state is every txn that made it.
    Snap(Zxid, Vec<Txn>),
    Proposal(Txn),
    Commit(Zxid),
    Inform(Txn),
    NewLeader(Epoch),
    UpToDate,
    Ping(Zxid),
    Info {
        server: ServerId,
        observer: bool,
        is_ours: bool,
        accepted: Epoch,
    },
    AckEpoch {
        last: LastZxid,
        current: Option<Epoch>,
    },
    Ack(Zxid),
    Pong(Zxid),
}

impl Packet {
    /// As the leader is told, if it is a learner's.
    pub(crate) fn as_from_learner(&self) -> Option<FromLearner<'static>> {
        Some(match *self {
            Packet::Info { server, observer, is_ours, accepted } => {
                let protocol_version = version(is_ours);
                let info = LearnerInfo { server, protocol_version, config_version: None, extension: &[] };
                FromLearner::Info { observer, accepted_epoch: accepted, info }
            }
            Packet::AckEpoch { last, current } => FromLearner::AckEpoch { last_zxid: last, current_epoch: current },
            Packet::Ack(zxid) => FromLearner::Ack(zxid),
            Packet::Pong(zxid) => FromLearner::Ping { zxid: zxid.into(), touches: TouchVec::EMPTY },
            _ => return None,
        })
    }

    /// As the learner is told, if it is a leader's.
    pub(crate) fn as_from_leader(&self) -> Option<FromLeader<'static>> {
        Some(match *self {
            Packet::LeaderInfo { epoch, is_ours } => {
                FromLeader::LeaderInfo { epoch, protocol_version: version(is_ours), extension: &[] }
            }
            Packet::Diff(zxid) => FromLeader::Diff(zxid),
            Packet::Trunc(zxid) => FromLeader::Trunc(zxid.into()),
            Packet::Snap(zxid, _) => FromLeader::Snap(zxid),
            Packet::Proposal(txn) => FromLeader::Proposal { zxid: txn.zxid, txn: &[] },
            Packet::Commit(zxid) => FromLeader::Commit(zxid),
            Packet::Inform(txn) => FromLeader::Inform { zxid: txn.zxid, txn: &[] },
            Packet::NewLeader(epoch) => FromLeader::NewLeader { zxid: Zxid::new(epoch, 0), config: None },
            Packet::UpToDate => FromLeader::UpToDate,
            Packet::Ping(zxid) => FromLeader::Ping(zxid),
            _ => return None,
        })
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Packet::LeaderInfo { epoch, .. } => write!(f, "LEADERINFO {}", epoch.0),
            Packet::Diff(zxid) => write!(f, "DIFF {}", at(*zxid)),
            Packet::Trunc(zxid) => write!(f, "TRUNC {}", at(*zxid)),
            Packet::Snap(zxid, state) => write!(f, "SNAP {} of {} txns", at(*zxid), state.len()),
            Packet::Proposal(txn) => write!(f, "PROPOSAL {}", at(txn.zxid)),
            Packet::Commit(zxid) => write!(f, "COMMIT {}", at(*zxid)),
            Packet::Inform(txn) => write!(f, "INFORM {}", at(txn.zxid)),
            Packet::NewLeader(epoch) => write!(f, "NEWLEADER {}", epoch.0),
            Packet::UpToDate => write!(f, "UPTODATE"),
            Packet::Ping(zxid) => write!(f, "PING {}", at(*zxid)),
            Packet::Info { observer, accepted, .. } => {
                write!(f, "{} {}", if *observer { "OBSERVERINFO" } else { "FOLLOWERINFO" }, accepted.0)
            }
            Packet::AckEpoch { last, current } => {
                let last = last.zxid().map_or("-1".to_owned(), at);
                write!(
                    f,
                    "ACKEPOCH last {last} current {}",
                    current.map_or("-1".to_owned(), |epoch| epoch.0.to_string())
                )
            }
            Packet::Ack(zxid) => write!(f, "ACK {}", at(*zxid)),
            Packet::Pong(zxid) => write!(f, "PONG {}", at(*zxid)),
        }
    }
}

const fn version(is_ours: bool) -> i32 {
    if is_ours { RINGKEEPER_PROTOCOL_VERSION } else { PROTOCOL_VERSION }
}

/// A zxid, as epoch.counter.
pub(crate) fn at(zxid: Zxid) -> String {
    format!("{}.{}", zxid.epoch().0, zxid.counter())
}

/// A range, as (after, to].
fn range(after: Zxid, to: Zxid) -> String {
    format!("({}, {}]", at(after), at(to))
}

/// A message, as a script shows it.
pub(crate) fn message(message: &Message) -> String {
    match *message {
        Message::Info { observer, accepted } => {
            format!("{} {}", if observer { "OBSERVERINFO" } else { "FOLLOWERINFO" }, accepted.0)
        }
        Message::LeaderInfo(epoch) => Packet::LeaderInfo { epoch, is_ours: true }.to_string(),
        Message::AckEpoch { last, current } => Packet::AckEpoch { last, current }.to_string(),
        Message::Diff(zxid) => Packet::Diff(zxid).to_string(),
        Message::Trunc(zxid) => Packet::Trunc(zxid).to_string(),
        Message::Committed { after, to } => format!("PROPOSAL and COMMIT {}", range(after, to)),
        Message::Proposals { after, to } => format!("PROPOSAL {}", range(after, to)),
        Message::Commits { after, to } => format!("COMMIT {}", range(after, to)),
        Message::Informs { after, to } => format!("INFORM {}", range(after, to)),
        Message::NewLeader(epoch) => Packet::NewLeader(epoch).to_string(),
        Message::UpToDate => Packet::UpToDate.to_string(),
        Message::AckNewLeader { epoch, after, to } if after == to => format!("ACK {}.0", epoch.0),
        Message::AckNewLeader { epoch, after, to } => format!("ACK {}.0 and {}", epoch.0, range(after, to)),
        Message::Ack(zxid) => Packet::Ack(zxid).to_string(),
        Message::Ping(zxid) => Packet::Ping(zxid).to_string(),
        Message::Pong(zxid) => Packet::Pong(zxid).to_string(),
    }
}

pub(crate) fn sync(sync: &Sync) -> String {
    match *sync {
        Sync::Snap { zxid } => format!("SNAP of {} at least", at(zxid)),
        Sync::Log { after, to, .. } => format!("PROPOSAL and COMMIT {} from the log", range(after, to)),
    }
}
