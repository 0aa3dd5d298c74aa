//! Servers that do not reach each other, while clients reach all of them.

use super::trial::Trial;
use ringkeeper_tests::cluster::{Implementation, Mode, Plan};
use ringkeeper_tests::until_within;
use std::time::Duration;

/// How long the loss of a peer may go unnoticed, and an election after it take.
const NOTICED: Duration = Duration::from_secs(60);

/// Who does not reach whom.
#[derive(Clone, Copy, Debug)]
pub enum Partition {
    /// The leader and everybody else: another leads.
    LeaderAlone,
    /// A follower and everybody else.
    FollowerAlone,
    /// The leader and one follower, which both reach the others.
    OneLink,
    /// What the leader sends is heard by nobody; it hears all.
    LeaderMute,
}

impl Partition {
    pub const ALL: [Partition; 4] =
        [Partition::LeaderAlone, Partition::FollowerAlone, Partition::OneLink, Partition::LeaderMute];

    /// Lets it happen, and heal. Whoever has a quorum works meanwhile.
    pub fn befall(self, trial: &mut Trial) {
        let (leader, follower) = (trial.cluster.leader(), trial.cluster.follower());
        let others = |id: u8, trial: &Trial| {
            trial.cluster.ids().into_iter().filter(move |other| *other != id).collect::<Vec<u8>>()
        };
        let (beside_leader, beside_follower) = (others(leader, trial), others(follower, trial));
        trial.act(&format!("{self:?}: {leader} leads, {follower} follows"), |cluster| match self {
            Partition::LeaderAlone => beside_leader.iter().for_each(|other| cluster.cut(leader, *other)),
            Partition::FollowerAlone => beside_follower.iter().for_each(|other| cluster.cut(follower, *other)),
            Partition::OneLink => cluster.cut(leader, follower),
            Partition::LeaderMute => beside_leader.iter().for_each(|other| cluster.cut_one_way(leader, *other)),
        });
        match self {
            Partition::LeaderAlone | Partition::LeaderMute => until_within(NOTICED, "another leads", || {
                beside_leader.iter().any(|other| trial.cluster.mode(*other) == Some(Mode::Leader))
            }),
            Partition::FollowerAlone => {
                until_within(NOTICED, "it notices", || trial.cluster.mode(follower).is_none());
            }
            // Whether it finds another leader is for the servers to say: it may look for ever.
            Partition::OneLink => {}
        }
        trial.progress();
        trial.act("heal", ringkeeper_tests::cluster::Cluster::heal);
        trial.cluster.await_serving();
        trial.progress();
    }
}

fn try_on(partition: Partition) {
    for implementation in Implementation::wanted() {
        let mut trial = Trial::begin(Plan::new(implementation, 3).apart(), 3);
        partition.befall(&mut trial);
        trial.finish();
    }
}

#[test]
fn a_leader_alone_leads_no_more_and_nothing_is_lost() {
    try_on(Partition::LeaderAlone);
}

#[test]
fn a_follower_alone_serves_no_more_and_catches_up() {
    try_on(Partition::FollowerAlone);
}

#[test]
fn a_follower_that_does_not_reach_the_leader_loses_nothing() {
    try_on(Partition::OneLink);
}

#[test]
fn a_leader_that_nobody_hears_is_replaced_and_nothing_is_lost() {
    try_on(Partition::LeaderMute);
}
