//! Frames without I/O: a buffer that is filled with what a socket gives and yields whole frames, and the encoding of requests.
//!
//! It must never allocate for a length that it has not seen the bytes of, beyond the limit it was given.

use proto::request::{Request, RequestHeader};
use proto::{Writer, Xid, jute};

/// Longest frame that is accepted unless told otherwise: far above any server's `jute.maxbuffer`, since replies may exceed it.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 64 << 20;

/// Bytes of the length in front of every frame.
const LENGTH_BYTES: usize = 4;

/// A length that no frame has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Negative.
    #[error("the server announced a frame of {0} bytes: this is not ZooKeeper's protocol")]
    Negative(i32),
    /// Above the limit.
    #[error(
        "the server announced a frame of {len} bytes, the limit is {max}: not ZooKeeper's protocol, or raise the limit"
    )]
    TooLarge {
        /// What was announced.
        len: usize,
        /// The limit.
        max: usize,
    },
}

/// Bytes that have come and are not yet a frame that was taken.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// `bytes[start..end]` is unread; beyond `end` is room.
    start: usize,
    end: usize,
    frame_bytes_max: usize,
}

impl FrameBuffer {
    /// An empty buffer that refuses frames above `frame_bytes_max`.
    #[must_use]
    pub const fn new(frame_bytes_max: usize) -> FrameBuffer {
        FrameBuffer { bytes: Vec::new(), start: 0, end: 0, frame_bytes_max }
    }

    /// Room for at least `min` more bytes, to be filled by a read and announced with [`FrameBuffer::filled`].
    pub fn room(&mut self, min: usize) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.bytes.len() - self.end < min {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.end < min {
            self.bytes.resize(self.end + min, 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// `count` bytes have been read into the room.
    ///
    /// # Panics
    /// If there was less room.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.end, "a read filled more than the room it was given");
        self.end += count;
    }

    /// Takes the next whole frame, without its length.
    ///
    /// # Errors
    /// [`FrameError`]; nothing after it can be read.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let unread = self.bytes.get(self.start..self.end).unwrap_or_default();
        let Some((length, rest)) = unread.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let len = usize::try_from(length).map_err(|_| FrameError::Negative(length))?;
        if len > self.frame_bytes_max {
            return Err(FrameError::TooLarge { len, max: self.frame_bytes_max });
        }
        let frame = rest.get(..len);
        if frame.is_some() {
            self.start += LENGTH_BYTES + len;
        }
        Ok(frame)
    }

    /// Bytes that have come and belong to no frame that was taken.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

/// Appends a request's whole frame to `out`.
pub fn encode_request(out: &mut Vec<u8>, xid: Xid, request: &Request<'_>) {
    jute::frame(out, |w: &mut Writer<'_>| {
        RequestHeader { xid, op: request.op().to_wire() }.write(w);
        request.write(w);
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(buffer: &mut FrameBuffer, bytes: &[u8]) {
        buffer.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
    }

    #[test]
    fn lengths_outside_the_limit_are_refused_before_their_bytes_come() {
        let mut buffer = FrameBuffer::new(10);
        feed(&mut buffer, &11i32.to_be_bytes());
        assert_eq!(buffer.next_frame(), Err(FrameError::TooLarge { len: 11, max: 10 }));
        let mut buffer = FrameBuffer::new(10);
        feed(&mut buffer, &(-5i32).to_be_bytes());
        assert_eq!(buffer.next_frame(), Err(FrameError::Negative(-5)));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
            cuts in prop::collection::vec(1usize..40, 1..50),
        ) {
            let mut stream = Vec::new();
            for frame in &frames {
                jute::frame(&mut stream, |w| w.raw(frame));
            }
            let mut buffer = FrameBuffer::new(50);
            let mut got: Vec<Vec<u8>> = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                rest = tail;
                feed(&mut buffer, piece);
                while let Some(frame) = buffer.next_frame().unwrap() {
                    got.push(frame.to_vec());
                }
            }
            prop_assert_eq!(got, frames);
            prop_assert!(buffer.unread().is_empty());
        }
    }
}
