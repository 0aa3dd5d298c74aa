//! Damage is named, with exit code 1, and repaired only when that is asked for, after a copy.

use crate::{connect, names, path, rkctl, rkctl_ok, rkctl_refused, server, write_a_bit_of_everything, write_image};
use client::Operations;
use ringkeeper_tests::Server;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the group lies in which this zxid is.
fn group_of(dir: &Path, zxid: &str) -> (PathBuf, u64) {
    let line = rkctl_ok(&["log", "dump", "--json", "--from", zxid, "--to", zxid, path(dir)]);
    let txn: Value = serde_json::from_str(&line).unwrap();
    (dir.join("log").join(txn["file"].as_str().unwrap()), txn["group_offset"].as_u64().unwrap())
}

pub(crate) fn flip(file: &Path, at: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// A server that was stopped in order, with txns 0x1 to 0xd, and the group of txn 0x9 damaged.
pub(crate) fn damaged() -> (Server, PathBuf, u64) {
    let mut server = server();
    write_a_bit_of_everything(&server);
    server.sigterm();
    let (file, offset) = group_of(&server.data_dir(), "0x9");
    flip(&file, offset + 90);
    (server, file, offset)
}

#[test]
fn damage_is_named_with_file_offset_and_zxid() {
    let (server, file, offset) = damaged();
    let dir = server.data_dir();
    for words in [&["log", "verify"][..], &["verify"], &["log", "ls"], &["log", "dump"]] {
        let said = rkctl_refused(&[words, &[path(&dir)]].concat());
        let expected =
            format!("{} is damaged at offset {offset}, after zxid 0x8", file.file_name().unwrap().to_str().unwrap());
        assert!(said.contains(&expected), "{words:?}: {said}");
        let json: Option<Value> = (words[words.len() - 1] == "verify").then(|| {
            serde_json::from_slice(&rkctl(&[words, &["--json", path(&dir)]].concat()).stdout)
                .expect("JSON even of damage")
        });
        if let Some(json) = json {
            assert_eq!(
                (&json["ok"], &json["offset"], &json["after_zxid"]),
                (&false.into(), &offset.into(), &"0x8".into())
            );
        }
    }
    let before_it = String::from_utf8(rkctl(&["log", "dump", "--json", path(&dir)]).stdout).unwrap();
    assert_eq!(before_it.lines().count(), 8, "what lies before the damage is shown");
}

#[test]
fn what_does_not_fit_together_is_told() {
    let mut server = server();
    write_a_bit_of_everything(&server);
    write_image(&server);
    server.sigterm();
    let dir = server.data_dir();
    rkctl_ok(&["verify", path(&dir)]);
    let image = names(&dir).into_iter().find(|name| name.starts_with("image.")).unwrap();
    let bytes = std::fs::read(dir.join(&image)).unwrap();
    flip(&dir.join(&image), bytes.len() as u64 / 2);
    assert!(rkctl_refused(&["verify", path(&dir)]).contains(&format!("{image} is damaged at offset")));
    std::fs::write(dir.join(&image), bytes).unwrap();
    flip(&dir.join("control"), 100);
    assert!(rkctl_refused(&["verify", path(&dir)]).contains("control is damaged"));
    assert!(rkctl_refused(&["verify", path(&dir.join("log"))]).contains("no control file"));
    assert!(rkctl_refused(&["log", "ls", path(dir.parent().unwrap())]).contains("there is no log"));
}

#[test]
fn a_repair_copies_first_and_then_cuts_before_the_damage() {
    let (server, file, _) = damaged();
    let dir = server.data_dir();
    let refused = server.own_builder().clone().try_start().expect_err("a damaged log is not served");
    assert!(refused.contains("is damaged at offset"), "{refused}");
    let damaged_bytes = std::fs::read(&file).unwrap();
    let backup = dir.with_file_name("backup");

    // Not without the flag, nor without a place for the copy.
    for words in [&["--backup-to", path(&backup)][..], &["--cut-damaged-log"]] {
        assert_eq!(rkctl(&[&["repair"], words, &[path(&dir)]].concat()).status.code(), Some(2));
    }
    // Nor over other files, nor into itself.
    for place in [dir.parent().unwrap(), &dir.join("backup")] {
        rkctl_refused(&["repair", "--cut-damaged-log", "--backup-to", path(place), path(&dir)]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), damaged_bytes);

    let said = rkctl_ok(&["repair", "--cut-damaged-log", "--backup-to", path(&backup), path(&dir)]);
    assert!(said.contains("LOST: the txns of zxids 0x9 to 0xd at least"), "{said}");
    let copied = backup.join("log").join(file.file_name().unwrap());
    assert_eq!(std::fs::read(copied).unwrap(), damaged_bytes, "the copy is of before");
    rkctl_ok(&["verify", path(&dir)]);
    let again = rkctl_ok(&["repair", "--cut-damaged-log", "--backup-to", path(&backup), path(&dir)]);
    assert!(again.contains("nothing is damaged, nothing was done"), "{again}");

    let server = server.own_builder().clone().start();
    let mut client = connect(&server);
    assert_eq!(client.get("/app/config", false).unwrap().0, "grün".as_bytes(), "the multi behind it is lost");
    client.set("/app/config", b"on it goes", -1).unwrap();
    rkctl_ok(&["verify", path(&dir)]);
}
