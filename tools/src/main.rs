//! `rkctl`: inspection and control of a RingKeeper server.
//!
//! Owns the command line. What reads files needs no server and writes nothing, but for `repair`, which copies the directory first. Exit codes: 0 done and
//! all is well, 1 not, 2 a wrong command line. `docs/inspection.md` has each command with an example.
#![forbid(unsafe_code)]

mod control_socket;
mod export;
mod failure;
mod log;
mod repair;
mod snapshot;
mod stored;
mod table;
mod units;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use snapshot::SnapshotCommand;

/// Inspects and controls a RingKeeper server on this machine, and looks into ZooKeeper's own files.
#[derive(Debug, Parser)]
#[command(name = "rkctl", version, about, after_help = EXAMPLES)]
struct Cli {
    /// The server's data directory: its control socket lies there
    #[arg(long, value_name = "DIR", default_value = "./ringkeeper-data")]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  rkctl --data-dir /var/lib/ringkeeper status
  rkctl log dump --follow /var/lib/ringkeeper
  rkctl snapshot stats /var/lib/ringkeeper
  rkctl verify /var/lib/ringkeeper";

#[derive(Debug, Subcommand)]
enum Command {
    /// How the server stands: positions and counts, as JSON
    #[command(after_help = "Example:\n  rkctl --data-dir /var/lib/ringkeeper status")]
    Status,
    /// What is in images, and in ZooKeeper's own snapshots; or has a running server write an image
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// What is in a log: segments, txns, counts, checks. A server may be writing it
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Checks a whole data directory without a server: control file, images, log, and that they fit together
    #[command(after_help = "Exit code 0 if all is well, 1 with the file and the place in it if not.\n\n\
                      Examples:\n  rkctl verify /var/lib/ringkeeper\n  rkctl verify --data-log-dir /fast/log --json /var/lib/ringkeeper")]
    Verify {
        #[command(flatten)]
        place: verify::Place,
        /// JSON instead of words
        #[arg(long)]
        json: bool,
    },
    /// Cuts a damaged log before the damage, after copying the directory. The txns behind the damage are lost
    #[command(after_help = "Restore a backup rather than this, if there is one. The server must be stopped.\n\n\
                      Example:\n  rkctl repair --cut-damaged-log --backup-to /backup/before-repair /var/lib/ringkeeper")]
    Repair(repair::Repair),
    /// Writes the data of a stopped server as ZooKeeper's own `version-2`
    #[command(after_help = "Example:\n  rkctl --data-dir /var/lib/ringkeeper export /var/lib/zookeeper")]
    Export(export::ExportArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Images are mapped: a read error of the disk is then named by its file. Without the handler it ends the process all the same.
    let _ = ::snapshot::fault::install();
    let outcome = match &cli.command {
        Command::Status => Ok(control_socket::run(&cli.data_dir, "status")),
        Command::Snapshot(command) => snapshot::run(&cli.data_dir, command),
        Command::Log(command) => log::run(command),
        Command::Verify { place, json } => verify::run(place, *json),
        Command::Repair(repair) => repair::run(repair),
        Command::Export(args) => export::run(&cli.data_dir, args),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("rkctl: {failure}");
            ExitCode::from(1)
        }
    }
}
