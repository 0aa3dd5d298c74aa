//! What kind of world a seed has: which hazards there are, and how often.
//!
//! Owns the choice alone, from a random stream of its own. A world that had every hazard all the time would be worn down before two rare things meet; one that had all of them
//! rarely would never see them meet. So each seed has some and lacks the others, and a few hundred seeds have most pairs and triples of them often. It must never know which
//! bug is planted.

use super::faults::{Crash, Fault};
use crate::world::chance::Chance;
use crate::world::disk::DiskPace;
use crate::world::network::{Fuses, Pace};
use crate::world::time::Micros;
use engine::replica::LocalSessions;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    /// How often each kind of fault comes, one against the other.
    pub(super) faults: Vec<(Fault, u64)>,
    /// From one to the next, at the longest.
    pub(super) pause_max: Micros,
    /// Of so many groups of the log one meets a crash before it is durable; 0: none.
    pub(super) crash_in_writes: u64,
    /// This one.
    pub(super) crash: Crash,
    /// After so many of 100 writes of epochs something happens to the server, to the leader or to their connections.
    pub(super) epochs_go_wrong_percent: u64,
    /// After so many of 100 turns of a log.
    pub(super) turns_go_wrong_percent: u64,
    /// After so many of 100 images.
    pub(super) images_go_wrong_percent: u64,
    /// So many of 100 faults are the leader's.
    pub(super) hits_leader_percent: u64,
    /// Connections of the quorum port that break after some bytes.
    pub(super) fuses: Option<Fuses>,
    /// The network's pace.
    pub(super) network: Pace,
    /// Bytes that arrive at once, at the most.
    pub(super) piece_bytes_max: usize,
    /// In so many of 100 looks a client goes elsewhere in the midst of what it asks.
    pub(super) clients_move_percent: u64,
    /// From one look of a client to the next, at the longest.
    pub(super) clients_pause_max: Micros,
    /// Bytes of the data that a client writes, at the most.
    pub(super) data_bytes_max: usize,
}

/// What new sessions are, on all servers of a seed.
pub(super) fn local_sessions(chance: &mut Chance) -> LocalSessions {
    match chance.below(8) {
        0 | 1 => LocalSessions::Upgraded,
        2 => LocalSessions::Kept,
        _ => LocalSessions::No,
    }
}

/// How many servers there are, and what of them is a quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Servers.
    pub(super) servers: u32,
    /// The last so many of them observe.
    pub(super) observers: u32,
    /// Of a hierarchical quorum the groups: voters with their weights. None: a majority counts.
    pub(super) groups: Vec<Vec<(u32, u32)>>,
}

/// What one machine is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Making {
    /// The disk's pace when nothing is wrong with it.
    pub(super) disk: DiskPace,
    /// How long a process that has ended stays away.
    pub(super) away: (Micros, Micros),
    /// Of a segment of the log.
    pub(super) segment_bytes: u64,
    /// One of so many turns of the core begins an image, if it may; 0: none does.
    pub(super) image_one_in: u64,
    /// From its beginning until it is written, at the longest.
    pub(super) image_takes_max: Micros,
    /// So many images are kept, and what of the log they need.
    pub(super) images_kept: usize,
}

impl Scenario {
    /// Of a seed.
    pub(super) fn of(chance: &mut Chance) -> Scenario {
        let faults = Fault::ALL.iter().map(|(fault, often)| {
            let weight = chance.pick(&[0, 1, 1, 2, 4]).copied().unwrap_or(1);
            (*fault, often * weight)
        });
        let faults: Vec<(Fault, u64)> = faults.collect();
        let pauses = [Micros::s(2), Micros::s(4), Micros::s(4), Micros::s(12)];
        let crashes = [Crash::Process, Crash::Power, Crash::Blackout];
        let writes = if chance.percent(30) { chance.between(100, 600) } else { 0 };
        let slow = Pace { delay_min: Micros::ms(1), delay_max: Micros::ms(150), bytes_per_s: 0 };
        let narrow = Pace { bytes_per_s: chance.between(8_000, 100_000), ..Pace::default() };
        Scenario {
            faults,
            pause_max: chance.pick(&pauses).copied().unwrap_or(Micros::s(4)),
            crash_in_writes: writes,
            crash: chance.pick(&crashes).copied().unwrap_or(Crash::Power),
            epochs_go_wrong_percent: if chance.percent(40) { chance.between(5, 50) } else { 0 },
            turns_go_wrong_percent: if chance.percent(60) { chance.between(20, 80) } else { 0 },
            images_go_wrong_percent: if chance.percent(40) { chance.between(3, 30) } else { 0 },
            hits_leader_percent: chance.pick(&[0, 0, 30, 70]).copied().unwrap_or(0),
            fuses: chance.percent(40).then(|| Fuses {
                percent: chance.between(10, 60),
                bytes_min: 100,
                bytes_max: chance.between(8_000, 200_000),
            }),
            network: chance.pick(&[Pace::default(), slow, narrow]).copied().unwrap_or_default(),
            piece_bytes_max: if chance.percent(80) { 50 + chance.below(1_400) } else { usize::MAX },
            clients_move_percent: if chance.percent(40) { chance.between(1, 8) } else { 0 },
            clients_pause_max: chance
                .pick(&[Micros::ms(60), Micros::ms(30), Micros::ms(15)])
                .copied()
                .unwrap_or_default(),
            data_bytes_max: chance.pick(&[0, 0, 200, 3_000]).copied().unwrap_or(0),
        }
    }
}

impl Shape {
    /// Of a seed, with this many servers (0: not given), so many of them observers.
    pub(super) fn of(chance: &mut Chance, servers: u32, observers: u32) -> Shape {
        let (drawn, has_groups) = (chance.below(100), chance.percent(40));
        let size = match drawn {
            0..90 => 3,
            90..97 => 5,
            _ => 7,
        };
        let servers = if servers == 0 { size } else { servers };
        let observers = observers.min(servers - 1);
        let voters = servers - observers;
        let groups = if has_groups && voters >= 5 { groups(chance, voters) } else { Vec::new() };
        Shape { servers, observers, groups }
    }
}

/// Three groups: each has a voter of weight, and some may have one of none.
fn groups(chance: &mut Chance, voters: u32) -> Vec<Vec<(u32, u32)>> {
    let mut groups = vec![Vec::new(); 3];
    for voter in 1..=voters {
        let place = if voter <= 3 { usize::try_from(voter - 1).unwrap_or(0) } else { chance.below(3) };
        let weight = if voter <= 3 { 1 } else { chance.pick(&[0, 1, 1, 2]).copied().unwrap_or(1) };
        if let Some(group) = groups.get_mut(place) {
            group.push((voter, weight));
        }
    }
    groups
}

impl Making {
    /// Of one of a seed's machines.
    pub(super) fn of(chance: &mut Chance) -> Making {
        let disks = [
            DiskPace::default(),
            DiskPace::default(),
            DiskPace { write_min: Micros::ms(2), write_max: Micros::ms(40) },
            DiskPace { write_min: Micros::ms(10), write_max: Micros::ms(100) },
        ];
        let aways = [(Micros::ms(1), Micros::s(1)), (Micros::ms(1), Micros::s(8)), (Micros::s(2), Micros::s(8))];
        Making {
            away: chance.pick(&aways).copied().unwrap_or_default(),
            disk: chance.pick(&disks).copied().unwrap_or_default(),
            segment_bytes: chance
                .pick(&[SEGMENT_BYTES_MIN, 128 << 10, 192 << 10])
                .copied()
                .unwrap_or(SEGMENT_BYTES_MIN),
            image_one_in: chance.pick(&[10, 40, 40, 400, 0]).copied().unwrap_or(40),
            image_takes_max: chance.pick(&[Micros::ms(50), Micros::ms(400), Micros::s(2)]).copied().unwrap_or_default(),
            images_kept: chance.pick(&[1, 2]).copied().unwrap_or(2),
        }
    }
}

/// A group, a record and three blocks must fit: see [`super::process`].
const SEGMENT_BYTES_MIN: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(servers: u32, observers: u32) -> Vec<Shape> {
        (0..200).map(|seed| Shape::of(&mut Chance::stream(seed, "shape"), servers, observers)).collect()
    }

    #[test]
    fn seeds_have_all_sizes_and_large_ones_have_groups_now_and_then() {
        for size in [3, 5, 7] {
            assert!(shapes(0, 0).iter().any(|shape| shape.servers == size), "{size}");
        }
        for (servers, observers, can) in [(3, 0, false), (5, 1, false), (5, 0, true), (7, 2, true), (7, 0, true)] {
            let all = shapes(servers, observers);
            assert!(all.iter().all(|shape| (shape.servers, shape.observers) == (servers, observers)));
            assert_eq!(all.iter().any(|shape| !shape.groups.is_empty()), can, "{servers} {observers}");
        }
    }

    #[test]
    fn a_given_number_of_servers_changes_nothing_else() {
        for seed in 0..200 {
            let of = |servers| Shape::of(&mut Chance::stream(seed, "shape"), servers, 0);
            assert_eq!(of(of(0).servers), of(0));
        }
    }
}
