//! A server runs on the directory that is looked at, and notices nothing.

use crate::{connect, path, rkctl_ok, rkctl_refused, server, write_a_bit_of_everything, write_image};
use client::Operations;
use proto::request::CreateMode;
use ringkeeper_tests::binary;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_follower_shows_each_write_as_it_comes() {
    let server = server();
    let mut client = connect(&server);
    client.create("/before", b"", CreateMode::Persistent).unwrap();
    let mut follower = Command::new(binary("rkctl"))
        .args(["log", "dump", "--follow", "--json", "--type", "create", path(&server.data_dir())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next_path = || {
        let txn: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        txn["path"].as_str().unwrap().to_owned()
    };
    assert_eq!(next_path(), "/before");
    for number in 0..20 {
        let created = format!("/live-{number}");
        client.create(&created, b"", CreateMode::Persistent).unwrap();
        assert_eq!(next_path(), created);
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn a_running_server_is_verified_while_it_writes_and_takes_images() {
    let server = server();
    write_a_bit_of_everything(&server);
    let dir = server.data_dir();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = connect(&server);
            client.create("/busy", b"", CreateMode::Persistent).unwrap();
            while !is_done.load(Ordering::Acquire) {
                client.set("/busy", &[7; 5000], -1).unwrap();
            }
        });
        // Also where something below fails: the writer would go on for ever.
        let done = Done(&is_done);
        for _ in 0..5 {
            rkctl_ok(&["log", "verify", path(&dir)]);
            rkctl_ok(&["verify", path(&dir)]);
            rkctl_ok(&["log", "ls", path(&dir)]);
            rkctl_ok(&["log", "stats", path(&dir)]);
            write_image(&server);
            for command in ["ls", "stats", "verify", "dump"] {
                rkctl_ok(&["snapshot", command, path(&dir)]);
            }
        }
        drop(done);
        writer.join().unwrap();
    });
    let found: Value = serde_json::from_str(&rkctl_ok(&["verify", "--json", path(&dir)])).unwrap();
    assert_eq!(found["ok"], true);
    assert!(!found["images"].as_array().unwrap().is_empty());
}

/// Tells the writer to end.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_directory_that_is_served_is_not_repaired() {
    let server = server();
    write_a_bit_of_everything(&server);
    let dir = server.data_dir();
    let backup = dir.with_file_name("backup");
    let said = rkctl_refused(&["repair", "--cut-damaged-log", "--backup-to", path(&backup), path(&dir)]);
    assert!(said.contains("in use by a server"), "{said}");
    assert!(!backup.exists());
}
