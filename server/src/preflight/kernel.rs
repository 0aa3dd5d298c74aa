//! The kernel's version.

use std::fmt;

/// Linux 5.11: the first with every io_uring operation that the shards and the log use, and with `epoll_pwait2`.
pub const KERNEL_MIN: KernelVersion = KernelVersion { major: 5, minor: 11 };

/// A kernel version, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

/// The kernel is too old, or does not say which it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Too old.
    #[error(
        "this kernel is Linux {release}; RingKeeper needs io_uring as of Linux {KERNEL_MIN}: boot a newer kernel \
             (in a container, the host's)"
    )]
    TooOld {
        /// What `uname -r` prints.
        release: String,
    },
    /// Not a Linux release.
    #[error("the kernel calls its release `{release}`, which is no Linux version; RingKeeper runs on Linux only")]
    Unknown {
        /// What `uname -r` prints.
        release: String,
    },
}

/// Asks the kernel.
pub fn probe() -> Result<KernelVersion, KernelError> {
    check(&rustix::system::uname().release().to_string_lossy())
}

fn check(release: &str) -> Result<KernelVersion, KernelError> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Err(KernelError::Unknown { release: release.to_owned() });
    };
    let version = KernelVersion { major, minor };
    if version < KERNEL_MIN { Err(KernelError::TooOld { release: release.to_owned() }) } else { Ok(version) }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_old_ones_refused() {
        assert_eq!(check("6.18.44-fc-v657"), Ok(KernelVersion { major: 6, minor: 18 }));
        assert_eq!(check("5.11.0"), Ok(KERNEL_MIN));
        assert_eq!(check("10.0-rc1"), Ok(KernelVersion { major: 10, minor: 0 }));
        assert!(matches!(check("5.10.199-amd64"), Err(KernelError::TooOld { .. })));
        assert!(matches!(check("4.19"), Err(KernelError::TooOld { .. })));
        for odd in ["", "6", "unknown", "99999999999.1"] {
            assert!(matches!(check(odd), Err(KernelError::Unknown { .. })), "{odd}");
        }
    }

    #[test]
    fn this_machine_has_a_version() {
        assert!(probe().is_ok());
    }
}
