//! What goes wrong, when, and for how long.
//!
//! Owns the choice of faults alone, from a random stream of its own: the machinery is the world's and the driver's. Every fault ends by itself or
//! with [`Cluster::heal_everything`].

use super::place::Place;
use super::process::{Process, Recovered};
use super::{Cluster, Happens};
use crate::history::Event;
use crate::world::chance::Chance;
use crate::world::disk::{DiskPace, MachineDisk};
use crate::world::network::{Host, Pace};
use crate::world::time::Micros;
use proto::Zxid;

/// When there are faults.
#[derive(Debug)]
pub(super) struct Faults {
    chance: Chance,
    is_over: bool,
}

/// What of a machine's troubles explains what it says.
#[derive(Debug, Default)]
pub(super) struct MachineFaults {
    /// A fault of the disk may still be to come.
    is_disk_bad: bool,
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
        let wait = self.faults.chance.latency(Micros::ms(20), Micros::s(4));
        self.schedule.put(self.now + wait, Happens::Fault);
        let lasts = self.faults.chance.latency(Micros::ms(5), Micros::s(9));
        let number = self.faults.chance.below(self.machines.len());
        let text = match self.faults.chance.between(0, 99) {
            0..10 => self.crash(number, false),
            10..18 => self.crash(number, true),
            18..20 => self.blackout(),
            20..28 => self.disk_fault(number, true),
            28..33 => self.disk_fault(number, false),
            33..38 => self.stop_cleanly(number),
            38..41 => self.wipe(number),
            41..51 => {
                let host = self.at(number).host;
                self.network.pause(host);
                self.ends(Ends::Pause(number), lasts);
                format!("{number} stands still")
            }
            51..60 => self.cut_off(lasts),
            60..70 => self.block_a_way(number, lasts),
            70..78 => {
                let host = self.somebody(number);
                let conns = self.network.conns_of(host);
                conns.iter().for_each(|conn| self.network.cut(self.now, *conn));
                format!("{host:?} loses its connections")
            }
            78..85 => {
                let (here, there) = (self.at(number).host, self.somebody(number));
                let pace = Pace { delay_min: Micros::ms(50), delay_max: Micros::s(2), bytes_per_s: 2_000 };
                for (from, to) in [(here, there), (there, here)] {
                    self.network.set_pace(from, to, Some(pace));
                    self.ends(Ends::SlowWay(from, to), lasts);
                }
                format!("the link of {here:?} and {there:?} is slow")
            }
            85..90 => {
                let room = self.faults.chance.between(0, 300_000);
                let machine = self.at(number);
                machine.disk.set_room(usize::try_from(room).ok());
                machine.faults.is_disk_bad = true;
                self.ends(Ends::FullDisk(number), lasts);
                format!("the disk of {number} takes {room} bytes more")
            }
            90..95 => {
                self.at(number).disk.set_pace(DiskPace { write_min: Micros::ms(20), write_max: Micros::s(3) });
                self.ends(Ends::SlowDisk(number), lasts);
                format!("the disk of {number} is slow")
            }
            _ => {
                let by_ms = self.faults.chance.between_signed(-86_400_000, 86_400_000);
                self.at(number).clock.jump_wall_ms(by_ms);
                format!("the wall clock of {number} jumps by {by_ms} ms")
            }
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
        let machine = self.at(number);
        machine.faults.is_disk_bad = true;
        if is_power {
            machine.disk.freeze_within(steps)
        } else {
            machine.disk.fail_within(steps)
        }
        format!("within {steps} steps of the disk of {number} something fails, the power: {is_power}")
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
        let voters = self.machines.iter().filter(|machine| machine.votes()).count();
        let empty = self.machines.iter().filter(|machine| machine.votes() && machine.lacks_history()).count();
        let is_one_more = !self.at(number).lacks_history() && self.at(number).votes();
        if voters < 3 || self.at(number).member.is_none() || empty + usize::from(is_one_more) > (voters - 1) / 2 {
            return "nobody is wiped".to_owned();
        }
        if self.at(number).process.is_some() {
            self.process_ends(number, true);
        }
        let chance = Chance::of_seed(self.faults.chance.bits());
        let machine = self.at(number);
        machine.place.wipe();
        machine.disk = MachineDisk::new(DiskPace::default(), chance);
        machine.is_wiped = true;
        format!("{number} is wiped")
    }

    /// Some servers are cut off from the others, and it may be from clients.
    fn cut_off(&mut self, lasts: Micros) -> String {
        let count = self.machines.len();
        let many = 1 + self.faults.chance.below(count.div_ceil(2));
        let first = self.faults.chance.below(count);
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
            Ends::FullDisk(number) => self.at(number).disk.set_room(None),
            Ends::SlowDisk(number) => self.at(number).disk.set_pace(DiskPace::default()),
        }
        self.trace.note(self.now, format_args!("{ends:?} is over"));
    }

    /// All faults end.
    pub(super) fn heal_everything(&mut self) {
        self.faults.is_over = true;
        self.schedule.retain(|happens| !matches!(happens, Happens::Heal(_)));
        for number in 0..self.machines.len() {
            for ends in [Ends::Pause(number), Ends::FullDisk(number), Ends::SlowDisk(number)] {
                self.heal(ends);
            }
            let machine = self.at(number);
            machine.disk.disarm();
            machine.faults.is_disk_bad = false;
        }
        self.network.unblock_all(self.now);
        self.network.forget_paces();
    }

    /// A bit of a copy of the disk goes bad, right after a start has sealed the log: recovery from the copy either names the damage or finds
    /// everything. It never finds less.
    pub(super) fn try_rot(&mut self, number: usize, last: (Zxid, u64)) {
        if !self.faults.chance.percent(25) {
            return;
        }
        let (bits, time) = (self.faults.chance.bits(), self.now);
        let machine = self.at(number);
        let mut copy = MachineDisk::copy_of(&machine.disk, Chance::of_seed(bits));
        let Some(rot) = copy.rot() else { return };
        let place: &Place = &machine.place;
        let recovered = Process::recover(place, copy.log(), 1, machine.now(time), machine.member.as_ref(), false, None);
        match recovered {
            Err(_) => self.trace.note(time, format_args!("{rot:?} is found")),
            Ok(Recovered { last: found, .. }) => {
                self.trace.note(time, format_args!("{rot:?} means nothing"));
                if found != last {
                    self.wrong(format!("with {rot:?} recovery of {number} finds {found:x?}, and not {last:x?}"));
                }
            }
        }
    }
}
