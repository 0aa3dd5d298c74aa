//! Directories that are not as they should be, made of what 3.9.5 wrote (`snapshot/tests/fixtures/version-2`): imported all the same where ZooKeeper
//! would be right to, and otherwise refused with a reason.

use crate::{bytes_of, ringkeeper, whole};
use proto::stat::EphemeralOwner;
use proto::{StatPersisted, Zxid};
use ringkeeper_tests::Builder;
use snapshot::version_2::{
    AclNumber, Compression, Entry, LogReader, LogWriter, Node, SnapshotReader, SnapshotWriter, Trailer, Version2,
};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    ringkeeper_tests::top().join("snapshot/tests/fixtures/version-2/3.9.5").join(name)
}

/// Puts these files of the fixture into the `version-2` of a directory.
fn put(data_dir: &Path, names: &[&str]) {
    std::fs::create_dir_all(data_dir.join("version-2")).unwrap();
    for name in names {
        std::fs::copy(fixture(name), data_dir.join("version-2").join(name)).unwrap();
    }
}

fn with(names: &[&str]) -> (Builder, PathBuf) {
    let builder = ringkeeper();
    put(&builder.data_dir(), names);
    let version_2 = builder.data_dir().join("version-2");
    (builder, version_2)
}

/// Starts, and returns the tree and the log.
fn imported(builder: Builder) -> (whole::Tree, String) {
    let server = builder.start();
    (whole::tree_of(server.address()), server.log())
}

fn refused(builder: &Builder, words: &[&str]) {
    let left = bytes_of(&builder.data_dir());
    let said = builder.clone().try_start().unwrap_err();
    words.iter().for_each(|word| assert!(said.contains(word), "{word} in:\n{said}"));
    assert_eq!(bytes_of(&builder.data_dir()), left);
    assert!(!builder.data_dir().join("control").exists(), "nothing was taken over");
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_damaged_snapshot_is_told_of_and_an_older_one_taken() {
    let (builder, _) = with(&["snapshot.0", "snapshot.1b", "log.1"]);
    let (expected, log) = imported(builder);
    assert!(!log.contains("WARN"), "{log}");
    let (builder, version_2) = with(&["snapshot.0", "snapshot.1b", "log.1"]);
    flip(&version_2.join("snapshot.1b"), 700);
    let (found, log) = imported(builder);
    whole::assert_same(&expected, &found);
    assert!(log.contains("a snapshot is damaged, an older one was taken") && log.contains("snapshot.1b"), "{log}");
    let (builder, version_2) = with(&["snapshot.1b", "log.1"]);
    flip(&version_2.join("snapshot.1b"), 700);
    refused(&builder, &["snapshot.1b is damaged at offset", "none could be read"]);
}

#[test]
fn a_log_without_a_snapshot_needs_to_be_trusted() {
    let (expected, _) = imported(with(&["snapshot.1b.snappy"]).0);
    let (builder, _) = with(&["log.1"]);
    refused(&builder, &["no snapshot", "snapshot.trust.empty"]);
    let (found, _) = imported(builder.set("snapshot.trust.empty", "true"));
    whole::assert_same(&expected, &found);
}

#[test]
fn a_log_elsewhere_is_found_by_datalogdir_and_misses_nothing_without() {
    let (expected, _) = imported(with(&["snapshot.0", "log.1"]).0);
    let (builder, _) = with(&["snapshot.0"]);
    let logs = builder.data_dir().with_file_name("logs");
    put(&logs, &["log.1"]);
    let builder = builder.set("dataLogDir", &logs.display().to_string());
    let (found, _) = imported(builder);
    whole::assert_same(&expected, &found);
    let (builder, _) = with(&["snapshot.0", "log.1"]);
    let empty = builder.data_dir().with_file_name("logs");
    refused(
        &builder.set("dataLogDir", &empty.display().to_string()),
        &["log.1 lies in the directory of the snapshots"],
    );
}

#[test]
fn a_damaged_log_is_refused_and_a_torn_one_cut() {
    let (builder, version_2) = with(&["snapshot.0", "log.1"]);
    flip(&version_2.join("log.1"), 600);
    refused(&builder, &["log.1 is damaged at offset", "a record does not read, and one at"]);
    let (builder, version_2) = with(&["snapshot.0", "log.1"]);
    let bytes = std::fs::read(fixture("log.1")).unwrap();
    std::fs::write(version_2.join("log.1"), &bytes[..bytes.len() - 80]).unwrap();
    let (found, log) = imported(builder);
    assert!(log.contains("a torn write at the end of a log does not count") && log.contains("log.1"), "{log}");
    assert!(found.len() > 15);
}

#[test]
fn a_history_with_a_hole_is_a_doubt_that_is_refused_unless_it_is_wanted() {
    let (builder, version_2) = with(&["snapshot.0"]);
    let mut reader = LogReader::open(&fixture("log.1")).unwrap();
    let mut writer = LogWriter::create(&version_2.join("log.1")).unwrap();
    let mut number = 0;
    while let Some(record) = reader.next_record().unwrap() {
        number += 1;
        // The ninth makes a znode that nothing later needs.
        if number != 9 {
            writer.append(record.payload).unwrap();
        }
    }
    writer.finish(0).unwrap();
    refused(&builder, &["the digest of its znodes is", "zxids are missing", "ringkeeper.importInDoubt"]);
    let (found, log) = imported(builder.set("ringkeeper.importInDoubt", "true"));
    assert!(log.contains("ERROR") && log.contains("imported all the same"), "{log}");
    assert!(found.len() > 15);
}

#[test]
fn ttl_znodes_of_3_5_3_are_told_of_by_the_configuration() {
    let with_one = || {
        let (builder, version_2) = with(&[]);
        let files = Version2::new(&builder.data_dir(), &builder.data_dir());
        let mut reader = SnapshotReader::open(&fixture("snapshot.1b"), Compression::None).unwrap();
        let mut writer = SnapshotWriter::create(&files.snapshot(Zxid(0x1b), Compression::None), &[], &[]).unwrap();
        while let Some(entry) = reader.next_entry().unwrap() {
            // The reserved znodes, and one more under the root.
            let Entry::Node(node) = entry else { continue };
            if node.path == "/" || node.path.starts_with("/zookeeper") && node.path.len() < 18 {
                writer.node(&Node { acl: AclNumber::OPEN, ..node }).unwrap();
            }
            if node.path == "/" {
                let stat = StatPersisted::created(Zxid(9), 5, EphemeralOwner(i64::MIN | 5_000_000_000));
                writer.node(&Node { path: "/old", data: None, acl: AclNumber::OPEN, stat }).unwrap();
            }
        }
        writer.finish(&Trailer::default()).unwrap();
        assert!(version_2.join("snapshot.1b").exists());
        builder
    };
    let (tree, log) = imported(with_one().set("emulate353TTLNodes", "true"));
    assert!(tree.contains_key("/old") && !log.contains("were removed"), "{log}");
    let (tree, log) = imported(with_one());
    assert!(!tree.contains_key("/old") && log.contains("ephemerals whose sessions are not open were removed"), "{log}");
}

#[test]
fn a_log_of_ringkeepers_without_its_control_file_is_not_mixed_with_zookeepers_data() {
    let mut server = ringkeeper().start();
    assert!(server.sigterm().success());
    let builder = server.own_builder().clone();
    std::fs::remove_file(builder.data_dir().join("control")).unwrap();
    put(&builder.data_dir(), &["snapshot.1b"]);
    refused(&builder, &["there is no control file that would say which counts"]);
}
