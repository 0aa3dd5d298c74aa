//! Law 9: what was durable and does not read is damage, named and never skipped; only the group that was in flight when
//! the log ended is a torn tail, and is cut.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use common::{Record, commit_one, data, open, parts, read_all, small};
use ringkeeper_wal::{Error, Log, Options, inspect, sim_disk::SimDisk};

/// Segments of six blocks: small enough to damage every byte.
fn tiny(salt: u64) -> Options {
    Options { segment_bytes: 24 << 10, group_bytes: 2 << 10, max_record_bytes: 5500, ..small(1, salt) }
}

fn read(disk: &SimDisk, options: &Options) -> Result<Vec<Record>, Error> {
    let history = inspect(disk, options)?;
    read_all(&mut history.reader(disk.clone(), options.replay_after)?)
}

/// Every byte is tried; only under AddressSanitizer, which looks for other mistakes and is slow, every `RK_FLIP_STRIDE`th.
fn stride() -> usize {
    std::env::var("RK_FLIP_STRIDE").map_or(1, |text| text.parse().unwrap())
}

/// One segment of 72 KiB.
fn large(salt: u64) -> Options {
    Options { segment_bytes: 72 << 10, group_bytes: 12 << 10, ..tiny(salt) }
}

/// As many segments as asked for, the last one full but for a block, ending with a seal.
fn sealed_log_of(options: Options, segments: usize) -> (SimDisk, Vec<Record>) {
    let disk = SimDisk::new();
    let (mut log, mut records) = open(disk.clone(), options).unwrap();
    while log.segment_count() < segments || log.position().offset + (12 << 10) <= options.segment_bytes {
        let zxid = records.len() as u64 + 1;
        records.push(commit_one(&mut log, zxid, if zxid.is_multiple_of(2) { 50 } else { 5000 }));
    }
    assert_eq!(log.segment_count(), segments);
    log.seal().unwrap();
    (disk, records)
}

/// Three segments, ending with a seal.
fn sealed_log() -> (SimDisk, Vec<Record>) {
    sealed_log_of(tiny(1), 3)
}

/// Flips a bit of each byte in turn; gives how many were named, each with its file, the offset of its header or group, and the last zxid before
/// that. The last seal holds no record, and what lies behind the end of a segment is not read.
fn flip_every_byte(disk: &SimDisk, options: &Options, records: &[Record]) -> usize {
    let parts = parts(disk, |_| ());
    let last_file = parts.keys().next_back().unwrap().clone();
    let mut named = 0;
    for (name, bytes) in disk.files().into_iter().filter(|(name, _)| name.starts_with("segment")) {
        let (places, end) = &parts[&name];
        let last_seal = if name == last_file { 4096 } else { 0 };
        let covered = usize::try_from(*end).unwrap() - last_seal;
        for at in (0..bytes.len()).step_by(stride()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            disk.put_file(&name, &damaged);
            let result = read(disk, options);
            if at < covered {
                let (begin, before) = places.iter().rev().find(|(begin, _)| *begin <= at as u64).unwrap();
                let error = result.expect_err("damage is never skipped");
                let Error::Damage { file, offset, after_zxid, .. } = &error else { panic!("{at} in {name}: {error}") };
                assert_eq!((file, offset, after_zxid), (&name, begin, before), "{at}: {error}");
                named += 1;
            } else {
                assert!(result.unwrap() == records, "{at} in {name}");
            }
        }
        disk.put_file(&name, &bytes);
    }
    named
}

#[test]
fn every_flipped_byte_below_the_last_seal_is_named() {
    let (disk, records) = sealed_log();
    assert!(read(&disk, &tiny(2)).unwrap() == records);
    let named = flip_every_byte(&disk, &tiny(2), &records);
    assert!(named * stride() > 40_000, "{named}");
}

#[test]
fn every_flipped_byte_of_a_segment_of_64_kib_is_named() {
    let (disk, records) = sealed_log_of(large(1), 1);
    let named = flip_every_byte(&disk, &large(2), &records);
    assert!(named * stride() >= 64 << 10, "{named}");
}

#[test]
fn damage_says_after_which_zxid_and_writes_nothing() {
    let (disk, records) = sealed_log();
    let name = "segment-0000000000000001.log";
    let mut bytes = disk.files()[name].clone();
    // Header, seal of the open, then the first group with zxid 1 (two blocks), then the second.
    bytes[4 * 4096 + 100] ^= 1;
    disk.put_file(name, &bytes);
    let before = disk.files();
    let error = read(&disk, &tiny(2)).unwrap_err();
    let Error::Damage { file, offset, after_zxid, .. } = &error else { panic!("{error}") };
    assert_eq!((file.as_str(), *offset, *after_zxid), (name, 4 * 4096, 1));
    assert!(error.to_string().contains(name));
    assert_eq!(disk.files(), before);
    // An image at or after the damaged record makes it unneeded only from the next segment on.
    let (mut log, mut reader) = Log::open(disk, tiny(3)).unwrap();
    assert!(read_all(&mut reader).unwrap_err().is_damage());
    let next = records.len() as u64 + 1;
    commit_one(&mut log, next, 10);
}

#[test]
fn a_group_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), tiny(1)).unwrap();
    let mut records = vec![commit_one(&mut log, 1, 10)];
    let name = "segment-0000000000000001.log";
    let before = disk.files()[name].clone();
    commit_one(&mut log, 2, 5000);
    drop(log);
    let after = disk.files()[name].clone();
    let begin = log_end(&before, &after);
    for cut in begin..begin + 8192 {
        let mut torn = after.clone();
        torn[cut..].copy_from_slice(&before[cut..]);
        disk.put_file(name, &torn);
        let got = read(&disk, &tiny(2)).unwrap();
        if torn == after {
            assert_eq!(got.len(), 2);
        } else {
            assert!(got == records, "cut at {cut}");
        }
    }
    // Any subset of sectors instead of a front part; and the log goes on behind it.
    for sectors in 0u32..1 << 10 {
        let mut torn = after.clone();
        for sector in (0..10).filter(|sector| sectors & (1 << sector) == 0) {
            let place = begin + sector * 512..begin + (sector + 1) * 512;
            torn[place.clone()].copy_from_slice(&before[place]);
        }
        let disk = SimDisk::new();
        disk.put_file(name, &torn);
        let (mut log, got) = open(disk.clone(), tiny(2)).unwrap();
        if torn == after {
            assert_eq!(got.len(), 2);
            continue;
        }
        assert!(got == records);
        assert_eq!(log.torn_tail().is_some(), sectors & 1 == 1, "a torn group is told from unused space by its header");
        records.push(commit_one(&mut log, 3, 600));
        assert!(open(disk, tiny(3)).unwrap().1 == records);
        records.pop();
    }
}

#[test]
fn each_of_several_groups_torn_at_any_byte_loses_nothing_that_was_acknowledged() {
    // Groups of one, two, three and one blocks, each of them in turn the one that was in flight.
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), large(1)).unwrap();
    let mut records = vec![commit_one(&mut log, 1, 10)];
    let name = "segment-0000000000000001.log";
    for sizes in [&[10][..], &[5000], &[5000, 5000], &[900, 900, 900]] {
        let before = disk.files()[name].clone();
        let begin = usize::try_from(log.position().offset).unwrap();
        let acknowledged = records.clone();
        for bytes in sizes {
            let zxid = log.last_appended_zxid() + 1;
            records.push((zxid, data(zxid, *bytes)));
            log.append(zxid, &data(zxid, *bytes)).unwrap();
        }
        log.commit().unwrap();
        let after = disk.files()[name].clone();
        let end = usize::try_from(log.position().offset).unwrap();
        let torn_disk = SimDisk::new();
        for cut in (begin..end).step_by(stride()) {
            let mut torn = after.clone();
            torn[cut..].copy_from_slice(&before[cut..]);
            torn_disk.put_file(name, &torn);
            let expected = if torn == after { &records } else { &acknowledged };
            assert!(&read(&torn_disk, &large(2)).unwrap() == expected, "cut at {cut} of {begin}..{end}");
        }
    }
}

#[test]
fn a_torn_group_that_was_cut_never_comes_back() {
    // One sector of its padding is missing: the next group's padding could complete it, if it were written there.
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), tiny(1)).unwrap();
    let first = commit_one(&mut log, 1, 10);
    let torn_at = usize::try_from(log.position().offset).unwrap();
    log.append(2, b"torn").unwrap();
    log.commit().unwrap();
    drop(log);
    let name = "segment-0000000000000001.log";
    let mut bytes = disk.files()[name].clone();
    bytes[torn_at + 7 * 512..torn_at + 4096].fill(0xaa);
    for seed in 0..64 {
        let disk = SimDisk::new();
        disk.put_file(name, &bytes);
        let (mut log, records) = open(disk.clone(), tiny(2)).unwrap();
        assert!(records == [first.clone()]);
        disk.freeze_at(disk.steps() + 1);
        log.append(2, b"other").unwrap();
        log.commit().unwrap_err();
        disk.crash(seed);
        let (_, records) = open(disk, tiny(3)).unwrap();
        let second = records.get(1).map(|(_, data)| data.as_slice());
        assert!(second.is_none_or(|data| data == b"other"), "seed {seed}: {second:?}");
    }
}

/// The first byte that differs.
fn log_end(before: &[u8], after: &[u8]) -> usize {
    let first = before.iter().zip(after).position(|(b, a)| a != b).unwrap();
    assert_eq!(first % 4096, 0);
    first
}

#[test]
fn a_stale_group_of_the_same_number_and_place_does_not_pass() {
    // Two logs with the same records that differ in their salt alone: as a recycled segment whose number was used
    // again after the newest ones had been lost.
    let write = |salt| {
        let disk = SimDisk::new();
        let (mut log, _) = open(disk.clone(), tiny(salt)).unwrap();
        commit_one(&mut log, 1, 10);
        let end = usize::try_from(log.position().offset).unwrap();
        commit_one(&mut log, 2, 5000);
        (disk, end)
    };
    let name = "segment-0000000000000001.log";
    let ((ours, end), (stale, same_end)) = (write(1), write(2));
    assert_eq!(end, same_end);
    let mut bytes = ours.files()[name].clone();
    bytes[end..].copy_from_slice(&stale.files()[name][end..]);
    ours.put_file(name, &bytes);
    let (mut log, records) = open(ours.clone(), tiny(3)).unwrap();
    assert!(records == [(1, data(1, 10))]);
    assert!(log.torn_tail().is_none());
    commit_one(&mut log, 2, 20);
    assert_eq!(open(ours, tiny(4)).unwrap().1.len(), 2);
}

#[test]
fn a_good_group_that_does_not_continue_the_one_before_is_damage() {
    // Two logs with the same salt, places and zxids, and other data in the first record: every group of one is good
    // in the other, but for the chain.
    let write = |first: &[u8]| {
        let disk = SimDisk::new();
        let (mut log, _) = open(disk.clone(), tiny(1)).unwrap();
        log.append(1, first).unwrap();
        log.commit().unwrap();
        let end = usize::try_from(log.position().offset).unwrap();
        commit_one(&mut log, 2, 10);
        (disk, end)
    };
    let name = "segment-0000000000000001.log";
    let ((ours, end), (other, _)) = (write(b"ours"), write(b"else"));
    let mut bytes = ours.files()[name].clone();
    assert_ne!(bytes[end..], other.files()[name][end..]);
    bytes[end..].copy_from_slice(&other.files()[name][end..]);
    ours.put_file(name, &bytes);
    let error = read(&ours, &tiny(2)).unwrap_err();
    assert!(matches!(error, Error::Damage { offset, after_zxid: 1, .. } if offset == end as u64), "{error}");
}

#[test]
fn a_segment_that_was_cut_short_or_lost_is_named() {
    let (disk, _) = sealed_log();
    let parts = parts(&disk, |_| ());
    for name in ["segment-0000000000000001.log", "segment-0000000000000002.log", "segment-0000000000000003.log"] {
        let bytes = disk.files()[name].clone();
        disk.put_file(name, &bytes[..8192]);
        let error = read(&disk, &tiny(2)).unwrap_err();
        let (places, _) = &parts[name];
        let last = places.iter().rev().find(|(begin, _)| *begin < 8192).unwrap().1;
        assert!(
            matches!(&error, Error::Damage { file, offset: 8192, after_zxid, .. } if file == name && *after_zxid == last),
            "{error}, {last} is the last zxid before it"
        );
        disk.put_file(name, &bytes);
    }
    let lost = SimDisk::new();
    for (name, bytes) in disk.files() {
        if name != "segment-0000000000000002.log" {
            lost.put_file(&name, &bytes);
        }
    }
    let error = read(&lost, &tiny(2)).unwrap_err();
    assert!(matches!(error, Error::HistoryMissing { needed_after: 0, .. }), "{error}");
}

#[test]
fn a_newer_format_is_refused_with_what_to_do() {
    let (disk, _) = sealed_log();
    let name = "segment-0000000000000003.log";
    let mut bytes = disk.files()[name].clone();
    bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..4096]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    disk.put_file(name, &bytes);
    let error = Log::open(disk, tiny(2)).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 2, supported: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer version"));
}
