//! One blocking connection of raw frames: bytes out, frames in, with a bound on how long a server may be silent.

use proto::connect::ConnectRequest;
use proto::jute::frame;
use proto::{SessionId, Zxid};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may be silent before that counts as its answer.
pub const SILENCE: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    read_to: usize,
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A frame, without its length.
    Frame(Vec<u8>),
    /// The server has closed the connection.
    Closed,
    /// Nothing for [`SILENCE`].
    Silence,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(address: SocketAddr) -> io::Result<Wire> {
        let stream = TcpStream::connect_timeout(&address, SILENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Wire { stream, buffer: Vec::new(), read_to: 0 })
    }

    /// Sends bytes. A connection that the server has closed takes them too: reading tells.
    pub fn send(&mut self, bytes: &[u8]) {
        let _told_by_reading = self.stream.write_all(bytes);
    }

    /// The next frame.
    pub fn receive(&mut self) -> Incoming {
        loop {
            if let Some(frame) = self.take_frame() {
                return Incoming::Frame(frame);
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Incoming::Closed,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Incoming::Silence;
                }
                Err(_reset) => return Incoming::Closed,
            }
        }
    }

    fn take_frame(&mut self) -> Option<Vec<u8>> {
        let rest = &self.buffer[self.read_to..];
        let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?);
        let end = 4 + usize::try_from(length).ok()?;
        let frame = rest.get(4..end)?.to_vec();
        self.read_to += end;
        if self.read_to == self.buffer.len() {
            self.buffer.clear();
            self.read_to = 0;
        }
        Some(frame)
    }
}

/// A handshake. `read_only`: whether the byte is sent, and what it says.
pub(crate) fn connect_frame(
    timeout_ms: i32,
    id: SessionId,
    password: &[u8],
    last_zxid: i64,
    read_only: Option<bool>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let last_zxid_seen = Zxid::from_wire(last_zxid);
    let request =
        ConnectRequest { protocol_version: 0, last_zxid_seen, timeout_ms, session_id: id, password, read_only };
    frame(&mut bytes, |w| request.write(w));
    bytes
}
