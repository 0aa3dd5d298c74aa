//! Bugs that are planted, to see that the checkers find them.
//!
//! Owns their names alone. Those of the turn loop are [`Planted`], which the loop asks its host for and which nobody but the simulation says yes to; all others stand
//! in what the simulation puts around the production code: the log's side, recovery, the host, the bytes that leave. `sim bugs` prints how soon each is found.

use engine::turn::Planted;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Bug {
    // Around the loop.
    /// A group counts as durable when it is started.
    AckBeforeDurable,
    /// A server whose disk was wiped votes as if it had never had anything.
    VoteWithLostLog,
    /// Recovery leaves the last records of the log out.
    LastRecordsLost,
    /// Recovery forgets the epoch that was promised, but not yet led.
    PromiseForgotten,
    /// Epochs are answered for at once, and written some time later.
    EpochAfterAck,
    /// Every server takes itself alone for a quorum.
    CommitWithoutQuorum,
    /// A cut of the log is answered for and not done.
    TruncSkipped,
    /// A cut of the log is done only with the next append: a crash before takes it back.
    TruncUndone,
    /// A state that came to nothing keeps the log that was begun for it.
    DiscardSkipped,
    /// An image gets its name, and the control file names it, before its bytes are durable.
    ImageBytesNotSynced,
    /// The control file is replaced by one whose bytes are not durable.
    ControlBytesNotSynced,
    /// The control file's replace does not wait for its directory: the former one may come back.
    ControlNameNotSynced,
    /// An image is made of what is shown, be it committed or not.
    ImageAheadOfLog,
    /// A shard reads the tree before it has taken what the core has told it.
    LaterWriteVisible,
    /// What is asked in a session on the connection that it had before counts as asked on the one that it has.
    OldWriteAccepted,
    /// The last two frames of a send change places now and then.
    RepliesOvertake,
    /// Watch events get lost now and then.
    EventsLost,
    /// A reply's header says one more than it should now and then.
    HeaderAhead,

    // In the loop.
    /// [`Planted::AckAtOnce`].
    LoopAckAtOnce,
    /// [`Planted::PromiseAtOnce`].
    LoopPromiseAtOnce,
    /// [`Planted::OwnAckEarly`].
    LoopOwnAckEarly,
    /// [`Planted::EpochsBeforeTxns`].
    LoopEpochsBeforeTxns,
    /// [`Planted::TreeNotCut`].
    LoopTreeNotCut,
    /// [`Planted::StateShownEarly`].
    LoopStateShownEarly,
    /// [`Planted::ReplyBeforeEvent`].
    LoopReplyBeforeEvent,
    /// [`Planted::PositionAhead`].
    LoopPositionAhead,
}

impl Bug {
    /// The turn loop's.
    #[must_use]
    pub const fn planted(self) -> Option<Planted> {
        Some(match self {
            Bug::LoopAckAtOnce => Planted::AckAtOnce,
            Bug::LoopPromiseAtOnce => Planted::PromiseAtOnce,
            Bug::LoopOwnAckEarly => Planted::OwnAckEarly,
            Bug::LoopEpochsBeforeTxns => Planted::EpochsBeforeTxns,
            Bug::LoopTreeNotCut => Planted::TreeNotCut,
            Bug::LoopStateShownEarly => Planted::StateShownEarly,
            Bug::LoopReplyBeforeEvent => Planted::ReplyBeforeEvent,
            Bug::LoopPositionAhead => Planted::PositionAhead,
            _ => return None,
        })
    }
}
