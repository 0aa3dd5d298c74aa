//! Runs stages one after the other, prints each one's time beside its budget, and adds up what their tests say.

use std::fmt::Write as _;
use std::ops::AddAssign;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::count::{Counts, Reading, end_of};
use crate::job;
use crate::place::Place;
use crate::stages::{LIMIT_FACTOR, LIMIT_S_MIN, Line, Stage, Step};
use crate::tools;

/// What a command line came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What its tests say.
    pub(crate) counts: Counts,
    /// Of a failure: the command, what failed and why; empty otherwise.
    pub(crate) report: String,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Outcome) {
        self.counts += other.counts;
        self.report += &other.report;
    }
}

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
    let (mut sum, mut broken) = (Outcome::default(), Vec::new());
    let begun = Instant::now();
    for stage in stages.iter().filter(chosen) {
        let outcome = run_stage(place, stage)?;
        let has_failed = outcome.counts.failed > 0;
        sum += outcome;
        if has_failed {
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
        // Said once more, for whoever sees no more than the end of a long output.
        println!("failed: {}\n{}", broken.join(", "), sum.report.trim_end());
    }
    Ok(sum.counts)
}

/// Makes the directory of the logs.
///
/// # Errors
/// What the system said.
pub(crate) fn make_log_dir(place: &Place) -> Result<(), String> {
    std::fs::create_dir_all(&place.logs).map_err(|e| format!("cannot make {}: {e}", place.logs.display()))
}

fn run_stage(place: &Place, stage: &Stage) -> Result<Outcome, String> {
    println!("{:<12} {} …", stage.name, stage.about);
    let begun = Instant::now();
    let limit = Duration::from_secs((stage.budget_s * LIMIT_FACTOR).max(LIMIT_S_MIN));
    let mut outcome = Outcome::default();
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
        let has_failed = of_step.counts.failed > 0;
        outcome += of_step;
        if has_failed && stage.needed {
            break;
        }
    }
    let took = begun.elapsed().as_secs();
    let (name, Counts { passed, failed, ignored }) = (stage.name, outcome.counts);
    let left_out = if ignored > 0 { format!(", {ignored} ignored") } else { String::new() };
    let over = if took > stage.budget_s { "  OVER ITS BUDGET" } else { "" };
    println!("{name:<12} {passed} passed, {failed} failed{left_out} in {took} s of {} s{over}", stage.budget_s);
    Ok(outcome)
}

fn install(log: &Path, limit: Duration) -> Outcome {
    match tools::install(log, limit) {
        Ok(()) => Outcome { counts: Counts { passed: 1, ..Counts::default() }, report: String::new() },
        Err(why) => {
            let report = format!("  {why}\n");
            print!("{report}");
            Outcome { counts: Counts { failed: 1, ..Counts::default() }, report }
        }
    }
}

/// Runs one command line, its output to `log` (an earlier one is replaced). Shows figures, and of a failure what failed and why.
pub(crate) fn run_line(place: &Place, line: &Line, log: &Path, limit: Duration) -> Outcome {
    // What an earlier run has left would be counted again.
    let _absent = std::fs::remove_file(log);
    let words: Vec<String> = line.words.split_whitespace().map(|word| place.fill(word)).collect();
    let Some((program, arguments)) = words.split_first() else {
        return Outcome { counts: line.reading.counts("", false), report: "  an empty command line\n".to_owned() };
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(line.env.iter().copied()).current_dir(&place.root);
    command.env("CARGO_TARGET_DIR", &place.target);
    let end = job::run(&mut command, log, limit);
    let output = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let counts = line.reading.counts(&output, end.succeeded());
    let mut report = String::new();
    if counts.failed > 0 {
        report = format!("  {} {end}; its log: {}\n", words.join(" "), log.display());
        for failure in line.reading.failures(&output) {
            let _infallible = writeln!(report, "    {failure}");
        }
        report += &indented(&line.reading.reasons(&output));
    } else if line.reading == Reading::Figures {
        print!("{}", indented(&end_of(&output)));
    }
    print!("{report}");
    Outcome { counts, report }
}

fn indented(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("  | {line}\n")).collect()
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

    const LIMIT: Duration = Duration::from_secs(60);
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
    fn a_failure_says_what_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(&dir);
        make_log_dir(&place).unwrap();
        let why = Line { words: "ls --no-such-option", env: &[], reading: Reading::ExitCode };
        let log = place.logs.join("it.log");
        let outcome = run_line(&place, &why, &log, LIMIT);
        assert_eq!(outcome.counts.failed, 1);
        assert!(outcome.report.contains(&format!("its log: {}\n", log.display())), "{}", outcome.report);
        assert!(outcome.report.contains("\n  | ls: "), "{}", outcome.report);
        let good = Line { words: "true", env: &[], reading: Reading::ExitCode };
        assert_eq!(run_line(&place, &good, &log, LIMIT).report, "");
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
