//! The identity file: whose directory this is, so that the loss of one shows (law 10).
//!
//! Owns `identity`, which lies in `dataDir` and in `dataLogDir` from the first start on, with the same bytes in both. It is replaced atomically, as the
//! control file is. The log directory's is written first: who finds `dataDir`'s alone knows that the log directory has been lost, not that a first start was
//! cut short. It must never decide what follows from an absent or a foreign one: that is the server's. It fails with [`Error::Damaged`] and
//! [`Error::NewerFormat`]; the tests below (every flip) would catch a mistake.
//!
//! Format version 1, 64 bytes, little-endian. A field that is absent by its flag is zero.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `RKIDENT\n` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | bytes of the file, 64 |
//! | 16 | 4 | flags: 1 ensemble id, 2 server id, 4 has voted |
//! | 20 | 4 | zeros |
//! | 24 | 8 | server id, signed |
//! | 32 | 16 | ensemble id |
//! | 48 | 12 | zeros |
//! | 60 | 4 | crc32c of bytes 0 to 59 |

use std::path::Path;

use proto::ServerId;

use crate::block::{BlockReader, BlockWriter};
use crate::dirs::DataDir;
use crate::disk::{Disk, RealDisk};
use crate::{Damage, Error, Result, small};

/// Whose directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// The ensemble's id; `None` until a RingKeeper leader has minted it. Unknown never refuses.
    pub ensemble: Option<u128>,
    /// The server's id within its ensemble; `None` of one that stands alone and has no `myid`.
    pub server: Option<ServerId>,
    /// May others count on what this server has? From its first start as a member of an ensemble on, and durable in both directories before it says
    /// anything to another server. Never taken back.
    pub has_voted: bool,
}

impl Identity {
    /// The newest format version that is read and written.
    pub const FORMAT_VERSION: u32 = 1;

    /// Reads a directory's identity; `None` if it has none.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::NewerFormat`], [`Error::Io`].
    pub fn load(dir: &Path) -> Result<Option<Identity>> {
        let path = DataDir::new(dir).identity();
        small::read(&path)?.map(|bytes| Identity::decode(&bytes, &path)).transpose()
    }

    /// Replaces a directory's identity. When it returns, the new one is durable.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: the old one stands. [`Error::Io`]: the old or the new one stands.
    pub fn replace(&self, dir: &Path) -> Result<()> {
        self.replace_on(&RealDisk, dir)
    }

    /// As [`Identity::replace`], on a given disk.
    ///
    /// # Errors
    /// As [`Identity::replace`].
    pub fn replace_on(&self, disk: &dyn Disk, dir: &Path) -> Result<()> {
        let data = DataDir::new(dir);
        small::replace(disk, dir, &data.identity_temp(), &data.identity(), &self.encode())
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = [
            (FLAG_ENSEMBLE, self.ensemble.is_some()),
            (FLAG_SERVER, self.server.is_some()),
            (FLAG_HAS_VOTED, self.has_voted),
        ]
        .into_iter()
        .fold(0, |flags, (flag, set)| if set { flags | flag } else { flags });
        BlockWriter::versioned(IDENTITY_BYTES, MAGIC, Self::FORMAT_VERSION)
            .u32(flags)
            .u32(0)
            .i64(self.server.unwrap_or_default().0)
            .u128(self.ensemble.unwrap_or_default())
            .seal()
    }

    /// Reads the file's bytes; `path` is for the error.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::NewerFormat`].
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Identity> {
        let damaged = |what| Error::damaged(path, 0, None, what);
        let (version, block) = BlockReader::open_versioned(bytes, MAGIC).map_err(damaged)?;
        if version > Self::FORMAT_VERSION {
            let file = path.to_path_buf();
            return Err(Error::NewerFormat { file, found: version, supported: Self::FORMAT_VERSION });
        }
        if bytes.len() != IDENTITY_BYTES {
            let (found, expected) = (bytes.len() as u64, IDENTITY_BYTES as u64);
            return Err(damaged(Damage::Length { found, expected }));
        }
        decode_fields(block).map_err(damaged)
    }
}

/// Reads what follows the preamble.
fn decode_fields(mut block: BlockReader<'_>) -> std::result::Result<Identity, Damage> {
    let flags = block.u32();
    if flags & !(FLAG_ENSEMBLE | FLAG_SERVER | FLAG_HAS_VOTED) != 0 || block.u32() != 0 {
        return Err(Damage::Field("the flags"));
    }
    let (server, ensemble) = (block.i64(), block.u128());
    block.finish()?;
    let absent = Damage::Field("an absent field that must be zero");
    let server = match flags & FLAG_SERVER != 0 {
        true => Some(ServerId(server)),
        false if server == 0 => None,
        false => return Err(absent),
    };
    let ensemble = match flags & FLAG_ENSEMBLE != 0 {
        true => Some(ensemble),
        false if ensemble == 0 => None,
        false => return Err(absent),
    };
    Ok(Identity { ensemble, server, has_voted: flags & FLAG_HAS_VOTED != 0 })
}

/// Bytes of the file.
pub const IDENTITY_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"RKIDENT\n";
const FLAG_ENSEMBLE: u32 = 1;
const FLAG_SERVER: u32 = 2;
const FLAG_HAS_VOTED: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Identity; 4] = [
        Identity { ensemble: None, server: None, has_voted: false },
        Identity { ensemble: None, server: Some(ServerId(0)), has_voted: false },
        Identity { ensemble: None, server: Some(ServerId(3)), has_voted: true },
        Identity { ensemble: Some(1 << 100), server: Some(ServerId(255)), has_voted: true },
    ];

    #[test]
    fn an_absent_file_is_no_identity_and_a_replaced_one_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), None);
        for identity in ALL {
            identity.replace(dir.path()).unwrap();
            assert_eq!(Identity::load(dir.path()).unwrap(), Some(identity));
        }
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["identity"]);
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_found() {
        for identity in ALL {
            let bytes = identity.encode();
            assert_eq!(bytes.len(), IDENTITY_BYTES);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                if let Some(byte) = flipped.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
                let error = Identity::decode(&flipped, Path::new("identity")).unwrap_err();
                assert!(matches!(error, Error::Damaged { .. }), "bit {bit}: {error}");
            }
            for len in 0..bytes.len() {
                assert!(Identity::decode(bytes.get(..len).unwrap(), Path::new("identity")).is_err(), "{len} bytes");
            }
            assert!(Identity::decode(&[&bytes[..], &[0]].concat(), Path::new("identity")).is_err());
        }
    }

    #[test]
    fn a_newer_format_is_named_and_the_first_one_stays_readable() {
        let newer = BlockWriter::versioned(128, MAGIC, 2).seal();
        let error = Identity::decode(&newer, Path::new("identity")).unwrap_err();
        assert!(matches!(error, Error::NewerFormat { found: 2, supported: 1, .. }), "{error}");
        // Format 1 as it was first written: the bytes on disk never change.
        let mut first = b"RKIDENT\n\x01\0\0\0\x40\0\0\0\x06\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0".to_vec();
        first.resize(IDENTITY_BYTES - 4, 0);
        first.extend(crc32c::crc32c(&first).to_le_bytes());
        assert_eq!(ALL[2].encode(), first);
    }

    #[test]
    fn sealed_fields_that_no_writer_writes_are_damage() {
        let block = |flags: u32, zero: u32, server: i64| {
            BlockWriter::versioned(IDENTITY_BYTES, MAGIC, 1).u32(flags).u32(zero).i64(server).seal()
        };
        for bad in [block(8, 0, 0), block(0, 1, 0), block(0, 0, 1)] {
            assert!(matches!(Identity::decode(&bad, Path::new("identity")), Err(Error::Damaged { .. })));
        }
    }
}
