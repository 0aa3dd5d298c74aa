//! The version before: its directory opens, with the same tree.
//!
//! `fixtures/image-version-1.tar.gz` is the directory that a server of commit b1c38c5, the last to write images of format version 1, left when it was killed
//! (without the segment laid out ahead): an image with 206 znodes and a log that goes on behind it. `image-version-1.txt` is what that
//! server showed of it: path, the fields of the `Stat`, ACL, length and FNV-1a of the data.

use crate::stand::connect;
use client::{Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::{Server, binary, top};
use snapshot::base::format_version;
use snapshot::{Control, DataDir};
use std::collections::BTreeSet;
use std::process::Command;

/// FNV-1a with 64 bits.
fn fnv(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The tree below this path, a line for each znode.
fn lines(conn: &mut Connection, path: &str, into: &mut BTreeSet<String>) {
    let (data, stat) = conn.get(path, false).expect("there");
    let acl = conn.get_acl(path).expect("there").0;
    let acl: Vec<String> = acl.iter().map(|acl| format!("{}:{}:{}", acl.perms.0, acl.scheme, acl.id)).collect();
    into.insert(format!(
        "{path}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{:016x}",
        stat.czxid.0,
        stat.mzxid.0,
        stat.pzxid.0,
        stat.ctime,
        stat.mtime,
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner.0,
        acl.join(","),
        data.len(),
        fnv(&data)
    ));
    for child in conn.children(path, false).expect("listed") {
        let parent = if path == "/" { "" } else { path };
        lines(conn, &format!("{parent}/{child}"), into);
    }
}

/// That the server shows what the version before has shown.
fn assert_same_tree(server: &Server, case: &str) {
    let mut conn = connect(server);
    conn.auth("digest", b"user:secret").expect("taken");
    let mut found = BTreeSet::new();
    lines(&mut conn, "/", &mut found);
    let text = std::fs::read_to_string(top().join("tests/tests/damage/fixtures/image-version-1.txt")).expect("read");
    let expected: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let only = |these: &BTreeSet<String>, not_there: &BTreeSet<String>| -> Vec<String> {
        these.difference(not_there).cloned().collect()
    };
    assert_eq!((only(&found, &expected), only(&expected, &found)), (vec![], vec![]), "{case}");
}

#[test]
fn a_directory_of_image_version_1_opens_with_the_same_tree_and_goes_on_in_version_2() {
    let builder = Server::builder();
    let archive = top().join("tests/tests/damage/fixtures/image-version-1.tar.gz");
    let dir = builder.data_dir();
    let mut tar = Command::new("tar");
    let unpacked = tar.arg("-xzf").arg(archive).arg("-C").arg(dir.parent().expect("it has one")).status();
    assert!(unpacked.expect("tar runs").success());
    let data = DataDir::new(&dir);
    let version = || {
        let control = Control::load(&dir).expect("read").expect("there");
        format_version(&dir.join(control.image.expect("an image").file_name)).expect("read")
    };
    assert_eq!(version(), 1);
    let verified = Command::new(binary("rkctl")).args(["snapshot", "verify"]).arg(&dir).output().expect("rkctl runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert!(String::from_utf8_lossy(&verified.stdout).contains(": ok, 206 znodes at zxid "), "{verified:?}");
    let mut server = builder.start();
    assert_same_tree(&server, "opened");
    // Nothing is written anew only because it was opened.
    server.restart();
    assert_eq!((version(), data.images().expect("listed").len()), (1, 1));
    assert_same_tree(&server, "opened again");
    server.take_image();
    assert_same_tree(&server, "on the new image");
    server.restart();
    assert_eq!((version(), data.images().expect("listed").len()), (2, 2));
    assert_same_tree(&server, "opened from the new image");
    let mut conn = connect(&server);
    conn.create("/plain/later", b"", CreateMode::Persistent).expect("it goes on");
    server.take_image();
    assert!(server.sigterm().success());
}
