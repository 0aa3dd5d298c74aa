//! Checkers: what must be true of a history.
//!
//! Each is a pure function from a [`History`] to a [`Violation`], which names the lines that contradict each other. They share nothing with the
//! server: the rules of the operations are those of [`model`], a tree written from ZooKeeper's behaviour, and not the engine's. A request
//! whose outcome is unknown may have taken place or not; [`timeline`] finds out which of both explains the rest.
//!
//! | checker | what it holds | laws of `design.md` |
//! |---|---|---|
//! | [`order::replies_come_in_order`] | a connection's replies come in the order of its requests | 4 |
//! | [`zxids::headers_never_decrease`] | a session's header zxids, also across connections; so a read shows the session's own earlier writes, and none goes back | 4, 6 |
//! | [`zxids::headers_cover_what_they_show`] | no reply shows a state later than its header says | 6 |
//! | [`zxids::headers_wait_for_events`] | no reply's header is past an event that comes after it, and events come in zxid order | 5, 6 |
//! | [`writes::real_time`] | a write has a later zxid than all that anybody had seen when it was asked; a session's writes have theirs in the order in which it asked | 2, 4 |
//! | [`writes::explained`] | one request after the other, in the order of zxids, gives all the answers that were given | 1, 2, 3, 7, 9 |
//! | [`writes::none_lost`] | every acknowledged write is in the log and in the final trees | 1, 9 |
//! | [`writes::syncs`] | after a sync nothing older is read than what was acknowledged before it was asked | – |
//! | [`watches::events`] | each change that a session watches is told, before a reply that shows it or a later one, and nothing else is; also across setWatches | 5, 6 |
//! | [`sessions::ephemerals`] | an ephemeral is there until its session's end is committed, and not after | 7 |
//! | [`sessions::ends`] | nobody is told of an end that is not committed, nothing is acknowledged after one | 4, 7 |
//! | [`sessions::locals`] | a session that its server alone knows is renewed nowhere else, and has no ephemerals before it is the ensemble's | 7 |
//! | [`servers::one_leader`] | an epoch has one leader | – |
//! | [`servers::same_txns`] | all servers apply the same txns | 2, 9 |
//! | [`servers::same_digests`] | equal zxid, equal digest | 3 |
//! | [`servers::no_gaps`] | each server applies in zxid order, within an epoch without gaps | 2 |
//!
//! `sim/tests/checkers_reject.rs` shows each of them a wrong history of each kind, `sim/tests/checkers_accept.rs` right ones, also generated ones.

mod calls;
pub mod model;
pub mod order;
mod search;
pub mod servers;
pub mod sessions;
pub mod timeline;
pub mod watches;
pub mod writes;
pub mod zxids;

pub use calls::{Call, Calls, Replied};

use crate::history::{At, History};
use std::fmt;

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// The checker that found it.
    pub checker: &'static str,
    /// What, in a sentence.
    pub message: String,
    /// The lines that contradict each other, in order.
    pub lines: Vec<At>,
}

/// What a checker comes to.
pub type Checked = Result<(), Violation>;

/// A checker.
pub type Checker = fn(&History) -> Checked;

impl Violation {
    /// At these lines.
    #[must_use]
    pub fn new(checker: &'static str, message: String, lines: &[At]) -> Violation {
        let mut lines = lines.to_vec();
        lines.sort_unstable();
        lines.dedup();
        Violation { checker, message, lines }
    }

    /// With the text of the lines.
    #[must_use]
    pub fn in_full(&self, history: &History) -> String {
        let mut text = self.to_string();
        for at in &self.lines {
            let line = history.get(*at).map(|line| serde_json::to_string(line).unwrap_or_default());
            text.push_str(&format!("\n  line {}: {}", at.0 + 1, line.unwrap_or_default()));
        }
        text
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.message)
    }
}

/// All checkers, the cheap ones first.
pub const ALL: &[(&str, Checker)] = &[
    (order::REPLIES, order::replies_come_in_order),
    (zxids::DECREASE, zxids::headers_never_decrease),
    (zxids::COVER, zxids::headers_cover_what_they_show),
    (zxids::WAIT, zxids::headers_wait_for_events),
    (servers::ONE_LEADER, servers::one_leader),
    (servers::SAME_TXNS, servers::same_txns),
    (servers::SAME_DIGESTS, servers::same_digests),
    (servers::NO_GAPS, servers::no_gaps),
    (writes::REAL_TIME, writes::real_time),
    (writes::SYNCS, writes::syncs),
    (writes::EXPLAINED, writes::explained),
    (writes::NONE_LOST, writes::none_lost),
    (sessions::EPHEMERALS, sessions::ephemerals),
    (sessions::ENDS, sessions::ends),
    (sessions::LOCALS, sessions::locals),
    (watches::EVENTS, watches::events),
];

/// What all checkers find: at most one violation each. A history without `applied` lines may be right as far as can be told: ask [`undecided`]
/// too.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    ALL.iter().filter_map(|(_, checker)| checker(history).err()).collect()
}

/// What was not decided, and why: histories without `applied` lines in which writes have no reply. Empty: everything was.
#[must_use]
pub fn undecided(history: &History) -> Vec<String> {
    // What is no history at all, the checkers tell.
    let Ok(facts) = timeline::Facts::of(history, writes::EXPLAINED) else { return Vec::new() };
    if let search::Explanation::NotDecided(why) = search::explain(&facts) {
        let checkers = [writes::EXPLAINED, writes::NONE_LOST, watches::EVENTS].join(", ");
        return vec![format!("{checkers}: not decided without the log: {why}")];
    }
    let in_doubt = search::in_doubt(&facts);
    if in_doubt.is_empty() {
        return Vec::new();
    }
    let paths: Vec<String> = in_doubt.iter().map(|(path, after)| format!("{path} after {after}")).collect();
    let what = "what writes of unknown outcome may have done to";
    vec![format!("{}: not decided without the log: {what} {}", watches::EVENTS, paths.join(", "))]
}
