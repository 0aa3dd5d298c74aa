//! A server's disk: a control file, a base with a log after it, and what of both is still on its way there, in order.

use crate::wire::Txn;
use proto::Zxid;
use ringkeeper_zab::{Epochs, Gate, History};
use std::collections::VecDeque;

/// A state and the log after it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Generation {
    pub base: Zxid,
    /// Every txn that made the base.
    pub state: Vec<Txn>,
    pub log: Vec<Txn>,
}

impl Generation {
    pub(crate) fn last(&self) -> Zxid {
        self.log.last().map_or(self.base, |txn| txn.zxid)
    }

    pub(crate) fn txns(&self) -> impl Iterator<Item = &Txn> {
        self.state.iter().chain(&self.log)
    }
}

/// Something that is to become durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Append(Txn, Option<Gate>),
    Epochs { epochs: Epochs, adopt: bool, then: Option<Gate> },
    Cut(Zxid),
}

/// What has become durable, for the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Done {
    Durable(Zxid, Option<Gate>),
    Epochs(Epochs, Option<Gate>),
    Cut { last: Zxid },
    Lost,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub epochs: Epochs,
    /// What recovery finds.
    pub current: Generation,
    /// A state that was taken and not adopted, with the log after it.
    pub taken: Option<Generation>,
    /// What was in force before the one that was adopted.
    pub former: Option<Generation>,
    /// The history is not whole, and recovery sees that.
    pub is_damaged: bool,
    /// What was durable before the damage. An ACK of it may still be on its way.
    pub lost: Vec<Txn>,
    pub queue: VecDeque<Op>,
}

impl Disk {
    /// Makes the oldest op durable.
    pub(crate) fn complete(&mut self) -> Option<Done> {
        Some(match self.queue.pop_front()? {
            Op::Append(txn, then) => {
                let generation = self.taken.as_mut().unwrap_or(&mut self.current);
                assert!(txn.zxid > generation.last(), "{txn:?} is appended after {}", generation.last());
                generation.log.push(txn);
                Done::Durable(txn.zxid, then)
            }
            Op::Epochs { epochs, adopt, then } => {
                self.epochs = epochs;
                if adopt {
                    let taken = self.taken.take().expect("a state was taken");
                    self.former = Some(std::mem::replace(&mut self.current, taken));
                    self.is_damaged = false;
                }
                Done::Epochs(epochs, then)
            }
            Op::Cut(to) => self.cut(to),
        })
    }

    fn cut(&mut self, to: Zxid) -> Done {
        if to < self.current.base {
            match self.former.take().filter(|former| former.base <= to) {
                Some(former) => self.current = former,
                None => {
                    self.is_damaged = true;
                    return Done::Lost;
                }
            }
        }
        self.current.log.retain(|txn| txn.zxid <= to);
        let last = self.current.last();
        self.is_damaged |= last != to && to.counter() > 0;
        Done::Cut { last }
    }

    /// What is on the way is lost, but for the oldest `kept` ops, which became durable unseen.
    pub(crate) fn crash(&mut self, kept: usize) {
        for _ in 0..kept {
            self.complete();
        }
        self.queue.clear();
        self.taken = None;
    }

    /// The txn at this place of the whole history.
    pub(crate) fn nth(&self, at: usize) -> Option<&Txn> {
        let Generation { state, log, .. } = &self.current;
        state.get(at).or_else(|| log.get(at.checked_sub(state.len())?))
    }

    /// Is it durable, for recovery to find?
    pub(crate) fn has(&self, zxid: Zxid) -> bool {
        let is_in = |txns: &[Txn]| txns.binary_search_by_key(&zxid, |txn| txn.zxid).is_ok();
        is_in(&self.current.state) || is_in(&self.current.log)
    }

    /// Log and base are lost, the control file is not: law 10.
    pub(crate) fn damage(&mut self) {
        self.lost = self.current.txns().copied().collect();
        self.current = Generation::default();
        self.former = None;
        self.is_damaged = true;
    }

    /// What the log holds, for a peer that starts.
    pub(crate) fn history(&self) -> History {
        let mut history = History::new(self.current.base);
        for txn in &self.current.log {
            history.push(txn.zxid);
        }
        history
    }
}
