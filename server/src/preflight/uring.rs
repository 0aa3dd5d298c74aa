//! Whether io_uring works here, and which operations it has.
//!
//! Containers commonly forbid io_uring by seccomp, hosts by `/proc/sys/kernel/io_uring_disabled`; either way the
//! runtime would panic at start, so it is asked here first. The probe makes one small ring and drops it.

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// The host's switch for io_uring.
const DISABLED_SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";
/// Entries of the ring that is made for the probe.
const PROBE_ENTRIES: u32 = 4;

/// io_uring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UringError {
    /// The kernel has none.
    #[error(
        "io_uring_setup: the kernel has no io_uring (ENOSYS): it was built without CONFIG_IO_URING, or a sandbox \
             hides it; gVisor does so. Run on the host's kernel with a seccomp profile that allows io_uring"
    )]
    Absent,
    /// The host's administrator has switched it off.
    #[error(
        "io_uring_setup: not permitted (EPERM), because {DISABLED_SWITCH} is {value}: io_uring is switched off for \
             {whom}. On the host: `sysctl kernel.io_uring_disabled=0`"
    )]
    SwitchedOff {
        /// What the file holds, 1 or 2.
        value: u8,
        /// Who is refused.
        whom: &'static str,
    },
    /// A filter forbids it.
    #[error(
        "{call}: not permitted ({name}): a seccomp or security-module profile forbids io_uring. Docker and \
             containerd do so by default: allow io_uring_setup, io_uring_enter and io_uring_register in the profile, or \
             run with `--security-opt seccomp=unconfined`"
    )]
    Forbidden {
        /// The system call that was refused.
        call: &'static str,
        /// The error's name.
        name: &'static str,
    },
    /// Not enough lockable memory, or memory.
    #[error(
        "io_uring_setup: out of memory (ENOMEM): raise RLIMIT_MEMLOCK (`ulimit -l`), or the memory limit of the \
             cgroup"
    )]
    NoMemory,
    /// The kernel lacks operations.
    #[error("io_uring lacks operations that RingKeeper needs: {}; a kernel as of Linux {} has them", names.join(", "),
            super::kernel::KERNEL_MIN)]
    MissingOperations {
        /// Their names.
        names: Vec<&'static str>,
    },
    /// Anything else.
    #[error("{call}: {error}; run `strace -f` to see more, and report it")]
    Other {
        /// The system call.
        call: &'static str,
        /// What it returned.
        error: io::Error,
    },
}

/// Operations without which shards or log do not run: glommio 0.9 asks for all of the first three groups.
const REQUIRED: &[(&str, u8)] = &[
    ("NOP", opcode::Nop::CODE),
    ("READV", opcode::Readv::CODE),
    ("WRITEV", opcode::Writev::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("READ_FIXED", opcode::ReadFixed::CODE),
    ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("POLL_REMOVE", opcode::PollRemove::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("RECVMSG", opcode::RecvMsg::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("TIMEOUT_REMOVE", opcode::TimeoutRemove::CODE),
    ("ACCEPT", opcode::Accept::CODE),
    ("LINK_TIMEOUT", opcode::LinkTimeout::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("FALLOCATE", opcode::Fallocate::CODE),
    ("OPENAT", opcode::OpenAt::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("STATX", opcode::Statx::CODE),
    ("READ", opcode::Read::CODE),
    ("WRITE", opcode::Write::CODE),
    ("SEND", opcode::Send::CODE),
    ("RECV", opcode::Recv::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
];

/// Makes a ring and asks it for its operations.
pub fn probe() -> Result<(), UringError> {
    let ring = IoUring::new(PROBE_ENTRIES).map_err(|error| classify("io_uring_setup", error, switch()))?;
    let mut probe = Probe::new();
    let registered = ring.submitter().register_probe(&mut probe);
    registered.map_err(|error| classify("io_uring_register", error, switch()))?;
    // An empty submission goes through io_uring_enter, which a filter may refuse on its own.
    ring.submitter().submit().map_err(|error| classify("io_uring_enter", error, switch()))?;
    missing(|code| probe.is_supported(code))
}

fn missing(is_supported: impl Fn(u8) -> bool) -> Result<(), UringError> {
    let names: Vec<&str> = REQUIRED.iter().filter(|(_, code)| !is_supported(*code)).map(|(name, _)| *name).collect();
    if names.is_empty() { Ok(()) } else { Err(UringError::MissingOperations { names }) }
}

/// What `/proc/sys/kernel/io_uring_disabled` holds; `None` where there is no such file (before Linux 6.6).
fn switch() -> Option<u8> {
    std::fs::read_to_string(DISABLED_SWITCH).ok()?.trim().parse().ok()
}

fn classify(call: &'static str, error: io::Error, switch: Option<u8>) -> UringError {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSYS) => UringError::Absent,
        Some(Errno::NOMEM) => UringError::NoMemory,
        Some(Errno::PERM) if matches!(switch, Some(1 | 2)) && call == "io_uring_setup" => {
            let value = switch.unwrap_or_default();
            let whom = if value == 2 { "everybody" } else { "users outside the group kernel.io_uring_group" };
            UringError::SwitchedOff { value, whom }
        }
        Some(Errno::PERM) => UringError::Forbidden { call, name: "EPERM" },
        Some(Errno::ACCESS) => UringError::Forbidden { call, name: "EACCES" },
        _ => UringError::Other { call, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn text(errno: Errno, switch: Option<u8>) -> String {
        classify("io_uring_setup", io::Error::from(errno), switch).to_string()
    }

    #[test]
    fn each_refusal_names_its_cause_and_its_remedy() {
        assert!(text(Errno::NOSYS, None).contains("CONFIG_IO_URING"));
        assert!(text(Errno::PERM, None).contains("seccomp=unconfined"));
        assert!(text(Errno::PERM, Some(0)).contains("seccomp"));
        assert!(text(Errno::PERM, Some(1)).contains("io_uring_group"));
        assert!(text(Errno::PERM, Some(2)).contains("sysctl kernel.io_uring_disabled=0"));
        assert!(text(Errno::NOMEM, None).contains("ulimit -l"));
        assert!(text(Errno::INVAL, None).contains("io_uring_setup"));
        let enter = classify("io_uring_enter", io::Error::from(Errno::PERM), Some(2)).to_string();
        assert!(enter.starts_with("io_uring_enter: not permitted"), "{enter}");
    }

    #[test]
    fn a_kernel_without_an_operation_is_named() {
        let error = missing(|code| code != opcode::Send::CODE && code != opcode::Statx::CODE);
        let text = error.expect_err("two operations are missing").to_string();
        assert!(text.contains("STATX, SEND") && text.contains("5.11"), "{text}");
        assert!(missing(|_| true).is_ok());
    }
}
