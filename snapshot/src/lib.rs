//! The rkyv image and the control file: what a server finds of its state when it starts, beside the log.
//!
//! Owns the names in the data directory ([`dirs`]), the control file ([`control`]), the identity ([`identity`]), and the image of the whole tree at one zxid:
//! of format version 2 ([`base`]), served in place, and of version 1 ([`image`]), one file that is loaded. [`fault`]
//! names the file behind a fault on a mapped page. [`store`] changes which image and log are in force. [`standing`] says whether a server may vote with what lies there. [`sim_disk`] is the disk of crash tests and of the simulator. It must never know the tree's rules, the network or the log's bytes, and never
//! change a published file in place. It fails with [`Error`], which names file, offset, zxid and segment. A mistake would be caught by `tests/flips.rs` and `tests/base_flips.rs` (no damaged byte passes), `tests/base_crash.rs` (the disk
//! frozen at every step), `tests/base_round_trip.rs`, and the committed files in `tests/fixtures`.
//!
//! The law it serves: every byte from disk is covered by a checksum that is checked before it is served.

#![deny(unsafe_code)]

pub mod base;
mod block;
pub mod control;
pub mod dirs;
pub mod disk;
mod error;
pub mod fault;
mod growing;
mod header;
pub mod identity;
pub mod image;
mod retention;
pub mod sim_disk;
mod small;
pub mod standing;
pub mod store;
pub mod version_2;

pub use control::{Control, ControlFile, ImageRef};
pub use dirs::DataDir;
pub use error::{Damage, Error, Result};
pub use identity::Identity;
pub use image::{AclRecord, Image, ImageTotals, NodeRecord, SessionRecord, verify};
pub use retention::is_pointed_into;

/// An image of a format that this program reads.
#[derive(Debug)]
pub enum AnyImage {
    /// Of version 1: to be read whole.
    Whole(Image),
    /// Of version 2: served from where it lies.
    Mapped(std::sync::Arc<base::Base>),
}

impl AnyImage {
    /// Opens it.
    ///
    /// # Errors
    /// As [`base::Base::open`] and [`Image::open`].
    pub fn open(dir: &std::path::Path, image: &ImageRef) -> Result<AnyImage> {
        match base::Base::open(dir, image) {
            Err(Error::OlderFormat { .. }) => Image::open(&dir.join(&image.file_name)).map(AnyImage::Whole),
            base => base.map(|base| AnyImage::Mapped(std::sync::Arc::new(base))),
        }
    }
}
