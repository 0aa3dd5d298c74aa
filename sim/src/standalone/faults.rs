//! What goes wrong, when, and for how long.
//!
//! Owns the choice of faults alone, from a random stream of its own: the machinery is the world's and the driver's. Every fault ends by itself or
//! with [`Standalone::heal_everything`].

use super::{Happens, SERVER, Standalone};
use crate::history::{Event, Zxid};
use crate::world::chance::Chance;
use crate::world::disk::{DiskPace, MachineDisk};
use crate::world::network::{Host, Pace};
use crate::world::time::Micros;

/// Which faults there may be.
#[derive(Debug)]
pub(super) struct Faults {
    chance: Chance,
    is_over: bool,
    /// A fault of the disk may still be to come.
    is_disk_bad: bool,
}

/// A fault that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// The process stands still.
    Pause,
    /// A way is blocked.
    Block(Host, Host),
    /// A link is slow.
    SlowLink(Host),
    /// The disk is full.
    FullDisk,
    /// The disk is slow.
    SlowDisk,
}

impl Faults {
    pub(super) const fn new(chance: Chance) -> Faults {
        Faults { chance, is_over: false, is_disk_bad: false }
    }

    /// Does the machine crash here?
    pub(super) fn crashes_before_an_effect(&mut self) -> bool {
        !self.is_over && self.chance.one_in(4_000)
    }

    /// May a start have failed for a fault that was made?
    pub(super) const fn explains_failed_start(&self, is_power: bool) -> bool {
        is_power || self.is_disk_bad
    }
}

impl Standalone {
    /// Something goes wrong, and when the next thing will.
    pub(super) fn next_fault(&mut self) {
        let wait = self.faults.chance.latency(Micros::ms(20), Micros::s(4));
        self.schedule.put(self.now + wait, Happens::Fault);
        let lasts = self.faults.chance.latency(Micros::ms(5), Micros::s(9));
        let client = Host(101 + u32::try_from(self.faults.chance.below(self.clients.len())).unwrap_or(0));
        let text = match self.faults.chance.between(0, 99) {
            0..10 => self.crash(false),
            10..20 => self.crash(true),
            20..30 => self.disk_fault(true),
            30..36 => self.disk_fault(false),
            36..42 => self.stop_cleanly(),
            42..54 => {
                self.network.pause(SERVER);
                self.ends(Ends::Pause, lasts);
                "the process stands still".to_owned()
            }
            54..70 => {
                let both = self.faults.chance.percent(50);
                let to_server = both || self.faults.chance.percent(50);
                for (from, to) in [(client, SERVER), (SERVER, client)] {
                    if both || (from == client) == to_server {
                        self.network.block(from, to);
                        self.ends(Ends::Block(from, to), lasts);
                    }
                }
                format!("partition of {client:?}, both ways: {both}, to the server: {to_server}")
            }
            70..80 => {
                let conns = self.network.conns_of(client);
                conns.iter().for_each(|conn| self.network.cut(self.now, *conn));
                format!("{client:?} loses its connections")
            }
            80..86 => {
                let pace = Pace { delay_min: Micros::ms(50), delay_max: Micros::s(2), bytes_per_s: 2_000 };
                self.network.set_pace(client, SERVER, Some(pace));
                self.network.set_pace(SERVER, client, Some(pace));
                self.ends(Ends::SlowLink(client), lasts);
                format!("the link of {client:?} is slow")
            }
            86..91 => {
                let room = self.faults.chance.between(0, 300_000);
                self.disk.set_room(usize::try_from(room).ok());
                self.faults.is_disk_bad = true;
                self.ends(Ends::FullDisk, lasts);
                format!("the disk takes {room} bytes more")
            }
            91..95 => {
                self.disk.set_pace(DiskPace { write_min: Micros::ms(20), write_max: Micros::s(3) });
                self.ends(Ends::SlowDisk, lasts);
                "the disk is slow".to_owned()
            }
            _ => {
                let by_ms = self.faults.chance.between_signed(-86_400_000, 86_400_000);
                self.clock.jump_wall_ms(by_ms);
                format!("the wall clock jumps by {by_ms} ms")
            }
        };
        self.note(&text);
        self.tell(Event::Note { text });
    }

    fn ends(&mut self, ends: Ends, after: Micros) {
        self.schedule.put(self.now + after, Happens::Heal(ends));
    }

    fn crash(&mut self, is_power: bool) -> String {
        if self.process.is_some() {
            self.process_ends(is_power);
        }
        format!("a crash, of the whole machine: {is_power}")
    }

    /// The power fails, or a call fails, in the midst of what the disk does next.
    fn disk_fault(&mut self, is_power: bool) -> String {
        let steps = self.faults.chance.between(1, 30);
        self.faults.is_disk_bad = true;
        if is_power {
            self.disk.freeze_within(steps)
        } else {
            self.disk.fail_within(steps)
        }
        format!("within {steps} steps of the disk something fails, the power: {is_power}")
    }

    fn stop_cleanly(&mut self) -> String {
        let Some(process) = self.process.take() else { return "a clean stop of what is down".to_owned() };
        let stopped = process.close();
        let is_power = self.disk.is_frozen();
        self.process_ends(is_power);
        format!("a clean stop: {stopped:?}")
    }

    /// A fault is over.
    pub(super) fn heal(&mut self, ends: Ends) {
        match ends {
            Ends::Pause => {
                for event in self.network.resume(SERVER) {
                    self.hears(event);
                }
                for turn in std::mem::take(&mut self.asleep) {
                    self.wake(turn);
                }
            }
            Ends::Block(from, to) => self.network.unblock(self.now, from, to),
            Ends::SlowLink(client) => {
                self.network.set_pace(client, SERVER, None);
                self.network.set_pace(SERVER, client, None);
            }
            Ends::FullDisk => self.disk.set_room(None),
            Ends::SlowDisk => self.disk.set_pace(DiskPace::default()),
        }
        self.trace.note(self.now, format_args!("{ends:?} is over"));
    }

    /// All faults end.
    pub(super) fn heal_everything(&mut self) {
        self.faults.is_over = true;
        self.schedule.retain(|happens| !matches!(happens, Happens::Heal(_)));
        let all = (101..).take(self.clients.len()).map(|number| Ends::SlowLink(Host(number)));
        for ends in [Ends::Pause, Ends::FullDisk, Ends::SlowDisk].into_iter().chain(all) {
            self.heal(ends);
        }
        self.network.unblock_all(self.now);
        self.disk.disarm();
        self.faults.is_disk_bad = false;
    }

    /// A bit of a copy of the disk goes bad, right after a start has sealed the log: recovery from the copy either names the damage or finds
    /// everything. It never finds less.
    pub(super) fn try_rot(&mut self, zxid: Zxid, digest: Option<u64>) {
        if !self.faults.chance.percent(25) {
            return;
        }
        let mut copy = MachineDisk::copy_of(&self.disk, Chance::of_seed(self.faults.chance.bits()));
        let Some(rot) = copy.rot() else { return };
        let recovered = super::Process::recover(copy.log(), 1, self.server_now());
        match recovered {
            Err(error) => self.trace.note(self.now, format_args!("{rot:?} is found: {error}")),
            Ok(recovered) => {
                let last = recovered.replayed.last();
                let found = last.map_or((0, None), |last| (last.txn.zxid.0, Some(last.digest)));
                self.trace.note(self.now, format_args!("{rot:?} means nothing"));
                if found != (zxid.0, digest) {
                    self.wrong.push(format!("at {}: with {rot:?} recovery finds {found:x?}, and not {zxid}", self.now));
                }
            }
        }
    }
}
