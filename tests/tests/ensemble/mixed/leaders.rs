//! Whoever leads is killed, again and again, until servers of each kind have led and been killed; the histories of 8 clients are checked as those of the other faults are.
//!
//! Which server leads next is the election's affair: who has the newest history, or the greatest id.

use super::assert_no_mismatch;
use super::packets::assert_ours_are_in_order;
use crate::trial::Trial;
use ringkeeper_tests::cluster::{Implementation, Plan};
use std::collections::BTreeSet;

/// Deaths until it is given up. Three are usual.
const DEATHS_MAX: usize = 30;

use Implementation::{Java, Java38, RingKeeper};

#[test]
fn leaders_of_java_and_of_ringkeeper_are_killed_in_turns() {
    in_turns(&[Java, RingKeeper, Java]);
    in_turns(&[RingKeeper, Java, RingKeeper]);
}

#[test]
fn leaders_of_java_3_8_and_of_ringkeeper_are_killed_in_turns() {
    in_turns(&[RingKeeper, Java38, RingKeeper]);
}

fn in_turns(mix: &'static [Implementation]) {
    let mix = Implementation::Mix(mix);
    let mut trial = Trial::on(Plan::new(mix, 3).recorded().start(), 1);
    let kind = |trial: &Trial, id| trial.cluster.implementation_of(id).name();
    let all: BTreeSet<String> = trial.cluster.ids().into_iter().map(|id| kind(&trial, id)).collect();
    let mut killed = Vec::new();
    while killed.iter().cloned().collect::<BTreeSet<String>>() != all {
        assert!(killed.len() < DEATHS_MAX, "of {all:?} only these have led: {killed:?}");
        // It has led long enough to answer: clients go on after each death.
        let leader = trial.cluster.leader();
        trial.act(&format!("kill {leader}, who leads"), |cluster| cluster.kill9(leader));
        trial.progress();
        assert_ne!(trial.cluster.leader(), leader, "somebody else leads");
        trial.act(&format!("start {leader}"), |cluster| cluster.start(leader));
        trial.cluster.await_serving();
        trial.progress();
        killed.push(kind(&trial, leader));
    }
    println!("{}: killed while they led: {killed:?}", mix.name());
    assert_ours_are_in_order(&trial.cluster, 0);
    assert_no_mismatch(&trial.cluster);
    trial.finish();
}
