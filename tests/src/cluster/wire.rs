//! The links between an ensemble's servers, written down: each server reaches the others through an address of its own for each of them, where what it says on the quorum
//! port, and what it is told, is handed on packet by packet.
//!
//! Owns the listeners, the connections and the record; each server's [`Names`] show it these addresses under the others' names, so that all have the same
//! configuration. Nothing is changed on the way unless a test asks for it by a [`Trick`]. Votes are handed on unread, and only where the server with the smaller id
//! calls: who is called back is called where he says that he is. Needs root, as [`Names`] does. `tests/tests/ensemble/mixed/cells.rs` would catch a mistake.

use super::names::Names;
use crate::lease::{ELECTION_PORT, Lease, QUORUM_PORT};
use proto::quorum::snap::{SnapItem, SnapReader};
use proto::quorum::{DATA_BYTES_MAX_DEFAULT, PacketType, QuorumPacket};
use proto::txn::{Txn, TxnHeader};
use proto::{LastZxid, OpCode, Reader, Received, Writer, Zxid};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What is read at once.
const READ_BYTES: usize = 256 << 10;
/// How long a leader may take until it listens.
const LISTENS: Duration = Duration::from_secs(2);
/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(5);

/// A packet that was handed on.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Its place among all packets of the ensemble.
    pub number: u64,
    /// Did the leader send it, or the learner?
    pub from_leader: bool,
    /// What it is.
    pub kind: PacketType,
    /// Its zxid.
    pub zxid: LastZxid,
    /// The txn's header, of a PROPOSAL or an INFORM.
    pub txn: Option<TxnHeader>,
    /// The codes in the txn of a write that failed: one, or one of each operation of a multi.
    pub errors: Vec<i32>,
    /// The state behind it, of a SNAP that was handed on whole.
    pub state: Option<State>,
}

/// A whole state that was handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Its znodes.
    pub nodes: u64,
    /// Its sessions.
    pub sessions: u64,
    /// Znodes whose parents had not come before them.
    pub orphans: u64,
    /// Znodes with a later zxid than the state's: it was changed while it was sent.
    pub later: u64,
    /// All of it.
    pub bytes: u64,
}

/// A connection to a quorum port.
#[derive(Clone, Debug)]
pub struct Link {
    /// Who has connected.
    pub learner: u8,
    /// To whom.
    pub leader: u8,
    /// What was handed on, in order.
    pub packets: Vec<Packet>,
    /// Has it ended?
    pub is_over: bool,
}

impl Link {
    /// The packets of this kind.
    pub fn of(&self, kind: PacketType) -> impl Iterator<Item = &Packet> {
        self.packets.iter().filter(move |packet| packet.kind == kind)
    }

    /// How the learner was brought into step: DIFF, TRUNC or SNAP.
    #[must_use]
    pub fn sync(&self) -> Option<&Packet> {
        self.packets
            .iter()
            .find(|packet| matches!(packet.kind, PacketType::Diff | PacketType::Trunc | PacketType::Snap))
    }
}

/// What is to be done once to what one server sends to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// The next packet of this kind comes twice.
    Twice(PacketType),
    /// The next packet of this kind does not come.
    LeftOut(PacketType),
    /// Before the next packet of this kind comes one like it, whose zxid is [`EARLY_BY`] further on.
    Early(PacketType),
}

/// So far is nobody who leads a test's ensemble.
const EARLY_BY: i64 = 1_000_000;

#[derive(Debug, Default)]
struct Record {
    links: Vec<Link>,
    /// Of each link.
    sockets: Vec<[TcpStream; 2]>,
    /// Packets.
    count: u64,
    /// Between these nothing of the quorum port is handed on.
    held: BTreeSet<(u8, u8)>,
    /// By who sends, and to whom.
    tricks: BTreeMap<(u8, u8), Trick>,
    is_over: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Wire {
    record: Arc<Mutex<Record>>,
    views: BTreeMap<u8, Names>,
    listening: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl Wire {
    /// Between these servers, each of which listens at its number's address.
    ///
    /// # Panics
    /// If an address is taken, or the names cannot be written.
    pub(super) fn lay(lease: &Lease, dir: &Path, ids: &[u8]) -> Wire {
        let mut wire = Wire { record: Arc::default(), views: BTreeMap::new(), listening: Vec::new() };
        for caller in ids {
            let mut names = Names::make(dir.join(format!("view-{caller}")));
            for other in ids {
                let real = lease.host(*other);
                let seen = if caller == other { real } else { lease.host(16 * caller + other) };
                names.point(*other, Some(seen));
                if caller != other {
                    wire.listen((*caller, *other), seen, real, QUORUM_PORT);
                    wire.listen((*caller, *other), seen, real, ELECTION_PORT);
                }
            }
            wire.views.insert(*caller, names);
        }
        wire
    }

    /// What starts a server that sees the others here.
    pub(super) fn wrapper(&self, id: u8) -> Vec<String> {
        self.views.get(&id).map(Names::wrapper).unwrap_or_default()
    }

    fn listen(&mut self, pair: (u8, u8), seen: IpAddr, real: IpAddr, port: u16) {
        let address = SocketAddr::new(seen, port);
        let listener = TcpListener::bind(address).expect("an address of the lease is free");
        let record = Arc::clone(&self.record);
        let to = SocketAddr::new(real, port);
        let thread = std::thread::spawn(move || {
            while let Ok((caller, _)) = listener.accept() {
                if locked(&record).is_over {
                    return;
                }
                let record = Arc::clone(&record);
                std::thread::spawn(move || hand_on(&record, pair, caller, to));
            }
        });
        self.listening.push((address, thread));
    }

    /// How many packets have been handed on: what comes from now on has this number or a greater one.
    #[must_use]
    pub fn now(&self) -> u64 {
        locked(&self.record).count
    }

    /// All links with a packet since, with all of their packets.
    #[must_use]
    pub fn links(&self, since: u64) -> Vec<Link> {
        let record = locked(&self.record);
        let is_new = |link: &&Link| link.packets.last().is_some_and(|packet| packet.number >= since);
        record.links.iter().filter(is_new).cloned().collect()
    }

    /// The links of a learner that were brought into step since, the last one last.
    #[must_use]
    pub fn synced(&self, learner: u8, since: u64) -> Vec<Link> {
        let in_step =
            |link: &Link| link.of(PacketType::UpToDate).any(|packet| packet.number >= since) && link.learner == learner;
        self.links(since).into_iter().filter(in_step).collect()
    }

    /// Nothing of the quorum port passes between these two any more; what is on its way is lost. Neither sees that but by the silence.
    pub fn hold(&self, one: u8, other: u8) {
        locked(&self.record).held.extend([(one, other), (other, one)]);
    }

    /// Everything passes again; connections that were held end.
    pub fn let_go(&self) {
        let mut record = locked(&self.record);
        let held = std::mem::take(&mut record.held);
        for (link, sockets) in record.links.iter().zip(&record.sockets) {
            if held.contains(&(link.learner, link.leader)) {
                close(sockets);
            }
        }
    }

    /// Plays a trick on what the one sends to the other next.
    pub fn play(&self, from: u8, to: u8, trick: Trick) {
        locked(&self.record).tricks.insert((from, to), trick);
    }

    /// Was it played?
    #[must_use]
    pub fn is_played(&self, from: u8, to: u8) -> bool {
        !locked(&self.record).tricks.contains_key(&(from, to))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        {
            let mut record = locked(&self.record);
            record.is_over = true;
            record.sockets.iter().for_each(close);
        }
        for (address, thread) in self.listening.drain(..) {
            // It waits in accept.
            drop(TcpStream::connect(address));
            let _ended = thread.join();
        }
    }
}

fn locked(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

fn close(sockets: &[TcpStream; 2]) {
    for socket in sockets {
        // It may be closed already.
        let _closed = socket.shutdown(Shutdown::Both);
    }
}

/// Connects, and starts a thread for each direction. Where nobody listens, the caller's connection ends.
fn hand_on(record: &Arc<Mutex<Record>>, (learner, leader): (u8, u8), caller: TcpStream, to: SocketAddr) {
    let Some(called) = call(to) else { return };
    for socket in [&caller, &called] {
        socket.set_nodelay(true).expect("a socket is open");
    }
    let twin = |socket: &TcpStream| socket.try_clone().expect("a socket can be shared");
    let is_votes = to.port() == ELECTION_PORT;
    let link = {
        let mut record = locked(record);
        if record.is_over {
            return;
        }
        // Votes have a link, too, so that they end with all.
        record.links.push(Link { learner, leader, packets: Vec::new(), is_over: false });
        record.sockets.push([twin(&caller), twin(&called)]);
        record.links.len() - 1
    };
    let mut forth = Direction::new(Arc::clone(record), link, false, is_votes);
    let mut back = Direction::new(Arc::clone(record), link, true, is_votes);
    let (caller_too, called_too) = (twin(&caller), twin(&called));
    std::thread::spawn(move || forth.run(caller, called));
    std::thread::spawn(move || back.run(called_too, caller_too));
}

/// A leader may be elected before it listens: whoever calls it would be refused, and call again. Here he has been let in already, and is kept waiting instead.
fn call(to: SocketAddr) -> Option<TcpStream> {
    let begun = Instant::now();
    loop {
        match TcpStream::connect(to) {
            Ok(called) => return Some(called),
            Err(_) if to.port() == QUORUM_PORT && begun.elapsed() < LISTENS => std::thread::sleep(LOOK),
            Err(_) => return None,
        }
    }
}

/// What one side of a connection says.
#[derive(Debug)]
struct Direction {
    record: Arc<Mutex<Record>>,
    link: usize,
    from_leader: bool,
    is_votes: bool,
    pair: (u8, u8),
    /// Of the packet or item that is not whole yet.
    unread: Vec<u8>,
    snap: Option<Snap>,
}

#[derive(Debug)]
struct Snap {
    reader: SnapReader,
    zxid: LastZxid,
    state: State,
    paths: HashSet<String>,
}

impl Direction {
    fn new(record: Arc<Mutex<Record>>, link: usize, from_leader: bool, is_votes: bool) -> Direction {
        let pair = {
            let record = locked(&record);
            record.links.get(link).map_or((0, 0), |link| (link.learner, link.leader))
        };
        Direction { record, link, from_leader, is_votes, pair, unread: Vec::new(), snap: None }
    }

    fn run(&mut self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = vec![0; READ_BYTES];
        let mut out = Vec::new();
        while let Ok(len) = from.read(&mut piece) {
            let piece = piece.get(..len).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            out.clear();
            if self.is_votes {
                out.extend_from_slice(piece);
            } else if self.is_held() {
                continue;
            } else {
                self.unread.extend_from_slice(piece);
                self.read(&mut out);
            }
            if to.write_all(&out).is_err() {
                break;
            }
        }
        close(&[from, to]);
        if let Some(link) = locked(&self.record).links.get_mut(self.link) {
            link.is_over = true;
        }
    }

    /// Is what comes lost?
    fn is_held(&self) -> bool {
        locked(&self.record).held.contains(&self.pair)
    }

    /// Takes all whole packets and items off `unread`, and appends what is to be sent.
    fn read(&mut self, out: &mut Vec<u8>) {
        let unread = std::mem::take(&mut self.unread);
        let mut rest = unread.as_slice();
        while !rest.is_empty() {
            let len = if self.snap.is_some() { self.item(rest) } else { self.packet(rest, out) };
            let Some((len, is_sent)) = len else { break };
            let (own, after) = rest.split_at(len);
            if is_sent {
                out.extend_from_slice(own);
            }
            rest = after;
        }
        self.unread = rest.to_vec();
    }

    /// Of a state: how long the next item is.
    fn item(&mut self, bytes: &[u8]) -> Option<(usize, bool)> {
        let snap = self.snap.as_mut()?;
        let Received::Whole(item, len) = snap.reader.receive(bytes).expect("a state can be read") else { return None };
        snap.state.bytes += len as u64;
        match item {
            SnapItem::Session { .. } => snap.state.sessions += 1,
            SnapItem::Node { path, stat, .. } => {
                snap.state.nodes += 1;
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                snap.state.orphans += u64::from(!path.is_empty() && !snap.paths.contains(parent));
                let newest = [stat.czxid, stat.mzxid, stat.pzxid].map(LastZxid::from).into_iter().max();
                snap.state.later += u64::from(newest > Some(snap.zxid));
                snap.paths.insert(path.to_owned());
            }
            _ => {}
        }
        if snap.reader.is_over() {
            let state = snap.state;
            self.snap = None;
            let mut record = locked(&self.record);
            let packets = record.links.get_mut(self.link).map(|link| &mut link.packets);
            let sent = packets.and_then(|packets| packets.iter_mut().rfind(|packet| packet.kind == PacketType::Snap));
            if let Some(packet) = sent {
                packet.state = Some(state);
            }
        }
        Some((len, true))
    }

    /// How long the next packet is, and whether it goes on; what comes before it goes to `out` here: a second copy, or one that is early.
    fn packet(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<(usize, bool)> {
        let received = QuorumPacket::receive(bytes, DATA_BYTES_MAX_DEFAULT).expect("servers send packets");
        let Received::Whole(packet, len) = received else { return None };
        let kind = PacketType::from_wire(packet.ty).expect("servers send known packets");
        let mut record = locked(&self.record);
        let (learner, leader) = self.pair;
        let direction = if self.from_leader { (leader, learner) } else { (learner, leader) };
        let own = packet.zxid;
        let sent = match record.tricks.get(&direction) {
            Some(Trick::Twice(of)) if *of == kind => vec![own, own],
            Some(Trick::LeftOut(of)) if *of == kind => vec![],
            Some(Trick::Early(of)) if *of == kind => vec![LastZxid(own.0 + EARLY_BY), own],
            _ => vec![own],
        };
        if sent.len() != 1 {
            record.tricks.remove(&direction);
        }
        for zxid in &sent {
            let number = record.count;
            record.count += 1;
            let txn = packet.data.filter(|_| matches!(kind, PacketType::Proposal | PacketType::Inform));
            let (txn, errors) = txn.map_or((None, Vec::new()), what_failed);
            let from_leader = self.from_leader;
            let note = Packet { number, from_leader, kind, zxid: *zxid, txn, errors, state: None };
            if let Some(link) = record.links.get_mut(self.link) {
                link.packets.push(note);
            }
        }
        drop(record);
        if let [first, _] = sent.as_slice() {
            QuorumPacket { zxid: *first, ..packet }.write(&mut Writer::new(out));
        }
        if kind == PacketType::Snap && !sent.is_empty() {
            let reader = SnapReader::new(DATA_BYTES_MAX_DEFAULT);
            self.snap = Some(Snap { reader, zxid: packet.zxid, state: State::default(), paths: HashSet::new() });
        }
        Some((len, !sent.is_empty()))
    }
}

/// A txn's header, and the codes that are in it.
fn what_failed(bytes: &[u8]) -> (Option<TxnHeader>, Vec<i32>) {
    let mut r = Reader::new(bytes);
    let Ok(header) = TxnHeader::read(&mut r) else { return (None, Vec::new()) };
    let code = |txn: &Txn<'_>| if let Txn::Error(code) = txn { Some(*code) } else { None };
    let errors = match header.op {
        OpCode::Error | OpCode::Multi => match Txn::read(header.op, &mut r) {
            Ok(Txn::Multi(txns)) => txns.iter().filter_map(code).collect(),
            Ok(txn) => code(&txn).into_iter().collect(),
            Err(_) => Vec::new(),
        },
        _ => Vec::new(),
    };
    (Some(header), errors)
}

/// The zxids, in order, of the packets of this kind.
#[must_use]
pub fn zxids(link: &Link, kind: PacketType) -> Vec<Zxid> {
    link.of(kind).filter_map(|packet| packet.zxid.zxid()).collect()
}
