//! The handshake: the first frame each way.
//!
//! Clients up to 3.3 (and some in other languages) send no `readOnly` byte and must not get one back (ZOOKEEPER-4814).

use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::{SessionId, Zxid};

/// Bytes of a session's password.
pub const PASSWORD_BYTES: usize = 16;

/// A session's password.
pub type Password = [u8; PASSWORD_BYTES];

/// The client's first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    /// Always 0 so far.
    pub protocol_version: i32,
    /// The newest zxid that the client has seen; a server behind it must refuse.
    pub last_zxid_seen: Zxid,
    /// The session timeout it would like, in ms.
    pub timeout_ms: i32,
    /// The session to renew, or 0 for a new one.
    pub session_id: SessionId,
    /// The password of the session to renew; null counts as empty.
    pub password: &'a [u8],
    /// May the server be read-only? `None`: an old client, which did not say and must not be told.
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    /// Reads a whole frame.
    ///
    /// # Errors
    /// [`DecodeError`] if the frame is not a handshake.
    pub fn decode(frame: &'a [u8]) -> Result<ConnectRequest<'a>> {
        let mut r = Reader::new(frame);
        Ok(ConnectRequest {
            protocol_version: r.int()?,
            last_zxid_seen: Zxid::from_wire(r.long()?),
            timeout_ms: r.int()?,
            session_id: SessionId(r.long()?),
            password: r.buffer()?.unwrap_or_default(),
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }

    /// Writes the record.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.int(self.protocol_version);
        w.long(self.last_zxid_seen.to_wire());
        w.int(self.timeout_ms);
        w.long(self.session_id.0);
        w.buffer(Some(self.password));
        if let Some(read_only) = self.read_only {
            w.bool(read_only);
        }
    }
}

/// The server's first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Always 0.
    pub protocol_version: i32,
    /// The session timeout that holds, in ms; 0 if there is no session.
    pub timeout_ms: i32,
    /// The session; 0 if it has expired or the password was wrong.
    pub session_id: SessionId,
    /// Its password.
    pub password: Password,
    /// Is the server read-only? `None` for a client that did not ask.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The answer to a session that is not there, or whose password was wrong.
    #[must_use]
    pub const fn expired(read_only: Option<bool>) -> ConnectResponse {
        ConnectResponse {
            protocol_version: 0,
            timeout_ms: 0,
            session_id: SessionId(0),
            password: [0; PASSWORD_BYTES],
            read_only,
        }
    }

    /// Reads a whole frame.
    ///
    /// # Errors
    /// [`DecodeError`] if the frame is not a handshake's answer.
    pub fn decode(frame: &[u8]) -> Result<ConnectResponse> {
        let mut r = Reader::new(frame);
        Ok(ConnectResponse {
            protocol_version: r.int()?,
            timeout_ms: r.int()?,
            session_id: SessionId(r.long()?),
            password: r.buffer()?.ok_or(DecodeError::UnexpectedNull)?.try_into().map_err(|_| DecodeError::Truncated)?,
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }

    /// Writes the record.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.int(self.protocol_version);
        w.int(self.timeout_ms);
        w.long(self.session_id.0);
        w.buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            w.bool(read_only);
        }
    }
}
