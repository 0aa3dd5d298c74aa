//! How soon each planted bug is found: the table of `sim bugs`.
//!
//! Each search is a process of its own, since a planted bug may end in a panic, which ends a process of the release profiles.

use clap::ValueEnum as _;
use ringkeeper_sim::cluster::Bug;
use std::process::Command;

/// How the table is made.
#[derive(Debug, clap::Args)]
pub(crate) struct Bugs {
    /// This bug alone
    #[arg(long)]
    only: Option<Bug>,
    /// From how many first seeds each is looked for
    #[arg(long, default_value_t = 5)]
    starts: u64,
    /// After so many seeds it is given up
    #[arg(long, default_value_t = 2_000)]
    seeds_max: u64,
    /// Servers
    #[arg(long, default_value_t = 3)]
    servers: u32,
}

/// The first seeds of two starts are so far apart.
const STARTS_APART: u64 = 1_000_000;

/// Prints the table. False: a bug was not found.
///
/// # Errors
/// A search could not be run.
pub(crate) fn run(bugs: &Bugs) -> Result<bool, String> {
    println!("| planted bug | seeds needed, median of {} starts | most | found by |", bugs.starts);
    println!("|---|---|---|---|");
    let mut all_found = true;
    for bug in Bug::value_variants().iter().filter(|bug| bugs.only.is_none_or(|only| only == **bug)) {
        let name = bug.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut needed = Vec::new();
        let mut by: Vec<String> = Vec::new();
        for start in 1..=bugs.starts {
            let (seeds, found_by) = search(bugs, &name, start * STARTS_APART)?;
            needed.push(seeds);
            by.extend(found_by.filter(|found_by| !by.contains(found_by)));
        }
        needed.sort_unstable_by_key(|seeds| seeds.unwrap_or(u64::MAX));
        let told = |seeds: Option<u64>| seeds.map_or("not found".to_owned(), |seeds| seeds.to_string());
        let median = needed.get(needed.len() / 2).copied().flatten();
        all_found &= median.is_some();
        println!("| {name} | {} | {} | {} |", told(median), told(needed.last().copied().flatten()), by.join(", "));
    }
    Ok(all_found)
}

/// How many seeds it takes, and by which checker the bug is found.
fn search(bugs: &Bugs, name: &str, first: u64) -> Result<(Option<u64>, Option<String>), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(own)
        .args(["run", "--bug", name, "--servers", &bugs.servers.to_string()])
        .args(["--seed", &first.to_string(), "--seeds", &bugs.seeds_max.to_string()])
        .output()
        .map_err(|error| format!("a search does not start: {error}"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((seed, what)) = line.strip_prefix("seed ").and_then(|rest| rest.split_once(": ")) else { continue };
        let Ok(seed) = seed.parse::<u64>() else { continue };
        let by = if what.starts_with("panics") { Some("an assertion") } else { lines.next().and_then(checker_of) };
        return Ok((Some(seed + 1 - first), by.map(str::to_owned)));
    }
    Ok((None, None))
}

fn checker_of(line: &str) -> Option<&str> {
    let (checker, message) = line.split_once(": ")?;
    Some(if message.contains("panics in") { "an assertion" } else { checker })
}
