//! The disk of the log fills up while the server runs. Nothing acknowledged is lost and nobody is stopped from reading: writes get SystemError,
//! nobody expires, sessions end and begin in the reserve, and all comes back by itself with the space.
//!
//! The disk is a small ext4 of its own, mounted through a loop device. That needs root; others are told that it is left out
//! (`wal/tests/crash_at_every_step_keeps_what_was_acknowledged.rs`, `server/tests/log_writer.rs` and `engine/tests/shortage.rs` then still
//! show the parts, without a server).

use client::{ClientError, ConnectOptions, Connection, Operations};
use proto::ErrorCode;
use proto::request::{CreateMode, Request, SetDataRequest};
use ringkeeper_tests::{Core, LoopDisk, Server, until};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Room for one segment of 32 MiB, not for two.
const FREE_MIB: usize = 50;
const DISK_MIB: u64 = 160;
/// What a write has; some seventy of them fill a segment.
const DATA_BYTES: usize = 450 << 10;
/// More than a segment takes.
const WRITES: i32 = 100;
/// The shortest session timeout with ticks of 500 ms.
const TIMEOUT_MS: i32 = 1_000;

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

/// Writes until the first refusal, and returns how many were acknowledged.
fn write_until_refused(client: &mut Connection, data: &[u8]) -> i32 {
    for version in 0..WRITES {
        match client.set("/a", data, version) {
            Ok(_) => {}
            Err(ClientError::Server(ErrorCode::SystemError)) => return version,
            Err(error) => panic!("write {version}: {error}"),
        }
    }
    panic!("a full disk takes everything");
}

pub(crate) fn figure(server: &Server, key: &str) -> f64 {
    let answer = client::four_letter_word(server.address(), "mntr", Duration::from_secs(10)).unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix("zk_ringkeeper_")?.strip_prefix(key));
    line.unwrap_or_else(|| panic!("{key} in {answer}")).trim().parse().unwrap()
}

#[test]
fn on_a_full_disk_writes_are_refused_reads_go_on_and_all_comes_back_with_the_space() {
    for core in Core::BOTH {
        let Some((_disk, ballast, mut server)) = nearly_full(core) else { return };
        let mut client = connect(&server);
        client.create("/a", b"", CreateMode::Persistent).unwrap();
        let options = ConnectOptions { timeout_ms: TIMEOUT_MS, ..ConnectOptions::default() };
        let mut silent = Connection::connect(server.address(), &options).unwrap();
        let mut leaves = connect(&server);
        for (owner, path) in [(&mut silent, "/silent"), (&mut leaves, "/leaves")] {
            owner.create(path, b"", CreateMode::Ephemeral).unwrap();
        }
        let data = vec![b'x'; DATA_BYTES];
        let acknowledged = write_until_refused(&mut client, &data);
        assert!(acknowledged > 10, "{core:?}: {acknowledged} writes were acknowledged");
        let zxid = client.exists("/a", false).unwrap().unwrap().mzxid;
        // Refused whole: no zxid, no effect, whatever it is.
        for _ in 0..20 {
            client.create("/b", b"", CreateMode::Persistent).unwrap_err();
            client.delete("/a", -1).unwrap_err();
        }
        assert_eq!(figure(&server, "log_space_refused_count"), 41.0, "{core:?}");
        assert_eq!(figure(&server, "log_space_short"), 1.0, "{core:?}");
        assert!(server.log().contains("writes are refused with SystemError"), "{core:?}: {}", server.log());
        // Sessions end and begin, and whoever begins one reads.
        leaves.close().unwrap();
        let mut newcomer = connect(&server);
        assert_eq!(newcomer.exists("/leaves", false).unwrap(), None, "{core:?}: the end of a session is applied");
        let stat = newcomer.exists("/a", false).unwrap().unwrap();
        assert_eq!((stat.version, stat.mzxid), (acknowledged, zxid), "{core:?}");
        newcomer.sync("/a").unwrap();
        // Nobody expires: three times its timeout passes without a word of it.
        let silent_since = Instant::now();
        until("the time of a session", || {
            newcomer.ping().unwrap();
            silent_since.elapsed() > 3 * Duration::from_millis(TIMEOUT_MS.unsigned_abs().into())
        });
        assert!(newcomer.exists("/silent", false).unwrap().is_some(), "{core:?}: expired on a full disk");
        std::fs::remove_file(ballast).unwrap();
        until("writes are taken again", || client.set("/a", &data, acknowledged).is_ok());
        assert_eq!(figure(&server, "log_space_short"), 0.0, "{core:?}");
        assert!(server.log().contains("writes are taken again"), "{core:?}");
        until("it expires now", || newcomer.exists("/silent", false).unwrap().is_none());
        for version in acknowledged + 1..WRITES {
            client.set("/a", &data, version).unwrap_or_else(|error| panic!("{core:?}: write {version}: {error}"));
        }
        server.restart();
        assert_eq!(connect(&server).get("/a", false).unwrap().1.version, WRITES, "{core:?}");
    }
}

#[test]
fn what_is_pipelined_into_a_full_disk_is_answered_in_order_and_a_restart_finds_all_that_was_acknowledged() {
    for core in Core::BOTH {
        let Some((_disk, ballast, mut server)) = nearly_full(core) else { return };
        let mut client = connect(&server);
        client.create("/a", b"", CreateMode::Persistent).unwrap();
        let data = vec![b'x'; DATA_BYTES];
        for _ in 0..WRITES {
            client.queue(&Request::SetData(SetDataRequest { path: "/a", data: Some(&data), version: -1 }));
        }
        client.flush().unwrap();
        let answers: Vec<ErrorCode> = (0..WRITES).map(|_| client.recv_reply().unwrap().code().unwrap()).collect();
        let acknowledged = answers.iter().filter(|code| **code == ErrorCode::Ok).count();
        assert!((10..WRITES as usize).contains(&acknowledged), "{core:?}: {acknowledged} writes were acknowledged");
        assert!(answers.iter().all(|code| matches!(code, ErrorCode::Ok | ErrorCode::SystemError)), "{answers:?}");
        assert!(answers[..acknowledged].iter().all(|code| *code == ErrorCode::Ok), "{core:?}: {answers:?}");
        // On a disk that is still full.
        server.restart();
        let mut client = connect(&server);
        let version = client.get("/a", false).unwrap().1.version;
        assert_eq!(usize::try_from(version), Ok(acknowledged), "{core:?}: a refused write has no effect");
        std::fs::remove_file(ballast).unwrap();
        until("writes are taken", || client.set("/a", &data, -1).is_ok());
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
        // It looks for space once a second.
        until("the server sees it", || server.log().contains("there is space for the next log segment again"));
        for version in 11..WRITES {
            client.set("/a", &data, version).unwrap_or_else(|error| panic!("{core:?}: write {version}: {error}"));
        }
    }
}
