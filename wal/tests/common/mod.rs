//! Shared by the tests of the log: small options, and reading a log back.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test file uses its part; a test may panic"
)]

pub(crate) mod model;

use std::collections::BTreeMap;

use ringkeeper_wal::{Disk, Error, Generation, GroupView, Log, LogView, Options, ReadDisk, Reader};

/// A record as the tests remember it.
pub(crate) type Record = (u64, Vec<u8>);

/// 64 KiB segments, 8 KiB groups, 4 KiB records: many rolls in few steps.
pub(crate) fn small(generation: u64, salt: u64) -> Options {
    Options {
        segment_bytes: 64 << 10,
        group_bytes: 8 << 10,
        max_record_bytes: 4 << 10,
        generation: Generation(generation),
        salt,
        ..Options::new()
    }
}

/// Data that names its zxid in every byte's neighbourhood, of a length that varies with it.
pub(crate) fn data(zxid: u64, bytes: usize) -> Vec<u8> {
    zxid.to_le_bytes().into_iter().cycle().take(bytes).collect()
}

/// Reads to the end.
pub(crate) fn read_all<R: ReadDisk>(reader: &mut Reader<R>) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    while let Some((zxid, data)) = reader.next_record()? {
        records.push((zxid, data.to_vec()));
    }
    Ok(records)
}

/// Opens and reads to the end.
pub(crate) fn open<D: Disk>(disk: D, options: Options) -> Result<(Log<D>, Vec<Record>), Error> {
    let (log, mut reader) = Log::open(disk, options)?;
    let records = read_all(&mut reader)?;
    Ok((log, records))
}

/// Where a header or group begins, and the last zxid before it.
pub(crate) type Part = (u64, u64);

/// The parts of each segment, in order, and where its last group ends. `each` sees every group on the way.
pub(crate) fn parts<R: ReadDisk>(disk: &R, mut each: impl FnMut(&GroupView<'_>)) -> BTreeMap<String, (Vec<Part>, u64)> {
    let view = LogView::open(disk.clone(), None).unwrap();
    let mut parts = BTreeMap::new();
    for segment in view.segments() {
        let mut last = segment.header.unwrap().base_zxid;
        let mut places = vec![(0, last)];
        let mut reader = view.segment_reader(segment.seq).unwrap();
        while let Some(group) = reader.next_group().unwrap() {
            places.push((group.position.offset, last));
            last = group.header.last_zxid;
            each(&group);
        }
        parts.insert(segment.file, (places, segment.end_offset.unwrap()));
    }
    parts
}

/// Appends one record and makes it durable.
pub(crate) fn commit_one<D: Disk>(log: &mut Log<D>, zxid: u64, bytes: usize) -> Record {
    let record = (zxid, data(zxid, bytes));
    log.append(zxid, &record.1).unwrap();
    assert_eq!(log.commit().unwrap(), zxid);
    record
}
