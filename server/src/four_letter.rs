//! Four-letter words: `ruok`, `srvr`, `stat`, `mntr`, `conf`, `isro`. Text as ZooKeeper 3.9 writes it: exporters parse it.
//!
//! Owns the whitelist's answer and the texts. It runs on the control thread and reads counters; `stat` asks the shards by message. A word that is
//! known to ZooKeeper and not yet here is answered as one outside the whitelist.
#![forbid(unsafe_code)]

use crate::config::ResolvedConfig;
use crate::hub::Hub;
use crate::stats::{ShardStats, get};
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;

/// What the words need.
#[derive(Debug)]
pub struct Words<'a> {
    /// The threads' shared state.
    pub hub: &'a Hub,
    /// The configuration.
    pub config: &'a ResolvedConfig,
    /// The port that clients use: the one bound, where the configuration says 0.
    pub client_port: u16,
}

/// As exporters see the version: `zk_version` must start with a ZooKeeper version for some of them.
const VERSION: &str = concat!("3.9.5-ringkeeper-", env!("CARGO_PKG_VERSION"), ", built on 1970-01-01 00:00 UTC");

impl Words<'_> {
    /// The answer to a word.
    #[must_use]
    pub fn answer(&self, word: [u8; 4]) -> String {
        let Ok(name) = std::str::from_utf8(&word) else { return String::new() };
        if !self.config.four_letter_words.allows(name) {
            return format!("{name} is not executed because it is not in the whitelist.\n");
        }
        match name {
            "ruok" => "imok".to_owned(),
            "isro" => "rw".to_owned(),
            "srvr" => self.srvr(false),
            "stat" => self.srvr(true),
            "mntr" => self.mntr(),
            "conf" => self.conf(),
            _ => format!("{name} is not executed because it is not in the whitelist.\n"),
        }
    }

    fn srvr(&self, with_clients: bool) -> String {
        let mut text = format!("Zookeeper version: {VERSION}\n");
        if with_clients {
            text.push_str("Clients:\n");
            for conn in self.hub.connections() {
                let _infallible = writeln!(
                    text,
                    " /{}[1](queued={},recved={},sent={})",
                    conn.peer, conn.outstanding, conn.packets_received, conn.packets_sent
                );
            }
            text.push('\n');
        }
        let latency = self.latency_ms();
        let tree = self.hub.read_tree();
        let _infallible = write!(
            text,
            "Latency min/avg/max: {}/{:.4}/{}\nReceived: {}\nSent: {}\nConnections: {}\nOutstanding: {}\nZxid: {}\n\
             Mode: standalone\nNode count: {}\n",
            latency.min,
            latency.avg,
            latency.max,
            self.sum(|s| &s.packets_received),
            self.sum(|s| &s.packets_sent),
            self.sum(|s| &s.connections),
            get(&self.hub.core_stats.outstanding),
            tree.last_zxid(),
            // ZooKeeper counts the root twice, under "" and "/".
            tree.node_count() + 1,
        );
        text
    }

    fn mntr(&self) -> String {
        let latency = self.latency_ms();
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            let _infallible = writeln!(text, "zk_{key}\t{value}");
        };
        line("version", VERSION.to_owned());
        line("server_state", "standalone".to_owned());
        line("avg_latency", format!("{:.4}", latency.avg));
        line("min_latency", latency.min.to_string());
        line("max_latency", latency.max.to_string());
        line("packets_received", self.sum(|s| &s.packets_received).to_string());
        line("packets_sent", self.sum(|s| &s.packets_sent).to_string());
        line("num_alive_connections", self.sum(|s| &s.connections).to_string());
        line("outstanding_requests", get(&self.hub.core_stats.outstanding).to_string());
        {
            let tree = self.hub.read_tree();
            line("znode_count", (tree.node_count() + 1).to_string());
            line("ephemerals_count", tree.ephemeral_count().to_string());
            line("approximate_data_size", (tree.data_bytes() + 1).to_string());
        }
        line("watch_count", self.sum(|s| &s.watches).to_string());
        line("global_sessions", get(&self.hub.core_stats.sessions).to_string());
        line("local_sessions", "0".to_owned());
        line("open_file_descriptor_count", open_files().to_string());
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        line("max_file_descriptor_count", limit.current.unwrap_or(u64::MAX).to_string());
        line("uptime", (self.hub.now_us() / 1_000).to_string());
        line("auth_failed_count", self.sum(|s| &s.auth_failures).to_string());
        line("connection_rejected", self.sum(|s| &s.connections_refused).to_string());
        line("stale_sessions_expired", get(&self.hub.core_stats.sessions_expired).to_string());
        line("cnt_fsynctime", get(&self.hub.core_stats.log_syncs).to_string());
        line("sum_fsynctime", (get(&self.hub.core_stats.log_sync_us_sum) / 1_000).to_string());
        line("max_fsynctime", (get(&self.hub.core_stats.log_sync_us_max) / 1_000).to_string());
        line("cnt_snapshottime", get(&self.hub.core_stats.images_written).to_string());
        text
    }

    fn conf(&self) -> String {
        let config = self.config;
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            let _infallible = writeln!(text, "{key}={value}");
        };
        line("clientPort", self.client_port.to_string());
        line("secureClientPort", "-1".to_owned());
        line("dataDir", config.storage.data_dir.display().to_string());
        line("dataDirSize", dir_bytes(&config.storage.data_dir).to_string());
        line("dataLogDir", config.storage.data_log_dir.display().to_string());
        line("dataLogSize", dir_bytes(&config.storage.data_log_dir).to_string());
        line("tickTime", config.sessions.tick_ms.to_string());
        line("maxClientCnxns", config.clients.per_address_max.map_or(0, |max| max.get()).to_string());
        line("minSessionTimeout", config.sessions.timeout_ms_min.to_string());
        line("maxSessionTimeout", config.sessions.timeout_ms_max.to_string());
        line("clientPortListenBacklog", config.clients.backlog.map_or(-1, i64::from).to_string());
        line("serverId", config.server_id().0.to_string());
        text
    }

    fn sum(&self, of: impl Fn(&ShardStats) -> &AtomicU64) -> u64 {
        self.hub.shards.iter().map(|link| get(of(&link.stats))).sum()
    }

    fn latency_ms(&self) -> Latency {
        let count = self.sum(|s| &s.latency_count);
        let sum_us = self.sum(|s| &s.latency_us_sum);
        let min_us = self.hub.shards.iter().map(|link| get(&link.stats.latency_us_min)).min().unwrap_or(0);
        let max_us = self.hub.shards.iter().map(|link| get(&link.stats.latency_us_max)).max().unwrap_or(0);
        if count == 0 {
            return Latency { min: 0, avg: 0.0, max: 0 };
        }
        #[expect(clippy::cast_precision_loss, reason = "an average for people")]
        let avg = sum_us as f64 / count as f64 / 1_000.0;
        Latency { min: min_us / 1_000, avg, max: max_us / 1_000 }
    }
}

struct Latency {
    min: u64,
    avg: f64,
    max: u64,
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Bytes of the files in a directory and below.
fn dir_bytes(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some(if meta.is_dir() { dir_bytes(&entry.path()) } else { meta.len() })
        })
        .sum()
}
