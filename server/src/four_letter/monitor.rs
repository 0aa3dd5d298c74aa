//! `mntr`: the server's figures, under ZooKeeper's names.
//!
//! Every key that a standalone 3.9.5 shows is here, or stands with the reason in `docs/four-letter-words.md`: a test compares both with a
//! real server's answer. Figures of what cannot happen on this server (TLS handshakes; elections and learners where it stands alone) are the 0 that ZooKeeper shows there too.
//! Times are in ms. Keys that begin with `ringkeeper_` are our own.

use super::{VERSION, Words, Written, ensemble, text};
use crate::ask::PIECE;
use crate::stats::get;
use engine::excess::{ExcessCounts, top_namespace};
use engine::replica::EnsembleFigures;
use engine::shard::{Histogram, Measured, ShardCounts, Summary};
use std::collections::BTreeMap;
use std::io::Write;

/// Quotas whose limits and totals are told; those of more are not.
const QUOTAS_MAX: usize = 10_000;

/// Counters of what does not happen on this server.
const NEVER: &[&str] = &[
    "add_dead_watcher_stall_time",
    "cnxn_closed_without_zk_server_running",
    "dead_watchers_cleared",
    "dead_watchers_queued",
    "insecure_admin_count",
    "response_packet_cache_hits",
    "response_packet_cache_misses",
    "response_packet_get_children_cache_hits",
    "response_packet_get_children_cache_misses",
    "restore_error_count",
    "restore_rate_limited_count",
    "snapshot_error_count",
    "snapshot_rate_limited_count",
    "stale_replies",
    "tls_handshake_exceeded",
    "unrecoverable_error_count",
    "unsuccessful_handshake",
];

/// Summaries of what does not happen on this server.
const NEVER_SUMMARIES: &[&str] = &["restore_time"];

/// Histograms of what does not happen on this server.
const NEVER_HISTOGRAMS: &[&str] =
    &["dead_watchers_cleaner_latency", "om_commit_process_time_ms", "om_proposal_process_time_ms"];

/// What all shards have counted and measured.
#[derive(Default)]
struct Shards {
    counts: Vec<ShardCounts>,
    measured: Measured,
}

impl Shards {
    fn sum(&self, of: impl Fn(&ShardCounts) -> u64) -> u64 {
        self.counts.iter().map(of).sum()
    }

    /// The last reply's size: that of the last shard that has answered anything.
    fn response_sizes(&self) -> (i64, i64, i64) {
        let known = || self.counts.iter().filter(|counts| counts.response_bytes_last >= 0);
        let last = known().map(|counts| counts.response_bytes_last).next_back();
        let min = known().map(|counts| counts.response_bytes_min).min();
        let max = known().map(|counts| counts.response_bytes_max).max();
        (last.unwrap_or(-1), min.unwrap_or(-1), max.unwrap_or(-1))
    }
}

/// Writes lines of `mntr`.
pub(super) struct Lines<'o, W>(pub &'o mut W);

impl<W: Write> Lines<'_, W> {
    pub(super) fn put(&mut self, key: &str, value: impl std::fmt::Display) -> std::io::Result<()> {
        writeln!(self.0, "zk_{key}\t{value}")
    }

    /// `divisor`: how many of the summary's units make one of those shown.
    pub(super) fn summary(&mut self, key: &str, summary: &Summary, divisor: u64) -> std::io::Result<()> {
        let min = if summary.count == 0 { 0 } else { summary.min };
        let avg = text::ratio(summary.sum, summary.count * divisor);
        self.put(&format!("avg_{key}"), text::decimal(avg))?;
        self.put(&format!("min_{key}"), min / divisor)?;
        self.put(&format!("max_{key}"), summary.max / divisor)?;
        self.put(&format!("cnt_{key}"), summary.count)?;
        self.put(&format!("sum_{key}"), summary.sum / divisor)
    }

    pub(super) fn histogram(&mut self, key: &str, histogram: &Histogram, divisor: u64) -> std::io::Result<()> {
        self.summary(key, histogram.summary(), divisor)?;
        for (name, permille) in [("p50", 500), ("p95", 950), ("p99", 990), ("p999", 999)] {
            self.put(&format!("{name}_{key}"), histogram.permille(permille) / divisor)?;
        }
        Ok(())
    }
}

impl Words<'_> {
    pub(super) fn mntr(&self, out: &mut impl Write) -> Written {
        let mut shards = Shards::default();
        for number in 0..self.hub.shards.len() {
            let (counts, measured) = self.hub.ask_shard(number, |shard| shard.report())?;
            shards.counts.push(counts);
            shards.measured.merge(&measured);
        }
        let mut lines = Lines(out);
        self.gauges(&shards, &mut lines)?;
        self.counters(&shards, &mut lines)?;
        self.summaries(&shards, &mut lines)?;
        match &self.ensemble {
            Some(view) => ensemble::figures(&view.figures, &mut lines)?,
            None => ensemble::figures(&EnsembleFigures::default(), &mut lines)?,
        }
        self.quotas(&mut lines)?;
        let core = self.hub.ask_core(|core| core.excess_counts().clone())?;
        for (namespace, count) in &core.quota_errors {
            lines.put(&format!("{namespace}_quota_exceeded_error_per_namespace"), count)?;
        }
        self.own(&shards, &core, &mut lines)
    }

    fn gauges<W: Write>(&self, shards: &Shards, lines: &mut Lines<'_, W>) -> Written {
        let latency = self.latency_ms();
        let (znodes, ephemerals, data_bytes, sessions) = {
            let tree = self.hub.read_tree();
            // ZooKeeper counts the root twice, under "" and "/".
            (tree.node_count() + 1, tree.ephemeral_count(), tree.data_bytes(), tree.sessions().len())
        };
        let (last, min, max) = shards.response_sizes();
        let files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        lines.put("version", VERSION)?;
        lines.put("server_state", self.mode())?;
        if let Some(view) = &self.ensemble {
            view.monitor(lines)?;
        }
        lines.put("ephemerals_count", ephemerals)?;
        lines.put("num_alive_connections", self.connections())?;
        lines.put("avg_latency", text::decimal(latency.avg))?;
        lines.put("outstanding_requests", get(&self.hub.core_stats.outstanding))?;
        lines.put("znode_count", znodes)?;
        lines.put("global_sessions", sessions)?;
        lines.put("non_mtls_remote_conn_count", 0)?;
        lines.put("last_client_response_size", last)?;
        lines.put("packets_sent", self.packets_sent())?;
        lines.put("packets_received", self.sum(|s| &s.packets_received))?;
        lines.put("max_client_response_size", max)?;
        lines.put("connection_drop_probability", text::decimal(self.limits.throttle.drop_probability()))?;
        lines.put("watch_count", self.sum(|s| &s.watches))?;
        lines.put("auth_failed_count", self.sum(|s| &s.auth_failures))?;
        lines.put("min_latency", latency.min)?;
        lines.put("max_file_descriptor_count", files_max)?;
        lines.put("approximate_data_size", data_bytes)?;
        lines.put("open_file_descriptor_count", open_files())?;
        lines.put("local_sessions", get(&self.hub.core_stats.local_sessions))?;
        lines.put("uptime", self.hub.now_us() / 1_000)?;
        lines.put("max_latency", latency.max)?;
        lines.put("outstanding_tls_handshake", 0)?;
        lines.put("min_client_response_size", min)?;
        lines.put("non_mtls_local_conn_count", 0)?;
        Ok(())
    }

    fn counters<W: Write>(&self, shards: &Shards, lines: &mut Lines<'_, W>) -> Written {
        lines.put("watch_bytes", shards.sum(|c| c.watch_bytes))?;
        lines.put("stale_requests_dropped", shards.sum(|c| c.stale_requests_dropped))?;
        lines.put("stale_requests", shards.sum(|c| c.stale_requests_dropped))?;
        lines.put("throttled_ops", shards.sum(|c| c.throttled_ops))?;
        lines.put("request_throttle_wait_count", shards.sum(|c| c.throttle_waits))?;
        lines.put("large_requests_rejected", shards.sum(|c| c.large_requests_rejected))?;
        let refused = self.sum(|s| &s.connections_refused) + shards.sum(|c| c.connects_throttled);
        lines.put("connection_rejected", refused)?;
        lines.put("sessionless_connections_expired", shards.sum(|c| c.sessionless_expired))?;
        lines.put("connection_drop_count", shards.sum(|c| c.connections_dropped))?;
        lines.put("bytes_received_count", shards.sum(|c| c.bytes_received))?;
        lines.put("response_bytes", shards.sum(|c| c.response_bytes))?;
        lines.put("connection_revalidate_count", shards.sum(|c| c.renewals))?;
        lines.put("connection_request_count", shards.sum(|c| c.connect_requests))?;
        lines.put("prep_processor_request_queued", get(&self.hub.measured.requests))?;
        lines.put("sync_processor_request_queued", get(&self.hub.measured.txns))?;
        lines.put("ensemble_auth_success", shards.sum(|c| c.ensemble_auths))?;
        lines.put("ensemble_auth_skip", shards.sum(|c| c.ensemble_auths_skipped))?;
        lines.put("ensemble_auth_fail", shards.sum(|c| c.ensemble_auth_failures))?;
        lines.put("stale_sessions_expired", get(&self.hub.core_stats.sessions_expired))?;
        for key in NEVER {
            lines.put(key, 0)?;
        }
        Ok(())
    }

    /// What ZooKeeper does not count: each bound of ours, and those of its own that it has no figure for.
    fn own<W: Write>(&self, shards: &Shards, core: &ExcessCounts, lines: &mut Lines<'_, W>) -> Written {
        for (key, value) in [
            ("acl_limit_error_count", core.acls),
            ("auth_required_close_count", shards.sum(|c| c.auth_required_closes)),
            ("cold_wait_count", shards.sum(|c| c.cold_waits)),
            ("connection_requests_wait_count", shards.sum(|c| c.in_flight_waits)),
            ("frame_length_close_count", shards.sum(|c| c.frame_length_closes)),
            ("identities_refused_count", shards.sum(|c| c.ids_refused)),
            ("images_failed_count", get(&self.hub.core_stats.images_failed)),
            ("images_scrubbed_count", get(&self.hub.core_stats.images_scrubbed)),
            ("log_room_bytes", self.hub.log_queue.room().bytes),
            ("log_space_refused_count", core.no_log_space),
            ("log_space_short", get(&self.hub.core_stats.log_refuses_writes)),
            ("long_read_wait_count", shards.sum(|c| c.long_waits)),
            ("memory_limit_bytes", self.hub.memory.limit_bytes()),
            ("memory_refused_count", core.no_memory),
            ("memory_short", u64::from(self.hub.memory.is_short())),
            ("memory_used_bytes", self.hub.memory.used_bytes()),
            ("outstanding_limit_wait_count", shards.sum(|c| c.outstanding_waits)),
            ("output_limit_close_count", shards.sum(|c| c.output_limit_closes)),
            ("quotas_begun_limit_error_count", core.quotas_begun),
            ("reply_limit_error_count", shards.sum(|c| c.reply_limit_errors)),
            ("sasl_failed_count", shards.sum(|c| c.sasl_failures)),
            ("words_cut_count", get(&self.hub.core_stats.words_cut)),
            ("words_refused_count", get(&self.hub.core_stats.words_refused)),
        ] {
            lines.put(&format!("ringkeeper_{key}"), value)?;
        }
        Ok(())
    }

    /// The quotas of each top-level znode, added up as ZooKeeper adds them: a limit that is not set counts as -1.
    fn quotas<W: Write>(&self, lines: &mut Lines<'_, W>) -> Written {
        let mut sums: BTreeMap<String, [i64; 4]> = BTreeMap::new();
        let subjects = self.hub.read_tree().quota_subjects(QUOTAS_MAX);
        for some in subjects.chunks(PIECE) {
            let tree = self.hub.read_tree();
            for subject in some {
                let Some(namespace) = top_namespace(subject) else { continue };
                let (limits, totals) = tree.quota_parts(subject);
                // A record that cannot be read adds nothing.
                let (counts, bytes) = limits.map_or((0, 0), |limits| limits.effective_limits());
                let (count, size) = totals.map_or((0, 0), |totals| (totals.count, totals.bytes));
                let sum = sums.entry(namespace.to_owned()).or_default();
                for (sum, more) in sum.iter_mut().zip([bytes, counts, size, count]) {
                    *sum = sum.wrapping_add(more);
                }
            }
        }
        for (namespace, values) in sums {
            for (name, value) in ["bytes_limit", "count_limit", "bytes_usage", "count_usage"].iter().zip(values) {
                lines.put(&format!("{namespace}_quota_{name}_per_namespace"), value)?;
            }
        }
        Ok(())
    }

    fn summaries<W: Write>(&self, shards: &Shards, lines: &mut Lines<'_, W>) -> Written {
        let core = &self.hub.measured;
        let sync_us = core.log_sync_us.read();
        lines.summary("fsynctime", sync_us.summary(), 1_000)?;
        for (key, summary) in [
            ("snapshottime", &core.image_ms),
            ("dbinittime", &core.start_ms),
            ("startup_snap_load_time", &core.start_image_ms),
            ("startup_txns_load_time", &core.start_log_ms),
            ("startup_txns_loaded", &core.start_txns),
            ("prep_processor_queue_size", &core.core_waiting),
            ("sync_processor_queue_size", &core.log_waiting),
            ("sync_processor_batch_size", &core.log_group_txns),
        ] {
            lines.summary(key, &summary.read(), 1)?;
        }
        lines.summary("connection_token_deficit", &self.limits.throttle.deficits(), 1)?;
        let Measured { read_us, update_us, created, deleted, changed, children } = &shards.measured;
        lines.summary("node_created_watch_count", created, 1)?;
        lines.summary("node_deleted_watch_count", deleted, 1)?;
        lines.summary("node_changed_watch_count", changed, 1)?;
        lines.summary("node_children_watch_count", children, 1)?;
        for key in NEVER_SUMMARIES {
            lines.summary(key, &Summary::default(), 1)?;
        }
        lines.histogram("readlatency", read_us, 1_000)?;
        lines.histogram("updatelatency", update_us, 1_000)?;
        lines.histogram("propagation_latency", &core.propagation_us.read(), 1_000)?;
        lines.histogram("sync_processor_queue_time_ms", &core.log_queue_us.read(), 1_000)?;
        lines.histogram("sync_processor_queue_flush_time_ms", &sync_us, 1_000)?;
        lines.histogram("sync_processor_queue_and_flush_time_ms", &core.log_queue_and_sync_us.read(), 1_000)?;
        for key in NEVER_HISTOGRAMS {
            lines.histogram(key, &Histogram::default(), 1)?;
        }
        Ok(())
    }
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
