//! The network of a member of an ensemble, as the consensus core has it: the quorum port, the election port, and the threads that send and take whole states.
//!
//! Owns the sockets of the quorum port ([`crate::links`]), the election port ([`crate::election`]), a thread for each learner that is sent what it lacks
//! ([`sync`]), and one that takes a state from a leader ([`taker`]). All of it is called from the core's turns and never waits. It must never decide anything about the
//! protocol: it moves bytes, and says to the operator what the core notes. `tests/tests/ensemble` would catch a mistake.
#![forbid(unsafe_code)]

mod sync;
mod taker;

use crate::election::{self, ElectionPort};
use crate::hub::Hub;
use crate::image::ImageRequest;
use crate::links::{Reactor, quorum_addresses};
use engine::replica::Mismatch;
use engine::tree::Tree;
use engine::turn::sync::SentBy;
use engine::turn::{ElectionEvent, LinkTable, Note, SyncProgress, Taken};
use proto::{ServerId, Zxid};
use snapshot::control::ControlFile;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use sync::{Sources, SyncJob};
use taker::TakeJob;
use zab::election::Vote;
use zab::ensemble::Ensemble;
use zab::{Cause, LinkId, Sync};

/// Links whose other ends are remembered for the log: more than there are at a time. The oldest is forgotten first.
const MET_MAX: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub struct Peers {
    hub: Arc<Hub>,
    reactor: Reactor,
    election: ElectionPort,
    ensemble: Ensemble,
    sources: Sources,
    /// Who is at the other end, of the links on which they have said so.
    met: BTreeMap<LinkId, ServerId>,
    /// By the link of the learner that lacks something.
    syncs: BTreeMap<LinkId, SyncJob>,
    taking: Option<TakeJob>,
    /// The thread of the last one that was given up.
    former_taking: Option<JoinHandle<()>>,
    control: ControlFile,
}

/// What the network of a member is made of.
#[derive(Debug)]
pub struct PeersParts {
    /// The quorum port.
    pub reactor: Reactor,
    /// The election port.
    pub election: ElectionPort,
    /// Who is a member, and where.
    pub ensemble: Ensemble,
    /// The directory of the log's segments.
    pub log_dir: PathBuf,
    /// Where an image is asked for.
    pub images: ImageRequest,
    /// The control file.
    pub control: ControlFile,
}

impl Peers {
    /// Over the ports, which are open.
    #[must_use]
    pub fn new(hub: Arc<Hub>, parts: PeersParts) -> Peers {
        let PeersParts { reactor, election, ensemble, log_dir, images, control } = parts;
        let sources = Sources { hub: Arc::clone(&hub), log_dir, images, control: control.clone() };
        let (met, syncs, taking, former_taking) = (BTreeMap::new(), BTreeMap::new(), None, None);
        Peers { hub, reactor, election, ensemble, sources, met, syncs, taking, former_taking, control }
    }

    /// What becomes readable when there is something to read on the quorum port.
    #[must_use]
    pub fn fd(&self) -> Arc<OwnedFd> {
        self.reactor.shared_fd()
    }

    /// How long the core may sleep at the most.
    #[must_use]
    pub fn next_look(&self, links: &LinkTable) -> Option<Duration> {
        self.reactor.next_look(links, Instant::now())
    }

    /// Puts what has come into the links. True if more may lie there.
    pub fn read_links(&mut self, links: &mut LinkTable) -> bool {
        self.reactor.read(links);
        self.reactor.next_look(links, Instant::now()) == Some(Duration::ZERO)
    }

    /// Sends what is to be sent.
    pub fn write_links(&mut self, links: &mut LinkTable) {
        self.reactor.write(links);
    }

    /// Dials a server's quorum port.
    pub fn dial(&mut self, server: ServerId) {
        let addresses = self.ensemble.member(server).map(quorum_addresses).unwrap_or_default();
        tracing::debug!(server = server.0, "dialling the leader");
        self.reactor.dial(addresses);
    }

    /// Nobody is to be dialled.
    pub fn give_up_dial(&mut self) {
        self.reactor.give_up_dial();
    }

    /// What the election port has heard.
    pub fn next_election_event(&mut self) -> Option<ElectionEvent> {
        Some(match self.election.take_event()? {
            election::ElectionEvent::Voted { from, vote, .. } => ElectionEvent::Voted { from, vote },
            election::ElectionEvent::Reachable { server, is_up } => ElectionEvent::Reachable { server, is_up },
        })
    }

    /// Sends a vote.
    pub fn vote(&mut self, to: ServerId, vote: Vote) {
        self.election.send(to, vote);
    }

    /// Begins to send a learner what it lacks.
    pub fn start_sync(&mut self, link: LinkId, sync: Sync) {
        tracing::info!(
            server = self.met.get(&link).map(|server| server.0),
            link = link.0,
            ?sync,
            "a learner is brought into step"
        );
        self.syncs.insert(link, SyncJob::start(&self.sources, sync));
    }

    /// Appends the next of it.
    pub fn next_sync(&mut self, link: LinkId, out: &mut Vec<u8>) -> SyncProgress {
        self.syncs.get_mut(&link).map_or(SyncProgress::Failed, |job| job.next(out))
    }

    /// The link is gone, or all was sent.
    pub fn end_sync(&mut self, link: LinkId) {
        self.syncs.remove(&link);
    }

    /// A state comes, of this zxid, or a later one if it is Java's.
    pub fn start_taking(&mut self, zxid: Zxid, sent_by: SentBy) {
        tracing::info!(%zxid, ?sent_by, "taking a whole state from the leader");
        self.stop_taking();
        self.taking = Some(TakeJob::start(&self.hub, self.control.clone(), (zxid, sent_by), self.former_taking.take()));
    }

    /// Takes from the front of what has come as much as there is room for.
    pub fn feed(&mut self, input: &mut Vec<u8>) {
        if let Some(job) = &mut self.taking {
            job.feed(input);
        }
    }

    /// Does the work stand still until more of the state comes?
    #[must_use]
    pub fn wants_more(&self) -> bool {
        self.taking.as_ref().is_some_and(TakeJob::wants_more)
    }

    /// The state, once it is there.
    pub fn taken(&mut self) -> Option<Result<Taken, ()>> {
        let taken = self.taking.as_mut()?.taken()?;
        self.taking = None;
        Some(taken)
    }

    /// Nobody wants the state any more.
    pub fn stop_taking(&mut self) {
        if let Some(job) = self.taking.take() {
            self.former_taking = job.give_up();
        }
    }

    /// Drops a tree where that holds up nobody. Without a thread for it, it is dropped here.
    pub fn drop_tree(&mut self, former: Tree) {
        drop(std::thread::Builder::new().name("rk-drop".into()).spawn(move || drop(former)));
    }

    /// Says to the operator what the core notes.
    pub fn note(&mut self, note: &Note) {
        let met = |link: &LinkId| self.met.get(link).map(|server| server.0);
        match note {
            Note::Looks(Cause::Full) => tracing::warn!(
                "the disk of the log is full and the others can do without this server: it leaves off leading, and has no part in an election for initLimit"
            ),
            Note::Looks(cause) => tracing::info!(?cause, "looking for a leader: clients are not served meanwhile"),
            Note::Serves(None) => tracing::info!("leading: clients are served"),
            Note::Serves(Some(link)) => {
                tracing::info!(server = met(link), link = link.0, "following: clients are served");
            }
            Note::Met { link, server, is_ours } => {
                let implementation = if *is_ours { "RingKeeper" } else { "Java" };
                tracing::info!(server = server.0, link = link.0, implementation, "a server on the quorum port");
                if self.met.len() >= MET_MAX {
                    self.met.pop_first();
                }
                self.met.insert(*link, *server);
            }
            Note::Closed(link, why) => {
                tracing::info!(server = met(link), link = link.0, ?why, "closed a link of the quorum port");
            }
            Note::Lost(link, why) => {
                tracing::info!(server = met(link), link = link.0, ?why, "a link of the quorum port has ended");
            }
            Note::Malformed(link, error) => tracing::warn!(
                server = met(link), link = link.0, %error,
                "what came on a link of the quorum port is not ZooKeeper's protocol: closed"
            ),
            Note::Cuts(link, to) => tracing::info!(
                server = met(link), link = link.0, %to,
                "a learner has more than this leader: it cuts that"
            ),
            Note::FromMemory(link, after, to) => tracing::info!(
                server = met(link), link = link.0, %after, %to,
                "a learner gets what it lacks from memory"
            ),
            Note::TooManyRequests(link) => tracing::warn!(
                server = met(link),
                link = link.0,
                "a learner has forwarded more requests than may wait: its link is closed, and it comes back"
            ),
            Note::Gap { link, after, next } => tracing::warn!(
                server = met(link), link = link.0, %after, %next,
                "the leader has no txn between these: Java's give a zxid to no txn where they cannot read a request, and go on. Older ones may also have lost txns that they should \
                 send (ZOOKEEPER-4925): then `hash` is not the same on all servers. Told once for each link"
            ),
            Note::Digest(Mismatch { zxid, predicted, found, row }) => tracing::warn!(
                %zxid, predicted = format!("{predicted:#x}"), found = format!("{found:#x}"), in_a_row = row,
                "the digest that the Java leader predicts is not the tree's: a few now and then are mistakes of its prediction; many in a row, with `hash` different from the \
                 leader's, mean another tree: stop this server, move its data away, and start it again, so that it takes the whole state"
            ),
            Note::HistoryLost => tracing::error!(
                "what this server has cannot be brought into step with the leader: it takes a whole state, and does not vote by what it had"
            ),
        }
    }
}
