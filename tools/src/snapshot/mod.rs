//! `rkctl snapshot`: what is in an image of RingKeeper's or in a snapshot of ZooKeeper's own, without a server and without writing a byte; and `take`, which asks a
//! running server for a new image.
//!
//! Owns the commands. What reads a file goes through [`source::Source`], whichever format it has.

mod diff;
mod dump;
#[cfg(test)]
mod images;
mod ls;
pub(crate) mod source;
mod stats;
mod tally;
pub(crate) mod verify;
mod walk;
mod znode;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::control_socket;
use crate::failure::Failure;
use source::Source;

/// What to do with a snapshot.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Has the running server of --data-dir write an image of its tree now
    #[command(after_help = "Example:\n  rkctl --data-dir /var/lib/ringkeeper snapshot take")]
    Take,
    /// The images and snapshots in a directory: zxid, time, znodes, bytes, what they share, whether they open
    #[command(after_help = "Exit code 1 if one is damaged. Only `verify` reads all of it.\n\n\
                      Examples:\n  rkctl snapshot ls /var/lib/ringkeeper\n  rkctl snapshot ls --json /var/lib/zookeeper/version-2")]
    Ls {
        /// Directories, or single files
        #[arg(required = true, value_name = "DIR|FILE")]
        paths: Vec<PathBuf>,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// One line a znode; with --json one JSON object with its Stat and ACL
    #[command(after_help = DUMP_EXAMPLES)]
    Dump {
        #[command(flatten)]
        what: What,
        /// This znode and what lies below it
        #[arg(long, value_name = "PATH", default_value = "/")]
        path: String,
        /// How far below it: 0 is the znode itself, 1 its children too
        #[arg(long, value_name = "N")]
        depth: Option<usize>,
        /// With the data
        #[arg(long)]
        data: bool,
    },
    /// Totals, sizes of subtrees, the znodes with the most bytes, children and changes, sessions, ACLs
    #[command(after_help = "Example:\n  rkctl snapshot stats --depth 2 --top 20 /var/lib/ringkeeper")]
    Stats {
        #[command(flatten)]
        what: What,
        /// Of how many names the path of a subtree consists
        #[arg(long, value_name = "N", default_value_t = 1)]
        depth: usize,
        /// How many of each are shown
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: usize,
    },
    /// Reads all of it: every checksum, how the parts agree, and the digest of the znodes
    #[command(after_help = "Exit code 0 if all is well, 1 with file, offset and znode if not.\n\n\
                      Examples:\n  rkctl snapshot verify /var/lib/ringkeeper\n  rkctl snapshot verify /var/lib/zookeeper/version-2/snapshot.1f4.gz")]
    Verify {
        /// Directories (all that is in them), or single files
        #[arg(required = true, value_name = "DIR|FILE")]
        paths: Vec<PathBuf>,
        /// JSON instead of words
        #[arg(long)]
        json: bool,
    },
    /// What was added, removed and changed between two of them: znodes and sessions
    #[command(after_help = DIFF_EXAMPLES)]
    Diff {
        /// The former one: a file, or a directory, which stands for its base
        #[arg(value_name = "A")]
        former: PathBuf,
        /// The latter one
        #[arg(value_name = "B")]
        latter: PathBuf,
        /// Only this znode and what lies below it
        #[arg(long, value_name = "PATH", default_value = "/")]
        path: String,
        /// One JSON object a line instead of words
        #[arg(long)]
        json: bool,
    },
}

const DUMP_EXAMPLES: &str = "Examples:
  rkctl snapshot dump --depth 2 /var/lib/ringkeeper
  rkctl snapshot dump --path /app/config --data --json /var/lib/ringkeeper
  rkctl snapshot dump /var/lib/zookeeper/version-2/snapshot.1f4";

const DIFF_EXAMPLES: &str = "Examples:
  rkctl snapshot diff /backup/ringkeeper /var/lib/ringkeeper
  rkctl snapshot diff --json --path /app /var/lib/zookeeper/version-2/snapshot.1f4 /var/lib/ringkeeper";

/// What is looked at, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// An image.*, a snapshot.* of ZooKeeper's, or a directory, which stands for its base: the image that its control file names, else the newest
    #[arg(value_name = "DIR|FILE")]
    place: PathBuf,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs one of the commands. `data_dir` is that of the server which `take` asks.
///
/// # Errors
/// [`Failure`]: whatever cannot be read.
pub(crate) fn run(data_dir: &Path, command: &SnapshotCommand) -> Result<ExitCode, Failure> {
    match command {
        SnapshotCommand::Take => Ok(control_socket::run(data_dir, "snapshot")),
        SnapshotCommand::Ls { paths, json } => ls::run(paths, *json),
        SnapshotCommand::Dump { what, path, depth, data } => {
            dump::run(&Source::open(&what.place)?, path, *depth, *data, what.json)
        }
        SnapshotCommand::Stats { what, depth, top } => stats::run(&Source::open(&what.place)?, *depth, *top, what.json),
        SnapshotCommand::Verify { paths, json } => verify::run(paths, *json),
        SnapshotCommand::Diff { former, latter, path, json } => {
            diff::run(&Source::open(former)?, &Source::open(latter)?, path, *json)
        }
    }
}
