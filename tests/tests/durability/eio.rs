//! A write or a sync of the log fails with EIO. The server stops and says why; nothing acknowledged is lost, and nothing is acknowledged that the
//! failed write covers or that came later, although the disk would take a second try (law 8).
//!
//! The server is `ringkeeper-faults`, which fails when it is told to (`wal/src/faults.rs`). The ordinary one has nothing of it.

use client::{ConnectOptions, Connection, Operations};
use proto::request::{CreateMode, Request, SetDataRequest};
use ringkeeper_tests::{Builder, Core, Server, binary, until};
use std::process::Command;

/// Requests that are on their way together.
const DEPTH: i32 = 32;
/// More than are ever answered.
const WRITES_MAX: i32 = 100_000;
/// A write with one of them takes more than a block: those are counted.
const DATA_BYTES: usize = 6_000;

fn faulty(core: Core, fault: &str) -> Builder {
    Server::builder().core(core).program("ringkeeper-faults").wrapped(&["env", &format!("RINGKEEPER_FAULT={fault}")])
}

fn data_of(number: i32) -> Vec<u8> {
    format!("{number:0DATA_BYTES$}").into_bytes()
}

/// Sets `/a` again and again until the connection ends, `DEPTH` requests at a time. Returns how many were sent and how many acknowledged.
fn write_to_the_end(client: &mut Connection) -> (i32, i32) {
    let (mut sent, mut acknowledged) = (0, 0);
    while sent < WRITES_MAX {
        while sent - acknowledged < DEPTH {
            let data = data_of(sent);
            client.queue(&Request::SetData(SetDataRequest { path: "/a", data: Some(&data), version: sent }));
            sent += 1;
        }
        // What a server that has ended still answered is there to be read.
        let _ended = client.flush();
        let Ok(reply) = client.recv_reply() else { return (sent, acknowledged) };
        reply.ok().expect("what is answered is acknowledged: the log never tells a client of its failure");
        acknowledged += 1;
    }
    panic!("{sent} writes, and the log never failed");
}

#[test]
fn a_log_write_that_fails_ends_the_server_and_neither_loses_nor_acknowledges_anything() {
    for core in Core::BOTH {
        for (fault, is_lost) in
            [("lost-write:20", true), ("write:20", false), ("lost-write:1", true), ("write:1", false)]
        {
            let mut server = faulty(core, fault).start();
            let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
            client.create("/a", b"", CreateMode::Persistent).unwrap();
            let (sent, acknowledged) = write_to_the_end(&mut client);
            until("the server's end", || server.ended().is_some());
            let (status, log) = (server.ended().expect("it has ended"), server.log());
            assert_eq!(status.code(), Some(1), "{core:?} {fault}: {log}");
            assert_eq!(log.matches("fault-injection: EIO").count(), 1, "{core:?} {fault}: {log}");
            assert!(log.contains("ringkeeper: the log failed") && log.contains("Input/output error"), "{log}");
            // Without the fault.
            let mut server = server.own_builder().clone().program("ringkeeper").wrapped(&[]).start();
            let mut client = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
            let (data, stat) = client.get("/a", false).unwrap();
            let found = stat.version;
            // A write that was carried out and said to have failed may be there, and nothing behind it.
            assert!((acknowledged..=sent).contains(&found), "{core:?} {fault}: {found} of {acknowledged} and {sent}");
            if is_lost {
                assert_eq!(
                    found, acknowledged,
                    "{core:?} {fault}: what the failed write covers was acknowledged, or a second try made"
                );
            } else {
                assert!(
                    found > acknowledged,
                    "{core:?} {fault}: the write was carried out, and covers what was not acknowledged"
                );
            }
            assert!(found == 0 || data == data_of(found - 1), "{core:?} {fault}: other data at {found}");
            assert_eq!(server.sigterm().code(), Some(0));
        }
    }
}

#[test]
fn a_sync_that_fails_ends_the_server_too() {
    for core in Core::BOTH {
        // The first two are of the first segment and its name; the third is of the next segment, made ahead of use.
        let mut server = faulty(core, "sync:3").start();
        until("the server's end", || server.ended().is_some());
        let log = server.log();
        assert_eq!(server.ended().expect("it has ended").code(), Some(1), "{core:?}: {log}");
        assert!(log.contains("ringkeeper: the log failed") && log.contains("cannot sync spare-"), "{core:?}: {log}");
    }
}

#[test]
fn only_the_build_for_tests_can_be_told_to_fail_and_its_version_says_so() {
    for (program, is_faulty) in [("ringkeeper", false), ("ringkeeper-faults", true)] {
        let path = binary(program);
        let version = Command::new(&path).arg("--version").output().unwrap().stdout;
        assert_eq!(String::from_utf8_lossy(&version).contains("fault-injection"), is_faulty, "{program}");
        let bytes = std::fs::read(&path).unwrap();
        for trace in
            [&b"RINGKEEPER_FAULT"[..], b"RINGKEEPER_LONG_GATE", b"RINGKEEPER_INITIAL_COUNTER", b"fault-injection"]
        {
            assert_eq!(bytes.windows(trace.len()).any(|window| window == trace), is_faulty, "{program}");
        }
    }
}
