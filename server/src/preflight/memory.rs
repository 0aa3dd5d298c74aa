//! How much memory this process may use: the machine's, and the limit of its memory cgroup, versions 1 and 2.
//!
//! Owns what `ringkeeper.memoryMax=80%` is a share of. Reads files under `/proc` and the cgroup file systems, never fails: what cannot be read
//! sets no limit. A limit of any group above counts as well, as far up as this process sees. The tests below read made-up machines.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::MemoryMax;

/// Up to this the kernel's word for "no limit" in version 1 counts as one: no machine has more.
const BYTES_MAX: u64 = 1 << 56;

/// What the process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Bytes; `None` where nothing tells.
    pub bytes: Option<u64>,
    /// Whether that is the cgroup's limit rather than the machine's memory.
    pub is_cgroup: bool,
}

/// Where new data begins to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: u64,
    /// The budget that it is a share of, and how many percent; `None` where it was set in bytes.
    pub share: Option<(MemoryBudget, u8)>,
}

impl MemoryBudget {
    /// Looks at this machine.
    pub fn probe() -> Self {
        Self::probe_under(Path::new("/"))
    }

    fn probe_under(top: &Path) -> Self {
        let ram = machine_bytes(&read(&top.join("proc/meminfo")));
        let cgroup = cgroup_bytes(top);
        match (ram, cgroup) {
            (ram, Some(limit)) if ram.is_none_or(|ram| limit < ram) => {
                MemoryBudget { bytes: Some(limit), is_cgroup: true }
            }
            (ram, _) => MemoryBudget { bytes: ram, is_cgroup: false },
        }
    }

    /// The limit that the configuration asks for; `None`: there is none.
    pub fn limit(self, configured: MemoryMax) -> Option<MemoryLimit> {
        match configured {
            MemoryMax::Off => None,
            MemoryMax::Bytes(bytes) => Some(MemoryLimit { bytes, share: None }),
            MemoryMax::Share(percent) => {
                let bytes = self.bytes? / 100 * u64::from(percent);
                Some(MemoryLimit { bytes, share: Some((self, percent)) })
            }
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.bytes >> 20)?;
        let Some((budget, percent)) = self.share else { return Ok(()) };
        let of = if budget.is_cgroup { "cgroup's limit" } else { "machine's memory" };
        write!(f, " ({percent}% of the {of}, {} MiB)", budget.bytes.unwrap_or(0) >> 20)
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn machine_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of all groups that this process is in.
fn cgroup_bytes(top: &Path) -> Option<u64> {
    let (groups, mounts) = (read(&top.join("proc/self/cgroup")), read(&top.join("proc/self/mountinfo")));
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (kind, file) = match (number, controllers) {
            ("0", "") => (Version::Two, "memory.max"),
            (_, controllers) if controllers.split(',').any(|name| name == "memory") => {
                (Version::One, "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let (mount, dir) = mounts.lines().find_map(|mount| place_of(mount, kind, path))?;
        let mount = top.join(mount.strip_prefix("/").unwrap_or(&mount));
        least_limit(&mount, &dir, file)
    });
    limits.min()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where a mount shows the group `path`: the mount point, and the way below it. `None`: it is another mount.
fn place_of(mountinfo: &str, version: Version, path: &str) -> Option<(PathBuf, PathBuf)> {
    let (front, back) = mountinfo.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, point) = (front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (kind, options) = (back.next()?, back.nth(1).unwrap_or_default());
    let is_it = match version {
        Version::One => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
        Version::Two => kind == "cgroup2",
    };
    if !is_it {
        return None;
    }
    // In a container the mount's root may be the group itself, or the path be told from a root that is not to be seen here.
    let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
    let below = below.strip_prefix("/").unwrap_or(below);
    let is_plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    Some((point.into(), if is_plain { below.to_owned() } else { PathBuf::new() }))
}

/// The least limit from the group up to the mount's top.
fn least_limit(mount: &Path, below: &Path, file: &str) -> Option<u64> {
    let limits = below.ancestors().filter_map(|dir| {
        let text = read(&mount.join(dir).join(file));
        // "max" is no number.
        text.trim().parse::<u64>().ok().filter(|bytes| (1..BYTES_MAX).contains(bytes))
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        8000000 kB\nMemFree:          100 kB\n";
    const RAM: u64 = 8_000_000 * 1024;

    fn machine(files: &[(&str, &str)]) -> MemoryBudget {
        let top = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = top.path().join(path);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        MemoryBudget::probe_under(top.path())
    }

    fn cgroup(bytes: u64) -> MemoryBudget {
        MemoryBudget { bytes: Some(bytes), is_cgroup: true }
    }

    #[test]
    fn without_a_cgroup_it_is_the_machines_memory() {
        assert_eq!(machine(&[("proc/meminfo", MEMINFO)]), MemoryBudget { bytes: Some(RAM), is_cgroup: false });
        assert_eq!(machine(&[]).bytes, None);
        let v1 = "36 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
        let endless = machine(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "4:memory:/\n0::/\n"),
            ("proc/self/mountinfo", v1),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(endless, MemoryBudget { bytes: Some(RAM), is_cgroup: false });
    }

    #[test]
    fn a_group_of_version_1_limits_and_those_above_it_do_too() {
        let files = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/a/b\n"),
            (
                "proc/self/mountinfo",
                "36 31 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                 37 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000000\n"),
            ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "3000000\n"),
        ];
        assert_eq!(machine(&files), cgroup(1_000_000));
        let at_its_root = [
            ("proc/self/cgroup", "4:memory:/docker/0a\n"),
            ("proc/self/mountinfo", "37 31 0:32 /docker/0a /cg ro - cgroup cgroup rw,memory\n"),
            ("cg/memory.limit_in_bytes", "5000000\n"),
        ];
        assert_eq!(machine(&at_its_root), cgroup(5_000_000));
    }

    #[test]
    fn a_group_of_version_2_limits_by_memory_max() {
        let mountinfo = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let with = |path: &str, at: &str, text: &str| {
            machine(&[
                ("proc/meminfo", MEMINFO),
                ("proc/self/cgroup", path),
                ("proc/self/mountinfo", mountinfo),
                (&format!("sys/fs/cgroup/{at}memory.max"), text),
            ])
        };
        assert_eq!(with("0::/system.slice/rk.service\n", "system.slice/rk.service/", "7000000\n"), cgroup(7_000_000));
        assert_eq!(with("0::/system.slice/rk.service\n", "system.slice/", "6000000\n"), cgroup(6_000_000));
        assert_eq!(with("0::/a\n", "a/", "max\n").bytes, Some(RAM));
        assert_eq!(with("0::/\n", "", "9000000000000\n").bytes, Some(RAM), "more than the machine has");
        assert_eq!(with("0::/../other\n", "", "4000000\n"), cgroup(4_000_000));
    }

    #[test]
    fn a_share_is_one_of_what_there_is_and_bytes_are_bytes() {
        let budget = cgroup(1_000 << 20);
        let share = budget.limit(MemoryMax::Share(80)).expect("a limit");
        assert_eq!(share.bytes, (1_000 << 20) / 100 * 80);
        assert_eq!(share.to_string(), "800 MiB (80% of the cgroup's limit, 1000 MiB)");
        assert_eq!(budget.limit(MemoryMax::Bytes(5 << 20)).expect("a limit").to_string(), "5 MiB");
        assert_eq!(budget.limit(MemoryMax::Off), None);
        assert_eq!(MemoryBudget { bytes: None, is_cgroup: false }.limit(MemoryMax::Share(80)), None);
    }

    #[test]
    fn this_machine_has_a_budget() {
        assert!(MemoryBudget::probe().bytes.is_some_and(|bytes| bytes > 64 << 20));
    }
}
