//! Who is in the ensemble, as files and settings say it: where the `server.`, `group.` and `weight.` lines stand, `myid`, and ZooKeeper's rules about
//! a server among them (`QuorumPeerConfig.setupQuorumPeerConfig` of 3.9). What a line means is [`zab::ensemble`]'s.
//!
//! What a member of one cannot do yet is [`crate::member`]'s to refuse at start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use proto::ServerId;
use zab::ensemble::{Draft, Ensemble, EnsembleError, GroupId, LineError, Member, Role};

use super::diagnostics::{ConfigError, ConfigWarning, Origin};
use super::resolve::{Resolver, first_line, look_up};
use super::resolved::{ClientConfig, Listen, MultiAddressConfig, QuorumConfig, QuorumSaslConfig, QuorumTlsConfig};
use super::settings::Settings;
use crate::docker::Docker;

/// What a member says of `reconfigEnabled=true`.
const RECONFIG_LATER: &str = "accepted, not yet effective in an ensemble: `reconfig` is answered with Unimplemented";

/// More of `myid` is never read.
const MYID_BYTES_MAX: u64 = 64;

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
        let (members, ensemble) = self.ensemble(membership, multi_address.enabled);
        let quorum = QuorumConfig {
            role: self.role(&members, my_id),
            my_id,
            ensemble,
            dynamic_config_file: self.settings.text("dynamicConfigFile").map(PathBuf::from),
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
        self.check_quorum(&members, &quorum);
        quorum
    }

    /// The members that the lines name and the ensemble that they make, without members where they make none. What is wrong is reported.
    fn ensemble(&mut self, membership: &Settings, multi_address: bool) -> (BTreeMap<ServerId, Member>, Ensemble) {
        let mut draft = Draft::new(multi_address);
        let mut refused = Vec::new();
        for stem in ["server", "weight", "group"] {
            let errors_before = self.errors.len();
            for (id, text, origin) in membership.family(stem) {
                self.line(&mut draft, format!("{stem}.{id}"), text, origin);
            }
            if self.errors.len() > errors_before {
                refused.push(stem);
            }
        }
        if let Some(text) = membership.text("version") {
            let origin = membership.origin("version").cloned().unwrap_or(Origin::BuiltIn);
            self.line(&mut draft, "version".into(), &text, &origin);
        }
        let members = draft.members().clone();
        let ensemble = draft.finish().unwrap_or_else(|errors| {
            let errors = errors.iter().filter(|error| !only_seems_wrong(error, &refused));
            self.errors.extend(errors.map(|error| refusal(membership, error)));
            Ensemble::default()
        });
        (members, ensemble)
    }

    fn line(&mut self, draft: &mut Draft, key: String, text: &str, origin: &Origin) {
        let origin = origin.clone();
        self.errors.extend(draft.line(&key, text).err().map(|error| match error {
            LineError::Key(_) | LineError::ServerId(_) | LineError::GroupId(_) | LineError::Twice(_) => {
                ConfigError::Conflict { origin, key, reason: error.to_string() }
            }
            _ => ConfigError::BadValue { origin, key, value: text.to_owned(), allowed: error.to_string() },
        }));
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

    fn role(&mut self, members: &BTreeMap<ServerId, Member>, my_id: Option<ServerId>) -> Role {
        let asked = match self.settings.text("peerType").as_deref() {
            Some("observer") => Role::Observer,
            _ => Role::Participant,
        };
        let listed = my_id.and_then(|id| members.get(&id)).map_or(Role::Participant, |member| member.role);
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
    fn check_quorum(&mut self, members: &BTreeMap<ServerId, Member>, quorum: &QuorumConfig) {
        let voters = members.values().filter(|m| m.role == Role::Participant).count();
        let observers = members.len() - voters;
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
        self.warnings.extend(self.settings.not_yet_in_ensembles());
        if self.settings.bool("reconfigEnabled") {
            self.advise("reconfigEnabled", RECONFIG_LATER);
        }
        for (key, ticks) in [("initLimit", quorum.init_limit_ticks), ("syncLimit", quorum.sync_limit_ticks)] {
            if ticks == 0 {
                let remedy = format!("an ensemble needs it; add {key}=10 for instance");
                self.errors.push(ConfigError::Missing { what: key.into(), remedy });
            }
        }
        match quorum.my_id {
            Some(id) if !members.contains_key(&id) && !self.refused_a_member() => {
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
        let own = quorum.my_id.and_then(|id| quorum.ensemble.member(id)).and_then(|member| member.client.as_ref());
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

/// May it come from a line of the ensemble that was refused, and has been said already?
fn only_seems_wrong(error: &EnsembleError, refused: &[&str]) -> bool {
    let is_refused = |stem| refused.contains(&stem);
    match error {
        EnsembleError::TwoGroups { .. } | EnsembleError::TooMany(_) | EnsembleError::Long(_) => false,
        EnsembleError::NoGroup(_) => is_refused("group"),
        EnsembleError::NoWeight(_) => is_refused("weight") || is_refused("server"),
        EnsembleError::NoVoter | EnsembleError::Line { .. } => is_refused("server"),
    }
}

/// What is wrong with the lines together.
fn refusal(membership: &Settings, error: &EnsembleError) -> ConfigError {
    let reason = error.to_string();
    let missing = |what: &str, id: &ServerId| format!("the {what} of server {}", id.0);
    let again = match error {
        EnsembleError::NoGroup(id) => return ConfigError::Missing { what: missing("group", id), remedy: reason },
        EnsembleError::NoWeight(id) => return ConfigError::Missing { what: missing("weight", id), remedy: reason },
        EnsembleError::TwoGroups { group, .. } => Some(*group),
        _ => None,
    };
    // The number as it is written, which need not be how we write it.
    let is_again = |number: &str| number.parse().ok().map(GroupId) == again;
    let named_again = again.and_then(|_| membership.family("group").find(|(number, ..)| is_again(number)));
    let (key, line) = match named_again {
        Some((number, _, origin)) => (format!("group.{number}"), Some(origin)),
        None => ("server".to_owned(), membership.family("server").next().map(|(_, _, origin)| origin)),
    };
    ConfigError::Conflict { origin: line.cloned().unwrap_or(Origin::BuiltIn), key, reason }
}

fn is_id(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|id| id >= 0)
}
