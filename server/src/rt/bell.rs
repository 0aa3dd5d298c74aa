//! Waking shards and plain threads: [`Doorbell`] for a shard, [`Parker`] and [`ThreadBell`] for a thread.
//!
//! Put the work where the waiter looks, then ring. A ring costs one atomic exchange while the waiter is awake and a system call only
//! if it sleeps; it is never lost (see `flag`). The waiter drains everything after each wake-up, so one ring may stand for many.
//! Must never carry data, and never block the ringer. `server/tests/rt_bell.rs` holds both kinds to it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::thread::futex;

use super::Backend;
use super::flag::{ASLEEP, WakeFlag};

/// Rings one shard, from any thread.
#[derive(Clone)]
pub struct Doorbell(Arc<ShardBell>);

impl Doorbell {
    /// Makes the shard take a turn soon. Harmless after the shard stopped.
    pub fn ring(&self) {
        if self.0.flag.ring() {
            self.0.wake();
        }
    }

    pub(super) fn new(backend: Backend) -> Result<Self, String> {
        let alarm = match backend {
            Backend::Glommio => Alarm::Task(Mutex::new(None)),
            Backend::Ring => {
                let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)
                    .map_err(|errno| format!("no eventfd: {errno}; raise ulimit -n"))?;
                Alarm::Eventfd(eventfd)
            }
        };
        Ok(Self(Arc::new(ShardBell { flag: WakeFlag::new(), stop_asked: AtomicBool::new(false), alarm })))
    }

    /// What the kernel may write to make the shard take a turn, where its backend listens to such a thing.
    #[must_use]
    pub fn notify_fd(&self) -> Option<BorrowedFd<'_>> {
        self.eventfd()
    }

    /// Asks the shard to stop.
    pub(super) fn ask_stop(&self) {
        self.0.stop_asked.store(true, Ordering::Release);
        self.ring();
    }

    /// Whether stop was asked, once.
    pub(super) fn take_stop_asked(&self) -> bool {
        self.0.stop_asked.load(Ordering::Relaxed) && self.0.stop_asked.swap(false, Ordering::AcqRel)
    }

    pub(super) fn flag(&self) -> &WakeFlag {
        &self.0.flag
    }

    /// Sets the task that a ring wakes; `None` before its executor ends, on its own thread.
    pub(super) fn set_task(&self, waker: Option<Waker>) {
        match &self.0.alarm {
            Alarm::Task(task) => *task.lock().unwrap_or_else(PoisonError::into_inner) = waker,
            Alarm::Eventfd(_) => unreachable!("only an executor's shard has a task to wake"),
        }
    }

    /// What a ring shard reads.
    pub(super) fn eventfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.0.alarm {
            Alarm::Eventfd(eventfd) => Some(eventfd.as_fd()),
            Alarm::Task(_) => None,
        }
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").field("flag", &self.0.flag).finish_non_exhaustive()
    }
}

struct ShardBell {
    flag: WakeFlag,
    stop_asked: AtomicBool,
    alarm: Alarm,
}

impl ShardBell {
    fn wake(&self) {
        match &self.alarm {
            Alarm::Task(task) => {
                if let Some(waker) = &*task.lock().unwrap_or_else(PoisonError::into_inner) {
                    waker.wake_by_ref();
                }
            }
            // Would wait only with 2^64 - 2 rings in it.
            Alarm::Eventfd(eventfd) => drop(rustix::io::write(eventfd, &1u64.to_ne_bytes())),
        }
    }
}

/// How a sleeping shard is woken.
enum Alarm {
    /// By waking its turn task through the executor's own cross-thread queue. At most one such wake is under way, because the flag leaves
    /// [`ASLEEP`] with the first ring; so the executor's waker count cannot run over.
    Task(Mutex<Option<Waker>>),
    /// By writing the eventfd that its ring reads.
    Eventfd(OwnedFd),
}

/// Lets one plain thread sleep until it is rung.
#[derive(Debug)]
pub struct Parker {
    sleeper: Arc<Sleeper>,
    spin: Duration,
}

/// What a parker and its bells share.
#[derive(Debug)]
struct Sleeper {
    flag: WakeFlag,
    /// What a ring writes to wake it; without one it sleeps in a futex.
    eventfd: Option<OwnedFd>,
}

impl Parker {
    /// A parker whose thread spins up to `spin` before it sleeps (zero: sleeps at once, which is right wherever cores are shared).
    #[must_use]
    pub fn new(spin: Duration) -> Self {
        Self { sleeper: Arc::new(Sleeper { flag: WakeFlag::new(), eventfd: None }), spin }
    }

    /// A parker that can wait for a descriptor as well ([`Parker::wait_or_readable`]); its wake-ups cost a little more.
    ///
    /// # Errors
    /// The kernel gives no descriptor.
    pub fn with_eventfd(spin: Duration) -> std::io::Result<Self> {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { sleeper: Arc::new(Sleeper { flag: WakeFlag::new(), eventfd: Some(eventfd) }), spin })
    }

    /// A bell that wakes it.
    #[must_use]
    pub fn bell(&self) -> ThreadBell {
        ThreadBell(Arc::clone(&self.sleeper))
    }

    /// Whether it was rung since the last call or wait; does not sleep.
    pub fn take(&mut self) -> bool {
        self.sleeper.flag.take()
    }

    /// Sleeps until it is rung, or was rung since the last wait, or the time is over (`None`: no limit).
    pub fn wait(&mut self, timeout: Option<Duration>) -> Woken {
        self.wait_with(timeout, |sleeper, left| match &sleeper.eventfd {
            Some(eventfd) => poll(eventfd, None, left),
            None => sleeper.wait_for_futex(left),
        })
    }

    /// As [`Parker::wait`], and until `fd` is readable.
    ///
    /// # Panics
    /// If the parker is not one [`Parker::with_eventfd`].
    pub fn wait_or_readable(&mut self, fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Woken {
        self.wait_with(timeout, |sleeper, left| {
            let eventfd = sleeper.eventfd.as_ref().expect("a parker that waits for a descriptor has an eventfd");
            poll(eventfd, Some(fd), left)
        })
    }

    /// Sleeps by `sleep`, which says whether what else it waits for is there, and may return for no reason.
    fn wait_with(
        &mut self,
        timeout: Option<Duration>,
        mut sleep: impl FnMut(&Sleeper, Option<Timespec>) -> bool,
    ) -> Woken {
        if self.spin_for_ring(timeout) {
            return Woken::Rung;
        }
        // A time that the clock cannot hold is no limit.
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        let sleeper = &*self.sleeper;
        if !sleeper.flag.try_sleep() {
            sleeper.flag.take();
            return Woken::Rung;
        }
        let mut is_readable = false;
        while !is_readable && sleeper.flag.is_asleep() {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            // What is readable is found even if there is no time.
            is_readable = sleep(sleeper, left.and_then(|left| left.try_into().ok()));
            if left == Some(Duration::ZERO) {
                break;
            }
        }
        match (sleeper.flag.take(), is_readable) {
            (true, _) => Woken::Rung,
            (false, true) => Woken::Readable,
            (false, false) => Woken::TimedOut,
        }
    }

    /// Looks for a ring for as long as asked; true if one came.
    fn spin_for_ring(&self, timeout: Option<Duration>) -> bool {
        if self.spin.is_zero() {
            return false;
        }
        let started = Instant::now();
        let limit = timeout.map_or(self.spin, |t| t.min(self.spin));
        while started.elapsed() < limit {
            if self.sleeper.flag.take() {
                return true;
            }
            for _ in 0..SPIN_PAUSES {
                std::hint::spin_loop();
            }
        }
        false
    }
}

impl Sleeper {
    /// Never finds anything but a ring.
    fn wait_for_futex(&self, limit: Option<Timespec>) -> bool {
        match futex::wait(self.flag.word(), futex::Flags::PRIVATE, ASLEEP, limit.as_ref()) {
            // EAGAIN: the word is not ASLEEP any more, so it was rung. A wake without a ring, and a signal, are looked at again.
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => false,
            Err(errno) => panic!("futex wait on our own word failed: {errno}"),
        }
    }
}

/// Waits until one of both is readable; says whether `fd` is. What a ring wrote is taken: it may be a late one, of a ring that was seen before.
fn poll(eventfd: &OwnedFd, fd: Option<BorrowedFd<'_>>, limit: Option<Timespec>) -> bool {
    let own = PollFd::new(eventfd, PollFlags::IN);
    let outcome = match fd {
        Some(fd) => {
            let mut fds = [own, PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            rustix::event::poll(&mut fds, limit.as_ref()).map(|_| fds.map(|fd| !fd.revents().is_empty()))
        }
        None => {
            let mut fds = [own];
            rustix::event::poll(&mut fds, limit.as_ref())
                .map(|_| fds.map(|fd| !fd.revents().is_empty()))
                .map(|[own]| [own, false])
        }
    };
    match outcome {
        Ok([is_rung, is_readable]) => {
            if is_rung {
                // A count that is gone was taken before.
                let _count = rustix::io::read(eventfd, &mut [0; 8]);
            }
            is_readable
        }
        Err(Errno::INTR) => false,
        Err(errno) => panic!("poll on our own descriptors failed: {errno}"),
    }
}

/// Why [`Parker::wait`] or [`Parker::wait_or_readable`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Somebody rang.
    Rung,
    /// Nobody rang, and the descriptor is readable.
    Readable,
    /// The time was over and nobody had rung.
    TimedOut,
}

/// Rings one thread that waits in a [`Parker`].
#[derive(Clone, Debug)]
pub struct ThreadBell(Arc<Sleeper>);

impl ThreadBell {
    /// Makes the thread's current or next [`Parker::wait`] return. Harmless after the thread ended.
    pub fn ring(&self) {
        if self.0.flag.ring() {
            // Neither waking a futex of our own that exists nor writing an eventfd that is as good as empty can fail.
            match &self.0.eventfd {
                Some(eventfd) => drop(rustix::io::write(eventfd, &1u64.to_ne_bytes())),
                None => drop(futex::wake(self.0.flag.word(), futex::Flags::PRIVATE, 1)),
            }
        }
    }
}

/// Pause instructions between two looks at the flag while spinning, so that the ringer's cache line is left alone meanwhile.
const SPIN_PAUSES: u32 = 32;
