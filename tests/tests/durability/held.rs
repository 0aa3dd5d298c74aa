//! A file system that is frozen holds back every write to it. So does the server with the replies that wait for them, and with nothing
//! else. It needs root, who may mount; others are told that it is left out (`server/tests/hosted_log.rs` then still shows it, below the system calls).

use client::{ConnectOptions, Connection, Operations};
use proto::request::{CreateMode, Request, SetDataRequest};
use ringkeeper_tests::{Core, LoopDisk, Server, until};
use std::io::ErrorKind;

const ROUNDS: i32 = 10;
const READS: usize = 50;
/// Room for a log's segments and spares, twice.
const DISK_MIB: u64 = 256;

#[test]
fn a_write_that_the_disk_holds_back_is_not_answered_and_nobody_else_waits() {
    let Some(disk) = LoopDisk::mount(DISK_MIB) else { return };
    for core in Core::BOTH {
        let server = Server::builder()
            .core(core)
            .set("dataLogDir", disk.path().join(core.name()).to_str().expect("a temporary path is text"))
            .set("preAllocSize", "1024")
            .set("ringkeeper.watchdogTimeoutMs", "0")
            .start();
        let mut writer = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
        let mut reader = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
        writer.create("/a", b"", CreateMode::Persistent).unwrap();
        for version in 0..ROUNDS {
            let frozen = disk.freeze();
            writer.queue(&Request::SetData(SetDataRequest { path: "/a", data: Some(b"x"), version }));
            writer.flush().unwrap();
            // Each answer is a turn of the shard's that began after the write was there.
            for _ in 0..READS {
                assert_eq!(reader.get("/a", false).unwrap().1.version, version, "{core:?}: nor is it visible");
            }
            writer.stream().set_nonblocking(true).unwrap();
            let early = writer.stream().peek(&mut [0]);
            assert_eq!(early.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "{core:?}: an early reply");
            writer.stream().set_nonblocking(false).unwrap();
            drop(frozen);
            writer.recv_reply().unwrap().ok().unwrap();
        }
    }
}

#[test]
fn a_disk_that_does_not_answer_is_named_with_the_thread_that_wrote_to_it() {
    let Some(disk) = LoopDisk::mount(DISK_MIB) else { return };
    for (core, told) in [
        (Core::Shard, "the log's group that a shard has started (rk-shard-0, thread "),
        (Core::Thread, "the log thread (rk-log, thread "),
    ] {
        let mut server = Server::builder()
            .core(core)
            .set("dataLogDir", disk.path().join(format!("named-{}", core.name())).to_str().expect("a path is text"))
            .set("preAllocSize", "1024")
            .set("ringkeeper.watchdogTimeoutMs", "2000")
            .wrapped(&["sh", "-c", "ulimit -c 0; exec \"$@\"", "sh"])
            .start();
        let mut writer = Connection::connect(server.address(), &ConnectOptions::default()).unwrap();
        writer.create("/a", b"", CreateMode::Persistent).unwrap();
        let frozen = disk.freeze();
        writer.queue(&Request::SetData(SetDataRequest { path: "/a", data: Some(b"x"), version: -1 }));
        writer.flush().unwrap();
        until(told, || server.log().contains(told));
        drop(frozen);
        until("the server's end", || server.ended().is_some());
    }
}
