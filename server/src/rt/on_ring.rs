//! A shard on a raw io_uring: multishot accept and receive into provided buffers, completions run in the shard's own enter (DEFER_TASKRUN).
//!
//! One loop: enter the kernel (submit, wait), deliver what completed, take a turn, make dirty connections' sockets match. Sends are tried at once with
//! send(2); what the socket does not take is sent by the ring from the slot's own buffer, which is marked as lent meanwhile. The
//! doorbell is an eventfd with a read pending, written only while the flag says that the shard sleeps in its enter, or by the kernel
//! (`Doorbell::notify_fd`). A read, and no multishot poll: kernels of before May 2026 lose such a poll, without a word, when it is another ring
//! that writes the eventfd.
//!
//! Must never: release a slot while an operation on it is in flight (`Link::is_quiet`), or drop the ring with any left. Fails at start, by name, where
//! the kernel is too old or forbids io_uring. Tests: `server/tests/rt_*.rs`.
#![expect(unsafe_code, reason = "submission entries carry pointers and descriptors")]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::conns::Phase;
use super::driver::{Driver, Flush};
use super::listener::is_out_of_resources;
use super::ring_buffers::RingBuffers;
use super::{ACCEPT_PAUSE, Doorbell, Handler, Ready, Start};

/// Runs a shard on this thread until its handler stops it.
pub(super) fn run<H: Handler>(start: Start, make: impl FnOnce(Doorbell) -> H, ready: &Ready) {
    let Start { config, listeners, doorbell } = start;
    let buffers = RingBuffers::new(config.recv_bytes);
    let ring = match build_ring(&buffers) {
        Ok(ring) => ring,
        Err(error) => return ready.tell(Err(explain(&error))),
    };
    let driver = Driver::new(make(doorbell.clone()), &config, doorbell.clone());
    let acceptors = listeners.into_iter().map(|listener| Acceptor { listener, state: Accepting::Ended }).collect();
    let mut shard = Shard {
        ring,
        buffers,
        rings: Box::new([0; 8]),
        driver,
        doorbell,
        links: Vec::new(),
        acceptors,
        watched: None,
        reaped: Vec::new(),
        in_flight: 0,
        stopping: false,
    };
    shard.watch_doorbell();
    ready.tell(Ok(()));
    shard.serve();
    shard.wind_down();
}

/// Fields drop in order: the ring before the buffers that it writes to.
struct Shard<H> {
    ring: IoUring,
    buffers: RingBuffers,
    /// Where the kernel puts the eventfd's count; nobody looks at it.
    rings: Box<[u8; 8]>,
    driver: Driver<H>,
    doorbell: Doorbell,
    /// By slot.
    links: Vec<Option<Link>>,
    acceptors: Vec<Acceptor>,
    /// What a poll is in flight on.
    watched: Option<Arc<OwnedFd>>,
    /// The completions of one enter.
    reaped: Vec<cqueue::Entry>,
    /// Operations whose last completion has not come.
    in_flight: usize,
    stopping: bool,
}

/// A connection's socket and what the kernel does with it.
struct Link {
    socket: OwnedFd,
    recv: Recv,
    /// A send is in flight; the connection's head is lent.
    sending: bool,
    /// The operations of a dead connection were asked to end.
    cancelled: bool,
}

impl Link {
    fn is_quiet(&self) -> bool {
        self.recv == Recv::Ended && !self.sending
    }
}

/// A multishot receive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recv {
    Running,
    /// Asked to end; its last completion is still to come.
    Ending,
    Ended,
}

struct Acceptor {
    listener: TcpListener,
    state: Accepting,
}

/// A multishot accept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepting {
    Running,
    Ended,
    /// Out of descriptors or memory.
    PausedUntil(Instant),
}

impl<H: Handler> Shard<H> {
    fn serve(&mut self) {
        loop {
            let now = Instant::now();
            let rung = self.doorbell.flag().take();
            if rung || self.driver.is_turn_due(now) {
                self.driver.turn(now);
                self.watch();
            }
            self.settle();
            if self.driver.stop_asked_by_handler() {
                return;
            }
            let resume = self.accept_again(now);
            let deadline = [self.driver.next_deadline(), resume].into_iter().flatten().min();
            if self.driver.has_turn_due() || !self.doorbell.flag().try_sleep() {
                self.enter(Some(Duration::ZERO));
            } else {
                self.enter(deadline.map(|deadline| deadline.saturating_duration_since(now)));
            }
            self.deliver();
        }
    }

    /// Ends every operation, so that nothing in the kernel refers to our memory, and every connection.
    fn wind_down(&mut self) {
        self.stopping = true;
        self.doorbell.flag().take();
        self.driver.kill_all();
        self.settle();
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(cancel, Op::Cancel, 0);
        let deadline = Instant::now() + WIND_DOWN_MAX;
        while self.in_flight > 0 {
            assert!(Instant::now() < deadline, "{} operations do not end though they were cancelled", self.in_flight);
            self.enter(Some(WIND_DOWN_LOOK));
            self.deliver();
            self.settle();
        }
    }

    /// Submits what is queued, runs completions, and waits for one up to `limit` (`None`: for ever, zero: not at all).
    fn enter(&mut self, limit: Option<Duration>) {
        let submitter = self.ring.submitter();
        let outcome = match limit {
            None => submitter.submit_and_wait(1),
            Some(Duration::ZERO) => submitter.submit_with_args(0, &SubmitArgs::new()),
            Some(limit) => {
                let limit = Timespec::new().sec(limit.as_secs()).nsec(limit.subsec_nanos());
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&limit))
            }
        };
        if let Err(error) = outcome {
            // ETIME: the limit. EINTR: a signal. EBUSY, EAGAIN: completions must be taken before more is submitted, which comes next.
            let expected = [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN];
            assert!(
                error.raw_os_error().is_some_and(|code| expected.contains(&code)),
                "io_uring_enter failed: {error}"
            );
        }
    }

    fn push(&mut self, entry: squeue::Entry, op: Op, slot: u32) {
        let entry = entry.user_data(op.tag(slot));
        // SAFETY: what the entries point to lives until their completion: a lent head in its slot, provided buffers and the rings' count with
        // the ring;
        // descriptors are closed only once their operations have ended.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.enter(Some(Duration::ZERO));
        }
        self.in_flight += 1;
    }

    /// Hands every completion to whom it concerns.
    fn deliver(&mut self) {
        let mut reaped = std::mem::take(&mut self.reaped);
        reaped.extend(self.ring.completion());
        for completion in reaped.drain(..) {
            let more = cqueue::more(completion.flags());
            if !more {
                self.in_flight -= 1;
            }
            let (op, slot) = Op::from_tag(completion.user_data());
            match op {
                Op::Recv => self.on_recv(slot, completion.result(), completion.flags()),
                Op::Send => self.on_sent(slot, completion.result()),
                Op::Accept => self.on_accept(slot, completion.result(), more),
                Op::Doorbell => {
                    // The kernel may have written it, which raises no flag.
                    self.driver.progressed();
                    if !self.stopping {
                        self.watch_doorbell();
                    }
                }
                Op::Watch => {
                    self.watched = None;
                    self.driver.progressed();
                }
                // A cancellation shows in what it cancelled.
                Op::Cancel => {}
            }
        }
        self.buffers.publish();
        self.reaped = reaped;
    }

    fn on_recv(&mut self, slot: u32, result: i32, flags: u32) {
        if !cqueue::more(flags) {
            link(&mut self.links, slot).recv = Recv::Ended;
            // It starts again if it is still wanted.
            self.driver.conns.mark_dirty(slot);
        }
        match usize::try_from(result) {
            Ok(0) => self.driver.peer_ended(slot),
            Ok(bytes) => {
                let buffer = cqueue::buffer_select(flags).expect("received bytes lie in a provided buffer");
                self.driver.received(slot, self.buffers.filled(buffer, bytes));
                self.buffers.give_back(buffer);
            }
            // Out of buffers: they are back when this batch is delivered. Cancelled: by us.
            Err(_) if result == -libc::ENOBUFS || result == -libc::ECANCELED => {}
            Err(_) => self.driver.failed(slot, io::Error::from_raw_os_error(-result).kind()),
        }
    }

    fn on_sent(&mut self, slot: u32, result: i32) {
        link(&mut self.links, slot).sending = false;
        self.driver.conns.slot_mut(slot).out.lent = false;
        self.driver.conns.mark_dirty(slot);
        match usize::try_from(result) {
            Ok(bytes) => {
                self.driver.sent(slot, bytes);
                self.driver.progressed();
            }
            Err(_) if result == -libc::ECANCELED || result == -libc::EINTR => {}
            Err(_) => self.driver.failed(slot, io::Error::from_raw_os_error(-result).kind()),
        }
    }

    fn on_accept(&mut self, listener: u32, result: i32, more: bool) {
        if !more {
            self.acceptor(listener).state = Accepting::Ended;
        }
        if result >= 0 {
            // SAFETY: the completion hands us a new descriptor that nobody else knows.
            let socket = unsafe { OwnedFd::from_raw_fd(result) };
            self.welcome(socket);
            return;
        }
        let error = io::Error::from_raw_os_error(-result);
        if is_out_of_resources(&error) {
            tracing::warn!(%error, "cannot accept connections; trying again shortly. Raise the limit of open files (ulimit -n)");
            self.acceptor(listener).state = Accepting::PausedUntil(Instant::now() + ACCEPT_PAUSE);
        } else if result != -libc::ECANCELED {
            tracing::debug!(%error, "a connection ended while it was accepted");
        }
    }

    fn welcome(&mut self, socket: OwnedFd) {
        if self.stopping {
            return;
        }
        // A peer that is gone already has no address; the socket is closed by being dropped.
        let Ok(Some(peer)) = socket2::SockRef::from(&socket).peer_addr().map(|addr| addr.as_socket()) else { return };
        let Some(id) = self.driver.accepted(socket.as_raw_fd(), peer) else { return };
        let index = index(id.slot);
        if self.links.len() <= index {
            self.links.resize_with(index + 1, || None);
        }
        if let Some(place) = self.links.get_mut(index) {
            *place = Some(Link { socket, recv: Recv::Ended, sending: false, cancelled: false });
        }
        self.driver.conns.mark_dirty(id.slot);
    }

    /// Makes every dirty connection's socket match its state.
    fn settle(&mut self) {
        while let Some(slot) = self.driver.conns.pop_dirty() {
            let Some(link) = self.links.get_mut(index(slot)).and_then(Option::as_mut) else { continue };
            let conn = self.driver.conns.slot(slot);
            let unsettled = conn.phase == Phase::Flushing || conn.out.unsent() > 0;
            if conn.phase == Phase::Dead {
                self.bury(slot);
                continue;
            }
            if unsettled && !link.sending && self.driver.flush(slot, link.socket.as_fd()) == Flush::Blocked {
                self.send_later(slot);
            }
            self.settle_recv(slot);
        }
    }

    /// Starts or ends the connection's receiving.
    fn settle_recv(&mut self, slot: u32) {
        let wanted = self.driver.conns.slot(slot).wants_recv();
        let link = link(&mut self.links, slot);
        match (wanted, link.recv) {
            (true, Recv::Ended) => {
                link.recv = Recv::Running;
                let entry = opcode::RecvMulti::new(Fd(link.socket.as_raw_fd()), BUFFER_GROUP).build();
                self.push(entry, Op::Recv, slot);
            }
            (false, Recv::Running) => {
                link.recv = Recv::Ending;
                self.push(opcode::AsyncCancel::new(Op::Recv.tag(slot)).build(), Op::Cancel, slot);
            }
            // Its last completion marks the connection dirty again.
            (_, Recv::Ending) | (true, Recv::Running) | (false, Recv::Ended) => {}
        }
    }

    /// The socket is full: the kernel sends from the slot's head when there is room.
    fn send_later(&mut self, slot: u32) {
        let link = link(&mut self.links, slot);
        link.sending = true;
        let out = &mut self.driver.conns.slot_mut(slot).out;
        out.lent = true;
        let bytes = out.next();
        // More than 4 GiB are sent piece by piece.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry =
            opcode::Send::new(Fd(link.socket.as_raw_fd()), bytes.as_ptr(), length).flags(libc::MSG_NOSIGNAL).build();
        self.push(entry, Op::Send, slot);
    }

    /// Closes a dead connection's socket as soon as nothing in the kernel refers to it or its bytes.
    fn bury(&mut self, slot: u32) {
        let link = link(&mut self.links, slot);
        if !link.is_quiet() {
            if !link.cancelled {
                link.cancelled = true;
                let all = CancelBuilder::fd(Fd(link.socket.as_raw_fd())).all();
                self.push(opcode::AsyncCancel2::new(all).build(), Op::Cancel, slot);
            }
            return;
        }
        let Some(link) = self.links.get_mut(index(slot)).and_then(Option::take) else { return };
        self.driver.prepare_close(slot, link.socket.as_fd());
        drop(link.socket);
        self.driver.conns.release(slot);
    }

    /// Starts accepting where it ended, unless it pauses; says when the first pause is over.
    fn accept_again(&mut self, now: Instant) -> Option<Instant> {
        let mut resume: Option<Instant> = None;
        for place in 0u32.. {
            let Some(acceptor) = self.acceptors.get_mut(index(place)) else { break };
            match acceptor.state {
                Accepting::Running => {}
                Accepting::PausedUntil(time) if time > now => {
                    resume = Some(resume.map_or(time, |first| first.min(time)))
                }
                Accepting::PausedUntil(_) | Accepting::Ended => {
                    acceptor.state = Accepting::Running;
                    let entry =
                        opcode::AcceptMulti::new(Fd(acceptor.listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
                    self.push(entry, Op::Accept, place);
                }
            }
        }
        resume
    }

    fn acceptor(&mut self, place: u32) -> &mut Acceptor {
        self.acceptors.get_mut(index(place)).expect("accepts are tagged with their listener's place")
    }

    /// Watches what the handler asked for, once. A poll of one shot is not among those that kernels lose: see the module.
    fn watch(&mut self) {
        let Some(fd) = self.driver.take_watch() else { return };
        if self.watched.is_none() {
            let events = u32::from(libc::POLLIN.unsigned_abs());
            self.push(opcode::PollAdd::new(Fd(fd.as_raw_fd()), events).build(), Op::Watch, 0);
            self.watched = Some(fd);
        }
    }

    fn watch_doorbell(&mut self) {
        let Some(eventfd) = self.doorbell.eventfd() else { unreachable!("a ring shard's doorbell is an eventfd") };
        let entry = opcode::Read::new(Fd(eventfd.as_raw_fd()), self.rings.as_mut_ptr(), 8).build();
        self.push(entry, Op::Doorbell, 0);
    }
}

/// What an operation is, as its completion is tagged: the kind above 32 bits of slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Recv = 1,
    Send = 2,
    Accept = 3,
    Doorbell = 4,
    Cancel = 5,
    Watch = 6,
}

impl Op {
    fn tag(self, slot: u32) -> u64 {
        (u64::from(self as u8) << 32) | u64::from(slot)
    }

    fn from_tag(tag: u64) -> (Self, u32) {
        let slot = u32::try_from(tag & u64::from(u32::MAX)).expect("masked to 32 bits");
        let op = match tag >> 32 {
            1 => Self::Recv,
            2 => Self::Send,
            3 => Self::Accept,
            4 => Self::Doorbell,
            5 => Self::Cancel,
            6 => Self::Watch,
            other => panic!("a completion with a tag that we never gave: {other}"),
        };
        (op, slot)
    }
}

fn build_ring(buffers: &RingBuffers) -> io::Result<IoUring> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(COMPLETIONS)
        .setup_clamp()
        .build(SUBMISSIONS)?;
    buffers.register(&ring.submitter(), BUFFER_GROUP)?;
    Ok(ring)
}

fn explain(error: &io::Error) -> String {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
            "io_uring is forbidden here: allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile, \
             and see sysctl kernel.io_uring_disabled"
        }
        Some(libc::EINVAL) => "this kernel lacks DEFER_TASKRUN or provided-buffer rings: Linux 6.1 or newer has them",
        Some(libc::ENOMEM) => "not enough lockable memory: raise ulimit -l",
        Some(libc::EMFILE | libc::ENFILE) => "no file descriptor is left: raise ulimit -n",
        _ => "the kernel gave no reason that we know",
    };
    format!("{error}; {remedy}")
}

fn link(links: &mut [Option<Link>], slot: u32) -> &mut Link {
    links.get_mut(index(slot)).and_then(Option::as_mut).expect("a slot with an operation in flight has a link")
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).expect("slots fit the address space")
}

/// The one group of provided buffers in this ring.
const BUFFER_GROUP: u16 = 0;
/// Queued between two enters; a full queue is submitted earlier, nothing else.
const SUBMISSIONS: u32 = 512;
/// Completions that wait in shared memory; more are kept by the kernel, at some cost.
const COMPLETIONS: u32 = 4096;
/// Cancelled socket operations end at once; a shard that still has some after this has a bug, and going on would free memory in use.
const WIND_DOWN_MAX: Duration = Duration::from_secs(10);
const WIND_DOWN_LOOK: Duration = Duration::from_millis(20);
