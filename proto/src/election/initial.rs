//! `InitialMessage`: who has opened an election connection.
//!
//! ```text
//! version long (-65536 or -65535) | server id long | length int (1 to 2048) | "host:port", or several with | between them
//! server id long (0 or more)        from servers before 3.5
//! ```
//!
//! There is no answer. It has to leave in one write: Java takes the addresses with one read, and closes the connection if some are missing.

use std::net::IpAddr;

use crate::ServerId;
use crate::extent::{Extent, Received, Step};
use crate::jute::{DecodeError, Result, Writer};

/// The longest list of addresses (`QuorumCnxManager.maxBuffer`).
const ADDRESSES_BYTES_MAX: usize = 2048;

/// What a server says that opens an election connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialMessage<'a> {
    /// Only its id, as before 3.5. It is called back at the address that the configuration has.
    Bare(ServerId),
    /// Its id, and where it is called back if it has the smaller one.
    Addressed {
        /// Which of the two it speaks.
        version: InitialVersion,
        /// Its id; [`ServerId::OBSERVER`] for an observer without one.
        server: ServerId,
        /// Its election addresses.
        addresses: AddressList<'a>,
    },
}

/// The version of an initial message. Java reads both alike; it writes the second only where `multiAddress.enabled` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialVersion {
    /// One address, since 3.5.
    V1,
    /// Any number of them, since 3.6.
    V2,
}

impl InitialVersion {
    /// Its number, which is negative so that nobody takes it for an id.
    #[must_use]
    pub const fn to_wire(self) -> i64 {
        match self {
            InitialVersion::V1 => -65536,
            InitialVersion::V2 => -65535,
        }
    }

    fn from_wire(version: i64) -> Result<InitialVersion> {
        let known = [InitialVersion::V1, InitialVersion::V2].into_iter().find(|known| known.to_wire() == version);
        known.ok_or(DecodeError::UnknownElectionVersion(version))
    }
}

impl<'a> InitialMessage<'a> {
    /// Reads the message that begins at the first of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection is to be closed.
    pub fn receive(bytes: &'a [u8]) -> Result<Received<InitialMessage<'a>>> {
        Extent::of(bytes, InitialMessage::walk)
    }

    fn walk(extent: &mut Extent<'a>) -> Step<InitialMessage<'a>> {
        let first = extent.long()?;
        if first >= 0 {
            return Ok(InitialMessage::Bare(ServerId(first)));
        }
        let version = InitialVersion::from_wire(first)?;
        let server = ServerId(extent.long()?);
        let addresses = extent.string(ADDRESSES_BYTES_MAX)?;
        Ok(InitialMessage::Addressed { version, server, addresses: AddressList::new(addresses)? })
    }

    /// Writes it.
    pub fn write(&self, w: &mut Writer<'_>) {
        match self {
            InitialMessage::Bare(server) => w.long(server.0),
            InitialMessage::Addressed { version, server, addresses } => {
                w.long(version.to_wire());
                w.long(server.0);
                w.string(addresses.text);
            }
        }
    }
}

/// Where a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElectionAddress<'a> {
    /// A name or an IP address; of version 6 without its brackets.
    pub host: &'a str,
    /// The port.
    pub port: u16,
}

impl<'a> ElectionAddress<'a> {
    /// `host:port`, `[v6 address]:port`. Stricter than Java, which takes what follows a bracket for the colon and an empty host for
    /// loopback.
    fn parse(text: &'a str) -> Result<ElectionAddress<'a>> {
        let parts = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:"),
            None => text.split_once(':'),
        };
        let (host, port) = parts.ok_or(DecodeError::InvalidAddress)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits && !host.is_empty()).ok_or(DecodeError::InvalidAddress)?;
        Ok(ElectionAddress { host, port })
    }

    /// Is it every address of its machine (0.0.0.0, ::)? Then nobody can be called back there, and Java leaves it out.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.host.parse().is_ok_and(|address: IpAddr| address.is_unspecified())
    }
}

impl std::fmt::Display for ElectionAddress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Addresses as they stand on the wire, each checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressList<'a> {
    text: &'a str,
}

impl<'a> AddressList<'a> {
    /// Checks each address of `text`, `|` between them. Build one with [`ElectionAddress`]'s `Display`.
    ///
    /// # Errors
    /// [`DecodeError::InvalidAddress`], [`DecodeError::LengthOutOfBounds`].
    pub fn new(text: &'a str) -> Result<AddressList<'a>> {
        if text.is_empty() || text.len() > ADDRESSES_BYTES_MAX {
            return Err(DecodeError::LengthOutOfBounds);
        }
        text.split('|').try_for_each(|address| ElectionAddress::parse(address).map(drop))?;
        Ok(AddressList { text })
    }

    /// The addresses, in order; one at least.
    pub fn iter(&self) -> impl Iterator<Item = ElectionAddress<'a>> + use<'a> {
        self.text.split('|').map_while(|address| ElectionAddress::parse(address).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(version: i64, text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut w = Writer::new(&mut bytes);
        w.long(version);
        w.long(7);
        w.buffer(Some(text));
        bytes
    }

    #[test]
    fn a_message_in_pieces_is_waited_for() {
        let bytes = wire(-65535, b"zk7:3888|[::1]:3889");
        for end in 0..bytes.len() {
            let received = InitialMessage::receive(&bytes[..end]);
            assert!(matches!(received, Ok(Received::NeedsBytes(needed)) if needed > end && needed <= bytes.len()));
        }
        let Ok(Received::Whole(InitialMessage::Addressed { addresses, .. }, _)) = InitialMessage::receive(&bytes)
        else {
            panic!()
        };
        let addresses: Vec<_> = addresses.iter().collect();
        let expected = [ElectionAddress { host: "zk7", port: 3888 }, ElectionAddress { host: "::1", port: 3889 }];
        assert_eq!(addresses, expected);
        let text: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(text.join("|"), "zk7:3888|[::1]:3889");
    }

    #[test]
    fn a_bare_id_is_a_message_of_before_3_5() {
        let bytes = 3i64.to_be_bytes();
        assert_eq!(InitialMessage::receive(&bytes), Ok(Received::Whole(InitialMessage::Bare(ServerId(3)), 8)));
    }

    #[test]
    fn what_java_closes_the_connection_for_is_refused() {
        let refused = |version: i64, text: &[u8]| InitialMessage::receive(&wire(version, text)).err();
        assert_eq!(refused(-1, b"a:1"), Some(DecodeError::UnknownElectionVersion(-1)));
        assert_eq!(refused(-65536, b""), Some(DecodeError::LengthOutOfBounds));
        assert_eq!(refused(-65536, &[b'a'; 2049]), Some(DecodeError::LengthOutOfBounds));
        assert_eq!(refused(-65536, b"\xff:1"), Some(DecodeError::NotUtf8));
        for text in ["a", "a:", ":1", "a:b", "a:65536", "a:-1", "a:+1", "[::1]", "[::1]1", "::1:1", "a:1||b:1", "a:1|"]
        {
            assert_eq!(refused(-65536, text.as_bytes()), Some(DecodeError::InvalidAddress), "{text}");
        }
    }

    #[test]
    fn nobody_is_called_back_at_every_address() {
        let wildcard = |host| ElectionAddress { host, port: 1 }.is_wildcard();
        assert_eq!(["0.0.0.0", "::", "127.0.0.1", "zk1"].map(wildcard), [true, true, false, false]);
    }
}
