//! The election ports: votes between the servers, and whom each can reach.
//!
//! Owns the table of the votes on their way: a message is a vote's place in it. A connection between two election ports is not simulated, but what follows from it:
//! votes may be lost, doubled or late, and a server hears, after a while, that another's port is gone or is there.

use super::machine::Machine;
use super::process::Turn;
use super::{Cluster, Happens};
use crate::world::network::Host;
use crate::world::time::{Micros, Time};
use proto::ServerId;
use zab::election::Vote;

impl Cluster {
    pub(super) fn post(&mut self, from: usize, to: ServerId, vote: Vote) {
        let Some(other) = self.number_of(to) else { return };
        let (now, host, there) = (self.now, self.at(from).host, self.at(other).host);
        let place = u64::try_from(self.votes.len()).unwrap_or(0);
        self.votes.push(vote);
        self.trace.note(now, format_args!("{from}: votes to {}: {vote:?}", to.0));
        let is_blocked = self.network.is_blocked(host, there) || self.network.is_blocked(there, host);
        let is_up = self.at(other).process.is_some() && !is_blocked;
        self.network.post(now, host, there, &place.to_le_bytes());
        // Whoever dials hears of it, of a machine that is off or cut off much later.
        let is_dark = !is_up && (is_blocked || self.network.is_dark(there));
        let wait = if is_dark { Micros::s(3) } else { self.chance.latency(Micros::ms(1), Micros::ms(300)) };
        if self.at(from).reaches.get(&other) != Some(&is_up) {
            self.put_reach(from, other, is_up, now + wait);
        }
    }

    pub(super) fn posted(&mut self, from: Host, number: usize, message: &[u8]) {
        let place = message.try_into().map(u64::from_le_bytes).ok().and_then(|place| usize::try_from(place).ok());
        let Some(vote) = place.and_then(|place| self.votes.get(place)).copied() else { return };
        let Some(sender) = self.machines.iter().position(|machine| machine.host == from) else { return };
        let id = ServerId(self.at(sender).id.0.cast_signed());
        let machine = self.at(number);
        let Some(process) = &mut machine.process else { return };
        process.io().voted(id, vote);
        let is_news = machine.reaches.insert(sender, true) != Some(true);
        if is_news {
            process.io().reaches(id, true);
        }
        self.wake(number, Turn::Core);
    }

    /// A server has come up: it and the others hear of each other.
    pub(super) fn reaches_all(&mut self, number: usize) {
        let now = self.now;
        let host = self.at(number).host;
        let Cluster { machines, network, .. } = self;
        let stands = |there: Host| !network.is_blocked(host, there) && !network.is_blocked(there, host);
        let is_up = |(other, machine): (usize, &Machine)| {
            (other != number && machine.process.is_some() && stands(machine.host)).then_some(other)
        };
        let up: Vec<usize> = machines.iter().enumerate().filter_map(is_up).collect();
        for other in up {
            for (at, of) in [(number, other), (other, number)] {
                let wait = self.chance.latency(Micros::ms(1), Micros::s(2));
                self.put_reach(at, of, true, now + wait);
            }
        }
    }

    /// A process has ended, and its machine tells so.
    pub(super) fn is_out_of_reach(&mut self, number: usize) {
        let now = self.now;
        for other in 0..self.machines.len() {
            let (one, two) = (self.at(number).host, self.at(other).host);
            if other != number && self.at(other).process.is_some() && !self.network.is_blocked(one, two) {
                let wait = self.chance.latency(Micros(100), Micros::ms(200));
                self.put_reach(other, number, false, now + wait);
            }
        }
    }

    fn put_reach(&mut self, at: usize, of: usize, is_up: bool, then: Time) {
        let life = self.at(at).life;
        self.schedule.put(then, Happens::Reach { at, of, is_up, life });
    }

    pub(super) fn hears_reach(&mut self, at: usize, of: usize, is_up: bool) {
        let id = ServerId(self.at(of).id.0.cast_signed());
        let now = self.now;
        let machine = self.at(at);
        let Some(process) = &mut machine.process else { return };
        if machine.reaches.insert(of, is_up) == Some(is_up) {
            return;
        }
        process.io().reaches(id, is_up);
        self.trace.note(now, format_args!("{at}: reaches {of}: {is_up}"));
        self.wake(at, Turn::Core);
    }

    fn number_of(&self, id: ServerId) -> Option<usize> {
        self.machines.iter().position(|machine| machine.id.0 == id.0.cast_unsigned())
    }
}
