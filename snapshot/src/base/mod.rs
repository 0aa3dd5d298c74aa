//! The image of format version 2: sorted runs of records that are found, listed and checked in place.
//!
//! Owns the format (`layout`, `lines`, `record`, `tables`), the order of the runs (`place`), opening (`reader`, `part`, `directory`),
//! look-up and walks (`node`, `segment`, `cursor`), what of it is in memory (`extent`, `resident`, `warm`), merging a base with what
//! changed since (`plan`, `merge`, `builder`, `writer`), and checking all of it (`verify`, `scrub`). A published image is
//! never changed; a newer one may point into it. It must never give out a byte but from a copy whose checksum it has looked at (`copied`),
//! nor trust that a page is still what it was. It fails with [`crate::Error`]; `tests/base_flips.rs` would catch a mistake. Decision
//! 003 has the reasons.

mod builder;
mod copied;
mod cursor;
mod directory;
mod extent;
mod file;
mod layout;
mod lines;
mod merge;
mod node;
mod part;
mod place;
mod plan;
mod reader;
mod record;
mod resident;
mod scrub;
mod segment;
mod tables;
#[cfg(test)]
#[allow(unsafe_code, reason = "it compares with what is not checked")]
mod tests;
mod verify;
mod warm;
mod writer;

pub use crate::growing::Pace;
pub use cursor::{Children, Entries, Nodes};
pub use extent::Extent;
pub use file::format_version;
pub use node::BaseNode;
pub use part::references;
pub use place::{Place, Run};
pub use plan::CarryPlan;
pub use reader::{Base, BaseFile};
pub use scrub::{Scrub, ScrubProgress};
pub use tables::{BaseAcl, EphemeralOwnerCount};
pub use verify::{Checked, verify, verify_watched};
pub use writer::{
    BaseOptions, BaseTables, BaseWriter, NodeChange, NodeEntry, Presence, PublishedBase, RECORD_BYTES_MAX,
    SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX,
};
