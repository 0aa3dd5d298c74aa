//! Resource limits: memory that may be locked, files that may be open.
//!
//! Soft limits are raised first, as far as the hard limit and our privileges go; only what is then still missing is
//! reported.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lockable memory that a shard needs: glommio 0.9 refuses to start an executor below it.
pub const LOCKED_BYTES_PER_SHARD: u64 = 512 * 1024;
/// Open files below which a warning is due, whatever the configuration allows.
pub const OPEN_FILES_WANTED: u64 = 4_096;
/// Open files beside connections: log segments, images, listeners, rings, pipes.
pub const OPEN_FILES_RESERVE: u64 = 128;

/// A limit is too low.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// RLIMIT_MEMLOCK.
    #[error("the process may lock {} KiB of memory (RLIMIT_MEMLOCK), and {shards} shard(s) need {} KiB for io_uring. \
             Raise the limit: `ulimit -l {}` in the shell, LimitMEMLOCK={}K in the systemd unit, --ulimit memlock={}:{} \
             for docker run, `* hard memlock {}` in /etc/security/limits.conf; fewer shards (ringkeeper.shards) need less",
             have_bytes / 1024, need_bytes / 1024, need_bytes / 1024, need_bytes / 1024, need_bytes, need_bytes,
             need_bytes / 1024)]
    LockedMemory {
        /// What is allowed, after raising.
        have_bytes: u64,
        /// What is needed.
        need_bytes: u64,
        /// For how many shards.
        shards: u32,
    },
}

/// Makes sure that `shards` shards can lock their memory.
pub fn ensure_locked_memory(shards: u32) -> Result<(), LimitError> {
    let need_bytes = LOCKED_BYTES_PER_SHARD.saturating_mul(u64::from(shards.max(1)));
    let have_bytes = raise(Resource::Memlock, need_bytes);
    if have_bytes < need_bytes { Err(LimitError::LockedMemory { have_bytes, need_bytes, shards }) } else { Ok(()) }
}

/// Raises the number of open files as far as it goes, and warns where it limits the configuration. Returns the
/// number.
pub fn raise_open_files(connections_max: Option<u32>, warnings: &mut Vec<String>) -> u64 {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    // Some systems have a hard limit of a billion; what a server can use is less.
    let useful = hard.min(1 << 20);
    let have = raise(Resource::Nofile, useful);
    let configured = connections_max.map(|max| u64::from(max) + OPEN_FILES_RESERVE);
    let need = configured.unwrap_or(0).max(OPEN_FILES_WANTED);
    if have < need {
        let reason = match configured {
            Some(files) if files == need => format!("maxCnxns={} needs {need}", files - OPEN_FILES_RESERVE),
            _ => format!("a server should have {need}"),
        };
        warnings.push(format!(
            "the process may open {have} files (RLIMIT_NOFILE), and {reason}: connections past that are refused. Raise \
             it with `ulimit -n {need}`, LimitNOFILE={need} in the systemd unit, or --ulimit nofile={need} for docker run"
        ));
    }
    have
}

/// Raises the soft limit to `wanted`, or as near as allowed, and the hard limit where the process may. Never lowers.
/// Returns the soft limit that holds then; `u64::MAX` is without limit.
fn raise(resource: Resource, wanted: u64) -> u64 {
    let limit = getrlimit(resource);
    let soft = limit.current.unwrap_or(u64::MAX);
    if soft >= wanted {
        return soft;
    }
    let hard = limit.maximum.unwrap_or(u64::MAX);
    if hard < wanted {
        let both = Rlimit { current: Some(wanted), maximum: Some(wanted) };
        if setrlimit(resource, both).is_ok() {
            return wanted;
        }
    }
    let raised = Rlimit { current: Some(wanted.min(hard)), maximum: limit.maximum };
    // A refusal leaves the limit as it is; the caller compares what holds with what it needs.
    let _refused = setrlimit(resource, raised);
    getrlimit(resource).current.unwrap_or(u64::MAX)
}
