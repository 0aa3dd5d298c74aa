//! A disk that has no room for the next segment of the log, between two segments: what was acknowledged is there afterwards, the server says what is
//! the matter, and where room comes back in time nobody notices. It needs root, who may mount; others are told that it is left out
//! (`wal/tests/crash_at_every_step_keeps_what_was_acknowledged.rs` then still shows it, without a server).

use client::{ConnectOptions, Connection, Operations};
use proto::request::CreateMode;
use ringkeeper_tests::{Core, LoopDisk, Server, until};
use std::path::PathBuf;

/// Room for one segment of 32 MiB, not for two.
const FREE_MIB: usize = 50;
const DISK_MIB: u64 = 160;
/// What a write has; some seventy of them fill a segment.
const DATA_BYTES: usize = 450 << 10;
/// More than a segment takes.
const WRITES: i32 = 100;

/// A small disk that is nearly full, a server that has its log there, and a file that can go.
fn nearly_full(core: Core) -> Option<(LoopDisk, PathBuf, Server)> {
    let disk = LoopDisk::mount(DISK_MIB)?;
    let space = rustix::fs::statvfs(disk.path()).unwrap();
    let free = usize::try_from(space.f_bfree * space.f_frsize).unwrap();
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; free - (FREE_MIB << 20)]).unwrap();
    let server = Server::builder()
        .core(core)
        .set("dataLogDir", disk.path().join("log").to_str().expect("a temporary path is text"))
        .set("preAllocSize", "1024")
        .start();
    Some((disk, ballast, server))
}

fn connect(server: &Server) -> Connection {
    Connection::connect(server.address(), &ConnectOptions::default()).unwrap()
}

#[test]
fn a_full_disk_between_two_segments_loses_nothing_and_is_named() {
    for core in Core::BOTH {
        let Some((_disk, ballast, mut server)) = nearly_full(core) else { return };
        let mut client = connect(&server);
        client.create("/a", b"", CreateMode::Persistent).unwrap();
        let data = vec![b'x'; DATA_BYTES];
        let acknowledged = (0..WRITES).take_while(|version| client.set("/a", &data, *version).is_ok()).count();
        assert!((10..WRITES as usize).contains(&acknowledged), "{core:?}: {acknowledged} writes were acknowledged");
        until("the server ends", || server.ended().is_some());
        let log = server.log();
        assert!(log.contains("no space for the next log segment; make room"), "{core:?}: warned in time\n{log}");
        let last = log.lines().rfind(|line| line.contains("ERROR")).unwrap_or_default();
        assert!(last.contains("no space left") && last.contains("nothing acknowledged is lost"), "{core:?}: {last}");
        std::fs::remove_file(ballast).unwrap();
        server.restart();
        let mut client = connect(&server);
        let version = usize::try_from(client.get("/a", false).unwrap().1.version).unwrap();
        // One more was on its way.
        assert!((acknowledged..=acknowledged + 1).contains(&version), "{core:?}: {version} of {acknowledged}");
        for _ in 0..10 {
            client.set("/a", &data, -1).unwrap();
        }
    }
}

#[test]
fn room_that_comes_back_before_the_segment_is_full_is_taken_and_nobody_notices() {
    for core in Core::BOTH {
        let Some((_disk, ballast, server)) = nearly_full(core) else { return };
        let mut client = connect(&server);
        client.create("/a", b"", CreateMode::Persistent).unwrap();
        let data = vec![b'x'; DATA_BYTES];
        for version in 0..10 {
            client.set("/a", &data, version).unwrap();
        }
        until("the server warns", || server.log().contains("no space for the next log segment"));
        client.set("/a", &data, 10).unwrap();
        std::fs::remove_file(ballast).unwrap();
        for version in 11..WRITES {
            client.set("/a", &data, version).unwrap_or_else(|error| panic!("{core:?}: write {version}: {error}"));
        }
    }
}
