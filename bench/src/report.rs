//! What a run found, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::error::{BenchError, Result};
use crate::process::Memory;
use crate::spec::{LoadSpec, Workload};
use crate::undisturbed::Undisturbed;

/// The generator is the bottleneck when it is busy for more than this share of the time.
const GENERATOR_BUSY: f64 = 0.90;

/// The raw counts of a run.
pub(crate) struct Measured {
    pub(crate) ops: u64,
    pub(crate) elapsed_ns: u64,
    pub(crate) latency_ns: Histogram<u64>,
    pub(crate) undisturbed: Undisturbed,
    pub(crate) wrong: BTreeMap<String, u64>,
    pub(crate) unfinished: u64,
    pub(crate) own_cpu_ns: u64,
    pub(crate) stolen_ms: u64,
    pub(crate) server_cpu_ns: Option<u64>,
    pub(crate) memory: Option<Memory>,
}

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunReport {
    pub(crate) servers: Vec<String>,
    pub(crate) workload: Workload,
    pub(crate) read_percent: u32,
    pub(crate) data_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    /// Offered operations per second; null in the closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) elapsed_s: f64,
    pub(crate) ops: u64,
    pub(crate) ops_per_s: f64,
    pub(crate) latency_us: Latency,
    /// Of the moments in which the host took nothing from this machine.
    pub(crate) undisturbed_us: Latency,
    /// The share of the time that these moments are.
    pub(crate) undisturbed_share: f64,
    /// Wrong replies, by what was wrong.
    pub(crate) wrong: BTreeMap<String, u64>,
    /// Operations that had no reply 20 s after the end.
    pub(crate) unfinished: u64,
    pub(crate) server: Option<ServerCost>,
    pub(crate) generator: GeneratorCost,
    /// What the machine's host kept from its processors meanwhile, in ms of a processor: the reason of latency that is nobody's here.
    pub(crate) stolen_ms: u64,
}

/// Latencies in µs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
}

/// What the load cost the server.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ServerCost {
    /// CPU µs per operation, all threads; null without operations.
    pub(crate) cpu_us_per_op: Option<f64>,
    /// CPU seconds per second.
    pub(crate) cores: f64,
    pub(crate) memory: Memory,
}

/// What it cost the generator.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct GeneratorCost {
    pub(crate) cpu_us_per_op: Option<f64>,
    /// CPU seconds per second of its one thread: near 1 it is the bottleneck.
    pub(crate) cores: f64,
}

impl Latency {
    fn of(latency_ns: &Histogram<u64>) -> Latency {
        let us = |quantile| latency_ns.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            p50: us(0.50),
            p90: us(0.90),
            p99: us(0.99),
            p99_9: us(0.999),
            max: latency_ns.max() as f64 / 1e3,
            mean: latency_ns.mean() / 1e3,
        }
    }
}

impl RunReport {
    pub(crate) fn new(spec: &LoadSpec, measured: &Measured) -> RunReport {
        let elapsed_s = measured.elapsed_ns as f64 / 1e9;
        let per_op = |ns: u64| (measured.ops > 0).then(|| ns as f64 / 1e3 / measured.ops as f64);
        let cores = |ns: u64| ns as f64 / measured.elapsed_ns.max(1) as f64;
        let server = measured.server_cpu_ns.zip(measured.memory).map(|(ns, memory)| ServerCost {
            cpu_us_per_op: per_op(ns),
            cores: cores(ns),
            memory,
        });
        RunReport {
            servers: spec.servers.iter().map(ToString::to_string).collect(),
            workload: spec.workload,
            read_percent: spec.read_percent,
            data_bytes: spec.data_bytes,
            connections: spec.connections,
            depth: spec.depth,
            rate: spec.rate,
            elapsed_s,
            ops: measured.ops,
            ops_per_s: measured.ops as f64 / elapsed_s,
            latency_us: Latency::of(&measured.latency_ns),
            undisturbed_us: Latency::of(measured.undisturbed.latency_ns()),
            undisturbed_share: measured.undisturbed.share(),
            wrong: measured.wrong.clone(),
            unfinished: measured.unfinished,
            server,
            generator: GeneratorCost { cpu_us_per_op: per_op(measured.own_cpu_ns), cores: cores(measured.own_cpu_ns) },
            stolen_ms: measured.stolen_ms,
        }
    }

    /// Wrong and missing replies.
    pub(crate) fn faults(&self) -> u64 {
        self.wrong.values().sum::<u64>() + self.unfinished
    }

    /// An error if any reply was wrong or missing.
    ///
    /// # Errors
    /// [`BenchError::WrongReplies`].
    pub(crate) fn verdict(&self) -> Result<()> {
        match self.faults() {
            0 => Ok(()),
            faults => Err(BenchError::WrongReplies(faults)),
        }
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let loop_kind = self.rate.map_or("closed loop".to_owned(), |rate| format!("open loop, {rate:.0} op/s offered"));
        writeln!(
            f,
            "{} of {} B, {} connections × {} deep, {loop_kind}, {:.1} s",
            self.workload, self.data_bytes, self.connections, self.depth, self.elapsed_s
        )?;
        writeln!(f, "  operations   {:>12}   {:.0} op/s", self.ops, self.ops_per_s)?;
        let latency = self.latency_us;
        writeln!(
            f,
            "  latency µs   p50 {:.1}   p90 {:.1}   p99 {:.1}   p99.9 {:.1}   max {:.1}   mean {:.1}",
            latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max, latency.mean
        )?;
        if let Some(server) = self.server {
            let memory = server.memory;
            let per_op = or_none(server.cpu_us_per_op);
            writeln!(f, "  server CPU   {per_op} µs/op   {:.4} cores", server.cores)?;
            let mib = |kib: u64| kib as f64 / 1024.0;
            let (rss, anon, file) = (mib(memory.rss_kib), mib(memory.rss_anon_kib), mib(memory.rss_file_kib));
            writeln!(f, "  server RSS   {rss:.1} MiB   anon {anon:.1}   file {file:.1}")?;
        }
        let per_op = or_none(self.generator.cpu_us_per_op);
        write!(f, "  generator    {per_op} µs/op   {:.2} cores", self.generator.cores)?;
        if self.generator.cores > GENERATOR_BUSY {
            write!(f, "   ← the generator is the bottleneck: the server could do more")?;
        }
        if self.stolen_ms > 0 {
            write!(f, "\n  the host took {} ms of processor time from this machine", self.stolen_ms)?;
        }
        for (what, count) in &self.wrong {
            write!(f, "\n  WRONG        {count} × {what}")?;
        }
        if self.unfinished > 0 {
            write!(f, "\n  UNFINISHED   {} operations had no reply: is the offered rate too high?", self.unfinished)?;
        }
        Ok(())
    }
}

/// Writes anything as JSON to a file.
///
/// # Errors
/// [`BenchError::Output`].
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value).map_err(std::io::Error::from);
    json.and_then(|json| std::fs::write(path, json + "\n"))
        .map_err(|source| BenchError::Output { path: path.to_owned(), source })
}
