//! `rkbench ensemble`: ensembles of Java and of RingKeeper side by side in one run. What they do under load and what that costs, all servers added up; and
//! for how long nobody is answered when the leader is killed.
//!
//! Owns the run: the ensembles ([`servers`]) stand beside each other, and one of them is loaded at a time. The load and its tables are those of
//! `rkbench compare`. These are figures, never tests: nothing has a limit of time, except that nothing waits for ever.

mod failover;
mod servers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::args::{CompareArgs, at_least_one, seconds};
use crate::compare;
use crate::error::Result;
use crate::matrix::{Row, parse_row};
use crate::report::write_json;
use crate::spec::Workload;
use crate::spread::Spread;
use crate::storage::page::Page;
use crate::storage::server::Kind;
use failover::Failover;
use servers::{Ensemble, Place};

/// `rkbench ensemble`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: 3 servers each, Java first, Java against itself for the noise, 20 kills of each leader:
  rkbench ensemble --ringkeeper target/release/ringkeeper --self --prewarm 20 --json ensemble.json > ensemble.md

Short, to see that it works:
  rkbench ensemble --only java --rounds 1 --duration 2 --kills 2")]
pub(crate) struct EnsembleArgs {
    /// Servers of each ensemble
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    servers: u8,
    /// Only these servers
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// RingKeeper's binary; without it, the one beside rkbench
    #[arg(long, value_name = "BINARY")]
    ringkeeper: Option<PathBuf>,
    /// Starts the real server
    #[arg(long, value_name = "SCRIPT", default_value = "tests/reference/java-server.sh")]
    java_script: PathBuf,
    /// Heap of each JVM
    #[arg(long, value_name = "SIZE", default_value = "512m")]
    heap: String,
    /// A line more for everybody's zoo.cfg; as often as wanted
    #[arg(long, value_name = "KEY=VALUE")]
    cfg: Vec<String>,
    /// Where the servers keep their data. Without it: a new directory in /tmp, removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A row to measure, as in `rkbench compare`; without it, set and mixed of 1 KiB at 1x1 and 64x16
    #[arg(long = "row", value_name = "WORKLOAD:BYTES:CxD", value_parser = parse_row)]
    rows: Vec<Row>,
    /// Reads among 100 operations of the mixed workload
    #[arg(long, value_name = "PERCENT", default_value_t = 90, value_parser = clap::value_parser!(u32).range(0..=100))]
    read_percent: u32,
    /// Rounds per row and ensemble; 0: no load is measured
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Measure the first ensemble a second time under another name, so that noise is visible
    #[arg(long = "self")]
    against_itself: bool,
    /// Seconds of mixed load on every ensemble before anything is measured (a JVM wants 20)
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    prewarm: Duration,
    /// Seconds measured per run
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    duration: Duration,
    /// Seconds of load before each
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    warmup: Duration,
    /// How often each ensemble's leader is killed; 0: never
    #[arg(long, value_name = "N", default_value_t = 20)]
    kills: usize,
    /// Clients that write one znode after the other while leaders are killed
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one)]
    writers: usize,
    /// Pin the load to this CPU
    #[arg(long, value_name = "CPU")]
    pin: Option<usize>,
    /// Write every run's figures here, as JSON; those of the load beside it, with `load.` before its name
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    Ringkeeper,
    Java,
}

/// What killing the leaders of one ensemble came to.
#[derive(Debug, Serialize)]
struct Kills {
    name: &'static str,
    failovers: Vec<Failover>,
}

/// Measures and prints.
///
/// # Errors
/// [`crate::error::BenchError`]: a figure whose servers did not do what they should has no result.
pub(crate) fn run(args: &EnsembleArgs) -> Result<()> {
    crate::pin(args.pin)?;
    let page = Page::begin("Ensemble figures");
    let place = Place::new(args.data.as_deref())?;
    let sites: Vec<_> =
        kinds(args).into_iter().zip(1..).map(|(kind, nth)| place.sites(&kind, nth, args.servers, &args.cfg)).collect();
    let mut ensembles = sites.iter().map(|sites| Ensemble::start(sites)).collect::<Result<Vec<_>>>()?;
    if args.rounds > 0 {
        compare::run(&comparison(args, &ensembles))?;
    }
    let mut kills: Vec<Kills> =
        ensembles.iter().map(|ensemble| Kills { name: ensemble.name(), failovers: Vec::new() }).collect();
    // They take turns, as in the comparison.
    for number in 1..=args.kills {
        for (ensemble, kills) in ensembles.iter_mut().zip(&mut kills) {
            let failover = failover::measure(ensemble, args.writers)?;
            eprintln!("kill {number} of {}: nobody was answered for {:.0} ms", kills.name, failover.gap_ms);
            kills.failovers.push(failover);
        }
    }
    tell_of_failovers(args, page, &kills)
}

fn tell_of_failovers(args: &EnsembleArgs, mut page: Page, kills: &[Kills]) -> Result<()> {
    if args.kills == 0 {
        return Ok(());
    }
    page.paragraph(&format!(
        "kill -9 of the leader of {} servers while {} clients write 1 KiB each, one after the other: the longest time between two acknowledged \
         writes, median [range] of {} kills. Ticks of 2,000 ms.",
        args.servers, args.writers, args.kills
    ));
    let row = |kills: &Kills| {
        let of = |figure: fn(&Failover) -> f64| {
            let spread = Spread::over(kills.failovers.iter().map(figure).collect());
            spread.map_or("-".to_owned(), |spread| spread.to_string())
        };
        vec![kills.name.to_owned(), of(|failover| failover.gap_ms), of(|failover| failover.writes_per_s_before)]
    };
    page.table(&["ensemble", "gap ms", "writes/s before"], &kills.iter().map(row).collect::<Vec<_>>());
    page.end(None)?;
    args.json.as_deref().map_or(Ok(()), |path| write_json(path, &kills))
}

/// Java first: it is the yardstick.
fn kinds(args: &EnsembleArgs) -> Vec<Kind> {
    let beside = || std::env::current_exe().unwrap_or_default().with_file_name("ringkeeper");
    let java = Kind::Java { script: args.java_script.clone(), heap: args.heap.clone() };
    let ringkeeper = Kind::RingKeeper { binary: args.ringkeeper.clone().unwrap_or_else(beside) };
    match args.only {
        None => vec![java, ringkeeper],
        Some(Only::Java) => vec![java],
        Some(Only::Ringkeeper) => vec![ringkeeper],
    }
}

fn comparison(args: &EnsembleArgs, ensembles: &[Ensemble<'_>]) -> CompareArgs {
    let row = |workload, connections, depth| Row { workload, data_bytes: 1024, connections, depth };
    let usual = [Workload::Set, Workload::Mixed].into_iter().flat_map(|load| [row(load, 1, 1), row(load, 64, 16)]);
    CompareArgs {
        targets: ensembles.iter().map(Ensemble::target).collect(),
        rows: if args.rows.is_empty() { usual.collect() } else { args.rows.clone() },
        rounds: args.rounds,
        against_itself: args.against_itself,
        equal_load: None,
        prewarm: args.prewarm,
        duration: args.duration,
        warmup: args.warmup,
        keys: 1000,
        read_percent: args.read_percent,
        // This thread is already.
        pin: None,
        json: args.json.as_deref().map(beside),
    }
}

/// `load.NAME` beside a file.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("load.{name}"))
}
