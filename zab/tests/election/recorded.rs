//! One server of a recorded ensemble is an [`Election`]: it hears what Java's heard, in the order of the recording, and has to elect whom Java
//! elected and to say to each other server what Java said to it.
//!
//! A vote that is said again counts once. Not compared: what voters that look say to an observer (Java says whom it followed before), and what a server said
//! before the recording's first sight of it on a connection. 2 and 3 answer the observer in round 0, since Java renews its election when the
//! configuration has a new version: so only 1 is played there.

use proto::election::{Notification, NotificationForm, ServerState};
use proto::{Epoch, LastZxid, ServerId};
use ringkeeper_zab::election::{Election, ElectionOptions, Vote};
use ringkeeper_zab::ensemble::Ensemble;
use ringkeeper_zab::{Action, Ms};
use std::collections::BTreeMap;

const V395: &str = include_str!("../../../proto/vectors/quorum-3.9.5.txt");
const NOBODY: [i64; 0] = [];
const V380: &str = include_str!("../../../proto/vectors/quorum-3.8.0.txt");

#[test]
fn a_first_election_goes_as_in_java() {
    assert_eq!(play(V395, "first_election", 2, Before::Nothing).compared(), [3]);
    assert_eq!(play(V395, "first_election", 3, Before::Nothing).compared(), [3]);
}

#[test]
fn a_late_server_joins_as_in_java() {
    for scene in ["late_follower", "diff", "outstanding", "snap"] {
        assert_eq!(play(V395, scene, 1, Before::Nothing).compared(), [3], "{scene}");
    }
}

#[test]
fn who_is_in_office_answers_as_in_java() {
    for scene in ["late_follower", "diff", "outstanding", "snap"] {
        assert_eq!(play(V395, scene, 2, Before::Office).compared(), NOBODY, "{scene}");
        assert_eq!(play(V395, scene, 3, Before::Office).compared(), NOBODY, "{scene}");
    }
    assert_eq!(play(V395, "observer", 1, Before::Office).compared(), NOBODY);
    assert_eq!(play(V380, "observer", 1, Before::Office).compared(), NOBODY);
}

#[test]
fn the_next_leader_is_elected_as_in_java() {
    assert_eq!(play(V395, "trunc", 1, Before::OfficeAndLook).compared(), [2]);
    assert_eq!(play(V395, "trunc", 2, Before::Nothing).compared(), [2]);
}

#[test]
fn an_observer_learns_as_in_java() {
    for recording in [V395, V380] {
        assert_eq!(play(recording, "observer", 4, Before::Nothing).compared(), [3]);
        // First it is told of the dead leader, goes there in vain, and looks anew.
        assert_eq!(play(recording, "trunc", 4, Before::Nothing).compared(), [3, 2]);
    }
}

#[test]
fn a_server_that_comes_back_with_more_than_the_leader_joins_as_in_java() {
    // What it has said is not compared: the first votes that the proxies saw on the way to it went down with a connection that was made twice.
    for recording in [V395, V380] {
        assert_eq!(play(recording, "trunc", 3, Before::Nothing).elected, [2]);
    }
}

/// What the server has been through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// It has just started, and looks.
    Nothing,
    /// It is in office under 3, elected in round 1.
    Office,
    /// It was, and looks again.
    OfficeAndLook,
}

/// The server in the place of Java's.
struct Player {
    me: ServerId,
    election: Election,
    ensemble: Ensemble,
    last: LastZxid,
    current: Epoch,
    now: Ms,
    /// Whom it has elected, one look after the other.
    elected: Vec<i64>,
    /// What it has said to each other server, and what Java's has.
    said: BTreeMap<ServerId, Vec<Vote>>,
    java: BTreeMap<ServerId, Vec<Vote>>,
}

fn play(recording: &str, scene: &str, me: i64, before: Before) -> Player {
    let (ensemble, votes) = votes(recording, scene);
    let me = ServerId(me);
    let own =
        votes.iter().find(|(from, _, vote)| *from == me && vote.leader == me && vote.state == ServerState::Looking);
    let (last, current) = own.map_or((LastZxid(0), 0), |(_, _, vote)| (vote.zxid, vote.peer_epoch.0));
    let mut player = Player {
        me,
        election: Election::new(me, ElectionOptions::default()),
        ensemble,
        last,
        current: Epoch(u32::try_from(current).unwrap()),
        now: 0,
        elected: Vec::new(),
        said: BTreeMap::new(),
        java: BTreeMap::new(),
    };
    player.prepare(before);
    for (i, (from, to, vote)) in votes.iter().enumerate() {
        let next = votes[i..].iter().find(|(from, ..)| *from == me).map(|(_, _, vote)| vote);
        if next.is_some_and(|next| next.state != ServerState::Looking) {
            player.end_look();
        }
        if *to == me {
            player.step(|election, now, ensemble, out| election.voted(now, ensemble, *from, *vote, out));
        } else if *from == me {
            if vote.state == ServerState::Looking && player.rounds().is_some_and(|round| round < vote.round.0) {
                player.end_look();
                player.look();
            }
            player.java.entry(*to).or_default().push(*vote);
        }
    }
    player.end_look();
    player
}

/// The configuration of a scene, and who said what to whom.
fn votes(recording: &str, scene: &str) -> (Ensemble, Vec<(ServerId, ServerId, Vote)>) {
    let mut ensemble = None;
    let mut votes = Vec::new();
    for line in recording.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let &["notification", name, _, hex] = &words[..] else { continue };
        let parts: Vec<_> = name.split('.').collect();
        if parts[0] != scene {
            continue;
        }
        let (from, to) = parts[1].split_once('-').unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let said = Notification::decode(&bytes).unwrap();
        let NotificationForm::Config { config, .. } = said.form else { panic!("{name} has no configuration") };
        ensemble.get_or_insert_with(|| Ensemble::parse(config).unwrap());
        let vote = Vote {
            state: said.state,
            leader: said.leader,
            zxid: said.zxid,
            round: said.election_epoch,
            peer_epoch: said.peer_epoch,
        };
        votes.push((ServerId(from.parse().unwrap()), ServerId(to.parse().unwrap()), vote));
    }
    (ensemble.unwrap_or_else(|| panic!("nobody votes in {scene}")), votes)
}

impl Player {
    fn prepare(&mut self, before: Before) {
        self.look();
        if before == Before::Nothing {
            return;
        }
        let others = [1, 2, 3].into_iter().map(ServerId).filter(|&id| id != self.me).collect::<Vec<_>>();
        for from in others {
            let state = if from == ServerId(3) { "leading" } else { "following" };
            let vote = crate::text::vote(&format!("{state} 3 zxid=0.0 epoch=1 round=1"));
            self.step(|election, now, ensemble, out| election.voted(now, ensemble, from, vote, out));
        }
        assert_eq!(self.elected, [3]);
        self.elected.clear();
        self.said.clear();
        if before == Before::OfficeAndLook {
            self.look();
        }
    }

    fn look(&mut self) {
        let (last, current) = (self.last, self.current);
        self.step(|election, now, ensemble, out| election.look(now, ensemble, last, current, out));
    }

    /// Lets the wait for a better vote pass, if there is one to be waited for.
    fn end_look(&mut self) {
        for _ in 0..2 {
            if let Some(deadline) = self.election.deadline() {
                self.now = self.now.max(deadline);
                self.step(|election, now, ensemble, out| election.tick(now, ensemble, out));
            }
        }
    }

    /// The round that it has last said.
    fn rounds(&self) -> Option<i64> {
        self.said.values().flat_map(|votes| votes.iter().map(|vote| vote.round.0)).max()
    }

    fn step(&mut self, what: impl FnOnce(&mut Election, Ms, &Ensemble, &mut Vec<Action>)) {
        let mut out = Vec::new();
        what(&mut self.election, self.now, &self.ensemble, &mut out);
        for action in out {
            let Action::Vote { to, vote } = action else { panic!("an election says {action:?}") };
            self.said.entry(to).or_default().push(vote);
        }
        if let Some(leader) = self.election.elected() {
            self.elected.push(leader.0);
            let state = match leader == self.me {
                true => ServerState::Leading,
                false if self.ensemble.is_voter(self.me) => ServerState::Following,
                false => ServerState::Observing,
            };
            // 3 led epoch 1, and 2 the next.
            self.election.in_office(state, leader, Epoch(if leader == ServerId(3) { 1 } else { 2 }));
        }
    }

    /// Whom it has elected, once what it said has been held against what Java said.
    fn compared(mut self) -> Vec<i64> {
        assert!(!self.java.is_empty(), "nothing is recorded of {:?}", self.me);
        for (to, java) in &mut self.java {
            let said = self.said.entry(*to).or_default();
            for votes in [&mut *java, &mut *said] {
                let to_observer = !self.ensemble.is_voter(*to);
                votes.retain(|vote| !(to_observer && vote.state == ServerState::Looking));
                votes.dedup();
            }
            assert!(said.ends_with(java), "{:?} to {to:?}:\nJava {java:#?}\nwe {said:#?}", self.me);
        }
        self.elected
    }
}
