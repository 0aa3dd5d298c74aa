//! Reads what tests say about themselves: libtest's summaries and the suites' last line `N passed, N failed`.
//!
//! It never believes silence: output without a summary counts as one failure, and so does a non-zero exit that no counted
//! failure explains (a test binary that was killed, a build that broke).

use std::ops::AddAssign;

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Those that passed.
    pub(crate) passed: u64,
    /// Those that failed.
    pub(crate) failed: u64,
    /// Those that were not run.
    pub(crate) ignored: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// How a step's result is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The exit code alone: one passed or one failed.
    ExitCode,
    /// The exit code alone; the output is figures, to be shown.
    Figures,
    /// Every `test result:` line of libtest.
    Libtest,
    /// The last line, `N passed, N failed`.
    LastLine,
}

impl Reading {
    /// The counts of a step that has ended; `succeeded` says whether its exit code was 0.
    pub(crate) fn counts(self, output: &str, succeeded: bool) -> Counts {
        let said = match self {
            Reading::ExitCode | Reading::Figures => Some(Counts { passed: u64::from(succeeded), ..Counts::default() }),
            Reading::Libtest => libtest(output),
            Reading::LastLine => last_line(output),
        };
        let mut counts = said.unwrap_or_default();
        let nothing_ran = counts.passed + counts.failed == 0;
        if (!succeeded && counts.failed == 0) || nothing_ran {
            counts.failed += 1;
        }
        counts
    }

    /// The names of the tests that failed, as far as the output says them.
    pub(crate) fn failures(self, output: &str) -> Vec<&str> {
        let failed = |line: &&str| match self {
            Reading::ExitCode | Reading::Figures => line.starts_with("error"),
            Reading::Libtest => line.starts_with("test ") && line.ends_with("... FAILED"),
            Reading::LastLine => line.contains("FAIL "),
        };
        output.lines().filter(failed).take(FAILURES_MAX).collect()
    }

    /// Why they failed: of libtest the beginning of what each failed test has said, of anything else the output's end.
    pub(crate) fn reasons(self, output: &str) -> Vec<&str> {
        let sections = if self == Reading::Libtest { said_by_failed(output) } else { Vec::new() };
        if sections.is_empty() { end_of(output) } else { sections }
    }
}

/// Failures named on the screen; the log has all.
const FAILURES_MAX: usize = 30;

/// Lines of what one failed test has said that are shown: where it stands, what was expected and what came are among the first.
const SAID_LINES: usize = 15;

/// Lines of a step's end that are shown.
const END_LINES: usize = 40;

/// The last lines of an output.
pub(crate) fn end_of(output: &str) -> Vec<&str> {
    let lines: Vec<&str> = output.lines().collect();
    lines.get(lines.len().saturating_sub(END_LINES)..).unwrap_or_default().to_vec()
}

/// Libtest repeats what a failed test has said behind `---- NAME stdout ----`, before the last `failures:`.
fn said_by_failed(output: &str) -> Vec<&str> {
    let mut left = 0;
    let mut said = Vec::new();
    for line in output.lines() {
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            left = SAID_LINES;
        } else if line == "failures:" {
            left = 0;
        }
        if left > 0 && said.len() < FAILURES_MAX * SAID_LINES {
            left -= 1;
            said.push(line);
        }
    }
    said
}

fn libtest(output: &str) -> Option<Counts> {
    let mut sum = None;
    for line in output.lines() {
        // The last test's own output may stand before it on the line, where it did not end with a line feed.
        let Some((_, summary)) = line.split_once("test result: ") else { continue };
        let number = |what: &str| -> u64 {
            let of_one = summary.split(['.', ';']).find_map(|part| part.trim().strip_suffix(what));
            of_one.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
        };
        let counts = Counts { passed: number("passed"), failed: number("failed"), ignored: number("ignored") };
        *sum.get_or_insert(Counts::default()) += counts;
    }
    sum
}

fn last_line(output: &str) -> Option<Counts> {
    let last = output.lines().rev().find(|line| !line.trim().is_empty())?;
    let (passed, failed) = last.trim().strip_suffix(" failed")?.split_once(" passed, ")?;
    Some(Counts { passed: passed.parse().ok()?, failed: failed.parse().ok()?, ignored: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64, ignored: u64) -> Counts {
        Counts { passed, failed, ignored }
    }

    #[test]
    fn libtests_summaries_are_added_up() {
        let output = "running 3 tests\ntest a ... ok\ntest b ... FAILED\n\
            test result: FAILED. 2 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.10s\n\
            noise test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 5 filtered out; finished in 1.00s\n";
        assert_eq!(Reading::Libtest.counts(output, false), counts(42, 1, 3));
        assert_eq!(Reading::Libtest.failures(output), ["test b ... FAILED"]);
    }

    #[test]
    fn a_failed_test_says_why() {
        let long = "and on\n".repeat(30);
        let output = format!(
            "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nthread 'b' panicked at c.rs:1:2:\n\
             left: 1\n{long}\n---- d stdout ----\nright: 2\n\nfailures:\n    b\n    d\n\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n\
             Running the next one\n{long}"
        );
        let said = Reading::Libtest.reasons(&output);
        assert_eq!(said.get(..3).unwrap(), ["---- b stdout ----", "thread 'b' panicked at c.rs:1:2:", "left: 1"]);
        assert_eq!(said.get(SAID_LINES..).unwrap(), ["---- d stdout ----", "right: 2", ""]);
        let broken = format!("{long}error: it does not compile\n");
        for reading in [Reading::Libtest, Reading::ExitCode, Reading::LastLine] {
            let end = reading.reasons(&broken);
            assert_eq!((end.len(), *end.last().unwrap()), (31, "error: it does not compile"), "{reading:?}");
        }
    }

    #[test]
    fn a_suites_last_line_counts() {
        assert_eq!(Reading::LastLine.counts("ok a\nFAIL b: why\n7 passed, 1 failed\n\n", false), counts(7, 1, 0));
        assert_eq!(Reading::LastLine.failures("ok a\nc: FAIL b: why\n"), ["c: FAIL b: why"]);
    }

    #[test]
    fn silence_and_unexplained_exits_are_failures() {
        for reading in [Reading::Libtest, Reading::LastLine] {
            assert_eq!(reading.counts("", true), counts(0, 1, 0), "{reading:?} without output");
            assert_eq!(reading.counts("", false), counts(0, 1, 0), "{reading:?}");
        }
        assert_eq!(Reading::LastLine.counts("7 passed, 0 failed\ncrash", true), counts(0, 1, 0));
        assert_eq!(Reading::LastLine.counts("7 passed, 0 failed", false), counts(7, 1, 0));
        let aborted = "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured\nerror: test failed (signal: 6)";
        assert_eq!(Reading::Libtest.counts(aborted, false), counts(5, 1, 0));
        let empty = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured";
        assert_eq!(Reading::Libtest.counts(empty, true), counts(0, 1, 0), "a filter that matches nothing");
    }

    #[test]
    fn an_exit_code_is_one_test() {
        assert_eq!(Reading::ExitCode.counts("", true), counts(1, 0, 0));
        assert_eq!(Reading::ExitCode.counts("", false), counts(0, 1, 0));
    }
}
