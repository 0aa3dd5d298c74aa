//! A shard on glommio: a `LocalExecutor` with one task per connection, one per listener, and one for the turns.
//!
//! A connection's task receives into the shard's one scratch buffer (glommio polls for readiness and receives without waiting, so an idle connection
//! holds no buffer) and wakes the turn task, which thus runs after every reader that was ready. Sends are tried at once in the turn; what the
//! socket does not take is sent by the connection's task. The doorbell wakes the turn task through the executor's cross-thread queue.
//!
//! Must never: borrow the shard across an await or a spawn (spawned tasks run at once), or keep more than two wakers per task (glommio's count
//! overflows at 32,767). A panic here kills the executor, so there is none on outside data. Tests: `server/tests/rt_*.rs`.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use glommio::timer::Timer;
use glommio::{GlommioError, LocalExecutorBuilder, Placement};

use super::conns::Phase;
use super::driver::{Driver, Flush};
use super::listener::is_out_of_resources;
use super::watcher::Watcher;
use super::{ACCEPT_PAUSE, ConnId, Doorbell, Handler, Ready, Start};

/// Runs a shard on this thread until its handler stops it.
pub(super) fn run<H: Handler>(start: Start, make: impl FnOnce(Doorbell) -> H, ready: &Ready) {
    // The thread is pinned already. glommio's own memory is for direct file I/O, which shards do not do.
    let executor =
        LocalExecutorBuilder::new(Placement::Unbound).io_memory(IO_MEMORY_BYTES).ring_depth(RING_DEPTH).make();
    let executor = match executor {
        Ok(executor) => executor,
        Err(error) => return ready.tell(Err(explain(&error))),
    };
    executor.run(async move {
        let Start { config, listeners, doorbell } = start;
        let driver = Driver::new(make(doorbell.clone()), &config, doorbell.clone());
        let shard: Shared<H> = Rc::new(RefCell::new(Shard {
            driver,
            links: Vec::new(),
            scratch: vec![0; config.recv_bytes],
            turn_waker: None,
            tasks: 0,
            watcher: None,
        }));
        let mut acceptors = Vec::new();
        for listener in listeners {
            // SAFETY: the descriptor is a listening socket that nobody else owns from here on.
            #[expect(unsafe_code, reason = "glommio takes a bound listener only as a raw descriptor")]
            let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
            acceptors.push(glommio::spawn_local(accept_loop(Rc::clone(&shard), listener)));
        }
        ready.tell(Ok(()));
        let mut timer = TurnTimer::default();
        poll_fn(|cx| poll_turns(&shard, &doorbell, &mut timer, cx)).await;
        doorbell.set_task(None);
        for acceptor in acceptors {
            acceptor.cancel().await;
        }
        shard.borrow_mut().close_all();
        poll_fn(|cx| shard.borrow_mut().poll_tasks_gone(cx)).await;
    });
}

type Shared<H> = Rc<RefCell<Shard<H>>>;

struct Shard<H> {
    driver: Driver<H>,
    /// By slot.
    links: Vec<Option<Link>>,
    scratch: Vec<u8>,
    turn_waker: Option<Waker>,
    /// Connection tasks that have not ended.
    tasks: usize,
    /// Waits for the descriptor that the handler watches, where it does: glommio has no way to.
    watcher: Option<Watcher>,
}

/// A connection's socket and its task.
struct Link {
    stream: TcpStream,
    /// The task's waker, cloned once; `None` until its first poll.
    waker: Option<Waker>,
    /// The socket was full: the task sends when it is writable.
    blocked: bool,
    /// The task does not wait for bytes.
    deaf: bool,
}

impl<H: Handler> Shard<H> {
    fn insert(&mut self, id: ConnId, stream: TcpStream) {
        let index = usize::try_from(id.slot).expect("slots fit the address space");
        if self.links.len() <= index {
            self.links.resize_with(index + 1, || None);
        }
        if let Some(place) = self.links.get_mut(index) {
            *place = Some(Link { stream, waker: None, blocked: false, deaf: false });
        }
        self.tasks += 1;
    }

    fn wake_turn(&self) {
        if self.driver.has_turn_due()
            && let Some(waker) = &self.turn_waker
        {
            waker.wake_by_ref();
        }
    }

    /// Makes every dirty connection's socket match its state.
    fn settle(&mut self) {
        while let Some(slot) = self.driver.conns.pop_dirty() {
            let phase = self.driver.conns.slot(slot).phase;
            if phase == Phase::Dead {
                self.release(slot);
                continue;
            }
            let index = usize::try_from(slot).expect("slots fit the address space");
            let Some(Some(link)) = self.links.get_mut(index) else { continue };
            let unsettled = phase == Phase::Flushing || self.driver.conns.slot(slot).out.unsent() > 0;
            if unsettled && !link.blocked {
                link.blocked = self.driver.flush(slot, socket(&link.stream)) == Flush::Blocked;
            }
            let listens_again = link.deaf && self.driver.conns.slot(slot).wants_recv();
            if (link.blocked || listens_again)
                && let Some(waker) = &link.waker
            {
                waker.wake_by_ref();
            }
        }
    }

    /// Closes a dead connection's socket; its task finds the slot empty and ends.
    fn release(&mut self, slot: u32) {
        let index = usize::try_from(slot).expect("slots fit the address space");
        let Some(link) = self.links.get_mut(index).and_then(Option::take) else { return };
        self.driver.prepare_close(slot, socket(&link.stream));
        drop(link.stream);
        self.driver.conns.release(slot);
        if let Some(waker) = link.waker {
            waker.wake();
        }
    }

    /// Watches what the handler asked for, once.
    fn watch(&mut self, doorbell: &Doorbell) {
        let Some(fd) = self.driver.take_watch() else { return };
        if self.watcher.is_none() {
            match Watcher::start(fd, doorbell.clone()) {
                Ok(watcher) => self.watcher = Some(watcher),
                // Whoever watches looks from time to time all the same.
                Err(error) => tracing::error!(%error, "what comes from other servers is seen late"),
            }
        }
        if let Some(watcher) = &self.watcher {
            watcher.watch();
        }
    }

    fn close_all(&mut self) {
        self.watcher = None;
        self.driver.kill_all();
        self.settle();
    }

    fn poll_tasks_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.tasks == 0 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One run of a connection's task: sends what was held back, receives what is there.
    fn poll_conn(&mut self, id: ConnId, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..RECVS_PER_POLL_MAX {
            let index = usize::try_from(id.slot).expect("slots fit the address space");
            let Some(Some(link)) = self.links.get_mut(index) else { return Poll::Ready(()) };
            let conn = self.driver.conns.slot(id.slot);
            if self.driver.conns.id(id.slot) != id {
                return Poll::Ready(());
            }
            if link.waker.is_none() {
                link.waker = Some(cx.waker().clone());
            }
            if conn.phase == Phase::Dead {
                // Released at the end of the turn that is due.
                return Poll::Pending;
            }
            if link.blocked {
                match Pin::new(&mut link.stream).poll_write(cx, conn.out.next()) {
                    Poll::Ready(Ok(bytes)) => {
                        self.driver.conns.sent(id.slot, bytes);
                        self.driver.progressed();
                        link.blocked = self.driver.flush(id.slot, socket(&link.stream)) == Flush::Blocked;
                        continue;
                    }
                    Poll::Ready(Err(error)) => {
                        self.driver.failed(id.slot, error.kind());
                        return Poll::Pending;
                    }
                    Poll::Pending => {}
                }
            }
            link.deaf = !self.driver.conns.slot(id.slot).wants_recv();
            if link.deaf {
                return Poll::Pending;
            }
            match Pin::new(&mut link.stream).poll_read(cx, &mut self.scratch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => self.driver.peer_ended(id.slot),
                Poll::Ready(Ok(bytes)) => {
                    self.driver.received(id.slot, self.scratch.get(..bytes).expect("no more than was asked for"));
                }
                Poll::Ready(Err(error)) => self.driver.failed(id.slot, error.kind()),
            }
        }
        // Others get their share before this one goes on.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The turn task: runs turns while there is a reason, then sleeps until the doorbell, a completion or the next deadline.
fn poll_turns<H: Handler>(
    shard: &Shared<H>,
    doorbell: &Doorbell,
    timer: &mut TurnTimer,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let mut shard = shard.borrow_mut();
    if shard.turn_waker.is_none() {
        shard.turn_waker = Some(cx.waker().clone());
        doorbell.set_task(Some(cx.waker().clone()));
    }
    let rung = doorbell.flag().take();
    let now = Instant::now();
    if rung || shard.driver.is_turn_due(now) {
        shard.driver.turn(now);
        shard.watch(doorbell);
        shard.settle();
        if shard.driver.stop_asked_by_handler() {
            return Poll::Ready(());
        }
        if shard.driver.has_turn_due() {
            cx.waker().wake_by_ref();
        }
    }
    if timer.poll_reached(shard.driver.next_deadline(), now, cx) || !doorbell.flag().try_sleep() {
        cx.waker().wake_by_ref();
    }
    Poll::Pending
}

/// The one timer of the turn task. It is never later than the deadline; when it is earlier, it is set anew once it has fired.
#[derive(Default)]
struct TurnTimer(Option<(Instant, Timer)>);

impl TurnTimer {
    /// Whether the deadline has come; if not, wakes the task when it comes.
    fn poll_reached(&mut self, deadline: Option<Instant>, now: Instant, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = deadline else { return false };
        if self.0.as_ref().is_none_or(|(at, _)| *at > deadline) {
            self.0 = Some((deadline, Timer::new(deadline.saturating_duration_since(now))));
        }
        let Some((_, timer)) = &mut self.0 else { return false };
        if Pin::new(timer).poll(cx).is_pending() {
            return false;
        }
        // Early or in time: the next look at the clock decides, and sets a new timer if it was early.
        self.0 = None;
        true
    }
}

async fn accept_loop<H: Handler>(shard: Shared<H>, listener: TcpListener) {
    loop {
        match listener.shared_accept().await {
            Ok(accepted) => match accepted.peer_addr() {
                Ok(peer) => serve(&shard, accepted.bind_to_executor(), peer),
                // The peer is gone already, and glommio has closed the socket.
                Err(error) => tracing::debug!(%error, "a connection ended before it was accepted"),
            },
            Err(error) => {
                let error = into_io(error);
                if is_out_of_resources(&error) {
                    tracing::warn!(%error, "cannot accept connections; trying again shortly. Raise the limit of open files (ulimit -n)");
                    Timer::new(ACCEPT_PAUSE).await;
                } else {
                    tracing::debug!(%error, "a connection ended while it was accepted");
                }
            }
        }
    }
}

fn serve<H: Handler>(shard: &Shared<H>, stream: TcpStream, peer: SocketAddr) {
    let id = {
        let mut shard = shard.borrow_mut();
        let id = shard.driver.accepted(stream.as_raw_fd(), peer);
        if let Some(id) = id {
            shard.insert(id, stream);
        }
        shard.wake_turn();
        id
    };
    if let Some(id) = id {
        glommio::spawn_local(conn_task(Rc::clone(shard), id)).detach();
    }
}

async fn conn_task<H: Handler>(shard: Shared<H>, id: ConnId) {
    poll_fn(|cx| {
        let mut shard = shard.borrow_mut();
        let outcome = shard.poll_conn(id, cx);
        shard.wake_turn();
        outcome
    })
    .await;
    shard.borrow_mut().tasks -= 1;
}

fn socket(stream: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and outlives the borrow.
    #[expect(unsafe_code, reason = "glommio's streams show their descriptor only raw")]
    unsafe {
        BorrowedFd::borrow_raw(stream.as_raw_fd())
    }
}

fn into_io(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

fn explain(error: &GlommioError<()>) -> String {
    format!(
        "{error}; it needs io_uring (kernel 5.8 or newer, not blocked by a container's seccomp profile or kernel.io_uring_disabled) \
         and lockable memory (ulimit -l, at least 512 KiB a shard)"
    )
}

/// The least that glommio takes; it would register 10 MiB otherwise.
const IO_MEMORY_BYTES: usize = 64 * 1024;
/// Entries per ring. A fuller queue is submitted earlier, nothing else.
const RING_DEPTH: usize = 256;
/// Receives of one connection before the others have their turn.
const RECVS_PER_POLL_MAX: usize = 4;
