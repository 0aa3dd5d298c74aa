//! Golden bytes: segments written by format version 1 are committed in `fixtures/v1` and must be read for ever. While
//! version 1 is what we write, writing the same again gives the same bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::{fs, path::PathBuf};

use common::{Record, data, open, read_all, small};
use ringkeeper_wal::{Generation, Options, inspect, sim_disk::SimDisk};

fn options() -> Options {
    Options {
        segment_bytes: 24 << 10,
        group_bytes: 2 << 10,
        max_record_bytes: 5500,
        ensemble_id: 0x1234_5678_9abc_def0,
        replay_after: 0x1_0000_0000,
        generation: Generation(3),
        ..small(3, 0x0123_4567_89ab_cdef)
    }
}

fn records() -> Vec<Record> {
    let zxid = |n: u64| 0x1_0000_0000 + n;
    [(1, 0), (2, 1), (3, 100), (4, 5000), (5, 300), (6, 300), (0x1_0000_0001, 9)]
        .map(|(n, bytes)| (zxid(n), data(zxid(n), bytes)))
        .to_vec()
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn write_now() -> SimDisk {
    let disk = SimDisk::new();
    let (mut log, _) = open(disk.clone(), options()).unwrap();
    let records = records();
    for group in [&records[..3], &records[3..4], &records[4..6], &records[6..]] {
        for (zxid, data) in group {
            log.append(*zxid, data).unwrap();
        }
        log.commit().unwrap();
    }
    log.seal().unwrap();
    disk
}

#[test]
fn the_fixture_of_version_1_is_read() {
    let disk = SimDisk::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let entry = entry.unwrap();
        disk.put_file(entry.file_name().to_str().unwrap(), &fs::read(entry.path()).unwrap());
    }
    assert_eq!(disk.files().len(), 2);
    let history = inspect(&disk, &options()).unwrap();
    assert!(read_all(&mut history.reader(disk, options().replay_after).unwrap()).unwrap() == records());
}

#[test]
fn version_1_is_written_as_it_was() {
    for (name, bytes) in write_now().files() {
        assert!(fs::read(directory().join(&name)).unwrap() == bytes, "{name} differs");
    }
}

#[test]
#[ignore = "writes the fixture; only when a new format version gets its own"]
fn write_the_fixture() {
    fs::create_dir_all(directory()).unwrap();
    for (name, bytes) in write_now().files() {
        fs::write(directory().join(name), bytes).unwrap();
    }
}
