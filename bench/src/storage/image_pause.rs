//! What writers notice of an image: latency of sets at a fixed rate while images are written one after the other, beside the same without.
//!
//! The rate is a share of what the closed loop reaches. The open loop counts latency from the moment at which a set was meant to start, so a
//! pause shows in every set that it delayed. The sets go to random znodes of the whole tree, so that next to nothing can be carried over from
//! one image to the next. Each run is of a server that has just been started, with nothing in its log behind its image.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::error::{BenchError, Result};
use crate::load;
use crate::process::Memory;
use crate::report::{RunReport, write_json};
use crate::spec::{LoadSpec, Workload};
use crate::spread::Spread;
use crate::storage::ground::{Ground, GroundArgs, JavaArgs, LoadArgs};
use crate::storage::page::Page;
use crate::storage::server::{ImageLine, Kind, Running, Site, Stop};

/// `rkbench storage image-pause`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: half of the most, 5 pairs of 20 s, each server on one processor and the load on the other:
  rkbench storage image-pause --server-cpus 0 --load-cpu 1 --out docs/reports/$(date +%F)-storage-image-pause.md")]
pub(crate) struct ImagePauseArgs {
    #[command(flatten)]
    ground: GroundArgs,
    #[command(flatten)]
    java: JavaArgs,
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
    /// Seconds of load before each run
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    warmup: f64,
    /// Seconds of load before each of Java's runs, which the JVM needs to compile what is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    java_warmup: f64,
    /// Run a pair again if this machine's host took more processor time from it than this within one of its runs; at most as many pairs
    /// are run again as are asked for, and what was left out is said
    #[arg(long, value_name = "MS")]
    stolen_ms_max: Option<u64>,
    #[command(flatten)]
    load: LoadArgs,
}

/// A server, and what it is offered.
#[derive(Debug)]
struct Offer {
    site: Site,
    /// What the closed loop reached, per second; `None`: it was not asked.
    most: Option<f64>,
    rate: f64,
}

/// One run.
#[derive(Debug, Serialize)]
struct PauseRun {
    site: &'static str,
    with_images: bool,
    report: RunReport,
    /// Images written, and what the log says of them; Java's says nothing.
    image_count: usize,
    images: Vec<ImageLine>,
    /// While it ran, and once it changed no more after it.
    memory_max: Memory,
    memory_after: Memory,
}

/// Between looks at memory and images.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Java writes an image after half so many txns at the earliest: as many as come in two seconds, so that it always writes one.
const JAVA_IMAGE_EVERY_S: f64 = 2.0;

/// Measures and prints.
///
/// # Errors
/// [`crate::error::BenchError`]
pub(crate) fn run(args: &ImagePauseArgs) -> Result<()> {
    let mut page = Page::begin("Storage figures: writes while an image is written");
    let ground = args.ground.ground()?;
    let sites = args.java.sites(&ground);
    for site in &sites {
        ground.fill(site)?;
    }
    crate::pin(args.load.load_cpu)?;
    let offers: Vec<Offer> = sites.into_iter().map(|site| offer(args, &ground, site)).collect::<Result<_>>()?;
    let mut runs = Vec::new();
    let mut left_out = Vec::new();
    for pair in 0..args.pairs {
        for offer in &offers {
            runs.extend(one_pair(args, &ground, offer, pair, &mut left_out)?);
        }
    }
    page.paragraph(&format!(
        "{} znodes of {} bytes; sets of random ones at a fixed rate, {} connections, {} pairs of runs of {} s. Latency from the intended start, µs. \
         Medians [range]; ratios are of the two runs of a pair. Undisturbed: of the tenths of a second in which, and in the two before which, this \
         machine's host took no processor time from it.",
        args.ground.znodes, args.ground.data_bytes, args.load.connections, args.pairs, args.duration
    ));
    let titles = ["server", "latency", "without", "with images", "ratio"];
    page.table(&titles, &offers.iter().flat_map(|offer| latency_cells(offer, &runs)).collect::<Vec<_>>());
    offers.iter().for_each(|offer| page.paragraph(&words(offer, &runs)));
    if let Some(stolen_ms_max) = args.stolen_ms_max {
        page.paragraph(&format!(
            "Left out: {} pairs in which the host took more than {stolen_ms_max} ms of processor time from this machine within a run, and which were run \
             again; their ratios of p99: {}.",
            left_out.len(),
            if left_out.is_empty() { "none".to_owned() } else { left_out.join(", ") }
        ));
    }
    if let Some(path) = &args.ground.json {
        write_json(path, &runs)?;
    }
    page.end(args.ground.out.as_deref())
}

/// The two runs of a pair; once more if the host spoiled it, as long as not as many were left out as are asked for.
fn one_pair(
    args: &ImagePauseArgs,
    ground: &Ground,
    offer: &Offer,
    pair: u32,
    left_out: &mut Vec<String>,
) -> Result<Vec<PauseRun>> {
    loop {
        let order = [!pair.is_multiple_of(2), pair.is_multiple_of(2)];
        let runs =
            order.into_iter().map(|with_images| one(args, ground, offer, with_images)).collect::<Result<Vec<_>>>()?;
        let spoiled = args.stolen_ms_max.is_some_and(|max| runs.iter().any(|run| run.report.stolen_ms > max));
        if !spoiled || left_out.len() >= args.pairs as usize {
            return Ok(runs);
        }
        let p99 = |with| runs.iter().find(|run| run.with_images == with).map_or(0.0, |run| run.report.latency_us.p99);
        left_out.push(format!("{:.2}", p99(true) / p99(false).max(1.0)));
    }
}

/// Finds out how much a server takes.
fn offer(args: &ImagePauseArgs, ground: &Ground, site: Site) -> Result<Offer> {
    if let Some(rate) = args.rate {
        return Ok(Offer { site, most: None, rate });
    }
    let running = site.start(Some(ground.filled))?;
    let spec = spec(args, ground, &running);
    let report = load::run(&LoadSpec { duration: spec.duration.min(Duration::from_secs(5)), ..spec })?;
    report.verdict()?;
    leave(running)?;
    Ok(Offer { site, most: Some(report.ops_per_s), rate: report.ops_per_s * args.share })
}

fn spec(args: &ImagePauseArgs, ground: &Ground, running: &Running<'_>) -> LoadSpec {
    let is_java = matches!(running.site.kind, Kind::Java { .. });
    let warmup = if is_java { args.java_warmup } else { args.warmup.min(args.duration) };
    LoadSpec {
        servers: vec![running.server],
        workload: Workload::Set,
        read_percent: 0,
        data_bytes: args.ground.data_bytes,
        connections: args.load.connections,
        depth: args.load.depth,
        rate: None,
        keys: 0,
        warmup: Duration::from_secs_f64(warmup),
        duration: Duration::from_secs_f64(args.duration),
        server_pids: vec![running.pid()],
        filled: Some(ground.filled),
    }
}

/// Stops a server with next to nothing in its log behind an image, so that all runs begin alike. Java does that at its next start.
fn leave(running: Running<'_>) -> Result<()> {
    if matches!(running.site.kind, Kind::RingKeeper { .. }) {
        running.image()?;
    }
    running.stop(Stop::Clean)
}

/// Offers the load to a server that has just started. Where there shall be images, RingKeeper is asked for the next as soon as there
/// is one, and Java is told to write them so often.
fn one(args: &ImagePauseArgs, ground: &Ground, offer: &Offer, with_images: bool) -> Result<PauseRun> {
    let mut site = offer.site.clone();
    let asks = with_images && matches!(site.kind, Kind::RingKeeper { .. });
    if with_images && !asks {
        site.cfg.push(format!("snapCount={:.0}", (offer.rate * JAVA_IMAGE_EVERY_S).max(2.0)));
    }
    site.warm_cache()?;
    let running = site.start(Some(ground.filled))?;
    let before = site.image_files()?.len();
    let spec = LoadSpec { rate: Some(offer.rate), ..spec(args, ground, &running) };
    let is_over = AtomicBool::new(false);
    let (report, memory_max) = thread::scope(|scope| {
        let watch = scope.spawn(|| watch(&running, asks, spec.warmup, &is_over));
        let report = load::run(&spec);
        is_over.store(true, Ordering::Release);
        let memory_max = watch.join().expect("the thread that asks for images panicked");
        Ok::<_, BenchError>((report?, memory_max?))
    })?;
    report.verdict()?;
    let memory_after = ground.memory(&running)?;
    let images = site.images()?;
    // Java's are counted as files, which it keeps while it runs; RingKeeper's log has a line for each.
    let image_count = if asks { images.len() } else { site.image_files()?.len().saturating_sub(before) };
    let (name, p99, max) = (site.name(), report.latency_us.p99, report.latency_us.max);
    let undisturbed = report.undisturbed_us.p99;
    let with = if with_images { "with" } else { "without" };
    let stolen_ms = report.stolen_ms;
    eprintln!(
        "{name} {with} images: p99 {p99:.0} µs ({undisturbed:.0} undisturbed), max {max:.0} µs, {image_count} images; the host took {stolen_ms} ms"
    );
    leave(running)?;
    Ok(PauseRun { site: name, with_images, report, image_count, images, memory_max, memory_after })
}

/// The most memory seen. Asks for images, if it shall, once the warm-up is over.
fn watch(running: &Running<'_>, asks: bool, warmup: Duration, is_over: &AtomicBool) -> Result<Memory> {
    let begun = std::time::Instant::now();
    let mut most = Memory::default();
    // The number of images at which the next one was asked for.
    let mut asked_at = None;
    while !is_over.load(Ordering::Acquire) {
        let memory = Memory::take(running.pid())?;
        if memory.rss_anon_kib > most.rss_anon_kib {
            most = memory;
        }
        if asks && begun.elapsed() > warmup {
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

fn latency_cells(offer: &Offer, runs: &[PauseRun]) -> Vec<Vec<String>> {
    type Figure = fn(&RunReport) -> f64;
    let rows: [(&str, usize, Figure); 12] = [
        ("p50", 0, |run| run.latency_us.p50),
        ("p90", 0, |run| run.latency_us.p90),
        ("p99", 0, |run| run.latency_us.p99),
        ("p99.9", 0, |run| run.latency_us.p99_9),
        ("max", 0, |run| run.latency_us.max),
        ("p50, undisturbed", 0, |run| run.undisturbed_us.p50),
        ("p90, undisturbed", 0, |run| run.undisturbed_us.p90),
        ("p99, undisturbed", 0, |run| run.undisturbed_us.p99),
        ("undisturbed share of the time", 2, |run| run.undisturbed_share),
        ("done per second", 0, |run| run.ops_per_s),
        ("generator cores", 2, |run| run.generator.cores),
        ("taken by the host, ms", 0, |run| run.stolen_ms as f64),
    ];
    let cell =
        |figures: Vec<f64>, digits: usize| Spread::over(figures).map_or("-".to_owned(), |s| format!("{s:.digits$}"));
    let row = |(name, digits, figure): (&str, usize, Figure)| {
        let of = |with| of(offer, runs, with).map(|run| figure(&run.report)).collect::<Vec<f64>>();
        let (without, with) = (of(false), of(true));
        let ratios = with.iter().zip(&without).filter(|(_, b)| **b > 0.0).map(|(a, b)| a / b).collect();
        let name = [offer.site.name(), name].map(str::to_owned);
        name.into_iter().chain([cell(without, digits), cell(with, digits), cell(ratios, 2)]).collect()
    };
    rows.into_iter().map(row).collect()
}

/// The runs of a server, in the order of their pairs.
fn of<'r>(offer: &'r Offer, runs: &'r [PauseRun], with_images: bool) -> impl Iterator<Item = &'r PauseRun> {
    runs.iter().filter(move |run| run.site == offer.site.name() && run.with_images == with_images)
}

fn words(offer: &Offer, runs: &[PauseRun]) -> String {
    let images: Vec<ImageLine> = of(offer, runs, true).flat_map(|run| run.images.iter().copied()).collect();
    let spread = |figures: Vec<f64>| Spread::over(figures).map_or("-".to_owned(), |spread| format!("{spread:.0}"));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let memory = |with, moment: fn(&PauseRun) -> Memory| {
        spread(of(offer, runs, with).map(|run| moment(run).rss_anon_kib as f64 / 1024.0).collect())
    };
    let most = offer.most.map_or_else(|| "as told".to_owned(), |most| format!("{most:.0} in the closed loop"));
    let count: usize = of(offer, runs, true).map(|run| run.image_count).sum();
    let mut words = format!(
        "{}: {:.0} sets a second offered ({most}). {count} images in {} runs. RssAnon in MiB: at most {} with images, {} without; {} and {} once the \
         load had ended.",
        offer.site.name(),
        offer.rate,
        of(offer, runs, true).count(),
        memory(true, |run| run.memory_max),
        memory(false, |run| run.memory_max),
        memory(true, |run| run.memory_after),
        memory(false, |run| run.memory_after),
    );
    if !images.is_empty() {
        words += &format!(
            " An image: {} ms, {} MiB written, {} MiB carried over.",
            spread(images.iter().map(|image| image.took_ms as f64).collect()),
            spread(images.iter().map(|image| mib(image.bytes)).collect()),
            spread(images.iter().map(|image| mib(image.carried_over_bytes)).collect()),
        );
    }
    words
}
