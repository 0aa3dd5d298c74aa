//! Reads from the image beside reads from memory: two servers with the same tree, one that has it in an image, one that never wrote any.
//!
//! Both stay up, and one idles while the other is read from. All is in the page cache.

use std::time::Duration;

use clap::Args;

use crate::error::{BenchError, Result};
use crate::load;
use crate::report::{RunReport, write_json};
use crate::spec::{LoadSpec, Workload};
use crate::spread::Spread;
use crate::storage::ground::{GroundArgs, LoadArgs};
use crate::storage::page::Page;
use crate::storage::server::Stop;

/// `rkbench storage lookup`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  rkbench storage lookup --server-cpus 0 --load-cpu 1 --out docs/reports/$(date +%F)-storage-lookup.md")]
pub(crate) struct LookupArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// Runs on each server
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// Seconds of each
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    duration: f64,
    #[command(flatten)]
    load: LoadArgs,
}

/// Measures and prints.
///
/// # Errors
/// [`crate::error::BenchError`]
pub(crate) fn run(args: &LookupArgs) -> Result<()> {
    let mut page = Page::begin("Storage figures: reads of the image and of memory");
    let ground = args.ground.ground()?;
    let (imaged, fresh) = (ground.ringkeeper("ringkeeper"), ground.ringkeeper("in-memory"));
    ground.fill(&imaged)?;
    let imaged = imaged.start(Some(ground.filled))?;
    let fresh_dir = fresh.dir.clone();
    if fresh_dir.exists() {
        return Err(BenchError::Foreign(fresh_dir));
    }
    let fresh = fresh.start(None)?;
    ground.make(&fresh)?;
    crate::pin(args.load.load_cpu)?;
    // Each page of the image is mapped once before anything counts.
    ground.filled.read_all(imaged.server)?;
    let names = ["memory", "image"];
    let (mut from_memory, mut from_image) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        let mut order: Vec<_> =
            [&fresh, &imaged].into_iter().zip(names).zip([&mut from_memory, &mut from_image]).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for ((server, name), runs) in order {
            let spec = LoadSpec {
                servers: vec![server.server],
                workload: Workload::Get,
                read_percent: 100,
                data_bytes: args.ground.data_bytes,
                connections: args.load.connections,
                depth: args.load.depth,
                rate: None,
                keys: 0,
                warmup: Duration::from_secs(1),
                duration: Duration::from_secs_f64(args.duration),
                server_pids: vec![server.pid()],
                filled: Some(ground.filled),
            };
            let report = load::run(&spec)?;
            report.verdict()?;
            eprintln!("{name}: {:.0} reads a second", report.ops_per_s);
            runs.push(report);
        }
    }
    fresh.stop(Stop::Clean)?;
    imaged.stop(Stop::Clean)?;
    std::fs::remove_dir_all(&fresh_dir).map_err(BenchError::output(&fresh_dir))?;
    page.paragraph(&format!(
        "{} znodes of {} bytes, getData of random ones, {} connections × {} deep, warm. Medians of {} interleaved runs of {} s, [range].",
        args.ground.znodes, args.ground.data_bytes, args.load.connections, args.load.depth, args.rounds, args.duration
    ));
    let row = |(name, runs): (&str, &Vec<RunReport>)| {
        let spread = |digits: usize, figure: fn(&RunReport) -> f64| {
            Spread::over(runs.iter().map(figure).collect())
                .map_or("-".to_owned(), |spread| format!("{spread:.digits$}"))
        };
        let cpu: fn(&RunReport) -> f64 = |run| run.server.and_then(|server| server.cpu_us_per_op).unwrap_or_default();
        vec![
            name.to_owned(),
            spread(0, |run| run.ops_per_s),
            spread(2, cpu),
            spread(0, |run| run.latency_us.p99),
            spread(2, |run| run.generator.cores),
        ]
    };
    let rows: Vec<Vec<String>> = names.into_iter().zip([&from_memory, &from_image]).map(row).collect();
    page.table(&["read from", "reads per second", "server CPU µs/read", "p99 µs", "generator cores"], &rows);
    if let Some(path) = &args.ground.json {
        write_json(path, &serde_json::json!({ "memory": from_memory, "image": from_image }))?;
    }
    page.end(args.ground.out.as_deref())
}
