//! Runs stages one after the other, prints each one's time beside its budget, and adds up what their tests say.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::count::{Counts, Reading};
use crate::job;
use crate::place::Place;
use crate::stages::{LIMIT_FACTOR, LIMIT_S_MIN, Line, Stage, Step};
use crate::tools;

/// Lines of a failed step's log that are shown.
const TAIL_LINES: usize = 40;

/// Runs those of `stages` that `only` names (all if it is empty) and what they need.
///
/// # Errors
/// A name that no stage has; a log directory that cannot be made; being asked to stop.
pub(crate) fn stages(place: &Place, stages: &[Stage], only: &[String]) -> Result<Counts, String> {
    for name in only {
        if !stages.iter().any(|stage| stage.name == name) {
            let known: Vec<&str> = stages.iter().map(|stage| stage.name).collect();
            return Err(format!("no stage is called {name}; there are {}", known.join(", ")));
        }
    }
    make_log_dir(place)?;
    let chosen = |stage: &&Stage| only.is_empty() || stage.needed || only.iter().any(|name| name == stage.name);
    let (mut sum, mut broken) = (Counts::default(), Vec::new());
    let begun = Instant::now();
    for stage in stages.iter().filter(chosen) {
        let counts = run_stage(place, stage)?;
        sum += counts;
        if counts.failed > 0 {
            broken.push(stage.name);
            if stage.needed {
                println!("{}: the stages after it need it and are left out", stage.name);
                break;
            }
        }
    }
    let budget_s: u64 = stages.iter().filter(chosen).map(|stage| stage.budget_s).sum();
    println!("all stages: {} s of {budget_s} s; logs in {}", begun.elapsed().as_secs(), place.logs.display());
    if !broken.is_empty() {
        println!("failed: {}", broken.join(", "));
    }
    Ok(sum)
}

/// Makes the directory of the logs.
///
/// # Errors
/// What the system said.
pub(crate) fn make_log_dir(place: &Place) -> Result<(), String> {
    std::fs::create_dir_all(&place.logs).map_err(|e| format!("cannot make {}: {e}", place.logs.display()))
}

fn run_stage(place: &Place, stage: &Stage) -> Result<Counts, String> {
    println!("{:<12} {} …", stage.name, stage.about);
    let begun = Instant::now();
    let limit = Duration::from_secs((stage.budget_s * LIMIT_FACTOR).max(LIMIT_S_MIN));
    let mut counts = Counts::default();
    for (number, step) in stage.steps.iter().enumerate() {
        let log = place.logs.join(format!("{}.{number}.log", stage.name));
        let left = limit.saturating_sub(begun.elapsed());
        let of_step = match step {
            Step::InstallTools => install(&log, left),
            Step::Run(line) => run_line(place, line, &log, left),
        };
        if job::stop_asked() {
            return Err("stopped".to_owned());
        }
        counts += of_step;
        if of_step.failed > 0 && stage.needed {
            break;
        }
    }
    let took = begun.elapsed().as_secs();
    let left_out = if counts.ignored > 0 { format!(", {} ignored", counts.ignored) } else { String::new() };
    let over = if took > stage.budget_s { "  OVER ITS BUDGET" } else { "" };
    let (name, Counts { passed, failed, .. }) = (stage.name, counts);
    println!("{name:<12} {passed} passed, {failed} failed{left_out} in {took} s of {} s{over}", stage.budget_s);
    Ok(counts)
}

fn install(log: &Path, limit: Duration) -> Counts {
    match tools::install(log, limit) {
        Ok(()) => Counts { passed: 1, ..Counts::default() },
        Err(why) => {
            println!("  {why}");
            Counts { failed: 1, ..Counts::default() }
        }
    }
}

/// Runs one command line, its output to `log` (an earlier one is replaced). Shows figures, and of a failure the names and the
/// end of the log.
pub(crate) fn run_line(place: &Place, line: &Line, log: &Path, limit: Duration) -> Counts {
    // What an earlier run has left would be counted again.
    let _absent = std::fs::remove_file(log);
    let words: Vec<String> = line.words.split_whitespace().map(|word| place.fill(word)).collect();
    let Some((program, arguments)) = words.split_first() else { return line.reading.counts("", false) };
    let mut command = Command::new(program);
    command.args(arguments).envs(line.env.iter().copied()).current_dir(&place.root);
    command.env("CARGO_TARGET_DIR", &place.target);
    let end = job::run(&mut command, log, limit);
    let output = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let counts = line.reading.counts(&output, end.succeeded());
    if counts.failed > 0 {
        println!("  {} {end}; its log: {}", words.join(" "), log.display());
        for failure in line.reading.failures(&output) {
            println!("    {failure}");
        }
        show_end(&output);
    } else if line.reading == Reading::Figures {
        show_end(&output);
    }
    counts
}

fn show_end(output: &str) {
    let lines: Vec<&str> = output.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
        println!("  | {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;

    const fn step(words: &'static str) -> Step {
        Step::Run(Line { words, env: &[], reading: Reading::ExitCode })
    }

    const fn stage(name: &'static str, steps: &'static [Step], needed: bool) -> Stage {
        Stage { name, about: "a test's", budget_s: 60, steps, needed }
    }

    fn place(dir: &tempfile::TempDir) -> Place {
        Place { root: dir.path().into(), target: dir.path().into(), logs: dir.path().join("logs") }
    }

    const GOOD: &[Step] = &[step("true")];
    const BAD: &[Step] = &[step("false"), step("true")];

    #[test]
    fn a_failed_stage_does_not_hide_the_next_ones() {
        let dir = tempfile::tempdir().unwrap();
        let all = [stage("bad", BAD, false), stage("good", GOOD, false)];
        let counts = stages(&place(&dir), &all, &[]).unwrap();
        assert_eq!((counts.passed, counts.failed), (2, 1));
    }

    #[test]
    fn nothing_follows_a_failed_build() {
        let dir = tempfile::tempdir().unwrap();
        let all = [stage("build", BAD, true), stage("good", GOOD, false)];
        let counts = stages(&place(&dir), &all, &[]).unwrap();
        assert_eq!((counts.passed, counts.failed), (0, 1));
    }

    #[test]
    fn only_what_is_named_runs_and_what_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let all = [stage("build", GOOD, true), stage("bad", BAD, false), stage("good", GOOD, false)];
        let counts = stages(&place(&dir), &all, &["good".to_owned()]).unwrap();
        assert_eq!((counts.passed, counts.failed), (2, 0));
        assert!(stages(&place(&dir), &all, &["godo".to_owned()]).unwrap_err().contains("build, bad, good"));
    }
}
