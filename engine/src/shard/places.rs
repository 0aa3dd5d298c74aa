//! Places for long reads: a client has [`PLACES_OF_CLIENT`] of them in a shard, and waits for the next one with its further connections.
//!
//! A client is an address, as it is for `maxClientCnxns`. Whoever asks with many connections thus waits for himself: at most so many of his listings
//! are made before another's. And little is taken of the tree that is not read soon: a listing is taken when there is a place for it, not when it
//! is asked for. A place is taken until its reply was made or given up, be its connection there or not. Those who wait come in the order in which
//! they began to. It never makes anybody ready itself; [`super::long`] does. Tests: `engine/tests/shard/places.rs`.

use crate::stream::ConnId;
use ahash::AHashMap;
use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

/// Long reads of a client that a shard has begun and that are not made: one is made, and the next one need not wait for the shard.
pub(super) const PLACES_OF_CLIENT: usize = 2;

/// The turn of a connection that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    client: IpAddr,
    number: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Of clients that have any.
    taken: AHashMap<IpAddr, usize>,
    waiting: BTreeMap<Turn, ConnId>,
    next_number: u64,
}

impl Places {
    pub(super) fn has_one(&self, client: IpAddr) -> bool {
        self.taken.get(&client).is_none_or(|taken| *taken < PLACES_OF_CLIENT)
    }

    pub(super) fn take(&mut self, client: IpAddr) {
        *self.taken.entry(client).or_default() += 1;
    }

    /// # Panics
    /// If none was taken.
    pub(super) fn give_back(&mut self, client: IpAddr) {
        let Entry::Occupied(mut taken) = self.taken.entry(client) else { panic!("only a taken place is given back") };
        *taken.get_mut() -= 1;
        if *taken.get() == 0 {
            taken.remove();
        }
    }

    pub(super) fn wait(&mut self, client: IpAddr, conn: ConnId) -> Turn {
        let turn = Turn { client, number: self.next_number };
        self.next_number += 1;
        self.waiting.insert(turn, conn);
        turn
    }

    pub(super) fn leave(&mut self, turn: Turn) {
        self.waiting.remove(&turn);
    }

    /// Who waits and may have a place now.
    pub(super) fn next(&self, client: IpAddr) -> Option<ConnId> {
        if self.waiting.is_empty() || !self.has_one(client) {
            return None;
        }
        let turns = Turn { client, number: 0 }..=Turn { client, number: u64::MAX };
        self.waiting.range(turns).next().map(|(_, conn)| *conn)
    }
}
