//! One server of an ensemble: its process, its directory, and what it says of itself.

use super::{Implementation, PATIENCE};
use crate::{binary, signal, stand_still, top};
use rustix::process::Signal;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer a four-letter word. One that stands still does not.
const WORD_PATIENCE: Duration = Duration::from_millis(500);
/// How often it is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It leads.
    Leader,
    /// It follows.
    Follower,
    /// It observes.
    Observer,
    /// It is alone.
    Standalone,
}

/// How a server is started.
#[derive(Debug)]
pub(super) struct How {
    /// All lines of `zoo.cfg` but its own directory and client port.
    pub lines: Vec<(String, String)>,
    /// The words before the server's own.
    pub wrapper: Vec<String>,
    /// Of a Java server.
    pub java_heap_mib: u32,
    /// Behind this counter the epochs begin that it leads.
    pub initial_counter: u32,
}

/// A server, whether it runs or not.
#[derive(Debug)]
pub(super) struct Member {
    id: u8,
    implementation: Implementation,
    address: SocketAddr,
    dir: PathBuf,
    how: How,
    child: Option<Child>,
    paused: bool,
}

impl Member {
    /// It is not started yet.
    pub(super) fn new(implementation: Implementation, id: u8, address: SocketAddr, dir: PathBuf, how: How) -> Member {
        std::fs::create_dir_all(&dir).expect("its directory");
        Member { id, implementation, address, dir, how, child: None, paused: false }
    }

    pub(super) const fn id(&self) -> u8 {
        self.id
    }

    pub(super) const fn implementation(&self) -> Implementation {
        self.implementation
    }

    pub(super) const fn replace(&mut self, implementation: Implementation) {
        self.implementation = implementation;
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        // A directory stays with whoever has written it.
        self.dir.join(if self.implementation.is_java() { "java" } else { "ringkeeper" })
    }

    /// The value of this key.
    pub(super) fn line(&self, key: &str) -> Option<&str> {
        self.how.lines.iter().rfind(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.how.lines.push((key.to_owned(), value.to_owned()));
    }

    pub(super) const fn begin_epochs_behind(&mut self, counter: u32) {
        self.how.initial_counter = counter;
    }

    /// From the next start on it is there.
    pub(super) const fn move_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    pub(super) fn wrap(&mut self, words: &[&str]) {
        self.how.wrapper.extend(words.iter().map(|word| (*word).to_owned()));
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }

    pub(super) fn mode(&self) -> Option<Mode> {
        let answer = four_letters(self.address, "srvr")?;
        let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "))?;
        match mode.split_whitespace().next()? {
            "leader" => Some(Mode::Leader),
            "follower" => Some(Mode::Follower),
            "observer" => Some(Mode::Observer),
            "standalone" => Some(Mode::Standalone),
            _ => None,
        }
    }

    pub(super) fn start(&mut self) {
        assert!(self.child.is_none(), "server {} runs already", self.id);
        let log = File::options().create(true).append(true).open(self.dir.join("server.log")).expect("its log");
        let (out, err) = (log.try_clone().expect("its log"), log);
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        self.child = Some(command.spawn().expect("the server can be started"));
        self.paused = false;
    }

    /// # Panics
    /// If it was started and has ended by itself.
    pub(super) fn assert_runs(&mut self) {
        let Some(child) = &mut self.child else { return };
        let ended = child.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "server {} has ended by itself, {ended:?}", self.id);
    }

    pub(super) fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _gone = child.kill();
            child.wait().expect("a killed child can be waited for");
        }
        self.paused = false;
    }

    pub(super) fn stop(&mut self) -> ExitStatus {
        self.go_on();
        let mut child = self.child.take().expect("it runs");
        let begun = Instant::now();
        signal(child.id(), Signal::TERM);
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return status;
            }
            if begun.elapsed() > PATIENCE {
                let _gone = child.kill();
                panic!("server {} did not end after SIGTERM", self.id);
            }
            std::thread::sleep(LOOK);
        }
    }

    pub(super) fn pause(&mut self) {
        stand_still(self.pid().expect("it runs"));
        self.paused = true;
    }

    pub(super) fn go_on(&mut self) {
        if let (Some(pid), true) = (self.pid(), self.paused) {
            signal(pid, Signal::CONT);
        }
        self.paused = false;
    }

    /// Each wrapper, `java-server.sh` and `setpriv` become what they start: the child is the server.
    fn command(&self) -> Command {
        let mut words = self.how.wrapper.clone();
        match self.implementation {
            Implementation::Java => words.extend(self.java("3.9.5")),
            Implementation::Java38 => words.extend(self.java("3.8.0")),
            Implementation::Mix(_) => panic!("a server is of one kind"),
            Implementation::RingKeeper => {
                // What a release does not do.
                let program = if self.how.initial_counter > 0 { "ringkeeper-faults" } else { "ringkeeper" };
                words.push(binary(program).display().to_string());
                words.push(self.write_config().display().to_string());
            }
        }
        let mut command = Command::new(words.first().expect("a program is among them"));
        command.args(words.get(1..).unwrap_or_default());
        if self.how.initial_counter > 0 {
            command.env("RINGKEEPER_INITIAL_COUNTER", self.how.initial_counter.to_string());
        }
        command
    }

    fn java(&self, version: &str) -> Vec<String> {
        let (id, host, port) = (self.id.to_string(), self.address.ip().to_string(), self.address.port().to_string());
        let data = self.data_dir().display().to_string();
        let mut words = vec![top().join("tests/reference/java-server.sh").display().to_string()];
        let mut option = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
        option("--version", version);
        option("--data", &data);
        option("--host", &host);
        option("--port", &port);
        option("--myid", &id);
        option("--heap", &format!("{}m", self.how.java_heap_mib));
        option("--log", "info");
        // A start is what takes time here, not the load.
        option("--jvm", "-XX:TieredStopAtLevel=1");
        if self.how.initial_counter > 0 {
            option("--jvm", &format!("-Dzookeeper.testingonly.initialZxid={}", self.how.initial_counter));
        }
        for (key, value) in &self.how.lines {
            // In `zoo.cfg` it would get `zookeeper.` in front, under which nobody looks for it.
            let is_property = key.starts_with("znode.container.");
            let (name, prefix) = if is_property { ("--jvm", "-D") } else { ("--cfg", "") };
            option(name, &format!("{prefix}{key}={value}"));
        }
        words.push("--fast-start".to_owned());
        words
    }

    fn write_config(&self) -> PathBuf {
        let data = self.data_dir();
        std::fs::create_dir_all(&data).expect("its data directory");
        std::fs::write(data.join("myid"), format!("{}\n", self.id)).expect("its id");
        let own = [
            ("dataDir", data.display().to_string()),
            ("clientPortAddress", self.address.ip().to_string()),
            ("clientPort", self.address.port().to_string()),
            ("extendedTypesEnabled", "true".to_owned()),
            ("ringkeeper.shards", "1".to_owned()),
        ];
        let mut text: String = own.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        for (number, (key, value)) in self.how.lines.iter().enumerate() {
            let is_last = !self.how.lines.iter().skip(number + 1).any(|(later, _)| later == key);
            if is_last {
                text.push_str(&format!("{key}={value}\n"));
            }
        }
        let file = self.dir.join("zoo.cfg");
        std::fs::write(&file, text).expect("the configuration can be written");
        file
    }
}

/// The answer to a four-letter word, if there is one soon.
#[must_use]
pub fn four_letters(address: SocketAddr, word: &str) -> Option<String> {
    let mut socket = TcpStream::connect_timeout(&address, WORD_PATIENCE).ok()?;
    socket.set_read_timeout(Some(WORD_PATIENCE)).ok()?;
    socket.write_all(word.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer)
}
