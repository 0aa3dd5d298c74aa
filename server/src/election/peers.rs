//! Which servers this one is connected to, and what waits to be sent to each.
//!
//! Owns the rules of who keeps a connection, the vote of each server that has not left, and the counts of threads and strangers. It says
//! what has changed to the [`Inbox`] while it holds its lock, so that nobody hears of an end before the beginning. It must never wait, nor do I/O but for
//! closing a socket. `server/tests/election_port` would catch a mistake.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use proto::ServerId;
use proto::election::InitialMessage;
use zab::election::Vote;
use zab::ensemble::{ADDRESSES_MAX, Ensemble, HostPort, SERVERS_MAX};

use super::inbox::Inbox;
use super::wire::{self, Config};
use super::{ElectionEvent, ElectionPortOptions, dial, link};

/// Servers that are no members and are connected at one time, or called back: joiners, observers without an id. Of more the one that came first goes: what
/// they come for is one answer.
const STRANGERS_MAX: usize = 16;

/// Threads at one time: for each server one that reads, one that writes and one that dials. Those of a connection that was replaced end at once,
/// but not before the next ones begin.
const THREADS_MAX: usize = 4 * (SERVERS_MAX + STRANGERS_MAX);

/// What all threads of the port share.
pub(super) struct Peers {
    options: ElectionPortOptions,
    inbox: Inbox,
    ring: Box<dyn Fn() + Send + Sync>,
    table: Mutex<Table>,
    /// A thread of a connection has ended.
    ended: Condvar,
}

#[derive(Debug)]
struct Table {
    config: Arc<Config>,
    peers: BTreeMap<ServerId, Peer>,
    links_made: u64,
    /// The id of the next observer that has none.
    next_observer: ServerId,
    link_threads: usize,
    dial_threads: usize,
    is_stopping: bool,
}

/// What is known of one other server.
#[derive(Debug, Default)]
struct Peer {
    /// The vote that has not left.
    waiting: Option<Vote>,
    /// The one that left last: it may have been lost with its connection.
    last: Option<Vote>,
    link: Option<Link>,
    is_dialling: bool,
    /// Where it has said that it is called back.
    said: Vec<HostPort>,
    /// A stranger's place in the order in which they came.
    since: u64,
    /// Was it said that it cannot be reached?
    is_down: bool,
}

#[derive(Debug)]
struct Link {
    number: LinkNumber,
    socket: Arc<TcpStream>,
    /// Wakes the thread that writes.
    wake: Arc<Condvar>,
}

/// Connections are counted, so that a thread of an older one cannot end the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkNumber(u64);

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("options", &self.options).field("table", &self.table).finish_non_exhaustive()
    }
}

impl Peers {
    pub(super) fn new(options: ElectionPortOptions, config: Config, ring: Box<dyn Fn() + Send + Sync>) -> Peers {
        let table = Table {
            config: Arc::new(config),
            peers: BTreeMap::new(),
            links_made: 0,
            next_observer: ServerId(-1),
            link_threads: 0,
            dial_threads: 0,
            is_stopping: false,
        };
        Peers { options, inbox: Inbox::default(), ring, table: Mutex::new(table), ended: Condvar::new() }
    }

    pub(super) fn options(&self) -> &ElectionPortOptions {
        &self.options
    }

    pub(super) fn take_event(&self) -> Option<ElectionEvent> {
        self.inbox.pop()
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.lock().config)
    }

    pub(super) fn set_ensemble(&self, ensemble: &Ensemble) {
        let config = Arc::new(Config::new(ensemble));
        let mut table = self.lock();
        let gone = |id: &ServerId, peer: &mut Peer| {
            config.addresses(*id).is_none() && peer.link.is_none() && !peer.is_dialling
        };
        let gone: Vec<ServerId> = table.peers.extract_if(.., gone).map(|(id, _)| id).collect();
        gone.into_iter().for_each(|server| self.inbox.forget(server));
        table.config = config;
    }

    /// Has [`Peers::stop`] been called?
    pub(super) fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    /// Leaves a vote for whoever writes to this server, and dials where nobody does.
    pub(super) fn send(self: &Arc<Self>, to: ServerId, vote: Vote) {
        let mut table = self.lock();
        let is_member = table.config.addresses(to).is_some();
        if to == self.options.me || (!is_member && !table.peers.contains_key(&to)) {
            tracing::debug!(server = to.0, "a vote for a server that is neither a member nor connected is dropped");
            return;
        }
        let peer = table.peers.entry(to).or_default();
        peer.waiting = Some(vote);
        match &peer.link {
            Some(link) => link.wake.notify_all(),
            None => self.dial(&mut table, to),
        }
    }

    /// A connection came in, and has said whose it is; `rest` is what followed.
    pub(super) fn greeted(
        self: &Arc<Self>,
        socket: TcpStream,
        from: SocketAddr,
        greeting: &InitialMessage<'_>,
        rest: &[u8],
    ) {
        let me = self.options.me;
        let (said, addresses) = match greeting {
            InitialMessage::Bare(server) => (*server, Vec::new()),
            InitialMessage::Addressed { server, addresses, .. } => {
                let usable = addresses.iter().filter(|address| !address.is_wildcard()).take(ADDRESSES_MAX);
                (*server, usable.map(|at| HostPort { host: at.host.into(), port: at.port }).collect())
            }
        };
        let mut table = self.lock();
        let server = if said == ServerId::OBSERVER { table.name_observer() } else { said };
        if table.is_stopping || said == me || said.0 < 0 {
            tracing::warn!(server = said.0, %from, "refused on the election port: no other server has this id");
            return;
        }
        if server > me {
            return self.stand(&mut table, server, socket, rest);
        }
        // It hangs up, or is hung up on, and is called back: only the greater id keeps a connection that it opened. The one that stands is replaced once that has
        // come about, or ends when it fails, since the other does not know of it.
        if table.config.addresses(server).is_none() && (addresses.is_empty() || !table.take_in(self, server)) {
            tracing::warn!(server = server.0, %from, "a server that is no member cannot be called back");
            return;
        }
        table.peers.entry(server).or_default().said = addresses;
        self.dial(&mut table, server);
    }

    /// A dial has ended: with a connection that was made to a server of a smaller id, with one that has told a greater id to call back, or with neither.
    pub(super) fn dialled(self: &Arc<Self>, server: ServerId, outcome: std::io::Result<TcpStream>) {
        let mut table = self.lock();
        table.dial_threads -= 1;
        if let Some(peer) = table.peers.get_mut(&server) {
            peer.is_dialling = false;
        }
        if table.is_stopping {
            return;
        }
        match outcome {
            Ok(socket) if server < self.options.me => self.stand(&mut table, server, socket, &[]),
            Ok(_hung_up) => {}
            Err(error) => {
                let first = table.peers.get(&server).is_some_and(|peer| !peer.is_down);
                if first {
                    tracing::info!(server = server.0, %error, "cannot be reached for elections");
                }
                self.end(&mut table, server);
            }
        }
    }

    /// What a connection has brought.
    pub(super) fn heard(&self, server: ServerId, number: LinkNumber, frame: &[u8]) {
        let heard = wire::vote(frame, &self.config());
        let (vote, newer) = match heard {
            Ok(heard) => heard,
            Err(error) => {
                tracing::debug!(server = server.0, %error, "a notification is dropped");
                return;
            }
        };
        let table = self.lock();
        // Of a connection that was replaced nothing counts any more: the next one repeats what matters.
        if table.is_current(server, number) && !table.is_stopping {
            self.tell(ElectionEvent::Voted { from: server, vote, newer });
        }
    }

    /// Waits for a vote that is to be written on this connection; `None` once the connection has ended.
    pub(super) fn next_vote(&self, server: ServerId, number: LinkNumber, wake: &Condvar) -> Option<Vote> {
        let mut table = self.lock();
        loop {
            if table.is_stopping || !table.is_current(server, number) {
                return None;
            }
            let peer = table.peers.get_mut(&server)?;
            if let Some(vote) = peer.waiting.take() {
                peer.last = Some(vote);
                return Some(vote);
            }
            table = wake.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A thread of a connection ends, and with it the connection.
    pub(super) fn ended(&self, server: ServerId, number: LinkNumber, why: &str) {
        let mut table = self.lock();
        table.link_threads -= 1;
        if table.is_current(server, number) && !table.is_stopping {
            tracing::info!(server = server.0, why, "the election connection has ended");
            self.end(&mut table, server);
        }
        self.ended.notify_all();
    }

    /// Ends all connections, and waits for their threads. Who dials ends by itself.
    pub(super) fn stop(&self) {
        let mut table = self.lock();
        table.is_stopping = true;
        for peer in table.peers.values_mut() {
            peer.link.take().into_iter().for_each(Link::close);
        }
        while table.link_threads > 0 {
            table = self.ended.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes this the connection of a server, in place of any other.
    fn stand(self: &Arc<Self>, table: &mut Table, server: ServerId, socket: TcpStream, rest: &[u8]) {
        if table.config.addresses(server).is_none() && !table.take_in(self, server) {
            return;
        }
        if let Err(error) = dial::set_options(&socket, &self.options) {
            tracing::debug!(server = server.0, %error, "an election connection went away at once");
            return self.end(table, server);
        }
        if table.threads() + 2 > THREADS_MAX {
            tracing::warn!(server = server.0, "an election connection is refused: too many begin at one time");
            return;
        }
        table.links_made += 1;
        let (socket, wake) = (Arc::new(socket), Arc::new(Condvar::new()));
        let number = LinkNumber(table.links_made);
        let is_member = table.config.addresses(server).is_some();
        let peer = table.peers.entry(server).or_default();
        let former = peer.link.replace(Link { number, socket: Arc::clone(&socket), wake: Arc::clone(&wake) });
        peer.waiting = peer.waiting.or(peer.last);
        peer.is_down = false;
        tracing::info!(server = server.0, "an election connection stands");
        // That one has ended is not told: the server is reached all the time, and an election that believed otherwise could be over too early.
        former.into_iter().for_each(Link::close);
        self.tell_reach(is_member, server, true);
        let threads = link::start(self, server, number, &socket, &wake, rest.to_vec());
        table.link_threads += threads.started;
        if let Some(error) = threads.error {
            tracing::error!(%error, "no thread for an election connection");
            self.end(table, server);
        }
    }

    /// The connection of this server has ended, if there was one, and another one could not be made.
    fn end(&self, table: &mut Table, server: ServerId) {
        let is_member = table.config.addresses(server).is_some();
        let Some(peer) = table.peers.get_mut(&server) else { return };
        let link = peer.link.take();
        peer.is_down = true;
        self.tell_reach(is_member, server, false);
        link.into_iter().for_each(Link::close);
        if !is_member && !peer.is_dialling {
            table.peers.remove(&server);
            // Else whoever comes under one id after the other would fill the queue.
            self.inbox.forget(server);
        }
    }

    /// Dials a server, unless somebody does.
    fn dial(self: &Arc<Self>, table: &mut Table, server: ServerId) {
        let mut addresses = table.config.addresses(server).unwrap_or_default().to_vec();
        let threads = table.threads();
        let Some(peer) = table.peers.get_mut(&server).filter(|peer| !peer.is_dialling) else { return };
        // What the configuration says comes first: what the other says may be its own view of a network, or a lie.
        let further: Vec<HostPort> = peer.said.iter().filter(|at| !addresses.contains(at)).cloned().collect();
        addresses.extend(further);
        if threads >= THREADS_MAX {
            return self.end(table, server);
        }
        peer.is_dialling = true;
        match dial::start(self, server, addresses) {
            Ok(()) => table.dial_threads += 1,
            Err(error) => {
                tracing::error!(%error, "no thread to dial for an election");
                peer.is_dialling = false;
                self.end(table, server);
            }
        }
    }

    /// Says whether a member's connection stands. An election counts on members alone.
    fn tell_reach(&self, is_member: bool, server: ServerId, is_up: bool) {
        if is_member {
            self.tell(ElectionEvent::Reachable { server, is_up });
        }
    }

    fn tell(&self, event: ElectionEvent) {
        self.inbox.push(event);
        (self.ring)();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn threads(&self) -> usize {
        self.link_threads + self.dial_threads
    }

    fn is_current(&self, server: ServerId, number: LinkNumber) -> bool {
        let link = self.peers.get(&server).and_then(|peer| peer.link.as_ref());
        link.is_some_and(|link| link.number == number)
    }

    /// Ids below 0, counted downwards, as Java gives them.
    fn name_observer(&mut self) -> ServerId {
        let name = self.next_observer;
        self.next_observer = ServerId(name.0.checked_sub(1).unwrap_or(-1));
        name
    }

    /// Makes a place for a server that is no member, if need be by ending the connection of the one that came first. False if all are being dialled.
    fn take_in(&mut self, peers: &Peers, stranger: ServerId) -> bool {
        if self.peers.contains_key(&stranger) {
            return true;
        }
        let config = Arc::clone(&self.config);
        let strangers = || self.peers.iter().filter(|(id, _)| config.addresses(**id).is_none());
        if strangers().count() >= STRANGERS_MAX {
            let idle = strangers().filter(|(_, peer)| !peer.is_dialling);
            let Some(first) = idle.min_by_key(|(_, peer)| peer.since).map(|(id, _)| *id) else { return false };
            peers.end(self, first);
        }
        self.links_made += 1;
        let since = self.links_made;
        self.peers.insert(stranger, Peer { since, ..Peer::default() });
        true
    }
}

impl Link {
    /// Whoever reads or writes on it finds its end.
    fn close(self) {
        // It may have ended by itself.
        drop(self.socket.shutdown(Shutdown::Both));
        self.wake.notify_all();
    }
}
