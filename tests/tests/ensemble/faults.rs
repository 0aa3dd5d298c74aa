//! One fault at a time.

use super::trial::Trial;
use ringkeeper_tests::cluster::{Cluster, Implementation, Plan};

/// What happens to an ensemble.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    KillLeader,
    KillFollower,
    /// All at once.
    KillAll,
    PauseLeader,
    PauseFollower,
    RollingRestart,
}

impl Fault {
    pub const ALL: [Fault; 6] = [
        Fault::KillLeader,
        Fault::KillFollower,
        Fault::KillAll,
        Fault::PauseLeader,
        Fault::PauseFollower,
        Fault::RollingRestart,
    ];

    /// Lets it happen, and end. The ensemble must work meanwhile, where there is a quorum.
    pub fn befall(self, trial: &mut Trial) {
        match self {
            Fault::KillLeader => kill_and_start(trial, Cluster::leader),
            Fault::KillFollower => kill_and_start(trial, Cluster::follower),
            Fault::KillAll => {
                let ids = trial.cluster.ids();
                trial.act("kill all", |cluster| ids.iter().for_each(|id| cluster.kill9(*id)));
                trial.act("start all", |cluster| ids.iter().for_each(|id| cluster.start(*id)));
            }
            Fault::PauseLeader => pause_and_go_on(trial, Cluster::leader),
            Fault::PauseFollower => pause_and_go_on(trial, Cluster::follower),
            Fault::RollingRestart => rolling_restart(trial),
        }
        trial.cluster.await_serving();
        trial.progress();
    }
}

/// Kills one, and starts it again once the others have gone on.
pub fn kill_and_start(trial: &mut Trial, whom: fn(&Cluster) -> u8) {
    let id = whom(&trial.cluster);
    trial.act(&format!("kill {id}"), |cluster| cluster.kill9(id));
    trial.progress();
    trial.act(&format!("start {id}"), |cluster| cluster.start(id));
}

/// Lets one stand still while the others go on.
pub fn pause_and_go_on(trial: &mut Trial, whom: fn(&Cluster) -> u8) {
    let id = whom(&trial.cluster);
    let leads = trial.cluster.leads() == Some(id);
    trial.act(&format!("pause {id}"), |cluster| cluster.pause(id));
    if leads {
        let next = trial.cluster.leader();
        assert_ne!(next, id, "somebody else leads");
    }
    trial.progress();
    trial.act(&format!("let {id} go on"), |cluster| cluster.go_on(id));
}

/// The leader last, as one does.
fn rolling_restart(trial: &mut Trial) {
    let leader = trial.cluster.leader();
    let mut ids = trial.cluster.ids();
    ids.sort_by_key(|id| *id == leader);
    for id in ids {
        trial.act(&format!("restart {id}"), |cluster| {
            cluster.stop(id);
            cluster.start(id);
        });
        trial.cluster.await_serving();
    }
}

fn try_on(fault: Fault) {
    for implementation in Implementation::wanted() {
        let mut trial = Trial::begin(Plan::new(implementation, 3), 1).with_kazoo(1);
        fault.befall(&mut trial);
        trial.finish();
    }
}

#[test]
fn the_leader_is_killed_and_nothing_is_lost() {
    try_on(Fault::KillLeader);
}

#[test]
fn a_follower_is_killed_and_nothing_is_lost() {
    try_on(Fault::KillFollower);
}

#[test]
fn all_are_killed_and_nothing_is_lost() {
    try_on(Fault::KillAll);
}

#[test]
fn the_leader_stands_still_another_leads_and_the_old_one_follows() {
    try_on(Fault::PauseLeader);
}

#[test]
fn a_follower_stands_still_and_catches_up() {
    try_on(Fault::PauseFollower);
}

#[test]
fn servers_are_restarted_one_after_the_other_and_nobody_loses_anything() {
    try_on(Fault::RollingRestart);
}
