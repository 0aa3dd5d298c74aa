//! Who is in the ensemble: `server.`, `group.` and `weight.` lines, `myid`, the dynamic configuration file, and
//! ZooKeeper's rules about them (`QuorumPeerConfig.setupQuorumPeerConfig`, `QuorumHierarchical` of 3.9).
//!
//! An ensemble parses and is checked here although it cannot run yet: `--check-config` is honest about it, and
//! [`super::resolved::ResolvedConfig::require_standalone`] refuses it at start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use proto::ServerId;

use super::diagnostics::{ConfigError, ConfigWarning, Origin};
use super::members::{self, Member, Role};
use super::resolve::{Resolver, first_line, look_up};
use super::resolved::{ClientConfig, Listen, MultiAddressConfig, QuorumConfig, QuorumSaslConfig, QuorumTlsConfig};
use super::settings::Settings;
use crate::docker::Docker;

/// More of `myid` is never read.
const MYID_BYTES_MAX: u64 = 64;

/// What the membership lines say, wherever they stand.
#[derive(Debug, Default)]
struct Lines {
    members: BTreeMap<ServerId, Member>,
    groups: BTreeMap<ServerId, i64>,
    weights: BTreeMap<ServerId, i64>,
    hierarchical: bool,
}

impl Resolver<'_> {
    /// `membership` holds the membership lines: the settings of the dynamic file where there is one, else our own.
    pub(super) fn quorum(&mut self, membership: &Settings, my_id: Option<ServerId>) -> QuorumConfig {
        let init_limit_ticks: u32 = self.settings.int("initLimit");
        let connect_limit: u32 = self.settings.int("connectToLearnerMasterLimit");
        let multi_address = MultiAddressConfig {
            enabled: self.settings.bool("multiAddress.enabled"),
            reachability_check: self.settings.bool("multiAddress.reachabilityCheckEnabled"),
            reachability_timeout: self.millis("multiAddress.reachabilityCheckTimeoutMs"),
        };
        let lines = self.lines(membership, multi_address.enabled);
        let quorum = QuorumConfig {
            role: self.role(&lines, my_id),
            my_id,
            members: lines.members,
            groups: lines.groups,
            weights: lines.weights,
            dynamic_config_file: self.settings.text("dynamicConfigFile").map(PathBuf::from),
            version: self.version(membership),
            init_limit_ticks,
            sync_limit_ticks: self.settings.int("syncLimit"),
            connect_limit_ticks: if connect_limit == 0 { init_limit_ticks } else { connect_limit },
            listen_on_all_addresses: self.settings.bool("quorumListenOnAllIPs"),
            sync_enabled: self.settings.bool("syncEnabled"),
            standalone_enabled: self.settings.bool("standaloneEnabled"),
            observer_master_port: u16::try_from(self.settings.int::<i64>("observerMasterPort"))
                .ok()
                .filter(|port| *port > 0),
            oracle_path: self.settings.text("oraclePath").map(PathBuf::from),
            multi_address,
            tls: QuorumTlsConfig {
                enabled: self.settings.bool("sslQuorum"),
                port_unification: self.settings.bool("portUnification"),
                reload_certificates: self.settings.bool("sslQuorumReloadCertFiles"),
            },
            sasl: self.sasl(),
        };
        self.check_quorum(&quorum);
        quorum
    }

    fn lines(&mut self, membership: &Settings, multi_address: bool) -> Lines {
        let mut lines = Lines::default();
        for (id, text, origin) in membership.family("server") {
            let Some(server) = self.server_id("server", id, origin) else { continue };
            match members::parse(text, multi_address) {
                Ok(member) => drop(lines.members.insert(server, member)),
                Err(error) => self.errors.push(ConfigError::BadValue {
                    origin: origin.clone(),
                    key: format!("server.{id}"),
                    value: text.to_owned(),
                    allowed: error.to_string(),
                }),
            }
        }
        for (id, text, origin) in membership.family("weight") {
            lines.hierarchical = true;
            let Some(server) = self.server_id("weight", id, origin) else { continue };
            match text.parse::<i64>().ok().filter(|weight| *weight >= 0) {
                Some(weight) => drop(lines.weights.insert(server, weight)),
                None => self.bad_member("weight", id, text, origin, "a whole number that is not negative"),
            }
        }
        for (id, text, origin) in membership.family("group") {
            lines.hierarchical = true;
            self.group(&mut lines, id, text, origin);
        }
        self.check_groups(&mut lines);
        lines
    }

    fn group(&mut self, lines: &mut Lines, id: &str, text: &str, origin: &Origin) {
        let servers: Option<Vec<i64>> = text.split(':').map(|part| part.trim().parse().ok()).collect();
        let (Ok(group), Some(servers)) = (id.parse::<i64>(), servers) else {
            self.bad_member("group", id, text, origin, "server ids separated by `:`, under group.NUMBER");
            return;
        };
        for server in servers {
            if lines.groups.insert(ServerId(server), group).is_some() {
                let reason = format!("server {server} stands in several groups");
                self.errors.push(ConfigError::Conflict { origin: origin.clone(), key: format!("group.{id}"), reason });
            }
        }
    }

    fn check_groups(&mut self, lines: &mut Lines) {
        if !lines.hierarchical {
            return;
        }
        for (id, member) in &lines.members {
            if member.role == Role::Participant && !lines.groups.contains_key(id) {
                let remedy = format!("with groups, every voting server needs one; add {} to a group. line", id.0);
                self.errors.push(ConfigError::Missing { what: format!("the group of server {}", id.0), remedy });
            }
            lines.weights.entry(*id).or_insert(1);
        }
    }

    fn server_id(&mut self, stem: &str, id: &str, origin: &Origin) -> Option<ServerId> {
        let parsed = id.parse::<i64>().ok().filter(|id| *id >= 0).map(ServerId);
        if parsed.is_none() {
            let reason = format!("`{id}` is not a server id; write {stem}. and a whole number from 1 to 255");
            self.errors.push(ConfigError::Conflict { origin: origin.clone(), key: format!("{stem}.{id}"), reason });
        }
        parsed
    }

    fn bad_member(&mut self, stem: &str, id: &str, value: &str, origin: &Origin, allowed: &str) {
        self.errors.push(ConfigError::BadValue {
            origin: origin.clone(),
            key: format!("{stem}.{id}"),
            value: value.to_owned(),
            allowed: allowed.to_owned(),
        });
    }

    /// What `myid` says, or will say when `docker` has written it.
    pub(super) fn my_id(&mut self, data_dir: &Path, docker: Option<&Docker>) -> Option<ServerId> {
        if data_dir.as_os_str().is_empty() {
            return None; // Not set, which is an error of its own; a myid in the working directory is not meant.
        }
        let path = data_dir.join("myid");
        let variable = docker.and_then(|docker| docker.my_id(data_dir));
        let line = match (first_line(&path, MYID_BYTES_MAX), variable) {
            (Ok(None), None) => return None,
            (Ok(None), Some((text, _))) if is_id(text) => text.to_owned(),
            (Ok(None), Some((text, origin))) => {
                let (origin, value, allowed) = (origin.clone(), text.to_owned(), "a whole number from 1 to 255".into());
                self.errors.push(ConfigError::BadValue { origin, key: "myid".into(), value, allowed });
                return None;
            }
            (Ok(Some(line)), variable) => {
                if let Some((text, origin)) =
                    variable.filter(|(text, origin)| **origin != Origin::BuiltIn && *text != line)
                {
                    let (origin, key) = (origin.clone(), "myid".to_owned());
                    let text = format!("{text} has no effect, because {} exists and holds {line}", path.display());
                    self.warnings.push(ConfigWarning::Advice { origin, key, text });
                }
                line
            }
            (Err(error), _) => {
                self.errors.push(ConfigError::Unreadable { path, what: "server id", error });
                return None;
            }
        };
        match line.parse::<i64>() {
            Ok(id) if id >= 0 => {
                if !(1..=255).contains(&id) {
                    self.advise("dataDir", format!("myid holds {id}; ids from 1 to 255 keep session ids apart"));
                }
                Some(ServerId(id))
            }
            _ => {
                self.errors.push(ConfigError::BadMyId { path, content: line });
                None
            }
        }
    }

    fn version(&mut self, membership: &Settings) -> i64 {
        let Some(text) = membership.text("version") else { return 0 };
        i64::from_str_radix(&text, 16).unwrap_or_else(|_| {
            let origin = membership.origin("version").cloned().unwrap_or(Origin::BuiltIn);
            let allowed = "a hexadecimal number".to_owned();
            self.errors.push(ConfigError::BadValue { origin, key: "version".into(), value: text, allowed });
            0
        })
    }

    fn role(&mut self, lines: &Lines, my_id: Option<ServerId>) -> Role {
        let asked = match self.settings.text("peerType").as_deref() {
            Some("observer") => Role::Observer,
            _ => Role::Participant,
        };
        let listed = my_id.and_then(|id| lines.members.get(&id)).map_or(Role::Participant, |member| member.role);
        if listed != asked {
            self.advise("peerType", format!("is {asked}, and the `server.` lines say {listed}, which holds"));
        }
        listed
    }

    fn sasl(&mut self) -> QuorumSaslConfig {
        let (enable, server, learner) =
            ("quorum.auth.enableSasl", "quorum.auth.serverRequireSasl", "quorum.auth.learnerRequireSasl");
        let text = |key| self.settings.text(key).unwrap_or_default();
        let sasl = QuorumSaslConfig {
            enabled: self.settings.bool(enable),
            learner_requires: self.settings.bool(learner),
            server_requires: self.settings.bool(server),
            learner_context: text("quorum.auth.learner.saslLoginContext"),
            server_context: text("quorum.auth.server.saslLoginContext"),
            service_principal: text("quorum.auth.kerberos.servicePrincipal"),
            connection_threads: self.settings.int("quorum.cnxn.threads.size"),
        };
        for (required, key, needed, has_needed) in [
            (sasl.server_requires, server, enable, sasl.enabled),
            (sasl.learner_requires, learner, enable, sasl.enabled),
            (sasl.server_requires, server, learner, sasl.learner_requires),
        ] {
            if required && !has_needed {
                self.conflict(key, format!("needs {needed}=true"));
            }
        }
        sasl
    }

    /// ZooKeeper's checks of an ensemble as a whole.
    fn check_quorum(&mut self, quorum: &QuorumConfig) {
        let voters = quorum.members.values().filter(|m| m.role == Role::Participant).count();
        let observers = quorum.members.len() - voters;
        if voters == 0 && !quorum.standalone_enabled {
            self.conflict("standaloneEnabled", "is false, and there is no `server.` line with a voting server");
        }
        if observers > 0 && (voters == 0 || (voters == 1 && quorum.standalone_enabled)) {
            let remedy = "observers need an ensemble to observe; add `server.` lines with voting servers".into();
            self.errors.push(ConfigError::Missing { what: "a quorum".into(), remedy });
        }
        if voters <= 1 && quorum.standalone_enabled {
            return;
        }
        for (key, ticks) in [("initLimit", quorum.init_limit_ticks), ("syncLimit", quorum.sync_limit_ticks)] {
            if ticks == 0 {
                let remedy = format!("an ensemble needs it; add {key}=10 for instance");
                self.errors.push(ConfigError::Missing { what: key.into(), remedy });
            }
        }
        match quorum.my_id {
            Some(id) if !quorum.members.contains_key(&id) && !self.refused_a_member() => {
                let remedy =
                    format!("<dataDir>/myid says that this is server {}, and no line tells its addresses", id.0);
                self.errors.push(ConfigError::Missing { what: format!("server.{}", id.0), remedy });
            }
            None if !self.errors.iter().any(|e| matches!(e, ConfigError::BadMyId { .. })) => {
                let remedy = "an ensemble needs the server's id in <dataDir>/myid".into();
                self.errors.push(ConfigError::Missing { what: "myid".into(), remedy });
            }
            _ => {}
        }
    }

    /// Whether a `server.` line was refused, so that its absence need not be reported as well.
    fn refused_a_member(&self) -> bool {
        self.errors.iter().any(|e| matches!(e, ConfigError::BadValue { key, .. } if key.contains("server.")))
    }

    /// The client address that the own `server.` line names takes the place of an absent `clientPort`, and must not
    /// contradict one that is set.
    pub(super) fn adopt_client_address(&mut self, clients: &mut ClientConfig, quorum: &QuorumConfig) {
        let own = quorum.my_id.and_then(|id| quorum.members.get(&id)).and_then(|member| member.client.as_ref());
        let Some(listed) = own else { return };
        let at = match look_up(&listed.host, listed.port, self.preferred_family()) {
            Ok(addr) => addr,
            Err(error) => {
                let reason =
                    format!("the client address `{}` of the own `server.` line is not usable: {error}", listed.host);
                return self.conflict("clientPort", reason);
            }
        };
        let listed_listen = if at.ip().is_unspecified() { self.any_address(at.port()) } else { Listen::At(at) };
        let contradiction = match clients.listen {
            None => false,
            Some(Listen::Any { port }) => port != at.port(),
            Some(Listen::At(addr)) if addr.ip().is_unspecified() => addr.port() != at.port(),
            Some(Listen::At(addr)) => addr != SocketAddr::new(at.ip(), at.port()),
        };
        if contradiction {
            self.conflict("clientPort", format!("differs from the client address {at} of the own `server.` line"));
        }
        clients.listen = Some(listed_listen);
    }
}

fn is_id(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|id| id >= 0)
}
