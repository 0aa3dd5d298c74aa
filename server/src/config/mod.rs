//! The configuration: `zoo.cfg` as ZooKeeper reads it, properties from the command line, and what they come to.
//!
//! Two types on purpose: [`raw::RawConfig`] is what was written, with file and line; [`ResolvedConfig`] is what the
//! server uses. Between them stands one table, [`keys`], that names every key with its kind, default and whether it
//! takes effect; `docs/configuration.md` is generated from it. All errors of a configuration are collected and
//! reported together, before anything is touched. Reads the configuration file, the dynamic configuration file and
//! `<dataDir>/myid`, and the JAAS file; writes nothing, and must never create the data directory. Mirrors `QuorumPeerConfig` of 3.9.
//!
//! The examples under `server/tests/config`, each with the messages it must give, would catch a mistake.
#![forbid(unsafe_code)]

mod auth;
pub mod diagnostics;
pub mod keys;
mod membership;
pub mod raw;
pub mod reference;
mod resolve;
pub mod resolved;
pub mod settings;
pub mod value;

use std::path::{Path, PathBuf};

pub use diagnostics::{ConfigError, ConfigErrors, ConfigWarning, Origin};
pub use resolved::{CorePlace, FourLetterWords, Listen, Pin, ResolvedConfig, RingConfig, SnapLogBytes, StorageConfig};
pub use value::{MemoryMax, Secret};

use crate::docker::Docker;
use raw::RawConfig;
use resolve::Resolver;
use settings::Settings;

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// `zoo.cfg`; without it, the built-in settings of [`BUILT_IN`] hold.
    pub file: Option<PathBuf>,
    /// The texts after `-D`, `key=value` each. They win over the file.
    pub properties: Vec<String>,
    /// What the variables of [`JVM_FLAGS`] hold: the `-D` options in it are taken where the key is known. They win over the file too, and the command
    /// line wins over them.
    pub jvm_flags: Vec<String>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--client-port`.
    pub client_port: Option<u16>,
    /// `--docker`: what the environment of a container says, in place of `file`.
    pub docker: Option<Docker>,
}

/// A configuration that the server can start with, and what the operator should hear about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: ResolvedConfig,
    /// In the order of the places they speak of, as far as they have one.
    pub warnings: Vec<ConfigWarning>,
}

/// What holds when no configuration file is given: a server for this machine only.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("dataDir", "./ringkeeper-data"),
    ("clientPort", "2181"),
    ("clientPortAddress", "127.0.0.1"),
    ("tickTime", "2000"),
];

/// The environment's variables in which ZooKeeper's users write options for Java.
pub const JVM_FLAGS: [&str; 2] = ["SERVER_JVMFLAGS", "JVMFLAGS"];

/// No configuration file is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads and resolves a configuration. Returns all errors at once.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let mut raw = RawConfig::default();
    let mut initial_text = None;
    match (&sources.docker, &sources.file) {
        (Some(docker), _) => {
            let existing = match read_file(docker.conf_file(), "configuration file") {
                Ok(bytes) => Some(bytes),
                Err(ConfigError::Unreadable { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(ConfigErrors(vec![error])),
            };
            docker.read(existing.as_deref(), &mut raw, &mut errors, &mut warnings);
            initial_text =
                existing.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).or_else(|| Some(docker.text()));
        }
        (None, Some(path)) => match read_file(path, "configuration file") {
            Ok(bytes) => {
                raw = RawConfig::parse(path, &bytes, &mut errors);
                initial_text = Some(String::from_utf8_lossy(&bytes).into_owned());
            }
            Err(error) => return Err(ConfigErrors(vec![error])),
        },
        (None, None) => BUILT_IN.iter().for_each(|(key, value)| raw.push(key, value, Origin::BuiltIn)),
    }
    add_jvm_flags(sources, &mut raw);
    add_command_line(sources, &mut raw, &mut errors);
    let settings = Settings::from_raw(&raw, &mut errors, &mut warnings);
    let membership = match settings.text("dynamicConfigFile") {
        Some(path) => {
            forbid_membership_lines(&settings, &mut errors);
            read_dynamic_file(Path::new(&path), &mut errors, &mut warnings)
        }
        None => settings.clone(),
    };
    let config = resolve(settings, &membership, initial_text, sources, &mut errors, &mut warnings);
    errors.sort_by_key(ConfigError::rank);
    warnings.sort_by_key(ConfigWarning::rank);
    if errors.is_empty() { Ok(Loaded { config, warnings }) } else { Err(ConfigErrors(errors)) }
}

fn resolve(
    settings: Settings,
    membership: &Settings,
    initial_text: Option<String>,
    sources: &Sources,
    errors: &mut Vec<ConfigError>,
    warnings: &mut Vec<ConfigWarning>,
) -> ResolvedConfig {
    let mut resolver = Resolver { settings: &settings, errors, warnings };
    let storage = resolver.storage();
    let mut clients = resolver.clients();
    let my_id = resolver.my_id(&storage.data_dir, sources.docker.as_ref());
    let quorum = resolver.quorum(membership, my_id);
    resolver.adopt_client_address(&mut clients, &quorum);
    match (clients.listen, clients.secure_listen) {
        // A plain port in place of one for TLS would be worse than none.
        (None, Some(_)) => resolver.conflict(
            "secureClientPort",
            "TLS comes later, and there is no clientPort: no client could connect. Set clientPort to serve without TLS",
        ),
        (None, None) if resolver.errors.is_empty() => {
            resolver.advise("clientPort", "is not set: no client can connect")
        }
        _ => {}
    }
    ResolvedConfig {
        storage,
        clients,
        sessions: resolver.sessions(),
        tree: resolver.tree(),
        auth: resolver.auth().into(),
        four_letter_words: resolver.four_letter_words(),
        ring: resolver.ring(),
        quorum,
        metrics: resolver.metrics(),
        jvm_pause: resolver.jvm_pause(),
        settings,
        initial_text,
    }
}

/// Words are separated by blanks, as the shell of `zkServer.sh` separates them; most are for Java alone and say nothing to us.
fn add_jvm_flags(sources: &Sources, raw: &mut RawConfig) {
    for word in sources.jvm_flags.iter().flat_map(|flags| flags.split_whitespace()) {
        let property = word.strip_prefix("-D").and_then(|property| property.split_once('='));
        if let Some((key, value)) = property.filter(|(key, _)| keys::find(key).is_some()) {
            raw.push(key, value, Origin::Option("JVMFLAGS"));
        }
    }
}

fn add_command_line(sources: &Sources, raw: &mut RawConfig, errors: &mut Vec<ConfigError>) {
    for text in &sources.properties {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => raw.push(key, value, Origin::Option("-D")),
            _ => errors.push(ConfigError::BadProperty { text: text.clone() }),
        }
    }
    if let Some(dir) = &sources.data_dir {
        raw.push("dataDir", &dir.to_string_lossy(), Origin::Option("--data-dir"));
    }
    if let Some(port) = sources.client_port {
        raw.push("clientPort", &port.to_string(), Origin::Option("--client-port"));
    }
}

fn read_file(path: &Path, what: &'static str) -> Result<Vec<u8>, ConfigError> {
    use std::io::Read;
    let unreadable = |error| ConfigError::Unreadable { path: path.to_owned(), what, error };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read > FILE_BYTES_MAX) {
        return Err(ConfigError::TooLarge { path: path.to_owned(), what, bytes_max: FILE_BYTES_MAX });
    }
    Ok(bytes)
}

/// With a dynamic file the membership stands there and nowhere else.
fn forbid_membership_lines(settings: &Settings, errors: &mut Vec<ConfigError>) {
    for stem in ["server", "group", "weight"] {
        for (member, _, origin) in settings.family(stem) {
            errors.push(ConfigError::Conflict {
                origin: origin.clone(),
                key: format!("{stem}.{member}"),
                reason: "must stand in the dynamicConfigFile, not beside it".into(),
            });
        }
    }
}

/// Reads the dynamic file. It holds membership lines only; its version is the ending of its name.
fn read_dynamic_file(path: &Path, errors: &mut Vec<ConfigError>, warnings: &mut Vec<ConfigWarning>) -> Settings {
    let bytes = match read_file(path, "dynamic configuration file") {
        Ok(bytes) => bytes,
        Err(error) => {
            errors.push(error);
            return Settings::default();
        }
    };
    let mut raw = RawConfig::parse(path, &bytes, errors);
    raw.entries.retain(|entry| {
        let reason = match entry.key.as_str() {
            "version" => "may not stand in the dynamic file; the ending of the file's name is the version",
            key if ["server.", "group.", "weight."].iter().any(|stem| key.starts_with(stem)) => return true,
            _ => "may not stand in the dynamic file, which takes server., group. and weight. lines only",
        };
        errors.push(ConfigError::Conflict {
            origin: entry.origin.clone(),
            key: entry.key.clone(),
            reason: reason.into(),
        });
        false
    });
    let ending = path.extension().and_then(|ending| ending.to_str());
    if let Some(version) = ending.filter(|ending| i64::from_str_radix(ending, 16).is_ok()) {
        raw.push("version", version, Origin::BuiltIn);
    }
    Settings::from_raw(&raw, errors, warnings)
}

#[cfg(test)]
mod tests;
