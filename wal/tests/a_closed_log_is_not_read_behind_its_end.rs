//! After a clean stop a note tells where the log ends: the next start does not read behind that, finds damage before it all the same, and
//! the note is gone for good before anything is written.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;

use common::{Record, commit_one, open, small};
use ringkeeper_wal::{
    Error, Generation, Log, LogView, Options, UringDisk, UringOptions, inspect, repair::plan, sim_disk::SimDisk,
};

const NOTE: &str = "closed";
const SEGMENT: &str = "segment-0000000000000001.log";
const BLOCK: usize = 4096;

/// A segment of ten blocks.
fn tiny(salt: u64) -> Options {
    Options { segment_bytes: 40 << 10, group_bytes: 2 << 10, max_record_bytes: 5500, ..small(1, salt) }
}

/// One segment that was closed: its header, the seal of the open, four groups, the seal of the end, and nothing in two blocks.
fn closed_log() -> (SimDisk, Vec<Record>) {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), tiny(1)).unwrap();
    let records = [5000, 10, 100, 20].iter().zip(1..).map(|(bytes, zxid)| commit_one(&mut log, zxid, *bytes)).collect();
    log.close().unwrap();
    assert!(disk.files().contains_key(NOTE));
    (disk, records)
}

fn segments(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    disk.files().into_iter().filter(|(name, _)| name.starts_with("segment")).collect()
}

fn change(disk: &SimDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.files()[name].clone();
    change(&mut bytes);
    disk.put_file(name, &bytes);
}

/// What the next start reads.
fn start(disk: &SimDisk) -> Result<Vec<Record>, Error> {
    open(disk.clone(), tiny(2)).map(|(_, records)| records)
}

#[test]
fn a_closed_log_goes_on_and_takes_nothing_before_that() {
    let (disk, mut records) = closed_log();
    let (mut log, found) = open(disk.clone(), tiny(2)).unwrap();
    assert!(found == records && !disk.files().contains_key(NOTE));
    records.push(commit_one(&mut log, 5, 10));
    log.close().unwrap();
    log.append(6, b"too late").unwrap_err();
    log.seal().unwrap_err();
    let (_, found) = open(disk, tiny(3)).unwrap();
    assert!(found == records);
}

/// Bytes that this thread has read from files.
fn bytes_read() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn a_start_reads_a_closed_log_up_to_its_end_and_any_other_whole() {
    let options = |salt| Options { segment_bytes: 8 << 20, ..small(1, salt) };
    let dir = tempfile::tempdir().unwrap();
    let opened = |salt| open(UringDisk::open(dir.path(), UringOptions::default()).unwrap(), options(salt)).unwrap();
    let (mut log, _) = opened(1);
    for zxid in 1..=20 {
        commit_one(&mut log, zxid, 3000);
    }
    log.seal().unwrap();
    drop(log);
    let mut reads = Vec::new();
    for salt in 2..4 {
        let before = bytes_read();
        let (mut log, records) = opened(salt);
        assert_eq!(records.len(), 20);
        reads.push(bytes_read() - before);
        log.close().unwrap();
    }
    // The groups are read once to find the end, and once for their records.
    assert!(reads[0] > 8 << 20 && reads[1] < 300 << 10, "{reads:?}");
}

#[test]
fn the_note_is_gone_for_good_before_anything_is_written() {
    let (closed, _) = closed_log();
    let before = segments(&closed);
    let (mut with_note, mut without) = (0, 0);
    for step in 1.. {
        let mut ended = false;
        for seed in 0..8 {
            let disk = closed.deep_clone();
            disk.freeze_at(step);
            if let Ok((mut log, _)) = open(disk.clone(), tiny(2)) {
                let _ = log.append(5, b"fifth").and_then(|_| log.commit());
            }
            ended = !disk.is_frozen();
            disk.crash(step * 100 + seed);
            if disk.files().contains_key(NOTE) {
                assert!(segments(&disk) == before, "step {step}: the note tells of an end behind which was written");
                with_note += 1;
            } else {
                without += 1;
            }
        }
        if ended {
            break;
        }
    }
    assert!(with_note > 8 && without > 8, "{with_note} and {without}");
}

#[test]
fn every_flipped_byte_of_a_closed_log_is_named() {
    let (closed, records) = closed_log();
    // The seal of the end holds no record.
    let covered = 7 * BLOCK;
    for at in 0..closed.files()[SEGMENT].len() {
        let disk = closed.deep_clone();
        change(&disk, SEGMENT, |bytes| bytes[at] ^= 1 << (at % 8));
        match start(&disk) {
            Ok(found) => assert!(found == records && at >= covered, "{at}"),
            Err(Error::Damage { file, offset, .. }) => {
                assert!(file == SEGMENT && at < covered && offset <= at as u64, "{at}: at {offset}");
            }
            Err(error) => panic!("{at}: {error}"),
        }
    }
}

/// Without the note nobody could tell this from a log that had ended there.
#[test]
fn records_that_are_gone_with_all_behind_them_are_missed() {
    let (disk, records) = closed_log();
    change(&disk, SEGMENT, |bytes| bytes[5 * BLOCK..].fill(0));
    let without = disk.deep_clone();
    let Error::Damage { file, offset, after_zxid, .. } = start(&disk).unwrap_err() else { panic!("that is damage") };
    assert_eq!((file.as_str(), offset, after_zxid), (SEGMENT, 5 * BLOCK as u64, 2));
    change(&without, NOTE, Vec::clear);
    assert!(start(&without).unwrap() == records[..2]);
}

/// What a RingKeeper that does not know the note makes of a closed log: it leaves the note, and goes on with a seal and these groups, of one
/// record each. Gives all records too, and where the noted end is.
fn gone_on_beside_its_note(groups: &[usize]) -> (SimDisk, Vec<Record>, usize) {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), Options { segment_bytes: 64 << 10, ..tiny(1) }).unwrap();
    let mut records = vec![commit_one(&mut log, 1, 10)];
    log.close().unwrap();
    let (note, end) = (disk.files()[NOTE].clone(), usize::try_from(log.position().offset).unwrap());
    let (mut log, _) = open(disk.clone(), Options { segment_bytes: 64 << 10, ..tiny(2) }).unwrap();
    records.extend(groups.iter().zip(2..).map(|(bytes, zxid)| commit_one(&mut log, zxid, *bytes)));
    assert_eq!(log.segment_count(), 1);
    disk.put_file(NOTE, &note);
    (disk, records, end)
}

#[test]
fn a_log_that_went_on_beside_its_note_is_read_on_and_what_it_lost_is_damage() {
    let start = |disk: &SimDisk| open(disk.clone(), Options { segment_bytes: 64 << 10, ..tiny(3) });
    // Bytes of the records, and how many blocks are lost behind the noted end: the seal, and with it the largest group that there is.
    for (groups, lost) in [(&[10][..], 1), (&[5500, 10], 1), (&[5500, 10], 3)] {
        let (disk, records, end) = gone_on_beside_its_note(groups);
        let all = start(&disk.deep_clone()).unwrap().1;
        assert!(all == records, "{groups:?}: it is all there");
        change(&disk, SEGMENT, |bytes| bytes[end..end + lost * BLOCK].fill(0));
        let Err(fault) = start(&disk) else { panic!("{groups:?}, {lost} lost: what comes behind was missed") };
        let Error::Damage { file, offset, after_zxid, .. } = &fault else { panic!("{fault}") };
        assert_eq!((file.as_str(), *offset, *after_zxid), (SEGMENT, end as u64, 1), "{groups:?}, {lost} lost");
        let said = inspect(&disk, &tiny(3)).unwrap_err();
        assert_eq!(said.to_string(), fault.to_string(), "a tool says what a start says");
    }
    // The seal alone held nothing.
    let (disk, records, end) = gone_on_beside_its_note(&[]);
    change(&disk, SEGMENT, |bytes| bytes[end..end + BLOCK].fill(0));
    assert!(start(&disk).unwrap().1 == records);
}

#[test]
fn a_note_that_is_not_whole_or_tells_of_another_log_is_as_good_as_none() {
    let (closed, records) = closed_log();
    let note = closed.files()[NOTE].clone();
    let other = SimDisk::new();
    open(other.clone(), tiny(9)).unwrap().0.close().unwrap();
    let flipped = (0..BLOCK).map(|at| {
        let mut flipped = note.clone();
        flipped[at] ^= 4;
        flipped
    });
    let cut = [0, 100, BLOCK - 1].map(|bytes| note[..bytes].to_vec());
    for note in flipped.chain(cut).chain([other.files()[NOTE].clone()]) {
        let disk = closed.deep_clone();
        disk.put_file(NOTE, &note);
        assert!(start(&disk).unwrap() == records);
        assert!(!disk.files().contains_key(NOTE));
    }
}

#[test]
fn a_closed_log_that_is_repaired_opens_again() {
    for is_gone in [false, true] {
        let what = if is_gone { "all from there on is gone, the seal too" } else { "a group does not read" };
        let damage = |bytes: &mut Vec<u8>| match is_gone {
            false => bytes[5 * BLOCK + 90] ^= 1,
            true => bytes[5 * BLOCK..].fill(0),
        };
        let (disk, records) = closed_log();
        change(&disk, SEGMENT, damage);
        let fault = start(&disk.deep_clone()).unwrap_err();
        let said = inspect(&disk, &tiny(3)).unwrap_err();
        assert_eq!(said.to_string(), fault.to_string(), "{what}: a tool says what a start says");
        let view = LogView::open(disk.clone(), Some(Generation(1))).unwrap();
        assert_eq!(view.fault().map(ToString::to_string), Some(fault.to_string()), "{what}");
        plan(&view, &fault, Generation(1), 0).unwrap().carry_out(&mut disk.clone()).unwrap();
        let (mut log, mut reader) = Log::open(disk, tiny(3)).unwrap();
        assert!(common::read_all(&mut reader).unwrap() == records[..2], "{what}");
        commit_one(&mut log, 3, 10);
    }
}
