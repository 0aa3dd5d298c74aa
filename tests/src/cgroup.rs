//! Control groups of version 1 in which a server can be started: of memory, with a limit, and of block devices, with a pace at which it may write to a disk.
//!
//! Owns a group's directory, and takes it away at its end. It needs the right to make one: where that is missing there is none.
#![forbid(unsafe_code)]

use crate::{LoopDisk, until};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A control group below the one that this process is in.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

/// How fast the processes of a group may write to a disk.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Writes in a second, however long.
    pub writes: u64,
    /// Bytes in a second.
    pub bytes: u64,
}

impl Cgroup {
    /// A group with this limit of memory. `None`, and a word on stderr, where there is no memory cgroup of version 1 in which this user may make another.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Option<Cgroup> {
        let group = Cgroup::make("memory")?;
        match std::fs::write(group.0.join("memory.limit_in_bytes"), limit_bytes.to_string()) {
            Ok(()) => Some(group),
            Err(error) => left_out("memory", &error.to_string()),
        }
    }

    /// A group that may be slowed down ([`Cgroup::slow_down`]). `None`, and a word on stderr, where there is no blkio cgroup of version 1 in which this user
    /// may make another.
    #[must_use]
    pub fn of_disks() -> Option<Cgroup> {
        Cgroup::make("blkio")
    }

    fn make(controller: &str) -> Option<Cgroup> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let mount = Path::new("/sys/fs/cgroup").join(controller);
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mark = format!(":{controller}:");
        let Some(own) = own.lines().find_map(|line| line.split_once(&mark)).map(|(_, path)| path.to_owned()) else {
            return left_out(controller, "this process is in none");
        };
        let parent = mount.join(own.trim_start_matches('/'));
        let parent = if parent.is_dir() { parent } else { mount };
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let group = parent.join(format!("rk-test-{}-{number}", std::process::id()));
        match std::fs::create_dir(&group) {
            Ok(()) => Some(Cgroup(group)),
            Err(error) => left_out(controller, &error.to_string()),
        }
    }

    /// Takes a process in, with all of its threads.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn take(&self, pid: u32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("a process can be taken in");
    }

    /// Until what this returns is dropped, what the group's processes write to this disk around the page cache (O_DIRECT, as the log does) is done at this pace
    /// at the most, each write waiting for its turn. What the page cache writes back later is the kernel's own. Whoever waits for a write ends late: drop it
    /// before the server.
    ///
    /// # Panics
    /// If the group is none of disks.
    pub fn slow_down(&self, disk: &LoopDisk, pace: Pace) -> Slowed<'_> {
        let slowed = Slowed { group: self, device: disk.device() };
        slowed.set(pace).expect("a disk's pace can be set");
        slowed
    }

    /// Writes of the group's processes to this disk so far, counted since it was first slowed down.
    ///
    /// # Panics
    /// If the group is none of disks.
    #[must_use]
    pub fn writes(&self, disk: &LoopDisk) -> u64 {
        let text = std::fs::read_to_string(self.0.join("blkio.throttle.io_serviced")).expect("a group of disks");
        let mark = format!("{} Write ", disk.device());
        let count = text.lines().find_map(|line| line.strip_prefix(&mark));
        count.map_or(0, |count| count.parse().expect("a number"))
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

/// A disk that is slow; it is as it was when this is dropped.
#[derive(Debug)]
pub struct Slowed<'a> {
    group: &'a Cgroup,
    device: String,
}

impl Slowed<'_> {
    fn set(&self, pace: Pace) -> std::io::Result<()> {
        for (file, limit) in [("write_iops_device", pace.writes), ("write_bps_device", pace.bytes)] {
            let file = self.group.0.join(format!("blkio.throttle.{file}"));
            std::fs::write(file, format!("{} {limit}", self.device))?;
        }
        Ok(())
    }
}

impl Drop for Slowed<'_> {
    fn drop(&mut self) {
        // 0 takes a limit away.
        if let Err(why) = self.set(Pace { writes: 0, bytes: 0 }) {
            eprintln!("{} stays slow: {why}", self.device);
        }
    }
}

fn left_out(controller: &str, why: &str) -> Option<Cgroup> {
    eprintln!("left out: there is no {controller} cgroup of version 1 in which this user may make another: {why}");
    None
}
