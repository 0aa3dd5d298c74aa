//! `rkdiff`: compares RingKeeper with the real ZooKeeper, answer by answer.
#![forbid(unsafe_code)]

use clap::{Args, Parser, Subcommand};
use ringkeeper_differential::campaign::{self, Pair, Plan};
use ringkeeper_differential::deliberate;
use ringkeeper_differential::generate::Options;
use ringkeeper_differential::sequence::{Sequence, Step};
use ringkeeper_differential::servers::Kind;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Compares RingKeeper with the real ZooKeeper: the same seeded random sequences for both, every reply and every watch event compared.
#[derive(Parser)]
#[command(name = "rkdiff", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "examples:
  rkdiff run --ringkeeper target/ci/ringkeeper --seed 1 --operations 25000
  rkdiff run --ringkeeper target/ci/ringkeeper --seed 1 --seeds 40 --operations 25000
  rkdiff run --candidate 127.0.0.1:2182 --operations 25000
  rkdiff replay target/divergences/seed-1-0.jsonl --ringkeeper target/ci/ringkeeper

Exit code 0: no divergence; 1: some; 2: it could not be run.";

#[derive(Subcommand)]
enum Command {
    /// Runs random sequences; a divergence is printed with the least sequence that shows it.
    Run(RunArguments),
    /// Runs one sequence from a file.
    Replay(ReplayArguments),
}

#[derive(Args)]
struct Servers {
    /// RingKeeper's binary.
    #[arg(long, value_name = "BINARY", required_unless_present = "candidate")]
    ringkeeper: Option<PathBuf>,
    /// A server that runs already, in place of RingKeeper's binary: one of an ensemble. It must enforce quotas, take extended types, have `super:test` as its super user, and collect no containers.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["ringkeeper", "with_itself"])]
    candidate: Option<SocketAddr>,
    /// The same in place of the real server.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["java", "with_itself"])]
    reference: Option<SocketAddr>,
    /// RingKeeper's shards.
    #[arg(long, default_value_t = 2)]
    shards: usize,
    /// The real server's version: 3.9, or 3.8, whose differences from 3.9 that `docs/zookeeper-3.8.md` names are left out and counted.
    #[arg(long, default_value = "3.9", value_parser = ["3.9", "3.8"])]
    java: String,
    /// Compare with a second RingKeeper in place of the real server.
    #[arg(long)]
    with_itself: bool,
}

#[derive(Args)]
struct RunArguments {
    #[command(flatten)]
    servers: Servers,
    /// The first seed; without it, a fresh one by the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Operations for each seed.
    #[arg(long, default_value_t = 25_000)]
    operations: usize,
    /// Divergences after which it ends.
    #[arg(long, default_value_t = 5)]
    divergences: usize,
    /// Where diverging sequences are written.
    #[arg(long, default_value = "target/divergences", value_name = "DIR")]
    out: PathBuf,
    /// Quotas too, enforced.
    #[arg(long)]
    quotas: bool,
    /// The candidate is a server of an ensemble: its configuration is left out, and records that cannot be read, which a Java server hands on and does not answer.
    #[arg(long)]
    ensemble: bool,
    /// Show how often each operation had which outcome.
    #[arg(long)]
    coverage: bool,
    /// No progress.
    #[arg(long)]
    quiet: bool,
}

#[derive(Args)]
struct ReplayArguments {
    /// The sequence: JSON, one step a line.
    file: PathBuf,
    #[command(flatten)]
    servers: Servers,
    /// Show every answer of both.
    #[arg(long)]
    verbose: bool,
}

impl Servers {
    fn start(&self) -> io::Result<Pair> {
        let candidate = match (self.candidate, &self.ringkeeper) {
            (Some(address), _) => Kind::Running(address),
            (None, Some(binary)) => Kind::RingKeeper(binary.clone(), self.shards),
            (None, None) => return Err(io::Error::other("--ringkeeper or --candidate is needed")),
        };
        let reference = match self.reference {
            Some(address) => Kind::Running(address),
            None if self.with_itself => candidate.clone(),
            None => Kind::Java(self.java.clone()),
        };
        Pair::start(reference, candidate)
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Replay(arguments) => replay(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("rkdiff: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &RunArguments) -> io::Result<bool> {
    let clock =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let plan = Plan {
        seed: arguments.seed.unwrap_or_else(clock),
        seeds: arguments.seeds,
        operations: arguments.operations,
        divergences_max: arguments.divergences,
        out: arguments.out.clone(),
        options: Options { quotas: arguments.quotas, ensemble: arguments.ensemble },
        quiet: arguments.quiet,
    };
    let mut pair = arguments.servers.start()?;
    let summary = campaign::run(&mut pair, &plan)?;
    if arguments.coverage {
        print!("{}", pair.coverage);
    }
    print!("{}", pair.older);
    let seconds = summary.took.as_secs_f64();
    println!(
        "{} operations in {} sequences, seeds {} to {}, {} divergences, {seconds:.0} s, {:.0} operations/s",
        summary.operations,
        summary.sequences,
        plan.seed,
        plan.seed + summary.seeds - 1,
        summary.divergences.len(),
        f64::from(u32::try_from(summary.operations).unwrap_or(u32::MAX)) / seconds,
    );
    // The line that `cargo xtask` reads: seeds.
    println!("{} passed, {} failed", summary.seeds - summary.seeds_failed, summary.seeds_failed);
    Ok(summary.divergences.is_empty())
}

fn replay(arguments: &ReplayArguments) -> io::Result<bool> {
    let text = std::fs::read_to_string(&arguments.file)?;
    let sequence = Sequence::from_text(&text).map_err(io::Error::other)?;
    campaign::print_sequence(&sequence);
    for step in &sequence.steps {
        let Step::Burst { ops, .. } = step else { continue };
        if let Some(deliberate) = ops.iter().find_map(deliberate::refused) {
            return Err(io::Error::other(format!("{} is not sent: {}", deliberate.what, deliberate.why)));
        }
    }
    let mut pair = arguments.servers.start()?;
    let transcripts = pair.transcripts(&sequence)?;
    if arguments.verbose {
        for (name, transcript) in ["reference", "candidate"].into_iter().zip(&transcripts) {
            println!("{name}:\n{transcript}");
        }
    }
    let [reference, candidate] = transcripts;
    let difference = pair.difference(&sequence, &reference, &candidate);
    print!("{}", pair.older);
    match &difference {
        Some(difference) => println!("{difference}"),
        None => println!("no divergence"),
    }
    Ok(difference.is_none())
}
