//! All faults, one after the other in a random order, on one ensemble: each meets what the ones before have left.

use super::clocks::Clock;
use super::faults::{Fault, kill_and_start, pause_and_go_on};
use super::partitions::Partition;
use super::slow_disks::SLOW;
use super::trial::Trial;
use ringkeeper_sim::world::chance::Chance;
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};
use ringkeeper_tests::{Cgroup, LoopDisk};

/// The disk of server 1; its file takes what is used of it.
const DISK_MIB: u64 = 2_048;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// `RK_ENSEMBLE_ROUNDS` rounds (none without it) with seeds from `RK_ENSEMBLE_SEED` on, or fresh ones.
#[test]
fn any_order_of_faults_on_3_and_5_servers() {
    let rounds = number("RK_ENSEMBLE_ROUNDS", 0);
    let fresh = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seed = number("RK_ENSEMBLE_SEED", fresh);
    for round in seed..seed + rounds {
        for implementation in Implementation::wanted() {
            for voters in [3, 5] {
                one(implementation, voters, round);
            }
        }
    }
}

/// What happens to an ensemble with an observer, the last of its servers.
#[derive(Clone, Copy)]
enum Any {
    Fault(Fault),
    Partition(Partition),
    KillObserver,
    PauseObserver,
    /// The disk of server 1 is slow for a while, whatever it is by then.
    SlowDisk,
    /// A wall clock that jumps there, and back.
    Clock(fn(&Cluster) -> u8, &'static str),
}

/// Nothing of it can be done to Java's servers: they write through the page cache, which is not slowed down, and a JVM with `faketime` before it hangs.
const OURS: [Any; 4] = [
    Any::SlowDisk,
    Any::Clock(Cluster::leader, "+5d"),
    Any::Clock(Cluster::leader, "-5d"),
    Any::Clock(Cluster::follower, "+5d"),
];

fn observer(cluster: &Cluster) -> u8 {
    *cluster.ids().last().expect("there are servers")
}

fn one(implementation: Implementation, voters: u8, seed: u64) {
    println!("{} on {voters} servers: RK_ENSEMBLE_SEED={seed}", implementation.name());
    let mut chance = Chance::stream(seed, "faults");
    let mut cluster = Plan::new(implementation, voters).observers(1).apart().prepare();
    let mut all: Vec<Any> = Fault::ALL.map(Any::Fault).into();
    all.extend(Partition::ALL.map(Any::Partition));
    all.extend([Any::KillObserver, Any::PauseObserver]);
    let (mut clocks, mut slow) = (Vec::new(), None);
    if implementation == Implementation::RingKeeper {
        all.extend(OURS);
        clocks = cluster.ids().into_iter().map(|id| Clock::of(&mut cluster, id)).collect();
        slow = Cgroup::of_disks().zip(LoopDisk::in_memory(DISK_MIB));
    }
    if let Some((_, disk)) = &slow {
        let data = disk.path().join("data");
        std::fs::create_dir(&data).expect("an empty disk");
        std::os::unix::fs::symlink(data, cluster.data_dir(1)).expect("a directory that is not there yet");
    }
    cluster.ids().into_iter().for_each(|id| cluster.start(id));
    cluster.await_serving();
    let mut trial = Trial::on(cluster, seed).with_kazoo(seed);
    while !all.is_empty() {
        let next = chance.below(all.len());
        match all.swap_remove(next) {
            Any::Fault(fault) => fault.befall(&mut trial),
            Any::Partition(partition) => partition.befall(&mut trial),
            Any::KillObserver => kill_and_start(&mut trial, observer),
            Any::PauseObserver => pause_and_go_on(&mut trial, observer),
            Any::Clock(whose, offset) => {
                let id = whose(&trial.cluster);
                for offset in [offset, "+0"] {
                    trial.act(&format!("the clock of {id}: {offset}"), |_| clocks[usize::from(id) - 1].set(offset));
                    trial.progress();
                }
            }
            Any::SlowDisk => {
                let Some((group, disk)) = &slow else { continue };
                group.take(trial.cluster.pid(1));
                let slowed = group.slow_down(disk, SLOW);
                trial.act("the disk of 1 is slow", |_| ());
                trial.progress();
                drop(slowed);
                trial.act("it is as it was", |_| ());
            }
        }
        trial.cluster.await_serving();
    }
    trial.finish();
}
