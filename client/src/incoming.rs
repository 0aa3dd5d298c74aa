//! What a server sends after the handshake, owned: replies and watch events.

use proto::reply::{Reply, ReplyHeader};
use proto::watch::{EventType, WatcherEvent};
use proto::{ErrorCode, OpCode, Reader, Xid, Zxid};

use crate::error::{ClientError, Result};

/// The next frame of a server, told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The answer to a request, a ping or an auth.
    Reply(ReplyFrame),
    /// A watch event.
    Event(Event),
}

/// A watch event, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The zxid of its header: the txn's from 3.9 on, -1 (as [`proto::watch::NO_ZXID`]) before or after setWatches.
    pub zxid: Zxid,
    /// [`EventType`] as a number.
    pub ty: i32,
    /// Always 3, SyncConnected, from a server.
    pub state: i32,
    /// The znode.
    pub path: String,
}

impl Event {
    /// What happened; `None` for a number that no server sends.
    #[must_use]
    pub const fn kind(&self) -> Option<EventType> {
        EventType::from_wire(self.ty)
    }
}

/// A reply: its header, and the record behind it as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyFrame {
    /// The header.
    pub header: ReplyHeader,
    /// The operation that it answers.
    pub op: OpCode,
    /// The record; empty where the header carries an error (but not for a failed multi).
    pub body: Vec<u8>,
}

impl ReplyFrame {
    /// The header's error code. A failed multi says 0 here and the code in its results.
    ///
    /// # Errors
    /// [`ClientError::UnknownCode`] for a number that ZooKeeper does not have.
    pub fn code(&self) -> Result<ErrorCode> {
        ErrorCode::from_wire(self.header.err).ok_or(ClientError::UnknownCode(self.header.err))
    }

    /// This reply, if it carries no error.
    ///
    /// # Errors
    /// [`ClientError::Server`], [`ClientError::UnknownCode`].
    pub fn ok(self) -> Result<ReplyFrame> {
        match self.code()? {
            ErrorCode::Ok => Ok(self),
            code => Err(ClientError::Server(code)),
        }
    }

    /// The record, to its last byte.
    ///
    /// # Errors
    /// [`ClientError::Server`] if the header carries an error; [`ClientError::Decode`] if the bytes are not exactly the record.
    pub fn record(&self) -> Result<Reply<'_>> {
        match self.code()? {
            ErrorCode::Ok => {}
            code => return Err(ClientError::Server(code)),
        }
        let mut r = Reader::new(&self.body);
        let reply = Reply::read(self.op, &mut r).map_err(ClientError::decode("reply"))?;
        if r.is_empty() { Ok(reply) } else { Err(ClientError::WrongRecord("its operation: bytes follow the record")) }
    }
}

/// A frame with its header read: what it is and the bytes that follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split<'a> {
    pub(crate) header: ReplyHeader,
    pub(crate) body: &'a [u8],
}

impl<'a> Split<'a> {
    pub(crate) fn read(frame: &'a [u8]) -> Result<Split<'a>> {
        let mut r = Reader::new(frame);
        let header = ReplyHeader::read(&mut r).map_err(ClientError::decode("reply header"))?;
        Ok(Split { header, body: r.rest() })
    }

    pub(crate) fn is_event(&self) -> bool {
        self.header.xid == Xid::NOTIFICATION
    }

    pub(crate) fn event(&self) -> Result<Event> {
        let mut r = Reader::new(self.body);
        let event = WatcherEvent::read(&mut r).map_err(ClientError::decode("watch event"))?;
        Ok(Event { zxid: self.header.zxid, ty: event.ty, state: event.state, path: event.path.to_owned() })
    }

    pub(crate) fn reply(&self, op: OpCode) -> ReplyFrame {
        ReplyFrame { header: self.header, op, body: self.body.to_vec() }
    }
}
