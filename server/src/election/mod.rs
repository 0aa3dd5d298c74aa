//! The election port: votes to the other servers and from them (`QuorumCnxManager`, and of `FastLeaderElection` what is not `zab`'s, of 3.9.5).
//!
//! Votes are rare and small, so that plain threads and blocking sockets do. [`ElectionPort::send`] and [`ElectionPort::take_event`] are the core's, and never wait.
//!
//! | thread | how many | what it does |
//! |---|---|---|
//! | `rk-elect` | 1 | accepts, and reads who has connected (`accept.rs`) |
//! | `rk-elect-rN`, `rk-elect-wN` | one each for a connection to server N | reads its votes; writes ours (`link.rs`) |
//! | `rk-elect-dN` | at most one for server N, while it lasts | looks up its names and connects (`dial.rs`) |
//!
//! # The rules
//! - **One connection for a pair of servers**, opened by the greater id. A server that has to reach a greater one connects, says who it is and hangs up, and is called back.
//! - **The newest connection counts**: an older one to the same server ends, since the other side may have forgotten it.
//! - **The newest vote counts**: of those to one server the last takes the place of one that has not left. What left last leaves once more on a new connection: it may
//!   have been lost with the former.
//! - A server is dialled when there is a vote for it and no connection. Nothing is tried again by itself: an election says its vote again.
//! - A server that is no member (a joiner; an observer without an id, which gets one below 0) may connect and is answered; a few at one time.
//!
//! # Where it differs from Java
//! - Whoever is called back is called at the addresses that the configuration has first, and then at those that it said. A server that is no member has only the latter.
//! - All addresses of a name are tried, not the first alone.
//! - A connection that is called back over is closed when the new one stands, or cannot be made; Java closes it before.
//! - Any number may connect and say nothing. In Java the first who does holds up all others until its time is over.
//! - What the other side does not acknowledge for twice `cnxTimeout` ends the connection.
//!
//! Owns sockets, threads and the votes on their way. It must never judge a vote, nor lose the last one to a server while it lives. What comes from the network is
//! bounded (greeting, frame, threads, servers, events); what is wrong with it costs its own connection. It fails at the start alone ([`StartError`]).
//! `server/tests/election_port`, and `tests/tests/election.rs` with real ZooKeeper servers, would catch a mistake.
#![forbid(unsafe_code)]

mod accept;
mod dial;
mod inbox;
mod link;
mod peers;
mod wire;

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use proto::ServerId;
use proto::election::InitialVersion;
use zab::election::Vote;
use zab::ensemble::Ensemble;

use crate::bind::BindAttempts;
use accept::{Acceptor, Stop};
use peers::Peers;
use wire::Config;

/// The port of one server. It ends when it is dropped.
#[derive(Debug)]
pub struct ElectionPort {
    peers: Arc<Peers>,
    stop: Stop,
    acceptor: Option<JoinHandle<()>>,
}

/// Settings of the port.
#[derive(Clone, Debug)]
pub struct ElectionPortOptions {
    /// This server.
    pub me: ServerId,
    /// Listen at every address of the machine (`quorumListenOnAllIPs`).
    pub listen_on_all_ips: bool,
    /// How long connecting to a server may take (`cnxTimeout`); none is about what the system allows.
    pub connect_timeout: Duration,
    /// How often it is tried to bind the port (`electionPortBindRetry`).
    pub bind: BindAttempts,
    /// Let the kernel probe connections on which nothing happens (`tcpKeepAlive`).
    pub tcp_keep_alive: bool,
    /// How long whoever connects may take to say who it is. Servers say it with the connection.
    pub greeting_timeout: Duration,
    /// [`InitialVersion::V2`] with `multiAddress.enabled`.
    pub initial_version: InitialVersion,
}

impl ElectionPortOptions {
    /// ZooKeeper's defaults, for this server.
    #[must_use]
    pub fn new(me: ServerId) -> ElectionPortOptions {
        ElectionPortOptions {
            me,
            listen_on_all_ips: false,
            connect_timeout: Duration::from_secs(5),
            bind: BindAttempts::new(NonZeroU32::new(3)),
            tcp_keep_alive: false,
            greeting_timeout: Duration::from_secs(5),
            initial_version: InitialVersion::V1,
        }
    }
}

/// What the port has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionEvent {
    /// A server says whom it votes for: [`zab::Input::Voted`].
    Voted {
        /// Who says so; a server that is no member may, too.
        from: ServerId,
        /// Its vote.
        vote: Vote,
        /// Its ensemble, if that is newer than ours.
        newer: Option<Arc<Ensemble>>,
    },
    /// A connection to a member stands, or does not, since it has ended or an attempt has failed: [`zab::Input::Reachable`]. Where one takes the place of
    /// another, only that it stands.
    Reachable {
        /// The other server.
        server: ServerId,
        /// Does it stand?
        is_up: bool,
    },
}

impl ElectionEvent {
    /// Of which server it tells.
    const fn server(&self) -> ServerId {
        match self {
            ElectionEvent::Voted { from: server, .. } | ElectionEvent::Reachable { server, .. } => *server,
        }
    }
}

/// Why there is no election port.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ensemble does not say where this server votes.
    #[error("the ensemble has no server.{}, which is this server; its election port is not known", .0.0)]
    NotAMember(ServerId),
    /// It cannot be bound.
    #[error("cannot listen on {address} for elections after {attempts} attempts: {source}")]
    Bind {
        /// The address.
        address: String,
        /// How often it was tried.
        attempts: u32,
        /// What the system said at last.
        source: io::Error,
    },
    /// It was asked to end before it was bound.
    #[error("asked to end before the election port could be bound")]
    AskedToEnd,
    /// There is nothing to stop it with.
    #[error("no eventfd for the election port: {0}; raise ulimit -n")]
    Bell(io::Error),
    /// There is no thread.
    #[error("cannot start the thread of the election port: {0}; raise the limit of processes")]
    Thread(io::Error),
}

impl ElectionPort {
    /// Binds the port of this server in `ensemble`, and accepts from then on. `ring` is called after each new event, from any thread: it must not wait, nor
    /// call the port. A name that cannot be looked up counts as a failed attempt to bind.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        options: ElectionPortOptions,
        ensemble: &Ensemble,
        ring: impl Fn() + Send + Sync + 'static,
    ) -> Result<ElectionPort, StartError> {
        let config = Config::new(ensemble);
        let own = config.addresses(options.me).ok_or(StartError::NotAMember(options.me))?;
        let (acceptor, stop) = Acceptor::bind(own, &options)?;
        let peers = Arc::new(Peers::new(options, config, Box::new(ring)));
        let its_peers = Arc::clone(&peers);
        let thread = std::thread::Builder::new().name("rk-elect".into()).spawn(move || acceptor.run(&its_peers));
        Ok(ElectionPort { peers, stop, acceptor: Some(thread.map_err(StartError::Thread)?) })
    }

    /// Sends a vote to a member, or to another server that is connected. It takes the place of one that has not left; where there is no connection one is
    /// made, or the greater id is asked to make one. Does not wait.
    pub fn send(&self, to: ServerId, vote: Vote) {
        self.peers.send(to, vote);
    }

    /// The oldest event. Costs one load where there is none.
    #[must_use]
    pub fn take_event(&self) -> Option<ElectionEvent> {
        self.peers.take_event()
    }

    /// From now on these are the members, and this is what notifications carry. The port stays where it is.
    pub fn set_ensemble(&self, ensemble: &Ensemble) {
        self.peers.set_ensemble(ensemble);
    }

    /// Closes the port and all connections. Whoever dials is not waited for.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for ElectionPort {
    fn drop(&mut self) {
        self.peers.stop();
        self.stop.ask();
        if let Some(acceptor) = self.acceptor.take() {
            // A thread that panicked has ended the process.
            drop(acceptor.join());
        }
    }
}
