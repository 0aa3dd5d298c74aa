//! A server of the ensemble as its turn loop sees the world: queues that a test moves, a log in memory, whole states through real images.

use engine::log_room::LogRoom;
use engine::replica::{ForwardBatch, Now};
use engine::stream::{Attachment, StreamBatch, StreamItem};
use engine::tree::{Tree, write_image};
use engine::turn::sync::{LogSource, Records, SentBy, SnapSource, SourceState, StateTaker, TakeLimits, Taking};
use engine::turn::{
    ElectionEvent, Host, LinkLoss, LinkTable, LogDone, LogItem, Note, Shown, SyncProgress, Taken, TreeLock,
};
use proto::txn::TxnRecord;
use proto::{ServerId, Xid, Zxid};
use ringkeeper_engine as engine;
use snapshot::base::Base;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::{Arc, RwLock};
use tempfile::TempDir;
use zab::election::Vote;
use zab::{LinkId, Sync};

/// A connection between two servers, as the world numbers it.
pub(crate) type Wire = u64;

/// What the world brings.
#[derive(Debug)]
pub(crate) enum Comes {
    Accepted(Wire),
    Dialled(Wire),
    NotDialled,
    Bytes(Wire, Vec<u8>),
    Ended(Wire),
}

/// What the world is to do.
#[derive(Debug)]
pub(crate) enum Goes {
    Vote(ServerId, Vote),
    Dial(ServerId),
    Bytes(Wire, Vec<u8>),
    Closed(Wire),
}

#[derive(Clone, Debug)]
pub(crate) struct SharedTree(pub(crate) Arc<RwLock<Tree>>);

impl TreeLock for SharedTree {
    fn read(&self) -> impl Deref<Target = Tree> {
        self.0.read().unwrap()
    }

    fn write(&self) -> impl DerefMut<Target = Tree> {
        self.0.write().unwrap()
    }
}

/// An item of the stream that is for a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Reply { to: Attachment, xid: i32, err: i32, body: Vec<u8> },
    Connected { to: Attachment, session: i64 },
    Refused { to: Attachment },
    Detached { from: Attachment },
    Serving(bool),
}

pub(crate) type Txns = Vec<(Zxid, Vec<u8>)>;
/// Bytes, and with the last of them what the learner has then.
type Chunks = VecDeque<(Vec<u8>, Option<Zxid>)>;

#[derive(Debug)]
pub(crate) struct MemHost {
    pub(crate) now: Now,
    pub(crate) forwards: VecDeque<ForwardBatch>,
    pub(crate) said: Vec<Said>,
    pub(crate) notes: Vec<Note>,
    pub(crate) heard: VecDeque<ElectionEvent>,
    pub(crate) comes: VecDeque<Comes>,
    pub(crate) goes: Vec<Goes>,
    /// Nothing becomes durable.
    pub(crate) log_is_held: bool,
    /// The stream has no room.
    pub(crate) stream_is_full: bool,
    /// Nothing leaves.
    pub(crate) is_jammed: bool,
    /// What takes a state has its hands full.
    pub(crate) is_at_work: bool,
    /// As the shards have it: what each connection has asked and was not answered.
    pub(crate) asked: BTreeMap<Attachment, VecDeque<Xid>>,
    pub(crate) closed: BTreeSet<Attachment>,
    queue: VecDeque<LogItem>,
    pub(crate) txns: Txns,
    base: Zxid,
    former: Option<(Txns, Zxid)>,
    done: VecDeque<LogDone>,
    links: BTreeMap<Wire, LinkId>,
    syncs: BTreeMap<LinkId, Chunks>,
    wanted: VecDeque<(LinkId, Sync)>,
    taker: Option<StateTaker>,
    taken: Option<Taken>,
    is_refused: bool,
    dir: TempDir,
    tree: SharedTree,
}

impl MemHost {
    pub(crate) fn new(tree: SharedTree) -> MemHost {
        MemHost {
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            forwards: VecDeque::new(),
            said: Vec::new(),
            notes: Vec::new(),
            heard: VecDeque::new(),
            comes: VecDeque::new(),
            goes: Vec::new(),
            log_is_held: false,
            stream_is_full: false,
            is_jammed: false,
            is_at_work: false,
            asked: BTreeMap::new(),
            closed: BTreeSet::new(),
            queue: VecDeque::new(),
            txns: Vec::new(),
            base: Zxid::ZERO,
            former: None,
            done: VecDeque::new(),
            links: BTreeMap::new(),
            syncs: BTreeMap::new(),
            wanted: VecDeque::new(),
            taker: None,
            taken: None,
            is_refused: false,
            dir: tempfile::tempdir().unwrap(),
            tree,
        }
    }

    /// Its log holds these.
    pub(crate) fn with_log(self, txns: Txns) -> MemHost {
        MemHost { txns, ..self }
    }

    fn work_log(&mut self, item: LogItem) {
        match item {
            LogItem::Txns(batch) => self.txns.extend(batch.iter().map(|(zxid, bytes)| (zxid, bytes.to_vec()))),
            LogItem::Epochs(epochs) => self.done.push_back(LogDone::Epochs(epochs)),
            LogItem::Cut { to, rebuild } => {
                assert!(to >= self.base, "the tests cut above the state alone");
                self.txns.retain(|(zxid, _)| *zxid <= to);
                let tree = rebuild.then(|| Box::new(replayed(&self.txns)));
                self.done.push_back(LogDone::Cut { last: self.log_durable(), tree });
            }
            LogItem::Begin(image) => {
                self.former = Some((std::mem::take(&mut self.txns), self.base));
                self.base = image.zxid;
                self.done.push_back(LogDone::Begun);
            }
            LogItem::Adopt(epochs) => self.done.push_back(LogDone::Epochs(epochs)),
            LogItem::Discard => {
                (self.txns, self.base) = self.former.take().expect("it has begun");
                self.done.push_back(LogDone::Discarded);
            }
            LogItem::Release => self.former = None,
        }
    }

    fn chunks(&self, sync: Sync) -> Chunks {
        let mut chunks = VecDeque::new();
        match sync {
            Sync::Log { after, to, epoch } => {
                let mut source = LogSource::new(InMemory { txns: self.txns.clone(), next: 0 }, after, to, epoch);
                gather(&mut chunks, |out| source.next_chunk(out, 100).unwrap());
            }
            Sync::Snap { zxid } => {
                let base = imaged(self.dir.path(), &mut self.tree.write());
                let mut source = base.map_or_else(SnapSource::of_nothing, SnapSource::of_image);
                assert!(source.zxid() >= zxid);
                gather(&mut chunks, |out| source.next_chunk(out, 100).unwrap());
            }
        }
        chunks
    }

    fn link_of(&self, wire: Wire) -> Option<LinkId> {
        self.links.get(&wire).copied()
    }

    /// What a shard asserts: a connection's replies come in the order of its requests.
    fn reply(&mut self, to: Attachment, xid: Xid) {
        if !self.closed.contains(&to) {
            let next = self.asked.get_mut(&to).and_then(VecDeque::pop_front);
            assert_eq!(next, Some(xid), "replies come in the order of their requests");
        }
    }

    fn hear(&mut self, item: &StreamItem, bytes: &[u8]) {
        let said = match *item {
            StreamItem::Change(_) => return,
            StreamItem::Reply { to, xid, err, ref body, .. } => {
                self.reply(to, xid);
                Said::Reply { to, xid: xid.0, err, body: bytes[body.clone()].to_vec() }
            }
            StreamItem::Connected { to, ref response, .. } => Said::Connected { to, session: response.session_id.0 },
            StreamItem::Refused { to, .. } => Said::Refused { to },
            StreamItem::Detached { from, .. } => {
                self.closed.insert(from);
                Said::Detached { from }
            }
            StreamItem::Serving(is_serving) => {
                if !is_serving {
                    self.closed.extend(self.asked.keys().copied());
                }
                Said::Serving(is_serving)
            }
        };
        self.said.push(said);
    }
}

fn gather(chunks: &mut Chunks, mut next: impl FnMut(&mut Vec<u8>) -> SourceState) {
    loop {
        let mut out = Vec::new();
        match next(&mut out) {
            SourceState::More => chunks.push_back((out, None)),
            SourceState::Done { to } => return chunks.push_back((out, Some(to))),
        }
    }
}

/// The image of a tree, which goes on upon it. `None`: there has never been a txn.
fn imaged(dir: &Path, tree: &mut Tree) -> Option<Arc<Base>> {
    if tree.last_zxid() == Zxid::ZERO {
        return None;
    }
    if let Some(base) = tree.base().filter(|base| base.totals().zxid == tree.last_zxid()) {
        return Some(Arc::clone(base));
    }
    let published = write_image(dir, &tree.freeze(), 0, None).unwrap();
    let base = Arc::new(Base::open(dir, &published.image).unwrap());
    drop(tree.rebase(Arc::clone(&base)));
    Some(base)
}

/// A tree made of txns alone.
pub(crate) fn replayed(txns: &[(Zxid, Vec<u8>)]) -> Tree {
    let mut tree = Tree::new();
    for (_, bytes) in txns {
        engine::apply::apply(&mut tree, &TxnRecord::decode(bytes).unwrap(), &mut Vec::new(), None);
    }
    tree
}

struct InMemory {
    txns: Txns,
    next: usize,
}

impl Records for InMemory {
    type Error = Infallible;

    fn next_record(&mut self) -> Result<Option<(u64, &[u8])>, Infallible> {
        self.next += 1;
        Ok(self.txns.get(self.next - 1).map(|(zxid, bytes)| (zxid.0, &**bytes)))
    }
}

impl Host for MemHost {
    fn now(&self) -> Now {
        self.now
    }

    fn is_stopping(&self) -> bool {
        false
    }

    fn shards(&self) -> usize {
        1
    }

    fn next_forwards(&mut self, _shard: usize) -> Option<ForwardBatch> {
        self.forwards.pop_front()
    }

    fn took_forwards(&mut self, _shard: usize) {}

    fn has_room_everywhere(&mut self) -> bool {
        !self.stream_is_full
    }

    fn show(&mut self, _tree: &mut Tree, shown: &Shown<'_>) {
        shown.batch.items.iter().for_each(|item| self.hear(item, &shown.batch.bytes));
    }

    fn shown(&mut self, _batch: &StreamBatch) {}

    fn ask_whom_they_heard(&mut self, _until_ms: i64) {}

    fn log_has_room(&self) -> bool {
        self.queue.len() < 100
    }

    fn push_log(&mut self, item: LogItem) {
        self.queue.push_back(item);
    }

    fn pump_log(&mut self) -> bool {
        let mut progress = false;
        while !self.log_is_held
            && let Some(item) = self.queue.pop_front()
        {
            self.work_log(item);
            progress = true;
        }
        progress
    }

    fn next_log_done(&mut self) -> Option<LogDone> {
        self.done.pop_front()
    }

    fn log_durable(&self) -> Zxid {
        self.txns.last().map_or(self.base, |(zxid, _)| *zxid)
    }

    fn log_begins_after(&self) -> Zxid {
        Zxid::ZERO
    }

    fn log_room(&self) -> LogRoom {
        LogRoom::ENDLESS
    }

    fn read_links(&mut self, links: &mut LinkTable) -> bool {
        let from = "127.0.0.1:1".parse().unwrap();
        let mut kept = VecDeque::new();
        while let Some(comes) = self.comes.pop_front() {
            match comes {
                Comes::Accepted(wire) => drop(self.links.insert(wire, links.accept(from).unwrap())),
                Comes::Dialled(wire) => drop(self.links.insert(wire, links.dialled(from))),
                Comes::NotDialled => links.not_dialled(),
                Comes::Bytes(wire, bytes) => {
                    let Some(link) = self.link_of(wire) else { continue };
                    if links.has_ended(link) {
                        continue;
                    }
                    let room = links.input_room(link).min(bytes.len());
                    if let Some(input) = links.input(link) {
                        input.extend_from_slice(&bytes[..room]);
                        links.came(link);
                    }
                    if room < bytes.len() {
                        kept.push_back(Comes::Bytes(wire, bytes[room..].to_vec()));
                        break;
                    }
                }
                Comes::Ended(wire) => {
                    if let Some(link) = self.links.remove(&wire) {
                        links.lost(link, LinkLoss::Ended);
                    }
                }
            }
        }
        let has_more = !kept.is_empty();
        kept.append(&mut self.comes);
        self.comes = kept;
        has_more
    }

    fn write_links(&mut self, links: &mut LinkTable) {
        for (wire, link) in &self.links {
            let bytes = links.to_send(*link).to_vec();
            if !bytes.is_empty() && !self.is_jammed {
                links.sent(*link, bytes.len());
                self.goes.push(Goes::Bytes(*wire, bytes));
            }
        }
        for over in links.over() {
            let wire = self.links.iter().find(|(_, link)| **link == over).map(|(wire, _)| *wire);
            if let Some(wire) = wire {
                self.links.remove(&wire);
                self.goes.push(Goes::Closed(wire));
            }
        }
    }

    fn dial(&mut self, server: ServerId) {
        self.goes.push(Goes::Dial(server));
    }

    fn give_up_dial(&mut self) {
        self.goes.retain(|goes| !matches!(goes, Goes::Dial(_)));
    }

    fn next_election_event(&mut self) -> Option<ElectionEvent> {
        self.heard.pop_front()
    }

    fn vote(&mut self, to: ServerId, vote: Vote) {
        self.goes.push(Goes::Vote(to, vote));
    }

    fn start_sync(&mut self, link: LinkId, sync: Sync) {
        self.wanted.push_back((link, sync));
    }

    fn next_sync(&mut self, link: LinkId, out: &mut Vec<u8>) -> SyncProgress {
        while let Some((link, sync)) = self.wanted.pop_front() {
            let chunks = self.chunks(sync);
            self.syncs.insert(link, chunks);
        }
        match self.syncs.get_mut(&link).and_then(VecDeque::pop_front) {
            Some((bytes, done)) => {
                out.extend_from_slice(&bytes);
                done.map_or(SyncProgress::Appended, SyncProgress::Done)
            }
            None => SyncProgress::Failed,
        }
    }

    fn end_sync(&mut self, link: LinkId) {
        self.syncs.remove(&link);
    }

    fn start_taking(&mut self, zxid: Zxid, sent_by: SentBy) {
        self.taker = Some(StateTaker::new(zxid, sent_by, TakeLimits::default()));
    }

    fn feed(&mut self, input: &mut Vec<u8>) {
        let Some(taker) = self.taker.as_mut().filter(|_| !self.is_at_work) else { return };
        let piece = std::mem::take(input);
        let Ok(taking) = taker.take(&piece) else {
            self.taker = None;
            self.is_refused = true;
            return;
        };
        if let Taking::Over { rest } = taking {
            let rest = piece[piece.len() - rest..].to_vec();
            let state = self.taker.take().unwrap().finish().unwrap();
            let (mut tree, rest) = (state.tree, [state.unused, rest].concat());
            let base = imaged(self.dir.path(), &mut tree).expect("the tests send no empty state");
            let image = snapshot::control::ImageRef::at(base.totals().zxid);
            self.taken = Some(Taken { tree: Box::new(tree), image, rest });
        }
    }

    fn wants_more(&self) -> bool {
        self.taker.is_some() && !self.is_at_work
    }

    fn taken(&mut self) -> Option<Result<Taken, ()>> {
        if std::mem::take(&mut self.is_refused) { Some(Err(())) } else { self.taken.take().map(Ok) }
    }

    fn stop_taking(&mut self) {
        (self.taker, self.taken) = (None, None);
    }

    fn begin_era(&mut self) {}

    fn drop_tree(&mut self, former: Tree) {
        drop(former);
    }

    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}
