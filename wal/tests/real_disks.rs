//! The log on real file systems: ext4 (or whatever the temporary directory is on) and tmpfs, with O_DIRECT and without.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::path::Path;

use common::{commit_one, open, read_all, small};
use ringkeeper_wal::{DirReadDisk, Disk, Prepared, RefuseDirect, UringDisk, UringOptions, inspect};

fn directories() -> Vec<tempfile::TempDir> {
    let shared_memory = Path::new("/dev/shm").is_dir().then(|| tempfile::tempdir_in("/dev/shm").unwrap());
    [Some(tempfile::tempdir().unwrap()), shared_memory].into_iter().flatten().collect()
}

#[test]
fn commits_are_read_back_on_every_file_system_with_and_without_direct_writes() {
    for refuse_direct in [None, Some(RefuseDirect::AtOpen), Some(RefuseDirect::AtFirstWrite)] {
        for dir in directories() {
            let mut all = Vec::new();
            for run in 0..3 {
                let disk = UringDisk::open(dir.path(), UringOptions { refuse_direct }).unwrap();
                let (mut log, records) = open(disk, small(1, run)).unwrap();
                assert!(records == all);
                for _ in 0..40 {
                    let zxid = all.len() as u64 + 1;
                    all.push(commit_one(&mut log, zxid, usize::try_from(zxid * 37 % 4096).unwrap()));
                }
                while log.prepare_step(16 << 10).unwrap() == Prepared::More {}
                log.purge_below(0).unwrap();
                log.seal().unwrap();
                if refuse_direct.is_some() {
                    assert!(!log.disk().is_direct());
                }
            }
            let read = DirReadDisk::new(dir.path());
            let history = inspect(&read, &small(1, 0)).unwrap();
            assert!(read_all(&mut history.reader(read, 0).unwrap()).unwrap() == all);
        }
    }
}

#[test]
fn segments_are_recycled_on_a_real_directory() {
    let dir = tempfile::tempdir().unwrap();
    let disk = UringDisk::open(dir.path(), UringOptions::default()).unwrap();
    let (mut log, _) = open(disk, small(1, 1)).unwrap();
    let mut all = Vec::new();
    for zxid in 1..=200 {
        all.push(commit_one(&mut log, zxid, 3000));
        if zxid % 20 == 0 {
            log.purge_below(zxid - 1).unwrap();
        }
    }
    let begins = log.history_begins_after();
    assert!(begins > 150, "{begins}");
    assert!(std::fs::read_dir(dir.path()).unwrap().count() <= 6);
    all.retain(|(zxid, _)| *zxid > begins);
    drop(log);
    let disk = UringDisk::open(dir.path(), UringOptions::default()).unwrap();
    let (_, records) = open(disk, ringkeeper_wal::Options { replay_after: begins, ..small(1, 2) }).unwrap();
    assert!(records == all);
}

#[test]
fn a_directory_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let first = UringDisk::open(dir.path(), UringOptions::default()).unwrap();
    let second = UringDisk::open(dir.path(), UringOptions::default()).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    UringDisk::open(dir.path(), UringOptions::default()).unwrap();
}

#[test]
fn a_file_that_is_there_is_not_created_again() {
    for refuse_direct in [None, Some(RefuseDirect::AtOpen)] {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = UringDisk::open(dir.path(), UringOptions { refuse_direct }).unwrap();
        disk.create("spare-0000000000000001.log").unwrap();
        let again = disk.create("spare-0000000000000001.log").unwrap_err();
        assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
    }
}

#[test]
fn a_write_beyond_the_file_size_limit_is_an_error_and_the_buffer_comes_back() {
    use ringkeeper_wal::AlignedBuf;
    let dir = tempfile::tempdir().unwrap();
    let mut disk = UringDisk::open(dir.path(), UringOptions::default()).unwrap();
    let mut file = disk.create("segment").unwrap();
    let mut buf = AlignedBuf::zeroed(8192);
    buf[0] = 1;
    disk.write_durable(&mut file, 0, &mut buf, 4096).unwrap();
    // No file system takes an offset this large.
    disk.write_durable(&mut file, i64::MAX.cast_unsigned() & !4095, &mut buf, 4096).unwrap_err();
    assert_eq!((buf.len(), buf[0]), (8192, 1));
    disk.write_durable(&mut file, 4096, &mut buf, 8192).unwrap();
}

#[test]
fn started_groups_are_durable_in_every_mode_and_ring_the_eventfd() {
    use ringkeeper_wal::Started;
    use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
    use std::os::fd::AsFd;
    for refuse_direct in [None, Some(RefuseDirect::AtOpen), Some(RefuseDirect::AtFirstWrite)] {
        let dir = tempfile::tempdir().unwrap();
        let disk = UringDisk::open(dir.path(), UringOptions { refuse_direct }).unwrap();
        let (mut log, _) = open(disk, small(1, 1)).unwrap();
        let bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        log.notify(bell.as_fd()).unwrap();
        let mut next = 1;
        for round in 0..40u64 {
            log.append(next, &next.to_le_bytes()).unwrap();
            if log.start_commit().unwrap() == Started::NeedsSegment {
                assert_eq!(log.commit().unwrap(), next);
                next += 1;
                continue;
            }
            // Gathered while the group before is in flight.
            log.append(next + 1, b"second").unwrap();
            while log.poll_commit().unwrap() != Some(next) {
                assert!(log.is_in_flight(), "round {round}: it ended without a word");
                poll(&mut [PollFd::new(&bell, PollFlags::IN)], None).unwrap();
                // Emptied before the next look, so that only a new ring ends the next wait.
                rustix::io::read(&bell, &mut [0; 8]).unwrap();
            }
            assert_eq!(log.durable_zxid(), next);
            assert_eq!(log.commit().unwrap(), next + 1);
            next += 2;
        }
        drop(log);
        let disk = UringDisk::open(dir.path(), UringOptions::default()).unwrap();
        let (_, records) = open(disk, small(1, 2)).unwrap();
        assert_eq!(records.len() as u64, next - 1);
    }
}

#[test]
fn a_log_that_is_dropped_with_a_group_in_flight_leaves_a_whole_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut committed = Vec::new();
    for round in 1..20 {
        let disk = UringDisk::open(dir.path(), UringOptions::default()).unwrap();
        let (mut log, records) = open(disk, small(1, round)).unwrap();
        let zxids: Vec<u64> = records.iter().map(|record| record.0).collect();
        assert!(committed.iter().all(|zxid| zxids.contains(zxid)), "{committed:?} in {zxids:?}");
        let next = log.last_appended_zxid() + 1;
        log.append(next, b"x").unwrap();
        log.commit().unwrap();
        committed.push(next);
        // This one may last or not.
        log.append(next + 1, b"y").unwrap();
        log.start_commit().unwrap();
    }
}
