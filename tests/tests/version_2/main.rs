//! ZooKeeper's own `version-2`, with real servers on the other side: what Java has left is imported to the same tree, what `rkctl export`
//! writes is a tree to Java, and what RingKeeper may not do with such a directory it does not do.
//!
//! The trees are compared by a client: every znode with data, Stat and ACL. That the digests agree follows from the import, which compares
//! each one that Java has written down. `RK_VERSION_2_SEED` repeats a run's choices.

mod java;
mod load;
mod refusals;
mod whole;

use client::{ConnectOptions, Connection, Operations};
use java::{Java, Version};
use proto::request::CreateMode;
use ringkeeper_tests::{Builder, Server, binary};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The super user `super:test`, as in `java-server.sh`.
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

fn ringkeeper() -> Builder {
    Server::builder()
        .in_memory()
        .set("zookeeper.DigestAuthenticationProvider.superDigest", SUPER_DIGEST)
        .set("znode.container.checkIntervalMs", "2000000000")
        .set("maxSessionTimeout", &load::TIMEOUT_MS.to_string())
}

fn seed() -> u64 {
    let seed = std::env::var("RK_VERSION_2_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("RK_VERSION_2_SEED={seed}");
    seed
}

/// What lies in a `version-2`, byte for byte.
fn bytes_of(data_dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(data_dir.join("version-2")).unwrap();
    entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// A load on a Java server, which then ends; RingKeeper starts in its place and has the same tree.
fn import_after_a_load(version: Version, compression: &str, end: fn(Java)) {
    let builder = ringkeeper();
    let java = Java::start(version, &builder.data_dir(), compression);
    let session = load::run(java.address(), seed(), 1_500);
    let expected = whole::tree_of(java.address());
    end(java);
    let left = bytes_of(&builder.data_dir());
    let snapshots = left.keys().filter(|path| path.to_string_lossy().contains("/snapshot.")).count();
    assert!(snapshots > 3, "the load was to fall into several snapshots: {:?}", left.keys());
    let verified = Command::new(binary("rkctl")).arg("verify").arg(builder.data_dir()).output().unwrap();
    let words = String::from_utf8_lossy(&verified.stdout).into_owned() + &String::from_utf8_lossy(&verified.stderr);
    println!("{words}");
    assert!(verified.status.success(), "{words}");

    let mut server = builder.start();
    assert!(server.log().contains(" imported "), "{}", server.log());
    assert!(!server.log().contains("WARN"), "{}", server.log());
    whole::assert_same(&expected, &whole::tree_of(server.address()));
    // The second start is from RingKeeper's own image.
    server.restart();
    assert!(server.log().contains("not newer than RingKeeper's and are ignored"), "{}", server.log());
    let now = whole::tree_of(server.address());
    whole::assert_same(&expected, &now);
    // A client whose session was on the other server goes on with it, and its ephemerals go when it ends.
    let renewed = Connection::connect(server.address(), &ConnectOptions::renewing(&session)).unwrap();
    assert_eq!(renewed.session_id(), session.session_id);
    let owned =
        |tree: &whole::Tree| tree.values().filter(|node| node.stat.ephemeral_owner == session.session_id).count();
    assert!(owned(&now) > 0, "the load has left ephemerals");
    renewed.close().unwrap();
    assert_eq!(owned(&whole::tree_of(server.address())), 0);
    assert!(server.sigterm().success());
    assert_eq!(bytes_of(&server.data_dir()), left, "version-2 is left as it was");
}

#[test]
fn what_3_9_has_left_after_kill_9_is_imported() {
    import_after_a_load(Version::V3_9, "", Java::kill);
}

#[test]
fn gzip_of_3_9_is_imported() {
    import_after_a_load(Version::V3_9, "gz", Java::stop);
}

#[test]
fn snappy_of_3_9_is_imported() {
    import_after_a_load(Version::V3_9, "snappy", Java::kill);
}

#[test]
fn what_3_8_has_left_is_imported() {
    import_after_a_load(Version::V3_8, "", Java::stop);
}

/// A load on RingKeeper, an export, and a Java server that starts on it.
fn export_after_a_load(versions: &[(Version, &str)]) {
    let mut server = ringkeeper().set("snapCount", "300").start();
    let session = load::run(server.address(), seed(), 1_500);
    let expected = whole::tree_of(server.address());
    let data_dir = server.data_dir();
    let to = data_dir.with_file_name("exported");
    let refused = export(&data_dir, &to, "none").unwrap_err();
    assert!(refused.contains("stop it first"), "{refused}");
    assert!(server.sigterm().success());
    for (version, compression) in versions {
        let to = data_dir.with_file_name(format!("exported-{compression}"));
        let told = export(&data_dir, &to, compression).unwrap();
        assert!(told.contains("\"znodes\""), "{told}");
        let again = export(&data_dir, &to, compression).unwrap_err();
        assert!(again.contains("has data of a ZooKeeper server"), "{again}");
        let java = Java::start(*version, &to, "");
        whole::assert_same(&expected, &whole::tree_of(java.address()));
        let renewed = Connection::connect(java.address(), &ConnectOptions::renewing(&session)).unwrap();
        assert_eq!(renewed.session_id(), session.session_id);
        let log = java.log();
        let complaints = ["not matching", "mismatch", "problem reading snap file", "not covering"];
        let complaint = log.lines().find(|line| complaints.iter().any(|words| line.contains(words)));
        assert_eq!(complaint, None, "{version:?}\n{log}");
        java.stop();
    }
}

fn export(data_dir: &Path, to: &Path, compression: &str) -> Result<String, String> {
    let mut command = Command::new(binary("rkctl"));
    command.arg("--data-dir").arg(data_dir).arg("export").arg(to).args(["--json", "--compression", compression]);
    let output = command.output().unwrap();
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(words(&output.stdout)) } else { Err(words(&output.stderr)) }
}

#[test]
fn java_starts_on_an_export_and_shows_the_same_tree() {
    export_after_a_load(&[(Version::V3_9, "none"), (Version::V3_8, "gz"), (Version::V3_9, "snappy")]);
}

#[test]
fn a_version_2_that_has_gone_on_is_refused_later_however_far_ringkeeper_is() {
    let write = |address, count: usize| {
        let mut client = Connection::connect(address, &ConnectOptions::default()).unwrap();
        (0..count).for_each(|_| drop(client.create("/a-", b"1", CreateMode::PersistentSequential).unwrap()));
        client.close().unwrap();
    };
    let builder = ringkeeper();
    let java = Java::start(Version::V3_9, &builder.data_dir(), "");
    write(java.address(), 3);
    java.stop();
    let mut server = builder.clone().start();
    write(server.address(), 30);
    assert!(server.sigterm().success());
    let java = Java::start(Version::V3_9, &builder.data_dir(), "");
    write(java.address(), 1);
    java.kill();
    let refused = builder.clone().try_start().unwrap_err();
    assert!(refused.contains("a ZooKeeper server has written there since"), "{refused}");
    // Moved away, and the way back taken: an export into the data directory is no news to it.
    std::fs::rename(builder.data_dir().join("version-2"), builder.data_dir().join("version-2.old")).unwrap();
    export(&builder.data_dir(), &builder.data_dir(), "none").unwrap();
    drop(builder.start());
}
