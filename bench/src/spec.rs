//! What one measured run is: servers, workload, shape and duration.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::filled::Filled;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// getData of a random key
    Get,
    /// setData of a random key
    Set,
    /// create below a znode per connection
    Create,
    /// get and set, see --read-percent
    Mixed,
    /// nothing but pings: what an idle server costs
    Idle,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Workload::Get => "get",
            Workload::Set => "set",
            Workload::Create => "create",
            Workload::Mixed => "mixed",
            Workload::Idle => "idle",
        })
    }
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct LoadSpec {
    /// Connections go to these in turn.
    pub(crate) servers: Vec<SocketAddr>,
    /// What they do.
    pub(crate) workload: Workload,
    /// Reads among 100 operations of the mixed workload.
    pub(crate) read_percent: u32,
    /// Bytes of each znode's data.
    pub(crate) data_bytes: usize,
    /// How many connections, each its own session.
    pub(crate) connections: usize,
    /// Most requests in flight per connection.
    pub(crate) depth: usize,
    /// Operations per second over all connections; `None`: as many as the replies allow (closed loop).
    pub(crate) rate: Option<f64>,
    /// Znodes that get and set work on.
    pub(crate) keys: usize,
    /// Load before anything is counted.
    pub(crate) warmup: Duration,
    /// How long is counted.
    pub(crate) duration: Duration,
    /// The servers' processes, to read their CPU time and memory, which are added up. None: they are not measured.
    pub(crate) server_pids: Vec<u32>,
    /// get, set and mixed work on these, which stay, instead of on `keys` of their own.
    pub(crate) filled: Option<Filled>,
}

/// The session timeout that the generator asks for, in ms.
pub(crate) const SESSION_TIMEOUT_MS: i32 = 30_000;

/// Parses `host:port,host:port`.
pub(crate) fn parse_servers(list: &str) -> Result<Vec<SocketAddr>, String> {
    list.split(',').map(|server| parse_server(server.trim())).collect()
}

/// Parses `host:port`, the name looked up.
pub(crate) fn parse_server(server: &str) -> Result<SocketAddr, String> {
    use std::net::ToSocketAddrs;
    let mut addrs =
        server.to_socket_addrs().map_err(|e| format!("`{server}` is no host:port ({e}); try 127.0.0.1:2181"))?;
    addrs.next().ok_or_else(|| format!("`{server}` has no address"))
}
