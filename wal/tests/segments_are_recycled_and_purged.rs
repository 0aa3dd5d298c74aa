//! Append, reopen, truncate, purge and recycle on the simulated disk.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;

use common::{commit_one, data, open, read_all, small};
use ringkeeper_wal::{Error, Gathered, Generation, Log, Options, Prepared, sim_disk::SimDisk};

/// Commits until the log has this many segments; returns the records.
fn fill_segments(log: &mut Log<SimDisk>, segments: usize) -> Vec<common::Record> {
    let mut records = Vec::new();
    while log.segment_count() < segments {
        let zxid = log.last_appended_zxid() + 1;
        records.push(commit_one(log, zxid, 3000));
    }
    records
}

#[test]
fn what_is_committed_is_read_back_over_segments_and_restarts() {
    let disk = SimDisk::new();
    let mut all = Vec::new();
    for run in 0..4 {
        let (mut log, records) = open(disk.clone(), small(1, run)).unwrap();
        assert!(records == all);
        all.extend(fill_segments(&mut log, 3 * (usize::try_from(run).unwrap() + 1)));
        if run % 2 == 0 {
            log.seal().unwrap();
        }
    }
    let (log, records) = open(disk, small(1, 9)).unwrap();
    assert!(records == all);
    assert_eq!(log.durable_zxid(), all.last().unwrap().0);
}

#[test]
fn a_group_of_many_records_is_one_durable_write() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    let mut zxid = 0;
    let before = disk.steps();
    loop {
        zxid += 1;
        if log.append(zxid, &data(zxid, 100)).unwrap() == Gathered::Full {
            break;
        }
    }
    assert_eq!(disk.steps(), before, "appending writes nothing");
    assert!(zxid > 50);
    assert_eq!(log.commit().unwrap(), zxid);
    assert_eq!(disk.steps(), before + 2, "one write and its sync");
    assert_eq!(log.commit().unwrap(), zxid);
    assert_eq!(disk.steps(), before + 2, "nothing gathered, nothing written");
}

#[test]
fn a_reader_starts_after_any_zxid() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    let all = fill_segments(&mut log, 4);
    for after in [0, 1, 7, all.len() as u64 / 2, all.len() as u64 - 1, all.len() as u64, 1000] {
        let expected: Vec<_> = all.iter().filter(|(zxid, _)| *zxid > after).cloned().collect();
        assert_eq!(read_all(&mut log.reader(after).unwrap()).unwrap(), expected, "after {after}");
    }
}

#[test]
fn purged_segments_are_used_again_and_their_stale_groups_are_not_read() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    let mut kept = fill_segments(&mut log, 4);
    let zxid = log.durable_zxid();
    let files = disk.files().len();
    assert_eq!(log.purge_below(zxid).unwrap(), 3, "all but the head");
    assert!(disk.files().len() < files, "more than two spares are removed");
    let begins = log.history_begins_after();
    kept.retain(|(zxid, _)| *zxid > begins);
    // The recycled segments' blocks hold valid groups of their former use from end to end.
    for restart in 0..6 {
        let zxid = log.last_appended_zxid() + 1;
        kept.push(commit_one(&mut log, zxid, 3000));
        kept.extend(fill_segments(&mut log, 2 + restart));
        drop(log);
        let options = Options { replay_after: begins, ..small(1, 2) };
        let (reopened, records) = open(disk.clone(), options).unwrap();
        assert!(records == kept);
        log = reopened;
    }
}

#[test]
fn a_purge_may_go_on_segment_by_segment() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    fill_segments(&mut log, 4);
    let zxid = log.durable_zxid();
    let mut begins = log.history_begins_after();
    for _ in 0..3 {
        assert_eq!(log.purge_some_below(zxid, 1).unwrap(), 1);
        assert!(log.history_begins_after() > begins, "the oldest goes first");
        begins = log.history_begins_after();
        let (again, _) = open(disk.deep_clone(), Options { replay_after: begins, ..small(1, 1) }).unwrap();
        assert_eq!(again.history_begins_after(), begins, "what is left is a whole log");
    }
    assert_eq!(log.purge_some_below(zxid, 1).unwrap(), 0);
}

#[test]
fn a_segment_in_use_by_a_reader_is_not_recycled() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    let all = fill_segments(&mut log, 4);
    let mut reader = log.reader(0).unwrap();
    assert_eq!(log.purge_below(u64::MAX).unwrap(), 0);
    fill_segments(&mut log, 6);
    assert!(read_all(&mut reader).unwrap() == all);
    drop(reader);
    assert_eq!(log.purge_below(u64::MAX).unwrap(), 5);
}

#[test]
fn a_log_that_begins_too_late_is_refused() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    fill_segments(&mut log, 3);
    log.purge_below(u64::MAX).unwrap();
    let begins_after = log.history_begins_after();
    assert!(begins_after > 0);
    assert!(matches!(log.reader(begins_after - 1), Err(Error::HistoryMissing { .. })));
    drop(log);
    let early = Options { replay_after: begins_after - 1, ..small(1, 1) };
    let refused = Log::open(disk.clone(), early).unwrap_err();
    assert!(matches!(refused, Error::HistoryMissing { begins_after: b, .. } if b == begins_after), "{refused}");
    Log::open(disk, Options { replay_after: begins_after, ..small(1, 1) }).unwrap();
}

#[test]
fn truncation_takes_effect_with_the_generation_and_not_before() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    let mut all = Vec::new();
    // Groups of several records, so that cuts fall into a group, between groups and between segments.
    while log.segment_count() < 3 {
        for _ in 0..3 {
            let zxid = log.last_appended_zxid() + 1;
            all.push((zxid, data(zxid, 900)));
            log.append(zxid, &data(zxid, 900)).unwrap();
        }
        log.commit().unwrap();
    }
    log.seal().unwrap();
    drop(log);
    for cut in 0..=all.len() as u64 + 1 {
        let disk = disk.deep_clone();
        let (mut log, _) = open(disk.clone(), small(1, 2)).unwrap();
        let generation = log.next_generation();
        log.truncate_after(cut, generation).unwrap();
        let kept: Vec<_> = all.iter().filter(|(zxid, _)| *zxid <= cut).cloned().collect();
        assert!(read_all(&mut log.reader(0).unwrap()).unwrap() == kept);
        drop(log);

        // The control file was not replaced: nothing has changed.
        let (_, records) = open(disk.clone(), small(1, 3)).unwrap();
        assert!(records == all, "cut {cut}");

        // It was: the cut counts, and the log goes on with the zxid after it.
        let (mut log, mut records) = open(disk.clone(), small(generation.0, 4)).unwrap();
        assert!(records == kept, "cut {cut}");
        log.remove_dead().unwrap();
        records.push(commit_one(&mut log, cut + 1, 50));
        records.push(commit_one(&mut log, cut + 2, 3000));
        drop(log);
        let (_, again) = open(disk, small(generation.0, 5)).unwrap();
        assert_eq!(again, records, "cut {cut}");
    }
}

#[test]
fn truncation_below_the_log_is_refused_and_changes_nothing() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk, Options { replay_after: 100, ..small(1, 1) }).unwrap();
    commit_one(&mut log, 101, 10);
    let generation = log.next_generation();
    assert!(matches!(log.truncate_after(99, generation), Err(Error::HistoryMissing { .. })));
    commit_one(&mut log, 102, 10);
    assert_eq!(read_all(&mut log.reader(100).unwrap()).unwrap().len(), 2);
}

#[test]
fn a_new_base_begins_an_empty_history_and_the_former_can_be_returned_to() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    let former = fill_segments(&mut log, 2);
    let generation = log.next_generation();
    log.restart_after(1_000_000, generation).unwrap();
    let new = vec![commit_one(&mut log, 1_000_001, 10), commit_one(&mut log, 1_000_002, 10)];
    drop(log);
    let (log, records) = open(disk.clone(), small(1, 2)).unwrap();
    assert_eq!(records, former, "the control file still names the former generation");
    assert!(log.next_generation() > generation, "a generation on disk is not used again");
    drop(log);
    let options = Options { replay_after: 1_000_000, ..small(generation.0, 3) };
    let (mut log, records) = open(disk.clone(), options).unwrap();
    assert!(records == new);
    assert!(log.remove_dead().unwrap() > 0);
    drop(log);
    let gone = Log::open(disk, small(1, 2)).unwrap_err();
    assert!(matches!(gone, Error::GenerationMissing { expected: Generation(1), .. }), "{gone}");
}

#[test]
fn a_prepared_segment_is_used_without_zeroing() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    let mut steps = 1;
    while log.prepare_step(16 << 10).unwrap() == Prepared::More {
        steps += 1;
    }
    assert_eq!(steps, 4);
    assert_eq!(log.prepare_step(16 << 10).unwrap(), Prepared::Ready);
    let names: BTreeSet<String> = disk.files().into_keys().collect();
    assert_eq!(names.len(), 2);
    let before = disk.steps();
    let mut groups = 0;
    while log.segment_count() < 2 {
        groups += 1;
        commit_one(&mut log, groups, 10);
    }
    assert_eq!(disk.steps() - before, groups * 2 + 2 + 1 + 2, "groups, and the header, the name and the directory");
    assert_eq!(disk.files().len(), 2);
}

#[test]
fn other_segment_sizes_take_effect_at_the_next_start() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    let mut all = vec![commit_one(&mut log, 1, 3000)];
    drop(log);
    let larger = Options { segment_bytes: 1 << 20, block_bytes: 8192, max_record_bytes: 200 << 10, ..small(1, 2) };
    let (mut log, records) = open(disk.clone(), larger).unwrap();
    assert!(records == all);
    all.push(commit_one(&mut log, 2, 150 << 10));
    drop(log);
    let (mut log, records) = open(disk.clone(), small(1, 3)).unwrap();
    assert!(records == all);
    all.push(commit_one(&mut log, 3, 3000));
    assert!(open(disk, small(1, 4)).unwrap().1 == all);
}

#[test]
fn a_record_beyond_the_limit_is_refused_and_the_log_goes_on() {
    let (mut log, _) = open(SimDisk::new(), small(1, 1)).unwrap();
    let refused = log.append(1, &[0; (4 << 10) + 1]).unwrap_err();
    assert!(matches!(refused, Error::RecordTooLarge { zxid: 1, bytes: 4097, max: 4096 }));
    log.append(1, &[0; 4 << 10]).unwrap();
    assert_eq!(log.commit().unwrap(), 1);
}

#[test]
#[should_panic(expected = "does not follow")]
fn a_zxid_that_does_not_increase_is_our_own_bug() {
    let (mut log, _) = open(SimDisk::new(), small(1, 1)).unwrap();
    log.append(5, b"").unwrap();
    let _ = log.append(5, b"");
}

#[test]
fn another_ensembles_log_is_refused_and_an_unknown_one_is_not() {
    let disk = SimDisk::new();
    let with_id = |ensemble_id| Options { ensemble_id, ..small(1, 1) };
    open(disk.clone(), with_id(0)).unwrap();
    open(disk.clone(), with_id(7)).unwrap();
    open(disk.clone(), with_id(0)).unwrap();
    let refused = Log::open(disk, with_id(8)).unwrap_err();
    assert!(matches!(refused, Error::ForeignEnsemble { found: 7, expected: 8, .. }), "{refused}");
}

#[test]
fn what_the_log_says_it_has_room_for_fits_on_a_full_disk_however_it_is_cut() {
    for bytes in [1, 3_000, 4_000] {
        let disk = SimDisk::new();
        let (mut log, _) = open(disk.clone(), small(1, bytes)).unwrap();
        while log.prepare_step(1 << 20).unwrap() == Prepared::More {}
        disk.set_capacity(Some(disk.files().values().map(Vec::len).sum()));
        // Each group with a seal behind it, as when every write finds the log idle.
        let room = log.room_bytes();
        let mut groups = 0;
        while log.room_bytes() >= 3 * 4096 {
            let zxid = log.last_appended_zxid() + 1;
            commit_one(&mut log, zxid, usize::try_from(bytes).unwrap());
            log.seal().unwrap();
            groups += 1;
        }
        assert!(groups >= room / (3 * 4096) - 1, "{groups} groups of {bytes} bytes in {room} bytes of room");
        assert_eq!(log.segment_count(), 2, "the spare was counted");
        // What does not fit waits, and the log is as before.
        loop {
            let zxid = log.last_appended_zxid() + 1;
            log.append(zxid, &data(zxid, 3_000)).unwrap();
            if log.needs_segment() {
                break;
            }
            log.commit().unwrap();
        }
        let durable = log.durable_zxid();
        assert!(log.make_room().unwrap_err().is_no_space() && log.make_room().unwrap_err().is_no_space());
        assert_eq!((log.durable_zxid(), log.room_bytes() < 2 * 4096), (durable, true));
        disk.set_capacity(None);
        log.make_room().unwrap();
        assert!(!log.needs_segment());
        assert_eq!(log.commit().unwrap(), durable + 1);
    }
}
