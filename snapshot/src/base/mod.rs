//! The image of format version 2: sorted runs of records that are found, listed and checked in place.
//!
//! Owns the format (`layout`), the order of the runs (`place`), opening and look-up (`reader`), merging a base with what
//! changed since (`writer`), and checking (`verify`, `scrub`). A published image is never changed; a newer one may point into
//! it. It must never give out a byte whose checksum it has not looked at just then, nor trust that a page is still what it was.
//! It fails with [`crate::Error`]; `tests/base_flips.rs` would catch a mistake. Decision 003 has the reasons.

mod place;
mod reader;
mod writer;

pub use place::{Place, Run};
pub use reader::{Base, BaseAcl, BaseFile, BaseNode, Children, Entries, EphemeralOwnerCount, Extent, Nodes};
pub use writer::{BaseOptions, BaseTables, BaseWriter, CarryPlan, NodeChange, NodeEntry, Presence, PublishedBase};
