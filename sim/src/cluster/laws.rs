//! Laws 1, 2, 9 and 10, looked at whenever something leaves a server, is applied or is read at a start.
//!
//! Owns what each machine's disk holds durably ([`Held`]): the histories of its log's generations, as the log says group by group ([`Kept`]) and as starts have read them; which of them is in force
//! the bytes of the control file say that would survive a power loss now. What a server believes is never asked. Here too: what each has promised in epochs, and up to where a
//! quorum of the voters has had each epoch's txns. What is wrong ends the run. The planted bugs would catch a mistake: `sim bugs`.

use super::Cluster;
use super::machine::Machine;
use crate::world::network::{ConnId, Side};
use proto::quorum::{FromLeader, FromLearner, QuorumPacket};
use proto::{Epoch, LastZxid, Received, Zxid};
use snapshot::control::Control;
use std::collections::{BTreeMap, BTreeSet};
use zab::History;
use zab::election::Vote;

/// What the log's side has made durable.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    /// A txn, in this generation of the log.
    Txn(u64, Zxid),
    /// This generation begins with what that one had up to here.
    Cut { of: u64, to: u64, last: Zxid },
    /// This generation begins behind a state of this zxid.
    Begun(u64, Zxid),
    /// It is in force.
    Adopted(u64),
}

/// What a machine's disk holds, and what its server has said of it.
#[derive(Debug, Default)]
pub(super) struct Held {
    logs: BTreeMap<u64, History>,
    in_force: u64,
    /// What was there when something of it was lost, as long as no state was taken since: whoever has lost something counts for no quorum, and so takes nothing from one.
    lost: Option<History>,
    /// The last state that was taken.
    begun: Option<u64>,
    /// The disk is a new one, and no state was taken since.
    is_lost: bool,
    /// The newest epoch for which an ACKEPOCH has left.
    promised: Epoch,
    /// The newest of which the NEWLEADER was acknowledged.
    followed: Epoch,
    /// What has left on links and is no whole packet yet.
    said: BTreeMap<ConnId, Vec<u8>>,
    /// Clients' connections that had their first answer.
    greeted: BTreeSet<ConnId>,
}

impl Held {
    /// The disk is replaced by a new one.
    pub(super) fn lose_all(&mut self) {
        let lost = self.lost.take().or_else(|| self.history().cloned());
        *self = Held { is_lost: true, lost, ..Held::default() };
    }

    /// The process is over.
    pub(super) fn process_ends(&mut self) {
        self.said.clear();
        self.greeted.clear();
    }

    /// A connection is.
    pub(super) fn closed(&mut self, conn: ConnId) {
        self.said.remove(&conn);
        self.greeted.remove(&conn);
    }

    fn history(&self) -> Option<&History> {
        self.logs.get(&self.in_force)
    }

    /// How many txns of an epoch the history has. Of what lies below a state nothing is known: all that are asked for.
    fn reaches(&self, epoch: Epoch) -> u32 {
        let Some(history) = self.lost.as_ref().or(self.history()) else { return 0 };
        if epoch < history.floor().epoch() {
            return u32::MAX;
        }
        history.newest_at(Zxid::new(epoch, u32::MAX)).filter(|newest| newest.epoch() == epoch).map_or(0, Zxid::counter)
    }

    fn has(&self, generation: u64, zxid: Zxid) -> bool {
        let Some(history) = self.logs.get(&generation) else { return false };
        zxid < history.floor() || history.newest_at(zxid) == Some(zxid)
    }

    /// Whole packets of what has left on a link.
    fn packets<T>(&mut self, conn: ConnId, bytes: &[u8], each: impl Fn(&QuorumPacket<'_>) -> Option<T>) -> Vec<T> {
        let said = self.said.entry(conn).or_default();
        said.extend_from_slice(bytes);
        let (mut all, mut at) = (Vec::new(), 0);
        while let Some(rest) = said.get(at..)
            && let Ok(Received::Whole(packet, length)) = QuorumPacket::receive(rest, usize::MAX)
        {
            all.extend(each(&packet));
            at += length;
        }
        said.drain(..at);
        all
    }
}

impl Machine {
    /// The control file that would be there after a power loss now. None: nobody knows.
    fn durable_control(&self) -> Option<Control> {
        let path = snapshot::DataDir::new(self.disk.data_dir()).control();
        Control::decode(&self.disk.data().durable_file(&path)?, &path).ok()
    }
}

/// Can a txn be the next after this one?
fn follows(last: Zxid, zxid: Zxid) -> bool {
    History::new(last).is_next(zxid)
}

impl Cluster {
    /// The log's side has made things durable. Law 2: in a log one txn follows on the other.
    pub(super) fn keeps(&mut self, number: usize, all: Vec<Kept>) {
        for kept in all {
            let held = &mut self.at(number).held;
            match kept {
                Kept::Txn(generation, zxid) => {
                    let history = held.logs.entry(generation).or_insert_with(|| History::new(Zxid::ZERO));
                    let last = history.last();
                    if !history.is_next(zxid) {
                        return self.wrong(format!("server {number} logs {zxid} after {last} (law 2)"));
                    }
                    history.push(zxid);
                    if generation == held.in_force {
                        self.may_be_on_quorum(zxid.epoch());
                    }
                }
                Kept::Cut { of, to, last } => {
                    let mut history = held.logs.get(&of).cloned().unwrap_or_else(|| History::new(last));
                    if last >= history.floor() {
                        history.cut(last)
                    } else {
                        history = History::new(last)
                    }
                    held.logs.insert(to, history);
                    held.in_force = to;
                }
                Kept::Begun(generation, base) => {
                    held.logs.insert(generation, History::new(base));
                    held.begun = Some(generation);
                }
                Kept::Adopted(generation) => {
                    (held.in_force, held.is_lost, held.lost) = (generation, false, None);
                    self.all_may_be_on_quorum();
                }
            }
        }
    }

    /// Law 9: what was durable is there again. Law 10: and what was promised, unless it is known that something is lost.
    pub(super) fn starts_with(&mut self, number: usize, control: &Control, history: History) {
        let held = &mut self.at(number).held;
        let generation = control.log_generation;
        // It was taken as the process ended.
        held.is_lost &= held.begun != Some(generation);
        let former = held.history().cloned();
        let known = held.logs.insert(generation, history).map(|known| known.last());
        held.in_force = generation;
        let (promised, followed, is_lost) = (held.promised, held.followed, held.is_lost);
        let (accepted, current) = (control.accepted_epoch, control.current_epoch);
        if !control.is_whole || is_lost {
            (held.promised, held.followed) = (accepted, current);
            held.lost = held.lost.take().or(former);
            return;
        }
        held.lost = None;
        if let Some(known) = known.filter(|known| !held.has(generation, *known)) {
            return self.wrong(format!("server {number} had {known} durably, and starts without it (law 9)"));
        }
        if accepted < promised || current < followed {
            return self.wrong(format!(
                "server {number} starts with the epochs {accepted:?} and {current:?}, and has promised {promised:?} and followed {followed:?} (law 10)"
            ));
        }
        self.all_may_be_on_quorum();
    }

    /// Bytes leave for a client. Law 1: what they show is durable on a quorum.
    pub(super) fn shows(&mut self, number: usize, conn: ConnId, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(frame) = crate::clients::whole_frame(rest) {
            rest = rest.get(4 + frame.len()..).unwrap_or_default();
            // The first is the handshake's answer, and has no header.
            if self.at(number).held.greeted.insert(conn) {
                continue;
            }
            let zxid = frame.get(4..12).and_then(|zxid| zxid.try_into().ok()).map_or(-1, i64::from_be_bytes);
            if let Some(zxid) = LastZxid(zxid).zxid()
                && !self.is_on_quorum(zxid)
            {
                return self
                    .wrong(format!("server {number} shows {zxid} to a client, and no quorum has it durably (law 1)"));
            }
        }
    }

    /// A txn is applied. Law 1, as [`Cluster::shows`]; law 2: it follows on the one before.
    pub(super) fn applies(&mut self, number: usize, last: Zxid, zxid: Zxid) {
        if !follows(last, zxid) {
            self.wrong(format!("server {number} applies {zxid} after {last} (law 2)"));
        } else if !self.is_on_quorum(zxid) {
            self.wrong(format!("server {number} applies {zxid}, and no quorum has it durably (law 1)"));
        }
    }

    /// Bytes leave for another server. Laws 1 and 10: an ACK, an ACKEPOCH say what the own disk has.
    pub(super) fn says(&mut self, number: usize, conn: ConnId, side: Side, bytes: &[u8]) {
        if side == Side::Acceptor {
            return self.offers(number, conn, bytes);
        }
        let acks = self.at(number).held.packets(conn, bytes, |packet| match FromLearner::decode(packet) {
            Ok(FromLearner::Ack(zxid)) => Some(Said::Ack(zxid)),
            Ok(FromLearner::AckEpoch { last_zxid, .. }) => Some(Said::AckEpoch(last_zxid)),
            _ => None,
        });
        for ack in acks {
            let Some(control) = self.at(number).durable_control() else {
                return self.wrong(format!("server {number} says {ack:?}, and has no control file durably (law 10)"));
            };
            match ack {
                Said::Ack(zxid) if zxid.counter() == 0 => {
                    let held = &mut self.at(number).held;
                    held.followed = held.followed.max(zxid.epoch());
                    let me = self.at(number).server();
                    self.in_step.entry(zxid.epoch()).or_default().insert(me);
                    if control.current_epoch < zxid.epoch() || control.accepted_epoch < zxid.epoch() {
                        return self.wrong(format!(
                            "server {number} acknowledges NEWLEADER {zxid}, and its disk has {control:?} (law 10)"
                        ));
                    }
                }
                Said::Ack(zxid) if self.at(number).held.has(control.log_generation, zxid) => {}
                Said::Ack(zxid) => {
                    return self
                        .wrong(format!("server {number} acknowledges {zxid}, which its disk has not durably (law 1)"));
                }
                Said::AckEpoch(last) => self.promises(number, conn, last, &control),
            }
        }
    }

    /// The first packet of a link to a learner tells the epoch that is to be promised.
    fn offers(&mut self, number: usize, conn: ConnId, bytes: &[u8]) {
        if self.offered.contains_key(&conn) {
            return;
        }
        let offer = self.at(number).held.packets(conn, bytes, |packet| match FromLeader::decode(packet) {
            Ok(FromLeader::LeaderInfo { epoch, .. }) => Some(epoch),
            _ => None,
        });
        self.offered.extend(offer.first().map(|epoch| (conn, *epoch)));
    }

    fn promises(&mut self, number: usize, conn: ConnId, last: LastZxid, control: &Control) {
        let Some(epoch) = self.offered.get(&conn).copied() else {
            return self.wrong(format!("server {number} promises an epoch that nobody has offered"));
        };
        let held = &mut self.at(number).held;
        held.promised = held.promised.max(epoch);
        if control.accepted_epoch < epoch {
            return self.wrong(format!(
                "server {number} promises {epoch:?}, and its disk has {:?} (law 10)",
                control.accepted_epoch
            ));
        }
        self.tells_its_end(number, last, control);
    }

    /// A vote leaves. Law 10: that of a server that is not whole does not count.
    pub(super) fn votes_for(&mut self, number: usize, vote: &Vote) {
        let machine = self.at(number);
        if vote.leader != machine.server() || vote.state != proto::election::ServerState::Looking {
            return;
        }
        if let Some(control) = machine.durable_control() {
            self.tells_its_end(number, vote.zxid, &control);
        }
    }

    fn tells_its_end(&mut self, number: usize, told: LastZxid, control: &Control) {
        let held = &self.at(number).held;
        let is_whole = control.is_whole && !held.is_lost;
        let last = held.logs.get(&control.log_generation).map(History::last);
        match told.zxid() {
            Some(zxid) if !is_whole => {
                self.wrong(format!(
                    "server {number} is not whole, and says that its history ends with {zxid} (law 10)"
                ));
            }
            Some(zxid) if zxid.counter() > 0 && last.is_some_and(|last| last != zxid) => {
                self.wrong(format!(
                    "server {number} says that its history ends with {zxid}, and on its disk that is {last:?} (law 10)"
                ));
            }
            _ => {}
        }
    }

    /// It leads. Law 10: what it has promised by that is on its disk, and a quorum of the voters has taken over its history durably; it need not be one of them.
    pub(super) fn leads_with(&mut self, number: usize, epoch: u64) {
        let epoch = Epoch(u32::try_from(epoch).unwrap_or(u32::MAX));
        let machine = self.at(number);
        let me = machine.server();
        machine.held.promised = machine.held.promised.max(epoch);
        let control = machine.durable_control();
        if control.as_ref().is_none_or(|control| control.accepted_epoch < epoch) {
            return self.wrong(format!("server {number} leads {epoch:?}, and its disk has not promised it (law 10)"));
        }
        let own = control.filter(|control| control.current_epoch >= epoch).map(|_| me);
        let in_step = self.in_step.get(&epoch).into_iter().flatten().copied().chain(own);
        let ensemble = self.machines.first().and_then(|machine| machine.member.as_ref()).map(|member| &member.ensemble);
        if ensemble.is_some_and(|ensemble| !ensemble.is_quorum(in_step)) {
            self.wrong(format!("server {number} leads {epoch:?}, and no quorum has that epoch durably (law 10)"));
        }
    }

    // ---- quorums --------------------------------------------------------------------------------------------------------

    /// Was it once durable on a quorum of the voters? A position without a txn is nobody's.
    fn is_on_quorum(&self, zxid: Zxid) -> bool {
        zxid.counter() <= self.on_quorum.get(&zxid.epoch()).copied().unwrap_or(0)
    }

    /// Somebody has more of this epoch.
    fn may_be_on_quorum(&mut self, epoch: Epoch) {
        let ensemble = self.machines.first().and_then(|machine| machine.member.as_ref()).map(|member| &member.ensemble);
        let reached = match ensemble {
            None => self.machines.first().map(|machine| machine.held.reaches(epoch)),
            Some(ensemble) => {
                let voters = self.machines.iter().filter(|machine| machine.votes());
                let of = |machine: &Machine| (machine.server(), machine.held.reaches(epoch));
                ensemble.reached(&voters.map(of).collect::<Vec<_>>())
            }
        };
        let known = self.on_quorum.entry(epoch).or_default();
        *known = (*known).max(reached.unwrap_or(0));
    }

    /// A history has changed as a whole.
    fn all_may_be_on_quorum(&mut self) {
        let histories = self.machines.iter().filter_map(|machine| machine.held.history());
        let epochs: BTreeSet<Epoch> = histories.flat_map(History::spans).map(|(epoch, _)| epoch).collect();
        epochs.into_iter().for_each(|epoch| self.may_be_on_quorum(epoch));
    }
}

/// What a learner says of its disk.
#[derive(Clone, Copy, Debug)]
enum Said {
    Ack(Zxid),
    AckEpoch(LastZxid),
}
