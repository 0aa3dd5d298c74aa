//! The control file's bytes: one block of a fixed size.
//!
//! Format version 2, 1024 bytes, little-endian. A field that is absent by its flag is zero. Up to offset 152 it is format version 1, which had 256
//! bytes and zeros from there on; it is read still, and knows nothing of what came later: no former state, no spans, a whole history,
//! no vote.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `RKCNTRL\n` |
//! | 8 | 4 | format version, 2 |
//! | 12 | 4 | bytes of the file, 1024 |
//! | 16 | 4 | flags: 1 ensemble id, 2 image, 4 log cut, 8 former, 16 former image, 32 history not whole, 64 has voted |
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
//! | 152 | 8 | former: the log's generation |
//! | 160 | 8 | former: the image's zxid, by which it is named |
//! | 168 | 8 | spans: the floor |
//! | 176 | 4 | spans: how many, 64 at most; 0: nothing is known below the image |
//! | 180 | 4 | zeros |
//! | 184 | 512 | spans: epoch and newest counter, four bytes each, oldest epoch first; then zeros. The last is the image's zxid |
//! | 696 | 324 | zeros |
//! | 1020 | 4 | crc32c of bytes 0 to 1019 |

use std::path::Path;

use proto::{Epoch, ServerId, Zxid};

use super::{Control, Former, ImageRef, Spans};
use crate::block::{BlockReader, BlockWriter};
use crate::{Damage, Error, Result};

/// Bytes of the file.
pub const CONTROL_BYTES: usize = 1024;
/// Bytes of the file in format version 1.
const CONTROL_BYTES_1: usize = 256;

const MAGIC: [u8; 8] = *b"RKCNTRL\n";
const FLAG_ENSEMBLE: u32 = 1;
const FLAG_IMAGE: u32 = 2;
const FLAG_CUT: u32 = 4;
const FLAG_FORMER: u32 = 8;
const FLAG_FORMER_IMAGE: u32 = 16;
const FLAG_NOT_WHOLE: u32 = 32;
const FLAG_VOTED: u32 = 64;
const FLAGS_1: u32 = FLAG_ENSEMBLE | FLAG_IMAGE | FLAG_CUT;
const FLAGS_2: u32 = FLAGS_1 | FLAG_FORMER | FLAG_FORMER_IMAGE | FLAG_NOT_WHOLE | FLAG_VOTED;
const IMAGE_NAME_BYTES_MAX: usize = 64;

impl Control {
    /// The file's bytes.
    ///
    /// # Panics
    /// If an image is not named after its zxid, or the spans do not end with the image's: our own bug.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let former_image = self.former.as_ref().and_then(|former| former.image.as_ref());
        for image in self.image.iter().chain(former_image) {
            assert!(image.is_consistent(), "an image is named after its zxid");
        }
        let ends_with_image = |spans: &Spans| spans.is_consistent() && spans.last() == self.base_zxid();
        assert!(self.spans.as_ref().is_none_or(ends_with_image), "the spans end with the image's zxid");
        let (name, image_zxid) = self.image.as_ref().map_or(("", Zxid::ZERO), |image| (&image.file_name, image.zxid));
        let mut padded_name = [0; IMAGE_NAME_BYTES_MAX];
        padded_name.iter_mut().zip(name.as_bytes()).for_each(|(to, from)| *to = *from);
        let (floor, ends) = self.spans.as_ref().map_or((Zxid::ZERO, &[][..]), |spans| (spans.floor(), spans.ends()));
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let mut block = BlockWriter::versioned(CONTROL_BYTES, MAGIC, Self::FORMAT_VERSION)
            .u32(self.flags())
            .u32(count(name.len()))
            .i64(self.server_id.0)
            .u128(self.ensemble_id.unwrap_or(0))
            .u32(self.accepted_epoch.0)
            .u32(self.current_epoch.0)
            .u64(self.log_generation)
            .u64(self.log_cut.unwrap_or_default().0)
            .u64(self.history_zxid.0)
            .u64(image_zxid.0)
            .raw(&padded_name)
            .u64(self.former.as_ref().map_or(0, |former| former.log_generation))
            .u64(former_image.map_or(0, |image| image.zxid.0))
            .u64(floor.0)
            .u32(count(ends.len()))
            .u32(0);
        for (epoch, counter) in ends {
            block = block.u32(epoch.0).u32(*counter);
        }
        block.seal()
    }

    fn flags(&self) -> u32 {
        let former_image = self.former.as_ref().is_some_and(|former| former.image.is_some());
        [
            (FLAG_ENSEMBLE, self.ensemble_id.is_some()),
            (FLAG_IMAGE, self.image.is_some()),
            (FLAG_CUT, self.log_cut.is_some()),
            (FLAG_FORMER, self.former.is_some()),
            (FLAG_FORMER_IMAGE, former_image),
            (FLAG_NOT_WHOLE, !self.is_whole),
            (FLAG_VOTED, self.has_voted),
        ]
        .into_iter()
        .fold(0, |flags, (flag, set)| if set { flags | flag } else { flags })
    }

    /// Reads the file's bytes, of this format version or the one before; `path` is for the error.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::NewerFormat`].
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Control> {
        let damaged = |what| Error::damaged(path, 0, None, what);
        let (version, block) = BlockReader::open_versioned(bytes, MAGIC).map_err(damaged)?;
        let expected = match version {
            1 => CONTROL_BYTES_1,
            Self::FORMAT_VERSION => CONTROL_BYTES,
            found => {
                let file = path.to_path_buf();
                return Err(Error::NewerFormat { file, found, supported: Self::FORMAT_VERSION });
            }
        };
        if bytes.len() != expected {
            let (found, expected) = (bytes.len() as u64, expected as u64);
            return Err(damaged(Damage::Length { found, expected }));
        }
        decode_fields(block, version).map_err(damaged)
    }
}

/// Reads what follows the preamble.
fn decode_fields(mut block: BlockReader<'_>, version: u32) -> std::result::Result<Control, Damage> {
    let flags = block.u32();
    let name_bytes = block.u32() as usize;
    if flags & !(if version == 1 { FLAGS_1 } else { FLAGS_2 }) != 0 {
        return Err(Damage::Field("the flags"));
    }
    let mut control = Control {
        server_id: ServerId(block.i64()),
        ensemble_id: present(flags & FLAG_ENSEMBLE != 0, block.u128())?,
        accepted_epoch: Epoch(block.u32()),
        current_epoch: Epoch(block.u32()),
        log_generation: block.u64(),
        log_cut: present(flags & FLAG_CUT != 0, block.u64())?.map(Zxid),
        history_zxid: Zxid(block.u64()),
        is_whole: flags & FLAG_NOT_WHOLE == 0,
        has_voted: flags & FLAG_VOTED != 0,
        ..Control::default()
    };
    let image_zxid = present(flags & FLAG_IMAGE != 0, block.u64())?.map(Zxid);
    control.image = decode_image(image_zxid, block.array(), name_bytes)?;
    if version > 1 {
        let generation = present(flags & FLAG_FORMER != 0, block.u64())?;
        let image = present(flags & FLAG_FORMER_IMAGE != 0, block.u64())?.map(|zxid| ImageRef::at(Zxid(zxid)));
        control.former = match (generation, image) {
            (Some(log_generation), image) => Some(Former { image, log_generation }),
            (None, Some(_)) => return Err(Damage::Field("a former image without its log")),
            (None, None) => None,
        };
        control.spans = decode_spans(&mut block, control.base_zxid())?;
    }
    block.finish()?;
    Ok(control)
}

fn decode_image(
    zxid: Option<Zxid>,
    name_field: [u8; IMAGE_NAME_BYTES_MAX],
    name_bytes: usize,
) -> std::result::Result<Option<ImageRef>, Damage> {
    let bad_name = Damage::Field("the image's name");
    let (name, padding) = name_field.split_at_checked(name_bytes).ok_or(bad_name)?;
    if padding.iter().any(|&byte| byte != 0) || (zxid.is_none() && name_bytes != 0) {
        return Err(bad_name);
    }
    let Some(zxid) = zxid else { return Ok(None) };
    let file_name = std::str::from_utf8(name).map_err(|_| bad_name)?.to_owned();
    Some(ImageRef { file_name, zxid }).filter(ImageRef::is_consistent).ok_or(bad_name).map(Some)
}

fn decode_spans(block: &mut BlockReader<'_>, image_zxid: Zxid) -> std::result::Result<Option<Spans>, Damage> {
    let bad_spans = Damage::Field("the spans of the history");
    let floor = Zxid(block.u64());
    let (count, zeros) = (block.u32() as usize, block.u32());
    if count > Spans::COUNT_MAX || zeros != 0 || (count == 0 && floor != Zxid::ZERO) {
        return Err(bad_spans);
    }
    let ends: Vec<(Epoch, u32)> = (0..count).map(|_| (Epoch(block.u32()), block.u32())).collect();
    if count == 0 {
        return Ok(None);
    }
    Spans::new(floor, ends).filter(|spans| spans.last() == image_zxid).ok_or(bad_spans).map(Some)
}

/// A field that is there by its flag; otherwise it must be zero.
fn present<T: Default + PartialEq>(flag: bool, value: T) -> std::result::Result<Option<T>, Damage> {
    match (flag, value == T::default()) {
        (true, _) => Ok(Some(value)),
        (false, true) => Ok(None),
        (false, false) => Err(Damage::Field("an absent field that must be zero")),
    }
}
