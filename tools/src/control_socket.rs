//! Asks a running server over its control socket.
//!
//! Owns the one question and the patience for its answer. Must never be needed by what reads files alone. It fails with the socket's own error;
//! `tests/tests/lifecycle.rs` would catch a mistake.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks, prints the answer, and gives the exit code: 0 if the server says that it could.
pub(crate) fn run(data_dir: &Path, command: &str) -> ExitCode {
    match ask(data_dir, command) {
        Ok(answer) => {
            print!("{answer}");
            let ok = serde_json::from_str::<serde_json::Value>(&answer)
                .is_ok_and(|value| value.get("ok") == Some(&true.into()));
            ExitCode::from(u8::from(!ok))
        }
        Err(error) => {
            let socket = socket_of(data_dir);
            eprintln!("rkctl: no answer from {}: {error}. Does a server run on this directory?", socket.display());
            ExitCode::from(1)
        }
    }
}

fn socket_of(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

fn ask(data_dir: &Path, command: &str) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(socket_of(data_dir))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(format!("{}\n", serde_json::json!({ "command": command })).as_bytes())?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    Ok(answer)
}
