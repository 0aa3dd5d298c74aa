//! The stages and their budgets: the one table.
//!
//! A new suite takes its minutes from here, or goes to `cargo xtask long`. The budgets are for 2 cores and an empty target
//! directory; together they stay below [`CI_BUDGET_S_MAX`], and a test holds them to it. All building is done in the profile
//! `ci`, so that binaries, tests and this program share it. A test holds `e2e`, `crash`, `ensemble`, `durability` and `version-2` together to
//! every file in `tests/tests/`.
//!
//! What starts servers does so for both places where the consensus core can live ([`CORE_IN_THREAD`], [`CORE_IN_SHARD`]), since a
//! machine with two processors would choose only the one; `durability` and `version-2` choose for themselves.

use crate::count::Reading::{self, ExitCode, Figures, LastLine, Libtest};

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
    Run(Line),
    /// Installs the programs that the stages need.
    InstallTools,
}

/// A command line, its environment, and how its result is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// Program and arguments, parted by spaces; `{bin}`, `{target}` and `{host}` are filled in ([`crate::place::Place::fill`]).
    pub(crate) words: &'static str,
    /// Environment variables to set.
    pub(crate) env: Env,
    /// How its result is read.
    pub(crate) reading: Reading,
}

type Env = &'static [(&'static str, &'static str)];

const fn run(reading: Reading, words: &'static str) -> Step {
    run_with(reading, &[], words)
}

const fn run_with(reading: Reading, env: Env, words: &'static str) -> Step {
    Step::Run(Line { words, env, reading })
}

/// Servers whose consensus core has a thread of its own: what a server with more than one processor chooses.
const CORE_IN_THREAD: Env = &[("RK_TEST_CORE", "thread")];
/// Servers whose first shard hosts the core: what a server with one processor chooses.
const CORE_IN_SHARD: Env = &[("RK_TEST_CORE", "shard")];

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
    steps: &[run(ExitCode, "cargo fmt --all --check")],
    needed: false,
};

const INSTALL: Stage = Stage {
    name: "install",
    about: "the foreign clients and tools, by name, where they are missing",
    budget_s: 180,
    steps: &[
        Step::InstallTools,
        run(ExitCode, "tests/clients/install.sh"),
        run(ExitCode, "tests/foreign/kazoo-suite.sh --prepare"),
        run(ExitCode, "tests/reference/java-server.sh --fast-start --prepare"),
        run(ExitCode, "tests/reference/java-server.sh --version 3.8.0 --fast-start --prepare"),
    ],
    needed: false,
};

const BUILD: Stage = Stage {
    name: "build",
    about: "binaries and tests compile, once, and the server that can be told to fail",
    budget_s: 600,
    // With a package's tests come its own binaries, but `rkctl` has none: so all of them are named. The later stages name the whole workspace too (only `ringkeeper-tests`
    // may be left out): with fewer packages cargo would choose other features and build everything a second time.
    steps: &[
        run(ExitCode, "cargo test --profile ci --workspace --lib --bins --tests --no-run --locked"),
        run(ExitCode, "cargo build --profile ci --workspace --bins --locked"),
        run(
            ExitCode,
            "cargo build --profile ci --workspace --bin ringkeeper-faults --features ringkeeper/fault-injection --locked",
        ),
    ],
    needed: true,
};

const CLIPPY: Stage = Stage {
    name: "clippy",
    about: "no lint has anything to say, tests included",
    budget_s: 120,
    steps: &[
        run(ExitCode, "cargo clippy --profile ci --workspace --all-targets --locked -- -D warnings"),
        run(ExitCode, "cargo clippy --profile ci -p ringkeeper-wal --features fault-injection --locked -- -D warnings"),
    ],
    needed: false,
};

const UNIT: Stage = Stage {
    name: "unit",
    about: "unit, vector, model and property tests of every crate",
    budget_s: 150,
    steps: &[run(
        Libtest,
        "cargo test --profile ci --workspace --exclude ringkeeper-tests --lib --bins --tests --no-fail-fast --locked",
    )],
    needed: false,
};

const BENCH_SMOKE: Stage = Stage {
    name: "bench-smoke",
    about: "rkbench drives the server for seconds, measures its storage on a small tree, and checks every reply; figures only, no limits",
    budget_s: 45,
    steps: &[
        run(
            Figures,
            "{bin}/with-server -- {bin}/rkbench run --servers {addr} --server-pid {pid} --workload mixed \
             --connections 16 --depth 16 --data-bytes 1024 --duration 3 --warmup 1",
        ),
        run(
            Figures,
            "{bin}/with-server -- {bin}/rkbench run --servers {addr} --server-pid {pid} --workload set \
             --connections 64 --depth 16 --data-bytes 1024 --duration 3 --warmup 1",
        ),
        run(Figures, "{bin}/rkbench storage restart --only ringkeeper --znodes 10000 --rounds 1 --tail 1000"),
        run(
            Figures,
            "{bin}/rkbench storage image-pause --only ringkeeper --znodes 10000 --pairs 1 --duration 1 --rate 5000",
        ),
        run(Figures, "{bin}/rkbench storage amplification --znodes 10000 --sets 100,5000 --images 2"),
        run(Figures, "{bin}/rkbench storage lookup --znodes 10000 --rounds 1 --duration 1"),
    ],
    needed: false,
};

const DURABILITY: Stage = Stage {
    name: "durability",
    about: "a reply leaves only after a durable write that covers it; what happens when the disk is full or fails",
    budget_s: 30,
    steps: &[run(Libtest, "cargo test --profile ci --workspace --test durability --locked")],
    needed: false,
};

const CRASH: Stage = Stage {
    name: "crash",
    about: "kill -9 at random moments, 10 rounds a core's place: every acknowledged write is there",
    budget_s: 30,
    steps: &[
        crash(&[("RK_CRASH_ROUNDS", "10"), ("RK_TEST_CORE", "thread")]),
        crash(&[("RK_CRASH_ROUNDS", "10"), ("RK_TEST_CORE", "shard")]),
    ],
    needed: false,
};

const fn crash(env: Env) -> Step {
    run_with(Libtest, env, "cargo test --profile ci --workspace --test crash --locked -- kill_9")
}

const E2E: Stage = Stage {
    name: "e2e",
    about: "the laws, sessions, bad input, configuration and the house's rules against the built server; elections with real ones",
    budget_s: 280,
    steps: &[
        run_with(
            Libtest,
            CORE_IN_THREAD,
            "cargo test --profile ci --workspace --test arrows --test docs --test compatibility --test lifecycle --test config \
             --test laws --test session_ends --test bad_input --test watchdog --test quotas \
             --test words --test sasl --test addresses --test memory_limit --test inspection --test base --test damage --test larger_than_memory --test election --no-fail-fast --locked",
        ),
        run_with(
            Libtest,
            CORE_IN_SHARD,
            "cargo test --profile ci --workspace --test lifecycle --test laws --test session_ends --test bad_input \
             --test watchdog --no-fail-fast --locked",
        ),
    ],
    needed: false,
};

const ENSEMBLE: Stage = Stage {
    name: "ensemble",
    about: "3 servers and 8 clients while one is killed, stands still, is cut off, or has a disk that stalls or is full: all that was seen is explained by the logs; one changed thing is not",
    budget_s: 90,
    steps: &[run(
        Libtest,
        // By their whole names: a part of one would choose others too.
        "cargo test --profile ci --workspace --test ensemble --locked -- --test-threads 1 --exact \
         addresses::a_server_whose_name_leads_nowhere_yet_waits_for_it_and_can_be_ended_meanwhile \
         addresses::an_ensemble_on_ipv6_elects_serves_loses_its_leader_and_goes_on \
         addresses::servers_whose_names_lead_elsewhere_are_found_there \
         bite::one_changed_thing_makes_a_right_history_wrong \
         disks::a_leader_whose_disk_is_full_lets_another_lead_and_follows_it_once_there_is_space \
         disks::a_leader_whose_disk_stalls_does_not_hold_back_what_a_quorum_has \
         faults::a_follower_is_killed_and_nothing_is_lost \
         faults::the_leader_is_killed_and_nothing_is_lost \
         faults::the_leader_stands_still_another_leads_and_the_old_one_follows \
         groups::two_servers_of_six_that_weigh_enough_go_on_and_four_that_do_not_stop \
         load::a_writer_sees_that_an_acknowledged_write_is_lost \
         local::they_become_the_ensembles_before_their_first_ephemeral \
         local::they_write_but_have_no_ephemerals_and_end_where_they_began \
         page::three_servers_on_one_machine_are_what_the_page_says \
         partitions::a_leader_that_nobody_hears_is_replaced_and_nothing_is_lost \
         place::no_two_leases_have_one_address_and_one_that_is_over_is_taken_again \
         place::servers_of_either_form_find_each_other_one_leads_and_an_observer_observes \
         sessions::a_session_moves_from_server_to_server_while_it_writes \
         sessions::nobody_expires_while_the_leader_stands_still_for_less_than_it_may \
         sessions::what_a_session_that_has_moved_writes_on_its_old_connection_is_never_applied \
         sync::a_former_leader_cuts_what_it_alone_has \
         sync::one_whose_log_is_damaged_sets_it_aside_and_takes_the_whole_state \
         words::leader_follower_and_observer_say_what_real_ones_say_and_each_shows_the_members",
    )],
    needed: false,
};

const MIXED: Stage = Stage {
    name: "mixed",
    about: "Java's servers of 3.8 and 3.9 and RingKeeper's in one ensemble: each kind of synchronization between them, lost and doubled packets, requests, sessions, watches and quotas through either, the way in and back under load, epochs that end, and what the checkers say of it",
    budget_s: 320,
    steps: &[
        run(
            Libtest,
            "cargo test --profile ci --workspace --test ensemble --locked -- --test-threads 1 --exact \
             mixed::cells::java_3_8_learns_from_ringkeeper \
             mixed::cells::ringkeeper_learns_from_java \
             mixed::digests::a_digest_that_a_java_leader_predicts_wrongly_is_counted_and_nothing_else \
             mixed::hostile::a_packet_of_a_java_leader_that_comes_twice_or_not_at_all_costs_no_txn \
             mixed::hostile::an_ack_of_a_java_learner_that_comes_twice_early_or_not_at_all_commits_nothing \
             mixed::hostile::a_server_that_was_wiped_gets_everything_from_a_leader_of_the_other_kind \
             mixed::hostile::zxids_that_a_java_3_8_leader_gives_to_no_txn_are_missing_to_nobody \
             mixed::keepers::an_ephemeral_that_goes_while_its_session_lives_is_counted \
             mixed::migration::an_ensemble_of_java_becomes_ringkeepers_and_javas_again \
             mixed::migration::the_page_is_what_it_says \
             mixed::rollover::a_java_leader_gives_up_at_the_end_of_its_epoch_and_ringkeeper_goes_on \
             mixed::rollover::a_ringkeeper_leader_gives_up_at_the_end_of_its_epoch_and_java_goes_on \
             mixed::requests::clients_of_java_under_ringkeeper \
             mixed::requests::clients_of_ringkeeper_under_java \
             mixed::sessions::between_java_and_a_ringkeeper_leader \
             mixed::sessions::between_ringkeeper_and_a_java_leader \
             mixed::sessions::local_ones_of_java_under_ringkeeper \
             mixed::sessions::local_ones_of_ringkeeper_under_java \
             mixed::views::of_java_under_ringkeeper \
             mixed::views::of_ringkeeper_under_java",
        ),
        run_with(
            Libtest,
            &[("RK_ENSEMBLE", "java+ringkeeper+java,ringkeeper+java+ringkeeper")],
            "cargo test --profile ci --workspace --test ensemble --locked -- --test-threads 1 --exact \
             faults::the_leader_is_killed_and_nothing_is_lost \
             faults::the_leader_stands_still_another_leads_and_the_old_one_follows \
             local::they_become_the_ensembles_before_their_first_ephemeral \
             sessions::a_session_moves_from_server_to_server_while_it_writes \
             sessions::an_ephemeral_of_a_killed_client_of_a_follower_goes_within_its_timeout_and_two_ticks",
        ),
    ],
    needed: false,
};

const VERSION_2: Stage = Stage {
    name: "version-2",
    about: "what real servers leave is imported, what is exported real servers start on: the same tree",
    budget_s: 25,
    steps: &[run(Libtest, "cargo test --profile ci --workspace --test version_2 --locked")],
    needed: false,
};

const DIFFERENTIAL: Stage = Stage {
    name: "differential",
    about: "25,000 random operations with a fixed and 25,000 with a fresh seed, and 10,000 under quotas: every answer as the real ZooKeeper's; 10,000 beside 3.8.0",
    budget_s: 45,
    steps: &[
        run(
            LastLine,
            "{bin}/rkdiff run --ringkeeper {bin}/ringkeeper --seed 1 --operations 25000 --quiet --out {target}/divergences",
        ),
        run(
            LastLine,
            "{bin}/rkdiff run --ringkeeper {bin}/ringkeeper --operations 25000 --quiet --out {target}/divergences",
        ),
        run(
            LastLine,
            "{bin}/rkdiff run --ringkeeper {bin}/ringkeeper --operations 10000 --quotas --quiet --out {target}/divergences",
        ),
        run(
            LastLine,
            "{bin}/rkdiff run --ringkeeper {bin}/ringkeeper --java 3.8 --operations 10000 --quiet --out {target}/divergences",
        ),
    ],
    needed: false,
};

/// The foreign clients against a server with so many shards.
macro_rules! clients {
    ($name:literal, $about:literal, $shards:literal, $env:ident, $suites:literal) => {
        Stage {
            name: $name,
            about: $about,
            budget_s: 140,
            steps: &[run_with(
                LastLine,
                $env,
                concat!(
                    "{bin}/with-server --shards ",
                    $shards,
                    " -- tests/clients/all.sh --suites ",
                    $suites,
                    " --super super:test {addr}"
                ),
            )],
            needed: false,
        }
    };
}

const CLIENTS_1: Stage = clients!(
    "clients-1",
    "kazoo, Java, Curator, C and the shells, Node against 1 shard that hosts the core",
    1,
    CORE_IN_SHARD,
    "python,java,curator,c,node"
);
const CLIENTS_2: Stage = clients!(
    "clients-2",
    "the same against 2 shards beside the core, the Java ones with today's libraries too",
    2,
    CORE_IN_THREAD,
    "python,java,java-3.9.5,curator,curator-3.9.5,c,node"
);
const CLIENTS_4: Stage = clients!(
    "clients-4",
    "the same against 4 shards, the first with the core, more than processors",
    4,
    CORE_IN_SHARD,
    "python,java,curator,c,node"
);

const CLIENTS_OF_3: Stage = Stage {
    name: "clients-of-3",
    about: "Curator with its recipes and service discovery, and C, against an ensemble of 3 servers",
    budget_s: 50,
    steps: &[run(
        LastLine,
        "{bin}/with-ensemble -- tests/clients/all.sh --suites curator-3.9.5,c --super super:test {addrs}",
    )],
    needed: false,
};

const CLIENTS_SASL: Stage = Stage {
    name: "clients-sasl",
    about: "kazoo and Java log in, and are turned away where they must and do not",
    budget_s: 20,
    steps: &[
        run(
            LastLine,
            "{bin}/with-server --set java.security.auth.login.config=tests/reference/auth.jaas \
             --set authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider -- tests/clients/sasl/run.sh {addr}",
        ),
        run(
            LastLine,
            "{bin}/with-server --set java.security.auth.login.config=tests/reference/auth.jaas \
             --set authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider \
             --set sessionRequireClientSASLAuth=true -- tests/clients/sasl/run.sh --required {addr}",
        ),
    ],
    needed: false,
};

const RECIPES: Stage = Stage {
    name: "recipes",
    about: "the programs of docs/recipes.md print what the page says",
    budget_s: 35,
    steps: &[run(LastLine, "{bin}/with-server --shards 2 -- tests/recipes/run.sh {addr}")],
    needed: false,
};

const FOREIGN: Stage = Stage {
    name: "foreign",
    about: "the core of kazoo's own test suite, on one server and on 3, each outcome the one that it has on ZooKeeper",
    budget_s: 150,
    steps: &[
        run(
            LastLine,
            "tests/foreign/kazoo-suite.sh --ringkeeper {bin}/ringkeeper --core --jobs 3 --logs {target}/kazoo",
        ),
        run(
            LastLine,
            "tests/foreign/kazoo-suite.sh --servers 3 --ringkeeper {bin}/ringkeeper --core --jobs 3 --logs {target}/kazoo-3",
        ),
    ],
    needed: false,
};

const ASAN: Stage = Stage {
    name: "asan",
    about: "the crates with unsafe code under AddressSanitizer",
    budget_s: 340,
    // A build of its own, since the sanitizer's code does not mix with the other; for a named target, so that build scripts
    // and macros are left alone.
    steps: &[
        run_with(
            Libtest,
            ASAN_ENV,
            "cargo test --target {host} --target-dir {target}/asan --package ringkeeper-wal \
             --package ringkeeper-snapshot --lib --tests --locked",
        ),
        run_with(
            Libtest,
            ASAN_ENV,
            "cargo test --target {host} --target-dir {target}/asan --package ringkeeper --no-default-features --test rt_shard \
             --test rt_bell --locked",
        ),
    ],
    needed: false,
};

/// These runs look for wrong accesses; leaks are not looked for.
const ASAN_ENV: &[(&str, &str)] = &[
    ("RUSTC_BOOTSTRAP", "1"),
    ("RUSTFLAGS", "-Zsanitizer=address"),
    ("ASAN_OPTIONS", "detect_leaks=0"),
    // Enough for a report's lines, and a good part of the build's time less.
    ("CARGO_PROFILE_DEV_DEBUG", "line-tables-only"),
    ("RK_FLIP_STRIDE", "16"),
    ("RK_FLIPS", "30"),
];

/// `cargo xtask check`.
pub(crate) const CHECK: &[Stage] = &[FMT, CLIPPY, UNIT];

/// `cargo xtask ci`, cheapest first.
pub(crate) const CI: &[Stage] = &[
    FMT,
    INSTALL,
    BUILD,
    CLIPPY,
    UNIT,
    BENCH_SMOKE,
    DURABILITY,
    CRASH,
    ENSEMBLE,
    MIXED,
    VERSION_2,
    DIFFERENTIAL,
    E2E,
    CLIENTS_1,
    CLIENTS_2,
    CLIENTS_4,
    CLIENTS_OF_3,
    CLIENTS_SASL,
    RECIPES,
    FOREIGN,
    ASAN,
];

/// The table, for `--help`.
pub(crate) fn help() -> String {
    let lines: Vec<String> =
        CI.iter().map(|stage| format!("  {:<12} {:>4} s  {}", stage.name, stage.budget_s, stage.about)).collect();
    format!("Stages with their budgets:\n{}\n\nExample: cargo xtask ci --only build,e2e", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;

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

    /// The suites of `tests/tests/` that the stages name, with the core's place if one is chosen; sorted.
    fn suites() -> Vec<(&'static str, Option<&'static str>)> {
        let mut suites = Vec::new();
        for step in CI.iter().flat_map(|stage| stage.steps) {
            let Step::Run(line) = step else { continue };
            if !line.words.contains("--workspace --test ") {
                continue;
            }
            let core = line.env.iter().find_map(|(name, value)| (*name == "RK_TEST_CORE").then_some(*value));
            // Of these, each test is named: see below.
            if line.words.contains(" --exact ")
                && suites.iter().any(|(suite, _)| line.words.contains(&format!("--test {suite} ")))
            {
                continue;
            }
            let words: Vec<&str> = line.words.split_whitespace().collect();
            suites.extend(words.windows(2).filter(|pair| pair[0] == "--test").map(|pair| (pair[1], core)));
        }
        suites.sort_unstable();
        suites
    }

    #[test]
    fn every_end_to_end_test_is_in_a_stage_and_in_no_two_for_the_same_place_of_the_core() {
        let suites = suites();
        assert!(suites.windows(2).all(|pair| pair[0] != pair[1]), "{suites:?}");
        let mut named: Vec<&str> = suites.iter().map(|(suite, _)| *suite).collect();
        named.dedup();
        let mut there: Vec<String> = std::fs::read_dir(Place::find().root.join("tests/tests"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        there.sort_unstable();
        assert_eq!(named, there, "left: what the stages run; right: what lies in tests/tests");
    }

    #[test]
    fn each_test_that_is_named_in_full_is_there_and_runs_once_in_each_surrounding() {
        let mut named = std::collections::BTreeSet::new();
        for step in CI.iter().flat_map(|stage| stage.steps) {
            let Step::Run(line) = step else { continue };
            let Some((before, names)) = line.words.split_once(" --exact ") else { continue };
            for name in names.split_whitespace() {
                assert!(named.insert((name, line.env)), "{name} is named twice");
            }
            let suite = before.split_once("--test ").and_then(|(_, rest)| rest.split_whitespace().next()).unwrap();
            for name in names.split_whitespace() {
                let (module, test) = name.rsplit_once("::").unwrap();
                let module = module.replace("::", "/");
                let file = Place::find().root.join(format!("tests/tests/{suite}/{module}.rs"));
                let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
                assert!(text.contains(&format!("#[test]\nfn {test}() {{")), "{name} is not there");
            }
        }
    }

    #[test]
    fn what_holds_the_server_to_its_promises_runs_in_both_places_of_the_core() {
        let suites = suites();
        for suite in ["laws", "crash", "session_ends", "bad_input", "lifecycle"] {
            for core in [CORE_IN_THREAD, CORE_IN_SHARD] {
                assert!(suites.contains(&(suite, Some(core[0].1))), "{suite} {core:?}");
            }
        }
    }
}
