//! Ensembles of real servers on loopback: RingKeeper's binary, or Java's by `tests/reference/java-server.sh`. Every test runs on either.
//!
//! Owns the processes, their directories and their addresses; it signals and ends them by their ids. Each server has an address of its own ([`Lease`]),
//! so that its ports stay its own while it does not run. Everything that is waited for is bounded in time; what does not come about ends in a panic, and then every
//! server's log is kept and its end shown. `tests/tests/ensemble/place.rs` would catch a mistake.

mod member;
mod names;
mod namespaces;
mod wire;

pub use member::{Mode, four_letters};
pub use wire::{Link, Packet, State, Trick, Wire, zxids};

use crate::lease::{CLIENT_PORT, ELECTION_PORT, Lease, QUORUM_PORT};
use crate::until_within;
use member::{How, Member};
use names::Names;
use namespaces::Namespaces;
use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;
use tempfile::TempDir;

/// How long an ensemble may take until it serves, a JVM's start on a busy machine included.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Lines of each server's log that are shown where a test fails.
const LOG_LINES: usize = 40;

/// Whose servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// The real ZooKeeper, 3.9.5.
    Java,
    /// The real ZooKeeper, 3.8.0.
    Java38,
    /// Ours.
    RingKeeper,
    /// In the order of the servers' ids, and again from the first one on.
    Mix(&'static [Implementation]),
}

impl Implementation {
    /// What it is called: `java+ringkeeper` is a mix.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Implementation::Java => "java".to_owned(),
            Implementation::Java38 => "java-3.8".to_owned(),
            Implementation::RingKeeper => "ringkeeper".to_owned(),
            Implementation::Mix(all) => all.iter().map(|one| one.name()).collect::<Vec<_>>().join("+"),
        }
    }

    /// Whose the server of this id is.
    #[must_use]
    pub fn of_server(self, id: u8) -> Implementation {
        match self {
            Implementation::Mix(all) => all[(usize::from(id) - 1) % all.len()],
            one => one,
        }
    }

    /// What `RK_ENSEMBLE` names, with commas between; where it is unset, [`Implementation::USUAL`].
    ///
    /// # Panics
    /// If it names something else.
    #[must_use]
    pub fn wanted() -> Vec<Implementation> {
        let Ok(names) = std::env::var("RK_ENSEMBLE") else { return Implementation::USUAL.to_vec() };
        let of = |name: &str| {
            Implementation::of(name).unwrap_or_else(|| {
                panic!("RK_ENSEMBLE={name}: java, java-3.8 and ringkeeper are known, and mixes such as java+ringkeeper")
            })
        };
        names.split(',').map(of).collect()
    }

    /// The one of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Implementation> {
        if name.contains('+') {
            let all: Option<Vec<Implementation>> = name.split('+').map(Implementation::of).collect();
            return Some(Implementation::Mix(all?.leak()));
        }
        Implementation::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Is it one of ZooKeeper's, or a mix with one of them?
    #[must_use]
    pub fn is_java(self) -> bool {
        match self {
            Implementation::Java | Implementation::Java38 => true,
            Implementation::RingKeeper => false,
            Implementation::Mix(all) => all.iter().any(|one| one.is_java()),
        }
    }

    /// All of them.
    pub const ALL: [Implementation; 3] = [Implementation::Java38, Implementation::Java, Implementation::RingKeeper];

    /// What is tested where nothing else is asked for.
    pub const USUAL: &'static [Implementation] = &[Implementation::RingKeeper];
}

/// How `zoo.cfg` says where servers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `server.1=host:2888:3888`, and `clientPort` on a line of its own.
    Classic,
    /// `server.1=host:2888:3888:participant;host:2181`.
    WithClientPort,
}

/// What servers are to each other in `zoo.cfg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Each an IPv4 address of its own.
    Addresses,
    /// Each a name, whose address may change.
    Names,
    /// All of them `[::1]`, each with ports of its own.
    V6,
}

/// How an ensemble is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose servers.
    pub implementation: Implementation,
    /// Those that are somebody else's.
    pub others: BTreeMap<u8, Implementation>,
    /// Servers with a vote: 1 up to this.
    pub voters: u8,
    /// Observers after them.
    pub observers: u8,
    /// How the configuration is written.
    pub form: Form,
    /// What the servers call each other.
    pub hosts: Hosts,
    /// More lines of `zoo.cfg`; the last of a key wins.
    pub settings: Vec<(String, String)>,
    /// In memory, for what is not about the disk.
    pub in_memory: bool,
    /// Each server in a network namespace of its own, so that it can be cut off.
    pub apart: bool,
    /// What the servers say to each other is written down ([`Cluster::wire`]).
    pub recorded: bool,
    /// The servers end with the thread that starts them, even where nothing can be dropped any more: in this profile a panic ends a program at once.
    pub tied: bool,
    /// What a Java server's objects may take, in MiB.
    pub java_heap_mib: u32,
}

impl Plan {
    /// So many servers with a vote, in memory, with ticks of 500 ms.
    #[must_use]
    pub fn new(implementation: Implementation, voters: u8) -> Plan {
        let settings = [
            ("tickTime", "500"),
            ("initLimit", "20"),
            // 3 s: a JVM on a busy machine may stand still for one.
            ("syncLimit", "6"),
            ("maxSessionTimeout", "60000"),
            ("4lw.commands.whitelist", "*"),
            ("maxClientCnxns", "0"),
            ("preAllocSize", "1024"),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let (observers, form, in_memory) = (0, Form::Classic, true);
        let hosts = Hosts::Addresses;
        let (apart, recorded, tied, others) = (false, false, false, BTreeMap::new());
        Plan {
            implementation,
            others,
            voters,
            observers,
            form,
            hosts,
            settings,
            in_memory,
            apart,
            recorded,
            tied,
            java_heap_mib: 128,
        }
    }

    /// With this line of `zoo.cfg`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Plan {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With this form of the configuration.
    #[must_use]
    pub fn form(self, form: Form) -> Plan {
        Plan { form, ..self }
    }

    /// With servers that call each other so. Those in namespaces of their own have addresses.
    #[must_use]
    pub fn hosts(self, hosts: Hosts) -> Plan {
        Plan { hosts, ..self }
    }

    /// With so many observers.
    #[must_use]
    pub fn observers(self, observers: u8) -> Plan {
        Plan { observers, ..self }
    }

    /// With a server that is somebody else's.
    #[must_use]
    pub fn with(mut self, id: u8, implementation: Implementation) -> Plan {
        self.others.insert(id, implementation);
        self
    }

    /// With everything written down that the servers say to each other. Not for those that are [`Plan::apart`].
    #[must_use]
    pub fn recorded(self) -> Plan {
        Plan { recorded: true, ..self }
    }

    /// With each server in a network namespace of its own.
    #[must_use]
    pub fn apart(self) -> Plan {
        Plan { apart: true, ..self }
    }

    /// With Java servers that have so much memory for a tree.
    #[must_use]
    pub fn java_heap_mib(self, mib: u32) -> Plan {
        Plan { java_heap_mib: mib, ..self }
    }

    /// With servers that end with the thread that starts them.
    #[must_use]
    pub fn tied(self) -> Plan {
        Plan { tied: true, ..self }
    }

    /// Starts all servers, and waits until all of them serve.
    ///
    /// # Panics
    /// If they do not, with the end of their logs.
    #[must_use]
    pub fn start(self) -> Cluster {
        let mut cluster = self.prepare();
        for id in cluster.ids() {
            cluster.start(id);
        }
        cluster.await_serving();
        cluster
    }

    /// Directories and configurations, and nobody runs.
    ///
    /// # Panics
    /// If there is no room for a directory.
    #[must_use]
    pub fn prepare(self) -> Cluster {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("rk-ensemble-");
        let in_memory = self.in_memory.then(|| builder.tempdir_in("/dev/shm").ok()).flatten();
        let dir = in_memory.unwrap_or_else(|| builder.tempdir().expect("a temporary directory"));
        let lease = Lease::take();
        let ids: Vec<u8> = (1..=self.voters + self.observers).collect();
        let namespaces = self.apart.then(|| Namespaces::make(&lease, ids.clone()));
        let implementation = self.implementation;
        let names = (self.hosts == Hosts::Names).then(|| Names::make(dir.path().join("names")));
        let wire = self.recorded.then(|| Wire::lay(&lease, dir.path(), &ids));
        let members = Vec::new();
        let mut cluster = Cluster { members, implementation, dir: Some(dir), namespaces, names, wire, lease };
        cluster.members = ids.iter().map(|id| cluster.member(&self, *id)).collect();
        if cluster.names.is_some() {
            ids.into_iter().for_each(|id| cluster.tell_name(id));
        }
        cluster
    }
}

/// An ensemble. Its servers end when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    implementation: Implementation,
    /// Taken out where it is kept.
    dir: Option<TempDir>,
    namespaces: Option<Namespaces>,
    names: Option<Names>,
    wire: Option<Wire>,
    /// Goes last: the names are free then.
    lease: Lease,
}

impl Cluster {
    /// Whose servers they were at the start.
    #[must_use]
    pub const fn implementation(&self) -> Implementation {
        self.implementation
    }

    /// Whose this server is.
    #[must_use]
    pub fn implementation_of(&self, id: u8) -> Implementation {
        self.of(id).implementation()
    }

    /// From its next start on a server that does not run is somebody else's, with a data directory of its own; Java's versions share one.
    ///
    /// # Panics
    /// If it runs.
    pub fn replace(&mut self, id: u8, implementation: Implementation) {
        assert!(self.of(id).pid().is_none(), "server {id} runs");
        self.of_mut(id).replace(implementation);
    }

    /// What the servers say to each other, of an ensemble that is [`Plan::recorded`].
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        self.wire.as_ref().expect("an ensemble that is recorded")
    }

    /// Is it [`Plan::recorded`]?
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        self.wire.is_some()
    }

    /// The servers' ids, from 1.
    #[must_use]
    pub fn ids(&self) -> Vec<u8> {
        self.members.iter().map(Member::id).collect()
    }

    /// Where a server listens for clients.
    #[must_use]
    pub fn address(&self, id: u8) -> SocketAddr {
        self.of(id).address()
    }

    /// Where all of them do.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(Member::address).collect()
    }

    /// A server's data directory.
    #[must_use]
    pub fn data_dir(&self, id: u8) -> PathBuf {
        self.of(id).data_dir()
    }

    /// A server's process.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn pid(&self, id: u8) -> u32 {
        self.of(id).pid().expect("it runs")
    }

    /// What a server and its predecessors have logged.
    #[must_use]
    pub fn log(&self, id: u8) -> String {
        self.of(id).log()
    }

    /// What a server says that it is. None: it does not say, or does not serve.
    #[must_use]
    pub fn mode(&self, id: u8) -> Option<Mode> {
        self.of(id).mode()
    }

    /// Who leads and serves, if anybody does.
    #[must_use]
    pub fn leads(&self) -> Option<u8> {
        self.ids().into_iter().find(|id| self.mode(*id) == Some(Mode::Leader))
    }

    /// Who leads, once somebody does.
    ///
    /// # Panics
    /// If nobody does in time.
    #[must_use]
    pub fn leader(&self) -> u8 {
        let mut leader = None;
        until_within(PATIENCE, "a leader", || {
            leader = self.leads();
            leader.is_some()
        });
        leader.expect("just seen")
    }

    /// A server with a vote that follows, once there is one: the one with the smallest id.
    ///
    /// # Panics
    /// If there is none in time.
    #[must_use]
    pub fn follower(&self) -> u8 {
        let mut follower = None;
        until_within(PATIENCE, "a follower", || {
            follower = self.ids().into_iter().find(|id| self.mode(*id) == Some(Mode::Follower));
            follower.is_some()
        });
        follower.expect("just seen")
    }

    /// Waits until all that run and are not paused serve.
    ///
    /// # Panics
    /// If they do not in time, or if one has ended.
    pub fn await_serving(&mut self) {
        until_within(PATIENCE, "all servers serve", || {
            self.members.iter_mut().for_each(Member::assert_runs);
            let mut awake = self.members.iter().filter(|member| member.pid().is_some() && !member.is_paused());
            awake.all(|member| member.mode().is_some())
        });
    }

    /// Starts a server that does not run. It is not waited for.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(&mut self, id: u8) {
        self.of_mut(id).start();
    }

    /// Kills a server as a power switch would, and waits for its end.
    pub fn kill9(&mut self, id: u8) {
        self.of_mut(id).kill9();
    }

    /// Asks a server to end, and waits until it has.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn stop(&mut self, id: u8) -> ExitStatus {
        self.of_mut(id).stop()
    }

    /// Stops all that run, in the order of their ids.
    pub fn stop_all(&mut self) {
        self.members.iter_mut().filter(|member| member.pid().is_some()).for_each(|member| {
            member.stop();
        });
    }

    /// The same without this one.
    pub fn stop_all_but(&mut self, id: u8) {
        self.members.iter_mut().filter(|member| member.id() != id && member.pid().is_some()).for_each(|member| {
            member.stop();
        });
    }

    /// Lets a server stand still (SIGSTOP).
    pub fn pause(&mut self, id: u8) {
        self.of_mut(id).pause();
    }

    /// Lets a server go on.
    pub fn go_on(&mut self, id: u8) {
        self.of_mut(id).go_on();
    }

    /// Nothing that the one server sends reaches the other any more; its clients reach both. Of an ensemble that is [`Plan::apart`].
    ///
    /// # Panics
    /// If it is not.
    pub fn cut_one_way(&mut self, from: u8, to: u8) {
        self.namespaces.as_mut().expect("servers in namespaces of their own").cut(from, to);
    }

    /// Nothing passes between these two servers any more.
    ///
    /// # Panics
    /// As [`Cluster::cut_one_way`].
    pub fn cut(&mut self, one: u8, other: u8) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// What the others send to this server comes at this rate (as `tc` writes it) from now on, until [`Cluster::heal`].
    ///
    /// # Panics
    /// As [`Cluster::cut_one_way`].
    pub fn slow_to(&mut self, id: u8, rate: &str) {
        self.namespaces.as_mut().expect("servers in namespaces of their own").slow(id, rate);
    }

    /// From now on this server's name leads nowhere. Of an ensemble whose servers have [`Hosts::Names`].
    ///
    /// # Panics
    /// If they have none.
    pub fn forget_name(&mut self, id: u8) {
        self.names.as_mut().expect("servers with names").point(id, None);
    }

    /// From now on this server's name leads to where it is.
    ///
    /// # Panics
    /// As [`Cluster::forget_name`].
    pub fn tell_name(&mut self, id: u8) {
        let ip = self.address(id).ip();
        self.names.as_mut().expect("servers with names").point(id, Some(ip));
    }

    /// A server that does not run has another address from its next start on, which no other server has had, and its name leads there.
    ///
    /// # Panics
    /// As [`Cluster::forget_name`], and if it runs.
    pub fn move_away(&mut self, id: u8) {
        assert!(self.of(id).pid().is_none(), "server {id} runs");
        let number = u8::try_from(self.members.len()).expect("few") + id;
        let address = self.lease.client(number);
        self.of_mut(id).move_to(address);
        self.tell_name(id);
    }

    /// A server with a vote is an observer from its next start on, as it sees itself; the others go on as they are.
    pub fn make_observer(&mut self, id: u8) {
        let key = format!("server.{id}");
        let place = self.of(id).line(&key).expect("each server has the lines of all");
        let value = format!("{place}:observer");
        self.of_mut(id).set(&key, &value);
        self.of_mut(id).set("peerType", "observer");
    }

    /// A line of `zoo.cfg`, for each server from its next start on.
    pub fn set_all(&mut self, key: &str, value: &str) {
        self.members.iter_mut().for_each(|member| member.set(key, value));
    }

    /// A line of `zoo.cfg` that only this server has, from its next start on.
    pub fn set_own(&mut self, id: u8, key: &str, value: &str) {
        self.of_mut(id).set(key, value);
    }

    /// From its next start on the epochs that this server leads begin behind this counter, so that they come to their end; 0: as they should.
    pub fn begin_epochs_behind(&mut self, id: u8, counter: u32) {
        self.of_mut(id).begin_epochs_behind(counter);
    }

    /// Words that start this server's program from its next start on; they must become it.
    pub fn wrap(&mut self, id: u8, words: &[&str]) {
        self.of_mut(id).wrap(words);
    }

    /// Everything reaches everybody.
    pub fn heal(&mut self) {
        self.namespaces.iter_mut().for_each(Namespaces::heal);
    }

    fn of(&self, id: u8) -> &Member {
        self.members.iter().find(|member| member.id() == id).expect("a server of this ensemble")
    }

    fn of_mut(&mut self, id: u8) -> &mut Member {
        self.members.iter_mut().find(|member| member.id() == id).expect("a server of this ensemble")
    }

    fn member(&self, plan: &Plan, id: u8) -> Member {
        let top = self.dir.as_ref().map(TempDir::path).expect("not taken out yet");
        let mut wrapper: Vec<String> = Vec::new();
        if plan.tied {
            wrapper.extend(["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
        }
        wrapper.extend(self.namespaces.iter().flat_map(|namespaces| namespaces.wrapper(id)));
        wrapper.extend(self.names.iter().flat_map(Names::wrapper));
        wrapper.extend(self.wire.iter().flat_map(|wire| wire.wrapper(id)));
        let mut lines: Vec<(String, String)> = plan.settings.clone();
        for other in 1..=plan.voters + plan.observers {
            let (at, client) = self.place(plan.hosts, other);
            let role = if other > plan.voters { "observer" } else { "participant" };
            let value = match plan.form {
                Form::WithClientPort => format!("{at}:{role};{client}"),
                Form::Classic if other > plan.voters => format!("{at}:observer"),
                Form::Classic => at,
            };
            lines.push((format!("server.{other}"), value));
        }
        if id > plan.voters {
            lines.push(("peerType".to_owned(), "observer".to_owned()));
        }
        let (_, address) = self.place(plan.hosts, id);
        let implementation = plan.others.get(&id).copied().unwrap_or(plan.implementation.of_server(id));
        let how = How { lines, wrapper, java_heap_mib: plan.java_heap_mib, initial_counter: 0 };
        Member::new(implementation, id, address, top.join(id.to_string()), how)
    }

    /// Where a server is for the others, as `zoo.cfg` says it, and where for clients.
    fn place(&self, hosts: Hosts, id: u8) -> (String, SocketAddr) {
        let v4 = |ip| (format!("{ip}:{QUORUM_PORT}:{ELECTION_PORT}"), SocketAddr::new(ip, CLIENT_PORT));
        match (&self.namespaces, hosts) {
            _ if self.wire.is_some() => {
                (format!("{}:{QUORUM_PORT}:{ELECTION_PORT}", Names::of(id)), self.lease.client(id))
            }
            (Some(namespaces), _) => v4(namespaces.host(id).into()),
            (None, Hosts::Addresses) => v4(self.lease.host(id)),
            (None, Hosts::Names) => (format!("{}:{QUORUM_PORT}:{ELECTION_PORT}", Names::of(id)), self.lease.client(id)),
            (None, Hosts::V6) => {
                let [client, quorum, election] = self.lease.ports_on_v6(id);
                (format!("[::1]:{quorum}:{election}"), SocketAddr::new(Ipv6Addr::LOCALHOST.into(), client))
            }
        }
    }

    /// Shows the end of every log, and keeps the directory.
    fn keep(&mut self) {
        for member in &self.members {
            let log = member.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
            eprintln!(
                "--- the end of server {}'s log ({}):\n{}",
                member.id(),
                member.implementation().name(),
                tail.join("\n")
            );
        }
        if let Some(dir) = self.dir.take() {
            let kept: &Path = &dir.keep();
            eprintln!("--- all of it is in {}", kept.display());
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.members.iter_mut().for_each(Member::kill9);
        if std::thread::panicking() {
            self.keep();
        }
    }
}
