//! What writers notice of an image: latency of sets at a fixed rate while images are written one after the other, beside the same without.
//!
//! The rate is a share of what the closed loop reaches. The open loop counts latency from the moment at which a set was meant to start, so a
//! pause shows in every set that it delayed. The sets go to random znodes of the whole tree, so that next to nothing can be carried over from
//! one image to the next; before each run an image is written, so that all begin alike.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::error::Result;
use crate::load;
use crate::process::Memory;
use crate::report::{RunReport, write_json};
use crate::spec::{LoadSpec, Workload};
use crate::spread::Spread;
use crate::storage::ground::{Ground, GroundArgs};
use crate::storage::page::Page;
use crate::storage::server::{ImageLine, Running, Stop};

/// `rkbench storage image-pause`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: half of the most, 5 pairs of 20 s, the server on one processor and the load on the other:
  rkbench storage image-pause --server-cpus 0 --load-cpu 1 --out docs/reports/$(date +%F)-storage-image-pause.md")]
pub(crate) struct ImagePauseArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// Pairs of runs
    #[arg(long, value_name = "N", default_value_t = 5)]
    pairs: u32,
    /// Offered rate, as a share of the closed loop's
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    share: f64,
    /// Sets offered per second, instead of a share
    #[arg(long, value_name = "OPS")]
    rate: Option<f64>,
    /// Seconds of each run; longer than an image takes
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    duration: f64,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 64)]
    connections: usize,
    /// Most sets in flight on each
    #[arg(long, value_name = "N", default_value_t = 16)]
    depth: usize,
    /// Pin the load to this CPU
    #[arg(long, value_name = "CPU")]
    load_cpu: Option<usize>,
}

/// One run.
#[derive(Debug, Serialize)]
struct PauseRun {
    with_images: bool,
    report: RunReport,
    images: Vec<ImageLine>,
    /// While it ran, and once it changed no more after it.
    memory_max: Memory,
    memory_after: Memory,
}

/// Between looks at memory and images.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Measures and prints.
///
/// # Errors
/// [`crate::error::BenchError`]
pub(crate) fn run(args: &ImagePauseArgs) -> Result<()> {
    let mut page = Page::begin("Storage figures: writes while an image is written");
    let ground = args.ground.ground()?;
    let site = ground.ringkeeper("ringkeeper");
    ground.fill(&site)?;
    let running = site.start(Some(ground.filled))?;
    crate::pin(args.load_cpu)?;
    let mut spec = LoadSpec {
        servers: vec![running.server],
        workload: Workload::Set,
        read_percent: 0,
        data_bytes: args.ground.data_bytes,
        connections: args.connections,
        depth: args.depth,
        rate: None,
        keys: 0,
        warmup: Duration::from_secs_f64(args.duration.min(1.0)),
        duration: Duration::from_secs_f64(args.duration),
        server_pid: Some(running.pid()),
        filled: Some(ground.filled),
    };
    let most = match args.rate {
        Some(_) => None,
        None => {
            let duration = spec.duration.min(Duration::from_secs(5));
            let report = load::run(&LoadSpec { duration, ..spec.clone() })?;
            report.verdict()?;
            Some(report.ops_per_s)
        }
    };
    let rate = args.rate.unwrap_or(most.unwrap_or_default() * args.share);
    spec.rate = Some(rate);
    let mut runs = Vec::new();
    for pair in 0..args.pairs {
        for with_images in [pair % 2 == 1, pair % 2 == 0] {
            running.image()?;
            runs.push(one(&ground, &running, &spec, with_images)?);
        }
    }
    running.stop(Stop::Clean)?;
    let most = most.map_or_else(|| "as told".to_owned(), |most| format!("{most:.0} a second in the closed loop"));
    page.paragraph(&format!(
        "{} znodes of {} bytes; {rate:.0} sets a second offered to random ones ({most}), {} connections, {} pairs of runs of {} s. Latency from the intended start, µs. \
         Medians [range]; ratios are of the two runs of a pair.",
        args.ground.znodes, args.ground.data_bytes, args.connections, args.pairs, args.duration
    ));
    page.table(&["latency", "without", "with images", "ratio"], &latency_cells(&runs));
    page.paragraph(&image_words(&runs));
    if let Some(path) = &args.ground.json {
        write_json(path, &runs)?;
    }
    page.end(args.ground.out.as_deref())
}

/// Offers the load; asks for the next image as soon as there is one, where there shall be images.
fn one(ground: &Ground, running: &Running<'_>, spec: &LoadSpec, with_images: bool) -> Result<PauseRun> {
    let before = running.site.images()?.len();
    let is_over = AtomicBool::new(false);
    let (report, memory_max) = thread::scope(|scope| {
        let watch = scope.spawn(|| watch(running, with_images, spec.warmup, &is_over));
        let report = load::run(spec);
        is_over.store(true, Ordering::Release);
        let memory_max = watch.join().expect("the thread that asks for images panicked");
        Ok::<_, crate::error::BenchError>((report?, memory_max?))
    })?;
    report.verdict()?;
    let memory_after = ground.memory(running)?;
    let images = running.site.images()?.split_off(before);
    eprintln!(
        "{} images: p99 {:.0} µs, max {:.0} µs, {} images",
        if with_images { "with" } else { "without" },
        report.latency_us.p99,
        report.latency_us.max,
        images.len()
    );
    Ok(PauseRun { with_images, report, images, memory_max, memory_after })
}

/// The most memory seen. Asks for images once the warm-up is over.
fn watch(running: &Running<'_>, with_images: bool, warmup: Duration, is_over: &AtomicBool) -> Result<Memory> {
    let begun = std::time::Instant::now();
    let mut most = Memory::default();
    // The number of images at which the next one was asked for.
    let mut asked_at = None;
    while !is_over.load(Ordering::Acquire) {
        let memory = Memory::take(running.pid())?;
        if memory.rss_anon_kib > most.rss_anon_kib {
            most = memory;
        }
        if with_images && begun.elapsed() > warmup {
            let written = running.images_written()?;
            if asked_at != Some(written) {
                running.ask_for_image()?;
                asked_at = Some(written);
            }
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(most)
}

fn latency_cells(runs: &[PauseRun]) -> Vec<Vec<String>> {
    type Figure = fn(&RunReport) -> f64;
    let rows: [(&str, Figure); 7] = [
        ("p50", |run| run.latency_us.p50),
        ("p90", |run| run.latency_us.p90),
        ("p99", |run| run.latency_us.p99),
        ("p99.9", |run| run.latency_us.p99_9),
        ("max", |run| run.latency_us.max),
        ("done per second", |run| run.ops_per_s),
        ("generator cores", |run| run.generator.cores),
    ];
    let of = |figure: Figure, with: bool| -> Vec<f64> {
        runs.iter().filter(|run| run.with_images == with).map(|run| figure(&run.report)).collect()
    };
    let cell =
        |figures: Vec<f64>, digits: usize| Spread::over(figures).map_or("-".to_owned(), |s| format!("{s:.digits$}"));
    let row = |(name, figure): (&str, Figure)| {
        let (without, with) = (of(figure, false), of(figure, true));
        let ratios = with.iter().zip(&without).filter(|(_, b)| **b > 0.0).map(|(a, b)| a / b).collect();
        let digits = if name == "generator cores" { 2 } else { 0 };
        vec![name.to_owned(), cell(without, digits), cell(with, digits), cell(ratios, 2)]
    };
    rows.map(row).into()
}

fn image_words(runs: &[PauseRun]) -> String {
    let with = || runs.iter().filter(|run| run.with_images);
    let images: Vec<ImageLine> = with().flat_map(|run| run.images.iter().copied()).collect();
    let spread = |figures: Vec<f64>| Spread::over(figures).map_or("-".to_owned(), |spread| format!("{spread:.0}"));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let anon = |memory: Memory| memory.rss_anon_kib as f64 / 1024.0;
    let of = |with: bool, memory: fn(&PauseRun) -> Memory| {
        spread(runs.iter().filter(|run| run.with_images == with).map(|run| anon(memory(run))).collect())
    };
    format!(
        "{} images in {} runs, one after the other: {} ms each, {} MiB written, {} MiB carried over. RssAnon in MiB: at most {} with images, {} without; \
         {} and {} once the load had ended.",
        images.len(),
        with().count(),
        spread(images.iter().map(|image| image.took_ms as f64).collect()),
        spread(images.iter().map(|image| mib(image.bytes)).collect()),
        spread(images.iter().map(|image| mib(image.carried_over_bytes)).collect()),
        of(true, |run| run.memory_max),
        of(false, |run| run.memory_max),
        of(true, |run| run.memory_after),
        of(false, |run| run.memory_after),
    )
}
