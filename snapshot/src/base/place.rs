//! The order of the runs: where a record lies.

use std::fmt::Debug;

/// One of the four sorted sequences of records in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Run {
    /// All znodes; key: the hash of the parent's path.
    Nodes,
    /// The paths of ephemerals; key: the session.
    Ephemerals,
    /// The paths of TTL znodes; key: the expiry.
    Ttls,
    /// The paths of containers; key 0.
    Containers,
}

/// Where a record lies within its run. Records are sorted by it, so a caller that writes sorts its changes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place<'a> {
    pub(crate) key: u64,
    pub(crate) head: &'a str,
    pub(crate) tail: &'a str,
}

impl<'a> Place<'a> {
    /// The place of a znode: hash of the parent's path, the parent's path, the name.
    #[must_use]
    pub fn of_node(_path: &'a str) -> Place<'a> {
        todo!()
    }

    /// The place of a path in a run other than [`Run::Nodes`]: key (session, or expiry in ms, or 0), then the path.
    #[must_use]
    pub fn of_entry(_key: i64, _path: &'a str) -> Place<'a> {
        todo!()
    }
}
