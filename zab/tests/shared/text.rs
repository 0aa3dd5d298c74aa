//! Votes and zxids as a person writes them.
#![allow(dead_code, reason = "each test takes what it needs of it")]

use crate::scripts;
use proto::election::{ElectionEpoch, PeerEpoch, ServerState};
use proto::{LastZxid, ServerId};
use ringkeeper_zab::election::Vote;

/// `leading 3 zxid=1.5 epoch=2 round=4`; `looking nobody round=4` is that of a server without a vote.
pub(crate) fn vote(words: &str) -> Vote {
    let mut words = words.split_whitespace();
    let state = state(words.next().unwrap());
    let leader = words.next().unwrap();
    let nobody = leader == "nobody";
    let mut vote = Vote {
        state,
        leader: if nobody { ServerId(i64::MIN) } else { ServerId(leader.parse().unwrap()) },
        zxid: if nobody { LastZxid::NO_VOTE } else { LastZxid(0) },
        round: ElectionEpoch(1),
        peer_epoch: PeerEpoch(if nobody { i64::MIN } else { 0 }),
    };
    for word in words {
        match word.split_once('=').unwrap() {
            ("zxid", value) => vote.zxid = zxid(value),
            ("epoch", value) => vote.peer_epoch = PeerEpoch(value.parse().unwrap()),
            ("round", value) => vote.round = ElectionEpoch(value.parse().unwrap()),
            (name, _) => panic!("a vote has no {name}"),
        }
    }
    vote
}

pub(crate) fn of_vote(vote: &Vote) -> String {
    let state = format!("{:?}", vote.state).to_lowercase();
    let round = vote.round.0;
    if (vote.leader, vote.zxid, vote.peer_epoch) == (ServerId(i64::MIN), LastZxid::NO_VOTE, PeerEpoch(i64::MIN)) {
        return format!("{state} nobody round={round}");
    }
    let zxid = match vote.zxid.zxid() {
        Some(zxid) => format!("{}.{}", zxid.epoch().0, zxid.counter()),
        None if vote.zxid == LastZxid::NONE => "none".to_string(),
        None => vote.zxid.0.to_string(),
    };
    format!("{state} {} zxid={zxid} epoch={} round={round}", vote.leader.0, vote.peer_epoch.0)
}

/// `1.5`: epoch and counter; `none` is -1, which counts for nothing.
pub(crate) fn zxid(word: &str) -> LastZxid {
    match word {
        "none" => LastZxid::NONE,
        _ if word.contains('.') => scripts::zxid(word).into(),
        _ => LastZxid(word.parse().unwrap()),
    }
}

pub(crate) fn state(word: &str) -> ServerState {
    let all = [ServerState::Looking, ServerState::Following, ServerState::Leading, ServerState::Observing];
    let found = all.into_iter().find(|state| format!("{state:?}").to_lowercase() == word);
    found.unwrap_or_else(|| panic!("no state is called {word}"))
}
