//! Runs `tests/scripts/election/*.txt`: what happens to one server, a line each, and indented below it what the server then says.
//!
//! A script's lines, beside what [`scripts`] says of all:
//!
//! | line | what |
//! |---|---|
//! | `ensemble 1 2 3 o4` | the ensemble: voters, observers, and lines such as `group.1=1:2`, `weight.3=0` |
//! | `me 1 [min max wait]` | the server starts, with these times in ms |
//! | `look 1.5 epoch=1` | it looks, with this last zxid (`none`: -1) and current epoch |
//! | `hear 2 looking 3 zxid=1.5 epoch=1 round=1` | server 2 says so |
//! | `up 2`, `down 2` | the connection to server 2 |
//! | `at 200` | it is 200 ms past the start: the deadlines up to then have been met, each in time |
//! | `office leading 1 epoch=2` | it is in office |
//!
//! Below: `-> 2 3: …` what it says, to whom; `elected 3`; `deadline 400` where that has changed.

use crate::{scripts, text};
use proto::{Epoch, ServerId};
use ringkeeper_zab::election::{Election, ElectionOptions, Vote};
use ringkeeper_zab::ensemble::Ensemble;
use ringkeeper_zab::{Action, Ms};

#[test]
fn every_script_says_what_was_recorded() {
    scripts::check("election", Server::default, Server::line);
}

/// The server of a script.
#[derive(Default)]
struct Server {
    ensemble: Option<Ensemble>,
    election: Option<Election>,
    now: Ms,
    elected: Option<ServerId>,
    deadline: Option<Ms>,
}

impl Server {
    /// Does what the line says, and tells what comes of it.
    fn line(&mut self, line: &str) -> Vec<String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "ensemble" => self.ensemble = Some(scripts::ensemble(rest)),
            "me" => {
                let mut numbers = rest.split(' ').map(|word| word.parse::<i64>().unwrap());
                let me = ServerId(numbers.next().unwrap());
                let mut options = ElectionOptions::default();
                if let [min, max, wait] = numbers.collect::<Vec<_>>()[..] {
                    options =
                        ElectionOptions { notification_ms_min: min, notification_ms_max: max, finalize_wait_ms: wait };
                }
                *self = Server { ensemble: self.ensemble.take(), ..Server::default() };
                self.election = Some(Election::new(me, options));
            }
            "at" => return self.wait(rest.parse().unwrap()),
            _ => return self.step(word, rest),
        }
        Vec::new()
    }

    /// Lets the time go on, deadline by deadline.
    fn wait(&mut self, until: Ms) -> Vec<String> {
        assert!(self.now <= until, "time does not go back");
        let mut said = Vec::new();
        while let Some(deadline) = self.deadline.filter(|&deadline| deadline <= until) {
            self.now = self.now.max(deadline);
            said.extend(self.step("tick", ""));
            assert!(self.deadline != Some(deadline), "the deadline {deadline} is met and stands");
        }
        self.now = until;
        said
    }

    fn step(&mut self, word: &str, rest: &str) -> Vec<String> {
        let (Some(ensemble), Some(election)) = (&self.ensemble, &mut self.election) else {
            panic!("a script begins with an ensemble and a server")
        };
        let (now, mut out) = (self.now, Vec::new());
        let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
        let server = || ServerId(first.parse().unwrap());
        let epoch = |word: &str| Epoch(word.strip_prefix("epoch=").unwrap().parse().unwrap());
        match word {
            "look" => election.look(now, ensemble, text::zxid(first), epoch(more), &mut out),
            "hear" => election.voted(now, ensemble, server(), text::vote(more), &mut out),
            "up" => election.reachable(now, ensemble, server(), true, &mut out),
            "down" => election.reachable(now, ensemble, server(), false, &mut out),
            "tick" => election.tick(now, ensemble, &mut out),
            "office" => {
                let (leader, in_epoch) = more.split_once(' ').unwrap();
                election.in_office(text::state(first), ServerId(leader.parse().unwrap()), epoch(in_epoch));
            }
            _ => panic!("no script has {word:?}"),
        }
        self.said(&out)
    }

    fn said(&mut self, out: &[Action]) -> Vec<String> {
        let mut groups: Vec<(Vec<i64>, Vote)> = Vec::new();
        for action in out {
            let Action::Vote { to, vote } = *action else { panic!("an election says {action:?}") };
            match groups.last_mut() {
                Some((servers, same)) if *same == vote => servers.push(to.0),
                _ => groups.push((vec![to.0], vote)),
            }
        }
        let mut said = Vec::new();
        for (servers, vote) in groups {
            let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
            said.push(format!("-> {}: {}", servers.join(" "), text::of_vote(&vote)));
        }
        let election = self.election.as_ref().unwrap();
        let (elected, deadline) = (election.elected(), election.deadline());
        if let Some(leader) = elected.filter(|_| elected != self.elected) {
            said.push(format!("elected {}", leader.0));
        }
        if let Some(at) = deadline.filter(|_| deadline != self.deadline) {
            said.push(format!("deadline {at}"));
        }
        (self.elected, self.deadline) = (elected, deadline);
        said
    }
}
