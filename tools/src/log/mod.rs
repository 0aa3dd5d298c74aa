//! `rkctl log`: what is in a log, without a server and without writing a byte.

mod dump;
mod filter;
mod ls;
pub(crate) mod source;
mod stats;
mod txn;
pub(crate) mod verify;
pub(crate) mod version_2;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use filter::Filter;
use source::Source;
pub(crate) use stats::prefix;
pub(crate) use txn::data as data_json;

/// What to do with a log.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// The segments: number, zxids, records, bytes, whether sealed
    #[command(
        after_help = "Examples:\n  rkctl log ls /var/lib/ringkeeper\n  rkctl log ls --json /var/lib/ringkeeper/log"
    )]
    Ls {
        #[command(flatten)]
        what: What,
    },
    /// One line a txn; with --json one JSON object, with everything that is in it
    #[command(after_help = DUMP_EXAMPLES)]
    Dump {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        filter: Filter,
        /// At the end waits for what a running server writes, as `tail -f`
        #[arg(long)]
        follow: bool,
    },
    /// Counts and bytes by type, session and path, txns a second, sizes of groups
    #[command(after_help = "Example:\n  rkctl log stats --depth 2 --top 20 --since 1h /var/lib/ringkeeper")]
    Stats {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        filter: Filter,
        /// How many sessions and paths are shown
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: usize,
        /// Of how many names a path's prefix consists, by which it is counted
        #[arg(long, value_name = "N", default_value_t = 1)]
        depth: usize,
    },
    /// Reads the whole log, checks every byte that counts, every link and every record
    #[command(after_help = "Exit code 0 if all is well, 1 with file, offset and the last zxid before it if not.\n\n\
                      Example:\n  rkctl log verify /var/lib/ringkeeper")]
    Verify {
        #[command(flatten)]
        what: What,
    },
}

const DUMP_EXAMPLES: &str = "Examples:
  rkctl log dump --from 0x1f4 --to 0x200 /var/lib/ringkeeper
  rkctl log dump --path /app/config --type setData --since 2h /var/lib/ringkeeper
  rkctl log dump --session 0x100012f3a4b0000 --json /var/lib/ringkeeper
  rkctl log dump --follow /var/lib/ringkeeper";

/// What is looked at, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// A data directory, a log directory, or segment files; or ZooKeeper's own: a directory with version-2 in it, or log.* files
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs one of the commands.
///
/// # Errors
/// [`Failure`]: whatever cannot be read.
pub(crate) fn run(command: &LogCommand) -> Result<ExitCode, Failure> {
    match command {
        LogCommand::Ls { what } => ls::run(&Source::find(&what.paths)?, what.json),
        LogCommand::Dump { what, filter, follow } => dump::run(&Source::find(&what.paths)?, filter, *follow, what.json),
        LogCommand::Stats { what, filter, top, depth } => {
            stats::run(&Source::find(&what.paths)?, filter, *top, *depth, what.json)
        }
        LogCommand::Verify { what } => verify::run(&Source::find(&what.paths)?, what.json),
    }
}
