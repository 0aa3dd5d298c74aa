//! `QuorumPacket`: the one record of the quorum port, in both directions, and the types that it has.
//!
//! ```text
//! type int | zxid long | data buffer | authinfo vector of (scheme ustring, id ustring)
//! ```
//!
//! There is no length in front: a packet ends where its parts do.

use std::borrow::Cow;

use crate::extent::{Extent, Received, Step};
use crate::jute::{DecodeError, Reader, Result, Writer};
use crate::{LastZxid, Zxid};

/// The longest buffer that Java reads on the quorum port unless told otherwise: `jute.maxbuffer` plus
/// `zookeeper.jute.maxbuffer.extrasize`, by default 1 MiB less one each. A sender looks at neither: a txn may be longer than the request
/// that it came from, hence the second.
pub const DATA_BYTES_MAX_DEFAULT: usize = 2 * 0xf_ffff;

/// The longest list of identities. Java has no limit; a client's identities have come through its own frame limit one by one.
pub const AUTHINFO_BYTES_MAX: usize = 1 << 20;

/// What a packet is (`Leader`'s constants).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "ZooKeeper's names; the module's table says what each is")]
pub enum PacketType {
    Request = 1,
    Proposal = 2,
    Ack = 3,
    Commit = 4,
    Ping = 5,
    Revalidate = 6,
    Sync = 7,
    Inform = 8,
    CommitAndActivate = 9,
    NewLeader = 10,
    FollowerInfo = 11,
    UpToDate = 12,
    Diff = 13,
    Trunc = 14,
    Snap = 15,
    ObserverInfo = 16,
    LeaderInfo = 17,
    AckEpoch = 18,
    InformAndActivate = 19,
}

impl PacketType {
    /// Every type, in the order of its number, which begins with 1.
    pub const ALL: &'static [PacketType] = &[
        PacketType::Request,
        PacketType::Proposal,
        PacketType::Ack,
        PacketType::Commit,
        PacketType::Ping,
        PacketType::Revalidate,
        PacketType::Sync,
        PacketType::Inform,
        PacketType::CommitAndActivate,
        PacketType::NewLeader,
        PacketType::FollowerInfo,
        PacketType::UpToDate,
        PacketType::Diff,
        PacketType::Trunc,
        PacketType::Snap,
        PacketType::ObserverInfo,
        PacketType::LeaderInfo,
        PacketType::AckEpoch,
        PacketType::InformAndActivate,
    ];

    /// The type with this number.
    #[must_use]
    pub fn from_wire(number: i32) -> Option<PacketType> {
        PacketType::ALL.iter().copied().find(|ty| ty.to_wire() == number)
    }

    /// Its number.
    #[must_use]
    pub const fn to_wire(self) -> i32 {
        self as i32
    }
}

/// A packet as it stands on the wire, before one asks what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumPacket<'a> {
    /// Its type's number; see [`PacketType`].
    pub ty: i32,
    /// A zxid, or what the type makes of it. Signed, since some types carry -1.
    pub zxid: LastZxid,
    /// What it carries, by its type.
    pub data: Option<&'a [u8]>,
    /// Who asks, in a REQUEST; null in all others.
    pub authinfo: Option<IdVec<'a>>,
}

impl<'a> QuorumPacket<'a> {
    /// Reads the packet that begins at the first of `bytes`, with at most `data_bytes_max` of data.
    ///
    /// # Errors
    /// [`DecodeError::LengthOutOfBounds`], [`DecodeError::NegativeLength`]: the connection is of no more use, since nobody knows where
    /// the next packet begins.
    pub fn receive(bytes: &'a [u8], data_bytes_max: usize) -> Result<Received<QuorumPacket<'a>>> {
        Extent::of(bytes, |extent| {
            Ok(QuorumPacket {
                ty: extent.int()?,
                zxid: LastZxid(extent.long()?),
                data: extent.buffer(data_bytes_max)?,
                authinfo: IdVec::walk(extent)?,
            })
        })
    }

    /// Writes the record.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.int(self.ty);
        w.long(self.zxid.0);
        w.buffer(self.data);
        IdVec::write_or_null(self.authinfo, w);
    }

    /// The data of a type that must have some.
    pub(super) fn some_data(&self) -> Result<&'a [u8]> {
        self.data.ok_or(DecodeError::UnexpectedNull)
    }

    /// The zxid of a type that cannot be without.
    pub(super) fn some_zxid(&self) -> Zxid {
        Zxid::from_wire(self.zxid.0)
    }
}

/// Writes a packet whose data are `start` and then `rest`, so that a txn is copied once.
pub(super) fn write_parts(w: &mut Writer<'_>, ty: PacketType, zxid: LastZxid, start: &[u8], rest: &[u8]) {
    write_parts_of(w, ty, zxid, start, rest, None);
}

/// As [`write_parts`], in somebody's name.
pub(super) fn write_parts_of(
    w: &mut Writer<'_>,
    ty: PacketType,
    zxid: LastZxid,
    start: &[u8],
    rest: &[u8],
    authinfo: Option<IdVec<'_>>,
) {
    w.int(ty.to_wire());
    w.long(zxid.0);
    w.length(start.len() + rest.len());
    w.raw(start);
    w.raw(rest);
    IdVec::write_or_null(authinfo, w);
}

/// The identities of the client whose request is forwarded, checked for their lengths when they were read and walked in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdVec<'a> {
    count: usize,
    raw: &'a [u8],
}

impl<'a> IdVec<'a> {
    /// No identities.
    pub const EMPTY: IdVec<'static> = IdVec { count: 0, raw: &[] };

    fn walk(extent: &mut Extent<'a>) -> Step<Option<IdVec<'a>>> {
        let ids = extent.elements(AUTHINFO_BYTES_MAX, |extent| {
            extent.buffer(AUTHINFO_BYTES_MAX)?;
            extent.buffer(AUTHINFO_BYTES_MAX)?;
            Ok(())
        })?;
        Ok(ids.map(|(count, raw)| IdVec { count, raw }))
    }

    fn write_or_null(ids: Option<IdVec<'_>>, w: &mut Writer<'_>) {
        match ids {
            None => w.int(-1),
            Some(ids) => {
                w.length(ids.count);
                w.raw(ids.raw);
            }
        }
    }

    /// Writes `ids`, scheme and id, to `out`, and gives the list of them.
    pub fn collect<'s>(ids: impl Iterator<Item = (&'s str, &'s str)>, out: &'a mut Vec<u8>) -> IdVec<'a> {
        out.clear();
        let mut count = 0;
        for (scheme, id) in ids {
            let mut w = Writer::new(out);
            w.string(scheme);
            w.string(id);
            count += 1;
        }
        IdVec { count, raw: out }
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Are there none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Scheme and id of each, in order; null becomes empty. What is not UTF-8 has U+FFFD in it, as in Java: it is a name that a client made
    /// up, and must not cost the whole link (see [`crate::jute`]).
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        let mut reader = Reader::new(self.raw);
        let mut next = move || Some(reader.text_or_null().ok()?.unwrap_or_default());
        (0..self.count).map_while(move |_| Some((next()?, next()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: &[u8]) -> Result<Received<QuorumPacket<'_>>> {
        QuorumPacket::receive(bytes, 100)
    }

    #[test]
    fn a_packet_in_pieces_says_how_many_bytes_are_worth_waiting_for() {
        let mut ids = Vec::new();
        let authinfo = Some(IdVec::collect([("ip", "127.0.0.1"), ("digest", "a:b")].into_iter(), &mut ids));
        let whole = QuorumPacket { ty: 1, zxid: LastZxid(-1), data: Some(b"data"), authinfo };
        let mut bytes = Vec::new();
        whole.write(&mut Writer::new(&mut bytes));
        let len = bytes.len();
        bytes.extend_from_slice(b"the next one");
        for end in 0..len {
            let Ok(Received::NeedsBytes(needed)) = packet(&bytes[..end]) else { panic!("{end} bytes are not all") };
            assert!(end < needed && needed <= len, "{needed} needed at {end} of {len}");
        }
        assert_eq!(packet(&bytes), Ok(Received::Whole(whole, len)));
        let ids: Vec<_> = whole.authinfo.expect("two").iter().collect();
        assert_eq!(ids, [("ip".into(), "127.0.0.1".into()), ("digest".into(), "a:b".into())]);
    }

    #[test]
    fn lengths_that_are_out_of_bounds_are_refused_at_once() {
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(&101i32.to_be_bytes());
        assert_eq!(packet(&bytes), Err(DecodeError::LengthOutOfBounds));
        let mut bytes = vec![0; 16];
        bytes.extend_from_slice(&1i32.to_be_bytes());
        bytes.extend_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(packet(&bytes), Err(DecodeError::LengthOutOfBounds));
    }

    #[test]
    fn a_name_that_is_not_utf8_does_not_cost_the_link() {
        let bytes = [0, 0, 0, 2, 0xed, 0xa0, 0xff, 0xff, 0xff, 0xff];
        let ids = IdVec { count: 1, raw: &bytes };
        assert_eq!(ids.iter().collect::<Vec<_>>(), [("\u{fffd}".into(), "".into())]);
    }

    #[test]
    fn types_have_the_numbers_from_1_to_19() {
        let numbers: Vec<i32> = PacketType::ALL.iter().map(|ty| ty.to_wire()).collect();
        assert_eq!(numbers, (1..=19).collect::<Vec<_>>());
        assert_eq!(PacketType::from_wire(0), None);
        assert_eq!(PacketType::from_wire(20), None);
    }
}
