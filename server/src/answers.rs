//! Who answers four-letter words: short ones at once, large ones in a few threads, so that nobody who reads slowly keeps a health check, or
//! another reader, waiting.
//!
//! A short answer goes out as far as the socket takes it; what it does not take is treated like a large answer. Of these
//! [`LARGE_ANSWERS_MAX`] are on their way and [`WAITING_MAX`] wait; one more is closed unanswered. Who takes less than
//! [`READ_BYTES_PER_SECOND_MIN`], after [`GRACE`], is cut off: so whoever waits gets his turn. Each refusal and each cut is counted in `mntr` and
//! told to the log with the address, within the limits of [`Limits::tell`]. It fails towards the caller only. Tests:
//! `tests/tests/words/large.rs`.
#![forbid(unsafe_code)]

use crate::config::ResolvedConfig;
use crate::consensus;
use crate::four_letter::ensemble::EnsembleView;
use crate::four_letter::{self, WordError, Words};
use crate::hub::Hub;
use crate::limits::{LimitKind, Limits, Told};
use crate::shard::FourLetterCall;
use crate::stats;
use std::collections::VecDeque;
use std::io::{BufWriter, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Calls that may wait to be looked at; more are closed unanswered.
pub const FOUR_LETTER_CALLS_MAX: usize = 128;
/// Large answers that may be written at the same time.
const LARGE_ANSWERS_MAX: usize = 8;
/// Large answers that may wait for that.
const WAITING_MAX: usize = 64;
/// Bytes of an answer that wait for the socket.
const ANSWER_BUFFER_BYTES: usize = 64 << 10;
/// How long a reader may be behind.
const GRACE: Duration = Duration::from_secs(5);
/// Behind what: every reader is to take so much.
const READ_BYTES_PER_SECOND_MIN: u32 = 256 << 10;

/// See the module.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The threads' shared state.
    pub hub: Arc<Hub>,
    /// The configuration.
    pub config: Arc<ResolvedConfig>,
    /// Limits and what they have counted.
    pub limits: Arc<Limits>,
    /// The port that clients use.
    pub client_port: u16,
    large: Arc<Mutex<Large>>,
    no_answer: Arc<Told>,
}

/// The large answers.
#[derive(Debug, Default)]
struct Large {
    waiting: VecDeque<Job>,
    /// Threads that work them off.
    threads: usize,
}

#[derive(Debug)]
enum Job {
    /// A word to be answered.
    Word { socket: TcpStream, word: [u8; 4], argument: Vec<u8> },
    /// What a socket did not take of a short answer.
    Rest { socket: TcpStream, rest: Vec<u8> },
}

impl Answers {
    /// Nothing is on its way.
    #[must_use]
    pub fn new(hub: Arc<Hub>, config: Arc<ResolvedConfig>, limits: Arc<Limits>, client_port: u16) -> Answers {
        Answers { hub, config, limits, client_port, large: Arc::default(), no_answer: Arc::default() }
    }

    /// Answers calls until all shards are gone.
    pub fn run(&self, calls: &Receiver<FourLetterCall>) {
        while let Ok(FourLetterCall { socket, word, argument }) = calls.recv() {
            let socket = TcpStream::from(socket);
            // Whoever may not ask is told so at once.
            if four_letter::is_large(word) && self.words(None).allows(word) {
                self.submit(Job::Word { socket, word, argument });
            } else {
                self.answer_short(socket, word, &argument);
            }
        }
    }

    fn words(&self, caller: Option<SocketAddr>) -> Words<'_> {
        Words {
            hub: &self.hub,
            config: &self.config,
            limits: &self.limits,
            client_port: self.client_port,
            ensemble: self.ensemble_view(),
            caller,
        }
    }

    /// What this server does in its ensemble, if it is a member of one. A core that does not answer counts as one that does not serve.
    fn ensemble_view(&self) -> Option<EnsembleView> {
        let ensemble = &self.config.ensemble()?.ensemble;
        let (ensemble, now_ms) = (ensemble.clone(), consensus::now(&self.hub).mono_ms);
        let voters = ensemble.voters().count();
        let view = self.hub.ask_core(move |core| EnsembleView::of(core, &ensemble, now_ms));
        Some(view.unwrap_or_else(|_no_answer| EnsembleView::of_nobody(voters)))
    }

    fn answer_short(&self, mut socket: TcpStream, word: [u8; 4], argument: &[u8]) {
        let mut text = Vec::new();
        let outcome = self.words(socket.peer_addr().ok()).answer(word, argument, &mut text);
        stats::add(&self.hub.core_stats.words_answered, 1);
        self.tell(outcome, &socket);
        // A socket that cannot be set so is written to all the same, and what fails is the caller's loss.
        let _still_blocking = socket.set_nonblocking(true);
        let mut rest: &[u8] = &text;
        while !rest.is_empty() {
            match socket.write(rest) {
                Ok(0) => return,
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.submit(Job::Rest { rest: rest.to_vec(), socket });
                }
                Err(_gone) => return,
            }
        }
        let _gone = socket.shutdown(Shutdown::Write);
    }

    /// Leaves a large answer to a thread, or to the one that is free next.
    fn submit(&self, job: Job) {
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        if large.waiting.len() >= WAITING_MAX {
            drop(large);
            stats::add(&self.hub.core_stats.words_refused, 1);
            if let Ok(peer) = job.socket().peer_addr() {
                self.limits.tell(
                    LimitKind::Words,
                    peer,
                    self.hub.now_us(),
                    "too many large answers wait: closed unanswered",
                );
            }
            return;
        }
        large.waiting.push_back(job);
        if large.threads >= LARGE_ANSWERS_MAX {
            return;
        }
        let answers = self.clone();
        let thread = std::thread::Builder::new().name("rk-word".to_owned()).spawn(move || answers.work_off());
        match thread {
            Ok(_runs) => large.threads += 1,
            // Those that run take it; where none does, it is closed.
            Err(error) if large.threads == 0 => {
                stats::add(&self.hub.core_stats.words_refused, large.waiting.len() as u64);
                large.waiting.clear();
                tracing::warn!(%error, "there is no thread for a four-letter word: it is closed unanswered");
            }
            Err(_few) => {}
        }
    }

    fn work_off(&self) {
        loop {
            let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(job) = large.waiting.pop_front() else {
                large.threads -= 1;
                return;
            };
            drop(large);
            let socket = job.socket();
            let _still_nonblocking = socket.set_nonblocking(false);
            let mut out = BufWriter::with_capacity(ANSWER_BUFFER_BYTES, Patient::new(socket));
            let outcome = match &job {
                Job::Word { word, argument, .. } => {
                    let outcome = self.words(socket.peer_addr().ok()).answer(*word, argument, &mut out);
                    stats::add(&self.hub.core_stats.words_answered, 1);
                    outcome
                }
                Job::Rest { rest, .. } => out.write_all(rest).map_err(WordError::from),
            };
            let flushed = out.flush().map_err(WordError::from);
            // Whatever is left in it has nobody to go to.
            let (_socket, _lost) = out.into_parts();
            self.tell(outcome.and(flushed), socket);
            let _gone = socket.shutdown(Shutdown::Write);
        }
    }

    /// What became of an answer, to the operator.
    fn tell(&self, outcome: Result<(), WordError>, socket: &TcpStream) {
        let caller = socket.peer_addr().ok();
        match outcome {
            Ok(()) => {}
            Err(WordError::Caller(error)) if is_late(&error) => {
                stats::add(&self.hub.core_stats.words_cut, 1);
                if let Some(peer) = caller {
                    self.limits.tell(
                        LimitKind::SlowReader,
                        peer,
                        self.hub.now_us(),
                        "the answer to a word is not read: cut off",
                    );
                }
            }
            // Who asked may be gone: that is his loss.
            Err(error @ WordError::Caller(_)) => tracing::debug!(%error, ?caller, "a four-letter word"),
            Err(error @ WordError::NoAnswer(_)) => {
                if let Some(times) = self.no_answer.times(self.hub.now_us()) {
                    tracing::warn!(%error, ?caller, times, "the answer to a four-letter word ends early");
                }
            }
        }
    }
}

impl Job {
    const fn socket(&self) -> &TcpStream {
        match self {
            Job::Word { socket, .. } | Job::Rest { socket, .. } => socket,
        }
    }
}

/// Did the socket not take anything in time?
fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A blocking socket whose reader may be so far behind and no further. Only the time counts in which it was waited for.
struct Patient<'s> {
    socket: &'s TcpStream,
    left: Duration,
}

impl<'s> Patient<'s> {
    const fn new(socket: &'s TcpStream) -> Patient<'s> {
        Patient { socket, left: GRACE }
    }

    /// The reader took so many bytes after so long.
    fn took(&mut self, bytes: usize, waited: Duration) {
        let earned = Duration::from_secs(1) * u32::try_from(bytes).unwrap_or(u32::MAX) / READ_BYTES_PER_SECOND_MIN;
        self.left = self.left.saturating_sub(waited).saturating_add(earned).min(GRACE);
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.socket.set_write_timeout(Some(self.left))?;
        let begun = Instant::now();
        let outcome = self.socket.write(bytes);
        self.took(*outcome.as_ref().unwrap_or(&0), begun.elapsed());
        outcome
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_fast_enough_is_waited_for_and_who_trickles_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut patient = Patient::new(&socket);
        for _ in 0..1_000 {
            patient.took(256 << 10, Duration::from_secs(1));
        }
        assert_eq!(patient.left, GRACE, "just fast enough, for as long as it takes");
        patient.took(usize::MAX, Duration::ZERO);
        assert_eq!(patient.left, GRACE, "nothing is saved up");
        (0..4).for_each(|_| patient.took(1_000, Duration::from_secs(1)));
        assert!(patient.left > Duration::from_secs(1));
        (0..2).for_each(|_| patient.took(1_000, Duration::from_secs(1)));
        assert!(patient.left < Duration::from_millis(10));
        patient.left = Duration::ZERO;
        assert!(is_late(&patient.write(b"x").unwrap_err()));
    }
}
