//! The command line of `ringkeeper`.
//!
//! Owns option names, help and the step from options to [`config::Sources`](crate::config::Sources). Reads no file and
//! sets nothing up. A mistake in the command line ends in clap's message with exit code 2, like one in the
//! configuration.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Parser;

use crate::config::{JVM_FLAGS, Sources};
use crate::docker::Docker;
use crate::logging::LogFormat;

/// Exit code for a configuration or a command line with which the server cannot start.
pub const EXIT_USAGE: u8 = 2;
/// Exit code where the machine lacks something, or the server had to stop.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code where the image in use is damaged or cannot be read ([`snapshot::fault::FAULT_EXIT_CODE`]).
pub const EXIT_UNREADABLE: u8 = 74;
const _: () = assert!(EXIT_UNREADABLE as i32 == snapshot::fault::FAULT_EXIT_CODE);

/// What `--version` shows: a build that can be told to fail says so.
const VERSION: &str = if cfg!(feature = "fault-injection") {
    concat!(env!("CARGO_PKG_VERSION"), " (fault-injection: for tests only)")
} else {
    env!("CARGO_PKG_VERSION")
};

/// RingKeeper: a drop-in Apache ZooKeeper server.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "ringkeeper", version = VERSION, about, long_about = None, after_help = EXAMPLES)]
pub struct Cli {
    /// ZooKeeper configuration file. Without it: 127.0.0.1:2181, data in ./ringkeeper-data, ticks of 2000 ms
    #[arg(value_name = "ZOO.CFG")]
    pub config: Option<PathBuf>,

    /// Set a key or a ZooKeeper system property, with or without the prefix `zookeeper.`; wins over the file
    #[arg(short = 'D', value_name = "KEY=VALUE", action = clap::ArgAction::Append)]
    pub properties: Vec<String>,

    /// Directory of the data; wins over dataDir
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Port for clients, 0 for a free one; wins over clientPort
    #[arg(long, value_name = "PORT")]
    pub client_port: Option<u16>,

    /// Take the configuration from a container's environment, as the official ZooKeeper image does: the variables ZOO_*, written
    /// to $ZOO_CONF_DIR/zoo.cfg and $ZOO_DATA_DIR/myid where these are absent
    #[arg(long, conflicts_with_all = ["config", "data_dir"])]
    pub docker: bool,

    /// Check the configuration, say what is wrong with it, and end: 0 usable, 2 errors
    #[arg(long)]
    pub check_config: bool,

    /// What to log: a level, or levels by module such as `info,ringkeeper_server::preflight=debug`
    #[arg(long, value_name = "SPEC", help_heading = "Logging")]
    pub log_level: Option<String>,

    /// How to write the log, which goes to stderr
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, help_heading = "Logging")]
    pub log_format: LogFormat,
}

const EXAMPLES: &str = "\
Examples:
  ringkeeper                                   a server for this machine, data in ./ringkeeper-data
  ringkeeper /etc/zookeeper/conf/zoo.cfg       what ZooKeeper would do with this file
  ringkeeper --check-config zoo.cfg            only check the file
  ringkeeper zoo.cfg -D snapCount=50000 -Dzookeeper.4lw.commands.whitelist='*'
  ringkeeper --data-dir /tmp/rk --client-port 0 --log-level debug
  ZOO_TICK_TIME=500 ringkeeper --docker        in a container, in place of the official ZooKeeper image
  RINGKEEPER_LOG=warn ringkeeper zoo.cfg --log-format json

All keys: docs/configuration.md. The log level also comes from RINGKEEPER_LOG; --log-level wins.";

impl Cli {
    /// Where the configuration comes from.
    pub fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            properties: self.properties.clone(),
            jvm_flags: JVM_FLAGS.iter().filter_map(|name| std::env::var(name).ok()).collect(),
            data_dir: self.data_dir.clone(),
            client_port: self.client_port,
            docker: self.docker.then(|| Docker::from_env(std::env::vars_os())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("ringkeeper").chain(args.iter().copied()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn properties_are_taken_in_javas_spelling_and_apart() {
        let cli = parse(&["zoo.cfg", "-Dzookeeper.snapCount=5", "-D", "tickTime=1000", "--client-port", "0"]);
        let sources = cli.expect("a valid command line").sources();
        assert_eq!(sources.properties, ["zookeeper.snapCount=5", "tickTime=1000"]);
        assert_eq!(sources.file, Some("zoo.cfg".into()));
        assert_eq!(sources.client_port, Some(0));
    }

    #[test]
    fn mistakes_are_refused() {
        for args in [
            &["a.cfg", "b.cfg"][..],
            &["--docker", "a.cfg"],
            &["--docker", "--data-dir", "/d"],
            &["--client-port", "70000"],
            &["--log-format", "xml"],
            &["--no-such"],
        ] {
            let error = parse(args).expect_err("an invalid command line");
            assert_eq!(error.exit_code(), i32::from(EXIT_USAGE), "{args:?}");
        }
    }

    #[test]
    fn help_and_version_name_what_users_look_for() {
        let help = parse(&["--help"]).expect_err("help is an early end").to_string();
        for needle in
            ["Examples:", "--check-config", "--data-dir", "--docker", "RINGKEEPER_LOG", "docs/configuration.md"]
        {
            assert!(help.contains(needle), "{needle} is missing in:\n{help}");
        }
        let version = parse(&["--version"]).expect_err("version is an early end").to_string();
        assert!(version.starts_with("ringkeeper ") && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    }
}
