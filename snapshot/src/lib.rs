//! The rkyv image and the control file: what a server finds of its state when it starts, beside the log.
//!
//! Owns the names in the data directory ([`dirs`]), the control file ([`control`]), and the image: one file with the whole
//! tree at one zxid ([`image`]). It must never know the tree's rules, the network or the log's bytes, and never change a
//! published file in place. It fails with [`Error`], which names file, offset, zxid and segment. A mistake in it would be
//! caught by `tests/flips.rs` (no damaged byte passes), `tests/crash.rs` (the disk frozen at every step),
//! `tests/round_trip.rs`, and the committed files in `tests/fixtures`.
//!
//! The law it serves: every byte from disk is covered by a checksum that is checked before it is served.

#![deny(unsafe_code)]

mod block;
pub mod control;
pub mod dirs;
pub mod disk;
mod error;
pub mod image;
pub mod version_2;

pub use control::{Control, ImageRef};
pub use dirs::DataDir;
pub use error::{Damage, Error, Result};
pub use image::{
    AclRecord, Image, ImageCounts, ImageOptions, ImageTotals, ImageWriter, NodeRecord, PublishedImage, SessionRecord,
    purge, verify,
};
