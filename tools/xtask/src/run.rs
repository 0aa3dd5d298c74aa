//! Runs stages one after the other, prints each one's time beside its budget, and adds up what their tests say.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::count::Counts;
use crate::job;
use crate::place::Place;
use crate::stages::{LIMIT_FACTOR, LIMIT_S_MIN, Stage, Step};
use crate::tools;

/// Lines of a failed stage's log that are shown.
const TAIL_LINES: usize = 40;

/// Runs those of `stages` that `only` names (all if it is empty) and what they need.
///
/// # Errors
/// A name that no stage has; a log directory that cannot be made.
pub(crate) fn stages(place: &Place, stages: &[Stage], only: &[String]) -> Result<Counts, String> {
    for name in only {
        if !stages.iter().any(|stage| stage.name == name) {
            let known: Vec<&str> = stages.iter().map(|stage| stage.name).collect();
            return Err(format!("no stage is called {name}; there are {}", known.join(", ")));
        }
    }
    std::fs::create_dir_all(&place.logs).map_err(|e| format!("cannot make {}: {e}", place.logs.display()))?;
    let mut sum = Counts::default();
    let begun = Instant::now();
    for stage in stages.iter().filter(|stage| only.is_empty() || stage.needed || only.iter().any(|n| n == stage.name)) {
        let counts = run_stage(place, stage);
        sum += counts;
        if job::stop_asked() {
            return Err("stopped".to_owned());
        }
        if stage.needed && counts.failed > 0 {
            println!("{}: the stages after it need it and are left out", stage.name);
            break;
        }
    }
    println!("all stages: {} s; logs in {}", begun.elapsed().as_secs(), place.logs.display());
    Ok(sum)
}

fn run_stage(place: &Place, stage: &Stage) -> Counts {
    println!("{:<12} {} …", stage.name, stage.about);
    let log = place.logs.join(format!("{}.log", stage.name));
    // A log of an earlier run would be counted again.
    let _absent = std::fs::remove_file(&log);
    let begun = Instant::now();
    let mut counts = Counts::default();
    for (number, step) in stage.steps.iter().enumerate() {
        let step_log = place.logs.join(format!("{}.{number}.log", stage.name));
        let _absent = std::fs::remove_file(&step_log);
        let limit = Duration::from_secs((stage.budget_s * LIMIT_FACTOR).max(LIMIT_S_MIN));
        let of_step = run_step(place, step, &step_log, limit.saturating_sub(begun.elapsed()));
        counts += of_step;
        if of_step.failed > 0 && stage.needed {
            break;
        }
    }
    let took = begun.elapsed().as_secs();
    let over = if took > stage.budget_s { "  OVER ITS BUDGET" } else { "" };
    println!(
        "{:<12} {} passed, {} failed in {took} s of {} s{over}",
        stage.name, counts.passed, counts.failed, stage.budget_s
    );
    counts
}

fn run_step(place: &Place, step: &Step, log: &PathBuf, limit: Duration) -> Counts {
    let (argv, env, reading) = match step {
        Step::InstallTools => {
            return match tools::install(log, limit) {
                Ok(()) => Counts { passed: 1, ..Counts::default() },
                Err(why) => {
                    println!("  {why}");
                    Counts { failed: 1, ..Counts::default() }
                }
            };
        }
        Step::Run { argv, env, reading } => (argv, env, reading),
    };
    let words: Vec<String> = argv.iter().map(|word| place.fill(word)).collect();
    let Some((program, arguments)) = words.split_first() else { return Counts { failed: 1, ..Counts::default() } };
    let mut command = Command::new(program);
    command.args(arguments).envs(env.iter().copied()).current_dir(&place.root).env("CARGO_TARGET_DIR", &place.target);
    let end = job::run(&mut command, log, limit);
    let output = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let counts = reading.counts(&output, end.succeeded());
    if counts.failed > 0 {
        println!("  {} {end}; its log: {}", words.join(" "), log.display());
        for failure in reading.failures(&output) {
            println!("    {failure}");
        }
        let lines: Vec<&str> = output.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
            println!("  | {line}");
        }
    }
    counts
}
