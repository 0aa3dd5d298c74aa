//! The image of format version 1: one file with everything that a server keeps, at one zxid. It is read and never written any more.
//!
//! Owns the format (`layout`), the rkyv records in it (`record`), and reading (`reader`). It must never yield a record before the checksum of its segment and
//! rkyv's own check of the segment's structure have held. It fails with [`crate::Error`]; `tests/flips.rs` would catch a
//! mistake.
//!
//! Nodes may stand in any order and each names its full path: who loads an image rebuilds the links to the children.

mod layout;
mod reader;
mod record;

pub use crate::header::ImageTotals;
pub use reader::{Image, Nodes, verify};
pub use record::{AclRecord, NodeRecord, SessionRecord};
