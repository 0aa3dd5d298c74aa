//! What goes wrong, when, and for how long.
//!
//! Owns the choice of faults alone, from a random stream of its own and by the weights of the [`super::scenario`]: the machinery is the world's and the driver's. Faults come
//! at any time, and where they do harm: in a write to the disk, after epochs were written, after a log was turned. Every fault ends by itself or
//! with [`Cluster::heal_everything`].

use super::machine::Machine;
use super::process::Process;
use super::{Cluster, Happens};
use crate::history::Event;
use crate::world::chance::Chance;
use crate::world::disk::{DiskPace, MachineDisk, Part, Rot};
use crate::world::network::{Host, Pace};
use crate::world::time::Micros;

/// When there are faults.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) chance: Chance,
    is_over: bool,
}

/// What of a machine's troubles explains what it says.
#[derive(Debug, Default)]
pub(super) struct MachineFaults {
    /// A fault of the disk may still be to come.
    is_disk_bad: bool,
    /// A bit of what a start reads is bad.
    pub(super) rot: Option<Rot>,
    /// One was, of what the start did not look at: a later one may.
    pub(super) has_latent_rot: bool,
}

impl MachineFaults {
    /// May a start have failed for a fault that was made?
    pub(super) const fn explains_failed_start(&self, is_power: bool) -> bool {
        is_power || self.is_disk_bad
    }

    /// May a process have ended for one?
    pub(super) const fn explains_failed_write(&self, is_power: bool) -> bool {
        is_power || self.is_disk_bad
    }
}

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A process dies.
    ProcessDies,
    /// A machine loses its power.
    PowerFails,
    /// All of them do.
    Blackout,
    /// A machine loses it in the midst of what its disk does.
    PowerFailsAtStep,
    /// A call to a disk fails.
    DiskCallFails,
    /// A server is stopped, with everything written.
    CleanStop,
    /// All that a server has is lost.
    Wipe,
    /// A bit of an image, of the control file or of an identity is bad.
    Rot,
    /// A process stands still.
    Pause,
    /// Some servers hear nobody else.
    CutOff,
    /// Nothing comes through from one machine to another.
    BlockedWay,
    /// A machine's connections break.
    LostConnections,
    /// A link is slow and narrow.
    SlowLink,
    /// A disk is full.
    FullDisk,
    /// A disk is slow.
    SlowDisk,
    /// A wall clock jumps.
    WallClock,
}

impl Fault {
    /// All, and how often each comes by itself.
    pub(super) const ALL: [(Fault, u64); 16] = [
        (Fault::ProcessDies, 10),
        (Fault::PowerFails, 8),
        (Fault::Blackout, 2),
        (Fault::PowerFailsAtStep, 8),
        (Fault::DiskCallFails, 5),
        (Fault::CleanStop, 5),
        (Fault::Wipe, 3),
        (Fault::Rot, 4),
        (Fault::Pause, 10),
        (Fault::CutOff, 9),
        (Fault::BlockedWay, 10),
        (Fault::LostConnections, 8),
        (Fault::SlowLink, 7),
        (Fault::FullDisk, 5),
        (Fault::SlowDisk, 5),
        (Fault::WallClock, 5),
    ];
}

/// How something crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// A process.
    Process,
    /// With its whole machine.
    Power,
    /// And all others.
    Blackout,
    /// All connections of a machine, and nothing else.
    Connections,
}

/// A fault that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// A process stands still.
    Pause(usize),
    /// A way is blocked.
    Block(Host, Host),
    /// A way is slow.
    SlowWay(Host, Host),
    /// A disk is full.
    FullDisk(usize),
    /// A disk is slow.
    SlowDisk(usize),
}

impl Faults {
    pub(super) const fn new(chance: Chance) -> Faults {
        Faults { chance, is_over: false }
    }

    /// Does the machine crash here?
    pub(super) fn crashes_before_an_effect(&mut self) -> bool {
        !self.is_over && self.chance.one_in(8_000)
    }
}

impl Cluster {
    /// Something goes wrong, and when the next thing will.
    pub(super) fn next_fault(&mut self) {
        let wait = self.faults.chance.latency(Micros::ms(20), self.scenario.pause_max);
        self.schedule.put(self.now + wait, Happens::Fault);
        let lasts = self.faults.chance.latency(Micros::ms(5), Micros::s(9));
        let number = self.a_victim();
        let fault = self.a_fault();
        let text = self.goes_wrong(fault, number, lasts);
        self.note(&text);
        self.tell(Event::Note { text });
    }

    /// Anybody, or whoever leads.
    fn a_victim(&mut self) -> usize {
        let anybody = self.faults.chance.below(self.machines.len());
        let is_leader = self.faults.chance.percent(self.scenario.hits_leader_percent);
        self.leader().filter(|_| is_leader).unwrap_or(anybody)
    }

    fn leader(&self) -> Option<usize> {
        self.machines.iter().position(|machine| machine.process.as_ref().is_some_and(Process::leads))
    }

    /// One of those that the scenario has.
    fn a_fault(&mut self) -> Fault {
        let all: u64 = self.scenario.faults.iter().map(|(_, weight)| weight).sum();
        let mut place = self.faults.chance.between(1, all.max(1));
        for (fault, weight) in &self.scenario.faults {
            if place <= *weight {
                return *fault;
            }
            place -= weight;
        }
        Fault::WallClock
    }

    fn goes_wrong(&mut self, fault: Fault, number: usize, lasts: Micros) -> String {
        match fault {
            Fault::ProcessDies => self.crash(number, false),
            Fault::PowerFails => self.crash(number, true),
            Fault::Blackout => self.blackout(),
            Fault::PowerFailsAtStep => self.disk_fault(number, true),
            Fault::DiskCallFails => self.disk_fault(number, false),
            Fault::CleanStop => self.stop_cleanly(number),
            Fault::Wipe => self.wipe(number),
            Fault::Rot => self.rot(number),
            Fault::Pause => {
                let host = self.at(number).host;
                self.network.pause(host);
                self.ends(Ends::Pause(number), lasts);
                format!("{number} stands still")
            }
            Fault::CutOff => self.cut_off(number, lasts),
            Fault::BlockedWay => self.block_a_way(number, lasts),
            Fault::LostConnections => {
                let host = self.somebody(number);
                self.lose_connections_of(host)
            }
            Fault::SlowLink => self.slow_link(number, lasts),
            Fault::FullDisk => self.full_disk(number, lasts),
            Fault::SlowDisk => {
                self.at(number).disk.set_pace(DiskPace { write_min: Micros::ms(20), write_max: Micros::s(3) });
                self.ends(Ends::SlowDisk(number), lasts);
                format!("the disk of {number} is slow")
            }
            Fault::WallClock => {
                let by_ms = self.faults.chance.between_signed(-86_400_000, 86_400_000);
                self.at(number).clock.jump_wall_ms(by_ms);
                format!("the wall clock of {number} jumps by {by_ms} ms")
            }
        }
    }

    fn lose_connections(&mut self, number: usize) -> String {
        let host = self.at(number).host;
        self.lose_connections_of(host)
    }

    fn lose_connections_of(&mut self, host: Host) -> String {
        let conns = self.network.conns_of(host);
        conns.iter().for_each(|conn| self.network.cut(self.now, *conn));
        format!("{host:?} loses its connections")
    }

    fn slow_link(&mut self, number: usize, lasts: Micros) -> String {
        let (here, there) = (self.at(number).host, self.somebody(number));
        let pace = Pace { delay_min: Micros::ms(50), delay_max: Micros::s(2), bytes_per_s: 2_000 };
        for (from, to) in [(here, there), (there, here)] {
            self.network.set_pace(from, to, Some(pace));
            self.ends(Ends::SlowWay(from, to), lasts);
        }
        format!("the link of {here:?} and {there:?} is slow")
    }

    fn full_disk(&mut self, number: usize, lasts: Micros) -> String {
        let (room, which) = (self.faults.chance.between(0, 300_000), self.faults.chance.below(3));
        let machine = self.at(number);
        let room = usize::try_from(room).unwrap_or(0);
        match which {
            0 => machine.disk.set_room(Some(room), Part::Log),
            1 => machine.disk.set_room(Some(room / 30), Part::Data),
            _ => {
                machine.disk.set_room(Some(room), Part::Log);
                machine.disk.set_room(Some(room / 30), Part::Data);
            }
        }
        machine.faults.is_disk_bad = true;
        self.ends(Ends::FullDisk(number), lasts);
        format!("the disk of {number} takes {room} bytes more")
    }

    // ---- what the scenario has besides ----------------------------------------------------------------------------------

    /// A group was started: something may crash before it is durable.
    pub(super) fn may_crash_within(&mut self, number: usize, takes: Micros) {
        if !self.faults.is_over && self.faults.chance.one_in(self.scenario.crash_in_writes) {
            let wait = self.faults.chance.micros(Micros(1), takes);
            self.will_crash(number, wait, self.scenario.crash);
        }
    }

    /// Epochs were written, or the log was turned: whatever was to follow on that, here or elsewhere, may not happen any more.
    pub(super) fn may_go_wrong_after(&mut self, number: usize, percent: u64) {
        if self.faults.is_over || !self.faults.chance.percent(percent) {
            return;
        }
        let wait = self.faults.chance.latency(Micros(1), Micros::ms(200));
        let other = self.leader().unwrap_or(number);
        match self.faults.chance.between(0, 4) {
            0 => self.will_crash(number, wait, Crash::Process),
            1 => self.will_crash(number, wait, Crash::Power),
            2 => self.will_crash(number, wait, Crash::Connections),
            3 => self.will_crash(other, wait, Crash::Process),
            _ => self.will_crash(other, wait, Crash::Connections),
        }
    }

    fn will_crash(&mut self, number: usize, wait: Micros, how: Crash) {
        let life = self.at(number).life;
        self.schedule.put(self.now + wait, Happens::Crash { number, life, how });
    }

    pub(super) fn crash_as(&mut self, number: usize, how: Crash) {
        let text = match how {
            Crash::Process => self.crash(number, false),
            Crash::Power => self.crash(number, true),
            Crash::Blackout => self.blackout(),
            Crash::Connections => self.lose_connections(number),
        };
        self.note(&text);
        self.tell(Event::Note { text });
    }

    fn ends(&mut self, ends: Ends, after: Micros) {
        self.schedule.put(self.now + after, Happens::Heal(ends));
    }

    /// A client's machine, or another server's.
    fn somebody(&mut self, but: usize) -> Host {
        let client = Host(101 + u32::try_from(self.faults.chance.below(self.clients.len())).unwrap_or(0));
        let count = self.machines.len();
        if count > 1 && self.faults.chance.percent(70) {
            let other = (but + 1 + self.faults.chance.below(count - 1)) % count;
            return self.at(other).host;
        }
        client
    }

    fn crash(&mut self, number: usize, is_power: bool) -> String {
        if self.at(number).process.is_some() {
            self.process_ends(number, is_power);
        }
        format!("{number} crashes, with its whole machine: {is_power}")
    }

    /// The power fails everywhere.
    fn blackout(&mut self) -> String {
        for number in 0..self.machines.len() {
            self.crash(number, true);
        }
        "a blackout".to_owned()
    }

    /// The power fails, or a call fails, in the midst of what the disk does next.
    fn disk_fault(&mut self, number: usize, is_power: bool) -> String {
        let steps = self.faults.chance.between(1, 30);
        let of = if self.faults.chance.percent(50) { Part::Log } else { Part::Data };
        let machine = self.at(number);
        machine.faults.is_disk_bad = true;
        if is_power {
            machine.disk.freeze_within(steps, of)
        } else {
            machine.disk.fail_within(steps, of)
        }
        format!("within {steps} steps of the disk of {number} ({of:?}) something fails, the power: {is_power}")
    }

    fn stop_cleanly(&mut self, number: usize) -> String {
        let machine = self.at(number);
        let Some(process) = machine.process.take() else { return "a clean stop of what is down".to_owned() };
        let is_stopped = process.close().is_ok();
        let is_power = machine.disk.is_frozen();
        self.process_ends(number, is_power);
        format!("{number} stops cleanly: {is_stopped}")
    }

    /// All on the machine is lost. Never on so many that a quorum's history goes: then even a correct cluster would lose what it has promised.
    fn wipe(&mut self, number: usize) -> String {
        if !self.may_lose_all(number) {
            return "nobody is wiped".to_owned();
        }
        if self.at(number).process.is_some() {
            self.process_ends(number, true);
        }
        self.replace_disk(number);
        format!("{number} is wiped")
    }

    /// Are enough others left that have all?
    pub(super) fn may_lose_all(&mut self, number: usize) -> bool {
        let Some(member) = &self.at(number).member else { return false };
        let ensemble = member.ensemble.clone();
        let has_all =
            |(at, machine): (usize, &Machine)| (at != number && !machine.lacks_history()).then(|| machine.server());
        ensemble.is_quorum(self.machines.iter().enumerate().filter_map(has_all))
    }

    /// The machine has a new disk, with nothing on it.
    pub(super) fn replace_disk(&mut self, number: usize) {
        let chance = Chance::of_seed(self.faults.chance.bits());
        let machine = self.at(number);
        machine.disk = MachineDisk::new(machine.making.disk, chance);
        machine.is_wiped = true;
        machine.held.lose_all();
        (machine.faults.rot, machine.faults.has_latent_rot) = (None, false);
    }

    /// Some servers are cut off from the others, and it may be from clients.
    fn cut_off(&mut self, first: usize, lasts: Micros) -> String {
        let count = self.machines.len();
        let many = 1 + self.faults.chance.below(count.div_ceil(2));
        let with_clients = self.faults.chance.percent(40) || count == 1;
        let inside: Vec<Host> = (0..many).map(|offset| self.at((first + offset) % count).host).collect();
        let mut outside: Vec<Host> = self.machines.iter().map(|machine| machine.host).collect();
        if with_clients {
            outside.extend(self.clients.iter().map(crate::clients::Client::host));
        }
        outside.retain(|host| !inside.contains(host));
        for (one, other) in inside.iter().flat_map(|one| outside.iter().map(move |other| (*one, *other))) {
            for (from, to) in [(one, other), (other, one)] {
                self.network.block(from, to);
                self.ends(Ends::Block(from, to), lasts);
            }
        }
        format!("{inside:?} are cut off, from clients too: {with_clients}")
    }

    fn block_a_way(&mut self, number: usize, lasts: Micros) -> String {
        let (here, there) = (self.at(number).host, self.somebody(number));
        let both = self.faults.chance.percent(50);
        self.network.block(there, here);
        self.ends(Ends::Block(there, here), lasts);
        if both {
            self.network.block(here, there);
            self.ends(Ends::Block(here, there), lasts);
        }
        format!("nothing comes from {there:?} to {here:?}, nor back: {both}")
    }

    /// A fault is over.
    pub(super) fn heal(&mut self, ends: Ends) {
        match ends {
            Ends::Pause(number) => {
                let host = self.at(number).host;
                for event in self.network.resume(host) {
                    self.hears(event);
                }
                for turn in std::mem::take(&mut self.at(number).asleep) {
                    self.wake(number, turn);
                }
            }
            Ends::Block(from, to) => self.network.unblock(self.now, from, to),
            Ends::SlowWay(from, to) => self.network.set_pace(from, to, None),
            Ends::FullDisk(number) => {
                let disk = &mut self.at(number).disk;
                disk.set_room(None, Part::Log);
                disk.set_room(None, Part::Data);
            }
            Ends::SlowDisk(number) => self.at(number).disk.be_usual(),
        }
        self.trace.note(self.now, format_args!("{ends:?} is over"));
    }

    /// All faults end.
    pub(super) fn heal_everything(&mut self) {
        self.faults.is_over = true;
        self.schedule.retain(|happens| !matches!(happens, Happens::Heal(_) | Happens::Crash { .. }));
        for number in 0..self.machines.len() {
            for ends in [Ends::Pause(number), Ends::FullDisk(number), Ends::SlowDisk(number)] {
                self.heal(ends);
            }
            let machine = self.at(number);
            machine.disk.disarm();
            machine.faults.is_disk_bad = false;
        }
        self.network.unblock_all(self.now);
        self.network.be_good();
    }
}
