//! Servers that are started, measured, and stopped or killed: RingKeeper's binary, or the real ZooKeeper by `tests/reference/java-server.sh`.
//!
//! Owns their processes and directories. It ends only what it has started, also when a figure fails half way or this program is killed. A server that does not
//! come up is an error with the end of its log.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use client::{ConnectOptions, Connection};
use proto::Zxid;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::error::{BenchError, Result};
use crate::filled::Filled;
use crate::keyspace::{connect, connect_options};
use crate::process::Memory;

/// Nothing takes longer: a JVM that loads ten million znodes is done by then.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// How long an attempt to connect and read may take before the next one.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Between attempts, at least, and as a part of the time since the exec: the resolution of a start's time. Attempts take from a server's
/// time, and Java's accepts and closes connections long before it serves.
const BETWEEN_ATTEMPTS_MIN: Duration = Duration::from_millis(1);
const BETWEEN_ATTEMPTS_PART: u32 = 200;

/// Between looks at something that takes a while.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Lines of a log that are shown.
const LOG_LINES: usize = 15;

/// Which server.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    RingKeeper { binary: PathBuf },
    Java { script: PathBuf, heap: String },
}

/// A server and its directory, whether or not it runs.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) kind: Kind,
    /// Where it keeps its data. Its configuration and its log lie beside it.
    pub(crate) dir: PathBuf,
    /// More lines of zoo.cfg.
    pub(crate) cfg: Vec<String>,
    /// The CPUs it may use, as `taskset` has them; `None`: all.
    pub(crate) cpus: Option<String>,
    /// Its id in an ensemble, whose `server.N` lines are in `cfg`; `None`: it is standalone.
    pub(crate) myid: Option<u8>,
}

/// A server that runs. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Running<'s> {
    pub(crate) site: &'s Site,
    pub(crate) server: SocketAddr,
    /// From its exec to the first read that it served.
    pub(crate) first_read: Duration,
    child: Child,
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stop {
    /// SIGTERM.
    Clean,
    /// SIGKILL.
    Kill,
}

/// What the log of RingKeeper says of an image.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct ImageLine {
    /// What it holds: everything up to this.
    #[serde(deserialize_with = "zxid_in_hex", skip_serializing)]
    pub(crate) zxid: Zxid,
    /// Bytes of the new file.
    pub(crate) bytes: u64,
    /// Bytes of what it uses of older ones.
    pub(crate) carried_over_bytes: u64,
    #[serde(deserialize_with = "number_in_quotes")]
    pub(crate) took_ms: u64,
}

fn zxid_in_hex<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Zxid, D::Error> {
    let text = String::deserialize(from)?;
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    u64::from_str_radix(digits, 16).map(Zxid).map_err(serde::de::Error::custom)
}

/// The log writes numbers of more than 64 bits as text.
fn number_in_quotes<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

impl Site {
    pub(crate) const fn name(&self) -> &'static str {
        match self.kind {
            Kind::RingKeeper { .. } => "RingKeeper",
            Kind::Java { .. } => "Java",
        }
    }

    /// Starts it and waits until it has served a read of `filled` (of its handshake, where there is none yet).
    ///
    /// # Errors
    /// [`BenchError::Server`] with the end of its log.
    pub(crate) fn start(&self, filled: Option<Filled>) -> Result<Running<'_>> {
        let begun = Instant::now();
        let mut running = self.launch(free_address()?)?;
        running.first_read = running.await_first_read(begun, filled)?;
        Ok(running)
    }

    /// Starts it at this address, and waits for nothing.
    ///
    /// # Errors
    /// [`BenchError::System`], [`BenchError::Output`]
    pub(crate) fn launch(&self, server: SocketAddr) -> Result<Running<'_>> {
        let mut command = self.command(server)?;
        let log = File::create(self.log()).map_err(BenchError::output(&self.log()))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|source| BenchError::System { what: "starting the server", source })?;
        Ok(Running { site: self, server, first_read: Duration::ZERO, child })
    }

    fn command(&self, server: SocketAddr) -> Result<Command> {
        fs::create_dir_all(&self.dir).map_err(BenchError::output(&self.dir))?;
        // However this program ends, its servers end with it; `Drop` alone would leave them behind where it aborts.
        let mut words: Vec<String> = ["setpriv", "--pdeathsig", "KILL"].map(str::to_owned).into();
        if let Some(cpus) = &self.cpus {
            words.extend(["taskset", "-c", cpus].map(str::to_owned));
        }
        let (dir, host, port) = (self.dir.display(), server.ip(), server.port());
        match &self.kind {
            Kind::RingKeeper { binary } => {
                let path = self.dir.with_extension("cfg");
                let mut cfg = format!(
                    "tickTime=2000\ndataDir={dir}\nclientPort={port}\nclientPortAddress={host}\nmaxClientCnxns=0\n"
                );
                self.cfg.iter().for_each(|line| cfg += &format!("{line}\n"));
                fs::write(&path, cfg).map_err(BenchError::output(&path))?;
                if let Some(id) = self.myid {
                    let path = self.dir.join("myid");
                    fs::write(&path, format!("{id}\n")).map_err(BenchError::output(&path))?;
                }
                let path = path.display().to_string();
                words.extend([binary.display().to_string(), path, "--log-format".to_owned(), "json".to_owned()]);
            }
            Kind::Java { script, heap } => {
                words.push(script.display().to_string());
                let (dir, host, port) = (dir.to_string(), host.to_string(), port.to_string());
                let options = ["--data", &dir, "--host", &host, "--port", &port, "--heap", heap];
                words.extend(options.map(str::to_owned));
                words.extend(self.myid.into_iter().flat_map(|id| ["--myid".to_owned(), id.to_string()]));
                words.extend(self.cfg.iter().flat_map(|line| ["--cfg".to_owned(), line.clone()]));
            }
        }
        let (program, rest) = words.split_first().expect("a program is among them");
        let mut command = Command::new(program);
        command.args(rest);
        Ok(command)
    }

    fn log(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    /// Its data as files, with their sizes.
    ///
    /// # Errors
    /// [`BenchError::Output`]
    pub(crate) fn files(&self) -> Result<Vec<(PathBuf, u64)>> {
        let mut files = Vec::new();
        let mut dirs = vec![self.dir.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).map_err(BenchError::output(&dir))? {
                let entry = entry.map_err(BenchError::output(&dir))?;
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => dirs.push(entry.path()),
                    Ok(meta) if meta.is_file() => files.push((entry.path(), meta.len())),
                    Ok(_) => {}
                    // A server that runs removes what it no longer needs.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(BenchError::output(&entry.path())(error)),
                }
            }
        }
        Ok(files)
    }

    /// Takes its files out of the page cache. It must not run. The programs stay in it.
    ///
    /// # Errors
    /// [`BenchError::Output`], [`BenchError::System`]
    pub(crate) fn drop_cache(&self) -> Result<()> {
        for (path, _) in self.files()? {
            let file = File::open(&path).map_err(BenchError::output(&path))?;
            // What is not yet on the disk would stay.
            file.sync_all().map_err(BenchError::output(&path))?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(BenchError::system("fadvise"))?;
        }
        Ok(())
    }

    /// Reads its newest image or snapshot into the page cache: a machine that reclaims what was not touched for a while has taken it out.
    ///
    /// # Errors
    /// [`BenchError::Output`]
    pub(crate) fn warm_cache(&self) -> Result<()> {
        // Their names are in the order of their zxids.
        let Some((path, _)) = self.image_files()?.into_iter().max() else { return Ok(()) };
        let mut file = File::open(&path).map_err(BenchError::output(&path))?;
        std::io::copy(&mut file, &mut std::io::sink()).map_err(BenchError::output(&path))?;
        Ok(())
    }

    /// Its images and snapshots, with their sizes.
    ///
    /// # Errors
    /// [`BenchError::Output`]
    pub(crate) fn image_files(&self) -> Result<Vec<(PathBuf, u64)>> {
        let mut files = self.files()?;
        let prefix = match self.kind {
            Kind::RingKeeper { .. } => "image.",
            Kind::Java { .. } => "snapshot.",
        };
        files.retain(|(path, _)| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
        Ok(files)
    }

    /// The images that RingKeeper has written since it was started, by its log.
    ///
    /// # Errors
    /// [`BenchError::Output`]
    pub(crate) fn images(&self) -> Result<Vec<ImageLine>> {
        let log = fs::read_to_string(self.log()).map_err(BenchError::output(&self.log()))?;
        let written = log.lines().filter(|line| line.contains("\"image written\""));
        let read = |line| serde_json::from_str(line).map_err(|error| BenchError::output(&self.log())(error.into()));
        written.map(read).collect()
    }
}

impl Running<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn await_first_read(&mut self, begun: Instant, filled: Option<Filled>) -> Result<Duration> {
        let options = ConnectOptions { deadline: ATTEMPT, ..connect_options() };
        loop {
            let read = Connection::connect(self.server, &options).and_then(|mut connection| {
                let middle = filled.map(|filled| (filled, filled.znodes / 2));
                middle.map_or(Ok(()), |(filled, number)| filled.read_one(&mut connection, number))?;
                let took = begun.elapsed();
                connection.close().map(|()| took)
            });
            let error = match read {
                Ok(took) => return Ok(took),
                Err(error) => error,
            };
            let ended = self.child.try_wait().ok().flatten();
            // Data that are not what was written do not become so.
            let is_wrong = matches!(error, client::ClientError::WrongRecord(_) | client::ClientError::Server(_));
            if ended.is_some() || is_wrong || begun.elapsed() > PATIENCE {
                return Err(self.fault(&format!("did not serve: {error}")));
            }
            thread::sleep((begun.elapsed() / BETWEEN_ATTEMPTS_PART).max(BETWEEN_ATTEMPTS_MIN));
        }
    }

    pub(crate) fn fault(&self, what: &str) -> BenchError {
        let log = fs::read_to_string(self.site.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n");
        BenchError::Server { name: self.site.name(), what: what.to_owned(), log: tail }
    }

    /// Its memory once it has not changed for so long (but not waited for 15 times as long); after a full collection where it is a JVM.
    ///
    /// # Errors
    /// [`BenchError::Proc`]
    pub(crate) fn settled_memory(&self, calm: Duration) -> Result<Memory> {
        let patience = calm * 15;
        let begun = Instant::now();
        let mut memory = Memory::take(self.pid())?;
        let mut since = Instant::now();
        while since.elapsed() < calm && begun.elapsed() < patience {
            thread::sleep(calm / 10);
            let now = Memory::take(self.pid())?;
            if now.rss_anon_kib.abs_diff(memory.rss_anon_kib) > memory.rss_anon_kib / 200 {
                (memory, since) = (now, Instant::now());
            }
        }
        if matches!(self.site.kind, Kind::Java { .. }) {
            let collected =
                Command::new("jcmd").args([&self.pid().to_string(), "GC.run"]).stdout(Stdio::null()).status();
            if !collected.is_ok_and(|status| status.success()) {
                return Err(self.fault("its memory was not collected: is jcmd of the same JDK installed?"));
            }
        }
        Memory::take(self.pid())
    }

    /// Has RingKeeper write an image of the tree as it is, and waits for it. Java writes one at its start by itself.
    ///
    /// # Errors
    /// [`BenchError::Server`]
    pub(crate) fn image(&self) -> Result<()> {
        // A session is a change: without one since the last image there would be none.
        let mut connection = connect(self.server)?;
        connection.ping().map_err(BenchError::client("making a change"))?;
        let wanted = connection.last_zxid();
        connection.close().map_err(BenchError::client("making a change"))?;
        self.ask_for_image()?;
        let begun = Instant::now();
        loop {
            let images = self.site.images()?;
            // One that was under way does not count. It is written before older ones are removed, and counted afterwards.
            let is_there = images.last().is_some_and(|image| image.zxid >= wanted);
            if is_there && self.images_written()? >= images.len() as u64 {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(self.fault("wrote no image"));
            }
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Asks for one, without waiting.
    ///
    /// # Errors
    /// [`BenchError::Server`]
    pub(crate) fn ask_for_image(&self) -> Result<()> {
        self.control("{\"command\":\"snapshot\"}").map(|_| ())
    }

    /// How many it has written since its start.
    ///
    /// # Errors
    /// [`BenchError::Server`]
    pub(crate) fn images_written(&self) -> Result<u64> {
        let status = self.control("{\"command\":\"status\"}")?;
        status
            .get("images_written")
            .and_then(serde_json::Value::as_u64)
            .ok_or_else(|| self.fault("has an unknown status"))
    }

    /// Asks the control socket.
    fn control(&self, line: &str) -> Result<serde_json::Value> {
        let asked = || -> std::io::Result<serde_json::Value> {
            let mut socket = UnixStream::connect(self.site.dir.join("control.sock"))?;
            socket.set_read_timeout(Some(ATTEMPT))?;
            socket.write_all(format!("{line}\n").as_bytes())?;
            let mut answer = String::new();
            BufReader::new(socket).read_line(&mut answer)?;
            Ok(serde_json::from_str(&answer)?)
        };
        asked().map_err(|error| self.fault(&format!("did not answer its control socket: {error}")))
    }

    /// Ends it and waits for its end.
    ///
    /// # Errors
    /// [`BenchError::System`]
    pub(crate) fn stop(mut self, how: Stop) -> Result<()> {
        let signal = match how {
            Stop::Clean => Signal::TERM,
            Stop::Kill => Signal::KILL,
        };
        kill_process(Pid::from_child(&self.child), signal).map_err(BenchError::system("kill"))?;
        self.child.wait().map_err(|source| BenchError::System { what: "waiting for the server's end", source })?;
        Ok(())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Where it has ended already, nothing happens.
        if let Ok(None) = self.child.try_wait() {
            let _ended_meanwhile = self.child.kill();
            let _its_end = self.child.wait();
        }
    }
}

/// An address on the loopback that is free.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener.and_then(|l| l.local_addr()).map_err(|source| BenchError::System { what: "finding a free port", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_read_from_its_line_of_the_log() {
        let line = r#"{"level":"INFO","message":"image written","zxid":"0xb7","znodes":15,"bytes":23,"carried_over_bytes":4,"took_ms":"7"}"#;
        let image: ImageLine = serde_json::from_str(line).unwrap();
        assert_eq!(image.zxid, Zxid(0xb7));
        assert_eq!((image.bytes, image.carried_over_bytes, image.took_ms), (23, 4, 7));
    }

    #[test]
    fn a_server_that_does_not_start_is_named_with_its_log() {
        let dir = std::env::temp_dir().join(format!("rkbench-test-{}", std::process::id()));
        // It ends at once, with words about an option that it does not know.
        let kind = Kind::RingKeeper { binary: PathBuf::from("/bin/ls") };
        let site = Site { kind, dir: dir.join("site"), cfg: Vec::new(), cpus: None, myid: None };
        let error = site.start(None).unwrap_err().to_string();
        fs::remove_dir_all(&dir).unwrap();
        assert!(error.starts_with("RingKeeper did not serve: ") && error.contains("--log-format"), "{error}");
    }
}
