//! Several targets side by side: interleaved rounds, medians with ranges, ratios to the first target.

use std::time::Duration;

use serde::Serialize;

use crate::args::CompareArgs;
use crate::error::Result;
use crate::load;
use crate::matrix::{Row, Target};
use crate::report::{RunReport, write_json};
use crate::spec::{LoadSpec, Workload};
use crate::spread::Spread;

/// All runs of one row in one mode, by target.
#[derive(Debug, Serialize)]
struct RowRuns {
    row: Row,
    /// Offered operations per second; null in the closed loop.
    rate: Option<f64>,
    targets: Vec<TargetRuns>,
}

#[derive(Debug, Serialize)]
struct TargetRuns {
    name: String,
    runs: Vec<RunReport>,
}

/// A column of the tables: its title, its figure (`None` where the target has none), and its digits.
struct Column {
    title: &'static str,
    digits: usize,
    figure: fn(&RunReport) -> Option<f64>,
}

const OPS: Column = Column { title: "op/s", digits: 0, figure: |run| Some(run.ops_per_s) };
const P50: Column = Column { title: "p50 µs", digits: 0, figure: |run| Some(run.latency_us.p50) };
const P99: Column = Column { title: "p99 µs", digits: 0, figure: |run| Some(run.latency_us.p99) };
const P99_9: Column = Column { title: "p99.9 µs", digits: 0, figure: |run| Some(run.latency_us.p99_9) };
const CPU: Column =
    Column { title: "server CPU µs/op", digits: 2, figure: |run| run.server.and_then(|server| server.cpu_us_per_op) };
const CORES: Column = Column { title: "server cores", digits: 4, figure: |run| run.server.map(|server| server.cores) };
const GENERATOR: Column = Column { title: "generator cores", digits: 2, figure: |run| Some(run.generator.cores) };

/// Runs the whole matrix and prints it.
///
/// # Errors
/// [`crate::error::BenchError`]: a comparison with a broken or wrong run has no result.
pub(crate) fn run(args: &CompareArgs) -> Result<()> {
    let mut targets = args.targets.clone();
    if let (true, Some(first)) = (args.against_itself, args.targets.first()) {
        targets.insert(1, Target { name: format!("{} again", first.name), ..first.clone() });
    }
    let rows = if args.rows.is_empty() { Row::DEFAULT.to_vec() } else { args.rows.clone() };
    prewarm(args)?;
    let mut closed = Vec::new();
    let mut open = Vec::new();
    for row in rows {
        let runs = measure(args, &targets, row, None)?;
        if let Some(share) = args.equal_load.filter(|_| row.workload != Workload::Idle) {
            let rate = share * slowest(&runs);
            open.push(measure(args, &targets, row, Some(rate))?);
        }
        closed.push(runs);
    }
    println!(
        "Closed loop: medians of {} interleaved rounds of {:?}, [range], ratio to the first.\n",
        args.rounds, args.duration
    );
    println!("{}", markdown(&closed, &[OPS, P50, P99, CPU, CORES, GENERATOR]));
    if !open.is_empty() {
        let share = args.equal_load.unwrap_or_default() * 100.0;
        println!(
            "Open loop: equal load, {share:.0} % of the slowest target's closed-loop median; latency from the intended start.\n"
        );
        println!("{}", markdown(&open, &[OPS, P50, P99, P99_9, CPU]));
    }
    if let Some(path) = &args.json {
        write_json(path, &serde_json::json!({ "closed_loop": closed, "equal_load": open }))?;
    }
    Ok(())
}

fn prewarm(args: &CompareArgs) -> Result<()> {
    if args.prewarm.is_zero() {
        return Ok(());
    }
    // The three kinds of requests, so that a JVM has compiled all that is measured.
    for target in &args.targets {
        for (workload, data_bytes) in [(Workload::Mixed, 1024), (Workload::Create, 100)] {
            eprintln!("warming {} up: {workload}, {:?}", target.name, args.prewarm / 2);
            let row = Row { workload, data_bytes, connections: 64, depth: 16 };
            let spec = LoadSpec { warmup: Duration::ZERO, duration: args.prewarm / 2, ..spec(args, target, row, None) };
            load::run(&spec)?.verdict()?;
        }
    }
    Ok(())
}

/// All rounds of one row; the targets take turns, and each round begins with another one.
fn measure(args: &CompareArgs, targets: &[Target], row: Row, rate: Option<f64>) -> Result<RowRuns> {
    let mut by_target: Vec<TargetRuns> =
        targets.iter().map(|target| TargetRuns { name: target.name.clone(), runs: Vec::new() }).collect();
    for round in 0..args.rounds {
        for turn in 0..targets.len() {
            let index = (round + turn) % targets.len();
            let (Some(target), Some(runs)) = (targets.get(index), by_target.get_mut(index)) else { continue };
            let report = load::run(&spec(args, target, row, rate))?;
            report.verdict()?;
            let cpu = report.server.and_then(|server| server.cpu_us_per_op);
            let cpu = cpu.map_or(String::new(), |cpu| format!(", {cpu:.2} µs CPU/op"));
            let mode = rate.map_or(String::new(), |rate| format!(" at {rate:.0} op/s"));
            eprintln!(
                "{row}{mode}, round {}, {}: {:.0} op/s, p99 {:.0} µs{cpu}",
                round + 1,
                target.name,
                report.ops_per_s,
                report.latency_us.p99
            );
            runs.runs.push(report);
        }
    }
    Ok(RowRuns { row, rate, targets: by_target })
}

fn spec(args: &CompareArgs, target: &Target, row: Row, rate: Option<f64>) -> LoadSpec {
    LoadSpec {
        servers: target.servers.clone(),
        workload: row.workload,
        read_percent: args.read_percent,
        data_bytes: row.data_bytes,
        connections: row.connections,
        depth: row.depth,
        rate,
        keys: args.keys,
        warmup: args.warmup,
        duration: args.duration,
        server_pids: target.pids.clone(),
        filled: None,
    }
}

fn slowest(runs: &RowRuns) -> f64 {
    let medians = runs.targets.iter().filter_map(|target| spread(&target.runs, &OPS)).map(|spread| spread.median);
    medians.fold(f64::INFINITY, f64::min)
}

/// One table: a line per row and target.
fn markdown(rows: &[RowRuns], columns: &[Column]) -> String {
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let mut table = format!("| row | target | {} |\n|---|---|{}\n", titles.join(" | "), "---|".repeat(columns.len()));
    for runs in rows {
        let rate = runs.rate.map_or(String::new(), |rate| format!(" at {rate:.0} op/s"));
        for target in &runs.targets {
            let cells: Vec<String> = columns.iter().map(|column| cell(runs, target, column)).collect();
            table += &format!("| {}{rate} | {} | {} |\n", runs.row, target.name, cells.join(" | "));
        }
    }
    table
}

fn cell(runs: &RowRuns, target: &TargetRuns, column: &Column) -> String {
    let Some(figures) = spread(&target.runs, column) else { return "-".to_owned() };
    let digits = column.digits;
    let first = runs.targets.first().filter(|first| first.name != target.name);
    let first = first.and_then(|first| spread(&first.runs, column)).filter(|first| first.median > 0.0);
    let ratio = first.map_or(String::new(), |first| format!(" = {:.2}×", figures.median / first.median));
    format!("{figures:.digits$}{ratio}")
}

fn spread(runs: &[RunReport], column: &Column) -> Option<Spread> {
    Spread::over(runs.iter().filter_map(column.figure).collect())
}
