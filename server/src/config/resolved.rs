//! The configuration as the server uses it: one typed field for each setting, defaults filled in, rules between
//! settings checked.
//!
//! Plain data, made by [`super::load`] only. What has no function yet and stands in no field is reachable, typed,
//! through [`ResolvedConfig::settings`]. Units stand at the end of the names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::auth::AuthRules;
use engine::replica::LocalSessions;
use proto::ServerId;
use zab::ensemble::{Ensemble, Role};

use super::settings::Settings;
use super::value::MemoryMax;

/// Everything that the server wants to know.
#[derive(Debug, Clone)]
pub struct ResolvedConfig {
    /// Where and when data is written.
    pub storage: StorageConfig,
    /// Ports and limits towards clients.
    pub clients: ClientConfig,
    /// Ticks and session timeouts.
    pub sessions: SessionConfig,
    /// Rules of the data tree.
    pub tree: TreeConfig,
    /// Who may do what, and who must prove who they are.
    pub auth: Arc<AuthRules>,
    /// Four-letter words that are answered.
    pub four_letter_words: FourLetterWords,
    /// RingKeeper's own keys.
    pub ring: RingConfig,
    /// Membership and what else concerns ensembles.
    pub quorum: QuorumConfig,
    /// Metrics provider.
    pub metrics: MetricsConfig,
    /// Java's pause monitor; nothing here reads it, `conf` shows it.
    pub jvm_pause: JvmPauseConfig,
    /// Every setting by name, typed.
    pub settings: Settings,
    /// The text of the configuration file, for the admin command `initial_configuration`.
    pub initial_text: Option<String>,
}

/// Bytes of log after which an image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapLogBytes {
    /// As many as are worth an image of this size.
    ByImage,
    /// So many.
    After(NonZeroU64),
    /// However many there are.
    Off,
}

/// Where and when data is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// `dataDir`.
    pub data_dir: PathBuf,
    /// `dataLogDir`, or `dataDir`.
    pub data_log_dir: PathBuf,
    /// Whether missing directories are created.
    pub autocreate: bool,
    /// Txns after which an image is written, at least 2; `None` leaves it to the server.
    pub snap_count: Option<u64>,
    /// Bytes of log after which an image is written.
    pub snap_log_bytes: SnapLogBytes,
    /// Bytes of a log segment, which is what the log is allocated ahead by.
    pub log_segment_bytes: u64,
    /// Largest record of the log in bytes.
    pub log_record_bytes_max: usize,
    /// A log write that takes longer is warned about.
    pub fsync_warning: Duration,
    /// Removal of old images and logs; `None` is off.
    pub autopurge: Option<Autopurge>,
    /// `snapshot.trust.empty`: ZooKeeper's logs are imported without a snapshot.
    pub trust_empty: bool,
    /// `emulate353TTLNodes`: TTL nodes are imported in the form that 3.5.3 gave them.
    pub import_353_ttls: bool,
    /// Whether ZooKeeper's data are imported that cannot be proved to be what the server had.
    pub import_in_doubt: bool,
}

/// Removal of old images and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Autopurge {
    /// Images kept; at least 3.
    pub retain: u32,
    /// How often.
    pub interval: Duration,
}

/// Ports and limits towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// `clientPort` and `clientPortAddress`, or what the `server.` line says; `None` where neither is set.
    pub listen: Option<Listen>,
    /// `secureClientPort` and `secureClientPortAddress`.
    pub secure_listen: Option<Listen>,
    /// `clientPortListenBacklog`; `None` is the server's choice.
    pub backlog: Option<u32>,
    /// `clientTcpKeepAlive`.
    pub tcp_keep_alive: bool,
    /// Connections from one address; `None` is without limit.
    pub per_address_max: Option<NonZeroU32>,
    /// Connections in all; `None` is without limit.
    pub connections_max: Option<NonZeroU32>,
    /// `jute.maxbuffer`: largest request frame; at most [`ClientConfig::FRAME_BYTES_MAX`].
    pub frame_bytes_max: u32,
    /// `globalOutstandingLimit`.
    pub outstanding_max: u32,
    /// How long a connection may take to open its session.
    pub sessionless_timeout: Duration,
}

impl ClientConfig {
    /// No request is larger, whatever `jute.maxbuffer` says: its txn, of up to twice that size, must fit into a group of the log and into
    /// memory several times over.
    pub const FRAME_BYTES_MAX: u32 = 128 << 20;
}

/// Where to listen. A port of 0 asks the kernel for a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// On every address of both families. Bind the first of [`Listen::candidates`] that the machine has.
    Any {
        /// The port.
        port: u16,
    },
    /// On one address.
    At(SocketAddr),
}

impl Listen {
    /// The port.
    pub fn port(self) -> u16 {
        match self {
            Listen::Any { port } => port,
            Listen::At(addr) => addr.port(),
        }
    }

    /// Addresses to bind, the best first. For every address that is `[::]`, which with `IPV6_V6ONLY` off takes IPv4
    /// as well (what Java does), and `0.0.0.0` on machines without IPv6.
    pub fn candidates(self) -> Vec<SocketAddr> {
        match self {
            Listen::Any { port } => {
                let any: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
                any.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
            }
            Listen::At(addr) => vec![addr],
        }
    }
}

/// Ticks and session timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    /// `tickTime`.
    pub tick_ms: u32,
    /// Shortest timeout a client gets.
    pub timeout_ms_min: u32,
    /// Longest timeout a client gets; not below the shortest.
    pub timeout_ms_max: u32,
    /// `localSessionsEnabled` and `localSessionsUpgradingEnabled`.
    pub local: LocalSessions,
}

/// Rules of the data tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeConfig {
    /// Whether TTL nodes may be created.
    pub extended_types: bool,
    /// Whether a write over a hard quota is refused, and one over a soft one told of.
    pub enforce_quota: bool,
    /// `reconfigEnabled`: decides how a standalone server, which cannot be reconfigured, says so.
    pub reconfig_enabled: bool,
    /// Removal of containers and TTL nodes.
    pub containers: ContainerConfig,
}

/// Removal of containers and TTL nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerConfig {
    /// How often the tree is looked through.
    pub check_interval: Duration,
    /// Removals in a minute at most.
    pub per_minute_max: u32,
    /// Age at which a container that never had a child goes; `None` is never.
    pub never_used_max: Option<Duration>,
}

/// Four-letter words that are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FourLetterWords(pub(super) BTreeSet<String>);

impl FourLetterWords {
    /// Whether `word` may be answered.
    pub fn allows(&self, word: &str) -> bool {
        self.0.contains(word)
    }

    /// The allowed words, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// RingKeeper's own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingConfig {
    /// Shards; `None` is `auto`, see [`crate::preflight::cpu::CpuBudget::shards`].
    pub shards: Option<NonZeroU32>,
    /// Whether threads stay on cores of their own.
    pub pin: Pin,
    /// Where the consensus core runs.
    pub core: CorePlace,
    /// Unsent bytes of a connection past which it is closed.
    pub connection_output_bytes_max: usize,
    /// Unanswered requests of a connection past which its socket is not read.
    pub connection_requests_max: u32,
    /// Largest reply.
    pub reply_bytes_max: u32,
    /// Bytes a second at which an image is written; `None`: as fast as it goes.
    pub image_bytes_per_second_max: Option<NonZeroU64>,
    /// Memory above which new data is refused.
    pub memory_max: MemoryMax,
    /// Time without progress after which the watchdog ends the process; `None` is off.
    pub watchdog: Option<Duration>,
}

/// Where the consensus core runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorePlace {
    /// In the first shard's thread where there is one processor, else in a thread of its own.
    Auto,
    /// In the first shard's thread.
    Shard,
    /// In a thread of its own.
    Thread,
}

/// Whether threads stay on cores of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// Where there are enough cores and no quota.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Membership and what else concerns ensembles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumConfig {
    /// `<dataDir>/myid`.
    pub my_id: Option<ServerId>,
    /// The `server.`, `group.` and `weight.` lines, in the version of the dynamic configuration. Without members where there are none.
    pub ensemble: Ensemble,
    /// `dynamicConfigFile`.
    pub dynamic_config_file: Option<PathBuf>,
    /// `initLimit`.
    pub init_limit_ticks: u32,
    /// `syncLimit`.
    pub sync_limit_ticks: u32,
    /// `connectToLearnerMasterLimit`, or `initLimit`.
    pub connect_limit_ticks: u32,
    /// `quorumListenOnAllIPs`.
    pub listen_on_all_addresses: bool,
    /// `peerType`, corrected by the `server.` line.
    pub role: Role,
    /// `syncEnabled`.
    pub sync_enabled: bool,
    /// `standaloneEnabled`.
    pub standalone_enabled: bool,
    /// `observerMasterPort`; `None` is off.
    pub observer_master_port: Option<u16>,
    /// `oraclePath`.
    pub oracle_path: Option<PathBuf>,
    /// `multiAddress.*`.
    pub multi_address: MultiAddressConfig,
    /// `sslQuorum`, `portUnification`, `sslQuorumReloadCertFiles`.
    pub tls: QuorumTlsConfig,
    /// `quorum.auth.*`.
    pub sasl: QuorumSaslConfig,
}

/// `multiAddress.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultiAddressConfig {
    /// Whether a `server.` line may name several addresses.
    pub enabled: bool,
    /// Whether a reachable one is looked for.
    pub reachability_check: bool,
    /// How long that may take.
    pub reachability_timeout: Duration,
}

/// Encryption between servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumTlsConfig {
    /// `sslQuorum`.
    pub enabled: bool,
    /// `portUnification`.
    pub port_unification: bool,
    /// `sslQuorumReloadCertFiles`.
    pub reload_certificates: bool,
}

/// `quorum.auth.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumSaslConfig {
    /// `enableSasl`.
    pub enabled: bool,
    /// `learnerRequireSasl`.
    pub learner_requires: bool,
    /// `serverRequireSasl`.
    pub server_requires: bool,
    /// `learner.saslLoginContext`.
    pub learner_context: String,
    /// `server.saslLoginContext`.
    pub server_context: String,
    /// `kerberos.servicePrincipal`.
    pub service_principal: String,
    /// `quorum.cnxn.threads.size`.
    pub connection_threads: u32,
}

/// Metrics provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// `metricsProvider.className`.
    pub class_name: String,
    /// The other `metricsProvider.` keys, without the prefix.
    pub settings: BTreeMap<String, String>,
}

/// `jvm.pause.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JvmPauseConfig {
    /// Whether the monitor is asked for.
    pub enabled: bool,
    /// Pause from which it warns.
    pub warn_ms: u64,
    /// Pause from which it reports.
    pub info_ms: u64,
    /// How often it looks.
    pub sleep_ms: u64,
}

impl ResolvedConfig {
    /// The ensemble that this configuration describes; `None` where the server stands alone. As in ZooKeeper, one
    /// voting member is a standalone server unless `standaloneEnabled=false`.
    pub fn ensemble(&self) -> Option<&QuorumConfig> {
        let voters = self.quorum.ensemble.voters().count();
        (!self.quorum.standalone_enabled || voters > 1).then_some(&self.quorum)
    }

    /// What new sessions are. A server that stands alone has no local ones, as in ZooKeeper: nobody else would know the others either.
    pub fn local_sessions(&self) -> LocalSessions {
        self.ensemble().map_or(LocalSessions::No, |_| self.sessions.local)
    }

    /// The id of this server among others: `myid`, or 0 as in ZooKeeper without one. A lone server's sessions do not begin with it.
    pub fn server_id(&self) -> ServerId {
        self.quorum.my_id.unwrap_or(ServerId(0))
    }
}
