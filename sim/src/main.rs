//! The command line of the simulator: runs seeds, and checks histories that were recorded elsewhere.
#![forbid(unsafe_code)]

mod bugs;

use clap::{Args, Parser, Subcommand};
use ringkeeper_sim::check;
use ringkeeper_sim::cluster::{self, Bug, Report, RunOptions};
use ringkeeper_sim::history::History;
use ringkeeper_sim::world::time::Micros;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The deterministic simulator of RingKeeper, and its checkers of histories.
#[derive(Debug, Parser)]
#[command(name = "sim", version, about, long_about = None, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  sim run --seed 7                     one run; it prints what it came to
  sim run --seed 7 --trace t --history h.jsonl
                                       the same run, with everything that happened in it
  sim run --seed 1 --seeds 1000        a thousand seeds; the first that fails is told with the command that replays it
  sim run --servers 1 --seed 1 --seeds 200
                                       one server alone, without an ensemble
  sim run --seed 1 --seeds 200 --bug ack-before-durable
                                       a planted bug: it must be found
  sim bugs                             how soon each planted bug is found
  sim check h.jsonl                    checks a history
  sim check client-*.jsonl             the histories of several recorders, put in order by at_us

The form of a history stands in sim/src/history/mod.rs. Exit codes: 0 all right, 1 something is wrong, 2 the call or a file is.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run seeds: an ensemble, or one server alone, with clients, under faults
    Run(Run),
    /// How soon each planted bug is found, as a table
    Bugs(bugs::Bugs),
    /// Check a recorded history (JSON lines)
    Check {
        /// The files; several are merged by their lines' at_us
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// The seed, or the first one
    #[arg(long)]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Servers; 1: one alone. Without it the seed says: 3, rarely 5 or 7
    #[arg(long)]
    servers: Option<u32>,
    /// How many of these observe
    #[arg(long, default_value_t = 0)]
    observers: u32,
    /// Clients
    #[arg(long, default_value_t = 4)]
    clients: u32,
    /// For how long there are faults, in virtual seconds
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// A planted bug
    #[arg(long)]
    bug: Option<Bug>,
    /// Go on after a seed that fails
    #[arg(long)]
    go_on: bool,
    /// Run each seed twice and compare the traces
    #[arg(long)]
    twice: bool,
    /// Write the trace here
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Write the history here
    #[arg(long)]
    history: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(run) => run_seeds(&run),
        Command::Bugs(bugs) => bugs::run(&bugs),
        Command::Check { files } => check_files(&files),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run_seeds(run: &Run) -> Result<bool, String> {
    let began = Instant::now();
    let options = RunOptions {
        servers: run.servers.map_or(0, |servers| servers.max(1)),
        observers: run.observers,
        clients: run.clients.max(1),
        faults_for: Micros::s(run.seconds),
        with_trace: run.trace.is_some(),
        bug: run.bug,
    };
    let (mut replies, mut starts, mut leaders, mut virtual_time) = (0, 0, 0, Duration::ZERO);
    let mut wrong = 0;
    for seed in run.seed..run.seed.saturating_add(run.seeds) {
        let report = cluster::run(seed, options);
        replies += report.replies;
        starts += report.starts;
        leaders += report.leaders;
        virtual_time += Duration::from_micros(report.time.0);
        write_files(run, &report)?;
        if run.twice && cluster::run(seed, options).trace_hash != report.trace_hash {
            println!("seed {seed}: two runs have different traces");
            return Ok(false);
        }
        if !report.violations.is_empty() {
            tell_of_failure(&options, seed, &report);
            wrong += 1;
            if !run.go_on {
                return Ok(false);
            }
            continue;
        }
        if run.seeds == 1 {
            println!(
                "seed {seed}: right. {} steps in {} s of virtual time, {} starts, {} leaders, {} replies, {} lines of history, trace {:#018x}",
                report.steps,
                report.time,
                report.starts,
                report.leaders,
                report.replies,
                report.history.len(),
                report.trace_hash
            );
        }
    }
    if run.seeds > 1 {
        let took = began.elapsed();
        println!(
            "{} seeds, {wrong} wrong. {starts} starts, {leaders} leaders, {replies} replies, {:.2} simulated hours in {:.1} s: {:.2} hours a minute",
            run.seeds,
            virtual_time.as_secs_f64() / 3_600.0,
            took.as_secs_f64(),
            virtual_time.as_secs_f64() / 60.0 / took.as_secs_f64(),
        );
    }
    Ok(wrong == 0)
}

fn tell_of_failure(options: &RunOptions, seed: u64, report: &Report) {
    println!("seed {seed}: wrong");
    for violation in &report.violations {
        println!("{}", violation.in_full(&report.history));
    }
    println!("replay it: {}", options.replay(seed));
}

fn write_files(run: &Run, report: &Report) -> Result<(), String> {
    let write = |file: &Option<PathBuf>, text: String| match file {
        Some(file) => std::fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display())),
        None => Ok(()),
    };
    write(&run.trace, report.trace.iter().map(|line| format!("{line}\n")).collect())?;
    write(&run.history, report.history.to_text())
}

fn check_files(files: &[PathBuf]) -> Result<bool, String> {
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        History::parse(&text).map_err(|error| format!("{}: {error}", file.display()))
    };
    let mut all = files.iter().map(read).collect::<Result<Vec<History>, String>>()?;
    let history = if all.len() == 1 { all.pop().unwrap_or_default() } else { History::merge(all) };
    let violations = check::check(&history);
    for violation in &violations {
        println!("{}", violation.in_full(&history));
    }
    let undecided = check::undecided(&history);
    for what in &undecided {
        println!("{what}");
    }
    if violations.is_empty() {
        let as_far = if undecided.is_empty() { "" } else { ", as far as it is decided" };
        println!("{} lines: right{as_far}", history.len());
    }
    Ok(violations.is_empty())
}
