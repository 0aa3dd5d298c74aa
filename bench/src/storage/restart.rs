//! How long a start takes, from exec to the first read that is served, and what the tree takes of memory then.
//!
//! The servers take turns, one runs at a time. Before each start the server was stopped or killed with a log tail of a known length behind its
//! newest image, and its files are in the page cache or not. RingKeeper's image is asked for; Java's server writes one at each start.

use clap::Args;
use serde::Serialize;

use crate::error::Result;
use crate::process::{Memory, disk_read_bytes};
use crate::random::Random;
use crate::report::write_json;
use crate::spread::Spread;
use crate::storage::ground::{Filling, Ground, GroundArgs, JavaArgs};
use crate::storage::page::{MEMORY_TITLES, Page, memory_cells};
use crate::storage::server::{Kind, Running, Site, Stop};

/// `rkbench storage restart`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: a million znodes, both servers, the trees kept for another time:
  rkbench storage restart --data /tmp/restart --out docs/reports/$(date +%F)-storage-restart.md")]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    ground: GroundArgs,
    #[command(flatten)]
    java: JavaArgs,
    /// Starts of each kind
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// Sets in the log behind the newest image, for the starts that have a log tail
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    tail: u64,
}

/// Before a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Case {
    stop: Stop,
    /// Sets behind the newest image.
    tail: u64,
    /// Are its files out of the page cache?
    cold: bool,
}

/// A start.
#[derive(Clone, Copy, Debug, Serialize)]
struct Start {
    site: &'static str,
    case: Case,
    /// From exec to the first served read.
    first_read_ms: f64,
    /// What it had read from the disk by then.
    disk_read_bytes: u64,
}

/// Memory at some moment.
#[derive(Clone, Debug, Serialize)]
struct MemoryRow {
    site: &'static str,
    moment: &'static str,
    memory: Memory,
}

/// Measures and prints.
///
/// # Errors
/// [`crate::error::BenchError`]
pub(crate) fn run(args: &RestartArgs) -> Result<()> {
    let mut page = Page::begin("Storage figures: restart and memory");
    let ground = args.ground.ground()?;
    let sites = args.java.sites(&ground);
    let mut memory = Vec::new();
    for site in &sites {
        memory.extend(ground.fill(site)?.map(|filling| filling_rows(site, filling)).into_iter().flatten());
    }
    let cases = cases(args.tail);
    let starts = starts(&ground, &sites, &cases, args.rounds)?;
    for site in &sites {
        memory.extend(memory_rows(&ground, site)?);
    }
    page.paragraph(&format!(
        "{} znodes of {} bytes, made by multis. Medians of {} interleaved starts, [range], in ms. Dropped: the files of dataDir were taken out of the page cache \
         by `posix_fadvise`; the programs were not. \
         `setpriv` and, for Java, a shell script run before the server's own exec: some 2 and 20 ms.",
        args.ground.znodes, args.ground.data_bytes, args.rounds
    ));
    page.table(
        &["before", "log tail", "page cache", "server", "exec to first read, ms", "read from disk, MiB"],
        &start_cells(&sites, &cases, &starts),
    );
    page.paragraph(
        "Memory, once it changes no more; Java's after a full collection (`jcmd GC.run`), where what counts is its RSS.",
    );
    let titles: Vec<&str> = ["server", "moment"].into_iter().chain(MEMORY_TITLES).collect();
    let cells = |row: &MemoryRow| {
        let names = [row.site, row.moment].map(str::to_owned);
        names.into_iter().chain(memory_cells(row.memory, args.ground.znodes)).collect()
    };
    page.table(&titles, &memory.iter().map(cells).collect::<Vec<_>>());
    if let Some(path) = &args.ground.json {
        write_json(path, &serde_json::json!({ "starts": starts, "memory": memory }))?;
    }
    page.end(args.ground.out.as_deref())
}

/// A clean stop and a kill with an empty tail, a kill with a long one; each warm and cold.
fn cases(tail: u64) -> Vec<Case> {
    let before = [(Stop::Clean, 0), (Stop::Kill, 0), (Stop::Kill, tail)];
    before.into_iter().flat_map(|(stop, tail)| [false, true].map(|cold| Case { stop, tail, cold })).collect()
}

fn starts(ground: &Ground, sites: &[Site], cases: &[Case], rounds: u32) -> Result<Vec<Start>> {
    let mut starts = Vec::new();
    let turns: Vec<Case> = (0..rounds).flat_map(|_| cases.iter().copied()).collect();
    if let Some(first) = turns.first() {
        for site in sites {
            leave(ground, site.start(Some(ground.filled))?, *first, 0)?;
        }
    }
    for (turn, case) in turns.iter().enumerate() {
        for site in sites {
            if case.cold {
                site.drop_cache()?;
            } else {
                site.warm_cache()?;
            }
            let running = site.start(Some(ground.filled))?;
            let disk_read_bytes = disk_read_bytes(running.pid())?;
            let first_read_ms = running.first_read.as_secs_f64() * 1e3;
            eprintln!("{}: {case:?}: {first_read_ms:.1} ms, {} KiB read", site.name(), disk_read_bytes >> 10);
            starts.push(Start { site: site.name(), case: *case, first_read_ms, disk_read_bytes });
            let next = turns.get(turn + 1).copied().unwrap_or(Case { stop: Stop::Clean, tail: 0, cold: false });
            leave(ground, running, next, turn as u64 + 1)?;
        }
    }
    Ok(starts)
}

/// Brings a server to an end as the case has it.
fn leave(ground: &Ground, running: Running<'_>, case: Case, seed: u64) -> Result<()> {
    if matches!(running.site.kind, Kind::RingKeeper { .. }) {
        running.image()?;
    }
    let mut random = Random::seeded(seed);
    let numbers: Vec<u64> = (0..case.tail).map(|_| random.below(ground.filled.znodes)).collect();
    ground.filled.set(running.server, &numbers)?;
    running.stop(case.stop)
}

fn filling_rows(site: &Site, filling: Filling) -> Vec<MemoryRow> {
    let imaged = if matches!(site.kind, Kind::Java { .. }) { "the first start" } else { "the first image" };
    let rows = [
        ("an empty tree", filling.memory_empty),
        ("all znodes were made", filling.memory),
        (imaged, filling.memory_imaged),
    ];
    rows.map(|(moment, memory)| MemoryRow { site: site.name(), moment, memory }).into()
}

/// Memory after a start, after everything was read, and after a tenth was changed and written into an image.
fn memory_rows(ground: &Ground, site: &Site) -> Result<Vec<MemoryRow>> {
    let running = site.start(Some(ground.filled))?;
    let mut rows = Vec::new();
    let mut take = |moment| {
        let memory = ground.memory(&running)?;
        rows.push(MemoryRow { site: site.name(), moment, memory });
        Ok::<(), crate::error::BenchError>(())
    };
    take("a start")?;
    ground.filled.read_all(running.server)?;
    take("each znode was read once")?;
    let mut random = Random::seeded(1 << 20);
    let numbers: Vec<u64> = (0..ground.filled.znodes / 10).map(|_| random.below(ground.filled.znodes)).collect();
    ground.filled.set(running.server, &numbers)?;
    take("a tenth was set")?;
    if matches!(site.kind, Kind::RingKeeper { .. }) {
        running.image()?;
        take("an image of that")?;
    }
    running.stop(Stop::Clean)?;
    Ok(rows)
}

fn start_cells(sites: &[Site], cases: &[Case], starts: &[Start]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for case in cases {
        for site in sites {
            let of_it = || starts.iter().filter(|start| start.site == site.name() && start.case == *case);
            let spread = |figures: Vec<f64>, digits: usize| {
                Spread::over(figures).map_or("-".to_owned(), |spread| format!("{spread:.digits$}"))
            };
            let stop = if case.stop == Stop::Clean { "clean stop" } else { "kill -9" };
            let cache = if case.cold { "dropped" } else { "warm" };
            rows.push(vec![
                stop.to_owned(),
                case.tail.to_string(),
                cache.to_owned(),
                site.name().to_owned(),
                spread(of_it().map(|start| start.first_read_ms).collect(), 1),
                spread(of_it().map(|start| start.disk_read_bytes as f64 / f64::from(1 << 20)).collect(), 1),
            ]);
        }
    }
    rows
}
