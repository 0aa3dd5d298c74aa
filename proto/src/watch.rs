//! Watches as they stand on the wire: event types, watcher types, modes, and the event itself.

use crate::jute::{Reader, Result, Writer};
use crate::reply::ReplyHeader;
use crate::{Xid, Zxid};

/// What happened to a znode (`Watcher.Event.EventType`). Those that clients make themselves (5 to 7) are not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum EventType {
    /// It was created.
    NodeCreated = 1,
    /// It was deleted.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child was created or deleted.
    NodeChildrenChanged = 4,
}

impl EventType {
    /// The type with this number.
    #[must_use]
    pub const fn from_wire(value: i32) -> Option<EventType> {
        match value {
            1 => Some(EventType::NodeCreated),
            2 => Some(EventType::NodeDeleted),
            3 => Some(EventType::NodeDataChanged),
            4 => Some(EventType::NodeChildrenChanged),
            _ => None,
        }
    }
}

/// Which watches removeWatches and checkWatches mean (`Watcher.WatcherType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum WatcherType {
    /// Left by getChildren.
    Children = 1,
    /// Left by getData and exists.
    Data = 2,
    /// Every kind.
    Any = 3,
    /// Persistent ones (3.9).
    Persistent = 4,
    /// Persistent-recursive ones (3.9).
    PersistentRecursive = 5,
}

impl WatcherType {
    /// The type with this number.
    #[must_use]
    pub const fn from_wire(value: i32) -> Option<WatcherType> {
        match value {
            1 => Some(WatcherType::Children),
            2 => Some(WatcherType::Data),
            3 => Some(WatcherType::Any),
            4 => Some(WatcherType::Persistent),
            5 => Some(WatcherType::PersistentRecursive),
            _ => None,
        }
    }
}

/// How long a watch lasts and how far it reaches (`AddWatchMode`, and the one-shot that reads leave).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WatchMode {
    /// Fires once.
    Standard,
    /// Stays; this znode and its children's coming and going.
    Persistent,
    /// Stays; this znode and everything below it, without child events.
    PersistentRecursive,
}

impl WatchMode {
    /// The mode of an addWatch request.
    #[must_use]
    pub const fn from_wire(value: i32) -> Option<WatchMode> {
        match value {
            0 => Some(WatchMode::Persistent),
            1 => Some(WatchMode::PersistentRecursive),
            _ => None,
        }
    }
}

/// The state that events of a server carry: SyncConnected.
pub const STATE_SYNC_CONNECTED: i32 = 3;

/// The zxid in the header of an event that setWatches made: no txn's.
pub const NO_ZXID: Zxid = Zxid(u64::MAX);

/// The record of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatcherEvent<'a> {
    /// [`EventType`] as a number.
    pub ty: i32,
    /// [`STATE_SYNC_CONNECTED`].
    pub state: i32,
    /// The znode.
    pub path: &'a str,
}

impl<'a> WatcherEvent<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// [`crate::DecodeError`].
    pub fn read(r: &mut Reader<'a>) -> Result<WatcherEvent<'a>> {
        Ok(WatcherEvent { ty: r.int()?, state: r.int()?, path: r.string()? })
    }

    /// Writes it.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.int(self.ty);
        w.int(self.state);
        w.string(self.path);
    }
}

/// Appends the whole frame of an event. `zxid` is its txn's (3.9 and later send it; -1 before), or [`NO_ZXID`].
pub fn write_event_frame(out: &mut Vec<u8>, ty: EventType, zxid: Zxid, path: &str) {
    crate::jute::frame(out, |w| {
        ReplyHeader::ok(Xid::NOTIFICATION, zxid).write(w);
        WatcherEvent { ty: ty as i32, state: STATE_SYNC_CONNECTED, path }.write(w);
    });
}
