//! The stages and their budgets: the one table.
//!
//! A new suite takes its minutes from here, or goes to `cargo xtask long`. The budgets are for 2 cores and an empty target
//! directory; together they stay below [`CI_BUDGET_S_MAX`], and a test holds them to it. All building is done in the profile
//! `ci`, so that binaries, tests and this program share it.

use crate::count::Reading::{self, ExitCode, LastLine, Libtest};

/// One stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage {
    /// Its name, and that of its log.
    pub(crate) name: &'static str,
    /// What it holds the code to.
    pub(crate) about: &'static str,
    /// How long it should take, in seconds. Over it is a warning.
    pub(crate) budget_s: u64,
    /// What it does, one after the other.
    pub(crate) steps: &'static [Step],
    /// Whether the later stages make no sense once it has failed.
    pub(crate) needed: bool,
}

/// One thing that a stage does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Runs a program from the workspace's top.
    Run {
        /// The program, then its arguments; `{bin}` and `{target}` are filled in.
        argv: &'static [&'static str],
        /// Environment variables to set.
        env: &'static [(&'static str, &'static str)],
        /// How its result is read.
        reading: Reading,
    },
    /// Installs the programs that the stages need.
    InstallTools,
}

const fn run(reading: Reading, argv: &'static [&'static str]) -> Step {
    Step::Run { argv, env: &[], reading }
}

const fn run_with(
    reading: Reading,
    env: &'static [(&'static str, &'static str)],
    argv: &'static [&'static str],
) -> Step {
    Step::Run { argv, env, reading }
}

/// A server with this many shards and a suite of foreign clients against it. More shards than cores is on purpose.
const fn clients(argv: &'static [&'static str]) -> Step {
    run(LastLine, argv)
}

/// All stages of `ci` together, in seconds: 50 minutes.
#[cfg(test)]
const CI_BUDGET_S_MAX: u64 = 50 * 60;
/// All stages of `check` together, in seconds: 5 minutes.
#[cfg(test)]
const CHECK_BUDGET_S_MAX: u64 = 5 * 60;

/// A stage is ended after this many times its budget, but not before [`LIMIT_S_MIN`] seconds.
pub(crate) const LIMIT_FACTOR: u64 = 4;
/// See [`LIMIT_FACTOR`].
pub(crate) const LIMIT_S_MIN: u64 = 120;

const FMT: Stage = Stage {
    name: "fmt",
    about: "rustfmt has nothing to change",
    budget_s: 10,
    steps: &[run(ExitCode, &["cargo", "fmt", "--all", "--check"])],
    needed: false,
};

const CLIPPY: Stage = Stage {
    name: "clippy",
    about: "no lint has anything to say, tests included",
    budget_s: 90,
    steps: &[run(
        ExitCode,
        &["cargo", "clippy", "--profile", "ci", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    )],
    needed: false,
};

const INSTALL: Stage = Stage {
    name: "install",
    about: "the foreign clients and tools, by name, where they are missing",
    budget_s: 180,
    steps: &[Step::InstallTools, run(ExitCode, &["tests/clients/install.sh"])],
    needed: false,
};

const BUILD: Stage = Stage {
    name: "build",
    about: "binaries and tests compile, once",
    budget_s: 480,
    steps: &[
        run(ExitCode, &["cargo", "build", "--profile", "ci", "--workspace", "--bins", "--locked"]),
        run(
            ExitCode,
            &["cargo", "test", "--profile", "ci", "--workspace", "--lib", "--bins", "--tests", "--no-run", "--locked"],
        ),
    ],
    needed: true,
};

const UNIT: Stage = Stage {
    name: "unit",
    about: "unit, vector, model and property tests of every crate",
    budget_s: 150,
    steps: &[run(
        Libtest,
        &[
            "cargo",
            "test",
            "--profile",
            "ci",
            "--workspace",
            "--exclude",
            "ringkeeper-tests",
            "--lib",
            "--bins",
            "--tests",
            "--no-fail-fast",
            "--locked",
        ],
    )],
    needed: false,
};

const E2E: Stage = Stage {
    name: "e2e",
    about: "the laws, sessions, bad input, configuration and the house's rules against the built server",
    budget_s: 240,
    steps: &[run(
        Libtest,
        &[
            "cargo",
            "test",
            "--profile",
            "ci",
            "--package",
            "ringkeeper-tests",
            "--no-fail-fast",
            "--locked",
            "--",
            "--skip",
            "crash_",
            "--skip",
            "durability_",
        ],
    )],
    needed: false,
};

const CRASH: Stage = Stage {
    name: "crash",
    about: "kill -9 at random moments, 10 rounds: every acknowledged write is there",
    budget_s: 60,
    steps: &[run_with(
        Libtest,
        &[("RK_CRASH_ROUNDS", "10")],
        &["cargo", "test", "--profile", "ci", "--package", "ringkeeper-tests", "--test", "crash", "--locked"],
    )],
    needed: false,
};

const DURABILITY: Stage = Stage {
    name: "durability",
    about: "a reply leaves only after a durable write that covers it",
    budget_s: 60,
    steps: &[run(
        Libtest,
        &["cargo", "test", "--profile", "ci", "--package", "ringkeeper-tests", "--test", "durability", "--locked"],
    )],
    needed: false,
};

const CLIENTS_1: Stage = Stage {
    name: "clients-1",
    about: "kazoo, Java, Curator, C and the shells against 1 shard",
    budget_s: 180,
    steps: &[clients(&[
        "{bin}/with-server",
        "--shards",
        "1",
        "--",
        "tests/clients/all.sh",
        "--super",
        "super:test",
        "{addr}",
    ])],
    needed: false,
};

const CLIENTS_2: Stage = Stage {
    name: "clients-2",
    about: "the same against 2 shards",
    budget_s: 180,
    steps: &[clients(&[
        "{bin}/with-server",
        "--shards",
        "2",
        "--",
        "tests/clients/all.sh",
        "--super",
        "super:test",
        "{addr}",
    ])],
    needed: false,
};

const CLIENTS_4: Stage = Stage {
    name: "clients-4",
    about: "the same against 4 shards, more than there are cores",
    budget_s: 180,
    steps: &[clients(&[
        "{bin}/with-server",
        "--shards",
        "4",
        "--",
        "tests/clients/all.sh",
        "--super",
        "super:test",
        "{addr}",
    ])],
    needed: false,
};

const ASAN: Stage = Stage {
    name: "asan",
    about: "the crates with unsafe code under AddressSanitizer",
    budget_s: 420,
    // A build of its own, for a named target, so that build scripts are left alone: the sanitizer's code does not mix with the other.
    steps: &[
        run_with(
            Libtest,
            ASAN_ENV,
            &[
                "cargo",
                "test",
                "--target",
                "x86_64-unknown-linux-gnu",
                "--target-dir",
                "{target}/asan",
                "--package",
                "ringkeeper-wal",
                "--package",
                "ringkeeper-snapshot",
                "--lib",
                "--tests",
                "--locked",
            ],
        ),
        run_with(
            Libtest,
            ASAN_ENV,
            &[
                "cargo",
                "test",
                "--target",
                "x86_64-unknown-linux-gnu",
                "--target-dir",
                "{target}/asan",
                "--package",
                "ringkeeper",
                "--test",
                "rt_shard",
                "--test",
                "rt_bell",
                "--locked",
            ],
        ),
    ],
    needed: false,
};

const ASAN_ENV: &[(&str, &str)] =
    &[("RUSTC_BOOTSTRAP", "1"), ("RUSTFLAGS", "-Zsanitizer=address"), ("ASAN_OPTIONS", "detect_leaks=0")];

const BENCH_SMOKE: Stage = Stage {
    name: "bench-smoke",
    about: "rkbench drives the server for seconds and checks every reply; figures only, no limits",
    budget_s: 30,
    steps: &[
        run(
            ExitCode,
            &[
                "{bin}/with-server",
                "--",
                "{bin}/rkbench",
                "run",
                "--servers",
                "{addr}",
                "--connections",
                "16",
                "--depth",
                "16",
                "--workload",
                "mixed",
                "--data-bytes",
                "1024",
                "--duration",
                "3",
                "--warmup",
                "1",
            ],
        ),
        run(
            ExitCode,
            &[
                "{bin}/with-server",
                "--",
                "{bin}/rkbench",
                "run",
                "--servers",
                "{addr}",
                "--connections",
                "64",
                "--depth",
                "16",
                "--workload",
                "set",
                "--data-bytes",
                "1024",
                "--duration",
                "3",
                "--warmup",
                "1",
            ],
        ),
    ],
    needed: false,
};

/// `cargo xtask check`.
pub(crate) const CHECK: &[Stage] = &[FMT, CLIPPY, UNIT];

/// `cargo xtask ci`, cheapest first.
pub(crate) const CI: &[Stage] =
    &[FMT, INSTALL, BUILD, CLIPPY, UNIT, BENCH_SMOKE, DURABILITY, CRASH, E2E, CLIENTS_1, CLIENTS_2, CLIENTS_4, ASAN];

/// The table, for `--help`.
pub(crate) fn help() -> String {
    let lines: Vec<String> =
        CI.iter().map(|stage| format!("  {:<12} {:>4} s  {}", stage.name, stage.budget_s, stage.about)).collect();
    format!("Stages with their budgets:\n{}\n\nExample: cargo xtask ci --only build,e2e", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budgets_fit() {
        let sum = |stages: &[Stage]| stages.iter().map(|stage| stage.budget_s).sum::<u64>();
        assert!(sum(CI) <= CI_BUDGET_S_MAX, "{} s", sum(CI));
        assert!(sum(CHECK) <= CHECK_BUDGET_S_MAX, "{} s", sum(CHECK));
    }

    #[test]
    fn names_are_unique_and_in_the_help() {
        for (i, stage) in CI.iter().enumerate() {
            assert!(CI.iter().skip(i + 1).all(|other| other.name != stage.name), "{}", stage.name);
            assert!(help().contains(stage.name));
        }
    }
}
