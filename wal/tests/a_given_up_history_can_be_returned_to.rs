//! A history that was given up for a new base, or by a truncation, and was not removed since, can be gone on with; wherever the power fails meanwhile, what
//! was acknowledged in it is there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use common::{Record, data, open, read_all, small};
use ringkeeper_wal::{Error, Generation, Log, Options, sim_disk::SimDisk};

fn options(generation: u64) -> Options {
    Options { segment_bytes: 40 << 10, ..small(generation, generation) }
}

fn commit(log: &mut Log<SimDisk>, zxids: std::ops::RangeInclusive<u64>) -> Result<Vec<Record>, Error> {
    let records: Vec<Record> = zxids.map(|zxid| (zxid, data(zxid, 3000))).collect();
    for (zxid, data) in &records {
        log.append(*zxid, data)?;
        log.commit()?;
    }
    Ok(records)
}

#[test]
fn a_history_that_was_given_up_for_a_base_goes_on_where_it_ended() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), options(1)).unwrap();
    let mut records = commit(&mut log, 1..=20).unwrap();
    log.restart_after(1_000, Generation(2)).unwrap();
    commit(&mut log, 1_001..=1_020).unwrap();
    log.return_to(Generation(1), 0).unwrap();
    assert_eq!((log.generation(), log.durable_zxid(), log.last_appended_zxid()), (Generation(1), 20, 20));
    assert_eq!(log.next_generation(), Generation(3), "the other one's is used up");
    records.extend(commit(&mut log, 21..=40).unwrap());
    assert_eq!(read_all(&mut log.reader(0).unwrap()).unwrap(), records);
    assert!(log.remove_dead().unwrap() > 0);
    assert_eq!(open(disk, options(1)).unwrap().1, records);
}

#[test]
fn what_a_truncation_cut_off_comes_back() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), options(1)).unwrap();
    let records = commit(&mut log, 1..=20).unwrap();
    log.truncate_after(5, Generation(2)).unwrap();
    commit(&mut log, 6..=7).unwrap();
    log.return_to(Generation(1), 3).unwrap();
    assert_eq!(read_all(&mut log.reader(0).unwrap()).unwrap(), records);
    log.return_to(Generation(2), 0).unwrap();
    assert_eq!(log.durable_zxid(), 7);
}

#[test]
fn what_was_removed_is_not_returned_to_and_nothing_changes() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), options(1)).unwrap();
    commit(&mut log, 1..=20).unwrap();
    log.restart_after(1_000, Generation(2)).unwrap();
    log.remove_dead().unwrap();
    let error = log.return_to(Generation(1), 0).unwrap_err();
    assert!(matches!(error, Error::GenerationMissing { .. }), "{error}");
    let records = commit(&mut log, 1_001..=1_003).unwrap();
    let too_far_back = log.return_to(Generation(2), 999).unwrap_err();
    assert!(matches!(too_far_back, Error::HistoryMissing { .. }), "{too_far_back}");
    assert_eq!(read_all(&mut log.reader(1_000).unwrap()).unwrap(), records);
}

#[test]
fn whoever_reads_a_segment_keeps_it_across_a_return() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), options(1)).unwrap();
    let records = commit(&mut log, 1..=40).unwrap();
    let mut reader = log.reader(0).unwrap();
    let segments = log.segment_count();
    log.restart_after(1_000, Generation(2)).unwrap();
    log.return_to(Generation(1), 0).unwrap();
    assert_eq!(log.purge_below(40).unwrap(), 0, "all of them are being read");
    assert_eq!(read_all(&mut reader).unwrap(), records);
    drop(reader);
    assert!(segments > 2 && log.purge_below(40).unwrap() > 0);
}

#[test]
fn a_crash_at_every_step_leaves_the_history_that_the_control_file_names() {
    for step in 1.. {
        let mut ended = false;
        for seed in 0..4 {
            let disk = SimDisk::new();
            let (mut log, _) = open(disk.clone(), options(1)).unwrap();
            let mut all = commit(&mut log, 1..=12).unwrap();
            let mut acknowledged = all.len();
            disk.freeze_at(disk.steps() + step);
            let mut run = || -> Result<(), Error> {
                log.restart_after(1_000, Generation(2))?;
                commit(&mut log, 1_001..=1_014)?;
                log.return_to(Generation(1), 0)?;
                log.remove_dead()?;
                for zxid in 13..=30 {
                    all.push((zxid, data(zxid, 3000)));
                    log.append(zxid, &data(zxid, 3000))?;
                    log.commit()?;
                    acknowledged += 1;
                }
                Ok(())
            };
            ended = run().is_ok();
            disk.crash(seed * 7919 + step);
            let (mut log, found) = open(disk.clone(), options(1)).unwrap();
            assert!(found.len() >= acknowledged && all.starts_with(&found), "{} of {acknowledged}", found.len());
            let next = found.len() as u64 + 1;
            let more = commit(&mut log, next..=next + 20).unwrap();
            assert_eq!(open(disk, options(1)).unwrap().1, [found, more].concat());
        }
        if ended {
            assert!(step > 40, "{step} steps");
            break;
        }
    }
}
