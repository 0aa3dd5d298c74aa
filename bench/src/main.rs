//! `rkbench`: a load generator for any ZooKeeper-protocol server, side-by-side runs of several, and figures of their storage.
//!
//! It owns the load, the clock and the figures. It must never depend on a server's inside, nor report a figure of a run whose
//! replies were not all checked. It fails with exit code 1 and words that say what to do; wrong replies fail a run too. The tests of
//! `workload` and `link` hold the checks; `tests/against_a_scripted_server.rs` runs the binary against a server that lies.
#![forbid(unsafe_code)]

mod args;
mod compare;
mod ensemble;
mod error;
mod filled;
mod keyspace;
mod link;
mod load;
mod matrix;
mod process;
mod random;
mod report;
mod spec;
mod spread;
mod storage;
mod undisturbed;
mod workload;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::error::{BenchError, Result};

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("rkbench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Run(run) => {
            pin(run.pin)?;
            let report = load::run(&run.spec())?;
            println!("{report}");
            if let Some(path) = &run.json {
                report::write_json(path, &report)?;
            }
            report.verdict()
        }
        Command::Compare(compare) => {
            pin(compare.pin)?;
            compare::run(&compare)
        }
        Command::Storage(storage) => storage::run(&storage.figure),
        Command::Ensemble(ensemble) => ensemble::run(&ensemble),
    }
}

/// Pins the calling, only, thread.
fn pin(cpu: Option<usize>) -> Result<()> {
    match cpu {
        Some(id) if !core_affinity::set_for_current(core_affinity::CoreId { id }) => Err(BenchError::Pin(id)),
        _ => Ok(()),
    }
}
