//! A memory cgroup of version 1 of its own, with a limit, in which a server can be started.
//!
//! Owns the group's directory, and takes it away at its end. It needs the right to make one: where that is missing there is none.
#![forbid(unsafe_code)]

use crate::until;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A memory cgroup below the one that this process is in.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// A group with this limit. `None`, and a word on stderr, where there is no memory cgroup of version 1 in which this user may make another.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Option<Cgroup> {
        let group = Cgroup::try_new(limit_bytes);
        if group.is_none() {
            eprintln!("left out: there is no memory cgroup of version 1 in which this user may make another");
        }
        group
    }

    fn try_new(limit_bytes: usize) -> Option<Cgroup> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let mount = Path::new("/sys/fs/cgroup/memory");
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|line| line.split_once(":memory:")).map(|(_, path)| path.to_owned())?;
        let parent = mount.join(own.trim_start_matches('/'));
        let parent = if parent.is_dir() { parent } else { mount.to_owned() };
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let group = Cgroup(parent.join(format!("rk-test-{}-{number}", std::process::id())));
        std::fs::create_dir(&group.0).ok()?;
        std::fs::write(group.0.join("memory.limit_in_bytes"), limit_bytes.to_string()).ok()?;
        Some(group)
    }

    /// For [`crate::Builder::wrapped`]: a shell command that enters the group, and then becomes what follows it.
    #[must_use]
    pub fn enter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display())
    }

    /// A file of the group that holds one number.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn number(&self, file: &str) -> u64 {
        let text = std::fs::read_to_string(self.0.join(file)).expect("the group has such a file");
        text.trim().parse().expect("a number")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A group can go once the kernel has seen the end of its last process.
        until("the group goes", || std::fs::remove_dir(&self.0).is_ok() || !self.0.exists());
    }
}
