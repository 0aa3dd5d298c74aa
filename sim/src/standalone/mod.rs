//! A standalone server under faults: one machine, some clients, a network between them, and what a machine room does to all of it.
//!
//! Owns the driver: it takes the next thing that happens, lets it happen, and crashes what the seed says. The server is [`server::Process`], the
//! production types in turns. What was seen goes into a [`History`], over which all checkers run at the end; then nothing may be wrong, and
//! once faults stop every client must have its answers. It proves the world, and it is a first simulation of recovery.
//!
//! What it lacks: images and the control file (see [`crate::world::disk`]), and the turn loop of `server` itself, of which [`server`] is a copy in form.

mod effects;
mod faults;
mod server;

use crate::check::{self, Violation};
use crate::clients::{self, CLIENT_PORT, Client, Ctx};
use crate::history::{ClientId, Event, FinalNode, History, ServerId, SessionId, Zxid};
use crate::world::chance::Chance;
use crate::world::disk::{DiskPace, MachineDisk};
use crate::world::network::{Host, NetEvent, Network, NetworkOptions, Side};
use crate::world::schedule::Schedule;
use crate::world::time::{Clock, Micros, Time};
use crate::world::trace::Trace;
use effects::Effect;
use engine::replica::Now;
use engine::tree::Tree;
use faults::Faults;
use server::{Process, Recovered, Turn};
use std::collections::BTreeSet;

/// The server's machine.
const SERVER: Host = Host(0);
/// In the history.
const SERVER_ID: ServerId = ServerId(0);
/// How long clients may take after the last fault until they have their answers: the longest half-open connection, a session's timeout, and a few dials.
const CONVERGE_MAX: Micros = Micros::s(60);

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
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
        RunOptions { clients: 4, faults_for: Micros::s(20), with_trace: false, bug: None }
    }
}

/// A planted bug of the turn loop, to see that the checkers find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Bug {
    /// A group counts as durable when it is started.
    AckBeforeDurable,
    /// The last two frames of a send change places now and then.
    RepliesOvertake,
    /// Watch events get lost now and then.
    EventsLost,
    /// A reply's header says one more than it should now and then.
    HeaderAhead,
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// What clients and server were seen to do.
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
    /// Starts of the server.
    pub starts: u64,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, options: RunOptions) -> Report {
    let mut world = Standalone::new(seed, options);
    world.run();
    world.report()
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    /// A thread of the server's process, of that life, takes its turn.
    Turn(Turn, u64),
    /// A client looks what there is to do.
    Client(usize),
    /// The next fault.
    Fault,
    /// A fault ends.
    Heal(faults::Ends),
    /// The server is started.
    Start,
}

#[derive(Debug)]
struct Standalone {
    options: RunOptions,
    now: Time,
    chance: Chance,
    schedule: Schedule<Happens>,
    network: Network,
    disk: MachineDisk,
    clock: Clock,
    process: Option<Process>,
    /// How often the server was started.
    life: u64,
    /// Turns that are scheduled for this life.
    woken: BTreeSet<Turn>,
    /// Turns that wait for the process to go on.
    asleep: Vec<Turn>,
    clients: Vec<Client>,
    faults: Faults,
    /// Do clients ask for more?
    asks: bool,
    history: History,
    trace: Trace,
    /// What is wrong and no checker of the history sees.
    wrong: Vec<String>,
    /// The newest txn that the history tells of.
    told: Zxid,
}

impl Standalone {
    fn new(seed: u64, options: RunOptions) -> Standalone {
        let stream = |name: &str| Chance::stream(seed, name);
        let mut chance = stream("standalone");
        let begin_us = chance.between(1_000_000, 1_000_000_000_000);
        let skew_ppm = chance.between_signed(-500, 500);
        let mut world = Standalone {
            options,
            now: Time(0),
            schedule: Schedule::default(),
            network: Network::new(NetworkOptions::default(), stream("network")),
            disk: MachineDisk::new(DiskPace::default(), stream("disk")),
            clock: Clock::new(begin_us, skew_ppm),
            process: None,
            life: 0,
            woken: BTreeSet::new(),
            asleep: Vec::new(),
            clients: (1..=options.clients)
                .map(|number| Client::new(ClientId(number), Host(100 + number), &[(SERVER_ID, SERVER)]))
                .collect(),
            faults: Faults::new(stream("faults")),
            asks: true,
            history: History::new(),
            trace: Trace::new(options.with_trace),
            wrong: Vec::new(),
            told: Zxid(0),
            chance,
        };
        world.schedule.put(Time(0), Happens::Start);
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
        // A while with all well, then no more questions.
        self.run_until(faults_end + Micros::s(3), |_| false);
        self.asks = false;
        let before: u64 = self.clients.iter().map(Client::replies).sum();
        self.run_until(self.now + CONVERGE_MAX, |world| world.is_settled() && world.wrong.is_empty());
        let all_content = self.clients.iter().all(Client::is_content);
        if !all_content || before == 0 {
            self.wrong
                .push(format!("{} after the last fault some client still has no answer", CONVERGE_MAX.0 / 1_000_000));
        }
        self.tell_final();
    }

    fn is_settled(&self) -> bool {
        self.clients.iter().all(Client::is_content) && self.process.as_ref().is_some_and(Process::is_idle)
    }

    fn run_until(&mut self, until: Time, is_over: impl Fn(&Standalone) -> bool) {
        while !is_over(self) {
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

    fn note(&mut self, what: &str) {
        self.trace.note(self.now, format_args!("{what}"));
    }

    fn tell(&mut self, event: Event) {
        self.history.push(self.now.0, event);
    }

    fn happens(&mut self, happens: Happens) {
        match happens {
            Happens::Turn(turn, life) if life == self.life => {
                self.woken.remove(&turn);
                if self.network.is_paused(SERVER) {
                    self.asleep.push(turn);
                } else {
                    self.turn(turn);
                }
            }
            Happens::Turn(..) => {}
            Happens::Client(number) => {
                let asks = self.asks;
                let wait = self.with_client(number, |client, ctx| client.look(ctx, asks));
                self.schedule.put(self.now + wait.unwrap_or(Micros::s(1)), happens);
            }
            Happens::Fault => self.next_fault(),
            Happens::Heal(ends) => self.heal(ends),
            Happens::Start => self.start(),
        }
    }

    fn with_client<T>(&mut self, number: usize, act: impl FnOnce(&mut Client, &mut Ctx<'_>) -> T) -> Option<T> {
        let client = self.clients.get_mut(number)?;
        let mut ctx = Ctx {
            now: self.now,
            chance: &mut self.chance,
            network: &mut self.network,
            history: &mut self.history,
            wrong: &mut self.wrong,
        };
        Some(act(client, &mut ctx))
    }

    /// A machine hears of the network.
    fn hears(&mut self, event: NetEvent) {
        self.trace.note(self.now, format_args!("{event:?}"));
        if event.at() == SERVER {
            return self.server_hears(event);
        }
        let Some(number) = self.clients.iter().position(|client| client.host() == event.at()) else { return };
        self.with_client(number, |client, ctx| match event {
            NetEvent::Connected { conn, .. } => client.connected(ctx, conn),
            NetEvent::NotConnected { conn, .. } => client.not_connected(conn),
            NetEvent::Arrived { conn, bytes, .. } => client.arrived(ctx, conn, &bytes),
            NetEvent::Closed { conn, .. } => client.closed(ctx, conn),
            NetEvent::Accepted { .. } | NetEvent::Posted { .. } => {}
        });
    }

    fn server_hears(&mut self, event: NetEvent) {
        let now = self.server_now();
        let Some(process) = &mut self.process else { return };
        let shard = match event {
            NetEvent::Accepted { conn, .. } => Some(process.accepted(conn, now)),
            NetEvent::Arrived { conn, bytes, .. } => process.arrived(conn, &bytes),
            NetEvent::Closed { conn, .. } => process.closed(conn),
            NetEvent::Connected { .. } | NetEvent::NotConnected { .. } | NetEvent::Posted { .. } => None,
        };
        if let Some(shard) = shard {
            self.wake(Turn::Shard(shard));
        }
    }

    fn server_now(&self) -> Now {
        let mono_ms = i64::try_from(self.clock.mono_us(self.now) / 1_000).unwrap_or(i64::MAX);
        Now { mono_ms, wall_ms: self.clock.wall_ms(self.now) }
    }

    // ---- the server's process -------------------------------------------------------------------------------------------

    fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        self.life += 1;
        self.woken.clear();
        self.asleep.clear();
        let (now, salt) = (self.server_now(), self.chance.bits());
        match Process::recover(self.disk.log(), salt, now) {
            Ok(recovered) => self.started(recovered),
            // A fault of the disk met the start itself.
            Err(error) => {
                self.trace.note(self.now, format_args!("the start failed: {error}"));
                let is_power = self.disk.is_frozen();
                self.process_ends(is_power);
                if !self.faults.explains_failed_start(is_power) {
                    self.wrong.push(format!("at {}: the server does not start: {error}", self.now));
                }
            }
        }
    }

    fn started(&mut self, recovered: Recovered) {
        let Recovered { process, replayed } = recovered;
        for applied in replayed.iter().filter(|applied| applied.txn.zxid.0 > self.told.0) {
            self.history.push(self.now.0, applied.event(SERVER_ID));
        }
        let (zxid, digest) = replayed.last().map_or((0, None), |last| (last.txn.zxid.0, Some(last.digest)));
        self.told = self.told.max(Zxid(zxid));
        self.trace.note(self.now, format_args!("started at {zxid:#x}, life {}", self.life));
        self.tell(Event::Started { server: SERVER_ID, zxid: Zxid(zxid), digest });
        self.process = Some(process);
        self.network.power_on(SERVER);
        self.network.listen(SERVER, CLIENT_PORT);
        self.wake(Turn::Core);
        self.wake(Turn::Log);
        (0..server::SHARDS).for_each(|number| self.wake(Turn::Shard(number)));
        self.try_rot(Zxid(zxid), digest);
    }

    fn wake(&mut self, turn: Turn) {
        let wait = self.chance.latency(Micros(5), Micros::ms(3));
        self.wake_in(turn, wait);
    }

    fn wake_in(&mut self, turn: Turn, wait: Micros) {
        if self.woken.insert(turn) {
            self.schedule.put(self.now + wait, Happens::Turn(turn, self.life));
        }
    }

    fn turn(&mut self, turn: Turn) {
        let now = self.server_now();
        let Some(process) = &mut self.process else { return };
        self.trace.note(self.now, format_args!("{turn:?}"));
        let done = process.turn(turn, now, &mut self.chance);
        // Threads look again at the clock now and then.
        match turn {
            Turn::Core | Turn::Shard(_) => {
                let wait = self.chance.micros(Micros::ms(20), Micros::ms(120));
                self.schedule.put(self.now + wait, Happens::Turn(turn, self.life));
            }
            Turn::Log | Turn::LogDone => {}
        }
        match done {
            Ok(effects) => self.effects(effects),
            Err(error) => {
                self.trace.note(self.now, format_args!("the log failed: {error}"));
                let is_power = self.disk.is_frozen();
                self.process_ends(is_power);
            }
        }
    }

    /// Lets the effects happen, one by one; between any two the machine may crash.
    fn effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if self.faults.crashes_before_an_effect() {
                self.note("the process dies between two effects");
                return self.process_ends(false);
            }
            match effect {
                Effect::Send(conn, bytes) => {
                    let bytes = self.bug_in_output(bytes);
                    self.network.send(self.now, conn, Side::Acceptor, &bytes);
                }
                Effect::Close(conn) => self.network.close(self.now, conn, Side::Acceptor),
                Effect::Wake(turn) => self.wake(turn),
                Effect::WakeLater(turn) => {
                    let wait = self.chance.micros(Micros::ms(5), Micros::ms(50));
                    self.wake_in(turn, wait);
                }
                Effect::WriteStarted => {
                    let takes = self.disk.write_takes();
                    self.wake_in(Turn::LogDone, takes);
                    if self.options.bug == Some(Bug::AckBeforeDurable)
                        && let Some(process) = &mut self.process
                    {
                        process.believe_durable();
                        self.wake(Turn::Core);
                    }
                }
                Effect::Applied(applied) => {
                    self.told = self.told.max(Zxid(applied.txn.zxid.0));
                    self.tell(applied.event(SERVER_ID));
                }
            }
        }
    }

    /// What a planted bug makes of what leaves.
    fn bug_in_output(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let Some(bug) = self.options.bug.filter(|_| self.chance.percent(10)) else { return bytes };
        let mut frames = clients::frames(&bytes);
        match bug {
            Bug::AckBeforeDurable => {}
            Bug::RepliesOvertake => {
                if let [.., one, other] = frames.as_mut_slice() {
                    std::mem::swap(one, other);
                }
            }
            Bug::EventsLost => frames.retain(|frame| clients::xid_of(frame) != Some(proto::Xid::NOTIFICATION)),
            Bug::HeaderAhead => frames.iter_mut().for_each(|frame| clients::raise_header(frame)),
        }
        frames.concat()
    }

    /// The process is over, with its machine or alone; it comes back by itself.
    fn process_ends(&mut self, is_power: bool) {
        self.process = None;
        if is_power {
            self.network.power_off(self.now, SERVER);
            self.disk.power_was_off();
            let begin_us = self.chance.between(1_000_000, 10_000_000_000);
            self.clock.reboot(self.now, begin_us);
        } else {
            self.network.kill(self.now, SERVER);
            self.disk.process_died();
        }
        let text = if is_power { "the power fails" } else { "the process ends" };
        self.note(text);
        self.tell(Event::Note { text: text.to_owned() });
        let wait = self.chance.latency(Micros::ms(1), Micros::s(8));
        self.schedule.put(self.now + wait, Happens::Start);
    }

    // ---- the end --------------------------------------------------------------------------------------------------------

    fn tell_final(&mut self) {
        let Some(process) = &self.process else {
            return self.wrong.push("the server is down at the end".to_owned());
        };
        let (zxid, nodes, sessions) = final_state(process.tree());
        self.history.push(self.now.0, Event::Final { server: SERVER_ID, zxid, nodes, sessions: Some(sessions) });
    }

    fn report(self) -> Report {
        let mut violations: Vec<Violation> =
            self.wrong.into_iter().map(|wrong| Violation::new("standalone", wrong, &[])).collect();
        violations.extend(check::check(&self.history));
        Report {
            violations,
            trace_hash: self.trace.hash(),
            steps: self.trace.count(),
            trace: self.trace.lines().to_vec(),
            time: self.now,
            replies: self.clients.iter().map(Client::replies).sum(),
            starts: self.life,
            history: self.history,
        }
    }
}

/// A tree in a history's words, without `/zookeeper`.
fn final_state(tree: &Tree) -> (Zxid, Vec<FinalNode>, Vec<SessionId>) {
    let is_ours = |path: &str| path != "/" && path != "/zookeeper" && !path.starts_with("/zookeeper/");
    let mut nodes: Vec<FinalNode> = tree
        .subtree("/")
        .filter(|node| is_ours(node.path()))
        .map(|node| FinalNode {
            path: node.path().to_owned(),
            data: String::from_utf8_lossy(&node.data().unwrap_or_default()).into_owned(),
            stat: clients::stat_of(&node.stat()),
        })
        .collect();
    nodes.sort_by(|one, other| one.path.cmp(&other.path));
    let mut sessions: Vec<SessionId> = tree.sessions().map(|(session, _)| SessionId(session.0)).collect();
    sessions.sort_unstable();
    (Zxid(tree.last_zxid().0), nodes, sessions)
}
