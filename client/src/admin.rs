//! Four-letter words: `ruok`, `srvr`, `mntr` and the like, one per connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::error::{ClientError, Result};

/// Most bytes that are read of an answer: `wchp` of a large server may be longer and is cut.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Sends a four-letter word and reads the whole answer, up to the server's close.
///
/// # Errors
/// [`ClientError::Io`], [`ClientError::Deadline`] if the server has not closed within `deadline`.
pub fn four_letter_word(addr: SocketAddr, word: &str, deadline: Duration) -> Result<String> {
    let context = "a four-letter word";
    let begun = Instant::now();
    let mut stream = TcpStream::connect_timeout(&addr, deadline).map_err(ClientError::io("connecting"))?;
    stream.set_write_timeout(Some(deadline)).map_err(ClientError::io(context))?;
    stream.write_all(word.as_bytes()).map_err(ClientError::io(context))?;
    let mut answer = Vec::new();
    let mut piece = [0; 8192];
    while answer.len() < ANSWER_BYTES_MAX {
        let left = deadline.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(ClientError::Deadline { waited: deadline, context });
        }
        stream.set_read_timeout(Some(left)).map_err(ClientError::io(context))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(e) if is_timeout(&e) => {}
            // A server that closes with our bytes unread resets the connection; what came before counts.
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset && !answer.is_empty() => break,
            Err(e) => return Err(ClientError::io(context)(e)),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

pub(crate) fn is_timeout(e: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
