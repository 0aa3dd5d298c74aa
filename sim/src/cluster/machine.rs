//! The machines of the servers: what each keeps, and the life of the process on it.
//!
//! Owns starts, turns, effects and ends of processes. Between any two effects a machine may crash. It must never let the same thing happen in another order
//! for anything but the seed.

use super::effects::{Applied, Effect};
use super::faults::MachineFaults;
use super::laws::Held;
use super::process::{Membership, Process, SHARDS, Turn};
use super::recovery::{self, Begin, Recovered, Site};
use super::scenario::Making;
use super::votes::ElectionPort;
use super::{Bug, Cluster, ELECTION_PORT, Happens, QUORUM_PORT};
use crate::clients::{self, CLIENT_PORT};
use crate::history::{Event, ServerId, Zxid};
use crate::world::chance::Chance;
use crate::world::disk::MachineDisk;
use crate::world::network::{ConnId, Host, Side};
use crate::world::schedule::Ticket;
use crate::world::time::{Clock, Micros, Time};
use engine::replica::Now;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A server's machine, up or down.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) host: Host,
    pub(super) id: ServerId,
    pub(super) member: Option<Membership>,
    pub(super) making: Making,
    pub(super) disk: MachineDisk,
    pub(super) clock: Clock,
    pub(super) process: Option<Process>,
    /// How often the server was started.
    pub(super) life: u64,
    /// Turns that are scheduled for this life.
    woken: BTreeMap<Turn, (Time, Ticket)>,
    /// Turns that wait for the process to go on.
    pub(super) asleep: Vec<Turn>,
    /// Its election port, in this life.
    pub(super) port: ElectionPort,
    /// The newest txn of this server that the history tells of.
    told: Zxid,
    /// Has it never been started, or what was on it was lost?
    pub(super) is_new: bool,
    /// Was all on it lost, and it has taken no state since?
    pub(super) is_wiped: bool,
    pub(super) faults: MachineFaults,
    /// What is durable on it.
    pub(super) held: Held,
}

impl Machine {
    /// Its id, as the protocols have it.
    pub(super) const fn server(&self) -> proto::ServerId {
        proto::ServerId(self.id.0.cast_signed())
    }

    pub(super) fn new(
        number: u32,
        member: Option<Membership>,
        making: Making,
        seed: u64,
        chance: &mut Chance,
    ) -> Machine {
        let begin_us = chance.between(1_000_000, 1_000_000_000_000);
        let skew_ppm = chance.between_signed(-500, 500);
        let id = member.as_ref().map_or(0, |member| member.me.0.cast_unsigned());
        Machine {
            host: Host(number),
            id: ServerId(id),
            member,
            making,
            disk: MachineDisk::new(making.disk, Chance::stream(seed, &format!("disk {number}"))),
            clock: Clock::new(begin_us, skew_ppm),
            process: None,
            life: 0,
            woken: BTreeMap::new(),
            asleep: Vec::new(),
            port: ElectionPort::default(),
            told: Zxid(0),
            is_new: true,
            is_wiped: false,
            faults: MachineFaults::default(),
            held: Held::default(),
        }
    }

    pub(super) fn now(&self, now: Time) -> Now {
        let mono_ms = i64::try_from(self.clock.mono_us(now) / 1_000).unwrap_or(i64::MAX);
        Now { mono_ms, wall_ms: self.clock.wall_ms(now) }
    }

    /// Where its process is started.
    pub(super) const fn site(&self) -> Site<'_> {
        Site { disk: &self.disk, member: self.member.as_ref(), making: self.making }
    }

    /// Has it a vote?
    pub(super) fn votes(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.ensemble.is_voter(member.me))
    }

    /// Has it nothing of what it once had, or a part that does not read or will not, or never had anything?
    pub(super) const fn lacks_history(&self) -> bool {
        self.is_wiped || self.is_new || self.faults.has_latent_rot
    }

    /// Without what differs from run to run.
    fn said(&self, error: &dyn std::fmt::Display) -> String {
        self.disk.told(&error.to_string())
    }
}

impl Cluster {
    /// The machine. There is one of this number.
    pub(super) fn at(&mut self, number: usize) -> &mut Machine {
        self.machines.get_mut(number).expect("machines stay")
    }

    pub(super) fn start(&mut self, number: usize) {
        let (time, salt) = (self.now, self.chance.bits());
        let bug = self.options.bug;
        if self.at(number).process.is_some() || self.is_rotten(number) {
            return;
        }
        let machine = self.at(number);
        machine.life += 1;
        machine.asleep.clear();
        let woken = std::mem::take(&mut machine.woken);
        let now = machine.now(time);
        // Whoever has lost all knows that by the operator alone.
        let begin = Begin { salt, now, autocreate: !machine.is_wiped, bug };
        let recovered = recovery::recover(&machine.site(), begin);
        for (_, ticket) in woken.into_values() {
            self.schedule.take_back(ticket);
        }
        match recovered {
            Ok(recovered) => {
                self.tell_losses(number, &recovered.losses);
                self.started(number, recovered);
            }
            // A fault of the disk met the start itself.
            Err(error) => {
                let machine = self.at(number);
                let (said, is_power) = (machine.said(&error), machine.disk.is_frozen());
                let is_explained = machine.faults.explains_failed_start(is_power);
                self.trace.note(time, format_args!("{number}: the start failed: {said}"));
                self.process_ends(number, is_power);
                if !is_explained {
                    self.wrong(format!("server {number} does not start: {said}"));
                }
            }
        }
    }

    fn started(&mut self, number: usize, recovered: Recovered) {
        let Recovered { mut process, base, last, held, .. } = recovered;
        let now = self.now;
        self.starts_with(number, &process.control(), held);
        let machine = self.at(number);
        machine.is_new = false;
        let (server, life, host) = (machine.id, machine.life, machine.host);
        let is_alone = machine.member.is_none();
        let (zxid, digest) = if is_alone { (last.0, Some(last.1)) } else { base };
        if is_alone {
            // All of it is this server's word.
            for applied in process.take_replayed() {
                self.applied(number, &applied);
            }
        }
        self.trace.note(now, format_args!("{number}: started at {:#x} of {:#x}, life {life}", last.0.0, base.0.0));
        self.tell(Event::Started { server, zxid: Zxid(zxid.0), digest });
        let machine = self.at(number);
        machine.told = Zxid(zxid.0);
        machine.process = Some(process);
        self.network.power_on(host);
        self.network.listen(host, CLIENT_PORT);
        self.network.listen(host, QUORUM_PORT);
        self.network.listen(host, ELECTION_PORT);
        for turn in [Turn::Core, Turn::Log].into_iter().chain((0..SHARDS).map(Turn::Shard)) {
            self.wake(number, turn);
        }
        self.try_rot(number, last);
    }

    pub(super) fn wake(&mut self, number: usize, turn: Turn) {
        let wait = self.chance.latency(Micros(5), Micros::ms(3));
        self.wake_in(number, turn, wait);
    }

    /// The turn comes then, if it does not come before.
    fn wake_in(&mut self, number: usize, turn: Turn, wait: Micros) {
        let at = self.now + wait;
        let Some(machine) = self.machines.get_mut(number) else { return };
        if let Some((before, ticket)) = machine.woken.get(&turn).copied() {
            if before <= at {
                return;
            }
            self.schedule.take_back(ticket);
        }
        let ticket = self.schedule.put(at, Happens::Turn(number, turn));
        machine.woken.insert(turn, (at, ticket));
    }

    pub(super) fn turn(&mut self, number: usize, turn: Turn) {
        let Cluster { machines, network, trace, chance, now: time, .. } = self;
        let Some(machine) = machines.get_mut(number) else { return };
        machine.woken.remove(&turn);
        if network.is_paused(machine.host) {
            return machine.asleep.push(turn);
        }
        let now = machine.now(*time);
        let Some(process) = &mut machine.process else { return };
        trace.note(*time, format_args!("{number}: {turn:?}"));
        // What panics is wrong, and ends the run: nothing of it is looked at any more.
        let done = catch_unwind(AssertUnwindSafe(|| process.turn(turn, now, chance)));
        let kept = process.take_kept();
        self.keeps(number, kept);
        let Some(machine) = self.machines.get_mut(number) else { return };
        let Some(process) = &machine.process else { return };
        match done {
            // Of what it has done in the dark nobody hears.
            Ok(Ok(_)) if machine.disk.is_frozen() => self.process_ends(number, true),
            Ok(Ok(effects)) => {
                machine.is_wiped &= !process.is_whole();
                // Threads look at the clock now and then.
                if matches!(turn, Turn::Shard(_)) {
                    let wait = self.chance.micros(Micros::ms(50), Micros::ms(150));
                    self.wake_in(number, turn, wait);
                }
                self.effects(number, effects);
            }
            Ok(Err(error)) => {
                let (said, is_power) = (machine.said(&error), machine.disk.is_frozen());
                let is_explained = machine.faults.explains_failed_write(is_power);
                self.trace.note(self.now, format_args!("{number}: the log failed: {said}"));
                self.process_ends(number, is_power);
                if !is_explained {
                    self.wrong(format!("server {number} ends by itself: {said}"));
                }
            }
            Err(_) => {
                self.panicked = true;
                self.wrong(format!("server {number} panics in {turn:?}: {}", super::panics::last()));
            }
        }
    }

    /// Lets the effects happen, one by one; between any two the machine may crash.
    fn effects(&mut self, number: usize, effects: Vec<Effect>) {
        for effect in effects {
            if self.faults.crashes_before_an_effect() {
                self.note(&format!("{number}: the process dies between two effects"));
                return self.process_ends(number, false);
            }
            self.effect(number, effect);
        }
    }

    fn effect(&mut self, number: usize, effect: Effect) {
        let (now, host, server) = (self.now, self.at(number).host, self.at(number).id);
        match effect {
            Effect::Send(conn, bytes) => {
                let bytes = self.bug_in_output(bytes);
                self.shows(number, conn, &bytes);
                self.network.send(now, conn, Side::Acceptor, &bytes);
            }
            Effect::Close(conn) => self.closes(number, conn, Side::Acceptor),
            Effect::SendLink(conn, side, bytes) => {
                self.says(number, conn, side, &bytes);
                self.network.send(now, conn, side, &bytes);
            }
            Effect::CloseLink(conn, side) => self.closes(number, conn, side),
            Effect::Dial(to) => {
                let Some(to) = self.machines.iter().find(|machine| machine.id.0 == to.0.cast_unsigned()) else {
                    return;
                };
                let conn = self.network.dial(now, host, to.host, QUORUM_PORT);
                if let Some(process) = &mut self.at(number).process {
                    process.io().dials(conn);
                }
            }
            Effect::Post(to, vote) => {
                self.votes_for(number, &vote);
                self.post(number, to, vote);
            }
            Effect::Wake(turn) => self.wake(number, turn),
            Effect::WakeLater(turn) => {
                let wait = self.chance.micros(Micros::ms(5), Micros::ms(50));
                self.wake_in(number, turn, wait);
            }
            Effect::WakeAfter(turn, ms) => {
                let wait = Micros(ms * 1_000 + self.chance.between(0, 20_000));
                self.wake_in(number, turn, wait);
            }
            Effect::WriteStarted => {
                let takes = self.at(number).disk.write_takes();
                self.wake_in(number, Turn::LogDone, takes);
                self.may_crash_within(number, takes);
            }
            Effect::ImageBegun => {
                let longest = self.at(number).making.image_takes_max;
                let takes = self.chance.micros(Micros::ms(5), longest);
                self.wake_in(number, Turn::Image, takes);
            }
            Effect::EpochsWritten => self.may_go_wrong_after(number, self.scenario.epochs_go_wrong_percent),
            Effect::ImageWritten => self.may_go_wrong_after(number, self.scenario.images_go_wrong_percent),
            Effect::LogTurned => self.may_go_wrong_after(number, self.scenario.turns_go_wrong_percent),
            Effect::Applied(applied) => self.applied(number, &applied),
            Effect::Leads(epoch) => {
                self.trace.note(now, format_args!("{number}: leads epoch {epoch}"));
                let leader = *self.leaders.entry(epoch).or_insert(number);
                if leader != number {
                    self.wrong(format!("{leader} and {number} both lead epoch {epoch}"));
                }
                self.leads_with(number, epoch);
                self.tell(Event::Leads { server, epoch });
            }
            Effect::Took(zxid, digest) => {
                self.trace.note(now, format_args!("{number}: shows another tree, of {zxid}, digest {digest:#x}"));
                self.see_digest(number, zxid, digest);
                self.at(number).told = Zxid(zxid.0);
                self.tell(Event::Took { server, zxid: Zxid(zxid.0), digest: Some(digest) });
            }
            Effect::Noted(text) => self.trace.note(now, format_args!("{number}: {text}")),
        }
    }

    fn closes(&mut self, number: usize, conn: ConnId, side: Side) {
        self.at(number).held.closed(conn);
        self.network.close(self.now, conn, side);
    }

    fn applied(&mut self, number: usize, applied: &Applied) {
        let zxid = Zxid(applied.txn.zxid.0);
        let machine = self.at(number);
        if zxid <= machine.told {
            return;
        }
        let last = std::mem::replace(&mut machine.told, zxid);
        self.applies(number, proto::Zxid(last.0), applied.txn.zxid);
        let machine = self.at(number);
        let event = applied.event(machine.id);
        self.trace.note(self.now, format_args!("{number}: applied {zxid}, digest {:#x}", applied.digest));
        self.see_digest(number, applied.txn.zxid, applied.digest);
        self.tell(event);
    }

    /// Equal zxid, equal digest.
    fn see_digest(&mut self, number: usize, zxid: proto::Zxid, digest: u64) {
        let first = *self.digests.entry(zxid).or_insert(digest);
        if first != digest {
            self.wrong(format!("server {number} has the digest {digest:#x} at {zxid}, another {first:#x}"));
        }
    }

    /// What a planted bug makes of what leaves.
    fn bug_in_output(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let makes = matches!(self.options.bug, Some(Bug::RepliesOvertake | Bug::EventsLost | Bug::HeaderAhead));
        if !makes || !self.chance.percent(10) {
            return bytes;
        }
        let mut frames = clients::frames(&bytes);
        match self.options.bug {
            Some(Bug::RepliesOvertake) => {
                if let [.., one, other] = frames.as_mut_slice() {
                    std::mem::swap(one, other);
                }
            }
            Some(Bug::EventsLost) => frames.retain(|frame| clients::xid_of(frame) != Some(proto::Xid::NOTIFICATION)),
            _ => frames.iter_mut().for_each(|frame| clients::raise_header(frame)),
        }
        frames.concat()
    }

    /// The process is over, with its machine or alone; it comes back by itself.
    pub(super) fn process_ends(&mut self, number: usize, is_power: bool) {
        let (now, begin_us) = (self.now, self.chance.between(1_000_000, 10_000_000_000));
        let Cluster { machines, network, .. } = self;
        let Some(machine) = machines.get_mut(number) else { return };
        machine.process = None;
        machine.held.process_ends();
        machine.port = ElectionPort::default();
        let host = machine.host;
        if is_power {
            network.power_off(now, host);
            machine.disk.power_was_off();
            machine.clock.reboot(now, begin_us);
        } else {
            network.kill(now, host);
            machine.disk.process_died();
        }
        let text = format!("{number}: {}", if is_power { "the power fails" } else { "the process ends" });
        self.note(&text);
        self.tell(Event::Note { text });
        let (shortest, longest) = self.at(number).making.away;
        let wait = self.chance.latency(shortest, longest);
        self.schedule.put(self.now + wait, Happens::Start(number));
    }
}
