//! Attempts to bind a member's own ports: its name or address may be there later than the server (a container's usually is), and who had the port before may still have it.
//!
//! Owns the count of attempts and the pauses between them (`electionPortBindRetry`), for the quorum port (`links/listen.rs`) and the election port (`election/accept.rs`) alike. Each attempt
//! looks names up anew. Whoever asks for the end is heard between two attempts, within
//! [`LOOK_EVERY`]; an attempt itself takes as long as the look-up of its names. It fails with what the last attempt said. The tests below, and those of both ports,
//! would catch a mistake.
#![forbid(unsafe_code)]

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often it is tried to bind a port, and until when.
#[derive(Clone, Debug)]
pub struct BindAttempts {
    /// So often, once a second; `None` is without limit.
    pub max: Option<NonZeroU32>,
    /// True ends the attempts before the next.
    pub is_asked_to_end: Arc<AtomicBool>,
}

/// Why a port is not bound.
#[derive(Debug)]
pub(crate) enum NotBound {
    /// There are no more attempts.
    Failed {
        /// The address or name.
        address: String,
        /// How often it was tried.
        attempts: u32,
        /// What the system said at last.
        source: io::Error,
    },
    /// It was asked to end.
    AskedToEnd,
}

impl BindAttempts {
    /// So many, and nobody asks for the end.
    #[must_use]
    pub fn new(max: Option<NonZeroU32>) -> BindAttempts {
        BindAttempts { max, is_asked_to_end: Arc::default() }
    }

    /// What the first attempt gives that succeeds. One that fails says at which address, and why.
    pub(crate) fn run<T>(
        &self,
        port: &str,
        mut attempt: impl FnMut() -> Result<T, (String, io::Error)>,
    ) -> Result<T, NotBound> {
        let mut attempts = 0;
        loop {
            let (address, source) = match attempt() {
                Ok(bound) => return Ok(bound),
                Err(failure) => failure,
            };
            attempts += 1;
            if self.max.is_some_and(|max| attempts >= max.get()) {
                return Err(NotBound::Failed { address, attempts, source });
            }
            tracing::warn!(address, error = %source, attempts, "the {port} port cannot be bound; trying again");
            if self.pause() {
                return Err(NotBound::AskedToEnd);
            }
        }
    }

    /// Waits for the next attempt. True: there is to be none.
    fn pause(&self) -> bool {
        let begun = Instant::now();
        loop {
            if self.is_asked_to_end.load(Ordering::Relaxed) {
                return true;
            }
            match PAUSE.checked_sub(begun.elapsed()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(LOOK_EVERY)),
                _ => return false,
            }
        }
    }
}

/// Between two attempts, as in Java.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn taken() -> (String, io::Error) {
        ("here".into(), io::ErrorKind::AddrInUse.into())
    }

    #[test]
    fn what_is_bound_at_a_later_attempt_is_bound() {
        for max in [None, NonZeroU32::new(2)] {
            let mut made = 0;
            let bound = BindAttempts::new(max).run("quorum", || {
                made += 1;
                if made == 2 { Ok(made) } else { Err(taken()) }
            });
            assert_eq!(bound.unwrap(), 2, "{max:?}");
        }
    }

    #[test]
    fn there_are_no_more_attempts_than_asked_for() {
        for max in [1, 2] {
            let mut made = 0;
            let failed = BindAttempts::new(NonZeroU32::new(max)).run("quorum", || {
                made += 1;
                Err::<(), _>(taken())
            });
            let Err(NotBound::Failed { address, attempts, source }) = failed else { panic!("{failed:?}") };
            assert_eq!((address.as_str(), attempts, made), ("here", max, max));
            assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn who_is_asked_to_end_does_before_the_next_attempt() {
        let attempts = BindAttempts::new(None);
        let asked = Arc::clone(&attempts.is_asked_to_end);
        let mut made = 0;
        let failed = attempts.run("quorum", || {
            made += 1;
            asked.store(true, Ordering::Relaxed);
            Err::<(), _>(taken())
        });
        assert!(matches!(failed, Err(NotBound::AskedToEnd)), "{failed:?}");
        assert_eq!(made, 1);
    }
}
