//! What a turn of a process asks the world for, and what it tells the history.

use super::process::Turn;
use crate::history::{Event, ServerId, SessionId, TxnKind, Xid, Zxid as HistoryZxid};
use crate::world::network::{ConnId, Side};
use proto::Zxid;
use proto::txn::{Txn, TxnRecord};
use zab::election::Vote;

/// One effect. The driver may crash the machine before any of them.
#[derive(Debug)]
pub(super) enum Effect {
    /// Bytes for a client.
    Send(ConnId, Vec<u8>),
    /// A socket is closed.
    Close(ConnId),
    /// Bytes for another server.
    SendLink(ConnId, Side, Vec<u8>),
    /// A link of the quorum port is closed.
    CloseLink(ConnId, Side),
    /// A server's quorum port is dialled.
    Dial(proto::ServerId),
    /// A vote for another server.
    Post(proto::ServerId, Vote),
    /// A thread is woken.
    Wake(Turn),
    /// A thread looks again after a while.
    WakeLater(Turn),
    /// A thread looks again after so many ms at the latest.
    WakeAfter(Turn, u64),
    /// A group of the log was started: it comes to its end in the disk's time.
    WriteStarted,
    /// An image is to be written: that takes its time.
    ImageBegun,
    /// An image is in force, or was not needed any more.
    ImageWritten,
    /// Epochs are written.
    EpochsWritten,
    /// The log is cut, or a state's log is begun, or in force, or nobody's.
    LogTurned,
    /// A txn was applied: for the history alone.
    Applied(Applied),
    /// The server leads this epoch: for the history alone.
    Leads(u64),
    /// Another tree is shown, of this zxid and digest: for the history alone.
    Took(Zxid, u64),
    /// A word to the operator: for the trace alone.
    Noted(String),
}

/// A txn that was applied, and the digest after it.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) txn: TxnNote,
    pub(super) digest: u64,
}

/// What the history tells of a txn.
#[derive(Clone, Debug)]
pub(super) struct TxnNote {
    pub(super) zxid: Zxid,
    session: SessionId,
    xid: Xid,
    kind: TxnKind,
    hash: u64,
}

impl TxnNote {
    pub(super) fn of(record: &TxnRecord<'_>, bytes: &[u8]) -> TxnNote {
        let kind = match &record.txn {
            Txn::CreateSession { .. } => TxnKind::Begin,
            Txn::CloseSession(_) => TxnKind::End,
            Txn::Error(_) => TxnKind::Failed,
            _ => TxnKind::Change,
        };
        let hash = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        let header = &record.header;
        TxnNote { zxid: header.zxid, session: SessionId(header.session.0), xid: Xid(header.xid.0.into()), kind, hash }
    }
}

impl Applied {
    /// As a line of a history.
    pub(super) fn event(&self, server: ServerId) -> Event {
        let TxnNote { zxid, session, xid, kind, hash } = self.txn;
        let zxid = HistoryZxid(zxid.0);
        Event::Applied { server, zxid, session, xid, kind, hash: Some(hash), digest: Some(self.digest) }
    }
}
