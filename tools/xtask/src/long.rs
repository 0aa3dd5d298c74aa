//! Long suites: the same tests with many more rounds, in the background of a working day.
//!
//! A suite runs in rounds. After each one its row goes to a file beside the logs, from which the suite goes on where it was
//! stopped, and its part of the report in `docs/reports/` is written anew from all rows; what a person has written around it stays. A round
//! that was interrupted has no row.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::count::Counts;
use crate::count::Reading::{ExitCode, Figures, LastLine, Libtest};
use crate::job;
use crate::place::Place;
use crate::run;
use crate::stages::Line;

struct Suite {
    name: &'static str,
    about: &'static str,
    rounds: u32,
    /// Done once before the first round, not counted.
    prepare: &'static [&'static str],
    /// One round.
    steps: &'static [Line],
}

const fn line(reading: crate::count::Reading, words: &'static str) -> Line {
    Line { words, env: &[], reading }
}

/// One of the client suites against a server with so many shards.
macro_rules! recipes {
    ($shards:literal, $suite:literal) => {
        concat!("{bin}/with-server --shards ", $shards, " -- tests/clients/", $suite, " {addr}")
    };
}

/// The programs that the tests start.
const BUILD: &str = "cargo test --profile ci --workspace --lib --bins --tests --no-run --locked";
/// The one that can be told to fail, and to end epochs soon.
const BUILD_FAULTS: &str =
    "cargo build --profile ci --workspace --bin ringkeeper-faults --features ringkeeper/fault-injection --locked";
/// The servers of ensembles, which start fast.
const JAVA: &str = "tests/reference/java-server.sh --fast-start --prepare";
const JAVA_38: &str = "tests/reference/java-server.sh --version 3.8.0 --fast-start --prepare";

const SUITES: &[Suite] = &[
    Suite {
        name: "kill9",
        about: "kill -9 at random moments under load, 50 to a round",
        rounds: 1,
        prepare: &[BUILD],
        steps: &[Line {
            words: "cargo test --profile ci --workspace --test crash --locked -- kill_9",
            env: &[("RK_CRASH_ROUNDS", "50")],
            reading: Libtest,
        }],
    },
    Suite {
        name: "ensemble",
        about: "all faults in random orders on ensembles of 3 and 5 servers, Java's and RingKeeper's, 5 of each to a round, kazoo's clients among others",
        rounds: 4,
        prepare: &["tests/clients/install.sh", JAVA, BUILD, BUILD_FAULTS],
        steps: &[Line {
            words: "cargo test --profile ci --workspace --test ensemble --locked -- --test-threads 1 --nocapture",
            env: &[("RK_ENSEMBLE_ROUNDS", "5"), ("RK_ENSEMBLE", "java,ringkeeper")],
            reading: Libtest,
        }],
    },
    Suite {
        name: "mixed",
        about: "Java's servers and RingKeeper's in one ensemble: the whole matrix of synchronizations, and all faults in random orders on three mixes of 3 and 5 servers",
        rounds: 4,
        prepare: &["tests/clients/install.sh", JAVA, JAVA_38, BUILD, BUILD_FAULTS],
        steps: &[
            line(
                Libtest,
                "cargo test --profile ci --workspace --test ensemble --locked -- --test-threads 1 --nocapture mixed::",
            ),
            Line {
                words: "cargo test --profile ci --workspace --test ensemble --locked -- --test-threads 1 --nocapture --skip mixed:: matrix:: faults:: sessions:: local:: partitions:: groups::",
                env: &[
                    ("RK_ENSEMBLE_ROUNDS", "2"),
                    (
                        "RK_ENSEMBLE",
                        // Behind a leader of 3.9.5 a server of 3.8.0 answers out of order when its leader changes, without RingKeeper, too: no history with both can be judged.
                        "java+ringkeeper,java+java+ringkeeper,ringkeeper+ringkeeper+java-3.8",
                    ),
                ],
                reading: Libtest,
            },
        ],
    },
    Suite {
        name: "sim",
        about: "the simulation: 8,000 seeds of one, three and five servers, and how soon each planted bug is found",
        rounds: 1,
        prepare: &[BUILD],
        steps: &[
            line(ExitCode, "{bin}/sim run --servers 3 --seed 1000000 --seeds 5000"),
            line(ExitCode, "{bin}/sim run --servers 5 --observers 1 --seed 2000000 --seeds 1000"),
            line(ExitCode, "{bin}/sim run --servers 1 --seed 3000000 --seeds 2000"),
            line(ExitCode, "{bin}/sim bugs"),
        ],
    },
    Suite {
        name: "sessions",
        about: "100,000 sessions that expire at once, one with 100,000 ephemerals, and stalls of many lengths",
        rounds: 2,
        prepare: &[BUILD],
        steps: &[
            sessions(&[("RK_SESSIONS_COUNT", "100000"), ("RK_TEST_CORE", "thread")]),
            sessions(&[("RK_SESSIONS_COUNT", "100000"), ("RK_TEST_CORE", "shard")]),
        ],
    },
    Suite {
        name: "soak",
        about: "mixed load for 10 minutes to a round, every reply checked, the server's memory in the log",
        rounds: 6,
        prepare: &[BUILD],
        steps: &[line(
            Figures,
            "{bin}/with-server --shards 2 -- {bin}/rkbench run --servers {addr} --server-pid {pid} --workload mixed \
             --connections 64 --depth 16 --data-bytes 1024 --duration 600 --warmup 5",
        )],
    },
    Suite {
        name: "clients",
        about: "the foreign clients against 1, 2 and 4 shards and an ensemble of 3 servers, again and again",
        rounds: 20,
        prepare: &["tests/clients/install.sh", "tests/clients/rust/run.sh --prepare", BUILD],
        steps: &[
            line(LastLine, "{bin}/with-server --shards 1 -- tests/clients/all.sh --super super:test {addr}"),
            line(LastLine, "{bin}/with-server --shards 2 -- tests/clients/all.sh --super super:test {addr}"),
            line(LastLine, "{bin}/with-server --shards 4 -- tests/clients/all.sh --super super:test {addr}"),
            line(LastLine, "{bin}/with-server --shards 2 -- tests/clients/rust/run.sh {addr}"),
            line(
                LastLine,
                "{bin}/with-ensemble -- tests/clients/all.sh --suites python,java,java-3.9.5,curator,c,node --super super:test {addrs}",
            ),
            line(LastLine, "{bin}/with-ensemble -- tests/clients/rust/run.sh {addrs}"),
        ],
    },
    Suite {
        name: "kazoo",
        about: "the whole of kazoo's own test suite with RingKeeper and with ZooKeeper, one server and three, each outcome the expected one",
        rounds: 3,
        prepare: &[BUILD, "tests/foreign/kazoo-suite.sh --prepare", "tests/reference/java-server.sh --prepare"],
        steps: &[
            line(LastLine, "tests/foreign/kazoo-suite.sh --ringkeeper {bin}/ringkeeper --jobs 2 --logs {target}/kazoo"),
            line(LastLine, "tests/foreign/kazoo-suite.sh --jobs 2 --logs {target}/kazoo-zookeeper"),
            line(
                LastLine,
                "tests/foreign/kazoo-suite.sh --servers 3 --ringkeeper {bin}/ringkeeper --jobs 2 --logs {target}/kazoo-3",
            ),
            line(LastLine, "tests/foreign/kazoo-suite.sh --servers 3 --logs {target}/kazoo-zookeeper-3"),
        ],
    },
    Suite {
        name: "recipes",
        about: "Curator 5.4 and 5.9 with 5 times the contention and nodes that expire, on an ensemble too, the Java client, and the proxy that lies to each",
        rounds: 3,
        prepare: &["tests/clients/install.sh", "tests/reference/java-server.sh --prepare", BUILD],
        steps: &[
            line(LastLine, recipes!(1, "curator/run.sh --scale 5 --timeout 900")),
            line(LastLine, recipes!(2, "curator/run.sh --scale 5 --timeout 900 --client 3.9.5")),
            line(LastLine, recipes!(4, "curator/run.sh --scale 5 --timeout 900")),
            line(LastLine, recipes!(4, "java/run.sh --super super:test --client 3.9.5")),
            line(
                LastLine,
                "{bin}/with-ensemble -- tests/clients/curator/run.sh --scale 5 --timeout 900 --client 3.9.5 {addrs}",
            ),
            line(ExitCode, recipes!(2, "bite.py")),
        ],
    },
    Suite {
        name: "differential",
        about: "random operations for the real ZooKeeper and the server, 10 fresh seeds with 25,000 each to a round, 2 more beside 3.8.0",
        rounds: 4,
        prepare: &[
            BUILD,
            "tests/reference/java-server.sh --prepare",
            "tests/reference/java-server.sh --version 3.8.0 --prepare",
        ],
        steps: &[
            line(
                LastLine,
                "{bin}/rkdiff run --ringkeeper {bin}/ringkeeper --seeds 10 --operations 25000 --quiet --coverage \
                 --out {target}/divergences",
            ),
            line(
                LastLine,
                "{bin}/rkdiff run --ringkeeper {bin}/ringkeeper --seeds 2 --operations 25000 --quotas --quiet \
                 --out {target}/divergences",
            ),
            line(
                LastLine,
                "{bin}/rkdiff run --ringkeeper {bin}/ringkeeper --java 3.8 --seeds 2 --operations 25000 --quiet \
                 --out {target}/divergences",
            ),
        ],
    },
    Suite {
        name: "model",
        about: "the engine against the naive model, 100,000 sequences of each kind to a round",
        rounds: 10,
        prepare: &[],
        steps: &[Line {
            words: "cargo test --profile ci --package ringkeeper-engine --test model --locked",
            env: &[("RK_MODEL_CASES", "100000")],
            reading: Libtest,
        }],
    },
    Suite {
        name: "properties",
        about: "the codec's properties, 20,000 cases each to a round",
        rounds: 10,
        prepare: &[],
        steps: &[Line {
            words: "cargo test --profile ci --package ringkeeper-proto --test properties --locked",
            env: &[("PROPTEST_CASES", "20000")],
            reading: Libtest,
        }],
    },
    Suite {
        name: "corruption",
        about: "10,000 random flips to a round in 104 MiB of log, and 10,000 in 104 MiB of image in several files: each named with file, offset \
                and zxid, no wrong record or answer",
        rounds: 10,
        prepare: &[],
        steps: &[
            Line {
                words: "cargo test --profile ci --package ringkeeper-wal --test random_flips_are_named --locked -- --nocapture",
                env: &[("RK_FLIPS", "10000"), ("RK_FLIP_LOG_MIB", "104"), ("RK_FLIP_SEED", "fresh")],
                reading: Libtest,
            },
            Line {
                words: "cargo test --profile ci --package ringkeeper-snapshot --test base_random_flips --locked -- --nocapture",
                env: &[("RK_FLIPS", "10000"), ("RK_FLIP_IMAGE_MIB", "104"), ("RK_FLIP_SEED", "fresh")],
                reading: Libtest,
            },
        ],
    },
    Suite {
        name: "larger-than-memory",
        about: "a tree of 1 GiB in a memory cgroup of 512 MiB: every answer right, and what hot reads take beside cold ones in the log",
        rounds: 3,
        prepare: &[BUILD],
        steps: &[Line {
            words: "cargo test --profile ci --workspace --test larger_than_memory --locked -- --nocapture",
            env: &[("RK_MEMORY_MIB", "512"), ("RK_HOT_SECONDS", "30")],
            reading: Libtest,
        }],
    },
    Suite {
        name: "fuzz",
        about: "each decoder under cargo-fuzz for 5 minutes to a round (needs: cargo install cargo-fuzz)",
        rounds: 1,
        prepare: &[],
        steps: &[
            fuzz("cargo fuzz run connect_request -- -max_total_time=300"),
            fuzz("cargo fuzz run connect_response -- -max_total_time=300"),
            fuzz("cargo fuzz run election -- -max_total_time=300"),
            fuzz("cargo fuzz run multi -- -max_total_time=300"),
            fuzz("cargo fuzz run path_validate -- -max_total_time=300"),
            fuzz("cargo fuzz run quorum_packet -- -max_total_time=300"),
            fuzz("cargo fuzz run reply -- -max_total_time=300"),
            fuzz("cargo fuzz run request -- -max_total_time=300"),
            fuzz("cargo fuzz run snap_stream -- -max_total_time=300"),
            fuzz("cargo fuzz run txn_record -- -max_total_time=300"),
            fuzz("cargo fuzz run watcher_event -- -max_total_time=300"),
        ],
    },
];

/// One after the other, since their figures are in the log.
const fn sessions(env: &'static [(&'static str, &'static str)]) -> Line {
    Line {
        words: "cargo test --profile ci --workspace --test session_ends --locked -- --test-threads 1 --nocapture",
        env,
        reading: Libtest,
    }
}

/// New inputs stay in `fuzz/corpus`, to be looked through before they are committed.
const fn fuzz(words: &'static str) -> Line {
    Line { words, env: &[("RUSTC_BOOTSTRAP", "1")], reading: ExitCode }
}

/// No step takes longer.
const STEP_LIMIT: Duration = Duration::from_secs(3 * 3600);

/// The suites, for `--help`.
pub(crate) fn help() -> String {
    let lines: Vec<String> =
        SUITES.iter().map(|suite| format!("  {:<12} {} ({} rounds)", suite.name, suite.about, suite.rounds)).collect();
    format!("Suites:\n{}\n\nExample: cargo xtask long kill9 --rounds 4", lines.join("\n"))
}

/// Runs a suite, or goes on with it; the counts are those of all its rounds.
///
/// # Errors
/// An unknown name; preparations that failed; files that cannot be written; being asked to stop.
pub(crate) fn run(place: &Place, name: &str, rounds: Option<u32>, fresh: bool) -> Result<Counts, String> {
    let suite =
        SUITES.iter().find(|suite| suite.name == name).ok_or_else(|| format!("no such suite: {name}\n{}", help()))?;
    run::make_log_dir(place)?;
    let progress = Progress { file: place.logs.join(format!("long-{name}.rounds")) };
    let mut rows = if fresh { Vec::new() } else { progress.read() };
    let rounds = usize::try_from(rounds.unwrap_or(suite.rounds)).unwrap_or(usize::MAX);
    if rows.len() >= rounds {
        let next = rows.len() + 1;
        return Err(format!("{rounds} rounds of {name} are done: --rounds {next} goes on, --fresh begins anew"));
    }
    for (number, words) in suite.prepare.iter().enumerate() {
        let log = place.logs.join(format!("long-{name}.prepare-{number}.log"));
        if run::run_line(place, &line(ExitCode, words), &log, STEP_LIMIT).counts.failed > 0 {
            return Err(format!("{words} failed"));
        }
    }
    while rows.len() < rounds {
        let row = round(place, suite, rows.len() + 1)?;
        println!("round {}: {} passed, {} failed in {} s", rows.len() + 1, row.passed, row.failed, row.took_s);
        rows.push(row);
        progress.write(&rows)?;
        write_report(&place.root, suite, &rows)?;
    }
    let mut sum = Counts::default();
    for row in rows {
        sum += Counts { passed: row.passed, failed: row.failed, ignored: 0 };
    }
    Ok(sum)
}

fn round(place: &Place, suite: &Suite, number: usize) -> Result<Row, String> {
    let begun = Instant::now();
    let mut counts = Counts::default();
    for (step, line) in suite.steps.iter().enumerate() {
        let log = place.logs.join(format!("long-{}.{number}.{step}.log", suite.name));
        counts += run::run_line(place, line, &log, STEP_LIMIT).counts;
        if job::stop_asked() {
            return Err("stopped; the same command goes on".to_owned());
        }
    }
    Ok(Row { passed: counts.passed, failed: counts.failed, took_s: begun.elapsed().as_secs() })
}

/// What one round found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    passed: u64,
    failed: u64,
    took_s: u64,
}

/// The rounds that are done: a line each, `passed failed seconds`.
struct Progress {
    file: PathBuf,
}

impl Progress {
    /// The rows; none where there is no file. A line that cannot be read ends them.
    fn read(&self) -> Vec<Row> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let row = |line: &str| {
            let mut numbers = line.split(' ').map(|word| word.parse::<u64>().ok());
            Some(Row { passed: numbers.next()??, failed: numbers.next()??, took_s: numbers.next()?? })
        };
        text.lines().map_while(row).collect()
    }

    fn write(&self, rows: &[Row]) -> Result<(), String> {
        let text: String = rows.iter().map(|row| format!("{} {} {}\n", row.passed, row.failed, row.took_s)).collect();
        std::fs::write(&self.file, text).map_err(|e| format!("cannot write {}: {e}", self.file.display()))
    }
}

fn write_report(root: &Path, suite: &Suite, rows: &[Row]) -> Result<(), String> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let dir = root.join("docs/reports");
    let file = dir.join(format!("{}-{}.md", date_of(since.as_secs() / 86_400), suite.name));
    let steps: String = suite
        .steps
        .iter()
        .map(|step| {
            let set: String = step.env.iter().map(|(name, value)| format!("{name}={value} ")).collect();
            format!("    {set}{}\n", step.words)
        })
        .collect();
    let table: String = (1..)
        .zip(rows)
        .map(|(number, row)| format!("| {number} | {} | {} | {} |\n", row.passed, row.failed, row.took_s))
        .collect();
    let part = format!(
        "# {}: {}\n\nOne round:\n\n{steps}\n| round | passed | failed | seconds |\n|---|---|---|---|\n{table}",
        suite.name, suite.about
    );
    let former = match std::fs::read_to_string(&file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        former => former.map_err(|e| format!("cannot read {}: {e}", file.display()))?,
    };
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&file, with_part(&former, &part)))
        .map_err(|e| format!("cannot write {}: {e}", file.display()))
}

/// A report with this as the part between the marks. All else of it stays; where it has no marks, the part comes behind it.
fn with_part(report: &str, part: &str) -> String {
    let around = report.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    match around {
        Some((before, after)) => format!("{before}{BEGIN}{part}{END}{after}"),
        None if report.is_empty() => format!("{BEGIN}{part}{END}"),
        None => format!("{}\n\n{BEGIN}{part}{END}", report.trim_end()),
    }
}

/// Before the part of a report that is written anew after each round.
const BEGIN: &str = "<!-- cargo xtask long writes from here -->\n";
/// After it.
const END: &str = "<!-- to here -->\n";

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

    #[test]
    fn rounds_that_are_done_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let progress = Progress { file: dir.path().join("rounds") };
        assert_eq!(progress.read(), []);
        let rows = [Row { passed: 3, failed: 0, took_s: 7 }, Row { passed: 2, failed: 1, took_s: 9 }];
        progress.write(&rows).unwrap();
        assert_eq!(progress.read(), rows);
        std::fs::write(&progress.file, "3 0 7\n2 ").unwrap();
        assert_eq!(progress.read(), rows[..1], "a torn line is no round");
    }

    #[test]
    fn a_report_has_every_round() {
        let dir = tempfile::tempdir().unwrap();
        let rows = [Row { passed: 3, failed: 0, took_s: 7 }, Row { passed: 2, failed: 1, took_s: 9 }];
        write_report(dir.path(), &SUITES[0], &rows).unwrap();
        let file = std::fs::read_dir(dir.path().join("docs/reports")).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains("| 1 | 3 | 0 | 7 |\n| 2 | 2 | 1 | 9 |\n"), "{text}");
        assert!(text.contains("RK_CRASH_ROUNDS=50 cargo test"), "{text}");
    }

    #[test]
    fn what_a_person_wrote_into_a_report_stays() {
        let dir = tempfile::tempdir().unwrap();
        let row = Row { passed: 3, failed: 0, took_s: 7 };
        write_report(dir.path(), &SUITES[0], &[row]).unwrap();
        let file = std::fs::read_dir(dir.path().join("docs/reports")).unwrap().next().unwrap().unwrap().path();
        let read = || std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("Seen first.\n{}Seen last.\n", read())).unwrap();
        write_report(dir.path(), &SUITES[0], &[row, row]).unwrap();
        let text = read();
        assert!(text.starts_with("Seen first.\n") && text.ends_with("Seen last.\n"), "{text}");
        assert_eq!((text.matches("| 1 | 3 |").count(), text.matches("| 2 | 3 |").count()), (1, 1), "{text}");
        // One that is a person's from the first to the last word.
        std::fs::write(&file, "# By hand").unwrap();
        for _ in 0..2 {
            write_report(dir.path(), &SUITES[0], &[row]).unwrap();
        }
        let text = read();
        assert!(text.starts_with("# By hand\n\n<!--") && text.matches("| 1 | 3 |").count() == 1, "{text}");
    }

    #[test]
    fn each_fuzz_target_is_in_the_suite() {
        let fuzz = SUITES.iter().find(|suite| suite.name == "fuzz").unwrap();
        for entry in std::fs::read_dir(Place::find().root.join("fuzz/fuzz_targets")).unwrap() {
            let target = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
            let words = format!("cargo fuzz run {target} ");
            assert!(fuzz.steps.iter().any(|step| step.words.starts_with(&words)), "{target} is not in the suite");
        }
    }
}
