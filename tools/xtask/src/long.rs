//! Long suites: the same tests with many more rounds, in the background of a working day.
//!
//! A suite runs in rounds; after each one its report in `docs/reports/` is written anew, and a file beside the logs remembers how many rounds
//! are done, so that it goes on where it was stopped.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::count::{Counts, Reading};
use crate::job;
use crate::place::Place;

struct Suite {
    name: &'static str,
    about: &'static str,
    rounds: u32,
    argv: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    reading: Reading,
}

const SUITES: &[Suite] = &[
    Suite {
        name: "kill9",
        about: "kill -9 at random moments under load, 50 to a round",
        rounds: 1,
        argv: &["cargo", "test", "--profile", "ci", "--package", "ringkeeper-tests", "--test", "crash", "--locked"],
        env: &[("RK_CRASH_ROUNDS", "50")],
        reading: Reading::Libtest,
    },
    Suite {
        name: "model",
        about: "the engine against the naive model, 100,000 sequences of each kind to a round",
        rounds: 10,
        argv: &["cargo", "test", "--profile", "ci", "--package", "ringkeeper-engine", "--test", "model", "--locked"],
        env: &[("RK_MODEL_CASES", "100000")],
        reading: Reading::Libtest,
    },
    Suite {
        name: "properties",
        about: "the codec's properties, 20,000 cases each to a round",
        rounds: 10,
        argv: &[
            "cargo",
            "test",
            "--profile",
            "ci",
            "--package",
            "ringkeeper-proto",
            "--test",
            "properties",
            "--locked",
        ],
        env: &[("PROPTEST_CASES", "20000")],
        reading: Reading::Libtest,
    },
];

/// No round takes longer.
const ROUND_LIMIT: Duration = Duration::from_secs(3 * 3600);

/// The suites, for `--help`.
pub(crate) fn help() -> String {
    let lines: Vec<String> =
        SUITES.iter().map(|suite| format!("  {:<12} {} ({} rounds)", suite.name, suite.about, suite.rounds)).collect();
    format!("Suites:\n{}\n\nExample: cargo xtask long kill9 --rounds 4", lines.join("\n"))
}

/// Runs a suite, or goes on with it.
///
/// # Errors
/// An unknown name; files that cannot be written.
pub(crate) fn run(place: &Place, name: &str, rounds: Option<u32>, fresh: bool) -> Result<Counts, String> {
    let suite =
        SUITES.iter().find(|suite| suite.name == name).ok_or_else(|| format!("no such suite: {name}\n{}", help()))?;
    std::fs::create_dir_all(&place.logs).map_err(|e| format!("cannot make {}: {e}", place.logs.display()))?;
    let state = place.logs.join(format!("long-{name}.rounds"));
    let done =
        if fresh { 0 } else { std::fs::read_to_string(&state).ok().and_then(|n| n.trim().parse().ok()).unwrap_or(0) };
    let rounds = rounds.unwrap_or(suite.rounds);
    if done >= rounds {
        return Err(format!(
            "{done} rounds of {name} are done already; --fresh begins anew, --rounds {} goes on",
            done + 1
        ));
    }
    let mut sum = Counts::default();
    let mut report = String::new();
    for round in done..rounds {
        let begun = Instant::now();
        let log = place.logs.join(format!("long-{name}.{round}.log"));
        let _absent = std::fs::remove_file(&log);
        let Some((program, arguments)) = suite.argv.split_first() else { continue };
        let mut command = Command::new(program);
        command.args(arguments).envs(suite.env.iter().copied()).current_dir(&place.root);
        let end = job::run(&mut command, &log, ROUND_LIMIT);
        let output = std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let counts = suite.reading.counts(&output, end.succeeded());
        sum += counts;
        let line = format!("| {} | {} | {} | {} |", round + 1, counts.passed, counts.failed, begun.elapsed().as_secs());
        println!("round {line}");
        let _infallible = writeln!(report, "{line}");
        write_report(place, suite, &report)?;
        std::fs::write(&state, format!("{}\n", round + 1))
            .map_err(|e| format!("cannot write {}: {e}", state.display()))?;
        if job::stop_asked() {
            return Err("stopped; the same command goes on".to_owned());
        }
    }
    // All rounds are done: the next call begins anew.
    let _absent = std::fs::remove_file(&state);
    Ok(sum)
}

fn write_report(place: &Place, suite: &Suite, rows: &str) -> Result<(), String> {
    let dir = place.root.join("docs/reports");
    let days = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / 86_400);
    let file = dir.join(format!("{}-{}.md", date_of(days), suite.name));
    let text = format!(
        "# {}: {}\n\n`{}` with {:?}\n\n| round | passed | failed | seconds |\n|---|---|---|---|\n{rows}",
        suite.name,
        suite.about,
        suite.argv.join(" "),
        suite.env
    );
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&file, text))
        .map_err(|e| format!("cannot write {}: {e}", file.display()))
}

/// The date of a day since 1970 (the proleptic Gregorian calendar, by eras of 400 years).
fn date_of(days: u64) -> String {
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{date:02}", era * 400 + year + u64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date_of(0), "1970-01-01");
        assert_eq!(date_of(19_782), "2024-02-29");
        assert_eq!(date_of(20_778), "2026-11-21");
    }
}
