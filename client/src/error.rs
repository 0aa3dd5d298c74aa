//! What can go wrong for a client.

use std::io;
use std::time::Duration;

use proto::{DecodeError, ErrorCode, Xid};

use crate::FrameError;

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, ClientError>;

/// Why a client's call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with an error code.
    #[error("the server answered {0}")]
    Server(ErrorCode),
    /// The server answered with an error code that ZooKeeper does not have.
    #[error("the server answered with the unknown error code {0}")]
    UnknownCode(i32),
    /// The session has expired, or its password was wrong: the server answered the handshake with session 0.
    #[error("the session has expired, or the password was wrong: begin a new one")]
    SessionExpired,
    /// The connection was closed, by the server or after an earlier failure.
    #[error("the server closed the connection ({context}); its log says why")]
    Closed {
        /// What was going on.
        context: &'static str,
    },
    /// Nothing came, or nothing could be written, before the deadline.
    #[error("no answer within {waited:?} ({context}): the server hangs, or the deadline is too short")]
    Deadline {
        /// How long it waited.
        waited: Duration,
        /// For what.
        context: &'static str,
    },
    /// A frame that cannot be one.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame that is not the record expected.
    #[error("the server's {what} cannot be read: {source}")]
    Decode {
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A reply out of order, or to nothing.
    #[error("the server answered xid {got:?} where {expected:?} was due: replies are out of order")]
    ReplyOrder {
        /// The xid that came.
        got: Xid,
        /// The xid that was due; `None`: nothing was.
        expected: Option<Xid>,
    },
    /// The record of a reply is not the one that its operation has.
    #[error("the reply does not fit {0}")]
    WrongRecord(&'static str),
    /// The socket failed.
    #[error("{context} failed: {source}")]
    Io {
        /// What was tried.
        context: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A session that was closed by its owner cannot be used.
    #[error("the session is closed")]
    SessionClosed,
    /// No server of the list could be reached.
    #[error("none of the servers could be reached within {0:?}: is one of them up?")]
    NoServer(Duration),
}

impl ClientError {
    /// The server's error code, if that is what it is.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Server(code) => Some(*code),
            _ => None,
        }
    }

    pub(crate) fn io(context: &'static str) -> impl FnOnce(io::Error) -> ClientError {
        move |source| match source.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
                ClientError::Closed { context }
            }
            _ => ClientError::Io { context, source },
        }
    }

    pub(crate) fn decode(what: &'static str) -> impl FnOnce(DecodeError) -> ClientError {
        move |source| ClientError::Decode { what, source }
    }
}
