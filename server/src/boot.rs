//! The order in which a server comes up and goes down.
//!
//! Up: configuration, preflight with the locks on the directories, recovery, threads, and last the ports. Down: no new connections, the core
//! finishes what it has, the log is sealed. Any step that fails says why, and nothing is left behind.
#![forbid(unsafe_code)]

use crate::answers::{Answers, FOUR_LETTER_CALLS_MAX};
use crate::bind::BindAttempts;
use crate::cold::ColdReads;
use crate::config::{Listen, ResolvedConfig, RingConfig};
use crate::consensus::{self, Core, LogPort};
use crate::control::Control;
use crate::election::{self, ElectionPort, ElectionPortOptions};
use crate::hub::{CoreBell, Failure, Hub};
use crate::image::{ImageRequest, ImageRule, ImageStarter, ImageThread};
use crate::limits::Limits;
use crate::links::{LinkOptions, ListenError, Reactor, own_addresses};
use crate::log::LogThread;
use crate::log_writer::LogWriter;
use crate::long::LongReads;
use crate::mailbox::Desk;
use crate::member::{MemberSettings, NotYet};
use crate::memory;
use crate::peers::{Peers, PeersParts};
use crate::preflight::{self, cpu::CpuBudget, memory::MemoryBudget};
use crate::recovery::{self, LOG_DIR, Recovered, RecoveryError};
use crate::rt::{self, Backend, Parker, ShardConfig, ShardHandle, spawn_pinned, spawn_shard};
use crate::scrub;
use crate::shard::{Aides, HostedCore, ShardHandler};
use crate::watchdog;
use engine::prep::PrepOptions;
use engine::replica::{Replica, ReplicaOptions};
use engine::shard::{ShardOptions, ShardState};
use engine::stream::ShardId;
use engine::turn::wire::Wire;
use engine::turn::{self, LinkLimits, LinkTable};
use proto::election::InitialVersion;
use snapshot::control::ControlFile;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use wal::UringDisk;
use zab::{Peer, Start};

/// Why a server did not come up.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The configuration asks for what is not there yet.
    #[error(transparent)]
    NotYet(#[from] NotYet),
    /// The quorum port.
    #[error(transparent)]
    QuorumPort(#[from] ListenError),
    /// The election port.
    #[error(transparent)]
    ElectionPort(#[from] election::StartError),
    /// The kernel gives no descriptor.
    #[error("no eventfd: {0}; raise ulimit -n")]
    Eventfd(std::io::Error),
    /// No port.
    #[error(
        "the configuration names no clientPort: set it, or end this server's own `server.` line (the one that <dataDir>/myid names) in ;2181"
    )]
    NoClientPort,
    /// The machine lacks something.
    #[error(transparent)]
    Preflight(#[from] preflight::PreflightErrors),
    /// The data.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The kernel gives no random bytes.
    #[error("the kernel gives no random bytes, which SASL needs: {0}")]
    Random(#[from] getrandom::Error),
    /// Ports and threads.
    #[error(transparent)]
    Runtime(#[from] rt::Error),
}

/// A server that serves.
#[derive(Debug)]
pub struct Server {
    hub: Arc<Hub>,
    address: SocketAddr,
    shards: Vec<ShardHandle>,
    core: CoreHandle,
    log: JoinHandle<()>,
    images: JoinHandle<()>,
    control_socket: PathBuf,
    /// Held until the end: nobody else may use the directories.
    _ready: preflight::Ready,
}

/// Where the core runs.
#[derive(Debug)]
enum CoreHandle {
    /// In a thread of its own.
    Thread(JoinHandle<()>),
    /// In a shard, which gives it back when it stops.
    Shard(Receiver<Core<UringDisk>>),
}

impl BootError {
    /// Did it end because it was asked to, and for nothing else?
    #[must_use]
    pub const fn is_asked_for(&self) -> bool {
        matches!(
            self,
            BootError::QuorumPort(ListenError::AskedToEnd) | BootError::ElectionPort(election::StartError::AskedToEnd)
        )
    }
}

/// What a start refuses for its configuration alone, before it looks at the machine or the data.
///
/// # Errors
/// [`BootError::NotYet`] and [`BootError::NoClientPort`].
pub fn check(config: &ResolvedConfig) -> Result<(Option<MemberSettings>, Listen), BootError> {
    let member = MemberSettings::new(config)?;
    Ok((member, config.clients.listen.ok_or(BootError::NoClientPort)?))
}

impl Server {
    /// Brings a server up. Where a port of a member must be waited for, `is_asked_to_end` ends that.
    ///
    /// # Errors
    /// [`BootError`]: what stood in the way.
    pub fn start(config: ResolvedConfig, is_asked_to_end: &Arc<AtomicBool>) -> Result<Server, BootError> {
        let (member, listen) = check(&config)?;
        let member = member.map(|member| {
            let max = member.election.bind_attempts_max;
            (member, BindAttempts { max, is_asked_to_end: Arc::clone(is_asked_to_end) })
        });
        let cpus = CpuBudget::probe();
        let shard_count = cpus.shards(config.ring.shards);
        let connections_max = config.clients.connections_max.map(NonZeroU32::get);
        let ready = preflight::run(&config, preflight::Needs { shards: shard_count, connections_max })?;
        for warning in &ready.warnings {
            tracing::warn!("{warning}");
        }
        let recovered = recovery::recover(&config)?;
        let places = Places::new(&cpus, &config.ring, shard_count);
        Server::start_threads(Arc::new(config), member, listen, shard_count, &places, recovered, ready)
    }

    fn start_threads(
        config: Arc<ResolvedConfig>,
        member: Option<(MemberSettings, BindAttempts)>,
        listen: Listen,
        shard_count: u32,
        places: &Places,
        recovered: Recovered,
        ready: preflight::Ready,
    ) -> Result<Server, BootError> {
        let Recovered { mut tree, log, control, start, replayed, took } = recovered;
        if let Some((MemberSettings { ensemble, .. }, _)) = &member {
            tree.show_ensemble(&ensemble.to_text(), ensemble.version(), wall_ms());
        }
        let log_parker = Parker::new(Duration::ZERO);
        let core_parker = match member {
            Some(_) => Parker::with_eventfd(Duration::ZERO).map_err(BootError::Eventfd)?,
            None => Parker::new(Duration::ZERO),
        };
        let position = tree.last_zxid();
        let count = usize::try_from(shard_count).unwrap_or(1);
        let hosted = places.core_in_shard;
        let core_bell = if hosted { CoreBell::Shard(HOST) } else { CoreBell::Thread(core_parker.bell()) };
        let hub = Arc::new(Hub::new(tree, count, core_bell, log_parker.bell()));
        hub.measured.recovered(&took, replayed.txns);
        let (starter, image_work, built) = ImageStarter::new(ImageRule::new(&config.storage), replayed);
        let image_request = starter.request(Arc::clone(&hub));

        let control = ControlFile::new(&config.storage.data_dir, control);
        let (options, now) = (replica_options(&config), consensus::now(&hub));
        let (turn, peers) = match member {
            None => (turn::Core::alone(Replica::new(options, &hub.read_tree(), now)), None),
            Some(member) => {
                let beside = (image_request.clone(), control.clone());
                let (turn, peers) = member_parts(&hub, &config, member, start, options, beside)?;
                (turn, Some(Box::new(peers)))
            }
        };
        let writer = LogWriter::new(Arc::clone(&hub), log, control.clone(), config.storage.fsync_warning);
        let writer = Box::new(writer);
        let desk = hosted.then(|| Arc::new(Desk::default()));
        let log = LogThread::new(Arc::clone(&hub), writer, log_parker, desk.clone());
        let log = spawn_pinned("rk-log", places.log(), move || log.run())?;
        let port = desk.map_or(LogPort::Thread, |desk| LogPort::Hosted { desk, writer: None, bell: None });
        let (cold_reads, readers) = ColdReads::new(&hub);
        for reader in readers {
            spawn_pinned("rk-cold", None, move || reader.run())?;
        }
        let host = hosted.then_some(HOST);
        let core = Core::new(Arc::clone(&hub), turn, port, starter, cold_reads.clone(), host, peers);
        let (core, guest) = if hosted {
            let (back, core_back) = mpsc::sync_channel(1);
            (CoreHandle::Shard(core_back), Some(HostedCore { core, back }))
        } else {
            (CoreHandle::Thread(spawn_pinned("rk-core", places.core(), move || core.run(core_parker))?), None)
        };
        let retain = config.storage.autopurge.and_then(|purge| usize::try_from(purge.retain).ok());
        let data_dir = config.storage.data_dir.clone();
        let images = ImageThread::new(Arc::clone(&hub), control, retain, image_work, built);
        let images = images.keeping_below(config.ring.image_bytes_per_second_max);
        let images = spawn_pinned("rk-image", None, move || images.run())?;

        let (calls, words) = mpsc::sync_channel(FOUR_LETTER_CALLS_MAX);
        let limits = Arc::new(Limits::new(&config, count));
        let (long_reads, readers) = LongReads::new(&hub);
        for reader in readers {
            spawn_pinned("rk-long", None, move || reader.run())?;
        }
        let starts = ShardStarts {
            config: &config,
            hub: &hub,
            limits: &limits,
            aides: Aides { words: calls, cold_reads, long_reads },
            position,
            backend: Backend::Ring,
            guest: Arc::new(Mutex::new(guest)),
        };
        let (shards, address) = starts.start(listen, count, places)?;

        let client_port = address.port();
        let answers = Answers::new(Arc::clone(&hub), Arc::clone(&config), limits, client_port);
        spawn_pinned("rk-words", None, move || answers.run(&words))?;
        let control = Control { hub: Arc::clone(&hub), client_port, images: image_request };
        let control_socket = data_dir.join("control.sock");
        match Control::bind(&control_socket) {
            Ok(listener) => drop(spawn_pinned("rk-control", None, move || control.serve(&listener))?),
            // Clients are served all the same; a path of more than 107 bytes is the usual cause.
            Err(error) => {
                tracing::warn!(path = %control_socket.display(), %error, "there is no control socket: rkctl cannot reach this server")
            }
        }
        scrub::start(&hub)?;
        if let Some(limit) = MemoryBudget::probe().limit(config.ring.memory_max) {
            memory::start(&hub, limit)?;
        }
        if let Some(limit) = config.ring.watchdog {
            watchdog::start(&hub, limit)?;
        }
        Ok(Server { hub, address, shards, core, log, images, control_socket, _ready: ready })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why the server cannot go on, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.hub.failure()
    }

    /// Takes the server down in order. What was acknowledged is durable; what was not may be lost. Returns why the end was not in order, if
    /// so: the log failed at the last moment, say.
    #[must_use]
    pub fn stop(self) -> Option<Failure> {
        for shard in &self.shards {
            shard.ask_stop();
        }
        for shard in self.shards {
            if let Err(error) = shard.join() {
                tracing::error!(%error, "a shard did not end in order");
            }
        }
        self.hub.stop();
        match self.core {
            CoreHandle::Thread(thread) => join("core", thread),
            // It ends here, in the thread that waits for the end. Nobody rings it: it looks at the log from time to time.
            CoreHandle::Shard(back) => back.into_iter().for_each(|core| core.run(Parker::new(Duration::ZERO))),
        }
        self.hub.close_log();
        join("log", self.log);
        join("image", self.images);
        // It is of no use without the server; a leftover is replaced at the next start.
        let _leftover = std::fs::remove_file(&self.control_socket);
        self.hub.set_ended();
        self.hub.failure()
    }
}

fn join(name: &str, thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!(name, "a thread did not end in order");
    }
}

/// What all shards are started with.
struct ShardStarts<'a> {
    config: &'a Arc<ResolvedConfig>,
    hub: &'a Arc<Hub>,
    limits: &'a Arc<Limits>,
    aides: Aides,
    position: proto::Zxid,
    backend: Backend,
    /// The core, for the shard that hosts it. It stays here if that one does not come up and is tried again in another way.
    guest: Arc<Mutex<Option<HostedCore>>>,
}

impl ShardStarts<'_> {
    /// Starts all shards on the first address that the machine has. The first shard tells the port if it was to be a free one.
    fn start(
        mut self,
        listen: Listen,
        count: usize,
        places: &Places,
    ) -> Result<(Vec<ShardHandle>, SocketAddr), BootError> {
        let first = match self.start_first(listen, places) {
            // The raw ring needs a newer kernel than glommio does (docs/decisions/001).
            Err(BootError::Runtime(rt::Error::Backend { why, .. })) if self.backend == Backend::Ring => {
                tracing::warn!(
                    why,
                    "the shards cannot use a ring of their own: they run on glommio, at a higher cost per request"
                );
                self.backend = Backend::Glommio;
                self.start_first(listen, places)?
            }
            first => first?,
        };
        let address = first.addrs().first().copied().ok_or(BootError::NoClientPort)?;
        let mut shards = vec![first];
        for number in 1..count {
            shards.push(self.start_one(number, address, places)?);
        }
        Ok((shards, address))
    }

    /// The first shard, on the first address that the machine has.
    fn start_first(&self, listen: Listen, places: &Places) -> Result<ShardHandle, BootError> {
        let mut outcome = Err(BootError::NoClientPort);
        for candidate in listen.candidates() {
            outcome = rt::ensure_unused(candidate)
                .map_err(BootError::from)
                .and_then(|()| self.start_one(0, candidate, places));
            // A port that is taken is an error: half of the addresses would be a surprise.
            if !matches!(&outcome, Err(BootError::Runtime(error)) if error.is_missing_address_family()) {
                break;
            }
        }
        outcome
    }

    fn start_one(&self, number: usize, address: SocketAddr, places: &Places) -> Result<ShardHandle, BootError> {
        let backlog = self.config.clients.backlog.and_then(|backlog| i32::try_from(backlog).ok());
        let mut shard = ShardConfig::new(format!("rk-shard-{number}"));
        shard.listen = vec![address];
        shard.backlog = backlog.unwrap_or(shard.backlog);
        shard.keep_alive = self.config.clients.tcp_keep_alive;
        shard.cpu = places.shard(number);
        let mut options = shard_options(self.config, self.limits, number);
        getrandom::fill(&mut options.nonce_secret)?;
        let (hub, limits, aides) = (Arc::clone(self.hub), Arc::clone(self.limits), self.aides.clone());
        let tick = Duration::from_millis(u64::from(self.config.sessions.tick_ms) / TICK_PARTS).max(TICK_MIN);
        let stall = Duration::from_millis(self.config.settings.int("request_throttle_stall_time"));
        let position = self.position;
        let guest = (number == HOST).then(|| Arc::clone(&self.guest));
        let handle = spawn_shard(shard, self.backend, move |bell| {
            let guest = guest.and_then(|place| place.lock().unwrap_or_else(PoisonError::into_inner).take());
            if let Some(link) = hub.shards.get(number) {
                link.set_bell(bell.clone());
            }
            let shard = ShardHandler::new(ShardState::new(options, position), hub, number, limits, aides, tick, stall);
            match guest {
                Some(guest) => shard.hosting(guest, bell),
                None => shard,
            }
        })?;
        Ok(handle)
    }
}

/// The core of a member of an ensemble, and its network. Nothing is said to another server before the core's first turn.
fn member_parts(
    hub: &Arc<Hub>,
    config: &ResolvedConfig,
    (member, bind): (MemberSettings, BindAttempts),
    start: Start,
    options: ReplicaOptions,
    (images, control): (ImageRequest, ControlFile),
) -> Result<(turn::Core, Peers), BootError> {
    let MemberSettings { me, ensemble, peer, .. } = member;
    let own = ensemble.member(me).ok_or(election::StartError::NotAMember(me))?;
    let reactor = Reactor::new(&LinkOptions {
        listen: own_addresses(own, member.listens_everywhere),
        bind: bind.clone(),
        dial_time_max: member.election.connect_timeout,
        close_time_max: LINK_CLOSE_MAX,
    })?;
    let port = ElectionPortOptions {
        listen_on_all_ips: member.listens_everywhere,
        connect_timeout: member.election.connect_timeout,
        bind,
        tcp_keep_alive: member.election.keep_alive,
        initial_version: if member.has_many_addresses { InitialVersion::V2 } else { InitialVersion::V1 },
        ..ElectionPortOptions::new(me)
    };
    let bell = Arc::clone(hub);
    let election = ElectionPort::start(port, &ensemble, move || bell.ring_core())?;
    let text: Arc<str> = ensemble.to_text().into();
    let wire = Wire::new(me, ensemble.version(), text);
    let peer = Peer::new(peer, ensemble.clone(), start);
    let replica = Replica::in_ensemble(options, peer, &hub.read_tree(), consensus::now(hub));
    let links = LinkTable::new(LinkLimits::default());
    let parts =
        PeersParts { reactor, election, ensemble, log_dir: config.storage.data_log_dir.join(LOG_DIR), images, control };
    Ok((turn::Core::member(replica, links, wire), Peers::new(Arc::clone(hub), parts)))
}

/// The wall clock, ms since 1970.
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How long a link that was closed may take to send what is unsent.
const LINK_CLOSE_MAX: Duration = Duration::from_secs(5);

/// How often in a tick a shard tells the core who was heard of. A session's timeout is at least two ticks.
const TICK_PARTS: u64 = 4;
const TICK_MIN: Duration = Duration::from_millis(5);

fn shard_options(config: &ResolvedConfig, limits: &Limits, number: usize) -> ShardOptions {
    ShardOptions {
        shard: ShardId(u16::try_from(number).expect("there are fewer shards than processors fit a u16")),
        frame_bytes_max: usize::try_from(config.clients.frame_bytes_max).unwrap_or(usize::MAX),
        in_flight_max: usize::try_from(config.ring.connection_requests_max).unwrap_or(usize::MAX),
        output_bytes_max: config.ring.connection_output_bytes_max,
        reply_bytes_max: usize::try_from(config.ring.reply_bytes_max).unwrap_or(usize::MAX),
        handshake_us_max: u64::try_from(config.clients.sessionless_timeout.as_micros()).unwrap_or(u64::MAX),
        auth: Arc::clone(&config.auth),
        throttle: Arc::clone(&limits.throttle),
        is_serving: config.ensemble().is_none(),
        ..ShardOptions::default()
    }
}

/// The first byte of the session ids of a server that stands alone, whatever its `myid`, as in ZooKeeper.
const STANDALONE_ID: proto::ServerId = proto::ServerId(1);

fn replica_options(config: &ResolvedConfig) -> ReplicaOptions {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    ReplicaOptions {
        server: config.ensemble().map_or(STANDALONE_ID, |_| config.server_id()),
        tick_ms: i64::from(config.sessions.tick_ms),
        session_timeout_ms_min: i32::try_from(config.sessions.timeout_ms_min).unwrap_or(i32::MAX),
        session_timeout_ms_max: i32::try_from(config.sessions.timeout_ms_max).unwrap_or(i32::MAX),
        local_sessions: config.local_sessions(),
        prep: PrepOptions {
            extended_types: config.tree.extended_types,
            enforce_quota: config.tree.enforce_quota,
            reconfig_enabled: config.tree.reconfig_enabled,
            auth: Arc::clone(&config.auth),
        },
        container_check_ms: ms(config.tree.containers.check_interval).max(1),
        containers_per_minute_max: i64::from(config.tree.containers.per_minute_max),
        container_never_used_ms_max: config.tree.containers.never_used_max.map_or(0, ms),
    }
}

/// The shard that hosts the core, where one does.
const HOST: usize = 0;

/// Which processor each thread stays on, and whether the core has a thread. Shards have a processor each; core and log take the last two.
#[derive(Debug)]
struct Places {
    cpus: Vec<usize>,
    core_in_shard: bool,
}

impl Places {
    fn new(budget: &CpuBudget, config: &RingConfig, shard_count: u32) -> Places {
        let cpus = if budget.pins(config.pin, shard_count) { budget.cpus.clone() } else { Vec::new() };
        Places { cpus, core_in_shard: budget.shard_hosts_core(config.core) }
    }

    fn shard(&self, number: usize) -> Option<usize> {
        self.cpus.get(number % self.cpus.len().max(1)).copied()
    }

    fn core(&self) -> Option<usize> {
        self.cpus.iter().rev().nth(1).or(self.cpus.last()).copied()
    }

    fn log(&self) -> Option<usize> {
        self.cpus.last().copied()
    }
}
