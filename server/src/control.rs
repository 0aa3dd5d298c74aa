//! Local control: the Unix socket `<dataDir>/control.sock` (mode 0600), one JSON object a line.
//!
//! | request | answer |
//! |---|---|
//! | `{"command":"status"}` | zxid, counts, positions |
//! | `{"command":"snapshot"}` | starts an image |
//!
//! Every answer has `"ok"`; a failed one has `"error"` that says why. It runs on threads of its own and never blocks shards or core: it
//! reads counters, takes the tree's read side for a moment, and asks by message. `rkctl` and the admin server use it.
#![forbid(unsafe_code)]

use crate::four_letter::ensemble::mode_of;
use crate::hub::Hub;
use crate::image::ImageRequest;
use crate::stats::get;
use engine::replica::Replica;
use serde::Deserialize;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one request line of the control socket.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Nobody may keep a control thread longer by not reading or writing.
const IO_TIMEOUT: Duration = Duration::from_secs(5);

fn mode(core: &mut Replica) -> &'static str {
    if core.is_alone() { "standalone" } else { mode_of(core.office().state) }
}

/// What the control plane knows.
#[derive(Clone, Debug)]
pub struct Control {
    /// The threads' shared state.
    pub hub: Arc<Hub>,
    /// The port that clients use.
    pub client_port: u16,
    /// Where images are asked for.
    pub images: ImageRequest,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
enum Request {
    Status,
    Snapshot,
}

impl Control {
    /// Makes the socket, in place of one that a dead server has left.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(path: &Path) -> std::io::Result<UnixListener> {
        // The directory's lock is ours, so nobody listens there.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    }

    /// Serves the socket, one caller after the other.
    pub fn serve(&self, listener: &UnixListener) {
        for caller in listener.incoming() {
            match caller {
                Ok(caller) => {
                    if let Err(error) = self.serve_caller(&caller) {
                        tracing::debug!(%error, "a caller of the control socket went away");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket does not accept");
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }

    fn serve_caller(&self, caller: &UnixStream) -> std::io::Result<()> {
        caller.set_read_timeout(Some(IO_TIMEOUT))?;
        caller.set_write_timeout(Some(IO_TIMEOUT))?;
        let mut lines = BufReader::new(caller.take(LINE_BYTES_MAX));
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            let answer = match serde_json::from_str::<Request>(&line) {
                Ok(request) => self.answer(&request),
                Err(error) => json!({ "ok": false, "error": format!("not a request: {error}") }),
            };
            let mut caller = caller;
            caller.write_all(format!("{answer}\n").as_bytes())?;
            line.clear();
            lines.get_mut().set_limit(LINE_BYTES_MAX);
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> serde_json::Value {
        match request {
            Request::Status => {
                let core = &self.hub.core_stats;
                let mode = self.hub.ask_core(mode).unwrap_or("does not answer");
                let tree = self.hub.read_tree();
                json!({
                    "ok": true,
                    "version": env!("CARGO_PKG_VERSION"),
                    "mode": mode,
                    "client_port": self.client_port,
                    "shards": self.hub.shards.len(),
                    "applied_zxid": tree.last_zxid().to_string(),
                    "durable_zxid": proto::Zxid(self.hub.log_queue.durable()).to_string(),
                    "znodes": tree.node_count(),
                    "ephemerals": tree.ephemeral_count(),
                    "sessions": tree.sessions().len(),
                    "local_sessions": get(&core.local_sessions),
                    "outstanding": get(&core.outstanding),
                    "images_written": get(&core.images_written),
                    "uptime_ms": self.hub.now_us() / 1_000,
                })
            }
            Request::Snapshot => {
                self.images.ask();
                json!({ "ok": true, "started": true })
            }
        }
    }
}
