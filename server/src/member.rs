//! A member of an ensemble, as its configuration describes it: what of [`ResolvedConfig`] the peer, its ports and its links are started with.
//!
//! Owns the meaning of ZooKeeper's keys for it (`QuorumPeerConfig`, `QuorumPeerMain.runFromConfig` of 3.9.5), as one pure function, [`MemberSettings::new`], and what an ensemble cannot do yet: that
//! ends the start with every key that asks for it, because who sets `sslQuorum` must not find out later that everything went in clear. It must never look up a
//! name: they are looked up whenever a connection is made. The tests below would catch a mistake.
#![forbid(unsafe_code)]

use crate::config::{Origin, ResolvedConfig};
use proto::ServerId;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;
use zab::election::ElectionOptions;
use zab::ensemble::{Ensemble, Role};
use zab::{Ms, PeerOptions};

/// What a member is started with.
#[derive(Debug, Clone)]
pub struct MemberSettings {
    /// This server: `<dataDir>/myid`.
    pub me: ServerId,
    /// Does it vote? What its `server.` line says, whatever `peerType` says.
    pub role: Role,
    /// All members, their addresses (several each, names not looked up), roles, weights and groups, in the version of the dynamic configuration. Its
    /// text stands in `/zookeeper/config`.
    pub ensemble: Ensemble,
    /// Of the peer and its election.
    pub peer: PeerOptions,
    /// Listen for other servers on all addresses of the machine, at the ports of the own line (`quorumListenOnAllIPs`).
    pub listens_everywhere: bool,
    /// `multiAddress.enabled`: the own addresses are told in the newer form of an election connection's greeting.
    pub has_many_addresses: bool,
    /// Of the election port.
    pub election: ElectionPort,
}

/// Settings of the election port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElectionPort {
    /// How long connecting to a server may take (`cnxTimeout`).
    pub connect_timeout: Duration,
    /// How often it is tried to bind the port, once a second; `None` is without limit (`electionPortBindRetry`).
    pub bind_attempts_max: Option<NonZeroU32>,
    /// Let the kernel probe connections on which nothing happens (`tcpKeepAlive`).
    pub keep_alive: bool,
}

/// A configuration asks a member for what is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotYet(Vec<Asked>);

/// One key that asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    origin: Origin,
    key: &'static str,
    what: &'static str,
}

impl MemberSettings {
    /// What the configuration of an ensemble comes to; `None` where it is that of a server that stands alone.
    ///
    /// # Errors
    /// [`NotYet`]: every key that asks for what is not there yet.
    pub fn new(config: &ResolvedConfig) -> Result<Option<MemberSettings>, NotYet> {
        let Some(quorum) = config.ensemble() else { return Ok(None) };
        refuse_what_is_not_there(config)?;
        let settings = &config.settings;
        let millis = |key: &str| Duration::from_millis(settings.int(key));
        Ok(Some(MemberSettings {
            me: config.server_id(),
            role: quorum.role,
            ensemble: quorum.ensemble.clone(),
            peer: peer_options(config),
            listens_everywhere: quorum.listen_on_all_addresses,
            has_many_addresses: quorum.multi_address.enabled,
            election: ElectionPort {
                connect_timeout: millis("cnxTimeout"),
                bind_attempts_max: NonZeroU32::new(settings.int("electionPortBindRetry")),
                keep_alive: settings.bool("tcpKeepAlive"),
            },
        }))
    }
}

fn peer_options(config: &ResolvedConfig) -> PeerOptions {
    let (settings, quorum) = (&config.settings, &config.quorum);
    let tick_ms = Ms::from(config.sessions.tick_ms);
    let asked: Ms = settings.int("connectToLearnerMasterLimit");
    // Java gives up after five attempts, long before its limit, where nobody listens: then it is better to look again. Who names a limit gets it.
    let dial_ms_max = match asked {
        0 => (Ms::from(quorum.init_limit_ticks) * tick_ms).min(DIAL_MS_MAX),
        ticks => ticks * tick_ms,
    };
    let shortest: Ms = settings.int("fastleader.minNotificationInterval");
    let election = ElectionOptions {
        notification_ms_min: shortest,
        // As in Java, where the longest ends the growth and the shortest is where it begins.
        notification_ms_max: settings.int::<Ms>("fastleader.maxNotificationInterval").max(shortest),
        ..ElectionOptions::default()
    };
    let default = PeerOptions::new(config.server_id());
    PeerOptions {
        tick_ms,
        init_limit: i64::from(quorum.init_limit_ticks),
        sync_limit: i64::from(quorum.sync_limit_ticks),
        dial_ms_max: dial_ms_max.max(1),
        always_snap: settings.bool("forceSnapshotSync"),
        initial_counter: initial_counter(),
        // A learner that was quicker than this server's own election is not sent away.
        held_ms_max: default.held_ms_max.max(2 * election.finalize_wait_ms),
        election,
        ..default
    }
}

/// Where tests let the epochs of this server's offices begin (feature `fault-injection`, which no release has), so that they end soon: behind the counter that
/// `RINGKEEPER_INITIAL_COUNTER` says. `tests/tests/ensemble/mixed/rollover.rs` uses it.
#[cfg(feature = "fault-injection")]
fn initial_counter() -> u32 {
    std::env::var("RINGKEEPER_INITIAL_COUNTER").map_or(0, |asked| asked.parse().expect("a counter"))
}

#[cfg(not(feature = "fault-injection"))]
const fn initial_counter() -> u32 {
    0
}

fn refuse_what_is_not_there(config: &ResolvedConfig) -> Result<(), NotYet> {
    let settings = &config.settings;
    let asked: Vec<Asked> = REFUSED
        .into_iter()
        .filter(|(_, is_asked, _)| is_asked(config))
        .map(|(key, _, what)| Asked { origin: settings.origin(key).cloned().unwrap_or(Origin::BuiltIn), key, what })
        .collect();
    if asked.is_empty() { Ok(()) } else { Err(NotYet(asked)) }
}

impl fmt::Display for NotYet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Asked { origin, key, what }) in self.0.iter().enumerate() {
            let line = if place == 0 { "" } else { "\n" };
            write!(f, "{line}{origin}: {key}: comes later for ensembles; {what}: remove it")?;
        }
        Ok(())
    }
}

impl std::error::Error for NotYet {}

/// A key that may ask a member for what is not there yet, whether it does, and what would be otherwise.
pub(crate) type Refused = (&'static str, fn(&ResolvedConfig) -> bool, &'static str);

/// All of them: [`crate::config`]'s table of keys has the same.
pub(crate) const REFUSED: [Refused; 7] = [
    ("sslQuorum", |config| config.quorum.tls.enabled, "the traffic between servers would not be encrypted"),
    ("portUnification", |config| config.quorum.tls.port_unification, "servers that encrypt could not connect"),
    ("quorum.auth.enableSasl", |config| config.quorum.sasl.enabled, "servers would not be asked who they are"),
    ("observerMasterPort", |config| config.quorum.observer_master_port.is_some(), "observers follow the leader alone"),
    (
        "oraclePath",
        |config| config.quorum.oracle_path.is_some(),
        "nobody would be asked which of two servers may go on alone",
    ),
    (
        "readonlymode.enabled",
        |config| config.settings.bool("readonlymode.enabled"),
        "a server without a quorum would serve nobody, read-only clients neither",
    ),
    ("leaderServes", |config| !config.settings.bool("leaderServes"), "the leader would serve clients as the others do"),
];

/// A leader that does not answer for so long is not there. It listens as soon as it has been elected.
const DIAL_MS_MAX: Ms = 5_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};
    use std::fs;
    use std::path::Path;

    const THREE: &str = "tickTime=2000\ninitLimit=10\nsyncLimit=5\nclientPort=2181\nserver.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n";

    /// The configuration of these lines, of a server with this `myid`.
    fn config(text: &str, my_id: Option<u32>) -> ResolvedConfig {
        let dir = tempfile::tempdir().unwrap();
        if let Some(id) = my_id {
            fs::write(dir.path().join("myid"), id.to_string()).unwrap();
        }
        let file = dir.path().join("zoo.cfg");
        fs::write(&file, format!("dataDir={}\n{text}", dir.path().display())).unwrap();
        load_file(&file)
    }

    fn load_file(file: &Path) -> ResolvedConfig {
        load(&Sources { file: Some(file.to_owned()), ..Sources::default() }).unwrap_or_else(|e| panic!("{e}")).config
    }

    fn member(text: &str) -> MemberSettings {
        MemberSettings::new(&config(text, Some(2))).unwrap().expect("an ensemble")
    }

    #[test]
    fn a_server_that_stands_alone_is_no_member() {
        for alone in ["clientPort=2181", "clientPort=2181\nserver.1=a:2888:3888"] {
            assert!(MemberSettings::new(&config(alone, Some(1))).unwrap().is_none(), "{alone}");
        }
        let one = "clientPort=2181\nstandaloneEnabled=false\ninitLimit=5\nsyncLimit=2\nserver.2=a:2888:3888";
        let member = member(one);
        assert_eq!((member.me, member.ensemble.voters().count()), (ServerId(2), 1));
        assert!(member.ensemble.is_quorum([ServerId(2)].into_iter()));
    }

    #[test]
    fn what_is_not_set_is_zookeepers() {
        let member = member(THREE);
        assert_eq!((member.me, member.role), (ServerId(2), Role::Participant));
        let PeerOptions { me, tick_ms, init_limit, sync_limit, dial_ms_max, held_ms_max, election, .. } = member.peer;
        assert_eq!((me, tick_ms, init_limit, sync_limit), (ServerId(2), 2_000, 10, 5));
        assert_eq!((dial_ms_max, held_ms_max), (5_000, 2_000));
        assert_eq!((election.notification_ms_min, election.notification_ms_max), (200, 60_000));
        assert!(!member.listens_everywhere && !member.has_many_addresses);
        let election = ElectionPort {
            connect_timeout: Duration::from_secs(5),
            bind_attempts_max: NonZeroU32::new(3),
            keep_alive: false,
        };
        assert_eq!(member.election, election);
    }

    #[test]
    fn every_key_takes_effect() {
        let member = member(&format!(
            "{THREE}server.4=d:2888:3888:observer\nconnectToLearnerMasterLimit=7\nquorumListenOnAllIPs=true\ncnxTimeout=1234\nelectionPortBindRetry=0\n\
             tcpKeepAlive=true\nforceSnapshotSync=true\nzookeeper.fastleader.minNotificationInterval=300\nfastleader.maxNotificationInterval=100\n"
        ));
        assert_eq!(member.peer.dial_ms_max, 14_000);
        assert!(member.peer.always_snap);
        let ElectionOptions { notification_ms_min, notification_ms_max, .. } = member.peer.election;
        assert_eq!((notification_ms_min, notification_ms_max), (300, 300), "the longest is never below the shortest");
        assert!(member.listens_everywhere);
        assert_eq!(member.election.connect_timeout, Duration::from_millis(1_234));
        assert_eq!((member.election.bind_attempts_max, member.election.keep_alive), (None, true));
        assert_eq!(member.ensemble.voters().count(), 3);
        assert_eq!(member.ensemble.members().len(), 4);
    }

    #[test]
    fn the_server_line_decides_the_role_and_lines_may_have_several_addresses_of_both_families() {
        let text = "peerType=observer\nmultiAddress.enabled=true\ntickTime=1000\ninitLimit=10\nsyncLimit=5\nserver.1=a:2888:3888\n\
                    server.2=[::1]:2888:3888|zoo.example:2889:3889;[::]:2181\nserver.3=c:2888:3888:observer;2181\n";
        let member = member(text);
        assert_eq!(member.role, Role::Participant);
        assert!(member.has_many_addresses);
        let own = member.ensemble.member(ServerId(2)).unwrap();
        let hosts: Vec<_> =
            own.addresses.iter().map(|at| (at.host.as_str(), at.quorum_port, at.election_port)).collect();
        assert_eq!(hosts, [("0:0:0:0:0:0:0:1", 2_888, 3_888), ("zoo.example", 2_889, 3_889)]);
        let third = MemberSettings::new(&config(text, Some(3))).unwrap().unwrap();
        assert_eq!(third.role, Role::Observer);
    }

    #[test]
    fn the_dynamic_file_says_who_is_a_member_and_its_name_which_version_that_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("myid"), "1").unwrap();
        let members = dir.path().join("zoo.cfg.dynamic.10000000a");
        fs::write(&members, "server.1=a:2888:3888:participant;2181\nserver.2=b:2888:3888:participant;2181\nserver.3=c:2888:3888:observer;2181\n")
            .unwrap();
        let file = dir.path().join("zoo.cfg");
        let text = format!(
            "dataDir={}\ninitLimit=5\nsyncLimit=2\ndynamicConfigFile={}\n",
            dir.path().display(),
            members.display()
        );
        fs::write(&file, text).unwrap();
        let member = MemberSettings::new(&load_file(&file)).unwrap().unwrap();
        let text = member.ensemble.to_text();
        assert!(text.ends_with("server.3=c:2888:3888:observer;0.0.0.0:2181\nversion=10000000a"), "{text}");
    }

    #[test]
    fn what_is_not_there_yet_is_refused_key_by_key_with_its_place() {
        let lines = "sslQuorum=true\nportUnification=true\nquorum.auth.enableSasl=true\nobserverMasterPort=2191\noraclePath=/x\n\
                     readonlymode.enabled=true\nzookeeper.leaderServes=no\n";
        let refused = MemberSettings::new(&config(&format!("{THREE}{lines}"), Some(1))).unwrap_err().to_string();
        let keys: Vec<_> = refused.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
        let asked: Vec<_> =
            lines.lines().map(|line| line.split('=').next().unwrap().trim_start_matches("zookeeper.")).collect();
        assert_eq!(keys, asked, "{refused}");
        assert!(
            refused.lines().next().unwrap().contains("zoo.cfg:9: sslQuorum: comes later for ensembles"),
            "{refused}"
        );
        // Alone they concern nobody.
        assert!(
            MemberSettings::new(&config("clientPort=2181\nsslQuorum=true\noraclePath=/x", None)).unwrap().is_none()
        );
        // A wish to change the members is answered request by request, as today.
        assert!(MemberSettings::new(&config(&format!("{THREE}reconfigEnabled=true\n"), Some(1))).unwrap().is_some());
    }
}
