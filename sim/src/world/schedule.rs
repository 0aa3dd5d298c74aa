//! What is to happen when. Things at one time happen in the order in which they were put in.

use super::time::Time;
use std::collections::BTreeMap;

/// A thing to come, to be taken out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(Time, u64);

/// See the module.
#[derive(Debug)]
pub struct Schedule<E> {
    queue: BTreeMap<Ticket, E>,
    next: u64,
}

impl<E> Default for Schedule<E> {
    fn default() -> Schedule<E> {
        Schedule { queue: BTreeMap::new(), next: 0 }
    }
}

impl<E> Schedule<E> {
    /// Lets this happen then.
    pub fn put(&mut self, at: Time, event: E) -> Ticket {
        let ticket = Ticket(at, self.next);
        self.next += 1;
        self.queue.insert(ticket, event);
        ticket
    }

    /// It will not happen.
    pub fn take_back(&mut self, ticket: Ticket) -> Option<E> {
        self.queue.remove(&ticket)
    }

    /// Keeps only what is so.
    pub fn retain(&mut self, keep: impl Fn(&E) -> bool) {
        self.queue.retain(|_, event| keep(event));
    }

    /// When the next thing happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.queue.keys().next().map(|ticket| ticket.0)
    }

    /// The next thing.
    pub fn pop(&mut self) -> Option<(Time, E)> {
        self.queue.pop_first().map(|(ticket, event)| (ticket.0, event))
    }

    /// Count of things to come.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Is nothing to come?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
