//! Which txns a server has, without the txns: one span of zxids for each epoch.
//!
//! Owns what a log and its base hold, and how a learner's history and a leader's fit together ([`History::plan`]). Who has (E, n) has everything that its
//! leader had before it; so the newest position that two servers share follows from the learner's last zxid alone. It must never guess: below its floor it
//! says that a learner takes the whole state. Called with a zxid that does not follow it panics, for its callers ask first. Its own tests,
//! `tests/scripts/peer/sync-*.txt` and the random driver would catch a mistake.
//!
//! Within an epoch of ours zxids have no gaps (law 2). A Java leader gives some zxids to no txn: no server has those, no history ends there, and nobody
//! acknowledges or commits one. So a span does not say where they are, and none of its zxids but the last, and a learner's, is taken for a txn here; what is
//! kept is where the newest gap is, for learners that bear none. Who needs each txn of a range has the txns themselves: a learner those that it was not told
//! committed, the caller all (docs/decisions/004).

use proto::{Epoch, LastZxid, Zxid};

/// The txns after a base, as spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The oldest position that something here can follow on. It may be (E, 0), or lie in the first span.
    floor: Zxid,
    /// The newest counter of each epoch that has one, oldest epoch first. Never empty: the floor's is the first.
    spans: Vec<Span>,
    /// The newest txn with a gap before it, or a later position: behind it, and up to the end, there is none. (0, 0): there is none here.
    gap: Zxid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    epoch: Epoch,
    last: u32,
}

/// How a learner's history becomes the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It is the start of the leader's, which has more from this position on, or nothing.
    Diff {
        /// The learner's end, as it stands in the leader's history.
        after: Zxid,
    },
    /// It ends with txns that the leader does not have: it has to be cut to this one, which both have.
    Trunc {
        /// The newest that both have.
        to: Zxid,
    },
    /// Nothing certain can be said.
    Snap,
}

impl History {
    /// Nothing after `base`, the zxid of a state.
    #[must_use]
    pub fn new(base: Zxid) -> History {
        History { floor: base, spans: vec![Span { epoch: base.epoch(), last: base.counter() }], gap: Zxid::ZERO }
    }

    /// The one that [`History::spans`] listed, above this floor; none if they are not such a list.
    #[must_use]
    pub fn of_spans(floor: Zxid, spans: &[(Epoch, u32)]) -> Option<History> {
        let (oldest, last) = spans.first()?;
        let is_floor = floor.epoch() == *oldest && floor.counter() <= *last;
        if !is_floor || !spans.is_sorted_by(|older, newer| older.0 < newer.0) || spans.len() > SPANS_MAX {
            return None;
        }
        let spans = spans.iter().map(|&(epoch, last)| Span { epoch, last }).collect();
        Some(History { floor, spans, gap: Zxid::ZERO })
    }

    /// It ends with `zxid`, a position of it, and begins behind its gaps: what is to be known once it is read again, as [`History::spans`], which do not show them.
    #[must_use]
    pub fn without_gaps(&self, zxid: Zxid) -> Option<History> {
        let mut history = self.clone();
        if history.newest_at(zxid) != Some(zxid) {
            return None;
        }
        history.cut(zxid);
        if history.gap > history.floor {
            history.raise_floor(history.gap);
        }
        history.gap = Zxid::ZERO;
        Some(history)
    }

    /// The newest counter of each epoch that has one, oldest epoch first: with the floor, all that it knows.
    pub fn spans(&self) -> impl ExactSizeIterator<Item = (Epoch, u32)> + '_ {
        self.spans.iter().map(|span| (span.epoch, span.last))
    }

    /// The end: the last txn, or the base.
    #[must_use]
    pub fn last(&self) -> Zxid {
        let last = self.spans.last().expect("a history has a span");
        Zxid::new(last.epoch, last.last)
    }

    /// Up to where a learner has to be, that takes no txn which does not follow on the one before, to be sent what comes next. That is every position where no zxid was left out.
    #[must_use]
    pub const fn gap(&self) -> Zxid {
        self.gap
    }

    /// The oldest position that a DIFF can follow on.
    #[must_use]
    pub const fn floor(&self) -> Zxid {
        self.floor
    }

    /// Can a txn with this zxid be the next where none is missing? See [`Zxid::is_followed_by`].
    #[must_use]
    pub fn is_next(&self, zxid: Zxid) -> bool {
        self.last().is_followed_by(zxid)
    }

    /// Can a txn with this zxid be the next of a leader that gives some zxids to no txn? A later one.
    #[must_use]
    pub fn is_later(&self, zxid: Zxid) -> bool {
        zxid > self.last() && zxid.counter() > 0
    }

    /// Adds a txn.
    ///
    /// # Panics
    /// If it cannot follow, see [`History::is_later`].
    pub fn push(&mut self, zxid: Zxid) {
        assert!(self.is_later(zxid), "{zxid} does not follow {}", self.last());
        if !self.is_next(zxid) {
            self.gap = zxid;
        }
        match self.spans.last_mut() {
            Some(span) if span.epoch == zxid.epoch() => span.last = zxid.counter(),
            _ => {
                if self.spans.len() == SPANS_MAX {
                    self.spans.remove(0);
                    let oldest = self.spans.first().map_or(zxid.epoch(), |span| span.epoch);
                    self.floor = Zxid::new(oldest, 0);
                }
                self.spans.push(Span { epoch: zxid.epoch(), last: zxid.counter() });
            }
        }
    }

    /// Forgets what comes after `to`, which is a position of this history.
    ///
    /// # Panics
    /// If it lies below the floor.
    pub fn cut(&mut self, to: Zxid) {
        assert!(to >= self.floor, "a cut to {to} below {}", self.floor);
        let position = self.newest_at(to).expect("it is above the floor");
        self.spans.retain(|span| span.epoch <= position.epoch());
        if let Some(span) = self.spans.last_mut() {
            span.last = position.counter();
        }
        self.gap = self.gap.min(position);
    }

    /// The log before `floor` is not there any more.
    pub fn raise_floor(&mut self, floor: Zxid) {
        let Some(position) = self.newest_at(floor) else { return };
        self.floor = position;
        self.spans.retain(|span| span.epoch >= position.epoch());
    }

    /// The newest position here that is not after `zxid`; none if that is below the floor.
    #[must_use]
    pub fn newest_at(&self, zxid: Zxid) -> Option<Zxid> {
        let span = self.spans.iter().rev().find(|span| span.epoch <= zxid.epoch())?;
        let counter = if span.epoch == zxid.epoch() { span.last.min(zxid.counter()) } else { span.last };
        Some(Zxid::new(span.epoch, counter)).filter(|position| *position >= self.floor)
    }

    /// How the history of a learner that ends with `last` becomes this one.
    ///
    /// A position without a txn, (E, 0), is where the epochs before E end. A cut is asked for only within the learner's last epoch and to a
    /// txn that it must have: a Java learner's log is cut at a record, and one that is not there costs it the record after it, or its life.
    #[must_use]
    pub fn plan(&self, last: LastZxid) -> Plan {
        let Some(last) = last.zxid() else { return Plan::Snap };
        let Some(shared) = self.newest_at(last) else { return Plan::Snap };
        if shared == last || last.counter() == 0 {
            Plan::Diff { after: shared }
        } else if shared.epoch() == last.epoch() && shared.counter() > 0 {
            Plan::Trunc { to: shared }
        } else {
            Plan::Snap
        }
    }
}

/// Epochs that are kept. With more the oldest go, and the floor rises: a log of that many elections is purged long before.
const SPANS_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    const fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    /// (1, 4) to (1, 6), (2, 1) to (2, 3), (4, 1).
    fn history() -> History {
        let mut history = History::new(z(1, 4));
        for zxid in [z(1, 5), z(1, 6), z(2, 1), z(2, 2), z(2, 3), z(4, 1)] {
            history.push(zxid);
        }
        history
    }

    fn plan(last: Zxid) -> Plan {
        history().plan(last.into())
    }

    #[test]
    fn a_learner_in_the_history_gets_what_follows() {
        for last in [z(1, 4), z(1, 6), z(2, 2), z(2, 3), z(4, 1)] {
            assert_eq!(plan(last), Plan::Diff { after: last });
        }
    }

    #[test]
    fn a_learner_with_more_of_an_epoch_is_cut_to_the_last_shared_one() {
        assert_eq!(plan(z(1, 9)), Plan::Trunc { to: z(1, 6) });
        assert_eq!(plan(z(2, 4)), Plan::Trunc { to: z(2, 3) });
        assert_eq!(plan(z(4, 2)), Plan::Trunc { to: z(4, 1) });
    }

    #[test]
    fn a_position_without_a_txn_is_the_end_of_the_epochs_before() {
        assert_eq!(plan(z(2, 0)), Plan::Diff { after: z(2, 0) });
        assert_eq!(plan(z(3, 0)), Plan::Diff { after: z(2, 3) });
        assert_eq!(plan(z(7, 0)), Plan::Diff { after: z(4, 1) });
        let from_java = History::new(z(3, 0));
        assert_eq!(from_java.plan(z(3, 0).into()), Plan::Diff { after: z(3, 0) });
        // It has txns of an epoch of which this one knows the start alone.
        assert_eq!(from_java.plan(z(3, 2).into()), Plan::Snap);
    }

    #[test]
    fn below_the_floor_or_across_an_epoch_only_the_state_is_certain() {
        assert_eq!(plan(z(1, 3)), Plan::Snap);
        assert_eq!(plan(z(0, 0)), Plan::Snap);
        assert_eq!(plan(z(3, 1)), Plan::Snap);
        assert_eq!(history().plan(LastZxid::NONE), Plan::Snap);
        let mut purged = history();
        purged.raise_floor(z(2, 2));
        assert_eq!(purged.plan(z(2, 1).into()), Plan::Snap);
        assert_eq!(purged.plan(z(2, 2).into()), Plan::Diff { after: z(2, 2) });
        assert_eq!(purged.floor(), z(2, 2));
    }

    #[test]
    fn what_follows_and_what_does_not() {
        let history = history();
        assert!(history.is_next(z(4, 2)) && history.is_next(z(5, 1)));
        assert!(
            !history.is_next(z(4, 1))
                && !history.is_next(z(4, 3))
                && !history.is_next(z(5, 2))
                && !history.is_next(z(5, 0))
        );
        let (epochs_last, last) = (z(4, u32::MAX), z(u32::MAX, u32::MAX));
        assert!(epochs_last.is_followed_by(z(5, 1)) && !epochs_last.is_followed_by(z(5, 0)));
        assert!(!last.is_followed_by(Zxid::ZERO) && !last.is_followed_by(last));
        assert!(history.is_later(z(4, 2)) && history.is_later(z(4, 3)) && history.is_later(z(5, 2)));
        assert!(!history.is_later(z(4, 1)) && !history.is_later(z(2, 4)) && !history.is_later(z(5, 0)));
    }

    #[test]
    fn zxids_that_a_leader_gave_to_no_txn_change_no_plan() {
        // No txn has (3, 1), (3, 2) and (3, 5); nobody's history ends there.
        let mut history = History::new(z(2, 8));
        [z(3, 3), z(3, 4), z(3, 6), z(4, 1)].into_iter().for_each(|zxid| history.push(zxid));
        for last in [z(2, 8), z(3, 0), z(3, 3), z(3, 4), z(3, 6)] {
            assert_eq!(history.plan(last.into()), Plan::Diff { after: last });
        }
        assert_eq!(history.plan(z(3, 7).into()), Plan::Trunc { to: z(3, 6) });
        history.cut(z(3, 4));
        assert_eq!(history.last(), z(3, 4));
        assert_eq!(history.plan(z(3, 6).into()), Plan::Trunc { to: z(3, 4) });
    }

    #[test]
    fn who_bears_no_gap_has_to_be_behind_the_newest() {
        let mut history = History::new(z(2, 8));
        assert_eq!(history.gap(), Zxid::ZERO);
        [z(2, 9), z(3, 1), z(3, 2)].into_iter().for_each(|zxid| history.push(zxid));
        assert_eq!(history.gap(), Zxid::ZERO);
        [z(3, 5), z(3, 6), z(4, 3), z(4, 4), z(4, 5)].into_iter().for_each(|zxid| history.push(zxid));
        assert_eq!(history.gap(), z(4, 3));
        let kept = history.without_gaps(z(4, 4)).unwrap();
        assert_eq!((kept.floor(), kept.last(), kept.gap()), (z(4, 3), z(4, 4), Zxid::ZERO));
        assert_eq!(history.without_gaps(z(3, 9)), None, "no position of it");
        history.cut(z(4, 4));
        assert_eq!(history.gap(), z(4, 3));
        // Where the one before was is not known any more.
        history.cut(z(3, 6));
        assert_eq!((history.gap(), history.floor()), (z(3, 6), z(2, 8)));
        assert_eq!(history.without_gaps(z(3, 6)), Some(History::new(z(3, 6))));
    }

    #[test]
    fn after_a_cut_the_history_ends_there() {
        let mut history = history();
        history.cut(z(2, 2));
        assert_eq!(history.last(), z(2, 2));
        history.push(z(2, 3));
        history.cut(z(2, 0));
        assert_eq!(history.last(), z(2, 0));
        assert!(history.is_next(z(2, 1)));
    }

    #[test]
    fn its_spans_make_it_again() {
        let spans: Vec<_> = history().spans().collect();
        assert_eq!(spans, [(Epoch(1), 6), (Epoch(2), 3), (Epoch(4), 1)]);
        assert_eq!(History::of_spans(z(1, 4), &spans), Some(history()));
        assert_eq!(History::of_spans(z(3, 0), &[(Epoch(3), 0)]), Some(History::new(z(3, 0))));
    }

    #[test]
    fn what_is_no_list_of_spans_makes_none() {
        let spans = [(Epoch(1), 6), (Epoch(2), 3)];
        assert_eq!(History::of_spans(z(1, 4), &[]), None);
        assert_eq!(History::of_spans(z(1, 7), &spans), None, "the floor lies above the first span");
        assert_eq!(History::of_spans(z(0, 0), &spans), None, "the floor's epoch has no span");
        assert_eq!(History::of_spans(z(2, 0), &[spans[1], spans[0]]), None, "the epochs go back");
        assert_eq!(History::of_spans(z(2, 0), &[spans[1], spans[1]]), None, "an epoch comes twice");
    }

    #[test]
    fn of_very_many_epochs_the_oldest_go() {
        let mut history = History::new(Zxid::ZERO);
        for epoch in 1..=u32::try_from(SPANS_MAX).unwrap() + 10 {
            history.push(z(epoch, 1));
        }
        assert_eq!(history.spans.len(), SPANS_MAX);
        assert_eq!(history.floor(), z(11, 0));
        assert_eq!(history.plan(z(10, 1).into()), Plan::Snap);
        assert_eq!(history.plan(z(11, 0).into()), Plan::Diff { after: z(11, 0) });
    }
}
