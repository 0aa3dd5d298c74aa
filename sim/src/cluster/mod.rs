//! A cluster under faults: one server alone, or an ensemble; some clients, a network between them all, and what a machine room does to it.
//!
//! Owns the driver: it takes the next thing that happens, lets it happen, and crashes what the seed says. A server is [`process::Process`]: the production
//! types and the production turn loop (`engine::turn::Core`), over a simulated clock, disk and network. What was seen goes into a [`History`], over which all checkers run
//! at the end; leaders and digests are looked at as they come. Then nothing may be wrong, and once faults stop the cluster must converge: every server up and
//! serving the same state, every client with its answers.
//!
//! What the world is like, and which hazards it has, is each seed's own: [`scenario`].
//!
//! What it lacks: TLS, DNS, the sockets and threads of `server`.

mod bugs;
mod effects;
mod faults;
mod finish;
mod images;
mod io;
mod laws;
mod log;
mod machine;
mod panics;
mod planted;
mod process;
mod recovery;
mod rot;
mod scenario;
mod shard;
mod votes;

pub use bugs::Bug;

use crate::check::Violation;
use crate::clients::{CLIENT_PORT, Client, Ctx};
use crate::history::{ClientId, Event, History, ServerId};
use crate::world::chance::Chance;
use crate::world::network::{ConnId, Fuses, Host, NetEvent, Network, NetworkOptions, Port};
use crate::world::schedule::Schedule;
use crate::world::time::{Micros, Time};
use crate::world::trace::Trace;
use engine::replica::LocalSessions;
use faults::Faults;
use machine::Machine;
use process::{Membership, Turn};
use scenario::{Making, Scenario, Shape, local_sessions};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use zab::election::Vote;
use zab::ensemble::Ensemble;

/// The port on which servers listen for learners.
const QUORUM_PORT: Port = Port(2888);
/// The port on which they listen for votes.
const ELECTION_PORT: Port = Port(3888);
/// How long clients and servers may take after the last fault until all is well: the longest half-open connection, an election or two, a session's timeout, and a
/// few dials.
const CONVERGE_MAX: Micros = Micros::s(90);

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Servers: 1 is a standalone one; more are an ensemble; 0: the seed says how many.
    pub servers: u32,
    /// So many of them observe.
    pub observers: u32,
    /// Clients.
    pub clients: u32,
    /// For how long there are faults.
    pub faults_for: Micros,
    /// Keep the trace's lines.
    pub with_trace: bool,
    /// A bug that is planted, to see that the checkers find it.
    pub bug: Option<Bug>,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions { servers: 3, observers: 0, clients: 4, faults_for: Micros::s(20), with_trace: false, bug: None }
    }
}

impl RunOptions {
    /// The command that runs this seed again.
    #[must_use]
    pub fn replay(&self, seed: u64) -> String {
        let servers = if self.servers == 0 { String::new() } else { format!(" --servers {}", self.servers) };
        let bug = self.bug.and_then(|bug| clap::ValueEnum::to_possible_value(&bug));
        let bug = bug.map(|bug| format!(" --bug {}", bug.get_name())).unwrap_or_default();
        let seconds = self.faults_for.0 / 1_000_000;
        format!(
            "cargo run --profile ci -p ringkeeper-sim -- run{servers} --observers {} --seed {seed} --clients {} --seconds {seconds}{bug}",
            self.observers, self.clients
        )
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// What clients and servers were seen to do.
    pub history: History,
    /// What is wrong with it.
    pub violations: Vec<Violation>,
    /// The same for the same seed.
    pub trace_hash: u64,
    /// The trace, if it was asked for.
    pub trace: Vec<String>,
    /// Virtual time.
    pub time: Time,
    /// Things that happened.
    pub steps: u64,
    /// Replies that clients had.
    pub replies: u64,
    /// Starts of servers.
    pub starts: u64,
    /// Epochs that had a leader.
    pub leaders: u64,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, options: RunOptions) -> Report {
    panics::keep(seed, options.replay(seed));
    let mut world = Cluster::new(seed, options);
    world.run();
    world.report()
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    /// A thread of a server's process takes its turn.
    Turn(usize, Turn),
    /// A client looks what there is to do.
    Client(usize),
    /// The next fault.
    Fault,
    /// A server crashes, if it is in this life still.
    Crash { number: usize, life: u64, how: faults::Crash },
    /// A fault ends.
    Heal(faults::Ends),
    /// A server is started.
    Start(usize),
}

#[derive(Debug)]
struct Cluster {
    options: RunOptions,
    now: Time,
    chance: Chance,
    schedule: Schedule<Happens>,
    network: Network,
    machines: Vec<Machine>,
    clients: Vec<Client>,
    scenario: Scenario,
    faults: Faults,
    /// All that were ever sent.
    votes: Vec<Vote>,
    /// Do clients ask for more?
    asks: bool,
    history: History,
    trace: Trace,
    /// What is wrong and no checker of the history sees.
    wrong: Vec<String>,
    /// A server's code has panicked: the run is over.
    panicked: bool,
    /// Who leads, or led, which epoch.
    leaders: BTreeMap<u64, usize>,
    /// Of the states that servers were seen to have.
    digests: BTreeMap<proto::Zxid, u64>,
    /// Of each epoch the newest counter that was durable on a quorum.
    on_quorum: BTreeMap<proto::Epoch, u32>,
    /// Who has acknowledged an epoch's NEWLEADER.
    in_step: BTreeMap<proto::Epoch, BTreeSet<proto::ServerId>>,
    /// The epoch that was offered to a learner on its link.
    offered: BTreeMap<ConnId, proto::Epoch>,
}

impl Cluster {
    fn new(seed: u64, options: RunOptions) -> Cluster {
        let stream = |name: &str| Chance::stream(seed, name);
        let mut chance = stream("cluster");
        let shape = Shape::of(&mut stream("shape"), options.servers, options.observers);
        let ensemble = (shape.servers > 1).then(|| ensemble_of(&shape));
        let sessions = local_sessions(&mut stream("sessions"));
        let mut draws = stream("scenario");
        let scenario = Scenario::of(&mut draws);
        let machines: Vec<Machine> = (1..=shape.servers)
            .map(|number| {
                let member = ensemble.clone().map(|ensemble| Membership {
                    me: proto::ServerId(number.into()),
                    ensemble,
                    sessions,
                });
                Machine::new(number, member, Making::of(&mut draws), seed, &mut chance)
            })
            .collect();
        let servers: Vec<(ServerId, Host)> = machines.iter().map(|machine| (machine.id, machine.host)).collect();
        let mut world = Cluster {
            options,
            now: Time(0),
            schedule: Schedule::default(),
            network: Network::new(NetworkOptions::default(), stream("network")),
            machines,
            clients: (1..=options.clients)
                .map(|number| Client::new(ClientId(number), Host(100 + number), &servers))
                .collect(),
            scenario,
            faults: Faults::new(stream("faults")),
            votes: Vec::new(),
            asks: true,
            history: History::new(),
            trace: Trace::new(options.with_trace),
            wrong: Vec::new(),
            panicked: false,
            leaders: BTreeMap::new(),
            digests: BTreeMap::new(),
            on_quorum: BTreeMap::new(),
            in_step: BTreeMap::new(),
            offered: BTreeMap::new(),
            chance,
        };
        world.network.set_pace_of_all(world.scenario.network);
        world.network.set_piece_bytes_max(world.scenario.piece_bytes_max);
        if let Some(fuses) = world.scenario.fuses {
            world.network.set_fuses(QUORUM_PORT, fuses);
            let of_votes = Fuses { bytes_min: 8, bytes_max: 400, ..fuses };
            world.network.set_fuses(ELECTION_PORT, of_votes);
        }
        for client in &mut world.clients {
            client.set_moves_percent(world.scenario.clients_move_percent);
            client.set_pause_max(world.scenario.clients_pause_max);
            client.set_data_bytes_max(world.scenario.data_bytes_max);
        }
        if sessions != LocalSessions::No && world.machines.len() > 1 {
            world.tell(Event::LocalSessions { upgraded: sessions == LocalSessions::Upgraded });
        }
        for number in 0..world.machines.len() {
            let at = Time(0) + world.chance.latency(Micros(1), Micros::s(2));
            world.schedule.put(at, Happens::Start(number));
        }
        for number in 0..world.clients.len() {
            let at = Time(0) + world.chance.micros(Micros::ms(1), Micros::ms(50));
            world.schedule.put(at, Happens::Client(number));
        }
        world.schedule.put(Time(0) + Micros::ms(500), Happens::Fault);
        world
    }

    // ---- the run --------------------------------------------------------------------------------------------------------

    fn run(&mut self) {
        let faults_end = Time(0) + self.options.faults_for;
        self.run_until(faults_end, |_| false);
        self.note("faults end");
        self.schedule.retain(|happens| !matches!(happens, Happens::Fault));
        self.heal_everything();
        // A while with all well, and at least until somebody has had an answer; then no more questions.
        self.run_until(faults_end + Micros::s(3), |_| false);
        self.run_until(self.now + CONVERGE_MAX, |world| world.replies() > 0);
        self.asks = false;
        self.run_until(self.now + CONVERGE_MAX, Cluster::is_settled);
        if self.wrong.is_empty() {
            let content = self.clients.iter().all(Client::is_content) && self.replies() > 0;
            let unsettled = self.unsettled().or_else(|| (!content).then(|| "a client has no answer".to_owned()));
            if let Some(unsettled) = unsettled {
                self.wrong(format!("{} s after the last fault {unsettled}", CONVERGE_MAX.0 / 1_000_000));
            }
            self.tell_final();
        }
    }

    fn run_until(&mut self, until: Time, is_over: impl Fn(&Cluster) -> bool) {
        let mut steps = 0_u64;
        while self.wrong.is_empty() {
            steps += 1;
            if steps.is_multiple_of(16) && is_over(self) {
                return;
            }
            let network = self.network.next_at().unwrap_or(Time(u64::MAX));
            let schedule = self.schedule.next_at().unwrap_or(Time(u64::MAX));
            let next = network.min(schedule);
            if next > until {
                self.now = until;
                return;
            }
            self.now = next;
            if schedule <= network {
                if let Some((_, happens)) = self.schedule.pop() {
                    self.happens(happens);
                }
            } else if let Some(event) = self.network.step() {
                self.hears(event);
            }
        }
    }

    fn replies(&self) -> u64 {
        self.clients.iter().map(Client::replies).sum()
    }

    fn note(&mut self, what: &str) {
        self.trace.note(self.now, format_args!("{what}"));
    }

    fn wrong(&mut self, what: String) {
        self.note(&what);
        self.wrong.push(format!("at {}: {what}", self.now));
    }

    fn tell(&mut self, event: Event) {
        self.history.push(self.now.0, event);
    }

    fn happens(&mut self, happens: Happens) {
        match happens {
            Happens::Turn(number, turn) => self.turn(number, turn),
            Happens::Client(number) => {
                let asks = self.asks;
                let wait = self.with_client(number, |client, ctx| client.look(ctx, asks));
                self.schedule.put(self.now + wait.unwrap_or(Micros::s(1)), happens);
            }
            Happens::Fault => self.next_fault(),
            Happens::Crash { number, life, how } => {
                if self.at(number).life == life {
                    self.crash_as(number, how);
                }
            }
            Happens::Heal(ends) => self.heal(ends),
            Happens::Start(number) => self.start(number),
        }
    }

    fn with_client<T>(&mut self, number: usize, act: impl FnOnce(&mut Client, &mut Ctx<'_>) -> T) -> Option<T> {
        let client = self.clients.get_mut(number)?;
        let mut ctx = Ctx {
            now: self.now,
            chance: &mut self.chance,
            lines: &mut self.network,
            history: &mut self.history,
            wrong: &mut self.wrong,
        };
        Some(act(client, &mut ctx))
    }

    /// A machine hears of the network.
    fn hears(&mut self, event: NetEvent) {
        self.trace.note(self.now, format_args!("{}", Told(&event)));
        if let Some(number) = self.machines.iter().position(|machine| machine.host == event.at()) {
            return self.server_hears(number, event);
        }
        let Some(number) = self.clients.iter().position(|client| client.host() == event.at()) else { return };
        self.with_client(number, |client, ctx| match event {
            NetEvent::Connected { conn, .. } => client.connected(ctx, conn),
            NetEvent::NotConnected { conn, .. } => client.not_connected(conn),
            NetEvent::Arrived { conn, bytes, .. } => client.arrived(ctx, conn, &bytes),
            NetEvent::Closed { conn, .. } => client.closed(ctx, conn),
            NetEvent::Accepted { .. } => {}
        });
    }

    fn server_hears(&mut self, number: usize, event: NetEvent) {
        let port = &self.at(number).port;
        if matches!(event, NetEvent::Accepted { port: ELECTION_PORT, .. }) || port.has(event.conn()) {
            return self.election_hears(number, event);
        }
        let Cluster { machines, network, now, .. } = self;
        let Some(machine) = machines.get_mut(number) else { return };
        let at = machine.now(*now);
        let Some(process) = &mut machine.process else { return };
        let turn = match event {
            NetEvent::Accepted { conn, port: CLIENT_PORT, .. } => Some(Turn::Shard(process.accepted(conn, at))),
            NetEvent::Accepted { conn, .. } => {
                process.io().link_accepted(conn);
                Some(Turn::Core)
            }
            NetEvent::Connected { conn, .. } => {
                if !process.io().link_dialled(conn) {
                    network.close(*now, conn, crate::world::network::Side::Dialler);
                }
                Some(Turn::Core)
            }
            NetEvent::NotConnected { conn, .. } => {
                process.io().link_not_dialled(conn);
                Some(Turn::Core)
            }
            NetEvent::Arrived { conn, bytes, .. } if process.io().is_link(conn) => {
                process.io().link_bytes(conn, bytes);
                Some(Turn::Core)
            }
            NetEvent::Arrived { conn, bytes, .. } => process.arrived(conn, &bytes).map(Turn::Shard),
            NetEvent::Closed { conn, .. } if process.io().is_link(conn) => {
                process.io().link_closed(conn);
                Some(Turn::Core)
            }
            NetEvent::Closed { conn, .. } => process.closed(conn).map(Turn::Shard),
        };
        if let Some(turn) = turn {
            self.wake(number, turn);
        }
    }
}

/// The members, and where a real ensemble would have them.
fn ensemble_of(shape: &Shape) -> Ensemble {
    let mut text = String::new();
    let first_observer = shape.servers - shape.observers + 1;
    for number in 1..=shape.servers {
        let role = if number >= first_observer { "observer" } else { "participant" };
        // A string takes everything.
        let _ = writeln!(text, "server.{number}=127.0.0.{number}:2888:3888:{role};2181");
    }
    for (number, group) in (1..).zip(&shape.groups) {
        let servers: Vec<String> = group.iter().map(|(server, _)| server.to_string()).collect();
        let _ = writeln!(text, "group.{number}={}", servers.join(":"));
        for (server, weight) in group {
            let _ = writeln!(text, "weight.{server}={weight}");
        }
    }
    text.push_str("version=0");
    Ensemble::parse(&text).expect("that is an ensemble")
}

/// A line of the trace: of bytes that come their count and a hash.
struct Told<'e>(&'e NetEvent);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            NetEvent::Arrived { conn, side, at, bytes } => {
                let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
                });
                write!(f, "{at:?} {side:?} {conn:?}: {} bytes, {hash:#x}", bytes.len())
            }
            event => write!(f, "{event:?}"),
        }
    }
}
