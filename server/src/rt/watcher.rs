//! A thread that waits for a descriptor and rings a shard, where the shard's backend cannot watch one itself.
//!
//! Owns the thread. It rings once for each [`Watcher::watch`], however long the descriptor stays readable, so that it never spins. Ends when dropped.
//! `server/tests/rt_bell.rs` holds it to that.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;

use super::{Doorbell, Error, spawn_pinned};

/// The shard's end.
#[derive(Debug)]
pub(super) struct Watcher {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

/// What the shard tells the thread.
#[derive(Debug)]
struct Orders {
    /// Written with each order.
    eventfd: OwnedFd,
    /// It is to ring.
    watches: AtomicBool,
    ends: AtomicBool,
}

impl Watcher {
    pub(super) fn start(fd: Arc<OwnedFd>, bell: Doorbell) -> Result<Watcher, Error> {
        const NAME: &str = "rk-watch";
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)
            .map_err(|errno| Error::Thread { name: NAME.to_owned(), source: errno.into() })?;
        let orders = Arc::new(Orders { eventfd, watches: AtomicBool::new(false), ends: AtomicBool::new(false) });
        let thread = spawn_pinned(NAME, None, {
            let orders = Arc::clone(&orders);
            move || orders.work(&fd, &bell)
        })?;
        Ok(Watcher { orders, thread: Some(thread) })
    }

    /// Rings when the descriptor is readable, once.
    pub(super) fn watch(&self) {
        if !self.orders.watches.swap(true, Ordering::AcqRel) {
            self.orders.wake();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.orders.ends.store(true, Ordering::Release);
        self.orders.wake();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watches a shard's descriptor did not end in order");
        }
    }
}

impl Orders {
    fn wake(&self) {
        // Would wait only with 2^64 - 2 orders in it.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    fn work(&self, fd: &OwnedFd, bell: &Doorbell) {
        loop {
            let watches = self.watches.load(Ordering::Acquire);
            let own = PollFd::new(&self.eventfd, PollFlags::IN);
            let mut fds = [own, PollFd::new(fd, PollFlags::IN)];
            let count = if watches { 2 } else { 1 };
            match rustix::event::poll(fds.get_mut(..count).unwrap_or_default(), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => panic!("poll on our own descriptors failed: {errno}"),
            }
            let [is_ordered, is_readable] = fds.map(|fd| !fd.revents().is_empty());
            if is_ordered {
                let _count = rustix::io::read(&self.eventfd, &mut [0; 8]);
            }
            if self.ends.load(Ordering::Acquire) {
                return;
            }
            if is_readable {
                // Before the ring, whose turn may order anew.
                self.watches.store(false, Ordering::Release);
                bell.ring();
            }
        }
    }
}
