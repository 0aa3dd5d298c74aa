//! Finds the end of the newest segment, and tells a torn tail from damage.
//!
//! Groups are issued one at a time, each only after the one before is durable. So a group that reads well behind one
//! that does not proves that the broken one had been durable: that is damage. With no such witness the broken group
//! was the one in flight: a torn tail, never acknowledged, and the log ends before it. (A seal is such a witness; that
//! is why a clean shutdown and an idle log write one.)
//!
//! `tests/damage_is_named_and_a_torn_tail_is_cut.rs` flips every byte and cuts the last group at every sector.

use crate::{
    Error, ReadDisk,
    catalog::{End, Segment},
    format::{Group, GroupFault, GroupHeader, LogPosition, decode_group, to_usize},
};

/// A group that was in flight when the log ended, and does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file.
    pub file: String,
    /// Where the torn group begins.
    pub position: LogPosition,
    /// The last zxid before it.
    pub after_zxid: u64,
}

/// Walks all groups of the newest segment.
pub(crate) fn scan_head<R: ReadDisk>(disk: &R, segment: &Segment) -> Result<(End, Option<TornTail>), Error> {
    let file = disk.open_read(&segment.name).map_err(|e| Error::io("open", &segment.name, e))?;
    let mut end = segment.begin();
    let mut buf = Vec::new();
    let fault = loop {
        if end.offset >= segment.header.segment_bytes {
            return Ok((end, None));
        }
        match read_group(disk, &file, segment, end.offset, &mut buf)? {
            Ok(group) => end = follow(segment, &end, &group)?,
            Err(fault) => break fault,
        }
    };
    if let Some(witness) = find_witness(disk, &file, segment, end.offset)? {
        tracing::error!(file = segment.name, offset = end.offset, witness, "log: damage below a later group");
        return Err(damage(segment, &end, fault.what()));
    }
    let torn = matches!(fault, GroupFault::Broken(_)).then(|| TornTail {
        file: segment.name.clone(),
        position: LogPosition { segment: segment.header.seq, offset: end.offset },
        after_zxid: end.zxid,
    });
    Ok((end, torn))
}

/// The state after `group`, which must continue `end`.
pub(crate) fn follow(segment: &Segment, end: &End, group: &Group) -> Result<End, Error> {
    if group.header.chain != end.crc {
        return Err(damage(segment, end, "the group does not continue the one before it"));
    }
    let zxid = match group.header.kind {
        crate::format::GroupKind::Seal if group.header.last_zxid == end.zxid => end.zxid,
        crate::format::GroupKind::Records if group.header.first_zxid > end.zxid => group.header.last_zxid,
        _ => return Err(damage(segment, end, "the group's zxids do not continue those before it")),
    };
    Ok(End { offset: end.offset + group.padded_bytes as u64, crc: group.crc, zxid })
}

/// Damage at `end`.
pub(crate) fn damage(segment: &Segment, end: &End, what: &'static str) -> Error {
    Error::Damage { file: segment.name.clone(), offset: end.offset, after_zxid: end.zxid, what }
}

/// Reads and checks the group at `offset` into `buf`. The outer error is the disk's.
pub(crate) fn read_group<R: ReadDisk>(
    disk: &R,
    file: &R::File,
    segment: &Segment,
    offset: u64,
    buf: &mut Vec<u8>,
) -> Result<Result<Group, GroupFault>, Error> {
    let identity = segment.identity();
    let block = to_usize(segment.header.block_bytes.into());
    buf.resize(block, 0);
    fill(disk, file, segment, offset, buf)?;
    let header = match GroupHeader::parse(buf, &identity, offset) {
        Ok(header) => header,
        Err(fault) => return Ok(Err(fault)),
    };
    let bytes = header.padded_bytes(&identity);
    if bytes as u64 > segment.header.segment_bytes - offset {
        return Ok(Err(GroupFault::Broken("the group reaches beyond the segment")));
    }
    if bytes > block {
        buf.resize(bytes, 0);
        let (_, rest) = buf.split_at_mut(block);
        fill(disk, file, segment, offset + block as u64, rest)?;
    }
    Ok(decode_group(buf, &identity, offset))
}

/// Looks for a good group behind `broken` that was issued when `broken` was known to be durable.
fn find_witness<R: ReadDisk>(disk: &R, file: &R::File, segment: &Segment, broken: u64) -> Result<Option<u64>, Error> {
    let identity = segment.identity();
    let block = to_usize(segment.header.block_bytes.into());
    let mut window = vec![0; SCAN_WINDOW_BYTES.next_multiple_of(block)];
    let mut group = Vec::new();
    let mut at = broken + block as u64;
    while at < segment.header.segment_bytes {
        let bytes = window.len().min(to_usize(segment.header.segment_bytes - at));
        window.truncate(bytes);
        fill(disk, file, segment, at, &mut window)?;
        for (offset, candidate) in (at..).step_by(block).zip(window.chunks_exact(block)) {
            let looks_good = GroupHeader::parse(candidate, &identity, offset).is_ok_and(|h| h.known_durable > broken);
            if looks_good && read_group(disk, file, segment, offset, &mut group)?.is_ok() {
                return Ok(Some(offset));
            }
        }
        at += bytes as u64;
    }
    Ok(None)
}

/// Fills `into`; a file that ends before is damage, since a segment has its full size from the start.
fn fill<R: ReadDisk>(disk: &R, file: &R::File, segment: &Segment, offset: u64, into: &mut [u8]) -> Result<(), Error> {
    let got = disk.read_at(file, offset, into).map_err(|e| Error::io("read", &segment.name, e))?;
    if got < into.len() {
        let end = End { offset: offset + got as u64, ..segment.begin() };
        return Err(damage(segment, &end, "the file has been cut short"));
    }
    Ok(())
}

/// Bytes read at once when looking for a witness.
const SCAN_WINDOW_BYTES: usize = 1 << 20;
