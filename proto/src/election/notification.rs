//! `Notification`: a server's vote, and what it is doing.
//!
//! ```text
//! length int (1 to 524288), then
//!  0  state int | leader long | zxid long | election epoch long      28 bytes: all that servers before 3.4 send
//! 28  peer epoch long
//! 36  version int                                                    40 bytes: 3.4; whatever stands there is read as version 0
//! 40  length of the configuration int | its text                     only if the version is 2 or more; since 3.5
//! ```
//!
//! What follows is ignored. Other lengths below 40 are refused.

use crate::extent::{Extent, Received};
use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::{LastZxid, ServerId};

/// The longest notification (`QuorumCnxManager.PACKETMAXSIZE`).
const MESSAGE_BYTES_MAX: usize = 512 * 1024;

/// Bytes of the shortest form.
const OLD_BYTES: usize = 28;
/// Bytes of the form without a version.
const UNVERSIONED_BYTES: usize = 40;

/// The version that has a configuration (`Notification.CURRENTVERSION`).
const CURRENT_VERSION: i32 = 2;

/// What a server is doing (`QuorumPeer.ServerState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerState {
    /// It has no leader and votes.
    Looking,
    /// It has a leader.
    Following,
    /// It leads.
    Leading,
    /// It has a leader and no vote.
    Observing,
}

impl ServerState {
    /// Its number.
    #[must_use]
    pub const fn to_wire(self) -> i32 {
        self as i32
    }

    fn from_wire(number: i32) -> Result<ServerState> {
        let all = [ServerState::Looking, ServerState::Following, ServerState::Leading, ServerState::Observing];
        all.into_iter().find(|state| state.to_wire() == number).ok_or(DecodeError::UnknownServerState(number))
    }
}

/// A round of an election (`logicalclock`): not an epoch of ZAB's, in spite of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElectionEpoch(pub i64);

/// The current epoch of a vote's leader. Signed, as Java compares it: `i64::MIN` is that of a server without a vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerEpoch(pub i64);

/// A vote. Which is the better of two: by peer epoch, zxid, leader, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// What the sender is doing.
    pub state: ServerState,
    /// Whom it votes for, or follows. `i64::MIN` if it has no vote.
    pub leader: ServerId,
    /// The last zxid of that server.
    pub zxid: LastZxid,
    /// The sender's round.
    pub election_epoch: ElectionEpoch,
    /// The current epoch of that server; from before 3.4 the epoch of `zxid`.
    pub peer_epoch: PeerEpoch,
    /// How it was, or will be, written.
    pub form: NotificationForm<'a>,
}

/// The forms that notifications have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationForm<'a> {
    /// Before 3.4, without the peer epoch. A vote with another peer epoch than its zxid's cannot be written so.
    Old,
    /// 3.4.
    Unversioned,
    /// With a version below 2, and so without a configuration.
    Version(i32),
    /// Since 3.5. Of these a Java server takes every version.
    Config {
        /// 2 from Java.
        version: i32,
        /// The sender's configuration, as it stands in `/zookeeper/config`. A Java server that is looking takes over a newer one.
        config: &'a str,
        /// What follows. Java sends nothing and ignores everything.
        extension: &'a [u8],
    },
}

impl<'a> NotificationForm<'a> {
    /// What a Java server of 3.5 and later sends.
    #[must_use]
    pub const fn current(config: &'a str) -> NotificationForm<'a> {
        NotificationForm::Config { version: CURRENT_VERSION, config, extension: &[] }
    }
}

/// The frame that begins at the first of `bytes`: a notification's bytes, without the length.
///
/// # Errors
/// [`DecodeError::LengthOutOfBounds`], [`DecodeError::NegativeLength`]: the connection is to be closed.
pub fn receive_frame(bytes: &[u8]) -> Result<Received<&[u8]>> {
    Extent::of(bytes, |extent| extent.buffer(MESSAGE_BYTES_MAX))?.map(|frame| match frame {
        None => Err(DecodeError::NegativeLength),
        Some([]) => Err(DecodeError::LengthOutOfBounds),
        Some(message) => Ok(message),
    })
}

impl<'a> Notification<'a> {
    /// Reads a whole frame.
    ///
    /// # Errors
    /// [`DecodeError`]: it is to be dropped; the connection may live on.
    pub fn decode(frame: &'a [u8]) -> Result<Notification<'a>> {
        let mut r = Reader::new(frame);
        let (state, leader, zxid) = (ServerState::from_wire(r.int()?)?, ServerId(r.long()?), LastZxid(r.long()?));
        let election_epoch = ElectionEpoch(r.long()?);
        let peer_epoch = if frame.len() == OLD_BYTES { PeerEpoch(zxid.0 >> 32) } else { PeerEpoch(r.long()?) };
        let form = match frame.len() {
            OLD_BYTES => NotificationForm::Old,
            UNVERSIONED_BYTES => NotificationForm::Unversioned,
            _ => match r.int()? {
                version if version < CURRENT_VERSION => NotificationForm::Version(version),
                version => {
                    let config = r.string()?;
                    NotificationForm::Config { version, config, extension: r.rest() }
                }
            },
        };
        Ok(Notification { state, leader, zxid, election_epoch, peer_epoch, form })
    }

    /// Writes it, without the length: [`crate::jute::frame`] adds that.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.int(self.state.to_wire());
        w.long(self.leader.0);
        w.long(self.zxid.0);
        w.long(self.election_epoch.0);
        if self.form == NotificationForm::Old {
            return;
        }
        w.long(self.peer_epoch.0);
        match self.form {
            NotificationForm::Old => {}
            NotificationForm::Unversioned => w.int(1),
            NotificationForm::Version(version) => {
                w.int(version);
                // One more byte, which nobody reads, tells it from the form without a version.
                w.bool(false);
            }
            NotificationForm::Config { version, config, extension } => {
                w.int(version);
                w.string(config);
                w.raw(extension);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Zxid;
    use crate::jute::frame;

    const VOTE: Notification<'static> = Notification {
        state: ServerState::Looking,
        leader: ServerId(3),
        zxid: LastZxid(0x5_0000_0009),
        election_epoch: ElectionEpoch(1),
        peer_epoch: PeerEpoch(5),
        form: NotificationForm::current("version=0"),
    };

    fn encoded(notification: &Notification<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        notification.write(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn every_form_is_read_as_it_was_written() {
        let config = NotificationForm::Config { version: 3, config: "", extension: b"more" };
        let forms = [
            (NotificationForm::Old, 28),
            (NotificationForm::Unversioned, 40),
            (NotificationForm::Version(1), 41),
            (NotificationForm::current("version=0"), 44 + 9),
            (config, 44 + 4),
        ];
        for (form, len) in forms {
            let vote = Notification { form, ..VOTE };
            let bytes = encoded(&vote);
            assert_eq!((bytes.len(), Notification::decode(&bytes)), (len, Ok(vote)));
        }
    }

    #[test]
    fn what_java_drops_is_refused() {
        let bytes = encoded(&VOTE);
        for len in (0..28).chain(29..40).chain(41..bytes.len()) {
            assert!(Notification::decode(&bytes[..len]).is_err(), "{len}");
        }
        let mut bytes = encoded(&VOTE);
        bytes[3] = 4;
        assert_eq!(Notification::decode(&bytes), Err(DecodeError::UnknownServerState(4)));
        bytes[3] = 0;
        bytes[40..44].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(Notification::decode(&bytes), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_server_without_a_vote_loses_to_every_other() {
        let none = Notification {
            leader: ServerId(i64::MIN),
            zxid: LastZxid::NO_VOTE,
            peer_epoch: PeerEpoch(i64::MIN),
            ..VOTE
        };
        let bytes = encoded(&none);
        let read = Notification::decode(&bytes).expect("a notification");
        assert!(read.zxid < LastZxid::NONE && LastZxid::NONE < Zxid::ZERO.into() && read.peer_epoch < PeerEpoch(0));
    }

    #[test]
    fn a_frame_is_bounded() {
        let mut bytes = Vec::new();
        frame(&mut bytes, |w| VOTE.write(w));
        let len = bytes.len();
        assert_eq!(receive_frame(&bytes[..len - 1]), Ok(Received::NeedsBytes(len)));
        assert_eq!(receive_frame(&bytes), Ok(Received::Whole(&bytes[4..], len)));
        let starts = |length: i32| receive_frame(&length.to_be_bytes()).err();
        assert_eq!(starts(0), Some(DecodeError::LengthOutOfBounds));
        assert_eq!(starts(-1), Some(DecodeError::NegativeLength));
        assert_eq!(starts(-2), Some(DecodeError::NegativeLength));
        assert_eq!(starts(512 * 1024), None);
        assert_eq!(starts(512 * 1024 + 1), Some(DecodeError::LengthOutOfBounds));
    }
}
