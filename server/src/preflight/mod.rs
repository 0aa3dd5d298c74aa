//! What the machine must offer, looked at before anything starts.
//!
//! Owns the probes of kernel, io_uring, limits and data directories. Each fault becomes a typed error that says what
//! is missing, where, and what to do; all are collected, so that one start shows all. It raises soft limits to what
//! is allowed, creates data directories and takes their locks; it must never write into anything else, and never
//! panic: a machine that lacks something is not a bug. Tests set low limits in processes of their own
//! (`server/tests/preflight_limits.rs`), and the seccomp test of the workspace runs the binary under a filter.
#![forbid(unsafe_code)]

pub mod cpu;
pub mod data_dir;
pub mod kernel;
pub mod limits;
pub mod memory;
pub mod uring;

use std::fmt;

use crate::config::ResolvedConfig;
use data_dir::{DataDirError, DirLock};
use kernel::{KernelError, KernelVersion};
use limits::LimitError;
use uring::UringError;

/// What a server of this size needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Shards, each with rings of its own.
    pub shards: u32,
    /// Connections that the configuration allows; `None` is without limit.
    pub connections_max: Option<u32>,
}

/// What was found, and the locks on the data directories: the server holds it until it ends.
#[derive(Debug)]
pub struct Ready {
    /// The kernel.
    pub kernel: KernelVersion,
    /// Files that the process may open, after raising.
    pub open_files_max: u64,
    /// Things that work, but not as well as they could; one line each.
    pub warnings: Vec<String>,
    /// Locks of `dataDir` and, where it is another directory, `dataLogDir`.
    pub locks: Vec<DirLock>,
}

/// One thing that is missing.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The kernel is too old.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// io_uring does not work.
    #[error(transparent)]
    Uring(#[from] UringError),
    /// A resource limit is too low.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

/// Everything that is missing; never empty.
#[derive(Debug)]
pub struct PreflightErrors(pub Vec<PreflightError>);

impl fmt::Display for PreflightErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server cannot start here:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for PreflightErrors {}

/// Probes everything. Directories are touched only when all else is in order.
pub fn run(config: &ResolvedConfig, needs: Needs) -> Result<Ready, PreflightErrors> {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let kernel = check(kernel::probe(), &mut errors);
    // Before io_uring: on kernels that count rings against it, a low limit would look like a fault of io_uring.
    let memory = limits::ensure_locked_memory(needs.shards);
    check(memory.map_err(PreflightError::from), &mut errors);
    let open_files_max = limits::raise_open_files(needs.connections_max, &mut warnings);
    check(uring::probe(), &mut errors);
    let mut locks = Vec::new();
    if errors.is_empty() {
        let storage = &config.storage;
        let prepare = |key, path| data_dir::prepare(key, path, storage.autocreate);
        locks.extend(check(prepare("dataDir", &storage.data_dir), &mut errors));
        // Another name may lead to the same directory, whose lock this server has by now.
        if !data_dir::is_same(&storage.data_dir, &storage.data_log_dir) {
            locks.extend(check(prepare("dataLogDir", &storage.data_log_dir), &mut errors));
        }
    }
    match kernel {
        Some(kernel) if errors.is_empty() => Ok(Ready { kernel, open_files_max, warnings, locks }),
        _ => Err(PreflightErrors(errors)),
    }
}

fn check<T, E: Into<PreflightError>>(result: Result<T, E>, errors: &mut Vec<PreflightError>) -> Option<T> {
    result.map_err(|error| errors.push(error.into())).ok()
}
