//! `rkctl`: inspection and control of a RingKeeper server. So far it speaks to the control socket and exports; the rest comes with the storage
//! engine and operations issues.
#![forbid(unsafe_code)]

mod export;
mod stored;

use clap::{Parser, Subcommand};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Inspects and controls a RingKeeper server on this machine.
#[derive(Debug, Parser)]
#[command(name = "rkctl", version, about, after_help = "Example:\n  rkctl --data-dir ./ringkeeper-data status")]
struct Cli {
    /// The server's data directory: its control socket lies there
    #[arg(long, value_name = "DIR", default_value = "./ringkeeper-data")]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// How the server stands: positions and counts, as JSON
    #[command(after_help = "Example:\n  rkctl --data-dir /var/lib/ringkeeper status")]
    Status,
    /// Has the server write an image of its tree now
    #[command(after_help = "Example:\n  rkctl --data-dir /var/lib/ringkeeper snapshot")]
    Snapshot,
    /// Writes the data of a stopped server as ZooKeeper's own `version-2`
    #[command(after_help = "Example:\n  rkctl --data-dir /var/lib/ringkeeper export /var/lib/zookeeper")]
    Export(export::ExportArgs),
}

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let name = match cli.command {
        Command::Status => "status",
        Command::Snapshot => "snapshot",
        Command::Export(args) => return print(export::export(&cli.data_dir, &args)),
    };
    match ask(&cli.data_dir, name) {
        Ok(answer) => {
            print!("{answer}");
            // The server says itself whether it could.
            let ok = serde_json::from_str::<serde_json::Value>(&answer)
                .is_ok_and(|value| value.get("ok") == Some(&true.into()));
            ExitCode::from(u8::from(!ok))
        }
        Err(error) => {
            let socket = cli.data_dir.join("control.sock");
            eprintln!("rkctl: no answer from {}: {error}. Does a server run on this directory?", socket.display());
            ExitCode::from(1)
        }
    }
}

fn print(told: Result<String, export::ExportError>) -> ExitCode {
    match told {
        Ok(told) => {
            print!("{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("rkctl: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(data_dir: &Path, command: &str) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(data_dir.join("control.sock"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(format!("{}\n", serde_json::json!({ "command": command })).as_bytes())?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    Ok(answer)
}
