//! What the production turn loop meets in the simulation: the shards' lanes, the log, the links, votes, and the work beside it.
//!
//! Owns what has come from the network and was not taken, and the effects of a turn, which the driver lets happen one by one. Work that production does on
//! threads of its own is done here at once, or in a turn of its own (images). It must never decide anything about the protocol.

use super::bugs::Bug;
use super::effects::{Applied, Effect, TxnNote};
use super::images::Images;
use super::log::LogSide;
use super::process::{Membership, SHARDS, Turn};
use super::scenario::Making;
use super::shard::Lane;
use crate::world::network::{ConnId as NetConn, Side};
use engine::log_room::{LogRoom, RESERVE_BYTES};
use engine::replica::{Forward, ForwardBatch, Now};
use engine::stream::{Attachment, StreamBatch};
use engine::tree::Tree;
use engine::turn::sync::{LogSource, Records, SentBy, SnapSource, SourceState, StateTaker, TakeLimits, Taking};
use engine::turn::{
    ElectionEvent, Host, LinkLoss, LinkTable, LogDone, LogItem, Note, Planted, Shown, SyncProgress, Taken, TreeLock,
};
use proto::txn::TxnRecord;
use proto::{ServerId, Zxid};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use wal::sim_disk::SimDisk;
use zab::election::Vote;
use zab::{LinkId, Sync};

/// The tree of one thread.
#[derive(Debug)]
pub(super) struct TreeCell(pub(super) RefCell<Tree>);

impl TreeCell {
    pub(super) const fn new(tree: Tree) -> TreeCell {
        TreeCell(RefCell::new(tree))
    }
}

impl TreeLock for TreeCell {
    fn read(&self) -> impl Deref<Target = Tree> {
        self.0.borrow()
    }

    fn write(&self) -> impl DerefMut<Target = Tree> {
        self.0.borrow_mut()
    }
}

/// What the network has brought on the quorum port.
#[derive(Debug)]
enum Came {
    Accepted(NetConn),
    Dialled(NetConn),
    NotDialled,
    Bytes(NetConn, Vec<u8>),
    Closed(NetConn),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Io {
    pub(super) now: Now,
    pub(super) effects: Vec<Effect>,
    pub(super) lanes: Vec<Lane>,
    pub(super) log: LogSide,
    is_alone: bool,
    came: VecDeque<Came>,
    dialling: Option<NetConn>,
    links: BTreeMap<NetConn, (LinkId, Side)>,
    votes: VecDeque<ElectionEvent>,
    pub(super) syncs: BTreeMap<LinkId, Job>,
    pub(super) taking: Option<StateTaker>,
    taken: Option<Result<Taken, ()>>,
    pub(super) images: Images,
    pub(super) images_kept: usize,
    /// An image is begun at the next chance.
    pub(super) wants_image: bool,
    /// Another tree is about to be shown.
    swaps: bool,
    /// What recovery has put into the tree and the history does not tell of yet: it may not be committed.
    pub(super) replayed: VecDeque<Applied>,
    /// For [`Bug::OldWriteAccepted`]: on which connection a session was last renewed.
    owners: BTreeMap<i64, Attachment>,
}

/// What a learner is sent.
pub(super) enum Job {
    Log(Box<LogSource<SimRecords>>),
    /// An image of at least this zxid has to be there first.
    Waits(Zxid),
    Snap(Box<SnapSource>),
    Failed,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

pub(super) struct SimRecords(wal::Reader<<SimDisk as wal::Disk>::Read>);

impl Records for SimRecords {
    type Error = wal::Error;

    fn next_record(&mut self) -> Result<Option<(u64, &[u8])>, wal::Error> {
        self.0.next_record()
    }
}

impl Io {
    pub(super) fn new(
        log: LogSide,
        now: Now,
        member: Option<&Membership>,
        making: Making,
        replayed: VecDeque<Applied>,
    ) -> Io {
        Io {
            now,
            effects: Vec::new(),
            lanes: (0..SHARDS).map(|_| Lane::default()).collect(),
            log,
            is_alone: member.is_none(),
            came: VecDeque::new(),
            dialling: None,
            links: BTreeMap::new(),
            votes: VecDeque::new(),
            syncs: BTreeMap::new(),
            taking: None,
            taken: None,
            images: Images::default(),
            images_kept: making.images_kept,
            wants_image: false,
            swaps: false,
            replayed,
            owners: BTreeMap::new(),
        }
    }

    pub(super) const fn is_alone(&self) -> bool {
        self.is_alone
    }

    // ---- what the driver tells ------------------------------------------------------------------------------------------

    /// Another server has connected to the quorum port.
    pub(super) fn link_accepted(&mut self, conn: NetConn) {
        self.came.push_back(Came::Accepted(conn));
        // Until the core has taken it, it is known by its connection alone.
        self.links.insert(conn, (LinkId(0), Side::Acceptor));
    }

    /// The dial that was asked for has this number.
    pub(super) const fn dials(&mut self, conn: NetConn) {
        self.dialling = Some(conn);
    }

    /// It stands. False: nobody wants it any more.
    pub(super) fn link_dialled(&mut self, conn: NetConn) -> bool {
        if self.dialling != Some(conn) {
            return false;
        }
        self.dialling = None;
        self.came.push_back(Came::Dialled(conn));
        self.links.insert(conn, (LinkId(0), Side::Dialler));
        true
    }

    /// It does not.
    pub(super) fn link_not_dialled(&mut self, conn: NetConn) {
        if self.dialling == Some(conn) {
            self.dialling = None;
            self.came.push_back(Came::NotDialled);
        }
    }

    /// Is it a link of the quorum port?
    pub(super) fn is_link(&self, conn: NetConn) -> bool {
        self.links.contains_key(&conn)
    }

    pub(super) fn link_bytes(&mut self, conn: NetConn, bytes: Vec<u8>) {
        self.came.push_back(Came::Bytes(conn, bytes));
    }

    pub(super) fn link_closed(&mut self, conn: NetConn) {
        self.came.push_back(Came::Closed(conn));
    }

    /// A vote has come.
    pub(super) fn voted(&mut self, from: ServerId, vote: Vote) {
        self.votes.push_back(ElectionEvent::Voted { from, vote });
    }

    /// The election port tells that another server can be reached, or not.
    pub(super) fn reaches(&mut self, server: ServerId, is_up: bool) {
        self.votes.push_back(ElectionEvent::Reachable { server, is_up });
    }

    /// Tells of what was replayed up to here, which is committed.
    pub(super) fn tell_replayed(&mut self, to: Zxid) {
        while let Some(applied) = self.replayed.pop_front_if(|applied| applied.txn.zxid <= to) {
            self.effects.push(Effect::Applied(applied));
        }
    }

    fn accept_old_writes(&mut self, batch: &mut ForwardBatch) {
        for item in &mut batch.items {
            match item {
                Forward::Connect { from, session, .. } => drop(self.owners.insert(session.0, *from)),
                Forward::Request { from, session, .. } => *from = *self.owners.entry(session.0).or_insert(*from),
                _ => {}
            }
        }
    }

    fn conn_of(&self, link: LinkId) -> Option<(NetConn, Side)> {
        self.links.iter().find(|(_, (of, _))| *of == link).map(|(conn, (_, side))| (*conn, *side))
    }
}

impl Host for Io {
    fn now(&self) -> Now {
        self.now
    }

    fn is_stopping(&self) -> bool {
        false
    }

    fn shards(&self) -> usize {
        self.lanes.len()
    }

    fn next_forwards(&mut self, shard: usize) -> Option<ForwardBatch> {
        let mut batch = self.lanes.get_mut(shard)?.inbox.pop_front()?;
        if self.log.bug == Some(Bug::OldWriteAccepted) {
            self.accept_old_writes(&mut batch);
        }
        Some(batch)
    }

    fn took_forwards(&mut self, shard: usize) {
        self.effects.push(Effect::Wake(Turn::Shard(shard)));
    }

    /// One by one, to tell of each.
    fn apply_max(&self) -> usize {
        usize::from(!self.swaps)
    }

    fn has_room_everywhere(&mut self) -> bool {
        self.lanes.iter().all(Lane::has_room)
    }

    fn show(&mut self, tree: &mut Tree, shown: &Shown<'_>) {
        let zxid = tree.last_zxid();
        if std::mem::take(&mut self.swaps) {
            self.effects.push(Effect::Took(zxid, tree.digest()));
        }
        if shown.applied > 0 {
            assert_eq!(shown.applied, 1, "one by one");
            let (_, bytes) = shown.replica.window().range(Zxid(zxid.0 - 1), zxid).next().expect("it was applied");
            let record = TxnRecord::decode(bytes).expect("it was applied");
            self.tell_replayed(zxid);
            let txn = TxnNote::of(&record, bytes);
            self.effects.push(Effect::Applied(Applied { txn, digest: tree.digest() }));
        }
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.stream.push_back(Arc::clone(shown.batch));
            self.effects.push(Effect::Wake(Turn::Shard(number)));
        }
        if (shown.may_freeze || self.log.bug == Some(Bug::ImageAheadOfLog)) && self.needs_image() {
            self.freeze(tree, shown.replica);
        }
    }

    fn shown(&mut self, _batch: &StreamBatch) {}

    fn ask_whom_they_heard(&mut self, until_ms: i64) {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.asked_until_ms = lane.asked_until_ms.max(until_ms);
            self.effects.push(Effect::Wake(Turn::Shard(number)));
        }
    }

    fn log_has_room(&self) -> bool {
        self.log.has_room()
    }

    fn push_log(&mut self, item: LogItem) {
        self.log.push(item);
        self.effects.push(Effect::Wake(Turn::Log));
    }

    fn next_log_done(&mut self) -> Option<LogDone> {
        self.log.done.pop_front()
    }

    fn log_durable(&self) -> Zxid {
        self.log.durable
    }

    fn log_begins_after(&self) -> Zxid {
        Zxid(self.log.log.history_begins_after())
    }

    fn log_room(&self) -> LogRoom {
        // The reserve is sized for a real disk: it is there beside what this small one has.
        LogRoom {
            bytes: self.log.log.room_bytes() + RESERVE_BYTES,
            is_full: self.log.disk_is_full,
            is_making: self.log.log.is_making_segment(),
        }
    }

    fn read_links(&mut self, links: &mut LinkTable) -> bool {
        let mut later = VecDeque::new();
        for came in std::mem::take(&mut self.came) {
            let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 2_888));
            match came {
                Came::Accepted(conn) => match links.accept(from) {
                    Some(link) => drop(self.links.insert(conn, (link, Side::Acceptor))),
                    None => {
                        self.links.remove(&conn);
                        self.effects.push(Effect::CloseLink(conn, Side::Acceptor));
                    }
                },
                Came::Dialled(conn) => drop(self.links.insert(conn, (links.dialled(from), Side::Dialler))),
                Came::NotDialled => links.not_dialled(),
                Came::Bytes(conn, bytes) => {
                    let Some((link, _)) = self.links.get(&conn) else { continue };
                    // In the order in which they came, whatever room there is.
                    let is_behind = later.iter().any(|waits| matches!(waits, Came::Bytes(of, _) if *of == conn));
                    if is_behind || (links.input_room(*link) < bytes.len() && links.peer(*link).is_some()) {
                        later.push_back(Came::Bytes(conn, bytes));
                    } else if let Some(input) = links.input(*link) {
                        input.extend_from_slice(&bytes);
                        links.came(*link);
                    }
                }
                Came::Closed(conn) => {
                    if later.iter().any(|waits| matches!(waits, Came::Bytes(of, _) if *of == conn)) {
                        later.push_back(Came::Closed(conn));
                    } else if let Some((link, _)) = self.links.remove(&conn) {
                        links.lost(link, LinkLoss::Ended);
                    }
                }
            }
        }
        self.came = later;
        !self.came.is_empty()
    }

    fn write_links(&mut self, links: &mut LinkTable) {
        for link in links.with_output().collect::<Vec<_>>() {
            let Some((conn, side)) = self.conn_of(link) else { continue };
            // A socket takes so much at a time.
            let bytes: Vec<u8> = links.to_send(link).iter().take(SOCKET_BYTES).copied().collect();
            links.sent(link, bytes.len());
            self.effects.push(Effect::SendLink(conn, side, bytes));
            if !links.to_send(link).is_empty() {
                self.effects.push(Effect::Wake(Turn::Core));
            }
        }
        for link in links.over() {
            if let Some((conn, side)) = self.conn_of(link) {
                self.links.remove(&conn);
                self.effects.push(Effect::CloseLink(conn, side));
            }
        }
    }

    fn dial(&mut self, server: ServerId) {
        self.dialling = None;
        self.effects.push(Effect::Dial(server));
    }

    fn give_up_dial(&mut self) {
        self.dialling = None;
    }

    fn next_election_event(&mut self) -> Option<ElectionEvent> {
        self.votes.pop_front()
    }

    fn vote(&mut self, to: ServerId, vote: Vote) {
        self.effects.push(Effect::Post(to, vote));
    }

    fn start_sync(&mut self, link: LinkId, sync: Sync) {
        let job = match sync {
            Sync::Snap { zxid } => Job::Waits(zxid),
            Sync::Log { after, to, epoch } => match self.log.log.reader(after.0) {
                Ok(reader) => Job::Log(Box::new(LogSource::new(SimRecords(reader), after, to, epoch))),
                Err(_) => Job::Failed,
            },
        };
        self.syncs.insert(link, job);
        self.effects.push(Effect::Wake(Turn::Core));
    }

    fn next_sync(&mut self, link: LinkId, out: &mut Vec<u8>) -> SyncProgress {
        let state = match self.syncs.get_mut(&link) {
            Some(Job::Waits(_)) => return SyncProgress::Waits,
            Some(Job::Log(source)) => source.next_chunk(out, CHUNK_BYTES).ok(),
            Some(Job::Snap(source)) => source.next_chunk(out, CHUNK_BYTES).ok(),
            Some(Job::Failed) | None => None,
        };
        match state {
            Some(SourceState::More) => SyncProgress::Appended,
            Some(SourceState::Done { to }) => SyncProgress::Done(to),
            None => SyncProgress::Failed,
        }
    }

    fn end_sync(&mut self, link: LinkId) {
        self.syncs.remove(&link);
    }

    fn start_taking(&mut self, zxid: Zxid, sent_by: SentBy) {
        // What is done with a Java leader's state is right for ours, too: so it meets the faults.
        let sent_by = match sent_by {
            SentBy::Ours(epoch) if zxid.counter().is_multiple_of(2) => SentBy::Java(epoch),
            sent_by => sent_by,
        };
        self.taken = None;
        self.taking = Some(StateTaker::new(zxid, sent_by, TakeLimits::default()));
    }

    fn feed(&mut self, input: &mut Vec<u8>) {
        let Some(taker) = &mut self.taking else { return };
        match taker.take(input) {
            Ok(Taking::More) => input.clear(),
            Ok(Taking::Over { rest }) => {
                input.drain(..input.len() - rest);
                self.taken = self.take_state().map_err(drop).transpose();
            }
            Err(_) => {
                self.taking = None;
                self.taken = Some(Err(()));
            }
        }
    }

    fn wants_more(&self) -> bool {
        self.taking.is_some()
    }

    fn taken(&mut self) -> Option<Result<Taken, ()>> {
        self.taken.take()
    }

    fn stop_taking(&mut self) {
        self.taking = None;
        self.taken = None;
    }

    fn begin_era(&mut self) {
        self.images.era += 1;
        self.swaps = true;
        self.replayed.clear();
    }

    fn drop_tree(&mut self, former: Tree) {
        drop(former);
    }

    fn note(&mut self, note: Note) {
        self.effects.push(Effect::Noted(format!("{note:?}")));
    }

    fn plants(&self, bug: Planted) -> bool {
        self.log.bug.and_then(Bug::planted) == Some(bug)
    }
}

/// Bytes that a socket takes at a time.
const SOCKET_BYTES: usize = 64 << 10;
/// Bytes of what a learner lacks that are made at a time.
const CHUNK_BYTES: usize = 16 << 10;
