//! How a snapshot is packed: by the end of its name (`SnapStream.StreamMode`).

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::snappy::{SnappyReader, SnappyWriter};

/// How a snapshot is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip, `.gz`.
    Gzip,
    /// Snappy in the framing of snappy-java's `SnappyOutputStream`, `.snappy`: a header of 16 bytes, then blocks of up to 32 KiB, each an int
    /// length and the packed bytes. Not the framing that Snappy itself defines.
    Snappy,
}

impl Compression {
    /// All of them.
    pub const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Snappy];

    /// The end of the file's name, with its dot.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Snappy => ".snappy",
        }
    }

    /// The unpacked bytes of an open file.
    pub(super) fn unpack(self, file: File) -> Box<dyn BufRead + Send> {
        let packed = BufReader::with_capacity(BUFFER_BYTES, file);
        match self {
            Compression::None => Box::new(packed),
            Compression::Gzip => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(packed))),
            Compression::Snappy => Box::new(SnappyReader::new(packed)),
        }
    }

    /// Packs what is written into an open file.
    pub(super) fn pack(self, file: File) -> Packer {
        let packed = BufWriter::with_capacity(BUFFER_BYTES, file);
        match self {
            Compression::None => Packer::None(packed),
            Compression::Gzip => Packer::Gzip(GzEncoder::new(packed, flate2::Compression::default())),
            Compression::Snappy => Packer::Snappy(SnappyWriter::new(packed)),
        }
    }
}

/// A file that is being packed.
#[derive(Debug)]
pub(super) enum Packer {
    None(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Snappy(SnappyWriter<BufWriter<File>>),
}

impl Packer {
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Packer::None(out) => out.write_all(bytes),
            Packer::Gzip(out) => out.write_all(bytes),
            Packer::Snappy(out) => out.write_all(bytes),
        }
    }

    /// Everything is in the file now, but not yet durable.
    pub(super) fn finish(self) -> io::Result<File> {
        let mut out = match self {
            Packer::None(out) => out,
            Packer::Gzip(out) => out.finish()?,
            Packer::Snappy(out) => out.finish()?,
        };
        out.flush()?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Bytes that are read or written at once.
const BUFFER_BYTES: usize = 64 << 10;
