//! The sockets of the quorum port: moves bytes between them and the core's [`LinkTable`].
//!
//! Owns the listening sockets, the sockets of the links, and the threads that dial. All but dialling is done by the thread of the consensus core, between
//! two of its turns: [`Reactor::read`] first, then the turn, then [`Reactor::write`]; neither waits. To sleep, the core waits until [`Reactor::fd`] is
//! readable, or somebody rings, or for [`Reactor::next_look`]: with a thread of its own by [`crate::rt::Parker::wait_or_readable`], in a shard's turn by
//! [`crate::rt::Io::watch`].
//!
//! Sockets are watched by edges: the kernel says once that one has become readable or writable, and the reactor remembers. So a link that nobody reads, or
//! that is full, costs nothing, and cannot keep the core awake. Each turn a link brings [`PIECE_BYTES`] at most and all together [`TURN_BYTES_MAX`], and who has more waits behind
//! the others.
//!
//! Must never wait, decode a packet, or decide that a link is of no more use. It fails at start, by name, where no address can be listened on; later only by
//! ending links, and by accepting later where descriptors ran out. `server/tests/links.rs` would catch a mistake.
#![forbid(unsafe_code)]

mod dial;
mod listen;

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use engine::turn::{LinkLoss, LinkTable};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};
use zab::LinkId;
use zab::ensemble::{HostPort, Member};

use crate::bind::BindAttempts;
use dial::Dialler;
pub use listen::ListenError;
use listen::Listener;

/// How the quorum port is opened and left.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Names or addresses, with ports, to listen on: [`own_addresses`].
    pub listen: Vec<HostPort>,
    /// How often it is tried until one of them can be listened on.
    pub bind: BindAttempts,
    /// How long a dial may take with all of a server's addresses together, looking up their names aside.
    pub dial_time_max: Duration,
    /// How long a link that was closed may take to send what is unsent, and to see that the other side has closed as well.
    pub close_time_max: Duration,
}

/// Where a member's quorum port is, in the order in which it is to be tried.
#[must_use]
pub fn quorum_addresses(member: &Member) -> Vec<HostPort> {
    let at = |address: &zab::ensemble::PeerAddress| HostPort { host: address.host.clone(), port: address.quorum_port };
    member.addresses.iter().map(at).collect()
}

/// Where this server listens, being `own`: on the addresses of its line, or on all that the machine has (`quorumListenOnAllIPs`).
#[must_use]
pub fn own_addresses(own: &Member, on_all: bool) -> Vec<HostPort> {
    let mut addresses = quorum_addresses(own);
    if on_all {
        // Of both families: see `listen`.
        addresses.iter_mut().for_each(|address| address.host = "::".to_owned());
    }
    addresses
}

/// See the module.
#[derive(Debug)]
pub struct Reactor {
    epoll: Arc<OwnedFd>,
    listeners: Vec<Listener>,
    dialler: Dialler,
    close_time_max: Duration,
    conns: AHashMap<LinkId, Conn>,
    /// May have something to receive, each once, in the order of their turns.
    ready: VecDeque<LinkId>,
    /// As `ready`, but the table does not want it now.
    paused: Vec<LinkId>,
    /// Links that were closed.
    closing: Vec<LinkId>,
    /// How many of `closing` wait for nothing but the other side's end.
    lingering: usize,
    counts: LinkCounts,
    scratch: Vec<u8>,
    to_send: Vec<LinkId>,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Connections that became links.
    pub accepted: u64,
    /// Connections that were closed because there were as many links as there may be.
    pub refused: u64,
}

/// A link's socket, and what is known of it.
#[derive(Debug)]
struct Conn {
    socket: OwnedFd,
    /// Is it in `ready` or `paused`?
    is_ready: bool,
    /// The other side has closed or broken it: it is received from until that shows.
    has_ended: bool,
    is_writable: bool,
    /// It was closed: what comes is dropped, and at this time it is cut off.
    closing_until: Option<Instant>,
    is_lingering: bool,
}

impl Reactor {
    /// Opens the quorum port, with as many attempts as the options allow. A name that cannot be looked up counts as a failed one.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn new(options: &LinkOptions) -> Result<Reactor, ListenError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(ListenError::resources)?;
        let listeners = listen::open(&options.listen, &options.bind)?;
        for (listener, token) in listeners.iter().zip(LISTENERS..) {
            watch(&epoll, &listener.socket, token, epoll::EventFlags::IN).map_err(ListenError::resources)?;
        }
        let dialler = Dialler::new(options.dial_time_max).map_err(ListenError::resources)?;
        watch(&epoll, dialler.answered(), DIALLER, epoll::EventFlags::IN).map_err(ListenError::resources)?;
        Ok(Reactor {
            epoll: Arc::new(epoll),
            listeners,
            dialler,
            close_time_max: options.close_time_max,
            conns: AHashMap::new(),
            ready: VecDeque::new(),
            paused: Vec::new(),
            closing: Vec::new(),
            lingering: 0,
            counts: LinkCounts::default(),
            scratch: vec![0; PIECE_BYTES],
            to_send: Vec::new(),
        })
    }

    /// Readable when there is something to read or write that was not there at the last [`Reactor::read`].
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// The same, for who keeps it.
    #[must_use]
    pub fn shared_fd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.epoll)
    }

    /// Where it listens, with the ports that the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.address).collect()
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> LinkCounts {
        self.counts
    }

    /// How long the core may sleep if nothing happens; `None`: for ever. Zero: there is more to read.
    #[must_use]
    pub fn next_look(&self, table: &LinkTable, now: Instant) -> Option<Duration> {
        if !self.ready.is_empty() || self.paused.iter().any(|link| self.is_wanted(table, *link)) {
            return Some(Duration::ZERO);
        }
        let closing = self.closing.iter().filter_map(|link| self.conns.get(link)?.closing_until);
        let listening = self.listeners.iter().filter_map(|listener| listener.next_look(now));
        closing.chain(listening).min().map(|at| at.saturating_duration_since(now))
    }

    /// Connects to a server, whose addresses are looked up anew and tried in order. The answer comes to the table; that of an earlier dial comes no more.
    pub fn dial(&mut self, to: Vec<HostPort>) {
        self.dialler.dial(to);
    }

    /// The dial that is under way is of no more use: it has no answer.
    pub fn give_up_dial(&mut self) {
        self.dialler.give_up();
    }

    /// Brings the table what has happened: connections, bytes, ends, and the answer to a dial.
    pub fn read(&mut self, table: &mut LinkTable) {
        self.take_events(table);
        self.accept(table, Instant::now());
        self.receive(table);
    }

    /// Sends what the table has to send, and closes what is over.
    pub fn write(&mut self, table: &mut LinkTable) {
        let mut links = std::mem::take(&mut self.to_send);
        links.extend(table.with_output());
        for link in links.drain(..) {
            self.send(table, link);
        }
        self.to_send = links;
        self.close(table, Instant::now());
    }

    fn take_events(&mut self, table: &mut LinkTable) {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut space = [const { MaybeUninit::uninit() }; EVENTS_MAX];
        // If there are more, the epoll stays readable.
        let events = match epoll::wait(&*self.epoll, &mut space, Some(&at_once)) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return,
            Err(errno) => panic!("epoll_wait on our own epoll failed: {errno}"),
        };
        for event in events {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == DIALLER {
                match self.dialler.take_answer() {
                    Some(Some((socket, to))) => {
                        let link = table.dialled(to);
                        if let Err(error) = admit(&self.epoll, &mut self.conns, link, socket) {
                            table.lost(link, LinkLoss::Failed(error.kind()));
                        }
                    }
                    Some(None) => table.not_dialled(),
                    None => {}
                }
            } else if let Some(place) = token.checked_sub(LISTENERS) {
                let place = usize::try_from(place).unwrap_or(usize::MAX);
                if let Some(listener) = self.listeners.get_mut(place) {
                    listener.has_waiting = true;
                }
            } else if let Some(conn) = self.conns.get_mut(&LinkId(token)) {
                let ended =
                    flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
                conn.has_ended |= ended;
                conn.is_writable |= flags.contains(epoll::EventFlags::OUT);
                if (ended || flags.contains(epoll::EventFlags::IN)) && !conn.is_ready {
                    conn.is_ready = true;
                    self.ready.push_back(LinkId(token));
                }
            }
        }
    }

    fn accept(&mut self, table: &mut LinkTable, now: Instant) {
        for listener in &mut self.listeners {
            for _ in 0..ACCEPTS_PER_TURN_MAX {
                let Some((socket, from)) = listener.accept(now) else { break };
                let Some(link) = table.accept(from) else {
                    self.counts.refused += 1;
                    tracing::debug!(%from, "a connection to the quorum port is closed: there are as many links as there may be");
                    continue;
                };
                self.counts.accepted += 1;
                if let Err(error) = admit(&self.epoll, &mut self.conns, link, socket) {
                    table.lost(link, LinkLoss::Failed(error.kind()));
                }
            }
        }
    }

    fn receive(&mut self, table: &mut LinkTable) {
        for link in std::mem::take(&mut self.paused) {
            if self.is_wanted(table, link) {
                self.ready.push_back(link);
            } else if self.conns.contains_key(&link) {
                self.paused.push(link);
            }
        }
        let mut bytes_left = TURN_BYTES_MAX;
        for _ in 0..self.ready.len() {
            if bytes_left == 0 {
                return;
            }
            let Some(link) = self.ready.pop_front() else { return };
            bytes_left = bytes_left.saturating_sub(self.receive_from(table, link));
        }
    }

    /// Receives one piece of a ready link; says how many bytes it was.
    fn receive_from(&mut self, table: &mut LinkTable, link: LinkId) -> usize {
        let Some(conn) = self.conns.get_mut(&link) else { return 0 };
        let is_dropped = conn.closing_until.is_some();
        let room = if is_dropped { PIECE_BYTES } else { table.input_room(link).min(PIECE_BYTES) };
        let Some(scratch) = self.scratch.get_mut(..room).filter(|scratch| !scratch.is_empty()) else {
            self.paused.push(link);
            return 0;
        };
        match rustix::net::recv(&conn.socket, &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.lose(table, link, LinkLoss::Ended);
                0
            }
            Ok((bytes, _)) => {
                if let Some(input) = table.input(link).filter(|_| !is_dropped) {
                    input.extend_from_slice(scratch.get(..bytes).unwrap_or_default());
                    table.came(link);
                }
                // Less than there was room for is all that there was; what comes next has an edge of its own. An end has had its one.
                if bytes < room && !conn.has_ended {
                    conn.is_ready = false;
                } else {
                    self.ready.push_back(link);
                }
                bytes
            }
            Err(Errno::AGAIN) => {
                conn.is_ready = false;
                0
            }
            Err(Errno::INTR) => {
                self.ready.push_back(link);
                0
            }
            Err(errno) => {
                self.lose(table, link, LinkLoss::Failed(io::Error::from(errno).kind()));
                0
            }
        }
    }

    /// Is something received from this link, be it to be dropped?
    fn is_wanted(&self, table: &LinkTable, link: LinkId) -> bool {
        table.wants_input(link) || self.conns.get(&link).is_some_and(|conn| conn.closing_until.is_some())
    }

    fn send(&mut self, table: &mut LinkTable, link: LinkId) {
        let Some(conn) = self.conns.get_mut(&link) else { return };
        while conn.is_writable {
            let bytes = table.to_send(link);
            if bytes.is_empty() {
                return;
            }
            match rustix::net::send(&conn.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(bytes) => table.sent(link, bytes),
                Err(Errno::AGAIN) => conn.is_writable = false,
                Err(Errno::INTR) => {}
                Err(errno) => return self.lose(table, link, LinkLoss::Failed(io::Error::from(errno).kind())),
            }
        }
    }

    fn close(&mut self, table: &mut LinkTable, now: Instant) {
        for link in table.closing() {
            if let Some(conn) = self.conns.get_mut(&link).filter(|conn| conn.closing_until.is_none()) {
                conn.closing_until = Some(now + self.close_time_max);
                self.closing.push(link);
            }
        }
        for link in table.over() {
            if !self.linger(link) {
                self.cut_off(link);
            }
        }
        let (conns, mut overdue) = (&self.conns, Vec::new());
        self.closing.retain(|link| match conns.get(link).and_then(|conn| conn.closing_until) {
            Some(until) if until <= now => {
                overdue.push(*link);
                false
            }
            until => until.is_some(),
        });
        for link in overdue {
            table.lost(link, LinkLoss::Failed(io::ErrorKind::TimedOut));
            self.cut_off(link);
        }
    }

    /// Ends our side of a closed link whose bytes the kernel has, and waits for the other's. A socket that is closed with bytes unread is reset by the kernel,
    /// and what of ours was still under way is lost.
    fn linger(&mut self, link: LinkId) -> bool {
        let Some(conn) = self.conns.get_mut(&link).filter(|conn| conn.closing_until.is_some()) else { return false };
        if self.lingering >= LINGERING_MAX || rustix::net::shutdown(&conn.socket, Shutdown::Write).is_err() {
            return false;
        }
        conn.is_lingering = true;
        self.lingering += 1;
        true
    }

    /// Closes a socket with a reset: nothing of it stays in the kernel.
    fn cut_off(&mut self, link: LinkId) {
        if let Some(conn) = self.forget(link) {
            // A socket that refuses the option is closed in order instead.
            let _ = sockopt::set_socket_linger(&conn.socket, Some(Duration::ZERO));
        }
    }

    /// The connection has ended.
    fn lose(&mut self, table: &mut LinkTable, link: LinkId, why: LinkLoss) {
        table.lost(link, why);
        drop(self.forget(link));
    }

    fn forget(&mut self, link: LinkId) -> Option<Conn> {
        let conn = self.conns.remove(&link)?;
        self.lingering -= usize::from(conn.is_lingering);
        Some(conn)
    }
}

/// Watches a new link's socket.
fn admit(epoll: &OwnedFd, conns: &mut AHashMap<LinkId, Conn>, link: LinkId, socket: OwnedFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(&socket, true)?;
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP;
    watch(epoll, &socket, link.0, flags)?;
    let conn =
        Conn { socket, is_ready: false, has_ended: false, is_writable: true, closing_until: None, is_lingering: false };
    conns.insert(link, conn);
    Ok(())
}

/// Watches a descriptor's edges.
fn watch(epoll: &OwnedFd, fd: impl AsFd, token: u64, flags: epoll::EventFlags) -> rustix::io::Result<()> {
    epoll::add(epoll, fd, epoll::EventData::new_u64(token), flags | epoll::EventFlags::ET)
}

/// Most bytes that one link brings in a turn.
pub const PIECE_BYTES: usize = 64 << 10;
/// Most bytes that all links bring in a turn; the last of them may bring a piece more.
pub const TURN_BYTES_MAX: usize = 1 << 20;
const EVENTS_MAX: usize = 64;
const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Closed links that are not cut off at once. More come only from somebody who connects for the sake of it.
const LINGERING_MAX: usize = 64;
/// What the kernel's events are for: below it, the link of this number; from it on, the listener of this place.
const LISTENERS: u64 = 1 << 63;
const DIALLER: u64 = u64::MAX;
