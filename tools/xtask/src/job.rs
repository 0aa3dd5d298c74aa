//! One child process: its output to a file, a time limit, and an end of its whole process group.
//!
//! It ends only the group that it started, by its id: at the time limit, and when this program is asked to stop.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How a child ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself, with this status.
    Exited(ExitStatus),
    /// It was ended at its time limit.
    TimedOut,
    /// It was ended because this program was asked to stop.
    Stopped,
    /// It could not be started.
    NotStarted(io::Error),
}

impl End {
    /// Did it end by itself with exit code 0?
    pub(crate) fn succeeded(&self) -> bool {
        matches!(self, End::Exited(status) if status.success())
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Exited(status) => write!(f, "{status}"),
            End::TimedOut => f.write_str("ended at its time limit"),
            End::Stopped => f.write_str("stopped"),
            End::NotStarted(e) => write!(f, "could not be started: {e}"),
        }
    }
}

/// Runs a command to its end or its limit; output is appended to `log`.
pub(crate) fn run(command: &mut Command, log: &Path, limit: Duration) -> End {
    match start(command, log) {
        Ok(child) => wait(child, limit),
        Err(e) => End::NotStarted(e),
    }
}

/// Was this program asked to stop (SIGINT, SIGTERM)? The running group has been ended then.
pub(crate) fn stop_asked() -> bool {
    stop_flag().load(Ordering::Relaxed)
}

fn start(command: &mut Command, log: &Path) -> io::Result<Child> {
    let mut file = OpenOptions::new().create(true).append(true).open(log)?;
    writeln!(file, "$ {command:?}")?;
    let errors: File = file.try_clone()?;
    command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0).spawn()
}

fn wait(mut child: Child, limit: Duration) -> End {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                // What it left behind in its group must not run into the next stage.
                end_group(&child);
                return End::Exited(status);
            }
            Ok(None) => {}
            Err(e) => return End::NotStarted(e),
        }
        let ended = if stop_asked() {
            End::Stopped
        } else if begun.elapsed() >= limit {
            End::TimedOut
        } else {
            std::thread::sleep(POLL);
            continue;
        };
        end_group(&child);
        // Killed: the wait is short.
        let _ = child.wait();
        return ended;
    }
}

fn end_group(child: &Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // An empty group is what one hopes for.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn stop_flag() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            if let Err(e) = signal_hook::flag::register(signal, Arc::clone(&flag)) {
                eprintln!("cargo xtask: cannot watch for signal {signal}: {e}");
            }
        }
        flag
    })
}

/// How often a child is looked at.
const POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> (End, String) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let end = run(Command::new("sh").args(["-c", script]), &log, limit);
        (end, std::fs::read_to_string(log).unwrap())
    }

    #[test]
    fn output_and_exit_code_are_kept() {
        let (end, log) = sh("echo out; echo err >&2; exit 3", Duration::from_secs(60));
        assert!(matches!(end, End::Exited(status) if status.code() == Some(3)), "{end}");
        assert!(log.contains("\nout\n") && log.contains("err\n"), "{log}");
    }

    #[test]
    fn a_child_and_its_children_end_at_the_limit() {
        // The grandchild would hold on for ever; its id is in the log.
        let (end, log) = sh("sleep 1000 & echo grandchild $!; wait", Duration::from_millis(300));
        assert!(matches!(end, End::TimedOut), "{end}");
        let pid = log.lines().find_map(|line| line.strip_prefix("grandchild ")).expect("its id");
        let gone = || std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
        let begun = Instant::now();
        while !gone() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the grandchild {pid} lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let end = run(&mut Command::new("/no/such/program"), &dir.path().join("log"), Duration::from_secs(1));
        assert!(end.to_string().contains("could not be started"), "{end}");
    }
}
