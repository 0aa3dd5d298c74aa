//! What the network's users say and hear.

use crate::world::time::Micros;

/// A machine: a server's or a client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(pub u32);

/// A port that a machine listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u16);

/// A connection. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Who dialled.
    Dialler,
    /// Who was dialled.
    Acceptor,
}

impl Side {
    /// The other end.
    #[must_use]
    pub const fn other(self) -> Side {
        match self {
            Side::Dialler => Side::Acceptor,
            Side::Acceptor => Side::Dialler,
        }
    }
}

/// What a machine hears of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// Somebody has connected to this machine's port.
    Accepted {
        /// The connection.
        conn: ConnId,
        /// The machine that listens.
        at: Host,
        /// Its port.
        port: Port,
        /// Who dialled.
        from: Host,
    },
    /// The connection that this machine dialled stands.
    Connected {
        /// The connection.
        conn: ConnId,
        /// Who dialled.
        at: Host,
    },
    /// It does not: refused, or nobody answers.
    NotConnected {
        /// The connection.
        conn: ConnId,
        /// Who dialled.
        at: Host,
    },
    /// Bytes have come, not necessarily in the pieces in which they were sent.
    Arrived {
        /// On which connection.
        conn: ConnId,
        /// Which end they have come to.
        side: Side,
        /// The machine there.
        at: Host,
        /// They.
        bytes: Vec<u8>,
    },
    /// This end is over: the other has closed, or the connection broke.
    Closed {
        /// Which connection.
        conn: ConnId,
        /// Which end.
        side: Side,
        /// The machine there.
        at: Host,
    },
}

impl NetEvent {
    /// The machine that hears it.
    #[must_use]
    pub const fn at(&self) -> Host {
        match self {
            NetEvent::Accepted { at, .. }
            | NetEvent::Connected { at, .. }
            | NetEvent::NotConnected { at, .. }
            | NetEvent::Arrived { at, .. }
            | NetEvent::Closed { at, .. } => *at,
        }
    }

    /// The connection.
    #[must_use]
    pub const fn conn(&self) -> ConnId {
        match self {
            NetEvent::Accepted { conn, .. }
            | NetEvent::Connected { conn, .. }
            | NetEvent::NotConnected { conn, .. }
            | NetEvent::Arrived { conn, .. }
            | NetEvent::Closed { conn, .. } => *conn,
        }
    }
}

/// How fast a way is, from one machine to another.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The shortest delay.
    pub delay_min: Micros,
    /// The longest; most are near the shortest.
    pub delay_max: Micros,
    /// Bytes a second; 0: no limit.
    pub bytes_per_s: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { delay_min: Micros(80), delay_max: Micros::ms(20), bytes_per_s: 0 }
    }
}

/// Connections that break once some bytes were sent on them, however healthy both machines are: in the midst of whatever was being said.
#[derive(Clone, Copy, Debug)]
pub struct Fuses {
    /// So many of 100 that are dialled.
    pub percent: u64,
    /// After so many bytes, both ways together, at the earliest.
    pub bytes_min: u64,
    /// At the latest; most are near the earliest.
    pub bytes_max: u64,
}

/// Settings of a network.
#[derive(Clone, Copy, Debug)]
pub struct NetworkOptions {
    /// Every way's pace that is not set otherwise.
    pub pace: Pace,
    /// After so long without an answer a sender's end breaks (TCP's retransmissions).
    pub give_up: Micros,
    /// After so long a dial fails.
    pub dial_timeout: Micros,
    /// So many of 100 sends arrive in two pieces.
    pub split_percent: u64,
    /// Bytes of a piece, at the most: what is longer arrives in several, each in its own time.
    pub piece_bytes_max: usize,
    /// So many of 100 connections that one end breaks off bring the other all that was sent before; else it hears of the end first, and the rest is lost.
    pub last_bytes_percent: u64,
}

impl Default for NetworkOptions {
    fn default() -> NetworkOptions {
        NetworkOptions {
            pace: Pace::default(),
            give_up: Micros::s(12),
            dial_timeout: Micros::s(3),
            split_percent: 5,
            piece_bytes_max: usize::MAX,
            last_bytes_percent: 50,
        }
    }
}
