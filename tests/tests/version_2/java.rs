//! A real ZooKeeper server on a directory that stays.

use client::four_letter_word;
use ringkeeper_tests::lease::Lease;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Which.
#[derive(Clone, Copy, Debug)]
pub enum Version {
    V3_9,
    V3_8,
}

/// A running server; it ends when it is dropped.
#[derive(Debug)]
pub struct Java {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    _lease: Lease,
}

impl Java {
    /// Starts one that takes a snapshot every 50 to 100 txns, and waits until it serves.
    pub fn start(version: Version, data_dir: &Path, compression: &str) -> Java {
        std::fs::create_dir_all(data_dir).unwrap();
        let lease = Lease::take();
        let address = lease.client(1);
        let log = data_dir.with_extension("java.log");
        let out = File::create(&log).unwrap();
        let mut command = Command::new(ringkeeper_tests::top().join("tests/reference/java-server.sh"));
        let version = match version {
            Version::V3_9 => "3.9.5",
            Version::V3_8 => "3.8.0",
        };
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        command.args(["--fast-start", "--version", version, "--host", &host, "--port", &port, "--data"]).arg(data_dir);
        command.args(["--jvm", "-Dznode.container.checkIntervalMs=2000000000", "--cfg", "snapCount=100"]);
        command.args(["--cfg", &format!("maxSessionTimeout={}", super::load::TIMEOUT_MS), "--cfg", "preAllocSize=64"]);
        command.args(["--jvm", &format!("-Dzookeeper.snapshot.compression.method={compression}")]);
        let child = command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        let mut java = Java { child, address, log, _lease: lease };
        ringkeeper_tests::until_within(Duration::from_secs(120), "Java serves", || {
            let ended = java.child.try_wait().unwrap();
            assert!(ended.is_none(), "Java has ended, {ended:?}:\n{}", java.log());
            four_letter_word(address, "srvr", Duration::from_secs(2)).is_ok_and(|answer| answer.contains("Mode:"))
        });
        java
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to end and waits until it has.
    pub fn stop(mut self) {
        ringkeeper_tests::signal(self.child.id(), rustix::process::Signal::TERM);
        self.child.wait().unwrap();
    }

    /// Kills it as a power switch would.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- Java's log:\n{}", self.log());
        }
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}
