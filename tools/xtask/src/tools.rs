//! What the stages need beyond Rust, and how it is installed: by name, with apt-get, only where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::job::{self, End};

/// A Debian package and the program that shows that it is there.
struct Need {
    package: &'static str,
    program: &'static str,
    for_what: &'static str,
}

const NEEDS: &[Need] = &[
    Need { package: "gcc", program: "cc", for_what: "linking" },
    Need { package: "make", program: "make", for_what: "building the allocator" },
    Need { package: "strace", program: "strace", for_what: "the durability tests" },
    Need { package: "e2fsprogs", program: "mkfs.ext4", for_what: "the durability tests" },
    Need { package: "mount", program: "losetup", for_what: "the durability tests" },
    Need { package: "iproute2", program: "ip", for_what: "the tests of addresses with a zone" },
    Need { package: "faketime", program: "faketime", for_what: "the tests of wrong clocks" },
    Need { package: "util-linux", program: "setpriv", for_what: "the tests of an unprivileged server" },
];

/// Installs what is missing. `Err` says what is to be installed by hand.
pub(crate) fn install(log: &Path, limit: Duration) -> Result<(), String> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let script = format!("apt-get update -qq; apt-get install -y -qq --no-install-recommends {}", packages.join(" "));
    let end = job::run(Command::new("sh").args(["-c", &script]).env("DEBIAN_FRONTEND", "noninteractive"), log, limit);
    let still = self::missing();
    if still.is_empty() {
        return Ok(());
    }
    Err(by_hand(&still, &end))
}

fn by_hand(still: &[&Need], end: &End) -> String {
    let lines: Vec<String> =
        still.iter().map(|need| format!("{} (for {}: {})", need.package, need.for_what, need.program)).collect();
    format!("apt-get {end}; please install by hand: {}", lines.join(", "))
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !on_path(need.program)).collect()
}

/// Is the program there? Debian keeps some where an ordinary user's PATH does not look.
fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program-anywhere"));
    }

    #[test]
    fn what_is_missing_is_named_with_its_reason() {
        let need = Need { package: "strace", program: "strace", for_what: "tracing" };
        let said = by_hand(&[&need], &End::TimedOut);
        assert!(said.contains("strace (for tracing: strace)"), "{said}");
    }
}
