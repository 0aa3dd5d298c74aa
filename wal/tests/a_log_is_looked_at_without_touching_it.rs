//! Tools look at a log: nothing changes, what lies before damage is still read, and a server may be writing it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::{Record, commit_one, data, open, read_all, small};
use ringkeeper_wal::{
    DirReadDisk, Error, Follower, Generation, LogView, ReadDisk, Standing, UringDisk, UringOptions, sim_disk::SimDisk,
};

const FIRST: &str = "segment-0000000000000001.log";

/// So many full segments and three groups of another.
fn log_of(segments: usize) -> (SimDisk, Vec<Record>) {
    let disk = SimDisk::new();
    let (mut log, mut records) = open(disk.clone(), small(1, 1)).unwrap();
    while log.segment_count() <= segments || log.position().offset < 4 * 4096 {
        let zxid = records.len() as u64 + 1;
        records.push(commit_one(&mut log, zxid, 3000));
    }
    log.seal().unwrap();
    (disk, records)
}

fn view(disk: &SimDisk) -> LogView<SimDisk> {
    LogView::open(disk.clone(), None).unwrap()
}

/// What a reader gives before it ends, and how it ends.
fn read_until_fault<R: ReadDisk>(view: &LogView<R>) -> (Vec<Record>, Option<Error>) {
    let mut reader = view.reader(view.begins_after()).unwrap();
    let mut records = Vec::new();
    loop {
        match reader.next_record() {
            Ok(Some((zxid, data))) => records.push((zxid, data.to_vec())),
            Ok(None) => return (records, None),
            Err(error) => return (records, Some(error)),
        }
    }
}

fn follow<R: ReadDisk>(follower: &mut Follower<R>) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some(group) = follower.next_group().unwrap() {
        records.extend(group.records().map(|(zxid, data)| (zxid, data.to_vec())));
    }
    records
}

#[test]
fn a_torn_tail_is_told_and_not_cut() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    let first = commit_one(&mut log, 1, 10);
    let torn_at = log.position().offset;
    commit_one(&mut log, 2, 3000);
    drop(log);
    let mut bytes = disk.files()[FIRST].clone();
    bytes[usize::try_from(torn_at).unwrap() + 2000] ^= 1;
    disk.put_file(FIRST, &bytes);
    let (before, steps) = (disk.files(), disk.steps());
    let view = view(&disk);
    let torn = view.torn_tail().unwrap();
    assert_eq!((torn.file.as_str(), torn.position.offset, torn.after_zxid), (FIRST, torn_at, 1));
    assert!(view.fault().is_none());
    assert_eq!(read_until_fault(&view).0, [first]);
    assert_eq!((disk.files(), disk.steps()), (before, steps), "looking writes nothing");
}

#[test]
fn what_lies_before_damage_is_read_and_then_the_damage_named() {
    let (disk, records) = log_of(3);
    let names: Vec<String> = disk.files().into_keys().filter(|name| name.starts_with("segment")).collect();
    assert_eq!(names.len(), 4);
    for name in &names {
        let bytes = disk.files()[name].clone();
        // In the header, and in the third group behind it.
        for at in [50, 3 * 4096 + 50] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            disk.put_file(name, &damaged);
            let (before, fault) = read_until_fault(&view(&disk));
            let fault = fault.unwrap_or_else(|| panic!("{name} at {at}: no fault"));
            let Error::Damage { file, offset, after_zxid, .. } = &fault else { panic!("{fault}") };
            assert_eq!((file, *offset), (name, at as u64 - 50), "{fault}");
            assert_eq!(before.last().map_or(0, |(zxid, _)| *zxid), *after_zxid, "{fault}");
            assert!(records.starts_with(&before));
            let is_listed = view(&disk).segments().iter().any(|segment| segment.file == *name);
            assert!(is_listed, "a damaged segment is shown all the same");
        }
        disk.put_file(name, &bytes);
    }
    assert_eq!(read_until_fault(&view(&disk)).0, records);
}

#[test]
fn segments_outside_the_history_are_told_apart() {
    let (disk, _) = log_of(2);
    let (mut log, _) = open(disk.clone(), small(1, 2)).unwrap();
    let generation = log.next_generation();
    log.truncate_after(3, generation).unwrap();
    drop(log);
    let in_history = |generation| {
        let view = LogView::open(disk.clone(), generation).unwrap();
        let segments = view.segments();
        let in_history = segments.iter().filter(|segment| matches!(segment.standing, Standing::InHistory));
        (in_history.map(|segment| segment.seq.0).collect::<Vec<_>>(), view.last_zxid())
    };
    // Without a control file the newest generation counts.
    assert_eq!(in_history(None), (vec![1, 4], 3));
    assert_eq!(in_history(Some(generation)), (vec![1, 4], 3));
    let (former, last_zxid) = in_history(Some(Generation(1)));
    assert_eq!(former, [1, 2, 3]);
    assert!(last_zxid > 3);
    assert!(matches!(LogView::open(disk, Some(Generation(9))), Err(Error::GenerationMissing { .. })));
}

#[test]
fn groups_are_shown_with_the_records_that_were_asked_for() {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    for group in [[1, 2], [3, 4]] {
        group.iter().for_each(|&zxid| assert!(log.append(zxid, b"").is_ok()));
        log.commit().unwrap();
    }
    for (after, expected) in [(0, [1, 2, 3, 4].as_slice()), (1, &[2, 3, 4]), (3, &[4]), (4, &[])] {
        let mut reader = view(&disk).reader(after).unwrap();
        let mut zxids = Vec::new();
        while let Some(group) = reader.next_group().unwrap() {
            zxids.extend(group.records().map(|(zxid, _)| zxid));
        }
        assert_eq!(zxids, expected, "after {after}");
    }
}

#[test]
fn one_segment_is_read_by_itself_under_any_name() {
    let (disk, records) = log_of(2);
    let copy = SimDisk::new();
    copy.put_file("a copy", &disk.files()["segment-0000000000000002.log"]);
    let view = LogView::open_segment(copy, "a copy").unwrap();
    let (own, fault) = read_until_fault(&view);
    assert!(fault.is_none() && own.len() > 3);
    let begins = usize::try_from(view.begins_after()).unwrap();
    assert_eq!(own, records[begins..begins + own.len()]);
}

#[test]
fn a_follower_sees_every_group_across_segments() {
    let disk = SimDisk::new();
    let mut early = view(&disk).follow().unwrap();
    assert!(early.next_group().unwrap().is_none(), "there is no log yet");
    let (mut log, _) = open(disk.clone(), small(1, 1)).unwrap();
    let mut late = view(&disk).follow().unwrap();
    let (mut written, mut seen_early, mut seen_late) = (Vec::new(), Vec::new(), Vec::new());
    while log.segment_count() < 4 {
        let zxid = written.len() as u64 + 1;
        written.push(commit_one(&mut log, zxid, usize::try_from(zxid * 97 % 4000).unwrap()));
        seen_early.extend(follow(&mut early));
        if zxid.is_multiple_of(40) {
            log.seal().unwrap();
            seen_late.extend(follow(&mut late));
        }
        assert_eq!(seen_early, written);
    }
    seen_late.extend(follow(&mut late));
    assert_eq!(seen_late, written);
}

#[test]
fn a_follower_waits_for_the_group_that_is_being_written_and_names_damage() {
    let (disk, _) = log_of(0);
    let (mut log, _) = open(disk.clone(), small(1, 2)).unwrap();
    let mut follower = view(&disk).follow().unwrap();
    let begin = usize::try_from(log.position().offset).unwrap();
    let before = disk.files()[FIRST].clone();
    let last = log.last_appended_zxid();
    let record = commit_one(&mut log, last + 1, 3000);
    let after = disk.files()[FIRST].clone();
    for written in [0, 40, 512, 3000] {
        let mut half = before.clone();
        half[begin..begin + written].copy_from_slice(&after[begin..begin + written]);
        disk.put_file(FIRST, &half);
        assert!(follower.next_group().unwrap().is_none(), "{written} bytes are no group");
        assert!(view(&disk).fault().is_none());
    }
    disk.put_file(FIRST, &after);
    assert_eq!(follow(&mut follower), [record]);

    // The next one is damaged, which shows once a segment follows.
    let at = usize::try_from(log.position().offset).unwrap();
    while log.segment_count() < 2 {
        let zxid = log.last_appended_zxid() + 1;
        log.append(zxid, &data(zxid, 3000)).unwrap();
        log.commit().unwrap();
    }
    let mut damaged = disk.files()[FIRST].clone();
    damaged[at + 100] ^= 1;
    disk.put_file(FIRST, &damaged);
    let error = follower.next_group().unwrap_err();
    assert!(matches!(error, Error::Damage { offset, .. } if offset == at as u64), "{error}");
}

#[test]
fn a_segment_that_was_recycled_while_it_was_read_is_no_damage() {
    let (disk, records) = log_of(3);
    let (mut log, _) = open(disk.clone(), small(1, 2)).unwrap();
    let (view, mut follower) = (view(&disk), view(&disk).follow().unwrap());
    let mut reader = view.reader(0).unwrap();
    reader.next_record().unwrap().unwrap();
    // The server knows nothing of this reader: purges, and writes into what it has purged.
    let durable = log.durable_zxid();
    log.purge_below(durable).unwrap();
    while log.segment_count() < 4 {
        let zxid = log.last_appended_zxid() + 1;
        commit_one(&mut log, zxid, 3000);
    }
    let error = read_all(&mut reader).unwrap_err();
    assert!(view.is_outdated(&error), "{error}");
    assert!(!LogView::open(disk.clone(), None).unwrap().is_outdated(&Error::Damage {
        file: "segment-0000000000000004.log".to_owned(),
        offset: 0,
        after_zxid: 0,
        what: "still there",
    }));
    // The follower was at the end and lost nothing, until it fell behind a purge too.
    let seen: Vec<u64> = follow(&mut follower).into_iter().map(|(zxid, _)| zxid).collect();
    assert_eq!(seen, (records.len() as u64 + 1..=log.durable_zxid()).collect::<Vec<_>>());
    let begun = log.position().segment;
    while log.position().segment.0 < begun.0 + 3 {
        let zxid = log.last_appended_zxid() + 1;
        commit_one(&mut log, zxid, 3000);
        log.purge_below(zxid).unwrap();
    }
    let error = std::iter::repeat_with(|| follower.next_group().map(drop)).find_map(Result::err).unwrap();
    assert!(matches!(error, Error::Recycled { .. }), "{error}");
}

#[test]
fn a_log_that_is_being_written_never_looks_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let disk = UringDisk::open(dir.path(), UringOptions::default()).unwrap();
    let (mut log, _) = open(disk, small(1, 1)).unwrap();
    let is_done = AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut looks = 0;
            while !is_done.load(Ordering::Acquire) {
                let view = LogView::open(DirReadDisk::new(dir.path()), Some(Generation(1))).unwrap();
                assert!(view.fault().is_none(), "{:?}", view.fault());
                let begins_after = view.begins_after();
                let (records, fault) = read_until_fault(&view);
                assert!(fault.as_ref().is_none_or(|fault| view.is_outdated(fault)), "{fault:?}");
                let expected =
                    (begins_after + 1..).zip(&records).all(|(zxid, record)| *record == (zxid, data(zxid, 900)));
                assert!(expected, "records after {begins_after}");
                looks += 1;
            }
            looks
        });
        for zxid in 1..=2000 {
            commit_one(&mut log, zxid, 900);
            if zxid % 100 == 0 {
                log.purge_below(zxid - 50).unwrap();
            }
        }
        is_done.store(true, Ordering::Release);
        watcher.join().unwrap()
    });
    assert!(looks > 0);
}
