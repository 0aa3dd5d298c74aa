//! The network: connections that keep their order, and everything that may happen to them.
//!
//! Owns what TCP promises, and no more: bytes of one connection arrive in order, once, or not at all; between two connections there is no
//! order. What gets lost is lost with its connection. A partition is one-way: what meets it waits, as for a retransmission, and when nothing has come
//! through for [`NetworkOptions::give_up`] the sender's end breaks; **the other end does not notice** until it sends something itself. A process that
//! is killed has its connections reset by its machine; a machine without power says nothing. What was sent before one end broke off arrives before the other hears of that, or
//! is lost: the seed decides.
//!
//! It never looks into what it carries. `sim/tests/network.rs` would catch a mistake.

mod words;

pub use words::{ConnId, Fuses, Host, NetEvent, NetworkOptions, Pace, Port, Side};

use super::chance::Chance;
use super::schedule::Schedule;
use super::time::{Micros, Time};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug)]
pub struct Network {
    options: NetworkOptions,
    chance: Chance,
    queue: Schedule<Flight>,
    conns: BTreeMap<ConnId, Conn>,
    next_conn: u64,
    listening: BTreeSet<(Host, Port)>,
    paces: BTreeMap<(Host, Host), Pace>,
    /// Of ports, the connections to which may break by themselves.
    fuses: BTreeMap<Port, Fuses>,
    /// Ways that nothing passes.
    blocked: BTreeSet<(Host, Host)>,
    /// What met a blocked way, in order.
    stuck: BTreeMap<(Host, Host), Vec<Flight>>,
    /// Machines whose processes stand still, and what has come to them.
    paused: BTreeMap<Host, Vec<NetEvent>>,
    /// Machines without power.
    dark: BTreeSet<Host>,
}

#[derive(Debug)]
struct Conn {
    dialler: End,
    acceptor: End,
    port: Port,
    /// It breaks when so many more bytes were sent.
    fuse: Option<u64>,
    /// It has.
    is_burnt: bool,
}

/// One end, and the bytes on their way to it.
#[derive(Debug)]
struct End {
    host: Host,
    state: EndState,
    /// The number of the next piece to this end that is sent, and of the next that is due.
    next_sent: u64,
    next_due: u64,
    /// Pieces that overtook others.
    early: BTreeMap<u64, Piece>,
    /// When the last piece to this end arrives, at the earliest.
    busy_until: Time,
    /// Does its sender wait for an answer already?
    gives_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndState {
    /// Not yet connected.
    Opening,
    Open,
    /// Nobody is there any more; what comes is answered with a reset.
    Gone,
}

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// Something on its way.
#[derive(Debug)]
enum Flight {
    Dial(ConnId),
    DialAnswer(ConnId, bool),
    DialTimeout(ConnId),
    /// A piece for this end.
    Piece(ConnId, Side, u64, Piece),
    /// This end is reset.
    Reset(ConnId, Side),
    /// This end's sender has waited long enough.
    GiveUp(ConnId, Side),
}

impl Network {
    /// A network with nobody on it.
    #[must_use]
    pub fn new(options: NetworkOptions, chance: Chance) -> Network {
        Network {
            options,
            chance,
            queue: Schedule::default(),
            conns: BTreeMap::new(),
            next_conn: 0,
            listening: BTreeSet::new(),
            paces: BTreeMap::new(),
            fuses: BTreeMap::new(),
            blocked: BTreeSet::new(),
            stuck: BTreeMap::new(),
            paused: BTreeMap::new(),
            dark: BTreeSet::new(),
        }
    }

    // ---- what machines do ---------------------------------------------------------------------------------------------

    /// The machine listens on this port.
    pub fn listen(&mut self, host: Host, port: Port) {
        self.listening.insert((host, port));
    }

    /// Dials: [`NetEvent::Connected`] or [`NetEvent::NotConnected`] will tell.
    pub fn dial(&mut self, now: Time, from: Host, to: Host, port: Port) -> ConnId {
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        let fuses = self.fuses.get(&port).copied().filter(|fuses| self.chance.percent(fuses.percent));
        let fuse = fuses.map(|fuses| self.chance.latency(Micros(fuses.bytes_min), Micros(fuses.bytes_max)).0);
        self.conns.insert(id, Conn { dialler: End::new(from), acceptor: End::new(to), port, fuse, is_burnt: false });
        let arrives = now + self.delay(from, to, 0);
        self.queue.put(arrives, Flight::Dial(id));
        self.queue.put(now + self.options.dial_timeout, Flight::DialTimeout(id));
        id
    }

    /// Sends bytes from this end. On one that is over they are dropped, as the sender will hear.
    pub fn send(&mut self, now: Time, conn: ConnId, from: Side, bytes: &[u8]) {
        let (bytes, breaks) = self.burn(conn, bytes);
        let is_split = bytes.len() > 1 && self.chance.percent(self.options.split_percent);
        let cut = if is_split { 1 + self.chance.below(bytes.len() - 1) } else { bytes.len() };
        let (first, rest) = bytes.split_at(cut);
        let len = self.options.piece_bytes_max;
        for piece in first.chunks(len).chain(rest.chunks(len)) {
            self.send_piece(now, conn, from, Piece::Bytes(piece.to_vec()));
        }
        if let Some(was_broken) = breaks {
            // Whoever goes on is answered with a reset each time: an earlier one may have met a blocked way.
            self.reset(now, conn, from);
            if !was_broken {
                self.break_off(now, conn, from);
            }
        }
    }

    /// What of these bytes leaves before the connection breaks; where there are more, whether it had broken before.
    fn burn<'b>(&mut self, conn: ConnId, bytes: &'b [u8]) -> (&'b [u8], Option<bool>) {
        let Some(conn) = self.conns.get_mut(&conn) else { return (bytes, None) };
        let Some(left) = &mut conn.fuse else { return (bytes, None) };
        let len = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= len as u64;
        let is_over = len < bytes.len();
        let was_burnt = std::mem::replace(&mut conn.is_burnt, is_over);
        (bytes.get(..len).unwrap_or_default(), is_over.then_some(was_burnt))
    }

    /// The other end hears that this one is gone: after the last bytes, or before them, and then they are lost.
    fn break_off(&mut self, now: Time, id: ConnId, from: Side) {
        let is_last = self.chance.percent(self.options.last_bytes_percent);
        let Some(behind) = self.conns.get(&id).map(|conn| conn.end(from.other()).busy_until) else { return };
        if is_last && behind > now {
            self.queue.put(behind, Flight::Reset(id, from.other()));
        } else {
            self.reset(now, id, from.other());
        }
    }

    /// Closes this end; the other hears of it after all that was sent before.
    pub fn close(&mut self, now: Time, conn: ConnId, side: Side) {
        self.send_piece(now, conn, side, Piece::End);
        self.end(conn, side, |end| end.state = EndState::Gone);
    }

    // ---- what happens to machines and ways ------------------------------------------------------------------------------

    /// The process of this machine dies: its ports are closed, its connections reset.
    pub fn kill(&mut self, now: Time, host: Host) {
        self.listening.retain(|(at, _)| *at != host);
        self.paused.remove(&host);
        for (id, side) in self.ends_at(host) {
            self.end(id, side, |end| end.state = EndState::Gone);
            let is_dark = self.dark.contains(&host);
            if !is_dark {
                self.break_off(now, id, side);
            }
        }
    }

    /// The machine loses its power: nobody hears of it.
    pub fn power_off(&mut self, now: Time, host: Host) {
        self.dark.insert(host);
        self.kill(now, host);
    }

    /// It has power again. What comes on its former connections is answered with a reset.
    pub fn power_on(&mut self, host: Host) {
        self.dark.remove(&host);
    }

    /// The machine's process stands still: what comes for it waits.
    pub fn pause(&mut self, host: Host) {
        self.paused.entry(host).or_default();
    }

    /// It goes on, and hears all of this at once, before anything else.
    #[must_use]
    pub fn resume(&mut self, host: Host) -> Vec<NetEvent> {
        self.paused.remove(&host).unwrap_or_default()
    }

    /// Does its process stand still?
    #[must_use]
    pub fn is_paused(&self, host: Host) -> bool {
        self.paused.contains_key(&host)
    }

    /// Is it without power?
    #[must_use]
    pub fn is_dark(&self, host: Host) -> bool {
        self.dark.contains(&host)
    }

    /// Every way has this pace, those apart that have another.
    pub const fn set_pace_of_all(&mut self, pace: Pace) {
        self.options.pace = pace;
    }

    /// What is sent from now on arrives in pieces of so many bytes at the most.
    pub fn set_piece_bytes_max(&mut self, bytes: usize) {
        self.options.piece_bytes_max = bytes.max(1);
    }

    /// Connections to this port break from now on by themselves.
    pub fn set_fuses(&mut self, port: Port, fuses: Fuses) {
        self.fuses.insert(port, fuses);
    }

    /// Every way has its usual pace, and no connection breaks by itself.
    pub fn be_good(&mut self) {
        self.options.pace = Pace::default();
        self.paces.clear();
        self.fuses.clear();
        self.conns.values_mut().for_each(|conn| conn.fuse = conn.fuse.filter(|left| *left == 0));
    }

    /// Both ends of a connection are reset, each when it hears of it.
    pub fn cut(&mut self, now: Time, conn: ConnId) {
        self.reset(now, conn, Side::Dialler);
        self.reset(now, conn, Side::Acceptor);
    }

    /// Nothing passes from here to there any more. The other direction is another matter.
    pub fn block(&mut self, from: Host, to: Host) {
        self.blocked.insert((from, to));
    }

    /// It does again: what waited comes.
    pub fn unblock(&mut self, now: Time, from: Host, to: Host) {
        self.blocked.remove(&(from, to));
        for flight in self.stuck.remove(&(from, to)).unwrap_or_default() {
            let arrives = now + self.delay(from, to, 0);
            if let Flight::Piece(conn, side, ..) = &flight {
                self.end(*conn, *side, |end| end.gives_up = false);
            }
            self.queue.put(arrives, flight);
        }
    }

    /// All ways are open.
    pub fn unblock_all(&mut self, now: Time) {
        for (from, to) in std::mem::take(&mut self.blocked) {
            self.unblock(now, from, to);
        }
    }

    /// Is the way from here to there blocked?
    #[must_use]
    pub fn is_blocked(&self, from: Host, to: Host) -> bool {
        self.blocked.contains(&(from, to))
    }

    /// The way from here to there has this pace; `None`: as all.
    pub fn set_pace(&mut self, from: Host, to: Host, pace: Option<Pace>) {
        match pace {
            Some(pace) => self.paces.insert((from, to), pace),
            None => self.paces.remove(&(from, to)),
        };
    }

    /// Connections with an open end at this machine, to be cut.
    #[must_use]
    pub fn conns_of(&self, host: Host) -> Vec<ConnId> {
        self.ends_at(host).into_iter().map(|(id, _)| id).collect()
    }

    // ---- what comes of it -----------------------------------------------------------------------------------------------

    /// When the next thing happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.queue.next_at()
    }

    /// Lets the next thing happen. None: it was nothing that a machine hears.
    pub fn step(&mut self) -> Option<NetEvent> {
        let (now, flight) = self.queue.pop()?;
        let event = self.arrive(now, flight)?;
        match self.paused.get_mut(&event.at()) {
            Some(waiting) => {
                waiting.push(event);
                None
            }
            None => Some(event),
        }
    }

    fn arrive(&mut self, now: Time, flight: Flight) -> Option<NetEvent> {
        if let Some(way) = self.way_of(&flight).filter(|way| self.blocked.contains(way)) {
            self.gets_stuck(now, way, flight);
            return None;
        }
        match flight {
            Flight::Dial(id) => self.dialled(now, id),
            Flight::DialAnswer(id, stands) => {
                let conn = self.conns.get_mut(&id)?;
                if conn.dialler.state != EndState::Opening {
                    return None;
                }
                let at = conn.dialler.host;
                conn.dialler.state = if stands { EndState::Open } else { EndState::Gone };
                if !stands {
                    self.conns.remove(&id);
                }
                Some(if stands {
                    NetEvent::Connected { conn: id, at }
                } else {
                    NetEvent::NotConnected { conn: id, at }
                })
            }
            Flight::DialTimeout(id) => {
                let conn = self.conns.get_mut(&id).filter(|conn| conn.dialler.state == EndState::Opening)?;
                conn.dialler.state = EndState::Gone;
                Some(NetEvent::NotConnected { conn: id, at: conn.dialler.host })
            }
            Flight::Piece(id, side, number, piece) => self.piece(now, id, side, number, piece),
            Flight::Reset(id, side) => self.is_over(id, side),
            Flight::GiveUp(id, side) => {
                // The sender waits on behalf of the other end.
                let waits = self.conns.get(&id)?.end(side.other()).gives_up;
                if waits { self.is_over(id, side) } else { None }
            }
        }
    }

    fn dialled(&mut self, now: Time, id: ConnId) -> Option<NetEvent> {
        let conn = self.conns.get_mut(&id)?;
        let (from, at, port) = (conn.dialler.host, conn.acceptor.host, conn.port);
        if self.dark.contains(&at) {
            return None;
        }
        let stands = self.listening.contains(&(at, port)) && conn.dialler.state == EndState::Opening;
        conn.acceptor.state = if stands { EndState::Open } else { EndState::Gone };
        let answer = now + self.delay(at, from, 0);
        self.end(id, Side::Dialler, |end| end.busy_until = answer);
        self.queue.put(answer, Flight::DialAnswer(id, stands));
        stands.then_some(NetEvent::Accepted { conn: id, at, port, from })
    }

    fn piece(&mut self, now: Time, id: ConnId, side: Side, number: u64, piece: Piece) -> Option<NetEvent> {
        let host = self.conns.get(&id)?.end(side).host;
        if self.dark.contains(&host) {
            self.waits_for_answer(now, id, side);
            return None;
        }
        let end = self.conns.get_mut(&id)?.end_mut(side);
        if end.state == EndState::Gone {
            let is_data = matches!(piece, Piece::Bytes(_));
            if is_data {
                self.reset(now, id, side.other());
            }
            return None;
        }
        if number != end.next_due || end.state == EndState::Opening {
            end.early.insert(number, piece);
            return None;
        }
        end.next_due += 1;
        if let Some(next) = end.early.remove(&end.next_due) {
            let number = end.next_due;
            self.queue.put(now, Flight::Piece(id, side, number, next));
        }
        match piece {
            Piece::Bytes(bytes) => Some(NetEvent::Arrived { conn: id, side, at: host, bytes }),
            Piece::End => self.is_over(id, side),
        }
    }

    /// This end hears that it is over, if it has not before.
    fn is_over(&mut self, id: ConnId, side: Side) -> Option<NetEvent> {
        let conn = self.conns.get_mut(&id)?;
        let end = conn.end_mut(side);
        let before = std::mem::replace(&mut end.state, EndState::Gone);
        let at = end.host;
        if conn.dialler.state == EndState::Gone && conn.acceptor.state == EndState::Gone {
            self.conns.remove(&id);
        }
        match before {
            EndState::Open => Some(NetEvent::Closed { conn: id, side, at }),
            // Nobody else would tell him any more.
            EndState::Opening if side == Side::Dialler => Some(NetEvent::NotConnected { conn: id, at }),
            EndState::Opening | EndState::Gone => None,
        }
    }

    fn send_piece(&mut self, now: Time, id: ConnId, from: Side, piece: Piece) {
        let Some(conn) = self.conns.get(&id).filter(|conn| conn.end(from).state == EndState::Open) else { return };
        let (here, there) = (conn.end(from).host, conn.end(from.other()).host);
        let bytes = if let Piece::Bytes(bytes) = &piece { bytes.len() } else { 0 };
        let (delay, sending) = (self.delay(here, there, 0), self.sending(here, there, bytes));
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let to = conn.end_mut(from.other());
        // Behind what was sent before.
        to.busy_until = to.busy_until.max(now + delay) + sending;
        let number = to.next_sent;
        to.next_sent += 1;
        let arrives = to.busy_until;
        self.queue.put(arrives, Flight::Piece(id, from.other(), number, piece));
    }

    fn reset(&mut self, now: Time, id: ConnId, side: Side) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (there, here) = (conn.end(side.other()).host, conn.end(side).host);
        let arrives = now + self.delay(there, here, 0);
        self.queue.put(arrives, Flight::Reset(id, side));
    }

    /// The way that something takes. None: it is where it is to be.
    fn way_of(&self, flight: &Flight) -> Option<(Host, Host)> {
        match flight {
            Flight::Dial(id) => self.conns.get(id).map(|conn| (conn.dialler.host, conn.acceptor.host)),
            Flight::DialAnswer(id, _) => self.conns.get(id).map(|conn| (conn.acceptor.host, conn.dialler.host)),
            Flight::Piece(id, side, ..) | Flight::Reset(id, side) => {
                self.conns.get(id).map(|conn| (conn.end(side.other()).host, conn.end(*side).host))
            }
            Flight::DialTimeout(_) | Flight::GiveUp(..) => None,
        }
    }

    fn gets_stuck(&mut self, now: Time, way: (Host, Host), flight: Flight) {
        match &flight {
            // Nobody sends a reset twice; a dial is tried by who dials.
            Flight::Reset(..) | Flight::Dial(_) | Flight::DialAnswer(..) => return,
            Flight::Piece(id, side, ..) => self.waits_for_answer(now, *id, *side),
            Flight::DialTimeout(_) | Flight::GiveUp(..) => {}
        }
        self.stuck.entry(way).or_default().push(flight);
    }

    /// Who sends to this end has no answer from now on.
    fn waits_for_answer(&mut self, now: Time, id: ConnId, side: Side) {
        let gives_up = now + self.options.give_up;
        let Some(end) = self.conns.get_mut(&id).map(|conn| conn.end_mut(side)) else { return };
        if !std::mem::replace(&mut end.gives_up, true) {
            self.queue.put(gives_up, Flight::GiveUp(id, side.other()));
        }
    }

    fn delay(&mut self, from: Host, to: Host, bytes: usize) -> Micros {
        let pace = self.pace(from, to);
        let way = self.chance.latency(pace.delay_min, pace.delay_max);
        Micros(way.0 + self.sending(from, to, bytes).0)
    }

    /// How long so many bytes take to be sent.
    fn sending(&self, from: Host, to: Host, bytes: usize) -> Micros {
        Micros((bytes as u64 * 1_000_000).checked_div(self.pace(from, to).bytes_per_s).unwrap_or(0))
    }

    fn pace(&self, from: Host, to: Host) -> Pace {
        self.paces.get(&(from, to)).copied().unwrap_or(self.options.pace)
    }

    fn end(&mut self, id: ConnId, side: Side, change: impl FnOnce(&mut End)) {
        if let Some(conn) = self.conns.get_mut(&id) {
            change(conn.end_mut(side));
        }
    }

    fn ends_at(&self, host: Host) -> Vec<(ConnId, Side)> {
        let both = self
            .conns
            .iter()
            .flat_map(|(id, conn)| [(*id, Side::Dialler, &conn.dialler), (*id, Side::Acceptor, &conn.acceptor)]);
        both.filter(|(.., end)| end.host == host && end.state != EndState::Gone)
            .map(|(id, side, _)| (id, side))
            .collect()
    }
}

impl Conn {
    const fn end(&self, side: Side) -> &End {
        match side {
            Side::Dialler => &self.dialler,
            Side::Acceptor => &self.acceptor,
        }
    }

    const fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Dialler => &mut self.dialler,
            Side::Acceptor => &mut self.acceptor,
        }
    }
}

impl End {
    const fn new(host: Host) -> End {
        End {
            host,
            state: EndState::Opening,
            next_sent: 0,
            next_due: 0,
            early: BTreeMap::new(),
            busy_until: Time(0),
            gives_up: false,
        }
    }
}
