//! Starts and ends the two servers: the real ZooKeeper and RingKeeper, each with a fresh directory, in memory where there is room. One may be somebody else's.
//!
//! Owns the processes that it starts; ends them by id when they are dropped. It fails with the server's own words. Nothing in the background
//! may take a zxid: containers and TTL nodes are not collected, and no session expires within a sequence.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take until it serves.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which server.
#[derive(Clone, Debug)]
pub enum Kind {
    /// The real one, of that version.
    Java(String),
    /// RingKeeper: its binary and the number of its shards.
    RingKeeper(PathBuf, usize),
    /// One that somebody else has started, and ends: a server of an ensemble. It is never empty again.
    Running(SocketAddr),
}

impl Kind {
    /// Is it ZooKeeper 3.8?
    #[must_use]
    pub fn is_older(&self) -> bool {
        matches!(self, Kind::Java(version) if version == "3.8")
    }
}

/// A running server; it ends when it is dropped, if it is ours.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    own: Option<Own>,
}

/// A server that was started here.
#[derive(Debug)]
struct Own {
    child: Child,
    dir: TempDir,
}

impl Server {
    /// Starts one and waits until it serves.
    ///
    /// # Errors
    /// It cannot be started, or does not serve; with its own words.
    pub fn start(kind: &Kind) -> io::Result<Server> {
        if let Kind::Running(address) = kind {
            let mut server = Server { address: *address, own: None };
            server.wait_until_it_serves()?;
            return Ok(server);
        }
        let dir = directory()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = File::create(dir.path().join("log"))?;
        let mut command = match kind {
            Kind::Java(version) => java(version, port, dir.path()),
            Kind::RingKeeper(binary, shards) => ringkeeper(binary, *shards, port, dir.path())?,
            Kind::Running(_) => unreachable!("it was answered above"),
        };
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut server = Server { address: (Ipv4Addr::LOCALHOST, port).into(), own: Some(Own { child, dir }) };
        server.wait_until_it_serves()?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let file = self.own.as_ref().map(|own| own.dir.path().join("log"));
        file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default()
    }

    /// Has it ended by itself, or is it about to?
    #[must_use]
    pub fn ended(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if self.exit().is_ok_and(|ended| ended.is_some()) {
                return true;
            }
            if srvr(self.address).is_ok_and(|answer| answer.contains("Mode:")) {
                return false;
            }
        }
        true
    }

    fn exit(&mut self) -> io::Result<Option<ExitStatus>> {
        self.own.as_mut().map_or(Ok(None), |own| own.child.try_wait())
    }

    fn wait_until_it_serves(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            if srvr(self.address).is_ok_and(|answer| answer.contains("Mode:")) {
                return Ok(());
            }
            let ended = self.exit()?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("the server does not serve ({ended:?}):\n{}", self.log())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(Own { child, .. }) = &mut self.own {
            // It may have ended by itself.
            let _gone = child.kill();
            let _ended = child.wait();
        }
    }
}

fn srvr(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"srvr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn directory() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("rkdiff-");
    builder.tempdir_in("/dev/shm").or_else(|_no_room| builder.tempdir())
}

fn java(version: &str, port: u16, dir: &Path) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/java-server.sh"));
    command.args(["--version", if version == "3.8" { "3.8.0" } else { "3.9.5" }]);
    command.args(["--port", &port.to_string(), "--heap", "512m", "--log", "error", "--data"]).arg(dir.join("data"));
    command.args(["--jvm", "-Dznode.container.checkIntervalMs=2000000000", "--jvm", "-Dzookeeper.enforceQuota=true"]);
    command
}

/// The digest of `super:test`, as in `java-server.sh`.
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

fn ringkeeper(binary: &Path, shards: usize, port: u16, dir: &Path) -> io::Result<Command> {
    let file = dir.join("zoo.cfg");
    let text = format!(
        "tickTime=2000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\npreAllocSize=1024\n\
         4lw.commands.whitelist=*\nextendedTypesEnabled=true\nringkeeper.shards={shards}\n\
         znode.container.checkIntervalMs=2000000000\nenforceQuota=true\n\
         zookeeper.DigestAuthenticationProvider.superDigest={SUPER_DIGEST}\n",
        dir.join("data").display()
    );
    std::fs::write(&file, text)?;
    let mut command = Command::new(binary);
    command.arg(file);
    Ok(command)
}
