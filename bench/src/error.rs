//! Why a run cannot go on. A wrong reply that leaves the connection usable is counted instead, see `workload`.

use std::io;
use std::path::{Path, PathBuf};

/// Shorthand of this crate.
pub(crate) type Result<T> = std::result::Result<T, BenchError>;

/// What stops the generator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// Connecting, preparing or cleaning up failed.
    #[error("{step}: {source}")]
    Client {
        /// What was tried.
        step: String,
        /// Why it failed.
        source: client::ClientError,
    },
    /// A connection under load broke.
    #[error("connection {connection} to {server} broke under load: {reason}; the server's log says more")]
    Broken {
        /// Which one, from 0.
        connection: usize,
        /// To which server.
        server: String,
        /// How.
        reason: String,
    },
    /// A system call of the generator failed.
    #[error("{what} failed: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The server's process cannot be read.
    #[error("cannot read {path}: {source}; is the pid the server's, and is it alive?")]
    Proc {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The results, or a server's directory, cannot be written or read.
    #[error("cannot use {path}: {source}")]
    Output {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A server that was started for a figure did not do what it should.
    #[error("{name} {what}; the end of its log:\n{log}")]
    Server {
        /// Which one.
        name: &'static str,
        /// What it did.
        what: String,
        /// The last lines of its log.
        log: String,
    },
    /// A directory of `--data` that holds something else.
    #[error("{0} does not hold these znodes: name another --data, or remove it")]
    Foreign(PathBuf),
    /// A CPU that cannot be pinned to.
    #[error("cannot pin to CPU {0}: name one that this process may use (see `taskset -p $$`)")]
    Pin(usize),
    /// Replies were wrong: the figures above count for nothing.
    #[error("{0} replies were wrong or missing: the figures do not count")]
    WrongReplies(u64),
    /// The measured interval saw no operation at all.
    #[error("no operation finished within the measured time: is the server up, and --duration long enough?")]
    NoOperations,
}

impl BenchError {
    pub(crate) fn client(step: impl Into<String>) -> impl FnOnce(client::ClientError) -> BenchError {
        let step = step.into();
        move |source| BenchError::Client { step, source }
    }

    pub(crate) fn output(path: &Path) -> impl FnOnce(io::Error) -> BenchError {
        let path = path.to_owned();
        move |source| BenchError::Output { path, source }
    }

    pub(crate) fn system(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> BenchError {
        move |source| BenchError::System { what, source: source.into() }
    }
}
