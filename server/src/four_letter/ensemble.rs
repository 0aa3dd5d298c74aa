//! What the words say of a member of an ensemble, beside what they say of every server.
//!
//! Owns the texts of leader, follower and observer and of a server that does not serve, in ZooKeeper's words; what they tell is an [`EnsembleView`], which who knows the
//! peer makes for each answer. It must never look at the peer itself. The tests compare with what a real ensemble said
//! (`tests/reference/words-ensemble-3.9.5`, recorded by `tests/reference/ensemble_words.py`).

use super::Written;
use super::monitor::Lines;
use crate::config::ResolvedConfig;
use engine::replica::{EnsembleFigures, Replica};
use engine::shard::{Histogram, Summary};
use proto::election::ServerState;
use proto::{ServerId, SessionId};
use std::io::Write;
use zab::Office;
use zab::ensemble::{Ensemble, PeerAddress, Role};

/// A member, as it is at this moment.
#[derive(Debug, Clone)]
pub struct EnsembleView {
    /// What it does.
    pub office: Office,
    /// How many servers vote.
    pub voters: usize,
    /// What a leader knows of its learners; `None` of other servers.
    pub leading: Option<LeaderView>,
    /// What it has counted.
    pub figures: EnsembleFigures,
}

/// What a leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderView {
    /// Links of learners, in step or not.
    pub learners: usize,
    /// Voters among those that are in step.
    pub synced_followers: usize,
    /// Followers without a vote.
    pub synced_non_voting_followers: usize,
    /// Observers in step.
    pub synced_observers: usize,
    /// `sync` requests that wait for a commit.
    pub pending_syncs: usize,
    /// For how long it has led.
    pub uptime_ms: u64,
}

/// Histograms that ZooKeeper has of ensembles, and this server does not.
const NOT_MEASURED_HISTOGRAMS: &[&str] =
    &["proposal_latency", "quorum_ack_latency", "proposal_ack_creation_latency", "commit_propagation_latency"];

/// What `srvr` calls a server in this state.
#[must_use]
pub const fn mode_of(state: ServerState) -> &'static str {
    match state {
        ServerState::Leading => "leader",
        ServerState::Following => "follower",
        ServerState::Observing => "observer",
        ServerState::Looking => "looking",
    }
}

/// The text of a server that has no leader.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

impl EnsembleView {
    /// What the core knows at `now_ms` of its clock.
    #[must_use]
    pub fn of(core: &Replica, ensemble: &Ensemble, now_ms: i64) -> EnsembleView {
        let office = core.office();
        let leads = office.is_serving && office.state == ServerState::Leading;
        let leading = leads.then(|| {
            let in_step = |wanted: fn(bool, bool) -> bool| {
                let learners = core.peer().learners().filter(|learner| learner.is_in_step);
                learners.filter(|seen| wanted(seen.is_observer, ensemble.is_voter(seen.server))).count()
            };
            LeaderView {
                learners: core.peer().learners().count(),
                synced_followers: in_step(|observes, votes| !observes && votes),
                synced_non_voting_followers: in_step(|observes, votes| !observes && !votes),
                synced_observers: in_step(|observes, _| observes),
                pending_syncs: core.pending_syncs(),
                uptime_ms: core.serves_for_ms(now_ms),
            }
        });
        let figures = core.ensemble_figures().clone();
        EnsembleView { office, voters: ensemble.voters().count(), leading, figures }
    }

    /// Of a server whose core says nothing.
    #[must_use]
    pub fn of_nobody(voters: usize) -> EnsembleView {
        let office = Office { state: ServerState::Looking, leader: None, epoch: None, is_serving: false };
        EnsembleView { office, voters, leading: None, figures: EnsembleFigures::default() }
    }

    /// What it calls itself in `srvr`, `stat` and `mntr`.
    #[must_use]
    pub const fn mode(&self) -> &'static str {
        mode_of(self.office.state)
    }

    /// Answers a word in place of a server that does not serve. Says whether it has: some words are answered all the same.
    pub(super) fn answers_itself(&self, word: &str, out: &mut impl Write) -> std::io::Result<bool> {
        if self.office.is_serving {
            return Ok(false);
        }
        match word {
            "ruok" | "envi" | "gtmk" | "stmk" => return Ok(false),
            "isro" => out.write_all(b"null")?,
            // Alone among them without the end of the line.
            "hash" => out.write_all(NOT_SERVING.as_bytes())?,
            _ => writeln!(out, "{NOT_SERVING}")?,
        }
        Ok(true)
    }

    /// The last line of `srvr` and `stat`.
    pub(super) fn proposal_sizes(&self, out: &mut impl Write) -> Written {
        if self.leading.is_some() {
            let (last, min, max) = self.proposal_figures();
            writeln!(out, "Proposal sizes last/min/max: {last}/{min}/{max}")?;
        }
        Ok(())
    }

    /// What `mntr` says behind `server_state`.
    pub(super) fn monitor<W: Write>(&self, lines: &mut Lines<'_, W>) -> Written {
        let doing = match self.office.state {
            ServerState::Leading => "leading",
            ServerState::Following => "following",
            ServerState::Observing => "observing",
            ServerState::Looking => "looking",
        };
        // Words are answered by a server that serves, and that one is at broadcast.
        lines.put("peer_state", format_args!("{doing} - broadcast"))?;
        if self.office.state == ServerState::Observing {
            lines.put("observer_master_id", self.office.leader.unwrap_or(ServerId(-1)).0)?;
        }
        lines.put("quorum_size", self.voters)?;
        let Some(leading) = self.leading else { return Ok(()) };
        let (last, min, max) = self.proposal_figures();
        lines.put("learners", leading.learners)?;
        lines.put("synced_followers", leading.synced_followers)?;
        lines.put("synced_non_voting_followers", leading.synced_non_voting_followers)?;
        lines.put("synced_observers", leading.synced_observers)?;
        lines.put("pending_syncs", leading.pending_syncs)?;
        lines.put("leader_uptime", leading.uptime_ms)?;
        lines.put("last_proposal_size", last)?;
        lines.put("max_proposal_size", max)?;
        lines.put("min_proposal_size", min)?;
        Ok(())
    }

    /// The sizes of its proposals: last, smallest and largest; -1 before the first.
    fn proposal_figures(&self) -> (i64, i64, i64) {
        let figure = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.figures.proposal_bytes.map_or((-1, -1, -1), |(last, min, max)| (figure(last), figure(min), figure(max)))
    }
}

/// What happens in ensembles alone, under ZooKeeper's names.
pub(super) fn figures<W: Write>(figures: &EnsembleFigures, lines: &mut Lines<'_, W>) -> Written {
    for (key, value) in [
        ("looking_count", figures.looked),
        ("proposal_count", figures.proposals),
        ("commit_count", figures.commits),
        ("learner_proposal_received_count", figures.proposals_received),
        ("learner_commit_received_count", figures.commits_received),
        ("digest_mismatches_count", figures.digest_mismatches),
        ("diff_count", figures.diffs),
        ("snap_count", figures.snaps),
        ("revalidate_count", figures.revalidations),
        ("quit_leading_due_to_disloyal_voter", figures.disloyal_voters),
    ] {
        lines.put(key, value)?;
    }
    let not_measured = Summary::default();
    for (key, summary) in [
        ("election_time", &not_measured),
        ("unavailable_time", &figures.unavailable_ms),
        ("leader_unavailable_time", &figures.leader_unavailable_ms),
        ("follower_sync_time", &not_measured),
        ("observer_sync_time", &not_measured),
        ("inflight_snap_count", &not_measured),
        ("inflight_diff_count", &not_measured),
    ] {
        lines.summary(key, summary, 1)?;
    }
    for key in NOT_MEASURED_HISTOGRAMS {
        lines.histogram(key, &Histogram::default(), 1)?;
    }
    Ok(())
}

/// What `conf` says of a member behind `serverId`. The last line does not end, as in ZooKeeper.
pub(super) fn conf(config: &ResolvedConfig, out: &mut impl Write) -> Written {
    let Some(quorum) = config.ensemble() else { return Ok(()) };
    let own = quorum.ensemble.member(config.server_id());
    let ports = |of: fn(&PeerAddress) -> u16| {
        let mut ports: Vec<String> = Vec::new();
        for address in own.map(|member| member.addresses.as_slice()).unwrap_or_default() {
            let port = of(address).to_string();
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        ports.join("|")
    };
    writeln!(out, "initLimit={}", quorum.init_limit_ticks)?;
    writeln!(out, "syncLimit={}", quorum.sync_limit_ticks)?;
    writeln!(out, "electionAlg=3")?;
    writeln!(out, "electionPort={}", ports(|address| address.election_port))?;
    writeln!(out, "quorumPort={}", ports(|address| address.quorum_port))?;
    writeln!(out, "peerType={}", u8::from(quorum.role == Role::Observer))?;
    write!(out, "membership: \n{}", quorum.ensemble.to_text())?;
    Ok(())
}

/// The sessions in `dump` of a server that does not lead: it knows their timeouts, and not when they expire. A piece at a time.
pub(super) fn global_sessions_head(count: usize, out: &mut impl Write) -> Written {
    Ok(writeln!(out, "Global Sessions({count}):")?)
}

/// A session in it.
pub(super) fn global_session(session: SessionId, timeout_ms: i32, out: &mut impl Write) -> Written {
    Ok(writeln!(out, "0x{:x}\t{timeout_ms}ms", session.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};
    use proto::Epoch;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// What a real server said.
    fn recorded(role: &str, word: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference");
        let folder = if role == "standalone" {
            folder.join("words-3.9.5")
        } else {
            folder.join("words-ensemble-3.9.5").join(role)
        };
        fs::read_to_string(folder.join(format!("{word}.txt"))).unwrap()
    }

    /// The view that the recorded servers had: 3 leads, 1 follows, 4 observes.
    fn view(role: &str) -> EnsembleView {
        let state = match role {
            "leader" => ServerState::Leading,
            "follower" => ServerState::Following,
            "observer" => ServerState::Observing,
            _ => ServerState::Looking,
        };
        let is_serving = state != ServerState::Looking;
        let office = Office { state, leader: is_serving.then_some(ServerId(3)), epoch: Some(Epoch(1)), is_serving };
        let leading = LeaderView {
            learners: 3,
            synced_followers: 2,
            synced_non_voting_followers: 0,
            synced_observers: 1,
            pending_syncs: 0,
            uptime_ms: 1_627,
        };
        let leading = (state == ServerState::Leading).then_some(leading);
        let mut figures = EnsembleFigures::default();
        figures.proposal_bytes = leading.map(|_| (96, 48, 103));
        EnsembleView { office, voters: 3, leading, figures }
    }

    fn written(write: impl FnOnce(&mut Vec<u8>) -> Written) -> String {
        let mut text = Vec::new();
        write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn srvr_and_stat_end_as_the_real_ensembles() {
        for role in ["leader", "follower", "observer"] {
            for word in ["srvr", "stat"] {
                let real = recorded(role, word);
                assert!(real.contains(&format!("\nMode: {}\n", view(role).mode())), "{real}");
                let after_count =
                    real.split_once("\nNode count: ").and_then(|(_, rest)| rest.split_once('\n')).unwrap().1;
                assert_eq!(written(|out| view(role).proposal_sizes(out)), after_count, "{role} {word}");
            }
        }
        let mut fresh = view("leader");
        fresh.figures.proposal_bytes = None;
        assert_eq!(written(|out| fresh.proposal_sizes(out)), "Proposal sizes last/min/max: -1/-1/-1\n");
    }

    #[test]
    fn conf_ends_as_the_real_ensembles() {
        for (role, id) in [("leader", 3), ("follower", 1), ("observer", 4)] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("myid"), id.to_string()).unwrap();
            let mut text = format!("dataDir={}\nclientPort=2181\ninitLimit=30\nsyncLimit=15\n", dir.path().display());
            for server in 1..=4 {
                let observer = if server == 4 { ":observer" } else { "" };
                text.push_str(&format!("server.{server}=127.0.77.{server}:2888:3888{observer}\n"));
            }
            let file = dir.path().join("zoo.cfg");
            fs::write(&file, text).unwrap();
            let config = load(&Sources { file: Some(file), ..Sources::default() }).unwrap().config;
            let real = recorded(role, "conf");
            let (_, after_id) = real.split_once(&format!("\nserverId={id}\n")).unwrap();
            assert_eq!(written(|out| conf(&config, out)), after_id, "{role}");
        }
    }

    #[test]
    fn a_server_without_a_leader_answers_each_word_as_the_real_one() {
        let words = "ruok isro srvr stat mntr conf cons dirs dump envi gtmk stmk hash wchs wchc wchp crst srst";
        for word in words.split(' ') {
            let mut text = Vec::new();
            let answers = view("looking").answers_itself(word, &mut text).unwrap();
            assert_eq!(answers, !["ruok", "envi", "gtmk", "stmk"].contains(&word), "{word}");
            if answers {
                assert_eq!(String::from_utf8(text).unwrap(), recorded("looking", word), "{word}");
            }
            assert!(!view("follower").answers_itself(word, &mut Vec::new()).unwrap());
        }
    }

    #[test]
    fn mntr_has_the_lines_that_the_real_ensembles_have_beside_those_of_a_lone_server() {
        let keys = |text: &str| -> BTreeSet<String> {
            text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
        };
        let alone = keys(&recorded("standalone", "mntr"));
        for role in ["leader", "follower", "observer"] {
            let real = recorded(role, "mntr");
            // Left out, as docs/four-letter-words.md says.
            let is_left_out = |key: &str| key.ends_with("_per_namespace") || key.contains("_learner_handler_qp_");
            let beside: BTreeSet<String> =
                keys(&real).difference(&alone).filter(|key| !is_left_out(key)).cloned().collect();
            let ours = written(|out| view(role).monitor(&mut Lines(out)));
            assert_eq!(keys(&ours), beside, "{role}");
            for line in ours.lines().filter(|line| !line.starts_with("zk_leader_uptime")) {
                assert!(real.lines().any(|known| known == line), "{role}: {line}");
            }
            // Counts and times of ensembles have the names that ZooKeeper gives them.
            let text = written(|out| figures(&view(role).figures, &mut Lines(out)));
            assert!(keys(&text).is_subset(&alone) && !text.is_empty(), "{text}");
        }
    }

    #[test]
    fn dump_of_a_learner_lists_sessions_as_the_real_one() {
        for role in ["follower", "observer"] {
            let real = recorded(role, "dump");
            let (sessions, _) = real.split_once("ephemeral nodes dump:").unwrap();
            let ours = written(|out| {
                global_sessions_head(3, out)?;
                for id in [0x0100_0520_ac90_0000, 0x0300_0520_ac37_0000, 0x0400_0520_ac5a_0000] {
                    global_session(SessionId(id), 20_000, out)?;
                }
                Ok(())
            });
            assert_eq!(format!("SessionTracker dump:\n{ours}"), sessions, "{role}");
        }
    }
}
