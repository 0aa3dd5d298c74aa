//! A session that outlives its connections.
//!
//! Callers write requests themselves and get a [`PendingReply`]; one thread reads, hands out replies and events, pings, and
//! connects again to the next server of the list, with auths and watches restored. Requests that had no reply when a
//! connection ended fail with [`ClientError::Closed`]: whether they took effect is unknown, as with every ZooKeeper client.
//! While there is no connection, requests fail at once with the same error; [`Session::wait_connected`] waits for the next.
//!
//! Locks: the writer's, then the state's, never the other way round; nothing blocks under the state's.

mod link;
mod thread;

use std::net::{Shutdown, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use proto::request::Request;
use proto::{SessionId, Zxid};

use crate::error::{ClientError, Result};
use crate::incoming::{Event, ReplyFrame};
use crate::operations::Operations;
use link::{Phase, Shared};

/// Where a session connects, and how patient it is.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The servers, tried in turn.
    pub servers: Vec<SocketAddr>,
    /// The session timeout asked for, in ms.
    pub timeout_ms: i32,
    /// May a server be read-only?
    pub read_only: bool,
    /// How long [`Session::connect`] looks for a server, and how long a reply is waited for.
    pub deadline: Duration,
}

impl SessionOptions {
    /// A session on these servers, with a timeout and a deadline of 10 s.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> SessionOptions {
        SessionOptions { servers, timeout_ms: 10_000, read_only: false, deadline: Duration::from_secs(10) }
    }
}

/// What happens to a session without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// A connection stands (the first, or another one), and watches are being restored on it.
    Connected(SocketAddr),
    /// The connection is lost; another is being looked for.
    Disconnected,
    /// The session is gone, with its ephemerals: nothing more will come.
    Expired,
    /// A watch fired.
    Watch(Event),
}

/// A session; clones are the same session.
#[derive(Clone, Debug)]
pub struct Session {
    handle: Arc<Handle>,
}

/// Ends the thread once the last clone is gone.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    deadline: Duration,
}

/// A reply that is still to come.
#[derive(Debug)]
pub struct PendingReply {
    receiver: Receiver<Result<ReplyFrame>>,
    deadline: Duration,
}

impl Session {
    /// Connects to one of the servers. Events come through the receiver, in order and without a bound: whoever sets watches
    /// drains it (or drops it, then events are dropped).
    ///
    /// # Errors
    /// [`ClientError::NoServer`] if none of the servers takes the session before the deadline.
    pub fn connect(options: &SessionOptions) -> Result<(Session, Receiver<SessionEvent>)> {
        let (events, receiver) = channel();
        let shared = Arc::new(Shared::new());
        let thread = thread::start(Arc::clone(&shared), options.clone(), events)?;
        let handle = Handle { shared, thread: Mutex::new(Some(thread)), deadline: options.deadline };
        let session = Session { handle: Arc::new(handle) };
        session.wait_connected(options.deadline)?;
        Ok((session, receiver))
    }

    /// Sends a request; the reply is waited for with [`PendingReply::wait`].
    ///
    /// # Errors
    /// [`ClientError::Closed`] while there is no connection, [`ClientError::SessionExpired`], [`ClientError::SessionClosed`].
    pub fn submit(&self, request: &Request<'_>) -> Result<PendingReply> {
        let (sender, receiver) = channel();
        self.handle.shared.submit(request, Some(sender))?;
        Ok(PendingReply { receiver, deadline: self.handle.deadline })
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    /// [`ClientError::NoServer`] after `patience`, [`ClientError::SessionExpired`], [`ClientError::SessionClosed`].
    pub fn wait_connected(&self, patience: Duration) -> Result<()> {
        self.handle.shared.wait_connected(patience)
    }

    /// The session's id; 0 before the first connection.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.handle.shared.state().session.map_or(SessionId(0), |session| session.session_id)
    }

    /// The session timeout that the server granted, in ms; 0 before the first connection.
    #[must_use]
    pub fn timeout_ms(&self) -> i32 {
        self.handle.shared.state().session.map_or(0, |session| session.timeout_ms)
    }

    /// The largest zxid of a reply's header so far.
    #[must_use]
    pub fn last_zxid(&self) -> Zxid {
        self.handle.shared.state().last_zxid
    }

    /// Cuts the connection, as a network would; the session looks for another one.
    pub fn cut_connection(&self) {
        self.handle.shared.cut();
    }

    /// Ends the session on the server and waits for its reply.
    ///
    /// # Errors
    /// As [`Session::submit`] and [`PendingReply::wait`]; the session is unusable in every case.
    pub fn close(&self) -> Result<()> {
        let answered = self.submit(&Request::CloseSession).and_then(PendingReply::wait);
        self.handle.stop();
        answered?.ok().map(|_| ())
    }
}

impl Operations for Session {
    fn call(&mut self, request: &Request<'_>) -> Result<ReplyFrame> {
        self.submit(request)?.wait()
    }
}

impl PendingReply {
    /// Waits for the reply, as long as the session's deadline.
    ///
    /// # Errors
    /// [`ClientError::Closed`] if the connection ends first, [`ClientError::Deadline`].
    pub fn wait(self) -> Result<ReplyFrame> {
        match self.receiver.recv_timeout(self.deadline) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                Err(ClientError::Deadline { waited: self.deadline, context: "waiting for a reply" })
            }
            Err(RecvTimeoutError::Disconnected) => Err(ClientError::SessionClosed),
        }
    }
}

impl Handle {
    fn stop(&self) {
        self.shared.finish(Phase::Closed);
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            assert!(thread.join().is_ok(), "the session's thread must not panic");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends a socket both ways. One that is already closed has nothing to shut down.
fn shut_down(stream: &std::net::TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}
