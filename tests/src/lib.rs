//! End-to-end tests: the harness that starts the built `ringkeeper` and ends it again. The tests are in `tests/tests/`.
//!
//! Owns the processes that it starts and their temporary directories; it ends them by id. It fails with a panic that shows the server's own
//! words. The binary is the one that `cargo xtask ci` built beside the test (`RINGKEEPER_BIN` names another). `RK_TEST_CORE`
//! (`thread` or `shard`) chooses where the consensus core of these servers lives; unset, they choose themselves.
#![forbid(unsafe_code)]

mod cgroup;
pub mod cluster;
pub mod lease;
mod loop_disk;
mod refusal;
pub mod words;

pub use cgroup::{Cgroup, Pace, Slowed};
pub use loop_disk::{Frozen, LoopDisk};
pub use refusal::refuse_calls;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to serve or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether something has come about.
const LOOK: Duration = Duration::from_millis(10);

/// Where the built binary `name` is.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os("RINGKEEPER_BIN").filter(|_| name == "ringkeeper") {
        return path.into();
    }
    // target/<profile>/deps/<test> → target/<profile>/<name>
    let test = std::env::current_exe().expect("a test knows its own path");
    // A test lies in target/<profile>/deps, a program in target/<profile>.
    let dir = test.parent().expect("a program lies in a directory");
    let profile = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    let path = profile.join(name);
    let line = match name {
        "ringkeeper-faults" => "--bin ringkeeper-faults --features ringkeeper/fault-injection",
        _ => "--bins",
    };
    assert!(path.exists(), "{} is not built: cargo build --profile ci --workspace {line}", path.display());
    path
}

/// Where the consensus core of a server lives (`ringkeeper.core`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// In a thread of its own.
    Thread,
    /// In the first shard's.
    Shard,
}

impl Core {
    /// Both places, for tests that try both.
    pub const BOTH: [Core; 2] = [Core::Thread, Core::Shard];

    /// What the configuration calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Core::Thread => "thread",
            Core::Shard => "shard",
        }
    }

    /// What `RK_TEST_CORE` asks for.
    ///
    /// # Panics
    /// If that is neither.
    fn of_environment() -> Option<Core> {
        let asked = std::env::var("RK_TEST_CORE").ok().filter(|asked| !asked.is_empty())?;
        let found = Core::BOTH.into_iter().find(|core| core.name() == asked);
        assert!(found.is_some(), "RK_TEST_CORE={asked}: thread and shard are known");
        found
    }
}

/// How a server is to be started.
#[derive(Clone, Debug)]
pub struct Builder {
    dir: Arc<TempDir>,
    settings: Vec<(String, String)>,
    container: Option<Vec<(String, String)>>,
    wrapper: Vec<String>,
    program: &'static str,
}

/// A running server, ended when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
    address: SocketAddr,
    builder: Builder,
}

impl Server {
    /// A server with a fresh data directory, one shard, all four-letter words, extended types, ticks of 500 ms, and its core where
    /// `RK_TEST_CORE` says.
    ///
    /// # Panics
    /// If there is no room for a directory, or `RK_TEST_CORE` has no such place.
    #[must_use]
    pub fn builder() -> Builder {
        let dir = Arc::new(tempfile::Builder::new().prefix("rk-e2e-").tempdir().expect("a temporary directory"));
        let builder =
            Builder { dir, settings: Vec::new(), container: None, wrapper: Vec::new(), program: "ringkeeper" };
        let builder = match Core::of_environment() {
            Some(core) => builder.core(core),
            None => builder,
        };
        builder
            .set("clientPortAddress", "127.0.0.1")
            .set("clientPort", "0")
            .set("tickTime", "500")
            .set("ringkeeper.shards", "1")
            .set("extendedTypesEnabled", "true")
            .set("4lw.commands.whitelist", "*")
            .set("maxClientCnxns", "0")
            .set("preAllocSize", "32768")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.builder.data_dir()
    }

    /// How it was started.
    #[must_use]
    pub fn own_builder(&self) -> &Builder {
        &self.builder
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.builder.log_file()).unwrap_or_default()
    }

    /// Kills it as a power switch would, and waits for its end.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _gone = child.kill();
            child.wait().expect("a killed child can be waited for");
        }
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn sigterm(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server runs");
        signal(child.id(), rustix::process::Signal::TERM);
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return status;
            }
            if started.elapsed() > PATIENCE {
                let _gone = child.kill();
                panic!("the server did not end after SIGTERM; its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again on the same directory; the port may be another.
    pub fn restart(&mut self) {
        self.kill9();
        let builder = self.builder.clone();
        *self = builder.start();
    }

    /// Asks for an image and waits until it is published.
    ///
    /// # Panics
    /// If that does not come about in a minute.
    pub fn take_image(&self) {
        let written = || self.ask_control("status")["images_written"].as_u64().expect("a count");
        let before = written();
        self.ask_for_image();
        until("an image", || written() > before);
    }

    /// Asks for an image.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn ask_for_image(&self) {
        self.ask_control("snapshot");
    }

    fn ask_control(&self, command: &str) -> serde_json::Value {
        let mut socket = UnixStream::connect(self.data_dir().join("control.sock")).expect("the server listens");
        writeln!(socket, r#"{{"command":"{command}"}}"#).expect("it can be written to");
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).expect("it answers");
        let answer: serde_json::Value = serde_json::from_str(&line).expect("the answer is JSON");
        assert_eq!(answer["ok"], true, "{line}");
        answer
    }

    /// Has it ended by itself? Then how.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("a child can be waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server's log:\n{}", self.log());
        }
        self.kill9();
    }
}

impl Builder {
    /// Sets a key of `zoo.cfg`; the last one wins.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Builder {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// That many shards.
    #[must_use]
    pub fn shards(self, count: usize) -> Builder {
        self.set("ringkeeper.shards", &count.to_string())
    }

    /// Its core in this place, whatever `RK_TEST_CORE` says.
    #[must_use]
    pub fn core(self, core: Core) -> Builder {
        self.set("ringkeeper.core", core.name())
    }

    /// Starts it through another program (`strace -f …`), which gets the server's command line appended.
    #[must_use]
    pub fn wrapped(mut self, wrapper: &[&str]) -> Builder {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Another program than `ringkeeper`, built beside it.
    #[must_use]
    pub fn program(self, program: &'static str) -> Builder {
        Builder { program, ..self }
    }

    /// Starts it as in a container: by the environment, with these variables besides, and with its settings in `ZOO_CFG_EXTRA` (which has room
    /// for values without blanks). `/conf`, `/data` and `/datalog` are `conf`, `data` and `log` beside each other.
    ///
    /// # Panics
    /// If there is no room for a directory.
    #[must_use]
    pub fn container(mut self, variables: &[(&str, &str)]) -> Builder {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.container = Some(variables.iter().map(owned).collect());
        std::fs::create_dir_all(self.conf_dir()).expect("the directory can be made");
        self
    }

    /// Where `zoo.cfg` of a container is.
    #[must_use]
    pub fn conf_dir(&self) -> PathBuf {
        self.dir.path().join("conf")
    }

    /// Puts its directory into memory where the system has room for that, with small log segments: for tests that are not about
    /// durability, and must not depend on the disk, which may stall for many seconds under a build.
    ///
    /// # Panics
    /// If there is no room for a directory.
    #[must_use]
    pub fn in_memory(mut self) -> Builder {
        if let Ok(dir) = tempfile::Builder::new().prefix("rk-e2e-").tempdir_in("/dev/shm") {
            self.dir = Arc::new(dir);
        }
        self.set("preAllocSize", "1024")
    }

    /// The data directory: as it was set, else one of its own.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        let set = self.settings.iter().find(|(key, _)| key == "dataDir");
        set.map_or_else(|| self.dir.path().join("data"), |(_, dir)| dir.into())
    }

    /// The configuration file, written.
    ///
    /// # Panics
    /// If it cannot be.
    #[must_use]
    pub fn write_config(&self) -> PathBuf {
        let file = self.dir.path().join("zoo.cfg");
        let mut text: String = self.settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        if !self.settings.iter().any(|(key, _)| key == "dataDir") {
            text.push_str(&format!("dataDir={}\n", self.data_dir().display()));
        }
        std::fs::write(&file, text).expect("the configuration can be written");
        file
    }

    /// The server's command line.
    #[must_use]
    pub fn command(&self) -> Command {
        let binary = binary(self.program);
        let mut command = match self.wrapper.split_first() {
            None => Command::new(binary),
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(binary);
                command
            }
        };
        let Some(variables) = &self.container else {
            command.arg(self.write_config());
            return command;
        };
        let extra: Vec<String> = self.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let dirs = [("ZOO_CONF_DIR", "conf"), ("ZOO_DATA_DIR", "data"), ("ZOO_DATA_LOG_DIR", "log")];
        command.arg("--docker").envs(dirs.map(|(name, dir)| (name, self.dir.path().join(dir))));
        // The image's own line would ask for port 2181.
        command.env("ZOO_SERVERS", "server.1=localhost:2888:3888").env("ZOO_CFG_EXTRA", extra.join(" "));
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// If it does not; with its own words.
    #[must_use]
    pub fn start(self) -> Server {
        self.try_start().unwrap_or_else(|refusal| panic!("the server did not start: {refusal}"))
    }

    /// Starts it and waits until it serves, or has ended.
    ///
    /// # Errors
    /// How it ended, and everything that it and its predecessors have logged.
    ///
    /// # Panics
    /// If it cannot be started at all.
    pub fn try_start(self) -> Result<Server, String> {
        let log = File::options().create(true).append(true).open(self.log_file()).expect("the log can be opened");
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the server can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let address = loop {
            match lines.next() {
                Some(Ok(line)) => {
                    let after = line.split_once("serving on ").map(|(_, rest)| rest);
                    if let Some(address) = after.and_then(|rest| rest.split(',').next()) {
                        break address.parse().expect("the server prints its address");
                    }
                }
                _ => {
                    let status = child.wait().expect("a child can be waited for");
                    let words = std::fs::read_to_string(self.log_file()).unwrap_or_default();
                    return Err(format!("{status}, signal {:?}:\n{words}", status.signal()));
                }
            }
        };
        Ok(Server { child: Some(child), address, builder: self })
    }
}

/// Looks again and again until it is so: what another process does, at a time that nobody tells.
///
/// # Panics
/// If it does not come about in a minute.
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    until_within(PATIENCE, what, is_so);
}

/// The same for what may take longer.
///
/// # Panics
/// If it does not come about in that time.
pub fn until_within(patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < patience, "{what}: that did not come about in {} s", patience.as_secs());
        std::thread::sleep(LOOK);
    }
}

/// Sends a signal to a process that this test has started.
///
/// # Panics
/// If there is no such process.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the process can be signalled");
}

/// Stops a process as SIGSTOP does, and waits until all its threads stand still: each goes on until it meets the signal.
///
/// # Panics
/// If there is no such process.
pub fn stand_still(pid: u32) {
    signal(pid, rustix::process::Signal::STOP);
    let tasks = format!("/proc/{pid}/task");
    until("every thread stands still", || {
        let tasks = std::fs::read_dir(&tasks).expect("the process's threads");
        // One that has ended meanwhile has no state.
        let states = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
        states.into_iter().all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['T', 'Z', 'X'])))
    });
}

/// So much memory a process has, by a line of `/proc/PID/status` that tells it in kB (`VmRSS:`, `RssAnon:`, …).
///
/// # Panics
/// If there is no such process or line.
#[must_use]
pub fn memory_bytes(pid: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let kib = status.lines().find_map(|line| line.strip_prefix(which)).expect("the kernel tells it");
    kib.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1024
}

/// The top of the checkout.
#[must_use]
pub fn top() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
