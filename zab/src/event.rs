//! What a peer is told, and what it says is to be done.
//!
//! Owns the vocabulary alone. Every value is small and `Copy`: a txn is its zxid, a range of txns `(after, to]` is two.

use crate::election::Vote;
use proto::quorum::FromLeader;
use proto::quorum::FromLearner;
use proto::{Epoch, LastZxid, ServerId, Zxid};

/// Monotonic time in ms, from any start.
pub type Ms = i64;

/// A connection on the quorum port, as the caller numbers them. Never used twice while a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// The two epochs that a server keeps on disk (`acceptedEpoch`, `currentEpoch`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The newest that it has promised to a leader: it follows no older one.
    pub accepted: Epoch,
    /// That of the newest leader whose history it has taken over.
    pub current: Epoch,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Time has passed.
    Tick,

    // The election port.
    /// A server says whom it votes for.
    Voted {
        /// Who says so.
        from: ServerId,
        /// Its vote, state and round.
        vote: Vote,
    },
    /// A connection to this server on the election port stands, or does not: it has ended, or an attempt to connect has failed, which is to be told as
    /// well. Of a server that was never told of nothing is known: an election waits for its vote.
    Reachable {
        /// The other server.
        server: ServerId,
        /// Does it stand?
        is_up: bool,
    },

    // The quorum port.
    /// The answer to [`Action::Dial`]: the link stands.
    Dialled(LinkId),
    /// The answer to [`Action::Dial`]: nobody is there. A new [`Action::Dial`] may ask again.
    NotDialled,
    /// A learner has connected.
    Accepted(LinkId),
    /// A link has ended, for whatever reason. Not said after [`Action::Close`].
    Lost(LinkId),
    /// A learner's packet. REQUEST, REVALIDATE and the touches of PING are the caller's to work off; it tells them too, since they show
    /// that the learner is alive.
    FromLearner(LinkId, FromLearner<'a>),
    /// The leader's packet, with its txn if it has one: the caller keeps the bytes, which an [`Action::Append`] may name. REVALIDATE and SYNC
    /// are the caller's to work off.
    FromLeader(LinkId, FromLeader<'a>),
    /// How much the link still takes before it is full. A link has room until told otherwise.
    Room {
        /// The link.
        link: LinkId,
        /// Has it room for a flush?
        has_room: bool,
    },
    /// What [`Sync::Snap`] or [`Sync::Log`] asked for has been sent, up to this zxid.
    Synced {
        /// The learner's link.
        link: LinkId,
        /// The newest zxid that the learner has with it.
        to: Zxid,
    },
    /// The state that [`Action::TakeSnap`] asked for is here, whole and durable, but not in force before [`Action::Adopt`].
    SnapTaken {
        /// The leader's link.
        link: LinkId,
        /// The state's zxid: the one of the SNAP packet.
        zxid: Zxid,
    },
    /// [`Action::Cut`] has been done, durably.
    IsCut {
        /// What the log ends with. Another zxid than was asked for means that the log never had that one.
        last: Zxid,
    },
    /// [`Action::Cut`] cannot be done, or what was recovered has turned out to be damaged: the peer looks anew, and says -1 from now on. A cut that is under
    /// way has come to its end with it: no [`Input::IsCut`] follows. Of a standalone server it is the end.
    HistoryLost,

    // The own disk. These are stepped before what waits for them is sent.
    /// The own log is durable up to here.
    Durable(Zxid),
    /// These epochs are durable, and with them everything that was appended before.
    EpochsDurable(Epochs),

    // The state machine above.
    /// It proposes the txn with the zxid that [`crate::Peer::next_zxid`] told, and appends it to the log itself.
    Propose(Zxid),
    /// It has forgotten the txns up to here: later ones can still be sent from memory. From a start, a state that was taken, or one that was
    /// discarded on, that is everything up to the end then, without being said.
    Forgot(Zxid),
    /// The log has been purged: the oldest history that a DIFF from the log can follow on is this.
    Purged(Zxid),
    /// The own log takes no more writes for want of space, or does again.
    Full(bool),
}

/// Who waits for something to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// On which link.
    pub link: LinkId,
    /// What leaves then.
    pub message: Message,
}

/// What is to be done, in the order in which it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this vote on the election port; the newest one to a server takes the place of one that has not left.
    Vote {
        /// To whom.
        to: ServerId,
        /// What.
        vote: Vote,
    },
    /// Connect to this leader's quorum port; [`Input::Dialled`] or [`Input::NotDialled`] answers. With the next [`Action::Dial`] or [`Action::Look`]
    /// it is given up.
    Dial(ServerId),
    /// Send a message.
    Send(LinkId, Message),
    /// Close a link once what was sent on it has left.
    Close(LinkId, LinkEnd),

    /// Append the txn of the packet that was just stepped to the log, then send what waits.
    Append {
        /// The txn's zxid.
        zxid: Zxid,
        /// What leaves once the log is durable up to it.
        then: Option<Gate>,
    },
    /// Make these epochs durable, after everything that was appended before; answered by [`Input::EpochsDurable`], and then what waits is sent.
    WriteEpochs {
        /// The epochs.
        epochs: Epochs,
        /// What leaves then.
        then: Option<Gate>,
    },
    /// Cut the log to end with this, durably, and take back what of the tree is later; answered by [`Input::IsCut`] or [`Input::HistoryLost`].
    /// Until then nothing more of the leader's link is stepped.
    Cut(Zxid),
    /// The bytes that follow on the link are a state; [`Input::SnapTaken`] answers, and until then nothing more of this link is stepped. The
    /// state begins a log of its own: what is appended from then on follows it. What was is in force until [`Action::Adopt`]. However long it takes, nothing
    /// is timed here: the caller sees whether anything comes, and ends the link ([`Input::Lost`]) if for initLimit nothing does.
    TakeSnap {
        /// The link.
        link: LinkId,
        /// The state's zxid, as the leader says it.
        zxid: Zxid,
        /// The leader's epoch. An observer may have promised a newer one.
        epoch: Epoch,
        /// Is the leader RingKeeper's? The states of Java's are fuzzy.
        is_ours: bool,
    },
    /// The state that was taken, and the log after it, come into force by the same replace of the control file as the epochs of the
    /// [`Action::WriteEpochs`] that follows. What was is kept: the leader is not established yet, and the next one may want a cut below the state. It is
    /// also what is shown, until an [`Action::Commit`] reaches into the state, maybe under another leader.
    Adopt,
    /// The state that was to be taken, or was taken and not adopted, and what was appended after it, are nobody's. What was is this server's still.
    Discard,
    /// What was kept since [`Action::Adopt`], if anything is, may go: a quorum has this server's history. It may be of an earlier leader's state, and of
    /// an earlier process.
    Release,

    /// Send a learner what it lacks, beside the core; [`Input::Synced`] answers.
    Sync(LinkId, Sync),

    /// A quorum has everything up to here: apply it.
    Commit(Zxid),
    /// The server leads this epoch, and its next zxid is (epoch, 1): all before is committed. Requests may be prepared.
    Lead(Epoch),
    /// The server follows, or observes, on this link: requests may be forwarded. All that was told committed may be shown.
    Follow(LinkId),
    /// There is no leader: clients are not served, what is prepared and not committed has no answer, replies that wait have none.
    Look(Cause),
}

/// Why a server looks for a leader: for the log and the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It has started.
    Start,
    /// The leader's link has ended.
    LinkLost,
    /// Nobody answers where the leader should be.
    NotDialled,
    /// The server that was elected looks itself, for another or in a newer round, and has not led yet.
    NotLeading,
    /// The leader was silent for too long, or did not come to lead in time.
    Silent,
    /// The leader sent what it must not send at this place.
    Protocol(&'static str),
    /// It has promised a newer epoch than the leader's.
    OldEpoch,
    /// It was to lead, and no quorum was in step in time.
    NotEstablished,
    /// It was to lead, had no quorum yet, and a voter says a better vote of the same round: the others may know it, too.
    Overtaken,
    /// It was to lead, and a voter has a newer history.
    Behind,
    /// A voter has promised a newer epoch than this leader's, and could never follow it.
    NewerPromise,
    /// It led, and a quorum is not in step any more.
    NoQuorum,
    /// It led, its log is full, and the others are a quorum without it.
    Full,
    /// It led, and the zxids of its epoch are used up.
    EpochIsOver,
    /// Its history is not whole.
    HistoryLost,
}

/// How a learner gets what it lacks, where that is not in the leader's memory. The caller gives up by closing the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// SNAP and a whole state, of this zxid at least, which is to be that of the packet, too: the log goes on from there.
    Snap {
        /// At least.
        zxid: Zxid,
    },
    /// PROPOSAL and COMMIT of each txn in `(after, to]`, from the log.
    Log {
        /// What the learner has.
        after: Zxid,
        /// Where to stop.
        to: Zxid,
        /// The epoch of this leader: in it no txn is missing. In older ones a Java leader may have given zxids to none.
        epoch: Epoch,
    },
}

/// A message on the quorum port. A range of txns `(after, to]` is a packet for each; what is not said to reach back into other epochs, or to be a Java leader's, has
/// all counters in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// FOLLOWERINFO or OBSERVERINFO.
    Info {
        /// Whether it observes.
        observer: bool,
        /// The epoch that it has promised.
        accepted: Epoch,
    },
    /// LEADERINFO.
    LeaderInfo(Epoch),
    /// ACKEPOCH.
    AckEpoch {
        /// The end of the learner's history, uncommitted tail included.
        last: LastZxid,
        /// Its current epoch; none if it had promised the epoch before.
        current: Option<Epoch>,
    },
    /// DIFF.
    Diff(Zxid),
    /// TRUNC.
    Trunc(Zxid),
    /// PROPOSAL and COMMIT of each txn, in memory all of them: what is committed, for a learner that catches up. It may reach back into other
    /// epochs.
    Committed {
        /// What it has.
        after: Zxid,
        /// Up to here.
        to: Zxid,
    },
    /// PROPOSAL of each.
    Proposals {
        /// What it has.
        after: Zxid,
        /// Up to here.
        to: Zxid,
    },
    /// COMMIT of each.
    Commits {
        /// What it knows.
        after: Zxid,
        /// Up to here.
        to: Zxid,
    },
    /// INFORM of each, to an observer.
    Informs {
        /// What it has.
        after: Zxid,
        /// Up to here.
        to: Zxid,
    },
    /// NEWLEADER, with the ensemble's text.
    NewLeader(Epoch),
    /// UPTODATE.
    UpToDate,
    /// ACK of the first position of the epoch, which is that of NEWLEADER; then of each proposal in (after, to], which came before NEWLEADER
    /// and without a commit. A Java leader never commits them otherwise, and may have given some of the zxids to none.
    AckNewLeader {
        /// The leader's epoch.
        epoch: Epoch,
        /// The last committed one.
        after: Zxid,
        /// The last one.
        to: Zxid,
    },
    /// ACK: of a proposal, or, after UPTODATE, of NEWLEADER once more.
    Ack(Zxid),
    /// PING from a leader: its last proposal.
    Ping(Zxid),
    /// The answer to it, with its zxid; the caller adds the sessions that were touched.
    Pong(Zxid),
}

/// Why a link was closed: for the log and the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// This server does not lead (any more).
    NotLeading,
    /// This server looks for another leader, or for the same one anew.
    Looking,
    /// The other was silent for too long.
    Silent,
    /// The other sent what it must not send at this place.
    Protocol(&'static str),
    /// A learner that is ahead of the leader.
    Ahead,
    /// A learner so slow that what it lacks is not in memory any more.
    Lagging,
    /// It is connected anew.
    Replaced,
    /// A promise to another leader forbids this one.
    OldEpoch,
    /// There are as many as there may be.
    TooMany,
}
