//! `QuorumAuthPacket`: SASL between servers, in front of everything else on a connection of the quorum or the election port.
//!
//! ```text
//! magic long 0x5f2435013501edcc | status int | token buffer
//! ```
//!
//! Who dials begins, with [`AuthStatus::InProgress`] and its first token, an empty one if the mechanism has none. The other side answers each of its packets
//! until it says [`AuthStatus::Success`] or [`AuthStatus::Error`]. Then both go on as if nothing had been: a connection on which nobody authenticates itself begins
//! with what would come next, and only the magic number tells ([`QuorumAuthPacket::is_next`]). The Java class means it to be negative, which it is not: read
//! as an election's first message it would be the bare id of a server from before 3.5.
//!
//! Owns the packet alone; what the tokens say is the mechanism's. A token is bounded by [`AUTH_TOKEN_BYTES_MAX`]; it fails with [`DecodeError`]. The vectors
//! `quorum-forms-3.9.5.txt`, from Java's own classes, and the fuzz target `election` would catch a mistake. Mirrors `QuorumAuth` of 3.9.5.

use crate::extent::{Extent, Received};
use crate::jute::{DecodeError, Result, Writer};

/// The longest token. Kerberos has at most 64 KiB, DIGEST-MD5 at most 4 KiB. Whoever sends it is not known yet: Java's bound is that of any buffer.
pub const AUTH_TOKEN_BYTES_MAX: usize = 64 * 1024;

/// `QuorumAuth.QUORUM_AUTH_MAGIC_NUMBER`.
const MAGIC: i64 = 0x5f24_3501_3501_edcc;

/// How far the authentication is (`QuorumAuth.Status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthStatus {
    /// There is more to say. Whoever dials says nothing else.
    InProgress,
    /// Whoever dialled is known.
    Success,
    /// It has failed.
    Error,
}

impl AuthStatus {
    /// Its number.
    #[must_use]
    pub const fn to_wire(self) -> i32 {
        match self {
            AuthStatus::InProgress => 0,
            AuthStatus::Success => 1,
            AuthStatus::Error => -1,
        }
    }

    /// Any other number is an error, as in Java.
    const fn from_wire(number: i32) -> AuthStatus {
        match number {
            0 => AuthStatus::InProgress,
            1 => AuthStatus::Success,
            _ => AuthStatus::Error,
        }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumAuthPacket<'a> {
    /// How far it is.
    pub status: AuthStatus,
    /// What the mechanism says. Null where it has nothing to say, as it may be beside [`AuthStatus::Success`].
    pub token: Option<&'a [u8]>,
}

impl<'a> QuorumAuthPacket<'a> {
    /// Whether the first thing on a connection that has been accepted is such a packet, by its first eight bytes.
    #[must_use]
    pub fn is_next(bytes: &[u8]) -> Received<bool> {
        match bytes.first_chunk() {
            Some(first) => Received::Whole(i64::from_be_bytes(*first) == MAGIC, 0),
            None => Received::NeedsBytes(size_of_val(&MAGIC)),
        }
    }

    /// Reads the packet that begins at the first of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::NoAuthPacket`], which Java does not look for behind the first packet; [`DecodeError::LengthOutOfBounds`],
    /// [`DecodeError::NegativeLength`]. The connection is of no more use.
    pub fn receive(bytes: &'a [u8]) -> Result<Received<QuorumAuthPacket<'a>>> {
        Extent::of(bytes, |extent| {
            if extent.long()? != MAGIC {
                return Err(DecodeError::NoAuthPacket.into());
            }
            let status = AuthStatus::from_wire(extent.int()?);
            Ok(QuorumAuthPacket { status, token: extent.buffer(AUTH_TOKEN_BYTES_MAX)? })
        })
    }

    /// Writes it.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.long(MAGIC);
        w.int(self.status.to_wire());
        w.buffer(self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_in_pieces_is_waited_for_and_a_long_or_foreign_one_is_not() {
        let packet = QuorumAuthPacket { status: AuthStatus::InProgress, token: Some(b"token") };
        let mut bytes = Vec::new();
        packet.write(&mut Writer::new(&mut bytes));
        for end in 0..bytes.len() {
            let received = QuorumAuthPacket::receive(&bytes[..end]);
            assert!(matches!(received, Ok(Received::NeedsBytes(needed)) if needed > end), "{received:?}");
            let is_next = if end < 8 { Received::NeedsBytes(8) } else { Received::Whole(true, 0) };
            assert_eq!(QuorumAuthPacket::is_next(&bytes[..end]), is_next);
        }
        assert_eq!(QuorumAuthPacket::receive(&bytes), Ok(Received::Whole(packet, bytes.len())));
        bytes.truncate(12);
        let with_length = |length: usize| [&bytes[..], &u32::try_from(length).expect("small").to_be_bytes()].concat();
        let at_most = with_length(AUTH_TOKEN_BYTES_MAX);
        assert!(matches!(QuorumAuthPacket::receive(&at_most), Ok(Received::NeedsBytes(_))));
        let too_long = with_length(AUTH_TOKEN_BYTES_MAX + 1);
        assert_eq!(QuorumAuthPacket::receive(&too_long), Err(DecodeError::LengthOutOfBounds));
        bytes[7] ^= 1;
        assert_eq!(QuorumAuthPacket::receive(&bytes), Err(DecodeError::NoAuthPacket));
        assert_eq!(QuorumAuthPacket::is_next(&bytes), Received::Whole(false, 0));
    }

    #[test]
    fn an_unknown_status_is_an_error() {
        assert_eq!(AuthStatus::from_wire(2), AuthStatus::Error);
    }
}
