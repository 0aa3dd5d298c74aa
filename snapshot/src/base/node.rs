//! A znode as an image has it.
//!
//! Owns the copy of one record. It must never give out data but from a copy that was checked. It fails with [`Error::Damaged`];
//! `tests/base_changes.rs` would catch a mistake.

use std::sync::Arc;

use proto::StatPersisted;
use rkyv::util::AlignedVec;

use super::place::{Run, split};
use super::reader::Base;
use super::record::{ArchivedNodeRow, Record, RowRef};
use crate::{Damage, Error, Result};

/// A znode in an image: a copy of its record, which has been checked. Its data is copied and checked when it is asked for.
#[derive(Debug, Clone)]
pub struct BaseNode<'b> {
    base: &'b Base,
    segment: usize,
    record: Record<'b>,
}

impl<'b> BaseNode<'b> {
    pub(crate) fn new(base: &'b Base, segment: usize, record: Record<'b>) -> BaseNode<'b> {
        BaseNode { base, segment, record }
    }

    /// Its memory, for another znode.
    pub(crate) fn into_memory(self) -> AlignedVec {
        self.record.into_memory()
    }

    fn row(&self) -> &ArchivedNodeRow {
        let RowRef::Node(row) = self.record.row() else { panic!("the znodes' run holds znodes") };
        row
    }

    /// The records of its segment, their salt, and its place among them.
    #[cfg(test)]
    pub(crate) fn parts(&self) -> (&'b [u8], u32, u16) {
        let (records, salt) = self.base.view(Run::Nodes, self.segment).expect("it was read there").records_and_salt();
        (records, salt, self.record.place())
    }

    /// Its full path, `/` for the root.
    #[must_use]
    pub fn path(&self) -> &str {
        self.row().path.get()
    }

    /// The last part of its path; of the root `/`.
    #[must_use]
    pub fn name(&self) -> &str {
        split(self.path()).1
    }

    /// A copy of its data, checked; null is not the same as empty.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn data(&self) -> Result<Option<Vec<u8>>> {
        self.record.block().data().map_err(|what| self.damaged(what))
    }

    /// As [`BaseNode::data`], to be shared.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn shared_data(&self) -> Result<Option<Arc<[u8]>>> {
        self.record.block().shared_data().map_err(|what| self.damaged(what))
    }

    /// Appends its data, [`BaseNode::data_len`] bytes, to a buffer, and checks what stands there then; nothing for null.
    ///
    /// # Errors
    /// [`Error::Damaged`]; then nothing was appended.
    pub fn append_data(&self, to: &mut Vec<u8>) -> Result<()> {
        self.record.block().append_data(to).map_err(|what| self.damaged(what))
    }

    fn damaged(&self, what: Damage) -> Error {
        match self.base.view(Run::Nodes, self.segment) {
            Ok(view) => view.damaged_record(self.record.place(), what),
            Err(error) => error,
        }
    }

    /// Bytes of its data, 0 for null; reads no data.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.record.block().data_len()
    }

    /// Whether its data is null; reads no data.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.record.block().is_null()
    }

    /// Its stored `Stat`.
    #[must_use]
    pub fn stat(&self) -> StatPersisted {
        self.row().stat()
    }

    /// The [`BaseAcl`] that governs it.
    #[must_use]
    pub fn acl_id(&self) -> u32 {
        self.row().acl_id.to_native()
    }

    /// What the writer was given: the engine's zlib CRC of path and data. Opaque here.
    #[must_use]
    pub fn content_crc(&self) -> u32 {
        self.row().content_crc.to_native()
    }

    /// How many children it has.
    #[must_use]
    pub fn child_count(&self) -> u32 {
        self.row().child_count.to_native()
    }
}
