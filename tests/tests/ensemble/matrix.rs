//! All faults, one after the other in a random order, on one ensemble: each meets what the ones before have left.

use super::faults::Fault;
use super::partitions::Partition;
use super::trial::Trial;
use ringkeeper_sim::world::chance::Chance;
use ringkeeper_tests::cluster::{Implementation, Plan};

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

enum Any {
    Fault(Fault),
    Partition(Partition),
}

fn one(implementation: Implementation, voters: u8, seed: u64) {
    println!("{} on {voters} servers: RK_ENSEMBLE_SEED={seed}", implementation.name());
    let mut chance = Chance::stream(seed, "faults");
    let mut trial = Trial::begin(Plan::new(implementation, voters).apart(), seed).with_kazoo(seed);
    let mut all: Vec<Any> = Fault::ALL.map(Any::Fault).into();
    all.extend(Partition::ALL.map(Any::Partition));
    while !all.is_empty() {
        let next = chance.below(all.len());
        match all.swap_remove(next) {
            Any::Fault(fault) => fault.befall(&mut trial),
            Any::Partition(partition) => partition.befall(&mut trial),
        }
    }
    trial.finish();
}
