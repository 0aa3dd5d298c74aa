//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::matrix::{Row, Target, parse_row, parse_target};
use crate::spec::{LoadSpec, Workload, parse_servers};

/// Load generator for any ZooKeeper-protocol server.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load servers once and print the figures
    Run(RunArgs),
    /// Load several servers in turn, several rounds, and print medians side by side
    Compare(CompareArgs),
    /// Start servers on full trees and print what their storage costs: start time, memory, pauses, bytes written
    Storage(StorageArgs),
    /// Start ensembles, of Java and of RingKeeper, and print what they do under load and when their leader is killed
    Ensemble(crate::ensemble::EnsembleArgs),
}

/// `rkbench storage`.
#[derive(Debug, Args)]
pub(crate) struct StorageArgs {
    #[command(subcommand)]
    pub(crate) figure: crate::storage::Figure,
}

/// `rkbench run`.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = "\
Example: 64 sessions, 16 requests deep, 1 KiB sets for 10 s, with the server's CPU time:
  rkbench run --servers 127.0.0.1:2181 --connections 64 --depth 16 --workload set --data-bytes 1024 \\
      --duration 10 --warmup 2 --server-pid $(pidof ringkeeper)

The open loop (--rate) counts latency from the moment an operation was meant to start. Every reply is checked; a
wrong one makes the exit code 1. The znodes of a run lie below /rkbench-<pid>-<time> and are deleted at its end."
)]
pub(crate) struct RunArgs {
    /// Servers, connections go to them in turn
    #[arg(long, value_name = "HOST:PORT,...", value_parser = parse_servers, default_value = "127.0.0.1:2181")]
    servers: std::vec::Vec<SocketAddr>,
    /// Connections, each its own session
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one)]
    connections: usize,
    /// Most requests in flight per connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    depth: usize,
    /// Open loop: operations offered per second, over all connections
    #[arg(long, value_name = "OPS", value_parser = positive)]
    rate: Option<f64>,
    /// What the clients do
    #[arg(long, value_enum, default_value_t = Workload::Get)]
    workload: Workload,
    /// Reads among 100 operations of the mixed workload
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u32).range(0..=100))]
    read_percent: u32,
    /// Bytes of data per znode
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    data_bytes: usize,
    /// Znodes that get and set work on
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_one)]
    keys: usize,
    /// Seconds that are measured
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// Seconds of load before them
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    warmup: Duration,
    /// The server's process: adds its CPU time per operation and its memory; of an ensemble all of them, for the sum
    #[arg(long, value_name = "PID,...", value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Pin the generator to this CPU
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
    /// Write the figures here too, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl RunArgs {
    pub(crate) fn spec(&self) -> LoadSpec {
        LoadSpec {
            servers: self.servers.clone(),
            workload: self.workload,
            read_percent: self.read_percent,
            data_bytes: self.data_bytes,
            connections: self.connections,
            depth: self.depth,
            rate: self.rate,
            keys: self.keys,
            warmup: self.warmup,
            duration: self.duration,
            server_pids: self.server_pid.clone(),
            filled: None,
        }
    }
}

/// `rkbench compare`.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = "\
Example: Java against RingKeeper, the default rows, Java against itself for the noise, p99 at 70 % of the slower one's best:
  rkbench compare --target java=127.0.0.1:2182,4711 --target rk=127.0.0.1:2181,4712 \\
      --self --equal-load 0.7 --prewarm 20 --pin 1 --json compare.json > compare.md

Rows are WORKLOAD:BYTES:CONNECTIONSxDEPTH, as in set:1024:64x16. Without --row they are set and get of 1 KiB at 1x1, 16x1
and 64x16, and create of 100 B at 64x16. Progress goes to stderr, the Markdown to stdout.
bench/compare-java.sh starts both servers on one core and runs this."
)]
pub(crate) struct CompareArgs {
    /// A server to measure, repeatable; the first is the yardstick
    #[arg(long = "target", value_name = "NAME=HOST:PORT[+HOST:PORT..][,PID[+PID..]]", value_parser = parse_target, required = true)]
    pub(crate) targets: Vec<Target>,
    /// A row to measure, repeatable
    #[arg(long = "row", value_name = "WORKLOAD:BYTES:CxD", value_parser = parse_row)]
    pub(crate) rows: Vec<Row>,
    /// Rounds per row and target; medians and ranges are over them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) rounds: usize,
    /// Measure the first target a second time under another name, so that noise is visible
    #[arg(long = "self")]
    pub(crate) against_itself: bool,
    /// Measure again in the open loop, at this share of the slowest target's closed-loop median
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) equal_load: Option<f64>,
    /// Seconds of mixed load on every target before anything is measured (a JVM wants 20)
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) prewarm: Duration,
    /// Seconds measured per run
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Seconds of load before each
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// Znodes that get and set work on
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) keys: usize,
    /// Reads among 100 operations of the mixed workload
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) read_percent: u32,
    /// Pin the generator to this CPU
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
    /// Write every run's figures here, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

pub(crate) fn at_least_one(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(0) | Err(_) => Err("must be a whole number from 1 on".to_owned()),
        Ok(value) => Ok(value),
    }
}

fn positive(value: &str) -> Result<f64, String> {
    value.parse().ok().filter(|v: &f64| v.is_finite() && *v > 0.0).ok_or("must be a number above 0".to_owned())
}

fn share(value: &str) -> Result<f64, String> {
    positive(value).ok().filter(|share| *share < 1.0).ok_or("must be between 0 and 1, as in 0.7".to_owned())
}

pub(crate) fn seconds(value: &str) -> Result<Duration, String> {
    let seconds = value.parse::<f64>().ok().filter(|s| (0.0..=86_400.0).contains(s));
    seconds.map(Duration::from_secs_f64).ok_or("must be seconds from 0 to 86400, as in 10 or 0.5".to_owned())
}
