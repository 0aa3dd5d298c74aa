//! Runs `tests/scripts/peer/*.txt`: what happens to an ensemble, a line each, and indented below it what its servers then do.
//!
//! After each line everything happens that can without time passing, except what is held. A script's lines, beside what [`scripts`] says of all:
//!
//! | line | what |
//! |---|---|
//! | `ensemble 1 2 3 o4` | the voters and observers; lines such as `group.1=1:2`, `weight.3=0` |
//! | `limits learners_max=2 held_max=1` | settings that are not ZooKeeper's defaults |
//! | `disk 1 epochs=2/1 base=1.2 log=1.3..1.5,2.1 damaged` | what is on a server's disk before it starts: accepted and current epoch, log, a history that is not whole |
//! | `start 1 2` | in an ensemble that was there before: who does not run is away, and is not waited for |
//! | `begin 1 2` | at a first start: who does not run may be about to start |
//! | `crash 1`, `crash 1 2` | of what was under way to the disk, nothing, or two ops, have become durable |
//! | `fake 3 leads 1 1.5`, `fake 2 agrees` | a server that the script plays, and its vote |
//! | `fake 3 serves 1 1.5`, `fake 2 follows 3 1 1.5` | the same, in office |
//! | `say 3>1 DIFF 1.5; PROPOSAL 1.6` | what it says, on the newest link between the two. `LEADERINFO 2` is a Java server's, `LEADERINFO 2 ours` one of ours |
//! | `dial 2>1` | it opens a link |
//! | `propose 1 3` | three txns |
//! | `wait 2000` | time passes, in ms |
//! | `hold 1>2`, `free 1>2` | packets from 1 to 2 stay on their way |
//! | `hold 1`, `free 1`, `write 1 2` | server 1's disk does nothing, does everything, does two ops |
//! | `vote 2>1 looking 2 zxid=1.5 epoch=1 round=1` | what it says on the election port, as in the scripts of elections |
//! | `reach 1 2 yes` | 1 learns that it reaches 2, or that it does not (`no`) |
//! | `cut 1 2`, `part 1 2`, `join` | the network ends the links between both; lets nothing through; heals |
//! | `room 1 2 no` | the link has no room at server 1 |
//! | `forget 1 1.5`, `publish 1` | 1 has the txns up to 1.5 not in memory any more; makes an image of what it shows, in place of the log |
//! | `lose 1`, `full 1 yes` | it finds its history damaged; its log has no space for more writes, or has again (`no`) |
//! | `shown 1 2` | says what these show |
//!
//! Below: what each server does (PINGs and votes left out), and where its office or its positions have changed, those: proposed, durable, committed.

use crate::disk::{Disk, Generation};
use crate::scripts::{self, zxid};
use crate::text;
use crate::wire::{Packet, Txn, at};
use crate::world::{Fake, World};
use proto::election::ServerState;
use proto::{Epoch, LastZxid, ServerId, Zxid};
use ringkeeper_zab::ensemble::Ensemble;
use ringkeeper_zab::{Epochs, Input, LinkId, Ms, Peer};
use std::collections::BTreeMap;

#[test]
fn every_script_does_what_was_recorded() {
    let stage = || Stage { world: World::new(Ensemble::default()), standing: BTreeMap::new() };
    scripts::check("peer", stage, Stage::line);
}

struct Stage {
    world: World,
    /// What was last said of each server.
    standing: BTreeMap<ServerId, String>,
}

impl Stage {
    /// Does what the line says, and tells what comes of it.
    fn line(&mut self, line: &str) -> Vec<String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split(' ').filter(|word| !word.is_empty()).collect();
        if word == "shown" {
            return words.iter().map(|id| self.shown(server(id))).collect();
        }
        self.act(word, rest, &words);
        self.world.settle();
        let mut said = std::mem::take(&mut self.world.trace);
        for id in self.world.ids.clone() {
            let standing = self.stands(id);
            if self.standing.insert(id, standing.clone()).is_none_or(|before| before != standing) {
                said.push(format!("{}: = {standing}", id.0));
            }
        }
        said
    }

    fn act(&mut self, word: &str, rest: &str, words: &[&str]) {
        let count = |at: usize| words.get(at).map_or(1, |word| word.parse::<usize>().unwrap());
        match (word, words) {
            ("ensemble", _) => self.ensemble(rest),
            ("limits", limits) => limits.iter().for_each(|limit| self.limit(limit)),
            ("disk", [id, what @ ..]) => self.disk(server(id), what),
            ("start", ids) => ids.iter().for_each(|id| self.start(server(id))),
            ("begin", ids) => ids.iter().for_each(|id| self.world.start(server(id))),
            ("crash", [id, ..]) => self.world.crash(server(id), if words.len() > 1 { count(1) } else { 0 }, true),
            ("fake", [id, "agrees"]) => drop(self.world.fakes.insert(server(id), Fake::Agrees)),
            ("fake", [id, "leads", epoch, last]) => self.fake(id, id, epoch, last, ServerState::Looking),
            ("fake", [id, "serves", epoch, last]) => self.fake(id, id, epoch, last, ServerState::Leading),
            ("fake", [id, "follows", leader, epoch, last]) => {
                self.fake(id, leader, epoch, last, ServerState::Following);
            }
            ("say", [way, ..]) => {
                let (from, to) = ends(way);
                let Some(link) = self.links(from, to).pop() else {
                    return self.world.say(|| format!("no link from {} to {}", from.0, to.0));
                };
                for packet in rest[way.len()..].split(';') {
                    self.world.post(from, link, parse_packet(from, packet.trim()));
                }
            }
            ("vote", [way, ..]) => {
                let (from, to) = ends(way);
                self.world.step(to, Input::Voted { from, vote: text::vote(&rest[way.len()..]) });
            }
            ("reach", [a, b, is_up]) => {
                let (a, b) = (server(a), server(b));
                self.world.step(a, Input::Reachable { server: b, is_up: *is_up == "yes" });
            }
            ("dial", [way]) => {
                let (from, to) = ends(way);
                self.world.connect(from, to);
            }
            ("propose", [id, ..]) => {
                for _ in 0..count(1) {
                    assert!(self.world.propose(server(id)), "{id} does not lead");
                }
            }
            ("wait", [ms]) => self.wait(ms.parse().unwrap()),
            ("hold", [what]) if what.contains('>') => drop(self.world.held_ways.insert(ends(what))),
            ("free", [what]) if what.contains('>') => drop(self.world.held_ways.remove(&ends(what))),
            ("hold", [id]) => drop(self.world.held_disks.insert(server(id))),
            ("free", [id]) => drop(self.world.held_disks.remove(&server(id))),
            ("write", [id, ..]) => {
                for _ in 0..count(1) {
                    assert!(self.world.write(server(id)), "nothing is under way to {id}'s disk");
                }
            }
            ("cut", [a, b]) => {
                for link in self.links(server(a), server(b)) {
                    self.world.cut_link(link);
                }
            }
            ("part", [a, b]) => {
                let (a, b) = (server(a), server(b));
                self.world.parted.insert((a.min(b), a.max(b)));
            }
            ("join", []) => self.world.parted.clear(),
            ("room", [a, b, has_room]) => {
                for link in self.links(server(a), server(b)) {
                    self.world.step(server(a), Input::Room { link, has_room: *has_room == "yes" });
                }
            }
            ("forget", [id, to]) => self.world.forget(server(id), zxid(to)),
            ("publish", [id]) => assert!(self.world.publish(server(id)), "{id} has nothing to publish"),
            ("lose", [id]) => {
                self.world.nodes.get_mut(&server(id)).unwrap().disk.is_damaged = true;
                self.world.step(server(id), Input::HistoryLost);
            }
            ("full", [id, is_full]) => self.world.step(server(id), Input::Full(*is_full == "yes")),
            _ => panic!("{word} {rest}"),
        }
    }

    fn fake(&mut self, id: &str, leader: &str, epoch: &str, last: &str, state: ServerState) {
        let epoch = Epoch(epoch.parse().unwrap());
        self.world.fakes.insert(server(id), Fake::Votes(server(leader), epoch, zxid(last), state));
    }

    fn ensemble(&mut self, words: &str) {
        self.world = World::new(scripts::ensemble(words));
        self.world.traces = true;
        self.standing.clear();
        for id in self.world.ids.clone() {
            self.world.add(id, Disk::default());
            self.standing.insert(id, self.stands(id));
        }
    }

    fn limit(&mut self, limit: &str) {
        let (name, value) = limit.split_once('=').unwrap();
        let value: usize = value.parse().unwrap();
        match name {
            "always_snap" => self.world.options.always_snap = value > 0,
            "learners_max" => self.world.options.learners_max = value,
            "held_max" => self.world.options.held_max = value,
            _ => panic!("{limit}"),
        }
    }

    /// A start in an ensemble that was there before: whoever does not run has been reached, and is not any more.
    fn start(&mut self, id: ServerId) {
        self.world.start(id);
        for server in self.world.ids.clone() {
            let runs = self.world.is_up(server) || self.world.fakes.contains_key(&server);
            if !runs && self.world.can_reach(id, server) {
                for is_up in [true, false] {
                    self.world.step(id, Input::Reachable { server, is_up });
                }
            }
        }
    }

    fn disk(&mut self, id: ServerId, what: &[&str]) {
        let mut disk = Disk::default();
        for word in what {
            match word.split_once('=').unwrap_or((word, "")) {
                ("epochs", epochs) => {
                    let (accepted, current) = epochs.split_once('/').unwrap();
                    let epoch = |text: &str| Epoch(text.parse().unwrap());
                    disk.epochs = Epochs { accepted: epoch(accepted), current: epoch(current) };
                }
                ("base", base) => disk.current.base = zxid(base),
                ("log", log) => disk.current.log = txns(log),
                ("damaged", _) => disk.is_damaged = true,
                _ => panic!("disk {word}"),
            }
        }
        let Generation { base, state, log } = &mut disk.current;
        *state = log.iter().copied().filter(|txn| txn.zxid <= *base).collect();
        log.retain(|txn| txn.zxid > *base);
        self.world.add(id, disk);
    }

    /// Time passes, with everything that falls due in it.
    fn wait(&mut self, ms: Ms) {
        let end = self.world.now + ms;
        loop {
            self.world.settle();
            let deadlines = self.world.ids.iter().filter_map(|id| self.world.peer(*id)?.deadline());
            let next = deadlines.min().unwrap_or(end).max(self.world.now + 1).min(end);
            self.world.pass(next - self.world.now);
            if next == end {
                return;
            }
        }
    }

    fn links(&self, a: ServerId, b: ServerId) -> Vec<LinkId> {
        let between = |c: &crate::world::Connection| [(a, b), (b, a)].contains(&(c.dialer, c.acceptor));
        self.world.links.iter().filter(|(_, c)| between(c)).map(|(link, _)| *link).collect()
    }

    fn stands(&self, id: ServerId) -> String {
        let Some(peer) = self.world.peer(id) else { return "does not run".to_owned() };
        let office = peer.role();
        let epoch = office.epoch.map_or(String::new(), |epoch| format!(" epoch {}", epoch.0));
        let serves = if office.is_serving { ", serves" } else { "" };
        let leader =
            office.leader.filter(|leader| *leader != id).map_or(String::new(), |leader| format!(" {}", leader.0));
        let positions = Peer::positions(peer);
        let [proposed, durable, committed] = [positions.proposed, positions.durable, positions.committed].map(at);
        format!("{:?}{leader}{epoch}{serves}; {proposed} {durable} {committed}", office.state)
    }

    fn shown(&self, id: ServerId) -> String {
        let zxids: Vec<String> = self.world.node(id).applied.iter().map(|txn| at(txn.zxid)).collect();
        format!("{}: shows {}", id.0, zxids.join(" "))
    }
}

fn server(text: &str) -> ServerId {
    ServerId(text.parse().unwrap_or_else(|_| panic!("{text} is no server")))
}

/// `3>1`.
fn ends(text: &str) -> (ServerId, ServerId) {
    let (from, to) = text.split_once('>').unwrap_or_else(|| panic!("{text} is no way"));
    (server(from), server(to))
}

/// `1.3..1.5,2.1`.
fn txns(text: &str) -> Vec<Txn> {
    let ranges = text.split(',').flat_map(|range| {
        let (first, last) = range.split_once("..").unwrap_or((range, range));
        let (first, last) = (zxid(first), zxid(last));
        (first.0..=last.0).map(Zxid)
    });
    ranges.map(|zxid| Txn { zxid, value: zxid.0 }).collect()
}

fn parse_packet(from: ServerId, text: &str) -> Packet {
    let words: Vec<&str> = text.split(' ').collect();
    let epoch = |text: &str| Epoch(text.parse().unwrap());
    let txn = |text: &str| Txn { zxid: zxid(text), value: zxid(text).0 };
    match words[..] {
        ["LEADERINFO", of] => Packet::LeaderInfo { epoch: epoch(of), is_ours: false },
        ["LEADERINFO", of, "ours"] => Packet::LeaderInfo { epoch: epoch(of), is_ours: true },
        ["DIFF", to] => Packet::Diff(zxid(to)),
        ["TRUNC", to] => Packet::Trunc(zxid(to)),
        ["SNAP", of, state] => Packet::Snap(zxid(of), txns(state)),
        ["PROPOSAL", of] => Packet::Proposal(txn(of)),
        ["COMMIT", of] => Packet::Commit(zxid(of)),
        ["INFORM", of] => Packet::Inform(txn(of)),
        ["NEWLEADER", of] => Packet::NewLeader(epoch(of)),
        ["UPTODATE"] => Packet::UpToDate,
        ["PING", of] => Packet::Ping(zxid(of)),
        ["FOLLOWERINFO", accepted] => {
            Packet::Info { server: from, observer: false, is_ours: false, accepted: epoch(accepted) }
        }
        ["OBSERVERINFO", accepted] => {
            Packet::Info { server: from, observer: true, is_ours: false, accepted: epoch(accepted) }
        }
        ["ACKEPOCH", last, current] => {
            let last = if last == "-1" { LastZxid::NONE } else { zxid(last).into() };
            Packet::AckEpoch { last, current: (current != "-1").then(|| epoch(current)) }
        }
        ["ACK", of] => Packet::Ack(zxid(of)),
        ["PONG", of] => Packet::Pong(zxid(of)),
        _ => panic!("{text} is no packet"),
    }
}
