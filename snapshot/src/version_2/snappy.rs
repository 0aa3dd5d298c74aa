//! The framing of snappy-java's `SnappyOutputStream` and `SnappyInputStream`, which ZooKeeper uses for `.snappy`.
//!
//! | part | bytes |
//! |---|---|
//! | header | `82 53 4e 41 50 50 59 00`, int 1 (version), int 1 (least version that can read it) |
//! | block | int length of the packed bytes, then those: raw Snappy of up to 32 KiB |
//! | end | the end of the file; another header may stand instead of a block (files put one behind the other) |

use std::fmt;
use std::io::{self, BufRead, Read, Write};

/// Unpacks.
pub(super) struct SnappyReader<R> {
    from: R,
    packed: Vec<u8>,
    block: Vec<u8>,
    /// What of the block has been read.
    at: usize,
    begun: bool,
}

impl<R: Read> SnappyReader<R> {
    pub(super) fn new(from: R) -> SnappyReader<R> {
        SnappyReader { from, packed: Vec::new(), block: Vec::new(), at: 0, begun: false }
    }

    /// Reads the next block; leaves none at the end of the file.
    fn next_block(&mut self) -> io::Result<()> {
        self.block.clear();
        self.at = 0;
        loop {
            let Some(word) = self.word()? else {
                return if self.begun { Ok(()) } else { Err(invalid("the header is missing")) };
            };
            if word == HEADER_WORD {
                let mut rest = [0; HEADER.len() - 4];
                self.from.read_exact(&mut rest)?;
                if !HEADER.ends_with(&rest) {
                    return Err(invalid("the header is not one"));
                }
                self.begun = true;
                continue;
            }
            let bytes = usize::try_from(i32::from_be_bytes(word)).ok().filter(|bytes| *bytes <= BLOCK_BYTES_MAX);
            let bytes = bytes.filter(|_| self.begun).ok_or_else(|| invalid("the length of a block is impossible"))?;
            self.packed.resize(bytes, 0);
            self.from.read_exact(&mut self.packed)?;
            let unpacked = snap::raw::decompress_len(&self.packed).map_err(invalid)?;
            if unpacked > BLOCK_BYTES_MAX {
                return Err(invalid("a block is too large"));
            }
            self.block.resize(unpacked, 0);
            let found = snap::raw::Decoder::new().decompress(&self.packed, &mut self.block).map_err(invalid)?;
            self.block.truncate(found);
            if found > 0 {
                return Ok(());
            }
        }
    }

    /// Four bytes; `None` at the end of the file.
    fn word(&mut self) -> io::Result<Option<[u8; 4]>> {
        let mut word = [0; 4];
        let mut have = 0;
        while let Some(rest) = word.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.from.read(rest) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(word))
    }
}

impl<R: Read> BufRead for SnappyReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.block.len() {
            self.next_block()?;
        }
        Ok(self.block.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, bytes: usize) {
        self.at = self.block.len().min(self.at + bytes);
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R> fmt::Debug for SnappyReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnappyReader").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Packs.
pub(super) struct SnappyWriter<W> {
    to: W,
    block: Vec<u8>,
    packed: Vec<u8>,
    begun: bool,
}

impl<W: Write> SnappyWriter<W> {
    pub(super) fn new(to: W) -> SnappyWriter<W> {
        SnappyWriter { to, block: Vec::with_capacity(BLOCK_BYTES), packed: Vec::new(), begun: false }
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.block.len();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(now);
            bytes = rest;
            if self.block.len() == BLOCK_BYTES {
                self.write_block()?;
            }
        }
        Ok(())
    }

    /// Everything has been handed on.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() || !self.begun {
            self.write_block()?;
        }
        Ok(self.to)
    }

    fn write_block(&mut self) -> io::Result<()> {
        if !self.begun {
            self.to.write_all(&HEADER)?;
            self.begun = true;
        }
        self.packed.resize(snap::raw::max_compress_len(self.block.len()), 0);
        let bytes = snap::raw::Encoder::new().compress(&self.block, &mut self.packed).map_err(invalid)?;
        self.packed.truncate(bytes);
        let length = i32::try_from(bytes).map_err(invalid)?;
        self.to.write_all(&length.to_be_bytes())?;
        self.to.write_all(&self.packed)?;
        self.block.clear();
        Ok(())
    }
}

impl<W> fmt::Debug for SnappyWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnappyWriter").field("gathered", &self.block.len()).finish_non_exhaustive()
    }
}

fn invalid(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

const HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// How the header begins; as a block's length it would be negative.
const HEADER_WORD: [u8; 4] = [0x82, b'S', b'N', b'A'];
/// Bytes of a block that we write: what snappy-java writes.
const BLOCK_BYTES: usize = 32 << 10;
/// Bytes of a block that we read at the most, packed or not: far above the 512 KiB that snappy-java allows.
const BLOCK_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut writer = SnappyWriter::new(Vec::new());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_was_packed_comes_out_again_also_from_two_files_in_one() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let mut both = packed(&text);
        both.extend(packed(b"more"));
        both.extend(packed(b""));
        let mut out = Vec::new();
        SnappyReader::new(both.as_slice()).read_to_end(&mut out).unwrap();
        assert_eq!(out, [&text[..], b"more"].concat());
    }

    #[test]
    fn what_is_cut_or_has_no_header_is_refused() {
        let whole = packed(b"some text, some text, some text");
        for bytes in 0..whole.len() {
            let cut = SnappyReader::new(whole.get(..bytes).unwrap()).read_to_end(&mut Vec::new());
            // Nothing but a header is a packed nothing.
            assert_eq!(cut.is_ok(), bytes == HEADER.len(), "{bytes} bytes");
        }
        let headless = whole.get(HEADER.len()..).unwrap();
        assert!(SnappyReader::new(headless).read_to_end(&mut Vec::new()).is_err());
    }
}
