//! The election ports: connections between the servers, and the votes on them.
//!
//! Owns the rules by which `server/src/election` has connections, over the network's: one for a pair, opened by the greater id; who has to reach a greater one connects,
//! says who it is, hangs up and is called back; the newest connection counts, and the newest vote; what left last leaves once more on a new connection. What the port does to
//! sockets and threads is not simulated. A vote is told by its place in the table of all that were ever sent. It must never deliver one but in the order and on the connection on
//! which it was sent.

use super::process::Turn;
use super::{Cluster, ELECTION_PORT};
use crate::world::network::{ConnId, Host, NetEvent, Side};
use proto::ServerId;
use std::collections::BTreeMap;
use zab::election::Vote;

/// The election port of a process.
#[derive(Debug, Default)]
pub(super) struct ElectionPort {
    /// By their machines' numbers.
    peers: BTreeMap<usize, Peer>,
    conns: BTreeMap<ConnId, Conn>,
}

/// Another server.
#[derive(Debug, Default)]
struct Peer {
    link: Option<ConnId>,
    is_dialling: bool,
    waiting: Option<u64>,
    last: Option<u64>,
}

#[derive(Debug)]
struct Conn {
    other: usize,
    side: Side,
    /// Was it said who connects? A dialler knows.
    is_greeted: bool,
    came: Vec<u8>,
}

/// Who connects says so with this in a vote's place; who that is the machine tells.
const GREETING: u64 = u64::MAX;
const FRAME_BYTES: usize = 8;

impl ElectionPort {
    pub(super) fn has(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    fn peer(&mut self, other: usize) -> &mut Peer {
        self.peers.entry(other).or_default()
    }
}

impl Cluster {
    /// Leaves a vote for a server, and dials where there is no connection.
    pub(super) fn post(&mut self, number: usize, to: ServerId, vote: Vote) {
        let Some(other) = self.machines.iter().position(|machine| machine.id.0 == to.0.cast_unsigned()) else { return };
        let place = u64::try_from(self.votes.len()).unwrap_or(0);
        self.votes.push(vote);
        self.trace.note(self.now, format_args!("{number}: votes to {}: {vote:?}", to.0));
        let peer = self.at(number).port.peer(other);
        peer.waiting = Some(place);
        if peer.link.is_some() { self.write_vote(number, other) } else { self.dial_for_votes(number, other) }
    }

    /// The network tells of a connection of the election port.
    pub(super) fn election_hears(&mut self, number: usize, event: NetEvent) {
        match event {
            NetEvent::Accepted { conn, from, .. } => {
                let Some(other) = self.machine_of(from) else { return };
                let conn_of = Conn { other, side: Side::Acceptor, is_greeted: false, came: Vec::new() };
                self.at(number).port.conns.insert(conn, conn_of);
            }
            NetEvent::Connected { conn, .. } => self.connected_for_votes(number, conn),
            NetEvent::NotConnected { conn, .. } => {
                let port = &mut self.at(number).port;
                let Some(Conn { other, .. }) = port.conns.remove(&conn) else { return };
                port.peer(other).is_dialling = false;
                self.election_ends(number, other);
            }
            NetEvent::Arrived { conn, bytes, .. } => self.votes_came(number, conn, &bytes),
            NetEvent::Closed { conn, .. } => {
                let port = &mut self.at(number).port;
                let Some(Conn { other, .. }) = port.conns.remove(&conn) else { return };
                if port.peer(other).link == Some(conn) {
                    self.election_ends(number, other);
                }
            }
        }
    }

    fn connected_for_votes(&mut self, number: usize, conn: ConnId) {
        let now = self.now;
        let Some(other) = self.at(number).port.conns.get(&conn).map(|conn| conn.other) else { return };
        self.at(number).port.peer(other).is_dialling = false;
        self.network.send(now, conn, Side::Dialler, &GREETING.to_le_bytes());
        if self.at(other).server() < self.at(number).server() {
            self.stand(number, other, conn);
        } else {
            self.hang_up(number, conn);
        }
    }

    fn votes_came(&mut self, number: usize, conn: ConnId, bytes: &[u8]) {
        if let Some(conn) = self.at(number).port.conns.get_mut(&conn) {
            conn.came.extend_from_slice(bytes);
        }
        // A frame may end the connection that it came on.
        while let Some(conn_of) = self.at(number).port.conns.get_mut(&conn)
            && let Some(frame) = conn_of.came.first_chunk::<FRAME_BYTES>().copied()
        {
            conn_of.came.drain(..FRAME_BYTES);
            let (other, was_greeted) = (conn_of.other, conn_of.is_greeted);
            conn_of.is_greeted = true;
            match u64::from_le_bytes(frame) {
                GREETING if was_greeted => {}
                GREETING if self.at(other).server() > self.at(number).server() => self.stand(number, other, conn),
                GREETING => {
                    self.hang_up(number, conn);
                    self.dial_for_votes(number, other);
                }
                place => self.hears_vote(number, other, conn, place),
            }
        }
    }

    fn hears_vote(&mut self, number: usize, other: usize, conn: ConnId, place: u64) {
        let vote = usize::try_from(place).ok().and_then(|place| self.votes.get(place)).copied();
        let from = self.at(other).server();
        let machine = self.at(number);
        // Of a connection that was replaced nothing counts any more.
        let is_current = machine.port.peer(other).link == Some(conn);
        let (Some(vote), Some(process)) = (vote.filter(|_| is_current), &mut machine.process) else { return };
        process.io().voted(from, vote);
        self.wake(number, Turn::Core);
    }

    /// Makes this the connection of a server, in place of any other.
    fn stand(&mut self, number: usize, other: usize, conn: ConnId) {
        let port = &mut self.at(number).port;
        if let Some(conn_of) = port.conns.get_mut(&conn) {
            conn_of.is_greeted = true;
        }
        let peer = port.peer(other);
        peer.waiting = peer.waiting.or(peer.last);
        // That the former one has ended is not told: the server is reached all the time.
        if let Some(former) = peer.link.replace(conn) {
            self.hang_up(number, former);
        }
        self.tell_reach(number, other, true);
        self.write_vote(number, other);
    }

    /// The connection of a server has ended, if there was one, or another one could not be made.
    fn election_ends(&mut self, number: usize, other: usize) {
        if let Some(link) = self.at(number).port.peer(other).link.take() {
            self.hang_up(number, link);
        }
        self.tell_reach(number, other, false);
    }

    fn hang_up(&mut self, number: usize, conn: ConnId) {
        if let Some(Conn { side, .. }) = self.at(number).port.conns.remove(&conn) {
            self.network.close(self.now, conn, side);
        }
    }

    fn write_vote(&mut self, number: usize, other: usize) {
        let now = self.now;
        let port = &mut self.at(number).port;
        let peer = port.peer(other);
        let (Some(place), Some(link)) = (peer.waiting, peer.link) else { return };
        (peer.waiting, peer.last) = (None, Some(place));
        if let Some(Conn { side, .. }) = port.conns.get(&link) {
            let side = *side;
            self.network.send(now, link, side, &place.to_le_bytes());
        }
    }

    /// Dials a server, unless it is being dialled.
    fn dial_for_votes(&mut self, number: usize, other: usize) {
        let (now, here, there) = (self.now, self.at(number).host, self.at(other).host);
        if std::mem::replace(&mut self.at(number).port.peer(other).is_dialling, true) {
            return;
        }
        let conn = self.network.dial(now, here, there, ELECTION_PORT);
        let conn_of = Conn { other, side: Side::Dialler, is_greeted: true, came: Vec::new() };
        self.at(number).port.conns.insert(conn, conn_of);
    }

    fn tell_reach(&mut self, number: usize, other: usize, is_up: bool) {
        let (now, id) = (self.now, self.at(other).server());
        let Some(process) = &mut self.at(number).process else { return };
        process.io().reaches(id, is_up);
        self.trace.note(now, format_args!("{number}: reaches {other}: {is_up}"));
        self.wake(number, Turn::Core);
    }

    fn machine_of(&self, host: Host) -> Option<usize> {
        self.machines.iter().position(|machine| machine.host == host)
    }
}
