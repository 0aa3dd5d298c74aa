//! What the port has to tell, until the core takes it: bounded by what is still worth knowing.
//!
//! Owns the order of events and which of them an event makes needless. Of one server there are at the most five: a vote, the connection's end, a vote, the next one's
//! beginning, and a vote after it. So the queue is as long as five times the servers that may be connected, whatever they send. It must never turn the order of two events of
//! one server round. The tests below would catch a mistake.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::ServerId;

use super::ElectionEvent;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    events: Mutex<VecDeque<ElectionEvent>>,
    /// Spares who looks every turn the lock.
    has_events: AtomicBool,
}

impl Inbox {
    /// Adds an event. The caller rings.
    pub(super) fn push(&self, event: ElectionEvent) {
        let mut events = self.lock();
        let server = event.server();
        events.push_back(event);
        let mut needless = needless(&events, server).into_iter().peekable();
        let mut at = 0;
        events.retain(|_| {
            at += 1;
            needless.next_if_eq(&(at - 1)).is_none()
        });
        self.has_events.store(true, Ordering::Release);
    }

    /// The oldest event.
    pub(super) fn pop(&self) -> Option<ElectionEvent> {
        if !self.has_events.load(Ordering::Acquire) {
            return None;
        }
        let mut events = self.lock();
        let event = events.pop_front();
        self.has_events.store(!events.is_empty(), Ordering::Release);
        event
    }

    /// Drops what a server has said that is not known any more.
    pub(super) fn forget(&self, server: ServerId) {
        self.lock().retain(|event| event.server() != server);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ElectionEvent>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the events of a server are that say nothing any more, in order: of all ends the last counts, of the beginnings the last after it, and of the votes before, between and
/// after these the last.
fn needless(events: &VecDeque<ElectionEvent>, server: ServerId) -> Vec<usize> {
    let (mut end, mut beginning, mut vote) = (false, false, false);
    let mut needless = Vec::new();
    for (at, event) in events.iter().enumerate().rev().filter(|(_, event)| event.server() == server) {
        let is_needless = match event {
            ElectionEvent::Voted { .. } => std::mem::replace(&mut vote, true),
            ElectionEvent::Reachable { is_up: true, .. } => std::mem::replace(&mut beginning, true) || end,
            ElectionEvent::Reachable { is_up: false, .. } => std::mem::replace(&mut end, true),
        };
        if is_needless {
            needless.push(at);
        } else if !matches!(event, ElectionEvent::Voted { .. }) {
            vote = false;
        }
    }
    needless.reverse();
    needless
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::LastZxid;
    use proto::election::{ElectionEpoch, PeerEpoch, ServerState};
    use zab::election::Vote;

    fn vote(from: i64, round: i64) -> ElectionEvent {
        let vote = Vote {
            state: ServerState::Looking,
            leader: ServerId(from),
            zxid: LastZxid(0),
            round: ElectionEpoch(round),
            peer_epoch: PeerEpoch(0),
        };
        ElectionEvent::Voted { from: ServerId(from), vote, newer: None }
    }

    fn reach(server: i64, is_up: bool) -> ElectionEvent {
        ElectionEvent::Reachable { server: ServerId(server), is_up }
    }

    fn left(events: &[ElectionEvent]) -> Vec<ElectionEvent> {
        let inbox = Inbox::default();
        events.iter().for_each(|event| inbox.push(event.clone()));
        let left = std::iter::from_fn(|| inbox.pop()).collect();
        assert!(!inbox.has_events.load(Ordering::Acquire));
        left
    }

    #[test]
    fn a_newer_vote_takes_the_place_of_the_older_one_of_its_server() {
        assert_eq!(left(&[vote(1, 1), vote(2, 1), vote(1, 2)]), [vote(2, 1), vote(1, 2)]);
        // Not across a connection: what was said on the former is not what is said on the next.
        let all = [vote(1, 1), reach(1, false), reach(1, true), vote(1, 2)];
        assert_eq!(left(&all), all);
    }

    #[test]
    fn an_end_makes_what_was_before_it_needless_but_for_the_last_vote() {
        let before = [vote(1, 1), reach(1, false), reach(1, true), reach(2, true), vote(1, 2), vote(2, 1)];
        let all = [&before[..], &[reach(1, false), reach(1, true)]].concat();
        assert_eq!(left(&all), [reach(2, true), vote(1, 2), vote(2, 1), reach(1, false), reach(1, true)]);
    }

    #[test]
    fn of_connections_that_took_the_place_of_each_other_the_last_beginning_counts() {
        let all = [reach(1, true), vote(1, 1), reach(1, true), vote(1, 2), reach(1, true), vote(1, 3)];
        assert_eq!(left(&all), [vote(1, 2), reach(1, true), vote(1, 3)]);
    }

    #[test]
    fn whatever_a_server_does_five_events_of_it_are_kept() {
        let inbox = Inbox::default();
        for step in 0..10_000_i64 {
            inbox.push(match (step * 7919) % 5 {
                0 => reach(1, false),
                1 => reach(1, true),
                _ => vote(1, step),
            });
            assert!(inbox.lock().len() <= 5, "{:?}", inbox.lock());
        }
    }
}
