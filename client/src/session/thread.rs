//! The session's thread: it connects, reads, pings and connects again.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::link::{Phase, Shared};
use super::{SessionEvent, SessionOptions};
use crate::admin::is_timeout;
use crate::codec::FrameBuffer;
use crate::connection::{ConnectOptions, Connection};
use crate::error::{ClientError, Result};

/// Between two attempts to reach a server, once every server has been tried.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Room that is offered to each read.
const READ_BYTES: usize = 16 << 10;

pub(super) fn start(
    shared: Arc<Shared>,
    options: SessionOptions,
    events: Sender<SessionEvent>,
) -> Result<JoinHandle<()>> {
    let body = move || run(&shared, &options, &events);
    std::thread::Builder::new().name("zk-session".to_owned()).spawn(body).map_err(ClientError::io("starting a thread"))
}

fn run(shared: &Shared, options: &SessionOptions, events: &Sender<SessionEvent>) {
    // Nobody need listen to the events: a send that fails is no fault.
    let tell = |event| drop(events.send(event));
    let mut next = 0;
    while let Some((addr, connection)) = find_server(shared, options, &mut next, &tell) {
        let Some(session) = connection.session().copied() else { continue };
        let (stream, input) = connection.into_parts();
        // Dispatch starts only after this: no reply can come before its request is registered.
        match shared.attach(&stream, session) {
            Ok(true) => tell(SessionEvent::Connected(addr)),
            Ok(false) => return,
            Err(_) => {
                if shared.detach() {
                    continue;
                }
                return;
            }
        }
        // Whatever the reason, the remedy is another connection.
        let _ = serve(shared, stream, input, u64::from(session.timeout_ms.unsigned_abs()), &tell);
        let goes_on = shared.detach();
        tell(SessionEvent::Disconnected);
        if !goes_on {
            return;
        }
    }
}

/// Tries the servers in turn until one takes the session. `None`: the session is over.
fn find_server(
    shared: &Shared,
    options: &SessionOptions,
    next: &mut usize,
    tell: &impl Fn(SessionEvent),
) -> Option<(SocketAddr, Connection)> {
    let mut tried = 0;
    loop {
        let addr = *options.servers.get(*next % options.servers.len().max(1))?;
        *next += 1;
        match try_server(shared, options, addr) {
            Ok(connection) => return Some((addr, connection)),
            Err(ClientError::SessionExpired) => {
                shared.finish(Phase::Expired);
                tell(SessionEvent::Expired);
                return None;
            }
            Err(_) => tried += 1,
        }
        let pause = if tried % options.servers.len() == 0 { RETRY_PAUSE } else { Duration::ZERO };
        if !shared.pause(pause) {
            return None;
        }
    }
}

fn try_server(shared: &Shared, options: &SessionOptions, addr: SocketAddr) -> Result<Connection> {
    let connect = {
        let state = shared.state();
        ConnectOptions {
            timeout_ms: options.timeout_ms,
            renew: state.session.map(|session| (session.session_id, session.password)),
            last_zxid_seen: state.last_zxid,
            read_only: Some(options.read_only),
            deadline: Duration::from_millis(u64::from(options.timeout_ms.unsigned_abs()) / 3).min(options.deadline),
            ..ConnectOptions::default()
        }
    };
    Connection::connect(addr, &connect)
}

/// Reads until the connection ends or the server has been silent for two thirds of the session timeout.
fn serve(
    shared: &Shared,
    mut stream: TcpStream,
    mut input: FrameBuffer,
    timeout_ms: u64,
    tell: &impl Fn(SessionEvent),
) -> Result<()> {
    const CONTEXT: &str = "reading from the server";
    let silence_max = Duration::from_millis(timeout_ms * 2 / 3);
    let idle_max = silence_max / 2;
    let tick = (idle_max / 4).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(tick)).map_err(ClientError::io(CONTEXT))?;
    stream.set_write_timeout(Some(silence_max.max(tick))).map_err(ClientError::io(CONTEXT))?;
    let mut heard_at = Instant::now();
    loop {
        while let Some(frame) = input.next_frame()? {
            if let Some(event) = shared.dispatch(frame)? {
                tell(SessionEvent::Watch(event));
            }
        }
        shared.ping_if_idle(idle_max)?;
        match stream.read(input.room(READ_BYTES)) {
            Ok(0) => return Err(ClientError::Closed { context: CONTEXT }),
            Ok(count) => {
                input.filled(count);
                heard_at = Instant::now();
            }
            Err(e) if is_timeout(&e) => {
                if heard_at.elapsed() > silence_max {
                    return Err(ClientError::Deadline { waited: silence_max, context: CONTEXT });
                }
            }
            Err(e) => return Err(ClientError::io(CONTEXT)(e)),
        }
    }
}
