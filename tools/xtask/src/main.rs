//! How RingKeeper is tested: `cargo xtask check`, `cargo xtask ci` and `cargo xtask long NAME`.
//!
//! Owns the order of the stages, their budgets and the sum. It runs other programs (cargo, the client suites, rkbench) and
//! must never decide itself whether the server is right: a stage passes or fails by its tests' own words ([`count`]). It is
//! built without any other crate of the workspace, so that a crate that does not compile is a failed stage and no broken
//! command. Exit code 1 where anything failed, 2 for a wrong command line; the last line says `N passed, N failed`.
#![forbid(unsafe_code)]

mod count;
mod job;
mod long;
mod place;
mod run;
mod stages;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::place::Place;

/// RingKeeper's checks
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, after_help = "Logs: target/ci-logs/<stage>.log")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Before each commit, under 5 minutes: format, lints, unit and model tests
    Check,
    /// Everything that guards a change, at most 50 minutes on 2 cores; what `.ci/run` runs
    #[command(after_help = stages::help())]
    Ci {
        /// Only these stages (and what they need), separated by commas
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        only: Vec<String>,
    },
    /// A long suite, in rounds; goes on where it was stopped and writes docs/reports/<date>-<name>.md
    #[command(after_help = long::help())]
    Long {
        /// Which one
        name: String,
        /// How many rounds in all
        #[arg(long, value_name = "N")]
        rounds: Option<u32>,
        /// Begin anew instead of going on
        #[arg(long)]
        fresh: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let place = Place::find();
    let outcome = match cli.command {
        Command::Check => run::stages(&place, stages::CHECK, &[]),
        Command::Ci { only } => run::stages(&place, stages::CI, &only),
        Command::Long { name, rounds, fresh } => long::run(&place, &name, rounds, fresh),
    };
    match outcome {
        Ok(counts) => {
            println!("{} passed, {} failed", counts.passed, counts.failed);
            ExitCode::from(u8::from(counts.failed > 0 || counts.passed == 0))
        }
        Err(mistake) => {
            eprintln!("cargo xtask: {mistake}");
            ExitCode::from(2)
        }
    }
}
