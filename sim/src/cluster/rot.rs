//! Bits that go bad on a machine's disk: in what the next start reads, and in copies of the disk.
//!
//! Owns where they go bad, and what follows: a member sets aside what does not read and takes its leader's state; what opens and does not read is named, and the operator
//! gives the machine a new disk. It must never take more than the others can make up for, nor what nobody can tell from a torn tail.

use super::finish::final_state;
use super::recovery::{self, Begin, Recovered, Site};
use super::{Cluster, Happens};
use crate::world::chance::Chance;
use crate::world::disk::{MachineDisk, Part};
use crate::world::time::Micros;
use proto::Zxid;
use snapshot::base::{Base, verify_watched};
use snapshot::control::Control;
use std::path::Path;

impl Cluster {
    /// A bit goes bad of what the next start reads. Never where it takes a quorum's history.
    pub(super) fn rot(&mut self, number: usize) -> String {
        if !self.may_lose_all(number) {
            return "nothing rots".to_owned();
        }
        // A log that was not closed may end anywhere: what goes bad at its end looks as if it had never been written.
        if self.faults.chance.percent(50) && self.at(number).process.is_some() {
            return self.rot_closed_log(number);
        }
        if self.at(number).process.is_some() {
            self.process_ends(number, true);
        }
        let machine = self.at(number);
        let read = read_at_start(machine.disk.data_dir());
        let rot = machine.disk.rot(Part::Data, |name| read.iter().any(|read| read == name));
        machine.is_wiped |= rot.is_some();
        let text = format!("{number} has rot: {rot:?}");
        machine.faults.rot = machine.faults.rot.take().or(rot);
        text
    }

    fn rot_closed_log(&mut self, number: usize) -> String {
        let machine = self.at(number);
        let is_closed = machine.process.take().is_some_and(|process| process.close().is_ok_and(|is_closed| is_closed));
        let is_power = machine.disk.is_frozen();
        self.process_ends(number, is_power);
        if !is_closed || is_power {
            return format!("{number} ends, and its log is not closed");
        }
        let machine = self.at(number);
        let rot = machine.disk.rot(Part::Log, |name| name.starts_with("segment-"));
        machine.is_wiped |= rot.is_some();
        format!("{number} has rot: {rot:?}")
    }

    /// Does the image in force open, and not read? A server stops where its scrub, or a reader, meets that, and says so; then the operator gives the machine a new disk.
    pub(super) fn is_rotten(&mut self, number: usize) -> bool {
        let time = self.now;
        let machine = self.at(number);
        let Some(rot) = machine.faults.rot.take() else { return false };
        let Some(named) = unreadable(&machine.disk) else {
            machine.faults.has_latent_rot = true;
            return false;
        };
        self.trace.note(time, format_args!("{number}: {rot:?} is found: {named}"));
        self.replace_disk(number);
        self.schedule.put(time + Micros::s(1), Happens::Start(number));
        true
    }

    /// Losses that a start has found, and that nothing explains, are wrong.
    pub(super) fn tell_losses(&mut self, number: usize, losses: &[String]) {
        let time = self.now;
        let machine = self.at(number);
        let (is_explained, text) =
            (machine.is_wiped || machine.faults.has_latent_rot, machine.disk.told(&losses.join("; ")));
        if losses.is_empty() {
            return;
        }
        self.trace.note(time, format_args!("{number}: {text}"));
        if !is_explained {
            self.wrong(format!("server {number} finds a loss, and nothing was lost: {text}"));
        }
    }

    /// A bit of a copy of the disk goes bad, right after a start has sealed the log: recovery from the copy, and a look at all of its image, either name the damage or find
    /// everything. They never find less, nor anything else.
    pub(super) fn try_rot(&mut self, number: usize, last: (Zxid, u64)) {
        if !self.faults.chance.percent(25) {
            return;
        }
        let (bits, time) = (self.faults.chance.bits(), self.now);
        let part = if self.faults.chance.percent(50) { Part::Log } else { Part::Data };
        let machine = self.at(number);
        let mut copy = MachineDisk::copy_of(&machine.disk, Chance::of_seed(bits));
        let Some(rot) = copy.rot(part, |_| true) else { return };
        let site = Site { disk: &copy, ..machine.site() };
        let begin = Begin { salt: 1, now: machine.now(time), autocreate: false, bug: None };
        let found = match unreadable(&copy) {
            None => recovery::recover(&site, begin).map_err(drop),
            Some(_) => Err(()),
        };
        let found =
            found.and_then(
                |Recovered { process, last, losses, .. }| {
                    if losses.is_empty() { Ok((last, process.with_tree(final_state))) } else { Err(()) }
                },
            );
        let expected = machine.process.as_ref().map(|process| (last, process.with_tree(final_state)));
        match found {
            Err(()) => self.trace.note(time, format_args!("{rot:?} is found")),
            Ok(found) => {
                self.trace.note(time, format_args!("{rot:?} means nothing"));
                if Some(&found) != expected.as_ref() {
                    self.wrong(format!(
                        "with {rot:?} recovery of {number} finds {:x?}, and not {last:x?}, or other znodes",
                        found.0
                    ));
                }
            }
        }
    }
}

/// Which files a start reads, below the machine's root.
fn read_at_start(data_dir: &Path) -> Vec<String> {
    let mut read: Vec<String> = ["data/control", "data/identity", "log/identity"].map(str::to_owned).into();
    let image = Control::load(data_dir).ok().flatten().and_then(|control| control.image);
    if let Some(base) = image.and_then(|image| Base::open(data_dir, &image).ok()) {
        let files = base.files().iter().filter_map(|file| file.path.file_name());
        read.extend(files.map(|name| format!("data/{}", name.to_string_lossy())));
    }
    read
}

/// Why the image in force, which opens, does not read.
fn unreadable(disk: &MachineDisk) -> Option<String> {
    let dir = disk.data_dir();
    let image = Control::load(dir).ok()??.image?;
    let base = Base::open(dir, &image).ok()?;
    let read = verify_watched(&base, |_| ());
    read.err().map(|error| disk.told(&error.to_string()))
}
