//! Where other threads of this process stand: the return addresses of their stacks, which they write down themselves when a signal asks
//! them to.
//!
//! - **Owns**: one real-time signal, its handler, and the slots that the handler fills. They are there before anybody asks, for whoever asks
//!   may do so because the allocator's lock is held by a thread that stands still.
//! - **Must never**: allocate, lock or wait in the handler; leave `errno` changed; be asked in ordinary operation: a signal costs its thread a
//!   walk over the stack, and may cut short a sleep or a wait on a socket with a timeout (`SA_RESTART` covers the rest).
//! - **Fails**: a thread that may not run (stopped by a debugger, in an uninterruptible wait) does not answer, and the caller is told so after
//!   his patience. An answer that comes late finds its slot closed and is dropped.
//! - **Tests**: below; over the built server `tests/tests/watchdog.rs`.
#![expect(unsafe_code, reason = "a signal handler, the signal, and the unwinder")]

use rustix::thread::{Pid, gettid};
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// Threads that are asked at one time; further ones are reported as silent. A server has 32 shards and a dozen others at the most.
pub const THREADS_MAX: usize = 128;
/// Frames that are kept of each stack, the innermost ones, the handler's own included.
const FRAMES_MAX: usize = 128;
/// How often an answer is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// The signal, counted from `SIGRTMIN`: one that neither libc nor a debugger uses.
const SIGNAL_OFFSET: c_int = 7;

/// Asks `threads` of this process for their stacks, all at once, and waits for the answers, at most for `patience`. The answers are in the
/// order of the question: addresses from the innermost frame outwards (the first is the instruction that the thread had come to, the
/// others are return addresses), or `None` from a thread that did not answer.
///
/// A thread that asks for its own stack gets one that begins here.
#[must_use]
pub fn of_threads(threads: &[Pid], patience: Duration) -> Vec<Option<Vec<usize>>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    listen();
    let deadline = Instant::now() + patience;
    let mut slots = SLOTS.iter().filter(|slot| slot.is_free());
    let asked: Vec<Option<&Slot>> =
        threads.iter().map(|&thread| slots.next().filter(|slot| slot.ask(thread))).collect();
    while asked.iter().flatten().any(|slot| slot.is_open()) && Instant::now() < deadline {
        std::thread::sleep(LOOK_EVERY);
    }
    asked.into_iter().map(|slot| slot?.take()).collect()
}

/// Makes this process answer. To be called in good time: the unwinder sets itself up at its first use.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        backtrace::trace(|_| true);
        install();
    });
}

/// One thread's answer. Only the asker leaves [`FREE`] and comes back to it; the handler goes from [`ASKED`] to [`ANSWERED`].
struct Slot {
    /// What state it is in, and in the low half which thread is asked.
    state: AtomicU64,
    /// How many of `frames` are filled.
    count: AtomicUsize,
    frames: [AtomicUsize; FRAMES_MAX],
}

const FREE: u64 = 0;
const ASKED: u64 = 1 << 32;
const ANSWERING: u64 = 2 << 32;
const ANSWERED: u64 = 3 << 32;
/// The bits of the state itself, without the thread's id.
const KIND: u64 = 3 << 32;

static SLOTS: [Slot; THREADS_MAX] = [const {
    Slot {
        state: AtomicU64::new(FREE),
        count: AtomicUsize::new(0),
        frames: [const { AtomicUsize::new(0) }; FRAMES_MAX],
    }
}; THREADS_MAX];

impl Slot {
    /// Free, or filled after its asker had gone. One that is being filled for ever is lost.
    fn is_free(&self) -> bool {
        let state = self.state.load(Ordering::Acquire);
        state == FREE || state & KIND == ANSWERED
    }

    /// False if there is no such thread.
    fn ask(&self, thread: Pid) -> bool {
        self.count.store(0, Ordering::Relaxed);
        self.state.store(ASKED | number(thread), Ordering::Release);
        let sent = send(thread);
        if !sent {
            self.state.store(FREE, Ordering::Release);
        }
        sent
    }

    fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) & KIND != ANSWERED
    }

    /// The answer. Without one the slot is closed, so that the signal, when it arrives, finds nothing to do.
    fn take(&self) -> Option<Vec<usize>> {
        if self.is_open() {
            let state = self.state.load(Ordering::Acquire);
            if state & KIND == ASKED {
                // It fails if the answer has just begun; that slot frees itself.
                let _begun = self.state.compare_exchange(state, FREE, Ordering::AcqRel, Ordering::Relaxed);
            }
            return None;
        }
        let count = self.count.load(Ordering::Acquire);
        let frames = self.frames.iter().take(count).map(|frame| frame.load(Ordering::Relaxed)).collect();
        self.state.store(FREE, Ordering::Release);
        Some(frames)
    }

    /// In the handler: does this thread have to answer here? Then nobody else touches the slot until it is answered.
    fn begin(&self, me: Pid) -> bool {
        let (asked, answering) = (ASKED | number(me), ANSWERING | number(me));
        self.state.compare_exchange(asked, answering, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// In the handler: writes down the stack that the signal has interrupted.
    fn answer(&self, me: Pid) {
        let handler = on_signal as extern "C" fn(c_int) as usize;
        // The innermost frames are this function's, the handler's, and the kernel's way back into the interrupted function.
        let mut skipping = Skip::ToHandler;
        let mut count = 0;
        walk(&mut |frame| {
            match skipping {
                Skip::ToHandler if frame.symbol_address() as usize == handler => skipping = Skip::WayBack,
                Skip::ToHandler => {}
                Skip::WayBack => skipping = Skip::Nothing,
                Skip::Nothing => {
                    let Some(place) = self.frames.get(count) else { return false };
                    place.store(frame.ip() as usize, Ordering::Relaxed);
                    count += 1;
                }
            }
            true
        });
        self.count.store(count, Ordering::Release);
        self.state.store(ANSWERED | number(me), Ordering::Release);
    }
}

enum Skip {
    ToHandler,
    WayBack,
    Nothing,
}

/// A thread's id for a slot's state; the kernel's ids are positive and have 22 bits.
fn number(thread: Pid) -> u64 {
    u64::try_from(thread.as_raw_nonzero().get()).expect("a thread's id is positive")
}

fn signal() -> c_int {
    libc::SIGRTMIN() + SIGNAL_OFFSET
}

/// What a thread does that is asked. It runs at any instruction of that thread, and touches nothing but atomics and its own stack.
extern "C" fn on_signal(_signal: c_int) {
    // SAFETY: libc guarantees a valid pointer to the calling thread's own errno.
    let errno = unsafe { &mut *libc::__errno_location() };
    let before = *errno;
    let me = gettid();
    if let Some(slot) = SLOTS.iter().find(|slot| slot.begin(me)) {
        slot.answer(me);
    }
    *errno = before;
}

/// Walks over the calling thread's stack.
fn walk(each: &mut dyn FnMut(&backtrace::Frame) -> bool) {
    // SAFETY: unsynchronized concerns Windows' dbghelp only; on Linux this is the unwinder, which is reentrant and safe from any
    // thread. The locked version may not be called from a signal handler: the interrupted code may hold that lock.
    unsafe { backtrace::trace_unsynchronized(each) }
}

/// Sets the handler for the whole process. It runs on the interrupted thread's own stack: the alternate one is for overflows and small.
fn install() {
    // SAFETY: all zeroes is a valid sigaction: no flags, an empty mask, the default handler.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the action is initialised and outlives the call, the handler has the signature that the flags ask for (no SA_SIGINFO)
    // and does what a handler may.
    let outcome = unsafe { libc::sigaction(signal(), &raw const action, std::ptr::null_mut()) };
    assert_eq!(outcome, 0, "the signal is a real-time one that libc leaves to us");
}

/// Sends the signal to a thread of this process. False if the thread has ended.
fn send(thread: Pid) -> bool {
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: no memory is passed. The signal has its handler since `listen`, and a thread that is not of this process is refused.
    unsafe { libc::tgkill(process, thread.as_raw_nonzero().get(), signal()) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// The names of the functions on a stack.
    fn names(frames: &[usize]) -> String {
        let mut names = String::new();
        for &frame in frames {
            backtrace::resolve(std::ptr::with_exposed_provenance_mut(frame), |symbol| {
                names += &format!("{:?}\n", symbol.name());
            });
        }
        names
    }

    #[inline(never)]
    fn waits_for_a_byte(mut from: UnixStream, tid: &mpsc::Sender<Pid>) -> rustix::io::Result<usize> {
        tid.send(gettid()).unwrap();
        let mut byte = [0; 1];
        let outcome = rustix::io::read(&from, &mut byte);
        // Not the last call, so that the frame is there.
        from.flush().unwrap();
        outcome
    }

    #[test]
    fn a_waiting_thread_tells_its_stack_and_does_not_notice() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || waits_for_a_byte(theirs, &tell));
        let tid = told.recv().unwrap();
        // It may be asked before it waits; many times means that some are.
        for _ in 0..50 {
            let answers = of_threads(&[tid], PATIENCE);
            let [Some(frames)] = answers.as_slice() else { panic!("{answers:?}") };
            let names = names(frames);
            assert!(names.contains("waits_for_a_byte"), "{names}");
            assert!(!names.contains("on_signal"), "the handler is no part of it: {names}");
        }
        ours.write_all(b"x").unwrap();
        assert_eq!(thread.join().unwrap(), Ok(1), "the call was not cut short");
    }

    #[test]
    fn a_thread_that_has_ended_is_silent_and_the_others_answer() {
        let gone = std::thread::spawn(gettid).join().unwrap();
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(gettid()).unwrap();
            theirs.read(&mut [0; 1]).unwrap()
        });
        // A thread's id may be there a moment longer than the thread, or be given to a new one: what counts is that nothing hangs.
        let answers = of_threads(&[gone, told.recv().unwrap()], Duration::from_secs(5));
        assert_eq!(answers.len(), 2);
        assert!(answers[1].as_ref().is_some_and(|frames| !frames.is_empty()), "{answers:?}");
        ours.write_all(b"x").unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn a_signal_that_nobody_waits_for_is_dropped() {
        listen();
        assert!(send(gettid()), "this thread is there");
        let me = number(gettid());
        assert!(SLOTS.iter().all(|slot| slot.state.load(Ordering::Acquire) & u64::from(u32::MAX) != me));
    }
}
