//! One turn after the other: takes what came, steps the replica, hands to the log, sends to the links, applies and pushes to the shards' streams.
//!
//! Owns the order in which effects are executed: what waits for the disk leaves behind the write that it waits for, in the order in which it was said
//! ([`Waiting`]); a state or a cut takes effect in the tree before anything that follows it is applied. It must never wait, and never send an ACK or an epoch by
//! another way. Every queue in it is bounded: by [`Replica::is_full`], by the links' limits, and by the log's room, behind which it stops reading. The simulator
//! runs this very loop; its planted bugs in it are found there.
//!
//! | module | what it is about |
//! |---|---|
//! | `hearing` | votes, links, packets |
//! | `serving` | requests, and applying |
//! | `disk` | the log, and what waits for it |
//! | `beside` | states and long pieces of log, sent and taken |

mod beside;
mod disk;
mod hearing;
mod serving;

use super::host::{Host, Planted, TreeLock};
use super::links::LinkTable;
use super::log::LogItem;
use super::sync::SentBy;
use super::wire::{self, TxnSource, Wire};
use crate::replica::{Mismatch, Now, Replica, Window};
use crate::tree::Tree;
use proto::{DecodeError, ServerId, Zxid};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use zab::{Action, Cause, Gate, Input, LinkEnd, LinkId, Message};

/// Batches that one turn takes of a shard.
const BATCHES_PER_SHARD: usize = 64;
/// Bytes of txns that a member of an ensemble keeps for its learners, or for those that it may have.
const WINDOW_BYTES: usize = 64 << 20;
/// Items of a standalone server that wait for room in the log; with more nothing is read that would make new ones. A member goes on with what a quorum has while its
/// own disk stands still, for as many bytes as may be on their way.
const TO_LOG_MAX: usize = 64;
/// More than a batch takes beside its txns' bytes.
const BATCH_BYTES: usize = 256;

/// A word for the operator.
#[derive(Debug)]
pub enum Note {
    /// The server looks for a leader, for this reason.
    Looks(Cause),
    /// It serves: as leader, or as follower on this link.
    Serves(Option<LinkId>),
    /// Who is at the other end of a link has said who it is.
    Met {
        /// The link.
        link: LinkId,
        /// Its id, as it says.
        server: ServerId,
        /// Is it one of ours? Java's otherwise.
        is_ours: bool,
    },
    /// A link was closed here.
    Closed(LinkId, LinkEnd),
    /// A link has ended.
    Lost(LinkId, super::LinkLoss),
    /// Something on a link is no packet, or no txn.
    Malformed(LinkId, DecodeError),
    /// More requests came on this link than may wait.
    TooManyRequests(LinkId),
    /// The learner on this link is to cut what it has behind this zxid.
    Cuts(LinkId, Zxid),
    /// The learner on this link gets from memory what comes after the first zxid, up to the second.
    FromMemory(LinkId, Zxid, Zxid),
    /// What this server has is not all that it had: it takes a whole state from a leader.
    HistoryLost,
    /// On this link, a Java leader's or one of ours with such a history, no txn has the zxids between these. Noted once a link.
    Gap {
        /// The leader's link.
        link: LinkId,
        /// The txn before.
        after: Zxid,
        /// The txn behind.
        next: Zxid,
    },
    /// A Java leader has said another digest than the tree's.
    Digest(Mismatch),
}

/// See the module.
#[derive(Debug)]
pub struct Core {
    replica: Replica,
    links: LinkTable,
    wire: Wire,
    is_alone: bool,
    has_ticked: bool,
    /// Scratch.
    actions: Vec<Action>,
    /// What waits for the disk, oldest first.
    waiting: VecDeque<Waiting>,
    /// For the log, once it has room.
    to_log: VecDeque<LogItem>,
    /// Bytes of the batches in it.
    to_log_bytes: usize,
    /// Items on their way that turn the log: until they are done, how far it is durable means nothing.
    turns: usize,
    /// The next epochs come with a state.
    adopts: bool,
    /// The link on which this server learns.
    leader_link: Option<LinkId>,
    /// Has the leader there left zxids out?
    leader_left_out: bool,
    taking: Option<Taking>,
    /// The log was told to begin with a state that is not in force.
    has_begun: bool,
    /// That state.
    taken_tree: Option<Box<Tree>>,
    /// To take the tree's place before anything is applied.
    next_tree: Option<Box<Tree>>,
    /// Links that are sent what they lack.
    syncs: Vec<Syncing>,
    /// Links that the peer was told to be full.
    full: BTreeSet<LinkId>,
    /// The peer was told that the log was purged up to here.
    purged: Zxid,
    first_shard: usize,
    next_tick_ms: i64,
}

/// Something that is done once the disk has done its part.
#[derive(Debug)]
struct Waiting {
    on: On,
    gate: Option<Gate>,
}

#[derive(Clone, Copy, Debug)]
enum On {
    Txn(Zxid),
    /// `adopts`: a state comes into force with them. `is_done`: they are durable.
    Epochs {
        adopts: bool,
        is_done: bool,
    },
}

/// A learner that is sent what it lacks.
#[derive(Clone, Copy, Debug)]
struct Syncing {
    link: LinkId,
    /// What was unsent on its link, and when that last changed, ms.
    unsent: usize,
    moved_ms: i64,
}

/// A state on its way.
#[derive(Debug)]
struct Taking {
    link: LinkId,
    /// When something of it last came, or was being worked off, ms.
    moved_ms: i64,
    /// It is here; the log begins with it.
    state: Option<Box<Tree>>,
}

impl TxnSource for Window {
    fn range(&self, after: Zxid, to: Zxid) -> impl Iterator<Item = (Zxid, &[u8])> {
        Window::range(self, after, to)
    }
}

impl Core {
    /// A standalone server's.
    #[must_use]
    pub fn alone(replica: Replica) -> Core {
        let wire = Wire::new(proto::ServerId(0), proto::ConfigVersion(0), Arc::from(""));
        Core { is_alone: true, ..Core::member(replica, LinkTable::new(super::LinkLimits::default()), wire) }
    }

    /// That of a member of an ensemble.
    #[must_use]
    pub fn member(replica: Replica, links: LinkTable, wire: Wire) -> Core {
        Core {
            replica,
            links,
            wire,
            is_alone: false,
            has_ticked: false,
            actions: Vec::new(),
            waiting: VecDeque::new(),
            to_log: VecDeque::new(),
            to_log_bytes: 0,
            turns: 0,
            adopts: false,
            leader_link: None,
            leader_left_out: false,
            taking: None,
            has_begun: false,
            taken_tree: None,
            next_tree: None,
            syncs: Vec::new(),
            full: BTreeSet::new(),
            purged: Zxid::ZERO,
            first_shard: 0,
            next_tick_ms: 0,
        }
    }

    /// What it orders.
    #[must_use]
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// For questions and settings.
    pub const fn replica_mut(&mut self) -> &mut Replica {
        &mut self.replica
    }

    /// The connections on the quorum port.
    #[must_use]
    pub const fn links(&self) -> &LinkTable {
        &self.links
    }

    /// Is nothing on its way?
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.replica.pending_len() == 0 && self.to_log.is_empty()
    }

    /// When the next turn is due at the latest, in ms of the monotonic clock.
    #[must_use]
    pub fn next_turn_ms(&self) -> i64 {
        self.replica.peer().deadline().map_or(self.next_tick_ms, |deadline| deadline.min(self.next_tick_ms))
    }

    /// Does all that is at hand, once. Never waits. True if something moved: there may be more to do.
    pub fn turn<H: Host>(&mut self, host: &mut H, tree: &impl TreeLock) -> bool {
        let now = host.now();
        let mut progress = false;
        let mut all_read = true;
        if !self.is_alone {
            progress |= self.hear_election(host, now);
            all_read = !host.read_links(&mut self.links);
            progress |= self.hear_links(host, now);
            self.look_at_the_clock(host, now);
        }
        progress |= self.take_requests(host, tree, now, all_read);
        self.hand_over_appends();
        progress |= self.hand_to_log(host);
        progress |= host.pump_log();
        progress |= self.hear_from_log(host, now);
        if !self.is_alone {
            self.flush(host, now);
            progress |= self.work_beside(host, now);
            progress |= self.hand_to_log(host);
            host.write_links(&mut self.links);
        }
        progress |= self.apply(host, tree);
        self.replica.forget(now, if self.is_alone { 0 } else { WINDOW_BYTES });
        progress
    }

    fn step<H: Host>(&mut self, host: &mut H, now: Now, input: Input<'_>) {
        self.replica.step(now, input);
        self.act(host, None);
    }

    // ---- what is to be done ---------------------------------------------------------------------------------------------

    /// Does what the peer has said. `txn`: that of the packet which was just stepped.
    fn act<H: Host>(&mut self, host: &mut H, txn: Option<&[u8]>) {
        let mut actions = std::mem::take(&mut self.actions);
        self.replica.take_actions(&mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Vote { to, vote } => host.vote(to, vote),
                Action::Dial(server) => {
                    self.links.forget_dial();
                    host.dial(server);
                }
                Action::Send(link, message) => {
                    match message {
                        Message::Info { .. } => self.leader_link = Some(link),
                        Message::Trunc(to) => host.note(Note::Cuts(link, to)),
                        Message::Committed { after, to } => host.note(Note::FromMemory(link, after, to)),
                        _ => {}
                    }
                    self.send(link, message);
                }
                Action::Close(link, end) => {
                    host.note(Note::Closed(link, end));
                    self.forget_link(host, link);
                    self.links.close(link);
                }
                Action::Append { zxid, then } => {
                    self.replica.append(zxid, txn.expect("the packet has a txn"));
                    if let Some(gate) = then.filter(|_| host.plants(Planted::AckAtOnce)) {
                        self.send(gate.link, gate.message);
                    } else if then.is_some() {
                        self.waiting.push_back(Waiting { on: On::Txn(zxid), gate: then });
                    }
                }
                Action::WriteEpochs { epochs, then } => {
                    let adopts = std::mem::take(&mut self.adopts);
                    if !adopts && host.plants(Planted::EpochsBeforeTxns) {
                        self.to_log.push_back(LogItem::Epochs(epochs));
                    } else {
                        self.queue(if adopts { LogItem::Adopt(epochs) } else { LogItem::Epochs(epochs) });
                    }
                    let at_once = then.filter(|_| host.plants(Planted::PromiseAtOnce));
                    let gate = if at_once.is_some() { None } else { then };
                    self.waiting.push_back(Waiting { on: On::Epochs { adopts, is_done: false }, gate });
                    if let Some(gate) = at_once {
                        self.send(gate.link, gate.message);
                    }
                }
                Action::Cut(to) => {
                    self.hold_leader(true);
                    let shown =
                        self.next_tree.as_ref().map_or(self.replica.window().applied(), |tree| tree.last_zxid());
                    self.queue(LogItem::Cut { to, rebuild: shown > to && !host.plants(Planted::TreeNotCut) });
                }
                Action::TakeSnap { link, zxid, epoch, is_ours } => {
                    self.links.hold(link, true);
                    let sent_by = if is_ours { SentBy::Ours(epoch) } else { SentBy::Java(epoch) };
                    host.start_taking(zxid, sent_by);
                }
                Action::Adopt => self.adopts = true,
                Action::Discard => {
                    self.replica.state_discarded();
                    self.taken_tree = None;
                    if std::mem::take(&mut self.has_begun) {
                        self.queue(LogItem::Discard);
                    }
                }
                Action::Release => self.queue(LogItem::Release),
                Action::Sync(link, sync) => {
                    self.syncs.push(Syncing { link, unsent: 0, moved_ms: 0 });
                    host.start_sync(link, sync);
                }
                Action::Look(cause) => {
                    host.note(Note::Looks(cause));
                    self.links.forget_dial();
                    host.give_up_dial();
                    if let Some(link) = self.leader_link {
                        self.forget_link(host, link);
                    }
                }
                // The replica has heeded them.
                Action::Commit(_) | Action::Lead(_) | Action::Follow(_) => {}
            }
        }
        self.actions = actions;
    }

    /// Appends a message to a link's output, if it stands.
    fn send(&mut self, link: LinkId, message: Message) {
        let mut touches = Vec::new();
        if matches!(message, Message::Pong(_)) {
            self.replica.take_touched(&mut touches);
        }
        let Some(out) = self.links.output(link) else { return };
        let (Message::Commits { after, to } | Message::Informs { after, to }) = message else {
            return self.wire.message(message, self.replica.window(), &touches, out);
        };
        let is_inform = matches!(message, Message::Informs { .. });
        self.replica.between_syncs(link, after, to, |window, part| match part {
            Some((after, to)) if is_inform => self.wire.message(Message::Informs { after, to }, window, &[], out),
            Some((after, to)) => self.wire.message(Message::Commits { after, to }, window, &[], out),
            None => wire::sync_answer(out),
        });
    }

    /// Sends the turn's proposals and commits, and what else is to leave.
    fn flush<H: Host>(&mut self, host: &mut H, now: Now) {
        self.hand_over_appends();
        self.replica.flush(now);
        self.act(host, None);
        while let Some((link, session, is_valid)) = self.replica.next_revalidation(now) {
            if let Some(out) = self.links.output(link) {
                wire::revalidate_answer(session, is_valid, out);
            }
        }
        while let Some(link) = self.replica.next_sync() {
            if let Some(out) = self.links.output(link) {
                wire::sync_answer(out);
            }
        }
        if let Some((link, packets)) = self.replica.to_leader()
            && !packets.is_empty()
            && !self.links.is_full(link)
        {
            if let Some(out) = self.links.output(link) {
                out.extend_from_slice(packets);
            }
            packets.clear();
        }
        let full: Vec<LinkId> = self.links.with_output().filter(|link| self.links.is_full(*link)).collect();
        for link in full {
            if self.full.insert(link) {
                self.step(host, now, Input::Room { link, has_room: false });
            }
        }
    }
}
