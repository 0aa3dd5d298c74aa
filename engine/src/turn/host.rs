//! What the turn loop needs of the world: clocks, shards, the log, connections, and work that is done beside it.
//!
//! Owns nothing. `server` implements it over the hub, sockets and threads, `sim` over its world. Nothing here may block, and nothing may decide anything about
//! the protocol.

use super::log::{LogDone, LogItem};
use super::sync::SentBy;
use super::{LinkTable, Note};
use crate::log_room::LogRoom;
use crate::replica::{ForwardBatch, Now, Replica};
use crate::stream::StreamBatch;
use crate::tree::Tree;
use proto::{ServerId, Zxid};
use snapshot::control::ImageRef;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use zab::election::Vote;
use zab::{LinkId, Sync};

/// Where the tree lies.
pub trait TreeLock {
    /// To be read.
    fn read(&self) -> impl Deref<Target = Tree>;

    /// To be changed.
    fn write(&self) -> impl DerefMut<Target = Tree>;
}

/// What the election port has heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ElectionEvent {
    /// A server says whom it votes for.
    Voted {
        /// Who says so.
        from: ServerId,
        /// What.
        vote: Vote,
    },
    /// A connection stands, or does not.
    Reachable {
        /// To whom.
        server: ServerId,
        /// Does it stand?
        is_up: bool,
    },
}

/// How far the work beside the loop is that sends a learner what it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncProgress {
    /// It has nothing ready.
    Waits,
    /// It has appended something.
    Appended,
    /// All is appended: the learner has everything up to here with it.
    Done(Zxid),
    /// It cannot go on: the link is to be closed.
    Failed,
}

/// A state that a leader has sent: whole and exact, and its image durable.
#[derive(Debug)]
pub struct Taken {
    /// The state.
    pub tree: Box<Tree>,
    /// Its image, which no control file names yet.
    pub image: ImageRef,
    /// What came behind it on the link, and is for the peer.
    pub rest: Vec<u8>,
}

/// What became of the tree in one hold of its lock.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Count of txns that were applied.
    pub applied: u64,
    /// For the shards.
    pub batch: &'a Arc<StreamBatch>,
    /// The txns are in its window.
    pub replica: &'a Replica,
    /// What the tree shows is committed and durable here: an image of it may be begun.
    pub may_freeze: bool,
}

/// See the module.
pub trait Host {
    /// The time.
    fn now(&self) -> Now;
    /// Has the end been asked for? Then nobody expires any more.
    fn is_stopping(&self) -> bool;

    // Shards.

    /// Count of shards.
    fn shards(&self) -> usize;
    /// The next of what a shard hands over.
    fn next_forwards(&mut self, shard: usize) -> Option<ForwardBatch>;
    /// As much as was wanted of this shard has been taken, something at least.
    fn took_forwards(&mut self, shard: usize);
    /// So many requests were taken in this turn.
    fn took_requests(&mut self, _requests: u64) {}
    /// Txns and replies that one hold of the tree's lock applies at the most.
    fn apply_max(&self) -> usize {
        APPLY_MAX
    }
    /// Has every shard room for a batch of the stream?
    fn has_room_everywhere(&mut self) -> bool;
    /// The tree has changed: what changed goes to every shard. Called under the tree's lock.
    fn show(&mut self, tree: &mut Tree, shown: &Shown<'_>);
    /// The lock was let go of: whom the batch is for may be woken.
    fn shown(&mut self, batch: &StreamBatch);
    /// Sessions are due: the shards are to tell whom they have heard up to this time, ms.
    fn ask_whom_they_heard(&mut self, until_ms: i64);
    /// The clocks were looked at.
    fn ticked(&mut self, _tree: &Tree, _replica: &mut Replica, _now: Now) {}

    // The log.

    /// Does it take another item?
    fn log_has_room(&self) -> bool;
    /// Takes an item. There is room.
    fn push_log(&mut self, item: LogItem);
    /// Does of the log's work what is done within the core's turns. True if something moved.
    fn pump_log(&mut self) -> bool {
        false
    }
    /// The next answer.
    fn next_log_done(&mut self) -> Option<LogDone>;
    /// Up to where txns are durable. To be asked after [`Host::next_log_done`].
    fn log_durable(&self) -> Zxid;
    /// What can be read in it follows on this; older parts were purged.
    fn log_begins_after(&self) -> Zxid;
    /// How much room it has. To be asked after [`Host::log_durable`].
    fn log_room(&self) -> LogRoom;

    // The network.

    /// Puts what has come into the links. True if more may lie there.
    fn read_links(&mut self, links: &mut LinkTable) -> bool;
    /// Sends what is to be sent.
    fn write_links(&mut self, links: &mut LinkTable);
    /// Dials a server's quorum port, in place of what is being dialled.
    fn dial(&mut self, server: ServerId);
    /// Nobody is to be dialled.
    fn give_up_dial(&mut self);
    /// What the election port has heard.
    fn next_election_event(&mut self) -> Option<ElectionEvent>;
    /// Sends a vote; it takes the place of an older one that has not left.
    fn vote(&mut self, to: ServerId, vote: Vote);

    // Beside the loop.

    /// Begins to send a learner what it lacks.
    fn start_sync(&mut self, link: LinkId, sync: Sync);
    /// Appends the next of it.
    fn next_sync(&mut self, link: LinkId, out: &mut Vec<u8>) -> SyncProgress;
    /// The link is gone, or all was sent.
    fn end_sync(&mut self, link: LinkId);
    /// A state comes, of this zxid, or a later one if it is Java's.
    fn start_taking(&mut self, zxid: Zxid, sent_by: SentBy);
    /// Takes from the front of what has come as much as it has room for.
    fn feed(&mut self, input: &mut Vec<u8>);
    /// Does the work stand still until more of the state comes?
    fn wants_more(&self) -> bool;
    /// The state, once it is there. `Err`: it is none, or there is no place for it; why was told.
    fn taken(&mut self) -> Option<Result<Taken, ()>>;
    /// Nobody wants the state any more.
    fn stop_taking(&mut self);
    /// Another tree takes the place of the one that is shown, from the next [`Host::show`] on: what was frozen of it is nobody's.
    fn begin_era(&mut self);
    /// A tree that was replaced, to be dropped where that holds up nobody.
    fn drop_tree(&mut self, former: Tree);

    /// A word for the operator.
    fn note(&mut self, note: Note);

    /// Is this bug planted in the loop? The simulation alone says yes; for everybody else it is nothing, and the compiler leaves it out.
    #[inline]
    fn plants(&self, _bug: Planted) -> bool {
        false
    }
}

/// Bugs that the simulation plants in the loop, to see that it would find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// What waits for a txn to be durable is sent at once.
    AckAtOnce,
    /// What waits for epochs to be durable is sent at once.
    PromiseAtOnce,
    /// A server counts itself to have what it has only proposed.
    OwnAckEarly,
    /// Epochs go to the log before the txns that were appended before them.
    EpochsBeforeTxns,
    /// After a cut of the log the tree stays as it is.
    TreeNotCut,
    /// A state that was taken is shown before it is in force.
    StateShownEarly,
    /// Replies go before the events of the same txn.
    ReplyBeforeEvent,
    /// The stream's position is that of what is committed, not of what is shown.
    PositionAhead,
}

/// So many of them keep readers waiting for well under a ms.
const APPLY_MAX: usize = 1_024;
