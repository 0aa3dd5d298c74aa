//! A container's configuration: what the official ZooKeeper image makes of its `ZOO_*` variables, made by the server itself (`--docker`).
//!
//! Owns the variables with their defaults, the lines of `zoo.cfg` that come of them, in the order of the image's entry script
//! (`docker-entrypoint.sh` of its 3.9.4), and the two files that it leaves: `<ZOO_CONF_DIR>/zoo.cfg` and `<ZOO_DATA_DIR>/myid`. A file that is there holds,
//! and the variables that it makes void are named. Where they stand, what is wrong with a value is said of the variable, not of a line.
//!
//! Must never write before the server serves, nor replace a file. Fails as the configuration does; a file
//! that cannot be written (a read-only container) is a warning, since what stands in it is known. Otherwise than the script, an empty
//! variable counts as one that is not set.
//!
//! `server/tests/docker` holds the files that the image's own script writes; `the_files_are_those_of_the_official_image` compares.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::config::diagnostics::{ConfigError, ConfigWarning, Origin};
use crate::config::keys;
use crate::config::raw::RawConfig;

/// One variable of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The key that it sets; empty where it sets none, or many.
    pub key: &'static str,
    /// What holds without it; empty where nothing does.
    pub default: &'static str,
    /// What it means, where the key does not say it.
    pub doc: &'static str,
}

/// Every variable that the image documents, in the order of the lines that come of them.
pub const VARIABLES: &[Variable] = &[
    key("ZOO_DATA_DIR", "dataDir", "/data"),
    key("ZOO_DATA_LOG_DIR", "dataLogDir", "/datalog"),
    key("ZOO_TICK_TIME", "tickTime", "2000"),
    key("ZOO_INIT_LIMIT", "initLimit", "5"),
    key("ZOO_SYNC_LIMIT", "syncLimit", "2"),
    key("ZOO_AUTOPURGE_SNAPRETAINCOUNT", "autopurge.snapRetainCount", "3"),
    key("ZOO_AUTOPURGE_PURGEINTERVAL", "autopurge.purgeInterval", "0"),
    key("ZOO_MAX_CLIENT_CNXNS", "maxClientCnxns", "60"),
    key("ZOO_STANDALONE_ENABLED", "standaloneEnabled", "true"),
    key("ZOO_ADMINSERVER_ENABLED", "admin.enableServer", "true"),
    other(SERVERS, "server.1=localhost:2888:3888;2181", "the `server.` lines, separated by blanks"),
    key(WORDS, "4lw.commands.whitelist", ""),
    other(EXTRA, "", "further lines `key=value`, separated by blanks"),
    other(MY_ID, "1", "this server's id, written to `<ZOO_DATA_DIR>/myid`"),
    other(CONF_DIR, "/conf", "where `zoo.cfg` is, or is written"),
    other("ZOO_LOG_DIR", "/logs", "no effect: the log goes to stderr, where the container's log takes it"),
    other(NO_AUTOCREATE, "", "with any value, `datadir.autocreate=false`"),
];

const SERVERS: &str = "ZOO_SERVERS";
const WORDS: &str = "ZOO_4LW_COMMANDS_WHITELIST";
const EXTRA: &str = "ZOO_CFG_EXTRA";
const MY_ID: &str = "ZOO_MY_ID";
const CONF_DIR: &str = "ZOO_CONF_DIR";
/// Of `zkServer.sh`, which the image's script ends in.
const NO_AUTOCREATE: &str = "ZOO_DATADIR_AUTOCREATE_DISABLE";
/// What `zkServer.sh` and `zkEnv.sh` read as well, and what is here instead.
const LOGGING: [&str; 3] = ["ZOO_LOG_DIR", "ZOO_LOG_FILE", "ZOO_LOG4J_PROP"];
const PREFIX: &str = "ZOO_";

const fn key(name: &'static str, key: &'static str, default: &'static str) -> Variable {
    Variable { name, key, default, doc: "" }
}

const fn other(name: &'static str, default: &'static str, doc: &'static str) -> Variable {
    Variable { name, key: "", default, doc }
}

/// What the environment of a container says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    conf_file: PathBuf,
    data_dir: PathBuf,
    my_id: Given,
    lines: Vec<Line>,
    autocreate: bool,
    warnings: Vec<ConfigWarning>,
}

/// A value, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    text: String,
    origin: Origin,
}

/// A line of `zoo.cfg`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    variable: &'static str,
    entry: Given,
}

impl Docker {
    /// Reads the variables. Says nothing yet about their values.
    pub fn from_env(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Docker {
        let set: BTreeMap<String, String> = environment
            .into_iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty())
            .collect();
        let given = |variable: &Variable| match set.get(variable.name) {
            Some(value) if value != variable.default => {
                Given { text: value.clone(), origin: Origin::Option(variable.name) }
            }
            _ => Given { text: variable.default.to_owned(), origin: Origin::BuiltIn },
        };
        let text_of = |name: &str| VARIABLES.iter().find(|variable| variable.name == name).map(given);
        let path_of = |name| PathBuf::from(text_of(name).map(|given| given.text).unwrap_or_default());
        Docker {
            conf_file: path_of(CONF_DIR).join("zoo.cfg"),
            data_dir: path_of("ZOO_DATA_DIR"),
            my_id: text_of(MY_ID).unwrap_or(Given { text: "1".into(), origin: Origin::BuiltIn }),
            lines: VARIABLES.iter().flat_map(|variable| lines(variable, &given(variable))).collect(),
            autocreate: !set.contains_key(NO_AUTOCREATE),
            warnings: set.iter().filter_map(|(name, value)| warning(name, value)).collect(),
        }
    }

    /// What the image's script would write into `zoo.cfg`.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{}\n", line.entry.text)).collect()
    }

    /// Where `zoo.cfg` is, or is to be.
    pub fn conf_file(&self) -> &Path {
        &self.conf_file
    }

    /// The id that `myid` holds, or will hold, in this directory; `None` where that is not the image's data directory.
    pub(crate) fn my_id(&self, data_dir: &Path) -> Option<(&str, &Origin)> {
        (data_dir == self.data_dir).then_some((&self.my_id.text, &self.my_id.origin))
    }

    /// Adds the entries of the variables. `existing`: the bytes of `zoo.cfg` where it is there, which hold instead unless they are the same.
    pub(crate) fn read(
        &self,
        existing: Option<&[u8]>,
        raw: &mut RawConfig,
        errors: &mut Vec<ConfigError>,
        warnings: &mut Vec<ConfigWarning>,
    ) {
        warnings.extend(self.warnings.iter().cloned());
        if !self.autocreate {
            raw.push("datadir.autocreate", "false", Origin::Option(NO_AUTOCREATE));
        }
        match existing {
            Some(bytes) if bytes != self.text().as_bytes() => {
                raw.entries.extend(RawConfig::parse(&self.conf_file, bytes, errors).entries);
                let given = self.lines.iter().filter(|line| line.entry.origin != Origin::BuiltIn);
                let names: BTreeSet<&str> = given.map(|line| line.variable).collect();
                if !names.is_empty() {
                    let names = Vec::from_iter(names).join(", ");
                    warnings.push(ConfigWarning::VoidVariables { names, file: self.conf_file.clone() });
                }
            }
            _ => self.lines.iter().for_each(|line| line.read(raw, errors, warnings)),
        }
    }

    /// Leaves the two files that the image's script leaves, where they are absent. Returns what could not be written, in words.
    pub fn write(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let my_id_file = self.data_dir.join("myid");
        if self.autocreate
            && let Err(error) = std::fs::create_dir_all(&self.data_dir)
        {
            // The server says the same again, with a remedy, when it needs the directory.
            warnings.push(format!("cannot create {}: {error}", self.data_dir.display()));
        }
        for (file, text) in [(&self.conf_file, self.text()), (&my_id_file, format!("{}\n", self.my_id.text))] {
            if let Err(error) = write_new(file, &text) {
                let file = file.display();
                warnings.push(format!("cannot write {file}: {error}; the server goes by the variables all the same"));
            }
        }
        warnings
    }
}

impl Line {
    /// As a properties file it may hold more entries than one, and escapes.
    fn read(&self, raw: &mut RawConfig, errors: &mut Vec<ConfigError>, warnings: &mut Vec<ConfigWarning>) {
        // The word itself is not shown: it may be the rest of a password with a blank in it.
        if self.variable == EXTRA && !self.entry.text.contains(['=', ':']) {
            let (origin, key) = (self.entry.origin.clone(), EXTRA.to_owned());
            let text =
                "holds a word without `=`, which has no effect: blanks separate its settings, and a value has none"
                    .to_owned();
            warnings.push(ConfigWarning::Advice { origin, key, text });
            return;
        }
        let mut own_errors = Vec::new();
        let parsed = RawConfig::parse(Path::new(self.variable), self.entry.text.as_bytes(), &mut own_errors);
        for entry in parsed.entries {
            raw.push(&entry.key, &entry.value, self.entry.origin.clone());
        }
        errors.extend(own_errors.into_iter().map(|error| error.moved_to(&self.entry.origin)));
    }
}

/// The lines of a variable: of those that stand for many, one a word.
fn lines(variable: &Variable, given: &Given) -> Vec<Line> {
    let line = |text: String| Line { variable: variable.name, entry: Given { text, origin: given.origin.clone() } };
    match variable.name {
        SERVERS | EXTRA => {
            given.text.split([' ', '\t', '\n']).filter(|word| !word.is_empty()).map(|word| line(word.into())).collect()
        }
        WORDS if given.text.is_empty() => Vec::new(),
        _ if variable.key.is_empty() => Vec::new(),
        _ => vec![line(format!("{}={}", variable.key, given.text))],
    }
}

/// What there is to say of a variable that is set, whatever its value does.
fn warning(name: &str, value: &str) -> Option<ConfigWarning> {
    let known = VARIABLES.iter().find(|variable| variable.name == name);
    if let Some(name) = LOGGING.into_iter().find(|logging| *logging == name) {
        let is_default = known.is_some_and(|variable| variable.default == value);
        let reason = "the log goes to stderr; RINGKEEPER_LOG sets its level";
        let (origin, key) = (Origin::Option(name), name.to_owned());
        return (!is_default).then_some(ConfigWarning::NoMeaning { origin, key, reason });
    }
    if known.is_some() || is_of_a_service(name, value) {
        return None;
    }
    let suggestion = keys::nearest(name, VARIABLES.iter().map(|variable| variable.name));
    Some(ConfigWarning::UnknownVariable { name: name.to_owned(), suggestion })
}

/// Kubernetes and Docker put addresses of services into the environment, under the service's name, which may well be `zoo`.
fn is_of_a_service(name: &str, value: &str) -> bool {
    let endings = ["_SERVICE_HOST", "_SERVICE_PORT", "_PROTO", "_ADDR"];
    endings.iter().any(|ending| name.ends_with(ending))
        || name.contains("_SERVICE_PORT_")
        || name.contains("_TCP_PORT")
        || value.starts_with("tcp://")
}

/// Writes a file, whole or not at all, unless there is something of that name.
fn write_new(file: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::symlink_metadata(file).is_ok() {
        return Ok(());
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    let outcome = std::fs::File::create(&beside).and_then(|mut written| {
        written.write_all(text.as_bytes())?;
        written.sync_all()?;
        match std::fs::hard_link(&beside, file) {
            // Another container was first.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    });
    let _only_in_the_way = std::fs::remove_file(&beside);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigErrors, Listen, Loaded, Sources, load};

    fn docker(variables: &[(&str, &str)]) -> Docker {
        Docker::from_env(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn examples() -> Vec<PathBuf> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker");
        let entries = std::fs::read_dir(dir).expect("the examples").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "env")).collect()
    }

    /// Over a directory of its own, which is absent from what comes out.
    fn try_load(home: &Path, variables: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
        let dirs = ["conf", "data", "datalog"].map(|name| home.join(name).to_string_lossy().into_owned());
        let names = [CONF_DIR, "ZOO_DATA_DIR", "ZOO_DATA_LOG_DIR"];
        let all: Vec<_> =
            names.into_iter().zip(dirs.iter().map(String::as_str)).chain(variables.iter().copied()).collect();
        load(&Sources { docker: Some(docker(&all)), ..Sources::default() })
    }

    fn said(loaded: &Loaded) -> Vec<String> {
        loaded.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_files_are_those_of_the_official_image() {
        let examples = examples();
        assert!(examples.len() >= 9, "examples are missing: {examples:?}");
        for file in examples {
            let read = |ending: &str| std::fs::read_to_string(file.with_extension(ending)).expect("an example");
            let environment = read("env");
            let variables: Vec<(&str, &str)> =
                environment.lines().map(|line| line.split_once('=').expect("a variable")).collect();
            let docker = docker(&variables);
            assert_eq!(docker.text(), read("cfg"), "{}", file.display());
            assert_eq!(format!("{}\n", docker.my_id.text), read("myid"), "{}", file.display());
        }
    }

    #[test]
    fn a_bad_value_is_said_of_its_variable() {
        let home = tempfile::tempdir().expect("a directory");
        let variables = [("ZOO_TICK_TIME", "fast"), ("ZOO_MY_ID", "first"), (SERVERS, "server.1=zoo1:2888")];
        let errors = try_load(home.path(), &variables).expect_err("wrong values").to_string();
        for needle in [
            "environment ZOO_TICK_TIME: tickTime: `fast` is not allowed; tickTime takes a whole number",
            "environment ZOO_MY_ID: myid: `first` is not allowed; myid takes a whole number from 1 to 255",
            "environment ZOO_SERVERS: server.1: `zoo1:2888` is not allowed",
        ] {
            assert!(errors.contains(needle), "`{needle}` is missing in:\n{errors}");
        }
        let escape = try_load(home.path(), &[(EXTRA, "a=b snapCount=\\u00g0")]).expect_err("a bad escape").to_string();
        assert!(escape.contains("environment ZOO_CFG_EXTRA: `\\u00g` is not an escape"), "{escape}");
    }

    #[test]
    fn half_of_a_password_is_not_shown() {
        let home = tempfile::tempdir().expect("a directory");
        let extra = "ssl.keyStore.password=my hunter2 tickTime=700";
        let loaded = try_load(home.path(), &[("ZOO_CFG_EXTRA", extra)]).expect("usable");
        let warnings = said(&loaded).join("\n");
        assert!(
            warnings.contains("ZOO_CFG_EXTRA: holds a word without `=`") && !warnings.contains("hunter2"),
            "{warnings}"
        );
        assert_eq!(loaded.config.sessions.tick_ms, 700);
    }

    #[test]
    fn unknown_variables_are_named_and_those_of_services_are_not() {
        let home = tempfile::tempdir().expect("a directory");
        let warnings = said(
            &try_load(
                home.path(),
                &[
                    ("ZOO_TICKTIME", "500"),
                    ("ZOO_PORT_NUMBER", "2181"),
                    ("ZOO_LOG4J_PROP", "INFO,CONSOLE"),
                    ("ZOO_LOG_DIR", "/logs"),
                    ("ZOO_SERVICE_HOST", "10.0.0.1"),
                    ("ZOO_SERVICE_PORT", "2181"),
                    ("ZOO_SERVICE_PORT_CLIENT", "2181"),
                    ("ZOO_PORT", "tcp://10.0.0.1:2181"),
                    ("ZOO_PORT_2181_TCP", "tcp://10.0.0.1:2181"),
                    ("ZOO_PORT_2181_TCP_PROTO", "tcp"),
                    ("ZOO_PORT_2181_TCP_PORT", "2181"),
                    ("ZOO_PORT_2181_TCP_ADDR", "10.0.0.1"),
                    ("ZOOKEEPER_X", "1"),
                ],
            )
            .expect("usable"),
        );
        let expected = [
            "environment: unknown variable `ZOO_PORT_NUMBER` is ignored",
            "environment: unknown variable `ZOO_TICKTIME` is ignored; did you mean `ZOO_TICK_TIME`?",
            "environment ZOO_LOG4J_PROP: ZOO_LOG4J_PROP: ignored: the log goes to stderr; RINGKEEPER_LOG sets its level",
            "defaults: admin.enableServer: accepted, not yet effective",
        ];
        let mut sorted = warnings.clone();
        sorted.sort();
        let mut wanted = expected.map(str::to_owned);
        wanted.sort();
        assert_eq!(sorted, wanted);
    }

    #[test]
    fn the_variables_come_to_what_they_say() {
        let home = tempfile::tempdir().expect("a directory");
        let config = try_load(home.path(), &[]).expect("usable").config;
        assert_eq!(config.clients.listen, Some(Listen::Any { port: 2181 }));
        assert_eq!((config.sessions.tick_ms, config.storage.autopurge), (2_000, None));
        assert_eq!(config.storage.data_log_dir, home.path().join("datalog"));
        assert_eq!(config.server_id(), proto::ServerId(1));
        assert!(config.ensemble().is_none() && config.storage.autocreate);
        let other = [("ZOO_MY_ID", "7"), (SERVERS, "server.7=localhost:2888:3888;[::1]:2281"), (NO_AUTOCREATE, "1")];
        let config = try_load(home.path(), &other).expect("usable").config;
        assert_eq!(config.clients.listen, Some(Listen::At("[::1]:2281".parse().expect("an address"))));
        assert!(config.server_id() == proto::ServerId(7) && !config.storage.autocreate);
        let three = [(SERVERS, "server.1=a:1:2;3 server.2=b:1:2;3 server.3=c:1:2;3")];
        assert!(try_load(home.path(), &three).expect("usable").config.ensemble().is_some());
        assert!(std::fs::read_dir(home.path()).expect("a directory").next().is_none(), "reading has written");
    }

    #[test]
    fn files_are_written_where_they_are_absent_and_hold_where_they_are_not() {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(home.path().join("conf")).expect("made");
        let (conf, my_id) = (home.path().join("conf/zoo.cfg"), home.path().join("data/myid"));
        let read = |file: &Path| std::fs::read_to_string(file).expect("written");
        let docker_of = |variables: &[(&str, &str)]| {
            let conf_dir = home.path().join("conf").to_string_lossy().into_owned();
            let data_dir = home.path().join("data").to_string_lossy().into_owned();
            let own = [(CONF_DIR, conf_dir.as_str()), ("ZOO_DATA_DIR", data_dir.as_str())];
            docker(&own.into_iter().chain(variables.iter().copied()).collect::<Vec<_>>())
        };
        let first = docker_of(&[("ZOO_TICK_TIME", "700"), ("ZOO_MY_ID", "4")]);
        assert_eq!(first.write(), [""; 0]);
        assert!(read(&conf).contains("\ntickTime=700\n") && read(&my_id) == "4\n");
        // The same container again: nothing to say.
        let again = Sources { docker: Some(first), ..Sources::default() };
        assert!(said(&load(&again).expect("usable")).iter().all(|text| !text.contains("no effect")));
        let other = docker_of(&[("ZOO_TICK_TIME", "900"), ("ZOO_MY_ID", "5")]);
        assert_eq!(other.write(), [""; 0]);
        let loaded = load(&Sources { docker: Some(other), ..Sources::default() }).expect("usable");
        assert_eq!((loaded.config.sessions.tick_ms, loaded.config.server_id()), (700, proto::ServerId(4)));
        let warnings = said(&loaded).join("\n");
        assert!(warnings.contains("environment: ZOO_DATA_DIR, ZOO_TICK_TIME: no effect, because"), "{warnings}");
        assert!(warnings.contains("environment ZOO_MY_ID: myid: 5 has no effect, because"), "{warnings}");
    }

    #[test]
    fn a_read_only_container_goes_by_the_variables() {
        let home = tempfile::tempdir().expect("a directory");
        let (data, nowhere) = (home.path().join("data"), home.path().join("no/conf"));
        let docker =
            docker(&[(CONF_DIR, nowhere.to_str().expect("text")), ("ZOO_DATA_DIR", data.to_str().expect("text"))]);
        let warnings = docker.write();
        let expected = format!("cannot write {}/zoo.cfg: No such file or directory", nowhere.display());
        assert!(matches!(warnings.as_slice(), [one] if one.starts_with(&expected)), "{warnings:?}");
        assert!(data.join("myid").is_file());
    }
}
