//! The control file: the few facts by which a server knows, at start, what its image and log are worth.
//!
//! Owns `<dataDir>/control`, which is replaced atomically (temporary file, fsync, rename, fsync of the directory): a SNAP or
//! TRUNC takes effect by that one replace. It must never be changed in place. It fails with [`Error::Damaged`] and
//! [`Error::NewerFormat`]; `tests/control.rs` (every flip) and `tests/base_crash.rs` would catch a mistake. An absent file is a
//! first start.
//!
//! Format version 1, 256 bytes, little-endian. A field that is absent by its flag is zero.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `RKCNTRL\n` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | bytes of the file, 256 |
//! | 16 | 4 | flags: 1 ensemble id, 2 image, 4 log cut |
//! | 20 | 4 | bytes of the image's name |
//! | 24 | 8 | server id, signed |
//! | 32 | 16 | ensemble id |
//! | 48 | 4 | acceptedEpoch |
//! | 52 | 4 | currentEpoch |
//! | 56 | 8 | log generation |
//! | 64 | 8 | log cut: the last zxid of this generation that counts |
//! | 72 | 8 | history: highest zxid known durable |
//! | 80 | 8 | the image's zxid |
//! | 88 | 64 | the image's name, then zeros |
//! | 152 | 100 | zeros |
//! | 252 | 4 | crc32c of bytes 0 to 251 |

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use proto::{Epoch, ServerId, Zxid};

use crate::block::{BLOCK_BYTES_MAX, BlockReader, BlockWriter};
use crate::dirs::{DataDir, image_name, parse_image_name};
use crate::disk::{Disk, RealDisk, publish};
use crate::{Damage, Error, Result};

/// What the control file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Control {
    /// This server's id within the ensemble.
    pub server_id: ServerId,
    /// The ensemble's id; `None` until a RingKeeper leader has minted it. Unknown never refuses.
    pub ensemble_id: Option<u128>,
    /// The epoch promised to a prospective leader (`acceptedEpoch`). Durable before ACKEPOCH leaves.
    pub accepted_epoch: Epoch,
    /// The epoch of the leader last followed (`currentEpoch`). Durable before the ACK of NEWLEADER leaves.
    pub current_epoch: Epoch,
    /// The image that recovery starts from; `None` means an empty tree.
    pub image: Option<ImageRef>,
    /// The generation of the log's segments that count; recovery ignores all others.
    pub log_generation: u64,
    /// Where this generation was cut: recovery ignores records past it. `None` if nothing was cut.
    pub log_cut: Option<Zxid>,
    /// The highest zxid known durable when this was written. Image and log that reach less far have lost history.
    pub history_zxid: Zxid,
}

/// Names a published image of the same directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRef {
    /// The file's name, without a directory.
    pub file_name: String,
    /// The zxid it stands at.
    pub zxid: Zxid,
}

impl ImageRef {
    /// Names the image at this zxid.
    #[must_use]
    pub fn at(zxid: Zxid) -> ImageRef {
        ImageRef { file_name: image_name(zxid), zxid }
    }
}

impl Control {
    /// The newest format version that this program reads, and the one it writes.
    pub const FORMAT_VERSION: u32 = 1;

    /// Reads the control file of a data directory; `None` if there is none: a first start.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::NewerFormat`], or [`Error::Io`].
    pub fn load(dir: &Path) -> Result<Option<Control>> {
        let path = DataDir::new(dir).control();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("open", &path, source)),
        };
        let mut bytes = Vec::new();
        let limit = BLOCK_BYTES_MAX as u64 + 1;
        file.take(limit).read_to_end(&mut bytes).map_err(|source| Error::io("read", &path, source))?;
        Control::decode(&bytes, &path).map(Some)
    }

    /// Replaces the control file of a data directory. When it returns, the new one is durable.
    ///
    /// # Errors
    /// [`Error::NoSpace`]: the old one stands. [`Error::Io`]: the old or the new one stands; the server stops.
    pub fn replace(&self, dir: &Path) -> Result<()> {
        self.replace_on(&RealDisk, dir)
    }

    /// As [`Control::replace`], on a given disk.
    ///
    /// # Errors
    /// As [`Control::replace`].
    pub fn replace_on(&self, disk: &dyn Disk, dir: &Path) -> Result<()> {
        let data = DataDir::new(dir);
        let (temp, name) = (data.control_temp(), data.control());
        let mut file = disk.create(&temp).map_err(|source| Error::io("create", &temp, source))?;
        if let Err(source) = file.append(&self.encode()) {
            drop(file);
            // The first error is what counts; a temporary file that stays is removed at the next start.
            let _ = disk.remove(&temp);
            return Err(Error::io("write", &temp, source));
        }
        publish(disk, file, &temp, &name, dir)
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = [
            (FLAG_ENSEMBLE, self.ensemble_id.is_some()),
            (FLAG_IMAGE, self.image.is_some()),
            (FLAG_CUT, self.log_cut.is_some()),
        ]
        .into_iter()
        .fold(0, |flags, (flag, set)| if set { flags | flag } else { flags });
        let (name, image_zxid) = self.image.as_ref().map_or(("", Zxid::ZERO), |image| (&image.file_name, image.zxid));
        assert!(self.image.as_ref().is_none_or(ImageRef::is_consistent), "an image is named after its zxid");
        let name_bytes = u32::try_from(name.len()).unwrap_or(u32::MAX);
        BlockWriter::versioned(CONTROL_BYTES, MAGIC, Self::FORMAT_VERSION)
            .u32(flags)
            .u32(name_bytes)
            .i64(self.server_id.0)
            .u128(self.ensemble_id.unwrap_or(0))
            .u32(self.accepted_epoch.0)
            .u32(self.current_epoch.0)
            .u64(self.log_generation)
            .u64(self.log_cut.unwrap_or_default().0)
            .u64(self.history_zxid.0)
            .u64(image_zxid.0)
            .raw(name.as_bytes())
            .seal()
    }

    /// Reads the file's bytes; `path` is for the error.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::NewerFormat`].
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Control> {
        let damaged = |what| Error::damaged(path, 0, None, what);
        let (version, block) = BlockReader::open_versioned(bytes, MAGIC).map_err(damaged)?;
        if version > Self::FORMAT_VERSION {
            let file = path.to_path_buf();
            return Err(Error::NewerFormat { file, found: version, supported: Self::FORMAT_VERSION });
        }
        if bytes.len() != CONTROL_BYTES {
            let (found, expected) = (bytes.len() as u64, CONTROL_BYTES as u64);
            return Err(damaged(Damage::Length { found, expected }));
        }
        decode_fields(block).map_err(damaged)
    }
}

impl ImageRef {
    fn is_consistent(&self) -> bool {
        parse_image_name(&self.file_name) == Some(self.zxid)
    }
}

/// Reads what follows the preamble.
fn decode_fields(mut block: BlockReader<'_>) -> std::result::Result<Control, Damage> {
    let flags = block.u32();
    let name_bytes = block.u32() as usize;
    if flags & !(FLAG_ENSEMBLE | FLAG_IMAGE | FLAG_CUT) != 0 {
        return Err(Damage::Field("the flags"));
    }
    let server_id = ServerId(block.i64());
    let ensemble_id = present(flags & FLAG_ENSEMBLE != 0, block.u128())?;
    let accepted_epoch = Epoch(block.u32());
    let current_epoch = Epoch(block.u32());
    let log_generation = block.u64();
    let log_cut = present(flags & FLAG_CUT != 0, block.u64())?.map(Zxid);
    let history_zxid = Zxid(block.u64());
    let image_zxid = present(flags & FLAG_IMAGE != 0, block.u64())?.map(Zxid);
    let name_field: [u8; IMAGE_NAME_BYTES_MAX] = block.array();
    let bad_name = Damage::Field("the image's name");
    let (name, padding) = name_field.split_at_checked(name_bytes).ok_or(bad_name)?;
    if padding.iter().any(|&byte| byte != 0) || (image_zxid.is_none() && name_bytes != 0) {
        return Err(bad_name);
    }
    let image = match image_zxid {
        None => None,
        Some(zxid) => {
            let file_name = std::str::from_utf8(name).map_err(|_| bad_name)?.to_owned();
            Some(ImageRef { file_name, zxid }).filter(ImageRef::is_consistent).ok_or(bad_name).map(Some)?
        }
    };
    block.finish()?;
    Ok(Control { server_id, ensemble_id, accepted_epoch, current_epoch, image, log_generation, log_cut, history_zxid })
}

/// A field that is there by its flag; otherwise it must be zero.
fn present<T: Default + PartialEq>(flag: bool, value: T) -> std::result::Result<Option<T>, Damage> {
    match (flag, value == T::default()) {
        (true, _) => Ok(Some(value)),
        (false, true) => Ok(None),
        (false, false) => Err(Damage::Field("an absent field that must be zero")),
    }
}

/// Bytes of the file.
pub const CONTROL_BYTES: usize = 256;

const MAGIC: [u8; 8] = *b"RKCNTRL\n";
const FLAG_ENSEMBLE: u32 = 1;
const FLAG_IMAGE: u32 = 2;
const FLAG_CUT: u32 = 4;
const IMAGE_NAME_BYTES_MAX: usize = 64;
