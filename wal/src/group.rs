//! The gathering group: records are copied into the aligned buffer from which they will be written.

use crate::{
    AlignedBuf, Options,
    format::{
        GROUP_HEADER_BYTES, GroupHeader, GroupKind, RECORD_HEADER_BYTES, SegmentIdentity, encode_record, to_usize,
    },
};

/// One group that is being filled. Never larger than `Options::group_bytes + max_record_bytes`, padded.
#[derive(Debug)]
pub(crate) struct GatheringGroup {
    /// The slot: while a write is in flight the disk owns it.
    pub(crate) buf: AlignedBuf,
    used: usize,
    full_bytes: usize,
    first_zxid: u64,
    last_zxid: u64,
    record_count: u32,
}

impl GatheringGroup {
    pub(crate) fn new(options: &Options) -> GatheringGroup {
        GatheringGroup {
            buf: AlignedBuf::zeroed(options.group_capacity()),
            used: GROUP_HEADER_BYTES,
            full_bytes: options.group_bytes,
            first_zxid: 0,
            last_zxid: 0,
            record_count: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used >= self.full_bytes
    }

    /// Bytes gathered, header included, padding not.
    pub(crate) fn bytes(&self) -> usize {
        self.used
    }

    pub(crate) fn last_zxid(&self) -> u64 {
        self.last_zxid
    }

    /// Copies a record. The group must not be full: then there is always room for the largest record.
    pub(crate) fn push(&mut self, zxid: u64, data: &[u8]) {
        assert!(!self.is_full(), "a full group takes no record: commit first");
        assert!(
            self.used + RECORD_HEADER_BYTES + data.len() <= self.buf.len(),
            "a group has room for the largest record"
        );
        let (_, free) = self.buf.split_at_mut(self.used);
        self.used += encode_record(zxid, data, free);
        if self.record_count == 0 {
            self.first_zxid = zxid;
        }
        self.last_zxid = zxid;
        self.record_count += 1;
    }

    /// Bytes that the group will take on disk.
    pub(crate) fn padded_bytes(&self, block_bytes: u32) -> usize {
        self.used.next_multiple_of(to_usize(block_bytes.into()))
    }

    /// Pads the group and writes its header for this place; returns its crc32c and padded bytes. An empty group
    /// becomes a seal that repeats `last_zxid`. All before `offset` must be durable.
    pub(crate) fn finish(
        &mut self,
        identity: &SegmentIdentity,
        offset: u64,
        chain: u32,
        last_zxid: u64,
    ) -> (u32, usize) {
        let seal = self.is_empty();
        let header = GroupHeader {
            kind: if seal { GroupKind::Seal } else { GroupKind::Records },
            chain,
            offset,
            known_durable: offset,
            first_zxid: if seal { last_zxid } else { self.first_zxid },
            last_zxid: if seal { last_zxid } else { self.last_zxid },
            payload_bytes: u32::try_from(self.used - GROUP_HEADER_BYTES).expect("a group is at most 2 GiB"),
            record_count: self.record_count,
        };
        let padded = self.padded_bytes(identity.block_bytes);
        let (group, _) = self.buf.split_at_mut(padded);
        let (_, padding) = group.split_at_mut(self.used);
        padding.fill(0);
        (header.encode(identity, group), padded)
    }

    /// Empties the group, once what it held is durable.
    pub(crate) fn clear(&mut self) {
        self.used = GROUP_HEADER_BYTES;
        self.record_count = 0;
    }
}
