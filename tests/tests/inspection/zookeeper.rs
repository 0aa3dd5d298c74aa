//! ZooKeeper's own files, as 3.9.5 and 3.8.0 wrote them (`snapshot/tests/fixtures/version-2`): read by the commands that read RingKeeper's.

use crate::damage::flip;
use crate::snapshots::objects;
use crate::{path, rkctl, rkctl_ok, rkctl_refused};
use ringkeeper_tests::Server;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A directory with this version's files in its `version-2`.
pub(crate) fn zookeepers(version: &str, names: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), version, names);
    let version_2 = dir.path().join("version-2");
    (dir, version_2)
}

fn put(dir: &Path, version: &str, names: &[&str]) {
    let fixtures = ringkeeper_tests::top().join("snapshot/tests/fixtures/version-2").join(version);
    std::fs::create_dir_all(dir.join("version-2")).unwrap();
    for name in names {
        std::fs::copy(fixtures.join(name), dir.join("version-2").join(name)).unwrap();
    }
}

/// Everything that 1b has.
const PACKED: [&str; 3] = ["snapshot.1b", "snapshot.1b.gz", "snapshot.1b.snappy"];

#[test]
fn each_packing_of_each_version_tells_the_same() {
    for version in ["3.9.5", "3.8.0"] {
        let (dir, version_2) = zookeepers(version, &PACKED);
        let dumps = PACKED.map(|name| {
            let file = version_2.join(name);
            rkctl_ok(&["snapshot", "verify", path(&file)]);
            let mut znodes = objects(&["snapshot", "dump", "--json", "--data", path(&file)]);
            znodes.sort_by_key(|znode| znode["path"].as_str().unwrap().to_owned());
            znodes
        });
        assert!(dumps[0].len() == 19 && dumps[0] == dumps[1] && dumps[1] == dumps[2]);
        let of = |wanted: &str| dumps[0].iter().find(|znode| znode["path"] == wanted).unwrap();
        assert_eq!((&of("/")["num_children"], &of("/null")["data"]), (&json!(8), &Value::Null));
        assert_eq!(
            (&of("/container")["kind"], &of("/ttl")["ttl_ms"]),
            (&json!("container"), &json!(1_099_511_627_775_u64))
        );
        let verified = &objects(&["snapshot", "verify", "--json", path(&version_2.join("snapshot.1b"))])[0];
        assert_eq!(verified["digest"], verified["digest_recorded"], "ZooKeeper has summed up the same");
        let stats = &objects(&["snapshot", "stats", "--json", path(dir.path())])[0];
        assert_eq!(
            (&stats["znodes"], &stats["ephemerals"], &stats["session_count"]),
            (&json!(19), &json!(2), &json!(1))
        );
        assert_eq!(objects(&["snapshot", "ls", "--json", path(dir.path())]).len(), 3);
    }
}

#[test]
fn a_snapshot_and_the_image_that_was_made_of_it_have_the_same_znodes() {
    let builder = Server::builder().in_memory().set("znode.container.checkIntervalMs", "2000000000");
    put(&builder.data_dir(), "3.9.5", &["snapshot.1b"]);
    // The import ends with an image.
    let mut server = builder.start();
    let dir = server.data_dir();
    server.sigterm();
    let snapshot = dir.join("version-2/snapshot.1b");
    for pair in [[&snapshot, &dir], [&dir, &snapshot]] {
        let lines = objects(&["snapshot", "diff", "--json", path(pair[0]), path(pair[1])]);
        let (summary, changes) = lines.split_last().unwrap();
        assert_eq!(changes, &[] as &[Value]);
        assert_eq!(summary["summary"]["same"], 19);
    }
    // RingKeeper's own data go before those that were imported.
    assert_eq!(objects(&["snapshot", "stats", "--json", path(&dir)])[0]["format"], "image 2");
}

#[test]
fn a_log_of_zookeepers_is_read_like_ringkeepers() {
    let (dir, version_2) = zookeepers("3.9.5", &["snapshot.0", "log.1"]);
    let all = objects(&["log", "dump", "--json", path(dir.path())]);
    assert_eq!(all.len(), 27);
    assert_eq!((&all[0]["type"], &all[26]["zxid"]), (&json!("createSession"), &json!("0x1b")));
    for place in [&version_2, &version_2.join("log.1")] {
        assert_eq!(objects(&["log", "dump", "--json", path(place)]), all);
    }
    let some =
        objects(&["log", "dump", "--json", "--from", "0x5", "--to", "0x9", "--type", "create", path(dir.path())]);
    let is_wanted = |txn: &&Value| {
        ["0x5", "0x6", "0x7", "0x8", "0x9"].iter().any(|zxid| txn["zxid"] == *zxid) && txn["type"] == "create"
    };
    assert!(!some.is_empty() && some.iter().eq(all.iter().filter(is_wanted)), "{some:?}");
    let stats = &objects(&["log", "stats", "--json", path(dir.path())])[0];
    assert_eq!((&stats["txns"], &stats["session_count"]), (&json!(27), &json!(3)));
    let listed = &objects(&["log", "ls", "--json", path(dir.path())])[0];
    assert_eq!(
        (&listed["records"], &listed["end"], &listed["last_zxid"]),
        (&json!(27), &json!("clean"), &json!("0x1b"))
    );
    let verified = &objects(&["log", "verify", "--json", path(dir.path())])[0];
    assert_eq!((&verified["txns"], &verified["gaps"], &verified["torn_tail"]), (&json!(27), &json!(0), &Value::Null));
    let whole = &objects(&["verify", "--json", path(dir.path())])[0];
    assert_eq!((&whole["last_zxid"], &whole["log"]["txns"]), (&json!("0x1b"), &json!(27)));
}

#[test]
fn damage_is_named_and_a_torn_end_is_none() {
    let (dir, version_2) = zookeepers("3.9.5", &["snapshot.1b", "snapshot.1b.gz", "log.1"]);
    let record = objects(&["log", "dump", "--json", "--from", "0x9", "--to", "0x9", path(dir.path())]).remove(0);
    let offset = record["group_offset"].as_u64().unwrap();
    let log = version_2.join("log.1");
    flip(&log, offset + 30);
    for words in [&["log", "verify"][..], &["verify"], &["log", "dump"], &["log", "ls"]] {
        let said = rkctl_refused(&[words, &[path(dir.path())]].concat());
        assert!(said.contains(&format!("{} is damaged at offset {offset}: ", log.display())), "{words:?}: {said}");
    }
    let told: Value = serde_json::from_slice(&rkctl(&["log", "verify", "--json", path(&log)]).stdout).unwrap();
    assert_eq!((&told["ok"], &told["offset"]), (&json!(false), &json!(offset)));
    flip(&log, offset + 30);
    let bytes = std::fs::read(&log).unwrap();
    let last = objects(&["log", "dump", "--json", "--from", "0x1b", path(dir.path())]).remove(0);
    let last_offset = last["group_offset"].as_u64().unwrap();
    std::fs::write(&log, &bytes[..usize::try_from(last_offset).unwrap() + 20]).unwrap();
    let verified = rkctl_ok(&["verify", path(dir.path())]);
    assert!(verified.contains(&format!("ends at offset {last_offset} with a write that is under way")), "{verified}");
    std::fs::write(&log, bytes).unwrap();

    // A snapshot has one sum over all of it: what was read last is named.
    for (name, words) in
        [("snapshot.1b", "the last znode read before it is /"), ("snapshot.1b.gz", "of what is packed in it")]
    {
        let file = version_2.join(name);
        let len = std::fs::metadata(&file).unwrap().len();
        flip(&file, len / 2);
        for command in [&["snapshot", "verify"][..], &["verify"]] {
            let place = if command.len() == 1 { dir.path() } else { &*file };
            let said = rkctl_refused(&[command, &[path(place)]].concat());
            assert!(said.contains(&format!("{} is damaged at offset", file.display())), "{said}");
            assert!(said.contains(words), "{said}");
        }
        flip(&file, len / 2);
    }
    rkctl_ok(&["verify", path(dir.path())]);
}

#[test]
fn a_missing_log_and_a_directory_without_any_are_told() {
    let (dir, version_2) = zookeepers("3.9.5", &["snapshot.0", "log.1"]);
    rkctl_ok(&["verify", path(dir.path())]);
    // The logs begin at 0x1; an older snapshot than that needs what came before.
    let records = objects(&["log", "dump", "--json", path(dir.path())]);
    let second = records[1]["group_offset"].as_u64().unwrap();
    let bytes = std::fs::read(version_2.join("log.1")).unwrap();
    let rest = [&bytes[..16], &bytes[usize::try_from(second).unwrap()..]].concat();
    std::fs::write(version_2.join("currentEpoch"), "four").unwrap();
    assert!(rkctl_refused(&["verify", path(dir.path())]).contains("currentEpoch is damaged"));
    std::fs::remove_file(version_2.join("currentEpoch")).unwrap();
    std::fs::remove_file(version_2.join("log.1")).unwrap();
    std::fs::write(version_2.join("log.2"), rest).unwrap();
    let said = rkctl_refused(&["verify", path(dir.path())]);
    assert!(said.contains("the newest snapshot is at zxid 0x0, and the logs begin with 0x2"), "{said}");
    let empty = tempfile::tempdir().unwrap();
    assert!(rkctl_refused(&["log", "ls", path(empty.path())]).contains("there is no log"));
    for command in ["ls", "dump", "stats", "verify"] {
        assert!(rkctl_refused(&["snapshot", command, path(empty.path())]).contains("neither an image"));
    }
}
